//! Hearing what a program writes, all its streams at once, until it has said everything.
//!
//! Knows neither how the program was started nor what its words are for.

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::OwnedFd;

use rustix::event::{PollFd, PollFlags, Timespec, poll};

/// How long a program that has ended is still listened to: what it left running may hold its
/// streams open for ever.
const QUIET: Timespec = Timespec {
    tv_sec: 0,
    tv_nsec: 50_000_000,
};

/// The streams a program writes to, numbered as they were given.
pub(super) struct Streams {
    open: Vec<(usize, File)>,
    has_ended: bool,
    buffer: Vec<u8>,
}

impl Streams {
    pub(super) fn new(streams: impl IntoIterator<Item = OwnedFd>) -> Self {
        let files = streams.into_iter().map(File::from);
        Self {
            open: files.enumerate().collect(),
            has_ended: false,
            buffer: vec![0; 64 * 1024],
        }
    }

    /// Takes what has come, waiting a moment for it; tells whether there may be more.
    ///
    /// `has_ended` is asked in silence. Silence counts as the end only after the program's own,
    /// because what it wrote last may have come between the silence and the question.
    pub(super) fn hear(
        &mut self,
        has_ended: impl FnOnce() -> io::Result<bool>,
        mut take: impl FnMut(usize, &[u8]),
    ) -> io::Result<bool> {
        let ready = self.ready()?;
        if ready.is_empty() && !self.open.is_empty() {
            if self.has_ended {
                return Ok(false);
            }
            self.has_ended = has_ended()?;
        }
        for place in ready.into_iter().rev() {
            let (number, stream) = &mut self.open[place];
            match stream.read(&mut self.buffer) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                // A terminal that nobody holds any more ends with an error.
                Ok(0) | Err(_) => drop(self.open.remove(place)),
                Ok(count) => take(*number, &self.buffer[..count]),
            }
        }
        Ok(!self.open.is_empty())
    }

    /// Returns the places of the streams that can be read without waiting.
    fn ready(&self) -> io::Result<Vec<usize>> {
        let mut asked: Vec<PollFd<'_>> = self
            .open
            .iter()
            .map(|(_, stream)| PollFd::new(stream, PollFlags::IN))
            .collect();
        match poll(&mut asked, Some(&QUIET)) {
            // A signal is no silence: the next call asks again.
            Err(rustix::io::Errno::INTR) => return self.ready(),
            polled => polled?,
        };
        let answers = asked.iter().enumerate();
        Ok(answers
            .filter(|(_, asked)| !asked.revents().is_empty())
            .map(|(place, _)| place)
            .collect())
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[test]
    fn what_comes_between_a_silence_and_the_end_is_heard() {
        let (reader, mut writer) = io::pipe().unwrap();
        let mut streams = Streams::new([reader.into()]);
        let mut heard = Vec::new();
        while streams
            .hear(
                || writer.write_all(b"last words").map(|()| true),
                |_, bytes| heard.extend_from_slice(bytes),
            )
            .unwrap()
        {}
        assert_eq!(heard, b"last words");
        drop(writer);
    }

    #[test]
    fn streams_end_each_on_its_own() {
        let (first, mut out) = io::pipe().unwrap();
        let (second, mut err) = io::pipe().unwrap();
        let mut streams = Streams::new([first.into(), second.into()]);
        out.write_all(b"out").unwrap();
        drop(out);
        err.write_all(b"err").unwrap();
        drop(err);
        let mut heard = [Vec::new(), Vec::new()];
        while streams
            .hear(
                || unreachable!("there is no silence"),
                |number, bytes| heard[number].extend_from_slice(bytes),
            )
            .unwrap()
        {}
        assert_eq!(heard, [b"out".to_vec(), b"err".to_vec()]);
    }
}
