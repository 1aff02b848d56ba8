//! Real sessions: connections shared by all sessions with an endpoint, and agents started on
//! them.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio::io::AsyncReadExt;
use tokio::sync::mpsc::UnboundedSender;
use tokio::sync::{Mutex, OnceCell};

use super::content::Contents;
use super::failure::Failure;
use super::options::RunOptions;
use super::session::{Connector, ModuleCall, Pending, RawOutput, Session, Target};
use crate::agent::client::{Agent, FetchError, Progress};
use crate::agent::protocol::Call;
use crate::event::Event;
use crate::transport::{self, Channel, ConnectContext, Connection, ConnectionKind, Endpoint};
use crate::value::Map;

type Shared = Arc<OnceCell<Arc<Connection>>>;

/// Starts agents on hosts.
pub(super) struct Agents {
    agent: PathBuf,
    context: ConnectContext,
    events: UnboundedSender<Event>,
    connections: Mutex<HashMap<String, Shared>>,
}

impl Agents {
    pub(super) fn new(
        options: &RunOptions,
        context: ConnectContext,
        events: UnboundedSender<Event>,
    ) -> Self {
        Self {
            agent: options.agent.clone(),
            context,
            events,
            connections: Mutex::default(),
        }
    }

    /// Returns the connection to an endpoint, made once however many ask for it.
    async fn connection(&self, endpoint: &Endpoint) -> Result<Arc<Connection>, Failure> {
        let shared = {
            let mut connections = self.connections.lock().await;
            Arc::clone(connections.entry(key(endpoint)).or_default())
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
            Err(error) => Err(unreachable(&error)),
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

    async fn channel(&self, endpoint: &Endpoint, command: &str) -> Result<Channel, Failure> {
        let connection = self.connection(endpoint).await?;
        connection
            .exec(command)
            .await
            .map_err(|error| unreachable(&error))
    }

    async fn start(&self, target: &Target) -> Result<Agent, Failure> {
        let command = match target.endpoint.kind {
            ConnectionKind::Local => format!("exec {} agent", quoted(&self.agent)),
            _ => String::new(),
        };
        let channel = self.channel(&target.endpoint, &command).await?;
        Agent::start(channel.stdout, channel.stdin, Some(channel.stderr), &[])
            .await
            .map_err(|error| Failure::unreachable(error.to_string()))
    }
}

fn key(endpoint: &Endpoint) -> String {
    format!("{endpoint:?}")
}

fn quoted(path: &Path) -> String {
    format!("'{}'", path.display().to_string().replace('\'', "'\"'\"'"))
}

fn unreachable(error: &transport::TransportError) -> Failure {
    Failure::unreachable(error.to_string())
}

impl Connector for Agents {
    fn open<'a>(&'a self, target: &'a Target) -> Pending<'a, Result<Box<dyn Session>, Failure>> {
        Box::pin(async move {
            let agent = self.start(target).await?;
            Ok(Box::new(AgentSession { agent }) as Box<dyn Session>)
        })
    }

    fn raw<'a>(
        &'a self,
        target: &'a Target,
        command: &'a str,
    ) -> Pending<'a, Result<RawOutput, Failure>> {
        Box::pin(async move {
            let mut channel = self.channel(&target.endpoint, command).await?;
            drop(channel.stdin);
            let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
            let (out, err, exit) = tokio::join!(
                channel.stdout.read_to_end(&mut stdout),
                channel.stderr.read_to_end(&mut stderr),
                channel.exit,
            );
            let status = exit.map_err(|error| unreachable(&error))?;
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
            let gone = self.connections.lock().await.remove(&key(&target.endpoint));
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
    ) -> Pending<'a, Result<Map, Failure>> {
        Box::pin(async move {
            let label = call.module.clone();
            let told = move |at: Progress| progress(&label, at.done, at.total);
            let call = Call {
                module: call.module,
                arguments: call.args,
                check: call.check,
                diff: call.diff,
                environment: call.environment,
                umask: None,
                timeout: None,
            };
            let reply = self.agent.call(call, &contents.store, &told).await;
            let reply = reply.map_err(|error| Failure::unreachable(error.to_string()))?;
            Ok(reply.result)
        })
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
                Err(FetchError::Agent(error)) => Err(Failure::unreachable(error.to_string())),
                Err(other) => Err(Failure::action(other.to_string())),
            }
        })
    }

    fn close(self: Box<Self>) -> Pending<'static, ()> {
        Box::pin(self.agent.close())
    }
}
