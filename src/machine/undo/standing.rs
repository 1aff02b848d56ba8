//! Which changes have to wait for a later one that could not be undone.
//!
//! Undone out of order, the later one would take the old state for somebody else's when its turn
//! comes.

use std::path::{Path, PathBuf};

use crate::transaction::journal::UndoRecord;

/// A path whose change stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Standing {
    path: PathBuf,
    /// With all that is below it; else only its attributes.
    is_whole: bool,
}

/// Returns what stands when a record could not be undone.
pub(super) fn of(record: &UndoRecord) -> Vec<Standing> {
    let is_whole = is_whole(record);
    record
        .paths()
        .into_iter()
        .map(|path| Standing {
            path: path.to_owned(),
            is_whole,
        })
        .collect()
}

/// Returns the path of a change that stands and that an older record has to wait for.
pub(super) fn in_the_way<'s>(standing: &'s [Standing], record: &UndoRecord) -> Option<&'s Path> {
    let paths = record.paths();
    let hinders = |standing: &&Standing| {
        paths.iter().any(|path| {
            standing.path == *path
                || standing.is_whole && path.starts_with(&standing.path)
                || is_whole(record) && standing.path.starts_with(path)
        })
    };
    let found = standing.iter().find(hinders)?;
    Some(&found.path)
}

fn is_whole(record: &UndoRecord) -> bool {
    !matches!(record, UndoRecord::Attributes { .. })
}
