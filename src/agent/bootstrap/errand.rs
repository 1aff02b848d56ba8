//! One command of a shell as another user, with nothing of ours on the host.

use std::future::Future;
use std::time::Duration;

use super::r#become::Become;
use super::dialogue::Dialogue;
use super::{CommandLine, StartError, Streams};

/// A command that the other user runs by now.
pub struct Errand {
    pub streams: Streams,
    /// What it has printed already.
    pub stdout: Vec<u8>,
    /// The same of standard error, with what the method said after the password was given.
    pub stderr: Vec<u8>,
}

impl Errand {
    /// Makes the errand of a command that nobody else had to be become for.
    pub fn of(streams: Streams) -> Self {
        Self {
            streams,
            stdout: Vec::new(),
            stderr: Vec::new(),
        }
    }

    /// Runs `command` as whom `become` says, and returns once it runs.
    ///
    /// `open` runs a command on the host, and is asked again, once, when a terminal turns out to
    /// be needed; what it returns beside the streams is handed back with them.
    pub async fn run<O, F, X, E>(
        r#become: &Become,
        command: &str,
        patience: Duration,
        mut open: O,
    ) -> Result<(Self, X), StartError<E>>
    where
        O: FnMut(CommandLine) -> F,
        F: Future<Output = Result<(Streams, X), E>>,
    {
        let mut terminal = r#become.needs_terminal();
        loop {
            // Random, so that nothing else can print it.
            let marker = format!("{:032x}", rand::random::<u128>());
            let script = format!("[ -t 0 ]&&stty raw -echo;echo \"{marker} \";{command}");
            let line = CommandLine {
                text: r#become.command(&script, &marker),
                terminal,
            };
            let (streams, rest) = open(line).await.map_err(StartError::Open)?;
            let mut dialogue = Dialogue::new(streams, Some(r#become), &marker, patience);
            match dialogue.next_line().await {
                Ok(_) => {
                    let mut stderr = dialogue.err.bytes;
                    stderr.drain(..dialogue.err.answered);
                    let errand = Self {
                        streams: dialogue.streams,
                        stdout: dialogue.out.bytes,
                        stderr,
                    };
                    return Ok((errand, rest));
                }
                Err(error) if error.wants_terminal() && !terminal => terminal = true,
                Err(error) => return Err(error.with_any_opener()),
            }
        }
    }
}
