//! Directories, links, names and removals.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, Mode};
use rustix::io::Errno;

use crate::transaction::journal::{After, Before, OldAttributes, UndoRecord};

use super::place::Place;
use super::write::{NewFile, change_owner, timestamps};
use super::{Content, FileKind, Machine, MachineError, Metadata, Result, extended};

impl Machine {
    /// Makes one directory with `mode`, which the umask masks as for any new directory.
    pub fn create_dir(&mut self, path: &Path, mode: u32) -> Result<()> {
        let failed = |error: io::Error| MachineError::io("make directory", path, error);
        if let Some(prediction) = self.predicted() {
            let made = prediction.lock().create_dir(path, mode & !self.umask);
            return made.map_err(failed);
        }
        let place = Place::of(path).map_err(failed)?;
        if place.metadata().map_err(failed)?.is_some() {
            return Err(failed(Errno::EXIST.into()));
        }
        let record = UndoRecord::Created {
            path: place.path.clone(),
            after: After::Directory,
        };
        self.record(path, record)?;
        place.make_directory(mode & !self.umask).map_err(failed)?;
        place.sync_directory().map_err(failed)
    }

    /// Makes a directory and the missing ones above it, and returns those made, outermost first.
    pub fn create_dir_all(&mut self, path: &Path, mode: u32) -> Result<Vec<PathBuf>> {
        let mut missing = Vec::new();
        for ancestor in path.ancestors() {
            if ancestor.as_os_str().is_empty() || self.exists(ancestor)? {
                break;
            }
            missing.push(ancestor.to_owned());
        }
        missing.reverse();
        for directory in &missing {
            self.create_dir(directory, mode)?;
        }
        Ok(missing)
    }

    /// Removes a file, a link, or a directory with all it holds; tells whether anything was there.
    pub fn remove(&mut self, path: &Path) -> Result<bool> {
        let failed = |error: io::Error| MachineError::io("remove", path, error);
        if let Some(prediction) = self.predicted() {
            return prediction.lock().remove(path).map_err(failed);
        }
        let place = match Place::of(path) {
            Ok(place) => place,
            Err(error) if is_missing(&error) => return Ok(false),
            Err(error) => return Err(failed(error)),
        };
        let Some(metadata) = place.metadata().map_err(failed)? else {
            return Ok(false);
        };
        match self.shelve(&place)? {
            None => {
                self.record_removal(&place, &metadata, None)?;
                place.remove().map_err(failed)?;
            }
            Some(aside) => {
                self.record_removal(&place, &metadata, Some(aside.path.clone()))?;
                place.rename_to_free(&aside).map_err(failed)?;
            }
        }
        place.sync_directory().map_err(failed)?;
        Ok(true)
    }

    /// Removes an empty directory.
    pub fn remove_empty_dir(&mut self, path: &Path) -> Result<()> {
        let failed = |error: io::Error| MachineError::io("remove", path, error);
        let metadata = self.symlink_metadata(path)?;
        let metadata = metadata.ok_or_else(|| failed(Errno::NOENT.into()))?;
        if !metadata.is_dir() {
            return Err(failed(Errno::NOTDIR.into()));
        }
        if !self.read_dir(path)?.is_empty() {
            return Err(failed(Errno::NOTEMPTY.into()));
        }
        if let Some(prediction) = self.predicted() {
            prediction.lock().remove(path).map_err(failed)?;
            return Ok(());
        }
        let place = Place::of(path).map_err(failed)?;
        let aside = self.shelve(&place)?;
        let kept = aside.as_ref().map(|aside| aside.path.clone());
        self.record_removal(&place, &metadata, kept)?;
        match aside {
            Some(aside) => place.rename_to_free(&aside),
            None => place.remove_empty_directory(),
        }
        .and_then(|()| place.sync_directory())
        .map_err(failed)
    }

    /// Makes `path` a link that reads `target`; a file or link there is replaced at once.
    pub fn symlink(&mut self, target: &Path, path: &Path) -> Result<()> {
        if let Some(prediction) = self.predicted() {
            let made = prediction.lock().symlink(target, path);
            return made.map_err(|error| MachineError::io("make link", path, error));
        }
        let after = After::Link {
            target: target.to_owned(),
        };
        self.put(path, "make link", after, |staged| staged.make_link(target))
    }

    /// Makes `path` another name of the file `source`; a file or link there is replaced at once.
    pub fn hard_link(&mut self, source: &Path, path: &Path) -> Result<()> {
        let failed = |error: io::Error| MachineError::io("link", source, error);
        if let Some(prediction) = self.predicted() {
            return prediction.lock().hard_link(source, path).map_err(failed);
        }
        let source = Place::of(source).map_err(failed)?;
        self.put(path, "make hard link", After::HardLink, |staged| {
            source.link_to(staged)
        })
    }

    /// Makes `path` a named pipe; a file or link there is replaced at once.
    pub fn create_fifo(&mut self, path: &Path, mode: u32) -> Result<()> {
        let mode = mode & !self.umask;
        if let Some(prediction) = self.predicted() {
            let made = prediction.lock().create_fifo(path, mode);
            return made.map_err(|error| MachineError::io("make pipe", path, error));
        }
        self.put(path, "make pipe", After::HardLink, |staged| {
            let kind = rustix::fs::FileType::Fifo;
            let mode = Mode::from_raw_mode(mode);
            Ok(rustix::fs::mknodat(
                staged.directory(),
                &staged.name,
                kind,
                mode,
                0,
            )?)
        })
    }

    /// Moves `from` to `to` on the same file system; a file at `to` is replaced at once.
    pub fn rename(&mut self, from: &Path, to: &Path) -> Result<()> {
        let failed = |error: io::Error| MachineError::io("rename", from, error);
        if let Some(prediction) = self.predicted() {
            return prediction.lock().rename(from, to).map_err(failed);
        }
        let source = Place::of(from).map_err(failed)?;
        let target = Place::of(to).map_err(failed)?;
        if source.metadata().map_err(failed)?.is_none() {
            return Err(failed(Errno::NOENT.into()));
        }
        if let Some(old) = target.metadata().map_err(failed)? {
            if old.is_dir() {
                return Err(failed(Errno::EXIST.into()));
            }
            let before = self.keep(&target, &old)?;
            let path = target.path.clone();
            self.record(to, UndoRecord::Removed { path, before })?;
        }
        let record = UndoRecord::Renamed {
            from: source.path.clone(),
            to: target.path.clone(),
        };
        self.record(from, record)?;
        source.rename_to(&target).map_err(failed)?;
        target.sync_directory().map_err(failed)?;
        source.sync_directory().map_err(failed)
    }

    /// Copies a file, link or tree to `to`, where nothing may be, with modes, owners and times.
    pub fn copy_tree(&mut self, from: &Path, to: &Path) -> Result<()> {
        let found = self.symlink_metadata(from)?;
        let found = found.ok_or_else(|| MachineError::io("copy", from, Errno::NOENT))?;
        match found.kind {
            FileKind::Directory => self.copy_directory(from, to, &found),
            FileKind::Link => {
                let target = self.read_link(from)?;
                self.symlink(&target, to)
            }
            FileKind::File => {
                let new = NewFile {
                    mode: Some(found.mode),
                    uid: Some(found.uid),
                    gid: Some(found.gid),
                    times: Some([found.atime, found.mtime]),
                    ..NewFile::default()
                };
                self.write(to, Content::File(from.to_owned()), &new)
            }
            _ => Err(MachineError::said(
                "copy",
                from.display(),
                "it is neither a file, nor a directory, nor a link",
            )),
        }
    }

    fn copy_directory(&mut self, from: &Path, to: &Path, found: &Metadata) -> Result<()> {
        self.create_dir(to, 0o700)?;
        for entry in self.read_dir(from)? {
            self.copy_tree(&from.join(&entry.name), &to.join(&entry.name))?;
        }
        let attributes = super::Attributes {
            mode: Some(found.mode),
            uid: Some(found.uid),
            gid: Some(found.gid),
            times: Some([found.atime, found.mtime]),
        };
        self.set_attributes(to, &attributes, super::Follow::No)?;
        Ok(())
    }

    /// Makes something under a hidden name beside `path`, and renames it into its place.
    fn put(
        &mut self,
        path: &Path,
        action: &'static str,
        after: After,
        make: impl FnOnce(&Place) -> io::Result<()>,
    ) -> Result<()> {
        let failed = |error: io::Error| MachineError::io(action, path, error);
        let place = Place::of(path).map_err(failed)?;
        let before = place.metadata().map_err(failed)?;
        if before.as_ref().is_some_and(Metadata::is_dir) {
            return Err(failed(Errno::ISDIR.into()));
        }
        let staged = place
            .sibling(super::temporary::hidden_name().as_ref())
            .map_err(failed)?;
        make(&staged).map_err(failed)?;
        let put = self
            .record_put(&place, before, after)
            .and_then(|()| staged.rename_to(&place).map_err(failed));
        // Renaming between two names of one file does nothing, so the hidden one may still be.
        rustix::fs::unlinkat(staged.directory(), &staged.name, AtFlags::empty()).ok();
        put?;
        place.sync_directory().map_err(failed)
    }

    fn record_put(&mut self, place: &Place, before: Option<Metadata>, after: After) -> Result<()> {
        let path = place.path.clone();
        let record = match before {
            None => UndoRecord::Created { path, after },
            Some(metadata) => UndoRecord::Replaced {
                before: self.keep(place, &metadata)?,
                path,
                after,
            },
        };
        self.record(&place.path, record)
    }

    fn record_removal(
        &mut self,
        place: &Place,
        metadata: &Metadata,
        kept: Option<PathBuf>,
    ) -> Result<()> {
        let before = Before {
            attributes: old_attributes(metadata),
            kept,
        };
        let path = place.path.clone();
        self.record(&place.path, UndoRecord::Removed { path, before })
    }

    /// Keeps a file or link that is about to be replaced, by giving it another name.
    pub(super) fn keep(&mut self, place: &Place, metadata: &Metadata) -> Result<Before> {
        let failed = |error: io::Error| MachineError::io("keep", &place.path, error);
        let Some(aside) = self.shelve(place)? else {
            return Ok(Before {
                attributes: old_attributes(metadata),
                kept: None,
            });
        };
        match place.link_to(&aside) {
            Ok(()) => aside.sync_directory().map_err(failed)?,
            // Another file system, or a kernel that protects links to foreign files.
            Err(_) => copy_aside(place, metadata, &aside).map_err(failed)?,
        }
        Ok(Before {
            attributes: old_attributes(metadata),
            kept: Some(aside.path),
        })
    }

    /// Keeps a file whose bytes are about to change in place.
    pub(super) fn keep_copy(&mut self, place: &Place, metadata: &Metadata) -> Result<Before> {
        let failed = |error: io::Error| MachineError::io("keep", &place.path, error);
        let aside = self.shelve(place)?;
        if let Some(aside) = &aside {
            copy_aside(place, metadata, aside).map_err(failed)?;
        }
        Ok(Before {
            attributes: old_attributes(metadata),
            kept: aside.map(|aside| aside.path),
        })
    }

    fn shelve(&mut self, place: &Place) -> Result<Option<Place>> {
        let failed = |error: io::Error| MachineError::io("keep", &place.path, error);
        let near = place.path.parent().unwrap_or(&place.path);
        match self.options.undo.shelve(near).map_err(failed)? {
            Some(path) => Place::of(&path).map(Some).map_err(failed),
            None => Ok(None),
        }
    }
}

/// Copies a file or link with owner, mode, labels and times, by reflink where possible.
fn copy_aside(place: &Place, metadata: &Metadata, aside: &Place) -> io::Result<()> {
    if metadata.is_link() {
        aside.make_link(&place.read_link()?)?;
        return aside.sync_directory();
    }
    let mut from = place.open()?;
    let mut copy = aside.create()?;
    if rustix::fs::ioctl_ficlone(&copy, &from).is_err() {
        io::copy(&mut from, &mut copy)?;
    }
    dress_as(&copy, metadata)?;
    extended::copy(&place.path, &aside.path)?;
    copy.sync_all()?;
    aside.sync_directory()
}

fn dress_as(file: &File, metadata: &Metadata) -> io::Result<()> {
    change_owner(file, Some(metadata.uid), Some(metadata.gid))?;
    rustix::fs::fchmod(file, Mode::from_raw_mode(metadata.mode))?;
    Ok(rustix::fs::futimens(
        file,
        &timestamps([metadata.atime, metadata.mtime]),
    )?)
}

fn old_attributes(metadata: &Metadata) -> OldAttributes {
    OldAttributes {
        mode: Some(metadata.mode),
        uid: Some(metadata.uid),
        gid: Some(metadata.gid),
        times: Some([metadata.atime, metadata.mtime].map(|time| (time.seconds, time.nanoseconds))),
        ..OldAttributes::default()
    }
}

fn is_missing(error: &io::Error) -> bool {
    matches!(
        error.raw_os_error().map(Errno::from_raw_os_error),
        Some(Errno::NOENT | Errno::NOTDIR)
    )
}
