//! The last acts of a guardian: undo from the journal, commit in the worker's place, clean up.

use std::path::Path;
use std::time::Duration;

use super::words::Ended;
use crate::agent::protocol::UndoReport;
use crate::machine::Process;
use crate::machine::undo::Undoing;
use crate::transaction::log::{Entry, FileLog, LogError, Replay};
use crate::transaction::state::{Item, State};
use crate::transaction::store::StateRoot;

/// How often a journal is asked for that a dying worker still holds.
const TRIES: u32 = 1000;
const PAUSE: Duration = Duration::from_millis(10);

/// Undoes the transaction in `directory`, or goes on with that; what has ended stays ended.
pub(super) fn undo(root: &Path, directory: &Path, reason: &str) -> Ended {
    let undone = take(directory).and_then(|(mut log, replay)| {
        if !matches!(replay.state(), State::Committed | State::RolledBack) {
            Undoing::default().roll_back(&mut log, reason, None, &mut |_| {})?;
        }
        log.replay()
    });
    let ended = match undone {
        Ok(replay) => ended(&replay),
        Err(error) => stuck(directory, &error),
    };
    if ended.state == State::RolledBack {
        clear(root, directory);
    }
    ended
}

/// Commits a prepared transaction whose worker is not needed any more.
pub(super) fn commit(
    root: &Path,
    directory: &Path,
    worker: Option<Process>,
) -> Result<Ended, String> {
    let text = |error: LogError| error.to_string();
    let state = crate::transaction::log::read(directory)
        .map_err(text)?
        .state();
    if state != State::Prepared {
        return Err("the transaction is not prepared".to_owned());
    }
    if let Some(worker) = worker {
        worker.kill();
    }
    let (mut log, replay) = take(directory).map_err(text)?;
    let root = StateRoot::open(root).map_err(|error| error.to_string())?;
    let generation = root.next_generation(&replay.header().application);
    let generation = generation.map_err(|error| error.to_string())?;
    log.append(&Entry::Committed {
        generation,
        at: epoch(),
    })
    .map_err(text)?;
    // It says what the journals say; the next commit writes it anew.
    root.tell_current(&replay.header().application).ok();
    log.replay().map(|replay| ended(&replay)).map_err(text)
}

/// Ends a transaction that needs no undo; with `remove` nothing of it stays.
pub(in crate::agent) fn close(root: &Path, directory: &Path, remove: bool) -> Ended {
    let replay = crate::transaction::log::read(directory);
    if remove && let Some((root, stored)) = stored(root, directory) {
        root.remove(&stored).ok();
    }
    match replay {
        Ok(replay) => ended(&replay),
        Err(error) => stuck(directory, &error),
    }
}

/// Takes the journal over from a worker that is gone, or just going.
fn take(directory: &Path) -> Result<(FileLog, Replay), LogError> {
    for _ in 1..TRIES {
        match FileLog::resume(directory) {
            Err(LogError::Busy) => std::thread::sleep(PAUSE),
            taken => return taken,
        }
    }
    FileLog::resume(directory)
}

fn clear(root: &Path, directory: &Path) {
    if let Some((root, stored)) = stored(root, directory) {
        // What cannot be cleared now goes with the next collection.
        root.clear(&stored);
    }
}

fn stored(root: &Path, directory: &Path) -> Option<(StateRoot, crate::transaction::store::Stored)> {
    let root = StateRoot::open(root).ok()?;
    let id = directory.file_name()?.to_str()?;
    let stored = root.transaction(id).ok()??;
    Some((root, stored))
}

/// Returns how a transaction ended, as its journal says.
pub(in crate::agent) fn ended(replay: &Replay) -> Ended {
    let summary = replay.summary();
    Ended {
        state: summary.state,
        generation: summary.generation,
        report: UndoReport {
            drift: summary.drift,
            stuck: summary.stuck,
            opaque: summary.opaque,
        },
    }
}

/// Returns the seconds since the epoch.
fn epoch() -> i64 {
    rustix::time::clock_gettime(rustix::time::ClockId::Realtime).tv_sec
}

fn stuck(directory: &Path, error: &LogError) -> Ended {
    let item = Item {
        what: directory.display().to_string(),
        why: error.to_string(),
    };
    Ended {
        state: State::Stuck,
        generation: None,
        report: UndoReport {
            stuck: vec![item],
            ..UndoReport::default()
        },
    }
}
