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
    Deprecated {
        message: String,
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
    /// The run is over: hosts in the order of the recap, and the custom stats of `set_stats`.
    Finished {
        stats: Vec<(Arc<str>, HostStats)>,
        custom: Value,
    },
}
