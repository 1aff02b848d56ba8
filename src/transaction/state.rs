//! What can be said of a transaction without reading its journal: how far it is, whose it is, and
//! what came of it.
//!
//! Plain data for both ends of the wire; who derives it from a journal is `log`'s and `store`'s
//! business.

use serde::{Deserialize, Serialize};

/// How far a transaction is; derived from its journal, never stored by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// The lock is held; nothing is staged or changed.
    Locked,
    Staged,
    /// Tasks run.
    Applying,
    /// The health checks passed.
    Verified,
    /// Ready to commit; only the coordinator's word is missing.
    Prepared,
    Committed,
    RollingBack,
    RolledBack,
    /// Something could not be undone.
    Stuck,
}

impl State {
    /// Tells whether nothing more will happen to the transaction by itself.
    pub fn is_over(self) -> bool {
        matches!(self, Self::Committed | Self::RolledBack | Self::Stuck)
    }
}

/// Who deploys what, as others are told who meet the lock or read the history.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct RunInfo {
    /// What opened the transaction: `deploy` or `rollback`.
    pub kind: String,
    /// The user on the controller.
    pub who: String,
    /// The controller.
    pub host: String,
    /// The page of the run in the continuous integration, where there is one.
    pub run_url: Option<String>,
    /// The controller's version.
    pub version: String,
    /// What is deployed, as the user names it: the version of the application.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub release: Option<String>,
    /// The playbooks, for the health checks of a rollback.
    pub playbook: String,
    /// Every participant of the run by name, sorted, so that a missing one is missed.
    pub participants: Vec<String>,
    /// The transaction whose state a rollback went back to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub target: Option<String>,
}

/// Something that was changed by somebody else after us, and what became of their version.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Drift {
    pub path: String,
    /// Where the other version is kept.
    pub saved: Option<String>,
}

/// Something that could not be undone.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Item {
    pub what: String,
    pub why: String,
}

/// A transaction in a list: in `status`, in the history, and where a generation is chosen.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Summary {
    pub id: String,
    pub application: String,
    pub run: RunInfo,
    pub state: State,
    /// Seconds since the epoch.
    pub opened: i64,
    pub ended: Option<i64>,
    /// The number of the generation, once committed with changes.
    pub generation: Option<u64>,
    /// The health checks of the committed generation passed.
    pub healthy: bool,
    /// How many changes the journal holds.
    pub changes: u64,
    /// Why it was rolled back.
    pub reason: Option<String>,
    pub drift: Vec<Drift>,
    pub stuck: Vec<Item>,
    /// What was done and nobody can undo.
    pub opaque: Vec<String>,
}

/// How far one step of a task can be undone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Class {
    Exact,
    Compensated,
    Declared,
    Opaque,
}

/// One change of a task, done or predicted, and what would undo it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Step {
    pub class: Class,
    pub what: String,
    /// Empty where nothing undoes it.
    pub undo: String,
}
