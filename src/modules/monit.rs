//! `monit`: what Monit watches, and whether it runs.

use std::time::{Duration, Instant};

use crate::machine::{Machine, Output};
use crate::transaction::journal::UndoStep;
use crate::value::Value;

use super::tool;
use super::{Failure, ModuleResult, Outcome};

crate::arguments! {
    /// Manage the state of a program monitored using Monit.
    pub(crate) struct MonitArgs for "community.general.monit" {
        /// What Monit calls it.
        name: String { required },
        /// What it is to be.
        state: String {
            required,
            choices: [
                "present", "started", "restarted", "stopped", "monitored", "unmonitored",
                "reloaded",
            ],
        },
        /// Seconds it may take to get there.
        timeout: i64 { default: "300" },
    }
}

/// How Monit says that it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Condition {
    Missing,
    Ok,
    NotMonitored,
    Initializing,
    DoesNotExist,
    ExecutionFailed,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Status {
    condition: Condition,
    is_pending: bool,
}

impl Status {
    fn text(self) -> String {
        let word = match self.condition {
            Condition::Missing => "missing",
            Condition::Ok => "ok",
            Condition::NotMonitored => "not_monitored",
            Condition::Initializing => "initializing",
            Condition::DoesNotExist => "does_not_exist",
            Condition::ExecutionFailed => "execution_failed",
        };
        let pending = if self.is_pending { " (pending)" } else { "" };
        format!("{word}{pending}")
    }

    /// It is about to be something else.
    fn is_passing(self) -> bool {
        self.is_pending
            || matches!(
                self.condition,
                Condition::Missing | Condition::Initializing | Condition::DoesNotExist
            )
    }
}

/// Brings what Monit watches into the wanted state.
pub(crate) fn run(machine: &mut Machine, args: MonitArgs) -> ModuleResult {
    let program = tool::required(machine, "monit")?;
    let mut monit = Monit {
        machine,
        args: &args,
        program,
        version: None,
        warnings: Vec::new(),
    };
    let changed = monit.run()?;
    let warnings = std::mem::take(&mut monit.warnings);
    let outcome = Outcome::unchanged()
        .with_changed(changed)
        .with("name", args.name.as_str())
        .with("state", args.state.as_str());
    Ok(warnings.into_iter().fold(outcome, Outcome::warn))
}

struct Monit<'a> {
    machine: &'a mut Machine,
    args: &'a MonitArgs,
    program: String,
    /// As it is written, and whether it takes `-B`.
    version: Option<(String, bool)>,
    warnings: Vec<String>,
}

impl Monit<'_> {
    fn run(&mut self) -> Result<bool, Failure> {
        let state = self.args.state.as_str();
        if state == "reloaded" {
            let output = self.act(&["reload"], Vec::new())?;
            return match output {
                Some(output) if !output.success() => Err(self
                    .failure("monit reload failed", None)
                    .with("stdout", output.stdout_text())
                    .with("stderr", output.stderr_text())),
                _ => Ok(true),
            };
        }
        let is_present = self.is_present()?;
        if state == "present" {
            return if is_present { Ok(false) } else { self.appear() };
        }
        if !is_present {
            let msg = format!(
                "{} process not presently configured with monit",
                self.args.name
            );
            return Err(Failure::new(msg).with("name", self.args.name.as_str()));
        }
        self.settled(None)?;
        let is_running = self.status(false)?.condition == Condition::Ok;
        let (verb, back) = match (state, is_running) {
            ("restarted", _) => ("restart", None),
            ("stopped", true) => ("stop", Some("start")),
            ("unmonitored", true) => ("unmonitor", Some("monitor")),
            ("started", false) => ("start", Some("stop")),
            ("monitored", false) => ("monitor", Some("unmonitor")),
            _ => return Ok(false),
        };
        self.change(verb, back)?;
        Ok(true)
    }

    /// Has Monit read its configuration, where the program should be.
    fn appear(&mut self) -> Result<bool, Failure> {
        if self.act(&["reload"], Vec::new())?.is_none() {
            return Ok(true);
        }
        let end = self.end();
        while !self.is_present()? {
            if Instant::now() >= end {
                let msg = "waited too long for process to become \"present\"";
                return Err(self.failure(msg, None));
            }
            self.machine.sleep(Duration::from_secs(5))?;
        }
        Ok(true)
    }

    fn change(&mut self, verb: &str, back: Option<&str>) -> Result<(), Failure> {
        let before = self.status(false)?;
        let name = self.args.name.clone();
        let undo = back.map(|back| tool::step(&[&self.program, back, &name]));
        let output = self.act(&[verb, &name], undo.into_iter().collect())?;
        if output.is_none() {
            return Ok(());
        }
        tool::check(output.as_ref(), tool::complaint)?;
        let status = self.changed(before)?;
        let status = self.settled(Some(status))?;
        let is_right = match verb {
            "stop" | "unmonitor" => status.condition == Condition::NotMonitored,
            "monitor" => status.condition != Condition::NotMonitored,
            _ => status.condition == Condition::Ok,
        };
        if is_right {
            return Ok(());
        }
        let msg = format!("{name} process not {}", self.args.state);
        Err(self.failure(&msg, Some(status)))
    }

    /// Waits until the status is another one.
    fn changed(&mut self, before: Status) -> Result<Status, Failure> {
        let mut status = self.status(false)?;
        if before.condition == Condition::ExecutionFailed {
            return Ok(status);
        }
        let mut tries = 0;
        while status.condition == before.condition {
            if tries >= 6 {
                let msg = "waited too long for monit to change state";
                return Err(self.failure(msg, Some(status)));
            }
            tries += 1;
            self.machine.sleep(Duration::from_millis(500))?;
            status = self.status(tries % 2 == 0)?;
        }
        Ok(status)
    }

    /// Waits until nothing is about to change.
    fn settled(&mut self, status: Option<Status>) -> Result<Status, Failure> {
        let end = self.end();
        let mut status = match status {
            Some(status) => status,
            None => self.status(false)?,
        };
        while status.is_passing() {
            if Instant::now() >= end {
                let msg = "waited too long for \"pending\", or \"initiating\" status to go away";
                return Err(self.failure(msg, Some(status)));
            }
            self.machine.sleep(Duration::from_secs(5))?;
            status = self.status(true)?;
        }
        Ok(status)
    }

    fn end(&self) -> Instant {
        let seconds = u64::try_from(self.args.timeout).unwrap_or(0);
        Instant::now() + Duration::from_secs(seconds.min(86_400 * 365))
    }

    fn act(&mut self, words: &[&str], undo: Vec<UndoStep>) -> Result<Option<Output>, Failure> {
        let argv: Vec<&str> = [self.program.as_str()]
            .into_iter()
            .chain(words.iter().copied())
            .collect();
        tool::act_undone_by(self.machine, &argv, undo)
    }

    fn ask(&mut self, words: &[&str]) -> Result<Output, Failure> {
        let argv: Vec<&str> = [self.program.as_str()]
            .into_iter()
            .chain(words.iter().copied())
            .collect();
        tool::ask(self.machine, &argv)
    }

    /// Returns the option that has Monit print without tables.
    fn batch(&mut self) -> Result<&'static [&'static str], Failure> {
        if self.version.is_none() {
            let output = self.ask(&["-V"])?;
            tool::check(Some(&output), tool::complaint)?;
            let text = output.stdout_text();
            let line = text.lines().next().unwrap_or_default();
            let word = line
                .split_whitespace()
                .find(|word| word.starts_with(|it: char| it.is_ascii_digit()));
            let word = word.unwrap_or_default().to_owned();
            let mut numbers = word.split('.').map_while(|part| part.parse::<u32>().ok());
            let version = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
            self.version = Some((word, version > (5, 18)));
        }
        let takes_it = self.version.as_ref().is_some_and(|(_, takes_it)| *takes_it);
        Ok(if takes_it { &["-B"] } else { &[] })
    }

    fn is_present(&mut self) -> Result<bool, Failure> {
        let words = [&["summary"], self.batch()?].concat();
        let output = self.ask(&words)?;
        tool::check(Some(&output), tool::complaint)?;
        let text = output.stdout_text();
        Ok(has_word(&text, &self.args.name))
    }

    fn status(&mut self, validate: bool) -> Result<Status, Failure> {
        let verb = if validate { "validate" } else { "status" };
        let name = self.args.name.clone();
        let words = [&[verb], self.batch()?, &[name.as_str()]].concat();
        let output = self.ask(&words)?;
        if !validate {
            tool::check(Some(&output), tool::complaint)?;
        }
        self.read(&output)
    }

    fn read(&mut self, output: &Output) -> Result<Status, Failure> {
        const KINDS: [&str; 9] = [
            "process",
            "file",
            "fifo",
            "filesystem",
            "directory",
            "remote host",
            "system",
            "program",
            "network",
        ];
        let text = output.stdout_text();
        let lower = text.to_lowercase();
        let name = self.args.name.to_lowercase();
        let is = |condition| Status {
            condition,
            is_pending: false,
        };
        let is_told = |kind: &&str| lower.contains(&format!("{kind} '{name}'"));
        if !KINDS.iter().any(is_told) {
            return Ok(is(Condition::Missing));
        }
        let status = text
            .lines()
            .filter_map(|line| line.trim_start().strip_prefix("status"))
            .map(str::trim)
            .find(|rest| !rest.is_empty());
        let Some(status) = status else {
            return Err(self
                .failure("Unable to find process status", None)
                .with("stdout", text)
                .with("stderr", output.stderr_text()));
        };
        let end = status.find(|it: char| !(it.is_alphanumeric() || "_- ".contains(it)));
        let status = status[..end.unwrap_or(status.len())].trim().to_uppercase();
        if let Some((_, passing)) = status.split_once(" - ") {
            let mut words = passing.split_whitespace();
            let action = words.next().unwrap_or_default();
            let comes = ["START", "INITIALIZING", "RESTART", "MONITOR"].contains(&action);
            return Ok(Status {
                condition: if comes {
                    Condition::Ok
                } else {
                    Condition::NotMonitored
                },
                is_pending: words.next() == Some("PENDING"),
            });
        }
        let word = status.replace(' ', "_");
        Ok(is(match word.as_str() {
            "OK" | "RUNNING" => Condition::Ok,
            "NOT_MONITORED" => Condition::NotMonitored,
            "INITIALIZING" => Condition::Initializing,
            "DOES_NOT_EXIST" => Condition::DoesNotExist,
            "EXECUTION_FAILED" => Condition::ExecutionFailed,
            _ => {
                self.warnings.push(format!(
                    "Unknown monit status '{word}', treating as execution failed"
                ));
                Condition::ExecutionFailed
            }
        }))
    }

    fn failure(&self, msg: &str, status: Option<Status>) -> Failure {
        let version = self.version.as_ref().map(|(text, _)| text.as_str());
        let status = status.map(Status::text);
        Failure::new(msg)
            .with("monit_version", version.map_or(Value::Null, Value::from))
            .with("process_status", status.map_or(Value::Null, Value::from))
    }
}

/// Tells whether the name stands in the text as a word of its own.
fn has_word(text: &str, name: &str) -> bool {
    let is_part = |letter: Option<char>| {
        letter.is_some_and(|letter| letter.is_alphanumeric() || letter == '_')
    };
    text.match_indices(name).any(|(at, found)| {
        !is_part(text[..at].chars().next_back())
            && !is_part(text[at + found.len()..].chars().next())
    })
}

#[cfg(test)]
mod tests {
    use crate::modules::fake::Programs;

    const NAME: &str = "community.general.monit";
    const MONIT: &str = r#"
say() { printf "Process 'app'\n  status                       %s\n" "$1"; }
case $1 in
  -V) echo 'This is Monit version 5.33.0' ;;
  summary) cat "$here/summary" ;;
  status|validate) say "$(cat "$here/status")" ;;
  start|restart|monitor) echo OK >"$here/status" ;;
  stop|unmonitor) echo 'Not monitored' >"$here/status" ;;
  reload) [ ! -e "$here/bad" ] || exit 1; echo 'Process app' >"$here/summary" ;;
esac
"#;

    fn host(status: &str) -> Programs {
        let host = Programs::new([("monit", MONIT)]);
        host.put("summary", "Process 'app' OK\n");
        host.put("status", status);
        host
    }

    fn state(host: &Programs, state: &str) -> String {
        host.run(NAME, &format!(r#"{{"name": "app", "state": "{state}"}}"#))
    }

    #[test]
    fn a_process_is_stopped_and_started_once() {
        let host = host("OK");
        let changed = r#"{"changed":true,"name":"app","state":"stopped"}"#;
        let options = r#"{"name": "app", "state": "stopped"}"#;
        assert_eq!(host.predict(NAME, options), changed);
        assert_eq!(state(&host, "stopped"), changed);
        assert_eq!(
            state(&host, "stopped"),
            r#"{"changed":false,"name":"app","state":"stopped"}"#
        );
        assert!(state(&host, "started").starts_with(r#"{"changed":true,"#));
        assert!(state(&host, "started").starts_with(r#"{"changed":false,"#));
        assert!(state(&host, "unmonitored").starts_with(r#"{"changed":true,"#));
        assert!(state(&host, "monitored").starts_with(r#"{"changed":true,"#));
        assert_eq!(
            host.undo_steps(),
            [
                "monit start app",
                "monit stop app",
                "monit monitor app",
                "monit unmonitor app"
            ]
        );
        assert!(host.calls().contains(&"monit status -B app".to_owned()));
    }

    #[test]
    fn a_process_that_is_not_watched_becomes_present_by_a_reload() {
        let host = host("OK");
        host.put("summary", "Process 'app2' OK\n");
        assert_eq!(
            state(&host, "started"),
            r#"{"failed":true,"changed":false,"msg":"app process not presently configured with monit","name":"app"}"#
        );
        assert!(state(&host, "present").starts_with(r#"{"changed":true,"#));
        assert!(state(&host, "present").starts_with(r#"{"changed":false,"#));
        host.put("bad", "");
        assert_eq!(
            state(&host, "reloaded"),
            r#"{"failed":true,"changed":false,"msg":"monit reload failed","monit_version":null,"process_status":null,"stdout":"","stderr":"","stdout_lines":[],"stderr_lines":[]}"#
        );
    }

    #[test]
    fn a_status_that_nobody_knows_is_a_warning() {
        let host = host("Meditating");
        let result = state(&host, "stopped");
        assert_eq!(
            result,
            r#"{"changed":false,"name":"app","state":"stopped","warnings":["Unknown monit status 'MEDITATING', treating as execution failed","Unknown monit status 'MEDITATING', treating as execution failed"]}"#
        );
    }
}
