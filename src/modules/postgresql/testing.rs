//! A real server of its own for each test, where the machine has one; without it the tests of
//! these modules say nothing.

use std::ops::Deref;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use crate::modules::server::Server;

/// A server on a socket in a private directory.
pub(super) struct Cluster(Server);

impl Deref for Cluster {
    type Target = Server;

    fn deref(&self) -> &Server {
        &self.0
    }
}

impl Cluster {
    /// Starts a server; `None` where there is none to start.
    pub(super) fn start() -> Option<Self> {
        let programs = programs()?;
        let mut server = Server::new();
        let data = server.path("data");
        let made = server
            .command(programs.join("initdb"))
            .args(["-D", &data, "-U", "postgres", "-A", "trust"])
            .args(["-E", "UTF8", "--no-sync"])
            .status();
        assert!(made.unwrap().success(), "initdb");
        let socket = server.home();
        let mut start = server.command(programs.join("postgres"));
        start.args(["-D", &data, "-k", &socket, "-h", "", "-F"]);
        let login = format!(r#""login_unix_socket": "{socket}""#);
        server.start(start, login, |server| {
            psql(server)
                .args(["-c", "SELECT 1"])
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .status()
                .unwrap()
                .success()
        });
        Some(Self(server))
    }

    /// Has the server do something.
    pub(super) fn sql(&self, text: &str) {
        let done = psql(self)
            .args(["-q", "-v", "ON_ERROR_STOP=1", "-c", text])
            .status();
        assert!(done.unwrap().success(), "{text}");
    }

    /// Writes a file beside the server's and returns its path.
    #[expect(clippy::disallowed_methods, reason = "a test writes its own fixture")]
    pub(super) fn file(&self, name: &str, text: &str) -> String {
        let path = self.path(name);
        std::fs::write(&path, text).unwrap();
        path
    }

    /// Undoes all that was done.
    pub(super) fn undo(&self) {
        self.undo_since(0);
    }
}

#[expect(clippy::disallowed_methods, reason = "a test asks its own server")]
fn psql(server: &Server) -> Command {
    let mut command = Command::new("psql");
    command.args(["-h", &server.home(), "-U", "postgres"]);
    command
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
