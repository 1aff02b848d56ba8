//! A real server of its own for each test, where the machine has one; without it the tests of
//! these modules say nothing.

use std::ops::Deref;
use std::os::unix::net::UnixStream;
use std::process::Command;

use crate::modules::server::Server;

/// A server on a socket in a private directory.
pub(super) struct Daemon(Server);

impl Deref for Daemon {
    type Target = Server;

    fn deref(&self) -> &Server {
        &self.0
    }
}

impl Daemon {
    /// Starts a server; `None` where there is none to start.
    pub(super) fn start() -> Option<Self> {
        let programs = ["/usr/sbin/mariadbd", "/usr/bin/mariadb-install-db"];
        if !programs
            .iter()
            .all(|path| std::path::Path::new(path).exists())
        {
            return None;
        }
        let [program, install] = programs;
        let mut server = Server::new();
        let data = format!("--datadir={}", server.path("data"));
        // Servers that share a directory for temporary tables take each other's away.
        let own = format!("--tmpdir={}", server.home());
        let made = server
            .command(install)
            .args(["--no-defaults", &data, &own, "--skip-test-db"])
            .arg("--auth-root-authentication-method=normal")
            .arg("--innodb-use-native-aio=0")
            .status();
        assert!(made.unwrap().success(), "{install}");
        let socket = server.path("socket");
        let mut start = server.command(program);
        start
            .args(["--no-defaults", &data, &own, "--skip-networking"])
            .arg(format!("--socket={socket}"))
            .arg(format!("--pid-file={}", server.path("pid")))
            .args([
                "--innodb-use-native-aio=0",
                "--log-bin=log",
                "--server-id=1",
            ])
            // Nothing here has to outlive a crash.
            .args(["--innodb-flush-log-at-trx-commit=0", "--sync-binlog=0"]);
        let login = format!(
            r#""login_unix_socket": "{socket}", "login_user": "root", "config_file": "/none""#
        );
        server.start(start, login, |_| UnixStream::connect(&socket).is_ok());
        Some(Self(server))
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
}
