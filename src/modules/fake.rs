//! Fake programs for the tests of modules that drive the target's own tools.
//!
//! Each program is a shell script in a directory that is the whole `PATH`'s front; calls are
//! logged, and `$here` is a directory where a script may keep state.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use crate::machine::{Machine, MachineOptions};
use crate::transaction::journal::{MemoryLog, Undo, UndoRecord};
use crate::value::Value;

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
        Machine::new(self.options())
    }

    /// Makes a machine whose programs these are, and which only predicts.
    pub(crate) fn predicting(&self) -> Machine {
        Machine::new(MachineOptions {
            check: true,
            ..self.options()
        })
    }

    fn options(&self) -> MachineOptions {
        let path = format!("{}:/usr/bin:/bin", self.directory.path().display());
        MachineOptions {
            environment: vec![("PATH".into(), path)],
            undo: Box::new(self.log.clone()),
            diff: true,
            ..MachineOptions::default()
        }
    }

    /// Runs a module with options in JSON and returns its result as JSON, `$BIN` being the
    /// directory.
    pub(crate) fn run(&self, module: &str, options: &str) -> String {
        self.call(&mut self.machine(), module, options)
    }

    /// Runs a module in check mode.
    pub(crate) fn predict(&self, module: &str, options: &str) -> String {
        self.call(&mut self.predicting(), module, options)
    }

    fn call(&self, machine: &mut Machine, module: &str, options: &str) -> String {
        let directory = self.directory.path().display().to_string();
        let options = options.replace("$BIN", &directory);
        let options: Value = serde_json::from_str(&options).unwrap();
        let module = super::find(module).unwrap();
        let result = match (module.run)(machine, options.as_map().unwrap()) {
            Ok(outcome) => outcome.into_result(),
            Err(failure) => failure.into_result(),
        };
        let text = serde_json::to_string(&Value::from(result)).unwrap();
        text.replace(&directory, "$BIN")
    }

    /// Returns the path of a file in the directory.
    pub(crate) fn path(&self, name: &str) -> std::path::PathBuf {
        self.directory.path().join(name)
    }

    /// Writes a file into the directory.
    #[expect(clippy::disallowed_methods, reason = "a test writes its own fixture")]
    pub(crate) fn put(&self, name: &str, text: &str) {
        fs::write(self.path(name), text).unwrap();
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
