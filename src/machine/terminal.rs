//! Running a program that talks to a terminal: it gets one of its own, and somebody answers.
//!
//! Knows no question and no answer: both are the caller's.

use std::fs::File;
use std::io::{self, Write};
use std::path::Path;
use std::time::{Duration, Instant, SystemTime};

use rustix::fs::{Mode, OFlags};
use rustix::pty::OpenptFlags;
use rustix::termios::{LocalModes, OptionalActions};

use super::command::kill_group;
use super::streams::Streams;
use super::{Command, Effect, Machine, MachineError, Reason, Result};

/// What to do with what the program has written so far.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    /// Nothing is asked yet.
    Wait,
    /// The first `read` bytes ask something; `answer` is typed.
    Type { read: usize, answer: Vec<u8> },
    /// There is no answer: the program is killed.
    HangUp,
}

/// How a program at a terminal went.
#[derive(Clone, Debug)]
pub struct Conversation {
    /// The exit code; `None` when it ran out of time, was hung up on, or a signal ended it.
    pub status: Option<i32>,
    /// All that it wrote, with the line ends of a terminal.
    pub output: Vec<u8>,
    pub start: SystemTime,
    pub end: SystemTime,
}

impl Machine {
    /// Runs a program at a terminal, which is asked with `reply` whenever it has written
    /// something; between two answers it may take `limit`. `None` in check mode.
    pub fn converse(
        &mut self,
        command: &Command,
        effect: Effect,
        echo: bool,
        limit: Option<Duration>,
        reply: &mut dyn FnMut(&[u8]) -> Reply,
    ) -> Result<Option<Conversation>> {
        if !self.may_execute(command, effect)? {
            return Ok(None);
        }
        let failed =
            |error: io::Error| MachineError::io("run", Path::new(command.program()), error);
        let start = SystemTime::now();
        let (master, terminal) = terminal(echo).map_err(failed)?;
        let cancellation = self.options.cancellation.clone();
        let mut child = command
            .spawn_on_terminal(&self.options.environment, &terminal)
            .map_err(failed)?;
        drop(terminal);
        let group = cancellation.watch(&child);
        let heard = master.try_clone().map_err(failed)?;
        let mut streams = Streams::new([heard.into()]);
        let mut talk = Talk {
            output: Vec::new(),
            read: 0,
            keyboard: master,
        };
        let mut deadline = limit.map(|limit| Instant::now() + limit);
        let ended = loop {
            let goes_on = streams
                .hear(
                    || Ok(child.try_wait()?.is_some()),
                    |_, bytes| talk.output.extend_from_slice(bytes),
                )
                .map_err(failed)?;
            if !goes_on {
                break true;
            }
            match talk.answer(reply).map_err(failed)? {
                Some(true) => deadline = limit.map(|limit| Instant::now() + limit),
                Some(false) => {}
                None => break false,
            }
            let is_late = deadline.is_some_and(|deadline| Instant::now() >= deadline);
            if is_late || cancellation.is_cancelled() {
                break false;
            }
        };
        if !ended {
            kill_group(child.id());
        }
        let status = child.wait().map_err(failed)?;
        drop(group);
        if cancellation.is_cancelled() {
            return Err(MachineError {
                action: "run",
                object: command.program().to_string_lossy().into_owned(),
                reason: Reason::Cancelled,
                help: None,
            });
        }
        Ok(Some(Conversation {
            status: status.code().filter(|_| ended),
            output: talk.output,
            start,
            end: SystemTime::now(),
        }))
    }
}

struct Talk {
    output: Vec<u8>,
    /// How much of the output has been answered.
    read: usize,
    keyboard: File,
}

impl Talk {
    /// Answers all that is asked; tells whether anything was, `None` when the caller hangs up.
    fn answer(&mut self, reply: &mut dyn FnMut(&[u8]) -> Reply) -> io::Result<Option<bool>> {
        let mut answered = false;
        while self.read < self.output.len() {
            match reply(&self.output[self.read..]) {
                Reply::Wait => break,
                Reply::HangUp => return Ok(None),
                Reply::Type { read, answer } => {
                    // A question without letters would be answered for ever.
                    self.read += read.max(1);
                    answered = true;
                    match self.keyboard.write_all(&answer) {
                        // The program has ended meanwhile.
                        Err(error) if error.raw_os_error() == Some(5) => break,
                        written => written?,
                    }
                }
            }
        }
        Ok(Some(answered))
    }
}

/// Opens a pair: our end, and the program's.
fn terminal(echo: bool) -> io::Result<(File, File)> {
    let master = rustix::pty::openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY)?;
    rustix::pty::grantpt(&master)?;
    rustix::pty::unlockpt(&master)?;
    let name = rustix::pty::ptsname(&master, Vec::new())?;
    let slave = rustix::fs::open(
        name,
        OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC,
        Mode::empty(),
    )?;
    rustix::io::fcntl_setfd(&master, rustix::io::FdFlags::CLOEXEC)?;
    if !echo {
        let mut modes = rustix::termios::tcgetattr(&slave)?;
        modes.local_modes.remove(LocalModes::ECHO);
        rustix::termios::tcsetattr(&slave, OptionalActions::Now, &modes)?;
    }
    Ok((master.into(), slave.into()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::machine::MachineOptions;

    fn converse(script: &str, echo: bool, limit: Duration) -> Conversation {
        let mut machine = Machine::new(MachineOptions::default());
        let mut reply = |said: &[u8]| {
            let text = String::from_utf8_lossy(said);
            match text.find("name?") {
                Some(at) => Reply::Type {
                    read: at + 5,
                    answer: b"you\n".to_vec(),
                },
                None if text.contains("bye") => Reply::HangUp,
                None => Reply::Wait,
            }
        };
        let command = Command::shell(script);
        let effect = Effect::opaque("talk");
        machine
            .converse(&command, effect, echo, Some(limit), &mut reply)
            .unwrap()
            .unwrap()
    }

    #[test]
    fn a_question_is_answered_at_the_programs_own_terminal() {
        let script = "printf 'name? ' >/dev/tty; read x </dev/tty; echo \"hi $x\"; exit 3";
        let silent = converse(script, false, Duration::from_mins(1));
        assert_eq!(silent.status, Some(3));
        assert_eq!(String::from_utf8_lossy(&silent.output), "name? hi you\r\n");
        let echoed = converse(script, true, Duration::from_mins(1));
        assert_eq!(
            String::from_utf8_lossy(&echoed.output),
            "name? you\r\nhi you\r\n"
        );
    }

    #[test]
    fn without_an_answer_it_is_killed() {
        assert_eq!(
            converse("echo bye; sleep 600", false, Duration::from_mins(10)).status,
            None
        );
        assert_eq!(
            converse("sleep 600", false, Duration::from_millis(20)).status,
            None
        );
    }
}
