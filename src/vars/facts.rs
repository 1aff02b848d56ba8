//! Facts as templates see them: `ansible_facts` without the prefix, and `ansible_*` beside it
//! without what could redirect a connection.

use crate::value::{Map, Value};

/// Variables that decide how a host is reached; no fact may set them.
const CONNECTION: &[&str] = &[
    "ansible_connection",
    "ansible_connection_user",
    "ansible_docker_extra_args",
    "ansible_executable",
    "ansible_facts",
    "ansible_host",
    "ansible_module_compression",
    "ansible_network_os",
    "ansible_password",
    "ansible_pipelining",
    "ansible_playbook_python",
    "ansible_port",
    "ansible_private_key_file",
    "ansible_rsync_path",
    "ansible_scp_extra_args",
    "ansible_sftp_extra_args",
    "ansible_shell_executable",
    "ansible_shell_type",
    "ansible_timeout",
    "ansible_user",
    "ansible_become",
    "add_host",
    "add_group",
];

/// The connection plugins, whose own variables are refused too.
const PLUGINS: &[&str] = &["local", "paramiko_ssh", "psrp", "ssh", "winrm", "sandbox"];

/// Returns the dictionary `ansible_facts`: names without `ansible_`, except `ansible_local`.
pub(super) fn namespaced(facts: &Map) -> Value {
    let known = facts
        .iter()
        .filter(|(name, _)| !name.as_str().is_some_and(is_made_up));
    let plain = known.map(|(name, value)| {
        let short = name
            .as_str()
            .filter(|name| *name != "ansible_local")
            .and_then(|name| name.strip_prefix("ansible_"));
        (
            short.map_or_else(|| name.clone(), Value::from),
            value.clone(),
        )
    });
    Value::from(plain.collect::<Map>())
}

/// Returns the facts that are variables by themselves.
pub(super) fn injected(facts: &Map) -> Map {
    let allowed = facts
        .iter()
        .filter(|(name, _)| name.as_str().is_some_and(|name| !is_refused(name)));
    allowed
        .map(|(name, value)| (name.clone(), value.clone()))
        .collect()
}

/// Lists the facts that are refused as variables, for a warning.
pub fn refused(facts: &Map) -> Vec<String> {
    let names = facts.keys().filter_map(Value::as_str);
    names
        .filter(|name| is_refused(name) && !name.starts_with("_ansible_"))
        .map(str::to_owned)
        .collect()
}

/// Tells whether a fact says that an interpreter was found which nobody looks for.
fn is_made_up(name: &str) -> bool {
    name.trim_start_matches("ansible_")
        .strip_prefix("discovered_interpreter_")
        .is_some_and(|language| language != "python")
}

fn is_refused(name: &str) -> bool {
    if name.starts_with("ansible_ssh_host_key_") {
        return false;
    }
    let is_bridge = name.ends_with("_bridge") || name.ends_with("_gwbridge");
    let of_plugin = PLUGINS.iter().any(|plugin| {
        name.strip_prefix("ansible_")
            .and_then(|rest| rest.strip_prefix(plugin))
            .is_some_and(|rest| rest.starts_with('_'))
    });
    CONNECTION.contains(&name)
        || name.starts_with("_ansible_")
        || name.starts_with("ansible_become_")
        || (name.starts_with("ansible_") && name.ends_with("_interpreter"))
        || is_made_up(name)
        || (of_plugin && !is_bridge)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn facts_lose_their_prefix_and_cannot_redirect_a_connection() {
        let facts: Map = [
            ("ansible_distribution", "Debian"),
            ("ansible_local", "kept"),
            ("mine", "kept"),
            ("ansible_host", "evil"),
            ("ansible_ssh_common_args", "evil"),
            ("ansible_local_bridge", "a device"),
            ("ansible_python_interpreter", "evil"),
            ("discovered_interpreter_bogus", "evil"),
            ("ansible_ssh_host_key_rsa_public", "key"),
            ("_ansible_facts_gathered", "internal"),
        ]
        .into_iter()
        .map(|(name, value)| (name.into(), value.into()))
        .collect();
        assert_eq!(
            namespaced(&facts).get("distribution"),
            Some(&"Debian".into())
        );
        assert_eq!(namespaced(&facts).get("discovered_interpreter_bogus"), None);
        assert_eq!(
            namespaced(&facts).get("ansible_local"),
            Some(&"kept".into())
        );
        let names: Vec<_> = injected(&facts).keys().map(ToString::to_string).collect();
        assert_eq!(
            names,
            [
                "ansible_distribution",
                "ansible_local",
                "mine",
                "ansible_local_bridge",
                "ansible_ssh_host_key_rsa_public"
            ]
        );
        assert_eq!(
            refused(&facts),
            [
                "ansible_host",
                "ansible_ssh_common_args",
                "ansible_python_interpreter",
                "discovered_interpreter_bogus"
            ]
        );
    }
}
