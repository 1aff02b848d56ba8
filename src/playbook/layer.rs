//! The levels a task stands in (play, role, block, include, task), each with its own keywords
//! and variables, shared by everything inside and looked up from the innermost outwards.
//!
//! Nothing is merged or copied down: inheritance is a walk. Never renders a template.

use std::sync::Arc;

use indexmap::IndexMap;

use super::keyword::{Inheritance, Keyword};
use super::role::Role;
use crate::node::Node;
use crate::value::Map;

/// Variables of one source, in the order written.
pub type Vars = IndexMap<Arc<str>, Node>;

/// What a level is.
#[derive(Clone, Debug)]
pub enum LayerKind {
    Play,
    Role(Arc<Role>),
    Block,
    /// A static `import_tasks` or `import_role`: its keywords are inherited.
    Import {
        target: Target,
    },
    /// A dynamic include: its variables are inherited, its keywords are not. `bound` is what was
    /// bound when it ran (the loop variable, `ansible_loop` …).
    Include {
        target: Target,
        bound: Arc<Map>,
    },
    /// The `apply:` of a dynamic include.
    Apply,
    Task,
}

/// What an import or include brought, from which relative names of further ones are resolved.
#[derive(Clone, Debug)]
pub enum Target {
    /// A file of tasks, as it was written.
    File(Arc<str>),
    Role(Arc<Role>),
}

/// One level. The levels around it are reached through `parent`.
#[derive(Debug)]
pub struct Layer {
    pub kind: LayerKind,
    pub keywords: Vec<(Keyword, Node)>,
    /// The level's `vars:`.
    pub vars: Arc<Vars>,
    pub parent: Option<Arc<Layer>>,
}

impl Layer {
    /// Makes a level without keywords or variables.
    pub fn new(kind: LayerKind, parent: Option<&Arc<Self>>) -> Self {
        Self {
            kind,
            keywords: Vec::new(),
            vars: Arc::default(),
            parent: parent.cloned(),
        }
    }

    /// Walks from this level outwards.
    pub fn outwards(&self) -> impl Iterator<Item = &Self> {
        std::iter::successors(Some(self), |layer| layer.parent.as_deref())
    }

    /// Returns the level's own value of `keyword`.
    pub fn own(&self, keyword: Keyword) -> Option<&Node> {
        self.keywords
            .iter()
            .find(|(name, _)| *name == keyword)
            .map(|(_, value)| value)
    }

    /// Walks the values that reach this level, nearest first. For a keyword of which the nearest
    /// wins, the next one counts when the nearest renders to `omit`.
    pub fn values(&self, keyword: Keyword) -> impl Iterator<Item = &Node> {
        let depth = match keyword.inheritance() {
            Inheritance::None => 1,
            Inheritance::Nearest | Inheritance::Stacked => usize::MAX,
        };
        self.outwards()
            .take(depth)
            .filter_map(move |layer| layer.own(keyword))
    }

    /// Returns the nearest value of `keyword`.
    pub fn nearest(&self, keyword: Keyword) -> Option<&Node> {
        self.values(keyword).next()
    }

    /// Returns the values of a stacked keyword, outermost first, lists opened: the conditions
    /// of `when`, the dictionaries of `environment` …
    pub fn stacked(&self, keyword: Keyword) -> Vec<&Node> {
        let mut found: Vec<&Node> = Vec::new();
        for value in self.values(keyword) {
            match value.as_list() {
                Some(items) => found.extend(items.iter().rev()),
                None => found.push(value),
            }
        }
        found.reverse();
        found
    }

    /// Returns the role the level belongs to: the innermost one around it.
    pub fn role(&self) -> Option<&Arc<Role>> {
        self.roles().next()
    }

    /// Walks the roles around the level, innermost first: the role itself, then by which roles
    /// it was brought in (Ansible's dependency chain, reversed).
    pub fn roles(&self) -> impl Iterator<Item = &Arc<Role>> {
        self.outwards().filter_map(|layer| match &layer.kind {
            LayerKind::Role(role) => Some(role),
            _ => None,
        })
    }
}
