//! `pip`: Python packages of the target, or of a virtual environment on it.

mod requirement;

use std::path::PathBuf;

use crate::machine::{Command, Machine, Output, split_words};
use crate::transaction::journal::UndoStep;
use crate::value::Value;

use super::tool;
use super::{Failure, ModuleResult, Outcome};
use requirement::{Requirement, rejoined};

crate::arguments! {
    /// Manages Python library dependencies.
    pub(crate) struct PipArgs for "pip" {
        /// What the packages should be.
        state: String {
            default: "present",
            choices: ["absent", "forcereinstall", "latest", "present"],
        },
        /// The packages, each with a version or not, or addresses of repositories.
        name: Option<Vec<String>> {},
        /// The version of the only package.
        version: Option<String> {},
        /// A file of requirements.
        requirements: Option<String> {},
        /// The virtual environment; made if it is not there.
        virtualenv: Option<PathBuf> {},
        /// Let a new environment see the target's own packages.
        virtualenv_site_packages: bool { default: "false" },
        /// What makes an environment.
        virtualenv_command: PathBuf { default: "virtualenv" },
        /// The Python of a new environment.
        virtualenv_python: Option<String> {},
        /// More arguments for pip.
        extra_args: Option<String> {},
        /// Install in place.
        editable: bool { default: "false" },
        /// Where pip runs.
        chdir: Option<PathBuf> {},
        /// The pip to run.
        executable: Option<PathBuf> {},
        /// The umask of new files, in octal.
        umask: Option<String> {},
        /// Change packages that the system manages.
        break_system_packages: bool { default: "false" },
    }
    required_one_of [["name", "requirements"]]
    mutually_exclusive [["name", "requirements"], ["executable", "virtualenv"]]
}

/// Brings the packages into the wanted state.
pub(crate) fn run(machine: &mut Machine, args: PipArgs) -> ModuleResult {
    if args.state == "latest" && args.version.is_some() {
        return Err(Failure::new("version is incompatible with state=latest"));
    }
    let mut pip = Pip::new(machine, &args)?;
    let packages = packages(&args)?;
    let mut said = Said::default();
    let is_new = match &pip.environment {
        Some(environment) => !pip.machine.exists(&environment.join("bin/activate"))?,
        None => false,
    };
    if is_new {
        pip.make_environment(&mut said)?;
        if pip.machine.is_check() {
            return Ok(Outcome::changed());
        }
    }
    pip.find()?;
    let extra = extra_words(&args)?;
    if pip.machine.is_check() {
        return pip.predict(&packages, !extra.is_empty());
    }
    let mut words: Vec<String> = match args.state.as_str() {
        "absent" => vec!["uninstall", "-y"],
        "latest" => vec!["install", "-U"],
        "forcereinstall" => vec!["install", "-U", "--force-reinstall"],
        _ => vec!["install"],
    }
    .into_iter()
    .map(str::to_owned)
    .collect();
    words.extend(extra);
    match (&args.name, &args.requirements) {
        (Some(_), _) => words.extend(packages.iter().map(Requirement::text)),
        (None, Some(file)) => words.extend(["-r".into(), file.clone()]),
        (None, None) => {}
    }
    let is_compared =
        args.requirements.is_some() || packages.iter().any(Requirement::is_repository);
    let before = pip.list()?;
    let output = pip.change(&words, &before)?;
    said.add(&output);
    let (out, err) = (output.stdout_text(), output.stderr_text());
    let was_absent = output.status == 1
        && args.state == "absent"
        && (out.contains("not installed") || err.contains("not installed"));
    if !output.success() && !was_absent {
        return Err(said.failure(&pip.argv(&words)));
    }
    let changed = match args.state.as_str() {
        "absent" => out.contains("Successfully uninstalled"),
        _ if is_compared => pip.list()? != before,
        _ => out.contains("Successfully installed"),
    };
    let environment = pip
        .environment
        .as_ref()
        .map(|path| path.display().to_string());
    Ok(Outcome::unchanged()
        .with_changed(changed || is_new)
        .with("cmd", Value::list(pip.argv(&words)))
        .with(
            "name",
            args.name
                .as_ref()
                .map(|names| Value::list(names.iter().map(String::as_str))),
        )
        .with("version", args.version.clone())
        .with("state", args.state.as_str())
        .with("requirements", args.requirements.clone())
        .with("virtualenv", environment)
        .with("stdout", said.out)
        .with("stderr", said.err))
}

fn packages(args: &PipArgs) -> Result<Vec<Requirement>, Failure> {
    let names = rejoined(args.name.as_deref().unwrap_or_default());
    let mut packages: Vec<_> = names.iter().map(|name| Requirement::parse(name)).collect();
    let Some(version) = &args.version else {
        return Ok(packages);
    };
    match &mut packages[..] {
        [] => Ok(packages),
        [package] if package.has_version() => Err(Failure::new(
            "The 'version' argument conflicts with any version specifier provided along with a \
             package name. Please keep the version specifier, but remove the 'version' argument.",
        )),
        [package] => {
            *package = package.with_version(version.trim_start());
            Ok(packages)
        }
        _ => Err(Failure::new(
            "'version' argument is ambiguous when installing multiple package distributions. \
             Please specify version restrictions next to each package in 'name' argument.",
        )),
    }
}

fn extra_words(args: &PipArgs) -> Result<Vec<String>, Failure> {
    let mut text = args.extra_args.clone().unwrap_or_default();
    if args.editable && !text.split(' ').any(|word| word == "-e") {
        text = format!("{text} -e");
    }
    split_words(&text).ok_or_else(|| Failure::new("No closing quotation in extra_args"))
}

/// What the programs said so far.
#[derive(Default)]
struct Said {
    out: String,
    err: String,
}

impl Said {
    fn add(&mut self, output: &Output) {
        self.out += &output.stdout_text();
        self.err += &output.stderr_text();
    }

    fn failure(&self, argv: &[String]) -> Failure {
        let mut msg = String::new();
        if !self.out.is_empty() {
            msg += &format!("stdout: {}", self.out);
        }
        if !self.err.is_empty() {
            msg += &format!("\n:stderr: {}", self.err);
        }
        Failure::new(msg).with("cmd", Value::list(argv.iter().map(String::as_str)))
    }
}

/// pip, with where and how it runs.
struct Pip<'a> {
    machine: &'a mut Machine,
    args: &'a PipArgs,
    /// The words that start it; none before it was found.
    start: Vec<String>,
    environment: Option<PathBuf>,
    directory: PathBuf,
    umask: Option<u32>,
}

impl<'a> Pip<'a> {
    fn new(machine: &'a mut Machine, args: &'a PipArgs) -> Result<Self, Failure> {
        let umask = match args.umask.as_deref().filter(|umask| !umask.is_empty()) {
            None => None,
            Some(text) => Some(
                u32::from_str_radix(text.trim_start_matches("0o"), 8)
                    .map_err(|_| Failure::new("umask must be an octal integer"))?,
            ),
        };
        let given = args.chdir.as_ref().map(|path| machine.expand(path));
        let environment = args.virtualenv.as_ref().map(|path| {
            let path = machine.expand(path);
            given
                .as_ref()
                .map_or(path.clone(), |given| given.join(path))
        });
        Ok(Self {
            machine,
            args,
            start: Vec::new(),
            environment,
            // Nowhere else may every user be.
            directory: given.unwrap_or_else(|| "/tmp".into()),
            umask,
        })
    }

    fn argv(&self, words: &[String]) -> Vec<String> {
        self.start.iter().chain(words).cloned().collect()
    }

    fn command(&self, argv: &[String]) -> Command {
        let mut command = Command::new(argv).directory(&self.directory);
        if let Some(environment) = &self.environment {
            let path = self.machine.variable("PATH").unwrap_or_default();
            let own = environment.join("bin");
            command = command.env("PATH", format!("{}:{path}", own.display()));
        }
        if self.args.break_system_packages {
            command = command.env("PIP_BREAK_SYSTEM_PACKAGES", "1");
        }
        match self.umask {
            Some(umask) => command.umask(umask),
            None => command,
        }
    }

    /// Finds pip: the one that is named, that of the environment, or that of Python.
    fn find(&mut self) -> Result<(), Failure> {
        if let Some(executable) = &self.args.executable {
            let path = self.machine.expand(executable);
            self.start = vec![
                if path.is_absolute() && executable.components().count() > 1 {
                    path.display().to_string()
                } else {
                    self.named(&executable.display().to_string())?
                },
            ];
            return Ok(());
        }
        if let Some(environment) = self.environment.clone() {
            for name in ["pip3", "pip"] {
                let program = environment.join("bin").join(name);
                if self.machine.exists(&program)? {
                    self.start = vec![program.display().to_string()];
                    return Ok(());
                }
            }
            return Err(Failure::new(format!(
                "Unable to find pip in the virtualenv, {}, under any of these names: pip3, pip. \
                 Make sure pip is present in the virtualenv.",
                environment.display()
            )));
        }
        if let Some(python) = tool::found(self.machine, "python3")
            && tool::ask(self.machine, &[&python, "-c", "import pip"])?.success()
        {
            self.start = vec![python, "-m".into(), "pip".into()];
            return Ok(());
        }
        self.start = vec![self.named("pip3")?];
        Ok(())
    }

    fn named(&self, name: &str) -> Result<String, Failure> {
        tool::found(self.machine, name).ok_or_else(|| {
            Failure::new(format!(
                "Unable to find any of {name} to use.  pip needs to be installed."
            ))
        })
    }

    /// Lists what is installed, a line each.
    fn list(&mut self) -> Result<String, Failure> {
        let argv = self.argv(&["list".into(), "--format=freeze".into()]);
        let command = self.command(&argv).env("LC_ALL", "C");
        let output = self.machine.query(&command)?;
        if output.success() {
            return Ok(output.stdout_text());
        }
        let argv = self.argv(&["freeze".into()]);
        let output = self.machine.query(&self.command(&argv))?;
        if output.success() {
            return Ok(output.stdout_text());
        }
        let mut said = Said::default();
        said.add(&output);
        Err(said.failure(&argv))
    }

    /// Says what would happen, from what is installed.
    fn predict(&mut self, packages: &[Requirement], has_extra: bool) -> ModuleResult {
        let args = self.args;
        if has_extra || args.requirements.is_some() || args.state == "latest" || packages.is_empty()
        {
            return Ok(Outcome::changed());
        }
        let listed = self.list()?;
        let is_there = |package: &Requirement| {
            listed
                .lines()
                .filter_map(|line| line.split_once("=="))
                .any(|(name, version)| package.is_met_by(name, version))
        };
        let changed = match args.state.as_str() {
            "present" => !packages.iter().all(is_there),
            "absent" => packages.iter().any(is_there),
            _ => true,
        };
        let argv = self.argv(&["list".into(), "--format=freeze".into()]);
        Ok(Outcome::unchanged()
            .with_changed(changed)
            .with("cmd", argv.join(" "))
            .with("stdout", listed)
            .with("stderr", ""))
    }

    /// Installs or removes; what was installed `before` is what an undo brings back.
    fn change(&mut self, words: &[String], before: &str) -> Result<Output, Failure> {
        const RESTORE: &str = r#"old=$1; shift
new=$("$@" list --format=freeze)
gone=$(printf '%s\n' "$new" | sed 's/==.*//' | while read -r name; do case "
$old" in *"
$name=="*) ;; *) printf '%s\n' "$name" ;; esac; done)
[ -z "$gone" ] || "$@" uninstall -y $gone || exit
back=$(printf '%s\n' "$old" | grep -vxF "$new")
[ -z "$back" ] || "$@" install --no-deps $back"#;
        let mut undo: Vec<String> = ["sh", "-c", RESTORE, "sh", before.trim_end()]
            .map(str::to_owned)
            .to_vec();
        undo.extend(self.start.iter().cloned());
        let argv = self.argv(words);
        self.execute(&argv, vec![UndoStep::new(undo)])?
            .ok_or_else(|| Failure::new("pip did not run"))
    }

    fn execute(&mut self, argv: &[String], undo: Vec<UndoStep>) -> Result<Option<Output>, Failure> {
        let effect = crate::machine::Effect::Compensated {
            what: argv.join(" "),
            undo,
        };
        let command = self.command(argv);
        Ok(self.machine.execute(&command, effect)?.output())
    }

    fn make_environment(&mut self, said: &mut Said) -> Result<(), Failure> {
        let args = self.args;
        let environment = self
            .environment
            .clone()
            .unwrap_or_default()
            .display()
            .to_string();
        let text = args.virtualenv_command.display().to_string();
        let mut argv = split_words(&text)
            .filter(|words| !words.is_empty())
            .ok_or_else(|| Failure::new(format!("virtualenv_command is no command: {text}")))?;
        let is_venv = argv.windows(2).any(|pair| pair == ["-m", "venv"])
            || argv[0].rsplit('/').next() == Some("pyvenv");
        if !argv[0].contains('/') {
            argv[0] = tool::required(self.machine, &argv[0])?;
        }
        if args.virtualenv_site_packages {
            argv.push("--system-site-packages".into());
        } else {
            let help = tool::ask(self.machine, &[&argv[0], "--help"])?.stdout_text();
            if help
                .split_whitespace()
                .any(|word| word == "--no-site-packages")
            {
                argv.push("--no-site-packages".into());
            }
        }
        match (&args.virtualenv_python, is_venv) {
            (Some(_), true) => {
                return Err(Failure::new(
                    "virtualenv_python should not be used when using the venv module or pyvenv as \
                     virtualenv_command",
                ));
            }
            (Some(python), false) => argv.push(format!("-p{python}")),
            (None, true) => {}
            (None, false) => {
                if let Some(python) = tool::found(self.machine, "python3") {
                    argv.push(format!("-p{python}"));
                }
            }
        }
        argv.push(environment.clone());
        let undo = vec![tool::step(&["rm", "-rf", "--", &environment])];
        if let Some(output) = self.execute(&argv, undo)? {
            said.add(&output);
            if !output.success() {
                return Err(said.failure(&argv));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::modules::fake::Programs;

    const PIP: &str = r#"
case "$*" in
  *list*) printf 'pip==23.0\n'; cat "$here/have" 2>/dev/null; exit 0 ;;
  *uninstall*) [ -e "$here/have" ] && rm "$here/have" && echo 'Successfully uninstalled Jinja2'; exit 0 ;;
  *broken*) echo 'No matching distribution' >&2; exit 1 ;;
  *install*) [ -e "$here/have" ] || { echo 'Jinja2==3.1.2' >"$here/have"; echo 'Successfully installed Jinja2-3.1.2'; } ;;
esac
"#;

    fn tools() -> Programs {
        Programs::new([("pip3", PIP), ("python3", "[ \"$1\" = -c ] && exit 1")])
    }

    fn call(programs: &Programs, json: &str) -> ModuleResult {
        let given: Value = serde_json::from_str(json).unwrap();
        let args = PipArgs::parse(given.as_map().unwrap())?;
        run(&mut programs.machine(), args)
    }

    #[test]
    fn a_package_is_installed_once_and_removed_once() {
        let programs = tools();
        let options = r#"{"name": "jinja2", "version": "3.1.2"}"#;
        assert!(call(&programs, options).unwrap().changed);
        assert!(!call(&programs, options).unwrap().changed);
        let calls = programs.calls();
        assert_eq!(calls[2], "pip3 install jinja2==3.1.2");
        let absent = r#"{"name": "jinja2", "state": "absent"}"#;
        assert!(call(&programs, absent).unwrap().changed);
        assert!(!call(&programs, absent).unwrap().changed);
        assert!(programs.undo_steps()[0].ends_with("sh pip==23.0 pip3"));
    }

    #[test]
    fn what_pip_says_is_told() {
        let failure = call(&tools(), r#"{"name": "broken"}"#).unwrap_err();
        assert_eq!(failure.msg, "\n:stderr: No matching distribution\n");
        let failure = call(&tools(), r#"{"name": "a,b", "version": "1"}"#).unwrap_err();
        assert!(failure.msg.starts_with("'version' argument is ambiguous"));
        let failure = call(&tools(), r#"{"name": "a==1", "version": "1"}"#).unwrap_err();
        assert!(failure.msg.starts_with("The 'version' argument conflicts"));
    }

    #[test]
    fn a_new_environment_is_made_and_its_pip_used() {
        let programs = Programs::new([(
            "virtualenv",
            "[ \"$1\" = --help ] && exit\nfor last; do :; done; mkdir -p \"$last/bin\"\n\
             printf '#!/bin/sh\\necho Successfully installed x' >\"$last/bin/pip\"; chmod +x \"$last/bin/pip\"; : >\"$last/bin/activate\"",
        )]);
        let root = tempfile::tempdir().unwrap();
        let environment = root.path().join("venv").display().to_string();
        let options = format!(
            r#"{{"name": "x", "virtualenv": "{environment}", "virtualenv_python": "python3.9"}}"#
        );
        let outcome = call(&programs, &options).unwrap();
        assert!(outcome.changed);
        assert_eq!(
            programs.calls()[1],
            format!("virtualenv -ppython3.9 {environment}")
        );
        assert_eq!(programs.undo_steps()[0], format!("rm -rf -- {environment}"));
    }
}
