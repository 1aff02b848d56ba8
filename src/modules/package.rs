//! `package`: packages of whatever manager the target has.
//!
//! Finds the manager and hands the work to its module; knows no manager itself.

use crate::machine::Machine;
use crate::value::Map;

use super::apt::{self, AptArgs};
use super::dnf::{self, DnfArgs};
use super::{Failure, ModuleResult};

crate::arguments! {
    /// Manage packages with the host's own package manager.
    pub(crate) struct PackageArgs for "package" {
        /// The packages.
        name: Vec<String> { required },
        /// What they should be, in the words of the host's package manager.
        state: Option<String> {},
        /// The package manager to use; found out unless it is named.
        r#use: String { default: "auto" },
    }
}

/// The programs that give a manager away, and its module.
const MANAGERS: [(&str, &str); 4] = [
    ("apt-get", "apt"),
    ("dnf", "dnf"),
    ("dnf5", "dnf5"),
    ("yum", "dnf"),
];

/// Hands the packages to the manager's module.
pub(crate) fn run(machine: &mut Machine, args: PackageArgs) -> ModuleResult {
    let wanted = args.r#use.rsplit('.').next().unwrap_or_default();
    let manager = match wanted {
        "auto" => {
            let manager = MANAGERS
                .iter()
                .find(|(program, _)| machine.find_program(program).is_some());
            let (_, manager) = manager.ok_or_else(|| {
                Failure::new(
                    "Could not detect which package manager to use. Try gathering facts or \
                     setting the \"use\" option.",
                )
            })?;
            manager
        }
        "apt" | "dnf" | "dnf5" => wanted,
        "yum" => "dnf",
        other => {
            return Err(Failure::new(format!(
                "Could not find a matching action for the \"{other}\" package manager."
            )));
        }
    };
    let state = args.state.as_deref().map(|state| match state {
        "installed" => "present",
        "removed" => "absent",
        state => state,
    });
    let mut given = Map::new();
    given.insert("name".into(), crate::value::Value::list(args.name));
    if let Some(state) = state {
        given.insert("state".into(), state.into());
    }
    match manager {
        "dnf" => dnf::run(machine, DnfArgs::parse(&given)?),
        "dnf5" => dnf::run_dnf5(machine, DnfArgs::parse(&given)?),
        _ => apt::run(machine, AptArgs::parse(&given)?),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::modules::fake::Programs;
    use crate::value::Value;

    fn call(programs: &Programs, json: &str) -> ModuleResult {
        let given: Value = serde_json::from_str(json).unwrap();
        run(
            &mut programs.machine(),
            PackageArgs::parse(given.as_map().unwrap()).unwrap(),
        )
    }

    #[test]
    fn a_debian_host_uses_apt() {
        let programs = Programs::new([
            ("apt-get", ""),
            ("apt-cache", ""),
            ("apt-mark", ""),
            (
                "dpkg-query",
                "printf 'jq\\tamd64\\tinstall ok installed\\t1.5\\t\\n'",
            ),
        ]);
        assert!(
            !call(&programs, r#"{"name":"jq","state":"present"}"#)
                .unwrap()
                .changed
        );
        assert_eq!(programs.calls()[0].split(' ').next(), Some("dpkg-query"));
    }

    #[test]
    fn an_unknown_manager_is_named() {
        let failure = call(
            &Programs::new([]),
            r#"{"name":"jq","state":"present","use":"brew"}"#,
        )
        .unwrap_err();
        assert_eq!(
            failure.msg,
            "Could not find a matching action for the \"brew\" package manager."
        );
    }
}
