//! Jobs: a task in a process of its own that outlives the session, and leaves its result in a
//! file named after it, as Ansible's do.
//!
//! The process is this program again. It gets its call on standard input, since arguments could
//! be read by anybody; it knows no controller, so modules that need its bytes cannot be jobs.

use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::Duration;

use super::catch_panics;
use super::scratch::Scratch;
use super::task::{machine_options, run_on};
use crate::agent::protocol::{Background, Call};
use crate::machine::{
    Cancellation, Content, Machine, MachineError, MachineOptions, NewFile, start_detached,
};
use crate::modules::{self, Failure, Module};
use crate::value::{Map, Value};

/// The argument by which the program knows that it is a job.
pub(super) const ARGUMENT: &str = "--job";

/// Starts a job and returns where its result is to be found.
pub(super) fn start(call: &Call, background: &Background) -> Map {
    let own = Path::new("/proc/self/exe");
    let said = serde_json::to_vec(call)
        .map_err(io::Error::other)
        .and_then(|call| start_detached(own, &["agent", ARGUMENT], &call));
    let answer = said.and_then(|line| serde_json::from_str(&line).map_err(io::Error::other));
    match answer {
        Ok(Value::Map(result)) => result.as_ref().clone(),
        Ok(_) => Failure::new("the job answered with no result").into_result(),
        Err(error) => {
            let message = format!("the job {} could not be started: {error}", background.id);
            Failure::new(message).into_result()
        }
    }
}

/// Is a job: reads the call, says that it has started, and runs the module until it is done or
/// its time is over.
pub(super) fn run() -> Result<(), String> {
    catch_panics();
    let call = read_call().map_err(|error| format!("the job cannot be read: {error}"))?;
    let background = call.background.clone().unwrap_or_default();
    let module = modules::on_target(&call.module)
        .ok_or_else(|| format!("the agent has no module `{}`", call.module))?;
    // Out of the agent's session, the end of the connection does not reach it.
    rustix::process::setsid().map_err(|error| error.to_string())?;
    match Job::begin(&call, &background) {
        Ok(mut job) => {
            say(&job.begun()).map_err(|error| error.to_string())?;
            let result = run_within(&call, module, Duration::from_secs(background.seconds));
            job.leave(&result).map_err(|error| error.to_string())
        }
        Err(error) => say(&Failure::from(error).into_result()).map_err(|error| error.to_string()),
    }
}

fn read_call() -> io::Result<Call> {
    let mut text = Vec::new();
    io::stdin().read_to_end(&mut text)?;
    Ok(serde_json::from_slice(&text)?)
}

/// Says one line and nothing more, so that whoever waits for it does not wait for the end.
fn say(result: &Map) -> io::Result<()> {
    let mut line = json(result);
    line.push(b'\n');
    io::stdout().write_all(&line)?;
    io::stdout().flush()?;
    let nowhere = std::fs::OpenOptions::new()
        .read(true)
        .write(true)
        .open("/dev/null")?;
    rustix::stdio::dup2_stdin(&nowhere)?;
    rustix::stdio::dup2_stdout(&nowhere)?;
    Ok(())
}

/// One job, as its own process sees it.
struct Job {
    id: String,
    file: PathBuf,
    machine: Machine,
}

impl Job {
    /// Leaves word that the job runs.
    fn begin(call: &Call, background: &Background) -> Result<Self, MachineError> {
        // What is written for the job itself is none of the task's changes.
        let mut machine = Machine::new(MachineOptions {
            check: false,
            ..machine_options(call, &Cancellation::default())
        });
        let directory = machine.expand(Path::new(&background.directory));
        machine.create_dir_all(&directory, 0o700)?;
        let id = format!("{}.{}", background.id, std::process::id());
        let mut job = Self {
            file: directory.join(&id),
            id,
            machine,
        };
        let running = map([
            ("started", true.into()),
            ("finished", false.into()),
            ("ansible_job_id", job.id.as_str().into()),
        ]);
        job.leave(&running)?;
        Ok(job)
    }

    fn begun(&self) -> Map {
        map([
            ("failed", false.into()),
            ("started", true.into()),
            ("finished", false.into()),
            ("ansible_job_id", self.id.as_str().into()),
            ("results_file", self.file.display().to_string().into()),
        ])
    }

    fn leave(&mut self, result: &Map) -> Result<(), MachineError> {
        let new = NewFile {
            mode: Some(0o600),
            fresh: true,
            ..NewFile::default()
        };
        self.machine
            .write(&self.file, Content::Bytes(json(result)), &new)
    }
}

/// Runs a job's module, and ends it when its time is over.
fn run_within(call: &Call, module: &'static Module, limit: Duration) -> Map {
    let cancellation = Cancellation::default();
    let scratch = Scratch::make();
    let machine = Machine::new(MachineOptions {
        scratch: scratch.as_ref().map(|scratch| scratch.path().to_owned()),
        ..machine_options(call, &cancellation)
    });
    let call = call.clone();
    let (done, ended) = channel();
    std::thread::spawn(move || done.send(run_on(machine, &call, module)));
    let result = match ended.recv_timeout(limit) {
        Ok(result) => result,
        Err(RecvTimeoutError::Disconnected) => Failure::new("the job ended").into_result(),
        Err(RecvTimeoutError::Timeout) => {
            cancellation.cancel();
            // Its programs are being killed; a module that hears nothing ends with us.
            ended.recv_timeout(Duration::from_secs(2)).ok();
            map([
                ("msg", "Timeout exceeded".into()),
                ("failed", true.into()),
                ("child_pid", std::process::id().into()),
            ])
        }
    };
    if let Some(scratch) = scratch {
        scratch.remove();
    }
    result
}

fn map<const N: usize>(pairs: [(&str, Value); N]) -> Map {
    pairs
        .into_iter()
        .map(|(key, value)| (key.into(), value))
        .collect()
}

fn json(result: &Map) -> Vec<u8> {
    serde_json::to_vec(&Value::from(result.clone())).expect("a result is always JSON")
}
