//! Keeping what is about to go: by another name of it, aside by renaming it, or as a copy.
//!
//! Whatever is kept is on the disk before the change; a copy even before the record that names it,
//! another name with it, which the log sees to. Knows nothing of why.

use std::collections::{BTreeSet, HashMap};
use std::ffi::OsString;
use std::io;
use std::path::PathBuf;

use rustix::fs::{AtFlags, FileType, Gid, Mode, Uid};
use rustix::io::Errno;

use crate::transaction::journal::{
    After, Before, FileId, Identity, Keeping, Kept, OldAttributes, Spot, UndoRecord,
};

use super::place::Place;
use super::write::timestamps;
use super::{Algorithm, FileKind, Machine, MachineError, Metadata, Result, Timestamp, extended};

impl Place {
    /// Returns the place as records name it.
    pub(super) fn spot(&self) -> io::Result<Spot> {
        let parent: Metadata = (&rustix::fs::fstat(self.directory())?).into();
        Ok(Spot {
            path: self.path.clone(),
            parent: parent.id(),
        })
    }
}

impl Metadata {
    pub(super) fn id(&self) -> FileId {
        FileId {
            device: self.device,
            inode: self.inode,
        }
    }

    pub(super) fn identity(&self) -> Identity {
        Identity {
            id: self.id(),
            size: self.size,
            modified: recorded(self.mtime),
        }
    }
}

/// Returns a point in time as records hold it.
pub(super) fn recorded(time: Timestamp) -> (i64, u32) {
    (time.seconds, time.nanoseconds)
}

impl Machine {
    /// Records that something takes `place`, where `before` is (not a directory); the old thing is
    /// kept by another name of it.
    pub(super) fn record_put(
        &mut self,
        place: &Place,
        before: Option<&Metadata>,
        after: After,
        staged: Option<PathBuf>,
    ) -> Result<()> {
        let before = match before {
            Some(before) => Some(self.keep(place, before)?),
            None => None,
        };
        self.record_change(place, before, after, staged)
    }

    /// Records that the bytes at `place` change in place; the old ones are kept as a copy.
    pub(super) fn record_overwriting(
        &mut self,
        place: &Place,
        before: Option<&Metadata>,
        after: After,
    ) -> Result<()> {
        let before = match before {
            Some(before) => Some(self.keep_copy(place, before)?),
            None => None,
        };
        self.record_change(place, before, after, None)
    }

    fn record_change(
        &mut self,
        place: &Place,
        before: Option<Before>,
        after: After,
        staged: Option<PathBuf>,
    ) -> Result<()> {
        let spot = place.spot().map_err(|error| unkept(place, error))?;
        let record = match before {
            None => UndoRecord::Created {
                spot,
                after,
                staged,
            },
            Some(before) => UndoRecord::Replaced {
                spot,
                before,
                after,
                staged,
            },
        };
        self.record(&place.path, record)
    }

    /// Records that something goes away, and keeps it; a tree is kept by moving it.
    ///
    /// Tells whether the place is empty then.
    pub(super) fn take_away(&mut self, place: &Place, found: &Metadata) -> Result<bool> {
        let Some(aside) = self.shelve(place)? else {
            self.record_removal(place, found, None)?;
            return Ok(false);
        };
        let kept = Kept {
            path: aside.path.clone(),
            how: Keeping::Aside,
        };
        self.record_removal(place, found, Some(kept))?;
        match place.rename_to_free(&aside) {
            Ok(()) => {
                aside
                    .sync_directory()
                    .map_err(|error| unkept(place, error))?;
                Ok(true)
            }
            Err(error) if is_elsewhere(&error) => {
                let kept = self.keep_tree(place, found)?;
                self.record_removal(place, found, Some(kept))?;
                Ok(false)
            }
            Err(error) => Err(MachineError::io("remove", &place.path, error)),
        }
    }

    /// Keeps what cannot be renamed to a shelf, as a copy of all of it.
    fn keep_tree(&mut self, place: &Place, found: &Metadata) -> Result<Kept> {
        let failed = |error: io::Error| unkept(place, error);
        let nobody = || failed(io::Error::other("nobody keeps it"));
        let aside = self.shelve(place)?.ok_or_else(nobody)?;
        copy_whole(place, &aside).map_err(failed)?;
        let how = copied(&aside, found).map_err(failed)?;
        Ok(Kept {
            path: aside.path,
            how,
        })
    }

    pub(super) fn record_removal(
        &mut self,
        place: &Place,
        found: &Metadata,
        kept: Option<Kept>,
    ) -> Result<()> {
        let before = before(found, kept);
        let spot = place.spot().map_err(|error| unkept(place, error))?;
        self.record(&place.path, UndoRecord::Removed { spot, before })
    }

    /// Keeps a file or link that is about to be replaced.
    pub(super) fn keep(&mut self, place: &Place, found: &Metadata) -> Result<Before> {
        let failed = |error: io::Error| unkept(place, error);
        let Some(aside) = self.shelve(place)? else {
            return Ok(before(found, None));
        };
        let how = match place.link_to(&aside) {
            Ok(()) => Keeping::Linked,
            Err(error) if !cannot_link(&error) => return Err(failed(error)),
            Err(_) => {
                copy_whole(place, &aside).map_err(failed)?;
                copied(&aside, found).map_err(failed)?
            }
        };
        let path = aside.path;
        Ok(before(found, Some(Kept { path, how })))
    }

    /// Keeps a file whose bytes are about to change in place.
    fn keep_copy(&mut self, place: &Place, found: &Metadata) -> Result<Before> {
        let failed = |error: io::Error| unkept(place, error);
        let Some(aside) = self.shelve(place)? else {
            return Ok(before(found, None));
        };
        copy_whole(place, &aside).map_err(failed)?;
        let how = match copied(&aside, found).map_err(failed)? {
            Keeping::Copied {
                identity,
                sha256: Some(sha256),
            } => Keeping::Snapshot { identity, sha256 },
            how => how,
        };
        let path = aside.path;
        Ok(before(found, Some(Kept { path, how })))
    }

    fn shelve(&mut self, place: &Place) -> Result<Option<Place>> {
        let failed = |error: io::Error| unkept(place, error);
        let near = place.path.parent().unwrap_or(&place.path);
        match self.options.undo.shelve(near).map_err(failed)? {
            Some(path) => Place::of(&path).map(Some).map_err(failed),
            None => Ok(None),
        }
    }
}

fn unkept(place: &Place, error: io::Error) -> MachineError {
    MachineError::io("keep", &place.path, error)
}

fn before(found: &Metadata, kept: Option<Kept>) -> Before {
    Before {
        identity: found.identity(),
        attributes: old_attributes(found),
        kept,
    }
}

fn old_attributes(found: &Metadata) -> OldAttributes {
    OldAttributes {
        mode: Some(found.mode),
        uid: Some(found.uid),
        gid: Some(found.gid),
        times: Some([found.atime, found.mtime].map(recorded)),
        ..OldAttributes::default()
    }
}

/// Describes a finished copy.
fn copied(aside: &Place, found: &Metadata) -> io::Result<Keeping> {
    let copy = aside.metadata()?.ok_or(Errno::NOENT)?;
    let sha256 = match found.kind {
        FileKind::File => Some(Algorithm::Sha256.of_reader(&mut aside.open()?)?),
        _ => None,
    };
    Ok(Keeping::Copied {
        identity: copy.identity(),
        sha256,
    })
}

/// Tells whether a rename or link failed because its ends are on different file systems.
pub(super) fn is_elsewhere(error: &io::Error) -> bool {
    error.raw_os_error() == Some(Errno::XDEV.raw_os_error())
}

/// Tells whether a file can have no other name there: another file system, one without links, or
/// a kernel that protects links to foreign files.
fn cannot_link(error: &io::Error) -> bool {
    matches!(
        error.raw_os_error().map(Errno::from_raw_os_error),
        Some(Errno::XDEV | Errno::PERM | Errno::MLINK | Errno::OPNOTSUPP | Errno::NOSYS)
    )
}

/// Copies a file, link, device or whole tree with all attributes, and waits until it is on disk.
pub(super) fn copy_whole(from: &Place, to: &Place) -> io::Result<()> {
    copy_at(from, to, &mut HashMap::new())?;
    to.sync_directory()
}

/// Tells whether one thing, with all that is in it, is a copy of another as [`copy_whole`] makes it.
pub(super) fn is_copy(one: &Place, other: &Place) -> io::Result<bool> {
    let (Some(a), Some(b)) = (one.metadata()?, other.metadata()?) else {
        return Ok(false);
    };
    let dress = |it: &Metadata| (it.kind, it.mode, it.uid, it.gid, it.mtime, it.device_type);
    if dress(&a) != dress(&b) {
        return Ok(false);
    }
    match a.kind {
        FileKind::Directory => {
            let names = |place: &Place| -> io::Result<BTreeSet<OsString>> {
                Ok(place.names()?.into_iter().collect())
            };
            let all = names(one)?;
            if all != names(other)? {
                return Ok(false);
            }
            for name in all {
                if !is_copy(&one.inside(&name)?, &other.inside(&name)?)? {
                    return Ok(false);
                }
            }
            Ok(true)
        }
        FileKind::Link => Ok(one.read_link()? == other.read_link()?),
        FileKind::File => {
            let digest = |place: &Place| Algorithm::Sha256.of_reader(&mut place.open()?);
            Ok(a.size == b.size && digest(one)? == digest(other)?)
        }
        _ => Ok(true),
    }
}

fn copy_at(from: &Place, to: &Place, seen: &mut HashMap<FileId, Place>) -> io::Result<()> {
    let found = from.metadata()?.ok_or(Errno::NOENT)?;
    if found.nlink > 1 && !found.is_dir() {
        if let Some(first) = seen.get(&found.id()) {
            return first.link_to(to);
        }
        seen.insert(found.id(), to.sibling(&to.name)?);
    }
    match found.kind {
        FileKind::Directory => {
            to.make_directory(0o700)?;
            for name in from.names()? {
                copy_at(&from.inside(&name)?, &to.inside(&name)?, seen)?;
            }
        }
        FileKind::Link => to.make_link(&from.read_link()?)?,
        FileKind::File => copy_file(from, to)?,
        kind => make_node(to, kind, &found)?,
    }
    dress(from, to, &found)
}

fn copy_file(from: &Place, to: &Place) -> io::Result<()> {
    let mut from = from.open()?;
    let mut copy = to.create()?;
    if rustix::fs::ioctl_ficlone(&copy, &from).is_err() {
        io::copy(&mut from, &mut copy)?;
    }
    copy.sync_all()
}

fn make_node(to: &Place, kind: FileKind, found: &Metadata) -> io::Result<()> {
    let kind = match kind {
        FileKind::Fifo => FileType::Fifo,
        FileKind::Socket => FileType::Socket,
        FileKind::CharacterDevice => FileType::CharacterDevice,
        _ => FileType::BlockDevice,
    };
    let (directory, mode) = (to.directory(), Mode::RUSR | Mode::WUSR);
    Ok(rustix::fs::mknodat(
        directory,
        &to.name,
        kind,
        mode,
        found.device_type,
    )?)
}

/// Gives a copy the owner, mode, extended attributes and times of the original.
fn dress(from: &Place, to: &Place, found: &Metadata) -> io::Result<()> {
    let nofollow = AtFlags::SYMLINK_NOFOLLOW;
    let (uid, gid) = (Uid::from_raw(found.uid), Gid::from_raw(found.gid));
    let now = to.metadata()?.ok_or(Errno::NOENT)?;
    if (now.uid, now.gid) != (found.uid, found.gid) {
        rustix::fs::chownat(to.directory(), &to.name, Some(uid), Some(gid), nofollow)?;
    }
    extended::copy(&from.handle_path(), &to.handle_path())?;
    if !found.is_link() {
        to.change_mode(found.mode)?;
    }
    let times = timestamps([found.atime, found.mtime]);
    rustix::fs::utimensat(to.directory(), &to.name, &times, nofollow)?;
    if found.is_dir() {
        to.inside(".".as_ref())?.sync_directory()?;
    }
    Ok(())
}
