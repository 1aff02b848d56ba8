//! YAML files that configure an inventory plugin: which one they name, and their options.
//!
//! Knows no plugin; each declares its options itself.

use super::Variables;
use crate::error::Error;
use crate::node::{Kind, Node};
use crate::value::Value;

/// The options of a plugin, or of a part of them.
pub(super) struct Configuration<'a> {
    root: &'a Node,
}

impl<'a> Configuration<'a> {
    pub(super) fn new(root: &'a Node) -> Self {
        Self { root }
    }

    /// Checks that the node is a dictionary without other options than `known`.
    pub(super) fn check_names(&self, known: &[&str]) -> Result<(), Error> {
        let Some(pairs) = self.root.as_map() else {
            return Err(Error::content(format!(
                "options must be a dictionary, not {}",
                self.root.kind_name()
            ))
            .at(&self.root.mark));
        };
        for (key, _) in pairs {
            let name = key.to_value().to_string();
            if !known.contains(&name.as_str()) {
                return Err(Error::content(format!("there is no option `{name}`"))
                    .at(&key.mark)
                    .suggest(&name, known.iter().copied()));
            }
        }
        Ok(())
    }

    pub(super) fn required(&self, name: &str) -> Result<&'a Node, Error> {
        self.root.get(name).ok_or_else(|| {
            Error::content(format!("the option `{name}` is required")).at(&self.root.mark)
        })
    }

    pub(super) fn flag(&self, name: &str, default: bool) -> Result<bool, Error> {
        let Some(node) = self.given(name) else {
            return Ok(default);
        };
        node.to_value().to_soft_bool().ok_or_else(|| {
            Error::content(format!("the option `{name}` must be yes or no")).at(&node.mark)
        })
    }

    pub(super) fn table(&self, name: &str) -> Result<&'a [(Node, Node)], Error> {
        let Some(node) = self.given(name) else {
            return Ok(&[]);
        };
        node.as_map()
            .ok_or_else(|| wrong(name, "a dictionary", node))
    }

    pub(super) fn list(&self, name: &str) -> Result<&'a [Node], Error> {
        let Some(node) = self.given(name) else {
            return Ok(&[]);
        };
        node.as_list().ok_or_else(|| wrong(name, "a list", node))
    }

    fn given(&self, name: &str) -> Option<&'a Node> {
        self.root.get(name).filter(|node| !node.is_null())
    }
}

/// Returns the name of the plugin a file configures, and where it stands.
pub(super) fn named(root: &Node) -> Option<(&Node, String)> {
    let node = root.get("plugin")?;
    let is_text = matches!(node.kind, Kind::Text(_) | Kind::Unsafe(_));
    let value: Value = node.to_value();
    (is_text && value.is_truthy()).then(|| (node, value.to_string()))
}

/// Returns the text that a lone variable's name stands for: it stays source, as it was written,
/// while what is computed is data.
pub(super) fn passed_on<'a>(expression: &str, variables: &'a Variables) -> Option<&'a Node> {
    let found = variables.get(expression.trim())?;
    match &found.kind {
        Kind::Text(text) if !text.contains('{') => Some(found),
        _ => None,
    }
}

fn wrong(name: &str, wanted: &str, found: &Node) -> Error {
    Error::content(format!(
        "the option `{name}` must be {wanted}, not {}",
        found.kind_name()
    ))
    .at(&found.mark)
}
