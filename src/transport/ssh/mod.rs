//! The SSH client: settles how a host is to be reached, dials it (directly, through jump hosts or
//! a proxy command), checks its host key, logs in, and runs commands on channels.
//!
//! The protocol itself is russh's.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use russh::client::Handle;
use russh::{Disconnect, Pty};

mod algorithms;
mod arguments;
mod auth;
mod candidates;
mod channel;
mod config;
mod dial;
mod forward;
mod handshake;
mod host_key;
mod identity;
mod known_hosts;
mod options;
mod pattern;
mod settings;
mod signer;
mod tokens;

pub use identity::KeyRing;
pub(super) use settings::Settings;

use super::{Channel, ConnectContext, Endpoint, Failure, Stage, Terminal, TransportError};
use handshake::Verifier;

/// The longest pause between two attempts.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// Connects to an SSH endpoint and logs in.
pub(super) async fn connect(
    endpoint: &Endpoint,
    context: &ConnectContext,
) -> Result<Client, TransportError> {
    let settings = Settings::resolve(endpoint, context).await?;
    connect_with(&settings, context).await
}

/// Connects as `settings` say, trying again while the host does not answer.
pub(super) async fn connect_with(
    settings: &Settings,
    context: &ConnectContext,
) -> Result<Client, TransportError> {
    let mut attempt = 1;
    loop {
        match attempt_once(settings, context).await {
            Err(error) if error.is_transient() && attempt < settings.attempts => {
                tokio::time::sleep(pause_after(attempt)).await;
                attempt += 1;
            }
            outcome => return outcome,
        }
    }
}

/// Ansible's pauses: 1, 3, 7, 15, then 30 seconds.
fn pause_after(attempt: u32) -> Duration {
    let seconds = 2u64.saturating_pow(attempt) - 1;
    Duration::from_secs(seconds).min(LONGEST_PAUSE)
}

async fn attempt_once(
    settings: &Settings,
    context: &ConnectContext,
) -> Result<Client, TransportError> {
    let link = Link::new(settings);
    let dialled = dial::dial(settings, context, &link).await?;
    let (mut handle, acceptance) = handshake::shake_hands(settings, dialled.stream, &link).await?;
    auth::log_in(&mut handle, acceptance, settings, context, &link).await?;
    Ok(Client {
        handle,
        link,
        timeout: settings.login_timeout(),
        warnings: settings.warnings.clone(),
        forwards_agent: settings.forwarded_agent.is_some(),
        _jumps: dialled.jumps,
    })
}

/// A logged-in SSH connection.
pub(super) struct Client {
    handle: Handle<Verifier>,
    link: Link,
    /// How long a channel may take to open.
    timeout: Duration,
    warnings: Vec<String>,
    forwards_agent: bool,
    /// The connections this one runs through; they must outlive it.
    _jumps: Vec<Client>,
}

impl std::fmt::Debug for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Client")
            .field("peer", &self.link.peer)
            .finish_non_exhaustive()
    }
}

impl Client {
    pub(super) fn warnings(&self) -> &[String] {
        &self.warnings
    }

    /// Runs `command` on a channel of its own. Returns as soon as the channel is open: whether
    /// the server starts the command shows in the exit status.
    pub(super) async fn exec(
        &self,
        command: &str,
        terminal: Option<Terminal>,
    ) -> Result<Channel, TransportError> {
        let channel = tokio::time::timeout(self.timeout, self.open(command, terminal))
            .await
            .map_err(|_| self.link.timeout(Stage::Channel, self.timeout))??;
        Ok(channel::serve(
            channel,
            terminal.is_some(),
            self.link.clone(),
        ))
    }

    async fn open(
        &self,
        command: &str,
        terminal: Option<Terminal>,
    ) -> Result<russh::Channel<russh::client::Msg>, TransportError> {
        let failed = |error| self.link.broken(Stage::Channel, &error);
        let channel = self.handle.channel_open_session().await.map_err(failed)?;
        if let Some(Terminal { columns, rows }) = terminal {
            let modes = [(Pty::ECHO, 0)];
            channel
                .request_pty(true, "dumb", columns, rows, 0, 0, &modes)
                .await
                .map_err(failed)?;
        }
        if self.forwards_agent {
            channel.agent_forward(false).await.map_err(failed)?;
        }
        channel.exec(true, command).await.map_err(failed)?;
        Ok(channel)
    }

    pub(super) fn is_open(&self) -> bool {
        !self.handle.is_closed()
    }

    pub(super) async fn close(self) {
        // An error means that the connection is gone already.
        drop(
            self.handle
                .disconnect(Disconnect::ByApplication, "", "en")
                .await,
        );
        drop(self.handle.await);
    }
}

/// What is known of one connection, shared by its tasks: whom errors speak of, and why the
/// connection ended when it has.
#[derive(Clone)]
pub(super) struct Link {
    host: Arc<str>,
    peer: Arc<str>,
    jump: Option<String>,
    end: Arc<Mutex<Option<Failure>>>,
}

impl Link {
    fn new(settings: &Settings) -> Self {
        Self {
            host: Arc::clone(&settings.name),
            peer: Arc::from(settings.peer()),
            jump: settings.jump.clone(),
            end: Arc::new(Mutex::new(None)),
        }
    }

    /// Remembers why the connection ended; the first reason stays.
    fn ended(&self, failure: Failure) {
        let mut end = self.end.lock().unwrap_or_else(PoisonError::into_inner);
        end.get_or_insert(failure);
    }

    fn error(&self, failure: Failure) -> TransportError {
        TransportError {
            host: Arc::clone(&self.host),
            peer: self.peer.to_string(),
            jump: self.jump.clone(),
            failure,
        }
    }

    fn timeout(&self, stage: Stage, after: Duration) -> TransportError {
        self.error(Failure::Timeout { stage, after })
    }

    /// Returns the error of a connection that ended: the reason it gave, if any.
    fn lost(&self, stage: Stage) -> TransportError {
        let end = self
            .end
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        let failure = match end {
            Some(Failure::Closed { said, .. }) => Failure::Closed { stage, said },
            Some(failure) => failure,
            None => Failure::Closed { stage, said: None },
        };
        self.error(failure)
    }

    /// Returns what `error` of russh means at `stage`.
    fn broken(&self, stage: Stage, error: &russh::Error) -> TransportError {
        use russh::Error as E;
        let failure = match error {
            E::Disconnect | E::HUP | E::SendError | E::RecvError | E::IO(_) => {
                return self.lost(stage);
            }
            E::NoCommonAlgo { kind, ours, theirs } => Failure::Algorithms {
                kind: algorithm_kind(kind),
                ours: ours.clone(),
                theirs: theirs.clone(),
            },
            E::ChannelOpenFailure(reason) => Failure::Channel {
                detail: reason.description().to_lowercase(),
            },
            other => Failure::Protocol {
                detail: other.to_string().to_lowercase(),
            },
        };
        self.error(failure)
    }
}

fn algorithm_kind(kind: &russh::AlgorithmKind) -> &'static str {
    match kind {
        russh::AlgorithmKind::Kex => "key exchange",
        russh::AlgorithmKind::Key => "host key algorithm",
        russh::AlgorithmKind::Cipher => "cipher",
        russh::AlgorithmKind::Compression => "compression",
        russh::AlgorithmKind::Mac => "MAC",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_between_attempts_grow_as_ansibles_do() {
        let pauses: Vec<u64> = (1..=6).map(|n| pause_after(n).as_secs()).collect();
        assert_eq!(pauses, [1, 3, 7, 15, 30, 30]);
        assert_eq!(pause_after(u32::MAX), LONGEST_PAUSE);
    }
}
