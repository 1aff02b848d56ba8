//! A real server of its own for each test, where the machine has one; without it the tests of
//! these modules say nothing.

use std::path::PathBuf;
use std::process::{Command, Stdio};

use crate::machine::{Machine, MachineOptions};
use crate::transaction::journal::{MemoryLog, Undo, UndoRecord};
use crate::value::Value;

/// A server on a socket in a private directory.
pub(super) struct Cluster {
    directory: tempfile::TempDir,
    server: std::process::Child,
    log: MemoryLog,
}

impl Cluster {
    /// Starts a server; `None` where there is none to start.
    #[expect(clippy::disallowed_methods, reason = "a test starts its own server")]
    pub(super) fn start() -> Option<Self> {
        let programs = programs()?;
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().to_owned();
        let is_root = rustix::process::geteuid().is_root();
        if is_root {
            // The server does not run as root.
            let given = Command::new("chown").arg("nobody").arg(&path).status();
            assert!(given.unwrap().success());
        }
        let as_server = |program: &str, words: &[&str]| {
            let mut command = if is_root {
                let mut command = Command::new("setpriv");
                command.args(["--reuid=nobody", "--clear-groups"]);
                command.arg(programs.join(program));
                command
            } else {
                Command::new(programs.join(program))
            };
            command
                .args(words)
                .current_dir(&path)
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(Stdio::null());
            command
        };
        let data = path.join("data").display().to_string();
        let made = as_server(
            "initdb",
            &[
                "-D",
                &data,
                "-U",
                "postgres",
                "-A",
                "trust",
                "-E",
                "UTF8",
                "--no-sync",
            ],
        )
        .status();
        assert!(made.unwrap().success(), "initdb");
        let socket = path.display().to_string();
        let words = ["-D", &data, "-k", &socket, "-h", "", "-F"];
        let server = as_server("postgres", &words).spawn().unwrap();
        let cluster = Self {
            directory,
            server,
            log: MemoryLog::new(None),
        };
        while !cluster.answers() {
            std::thread::yield_now();
        }
        Some(cluster)
    }

    #[expect(clippy::disallowed_methods, reason = "a test asks its own server")]
    fn answers(&self) -> bool {
        Command::new("psql")
            .arg("-h")
            .arg(self.directory.path())
            .args(["-U", "postgres", "-c", "SELECT 1"])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status()
            .unwrap()
            .success()
    }

    /// Runs a module with the members of a JSON object as options.
    pub(super) fn run(&self, module: &str, options: &str) -> String {
        self.call(module, options, false)
    }

    pub(super) fn predict(&self, module: &str, options: &str) -> String {
        self.call(module, options, true)
    }

    fn call(&self, module: &str, options: &str, check: bool) -> String {
        let socket = self.directory.path().display();
        let json = format!(r#"{{"login_unix_socket": "{socket}", {options}}}"#);
        let given: Value = serde_json::from_str(&json).unwrap();
        let mut machine = Machine::new(MachineOptions {
            check,
            undo: Box::new(self.log.clone()),
            ..MachineOptions::default()
        });
        let module = crate::modules::find(module).unwrap();
        let result = match (module.run)(&mut machine, given.as_map().unwrap()) {
            Ok(outcome) => outcome.into_result(),
            Err(failure) => failure.into_result(),
        };
        serde_json::to_string(&Value::from(result)).unwrap()
    }

    /// Has the server do something.
    #[expect(clippy::disallowed_methods, reason = "a test prepares its own server")]
    pub(super) fn sql(&self, text: &str) {
        let done = Command::new("psql")
            .arg("-h")
            .arg(self.directory.path())
            .args(["-qU", "postgres", "-v", "ON_ERROR_STOP=1", "-c", text])
            .status();
        assert!(done.unwrap().success(), "{text}");
    }

    /// Writes a file beside the server's and returns its path.
    #[expect(clippy::disallowed_methods, reason = "a test writes its own fixture")]
    pub(super) fn file(&self, name: &str, text: &str) -> String {
        let path = self.directory.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.display().to_string()
    }

    /// Returns the point in the log to undo to.
    pub(super) fn after_now(&self) -> usize {
        self.log.records().len()
    }

    /// Runs the steps that undo all that was done, newest first.
    pub(super) fn undo(&self) {
        self.undo_since(0);
    }

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
                let done = Command::new(&step.argv[0]).args(&step.argv[1..]).status();
                assert!(done.unwrap().success(), "{:?}", step.argv);
            }
        }
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        self.server.kill().ok();
        self.server.wait().ok();
    }
}

/// Returns the directory of the newest server's programs.
fn programs() -> Option<PathBuf> {
    let versions = std::fs::read_dir("/usr/lib/postgresql").ok()?;
    let mut found: Vec<_> = versions
        .flatten()
        .map(|entry| entry.path().join("bin"))
        .filter(|path| path.join("initdb").exists())
        .collect();
    found.sort();
    found.pop()
}
