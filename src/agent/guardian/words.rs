//! What a guardian and the workers of its host say to each other, over a socket in the
//! transaction's directory that nobody else can reach.
//!
//! Messages are the frames of the agent's protocol. The lock travels once, as a descriptor, before
//! the first of them.

use std::io::{self, IoSlice, IoSliceMut, Read, Write};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::{CWD, Mode, OFlags};
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, recvmsg, sendmsg,
};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::agent::frame::{Decoder, Frame};
use crate::agent::protocol::{Decision, UndoReport, control};
use crate::machine::Process;
use crate::transaction::lock::Holder;
use crate::transaction::state::State;

/// The guardian listens here.
pub(super) const SOCKET: &str = "socket";
/// Who starts a guardian listens here for it.
pub(super) const CRADLE: &str = "start";

/// How long a peer may take to read what it is told.
const PATIENCE: Duration = Duration::from_secs(10);

/// What a guardian is told.
#[expect(
    clippy::large_enum_variant,
    reason = "one message of a kind at a time: nothing is saved by a box"
)]
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case", deny_unknown_fields)]
pub(in crate::agent) enum ToGuardian {
    /// The first word, from who starts it; the lock came before.
    Begin(Begin),
    /// The controller gave a sign of life.
    Beat,
    /// The channel to the controller is gone; a running task is finished.
    Adrift,
    /// Undo everything. The worker stops its task and says `Still`, or is killed soon.
    Abort { reason: String },
    /// The worker changes nothing any more and has let go of the journal.
    Still,
    /// The journal says committed, or holds nothing to keep when `remove` is set.
    Close { remove: bool },
    /// Another worker wants to take over.
    Attach { token: String },
    /// Somebody with the rights of the user decides.
    Settle { decision: Decision, reason: String },
}

/// What a guardian has to know.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::agent) struct Begin {
    pub(in crate::agent) root: PathBuf,
    pub(in crate::agent) holder: Holder,
    pub(in crate::agent) lease: Duration,
    pub(in crate::agent) grace: Duration,
    pub(in crate::agent) task: Task,
    /// A boot hook is installed while transactions are open.
    pub(in crate::agent) has_hook: bool,
    /// The digest of the secret that lets another worker take over.
    pub(in crate::agent) token_sha256: String,
    /// How many generations are kept.
    pub(in crate::agent) keep: usize,
}

/// What a guardian is started for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(in crate::agent) enum Task {
    /// To watch over the worker that started it.
    Watch,
    /// To wait for the decision on a transaction that lost its guardian.
    Await,
    /// To undo a transaction at once.
    Undo { reason: String },
}

/// What a guardian says.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case", deny_unknown_fields)]
pub(in crate::agent) enum FromGuardian {
    /// It holds the lock.
    Ready {
        pid: u32,
    },
    /// Another worker takes over: let go of the journal and of the connection.
    Superseded,
    Attached,
    Refused {
        why: String,
    },
    /// The last word: the lock is free.
    Ended(Ended),
}

/// How a transaction ended.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::agent) struct Ended {
    pub(in crate::agent) state: State,
    pub(in crate::agent) generation: Option<u64>,
    pub(in crate::agent) report: UndoReport,
}

/// One end of a connection between a guardian and a worker.
pub(in crate::agent) struct Connection {
    stream: UnixStream,
    decoder: Decoder,
    /// Who is on the other end.
    pub(super) peer: Option<Process>,
}

impl Connection {
    /// Takes a connection whose peer is this user or root.
    pub(super) fn new(stream: UnixStream) -> io::Result<Self> {
        let peer = rustix::net::sockopt::socket_peercred(&stream)?;
        let own = rustix::process::geteuid();
        if peer.uid != own && !peer.uid.is_root() {
            return Err(io::ErrorKind::PermissionDenied.into());
        }
        stream.set_write_timeout(Some(PATIENCE))?;
        Ok(Self {
            stream,
            decoder: Decoder::default(),
            peer: Process::find(peer.pid.as_raw_nonzero().get().unsigned_abs()),
        })
    }

    /// Connects to the socket `name` in `directory`.
    pub(super) fn connect(directory: &Path, name: &str) -> io::Result<Self> {
        Self::new(UnixStream::connect(Near::new(directory)?.path(name))?)
    }

    pub(in crate::agent) fn try_clone(&self) -> io::Result<Self> {
        Ok(Self {
            stream: self.stream.try_clone()?,
            decoder: Decoder::default(),
            peer: self.peer,
        })
    }

    pub(in crate::agent) fn send(&self, message: &impl Serialize) -> io::Result<()> {
        let mut bytes = Vec::new();
        control(message)?.encode(&mut bytes);
        (&self.stream).write_all(&bytes)
    }

    /// Waits for the next message; `None` when the other end is gone.
    pub(in crate::agent) fn receive<T: DeserializeOwned>(&mut self) -> io::Result<Option<T>> {
        loop {
            if let Some(message) = self.next()? {
                return Ok(Some(message));
            }
            if !self.read_some()? {
                return Ok(None);
            }
        }
    }

    /// Returns a message that has arrived.
    pub(super) fn next<T: DeserializeOwned>(&mut self) -> io::Result<Option<T>> {
        match self.decoder.next_frame().map_err(io::Error::other)? {
            None => Ok(None),
            Some(Frame::Control(text)) => Ok(Some(serde_json::from_slice(&text)?)),
            Some(Frame::Chunk { .. }) => Err(io::ErrorKind::InvalidData.into()),
        }
    }

    /// Reads what is there; `false` at the end.
    pub(super) fn read_some(&mut self) -> io::Result<bool> {
        let mut buffer = vec![0; 16 * 1024];
        match (&self.stream).read(&mut buffer) {
            Ok(count) => {
                self.decoder.push(&buffer[..count]);
                Ok(count > 0)
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::ConnectionReset => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Ends the connection, also for who reads from a clone of it.
    pub(in crate::agent) fn shut_down(&self) {
        // One that is closed by the other end is as good.
        self.stream.shutdown(std::net::Shutdown::Both).ok();
    }

    /// Hands a descriptor over.
    pub(super) fn send_descriptor(&self, descriptor: BorrowedFd<'_>) -> io::Result<()> {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        let handed = [descriptor];
        control.push(SendAncillaryMessage::ScmRights(&handed));
        sendmsg(
            &self.stream,
            &[IoSlice::new(b"L")],
            &mut control,
            SendFlags::NOSIGNAL,
        )?;
        Ok(())
    }

    /// Takes the descriptor that comes first.
    pub(super) fn receive_descriptor(&self) -> io::Result<OwnedFd> {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let mut byte = [0];
        recvmsg(
            &self.stream,
            &mut [IoSliceMut::new(&mut byte)],
            &mut control,
            RecvFlags::CMSG_CLOEXEC,
        )?;
        for message in control.drain() {
            if let RecvAncillaryMessage::ScmRights(mut descriptors) = message
                && let Some(descriptor) = descriptors.next()
            {
                return Ok(descriptor);
            }
        }
        Err(io::ErrorKind::UnexpectedEof.into())
    }
}

impl AsFd for Connection {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.stream.as_fd()
    }
}

/// Listens on the socket `name` in `directory`, in place of one that a dead process left.
pub(super) fn listen(directory: &Path, name: &str) -> io::Result<UnixListener> {
    rustix::fs::unlink(directory.join(name)).ok();
    UnixListener::bind(Near::new(directory)?.path(name))
}

/// A directory by a short path: the name of a socket has few bytes.
struct Near(OwnedFd);

impl Near {
    fn new(directory: &Path) -> io::Result<Self> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        Ok(Self(rustix::fs::openat(
            CWD,
            directory,
            flags,
            Mode::empty(),
        )?))
    }

    fn path(&self, name: &str) -> PathBuf {
        use std::os::fd::AsRawFd;
        format!("/proc/self/fd/{}/{name}", self.0.as_raw_fd()).into()
    }
}
