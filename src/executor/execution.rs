//! What came of a task on one host: a result for each item, and what the run is to do with it.
//!
//! Pure: shapes results as Ansible registers and shows them; applies nothing.

use std::sync::Arc;

use super::failure::{Failure, NO_TRACEBACK};
use crate::error::{Error, ErrorKind};
use crate::event::{Status, Step};
use crate::source::Mark;
use crate::value::{Map, Value};

/// What the run does when a result is good.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Effect {
    /// Facts of the target: `ansible_facts`, and as variables where facts are injected.
    Facts(Arc<Map>),
    /// `set_fact`: variables of the host; `cacheable` ones are facts too.
    SetFacts { facts: Arc<Map>, cacheable: bool },
    /// `include_vars`: variables as the files wrote them.
    IncludeVars(Arc<crate::playbook::Vars>),
    /// `add_host`.
    AddHost {
        name: Arc<str>,
        groups: Vec<String>,
        variables: Map,
    },
    /// `group_by`.
    AddToGroup { group: String, parents: Vec<String> },
    /// `set_stats`.
    Stats {
        data: Map,
        per_host: bool,
        aggregate: bool,
    },
}

/// The dynamic include a result asks for.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Include {
    /// The file as the task names it.
    Tasks(String),
    /// The role's name and the other options that are set, rendered.
    Role { name: String, options: Map },
}

/// The host a task was delegated to.
#[derive(Clone, Debug)]
pub(super) struct Delegation {
    pub(super) host: Arc<str>,
    pub(super) facts: bool,
}

/// The result of one item, or of a task without a loop.
#[derive(Clone, Debug, Default)]
pub(super) struct Execution {
    /// As it is registered.
    pub(super) result: Map,
    /// Keys beside it for reporters only.
    pub(super) hints: Map,
    /// What `changed_when` says for when an effect alters the inventory.
    pub(super) changed_if_altered: Option<bool>,
    pub(super) error: Option<Arc<Error>>,
    pub(super) no_log: bool,
    pub(super) diff: bool,
    pub(super) ignore_errors: bool,
    pub(super) ignore_unreachable: bool,
    pub(super) notify: Vec<Arc<str>>,
    pub(super) delegation: Option<Delegation>,
    pub(super) effects: Vec<Effect>,
    /// What it changed, or would change.
    pub(super) steps: Vec<Step>,
    pub(super) include: Option<Include>,
    /// What was bound while the item ran: the loop variable, `ansible_loop` …
    pub(super) bound: Map,
    /// How the item is shown.
    pub(super) label: Option<Value>,
}

impl Execution {
    /// Makes the execution of a task that a failure ended.
    pub(super) fn failed(failure: &Failure, task: &Mark) -> Self {
        Self {
            result: failure.result(),
            error: Some(Arc::new(failure.error(task))),
            ..Self::default()
        }
    }

    /// Makes the execution of a task whose condition was false.
    pub(super) fn skipped(condition: Value) -> Self {
        Self {
            result: [
                ("changed", false.into()),
                ("skipped", true.into()),
                ("skip_reason", "Conditional result was False".into()),
                ("false_condition", condition),
            ]
            .into_iter()
            .map(|(key, value)| (Value::from(key), value))
            .collect(),
            ..Self::default()
        }
    }

    /// Sets a result key.
    pub(super) fn set(&mut self, key: &str, value: impl Into<Value>) {
        self.result.insert(key.into(), value.into());
    }

    /// Tells whether a result key holds something true.
    pub(super) fn has(&self, key: &str) -> bool {
        self.result.get(key).is_some_and(Value::is_truthy)
    }

    /// Gives a failed result of an action the error that reporters show; a module failed when it
    /// said so itself, not by `failed_when`.
    pub(super) fn explain_failure(&mut self, task: &Mark, by_module: bool, help: Option<String>) {
        if !self.has("failed") {
            return;
        }
        self.set("exception", NO_TRACEBACK);
        let msg = self.result.get("msg").map(Value::to_string);
        let who = if by_module { "Module" } else { "Action" };
        let cause = match msg.as_deref() {
            None => {
                let cause = format!("{who} failed: Unknown error.");
                self.set("msg", format!("Task failed: {cause}"));
                cause
            }
            Some("") => format!("{who} failed."),
            // An exception of a module says the whole chain itself.
            Some(msg) if msg.starts_with("Task failed: ") => {
                msg.trim_start_matches("Task failed: ").to_owned()
            }
            Some(msg) => format!("{who} failed: {msg}"),
        };
        let mut error = Error::new(ErrorKind::TaskFailed, "Task failed")
            .at(task)
            .caused_by(cause);
        error.help = help;
        self.error = Some(Arc::new(error));
    }

    /// Tells how it ended.
    pub(super) fn status(&self) -> Status {
        let failed = match self.result.get("failed_when_result") {
            Some(answer) => answer.is_truthy(),
            None => self.has("failed"),
        };
        self.judge(failed, self.has("unreachable"), self.has("skipped"))
    }

    fn judge(&self, failed: bool, unreachable: bool, skipped: bool) -> Status {
        match (failed, unreachable, skipped) {
            (true, ..) if self.ignore_errors => Status::Ignored,
            (true, ..) => Status::Failed,
            (_, true, _) if self.ignore_unreachable => Status::IgnoredUnreachable,
            (_, true, _) => Status::Unreachable,
            (_, _, true) => Status::Skipped,
            _ if self.has("changed") => Status::Changed,
            _ => Status::Ok,
        }
    }

    /// Returns the error as reporters see it: under `no_log` only where it happened, since what
    /// a module says may hold what it was given.
    pub(super) fn shown_error(&self) -> Option<Arc<Error>> {
        let error = self.error.as_ref()?;
        if !self.no_log {
            return Some(Arc::clone(error));
        }
        let mut placed = Error::new(error.kind, "Task failed");
        placed.mark.clone_from(&error.mark);
        Some(Arc::new(placed))
    }

    /// Tells whether the run's inventory decides how the item ended.
    pub(super) fn is_for_inventory(&self) -> bool {
        let decides =
            |effect: &Effect| matches!(effect, Effect::AddHost { .. } | Effect::AddToGroup { .. });
        self.effects.iter().any(decides)
    }

    /// Returns the result as reporters see it: hints added, and censored under `no_log`.
    pub(super) fn shown(&self) -> Value {
        let mut shown = if self.no_log {
            censored(&self.result)
        } else {
            let mut shown = self.result.clone();
            shown.extend(self.hints.clone());
            // The status of the event says these.
            shown.shift_remove("failed");
            shown.shift_remove("skipped");
            shown
        };
        if let Some(label) = self.shown_label() {
            shown.insert("_ansible_item_label".into(), label);
        }
        shown.into()
    }

    /// Returns the loop item's label as reporters see it.
    pub(super) fn shown_label(&self) -> Option<Value> {
        let label = self.label.as_ref()?;
        Some(if self.no_log {
            CENSORED.into()
        } else {
            label.clone()
        })
    }
}

/// What is shown instead of an item that may be secret.
pub(super) const CENSORED: &str = "(censored due to no_log)";

/// What came of a task on one host.
#[derive(Clone, Debug)]
pub(super) struct Outcome {
    /// The whole result; of a loop, with `results`.
    pub(super) whole: Execution,
    /// The items of a loop; without one, nothing.
    pub(super) items: Option<Vec<Execution>>,
}

impl Outcome {
    /// Wraps the result of a task without a loop.
    pub(super) fn single(mut execution: Execution) -> Self {
        execution
            .result
            .entry("changed".into())
            .or_insert(false.into());
        Self {
            whole: execution,
            items: None,
        }
    }

    /// Marks the whole and these items of a loop as changed.
    pub(super) fn set_changed(&mut self, items: &[usize]) {
        self.whole.set("changed", true);
        if let Some(Value::List(results)) = self.whole.result.get_mut("results") {
            let results = Arc::make_mut(results);
            for index in items {
                if let Some(Value::Map(result)) = results.get_mut(*index) {
                    Arc::make_mut(result).insert("changed".into(), true.into());
                }
            }
        }
    }

    /// Gathers the results of a loop's items.
    pub(super) fn of_items(items: Vec<Execution>, results: Vec<Value>) -> Self {
        let mut whole = Execution::default();
        if items.is_empty() {
            whole.set("changed", false);
            whole.set("skipped", true);
            whole.set("skipped_reason", "No items in the list");
            whole.set("results", Value::List(Arc::default()));
            return Self {
                whole,
                items: Some(items),
            };
        }
        let any = |key| items.iter().any(|item| item.has(key));
        let all_skipped = items.iter().all(|item| item.has("skipped"));
        whole.set("results", results);
        whole.set("skipped", all_skipped);
        whole.set("changed", any("changed"));
        whole.set("msg", "All items completed");
        if any("failed") {
            whole.set("failed", true);
            whole.set("msg", "One or more items failed");
        }
        if any("unreachable") {
            whole.set("unreachable", true);
        }
        if all_skipped {
            whole.set("msg", "All items skipped");
        }
        let failing = |key: &'static str, ignored: fn(&Execution) -> bool| {
            let mut bad = items.iter().filter(|item| item.has(key)).peekable();
            bad.peek().is_some() && bad.all(ignored)
        };
        whole.ignore_errors = failing("failed", |item| item.ignore_errors);
        whole.ignore_unreachable = failing("unreachable", |item| item.ignore_unreachable);
        whole.no_log = items.iter().any(|item| item.no_log);
        whole.diff = items.iter().any(|item| item.diff);
        whole.delegation = items.last().and_then(|item| item.delegation.clone());
        for key in ["warnings", "deprecations"] {
            let told: Vec<Value> = items
                .iter()
                .filter_map(|item| item.result.get(key)?.as_list())
                .flatten()
                .cloned()
                .collect();
            if !told.is_empty() {
                whole.set(key, told);
            }
        }
        Self {
            whole,
            items: Some(items),
        }
    }

    /// Tells how the task ended on the host.
    pub(super) fn status(&self) -> Status {
        let Some(items) = &self.items else {
            return self.whole.status();
        };
        // Once one item was judged by `failed_when`, only such judgements count.
        let judged: Vec<_> = items
            .iter()
            .filter_map(|item| item.result.get("failed_when_result"))
            .collect();
        let failed = if judged.is_empty() {
            self.whole.has("failed")
        } else {
            judged.iter().any(|answer| answer.is_truthy())
        };
        let skipped = self.whole.has("skipped");
        self.whole
            .judge(failed, self.whole.has("unreachable"), skipped)
    }

    /// Returns every change it made, or would make.
    pub(super) fn steps(&self) -> Vec<Step> {
        let executions = self.executions().iter();
        executions
            .flat_map(|execution| execution.steps.iter().cloned())
            .collect()
    }

    /// Returns the executions whose effects and notifications count.
    pub(super) fn executions(&self) -> &[Execution] {
        match &self.items {
            Some(items) => items,
            None => std::slice::from_ref(&self.whole),
        }
    }

    /// Returns what `register` keeps.
    pub(super) fn registered(&self) -> Value {
        let mut kept = self.whole.result.clone();
        kept.shift_remove("invocation");
        kept.into()
    }

    /// Returns the result as reporters see it.
    pub(super) fn shown(&self) -> Value {
        let (Some(items), true) = (&self.items, self.whole.no_log) else {
            return self.whole.shown();
        };
        let mut shown = censored(&self.whole.result);
        let results: Vec<Value> = items.iter().map(Execution::shown).collect();
        shown.insert("results".into(), results.into());
        shown.into()
    }
}

/// What is left of a result under `no_log`.
fn censored(result: &Map) -> Map {
    const KEPT: [&str; 6] = [
        "attempts",
        "changed",
        "retries",
        "exception",
        "warnings",
        "deprecations",
    ];
    let mut left: Map = KEPT
        .iter()
        .filter_map(|key| Some((Value::from(*key), result.get(*key)?.clone())))
        .collect();
    left.insert(
        "censored".into(),
        "the output has been hidden due to the fact that 'no_log: true' was specified for this \
         result"
            .into(),
    );
    left
}

#[cfg(test)]
mod tests {
    use super::*;

    fn item(pairs: &[(&str, Value)]) -> Execution {
        Execution {
            result: pairs
                .iter()
                .map(|(key, value)| (Value::from(*key), value.clone()))
                .collect(),
            ..Execution::default()
        }
    }

    fn whole(items: Vec<Execution>) -> Outcome {
        let results = items
            .iter()
            .map(|item| item.result.clone().into())
            .collect();
        Outcome::of_items(items, results)
    }

    #[test]
    fn a_loop_over_nothing_is_skipped_with_its_own_reason() {
        let outcome = whole(Vec::new());
        assert_eq!(outcome.status(), Status::Skipped);
        assert_eq!(
            outcome.whole.result.get("skipped_reason"),
            Some(&"No items in the list".into())
        );
    }

    #[test]
    fn one_changed_item_changes_the_task_and_one_failed_item_fails_it() {
        let ok = item(&[("changed", true.into())]);
        let bad = item(&[("failed", true.into())]);
        assert_eq!(whole(vec![ok.clone()]).status(), Status::Changed);
        let outcome = whole(vec![ok, bad.clone()]);
        assert_eq!(outcome.status(), Status::Failed);
        assert_eq!(
            outcome.whole.result.get("msg"),
            Some(&"One or more items failed".into())
        );
        let ignored = Execution {
            ignore_errors: true,
            ..bad.clone()
        };
        assert_eq!(whole(vec![ignored.clone()]).status(), Status::Ignored);
        assert_eq!(whole(vec![ignored, bad]).status(), Status::Failed);
    }

    #[test]
    fn a_task_is_skipped_only_when_every_item_was() {
        let skipped = item(&[("skipped", true.into())]);
        let ok = item(&[("changed", false.into())]);
        assert_eq!(whole(vec![skipped.clone()]).status(), Status::Skipped);
        assert_eq!(whole(vec![skipped, ok]).status(), Status::Ok);
    }

    #[test]
    fn failed_when_beats_failed() {
        let suppressed = item(&[
            ("failed", false.into()),
            ("failed_when_result", false.into()),
        ]);
        assert_eq!(Outcome::single(suppressed).status(), Status::Ok);
        let unclear = item(&[
            ("failed", true.into()),
            ("failed_when_result", "no x".into()),
        ]);
        assert_eq!(Outcome::single(unclear).status(), Status::Failed);
    }

    #[test]
    fn no_log_leaves_only_what_tells_nothing() {
        let secret = Execution {
            no_log: true,
            ..item(&[("changed", true.into()), ("stdout", "hunter2".into())])
        };
        let shown = Outcome::single(secret).shown();
        assert_eq!(shown.get("stdout"), None);
        assert_eq!(shown.get("changed"), Some(&true.into()));
        assert!(shown.get("censored").is_some());
    }
}
