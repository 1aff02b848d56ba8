//! `backstay guardian`: the hidden process that sees to it that a transaction ends.
//!
//! It holds the lock of the application and the lease of the controller, in a session of its own.
//! Whatever becomes of controller, channel and worker, it undoes the transaction when nobody looks
//! after it any more. It needs nothing but the journal for that.

mod boot;
mod launch;
mod recovery;
mod token;
mod undoing;
mod vigil;
mod watch;
mod words;

use std::path::{Path, PathBuf};
use std::process::{ExitCode, Stdio};

use crate::transaction::lock::Lock;
use watch::Watch;
use words::{CRADLE, SOCKET};

pub(super) use boot::{Hook, remove_when_idle};
pub(super) use launch::start;
pub(super) use recovery::{Left, adopt, attach, left_behind, outcome, settle};
pub(super) use token::{digest as token_digest, matches as token_matches};
pub(super) use undoing::{close, ended};
pub(super) use words::{Begin, Connection, Ended, FromGuardian, Task, ToGuardian};

pub use boot::run as recover_local;

/// The file in a transaction's directory that names its worker.
pub(super) const WORKER: &str = "worker";

/// Runs the guardian; `arguments` come after the word `guardian`.
pub fn run(arguments: impl IntoIterator<Item = String>) -> ExitCode {
    let arguments: Vec<String> = arguments.into_iter().collect();
    let ran = match arguments.as_slice() {
        [word, directory] if word == "--detach" => detach(Path::new(directory)),
        [word, directory] if word == "--directory" => guard(PathBuf::from(directory)),
        _ => Err("it is started by an agent, not by hand".to_owned()),
    };
    match ran {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            use std::io::Write;
            writeln!(std::io::stderr(), "backstay guardian: {why}").ok();
            ExitCode::FAILURE
        }
    }
}

/// Starts the guardian as a child and leaves it alone.
fn detach(directory: &Path) -> Result<(), String> {
    #[expect(
        clippy::disallowed_methods,
        reason = "the guardian outlives everything, so nobody waits for it"
    )]
    let mut guardian = std::process::Command::new(launch::OWN_PROGRAM);
    guardian
        .args(["guardian", "--directory"])
        .arg(directory)
        .current_dir("/")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    guardian
        .spawn()
        .map(|_| ())
        .map_err(|error| error.to_string())
}

fn guard(directory: PathBuf) -> Result<(), String> {
    let wrong = |error: std::io::Error| error.to_string();
    // A unit is a session's leader already.
    rustix::process::setsid().ok();
    std::env::set_current_dir("/").map_err(wrong)?;
    let mut starter = Connection::connect(&directory, CRADLE).map_err(wrong)?;
    let lock = starter.receive_descriptor().map_err(wrong)?;
    let Some(ToGuardian::Begin(begin)) = starter.receive().map_err(wrong)? else {
        return Err("nobody says what to do".to_owned());
    };
    match prepare(&directory, &begin, lock) {
        Ok((lock, listener)) => {
            let pid = std::process::id();
            starter.send(&FromGuardian::Ready { pid }).map_err(wrong)?;
            let watch = Watch::new(directory, begin, lock, listener, starter).map_err(wrong)?;
            watch.run().map_err(wrong)
        }
        Err(why) => starter.send(&FromGuardian::Refused { why }).map_err(wrong),
    }
}

fn prepare(
    directory: &Path,
    begin: &Begin,
    lock: std::os::fd::OwnedFd,
) -> Result<(Lock, std::os::unix::net::UnixListener), String> {
    let lock = Lock::adopt(&begin.root, &begin.holder.application, lock);
    let lock = lock.map_err(|error| error.to_string())?;
    let mut holder = begin.holder.clone();
    holder.pid = Some(std::process::id());
    lock.record(&holder).map_err(|error| error.to_string())?;
    let listener = words::listen(directory, SOCKET).map_err(|error| error.to_string())?;
    Ok((lock, listener))
}
