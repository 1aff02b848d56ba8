//! Transactions without a guardian, or with somebody else's: found, given a guardian again, taken
//! over, or settled.

use std::path::Path;
use std::time::Duration;

use super::launch;
use super::undoing::ended;
use super::words::{Begin, Connection, Ended, FromGuardian, SOCKET, Task, ToGuardian};
use crate::agent::protocol::Decision;
use crate::transaction::lock::{Holder, Lock, LockError};
use crate::transaction::log::Replay;
use crate::transaction::state::{State, Summary};
use crate::transaction::store::{StateRoot, Stored, boot_id};

/// How many generations are kept when nobody says it any more.
const KEEP: usize = 5;

/// A transaction that was found left behind.
#[derive(Clone, Debug)]
pub(in crate::agent) struct Left {
    /// How far it is now; `None` where the journal cannot be read.
    pub(in crate::agent) summary: Option<Summary>,
    /// Why it could not be settled.
    pub(in crate::agent) why: Option<String>,
}

/// Gives every open transaction whose guardian is dead a new one: what is prepared waits for its
/// decision as long as its lease, everything else is undone before this returns.
pub(in crate::agent) fn left_behind(
    root: &StateRoot,
    program: Option<&Path>,
    has_hook: bool,
) -> Vec<Left> {
    let Ok(all) = root.transactions() else {
        return Vec::new();
    };
    for one in &all {
        sweep(root, one);
    }
    all.into_iter()
        .filter(|one| !matches!(one.state(), State::Committed | State::RolledBack))
        .filter_map(|one| pick_up(root, &one, program, has_hook))
        .collect()
}

/// Takes away what the guardian of an undone transaction left when it died, or failed, at the very
/// end.
fn sweep(root: &StateRoot, stored: &Stored) {
    let socket = stored.directory.join(SOCKET);
    if stored.state() != State::RolledBack || stored.is_clear() && !socket.exists() {
        return;
    }
    let Some(replay) = stored.replay() else {
        return;
    };
    // One that still holds its lock has not left.
    if let Ok(lock) = Lock::take(root.path(), &replay.header().application) {
        // What cannot go now goes with the next collection.
        root.clear(stored);
        rustix::fs::unlink(&socket).ok();
        lock.free();
    }
}

/// Returns what became of a transaction; `None` when somebody looks after it.
fn pick_up(
    root: &StateRoot,
    stored: &Stored,
    program: Option<&Path>,
    has_hook: bool,
) -> Option<Left> {
    let replay = match &stored.journal {
        Ok(replay) => replay,
        Err(_) if stored.is_unborn() => return None,
        Err(why) => {
            return Some(Left {
                summary: None,
                why: Some(why.clone()),
            });
        }
    };
    let lock = match Lock::take(root.path(), &replay.header().application) {
        Ok(lock) => lock,
        Err(LockError::Held(_)) => return None,
        Err(error) => {
            return Some(Left {
                summary: Some(replay.summary()),
                why: Some(error.to_string()),
            });
        }
    };
    // It may have ended, or begun to be undone, before the lock was ours.
    let replay = crate::transaction::log::read(&stored.directory).ok()?;
    let task = match replay.state() {
        State::Committed | State::RolledBack => return None,
        State::Prepared => Task::Await,
        _ => Task::Undo {
            reason: replay.reason().map_or_else(
                || "its guardian died, or the host went down".to_owned(),
                str::to_owned,
            ),
        },
    };
    let waits = task != Task::Await;
    let settled =
        adopt(root, stored, &replay, lock, task, program, has_hook).and_then(|guardian| {
            if waits {
                outcome(guardian).map(Some)
            } else {
                Ok(None)
            }
        });
    let now = crate::transaction::log::read(&stored.directory);
    Some(Left {
        summary: Some(now.unwrap_or(replay).summary()),
        why: settled.err(),
    })
}

/// Starts a guardian for a transaction that has none.
pub(in crate::agent) fn adopt(
    root: &StateRoot,
    stored: &Stored,
    replay: &Replay,
    lock: Lock,
    task: Task,
    program: Option<&Path>,
    has_hook: bool,
) -> Result<Connection, String> {
    let header = replay.header();
    let holder = Holder {
        id: header.id.clone(),
        application: header.application.clone(),
        run: header.run.clone(),
        since: header.opened,
        pid: None,
        boot_id: boot_id(),
    };
    lock.record(&holder).map_err(|error| error.to_string())?;
    let lease = Duration::try_from_secs_f64(header.lease).unwrap_or(Duration::from_mins(1));
    let begin = Begin {
        root: root.path().to_owned(),
        holder,
        lease,
        grace: lease,
        task,
        has_hook,
        token_sha256: header.token_sha256.clone(),
        keep: KEEP,
    };
    let (connection, _) = launch::start(&stored.directory, &lock, begin, program)?;
    Ok(connection)
}

/// Takes over the transaction in `directory` from its guardian; `None` when that is dead.
pub(in crate::agent) fn attach(
    directory: &Path,
    token: &str,
) -> Result<Option<Connection>, String> {
    let Ok(mut guardian) = Connection::connect(directory, SOCKET) else {
        return Ok(None);
    };
    let token = token.to_owned();
    if guardian.send(&ToGuardian::Attach { token }).is_err() {
        return Ok(None);
    }
    match guardian.receive() {
        Ok(Some(FromGuardian::Attached)) => Ok(Some(guardian)),
        Ok(Some(FromGuardian::Refused { why })) => Err(why),
        // It ended meanwhile: the journal says how.
        _ => Ok(None),
    }
}

/// Has the guardian of the transaction in `directory` end it; `None` when that is dead.
pub(in crate::agent) fn settle(
    directory: &Path,
    decision: Decision,
    reason: &str,
) -> Result<Option<Ended>, String> {
    let Ok(guardian) = Connection::connect(directory, SOCKET) else {
        return Ok(None);
    };
    let reason = reason.to_owned();
    if guardian
        .send(&ToGuardian::Settle { decision, reason })
        .is_err()
    {
        return Ok(None);
    }
    match outcome(guardian) {
        Ok(ended) => Ok(Some(ended)),
        Err(why) => {
            // One that was ending anyway when we came has said so in the journal.
            let replay = crate::transaction::log::read(directory).map_err(|_| why.clone())?;
            match replay.state() {
                State::Committed | State::RolledBack => Ok(Some(ended(&replay))),
                _ => Err(why),
            }
        }
    }
}

/// Waits for the guardian's last word.
pub(in crate::agent) fn outcome(mut guardian: Connection) -> Result<Ended, String> {
    match guardian.receive() {
        Ok(Some(FromGuardian::Ended(ended))) => Ok(ended),
        Ok(Some(FromGuardian::Refused { why })) => Err(why),
        _ => Err("the guardian died".to_owned()),
    }
}
