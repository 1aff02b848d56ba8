//! The undo log: one record per change, appended before the change happens.
//!
//! Applying the records newest first brings the target back. A record may stand for a change that
//! was then refused, so whoever undoes looks first. Who keeps the log, and for how long,
//! is the implementor's business: [`Untracked`] keeps nothing, [`MemoryLog`] keeps a session's.
//! Paths in records are absolute and free of links in all but their last component.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

/// Where `machine` writes what it is about to change.
pub trait UndoLog: Send {
    /// Appends a record; the change it describes happens only after this returned.
    fn append(&mut self, record: UndoRecord) -> io::Result<()>;

    /// Names a fresh path, on the file system of the existing `near`, to keep a pre-image under.
    ///
    /// `None` means that nobody will undo: old content is then dropped, and records say so.
    fn shelve(&mut self, near: &Path) -> io::Result<Option<PathBuf>>;
}

/// One change, as what undoes it needs to know it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum UndoRecord {
    /// Nothing was at `path`; undone by removing what `after` describes.
    Created { path: PathBuf, after: After },
    /// A file or link at `path` gets another one in its place.
    Replaced {
        path: PathBuf,
        before: Before,
        after: After,
    },
    /// A file, link or whole tree at `path` goes away.
    Removed { path: PathBuf, before: Before },
    /// `from` becomes `to`, where nothing was.
    Renamed { from: PathBuf, to: PathBuf },
    /// Attributes of `path` itself (never of what it links to) change; these were the old ones.
    Attributes {
        path: PathBuf,
        before: OldAttributes,
    },
    /// Something that is not a file operation of ours.
    Effect { what: String, undo: Undo },
}

/// What was at a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Before {
    pub attributes: OldAttributes,
    /// Where the old file, link or tree is kept, complete with owner, mode and extended
    /// attributes; `None` when nobody keeps it.
    pub kept: Option<PathBuf>,
}

/// What a change puts in place, so that drift is seen before it is undone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum After {
    Directory,
    /// A file with this digest.
    File {
        sha256: String,
    },
    Link {
        target: PathBuf,
    },
    /// Another name of an existing file.
    HardLink,
}

/// Attributes as they were; `None` where the change leaves one alone.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OldAttributes {
    pub mode: Option<u32>,
    pub uid: Option<u32>,
    pub gid: Option<u32>,
    /// Access and modification time, seconds and nanoseconds.
    pub times: Option<[(i64, u32); 2]>,
    /// `chattr` flags as the kernel numbers them.
    pub flags: Option<u32>,
    pub selinux: Option<Vec<u8>>,
}

/// How far an effect can be undone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Undo {
    /// These steps, in this order, bring the old state back.
    Compensated(Vec<UndoStep>),
    /// The user declared what undoes it.
    Declared(Vec<UndoStep>),
    /// Nobody knows.
    Opaque,
}

/// One command that undoes part of an effect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UndoStep {
    pub argv: Vec<String>,
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
