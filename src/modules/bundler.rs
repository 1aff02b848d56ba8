//! `bundler`: the gems that a Gemfile asks for.

use std::path::PathBuf;

use crate::machine::{Command, Effect, Machine};

use super::tool;
use super::{ModuleResult, Outcome};

crate::arguments! {
    /// Manage Ruby Gem dependencies with Bundler.
    pub(crate) struct BundlerArgs for "community.general.bundler" {
        /// The bundle to run.
        executable: Option<String> {},
        /// Whether gems should be there, or be the newest that the Gemfile takes.
        state: String { default: "present", choices: ["present", "latest"] },
        /// The directory to work in.
        chdir: Option<PathBuf> {},
        /// Groups to leave out.
        exclude_groups: Option<Vec<String>> {},
        /// Remove gems that the Gemfile does not name.
        clean: bool { default: "false" },
        gemfile: Option<PathBuf> {},
        /// Take gems from the target's cache only.
        local: bool { default: "false" },
        /// Install into vendor/bundle, exactly what Gemfile.lock says.
        deployment_mode: bool { default: "false" },
        /// Install for the user only.
        user_install: bool { default: "true" },
        /// The directory to install into.
        gem_path: Option<PathBuf> {},
        /// The directory for programs.
        binstub_directory: Option<PathBuf> {},
        /// Further words for bundle.
        extra_args: Option<String> {},
    }
}

/// Runs bundle; in check mode asks whether all is there.
pub(crate) fn run(machine: &mut Machine, args: BundlerArgs) -> ModuleResult {
    let start: Vec<String> = match &args.executable {
        Some(given) => given.split(' ').map(str::to_owned).collect(),
        None => vec![tool::required(machine, "bundle")?],
    };
    let directory = args.chdir.as_ref().map(|path| machine.expand(path));
    let command = |argv: &[String]| -> Command {
        let command = tool::command(argv);
        match &directory {
            Some(directory) => command.directory(directory),
            None => command,
        }
    };
    let argv: Vec<String> = start.iter().cloned().chain(words(machine, &args)).collect();
    let effect = Effect::opaque(argv.join(" "));
    let (changed, output) = match machine.execute(&command(&argv), effect)?.output() {
        Some(output) => {
            tool::check(Some(&output), tool::complaint)?;
            (output.stdout_text().contains("Installing"), output)
        }
        None => {
            let argv: Vec<String> = start.into_iter().chain(["check".into()]).collect();
            let output = machine.query(&command(&argv))?;
            (!output.success(), output)
        }
    };
    Ok(Outcome::unchanged()
        .with_changed(changed)
        .with("state", args.state)
        .with("stdout", output.stdout_text())
        .with("stderr", output.stderr_text()))
}

fn words(machine: &mut Machine, args: &BundlerArgs) -> Vec<String> {
    let mut words: Vec<String> = Vec::new();
    if args.state == "present" {
        words.push("install".into());
        if let Some(groups) = args.exclude_groups.as_ref().filter(|it| !it.is_empty()) {
            words.extend(["--without".into(), groups.join(":")]);
        }
        if args.clean {
            words.push("--clean".into());
        }
        // These count from the directory that bundle works in.
        let mut path = |path: &PathBuf| machine.expand_text(&path.to_string_lossy());
        if let Some(gemfile) = &args.gemfile {
            words.extend(["--gemfile".into(), path(gemfile)]);
        }
        for (flag, is_set) in [
            ("--local", args.local),
            ("--deployment", args.deployment_mode),
            ("--system", !args.user_install),
        ] {
            if is_set {
                words.push(flag.into());
            }
        }
        if let Some(directory) = &args.gem_path {
            words.extend(["--path".into(), path(directory)]);
        }
        if let Some(directory) = &args.binstub_directory {
            words.extend(["--binstubs".into(), path(directory)]);
        }
    } else {
        words.push("update".into());
        if args.local {
            words.push("--local".into());
        }
    }
    if let Some(extra) = args.extra_args.as_ref().filter(|it| !it.is_empty()) {
        words.extend(extra.split(' ').map(str::to_owned));
    }
    words
}

#[cfg(test)]
mod tests {
    use crate::modules::fake::Programs;

    const NAME: &str = "community.general.bundler";
    const BUNDLE: &str = r#"
case $1 in
  check) [ -e "$here/done" ] || { echo 'The following gems are missing'; exit 1; } ;;
  *broken*) echo 'Could not locate Gemfile' >&2; exit 10 ;;
  install) [ -e "$here/done" ] || echo 'Installing rake 13.0'; : >"$here/done" ;;
  update) echo 'Bundle updated!' ;;
esac
"#;

    #[test]
    fn gems_are_installed_once_and_check_mode_asks_bundle() {
        let host = Programs::new([("bundle", BUNDLE)]);
        let options = r#"{"chdir": "/", "exclude_groups": ["test", "development"],
            "gemfile": "/srv/Gemfile", "deployment_mode": true, "gem_path": "/srv/gems",
            "extra_args": "--jobs 4"}"#;
        let changed = |text: String| text.contains(r#""changed":true"#);
        assert!(changed(host.predict(NAME, options)));
        assert!(changed(host.run(NAME, options)));
        assert!(!changed(host.run(NAME, options)));
        assert!(!changed(host.predict(NAME, options)));
        assert_eq!(
            host.run(NAME, r#"{"state": "latest", "local": true}"#),
            r#"{"changed":false,"state":"latest","stdout":"Bundle updated!\n","stderr":"","stdout_lines":["Bundle updated!"],"stderr_lines":[]}"#
        );
        assert!(
            host.calls().contains(
                &"bundle install --without test:development --gemfile /srv/Gemfile --deployment \
              --path /srv/gems --jobs 4"
                    .to_owned()
            )
        );
    }

    #[test]
    fn what_bundle_refuses_is_told() {
        let host = Programs::new([("bundle", BUNDLE)]);
        let result = host.run(NAME, r#"{"executable": "bundle broken"}"#);
        assert!(
            result.contains(r#""msg":"Could not locate Gemfile","rc":10"#),
            "{result}"
        );
    }
}
