//! Running programs that change the target.

use std::path::Path;

use crate::transaction::journal::{Undo, UndoRecord, UndoStep};

use super::command::RunError;
use super::processes::TRANSACTION_VARIABLE;
use super::{Command, Machine, MachineError, Output, Reason, Result};

/// What a program changes, and what undoes it.
#[derive(Clone, Debug)]
pub enum Effect {
    /// Something unknown.
    Opaque { what: String },
    /// Something that these steps, in this order, bring back.
    Compensated { what: String, undo: Vec<UndoStep> },
    /// Something whose undoing the user declared.
    Declared { what: String, undo: Vec<UndoStep> },
    /// Something that is done once more when every file is as it was.
    Again { what: String, again: Vec<UndoStep> },
}

impl Effect {
    /// Makes an effect that nobody can undo.
    pub fn opaque(what: impl Into<String>) -> Self {
        Self::Opaque { what: what.into() }
    }

    /// Makes an effect that is declared to be what appears under `created`, a path or a shell's
    /// pattern, where nothing is now.
    pub fn creating(what: impl Into<String>, created: &Path) -> Self {
        let Some(pattern) = created.to_str().map(escaped) else {
            return Self::opaque(what);
        };
        let step = UndoStep::shell(format!("rm -rf -- {pattern}")).done_when(format!(
            "for it in {pattern}; do [ -e \"$it\" ] || [ -L \"$it\" ] && exit 1; done; exit 0"
        ));
        Self::Declared {
            what: what.into(),
            undo: vec![step],
        }
    }

    /// Makes an effect that one command undoes.
    pub fn compensated<I, S>(what: impl Into<String>, argv: I) -> Self
    where
        I: IntoIterator<Item = S>,
        S: Into<String>,
    {
        Self::Compensated {
            what: what.into(),
            undo: vec![UndoStep::new(argv)],
        }
    }

    fn into_record(self, redo: Option<Vec<String>>) -> UndoRecord {
        let (what, undo) = match self {
            Self::Opaque { what } => (what, Undo::Opaque),
            Self::Compensated { what, undo } => (what, Undo::Compensated(undo)),
            Self::Declared { what, undo } => (what, Undo::Declared(undo)),
            Self::Again { what, again } => (what, Undo::Again(again)),
        };
        UndoRecord::Effect { what, undo, redo }
    }
}

/// Writes a pattern for a shell: nothing in it but `*`, `?` and `[…]` means anything.
fn escaped(pattern: &str) -> String {
    let mut text = String::new();
    for letter in pattern.chars() {
        match letter {
            '*' | '?' | '[' | ']' | '/' => text.push(letter),
            '\n' => text.push_str("'\n'"),
            letter if letter.is_alphanumeric() => text.push(letter),
            letter => text.extend(['\\', letter]),
        }
    }
    text
}

/// What came of a program that changes the target.
#[derive(Clone, Debug)]
pub enum Execution {
    /// It ran.
    Done(Output),
    /// Check mode: it would have run.
    Predicted,
}

impl Execution {
    /// Returns the output of a program that ran.
    pub fn output(self) -> Option<Output> {
        match self {
            Self::Done(output) => Some(output),
            Self::Predicted => None,
        }
    }
}

impl Machine {
    /// Runs a program that changes the target; the effect is in the undo log before it starts.
    pub fn execute(&mut self, command: &Command, effect: Effect) -> Result<Execution> {
        if !self.may_execute(command, effect)? {
            return Ok(Execution::Predicted);
        }
        self.run_program(command).map(Execution::Done)
    }

    /// Puts into the undo log what no program of ours does (a request to a server of the target);
    /// tells whether it may come about, which in check mode it may not.
    pub fn affect(&mut self, effect: Effect) -> Result<bool> {
        self.may_execute(&Command::new(["request"]), effect)
    }

    /// Puts the effect into the undo log; tells whether it may come about.
    pub(super) fn may_execute(&mut self, command: &Command, effect: Effect) -> Result<bool> {
        if self.predicted().is_some() {
            return Ok(false);
        }
        self.check_cancelled()?;
        // The task's environment may hold secrets, which have no place in a journal.
        let is_own = |(name, _): &(String, String)| name == TRANSACTION_VARIABLE;
        let redo = command
            .redo()
            .filter(|_| self.options.environment.iter().all(is_own));
        self.record(Path::new(command.program()), effect.into_record(redo))?;
        Ok(true)
    }

    pub(super) fn run_program(&mut self, command: &Command) -> Result<Output> {
        self.check_cancelled()?;
        let umask = self.options.umask;
        let command = match umask {
            Some(umask) => &command.clone().default_umask(umask),
            None => command,
        };
        command
            .run(&self.options.environment, &self.options.cancellation)
            .map_err(|error| run_error(command, error))
    }
}

fn run_error(command: &Command, error: RunError) -> MachineError {
    let program = Path::new(command.program());
    match error {
        RunError::Spawn(error) => MachineError {
            help: None,
            ..MachineError::io("run", program, error)
        },
        RunError::TimedOut => MachineError::said("run", program.display(), "it ran out of time"),
        RunError::Cancelled => MachineError {
            action: "run",
            object: program.display().to_string(),
            reason: Reason::Cancelled,
            help: None,
        },
    }
}
