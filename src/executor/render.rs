//! Rendering what a task says, with the variables of one host: values, conditions, keywords.
//!
//! The only place of the room that calls the template engine, so that every error is worded and
//! placed the same way.

use std::sync::Arc;

use super::failure::Failure;
use crate::node::{Kind, Node};
use crate::playbook::{Keyword, Layer, to_integer, to_number};
use crate::source::Mark;
use crate::template::{Binding, Engine, Rendered, Scope};
use crate::value::Value;

/// The engine and the variables to render with.
#[derive(Clone, Copy)]
pub(super) struct Renderer<'a> {
    pub(super) engine: &'a Engine,
    pub(super) scope: &'a dyn Scope,
}

impl Renderer<'_> {
    /// Renders a value; `None` when it is `omit`.
    pub(super) fn value(&self, node: &Node) -> Result<Option<Value>, Failure> {
        match self.engine.render(node, self.scope) {
            Ok(rendered) => Ok(rendered.into_value()),
            Err(mut error) => {
                if error.trail.is_empty()
                    && let Some(mark) = &error.mark
                    && let Some(start) = text_around(node, mark)
                {
                    error.mark = Some(start.clone());
                }
                Err(error.into())
            }
        }
    }

    /// Renders an optional text; null and `omit` are none.
    pub(super) fn text(&self, node: Option<&Node>) -> Result<Option<String>, Failure> {
        let value = node.map(|node| self.value(node)).transpose()?.flatten();
        Ok(value
            .filter(|value| !matches!(value, Value::Null))
            .map(|value| value.to_string()))
    }

    /// Reads a variable; `None` when there is none of that name, or it is null.
    pub(super) fn variable(&self, name: &str) -> Result<Option<Value>, Failure> {
        let value = match self.scope.get(name) {
            None => None,
            Some(Binding::Final(value)) => Some(value),
            Some(Binding::Source(node)) => self
                .engine
                .render(&node, self.scope)
                .map(Rendered::into_value)?,
            Some(Binding::Object(_)) => Some(self.engine.expression(name, self.scope)?),
        };
        Ok(value.filter(|value| !matches!(value, Value::Null)))
    }

    /// Reads the first of `names` that is a variable.
    pub(super) fn first_variable(&self, names: &[&str]) -> Result<Option<Value>, Failure> {
        for name in names {
            if let Some(value) = self.variable(name)? {
                return Ok(Some(value));
            }
        }
        Ok(None)
    }

    /// Evaluates a condition.
    pub(super) fn condition(&self, node: &Node) -> Result<bool, Failure> {
        Ok(self.engine.condition(node, self.scope)?)
    }

    /// Evaluates conditions in order and returns the first that is false.
    pub(super) fn first_false<'n>(
        &self,
        conditions: impl IntoIterator<Item = &'n Node>,
    ) -> Result<Option<&'n Node>, Failure> {
        for condition in conditions {
            if !self.condition(condition)? {
                return Ok(Some(condition));
            }
        }
        Ok(None)
    }

    /// Renders the value of a keyword that reaches `layer`: the nearest that is not `omit`.
    pub(super) fn keyword<'n>(
        &self,
        layer: &'n Layer,
        keyword: Keyword,
    ) -> Result<Option<(Value, &'n Node)>, Failure> {
        for node in layer.values(keyword) {
            if matches!(node.kind, Kind::Null) {
                continue;
            }
            let rendered = self.value(node).map_err(|failure| {
                failure
                    .within_same_place(processing(keyword.name()))
                    .at(&node.mark)
            })?;
            if let Some(value) = rendered {
                return Ok(Some((value, node)));
            }
        }
        Ok(None)
    }

    /// Renders the host that a task is delegated to; `None` when it is not.
    pub(super) fn delegate(&self, layer: &Layer) -> Result<Option<String>, Failure> {
        for node in layer.values(Keyword::DelegateTo) {
            if let Some(value) = self.value(node)? {
                let named = !matches!(value, Value::Null);
                return Ok(named.then(|| value.to_string()));
            }
        }
        Ok(None)
    }

    /// Renders a boolean keyword.
    pub(super) fn flag(&self, layer: &Layer, keyword: Keyword) -> Result<Option<bool>, Failure> {
        let Some((value, node)) = self.keyword(layer, keyword)? else {
            return Ok(None);
        };
        let flag = value
            .to_soft_bool()
            .ok_or_else(|| wrong_type(keyword.name(), &value, "bool", node))?;
        Ok(Some(flag))
    }

    /// Renders a text keyword.
    pub(super) fn word(&self, layer: &Layer, keyword: Keyword) -> Result<Option<String>, Failure> {
        let value = self.keyword(layer, keyword)?;
        Ok(value
            .filter(|(value, _)| !matches!(value, Value::Null))
            .map(|(value, _)| value.to_string()))
    }

    /// Renders a whole number keyword.
    pub(super) fn number(&self, layer: &Layer, keyword: Keyword) -> Result<Option<i128>, Failure> {
        let Some((value, node)) = self.keyword(layer, keyword)? else {
            return Ok(None);
        };
        let number =
            to_integer(&value).ok_or_else(|| wrong_type(keyword.name(), &value, "int", node))?;
        Ok(Some(number))
    }

    /// Renders a whole number a task says of itself.
    pub(super) fn own_number(
        &self,
        name: &str,
        node: Option<&Node>,
    ) -> Result<Option<i128>, Failure> {
        let Some((value, node)) = self.own(name, node)? else {
            return Ok(None);
        };
        let number = to_integer(&value).ok_or_else(|| wrong_type(name, &value, "int", node))?;
        Ok(Some(number))
    }

    /// Renders a number a task says of itself.
    pub(super) fn own_float(
        &self,
        name: &str,
        node: Option<&Node>,
    ) -> Result<Option<f64>, Failure> {
        let Some((value, node)) = self.own(name, node)? else {
            return Ok(None);
        };
        let number = to_number(&value).ok_or_else(|| wrong_type(name, &value, "float", node))?;
        Ok(Some(number))
    }

    /// Renders a boolean a task says of itself.
    pub(super) fn own_flag(
        &self,
        name: &str,
        node: Option<&Node>,
    ) -> Result<Option<bool>, Failure> {
        let Some((value, node)) = self.own(name, node)? else {
            return Ok(None);
        };
        let flag = value
            .to_soft_bool()
            .ok_or_else(|| wrong_type(name, &value, "bool", node))?;
        Ok(Some(flag))
    }

    fn own<'n>(
        &self,
        name: &str,
        node: Option<&'n Node>,
    ) -> Result<Option<(Value, &'n Node)>, Failure> {
        let Some(node) = node.filter(|node| !node.is_null()) else {
            return Ok(None);
        };
        let rendered = self
            .value(node)
            .map_err(|failure| failure.within_same_place(processing(name)).at(&node.mark))?;
        Ok(rendered.map(|value| (value, node)))
    }

    /// Renders names: a list, or one of them; lists inside are opened.
    pub(super) fn names<'n>(
        &self,
        nodes: impl IntoIterator<Item = &'n Node>,
    ) -> Result<Vec<Arc<str>>, Failure> {
        let mut names = Vec::new();
        for node in nodes {
            match self.value(node)? {
                Some(Value::List(items)) => {
                    names.extend(items.iter().map(|item| Arc::from(item.to_string())));
                }
                Some(Value::Null) | None => {}
                Some(name) => names.push(Arc::from(name.to_string())),
            }
        }
        Ok(names)
    }
}

/// Returns where the text that holds `mark` starts: Ansible points at texts, not into them.
fn text_around<'n>(node: &'n Node, mark: &Mark) -> Option<&'n Mark> {
    let before = |start: &Mark| {
        start.file == mark.file && (start.line, start.column) <= (mark.line, mark.column)
    };
    match &node.kind {
        Kind::List(items) => items.iter().rev().find_map(|item| text_around(item, mark)),
        Kind::Map(pairs) => pairs
            .iter()
            .rev()
            .find_map(|(key, value)| text_around(value, mark).or_else(|| text_around(key, mark))),
        _ => before(&node.mark).then_some(&node.mark),
    }
}

fn processing(keyword: &str) -> String {
    format!("Error processing keyword '{keyword}'")
}

fn wrong_type(name: &str, value: &Value, wanted: &str, node: &Node) -> Failure {
    let value = crate::value::repr(value);
    Failure::new(format!(
        "The value {value} could not be converted to '{wanted}'."
    ))
    .at(&node.mark)
    .within(processing(name))
    .at(&node.mark)
}
