//! `group`: groups of the target's account files.
//!
//! Drives `groupadd`, `groupmod` and `groupdel` (or their `l…` twins for local groups).

use crate::machine::{Command, Effect, Group, Machine};

use super::{Failure, ModuleResult, Outcome};

crate::arguments! {
    /// Add or remove groups.
    pub(crate) struct GroupArgs for "group" {
        /// The group.
        name: String { required },
        /// Whether it should exist.
        state: String { default: "present", choices: ["absent", "present"] },
        /// Its number.
        gid: Option<i64> {},
        /// Create it as a system group.
        system: bool { default: "no" },
        /// Look at and change local account files only.
        local: bool { default: "no" },
        /// Allow a number that another group has.
        non_unique: bool { default: "no" },
        /// Remove it even if it is a user's primary group.
        force: bool { default: "no" },
        /// The smallest number that is chosen.
        gid_min: Option<i64> {},
        /// The largest number that is chosen.
        gid_max: Option<i64> {},
    }
    required_if [("non_unique", "true", ["gid"], false)]
}

/// Makes the group exist, or not.
pub(crate) fn run(machine: &mut Machine, args: GroupArgs) -> ModuleResult {
    if args.local && args.force {
        return Err(Failure::new(
            "force is not a valid option for local, force=True and local=True are mutually exclusive",
        ));
    }
    let outcome = Outcome::unchanged()
        .with("name", args.name.as_str())
        .with("state", args.state.as_str());
    let existing = find(machine, &args);
    if args.state == "absent" {
        return match existing {
            Some(group) => {
                remove(machine, &args, &group)?;
                Ok(outcome.with_changed(true))
            }
            None => Ok(outcome),
        };
    }
    let outcome = outcome.with("system", args.system);
    let changed = match &existing {
        Some(group) => renumber(machine, &args, group)?,
        None => {
            add(machine, &args)?;
            true
        }
    };
    let gid = match find(machine, &args) {
        Some(group) => Some(i64::from(group.gid)),
        None => args.gid,
    };
    let outcome = outcome.with_changed(changed);
    Ok(match gid {
        Some(gid) => outcome.with("gid", gid),
        None => outcome,
    })
}

fn find(machine: &mut Machine, args: &GroupArgs) -> Option<Group> {
    if args.local {
        return machine
            .local_groups()
            .into_iter()
            .find(|group| group.name == args.name);
    }
    machine.group(&args.name)
}

fn add(machine: &mut Machine, args: &GroupArgs) -> Result<(), Failure> {
    let mut argv = vec![program(args, "groupadd")];
    argv.extend(number_options(args));
    if args.system {
        argv.push("-r".into());
    }
    for (option, name, value) in [
        ("-K", "GID_MIN", args.gid_min),
        ("-K", "GID_MAX", args.gid_max),
    ] {
        if let Some(value) = value {
            argv.extend([option.into(), format!("{name}={value}")]);
        }
    }
    argv.push(args.name.clone());
    act(machine, argv, vec!["groupdel".into(), args.name.clone()])
}

fn renumber(machine: &mut Machine, args: &GroupArgs, group: &Group) -> Result<bool, Failure> {
    if args.gid.is_none_or(|gid| gid == i64::from(group.gid)) {
        return Ok(false);
    }
    let mut argv = vec![program(args, "groupmod")];
    argv.extend(number_options(args));
    argv.push(args.name.clone());
    let undo = ["groupmod", "-g", &group.gid.to_string(), &args.name]
        .map(str::to_owned)
        .to_vec();
    act(machine, argv, undo)?;
    Ok(true)
}

fn remove(machine: &mut Machine, args: &GroupArgs, group: &Group) -> Result<(), Failure> {
    let mut argv = vec![program(args, "groupdel")];
    if args.force {
        argv.push("-f".into());
    }
    argv.push(args.name.clone());
    let undo = ["groupadd", "-g", &group.gid.to_string(), &args.name]
        .map(str::to_owned)
        .to_vec();
    act(machine, argv, undo)
}

fn number_options(args: &GroupArgs) -> Vec<String> {
    let Some(gid) = args.gid else {
        return Vec::new();
    };
    let mut options = vec!["-g".to_owned(), gid.to_string()];
    if args.non_unique {
        options.push("-o".into());
    }
    options
}

fn program(args: &GroupArgs, name: &str) -> String {
    if args.local {
        format!("l{name}")
    } else {
        name.to_owned()
    }
}

fn act(machine: &mut Machine, argv: Vec<String>, undo: Vec<String>) -> Result<(), Failure> {
    let effect = Effect::compensated(argv.join(" "), undo);
    match machine.execute(&Command::new(&argv), effect)?.output() {
        Some(output) if !output.success() => {
            let name = argv.last().cloned().unwrap_or_default();
            Err(Failure::new(output.stderr_text()).with("name", name))
        }
        _ => Ok(()),
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
            GroupArgs::parse(given.as_map().unwrap()).unwrap(),
        )
    }

    fn tools() -> Programs {
        Programs::new([
            ("groupadd", ""),
            ("groupmod", ""),
            ("groupdel", "echo busy >&2; exit 8"),
        ])
    }

    #[test]
    fn a_new_group_is_added_with_its_number_and_can_be_undone() {
        let programs = tools();
        let outcome = call(
            &programs,
            r#"{"name":"backstay-none","gid":4242,"system":true}"#,
        )
        .unwrap();
        assert!(outcome.changed);
        assert_eq!(outcome.data.get("gid"), Some(&4242.into()));
        assert_eq!(programs.calls(), ["groupadd -g 4242 -r backstay-none"]);
        assert_eq!(programs.undo_steps(), ["groupdel backstay-none"]);
    }

    #[test]
    fn an_existing_group_is_left_alone_or_renumbered() {
        let programs = tools();
        assert!(
            !call(&programs, r#"{"name":"root","gid":0}"#)
                .unwrap()
                .changed
        );
        assert!(
            call(&programs, r#"{"name":"root","gid":4242}"#)
                .unwrap()
                .changed
        );
        assert_eq!(programs.calls(), ["groupmod -g 4242 root"]);
        assert_eq!(programs.undo_steps(), ["groupmod -g 0 root"]);
    }

    #[test]
    fn a_refused_removal_says_why() {
        let failure = call(&tools(), r#"{"name":"root","state":"absent"}"#).unwrap_err();
        assert_eq!(failure.msg, "busy\n");
    }

    #[test]
    fn an_absent_group_needs_no_removal() {
        let programs = tools();
        let outcome = call(&programs, r#"{"name":"backstay-none","state":"absent"}"#).unwrap();
        assert!(!outcome.changed);
        assert_eq!(programs.calls(), Vec::<String>::new());
    }
}
