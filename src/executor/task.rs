//! One task on one host: what it repeats over, its conditions, its attempts, and how the answer
//! is judged.
//!
//! Changes nothing of the run: everything that came of the task is in the [`Outcome`].

use std::sync::Arc;
use std::time::Duration;

use super::actions::{self, ActionContext, Answer, Prepared};
use super::execution::{Delegation, Effect, Execution, Include, Outcome};
use super::failure::Failure;
use super::looping::{Items, LoopVariables};
use super::reach::Reach;
use super::render::Renderer;
use super::settings::Settings;
use super::world::{Job, Overlay};
use crate::event::{Event, Reversibility, Status, TaskInfo, TaskResult};
use crate::node::Node;
use crate::playbook::{ActionKind, IncludeRole, Keyword};
use crate::template::{Binding, Layers, Scope};
use crate::value::{Map, Value};

/// Runs the task of `job` and returns what came of it.
pub(super) async fn run(job: &Job) -> Outcome {
    let items = match Items::read(job) {
        Ok(items) => Ok(items),
        Err(failure) if failure.undefined => Err(failure),
        Err(failure) => return Outcome::single(failed(job, &failure)),
    };
    let mut overlay = Overlay::new();
    match items {
        Ok(Some(items)) => run_items(job, &items, &mut overlay).await,
        Ok(None) => Outcome::single(execute(job, &mut overlay, None).await),
        // A false condition comes before what is wrong with the loop.
        Err(failure) => Outcome::single(execute(job, &mut overlay, Some(failure)).await),
    }
}

async fn run_items(job: &Job, items: &Items, overlay: &mut Overlay) -> Outcome {
    let control = match LoopVariables::read(job) {
        Ok(control) => control,
        Err(failure) => return Outcome::single(failed(job, &failure)),
    };
    control.warn_if_taken(job);
    let mut executions = Vec::with_capacity(items.len());
    let mut results = Vec::with_capacity(items.len());
    for index in 0..items.len() {
        if index > 0 && control.pause > Duration::ZERO {
            tokio::time::sleep(control.pause).await;
        }
        let bound = control.bind(items, index);
        for (name, value) in &bound {
            overlay.insert(name.to_string().into(), Binding::Final(value.clone()));
        }
        let mut execution = execute(job, overlay, None).await;
        if let Some(name) = &job.task.register {
            let result = Value::from(execution.result.clone());
            overlay.insert(Arc::clone(name), Binding::Final(result));
        }
        for (name, value) in &bound {
            execution.result.insert(name.clone(), value.clone());
        }
        execution.bound = bound;
        with_scope(job, overlay, |renderer| {
            control.label(renderer, &mut execution);
        });
        let stop = with_scope(job, overlay, |renderer| control.is_over(renderer));
        if !execution.is_for_inventory() {
            let told = item_result(&job.host, &job.info, &execution);
            job.world.tell(Event::ItemFinished(told));
        }
        results.push(Value::from(execution.result.clone()));
        executions.push(execution);
        overlay.shift_remove(&*control.loop_var);
        match stop {
            Ok(true) => break,
            Ok(false) => {}
            Err(failure) => return Outcome::single(failed(job, &failure)),
        }
    }
    // The items' own warnings are told by the whole.
    for result in &mut results {
        if let Value::Map(map) = result {
            let map = Arc::make_mut(map);
            map.shift_remove("warnings");
            map.shift_remove("deprecations");
        }
    }
    Outcome::of_items(executions, results)
}

fn with_scope<T>(job: &Job, overlay: &Overlay, read: impl FnOnce(&Renderer<'_>) -> T) -> T {
    let known = Layers::new([overlay as &dyn Scope, &*job.scope]);
    let reach = Reach {
        job,
        host: &job.host,
        variables: &known,
    };
    read(&Renderer {
        engine: &job.engine,
        scope: &Layers::new([&known as &dyn Scope, &reach]),
    })
}

fn failed(job: &Job, failure: &Failure) -> Execution {
    let mut execution = Execution::failed(failure, &job.task.mark);
    with_scope(job, &Overlay::new(), |renderer| {
        leniency(job, renderer, &mut execution);
    });
    execution
}

/// Makes the result of one item that reporters see.
pub(super) fn item_result(
    host: &Arc<str>,
    info: &Arc<TaskInfo>,
    execution: &Execution,
) -> TaskResult {
    TaskResult {
        host: Arc::clone(host),
        delegate: execution
            .delegation
            .as_ref()
            .map(|delegation| Arc::clone(&delegation.host)),
        task: Arc::clone(info),
        // That a failed item is ignored is told with the whole.
        status: match execution.status() {
            Status::Ignored => Status::Failed,
            Status::IgnoredUnreachable => Status::Unreachable,
            status => status,
        },
        result: execution.shown(),
        item: execution.shown_label(),
        error: execution.shown_error(),
        diff: execution.diff,
        steps: execution.steps.clone(),
    }
}

/// Runs the task once, for one item or without a loop.
async fn execute(job: &Job, overlay: &mut Overlay, loop_failure: Option<Failure>) -> Execution {
    let mut execution = match attempt(job, overlay, loop_failure).await {
        Ok(execution) => execution,
        Err(failure) => Execution::failed(&failure, &job.task.mark),
    };
    with_scope(job, overlay, |renderer| {
        leniency(job, renderer, &mut execution);
        if execution.delegation.is_none() {
            // A failure before the delegation was known is still shown with what is known.
            execution.delegation = delegation(job, renderer).unwrap_or_else(|_| as_written(job));
        }
    });
    execution
}

/// Reads what a failure may be: hidden, or ignored. A keyword that cannot be read hides and
/// ignores nothing it was not told to, except that what may be secret stays hidden.
fn leniency(job: &Job, renderer: &Renderer<'_>, execution: &mut Execution) {
    let layer = &job.task.layer;
    execution.no_log |= match renderer.flag(layer, Keyword::NoLog) {
        Ok(said) => said.unwrap_or(false) || job.world.options.no_log,
        Err(_) => true,
    };
    // Text that cannot be rendered counts as true, as any text does.
    execution.ignore_errors = match renderer.flag(layer, Keyword::IgnoreErrors) {
        Ok(said) => said.unwrap_or(false),
        Err(_) => true,
    };
    let lenient = renderer.flag(layer, Keyword::IgnoreUnreachable);
    execution.ignore_unreachable = matches!(lenient, Ok(Some(true)));
}

fn delegation(job: &Job, renderer: &Renderer<'_>) -> Result<Option<Delegation>, Failure> {
    let Some(host) = renderer
        .delegate(&job.task.layer)?
        .filter(|host| !host.is_empty())
    else {
        return Ok(None);
    };
    Ok(Some(Delegation {
        host: host.into(),
        facts: false,
    }))
}

/// Returns the delegate of a task whose name cannot be rendered.
fn as_written(job: &Job) -> Option<Delegation> {
    let node = job.task.layer.values(Keyword::DelegateTo).next()?;
    Some(Delegation {
        host: node.to_value().to_string().into(),
        facts: false,
    })
}

async fn attempt(
    job: &Job,
    overlay: &mut Overlay,
    loop_failure: Option<Failure>,
) -> Result<Execution, Failure> {
    let task = &job.task;
    let mut delegation = with_scope(job, overlay, |renderer| delegation(job, renderer))?;
    let unmet = with_scope(job, overlay, |renderer| {
        let unmet = renderer.first_false(task.conditions());
        unmet.map(|condition| condition.map(Node::to_value))
    });
    match (unmet, loop_failure) {
        (Ok(Some(condition)), _) => return Ok(Execution::skipped(condition)),
        (_, Some(failure)) | (Err(failure), None) => return Err(failure),
        (Ok(None), None) => {}
    }
    let settings = with_scope(job, overlay, |renderer| {
        if let Some(include) = include(job, renderer)? {
            return Ok(Err(include));
        }
        Settings::render(task, renderer, &job.world.options).map(Ok)
    })?;
    let settings = match settings {
        Ok(settings) => settings,
        Err(include) => {
            return Ok(Execution {
                result: include_result(&include),
                include: Some(include),
                ..Execution::default()
            });
        }
    };
    if let Some(delegation) = &mut delegation {
        delegation.facts = settings.delegate_facts;
    }
    let target = delegation
        .as_ref()
        .map_or_else(|| Arc::clone(&job.host), |to| Arc::clone(&to.host));
    let target_scope = match &delegation {
        Some(to) => job.scopes.of_host(&to.host)?,
        None => Arc::clone(&job.scope),
    };
    let place = Place {
        target: &target,
        target_scope: &*target_scope,
    };
    let mut execution = attempts(job, overlay, &settings, &place).await?;
    execution.diff = settings.diff;
    execution.notify.clone_from(&settings.notify);
    execution.delegation = delegation;
    Ok(execution)
}

/// Where a task acts: its host, or the one it is delegated to.
struct Place<'a> {
    target: &'a Arc<str>,
    target_scope: &'a dyn Scope,
}

impl Place<'_> {
    fn reach<'a>(&'a self, job: &'a Job, variables: &'a dyn Scope) -> Reach<'a> {
        Reach {
            job,
            host: self.target,
            variables,
        }
    }
}

async fn attempts(
    job: &Job,
    overlay: &mut Overlay,
    settings: &Settings,
    place: &Place<'_>,
) -> Result<Execution, Failure> {
    let prepared = in_context(job, overlay, settings, place, |context| {
        actions::prepare(context)
    })?;
    let mut number = 0;
    loop {
        number += 1;
        let answer = act(job, overlay, settings, place, &prepared).await?;
        let mut execution = judge(job, overlay, settings, answer, number);
        if settings.attempts == 1 {
            return Ok(execution);
        }
        let succeeded = if job.task.until.is_empty() {
            !execution.has("failed")
        } else {
            with_scope(job, overlay, |renderer| {
                renderer.first_false(&job.task.until)
            })?
            .is_none()
        };
        if succeeded {
            return Ok(execution);
        }
        if number == settings.attempts {
            execution.set("attempts", settings.attempts - 1);
            execution.set("failed", true);
            if execution.error.is_none() {
                execution.explain_failure(&job.task.mark, false, None);
            }
            register(job, overlay, &execution);
            return Ok(execution);
        }
        execution.set("retries", settings.attempts);
        job.world.tell(Event::Retried {
            result: item_result(&job.host, &job.info, &execution),
            retries_left: settings.attempts - number,
        });
        tokio::time::sleep(settings.delay).await;
    }
}

fn in_context<T>(
    job: &Job,
    overlay: &Overlay,
    settings: &Settings,
    place: &Place<'_>,
    use_context: impl FnOnce(&ActionContext<'_>) -> T,
) -> T {
    let known = Layers::new([overlay as &dyn Scope, &*job.scope]);
    let target_scope = Layers::new([overlay as &dyn Scope, place.target_scope]);
    let reach = place.reach(job, &target_scope);
    let scope = Layers::new([&known as &dyn Scope, &reach]);
    use_context(&context(job, settings, place, &scope, &target_scope))
}

fn context<'a>(
    job: &'a Job,
    settings: &'a Settings,
    place: &Place<'a>,
    scope: &'a dyn Scope,
    target_scope: &'a dyn Scope,
) -> ActionContext<'a> {
    let renderer = |scope| Renderer {
        engine: &job.engine,
        scope,
    };
    ActionContext {
        job,
        settings,
        renderer: renderer(scope),
        target_renderer: renderer(target_scope),
        target: place.target,
        args: Map::new(),
    }
}

async fn act(
    job: &Job,
    overlay: &Overlay,
    settings: &Settings,
    place: &Place<'_>,
    prepared: &Prepared,
) -> Result<Answer, Failure> {
    let known = Layers::new([overlay as &dyn Scope, &*job.scope]);
    let target_scope = Layers::new([overlay as &dyn Scope, place.target_scope]);
    let reach = place.reach(job, &target_scope);
    let scope = Layers::new([&known as &dyn Scope, &reach]);
    let mut context = context(job, settings, place, &scope, &target_scope);
    let acting = actions::run(&mut context, prepared);
    let Some(seconds) = settings.timeout else {
        return acting.await;
    };
    match tokio::time::timeout(Duration::from_secs(seconds), acting).await {
        Ok(answer) => answer,
        Err(_) => Err(timed_out(seconds)),
    }
}

fn timed_out(seconds: u64) -> Failure {
    let told = Value::map([
        (
            "frame",
            Value::from("Configure `DISPLAY_TRACEBACK` to see a traceback on timeout errors."),
        ),
        ("period", seconds.into()),
    ]);
    Failure::new(format!("Timed out after {seconds} second(s).")).with("timedout", told)
}

/// Judges an answer by `changed_when` and `failed_when`.
fn judge(
    job: &Job,
    overlay: &mut Overlay,
    settings: &Settings,
    answer: Answer,
    number: u32,
) -> Execution {
    let task = &job.task;
    let mut execution = Execution {
        result: answer.result,
        hints: answer.hints,
        effects: answer.effects,
        steps: answer.steps,
        no_log: answer.no_log || settings.no_log,
        ..Execution::default()
    };
    remember_facts(overlay, &execution.effects);
    if execution.result.get("failed").is_none() {
        let rc = execution.result.get("rc");
        let bad = rc.is_some_and(|rc| *rc != 0.into() && rc.as_str() != Some("0"));
        execution.set("failed", bad);
    }
    let module_failed = answer.by_module && execution.has("failed");
    if settings.attempts > 1 {
        execution.set("attempts", number);
    }
    if execution.result.get("changed").is_none() {
        execution.set("changed", false);
    }
    register(job, overlay, &execution);
    if execution.result.get("skipped").is_none() {
        judge_changed(job, overlay, &mut execution);
        register(job, overlay, &execution);
        judge_failed(job, overlay, &mut execution);
    }
    forget_harmless(job, &mut execution);
    execution.explain_failure(&task.mark, module_failed, answer.help);
    if let Some(suppressed) = execution.result.get("failed_when_result")
        && !suppressed.is_truthy()
        && answer.failed
    {
        execution.set(
            "failed_when_suppressed_exception",
            super::failure::NO_TRACEBACK,
        );
    }
    register(job, overlay, &execution);
    execution
}

/// Drops steps that nobody could undo of a task that changed nothing by its own word.
fn forget_harmless(job: &Job, execution: &mut Execution) {
    if execution.has("changed") {
        return;
    }
    execution.steps.retain(|step| {
        let is_harmless = step.class == Reversibility::Opaque;
        if let (true, Some(deploy)) = (is_harmless, &job.deploy) {
            deploy.is_harmless(&job.host, &step.what);
        }
        !is_harmless
    });
}

fn judge_changed(job: &Job, overlay: &Overlay, execution: &mut Execution) {
    if job.task.changed_when.is_empty() {
        return;
    }
    let unmet = |overlay: &Overlay| {
        with_scope(job, overlay, |renderer| {
            renderer
                .first_false(&job.task.changed_when)
                .map(|unmet| unmet.is_some())
        })
    };
    if execution.is_for_inventory() {
        // Only the dispatcher learns whether the inventory changes: this is said for then.
        let mut then = overlay.clone();
        let mut altered = execution.clone();
        altered.set("changed", true);
        register(job, &mut then, &altered);
        execution.changed_if_altered = unmet(&then).ok().map(|unmet| !unmet);
    }
    match unmet(overlay) {
        Ok(unmet) => execution.set("changed", !unmet),
        Err(failure) => {
            execution.set("failed", true);
            execution.set("changed_when_result", failure.brief());
        }
    }
}

fn judge_failed(job: &Job, overlay: &Overlay, execution: &mut Execution) {
    if job.task.failed_when.is_empty() || execution.result.get("changed_when_result").is_some() {
        return;
    }
    let unmet = with_scope(job, overlay, |renderer| {
        renderer
            .first_false(&job.task.failed_when)
            .map(|unmet| unmet.is_some())
    });
    match unmet {
        Ok(unmet) => {
            execution.set("failed_when_result", !unmet);
            execution.set("failed", !unmet);
        }
        Err(failure) => {
            execution.set("failed", true);
            execution.set("failed_when_result", failure.brief());
        }
    }
}

fn register(job: &Job, overlay: &mut Overlay, execution: &Execution) {
    if let Some(name) = &job.task.register {
        let result = Value::from(execution.result.clone());
        overlay.insert(Arc::clone(name), Binding::Final(result));
    }
}

/// Makes the variables a task set visible to its own conditions and its next items.
fn remember_facts(overlay: &mut Overlay, effects: &[Effect]) {
    for effect in effects {
        match effect {
            Effect::SetFacts { facts, .. } | Effect::Facts(facts) => {
                for (name, value) in facts.iter() {
                    overlay.insert(name.to_string().into(), Binding::Final(value.clone()));
                }
            }
            Effect::IncludeVars(vars) => {
                for (name, node) in vars.iter() {
                    overlay.insert(Arc::clone(name), Binding::Source(node.clone()));
                }
            }
            _ => {}
        }
    }
}

fn include(job: &Job, renderer: &Renderer<'_>) -> Result<Option<Include>, Failure> {
    match &job.task.action.kind {
        ActionKind::IncludeTasks { file, .. } => {
            let file = actions::argument(renderer, "include_tasks", "_raw_params", file)
                .map_err(|failure| failure.at(&job.task.action.written.mark))?;
            match file {
                Some(file) if !file.to_string().is_empty() => {
                    Ok(Some(Include::Tasks(file.to_string())))
                }
                _ => Err(Failure::new("No include file was specified to the include")),
            }
        }
        ActionKind::IncludeRole(include) => include_role(renderer, include).map(Some),
        _ => Ok(None),
    }
}

fn include_role(renderer: &Renderer<'_>, include: &IncludeRole) -> Result<Include, Failure> {
    let read = |name: &str, node: &Node| actions::argument(renderer, "include_role", name, node);
    let name = read("name", &include.name)?
        .ok_or_else(|| Failure::new("'name' is a required field for include_role."))?;
    let options = [
        ("tasks_from", &include.tasks_from),
        ("vars_from", &include.vars_from),
        ("defaults_from", &include.defaults_from),
        ("handlers_from", &include.handlers_from),
        ("public", &include.public),
        ("allow_duplicates", &include.allow_duplicates),
        ("rolespec_validate", &include.rolespec_validate),
    ];
    let mut set = Map::new();
    for (key, node) in options {
        if let Some(node) = node
            && let Some(value) = read(key, node)?
        {
            set.insert(key.into(), value);
        }
    }
    Ok(Include::Role {
        name: name.to_string(),
        options: set,
    })
}

fn include_result(include: &Include) -> Map {
    let mut result = Map::new();
    result.insert("changed".into(), false.into());
    match include {
        Include::Tasks(file) => {
            result.insert("include".into(), file.as_str().into());
            result.insert("include_args".into(), Map::new().into());
        }
        Include::Role { name, options } => {
            let mut args = options.clone();
            args.insert("name".into(), name.as_str().into());
            result.insert("include_args".into(), args.into());
        }
    }
    result
}
