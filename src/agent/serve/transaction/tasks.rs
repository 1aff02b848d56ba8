//! Exactly once: a numbered task of a transaction runs at most one time, whoever asks again.
//!
//! A result may hold what nobody marked as secret: the difference of a file, the output of a
//! program. The journal has it sealed with the token of the transaction, which is on no disk.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value as Json;

use super::Transactions;
use super::link::LOST;
use super::seal::Seal;
use crate::agent::protocol::{Call, Reply};
use crate::modules::Failure;
use crate::transaction::log::{Entry, Replay};

/// The tasks of the transaction so far.
pub(super) struct Ledger {
    /// The highest number that was begun.
    pub(super) last: Option<u64>,
    /// The journaled results.
    pub(super) done: BTreeMap<u64, Json>,
    seal: Seal,
}

/// A result as it is journaled.
#[derive(Serialize, Deserialize)]
struct Kept {
    /// What undoing has to know of it; older journals have all of it here.
    #[serde(flatten)]
    outcome: Reply,
    #[serde(default)]
    sealed: Option<String>,
}

/// Whether a task is to run.
#[derive(Debug)]
pub(in crate::agent::serve) enum Start {
    Run,
    /// It is not to run; this is its result.
    Answered(Box<Reply>),
}

impl Ledger {
    /// Returns the ledger of a transaction that begins.
    pub(super) fn new(token: &str) -> Self {
        Self {
            last: None,
            done: BTreeMap::new(),
            seal: Seal::new(token),
        }
    }

    /// Returns the ledger of a transaction that goes on.
    pub(super) fn read(replay: &Replay, token: &str) -> Self {
        let results = replay.results().into_iter();
        Self {
            last: replay.last_seq(),
            done: results.map(|(seq, result)| (seq, result.clone())).collect(),
            seal: Seal::new(token),
        }
    }

    /// Returns a result as it is journaled.
    fn kept(&self, reply: &Reply) -> serde_json::Result<Json> {
        serde_json::to_value(Kept {
            outcome: bare(reply),
            sealed: Some(self.seal.close(&serde_json::to_vec(reply)?)),
        })
    }

    fn opened(&self, kept: &Json) -> Result<Reply, String> {
        let kept = Kept::deserialize(kept).map_err(|error| error.to_string())?;
        let Some(sealed) = kept.sealed else {
            return Ok(kept.outcome);
        };
        let reply = self.seal.open(&sealed).ok_or("its seal is broken")?;
        serde_json::from_slice(&reply).map_err(|error| error.to_string())
    }

    fn look_up(&self, seq: u64) -> Start {
        if let Some(kept) = self.done.get(&seq) {
            return Start::Answered(Box::new(self.opened(kept).unwrap_or_else(|why| {
                failed(format!(
                    "the journaled result of the task is damaged: {why}"
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
        let Ok(result) = current.ledger.kept(reply) else {
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

/// Returns what is kept of a result for everybody who may read the journal.
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
        let mut ledger = Ledger::new("token");
        ledger.last = Some(4);
        let kept = ledger.kept(&reply("three")).unwrap();
        ledger.done.insert(3, kept);
        ledger
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
    fn of_a_result_only_the_outcome_is_to_be_read_without_the_token() {
        let kept = serde_json::to_value(ledger().kept(&reply("hunter2")).unwrap()).unwrap();
        assert_eq!(kept["result"], serde_json::json!({"changed": true}));
        assert!(!kept.to_string().contains("hunter2"), "{kept}");
        let opened = Ledger::new("token").opened(&kept);
        assert_eq!(opened, Ok(reply("hunter2")));
        assert!(Ledger::new("another").opened(&kept).is_err());
    }

    #[test]
    fn a_result_of_an_older_journal_is_not_sealed() {
        let mut ledger = ledger();
        let plain = serde_json::to_value(reply("three")).unwrap();
        ledger.done.insert(3, plain);
        assert_eq!(answer(ledger.look_up(3)), reply("three"));
    }
}
