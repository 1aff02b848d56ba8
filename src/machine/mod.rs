//! The only door to the target: every change to its files and processes goes through here.
//!
//! A module asks (`metadata`, `read`, `query` …) and changes (`write`, `remove`, `execute` …), and
//! need not know whether it runs for real. Each change is put into the undo log before it
//! happens. Knows no module, no controller and no protocol.

mod accounts;
mod attributes;
mod backup;
mod command;
mod content;
mod detach;
mod digest;
mod error;
mod execute;
mod extended;
mod flags;
mod keeping;
mod metadata;
mod path;
mod permissions;
mod place;
mod prediction;
mod preserve;
mod processes;
mod query;
mod selinux;
mod temporary;
mod terminal;
mod tree;
pub mod undo;
mod words;
mod write;

use std::path::{Path, PathBuf};

use crate::transaction::journal::{UndoLog, UndoRecord, Untracked};

use place::Place;

pub use accounts::{Group, User};
pub use attributes::{AttributeChange, Attributes};
pub use command::{Cancellation, Command, Output};
pub use content::{Content, ContentId, ContentSource, NoContents};
pub use detach::start_detached;
pub use digest::{Algorithm, Hasher, hex};
pub use error::{MachineError, Reason, Result, reason_text};
pub use execute::{Effect, Execution};
pub use flags::FileFlags;
pub use metadata::{DirEntry, FileKind, Follow, Metadata, Timestamp};
pub use permissions::symbolic_mode;
pub use prediction::Prediction;
pub use preserve::{kept_record, nearest};
pub use processes::{Process, TRANSACTION_VARIABLE, kill_transaction};
pub use temporary::{TemporaryDir, TemporaryFile, TemporaryProgram};
pub use terminal::{Conversation, Reply};
pub use words::split_words;
pub use write::NewFile;

/// What one task's machine is made of.
pub struct MachineOptions {
    /// The task's `environment`, over the agent's own.
    pub environment: Vec<(String, String)>,
    /// Receives a record before each change.
    pub undo: Box<dyn UndoLog>,
    /// Gives out the controller's bytes.
    pub contents: Box<dyn ContentSource>,
    /// The umask of new files and programs, when it is not the agent's own.
    pub umask: Option<u32>,
    /// Ends the task from outside.
    pub cancellation: Cancellation,
    /// A private directory for temporary files in which programs may run.
    pub scratch: Option<PathBuf>,
    /// The task wants diffs; modules skip the work otherwise.
    pub diff: bool,
    /// Changes are only predicted: nothing is changed, later questions see the prediction.
    pub check: bool,
    /// What earlier tasks of a run in check mode would have changed.
    pub prediction: Prediction,
}

impl Default for MachineOptions {
    fn default() -> Self {
        Self {
            environment: Vec::new(),
            undo: Box::new(Untracked),
            contents: Box::new(NoContents),
            umask: None,
            cancellation: Cancellation::default(),
            scratch: None,
            diff: false,
            check: false,
            prediction: Prediction::default(),
        }
    }
}

/// What whoever works below a directory does with links there, by what they are at the time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Links {
    /// They are things like any other.
    Taken,
    /// Those of root are followed: nobody else's may become root's.
    OfRootFollowed,
}

/// The target as one task sees and changes it.
pub struct Machine {
    options: MachineOptions,
    umask: u32,
    /// Below it no link is followed, whoever puts it there.
    unlinked: Option<(PathBuf, Links)>,
}

impl Machine {
    /// Opens the machine for one task.
    pub fn new(options: MachineOptions) -> Self {
        let umask = options.umask.unwrap_or_else(permissions::process_umask);
        Self {
            options,
            umask,
            unlinked: None,
        }
    }

    /// Tells whether the task wants diffs.
    pub fn wants_diff(&self) -> bool {
        self.options.diff
    }

    /// Tells whether changes are only predicted; for words in messages, never for decisions.
    pub fn is_check(&self) -> bool {
        self.options.check
    }

    /// Returns the umask of new files.
    pub fn umask(&self) -> u32 {
        self.umask
    }

    /// Fails when the task was cancelled; for long loops of a module.
    pub fn check_cancelled(&self) -> Result<()> {
        if self.options.cancellation.is_cancelled() {
            return Err(MachineError {
                action: "finish",
                object: "task".into(),
                reason: Reason::Cancelled,
                help: None,
            });
        }
        Ok(())
    }

    /// Waits; fails at once when the task is cancelled meanwhile.
    pub fn sleep(&self, time: std::time::Duration) -> Result<()> {
        self.options.cancellation.wait(time);
        self.check_cancelled()
    }

    /// Works where somebody else may write: what is changed or read meanwhile by a path through
    /// `base` is reached without following a link below it, or refused.
    pub fn below<T>(&mut self, base: &Path, links: Links, work: impl FnOnce(&mut Self) -> T) -> T {
        let outer = self.unlinked.replace((base.to_owned(), links));
        let done = work(self);
        self.unlinked = outer;
        done
    }

    /// Opens the directory of a path.
    fn place(&self, path: &Path) -> std::io::Result<Place> {
        match &self.unlinked {
            Some((base, _)) => Place::below(base, path),
            None => Place::of(path),
        }
    }

    /// Returns the predicted state, in check mode.
    fn predicted(&self) -> Option<&Prediction> {
        self.options.check.then_some(&self.options.prediction)
    }

    /// Makes the names in the directory of a place durable, unless the log does that later.
    fn sync_names(&self, place: &Place) -> std::io::Result<()> {
        if self.options.undo.settles() {
            return Ok(());
        }
        place.sync_directory()
    }

    /// Puts a change into the undo log; the change must come after.
    fn record(&mut self, path: &std::path::Path, record: UndoRecord) -> Result<()> {
        self.options
            .undo
            .append(record)
            .map_err(|error| MachineError::io("keep the old state of", path, error))
    }
}

#[cfg(test)]
mod tests;

#[cfg(test)]
mod sequences;
mod streams;
