//! `django_manage`: the commands of a Django application's `manage.py`.

use std::path::{Path, PathBuf};

use crate::machine::{Effect, Machine, Output, split_words};
use crate::value::Value;

use super::foresight::skipped_in_check_mode;
use super::tool;
use super::{Failure, ModuleResult, Outcome};

crate::arguments! {
    /// Manages a Django application.
    pub(crate) struct DjangoManageArgs for "community.general.django_manage" {
        /// The command, and its words.
        command: String { required },
        /// Where `manage.py` is.
        project_path: PathBuf { required, aliases: ["app_path", "chdir"] },
        /// The settings, by Python's path.
        settings: Option<PathBuf> {},
        /// A directory more for Python's path.
        pythonpath: Option<PathBuf> { aliases: ["python_path"] },
        /// The virtual environment to run in.
        virtualenv: Option<PathBuf> { aliases: ["virtual_env"] },
        /// Applications, for `test` and `migrate`.
        apps: Option<String> {},
        /// The table, for `createcachetable`.
        cache_table: Option<String> {},
        /// Remove what is there, for `collectstatic`.
        clear: bool { default: "false" },
        /// The database, by Django's name.
        database: Option<String> {},
        /// Stop at the first failure, for `test`.
        failfast: bool { default: "false", aliases: ["fail_fast"] },
        /// Files of data, for `loaddata`.
        fixtures: Option<String> {},
        /// Leave out what is missing, for `migrate`.
        skip: Option<bool> {},
        /// Run what is missing, for `migrate`.
        merge: Option<bool> {},
        /// Link instead of copying, for `collectstatic`.
        link: Option<bool> {},
        /// The class that runs tests, for `test`.
        testrunner: Option<String> { aliases: ["test_runner"] },
    }
}

/// Which commands take an option that not all take.
const SPECIFIC: [(&str, &[&str]); 6] = [
    ("apps", &["test", "migrate"]),
    ("clear", &["collectstatic"]),
    (
        "database",
        &["createcachetable", "flush", "loaddata", "migrate"],
    ),
    ("failfast", &["test"]),
    ("fixtures", &["loaddata"]),
    ("testrunner", &["test"]),
];

/// Runs the command.
pub(crate) fn run(machine: &mut Machine, args: DjangoManageArgs) -> ModuleResult {
    if let Some(skipped) = skipped_in_check_mode(machine, DjangoManageArgs::SPEC.module) {
        return Ok(skipped);
    }
    let words = split_words(&args.command).ok_or_else(|| Failure::new("No closing quotation"))?;
    let command = words.first().cloned().unwrap_or_default();
    check_options(&args, &command)?;
    let project = machine.expand(&args.project_path);
    let virtualenv = args.virtualenv.as_ref();
    let virtualenv = virtualenv.map(|path| machine.expand(path).display().to_string());
    // These count from the project.
    let text = |machine: &mut Machine, path: &Option<PathBuf>| {
        let path = path.as_ref().filter(|path| !path.as_os_str().is_empty());
        path.map(|path| machine.expand_text(&path.to_string_lossy()))
    };
    let settings = text(machine, &args.settings);
    let pythonpath = text(machine, &args.pythonpath);
    let argv = argv(&args, words, settings.as_deref(), pythonpath.as_deref())?;
    let mut program = tool::command(&argv).directory(&project);
    if let Some(virtualenv) = &virtualenv {
        let programs = Path::new(virtualenv).join("bin");
        if !machine.exists(&programs.join("activate"))? {
            return Err(Failure::new(format!(
                "{virtualenv} does not point to a valid virtual environment"
            )));
        }
        let others = machine.variable("PATH").unwrap_or_default();
        program = program
            .env("PATH", format!("{}:{others}", programs.display()))
            .env("VIRTUAL_ENV", virtualenv);
    }
    let effect = Effect::opaque(argv.join(" "));
    let Some(output) = machine.execute(&program, effect)?.output() else {
        return Ok(Outcome::changed());
    };
    let given = |path: Option<String>| path.map_or(Value::Null, Value::from);
    let out = said(&output, &command, &argv)?;
    let project = project.display().to_string();
    Ok(Outcome::unchanged()
        .with_changed(has_changed(&command, &out))
        .with("out", out)
        .with("cmd", Value::list(argv))
        .with("app_path", project.as_str())
        .with("project_path", project)
        .with("virtualenv", given(virtualenv))
        .with("settings", given(settings))
        .with("pythonpath", given(pythonpath)))
}

fn check_options(args: &DjangoManageArgs, command: &str) -> Result<(), Failure> {
    let is_given = |text: &Option<String>| text.as_ref().is_some_and(|text| !text.is_empty());
    for (option, commands) in SPECIFIC {
        let is_given = match option {
            "apps" => is_given(&args.apps),
            "clear" => args.clear,
            "database" => is_given(&args.database),
            "failfast" => args.failfast,
            "fixtures" => is_given(&args.fixtures),
            _ => is_given(&args.testrunner),
        };
        if is_given && !commands.contains(&command) {
            return Err(Failure::new(format!(
                "{option} param is incompatible with command={command}"
            )));
        }
    }
    if command == "loaddata" && !is_given(&args.fixtures) {
        return Err(Failure::new(
            "fixtures param is required for command=loaddata",
        ));
    }
    Ok(())
}

fn argv(
    args: &DjangoManageArgs,
    words: Vec<String>,
    settings: Option<&str>,
    pythonpath: Option<&str>,
) -> Result<Vec<String>, Failure> {
    let command = words.first().cloned().unwrap_or_default();
    let asks = ["flush", "migrate", "test", "collectstatic"].contains(&command.as_str());
    let is_quiet = words.iter().any(|word| word == "--noinput");
    let mut argv = vec!["./manage.py".to_owned()];
    argv.extend(words);
    if asks && !is_quiet {
        argv.push("--noinput".into());
    }
    for (flag, value) in [
        ("settings", settings),
        ("pythonpath", pythonpath),
        ("database", args.database.as_deref()),
    ] {
        if let Some(value) = value.filter(|value| !value.is_empty()) {
            argv.push(format!("--{flag}={value}"));
        }
    }
    for (flag, is_set) in [
        ("--clear", args.clear),
        ("--failfast", args.failfast),
        ("--skip", args.skip == Some(true)),
        ("--merge", args.merge == Some(true)),
        ("--link", args.link == Some(true)),
    ] {
        if is_set {
            argv.push(flag.into());
        }
    }
    if let Some(runner) = args.testrunner.as_ref().filter(|it| !it.is_empty()) {
        argv.push(format!("--testrunner={runner}"));
    }
    let split = |text: &Option<String>| {
        split_words(text.as_deref().unwrap_or_default())
            .ok_or_else(|| Failure::new("No closing quotation"))
    };
    argv.extend(split(&args.apps)?);
    argv.extend(args.cache_table.clone().filter(|table| !table.is_empty()));
    argv.extend(split(&args.fixtures)?);
    Ok(argv)
}

/// Returns what the command printed, or how it failed.
fn said(output: &Output, command: &str, argv: &[String]) -> Result<String, Failure> {
    let (out, err) = (output.stdout_text(), output.stderr_text());
    if output.success() {
        return Ok(out);
    }
    if command == "createcachetable" && err.contains("table") && err.contains("already exists") {
        return Ok("already exists.".into());
    }
    let (out, err) = if err.contains("Unknown command:") {
        (err, format!("Unknown django command: {command}"))
    } else {
        (out, err)
    };
    let mut msg = String::new();
    if !out.is_empty() {
        msg += &format!("stdout: {out}");
    }
    if !err.is_empty() {
        msg += &format!("\n:stderr: {err}");
    }
    Err(Failure::new(msg).with("cmd", Value::list(argv.iter().map(String::as_str))))
}

fn has_changed(command: &str, out: &str) -> bool {
    let installed = |line: &str| line.contains("Installed") && !line.contains("Installed 0 object");
    match command {
        "createcachetable" => !out.contains("already exists"),
        "flush" | "loaddata" => out.lines().any(installed),
        "migrate" => out.lines().any(|line| {
            line.contains("Migrating forwards ") || line.contains("Applying") || installed(line)
        }),
        "collectstatic" => out
            .lines()
            .any(|line| !line.is_empty() && !line.contains("0 static files")),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use crate::modules::fake::Programs;

    const NAME: &str = "community.general.django_manage";
    const MANAGE: &str = r#"
case "$1" in
  migrate) [ -e "$here/migrated" ] || echo '  Applying app.0001_initial... OK'; : >"$here/migrated" ;;
  createcachetable) echo "table cache already exists" >&2; exit 1 ;;
  collectstatic) echo; echo '3 static files copied' ;;
  *) echo "Unknown command: '$1'" >&2; exit 1 ;;
esac
"#;

    #[test]
    fn a_command_tells_whether_it_changed_something() {
        let host = Programs::new([("manage.py", MANAGE)]);
        let migrate = r#"{"command": "migrate", "project_path": "$BIN", "settings": "my.settings", "apps": "one two", "database": "main", "skip": true}"#;
        assert_eq!(
            host.run(NAME, migrate),
            r#"{"changed":true,"out":"  Applying app.0001_initial... OK\n","cmd":["./manage.py","migrate","--noinput","--settings=my.settings","--database=main","--skip","one","two"],"app_path":"$BIN","project_path":"$BIN","virtualenv":null,"settings":"my.settings","pythonpath":null}"#
        );
        assert!(host.run(NAME, migrate).starts_with(r#"{"changed":false,"#));
        let table =
            r#"{"command": "createcachetable", "project_path": "$BIN", "cache_table": "cache"}"#;
        assert!(
            host.run(NAME, table)
                .starts_with(r#"{"changed":false,"out":"already exists.""#)
        );
        let files = r#"{"command": "collectstatic", "project_path": "$BIN", "clear": true}"#;
        assert!(host.run(NAME, files).starts_with(r#"{"changed":true,"#));
        assert_eq!(
            host.predict(NAME, files),
            r#"{"changed":false,"msg":"remote module (community.general.django_manage) does not support check mode","skipped":true}"#
        );
    }

    #[test]
    fn options_belong_to_commands_and_failures_are_told() {
        let host = Programs::new([("manage.py", MANAGE)]);
        for (options, msg) in [
            (
                r#""command": "migrate", "clear": true"#,
                "clear param is incompatible with command=migrate",
            ),
            (
                r#""command": "loaddata""#,
                "fixtures param is required for command=loaddata",
            ),
            (
                r#""command": "migrate", "virtualenv": "$BIN/none""#,
                "$BIN/none does not point to a valid virtual environment",
            ),
            (
                r#""command": "sing""#,
                "stdout: Unknown command: 'sing'\\n\\n:stderr: Unknown django command: sing",
            ),
        ] {
            let result = host.run(NAME, &format!(r#"{{{options}, "project_path": "$BIN"}}"#));
            assert!(result.contains(&format!(r#""msg":"{msg}""#)), "{result}");
        }
    }
}
