//! A path to private state, looked at component by component: nobody else can have a hand in it.

use std::os::fd::{AsFd, OwnedFd};
use std::path::{Component, Path};

use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags, Stat};
use rustix::io::Errno;
use rustix::process::geteuid;

use super::StoreError;

/// Makes what is missing of `path`, and refuses what others may change.
///
/// The last component is this user's alone, mode 0700; those above belong to this user or to root
/// and are not writable for others, unless sticky.
pub(super) fn make(path: &Path) -> Result<(), StoreError> {
    let wrong = |error: Errno| StoreError::io(path, error);
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let names: Vec<_> = path
        .components()
        .filter_map(|component| match component {
            Component::Normal(name) => Some(name),
            _ => None,
        })
        .collect();
    let mut directory = rustix::fs::openat(CWD, "/", flags, Mode::empty()).map_err(wrong)?;
    for (number, name) in names.iter().enumerate() {
        let refuse = |why| StoreError::Unsafe {
            path: names[..=number]
                .iter()
                .fold("/".into(), |path: std::path::PathBuf, name| path.join(name)),
            why,
        };
        match rustix::fs::mkdirat(&directory, *name, Mode::RWXU) {
            Ok(()) => sync(&directory).map_err(wrong)?,
            Err(Errno::EXIST) => {}
            // Where nothing may be made, something may be there all the same.
            Err(error) if !is_there(&directory, name) => return Err(wrong(error)),
            Err(_) => {}
        }
        directory = match rustix::fs::openat(&directory, *name, flags, Mode::empty()) {
            Ok(inner) => inner,
            Err(Errno::NOTDIR | Errno::LOOP) => return Err(refuse("it is no directory")),
            Err(error) => return Err(wrong(error)),
        };
        let stat = rustix::fs::fstat(&directory).map_err(wrong)?;
        check(&stat, number + 1 == names.len()).map_err(refuse)?;
    }
    Ok(())
}

fn is_there(directory: &OwnedFd, name: &std::ffi::OsStr) -> bool {
    rustix::fs::statat(directory, name, AtFlags::SYMLINK_NOFOLLOW).is_ok()
}

fn check(stat: &Stat, last: bool) -> Result<(), &'static str> {
    if FileType::from_raw_mode(stat.st_mode) != FileType::Directory {
        return Err("it is no directory");
    }
    let (own, mode) = (geteuid().as_raw(), stat.st_mode & 0o7777);
    if last && stat.st_uid != own {
        return Err("it belongs to somebody else");
    }
    if last && mode & 0o077 != 0 {
        return Err("others may look into it");
    }
    if stat.st_uid != own && stat.st_uid != 0 {
        return Err("it belongs to somebody else");
    }
    if mode & 0o022 != 0 && mode & 0o1000 == 0 {
        return Err("others may write to it");
    }
    Ok(())
}

fn sync(directory: &OwnedFd) -> Result<(), Errno> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let readable = rustix::fs::openat(directory.as_fd(), ".", flags, Mode::empty())?;
    rustix::fs::fsync(readable)
}
