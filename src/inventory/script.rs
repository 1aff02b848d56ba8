//! What executable inventories print: JSON groups, and host variables under `_meta`.
//!
//! The caller runs the script; trust is as Ansible has it: variables may hold templates.

use std::path::Path;
use std::sync::Arc;

use indexmap::IndexSet;

use super::graph::push_once;
use super::{Inventory, ScriptRunner, Variables, Warning};
use crate::error::Error;
use crate::node::Node;
use crate::source::SourceFile;
use crate::yaml;

/// Runs an executable inventory and reads what it prints into `inventory`.
pub(super) fn read(
    path: &Path,
    runner: &dyn ScriptRunner,
    inventory: &mut Inventory,
) -> Result<(), Error> {
    let root = output(path, runner, &["--list"])?;
    let mut meta = None;
    let mut hosts = IndexSet::new();
    for (name, content) in root.as_map().unwrap_or_default() {
        match name.as_str().unwrap_or_default() {
            "_meta" => meta = content.get("hostvars"),
            _ => group(name, content, inventory, &mut hosts)?,
        }
    }
    if meta.is_some_and(|meta| meta.as_map().is_none()) {
        return Err(Error::content("`_meta.hostvars` must be a dictionary").at(&root.mark));
    }
    for host in hosts {
        let own = match meta {
            Some(meta) => meta.get(&host).cloned(),
            None => Some(output(path, runner, &["--host", &host])?),
        };
        if let Some(own) = own {
            let pairs = own.as_map().unwrap_or_default().iter();
            let own: Variables = pairs
                .filter_map(|(name, value)| Some((name.as_str()?.into(), value.clone())))
                .collect();
            inventory.extend_host(&host, &Arc::new(own));
        }
    }
    Ok(())
}

fn output(path: &Path, runner: &dyn ScriptRunner, arguments: &[&str]) -> Result<Node, Error> {
    let name = format!("<inventory script output from '{}'>", path.display());
    let bytes = runner.run(path, arguments)?;
    let text = String::from_utf8(bytes).map_err(|_| {
        Error::content(format!(
            "inventory script `{}` printed text that is not UTF-8",
            path.display()
        ))
    })?;
    let file = SourceFile::new(
        name,
        if text.trim().is_empty() {
            "{}".into()
        } else {
            text
        },
    );
    match yaml::parse_json(&file) {
        Some(root) if root.as_map().is_some() => Ok(root),
        _ => Err(Error::content(format!(
            "inventory script `{}` printed no JSON object",
            path.display()
        ))
        .help(format!(
            "run `{} {}` to see what it prints",
            path.display(),
            arguments.join(" ")
        ))),
    }
}

fn group(
    name: &Node,
    content: &Node,
    inventory: &mut Inventory,
    hosts: &mut IndexSet<String>,
) -> Result<(), Error> {
    let group = inventory.add_group(name.as_str().unwrap_or_default())?;
    let is_shaped = ["hosts", "vars", "children"]
        .iter()
        .any(|key| content.get(key).is_some());
    let listed = match content.as_map() {
        None => Some(content.clone()),
        Some(_) if is_shaped => content.get("hosts").cloned(),
        Some(_) => {
            let told = format!(
                "Treating malformed group '{group}' as the sole host of that group. Variables provided in this manner cannot be templated."
            );
            push_once(&mut inventory.warnings, Warning::new(told));
            hosts.insert(group.to_string());
            inventory.add_host(&group, Some(&group))?;
            None
        }
    };
    if let Some(listed) = listed {
        let names = listed.as_list().ok_or_else(|| {
            Error::content(format!(
                "`{group}.hosts` must be a list, not {}",
                listed.kind_name()
            ))
            .at(&listed.mark)
        })?;
        for host in names {
            let host = host.as_str().ok_or_else(|| {
                Error::content(format!("a host of `{group}` must be text")).at(&host.mark)
            })?;
            inventory.add_host(host, Some(&group))?;
            hosts.insert(host.to_string());
        }
    }
    let variables = if is_shaped {
        content.get("vars")
    } else {
        Some(content)
    };
    for (name, value) in variables.and_then(Node::as_map).unwrap_or_default() {
        inventory.set_variable(&group, name.as_str().unwrap_or_default(), value.clone())?;
    }
    for child in content
        .get("children")
        .and_then(Node::as_list)
        .unwrap_or_default()
    {
        let child = inventory.add_group(child.as_str().unwrap_or_default())?;
        inventory.add_child(&group, &child)?;
    }
    Ok(())
}
