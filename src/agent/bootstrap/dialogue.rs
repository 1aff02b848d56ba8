//! Talking to a command that may have to become another user first: prompts are answered once,
//! refusals understood, and everything before our marker is skipped. Knows nothing of agents.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::r#become::{Become, Refusal};
use super::{StartError, Streams};

/// The most that is read before our marker.
const MOST_NOISE: usize = 64 * 1024;
/// What is kept of it for messages, in characters.
const MOST_SAID: usize = 500;

pub(super) struct Dialogue<'a> {
    pub(super) streams: Streams,
    wish: Option<&'a Become>,
    marker: &'a str,
    /// The longest silence that is put up with.
    patience: Duration,
    pub(super) out: Heard,
    pub(super) err: Heard,
    /// The password was asked for, and given, before.
    asked: bool,
    /// A line with the marker was heard: nobody stands in the way any more.
    through: bool,
}

impl<'a> Dialogue<'a> {
    pub(super) fn new(
        streams: Streams,
        wish: Option<&'a Become>,
        marker: &'a str,
        patience: Duration,
    ) -> Self {
        Self {
            streams,
            wish,
            marker,
            patience,
            out: Heard::default(),
            err: Heard::default(),
            asked: false,
            through: false,
        }
    }

    /// Waits for the next line that begins with the marker, and forgets everything before it.
    pub(super) async fn next_line(&mut self) -> Result<String, StartError> {
        loop {
            if let Some(line) = self.out.marked_line(self.marker) {
                self.through = true;
                return Ok(line);
            }
            self.answer_prompt().await?;
            self.listen().await?;
        }
    }

    fn patience(&self) -> Duration {
        let until_become = self.wish.and_then(|wish| wish.patience);
        until_become
            .filter(|_| !self.through)
            .unwrap_or(self.patience)
    }

    pub(super) async fn send(&mut self, bytes: &[u8]) -> Result<(), StartError> {
        let patience = self.patience();
        let stdin = &mut self.streams.stdin;
        let sending = async {
            stdin.write_all(bytes).await?;
            stdin.flush().await
        };
        match tokio::time::timeout(patience, sending).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) => Err(self.end().await),
            Err(_) => Err(self.silence()),
        }
    }

    /// Gives the password to a prompt; a second prompt means that it was wrong.
    async fn answer_prompt(&mut self) -> Result<(), StartError> {
        let Some(wish) = self.wish else {
            return Ok(());
        };
        let marker = self.marker;
        let asks = |heard: &Heard| wish.is_prompt(&heard.unanswered(), marker);
        if !asks(&self.err) && !asks(&self.out) {
            return Ok(());
        }
        let Some(password) = &wish.password else {
            return Err(self.refused(Refusal::PasswordMissing));
        };
        if self.asked {
            return Err(self.refused(Refusal::PasswordWrong));
        }
        self.asked = true;
        self.out.answer();
        self.err.answer();
        let line = format!("{password}\n");
        self.send(line.as_bytes()).await
    }

    /// Waits for more to be said.
    async fn listen(&mut self) -> Result<(), StartError> {
        if self.out.bytes.len() > MOST_NOISE || self.err.bytes.len() > MOST_NOISE {
            return Err(StartError::Noise);
        }
        let (mut out, mut err) = (vec![0; 16 * 1024], vec![0; 4 * 1024]);
        let patience = self.patience();
        let heard = tokio::time::timeout(patience, async {
            tokio::select! {
                read = self.streams.stdout.read(&mut out), if !self.out.ended => {
                    self.out.hear(&out, read);
                }
                read = self.streams.stderr.read(&mut err), if !self.err.ended => {
                    self.err.hear(&err, read);
                }
            }
        })
        .await;
        match heard {
            Err(_) => Err(self.silence()),
            Ok(()) if self.out.ended && !self.out.has_line(self.marker) => Err(self.end().await),
            Ok(()) => Ok(()),
        }
    }

    /// Hears out the rest of standard error and says why the command ended.
    async fn end(&mut self) -> StartError {
        let mut rest = Vec::new();
        let soon = Duration::from_millis(500);
        let mut stderr = (&mut self.streams.stderr).take(4096);
        let reading = stderr.read_to_end(&mut rest);
        // A stream that somebody keeps open is no reason to wait any longer.
        tokio::time::timeout(soon, reading).await.ok();
        self.err.bytes.extend(rest);
        let said = self.said();
        match self.wish.and_then(|_| Become::refusal(&said)) {
            Some(refusal) => self.refused(refusal),
            None if self.wish.is_some() && !self.through && !said.is_empty() => {
                self.refused(Refusal::Ended)
            }
            None => StartError::Ended { said },
        }
    }

    fn refused(&self, refusal: Refusal) -> StartError {
        match self.wish {
            Some(wish) => StartError::Become {
                method: wish.method,
                user: wish.user.clone(),
                refusal,
                said: self.said(),
            },
            None => StartError::Ended { said: self.said() },
        }
    }

    fn silence(&self) -> StartError {
        let seconds = self.patience().as_secs();
        let said = self.said();
        match self.wish {
            Some(wish) if !self.through => StartError::NoBecome {
                method: wish.method,
                seconds,
                prompt: wish.password.is_some() && !self.asked,
                said,
            },
            _ => StartError::Silence { seconds, said },
        }
    }

    /// Returns the end of what was said, for a message; our own prompt is left out.
    fn said(&self) -> String {
        let text = format!("{}\n{}", self.out.text(), self.err.text());
        let own = format!("[backstay {}] password:", self.marker);
        let text = text.replace(&own, "");
        let lines: Vec<&str> = text
            .lines()
            .map(str::trim)
            .filter(|line| !line.is_empty())
            .collect();
        let text = lines.join("; ");
        let excess = text.chars().count().saturating_sub(MOST_SAID);
        text.chars().skip(excess).collect()
    }
}

/// What came on one stream.
#[derive(Default)]
pub(super) struct Heard {
    pub(super) bytes: Vec<u8>,
    /// Up to where a prompt has been answered.
    pub(super) answered: usize,
    ended: bool,
}

impl Heard {
    fn hear(&mut self, buffer: &[u8], read: std::io::Result<usize>) {
        match read {
            Ok(count) if count > 0 => self.bytes.extend_from_slice(&buffer[..count]),
            _ => self.ended = true,
        }
    }

    /// Takes the next line that begins with the marker, and forgets everything before it.
    fn marked_line(&mut self, marker: &str) -> Option<String> {
        let (start, end) = self.find_line(marker)?;
        let line = String::from_utf8_lossy(&self.bytes[start..end])
            .trim()
            .to_owned();
        self.bytes.drain(..=end);
        self.answered = 0;
        Some(line)
    }

    fn has_line(&self, marker: &str) -> bool {
        self.find_line(marker).is_some()
    }

    /// Finds what stands between the marker's blank and the end of its line.
    fn find_line(&self, marker: &str) -> Option<(usize, usize)> {
        let wanted = format!("{marker} ");
        let start = self
            .bytes
            .windows(wanted.len())
            .position(|window| window == wanted.as_bytes())?
            + wanted.len();
        let length = self.bytes[start..].iter().position(|byte| *byte == b'\n')?;
        Some((start, start + length))
    }

    fn text(&self) -> String {
        String::from_utf8_lossy(&self.bytes).into_owned()
    }

    fn unanswered(&self) -> String {
        String::from_utf8_lossy(&self.bytes[self.answered..]).into_owned()
    }

    fn answer(&mut self) {
        self.answered = self.bytes.len();
    }
}
