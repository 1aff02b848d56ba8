//! Connections that the HTTP client has no words for: a unix socket, and plain HTTP through a
//! proxy, which wants the whole URL in the request line.

use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream, ToSocketAddrs};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::time::Duration;

use ureq::config::Config;
use ureq::http::Uri;
use ureq::unversioned::resolver::{ResolvedSocketAddrs, Resolver};
use ureq::unversioned::transport::{
    Buffers, ConnectionDetails, Connector, LazyBuffers, NextTimeout, Transport,
};

/// Where to connect to, whatever the URL says.
#[derive(Clone, Debug)]
pub(super) enum Dial {
    Unix(PathBuf),
    /// A proxy, as `host:port`.
    Proxy(String),
}

impl Connector<()> for Dial {
    type Out = Socket;

    fn connect(
        &self,
        details: &ConnectionDetails<'_>,
        _: Option<()>,
    ) -> Result<Option<Socket>, ureq::Error> {
        let limit = details.timeout.not_zero().map(|limit| *limit);
        let (stream, prefix) = match self {
            Self::Unix(path) => (Stream::Unix(UnixStream::connect(path)?), None),
            Self::Proxy(address) => {
                let authority = details.uri.authority().map_or("", |whole| whole.as_str());
                let stream = Stream::Tcp(dial(address, limit)?);
                (stream, Some(format!("http://{authority}")))
            }
        };
        let config = details.config;
        Ok(Some(Socket {
            stream,
            prefix,
            buffers: LazyBuffers::new(config.input_buffer_size(), config.output_buffer_size()),
        }))
    }
}

fn dial(address: &str, limit: Option<Duration>) -> io::Result<TcpStream> {
    let mut last = io::Error::new(io::ErrorKind::NotFound, "the proxy's name is not known");
    for address in address.to_socket_addrs()? {
        let connected = match limit {
            Some(limit) => TcpStream::connect_timeout(&address, limit),
            None => TcpStream::connect(address),
        };
        match connected {
            Ok(stream) => return Ok(stream),
            Err(error) => last = error,
        }
    }
    Err(last)
}

/// Resolves nothing: where to connect to is known.
#[derive(Debug)]
pub(super) struct NoResolver;

impl Resolver for NoResolver {
    fn resolve(
        &self,
        _: &Uri,
        _: &Config,
        _: NextTimeout,
    ) -> Result<ResolvedSocketAddrs, ureq::Error> {
        let mut addresses = self.empty();
        addresses.push(SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0));
        Ok(addresses)
    }
}

/// A connection.
pub(super) struct Socket {
    stream: Stream,
    /// What the request line's path is to start with, until it was sent.
    prefix: Option<String>,
    buffers: LazyBuffers,
}

enum Stream {
    Unix(UnixStream),
    Tcp(TcpStream),
}

impl Stream {
    fn set_timeouts(&self, limit: Option<Duration>) -> io::Result<()> {
        match self {
            Self::Unix(stream) => {
                stream.set_read_timeout(limit)?;
                stream.set_write_timeout(limit)
            }
            Self::Tcp(stream) => {
                stream.set_read_timeout(limit)?;
                stream.set_write_timeout(limit)
            }
        }
    }

    fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        match self {
            Self::Unix(stream) => stream.write_all(bytes),
            Self::Tcp(stream) => stream.write_all(bytes),
        }
    }

    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Unix(stream) => stream.read(bytes),
            Self::Tcp(stream) => stream.read(bytes),
        }
    }
}

impl Transport for Socket {
    fn buffers(&mut self) -> &mut dyn Buffers {
        &mut self.buffers
    }

    fn transmit_output(&mut self, amount: usize, timeout: NextTimeout) -> Result<(), ureq::Error> {
        self.stream
            .set_timeouts(timeout.not_zero().map(|limit| *limit))?;
        let output = &self.buffers.output()[..amount];
        let start = output.iter().position(|byte| *byte == b' ');
        match (self.prefix.take(), start) {
            (Some(prefix), Some(blank)) => {
                let (method, path) = output.split_at(blank + 1);
                let request = [method, prefix.as_bytes(), path].concat();
                self.stream.write_all(&request)?;
            }
            _ => self.stream.write_all(output)?,
        }
        Ok(())
    }

    fn await_input(&mut self, timeout: NextTimeout) -> Result<bool, ureq::Error> {
        self.stream
            .set_timeouts(timeout.not_zero().map(|limit| *limit))?;
        let count =
            self.stream
                .read(self.buffers.input_append_buf())
                .map_err(|error| match error.kind() {
                    io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => {
                        ureq::Error::Timeout(timeout.reason)
                    }
                    _ => ureq::Error::Io(error),
                })?;
        self.buffers.input_appended(count);
        Ok(count > 0)
    }

    fn is_open(&mut self) -> bool {
        // Each request has its own client, so no connection is used twice.
        false
    }
}

impl std::fmt::Debug for Socket {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self.stream {
            Stream::Unix(_) => "a unix socket",
            Stream::Tcp(_) => "a proxy",
        })
    }
}
