//! Bringing the agent to life on a host: one command on one channel, whoever's shell it meets.
//!
//! The command is a few lines of `sh` that run the cached agent or ask for its bytes. Everything
//! the shell prints before our random marker is skipped. Works over any channel that the caller
//! can open; knows no transport.

mod r#become;
mod binary;
mod dialogue;
mod errand;
mod error;
mod script;
mod talk;

use std::future::Future;
use std::time::Duration;

use super::client::{Agent, Input, Output};

pub use r#become::{Become, Method, Refusal};
pub use binary::Agents;
pub use errand::Errand;
pub use error::StartError;

/// The streams of one running command.
pub struct Streams {
    pub stdin: Output,
    pub stdout: Input,
    pub stderr: Input,
}

/// How to run a command on the host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CommandLine {
    /// For the user's login shell.
    pub text: String,
    /// The command needs a terminal of its own.
    pub terminal: bool,
}

/// How to start agents.
#[derive(Clone, Debug)]
pub struct Launch {
    pub agents: Agents,
    /// The host is this machine: the executable is run where it lies.
    pub local: bool,
    /// The longest silence that is put up with.
    pub patience: Duration,
}

impl Launch {
    /// Starts the agent as the login user, or as whom `become` says.
    ///
    /// `open` runs a command on the host; it is asked again, once, when a terminal turns out to
    /// be needed or a cached agent to be damaged.
    pub async fn start<O, F, E>(
        &self,
        r#become: Option<&Become>,
        mut open: O,
    ) -> Result<Agent, StartError<E>>
    where
        O: FnMut(CommandLine) -> F,
        F: Future<Output = Result<Streams, E>>,
    {
        let mut terminal = r#become.is_some_and(Become::needs_terminal);
        let mut tried_again = false;
        loop {
            let attempt = talk::Attempt::new(self, r#become).await?;
            let command = CommandLine {
                text: attempt.command(),
                terminal,
            };
            let streams = open(command).await.map_err(StartError::Open)?;
            match attempt.run(streams).await {
                Err(error) if error.is_worth_another_try(terminal) && !tried_again => {
                    tried_again = true;
                    terminal |= error.wants_terminal();
                }
                ended => return ended.map_err(StartError::with_any_opener),
            }
        }
    }
}
