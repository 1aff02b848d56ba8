//! The state directory: a host's transactions and the generations they left.
//!
//! ```text
//! ROOT/transactions/ID/journal    what was changed (see `log`)
//! ROOT/transactions/ID/kept/      pre-images, and what others made of files meanwhile
//! ROOT/current/APPLICATION.json   what stands, for other programs; read by nobody here
//! ```
//! Everything is the user's alone. A generation is a committed transaction; its number stands in
//! its journal. Knows nothing of how a change is undone.

mod collecting;
mod current;
mod walk;

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use rustix::io::Errno;

use super::log::{self, FileLog, Header, JOURNAL, LogError, Replay};
use super::state::State;

/// The state directory of one user of a host.
#[derive(Clone, Debug)]
pub struct StateRoot {
    path: PathBuf,
}

/// One transaction's directory and what it holds.
#[derive(Clone, Debug, PartialEq)]
pub struct Stored {
    pub id: String,
    pub directory: PathBuf,
    /// What its journal says, or what is wrong with the journal.
    pub journal: Result<Replay, String>,
}

/// Why the state directory cannot be used.
#[derive(Debug)]
pub enum StoreError {
    Io {
        path: PathBuf,
        error: io::Error,
    },
    /// Somebody else could change what is in it.
    Unsafe {
        path: PathBuf,
        why: &'static str,
    },
    /// No transaction is called so.
    BadId(String),
    Log(LogError),
}

impl StateRoot {
    /// Opens the state directory at the absolute `path`; what is missing is made, mode 0700.
    ///
    /// Refuses a path that goes through a link, or through a directory that others may change.
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        walk::make(path)?;
        walk::make(&path.join(TRANSACTIONS))?;
        Ok(Self {
            path: path.to_owned(),
        })
    }

    /// Opens the state directory if it is there.
    pub fn find(path: &Path) -> Result<Option<Self>, StoreError> {
        match rustix::fs::lstat(path.join(TRANSACTIONS)) {
            Err(Errno::NOENT) => Ok(None),
            _ => Self::open(path).map(Some),
        }
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Returns the directory of a transaction, whether it is there or not.
    pub fn directory(&self, id: &str) -> Result<PathBuf, StoreError> {
        let digits = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
        if id.len() != 32 || !id.bytes().all(digits) {
            return Err(StoreError::BadId(id.to_owned()));
        }
        Ok(self.path.join(TRANSACTIONS).join(id))
    }

    /// Begins a transaction.
    pub fn create(&self, header: Header) -> Result<FileLog, StoreError> {
        let directory = self.directory(&header.id)?;
        Ok(FileLog::create(&directory, header)?)
    }

    /// Reads one transaction; `None` when there is none of that name.
    pub fn transaction(&self, id: &str) -> Result<Option<Stored>, StoreError> {
        let directory = self.directory(id)?;
        match directory.symlink_metadata() {
            Ok(_) => Ok(Some(stored(id.to_owned(), directory))),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(StoreError::io(&directory, error)),
        }
    }

    /// Returns all transactions, those opened first, first; broken ones last.
    pub fn transactions(&self) -> Result<Vec<Stored>, StoreError> {
        let path = self.path.join(TRANSACTIONS);
        let wrong = |error| StoreError::io(&path, error);
        let mut found = Vec::new();
        for entry in std::fs::read_dir(&path).map_err(wrong)? {
            let name = entry.map_err(wrong)?.file_name();
            if let Some(id) = name.to_str().filter(|id| self.directory(id).is_ok()) {
                found.push(stored(id.to_owned(), path.join(id)));
            }
        }
        found.sort_by_key(|one| {
            let opened = one.header().map(|header| header.opened);
            // The lock lets one end before the next begins: of two that were opened in one second
            // the later one was written last.
            let written = one.directory.join(JOURNAL).metadata();
            let written = written.and_then(|journal| journal.modified()).ok();
            (opened.is_none(), opened, written, one.id.clone())
        });
        Ok(found)
    }

    /// Returns the committed transactions of an application by their numbers, the newest last.
    pub fn generations(&self, application: &str) -> Result<Vec<Stored>, StoreError> {
        let mut committed: Vec<_> = self.transactions()?;
        committed.retain(|one| one.is_of(application) && one.generation().is_some());
        committed.sort_by_key(Stored::generation);
        Ok(committed)
    }

    /// Returns the number that the next commit of an application gets.
    pub fn next_generation(&self, application: &str) -> Result<u64, StoreError> {
        let last = self.generations(application)?.pop();
        Ok(last.and_then(|last| last.generation()).unwrap_or(0) + 1)
    }

    /// Returns the newest committed generation of an application that was found healthy.
    pub fn last_known_good(&self, application: &str) -> Result<Option<Stored>, StoreError> {
        let mut generations = self.generations(application)?;
        generations.retain(Stored::is_healthy);
        Ok(generations.pop())
    }
}

const TRANSACTIONS: &str = "transactions";

impl Stored {
    pub fn replay(&self) -> Option<&Replay> {
        self.journal.as_ref().ok()
    }

    pub fn header(&self) -> Option<&Header> {
        self.replay().map(Replay::header)
    }

    /// Tells whether it was read just before it began, or while it went: whoever does that looks
    /// after it, and nothing was changed that is not undone.
    pub fn is_unborn(&self) -> bool {
        self.journal.is_err()
            && match log::read(&self.directory) {
                Ok(_) | Err(LogError::Unborn) => true,
                Err(LogError::Io { error, .. }) => error.kind() == io::ErrorKind::NotFound,
                _ => false,
            }
    }

    /// Returns how far it is; a journal that cannot be read is stuck.
    pub fn state(&self) -> State {
        self.replay().map_or(State::Stuck, Replay::state)
    }

    pub fn generation(&self) -> Option<u64> {
        self.replay().and_then(Replay::generation)
    }

    pub fn is_healthy(&self) -> bool {
        self.replay().is_some_and(Replay::is_healthy)
    }

    fn is_of(&self, application: &str) -> bool {
        self.header()
            .is_some_and(|header| header.application == application)
    }
}

fn stored(id: String, directory: PathBuf) -> Stored {
    let journal = log::read(&directory).map_err(|error| error.to_string());
    Stored {
        id,
        directory,
        journal,
    }
}

/// Returns the name of this boot of the machine; empty where the kernel has none.
pub fn boot_id() -> String {
    let id = std::fs::read_to_string("/proc/sys/kernel/random/boot_id");
    id.unwrap_or_default().trim().to_owned()
}

impl StoreError {
    fn io(path: &Path, error: impl Into<io::Error>) -> Self {
        Self::Io {
            path: path.to_owned(),
            error: error.into(),
        }
    }
}

impl fmt::Display for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io { path, error } => write!(f, "cannot use `{}`: {error}", path.display()),
            Self::Unsafe { path, why } => {
                write!(f, "cannot keep state in `{}`: {why}", path.display())
            }
            Self::BadId(id) => write!(f, "`{id}` names no transaction"),
            Self::Log(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for StoreError {}

impl From<LogError> for StoreError {
    fn from(error: LogError) -> Self {
        Self::Log(error)
    }
}

#[cfg(test)]
mod tests;
