//! One attempt to start an agent: what the script asks for, and what it is given.

use super::r#become::{Become, quote};
use super::binary::Binary;
use super::dialogue::Dialogue;
use super::script::script;
use super::{Launch, StartError, Streams};
use crate::agent::client::Agent;

pub(super) struct Attempt<'a> {
    launch: &'a Launch,
    wish: Option<&'a Become>,
    /// Random, so that nothing else can print it.
    marker: String,
    /// Those that can be uploaded; none where the executable runs where it lies.
    binaries: Vec<Binary>,
}

impl<'a> Attempt<'a> {
    /// Prepares an attempt; hashes the executables when nobody has yet.
    pub(super) async fn new<E>(
        launch: &'a Launch,
        wish: Option<&'a Become>,
    ) -> Result<Self, StartError<E>> {
        let agents = launch.agents.clone();
        let binaries = if launch.local && wish.is_none() {
            Vec::new()
        } else {
            blocking(move || agents.binaries().map(<[Binary]>::to_vec))
                .await
                .map_err(StartError::Executable)?
        };
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
        let patience = self.launch.patience;
        let mut dialogue = Dialogue::new(streams, self.wish, &self.marker, patience);
        loop {
            let line = dialogue.next_line().await?;
            if line == "ready" {
                return self.agent(dialogue).await;
            }
            self.obey(&mut dialogue, &line).await?;
        }
    }

    /// Does what the script asks for.
    async fn obey(&self, dialogue: &mut Dialogue<'_>, line: &str) -> Result<(), StartError> {
        let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
        match word {
            "need" => self.upload(dialogue, rest).await,
            "arch" => Err(StartError::OtherCpu {
                found: rest.to_owned(),
            }),
            "nowhere" => Err(StartError::NoPlace { size: self.size() }),
            "damaged" => Err(StartError::Damaged),
            _ => Err(StartError::Upload),
        }
    }

    async fn upload(&self, dialogue: &mut Dialogue<'_>, wish: &str) -> Result<(), StartError> {
        let (encoding, cpu) = wish.split_once(' ').unwrap_or((wish, ""));
        let gzip = encoding == "gzip";
        let (agents, cpu) = (self.launch.agents.clone(), cpu.to_owned());
        let bytes = blocking(move || agents.bytes(&cpu, gzip))
            .await
            .map_err(StartError::Executable)?;
        let header = format!("{} {}\n", if gzip { "gzip" } else { "raw" }, bytes.len());
        dialogue.send(header.as_bytes()).await?;
        for piece in bytes.chunks(256 * 1024) {
            dialogue.send(piece).await?;
        }
        Ok(())
    }

    async fn agent(&self, dialogue: Dialogue<'_>) -> Result<Agent, StartError> {
        let Streams {
            stdin,
            stdout,
            stderr,
        } = dialogue.streams;
        let starting = Agent::start(stdout, stdin, Some(stderr), &dialogue.out.bytes);
        match tokio::time::timeout(self.launch.patience, starting).await {
            Ok(started) => started.map_err(StartError::Agent),
            Err(_) => Err(StartError::Silence {
                seconds: self.launch.patience.as_secs(),
                said: String::new(),
            }),
        }
    }

    fn size(&self) -> u64 {
        self.binaries.first().map_or(0, |binary| binary.size)
    }
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> std::io::Result<T> + Send + 'static,
) -> std::io::Result<T> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(std::io::Error::other)?
}
