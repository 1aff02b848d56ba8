//! Templates at load time: checks for the playbook room, and names of static imports rendered
//! from the variables that need no host.

use std::sync::Arc;

use crate::error::Error;
use crate::node::Node;
use crate::playbook::{Templates, Vars};
use crate::template::{Binding, Engine, Rendered, Scope};

/// The template engine as the playbook room knows it.
pub struct StaticNames {
    engine: Engine,
    extra: Arc<Vars>,
}

impl StaticNames {
    /// Makes it with `--extra-vars`, which win over all others.
    pub fn new(engine: Engine, extra: Arc<Vars>) -> Self {
        Self { engine, extra }
    }
}

impl Templates for StaticNames {
    fn check(&self, node: &Node) -> Vec<Error> {
        self.engine.check(node)
    }

    fn check_condition(&self, node: &Node) -> Vec<Error> {
        self.engine.check_condition(node)
    }

    fn render_name(&self, node: &Node, layers: &[Arc<Vars>]) -> Result<String, Error> {
        let scope = Stacked {
            extra: &self.extra,
            layers,
        };
        match self.engine.render(node, &scope) {
            Ok(Rendered::Value(value)) => Ok(value.to_string()),
            Ok(Rendered::Omit) => Err(Error::content("the name is omitted").at(&node.mark)),
            Err(error) => Err(Error::from(error).at(&node.mark)),
        }
    }
}

struct Stacked<'a> {
    extra: &'a Arc<Vars>,
    layers: &'a [Arc<Vars>],
}

impl Stacked<'_> {
    fn layers(&self) -> impl Iterator<Item = &Arc<Vars>> {
        std::iter::once(self.extra).chain(self.layers)
    }
}

impl Scope for Stacked<'_> {
    fn get(&self, name: &str) -> Option<Binding> {
        self.layers()
            .find_map(|layer| layer.get(name).cloned().map(Binding::Source))
    }

    fn names(&self) -> Vec<Arc<str>> {
        let mut names: Vec<Arc<str>> = self
            .layers()
            .flat_map(|layer| layer.keys().cloned())
            .collect();
        names.sort();
        names.dedup();
        names
    }
}
