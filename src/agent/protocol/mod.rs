//! The messages between controller and agent, as JSON control frames.
//!
//! Both ends are the same binary, so the version only guards against a stray peer. The agent says
//! hello first; the controller need not wait for it. Requests carry a sequence number that their
//! answer repeats; content travels as numbered streams under credit, so neither end buffers more
//! than [`WINDOW`] of one.

mod deprecated;
mod transaction;

use std::io;

use serde::{Deserialize, Serialize};

use super::frame::{Frame, MAX_CONTROL};
use crate::machine::ContentId;
use crate::transaction::state::Step;
use crate::value::Map;

pub use deprecated::Deprecated;
pub use transaction::{
    Answer, Ask, Attached, Committed, Decision, Open, Opened, Recovered, UndoReport, Vote,
};

/// The version of this protocol.
pub const PROTOCOL: u32 = 1;

/// How many bytes of a stream may be under way before the receiver grants more.
pub const WINDOW: u64 = 1024 * 1024;

/// Whether a task changes the target, and what later tasks see of its prediction.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CheckMode {
    /// The task runs for real.
    #[default]
    Off,
    /// The whole run is a prediction: later tasks see what this one would have done.
    Run,
    /// Each task of the run is told from the target as it is, as in Ansible; what earlier ones would
    /// have made is there only for a task that fails without it.
    Each,
    /// Only this task predicts, in a run that changes the target; its prediction is forgotten.
    Task,
}

/// One task for the agent.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Call {
    /// The module's short name.
    pub module: String,
    /// The module's final arguments.
    #[serde(with = "as_value")]
    pub arguments: Map,
    pub check: CheckMode,
    pub diff: bool,
    /// The task's `environment`.
    pub environment: Vec<(String, String)>,
    pub umask: Option<u32>,
    /// The task's `timeout` in seconds.
    pub timeout: Option<f64>,
    /// Runs the task as a job that outlives the session; the answer says where it is to be found.
    pub background: Option<Background>,
    /// The task's number in the open transaction, where it runs at most once; growing.
    pub transaction_seq: Option<u64>,
    /// The shell text that the user declared to undo the task.
    pub undo: Option<String>,
    /// Paths that the user declared the task to change; kept before it runs.
    pub protect: Vec<String>,
    /// The task says of itself that it changes nothing: what it runs needs no undo.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub harmless: bool,
    /// The task is secret: its program and what undoes it are not told, in the journal neither.
    pub no_log: bool,
}

/// How a task runs in the background (`async`).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Background {
    /// The first part of the job's name; its process completes it.
    pub id: String,
    /// Where jobs leave their results; expanded on the target.
    pub directory: String,
    /// How long the job may run.
    pub seconds: u64,
}

/// What came of a task.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Reply {
    /// The result as Ansible registers it: `changed`, `failed`, the module's values …
    #[serde(with = "as_value")]
    pub result: Map,
    /// The task's own `timeout` ended it.
    pub timed_out: bool,
    /// What it changed, or would change in check mode.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub steps: Vec<Step>,
    /// The texts of the result that should not be used any more.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub deprecated: Vec<Deprecated>,
}

impl Reply {
    /// Makes the answer of a result.
    pub fn new(result: Map) -> Self {
        Self {
            deprecated: deprecated::found_in(&result),
            result,
            ..Self::default()
        }
    }

    /// Returns the result with what is known of its texts.
    pub fn into_result(mut self) -> Map {
        deprecated::mark_in(&mut self.result, &self.deprecated);
        self.result
    }
}

/// What the controller says.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case", deny_unknown_fields)]
pub enum ToAgent {
    Hello {
        protocol: u32,
    },
    Call {
        seq: u64,
        call: Box<Call>,
    },
    /// Asks for a file's bytes.
    Fetch {
        seq: u64,
        path: String,
    },
    Cancel {
        seq: u64,
    },
    /// Lets the agent send `bytes` more of a fetched file.
    Credit {
        stream: u64,
        bytes: u64,
    },
    /// Ends the content the agent asked for; `error` says why it is not whole.
    End {
        stream: u64,
        error: Option<String>,
    },
    Transaction {
        seq: u64,
        ask: Box<Ask>,
    },
    /// Renews the lease of the open transaction; answered by the same word.
    Heartbeat,
}

/// What the agent says.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case", deny_unknown_fields)]
pub enum ToController {
    Hello {
        protocol: u32,
        version: String,
        pid: u32,
        uid: u32,
    },
    Reply {
        seq: u64,
        reply: Reply,
    },
    /// Asks for content; it is to come as `stream`, [`WINDOW`] bytes without further credit.
    Need {
        seq: u64,
        stream: u64,
        content: ContentId,
    },
    /// Lets the controller send `bytes` more of a content.
    Credit {
        stream: u64,
        bytes: u64,
    },
    /// A fetched file comes as `stream`.
    Sending {
        seq: u64,
        stream: u64,
        size: u64,
    },
    /// Ends a fetched file, or says why it cannot be (further) read.
    Sent {
        seq: u64,
        sha256: String,
        error: Option<String>,
    },
    Transaction {
        seq: u64,
        answer: Box<Answer>,
    },
    Heartbeat,
}

/// Makes the control frame of a message.
pub fn control<T: Serialize>(message: &T) -> io::Result<Frame> {
    let text = serde_json::to_vec(message).map_err(io::Error::other)?;
    if text.len() > MAX_CONTROL {
        return Err(io::Error::other(format!(
            "a message of {} bytes is longer than the limit of {MAX_CONTROL}",
            text.len()
        )));
    }
    Ok(Frame::Control(text))
}

/// Serializes a dictionary as JSON does, with text keys.
mod as_value {
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    use crate::value::{Map, Value};

    pub(super) fn serialize<S: Serializer>(map: &Map, serializer: S) -> Result<S::Ok, S::Error> {
        Value::from(map.clone()).serialize(serializer)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Map, D::Error> {
        match Value::deserialize(deserializer)? {
            Value::Map(map) => Ok(map.as_ref().clone()),
            other => Err(serde::de::Error::custom(format!(
                "expected a dictionary, got {}",
                other.python_type()
            ))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_travels_as_readable_json_and_back() {
        let call = ToAgent::Call {
            seq: 3,
            call: Box::new(Call {
                module: "ping".into(),
                check: CheckMode::Run,
                ..Call::default()
            }),
        };
        let Frame::Control(text) = control(&call).unwrap() else {
            panic!("control messages are control frames");
        };
        assert_eq!(
            String::from_utf8_lossy(&text),
            r#"{"type":"call","seq":3,"call":{"module":"ping","arguments":{},"check":"run","diff":false,"environment":[],"umask":null,"timeout":null,"background":null,"transaction_seq":null,"undo":null,"protect":[],"no_log":false}}"#
        );
        assert_eq!(serde_json::from_slice::<ToAgent>(&text).unwrap(), call);
    }

    #[test]
    fn unknown_messages_are_refused() {
        for text in [
            r#"{"type":"dance"}"#,
            r#"{"type":"hello","protocol":1,"more":2}"#,
            r#"{"type":"call","seq":1,"call":[]}"#,
        ] {
            assert!(serde_json::from_str::<ToAgent>(text).is_err(), "{text}");
        }
    }
}
