//! Retention: what may go from the state directory, and when.
//!
//! Only committed and healthy generations count; the last known good and everything newer stays.
//! Whatever goes wrong is told and harms nothing.

use std::ffi::OsStr;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use rustix::fs::{AtFlags, CWD, Dir, FileType, Mode, OFlags};
use rustix::io::Errno;

use super::{StateRoot, Stored};
use crate::transaction::log::KEPT;
use crate::transaction::state::State;

/// How many journals of undone transactions stay for `history`.
const UNDONE: usize = 20;

impl StateRoot {
    /// Removes generations of an application older than its newest `keep` healthy ones, and old
    /// journals of undone transactions; returns what could not be removed and why.
    ///
    /// An undone transaction that saved somebody's changes stays.
    pub fn collect(&self, application: &str, keep: usize) -> Vec<String> {
        let (generations, all) = match (self.generations(application), self.transactions()) {
            (Ok(generations), Ok(all)) => (generations, all),
            (Err(error), _) | (_, Err(error)) => return vec![error.to_string()],
        };
        let mut old: Vec<&Stored> = superseded(&generations, keep);
        let undone: Vec<_> = all
            .iter()
            .filter(|one| one.is_of(application) && one.state() == State::RolledBack)
            .filter(|one| !saved_drift(one))
            .collect();
        old.extend(undone.iter().rev().skip(UNDONE));
        old.into_iter()
            .filter_map(|one| remove(one).err())
            .collect()
    }

    /// Removes a transaction that leaves nothing to come back to.
    pub fn remove(&self, one: &Stored) -> Result<(), String> {
        remove(one)
    }

    /// Removes the pre-images of a transaction that is undone; what others had made of files
    /// meanwhile stays. Returns what could not be removed and why.
    pub fn clear(&self, undone: &Stored) -> Vec<String> {
        if undone.state() != State::RolledBack {
            return Vec::new();
        }
        clear(&undone.directory, &undone.shelves())
    }
}

/// Removes the pre-images below the shelves of an undone transaction, and the empty shelves.
fn clear(directory: &Path, shelves: &[&Path]) -> Vec<String> {
    let kept = directory.join(KEPT);
    let mut wrong = Vec::new();
    for shelf in shelves.iter().copied().chain([kept.as_path()]) {
        let Ok(entries) = std::fs::read_dir(shelf) else {
            continue;
        };
        for entry in entries.flatten() {
            if !is_drift(&entry.file_name()) {
                wrong.extend(remove_path(&entry.path()).err());
            }
        }
        if shelf != kept {
            // One that still holds drift stays.
            rustix::fs::rmdir(shelf).ok();
        }
    }
    wrong
}

fn is_drift(name: &OsStr) -> bool {
    name.as_encoded_bytes().starts_with(b"drift-")
}

impl Stored {
    /// Tells whether no pre-image is left in the transaction's own directory.
    pub fn is_clear(&self) -> bool {
        std::fs::read_dir(self.directory.join(KEPT)).map_or(true, |mut entries| {
            entries.all(|entry| entry.is_ok_and(|entry| is_drift(&entry.file_name())))
        })
    }

    fn shelves(&self) -> Vec<&Path> {
        self.replay()
            .map(|replay| replay.shelves())
            .unwrap_or_default()
    }
}

/// Returns the generations that are older than the newest `keep` healthy ones.
///
/// At least the last known good is kept.
fn superseded(generations: &[Stored], keep: usize) -> Vec<&Stored> {
    let mut healthy = 0;
    let mut old = Vec::new();
    for generation in generations.iter().rev() {
        if healthy >= keep.max(1) {
            old.push(generation);
        }
        healthy += usize::from(generation.is_healthy());
    }
    old
}

fn saved_drift(one: &Stored) -> bool {
    let drift = one
        .replay()
        .map(|replay| replay.drift())
        .unwrap_or_default();
    drift.iter().any(|drift| drift.saved.is_some())
}

/// Removes a transaction; its journal goes last, so that a crash leaves something to collect.
fn remove(one: &Stored) -> Result<(), String> {
    for shelf in one.shelves() {
        remove_path(shelf)?;
    }
    remove_path(&one.directory.join(KEPT))?;
    remove_path(&one.directory)
}

fn remove_path(path: &Path) -> Result<(), String> {
    match remove_at(CWD, path) {
        Ok(()) | Err(Errno::NOENT) => Ok(()),
        Err(error) => Err(format!(
            "cannot remove `{}`: {}",
            path.display(),
            std::io::Error::from(error)
        )),
    }
}

/// Removes a file or a tree; never follows a link.
fn remove_at(directory: BorrowedFd<'_>, name: &Path) -> Result<(), Errno> {
    let stat = rustix::fs::statat(directory, name, AtFlags::SYMLINK_NOFOLLOW)?;
    if FileType::from_raw_mode(stat.st_mode) != FileType::Directory {
        return rustix::fs::unlinkat(directory, name, AtFlags::empty());
    }
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let inner = rustix::fs::openat(directory, name, flags, Mode::empty())?;
    for entry in Dir::read_from(&inner)? {
        let entry = entry?;
        let name = entry.file_name();
        if name != c"." && name != c".." {
            remove_at(inner.as_fd(), Path::new(OsStr::from_bytes(name.to_bytes())))?;
        }
    }
    rustix::fs::unlinkat(directory, name, AtFlags::REMOVEDIR)
}
