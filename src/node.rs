//! Source values: what a user wrote, as a tree in which every node keeps its mark.
//!
//! A `Node` is *source*: its strings may be compiled as templates. A [`Value`](crate::value::Value)
//! is *final*: data that is never compiled. That the two are different types keeps a target's data
//! from ever becoming code: a `Node` made of a `Value` is inert, but for a text that knows where a
//! user wrote it, which is that node again.

use std::sync::Arc;

use crate::source::Mark;
use crate::value::{Map, Text, Value};

/// One node of a source tree. Cloning is cheap: collections and texts are shared.
#[derive(Clone, Debug, PartialEq)]
pub struct Node {
    pub mark: Mark,
    pub kind: Kind,
}

/// What a node is.
#[derive(Clone, Debug, PartialEq)]
pub enum Kind {
    Null,
    Bool(bool),
    Int(i128),
    Float(f64),
    /// Text that is compiled as a template when it holds template syntax.
    Text(Arc<str>),
    /// Text marked `!unsafe`: never compiled.
    Unsafe(Arc<str>),
    /// `!vault` text: the ciphertext, decrypted when it is read; its plaintext is source text.
    Vault(Arc<str>),
    /// A date, a time of day or both, as it was written: a moment in templates, text elsewhere.
    Time(Arc<str>),
    List(Arc<Vec<Node>>),
    /// Pairs in the order written; a duplicate key has already been resolved (last wins).
    Map(Arc<Vec<(Node, Node)>>),
}

impl Node {
    /// Makes a node.
    pub fn new(mark: Mark, kind: Kind) -> Self {
        Self { mark, kind }
    }

    /// Makes a template-able text node.
    pub fn text(mark: Mark, text: impl Into<Arc<str>>) -> Self {
        Self::new(mark, Kind::Text(text.into()))
    }

    /// Makes a tree of data whose texts are never compiled, whatever braces they hold.
    pub fn inert(value: &Value, mark: &Mark) -> Self {
        let inert = |value| Self::inert(value, mark);
        let kind = match value {
            Value::Null => Kind::Null,
            Value::Bool(flag) => Kind::Bool(*flag),
            Value::Int(number) => Kind::Int(*number),
            Value::Float(number) => Kind::Float(*number),
            Value::String(text) => Kind::Unsafe(text.shared()),
            Value::List(items) => Kind::List(Arc::new(items.iter().map(inert).collect())),
            Value::Map(map) => {
                let pairs = map.iter().map(|(key, item)| (inert(key), inert(item)));
                Kind::Map(Arc::new(pairs.collect()))
            }
        };
        Self::new(mark.clone(), kind)
    }

    /// Returns what a value was: texts that a user wrote stand where they were written, as
    /// source, and the rest is as inert as [`Self::inert`] makes it.
    pub fn as_written(value: &Value, mark: &Mark) -> Self {
        let as_written = |value| Self::as_written(value, mark);
        let kind = match value {
            Value::String(text) => match text.written_at() {
                Some(place) => return Self::text(place.clone(), text.shared()),
                None => Kind::Unsafe(text.shared()),
            },
            Value::List(items) => Kind::List(Arc::new(items.iter().map(as_written).collect())),
            other => return Self::inert(other, mark),
        };
        Self::new(mark.clone(), kind)
    }

    /// Returns the text of a node that is text, or a time as it was written.
    pub fn as_str(&self) -> Option<&str> {
        match &self.kind {
            Kind::Text(text) | Kind::Unsafe(text) | Kind::Time(text) => Some(text),
            _ => None,
        }
    }

    /// Returns the items of a list node.
    pub fn as_list(&self) -> Option<&[Node]> {
        match &self.kind {
            Kind::List(items) => Some(items),
            _ => None,
        }
    }

    /// Returns the pairs of a map node.
    pub fn as_map(&self) -> Option<&[(Node, Node)]> {
        match &self.kind {
            Kind::Map(pairs) => Some(pairs),
            _ => None,
        }
    }

    /// Returns the value under the text key `key` of a map node.
    pub fn get(&self, key: &str) -> Option<&Node> {
        self.entry(key).map(|(_, value)| value)
    }

    /// Returns the key node (whose mark the caret points at) and value under `key`.
    pub fn entry(&self, key: &str) -> Option<&(Node, Node)> {
        self.as_map()?
            .iter()
            .find(|(name, _)| name.as_str() == Some(key))
    }

    /// Tells whether the node is null.
    pub fn is_null(&self) -> bool {
        matches!(self.kind, Kind::Null)
    }

    /// Names the kind in the words an error uses: `a list`, `a dictionary`, `text` …
    pub fn kind_name(&self) -> &'static str {
        match self.kind {
            Kind::Null => "nothing",
            Kind::Bool(_) => "a boolean",
            Kind::Int(_) => "an integer",
            Kind::Float(_) => "a number",
            Kind::Text(_) | Kind::Unsafe(_) => "text",
            Kind::Vault(_) => "vaulted text",
            Kind::Time(_) => "a time",
            Kind::List(_) => "a list",
            Kind::Map(_) => "a dictionary",
        }
    }

    /// Returns what the node is as the key of a dictionary.
    pub fn to_key(&self) -> Value {
        match &self.kind {
            Kind::Text(text) => Arc::clone(text).into(),
            _ => self.to_value(),
        }
    }

    /// Returns the tree as plain data, templates uncompiled and vault texts as their ciphertext.
    pub fn to_value(&self) -> Value {
        match &self.kind {
            Kind::Null => Value::Null,
            Kind::Bool(value) => Value::Bool(*value),
            Kind::Int(value) => Value::Int(*value),
            Kind::Float(value) => Value::Float(*value),
            Kind::Text(text) => Text::written(text, &self.mark).into(),
            Kind::Unsafe(text) | Kind::Vault(text) | Kind::Time(text) => Arc::clone(text).into(),
            Kind::List(items) => Value::list(items.iter().map(Node::to_value)),
            Kind::Map(pairs) => Value::from(
                pairs
                    .iter()
                    .map(|(key, value)| (key.to_key(), value.to_value()))
                    .collect::<Map>(),
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::SourceFile;

    #[test]
    fn an_entry_is_found_by_its_text_key_and_keeps_the_key_mark() {
        let file = SourceFile::new("a.yml", "name: x\n");
        let key = Node::text(Mark::new(&file, 1, 1), "name");
        let value = Node::text(Mark::new(&file, 1, 7), "x");
        let map = Node::new(
            Mark::new(&file, 1, 1),
            Kind::Map(Arc::new(vec![(key, value)])),
        );
        assert_eq!(
            map.entry("name").map(|(key, _)| key.mark.to_string()),
            Some("a.yml:1:1".into())
        );
        assert_eq!(map.get("name").and_then(Node::as_str), Some("x"));
        assert_eq!(map.get("nam"), None);
    }
}
