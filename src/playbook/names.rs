//! What a module's name means: short or full, moved to a collection, free-form or not.
//!
//! A pure table of Ansible's names; which of them exist here, the catalog knows.

use std::collections::HashMap;
use std::sync::LazyLock;

/// ansible-core's routing of short names to the collections their modules moved to.
static ROUTING: LazyLock<HashMap<&'static str, (&'static str, &'static str)>> =
    LazyLock::new(|| {
        include_str!("routing.txt")
            .lines()
            .filter(|line| !line.starts_with('#'))
            .filter_map(|line| line.split_once(' '))
            .flat_map(|(collection, names)| {
                names.split(' ').map(move |name| {
                    let (old, new) = name.split_once('=').unwrap_or((name, name));
                    (old, (collection, new))
                })
            })
            .collect()
    });

/// The modules of ansible-core 2.19.
const BUILTIN: &[&str] = &[
    "add_host",
    "apt",
    "apt_key",
    "apt_repository",
    "assemble",
    "assert",
    "async_status",
    "blockinfile",
    "command",
    "copy",
    "cron",
    "deb822_repository",
    "debconf",
    "debug",
    "dnf",
    "dnf5",
    "dpkg_selections",
    "expect",
    "fail",
    "fetch",
    "file",
    "find",
    "gather_facts",
    "get_url",
    "getent",
    "git",
    "group",
    "group_by",
    "hostname",
    "import_playbook",
    "import_role",
    "import_tasks",
    "include_role",
    "include_tasks",
    "include_vars",
    "iptables",
    "known_hosts",
    "lineinfile",
    "meta",
    "mount_facts",
    "package",
    "package_facts",
    "pause",
    "ping",
    "pip",
    "raw",
    "reboot",
    "replace",
    "rpm_key",
    "script",
    "service",
    "service_facts",
    "set_fact",
    "set_stats",
    "setup",
    "shell",
    "slurp",
    "stat",
    "subversion",
    "systemd",
    "systemd_service",
    "sysvinit",
    "tempfile",
    "template",
    "unarchive",
    "uri",
    "user",
    "validate_argument_spec",
    "wait_for",
    "wait_for_connection",
    "yum_repository",
];

/// The groups of `module_defaults` that ansible-core defines; all are of other collections.
pub(super) const DEFAULTS_GROUPS: &[&str] = &[
    "acme", "aws", "azure", "cpm", "docker", "gcp", "k8s", "os", "ovirt", "vmware",
];

/// What a written module name stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Meaning {
    /// A module of ansible-core, by its short name.
    Builtin(String),
    /// A module of a collection, by its full name.
    Collection(String),
    /// No name Ansible knows; the short name.
    Unknown(String),
}

/// Returns what `written` stands for. `extra` are the collections of the `collections` keyword,
/// where an unknown short name may come from.
pub(super) fn meaning(written: &str, extra: &[String]) -> Meaning {
    let short = core_name(written).unwrap_or(written);
    if short == "yum" {
        return Meaning::Builtin("dnf".to_owned());
    }
    if BUILTIN.contains(&short) {
        return Meaning::Builtin(short.to_owned());
    }
    if let Some((collection, name)) = ROUTING.get(short) {
        return Meaning::Collection(format!("{collection}.{name}"));
    }
    if short == written && written.split('.').count() >= 3 {
        return Meaning::Collection(written.to_owned());
    }
    let others = extra.iter().find(|name| !is_core_collection(name));
    match others {
        Some(collection) if short == written => {
            Meaning::Collection(format!("{collection}.{written}"))
        }
        _ => Meaning::Unknown(short.to_owned()),
    }
}

/// Returns the full name of what `written` stands for, whether it exists or not.
pub fn full_name(written: &str) -> String {
    match meaning(written, &[]) {
        Meaning::Builtin(short) | Meaning::Unknown(short) => format!("ansible.builtin.{short}"),
        Meaning::Collection(full) => full,
    }
}

/// Lists the short names of ansible-core.
pub(super) fn builtin() -> impl Iterator<Item = &'static str> {
    BUILTIN.iter().copied()
}

/// Strips `ansible.builtin.` or `ansible.legacy.`; `None` for any other full name.
pub(super) fn core_name(written: &str) -> Option<&str> {
    let short = written
        .strip_prefix("ansible.builtin.")
        .or_else(|| written.strip_prefix("ansible.legacy."))
        .unwrap_or(written);
    (!short.contains('.')).then_some(short)
}

fn is_core_collection(name: &str) -> bool {
    matches!(name, "ansible.builtin" | "ansible.legacy")
}

/// Tells whether text given to the module is a command: only a few `key=value` are options.
pub(super) fn takes_command(written: &str) -> bool {
    let short = core_name(written)
        .or_else(|| written.strip_prefix("ansible.windows."))
        .unwrap_or(written);
    matches!(
        short,
        "command" | "raw" | "script" | "shell" | "win_command" | "win_shell"
    )
}

/// Tells whether text given to the module may hold more than `key=value` options.
pub(super) fn takes_text(written: &str) -> bool {
    takes_command(written)
        || matches!(
            core_name(written).unwrap_or_default(),
            "include_vars"
                | "include_tasks"
                | "include_role"
                | "import_tasks"
                | "import_role"
                | "add_host"
                | "group_by"
                | "set_fact"
                | "meta"
        )
}

/// Tells whether what the module does is done on the controller, whatever file has its name.
pub(super) fn acts_on_controller(short: &str) -> bool {
    matches!(
        short,
        "add_host"
            | "assert"
            | "debug"
            | "fail"
            | "gather_facts"
            | "group_by"
            | "include_vars"
            | "meta"
            | "pause"
            | "raw"
            | "set_fact"
            | "set_stats"
            | "wait_for_connection"
    ) || short.starts_with("import_")
        || short.starts_with("include_")
}

/// Tells whether the module takes options that its own table does not name: variables, or the
/// options of the module it hands over to.
pub(super) fn takes_any_option(short: &str) -> bool {
    matches!(
        short,
        "set_fact" | "add_host" | "gather_facts" | "package" | "set_stats"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_found_in_core_in_the_routing_or_nowhere() {
        let builtin = |name: &str| Meaning::Builtin(name.to_owned());
        let collection = |name: &str| Meaning::Collection(name.to_owned());
        for (written, expected) in [
            ("copy", builtin("copy")),
            ("ansible.builtin.copy", builtin("copy")),
            ("ansible.legacy.yum", builtin("dnf")),
            (
                "docker_container",
                collection("community.docker.docker_container"),
            ),
            ("ufw", collection("community.general.ufw")),
            (
                "cloudscale_server",
                collection("cloudscale_ch.cloud.server"),
            ),
            ("my.own.thing", collection("my.own.thing")),
            ("ansible.builtin.cppy", Meaning::Unknown("cppy".to_owned())),
            ("cppy", Meaning::Unknown("cppy".to_owned())),
        ] {
            assert_eq!(meaning(written, &[]), expected, "{written}");
        }
        assert_eq!(
            meaning("thing", &["my.own".to_owned()]),
            collection("my.own.thing")
        );
        assert_eq!(
            meaning("thing", &["ansible.legacy".to_owned()]),
            Meaning::Unknown("thing".to_owned())
        );
    }
}
