//! `sudoers`: one rule of sudo, a file of its own in `/etc/sudoers.d`.

use std::path::Path;

use crate::machine::{Attributes, Content, Follow, Machine, NewFile};

use super::tool;
use super::{Failure, ModuleResult, Outcome};

crate::arguments! {
    /// Manage sudoers files.
    pub(crate) struct SudoersArgs for "community.general.sudoers" {
        /// What may be run.
        commands: Option<Vec<String>> {},
        /// The group that may.
        group: Option<String> {},
        /// The rule's name, and its file's.
        name: String { required },
        /// What is run may run nothing else.
        noexec: bool { default: "false" },
        /// Ask for no password.
        nopassword: bool { default: "true" },
        /// Let the environment be kept.
        setenv: bool { default: "false" },
        /// The host that the rule is for.
        host: String { default: "ALL" },
        /// As whom things are run.
        runas: Option<String> {},
        /// The directory of the rules.
        sudoers_path: String { default: "/etc/sudoers.d" },
        /// Whether there is the rule.
        state: String { default: "present", choices: ["present", "absent"] },
        /// The user who may.
        user: Option<String> {},
        /// Whether `visudo` checks the rule first.
        validation: String { default: "detect", choices: ["absent", "detect", "required"] },
    }
    mutually_exclusive [["user", "group"]]
    required_if [("state", "present", ["commands"], false)]
}

const MODE: u32 = 0o440;

/// Writes or removes the rule's file.
pub(crate) fn run(machine: &mut Machine, args: SudoersArgs) -> ModuleResult {
    let path = Path::new(&args.sudoers_path).join(&args.name);
    let found = machine.metadata(&path)?;
    if args.state == "absent" {
        let changed = found.is_some() && machine.remove(&path)?;
        return Ok(Outcome::unchanged().with_changed(changed));
    }
    let rule = rule(&args)?;
    check(machine, &args, &rule)?;
    let is_same = match &found {
        Some(found) => found.mode & 0o777 == MODE && machine.read(&path)? == rule.as_bytes(),
        None => false,
    };
    if is_same {
        return Ok(Outcome::unchanged());
    }
    let new = NewFile {
        mode: Some(MODE),
        ..NewFile::default()
    };
    machine.write(&path, Content::Bytes(rule.into_bytes()), &new)?;
    let mode = Attributes {
        mode: Some(MODE),
        ..Attributes::default()
    };
    machine.set_attributes(&path, &mode, Follow::Yes)?;
    Ok(Outcome::changed())
}

fn rule(args: &SudoersArgs) -> Result<String, Failure> {
    let given = |text: &Option<String>| text.clone().filter(|text| !text.is_empty());
    let group = given(&args.group).map(|group| format!("%{group}"));
    let owner = given(&args.user).or(group).ok_or_else(|| {
        Failure::new("one of `user` and `group` is required where there is to be a rule")
    })?;
    let tags: String = [
        ("NOEXEC:", args.noexec),
        ("NOPASSWD:", args.nopassword),
        ("SETENV:", args.setenv),
    ]
    .into_iter()
    .filter_map(|(tag, is_set)| is_set.then_some(tag))
    .collect();
    let runas = args.runas.as_ref().map(|user| format!("({user})"));
    Ok(format!(
        "{owner} {}={}{tags} {}\n",
        args.host,
        runas.unwrap_or_default(),
        args.commands.as_deref().unwrap_or_default().join(", ")
    ))
}

/// Has `visudo` check the rule before it counts.
fn check(machine: &mut Machine, args: &SudoersArgs, rule: &str) -> Result<(), Failure> {
    let visudo = match args.validation.as_str() {
        "absent" => None,
        "required" => Some(tool::required(machine, "visudo")?),
        _ => tool::found(machine, "visudo"),
    };
    let Some(visudo) = visudo else {
        return Ok(());
    };
    let command = tool::command(&[visudo.as_str(), "-c", "-f", "-"]).stdin(rule);
    let output = machine.query(&command)?;
    if output.success() {
        return Ok(());
    }
    let (out, err) = (output.stdout_text(), output.stderr_text());
    let said = if out.is_empty() { &err } else { &out };
    let msg = format!("Failed to validate sudoers rule:\n{said}");
    Err(Failure::new(msg).with("stdout", out).with("stderr", err))
}

#[cfg(test)]
mod tests {
    use crate::modules::fake::Programs;

    const NAME: &str = "community.general.sudoers";
    const VISUDO: &str = "grep -q broken && { echo 'syntax error'; exit 1; }; exit 0";

    #[test]
    fn a_rule_that_visudo_refuses_is_not_written() {
        let host = Programs::new([("visudo", VISUDO)]);
        let options =
            r#"{"sudoers_path": "$BIN", "name": "app", "user": "app", "commands": "broken"}"#;
        assert_eq!(
            host.run(NAME, options),
            r#"{"failed":true,"changed":false,"msg":"Failed to validate sudoers rule:\nsyntax error\n","stdout":"syntax error\n","stderr":"","stdout_lines":["syntax error"],"stderr_lines":[]}"#
        );
        assert!(!host.path("app").exists());
        let options = r#"{"sudoers_path": "$BIN", "name": "app", "commands": "ALL"}"#;
        assert!(
            host.run(NAME, options)
                .contains("one of `user` and `group`")
        );
    }
}
