//! The worker's part in transactions: what the controller asks for is done here, with the guardian
//! as witness.
//!
//! In an open transaction every task writes the journal before it changes anything, and each
//! numbered task runs at most once. Without a guardian nothing more is changed.

mod link;
mod opening;
mod place;
mod recovering;
mod seal;
mod tasks;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::Receiver;
use std::time::Duration;

use super::session::Session;
use crate::agent::guardian::{
    self, Connection, Ended, FromGuardian, Task, ToGuardian, WORKER, adopt, close, ended, outcome,
};
use crate::agent::protocol::{Answer, Ask, Committed, UndoReport, Vote};
use crate::machine::undo::{Undoing, Verdict, revert_generation};
use crate::machine::{Cancellation, Machine, MachineOptions, TRANSACTION_VARIABLE};
use crate::transaction::journal::{UndoLog, Untracked};
use crate::transaction::lock::Lock;
use crate::transaction::log::{self, Entry, FileLog, LogError, Replay, SharedLog};
use crate::transaction::state::State;
use crate::transaction::store::StateRoot;
use link::{Guarded, LOST};

pub(super) use link::Link;
use link::Notice;
use place::Place;
pub(super) use tasks::Start;

/// What a session knows of transactions.
pub(super) struct Transactions {
    session: Arc<Session>,
    current: Option<Current>,
    /// The transaction that this session saw end, to answer the same once more.
    last: Option<Ended>,
}

/// The open transaction.
struct Current {
    root: StateRoot,
    directory: PathBuf,
    /// It can be recovered at boot.
    is_permanent: bool,
    /// Taken away when the journal is let go.
    log: SharedLog,
    link: Arc<Link>,
    answers: Receiver<FromGuardian>,
    ledger: tasks::Ledger,
    application: String,
}

impl Transactions {
    pub(super) fn new(session: Arc<Session>) -> Self {
        Self {
            session,
            current: None,
            last: None,
        }
    }

    /// Does what the controller asks for.
    pub(super) fn answer(&mut self, ask: Ask, cancellation: &Cancellation) -> Answer {
        let answered = match ask {
            Ask::Open(open) => self.open(open),
            Ask::Attach { id, token } => self.attach(&id, &token),
            Ask::Savepoint { name } => self.savepoint(name),
            Ask::RollBackTo { name } => self.roll_back_to(&name),
            Ask::Prepare => Ok(Answer::Voted(self.prepare())),
            Ask::Commit { healthy } => self.commit(healthy).map(Answer::Committed),
            Ask::Abort { reason } => self.abort(&reason).map(Answer::Undone),
            Ask::Transactions => Self::list(),
            Ask::RollBackGeneration { to } => self
                .roll_back_generation(to, cancellation)
                .map(Answer::Undone),
            Ask::Recover { id, decision } => self.recover(&id, decision, cancellation),
            Ask::BreakLock { application } => Self::break_lock(&application),
            Ask::Holder { application } => Self::holder(&application),
        };
        answered.unwrap_or_else(|why| Answer::Refused { why })
    }

    /// Returns the undo log of a task.
    pub(super) fn undo_log(&self) -> Box<dyn UndoLog> {
        match &self.current {
            Some(current) => Box::new(Guarded {
                log: current.log.clone(),
                link: Arc::clone(&current.link),
            }),
            None => Box::new(Untracked),
        }
    }

    /// Returns what every program of the transaction carries in its environment.
    pub(super) fn mark(&self) -> Option<(String, String)> {
        let current = self.current.as_ref()?;
        let journal = current.directory.display().to_string();
        Some((TRANSACTION_VARIABLE.to_owned(), journal))
    }

    /// Lets go of the transaction: another worker has taken it over, or the session is over.
    pub(super) fn let_go(&mut self) {
        let Some(current) = self.current.take() else {
            return;
        };
        self.session.set_link(None);
        let is_orphan = current.link.is_gone();
        let left = current.let_go();
        if is_orphan {
            // Whoever comes next would do it; nobody waits for it here.
            left.recover().ok();
        }
    }

    fn current(&self) -> Result<&Current, String> {
        self.current
            .as_ref()
            .ok_or_else(|| "no transaction is open in this session".to_owned())
    }

    fn savepoint(&mut self, name: String) -> Result<Answer, String> {
        self.current()?.append(&Entry::Savepoint { name })?;
        Ok(Answer::Done)
    }

    fn roll_back_to(&mut self, name: &str) -> Result<Answer, String> {
        let current = self.current()?;
        if current.link.is_gone() {
            return Err(LOST.to_owned());
        }
        let replay = current.log.with(|log| {
            log.replay()?.pending(Some(name))?;
            let undoing = Undoing {
                grace: Duration::ZERO,
                environment: self.mark().into_iter().collect(),
                ..Undoing::default()
            };
            undoing.roll_back(log, "a block failed", Some(name), &mut |_| {})?;
            log.replay()
        });
        Ok(Answer::Undone(ended(&replay.map_err(text)?).report))
    }

    /// Undoes the generations after `to`, newest first; what that changes is journaled as any
    /// change is.
    fn roll_back_generation(
        &mut self,
        to: u64,
        cancellation: &Cancellation,
    ) -> Result<UndoReport, String> {
        let current = self.current()?;
        let mut generations = current
            .root
            .generations(&current.application)
            .map_err(text)?;
        let is_known = to == 0 || generations.iter().any(|one| one.generation() == Some(to));
        if !is_known {
            return Err(format!("this host has no generation {to}"));
        }
        generations.retain(|one| one.generation() > Some(to));
        let mut machine = Machine::new(MachineOptions {
            undo: self.undo_log(),
            environment: self.mark().into_iter().collect(),
            cancellation: cancellation.clone(),
            scratch: self.session.scratch(),
            ..MachineOptions::default()
        });
        let mut report = UndoReport::default();
        for generation in generations.iter().rev() {
            let replay = generation.journal.as_ref().map_err(String::clone)?;
            let (drift, stuck) = match revert_generation(&mut machine, replay).map_err(text)? {
                Verdict::RolledBack { drift } => (drift, Vec::new()),
                Verdict::Stuck { items, drift } => (drift, items),
            };
            report.drift.extend(drift);
            report.stuck.extend(stuck);
            report.opaque.extend(replay.summary().opaque);
        }
        Ok(report)
    }

    fn prepare(&mut self) -> Vote {
        let prepared = self.current().and_then(|current| {
            if current.link.is_gone() {
                return Err(LOST.to_owned());
            }
            let changed = current.replay()?.has_changes();
            current.append(&Entry::Prepared)?;
            Ok(changed)
        });
        match prepared {
            Ok(changed) => Vote::Yes { changed },
            Err(why) => Vote::No { why },
        }
    }

    fn commit(&mut self, healthy: bool) -> Result<Committed, String> {
        if let Some(ended) = &self.last
            && ended.state == State::Committed
        {
            return Ok(Committed {
                generation: ended.generation,
            });
        }
        let current = self.current()?;
        if current.link.is_gone() {
            return Err(LOST.to_owned());
        }
        let changed = current.replay()?.has_changes();
        let mut generation = None;
        if changed {
            let next = current.root.next_generation(&current.application);
            let next = next.map_err(text)?;
            let at = epoch();
            current.append(&Entry::Committed {
                generation: next,
                at,
            })?;
            generation = Some(next);
            if healthy {
                // A generation without this mark is only not one to come back to.
                current.append(&Entry::Healthy).ok();
            }
            // It says what the journals say; the next commit writes it anew.
            current.root.tell_current(&current.application).ok();
        }
        self.session.set_link(None);
        if let Some(current) = self.current.take() {
            current.close(!changed);
        }
        self.last = Some(Ended {
            state: State::Committed,
            generation,
            report: UndoReport::default(),
        });
        Ok(Committed { generation })
    }

    fn abort(&mut self, reason: &str) -> Result<UndoReport, String> {
        let Some(current) = self.current.take() else {
            return match &self.last {
                Some(ended) if ended.state != State::Committed => Ok(ended.report.clone()),
                Some(_) => Err("the transaction is committed".to_owned()),
                None => Err("no transaction is open in this session".to_owned()),
            };
        };
        self.session.set_link(None);
        let ended = current.undo(reason)?;
        let report = ended.report.clone();
        self.last = Some(ended);
        Ok(report)
    }
}

impl Current {
    fn append(&self, entry: &Entry) -> Result<(), String> {
        self.log.with(|log| log.append(entry)).map_err(text)?;
        Ok(())
    }

    fn replay(&self) -> Result<Replay, String> {
        self.log.with(|log| log.replay()).map_err(text)
    }

    /// Has the guardian undo everything, or a new one when it died.
    fn undo(self, reason: &str) -> Result<Ended, String> {
        let link = Arc::clone(&self.link);
        // The first that arrives counts, and it may be under way already.
        link.tell(&ToGuardian::Abort {
            reason: reason.to_owned(),
        });
        let mut left = self.let_go_of_journal();
        link.tell(&ToGuardian::Still);
        while let Ok(answer) = left.answers.recv() {
            if let FromGuardian::Ended(ended) = answer {
                return Ok(ended);
            }
        }
        left.reason = Some(reason.to_owned());
        left.recover()
    }

    /// Ends the transaction; with `remove` nothing of it stays.
    fn close(self, remove: bool) {
        let link = Arc::clone(&self.link);
        let left = self.let_go_of_journal();
        link.tell(&ToGuardian::Close { remove });
        while let Ok(answer) = left.answers.recv() {
            if matches!(answer, FromGuardian::Ended(_)) {
                return;
            }
        }
        // The guardian died after it was committed; what it would do is little.
        close(left.root.path(), &left.directory, remove);
        if left.is_permanent {
            guardian::remove_when_idle(&left.root, "");
        }
    }

    fn let_go(self) -> Left {
        let left = self.let_go_of_journal();
        left.link.shut_down();
        left
    }

    /// Closes the journal, so that another process can go on with it.
    fn let_go_of_journal(self) -> Left {
        let Self {
            root,
            directory,
            is_permanent,
            log,
            link,
            answers,
            ..
        } = self;
        drop(log);
        Left {
            root,
            directory,
            is_permanent,
            link,
            answers,
            reason: None,
        }
    }
}

/// A transaction whose journal this worker has let go.
struct Left {
    root: StateRoot,
    directory: PathBuf,
    is_permanent: bool,
    link: Arc<Link>,
    answers: Receiver<FromGuardian>,
    reason: Option<String>,
}

impl Left {
    /// Has a new guardian undo the transaction, now that the old one is dead.
    fn recover(self) -> Result<Ended, String> {
        // The new one must not take this worker for one that goes on changing things.
        rustix::fs::unlink(self.directory.join(WORKER)).ok();
        let id = self.directory.file_name().and_then(|name| name.to_str());
        let stored = self
            .root
            .transaction(id.unwrap_or_default())
            .map_err(text)?;
        let stored = stored.ok_or("the transaction is gone")?;
        let replay = stored.journal.as_ref().map_err(String::clone)?;
        let lock = Lock::take(self.root.path(), &replay.header().application).map_err(text)?;
        let replay = log::read(&self.directory).map_err(text)?;
        if matches!(replay.state(), State::Committed | State::RolledBack) {
            return Ok(ended(&replay));
        }
        let reason = self.reason.unwrap_or_else(|| LOST.to_owned());
        let task = Task::Undo { reason };
        let program = program(self.is_permanent);
        let guardian = adopt(
            &self.root,
            &stored,
            &replay,
            lock,
            task,
            program.as_deref(),
            self.is_permanent,
        )?;
        outcome(guardian)
    }
}

/// Connects this worker with the guardian of a transaction whose journal it writes.
fn join(
    session: &Arc<Session>,
    guardian: &Connection,
    lease: Duration,
) -> Result<(Arc<Link>, Receiver<FromGuardian>), String> {
    // What daemons of the deploy lose their parent stay in the family, so that an undo finds them.
    rustix::process::set_child_subreaper(Some(rustix::process::getpid())).ok();
    let weak = Arc::downgrade(session);
    let notify = move |notice| {
        if let Some(session) = weak.upgrade() {
            match notice {
                Notice::Superseded => session.submit_let_go(),
                Notice::Gone => session.cancel_all(),
            }
        }
    };
    let (link, answers) = Link::new(guardian, lease, notify).map_err(text)?;
    session.set_link(Some(Arc::clone(&link)));
    Ok((link, answers))
}

/// Returns the copy of this program that outlives the session, where one is kept.
fn program(is_permanent: bool) -> Option<PathBuf> {
    std::env::current_exe().ok().filter(|_| is_permanent)
}

/// Returns the seconds since the epoch.
fn epoch() -> i64 {
    rustix::time::clock_gettime(rustix::time::ClockId::Realtime).tv_sec
}

fn text(error: impl std::fmt::Display) -> String {
    error.to_string()
}

/// Takes the journal over from a worker that has just let go of it.
fn resume(directory: &std::path::Path) -> Result<(FileLog, Replay), LogError> {
    FileLog::resume(directory)
}
