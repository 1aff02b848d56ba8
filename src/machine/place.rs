//! A path's last component, held by its directory's handle.
//!
//! Links in the middle of a path are followed once, when the handle is opened; what is done then
//! with the last component never follows it. Knows nothing of check mode or undo.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

use rustix::fs::{AtFlags, CWD, Dir, Mode, OFlags, RenameFlags};
use rustix::io::Errno;

use super::metadata::{DirEntry, FileKind, Metadata};

/// A name in an open directory.
pub(super) struct Place {
    directory: OwnedFd,
    pub(super) name: OsString,
    /// The directory's real path and the name.
    pub(super) path: PathBuf,
}

impl Place {
    /// Opens the directory of `path`.
    pub(super) fn of(path: &Path) -> io::Result<Self> {
        let Some(Component::Normal(name)) = path.components().next_back() else {
            return Self::of_directory(path);
        };
        let parent = match path.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent,
            _ => Path::new("."),
        };
        let directory = open_directory(CWD, parent)?;
        let path = real_path_of(&directory, parent)?.join(name);
        Ok(Self {
            directory,
            name: name.to_owned(),
            path,
        })
    }

    /// Like `of`, but refuses each directory below `base` whose name is a link.
    pub(super) fn below(base: &Path, path: &Path) -> io::Result<Self> {
        let mut names = match path.strip_prefix(base) {
            Ok(names) => names.components(),
            Err(_) => return Self::of(path),
        };
        let Some(first) = names.next() else {
            return Self::of(path);
        };
        let first = Self::of(&base.join(first))?;
        names.try_fold(first, |place, name| place.inside(name.as_os_str()))
    }

    /// Makes the place of `/`, `..` and the like, which have no name of their own.
    fn of_directory(path: &Path) -> io::Result<Self> {
        let directory = open_directory(CWD, path)?;
        let real = real_path_of(&directory, path)?;
        if real.file_name().is_some() {
            return Self::of(&real);
        }
        Ok(Self {
            directory,
            name: ".".into(),
            path: real,
        })
    }

    /// Makes the place of a name in an open directory, whose real path and name is `path`.
    pub(super) fn in_directory(directory: OwnedFd, name: &OsStr, path: &Path) -> Self {
        Self {
            directory,
            name: name.to_owned(),
            path: path.to_owned(),
        }
    }

    /// Returns a path that leads here whatever happens to the names above.
    pub(super) fn handle_path(&self) -> PathBuf {
        handle_path(self.directory()).join(&self.name)
    }

    pub(super) fn directory(&self) -> BorrowedFd<'_> {
        self.directory.as_fd()
    }

    /// Makes the place of another name in the same directory.
    pub(super) fn sibling(&self, name: &OsStr) -> io::Result<Self> {
        Ok(Self {
            directory: self.directory.try_clone()?,
            name: name.to_owned(),
            path: self.path.with_file_name(name),
        })
    }

    /// Returns what is at the place; a link is itself.
    pub(super) fn metadata(&self) -> io::Result<Option<Metadata>> {
        match rustix::fs::statat(self.directory(), &self.name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => Ok(Some((&stat).into())),
            Err(Errno::NOENT | Errno::NOTDIR) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Opens the file for reading; refuses a link.
    pub(super) fn open(&self) -> io::Result<File> {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK;
        let file = rustix::fs::openat(self.directory(), &self.name, flags, Mode::empty())?;
        Ok(file.into())
    }

    /// Makes a new empty file, readable by us only.
    pub(super) fn create(&self) -> io::Result<File> {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW;
        let mode = Mode::RUSR | Mode::WUSR;
        let file = rustix::fs::openat(self.directory(), &self.name, flags | OFlags::CLOEXEC, mode)?;
        Ok(file.into())
    }

    /// Opens the existing file for writing over it; refuses a link.
    pub(super) fn truncate(&self) -> io::Result<File> {
        let flags = OFlags::WRONLY | OFlags::TRUNC | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = rustix::fs::openat(self.directory(), &self.name, flags, Mode::empty())?;
        Ok(file.into())
    }

    /// Opens whatever is there as a handle only; a link is itself.
    pub(super) fn handle(&self) -> io::Result<OwnedFd> {
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        Ok(rustix::fs::openat(
            self.directory(),
            &self.name,
            flags,
            Mode::empty(),
        )?)
    }

    pub(super) fn make_directory(&self, mode: u32) -> io::Result<()> {
        Ok(rustix::fs::mkdirat(
            self.directory(),
            &self.name,
            Mode::from_raw_mode(mode),
        )?)
    }

    /// Opens a new file that has no name yet, readable by us only.
    pub(super) fn create_unnamed(&self) -> io::Result<File> {
        let flags = OFlags::WRONLY | OFlags::TMPFILE | OFlags::CLOEXEC;
        let mode = Mode::RUSR | Mode::WUSR;
        let file = rustix::fs::openat(self.directory(), ".", flags, mode)?;
        Ok(file.into())
    }

    /// Gives a file without a name this one.
    pub(super) fn link_unnamed(&self, file: &File) -> io::Result<()> {
        Ok(rustix::fs::linkat(
            CWD,
            handle_path(file.as_fd()),
            self.directory(),
            &self.name,
            AtFlags::SYMLINK_FOLLOW,
        )?)
    }

    /// Changes the mode through a handle, because `fchmodat` would follow a link put there
    /// meanwhile.
    pub(super) fn change_mode(&self, mode: u32) -> io::Result<()> {
        let handle = self.handle()?;
        let now: Metadata = (&rustix::fs::fstat(&handle)?).into();
        if now.is_link() {
            return Err(Errno::LOOP.into());
        }
        let bits = Mode::from_raw_mode(mode);
        Ok(rustix::fs::chmod(handle_path(handle.as_fd()), bits)?)
    }

    /// Lists the names in the directory at the place; refuses a link.
    pub(super) fn names(&self) -> io::Result<Vec<OsString>> {
        names(self.open_directory()?.as_fd())
    }

    /// Makes the place of a name in the directory at this place; refuses a link.
    pub(super) fn inside(&self, name: &OsStr) -> io::Result<Self> {
        Ok(Self {
            directory: self.open_directory()?,
            name: name.to_owned(),
            path: self.path.join(name),
        })
    }

    fn open_directory(&self) -> io::Result<OwnedFd> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        Ok(rustix::fs::openat(
            self.directory(),
            &self.name,
            flags,
            Mode::empty(),
        )?)
    }

    pub(super) fn make_link(&self, target: &Path) -> io::Result<()> {
        Ok(rustix::fs::symlinkat(target, self.directory(), &self.name)?)
    }

    /// Makes `other` another name of this file; a link is itself.
    pub(super) fn link_to(&self, other: &Self) -> io::Result<()> {
        Ok(rustix::fs::linkat(
            self.directory(),
            &self.name,
            other.directory(),
            &other.name,
            AtFlags::empty(),
        )?)
    }

    /// Moves onto `other`, replacing a file there at once.
    pub(super) fn rename_to(&self, other: &Self) -> io::Result<()> {
        Ok(rustix::fs::renameat(
            self.directory(),
            &self.name,
            other.directory(),
            &other.name,
        )?)
    }

    /// Moves to `other`, where nothing may be.
    pub(super) fn rename_to_free(&self, other: &Self) -> io::Result<()> {
        let renamed = rustix::fs::renameat_with(
            self.directory(),
            &self.name,
            other.directory(),
            &other.name,
            RenameFlags::NOREPLACE,
        );
        match renamed {
            // Some file systems do not know the flag.
            Err(Errno::INVAL | Errno::NOSYS) if other.metadata()?.is_none() => {
                self.rename_to(other)
            }
            renamed => Ok(renamed?),
        }
    }

    pub(super) fn read_link(&self) -> io::Result<PathBuf> {
        let target = rustix::fs::readlinkat(self.directory(), &self.name, Vec::new())?;
        Ok(PathBuf::from(OsStr::from_bytes(target.as_bytes())))
    }

    /// Removes a file, a link, or a directory with all it holds.
    pub(super) fn remove(&self) -> io::Result<()> {
        remove_at(self.directory(), &self.name)
    }

    pub(super) fn remove_empty_directory(&self) -> io::Result<()> {
        Ok(rustix::fs::unlinkat(
            self.directory(),
            &self.name,
            AtFlags::REMOVEDIR,
        )?)
    }

    /// Makes names in the directory durable.
    pub(super) fn sync_directory(&self) -> io::Result<()> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        match rustix::fs::openat(self.directory(), ".", flags, Mode::empty())
            .and_then(rustix::fs::fsync)
        {
            // Writable but not readable directories, and file systems without fsync.
            Ok(()) | Err(Errno::ACCESS | Errno::INVAL | Errno::ROFS) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }
}

/// Returns what `path` leads to, links followed.
pub(super) fn metadata(path: &Path) -> io::Result<Option<Metadata>> {
    match rustix::fs::stat(path) {
        Ok(stat) => Ok(Some((&stat).into())),
        Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// Returns what is at `path`, a link being itself.
pub(super) fn symlink_metadata(path: &Path) -> io::Result<Option<Metadata>> {
    match rustix::fs::lstat(path) {
        Ok(stat) => Ok(Some((&stat).into())),
        Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// Lists a directory by name; a name that vanishes meanwhile is left out.
pub(super) fn read_dir(path: &Path) -> io::Result<Vec<DirEntry>> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let directory = rustix::fs::open(path, flags, Mode::empty())?;
    let mut entries = Vec::new();
    for name in names(directory.as_fd())? {
        match rustix::fs::statat(&directory, &name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => entries.push(DirEntry {
                name,
                metadata: (&stat).into(),
            }),
            Err(Errno::NOENT) => {}
            Err(error) => return Err(error.into()),
        }
    }
    entries.sort_by(|one, other| one.name.cmp(&other.name));
    Ok(entries)
}

fn open_directory(at: BorrowedFd<'_>, path: &Path) -> io::Result<OwnedFd> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    Ok(rustix::fs::openat(at, path, flags, Mode::empty())?)
}

/// Returns the directory's path without links, from its handle where `/proc` tells.
fn real_path_of(directory: &OwnedFd, path: &Path) -> io::Result<PathBuf> {
    match std::fs::read_link(handle_path(directory.as_fd())) {
        Ok(real) if real.is_absolute() => Ok(real),
        _ => std::fs::canonicalize(path),
    }
}

/// Returns a path that leads to an open handle, whatever happens to its name.
pub(super) fn handle_path(handle: BorrowedFd<'_>) -> PathBuf {
    PathBuf::from(format!("/proc/self/fd/{}", handle.as_raw_fd()))
}

fn names(directory: BorrowedFd<'_>) -> io::Result<Vec<OsString>> {
    let mut names = Vec::new();
    for entry in Dir::read_from(directory)? {
        let entry = entry?;
        let name = OsStr::from_bytes(entry.file_name().to_bytes());
        if name != "." && name != ".." {
            names.push(name.to_owned());
        }
    }
    Ok(names)
}

fn remove_at(directory: BorrowedFd<'_>, name: &OsStr) -> io::Result<()> {
    match rustix::fs::unlinkat(directory, name, AtFlags::empty()) {
        Err(Errno::ISDIR | Errno::PERM) => remove_tree_at(directory, name),
        removed => Ok(removed?),
    }
}

/// Removes a tree by handles: a directory swapped for a link meanwhile is not entered.
fn remove_tree_at(directory: BorrowedFd<'_>, name: &OsStr) -> io::Result<()> {
    let stat = rustix::fs::statat(directory, name, AtFlags::SYMLINK_NOFOLLOW)?;
    if Metadata::from(&stat).kind != FileKind::Directory {
        return Err(Errno::PERM.into());
    }
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let inner = rustix::fs::openat(directory, name, flags, Mode::empty())?;
    for name in names(inner.as_fd())? {
        remove_at(inner.as_fd(), &name)?;
    }
    drop(inner);
    Ok(rustix::fs::unlinkat(directory, name, AtFlags::REMOVEDIR)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_keeps_its_last_link_and_resolves_the_ones_before() {
        let root = tempfile::tempdir().unwrap();
        let real = root.path().canonicalize().unwrap();
        std::os::unix::fs::symlink("there", real.join("here")).unwrap();
        Place::of(&real.join("there"))
            .unwrap()
            .make_directory(0o755)
            .unwrap();
        std::os::unix::fs::symlink("nowhere", real.join("there/link")).unwrap();
        let place = Place::of(&real.join("here/link")).unwrap();
        assert_eq!(place.path, real.join("there/link"));
        assert!(place.metadata().unwrap().unwrap().is_link());
        assert_eq!(Place::of(Path::new("/")).unwrap().path, Path::new("/"));
        assert_eq!(Place::of(&real.join("there/..")).unwrap().path, real,);
    }

    #[test]
    fn removing_a_tree_leaves_what_its_links_point_at() {
        let root = tempfile::tempdir().unwrap();
        for directory in ["kept", "tree", "tree/deep"] {
            Place::of(&root.path().join(directory))
                .unwrap()
                .make_directory(0o755)
                .unwrap();
        }
        Place::of(&root.path().join("kept/file"))
            .unwrap()
            .create()
            .unwrap();
        std::os::unix::fs::symlink("../../kept", root.path().join("tree/deep/link")).unwrap();
        Place::of(&root.path().join("tree"))
            .unwrap()
            .remove()
            .unwrap();
        assert!(!root.path().join("tree").exists());
        assert!(root.path().join("kept/file").exists());
    }
}
