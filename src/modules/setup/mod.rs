//! `setup`: facts about the target.
//!
//! One file per family; this one knows which families a `gather_subset` asks for and which facts
//! a `filter` lets through. Reads /proc, /sys and /etc where they answer; starts few programs.

mod distribution;
mod hardware;
mod local;
mod mounts;
mod network;
mod platform;
mod security;
mod session;
mod virtualization;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::machine::{Command, Machine};
use crate::value::{Map, Value};

use super::glob::NamePattern;
use super::{Failure, ModuleResult, Outcome};

pub(super) use mounts::unescape;
pub(super) use platform::first_qualified;

crate::arguments! {
    /// Gather facts about the target.
    pub(crate) struct SetupArgs for "setup" {
        /// Which facts: all, min, hardware, network, virtual, or single names; `!` leaves out.
        gather_subset: Vec<String> { default: "all" },
        /// How many seconds a slow fact may take.
        gather_timeout: i64 { default: "10" },
        /// Return only facts whose names match one of these shell patterns.
        filter: Vec<String> { default: "" },
        /// Where local facts are.
        fact_path: PathBuf { default: "/etc/ansible/facts.d" },
    }
}

/// A family of facts: its name and what else it may be called in a subset.
struct Family {
    name: &'static str,
    facts: &'static [&'static str],
    gather: fn(&mut Gathering<'_>),
}

/// The families that `min` stands for, and that are gathered unless `!min` says otherwise.
const MINIMAL: [&str; 17] = [
    "apparmor",
    "caps",
    "cmdline",
    "date_time",
    "distribution",
    "dns",
    "env",
    "fips",
    "local",
    "lsb",
    "pkg_mgr",
    "platform",
    "python",
    "selinux",
    "service_mgr",
    "ssh_pub_keys",
    "user",
];

const FAMILIES: &[Family] = &[
    Family {
        name: "platform",
        facts: &[
            "system",
            "kernel",
            "kernel_version",
            "machine",
            "python_version",
            "architecture",
            "machine_id",
        ],
        gather: platform::gather,
    },
    Family {
        name: "distribution",
        facts: &[
            "distribution_version",
            "distribution_release",
            "distribution_major_version",
            "os_family",
        ],
        gather: distribution::gather,
    },
    Family {
        name: "lsb",
        facts: &[],
        gather: distribution::gather_lsb,
    },
    Family {
        name: "selinux",
        facts: &[],
        gather: security::gather_selinux,
    },
    Family {
        name: "apparmor",
        facts: &[],
        gather: security::gather_apparmor,
    },
    Family {
        name: "chroot",
        facts: &["is_chroot"],
        gather: security::gather_chroot,
    },
    Family {
        name: "fips",
        facts: &[],
        gather: security::gather_fips,
    },
    Family {
        name: "python",
        facts: &[],
        gather: platform::gather_python,
    },
    Family {
        name: "caps",
        facts: &["system_capabilities", "system_capabilities_enforced"],
        gather: security::gather_capabilities,
    },
    Family {
        name: "pkg_mgr",
        facts: &[],
        gather: platform::gather_package_manager,
    },
    Family {
        name: "service_mgr",
        facts: &[],
        gather: platform::gather_service_manager,
    },
    Family {
        name: "systemd",
        facts: &[],
        gather: platform::gather_systemd,
    },
    Family {
        name: "cmdline",
        facts: &[],
        gather: session::gather_cmdline,
    },
    Family {
        name: "date_time",
        facts: &[],
        gather: session::gather_date_time,
    },
    Family {
        name: "env",
        facts: &[],
        gather: session::gather_env,
    },
    Family {
        name: "loadavg",
        facts: &[],
        gather: session::gather_loadavg,
    },
    Family {
        name: "ssh_pub_keys",
        facts: &[
            "ssh_host_pub_keys",
            "ssh_host_key_dsa_public",
            "ssh_host_key_rsa_public",
            "ssh_host_key_ecdsa_public",
            "ssh_host_key_ed25519_public",
        ],
        gather: session::gather_host_keys,
    },
    Family {
        name: "user",
        facts: &[
            "user_id",
            "user_uid",
            "user_gid",
            "user_gecos",
            "user_dir",
            "user_shell",
            "real_user_id",
            "effective_user_id",
            "effective_group_ids",
        ],
        gather: session::gather_user,
    },
    Family {
        name: "virtual",
        facts: &[
            "virtualization_type",
            "virtualization_role",
            "virtualization_tech_guest",
            "virtualization_tech_host",
        ],
        gather: virtualization::gather,
    },
    Family {
        name: "hardware",
        facts: &[
            "processor",
            "processor_cores",
            "processor_count",
            "mounts",
            "devices",
            "memory",
        ],
        gather: hardware::gather,
    },
    Family {
        name: "dns",
        facts: &[],
        gather: network::gather_dns,
    },
    Family {
        name: "network",
        facts: &[
            "interfaces",
            "default_ipv4",
            "default_ipv6",
            "all_ipv4_addresses",
            "all_ipv6_addresses",
        ],
        gather: network::gather,
    },
    Family {
        name: "local",
        facts: &[],
        gather: local::gather,
    },
];

/// Facts being gathered.
struct Gathering<'a> {
    machine: &'a mut Machine,
    args: &'a SetupArgs,
    facts: Map,
    warnings: Vec<String>,
}

/// Gathers the facts that are asked for.
pub(crate) fn run(machine: &mut Machine, args: SetupArgs) -> ModuleResult {
    let wanted = select(&args.gather_subset)?;
    let mut gathering = Gathering {
        machine,
        args: &args,
        facts: Map::new(),
        warnings: Vec::new(),
    };
    for family in FAMILIES
        .iter()
        .filter(|family| wanted.contains(family.name))
    {
        (family.gather)(&mut gathering);
    }
    let Gathering {
        facts, warnings, ..
    } = gathering;
    let mut shown: Map = facts
        .into_iter()
        .map(|(name, value)| (Value::from(format!("ansible_{name}")), value))
        .collect();
    shown.insert(
        "gather_subset".into(),
        Value::list(args.gather_subset.clone()),
    );
    shown.insert("module_setup".into(), true.into());
    let patterns: Vec<_> = args
        .filter
        .iter()
        .filter(|pattern| !pattern.is_empty())
        .collect();
    if !patterns.is_empty() {
        shown.retain(|name, _| patterns.iter().any(|pattern| passes(pattern, name)));
    }
    let mut outcome = Outcome::unchanged().with("ansible_facts", shown);
    outcome.warnings = warnings;
    Ok(outcome)
}

/// Tells whether a filter lets a fact through, with or without the prefix `ansible_`.
fn passes(pattern: &str, name: &Value) -> bool {
    let name = name.to_string();
    let pattern_with_prefix = NamePattern::new(&format!("ansible_{pattern}"));
    NamePattern::new(pattern).matches(name.as_ref()) || pattern_with_prefix.matches(name.as_ref())
}

/// Returns the families a subset stands for, or names what is not one.
fn select(subset: &[String]) -> Result<BTreeSet<&'static str>, Failure> {
    let all: BTreeSet<_> = FAMILIES.iter().map(|family| family.name).collect();
    let minimal: BTreeSet<_> = MINIMAL.into_iter().collect();
    let mut added = BTreeSet::new();
    let mut removed = BTreeSet::new();
    let mut named = BTreeSet::new();
    let mut explicit_min = true;
    let mut names_something = false;
    for word in subset.iter().map(|word| word.trim()) {
        let (name, set) = match word.strip_prefix('!') {
            Some(name) => (name, &mut removed),
            None => {
                names_something = true;
                (word, &mut added)
            }
        };
        match name {
            // `!all` leaves the minimal families in; only `!min` takes them away.
            "all" if word.starts_with('!') => set.extend(all.difference(&minimal)),
            "all" => set.extend(&all),
            "min" => {
                set.extend(&minimal);
                explicit_min = !word.starts_with('!');
            }
            // Gathered by programs that Ansible would start and that are not part of it.
            "facter" | "ohai" => {}
            name => {
                let family = family_of(name).ok_or_else(|| unknown_subset(name))?;
                set.insert(family);
                if !word.starts_with('!') {
                    named.insert(family);
                }
            }
        }
    }
    if !names_something {
        added.extend(&all);
    }
    if explicit_min {
        added.extend(&minimal);
    }
    // What is asked for by its own name is gathered whatever is left out.
    let removed: BTreeSet<_> = removed.difference(&named).copied().collect();
    Ok(added.difference(&removed).copied().collect())
}

fn family_of(name: &str) -> Option<&'static str> {
    FAMILIES
        .iter()
        .find(|family| family.name == name || family.facts.contains(&name))
        .map(|family| family.name)
}

fn unknown_subset(name: &str) -> Failure {
    let mut known: Vec<_> = FAMILIES
        .iter()
        .flat_map(|family| std::iter::once(family.name).chain(family.facts.iter().copied()))
        .chain(["all", "min", "facter", "ohai"])
        .collect();
    known.sort_unstable();
    Failure::new(format!(
        "Bad subset '{name}' given to Ansible. gather_subset options allowed: {}",
        known.join(", ")
    ))
}

impl Gathering<'_> {
    fn set(&mut self, name: &str, value: impl Into<Value>) {
        self.facts.insert(name.into(), value.into());
    }

    /// Reads a small text file, or nothing when it is not there or may not be read.
    fn text(&mut self, path: &str) -> Option<String> {
        let bytes = self.machine.read(Path::new(path)).ok()?;
        Some(String::from_utf8_lossy(&bytes).into_owned())
    }

    /// Reads the first line of a file, trimmed.
    fn line(&mut self, path: &str) -> Option<String> {
        Some(self.text(path)?.lines().next()?.trim().to_owned())
    }

    fn exists(&self, path: &str) -> bool {
        self.machine.exists(Path::new(path)).unwrap_or(false)
    }

    /// Lists the names in a directory; none when it is not there.
    fn names(&self, directory: &str) -> Vec<String> {
        let entries = self
            .machine
            .read_dir(Path::new(directory))
            .unwrap_or_default();
        entries
            .into_iter()
            .map(|entry| entry.name.to_string_lossy().into_owned())
            .collect()
    }

    /// Returns the output of a program that succeeded; programs that are missing say nothing.
    fn output(&mut self, argv: &[&str]) -> Option<String> {
        self.machine.find_program(argv.first()?)?;
        let limit = Duration::from_secs(u64::try_from(self.args.gather_timeout).unwrap_or(10));
        let command = Command::new(argv)
            .env("LC_ALL", "C")
            .env("LANG", "C")
            .timeout(limit);
        let output = self.machine.query(&command).ok()?;
        output.success().then(|| output.stdout_text())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::machine::MachineOptions;

    fn selected(subset: &[&str]) -> Vec<&'static str> {
        let subset: Vec<_> = subset.iter().map(|word| (*word).to_owned()).collect();
        select(&subset).unwrap().into_iter().collect()
    }

    #[test]
    fn not_all_leaves_the_minimal_facts_and_not_min_takes_them_too() {
        let minimal = selected(&["!all"]);
        assert!(minimal.contains(&"env") && !minimal.contains(&"network"));
        assert_eq!(selected(&["!all", "!min"]), Vec::<&str>::new());
        assert_eq!(selected(&["!all", "!min", "default_ipv4"]), ["network"]);
        assert!(!selected(&["!hardware"]).contains(&"hardware"));
        assert!(selected(&["!hardware"]).contains(&"network"));
    }

    #[test]
    fn an_unknown_subset_is_named() {
        let message = select(&["everything".to_owned()]).unwrap_err().msg;
        assert!(
            message.starts_with("Bad subset 'everything' given to Ansible."),
            "{message}"
        );
    }

    #[test]
    fn a_filter_works_with_and_without_the_prefix() {
        let given = Value::map([("filter", "user_i*,ansible_machine")]);
        let args = SetupArgs::parse(given.as_map().unwrap()).unwrap();
        let outcome = run(&mut Machine::new(MachineOptions::default()), args).unwrap();
        let facts = outcome
            .data
            .get("ansible_facts")
            .and_then(Value::as_map)
            .unwrap();
        let names: Vec<_> = facts.keys().map(Value::to_string).collect();
        assert_eq!(names, ["ansible_machine", "ansible_user_id"]);
    }
}
