//! Which tasks nobody can undo, read from the playbook before any host is touched.
//!
//! What cannot be read without a host's variables is left to the call itself: `--strict` refuses
//! it there.

use crate::error::Error;
use crate::executor::actions;
use crate::executor::plan::TRANSACTION;
use crate::modules::{self, Reversal};
use crate::node::{Kind, Node};
use crate::playbook::{ActionKind, Item, Keyword, ModuleName, Play, TagSelection, Task};
use crate::source::Mark;
use crate::value::{Map, Value};

/// The variable that says what undoes a command.
pub(in crate::executor) const UNDO: &str = "backstay_undo";
/// The variable that names the paths a command changes.
pub(in crate::executor) const PROTECT: &str = "backstay_protect";

/// Reads playbooks for tasks that nobody can undo.
pub(in crate::executor) struct Opaque<'a> {
    pub(in crate::executor) tags: &'a TagSelection,
}

impl Opaque<'_> {
    /// Returns an error for each task of a play, handlers included, that nobody can undo.
    pub(in crate::executor) fn of_play(&self, play: &Play) -> Vec<Error> {
        let mut found = Vec::new();
        for items in play.sections() {
            self.gather(items, &mut found);
        }
        found.extend(play.handlers.iter().filter_map(|task| refusal(task)));
        found
    }

    /// Returns an error for each task of an include that nobody can undo.
    pub(in crate::executor) fn of_items(&self, items: &[Item]) -> Vec<Error> {
        let mut found = Vec::new();
        self.gather(items, &mut found);
        found
    }

    fn gather(&self, items: &[Item], found: &mut Vec<Error>) {
        for item in items {
            match item {
                Item::Task(task) if self.tags.lets_run(&task.tags()) => found.extend(refusal(task)),
                Item::Task(_) | Item::RoleComplete(_) => {}
                Item::Block(block) => {
                    for items in [&block.block, &block.rescue, &block.always] {
                        self.gather(items, found);
                    }
                }
            }
        }
    }
}

fn refusal(task: &Task) -> Option<Error> {
    let ActionKind::Module { name, args } = &task.action.kind else {
        return None;
    };
    let (name, is_external) = match name {
        ModuleName::Known(name) => (actions::short(name), false),
        ModuleName::External(module) => (&*module.name, true),
        _ => return None,
    };
    let option = |wanted: &str| {
        let mut options = args.options.iter();
        let found = options.find(|(key, _)| key.as_str() == Some(wanted));
        found.map(|(_, value)| value)
    };
    let is_opaque = match name {
        _ if is_external => true,
        "raw" => true,
        "uri" => option("method").is_some_and(|method| match &method.kind {
            Kind::Text(text) | Kind::Unsafe(text) => !text.contains("{{") && !only_reads(text),
            _ => false,
        }),
        _ if runs_what_its_user_knows(name) => option("creates").is_none() && !writes_creates(args),
        _ => false,
    };
    let is_job = task.async_seconds.is_some()
        && task
            .poll
            .as_ref()
            .is_some_and(|poll| poll.kind == Kind::Int(0));
    let is_declared = name != "raw" && (says(task, UNDO) || says(task, PROTECT));
    if !is_job && (!is_opaque || is_declared || changes_nothing(task)) {
        return None;
    }
    Some(refused(name, &task.action.written.mark))
}

/// Tells whether only its user knows what the module runs.
fn runs_what_its_user_knows(module: &str) -> bool {
    modules::find(module).is_some_and(|module| matches!(module.reversal(), Reversal::Asked(_)))
}

fn writes_creates(args: &crate::playbook::Args) -> bool {
    let free = args.free_form.as_ref().and_then(Node::as_str);
    free.is_some_and(|text| {
        text.split_whitespace()
            .any(|word| word.starts_with("creates="))
    })
}

fn only_reads(method: &str) -> bool {
    ["GET", "HEAD", "OPTIONS"].contains(&method.to_uppercase().as_str())
}

/// Tells whether a level around the task sets the variable.
fn says(task: &Task, variable: &str) -> bool {
    let mut layers = task.layer.outwards();
    layers.any(|layer| layer.vars.contains_key(variable))
}

/// Tells whether the task says of itself that it changes nothing.
pub(in crate::executor) fn changes_nothing(task: &Task) -> bool {
    let is = |node: &Node, wanted: bool| node.to_value().to_soft_bool() == Some(wanted);
    let predicted = task.layer.nearest(Keyword::CheckMode);
    (!task.changed_when.is_empty() && task.changed_when.iter().all(|node| is(node, false)))
        || predicted.is_some_and(|node| is(node, true))
}

fn refused(name: &str, mark: &Mark) -> Error {
    Error::content(format!(
        "nobody can undo this `{name}`, and `--strict` refuses it"
    ))
    .at(mark)
    .help(match name {
        "raw" => "use another module: what `raw` does is never known",
        _ => {
            "say what undoes it with `vars: {backstay_undo: \"…\"}`, which paths it changes with \
             `backstay_protect: […]`, or `changed_when: false` where it changes nothing"
        }
    })
}

/// Returns what a call does beside the machine that nobody can undo, if it does.
pub(in crate::executor) fn opaque_steps(module: &str, args: &Map) -> Option<String> {
    let text = |name: &str| args.get(name).map(Value::to_string).unwrap_or_default();
    match module {
        "uri" => {
            let method = text("method").to_uppercase();
            let writes = !method.is_empty() && !only_reads(&method);
            writes.then(|| format!("{method} {}", text("url")))
        }
        _ => None,
    }
}

/// Returns an error for each `backstay_transaction` that is not plainly true or false.
pub(in crate::executor) fn wrong_transactions(play: &Play) -> Vec<Error> {
    let mut found = Vec::new();
    check_flag(play.layer.vars.get(TRANSACTION), &mut found);
    for items in play.sections() {
        check_flags(items, &mut found);
    }
    found
}

fn check_flags(items: &[Item], found: &mut Vec<Error>) {
    for item in items {
        match item {
            Item::Block(block) => {
                check_flag(block.layer.vars.get(TRANSACTION), found);
                for items in [&block.block, &block.rescue, &block.always] {
                    check_flags(items, found);
                }
            }
            Item::Task(task) => {
                if let Some(node) = task.layer.vars.get(TRANSACTION) {
                    let error = Error::content("a single task cannot be a transaction");
                    found.push(error.at(&node.mark).help("put it into a block"));
                }
            }
            Item::RoleComplete(_) => {}
        }
    }
}

fn check_flag(node: Option<&Node>, found: &mut Vec<Error>) {
    if let Some(node) = node
        && node.to_value().to_soft_bool().is_none()
    {
        let error = Error::content("`backstay_transaction` must be plainly true or false");
        let help = "it is read before any host's variables are known";
        found.push(error.at(&node.mark).help(help));
    }
}
