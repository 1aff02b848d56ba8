//! The strategies: `linear` keeps the hosts of a batch in step, `free` and `host_pinned` let
//! each go at its own pace.

use std::collections::{HashMap, HashSet};
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::absorb::Running;
use super::actions;
use super::batch::Batch;
use super::dispatcher::{Dispatcher, Ended, Finished, PlayFacts, Stop};
use super::plan::{PlannedStep, StepKind};
use super::prompt::{Answer, Prompt, Until};
use super::render::Renderer;
use super::task;
use super::world::{Job, Scopes};
use crate::error::Error;
use crate::event::{Event, Status, TaskInfo};
use crate::lookups;
use crate::playbook::{ActionKind, Keyword, ModuleName, Task};
use crate::source::Mark;
use crate::template::{Binding, Engine, Scope};
use crate::value::{JsonStyle, Value, to_json};

/// What one step came to.
#[derive(Default)]
struct Round {
    finished: Vec<Finished>,
    /// A failure in it is a failure of all hosts.
    fatal: bool,
}

type Turn = Pin<Box<dyn Future<Output = Option<OwnedSemaphorePermit>> + Send>>;

/// Takes a place in the semaphore's queue now, and a permit when it is awaited. The semaphores
/// are never closed, so one always comes.
fn in_turn(semaphore: Arc<Semaphore>) -> Turn {
    let mut queued: Turn = Box::pin(async move { semaphore.acquire_owned().await.ok() });
    let mut nobody = Context::from_waker(Waker::noop());
    match queued.as_mut().poll(&mut nobody) {
        Poll::Ready(permit) => Box::pin(std::future::ready(permit)),
        Poll::Pending => queued,
    }
}

/// A task's variables with `ansible_search_path`: where its relative files are searched.
struct Searching {
    path: Value,
    inner: Arc<dyn Scope>,
}

impl Scope for Searching {
    fn get(&self, name: &str) -> Option<Binding> {
        match name {
            "ansible_search_path" => Some(Binding::Final(self.path.clone())),
            other => self.inner.get(other),
        }
    }

    fn names(&self) -> Vec<Arc<str>> {
        let mut names = self.inner.names();
        names.push("ansible_search_path".into());
        names
    }
}

impl Dispatcher<'_> {
    /// Runs a batch in step.
    pub(super) async fn linear(
        &mut self,
        batch: &mut Batch,
        facts: &PlayFacts,
    ) -> Result<Ended, Stop> {
        let mut ended = Ended::Done;
        loop {
            let hosts = self.hosts_left(batch);
            let Some((step, taking)) = batch.lockstep(&hosts) else {
                return Ok(ended);
            };
            let round = self.take_step(batch, &step, &taking).await?;
            let without_include = match (step.as_task(), round.finished.is_empty()) {
                (Some(task), false) => self.include(batch, task, &round.finished)?,
                _ => Vec::new(),
            };
            self.fail_together(batch, &hosts, &round, &without_include);
            if self.is_doomed(batch, facts) {
                return Ok(Ended::BreakRun);
            }
            if self.too_many_failed(batch, facts, &hosts, &round) {
                self.world.tell(Event::NoHostsRemaining);
                ended = Ended::BreakRun;
            }
            if ended == Ended::BreakRun && self.failed.len() >= hosts.len() {
                self.world.tell(Event::NoHostsRemaining);
                return Ok(ended);
            }
        }
    }

    fn hosts_left(&self, batch: &Batch) -> Vec<Arc<str>> {
        batch
            .hosts
            .iter()
            .filter(|host| !self.unreachable.contains(*host))
            .cloned()
            .collect()
    }

    async fn take_step(
        &mut self,
        batch: &mut Batch,
        step: &PlannedStep,
        hosts: &[Arc<str>],
    ) -> Result<Round, Stop> {
        match &step.kind {
            StepKind::Flush => {
                for host in hosts {
                    self.flush(batch, host);
                }
                batch.insert_handlers();
                Ok(Round::default())
            }
            StepKind::RoleComplete(role) => {
                for host in hosts {
                    batch.role_completed(role, host);
                }
                Ok(Round::default())
            }
            StepKind::Savepoint(step, savepoint) => {
                self.savepoint_for_all(batch, *step, savepoint, hosts)
                    .await?;
                Ok(Round::default())
            }
            StepKind::Setup(task) | StepKind::Task(task) => match &task.action.kind {
                ActionKind::Meta(meta) => {
                    self.meta_for_all(batch, task, *meta, hosts).await?;
                    Ok(Round::default())
                }
                _ => self.task_for_all(batch, task, hosts).await,
            },
        }
    }

    async fn task_for_all(
        &mut self,
        batch: &mut Batch,
        task: &Arc<Task>,
        hosts: &[Arc<str>],
    ) -> Result<Round, Stop> {
        let Some(first) = hosts.first() else {
            return Ok(Round::default());
        };
        let scope = self.inventories.task_scope(Some(first), task)?;
        if !self.is_stepped_into(task, &*scope, None)? {
            return Ok(Round::default());
        }
        let renderer = Renderer {
            engine: &self.world.engine,
            scope: &*scope,
        };
        let said = |keyword| -> Result<bool, Error> {
            let flag = renderer.flag(&task.layer, keyword);
            Ok(flag
                .map_err(|failure| failure.error(&task.mark))?
                .unwrap_or(false))
        };
        let said_once = said(Keyword::RunOnce)?;
        let once = always_once(task) || said_once;
        let stops_all = said(Keyword::AnyErrorsFatal).unwrap_or(false)
            || (self.world.options.any_errors_fatal
                && task.keyword(Keyword::AnyErrorsFatal).is_none());
        let fatal = (stops_all || once) && !said(Keyword::IgnoreErrors).unwrap_or(true);
        let throttle = Self::throttle(task, &renderer)?;
        let running = Running {
            task: Arc::clone(task),
            info: self.task_info(task, &renderer),
            // What runs once by its nature (`pause`) gives its result to the first host alone.
            once: said_once,
        };
        self.world.tell(Event::TaskStarted {
            task: Arc::clone(&running.info),
        });
        let hosts = if once { &hosts[..1] } else { hosts };
        if once && task.handler {
            for state in batch.states.values_mut() {
                state.forget_handler(task.id);
            }
        }
        let gate = throttle
            .filter(|_| !once)
            .map(|places| Arc::new(Semaphore::new(places)));
        self.inventories.follow(batch);
        for host in hosts {
            self.start(batch, &running, host, gate.clone())?;
        }
        let mut finished = Vec::with_capacity(hosts.len());
        while let Some(mut done) = self.next_finished().await? {
            self.absorb(batch, &running, &mut done)?;
            done.places = [None, None];
            finished.push(done);
        }
        Ok(Round { finished, fatal })
    }

    /// Starts a worker.
    fn start(
        &mut self,
        batch: &Batch,
        running: &Running,
        host: &Arc<str>,
        gate: Option<Arc<Semaphore>>,
    ) -> Result<(), Error> {
        let scopes = self.inventories.scopes(&running.task);
        let job = Job {
            engine: self.engine_of(batch, running, &*scopes),
            world: Arc::clone(&self.world),
            play: Arc::clone(&batch.play),
            task: Arc::clone(&running.task),
            info: Arc::clone(&running.info),
            host: Arc::clone(host),
            scope: Arc::new(Searching {
                path: self.search_path(batch, &*scopes),
                inner: self.inventories.task_scope(Some(host), &running.task)?,
            }),
            scopes,
            deploy: self.deploy_of(host),
        };
        // Hosts take their turns in the order in which they were started, whatever thread is first.
        let place = gate.map(in_turn);
        let fork = self.world.forks.clone().map(in_turn);
        self.workers.spawn(async move {
            let place = match place {
                Some(place) => place.await,
                None => None,
            };
            let fork = match fork {
                Some(fork) => fork.await,
                None => None,
            };
            job.world.tell(Event::HostStarted {
                host: Arc::clone(&job.host),
                task: Arc::clone(&job.info),
            });
            Finished {
                outcome: task::run(&job).await,
                host: job.host,
                places: [place, fork],
            }
        });
        Ok(())
    }

    /// Returns the value of `ansible_search_path`: the places of the task, and the playbook's.
    fn search_path(&self, batch: &Batch, scopes: &dyn Scopes) -> Value {
        let mut paths = scopes.search_path();
        let playbook = self
            .world
            .options
            .working_directory
            .join(&batch.play.directory);
        if !paths.contains(&playbook) {
            paths.push(playbook);
        }
        Value::list(paths.iter().map(|path| path.display().to_string()))
    }

    /// Returns what tells listeners of the warnings of templates and lookups.
    fn warnings(&self) -> Arc<dyn Fn(String, Option<Mark>) + Send + Sync> {
        let events = self.world.events.clone();
        Arc::new(move |message, mark| {
            if events.send(Event::Warning { message, mark }).is_err() {
                // The reporters are gone; the run still ends in order.
            }
        })
    }

    /// Returns what tells listeners of what will stop working.
    fn deprecations(&self) -> Arc<dyn Fn(String, Mark) + Send + Sync> {
        let events = self.world.events.clone();
        Arc::new(move |message, mark| {
            let mark = Some(mark);
            if events.send(Event::Deprecated { message, mark }).is_err() {
                // The reporters are gone; the run still ends in order.
            }
        })
    }

    /// Returns the engine with what a task sees of the controller.
    fn engine_of(&self, batch: &Batch, running: &Running, scopes: &dyn Scopes) -> Engine {
        let options = &self.world.options;
        let base_dir = options.working_directory.join(&batch.play.directory);
        let mut search_paths = scopes.search_path();
        if !search_paths.contains(&base_dir) {
            search_paths.push(base_dir.clone());
        }
        let seen = lookups::World {
            base_dir,
            search_paths,
            action: Some(actions::short(&running.info.action).to_owned()),
            hosts: Some(self.inventories.hosts()),
            warnings: self.warnings(),
            deprecations: self.deprecations(),
            ..self.world.lookups.clone()
        };
        self.world.engine.with_services(Arc::new(seen))
    }

    fn throttle(task: &Task, renderer: &Renderer<'_>) -> Result<Option<usize>, Error> {
        let Some(node) = task.layer.nearest(Keyword::Throttle) else {
            return Ok(None);
        };
        let rendered = renderer.value(node).map_err(|failure| {
            failure
                .prefixed("Failed to convert the throttle value to an integer: ")
                .error(&task.mark)
        })?;
        let Some(value) = rendered else {
            return Ok(None);
        };
        let number = crate::playbook::to_integer(&value).ok_or_else(|| {
            Error::usage(format!(
                "Failed to convert the throttle value to an integer: invalid literal for int() \
                 with base 10: {}",
                crate::value::repr(&value)
            ))
            .at(&node.mark)
        })?;
        Ok(usize::try_from(number).ok().filter(|places| *places > 0))
    }

    /// Describes a task to listeners.
    pub(super) fn task_info(&self, task: &Task, renderer: &Renderer<'_>) -> Arc<TaskInfo> {
        let written = task.name.as_ref();
        let name = match renderer.text(written) {
            Ok(name) => name.unwrap_or_default(),
            Err(_) => written
                .map(|node| renderer.engine.shown(node, renderer.scope))
                .unwrap_or_default(),
        };
        let no_log = match renderer.flag(&task.layer, Keyword::NoLog) {
            Ok(said) => said.unwrap_or(false) || self.world.options.no_log,
            Err(_) => true,
        };
        let check_mode = super::settings::check_mode(task, renderer, &self.world.options);
        Arc::new(TaskInfo {
            id: task.id,
            name: match &task.action.kind {
                ActionKind::IncludeRole(include) if name.is_empty() => {
                    let action = task.action.written.to_value();
                    format!("{action} : {}", include.name.to_value())
                }
                _ => name,
            },
            role: task.shown_role().map(|role| role.full_name()),
            action: task.action.written.to_value().to_string(),
            mark: task.mark.clone(),
            arguments: (self.world.options.show_arguments && !no_log)
                .then(|| written_arguments(task)),
            no_log,
            check_mode: check_mode.unwrap_or(self.world.options.check),
            handler: task.handler,
            looped: task.loop_over.is_some(),
        })
    }

    /// Asks under `--step` whether a task is to be run.
    fn is_stepped_into(
        &mut self,
        task: &Task,
        scope: &dyn Scope,
        host: Option<&str>,
    ) -> Result<bool, Stop> {
        if !self.stepping {
            return Ok(true);
        }
        let renderer = Renderer {
            engine: &self.world.engine,
            scope,
        };
        let title = format!("TASK: {}", self.task_info(task, &renderer).title());
        let on = host.map(|host| format!("on {host} ")).unwrap_or_default();
        let question = format!("Perform task: {title} {on}(N)o/(y)es/(c)ontinue: ");
        let answer = self.answer_to(&question)?.to_lowercase();
        let typed = self.world.prompter.is_interactive();
        self.world.tell(Event::Stepped { question, typed });
        Ok(match answer.as_str() {
            "y" | "yes" => true,
            "c" | "continue" => {
                self.stepping = false;
                true
            }
            _ => false,
        })
    }

    /// Asks whoever sits at the terminal; where there is none, the next line of standard input is
    /// the answer, as in Ansible.
    fn answer_to(&self, question: &str) -> Result<String, Stop> {
        let prompter = &self.world.prompter;
        if !prompter.is_interactive() {
            let text = question.to_owned();
            self.world.tell(Event::Prompt { text });
            return prompter.read_line().ok_or_else(|| {
                Error::usage("`--step` needs an answer, and standard input has no more of them")
                    .help("answer `c` to go on without further questions")
                    .into()
            });
        }
        let prompt = Prompt {
            text: question.to_owned(),
            echo: true,
            timeout: None,
            until: Until::Line,
        };
        match prompter.ask(&prompt) {
            Answer::Text(text) => Ok(text),
            Answer::Aborted => Err(Stop::Cancelled),
            Answer::TimedOut | Answer::NoTerminal => Ok(String::new()),
        }
    }

    /// Fails all hosts when the step was fatal and failed on any, or what it includes did.
    fn fail_together(
        &mut self,
        batch: &mut Batch,
        hosts: &[Arc<str>],
        round: &Round,
        without_include: &[Arc<str>],
    ) {
        let mut bad = failed_in(round);
        bad.extend(without_include.iter().cloned());
        let any = !without_include.is_empty()
            || round
                .finished
                .iter()
                .any(|done| matches!(done.outcome.status(), Status::Failed | Status::Unreachable));
        if !round.fatal || !any {
            return;
        }
        for host in hosts.iter().filter(|host| !bad.contains(*host)) {
            batch.fail(host);
            self.failed.insert(Arc::clone(host));
        }
    }

    #[expect(
        clippy::cast_precision_loss,
        reason = "numbers of hosts are far below the limit"
    )]
    fn too_many_failed(
        &mut self,
        batch: &mut Batch,
        facts: &PlayFacts,
        hosts: &[Arc<str>],
        round: &Round,
    ) -> bool {
        let Some(percentage) = facts.max_fail_percentage else {
            return false;
        };
        let share = self.failed.len() as f64 / batch.hosts.len() as f64;
        if round.finished.is_empty() || share <= percentage / 100.0 {
            return false;
        }
        // Hosts that failed just now are left alone: failing them twice would leave a rescue.
        let bad = failed_in(round);
        for host in hosts.iter().filter(|host| !bad.contains(*host)) {
            batch.fail(host);
            self.failed.insert(Arc::clone(host));
        }
        true
    }

    /// Runs a batch with each host at its own pace.
    pub(super) async fn free(
        &mut self,
        batch: &mut Batch,
        facts: &PlayFacts,
        pinned: bool,
    ) -> Result<Ended, Stop> {
        if facts.max_fail_percentage.is_some() {
            self.warn(
                "Using max_fail_percentage with the free strategy is not supported, as tasks are \
                 executed independently on each host",
            );
        }
        let mut busy: HashMap<Arc<str>, Running> = HashMap::new();
        let mut gates: HashMap<u64, Arc<Semaphore>> = HashMap::new();
        loop {
            if self.hosts_left(batch).is_empty() {
                self.world.tell(Event::NoHostsRemaining);
                return Ok(Ended::Done);
            }
            let limit = match self.world.options.forks {
                Some(forks) if pinned => forks,
                _ => usize::MAX,
            };
            for host in self.hosts_left(batch) {
                if busy.len() >= limit {
                    break;
                }
                if !busy.contains_key(&host) {
                    self.go_on(batch, &host, &mut busy, &mut gates).await?;
                }
            }
            let Some(mut done) = self.next_finished().await? else {
                return Ok(Ended::Done);
            };
            let Some(running) = busy.remove(&done.host) else {
                continue;
            };
            self.absorb(batch, &running, &mut done)?;
            done.places = [None, None];
            self.include(batch, &running.task, std::slice::from_ref(&done))?;
            if self.is_doomed(batch, facts) {
                self.workers.shutdown().await;
                return Ok(Ended::BreakRun);
            }
        }
    }

    /// Takes a host through what needs no worker, up to its next task.
    async fn go_on(
        &mut self,
        batch: &mut Batch,
        host: &Arc<str>,
        busy: &mut HashMap<Arc<str>, Running>,
        gates: &mut HashMap<u64, Arc<Semaphore>>,
    ) -> Result<(), Stop> {
        loop {
            let (state, step) = batch.peek(host);
            let Some(step) = step else {
                return Ok(());
            };
            batch.states.insert(Arc::clone(host), state);
            let task = match &step.kind {
                StepKind::Flush => {
                    self.flush(batch, host);
                    continue;
                }
                StepKind::RoleComplete(role) => {
                    batch.role_completed(role, host);
                    continue;
                }
                StepKind::Savepoint(step, savepoint) => {
                    let alone = std::slice::from_ref(host);
                    self.savepoint_for_all(batch, *step, savepoint, alone)
                        .await?;
                    continue;
                }
                StepKind::Setup(task) | StepKind::Task(task) => task,
            };
            if let ActionKind::Meta(meta) = &task.action.kind {
                self.meta(batch, task, *meta, host).await?;
                continue;
            }
            let scope = self.inventories.task_scope(Some(host), task)?;
            if !self.is_stepped_into(task, &*scope, Some(host))? {
                continue;
            }
            let running = self.running_alone(task, &*scope)?;
            let renderer = Renderer {
                engine: &self.world.engine,
                scope: &*scope,
            };
            let gate = Self::throttle(task, &renderer)?.map(|places| {
                let gate = gates
                    .entry(task.id)
                    .or_insert_with(|| Arc::new(Semaphore::new(places)));
                Arc::clone(gate)
            });
            self.world.tell(Event::TaskStarted {
                task: Arc::clone(&running.info),
            });
            self.inventories.follow(batch);
            self.start(batch, &running, host, gate)?;
            busy.insert(Arc::clone(host), running);
            return Ok(());
        }
    }

    fn running_alone(&self, task: &Arc<Task>, scope: &dyn Scope) -> Result<Running, Stop> {
        let renderer = Renderer {
            engine: &self.world.engine,
            scope,
        };
        if always_once(task) {
            let action = task.action.written.to_value();
            return Err(Error::usage(format!(
                "The '{action}' module bypasses the host loop, which is currently not supported \
                 in the free strategy and would instead execute for every host in the inventory \
                 list."
            ))
            .at(&task.mark)
            .into());
        }
        if matches!(renderer.flag(&task.layer, Keyword::RunOnce), Ok(Some(true))) {
            self.warn(
                "Using run_once with the free strategy is not currently supported. This task will \
                 still be executed for every host in the inventory list.",
            );
        }
        if matches!(
            renderer.flag(&task.layer, Keyword::AnyErrorsFatal),
            Ok(Some(true))
        ) {
            self.warn(
                "Using any_errors_fatal with the free strategy is not supported, as tasks are \
                 executed independently on each host",
            );
        }
        Ok(Running {
            task: Arc::clone(task),
            info: self.task_info(task, &renderer),
            once: false,
        })
    }

    fn warn(&self, message: &str) {
        self.world.tell(Event::Warning {
            message: message.to_owned(),
            mark: None,
        });
    }
}

fn failed_in(round: &Round) -> HashSet<Arc<str>> {
    round
        .finished
        .iter()
        .filter(|done| done.outcome.status() == Status::Failed)
        .map(|done| Arc::clone(&done.host))
        .collect()
}

fn always_once(task: &Task) -> bool {
    match &task.action.kind {
        ActionKind::Module {
            name: ModuleName::Known(name),
            ..
        } => actions::runs_once(name),
        _ => false,
    }
}

fn written_arguments(task: &Task) -> String {
    let ActionKind::Module { args, .. } = &task.action.kind else {
        return String::new();
    };
    let style = JsonStyle::default();
    let free = args
        .free_form
        .iter()
        .map(|node| format!("_raw_params={}", node.to_value()));
    let named = args.options.iter().map(|(key, value)| {
        let value = value.to_value();
        match value.as_str() {
            Some(text) => format!("{}={text}", key.to_value()),
            None => format!("{}={}", key.to_value(), to_json(&value, style)),
        }
    });
    free.chain(named).collect::<Vec<_>>().join(", ")
}
