//! One member of an archive: is it there as it should be, and putting it there.

use std::io::{self, Read};
use std::path::{Path, PathBuf};

use crate::arguments::FileAttributes;
use crate::machine::{
    Algorithm, Attributes, Content, Follow, Machine, MachineError, Metadata, NewFile, Timestamp,
};

use super::super::Failure;
use super::super::archive::{Entry, EntryKind};
use super::super::links::Below;
use super::UnarchiveArgs;
use super::extra::Extra;

/// A member of up to this many bytes is unpacked in memory.
const IN_MEMORY: u64 = 4 << 20;

/// How members are compared and unpacked.
pub(super) struct Unpacking<'a> {
    below: Below,
    attributes: &'a FileAttributes,
    keep_newer: bool,
    keep_old: bool,
    touch: bool,
    /// Members get the archive's owners.
    owners: bool,
    numeric_owner: bool,
    /// What the umask takes away from the archive's permissions.
    masked: u32,
}

impl<'a> Unpacking<'a> {
    pub(super) fn new(
        dest: &'a Path,
        attributes: &'a FileAttributes,
        args: &UnarchiveArgs,
        extra: &Extra,
    ) -> Self {
        let is_root = rustix::process::geteuid().is_root();
        let keeps_permissions = extra.same_permissions.unwrap_or(is_root);
        Self {
            below: Below::new(dest),
            attributes,
            keep_newer: args.keep_newer || extra.keep_newer,
            keep_old: extra.keep_old,
            touch: extra.touch,
            owners: extra.same_owner.unwrap_or(is_root),
            numeric_owner: extra.numeric_owner,
            masked: if keeps_permissions { 0 } else { u32::MAX },
        }
    }

    /// Returns where a member, by its path in the archive, goes.
    pub(super) fn target(
        &mut self,
        machine: &mut Machine,
        path: &Path,
    ) -> Result<PathBuf, Failure> {
        self.below.place(machine, path)
    }

    /// Tells whether a member is not there as it should be.
    pub(super) fn differs(
        &mut self,
        machine: &mut Machine,
        entry: &Entry,
        content: &mut dyn Read,
    ) -> Result<bool, Failure> {
        let path = self.target(machine, &entry.path)?;
        let Some(found) = machine.symlink_metadata(&path)? else {
            return Ok(true);
        };
        if self.keep_old && !found.is_dir() {
            return Ok(false);
        }
        match &entry.kind {
            EntryKind::Directory => {
                // A link to a directory does as well.
                let is_there = found.is_dir() || machine.is_dir(&path)?;
                Ok(!is_there || found.is_dir() && self.attributes_differ(machine, entry, &found))
            }
            EntryKind::Link(target) => Ok(!found.is_link()
                || machine.read_link(&path)? != *target
                || self.owner_differs(machine, entry, &found)),
            EntryKind::HardLink(target) => {
                let target = self.target(machine, target)?;
                let target = machine.symlink_metadata(&target)?;
                let same = target.is_some_and(|target| {
                    (target.device, target.inode) == (found.device, found.inode)
                });
                Ok(!same)
            }
            EntryKind::File => self.file_differs(machine, entry, &path, &found, content),
        }
    }

    fn file_differs(
        &self,
        machine: &mut Machine,
        entry: &Entry,
        path: &Path,
        found: &Metadata,
        content: &mut dyn Read,
    ) -> Result<bool, Failure> {
        if !found.is_file() {
            return Ok(true);
        }
        if self.keep_newer && found.mtime.seconds > entry.mtime {
            return Ok(false);
        }
        if found.size != entry.size
            || (!self.touch && found.mtime.seconds != entry.mtime)
            || self.attributes_differ(machine, entry, found)
        {
            return Ok(true);
        }
        let wanted = Algorithm::Sha256
            .of_reader(content)
            .map_err(|error| unreadable(entry, &error))?;
        Ok(machine.digest(path, Algorithm::Sha256)? != wanted)
    }

    /// Compares what the file options do not settle in any case.
    fn attributes_differ(&self, machine: &mut Machine, entry: &Entry, found: &Metadata) -> bool {
        let mode = self.mode(machine, entry);
        (self.attributes.mode.is_none() && mode.is_some_and(|mode| mode != found.mode))
            || self.owner_differs(machine, entry, found)
    }

    fn owner_differs(&self, machine: &mut Machine, entry: &Entry, found: &Metadata) -> bool {
        let [uid, gid] = self.ids(machine, entry);
        (self.attributes.owner.is_none() && uid.is_some_and(|uid| uid != found.uid))
            || (self.attributes.group.is_none() && gid.is_some_and(|gid| gid != found.gid))
    }

    fn mode(&self, machine: &Machine, entry: &Entry) -> Option<u32> {
        // A zip archive, which knows no owners, has permissions that are taken as they are.
        if entry.owner.is_none() {
            return entry.mode;
        }
        let masked = self.masked & (machine.umask() | 0o7000);
        entry.mode.map(|mode| mode & !masked)
    }

    /// Returns user and group on this machine, by name where there is one of that name.
    fn ids(&self, machine: &mut Machine, entry: &Entry) -> [Option<u32>; 2] {
        let Some(owner) = entry.owner.as_ref().filter(|_| self.owners) else {
            return [None, None];
        };
        let user = owner.user.as_deref().filter(|_| !self.numeric_owner);
        let group = owner.group.as_deref().filter(|_| !self.numeric_owner);
        let uid = user
            .and_then(|name| machine.user(name))
            .map(|user| user.uid);
        let gid = group
            .and_then(|name| machine.group(name))
            .map(|group| group.gid);
        [
            uid.or_else(|| u32::try_from(owner.uid).ok()),
            gid.or_else(|| u32::try_from(owner.gid).ok()),
        ]
    }

    /// Puts a member where it goes; what is there already gives way.
    pub(super) fn unpack(
        &mut self,
        machine: &mut Machine,
        entry: &Entry,
        content: &mut dyn Read,
    ) -> Result<(), Failure> {
        let path = self.target(machine, &entry.path)?;
        if let Some(parent) = path.parent() {
            machine.create_dir_all(parent, 0o777)?;
        }
        let found = machine.symlink_metadata(&path)?;
        match &entry.kind {
            EntryKind::Directory => self.unpack_directory(machine, entry, &path, found.as_ref()),
            EntryKind::File => {
                make_way(machine, &path, found.as_ref())?;
                self.unpack_file(machine, entry, &path, content)
            }
            EntryKind::Link(target) => {
                make_way(machine, &path, found.as_ref())?;
                machine.symlink(target, &path)?;
                let [uid, gid] = self.ids(machine, entry);
                let owner = Attributes {
                    uid,
                    gid,
                    ..Attributes::default()
                };
                machine.set_attributes(&path, &owner, Follow::No)?;
                Ok(())
            }
            EntryKind::HardLink(target) => {
                make_way(machine, &path, found.as_ref())?;
                let target = self.target(machine, target)?;
                machine.hard_link(&target, &path)?;
                Ok(())
            }
        }
    }

    fn unpack_directory(
        &self,
        machine: &mut Machine,
        entry: &Entry,
        path: &Path,
        found: Option<&Metadata>,
    ) -> Result<(), Failure> {
        if !found.is_some_and(Metadata::is_dir) {
            if found.is_some() {
                machine.remove(path)?;
            }
            machine.create_dir(path, 0o777)?;
        }
        let [uid, gid] = self.ids(machine, entry);
        let wanted = Attributes {
            mode: self.mode(machine, entry),
            uid,
            gid,
            times: None,
        };
        machine.set_attributes(path, &wanted, Follow::No)?;
        Ok(())
    }

    fn unpack_file(
        &self,
        machine: &mut Machine,
        entry: &Entry,
        path: &Path,
        content: &mut dyn Read,
    ) -> Result<(), Failure> {
        let [uid, gid] = self.ids(machine, entry);
        let new = NewFile {
            mode: self.mode(machine, entry),
            uid,
            gid,
            times: (!self.touch).then(|| [Timestamp::now(), timestamp(entry.mtime)]),
            fresh: true,
            ..NewFile::default()
        };
        if entry.size <= IN_MEMORY {
            let mut bytes = Vec::new();
            content
                .read_to_end(&mut bytes)
                .map_err(|error| unreadable(entry, &error))?;
            machine.write(path, Content::Bytes(bytes), &new)?;
        } else {
            let mut spool = machine.temporary_file(b"")?;
            io::copy(content, spool.file()).map_err(|error| unreadable(entry, &error))?;
            machine.write(path, Content::File(spool.path().to_owned()), &new)?;
        }
        Ok(())
    }
}

/// Returns whole seconds as a time stamp.
pub(super) fn timestamp(seconds: i64) -> Timestamp {
    Timestamp {
        seconds,
        nanoseconds: 0,
    }
}

/// Removes an empty directory from where a file goes; a full one stays, as with tar.
fn make_way(
    machine: &mut Machine,
    path: &Path,
    found: Option<&Metadata>,
) -> Result<(), MachineError> {
    match found {
        Some(found) if found.is_dir() => machine.remove_empty_dir(path),
        _ => Ok(()),
    }
}

fn unreadable(entry: &Entry, error: &io::Error) -> Failure {
    Failure::new(format!(
        "the archive cannot be read: `{}`: {error}",
        entry.name
    ))
}
