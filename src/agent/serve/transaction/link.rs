//! The worker's connection to its guardian, and the undo log that knows whether it still holds.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::agent::guardian::{Connection, FromGuardian, ToGuardian};
use crate::transaction::journal::{UndoLog, UndoRecord};
use crate::transaction::log::SharedLog;

/// The way to the guardian; shared by the worker and by who reads from the controller.
pub(in crate::agent::serve) struct Link {
    connection: Connection,
    /// The guardian died.
    is_gone: AtomicBool,
    /// Signs of life that follow each other closer than this are one.
    pause: Duration,
    last_beat: Mutex<Option<Instant>>,
}

/// What the guardian's words do to the session.
pub(super) enum Notice {
    /// Another worker takes over.
    Superseded,
    /// Nobody would undo what is changed from now on.
    Gone,
}

impl Link {
    /// Listens to the guardian; what needs no answer goes to `notify`, the rest to the receiver.
    pub(super) fn new(
        connection: &Connection,
        lease: Duration,
        notify: impl Fn(Notice) + Send + 'static,
    ) -> io::Result<(Arc<Self>, Receiver<FromGuardian>)> {
        let link = Arc::new(Self {
            connection: connection.try_clone()?,
            is_gone: AtomicBool::new(false),
            pause: lease / 20,
            last_beat: Mutex::new(None),
        });
        let (sender, receiver) = channel();
        let listener = connection.try_clone()?;
        let listening = Arc::clone(&link);
        std::thread::spawn(move || listening.listen(listener, &sender, &notify));
        Ok((link, receiver))
    }

    fn listen(
        &self,
        mut from: Connection,
        answers: &Sender<FromGuardian>,
        notify: &dyn Fn(Notice),
    ) {
        while let Ok(Some(message)) = from.receive() {
            match message {
                FromGuardian::Superseded => notify(Notice::Superseded),
                FromGuardian::Ended(_) => {
                    // The worker may have gone, too.
                    answers.send(message).ok();
                    return;
                }
                message => {
                    answers.send(message).ok();
                }
            }
        }
        self.is_gone.store(true, Ordering::SeqCst);
        notify(Notice::Gone);
    }

    /// Passes a sign of life of the controller on, if the last one is a while ago.
    pub(in crate::agent::serve) fn beat(&self) {
        let mut last = self
            .last_beat
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if last.is_none_or(|last| last.elapsed() >= self.pause) {
            *last = Some(Instant::now());
            self.tell(&ToGuardian::Beat);
        }
    }

    /// Says something; a guardian that is gone is noticed by who listens to it.
    pub(in crate::agent::serve) fn tell(&self, message: &ToGuardian) {
        self.connection.send(message).ok();
    }

    pub(super) fn is_gone(&self) -> bool {
        self.is_gone.load(Ordering::SeqCst)
    }

    /// Lets go of the guardian.
    pub(super) fn shut_down(&self) {
        self.connection.shut_down();
    }
}

/// The journal, as long as somebody is there to undo what it says.
pub(super) struct Guarded {
    pub(super) log: SharedLog,
    pub(super) link: Arc<Link>,
}

impl Guarded {
    fn check(&self) -> io::Result<()> {
        if self.link.is_gone() {
            Err(io::Error::other(LOST))
        } else {
            Ok(())
        }
    }
}

/// Why nothing is changed any more.
pub(super) const LOST: &str =
    "the transaction has lost its guardian, and without it nothing more is changed";

impl UndoLog for Guarded {
    fn append(&mut self, record: UndoRecord) -> io::Result<()> {
        self.check()?;
        self.log.append(record)
    }

    fn shelve(&mut self, near: &Path) -> io::Result<Option<PathBuf>> {
        self.check()?;
        self.log.shelve(near)
    }

    fn settles(&self) -> bool {
        self.log.settles()
    }
}
