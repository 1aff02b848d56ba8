//! The guardian's life: it holds the lock, listens, waits for the end of the lease, and sees to it
//! that the transaction ends.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixListener;
use std::path::PathBuf;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::time::{
    ClockId, Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, clock_gettime,
    timerfd_create, timerfd_settime,
};

use super::undoing;
use super::vigil::Vigil;
use super::words::{Begin, Connection, Ended, FromGuardian, SOCKET, Task, ToGuardian};
use super::{boot, token};
use crate::agent::protocol::Decision;
use crate::machine::{Process, kill_transaction};
use crate::transaction::lock::Lock;
use crate::transaction::state::State;
use crate::transaction::store::StateRoot;

/// How long a worker may take to stop before it is killed.
const PATIENCE: Duration = Duration::from_secs(2);
/// How long killed processes may take to go.
const DYING: Duration = Duration::from_secs(10);

pub(super) struct Watch {
    directory: PathBuf,
    begin: Begin,
    lock: Lock,
    vigil: Vigil,
    listener: UnixListener,
    timer: OwnedFd,
    guests: Vec<Guest>,
    /// Every worker so far; what they started is theirs.
    workers: Vec<Process>,
    /// An undo that waits for the worker to stop, but not longer than this.
    abort: Option<(String, Duration)>,
}

/// Somebody who is connected.
struct Guest {
    connection: Connection,
    role: Role,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Role {
    Stranger,
    Worker,
    /// Waits for the worker to go, to take its place.
    Heir,
    /// Waits for the end.
    Asker,
}

/// How the watch ends.
enum Ending {
    Undo { reason: String, spare_worker: bool },
    Closed { remove: bool },
    Committed(Ended),
}

impl Watch {
    /// Takes up the watch for who is on the other end of `starter`.
    pub(super) fn new(
        directory: PathBuf,
        begin: Begin,
        lock: Lock,
        listener: UnixListener,
        starter: Connection,
    ) -> io::Result<Self> {
        let is_worker = begin.task == Task::Watch;
        let guest = Guest {
            role: if is_worker { Role::Worker } else { Role::Asker },
            connection: starter,
        };
        let workers = guest.connection.peer.filter(|_| is_worker);
        Ok(Self {
            vigil: Vigil::new(begin.lease, begin.grace, now(), is_worker),
            timer: timerfd_create(TimerfdClockId::Boottime, TimerfdFlags::CLOEXEC)?,
            workers: workers
                .into_iter()
                .chain(former_worker(&directory))
                .collect(),
            directory,
            begin,
            lock,
            listener,
            guests: vec![guest],
            abort: None,
        })
    }

    /// Watches until the transaction has ended, one way or the other.
    pub(super) fn run(mut self) -> io::Result<()> {
        let ending = match &self.begin.task {
            Task::Undo { reason } => Ending::Undo {
                reason: reason.clone(),
                spare_worker: false,
            },
            Task::Watch | Task::Await => self.until_over()?,
        };
        let ended = match ending {
            Ending::Undo {
                reason,
                spare_worker,
            } => {
                kill_transaction(&self.directory, &self.workers, !spare_worker, DYING);
                undoing::undo(&self.begin.root, &self.directory, &reason)
            }
            Ending::Closed { remove } => undoing::close(&self.begin.root, &self.directory, remove),
            Ending::Committed(ended) => ended,
        };
        self.leave(&ended);
        Ok(())
    }

    /// Frees what is held, then tells whoever waits.
    fn leave(self, ended: &Ended) {
        // Without its socket nobody waits for an answer that will not come.
        rustix::fs::unlink(self.directory.join(SOCKET)).ok();
        if self.begin.has_hook
            && let Ok(root) = StateRoot::open(&self.begin.root)
        {
            boot::remove_when_idle(&root, &self.begin.holder.id);
        }
        self.lock.free();
        let last = FromGuardian::Ended(ended.clone());
        for guest in &self.guests {
            if matches!(guest.role, Role::Worker | Role::Asker) {
                // Who is gone reads the journal.
                guest.connection.send(&last).ok();
            }
        }
        drop(self.guests);
        if ended.state == State::Committed
            && let Ok(root) = StateRoot::open(&self.begin.root)
        {
            // What cannot be removed now goes another time.
            root.collect(&self.begin.holder.application, self.begin.keep);
        }
    }

    fn until_over(&mut self) -> io::Result<Ending> {
        loop {
            let now = now();
            if let Some((reason, _)) = self.abort.take_if(|(_, until)| *until <= now) {
                return Ok(Ending::Undo {
                    reason,
                    spare_worker: false,
                });
            }
            if let Some(over) = self.vigil.is_over(now) {
                return Ok(Ending::Undo {
                    reason: over.reason(),
                    spare_worker: false,
                });
            }
            let (newcomer, ready) = self.wait()?;
            if newcomer {
                self.welcome();
            }
            // From the back, so that who leaves does not move the others.
            for at in ready.into_iter().rev() {
                if let Some(ending) = self.listen_to(at) {
                    return Ok(ending);
                }
            }
        }
    }

    /// Waits for a newcomer, for guests who have something to say, or for the next deadline.
    fn wait(&self) -> io::Result<(bool, Vec<usize>)> {
        let abort = self.abort.as_ref().map(|(_, until)| *until);
        let until = abort.map_or(self.vigil.deadline(), |abort| {
            abort.min(self.vigil.deadline())
        });
        set_timer(&self.timer, until)?;
        let mut polled: Vec<PollFd<'_>> = [self.timer.as_fd(), self.listener.as_fd()]
            .into_iter()
            .chain(self.guests.iter().map(|guest| guest.connection.as_fd()))
            .map(|descriptor| PollFd::from_borrowed_fd(descriptor, PollFlags::IN))
            .collect();
        match poll(&mut polled, None::<&Timespec>) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        let is_ready = |polled: &PollFd<'_>| !polled.revents().is_empty();
        let ready = (0..self.guests.len())
            .filter(|at| is_ready(&polled[at + 2]))
            .collect();
        Ok((is_ready(&polled[1]), ready))
    }

    fn welcome(&mut self) {
        let guest = self.listener.accept();
        if let Ok(connection) = guest.and_then(|(stream, _)| Connection::new(stream)) {
            self.guests.push(Guest {
                connection,
                role: Role::Stranger,
            });
        }
    }

    /// Hears what a guest says, or that it is gone.
    fn listen_to(&mut self, at: usize) -> Option<Ending> {
        if !self.guests[at].connection.read_some().unwrap_or(false) {
            return self.dismiss(at);
        }
        loop {
            match self.guests.get_mut(at)?.connection.next() {
                Ok(Some(message)) => {
                    if let Some(ending) = self.hear(at, message) {
                        return Some(ending);
                    }
                }
                Ok(None) => return None,
                // Who does not speak the language is gone.
                Err(_) => return self.dismiss(at),
            }
        }
    }

    fn hear(&mut self, at: usize, message: ToGuardian) -> Option<Ending> {
        match (self.guests[at].role, message) {
            (Role::Worker | Role::Heir, ToGuardian::Beat) => self.vigil.beat(now()),
            (Role::Worker | Role::Heir, ToGuardian::Adrift) => self.vigil.lose(now()),
            (Role::Worker, ToGuardian::Abort { reason }) => {
                self.abort.get_or_insert((reason, now() + PATIENCE));
            }
            (Role::Worker, ToGuardian::Still) => {
                let (reason, _) = self.abort.take()?;
                return Some(Ending::Undo {
                    reason,
                    spare_worker: true,
                });
            }
            (Role::Worker, ToGuardian::Close { remove }) => return Some(Ending::Closed { remove }),
            (Role::Stranger, ToGuardian::Attach { token }) => self.admit(at, &token),
            (Role::Stranger, ToGuardian::Settle { decision, reason }) => {
                return self.settle(at, decision, reason);
            }
            _ => {}
        }
        None
    }

    /// Lets a new worker take the place of the present one, as soon as that one is done.
    fn admit(&mut self, at: usize, secret: &str) {
        let is_taken = self.guests.iter().any(|guest| guest.role == Role::Heir);
        let why = match () {
            () if !token::matches(secret, &self.begin.token_sha256) => {
                "the token is not this transaction's"
            }
            () if self.abort.is_some() => "the transaction is being undone",
            () if is_taken => "somebody else is taking it over",
            () => {
                self.guests[at].role = Role::Heir;
                self.vigil.attend(now());
                self.supersede();
                return;
            }
        };
        let why = why.to_owned();
        self.tell(at, &FromGuardian::Refused { why });
    }

    fn supersede(&mut self) {
        match self.position(Role::Worker) {
            Some(worker) => self.tell(worker, &FromGuardian::Superseded),
            None => self.promote(),
        }
    }

    fn promote(&mut self) {
        if let Some(heir) = self.position(Role::Heir) {
            self.guests[heir].role = Role::Worker;
            self.workers.extend(self.guests[heir].connection.peer);
            self.vigil.attend(now());
            self.tell(heir, &FromGuardian::Attached);
        }
    }

    fn settle(&mut self, at: usize, decision: Decision, reason: String) -> Option<Ending> {
        self.guests[at].role = Role::Asker;
        let why = match decision {
            Decision::Abort => {
                return Some(Ending::Undo {
                    reason,
                    spare_worker: false,
                });
            }
            Decision::Commit => {
                // A prepared worker has nothing to do but to wait for this.
                let worker = self.position(Role::Worker);
                let worker = worker.and_then(|at| self.guests[at].connection.peer);
                match undoing::commit(&self.begin.root, &self.directory, worker) {
                    Ok(ended) => return Some(Ending::Committed(ended)),
                    Err(why) => why,
                }
            }
            Decision::Revert | Decision::Accept => "the transaction is open".to_owned(),
        };
        self.tell(at, &FromGuardian::Refused { why });
        None
    }

    /// A guest is gone.
    fn dismiss(&mut self, at: usize) -> Option<Ending> {
        match self.guests.remove(at).role {
            Role::Worker => {
                if let Some((reason, _)) = self.abort.take() {
                    return Some(Ending::Undo {
                        reason,
                        spare_worker: false,
                    });
                }
                if self.position(Role::Heir).is_some() {
                    self.promote();
                } else {
                    self.vigil.lose(now());
                }
            }
            Role::Heir => self.vigil.lose(now()),
            Role::Stranger | Role::Asker => {}
        }
        None
    }

    fn position(&self, role: Role) -> Option<usize> {
        self.guests.iter().position(|guest| guest.role == role)
    }

    fn tell(&self, at: usize, message: &FromGuardian) {
        // Who does not listen is noticed when it is gone.
        self.guests[at].connection.send(message).ok();
    }
}

/// Returns the worker of a guardian that died; it may still be alive.
fn former_worker(directory: &std::path::Path) -> Option<Process> {
    let text = std::fs::read_to_string(directory.join(super::WORKER)).ok()?;
    Process::parse(&text)
}

/// Returns the time since boot, with the time the machine slept.
fn now() -> Duration {
    let now = clock_gettime(ClockId::Boottime);
    Duration::new(
        now.tv_sec.unsigned_abs(),
        u32::try_from(now.tv_nsec).unwrap_or_default(),
    )
}

fn set_timer(timer: &OwnedFd, until: Duration) -> io::Result<()> {
    let value = Timespec {
        tv_sec: i64::try_from(until.as_secs()).unwrap_or(i64::MAX),
        // Zero would switch the timer off.
        tv_nsec: i64::from(until.subsec_nanos().max(1)),
    };
    let wanted = Itimerspec {
        it_interval: Timespec::default(),
        it_value: value,
    };
    timerfd_settime(timer, TimerfdTimerFlags::ABSTIME, &wanted)?;
    Ok(())
}
