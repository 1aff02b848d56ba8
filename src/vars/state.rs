//! The variables of a run: what the dispatcher changes as results come in, and snapshots of it
//! that workers read.
//!
//! Everything is shared and copied only when it changes while a snapshot is alive.

use std::collections::HashMap;
use std::path::Path;
use std::sync::{Arc, OnceLock};

use indexmap::IndexMap;

use super::facts;
use super::hosts::{HostFiles, HostLayers};
use super::layers::Layer;
use super::magic::{self, Constants};
use super::scope::TaskScope;
use crate::error::Error;
use crate::inventory::{HostName, Inventory};
use crate::playbook::{self, Play, Role, Vars, VarsFiles};
use crate::template::{Binding, Engine};
use crate::value::{Map, Value};

/// What does not change during a run.
pub struct Settings {
    pub constants: Constants,
    /// `--extra-vars`.
    pub extra: Arc<Vars>,
    /// Renders the names of `vars_files`.
    pub engine: Engine,
    pub vars_files: VarsFiles,
    /// `hash_behaviour = merge`.
    pub merge: bool,
    /// Facts are variables by themselves too (`inject_facts_as_vars`).
    pub inject_facts: bool,
}

/// Keeps facts beyond a run.
pub trait FactCache: Send + Sync {
    /// Returns the facts kept of a host, unless they are too old.
    fn load(&self, host: &str) -> Option<Map>;

    /// Keeps all facts of a host, or tells why that failed.
    fn store(&self, host: &str, facts: &Map) -> Result<(), String>;

    /// Forgets the facts of a host.
    fn forget(&self, host: &str);
}

/// What was learned about one host.
#[derive(Clone, Debug, Default)]
pub struct HostVariables {
    facts: Arc<Map>,
    /// `ansible_facts` and the injected facts, made of `facts`.
    namespaced: Arc<IndexMap<Arc<str>, Binding>>,
    injected: Arc<Map>,
    included: Arc<IndexMap<Arc<str>, Binding>>,
    set: Arc<Map>,
}

impl HostVariables {
    /// Returns the facts, with their `ansible_` prefixes.
    pub fn facts(&self) -> &Map {
        &self.facts
    }

    pub(super) fn namespaced(&self) -> &Arc<IndexMap<Arc<str>, Binding>> {
        &self.namespaced
    }

    pub(super) fn injected(&self) -> &Arc<Map> {
        &self.injected
    }

    pub(super) fn included(&self) -> &Arc<IndexMap<Arc<str>, Binding>> {
        &self.included
    }

    pub(super) fn set(&self) -> &Arc<Map> {
        &self.set
    }

    fn change_facts(&mut self, change: impl FnOnce(&mut Map)) {
        change(Arc::make_mut(&mut self.facts));
        let namespaced = facts::namespaced(&self.facts).into();
        self.namespaced = Arc::new([("ansible_facts".into(), namespaced)].into_iter().collect());
        self.injected = Arc::new(facts::injected(&self.facts));
    }
}

/// The play that runs: its hosts, answers, and the roles that came in on the way.
#[derive(Clone)]
pub struct PlayState {
    pub play: Arc<Play>,
    /// The rendered name, or the hosts.
    pub name: Arc<str>,
    /// Answers to `vars_prompt`.
    pub prompts: Arc<Map>,
    /// The play's roles, then those that `include_role` brought.
    pub roles: Vec<Arc<Role>>,
    /// All hosts the play matches.
    pub all_hosts: Arc<Vec<HostName>>,
    /// Those of them that have not failed.
    pub hosts: Arc<Vec<HostName>>,
    /// The hosts of the current batch that have not failed.
    pub batch: Arc<Vec<HostName>>,
}

impl PlayState {
    /// Starts a play on `hosts`.
    pub fn new(play: &Arc<Play>, name: &str, hosts: Vec<HostName>) -> Self {
        let hosts = Arc::new(hosts);
        Self {
            play: Arc::clone(play),
            name: name.into(),
            prompts: Arc::default(),
            roles: play.roles.clone(),
            all_hosts: Arc::clone(&hosts),
            hosts: Arc::clone(&hosts),
            batch: hosts,
        }
    }
}

/// A play with its magic variables made.
pub(super) struct CurrentPlay {
    pub(super) state: PlayState,
    pub(super) magic: Layer,
}

/// The variables of a run; the dispatcher owns them.
pub struct Variables {
    state: Arc<Snapshot>,
    cache: Option<Arc<dyn FactCache>>,
}

/// The variables as they were at one moment.
pub struct Snapshot {
    pub(super) settings: Arc<Settings>,
    pub(super) inventory: Arc<Inventory>,
    pub(super) files: Arc<HostFiles>,
    /// The directory of the playbook: where `group_vars` and `host_vars` are looked for.
    pub(super) directory: Arc<Path>,
    pub(super) hosts: Arc<HashMap<HostName, HostVariables>>,
    pub(super) play: Option<Arc<CurrentPlay>>,
    /// The magic variables that never change.
    pub(super) constants: Arc<IndexMap<Arc<str>, Binding>>,
    groups: OnceLock<Value>,
}

impl Clone for Snapshot {
    fn clone(&self) -> Self {
        Self {
            settings: Arc::clone(&self.settings),
            inventory: Arc::clone(&self.inventory),
            files: Arc::clone(&self.files),
            directory: Arc::clone(&self.directory),
            constants: Arc::clone(&self.constants),
            hosts: Arc::clone(&self.hosts),
            play: self.play.clone(),
            groups: OnceLock::new(),
        }
    }
}

impl Variables {
    /// Makes the variables at the start of a run.
    pub fn new(settings: Settings, inventory: Arc<Inventory>, files: HostFiles) -> Self {
        Self {
            state: Arc::new(Snapshot {
                inventory,
                files: Arc::new(files),
                directory: Path::new(&settings.constants.playbook_dir).into(),
                constants: magic::of_run(&settings.constants),
                settings: Arc::new(settings),
                hosts: Arc::default(),
                play: None,
                groups: OnceLock::new(),
            }),
            cache: None,
        }
    }

    /// Returns the variables as they are now.
    pub fn snapshot(&self) -> Arc<Snapshot> {
        Arc::clone(&self.state)
    }

    fn change(&mut self) -> &mut Snapshot {
        let state = Arc::make_mut(&mut self.state);
        state.groups = OnceLock::new();
        state
    }

    fn host(&mut self, host: &str) -> &mut HostVariables {
        let hosts = Arc::make_mut(&mut self.change().hosts);
        hosts.entry(host.into()).or_default()
    }

    /// Sets the play that runs, or changes its hosts and roles.
    pub fn set_play(&mut self, play: PlayState) {
        let state = self.change();
        state.directory = play.play.directory.as_path().into();
        let magic = magic::of_play(&play);
        state.play = Some(Arc::new(CurrentPlay { state: play, magic }));
    }

    /// Replaces the inventory after `add_host`, `group_by` or a refresh.
    pub fn set_inventory(&mut self, inventory: Arc<Inventory>) {
        let state = self.change();
        state.inventory = inventory;
        state.files = Arc::new(state.files.renewed());
    }

    /// Takes what `cache` keeps of the inventory's hosts, and keeps facts there from now on.
    pub fn keep_facts_in(&mut self, cache: Arc<dyn FactCache>) {
        let inventory = Arc::clone(&self.state.inventory);
        let hosts = inventory.hosts().map(|host| &*host.name);
        for host in hosts.chain(["localhost"]) {
            if let Some(facts) = cache.load(host) {
                self.host(host).change_facts(|known| *known = facts);
            }
        }
        self.cache = Some(cache);
    }

    /// Keeps facts, also those of `set_fact` with `cacheable`; tells what went wrong with keeping
    /// them beyond the run.
    pub fn add_facts(&mut self, host: &str, facts: &Map) -> Result<(), String> {
        self.host(host).change_facts(|known| {
            known.extend(
                facts
                    .iter()
                    .map(|(name, value)| (name.clone(), value.clone())),
            );
        });
        match &self.cache {
            Some(cache) => {
                let learned = self.state.hosts.get(host);
                learned.map_or(Ok(()), |learned| cache.store(host, learned.facts()))
            }
            None => Ok(()),
        }
    }

    /// Forgets the facts of a host (`meta: clear_facts`).
    pub fn clear_facts(&mut self, host: &str) {
        self.host(host).change_facts(Map::clear);
        if let Some(cache) = &self.cache {
            cache.forget(host);
        }
    }

    /// Keeps what `set_fact` sets, or `register` names.
    pub fn set(&mut self, host: &str, name: &str, value: Value) {
        Arc::make_mut(&mut self.host(host).set).insert(name.into(), value);
    }

    /// Keeps what `include_vars` read; a dictionary is laid over the one that is there under
    /// `hash_behaviour = merge`.
    pub fn include(&mut self, host: &str, vars: impl IntoIterator<Item = (Arc<str>, Binding)>) {
        let merge = self.state.settings.merge;
        let included = Arc::make_mut(&mut self.host(host).included);
        for (name, binding) in vars {
            let laid = match included.get(&name).filter(|_| merge) {
                Some(under) => super::merge::merged([binding, under.clone()].into_iter()),
                None => Some(binding),
            };
            included.extend(laid.map(|laid| (name, laid)));
        }
    }

    /// Returns what was learned about a host.
    pub fn learned(&self, host: &str) -> Option<&HostVariables> {
        self.state.hosts.get(host)
    }
}

impl Snapshot {
    /// Makes what a task sees on a host. `host` is `None` before any host is chosen; `layer` is
    /// the task's level, `None` outside of tasks. An entry of `vars_files` that cannot be
    /// rendered or read is an error.
    pub fn scope(
        self: &Arc<Self>,
        host: Option<&str>,
        layer: Option<&Arc<playbook::Layer>>,
    ) -> Result<TaskScope, Vec<Error>> {
        TaskScope::new(self, host, layer)
    }

    /// Returns the inventory.
    pub fn inventory(&self) -> &Inventory {
        &self.inventory
    }

    /// Returns the same variables as they are outside of plays.
    pub(super) fn without_play(&self) -> Self {
        Self {
            play: None,
            ..self.clone()
        }
    }

    /// Returns the layers of a host's own rungs.
    pub(super) fn host_layers(&self, host: &str) -> Arc<HostLayers> {
        self.files.layers(&self.inventory, &self.directory, host)
    }

    /// Returns the magic variable `groups`.
    pub(super) fn groups(&self) -> &Value {
        self.groups.get_or_init(|| {
            Value::map(self.inventory.groups().map(|group| {
                let hosts = self.inventory.hosts_of(&group.name);
                (
                    Arc::clone(&group.name),
                    Value::list(hosts.iter().map(|host| &**host)),
                )
            }))
        })
    }
}
