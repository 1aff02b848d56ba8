//! `sysctl`: a kernel parameter, in a file and in the running kernel.

use std::path::{Path, PathBuf};

use crate::machine::{Content, Machine, NewFile};
use crate::pyregex::{Flags, Pattern};
use crate::value::Value;

use super::tool;
use super::{Failure, ModuleResult, Outcome};

crate::arguments! {
    /// Manage entries in sysctl.conf.
    pub(crate) struct SysctlArgs for "ansible.posix.sysctl" {
        /// The parameter.
        name: String { required, aliases: ["key"] },
        /// Its value.
        value: Option<String> { aliases: ["val"] },
        /// Whether the file should set it.
        state: String { default: "present", choices: ["absent", "present"] },
        /// Make the kernel read the file again when something changed.
        reload: bool { default: "true" },
        /// Set the running kernel's value too.
        sysctl_set: bool { default: "false" },
        /// Let parameters be that this kernel does not know.
        ignoreerrors: bool { default: "false" },
        /// The file.
        sysctl_file: PathBuf { default: "/etc/sysctl.conf" },
    }
    required_if [("state", "present", ["value"], false)]
}

/// Sets the parameter, or takes it out of the file.
pub(crate) fn run(machine: &mut Machine, args: SysctlArgs) -> ModuleResult {
    let is_present = args.state == "present";
    if args.name.is_empty() {
        return Err(Failure::new("name cannot be blank"));
    }
    if is_present && args.value.as_deref() == Some("") {
        return Err(Failure::new("value cannot be blank"));
    }
    let sysctl = tool::required(machine, "sysctl")?;
    let name = args.name.trim();
    let value = value(args.value.as_deref().unwrap_or_default());
    let path = machine.expand(&args.sysctl_file);
    let asked = tool::ask(machine, &[&sysctl, "-e", "-n", name])?;
    let current = asked.success().then(|| asked.stdout_text());
    let is_current = current
        .as_ref()
        .is_some_and(|current| current.split_whitespace().eq(value.split_whitespace()));

    let before = lines(machine, &path)?;
    let in_file = file_value(&before, name);
    let is_written = match (&in_file, is_present) {
        (None, _) => is_present,
        (Some(found), false) => !found.is_empty(),
        (Some(found), true) => *found != value,
    };
    // What is absent from both is compared with the running kernel by nobody.
    let is_compared = is_present || in_file.is_some();
    let is_stale = !is_written && args.reload && is_compared && !is_current;
    let is_set = args.sysctl_set && is_present && !is_current;
    let changed = is_written || is_stale || is_set;
    if is_set && current.is_some() {
        set(machine, &args, &sysctl, name, &value, current.as_deref())?;
    }
    if is_written {
        write(machine, &path, &fixed(&before, name, &value, is_present))?;
    }
    if changed && args.reload {
        reload(machine, &args, &sysctl, &path, name, current.as_deref())?;
    }
    Ok(Outcome::unchanged().with_changed(changed))
}

/// Returns the value as it is written: truth as 1 or 0.
fn value(given: &str) -> String {
    match Value::from(given).to_soft_bool() {
        Some(flag) => if flag { "1" } else { "0" }.to_owned(),
        None => given.trim().to_owned(),
    }
}

fn lines(machine: &mut Machine, path: &Path) -> Result<Vec<String>, Failure> {
    match machine.metadata(path)? {
        Some(found) if found.is_file() => {
            let bytes = machine.read(path)?;
            let text = String::from_utf8_lossy(&bytes);
            Ok(text.lines().map(|line| line.trim().to_owned()).collect())
        }
        _ => Ok(Vec::new()),
    }
}

/// Splits a line that sets a parameter.
fn assignment(line: &str) -> Option<(&str, &str)> {
    if line.starts_with(['#', ';']) {
        return None;
    }
    let (name, value) = line.split_once('=')?;
    Some((name.trim(), value.trim()))
}

fn file_value(lines: &[String], name: &str) -> Option<String> {
    lines
        .iter()
        .filter_map(|line| assignment(line))
        .rfind(|(found, _)| *found == name)
        .map(|(_, value)| value.to_owned())
}

/// Returns the file with each parameter once, and this one as it should be.
fn fixed(lines: &[String], name: &str, value: &str, is_present: bool) -> String {
    let mut seen = Vec::new();
    let mut text = String::new();
    for line in lines {
        let Some((found, old)) = assignment(line) else {
            text += &format!("{line}\n");
            continue;
        };
        if seen.contains(&found) {
            continue;
        }
        seen.push(found);
        if found != name {
            text += &format!("{found}={old}\n");
        } else if is_present {
            text += &format!("{found}={value}\n");
        }
    }
    if is_present && !seen.contains(&name) {
        text += &format!("{name}={value}\n");
    }
    text
}

fn write(machine: &mut Machine, path: &Path, text: &str) -> Result<(), Failure> {
    let path = machine.real_path(path)?;
    let content = Content::Bytes(text.as_bytes().to_vec());
    Ok(machine.write(&path, content, &NewFile::default())?)
}

fn set(
    machine: &mut Machine,
    args: &SysctlArgs,
    sysctl: &str,
    name: &str,
    value: &str,
    current: Option<&str>,
) -> Result<(), Failure> {
    let assignment = format!("{name}={value}");
    let mut argv = vec![sysctl];
    if args.ignoreerrors {
        argv.push("-e");
    }
    argv.extend(["-w", &assignment]);
    let undo = restoring(sysctl, name, current);
    match tool::act_undone_by(machine, &argv, undo)? {
        Some(output) if !output.success() || was_refused(&output.stderr_text()) => {
            let said = output.stdout_text() + &output.stderr_text();
            Err(Failure::new(format!("setting {name} failed: {said}")))
        }
        _ => Ok(()),
    }
}

fn reload(
    machine: &mut Machine,
    args: &SysctlArgs,
    sysctl: &str,
    path: &Path,
    name: &str,
    current: Option<&str>,
) -> Result<(), Failure> {
    let path = path.display().to_string();
    let mut argv = vec![sysctl];
    if args.ignoreerrors {
        argv.push("-e");
    }
    argv.extend(["-p", &path]);
    let undo = restoring(sysctl, name, current);
    match tool::act_undone_by(machine, &argv, undo)? {
        Some(output) if !output.success() || was_refused(&output.stderr_text()) => {
            let said = output.stdout_text() + &output.stderr_text();
            Err(Failure::new(format!("Failed to reload sysctl: {said}")))
        }
        _ => Ok(()),
    }
}

/// Returns what brings the running kernel's value back.
fn restoring(
    sysctl: &str,
    name: &str,
    current: Option<&str>,
) -> Vec<crate::transaction::journal::UndoStep> {
    let step = |old: &str| {
        let old = old.split_whitespace().collect::<Vec<_>>().join(" ");
        tool::step(&[sysctl, "-w", &format!("{name}={old}")])
    };
    current
        .filter(|old| !old.trim().is_empty())
        .map(step)
        .into_iter()
        .collect()
}

/// Tells whether sysctl says that a key was refused; its exit code may be 0 all the same.
fn was_refused(said: &str) -> bool {
    const REFUSED: &str =
        r#"^sysctl: setting key "[^"]+": (Invalid argument|Read-only file system)$"#;
    let flags = Flags {
        multi_line: true,
        ..Flags::default()
    };
    Pattern::text(REFUSED, flags).is_ok_and(|pattern| matches!(pattern.search(said), Ok(Some(_))))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::modules::fake::Programs;

    /// A kernel whose values are files; `-p` reads assignments.
    const SYSCTL: &str = r#"
case "$1 $2" in
  "-e -n") cat "$here/$3" 2>/dev/null; exit 0 ;;
  "-w "*) echo "${2#*=}" >"$here/${2%%=*}" ;;
  "-p "*) while IFS== read -r k v; do case $k in
      bad) echo 'sysctl: setting key "bad": Invalid argument' >&2 ;;
      ?*) echo "$v" >"$here/$k" ;;
    esac; done <"$2" ;;
esac
"#;

    fn call(programs: &Programs, file: &Path, options: &str) -> Result<bool, String> {
        let json = format!(r#"{{"sysctl_file": "{}", {options}}}"#, file.display());
        let given: Value = serde_json::from_str(&json).unwrap();
        let args = SysctlArgs::parse(given.as_map().unwrap()).map_err(|p| p.to_string())?;
        run(&mut programs.machine(), args)
            .map(|outcome| outcome.changed)
            .map_err(|failure| failure.msg)
    }

    #[test]
    fn a_parameter_is_written_and_loaded_once_and_undone_in_the_kernel() {
        let root = tempfile::tempdir().unwrap();
        let file = root.path().join("x.conf");
        let programs = Programs::new([("sysctl", SYSCTL)]);
        let options = r#""name": "vm.swappiness", "value": "5""#;
        assert_eq!(call(&programs, &file, options), Ok(true));
        let text = || std::fs::read_to_string(&file).unwrap();
        assert_eq!(text(), "vm.swappiness=5\n");
        assert_eq!(call(&programs, &file, options), Ok(false));
        let options = r#""name": "vm.swappiness", "value": "yes", "sysctl_set": true"#;
        assert_eq!(call(&programs, &file, options), Ok(true));
        assert_eq!(text(), "vm.swappiness=1\n");
        assert_eq!(
            programs.undo_steps(),
            ["sysctl -w vm.swappiness=5", "sysctl -w vm.swappiness=5"]
        );
        let options = r#""name": "vm.swappiness", "state": "absent", "reload": false"#;
        assert_eq!(call(&programs, &file, options), Ok(true));
        assert_eq!(text(), "");
        assert_eq!(call(&programs, &file, options), Ok(false));
    }

    #[test]
    fn what_the_kernel_refuses_fails() {
        let root = tempfile::tempdir().unwrap();
        let file = root.path().join("x.conf");
        let programs = Programs::new([("sysctl", SYSCTL)]);
        assert_eq!(
            call(&programs, &file, r#""name": "bad", "value": "5""#),
            Err("Failed to reload sysctl: sysctl: setting key \"bad\": Invalid argument\n".into())
        );
        assert_eq!(
            call(&programs, &file, r#""name": "bad""#),
            Err("state is present but all of the following are missing: value".into())
        );
        assert_eq!(
            call(&programs, &file, r#""name": "bad", "value": """#),
            Err("value cannot be blank".into())
        );
    }

    #[test]
    fn comments_stay_and_the_first_of_two_settings_is_kept() {
        let lines: Vec<_> = ["# a=1", "", "b = 2", "c=3", "b=4", "x"]
            .map(str::to_owned)
            .to_vec();
        assert_eq!(fixed(&lines, "c", "9", true), "# a=1\n\nb=2\nc=9\nx\n");
        assert_eq!(fixed(&lines, "b", "", false), "# a=1\n\nc=3\nx\n");
        assert_eq!(file_value(&lines, "b"), Some("4".into()));
    }
}
