//! Byte streams to a host: one `Endpoint` in, one `Connection` out, and channels that each run
//! one command with its own stdin, stdout, stderr and exit status.
//!
//! Knows nothing of playbooks, inventories or the agent. It reads no environment variable: what
//! the caller's environment decides (home, agent socket, user) comes in the `ConnectContext`.

use std::future::Future;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite};

mod error;
mod lifeline;
mod local;
mod sandbox;
mod secret;
mod ssh;

pub use error::{Failure, HostKeyProblem, Stage, TransportError};
pub use sandbox::Sandboxes;
pub use secret::Secret;
pub use ssh::KeyRing;

/// How a host is reached.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum ConnectionKind {
    Ssh,
    /// Processes of this machine.
    Local,
    /// A built-in SSH server on loopback, started by this process, whose commands run with
    /// `root` as their home and working directory.
    Sandbox {
        root: PathBuf,
    },
}

/// Everything a host's variables and settings say about reaching it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Endpoint {
    /// The inventory name, shown in errors.
    pub name: Arc<str>,
    pub kind: ConnectionKind,
    /// `ansible_host`, or the inventory name; also what `Host` patterns of `ssh_config` match.
    pub address: String,
    pub port: Option<u16>,
    pub user: Option<String>,
    pub password: Option<Secret>,
    /// `ansible_ssh_private_key_file`; `~` is expanded.
    pub private_key_file: Option<PathBuf>,
    /// `ansible_ssh_private_key`: the key itself rather than its path.
    pub private_key: Option<Secret>,
    /// `ansible_ssh_private_key_passphrase`, or what the user typed for an encrypted key.
    pub passphrase: Option<Secret>,
    /// `ssh_args`, `ssh_common_args` and `ssh_extra_args`, in that order, each as written.
    /// Ansible's default of the first counts as none.
    pub ssh_args: String,
    pub ssh_common_args: String,
    pub ssh_extra_args: String,
    /// `host_key_checking`; `false` accepts any key, as `StrictHostKeyChecking=no` does.
    pub host_key_checking: bool,
    /// Ansible's `timeout`: the limit of each stage before the login.
    pub timeout: Duration,
    /// Where commands of this machine start, if not where backstay did.
    pub directory: Option<PathBuf>,
    /// `ssh_connection.retries`: further attempts when the host does not answer.
    pub retries: u32,
}

impl Endpoint {
    /// Makes an SSH endpoint with Ansible's defaults.
    pub fn ssh(name: &str) -> Self {
        Self {
            name: Arc::from(name),
            kind: ConnectionKind::Ssh,
            address: name.to_owned(),
            port: None,
            user: None,
            password: None,
            private_key_file: None,
            private_key: None,
            passphrase: None,
            ssh_args: String::new(),
            ssh_common_args: String::new(),
            ssh_extra_args: String::new(),
            host_key_checking: true,
            timeout: Duration::from_secs(10),
            directory: None,
            retries: 0,
        }
    }

    /// Makes an endpoint that is this machine.
    pub fn local(name: &str) -> Self {
        Self {
            kind: ConnectionKind::Local,
            ..Self::ssh(name)
        }
    }

    /// Makes a sandbox endpoint rooted at `root`.
    pub fn sandbox(name: &str, root: impl Into<PathBuf>) -> Self {
        Self {
            kind: ConnectionKind::Sandbox { root: root.into() },
            ..Self::ssh(name)
        }
    }
}

/// What the caller's environment contributes to every connection of a run. Cheap to clone.
#[derive(Clone, Debug)]
pub struct ConnectContext {
    /// The home directory of the user who runs backstay; `~` in `ssh_config` and key paths.
    pub home: PathBuf,
    /// The login name of that user: the remote user when nothing names another.
    pub user: String,
    /// `SSH_AUTH_SOCK`.
    pub agent_socket: Option<PathBuf>,
    /// The system-wide `ssh_config`; `None` reads no system file.
    pub system_config: Option<PathBuf>,
    /// The system-wide known hosts; `None` reads no system file.
    pub system_known_hosts: Option<PathBuf>,
    /// Private keys read in this run, so that each file is read and decrypted once.
    pub keys: KeyRing,
    /// The sandbox servers of this run; they stop when the last clone is dropped.
    pub sandboxes: Sandboxes,
}

impl ConnectContext {
    /// Makes a context with OpenSSH's system files and no agent.
    pub fn new(home: impl Into<PathBuf>, user: impl Into<String>) -> Self {
        Self {
            home: home.into(),
            user: user.into(),
            agent_socket: None,
            system_config: Some(PathBuf::from("/etc/ssh/ssh_config")),
            system_known_hosts: Some(PathBuf::from("/etc/ssh/ssh_known_hosts")),
            keys: KeyRing::default(),
            sandboxes: Sandboxes::default(),
        }
    }
}

/// Connects to `endpoint`, logs in, and returns the connection that commands run on.
pub async fn connect(
    endpoint: &Endpoint,
    context: &ConnectContext,
) -> Result<Connection, TransportError> {
    let inner = match &endpoint.kind {
        ConnectionKind::Local => Inner::Local(local::Local::new(endpoint)),
        ConnectionKind::Ssh => Inner::Ssh(Box::new(ssh::connect(endpoint, context).await?)),
        ConnectionKind::Sandbox { root } => Inner::Ssh(Box::new(
            context.sandboxes.connect(endpoint, root, context).await?,
        )),
    };
    Ok(Connection { inner })
}

/// A live connection to one host. Dropping it ends it when the last of its channels has ended;
/// `close` ends them all.
#[derive(Debug)]
pub struct Connection {
    inner: Inner,
}

#[derive(Debug)]
enum Inner {
    Local(local::Local),
    Ssh(Box<ssh::Client>),
}

impl Connection {
    /// Starts `command` under the user's login shell (`/bin/sh` locally) on a channel of its own.
    pub async fn exec(&self, command: &str) -> Result<Channel, TransportError> {
        self.start(command, None).await
    }

    /// Starts `command` with a terminal of its own, for programs that insist on one; its stderr
    /// arrives in stdout. Local connections have no terminal to give and refuse.
    pub async fn exec_in_terminal(&self, command: &str) -> Result<Channel, TransportError> {
        self.start(command, Some(Terminal::default())).await
    }

    async fn start(
        &self,
        command: &str,
        terminal: Option<Terminal>,
    ) -> Result<Channel, TransportError> {
        match &self.inner {
            Inner::Local(local) => local.exec(command, terminal.is_some()),
            Inner::Ssh(client) => client.exec(command, terminal).await,
        }
    }

    /// Returns what the user should know about how the connection was made, e.g. an option of
    /// `ssh_args` that has no meaning here; each text is one warning.
    pub fn warnings(&self) -> &[String] {
        match &self.inner {
            Inner::Local(_) => &[],
            Inner::Ssh(client) => client.warnings(),
        }
    }

    /// Returns whether the connection is still there, as far as is known; a new one has to be
    /// made when it is not.
    pub fn is_open(&self) -> bool {
        match &self.inner {
            Inner::Local(_) => true,
            Inner::Ssh(client) => client.is_open(),
        }
    }

    /// Says goodbye and waits until the connection is gone; open channels end with it.
    pub async fn close(self) {
        match self.inner {
            Inner::Local(_) => {}
            Inner::Ssh(client) => client.close().await,
        }
    }
}

/// The size a terminal is given; the names are those of the SSH request.
#[derive(Clone, Copy, Debug)]
struct Terminal {
    columns: u32,
    rows: u32,
}

impl Default for Terminal {
    fn default() -> Self {
        Self {
            columns: 200,
            rows: 50,
        }
    }
}

/// A stream to write to.
pub type Writer = Box<dyn AsyncWrite + Send + Unpin>;
/// A stream to read from.
pub type Reader = Box<dyn AsyncRead + Send + Unpin>;
/// Resolves when the command has ended and its status is known; it does not wait for the output
/// to be read.
pub type Exit = Pin<Box<dyn Future<Output = Result<ExitStatus, TransportError>> + Send>>;

/// One running command. Shutting `stdin` down, or dropping it, sends end of file. Dropping all
/// four parts ends the command. Both outputs must be read or dropped: their buffers are bounded,
/// and one full buffer holds up the whole connection.
pub struct Channel {
    pub stdin: Writer,
    pub stdout: Reader,
    pub stderr: Reader,
    pub exit: Exit,
}

impl std::fmt::Debug for Channel {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Channel").finish_non_exhaustive()
    }
}

/// How a command ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ExitStatus {
    Code(u32),
    /// Killed by a signal, named without `SIG`: `TERM`, `KILL` …
    Signal(String),
}

impl ExitStatus {
    /// Returns the code a shell would show: the code itself, or 128 + the signal's number.
    pub fn code(&self) -> u32 {
        match self {
            Self::Code(code) => *code,
            Self::Signal(name) => 128 + signal_number(name).unwrap_or(0),
        }
    }
}

/// The signals with a name in the SSH protocol and their numbers on Linux.
const SIGNALS: [(&str, u32); 13] = [
    ("HUP", 1),
    ("INT", 2),
    ("QUIT", 3),
    ("ILL", 4),
    ("ABRT", 6),
    ("FPE", 8),
    ("KILL", 9),
    ("USR1", 10),
    ("SEGV", 11),
    ("USR2", 12),
    ("PIPE", 13),
    ("ALRM", 14),
    ("TERM", 15),
];

fn signal_number(name: &str) -> Option<u32> {
    SIGNALS
        .iter()
        .find(|(known, _)| *known == name)
        .map(|(_, number)| *number)
}

/// Returns the protocol's name of signal `number`.
fn signal_name(number: u32) -> Option<&'static str> {
    SIGNALS
        .iter()
        .find(|(_, known)| *known == number)
        .map(|(name, _)| *name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signal_counts_as_128_and_its_number() {
        assert_eq!(ExitStatus::Code(3).code(), 3);
        assert_eq!(ExitStatus::Signal("KILL".into()).code(), 137);
        assert_eq!(ExitStatus::Signal("XYZZY".into()).code(), 128);
        assert_eq!(signal_name(15), Some("TERM"));
    }
}
