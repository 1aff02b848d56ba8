//! Why no agent came to life on a host.

use std::convert::Infallible;
use std::fmt;
use std::io;

use super::r#become::{Method, Refusal};
use crate::agent::client::AgentError;

/// Why no agent came to life; `E` is the opener's own error.
#[derive(Debug)]
pub enum StartError<E = Infallible> {
    /// No channel could be opened.
    Open(E),
    /// This end cannot read the agent's executable.
    Executable(io::Error),
    /// The host has a CPU or system that no agent is known for.
    OtherCpu {
        found: String,
    },
    /// No private directory takes a program of `size` bytes and runs it.
    NoPlace {
        size: u64,
    },
    /// More than the limit was printed before the shell ran our command.
    Noise,
    /// The agent did not arrive whole.
    Upload,
    /// The agent on the host was damaged, and has been removed.
    Damaged,
    /// Becoming another user was refused; the task fails, the host is not unreachable.
    Become {
        method: Method,
        user: String,
        refusal: Refusal,
        said: String,
    },
    /// Nothing told for too long that the other user was become; `prompt`: the password was not
    /// asked for either.
    NoBecome {
        method: Method,
        seconds: u64,
        prompt: bool,
        said: String,
    },
    /// The command ended before an agent answered.
    Ended {
        said: String,
    },
    /// Nothing was said for too long.
    Silence {
        seconds: u64,
        said: String,
    },
    Agent(AgentError),
}

impl<E> StartError<E> {
    /// Tells whether the failure is one of becoming another user, which fails the task only.
    pub fn is_become(&self) -> bool {
        matches!(self, Self::Become { .. })
    }

    /// Returns what to do about it, in one line.
    pub fn help(&self) -> Option<String> {
        Some(match self {
            Self::OtherCpu { found } => {
                let cpu = found.rsplit(' ').next().unwrap_or(found);
                format!("name a build for it with `--agent {cpu}=PATH`")
            }
            Self::NoPlace { .. } => {
                "free some space, or give the user a home where programs may run".to_owned()
            }
            Self::Noise => "make the login shell quiet when it is not interactive".to_owned(),
            Self::Become { refusal, .. } => refusal.help().to_owned(),
            Self::NoBecome { prompt: true, .. } => {
                "see what asks for the password on the host; `ansible_su_prompt_l10n` names a \
                 prompt of su"
                    .to_owned()
            }
            _ => return None,
        })
    }
}

impl StartError {
    pub(super) fn is_worth_another_try(&self, has_terminal: bool) -> bool {
        matches!(self, Self::Damaged) || (self.wants_terminal() && !has_terminal)
    }

    pub(super) fn wants_terminal(&self) -> bool {
        matches!(
            self,
            Self::Become {
                refusal: Refusal::NeedsTerminal,
                ..
            }
        )
    }

    /// Makes an error of any opener from one that no opener caused.
    pub(super) fn with_any_opener<E>(self) -> StartError<E> {
        match self {
            Self::Open(never) => match never {},
            Self::Executable(error) => StartError::Executable(error),
            Self::OtherCpu { found } => StartError::OtherCpu { found },
            Self::NoPlace { size } => StartError::NoPlace { size },
            Self::Noise => StartError::Noise,
            Self::Upload => StartError::Upload,
            Self::Damaged => StartError::Damaged,
            Self::Become {
                method,
                user,
                refusal,
                said,
            } => StartError::Become {
                method,
                user,
                refusal,
                said,
            },
            Self::NoBecome {
                method,
                seconds,
                prompt,
                said,
            } => StartError::NoBecome {
                method,
                seconds,
                prompt,
                said,
            },
            Self::Ended { said } => StartError::Ended { said },
            Self::Silence { seconds, said } => StartError::Silence { seconds, said },
            Self::Agent(error) => StartError::Agent(error),
        }
    }
}

impl<E: fmt::Display> fmt::Display for StartError<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Open(error) => error.fmt(f),
            Self::Executable(error) => write!(f, "cannot read the agent's executable: {error}"),
            Self::OtherCpu { found } => {
                write!(f, "the host is `{found}`, and there is no agent for that")
            }
            Self::NoPlace { size } => write!(
                f,
                "no private directory on the host takes a program of {size} bytes and runs it"
            ),
            Self::Noise => f.write_str("the login shell prints too much before it runs a command"),
            Self::Upload => f.write_str("the agent did not arrive whole on the host"),
            Self::Damaged => f.write_str("the agent on the host was damaged"),
            Self::Become {
                method,
                user,
                refusal,
                said,
            } => {
                f.write_str(&refusal.message(*method, user))?;
                said_suffix(f, said)
            }
            Self::NoBecome {
                method,
                seconds,
                prompt,
                said,
            } => {
                f.write_str("Timed out waiting for become success")?;
                f.write_str(if *prompt {
                    " or become password prompt"
                } else {
                    ""
                })?;
                write!(f, ": nothing from `{}` for {seconds} s", method.name())?;
                said_suffix(f, said)
            }
            Self::Ended { said } => {
                f.write_str("the command on the host ended before the agent answered")?;
                said_suffix(f, said)
            }
            Self::Silence { seconds, said } => {
                write!(
                    f,
                    "the host said nothing for {seconds} s while the agent started"
                )?;
                said_suffix(f, said)
            }
            Self::Agent(error) => error.fmt(f),
        }
    }
}

impl<E: fmt::Debug + fmt::Display> std::error::Error for StartError<E> {}

fn said_suffix(f: &mut fmt::Formatter<'_>, said: &str) -> fmt::Result {
    if said.is_empty() {
        return Ok(());
    }
    write!(f, ": {said}")
}
