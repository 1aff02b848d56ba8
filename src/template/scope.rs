//! What a template can see: names bound to source, to data, or to mappings computed on demand.
//!
//! Knows nothing of where variables come from; the vars room builds scopes.

use std::fmt::Debug;
use std::sync::Arc;

use indexmap::IndexMap;

use crate::node::Node;
use crate::value::Value;

/// What a name is bound to.
#[derive(Clone, Debug)]
pub enum Binding {
    /// Source: rendered when it is read.
    Source(Node),
    /// Data: never compiled, whatever braces it holds.
    Final(Value),
    /// A mapping whose entries are computed when they are read, e.g. `hostvars`.
    Object(Arc<dyn Dynamic>),
}

impl<T: Into<Value>> From<T> for Binding {
    fn from(value: T) -> Self {
        Self::Final(value.into())
    }
}

/// A mapping whose entries are computed when they are read.
pub trait Dynamic: Debug + Send + Sync {
    /// Returns what `key` is bound to.
    fn get(&self, key: &str) -> Option<Binding>;

    /// Returns all keys, in the order they print.
    fn keys(&self) -> Vec<Arc<str>>;

    /// Returns the scope that source found in this mapping is rendered in; `None` means the
    /// scope of the template that reads it.
    fn scope(&self) -> Option<Arc<dyn Scope>> {
        None
    }

    /// Returns Python's class name of the mapping, for messages.
    fn type_name(&self) -> &'static str {
        "dict"
    }
}

/// The variables a render can read.
pub trait Scope: Send + Sync {
    /// Returns what `name` is bound to; called once per name and render.
    fn get(&self, name: &str) -> Option<Binding>;

    /// Returns all names, each once.
    fn names(&self) -> Vec<Arc<str>>;
}

impl Scope for IndexMap<Arc<str>, Binding> {
    fn get(&self, name: &str) -> Option<Binding> {
        IndexMap::get(self, name).cloned()
    }

    fn names(&self) -> Vec<Arc<str>> {
        self.keys().cloned().collect()
    }
}

/// Scopes stacked on one another: the first that knows a name wins.
pub struct Layers<'a> {
    layers: Vec<&'a dyn Scope>,
}

impl<'a> Layers<'a> {
    /// Stacks `layers`, strongest first.
    pub fn new(layers: impl IntoIterator<Item = &'a dyn Scope>) -> Self {
        Self {
            layers: layers.into_iter().collect(),
        }
    }
}

impl Scope for Layers<'_> {
    fn get(&self, name: &str) -> Option<Binding> {
        self.layers.iter().find_map(|layer| layer.get(name))
    }

    fn names(&self) -> Vec<Arc<str>> {
        let mut names: IndexMap<Arc<str>, ()> = IndexMap::new();
        for layer in &self.layers {
            names.extend(layer.names().into_iter().map(|name| (name, ())));
        }
        names.into_keys().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_strongest_layer_wins_and_every_name_is_listed_once() {
        let top: IndexMap<Arc<str>, Binding> = [("a".into(), 1.into())].into_iter().collect();
        let bottom: IndexMap<Arc<str>, Binding> = [("a".into(), 2.into()), ("b".into(), 3.into())]
            .into_iter()
            .collect();
        let layers = Layers::new([&top as &dyn Scope, &bottom]);
        assert!(matches!(
            layers.get("a"),
            Some(Binding::Final(Value::Int(1)))
        ));
        assert!(matches!(
            layers.get("b"),
            Some(Binding::Final(Value::Int(3)))
        ));
        assert_eq!(layers.names(), ["a".into(), Arc::<str>::from("b")]);
    }
}
