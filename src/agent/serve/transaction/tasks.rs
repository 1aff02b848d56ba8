//! Exactly once: a numbered task of a transaction runs at most one time, whoever asks again.

use std::collections::BTreeMap;

use serde_json::Value as Json;

use super::Transactions;
use super::link::LOST;
use crate::agent::protocol::{Call, Reply};
use crate::modules::Failure;
use crate::transaction::log::{Entry, Replay};

/// The tasks of the transaction so far.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Ledger {
    /// The highest number that was begun.
    pub(super) last: Option<u64>,
    /// The journaled results.
    pub(super) done: BTreeMap<u64, Json>,
}

/// Whether a task is to run.
#[derive(Debug)]
pub(in crate::agent::serve) enum Start {
    Run,
    /// It is not to run; this is its result.
    Answered(Box<Reply>),
}

impl Ledger {
    pub(super) fn new(replay: &Replay) -> Self {
        let results = replay.results().into_iter();
        Self {
            last: replay.last_seq(),
            done: results.map(|(seq, result)| (seq, result.clone())).collect(),
        }
    }

    fn look_up(&self, seq: u64) -> Start {
        if let Some(result) = self.done.get(&seq) {
            let reply = serde_json::from_value(result.clone());
            return Start::Answered(Box::new(reply.unwrap_or_else(|error| {
                failed(format!(
                    "the journaled result of the task is damaged: {error}"
                ))
            })));
        }
        if self.last.is_some_and(|last| seq <= last) {
            return refuse("the task was begun before and not finished, and is not run twice");
        }
        Start::Run
    }
}

impl Transactions {
    /// Decides whether a task runs, and writes its beginning down.
    pub(in crate::agent::serve) fn begin(&mut self, call: &Call) -> Start {
        let Some(current) = &mut self.current else {
            return match call.transaction_seq {
                None => Start::Run,
                Some(_) => refuse(
                    "the transaction of this task is not open here any more: it was undone, \
                     or another connection has taken it over",
                ),
            };
        };
        if current.link.is_gone() {
            return refuse(LOST);
        }
        let Some(seq) = call.transaction_seq else {
            return Start::Run;
        };
        match current.ledger.look_up(seq) {
            Start::Run => {}
            answered @ Start::Answered(_) => return answered,
        }
        let name = call.module.clone();
        // A crash of the machine undoes the task anyway, so its beginning need not be durable.
        let noted = current
            .log
            .with(|log| log.note(&Entry::TaskStarted { seq, name }));
        if let Err(error) = noted {
            return refuse(error.to_string());
        }
        current.ledger.last = Some(seq);
        Start::Run
    }

    /// Writes down what came of a task.
    pub(in crate::agent::serve) fn end(&mut self, call: &Call, reply: &Reply) {
        let Some((current, seq)) = self.current.as_mut().zip(call.transaction_seq) else {
            return;
        };
        let kept = if call.no_log {
            bare(reply)
        } else {
            reply.clone()
        };
        let Ok(result) = serde_json::to_value(kept) else {
            return;
        };
        let entry = Entry::TaskDone {
            seq,
            result: result.clone(),
        };
        // A journal that takes no more has failed the task's changes, or fails the next.
        if current.log.with(|log| log.note(&entry)).is_ok() {
            current.ledger.done.insert(seq, result);
        }
    }
}

/// Returns what may be kept of a secret result.
fn bare(reply: &Reply) -> Reply {
    let mut bare = reply.clone();
    bare.steps.clear();
    bare.deprecated.clear();
    bare.result
        .retain(|name, _| matches!(name.as_str(), Some("changed" | "failed")));
    bare
}

fn refuse(why: impl Into<String>) -> Start {
    Start::Answered(Box::new(failed(why.into())))
}

fn failed(why: String) -> Reply {
    Reply {
        result: Failure::new(why).into_result(),
        ..Reply::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::value::Value;

    fn reply(text: &str) -> Reply {
        let mut reply = Reply::default();
        reply.result.insert("changed".into(), true.into());
        reply.result.insert("stdout".into(), text.into());
        reply
    }

    fn ledger() -> Ledger {
        Ledger {
            last: Some(4),
            done: BTreeMap::from([(3, serde_json::to_value(reply("three")).unwrap())]),
        }
    }

    fn answer(start: Start) -> Reply {
        match start {
            Start::Answered(reply) => *reply,
            Start::Run => panic!("the task is not to run"),
        }
    }

    #[test]
    fn a_task_that_is_done_answers_from_the_journal() {
        assert_eq!(answer(ledger().look_up(3)), reply("three"));
    }

    #[test]
    fn a_task_that_was_interrupted_is_not_run_twice() {
        let refused = answer(ledger().look_up(4));
        assert_eq!(
            refused.result.get("msg"),
            Some(&Value::from(
                "the task was begun before and not finished, and is not run twice"
            ))
        );
        assert!(matches!(ledger().look_up(2), Start::Answered(_)));
        assert!(matches!(ledger().look_up(5), Start::Run));
    }

    #[test]
    fn of_a_secret_result_only_the_outcome_is_kept() {
        let kept = serde_json::to_string(&bare(&reply("hunter2"))).unwrap();
        assert_eq!(kept, r#"{"result":{"changed":true},"timed_out":false}"#);
    }
}
