//! Changes that may not be on the disk yet.
//!
//! A record is on the disk before its change. The change itself may be lost when the power is cut,
//! for undoing looks before it acts; but no later change that builds on it may then be there. So
//! what touches the same paths waits until the earlier change is on the disk, as do programs, which
//! may build on anything, and the vote, after which nothing may be lost.
//!
//! Knows nothing of how a change is made.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use rustix::fs::{FileType, Mode, OFlags};
use rustix::io::Errno;

use crate::transaction::journal::{After, OldAttributes, UndoRecord};

/// Above this many things whole file systems are written out, which is then cheaper.
const MANY: usize = 256;

/// What is known of the changes of one transaction.
#[derive(Debug, Default)]
pub(super) struct Unsettled {
    /// What was changed since all was on the disk.
    changed: BTreeSet<PathBuf>,
    /// The directories whose names changed, and the things whose attributes did.
    things: BTreeSet<PathBuf>,
    /// What the transaction itself made, and whether it is a directory.
    made: BTreeMap<PathBuf, bool>,
}

impl Unsettled {
    /// Tells whether a change would build on one that is not on the disk yet.
    pub(super) fn must_settle_before(&self, record: &UndoRecord) -> bool {
        // A program may look at anything.
        matches!(record, UndoRecord::Effect { .. })
            || record.paths().into_iter().any(|path| self.touches(path))
    }

    /// Tells whether the transaction goes back to the same state without a record, should it be
    /// lost: what it made itself is removed, whatever its attributes.
    pub(super) fn may_be_lost(&self, record: &UndoRecord) -> bool {
        let UndoRecord::Attributes { spot, after, .. } = record else {
            return false;
        };
        let made = self.made.get(&spot.path);
        made.is_some_and(|is_directory| is_removable(after, *is_directory))
    }

    /// Takes note of a change that is about to happen.
    pub(super) fn add(&mut self, record: &UndoRecord) {
        match record {
            UndoRecord::Created { spot, after, .. } => {
                let is_directory = matches!(after, After::Directory);
                self.made.insert(spot.path.clone(), is_directory);
            }
            UndoRecord::Replaced { .. } | UndoRecord::Attributes { .. } => {}
            UndoRecord::Removed { spot, .. } => self.forget(&spot.path),
            UndoRecord::Renamed { from, .. } => self.forget(&from.path),
            UndoRecord::Effect { .. } => return,
        }
        for path in record.paths() {
            let thing = match record {
                UndoRecord::Attributes { .. } => path,
                _ => directory_of(path),
            };
            self.things.insert(thing.to_owned());
            self.changed.insert(path.to_owned());
        }
    }

    /// Gets everything on the disk.
    pub(super) fn settle(&mut self) -> io::Result<()> {
        // Of each file system one thing is enough to write out all of it.
        let mut written = (self.things.len() > MANY).then(BTreeSet::new);
        for path in &self.things {
            let Some(thing) = open(path)? else {
                continue;
            };
            let synced = match &mut written {
                None => rustix::fs::fsync(&thing),
                Some(devices) => {
                    if !devices.insert(rustix::fs::fstat(&thing)?.st_dev) {
                        continue;
                    }
                    rustix::fs::syncfs(&thing)
                }
            };
            match synced {
                // File systems without it, and those that cannot be written to any more.
                Ok(()) | Err(Errno::INVAL | Errno::ROFS) => {}
                Err(error) => return Err(error.into()),
            }
        }
        self.changed.clear();
        self.things.clear();
        Ok(())
    }

    /// Tells whether the path, or one above or below it, was changed.
    fn touches(&self, path: &Path) -> bool {
        let is_below = |changed: &PathBuf| changed.starts_with(path);
        path.ancestors().any(|above| self.changed.contains(above))
            || self
                .changed
                .range(path.to_owned()..)
                .next()
                .is_some_and(is_below)
    }

    /// The path is somebody else's from now on.
    fn forget(&mut self, path: &Path) {
        let gone: Vec<PathBuf> = self
            .made
            .range(path.to_owned()..)
            .map(|(made, _)| made)
            .take_while(|made| made.starts_with(path))
            .cloned()
            .collect();
        for path in gone {
            self.made.remove(&path);
        }
    }
}

/// Tells whether a thing with these attributes can be removed by who made it, and a directory
/// emptied before.
fn is_removable(after: &OldAttributes, is_directory: bool) -> bool {
    let is_open = after.mode.is_none_or(|mode| mode & 0o300 == 0o300);
    after.flags.is_none() && (is_open || !is_directory)
}

/// Opens what is to be on the disk: a file or a directory, or else the directory that holds it.
///
/// Other things must not be opened, for that alone can start something. What is gone, or not to be
/// read by this user, is nothing.
fn open(path: &Path) -> io::Result<Option<OwnedFd>> {
    let opened = rustix::fs::lstat(path).and_then(|found| {
        let kind = FileType::from_raw_mode(found.st_mode);
        let is_plain = matches!(kind, FileType::RegularFile | FileType::Directory);
        let path = if is_plain { path } else { directory_of(path) };
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        rustix::fs::open(path, flags, Mode::empty())
    });
    match opened {
        Ok(thing) => Ok(Some(thing)),
        Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP | Errno::ACCESS) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

fn directory_of(path: &Path) -> &Path {
    path.parent().unwrap_or(OsStr::new("/").as_ref())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::transaction::journal::{FileId, Spot, Undo};

    fn spot(path: &str) -> Spot {
        Spot {
            path: path.into(),
            parent: FileId {
                device: 1,
                inode: 2,
            },
        }
    }

    fn created(path: &str, after: After) -> UndoRecord {
        UndoRecord::Created {
            spot: spot(path),
            after,
            staged: None,
        }
    }

    fn attributes(path: &str, after: OldAttributes) -> UndoRecord {
        UndoRecord::Attributes {
            spot: spot(path),
            id: FileId {
                device: 1,
                inode: 3,
            },
            before: OldAttributes::default(),
            after,
        }
    }

    fn mode(mode: u32) -> OldAttributes {
        OldAttributes {
            mode: Some(mode),
            ..OldAttributes::default()
        }
    }

    fn renamed(from: &str, to: &str) -> UndoRecord {
        UndoRecord::Renamed {
            from: spot(from),
            to: spot(to),
            moved: FileId {
                device: 1,
                inode: 3,
            },
        }
    }

    #[test]
    fn what_touches_a_changed_path_or_one_above_or_below_it_waits_for_the_disk() {
        let mut unsettled = Unsettled::default();
        unsettled.add(&created("/a/b/c", After::Scratch));
        unsettled.add(&created("/a/bb", After::Scratch));
        let waits = |path: &str| unsettled.must_settle_before(&created(path, After::Scratch));
        let paths = [
            "/a/b/c", "/a/b/c/d", "/a/b", "/a", "/a/b/cc", "/a/bc", "/b", "/a/b/a",
        ];
        assert_eq!(
            paths.map(waits),
            [true, true, true, true, false, false, false, false]
        );
        assert!(unsettled.must_settle_before(&renamed("/x", "/a/bb")));
        assert!(!unsettled.must_settle_before(&renamed("/x", "/y")));
    }

    #[test]
    fn a_program_waits_for_everything() {
        let program = UndoRecord::Effect {
            what: "command `true`".to_owned(),
            undo: Undo::Opaque,
            redo: None,
        };
        assert!(Unsettled::default().must_settle_before(&program));
    }

    #[test]
    fn nothing_waits_any_more_when_all_is_on_the_disk() {
        let directory = tempfile::tempdir().unwrap();
        let path = |name: &str| directory.path().join(name).display().to_string();
        let mut unsettled = Unsettled::default();
        unsettled.add(&created(&path("a"), After::Scratch));
        unsettled.add(&created(&path("gone/b"), After::Scratch));
        unsettled.settle().unwrap();
        assert!(!unsettled.must_settle_before(&created(&path("a"), After::Scratch)));
        assert!(unsettled.things.is_empty());
    }

    #[test]
    fn only_attributes_of_what_the_transaction_made_may_be_lost() {
        let mut unsettled = Unsettled::default();
        unsettled.add(&created("/d", After::Directory));
        unsettled.add(&created("/d/f", After::Scratch));
        let may = |it: &Unsettled, path: &str, after| it.may_be_lost(&attributes(path, after));
        assert!(may(&unsettled, "/d", mode(0o755)));
        assert!(may(&unsettled, "/d/f", mode(0o400)));
        // It could not be emptied.
        assert!(!may(&unsettled, "/d", mode(0o555)));
        let immutable = OldAttributes {
            flags: Some(16),
            ..OldAttributes::default()
        };
        assert!(!may(&unsettled, "/d/f", immutable));
        assert!(!may(&unsettled, "/e", mode(0o755)));
        assert!(!unsettled.may_be_lost(&created("/d/g", After::Scratch)));
        // What comes to its place is not what was made there.
        unsettled.add(&renamed("/d", "/e"));
        assert!(!may(&unsettled, "/d", mode(0o755)));
        assert!(!may(&unsettled, "/d/f", mode(0o400)));
        assert!(!may(&unsettled, "/e", mode(0o755)));
    }
}
