//! Undoing effects: the recorded commands are run, and asked for whether they worked.

use std::path::Path;

use crate::transaction::journal::{Undo, UndoRecord, UndoStep};
use crate::transaction::log::{LogError, Outcome};

use super::super::{Cancellation, Command, Machine, MachineOptions, Output};
use super::Run;

impl Run<'_> {
    pub(super) fn undo_effect(&mut self, undo: &Undo) -> Result<Outcome, String> {
        let steps = match undo {
            Undo::Compensated(steps) | Undo::Declared(steps) => steps,
            Undo::Opaque | Undo::Again(_) => return Ok(Outcome::Left),
        };
        let mut outcome = Outcome::Nothing;
        for step in steps {
            if self.take_step(step)? {
                outcome = Outcome::Restored;
            }
        }
        if outcome == Outcome::Restored {
            self.make_durable();
        }
        Ok(outcome)
    }

    /// Has on the disk what a program wrote: what is told as undone is not undone again. Nobody
    /// knows where it wrote, and a mount that hangs is not to be waited for.
    fn make_durable(&self) {
        for path in [Path::new("/"), self.log.directory()] {
            if let Ok(directory) = std::fs::File::open(path) {
                // The disk is the host's to complain about.
                rustix::fs::syncfs(&directory).ok();
            }
        }
    }

    /// Does once more, oldest first and each thing once, what is to be done when the files are
    /// back. Where some are not, it is not told as done: the undoing that brings them does it anew.
    pub(super) fn again(&mut self, pending: &[(u64, &UndoRecord)]) -> Result<(), LogError> {
        let all_back = self.items.is_empty();
        let mut done: Vec<&[UndoStep]> = Vec::new();
        for (number, record) in pending.iter().rev() {
            let UndoRecord::Effect {
                undo: Undo::Again(steps),
                ..
            } = record
            else {
                continue;
            };
            let mut outcome = Outcome::Nothing;
            if !done.contains(&steps.as_slice()) {
                done.push(steps);
                for step in steps {
                    outcome = match self.take_step(step) {
                        Ok(_) => Outcome::Restored,
                        Err(why) => Outcome::Failed { why },
                    };
                }
            }
            if all_back || matches!(outcome, Outcome::Failed { .. }) {
                self.note(*number, record, outcome)?;
            }
        }
        Ok(())
    }

    /// Runs a step unless there is nothing to undo; tells whether it ran.
    fn take_step(&mut self, step: &UndoStep) -> Result<bool, String> {
        if self.is_done(step)? == Some(true) {
            return Ok(false);
        }
        let output = self.run(&step.argv)?;
        match self.is_done(step)? {
            Some(true) => Ok(true),
            Some(false) if output.success() => Err(format!(
                "`{}` ran, and changed nothing",
                step.argv.join(" ")
            )),
            None if output.success() => Ok(true),
            _ => Err(failed(&step.argv, &output)),
        }
    }

    fn is_done(&mut self, step: &UndoStep) -> Result<Option<bool>, String> {
        match &step.done {
            Some(question) => Ok(Some(self.run(question)?.success())),
            None => Ok(None),
        }
    }

    fn run(&mut self, argv: &[String]) -> Result<Output, String> {
        let mut machine = Machine::new(MachineOptions {
            environment: self.undoing.environment.clone(),
            cancellation: Cancellation::default(),
            ..MachineOptions::default()
        });
        machine
            .query(&Command::new(argv))
            .map_err(|error| error.to_string())
    }
}

fn failed(argv: &[String], output: &Output) -> String {
    let said = [output.stderr_text(), output.stdout_text()].concat();
    let last = said.lines().rev().find(|line| !line.trim().is_empty());
    format!(
        "`{}` failed with {}: {}",
        argv.join(" "),
        output.status,
        last.unwrap_or("it said nothing").trim()
    )
}
