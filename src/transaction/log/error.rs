//! Why a journal cannot be written or read.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

/// What is wrong with a journal.
#[derive(Debug)]
pub enum LogError {
    Io {
        path: PathBuf,
        error: io::Error,
    },
    /// The machine stopped before the journal's first entry was written: nothing was changed.
    Unborn,
    /// It is no journal.
    Foreign,
    /// Another version's.
    Version(u32),
    /// It was changed after it was written.
    Damaged {
        at: usize,
    },
    /// An entry that cannot be written or understood.
    Entry(String),
    /// An earlier write failed, for this reason: nothing more is written.
    Poisoned(String),
    /// Another process writes this journal.
    Busy,
    /// There is no such transaction, savepoint or generation.
    Unknown(String),
}

impl LogError {
    pub(super) fn io(path: &Path, error: impl Into<io::Error>) -> Self {
        Self::Io {
            path: path.to_owned(),
            error: error.into(),
        }
    }
}

impl fmt::Display for LogError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io { path, error } => write!(f, "cannot use `{}`: {error}", path.display()),
            Self::Unborn => f.write_str("the journal ends before its first entry"),
            Self::Foreign => f.write_str("the file is no journal of backstay"),
            Self::Version(version) => write!(
                f,
                "the journal has version {version}, this backstay reads up to {}",
                super::format::VERSION
            ),
            Self::Damaged { at } => write!(f, "the journal is damaged at byte {at}"),
            Self::Entry(why) => write!(f, "an entry of the journal is wrong: {why}"),
            Self::Poisoned(why) => write!(f, "an earlier write to the journal failed: {why}"),
            Self::Busy => f.write_str("another process writes the journal"),
            Self::Unknown(what) => write!(f, "there is no {what}"),
        }
    }
}

impl std::error::Error for LogError {}

impl From<LogError> for io::Error {
    fn from(error: LogError) -> Self {
        match error {
            LogError::Io { error, .. } if error.raw_os_error().is_some() => error,
            error => Self::other(error),
        }
    }
}
