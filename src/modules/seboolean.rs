//! `seboolean`: a switch of the target's SELinux policy.
//!
//! Drives `getsebool`, `setsebool` and, for what stays after a boot, `semanage`.

use crate::machine::Machine;

use super::tool;
use super::{Failure, ModuleResult, Outcome};

crate::arguments! {
    /// Toggles SELinux booleans.
    pub(crate) struct SebooleanArgs for "ansible.posix.seboolean" {
        /// Go on where SELinux is disabled; only what stays after a boot can be set then.
        ignore_selinux_state: bool { default: "false" },
        /// The boolean.
        name: String { required },
        /// Keep the value after a boot.
        persistent: bool { default: "false" },
        /// The value.
        state: bool { required },
    }
}

/// Sets the boolean where it differs.
pub(crate) fn run(machine: &mut Machine, args: SebooleanArgs) -> ModuleResult {
    let is_enabled = machine.selinux_enabled();
    if !is_enabled && !args.ignore_selinux_state {
        return Err(Failure::new("SELinux is disabled on this host."));
    }
    let changed = match (args.persistent, is_enabled) {
        (true, _) => persistent_value(machine, &args.name)? != args.state,
        (false, true) => current_value(machine, &args.name)? != args.state,
        (false, false) => false,
    };
    if changed {
        set(machine, &args)?;
    }
    Ok(Outcome::unchanged()
        .with("name", args.name)
        .with("persistent", args.persistent)
        .with("state", args.state)
        .with_changed(changed))
}

fn current_value(machine: &mut Machine, name: &str) -> Result<bool, Failure> {
    let getsebool = tool::required(machine, "getsebool")?;
    let output = tool::ask(machine, &[&getsebool, name])?;
    if !output.success() {
        return Err(Failure::new(format!(
            "SELinux boolean {name} does not exist."
        )));
    }
    Ok(output.stdout_text().trim_end().ends_with("on"))
}

/// Reads `name (on , off) Words` of `semanage boolean -l`: now, and after a boot.
fn persistent_value(machine: &mut Machine, name: &str) -> Result<bool, Failure> {
    let semanage = tool::required(machine, "semanage")?;
    let output = tool::ask(machine, &[&semanage, "boolean", "-l", "-n"])?;
    tool::check(Some(&output), |output| {
        let said = output.stderr_text();
        format!("Failed to manage policy for boolean {name}: {said}")
    })?;
    let text = output.stdout_text();
    let value = text.lines().find_map(|line| {
        let (found, rest) = line.split_once(char::is_whitespace)?;
        let (_, rest) = rest.split_once('(')?;
        let (inside, _) = rest.split_once(')')?;
        let (_, value) = inside.split_once(',')?;
        (found == name).then(|| value.trim() == "on")
    });
    value.ok_or_else(|| {
        Failure::new(format!(
            "SELinux boolean {name} is not defined in persistent policy"
        ))
    })
}

fn set(machine: &mut Machine, args: &SebooleanArgs) -> Result<(), Failure> {
    let setsebool = tool::required(machine, "setsebool")?;
    let words = |state: bool| {
        let mut argv = vec![setsebool.clone()];
        if args.persistent {
            argv.push("-P".into());
        }
        argv.extend([args.name.clone(), if state { "on" } else { "off" }.into()]);
        argv
    };
    let output = tool::act(machine, &words(args.state), &words(!args.state))?;
    tool::check(output.as_ref(), |_| {
        format!(
            "Failed to set boolean {} to {}",
            args.name,
            i32::from(args.state)
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::modules::fake::Programs;
    use crate::value::Value;

    const SEMANAGE: &str = r#"
value=$(cat "$here/value" 2>/dev/null || echo off)
printf 'httpd_can_network_connect      (off  ,  %s)  Allow httpd\nother (on , on) x\n' "$value"
"#;

    fn call(programs: &Programs, options: &str) -> Result<bool, String> {
        let json = format!(r#"{{"ignore_selinux_state": true, "persistent": true, {options}}}"#);
        let given: Value = serde_json::from_str(&json).unwrap();
        SebooleanArgs::parse(given.as_map().unwrap())
            .map_err(Failure::from)
            .and_then(|args| run(&mut programs.machine(), args))
            .map(|outcome| outcome.changed)
            .map_err(|failure| failure.msg)
    }

    #[test]
    fn a_boolean_is_set_once_and_set_back() {
        let programs = Programs::new([
            ("semanage", SEMANAGE),
            ("setsebool", "echo \"$3\" >\"$here/value\""),
        ]);
        let options = r#""name": "httpd_can_network_connect", "state": true"#;
        assert_eq!(call(&programs, options), Ok(true));
        assert_eq!(call(&programs, options), Ok(false));
        assert_eq!(
            programs.calls()[1],
            "setsebool -P httpd_can_network_connect on"
        );
        assert_eq!(
            programs.undo_steps(),
            ["setsebool -P httpd_can_network_connect off"]
        );
    }

    #[test]
    fn an_unknown_boolean_is_named() {
        let programs = Programs::new([("semanage", SEMANAGE)]);
        assert_eq!(
            call(&programs, r#""name": "nope", "state": true"#),
            Err("SELinux boolean nope is not defined in persistent policy".into())
        );
    }
}
