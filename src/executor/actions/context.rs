//! What an action works with: its rendered arguments, the variables, the target, the files.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::{Answer, arguments, spec};
use crate::agent::protocol::CheckMode;
use crate::event::{Event, Reversibility, Step};
use crate::executor::deploy::{self, Acting};
use crate::executor::execution::Effect;
use crate::executor::failure::Failure;
use crate::executor::render::Renderer;
use crate::executor::session::{ModuleCall, RawOutput, Reported, Target};
use crate::executor::settings::Settings;
use crate::executor::target::TargetReader;
use crate::executor::transactions;
use crate::executor::world::Job;
use crate::lookups::expand_home;
use crate::node::Node;
use crate::playbook::ActionKind;
use crate::value::{Map, Value};

/// One action at work.
pub(in crate::executor) struct ActionContext<'a> {
    pub(in crate::executor) job: &'a Job,
    pub(in crate::executor) settings: &'a Settings,
    /// The variables of the task's host.
    pub(in crate::executor) renderer: Renderer<'a>,
    /// The variables of the host the task acts on.
    pub(in crate::executor) target_renderer: Renderer<'a>,
    pub(in crate::executor) target: &'a Arc<str>,
    pub(in crate::executor) args: Map,
}

impl ActionContext<'_> {
    /// Returns an option as it is written.
    pub(super) fn written(&self, name: &str) -> Option<&Node> {
        match &self.job.task.action.kind {
            ActionKind::Module { args, .. } => arguments::written(args, name),
            _ => None,
        }
    }

    /// Returns an option's name as it is written.
    pub(super) fn written_key(&self, name: &str) -> Option<&Node> {
        match &self.job.task.action.kind {
            ActionKind::Module { args, .. } => args
                .options
                .iter()
                .map(|(key, _)| key)
                .find(|key| key.as_str() == Some(name)),
            _ => None,
        }
    }

    /// Tells whether a call takes a known secret to the target.
    fn gives_a_secret(&self, args: &Map) -> bool {
        let redactor = &self.job.world.options.redactor;
        let environment = self.settings.environment.iter();
        let environment: Map = environment
            .map(|(name, value)| (name.as_str().into(), value.as_str().into()))
            .collect();
        redactor.finds_in(args) || redactor.finds_in(&environment)
    }

    /// Calls a module with the action's own arguments.
    pub(super) async fn call_module(&mut self, name: &str) -> Result<Answer, Failure> {
        let args = std::mem::take(&mut self.args);
        self.module(name, args).await
    }

    /// Calls a module on the target.
    pub(super) async fn module(&mut self, name: &str, args: Map) -> Result<Answer, Failure> {
        self.module_in(name, args, self.settings.check).await
    }

    /// Tells whether a run with `--check` is the plan of a transaction, whose tasks see what those
    /// before them would have done.
    fn is_plan(&self) -> bool {
        let options = &self.job.world.options;
        options.transaction.whole_run || transactions::asks(&self.job.play)
    }

    /// Calls a module on the target, in check mode or not.
    pub(super) async fn module_in(
        &mut self,
        name: &str,
        args: Map,
        check: bool,
    ) -> Result<Answer, Failure> {
        let call = ModuleCall {
            module: name.to_owned(),
            check: match (check, self.job.world.options.check, self.is_plan()) {
                (false, ..) => CheckMode::Off,
                (true, false, _) => CheckMode::Task,
                (true, true, true) => CheckMode::Run,
                (true, true, false) => CheckMode::Each,
            },
            diff: self.settings.diff,
            environment: self.settings.environment.clone(),
            seq: None,
            undo: self.settings.undo.clone(),
            protect: self.settings.protect.clone(),
            harmless: deploy::changes_nothing(&self.job.task),
            no_log: self.settings.no_log || self.gives_a_secret(&args),
            args,
            background: None,
            timeout: None,
        };
        let place = Acting {
            target: self.target()?,
            deploy: self.job.deploy.clone(),
        };
        let discovery = self.discover_python().await?;
        let beside = deploy::opaque_steps(name, &call.args).map(nobody_undoes);
        let given = call.args.clone();
        let reported = match self.settings.async_seconds {
            0 => self.call(&place, call).await?,
            _ => self.in_background(&place, call).await?,
        };
        let mut answer = Answer::from_result(with_lines(reported.result));
        answer.steps = reported.steps;
        answer.steps.extend(beside);
        answer.help = meant(name, &given, &answer);
        // That a script ends badly is said by its action in Ansible.
        answer.by_module = name != "script";
        if name != "setup"
            && let Some(Value::Map(facts)) = answer.result.get("ansible_facts")
        {
            let facts = Arc::clone(facts);
            answer.effects.push(Effect::Facts(facts));
        }
        if let Some(discovery) = discovery {
            discovery.tell(&mut answer);
        }
        Ok(answer)
    }

    /// Has the agent of a target run a module.
    pub(in crate::executor) async fn call(
        &self,
        place: &Acting,
        call: ModuleCall,
    ) -> Result<Reported, Failure> {
        let world = &self.job.world;
        let host = &self.job.host;
        let progress = |label: &str, done: u64, total: u64| {
            world.tell(Event::Progress {
                host: Arc::clone(host),
                label: label.to_owned(),
                done,
                total,
            });
        };
        place.call(world, call, &progress).await
    }

    /// Runs a command on the target without an agent.
    pub(super) async fn raw(&self, command: &str) -> Result<RawOutput, Failure> {
        let target = self.target()?;
        self.job.world.sessions.raw(&target, command).await
    }

    /// Copies a file of the target to the controller.
    pub(super) async fn fetch(&self, source: &str, destination: &Path) -> Result<(), Failure> {
        let target = self.target()?;
        let world = &self.job.world;
        let host = &self.job.host;
        let progress = |label: &str, done: u64, total: u64| {
            world.tell(Event::Progress {
                host: Arc::clone(host),
                label: label.to_owned(),
                done,
                total,
            });
        };
        let mut lease = world.sessions.lend(&target).await?;
        lease.session.fetch(source, destination, &progress).await?;
        world.sessions.take_back(lease);
        Ok(())
    }

    /// Returns where the task acts, and as whom.
    pub(super) fn target(&self) -> Result<Target, Failure> {
        TargetReader {
            renderer: self.target_renderer,
            layer: &self.job.task.layer,
            options: &self.job.world.options,
            host: self.target,
        }
        .read()
    }

    /// Returns an option that is text or a scalar.
    pub(super) fn text(&self, name: &str) -> Option<String> {
        self.args
            .get(name)
            .filter(|value| !matches!(value, Value::Null))
            .map(Value::to_string)
    }

    /// Returns a boolean option, softly read.
    pub(super) fn flag(&self, name: &str, default: bool) -> bool {
        self.args
            .get(name)
            .and_then(Value::to_soft_bool)
            .unwrap_or(default)
    }

    /// Finds a file of the controller along the task's search path, in `directory` first.
    pub(super) fn find_file(&self, directory: &str, name: &str) -> Result<PathBuf, Failure> {
        let candidates = candidates(&self.job.scopes.search_path(), directory, name, self.job);
        match candidates.iter().find(|path| path.exists()) {
            Some(found) => Ok(found.clone()),
            None => Err(Failure::new(not_found(name, &candidates))),
        }
    }

    /// Expands a path of the controller.
    pub(super) fn local_path(&self, path: &str) -> PathBuf {
        let options = &self.job.world.options;
        options
            .working_directory
            .join(&self.job.play.directory)
            .join(expand_home(path, Some(&options.home)))
    }
}

/// Makes the step of something that is done beside the machine and that nobody can undo.
pub(in crate::executor) fn nobody_undoes(what: String) -> Step {
    Step {
        class: Reversibility::Opaque,
        what,
        undo: String::new(),
    }
}

/// Adds `stdout_lines` and `stderr_lines` where a module gave only the text.
fn with_lines(mut result: Map) -> Map {
    for name in ["stdout", "stderr"] {
        let lines_name = format!("{name}_lines");
        if let Some(Value::String(text)) = result.get(name)
            && !result.contains_key(lines_name.as_str())
        {
            let lines = Value::list(text.lines());
            result.insert(lines_name.into(), lines);
        }
    }
    result
}

fn candidates(stack: &[PathBuf], directory: &str, name: &str, job: &Job) -> Vec<PathBuf> {
    let options = &job.world.options;
    let expanded = expand_home(name, Some(&options.home));
    if expanded.is_absolute() {
        return vec![expanded];
    }
    let base = options.working_directory.join(&job.play.directory);
    let in_directory = name.split('/').next() == Some(directory);
    let mut found = Vec::new();
    for path in stack.iter().chain(std::iter::once(&base)) {
        if let Some(parent) = path.parent()
            && path.ends_with("tasks")
        {
            found.push(parent.join(directory).join(name));
            found.push(path.join(name));
        }
        if !in_directory {
            found.push(path.join(directory).join(name));
        }
        found.push(path.join(name));
    }
    found
}

fn not_found(name: &str, candidates: &[PathBuf]) -> String {
    use std::fmt::Write;
    let mut text = format!("Could not find or access '{name}'");
    if candidates.len() > 1 {
        text.push_str("\nSearched in:");
        for candidate in candidates {
            write!(text, "\n\t{}", candidate.display()).expect("writing to a string cannot fail");
        }
    }
    text + " on the Ansible Controller.\nIf you are using a module and expect the file to exist \
            on the remote, see the remote_src option"
}

/// Names the option or choice that was meant, where a module refused one.
fn meant(name: &str, given: &Map, answer: &Answer) -> Option<String> {
    if !answer.failed {
        return None;
    }
    spec(name)?.meant(given, answer.result.get("msg")?.as_str()?)
}
