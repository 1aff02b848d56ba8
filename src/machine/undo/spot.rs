//! Finding a recorded place again, without following a link anywhere.
//!
//! Somebody may have put another directory, or a link, where the recorded one was: nothing is
//! touched then.

use std::os::fd::{AsFd, OwnedFd};
use std::path::{Component, Path};

use rustix::fs::{CWD, Mode, OFlags};
use rustix::io::Errno;

use crate::transaction::journal::{FileId, Spot};

use super::super::Metadata;
use super::super::place::Place;
use super::Run;

impl Run<'_> {
    /// Opens the directory of a recorded place; `None` when it is gone.
    pub(super) fn find(&self, spot: &Spot) -> Result<Option<Place>, String> {
        let parent = spot.path.parent().unwrap_or(Path::new("/"));
        let Some(directory) = walk(parent)? else {
            return Ok(None);
        };
        let found = rustix::fs::fstat(&directory).map_err(|error| said(parent, error))?;
        let found: Metadata = (&found).into();
        if !self.is_same(parent, found.id(), spot.parent) {
            return Err(format!(
                "`{}` is another directory than it was",
                parent.display()
            ));
        }
        let name = spot.path.file_name().unwrap_or(".".as_ref());
        Ok(Some(Place::in_directory(directory, name, &spot.path)))
    }

    /// Like [`find`](Self::find), where the directory must be there.
    pub(super) fn demand(&self, spot: &Spot) -> Result<Place, String> {
        self.find(spot)?
            .ok_or_else(|| format!("the directory of `{}` is gone", spot.path.display()))
    }

    fn is_same(&self, parent: &Path, found: FileId, recorded: FileId) -> bool {
        if self.renewed.is_in_tree(parent) {
            return true;
        }
        // Devices may be numbered differently after a boot.
        found.inode == recorded.inode && (found.device == recorded.device || !self.same_boot)
    }
}

/// Opens a place of ours, below a shelf.
pub(super) fn kept_place(path: &Path) -> Result<Option<Place>, String> {
    let parent = path.parent().unwrap_or(Path::new("/"));
    let name = path.file_name().unwrap_or(".".as_ref());
    Ok(walk(parent)?.map(|directory| Place::in_directory(directory, name, path)))
}

/// Opens a directory by its real path; `None` when a part of it is not there.
fn walk(path: &Path) -> Result<Option<OwnedFd>, String> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let root = rustix::fs::openat(CWD, "/", flags, Mode::empty());
    let mut directory = root.map_err(|error| said(path, error))?;
    for component in path.components() {
        let Component::Normal(name) = component else {
            continue;
        };
        directory = match rustix::fs::openat(directory.as_fd(), name, flags, Mode::empty()) {
            Ok(inner) => inner,
            Err(Errno::NOENT) => return Ok(None),
            Err(Errno::NOTDIR | Errno::LOOP) => {
                let link = rustix::fs::readlinkat(directory.as_fd(), name, Vec::new()).is_ok();
                if link {
                    return Err(format!("a part of `{}` is a link now", path.display()));
                }
                return Ok(None);
            }
            Err(error) => return Err(said(path, error)),
        };
    }
    Ok(Some(directory))
}

pub(super) fn said(path: &Path, error: impl Into<std::io::Error>) -> String {
    format!(
        "cannot use `{}`: {}",
        path.display(),
        super::super::reason_text(&error.into())
    )
}
