//! The controller's end of one agent: sends tasks, serves the contents they need, fetches files.
//!
//! Works over any pair of byte streams. Every future here may be dropped at any point: what was
//! half written is finished first, and what was under way is cancelled, by the next use.

mod error;
mod outgoing;
mod transaction;
mod wire;

use std::collections::HashMap;
use std::fmt;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use super::contents::Contents;
use super::frame::{Frame, MAX_CHUNK};
use super::protocol::{Call, PROTOCOL, Reply, ToAgent, ToController, WINDOW};
use crate::machine::{Algorithm, ContentId};

pub use error::{AgentError, FetchError};
use transaction::Heartbeats;
pub use transaction::{OpenError, RequestError};
use wire::{Incoming, Wire};

/// A stream from the agent.
pub type Input = Box<dyn AsyncRead + Send + Unpin>;
/// A stream to the agent.
pub type Output = Box<dyn AsyncWrite + Send + Unpin>;

/// How far a transfer of one content or file has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// Bytes sent or received.
    pub done: u64,
    pub total: u64,
}

/// Is told of transfers while they run.
pub type OnProgress<'a> = &'a (dyn Fn(Progress) + Send + Sync);

/// A file that was fetched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fetched {
    pub size: u64,
    /// Lowercase hexadecimal; the received bytes have it.
    pub sha256: String,
}

/// A running agent, as one user on one host. Dropping it ends it.
pub struct Agent {
    wire: Wire,
    next_seq: u64,
    /// The request whose answer is still to come because its future was dropped.
    abandoned: Option<u64>,
    /// The agent's user.
    uid: u32,
    /// Keeps the lease of an open transaction.
    heartbeats: Option<Heartbeats>,
}

impl fmt::Debug for Agent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Agent")
            .field("uid", &self.uid)
            .finish_non_exhaustive()
    }
}

impl Agent {
    /// Greets an agent that is starting on the other end of the streams.
    ///
    /// `received` are bytes of `input` that the caller has read already. `errors` is drained in
    /// the background; its last lines explain why the agent was lost.
    pub async fn start(
        input: Input,
        output: Output,
        errors: Option<Input>,
        received: &[u8],
    ) -> Result<Self, AgentError> {
        let mut wire = Wire::new(input, output, errors, received);
        wire.queue(&ToAgent::Hello { protocol: PROTOCOL })?;
        match wire.next_message().await? {
            Incoming::Message(ToController::Hello { protocol, uid, .. })
                if protocol == PROTOCOL =>
            {
                Ok(Self {
                    wire,
                    next_seq: 1,
                    abandoned: None,
                    uid,
                    heartbeats: None,
                })
            }
            Incoming::Message(ToController::Hello { protocol, .. }) => {
                Err(AgentError::Version(protocol))
            }
            other => Err(AgentError::Protocol(format!(
                "{} before its greeting",
                other.name()
            ))),
        }
    }

    /// Returns the number of the user the agent runs as.
    pub fn uid(&self) -> u32 {
        self.uid
    }

    /// Tells, without waiting, whether the agent is still there as far as is known here.
    pub fn is_alive(&mut self) -> bool {
        self.wire.is_open()
    }

    /// Runs one task and returns its result; contents are sent when the module asks for them.
    pub async fn call(
        &mut self,
        call: Call,
        contents: &dyn Contents,
        progress: OnProgress<'_>,
    ) -> Result<Reply, AgentError> {
        self.settle().await?;
        let seq = self.begin();
        let call = Box::new(call);
        self.wire.queue(&ToAgent::Call { seq, call })?;
        let mut uploads = HashMap::new();
        loop {
            let message = match self.step(&mut uploads, progress).await? {
                Incoming::Message(message) => message,
                Incoming::Chunk { .. } => return Err(unasked("content")),
            };
            match message {
                ToController::Reply {
                    seq: answered,
                    reply,
                } if answered == seq => {
                    self.abandoned = None;
                    return Ok(reply);
                }
                ToController::Need {
                    stream, content, ..
                } => {
                    self.open_upload(&mut uploads, stream, &content, contents)?;
                }
                ToController::Credit { stream, bytes } => {
                    if let Some(upload) = uploads.get_mut(&stream) {
                        upload.credit = upload.credit.saturating_add(bytes);
                    }
                }
                other => return Err(unasked(&Incoming::Message(other).name())),
            }
        }
    }

    /// Copies a file of the target into `to`; `path` is expanded there. What was written to `to`
    /// before an error is not whole.
    pub async fn fetch(
        &mut self,
        path: &str,
        to: &mut (dyn AsyncWrite + Send + Unpin),
        progress: OnProgress<'_>,
    ) -> Result<Fetched, FetchError> {
        self.settle().await?;
        let seq = self.begin();
        let path = path.to_owned();
        self.wire.queue(&ToAgent::Fetch { seq, path })?;
        let mut hasher = Algorithm::Sha256.hasher();
        let (mut done, mut total) = (0, 0);
        loop {
            match self.wire.next_message().await? {
                Incoming::Message(ToController::Sending { size, .. }) => total = size,
                Incoming::Chunk { stream, bytes } => {
                    hasher.update(&bytes);
                    to.write_all(&bytes).await.map_err(FetchError::Local)?;
                    let bytes = length(&bytes);
                    done += bytes;
                    progress(Progress { done, total });
                    self.wire.queue(&ToAgent::Credit { stream, bytes })?;
                }
                Incoming::Message(ToController::Sent {
                    seq: answered,
                    sha256,
                    error,
                }) if answered == seq => {
                    self.abandoned = None;
                    to.flush().await.map_err(FetchError::Local)?;
                    return arrived(done, sha256, hasher.finish(), error);
                }
                other @ Incoming::Message(_) => return Err(unasked(&other.name()).into()),
            }
        }
    }

    /// Ends the agent and waits until it is gone.
    pub async fn close(mut self) {
        // An agent that is gone already is as good as one that goes.
        self.wire.close().await.ok();
    }

    fn begin(&mut self) -> u64 {
        let seq = self.next_seq;
        self.next_seq += 1;
        self.abandoned = Some(seq);
        seq
    }

    /// Cancels a request whose future was dropped, and waits for its answer.
    async fn settle(&mut self) -> Result<(), AgentError> {
        let Some(seq) = self.abandoned else {
            return Ok(());
        };
        self.wire.queue(&ToAgent::Cancel { seq })?;
        loop {
            match self.wire.next_message().await? {
                Incoming::Message(
                    ToController::Reply { seq: answered, .. }
                    | ToController::Sent { seq: answered, .. }
                    | ToController::Transaction { seq: answered, .. },
                ) if answered == seq => {
                    self.abandoned = None;
                    return Ok(());
                }
                Incoming::Message(_) | Incoming::Chunk { .. } => {}
            }
        }
    }

    /// Waits for the next message while sending what may be sent.
    async fn step(
        &mut self,
        uploads: &mut HashMap<u64, Upload>,
        progress: OnProgress<'_>,
    ) -> Result<Incoming, AgentError> {
        loop {
            if let Some(message) = self.wire.message_while_writing().await? {
                return Ok(message);
            }
            let ready = uploads.iter_mut().find(|(_, upload)| upload.credit > 0);
            let Some((stream, upload)) = ready else {
                return self.wire.next_message().await;
            };
            let stream = *stream;
            tokio::select! {
                biased;
                message = self.wire.next_message() => return message,
                read = upload.read() => {
                    if self.send_piece(stream, upload, read, progress)? {
                        uploads.remove(&stream);
                    }
                }
            }
        }
    }

    /// Queues what was read of a content, and tells whether that was its end.
    fn send_piece(
        &mut self,
        stream: u64,
        upload: &mut Upload,
        read: std::io::Result<Vec<u8>>,
        progress: OnProgress<'_>,
    ) -> Result<bool, AgentError> {
        let error = match read {
            Ok(bytes) if !bytes.is_empty() => {
                upload.credit -= length(&bytes);
                upload.done += length(&bytes);
                progress(Progress {
                    done: upload.done,
                    total: upload.total,
                });
                self.wire.queue_frame(&Frame::Chunk { stream, bytes });
                return Ok(false);
            }
            Ok(_) => None,
            Err(error) => Some(format!("the controller cannot read it: {error}")),
        };
        self.wire.queue(&ToAgent::End { stream, error })?;
        Ok(true)
    }

    fn open_upload(
        &mut self,
        uploads: &mut HashMap<u64, Upload>,
        stream: u64,
        content: &ContentId,
        contents: &dyn Contents,
    ) -> Result<(), AgentError> {
        match contents.open(content) {
            Ok(reader) => {
                let upload = Upload {
                    reader,
                    credit: WINDOW,
                    done: 0,
                    total: content.size,
                };
                uploads.insert(stream, upload);
                Ok(())
            }
            Err(error) => {
                let error = Some(format!("the controller cannot read it: {error}"));
                self.wire.queue(&ToAgent::End { stream, error })
            }
        }
    }
}

/// A content on its way to the agent.
struct Upload {
    reader: Input,
    credit: u64,
    done: u64,
    total: u64,
}

impl Upload {
    /// Reads the next piece; empty at the end. Loses nothing when dropped.
    async fn read(&mut self) -> std::io::Result<Vec<u8>> {
        let most = usize::try_from(self.credit).map_or(MAX_CHUNK, |credit| credit.min(MAX_CHUNK));
        let mut piece = vec![0; most];
        let count = self.reader.read(&mut piece).await?;
        piece.truncate(count);
        Ok(piece)
    }
}

fn arrived(
    size: u64,
    sha256: String,
    received: String,
    error: Option<String>,
) -> Result<Fetched, FetchError> {
    match error {
        Some(error) => Err(FetchError::Refused(error)),
        None if sha256 != received => Err(FetchError::Corrupt {
            sent: sha256,
            received,
        }),
        None => Ok(Fetched { size, sha256 }),
    }
}

fn unasked(what: &str) -> AgentError {
    AgentError::Protocol(format!("{what} that nobody asked for"))
}

fn length(bytes: &[u8]) -> u64 {
    u64::try_from(bytes.len()).expect("a length in memory fits 64 bits")
}
