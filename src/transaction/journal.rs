//! The undo log: one record per change, appended before the change happens.
//!
//! Applying the records newest first brings the target back. A record may stand for a change that
//! was then refused, so whoever undoes looks first. Who keeps the log, and for how long,
//! is the implementor's business: [`Untracked`] keeps nothing, [`MemoryLog`] keeps a session's.
//! Paths in records are absolute and free of links in all but their last component.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use serde::{Deserialize, Serialize};

use super::path_text;

/// Where `machine` writes what it is about to change.
pub trait UndoLog: Send {
    /// Appends a record; the change it describes happens only after this returned.
    fn append(&mut self, record: UndoRecord) -> io::Result<()>;

    /// Names a fresh path, on the file system of the existing `near`, to keep a pre-image under.
    ///
    /// `None` means that nobody will undo: old content is then dropped, and records say so.
    ///
    /// A name that a pre-image is linked to there is durable when its record is appended.
    fn shelve(&mut self, near: &Path) -> io::Result<Option<PathBuf>>;

    /// Tells whether the log sees to it that changed names are durable in time; else each is made
    /// durable right after its change.
    fn settles(&self) -> bool {
        false
    }
}

/// One change, as what undoes it needs to know it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "change", rename_all = "snake_case")]
pub enum UndoRecord {
    /// Nothing was here; undone by removing what `after` describes.
    Created {
        #[serde(flatten)]
        spot: Spot,
        after: After,
        /// The hidden name that the new file has before it takes its place.
        #[serde(default, with = "path_text::optional")]
        staged: Option<PathBuf>,
    },
    /// A file or link gets another one in its place.
    Replaced {
        #[serde(flatten)]
        spot: Spot,
        before: Before,
        after: After,
        /// The hidden name that the new file has before it takes its place.
        #[serde(default, with = "path_text::optional")]
        staged: Option<PathBuf>,
    },
    /// A file, link or whole tree goes away.
    Removed {
        #[serde(flatten)]
        spot: Spot,
        before: Before,
    },
    /// `from` becomes `to`, where nothing is.
    Renamed { from: Spot, to: Spot, moved: FileId },
    /// Attributes of the thing itself (never of what it links to) change.
    Attributes {
        #[serde(flatten)]
        spot: Spot,
        id: FileId,
        before: OldAttributes,
        /// The same attributes as the change leaves them.
        after: OldAttributes,
    },
    /// Something that is not a file operation of ours.
    Effect {
        what: String,
        undo: Undo,
        /// The command that does it again, for when its undoing is undone in turn; `None` where it
        /// needs more than its words (an input, a secret).
        #[serde(default, skip_serializing_if = "Option::is_none")]
        redo: Option<Vec<String>>,
    },
}

impl UndoRecord {
    /// Returns the paths that the change touches, as far as they are known.
    pub fn paths(&self) -> Vec<&Path> {
        match self {
            Self::Created { spot, .. }
            | Self::Replaced { spot, .. }
            | Self::Removed { spot, .. }
            | Self::Attributes { spot, .. } => vec![&spot.path],
            Self::Renamed { from, to, .. } => vec![&from.path, &to.path],
            Self::Effect { what, .. } => what
                .strip_prefix(KEEPING)
                .map(Path::new)
                .into_iter()
                .collect(),
        }
    }
}

/// A path, with the identity of the directory that holds its last name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Spot {
    #[serde(with = "path_text")]
    pub path: PathBuf,
    pub parent: FileId,
}

/// What makes a file that file, whatever its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct FileId {
    pub device: u64,
    pub inode: u64,
}

/// A file as it can be recognised without reading it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    pub id: FileId,
    pub size: u64,
    /// Modification time, seconds and nanoseconds.
    pub modified: (i64, u32),
}

/// What was at a path.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Before {
    pub identity: Identity,
    pub attributes: OldAttributes,
    /// Where the old file, link or tree is kept, complete with owner, mode and extended
    /// attributes; `None` when nobody keeps it.
    pub kept: Option<Kept>,
}

/// A pre-image.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Kept {
    #[serde(with = "path_text")]
    pub path: PathBuf,
    pub how: Keeping,
}

/// How a pre-image is kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "how", rename_all = "snake_case")]
pub enum Keeping {
    /// Another name of the very file.
    Linked,
    /// The very thing, renamed.
    Aside,
    /// A copy; of a tree, `sha256` is absent.
    Copied {
        identity: Identity,
        sha256: Option<String>,
    },
    /// A copy of a file whose own bytes are about to change.
    Snapshot { identity: Identity, sha256: String },
}

/// What a change puts in place, so that drift is seen before it is undone.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "is", rename_all = "snake_case")]
pub enum After {
    Directory,
    /// A file with this digest; the identity is absent when an old file was written over.
    File {
        sha256: String,
        identity: Option<Identity>,
    },
    Link {
        #[serde(with = "path_text")]
        target: PathBuf,
    },
    /// Another name of an existing file.
    HardLink {
        id: FileId,
    },
    /// A named pipe.
    Pipe,
    /// A scratch name of ours, whatever it holds.
    Scratch,
}

/// Attributes as they were; `None` where the change leaves one alone.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct OldAttributes {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mode: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uid: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gid: Option<u32>,
    /// Access and modification time, seconds and nanoseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub times: Option<[(i64, u32); 2]>,
    /// `chattr` flags as the kernel numbers them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub flags: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub selinux: Option<Vec<u8>>,
    /// `security.capability`, which the kernel takes from a file that changes hands.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub capability: Option<Vec<u8>>,
}

/// What an effect is called that brings the copy of a path back; the path follows.
pub const KEEPING: &str = "keep ";

/// How far an effect can be undone.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "class", content = "steps", rename_all = "snake_case")]
pub enum Undo {
    /// These steps, in this order, bring the old state back.
    Compensated(Vec<UndoStep>),
    /// The user declared what undoes it.
    Declared(Vec<UndoStep>),
    /// Done once more when every file is as it was: restarts of services.
    Again(Vec<UndoStep>),
    /// Nobody knows.
    Opaque,
}

/// One command that undoes part of an effect.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct UndoStep {
    pub argv: Vec<String>,
    /// A question that succeeds when there is nothing (left) to undo.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub done: Option<Vec<String>>,
}

impl UndoStep {
    /// Makes the step that runs `argv`.
    pub fn new(argv: impl IntoIterator<Item = impl Into<String>>) -> Self {
        Self {
            argv: argv.into_iter().map(Into::into).collect(),
            done: None,
        }
    }

    /// Makes the step that runs a text in the target's shell.
    pub fn shell(text: impl Into<String>) -> Self {
        Self::new(["/bin/sh".to_owned(), "-c".to_owned(), text.into()])
    }

    /// Adds the question that succeeds when there is nothing (left) to undo, as a shell's text.
    #[must_use]
    pub fn done_when(mut self, text: impl Into<String>) -> Self {
        self.done = Some(Self::shell(text).argv);
        self
    }
}

/// The log of a run that nobody will undo.
#[derive(Clone, Copy, Debug, Default)]
pub struct Untracked;

impl UndoLog for Untracked {
    fn append(&mut self, _record: UndoRecord) -> io::Result<()> {
        Ok(())
    }

    fn shelve(&mut self, _near: &Path) -> io::Result<Option<PathBuf>> {
        Ok(None)
    }
}

/// A log in memory, shared by its clones.
#[derive(Clone, Debug, Default)]
pub struct MemoryLog {
    records: Arc<Mutex<Vec<UndoRecord>>>,
    /// An existing directory for pre-images.
    shelf: Option<PathBuf>,
}

impl MemoryLog {
    /// Makes a log that keeps pre-images in the existing directory `shelf`, if one is given.
    pub fn new(shelf: Option<PathBuf>) -> Self {
        Self {
            records: Arc::default(),
            shelf,
        }
    }

    /// Returns the records so far, oldest first.
    pub fn records(&self) -> Vec<UndoRecord> {
        self.records
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}

impl UndoLog for MemoryLog {
    fn append(&mut self, record: UndoRecord) -> io::Result<()> {
        self.records
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(record);
        Ok(())
    }

    fn shelve(&mut self, _near: &Path) -> io::Result<Option<PathBuf>> {
        let Some(directory) = &self.shelf else {
            return Ok(None);
        };
        let mut number = std::fs::read_dir(directory)?.count();
        while directory
            .join(number.to_string())
            .symlink_metadata()
            .is_ok()
        {
            number += 1;
        }
        Ok(Some(directory.join(number.to_string())))
    }
}
