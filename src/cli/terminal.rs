//! The terminal: its size, whether it is one, questions to the person in front of it.

use std::io::{self, BufRead, IsTerminal, Write};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::error::{Error, ErrorKind, Result};
use crate::executor::{Answer, Prompt, Prompter};

/// Ansible's banner width without a terminal.
const COLUMNS_WITHOUT_TERMINAL: usize = 79;

/// Returns the width of banners: the terminal's less one, at least 79.
pub(super) fn columns() -> usize {
    let size = rustix::termios::tcgetwinsize(io::stdout());
    size.map_or(COLUMNS_WITHOUT_TERMINAL, |size| {
        usize::from(size.ws_col)
            .saturating_sub(1)
            .max(COLUMNS_WITHOUT_TERMINAL)
    })
}

/// Asks for a password without showing it; without a terminal, the next line of standard input is
/// the answer.
pub(super) fn ask_password(prompt: &str) -> Result<String> {
    let missing = || {
        let told = "a password is needed and there is no terminal to ask on";
        Error::new(ErrorKind::Missing, told).help("name a password file instead")
    };
    rpassword::prompt_password(prompt).or_else(|error| {
        if io::stdin().is_terminal() {
            return Err(missing().caused_by(error));
        }
        let mut line = String::new();
        match io::stdin().lock().read_line(&mut line) {
            Ok(0) => Err(missing()),
            Ok(_) => Ok(line.trim_end_matches(['\n', '\r']).to_owned()),
            Err(error) => Err(missing().caused_by(error)),
        }
    })
}

/// Asks for a line of text.
pub(super) fn ask(prompt: &str) -> Result<String> {
    let failed = |error: io::Error| {
        Error::usage("an answer is needed and there is nobody to ask").caused_by(error)
    };
    let mut out = io::stdout();
    write!(out, "{prompt}")
        .and_then(|()| out.flush())
        .map_err(failed)?;
    let mut line = String::new();
    io::stdin().lock().read_line(&mut line).map_err(failed)?;
    Ok(line.trim_end_matches(['\n', '\r']).to_owned())
}

/// Answers the run's questions from the terminal.
pub(super) struct TerminalPrompter;

impl Prompter for TerminalPrompter {
    fn ask(&self, prompt: &Prompt) -> Answer {
        if !self.is_interactive() {
            return Answer::NoTerminal;
        }
        if !prompt.echo && prompt.timeout.is_none() {
            return rpassword::prompt_password(&prompt.text).map_or(Answer::Aborted, Answer::Text);
        }
        let mut out = io::stdout();
        if write!(out, "{}", prompt.text)
            .and_then(|()| out.flush())
            .is_err()
        {
            return Answer::Aborted;
        }
        if prompt.timeout.is_some_and(|limit| !readable_within(limit)) {
            return Answer::TimedOut;
        }
        let mut line = String::new();
        match io::stdin().lock().read_line(&mut line) {
            Ok(0) | Err(_) => Answer::Aborted,
            Ok(_) => Answer::Text(line.trim_end_matches(['\n', '\r']).to_owned()),
        }
    }

    fn is_interactive(&self) -> bool {
        io::stdin().is_terminal() && io::stdout().is_terminal()
    }
}

fn readable_within(limit: Duration) -> bool {
    let stdin = io::stdin();
    let mut fds = [PollFd::new(&stdin, PollFlags::IN)];
    let limit = Timespec {
        tv_sec: i64::try_from(limit.as_secs()).unwrap_or(i64::MAX),
        tv_nsec: limit.subsec_nanos().into(),
    };
    // An interrupted wait counts as over: the run is being ended.
    poll(&mut fds, Some(&limit)).is_ok_and(|ready| ready > 0)
}
