//! `supervisorctl`: programs that supervisord keeps running.

use std::path::PathBuf;

use crate::machine::{Effect, Machine, Output};
use crate::value::Value;

use super::tool;
use super::{Failure, ModuleResult, Outcome};

crate::arguments! {
    /// Manage the state of a program or group of programs running using supervisord.
    pub(crate) struct SupervisorctlArgs for "community.general.supervisorctl" {
        /// The program; a group ends in a colon, and `all` are all.
        name: String { required },
        /// The configuration of supervisord.
        config: Option<PathBuf> {},
        /// Where supervisord listens.
        server_url: Option<String> {},
        username: Option<String> {},
        password: Option<String> { no_log },
        /// The program to call.
        supervisorctl_path: Option<PathBuf> {},
        state: String {
            required,
            choices: ["present", "started", "restarted", "stopped", "absent", "signalled"],
        },
        /// Stop what is to be removed.
        stop_before_removing: bool { default: "false" },
        /// The signal to send.
        signal: Option<String> {},
    }
    required_if [("state", "signalled", ["signal"], false)]
}

/// Brings the program or group into the wanted state.
pub(crate) fn run(machine: &mut Machine, args: SupervisorctlArgs) -> ModuleResult {
    let program = match &args.supervisorctl_path {
        None => tool::required(machine, "supervisorctl")?,
        Some(path) => {
            let path = machine.expand(path);
            if !machine.may(&path, rustix::fs::Access::EXEC_OK) {
                return Err(Failure::new(format!(
                    "Provided path to supervisorctl does not exist or isn't executable: {}",
                    path.display()
                )));
            }
            path.display().to_string()
        }
    };
    let mut base = vec![program];
    let config = args.config.as_ref().map(|path| path.display().to_string());
    for (flag, value) in [
        ("-c", &config),
        ("-s", &args.server_url),
        ("-u", &args.username),
        ("-p", &args.password),
    ] {
        if let Some(value) = value {
            base.extend([flag.to_owned(), value.clone()]);
        }
    }
    let is_group = args.name.ends_with(':');
    Control {
        machine,
        base,
        args: &args,
        name: args.name.trim_end_matches(':'),
        is_group,
    }
    .run()
}

struct Control<'a> {
    machine: &'a mut Machine,
    base: Vec<String>,
    args: &'a SupervisorctlArgs,
    name: &'a str,
    is_group: bool,
}

impl Control<'_> {
    fn run(mut self) -> ModuleResult {
        let runs = |status: &str| matches!(status, "RUNNING" | "STARTING");
        let state = self.args.state.as_str();
        if state == "restarted" {
            let output = self.act(&["update"], None)?;
            tool::check(output.as_ref(), Output::stderr_text)?;
        }
        let processes = self.processes()?;
        match state {
            "absent" if processes.is_empty() => return Ok(self.told(false)),
            "absent" => {
                if self.args.stop_before_removing {
                    self.each(&processes, runs, "stop", "stopped", "start")?;
                }
                return self.regroup("remove", "removed", "add");
            }
            "present" if !processes.is_empty() => return Ok(self.told(false)),
            "present" => return self.regroup("add", "added", "remove"),
            _ if processes.is_empty() => {
                return Err(
                    Failure::new("ERROR (no such process)").with("name", self.name.to_owned())
                );
            }
            _ => {}
        }
        let signal = format!("signal {}", self.args.signal.as_deref().unwrap_or_default());
        let affected = match state {
            "started" => self.each(
                &processes,
                |status| !runs(status),
                "start",
                "started",
                "stop",
            )?,
            "stopped" => self.each(&processes, runs, "stop", "stopped", "start")?,
            "restarted" => self.each(&processes, |_| true, "restart", "started", "restart")?,
            _ => {
                let is_running = |status: &str| status == "RUNNING";
                self.each(&processes, is_running, &signal, "signalled", "")?
            }
        };
        if affected.is_empty() {
            return Ok(self.told(false));
        }
        if self.machine.is_check() {
            return Ok(Outcome::changed());
        }
        Ok(self.told(true).with("affected", Value::list(affected)))
    }

    fn told(&self, changed: bool) -> Outcome {
        Outcome::unchanged()
            .with_changed(changed)
            .with("name", self.name.to_owned())
            .with("state", self.args.state.as_str())
    }

    /// Returns names and states of what is meant.
    fn processes(&mut self) -> Result<Vec<(String, String)>, Failure> {
        let argv = self.argv(&["status"]);
        let output = tool::ask(self.machine, &argv)?;
        let text = output.stdout_text();
        let found = text.lines().filter_map(|line| {
            let mut fields = line.split_whitespace();
            let (name, status) = (fields.next()?, fields.next()?);
            let is_meant = if self.is_group {
                name.split_once(':')
                    .is_some_and(|(group, _)| group == self.name)
            } else {
                name == self.name || self.name == "all"
            };
            is_meant.then(|| (name.to_owned(), status.to_owned()))
        });
        Ok(found.collect())
    }

    fn each(
        &mut self,
        processes: &[(String, String)],
        is_meant: impl Fn(&str) -> bool,
        action: &str,
        result: &str,
        back: &str,
    ) -> Result<Vec<String>, Failure> {
        let names: Vec<_> = processes
            .iter()
            .filter(|(_, status)| is_meant(status))
            .map(|(name, _)| name.clone())
            .collect();
        for name in &names {
            let words: Vec<_> = action.split(' ').chain([name.as_str()]).collect();
            let undo = (!back.is_empty()).then_some([back, name.as_str()]);
            let Some(output) = self.act(&words, undo.as_ref().map(|undo| &undo[..]))? else {
                continue;
            };
            let said = output.stdout_text();
            if !output.success() || !said.contains(&format!("{name}: {result}")) {
                return Err(Failure::new(said));
            }
        }
        Ok(names)
    }

    fn regroup(&mut self, verb: &str, done: &str, back: &str) -> ModuleResult {
        if self.machine.is_check() {
            return Ok(Outcome::changed());
        }
        let output = self.act(&["reread"], None)?;
        tool::check(output.as_ref(), Output::stderr_text)?;
        let name = self.name;
        let output = self.act(&[verb, name], Some(&[back, name]))?;
        let said = output
            .map(|output| output.stdout_text())
            .unwrap_or_default();
        if said.contains(&format!("{name}: {done} process group")) {
            return Ok(self.told(true));
        }
        Err(Failure::new(said)
            .with("name", name.to_owned())
            .with("state", self.args.state.as_str()))
    }

    fn argv(&self, words: &[&str]) -> Vec<String> {
        let words = words.iter().map(|word| (*word).to_owned());
        self.base.iter().cloned().chain(words).collect()
    }

    fn act(&mut self, words: &[&str], undo: Option<&[&str]>) -> Result<Option<Output>, Failure> {
        let argv = self.argv(words);
        let undo = match undo {
            Some(undo) => vec![tool::step(&self.argv(undo))],
            None => Vec::new(),
        };
        let effect = Effect::Compensated {
            what: format!("supervisorctl {}", words.join(" ")),
            undo,
        };
        let command = tool::command(&argv);
        Ok(self.machine.execute(&command, effect)?.output())
    }
}

#[cfg(test)]
mod tests {
    use crate::modules::fake::Programs;

    const NAME: &str = "community.general.supervisorctl";
    const CTL: &str = r#"
case "$1" in
  status) [ -e "$here/gone" ] || printf 'web:a   %s\nweb:b   STOPPED\n' "$(cat "$here/a" 2>/dev/null || echo STOPPED)" ;;
  start) echo RUNNING >"$here/a"; echo "$2: started" ;;
  restart) echo "$2: started" ;;
  stop) echo STOPPED >"$here/a"; echo "$2: stopped" ;;
  signal) echo "$3: signalled" ;;
  add) rm "$here/gone"; echo "$2: added process group" ;;
  remove) : >"$here/gone"; echo "$2: removed process group" ;;
esac
"#;

    #[test]
    fn programs_of_a_group_start_and_stop() {
        let host = Programs::new([("supervisorctl", CTL)]);
        let one = |state: &str| format!(r#"{{"name": "web:a", "state": "{state}"}}"#);
        assert_eq!(host.predict(NAME, &one("started")), r#"{"changed":true}"#);
        assert_eq!(
            host.run(NAME, &one("started")),
            r#"{"changed":true,"name":"web:a","state":"started","affected":["web:a"]}"#
        );
        assert!(
            host.run(NAME, &one("started"))
                .contains(r#""changed":false"#)
        );
        assert!(
            host.run(NAME, &one("restarted"))
                .contains(r#""changed":true"#)
        );
        let signal = r#"{"name": "web:", "state": "signalled", "signal": "HUP"}"#;
        assert!(host.run(NAME, signal).contains(r#""affected":["web:a"]"#));
        assert!(
            host.run(NAME, &one("stopped"))
                .contains(r#""changed":true"#)
        );
        assert!(
            host.run(NAME, &one("stopped"))
                .contains(r#""changed":false"#)
        );
        assert_eq!(
            host.undo_steps(),
            [
                "supervisorctl stop web:a",
                "supervisorctl restart web:a",
                "supervisorctl start web:a",
            ]
        );
    }

    #[test]
    fn a_group_is_added_and_removed_and_an_unknown_program_is_an_error() {
        let host = Programs::new([("supervisorctl", CTL)]);
        let group = |state: &str| format!(r#"{{"name": "web:", "state": "{state}"}}"#);
        assert!(
            host.run(NAME, &group("absent"))
                .contains(r#""changed":true"#)
        );
        assert!(
            host.run(NAME, &group("absent"))
                .contains(r#""changed":false"#)
        );
        assert!(
            host.run(NAME, &group("started"))
                .contains("ERROR (no such process)")
        );
        assert!(
            host.run(NAME, &group("present"))
                .contains(r#""changed":true"#)
        );
        assert!(
            host.run(NAME, &group("present"))
                .contains(r#""changed":false"#)
        );
    }
}
