//! What inventory plugins compute, by the template engine: expressions over the variables of a
//! host, before there is a play.

use std::sync::Arc;

use crate::error::{Error, Result};
use crate::inventory::{Expressions, Variables};
use crate::node::Node;
use crate::template::{Binding, Engine, Scope, TemplateError};
use crate::value::{Map, Value};
use crate::vars::FactCache;

/// Evaluates for inventory plugins.
pub struct PluginExpressions {
    engine: Engine,
    extra: Arc<Variables>,
    facts: Option<Arc<dyn FactCache>>,
}

impl PluginExpressions {
    /// Makes it with `--extra-vars`, which a plugin may ask for.
    pub fn new(engine: Engine, extra: Arc<Variables>) -> Self {
        Self {
            engine,
            extra,
            facts: None,
        }
    }

    /// Adds what earlier runs found out about hosts.
    #[must_use]
    pub fn with_facts(mut self, facts: Option<Arc<dyn FactCache>>) -> Self {
        self.facts = facts;
        self
    }
}

impl Expressions for PluginExpressions {
    fn evaluate(&self, expression: &Node, variables: &Arc<Variables>) -> Result<Value> {
        let text = expression.as_str().unwrap_or_default();
        let value = self.engine.expression(text, &Known(variables));
        value.map_err(|error| located(error, expression))
    }

    fn holds(&self, condition: &Node, variables: &Arc<Variables>) -> Result<bool> {
        let holds = self.engine.condition(condition, &Known(variables));
        holds.map_err(|error| located(error, condition))
    }

    fn render(&self, template: &Node, variables: &Arc<Variables>) -> Result<Value> {
        let rendered = self.engine.render(template, &Known(variables));
        rendered
            .map(|rendered| rendered.into_value().unwrap_or_default())
            .map_err(|error| located(error, template))
    }

    fn extra(&self) -> Arc<Variables> {
        Arc::clone(&self.extra)
    }

    fn facts(&self, host: &str) -> Map {
        let cache = self.facts.as_ref();
        cache.and_then(|cache| cache.load(host)).unwrap_or_default()
    }
}

fn located(error: TemplateError, node: &Node) -> Error {
    Error::from(error).at(&node.mark)
}

struct Known<'a>(&'a Variables);

impl Scope for Known<'_> {
    fn get(&self, name: &str) -> Option<Binding> {
        self.0.get(name).cloned().map(Binding::Source)
    }

    fn names(&self) -> Vec<Arc<str>> {
        self.0.keys().cloned().collect()
    }
}
