//! A real server of its own for a test: its directory, its process, and what modules do to it.
//!
//! Which server it is, and how it starts, the tests of its modules know.

use std::ffi::OsStr;
use std::process::{Child, Command, Stdio};

use crate::machine::{Machine, MachineOptions};
use crate::transaction::journal::{MemoryLog, Undo, UndoRecord};
use crate::value::Value;

/// A server in a private directory; it is killed with this value.
pub(super) struct Server {
    directory: tempfile::TempDir,
    process: Option<Child>,
    log: MemoryLog,
    /// The options that every call has, as members of a JSON object.
    login: String,
}

impl Server {
    /// Makes the directory; the user the server runs as owns it.
    #[expect(clippy::disallowed_methods, reason = "a test starts its own server")]
    pub(super) fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        if is_root() {
            let mut give = Command::new("chown");
            let given = give.arg("nobody").arg(directory.path()).status();
            assert!(given.unwrap().success());
        }
        Self {
            directory,
            process: None,
            log: MemoryLog::new(None),
            login: String::new(),
        }
    }

    /// Returns a quiet command of the server's user. Such servers do not run as root.
    #[expect(clippy::disallowed_methods, reason = "a test starts its own server")]
    pub(super) fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = if is_root() {
            let mut command = Command::new("setpriv");
            command.args(["--reuid=nobody", "--clear-groups"]);
            command.arg(program);
            command
        } else {
            Command::new(program)
        };
        command
            .current_dir(self.directory.path())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        command
    }

    /// Starts the server and waits until it answers; `login` are the options to reach it with.
    pub(super) fn start(
        &mut self,
        mut server: Command,
        login: String,
        answers: impl Fn(&Self) -> bool,
    ) {
        self.login = login;
        let process = self.process.insert(server.spawn().unwrap());
        let id = process.id();
        while !answers(self) {
            let ended = self
                .process
                .as_mut()
                .and_then(|process| process.try_wait().unwrap());
            assert!(ended.is_none(), "the server {id} ended: {ended:?}");
            std::thread::yield_now();
        }
    }

    /// Returns the path of a file beside the server's.
    pub(super) fn path(&self, name: &str) -> String {
        self.directory.path().join(name).display().to_string()
    }

    /// Returns the directory.
    pub(super) fn home(&self) -> String {
        self.directory.path().display().to_string()
    }

    /// Runs a module with the members of a JSON object as options, and returns its result as JSON.
    pub(super) fn run(&self, module: &str, options: &str) -> String {
        self.call(module, options, false)
    }

    /// Runs a module in check mode.
    pub(super) fn predict(&self, module: &str, options: &str) -> String {
        self.call(module, options, true)
    }

    fn call(&self, module: &str, options: &str, check: bool) -> String {
        let json = format!("{{{}, {options}}}", self.login);
        let given: Value = serde_json::from_str(&json).unwrap();
        let mut machine = Machine::new(MachineOptions {
            check,
            undo: Box::new(self.log.clone()),
            ..MachineOptions::default()
        });
        let module = super::find(module).unwrap();
        let result = match (module.run)(&mut machine, given.as_map().unwrap()) {
            Ok(outcome) => outcome.into_result(),
            Err(failure) => failure.into_result(),
        };
        serde_json::to_string(&Value::from(result)).unwrap()
    }

    /// Returns the point in the log to undo to.
    pub(super) fn after_now(&self) -> usize {
        self.log.records().len()
    }

    /// Runs the steps that undo what was done since, newest first.
    #[expect(clippy::disallowed_methods, reason = "a test undoes by hand")]
    pub(super) fn undo_since(&self, point: usize) {
        for record in self.log.records()[point..].iter().rev() {
            let UndoRecord::Effect {
                undo: Undo::Compensated(steps),
                ..
            } = record
            else {
                continue;
            };
            for step in steps {
                let done = Command::new(&step.argv[0]).args(&step.argv[1..]).output();
                let done = done.unwrap();
                let said = String::from_utf8_lossy(&done.stderr);
                assert!(done.status.success(), "{:?}: {said}", step.argv);
            }
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(process) = &mut self.process {
            process.kill().ok();
            process.wait().ok();
        }
    }
}

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}
