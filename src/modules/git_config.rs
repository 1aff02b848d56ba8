//! `git_config`: one setting of git, of the host, a user, a repository or a file.

use std::path::{Path, PathBuf};

use crate::machine::{Command, Effect, Machine};
use crate::transaction::journal::UndoStep;
use crate::value::Value;

use super::tool;
use super::{Diff, Failure, ModuleResult, Outcome};

crate::arguments! {
    /// Update git configuration.
    pub(crate) struct GitConfigArgs for "community.general.git_config" {
        /// The setting: `section.key`.
        name: String { required },
        /// The repository of a local setting.
        repo: Option<PathBuf> {},
        /// The file of a setting with the scope `file`.
        file: Option<PathBuf> {},
        /// Whether other values of the setting stay.
        add_mode: String { default: "replace-all", choices: ["add", "replace-all"] },
        /// Whose setting; that of the whole host by default.
        scope: Option<String> { choices: ["file", "local", "global", "system"] },
        state: String { default: "present", choices: ["present", "absent"] },
        value: Option<Value> {},
    }
    required_if [
        ("scope", "local", ["repo"], false), ("scope", "file", ["file"], false),
        ("state", "present", ["value"], false),
    ]
}

/// Sets the value, or takes the setting away.
pub(crate) fn run(machine: &mut Machine, args: GitConfigArgs) -> ModuleResult {
    let git = tool::required(machine, "git")?;
    let value = args
        .value
        .as_ref()
        .map(Value::to_string)
        .unwrap_or_default();
    let unset = args.state == "absent";
    if !unset && value.is_empty() {
        return Err(Failure::new(
            "If state=present, a value must be specified. Use the \
             community.general.git_config_info module to read a config value.",
        ));
    }
    let scope = args.scope.as_deref().unwrap_or("system");
    let directory = match (scope, &args.repo) {
        ("local", Some(repo)) => machine.expand(repo),
        _ => PathBuf::from("/"),
    };
    let mut base = vec![git, "config".into(), "--includes".into()];
    match (scope, &args.file) {
        ("file", Some(file)) => {
            base.extend(["-f".into(), machine.expand(file).display().to_string()]);
        }
        _ => base.push(format!("--{scope}")),
    }
    let with = |words: &[&str]| {
        let mut argv = base.clone();
        argv.extend(words.iter().map(|word| (*word).to_owned()));
        argv
    };
    let name = args.name.as_str();
    let question = with(&["--get-all", name]);
    let listed = machine.query(&command(&question, &directory))?;
    if listed.status >= 2 {
        return Err(Failure::new(listed.stderr_text())
            .with("rc", listed.status)
            .with("cmd", question.join(" ")));
    }
    let text = listed.stdout_text();
    let old: Vec<_> = text.trim_end().lines().map(str::to_owned).collect();
    if unset && text.is_empty() {
        return Ok(Outcome::unchanged().msg("no setting to unset"));
    }
    let is_there = old.contains(&value) && (old.len() == 1 || args.add_mode == "add");
    if !unset && is_there {
        return Ok(Outcome::unchanged().msg(""));
    }
    let argv = if unset {
        with(&["--unset-all", name])
    } else {
        with(&[&format!("--{}", args.add_mode), name, &value])
    };
    let mut undo = Vec::new();
    let mut back =
        |words: &[&str]| undo.push(UndoStep::new(in_directory(&directory, &with(words))));
    if !unset {
        back(&["--unset-all", name]);
    }
    for value in &old {
        back(&["--add", name, value]);
    }
    let effect = Effect::Compensated {
        what: argv.join(" "),
        undo,
    };
    let output = machine
        .execute(&command(&argv, &directory), effect)?
        .output();
    if let Some(output) = output.filter(|output| !output.stderr.is_empty()) {
        return Err(Failure::new(output.stderr_text())
            .with("rc", output.status)
            .with("cmd", Value::list(argv)));
    }
    let after = match (unset, args.add_mode.as_str()) {
        (true, _) => Vec::new(),
        (_, "add") => old.iter().cloned().chain([value]).collect(),
        _ => vec![value],
    };
    let header = argv.join(" ");
    let diff = Diff::new(shown(&old), shown(&after)).headers(header.clone(), header);
    Ok(Outcome::changed().msg("setting changed").only_diff(diff))
}

fn command(argv: &[String], directory: &Path) -> Command {
    tool::command(argv)
        .env("LC_CTYPE", "C")
        .directory(directory)
}

/// Returns the command as one that runs from anywhere.
fn in_directory(directory: &Path, argv: &[String]) -> Vec<String> {
    let mut words = argv.to_vec();
    words.splice(1..1, ["-C".to_owned(), directory.display().to_string()]);
    words
}

fn shown(values: &[String]) -> Value {
    match values {
        [] => "\n".into(),
        [one] => format!("{one}\n").into(),
        many => Value::list(many.iter().map(String::as_str)),
    }
}

#[cfg(test)]
mod tests {
    use crate::modules::fake::Programs;

    const NAME: &str = "community.general.git_config";

    #[test]
    fn a_setting_is_set_changed_added_to_and_taken_away() {
        let host = Programs::new([]);
        let set = |value: &str, more: &str| {
            let options = format!(
                r#"{{"name": "user.name", "scope": "file", "file": "$BIN/config", "value": "{value}"{more}}}"#
            );
            host.run(NAME, &options)
        };
        assert!(set("me", "").contains(r#""diff":{"before":"\n","after":"me\n""#));
        assert_eq!(set("me", ""), r#"{"changed":false,"msg":""}"#);
        assert!(set("you", "").contains(r#""diff":{"before":"me\n","after":"you\n""#));
        let add = r#", "add_mode": "add""#;
        assert!(set("us", add).contains(r#""after":["you","us"]"#));
        assert!(set("us", add).contains(r#""changed":false"#));
        let text = std::fs::read_to_string(host.path("config")).unwrap();
        assert_eq!(text, "[user]\n\tname = you\n\tname = us\n");
        let absent =
            r#"{"name": "user.name", "scope": "file", "file": "$BIN/config", "state": "absent"}"#;
        assert!(host.predict(NAME, absent).contains(r#""changed":true"#));
        assert!(host.run(NAME, absent).contains(r#""changed":true"#));
        assert!(host.run(NAME, absent).contains("no setting to unset"));
        let undo = host.undo_steps();
        assert!(
            undo.last().unwrap().ends_with("--add user.name us"),
            "{undo:?}"
        );
    }

    #[test]
    fn wrong_calls_are_refused() {
        let host = Programs::new([]);
        assert!(
            host.run(NAME, r#"{"name": "a.b", "value": "c", "scope": "local"}"#)
                .contains("scope is local but all of the following are missing: repo")
        );
        assert!(
            host.run(
                NAME,
                r#"{"name": "wrong", "value": "c", "scope": "file", "file": "$BIN/c"}"#
            )
            .contains("key does not contain a section: wrong")
        );
    }
}
