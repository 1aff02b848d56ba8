//! The durable journal of one transaction: written entry by entry, read back after any crash.
//!
//! The file is `journal` in the transaction's directory, pre-images are in `kept` beside it. Only
//! one process writes at a time, which the kernel sees to; anybody who may read it can. Knows
//! nothing of how a change is made or undone.

mod entry;
mod error;
mod file;
mod format;
mod replay;
mod shelf;
mod unsettled;

use std::path::Path;

pub use entry::{Entry, Header, Outcome};
pub use error::LogError;
pub use file::{FileLog, SharedLog};
pub use replay::Replay;

/// The journal's name in a transaction's directory.
pub(in crate::transaction) const JOURNAL: &str = "journal";
/// Where pre-images are.
pub(in crate::transaction) const KEPT: &str = "kept";

/// Reads the journal of the transaction in `directory`.
pub fn read(directory: &Path) -> Result<Replay, LogError> {
    let path = directory.join(JOURNAL);
    let bytes = std::fs::read(&path).map_err(|error| LogError::io(&path, error))?;
    Replay::new(format::scan(&bytes)?.entries)
}

#[cfg(test)]
mod tests;
