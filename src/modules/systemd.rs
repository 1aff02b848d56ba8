//! `systemd`: units of the target's systemd — running, enabled, masked.
//!
//! Talks to systemd through `systemctl` only. `service` hands its work to here on such hosts.

use crate::machine::{Command, Effect, Execution, Machine, Output};
use crate::transaction::journal::UndoStep;
use crate::value::{Map, Value};

use super::init_scripts::starts_at_boot;
use super::{Failure, ModuleResult, Outcome};

crate::arguments! {
    /// Manage systemd units.
    pub(crate) struct SystemdArgs for "systemd" {
        /// The unit; `.service` may be left out.
        name: Option<String> { aliases: ["service", "unit"] },
        /// Whether the unit runs; `restarted` and `reloaded` always change something.
        state: Option<String> { choices: ["reloaded", "restarted", "started", "stopped"] },
        /// Whether the unit starts at boot.
        enabled: Option<bool> {},
        /// Whether existing symlinks are overridden.
        force: Option<bool> {},
        /// Whether the unit cannot be started at all.
        masked: Option<bool> {},
        /// Make systemd read its unit files again first.
        daemon_reload: bool { default: "no", aliases: ["daemon-reload"] },
        /// Make systemd start itself anew first.
        daemon_reexec: bool { default: "no", aliases: ["daemon-reexec"] },
        /// Which systemd is asked.
        scope: String { default: "system", choices: ["system", "user", "global"] },
        /// Do not wait until the operation is finished.
        no_block: bool { default: "no" },
    }
    required_one_of [["state", "enabled", "masked", "daemon_reload", "daemon_reexec"]]
    required_by [("state", ["name"]), ("enabled", ["name"]), ("masked", ["name"])]
}

/// Brings the unit into the wanted state.
pub(crate) fn run(machine: &mut Machine, args: SystemdArgs) -> ModuleResult {
    if let Some(unit) = args
        .name
        .as_deref()
        .filter(|name| name.contains(['*', '?', '[']))
    {
        let pattern = unit.chars().find(|c| "*?[".contains(*c)).unwrap_or('*');
        return Err(Failure::new(format!(
            "This module does not currently support using glob patterns, found '{pattern}' in \
             service name: {unit}"
        )));
    }
    let mut work = Work::start(machine, &args)?;
    if args.daemon_reload {
        work.reload("daemon-reload")?;
    }
    if args.daemon_reexec {
        work.reload("daemon-reexec")?;
    }
    if let Some(unit) = &args.name {
        let unit = Unit::look(&mut work, unit)?;
        if let Some(masked) = args.masked {
            work.mask(&unit, masked)?;
        }
        if let Some(enabled) = args.enabled {
            work.enable(&unit, enabled)?;
        }
        if let Some(state) = &args.state {
            work.set_state(&unit, state)?;
        }
        work.outcome
            .data
            .insert("status".into(), unit.status.into());
    }
    Ok(work.outcome)
}

/// One call's `systemctl` and what it has done so far.
struct Work<'a> {
    machine: &'a mut Machine,
    systemctl: Vec<String>,
    outcome: Outcome,
}

/// A unit as systemd knows it.
struct Unit {
    name: String,
    status: Map,
    /// systemd or an init script knows it.
    exists: bool,
    /// There is an init script of this name.
    has_init_script: bool,
    is_system_scope: bool,
}

impl<'a> Work<'a> {
    fn start(machine: &'a mut Machine, args: &SystemdArgs) -> Result<Self, Failure> {
        let program = machine.find_program("systemctl").ok_or_else(|| {
            Failure::new("Failed to find required executable \"systemctl\" in paths")
        })?;
        let mut systemctl = vec![program.display().to_string()];
        if args.scope != "system" {
            systemctl.push(format!("--{}", args.scope));
        }
        if args.no_block {
            systemctl.push("--no-block".into());
        }
        if args.force == Some(true) {
            systemctl.push("--force".into());
        }
        let name = args.name.clone();
        let outcome = Outcome::unchanged()
            .with("name", name)
            .with("status", Map::new());
        Ok(Self {
            machine,
            systemctl,
            outcome,
        })
    }

    fn command(&self, words: &[&str]) -> Command {
        let words = self
            .systemctl
            .iter()
            .map(String::as_str)
            .chain(words.iter().copied());
        let runtime = format!("/run/user/{}", rustix::process::geteuid().as_raw());
        let command = Command::new(words);
        // Without it `systemctl --user` does not find the user's systemd.
        match self.machine.variable("XDG_RUNTIME_DIR") {
            Some(_) => command,
            None => command.env("XDG_RUNTIME_DIR", runtime),
        }
    }

    fn ask(&mut self, words: &[&str]) -> Result<Output, Failure> {
        let command = self.command(words);
        Ok(self.machine.query(&command)?)
    }

    /// Runs a changing verb; `None` in check mode. `undo` are verbs for the same unit.
    fn act(&mut self, verb: &str, unit: &str, undo: &[&str]) -> Result<Option<Output>, Failure> {
        let command = self.command(&[verb, unit]);
        let steps = undo
            .iter()
            .map(|verb| {
                let words = [(*verb).to_owned(), unit.to_owned()];
                UndoStep::new(self.systemctl.iter().cloned().chain(words))
            })
            .collect();
        let effect = Effect::Compensated {
            what: format!("systemctl {verb} {unit}"),
            undo: steps,
        };
        Ok(self.machine.execute(&command, effect)?.output())
    }

    /// Runs a changing verb whose undoing is `again`, when every file is as it was: a running
    /// unit has to take up its old files. A unit that is gone then is left alone.
    fn act_again(
        &mut self,
        verb: &str,
        unit: &str,
        again: &str,
    ) -> Result<Option<Output>, Failure> {
        let command = self.command(&[verb, unit]);
        let script = "verb=$1 unit=$2; shift 2; \"$@\" cat \"$unit\" >/dev/null 2>&1 || exit 0; \
                      exec \"$@\" \"$verb\" \"$unit\"";
        let words = ["/bin/sh", "-c", script, "sh", again, unit].map(str::to_owned);
        let step = UndoStep::new(words.into_iter().chain(self.systemctl.iter().cloned()));
        let effect = Effect::Again {
            what: format!("systemctl {verb} {unit}"),
            again: vec![step],
        };
        Ok(self.machine.execute(&command, effect)?.output())
    }

    fn reload(&mut self, verb: &str) -> Result<(), Failure> {
        let command = self.command(&[verb]);
        // Reading the unit files again after an undo is what undoes it.
        let argv = self.systemctl.iter().cloned().chain([verb.to_owned()]);
        let effect = Effect::Again {
            what: format!("systemctl {verb}"),
            again: vec![UndoStep::new(argv)],
        };
        let Execution::Done(output) = self.machine.execute(&command, effect)? else {
            return Ok(());
        };
        if output.success() {
            return Ok(());
        }
        let (rc, err) = (output.status, output.stderr_text());
        if self.is_offline() {
            self.outcome.warnings.push(format!(
                "{verb} failed, but target is a chroot or systemd is offline. Continuing. Error \
                 was: {rc} / {err}"
            ));
            return Ok(());
        }
        Err(Failure::new(format!("failure {rc} during {verb}: {err}")))
    }

    fn is_offline(&self) -> bool {
        self.machine
            .variable("SYSTEMD_OFFLINE")
            .is_some_and(|value| value == "1")
    }

    fn mask(&mut self, unit: &Unit, masked: bool) -> Result<(), Failure> {
        let output = self.ask(&["is-enabled", &unit.name])?;
        if (output.stdout_text().trim() == "masked") == masked {
            return Ok(());
        }
        self.outcome.changed = true;
        let (verb, undo) = if masked {
            ("mask", "unmask")
        } else {
            ("unmask", "mask")
        };
        match self.act(verb, &unit.name, &[undo])? {
            Some(output) if !output.success() => {
                unit.require()?;
                Err(Failure::new(format!(
                    "Failed to {verb} the service ({}): {}",
                    unit.name,
                    output.stderr_text().trim()
                )))
            }
            _ => Ok(()),
        }
    }

    fn enable(&mut self, unit: &Unit, enabled: bool) -> Result<(), Failure> {
        unit.require()?;
        let is_enabled = self.is_enabled(unit)?;
        if is_enabled != enabled {
            self.outcome.changed = true;
            let (verb, undo) = if enabled {
                ("enable", "disable")
            } else {
                ("disable", "enable")
            };
            if let Some(output) = self
                .act(verb, &unit.name, &[undo])?
                .filter(|o| !o.success())
            {
                return Err(Failure::new(format!(
                    "Unable to {verb} service {}: {}{}",
                    unit.name,
                    output.stdout_text(),
                    output.stderr_text()
                )));
            }
        }
        self.outcome.data.insert("enabled".into(), enabled.into());
        Ok(())
    }

    fn is_enabled(&mut self, unit: &Unit) -> Result<bool, Failure> {
        let output = self.ask(&["is-enabled", &unit.name, "-l"])?;
        let text = output.stdout_text();
        let text = text.trim_end();
        if output.success() {
            // Transiently enabled, or through something else: enabling still has an effect.
            return Ok(!matches!(text, "enabled-runtime" | "indirect" | "alias"));
        }
        Ok(output.status == 1
            && unit.is_system_scope
            && unit.has_init_script
            && !text.trim().ends_with("disabled")
            && starts_at_boot(self.machine, &unit.name)?)
    }

    fn set_state(&mut self, unit: &Unit, wanted: &str) -> Result<(), Failure> {
        unit.require()?;
        let Some(active) = unit.status.get("ActiveState").and_then(Value::as_str) else {
            if self.is_offline() {
                self.outcome.warnings.push(
                    "Target is a chroot or systemd is offline. This can lead to false positives \
                     or prevent the init system tools from working."
                        .into(),
                );
                return Ok(());
            }
            return Err(
                Failure::new("Service is in unknown state").with("status", unit.status.clone())
            );
        };
        let is_running = matches!(active, "active" | "activating");
        let (verb, again) = match wanted {
            "started" if is_running => ("", None),
            "stopped" if !is_running && active != "deactivating" => ("", None),
            "stopped" => ("stop", Some("start")),
            "restarted" if is_running => ("restart", Some("try-restart")),
            "reloaded" if is_running => ("reload", Some("try-reload-or-restart")),
            _ => ("start", None),
        };
        let shown = if wanted == "stopped" {
            "stopped"
        } else {
            "started"
        };
        self.outcome.data.insert("state".into(), shown.into());
        if verb.is_empty() {
            return Ok(());
        }
        self.outcome.changed = true;
        let acted = match again {
            Some(again) => self.act_again(verb, &unit.name, again)?,
            None => self.act(verb, &unit.name, &["stop"])?,
        };
        match acted {
            Some(output) if !output.success() => Err(Failure::new(format!(
                "Unable to {verb} service {}: {}",
                unit.name,
                output.stderr_text()
            ))),
            _ => Ok(()),
        }
    }
}

impl Unit {
    fn look(work: &mut Work<'_>, name: &str) -> Result<Self, Failure> {
        let init_script = std::path::PathBuf::from("/etc/init.d").join(name);
        let has_init_script = work.machine.exists(&init_script)?;
        let shown = work.ask(&["show", name])?;
        let (out, err) = (shown.stdout_text(), shown.stderr_text());
        let mut status = Map::new();
        let is_known = if shown.success() && !was_ignored(&out) && !was_ignored(&err) {
            status = parse_show(&out);
            let load_state = status
                .get("LoadState")
                .and_then(Value::as_str)
                .map(str::to_owned);
            let is_known = load_state
                .as_deref()
                .is_some_and(|state| state != "not-found");
            if let Some(why) = status.get("LoadError")
                && is_known
                && load_state.as_deref() != Some("masked")
            {
                return Err(Failure::new(format!(
                    "Error loading unit file '{name}': {why}"
                )));
            }
            is_known
        } else {
            Self::is_listed(work, name)?
        };
        if has_init_script && !is_known {
            work.outcome.warnings.push(format!(
                "The service ({name}) is actually an init script but the system is managed by \
                 systemd"
            ));
        }
        Ok(Self {
            name: name.into(),
            status,
            exists: is_known || has_init_script,
            has_init_script,
            is_system_scope: !work
                .systemctl
                .iter()
                .any(|w| w == "--user" || w == "--global"),
        })
    }

    /// Asks for unit files where `show` does not answer, as in a chroot.
    fn is_listed(work: &mut Work<'_>, name: &str) -> Result<bool, Failure> {
        const KNOWN: [&str; 11] = [
            "enabled",
            "enabled-runtime",
            "linked",
            "linked-runtime",
            "masked",
            "masked-runtime",
            "static",
            "indirect",
            "disabled",
            "generated",
            "transient",
        ];
        let enabled = work.ask(&["is-enabled", name])?.stdout_text();
        Ok(KNOWN.contains(&enabled.trim()) || work.ask(&["list-unit-files", name])?.success())
    }

    fn require(&self) -> Result<(), Failure> {
        if self.exists {
            return Ok(());
        }
        Err(Failure::new(format!(
            "Could not find the requested service {}: host",
            self.name
        )))
    }
}

fn was_ignored(text: &str) -> bool {
    !text.contains('=') && (text.contains("ignoring request") || text.contains("ignoring command"))
}

/// Reads `systemctl show`. Only values of `Exec…` keys, in braces, span lines.
fn parse_show(text: &str) -> Map {
    let mut parsed = Map::new();
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        let Some((key, value)) = line.split_once('=') else {
            continue;
        };
        let mut value = value.to_owned();
        if key.starts_with("Exec") && value.trim_start().starts_with('{') {
            while !value.trim_end().ends_with('}') {
                let Some(more) = lines.next() else { break };
                value.push('\n');
                value.push_str(more);
            }
        }
        parsed.insert(key.into(), value.trim().into());
    }
    parsed
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::modules::fake::Programs;

    /// A systemctl that knows one unit and keeps its state in files beside itself.
    const SYSTEMCTL: &str = r#"
state() { cat "$here/active" 2>/dev/null || echo inactive; }
case $1 in
  show) case $2 in
      web) echo LoadState=loaded; echo "ActiveState=$(state)"
           printf 'ExecStart={ path=/bin/x ;\n argv=/bin/x }\nDescription={ odd\n' ;;
      *) echo LoadState=not-found; echo ActiveState=inactive ;;
    esac ;;
  is-enabled) cat "$here/enabled" 2>/dev/null || { echo disabled; exit 1; } ;;
  start|restart|reload) echo active >"$here/active" ;;
  stop) echo inactive >"$here/active" ;;
  enable) echo enabled >"$here/enabled" ;;
  disable) rm "$here/enabled" ;;
esac
"#;

    fn call(programs: &Programs, json: &str) -> ModuleResult {
        let given: Value = serde_json::from_str(json).unwrap();
        run(
            &mut programs.machine(),
            SystemdArgs::parse(given.as_map().unwrap()).unwrap(),
        )
    }

    #[test]
    fn a_unit_is_started_and_enabled_once() {
        let programs = Programs::new([("systemctl", SYSTEMCTL)]);
        let args = r#"{"name":"web","state":"started","enabled":true}"#;
        let first = call(&programs, args).unwrap();
        assert!(first.changed);
        assert_eq!(first.data.get("state"), Some(&"started".into()));
        assert_eq!(first.data.get("enabled"), Some(&true.into()));
        assert!(!call(&programs, args).unwrap().changed);
        assert_eq!(
            programs.calls(),
            [
                "systemctl show web",
                "systemctl is-enabled web -l",
                "systemctl enable web",
                "systemctl start web",
                "systemctl show web",
                "systemctl is-enabled web -l"
            ]
        );
    }

    #[test]
    fn an_idle_unit_is_started_rather_than_restarted() {
        let programs = Programs::new([("systemctl", SYSTEMCTL)]);
        call(&programs, r#"{"name":"web","state":"restarted"}"#).unwrap();
        call(&programs, r#"{"name":"web","state":"restarted"}"#).unwrap();
        let calls = programs.calls();
        assert_eq!(
            [&calls[1], &calls[3]],
            ["systemctl start web", "systemctl restart web"]
        );
    }

    #[test]
    fn an_unknown_unit_is_named() {
        let programs = Programs::new([("systemctl", SYSTEMCTL)]);
        let failure = call(&programs, r#"{"name":"nope","state":"started"}"#).unwrap_err();
        assert_eq!(
            failure.msg,
            "Could not find the requested service nope: host"
        );
    }

    #[test]
    fn only_exec_values_span_lines() {
        let status = parse_show("ExecStart={ a ;\n b }\nDescription={ odd\nId=web.service\n");
        assert_eq!(status.get("ExecStart"), Some(&"{ a ;\n b }".into()));
        assert_eq!(status.get("Description"), Some(&"{ odd".into()));
        assert_eq!(status.get("Id"), Some(&"web.service".into()));
    }

    #[test]
    fn what_undoes_a_start_is_a_stop() {
        let programs = Programs::new([("systemctl", SYSTEMCTL)]);
        call(&programs, r#"{"name":"web","state":"started"}"#).unwrap();
        assert_eq!(programs.undo_steps(), ["systemctl stop web"]);
    }
}
