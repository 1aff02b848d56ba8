//! A real server of its own for each test, where the machine has one; without it the tests of
//! these modules say nothing.

use std::os::unix::net::UnixStream;
use std::process::{Command, Stdio};

use crate::machine::{Machine, MachineOptions};
use crate::transaction::journal::{MemoryLog, Undo, UndoRecord};
use crate::value::Value;

/// A server on a socket in a private directory.
pub(super) struct Daemon {
    directory: tempfile::TempDir,
    server: std::process::Child,
    log: MemoryLog,
}

impl Daemon {
    /// Starts a server; `None` where there is none to start.
    #[expect(clippy::disallowed_methods, reason = "a test starts its own server")]
    pub(super) fn start() -> Option<Self> {
        let programs = ["/usr/sbin/mariadbd", "/usr/bin/mariadb-install-db"];
        if !programs
            .iter()
            .all(|path| std::path::Path::new(path).exists())
        {
            return None;
        }
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().to_owned();
        let is_root = rustix::process::geteuid().is_root();
        if is_root {
            // The server does not run as root.
            let given = Command::new("chown").arg("nobody").arg(&path).status();
            assert!(given.unwrap().success());
        }
        let as_server = |program: &str, words: &[String]| {
            let mut command = if is_root {
                let mut command = Command::new("setpriv");
                command.args(["--reuid=nobody", "--clear-groups", program]);
                command
            } else {
                Command::new(program)
            };
            command
                .args(words)
                .current_dir(&path)
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(Stdio::null());
            command
        };
        let at = |name: &str| path.join(name).display().to_string();
        let data = format!("--datadir={}", at("data"));
        // Servers that share a directory for temporary tables take each other's away.
        let own = format!("--tmpdir={}", path.display());
        let [server, install] = programs;
        let words = [
            "--no-defaults".to_owned(),
            data.clone(),
            "--auth-root-authentication-method=normal".into(),
            "--skip-test-db".into(),
            own.clone(),
            "--innodb-use-native-aio=0".into(),
        ];
        let made = as_server(install, &words).status();
        assert!(made.unwrap().success(), "{install}");
        let words = [
            "--no-defaults".to_owned(),
            data,
            format!("--socket={}", at("socket")),
            format!("--pid-file={}", at("pid")),
            own,
            "--innodb-use-native-aio=0".into(),
            "--skip-networking".into(),
            "--log-bin=log".into(),
            "--server-id=1".into(),
            // Nothing here has to outlive a crash.
            "--innodb-flush-log-at-trx-commit=0".into(),
            "--sync-binlog=0".into(),
        ];
        let server = as_server(server, &words).spawn().unwrap();
        let mut daemon = Self {
            directory,
            server,
            log: MemoryLog::new(None),
        };
        while UnixStream::connect(daemon.path("socket")).is_err() {
            let ended = daemon.server.try_wait().unwrap();
            assert!(ended.is_none(), "the server ended: {ended:?}");
            std::thread::yield_now();
        }
        Some(daemon)
    }

    /// Returns the path of a file beside the server's.
    pub(super) fn path(&self, name: &str) -> String {
        self.directory.path().join(name).display().to_string()
    }

    /// Has the server do something, and returns what it says.
    #[expect(clippy::disallowed_methods, reason = "a test asks its own server")]
    pub(super) fn sql(&self, text: &str) -> String {
        let done = Command::new("mariadb")
            .args(["--no-defaults", "-uroot", "-NB", "-S", &self.path("socket")])
            .args(["-e", text])
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&done.stderr);
        assert!(done.status.success(), "{text}: {said}");
        String::from_utf8(done.stdout).unwrap()
    }

    /// Runs a module with the members of a JSON object as options.
    pub(super) fn run(&self, module: &str, options: &str) -> String {
        self.call(module, options, false)
    }

    pub(super) fn predict(&self, module: &str, options: &str) -> String {
        self.call(module, options, true)
    }

    fn call(&self, module: &str, options: &str, check: bool) -> String {
        let socket = self.path("socket");
        let json = format!(
            r#"{{"login_unix_socket": "{socket}", "login_user": "root", "config_file": "/none", {options}}}"#
        );
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

impl Drop for Daemon {
    fn drop(&mut self) {
        self.server.kill().ok();
        self.server.wait().ok();
    }
}
