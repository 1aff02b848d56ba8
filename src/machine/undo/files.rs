//! Undoing changes of files, one record at a time.

use std::fs::File;
use std::io;
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::io::Errno;

use crate::transaction::journal::{
    After, Before, FileId, Keeping, Kept, OldAttributes, Spot, UndoRecord,
};
use crate::transaction::log::Outcome;
use crate::transaction::state::{Drift, Item};

use super::super::attributes::{Attributes, change_attributes, difference};
use super::super::flags::FileFlags;
use super::super::keeping::{copy_whole, is_copy, is_elsewhere, recorded};
use super::super::place::Place;
use super::super::{Algorithm, FileKind, Metadata, Timestamp, extended, flags, selinux};
use super::spot::{kept_place, said};
use super::{Run, subject};

type Undone = Result<Outcome, String>;

impl Run<'_> {
    pub(super) fn undo_change(&mut self, number: u64, record: &UndoRecord, newest: bool) -> Undone {
        match record {
            UndoRecord::Created {
                spot,
                after,
                staged,
            } => self.undo_created(spot, after, staged.as_deref()),
            UndoRecord::Replaced {
                spot,
                before,
                after,
                staged,
            } => {
                let place = self.demand(spot)?;
                remove_staged(&place, staged.as_deref())?;
                match &before.kept {
                    Some(Kept {
                        path,
                        how: Keeping::Snapshot { sha256, .. },
                    }) => self.undo_overwritten(&place, path, sha256, before, after, newest),
                    _ => self.undo_replaced(number, &place, before, after),
                }
            }
            UndoRecord::Removed { spot, before } => self.undo_removed(number, spot, before),
            UndoRecord::Renamed { from, to, moved } => self.undo_renamed(from, to, *moved),
            UndoRecord::Attributes {
                spot,
                id,
                before,
                after,
            } => self.undo_attributes(spot, *id, before, after),
            UndoRecord::Effect { .. } => Ok(Outcome::Nothing),
        }
    }

    /// Returns the records whose pre-images are lost or damaged.
    pub(super) fn lost(&self, pending: &[(u64, &UndoRecord)]) -> Vec<Item> {
        let mut lost = Vec::new();
        for (_, record) in pending {
            let (UndoRecord::Replaced { spot, before, .. } | UndoRecord::Removed { spot, before }) =
                record
            else {
                continue;
            };
            if let Err(why) = self.check_kept(spot, before) {
                let what = subject(record);
                lost.push(Item { what, why });
            }
        }
        lost
    }

    fn check_kept(&self, spot: &Spot, before: &Before) -> Result<(), String> {
        let Some(kept) = &before.kept else {
            return Err("its old content was not kept".into());
        };
        let place = kept_place(&kept.path)?;
        let found = place.as_ref().map(Place::metadata).transpose();
        let found = found.map_err(|error| said(&kept.path, error))?.flatten();
        let (Some(place), Some(found)) = (place, found) else {
            // It may never have been kept, or may be back already.
            let back = matches!(kept.how, Keeping::Aside)
                || self.find(spot).is_ok_and(|place| {
                    let now = place.and_then(|place| place.metadata().ok().flatten());
                    now.is_some_and(|now| is_same(&now, before))
                });
            return if back { Ok(()) } else { Err(gone(kept)) };
        };
        check_copy(&place, &found, kept)
    }

    fn undo_created(&mut self, spot: &Spot, after: &After, staged: Option<&Path>) -> Undone {
        let Some(place) = self.find(spot)? else {
            return Ok(Outcome::Nothing);
        };
        remove_staged(&place, staged)?;
        let Some(found) = look(&place)? else {
            return Ok(Outcome::Nothing);
        };
        if matches!(after, After::Directory) && found.is_dir() {
            return self.undo_directory(&place);
        }
        if !self.is_ours(&place, &found, after)? {
            return self.move_to_drift(&place);
        }
        place
            .remove()
            .and_then(|()| place.sync_directory())
            .map_err(|error| said(&place.path, error))?;
        Ok(Outcome::Restored)
    }

    /// Removes a directory that the transaction made, when everybody took out what is theirs.
    fn undo_directory(&mut self, place: &Place) -> Undone {
        let deadline = Instant::now() + self.undoing.grace;
        loop {
            match place.remove_empty_directory() {
                Ok(()) => {
                    place
                        .sync_directory()
                        .map_err(|error| said(&place.path, error))?;
                    return Ok(Outcome::Restored);
                }
                Err(error) if is_full(&error) => {}
                Err(error) => return Err(said(&place.path, error)),
            }
            if Instant::now() >= deadline {
                return self.move_to_drift(place);
            }
            std::thread::sleep(Duration::from_millis(20).min(self.undoing.grace));
        }
    }

    fn undo_replaced(
        &mut self,
        number: u64,
        place: &Place,
        before: &Before,
        after: &After,
    ) -> Undone {
        let kept = kept(before)?;
        let found = look(place)?;
        if is_old(place, found.as_ref(), before)? {
            return Ok(Outcome::Nothing);
        }
        let aside = whole(kept, before)?;
        let drift = match &found {
            Some(found) if !self.is_ours(place, found, after)? => {
                Some(self.save_drift(place, found)?)
            }
            _ => None,
        };
        put_back(number, &aside, place)?;
        Ok(drift.map_or(Outcome::Restored, Outcome::Drift))
    }

    fn undo_removed(&mut self, number: u64, spot: &Spot, before: &Before) -> Undone {
        let place = self.demand(spot)?;
        let kept = kept(before)?;
        let found = look(&place)?;
        let is_copied_tree = renewed_by(kept);
        let found = match found {
            Some(found) if found.id() == before.identity.id && is_copied_tree => {
                // Removing it was begun; all of it is in the copy.
                let rest = place.remove();
                rest.map_err(|error| said(&place.path, error))?;
                None
            }
            found => found,
        };
        if is_old(&place, found.as_ref(), before)? {
            return Ok(Outcome::Nothing);
        }
        let aside = match whole(kept, before) {
            Ok(aside) => aside,
            // It was never moved.
            Err(_) if kept.how == Keeping::Aside && found.is_some() => {
                return Ok(Outcome::Nothing);
            }
            Err(why) => return Err(why),
        };
        let drift = match &found {
            Some(_) => Some(self.move_away(&place)?),
            None => None,
        };
        put_back(number, &aside, &place)?;
        Ok(drift.map_or(Outcome::Restored, Outcome::Drift))
    }

    fn undo_renamed(&mut self, from: &Spot, to: &Spot, moved: FileId) -> Undone {
        let is_moved = |found: &Metadata| found.id() == moved;
        let old = self.demand(from)?;
        let there = look(&old)?;
        if there.as_ref().is_some_and(is_moved) {
            return Ok(Outcome::Nothing);
        }
        let new = self.demand(to)?;
        let is_copy = |spot: &Spot| self.renewed.is_copy(&spot.path, moved);
        match look(&new)? {
            Some(found) if is_moved(&found) => {}
            Some(_) if there.is_none() && is_copy(to) => {}
            // It never came about, or an undoing was interrupted here.
            _ if there.is_some() && (is_copy(from) || is_copy(to)) => return Ok(Outcome::Nothing),
            _ => return Err(format!("it is at `{}` no more", to.path.display())),
        }
        let drift = match there {
            Some(_) => Some(self.move_away(&old)?),
            None => None,
        };
        new.rename_to_free(&old)
            .and_then(|()| old.sync_directory())
            .and_then(|()| new.sync_directory())
            .map_err(|error| said(&old.path, error))?;
        Ok(drift.map_or(Outcome::Restored, Outcome::Drift))
    }

    fn undo_attributes(
        &mut self,
        spot: &Spot,
        id: FileId,
        before: &OldAttributes,
        after: &OldAttributes,
    ) -> Undone {
        let place = self.demand(spot)?;
        let same = |found: &Metadata| found.id() == id || self.renewed.is_copy(&place.path, id);
        let Some(found) = look(&place)?.filter(same) else {
            return Ok(Outcome::Drift(Drift {
                path: place.path.display().to_string(),
                saved: None,
            }));
        };
        let wrong = |error: io::Error| said(&place.path, error);
        let now = current(&place, &found, before).map_err(wrong)?;
        if is_equal(&found, &now, before) {
            return Ok(Outcome::Nothing);
        }
        let expected = OldAttributes {
            capability: now.capability.clone(),
            ..after.clone()
        };
        let is_ours = is_equal(&found, &now, &expected) || partly(&found, &now, before, &expected);
        set_attributes(&place, &found, before).map_err(wrong)?;
        if is_ours {
            return Ok(Outcome::Restored);
        }
        self.drift.push(Drift {
            path: format!("attributes of {}", place.path.display()),
            saved: None,
        });
        Ok(Outcome::Restored)
    }

    /// Like the function, of what an undoing may have brought back as a copy.
    fn is_ours(&self, place: &Place, found: &Metadata, after: &After) -> Result<bool, String> {
        match after {
            After::HardLink { id } if self.renewed.is_copy(&place.path, *id) => Ok(true),
            after => is_ours(place, found, after),
        }
    }

    /// Writes the old bytes back into a file whose bytes were written over.
    fn undo_overwritten(
        &mut self,
        place: &Place,
        kept: &Path,
        sha256: &str,
        before: &Before,
        after: &After,
        newest: bool,
    ) -> Undone {
        let wrong = |error: io::Error| said(&place.path, error);
        let aside = kept_place(kept)?.filter(|aside| matches!(look(aside), Ok(Some(_))));
        let aside = aside.ok_or_else(|| format!("its pre-image `{}` is gone", kept.display()))?;
        let mut drift = None;
        if let Some(found) = look(place)? {
            let digest = digest_of(place, &found)?;
            let untouched = digest.as_deref() == Some(sha256);
            // Half written is what a crash leaves of the newest change.
            let ours = untouched || newest || self.is_ours(place, &found, after)?;
            if !ours {
                drift = Some(self.copy_drift(place)?);
            }
            if found.is_file() && !untouched {
                overwrite(&aside, place).map_err(wrong)?;
            }
        } else {
            copy_whole(&aside, place).map_err(wrong)?;
        }
        let found = look(place)?.ok_or_else(|| wrong(Errno::NOENT.into()))?;
        set_attributes(place, &found, &before.attributes).map_err(wrong)?;
        place.sync_directory().map_err(wrong)?;
        Ok(drift.map_or(Outcome::Restored, Outcome::Drift))
    }

    /// Gives somebody else's version another name, so that the old one can take its place.
    fn save_drift(&mut self, place: &Place, found: &Metadata) -> Result<Drift, String> {
        if found.is_dir() {
            return self.move_away(place);
        }
        let aside = self.drift_place(place)?;
        let saved = place.link_to(&aside).or_else(|_| copy_whole(place, &aside));
        saved
            .and_then(|()| aside.sync_directory())
            .map_err(|error| said(&place.path, error))?;
        Ok(drifted(place, &aside))
    }

    fn copy_drift(&mut self, place: &Place) -> Result<Drift, String> {
        let aside = self.drift_place(place)?;
        copy_whole(place, &aside).map_err(|error| said(&place.path, error))?;
        Ok(drifted(place, &aside))
    }

    fn move_to_drift(&mut self, place: &Place) -> Undone {
        self.move_away(place).map(Outcome::Drift)
    }

    /// Moves what somebody else put at a place to where it is kept.
    fn move_away(&mut self, place: &Place) -> Result<Drift, String> {
        let wrong = |error: io::Error| said(&place.path, error);
        let aside = self.drift_place(place)?;
        match place.rename_to_free(&aside) {
            Err(error) if is_elsewhere(&error) => {
                copy_whole(place, &aside).map_err(wrong)?;
                place.remove().map_err(wrong)?;
            }
            moved => moved.map_err(wrong)?,
        }
        aside
            .sync_directory()
            .and_then(|()| place.sync_directory())
            .map_err(wrong)?;
        Ok(drifted(place, &aside))
    }

    fn drift_place(&mut self, place: &Place) -> Result<Place, String> {
        if let Some(effect) = &self.effect {
            return Err(format!(
                "something else is there, perhaps of `{effect}`, which could not be undone"
            ));
        }
        let near = place.path.parent().unwrap_or(&place.path);
        let path = self.log.save_drift(near);
        let path = path.map_err(|error| error.to_string())?;
        kept_place(&path)?.ok_or_else(|| format!("`{}` is gone", path.display()))
    }
}

fn drifted(place: &Place, aside: &Place) -> Drift {
    Drift {
        path: place.path.display().to_string(),
        saved: Some(aside.path.display().to_string()),
    }
}

fn look(place: &Place) -> Result<Option<Metadata>, String> {
    place.metadata().map_err(|error| said(&place.path, error))
}

fn kept(before: &Before) -> Result<&Kept, String> {
    let unkept = || "its old content was not kept".to_owned();
    before.kept.as_ref().ok_or_else(unkept)
}

fn gone(kept: &Kept) -> String {
    format!("its pre-image `{}` is gone", kept.path.display())
}

fn renewed_by(kept: &Kept) -> bool {
    matches!(kept.how, Keeping::Copied { sha256: None, .. })
}

/// Tells whether the old file is back at the place, with all that it had.
fn is_old(place: &Place, found: Option<&Metadata>, before: &Before) -> Result<bool, String> {
    let Some(found) = found else { return Ok(false) };
    // The same bytes may have been written by the transaction.
    Ok(is_same(found, before)
        || has(found, &before.attributes) && is_content(place, found, before)?)
}

fn has(found: &Metadata, attributes: &OldAttributes) -> bool {
    let is_mode = found.is_link() || attributes.mode.is_none_or(|mode| mode == found.mode);
    is_mode
        && attributes.uid.is_none_or(|uid| uid == found.uid)
        && attributes.gid.is_none_or(|gid| gid == found.gid)
        && modified(found, attributes).is_none_or(|time| time == recorded(found.mtime))
}

/// Tells whether what is at the place holds what was there before the transaction.
pub(super) fn is_content(place: &Place, found: &Metadata, before: &Before) -> Result<bool, String> {
    if is_same(found, before) {
        return Ok(true);
    }
    let Some(kept) = &before.kept else {
        return Ok(false);
    };
    // From another file system it comes back as a copy of the copy.
    match &kept.how {
        Keeping::Copied {
            sha256: Some(sha256),
            ..
        }
        | Keeping::Snapshot { sha256, .. } => Ok(digest_of(place, found)?.as_ref() == Some(sha256)),
        Keeping::Copied { sha256: None, .. } => {
            let Some(aside) = kept_place(&kept.path)? else {
                return Ok(false);
            };
            is_copy(place, &aside).map_err(|error| said(&place.path, error))
        }
        Keeping::Linked | Keeping::Aside => Ok(false),
    }
}

fn is_same(found: &Metadata, before: &Before) -> bool {
    let copy = match before.kept.as_ref().map(|kept| &kept.how) {
        Some(Keeping::Copied { identity, .. }) => Some(identity.id),
        _ => None,
    };
    found.id() == before.identity.id || Some(found.id()) == copy
}

/// Returns the place of a pre-image that is there and is what was kept.
fn whole(kept: &Kept, before: &Before) -> Result<Place, String> {
    let place = kept_place(&kept.path)?.ok_or_else(|| gone(kept))?;
    let found = look(&place)?.ok_or_else(|| gone(kept))?;
    match &kept.how {
        Keeping::Linked | Keeping::Aside if found.inode != before.identity.id.inode => Err(
            format!("its pre-image `{}` is another file", kept.path.display()),
        ),
        Keeping::Linked | Keeping::Aside => Ok(place),
        Keeping::Copied { .. } | Keeping::Snapshot { .. } => {
            check_copy(&place, &found, kept)?;
            Ok(place)
        }
    }
}

fn check_copy(place: &Place, found: &Metadata, kept: &Kept) -> Result<(), String> {
    let recorded = match &kept.how {
        Keeping::Copied { sha256, .. } => sha256.as_deref(),
        Keeping::Snapshot { sha256, .. } => Some(sha256.as_str()),
        Keeping::Linked | Keeping::Aside => None,
    };
    if recorded.is_none() || digest_of(place, found)?.as_deref() == recorded {
        return Ok(());
    }
    Err(format!(
        "its pre-image `{}` is damaged",
        kept.path.display()
    ))
}

fn digest_of(place: &Place, found: &Metadata) -> Result<Option<String>, String> {
    if !found.is_file() {
        return Ok(None);
    }
    let digest = place
        .open()
        .and_then(|mut file| Algorithm::Sha256.of_reader(&mut file));
    digest.map(Some).map_err(|error| said(&place.path, error))
}

/// Tells whether what is at the place is what the change put there.
pub(super) fn is_ours(place: &Place, found: &Metadata, after: &After) -> Result<bool, String> {
    Ok(match after {
        After::Directory => found.is_dir(),
        After::File { sha256, identity } => {
            found.is_file()
                && (*identity == Some(found.identity())
                    || digest_of(place, found)?.as_ref() == Some(sha256))
        }
        After::Link { target } => {
            found.is_link() && place.read_link().is_ok_and(|found| found == *target)
        }
        After::HardLink { id } => found.id() == *id,
        After::Pipe => found.kind == FileKind::Fifo,
        After::Scratch => true,
    })
}

/// Removes the hidden name under which a new file waited.
fn remove_staged(place: &Place, staged: Option<&Path>) -> Result<(), String> {
    let Some(name) = staged.and_then(Path::file_name) else {
        return Ok(());
    };
    let wrong = |error: io::Error| said(&place.path, error);
    let staged = place.sibling(name).map_err(wrong)?;
    match staged.metadata().map_err(wrong)? {
        Some(found) if !found.is_dir() => staged.remove().map_err(wrong),
        _ => Ok(()),
    }
}

/// Brings a pre-image back; where it is on another file system, by way of a hidden copy.
fn put_back(number: u64, aside: &Place, place: &Place) -> Result<(), String> {
    let wrong = |error: io::Error| said(&place.path, error);
    match aside.rename_to(place) {
        Err(error) if is_elsewhere(&error) => {
            let hidden = format!(".backstay-undo-{number}");
            let staged = place.sibling(hidden.as_ref()).map_err(wrong)?;
            if staged.metadata().map_err(wrong)?.is_some() {
                staged.remove().map_err(wrong)?;
            }
            copy_whole(aside, &staged).map_err(wrong)?;
            staged.rename_to(place).map_err(wrong)?;
        }
        renamed => {
            renamed.map_err(wrong)?;
            aside.sync_directory().map_err(wrong)?;
        }
    }
    place.sync_directory().map_err(wrong)
}

fn overwrite(from: &Place, to: &Place) -> io::Result<()> {
    let mut old = from.open()?;
    let mut file: File = to.truncate()?;
    io::copy(&mut old, &mut file)?;
    file.sync_all()
}

fn is_full(error: &io::Error) -> bool {
    matches!(
        error.raw_os_error().map(Errno::from_raw_os_error),
        Some(Errno::NOTEMPTY | Errno::EXIST)
    )
}

/// Reads the attributes that `like` has.
pub(super) fn current(
    place: &Place,
    found: &Metadata,
    like: &OldAttributes,
) -> io::Result<OldAttributes> {
    let path = &place.handle_path();
    Ok(OldAttributes {
        mode: like.mode.map(|_| found.mode),
        uid: like.uid.map(|_| found.uid),
        gid: like.gid.map(|_| found.gid),
        times: like.times.map(|_| [found.atime, found.mtime].map(recorded)),
        flags: match like.flags {
            Some(_) => flags::read(path)?.map(|flags| flags.0),
            None => None,
        },
        selinux: match like.selinux {
            Some(_) => selinux::read(path)?,
            None => None,
        },
        capability: match like.capability {
            Some(_) => extended::capability(path)?,
            None => None,
        },
    })
}

/// Compares attributes; the time of the last access changes by itself.
fn is_equal(found: &Metadata, one: &OldAttributes, other: &OldAttributes) -> bool {
    modified(found, one) == modified(found, other)
        && OldAttributes {
            times: other.times,
            ..one.clone()
        } == *other
}

/// Returns the time of the last change; a directory's changes with what is in it.
fn modified(found: &Metadata, attributes: &OldAttributes) -> Option<(i64, u32)> {
    let times = attributes.times.filter(|_| !found.is_dir());
    times.map(|[_, modified]| modified)
}

/// Tells whether each attribute is the old one or ours: a change that was interrupted.
fn partly(
    found: &Metadata,
    now: &OldAttributes,
    before: &OldAttributes,
    after: &OldAttributes,
) -> bool {
    let modified = |attributes| modified(found, attributes);
    // A new owner costs the set-id bits, before the new mode is set.
    let mode = |mode: Option<u32>| mode.map(|mode| mode & 0o1777);
    (now.mode == before.mode || mode(now.mode) == mode(before.mode) || now.mode == after.mode)
        && (now.uid == before.uid || now.uid == after.uid)
        && (now.gid == before.gid || now.gid == after.gid)
        && (modified(now) == modified(before) || modified(now) == modified(after))
        && (now.flags == before.flags || now.flags == after.flags)
        && (now.selinux == before.selinux || now.selinux == after.selinux)
}

/// Gives back recorded attributes, the owner first.
fn set_attributes(place: &Place, found: &Metadata, old: &OldAttributes) -> io::Result<()> {
    let time = |(seconds, nanoseconds)| Timestamp {
        seconds,
        nanoseconds,
    };
    let path = place.handle_path();
    if let Some(flags) = old.flags {
        flags::write(&path, FileFlags(flags))?;
    }
    let wanted = Attributes {
        mode: old.mode,
        uid: old.uid,
        gid: old.gid,
        times: old.times.map(|times| times.map(time)),
    };
    change_attributes(place, found, &difference(found, &wanted))?;
    if let Some(label) = &old.selinux {
        selinux::write(&path, label)?;
    }
    if let Some(capability) = &old.capability {
        extended::set_capability(&path, capability)?;
    }
    Ok(())
}
