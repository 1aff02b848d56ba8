//! `composer`: what a PHP project depends on.

use std::path::PathBuf;

use crate::machine::{Effect, Machine, Output, split_words};
use crate::value::{Map, Value};

use super::tool;
use super::{Failure, ModuleResult, Outcome};

crate::arguments! {
    /// Dependency Manager for PHP.
    pub(crate) struct ComposerArgs for "community.general.composer" {
        /// What composer is to do.
        command: String { default: "install" },
        /// Further words for the command.
        arguments: String { default: "" },
        /// The php to run.
        executable: Option<PathBuf> { aliases: ["php_path"] },
        /// The project's directory.
        working_dir: Option<PathBuf> {},
        /// Work for all projects of the user.
        global_command: bool { default: "false" },
        /// Take sources where there are some.
        prefer_source: bool { default: "false" },
        /// Take archives where there are some.
        prefer_dist: bool { default: "false" },
        /// Leave out what is for development only.
        no_dev: bool { default: "true" },
        /// Run no scripts of composer.json.
        no_scripts: bool { default: "false" },
        /// Use no plugins.
        no_plugins: bool { default: "false" },
        /// Cache what classes there are in `APCu`.
        apcu_autoloader: bool { default: "false" },
        /// Make a map of all classes.
        optimize_autoloader: bool { default: "true" },
        /// Look for classes in the map only.
        classmap_authoritative: bool { default: "false" },
        /// Go on where PHP or its extensions are not what is asked for.
        ignore_platform_reqs: bool { default: "false" },
        /// The composer to run.
        composer_executable: Option<PathBuf> {},
    }
    required_if [("global_command", "False", ["working_dir"], false)]
}

/// Runs composer.
pub(crate) fn run(machine: &mut Machine, args: ComposerArgs) -> ModuleResult {
    if args.command.contains(char::is_whitespace) {
        return Err(Failure::new(
            "Use the 'arguments' param for passing arguments with the 'command'",
        ));
    }
    let words = split_words(&args.arguments).ok_or_else(|| Failure::new("No closing quotation"))?;
    let mut composer = Composer {
        start: vec![
            program(machine, args.executable.as_ref(), "php")?,
            program(machine, args.composer_executable.as_ref(), "composer")?,
        ],
        directory: args
            .working_dir
            .as_ref()
            .filter(|_| !args.global_command)
            .map(|path| machine.expand(path).display().to_string()),
        machine,
        args: &args,
    };
    let known = composer.known_options()?;
    let mut options = chosen(&args, &known);
    if !composer.machine.is_check() {
        return composer.work(&options, &words);
    }
    // Composer can tell what it would do, with its own option.
    if !known.iter().any(|option| option == "dry-run") {
        let msg = format!(
            "command '{}' does not support check mode, skipping",
            args.command
        );
        return Ok(Outcome::unchanged().skipped().msg(msg));
    }
    options.push("--dry-run".into());
    let argv = composer.argv(&[&args.command], &options, &words);
    let output = tool::ask(composer.machine, &argv)?;
    told(&output)
}

fn program(machine: &mut Machine, given: Option<&PathBuf>, name: &str) -> Result<String, Failure> {
    match given {
        Some(path) => Ok(machine.expand_text(&path.to_string_lossy())),
        None => tool::required(machine, name),
    }
}

/// Returns composer's options for what the module's ask for, those that its command knows.
fn chosen(args: &ComposerArgs, known: &[String]) -> Vec<String> {
    [
        ("no-ansi", true),
        ("no-interaction", true),
        ("no-progress", true),
        ("prefer-source", args.prefer_source),
        ("prefer-dist", args.prefer_dist),
        ("no-dev", args.no_dev),
        ("no-scripts", args.no_scripts),
        ("no-plugins", args.no_plugins),
        ("apcu-autoloader", args.apcu_autoloader),
        ("optimize-autoloader", args.optimize_autoloader),
        ("classmap-authoritative", args.classmap_authoritative),
        ("ignore-platform-reqs", args.ignore_platform_reqs),
    ]
    .into_iter()
    .filter(|(option, is_wanted)| *is_wanted && known.iter().any(|it| it == option))
    .map(|(option, _)| format!("--{option}"))
    .collect()
}

fn one_line(text: &str) -> String {
    let words: Vec<_> = text.split_whitespace().collect();
    words.join(" ")
}

fn told(output: &Output) -> ModuleResult {
    let said = output.stderr_text();
    if !output.success() {
        return Err(Failure::new(one_line(&said)).with("stdout", said));
    }
    let all = output.stdout_text() + &said;
    let line = one_line(&all);
    let is_idle = [
        "Nothing to install or update",
        "Nothing to install, update or remove",
    ]
    .iter()
    .any(|words| line.contains(words));
    Ok(Outcome::unchanged()
        .with_changed(!is_idle)
        .msg(line)
        .with("stdout", all))
}

struct Composer<'a> {
    machine: &'a mut Machine,
    args: &'a ComposerArgs,
    start: Vec<String>,
    directory: Option<String>,
}

impl Composer<'_> {
    fn argv(&self, command: &[&str], options: &[String], words: &[String]) -> Vec<String> {
        let mut argv = self.start.clone();
        if self.args.global_command {
            argv.push("global".into());
        }
        argv.extend(command.iter().map(|word| (*word).to_owned()));
        argv.extend_from_slice(options);
        if let Some(directory) = &self.directory {
            argv.extend(["--working-dir".into(), directory.clone()]);
        }
        argv.extend_from_slice(words);
        argv
    }

    /// Lists the options that the command takes.
    fn known_options(&mut self) -> Result<Vec<String>, Failure> {
        let words = ["--no-interaction".to_owned(), "--format=json".to_owned()];
        let argv = self.argv(&["help", &self.args.command], &[], &words);
        let output = tool::ask(self.machine, &argv)?;
        tool::check(Some(&output), |output| one_line(&output.stderr_text()))?;
        let help: Value = serde_json::from_str(&output.stdout_text())
            .map_err(|error| Failure::new(format!("composer's help cannot be read: {error}")))?;
        let options = help
            .get("definition")
            .and_then(|it| it.get("options"))
            .and_then(Value::as_map);
        let names = options.into_iter().flat_map(Map::keys);
        Ok(names.map(ToString::to_string).collect())
    }

    fn work(&mut self, options: &[String], words: &[String]) -> ModuleResult {
        let argv = self.argv(&[&self.args.command], options, words);
        let effect = Effect::opaque(argv.join(" "));
        let output = self.machine.execute(&tool::command(&argv), effect)?;
        match output.output() {
            Some(output) => told(&output),
            None => Ok(Outcome::changed()),
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::modules::fake::Programs;

    const NAME: &str = "community.general.composer";
    const PHP: &str = r#"
shift
case "$*" in
  *'help require '*) echo '{"definition": {"options": {"no-ansi": {}}}}' ;;
  *'help '*) echo '{"definition": {"options": {"no-ansi": {}, "no-dev": {}, "dry-run": {}}}}' ;;
  *broken*) echo 'Could not  open
  composer.json' >&2; exit 1 ;;
  *--dry-run*) echo 'Installing a/b' >&2 ;;
  *) if [ -e "$here/vendor" ]; then echo 'Nothing to install, update or remove' >&2
     else : >"$here/vendor"; echo 'Installing a/b' >&2; fi ;;
esac
"#;

    #[test]
    fn a_project_is_installed_once_and_check_mode_asks_composer() {
        let host = Programs::new([("php", PHP), ("composer", "")]);
        let options = r#"{"working_dir": "/srv/app"}"#;
        assert_eq!(
            host.predict(NAME, options),
            r#"{"changed":true,"msg":"Installing a/b","stdout":"Installing a/b\n","stdout_lines":["Installing a/b"]}"#
        );
        assert!(host.run(NAME, options).starts_with(r#"{"changed":true,"#));
        assert!(host.run(NAME, options).starts_with(r#"{"changed":false,"#));
        let calls = host.calls().join("\n");
        assert!(
            calls.contains("/composer install --no-ansi --no-dev --working-dir /srv/app\n"),
            "{calls}"
        );
        assert!(
            calls.contains("--no-dev --dry-run --working-dir /srv/app"),
            "{calls}"
        );
    }

    #[test]
    fn a_command_without_a_dry_run_is_skipped_in_check_mode() {
        let host = Programs::new([("php", PHP), ("composer", "")]);
        let options = r#"{"command": "require", "arguments": "a/b", "global_command": true}"#;
        assert_eq!(
            host.predict(NAME, options),
            r#"{"changed":false,"msg":"command 'require' does not support check mode, skipping","skipped":true}"#
        );
        host.run(NAME, options);
        let calls = host.calls();
        assert!(
            calls
                .last()
                .unwrap()
                .ends_with("/composer global require --no-ansi a/b"),
            "{calls:?}"
        );
    }

    #[test]
    fn what_composer_refuses_is_told() {
        let host = Programs::new([("php", PHP), ("composer", "")]);
        for (options, msg) in [
            (
                r#"{"command": "install", "arguments": "broken", "working_dir": "/x"}"#,
                "Could not open composer.json",
            ),
            (
                r#"{"command": "require a/b", "working_dir": "/x"}"#,
                "Use the 'arguments' param for passing arguments with the 'command'",
            ),
            (
                "{}",
                "global_command is False but all of the following are missing: working_dir",
            ),
        ] {
            let result = host.run(NAME, options);
            assert!(result.contains(&format!(r#""msg":"{msg}""#)), "{result}");
        }
    }
}
