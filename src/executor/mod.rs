//! Runs playbooks: plays in sequence, hosts side by side, one task after the other on each.
//!
//! Emits [`event::Event`](crate::event::Event)s and never prints; asks through a [`Prompter`].

mod absorb;
mod actions;
mod batch;
#[cfg(test)]
mod checks;
mod connection;
mod content;
mod deploy;
mod dispatcher;
mod execution;
mod failure;
mod fleet;
mod handlers;
mod host;
mod include;
mod jobs;
mod looping;
mod meta;
mod options;
mod plan;
mod prompt;
mod prompts;
mod reach;
mod recap;
mod render;
mod session;
mod settings;
mod strategy;
mod target;
mod task;
mod transactions;
mod variables;
mod world;

use std::sync::Arc;

use tokio::sync::mpsc::UnboundedSender;
use tokio::sync::{Semaphore, watch};

use crate::error::Error;
use crate::event::{Event, TransactionOutcome};
use crate::inventory::{Inventory, Limit};
use crate::lookups;
use crate::playbook::{Context, Files, Playbook, Vars};
use crate::template::Engine;
use crate::transport::ConnectContext;
use crate::vars::Variables;

use connection::Agents;
use content::Contents;
use dispatcher::Dispatcher;
use session::{Connector, Sessions};
use variables::{Inventories, Start};
use world::World;

pub use actions::Executable;
pub use content::Decrypt;
pub use fleet::{Contact, Fleet, Rollback, survey};
pub use options::{
    BecomeDefaults, ConnectionDefaults, Gathering, MethodDefaults, OnFailure, RunOptions,
    TransactionOptions,
};
pub use prompt::{Answer, Prompt, Prompter, Unattended, Until};
pub use variables::Reload;

/// What a run works on.
pub struct Run<'a> {
    pub options: RunOptions,
    /// How playbooks are loaded; the same the playbooks were loaded with.
    pub context: &'a Context<'a>,
    /// Reads files for workers; the same as the context's.
    pub files: Arc<dyn Files + Send>,
    pub engine: Engine,
    /// What lookups see of the controller; each task adds where it searches.
    pub lookups: lookups::World,
    pub inventory: Arc<Inventory>,
    pub limit: Option<Limit>,
    pub variables: Variables,
    /// `--extra-vars`, the same that `variables` have.
    pub extra: Arc<Vars>,
    /// Reads the inventory again.
    pub reload: Option<Reload>,
    pub decrypt: Decrypt,
    pub connect: ConnectContext,
    pub prompter: Arc<dyn Prompter>,
    pub events: UnboundedSender<Event>,
    pub cancel: Cancellation,
}

/// Runs playbooks and returns what came of them; everything that happens on the way is an event.
pub async fn run(run: Run<'_>, playbooks: &[Playbook]) -> RunOutcome {
    let connector = Agents::new(&run.options, run.connect.clone(), run.events.clone());
    run_with(run, Arc::new(connector), playbooks).await
}

async fn run_with(
    run: Run<'_>,
    connector: Arc<dyn Connector>,
    playbooks: &[Playbook],
) -> RunOutcome {
    let dispatcher = dispatcher(run, connector);
    let errors = dispatcher.check_transactions(playbooks);
    if !errors.is_empty() {
        return dispatcher.refuse(errors);
    }
    dispatcher.run(playbooks).await
}

fn dispatcher(run: Run<'_>, connector: Arc<dyn Connector>) -> Dispatcher<'_> {
    let forks = run.options.forks.filter(|forks| *forks > 0);
    let inventories = Inventories::new(Start {
        inventory: run.inventory,
        variables: run.variables,
        limit: run.limit,
        extra: run.extra,
        reload: run.reload,
        working_directory: run.options.working_directory.clone(),
        events: run.events.clone(),
    });
    let world = Arc::new(World {
        engine: run.engine,
        lookups: run.lookups,
        files: run.files,
        events: run.events,
        prompter: run.prompter,
        sessions: Sessions::new(connector),
        contents: Contents::new(run.decrypt),
        forks: forks.map(|forks| Arc::new(Semaphore::new(forks))),
        options: run.options,
    });
    Dispatcher::new(world, run.context, inventories, run.cancel)
}

/// Tells whether a play or block asks to be a transaction, as far as that is known before the run.
pub fn have_transactions(playbooks: &[Playbook]) -> bool {
    let mut plays = playbooks.iter().flat_map(|playbook| &playbook.plays);
    plays.any(|play| transactions::asks(play))
}

/// What came of a run.
#[derive(Clone, Debug, Default)]
pub struct RunOutcome {
    /// Hosts on which a task failed.
    pub failed: Vec<Arc<str>>,
    pub unreachable: Vec<Arc<str>>,
    /// The user ended the run.
    pub cancelled: bool,
    /// What ended the run outside of any host's task; it has been told as an event.
    pub error: Option<Arc<Error>>,
    /// What became of each transaction, in the order they ended; it has been told as an event.
    pub transactions: Vec<TransactionOutcome>,
}

/// Ends a run early, in order: no task is started, those at work are cancelled.
#[derive(Clone, Debug)]
pub struct Cancellation(watch::Receiver<bool>);

impl Cancellation {
    /// Makes a cancellation and what triggers it by sending `true`.
    pub fn new() -> (watch::Sender<bool>, Self) {
        let (sender, receiver) = watch::channel(false);
        (sender, Self(receiver))
    }

    /// Waits until the run is to end.
    async fn cancelled(&mut self) {
        if self.0.wait_for(|cancelled| *cancelled).await.is_err() {
            // Whoever could cancel is gone, so nobody will.
            std::future::pending::<()>().await;
        }
    }
}
