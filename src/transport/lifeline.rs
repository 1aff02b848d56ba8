//! Ties the life of a command to the parts of its channel: when the last part is dropped, the
//! task that serves the command hears of it.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::oneshot;

/// One strand; clones are held by the parts of a channel.
#[derive(Clone)]
pub(super) struct Lifeline {
    _sender: Arc<oneshot::Sender<()>>,
}

/// Resolves when every clone of the lifeline is gone.
pub(super) struct Abandoned(oneshot::Receiver<()>);

impl Lifeline {
    pub(super) fn new() -> (Self, Abandoned) {
        let (sender, receiver) = oneshot::channel();
        let lifeline = Self {
            _sender: Arc::new(sender),
        };
        (lifeline, Abandoned(receiver))
    }

    /// Returns `inner`, which holds this strand as long as it lives.
    pub(super) fn hold<T>(&self, inner: T) -> Held<T> {
        Held {
            inner,
            _lifeline: self.clone(),
        }
    }
}

impl Future for Abandoned {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        Pin::new(&mut self.0).poll(context).map(|_| ())
    }
}

/// A stream or future that keeps its command alive.
pub(super) struct Held<T> {
    inner: T,
    _lifeline: Lifeline,
}

impl<T: AsyncRead + Unpin> AsyncRead for Held<T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_read(context, buffer)
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Held<T> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(context)
    }
}

impl<T: Future + Unpin> Future for Held<T> {
    type Output = T::Output;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<T::Output> {
        Pin::new(&mut self.inner).poll(context)
    }
}
