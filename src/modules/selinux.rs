//! `selinux`: state and policy of SELinux, now and after a boot.

use std::path::{Path, PathBuf};

use crate::machine::{Content, Machine, NewFile};

use super::tool;
use super::{Failure, ModuleResult, Outcome};

crate::arguments! {
    /// Change policy and state of `SELinux`.
    pub(crate) struct SelinuxArgs for "ansible.posix.selinux" {
        /// The policy; needed unless the state is `disabled`.
        policy: Option<String> {},
        state: String { required, choices: ["enforcing", "permissive", "disabled"] },
        /// The file that is read at boot.
        configfile: PathBuf { default: "/etc/selinux/config", aliases: ["conf", "file"] },
        /// Tell the kernel at boot too.
        update_kernel_param: bool { default: "false" },
    }
}

/// Brings the running state, the file and the kernel's parameters in line.
pub(crate) fn run(machine: &mut Machine, args: SelinuxArgs) -> ModuleResult {
    let file = machine.expand(&args.configfile);
    let shown = file.display().to_string();
    let is_file = machine
        .metadata(&file)?
        .is_some_and(|found| found.is_file());
    if !is_file {
        return Err(Failure::new(format!("Unable to find file {shown}")).with(
            "details",
            "Please install SELinux-policy package, if this package is not installed previously.",
        ));
    }
    let old = String::from_utf8_lossy(&machine.read(&file)?).into_owned();
    let config_state = setting(&old, "SELINUX");
    let config_policy = setting(&old, "SELINUXTYPE");
    // The running policy is the one that the host's own file names.
    let running_policy = match machine.read(Path::new("/etc/selinux/config")) {
        Ok(bytes) => setting(&String::from_utf8_lossy(&bytes), "SELINUXTYPE"),
        Err(_) => config_policy.clone(),
    };
    let runtime = runtime(machine)?;
    let kernel = if args.update_kernel_param {
        kernel_enabled(machine)?
    } else {
        None
    };
    let state = args.state.as_str();
    let policy = match &args.policy {
        Some(policy) => Some(policy.clone()),
        None if state == "disabled" => config_policy.clone(),
        None => {
            return Err(Failure::new(
                "Policy is required if state is not 'disabled'",
            ));
        }
    };
    let mut outcome = Outcome::unchanged();
    let mut msgs = Vec::new();
    let name = |value: &Option<String>| value.clone().unwrap_or_else(|| "None".into());
    let mut new = old.clone();
    if policy != running_policy {
        let (from, to) = (name(&running_policy), name(&policy));
        msgs.push(format!(
            "Running SELinux policy changed from '{from}' to '{to}'"
        ));
        outcome.changed = true;
    }
    if policy != config_policy {
        let wanted = name(&policy);
        let directory = format!("/etc/selinux/{wanted}/policy");
        if !machine.is_check() && !machine.exists(Path::new(&directory))? {
            return Err(Failure::new(format!(
                "Policy {wanted} does not exist in /etc/selinux/"
            )));
        }
        new = with_setting(&new, "SELINUXTYPE", &wanted);
        let from = name(&config_policy);
        msgs.push(format!(
            "SELinux policy configuration in '{shown}' changed from '{from}' to '{wanted}'"
        ));
        outcome.changed = true;
    }
    if machine.is_check() && outcome.changed {
        return Ok(Outcome::changed());
    }
    let mut reboot_required = false;
    match (runtime, state) {
        (now, state) if now == state => {}
        ("disabled", state) => {
            outcome.warnings.push(format!(
                "Reboot is required to set SELinux state to '{state}'"
            ));
            reboot_required = true;
        }
        (now, "disabled") => {
            if now == "permissive" {
                let warning = "SELinux state change will take effect next reboot";
                outcome.warnings.push(warning.into());
            } else {
                enforce(machine, false)?;
                outcome.warnings.push(format!(
                    "SELinux state temporarily changed from '{now}' to 'permissive'. State change \
                     will take effect next reboot."
                ));
                outcome.changed = true;
            }
            reboot_required = true;
        }
        (now, state) => {
            enforce(machine, state == "enforcing")?;
            msgs.push(format!("SELinux state changed from '{now}' to '{state}'"));
            outcome.changed = true;
        }
    }
    if config_state.as_deref() != Some(state) {
        new = with_setting(&new, "SELINUX", state);
        let from = name(&config_state);
        msgs.push(format!(
            "Config SELinux state changed from '{from}' to '{state}'"
        ));
        outcome.changed = true;
    }
    if new != old {
        let path = machine.real_path(&file)?;
        let content = Content::Bytes(new.into_bytes());
        machine.write(&path, content, &NewFile::default())?;
    }
    let wants_kernel = state != "disabled";
    if args.update_kernel_param && kernel != Some(wants_kernel) {
        set_kernel(machine, wants_kernel)?;
        let word = |is_on: bool| if is_on { "enabled" } else { "disabled" };
        let from = kernel.map_or("<inconsistent>", word);
        let to = word(wants_kernel);
        msgs.push(format!(
            "Kernel SELinux state changed from '{from}' to '{to}'"
        ));
        outcome.changed = true;
    }
    Ok(outcome
        .msg(msgs.join(", "))
        .with("configfile", shown)
        .with("policy", name(&policy))
        .with("state", state)
        .with("reboot_required", reboot_required))
}

fn runtime(machine: &mut Machine) -> Result<&'static str, Failure> {
    if !machine.selinux_enabled() {
        return Ok("disabled");
    }
    let enforce = machine.read(Path::new("/sys/fs/selinux/enforce"))?;
    Ok(if enforce.starts_with(b"1") {
        "enforcing"
    } else {
        "permissive"
    })
}

fn enforce(machine: &mut Machine, on: bool) -> Result<(), Failure> {
    let setenforce = tool::required(machine, "setenforce")?;
    let number = |on: bool| if on { "1" } else { "0" };
    let argv = [setenforce.as_str(), number(on)];
    let undo = [setenforce.as_str(), number(!on)];
    let output = tool::act(machine, &argv, &undo)?;
    tool::check(output.as_ref(), crate::machine::Output::stderr_text)
}

fn setting(text: &str, name: &str) -> Option<String> {
    let start = format!("{name}=");
    text.lines()
        .find_map(|line| line.strip_prefix(&start))
        .map(|value| value.trim().to_owned())
}

fn with_setting(text: &str, name: &str, value: &str) -> String {
    let start = format!("{name}=");
    let mut found = false;
    let mut lines: Vec<_> = text
        .lines()
        .map(|line| {
            if line.starts_with(&start) {
                found = true;
                format!("{start}{value}")
            } else {
                line.to_owned()
            }
        })
        .collect();
    if !found {
        lines.push(format!("{start}{value}"));
    }
    lines.join("\n") + "\n"
}

fn grubby(machine: &Machine) -> Result<String, Failure> {
    tool::found(machine, "grubby").ok_or_else(|| {
        Failure::new("'grubby' command not found on host").with(
            "details",
            "In order to update the kernel command lineenabled/disabled setting, the grubby \
             packageneeds to be present on the system.",
        )
    })
}

/// Returns whether all kernels start with SELinux, or none; `None` where they differ.
fn kernel_enabled(machine: &mut Machine) -> Result<Option<bool>, Failure> {
    let grubby = grubby(machine)?;
    let output = tool::ask(machine, &[grubby.as_str(), "--info=ALL"])?;
    if !output.success() {
        return Err(Failure::new("unable to run grubby"));
    }
    let text = output.stdout_text();
    let (mut on, mut off) = (false, false);
    for line in text.lines().filter_map(|line| line.strip_prefix("args=\"")) {
        let is_off = line
            .trim_end_matches('"')
            .split(' ')
            .any(|word| word == "selinux=0");
        on |= !is_off;
        off |= is_off;
    }
    Ok((on != off).then_some(on))
}

fn set_kernel(machine: &mut Machine, on: bool) -> Result<(), Failure> {
    let grubby = grubby(machine)?;
    let words = |on: bool| {
        let verb = if on { "--remove-args" } else { "--args" };
        [grubby.as_str(), "--update-kernel=ALL", verb, "selinux=0"].map(str::to_owned)
    };
    let output = tool::act(machine, &words(on), &words(!on))?;
    tool::check(output.as_ref(), |_| {
        if on {
            "unable to remove selinux=0 from kernel config".into()
        } else {
            "unable to add selinux=0 to kernel config".into()
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::modules::fake::Programs;

    const NAME: &str = "ansible.posix.selinux";
    const GRUBBY: &str = r#"
case "$*" in
  --info=ALL) [ -e "$here/off" ] && echo 'args="ro selinux=0"' || echo 'args="ro quiet"' ;;
  *--args*) : >"$here/off" ;;
esac
"#;

    #[test]
    fn the_file_is_brought_in_line_once() {
        let host = Programs::new([("grubby", GRUBBY)]);
        host.put("config", "# x\nSELINUX=enforcing\nSELINUXTYPE=targeted\n");
        let options =
            r#"{"state": "disabled", "configfile": "$BIN/config", "update_kernel_param": true}"#;
        let first = host.run(NAME, options);
        assert!(first.contains("Config SELinux state changed from 'enforcing' to 'disabled', Kernel SELinux state changed from 'enabled' to 'disabled'"), "{first}");
        let text = std::fs::read_to_string(host.path("config")).unwrap();
        assert_eq!(text, "# x\nSELINUX=disabled\nSELINUXTYPE=targeted\n");
        let second = host.run(NAME, options);
        assert!(second.contains(r#""changed":false"#), "{second}");
        assert_eq!(
            host.undo_steps(),
            ["grubby --update-kernel=ALL --remove-args selinux=0"]
        );
    }

    #[test]
    fn settings_are_replaced_or_added() {
        assert_eq!(
            with_setting("A=1\n", "SELINUX", "disabled"),
            "A=1\nSELINUX=disabled\n"
        );
        assert_eq!(
            setting("#SELINUX=x\nSELINUX= enforcing \n", "SELINUX").as_deref(),
            Some("enforcing")
        );
    }

    #[test]
    fn a_missing_file_and_a_missing_policy_are_refused() {
        let host = Programs::new([]);
        assert!(
            host.run(NAME, r#"{"state": "disabled", "configfile": "$BIN/none"}"#)
                .contains("Unable to find file $BIN/none")
        );
        host.put("config", "SELINUX=disabled\n");
        assert!(
            host.run(
                NAME,
                r#"{"state": "permissive", "configfile": "$BIN/config"}"#
            )
            .contains("Policy is required if state is not 'disabled'")
        );
    }
}
