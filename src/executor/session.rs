//! Sessions with targets: one agent per host and user, opened when first needed, lent to one
//! task at a time, and kept for the next.
//!
//! How a session comes about is a trait, so that tasks are tested without processes.

use std::collections::HashMap;
use std::future::Future;
use std::path::Path;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use super::content::Contents;
use super::failure::Failure;
use crate::agent::client::Agent;
use crate::agent::protocol::{Background, CheckMode};
use crate::event::Step;
use crate::transport::Endpoint;
use crate::value::Map;

/// A future that a trait's method returns.
pub(super) type Pending<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Whom and where: what tells two sessions apart.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Target {
    pub(super) endpoint: Endpoint,
    pub(super) become_user: Option<Become>,
}

/// Who the agent runs as, when that is not the login user.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Become {
    pub(super) method: String,
    pub(super) user: String,
    pub(super) flags: Option<String>,
    pub(super) executable: Option<String>,
    pub(super) password: Option<crate::transport::Secret>,
    /// The directory to enter before.
    pub(super) directory: Option<String>,
    /// The prompts of `su`; none means those of its languages.
    pub(super) prompts: Vec<String>,
    /// The longest silence until it is done, if not the usual one.
    pub(super) patience: Option<Duration>,
}

/// One call of a module.
#[derive(Clone, Debug)]
pub(super) struct ModuleCall {
    pub(super) module: String,
    pub(super) args: Map,
    pub(super) check: CheckMode,
    pub(super) diff: bool,
    pub(super) environment: Vec<(String, String)>,
    /// The task's number in its transaction; `None` outside of one.
    pub(super) seq: Option<u64>,
    /// The shell text that the user declared to undo the task.
    pub(super) undo: Option<String>,
    /// Paths that the user declared the task to change.
    pub(super) protect: Vec<String>,
    /// The task says of itself that it changes nothing.
    pub(super) harmless: bool,
    /// The result is secret.
    pub(super) no_log: bool,
    /// Runs as a job of the target.
    pub(super) background: Option<Background>,
    /// Seconds after which the target ends it.
    pub(super) timeout: Option<f64>,
}

/// What a module answered.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Reported {
    pub(super) result: Map,
    /// The changes it made, or predicted.
    pub(super) steps: Vec<Step>,
}

/// The output of a command that no agent ran.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct RawOutput {
    pub(super) status: i64,
    pub(super) stdout: Vec<u8>,
    pub(super) stderr: Vec<u8>,
}

/// One agent.
pub(super) trait Session: Send {
    /// Runs a module and returns its result. After a failure the session is dropped.
    fn call<'a>(
        &'a mut self,
        call: ModuleCall,
        contents: &'a Contents,
        progress: &'a (dyn Fn(&str, u64, u64) + Send + Sync),
    ) -> Pending<'a, Result<Reported, Failure>>;

    /// Returns the agent behind the session.
    fn agent(&mut self) -> &mut Agent;

    /// Copies a file of the target into a file of the controller that is created for it.
    fn fetch<'a>(
        &'a mut self,
        source: &'a str,
        destination: &'a Path,
        progress: &'a (dyn Fn(&str, u64, u64) + Send + Sync),
    ) -> Pending<'a, Result<(), Failure>>;

    /// Ends the agent in order.
    fn close(self: Box<Self>) -> Pending<'static, ()>;
}

/// Opens sessions.
pub(super) trait Connector: Send + Sync {
    /// Connects, logs in, and starts an agent.
    fn open<'a>(&'a self, target: &'a Target) -> Pending<'a, Result<Box<dyn Session>, Failure>>;

    /// Connects anew, whatever connection there is, logs in again, and starts an agent.
    fn open_afresh<'a>(
        &'a self,
        target: &'a Target,
    ) -> Pending<'a, Result<Box<dyn Session>, Failure>>;

    /// Runs a command in a shell on the target, without an agent.
    fn raw<'a>(
        &'a self,
        target: &'a Target,
        command: &'a str,
    ) -> Pending<'a, Result<RawOutput, Failure>>;

    /// Forgets the connections to an endpoint.
    fn disconnect<'a>(&'a self, target: &'a Target) -> Pending<'a, ()>;
}

/// A session lent to one task.
pub(super) struct Lease {
    target: Target,
    pub(super) session: Box<dyn Session>,
}

/// The sessions of a run.
pub(super) struct Sessions {
    connector: Arc<dyn Connector>,
    idle: Mutex<HashMap<Target, Vec<Box<dyn Session>>>>,
}

impl Sessions {
    pub(super) fn new(connector: Arc<dyn Connector>) -> Self {
        Self {
            connector,
            idle: Mutex::default(),
        }
    }

    /// Returns what opens the sessions.
    pub(super) fn connector(&self) -> &Arc<dyn Connector> {
        &self.connector
    }

    /// Lends a session of `target`; dropping the lease ends the session, so one that failed is
    /// not used again. An idle one whose connection ended meanwhile is replaced: nothing was sent.
    pub(super) async fn lend(&self, target: &Target) -> Result<Lease, Failure> {
        let session = match self.idle(target) {
            Some(session) => session,
            None => self.connector.open(target).await?,
        };
        Ok(Lease {
            target: target.clone(),
            session,
        })
    }

    fn idle(&self, target: &Target) -> Option<Box<dyn Session>> {
        loop {
            let mut session = self.lock().get_mut(target).and_then(Vec::pop)?;
            if session.agent().is_alive() {
                return Some(session);
            }
        }
    }

    /// Takes a session back for the next task.
    pub(super) fn take_back(&self, lease: Lease) {
        self.lock()
            .entry(lease.target)
            .or_default()
            .push(lease.session);
    }

    /// Runs a command on `target` without an agent.
    pub(super) async fn raw(&self, target: &Target, command: &str) -> Result<RawOutput, Failure> {
        self.connector.raw(target, command).await
    }

    /// Ends the sessions of `target` and its connection.
    pub(super) async fn reset(&self, target: &Target) {
        let gone = self.lock().remove(target).unwrap_or_default();
        for session in gone {
            session.close().await;
        }
        self.connector.disconnect(target).await;
    }

    /// Ends the idle sessions as a user of the target's host, whose account is to go: while one of
    /// its processes runs, it cannot.
    pub(super) async fn end_those_of(&self, target: &Target, user: &str) {
        let is_of_user = |other: &Target| {
            let runs_as = other.become_user.as_ref().map(|wanted| &wanted.user);
            other.endpoint == target.endpoint && runs_as.is_some_and(|name| name == user)
        };
        let gone: Vec<_> = self
            .lock()
            .extract_if(|other, _| is_of_user(other))
            .flat_map(|(_, idle)| idle)
            .collect();
        for session in gone {
            session.close().await;
        }
    }

    /// Ends all sessions.
    pub(super) async fn close(&self) {
        let all: Vec<_> = self.lock().drain().flat_map(|(_, idle)| idle).collect();
        let mut closing = tokio::task::JoinSet::new();
        for session in all {
            closing.spawn(session.close());
        }
        closing.join_all().await;
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<Target, Vec<Box<dyn Session>>>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
