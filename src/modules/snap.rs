//! `snap`: packages of snapd, their channels and settings.

use crate::machine::{Effect, Machine, Output};
use crate::transaction::journal::UndoStep;
use crate::value::Value;

use super::tool;
use super::{Failure, ModuleResult, Outcome};

crate::arguments! {
    /// Manages snaps.
    pub(crate) struct SnapArgs for "community.general.snap" {
        /// The snaps; with `dangerous` a file too.
        name: Vec<String> { required },
        state: String { default: "present", choices: ["absent", "present", "enabled", "disabled"] },
        /// Let the snap do what it wants.
        classic: bool { default: "false" },
        /// The channel to follow.
        channel: Option<String> {},
        /// Settings: `key=value`, or `snap:key=value`.
        options: Option<Vec<String>> {},
        /// Install a file that nobody signed.
        dangerous: bool { default: "false" },
    }
}

/// Brings the snaps into the wanted state.
pub(crate) fn run(machine: &mut Machine, args: SnapArgs) -> ModuleResult {
    let program = tool::required(machine, "snap")?;
    let mut snaps = Snaps {
        machine,
        program,
        args: &args,
        outcome: Outcome::unchanged()
            .with("name", Value::list(args.name.iter().map(String::as_str)))
            .with("state", args.state.as_str()),
    };
    match args.state.as_str() {
        "present" => snaps.present()?,
        state => snaps.set(state)?,
    }
    Ok(snaps.outcome)
}

/// A snap as `snap list` shows it.
struct Listed {
    name: String,
    channel: String,
    is_enabled: bool,
}

struct Snaps<'a> {
    machine: &'a mut Machine,
    program: String,
    args: &'a SnapArgs,
    outcome: Outcome,
}

impl Snaps<'_> {
    fn with(&mut self, name: &str, value: impl Into<Value>) {
        self.outcome.data.insert(name.into(), value.into());
    }

    fn present(&mut self) -> Result<(), Failure> {
        let args = self.args;
        self.with("classic", args.classic);
        let channel = args.channel.as_deref();
        self.with("channel", channel.unwrap_or("stable"));
        let names = self.names()?;
        self.with("snap_names", Value::list(names.iter().map(String::as_str)));
        let listed = self.listed()?;
        let (mut refresh, mut install) = (Vec::new(), Vec::new());
        for (given, name) in args.name.iter().zip(&names) {
            match listed.iter().find(|one| one.name == *name) {
                None => install.push((given.clone(), None)),
                Some(found) => {
                    let is_followed = channel.is_none_or(|channel| {
                        found.channel == channel || found.channel == format!("latest/{channel}")
                    });
                    if !is_followed {
                        refresh.push((given.clone(), Some(found.channel.clone())));
                    }
                }
            }
        }
        if !refresh.is_empty() {
            self.put("refresh", &refresh)?;
        }
        if !install.is_empty() {
            self.put("install", &install)?;
        }
        self.set_options(&listed, &names)
    }

    /// Installs or refreshes, one by one where an option is for one only.
    fn put(&mut self, verb: &str, snaps: &[(String, Option<String>)]) -> Result<(), Failure> {
        let args = self.args;
        let names: Vec<_> = snaps.iter().map(|(name, _)| name.as_str()).collect();
        self.outcome.changed = true;
        self.with("snaps_installed", Value::list(names.clone()));
        let mut words = vec![verb.to_owned()];
        if args.classic {
            words.push("--classic".into());
        }
        if let Some(channel) = args.channel.as_ref().filter(|channel| *channel != "stable") {
            words.extend(["--channel".into(), channel.clone()]);
        }
        if args.dangerous {
            words.push("--dangerous".into());
        }
        let is_single = args.classic || args.channel.as_deref() != Some("stable");
        let bundles: Vec<&[(String, Option<String>)]> = if is_single {
            snaps.chunks(1).collect()
        } else {
            vec![snaps]
        };
        for bundle in bundles {
            let undo = bundle.iter().map(|(name, channel)| match channel {
                Some(channel) => self.step(&["refresh", "--channel", channel, name]),
                None => self.step(&["remove", "--purge", plain(name)]),
            });
            let undo = undo.collect();
            let mut all = words.clone();
            all.extend(bundle.iter().map(|(name, _)| name.clone()));
            self.act(&all, undo)?;
        }
        Ok(())
    }

    fn set(&mut self, state: &str) -> Result<(), Failure> {
        let listed = self.listed()?;
        let meant: Vec<_> = self
            .args
            .name
            .iter()
            .filter_map(|name| listed.iter().find(|one| one.name == *name))
            .filter(|found| match state {
                "enabled" => !found.is_enabled,
                "disabled" => found.is_enabled,
                _ => true,
            })
            .collect();
        if meant.is_empty() {
            return Ok(());
        }
        let (verb, key) = match state {
            "enabled" => ("enable", "snaps_enabled"),
            "disabled" => ("disable", "snaps_disabled"),
            _ => ("remove", "snaps_removed"),
        };
        self.outcome.changed = true;
        let names: Vec<_> = meant.iter().map(|found| found.name.as_str()).collect();
        self.with(key, Value::list(names));
        for found in meant {
            let name = found.name.as_str();
            let back = match state {
                "enabled" => self.step(&["disable", name]),
                "disabled" => self.step(&["enable", name]),
                _ => self.step(&["install", "--channel", &found.channel, name]),
            };
            self.act(&[verb.to_owned(), name.to_owned()], vec![back])?;
        }
        Ok(())
    }

    /// Returns the names that snapd has for what is given.
    fn names(&mut self) -> Result<Vec<String>, Failure> {
        let mut argv = vec![self.program.clone(), "info".into()];
        argv.extend(self.args.name.iter().cloned());
        let output = tool::ask(self.machine, &argv)?;
        let said = output.stdout_text() + &output.stderr_text();
        let missing: Vec<_> = said
            .lines()
            .filter(|line| line.contains("warning: no snap found"))
            .filter_map(|line| line.split_whitespace().last())
            .collect();
        if !missing.is_empty() {
            let shown = crate::value::repr(&Value::list(
                missing.iter().map(|name| name.trim_matches('"')),
            ));
            return Err(Failure::new(format!("Snaps not found: {shown}.")));
        }
        let names = said
            .lines()
            .filter_map(|line| line.strip_prefix("name:"))
            .map(|name| name.trim().to_owned());
        Ok(names.collect())
    }

    fn listed(&mut self) -> Result<Vec<Listed>, Failure> {
        let argv = [self.program.as_str(), "list"];
        let output = tool::ask(self.machine, &argv)?;
        // Without any snap the program fails, or only says so.
        let text = output.stdout_text();
        let listed = text.lines().skip(1).filter_map(|line| {
            let fields: Vec<_> = line.split_whitespace().collect();
            let notes = fields.get(5).copied().unwrap_or("-");
            Some(Listed {
                name: (*fields.first()?).to_owned(),
                channel: (*fields.get(3)?).to_owned(),
                is_enabled: !notes.split(',').any(|note| note == "disabled"),
            })
        });
        Ok(listed.collect())
    }

    fn set_options(&mut self, listed: &[Listed], names: &[String]) -> Result<(), Failure> {
        let Some(options) = &self.args.options else {
            return Ok(());
        };
        let mut all = Vec::new();
        for name in names {
            if !listed.iter().any(|one| one.name == *name) {
                continue;
            }
            let current = self.settings(name)?;
            let (mut changes, mut undo) = (Vec::new(), Vec::new());
            for option in options {
                let cannot = || Failure::new(format!("Cannot parse set option '{option}'"));
                let (key, value) = option.split_once('=').ok_or_else(cannot)?;
                let (of, key) = match key.split_once(':') {
                    Some((of, key)) => (Some(of), key),
                    None => (None, key),
                };
                let (key, value) = (key.trim(), value.trim());
                if key.is_empty() || value.is_empty() {
                    return Err(cannot());
                }
                if of.is_some_and(|of| !names.iter().any(|name| name == of)) {
                    return Err(Failure::new(format!(
                        "Snap option '{option}' refers to snap which is not in the list of snap \
                         names"
                    )));
                }
                if of.is_some_and(|of| of != name) {
                    continue;
                }
                let old = current.iter().find(|(name, _)| name == key);
                if old.is_some_and(|(_, old)| old == value) {
                    continue;
                }
                undo.push(match old {
                    Some((_, old)) => self.step(&["set", name, &format!("{key}={old}")]),
                    None => self.step(&["unset", name, key]),
                });
                changes.push(format!("{key}={value}"));
                all.push(match of {
                    Some(_) => option.clone(),
                    None => format!("{name}:{option}"),
                });
            }
            if changes.is_empty() {
                continue;
            }
            self.outcome.changed = true;
            let mut words = vec!["set".to_owned(), name.clone()];
            words.extend(changes.iter().cloned());
            let Some(output) = self.try_act(&words, undo)? else {
                continue;
            };
            if !output.success() {
                let said = output.stderr_text();
                return Err(Failure::new(
                    if said.contains("has no \"configure\" hook") {
                        format!("Snap '{name}' does not have any configurable options")
                    } else {
                        format!(
                            "Cannot set options '{}' for snap '{name}': error={said}",
                            changes.join(" ")
                        )
                    },
                ));
            }
        }
        if !all.is_empty() {
            self.with("options_changed", Value::list(all));
        }
        Ok(())
    }

    /// Returns the settings of a snap as flat pairs.
    fn settings(&mut self, name: &str) -> Result<Vec<(String, String)>, Failure> {
        let argv = [self.program.as_str(), "get", "-d", name];
        let output = tool::ask(self.machine, &argv)?;
        let text = output.stdout_text();
        if !output.success() || text.contains("has no configuration") {
            return Ok(Vec::new());
        }
        let value: Value = serde_json::from_str(&text).map_err(|error| {
            Failure::new(format!(
                "Parsing option map returned by 'snap get {name}' triggers exception '{error}', \
                 output:\n'{text}'"
            ))
        })?;
        let mut pairs = Vec::new();
        flatten(&value, "", &mut pairs);
        Ok(pairs)
    }

    fn step(&self, words: &[&str]) -> UndoStep {
        let mut argv = vec![self.program.as_str()];
        argv.extend(words);
        tool::step(&argv)
    }

    fn try_act(
        &mut self,
        words: &[String],
        undo: Vec<UndoStep>,
    ) -> Result<Option<Output>, Failure> {
        let mut argv = vec![self.program.clone()];
        argv.extend(words.iter().cloned());
        let effect = Effect::Compensated {
            what: format!("snap {}", words.join(" ")),
            undo,
        };
        let command = tool::command(&argv);
        Ok(self.machine.execute(&command, effect)?.output())
    }

    fn act(&mut self, words: &[String], undo: Vec<UndoStep>) -> Result<(), Failure> {
        let output = self.try_act(words, undo)?;
        tool::check(output.as_ref(), |output| {
            let said = output.stderr_text();
            let classic = said
                .strip_prefix("error: This revision of snap \"")
                .and_then(|rest| rest.split_once('"'))
                .filter(|(_, rest)| rest.contains("classic confinement"));
            match classic {
                Some((name, _)) => {
                    format!("Couldn't install {name} because it requires classic confinement")
                }
                None => {
                    let words = crate::value::repr(&Value::list(words.iter().map(String::as_str)));
                    format!(
                        "Ooops! Snap installation failed while executing '{words}', please examine \
                         logs and error output for more details."
                    )
                }
            }
        })
    }
}

/// Returns the name of a snap that is given as a file.
fn plain(given: &str) -> &str {
    let file = given.rsplit('/').next().unwrap_or(given);
    match file.strip_suffix(".snap") {
        Some(name) => name.split('_').next().unwrap_or(name),
        None => given,
    }
}

fn flatten(value: &Value, prefix: &str, pairs: &mut Vec<(String, String)>) {
    match value {
        Value::Map(map) => {
            for (key, value) in map.iter() {
                let name = if prefix.is_empty() {
                    key.to_string()
                } else {
                    format!("{prefix}.{key}")
                };
                flatten(value, &name, pairs);
            }
        }
        leaf => pairs.push((prefix.to_owned(), leaf.to_string())),
    }
}

#[cfg(test)]
mod tests {
    use crate::modules::fake::Programs;

    const NAME: &str = "community.general.snap";
    const SNAP: &str = r#"
case "$*" in
  info*none*) echo 'warning: no snap found for "none"' ;;
  info*) shift; for s; do echo "name:   $s"; done ;;
  list) echo 'Name Version Rev Tracking Publisher Notes'; cat "$here/list" 2>/dev/null; true ;;
  *install*strict) echo 'error: This revision of snap "strict" was published using classic confinement' >&2; exit 1 ;;
  install*|refresh*) for s; do :; done; c=stable; [ "$2" = --channel ] && c=$3
    echo "$s 1 1 latest/$c canonical -" >"$here/list" ;;
  remove*) rm "$here/list" ;;
  disable*) echo "$2 1 1 latest/stable canonical disabled" >"$here/list" ;;
  enable*) echo "$2 1 1 latest/stable canonical -" >"$here/list" ;;
  get*) cat "$here/conf" 2>/dev/null || { echo 'error: snap has no configuration' >&2; exit 1; } ;;
  set*) echo '{"a": {"b": "1"}}' >"$here/conf" ;;
esac
"#;

    fn changed(result: &str) -> bool {
        result.contains(r#""changed":true"#)
    }

    #[test]
    fn a_snap_is_installed_follows_a_channel_and_is_removed() {
        let host = Programs::new([("snap", SNAP)]);
        let options = r#"{"name": "hello"}"#;
        assert!(changed(&host.predict(NAME, options)));
        assert_eq!(
            host.run(NAME, options),
            r#"{"changed":true,"name":["hello"],"state":"present","classic":false,"channel":"stable","snap_names":["hello"],"snaps_installed":["hello"]}"#
        );
        assert!(!changed(&host.run(NAME, options)));
        let edge = r#"{"name": "hello", "channel": "edge"}"#;
        assert!(changed(&host.run(NAME, edge)));
        assert!(!changed(&host.run(NAME, edge)));
        let off = r#"{"name": "hello", "state": "disabled"}"#;
        assert!(changed(&host.run(NAME, off)));
        assert!(!changed(&host.run(NAME, off)));
        assert!(changed(
            &host.run(NAME, r#"{"name": "hello", "state": "enabled"}"#)
        ));
        let absent = r#"{"name": "hello", "state": "absent"}"#;
        assert!(changed(&host.run(NAME, absent)));
        assert!(!changed(&host.run(NAME, absent)));
        assert_eq!(
            host.undo_steps(),
            [
                "snap remove --purge hello",
                "snap refresh --channel latest/stable hello",
                "snap enable hello",
                "snap disable hello",
                "snap install --channel latest/stable hello",
            ]
        );
    }

    #[test]
    fn settings_are_set_where_they_differ() {
        let host = Programs::new([("snap", SNAP)]);
        host.run(NAME, r#"{"name": "hello"}"#);
        let options = r#"{"name": "hello", "options": ["a.b=1"]}"#;
        assert!(
            host.run(NAME, options)
                .contains(r#""options_changed":["hello:a.b=1"]"#)
        );
        assert!(!changed(&host.run(NAME, options)));
        assert_eq!(host.undo_steps()[1], "snap unset hello a.b");
        assert!(
            host.run(NAME, r#"{"name": "hello", "options": ["a.b"]}"#)
                .contains("Cannot parse set option 'a.b'")
        );
    }

    #[test]
    fn an_unknown_snap_and_one_that_wants_more_are_refused() {
        let host = Programs::new([("snap", SNAP)]);
        assert!(
            host.run(NAME, r#"{"name": "none"}"#)
                .contains("Snaps not found: ['none'].")
        );
        assert!(
            host.run(NAME, r#"{"name": "strict"}"#)
                .contains("Couldn't install strict because it requires classic confinement")
        );
    }
}
