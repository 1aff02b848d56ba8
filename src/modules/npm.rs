//! `npm`: packages of Node.js, of a directory or of the whole target.

use std::path::PathBuf;

use crate::machine::{Command, Machine, Output};
use crate::transaction::journal::UndoStep;
use crate::value::Value;

use super::tool;
use super::{Failure, ModuleResult, Outcome};

crate::arguments! {
    /// Manage node.js packages with npm.
    pub(crate) struct NpmArgs for "community.general.npm" {
        /// The package; without, what package.json asks for.
        name: Option<String> {},
        /// The directory the packages belong to.
        path: Option<PathBuf> {},
        /// The package's version.
        version: Option<String> {},
        /// Leave out what is for development only.
        production: bool { default: "false" },
        /// The npm to run.
        executable: Option<PathBuf> {},
        /// Where packages come from.
        registry: Option<String> {},
        /// Whether the packages should be there.
        state: String { default: "present", choices: ["present", "absent", "latest"] },
        /// Run no scripts of the packages.
        ignore_scripts: bool { default: "false" },
        /// Stay root while scripts run.
        unsafe_perm: bool { default: "false" },
        /// Install exactly what package-lock.json says.
        ci: bool { default: "false" },
        /// Leave out what is optional.
        no_optional: bool { default: "false" },
        /// Make no links to programs.
        no_bin_links: bool { default: "false" },
        /// Fetch what is there already.
        force: bool { default: "false" },
        /// Install for the whole target.
        global: bool { default: "false" },
    }
    required_if [("state", "absent", ["name"], false)]
}

/// Brings the packages into the wanted state.
pub(crate) fn run(machine: &mut Machine, args: NpmArgs) -> ModuleResult {
    if args.path.is_none() && !args.global {
        return Err(Failure::new("path must be specified when not using global"));
    }
    let mut npm = Npm::new(machine, &args)?;
    if args.ci {
        npm.act("ci", Vec::new())?;
        return Ok(Outcome::changed());
    }
    let found = npm.list()?;
    let mut changed = false;
    match args.state.as_str() {
        "absent" => {
            let name = args.name.as_deref().unwrap_or_default();
            if let Some((_, version)) = found.installed.iter().find(|(known, _)| known == name) {
                let back = npm.argv(&["install"], Some(&named(name, Some(version))));
                npm.act("uninstall", vec![npm.step(&back)])?;
                changed = true;
            }
        }
        state => {
            let is_outdated = state == "latest" && npm.has_outdated()?;
            let undo = npm.undoing(&found);
            if found.is_missing {
                npm.act("install", undo.clone())?;
                changed = true;
            }
            if is_outdated {
                npm.act("update", undo)?;
                changed = true;
            }
        }
    }
    Ok(Outcome::unchanged().with_changed(changed))
}

/// Returns the package with its version, as npm takes it.
fn named(name: &str, version: Option<&str>) -> String {
    match version {
        Some(version) if !version.is_empty() => format!("{name}@{version}"),
        _ => name.to_owned(),
    }
}

/// What npm lists.
struct Found {
    /// Names and versions.
    installed: Vec<(String, String)>,
    /// Something that is wanted is not there.
    is_missing: bool,
}

struct Npm<'a> {
    machine: &'a mut Machine,
    args: &'a NpmArgs,
    start: Vec<String>,
    directory: Option<PathBuf>,
}

impl<'a> Npm<'a> {
    fn new(machine: &'a mut Machine, args: &'a NpmArgs) -> Result<Self, Failure> {
        let start = match &args.executable {
            Some(given) => given
                .display()
                .to_string()
                .split(' ')
                .map(str::to_owned)
                .collect(),
            None => vec![tool::required(machine, "npm")?],
        };
        let directory = args.path.as_ref().map(|path| machine.expand(path));
        if let Some(directory) = &directory {
            if !machine.exists(directory)? {
                machine.create_dir_all(directory, 0o777)?;
            }
            if !machine.is_dir(directory)? {
                return Err(Failure::new(format!(
                    "path {} is not a directory",
                    directory.display()
                )));
            }
        }
        Ok(Self {
            machine,
            args,
            start,
            directory,
        })
    }

    fn argv(&self, words: &[&str], package: Option<&str>) -> Vec<String> {
        let args = self.args;
        let installs = matches!(words[0], "install" | "update" | "ci");
        let mut argv = self.start.clone();
        argv.extend(words.iter().map(|word| (*word).to_owned()));
        let flags = [
            ("--global", args.global),
            ("--production", args.production && installs),
            ("--ignore-scripts", args.ignore_scripts),
            ("--unsafe-perm", args.unsafe_perm),
        ];
        argv.extend(
            flags
                .iter()
                .filter(|(_, is_set)| *is_set)
                .map(|(flag, _)| (*flag).to_owned()),
        );
        argv.extend(package.map(str::to_owned));
        if let Some(registry) = &args.registry {
            argv.extend(["--registry".into(), registry.clone()]);
        }
        let flags = [
            ("--no-optional", args.no_optional),
            ("--no-bin-links", args.no_bin_links),
            ("--force", args.force),
        ];
        argv.extend(
            flags
                .iter()
                .filter(|(_, is_set)| *is_set)
                .map(|(flag, _)| (*flag).to_owned()),
        );
        argv
    }

    fn command(&self, argv: &[String]) -> Command {
        let command = Command::new(argv).env("LC_ALL", "C");
        match self
            .directory
            .as_ref()
            .filter(|directory| directory.is_dir())
        {
            Some(directory) => command.directory(directory),
            None => command,
        }
    }

    /// Returns the package of the options; an absent one has no version.
    fn package(&self) -> Option<String> {
        let version = self
            .args
            .version
            .as_deref()
            .filter(|_| self.args.state != "absent");
        self.args.name.as_deref().map(|name| named(name, version))
    }

    fn ask(&mut self, words: &[&str], package: Option<&str>) -> Result<Output, Failure> {
        let command = self.command(&self.argv(words, package));
        Ok(self.machine.query(&command)?)
    }

    fn act(&mut self, verb: &str, undo: Vec<UndoStep>) -> Result<(), Failure> {
        let argv = self.argv(&[verb], self.package().as_deref());
        let what = argv.join(" ");
        // What a lock file brings in place of what was there, nobody can name.
        let effect = if undo.is_empty() {
            crate::machine::Effect::opaque(what)
        } else {
            crate::machine::Effect::Compensated { what, undo }
        };
        let command = self.command(&argv);
        let output = self.machine.execute(&command, effect)?.output();
        tool::check(output.as_ref(), |output| {
            let said = output.stderr_text();
            if said.trim().is_empty() {
                output.stdout_text()
            } else {
                said.trim_end().to_owned()
            }
        })
    }

    /// Returns a step that runs in the packages' directory.
    fn step(&self, argv: &[String]) -> UndoStep {
        match &self.directory {
            Some(directory) => tool::step_in(directory, argv),
            None => tool::step(argv),
        }
    }

    /// Returns what brings back the package's old version, or removes what was not there.
    fn undoing(&self, found: &Found) -> Vec<UndoStep> {
        let Some(name) = self.args.name.as_deref() else {
            return Vec::new();
        };
        let old = found.installed.iter().find(|(known, _)| known == name);
        let argv = match old {
            Some((name, version)) => self.argv(&["install"], Some(&named(name, Some(version)))),
            None => self.argv(&["uninstall"], Some(name)),
        };
        vec![self.step(&argv)]
    }

    fn list(&mut self) -> Result<Found, Failure> {
        let text = self.ask(&["list", "--json", "--long"], None)?.stdout_text();
        let text = match text.trim() {
            "" => "{}",
            text => text,
        };
        let listed: Value = serde_json::from_str(text).map_err(|error| {
            Failure::new(format!("Failed to parse NPM output with error {error}"))
        })?;
        let mut found = Found {
            installed: Vec::new(),
            is_missing: false,
        };
        let Some(dependencies) = listed.get("dependencies").and_then(Value::as_map) else {
            found.is_missing = true;
            return Ok(found);
        };
        for (name, properties) in dependencies {
            let is = |key: &str| properties.get(key).is_some_and(Value::is_truthy);
            if is("missing") || is("invalid") {
                found.is_missing = true;
            } else {
                let version = properties.get("version").map(Value::to_string);
                found
                    .installed
                    .push((name.to_string(), version.unwrap_or_default()));
            }
        }
        if let Some(package) = self.package() {
            let is_it = |(name, version): &(String, String)| {
                *name == package || named(name, Some(version)) == package
            };
            found.is_missing |= !found.installed.iter().any(is_it);
        }
        Ok(found)
    }

    fn has_outdated(&mut self) -> Result<bool, Failure> {
        let package = self.package();
        let listed = self.ask(&["outdated"], package.as_deref())?.stdout_text();
        Ok(listed.lines().any(|line| !line.is_empty()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::modules::fake::Programs;

    const NPM: &str = r#"
case $1 in
  list) if [ -e "$here/pm2" ]; then echo '{"dependencies": {"pm2": {"version": "5.1.0"}}}'; else echo '{}'; fi ;;
  outdated) ;;
  install) case "$*" in *broken*) echo 'npm ERR! 404' >&2; exit 1 ;; esac; : >"$here/pm2" ;;
  uninstall) rm "$here/pm2" ;;
esac
"#;

    fn call(programs: &Programs, json: &str) -> Result<bool, String> {
        let given: Value = serde_json::from_str(json).unwrap();
        NpmArgs::parse(given.as_map().unwrap())
            .map_err(Failure::from)
            .and_then(|args| run(&mut programs.machine(), args))
            .map(|outcome| outcome.changed)
            .map_err(|failure| failure.msg)
    }

    #[test]
    fn a_package_is_installed_and_removed_once() {
        let programs = Programs::new([("npm", NPM)]);
        let options = r#"{"name": "pm2", "global": true, "version": "5.1.0"}"#;
        assert_eq!(call(&programs, options), Ok(true));
        assert_eq!(call(&programs, options), Ok(false));
        assert_eq!(
            call(
                &programs,
                r#"{"name": "pm2", "global": true, "state": "latest"}"#
            ),
            Ok(false)
        );
        let absent = r#"{"name": "pm2", "global": true, "state": "absent"}"#;
        assert_eq!(call(&programs, absent), Ok(true));
        assert_eq!(call(&programs, absent), Ok(false));
        assert_eq!(programs.calls()[1], "npm install --global pm2@5.1.0");
        assert_eq!(
            programs.undo_steps(),
            [
                "npm uninstall --global pm2",
                "npm install --global pm2@5.1.0"
            ]
        );
    }

    #[test]
    fn packages_belong_to_a_directory_or_to_all() {
        let programs = Programs::new([("npm", NPM)]);
        assert_eq!(
            call(&programs, r#"{"name": "pm2"}"#),
            Err("path must be specified when not using global".into())
        );
        assert_eq!(
            call(&programs, r#"{"name": "broken", "global": true}"#),
            Err("npm ERR! 404".into())
        );
        let root = tempfile::tempdir().unwrap();
        let options = format!(
            r#"{{"path": "{}", "production": true, "registry": "https://x"}}"#,
            root.path().display()
        );
        assert_eq!(call(&programs, &options), Ok(true));
        assert_eq!(
            programs.calls().last().unwrap(),
            "npm install --production --registry https://x"
        );
    }
}
