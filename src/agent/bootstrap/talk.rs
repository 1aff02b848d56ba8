//! One attempt to start an agent: what is read, what is answered, and when to give up.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::r#become::{Become, Refusal, quote};
use super::binary::Binary;
use super::script::script;
use super::{Launch, StartError, Streams};
use crate::agent::client::Agent;

/// The most that is read before our marker.
const MOST_NOISE: usize = 64 * 1024;
/// What is kept of it for messages, in characters.
const MOST_SAID: usize = 500;

pub(super) struct Attempt<'a> {
    launch: &'a Launch,
    wish: Option<&'a Become>,
    /// Random, so that nothing else can print it.
    marker: String,
    binaries: Vec<Binary>,
}

impl<'a> Attempt<'a> {
    /// Prepares an attempt; hashes the executables when nobody has yet.
    pub(super) async fn new<E>(
        launch: &'a Launch,
        wish: Option<&'a Become>,
    ) -> Result<Self, StartError<E>> {
        let agents = launch.agents.clone();
        let binaries = blocking(move || agents.binaries().map(<[Binary]>::to_vec))
            .await
            .map_err(StartError::Executable)?;
        Ok(Self {
            launch,
            wish,
            marker: format!("{:032x}", rand::random::<u128>()),
            binaries,
        })
    }

    /// Returns the command for the login shell.
    pub(super) fn command(&self) -> String {
        let known: Vec<&Binary> = self.binaries.iter().collect();
        let text = script(&self.marker, &known);
        match self.wish {
            Some(wish) => wish.command(&text, &self.marker),
            None if self.launch.local => format!(
                "exec {} agent --marker {}",
                quote(&self.launch.agents.own().to_string_lossy()),
                self.marker
            ),
            None => format!("exec /bin/sh -c {}", quote(&text)),
        }
    }

    /// Talks to the command until the agent answers.
    pub(super) async fn run(&self, streams: Streams) -> Result<Agent, StartError> {
        let mut talk = Talk {
            attempt: self,
            streams,
            out: Heard::default(),
            err: Heard::default(),
            asked: false,
        };
        loop {
            let Some(line) = talk.out.marked_line(&self.marker) else {
                talk.answer_prompt().await?;
                talk.listen().await?;
                continue;
            };
            if line == "ready" {
                return talk.into_agent().await;
            }
            talk.obey(&line).await?;
        }
    }

    fn size(&self) -> u64 {
        self.binaries.first().map_or(0, |binary| binary.size)
    }
}

struct Talk<'a> {
    attempt: &'a Attempt<'a>,
    streams: Streams,
    out: Heard,
    err: Heard,
    /// The password was asked for, and given, before.
    asked: bool,
}

impl Talk<'_> {
    /// Does what the script asks for.
    async fn obey(&mut self, line: &str) -> Result<(), StartError> {
        let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
        match word {
            "need" => self.upload(rest).await,
            "arch" => Err(StartError::OtherCpu {
                found: rest.to_owned(),
            }),
            "nowhere" => Err(StartError::NoPlace {
                size: self.attempt.size(),
            }),
            "damaged" => Err(StartError::Damaged),
            _ => Err(StartError::Upload),
        }
    }

    async fn upload(&mut self, wish: &str) -> Result<(), StartError> {
        let (encoding, cpu) = wish.split_once(' ').unwrap_or((wish, ""));
        let gzip = encoding == "gzip";
        let (agents, cpu) = (self.attempt.launch.agents.clone(), cpu.to_owned());
        let bytes = blocking(move || agents.bytes(&cpu, gzip))
            .await
            .map_err(StartError::Executable)?;
        let header = format!("{} {}\n", if gzip { "gzip" } else { "raw" }, bytes.len());
        self.send(header.as_bytes()).await?;
        for piece in bytes.chunks(256 * 1024) {
            self.send(piece).await?;
        }
        Ok(())
    }

    async fn send(&mut self, bytes: &[u8]) -> Result<(), StartError> {
        let stdin = &mut self.streams.stdin;
        let sending = async {
            stdin.write_all(bytes).await?;
            stdin.flush().await
        };
        match tokio::time::timeout(self.attempt.launch.patience, sending).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) => Err(self.end().await),
            Err(_) => Err(self.silence()),
        }
    }

    /// Gives the password to a prompt; a second prompt means that it was wrong.
    async fn answer_prompt(&mut self) -> Result<(), StartError> {
        let Some(wish) = self.attempt.wish else {
            return Ok(());
        };
        let marker = &self.attempt.marker;
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
        let heard = tokio::time::timeout(self.attempt.launch.patience, async {
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
            Ok(()) if self.out.ended && !self.out.has_line(&self.attempt.marker) => {
                Err(self.end().await)
            }
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
        match self.attempt.wish.and_then(|_| Become::refusal(&said)) {
            Some(refusal) => self.refused(refusal),
            None => StartError::Ended { said },
        }
    }

    fn refused(&self, refusal: Refusal) -> StartError {
        match self.attempt.wish {
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
        StartError::Silence {
            seconds: self.attempt.launch.patience.as_secs(),
            said: self.said(),
        }
    }

    /// Returns the end of what was said, for a message; our own prompt is left out.
    fn said(&self) -> String {
        let text = format!("{}\n{}", self.out.text(), self.err.text());
        let own = format!("[backstay {}] password:", self.attempt.marker);
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

    async fn into_agent(self) -> Result<Agent, StartError> {
        let Streams {
            stdin,
            stdout,
            stderr,
        } = self.streams;
        let starting = Agent::start(stdout, stdin, Some(stderr), &self.out.bytes);
        match tokio::time::timeout(self.attempt.launch.patience, starting).await {
            Ok(started) => started.map_err(StartError::Agent),
            Err(_) => Err(StartError::Silence {
                seconds: self.attempt.launch.patience.as_secs(),
                said: String::new(),
            }),
        }
    }
}

/// What came on one stream.
#[derive(Default)]
struct Heard {
    bytes: Vec<u8>,
    /// Up to where a prompt has been answered.
    answered: usize,
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

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> std::io::Result<T> + Send + 'static,
) -> std::io::Result<T> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(std::io::Error::other)?
}
