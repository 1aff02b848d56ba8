//! What a file is to hold, and where the bytes come from.

use std::io::{self, Read};
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// Names bytes that the controller has.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct ContentId {
    /// Lowercase hexadecimal.
    pub sha256: String,
    pub size: u64,
}

/// What a file is to hold.
#[derive(Clone, Debug)]
pub enum Content {
    Bytes(Vec<u8>),
    /// Another file on the target.
    File(PathBuf),
    /// Bytes on the controller, sent only when they are needed.
    Remote(ContentId),
}

impl From<&str> for Content {
    fn from(text: &str) -> Self {
        Self::Bytes(text.into())
    }
}

impl From<String> for Content {
    fn from(text: String) -> Self {
        Self::Bytes(text.into())
    }
}

impl From<Vec<u8>> for Content {
    fn from(bytes: Vec<u8>) -> Self {
        Self::Bytes(bytes)
    }
}

/// Gives out the controller's bytes.
pub trait ContentSource: Send {
    /// Opens a stream of the content; it ends early only with an error.
    fn open(&mut self, id: &ContentId) -> io::Result<Box<dyn Read + Send + '_>>;
}

/// A source for machines that no controller feeds.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoContents;

impl ContentSource for NoContents {
    fn open(&mut self, id: &ContentId) -> io::Result<Box<dyn Read + Send + '_>> {
        Err(io::Error::new(
            io::ErrorKind::NotFound,
            format!("nobody has the content {}", id.sha256),
        ))
    }
}
