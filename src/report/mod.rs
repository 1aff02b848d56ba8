//! Reporters: they listen to events and show them. They decide nothing about the run.
//!
//! Each reporter writes into the two streams it is given; `cli` owns which streams those are.

pub mod default;
pub mod diagnostic;
mod diff;
pub mod github;
pub mod json;
pub mod minimal;
mod painter;
mod plan;
pub mod record;
mod results;
mod status_line;
mod transaction;
mod unified;

use std::io::{self, Write};

use crate::event::Event;
use crate::redactor::Redactor;
use crate::value::shown_text;

pub use painter::{Painter, Palette};
pub use results::ResultStyle;
pub use status_line::StatusLine;

/// Something that shows events.
pub trait Reporter {
    /// Shows one event.
    fn report(&mut self, event: &Event, streams: &mut Streams<'_>) -> io::Result<()>;
}

/// Where reporters write: data to `out`, talk to `err`, everything through the redactor.
pub struct Streams<'a> {
    out: &'a mut dyn Write,
    err: &'a mut dyn Write,
    redactor: &'a Redactor,
}

impl<'a> Streams<'a> {
    /// Puts the redactor before both streams.
    pub fn new(out: &'a mut dyn Write, err: &'a mut dyn Write, redactor: &'a Redactor) -> Self {
        Self { out, err, redactor }
    }

    /// Writes a line of data.
    pub fn out(&mut self, line: &str) -> io::Result<()> {
        writeln!(self.out, "{}", shown_text(&self.redactor.redact(line)))
    }

    /// Writes a line as it is: a secret that is told to what masks it.
    fn command(&mut self, line: &str) -> io::Result<()> {
        writeln!(self.out, "{line}")
    }

    /// Returns the known secrets after the first `start`.
    fn secrets_from(&self, start: usize) -> Vec<String> {
        self.redactor.known_from(start)
    }

    /// Returns other streams behind the same redactor.
    fn beside<'b>(&self, out: &'b mut dyn Write, err: &'b mut dyn Write) -> Streams<'b>
    where
        'a: 'b,
    {
        Streams::new(out, err, self.redactor)
    }

    /// Writes a line of talk.
    pub fn err(&mut self, line: &str) -> io::Result<()> {
        writeln!(self.err, "{}", shown_text(&self.redactor.redact(line)))
    }
}
