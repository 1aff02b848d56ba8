//! The sandbox: an SSH server on loopback inside this process, one for each root directory, so
//! that a play runs over real SSH without any host and without root.
//!
//! A sandbox is a place, not a jail: commands run as the user, with the root as their home and
//! working directory and with a clean environment. The client is told the server's key and holds
//! the only key that may log in.

use std::collections::HashMap;
use std::fs::DirBuilder;
use std::io;
use std::net::Ipv4Addr;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use russh::keys::key::safe_rng;
use russh::keys::{Algorithm, PrivateKey, PublicKey};
use russh::server::{self, Auth, ChannelOpenHandle, Msg, Session, VerifiedPublicKey};
use russh::{Channel, ChannelId, ChannelMsg, ChannelReadHalf, ChannelWriteHalf, MethodSet, Sig};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::process::ChildStdin;
use tokio::sync::Mutex;
use tokio::task::AbortHandle;

use super::local::{self, Process};
use super::ssh::{self, Settings};
use super::{ConnectContext, Endpoint, ExitStatus, TransportError};

/// Messages of up to 32 KiB that a command may leave unread before the connection waits for it.
/// russh cannot hold back one channel alone, so this is generous: a slow reader must not keep
/// the other channels, or the request to end it, from being heard.
const UNREAD: usize = 2048;
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
const WINDOW: u32 = 2 << 20;
const CHUNK: usize = 32 << 10;
const STDERR: u32 = 1;
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// The sandbox servers of a run, started when first needed. Cheap to clone; the servers stop
/// when the last clone is dropped.
#[derive(Clone, Default)]
pub struct Sandboxes {
    running: Arc<Mutex<HashMap<PathBuf, Arc<Server>>>>,
}

impl std::fmt::Debug for Sandboxes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Sandboxes").finish_non_exhaustive()
    }
}

impl Sandboxes {
    /// Connects to the sandbox at `root`, which is made and started when it is not there yet.
    pub(super) async fn connect(
        &self,
        endpoint: &Endpoint,
        root: &Path,
        context: &ConnectContext,
    ) -> Result<ssh::Client, TransportError> {
        let server = self.server(root, &context.user).await.map_err(|error| {
            let detail = format!(
                "the sandbox at `{}` cannot be started: {error}",
                root.display()
            );
            TransportError::local(&endpoint.name, detail)
        })?;
        let user = context.user.clone();
        let key = Arc::clone(&server.client_key);
        let settings = Settings::pinned(endpoint, server.port, user, server.host_key.clone(), key);
        ssh::connect_with(&settings, context).await
    }

    async fn server(&self, root: &Path, user: &str) -> io::Result<Arc<Server>> {
        let mut running = self.running.lock().await;
        if let Some(server) = running.get(root) {
            return Ok(Arc::clone(server));
        }
        let server = Arc::new(Server::start(root, user).await?);
        running.insert(root.to_owned(), Arc::clone(&server));
        Ok(server)
    }
}

/// One running server.
struct Server {
    port: u16,
    host_key: PublicKey,
    client_key: Arc<PrivateKey>,
    accepting: AbortHandle,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

impl Server {
    async fn start(root: &Path, user: &str) -> io::Result<Self> {
        DirBuilder::new().recursive(true).mode(0o700).create(root)?;
        let root = root.canonicalize()?;
        let host_key = new_key()?;
        let client_key = Arc::new(new_key()?);
        let guest = Guest {
            key: client_key.public_key().clone(),
            account: Arc::new(Account {
                root,
                user: user.to_owned(),
            }),
            channels: HashMap::new(),
        };
        let public = host_key.public_key().clone();
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let port = listener.local_addr()?.port();
        let accepting = tokio::spawn(accept(listener, config(host_key), guest)).abort_handle();
        Ok(Self {
            port,
            host_key: public,
            client_key,
            accepting,
        })
    }
}

fn new_key() -> io::Result<PrivateKey> {
    PrivateKey::random(&mut safe_rng(), Algorithm::Ed25519).map_err(io::Error::other)
}

fn config(host_key: PrivateKey) -> Arc<server::Config> {
    Arc::new(server::Config {
        methods: MethodSet::from([russh::MethodKind::PublicKey].as_slice()),
        keys: vec![host_key],
        window_size: WINDOW,
        channel_buffer_size: UNREAD,
        inactivity_timeout: None,
        ..server::Config::default()
    })
}

async fn accept(listener: TcpListener, config: Arc<server::Config>, guest: Guest) {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                tokio::spawn(attend(stream, Arc::clone(&config), guest.clone()));
            }
            // Out of descriptors: the next attempt needs some to be given back first.
            Err(_) => tokio::time::sleep(ACCEPT_PAUSE).await,
        }
    }
}

async fn attend(stream: TcpStream, config: Arc<server::Config>, guest: Guest) {
    // Delays without it; works without it.
    drop(stream.set_nodelay(true));
    // How the connection ends is the client's to tell.
    if let Ok(session) = server::run_stream(config, stream, guest).await {
        drop(session.await);
    }
}

/// Whose processes run, and where.
struct Account {
    root: PathBuf,
    user: String,
}

/// One connection's side of the server.
struct Guest {
    key: PublicKey,
    account: Arc<Account>,
    /// Channels that have no command yet.
    channels: HashMap<ChannelId, Channel<Msg>>,
}

impl Clone for Guest {
    /// Makes the side of a new connection: it shares the account and has no channels.
    fn clone(&self) -> Self {
        Self {
            key: self.key.clone(),
            account: Arc::clone(&self.account),
            channels: HashMap::new(),
        }
    }
}

impl server::Handler for Guest {
    type Error = russh::Error;

    async fn auth_publickey(
        &mut self,
        _user: &str,
        key: VerifiedPublicKey<'_>,
    ) -> Result<Auth, Self::Error> {
        let own = key.public_key.key_data() == self.key.key_data();
        Ok(if own { Auth::Accept } else { Auth::reject() })
    }

    async fn channel_open_session(
        &mut self,
        channel: Channel<Msg>,
        reply: ChannelOpenHandle,
        _session: &mut Session,
    ) -> Result<(), Self::Error> {
        self.channels.insert(channel.id(), channel);
        reply.accept().await;
        Ok(())
    }

    async fn pty_request(
        &mut self,
        channel: ChannelId,
        _term: &str,
        _col_width: u32,
        _row_height: u32,
        _pix_width: u32,
        _pix_height: u32,
        _modes: &[(russh::Pty, u32)],
        session: &mut Session,
    ) -> Result<(), Self::Error> {
        session.channel_failure(channel)
    }

    async fn exec_request(
        &mut self,
        id: ChannelId,
        command: &[u8],
        session: &mut Session,
    ) -> Result<(), Self::Error> {
        let command = String::from_utf8_lossy(command);
        let started = self
            .channels
            .remove(&id)
            .zip(self.account.start(&command).ok());
        let Some((channel, process)) = started else {
            return session.channel_failure(id);
        };
        session.channel_success(id)?;
        tokio::spawn(serve(channel, process, session.handle()));
        Ok(())
    }
}

impl Account {
    fn start(&self, command: &str) -> io::Result<Process> {
        let mut shell = local::shell(command);
        shell
            .env_clear()
            .env("PATH", PATH)
            .env("HOME", &self.root)
            .env("USER", &self.user)
            .env("LOGNAME", &self.user)
            .env("SHELL", "/bin/sh")
            .env("LANG", "C.UTF-8")
            // Also for root, who elsewhere keeps transactions for the machine as a whole.
            .env(
                "BACKSTAY_STATE_DIRECTORY",
                self.root.join(".local/state/backstay"),
            )
            .current_dir(&self.root);
        Process::start(shell)
    }
}

/// Connects `process` to `channel` until the process has ended and all was said, or the client
/// has closed the channel.
pub(super) async fn serve(channel: Channel<Msg>, process: Process, session: server::Handle) {
    let (read, write) = channel.split();
    let Process {
        stdin,
        stdout,
        stderr,
        mut running,
    } = process;
    let talking = async {
        let output = copy(stdout, &write, None);
        let errors = copy(stderr, &write, Some(STDERR));
        tokio::join!(output, errors, running.wait()).2
    };
    let status = tokio::select! {
        () = feed(read, stdin) => None,
        status = talking => Some(status),
    };
    match status {
        Some(status) => report(&session, write.id(), status.ok()).await,
        None => running.kill().await,
    }
}

/// Writes what arrives on the channel to the command. Returns when the client is gone.
async fn feed(mut read: ChannelReadHalf, stdin: ChildStdin) {
    let mut stdin = Some(stdin);
    while let Some(message) = read.wait().await {
        match message {
            ChannelMsg::Data { data } => {
                if let Some(open) = &mut stdin
                    && open.write_all(&data).await.is_err()
                {
                    // The command reads no more, as it may.
                    stdin = None;
                }
            }
            ChannelMsg::Eof => stdin = None,
            ChannelMsg::Close => return,
            _ => {}
        }
    }
}

/// Sends all that `reader` gives as the output, or as stream `ext`.
async fn copy(mut reader: impl AsyncRead + Unpin, write: &ChannelWriteHalf<Msg>, ext: Option<u32>) {
    loop {
        let mut chunk = Vec::with_capacity(CHUNK);
        let count = reader.read_buf(&mut chunk).await.unwrap_or(0);
        let sent = match (count, ext) {
            (0, _) => return,
            (_, None) => write.data_bytes(chunk).await,
            (_, Some(ext)) => write.extended_data_bytes(ext, chunk).await,
        };
        if sent.is_err() {
            return;
        }
    }
}

/// Tells the client how the command ended. It may be gone: then there is nobody to tell.
async fn report(session: &server::Handle, id: ChannelId, status: Option<ExitStatus>) {
    let told = match status {
        Some(ExitStatus::Code(code)) => session.exit_status_request(id, code).await,
        Some(ExitStatus::Signal(name)) => {
            let (text, language) = (String::new(), String::new());
            session
                .exit_signal_request(id, Sig::Custom(name), false, text, language)
                .await
        }
        None => Ok(()),
    };
    if told.is_ok() && session.eof(id).await.is_ok() {
        session.close(id).await.ok();
    }
}

#[cfg(test)]
mod tests {
    use sha2::{Digest, Sha256};

    use super::super::{Connection, connect};
    use super::*;

    async fn sandbox(root: &Path) -> Connection {
        let context = ConnectContext::new(root, "ann");
        connect(&Endpoint::sandbox("web1", root.join("web1")), &context)
            .await
            .unwrap()
    }

    async fn run(connection: &Connection, command: &str) -> (String, String, ExitStatus) {
        let mut channel = connection.exec(command).await.unwrap();
        channel.stdin.shutdown().await.unwrap();
        let (mut output, mut errors) = (String::new(), String::new());
        let reading = tokio::join!(
            channel.stdout.read_to_string(&mut output),
            channel.stderr.read_to_string(&mut errors)
        );
        reading.0.and(reading.1).unwrap();
        (output, errors, channel.exit.await.unwrap())
    }

    #[tokio::test]
    async fn a_sandbox_command_has_its_root_as_home_and_a_clean_environment() {
        let directory = tempfile::tempdir().unwrap();
        let connection = sandbox(directory.path()).await;
        let root = directory.path().join("web1").canonicalize().unwrap();
        let (output, errors, status) =
            run(&connection, "pwd; env | sort; echo oops >&2; exit 3").await;
        let root = root.display();
        assert_eq!(
            output,
            format!(
                "{root}\nBACKSTAY_STATE_DIRECTORY={root}/.local/state/backstay\nHOME={root}\nLANG=C.UTF-8\nLOGNAME=ann\nPATH={PATH}\nPWD={root}\n\
                 SHELL=/bin/sh\nUSER=ann\n"
            )
        );
        assert_eq!(errors, "oops\n");
        assert_eq!(status, ExitStatus::Code(3));
    }

    #[tokio::test]
    async fn a_killed_sandbox_command_reports_its_signal() {
        let directory = tempfile::tempdir().unwrap();
        let connection = sandbox(directory.path()).await;
        let (.., status) = run(&connection, "kill -KILL $$").await;
        assert_eq!(status, ExitStatus::Signal("KILL".into()));
    }

    #[tokio::test]
    async fn a_dropped_stdin_is_at_its_end() {
        let directory = tempfile::tempdir().unwrap();
        let connection = sandbox(directory.path()).await;
        let mut channel = connection.exec("cat; echo end").await.unwrap();
        channel.stdin.write_all(b"text ").await.unwrap();
        drop(channel.stdin);
        let mut output = String::new();
        channel.stdout.read_to_string(&mut output).await.unwrap();
        assert_eq!(output, "text end\n");
    }

    #[tokio::test]
    async fn many_channels_share_one_connection() {
        let directory = tempfile::tempdir().unwrap();
        let connection = sandbox(directory.path()).await;
        let (first, second) = tokio::join!(run(&connection, "echo 1"), run(&connection, "echo 2"));
        assert_eq!((first.0.as_str(), second.0.as_str()), ("1\n", "2\n"));
        connection.close().await;
    }

    #[tokio::test]
    async fn megabytes_both_ways_arrive_unchanged() {
        let directory = tempfile::tempdir().unwrap();
        let connection = sandbox(directory.path()).await;
        let sent: Vec<u8> = (0..16u32 << 20)
            .map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8)
            .collect();
        let digest = Sha256::digest(&sent);
        let channel = connection.exec("cat").await.unwrap();
        let (mut stdin, mut stdout) = (channel.stdin, channel.stdout);
        let writing = async {
            stdin.write_all(&sent).await.unwrap();
            stdin.shutdown().await.unwrap();
        };
        let mut received = Vec::new();
        let ((), count) = tokio::join!(writing, stdout.read_to_end(&mut received));
        assert_eq!(count.unwrap(), sent.len());
        assert_eq!(Sha256::digest(&received), digest);
        assert_eq!(channel.exit.await, Ok(ExitStatus::Code(0)));
    }

    #[tokio::test]
    async fn dropping_a_channel_kills_its_command_but_not_a_daemon_that_left() {
        let directory = tempfile::tempdir().unwrap();
        let connection = sandbox(directory.path()).await;
        let mut channel = connection
            .exec(
                "mkfifo gone; setsid sh -c 'echo $$ > daemon; exec sleep 60' >/dev/null 2>&1 & \
                 (sleep 60; :) > gone & wait_for() { while [ ! -s $1 ]; do sleep 0.01; done; }; \
                 wait_for daemon; echo ready; sleep 60",
            )
            .await
            .unwrap();
        let root = directory.path().join("web1");
        // The background job opens `gone` once we read it, and the end of it means it died.
        let reader = tokio::spawn({
            let gone = root.join("gone");
            async move {
                while !gone.exists() {
                    tokio::task::yield_now().await;
                }
                tokio::fs::read(gone).await.unwrap()
            }
        });
        let mut ready = [0; 6];
        channel.stdout.read_exact(&mut ready).await.unwrap();
        drop(channel);
        assert!(reader.await.unwrap().is_empty());
        let (alive, ..) = run(
            &connection,
            "kill -0 $(cat daemon) && kill $(cat daemon) && echo alive",
        )
        .await;
        assert_eq!(alive, "alive\n");
    }
}
