//! `add_host` and `group_by`: hosts and groups that appear during the run.

use super::{ActionContext, Answer};
use crate::arguments;
use crate::arguments::{ArgumentSpec, OptionType, Parameter};
use crate::executor::execution::Effect;
use crate::executor::failure::Failure;
use crate::value::{Map, Value};

/// The options of `add_host`: any variable of the host beside its own.
pub(super) const ADD_HOST: ArgumentSpec = ArgumentSpec::new(
    "add_host",
    &["Add a host (and alternatively a group) to the ansible-playbook in-memory inventory."],
    &[
        Parameter::new("name", OptionType::Text, &["The host."]).aliases(&["host", "hostname"]),
        Parameter::new("groups", OptionType::Raw, &["The groups it joins."])
            .aliases(&["group", "groupname"]),
    ],
    &[],
);

arguments! {
    /// Create Ansible groups based on facts.
    pub(super) struct GroupByArgs for "group_by" {
        /// The name of the group.
        key: String { required },
        /// The groups it is a child of.
        parents: Vec<String> { default: "all" },
    }
}

/// Adds a host with its groups and variables.
pub(super) async fn add_host(context: &mut ActionContext<'_>) -> Result<Answer, Failure> {
    let mut variables = std::mem::take(&mut context.args);
    let mut take = |names: [&str; 3]| {
        let mut found = None;
        for name in names {
            // Ansible leaves `host` and `group` among the host's variables.
            let value = match name {
                "host" | "group" => variables.get(name).cloned(),
                _ => variables.shift_remove(name),
            };
            found = found.or(value.filter(|value| !matches!(value, Value::Null)));
        }
        found
    };
    let Some(name) = take(["name", "hostname", "host"]) else {
        return Err(Failure::action(
            "name, host or hostname needs to be provided",
        ));
    };
    let groups = take(["groupname", "groups", "group"]).unwrap_or_default();
    let (name, port) = split_port(&name.to_string());
    if let Some(port) = port {
        variables.insert("ansible_ssh_port".into(), port.into());
    }
    let groups = group_names(&groups)?;
    let told = Value::map([
        ("host_name", Value::from(name.as_str())),
        ("groups", Value::list(groups.iter().map(String::as_str))),
        ("host_vars", variables.clone().into()),
    ]);
    let answer = Answer::new([("changed", false.into()), ("add_host", told)]);
    Ok(answer.effect(Effect::AddHost {
        name: name.into(),
        groups,
        variables,
    }))
}

fn group_names(groups: &Value) -> Result<Vec<String>, Failure> {
    let names: Vec<String> = match groups {
        Value::Null => Vec::new(),
        Value::List(items) => items.iter().map(Value::to_string).collect(),
        Value::String(text) if text.is_empty() => Vec::new(),
        Value::String(text) => text.split(',').map(str::to_owned).collect(),
        _ => return Err(Failure::action("Groups must be specified as a list.")),
    };
    let mut unique: Vec<String> = Vec::new();
    for name in names {
        let name = name.trim().to_owned();
        if !unique.contains(&name) {
            unique.push(name);
        }
    }
    Ok(unique)
}

/// Splits `host:22` and `[::1]:22`; a bare IPv6 address has no port.
fn split_port(name: &str) -> (String, Option<u16>) {
    let split = name
        .rsplit_once(':')
        .and_then(|(host, port)| Some((host, port.parse::<u16>().ok()?)));
    match split {
        Some((host, port)) if host.starts_with('[') && host.ends_with(']') => {
            (host[1..host.len() - 1].to_owned(), Some(port))
        }
        Some((host, port)) if !host.contains(':') => (host.to_owned(), Some(port)),
        _ => (name.to_owned(), None),
    }
}

/// Puts the host into a group.
pub(super) async fn group_by(context: &mut ActionContext<'_>) -> Result<Answer, Failure> {
    if context.text("key").is_none() {
        return Ok(Answer::failed(
            "the 'key' param is required when using group_by",
        ));
    }
    let args =
        GroupByArgs::parse(&context.args).map_err(|problem| Failure::action(problem.message))?;
    let group = args.key.replace(' ', "-");
    let parents: Vec<String> = args
        .parents
        .iter()
        .map(|name| name.replace(' ', "-"))
        .collect();
    let mut told = Map::new();
    told.insert("changed".into(), false.into());
    told.insert("add_group".into(), group.as_str().into());
    told.insert(
        "parent_groups".into(),
        Value::list(parents.iter().map(String::as_str)),
    );
    Ok(Answer::from_result(told).effect(Effect::AddToGroup { group, parents }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_is_split_from_a_name_but_not_from_a_bare_address() {
        assert_eq!(split_port("web:2222"), ("web".into(), Some(2222)));
        assert_eq!(split_port("[::1]:22"), ("::1".into(), Some(22)));
        assert_eq!(split_port("fe80::1"), ("fe80::1".into(), None));
        assert_eq!(split_port("web"), ("web".into(), None));
    }
}
