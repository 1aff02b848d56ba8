//! What one task sees on one host: the layers of every rung, looked up from the strongest.

use std::sync::Arc;

use indexmap::IndexMap;

use super::hostvars::{AllVariables, HostVars};
use super::ladder::Rung;
use super::layers::Layer;
use super::state::Snapshot;
use super::{magic, merge};
use crate::error::Error;
use crate::inventory::HostName;
use crate::node::Node;
use crate::playbook::{self, LayerKind, Role, Vars, may_be_template};
use crate::template::{Binding, Scope};
use crate::value::Map;

/// The variables of one task on one host, or of a host outside of tasks.
pub struct TaskScope {
    snapshot: Arc<Snapshot>,
    host: Option<HostName>,
    /// Strongest first.
    layers: Vec<(Rung, Layer)>,
    /// `hostvars` is there: everywhere but inside of `hostvars` itself.
    has_hostvars: bool,
}

impl TaskScope {
    /// Stacks the layers for `host` and a task's level.
    pub(super) fn new(
        snapshot: &Arc<Snapshot>,
        host: Option<&str>,
        layer: Option<&Arc<playbook::Layer>>,
    ) -> Result<Self, Vec<Error>> {
        let builder = Builder {
            snapshot,
            host,
            layer: layer.map(|layer| &**layer),
        };
        let mut scope = Self {
            snapshot: Arc::clone(snapshot),
            host: host.map(HostName::from),
            layers: builder.layers(),
            has_hostvars: true,
        };
        let files = scope.play_files()?;
        scope.insert(Rung::PlayFiles, &files);
        Ok(scope)
    }

    /// Stacks the layers of a host as `hostvars` shows them: without play and task.
    pub(super) fn of_host(snapshot: &Arc<Snapshot>, host: &str) -> Self {
        let outside = Arc::new(snapshot.without_play());
        let builder = Builder {
            snapshot: &outside,
            host: Some(host),
            layer: None,
        };
        let layers = builder.layers();
        Self {
            snapshot: outside,
            host: Some(host.into()),
            layers,
            has_hostvars: false,
        }
    }

    /// Returns the host's name.
    pub fn host(&self) -> Option<&HostName> {
        self.host.as_ref()
    }

    /// Returns from which rung a name is taken.
    pub fn rung_of(&self, name: &str) -> Option<Rung> {
        self.layers
            .iter()
            .find(|(_, layer)| layer.get(name).is_some())
            .map(|(rung, _)| *rung)
    }

    fn insert(&mut self, rung: Rung, found: &[Arc<Vars>]) {
        let at = self.layers.partition_point(|(other, _)| *other > rung);
        let layers = found.iter().map(|vars| (rung, Layer::from(vars)));
        self.layers.splice(at..at, layers.collect::<Vec<_>>());
    }

    /// Reads the play's `vars_files` for this host, strongest first. Names are rendered from the
    /// rungs below, the extra and the magic variables; an undefined name skips the entry.
    fn play_files(&self) -> Result<Vec<Arc<Vars>>, Vec<Error>> {
        let Some(current) = &self.snapshot.play else {
            return Ok(Vec::new());
        };
        let mut found = Vec::new();
        for entry in &current.state.play.vars_files {
            if let Some(vars) = self.vars_file(&self.snapshot.directory, entry, &found)? {
                found.insert(0, vars);
            }
        }
        Ok(found)
    }

    fn vars_file(
        &self,
        directory: &std::path::Path,
        entry: &Node,
        earlier: &[Arc<Vars>],
    ) -> Result<Option<Arc<Vars>>, Vec<Error>> {
        let reader = &self.snapshot.settings.vars_files;
        let names = entry.as_list().unwrap_or(std::slice::from_ref(entry));
        for name in names {
            let Some(text) = self.vars_file_name(name, earlier)? else {
                return Ok(None);
            };
            if let Some(path) = reader.find(directory, &text) {
                return reader.read(&path).map(Some);
            }
        }
        Ok(None)
    }

    /// Renders one name; `None` when a variable in it is undefined.
    fn vars_file_name(
        &self,
        name: &Node,
        earlier: &[Arc<Vars>],
    ) -> Result<Option<String>, Vec<Error>> {
        if !may_be_template(name) {
            return Ok(Some(name.to_value().to_string()));
        }
        let mut below = Self {
            snapshot: Arc::clone(&self.snapshot),
            host: self.host.clone(),
            layers: self
                .layers
                .iter()
                .filter(|(rung, _)| *rung >= Rung::ExtraVars || *rung < Rung::PlayFiles)
                .cloned()
                .collect(),
            has_hostvars: self.has_hostvars,
        };
        below.insert(Rung::PlayFiles, earlier);
        match self.snapshot.settings.engine.render(name, &below) {
            Ok(rendered) => match rendered.into_value() {
                Some(value) if value.as_str().is_some() => Ok(Some(value.to_string())),
                value => Err(vec![
                    Error::content(format!(
                        "an entry of `vars_files` must be text, not {}",
                        value.unwrap_or_default().python_type()
                    ))
                    .at(&name.mark),
                ]),
            },
            Err(error) if error.is_undefined() => Ok(None),
            Err(error) => Err(vec![Error::from(error).at(&name.mark)]),
        }
    }

    fn lookup(&self, name: &str) -> Option<Binding> {
        if !self.snapshot.settings.merge {
            return self.layers.iter().find_map(|(_, layer)| layer.get(name));
        }
        merge::merged(self.layers.iter().filter_map(|(_, layer)| layer.get(name)))
    }

    fn has_task_or_play(&self) -> bool {
        self.snapshot.play.is_some()
    }
}

impl Scope for TaskScope {
    fn get(&self, name: &str) -> Option<Binding> {
        match name {
            "groups" => Some(Binding::Final(self.snapshot.groups().clone())),
            "hostvars" if self.has_hostvars => Some(Binding::Object(Arc::new(HostVars {
                snapshot: Arc::clone(&self.snapshot),
            }))),
            "vars" if self.has_task_or_play() => Some(Binding::Object(Arc::new(AllVariables {
                snapshot: Arc::clone(&self.snapshot),
                layers: self.layers.clone(),
            }))),
            _ => self.lookup(name),
        }
    }

    fn names(&self) -> Vec<Arc<str>> {
        let mut names = names_of(&self.layers);
        names.push("groups".into());
        if self.has_hostvars {
            names.push("hostvars".into());
        }
        if self.has_task_or_play() {
            names.push("vars".into());
        }
        names
    }
}

/// Lists the names of layers, weakest first as Ansible's merging orders them, each once.
pub(super) fn names_of(layers: &[(Rung, Layer)]) -> Vec<Arc<str>> {
    let mut names: IndexMap<Arc<str>, ()> = IndexMap::new();
    for (_, layer) in layers.iter().rev() {
        names.extend(layer.names().into_iter().map(|name| (name, ())));
    }
    names.into_keys().collect()
}

/// Collects the layers of each rung.
struct Builder<'a> {
    snapshot: &'a Snapshot,
    host: Option<&'a str>,
    layer: Option<&'a playbook::Layer>,
}

impl Builder<'_> {
    /// Walks the ladder from the top.
    fn layers(&self) -> Vec<(Rung, Layer)> {
        let mut found = Vec::new();
        for rung in Rung::LADDER.into_iter().rev() {
            let layers = self.of_rung(rung).into_iter();
            found.extend(
                layers
                    .filter(|layer| !layer.is_empty())
                    .map(|layer| (rung, layer)),
            );
        }
        found
    }

    /// Returns the layers of one rung, strongest first.
    fn of_rung(&self, rung: Rung) -> Vec<Layer> {
        let play = self.snapshot.play.as_deref();
        let learned = self.host.and_then(|host| self.snapshot.hosts.get(host));
        match rung {
            Rung::RoleDefaults => self.role_defaults(),
            Rung::InventoryAll
            | Rung::InventoryGroups
            | Rung::InventoryAllFiles
            | Rung::PlaybookAllFiles
            | Rung::InventoryGroupFiles
            | Rung::PlaybookGroupFiles
            | Rung::InventoryHost
            | Rung::InventoryHostFiles
            | Rung::PlaybookHostFiles => self
                .host
                .map_or_else(Vec::new, |host| self.snapshot.host_layers(host).of(rung)),
            Rung::Facts if self.host.is_none() => Vec::new(),
            Rung::Facts => learned.map_or_else(
                || vec![no_facts()],
                |learned| {
                    let mut layers = vec![Layer::Bound(Arc::clone(learned.namespaced()))];
                    if self.snapshot.settings.inject_facts {
                        layers.insert(0, Layer::from(learned.injected()));
                    }
                    layers.push(no_facts());
                    layers
                },
            ),
            Rung::PlayVars => play
                .map(|play| Layer::from(&play.state.play.layer.vars))
                .into_iter()
                .collect(),
            Rung::PlayPrompts => play
                .map(|play| Layer::from(&play.state.prompts))
                .into_iter()
                .collect(),
            // Read last: their names are rendered from the rungs below.
            Rung::PlayFiles => Vec::new(),
            Rung::RoleVars => self.role_vars(),
            Rung::TaskVars => self.task_vars(|_| true),
            Rung::IncludedVars => learned
                .map(|learned| Layer::Bound(Arc::clone(learned.included())))
                .into_iter()
                .collect(),
            Rung::SetFacts => learned
                .map(|learned| Layer::from(learned.set()))
                .into_iter()
                .collect(),
            Rung::RoleParams => self.roles().map(|role| Layer::from(&role.params)).collect(),
            Rung::IncludeParams => self.include_params(),
            Rung::ExtraVars => vec![Layer::from(&self.snapshot.settings.extra)],
            Rung::Magic => self
                .layer
                .map(magic::of_task)
                .into_iter()
                .chain(play.map(|play| play.magic.clone()))
                .chain([Layer::Bound(Arc::clone(&self.snapshot.constants))])
                .collect(),
        }
    }

    /// Walks the task's role and the roles that brought it, innermost first.
    fn roles(&self) -> impl Iterator<Item = &Arc<Role>> {
        self.layer.into_iter().flat_map(playbook::Layer::roles)
    }

    /// Walks the roles whose variables the whole play sees, strongest first.
    fn public_roles(&self) -> impl Iterator<Item = &Arc<Role>> {
        let roles = self.snapshot.play.as_ref().map(|play| &play.state.roles);
        roles
            .into_iter()
            .flat_map(|roles| roles.iter().rev())
            .filter(|role| role.public)
    }

    fn role_defaults(&self) -> Vec<Layer> {
        let mut found = Vec::new();
        found.extend(self.roles().map(|role| Layer::from(&role.defaults)));
        let own = self.roles().next().into_iter();
        found.extend(own.flat_map(|role| dependencies(role, |role| &role.defaults)));
        for role in self.public_roles() {
            found.push(Layer::from(&role.defaults));
            found.extend(dependencies(role, |role| &role.defaults));
        }
        found
    }

    fn role_vars(&self) -> Vec<Layer> {
        let mut found = Vec::new();
        if let Some(role) = self.roles().next() {
            found.push(Layer::from(&role.use_vars));
            found.push(Layer::from(&role.vars));
            found.extend(dependencies(role, |role| &role.vars));
        }
        for role in self.roles() {
            found.push(Layer::from(&role.vars));
            found.push(Layer::from(&role.use_vars));
        }
        for role in self.public_roles() {
            found.push(Layer::from(&role.vars));
            found.extend(dependencies(role, |role| &role.vars));
        }
        found
    }

    /// Returns the `vars` of the levels inside of play and roles that `pick` picks.
    fn task_vars(&self, pick: impl Fn(&LayerKind) -> bool) -> Vec<Layer> {
        let mut found = Vec::new();
        let levels = self.layer.into_iter().flat_map(playbook::Layer::outwards);
        for level in levels.filter(|level| pick(&level.kind)) {
            match &level.kind {
                LayerKind::Play | LayerKind::Role(_) => {}
                LayerKind::Include { bound, .. } => {
                    found.extend([Layer::from(bound), Layer::from(&level.vars)]);
                }
                _ => found.push(Layer::from(&level.vars)),
            }
        }
        found
    }

    fn include_params(&self) -> Vec<Layer> {
        let mut found = self.task_vars(|kind| matches!(kind, LayerKind::Include { .. }));
        if let Some((names, parents)) = self.layer.and_then(magic::parent_roles) {
            found.insert(0, Layer::Data(Arc::new(names)));
            found.extend(parents.iter().map(|role| Layer::from(&role.params)));
        }
        found
    }
}

/// Returns one kind of variables of a role's dependencies, strongest first.
fn dependencies(role: &Role, pick: fn(&Role) -> &Arc<Vars>) -> Vec<Layer> {
    let all = role.all_dependencies();
    all.iter()
        .rev()
        .map(|role| Layer::from(pick(role)))
        .collect()
}

/// Returns the empty `ansible_facts` of a host without facts.
fn no_facts() -> Layer {
    let empty = Binding::Final(Map::new().into());
    Layer::Bound(Arc::new(
        [("ansible_facts".into(), empty)].into_iter().collect(),
    ))
}
