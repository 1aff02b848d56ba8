//! What can happen in a run: the contract between the executor, which emits events, and the
//! reporters, which only listen.
//!
//! Events carry data, never text laid out for a terminal, and never anything that acts. Results
//! have been redacted of `no_log` content by the executor before they are put into an event.

use std::sync::Arc;

use crate::error::Error;
use crate::source::Mark;
use crate::value::Value;

/// What a task is, as far as a listener needs to know.
#[derive(Clone, Debug)]
pub struct TaskInfo {
    /// Unique in the run and stable from the task's start to its last result.
    pub id: u64,
    /// The name as written by the user and rendered as far as it could be; empty when unnamed.
    pub name: String,
    /// The role the task belongs to, shown as `role : name`.
    pub role: Option<String>,
    /// The action as shown when the task has no name: `debug`, `ansible.builtin.copy` …
    pub action: String,
    pub mark: Mark,
    /// The arguments shown under `-vv`/`display_args_to_stdout`; `None` when `no_log`.
    pub arguments: Option<String>,
    pub no_log: bool,
    /// The task runs in check mode, so `CHECK MODE` markers apply when they are enabled.
    pub check_mode: bool,
    pub handler: bool,
    /// The task has a `loop` or `with_*`, so its result holds `results` already shown as items.
    pub looped: bool,
}

impl TaskInfo {
    /// Returns the name a banner shows: `role : name`, falling back to the action.
    pub fn title(&self) -> String {
        let name = if self.name.is_empty() {
            &self.action
        } else {
            &self.name
        };
        match &self.role {
            Some(role) => format!("{role} : {name}"),
            None => name.clone(),
        }
    }
}

/// How one host's part of a task, or one item of its loop, ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Status {
    Ok,
    Changed,
    Skipped,
    Failed,
    /// Failed, and `ignore_errors` let the host go on.
    Ignored,
    Unreachable,
    /// Unreachable, and `ignore_unreachable` let the host go on.
    IgnoredUnreachable,
}

/// One result: of a host's whole task, or of one loop item.
#[derive(Clone, Debug)]
pub struct TaskResult {
    pub host: Arc<str>,
    /// The host the task was delegated to, shown as `host -> delegate`.
    pub delegate: Option<Arc<str>>,
    pub task: Arc<TaskInfo>,
    pub status: Status,
    /// The result dictionary as it is registered, and beside it the display hints
    /// `_ansible_verbose_always`, `_ansible_verbose_override` and `_ansible_item_label`.
    pub result: Value,
    /// The label of the loop item, for item results.
    pub item: Option<Value>,
    /// The error behind a failed status when it is one of ours rather than a module's answer.
    pub error: Option<Arc<Error>>,
    /// The task wants its diff shown.
    pub diff: bool,
    /// The changes it made or predicted, in a transaction or its plan; empty elsewhere.
    pub steps: Vec<Step>,
}

/// How far a change can be undone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Reversibility {
    /// The old state comes back as it was.
    Exact,
    /// The recorded prior state is applied again.
    Compensated,
    /// The user said what undoes it.
    Declared,
    /// Nobody knows what undoes it.
    Opaque,
}

impl Reversibility {
    /// Returns the word users see.
    pub fn name(self) -> &'static str {
        match self {
            Self::Exact => "exact",
            Self::Compensated => "compensated",
            Self::Declared => "declared",
            Self::Opaque => "opaque",
        }
    }
}

/// One change of a task, done or predicted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    pub class: Reversibility,
    pub what: String,
    /// What undoes it; empty when nothing does.
    pub undo: String,
}

/// Who holds a lock that is waited for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LockHolder {
    pub who: String,
    /// Seconds since the epoch.
    pub since: i64,
    /// The page of the run that holds it, where there is one.
    pub run_url: Option<String>,
}

impl LockHolder {
    /// Returns since when the lock is held, in UTC.
    pub fn since_text(&self) -> String {
        jiff::Timestamp::from_second(self.since)
            .map_or_else(|_| "an unknown time".to_owned(), |time| time.to_string())
    }
}

/// How a transaction ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TransactionEnd {
    Committed,
    /// Everybody is back where they were.
    RolledBack,
    /// Something could not be undone.
    Stuck,
    /// Participants differ, or one is not known about.
    InDoubt,
}

/// How a transaction ended for one participant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ParticipantEnd {
    /// With its generation, unless nothing had changed.
    Committed(Option<u64>),
    RolledBack,
    Stuck,
    /// It does not answer; its guardian undoes once the lease is over, unless it has committed.
    Unknown(String),
}

/// What became of one participant: a host, as one user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParticipantOutcome {
    /// The host, and who on it when that is not the login user: `web1`, `web1 (app)`.
    pub name: Arc<str>,
    pub end: ParticipantEnd,
    /// What somebody else had changed meanwhile, and where their version is kept.
    pub drift: Vec<(String, Option<String>)>,
    /// What could not be undone, and why.
    pub stuck: Vec<(String, String)>,
    /// What was done, was to be undone, and cannot be.
    pub not_undone: Vec<String>,
}

/// What became of a transaction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TransactionOutcome {
    pub id: String,
    /// The block it was about; `None` for a whole deploy or play.
    pub block: Option<String>,
    pub end: TransactionEnd,
    /// Why it was not committed.
    pub reason: Option<String>,
    pub participants: Vec<ParticipantOutcome>,
}

/// One host's line of the recap.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HostStats {
    pub ok: usize,
    pub changed: usize,
    pub unreachable: usize,
    pub failed: usize,
    pub skipped: usize,
    pub rescued: usize,
    pub ignored: usize,
}

/// Something that happened in a run.
#[derive(Clone, Debug)]
pub enum Event {
    PlaybookStarted {
        path: String,
        n_plays: usize,
    },
    /// `name` is what the banner shows: the play's name or its hosts pattern.
    ///
    /// `lockstep` is false under `free` and `host_pinned`, where hosts are at different tasks at
    /// one time.
    PlayStarted {
        name: String,
        hosts: Vec<Arc<str>>,
        check_mode: bool,
        lockstep: bool,
    },
    NoHostsMatched,
    NoHostsRemaining,
    /// A batch starts a task or handler; emitted once for all hosts of the batch under `linear`.
    TaskStarted {
        task: Arc<TaskInfo>,
    },
    /// A host starts its part of the task.
    HostStarted {
        host: Arc<str>,
        task: Arc<TaskInfo>,
    },
    /// Something long is under way on a host: bytes sent or received of `total` (0: unknown).
    Progress {
        host: Arc<str>,
        label: String,
        done: u64,
        total: u64,
    },
    ItemFinished(TaskResult),
    /// An attempt of `until`/`retries` failed and another follows.
    Retried {
        result: TaskResult,
        retries_left: u32,
    },
    /// An `async` job was looked at: `finished` false while it runs.
    AsyncPolled {
        result: TaskResult,
        job: String,
        finished: bool,
    },
    /// A host's part of a task is over. For loops, after its items.
    HostFinished(TaskResult),
    /// `include_tasks` brought a file, or `include_role` a role, for these hosts.
    Included {
        what: String,
        hosts: Vec<Arc<str>>,
        item: Option<Value>,
    },
    /// A host notified a handler (shown at `-vv`).
    HandlerNotified {
        handler: String,
        host: Arc<str>,
    },
    /// A `meta` action ran (shown at `-vv`).
    Meta {
        text: String,
        host: Option<Arc<str>>,
    },
    /// Something the user should know; shown once however often it is emitted.
    Warning {
        message: String,
        mark: Option<Mark>,
    },
    /// Something that will stop working; shown once.
    Deprecated {
        message: String,
        mark: Option<Mark>,
    },
    /// An error that ends the run or a play outside any single host's task.
    Failed(Arc<Error>),
    /// Text shown at `-v` level `verbosity` and above, prefixed with the host when there is one.
    Verbose {
        verbosity: u8,
        host: Option<Arc<str>>,
        text: String,
    },
    /// A pause or prompt shows this text to the user.
    Prompt {
        text: String,
    },
    /// A question of `--step` was answered.
    Stepped {
        question: String,
        /// The answer was typed, so the line of the question has ended.
        typed: bool,
    },
    /// The lock of a host is held by another run and waited for; told now and then.
    LockAwaited {
        host: Arc<str>,
        holder: LockHolder,
    },
    /// A transaction is open on its participants.
    TransactionOpened {
        id: String,
        participants: Vec<Arc<str>>,
    },
    /// Participants are being put back.
    RollingBack {
        participants: Vec<Arc<str>>,
        reason: String,
    },
    /// A transactional block was undone on a host; its own transaction or the one around it goes
    /// on.
    BlockUndone {
        host: Arc<str>,
        block: String,
        participants: Vec<ParticipantOutcome>,
    },
    /// A transaction is over.
    TransactionEnded(TransactionOutcome),
    /// The run is over: hosts in the order of the recap, and the custom stats of `set_stats`.
    Finished {
        stats: Vec<(Arc<str>, HostStats)>,
        custom: Value,
    },
}
