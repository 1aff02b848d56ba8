//! Tasks and handlers: what is done, with which arguments, and the keywords that are theirs alone.

use std::path::PathBuf;
use std::sync::Arc;

use super::keyword::Keyword;
use super::layer::Layer;
use super::role::Role;
use crate::node::Node;
use crate::source::Mark;
use crate::value::Value;

/// One task or handler.
#[derive(Debug)]
pub struct Task {
    /// Unique in the run.
    pub id: u64,
    /// Where the task starts.
    pub mark: Mark,
    pub name: Option<Node>,
    pub action: Action,
    /// The task's own level: its inherited keywords, variables and roles are looked up here.
    pub layer: Arc<Layer>,
    pub register: Option<Arc<str>>,
    pub loop_over: Option<Loop>,
    pub loop_control: LoopControl,
    /// The conditions of `until`; empty without it.
    pub until: Vec<Node>,
    pub retries: Option<Node>,
    pub delay: Option<Node>,
    pub changed_when: Vec<Node>,
    pub failed_when: Vec<Node>,
    /// Seconds the job may run in the background; `None` without `async`.
    pub async_seconds: Option<Node>,
    pub poll: Option<Node>,
    /// The task is a handler.
    pub handler: bool,
    /// The topics a handler listens to.
    pub listen: Vec<String>,
}

/// What a task does.
#[derive(Debug)]
pub struct Action {
    /// The name as written: `copy`, `ansible.builtin.copy`, or a template under `action:`.
    pub written: Node,
    pub kind: ActionKind,
}

/// The kinds of action.
#[derive(Debug)]
pub enum ActionKind {
    /// A module or an action plugin.
    Module { name: ModuleName, args: Args },
    /// `meta`.
    Meta(Meta),
    /// `include_tasks`, kept to be loaded when it is reached.
    IncludeTasks {
        file: Node,
        /// The values of `apply:`.
        apply: Option<Node>,
    },
    /// `include_role`, kept to be loaded when it is reached.
    IncludeRole(Box<IncludeRole>),
}

/// The name of a module.
#[derive(Clone, Debug, PartialEq)]
pub enum ModuleName {
    /// The resolved full name: `ansible.builtin.copy`.
    Known(Arc<str>),
    /// A module of Ansible that this engine does not have, under a condition that may never
    /// hold: an error when the task is reached.
    Missing { name: Arc<str>, why: Arc<str> },
    /// A template under `action:`, resolved when the task is reached.
    Source(Node),
    /// A file in a `library/` or an installed collection.
    External(Arc<ExternalModule>),
}

/// A module that stands in a file of the controller.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExternalModule {
    /// The name without `ansible.legacy.`.
    pub name: Arc<str>,
    pub path: PathBuf,
    /// Where `ansible.module_utils` is looked for first: beside the playbook and in its role.
    pub utilities: Vec<PathBuf>,
    /// Where `ansible_collections` may stand.
    pub collections: Vec<PathBuf>,
}

/// The arguments of a module as written.
#[derive(Clone, Debug, Default)]
pub struct Args {
    /// The options: key (whose mark a caret points at) and value.
    pub options: Vec<(Node, Node)>,
    /// The free-form text: `command: ls`.
    pub free_form: Option<Node>,
    /// `args: "{{ variable }}"`: rendered to a dictionary, lower in precedence than `options`.
    pub variable: Option<Node>,
}

/// The arguments of `include_role`.
#[derive(Clone, Debug)]
pub struct IncludeRole {
    pub name: Node,
    pub tasks_from: Option<Node>,
    pub vars_from: Option<Node>,
    pub defaults_from: Option<Node>,
    pub handlers_from: Option<Node>,
    /// The values of `apply:`.
    pub apply: Option<Node>,
    pub public: Option<Node>,
    pub allow_duplicates: Option<Node>,
    pub rolespec_validate: Option<Node>,
}

/// The actions of `meta`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Meta {
    ClearFacts,
    ClearHostErrors,
    EndBatch,
    EndHost,
    EndPlay,
    EndRole,
    FlushHandlers,
    Noop,
    RefreshInventory,
    ResetConnection,
}

impl Meta {
    /// Every action with its name.
    pub const ALL: &'static [(&'static str, Self)] = &[
        ("clear_facts", Self::ClearFacts),
        ("clear_host_errors", Self::ClearHostErrors),
        ("end_batch", Self::EndBatch),
        ("end_host", Self::EndHost),
        ("end_play", Self::EndPlay),
        ("end_role", Self::EndRole),
        ("flush_handlers", Self::FlushHandlers),
        ("noop", Self::Noop),
        ("refresh_inventory", Self::RefreshInventory),
        ("reset_connection", Self::ResetConnection),
    ];

    /// Returns the name.
    pub fn name(self) -> &'static str {
        Self::ALL
            .iter()
            .find(|(_, action)| *action == self)
            .map_or("", |(name, _)| name)
    }
}

/// What a task repeats over.
#[derive(Clone, Debug)]
pub enum Loop {
    /// `loop:`.
    Items(Node),
    /// `with_LOOKUP:`.
    With { lookup: String, terms: Node },
}

/// `loop_control`.
#[derive(Clone, Debug, Default)]
pub struct LoopControl {
    /// `item` unless set.
    pub loop_var: Option<Node>,
    pub index_var: Option<Node>,
    pub label: Option<Node>,
    /// Seconds between items.
    pub pause: Option<Node>,
    pub extended: Option<Node>,
    pub extended_allitems: Option<Node>,
    pub break_when: Vec<Node>,
}

impl Task {
    /// Returns the innermost role around the task.
    pub fn role(&self) -> Option<&Arc<Role>> {
        self.layer.role()
    }

    /// Returns the role that is shown before the task's name: none before an `include_role`, which
    /// is named for the role it brings.
    pub fn shown_role(&self) -> Option<&Arc<Role>> {
        match self.action.kind {
            ActionKind::IncludeRole(_) => None,
            _ => self.role(),
        }
    }

    /// Returns the nearest value of a keyword.
    pub fn keyword(&self, keyword: Keyword) -> Option<&Node> {
        self.layer.nearest(keyword)
    }

    /// Returns the conditions of `when`, outermost first.
    pub fn conditions(&self) -> Vec<&Node> {
        self.layer.stacked(Keyword::When)
    }

    /// Returns the dictionaries of `environment`, outermost first: later ones win.
    pub fn environment(&self) -> Vec<&Node> {
        self.layer.stacked(Keyword::Environment)
    }

    /// Returns the dictionaries of `module_defaults`, outermost first: later ones win.
    pub fn module_defaults(&self) -> Vec<&Node> {
        self.layer.stacked(Keyword::ModuleDefaults)
    }

    /// Returns the names of `notify`.
    pub fn notify(&self) -> Vec<&Node> {
        match self.keyword(Keyword::Notify) {
            Some(value) => match value.as_list() {
                Some(items) => items.iter().collect(),
                None if value.is_null() => Vec::new(),
                None => vec![value],
            },
            None => Vec::new(),
        }
    }

    /// Returns the tags of all levels, each once.
    pub fn tags(&self) -> Vec<String> {
        super::tags::of(&self.layer)
    }

    /// Returns the name as written, without its role.
    pub fn written_name(&self) -> Option<Value> {
        self.name.as_ref().map(Node::to_value)
    }
}
