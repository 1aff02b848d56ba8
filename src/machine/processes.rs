//! Processes of the target that must not go on: everything that a transaction has started.
//!
//! A process belongs to it by descent from one of its workers, or by the variable that all its
//! programs get; what has cleared the variable and left the family is a service of its own.

use std::collections::HashSet;
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

/// The environment variable that says which transaction a program was started in, by the directory
/// of its journal: participants of one deploy that share a machine are told apart.
pub const TRANSACTION_VARIABLE: &str = "BACKSTAY_TRANSACTION";

/// A process, told apart from a later one of the same number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Process {
    pub pid: u32,
    /// When it started, in clock ticks after boot.
    pub start: u64,
}

impl Process {
    /// Returns the running process of this number.
    pub fn find(pid: u32) -> Option<Self> {
        Status::read(pid).map(|status| Self {
            pid,
            start: status.start,
        })
    }

    /// Returns this process.
    pub fn current() -> Option<Self> {
        Self::find(std::process::id())
    }

    pub fn is_running(self) -> bool {
        Status::read(self.pid).is_some_and(|status| status.start == self.start && !status.is_dead)
    }

    /// Kills it, and nothing that it started.
    pub fn kill(self) {
        if self.is_running() {
            kill(self.pid);
        }
    }

    /// Reads what [`text`](Self::text) wrote.
    pub fn parse(text: &str) -> Option<Self> {
        let (pid, start) = text.trim().split_once(' ')?;
        Some(Self {
            pid: pid.parse().ok()?,
            start: start.parse().ok()?,
        })
    }

    /// Returns it as a line.
    pub fn text(self) -> String {
        format!("{} {}\n", self.pid, self.start)
    }
}

/// Kills what the workers of a transaction have started, and what carries its name; with
/// `and_workers` the workers too. Returns whether all of it is gone within `limit`.
pub fn kill_transaction(
    journal: &Path,
    workers: &[Process],
    and_workers: bool,
    limit: Duration,
) -> bool {
    let deadline = Instant::now() + limit;
    loop {
        let victims = family(journal, workers, and_workers);
        if victims.is_empty() {
            return true;
        }
        victims.into_iter().for_each(kill);
        if Instant::now() >= deadline {
            return false;
        }
        std::thread::sleep(Duration::from_millis(1));
    }
}

fn kill(pid: u32) {
    if let Some(pid) = i32::try_from(pid).ok().and_then(Pid::from_raw) {
        // Gone already is as good as killed.
        kill_process(pid, Signal::KILL).ok();
    }
}

/// Returns the living processes to kill.
fn family(journal: &Path, workers: &[Process], and_workers: bool) -> Vec<u32> {
    let all = Status::all();
    let is_worker = |status: &Status| {
        workers
            .iter()
            .any(|worker| worker.pid == status.pid && worker.start == status.start)
    };
    let mut members: HashSet<u32> = all
        .iter()
        .filter(|status| is_worker(status))
        .map(|status| status.pid)
        .collect();
    loop {
        let before = members.len();
        for status in &all {
            if members.contains(&status.parent) {
                members.insert(status.pid);
            }
        }
        if members.len() == before {
            break;
        }
    }
    let own = std::process::id();
    let mark = mark(journal);
    all.iter()
        .filter(|status| status.pid != own && status.pid > 1 && !status.is_dead)
        .filter(|status| and_workers || !is_worker(status))
        .filter(|status| members.contains(&status.pid) || is_marked(status.pid, &mark))
        .map(|status| status.pid)
        .collect()
}

fn mark(journal: &Path) -> Vec<u8> {
    let name = format!("{TRANSACTION_VARIABLE}=");
    [name.as_bytes(), journal.as_os_str().as_encoded_bytes()].concat()
}

/// Tells whether the environment that a process was started with has this entry.
fn is_marked(pid: u32, mark: &[u8]) -> bool {
    let environment = std::fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
    environment
        .split(|byte| *byte == 0)
        .any(|entry| entry == mark)
}

struct Status {
    pid: u32,
    parent: u32,
    start: u64,
    is_dead: bool,
}

impl Status {
    fn all() -> Vec<Self> {
        let Ok(entries) = std::fs::read_dir("/proc") else {
            return Vec::new();
        };
        entries
            .flatten()
            .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
            .filter_map(Self::read)
            .collect()
    }

    fn read(pid: u32) -> Option<Self> {
        let text = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        // The name in parentheses may hold anything, parentheses too.
        let (_, rest) = text.rsplit_once(')')?;
        let words: Vec<&str> = rest.split_whitespace().collect();
        Some(Self {
            pid,
            parent: words.get(1)?.parse().ok()?,
            start: words.get(19)?.parse().ok()?,
            is_dead: matches!(*words.first()?, "Z" | "X"),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::machine::{Command, Machine, MachineOptions};

    fn start(journal: &str, script: &str) -> u32 {
        let mut machine = Machine::new(MachineOptions {
            environment: vec![(TRANSACTION_VARIABLE.to_owned(), journal.to_owned())],
            ..MachineOptions::default()
        });
        let output = machine.query(&Command::shell(script)).unwrap();
        output.stdout_text().trim().parse().unwrap()
    }

    #[test]
    fn a_daemon_of_the_transaction_is_found_by_its_mark_and_another_one_is_left() {
        let daemon = "setsid sleep 600 >/dev/null 2>&1 & echo $!";
        let (ours, other) = (start("tx-one", daemon), start("tx-two", daemon));
        let (ours, other) = (Process::find(ours).unwrap(), Process::find(other).unwrap());
        assert!(kill_transaction(
            Path::new("tx-one"),
            &[],
            true,
            Duration::from_mins(1)
        ));
        assert!(!ours.is_running());
        assert!(other.is_running());
        assert!(kill_transaction(
            Path::new("tx-two"),
            &[],
            true,
            Duration::from_mins(1)
        ));
    }

    #[test]
    fn a_worker_is_spared_when_only_its_children_are_to_go() {
        let root = start(
            "tx-tree",
            "sh -c 'env -i sleep 600 & wait' >/dev/null 2>&1 & echo $!",
        );
        let root = Process::find(root).unwrap();
        let child = || Status::all().into_iter().find(|one| one.parent == root.pid);
        while child().is_none() {
            std::thread::yield_now();
        }
        let child = Process::find(child().unwrap().pid).unwrap();
        assert!(kill_transaction(
            Path::new("no-such"),
            &[root],
            false,
            Duration::from_mins(1)
        ));
        assert!(!child.is_running());
        kill_transaction(Path::new("no-such"), &[root], true, Duration::from_mins(1));
        assert!(!root.is_running());
    }

    #[test]
    fn a_process_is_the_same_after_it_was_written_down() {
        let own = Process::current().unwrap();
        assert_eq!(Process::parse(&own.text()), Some(own));
        assert!(own.is_running());
        let later = Process {
            start: own.start + 1,
            ..own
        };
        assert!(!later.is_running());
    }
}
