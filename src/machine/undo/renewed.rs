//! What came back as a copy: it is another file than the one that older records know.

use std::path::{Path, PathBuf};

use crate::transaction::journal::{FileId, Keeping, UndoRecord};
use crate::transaction::log::{Entry, Outcome, Replay};

/// The places of copies.
#[derive(Default)]
pub(super) struct Renewed {
    /// Directories with all that is in them, and what has no digest.
    trees: Vec<PathBuf>,
    /// What files were before.
    files: Vec<FileId>,
}

impl Renewed {
    /// Returns what an earlier, interrupted undoing brought back.
    pub(super) fn of(replay: &Replay) -> Self {
        let undone = replay.entries().iter().filter_map(|entry| match entry {
            Entry::Compensated {
                of,
                outcome: Outcome::Restored | Outcome::Nothing | Outcome::Drift(_),
            } => Some(*of),
            _ => None,
        });
        let undone: Vec<u64> = undone.collect();
        let records: Vec<_> = replay
            .records()
            .filter(|(number, _)| undone.contains(number))
            .collect();
        let mut renewed = Self::default();
        for (_, record) in records.into_iter().rev() {
            renewed.note(record);
        }
        renewed
    }

    /// Takes in a record that was undone; the newest come first.
    pub(super) fn note(&mut self, record: &UndoRecord) {
        match record {
            UndoRecord::Replaced { spot, before, .. } | UndoRecord::Removed { spot, before } => {
                match before.kept.as_ref().map(|kept| &kept.how) {
                    Some(Keeping::Copied { sha256: None, .. }) => {
                        self.trees.push(spot.path.clone());
                    }
                    Some(Keeping::Copied { .. }) => self.files.push(before.identity.id),
                    _ => {}
                }
            }
            UndoRecord::Renamed { from, to, .. } => {
                if self.is_in_tree(&to.path) {
                    self.trees.push(from.path.clone());
                }
            }
            UndoRecord::Created { .. }
            | UndoRecord::Attributes { .. }
            | UndoRecord::Effect { .. } => {}
        }
    }

    /// Tells whether the path is of a tree that came back.
    pub(super) fn is_in_tree(&self, path: &Path) -> bool {
        self.trees.iter().any(|tree| path.starts_with(tree))
    }

    /// Tells whether what had this identity, and is at the path now, is another file than before.
    pub(super) fn is_copy(&self, path: &Path, id: FileId) -> bool {
        self.is_in_tree(path) || self.files.contains(&id)
    }
}
