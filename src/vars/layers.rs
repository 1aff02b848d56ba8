//! One layer of variables: source as a file holds it, data, or names bound one by one.

use std::sync::Arc;

use indexmap::IndexMap;

use crate::playbook::Vars;
use crate::template::Binding;
use crate::value::{Map, Value};

/// A shared layer. Cloning is cheap.
#[derive(Clone, Debug)]
pub enum Layer {
    /// Source: compiled when it is read.
    Source(Arc<Vars>),
    /// Data: never compiled.
    Data(Arc<Map>),
    /// Both, or mappings that are computed.
    Bound(Arc<IndexMap<Arc<str>, Binding>>),
}

impl Layer {
    /// Returns what the layer binds a name to.
    pub fn get(&self, name: &str) -> Option<Binding> {
        match self {
            Self::Source(vars) => vars.get(name).cloned().map(Binding::Source),
            Self::Data(map) => map.get(name).cloned().map(Binding::Final),
            Self::Bound(bindings) => bindings.get(name).cloned(),
        }
    }

    /// Lists the names in the layer.
    pub fn names(&self) -> Vec<Arc<str>> {
        match self {
            Self::Source(vars) => vars.keys().cloned().collect(),
            Self::Data(map) => map.keys().filter_map(text_key).collect(),
            Self::Bound(bindings) => bindings.keys().cloned().collect(),
        }
    }

    /// Tells whether the layer holds nothing.
    pub fn is_empty(&self) -> bool {
        match self {
            Self::Source(vars) => vars.is_empty(),
            Self::Data(map) => map.is_empty(),
            Self::Bound(bindings) => bindings.is_empty(),
        }
    }
}

fn text_key(key: &Value) -> Option<Arc<str>> {
    match key {
        Value::String(text) => Some(text.shared()),
        _ => None,
    }
}

impl From<&Arc<Vars>> for Layer {
    fn from(vars: &Arc<Vars>) -> Self {
        Self::Source(Arc::clone(vars))
    }
}

impl From<&Arc<Map>> for Layer {
    fn from(map: &Arc<Map>) -> Self {
        Self::Data(Arc::clone(map))
    }
}
