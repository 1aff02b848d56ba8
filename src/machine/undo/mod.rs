//! Undoing a transaction: its records newest first, each compensation in the journal before the
//! next begins, and everything looked at in the end.
//!
//! Every step looks before it acts, so undoing can be killed at any moment and begun again. What
//! somebody else changed meanwhile is saved first. Knows nothing of who asked for it.

mod effects;
mod files;
mod generation;
mod renewed;
mod spot;
mod standing;
mod verify;

use std::collections::BTreeSet;
use std::time::Duration;

use crate::transaction::journal::{Undo, UndoRecord};
use crate::transaction::log::{Entry, FileLog, LogError, Outcome, Replay};
use crate::transaction::state::{Drift, Item};
use crate::transaction::store::boot_id;

pub use generation::revert_generation;
use renewed::Renewed;
use standing::Standing;

/// How to undo.
#[derive(Clone, Debug)]
pub struct Undoing {
    /// How long to wait for others to empty a directory that the transaction made.
    pub grace: Duration,
    /// Undo what can be undone although a pre-image is lost or damaged.
    pub partial: bool,
    /// Environment of the programs that undo effects, over this process's own.
    pub environment: Vec<(String, String)>,
}

impl Default for Undoing {
    fn default() -> Self {
        Self {
            grace: Duration::from_secs(10),
            partial: false,
            environment: Vec::new(),
        }
    }
}

/// What came of undoing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Everything that can be undone is, and was looked at.
    RolledBack { drift: Vec<Drift> },
    /// These could not be undone; everything else is.
    Stuck { items: Vec<Item>, drift: Vec<Drift> },
}

/// How far undoing is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Progress {
    pub done: usize,
    pub total: usize,
    /// What is undone next.
    pub what: String,
}

impl Undoing {
    /// Undoes what the journal holds, down to a savepoint, and writes down what came of it.
    ///
    /// Fails only when the journal cannot be written; then undoing can be begun again.
    pub fn roll_back(
        &self,
        log: &mut FileLog,
        reason: &str,
        to: Option<&str>,
        progress: &mut dyn FnMut(Progress),
    ) -> Result<Verdict, LogError> {
        let replay = log.replay()?;
        let pending = replay.pending(to)?;
        log.append(&Entry::RollingBack {
            reason: reason.to_owned(),
            to: to.map(str::to_owned),
        })?;
        let mut run = Run::new(self, log, &replay);
        let lost = if self.partial {
            Vec::new()
        } else {
            run.lost(&pending)
        };
        if !lost.is_empty() {
            return run.give_up(lost);
        }
        for (done, (number, record)) in pending.iter().enumerate() {
            progress(Progress {
                done,
                total: pending.len(),
                what: subject(record),
            });
            run.undo(*number, record, done == 0)?;
        }
        run.again(&pending)?;
        run.verify(&pending);
        run.finish(to)
    }
}

/// One undoing on its way.
struct Run<'a> {
    undoing: &'a Undoing,
    log: &'a mut FileLog,
    /// The machine was not booted since the records were made.
    same_boot: bool,
    renewed: Renewed,
    /// Records in whose place another one was made.
    superseded: BTreeSet<u64>,
    /// Records that are not as they were, for a reason that is told.
    excused: Vec<u64>,
    /// What could not be undone: what is older there has to wait for it.
    standing: Vec<Standing>,
    /// An effect that could not be undone. Nobody knows where it wrote: until it is, what is not
    /// ours may be its, and is nobody's drift.
    effect: Option<String>,
    items: Vec<Item>,
    drift: Vec<Drift>,
}

impl<'a> Run<'a> {
    fn new(undoing: &'a Undoing, log: &'a mut FileLog, replay: &Replay) -> Self {
        Self {
            undoing,
            log,
            same_boot: replay.header().boot_id == boot_id(),
            renewed: Renewed::of(replay),
            superseded: verify::superseded(replay),
            excused: Vec::new(),
            standing: Vec::new(),
            effect: None,
            items: Vec::new(),
            drift: replay.drift().into_iter().cloned().collect(),
        }
    }

    /// Undoes one change and writes down what came of it.
    fn undo(&mut self, number: u64, record: &UndoRecord, newest: bool) -> Result<(), LogError> {
        let undone = match record {
            UndoRecord::Effect {
                undo: Undo::Again(_),
                ..
            } => return Ok(()),
            record => match standing::in_the_way(&self.standing, record) {
                Some(path) => Err(format!("a later change of `{}` stands", path.display())),
                None => self.undo_one(number, record, newest),
            },
        };
        let outcome = match undone {
            Ok(outcome) => {
                self.renewed.note(record);
                outcome
            }
            Err(why) => {
                let stands = standing::of(record);
                if stands.is_empty() {
                    self.effect = Some(subject(record));
                }
                self.standing.extend(stands);
                Outcome::Failed { why }
            }
        };
        self.note(number, record, outcome)
    }

    fn undo_one(
        &mut self,
        number: u64,
        record: &UndoRecord,
        newest: bool,
    ) -> Result<Outcome, String> {
        match record {
            UndoRecord::Effect { undo, .. } => self.undo_effect(undo),
            record => self.undo_change(number, record, newest),
        }
    }

    fn note(&mut self, number: u64, record: &UndoRecord, outcome: Outcome) -> Result<(), LogError> {
        match &outcome {
            Outcome::Failed { why } => {
                self.excused.push(number);
                self.items.push(Item {
                    what: subject(record),
                    why: why.clone(),
                });
            }
            Outcome::Drift(drift) => {
                // What was saved made way for the old state; what was not saved is still there.
                if drift.saved.is_none() {
                    self.excused.push(number);
                }
                self.drift.push(drift.clone());
            }
            Outcome::Restored | Outcome::Nothing | Outcome::Left => {}
        }
        let entry = Entry::Compensated {
            of: number,
            outcome,
        };
        self.log.append(&entry).map(|_| ())
    }

    fn finish(self, to: Option<&str>) -> Result<Verdict, LogError> {
        if !self.items.is_empty() {
            let items = self.items.clone();
            return self.stuck(items);
        }
        self.log.append(&Entry::RolledBack {
            to: to.map(str::to_owned),
            at: now(),
        })?;
        Ok(Verdict::RolledBack { drift: self.drift })
    }

    fn give_up(self, items: Vec<Item>) -> Result<Verdict, LogError> {
        self.stuck(items)
    }

    fn stuck(self, items: Vec<Item>) -> Result<Verdict, LogError> {
        self.log.append(&Entry::Stuck {
            items: items.clone(),
            at: now(),
        })?;
        Ok(Verdict::Stuck {
            items,
            drift: self.drift,
        })
    }
}

/// Names what a record is about.
fn subject(record: &UndoRecord) -> String {
    match record {
        UndoRecord::Created { spot, .. }
        | UndoRecord::Replaced { spot, .. }
        | UndoRecord::Removed { spot, .. }
        | UndoRecord::Attributes { spot, .. }
        | UndoRecord::Renamed { from: spot, .. } => spot.path.display().to_string(),
        UndoRecord::Effect { what, .. } => what.clone(),
    }
}

/// Returns seconds since the epoch.
fn now() -> i64 {
    super::Timestamp::now().seconds
}

#[cfg(test)]
mod tests;
