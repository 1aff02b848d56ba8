//! Opening a transaction, and taking one over.

use std::path::Path;
use std::time::Duration;

use super::tasks::Ledger;
use super::{Current, Place, Transactions, epoch, join, program, resume, text};
use crate::agent::guardian::{
    self, Begin, Connection, Ended, Hook, Task, WORKER, adopt, ended, left_behind, outcome,
    token_digest, token_matches,
};
use crate::agent::protocol::{Answer, Attached, Open, Opened};
use crate::machine::{Command, Machine, MachineOptions, Process};
use crate::transaction::lock::{Holder, Lock, LockError};
use crate::transaction::log::{self, Entry, Header, SharedLog};
use crate::transaction::state::{State, Summary};
use crate::transaction::store::{StateRoot, Stored, boot_id};

impl Transactions {
    /// Takes the lock and opens a transaction; what was left behind is settled before.
    pub(super) fn open(&mut self, open: Open) -> Result<Answer, String> {
        if self.current.is_some() {
            return Err("a transaction is open in this session already".to_owned());
        }
        let lease = span("lease", open.lease)?;
        let place = Place::find()?;
        let root = place.open()?;
        if let Some(known) = root.transaction(&open.id).map_err(text)? {
            return Err(format!(
                "this host knows the transaction {} already: {}",
                open.id,
                word(known.state())
            ));
        }
        let recovered = settle_before(&root, &place, &open.application)?;
        let lock = match Lock::take(root.path(), &open.application) {
            Ok(lock) => lock,
            Err(LockError::Held(holder)) => {
                let holder = holder.map_or_else(|| unknown(&open.application), |holder| *holder);
                return Ok(Answer::Locked { holder });
            }
            Err(error) => return Err(error.to_string()),
        };
        let mut warnings = Vec::new();
        let directory = root.directory(&open.id).map_err(text)?;
        let begun = self.begin_transaction(&root, &place, &open, lease, &lock, &mut warnings);
        // The guardian holds it now.
        drop(lock);
        if let Err(why) = begun {
            guardian::close(root.path(), &directory, true);
            return Err(why);
        }
        self.last = None;
        Ok(Answer::Opened(Opened {
            warnings,
            recovered,
        }))
    }

    fn begin_transaction(
        &mut self,
        root: &StateRoot,
        place: &Place,
        open: &Open,
        lease: Duration,
        lock: &Lock,
        warnings: &mut Vec<String>,
    ) -> Result<(), String> {
        let holder = Holder {
            id: open.id.clone(),
            application: open.application.clone(),
            run: open.run.clone(),
            since: epoch(),
            pid: None,
            boot_id: boot_id(),
        };
        lock.record(&holder).map_err(text)?;
        let header = header(open, &holder);
        let token_sha256 = header.token_sha256.clone();
        let mut log = root.create(header).map_err(text)?;
        let directory = log.directory().to_owned();
        note_worker(&directory)?;
        let program = self.hook(root, place, warnings);
        let grace = match open.grace {
            Some(grace) => span("grace", grace)?,
            None => lease / 4,
        };
        let begin = Begin {
            root: root.path().to_owned(),
            holder,
            lease,
            grace,
            task: Task::Watch,
            has_hook: place.is_permanent,
            token_sha256,
            keep: usize::try_from(open.keep).unwrap_or(usize::MAX),
        };
        let (guardian, pid) = guardian::start(&directory, lock, begin, program.as_deref())?;
        warnings.extend(mortal_session(place));
        let boot_id = boot_id();
        log.append(&Entry::GuardianStarted { pid, boot_id })
            .and_then(|_| log.append(&Entry::Staged))
            .map_err(text)?;
        let (link, answers) = join(&self.session, &guardian, lease)?;
        self.current = Some(Current {
            root: root.clone(),
            directory,
            is_permanent: place.is_permanent,
            log: SharedLog::new(log),
            link,
            answers,
            ledger: Ledger::new(&open.token),
            application: open.application.clone(),
        });
        Ok(())
    }

    /// Sees to it that a boot recovers the transaction; returns the program that is kept for it.
    fn hook(
        &self,
        root: &StateRoot,
        place: &Place,
        warnings: &mut Vec<String>,
    ) -> Option<std::path::PathBuf> {
        if !place.is_permanent {
            return None;
        }
        match Hook::new(root.path()).install(self.session.sha256()) {
            Ok(program) => Some(program),
            Err(why) => {
                warnings.push(format!(
                    "after a reboot only the next deploy would undo this one: {why}"
                ));
                None
            }
        }
    }

    /// Takes a transaction over from another worker, or from nobody.
    pub(super) fn attach(&mut self, id: &str, token: &str) -> Result<Answer, String> {
        if self.current.is_some() {
            return Err("a transaction is open in this session already".to_owned());
        }
        let place = Place::find()?;
        let root = StateRoot::find(&place.path).map_err(text)?;
        let stored = match &root {
            Some(root) => root.transaction(id).map_err(text)?,
            None => None,
        };
        let (Some(root), Some(stored)) = (root, stored) else {
            return Err(format!("this host knows no transaction {id}"));
        };
        let replay = stored.journal.as_ref().map_err(String::clone)?;
        if !token_matches(token, &replay.header().token_sha256) {
            return Err("the token is not this transaction's".to_owned());
        }
        if let Some(guardian) = guardian::attach(&stored.directory, token)? {
            return self.take_over(root, &place, &stored, &guardian, token);
        }
        match revive(&root, &place, &stored)? {
            Some(ended) => {
                let replay = log::read(&stored.directory).map_err(text)?;
                let ledger = Ledger::read(&replay, token);
                let attached = attached(ended.state, &ledger);
                self.last = Some(ended);
                Ok(Answer::Attached(attached))
            }
            None => match guardian::attach(&stored.directory, token)? {
                Some(guardian) => self.take_over(root, &place, &stored, &guardian, token),
                None => Err("the transaction ended just now".to_owned()),
            },
        }
    }

    fn take_over(
        &mut self,
        root: StateRoot,
        place: &Place,
        stored: &Stored,
        guardian: &Connection,
        token: &str,
    ) -> Result<Answer, String> {
        let (log, replay) = resume(&stored.directory).map_err(text)?;
        note_worker(&stored.directory)?;
        let header = replay.header();
        let (link, answers) = join(&self.session, guardian, span("lease", header.lease)?)?;
        let ledger = Ledger::read(&replay, token);
        let answer = attached(replay.state(), &ledger);
        self.current = Some(Current {
            root,
            directory: stored.directory.clone(),
            is_permanent: place.is_permanent,
            log: SharedLog::new(log),
            link,
            answers,
            ledger,
            application: header.application.clone(),
        });
        self.last = None;
        Ok(Answer::Attached(answer))
    }
}

/// Settles what was left behind, and refuses when something of the application stays stuck.
fn settle_before(
    root: &StateRoot,
    place: &Place,
    application: &str,
) -> Result<Vec<Summary>, String> {
    let mut recovered = Vec::new();
    for left in left_behind(
        root,
        program(place.is_permanent).as_deref(),
        place.is_permanent,
    ) {
        match left.summary {
            None => {
                let why = left.why.unwrap_or_default();
                return Err(format!("a journal on this host cannot be read: {why}"));
            }
            Some(summary) if summary.application != application => recovered.push(summary),
            Some(summary) if summary.state == State::Stuck || left.why.is_some() => {
                let why = left.why.unwrap_or_else(|| stuck_items(&summary));
                return Err(format!(
                    "the transaction {} of {} could not be undone: {why}",
                    summary.id, summary.run.who
                ));
            }
            Some(summary) => recovered.push(summary),
        }
    }
    Ok(recovered)
}

fn stuck_items(summary: &Summary) -> String {
    let items = summary.stuck.iter();
    let items: Vec<_> = items
        .map(|item| format!("{}: {}", item.what, item.why))
        .collect();
    items.join("; ")
}

/// Gives a transaction whose guardian died what it needs: its end, or a guardian to wait with
/// (then there is no end yet).
pub(super) fn revive(
    root: &StateRoot,
    place: &Place,
    stored: &Stored,
) -> Result<Option<Ended>, String> {
    let replay = log::read(&stored.directory).map_err(text)?;
    if matches!(replay.state(), State::Committed | State::RolledBack) {
        return Ok(Some(ended(&replay)));
    }
    let lock = match Lock::take(root.path(), &replay.header().application) {
        Ok(lock) => lock,
        // Its guardian is about to go, or a new one about to come.
        Err(LockError::Held(_)) => {
            return Err("the transaction is being settled by somebody else".to_owned());
        }
        Err(error) => return Err(error.to_string()),
    };
    let task = match replay.state() {
        State::Prepared => Task::Await,
        _ => Task::Undo {
            reason: "its guardian died".to_owned(),
        },
    };
    let waits = task == Task::Await;
    let program = program(place.is_permanent);
    let guardian = adopt(
        root,
        stored,
        &replay,
        lock,
        task,
        program.as_deref(),
        place.is_permanent,
    )?;
    if waits {
        Ok(None)
    } else {
        outcome(guardian).map(Some)
    }
}

fn attached(state: State, ledger: &Ledger) -> Attached {
    Attached {
        state,
        last_seq: ledger.last,
        done: ledger.done.keys().copied().collect(),
    }
}

fn header(open: &Open, holder: &Holder) -> Header {
    Header {
        id: open.id.clone(),
        application: open.application.clone(),
        run: open.run.clone(),
        opened: holder.since,
        lease: open.lease,
        boot_id: holder.boot_id.clone(),
        worker_pid: std::process::id(),
        token_sha256: token_digest(&open.token),
        uid: rustix::process::geteuid().as_raw(),
        restores: None,
    }
}

/// Writes down who changes things, for a guardian that finds the transaction later.
fn note_worker(directory: &Path) -> Result<(), String> {
    use std::io::Write;
    use std::os::unix::fs::OpenOptionsExt;
    let own = Process::current().ok_or("the host has no /proc")?;
    let path = directory.join(WORKER);
    std::fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&path)
        .and_then(|mut file| file.write_all(own.text().as_bytes()))
        .map_err(|error| format!("cannot write `{}`: {error}", path.display()))
}

/// Returns a warning where a logout kills what the user left running.
fn mortal_session(place: &Place) -> Option<String> {
    let uid = rustix::process::geteuid();
    if uid.is_root() || !place.is_permanent || !Path::new("/run/systemd/system").is_dir() {
        return None;
    }
    let mut machine = Machine::new(MachineOptions::default());
    let kills = Command::new([
        "busctl",
        "get-property",
        "org.freedesktop.login1",
        "/org/freedesktop/login1",
        "org.freedesktop.login1.Manager",
        "KillUserProcesses",
    ])
    .timeout(Duration::from_secs(5));
    let kills = machine.query(&kills).ok()?.stdout_text();
    let name = machine.user_name(uid.as_raw())?;
    let lingers = Path::new("/var/lib/systemd/linger").join(&name).exists();
    (kills.trim() == "b true" && !lingers).then(|| {
        format!(
            "the host kills what {name} leaves running at logout, so only the next deploy or a \
             boot would undo this one; `loginctl enable-linger {name}` changes that"
        )
    })
}

fn unknown(application: &str) -> Holder {
    Holder {
        id: String::new(),
        application: application.to_owned(),
        run: crate::transaction::state::RunInfo::default(),
        since: epoch(),
        pid: None,
        boot_id: boot_id(),
    }
}

fn span(what: &str, seconds: f64) -> Result<Duration, String> {
    Duration::try_from_secs_f64(seconds)
        .ok()
        .filter(|span| !span.is_zero())
        .ok_or_else(|| format!("a {what} of {seconds} seconds is none"))
}

/// Returns a state as a user reads it.
pub(super) fn word(state: State) -> String {
    let word = serde_json::to_value(state).unwrap_or_default();
    word.as_str().unwrap_or_default().replace('_', " ")
}
