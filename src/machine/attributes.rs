//! Owner, group, mode, times, flags and labels of what exists.

use std::io;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, Gid, Timespec, Timestamps, Uid};
use rustix::io::Errno;

use crate::arguments::{FileAttributes, Mode};
use crate::transaction::journal::{OldAttributes, UndoRecord};
use crate::value::Map;

use super::keeping::recorded;
use super::permissions::symbolic_mode;
use super::place::Place;
use super::write::timestamps;
use super::{
    Follow, Links, Machine, MachineError, Metadata, Reason, Result, Timestamp, extended, flags,
    selinux,
};

/// Attributes to set; `None` leaves one alone.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Attributes {
    pub mode: Option<u32>,
    pub uid: Option<u32>,
    pub gid: Option<u32>,
    /// Access and modification time.
    pub times: Option<[Timestamp; 2]>,
}

/// What the shared file options changed, with the two halves of Ansible's diff.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AttributeChange {
    pub changed: bool,
    pub before: Map,
    pub after: Map,
}

impl Attributes {
    fn changes_hands(&self) -> bool {
        self.uid.is_some() || self.gid.is_some()
    }
}

impl AttributeChange {
    fn note(
        &mut self,
        name: &str,
        before: impl Into<crate::value::Value>,
        after: impl Into<crate::value::Value>,
    ) {
        self.changed = true;
        self.before.insert(name.into(), before.into());
        self.after.insert(name.into(), after.into());
    }
}

impl Machine {
    /// Sets attributes where they differ, and tells whether any did.
    ///
    /// Linux keeps no mode for a link: with [`Follow::No`] a link's is left alone.
    pub fn set_attributes(
        &mut self,
        path: &Path,
        wanted: &Attributes,
        follow: Follow,
    ) -> Result<bool> {
        let failed = |error: io::Error| MachineError::io("change attributes of", path, error);
        let path = &self.subject(path, follow)?;
        if let Some(prediction) = self.predicted() {
            return prediction
                .lock()
                .set_attributes(path, wanted)
                .map_err(failed);
        }
        let place = self.place(path).map_err(failed)?;
        let found = place.metadata().map_err(failed)?;
        let found = found.ok_or_else(|| failed(rustix::io::Errno::NOENT.into()))?;
        let change = difference(&found, wanted);
        if change == Attributes::default() {
            return Ok(false);
        }
        let follows_roots = |(_, links): &(PathBuf, Links)| *links == Links::OfRootFollowed;
        if found.is_link()
            && change.uid == Some(0)
            && self.unlinked.as_ref().is_some_and(follows_roots)
        {
            return Err(MachineError::said(
                "change owner of",
                path.display(),
                "it is a symbolic link of somebody else's, and root's would be followed",
            ));
        }
        let mut before = replaced(&found, &change);
        if before.mode.is_some() && found.is_file() && change.changes_hands() {
            before.capability = extended::capability(&place.path).map_err(failed)?;
        }
        let after = OldAttributes {
            mode: before.mode.map(|mode| change.mode.unwrap_or(mode)),
            uid: change.uid,
            gid: change.gid,
            times: change.times.map(|times| times.map(recorded)),
            ..OldAttributes::default()
        };
        self.record_attributes(&place, &found, before, after)?;
        change_attributes(&place, &found, &change).map_err(failed)?;
        Ok(true)
    }

    /// Brings a file in line with the shared options (`mode`, `owner`, `group` …) as Ansible's
    /// `set_fs_attributes_if_different` does, and returns what changed.
    pub fn apply_file_attributes(
        &mut self,
        path: &Path,
        attributes: &FileAttributes,
        follow: Follow,
    ) -> Result<AttributeChange> {
        let path = self.subject(path, follow)?;
        let mut change = AttributeChange::default();
        let Some(found) = self.symlink_metadata(&path)? else {
            return Err(MachineError::io(
                "change attributes of",
                &path,
                rustix::io::Errno::NOENT,
            ));
        };
        self.apply_label(&path, attributes, &mut change)?;
        let wanted = self.wanted(&path, attributes, &found, &mut change)?;
        self.set_attributes(&path, &wanted, Follow::No)?;
        self.apply_flags(&path, attributes, &mut change)?;
        Ok(change)
    }

    /// Returns the mode that the option asks for on a file that is as `found` says.
    pub fn wanted_mode(&self, path: &Path, mode: &Mode, found: &Metadata) -> Result<u32> {
        match mode {
            Mode::Octal(mode) => Ok(*mode),
            Mode::Preserve => Ok(found.mode),
            Mode::Symbolic(text) => symbolic_mode(text, found.mode, found.kind, self.umask)
                .map_err(|why| MachineError {
                    action: "change mode of",
                    object: path.display().to_string(),
                    reason: Reason::Verbatim(format!(
                        "mode must be in octal or symbolic form: {why}"
                    )),
                    help: None,
                }),
        }
    }

    /// Returns the flags of a file; `None` where the file system has none.
    pub fn file_flags(&self, path: &Path) -> Option<super::FileFlags> {
        flags::read(path).ok().flatten()
    }

    fn subject(&mut self, path: &Path, follow: Follow) -> Result<PathBuf> {
        match follow {
            Follow::Yes => self.real_path(path),
            Follow::No => Ok(path.to_owned()),
        }
    }

    fn wanted(
        &mut self,
        path: &Path,
        attributes: &FileAttributes,
        found: &Metadata,
        change: &mut AttributeChange,
    ) -> Result<Attributes> {
        let mut wanted = Attributes::default();
        if let Some(owner) = &attributes.owner {
            let uid = self
                .user_id(owner)
                .ok_or_else(|| unknown("chown", "user", owner))?;
            wanted.uid = Some(uid);
            if uid != found.uid {
                change.note("owner", found.uid, uid);
            }
        }
        if let Some(group) = &attributes.group {
            let gid = self
                .group_id(group)
                .ok_or_else(|| unknown("chgrp", "group", group))?;
            wanted.gid = Some(gid);
            if gid != found.gid {
                change.note("group", found.gid, gid);
            }
        }
        if let Some(mode) = &attributes.mode {
            let mode = self.wanted_mode(path, mode, found)?;
            wanted.mode = Some(mode);
            if mode != found.mode && !found.is_link() {
                change.note("mode", octal(found.mode), octal(mode));
            }
        }
        Ok(wanted)
    }

    fn apply_label(
        &mut self,
        path: &Path,
        attributes: &FileAttributes,
        change: &mut AttributeChange,
    ) -> Result<()> {
        let Some((before, after)) = self.selinux_wanted(path, attributes)? else {
            return Ok(());
        };
        let failed = |error: io::Error| MachineError::io("change context of", path, error);
        if self.predicted().is_none() {
            let label = |label| OldAttributes {
                selinux: label,
                ..OldAttributes::default()
            };
            let old = label(selinux::read(path).map_err(failed)?);
            let new = label(Some(after.clone().into_bytes()));
            self.record_attributes_of(path, old, new)?;
            selinux::write(path, after.as_bytes()).map_err(failed)?;
        }
        change.note("secontext", split_context(&before), split_context(&after));
        Ok(())
    }

    fn apply_flags(
        &mut self,
        path: &Path,
        attributes: &FileAttributes,
        change: &mut AttributeChange,
    ) -> Result<()> {
        let Some(asked) = &attributes.attributes else {
            return Ok(());
        };
        let failed = |error: io::Error| MachineError::io("change flags of", path, error);
        // A file that is only predicted has no flags to compare with.
        if self.predicted().is_some() && !path.exists() {
            change.changed = true;
            return Ok(());
        }
        let place = self.place(path).map_err(failed)?;
        let held = place.handle_path();
        let Some(before) = flags::read(&held).map_err(failed)? else {
            return Err(MachineError::said(
                "change flags of",
                path.display(),
                "its file system has none",
            ));
        };
        let wanted = before.change(asked).map_err(|letter| {
            MachineError::said(
                "change flags of",
                path.display(),
                format!("`{letter}` is no flag of chattr"),
            )
        })?;
        if wanted == before {
            return Ok(());
        }
        if self.predicted().is_none() {
            let flags = |flags: super::FileFlags| OldAttributes {
                flags: Some(flags.0),
                ..OldAttributes::default()
            };
            self.record_attributes_of(path, flags(before), flags(wanted))?;
            flags::write(&held, wanted).map_err(failed)?;
        }
        change.note("attributes", before.letters(), spelled(asked));
        Ok(())
    }

    /// Gives back a recorded label and recorded flags.
    pub(super) fn restore_labels(&mut self, path: &Path, old: &OldAttributes) -> Result<()> {
        let failed = |error: io::Error| MachineError::io("change attributes of", path, error);
        let now = OldAttributes {
            selinux: match old.selinux {
                Some(_) => selinux::read(path).map_err(failed)?,
                None => None,
            },
            flags: match old.flags {
                Some(_) => flags::read(path).map_err(failed)?.map(|flags| flags.0),
                None => None,
            },
            ..OldAttributes::default()
        };
        let wanted = OldAttributes {
            selinux: old.selinux.clone(),
            flags: old.flags,
            ..OldAttributes::default()
        };
        if now == wanted {
            return Ok(());
        }
        self.record_attributes_of(path, now, wanted)?;
        if let Some(label) = &old.selinux {
            selinux::write(path, label).map_err(failed)?;
        }
        if let Some(flags) = old.flags {
            flags::write(path, super::FileFlags(flags)).map_err(failed)?;
        }
        Ok(())
    }

    fn record_attributes_of(
        &mut self,
        path: &Path,
        before: OldAttributes,
        after: OldAttributes,
    ) -> Result<()> {
        let failed = |error: io::Error| MachineError::io("change attributes of", path, error);
        let place = self.place(path).map_err(failed)?;
        let found = place.metadata().map_err(failed)?;
        let found = found.ok_or_else(|| failed(rustix::io::Errno::NOENT.into()))?;
        self.record_attributes(&place, &found, before, after)
    }

    fn record_attributes(
        &mut self,
        place: &Place,
        found: &Metadata,
        before: OldAttributes,
        after: OldAttributes,
    ) -> Result<()> {
        let failed =
            |error: io::Error| MachineError::io("change attributes of", &place.path, error);
        let record = UndoRecord::Attributes {
            spot: place.spot().map_err(failed)?,
            id: found.id(),
            before,
            after,
        };
        self.record(&place.path, record)
    }
}

/// Returns a mode as Ansible prints it.
fn octal(mode: u32) -> String {
    format!("0{mode:03o}")
}

fn spelled(asked: &str) -> String {
    if asked.starts_with(['+', '-', '=']) {
        asked.to_owned()
    } else {
        format!("={asked}")
    }
}

fn split_context(context: &str) -> crate::value::Value {
    crate::value::Value::list(context.splitn(4, ':'))
}

/// Says in Ansible's words that `chown` or `chgrp` got a name that nobody knows.
fn unknown(program: &str, what: &str, name: &str) -> MachineError {
    MachineError {
        action: "change owner to",
        object: name.to_owned(),
        reason: Reason::Verbatim(format!("{program} failed: failed to look up {what} {name}")),
        help: None,
    }
}

/// Returns what of `wanted` differs from what is there.
pub(super) fn difference(found: &Metadata, wanted: &Attributes) -> Attributes {
    let uid = wanted.uid.filter(|uid| *uid != found.uid);
    let gid = wanted.gid.filter(|gid| *gid != found.gid);
    // The kernel takes set-id bits away from a file that changes hands.
    let loses_bits = (uid.is_some() || gid.is_some()) && found.mode & 0o6000 != 0;
    Attributes {
        mode: wanted
            .mode
            .filter(|mode| (*mode != found.mode || loses_bits) && !found.is_link()),
        uid,
        gid,
        times: wanted
            .times
            .filter(|times| *times != [found.atime, found.mtime]),
    }
}

/// Returns the old values of what changes; a new owner may cost the set-id bits too.
fn replaced(found: &Metadata, change: &Attributes) -> OldAttributes {
    let owner = change.uid.is_some() || change.gid.is_some();
    OldAttributes {
        mode: (change.mode.is_some() || owner).then_some(found.mode),
        uid: change.uid.map(|_| found.uid),
        gid: change.gid.map(|_| found.gid),
        times: change
            .times
            .map(|_| [found.atime, found.mtime].map(recorded)),
        ..OldAttributes::default()
    }
}

/// Changes the owner first, because that takes set-id bits away; of what was found, and not of what
/// took its name meanwhile.
pub(super) fn change_attributes(
    place: &Place,
    found: &Metadata,
    change: &Attributes,
) -> io::Result<()> {
    let uid = change.uid.map(Uid::from_raw);
    let gid = change.gid.map(Gid::from_raw);
    let nofollow = AtFlags::SYMLINK_NOFOLLOW;
    if uid.is_some() || gid.is_some() {
        let handle = place.handle()?;
        let now: Metadata = (&rustix::fs::fstat(&handle)?).into();
        if now.id() != found.id() {
            return Err(io::Error::other("it was exchanged meanwhile"));
        }
        rustix::fs::chownat(handle, "", uid, gid, AtFlags::EMPTY_PATH)?;
    }
    if let Some(mode) = change.mode {
        place.change_mode(mode)?;
    }
    if let Some(times) = change.times {
        let set = |times| rustix::fs::utimensat(place.directory(), &place.name, times, nofollow);
        match set(&timestamps(times)) {
            // Who may write but does not own may say "now", and nothing else.
            Err(Errno::PERM) if times[0] == times[1] && is_now(times[0]) => set(&NOW)?,
            done => done?,
        }
    }
    Ok(())
}

const NOW: Timestamps = {
    let now = Timespec {
        tv_sec: 0,
        tv_nsec: rustix::fs::UTIME_NOW,
    };
    Timestamps {
        last_access: now,
        last_modification: now,
    }
};

fn is_now(time: Timestamp) -> bool {
    (Timestamp::now().seconds - time.seconds).abs() <= 1
}
