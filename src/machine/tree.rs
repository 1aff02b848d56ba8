//! Directories, links, names and removals.

use std::io;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, Mode};
use rustix::io::Errno;

use crate::transaction::journal::{After, UndoRecord};

use super::place::Place;
use super::write::NewFile;
use super::{Content, FileKind, Machine, MachineError, Metadata, Result};

impl Machine {
    /// Makes one directory with `mode`, which the umask masks as for any new directory.
    pub fn create_dir(&mut self, path: &Path, mode: u32) -> Result<()> {
        let failed = |error: io::Error| MachineError::io("make directory", path, error);
        if let Some(prediction) = self.predicted() {
            let made = prediction.lock().create_dir(path, mode & !self.umask);
            return made.map_err(failed);
        }
        let place = self.place(path).map_err(failed)?;
        if place.metadata().map_err(failed)?.is_some() {
            return Err(failed(Errno::EXIST.into()));
        }
        self.record_put(&place, None, After::Directory, None)?;
        place.make_directory(mode & !self.umask).map_err(failed)?;
        self.sync_names(&place).map_err(failed)
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
        let place = match self.place(path) {
            Ok(place) => place,
            Err(error) if is_missing(&error) => return Ok(false),
            Err(error) => return Err(failed(error)),
        };
        let Some(metadata) = place.metadata().map_err(failed)? else {
            return Ok(false);
        };
        if !self.take_away(&place, &metadata)? {
            place.remove().map_err(failed)?;
        }
        self.sync_names(&place).map_err(failed)?;
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
        let place = self.place(path).map_err(failed)?;
        let taken = self.take_away(&place, &metadata)?;
        if !taken {
            place.remove_empty_directory().map_err(failed)?;
        }
        self.sync_names(&place).map_err(failed)
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
        let source = self.place(source).map_err(failed)?;
        let found = source.metadata().map_err(failed)?;
        let found = found.ok_or_else(|| failed(Errno::NOENT.into()))?;
        let after = After::HardLink { id: found.id() };
        self.put(path, "make hard link", after, |staged| {
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
        self.put(path, "make pipe", After::Pipe, |staged| {
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
        let source = self.place(from).map_err(failed)?;
        let target = self.place(to).map_err(failed)?;
        let moved = source.metadata().map_err(failed)?;
        let moved = moved.ok_or_else(|| failed(Errno::NOENT.into()))?;
        if let Some(old) = target.metadata().map_err(failed)? {
            if old.is_dir() {
                return Err(failed(Errno::EXIST.into()));
            }
            if old.id() == moved.id() {
                // The kernel leaves two names of one file alone.
                return Ok(());
            }
            let spot = target.spot().map_err(failed)?;
            let before = self.keep(&target, &old)?;
            self.record(to, UndoRecord::Removed { spot, before })?;
        }
        let record = UndoRecord::Renamed {
            from: source.spot().map_err(failed)?,
            to: target.spot().map_err(failed)?,
            moved: moved.id(),
        };
        self.record(from, record)?;
        source.rename_to(&target).map_err(failed)?;
        self.sync_names(&target).map_err(failed)?;
        self.sync_names(&source).map_err(failed)
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
        let place = self.place(path).map_err(failed)?;
        let before = place.metadata().map_err(failed)?;
        if before.as_ref().is_some_and(Metadata::is_dir) {
            return Err(failed(Errno::ISDIR.into()));
        }
        let staged = place
            .sibling(super::temporary::hidden_name().as_ref())
            .map_err(failed)?;
        self.record_put(&place, before.as_ref(), after, Some(staged.path.clone()))?;
        let put = make(&staged)
            .and_then(|()| staged.rename_to(&place))
            .map_err(failed);
        // Renaming between two names of one file does nothing, so the hidden one may still be.
        rustix::fs::unlinkat(staged.directory(), &staged.name, AtFlags::empty()).ok();
        put?;
        self.sync_names(&place).map_err(failed)
    }
}

fn is_missing(error: &io::Error) -> bool {
    matches!(
        error.raw_os_error().map(Errno::from_raw_os_error),
        Some(Errno::NOENT | Errno::NOTDIR)
    )
}
