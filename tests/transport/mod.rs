//! SSH logins, host keys and routes, against servers of this process.

mod host_keys;
mod logins;
mod routes;
mod server;

use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;

use backstay::error::Error;
use backstay::transport::{
    ConnectContext, Connection, Endpoint, ExitStatus, Failure, TransportError, connect,
};
use russh::keys::ssh_key::LineEnding;
use russh::keys::{Algorithm, PrivateKey, PublicKey};
use server::Server;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// A controller's home directory with what ssh keeps there.
#[must_use]
struct Home {
    directory: tempfile::TempDir,
}

impl Home {
    fn new() -> Self {
        let home = Self {
            directory: tempfile::tempdir().unwrap(),
        };
        std::fs::DirBuilder::new()
            .create(home.path(".ssh"))
            .unwrap();
        home
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Writes `text` to the file `name` of `.ssh`, private to the user.
    fn file(self, name: &str, text: &str) -> Self {
        use std::os::unix::fs::OpenOptionsExt;
        let path = self.path(".ssh").join(name);
        let mut options = std::fs::OpenOptions::new();
        let mut file = options
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(path)
            .unwrap();
        file.write_all(text.as_bytes()).unwrap();
        self
    }

    fn key(self, name: &str, key: &PrivateKey) -> Self {
        let text = key.to_openssh(LineEnding::LF).unwrap();
        self.file(name, &text)
    }

    /// Makes the home know the host keys of `servers`.
    fn knows(self, servers: &[&Server]) -> Self {
        let lines: String = servers.iter().map(|server| server.known_line()).collect();
        self.file("known_hosts", &lines)
    }

    fn known_hosts(&self) -> String {
        std::fs::read_to_string(self.path(".ssh/known_hosts")).unwrap_or_default()
    }

    fn context(&self) -> ConnectContext {
        ConnectContext {
            system_config: None,
            system_known_hosts: None,
            ..ConnectContext::new(self.directory.path(), "ann")
        }
    }

    async fn connect(&self, endpoint: &Endpoint) -> Result<Connection, TransportError> {
        connect(endpoint, &self.context()).await
    }

    /// Connects and returns why that failed.
    async fn failure(&self, endpoint: &Endpoint) -> Failure {
        self.connect(endpoint)
            .await
            .map(|_| ())
            .unwrap_err()
            .failure
    }

    /// Connects and returns the message and help a user would see, with `$HOME` and `$PORT` in
    /// place of what changes from run to run.
    async fn story(&self, endpoint: &Endpoint) -> (String, String) {
        let error = self.connect(endpoint).await.map(|_| ()).unwrap_err();
        let error = Error::from(error);
        let home = self.directory.path().display().to_string();
        let port = endpoint.port.unwrap_or_default().to_string();
        let plain = |text: &str| text.replace(&home, "$HOME").replace(&port, "$PORT");
        (
            plain(&error.message),
            plain(&error.help.unwrap_or_default()),
        )
    }
}

/// Returns an endpoint for `server` that logs in as `deploy`.
fn endpoint(server: &Server) -> Endpoint {
    Endpoint {
        address: "127.0.0.1".into(),
        port: Some(server.port),
        user: Some("deploy".into()),
        timeout: Duration::from_secs(20),
        ..Endpoint::ssh("web1")
    }
}

fn new_key() -> PrivateKey {
    key_of(Algorithm::Ed25519)
}

fn key_of(algorithm: Algorithm) -> PrivateKey {
    PrivateKey::random(&mut russh::keys::key::safe_rng(), algorithm).unwrap()
}

fn fingerprint(key: &PublicKey) -> String {
    key.fingerprint(russh::keys::HashAlg::Sha256).to_string()
}

/// Runs `command` and returns its output and status.
async fn run(connection: &Connection, command: &str) -> (String, ExitStatus) {
    let mut channel = connection.exec(command).await.unwrap();
    channel.stdin.shutdown().await.unwrap();
    let mut output = String::new();
    channel.stdout.read_to_string(&mut output).await.unwrap();
    (output, channel.exit.await.unwrap())
}

/// Returns the path of a file in `.ssh` of `home`.
fn in_ssh(home: &Home, name: &str) -> PathBuf {
    home.path(".ssh").join(Path::new(name))
}
