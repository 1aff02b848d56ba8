//! Actions: what runs on the controller for a task, alone or around a module's call.
//!
//! A module without a controller half is called with its arguments as they are.

mod arguments;
mod assemble;
mod assert;
mod async_status;
mod connection;
mod context;
mod debug;
mod external;
mod facts;
mod fail;
mod fetch;
mod include_vars;
mod interpreter;
mod inventory;
mod package;
mod pause;
mod payload;
mod raw;
mod reboot;
mod set_stats;
mod synchronize;
mod transfer;
mod user;
mod validate_argument_spec;

use std::pin::Pin;
use std::sync::Arc;

use super::execution::Effect;
use super::failure::Failure;
use crate::arguments::ArgumentSpec;
use crate::event::Step;
use crate::modules;
use crate::playbook::{self, ActionKind, Catalog, ExternalModule, ModuleName};
use crate::value::{Map, Value};

pub(super) use arguments::argument;
pub(super) use context::{ActionContext, nobody_undoes};

/// What an action or a module answered.
#[derive(Clone, Debug, Default)]
pub(super) struct Answer {
    pub(super) result: Map,
    /// Keys beside the result for reporters only.
    pub(super) hints: Map,
    pub(super) effects: Vec<Effect>,
    /// What it changed, or would change.
    pub(super) steps: Vec<Step>,
    pub(super) no_log: bool,
    /// A module on the target said it, not the controller.
    pub(super) by_module: bool,
    /// The answer was a failure before `failed_when` judged it.
    pub(super) failed: bool,
    /// What to do about the failure, where that is known.
    pub(super) help: Option<String>,
}

impl Answer {
    /// Makes an answer of a result's pairs.
    pub(super) fn new<'k>(pairs: impl IntoIterator<Item = (&'k str, Value)>) -> Self {
        Self::from_result(
            pairs
                .into_iter()
                .map(|(key, value)| (Value::from(key), value))
                .collect(),
        )
    }

    /// Makes an answer of a result.
    pub(super) fn from_result(result: Map) -> Self {
        Self {
            failed: result.get("failed").is_some_and(Value::is_truthy),
            result,
            ..Self::default()
        }
    }

    /// Makes a failed answer.
    pub(super) fn failed(msg: impl Into<Value>) -> Self {
        Self::new([("failed", true.into()), ("msg", msg.into())])
    }

    /// Sets a result key.
    pub(super) fn set(&mut self, key: &str, value: impl Into<Value>) {
        self.result.insert(key.into(), value.into());
    }

    /// Adds an effect.
    #[must_use]
    pub(super) fn effect(mut self, effect: Effect) -> Self {
        self.effects.push(effect);
        self
    }

    /// Shows the result without `-v`.
    #[must_use]
    pub(super) fn always_shown(mut self) -> Self {
        self.hints
            .insert("_ansible_verbose_always".into(), true.into());
        self
    }
}

type Acting<'a> = Pin<Box<dyn Future<Output = Result<Answer, Failure>> + Send + 'a>>;

/// One action.
struct ActionEntry {
    name: &'static str,
    /// `None` when the options are those of the module of that name.
    spec: Option<&'static ArgumentSpec>,
    /// Runs once for all hosts of a batch.
    once: bool,
    run: for<'a, 'b> fn(&'a mut ActionContext<'b>) -> Acting<'a>,
}

macro_rules! action {
    ($name:literal, $run:path) => {
        action!(@entry $name, None, $run, false)
    };
    ($name:literal, $spec:expr, $run:path) => {
        action!(@entry $name, Some($spec), $run, false)
    };
    ($name:literal, $spec:expr, $run:path, once) => {
        action!(@entry $name, Some($spec), $run, true)
    };
    (@entry $name:literal, $spec:expr, $run:path, $once:literal) => {
        ActionEntry {
            name: $name,
            spec: $spec,
            once: $once,
            run: |context| Box::pin($run(context)),
        }
    };
}

/// All actions, in alphabetical order.
static ACTIONS: &[ActionEntry] = &[
    action!("add_host", &inventory::ADD_HOST, inventory::add_host, once),
    action!(
        "ansible._protomatter.debug",
        &debug::ExpressionArgs::SPEC,
        debug::expressions
    ),
    action!("ansible.posix.synchronize", synchronize::run),
    action!("assemble", assemble::run),
    action!("assert", &assert::AssertArgs::SPEC, assert::run),
    action!("async_status", async_status::run),
    action!("copy", transfer::copy),
    action!("debug", &debug::DebugArgs::SPEC, debug::run),
    action!("fail", &fail::FailArgs::SPEC, fail::run),
    action!("fetch", &fetch::FetchArgs::SPEC, fetch::run),
    action!("gather_facts", &facts::GATHER_FACTS, facts::gather_facts),
    action!(
        "group_by",
        &inventory::GroupByArgs::SPEC,
        inventory::group_by
    ),
    action!(
        "include_vars",
        &include_vars::IncludeVarsArgs::SPEC,
        include_vars::run
    ),
    action!("package", package::run),
    action!("pause", &pause::PauseArgs::SPEC, pause::run, once),
    action!("raw", &raw::RawArgs::SPEC, raw::run),
    action!("reboot", &reboot::RebootArgs::SPEC, reboot::run),
    action!("script", transfer::script),
    action!("set_fact", &facts::SET_FACT, facts::set_fact),
    action!("set_stats", &set_stats::SetStatsArgs::SPEC, set_stats::run),
    action!("setup", facts::setup),
    action!("template", &transfer::TEMPLATE, transfer::template),
    action!("unarchive", transfer::unarchive),
    action!("user", user::run),
    action!(
        "validate_argument_spec",
        &validate_argument_spec::OPTIONS,
        validate_argument_spec::run
    ),
    action!(
        "wait_for_connection",
        &connection::WaitArgs::SPEC,
        connection::wait
    ),
];

fn find(name: &str) -> Option<&'static ActionEntry> {
    ACTIONS.iter().find(|action| action.name == name)
}

/// Returns the options of a module or action, by its short name.
pub(super) fn spec(name: &str) -> Option<&'static ArgumentSpec> {
    find(name)
        .and_then(|action| action.spec)
        .or_else(|| modules::find(name).map(|module| module.spec))
}

/// Tells whether an action runs once for all hosts of a batch, by its full name.
pub(super) fn runs_once(name: &str) -> bool {
    find(short(name)).is_some_and(|action| action.once)
}

/// Returns a name without Ansible's own collection.
pub(super) fn short(name: &str) -> &str {
    name.strip_prefix("ansible.builtin.")
        .or_else(|| name.strip_prefix("ansible.legacy."))
        .unwrap_or(name)
}

/// An action with its arguments, rendered once for all attempts.
pub(super) struct Prepared {
    name: Arc<str>,
    args: Map,
    external: Option<Arc<ExternalModule>>,
}

/// Finds the action of the context's task and renders its arguments.
pub(super) fn prepare(context: &ActionContext<'_>) -> Result<Prepared, Failure> {
    let name = resolve(context)?;
    let external = match &context.job.task.action.kind {
        ActionKind::Module {
            name: ModuleName::External(module),
            ..
        } => Some(Arc::clone(module)),
        _ => None,
    };
    let spec = match &external {
        Some(_) => &external::SPEC,
        None => spec(short(&name)).ok_or_else(|| unknown(&name))?,
    };
    let args = arguments::render(context, spec, &name)?;
    Ok(Prepared {
        name,
        args,
        external,
    })
}

/// Runs a prepared action.
pub(super) async fn run(
    context: &mut ActionContext<'_>,
    prepared: &Prepared,
) -> Result<Answer, Failure> {
    context.args = prepared.args.clone();
    if let Some(module) = &prepared.external {
        return external::run(context, module).await;
    }
    let name = short(&prepared.name);
    if context.settings.async_seconds > 0 && !can_be_a_job(name) {
        let written = context.job.task.action.written.to_value();
        return Err(Failure::action(format!(
            "This action ({written}) does not support async."
        )));
    }
    match find(name) {
        Some(action) => (action.run)(context).await,
        None => context.call_module(name).await,
    }
}

/// Tells whether a task can be a job of the target: not what has a part on the controller.
fn can_be_a_job(name: &str) -> bool {
    matches!(name, "package" | "setup" | "user") || (find(name).is_none() && name != "assemble")
}

fn resolve(context: &ActionContext<'_>) -> Result<Arc<str>, Failure> {
    match &context.job.task.action.kind {
        ActionKind::Module { name, .. } => match name {
            ModuleName::Known(name) => Ok(Arc::clone(name)),
            ModuleName::Missing { name, why } => Err(Failure::new(format!("{name}: {why}"))),
            ModuleName::External(module) => Ok(Arc::clone(&module.name)),
            ModuleName::Source(node) => {
                let rendered = context.renderer.text(Some(node))?.unwrap_or_default();
                Ok(playbook::full_name(&rendered).into())
            }
        },
        _ => Err(Failure::new("the task has no module")),
    }
}

fn unknown(name: &str) -> Failure {
    let known = Executable.modules();
    let failure = Failure::new(format!("couldn't resolve module/action '{}'", short(name)));
    match crate::error::nearest(short(name), known) {
        Some(near) => failure.help(format!("did you mean `{near}`?")),
        None => failure,
    }
}

/// The modules, actions and lookups that exist here.
#[derive(Clone, Copy, Debug, Default)]
pub struct Executable;

impl Catalog for Executable {
    fn module(&self, name: &str) -> Option<&'static ArgumentSpec> {
        spec(name)
    }

    fn modules(&self) -> Vec<&'static str> {
        let mut names: Vec<_> = ACTIONS
            .iter()
            .map(|action| action.name)
            .chain(modules::all().map(|module| module.name))
            .collect();
        names.sort_unstable();
        names.dedup();
        names
    }

    fn has_lookup(&self, name: &str) -> bool {
        self.lookups().contains(&name)
    }

    fn lookups(&self) -> Vec<&'static str> {
        crate::lookups::NAMES.to_vec()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_module_of_a_collection_is_found_by_its_full_and_by_its_old_short_name() {
        for (written, full) in [
            ("ufw", "community.general.ufw"),
            (
                "ansible.posix.authorized_key",
                "ansible.posix.authorized_key",
            ),
            ("copy", "ansible.builtin.copy"),
        ] {
            assert_eq!(playbook::full_name(written), full);
            assert!(spec(short(full)).is_some(), "{full}");
        }
    }

    #[test]
    fn actions_are_listed_in_order_and_once() {
        let names: Vec<_> = ACTIONS.iter().map(|action| action.name).collect();
        let mut sorted = names.clone();
        sorted.sort_unstable();
        sorted.dedup();
        assert_eq!(names, sorted);
    }
}
