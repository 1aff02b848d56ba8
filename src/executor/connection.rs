//! Real sessions: connections shared by all sessions with an endpoint, and agents started on
//! them.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::mpsc::UnboundedSender;
use tokio::sync::{Mutex, OnceCell};

use super::actions::quoted;
use super::content::Contents;
use super::failure::Failure;
use super::options::RunOptions;
use super::session::{
    Become, Connector, ModuleCall, Pending, RawOutput, Reported, Session, Target,
};
use crate::agent::bootstrap::{self, CommandLine, Launch, Method, StartError, Streams};
use crate::agent::client::{Agent, AgentError, FetchError, Progress};
use crate::agent::protocol::Call;
use crate::error::Error;
use crate::event::{self, Event, Reversibility};
use crate::transaction::state::{Class, Step};
use crate::transport::{
    self, Channel, ConnectContext, Connection, ConnectionKind, Endpoint, Secret,
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
        let warning = Event::Warning {
            message: message.to_owned(),
            mark: None,
        };
        if self.events.send(warning).is_err() {
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
        // Boxed: a start is rare, and its future is large.
        Box::pin(launch.start(r#become.as_ref(), open))
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

/// Returns the command as the user to become runs it, and the password it will ask for.
fn as_user<'t>(target: &'t Target, command: &str) -> Result<(String, Option<&'t Secret>), Failure> {
    let Some(wanted) = &target.become_user else {
        return Ok((command.to_owned(), None));
    };
    let user = quoted(&wanted.user);
    let shell = format!("/bin/sh -c {}", quoted(command));
    let program = wanted.executable.as_deref().unwrap_or(&wanted.method);
    let flags = wanted.flags.as_deref();
    match (wanted.method.as_str(), &wanted.password) {
        ("sudo", None) => {
            let flags = flags.unwrap_or("-H -S -n");
            Ok((format!("{program} {flags} -u {user} {shell}"), None))
        }
        ("sudo", Some(password)) => {
            let flags = flags.unwrap_or("-H -S").replace("-n", "");
            let command = format!("{program} {flags} -p '' -u {user} {shell}");
            Ok((command, Some(password)))
        }
        ("doas", None) => {
            let flags = flags.unwrap_or("-n");
            Ok((format!("{program} {flags} -u {user} {shell}"), None))
        }
        ("runuser", _) => {
            let flags = flags.unwrap_or_default();
            Ok((format!("{program} {flags} -u {user} -- {shell}"), None))
        }
        (method, _) => Err(Failure::action(format!(
            "raw cannot become another user by `{method}` here"
        ))
        .help("use sudo, or a module other than raw")),
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
            let (command, typed) = as_user(target, command)?;
            let mut channel = self.channel(&target.endpoint, &command, false).await?;
            if let Some(password) = typed {
                let line = format!("{}\n", password.expose());
                // A program that reads no password leaves it; its own failure tells more.
                channel.stdin.write_all(line.as_bytes()).await.ok();
            }
            drop(channel.stdin);
            let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
            let (out, err, exit) = tokio::join!(
                channel.stdout.read_to_end(&mut stdout),
                channel.stderr.read_to_end(&mut stderr),
                channel.exit,
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
                steps: reply.steps.into_iter().map(told_step).collect(),
                result: reply.result,
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
    use crate::transport::{Failure as Reason, TransportError};
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
