//! `sysvinit`: a service that is an init script.
//!
//! Asks `service` and judges by words and exit codes as Ansible does; runs the script itself.

use std::path::Path;
use std::time::Duration;

use crate::machine::{Command, Effect, Machine, split_words};
use crate::value::{Map, Value};

use super::tool;
use super::{Failure, ModuleResult, Outcome};

crate::arguments! {
    /// Manage services that are init scripts.
    pub(crate) struct SysvinitArgs for "sysvinit" {
        /// The service.
        name: String { required, aliases: ["service"] },
        /// Whether it runs; `restarted` and `reloaded` always change something.
        state: Option<String> { choices: ["started", "stopped", "restarted", "reloaded"] },
        /// Whether the service starts at boot.
        enabled: Option<bool> {},
        /// Seconds after the stop and the start of a restart.
        sleep: i64 { default: "1" },
        /// What to look for among processes, where the script knows no status.
        pattern: Option<String> {},
        /// More arguments for the script.
        arguments: Option<String> { aliases: ["args"] },
        /// The runlevels to enable it in.
        runlevels: Option<Vec<String>> {},
        /// Run the script as a daemon of its own.
        daemonize: bool { default: "false" },
    }
    required_one_of [["state", "enabled"]]
}

/// Brings the service into the wanted state.
pub(crate) fn run(machine: &mut Machine, args: SysvinitArgs) -> ModuleResult {
    let script = format!("/etc/init.d/{}", args.name);
    if !machine.exists(Path::new(&script))? {
        return Err(Failure::new(format!(
            "Could not find the requested service {}: ",
            args.name
        )));
    }
    let mut service = Service {
        machine,
        args: &args,
        script,
        outcome: Outcome::unchanged().with("name", args.name.as_str()),
        status: Map::new(),
    };
    let was_started = service.is_started()?;
    service.settle_boot()?;
    service.settle_state(was_started)?;
    let status = service.status;
    Ok(service.outcome.with("status", status))
}

struct Service<'a> {
    machine: &'a mut Machine,
    args: &'a SysvinitArgs,
    script: String,
    outcome: Outcome,
    status: Map,
}

/// What became of one half of the work: exit code and output where a program ran.
type Ran = Option<(i32, String, String)>;

impl Service<'_> {
    fn is_started(&mut self) -> Result<bool, Failure> {
        if let Some(pattern) = &self.args.pattern {
            return self.has_process(&pattern.clone());
        }
        let name = self.args.name.clone();
        let argv = match tool::found(self.machine, "service") {
            Some(service) => vec![service, name.clone(), "status".into()],
            None => vec![self.script.clone(), "status".into()],
        };
        let output = self.machine.query(&Command::new(argv))?;
        if let Some(told) = told(&name, &output.stdout_text(), output.status) {
            return Ok(told);
        }
        let found = self.has_process(&name)?;
        self.outcome.warnings.push(if found {
            "Used ps output to match service name and determine it is up, this is very unreliable"
                .into()
        } else {
            "Unable to determine if service is up, assuming it is down".into()
        });
        Ok(found)
    }

    fn has_process(&mut self, pattern: &str) -> Result<bool, Failure> {
        let flags = if self.machine.exists(Path::new("/bin/busybox"))?
            && self.machine.find_program("ps").is_none()
        {
            "w"
        } else {
            "auxww"
        };
        let listed = self.machine.query(&Command::new(["ps", flags]))?;
        Ok(listed
            .stdout_text()
            .lines()
            .any(|line| line.contains(pattern)))
    }

    fn settle_boot(&mut self) -> Result<(), Failure> {
        let mut ran = None;
        let mut changed = false;
        let mut shown = Map::new();
        if let Some(enabled) = self.args.enabled {
            let levels = self.args.runlevels.clone().unwrap_or_default();
            changed = if levels.is_empty() {
                self.is_linked(None)? != enabled
            } else {
                let mut differs = false;
                for level in &levels {
                    differs |= self.is_linked(Some(level))? != enabled;
                }
                differs
            };
            if changed {
                ran = self.enable(enabled, &levels)?;
            }
            if !levels.is_empty() {
                shown.insert("runlevels".into(), Value::list(levels));
            }
        }
        if let Some((_, _, said)) = &ran
            && said.contains("illegal runlevel specified")
        {
            return Err(Failure::new(format!(
                "Illegal runlevel specified for enable operation on service {}",
                self.args.name
            )));
        }
        self.note("enabled", changed, ran, shown);
        Ok(())
    }

    /// Tells whether the script is started in one runlevel, or in any.
    fn is_linked(&self, level: Option<&str>) -> Result<bool, Failure> {
        let levels: Vec<_> = match level {
            Some(level) => vec![level.to_owned()],
            None => (0..=6).map(|n| n.to_string()).chain(["S".into()]).collect(),
        };
        for level in levels {
            let directory = format!("/etc/rc{level}.d");
            let directory = Path::new(&directory);
            if !self.machine.is_dir(directory)? {
                continue;
            }
            let is_linked = self.machine.read_dir(directory)?.iter().any(|entry| {
                let link = entry.name.to_string_lossy();
                link.starts_with('S') && link.get(3..) == Some(self.args.name.as_str())
            });
            if is_linked {
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn enable(&mut self, enabled: bool, levels: &[String]) -> Result<Ran, Failure> {
        let name = self.args.name.as_str();
        let words = |enabled: bool| -> Option<Vec<String>> {
            if let Some(program) = tool::found(self.machine, "update-rc.d") {
                let verb = match (enabled, levels) {
                    (true, []) => "defaults",
                    (true, _) => "enable",
                    (false, _) => "disable",
                };
                let mut words = vec![program, name.to_owned(), verb.to_owned()];
                words.extend(levels.iter().cloned());
                return Some(words);
            }
            let program = tool::found(self.machine, "chkconfig")?;
            let mut words = vec![program];
            if !levels.is_empty() {
                words.extend(["--level".into(), levels.concat()]);
            }
            let state = if enabled { "on" } else { "off" };
            words.extend([name.to_owned(), state.to_owned()]);
            Some(words)
        };
        let (Some(argv), Some(undo)) = (words(enabled), words(!enabled)) else {
            return Err(Failure::new(format!(
                "cannot change at what runlevels {name} starts: the host has neither update-rc.d \
                 nor chkconfig"
            )));
        };
        let output = tool::act(self.machine, &argv, &undo)?;
        Ok(output.map(|it| (it.status, it.stdout_text(), it.stderr_text())))
    }

    fn settle_state(&mut self, is_started: bool) -> Result<(), Failure> {
        let Some(state) = self.args.state.as_deref() else {
            return Ok(());
        };
        let verbs: &[(&str, &str)] = match state {
            "restarted" => &[("stop", "start"), ("start", "")],
            "reloaded" => &[("reload", "reload")],
            "started" if !is_started => &[("start", "stop")],
            "stopped" if is_started => &[("stop", "start")],
            _ => &[],
        };
        let mut ran = None;
        for (verb, undo) in verbs {
            ran = self.run_script(state, verb, undo)?;
            if state == "restarted" && ran.is_some() {
                let seconds = u64::try_from(self.args.sleep).unwrap_or(0);
                self.machine.sleep(Duration::from_secs(seconds))?;
            }
        }
        self.note(state, !verbs.is_empty(), ran, Map::new());
        Ok(())
    }

    fn run_script(&mut self, state: &str, verb: &str, undo: &str) -> Result<Ran, Failure> {
        let given = self.args.arguments.as_deref().unwrap_or_default();
        let more =
            split_words(given).ok_or_else(|| Failure::new("No closing quotation in arguments"))?;
        let words = |verb: &str| {
            let mut words = vec![self.script.clone(), verb.to_owned()];
            words.extend(more.iter().cloned());
            words
        };
        let mut argv = words(verb);
        if self.args.daemonize {
            argv.insert(0, "setsid".into());
        }
        let undo = if undo.is_empty() {
            Vec::new()
        } else {
            vec![tool::step(&words(undo))]
        };
        let effect = Effect::Compensated {
            what: argv.join(" "),
            undo,
        };
        let output = self.machine.execute(&Command::new(&argv), effect)?.output();
        tool::check(output.as_ref(), |_| {
            let action = state
                .strip_suffix("ped")
                .or_else(|| state.strip_suffix("ed"));
            let action = action.unwrap_or(state);
            format!("Failed to {action} service: {}", self.args.name)
        })?;
        Ok(output.map(|it| (it.status, it.stdout_text(), it.stderr_text())))
    }

    fn note(&mut self, part: &str, changed: bool, ran: Ran, mut more: Map) {
        self.outcome.changed |= changed;
        let (rc, stdout, stderr) = match ran {
            Some((rc, stdout, stderr)) => (rc.into(), stdout.into(), stderr.into()),
            None => (Value::Null, Value::Null, Value::Null),
        };
        let mut noted = Map::new();
        noted.insert("changed".into(), changed.into());
        noted.insert("rc".into(), rc);
        noted.insert("stdout".into(), stdout);
        noted.insert("stderr".into(), stderr);
        noted.append(&mut more);
        self.status.insert(part.into(), noted.into());
    }
}

/// Judges what `status` said; `None` when it cannot be told.
fn told(name: &str, said: &str, status: i32) -> Option<bool> {
    if name == "iptables" && said.contains("ACCEPT") {
        return Some(true);
    }
    if said.matches('\n').count() <= 1 {
        let words = said.to_lowercase().replace(&name.to_lowercase(), "");
        let stopped = [
            "stop",
            "is dead ",
            "dead but ",
            "could not access pid file",
            "inactive",
        ];
        if stopped.iter().any(|word| words.contains(word)) {
            return Some(false);
        }
        let started = ["run", "start", "active"];
        if started.iter().any(|word| words.contains(word)) && !words.contains("not ") {
            return Some(true);
        }
    }
    match status {
        1 | 2 | 3 | 4 | 69 => Some(false),
        0 => Some(true),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::modules::fake::Programs;

    #[test]
    fn what_status_says_counts_more_than_its_exit_code() {
        for (said, status, is_started) in [
            ("foo is running\n", 0, Some(true)),
            ("foo is not running\n", 0, Some(true)),
            ("foo is not running\n", 3, Some(false)),
            ("foo is stopped\n", 0, Some(false)),
            ("a\nb\nc\n", 0, Some(true)),
            ("what?\n", 77, None),
        ] {
            assert_eq!(told("foo", said, status), is_started, "{said} {status}");
        }
    }

    #[test]
    fn a_missing_script_is_named() {
        let programs = Programs::new([]);
        assert_eq!(
            programs.run(
                "sysvinit",
                r#"{"name": "backstay-none", "state": "started"}"#
            ),
            r#"{"failed":true,"changed":false,"msg":"Could not find the requested service backstay-none: "}"#
        );
        assert!(
            programs
                .run("sysvinit", r#"{"name": "x"}"#)
                .contains("one of the following is required: state, enabled")
        );
    }

    #[test]
    fn a_script_is_run_with_its_undo_and_a_restart_stops_first() {
        let programs = Programs::new([
            (
                "service",
                "[ -e \"$here/up\" ] && echo running || { echo stopped; exit 3; }",
            ),
            (
                "script",
                "case $1 in start) : >\"$here/up\" ;; stop) rm \"$here/up\" ;; esac",
            ),
        ]);
        let script = programs.path("script").display().to_string();
        let call = |state: &str| {
            let json = format!(r#"{{"name": "demo", "state": "{state}", "sleep": 0}}"#);
            let given: Value = serde_json::from_str(&json).unwrap();
            let args = SysvinitArgs::parse(given.as_map().unwrap()).unwrap();
            let mut machine = programs.machine();
            let mut service = Service {
                machine: &mut machine,
                args: &args,
                script: script.clone(),
                outcome: Outcome::unchanged(),
                status: Map::new(),
            };
            let was_started = service.is_started().unwrap();
            service.settle_state(was_started).unwrap();
            service.outcome.changed
        };
        assert!(call("started"));
        assert!(!call("started"));
        assert!(call("restarted"));
        assert!(call("stopped"));
        assert!(!call("stopped"));
        assert_eq!(
            programs.undo_steps(),
            ["script stop", "script start", "script start"]
        );
    }
}
