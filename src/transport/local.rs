//! Processes of this machine: the local connection, and the processes behind proxy commands and
//! the sandbox. The only place on the controller side where transport starts a process.

use std::io;
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::Arc;

use rustix::process::{Pid, Signal, kill_process_group};
use tokio::process::{Child, ChildStderr, ChildStdin, ChildStdout, Command};
use tokio::sync::oneshot;

use super::lifeline::{Abandoned, Lifeline};
use super::{Channel, Endpoint, ExitStatus, Failure, TransportError, signal_name};

/// The connection to this machine: commands are its processes.
#[derive(Debug)]
pub(super) struct Local {
    host: Arc<str>,
    directory: Option<PathBuf>,
}

impl Local {
    pub(super) fn new(endpoint: &Endpoint) -> Self {
        Self {
            host: Arc::clone(&endpoint.name),
            directory: endpoint.directory.clone(),
        }
    }

    /// Starts `command` under `/bin/sh` with this process's environment, in the endpoint's
    /// directory.
    pub(super) fn exec(&self, command: &str, terminal: bool) -> Result<Channel, TransportError> {
        if terminal {
            return Err(self.error("a local command cannot be given a terminal".to_owned()));
        }
        let mut shell = shell(command);
        if let Some(directory) = &self.directory {
            shell.current_dir(directory);
        }
        Process::start(shell)
            .map(|process| process.into_channel(&self.host))
            .map_err(|error| self.error(format!("`/bin/sh` cannot be started: {error}")))
    }

    fn error(&self, detail: String) -> TransportError {
        TransportError::local(&self.host, detail)
    }
}

impl TransportError {
    /// Makes the error of something that went wrong on this machine.
    pub(super) fn local(host: &Arc<str>, detail: String) -> Self {
        Self {
            host: Arc::clone(host),
            peer: "localhost".to_owned(),
            jump: None,
            failure: Failure::Local { detail },
        }
    }
}

/// Returns the command that runs `command` under `/bin/sh`.
pub(super) fn shell(command: &str) -> Command {
    let mut shell = Command::new("/bin/sh");
    shell.arg("-c").arg(command);
    shell
}

/// Runs `command` under `/bin/sh`, without input and output, and returns whether it succeeded.
/// Blocks.
pub(super) fn succeeds(command: &str) -> Result<bool, String> {
    #[expect(
        clippy::disallowed_methods,
        reason = "this file is where processes start"
    )]
    let mut shell = std::process::Command::new("/bin/sh");
    shell
        .arg("-c")
        .arg(command)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    shell
        .status()
        .map(|status| status.success())
        .map_err(|error| format!("`/bin/sh` cannot be started: {error}"))
}

/// A started process with pipes, leader of a process group of its own.
pub(super) struct Process {
    pub(super) stdin: ChildStdin,
    pub(super) stdout: ChildStdout,
    pub(super) stderr: ChildStderr,
    pub(super) running: Running,
}

/// The process itself, apart from its pipes.
pub(super) struct Running {
    child: Child,
    group: Pid,
}

impl Process {
    pub(super) fn start(mut command: Command) -> io::Result<Self> {
        command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0)
            // When the whole run is torn down, its processes go too.
            .kill_on_drop(true);
        let mut child = command.spawn()?;
        let group = child
            .id()
            .and_then(|id| Pid::from_raw(id.cast_signed()))
            .expect("a process that was not waited for has an id");
        let pipes = child.stdin.take().zip(child.stdout.take());
        let ((stdin, stdout), stderr) = pipes
            .zip(child.stderr.take())
            .expect("all three streams were asked for as pipes");
        Ok(Self {
            stdin,
            stdout,
            stderr,
            running: Running { child, group },
        })
    }

    fn into_channel(self, host: &Arc<str>) -> Channel {
        let (lifeline, abandoned) = Lifeline::new();
        let (ended, status) = oneshot::channel();
        tokio::spawn(self.running.report(abandoned, ended));
        let host = Arc::clone(host);
        let exit = Box::pin(async move {
            let lost = || TransportError::local(&host, "the command cannot be waited for".into());
            status.await.ok().flatten().ok_or_else(lost)
        });
        Channel {
            stdin: Box::new(lifeline.hold(self.stdin)),
            stdout: Box::new(lifeline.hold(self.stdout)),
            stderr: Box::new(lifeline.hold(self.stderr)),
            exit: Box::pin(lifeline.hold(exit)),
        }
    }
}

impl Running {
    /// Waits for the process, or kills its group when nobody wants it any more.
    pub(super) async fn report(
        mut self,
        abandoned: Abandoned,
        ended: oneshot::Sender<Option<ExitStatus>>,
    ) {
        let status = tokio::select! {
            status = self.wait() => status,
            () = abandoned => return self.kill().await,
        };
        // The receiver may be gone: nobody asks how the command ended.
        drop(ended.send(status.ok()));
    }

    /// Waits until the process has ended.
    pub(super) async fn wait(&mut self) -> io::Result<ExitStatus> {
        self.child.wait().await.map(exit_status)
    }

    /// Kills the process group, unless its leader has ended already, and reaps the leader.
    /// Processes that left the group (daemons) live on.
    pub(super) async fn kill(mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            // Both can fail only because the process is gone meanwhile, which is what is wanted.
            kill_process_group(self.group, Signal::KILL).ok();
            drop(self.child.wait().await);
        }
    }
}

fn exit_status(status: std::process::ExitStatus) -> ExitStatus {
    match (status.code(), status.signal()) {
        (Some(code), _) => ExitStatus::Code(code.unsigned_abs()),
        (None, signal) => {
            let number = signal.unwrap_or_default().unsigned_abs();
            ExitStatus::Signal(signal_name(number).map_or_else(|| number.to_string(), Into::into))
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    fn local() -> Local {
        Local::new(&Endpoint::local("here"))
    }

    async fn text(mut reader: super::super::Reader) -> String {
        let mut text = String::new();
        reader.read_to_string(&mut text).await.unwrap();
        text
    }

    #[tokio::test]
    async fn streams_and_exit_code_of_a_local_command_arrive() {
        let mut channel = local().exec("cat; echo oops >&2; exit 7", false).unwrap();
        channel.stdin.write_all(b"hello").await.unwrap();
        channel.stdin.shutdown().await.unwrap();
        drop(channel.stdin);
        assert_eq!(text(channel.stdout).await, "hello");
        assert_eq!(text(channel.stderr).await, "oops\n");
        assert_eq!(channel.exit.await, Ok(ExitStatus::Code(7)));
    }

    #[tokio::test]
    async fn a_local_command_killed_by_a_signal_says_which() {
        let channel = local().exec("kill -TERM $$", false).unwrap();
        assert_eq!(channel.exit.await, Ok(ExitStatus::Signal("TERM".into())));
    }

    #[tokio::test]
    async fn dropping_the_channel_ends_the_command_and_its_children() {
        let (reader, writer) = std::io::pipe().unwrap();
        let mut command = shell("sleep 1000 & wait");
        command.kill_on_drop(false);
        // Both processes inherit the write end; end of file means that both are gone.
        let fd = rustix::io::dup(&writer).unwrap();
        drop(writer);
        rustix::io::fcntl_setfd(&fd, rustix::io::FdFlags::empty()).unwrap();
        let channel = Process::start(command)
            .unwrap()
            .into_channel(&Arc::from("here"));
        drop(fd);
        drop(channel);
        let mut file =
            tokio::fs::File::from_std(std::fs::File::from(std::os::fd::OwnedFd::from(reader)));
        assert_eq!(file.read_to_end(&mut Vec::new()).await.unwrap(), 0);
    }
}
