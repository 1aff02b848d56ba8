//! `service_facts`: which services the target has, and how they are.

use std::path::Path;

use crate::machine::Machine;
use crate::pyregex::{Flags, Pattern};
use crate::value::{Map, Value};

use super::tool;
use super::{ModuleResult, Outcome};

crate::arguments! {
    /// Return service state information as fact data.
    pub(crate) struct ServiceFactsArgs for "service_facts" {}
}

/// Returns the fact `services`.
pub(crate) fn run(machine: &mut Machine, _args: ServiceFactsArgs) -> ModuleResult {
    let mut found = Services::default();
    found.add_scripts(machine)?;
    if machine.exists(Path::new("/run/systemd/system"))?
        && let Some(systemctl) = tool::found(machine, "systemctl")
    {
        found.add_units(machine, &systemctl)?;
    }
    let mut outcome = Outcome::unchanged();
    outcome.warnings = found.warnings;
    if found.services.is_empty() {
        return Ok(outcome.skipped().msg(
            "Failed to find any services. This can be due to privileges or some other \
             configuration issue.",
        ));
    }
    let services = Value::map([("services", Value::from(found.services))]);
    Ok(outcome.with("ansible_facts", services))
}

#[derive(Default)]
struct Services {
    services: Map,
    warnings: Vec<String>,
}

impl Services {
    fn set(&mut self, name: &str, fields: &[(&str, Value)]) {
        let fields = std::iter::once(("name", Value::from(name))).chain(fields.iter().cloned());
        self.services.insert(name.into(), Value::map(fields));
    }

    /// Adds what init scripts and OpenRC have.
    fn add_scripts(&mut self, machine: &mut Machine) -> Result<(), super::Failure> {
        let chkconfig = tool::found(machine, "chkconfig");
        let rc_status = tool::found(machine, "rc-status");
        match (tool::found(machine, "service"), chkconfig, rc_status) {
            (Some(service), None, None) => self.add_status_all(machine, &service),
            (service, Some(chkconfig), _) => {
                self.add_chkconfig(machine, &chkconfig, service.as_deref())
            }
            (_, None, Some(rc_status)) => match tool::found(machine, "rc-update") {
                Some(rc_update) => self.add_openrc(machine, &rc_status, &rc_update),
                None => Ok(()),
            },
            (None, None, None) => Ok(()),
        }
    }

    fn add_status_all(
        &mut self,
        machine: &mut Machine,
        service: &str,
    ) -> Result<(), super::Failure> {
        let output = tool::ask(machine, &[service, "--status-all"])?;
        if output.status == 4 && !machine.exists(Path::new("/etc/init.d"))? {
            return Ok(());
        }
        if !output.success() {
            self.warnings.push(format!(
                "Unable to query 'service' tool ({}): {}",
                output.status,
                output.stderr_text()
            ));
        }
        for line in output.stdout_text().lines() {
            let line = line.trim_start();
            let (state, name) = match (line.strip_prefix("[ + ]"), line.strip_prefix("[ - ]")) {
                (Some(name), _) => ("running", name),
                (None, Some(name)) => ("stopped", name),
                (None, None) => continue,
            };
            let name = name.trim_start().to_owned();
            self.set(&name, &[("state", state.into()), ("source", "sysv".into())]);
        }
        Ok(())
    }

    fn add_chkconfig(
        &mut self,
        machine: &mut Machine,
        chkconfig: &str,
        service: Option<&str>,
    ) -> Result<(), super::Failure> {
        let output = tool::ask(machine, &[chkconfig, "--list"])?;
        for line in output.stdout_text().lines() {
            let Some((name, is_enabled)) = chkconfig_row(line) else {
                continue;
            };
            let asked = tool::ask(machine, &[service.unwrap_or("service"), name, "status"])?;
            let state = if asked.success() {
                "running"
            } else {
                "stopped"
            };
            let status = if is_enabled { "enabled" } else { "disabled" };
            self.set(
                name,
                &[
                    ("state", state.into()),
                    ("status", status.into()),
                    ("source", "sysv".into()),
                ],
            );
        }
        Ok(())
    }

    fn add_openrc(
        &mut self,
        machine: &mut Machine,
        rc_status: &str,
        rc_update: &str,
    ) -> Result<(), super::Failure> {
        let listed = tool::ask(machine, &[rc_update, "show", "-v"])?.stdout_text();
        let levels: Vec<(&str, &str)> = listed
            .lines()
            .filter_map(|line| line.split_once('|'))
            .map(|(name, levels)| (name.trim(), levels.trim()))
            .collect();
        let states = tool::ask(machine, &[rc_status, "-a", "-s", "-m"])?.stdout_text();
        for line in states.lines().filter(|line| line.starts_with(' ')) {
            let line = line.replace(['[', ']'], "");
            let words: Vec<_> = line.split_whitespace().collect();
            let [name, state, ..] = words[..] else {
                continue;
            };
            let Some((_, found)) = levels.iter().find(|(known, _)| *known == name) else {
                self.warnings
                    .push(format!("Service {name} not found in the service list"));
                continue;
            };
            let runlevels = if found.is_empty() {
                Value::Null
            } else {
                Value::list(found.split_whitespace())
            };
            self.set(
                name,
                &[
                    ("runlevels", runlevels),
                    ("state", state.into()),
                    ("source", "openrc".into()),
                ],
            );
        }
        Ok(())
    }

    fn add_units(&mut self, machine: &mut Machine, systemctl: &str) -> Result<(), super::Failure> {
        let argv = [
            systemctl,
            "list-units",
            "--no-pager",
            "--type",
            "service",
            "--all",
            "--plain",
        ];
        let output = tool::ask(machine, &argv)?;
        if output.success() {
            for line in output.stdout_text().lines() {
                self.add_unit(line);
            }
        } else {
            let err = output.stderr_text();
            self.warnings
                .push(format!("Could not list units from systemd: {err}"));
        }
        let argv = [
            systemctl,
            "list-unit-files",
            "--no-pager",
            "--type",
            "service",
            "--all",
        ];
        let output = tool::ask(machine, &argv)?;
        if !output.success() {
            let err = output.stderr_text();
            self.warnings
                .push(format!("Could not get unit files data from systemd: {err}"));
            return Ok(());
        }
        self.add_unit_files(machine, systemctl, &output.stdout_text())
    }

    fn add_unit(&mut self, line: &str) {
        let words: Vec<_> = line.split_whitespace().collect();
        let [name, _, active, sub, ..] = words[..] else {
            return;
        };
        if !line.contains(".service") {
            return;
        }
        // systemd puts it in several columns; the last word is the description's.
        let bad = BAD_STATES
            .into_iter()
            .find(|bad| words[..words.len() - 1].contains(bad));
        let state = if sub == "running" {
            "running"
        } else {
            "stopped"
        };
        self.set(name, &unit(state, bad.unwrap_or(active)));
    }

    fn add_unit_files(
        &mut self,
        machine: &mut Machine,
        systemctl: &str,
        listed: &str,
    ) -> Result<(), super::Failure> {
        let rows = listed.lines().filter(|line| line.contains(".service"));
        let rows: Vec<(&str, &str)> = rows
            .filter_map(|line| {
                let mut words = line.split_whitespace();
                Some((words.next()?, words.next()?))
            })
            .collect();
        let new: Vec<_> = rows
            .iter()
            .map(|(name, _)| *name)
            .filter(|name| !self.services.contains_key(*name))
            .collect();
        let states = active_states(machine, systemctl, &new)?;
        for (name, status) in rows {
            if let Some(index) = new.iter().position(|unknown| *unknown == name) {
                let state = states.get(index).map_or("unknown", String::as_str);
                self.set(name, &unit(state, status));
                continue;
            }
            let old = self.services.get(name).cloned().unwrap_or_default();
            let text = |key| old.get(key).and_then(Value::as_str).unwrap_or_default();
            if !BAD_STATES.contains(&text("status")) {
                self.set(name, &unit(text("state"), status));
            }
        }
        Ok(())
    }
}

const BAD_STATES: [&str; 3] = ["not-found", "masked", "failed"];

fn unit(state: &str, status: &str) -> [(&'static str, Value); 3] {
    [
        ("state", state.into()),
        ("status", status.into()),
        ("source", "systemd".into()),
    ]
}

/// Asks for all units at once: one call each takes seconds on a host with many.
fn active_states(
    machine: &mut Machine,
    systemctl: &str,
    names: &[&str],
) -> Result<Vec<String>, super::Failure> {
    let mut states = Vec::new();
    for name in names {
        // A template is no unit that could be asked for beside others.
        if name.contains("@.") {
            states.push("unknown".to_owned());
            continue;
        }
        states.push(String::new());
    }
    let plain: Vec<_> = names.iter().filter(|name| !name.contains("@.")).collect();
    if plain.is_empty() {
        return Ok(states);
    }
    let mut argv = vec![systemctl, "show"];
    argv.extend(plain);
    argv.push("--property=ActiveState");
    let text = tool::ask(machine, &argv)?.stdout_text();
    let mut answers = text
        .lines()
        .filter_map(|line| line.strip_prefix("ActiveState="));
    for state in states.iter_mut().filter(|state| state.is_empty()) {
        answers.next().unwrap_or("unknown").clone_into(state);
    }
    Ok(states)
}

/// Reads a row of `chkconfig --list`: the service, and whether it starts in runlevel 3.
fn chkconfig_row(line: &str) -> Option<(&str, bool)> {
    const ROW: &str = r"(.*?)\s+0:(?:on|off)\s+1:(?:on|off)\s+2:(?:on|off)\s+3:(on|off)\s";
    let pattern = Pattern::text(ROW, Flags::default()).ok()?;
    let found = pattern.search(line).ok()??;
    let name = line.get(found.span(1)?)?;
    Some((name, line.get(found.span(2)?)? == "on"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::modules::fake::Programs;

    #[test]
    fn units_have_the_state_of_one_list_and_the_status_of_the_other() {
        let programs = Programs::new([(
            "systemctl",
            r"case $1 in
  list-units) printf 'UNIT LOAD ACTIVE SUB\na.service loaded active running A\nb.service not-found inactive dead b\n' ;;
  list-unit-files) printf 'a.service enabled enabled\nb.service disabled -\nc.service static -\nd@.service static -\n' ;;
  show) echo ActiveState=inactive ;;
esac",
        )]);
        let mut found = Services::default();
        found
            .add_units(&mut programs.machine(), "systemctl")
            .unwrap();
        let unit = |name: &str, state: &str, status: &str| {
            format!(
                r#""{name}":{{"name":"{name}","state":"{state}","status":"{status}","source":"systemd"}}"#
            )
        };
        assert_eq!(
            serde_json::to_string(&Value::from(found.services)).unwrap(),
            format!(
                "{{{},{},{},{}}}",
                unit("a.service", "running", "enabled"),
                unit("b.service", "stopped", "not-found"),
                unit("c.service", "inactive", "static"),
                unit("d@.service", "unknown", "static"),
            )
        );
        assert_eq!(
            programs.calls()[2],
            "systemctl show c.service --property=ActiveState"
        );
    }

    #[test]
    fn init_scripts_are_read_from_their_own_list() {
        let programs = Programs::new([("service", "printf ' [ + ]  cron\\n [ - ]  dbus\\n'")]);
        let mut found = Services::default();
        found
            .add_status_all(&mut programs.machine(), "service")
            .unwrap();
        assert_eq!(
            serde_json::to_string(&Value::from(found.services)).unwrap(),
            r#"{"cron":{"name":"cron","state":"running","source":"sysv"},"dbus":{"name":"dbus","state":"stopped","source":"sysv"}}"#
        );
        assert_eq!(
            chkconfig_row("crond  0:off 1:off 2:on 3:on 4:on 5:on 6:off"),
            Some(("crond", true))
        );
    }
}
