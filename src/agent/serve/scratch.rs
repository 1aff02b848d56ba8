//! The session's private directory for what tasks stage: locked while its agent lives, so that the
//! next agent of the user knows, and removes, what a killed one has left.
//!
//! Knows nothing of what is put there.

use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, Mode, OFlags};

const PREFIX: &str = "backstay-run-";

pub(super) struct Scratch {
    path: PathBuf,
    /// Held to the agent's end, however that comes.
    _lock: OwnedFd,
}

impl Scratch {
    /// Makes the directory beside the agent's binary where that is our own cache (programs may run
    /// there, which `/tmp` often forbids), else among the temporary files.
    pub(super) fn make() -> Option<Self> {
        let beside = std::env::current_exe()
            .ok()
            .and_then(|program| Some(program.parent()?.to_owned()))
            .filter(|directory| is_own_cache(directory));
        beside
            .into_iter()
            .chain([std::env::temp_dir()])
            .find_map(|directory| Self::make_in(&directory))
    }

    fn make_in(directory: &Path) -> Option<Self> {
        remove_abandoned(directory);
        let name = format!(
            "{PREFIX}{}-{:08x}",
            std::process::id(),
            rand::random::<u32>()
        );
        let path = directory.join(name);
        rustix::fs::mkdir(&path, Mode::RWXU).ok()?;
        let lock = open(&path)?;
        rustix::fs::flock(&lock, FlockOperation::LockShared).ok()?;
        // Another agent may have taken it for abandoned before it was locked.
        path.exists().then_some(Self { path, _lock: lock })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn remove(&self) {
        remove(&self.path);
    }
}

/// Removes what agents of this user left in `directory` when they were killed.
fn remove_abandoned(directory: &Path) {
    let Ok(entries) = directory.read_dir() else {
        return;
    };
    for entry in entries.flatten() {
        if !entry.file_name().to_string_lossy().starts_with(PREFIX) {
            continue;
        }
        let own = entry.metadata().is_ok_and(|found| found.uid() == user());
        // The lock is kept until the directory is gone.
        let lock = own.then(|| open(&entry.path())).flatten();
        if let Some(lock) = &lock
            && rustix::fs::flock(lock, FlockOperation::NonBlockingLockExclusive).is_ok()
        {
            remove(&entry.path());
        }
    }
}

fn remove(path: &Path) {
    #[expect(
        clippy::disallowed_methods,
        reason = "a session's own scratch, no change to the target"
    )]
    std::fs::remove_dir_all(path).ok();
}

fn open(path: &Path) -> Option<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    rustix::fs::open(path, flags, Mode::empty()).ok()
}

fn is_own_cache(directory: &Path) -> bool {
    let named = directory
        .file_name()
        .is_some_and(|name| name.to_string_lossy().starts_with("backstay") || name == ".backstay");
    named
        && directory
            .metadata()
            .is_ok_and(|found| found.uid() == user() && found.mode().trailing_zeros() >= 6)
}

fn user() -> u32 {
    rustix::process::geteuid().as_raw()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_killed_agent_left_is_removed_and_a_living_ones_stays() {
        let cache = tempfile::tempdir().unwrap();
        let killed = Scratch::make_in(cache.path()).unwrap().path().to_owned();
        let living = Scratch::make_in(cache.path()).unwrap();
        let next = Scratch::make_in(cache.path()).unwrap();
        assert!(!killed.exists());
        assert!(living.path().exists() && next.path().exists());
        living.remove();
        assert!(!living.path().exists() && next.path().exists());
    }
}
