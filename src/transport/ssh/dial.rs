//! The byte stream to a server: a TCP connection, a channel through a jump host, or the pipes of
//! a proxy command.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use rustix::net::sockopt::{set_tcp_quickack, set_tcp_user_timeout};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, BufReader, ReadBuf};
use tokio::net::{TcpSocket, TcpStream};
use tokio::process::{ChildStderr, ChildStdin, ChildStdout};
use tokio::sync::oneshot;

use super::super::lifeline::Lifeline;
use super::super::{ExitStatus, local};
use super::forward;
use super::settings::{AddressFamily, Proxy};
use super::{Client, ConnectContext, Failure, Link, Settings, Stage, TransportError};

/// A stream both ways, whatever it is made of.
pub(super) type Stream = Box<dyn Duplex>;

pub(super) trait Duplex: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Duplex for T {}

/// russh reads the length of each packet, then the packet: two calls of the kernel without this.
const READ_AHEAD: usize = 64 << 10;

/// A stream, and the connections that carry it.
pub(super) struct Dialled {
    pub(super) stream: Stream,
    pub(super) jumps: Vec<Client>,
}

/// Opens the stream to the server of `settings`.
pub(super) async fn dial(
    settings: &Settings,
    context: &ConnectContext,
    link: &Link,
) -> Result<Dialled, TransportError> {
    match &settings.proxy {
        Proxy::None => Ok(Dialled {
            stream: Box::new(BufReader::with_capacity(
                READ_AHEAD,
                QuickAck(tcp(settings, link).await?),
            )),
            jumps: Vec::new(),
        }),
        Proxy::Command(command) => Ok(Dialled {
            stream: proxy_command(command, link)?,
            jumps: Vec::new(),
        }),
        Proxy::Jump(jump) => {
            // Boxed, as the jump host may have one of its own.
            let client = Box::pin(super::connect_with(jump, context)).await?;
            let stream = client.forward(settings, link).await?;
            Ok(Dialled {
                stream,
                jumps: vec![client],
            })
        }
    }
}

impl Client {
    /// Opens a stream from this host to the server of `settings`.
    async fn forward(&self, settings: &Settings, link: &Link) -> Result<Stream, TransportError> {
        let port = u32::from(settings.port);
        let opening =
            self.handle
                .channel_open_direct_tcpip(&settings.host_name, port, "127.0.0.1", 0);
        let opened = tokio::time::timeout(settings.timeout, opening)
            .await
            .map_err(|_| link.timeout(Stage::Connect, settings.timeout))?;
        match opened {
            Ok(channel) => Ok(forward::stream(channel)),
            Err(russh::Error::ChannelOpenFailure(reason)) => {
                Err(link.error(Failure::Unreachable {
                    detail: format!(
                        "the jump host `{}` cannot reach it: {}",
                        self.link.peer,
                        reason.description().to_lowercase()
                    ),
                }))
            }
            Err(error) => Err(self.link.broken(Stage::Connect, &error)),
        }
    }
}

async fn tcp(settings: &Settings, link: &Link) -> Result<TcpStream, TransportError> {
    let mut last = None;
    for address in resolve(settings, link).await? {
        let connecting = tcp_to(address, settings);
        match tokio::time::timeout(settings.timeout, connecting).await {
            Ok(Ok(stream)) => return Ok(stream),
            Ok(Err(error)) => last = Some(link.error(tcp_failure(&error))),
            Err(_) => last = Some(link.timeout(Stage::Connect, settings.timeout)),
        }
    }
    Err(last.unwrap_or_else(|| {
        link.error(Failure::Resolve {
            name: settings.host_name.clone(),
            detail: "none of the wanted address family".to_owned(),
        })
    }))
}

async fn resolve(settings: &Settings, link: &Link) -> Result<Vec<SocketAddr>, TransportError> {
    let name = settings.host_name.as_str();
    let looking = tokio::net::lookup_host((name, settings.port));
    let failed = |detail| {
        link.error(Failure::Resolve {
            name: name.to_owned(),
            detail,
        })
    };
    let found = tokio::time::timeout(settings.timeout, looking)
        .await
        .map_err(|_| failed(format!("no answer within {} s", settings.timeout.as_secs())))?
        .map_err(|error| failed(resolver_words(&error)))?;
    let wanted = |address: &SocketAddr| match settings.family {
        AddressFamily::Any => true,
        AddressFamily::V4 => address.is_ipv4(),
        AddressFamily::V6 => address.is_ipv6(),
    };
    Ok(found.filter(wanted).collect())
}

/// Returns what the resolver said, without the library's preamble.
fn resolver_words(error: &io::Error) -> String {
    let text = error.to_string();
    let words = text
        .rsplit_once(": ")
        .map_or(text.as_str(), |(_, words)| words);
    words.to_owned()
}

async fn tcp_to(address: SocketAddr, settings: &Settings) -> io::Result<TcpStream> {
    let socket = if address.is_ipv4() {
        TcpSocket::new_v4()?
    } else {
        TcpSocket::new_v6()?
    };
    if let Some(bind) = settings.bind_address {
        socket.bind(SocketAddr::new(bind, 0))?;
    }
    let stream = socket.connect(address).await?;
    // Requests are small and each is waited for: never hold one back to fill a packet.
    stream.set_nodelay(true)?;
    if settings.alive.is_some() {
        // Keepalive probes cannot be sent behind data that the host never acknowledges.
        let limit = u32::try_from(settings.alive_limit().as_millis()).unwrap_or(u32::MAX);
        set_tcp_user_timeout(&stream, limit)?;
    }
    Ok(stream)
}

fn tcp_failure(error: &io::Error) -> Failure {
    match error.kind() {
        io::ErrorKind::ConnectionRefused => Failure::Refused,
        io::ErrorKind::TimedOut => Failure::Unreachable {
            detail: "the network gave up waiting".to_owned(),
        },
        _ => Failure::Unreachable {
            detail: error_words(error),
        },
    }
}

/// Returns the system's words without the error number.
fn error_words(error: &io::Error) -> String {
    let text = error.to_string();
    let words = text.split(" (os error").next().unwrap_or_default();
    words.to_lowercase()
}

/// A TCP stream that acknowledges at once what it reads. A server that collects small packets
/// (Nagle) would otherwise wait for the delayed acknowledgement: 42 ms, twice a login.
struct QuickAck(TcpStream);

impl AsyncRead for QuickAck {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        // The kernel forgets the wish by and by. It is one: an error changes nothing.
        set_tcp_quickack(&self.0, true).ok();
        Pin::new(&mut self.0).poll_read(context, buffer)
    }
}

impl AsyncWrite for QuickAck {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(context)
    }
}

/// How much of a proxy command's stderr is kept for the error.
const PROXY_WORDS: u64 = 2048;
/// How long a proxy command's last words may take once it has ended; a child it left behind may
/// hold its stderr open for ever.
const LAST_WORDS: Duration = Duration::from_millis(500);

/// Starts the proxy command and speaks through its pipes.
fn proxy_command(command: &str, link: &Link) -> Result<Stream, TransportError> {
    let process = local::Process::start(local::shell(command)).map_err(|error| {
        link.error(Failure::Proxy {
            command: command.to_owned(),
            detail: format!("`/bin/sh` cannot be started: {error}"),
        })
    })?;
    let (lifeline, abandoned) = Lifeline::new();
    let (ended, status) = oneshot::channel();
    let (recorded, end) = oneshot::channel();
    tokio::spawn(process.running.report(abandoned, ended));
    tokio::spawn(record_end(
        command.to_owned(),
        process.stderr,
        status,
        link.clone(),
        recorded,
    ));
    Ok(Box::new(lifeline.hold(ProxyStream {
        pipes: tokio::io::join(process.stdout, process.stdin),
        end: Some(end),
        broken: None,
    })))
}

/// Waits for the proxy command and remembers how it ended. `recorded` is dropped after.
async fn record_end(
    command: String,
    stderr: ChildStderr,
    status: oneshot::Receiver<Option<ExitStatus>>,
    link: Link,
    recorded: oneshot::Sender<()>,
) {
    let words = tokio::spawn(last_words(stderr));
    if let Ok(Some(status)) = status.await {
        let said = tokio::time::timeout(LAST_WORDS, words).await;
        let said = said.ok().and_then(Result::ok).unwrap_or_default();
        let detail = proxy_end(&status, &said);
        link.ended(Failure::Proxy { command, detail });
    }
    drop(recorded);
}

/// Reads all of `stderr` and returns its beginning, as one line.
async fn last_words(mut stderr: ChildStderr) -> String {
    let mut text = Vec::new();
    // After an error there is no more to read: what was read is what there is.
    drop((&mut stderr).take(PROXY_WORDS).read_to_end(&mut text).await);
    drop(tokio::io::copy(&mut stderr, &mut tokio::io::sink()).await);
    let text = String::from_utf8_lossy(&text);
    text.lines()
        .map(str::trim)
        .filter(|line| !line.is_empty())
        .collect::<Vec<_>>()
        .join("; ")
}

fn proxy_end(status: &ExitStatus, said: &str) -> String {
    let ended = match status {
        ExitStatus::Code(code) => format!("it ended with status {code}"),
        ExitStatus::Signal(name) => format!("it was killed by SIG{name}"),
    };
    if said.is_empty() {
        ended
    } else {
        format!("{ended}, saying `{said}`")
    }
}

/// The pipes of a proxy command. End of file and a broken pipe wait until the command's end is
/// on record, so that the error can tell it.
struct ProxyStream {
    pipes: tokio::io::Join<ChildStdout, ChildStdin>,
    /// Gone once the end is on record.
    end: Option<oneshot::Receiver<()>>,
    /// Writing has failed with this.
    broken: Option<io::ErrorKind>,
}

impl ProxyStream {
    fn poll_end(&mut self, context: &mut Context<'_>) -> Poll<()> {
        if let Some(end) = &mut self.end {
            // The sender is dropped, never used.
            drop(std::task::ready!(Pin::new(end).poll(context)));
            self.end = None;
        }
        Poll::Ready(())
    }
}

impl AsyncRead for ProxyStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        std::task::ready!(Pin::new(&mut self.pipes).poll_read(context, buffer))?;
        if buffer.filled().len() == before {
            return self.poll_end(context).map(Ok);
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for ProxyStream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        if self.broken.is_none() {
            match std::task::ready!(Pin::new(&mut self.pipes).poll_write(context, bytes)) {
                Ok(count) => return Poll::Ready(Ok(count)),
                Err(error) => self.broken = Some(error.kind()),
            }
        }
        let kind = self.broken.unwrap_or(io::ErrorKind::BrokenPipe);
        self.poll_end(context).map(|()| Err(io::Error::from(kind)))
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.pipes).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.pipes).poll_shutdown(context)
    }
}
