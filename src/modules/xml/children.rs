//! New elements, made of what a task says: names, dictionaries, or XML.

use super::reading::{is_name, read};
use super::tree::{Id, Tree, parts};
use crate::modules::Failure;
use crate::value::{Map, Value};

/// How new elements are told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Input {
    Xml,
    Yaml,
}

/// Makes an element of each child.
pub(super) fn nodes(tree: &mut Tree, children: &[Value], input: Input) -> Result<Vec<Id>, Failure> {
    children
        .iter()
        .map(|child| match input {
            Input::Xml => {
                let other = read(text(child)?.as_bytes()).map_err(|why| {
                    Failure::new(format!("Error while parsing child element: {why}"))
                })?;
                Ok(tree.adopt(&other))
            }
            Input::Yaml => node(tree, child),
        })
        .collect()
}

fn node(tree: &mut Tree, child: &Value) -> Result<Id, Failure> {
    let map = match child {
        Value::String(name) => return element(tree, name),
        Value::Map(map) => map,
        other => {
            return Err(Failure::new(format!(
                "Invalid child type: <class '{}'>. Children must be either strings or hashes.",
                other.python_type()
            )));
        }
    };
    let mut all = map.iter();
    let (Some((name, value)), None) = (all.next(), all.next()) else {
        return Err(Failure::new(
            "Can only create children from hashes with one key",
        ));
    };
    let id = element(tree, &name.to_string())?;
    match value {
        Value::Map(inside) => fill(tree, id, inside)?,
        Value::Null => {}
        value => tree.set_text(id, Some(text(value)?)),
    }
    Ok(id)
}

/// Makes an element of the name that lxml takes: `name` or `{namespace}name`.
pub(super) fn element(tree: &mut Tree, name: &str) -> Result<Id, Failure> {
    if !is_name(parts(name).1) {
        return Err(Failure::new(format!("Invalid tag name '{name}'")));
    }
    Ok(tree.new_element(name))
}

fn fill(tree: &mut Tree, id: Id, inside: &Map) -> Result<(), Failure> {
    for (name, value) in inside {
        match name.to_string().as_str() {
            "_" | "+value" => {}
            name if !is_name(parts(name).1) => {
                return Err(Failure::new(format!("Invalid attribute name '{name}'")));
            }
            name => tree.set_attribute(id, name, text(value)?),
        }
    }
    match inside.get("_") {
        None | Some(Value::Null) => {}
        Some(Value::List(children)) => {
            for child in nodes(tree, children, Input::Yaml)? {
                tree.append(id, child);
            }
        }
        Some(other) => {
            return Err(Failure::new(format!(
                "Invalid children type: <class '{}'>, must be list.",
                other.python_type()
            )));
        }
    }
    match inside.get("+value") {
        None | Some(Value::Null) => {}
        Some(value) => tree.set_text(id, Some(text(value)?)),
    }
    Ok(())
}

/// Returns a text; a number is none, as in lxml.
pub(super) fn text(value: &Value) -> Result<&str, Failure> {
    value.as_str().ok_or_else(|| {
        Failure::new(format!(
            "Argument must be bytes or unicode, got '{}' (write `\"{value}\"`, in quotes)",
            value.python_type()
        ))
    })
}
