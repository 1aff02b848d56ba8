//! Reverting a committed generation, as changes of a new transaction.
//!
//! What is there now is kept by the new transaction, so a rollback can be rolled back itself. A
//! directory that others put something into since stays.

use std::path::Path;

use rustix::io::Errno;

use crate::transaction::journal::{
    After, Before, FileId, Keeping, Kept, OldAttributes, Spot, Undo, UndoRecord, UndoStep,
};
use crate::transaction::log::Replay;
use crate::transaction::state::{Drift, Item};

use super::super::keeping::is_elsewhere;
use super::super::place::Place;
use super::super::{
    Attributes, Command, Content, Effect, FileKind, Follow, Machine, MachineError, NewFile, Result,
    Timestamp,
};
use super::{Verdict, files, subject};

/// Brings back what a generation replaced, through a machine that records it.
///
/// What others changed since is told, and kept by the machine's own transaction.
pub fn revert_generation(machine: &mut Machine, replay: &Replay) -> Result<Verdict> {
    let pending = replay.pending(None).unwrap_or_default();
    let mut reverting = Reverting {
        machine,
        drift: Vec::new(),
    };
    let mut items = Vec::new();
    for (_, record) in &pending {
        reverting.machine.check_cancelled()?;
        if let Err(error) = reverting.revert(record) {
            items.push(Item {
                what: subject(record),
                why: error.to_string(),
            });
        }
    }
    for (what, steps) in again(&pending) {
        let why = |error: MachineError| error.to_string();
        for step in steps {
            let effect = Effect::Again {
                what: what.to_owned(),
                again: vec![step.clone()],
            };
            if let Err(why) = reverting.take_step(step, effect).map_err(why) {
                let what = what.to_owned();
                items.push(Item { what, why });
            }
        }
    }
    let drift = reverting.drift;
    Ok(if items.is_empty() {
        Verdict::RolledBack { drift }
    } else {
        Verdict::Stuck { items, drift }
    })
}

/// Returns what is to be done once more, oldest first and each thing once.
fn again<'r>(pending: &[(u64, &'r UndoRecord)]) -> Vec<(&'r str, &'r [UndoStep])> {
    let mut all: Vec<(&str, &[UndoStep])> = Vec::new();
    for (_, record) in pending.iter().rev() {
        if let UndoRecord::Effect {
            what,
            undo: Undo::Again(steps),
            ..
        } = record
            && !all.iter().any(|(_, known)| *known == steps.as_slice())
        {
            all.push((what, steps));
        }
    }
    all
}

struct Reverting<'a> {
    machine: &'a mut Machine,
    drift: Vec<Drift>,
}

impl Reverting<'_> {
    fn revert(&mut self, record: &UndoRecord) -> Result<()> {
        match record {
            UndoRecord::Created { spot, after, .. } => self.revert_created(spot, after),
            UndoRecord::Replaced {
                spot,
                before,
                after,
                ..
            } => {
                if self.is_back(spot, before)? {
                    return Ok(());
                }
                self.compare(spot, after)?;
                self.put_back(spot, before)
            }
            UndoRecord::Removed { spot, before } => {
                if self.is_back(spot, before)? {
                    return Ok(());
                }
                if self.machine.symlink_metadata(&spot.path)?.is_some() {
                    self.note_drift(&spot.path);
                    self.machine.remove(&spot.path)?;
                }
                self.put_back(spot, before)
            }
            UndoRecord::Renamed { from, to, moved } => self.revert_renamed(from, to, *moved),
            UndoRecord::Attributes {
                spot, id, before, ..
            } => self.revert_attributes(spot, *id, before),
            UndoRecord::Effect { what, undo, redo } => {
                self.revert_effect(what, undo, redo.as_deref())
            }
        }
    }

    fn revert_created(&mut self, spot: &Spot, after: &After) -> Result<()> {
        let Some(found) = self.machine.symlink_metadata(&spot.path)? else {
            return Ok(());
        };
        check_parent(spot)?;
        if matches!(after, After::Directory) && found.is_dir() {
            if self.machine.read_dir(&spot.path)?.is_empty() {
                return self.machine.remove_empty_dir(&spot.path);
            }
            self.note_drift(&spot.path);
            return Ok(());
        }
        self.compare(spot, after)?;
        self.machine.remove(&spot.path).map(|_| ())
    }

    fn revert_renamed(&mut self, from: &Spot, to: &Spot, moved: FileId) -> Result<()> {
        let there = self.machine.symlink_metadata(&from.path)?;
        if there.is_some_and(|found| found.id() == moved) {
            return Ok(());
        }
        check_parent(from)?;
        check_parent(to)?;
        self.machine.rename(&to.path, &from.path)
    }

    fn revert_attributes(&mut self, spot: &Spot, id: FileId, old: &OldAttributes) -> Result<()> {
        let found = self.machine.symlink_metadata(&spot.path)?;
        let Some(found) = found else {
            self.note_drift(&spot.path);
            return Ok(());
        };
        if found.id().inode != id.inode {
            // Replaced since with all its attributes; the old owner and mode are still wanted.
            self.note_drift(&spot.path);
        }
        check_parent(spot)?;
        let time = |(seconds, nanoseconds)| Timestamp {
            seconds,
            nanoseconds,
        };
        let attributes = Attributes {
            mode: old.mode,
            uid: old.uid,
            gid: old.gid,
            times: old.times.map(|times| times.map(time)),
        };
        self.machine
            .set_attributes(&spot.path, &attributes, Follow::No)?;
        self.machine.restore_labels(&spot.path, old)
    }

    /// Takes the steps that undo an effect. They are undone in turn by doing it once more, before
    /// which nothing needs to be done for the steps after the first.
    fn revert_effect(&mut self, what: &str, undo: &Undo, redo: Option<&[String]>) -> Result<()> {
        let (Undo::Compensated(steps) | Undo::Declared(steps)) = undo else {
            return Ok(());
        };
        let what = format!("undoing {what}");
        for (number, step) in steps.iter().enumerate() {
            let again = match number {
                0 => redo.map(|redo| vec![UndoStep::new(redo)]),
                _ => redo.map(|_| Vec::new()),
            };
            let what = what.clone();
            let effect = match (again, undo) {
                (None, _) => Effect::Opaque { what },
                (Some(undo), Undo::Declared(_)) => Effect::Declared { what, undo },
                (Some(undo), _) => Effect::Compensated { what, undo },
            };
            self.take_step(step, effect)?;
        }
        Ok(())
    }

    fn take_step(&mut self, step: &UndoStep, effect: Effect) -> Result<()> {
        if self.is_done(step)? == Some(true) {
            return Ok(());
        }
        let command = Command::new(&step.argv);
        let Some(output) = self.machine.execute(&command, effect)?.output() else {
            return Ok(());
        };
        if output.success() || self.is_done(step)? == Some(true) {
            return Ok(());
        }
        let said = output.stderr_text();
        Err(MachineError::said(
            "run",
            step.argv.join(" "),
            format!("it ended with {}: {}", output.status, said.trim()),
        ))
    }

    fn is_done(&mut self, step: &UndoStep) -> Result<Option<bool>> {
        let Some(question) = &step.done else {
            return Ok(None);
        };
        let answer = self.machine.query(&Command::new(question))?;
        Ok(Some(answer.success()))
    }

    /// Tells whether the old thing is still there: the change was refused.
    fn is_back(&self, spot: &Spot, before: &Before) -> Result<bool> {
        let overwritten = |kept: &Kept| matches!(kept.how, Keeping::Snapshot { .. });
        if before.kept.as_ref().is_some_and(overwritten) {
            return Ok(false);
        }
        let found = self.machine.symlink_metadata(&spot.path)?;
        Ok(found.is_some_and(|found| found.id() == before.identity.id))
    }

    /// Puts a kept file, link or tree where it was; files stay kept as well.
    fn put_back(&mut self, spot: &Spot, before: &Before) -> Result<()> {
        let path = &spot.path;
        check_parent(spot)?;
        let Some(kept) = &before.kept else {
            return Err(MachineError::said(
                "restore",
                path.display(),
                "nobody kept it",
            ));
        };
        let Some(aside) = self.machine.symlink_metadata(&kept.path)? else {
            let why = format!("its pre-image `{}` is gone", kept.path.display());
            return Err(MachineError::said("restore", path.display(), why));
        };
        match aside.kind {
            FileKind::Directory => match self.machine.rename(&kept.path, path) {
                Err(error) if is_cross(&error) => self.machine.copy_tree(&kept.path, path),
                renamed => renamed,
            },
            _ if matches!(kept.how, Keeping::Snapshot { .. }) => self.copy_back(path, before),
            _ => match self.machine.hard_link(&kept.path, path) {
                Err(error) if is_cross(&error) && aside.is_file() => self.copy_back(path, before),
                Err(error) if is_cross(&error) => self.machine.copy_tree(&kept.path, path),
                linked => linked,
            },
        }
    }

    fn copy_back(&mut self, path: &Path, before: &Before) -> Result<()> {
        let Some(kept) = &before.kept else {
            return Ok(());
        };
        let old = &before.attributes;
        let time = |(seconds, nanoseconds)| Timestamp {
            seconds,
            nanoseconds,
        };
        let new = NewFile {
            mode: old.mode,
            uid: old.uid,
            gid: old.gid,
            times: old.times.map(|times| times.map(time)),
            unsafe_writes: matches!(kept.how, Keeping::Snapshot { .. }),
            fresh: false,
        };
        self.machine
            .write(path, Content::File(kept.path.clone()), &new)
    }

    /// Notes when what is at the place is not what the generation put there.
    fn compare(&mut self, spot: &Spot, after: &After) -> Result<()> {
        let failed = |error: std::io::Error| MachineError::io("look at", &spot.path, error);
        let place = Place::of(&spot.path).map_err(failed)?;
        let ours = match place.metadata().map_err(failed)? {
            Some(found) => files::is_ours(&place, &found, after)
                .map_err(|why| MachineError::said("look at", spot.path.display(), why))?,
            None => false,
        };
        if !ours {
            self.note_drift(&spot.path);
        }
        Ok(())
    }

    fn note_drift(&mut self, path: &Path) {
        self.drift.push(Drift {
            path: path.display().to_string(),
            saved: None,
        });
    }
}

fn is_cross(error: &MachineError) -> bool {
    let code = error.errno().unwrap_or_default();
    is_elsewhere(&std::io::Error::from_raw_os_error(code)) || code == Errno::PERM.raw_os_error()
}

/// Refuses a place whose directory is another one, or behind a link, since.
fn check_parent(spot: &Spot) -> Result<()> {
    let place =
        Place::of(&spot.path).map_err(|error| MachineError::io("restore", &spot.path, error))?;
    if place.path == spot.path {
        return Ok(());
    }
    Err(MachineError::said(
        "restore",
        spot.path.display(),
        format!("it is at `{}` now", place.path.display()),
    ))
}
