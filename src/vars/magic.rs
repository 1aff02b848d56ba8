//! Magic variables: what only the engine knows about the run, the play, the role and the task.

use std::sync::Arc;

use indexmap::IndexMap;

use super::layers::Layer;
use super::state::PlayState;
use crate::inventory::HostName;
use crate::node::{Kind, Node};
use crate::playbook::{self, Keyword, Role};
use crate::source::{Mark, SourceFile};
use crate::template::Binding;
use crate::value::{Map, Value};

/// The version of ansible-core whose behaviour is followed.
const VERSION: [i64; 3] = [2, 19, 14];

/// What the command line and the settings say.
#[derive(Clone, Debug, Default)]
pub struct Constants {
    pub check_mode: bool,
    pub diff_mode: bool,
    pub forks: usize,
    pub verbosity: usize,
    /// The sources as given, made absolute.
    pub inventory_sources: Vec<String>,
    pub run_tags: Vec<String>,
    pub skip_tags: Vec<String>,
    pub limit: Option<String>,
    pub config_file: Option<String>,
    /// What `ansible_playbook_python` says: a Python of the controller for plays that ask.
    pub python: String,
    /// The directory of the playbook, or the working directory.
    pub playbook_dir: String,
}

impl Constants {
    fn insert_into(&self, found: &mut Names) {
        found.set("playbook_dir", self.playbook_dir.as_str());
        let texts = |texts: &[String]| Value::list(texts.iter().map(String::as_str));
        let optional = |text: &Option<String>| text.as_deref().map_or(Value::Null, Value::from);
        found.set("ansible_playbook_python", self.python.as_str());
        found.set("ansible_config_file", optional(&self.config_file));
        found.set("ansible_version", version());
        found.set("ansible_check_mode", self.check_mode);
        found.set("ansible_diff_mode", self.diff_mode);
        found.set("ansible_forks", self.forks);
        found.set("ansible_inventory_sources", texts(&self.inventory_sources));
        found.set("ansible_skip_tags", texts(&self.skip_tags));
        found.set("ansible_run_tags", texts(&self.run_tags));
        found.set("ansible_verbosity", self.verbosity);
        if self.limit.is_some() {
            found.set("ansible_limit", optional(&self.limit));
        }
    }
}

/// Returns `ansible_version`.
fn version() -> Value {
    let full = VERSION.map(|part| part.to_string()).join(".");
    Value::map([
        ("string", Value::from(full.as_str())),
        ("full", full.as_str().into()),
        ("major", VERSION[0].into()),
        ("minor", VERSION[1].into()),
        ("revision", VERSION[2].into()),
    ])
}

/// Names being collected.
#[derive(Default)]
struct Names(IndexMap<Arc<str>, Binding>);

impl Names {
    fn set(&mut self, name: &str, value: impl Into<Value>) {
        self.0.insert(name.into(), Binding::Final(value.into()));
    }
}

/// Returns the magic variables that never change during a run.
pub(super) fn of_run(constants: &Constants) -> Arc<IndexMap<Arc<str>, Binding>> {
    let mut found = Names::default();
    constants.insert_into(&mut found);
    Arc::new(found.0)
}

/// Returns the magic variables of a play.
pub(super) fn of_play(state: &PlayState) -> Layer {
    let mut found = Names::default();
    play(state, &mut found);
    Layer::Bound(Arc::new(found.0))
}

/// Returns the magic variables of a task.
pub(super) fn of_task(layer: &playbook::Layer) -> Layer {
    let mut found = Names::default();
    if let Some(role) = layer.role() {
        self::role(role, &mut found);
    }
    let environment = Binding::Source(environment(layer));
    found.0.insert("environment".into(), environment);
    Layer::Bound(Arc::new(found.0))
}

fn play(state: &PlayState, found: &mut Names) {
    let directory = state.play.directory.to_string_lossy();
    found.set("playbook_dir", directory.as_ref());
    let names = |roles: &[Arc<Role>]| -> Vec<String> {
        roles.iter().map(|role| role.full_name()).collect()
    };
    let direct = names(&state.roles);
    let mut dependent: Vec<String> = Vec::new();
    for role in &state.roles {
        for name in names(&role.all_dependencies()) {
            push_new(&mut dependent, name);
        }
    }
    let mut all = dependent.clone();
    for name in &direct {
        push_new(&mut all, name.clone());
    }
    let texts = |names: &[String]| Value::list(names.iter().map(String::as_str));
    let hosts = |hosts: &[HostName]| Value::list(hosts.iter().map(|host| &**host));
    found.set("ansible_role_names", texts(&all));
    found.set("ansible_play_role_names", texts(&direct));
    found.set("ansible_dependent_role_names", texts(&dependent));
    found.set("role_names", texts(&direct));
    found.set("ansible_play_name", &*state.name);
    found.set("ansible_play_hosts_all", hosts(&state.all_hosts));
    found.set("ansible_play_hosts", hosts(&state.hosts));
    found.set("ansible_play_batch", hosts(&state.batch));
    found.set("play_hosts", hosts(&state.batch));
}

fn push_new(names: &mut Vec<String>, name: String) {
    if !names.contains(&name) {
        names.push(name);
    }
}

fn role(role: &Role, found: &mut Names) {
    found.set("role_name", role.name.as_str());
    found.set("role_path", role.path.to_string_lossy().as_ref());
    let collection = role.collection.as_deref();
    found.set(
        "ansible_collection_name",
        collection.map_or(Value::Null, Value::from),
    );
    found.set("ansible_role_name", role.full_name().as_str());
}

/// Returns the `environment` of a task as one list, outermost first.
fn environment(layer: &playbook::Layer) -> Node {
    let items: Vec<Node> = layer
        .stacked(Keyword::Environment)
        .into_iter()
        .cloned()
        .collect();
    let mark = items.first().map_or_else(
        || Mark::start_of(&SourceFile::new("<environment>", "")),
        |item| item.mark.clone(),
    );
    Node::new(mark, Kind::List(Arc::new(items)))
}

/// Returns the names and paths of the roles that include or import the role around a level,
/// nearest first, and those roles.
pub(super) fn parent_roles(layer: &playbook::Layer) -> Option<(Map, Vec<Arc<Role>>)> {
    use playbook::{LayerKind, Target};
    let parents: Vec<Arc<Role>> = layer
        .outwards()
        .filter(|level| {
            matches!(
                level.kind,
                LayerKind::Include {
                    target: Target::Role(_),
                    ..
                } | LayerKind::Import {
                    target: Target::Role(_)
                }
            )
        })
        .filter_map(|level| level.parent.as_ref()?.role().cloned())
        .collect();
    let names = Value::list(
        parents
            .iter()
            .map(|role| Value::from(role.full_name().as_str())),
    );
    let paths = Value::list(
        parents
            .iter()
            .map(|role| Value::from(role.path.to_string_lossy().as_ref())),
    );
    let map = [
        ("ansible_parent_role_names".into(), names),
        ("ansible_parent_role_paths".into(), paths),
    ];
    (!parents.is_empty()).then(|| (map.into_iter().collect(), parents))
}
