//! Hosts asked about their transactions, outside of any run: who knows what, and settling it.
//!
//! A host is asked as the user it is reached as and, where that is not root and root has a state
//! of its own there, as root too.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::connection::Agents;
use super::deploy::{join_all, name_of, wanted_of};
use super::session::{Become, Connector, ModuleCall, Session, Target};
use super::{Run, dispatcher};
use crate::agent::client::RequestError;
use crate::agent::protocol::{CheckMode, Decision, Recovered};
use crate::playbook::Playbook;
use crate::transaction::generations::{self, Back};
use crate::transaction::lock::Holder;
use crate::transaction::state::Summary;
use crate::transport::ConnectionKind;
use crate::value::{Map, Value};

/// Root's state directory.
const ROOTS_STATE: &str = "/var/lib/backstay";

/// How long a host may take to look at itself.
const LOOK: Duration = Duration::from_secs(20);

/// The hosts that were asked.
pub struct Fleet {
    /// By name, sorted.
    pub contacts: Vec<Contact>,
}

/// One host, as one user.
pub struct Contact {
    /// The host's name in the inventory.
    pub host: Arc<str>,
    /// The host, and the user where it is not the login user.
    pub name: String,
    /// What the host knows, newest first, or why it does not say.
    pub known: Result<Vec<Summary>, String>,
    target: Target,
    session: Option<Box<dyn Session>>,
}

/// What a rollback puts back.
#[derive(Clone, Debug)]
pub struct Rollback {
    pub(super) steps: Vec<(Target, u64)>,
    /// The transaction whose state is gone back to; `None` is before the first.
    pub(super) to: Option<String>,
}

impl Rollback {
    pub(super) fn targets(&self) -> Vec<Target> {
        self.steps
            .iter()
            .map(|(target, _)| target.clone())
            .collect()
    }

    /// Returns the participants and the generation each goes back to.
    pub fn plan(&self) -> Vec<(String, u64)> {
        let steps = self.steps.iter();
        steps.map(|(target, to)| (name_of(target), *to)).collect()
    }
}

/// Asks the hosts of the plays what they know of transactions.
pub async fn survey(run: Run<'_>, playbooks: &[Playbook]) -> Fleet {
    let agents = Agents::new(&run.options, run.connect.clone(), run.events.clone());
    let connector: Arc<dyn Connector> = Arc::new(agents);
    let mut dispatcher = dispatcher(run, Arc::clone(&connector));
    let mut targets = Vec::new();
    for play in playbooks.iter().flat_map(|playbook| &playbook.plays) {
        targets.extend(dispatcher.targets_of_play(play));
    }
    let defaults = &dispatcher.world.options.become_defaults;
    let of_method = defaults.of(&defaults.method);
    let become_root = Become {
        method: defaults.method.clone(),
        user: "root".into(),
        flags: of_method.flags.clone(),
        executable: of_method.executable.clone(),
        password: of_method
            .password
            .clone()
            .map(crate::transport::Secret::new),
        directory: of_method.directory.clone(),
        prompts: of_method.prompts.clone(),
        patience: None,
    };
    let targets = wanted_of(targets);
    let asking = targets
        .iter()
        .map(|target| ask(&*connector, target, &become_root));
    let mut contacts: Vec<Contact> = join_all(asking).await.into_iter().flatten().collect();
    contacts.sort_by(|one, other| one.name.cmp(&other.name));
    Fleet { contacts }
}

/// Asks a host as whom it is reached as, and as root where root has something to say.
async fn ask(connector: &dyn Connector, target: &Target, root: &Become) -> Vec<Contact> {
    let mut own = ask_one(connector, target).await;
    if target.become_user.is_some() || !own.has_roots_state().await {
        return vec![own];
    }
    let target = Target {
        become_user: Some(root.clone()),
        ..target.clone()
    };
    let mut roots = ask_one(connector, &target).await;
    if let Err(why) = &mut roots.known {
        why.push_str("; root has transactions there: use `--become` and `--ask-become-pass`");
    }
    vec![own, roots]
}

async fn ask_one(connector: &dyn Connector, target: &Target) -> Contact {
    let mut contact = Contact {
        host: Arc::clone(&target.endpoint.name),
        name: name_of(target),
        known: Ok(Vec::new()),
        target: target.clone(),
        session: None,
    };
    match connector.open(target).await {
        Ok(mut session) => {
            let known = session.agent().transactions().await;
            contact.known = known.map_err(|error| error.to_string());
            contact.session = Some(session);
        }
        Err(failure) => contact.known = Err(failure.brief()),
    }
    contact
}

impl Contact {
    /// Tells whether root keeps a state that this user cannot see.
    async fn has_roots_state(&mut self) -> bool {
        let sandboxed = matches!(self.target.endpoint.kind, ConnectionKind::Sandbox { .. });
        let Some(session) = self.session.as_mut().filter(|_| !sandboxed) else {
            return false;
        };
        if session.agent().uid() == 0 {
            return false;
        }
        let args: Map = [("path".into(), ROOTS_STATE.into())].into_iter().collect();
        match look(&mut **session, "stat", args).await {
            Ok(result) => result
                .get("stat")
                .and_then(|stat| stat.get("exists"))
                .is_some_and(Value::is_truthy),
            Err(_) => false,
        }
    }

    /// Runs a module that changes nothing, and returns its result and how long it took.
    async fn look(&mut self, module: &str, args: Map) -> Result<(Value, Duration), String> {
        let session = match (&self.known, &mut self.session) {
            (Err(why), _) => return Err(why.clone()),
            (Ok(_), None) => return Err("it is not reached".into()),
            (Ok(_), Some(session)) => session,
        };
        let started = Instant::now();
        let result = tokio::time::timeout(LOOK, look(&mut **session, module, args));
        let result = result
            .await
            .map_err(|_| format!("it did not answer within {} s", LOOK.as_secs()))?;
        Ok((result?, started.elapsed()))
    }

    /// Settles a transaction that was left behind.
    pub async fn recover(&mut self, id: &str, decision: Decision) -> Result<Recovered, String> {
        let agent = self.session.as_mut().ok_or("it is not reached")?.agent();
        told(agent.recover(id, decision).await)
    }

    /// Returns who holds an application's lock.
    pub async fn holder(&mut self, application: &str) -> Result<Option<Holder>, String> {
        let agent = self.session.as_mut().ok_or("it is not reached")?.agent();
        told(agent.holder(application).await)
    }

    /// Ends the holder of an application's lock.
    pub async fn break_lock(&mut self, application: &str) -> Result<Recovered, String> {
        let agent = self.session.as_mut().ok_or("it is not reached")?.agent();
        told(agent.break_lock(application).await)
    }
}

/// Runs a module that changes nothing.
async fn look(session: &mut dyn Session, module: &str, args: Map) -> Result<Value, String> {
    let call = ModuleCall {
        module: module.into(),
        args,
        check: CheckMode::Off,
        diff: false,
        environment: Vec::new(),
        seq: None,
        undo: None,
        protect: Vec::new(),
        harmless: true,
        no_log: false,
        background: None,
        timeout: None,
    };
    let contents = super::content::Contents::new(Arc::new(|_| Err("no secrets".into())));
    let silent = |_: &str, _: u64, _: u64| {};
    match session.call(call, &contents, &silent).await {
        Ok(reported) => Ok(reported.result.into()),
        Err(failure) => Err(failure.brief()),
    }
}

fn told<T>(answer: Result<T, RequestError>) -> Result<T, String> {
    answer.map_err(|error| error.to_string())
}

impl Fleet {
    /// Plans a rollback of an application to a generation, or to the last known good state.
    pub fn plan_rollback(&self, application: &str, to: Option<u64>) -> Rollback {
        let lists = || {
            self.contacts
                .iter()
                .filter_map(|it| it.known.as_deref().ok())
        };
        let commits = generations::commits(application, lists());
        let back = match to {
            None => generations::last_known_good(&commits),
            Some(0) => Back::BeforeFirst,
            Some(generation) => commits
                .iter()
                .find(|commit| {
                    lists().flatten().any(|summary| {
                        summary.id == commit.id && summary.generation == Some(generation)
                    })
                })
                .map_or(Back::Nowhere, |commit| Back::To(commit.clone())),
        };
        let steps = self
            .contacts
            .iter()
            .filter_map(|contact| {
                let list = contact.known.as_deref().ok()?;
                let generation = match to {
                    // Each host counts its own generations.
                    Some(to) => newest(application, list)
                        .filter(|now| to < *now)
                        .map(|_| to),
                    None => generations::generation_of(&back, application, list),
                };
                Some((contact.target.clone(), generation?))
            })
            .collect();
        Rollback {
            steps,
            to: match back {
                Back::To(commit) => Some(commit.id),
                Back::BeforeFirst | Back::Nowhere => Some(String::new()),
            },
        }
    }

    /// Returns the playbooks of the run that made the state a rollback goes back to, else of the
    /// one it undoes.
    pub fn playbooks_of(&self, application: &str, rollback: &Rollback) -> Vec<std::path::PathBuf> {
        let all = self
            .contacts
            .iter()
            .filter_map(|it| it.known.as_deref().ok());
        let all: Vec<&Summary> = all
            .flatten()
            .filter(|summary| summary.application == application)
            .collect();
        let made = all.iter().find(|it| Some(&it.id) == rollback.to.as_ref());
        let undone = || {
            all.iter()
                .find(|it| it.generation.is_some() && it.run.kind == "deploy")
        };
        let run = made.or_else(undone).map(|summary| &summary.run);
        run.map(|run| run.playbook.lines().map(Into::into).collect())
            .unwrap_or_default()
    }

    /// Runs a module that changes nothing on every host at once, and returns for each contact its
    /// result and how long it took, or why there is none.
    pub async fn look(
        &mut self,
        module: &str,
        args: &Map,
    ) -> Vec<Result<(Value, Duration), String>> {
        let looking = self.contacts.iter_mut();
        join_all(looking.map(|contact| contact.look(module, args.clone()))).await
    }

    /// Ends the sessions.
    pub async fn close(self) {
        let closing = self.contacts.into_iter().filter_map(|contact| {
            let session = contact.session?;
            Some(session.close())
        });
        join_all(closing).await;
    }
}

fn newest(application: &str, list: &[Summary]) -> Option<u64> {
    let of_application = list.iter().filter(|it| it.application == application);
    of_application.filter_map(|it| it.generation).max()
}
