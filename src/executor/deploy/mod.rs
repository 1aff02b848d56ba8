//! One transaction of a run: who takes part in it, and the calls that go to them.
//!
//! A participant is a host as one user. Ends in `ending`, begins in `opening`; what is ordered
//! and when is decided by the coordinator alone.

mod ending;
mod opaque;
mod opening;
mod participant;
mod prediction;
mod savepoint;

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use indexmap::IndexMap;
use tokio::sync::mpsc::UnboundedSender;

use ending::LastWord;

use super::failure::Failure;
use super::options::TransactionOptions;
use super::session::{Connector, ModuleCall, Reported, Target};
use super::world::World;
use crate::agent::protocol::CheckMode;
use crate::event::{Event, ParticipantOutcome};
use crate::transaction::coordinator::{Coordinator, Member};
use crate::transaction::state::RunInfo;
use crate::transport::ConnectionKind;

pub(super) use opaque::{Opaque, PROTECT, UNDO, changes_nothing, opaque_steps, wrong_transactions};
pub(super) use opening::{NotOpened, join_all, wanted_of};
pub(super) use participant::{Participant, name_of};

/// Modules that never change their target, so that a target they alone meet takes no part.
const READERS: [&str; 11] = [
    "stat",
    "find",
    "slurp",
    "setup",
    "gather_facts",
    "ping",
    "wait_for",
    "getent",
    "service_facts",
    "package_facts",
    "mount_facts",
];

/// One transaction.
pub(super) struct Deploy {
    /// The same on all hosts.
    id: String,
    /// What the guardians ask of whoever attaches; a secret.
    token: String,
    /// The block it is about; `None` for a play or a whole run.
    pub(super) block: Option<String>,
    run: RunInfo,
    options: TransactionOptions,
    connector: Arc<dyn Connector>,
    events: UnboundedSender<Event>,
    table: Mutex<Table>,
    /// Held while a participant is opened that was met late.
    late: tokio::sync::Mutex<()>,
}

#[derive(Default)]
struct Table {
    coordinator: Coordinator,
    /// By who they are, in the order of joining; two names of one machine share one.
    members: IndexMap<Target, Arc<Participant>>,
    /// The savepoints that are set on a host, innermost last.
    savepoints: HashMap<Arc<str>, Vec<String>>,
    harmless: Harmless,
    /// Why the transaction was not committed.
    reason: Option<String>,
    /// What became of hosts that were left out.
    left: HashMap<Member, LastWord>,
}

impl Deploy {
    /// Starts a transaction without participants.
    pub(super) fn new(
        connector: Arc<dyn Connector>,
        events: UnboundedSender<Event>,
        options: &TransactionOptions,
        block: Option<String>,
    ) -> Self {
        let playbooks = options.playbooks.iter();
        let run = RunInfo {
            kind: match &options.rollback {
                Some(_) => "rollback".into(),
                None => "deploy".into(),
            },
            target: options
                .rollback
                .as_ref()
                .and_then(|rollback| rollback.to.clone()),
            who: options.who.clone(),
            host: options.controller.clone(),
            run_url: options.run_url.clone(),
            version: env!("CARGO_PKG_VERSION").into(),
            release: options.release.clone(),
            playbook: playbooks
                .map(|path| path.display().to_string())
                .collect::<Vec<_>>()
                .join("\n"),
            participants: Vec::new(),
        };
        Self {
            id: random_id(),
            token: random_id(),
            block,
            run,
            options: options.clone(),
            connector,
            events,
            table: Mutex::default(),
            late: tokio::sync::Mutex::default(),
        }
    }

    /// Runs a module on a participant, which joins when it is met for the first time.
    async fn call(
        &self,
        world: &World,
        target: &Target,
        call: ModuleCall,
        progress: &(dyn Fn(&str, u64, u64) + Send + Sync),
    ) -> Result<Reported, Failure> {
        let participant = self.participant(target).await?;
        participant.call(self, world, call, progress).await
    }

    /// Tells whether a call goes to a participant.
    fn takes(&self, target: &Target, call: &ModuleCall) -> bool {
        let changes = call.check == CheckMode::Off && !READERS.contains(&&*call.module);
        changes || self.known(target).is_some()
    }

    fn known(&self, target: &Target) -> Option<Arc<Participant>> {
        self.table().members.get(&identity(target)).cloned()
    }

    /// Returns the participants of a host.
    fn participants_of(&self, host: &str) -> Vec<Arc<Participant>> {
        let table = self.table();
        let of_host = table
            .members
            .values()
            .filter(|participant| *participant.host == *host);
        of_host.cloned().collect()
    }

    /// Returns all participants with their numbers, each once.
    fn members(&self) -> Vec<Arc<Participant>> {
        let mut seen: HashSet<Member> = HashSet::new();
        let table = self.table();
        let members = table.members.values();
        members
            .filter(|participant| seen.insert(participant.member))
            .cloned()
            .collect()
    }

    /// Remembers that a step on a host, of a task that changed nothing, needs no undo.
    pub(super) fn is_harmless(&self, host: &Arc<str>, what: &str) {
        self.table().harmless.add(host, what);
    }

    /// Remembers a step on a host that no agent knows of and nobody can undo.
    pub(super) fn cannot_undo(&self, host: &str, what: &str) {
        for participant in self.participants_of(host).into_iter().take(1) {
            participant.beside(what);
        }
    }

    fn tell(&self, event: Event) {
        if self.events.send(event).is_err() {
            // The reporters are gone; the transaction still ends in order.
        }
    }

    fn warn(&self, message: String) {
        self.tell(Event::Warning {
            message,
            mark: None,
        });
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Where a call goes: to a participant of a transaction, or to a session outside of any.
#[derive(Clone)]
pub(super) struct Acting {
    pub(super) target: Target,
    pub(super) deploy: Option<Arc<Deploy>>,
}

impl Acting {
    /// Runs a module.
    pub(super) async fn call(
        &self,
        world: &World,
        call: ModuleCall,
        progress: &(dyn Fn(&str, u64, u64) + Send + Sync),
    ) -> Result<Reported, Failure> {
        if let Some(deploy) = &self.deploy
            && deploy.takes(&self.target, &call)
        {
            return deploy.call(world, &self.target, call, progress).await;
        }
        let mut lease = world.sessions.lend(&self.target).await?;
        let asked = call.clone();
        let mut reported = lease.session.call(call, &world.contents, progress).await?;
        world.sessions.take_back(lease);
        let is_trial = matches!(asked.check, CheckMode::Run | CheckMode::Each);
        if is_trial && reported.steps.is_empty() {
            reported
                .steps
                .extend(prediction::predicted(&asked, &reported.result));
        }
        Ok(reported)
    }
}

/// Steps nobody could undo, of tasks that changed nothing by their own word: by host, each as often
/// as it was done. The same command may well have changed another host, or this one another time.
#[derive(Clone, Default)]
struct Harmless(HashMap<Arc<str>, Vec<String>>);

impl Harmless {
    fn add(&mut self, host: &Arc<str>, what: &str) {
        let steps = self.0.entry(Arc::clone(host)).or_default();
        steps.push(what.to_owned());
    }

    /// Returns what is left of the steps of a host without these, which are used up.
    fn taken_from(&mut self, host: &str, steps: &[String]) -> Vec<String> {
        let Some(harmless) = self.0.get_mut(host) else {
            return steps.to_vec();
        };
        let mut left = steps.to_vec();
        left.retain(|step| match harmless.iter().position(|it| it == step) {
            Some(at) => {
                harmless.swap_remove(at);
                false
            }
            None => true,
        });
        left
    }
}

/// Returns who a target is, whatever it is called: the same machine and user under two inventory
/// names is one participant.
fn identity(target: &Target) -> Target {
    let mut identity = target.clone();
    identity.endpoint.name = "".into();
    match &identity.endpoint.kind {
        ConnectionKind::Local => {
            identity.endpoint.address.clear();
            identity.endpoint.directory = None;
        }
        ConnectionKind::Ssh | ConnectionKind::Sandbox { .. } => {}
    }
    identity
}

/// Returns 128 random bits in hexadecimal.
fn random_id() -> String {
    format!("{:032x}", rand::random::<u128>())
}

/// Lists the names of participants' outcomes for a sentence.
pub(super) fn names(outcomes: &[ParticipantOutcome]) -> String {
    let names: Vec<&str> = outcomes.iter().map(|outcome| &*outcome.name).collect();
    names.join(", ")
}
