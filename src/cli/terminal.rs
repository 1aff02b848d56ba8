//! The terminal: its size, whether it is one, questions to the person in front of it.

use std::io::{self, BufRead, IsTerminal, Write};
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::termios::{
    LocalModes, OptionalActions, SpecialCodeIndex, Termios, tcgetattr, tcsetattr,
};

use crate::error::{Error, ErrorKind, Result};
use crate::executor::{Answer, Prompt, Prompter, Until};

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
        // Keys first, then the question: whoever sees it may answer.
        let Ok(keys) = Keys::new() else {
            return Answer::NoTerminal;
        };
        let mut out = io::stdout();
        if write!(out, "{}", prompt.text)
            .and_then(|()| out.flush())
            .is_err()
        {
            return Answer::Aborted;
        }
        read_answer(&keys, prompt, &mut out)
    }

    fn is_interactive(&self) -> bool {
        io::stdin().is_terminal() && io::stdout().is_terminal()
    }

    fn read_line(&self) -> Option<String> {
        let mut line = String::new();
        match io::stdin().lock().read_line(&mut line) {
            Ok(0) | Err(_) => None,
            Ok(_) => Some(line.trim_end_matches(['\n', '\r']).to_owned()),
        }
    }
}

/// How the terminal was before keys were read from it.
static BEFORE: Mutex<Option<Termios>> = Mutex::new(None);

/// Makes the terminal what it was, also where a question was never answered.
pub(super) fn restore() {
    let before = BEFORE.lock().unwrap_or_else(PoisonError::into_inner).take();
    if let Some(before) = before {
        // A terminal that is gone needs nothing.
        tcsetattr(io::stdin(), OptionalActions::Drain, &before).ok();
    }
}

/// The terminal gives each key as it is pressed, and shows none, while this lives.
struct Keys {
    erase: u8,
    kill: u8,
}

impl Keys {
    fn new() -> io::Result<Self> {
        let before = tcgetattr(io::stdin())?;
        let keys = Self {
            erase: before.special_codes[SpecialCodeIndex::VERASE],
            kill: before.special_codes[SpecialCodeIndex::VKILL],
        };
        let mut raw = before.clone();
        raw.local_modes
            .remove(LocalModes::ICANON | LocalModes::ECHO | LocalModes::ISIG);
        raw.special_codes[SpecialCodeIndex::VMIN] = 1;
        raw.special_codes[SpecialCodeIndex::VTIME] = 0;
        *BEFORE.lock().unwrap_or_else(PoisonError::into_inner) = Some(before);
        // What was typed before is no answer.
        tcsetattr(io::stdin(), OptionalActions::Flush, &raw)?;
        Ok(keys)
    }
}

impl Drop for Keys {
    fn drop(&mut self) {
        restore();
    }
}

/// Returns the next key, or `None` once `limit` is over.
fn next_key(limit: Option<Instant>) -> io::Result<Option<u8>> {
    let stdin = io::stdin();
    let mut fds = [PollFd::new(&stdin, PollFlags::IN)];
    let left = limit.map(|limit| limit.saturating_duration_since(Instant::now()));
    let left = left.map(|left| Timespec {
        tv_sec: i64::try_from(left.as_secs()).unwrap_or(i64::MAX),
        tv_nsec: left.subsec_nanos().into(),
    });
    if poll(&mut fds, left.as_ref())? == 0 {
        return Ok(None);
    }
    let mut byte = [0];
    match rustix::io::read(&stdin, &mut byte)? {
        0 => Err(io::ErrorKind::UnexpectedEof.into()),
        _ => Ok(Some(byte[0])),
    }
}

const INTERRUPT: u8 = 3;
const END_OF_FILE: u8 = 4;

fn read_answer(keys: &Keys, prompt: &Prompt, out: &mut impl Write) -> Answer {
    let limit = prompt
        .timeout
        .and_then(|time| Instant::now().checked_add(time));
    let mut typed = Typed::default();
    loop {
        let key = match next_key(limit) {
            Ok(Some(key)) => key,
            Ok(None) => return Answer::TimedOut,
            Err(_) => return Answer::Aborted,
        };
        let shown = match (prompt.until, key) {
            (_, INTERRUPT) => return Answer::Aborted,
            (Until::ContinueOrAbort, b'a' | b'A') => return Answer::Aborted,
            (Until::ContinueOrAbort, b'c' | b'C') => return Answer::Text(String::new()),
            (Until::ContinueOrAbort | Until::Timeout, _) => continue,
            (Until::Line, END_OF_FILE) if typed.0.is_empty() => return Answer::Aborted,
            (Until::Line, b'\r' | b'\n') => {
                // A screen that is gone is told of elsewhere.
                writeln!(out).ok();
                return Answer::Text(typed.into_text());
            }
            (Until::Line, key) if key == keys.erase || key == 8 || key == 127 => typed.erase(),
            (Until::Line, key) if key == keys.kill => typed.kill(),
            (Until::Line, key) => typed.add(key),
        };
        if prompt.echo {
            out.write_all(&shown).and_then(|()| out.flush()).ok();
        }
    }
}

/// A line as it is typed; each change returns what the screen has to be sent.
#[derive(Default)]
struct Typed(Vec<u8>);

impl Typed {
    fn add(&mut self, key: u8) -> Vec<u8> {
        if key.is_ascii_control() {
            return Vec::new();
        }
        self.0.push(key);
        vec![key]
    }

    /// Takes the last character away, of however many bytes.
    fn erase(&mut self) -> Vec<u8> {
        while let Some(byte) = self.0.pop() {
            // Not a continuation of a character.
            if byte & 0xc0 != 0x80 {
                return b"\x08 \x08".to_vec();
            }
        }
        Vec::new()
    }

    fn kill(&mut self) -> Vec<u8> {
        let mut shown = Vec::new();
        while !self.0.is_empty() {
            shown.extend(self.erase());
        }
        shown
    }

    fn into_text(self) -> String {
        String::from_utf8_lossy(&self.0).into_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_typed_line_can_be_edited_by_characters() {
        let mut typed = Typed::default();
        let mut screen = Vec::new();
        for key in "hé\x07y".bytes() {
            screen.extend(typed.add(key));
        }
        screen.extend(typed.erase());
        screen.extend(typed.erase());
        screen.extend(typed.add(b'i'));
        assert_eq!(String::from_utf8(screen).unwrap(), "héy\x08 \x08\x08 \x08i");
        assert_eq!(typed.kill().len(), 6);
        assert_eq!(typed.erase(), b"");
        typed.add(b'x');
        assert_eq!(typed.into_text(), "x");
    }
}
