//! `timezone`: the target's time zone, and which time its hardware clock keeps.

use std::path::{Path, PathBuf};

use crate::machine::{Content, Effect, Machine, NewFile, Output};
use crate::value::{Map, Value};

use super::tool;
use super::{Diff, Failure, ModuleResult, Outcome};

crate::arguments! {
    /// Configure timezone setting.
    pub(crate) struct TimezoneArgs for "community.general.timezone" {
        /// Which time the hardware clock keeps.
        hwclock: Option<String> { choices: ["local", "UTC"], aliases: ["rtc"] },
        /// The zone, by its name below `/usr/share/zoneinfo`.
        name: Option<String> {},
    }
    required_one_of [["hwclock", "name"]]
}

const ZONES: &str = "/usr/share/zoneinfo";

/// Sets what differs.
pub(crate) fn run(machine: &mut Machine, args: TimezoneArgs) -> ModuleResult {
    if let Some(name) = &args.name {
        let path = Path::new(ZONES).join(name);
        let is_zone = machine.metadata(&path)?.is_some_and(|it| it.is_file());
        if !is_zone || name.contains("..") {
            return Err(Failure::new(format!(
                "Error message:\ngiven timezone \"{name}\" is not available"
            )));
        }
    }
    let mut clock = Clock {
        timedatectl: systemd(machine)?,
        machine,
        told: Vec::new(),
    };
    let (mut before, mut after) = (Map::new(), Map::new());
    let mut changed = false;
    for (key, wanted) in [("name", &args.name), ("hwclock", &args.hwclock)] {
        let Some(wanted) = wanted else { continue };
        let current = clock.get(key)?;
        before.insert(key.into(), current.as_str().into());
        after.insert(key.into(), wanted.as_str().into());
        if current != *wanted {
            clock.set(key, wanted, &current)?;
            changed = true;
        }
    }
    let diff = Diff::new(Value::from(before), Value::from(after));
    let outcome = Outcome::unchanged().with_changed(changed).only_diff(diff);
    Ok(if clock.told.is_empty() {
        outcome
    } else {
        outcome.msg(clock.told.join("\n"))
    })
}

/// Returns `timedatectl` where it answers.
fn systemd(machine: &mut Machine) -> Result<Option<String>, Failure> {
    let Some(timedatectl) = tool::found(machine, "timedatectl") else {
        return Ok(None);
    };
    let answers = tool::ask(machine, &[timedatectl.as_str()])?.success();
    Ok(answers.then_some(timedatectl))
}

struct Clock<'a> {
    machine: &'a mut Machine,
    /// `None` on a host without systemd.
    timedatectl: Option<String>,
    told: Vec<String>,
}

impl Clock<'_> {
    fn get(&mut self, key: &str) -> Result<String, Failure> {
        let Some(timedatectl) = self.timedatectl.clone() else {
            return if key == "name" {
                self.file_zone()
            } else {
                self.file_clock()
            };
        };
        let output = tool::ask(self.machine, &[timedatectl.as_str(), "status"])?;
        tool::check(Some(&output), Output::stderr_text)?;
        let text = output.stdout_text();
        let label = if key == "name" {
            "Time zone:"
        } else {
            "RTC in local TZ:"
        };
        let value = text
            .lines()
            .find_map(|line| line.trim_start().strip_prefix(label))
            .and_then(|rest| rest.split_whitespace().next())
            .unwrap_or("n/a");
        Ok(match (key, value) {
            ("hwclock", "yes") => "local".into(),
            ("hwclock", _) => "UTC".into(),
            (_, zone) => zone.to_owned(),
        })
    }

    fn set(&mut self, key: &str, wanted: &str, old: &str) -> Result<(), Failure> {
        if let Some(timedatectl) = self.timedatectl.clone() {
            let words = |value: &str| {
                let (verb, value) = match (key, value) {
                    ("name", value) => ("set-timezone", value),
                    (_, "local") => ("set-local-rtc", "yes"),
                    _ => ("set-local-rtc", "no"),
                };
                [timedatectl.clone(), verb.to_owned(), value.to_owned()]
            };
            return self.act(&words(wanted), &words(old));
        }
        if key == "name" {
            return self.set_file_zone(wanted);
        }
        let hwclock = tool::required(self.machine, "hwclock")?;
        let words = |value: &str| {
            let flag = if value == "local" {
                "--localtime"
            } else {
                "--utc"
            };
            [hwclock.clone(), "--systohc".into(), flag.to_owned()]
        };
        self.act(&words(wanted), &words(old))
    }

    fn act(&mut self, argv: &[String], undo: &[String]) -> Result<(), Failure> {
        let effect = Effect::Compensated {
            what: argv.join(" "),
            undo: vec![tool::step(undo)],
        };
        let command = tool::command(argv);
        let output = self.machine.execute(&command, effect)?.output();
        tool::check(output.as_ref(), Output::stderr_text)?;
        self.told.push(format!("executed `{}`", argv.join(" ")));
        Ok(())
    }

    /// Reads where `/etc/localtime` points, else what `/etc/timezone` says.
    fn file_zone(&mut self) -> Result<String, Failure> {
        let local = Path::new("/etc/localtime");
        if self
            .machine
            .symlink_metadata(local)?
            .is_some_and(|it| it.is_link())
        {
            let target = self.machine.real_path(local)?;
            if let Ok(zone) = target.strip_prefix(ZONES) {
                return Ok(zone.display().to_string());
            }
        }
        let file = Path::new("/etc/timezone");
        if !self.machine.exists(file)? {
            return Ok("n/a".into());
        }
        let text = self.machine.read(file)?;
        let text = String::from_utf8_lossy(&text);
        Ok(text.split_whitespace().next().unwrap_or("n/a").to_owned())
    }

    /// Reads the third line of `/etc/adjtime`.
    fn file_clock(&mut self) -> Result<String, Failure> {
        let file = Path::new("/etc/adjtime");
        if !self.machine.exists(file)? {
            return Ok("UTC".into());
        }
        let text = self.machine.read(file)?;
        let is_local = String::from_utf8_lossy(&text)
            .lines()
            .any(|line| line == "LOCAL");
        Ok(if is_local { "local" } else { "UTC" }.into())
    }

    /// Points `/etc/localtime` to the zone, and keeps its name where the host keeps it.
    fn set_file_zone(&mut self, name: &str) -> Result<(), Failure> {
        let local = Path::new("/etc/localtime");
        let zone = PathBuf::from(ZONES).join(name);
        if self.machine.symlink_metadata(local)?.is_some() {
            self.machine.remove(local)?;
        }
        self.machine.symlink(&zone, local)?;
        let file = Path::new("/etc/timezone");
        if self.machine.exists(file)? || self.machine.find_program("dpkg-reconfigure").is_some() {
            let content = Content::Bytes(format!("{name}\n").into_bytes());
            self.machine.write(file, content, &NewFile::default())?;
            self.told
                .push("Added 1 line and deleted 1 line(s) on /etc/timezone".into());
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::modules::fake::Programs;
    use crate::modules::testing::predicting;

    const NAME: &str = "community.general.timezone";
    const TIMEDATECTL: &str = r#"
case "$1" in
  status) printf '      Time zone: %s (UTC, +0000)\n RTC in local TZ: %s\n' \
    "$(cat "$here/zone" 2>/dev/null || echo Etc/UTC)" "$(cat "$here/rtc" 2>/dev/null || echo no)" ;;
  set-timezone) echo "$2" >"$here/zone" ;;
  set-local-rtc) echo "$2" >"$here/rtc" ;;
esac
"#;

    #[test]
    fn zone_and_clock_are_set_once_and_set_back() {
        let host = Programs::new([("timedatectl", TIMEDATECTL)]);
        let options = r#"{"name": "Asia/Tokyo", "hwclock": "local"}"#;
        assert!(host.predict(NAME, options).contains(r#""changed":true"#));
        let result = host.run(NAME, options);
        assert!(result.contains(r#""diff":{"before":{"name":"Etc/UTC","hwclock":"UTC"},"after":{"name":"Asia/Tokyo","hwclock":"local"}}"#), "{result}");
        assert!(host.run(NAME, options).contains(r#""changed":false"#));
        assert_eq!(
            host.undo_steps(),
            [
                "timedatectl set-timezone Etc/UTC",
                "timedatectl set-local-rtc no"
            ]
        );
    }

    #[test]
    fn a_host_without_systemd_has_a_link() {
        let mut machine = predicting();
        let mut clock = Clock {
            machine: &mut machine,
            timedatectl: None,
            told: Vec::new(),
        };
        clock.set("name", "Asia/Tokyo", "Etc/UTC").unwrap();
        assert_eq!(clock.get("name").unwrap(), "Asia/Tokyo");
    }

    #[test]
    fn an_unknown_zone_is_refused() {
        let host = Programs::new([("timedatectl", TIMEDATECTL)]);
        assert!(
            host.run(NAME, r#"{"name": "Mars/Base"}"#)
                .contains("given timezone \\\"Mars/Base\\\" is not available")
        );
        assert!(
            host.run(NAME, "{}")
                .contains("one of the following is required: hwclock, name")
        );
    }
}
