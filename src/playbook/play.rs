//! Playbooks, plays and blocks: the tree the executor walks.

use std::path::PathBuf;
use std::sync::Arc;

use super::layer::Layer;
use super::role::Role;
use super::task::Task;
use crate::node::Node;
use crate::source::Mark;

/// A playbook with everything static in it loaded.
#[derive(Debug)]
pub struct Playbook {
    /// The path as the user spelled it.
    pub path: PathBuf,
    pub plays: Vec<Arc<Play>>,
    pub warnings: Vec<(String, Mark)>,
}

/// One play.
#[derive(Debug)]
pub struct Play {
    pub mark: Mark,
    pub name: Option<Node>,
    /// Text or a list of patterns.
    pub hosts: Node,
    /// The directory of the playbook file the play stands in: `playbook_dir`, roles, files.
    pub directory: PathBuf,
    /// The play's level: the keywords that tasks inherit, and its `vars`.
    pub layer: Arc<Layer>,
    pub gather_facts: Option<Node>,
    pub gather_subset: Option<Node>,
    pub gather_timeout: Option<Node>,
    pub fact_path: Option<Node>,
    /// Each item is a name, or a list of which the first that exists counts.
    pub vars_files: Vec<Node>,
    pub vars_prompt: Vec<VarsPrompt>,
    /// The roles whose variables count in the play: of `roles:`, then of `import_role`.
    pub roles: Vec<Arc<Role>>,
    pub pre_tasks: Vec<Item>,
    /// The tasks of `roles:`, then of `tasks:`.
    pub tasks: Vec<Item>,
    pub post_tasks: Vec<Item>,
    /// Handlers of roles, then of the play, then of imported roles; of two with one name the
    /// last counts.
    pub handlers: Vec<Arc<Task>>,
    pub force_handlers: Option<Node>,
    pub max_fail_percentage: Option<Node>,
    /// Batch sizes: numbers or percentages.
    pub serial: Vec<Node>,
    pub strategy: Option<Node>,
    pub order: Option<Node>,
    /// The conditions of the `import_playbook` around it; facts are gathered under them.
    pub import_conditions: Vec<Node>,
}

impl Play {
    /// Returns what the banner shows, templates not rendered: the name, else the hosts.
    pub fn title(&self) -> String {
        match self.name.as_ref().filter(|name| !name.is_null()) {
            Some(name) => name.to_value().to_string(),
            None => self
                .host_patterns()
                .iter()
                .map(|pattern| pattern.to_value().to_string())
                .collect::<Vec<_>>()
                .join(","),
        }
    }

    /// Returns the host patterns as written.
    pub fn host_patterns(&self) -> Vec<&Node> {
        match self.hosts.as_list() {
            Some(items) => items.iter().collect(),
            None => vec![&self.hosts],
        }
    }

    /// Returns the play's own tags.
    pub fn tags(&self) -> Vec<String> {
        super::tags::of(&self.layer)
    }

    /// Returns the three sections; the handlers are flushed after each.
    pub fn sections(&self) -> [&[Item]; 3] {
        [&self.pre_tasks, &self.tasks, &self.post_tasks]
    }
}

/// One entry of `vars_prompt`.
#[derive(Clone, Debug)]
pub struct VarsPrompt {
    pub name: String,
    pub prompt: Option<Node>,
    pub default: Option<Node>,
    /// Not echoed; true unless set.
    pub private: bool,
    pub confirm: bool,
    /// The hash to make of the answer.
    pub encrypt: Option<Node>,
    pub salt_size: Option<Node>,
    pub salt: Option<Node>,
    /// The answer is never compiled as a template.
    pub is_unsafe: bool,
}

/// What stands in a list of tasks.
#[derive(Clone, Debug)]
pub enum Item {
    Task(Arc<Task>),
    Block(Arc<Block>),
    /// The end of a role's tasks: the role has run on the hosts that reach it.
    RoleComplete(Arc<Role>),
}

/// A block.
#[derive(Debug)]
pub struct Block {
    pub mark: Mark,
    pub name: Option<Node>,
    pub layer: Arc<Layer>,
    pub block: Vec<Item>,
    pub rescue: Vec<Item>,
    pub always: Vec<Item>,
}
