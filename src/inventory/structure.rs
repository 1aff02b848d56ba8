//! YAML inventories: groups as mappings of `hosts`, `children` and `vars`.
//!
//! Works on the nodes the YAML reader made; what Ansible skips with a warning is skipped here too.

use std::sync::Arc;

use super::graph::push_once;
use super::{Inventory, Variables, Warning, address};
use crate::error::Error;
use crate::node::{Kind, Node};

/// Reads a YAML inventory into `inventory`.
pub(super) fn read(root: &Node, inventory: &mut Inventory) -> Result<(), Error> {
    let Some(groups) = root.as_map() else {
        return Err(Error::content(format!(
            "YAML inventory has invalid structure: it should be a dictionary, not {}",
            root.kind_name()
        ))
        .at(&root.mark)
        .help("the top level names groups: `all:` with `hosts:` below it"));
    };
    if let Some((key, _)) = root.entry("plugin") {
        return Err(
            Error::content("this is the configuration of an inventory plugin").at(&key.mark),
        );
    }
    for (name, content) in groups {
        group(name, content, inventory)?;
    }
    Ok(())
}

fn group(name: &Node, content: &Node, inventory: &mut Inventory) -> Result<Arc<str>, Error> {
    let text = key_text(name)?;
    if !content.is_null() && content.as_map().is_none() {
        warn(
            inventory,
            format!("Skipping '{text}' as this is not a valid group definition"),
            name,
        );
        return Ok(text.into());
    }
    let group = inventory
        .add_group(&text)
        .map_err(|error| error.at(&name.mark))?;
    for (key, section) in content.as_map().unwrap_or_default() {
        let kind = key_text(key)?;
        match kind.as_str() {
            "vars" => {
                for (name, value) in pairs(section, &kind, &group)? {
                    let variable = variable_name(&name, inventory);
                    let set = inventory.set_variable(&group, &variable, value);
                    set.map_err(|error| error.at(&name.mark))?;
                }
            }
            "children" => {
                for (name, content) in pairs(section, &kind, &group)? {
                    let child = self::group(&name, &content, inventory)?;
                    let added = inventory.add_child(&group, &child);
                    added.map_err(|error| error.at(&name.mark))?;
                }
            }
            "hosts" => {
                for (pattern, variables) in pairs(section, &kind, &group)? {
                    hosts(&pattern, &variables, &group, inventory)?;
                }
            }
            _ if section.is_null() => {}
            _ if section.as_map().is_none() => {
                let found = section.to_value().python_type();
                let told = format!(
                    "Skipping key ({kind}) in group ({group}) as it is not a mapping, it is a <class '{found}'>"
                );
                warn(inventory, told, key);
            }
            _ => {
                let told = format!(
                    "Skipping unexpected key ({kind}) in group ({group}), only \"vars\", \"children\" and \"hosts\" are valid"
                );
                warn(inventory, told, key);
            }
        }
    }
    Ok(group)
}

/// Returns the pairs of a section; a bare name is one key without a value.
fn pairs(section: &Node, kind: &str, group: &str) -> Result<Vec<(Node, Node)>, Error> {
    match &section.kind {
        Kind::Null => Ok(Vec::new()),
        Kind::Map(pairs) => Ok(pairs.to_vec()),
        Kind::Text(_) | Kind::Unsafe(_) => {
            let nothing = Node::new(section.mark.clone(), Kind::Null);
            Ok(vec![(section.clone(), nothing)])
        }
        _ => Err(Error::content(format!(
            "invalid `{kind}` entry for group `{group}`: it requires a dictionary, not {}",
            section.kind_name()
        ))
        .at(&section.mark)
        .help("write each entry as `name:`, with a colon and without a dash")),
    }
}

pub(super) fn hosts(
    pattern: &Node,
    variables: &Node,
    group: &str,
    inventory: &mut Inventory,
) -> Result<(), Error> {
    let Some(text) = pattern.as_str() else {
        return Err(Error::content(format!(
            "Host pattern {} must be a string",
            pattern.to_value()
        ))
        .at(&pattern.mark)
        .help("put quotes around numbers"));
    };
    let (names, port) = address::expand(text).map_err(|told| {
        Error::content(told)
            .at(&pattern.mark)
            .help("ranges are `[1:9]`, `[01:50:2]` or `[a:f]`")
    })?;
    let mut own = Variables::new();
    if let Some(port) = port {
        own.insert(
            "ansible_port".into(),
            Node::new(pattern.mark.clone(), Kind::Int(port.into())),
        );
    }
    if !is_empty(variables) && variables.as_map().is_none() {
        return Err(Error::content(format!(
            "the variables of host `{text}` must be a dictionary, not {}",
            variables.kind_name()
        ))
        .at(&variables.mark)
        .help("write `name: value` lines below the host"));
    }
    for (name, value) in variables.as_map().unwrap_or_default() {
        own.insert(variable_name(name, inventory).into(), value.clone());
    }
    let own = Arc::new(own);
    for name in names {
        inventory
            .add_host(&name, Some(group))
            .map_err(|error| error.at(&pattern.mark))?;
        inventory.extend_host(&name, &own);
    }
    Ok(())
}

/// Tells whether Python calls the node false: then a host simply has no variables.
fn is_empty(node: &Node) -> bool {
    !node.to_value().is_truthy()
}

pub(super) fn key_text(key: &Node) -> Result<String, Error> {
    key.as_str().map(str::to_string).ok_or_else(|| {
        Error::content(format!("`{}` must be text here", key.to_value()))
            .at(&key.mark)
            .help("put quotes around it")
    })
}

/// Returns the name of a variable; a key that is no text is one no template can reach.
fn variable_name(key: &Node, inventory: &mut Inventory) -> String {
    if let Some(name) = key.as_str() {
        return name.to_string();
    }
    let name = key.to_value().to_string();
    warn(
        inventory,
        format!("Accepting inventory variable with invalid name {name}."),
        key,
    );
    name
}

pub(super) fn warn(inventory: &mut Inventory, text: String, node: &Node) {
    let warning = Warning {
        mark: Some(node.mark.clone()),
        ..Warning::new(text)
    };
    push_once(&mut inventory.warnings, warning);
}
