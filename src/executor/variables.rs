//! The run's inventory and variables, as the dispatcher changes them and workers read them.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::batch::Batch;
use super::world::Scopes;
use crate::error::Error;
use crate::event::Event;
use crate::inventory::{HostName, Inventory, Limit, Order};
use crate::lookups;
use crate::node::Node;
use crate::playbook::{Layer, Play, Role, Task, Vars};
use crate::source::{Mark, SourceFile};
use crate::template::{Binding, Scope};
use crate::value::{Map, Value};
use crate::vars::{PlayState, Snapshot, Variables};

/// Reads the inventory's sources again, for `meta: refresh_inventory`.
pub type Reload = Arc<dyn Fn() -> Result<Inventory, Error> + Send + Sync>;

/// The inventory and the variables of a run.
pub(super) struct Inventories {
    inventory: Arc<Inventory>,
    variables: Variables,
    limit: Option<Limit>,
    extra: Arc<Vars>,
    reload: Option<Reload>,
    working_directory: PathBuf,
    events: tokio::sync::mpsc::UnboundedSender<Event>,
    state: Option<PlayState>,
    /// How many hosts were out of the play when the state was made.
    n_removed: usize,
    additions: Vec<Addition>,
}

/// What a run starts with.
pub(super) struct Start {
    pub(super) inventory: Arc<Inventory>,
    pub(super) variables: Variables,
    pub(super) limit: Option<Limit>,
    pub(super) extra: Arc<Vars>,
    pub(super) reload: Option<Reload>,
    pub(super) working_directory: PathBuf,
    pub(super) events: tokio::sync::mpsc::UnboundedSender<Event>,
}

impl Inventories {
    pub(super) fn new(start: Start) -> Self {
        Self {
            inventory: start.inventory,
            variables: start.variables,
            limit: start.limit,
            extra: start.extra,
            reload: start.reload,
            working_directory: start.working_directory,
            events: start.events,
            state: None,
            n_removed: 0,
            additions: Vec::new(),
        }
    }

    /// Makes `play` the one that runs.
    pub(super) fn start_play(&mut self, play: &Arc<Play>) {
        self.set(PlayState::new(play, &play.title(), Vec::new()));
    }

    fn set(&mut self, state: PlayState) {
        self.variables.set_play(state.clone());
        self.state = Some(state);
    }

    /// Keeps the answer to a prompt of the play.
    pub(super) fn answer(&mut self, name: &str, value: Value) {
        if let Some(mut state) = self.state.take() {
            Arc::make_mut(&mut state.prompts).insert(name.into(), value);
            self.set(state);
        }
    }

    /// Tells whether a variable is given on the command line.
    pub(super) fn is_extra(&self, name: &str) -> bool {
        self.extra.contains_key(name)
    }

    /// Returns the hosts that patterns and the limit leave, in the inventory's order.
    pub(super) fn hosts_in_order(&self, patterns: &[String]) -> Result<Vec<HostName>, Error> {
        let patterns: Vec<&str> = patterns.iter().map(String::as_str).collect();
        let limit = self.limit.as_ref();
        let selected = self.inventory.select(&patterns, limit, Order::Inventory)?;
        Ok(selected.hosts)
    }

    /// Returns the hosts that patterns and the limit leave, in the play's order.
    pub(super) fn hosts_of(
        &self,
        patterns: &[String],
        order: Option<&str>,
    ) -> Result<Vec<HostName>, Error> {
        let order = match order.map(str::to_lowercase).as_deref() {
            None | Some("inventory") => Order::Inventory,
            Some("reverse_inventory") => Order::ReverseInventory,
            Some("sorted") => Order::Sorted,
            Some("reverse_sorted") => Order::ReverseSorted,
            Some("shuffle") => Order::Shuffle,
            Some(other) => {
                let known = [
                    "inventory",
                    "reverse_inventory",
                    "sorted",
                    "reverse_sorted",
                    "shuffle",
                ];
                return Err(Error::content(format!(
                    "Invalid 'order' specified for inventory hosts: {other}"
                ))
                .suggest(other, known));
            }
        };
        let patterns: Vec<&str> = patterns.iter().map(String::as_str).collect();
        let selected = self
            .inventory
            .select(&patterns, self.limit.as_ref(), order)?;
        for message in selected.warnings {
            self.tell(Event::Warning {
                message,
                mark: None,
            });
        }
        Ok(selected.hosts)
    }

    fn tell(&self, event: Event) {
        if self.events.send(event).is_err() {
            // The reporters are gone; the run still ends in order.
        }
    }

    /// Starts a batch of the play called `title`, whose hosts are `all`.
    pub(super) fn start_batch(&mut self, title: &str, all: &[HostName], batch: &[HostName]) {
        let Some(mut state) = self.state.take() else {
            return;
        };
        state.name = title.into();
        state.all_hosts = Arc::new(all.to_vec());
        state.hosts = Arc::new(all.to_vec());
        state.batch = Arc::new(batch.to_vec());
        self.n_removed = 0;
        self.set(state);
    }

    /// Takes hosts that are out of the play out of the variables that list its hosts.
    pub(super) fn follow(&mut self, batch: &Batch) {
        if batch.removed.len() == self.n_removed {
            return;
        }
        let Some(mut state) = self.state.take() else {
            return;
        };
        self.n_removed = batch.removed.len();
        let left = |hosts: &[HostName]| {
            let left = hosts.iter().filter(|host| !batch.removed.contains(*host));
            Arc::new(left.cloned().collect::<Vec<_>>())
        };
        state.hosts = left(&state.all_hosts);
        state.batch = left(&batch.hosts);
        self.set(state);
    }

    /// Adds the roles that an `include_role` brought.
    pub(super) fn add_roles(&mut self, roles: &[Arc<Role>]) {
        if let Some(mut state) = self.state.take() {
            state.roles.extend(roles.iter().cloned());
            self.set(state);
        }
    }

    /// Tells whether facts of a host are known.
    pub(super) fn has_facts(&self, host: &str) -> bool {
        self.variables
            .learned(host)
            .is_some_and(|learned| learned.facts().contains_key("_ansible_facts_gathered"))
    }

    /// Returns what the play itself sees.
    pub(super) fn play_scope(&self) -> Result<Arc<dyn Scope>, Error> {
        scope(&self.variables.snapshot(), None, None)
    }

    /// Returns what stands in `layer` sees on a host.
    pub(super) fn host_scope(
        &self,
        host: &Arc<str>,
        layer: &Arc<Layer>,
    ) -> Result<Arc<dyn Scope>, Error> {
        scope(&self.variables.snapshot(), Some(host), Some(layer))
    }

    /// Returns what a task sees on a host.
    pub(super) fn task_scope(
        &self,
        host: Option<&Arc<str>>,
        task: &Task,
    ) -> Result<Arc<dyn Scope>, Error> {
        let host = host.map(|host| &**host);
        scope(&self.variables.snapshot(), host, Some(&task.layer))
    }

    /// Returns what a task sees on any host.
    pub(super) fn scopes(&self, task: &Arc<Task>) -> Arc<dyn Scopes> {
        Arc::new(TaskScopes {
            snapshot: self.variables.snapshot(),
            task: Arc::clone(task),
            working_directory: self.working_directory.clone(),
        })
    }

    /// Returns the inventory as it is now, for lookups.
    pub(super) fn hosts(&self) -> Arc<dyn lookups::Hosts> {
        Arc::new(Hosts(Arc::clone(&self.inventory)))
    }

    /// Keeps a registered result.
    pub(super) fn register(&mut self, host: &str, name: &str, value: Value) {
        self.variables.set(host, name, value);
    }

    /// Keeps what `set_fact` set.
    pub(super) fn set_variables(&mut self, host: &str, variables: &Map) {
        for (name, value) in variables {
            self.variables.set(host, &name.to_string(), value.clone());
        }
    }

    /// Keeps facts.
    pub(super) fn set_facts(&mut self, host: &str, facts: &Map) {
        if let Err(message) = self.variables.add_facts(host, facts) {
            let mark = None;
            // Nobody listens any more when the run is over.
            self.events.send(Event::Warning { message, mark }).ok();
        }
    }

    /// Forgets facts.
    pub(super) fn clear_facts(&mut self, host: &str) {
        self.variables.clear_facts(host);
    }

    /// Keeps what `include_vars` read.
    pub(super) fn include_vars(&mut self, host: &str, vars: &Vars) {
        let bound = vars
            .iter()
            .map(|(name, node)| (Arc::clone(name), Binding::Source(node.clone())));
        self.variables.include(host, bound);
    }

    /// Adds a host with groups and variables; tells whether the inventory changed.
    pub(super) fn add_host(
        &mut self,
        name: &Arc<str>,
        groups: &[String],
        variables: &Map,
    ) -> Result<bool, Error> {
        self.additions.push(Addition::Host {
            name: Arc::clone(name),
            groups: groups.to_vec(),
            variables: variables.clone(),
        });
        let before = self.inventory.host(name).cloned();
        let mut inventory = Inventory::clone(&self.inventory);
        let mut changed = before.is_none() && inventory.add_host(name, Some("all"))?;
        for group in groups {
            let group = inventory.add_group(group)?;
            changed |= inventory.add_host(name, Some(&group))?;
        }
        for (key, value) in variables {
            inventory.set_variable(name, &key.to_string(), data(value))?;
        }
        inventory.reconcile();
        changed |= before.map(|host| host.variables)
            != inventory.host(name).map(|host| host.variables.clone());
        self.replace(inventory);
        Ok(changed)
    }

    /// Puts a host into a group; tells whether the inventory changed.
    pub(super) fn add_to_group(
        &mut self,
        host: &Arc<str>,
        group: &str,
        parents: &[String],
    ) -> Result<bool, Error> {
        self.additions.push(Addition::Member {
            host: Arc::clone(host),
            group: group.to_owned(),
            parents: parents.to_vec(),
        });
        let mut inventory = Inventory::clone(&self.inventory);
        let mut changed = inventory.group(group).is_none();
        let name = inventory.add_group(group)?;
        for parent in parents {
            let parent = inventory.add_group(parent)?;
            changed |= inventory.add_child(&parent, &name)?;
        }
        changed |= inventory.add_host(host, Some(&name))?;
        inventory.reconcile();
        self.replace(inventory);
        Ok(changed)
    }

    /// Reads the inventory's sources again; what the run added stays.
    pub(super) fn refresh(&mut self) -> Result<(), Error> {
        let Some(reload) = self.reload.clone() else {
            return Ok(());
        };
        self.replace(reload()?);
        for addition in std::mem::take(&mut self.additions) {
            match addition {
                Addition::Host {
                    name,
                    groups,
                    variables,
                } => self.add_host(&name, &groups, &variables)?,
                Addition::Member {
                    host,
                    group,
                    parents,
                } if self.inventory.host(&host).is_some() => {
                    self.add_to_group(&host, &group, &parents)?
                }
                Addition::Member { .. } => false,
            };
        }
        Ok(())
    }

    fn replace(&mut self, mut inventory: Inventory) {
        for warning in inventory.take_warnings() {
            self.tell(Event::Warning {
                message: warning.text,
                mark: warning.mark,
            });
        }
        self.inventory = Arc::new(inventory);
        self.variables.set_inventory(Arc::clone(&self.inventory));
    }
}

fn scope(
    snapshot: &Arc<Snapshot>,
    host: Option<&str>,
    layer: Option<&Arc<Layer>>,
) -> Result<Arc<dyn Scope>, Error> {
    match snapshot.scope(host, layer) {
        Ok(scope) => Ok(Arc::new(scope)),
        Err(errors) => Err(errors
            .into_iter()
            .next()
            .unwrap_or_else(|| Error::content("the variables could not be read"))),
    }
}

/// Turns data into a node that is never compiled.
fn data(value: &Value) -> Node {
    let file = SourceFile::new("<add_host>", "");
    Node::inert(value, &Mark::start_of(&file))
}

/// What the run added to the inventory, so that it survives reading the sources again.
enum Addition {
    Host {
        name: Arc<str>,
        groups: Vec<String>,
        variables: Map,
    },
    Member {
        host: Arc<str>,
        group: String,
        parents: Vec<String>,
    },
}

/// An inventory that lookups ask.
struct Hosts(Arc<Inventory>);

impl lookups::Hosts for Hosts {
    fn matching(&self, pattern: &str) -> Vec<String> {
        match self.0.hosts_matching(pattern) {
            Ok(found) => found.hosts.iter().map(ToString::to_string).collect(),
            Err(_) => Vec::new(),
        }
    }
}

struct TaskScopes {
    snapshot: Arc<Snapshot>,
    task: Arc<Task>,
    working_directory: PathBuf,
}

impl Scopes for TaskScopes {
    fn of_host(&self, host: &str) -> Result<Arc<dyn Scope>, Error> {
        scope(&self.snapshot, Some(host), Some(&self.task.layer))
    }

    fn search_path(&self) -> Vec<PathBuf> {
        let mut found: Vec<PathBuf> = Vec::new();
        let roles = self.task.layer.roles().map(|role| role.path.clone());
        let file = Path::new(&self.task.mark.file.name);
        let beside = file.parent().map(Path::to_path_buf);
        for path in roles.chain(beside) {
            let path = self.working_directory.join(path);
            if !found.contains(&path) {
                found.push(path);
            }
        }
        found
    }
}
