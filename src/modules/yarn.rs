//! `yarn`: packages of Node.js with Yarn Classic, of a directory or of the whole target.

use std::path::PathBuf;

use crate::machine::{Effect, Machine, Output};
use crate::value::Value;

use super::tool;
use super::{Failure, ModuleResult, Outcome};

crate::arguments! {
    /// Manage Node.js packages with Yarn.
    pub(crate) struct YarnArgs for "community.general.yarn" {
        /// The package; without, what package.json asks for.
        name: Option<String> {},
        /// The directory the packages belong to.
        path: Option<PathBuf> {},
        /// The package's version.
        version: Option<String> {},
        /// Install for the whole target.
        global: bool { default: "false" },
        /// The yarn to run.
        executable: Option<String> {},
        /// Run no scripts of the packages.
        ignore_scripts: bool { default: "false" },
        /// Leave out what is for development only.
        production: bool { default: "false" },
        /// Where packages come from.
        registry: Option<String> {},
        /// Whether the package should be there.
        state: String { default: "present", choices: ["present", "absent", "latest"] },
    }
}

/// Brings the package into the wanted state.
pub(crate) fn run(machine: &mut Machine, args: YarnArgs) -> ModuleResult {
    if args.path.is_none() && !args.global {
        return Err(Failure::new(
            "Path must be specified when not using global arg",
        ));
    }
    if args.path.is_some() && args.global {
        return Err(Failure::new(
            "Cannot specify path if doing global installation",
        ));
    }
    if args.state == "absent" && args.name.is_none() {
        return Err(Failure::new(
            "Package must be explicitly named when uninstalling.",
        ));
    }
    let start: Vec<String> = match &args.executable {
        Some(given) => given.split(' ').map(str::to_owned).collect(),
        None => vec![tool::required(machine, "yarn")?],
    };
    let path = match &args.path {
        Some(path) => machine.expand(path),
        None => {
            let mut argv = start.clone();
            argv.extend(["global".into(), "dir".into()]);
            let output = tool::ask(machine, &argv)?;
            tool::check(Some(&output), tool::complaint)?;
            PathBuf::from(output.stdout_text().trim())
        }
    };
    let mut yarn = Yarn {
        machine,
        args: &args,
        start,
        path,
        changed: false,
        said: (Value::from(""), Value::from("")),
    };
    match (args.state.as_str(), &args.name) {
        ("absent", Some(name)) => {
            if yarn.installed()?.is_some_and(|found| found.contains(name)) {
                yarn.act(&["remove", name])?;
            }
        }
        (state, Some(name)) => {
            let installed = yarn.installed()?;
            let is_missing = installed.is_none_or(|found| !found.contains(name));
            let is_outdated = state == "latest" && yarn.is_outdated()?;
            if is_missing {
                let version = match state {
                    "latest" => Some("latest"),
                    _ => args.version.as_deref().filter(|it| !it.is_empty()),
                };
                let package = version.map_or_else(|| name.clone(), |it| format!("{name}@{it}"));
                yarn.act(&["add", &package])?;
            }
            if is_outdated {
                yarn.act(&["upgrade", "--latest"])?;
            }
        }
        (_, None) => yarn.act(&["install", "--non-interactive"])?,
    }
    let (out, err) = yarn.said;
    Ok(Outcome::unchanged()
        .with_changed(yarn.changed)
        .with("out", out)
        .with("err", err))
}

struct Yarn<'a> {
    machine: &'a mut Machine,
    args: &'a YarnArgs,
    start: Vec<String>,
    path: PathBuf,
    changed: bool,
    /// What the last change printed; null where it was predicted.
    said: (Value, Value),
}

impl Yarn<'_> {
    fn argv(&self, words: &[&str], is_global: bool) -> Vec<String> {
        let args = self.args;
        let mut argv = self.start.clone();
        if is_global {
            argv.push("global".into());
        }
        argv.extend(words.iter().map(|word| (*word).to_owned()));
        for (flag, is_set) in [
            ("--production", args.production),
            ("--ignore-scripts", args.ignore_scripts),
        ] {
            if is_set {
                argv.push(flag.into());
            }
        }
        if let Some(registry) = &args.registry {
            argv.extend(["--registry".into(), registry.clone()]);
        }
        argv
    }

    /// Makes the directory, and looks for what yarn needs in it.
    fn enter(&mut self) -> Result<(), Failure> {
        if !self.machine.exists(&self.path)? {
            self.machine.create_dir_all(&self.path, 0o777)?;
        }
        if !self.machine.is_dir(&self.path)? {
            return Err(Failure::new(format!(
                "Path provided {} is not a directory",
                self.path.display()
            )));
        }
        if !self.has("package.json")? {
            return Err(Failure::new(
                "Package.json does not exist in provided path.",
            ));
        }
        Ok(())
    }

    fn has(&self, name: &str) -> Result<bool, Failure> {
        let found = self.machine.metadata(&self.path.join(name))?;
        Ok(found.is_some_and(|found| found.is_file()))
    }

    /// Asks yarn in the directory; global packages have no questions of their own.
    fn ask(&mut self, words: &[&str]) -> Result<String, Failure> {
        self.enter()?;
        let command = tool::command(&self.argv(words, false)).directory(&self.path);
        let output = self.machine.query(&command)?;
        check_said(&output.stderr_text())?;
        Ok(output.stdout_text())
    }

    /// Lists the names of the installed packages; `None` where nothing was ever installed.
    fn installed(&mut self) -> Result<Option<Vec<String>>, Failure> {
        if !self.has("yarn.lock")? {
            return Ok(None);
        }
        let text = self.ask(&["list", "--depth=0", "--json"])?;
        let mut names = Vec::new();
        for line in text.trim().lines() {
            let told = message(line)?;
            if told.get("type").and_then(Value::as_str) != Some("tree") {
                continue;
            }
            let trees = told.get("data").and_then(|data| data.get("trees"));
            let trees = trees.and_then(Value::as_list).unwrap_or_default();
            let found = trees.iter().filter_map(|tree| tree.get("name")?.as_str());
            names.extend(found.map(|name| {
                name.rsplit_once('@')
                    .map_or(name, |(name, _)| name)
                    .to_owned()
            }));
        }
        Ok(Some(names))
    }

    fn is_outdated(&mut self) -> Result<bool, Failure> {
        if !self.has("yarn.lock")? {
            return Ok(false);
        }
        let text = self.ask(&["outdated", "--json"])?;
        let Some(line) = text.lines().nth(1) else {
            return Ok(false);
        };
        let told = message(line)?;
        let body = told.get("data").and_then(|data| data.get("body"));
        Ok(body
            .and_then(Value::as_list)
            .is_some_and(|rows| !rows.is_empty()))
    }

    /// Runs yarn; an undo puts back what it changed in the directory, and takes back what it did
    /// for the whole target.
    fn act(&mut self, words: &[&str]) -> Result<(), Failure> {
        let is_global = self.args.global;
        if !is_global && !self.machine.is_check() {
            self.enter()?;
        }
        for name in ["package.json", "yarn.lock", "node_modules"] {
            self.machine.preserve(&self.path.join(name))?;
        }
        let argv = self.argv(words, is_global);
        let undo = match (words, &self.args.name) {
            (["add", _], Some(name)) if is_global => {
                vec![tool::step(&self.argv(&["remove", name], true))]
            }
            (["remove", name], _) if is_global => {
                vec![tool::step(&self.argv(&["add", name], true))]
            }
            _ => Vec::new(),
        };
        let mut command = tool::command(&argv);
        if !is_global {
            command = command.directory(&self.path);
        }
        let what = argv.join(" ");
        let effect = Effect::Compensated { what, undo };
        let output = self.machine.execute(&command, effect)?.output();
        tool::check(output.as_ref(), tool::complaint)?;
        let text = |of: fn(&Output) -> String| {
            output
                .as_ref()
                .map_or(Value::Null, |it| Value::from(of(it)))
        };
        self.said = (text(Output::stdout_text), text(Output::stderr_text));
        self.changed = true;
        Ok(())
    }
}

/// Refuses what yarn says of an error; its warnings are no matter.
fn check_said(text: &str) -> Result<(), Failure> {
    for line in text.lines() {
        let Ok(told) = message(line) else {
            return Err(
                Failure::new(format!("Unexpected stderr output from Yarn: {text}"))
                    .with("stderr", text),
            );
        };
        if told.get("type").and_then(Value::as_str) == Some("error") {
            return Err(Failure::new(text));
        }
    }
    Ok(())
}

fn message(line: &str) -> Result<Value, Failure> {
    serde_json::from_str(line)
        .map_err(|error| Failure::new(format!("yarn's answer cannot be read: {error}")))
}

#[cfg(test)]
mod tests {
    use crate::modules::fake::Programs;

    const NAME: &str = "community.general.yarn";
    const YARN: &str = r#"
case "$*" in
  'global dir') echo "$here/global" ;;
  *list*) echo '{"type":"info","data":"x"}'
    echo "{\"type\":\"tree\",\"data\":{\"trees\":[{\"name\":\"@a/b@1.0.0\"}$(cat "$here/more" 2>/dev/null)]}}" ;;
  *outdated*) echo '{"type":"info","data":"x"}'
    echo '{"type":"warning","data":"no license field"}' >&2
    echo "{\"type\":\"table\",\"data\":{\"body\":[$(cat "$here/old" 2>/dev/null)]}}" ;;
  *broken*) echo 'error no such package' >&2; exit 1 ;;
  *add*) echo ',{"name":"left-pad@1.3.0"}' >"$here/more"; echo added ;;
  *upgrade*) rm "$here/old" ;;
  *remove*) rm "$here/more" ;;
esac
"#;

    fn host() -> Programs {
        let host = Programs::new([("yarn", YARN)]);
        host.put("package.json", "{}");
        host.put("yarn.lock", "");
        host
    }

    #[test]
    fn a_package_is_added_upgraded_and_removed_once() {
        let host = host();
        let add = r#"{"name": "left-pad", "path": "$BIN", "version": "1.3.0", "production": true}"#;
        assert_eq!(
            host.predict(NAME, add),
            r#"{"changed":true,"out":null,"err":null}"#
        );
        assert_eq!(
            host.run(NAME, add),
            r#"{"changed":true,"out":"added\n","err":""}"#
        );
        assert_eq!(
            host.run(NAME, add),
            r#"{"changed":false,"out":"","err":""}"#
        );
        let latest = r#"{"name": "left-pad", "path": "$BIN", "state": "latest"}"#;
        host.put("old", "[\"left-pad\"]");
        assert!(host.run(NAME, latest).contains(r#""changed":true"#));
        assert!(host.run(NAME, latest).contains(r#""changed":false"#));
        let absent = r#"{"name": "left-pad", "path": "$BIN", "state": "absent"}"#;
        assert!(host.run(NAME, absent).contains(r#""changed":true"#));
        assert!(host.run(NAME, absent).contains(r#""changed":false"#));
        assert!(
            host.calls()
                .contains(&"yarn add left-pad@1.3.0 --production".to_owned())
        );
        assert!(host.undo_steps().is_empty(), "the files come back");
    }

    #[test]
    fn a_package_of_the_whole_target_is_taken_back_by_yarn() {
        let host = Programs::new([("yarn", YARN)]);
        let options = r#"{"name": "pm2", "global": true}"#;
        assert!(host.run(NAME, options).contains(r#""changed":true"#));
        assert_eq!(host.undo_steps(), ["yarn global remove pm2"]);
    }

    #[test]
    fn what_yarn_needs_is_told() {
        let host = host();
        for (options, msg) in [
            (
                r#"{"name": "x"}"#,
                "Path must be specified when not using global arg",
            ),
            (
                r#"{"name": "x", "path": "/x", "global": true}"#,
                "Cannot specify path if doing global installation",
            ),
            (
                r#"{"path": "/x", "state": "absent"}"#,
                "Package must be explicitly named when uninstalling.",
            ),
            (
                r#"{"name": "broken", "path": "$BIN"}"#,
                "error no such package",
            ),
            (
                r#"{"name": "x", "path": "$BIN/none"}"#,
                "Package.json does not exist in provided path.",
            ),
        ] {
            let result = host.run(NAME, options);
            assert!(result.contains(&format!(r#""msg":"{msg}""#)), "{result}");
        }
    }
}
