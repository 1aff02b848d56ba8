//! What a journal amounts to: the state is derived from the entries, never stored.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use crate::transaction::journal::{Undo, UndoRecord};
use crate::transaction::state::{Drift, Item, State, Summary};

use super::{Entry, Header, LogError, Outcome};

/// A journal as it was read.
#[derive(Clone, Debug, PartialEq)]
pub struct Replay {
    header: Header,
    entries: Vec<Entry>,
}

impl Replay {
    /// Makes the replay of entries whose first one is `Opened`.
    pub(super) fn new(entries: Vec<Entry>) -> Result<Self, LogError> {
        match entries.first() {
            Some(Entry::Opened(header)) => Ok(Self {
                header: header.clone(),
                entries,
            }),
            _ => Err(LogError::Unborn),
        }
    }

    pub fn header(&self) -> &Header {
        &self.header
    }

    /// Returns the entries; an entry's number is its index.
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// Returns how far the transaction is.
    pub fn state(&self) -> State {
        self.entries.iter().fold(State::Locked, after)
    }

    /// Returns the changes to be undone down to a savepoint, newest first, with their numbers.
    pub fn pending(&self, to: Option<&str>) -> Result<Vec<(u64, &UndoRecord)>, LogError> {
        let start = self.start(to)?;
        let compensated = self.compensated();
        let records = self.numbered().filter_map(|(number, entry)| match entry {
            Entry::Undo { record } => Some((number, record)),
            _ => None,
        });
        let mut pending: Vec<_> = records
            .filter(|(number, _)| *number >= start && !compensated.contains(number))
            .collect();
        pending.reverse();
        Ok(pending)
    }

    /// Returns all recorded changes, oldest first, undone ones too, with their numbers.
    pub fn records(&self) -> impl Iterator<Item = (u64, &UndoRecord)> {
        self.numbered().filter_map(|(number, entry)| match entry {
            Entry::Undo { record } => Some((number, record)),
            _ => None,
        })
    }

    /// Tells whether any change is recorded that is not undone.
    ///
    /// What a task that changed nothing would only do again, as `daemon-reload`, is none.
    pub fn has_changes(&self) -> bool {
        let idle = self.idle();
        self.pending(None)
            .is_ok_and(|pending| pending.iter().any(|(number, _)| !idle.contains(number)))
    }

    /// Returns the numbers of effects to run again of tasks that say they changed nothing.
    fn idle(&self) -> BTreeSet<u64> {
        let (mut idle, mut of_task) = (BTreeSet::new(), Vec::new());
        for (number, entry) in self.numbered() {
            match entry {
                Entry::TaskStarted { .. } => of_task.clear(),
                Entry::Undo {
                    record:
                        UndoRecord::Effect {
                            undo: Undo::Again(_),
                            ..
                        },
                } => of_task.push(number),
                Entry::TaskDone { result, .. } if result["result"]["changed"] == false => {
                    idle.extend(of_task.drain(..));
                }
                _ => {}
            }
        }
        idle
    }

    /// Returns the results of the tasks that are over, by the controller's number.
    pub fn results(&self) -> BTreeMap<u64, &serde_json::Value> {
        let done = self.entries.iter().filter_map(|entry| match entry {
            Entry::TaskDone { seq, result } => Some((*seq, result)),
            _ => None,
        });
        done.collect()
    }

    /// Returns the highest number of a task that began.
    pub fn last_seq(&self) -> Option<u64> {
        let begun = self.entries.iter().filter_map(|entry| match entry {
            Entry::TaskStarted { seq, .. } | Entry::TaskDone { seq, .. } => Some(*seq),
            _ => None,
        });
        begun.max()
    }

    /// Returns the number of the generation, once it is committed.
    pub fn generation(&self) -> Option<u64> {
        self.entries.iter().find_map(|entry| match entry {
            Entry::Committed { generation, .. } => Some(*generation),
            _ => None,
        })
    }

    /// Tells whether the new state was found healthy, before or after the commit.
    pub fn is_healthy(&self) -> bool {
        let healthy = |entry: &Entry| matches!(entry, Entry::Healthy | Entry::Verified);
        self.entries.iter().any(healthy)
    }

    /// Returns why the transaction was undone last.
    pub fn reason(&self) -> Option<&str> {
        self.entries.iter().rev().find_map(|entry| match entry {
            Entry::RollingBack { reason, .. } => Some(reason.as_str()),
            _ => None,
        })
    }

    /// Returns how often undoing the whole was begun.
    pub fn attempts(&self) -> usize {
        let begun = |entry: &&Entry| matches!(entry, Entry::RollingBack { to: None, .. });
        self.entries.iter().filter(begun).count()
    }

    /// Returns what could not be undone at the last attempt.
    pub fn stuck(&self) -> &[Item] {
        let last = self.entries.iter().rev().find_map(|entry| match entry {
            Entry::Stuck { items, .. } => Some(items.as_slice()),
            Entry::RolledBack { to: None, .. } => Some([].as_slice()),
            _ => None,
        });
        last.unwrap_or_default()
    }

    /// Returns what others had changed meanwhile, as far as undoing found it.
    pub fn drift(&self) -> Vec<&Drift> {
        let outcomes = self.entries.iter().filter_map(|entry| match entry {
            Entry::Compensated {
                outcome: Outcome::Drift(drift),
                ..
            } => Some(drift),
            _ => None,
        });
        outcomes.collect()
    }

    /// Returns the effects that nobody can undo, oldest first.
    pub fn opaque(&self) -> Vec<&str> {
        let effects = self.records().filter_map(|(_, record)| match record {
            UndoRecord::Effect {
                what,
                undo: Undo::Opaque,
                ..
            } => Some(what.as_str()),
            _ => None,
        });
        effects.collect()
    }

    /// Returns when the transaction was committed, undone or given up last.
    pub fn ended(&self) -> Option<i64> {
        self.entries.iter().rev().find_map(|entry| match entry {
            Entry::Committed { at, .. }
            | Entry::RolledBack { to: None, at }
            | Entry::Stuck { at, .. } => Some(*at),
            _ => None,
        })
    }

    /// Returns what others are told of the transaction.
    pub fn summary(&self) -> Summary {
        let changes = self.records().count();
        Summary {
            id: self.header.id.clone(),
            application: self.header.application.clone(),
            run: self.header.run.clone(),
            state: self.state(),
            opened: self.header.opened,
            ended: self.ended(),
            generation: self.generation(),
            healthy: self.is_healthy(),
            changes: u64::try_from(changes).expect("a list's length fits"),
            reason: self.reason().map(str::to_owned),
            drift: self.drift().into_iter().cloned().collect(),
            stuck: self.stuck().to_vec(),
            opaque: self.opaque().into_iter().map(str::to_owned).collect(),
        }
    }

    /// Returns the directories on other file systems where pre-images are kept.
    pub fn shelves(&self) -> Vec<&Path> {
        let shelves = self.entries.iter().filter_map(|entry| match entry {
            Entry::Shelf { path } => Some(path.as_path()),
            _ => None,
        });
        shelves.collect()
    }

    /// Returns the savepoint at which an undoing that was begun and is not over is to stop.
    pub fn unfinished_target(&self) -> Option<Option<&str>> {
        self.entries.iter().rev().find_map(|entry| match entry {
            Entry::RollingBack { to, .. } => Some(Some(to.as_deref())),
            Entry::RolledBack { .. } => Some(None),
            _ => None,
        })?
    }

    /// Returns the number of the first entry after a savepoint; the last one of that name counts.
    fn start(&self, to: Option<&str>) -> Result<u64, LogError> {
        let Some(to) = to else { return Ok(0) };
        let named = |entry: &Entry| matches!(entry, Entry::Savepoint { name } if name == to);
        self.numbered()
            .filter(|(_, entry)| named(entry))
            .map(|(number, _)| number + 1)
            .last()
            .ok_or_else(|| LogError::Unknown(format!("savepoint `{to}`")))
    }

    fn compensated(&self) -> BTreeSet<u64> {
        let done = self.entries.iter().filter_map(|entry| match entry {
            Entry::Compensated {
                outcome: Outcome::Failed { .. },
                ..
            } => None,
            Entry::Compensated { of, .. } => Some(*of),
            _ => None,
        });
        done.collect()
    }

    fn numbered(&self) -> impl Iterator<Item = (u64, &Entry)> {
        (0..).zip(&self.entries)
    }
}

/// Returns the state after one more entry.
fn after(state: State, entry: &Entry) -> State {
    match entry {
        Entry::Staged => State::Staged,
        Entry::TaskStarted { .. } | Entry::Undo { .. } => State::Applying,
        Entry::RolledBack { to: Some(_), .. } => State::Applying,
        Entry::Verified => State::Verified,
        Entry::Prepared => State::Prepared,
        Entry::Committed { .. } => State::Committed,
        Entry::RollingBack { .. } => State::RollingBack,
        Entry::RolledBack { to: None, .. } => State::RolledBack,
        Entry::Stuck { .. } => State::Stuck,
        Entry::Opened(_)
        | Entry::GuardianStarted { .. }
        | Entry::TaskDone { .. }
        | Entry::Savepoint { .. }
        | Entry::Shelf { .. }
        | Entry::Healthy
        | Entry::Compensated { .. } => state,
    }
}
