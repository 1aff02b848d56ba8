//! What reader and worker share: the way out, the streams, and the task that runs.

use std::collections::HashMap;
use std::io::{self, Write};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};

use super::scratch::Scratch;
use super::task::{Job, Request};
use super::transaction::Link;
use crate::agent::frame::Frame;
use crate::agent::guardian::ToGuardian;
use crate::agent::protocol::{Ask, Call, ToController, WINDOW, control};
use crate::machine::{Cancellation, Prediction};

/// A piece of a stream, or its end.
pub(super) enum Piece {
    Bytes(Vec<u8>),
    End(Option<String>),
}

pub(super) struct Session {
    output: Mutex<Box<dyn Write + Send>>,
    streams: Mutex<HashMap<u64, Sender<Piece>>>,
    /// What may still be sent of each outgoing stream.
    credits: Mutex<HashMap<u64, u64>>,
    granted: Condvar,
    next_stream: AtomicU64,
    state: Mutex<State>,
    scratch: OnceLock<Option<Scratch>>,
    /// What the tasks so far would have done, in a run in check mode.
    pub(super) prediction: Prediction,
    /// Where requests go; none once the controller has gone.
    requests: Mutex<Option<Sender<Request>>>,
    /// The way to the guardian of the open transaction.
    link: Mutex<Option<Arc<Link>>>,
    /// The digest of this program, where it is known.
    sha256: Option<String>,
}

#[derive(Default)]
struct State {
    closed: bool,
    tasks: HashMap<u64, Cancellation>,
}

impl Session {
    /// Makes a session that answers to `output`; requests arrive at the receiver.
    pub(super) fn new(
        output: Box<dyn Write + Send>,
        sha256: Option<String>,
    ) -> (Arc<Self>, Receiver<Request>) {
        let (requests, queue) = channel();
        let session = Self {
            requests: Mutex::new(Some(requests)),
            link: Mutex::default(),
            sha256,
            output: Mutex::new(output),
            streams: Mutex::default(),
            credits: Mutex::default(),
            granted: Condvar::new(),
            next_stream: AtomicU64::new(1),
            state: Mutex::default(),
            scratch: OnceLock::new(),
            prediction: Prediction::default(),
        };
        (Arc::new(session), queue)
    }

    /// Hands a request to the worker; tells whether that is still there.
    pub(super) fn submit(&self, request: Request) -> bool {
        let requests = lock(&self.requests);
        requests
            .as_ref()
            .is_some_and(|requests| requests.send(request).is_ok())
    }

    /// Asks the worker to let go of its transaction after the running task.
    pub(super) fn submit_let_go(&self) {
        // A worker that is gone holds nothing.
        self.submit(Request {
            seq: 0,
            cancellation: Cancellation::default(),
            job: Job::LetGo,
        });
    }

    pub(super) fn set_link(&self, link: Option<Arc<Link>>) {
        *lock(&self.link) = link;
    }

    /// Returns the way to the guardian while a transaction is open.
    pub(super) fn link(&self) -> Option<Arc<Link>> {
        lock(&self.link).clone()
    }

    pub(super) fn sha256(&self) -> Option<&str> {
        self.sha256.as_deref()
    }

    pub(super) fn send(&self, message: &ToController) -> io::Result<()> {
        self.send_frame(&control(message)?)
    }

    pub(super) fn send_frame(&self, frame: &Frame) -> io::Result<()> {
        let mut bytes = Vec::new();
        frame.encode(&mut bytes);
        let mut output = lock(&self.output);
        output.write_all(&bytes)?;
        output.flush()
    }

    /// Registers a task, so that it can be cancelled from the moment it is asked for.
    fn begin(&self, seq: u64, job: Job) -> Request {
        let cancellation = Cancellation::default();
        let mut state = lock(&self.state);
        if state.closed {
            cancellation.cancel();
        }
        state.tasks.insert(seq, cancellation.clone());
        Request {
            seq,
            cancellation,
            job,
        }
    }

    pub(super) fn begin_call(&self, seq: u64, call: Call) -> Request {
        self.begin(seq, Job::Call(Box::new(call)))
    }

    pub(super) fn begin_fetch(&self, seq: u64, path: String) -> Request {
        self.begin(seq, Job::Fetch(path))
    }

    pub(super) fn begin_transaction(&self, seq: u64, ask: Ask) -> Request {
        self.begin(seq, Job::Transaction(Box::new(ask)))
    }

    /// Forgets a task that is over, and the streams it left unread.
    pub(super) fn finish(&self, seq: u64) {
        lock(&self.state).tasks.remove(&seq);
        lock(&self.streams).clear();
        lock(&self.credits).clear();
    }

    /// Cancels a task; what it waits for ends with an error.
    pub(super) fn cancel(&self, seq: u64) {
        let task = lock(&self.state).tasks.get(&seq).cloned();
        if let Some(task) = task {
            task.cancel();
            lock(&self.streams).clear();
            self.granted.notify_all();
        }
    }

    /// Cancels all that runs and waits.
    pub(super) fn cancel_all(&self) {
        for task in lock(&self.state).tasks.values() {
            task.cancel();
        }
        lock(&self.streams).clear();
        self.granted.notify_all();
    }

    /// Nobody listens any more. A task of a transaction is finished all the same, so that who takes
    /// the transaction over finds its result; any other is cancelled.
    pub(super) fn close(&self) {
        lock(&self.requests).take();
        match self.link() {
            Some(link) => link.tell(&ToGuardian::Adrift),
            None => {
                lock(&self.state).closed = true;
                self.cancel_all();
            }
        }
        lock(&self.streams).clear();
        self.granted.notify_all();
    }

    pub(super) fn new_stream(&self) -> u64 {
        self.next_stream.fetch_add(1, Ordering::Relaxed)
    }

    /// Opens an incoming stream.
    pub(super) fn open_stream(&self) -> (u64, Receiver<Piece>) {
        let stream = self.new_stream();
        let (sender, receiver) = channel();
        lock(&self.streams).insert(stream, sender);
        (stream, receiver)
    }

    pub(super) fn close_stream(&self, stream: u64) {
        lock(&self.streams).remove(&stream);
    }

    /// Hands a piece to the stream's reader; pieces of a stream nobody reads are dropped.
    pub(super) fn deliver(&self, stream: u64, bytes: Vec<u8>) {
        if let Some(sender) = lock(&self.streams).get(&stream) {
            sender.send(Piece::Bytes(bytes)).ok();
        }
    }

    pub(super) fn end(&self, stream: u64, error: Option<String>) {
        if let Some(sender) = lock(&self.streams).remove(&stream) {
            sender.send(Piece::End(error)).ok();
        }
    }

    pub(super) fn open_credit(&self, stream: u64) {
        lock(&self.credits).insert(stream, WINDOW);
    }

    pub(super) fn grant(&self, stream: u64, bytes: u64) {
        if let Some(credit) = lock(&self.credits).get_mut(&stream) {
            *credit = credit.saturating_add(bytes);
        }
        self.granted.notify_all();
    }

    /// Waits until something of the stream may be sent, and takes up to `most` of it.
    pub(super) fn spend(&self, stream: u64, most: u64, task: &Cancellation) -> io::Result<u64> {
        let mut credits = lock(&self.credits);
        loop {
            if task.is_cancelled() {
                return Err(io::Error::other("the task was cancelled"));
            }
            if let Some(credit) = credits.get_mut(&stream).filter(|credit| **credit > 0) {
                let taken = most.min(*credit);
                *credit -= taken;
                return Ok(taken);
            }
            credits = self
                .granted
                .wait(credits)
                .unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Returns the session's private directory, made when it is first needed.
    pub(super) fn scratch(&self) -> Option<PathBuf> {
        let made = self.scratch.get_or_init(Scratch::make);
        made.as_ref().map(|scratch| scratch.path().to_owned())
    }

    pub(super) fn remove_scratch(&self) {
        if let Some(Some(scratch)) = self.scratch.get() {
            scratch.remove();
        }
    }
}

fn lock<T: ?Sized>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
