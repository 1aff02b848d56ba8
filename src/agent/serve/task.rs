//! The worker: runs one request after the other and answers each.
//!
//! A panic in a module fails that task and leaves the agent alive.

use std::cell::RefCell;
use std::io::{self, Read};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::background;
use super::content::Controller;
use super::session::Session;
use super::steps::{Declared, Noting, Steps, protect};
use super::transaction::{Start, Transactions};
use crate::agent::frame::{Frame, MAX_CHUNK};
use crate::agent::protocol::{Ask, Call, CheckMode, Reply, ToController};
use crate::machine::{Algorithm, Cancellation, Machine, MachineError, MachineOptions, Prediction};
use crate::modules::{self, Failure, Module};
use crate::value::{Map, Value};

/// Looks a module up by its short name.
pub(in crate::agent) type FindModule = fn(&str) -> Option<&'static Module>;

/// Something to do for the controller.
pub(super) struct Request {
    pub(super) seq: u64,
    pub(super) cancellation: Cancellation,
    pub(super) job: Job,
}

pub(super) enum Job {
    Call(Box<Call>),
    Fetch(String),
    Transaction(Box<Ask>),
    /// Lets go of the transaction; nobody is answered.
    LetGo,
}

/// The thread that runs modules.
pub(super) struct Worker {
    thread: JoinHandle<()>,
}

impl Worker {
    pub(super) fn start(session: Arc<Session>, queue: Receiver<Request>, find: FindModule) -> Self {
        Self {
            thread: std::thread::spawn(move || run(&session, &queue, find)),
        }
    }

    /// Waits for the running task to end.
    pub(super) fn join(self) {
        // A panic was caught and told where it happened.
        self.thread.join().ok();
    }

    /// Waits for the task that is being cancelled, but not longer than `limit`.
    pub(super) fn finish(self, limit: Duration) {
        let deadline = Instant::now() + limit;
        while !self.thread.is_finished() && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(1));
        }
    }
}

fn run(session: &Arc<Session>, queue: &Receiver<Request>, find: FindModule) {
    let mut transactions = Transactions::new(Arc::clone(session));
    for request in queue {
        let seq = request.seq;
        let answered = match request.job {
            Job::Call(call) => {
                let module = find(&call.module);
                let context = Context {
                    session,
                    seq,
                    cancellation: &request.cancellation,
                };
                context.answer(&mut transactions, &call, module)
            }
            Job::Fetch(path) => fetch(session, seq, &request.cancellation, &path),
            Job::Transaction(ask) => {
                let answer = Box::new(transactions.answer(*ask, &request.cancellation));
                session.send(&ToController::Transaction { seq, answer })
            }
            Job::LetGo => {
                transactions.let_go();
                Ok(())
            }
        };
        session.finish(seq);
        // Nobody listens any more; the reader notices by itself. What is queued is no use to anybody.
        if answered.is_err() {
            break;
        }
    }
    transactions.let_go();
}

/// One task as it runs.
struct Context<'a> {
    session: &'a Arc<Session>,
    seq: u64,
    cancellation: &'a Cancellation,
}

impl Context<'_> {
    fn answer(
        &self,
        transactions: &mut Transactions,
        call: &Call,
        module: Option<&Module>,
    ) -> io::Result<()> {
        let reply = match transactions.begin(call) {
            Start::Answered(reply) => *reply,
            Start::Run => {
                let timer = call
                    .timeout
                    .map(|limit| Timer::start(limit, self.cancellation));
                let steps = Steps::default();
                let result = self.run_module(transactions, call, module, &steps);
                let timed_out = timer.is_some_and(Timer::stop);
                let reply = Reply {
                    timed_out,
                    steps: steps.take(),
                    ..Reply::new(result)
                };
                transactions.end(call, &reply);
                reply
            }
        };
        let seq = self.seq;
        self.session
            .send(&ToController::Reply { seq, reply })
            .or_else(|error| self.session.send(&too_long(seq, &error)))
    }

    fn run_module(
        &self,
        transactions: &Transactions,
        call: &Call,
        module: Option<&Module>,
        steps: &Steps,
    ) -> Map {
        let Some(module) = module else {
            let message = format!("the agent has no module `{}`", call.module);
            return Failure::new(message).into_result();
        };
        if let Some(background) = &call.background {
            return background::start(call, background);
        }
        if call.check == CheckMode::Each {
            return self.told_alone(transactions, call, module, steps);
        }
        let prediction = match call.check {
            CheckMode::Run => self.session.prediction.clone(),
            _ => Prediction::default(),
        };
        let mut machine = self.machine(transactions, call, steps, prediction);
        if call.transaction_seq.is_some() && call.check == CheckMode::Off {
            let kept = protect(&mut machine, &mut *transactions.undo_log(), &call.protect);
            if let Err(why) = kept {
                return Failure::new(why).into_result();
            }
        }
        run_on(machine, call, module)
    }

    /// Runs a module in check mode on the target as it is, and keeps what it would have done. Where
    /// it fails for want of what earlier tasks would have done, the answer is the one with that.
    fn told_alone(
        &self,
        transactions: &Transactions,
        call: &Call,
        module: &Module,
        steps: &Steps,
    ) -> Map {
        let prediction = self.session.prediction.clone();
        prediction.begin_task();
        let machine = self.machine(transactions, call, steps, prediction.clone());
        let with_earlier = run_on(machine, call, module);
        if !prediction.saw_earlier() {
            return with_earlier;
        }
        let machine = self.machine(transactions, call, steps, Prediction::default());
        let alone = run_on(machine, call, module);
        let failed = alone.get("failed").is_some_and(Value::is_truthy);
        if failed { with_earlier } else { alone }
    }

    fn machine(
        &self,
        transactions: &Transactions,
        call: &Call,
        steps: &Steps,
        prediction: Prediction,
    ) -> Machine {
        let mark = transactions.mark();
        Machine::new(MachineOptions {
            environment: call.environment.iter().cloned().chain(mark).collect(),
            undo: match call.transaction_seq {
                Some(_) => {
                    let declared = Declared::of(call);
                    Box::new(Noting::new(transactions.undo_log(), steps, declared))
                }
                None => transactions.undo_log(),
            },
            contents: Box::new(Controller {
                session: Arc::clone(self.session),
                seq: self.seq,
            }),
            scratch: self.session.scratch(),
            prediction,
            ..machine_options(call, self.cancellation)
        })
    }
}

/// Returns what a call says of the machine it runs on.
pub(super) fn machine_options(call: &Call, cancellation: &Cancellation) -> MachineOptions {
    MachineOptions {
        environment: call.environment.clone(),
        umask: call.umask,
        cancellation: cancellation.clone(),
        diff: call.diff,
        check: call.check != CheckMode::Off,
        ..MachineOptions::default()
    }
}

/// Runs a module and returns its whole result, also when it panics.
pub(super) fn run_on(mut machine: Machine, call: &Call, module: &Module) -> Map {
    let ran = catch_unwind(AssertUnwindSafe(|| {
        (module.run)(&mut machine, &call.arguments)
    }));
    let mut result = match ran {
        Ok(Ok(outcome)) => outcome.into_result(),
        Ok(Err(failure)) => failure.into_result(),
        Err(_) => panicked(&call.module).into_result(),
    };
    let invocation = Value::map([(
        "module_args",
        modules::invocation(module.spec, &call.arguments),
    )]);
    // What a job left has its own.
    result.entry("invocation".into()).or_insert(invocation);
    result
}

/// Replaces a result that no frame can hold.
fn too_long(seq: u64, error: &io::Error) -> ToController {
    let failure = Failure::new(format!("the result cannot be sent: {error}"));
    ToController::Reply {
        seq,
        reply: Reply {
            result: failure.into_result(),
            ..Reply::default()
        },
    }
}

thread_local! {
    static PANIC: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// Makes panics remember where they happened instead of printing it.
pub fn catch_panics() {
    std::panic::set_hook(Box::new(|panic| {
        let message = panic.payload_as_str().unwrap_or("no message");
        let place = match panic.location() {
            Some(location) => format!("{message} ({location})"),
            None => message.to_owned(),
        };
        PANIC.with_borrow_mut(|last| *last = Some(place));
    }));
}

fn panicked(module: &str) -> Failure {
    let what = PANIC
        .with_borrow_mut(Option::take)
        .unwrap_or_else(|| "no message".to_owned());
    Failure::new(format!(
        "the module `{module}` has a bug and stopped: {what}; please report it"
    ))
}

/// Cancels a task when its time is over.
struct Timer {
    stop: Sender<()>,
    thread: JoinHandle<bool>,
}

impl Timer {
    fn start(seconds: f64, cancellation: &Cancellation) -> Self {
        let limit = Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX);
        let cancellation = cancellation.clone();
        let (stop, stopped) = channel::<()>();
        let thread = std::thread::spawn(move || {
            let over = stopped.recv_timeout(limit) == Err(RecvTimeoutError::Timeout);
            if over {
                cancellation.cancel();
            }
            over
        });
        Self { stop, thread }
    }

    /// Tells whether the time was over.
    fn stop(self) -> bool {
        drop(self.stop);
        self.thread.join().unwrap_or(false)
    }
}

/// Sends a file's bytes under credit, then its digest.
fn fetch(
    session: &Arc<Session>,
    seq: u64,
    cancellation: &Cancellation,
    path: &str,
) -> io::Result<()> {
    let sent = stream_file(session, seq, cancellation, path);
    let (sha256, error) = match sent {
        Ok(sha256) => (sha256, None),
        Err(error) => (String::new(), Some(error.to_string())),
    };
    session.send(&ToController::Sent { seq, sha256, error })
}

fn stream_file(
    session: &Arc<Session>,
    seq: u64,
    cancellation: &Cancellation,
    path: &str,
) -> Result<String, MachineError> {
    let mut machine = Machine::new(MachineOptions::default());
    let path = machine.expand(Path::new(path));
    let failed = |error: io::Error| MachineError::io("read", &path, error);
    let found = machine.metadata(&path)?;
    let found = found.ok_or_else(|| failed(rustix::io::Errno::NOENT.into()))?;
    if found.is_dir() {
        return Err(failed(rustix::io::Errno::ISDIR.into()));
    }
    let mut file = machine.open(&path)?;
    let stream = session.new_stream();
    session.open_credit(stream);
    session
        .send(&ToController::Sending {
            seq,
            stream,
            size: found.size,
        })
        .map_err(failed)?;
    let mut hasher = Algorithm::Sha256.hasher();
    let mut buffer = vec![0; MAX_CHUNK];
    loop {
        let most = u64::try_from(MAX_CHUNK).expect("the limit fits");
        let credit = session.spend(stream, most, cancellation).map_err(failed)?;
        let credit = usize::try_from(credit).expect("no more than the limit");
        let count = read_some(&mut *file, &mut buffer[..credit]).map_err(failed)?;
        if count == 0 {
            return Ok(hasher.finish());
        }
        session.grant(stream, u64::try_from(credit - count).expect("it fits"));
        hasher.update(&buffer[..count]);
        let bytes = buffer[..count].to_vec();
        session
            .send_frame(&Frame::Chunk { stream, bytes })
            .map_err(failed)?;
    }
}

fn read_some(file: &mut dyn Read, buffer: &mut [u8]) -> io::Result<usize> {
    loop {
        match file.read(buffer) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            read => return read,
        }
    }
}
