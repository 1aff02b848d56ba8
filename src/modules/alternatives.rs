//! `alternatives`: which of several programs a name stands for.

use std::path::{Path, PathBuf};

use indexmap::IndexMap;

use crate::machine::{Machine, Output};
use crate::transaction::journal::UndoStep;
use crate::value::{Map, Value};

use super::tool;
use super::{Diff, Failure, ModuleResult, Outcome};

crate::arguments! {
    /// Manages alternative programs for common commands.
    pub(crate) struct AlternativesArgs for "community.general.alternatives" {
        /// The name.
        name: String { required },
        /// The program.
        path: Option<PathBuf> {},
        /// The family that groups alternatives.
        family: Option<String> {},
        /// The link that the name stands for.
        link: Option<PathBuf> {},
        /// How much it is preferred.
        priority: Option<i64> {},
        /// Whether the program is an alternative, and the one that is used.
        state: String {
            default: "selected",
            choices: ["present", "selected", "absent", "auto"],
        },
        /// Further links that follow the first one.
        subcommands: Option<Vec<Map>> { aliases: ["slaves"] },
    }
    required_one_of [["path", "family"]]
}

/// Installs, selects or removes the alternative.
pub(crate) fn run(machine: &mut Machine, args: AlternativesArgs) -> ModuleResult {
    let program = tool::required(machine, "update-alternatives")?;
    let wanted = args
        .subcommands
        .as_deref()
        .map(|all| {
            all.iter()
                .map(Subcommand::read)
                .collect::<Result<Vec<_>, _>>()
        })
        .transpose()?;
    let path = args
        .path
        .as_ref()
        .map(|path| machine.expand(path).display().to_string());
    let shown = tool::ask(machine, &[&program, "--display", &args.name])?;
    let state = if shown.success() {
        State::parse(&shown.stdout_text(), wanted.as_deref().unwrap_or_default())
    } else {
        State::default()
    };
    let mut work = Work {
        before: state.described(path.as_deref()),
        after: Map::new(),
        machine,
        args: &args,
        program,
        path,
        wanted,
        state,
        messages: Vec::new(),
    };
    work.run()?;
    let diff = Diff::new(work.before, work.after);
    let outcome = Outcome::unchanged()
        .with_changed(!work.messages.is_empty())
        .msg(work.messages.join(" "));
    if work.machine.wants_diff() {
        return Ok(outcome.only_diff(diff));
    }
    Ok(outcome)
}

#[derive(Clone, Debug, PartialEq)]
struct Subcommand {
    name: String,
    path: String,
    link: String,
}

impl Subcommand {
    fn read(given: &Map) -> Result<Self, Failure> {
        let known = ["name", "path", "link"];
        if let Some(other) = given.keys().find(|key| !known.contains(&&*key.to_string())) {
            return Err(Failure::new(format!(
                "Unsupported parameters: {other} found in subcommands. Supported parameters \
                 include: link, name, path"
            )));
        }
        let missing: Vec<_> = known
            .into_iter()
            .filter(|key| !given.contains_key(*key))
            .collect();
        if !missing.is_empty() {
            return Err(Failure::new(format!(
                "missing required arguments: {} found in subcommands",
                missing.join(", ")
            )));
        }
        let text = |key: &str| given.get(key).map(Value::to_string).unwrap_or_default();
        Ok(Self {
            name: text("name"),
            path: text("path"),
            link: text("link"),
        })
    }

    fn value(&self) -> Value {
        let pairs = [
            ("name", &self.name),
            ("path", &self.path),
            ("link", &self.link),
        ];
        Value::map(pairs.map(|(key, text)| (key, text.as_str())))
    }
}

#[derive(Clone, Debug, Default, PartialEq)]
struct Alternative {
    priority: i64,
    family: String,
    subcommands: Vec<Subcommand>,
}

/// What `update-alternatives --display` shows.
#[derive(Debug, Default, PartialEq)]
struct State {
    mode: Option<String>,
    path: Option<String>,
    link: Option<String>,
    all: IndexMap<String, Alternative>,
}

impl State {
    fn parse(text: &str, wanted: &[Subcommand]) -> Self {
        let mut state = Self::default();
        let mut links: Vec<(String, String)> = Vec::new();
        for line in text.lines() {
            let trimmed = line.trim_start();
            if let Some(path) = trimmed.strip_prefix("link currently points to ") {
                state.path = Some(path.to_owned());
            } else if let Some(rest) = trimmed.strip_prefix("link ")
                && let Some((name, link)) = rest.split_once(" is ")
                && !name.contains(' ')
            {
                state.link.get_or_insert(link.to_owned());
            } else if let Some((name, link)) = follower(trimmed, " is ") {
                links.push((name.to_owned(), link.to_owned()));
            } else if let Some((name, path)) = follower(trimmed, ": ") {
                if let Some((_, last)) = state.all.last_mut()
                    && path != "(null)"
                {
                    last.subcommands.push(Subcommand {
                        name: name.to_owned(),
                        path: path.to_owned(),
                        link: String::new(),
                    });
                }
            } else if let Some((path, alternative)) = alternative(line) {
                state.all.insert(path.to_owned(), alternative);
            } else if state.mode.is_none() {
                state.mode = mode(line);
            }
        }
        if links.is_empty() {
            links.extend(
                wanted
                    .iter()
                    .map(|one| (one.name.clone(), one.link.clone())),
            );
        }
        let subcommands = state.all.values_mut().flat_map(|one| &mut one.subcommands);
        for subcommand in subcommands {
            let link = links.iter().find(|(name, _)| *name == subcommand.name);
            subcommand.link = link.map(|(_, link)| link.clone()).unwrap_or_default();
        }
        state
    }

    /// Describes the alternative for a diff.
    fn described(&self, path: Option<&str>) -> Map {
        let mut map = Map::new();
        let found = path.and_then(|path| Some((path, self.all.get(path)?)));
        let Some((path, alternative)) = found else {
            map.insert("state".into(), "absent".into());
            return map;
        };
        let is_selected =
            self.mode.as_deref() == Some("manual") && self.path.as_deref() != Some(path);
        map.insert(
            "state".into(),
            if is_selected { "selected" } else { "present" }.into(),
        );
        map.insert("path".into(), path.into());
        map.insert("priority".into(), alternative.priority.into());
        map.insert("link".into(), self.link.clone().into());
        if !alternative.subcommands.is_empty() {
            let all = alternative.subcommands.iter().map(Subcommand::value);
            map.insert("subcommands".into(), Value::list(all));
        }
        map
    }
}

/// Reads `slave NAME is LINK` and `slave NAME: PATH`.
fn follower<'a>(line: &'a str, middle: &str) -> Option<(&'a str, &'a str)> {
    let rest = line
        .strip_prefix("slave ")
        .or_else(|| line.strip_prefix("follower "))?;
    rest.split_once(middle)
}

/// Reads `/usr/bin/vim - priority 30` and `/usr/bin/vim - family x priority 30`.
fn alternative(line: &str) -> Option<(&str, Alternative)> {
    let (path, rest) = line.split_once(" - ")?;
    let words: Vec<_> = rest.split_whitespace().collect();
    let (family, priority) = match words[..] {
        ["family", family, "priority", priority, ..] => (family, priority),
        ["priority", priority, ..] => ("", priority),
        _ => return None,
    };
    path.starts_with('/').then_some(())?;
    let alternative = Alternative {
        priority: priority.parse().ok()?,
        family: family.to_owned(),
        subcommands: Vec::new(),
    };
    Some((path, alternative))
}

/// Reads `editor - auto mode` and `editor - status is manual.`.
fn mode(line: &str) -> Option<String> {
    let (_, rest) = line.split_once(" - ")?;
    let rest = rest.strip_prefix("status is ").unwrap_or(rest);
    let mode = rest
        .strip_suffix(" mode")
        .or_else(|| rest.strip_suffix('.'))?;
    Some(mode.to_owned())
}

struct Work<'a> {
    machine: &'a mut Machine,
    args: &'a AlternativesArgs,
    program: String,
    path: Option<String>,
    wanted: Option<Vec<Subcommand>>,
    state: State,
    messages: Vec<String>,
    before: Map,
    after: Map,
}

impl Work<'_> {
    fn run(&mut self) -> Result<(), Failure> {
        let known = self
            .path
            .as_ref()
            .and_then(|path| self.state.all.get(path))
            .cloned();
        if self.args.state == "absent" {
            return match (self.path.clone(), known) {
                (Some(path), Some(known)) => self.remove(&path, &known),
                _ => Ok(()),
            };
        }
        if let Some(path) = self.path.clone()
            && known.as_ref().is_none_or(|known| self.differs(known))
        {
            self.install(&path, known.as_ref())?;
        }
        let family = self.args.family.clone().unwrap_or_default();
        let current = self.state.path.as_ref();
        let is_same_path = self.path.is_some() && current == self.path.as_ref();
        let is_same_family = self.args.family.is_some()
            && current
                .and_then(|path| self.state.all.get(path))
                .is_some_and(|current| current.family == family);
        if self.args.state == "selected" && !is_same_path && !is_same_family {
            let wanted = self.path.clone().unwrap_or(family);
            self.select(&wanted)?;
        }
        if self.args.state == "auto" && self.state.mode.as_deref() == Some("manual") {
            self.select_automatically()?;
        }
        Ok(())
    }

    fn differs(&self, known: &Alternative) -> bool {
        let has_other_priority = self
            .args
            .priority
            .is_some_and(|wanted| wanted != known.priority);
        let has_others = self.wanted.as_ref().is_some_and(|wanted| {
            !known.subcommands.iter().all(|one| wanted.contains(one))
                || !wanted.iter().all(|one| known.subcommands.contains(one))
        });
        has_other_priority || has_others
    }

    fn install(&mut self, path: &str, known: Option<&Alternative>) -> Result<(), Failure> {
        if !self.machine.exists(Path::new(path))? {
            return Err(Failure::new(format!(
                "Specified path {path} does not exist"
            )));
        }
        let given = self
            .args
            .link
            .as_ref()
            .map(|link| link.display().to_string());
        let link = given.or_else(|| self.state.link.clone()).ok_or_else(|| {
            Failure::new(
                "Needed to install the alternative, but unable to do so as we are missing the link",
            )
        })?;
        let priority = self
            .args
            .priority
            .or(known.map(|known| known.priority))
            .unwrap_or(50);
        let new = Alternative {
            priority,
            family: self.args.family.clone().unwrap_or_default(),
            subcommands: self.wanted.clone().unwrap_or_default(),
        };
        let undo = match known {
            Some(known) => tool::step(&self.installation(&link, path, known)),
            None => tool::step(&[&self.program, "--remove", &self.args.name, path]),
        };
        let argv = self.installation(&link, path, &new);
        let message = format!("Install alternative '{path}' for '{}'.", self.args.name);
        self.act(&argv, vec![undo], message)?;
        let shown = match &self.wanted {
            Some(wanted) => wanted.clone(),
            None => known
                .map(|known| known.subcommands.clone())
                .unwrap_or_default(),
        };
        let mut after = Map::from_iter([
            ("state".into(), "present".into()),
            ("path".into(), path.into()),
            ("family".into(), self.args.family.clone().into()),
            ("priority".into(), priority.into()),
            ("link".into(), link.into()),
        ]);
        if !shown.is_empty() {
            let all = Value::list(shown.iter().map(Subcommand::value));
            after.insert("subcommands".into(), all);
        }
        self.after = after;
        Ok(())
    }

    fn installation(&self, link: &str, path: &str, alternative: &Alternative) -> Vec<String> {
        let priority = alternative.priority.to_string();
        let mut argv: Vec<String> = [
            &self.program,
            "--install",
            link,
            &self.args.name,
            path,
            &priority,
        ]
        .map(str::to_owned)
        .to_vec();
        if !alternative.family.is_empty() {
            argv.extend(["--family".into(), alternative.family.clone()]);
        }
        for one in &alternative.subcommands {
            let words = ["--slave", &one.link, &one.name, &one.path];
            argv.extend(words.map(str::to_owned));
        }
        argv
    }

    fn remove(&mut self, path: &str, known: &Alternative) -> Result<(), Failure> {
        let link = self.state.link.clone().unwrap_or_default();
        let mut undo = vec![tool::step(&self.installation(&link, path, known))];
        undo.extend(self.selection());
        let argv = [&self.program, "--remove", &self.args.name, path].map(str::to_owned);
        let message = format!("Remove alternative '{path}' from '{}'.", self.args.name);
        self.act(&argv, undo, message)?;
        self.after = Map::from_iter([("state".into(), "absent".into())]);
        Ok(())
    }

    fn select(&mut self, wanted: &str) -> Result<(), Failure> {
        let argv = [&self.program, "--set", &self.args.name, wanted].map(str::to_owned);
        let message = format!("Set alternative '{wanted}' for '{}'.", self.args.name);
        self.act(&argv, self.selection().into_iter().collect(), message)?;
        self.after.insert("state".into(), "selected".into());
        Ok(())
    }

    fn select_automatically(&mut self) -> Result<(), Failure> {
        let argv = [&self.program, "--auto", &self.args.name].map(str::to_owned);
        let message = format!("Set alternative to auto for '{}'.", self.args.name);
        self.act(&argv, self.selection().into_iter().collect(), message)?;
        self.after.insert("state".into(), "present".into());
        Ok(())
    }

    /// Returns the step that selects what is selected now.
    fn selection(&self) -> Option<UndoStep> {
        let name = &self.args.name;
        match (self.state.mode.as_deref(), &self.state.path) {
            (Some("auto"), _) => Some(tool::step(&[&self.program, "--auto", name])),
            (Some(_), Some(path)) => Some(tool::step(&[&self.program, "--set", name, path])),
            _ => None,
        }
    }

    fn act(
        &mut self,
        argv: &[String],
        undo: Vec<UndoStep>,
        message: String,
    ) -> Result<(), Failure> {
        self.messages.push(message);
        let output = tool::act_undone_by(self.machine, argv, undo)?;
        tool::check(output.as_ref(), Output::stderr_text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::modules::fake::Programs;

    const SHOWN: &str = "editor - auto mode
  link best version is /bin/sh
  link currently points to /bin/sh
  link editor is /usr/bin/editor
  slave editor.1.gz is /usr/share/man/editor.1.gz
/bin/cat - priority 10
/bin/sh - priority 30
  slave editor.1.gz: /usr/share/man/sh.1.gz
";

    fn tools() -> Programs {
        let script = format!("[ \"$1\" = --display ] || exit 0\ncat <<'EOF'\n{SHOWN}EOF");
        Programs::new([("update-alternatives", script.as_str())])
    }

    fn call(programs: &Programs, json: &str) -> Result<(bool, String), String> {
        let given: Value = serde_json::from_str(json).unwrap();
        AlternativesArgs::parse(given.as_map().unwrap())
            .map_err(Failure::from)
            .and_then(|args| run(&mut programs.machine(), args))
            .map(|outcome| {
                (
                    outcome.changed,
                    outcome.data.get("msg").unwrap().to_string(),
                )
            })
            .map_err(|failure| failure.msg)
    }

    #[test]
    fn another_alternative_is_selected_and_the_old_one_again_by_an_undo() {
        let programs = tools();
        assert_eq!(
            call(&programs, r#"{"name": "editor", "path": "/bin/cat"}"#),
            Ok((true, "Set alternative '/bin/cat' for 'editor'.".into()))
        );
        assert_eq!(
            programs.calls()[1],
            "update-alternatives --set editor /bin/cat"
        );
        assert_eq!(programs.undo_steps(), ["update-alternatives --auto editor"]);
        assert_eq!(
            call(&programs, r#"{"name": "editor", "path": "/bin/sh"}"#),
            Ok((false, String::new()))
        );
    }

    #[test]
    fn a_new_alternative_is_installed_and_one_removed() {
        let programs = tools();
        let options = r#"{"name": "editor", "path": "/bin/ls", "priority": 5, "state": "present",
            "subcommands": [{"name": "a", "path": "/b", "link": "/c"}]}"#;
        assert_eq!(
            call(&programs, options),
            Ok((true, "Install alternative '/bin/ls' for 'editor'.".into()))
        );
        let options = r#"{"name": "editor", "path": "/bin/sh", "state": "absent"}"#;
        assert_eq!(
            call(&programs, options),
            Ok((true, "Remove alternative '/bin/sh' from 'editor'.".into()))
        );
        assert_eq!(
            programs.calls()[1],
            "update-alternatives --install /usr/bin/editor editor /bin/ls 5 --slave /c a /b"
        );
        assert_eq!(
            programs.undo_steps(),
            [
                "update-alternatives --remove editor /bin/ls",
                "update-alternatives --install /usr/bin/editor editor /bin/sh 30 --slave \
                 /usr/share/man/editor.1.gz editor.1.gz /usr/share/man/sh.1.gz",
                "update-alternatives --auto editor"
            ]
        );
    }

    #[test]
    fn what_is_missing_is_named() {
        let programs = tools();
        assert_eq!(
            call(&programs, r#"{"name": "editor", "path": "/backstay/none"}"#),
            Err("Specified path /backstay/none does not exist".into())
        );
        assert_eq!(
            call(&programs, r#"{"name": "editor"}"#),
            Err("one of the following is required: path, family".into())
        );
        let options = r#"{"name": "editor", "path": "/bin/sh", "subcommands": [{"name": "a"}]}"#;
        assert_eq!(
            call(&programs, options),
            Err("missing required arguments: path, link found in subcommands".into())
        );
    }
}
