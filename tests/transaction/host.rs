//! A host for transactions: a directory to change, a state directory, and real agents.

use std::collections::BTreeMap;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use backstay::agent::client::{Agent, OpenError};
use backstay::agent::contents::Store;
use backstay::agent::protocol::{Call, Open, Opened, Reply};
use backstay::machine::Process;
use backstay::transaction::lock::{self, Holder};
use backstay::transaction::state::{RunInfo, State, Summary};
use backstay::transaction::store::StateRoot;
use backstay::value::Value;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, kill_process, pidfd_open};
use tokio::io::AsyncReadExt;

/// A token that every test transaction has.
pub(super) const TOKEN: &str = "00112233445566778899aabbccddeeff";
/// The lease of tests in which it does not matter.
pub(super) const LEASE: Duration = Duration::from_mins(1);

/// A machine of its own, as far as an agent can tell.
pub(super) struct Host {
    root: tempfile::TempDir,
}

/// An agent with its process.
pub(super) struct Worker {
    pub(super) agent: Agent,
    pub(super) process: Process,
    /// Killed when the test ends.
    _child: tokio::process::Child,
}

impl Host {
    /// Makes a host with something to change.
    pub(super) fn new() -> Self {
        let root = tempfile::tempdir().unwrap();
        let host = Self { root };
        std::fs::create_dir(host.path("www")).unwrap();
        std::fs::write(host.path("www/index"), "old\n").unwrap();
        let private = std::fs::Permissions::from_mode(0o640);
        std::fs::set_permissions(host.path("www/index"), private).unwrap();
        std::fs::write(host.path("www/gone"), "still here\n").unwrap();
        host
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.root.path().join(name)
    }

    pub(super) fn state(&self) -> PathBuf {
        self.path("state")
    }

    /// Starts an agent.
    pub(super) async fn worker(&self) -> Worker {
        let mut child = tokio::process::Command::new(env!("CARGO_BIN_EXE_backstay"))
            .args(["agent", "--marker", "go"])
            .env("BACKSTAY_STATE_DIRECTORY", self.state())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let mut output = child.stdout.take().unwrap();
        let mut ready = [0; 9];
        output.read_exact(&mut ready).await.unwrap();
        assert_eq!(&ready, b"go ready\n");
        let input = Box::new(child.stdin.take().unwrap());
        let errors = Box::new(child.stderr.take().unwrap());
        let agent = Agent::start(Box::new(output), input, Some(errors), &[]).await;
        Worker {
            agent: agent.unwrap(),
            process: Process::find(child.id().unwrap()).unwrap(),
            _child: child,
        }
    }

    /// Starts an agent with an open transaction in which things are changed.
    pub(super) async fn deploying(&self, open: Open) -> Worker {
        let mut worker = self.worker().await;
        worker.agent.open(open).await.unwrap();
        worker.change(self).await;
        worker
    }

    /// Describes everything that can be changed: kind, mode, owner and content.
    pub(super) fn digest(&self) -> BTreeMap<String, String> {
        let mut found = BTreeMap::new();
        let mut pending = vec![self.path("www")];
        while let Some(path) = pending.pop() {
            let meta = path.symlink_metadata().unwrap();
            let content = if meta.is_dir() {
                "directory".to_owned()
            } else {
                std::fs::read_to_string(&path).unwrap()
            };
            let name = path.strip_prefix(self.root.path()).unwrap();
            let text = format!("{:o} {} {content}", meta.mode(), meta.uid());
            found.insert(name.display().to_string(), text);
            if meta.is_dir() {
                let entries = std::fs::read_dir(&path).unwrap();
                pending.extend(entries.map(|entry| entry.unwrap().path()));
            }
        }
        found
    }

    pub(super) fn holder(&self) -> Option<Holder> {
        lock::holder(&self.state(), "shop").unwrap()
    }

    /// Returns the guardian of the open transaction.
    pub(super) fn guardian(&self) -> Process {
        let holder = self.holder().expect("a transaction is open");
        Process::find(holder.pid.expect("its guardian has begun")).unwrap()
    }

    /// Returns the transaction as its journal tells it.
    pub(super) fn told(&self, id: &str) -> Summary {
        let root = StateRoot::open(&self.state()).unwrap();
        let stored = root.transaction(id).unwrap().unwrap();
        stored.journal.unwrap().summary()
    }

    /// Asserts that a transaction has ended so, and that nothing of it is left.
    pub(super) fn assert_ended(&self, id: &str, state: State, before: &BTreeMap<String, String>) {
        assert_eq!(self.told(id).state, state);
        assert_eq!(self.holder(), None);
        assert_eq!(&self.digest(), before);
        let journal = self.state().join("transactions").join(id);
        assert_eq!(processes_of(&journal), Vec::<u32>::new());
    }
}

impl Worker {
    pub(super) async fn call(&mut self, module: &str, seq: u64, arguments: Value) -> Reply {
        let call = Call {
            module: module.to_owned(),
            arguments: arguments.as_map().unwrap().clone(),
            transaction_seq: Some(seq),
            ..Call::default()
        };
        let reply = self.agent.call(call, &Store::default(), &|_| {}).await;
        reply.unwrap()
    }

    pub(super) async fn add_line(&mut self, path: &Path, seq: u64, line: &str) -> Reply {
        let arguments = Value::map([
            ("path", Value::from(path.display().to_string())),
            ("line", Value::from(line)),
            ("create", Value::from(true)),
        ]);
        self.call("lineinfile", seq, arguments).await
    }

    pub(super) async fn shell(&mut self, seq: u64, text: &str) -> Reply {
        let arguments = Value::map([("cmd", Value::from(text))]);
        self.call("shell", seq, arguments).await
    }

    /// Changes a file, makes one, and removes one: tasks 1 to 3.
    pub(super) async fn change(&mut self, host: &Host) {
        for reply in [
            self.add_line(&host.path("www/index"), 1, "new").await,
            self.add_line(&host.path("www/made"), 2, "new").await,
            self.remove(&host.path("www/gone"), 3).await,
        ] {
            assert_eq!(
                reply.result.get("changed"),
                Some(&Value::Bool(true)),
                "{reply:?}"
            );
        }
    }

    async fn remove(&mut self, path: &Path, seq: u64) -> Reply {
        let arguments = Value::map([
            ("path", Value::from(path.display().to_string())),
            ("state", Value::from("absent")),
        ]);
        self.call("file", seq, arguments).await
    }

    /// Kills the agent's process and waits until it is dead.
    pub(super) fn kill(&self) {
        kill(self.process);
    }
}

/// Returns what a deploy opens; `number` makes its id.
pub(super) fn open(number: u8) -> Open {
    Open {
        id: id(number),
        token: TOKEN.to_owned(),
        application: "shop".to_owned(),
        run: RunInfo {
            who: "ann".to_owned(),
            host: "desk".to_owned(),
            kind: "deploy".to_owned(),
            ..RunInfo::default()
        },
        lease: LEASE.as_secs_f64(),
        grace: None,
        keep: 5,
    }
}

/// Returns what a deploy opens that gives up soon after its worker is lost.
pub(super) fn open_briefly(number: u8) -> Open {
    Open {
        grace: Some(0.05),
        ..open(number)
    }
}

pub(super) fn id(number: u8) -> String {
    format!("{number:032x}")
}

pub(super) fn refusal(opened: Result<Opened, OpenError>) -> String {
    match opened {
        Err(OpenError::Refused(why)) => why,
        Err(OpenError::Locked(holder)) => format!("locked by {}", holder.id),
        Err(OpenError::Agent(error)) => error.to_string(),
        Ok(_) => "opened".to_owned(),
    }
}

/// Kills a process and waits until it is dead.
pub(super) fn kill(process: Process) {
    let pid = Pid::from_raw(process.pid.cast_signed()).unwrap();
    if let Ok(watched) = pidfd_open(pid, PidfdFlags::empty()) {
        kill_process(pid, Signal::KILL).ok();
        wait(&watched);
    }
}

fn wait(watched: &OwnedFd) {
    loop {
        let mut polled = [PollFd::new(watched, PollFlags::IN)];
        match poll(&mut polled, None::<&Timespec>) {
            Err(rustix::io::Errno::INTR) => {}
            ended => return assert_eq!(ended, Ok(1)),
        }
    }
}

pub(super) fn stop(process: Process) {
    let pid = Pid::from_raw(process.pid.cast_signed()).unwrap();
    kill_process(pid, Signal::STOP).unwrap();
}

/// Waits until a process has ended by itself.
pub(super) async fn ended(process: Process) {
    tokio::task::spawn_blocking(move || {
        let pid = Pid::from_raw(process.pid.cast_signed()).unwrap();
        if let Ok(watched) = pidfd_open(pid, PidfdFlags::empty()) {
            wait(&watched);
        }
    })
    .await
    .unwrap();
}

/// Returns the living processes that belong to a transaction.
fn processes_of(journal: &Path) -> Vec<u32> {
    let mark = format!("BACKSTAY_TRANSACTION={}", journal.display());
    let entries = std::fs::read_dir("/proc").unwrap();
    let numbers = entries.flatten().filter_map(|entry| {
        let number: u32 = entry.file_name().to_str()?.parse().ok()?;
        let environment = std::fs::read(entry.path().join("environ")).ok()?;
        let marked = environment
            .split(|byte| *byte == 0)
            .any(|one| one == mark.as_bytes());
        marked.then_some(number)
    });
    numbers.collect()
}
