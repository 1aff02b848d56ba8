//! What PyYAML's representer makes of a value before the emitter writes it: texts decided, keys
//! sorted, flow or block chosen, anchors named. Knows nothing of columns and indents.

use std::cmp::Ordering;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use super::analysis::is_break;
use super::emitter::{MultiLine, YamlStyle};
use super::scalar;
use crate::node::{Kind, Node};
use crate::value::{Map, Value, float_repr};

/// A node as PyYAML's representer makes it: texts decided, keys sorted, flow or block chosen.
pub(super) enum Item {
    Scalar {
        text: String,
        is_plain: bool,
        is_block: bool,
        /// It is text, so that quotes alone say its type.
        is_text: bool,
    },
    List {
        items: Vec<Item>,
        is_flow: bool,
    },
    Map {
        pairs: Vec<(Item, Item)>,
        is_flow: bool,
    },
    Vault(String),
    Anchored(String, Box<Item>),
    Alias(String),
}

impl Item {
    pub(super) fn new(value: &Value, style: &YamlStyle) -> Self {
        match value {
            Value::Null => Self::plain("null"),
            Value::Bool(value) => Self::plain(if *value { "true" } else { "false" }),
            Value::Int(value) => Self::plain(&value.to_string()),
            Value::Float(value) => Self::plain(&float_text(*value)),
            Value::String(text) => match text.ciphertext() {
                Some(vaulted) if style.vault_tags => Self::Vault(vaulted.to_string()),
                _ => Self::text(text, style),
            },
            Value::List(items) => {
                let items: Vec<_> = items.iter().map(|item| Self::new(item, style)).collect();
                let is_flow = flow(style, items.iter());
                Self::List { items, is_flow }
            }
            Value::Map(map) => {
                let pairs: Vec<_> = sorted(map, style.sort_keys)
                    .into_iter()
                    .map(|(key, value)| (Self::new(key, style), Self::new(value, style)))
                    .collect();
                let is_flow = flow(style, pairs.iter().flat_map(|(key, value)| [key, value]));
                Self::Map { pairs, is_flow }
            }
        }
    }

    pub(super) fn from_node(node: &Node, style: &YamlStyle, anchors: &mut Anchors) -> Self {
        let place = place(node);
        let name = place.and_then(|place| anchors.names.get(&place)).cloned();
        if let Some(name) = &name
            && place.is_some_and(|place| !anchors.written.insert(place))
        {
            return Self::Alias(name.clone());
        }
        let item = match &node.kind {
            Kind::Vault(text) => Self::Vault(text.to_string()),
            Kind::List(items) => {
                let items: Vec<_> = items
                    .iter()
                    .map(|item| Self::from_node(item, style, anchors))
                    .collect();
                let is_flow = flow(style, items.iter());
                Self::List { items, is_flow }
            }
            Kind::Map(pairs) => {
                let mut made = Vec::with_capacity(pairs.len());
                for (key, value) in sorted_nodes(pairs, style.sort_keys) {
                    let key = Self::from_node(key, style, anchors);
                    made.push((key, Self::from_node(value, style, anchors)));
                }
                let is_flow = flow(style, made.iter().flat_map(|(key, value)| [key, value]));
                Self::Map {
                    pairs: made,
                    is_flow,
                }
            }
            _ => Self::new(&node.to_value(), style),
        };
        match name {
            Some(name) => Self::Anchored(name, Box::new(item)),
            None => item,
        }
    }

    fn plain(text: &str) -> Self {
        Self::Scalar {
            text: text.to_string(),
            is_plain: true,
            is_block: false,
            is_text: false,
        }
    }

    fn text(text: &str, style: &YamlStyle) -> Self {
        // Ansible's dumper asks for `\n` and the Unicode breaks, but not for `\r`.
        let has_break = text.contains(['\n', '\u{85}', '\u{2028}', '\u{2029}']);
        let is_block = has_break && style.multi_line != MultiLine::Quoted;
        let text = if is_block && style.multi_line == MultiLine::LossyBlock {
            block_text(text)
        } else {
            text.to_string()
        };
        let is_plain = !scalar::is_ambiguous(&text);
        Self::Scalar {
            text,
            is_plain,
            is_block,
            is_text: true,
        }
    }

    fn is_unstyled_scalar(&self) -> bool {
        matches!(
            self,
            Self::Scalar {
                is_block: false,
                ..
            }
        )
    }

    /// Tells whether libyaml writes it as a key on one line.
    pub(super) fn is_simple_key(&self) -> bool {
        match self {
            Self::Scalar { text, .. } => text.len() <= 128 && !text.contains(is_break),
            Self::List { items, .. } => items.is_empty(),
            Self::Map { pairs, .. } => pairs.is_empty(),
            Self::Vault(_) | Self::Anchored(..) => false,
            Self::Alias(_) => true,
        }
    }
}

/// Which collections of a tree are met more than once, by where they are in memory.
#[derive(Default)]
pub(super) struct Anchors {
    met: HashSet<usize>,
    names: HashMap<usize, String>,
    written: HashSet<usize>,
}

impl Anchors {
    /// Names the collections that are met again, in the order they are.
    pub(super) fn count(&mut self, node: &Node, style: &YamlStyle) {
        let Some(place) = place(node) else { return };
        if !self.met.insert(place) {
            let next = format!("id{:03}", self.names.len() + 1);
            self.names.entry(place).or_insert(next);
            return;
        }
        match &node.kind {
            Kind::List(items) => items.iter().for_each(|item| self.count(item, style)),
            Kind::Map(pairs) => {
                for (key, value) in sorted_nodes(pairs, style.sort_keys) {
                    self.count(key, style);
                    self.count(value, style);
                }
            }
            _ => {}
        }
    }
}

/// Returns the pairs in Python's order, or in their own when the keys cannot be compared.
pub(super) fn sorted(map: &Map, sort: bool) -> Vec<(&Value, &Value)> {
    let mut pairs: Vec<_> = map.iter().collect();
    let comparable = pairs
        .windows(2)
        .all(|pair| compare(pair[0].0, pair[1].0).is_some());
    if sort && comparable {
        pairs.sort_by(|a, b| compare(a.0, b.0).unwrap_or(Ordering::Equal));
    }
    pairs
}

pub(super) fn float_text(value: f64) -> String {
    if value.is_nan() {
        return ".nan".into();
    }
    if value.is_infinite() {
        return if value > 0.0 {
            ".inf".into()
        } else {
            "-.inf".into()
        };
    }
    let text = float_repr(value);
    // YAML 1.1 wants a dot in front of an exponent.
    if text.contains('.') {
        text
    } else {
        text.replacen('e', ".0e", 1)
    }
}

fn place(node: &Node) -> Option<usize> {
    match &node.kind {
        Kind::List(items) => Some(Arc::as_ptr(items).cast::<()>() as usize),
        Kind::Map(pairs) => Some(Arc::as_ptr(pairs).cast::<()>() as usize),
        _ => None,
    }
}

fn sorted_nodes(pairs: &[(Node, Node)], sort: bool) -> Vec<(&Node, &Node)> {
    let keys: Vec<Value> = pairs.iter().map(|(key, _)| key.to_value()).collect();
    let mut order: Vec<usize> = (0..pairs.len()).collect();
    if sort
        && keys
            .windows(2)
            .all(|pair| compare(&pair[0], &pair[1]).is_some())
    {
        order.sort_by(|a, b| compare(&keys[*a], &keys[*b]).unwrap_or(Ordering::Equal));
    }
    order
        .into_iter()
        .map(|at| (&pairs[at].0, &pairs[at].1))
        .collect()
}

fn flow<'a>(style: &YamlStyle, mut children: impl Iterator<Item = &'a Item>) -> bool {
    style.default_flow_style.unwrap_or_else(|| {
        children.all(|child| style.scalars.is_none() && child.is_unstyled_scalar())
    })
}

fn compare(a: &Value, b: &Value) -> Option<Ordering> {
    match (a, b) {
        (Value::String(a), Value::String(b)) => Some(a.cmp(b)),
        _ => number(a)?.partial_cmp(&number(b)?),
    }
}

#[expect(
    clippy::cast_precision_loss,
    reason = "only the order of keys is decided by it"
)]
fn number(value: &Value) -> Option<f64> {
    match value {
        Value::Bool(value) => Some(f64::from(u8::from(*value))),
        Value::Int(value) => Some(*value as f64),
        Value::Float(value) => Some(*value),
        _ => None,
    }
}

/// Drops from a text what a block scalar cannot hold.
fn block_text(text: &str) -> String {
    let kept = expand_tabs(text.trim_end());
    let mut out = String::with_capacity(kept.len());
    for character in kept
        .chars()
        .filter(|character| is_block_character(*character))
    {
        if is_break(character) {
            out.truncate(out.trim_end_matches(' ').len());
        }
        out.push(character);
    }
    out
}

fn is_block_character(character: char) -> bool {
    matches!(character, '\n' | ' '..='~' | '\u{85}' | '\u{a0}'..='\u{d7ff}'
        | '\u{e000}'..='\u{fffd}' | '\u{10000}'..='\u{10fffe}')
        && character != '\u{feff}'
}

fn expand_tabs(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut column = 0;
    for character in text.chars() {
        match character {
            '\t' => {
                let spaces = 8 - column % 8;
                out.extend(std::iter::repeat_n(' ', spaces));
                column += spaces;
            }
            '\n' | '\r' => {
                out.push(character);
                column = 0;
            }
            _ => {
                out.push(character);
                column += 1;
            }
        }
    }
    out
}
