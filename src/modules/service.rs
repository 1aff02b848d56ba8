//! `service`: services of whatever manages them — systemd, or init scripts.
//!
//! On a systemd host this is `systemd` under another name, as in Ansible.

use std::path::Path;

use crate::machine::{Command, Effect, Machine, Output};
use crate::transaction::journal::UndoStep;

use super::init_scripts::starts_at_boot;
use super::systemd::{self, SystemdArgs};
use super::{Failure, ModuleResult, Outcome};

crate::arguments! {
    /// Manage services.
    pub(crate) struct ServiceArgs for "service" {
        /// The service.
        name: String { required },
        /// Whether it runs; `restarted` and `reloaded` always change something.
        state: Option<String> { choices: ["reloaded", "restarted", "started", "stopped"] },
        /// Seconds between stop and start of a restart.
        sleep: Option<i64> {},
        /// What to look for among processes when there is no status command.
        pattern: Option<String> {},
        /// Whether the service starts at boot.
        enabled: Option<bool> {},
        /// For OpenRC: the runlevel the service belongs to.
        runlevel: String { default: "default" },
        /// More arguments for the service command.
        arguments: String { default: "", aliases: ["args"] },
        /// The service manager to use; found out unless it is named.
        r#use: String { default: "auto" },
    }
    required_one_of [["state", "enabled"]]
}

/// Brings the service into the wanted state.
pub(crate) fn run(machine: &mut Machine, args: ServiceArgs) -> ModuleResult {
    match manager(machine, &args.r#use)? {
        Manager::Systemd => systemd::run(
            machine,
            SystemdArgs {
                name: Some(args.name),
                state: args.state,
                enabled: args.enabled,
                force: None,
                masked: None,
                daemon_reload: false,
                daemon_reexec: false,
                scope: "system".into(),
                no_block: false,
            },
        ),
        Manager::InitScripts => InitService {
            machine,
            args: &args,
        }
        .run(),
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Manager {
    Systemd,
    InitScripts,
}

fn manager(machine: &Machine, wanted: &str) -> Result<Manager, Failure> {
    match wanted.rsplit('.').next().unwrap_or(wanted) {
        "systemd" | "systemd_service" => Ok(Manager::Systemd),
        "service" | "sysvinit" | "openrc" => Ok(Manager::InitScripts),
        "auto" if machine.exists(Path::new("/run/systemd/system"))? => Ok(Manager::Systemd),
        "auto" => Ok(Manager::InitScripts),
        other => Err(Failure::new(format!(
            "Could not find the service manager `{other}`: it is one of auto, systemd, sysvinit, openrc"
        ))),
    }
}

/// A service that is an init script.
struct InitService<'a> {
    machine: &'a mut Machine,
    args: &'a ServiceArgs,
}

impl InitService<'_> {
    fn run(mut self) -> ModuleResult {
        let script = Path::new("/etc/init.d").join(&self.args.name);
        if !self.machine.exists(&script)? {
            return Err(Failure::new(format!(
                "Could not find the requested service {}: host",
                self.args.name
            )));
        }
        let mut outcome = Outcome::unchanged().with("name", self.args.name.as_str());
        if let Some(enabled) = self.args.enabled {
            outcome.changed |= self.enable(enabled)?;
            outcome = outcome.with("enabled", enabled);
        }
        if let Some(state) = self.args.state.as_deref() {
            outcome.changed |= self.set_state(state)?;
            let shown = if state == "stopped" {
                "stopped"
            } else {
                "started"
            };
            outcome = outcome.with("state", shown);
        }
        Ok(outcome)
    }

    fn argv(&self, verb: &str) -> Vec<String> {
        let name = &self.args.name;
        let mut argv = match self.machine.find_program("service") {
            Some(program) => vec![program.display().to_string(), name.clone(), verb.into()],
            None => vec![format!("/etc/init.d/{name}"), verb.into()],
        };
        argv.extend(self.args.arguments.split_whitespace().map(str::to_owned));
        argv
    }

    fn is_running(&mut self) -> Result<bool, Failure> {
        if let Some(pattern) = &self.args.pattern {
            let listed = self
                .machine
                .query(&Command::new(["ps", "auxww"]))?
                .stdout_text();
            return Ok(listed.lines().any(|line| line.contains(pattern.as_str())));
        }
        let output = self.machine.query(&Command::new(self.argv("status")))?;
        let text = output.stdout_text().to_lowercase();
        // Old scripts answer 0 whatever is the case, and say it in words.
        let says_stopped = [
            "not running",
            "is stopped",
            "not started",
            "is dead",
            "inactive",
        ]
        .iter()
        .any(|words| text.contains(words));
        Ok(output.success() && !says_stopped)
    }

    fn set_state(&mut self, wanted: &str) -> Result<bool, Failure> {
        let is_running = self.is_running()?;
        let verbs: &[(&str, &str)] = match wanted {
            "started" if is_running => return Ok(false),
            "stopped" if !is_running => return Ok(false),
            "stopped" => &[("stop", "start")],
            "restarted" if is_running && self.args.sleep.is_some() => {
                &[("stop", "start"), ("start", "stop")]
            }
            "restarted" if is_running => &[("restart", "restart")],
            "reloaded" if is_running => &[("reload", "reload")],
            _ => &[("start", "stop")],
        };
        for (index, (verb, undo)) in verbs.iter().enumerate() {
            if let Some(seconds) = self.args.sleep.filter(|_| index > 0) {
                let pause = Command::new(["sleep", &seconds.to_string()]);
                self.machine.execute(
                    &pause,
                    Effect::Compensated {
                        what: "wait".into(),
                        undo: Vec::new(),
                    },
                )?;
            }
            self.act(self.argv(verb), self.argv(undo))?;
        }
        Ok(true)
    }

    fn enable(&mut self, enabled: bool) -> Result<bool, Failure> {
        let name = self.args.name.clone();
        if self.starts_at_boot()? == enabled {
            return Ok(false);
        }
        let words = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect();
        let (on, off): (Vec<String>, Vec<String>) = if self
            .machine
            .find_program("rc-update")
            .is_some()
        {
            let level = &self.args.runlevel;
            (
                words(&["rc-update", "add", &name, level]),
                words(&["rc-update", "del", &name, level]),
            )
        } else if self.machine.find_program("update-rc.d").is_some() {
            let defaults = Command::new(["update-rc.d", &name, "defaults"]);
            let effect = Effect::compensated(
                format!("update-rc.d {name} defaults"),
                ["update-rc.d", "-f", &name, "remove"],
            );
            self.machine.execute(&defaults, effect)?;
            (
                words(&["update-rc.d", &name, "enable"]),
                words(&["update-rc.d", &name, "disable"]),
            )
        } else if self.machine.find_program("chkconfig").is_some() {
            (
                words(&["chkconfig", &name, "on"]),
                words(&["chkconfig", &name, "off"]),
            )
        } else {
            return Err(Failure::new(format!(
                "cannot make {name} start at boot: the host has neither systemctl, update-rc.d, \
                 rc-update nor chkconfig"
            )));
        };
        if enabled {
            self.act(on, off)?
        } else {
            self.act(off, on)?
        };
        Ok(true)
    }

    fn starts_at_boot(&mut self) -> Result<bool, Failure> {
        let runlevel = format!("/etc/runlevels/{}/{}", self.args.runlevel, self.args.name);
        Ok(self.machine.exists(Path::new(&runlevel))?
            || starts_at_boot(self.machine, &self.args.name)?)
    }

    fn act(&mut self, argv: Vec<String>, undo: Vec<String>) -> Result<Option<Output>, Failure> {
        let what = argv.join(" ");
        let effect = Effect::Compensated {
            what: what.clone(),
            undo: vec![UndoStep::new(undo)],
        };
        match self.machine.execute(&Command::new(&argv), effect)?.output() {
            Some(output) if !output.success() => Err(Failure::new(format!(
                "`{what}` failed: {}",
                [output.stderr_text(), output.stdout_text()].concat().trim()
            ))
            .with("rc", output.status)),
            output => Ok(output),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::machine::MachineOptions;

    #[test]
    fn an_unknown_manager_is_refused() {
        let machine = Machine::new(MachineOptions::default());
        assert_eq!(
            manager(&machine, "launchd").unwrap_err().msg,
            "Could not find the service manager `launchd`: it is one of auto, systemd, sysvinit, openrc"
        );
        assert_eq!(
            manager(&machine, "ansible.builtin.systemd").ok(),
            Some(Manager::Systemd)
        );
    }
}
