//! What executable inventories print: JSON groups, and host variables under `_meta`.
//!
//! The caller runs the script; trust is as Ansible has it: variables may hold templates, but not
//! those of a malformed group.

use std::path::Path;
use std::sync::Arc;

use indexmap::IndexSet;
use serde::de::IgnoredAny;

use super::graph::push_once;
use super::{Inventory, ScriptRunner, Variables, Warning};
use crate::error::Error;
use crate::node::Node;
use crate::source::{Mark, SourceFile};
use crate::yaml;

/// Runs an executable inventory and reads what it prints into `inventory`; what it says beside is
/// told where it fails, or always.
pub(super) fn read(
    path: &Path,
    runner: &dyn ScriptRunner,
    tells_all: bool,
    inventory: &mut Inventory,
) -> Result<(), Error> {
    let mut script = Script {
        path,
        runner,
        said: String::new(),
    };
    let read = read_list(&mut script, inventory);
    let said = script.said.trim();
    if !said.is_empty() && (tells_all || read.is_err()) {
        push_once(&mut inventory.warnings, Warning::new(said));
    }
    read
}

fn read_list(script: &mut Script<'_>, inventory: &mut Inventory) -> Result<(), Error> {
    let root = script.list()?;
    let mut meta = None;
    let mut hosts = IndexSet::new();
    for (name, content) in root.as_map().unwrap_or_default() {
        match name.as_str().unwrap_or_default() {
            "_meta" => {
                let own = content.get("hostvars");
                if own.and_then(Node::as_map).is_none() {
                    return Err(misshapen("_meta.hostvars", own, "dict").at(&content.mark));
                }
                meta = own;
            }
            _ => group(name, content, inventory, &mut hosts)?,
        }
    }
    for host in hosts {
        let own = match meta {
            Some(meta) => meta.get(&host).cloned(),
            None => Some(script.host(&host)?),
        };
        let Some(own) = own else { continue };
        let pairs = own.as_map().ok_or_else(|| {
            Error::content(format!(
                "Invalid data from file, expected dictionary and got:\n\n{}",
                own.to_value()
            ))
            .at(&own.mark)
        })?;
        let own: Variables = pairs
            .iter()
            .filter_map(|(name, value)| Some((name.as_str()?.into(), value.clone())))
            .collect();
        inventory.extend_host(&host, &Arc::new(own));
    }
    Ok(())
}

/// A script and what it said on its standard error so far.
struct Script<'a> {
    path: &'a Path,
    runner: &'a dyn ScriptRunner,
    said: String,
}

impl Script<'_> {
    /// Returns the groups it lists.
    fn list(&mut self) -> Result<Node, Error> {
        let text = self.text(&["--list"])?;
        let undecided = |why: String| {
            Error::content(format!(
                "Unable to get JSON decoder for inventory script result: {why}"
            ))
        };
        let file = SourceFile::new(self.name(), text);
        if serde_json::from_str::<IgnoredAny>(&file.text).is_err() {
            let error = undecided("Value could not be parsed as JSON.".into());
            return Err(error.help(format!(
                "run `{} --list` to see what it prints",
                self.path.display()
            )));
        }
        let root = yaml::parse_json(&file).unwrap_or_else(|| {
            let value = serde_json::from_str(&file.text).unwrap_or_default();
            Node::inert(&value, &Mark::start_of(&file))
        });
        if root.as_map().is_none() {
            let found = root.to_value().python_type();
            return Err(undecided(format!("Value is '{found}' instead of 'dict'.")));
        }
        if let Some(meta) = root.get("_meta") {
            let wrong = |name: &str, node: &Node, wanted: &str| {
                undecided(misshapen(name, Some(node), wanted).message).at(&node.mark)
            };
            if meta.as_map().is_none() {
                return Err(wrong("_meta", meta, "dict"));
            }
            if let Some(profile) = meta.get("profile") {
                match profile.as_str() {
                    None => return Err(wrong("_meta.profile", profile, "str")),
                    Some("inventory_legacy") => {}
                    Some(name) if name.starts_with("inventory_") => {
                        let told = undecided(format!("Unknown profile name '{name}'."));
                        return Err(told.suggest(name, ["inventory_legacy"]).at(&profile.mark));
                    }
                    Some(name) => {
                        let told = format!("Non-inventory profile '{name}' is not allowed.");
                        return Err(undecided(told).at(&profile.mark));
                    }
                }
            }
        }
        if let Some(why) = untold(&root) {
            return Err(Error::content(format!(
                "Inventory script result could not be parsed as JSON: {why}"
            )));
        }
        Ok(root)
    }

    /// Returns the variables it gives a host.
    fn host(&mut self, host: &str) -> Result<Node, Error> {
        let mut text = self.text(&["--host", host])?;
        if text.trim().is_empty() {
            text = "{}".into();
        }
        let file = SourceFile::new(format!("{} for host '{host}'", self.name()), text);
        let refused = |why: &str| {
            Error::content(format!(
                "Inventory script result for host '{host}' could not be parsed as JSON: {why}"
            ))
        };
        let root = yaml::parse_json(&file).ok_or_else(|| refused("it is no dictionary"))?;
        match untold(&root) {
            Some(why) => Err(refused(&why)),
            None => Ok(root),
        }
    }

    fn name(&self) -> String {
        format!("<inventory script output from '{}'>", self.path.display())
    }

    fn text(&mut self, arguments: &[&str]) -> Result<String, Error> {
        let shown = self.path.display();
        let output = self.runner.run(self.path, arguments).map_err(|error| {
            Error::content(format!(
                "Failed to execute inventory script command '{shown} {}': {}",
                arguments.join(" "),
                super::load::reason(&error)
            ))
            .help("check that its first line names an interpreter")
        })?;
        self.said.push_str(&output.stderr);
        if output.code != 0 {
            return Err(Error::content(format!(
                "Inventory script returned non-zero exit code {}.",
                output.code
            ))
            .help(format!("run `{shown} {}` to see why", arguments.join(" "))));
        }
        String::from_utf8(output.stdout).map_err(|error| {
            Error::content(format!(
                "Inventory script result contained characters that cannot be interpreted as UTF-8: byte {}",
                error.utf8_error().valid_up_to() + 1
            ))
        })
    }
}

fn misshapen(name: &str, node: Option<&Node>, wanted: &str) -> Error {
    let found = node.map_or("NoneType", |node| node.to_value().python_type());
    Error::content(format!(
        "Value contains '{name}' which is '{found}' instead of '{wanted}'."
    ))
}

/// Returns why a tree holds a vaulted or an unsafe text that is no text.
fn untold(node: &Node) -> Option<String> {
    if let Some(items) = node.as_list() {
        return items.iter().find_map(untold);
    }
    let pairs = node.as_map()?;
    if let [(name, value)] = pairs
        && let Some(name @ ("__ansible_vault" | "__ansible_unsafe")) = name.as_str()
        && value.as_str().is_none()
    {
        let found = value.to_value().python_type();
        return Some(format!("{name} is <class '{found}'> not <class 'str'>"));
    }
    pairs.iter().find_map(|(_, value)| untold(value))
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
        None => {
            if content.as_list().is_none() {
                let told = format!(
                    "Group '{group}' was converted to 'dict' from '{}'.",
                    content.to_value().python_type()
                );
                push_once(&mut inventory.warnings, Warning::new(told));
            }
            Some(content.clone())
        }
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
            misshapen(&format!("{group}.hosts"), Some(&listed), "list").at(&listed.mark)
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
        content.as_map().map(|_| content)
    };
    if let Some(variables) = variables {
        let pairs = variables.as_map().ok_or_else(|| {
            misshapen(&format!("{group}.vars"), Some(variables), "dict").at(&variables.mark)
        })?;
        for (name, value) in pairs {
            // What stands where no variables belong is nobody's template.
            let value = if is_shaped {
                value.clone()
            } else {
                Node::inert(&value.to_value(), &value.mark)
            };
            inventory.set_variable(&group, name.as_str().unwrap_or_default(), value)?;
        }
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::inventory::ScriptOutput;

    /// Prints a text for the list, and nothing for a host.
    struct Prints(&'static str);

    impl ScriptRunner for Prints {
        fn run(&self, _: &Path, arguments: &[&str]) -> std::io::Result<ScriptOutput> {
            let text = if arguments == ["--list"] { self.0 } else { "" };
            Ok(ScriptOutput {
                code: i32::from(text == "ends"),
                stdout: text.into(),
                stderr: "careful\n".into(),
            })
        }
    }

    fn told(text: &'static str) -> (String, Vec<String>) {
        let mut inventory = Inventory::default();
        let read = read(Path::new("/s"), &Prints(text), false, &mut inventory);
        let warnings = inventory.warnings.into_iter().map(|warning| warning.text);
        let message = read.err().map(|error| error.message).unwrap_or_default();
        (message, warnings.collect())
    }

    // As ansible-core 2.19.14 says it.
    #[test]
    fn what_a_script_prints_must_have_the_shape_of_an_inventory() {
        for (text, message) in [
            (
                "no json",
                "Unable to get JSON decoder for inventory script result: Value could not be parsed as JSON.",
            ),
            (
                r#""text""#,
                "Unable to get JSON decoder for inventory script result: Value is 'str' instead of 'dict'.",
            ),
            (
                r#"{"_meta": {"profile": 1}}"#,
                "Unable to get JSON decoder for inventory script result: Value contains '_meta.profile' which is 'int' instead of 'str'.",
            ),
            (
                r#"{"_meta": {"profile": "other"}}"#,
                "Unable to get JSON decoder for inventory script result: Non-inventory profile 'other' is not allowed.",
            ),
            (
                r#"{"x": {"__ansible_vault": 1}}"#,
                "Inventory script result could not be parsed as JSON: __ansible_vault is <class 'int'> not <class 'str'>",
            ),
            (
                r#"{"_meta": {"hostvars": []}}"#,
                "Value contains '_meta.hostvars' which is 'list' instead of 'dict'.",
            ),
            (
                r#"{"_meta": {"hostvars": {"h": []}}, "g": {"hosts": ["h"]}}"#,
                "Invalid data from file, expected dictionary and got:\n\n[]",
            ),
            (
                r#"{"_meta": {"hostvars": {}}, "g": {"vars": []}}"#,
                "Value contains 'g.vars' which is 'list' instead of 'dict'.",
            ),
            ("ends", "Inventory script returned non-zero exit code 1."),
        ] {
            assert_eq!(told(text), (message.to_owned(), vec!["careful".to_owned()]));
        }
        assert_eq!(
            told(r#"{"g": {"hosts": ["h"]}}"#),
            (String::new(), Vec::new())
        );
    }

    #[test]
    fn variables_of_a_malformed_group_are_nobodys_templates() {
        let text = r#"{"lone": {"a": "{{ b }}"}, "_meta": {"hostvars": {}}}"#;
        let mut inventory = Inventory::default();
        read(Path::new("/s"), &Prints(text), false, &mut inventory).unwrap();
        let layers = inventory.layers("lone", &[]).unwrap();
        let value = layers.iter().find_map(|layer| layer.get("a")).unwrap();
        assert!(matches!(value.kind, crate::node::Kind::Unsafe(_)));
    }
}
