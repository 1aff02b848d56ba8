//! Running the target's programs: built here, run in their own process group, bounded in time.
//!
//! Knows nothing of check mode or undo.

use std::collections::HashSet;
use std::ffi::{OsStr, OsString};
use std::io::{self, Write};
use std::os::fd::OwnedFd;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use rustix::process::{Pid, Signal, kill_process_group};

use super::streams::Streams;

/// A program to run on the target.
#[derive(Clone, Debug)]
pub struct Command {
    argv: Vec<OsString>,
    directory: Option<PathBuf>,
    environment: Vec<(OsString, OsString)>,
    stdin: Option<Vec<u8>>,
    umask: Option<u32>,
    timeout: Option<Duration>,
}

/// What a program left behind.
#[derive(Clone, Debug)]
pub struct Output {
    /// The exit code; minus the signal's number when a signal ended it.
    pub status: i32,
    pub stdout: Vec<u8>,
    pub stderr: Vec<u8>,
    pub start: SystemTime,
    pub end: SystemTime,
}

impl Output {
    pub fn success(&self) -> bool {
        self.status == 0
    }

    /// Returns standard output as text; foreign bytes become U+FFFD.
    pub fn stdout_text(&self) -> String {
        String::from_utf8_lossy(&self.stdout).into_owned()
    }

    /// Returns standard error as text; foreign bytes become U+FFFD.
    pub fn stderr_text(&self) -> String {
        String::from_utf8_lossy(&self.stderr).into_owned()
    }
}

impl Command {
    /// Names a program, looked up in `PATH`, and its arguments.
    pub fn new<I, S>(argv: I) -> Self
    where
        I: IntoIterator<Item = S>,
        S: AsRef<OsStr>,
    {
        Self {
            argv: argv
                .into_iter()
                .map(|argument| argument.as_ref().to_owned())
                .collect(),
            directory: None,
            environment: Vec::new(),
            stdin: None,
            umask: None,
            timeout: None,
        }
    }

    /// Names a text that `/bin/sh -c` is to read.
    pub fn shell(text: impl AsRef<OsStr>) -> Self {
        Self::shell_with("/bin/sh", text)
    }

    /// Names a text that `executable -c` is to read.
    pub fn shell_with(executable: impl AsRef<OsStr>, text: impl AsRef<OsStr>) -> Self {
        Self::new([executable.as_ref(), OsStr::new("-c"), text.as_ref()])
    }

    /// Adds an argument.
    #[must_use]
    pub fn arg(mut self, argument: impl AsRef<OsStr>) -> Self {
        self.argv.push(argument.as_ref().to_owned());
        self
    }

    /// Sets the working directory.
    #[must_use]
    pub fn directory(mut self, path: impl Into<PathBuf>) -> Self {
        self.directory = Some(path.into());
        self
    }

    /// Sets an environment variable, over the task's and the agent's.
    #[must_use]
    pub fn env(mut self, name: impl AsRef<OsStr>, value: impl AsRef<OsStr>) -> Self {
        self.environment
            .push((name.as_ref().to_owned(), value.as_ref().to_owned()));
        self
    }

    /// Gives bytes to read; without, standard input is `/dev/null`.
    #[must_use]
    pub fn stdin(mut self, bytes: impl Into<Vec<u8>>) -> Self {
        self.stdin = Some(bytes.into());
        self
    }

    #[must_use]
    pub fn umask(mut self, umask: u32) -> Self {
        self.umask = Some(umask);
        self
    }

    /// Sets the umask unless the command has one of its own.
    pub(super) fn default_umask(mut self, umask: u32) -> Self {
        self.umask.get_or_insert(umask);
        self
    }

    /// Kills the program and what it started after `limit`.
    #[must_use]
    pub fn timeout(mut self, limit: Duration) -> Self {
        self.timeout = Some(limit);
        self
    }

    /// Returns the program's name.
    pub fn program(&self) -> &OsStr {
        self.argv
            .first()
            .map_or(OsStr::new(""), OsString::as_os_str)
    }

    /// Returns the words, for messages.
    pub fn words(&self) -> Vec<String> {
        self.argv
            .iter()
            .map(|word| word.to_string_lossy().into_owned())
            .collect()
    }

    /// Runs the program to its end with `environment` added to the process's own.
    /// Returns words that run it again, anywhere and at any time; `None` where it takes more than
    /// words.
    pub(super) fn redo(&self) -> Option<Vec<String>> {
        if self.stdin.is_some() || !self.environment.is_empty() {
            return None;
        }
        let mut words: Vec<String> = Vec::new();
        if let Some(directory) = &self.directory {
            let script = "cd \"$1\" && shift && exec \"$@\"";
            words.extend(["/bin/sh", "-c", script, "sh"].map(str::to_owned));
            words.push(directory.to_str()?.to_owned());
        }
        for word in &self.argv {
            words.push(word.to_str()?.to_owned());
        }
        Some(words)
    }

    pub(super) fn run(
        &self,
        environment: &[(String, String)],
        cancellation: &Cancellation,
    ) -> Result<Output, RunError> {
        let start = SystemTime::now();
        let mut child = self.spawn(environment).map_err(RunError::Spawn)?;
        let group = cancellation.watch(&child);
        let collected = self.collect(&mut child, cancellation);
        if collected.is_err() {
            kill_group(child.id());
        }
        let status = child.wait().map_err(RunError::Spawn)?;
        drop(group);
        let [stdout, stderr] = collected?;
        Ok(Output {
            status: status
                .code()
                .unwrap_or_else(|| -status.signal().unwrap_or(1)),
            stdout,
            stderr,
            start,
            end: SystemTime::now(),
        })
    }

    fn spawn(&self, environment: &[(String, String)]) -> io::Result<Child> {
        let mut command = self.prepare(environment);
        command
            .stdin(match self.stdin {
                Some(_) => Stdio::piped(),
                None => Stdio::null(),
            })
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0);
        with_umask(self.umask, || patiently(|| command.spawn()))
    }

    /// Starts the program with a terminal, which becomes its session's own.
    pub(super) fn spawn_on_terminal(
        &self,
        environment: &[(String, String)],
        terminal: &std::fs::File,
    ) -> io::Result<Child> {
        let words = ["setsid", "-c"].map(OsString::from).into_iter();
        let in_session = Self {
            argv: words.chain(self.argv.iter().cloned()).collect(),
            ..self.clone()
        };
        let mut command = in_session.prepare(environment);
        command
            .stdin(terminal.try_clone()?)
            .stdout(terminal.try_clone()?)
            .stderr(terminal.try_clone()?);
        with_umask(self.umask, || patiently(|| command.spawn()))
    }

    fn prepare(&self, environment: &[(String, String)]) -> std::process::Command {
        let program = self.find_program(environment);
        #[expect(
            clippy::disallowed_methods,
            reason = "this is the place where the target's processes start"
        )]
        let mut command = std::process::Command::new(program);
        command
            .arg0(self.program())
            .args(self.argv.iter().skip(1))
            .envs(environment.iter().map(|(name, value)| (name, value)))
            .envs(self.environment.iter().map(|(name, value)| (name, value)));
        if let Some(directory) = &self.directory {
            command.current_dir(directory);
        }
        command
    }

    /// Finds the program as `execvp` does, in the `PATH` that the program itself will see.
    ///
    /// A relative name with a slash counts from the working directory of the program.
    fn find_program(&self, environment: &[(String, String)]) -> PathBuf {
        let name = Path::new(self.program());
        if self.program().as_encoded_bytes().contains(&b'/') {
            return match &self.directory {
                Some(directory) if name.is_relative() => directory.join(name),
                _ => name.to_owned(),
            };
        }
        let path = self
            .environment
            .iter()
            .rev()
            .find(|(name, _)| name == "PATH")
            .map(|(_, value)| value.clone())
            .or_else(|| {
                let task = environment.iter().rev().find(|(name, _)| name == "PATH");
                task.map(|(_, value)| value.into())
            });
        path.and_then(|path| {
            std::env::split_paths(&path)
                .map(|directory| directory.join(name))
                .find(|candidate| {
                    rustix::fs::access(candidate, rustix::fs::Access::EXEC_OK).is_ok()
                        && candidate.is_file()
                })
        })
        .unwrap_or_else(|| name.to_owned())
    }

    /// Feeds and drains the child until it is over, or until it may run no longer.
    fn collect(
        &self,
        child: &mut Child,
        cancellation: &Cancellation,
    ) -> Result<[Vec<u8>; 2], RunError> {
        let deadline = self.timeout.map(|limit| Instant::now() + limit);
        let outputs = [
            child.stdout.take().map(OwnedFd::from),
            child.stderr.take().map(OwnedFd::from),
        ];
        let streams = Streams::new(outputs.into_iter().flatten());
        if let (Some(mut stdin), Some(bytes)) = (child.stdin.take(), self.stdin.clone()) {
            // A program that does not read its input is not an error.
            std::thread::spawn(move || stdin.write_all(&bytes).ok());
        }
        gather(child, streams, deadline, cancellation)
    }
}

/// Starts a program that may just have been written here.
///
/// Its file is busy as long as a child that another thread forked meanwhile still holds it open
/// for writing, which ends when that child gets to its own exec.
fn patiently<T>(mut start: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    let mut pause = Duration::from_millis(1);
    loop {
        match start() {
            Err(error)
                if error.kind() == io::ErrorKind::ExecutableFileBusy
                    && pause < Duration::from_secs(1) =>
            {
                std::thread::sleep(pause);
                pause *= 2;
            }
            started => return started,
        }
    }
}

/// Why a program did not run to its end.
#[derive(Debug)]
pub(super) enum RunError {
    Spawn(io::Error),
    TimedOut,
    Cancelled,
}

/// Collects both outputs until they end; a daemon left behind may hold them open for ever, so
/// the end of the child and a quiet moment count as the end too.
fn gather(
    child: &mut Child,
    mut streams: Streams,
    deadline: Option<Instant>,
    cancellation: &Cancellation,
) -> Result<[Vec<u8>; 2], RunError> {
    let mut outputs = [Vec::new(), Vec::new()];
    while streams
        .hear(
            || Ok(child.try_wait()?.is_some()),
            |stream, bytes| outputs[stream].extend_from_slice(bytes),
        )
        .map_err(RunError::Spawn)?
    {
        check(deadline, cancellation)?;
    }
    // The outputs are closed, but the program may go on.
    while child.try_wait().map_err(RunError::Spawn)?.is_none() {
        check(deadline, cancellation)?;
        std::thread::sleep(Duration::from_micros(200));
    }
    // Whoever cancels also kills, and the streams of the killed end like any others.
    check(None, cancellation)?;
    Ok(outputs)
}

fn check(deadline: Option<Instant>, cancellation: &Cancellation) -> Result<(), RunError> {
    if cancellation.is_cancelled() {
        return Err(RunError::Cancelled);
    }
    match deadline {
        Some(deadline) if Instant::now() >= deadline => Err(RunError::TimedOut),
        _ => Ok(()),
    }
}

/// Starts a child under another umask; the mask is the whole process's, hence the lock.
fn with_umask<T>(umask: Option<u32>, start: impl FnOnce() -> T) -> T {
    static MASK: Mutex<()> = Mutex::new(());
    let Some(umask) = umask else { return start() };
    let _guard = MASK.lock().unwrap_or_else(PoisonError::into_inner);
    let old = rustix::process::umask(rustix::fs::Mode::from_raw_mode(umask));
    let started = start();
    rustix::process::umask(old);
    started
}

/// Ends a task from another thread: its programs are killed, and no new one lives long.
#[derive(Clone, Debug, Default)]
pub struct Cancellation(Arc<State>);

#[derive(Debug, Default)]
struct State {
    cancelled: AtomicBool,
    groups: Mutex<HashSet<u32>>,
    changed: Condvar,
}

impl Cancellation {
    /// Cancels the task and kills its process groups.
    pub fn cancel(&self) {
        let groups = self.groups();
        self.0.cancelled.store(true, Ordering::SeqCst);
        for group in groups.iter() {
            kill_group(*group);
        }
        self.0.changed.notify_all();
    }

    /// Waits for `time`, or less when the task is cancelled; tells whether it is.
    pub fn wait(&self, time: Duration) -> bool {
        let waited = self
            .0
            .changed
            .wait_timeout_while(self.groups(), time, |_| !self.is_cancelled());
        // The guard is of no use; only the time passed counts.
        drop(waited);
        self.is_cancelled()
    }

    pub fn is_cancelled(&self) -> bool {
        self.0.cancelled.load(Ordering::SeqCst)
    }

    fn groups(&self) -> std::sync::MutexGuard<'_, HashSet<u32>> {
        self.0.groups.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn watch(&self, child: &Child) -> Watched<'_> {
        self.groups().insert(child.id());
        Watched {
            cancellation: self,
            group: child.id(),
        }
    }
}

pub(super) struct Watched<'a> {
    cancellation: &'a Cancellation,
    group: u32,
}

impl Drop for Watched<'_> {
    fn drop(&mut self) {
        self.cancellation.groups().remove(&self.group);
    }
}

pub(super) fn kill_group(group: u32) {
    if let Some(group) = i32::try_from(group).ok().and_then(Pid::from_raw) {
        // Gone already is as good as killed.
        kill_process_group(group, Signal::KILL).ok();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::channel;

    use super::*;

    #[test]
    fn a_program_is_started_once_its_file_is_busy_no_more() {
        let busy = || io::Error::from(io::ErrorKind::ExecutableFileBusy);
        let mut attempts = 0;
        let started = patiently(|| {
            attempts += 1;
            if attempts < 3 { Err(busy()) } else { Ok("up") }
        });
        assert_eq!((started.unwrap(), attempts), ("up", 3));
        let given_up = patiently(|| Err::<(), _>(busy()));
        assert_eq!(given_up.unwrap_err().kind(), busy().kind());
    }

    fn run(command: &Command) -> Output {
        command.run(&[], &Cancellation::default()).unwrap()
    }

    #[test]
    fn both_outputs_and_the_status_are_kept() {
        let output = run(&Command::shell("cat; echo err >&2; exit 3").stdin("in"));
        assert_eq!(
            (output.status, output.stdout_text(), output.stderr_text()),
            (3, "in".to_owned(), "err\n".to_owned())
        );
    }

    #[test]
    fn a_signal_is_a_negative_status() {
        assert_eq!(run(&Command::shell("kill -9 $$")).status, -9);
    }

    #[test]
    fn a_daemon_that_keeps_the_output_open_does_not_hold_the_task() {
        let output = run(&Command::shell("echo started; sleep 600 & echo $!"));
        let text = output.stdout_text();
        let daemon = text.lines().nth(1).unwrap();
        assert!(text.starts_with("started\n"));
        assert!(run(&Command::new(["kill", daemon])).success());
    }

    #[test]
    fn a_program_out_of_time_is_killed_with_what_it_started() {
        let command = Command::shell("sleep 600 | sleep 600").timeout(Duration::from_millis(20));
        let error = command.run(&[], &Cancellation::default()).unwrap_err();
        assert!(matches!(error, RunError::TimedOut));
    }

    #[test]
    fn cancelling_kills_the_running_program() {
        let cancellation = Cancellation::default();
        let (sender, receiver) = channel();
        let running = cancellation.clone();
        let task = std::thread::spawn(move || {
            sender.send(()).unwrap();
            Command::shell("sleep 600").run(&[], &running)
        });
        receiver.recv().unwrap();
        cancellation.cancel();
        assert!(matches!(task.join().unwrap(), Err(RunError::Cancelled)));
    }

    #[test]
    fn umask_directory_and_environment_reach_the_program() {
        let command = Command::shell("umask; pwd; echo $GREETING $NAME")
            .umask(0o27)
            .directory("/")
            .env("GREETING", "hi");
        let environment = [("NAME".to_owned(), "you".to_owned())];
        let output = command.run(&environment, &Cancellation::default()).unwrap();
        assert_eq!(output.stdout_text(), "0027\n/\nhi you\n");
    }
}
