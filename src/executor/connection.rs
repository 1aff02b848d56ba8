//! Real sessions: connections shared by all sessions with an endpoint, and agents started on
//! them.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::AsyncReadExt;
use tokio::sync::mpsc::UnboundedSender;
use tokio::sync::{Mutex, OnceCell};

use super::content::Contents;
use super::failure::Failure;
use super::options::RunOptions;
use super::session::{
    Become, Connector, ModuleCall, Pending, RawOutput, Reported, Session, Target,
};
use crate::agent::bootstrap::{self, CommandLine, Errand, Launch, Method, StartError, Streams};
use crate::agent::client::{Agent, AgentError, FetchError, Progress};
use crate::agent::protocol::Call;
use crate::error::Error;
use crate::event::{self, Event, Reversibility};
use crate::transaction::state::{Class, Step};
use crate::transport::{
    self, Channel, ConnectContext, Connection, ConnectionKind, Endpoint, ExitStatus,
};

type Shared = Arc<OnceCell<Arc<Connection>>>;

/// Starts agents on hosts.
pub(super) struct Agents {
    executables: bootstrap::Agents,
    context: ConnectContext,
    events: UnboundedSender<Event>,
    connections: Mutex<HashMap<Endpoint, Shared>>,
}

impl Agents {
    pub(super) fn new(
        options: &RunOptions,
        context: ConnectContext,
        events: UnboundedSender<Event>,
    ) -> Self {
        Self {
            executables: bootstrap::Agents::new(&options.agent, &options.other_agents),
            context,
            events,
            connections: Mutex::default(),
        }
    }

    /// Returns the connection to an endpoint, made once however many ask for it, and anew when
    /// it is gone.
    async fn connection(&self, endpoint: &Endpoint) -> Result<Arc<Connection>, Failure> {
        let shared = {
            let mut connections = self.connections.lock().await;
            let shared = connections.entry(endpoint.clone()).or_default();
            if shared.get().is_some_and(|connection| !connection.is_open()) {
                *shared = Shared::default();
            }
            Arc::clone(shared)
        };
        let connected = shared
            .get_or_try_init(|| async {
                let connection = transport::connect(endpoint, &self.context).await?;
                for warning in connection.warnings() {
                    self.warn(warning);
                }
                Ok(Arc::new(connection))
            })
            .await;
        match connected {
            Ok(connection) => Ok(Arc::clone(connection)),
            Err(error) => Err(unreachable(error)),
        }
    }

    fn warn(&self, message: &str) {
        self.tell(Event::Warning {
            message: message.to_owned(),
            mark: None,
        });
    }

    fn tell(&self, event: Event) {
        if self.events.send(event).is_err() {
            // Nobody listens any more.
        }
    }

    async fn channel(
        &self,
        endpoint: &Endpoint,
        command: &str,
        terminal: bool,
    ) -> Result<Channel, Failure> {
        let connection = self.connection(endpoint).await?;
        let told = Event::Verbose {
            verbosity: 3,
            host: Some(Arc::clone(&endpoint.name)),
            text: format!("EXEC {command}"),
        };
        if self.events.send(told).is_err() {
            // Nobody listens any more.
        }
        let channel = if terminal {
            connection.exec_in_terminal(command).await
        } else {
            connection.exec(command).await
        };
        channel.map_err(unreachable)
    }

    async fn start(&self, target: &Target) -> Result<Agent, Failure> {
        let launch = Launch {
            agents: self.executables.clone(),
            local: target.endpoint.kind == ConnectionKind::Local,
            patience: target.endpoint.timeout.max(LEAST_PATIENCE),
        };
        let r#become = target.become_user.as_ref().map(known_become).transpose()?;
        if let Some(wanted) = &r#become {
            self.tell(Event::Verbose {
                verbosity: 3,
                host: Some(Arc::clone(&target.endpoint.name)),
                text: format!("EXEC {}", wanted.shown()),
            });
        }
        let open = |command: CommandLine| async move {
            let channel = self
                .channel(&target.endpoint, &command.text, command.terminal)
                .await?;
            Ok(Streams {
                stdin: channel.stdin,
                stdout: channel.stdout,
                stderr: channel.stderr,
            })
        };
        if !launch.local {
            // The executables are hashed while the connection is made.
            let hashing = self.executables.clone();
            tokio::task::spawn_blocking(move || hashing.prepare());
            self.connection(&target.endpoint).await?;
        }
        // Boxed: a start is rare, and its future is large.
        Box::pin(launch.start(r#become.as_ref(), open))
            .await
            .map_err(not_started)
    }
}

/// What tells how a command ended.
type Exit = Pending<'static, Result<ExitStatus, transport::TransportError>>;

impl Agents {
    /// Runs a command of a shell, as the user to become where there is one.
    async fn errand(&self, target: &Target, command: &str) -> Result<(Errand, Exit), Failure> {
        let open = |command: CommandLine| async move {
            let channel = self
                .channel(&target.endpoint, &command.text, command.terminal)
                .await?;
            let streams = Streams {
                stdin: channel.stdin,
                stdout: channel.stdout,
                stderr: channel.stderr,
            };
            Ok((streams, channel.exit))
        };
        let Some(wanted) = &target.become_user else {
            let (streams, exit) = open(CommandLine {
                text: command.to_owned(),
                terminal: false,
            })
            .await?;
            return Ok((Errand::of(streams), exit));
        };
        let patience = target.endpoint.timeout;
        Errand::run(&known_become(wanted)?, command, patience, open)
            .await
            .map_err(not_started)
    }
}

/// How long an agent may be silent while it starts, at least: slow hosts need it.
const LEAST_PATIENCE: Duration = Duration::from_secs(30);

fn known_become(wanted: &Become) -> Result<bootstrap::Become, Failure> {
    let method = Method::named(&wanted.method).ok_or_else(|| {
        let name = &wanted.method;
        let known = Method::ALL.map(Method::name).join(", ");
        Failure::action(format!(
            "Invalid become method specified, could not find matching plugin: '{name}'."
        ))
        .help(format!("use one of: {known}"))
    })?;
    Ok(bootstrap::Become {
        method,
        user: wanted.user.clone(),
        executable: wanted.executable.clone(),
        flags: wanted.flags.clone(),
        password: wanted
            .password
            .as_ref()
            .map(|secret| secret.expose().to_owned()),
        directory: wanted.directory.clone(),
        prompts: wanted.prompts.clone(),
        patience: wanted.patience,
    })
}

/// Tells why no agent came to life: a refused become fails the task, anything else the host.
fn not_started(error: StartError<Failure>) -> Failure {
    let help = error.help();
    let is_become = error.is_become();
    let failure = match error {
        StartError::Open(failure) => return failure,
        other if is_become => Failure::action(other.to_string()),
        other => Failure::unreachable(other.to_string()),
    };
    match help {
        Some(help) => failure.help(help),
        None => failure,
    }
}

fn unreachable(error: transport::TransportError) -> Failure {
    let mut failure = Failure::from(Error::from(error));
    failure.unreachable = true;
    failure
}

/// The host of an agent that cannot be talked to any further is unreachable.
impl From<AgentError> for Failure {
    fn from(error: AgentError) -> Self {
        let help = match error {
            AgentError::Lost { .. } => {
                "look on the host for what ended it (memory, a reboot, the SSH server's log); \
                 the task may have been done in part"
            }
            AgentError::Version(_) | AgentError::Protocol(_) => {
                "something on the host writes into the connection, or another release of \
                 backstay answered; look at what the host prints when it starts a shell"
            }
            AgentError::Request(_) => "give the task less at once, or copy it as a file",
        };
        Self::unreachable(error.to_string()).help(help)
    }
}

impl Connector for Agents {
    fn open<'a>(&'a self, target: &'a Target) -> Pending<'a, Result<Box<dyn Session>, Failure>> {
        Box::pin(async move {
            let agent = self.start(target).await?;
            Ok(Box::new(AgentSession { agent }) as Box<dyn Session>)
        })
    }

    fn open_afresh<'a>(
        &'a self,
        target: &'a Target,
    ) -> Pending<'a, Result<Box<dyn Session>, Failure>> {
        Box::pin(async move {
            // Whoever still uses the connection before keeps it alive.
            self.connections.lock().await.remove(&target.endpoint);
            self.open(target).await
        })
    }

    fn raw<'a>(
        &'a self,
        target: &'a Target,
        command: &'a str,
    ) -> Pending<'a, Result<RawOutput, Failure>> {
        Box::pin(async move {
            let (errand, exit) = self.errand(target, command).await?;
            let (mut stdout, mut stderr) = (errand.stdout, errand.stderr);
            let mut streams = errand.streams;
            drop(streams.stdin);
            let (out, err, exit) = tokio::join!(
                streams.stdout.read_to_end(&mut stdout),
                streams.stderr.read_to_end(&mut stderr),
                exit,
            );
            let status = exit.map_err(unreachable)?;
            out.and(err)
                .map_err(|error| Failure::unreachable(error.to_string()))?;
            Ok(RawOutput {
                status: i64::from(status.code()),
                stdout,
                stderr,
            })
        })
    }

    fn disconnect<'a>(&'a self, target: &'a Target) -> Pending<'a, ()> {
        Box::pin(async move {
            let gone = self.connections.lock().await.remove(&target.endpoint);
            if let Some(connection) = gone
                .and_then(Arc::into_inner)
                .and_then(OnceCell::into_inner)
                .and_then(Arc::into_inner)
            {
                connection.close().await;
            }
        })
    }
}

/// A session with a real agent.
pub(super) struct AgentSession {
    pub(super) agent: Agent,
}

impl Session for AgentSession {
    fn call<'a>(
        &'a mut self,
        call: ModuleCall,
        contents: &'a Contents,
        progress: &'a (dyn Fn(&str, u64, u64) + Send + Sync),
    ) -> Pending<'a, Result<Reported, Failure>> {
        Box::pin(async move {
            let label = call.module.clone();
            let told = move |at: Progress| progress(&label, at.done, at.total);
            let call = Call {
                module: call.module,
                arguments: call.args,
                check: call.check,
                diff: call.diff,
                environment: call.environment,
                transaction_seq: call.seq,
                undo: call.undo,
                protect: call.protect,
                harmless: call.harmless,
                no_log: call.no_log,
                background: call.background,
                timeout: call.timeout,
                ..Call::default()
            };
            let reply = self.agent.call(call, &contents.store, &told).await;
            let reply = reply.map_err(Failure::from)?;
            Ok(Reported {
                steps: reply.steps.iter().cloned().map(told_step).collect(),
                result: reply.into_result(),
            })
        })
    }

    fn agent(&mut self) -> &mut Agent {
        &mut self.agent
    }

    fn fetch<'a>(
        &'a mut self,
        source: &'a str,
        destination: &'a Path,
        progress: &'a (dyn Fn(&str, u64, u64) + Send + Sync),
    ) -> Pending<'a, Result<(), Failure>> {
        Box::pin(async move {
            let told = move |at: Progress| progress(source, at.done, at.total);
            let local = |error: std::io::Error| {
                Failure::action(format!("cannot write {}: {error}", destination.display()))
            };
            let mut file = tokio::fs::File::create(destination).await.map_err(local)?;
            match self.agent.fetch(source, &mut file, &told).await {
                Ok(_) => Ok(()),
                Err(FetchError::Agent(error)) => Err(error.into()),
                Err(other) => Err(Failure::action(other.to_string())),
            }
        })
    }

    fn close(self: Box<Self>) -> Pending<'static, ()> {
        Box::pin(self.agent.close())
    }
}

fn told_step(step: Step) -> event::Step {
    event::Step {
        class: match step.class {
            Class::Exact => Reversibility::Exact,
            Class::Compensated => Reversibility::Compensated,
            Class::Declared => Reversibility::Declared,
            Class::Opaque => Reversibility::Opaque,
        },
        what: step.what,
        undo: step.undo,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::transport::{Failure as Reason, Secret, TransportError};
    use crate::value::Value;

    #[test]
    fn an_unreachable_host_is_told_with_what_to_do() {
        let failure = unreachable(TransportError {
            host: Arc::from("web1"),
            peer: "10.0.0.1:22".into(),
            jump: None,
            failure: Reason::Refused,
        });
        assert_eq!(
            failure.result().get("msg").and_then(Value::as_str),
            Some(
                "`10.0.0.1:22` refused the connection: nothing listens there; check that sshd \
                 runs there and that `ansible_port` is its port"
            )
        );
        assert_eq!(failure.result().get("unreachable"), Some(&true.into()));
    }

    #[test]
    fn a_lost_agent_is_told_with_what_to_do() {
        let failure = Failure::from(AgentError::Lost {
            why: "the connection was closed".to_owned(),
            last_words: String::new(),
        });
        assert_eq!(
            failure.result().get("msg").and_then(Value::as_str),
            Some(
                "lost the agent on the host: the connection was closed; look on the host for what \
                 ended it (memory, a reboot, the SSH server's log); the task may have been done \
                 in part"
            )
        );
        assert_eq!(failure.result().get("unreachable"), Some(&true.into()));
    }

    #[test]
    fn endpoints_that_differ_by_password_have_connections_of_their_own() {
        let with = |password: &str| Endpoint {
            password: Some(Secret::new(password)),
            ..Endpoint::ssh("web1")
        };
        let connections: std::collections::HashSet<_> =
            [with("a"), with("b"), with("a")].into_iter().collect();
        assert_eq!(connections.len(), 2);
    }
}
