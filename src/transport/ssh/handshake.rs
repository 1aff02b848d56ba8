//! Banner, key exchange and the host key check: everything before the login, within one limit.

use std::borrow::Cow;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use russh::client::{ChannelOpenHandle, Config, DisconnectReason, Handle, Handler, Msg, Session};
use russh::keys::PublicKeyOrCertificate;
use russh::{Channel, SshId, cipher};
use tokio::io::copy_bidirectional;
use tokio::net::UnixStream;

use super::TransportError;
use super::dial::Stream;
use super::host_key::{Acceptance, Trust};
use super::{Failure, Link, Settings, Stage};

/// What each side may send before it waits for the other to make room: at 100 ms round trip
/// this still carries 40 MB/s.
const WINDOW: u32 = 4 << 20;
/// What OpenSSH sends and takes at most in one packet.
const PACKET: u32 = 32 << 10;
/// Messages of a channel that wait for its task.
const CHANNEL_BUFFER: usize = 16;

/// Exchanges keys over `stream` and accepts or refuses the server's host key.
pub(super) async fn shake_hands(
    settings: &Settings,
    stream: Stream,
    link: &Link,
) -> Result<(Handle<Verifier>, Acceptance), TransportError> {
    let verdict = Arc::new(Mutex::new(None));
    let verifier = Verifier {
        trust: Arc::clone(&settings.trust),
        known_name: settings.known_name(),
        ciphers_chosen: settings.ciphers_chosen,
        verdict: Arc::clone(&verdict),
        link: link.clone(),
        alive: settings.alive_limit(),
        forwarded_agent: settings.forwarded_agent.clone(),
    };
    let shaking = russh::client::connect_stream(config(settings), stream, verifier);
    let outcome = tokio::time::timeout(settings.timeout, shaking)
        .await
        .map_err(|_| link.timeout(Stage::Handshake, settings.timeout))?;
    let verdict = verdict
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .take();
    match (verdict, outcome) {
        (Some(Err(failure)), _) => Err(link.error(failure)),
        (Some(Ok(acceptance)), Ok(handle)) => Ok((handle, acceptance)),
        (_, Err(error)) => Err(link.broken(Stage::Handshake, &error)),
        (None, Ok(_)) => Err(link.error(Failure::Protocol {
            detail: "the server showed no host key".to_owned(),
        })),
    }
}

fn config(settings: &Settings) -> Arc<Config> {
    let (interval, count) = settings.alive.unzip();
    Arc::new(Config {
        client_id: SshId::Standard(Cow::Borrowed(concat!(
            "SSH-2.0-backstay_",
            env!("CARGO_PKG_VERSION")
        ))),
        window_size: WINDOW,
        maximum_packet_size: PACKET,
        channel_buffer_size: CHANNEL_BUFFER,
        preferred: settings.algorithms.clone(),
        keepalive_interval: interval,
        keepalive_max: count.unwrap_or_default(),
        ..Config::default()
    })
}

/// What became of the host key check, for the one who waits for the handshake.
type Verdict = Option<Result<Acceptance, Failure>>;

/// Answers russh's questions about one connection.
pub(super) struct Verifier {
    trust: Arc<Trust>,
    known_name: String,
    /// The user named the ciphers, and so answers for them.
    ciphers_chosen: bool,
    verdict: Arc<Mutex<Verdict>>,
    link: Link,
    /// How long the server may be silent before keepalive gives up.
    alive: Duration,
    /// The agent the server may ask, if the user said so.
    forwarded_agent: Option<PathBuf>,
}

impl Verifier {
    fn decide(&self, verdict: Result<Acceptance, Failure>) {
        *self.verdict.lock().unwrap_or_else(PoisonError::into_inner) = Some(verdict);
    }
}

impl Handler for Verifier {
    type Error = russh::Error;

    async fn check_server_key(
        &mut self,
        shown: &PublicKeyOrCertificate,
    ) -> Result<bool, Self::Error> {
        let verdict = self.trust.judge(&self.known_name, shown);
        let accepted = verdict.is_ok();
        self.decide(verdict.map_err(Failure::HostKey));
        Ok(accepted)
    }

    /// Refuses what CVE-2023-48795 (Terrapin) needs: a cipher it works on and a server that
    /// does not speak the strict key exchange against it.
    async fn kex_done(
        &mut self,
        _shared_secret: Option<&[u8]>,
        names: &russh::Names,
        _session: &mut Session,
    ) -> Result<(), Self::Error> {
        if names.strict_kex() || self.ciphers_chosen || names.cipher != cipher::CHACHA20_POLY1305 {
            return Ok(());
        }
        self.decide(Err(Failure::Protocol {
            detail: "it offers only a cipher that needs the strict key exchange \
                     (CVE-2023-48795), which it does not know"
                .to_owned(),
        }));
        Err(russh::Error::Kex)
    }

    /// Connects a channel to the agent, if it was forwarded.
    async fn server_channel_open_agent_forward(
        &mut self,
        channel: Channel<Msg>,
        reply: ChannelOpenHandle,
        _session: &mut Session,
    ) -> Result<(), Self::Error> {
        if let Some(socket) = &self.forwarded_agent
            && let Ok(mut agent) = UnixStream::connect(socket).await
        {
            reply.accept().await;
            tokio::spawn(async move {
                let mut channel = channel.into_stream();
                // Either side may hang up at any time.
                copy_bidirectional(&mut channel, &mut agent).await.ok();
            });
        }
        Ok(())
    }

    // Nothing else was forwarded, so the server has no business opening the channels below: to
    // drop the reply refuses them, while russh itself would accept.

    async fn server_channel_open_session(
        &mut self,
        _channel: Channel<Msg>,
        _reply: ChannelOpenHandle,
        _session: &mut Session,
    ) -> Result<(), Self::Error> {
        Ok(())
    }

    async fn server_channel_open_forwarded_tcpip(
        &mut self,
        _channel: Channel<Msg>,
        _connected_address: &str,
        _connected_port: u32,
        _originator_address: &str,
        _originator_port: u32,
        _reply: ChannelOpenHandle,
        _session: &mut Session,
    ) -> Result<(), Self::Error> {
        Ok(())
    }

    async fn server_channel_open_direct_tcpip(
        &mut self,
        _channel: Channel<Msg>,
        _host: &str,
        _port: u32,
        _originator_address: &str,
        _originator_port: u32,
        _reply: ChannelOpenHandle,
        _session: &mut Session,
    ) -> Result<(), Self::Error> {
        Ok(())
    }

    async fn server_channel_open_forwarded_streamlocal(
        &mut self,
        _channel: Channel<Msg>,
        _socket_path: &str,
        _reply: ChannelOpenHandle,
        _session: &mut Session,
    ) -> Result<(), Self::Error> {
        Ok(())
    }

    async fn server_channel_open_direct_streamlocal(
        &mut self,
        _channel: Channel<Msg>,
        _socket_path: &str,
        _reply: ChannelOpenHandle,
        _session: &mut Session,
    ) -> Result<(), Self::Error> {
        Ok(())
    }

    async fn server_channel_open_x11(
        &mut self,
        _channel: Channel<Msg>,
        _originator_address: &str,
        _originator_port: u32,
        _reply: ChannelOpenHandle,
        _session: &mut Session,
    ) -> Result<(), Self::Error> {
        Ok(())
    }

    /// Remembers why the connection ended, for the errors of whatever was under way.
    async fn disconnected(
        &mut self,
        reason: DisconnectReason<Self::Error>,
    ) -> Result<(), Self::Error> {
        let stage = Stage::Running;
        self.link.ended(match reason {
            DisconnectReason::ReceivedDisconnect(info) => Failure::Closed {
                stage,
                said: Some(info.message).filter(|text| !text.is_empty()),
            },
            // How russh ends when a refusal leaves no method; the login knows what was tried.
            DisconnectReason::Error(russh::Error::NoAuthMethod) => Failure::no_method_left(),
            DisconnectReason::Error(russh::Error::KeepaliveTimeout) => Failure::Timeout {
                stage: Stage::Keepalive,
                after: self.alive,
            },
            DisconnectReason::Error(error) => self.link.broken(stage, &error).failure,
        });
        Ok(())
    }
}
