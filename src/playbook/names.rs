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
        return Meaning::Collection(moved(written).unwrap_or_else(|| written.to_owned()));
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

/// Returns where a module of `community.general` went when its collection was split, as that
/// collection's own routing says.
fn moved(full: &str) -> Option<String> {
    let name = full.strip_prefix("community.general.")?;
    let is_moved = ["docker_", "postgresql_"]
        .iter()
        .any(|it| name.starts_with(it));
    let (collection, new) = ROUTING.get(name).filter(|_| is_moved)?;
    Some(format!("{collection}.{new}"))
}

/// Lists every way to write the name of a module or directive, given as the catalog has it: the
/// short names first, then the full ones.
pub fn written_names(name: &str) -> Vec<String> {
    let mut short: Vec<&str> = if name.contains('.') {
        let is_it = |(_, (collection, new)): &(&&str, &(&str, &str))| {
            name.strip_prefix(collection)
                .and_then(|rest| rest.strip_prefix('.'))
                .is_some_and(|rest| rest == *new)
        };
        ROUTING.iter().filter(is_it).map(|(old, _)| *old).collect()
    } else if name == "dnf" {
        vec!["dnf", "yum"]
    } else {
        vec![name]
    };
    short.sort_unstable();
    let core = ["ansible.builtin", "ansible.legacy"].into_iter();
    let core = core.flat_map(|core| short.iter().map(move |short| format!("{core}.{short}")));
    let own = name.contains('.').then(|| name.to_owned());
    let before = short
        .iter()
        .map(|short| format!("community.general.{short}"))
        .filter(|full| moved(full).as_deref() == Some(name));
    let short = short.iter().map(|short| (*short).to_owned());
    short.chain(own).chain(before).chain(core).collect()
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
pub fn takes_any_option(short: &str) -> bool {
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
            (
                "community.general.docker_container",
                collection("community.docker.docker_container"),
            ),
            (
                "community.general.archive",
                collection("community.general.archive"),
            ),
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

    #[test]
    fn a_module_has_each_of_its_names() {
        assert_eq!(
            written_names("dnf"),
            [
                "dnf",
                "yum",
                "ansible.builtin.dnf",
                "ansible.builtin.yum",
                "ansible.legacy.dnf",
                "ansible.legacy.yum"
            ]
        );
        assert_eq!(
            written_names("community.docker.docker_login"),
            [
                "docker_login",
                "community.docker.docker_login",
                "community.general.docker_login",
                "ansible.builtin.docker_login",
                "ansible.legacy.docker_login"
            ]
        );
        for name in written_names("community.general.ini_file") {
            assert_eq!(full_name(&name), "community.general.ini_file", "{name}");
        }
    }
}
