//! What tags, scalars and mappings mean: the constructor of PyYAML's safe loader and Ansible's.
//!
//! Works on finished parts; nesting, anchors and positions in the stream are the reader's.

use std::collections::HashMap;
use std::sync::Arc;

use super::hint;
use super::reader::{Dialect, Part};
use super::scalar::{self, Scalar};
use crate::error::Error;
use crate::node::{Kind, Node};
use crate::source::Mark;
use crate::value::Value;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;

const CORE: &str = "tag:yaml.org,2002:";

/// The tags that a scalar or a collection may have.
const KNOWN_TAGS: [&str; 16] = [
    "!vault",
    "!unsafe",
    "!!str",
    "!!int",
    "!!float",
    "!!bool",
    "!!null",
    "!!binary",
    "!!timestamp",
    "!!seq",
    "!!map",
    "!!set",
    "!!omap",
    "!!pairs",
    "!!python/dict",
    "!!python/unicode",
];

/// What a scalar is besides its kind; the special two have a meaning as keys only.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Constructed {
    Plain,
    /// `<<`
    Merge,
    /// `=`
    Value,
}

impl Constructed {
    /// Fails for what is only allowed as a key.
    pub(super) fn reject(self, mark: &Mark) -> Result<(), Error> {
        let text = match self {
            Self::Plain => return Ok(()),
            Self::Merge => "<<",
            Self::Value => "=",
        };
        Err(
            Error::content(format!("a plain `{text}` has no meaning as a value"))
                .at(mark)
                .help(format!("quote it: `\"{text}\"`")),
        )
    }
}

/// A mapping that was built.
pub(super) struct BuiltMap {
    pub(super) kind: Kind,
    /// Each key that stood before already.
    pub(super) duplicates: Vec<Node>,
}

/// Returns what a scalar is under its tag and text; untagged, it is resolved when it is plain.
pub(super) fn scalar(
    text: &str,
    is_plain: bool,
    tag: Option<&str>,
    dialect: Dialect,
    mark: &Mark,
) -> Result<(Kind, Constructed), Error> {
    let Some(tag) = tag else {
        return Ok(if is_plain {
            resolved(text)
        } else {
            (Kind::Text(text.into()), Constructed::Plain)
        });
    };
    if dialect.ansible_tags {
        match tag {
            "!unsafe" => {
                return Ok(match resolved(text) {
                    (Kind::Text(text), _) => (Kind::Unsafe(text), Constructed::Plain),
                    other => other,
                });
            }
            "!vault" | "!vault-encrypted" => return vault(text, tag, mark),
            _ => {}
        }
    }
    let kind = match tag.strip_prefix(CORE) {
        Some("str" | "python/unicode" | "timestamp") => Some(Kind::Text(text.into())),
        Some("null") => Some(Kind::Null),
        Some("bool") => soft_bool(text),
        Some("int") => scalar::integer_value(text.trim()).map(Kind::Int),
        Some("float") => scalar::float_value(text.trim()).map(Kind::Float),
        Some("binary") => binary(text),
        Some("merge") => return Ok((Kind::Text(text.into()), Constructed::Merge)),
        Some("seq" | "map" | "set" | "omap" | "pairs" | "python/dict") => {
            return Err(wrong_kind(tag, "a scalar", mark));
        }
        _ => return Err(unknown_tag(tag, mark)),
    };
    let kind =
        kind.ok_or_else(|| Error::content(format!("`{text}` is no `{}`", short(tag))).at(mark))?;
    Ok((kind, Constructed::Plain))
}

/// Returns what a sequence is under its tag.
pub(super) fn list(items: Vec<Part>, tag: Option<&str>, mark: &Mark) -> Result<Kind, Error> {
    match tag.map(|tag| (tag, tag.strip_prefix(CORE))) {
        None | Some((_, Some("seq"))) => {}
        Some((tag, Some("omap" | "pairs"))) => return pairs(items, tag),
        Some((tag, Some(_))) if is_known(tag) => return Err(wrong_kind(tag, "a list", mark)),
        Some((tag @ ("!vault" | "!vault-encrypted"), _)) => return Err(vault_text(tag, mark)),
        Some((tag, _)) => return Err(unknown_tag(tag, mark)),
    }
    let nodes = items
        .into_iter()
        .map(into_value)
        .collect::<Result<Vec<_>, _>>()?;
    Ok(Kind::List(Arc::new(nodes)))
}

/// Returns what a mapping is under its tag: merge keys resolved, the last of equal keys kept.
pub(super) fn map(
    pairs: Vec<(Part, Part)>,
    tag: Option<&str>,
    mark: &Mark,
) -> Result<BuiltMap, Error> {
    let is_set = match tag.map(|tag| (tag, tag.strip_prefix(CORE))) {
        None | Some((_, Some("map" | "python/dict"))) => false,
        Some((_, Some("set"))) => true,
        Some((tag, Some(_))) if is_known(tag) => {
            return Err(wrong_kind(tag, "a dictionary", mark));
        }
        Some((tag @ ("!vault" | "!vault-encrypted"), _)) => return Err(vault_text(tag, mark)),
        Some((tag, _)) => return Err(unknown_tag(tag, mark)),
    };
    let (pairs, duplicates) = unique(flatten(pairs)?)?;
    let kind = if is_set {
        Kind::List(Arc::new(pairs.into_iter().map(|(key, _)| key).collect()))
    } else {
        Kind::Map(Arc::new(pairs))
    };
    Ok(BuiltMap { kind, duplicates })
}

/// Puts the pairs of merge keys in front of the mapping's own, as PyYAML does.
fn flatten(pairs: Vec<(Part, Part)>) -> Result<Vec<(Node, Node)>, Error> {
    let mut merged = Vec::new();
    let mut own = Vec::with_capacity(pairs.len());
    for (key, value) in pairs {
        if key.constructed == Constructed::Merge {
            merge(&value.node, &mut merged)?;
        } else {
            own.push((key.node, into_value(value)?));
        }
    }
    if merged.is_empty() {
        return Ok(own);
    }
    merged.append(&mut own);
    Ok(merged)
}

fn merge(value: &Node, merged: &mut Vec<(Node, Node)>) -> Result<(), Error> {
    match &value.kind {
        Kind::Map(pairs) => merged.extend(pairs.iter().cloned()),
        Kind::List(items) => {
            for item in items.iter().rev() {
                let pairs = item.as_map().ok_or_else(|| unmergeable(item))?;
                merged.extend(pairs.iter().cloned());
            }
        }
        _ => return Err(unmergeable(value)),
    }
    Ok(())
}

fn unmergeable(node: &Node) -> Error {
    Error::content(format!(
        "expected a dictionary to merge, but found {}",
        node.kind_name()
    ))
    .at(&node.mark)
    .help("`<<` takes a dictionary or a list of dictionaries")
}

type Pairs = Vec<(Node, Node)>;

/// Keeps the place of the first and the value of the last of equal keys; returns the later keys.
fn unique(pairs: Pairs) -> Result<(Pairs, Vec<Node>), Error> {
    let mut kept: Pairs = Vec::with_capacity(pairs.len());
    let mut duplicates = Vec::new();
    let mut places = HashMap::with_capacity(pairs.len());
    for (key, value) in pairs {
        let Some(name) = key_value(&key) else {
            return Err(hint::unhashable(&key));
        };
        match places.get(&name) {
            None => {
                places.insert(name, kept.len());
                kept.push((key, value));
            }
            Some(&place) => {
                // Python keeps the first of two equal keys; its mark would point at a lost value.
                kept[place].0.mark = key.mark.clone();
                kept[place].1 = value;
                duplicates.push(key);
            }
        }
    }
    Ok((kept, duplicates))
}

/// Returns what a key equals in Python, where `1`, `1.0` and `true` are one key.
fn key_value(key: &Node) -> Option<Value> {
    match &key.kind {
        Kind::List(_) | Kind::Map(_) => None,
        Kind::Bool(value) => Some(Value::from(i32::from(*value))),
        Kind::Float(value) if value.fract() == 0.0 && value.abs() < 1e15 => {
            format!("{value:.0}").parse().ok().map(Value::Int)
        }
        _ => Some(key.to_value()),
    }
}

/// Returns an `!!omap` or `!!pairs`: a list of two-item lists.
fn pairs(items: Vec<Part>, tag: &str) -> Result<Kind, Error> {
    let nodes = items.into_iter().map(|item| match item.node.as_map() {
        Some([(key, value)]) => {
            let pair = vec![key.clone(), value.clone()];
            Ok(Node::new(
                item.node.mark.clone(),
                Kind::List(Arc::new(pair)),
            ))
        }
        _ => Err(Error::content(format!(
            "each item of `{}` must be a dictionary with one key",
            short(tag)
        ))
        .at(&item.node.mark)),
    });
    Ok(Kind::List(Arc::new(nodes.collect::<Result<_, _>>()?)))
}

fn into_value(part: Part) -> Result<Node, Error> {
    part.constructed.reject(&part.node.mark)?;
    Ok(part.node)
}

fn resolved(text: &str) -> (Kind, Constructed) {
    let kind = match scalar::resolve(text) {
        Scalar::Null => Kind::Null,
        Scalar::Bool(value) => Kind::Bool(value),
        Scalar::Int(value) => Kind::Int(value),
        Scalar::Float(value) => Kind::Float(value),
        Scalar::Text if scalar::is_timestamp(text) => Kind::Time(text.into()),
        Scalar::Text => Kind::Text(text.into()),
        Scalar::Merge => return (Kind::Text(text.into()), Constructed::Merge),
        Scalar::Value => return (Kind::Text(text.into()), Constructed::Value),
    };
    (kind, Constructed::Plain)
}

fn vault(text: &str, tag: &str, mark: &Mark) -> Result<(Kind, Constructed), Error> {
    match resolved(text) {
        (Kind::Text(text), Constructed::Plain) => Ok((Kind::Vault(text), Constructed::Plain)),
        _ => Err(vault_text(tag, mark)),
    }
}

fn vault_text(tag: &str, mark: &Mark) -> Error {
    Error::content(format!("the `{tag}` tag requires text"))
        .at(mark)
        .help("write `!vault |` and the encrypted lines, indented, below")
}

fn soft_bool(text: &str) -> Option<Kind> {
    match text.to_lowercase().as_str() {
        "yes" | "true" | "on" => Some(Kind::Bool(true)),
        "no" | "false" | "off" => Some(Kind::Bool(false)),
        _ => None,
    }
}

/// Returns the text that base64 encodes; values hold text, so it must be UTF-8.
fn binary(text: &str) -> Option<Kind> {
    let compact: String = text.split_ascii_whitespace().collect();
    let bytes = STANDARD.decode(compact).ok()?;
    String::from_utf8(bytes)
        .ok()
        .map(|text| Kind::Text(text.into()))
}

fn is_known(tag: &str) -> bool {
    KNOWN_TAGS.contains(&short(tag).as_str())
}

fn wrong_kind(tag: &str, found: &str, mark: &Mark) -> Error {
    Error::content(format!("`{}` cannot be the tag of {found}", short(tag))).at(mark)
}

fn unknown_tag(tag: &str, mark: &Mark) -> Error {
    let shown = short(tag);
    Error::content(format!("unknown tag `{shown}`"))
        .at(mark)
        .suggest(&shown, KNOWN_TAGS)
        .help("quote the value when the `!` belongs to it")
}

/// Returns a tag as it is usually written.
fn short(tag: &str) -> String {
    tag.strip_prefix(CORE)
        .map_or_else(|| tag.to_string(), |name| format!("!!{name}"))
}
