//! What all workers of a run share, and what one of them is given to do.
//!
//! Holds no state of the run itself: that is the dispatcher's alone.

use std::sync::Arc;

use indexmap::IndexMap;
use tokio::sync::mpsc::UnboundedSender;

use super::content::Contents;
use super::deploy::Deploy;
use super::options::RunOptions;
use super::prompt::Prompter;
use super::session::Sessions;
use crate::error::Error;
use crate::event::{Event, TaskInfo};
use crate::lookups;
use crate::playbook::{Files, Play, Task};
use crate::template::{Binding, Engine, Scope};

/// What all workers share.
pub(super) struct World {
    pub(super) options: RunOptions,
    /// The template engine with what the run as a whole sees of the controller.
    pub(super) engine: Engine,
    pub(super) lookups: lookups::World,
    pub(super) files: Arc<dyn Files + Send>,
    pub(super) events: UnboundedSender<Event>,
    pub(super) prompter: Arc<dyn Prompter>,
    pub(super) sessions: Sessions,
    pub(super) contents: Contents,
    /// The places for hosts that work at once; `None` sets no limit.
    pub(super) forks: Option<Arc<tokio::sync::Semaphore>>,
}

impl World {
    /// Tells listeners. That nobody listens is no concern of the run.
    pub(super) fn tell(&self, event: Event) {
        if self.events.send(event).is_err() {
            // The reporters are gone; the run still ends in order.
        }
    }
}

/// Makes the variables of hosts as they were when a task started.
pub(super) trait Scopes: Send + Sync {
    /// Returns what `task` sees on `host`, which need not be in the inventory.
    fn of_host(&self, host: &str) -> Result<Arc<dyn Scope>, Error>;

    /// Returns the directories a task's relative files are searched from, nearest first.
    fn search_path(&self) -> Vec<std::path::PathBuf>;
}

/// One task to run on one host.
pub(super) struct Job {
    pub(super) world: Arc<World>,
    /// The template engine with what this task sees of the controller.
    pub(super) engine: Engine,
    pub(super) play: Arc<Play>,
    pub(super) task: Arc<Task>,
    pub(super) info: Arc<TaskInfo>,
    pub(super) host: Arc<str>,
    pub(super) scope: Arc<dyn Scope>,
    pub(super) scopes: Arc<dyn Scopes>,
    /// The transaction the task is in.
    pub(super) deploy: Option<Arc<Deploy>>,
}

/// Variables that exist only while a task runs: the loop's, and what it registered so far.
pub(super) type Overlay = IndexMap<Arc<str>, Binding>;
