//! What a task changes, noted from its undo records while they are written: the steps that the
//! controller tells its user.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use crate::agent::protocol::Call;
use crate::machine::{Machine, kept_record, nearest};
use crate::transaction::journal::{Undo, UndoLog, UndoRecord, UndoStep};
use crate::transaction::state::{Class, Step};

/// Passes records on and notes what they are about.
pub(super) struct Noting {
    log: Box<dyn UndoLog>,
    steps: Steps,
    declared: Declared,
}

/// What the user says of the undo of a task's command.
#[derive(Clone, Debug, Default)]
pub(super) struct Declared {
    /// The shell text that undoes it.
    undo: Option<String>,
    /// The paths it changes are kept and put back; nothing else needs an undo.
    is_protected: bool,
    /// It changes nothing.
    is_harmless: bool,
    /// What an effect of a task under `no_log` is called instead: its command is nobody's to read,
    /// in the journal neither.
    hidden: Option<String>,
}

impl Declared {
    pub(super) fn of(call: &Call) -> Self {
        Self {
            undo: call.undo.clone(),
            is_protected: !call.protect.is_empty(),
            is_harmless: call.harmless,
            hidden: call.no_log.then(|| match call.transaction_seq {
                Some(seq) => format!("{} of task {seq} (hidden by no_log)", call.module),
                None => format!("{} (hidden by no_log)", call.module),
            }),
        }
    }

    /// Returns an opaque effect as the user declared it; `None` when there is nothing to undo.
    fn applied(&self, record: UndoRecord) -> Option<UndoRecord> {
        let (what, undo, redo) = match record {
            UndoRecord::Effect { what, undo, redo } => match &self.hidden {
                Some(hidden) => (hidden.clone(), undo, None),
                None => (what, undo, redo),
            },
            other => return Some(other),
        };
        let undo = match (undo, &self.undo) {
            (Undo::Opaque | Undo::Declared(_), _) if self.is_harmless => return None,
            (Undo::Opaque | Undo::Declared(_), Some(text)) => {
                Undo::Declared(vec![UndoStep::shell(text)])
            }
            (Undo::Opaque, None) if self.is_protected => Undo::Declared(Vec::new()),
            (undo, _) => undo,
        };
        Some(UndoRecord::Effect { what, undo, redo })
    }
}

/// Keeps copies of the paths that a command is declared to change, before it runs.
pub(super) fn protect(
    machine: &mut Machine,
    log: &mut dyn UndoLog,
    paths: &[String],
) -> Result<(), String> {
    for path in paths {
        let path = machine.expand(Path::new(path));
        protect_one(machine, log, &path)
            .map_err(|why| format!("{} cannot be protected: {why}", path.display()))?;
    }
    Ok(())
}

fn protect_one(machine: &mut Machine, log: &mut dyn UndoLog, path: &Path) -> Result<(), String> {
    let shelf = log
        .shelve(nearest(path))
        .map_err(|error| error.to_string())?;
    let Some(shelf) = shelf else {
        return Ok(());
    };
    let step = machine.kept_whole(path, &shelf)?;
    let record = kept_record(path, Undo::Declared(vec![step]));
    log.append(record).map_err(|error| error.to_string())
}

/// The steps that were noted so far.
#[derive(Clone, Default)]
pub(super) struct Steps(Arc<Mutex<Vec<Step>>>);

impl Noting {
    pub(super) fn new(log: Box<dyn UndoLog>, steps: &Steps, declared: Declared) -> Self {
        Self {
            log,
            steps: steps.clone(),
            declared,
        }
    }
}

impl Steps {
    /// Returns the steps, each once.
    pub(super) fn take(&self) -> Vec<Step> {
        let mut steps = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut found: Vec<Step> = Vec::new();
        for step in steps.drain(..) {
            if !found.contains(&step) {
                found.push(step);
            }
        }
        found
    }

    fn note(&self, step: Step) {
        let mut steps = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        steps.push(step);
    }
}

impl UndoLog for Noting {
    fn append(&mut self, record: UndoRecord) -> io::Result<()> {
        let Some(record) = self.declared.applied(record) else {
            return Ok(());
        };
        let mut step = step_of(&record);
        if let (Some(step), Some(_)) = (&mut step, &self.declared.hidden)
            && step.class != Class::Exact
        {
            // A declared undo is as secret as what it undoes.
            step.undo.clear();
        }
        self.log.append(record)?;
        if let Some(step) = step {
            self.steps.note(step);
        }
        Ok(())
    }

    fn shelve(&mut self, near: &Path) -> io::Result<Option<PathBuf>> {
        self.log.shelve(near)
    }

    fn settles(&self) -> bool {
        self.log.settles()
    }
}

/// Returns the step that a record stands for; one that only runs something again is none.
fn step_of(record: &UndoRecord) -> Option<Step> {
    let exact = |what: String, undo: &str| Step {
        class: Class::Exact,
        what,
        undo: undo.to_owned(),
    };
    Some(match record {
        UndoRecord::Created { spot, .. } => {
            exact(format!("create {}", spot.path.display()), "remove it")
        }
        UndoRecord::Replaced { spot, .. } => exact(
            format!("replace {}", spot.path.display()),
            "put the old one back",
        ),
        UndoRecord::Removed { spot, .. } => {
            exact(format!("remove {}", spot.path.display()), "put it back")
        }
        UndoRecord::Renamed { from, to, .. } => exact(
            format!("rename {} to {}", from.path.display(), to.path.display()),
            "rename it back",
        ),
        UndoRecord::Attributes { spot, .. } => exact(
            format!("change attributes of {}", spot.path.display()),
            "set the old ones again",
        ),
        UndoRecord::Effect { what, undo, .. } => {
            let (class, undo) = match undo {
                Undo::Compensated(steps) => (Class::Compensated, told(steps)),
                Undo::Declared(steps) => (Class::Declared, told(steps)),
                Undo::Opaque => (Class::Opaque, String::new()),
                Undo::Again(_) => return None,
            };
            Step {
                class,
                what: what.clone(),
                undo,
            }
        }
    })
}

fn told(steps: &[UndoStep]) -> String {
    let words = steps.iter().map(|step| match step.argv.as_slice() {
        [shell, flag, text] if shell == "/bin/sh" && flag == "-c" => text.clone(),
        argv => argv.join(" "),
    });
    words.collect::<Vec<_>>().join("; ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::transaction::journal::Untracked;

    #[test]
    fn effects_are_noted_once_with_their_class_and_what_undoes_them() {
        let steps = Steps::default();
        let mut log = Noting::new(Box::new(Untracked), &steps, Declared::default());
        let effect = |undo: Undo| UndoRecord::Effect {
            what: "it".into(),
            undo,
            redo: None,
        };
        for undo in [
            Undo::Opaque,
            Undo::Opaque,
            Undo::Declared(vec![UndoStep::shell("rm x")]),
            Undo::Compensated(vec![UndoStep::new(["apt-get", "remove", "x"])]),
        ] {
            log.append(effect(undo)).unwrap();
        }
        let told: Vec<_> = steps
            .take()
            .into_iter()
            .map(|step| (step.class, step.undo))
            .collect();
        assert_eq!(
            told,
            [
                (Class::Opaque, String::new()),
                (Class::Declared, "rm x".into()),
                (Class::Compensated, "apt-get remove x".into()),
            ]
        );
        assert!(steps.take().is_empty());
    }
}
