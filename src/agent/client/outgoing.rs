//! What goes to the agent: whole frames in one queue, written by whoever waits.
//!
//! The tasks of a host and its heartbeats share it, so no frame is ever cut by another. A writer
//! that is dropped half way leaves the rest in the queue, for the next one to finish.

use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use tokio::io::{AsyncWrite, AsyncWriteExt};

use super::Output;
use crate::agent::frame::Frame;

/// The way out; clones share it.
#[derive(Clone)]
pub(super) struct Outgoing(Arc<Mutex<Outbox>>);

struct Outbox {
    output: Option<Output>,
    /// Frames that are queued; those before `written` are on their way.
    queue: Vec<u8>,
    written: usize,
    is_flushed: bool,
    /// Who waits for the stream beside the last one, whom the stream itself wakes.
    waiting: Vec<Waker>,
}

impl Outgoing {
    pub(super) fn new(output: Output) -> Self {
        Self(Arc::new(Mutex::new(Outbox {
            output: Some(output),
            queue: Vec::new(),
            written: 0,
            is_flushed: true,
            waiting: Vec::new(),
        })))
    }

    pub(super) fn queue(&self, frame: &Frame) {
        let mut outbox = self.lock();
        if outbox.written == outbox.queue.len() {
            outbox.queue.clear();
            outbox.written = 0;
        }
        frame.encode(&mut outbox.queue);
        outbox.is_flushed = false;
    }

    /// Tells whether everything queued is written.
    pub(super) fn is_flushed(&self) -> bool {
        self.lock().is_flushed
    }

    /// Writes what is queued. An agent that takes no more is no error here: why it went away is
    /// what it says, or has said, on the other streams.
    pub(super) async fn flush(&self) {
        std::future::poll_fn(|context| self.lock().poll_flush(context)).await;
    }

    /// Writes what is queued, and says that nothing more will come.
    pub(super) async fn close(&self) -> io::Result<()> {
        self.flush().await;
        let Some(mut output) = self.lock().output.take() else {
            return Ok(());
        };
        // A pipe ends only when it is dropped.
        output.shutdown().await
    }

    /// Ends the stream without another word.
    pub(super) fn abandon(&self) {
        let mut outbox = self.lock();
        outbox.output = None;
        outbox.give_up();
    }

    fn lock(&self) -> MutexGuard<'_, Outbox> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Outbox {
    fn poll_flush(&mut self, context: &mut Context<'_>) -> Poll<()> {
        let polled = self.poll_write(context);
        if polled.is_pending() {
            let waker = context.waker();
            if !self.waiting.iter().any(|known| known.will_wake(waker)) {
                self.waiting.push(waker.clone());
            }
        }
        polled
    }

    fn poll_write(&mut self, context: &mut Context<'_>) -> Poll<()> {
        while !self.is_flushed {
            let Some(output) = &mut self.output else {
                self.give_up();
                break;
            };
            let rest = &self.queue[self.written..];
            let step = if rest.is_empty() {
                Pin::new(output).poll_flush(context).map_ok(|()| None)
            } else {
                Pin::new(output).poll_write(context, rest).map_ok(Some)
            };
            match step {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Ok(None)) => self.is_flushed = true,
                Poll::Ready(Ok(Some(count @ 1..))) => self.written += count,
                Poll::Ready(Ok(Some(0)) | Err(_)) => self.give_up(),
            }
            self.waiting.drain(..).for_each(Waker::wake);
        }
        Poll::Ready(())
    }

    fn give_up(&mut self) {
        self.written = self.queue.len();
        self.is_flushed = true;
        self.waiting.drain(..).for_each(Waker::wake);
    }
}
