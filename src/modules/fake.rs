//! Fake programs for the tests of modules that drive the target's own tools.
//!
//! Each program is a shell script in a directory that is the whole `PATH`'s front; calls are
//! logged, and `$here` is a directory where a script may keep state.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use crate::machine::{Machine, MachineOptions};
use crate::transaction::journal::{MemoryLog, Undo, UndoRecord};

/// A directory of fake programs.
pub(crate) struct Programs {
    directory: tempfile::TempDir,
    log: MemoryLog,
}

impl Programs {
    /// Writes the programs, each a name and the script it runs.
    #[expect(clippy::disallowed_methods, reason = "a test writes its own fixture")]
    pub(crate) fn new<'a>(scripts: impl IntoIterator<Item = (&'a str, &'a str)>) -> Self {
        let directory = tempfile::tempdir().unwrap();
        for (name, script) in scripts {
            let path = directory.path().join(name);
            let text = format!(
                "#!/bin/sh\nhere=$(dirname \"$0\")\necho \"{name} $*\" >>\"$here/.calls\"\n{script}"
            );
            fs::write(&path, text).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        }
        Self {
            directory,
            log: MemoryLog::new(None),
        }
    }

    /// Makes a machine whose programs these are.
    pub(crate) fn machine(&self) -> Machine {
        let path = format!("{}:/usr/bin:/bin", self.directory.path().display());
        Machine::new(MachineOptions {
            environment: vec![("PATH".into(), path)],
            undo: Box::new(self.log.clone()),
            ..MachineOptions::default()
        })
    }

    /// Returns the calls so far, in order: the program's name and its arguments.
    pub(crate) fn calls(&self) -> Vec<String> {
        let text = fs::read_to_string(self.directory.path().join(".calls")).unwrap_or_default();
        text.lines().map(str::to_owned).collect()
    }

    /// Returns the commands that undo what was done, in the order it was done.
    pub(crate) fn undo_steps(&self) -> Vec<String> {
        let prefix = format!("{}/", self.directory.path().display());
        let mut steps = Vec::new();
        for record in self.log.records() {
            if let UndoRecord::Effect {
                undo: Undo::Compensated(undo),
                ..
            } = record
            {
                steps.extend(
                    undo.iter()
                        .map(|step| step.argv.join(" ").replace(&prefix, "")),
                );
            }
        }
        steps
    }
}
