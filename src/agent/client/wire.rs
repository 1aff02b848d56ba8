//! Frames over the two streams, safe to drop and take up again at any await.

use std::collections::VecDeque;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, ReadBuf};
use tokio::time::Instant;

use super::outgoing::Outgoing;
use super::{AgentError, Input, Output};
use crate::agent::frame::{Decoder, Frame};
use crate::agent::protocol::{ToAgent, ToController, control};

/// How long an agent may take to go. One behind a terminal (`doas` asks for its password there) never
/// hears that nothing more comes; the end of its channel hangs it up.
const FAREWELL: Duration = Duration::from_secs(1);

/// What the agent sent.
#[derive(Debug)]
pub(super) enum Incoming {
    Message(ToController),
    Chunk { stream: u64, bytes: Vec<u8> },
}

impl Incoming {
    /// Names the message for an error.
    pub(super) fn name(&self) -> String {
        let name = match self {
            Self::Chunk { .. } => "content",
            Self::Message(ToController::Hello { .. }) => "a greeting",
            Self::Message(ToController::Reply { .. }) => "a reply",
            Self::Message(ToController::Need { .. }) => "a wish for content",
            Self::Message(ToController::Credit { .. }) => "credit",
            Self::Message(ToController::Sending { .. } | ToController::Sent { .. }) => "a file",
            Self::Message(ToController::Transaction { .. }) => "an answer of a transaction",
            Self::Message(ToController::Heartbeat) => "a sign of life",
        };
        name.to_owned()
    }
}

pub(super) struct Wire {
    input: Input,
    outgoing: Outgoing,
    decoder: Decoder,
    buffer: Box<[u8]>,
    last_words: LastWords,
    /// How long the agent may be silent; it is asked for signs of life then.
    patience: Option<Duration>,
    heard: Instant,
}

impl Drop for Wire {
    fn drop(&mut self) {
        self.outgoing.abandon();
    }
}

impl Wire {
    pub(super) fn new(
        input: Input,
        output: Output,
        errors: Option<Input>,
        received: &[u8],
    ) -> Self {
        let mut decoder = Decoder::default();
        decoder.push(received);
        let last_words = LastWords::default();
        if let Some(errors) = errors {
            tokio::spawn(last_words.clone().listen(errors));
        }
        Self {
            input,
            outgoing: Outgoing::new(output),
            decoder,
            buffer: vec![0; 64 * 1024].into(),
            last_words,
            patience: None,
            heard: Instant::now(),
        }
    }

    /// Returns the way out, for what is sent beside the requests.
    pub(super) fn outgoing(&self) -> Outgoing {
        self.outgoing.clone()
    }

    /// From now on an agent that is silent for `patience` is lost; `None` waits for ever.
    pub(super) fn expect_signs_of_life(&mut self, patience: Option<Duration>) {
        self.patience = patience;
    }

    /// Tells, without waiting, whether the other end is still there as far as is known here.
    pub(super) fn is_open(&mut self) -> bool {
        let mut context = Context::from_waker(Waker::noop());
        loop {
            let mut room = ReadBuf::new(&mut self.buffer);
            match Pin::new(&mut self.input).poll_read(&mut context, &mut room) {
                Poll::Pending => return true,
                Poll::Ready(Ok(())) if !room.filled().is_empty() => {
                    self.decoder.push(room.filled());
                }
                Poll::Ready(_) => return false,
            }
        }
    }

    pub(super) fn queue(&mut self, message: &ToAgent) -> Result<(), AgentError> {
        let frame = control(message).map_err(AgentError::Request)?;
        self.queue_frame(&frame);
        Ok(())
    }

    pub(super) fn queue_frame(&mut self, frame: &Frame) {
        self.outgoing.queue(frame);
    }

    /// Waits for the next message, writing what is queued meanwhile.
    pub(super) async fn next_message(&mut self) -> Result<Incoming, AgentError> {
        let began = Instant::now();
        loop {
            if let Some(message) = self.take_message()? {
                return Ok(message);
            }
            self.exchange(began).await?;
        }
    }

    /// Waits for the next message, but only until everything queued is written.
    pub(super) async fn message_while_writing(&mut self) -> Result<Option<Incoming>, AgentError> {
        let began = Instant::now();
        loop {
            let message = self.take_message()?;
            if message.is_some() || self.outgoing.is_flushed() {
                return Ok(message);
            }
            self.exchange(began).await?;
        }
    }

    /// Returns a message that has arrived; signs of life have told what they have to tell.
    fn take_message(&mut self) -> Result<Option<Incoming>, AgentError> {
        loop {
            let frame = self.decoder.next_frame();
            let frame = frame.map_err(|error| AgentError::Protocol(error.to_string()))?;
            match frame.map(parse).transpose()? {
                Some(Incoming::Message(ToController::Heartbeat)) => {}
                message => return Ok(message),
            }
        }
    }

    /// Reads or writes some bytes; either can be dropped without loss.
    async fn exchange(&mut self, began: Instant) -> Result<(), AgentError> {
        let is_writing = !self.outgoing.is_flushed();
        let since = self.heard.max(began);
        let patience = self.patience;
        let silence = async {
            match patience {
                Some(patience) => tokio::time::sleep_until(since + patience).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            read = self.input.read(&mut self.buffer) => match read {
                Ok(0) => Err(self.lost("the connection was closed").await),
                Ok(count) => {
                    self.heard = Instant::now();
                    self.decoder.push(&self.buffer[..count]);
                    Ok(())
                }
                Err(error) => Err(self.lost(&error.to_string()).await),
            },
            () = self.outgoing.flush(), if is_writing => Ok(()),
            () = silence => {
                let seconds = patience.unwrap_or_default().as_secs_f64();
                Err(self.lost(&format!("it was silent for {seconds} seconds")).await)
            }
        }
    }

    async fn lost(&mut self, why: &str) -> AgentError {
        AgentError::Lost {
            why: why.to_owned(),
            last_words: self.last_words.settled().await,
        }
    }

    /// Says that nothing more will come, and reads until the agent has gone or `FAREWELL` is over.
    pub(super) async fn close(&mut self) -> io::Result<()> {
        let gone = async {
            self.outgoing.close().await?;
            while self.input.read(&mut self.buffer).await? > 0 {}
            Ok(())
        };
        tokio::time::timeout(FAREWELL, gone).await.unwrap_or(Ok(()))
    }
}

fn parse(frame: Frame) -> Result<Incoming, AgentError> {
    match frame {
        Frame::Chunk { stream, bytes } => Ok(Incoming::Chunk { stream, bytes }),
        Frame::Control(text) => serde_json::from_slice(&text)
            .map(Incoming::Message)
            .map_err(|error| AgentError::Protocol(format!("no message: {error}"))),
    }
}

/// The end of what the agent said on standard error.
#[derive(Clone, Default)]
struct LastWords {
    text: Arc<Mutex<VecDeque<u8>>>,
    ended: Arc<tokio::sync::Notify>,
}

impl LastWords {
    const KEPT: usize = 2048;

    async fn listen(self, mut errors: Input) {
        let mut buffer = vec![0; 4096];
        while let Ok(count @ 1..) = errors.read(&mut buffer).await {
            let mut text = self.text.lock().unwrap_or_else(PoisonError::into_inner);
            text.extend(&buffer[..count]);
            let excess = text.len().saturating_sub(Self::KEPT);
            text.drain(..excess);
        }
        self.ended.notify_one();
    }

    /// Returns the last words once nothing more comes, or soon after.
    async fn settled(&self) -> String {
        let soon = std::time::Duration::from_millis(200);
        // A stream that stays open is no reason to wait any longer.
        tokio::time::timeout(soon, self.ended.notified()).await.ok();
        let text = self.text.lock().unwrap_or_else(PoisonError::into_inner);
        let bytes: Vec<u8> = text.iter().copied().collect();
        String::from_utf8_lossy(&bytes).trim().to_owned()
    }
}
