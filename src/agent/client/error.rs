//! How an agent can fail the controller.

use std::fmt;
use std::io;

/// The agent cannot be talked to any further; the host counts as unreachable.
#[derive(Debug)]
pub enum AgentError {
    /// The channel ended or broke; `last_words` is the end of the agent's standard error.
    Lost { why: String, last_words: String },
    /// The agent speaks another version of the protocol.
    Version(u32),
    /// The agent says what no agent says.
    Protocol(String),
    /// The request itself cannot be sent, for instance because it is too long.
    Request(io::Error),
}

impl fmt::Display for AgentError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Lost { why, last_words } if last_words.is_empty() => {
                write!(f, "lost the agent on the host: {why}")
            }
            Self::Lost { why, last_words } => {
                write!(
                    f,
                    "lost the agent on the host: {why}; it last said: {last_words}"
                )
            }
            Self::Version(version) => {
                write!(f, "the agent on the host speaks protocol {version}")
            }
            Self::Protocol(what) => write!(f, "the agent on the host sent {what}"),
            Self::Request(error) => write!(f, "the task cannot be sent: {error}"),
        }
    }
}

impl std::error::Error for AgentError {}

/// Why a file could not be fetched.
#[derive(Debug)]
pub enum FetchError {
    Agent(AgentError),
    /// The target cannot read the file; the text says why.
    Refused(String),
    /// The controller cannot write its copy.
    Local(io::Error),
    /// Other bytes arrived than were sent.
    Corrupt {
        sent: String,
        received: String,
    },
}

impl fmt::Display for FetchError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Agent(error) => error.fmt(f),
            Self::Refused(why) => f.write_str(why),
            Self::Local(error) => write!(f, "cannot write the fetched file: {error}"),
            Self::Corrupt { sent, received } => {
                write!(
                    f,
                    "the file changed on its way: sha256 {sent} became {received}"
                )
            }
        }
    }
}

impl std::error::Error for FetchError {}

impl From<AgentError> for FetchError {
    fn from(error: AgentError) -> Self {
        Self::Agent(error)
    }
}
