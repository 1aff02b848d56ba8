//! `gem`: packages of Ruby.

use std::path::PathBuf;

use crate::machine::{Command, Effect, Machine, Output};
use crate::transaction::journal::UndoStep;

use super::tool;
use super::{Failure, ModuleResult, Outcome};

crate::arguments! {
    /// Manage Ruby gems.
    pub(crate) struct GemArgs for "community.general.gem" {
        /// The gem.
        name: String { required },
        /// Whether the gem should be there.
        state: String { default: "present", choices: ["present", "absent", "latest"] },
        /// A file of the target to install from.
        gem_source: Option<PathBuf> {},
        /// Install what the gem needs too.
        include_dependencies: bool { default: "true" },
        /// Where gems come from.
        repository: Option<String> { aliases: ["source"] },
        /// Install for the user only.
        user_install: bool { default: "true" },
        /// The gem to run.
        executable: Option<String> {},
        /// The directory to install into.
        install_dir: Option<PathBuf> {},
        /// The directory for the gem's programs.
        bindir: Option<PathBuf> {},
        /// Read no gemrc.
        norc: bool { default: "true" },
        /// Let programs start with `env`.
        env_shebang: bool { default: "false" },
        version: Option<String> {},
        /// Take versions before a release too.
        pre_release: bool { default: "false" },
        /// Install documentation.
        include_doc: bool { default: "false" },
        /// Flags for what is compiled.
        build_flags: Option<String> {},
        /// Go on over warnings.
        force: bool { default: "false" },
    }
    mutually_exclusive [["gem_source", "repository"], ["gem_source", "version"]]
}

/// Installs or removes the gem where it is not as wanted.
pub(crate) fn run(machine: &mut Machine, args: GemArgs) -> ModuleResult {
    let is_latest = args.state == "latest";
    if is_latest && args.version.is_some() {
        return Err(Failure::new("Cannot specify version when state=latest"));
    }
    if is_latest && args.gem_source.is_some() {
        return Err(Failure::new(
            "Cannot maintain state=latest when installing from local source",
        ));
    }
    if args.user_install && args.install_dir.is_some() {
        return Err(Failure::new("install_dir requires user_install=false"));
    }
    let start = match &args.executable {
        Some(given) => given.split(' ').map(str::to_owned).collect(),
        None => vec![tool::required(machine, "gem")?],
    };
    let mut gem = Gem {
        install_dir: args
            .install_dir
            .as_ref()
            .map(|path| machine.expand(path).display().to_string()),
        machine,
        start,
        version: args.version.clone(),
        args: &args,
        rubygems: [0; 3],
    };
    gem.rubygems = gem.rubygems_version()?;
    if is_latest && let Some(newest) = gem.versions(true)?.into_iter().next() {
        gem.version = Some(newest);
    }
    let installed = gem.versions(false)?;
    let changed = match args.state.as_str() {
        "absent" => gem.remove(&installed)?,
        _ => gem.install(&installed)?,
    };
    let version = gem.version.take();
    let mut outcome = Outcome::unchanged()
        .with_changed(changed)
        .with("name", args.name.as_str())
        .with("state", args.state.as_str());
    if let Some(version) = version {
        outcome = outcome.with("version", version);
    }
    Ok(outcome)
}

struct Gem<'a> {
    machine: &'a mut Machine,
    args: &'a GemArgs,
    start: Vec<String>,
    /// The version that is wanted.
    version: Option<String>,
    install_dir: Option<String>,
    rubygems: [u32; 3],
}

impl Gem<'_> {
    fn argv(&self, words: &[&str]) -> Vec<String> {
        let words = words.iter().map(|word| (*word).to_owned());
        let mut argv: Vec<String> = self.start.iter().cloned().chain(words).collect();
        if self.args.norc && self.rubygems >= [2, 5, 2] {
            argv.push("--norc".into());
        }
        argv
    }

    /// Makes the command that sees the gems of `install_dir`.
    fn command(&self, argv: &[String]) -> Command {
        match &self.install_dir {
            Some(directory) => tool::command(argv).env("GEM_HOME", directory),
            None => tool::command(argv),
        }
    }

    fn rubygems_version(&mut self) -> Result<[u32; 3], Failure> {
        let mut argv = self.start.clone();
        argv.push("--version".into());
        let output = tool::ask(self.machine, &argv)?;
        tool::check(Some(&output), tool::complaint)?;
        let text = output.stdout_text();
        let mut numbers = text.trim().split('.').map_while(|part| part.parse().ok());
        Ok([(); 3].map(|()| numbers.next().unwrap_or(0)))
    }

    /// Lists the versions that are installed, or that there are to install; the newest first.
    fn versions(&mut self, remote: bool) -> Result<Vec<String>, Failure> {
        let mut argv = self.argv(&["query"]);
        if remote {
            argv.push("--remote".into());
            if let Some(repository) = &self.args.repository {
                argv.extend(["--source".into(), repository.clone()]);
            }
        }
        argv.extend(["-n".into(), format!("^{}$", self.args.name)]);
        let output = self.machine.query(&self.command(&argv))?;
        tool::check(Some(&output), tool::complaint)?;
        Ok(listed(&output.stdout_text()))
    }

    fn install(&mut self, installed: &[String]) -> Result<bool, Failure> {
        if self.is_there(installed) {
            return Ok(false);
        }
        // Nothing but the wanted version can come beside others.
        let undo = self.removal(self.version.as_deref().filter(|_| !installed.is_empty()));
        let argv = self.installation(self.version.as_deref());
        let output = self.act(tool::command(&argv), &argv, vec![self.step(&undo)])?;
        tool::check(output.as_ref(), tool::complaint)?;
        Ok(true)
    }

    fn remove(&mut self, installed: &[String]) -> Result<bool, Failure> {
        if !self.is_there(installed) {
            return Ok(false);
        }
        let gone = installed.iter().filter(|found| {
            let wanted = self.version.as_ref();
            wanted.is_none_or(|version| version == *found)
        });
        let undo = gone
            .map(|version| tool::step(&self.installation(Some(version))))
            .collect();
        let mut argv = self.removal(self.version.as_deref());
        if self.args.force {
            argv.insert(argv.len() - 1, "--force".into());
        }
        let output = self.act(self.command(&argv), &argv, undo)?;
        tool::check(output.as_ref(), tool::complaint)?;
        if let Some(output) = output
            && let left = self.versions(false)?
            && self.is_there(&left)
        {
            return Err(tool::failed(
                &output,
                format!(
                    "Failed to uninstall gem '{}': it is still present after 'gem uninstall'. \
                     This usually happens with default or system gems provided by the OS, which \
                     cannot be removed with the gem command.",
                    self.args.name
                ),
            ));
        }
        Ok(true)
    }

    fn is_there(&self, installed: &[String]) -> bool {
        match &self.version {
            Some(version) => installed.contains(version),
            None => !installed.is_empty(),
        }
    }

    fn act(
        &mut self,
        command: Command,
        argv: &[String],
        undo: Vec<UndoStep>,
    ) -> Result<Option<Output>, Failure> {
        let what = argv.join(" ");
        let effect = Effect::Compensated { what, undo };
        Ok(self.machine.execute(&command, effect)?.output())
    }

    /// Returns a step that sees the gems of `install_dir`.
    fn step(&self, argv: &[String]) -> UndoStep {
        match &self.install_dir {
            Some(directory) => {
                let start = ["env".to_owned(), format!("GEM_HOME={directory}")];
                UndoStep::new(start.into_iter().chain(argv.iter().cloned()))
            }
            None => tool::step(argv),
        }
    }

    fn installation(&self, version: Option<&str>) -> Vec<String> {
        let args = self.args;
        let is_old = self.rubygems != [0; 3] && self.rubygems < [2, 0, 0];
        let mut argv = self.argv(&["install"]);
        let mut add = |words: &[&str]| argv.extend(words.iter().map(|word| (*word).to_owned()));
        if let Some(version) = version {
            add(&["--version", version]);
        }
        if let Some(repository) = &args.repository {
            add(&["--source", repository]);
        }
        if !args.include_dependencies {
            add(&["--ignore-dependencies"]);
        } else if is_old {
            add(&["--include-dependencies"]);
        }
        add(&[if args.user_install {
            "--user-install"
        } else {
            "--no-user-install"
        }]);
        if let Some(directory) = &self.install_dir {
            add(&["--install-dir", directory]);
        }
        if let Some(directory) = &args.bindir {
            add(&["--bindir", &directory.display().to_string()]);
        }
        if args.pre_release {
            add(&["--pre"]);
        }
        if !args.include_doc {
            add(if is_old {
                &["--no-rdoc", "--no-ri"]
            } else {
                &["--no-document"]
            });
        }
        if args.env_shebang {
            add(&["--env-shebang"]);
        }
        match &args.gem_source {
            Some(file) => add(&[&file.display().to_string()]),
            None => add(&[&args.name]),
        }
        if let Some(flags) = &args.build_flags {
            add(&["--", flags]);
        }
        if args.force {
            add(&["--force"]);
        }
        argv
    }

    fn removal(&self, version: Option<&str>) -> Vec<String> {
        let mut argv = self.argv(&["uninstall"]);
        let mut add = |words: &[&str]| argv.extend(words.iter().map(|word| (*word).to_owned()));
        if let Some(directory) = &self.install_dir {
            add(&["--install-dir", directory]);
        }
        if let Some(directory) = &self.args.bindir {
            add(&["--bindir", &directory.display().to_string()]);
        }
        match version {
            Some(version) => add(&["--version", version]),
            None => add(&["--all"]),
        }
        add(&["--executable", &self.args.name]);
        argv
    }
}

/// Reads `name (2.1, default: 2.0 ruby)`.
fn listed(text: &str) -> Vec<String> {
    let mut versions = Vec::new();
    for line in text.lines() {
        let Some((name, rest)) = line.split_once(" (") else {
            continue;
        };
        let Some((inside, _)) = rest.rsplit_once(')') else {
            continue;
        };
        if name.contains(' ') {
            continue;
        }
        let inside = inside.strip_prefix("default: ").unwrap_or(inside);
        let found = inside.split(", ").filter_map(|one| one.split(' ').next());
        versions.extend(found.map(str::to_owned));
    }
    versions
}

#[cfg(test)]
mod tests {
    use crate::modules::fake::Programs;

    const NAME: &str = "community.general.gem";
    const GEM: &str = r#"
case $1 in
  --version) echo 3.3.15 ;;
  query) case "$*" in
    *--remote*) echo 'rake (2.0.0 ruby, 1.0.0)' ;;
    *) [ ! -e "$here/rake" ] || echo "rake ($(cat "$here/rake"))" ;;
    esac ;;
  install) case "$*" in
    *broken*) echo 'ERROR:  could not find broken' >&2; exit 2 ;;
    *'--version 2.0.0'*) echo 2.0.0 >"$here/rake" ;;
    *) echo 1.0.0 >"$here/rake" ;;
    esac ;;
  uninstall) [ -e "$here/default" ] || rm "$here/rake" ;;
esac
"#;

    #[test]
    fn a_gem_is_installed_brought_up_to_date_and_removed_once() {
        let host = Programs::new([("gem", GEM)]);
        let options = r#"{"name": "rake", "user_install": false}"#;
        let changed = r#"{"changed":true,"name":"rake","state":"present"}"#;
        assert_eq!(host.predict(NAME, options), changed);
        assert_eq!(host.run(NAME, options), changed);
        assert_eq!(
            host.run(NAME, options),
            r#"{"changed":false,"name":"rake","state":"present"}"#
        );
        let latest = r#"{"name": "rake", "state": "latest"}"#;
        let changed = r#"{"changed":true,"name":"rake","state":"latest","version":"2.0.0"}"#;
        assert_eq!(host.run(NAME, latest), changed);
        assert!(host.run(NAME, latest).contains(r#""changed":false"#));
        let absent = r#"{"name": "rake", "state": "absent"}"#;
        assert!(host.run(NAME, absent).contains(r#""changed":true"#));
        assert!(host.run(NAME, absent).contains(r#""changed":false"#));
        assert_eq!(
            host.undo_steps(),
            [
                "gem uninstall --norc --all --executable rake",
                "gem uninstall --norc --version 2.0.0 --executable rake",
                "gem install --norc --version 2.0.0 --user-install --no-document rake",
            ]
        );
    }

    #[test]
    fn what_gem_refuses_is_told() {
        let host = Programs::new([("gem", GEM)]);
        assert_eq!(
            host.run(NAME, r#"{"name": "broken"}"#),
            r#"{"failed":true,"changed":false,"msg":"ERROR:  could not find broken","rc":2,"stdout":"","stderr":"ERROR:  could not find broken\n","stdout_lines":[],"stderr_lines":["ERROR:  could not find broken"]}"#
        );
        host.put("rake", "default: 1.0.0");
        host.put("default", "");
        let result = host.run(NAME, r#"{"name": "rake", "state": "absent"}"#);
        assert!(
            result.contains("Failed to uninstall gem 'rake': it is still present"),
            "{result}"
        );
        for (options, msg) in [
            (
                r#"{"name": "rake", "state": "latest", "version": "1"}"#,
                "Cannot specify version when state=latest",
            ),
            (
                r#"{"name": "rake", "install_dir": "/x"}"#,
                "install_dir requires user_install=false",
            ),
        ] {
            assert!(host.run(NAME, options).contains(msg), "{msg}");
        }
    }
}
