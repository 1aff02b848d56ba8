//! What a journal says, entry by entry.
//!
//! Entries are written as JSON. A later backstay reads every older version: new fields have
//! defaults, and nothing is renamed.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::transaction::journal::UndoRecord;
use crate::transaction::path_text;
use crate::transaction::state::{Drift, Item, RunInfo};

/// One entry; its number is its place in the journal, from 0.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "entry", rename_all = "snake_case")]
pub enum Entry {
    /// The first entry: the lock is held, nothing is changed yet.
    Opened(Header),
    /// A guardian watches from now on.
    GuardianStarted { pid: u32, boot_id: String },
    /// Everything was looked at that can be before the first change.
    Staged,
    /// A task of the controller's number begins.
    TaskStarted { seq: u64, name: String },
    /// A change is about to happen.
    Undo { record: UndoRecord },
    /// A task is over; its result may be asked for again.
    TaskDone { seq: u64, result: serde_json::Value },
    /// Undoing can stop here.
    Savepoint { name: String },
    /// Pre-images are kept in this directory too, on a file system of its own.
    Shelf {
        #[serde(with = "path_text")]
        path: PathBuf,
    },
    /// The health checks passed before the commit.
    Verified,
    /// This side will do what the controller decides.
    Prepared,
    /// The new state stays.
    Committed {
        generation: u64,
        #[serde(default)]
        at: i64,
    },
    /// The health checks passed after the commit.
    Healthy,
    /// Undoing begins, or goes on after it was interrupted.
    RollingBack {
        reason: String,
        /// The savepoint to stop at.
        to: Option<String>,
    },
    /// The change of entry `of` is undone.
    Compensated { of: u64, outcome: Outcome },
    /// Everything (after the savepoint) is as it was.
    RolledBack {
        to: Option<String>,
        #[serde(default)]
        at: i64,
    },
    /// Something could not be undone.
    Stuck {
        items: Vec<Item>,
        #[serde(default)]
        at: i64,
    },
}

/// Whose transaction it is.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Header {
    /// 32 hexadecimal digits, the same on all hosts.
    pub id: String,
    pub application: String,
    pub run: RunInfo,
    /// Seconds since the epoch, for display only.
    pub opened: i64,
    /// Seconds.
    pub lease: f64,
    /// The boot during which the transaction was opened.
    pub boot_id: String,
    #[serde(default)]
    pub worker_pid: u32,
    /// Lowercase hexadecimal digest of the secret that lets others attach.
    #[serde(default)]
    pub token_sha256: String,
    /// The user whose changes these are.
    #[serde(default)]
    pub uid: u32,
    /// The generation that is restored, when this is a rollback.
    #[serde(default)]
    pub restores: Option<u64>,
}

/// What undoing one change came to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "outcome", rename_all = "snake_case")]
pub enum Outcome {
    /// The old state is back.
    Restored,
    /// There was nothing to undo.
    Nothing,
    /// The old state is back; what somebody else had made of it meanwhile is saved.
    Drift(Drift),
    /// Nobody can undo it.
    Left,
    /// The change stands.
    Failed { why: String },
}
