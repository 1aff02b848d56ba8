//! What is asked about transactions from outside of them: lists, locks, and settling what was
//! left behind.

use super::opening::{revive, word};
use super::{Place, Transactions, epoch, resume, text};
use crate::agent::guardian::{self, Ended, Left, left_behind};
use crate::agent::protocol::{Answer, Decision, Open, Recovered};
use crate::machine::Cancellation;
use crate::transaction::lock::{self, Lock};
use crate::transaction::log::Entry;
use crate::transaction::state::{Item, RunInfo, State, Summary};
use crate::transaction::store::{StateRoot, Stored};

/// A transaction of the host's own lasts as long as it takes, but not when its controller goes.
const OWN_LEASE: f64 = 3600.0;
const OWN_GRACE: f64 = 10.0;

impl Transactions {
    /// Lists what the host knows, newest first, after what was left behind is settled.
    pub(super) fn list() -> Result<Answer, String> {
        let Some((place, root)) = existing()? else {
            return Ok(Answer::Transactions { list: Vec::new() });
        };
        pick_up(&place, &root);
        let mut list: Vec<Summary> = root
            .transactions()
            .map_err(text)?
            .iter()
            .filter(|stored| !stored.is_unborn())
            .map(summary)
            .collect();
        list.reverse();
        Ok(Answer::Transactions { list })
    }

    pub(super) fn holder(application: &str) -> Result<Answer, String> {
        let holder = match existing()? {
            Some((_, root)) => lock::holder(root.path(), application).map_err(text)?,
            None => None,
        };
        Ok(Answer::Holder { holder })
    }

    /// Has the holder's guardian undo its transaction.
    pub(super) fn break_lock(application: &str) -> Result<Answer, String> {
        let free = || format!("nobody holds the lock of `{application}` here");
        let (place, root) = existing()?.ok_or_else(free)?;
        let holder = lock::holder(root.path(), application).map_err(text)?;
        let holder = holder.ok_or_else(free)?;
        let stored = root.transaction(&holder.id).map_err(text)?;
        let stored = stored.ok_or("the holder of the lock has not begun yet")?;
        let ended = end(
            &place,
            &root,
            &stored,
            Decision::Abort,
            "its lock was broken",
        )?;
        Ok(recovered(ended))
    }

    /// Settles a transaction that was left behind.
    pub(super) fn recover(
        &mut self,
        id: &str,
        decision: Decision,
        cancellation: &Cancellation,
    ) -> Result<Answer, String> {
        let unknown = || format!("this host knows no transaction {id}");
        let (place, root) = existing()?.ok_or_else(unknown)?;
        let stored = root.transaction(id).map_err(text)?.ok_or_else(unknown)?;
        let state = stored.state();
        match (decision, state) {
            (Decision::Accept, State::Stuck) => accept(&root, &stored).map(recovered),
            (Decision::Accept, _) => Err(format!("the transaction is {}, not stuck", word(state))),
            (Decision::Commit, State::RolledBack) => Err("the transaction is undone".to_owned()),
            (Decision::Abort, State::Committed) => Err("the transaction is committed".to_owned()),
            (Decision::Revert, State::Committed) => self.revert(&root, &stored, cancellation),
            (Decision::Revert | Decision::Abort, State::RolledBack)
            | (Decision::Commit, State::Committed) => {
                let replay = stored.journal.as_ref().map_err(String::clone)?;
                Ok(recovered(guardian::ended(replay)))
            }
            (Decision::Revert, _) => {
                end(&place, &root, &stored, Decision::Abort, "it was recovered").map(recovered)
            }
            (decision, _) => {
                end(&place, &root, &stored, decision, "it was recovered").map(recovered)
            }
        }
    }

    /// Undoes the last generation, in a transaction of its own.
    fn revert(
        &mut self,
        root: &StateRoot,
        stored: &Stored,
        cancellation: &Cancellation,
    ) -> Result<Answer, String> {
        let summary = summary(stored);
        let generations = root.generations(&summary.application).map_err(text)?;
        let last = generations.last().and_then(Stored::generation);
        if summary.generation != last {
            return Err("a later generation builds on the transaction".to_owned());
        }
        let before = generations.iter().rev().nth(1);
        let to = before.and_then(Stored::generation).unwrap_or(0);
        let was_healthy = before.is_none_or(Stored::is_healthy);
        let open = Open {
            id: random(),
            token: random(),
            application: summary.application,
            run: RunInfo {
                kind: "rollback".to_owned(),
                release: None,
                ..summary.run
            },
            lease: OWN_LEASE,
            grace: Some(OWN_GRACE),
            keep: u64::MAX,
        };
        match self.open(open)? {
            Answer::Opened(_) => {}
            Answer::Locked { holder } => {
                return Err(format!(
                    "{} on {} holds the lock",
                    holder.run.who, holder.run.host
                ));
            }
            _ => return Err("the transaction of the revert cannot be opened".to_owned()),
        }
        let reverted = self.roll_back_generation(to, cancellation);
        match reverted {
            Ok(report) if report.is_rolled_back() => {
                let committed = self.commit(was_healthy)?;
                Ok(Answer::Recovered(Recovered {
                    state: State::RolledBack,
                    generation: committed.generation,
                    report,
                }))
            }
            Ok(report) => {
                self.abort("the revert was not whole")?;
                Ok(Answer::Recovered(Recovered {
                    state: State::Stuck,
                    generation: last,
                    report,
                }))
            }
            Err(why) => {
                self.abort("the revert failed")?;
                Err(why)
            }
        }
    }
}

/// Has a transaction ended by its guardian, or by a new one where that is dead.
fn end(
    place: &Place,
    root: &StateRoot,
    stored: &Stored,
    decision: Decision,
    reason: &str,
) -> Result<Ended, String> {
    if let Some(ended) = guardian::settle(&stored.directory, decision, reason)? {
        return Ok(ended);
    }
    if let Some(ended) = revive(root, place, stored)? {
        return Ok(ended);
    }
    guardian::settle(&stored.directory, decision, reason)?
        .ok_or_else(|| "the guardian died twice".to_owned())
}

/// Ends a stuck transaction as it is: somebody has looked after it.
fn accept(root: &StateRoot, stored: &Stored) -> Result<Ended, String> {
    let Ok(replay) = &stored.journal else {
        // What it says cannot be read, but it is evidence.
        let aside = root.path().join("unreadable");
        rustix::fs::mkdir(&aside, rustix::fs::Mode::RWXU).ok();
        rustix::fs::rename(&stored.directory, aside.join(&stored.id)).map_err(text)?;
        return Ok(Ended {
            state: State::RolledBack,
            generation: None,
            report: crate::agent::protocol::UndoReport::default(),
        });
    };
    let lock = Lock::take(root.path(), &replay.header().application).map_err(text)?;
    let (mut log, _) = resume(&stored.directory).map_err(text)?;
    let at = epoch();
    log.append(&Entry::RolledBack { to: None, at })
        .map_err(text)?;
    let replay = log.replay().map_err(text)?;
    lock.free();
    Ok(guardian::ended(&replay))
}

/// Returns the state directory, if there is one.
fn existing() -> Result<Option<(Place, StateRoot)>, String> {
    let place = Place::find()?;
    let root = StateRoot::find(&place.path).map_err(text)?;
    Ok(root.map(|root| (place, root)))
}

fn pick_up(place: &Place, root: &StateRoot) -> Vec<Left> {
    let program = super::program(place.is_permanent);
    left_behind(root, program.as_deref(), place.is_permanent)
}

/// Returns what is told of a transaction, also of one whose journal cannot be read.
fn summary(stored: &Stored) -> Summary {
    match &stored.journal {
        Ok(replay) => replay.summary(),
        Err(why) => Summary {
            id: stored.id.clone(),
            application: String::new(),
            run: RunInfo::default(),
            state: State::Stuck,
            opened: 0,
            ended: None,
            generation: None,
            healthy: false,
            changes: 0,
            reason: None,
            drift: Vec::new(),
            stuck: vec![Item {
                what: stored.directory.display().to_string(),
                why: why.clone(),
            }],
            opaque: Vec::new(),
        },
    }
}

fn recovered(ended: Ended) -> Answer {
    Answer::Recovered(Recovered {
        state: ended.state,
        generation: ended.generation,
        report: ended.report,
    })
}

/// Returns 128 random bits in hexadecimal.
fn random() -> String {
    format!("{:032x}", rand::random::<u128>())
}
