//! The target's end: reads requests, runs one task at a time, and answers.
//!
//! Three threads of work: this one reads, a worker runs modules, and whoever has something to say
//! writes whole frames under a lock. When the channel closes or says something that is no
//! message, the running task is cancelled, its programs are killed, scratch files are removed and
//! the session ends. Knows no controller code.

mod background;
mod content;
mod program;
mod scratch;
mod session;
mod steps;
mod task;
mod transaction;

use std::fmt;
use std::io::{self, Read, Write};
use std::sync::Arc;
use std::time::Duration;

use super::frame::{Decoder, Frame, FrameError};
use super::guardian::ToGuardian;
use super::protocol::{Ask, PROTOCOL, ToAgent, ToController};
use crate::modules;
use session::Session;
use task::{FindModule, Request, Worker};

pub use program::run;
pub use task::catch_panics;

/// Why a session ended early.
#[derive(Debug)]
pub enum ServeError {
    Io(io::Error),
    /// What came is no frame or no message.
    Garbage(String),
    /// The peer speaks another version.
    Version(u32),
}

impl fmt::Display for ServeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io(error) => write!(f, "the channel broke: {error}"),
            Self::Garbage(what) => write!(f, "the controller sent {what}"),
            Self::Version(version) => {
                write!(
                    f,
                    "the controller speaks protocol {version}, not {PROTOCOL}"
                )
            }
        }
    }
}

impl std::error::Error for ServeError {}

impl From<FrameError> for ServeError {
    fn from(error: FrameError) -> Self {
        Self::Garbage(error.to_string())
    }
}

impl From<io::Error> for ServeError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

/// Serves one controller until it closes `input`.
pub fn serve(input: impl Read, output: impl Write + Send + 'static) -> Result<(), ServeError> {
    serve_modules(input, Box::new(output), modules::on_target, None)
}

/// Serves with the modules that `find` knows; `sha256` is this program's digest, if it is known.
pub(super) fn serve_modules(
    input: impl Read,
    output: Box<dyn Write + Send>,
    find: FindModule,
    sha256: Option<String>,
) -> Result<(), ServeError> {
    let (session, queue) = Session::new(output, sha256);
    session.send(&ToController::Hello {
        protocol: PROTOCOL,
        version: env!("CARGO_PKG_VERSION").to_owned(),
        pid: std::process::id(),
        uid: rustix::process::geteuid().as_raw(),
    })?;
    let worker = Worker::start(Arc::clone(&session), queue, find);
    let ended = Reader {
        session: &session,
        input,
        decoder: Decoder::default(),
        greeted: false,
        last_seq: 0,
    }
    .run();
    session.close();
    if session.link().is_some() {
        // The guardian ends what takes too long.
        worker.join();
    } else {
        // A task that is being cancelled gets a moment to remove what it staged.
        worker.finish(Duration::from_secs(2));
    }
    session.remove_scratch();
    ended
}

/// Serves on standard input and output, which no module or stray child can reach afterwards.
///
/// `sha256` is the digest of this program, if it is known.
pub fn serve_standard_streams(sha256: Option<String>) -> Result<(), ServeError> {
    catch_panics();
    // Without a controlling terminal a hang-up cannot end the agent before it cleaned up; a
    // group leader has none to lose.
    rustix::process::setsid().ok();
    let input = rustix::io::dup(rustix::stdio::stdin()).map_err(io::Error::from)?;
    let output = rustix::io::dup(rustix::stdio::stdout()).map_err(io::Error::from)?;
    for stream in [&input, &output] {
        rustix::io::fcntl_setfd(stream, rustix::io::FdFlags::CLOEXEC).map_err(io::Error::from)?;
    }
    make_raw(&input)?;
    let nowhere = std::fs::OpenOptions::new()
        .read(true)
        .write(true)
        .open("/dev/null")?;
    rustix::stdio::dup2_stdin(&nowhere).map_err(io::Error::from)?;
    rustix::stdio::dup2_stdout(&nowhere).map_err(io::Error::from)?;
    let output = Box::new(std::fs::File::from(output));
    serve_modules(
        std::fs::File::from(input),
        output,
        modules::on_target,
        sha256,
    )
}

/// Stops a terminal from changing the bytes that pass; only some `su` and `doas` need one.
fn make_raw(stream: &std::os::fd::OwnedFd) -> io::Result<()> {
    if !rustix::termios::isatty(stream) {
        return Ok(());
    }
    let mut settings = rustix::termios::tcgetattr(stream)?;
    settings.make_raw();
    Ok(rustix::termios::tcsetattr(
        stream,
        rustix::termios::OptionalActions::Now,
        &settings,
    )?)
}

struct Reader<'a, R> {
    session: &'a Session,
    input: R,
    decoder: Decoder,
    greeted: bool,
    /// The last request; one that arrives twice is one.
    last_seq: u64,
}

impl<R: Read> Reader<'_, R> {
    /// Reads until the controller closes the channel, or the worker is gone.
    fn run(&mut self) -> Result<(), ServeError> {
        let mut buffer = vec![0; 64 * 1024];
        loop {
            while let Some(frame) = self.decoder.next_frame()? {
                if !self.take(frame)? {
                    return Ok(());
                }
            }
            match self.input.read(&mut buffer) {
                Ok(0) if self.decoder.is_empty() => return Ok(()),
                Ok(0) => return Err(ServeError::Garbage("half a frame".into())),
                Ok(count) => {
                    // On a slow link a message takes long, and every byte of it is a sign of life.
                    if let Some(link) = self.session.link() {
                        link.beat();
                    }
                    self.decoder.push(&buffer[..count]);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                // The other end of a terminal hung up.
                Err(error) if error.raw_os_error() == Some(5) => return Ok(()),
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Takes a frame; tells whether there is anybody to take another one for.
    fn take(&mut self, frame: Frame) -> Result<bool, ServeError> {
        let text = match frame {
            Frame::Control(text) => text,
            Frame::Chunk { stream, bytes } if self.greeted => {
                self.session.deliver(stream, bytes);
                return Ok(true);
            }
            Frame::Chunk { .. } => {
                return Err(ServeError::Garbage("content before a greeting".into()));
            }
        };
        let message: ToAgent = serde_json::from_slice(&text)
            .map_err(|error| ServeError::Garbage(format!("no message: {error}")))?;
        match message {
            ToAgent::Hello { protocol: PROTOCOL } => self.greeted = true,
            ToAgent::Hello { protocol } => return Err(ServeError::Version(protocol)),
            _ if !self.greeted => {
                return Err(ServeError::Garbage("a request before a greeting".into()));
            }
            ToAgent::Call { seq, call } => {
                return Ok(self.submit(seq, |session| session.begin_call(seq, *call)));
            }
            ToAgent::Fetch { seq, path } => {
                return Ok(self.submit(seq, |session| session.begin_fetch(seq, path)));
            }
            ToAgent::Transaction { seq, ask } => {
                if let (Ask::Abort { reason }, Some(link)) = (&*ask, self.session.link()) {
                    // The guardian gives the running task a moment only.
                    let reason = reason.clone();
                    link.tell(&ToGuardian::Abort { reason });
                    self.session.cancel_all();
                }
                return Ok(self.submit(seq, |session| session.begin_transaction(seq, *ask)));
            }
            ToAgent::Cancel { seq } => self.session.cancel(seq),
            ToAgent::Credit { stream, bytes } => self.session.grant(stream, bytes),
            ToAgent::End { stream, error } => self.session.end(stream, error),
            ToAgent::Heartbeat => self.session.send(&ToController::Heartbeat)?,
        }
        Ok(true)
    }

    /// Hands a request to the worker, unless it was handed over before.
    fn submit(&mut self, seq: u64, begin: impl FnOnce(&Session) -> Request) -> bool {
        if seq <= self.last_seq {
            return true;
        }
        self.last_seq = seq;
        self.session.submit(begin(self.session))
    }
}
