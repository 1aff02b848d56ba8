//! `at`: one job that runs once, later.

use std::path::{Path, PathBuf};

use crate::machine::{Effect, Machine, Output, TemporaryFile};
use crate::transaction::journal::UndoStep;

use super::foresight::skipped_in_check_mode;
use super::tool;
use super::{Failure, ModuleResult, Outcome};

crate::arguments! {
    /// Schedule the execution of a command or script file via the at command.
    pub(crate) struct AtArgs for "ansible.posix.at" {
        /// The command.
        command: Option<String> {},
        /// A script of the target.
        script_file: Option<PathBuf> {},
        /// In how many units of time.
        count: Option<i64> {},
        units: Option<String> { choices: ["minutes", "hours", "days", "weeks"] },
        state: String { default: "present", choices: ["absent", "present"] },
        /// Add no job that is there already.
        unique: bool { default: "false" },
    }
    mutually_exclusive [["command", "script_file"]]
    required_one_of [["command", "script_file"]]
}

/// Adds the job, or removes those that do the same.
pub(crate) fn run(machine: &mut Machine, args: AtArgs) -> ModuleResult {
    if let Some(skipped) = skipped_in_check_mode(machine, "ansible.posix.at") {
        return Ok(skipped);
    }
    let at = tool::required(machine, "at")?;
    let time = match (args.count.filter(|count| *count != 0), &args.units) {
        (Some(count), Some(units)) => Some((count, units.as_str())),
        _ if args.state == "present" => {
            return Err(Failure::new("present state requires count and units"));
        }
        _ => None,
    };
    let script = Script::of(machine, &args)?;
    let mut jobs = Jobs { machine, at };
    let outcome = Outcome::unchanged().with("state", args.state.as_str());
    if args.state == "absent" {
        let found = jobs.matching(&script.text)?;
        for (number, when) in &found {
            jobs.remove(number, when)?;
        }
        return Ok(outcome.with_changed(!found.is_empty()));
    }
    if args.unique && !jobs.matching(&script.text)?.is_empty() {
        return Ok(outcome);
    }
    let (count, units) = time.unwrap_or_default();
    jobs.add(&script, count, units)?;
    Ok(outcome
        .with("script_file", script.path.as_str())
        .with("count", count)
        .with("units", units)
        .with_changed(true))
}

/// What the job does, as a file.
struct Script {
    path: String,
    text: String,
    _file: Option<TemporaryFile>,
}

impl Script {
    fn of(machine: &mut Machine, args: &AtArgs) -> Result<Self, Failure> {
        if let Some(command) = &args.command {
            let file = machine.temporary_file(format!("{command}\n").as_bytes())?;
            return Ok(Self {
                path: file.path().display().to_string(),
                text: command.trim().to_owned(),
                _file: Some(file),
            });
        }
        let given = args.script_file.as_deref().unwrap_or(Path::new(""));
        let path = machine.expand(given);
        let text = String::from_utf8_lossy(&machine.read(&path)?).into_owned();
        Ok(Self {
            path: path.display().to_string(),
            text: text.trim().to_owned(),
            _file: None,
        })
    }
}

struct Jobs<'a> {
    machine: &'a mut Machine,
    at: String,
}

impl Jobs<'_> {
    /// Returns numbers and times of the jobs that do this.
    fn matching(&mut self, text: &str) -> Result<Vec<(String, String)>, Failure> {
        let mut found = Vec::new();
        for (number, when) in self.all()? {
            if self.content(&number)?.contains(text) {
                found.push((number, when));
            }
        }
        Ok(found)
    }

    fn all(&mut self) -> Result<Vec<(String, String)>, Failure> {
        let atq = tool::required(self.machine, "atq")?;
        let output = tool::ask(self.machine, &[atq])?;
        tool::check(Some(&output), Output::stderr_text)?;
        let text = output.stdout_text();
        let jobs = text.lines().filter_map(|line| {
            let mut words = line.split_whitespace();
            let number = words.next()?.to_owned();
            let when: Vec<_> = words.take(5).collect();
            Some((number, when.join(" ")))
        });
        Ok(jobs.collect())
    }

    fn content(&mut self, number: &str) -> Result<String, Failure> {
        let argv = [self.at.as_str(), "-c", number];
        let output = tool::ask(self.machine, &argv)?;
        tool::check(Some(&output), Output::stderr_text)?;
        Ok(output.stdout_text())
    }

    fn add(&mut self, script: &Script, count: i64, units: &str) -> Result<(), Failure> {
        const UNDO: &str = r#"
at=$1 text=$2 before=" $3 "
atq | while read -r number rest; do
  case "$before" in *" $number "*) continue ;; esac
  case "$("$at" -c "$number")" in *"$text"*) "$at" -r "$number" ;; esac
done"#;
        let before: Vec<_> = self.all()?.into_iter().map(|(number, _)| number).collect();
        let before = before.join(" ");
        let undo = UndoStep::new(["/bin/sh", "-c", UNDO, "sh", &self.at, &script.text, &before]);
        let time = format!("now + {count} {units}");
        let mut argv = vec![self.at.clone(), "-f".into(), script.path.clone()];
        argv.extend(time.split(' ').map(str::to_owned));
        self.act(&argv, undo)
    }

    fn remove(&mut self, number: &str, when: &str) -> Result<(), Failure> {
        let content = self.content(number)?;
        let script = r#"printf '%s\n' "$1" | "$2" -t "$(date -d "$3" +%Y%m%d%H%M)""#;
        let undo = UndoStep::new(["/bin/sh", "-c", script, "sh", &content, &self.at, when]);
        let argv = [self.at.as_str(), "-r", number].map(str::to_owned);
        self.act(&argv, undo)
    }

    fn act(&mut self, argv: &[String], undo: UndoStep) -> Result<(), Failure> {
        let effect = Effect::Compensated {
            what: argv.join(" "),
            undo: vec![undo],
        };
        let command = tool::command(argv);
        let output = self.machine.execute(&command, effect)?.output();
        tool::check(output.as_ref(), Output::stderr_text)
    }
}

#[cfg(test)]
mod tests {
    use crate::modules::fake::Programs;

    const NAME: &str = "ansible.posix.at";
    const AT: &str = r#"
case "$1" in
  -f) cp "$2" "$here/job"; echo 'job 7 at later' >&2 ;;
  -c) echo '#!/bin/sh'; cat "$here/job" ;;
  -r) rm "$here/job" ;;
esac
"#;
    const ATQ: &str = r#"[ ! -e "$here/job" ] || printf '7\tTue Nov 24 03:00:00 2026 a root\n'"#;

    #[test]
    fn a_job_is_added_once_if_it_is_unique_and_removed() {
        let host = Programs::new([("at", AT), ("atq", ATQ)]);
        let options =
            r#"{"command": "ls -d / >/dev/null", "count": 20, "units": "minutes", "unique": true}"#;
        let result = host.run(NAME, options);
        assert!(result.contains(r#""count":20,"units":"minutes""#));
        assert!(
            host.calls()[1].ends_with("now + 20 minutes")
                || host.calls()[2].ends_with("now + 20 minutes")
        );
        assert_eq!(
            host.run(NAME, options),
            r#"{"changed":false,"state":"present"}"#
        );
        let absent = r#"{"command": "ls -d / >/dev/null", "state": "absent"}"#;
        assert_eq!(
            host.run(NAME, absent),
            r#"{"changed":true,"state":"absent"}"#
        );
        assert_eq!(
            host.run(NAME, absent),
            r#"{"changed":false,"state":"absent"}"#
        );
        let undo = host.undo_steps();
        assert_eq!(undo.len(), 2);
        assert!(undo[1].ends_with("at Tue Nov 24 03:00:00 2026"));
    }

    #[test]
    fn a_job_without_a_time_is_refused_and_check_mode_does_nothing() {
        let host = Programs::new([("at", AT), ("atq", ATQ)]);
        assert!(
            host.run(NAME, r#"{"command": "x"}"#)
                .contains("present state requires count and units")
        );
        assert!(
            host.predict(NAME, r#"{"command": "x", "count": 1, "units": "days"}"#)
                .contains(r#""skipped":true"#)
        );
    }
}
