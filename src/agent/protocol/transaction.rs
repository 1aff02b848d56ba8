//! The requests and answers about transactions.
//!
//! They travel like any other request: one at a time, each answered under its number. Times are
//! seconds. Tokens are secrets; they are never journaled, nor put where others can read them.

use serde::{Deserialize, Serialize};

use crate::transaction::lock::Holder;
use crate::transaction::state::{Drift, Item, RunInfo, State, Summary};

/// What the controller wants of the host's transactions.
#[expect(
    clippy::large_enum_variant,
    reason = "one message of a kind at a time: nothing is saved by a box"
)]
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "ask", rename_all = "snake_case", deny_unknown_fields)]
pub enum Ask {
    Open(Open),
    /// Takes an open transaction over from a worker that is gone or must go.
    Attach {
        id: String,
        token: String,
    },
    Savepoint {
        name: String,
    },
    /// Undoes what came after the savepoint; the transaction goes on.
    RollBackTo {
        name: String,
    },
    /// Asks whether the transaction can be committed; a yes is durable.
    Prepare,
    Commit {
        /// The health checks passed, so the generation is one to come back to.
        healthy: bool,
    },
    Abort {
        reason: String,
    },
    /// Lists what the host knows, newest first; recovers first what lost its guardian.
    Transactions,
    /// Undoes the generations after `to`, newest first, inside the open transaction.
    RollBackGeneration {
        to: u64,
    },
    /// Settles a transaction that is prepared, stuck, or left behind.
    Recover {
        id: String,
        decision: Decision,
    },
    /// Ends the holder of a lock; its transaction is undone.
    BreakLock {
        application: String,
    },
    Holder {
        application: String,
    },
}

/// A transaction to open.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Open {
    /// 128 random bits in hexadecimal, the same on every host of the run.
    pub id: String,
    /// Another 128 random bits, known to the controller and the guardians alone.
    pub token: String,
    pub application: String,
    pub run: RunInfo,
    /// How long the host waits for a sign of life before it undoes.
    pub lease: f64,
    /// How long it waits when its worker is gone; a quarter of the lease when not given.
    pub grace: Option<f64>,
    /// How many generations are kept.
    pub keep: u64,
}

/// How a left-behind transaction is settled.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Decision {
    /// Only what is prepared, or committed already, can be committed.
    Commit,
    /// Undoes what is open.
    Abort,
    /// Undoes what is committed, from its generation, as long as it is the last one.
    Revert,
    /// Leaves everything as it is: somebody has settled by hand what is stuck.
    Accept,
}

/// What the agent answers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "answer", rename_all = "snake_case", deny_unknown_fields)]
pub enum Answer {
    /// It cannot be done; nothing was.
    Refused {
        why: String,
    },
    /// Somebody else holds the lock.
    Locked {
        holder: Holder,
    },
    Opened(Opened),
    Attached(Attached),
    Done,
    Voted(Vote),
    Committed(Committed),
    Undone(UndoReport),
    Recovered(Recovered),
    Transactions {
        list: Vec<Summary>,
    },
    Holder {
        holder: Option<Holder>,
    },
}

/// An open transaction.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Opened {
    /// What the user should know, such as a guardian that does not survive a logout.
    pub warnings: Vec<String>,
    /// Transactions that were found left behind and are settled now.
    pub recovered: Vec<Summary>,
}

/// A transaction that was taken over.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Attached {
    pub state: State,
    /// The last task that was started, by its number in the transaction.
    pub last_seq: Option<u64>,
    /// The tasks whose results are journaled; asking for one again returns its result.
    pub done: Vec<u64>,
}

/// Whether a transaction can be committed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "vote", rename_all = "snake_case", deny_unknown_fields)]
pub enum Vote {
    /// It can; `changed` tells whether there is anything to commit.
    Yes {
        changed: bool,
    },
    No {
        why: String,
    },
}

/// A commit that is durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Committed {
    /// `None` when nothing had changed.
    pub generation: Option<u64>,
}

/// What became of an undo.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UndoReport {
    pub drift: Vec<Drift>,
    /// What could not be undone; empty when everything is as it was.
    pub stuck: Vec<Item>,
    /// What was done and nobody can undo.
    pub opaque: Vec<String>,
}

impl UndoReport {
    /// Tells whether everything that can be undone is.
    pub fn is_rolled_back(&self) -> bool {
        self.stuck.is_empty()
    }
}

/// How a transaction was settled.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Recovered {
    pub state: State,
    pub generation: Option<u64>,
    pub report: UndoReport,
}
