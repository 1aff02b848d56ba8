//! One command on an SSH connection: a task moves what arrives for it into bounded queues that
//! the channel's streams read, and closes the channel when nobody holds it any more.
//!
//! Knows the protocol's channel messages, nothing of logins.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use russh::client::Msg;
use russh::{ChannelMsg, ChannelReadHalf, ChannelWriteHalf, Sig};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::runtime::Handle;
use tokio::sync::{mpsc, oneshot};

use super::super::lifeline::{Abandoned, Lifeline};
use super::super::{Channel, ExitStatus, Failure, Stage, TransportError};
use super::Link;

/// Chunks (of up to 32 KiB) an output may hold before its reader has to take one.
const QUEUE: usize = 32;
/// The protocol's number of the stderr stream.
const STDERR: u32 = 1;

/// Serves `channel`, whose command has been asked for, after a terminal if `terminal`.
pub(super) fn serve(channel: russh::Channel<Msg>, terminal: bool, link: Link) -> Channel {
    let (read, write) = channel.split();
    let write = Arc::new(write);
    let (lifeline, abandoned) = Lifeline::new();
    let (stdout, stdout_queue) = mpsc::channel(QUEUE);
    let (stderr, stderr_queue) = mpsc::channel(QUEUE);
    let (exit, status) = oneshot::channel();
    let (open, closed) = oneshot::channel();
    let stdin = Stdin {
        writer: write.make_writer(),
        open: Some(closed),
        unended: Some(Arc::clone(&write)),
    };
    let pump = Pump {
        stdout: Some(stdout),
        stderr: Some(stderr),
        exit: Some(exit),
        awaits_terminal: terminal,
        link: link.clone(),
        _open: open,
    };
    tokio::spawn(pump.run(read, write, abandoned));
    let exit = Box::pin(async move {
        status
            .await
            .unwrap_or_else(|_| Err(link.lost(Stage::Running)))
    });
    Channel {
        stdin: Box::new(lifeline.hold(stdin)),
        stdout: Box::new(lifeline.hold(ChunkReader::new(stdout_queue))),
        stderr: Box::new(lifeline.hold(ChunkReader::new(stderr_queue))),
        exit: Box::pin(lifeline.hold(exit)),
    }
}

/// The receiving end.
struct Pump {
    stdout: Option<mpsc::Sender<ChannelMsg>>,
    stderr: Option<mpsc::Sender<ChannelMsg>>,
    exit: Option<oneshot::Sender<Result<ExitStatus, TransportError>>>,
    /// The next answer is about the terminal, not the command.
    awaits_terminal: bool,
    link: Link,
    /// Dropped with the pump, which tells a blocked writer that nobody will take its bytes.
    _open: oneshot::Sender<()>,
}

impl Pump {
    async fn run(
        mut self,
        mut read: ChannelReadHalf,
        write: Arc<ChannelWriteHalf<Msg>>,
        mut abandoned: Abandoned,
    ) {
        loop {
            let message = tokio::select! {
                message = read.wait() => message,
                () = &mut abandoned => break,
            };
            match message {
                Some(ChannelMsg::Close) => break,
                Some(message) => self.take(message).await,
                None => {
                    self.finish(Err(self.link.lost(Stage::Running)));
                    return;
                }
            }
        }
        // An error means that the connection is gone, and the channel with it.
        drop(write.close().await);
        self.finish(Err(self.link.error(Failure::Channel {
            detail: "the command ended without a status".to_owned(),
        })));
    }

    async fn take(&mut self, message: ChannelMsg) {
        match message {
            ChannelMsg::Data { .. } => queue(&mut self.stdout, message).await,
            ChannelMsg::ExtendedData { ext: STDERR, .. } => {
                queue(&mut self.stderr, message).await;
            }
            ChannelMsg::Eof => {
                self.stdout = None;
                self.stderr = None;
            }
            ChannelMsg::ExitStatus { exit_status } => {
                self.finish(Ok(ExitStatus::Code(exit_status)));
            }
            ChannelMsg::ExitSignal { signal_name, .. } => {
                self.finish(Ok(ExitStatus::Signal(sig_name(signal_name))));
            }
            ChannelMsg::Success => self.awaits_terminal = false,
            ChannelMsg::Failure => {
                let what = if self.awaits_terminal {
                    "the server gives no terminal"
                } else {
                    "the server refuses to run commands for this user"
                };
                self.finish(Err(self.link.error(Failure::Channel {
                    detail: what.to_owned(),
                })));
            }
            _ => {}
        }
    }

    fn finish(&mut self, status: Result<ExitStatus, TransportError>) {
        if let Some(exit) = self.exit.take() {
            // Nobody may be waiting for the status.
            drop(exit.send(status));
        }
    }
}

/// Hands `message` to a reader, which is forgotten once it is gone.
async fn queue(sender: &mut Option<mpsc::Sender<ChannelMsg>>, message: ChannelMsg) {
    let Some(open) = sender else { return };
    if open.send(message).await.is_err() {
        *sender = None;
    }
}

fn sig_name(signal: Sig) -> String {
    match signal {
        Sig::Custom(name) => name,
        known => format!("{known:?}"),
    }
}

/// The command's stdin: fails, rather than waiting for ever, once the channel is closed.
struct Stdin<W> {
    writer: W,
    /// Gone once the channel is closed.
    open: Option<oneshot::Receiver<()>>,
    /// Gone once the end of file was sent, which is also due when the stream is dropped.
    unended: Option<Arc<ChannelWriteHalf<Msg>>>,
}

impl<W> Drop for Stdin<W> {
    fn drop(&mut self) {
        // Without a runtime there is no connection any more to send on.
        if let (Some(write), Ok(runtime)) = (self.unended.take(), Handle::try_current()) {
            runtime.spawn(async move { write.eof().await });
        }
    }
}

impl<W> Stdin<W> {
    fn check(&mut self, context: &mut Context<'_>) -> io::Result<()> {
        if let Some(open) = &mut self.open
            && Pin::new(open).poll(context).is_pending()
        {
            return Ok(());
        }
        self.open = None;
        self.unended = None;
        Err(io::Error::from(io::ErrorKind::BrokenPipe))
    }
}

impl<W: AsyncWrite + Unpin> AsyncWrite for Stdin<W> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.check(context)?;
        if bytes.is_empty() {
            return Poll::Ready(Ok(0));
        }
        Pin::new(&mut self.writer).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.writer).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.check(context).is_err() {
            return Poll::Ready(Ok(()));
        }
        std::task::ready!(Pin::new(&mut self.writer).poll_shutdown(context))?;
        self.unended = None;
        Poll::Ready(Ok(()))
    }
}

/// Reads the bytes of queued data messages.
struct ChunkReader {
    queue: mpsc::Receiver<ChannelMsg>,
    /// The message being read and how many of its bytes were taken.
    current: Option<(ChannelMsg, usize)>,
}

impl ChunkReader {
    fn new(queue: mpsc::Receiver<ChannelMsg>) -> Self {
        Self {
            queue,
            current: None,
        }
    }
}

impl AsyncRead for ChunkReader {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        loop {
            if let Some((ChannelMsg::Data { data } | ChannelMsg::ExtendedData { data, .. }, taken)) =
                &mut self.current
                && *taken < data.len()
            {
                let count = buffer.remaining().min(data.len() - *taken);
                buffer.put_slice(&data[*taken..*taken + count]);
                *taken += count;
                return Poll::Ready(Ok(()));
            }
            match std::task::ready!(self.queue.poll_recv(context)) {
                Some(message) => self.current = Some((message, 0)),
                None => return Poll::Ready(Ok(())),
            }
        }
    }
}
