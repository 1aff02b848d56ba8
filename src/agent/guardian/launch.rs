//! Starting a guardian, outside of everything that ends with the session that starts it.
//!
//! As root under systemd it is a unit of its own; else it is a process without parent, session and
//! terminal. It is handed the lock, and only then holds it alone.

use std::path::Path;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::words::{Begin, CRADLE, Connection, FromGuardian, ToGuardian, listen};
use crate::machine::{Command, Machine, MachineOptions};
use crate::transaction::lock::Lock;

/// How long a guardian may take to start.
const PATIENCE: Timespec = Timespec {
    tv_sec: 30,
    tv_nsec: 0,
};

/// Starts the guardian of the transaction in `directory`; returns its connection and number.
///
/// `program` is a copy of this one that outlives the session, where there is one.
pub(in crate::agent) fn start(
    directory: &Path,
    lock: &Lock,
    begin: Begin,
    program: Option<&Path>,
) -> Result<(Connection, u32), String> {
    let wrong = |error: std::io::Error| format!("the guardian cannot be started: {error}");
    let cradle = listen(directory, CRADLE).map_err(wrong)?;
    // An heir of processes would inherit the guardian too.
    rustix::process::set_child_subreaper(None).ok();
    let is_unit = program
        .filter(|_| has_systemd() && rustix::process::geteuid().is_root())
        .is_some_and(|program| start_unit(program, directory, &begin.holder.id).is_ok());
    if !is_unit {
        detach(directory)?;
    }
    let mut polled = [PollFd::new(&cradle, PollFlags::IN)];
    match poll(&mut polled, Some(&PATIENCE)) {
        Ok(0) => return Err("the guardian did not start in time".to_owned()),
        Ok(_) => {}
        Err(error) => return Err(wrong(error.into())),
    }
    let accepted = cradle.accept().map_err(wrong)?;
    let mut connection = Connection::new(accepted.0).map_err(wrong)?;
    rustix::fs::unlink(directory.join(CRADLE)).ok();
    connection
        .send_descriptor(std::os::fd::AsFd::as_fd(lock))
        .map_err(wrong)?;
    connection.send(&ToGuardian::Begin(begin)).map_err(wrong)?;
    match connection.receive().map_err(wrong)? {
        Some(FromGuardian::Ready { pid }) => Ok((connection, pid)),
        Some(FromGuardian::Refused { why }) => Err(format!("the guardian cannot work: {why}")),
        _ => Err("the guardian ended before it began".to_owned()),
    }
}

/// Tells whether systemd runs this machine.
pub(super) fn has_systemd() -> bool {
    Path::new("/run/systemd/system").is_dir()
}

fn start_unit(program: &Path, directory: &Path, id: &str) -> Result<(), String> {
    let command = Command::new(["systemd-run", "--collect", "--quiet"])
        .arg(format!("--unit=backstay-guardian-{id}"))
        .arg("--")
        .arg(program)
        .arg("guardian")
        .arg("--directory")
        .arg(directory)
        .timeout(Duration::from_secs(20));
    run(&command)
}

/// Starts a process that starts the guardian and ends, so that the guardian has no parent.
fn detach(directory: &Path) -> Result<(), String> {
    let command = Command::new([OWN_PROGRAM, "guardian"])
        .arg("--detach")
        .arg(directory)
        .timeout(Duration::from_secs(20));
    run(&command).map_err(|why| format!("the guardian cannot be started: {why}"))
}

fn run(command: &Command) -> Result<(), String> {
    let mut machine = Machine::new(MachineOptions::default());
    let output = machine.query(command).map_err(|error| error.to_string())?;
    if output.success() {
        return Ok(());
    }
    Err(output.stderr_text().trim().to_owned())
}

/// The program of this process, whatever became of its name.
pub(super) const OWN_PROGRAM: &str = "/proc/self/exe";
