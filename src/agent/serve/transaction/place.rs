//! Where a user's transactions are kept, and whether that place can hold one more.

use std::path::{Path, PathBuf};

use rustix::fs::{StatVfs, StatVfsMountFlags, statvfs};

use crate::machine::{Machine, MachineOptions};
use crate::transaction::store::StateRoot;

/// Space that must be free before anything is changed.
const ROOM: u64 = 16 << 20;
/// Names that must be free.
const NAMES: u64 = 256;

/// The state directory of the agent's user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) path: PathBuf,
    /// The host itself keeps it, so a boot can be asked to look there.
    pub(super) is_permanent: bool,
}

impl Place {
    /// Finds the directory: the one that was given, root's, or the user's own.
    pub(super) fn find() -> Result<Self, String> {
        let machine = Machine::new(MachineOptions::default());
        let is_root = rustix::process::geteuid().is_root();
        Self::of(is_root, &|name| machine.variable(name))
    }

    fn of(is_root: bool, variable: &dyn Fn(&str) -> Option<String>) -> Result<Self, String> {
        let absolute = |name: &str| {
            variable(name)
                .map(PathBuf::from)
                .filter(|path| path.is_absolute())
        };
        if let Some(path) = absolute("BACKSTAY_STATE_DIRECTORY") {
            return Ok(Self {
                path,
                is_permanent: false,
            });
        }
        let path = if is_root {
            Some(PathBuf::from("/var/lib"))
        } else {
            absolute("XDG_STATE_HOME")
                .or_else(|| absolute("HOME").map(|home| home.join(".local/state")))
        };
        let path = path.ok_or("the user has no home to keep transactions in")?;
        Ok(Self {
            path: path.join("backstay"),
            is_permanent: true,
        })
    }

    /// Opens the directory and refuses one that could not hold another transaction.
    pub(super) fn open(&self) -> Result<StateRoot, String> {
        let root = StateRoot::open(&self.path).map_err(|error| error.to_string())?;
        let found = statvfs(&self.path)
            .map_err(|error| format!("cannot look at `{}`: {error}", self.path.display()))?;
        check(&self.path, &found, self.is_permanent)?;
        Ok(root)
    }
}

fn check(path: &Path, found: &StatVfs, runs_programs: bool) -> Result<(), String> {
    let path = path.display();
    if found.f_flag.contains(StatVfsMountFlags::RDONLY) {
        return Err(format!(
            "`{path}` is on a file system that is mounted read-only"
        ));
    }
    if runs_programs && found.f_flag.contains(StatVfsMountFlags::NOEXEC) {
        return Err(format!(
            "`{path}` is on a file system that is mounted `noexec`, so a boot could recover nothing from it"
        ));
    }
    let free = found.f_bavail.saturating_mul(found.f_frsize);
    if free < ROOM {
        return Err(format!(
            "`{path}` has only {} KiB of free space, and a transaction needs {} KiB to be undone safely",
            free >> 10,
            ROOM >> 10
        ));
    }
    // Some file systems do not count names.
    if found.f_files > 0 && found.f_favail < NAMES {
        return Err(format!(
            "`{path}` is on a file system with only {} free inodes",
            found.f_favail
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(is_root: bool, variables: &[(&str, &str)]) -> Result<String, String> {
        let variable = |name: &str| {
            let found = variables.iter().find(|(known, _)| *known == name);
            found.map(|(_, value)| (*value).to_owned())
        };
        let place = Place::of(is_root, &variable)?;
        Ok(format!("{} {}", place.path.display(), place.is_permanent))
    }

    #[test]
    fn root_has_one_place_and_users_have_their_own() {
        let home = ("HOME", "/home/ann");
        assert_eq!(of(true, &[home]).unwrap(), "/var/lib/backstay true");
        assert_eq!(
            of(false, &[home]).unwrap(),
            "/home/ann/.local/state/backstay true"
        );
        assert_eq!(
            of(false, &[home, ("XDG_STATE_HOME", "/state")]).unwrap(),
            "/state/backstay true"
        );
        assert_eq!(
            of(true, &[("BACKSTAY_STATE_DIRECTORY", "/box")]).unwrap(),
            "/box false"
        );
        assert_eq!(
            of(false, &[("HOME", "nowhere")]).unwrap_err(),
            "the user has no home to keep transactions in"
        );
    }

    #[test]
    fn a_place_that_cannot_hold_a_transaction_is_refused_with_the_reason() {
        let found = |change: &dyn Fn(&mut StatVfs)| {
            let mut found = statvfs("/proc/self").unwrap();
            found.f_flag = StatVfsMountFlags::empty();
            (found.f_bavail, found.f_frsize) = (1 << 20, 4096);
            (found.f_files, found.f_favail) = (1 << 20, 1 << 20);
            change(&mut found);
            found
        };
        let refused = |change: &dyn Fn(&mut StatVfs)| {
            check(Path::new("/s"), &found(change), true).unwrap_err()
        };
        check(Path::new("/s"), &found(&|_| {}), true).unwrap();
        assert_eq!(
            refused(&|found| found.f_bavail = 3),
            "`/s` has only 12 KiB of free space, and a transaction needs 16384 KiB to be undone safely"
        );
        assert_eq!(
            refused(&|found| found.f_favail = 7),
            "`/s` is on a file system with only 7 free inodes"
        );
        assert_eq!(
            refused(&|found| found.f_flag = StatVfsMountFlags::RDONLY),
            "`/s` is on a file system that is mounted read-only"
        );
        let inert = found(&|found| found.f_flag = StatVfsMountFlags::NOEXEC);
        let why = check(Path::new("/s"), &inert, true).unwrap_err();
        assert!(why.contains("mounted `noexec`"));
        check(Path::new("/s"), &inert, false).unwrap();
    }
}
