//! Changes that may not be on the disk yet.
//!
//! A record is on the disk before its change. The change itself may be lost when the power is cut,
//! for undoing looks before it acts; but it must not meet a state that is older than what its record
//! replaced. So another change of the same thing, or of what is in a directory that was moved, waits
//! until the earlier one is on the disk. So do programs, which may build on anything, and the vote,
//! after which nothing may be lost.
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
    /// What was changed since all was on the disk, and how.
    changed: BTreeMap<PathBuf, Change>,
    /// The directories whose names changed, and the things whose attributes did.
    things: BTreeSet<PathBuf>,
    /// The same of what nobody misses before the vote.
    unhurried: BTreeSet<PathBuf>,
    /// What the transaction itself made, and whether it is a directory.
    made: BTreeMap<PathBuf, bool>,
}

/// How a path was changed; the stronger comes later.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Change {
    /// Nothing was there before.
    Made,
    Attributes,
    /// Something else was there before, or is there no more.
    Exchanged,
}

impl Unsettled {
    /// Gets on the disk what a change builds on.
    pub(super) fn settle_before(&mut self, record: &UndoRecord) -> io::Result<()> {
        if let UndoRecord::Renamed { from, .. } = record
            && self.unhurried.iter().any(|it| it.starts_with(&from.path))
        {
            // They could not be found any more.
            return self.settle_all();
        }
        if self.must_settle_before(record) {
            self.settle()?;
        }
        Ok(())
    }

    /// Gets everything on the disk.
    pub(super) fn settle_all(&mut self) -> io::Result<()> {
        self.things.append(&mut self.unhurried);
        self.settle()
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
        let change = match record {
            UndoRecord::Created { spot, after, .. } => {
                let is_directory = matches!(after, After::Directory);
                self.made.insert(spot.path.clone(), is_directory);
                Change::Made
            }
            UndoRecord::Attributes { spot, .. } => {
                if self.may_be_lost(record) {
                    self.unhurried.insert(spot.path.clone());
                    return;
                }
                Change::Attributes
            }
            UndoRecord::Removed { spot: old, .. } | UndoRecord::Renamed { from: old, .. } => {
                self.forget(&old.path);
                Change::Exchanged
            }
            UndoRecord::Replaced { .. } => Change::Exchanged,
            UndoRecord::Effect { .. } => return,
        };
        for path in record.paths() {
            let thing = match change {
                Change::Attributes => path,
                Change::Made | Change::Exchanged => directory_of(path),
            };
            self.things.insert(thing.to_owned());
            let known = self.changed.entry(path.to_owned()).or_insert(change);
            *known = change.max(*known);
        }
    }

    fn must_settle_before(&self, record: &UndoRecord) -> bool {
        if self.may_be_lost(record) {
            return false;
        }
        // A program may look at anything.
        matches!(record, UndoRecord::Effect { .. })
            || record.paths().into_iter().any(|path| {
                let mut above = path.ancestors().skip(1);
                self.is_changed_before(record, path)
                    || above.any(|it| self.changed.get(it) == Some(&Change::Exchanged))
            })
    }

    fn is_changed_before(&self, record: &UndoRecord, path: &Path) -> bool {
        match self.changed.get(path) {
            None => false,
            // It may be missing where it is changed, but not where it is moved away.
            Some(Change::Made) => matches!(
                record,
                UndoRecord::Removed { .. } | UndoRecord::Renamed { .. }
            ),
            Some(Change::Attributes | Change::Exchanged) => true,
        }
    }

    fn settle(&mut self) -> io::Result<()> {
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
    use crate::transaction::journal::{Before, FileId, Identity, Spot, Undo};

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

    fn immutable() -> OldAttributes {
        OldAttributes {
            flags: Some(16),
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

    fn replaced(path: &str) -> UndoRecord {
        let id = FileId {
            device: 1,
            inode: 4,
        };
        UndoRecord::Replaced {
            spot: spot(path),
            before: Before {
                identity: Identity {
                    id,
                    size: 0,
                    modified: (0, 0),
                },
                attributes: OldAttributes::default(),
                kept: None,
            },
            after: After::Scratch,
            staged: None,
        }
    }

    #[test]
    fn a_second_change_waits_where_undoing_it_would_meet_a_state_before_the_first() {
        let after = |first: &UndoRecord, second: &UndoRecord| {
            let mut unsettled = Unsettled::default();
            unsettled.add(first);
            unsettled.must_settle_before(second)
        };
        let made = created("/a/b", After::Directory);
        let flags = attributes("/a/b", immutable());
        let moved = renamed("/x", "/a/b");
        let then = [
            replaced("/a/b"),
            renamed("/a/b", "/c"),
            attributes("/a/b", mode(0o700)),
            replaced("/a/b/c"),
            renamed("/a", "/c"),
            replaced("/a/bb"),
        ];
        let waits = |first: &UndoRecord| then.each_ref().map(|second| after(first, second));
        assert_eq!(waits(&made), [false, true, false, false, false, false]);
        assert_eq!(waits(&flags), [true, true, true, false, false, false]);
        assert_eq!(
            waits(&replaced("/a/b")),
            [true, true, true, true, false, false]
        );
        assert_eq!(waits(&moved), [true, true, true, true, false, false]);
    }

    #[test]
    fn of_two_changes_of_one_path_the_stronger_counts() {
        let mut unsettled = Unsettled::default();
        unsettled.add(&replaced("/a"));
        unsettled.add(&created("/a", After::Scratch));
        assert!(unsettled.must_settle_before(&replaced("/a")));
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
        unsettled.add(&replaced(&path("a")));
        unsettled.add(&replaced(&path("gone/b")));
        unsettled.settle_before(&replaced(&path("a"))).unwrap();
        assert!(!unsettled.must_settle_before(&replaced(&path("a"))));
        assert!(unsettled.things.is_empty());
    }

    #[test]
    fn attributes_of_what_was_made_wait_for_the_vote_or_a_new_name() {
        let program = UndoRecord::Effect {
            what: "command `true`".to_owned(),
            undo: Undo::Opaque,
            redo: None,
        };
        let unsettled = || {
            let mut unsettled = Unsettled::default();
            unsettled.add(&created("/d", After::Directory));
            unsettled.add(&attributes("/d", mode(0o700)));
            unsettled
        };
        let mut waiting = unsettled();
        waiting.settle_before(&program).unwrap();
        assert_eq!(waiting.unhurried.len(), 1);
        waiting.settle_all().unwrap();
        assert_eq!(waiting.unhurried.len(), 0);
        let mut moved = unsettled();
        moved.settle_before(&renamed("/d", "/e")).unwrap();
        assert_eq!(moved.unhurried.len(), 0);
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
        assert!(!may(&unsettled, "/d/f", immutable()));
        assert!(!may(&unsettled, "/e", mode(0o755)));
        assert!(!unsettled.may_be_lost(&created("/d/g", After::Scratch)));
        // What comes to its place is not what was made there.
        unsettled.add(&renamed("/d", "/e"));
        assert!(!may(&unsettled, "/d", mode(0o755)));
        assert!(!may(&unsettled, "/d/f", mode(0o400)));
        assert!(!may(&unsettled, "/e", mode(0o755)));
    }
}
