//! Calls of apt-get: simulated first, then run with what undoes them.

use std::path::Path;

use crate::machine::{Command, Content, Effect, Execution, Machine, NewFile, Output, TemporaryDir};
use crate::transaction::journal::UndoStep;

use super::{AptArgs, diff_of};
use crate::modules::{Failure, ModuleResult, Outcome};

/// The line apt-get ends with when it has nothing to do.
const NOTHING_TO_DO: &str = "\n0 upgraded, 0 newly installed, 0 to remove";

/// Where a host says which services may start while packages are installed.
const POLICY: &str = "/usr/sbin/policy-rc.d";

/// apt-get, called as the module's options say.
pub(super) struct AptGet<'a> {
    machine: &'a mut Machine,
    args: &'a AptArgs,
}

/// What a simulation said would happen.
struct Plan {
    output: Output,
    undo: Vec<String>,
}

impl<'a> AptGet<'a> {
    pub(super) fn new(machine: &'a mut Machine, args: &'a AptArgs) -> Self {
        Self { machine, args }
    }

    /// Installs packages, `name` or `name=version`, or package files.
    pub(super) fn install(&mut self, wanted: &[String]) -> ModuleResult {
        let mut argv = self.start(&["-y"]);
        if self.args.only_upgrade {
            argv.push("--only-upgrade".into());
        }
        if self.args.state == "fixed" {
            argv.push("--fix-broken".into());
        }
        if self.args.autoremove {
            argv.push("--auto-remove".into());
        }
        self.push_release_and_permissions(&mut argv);
        argv.push("install".into());
        argv.extend(wanted.iter().cloned());
        self.run(&argv, true)
    }

    pub(super) fn build_dep(&mut self, names: &[String]) -> ModuleResult {
        let mut argv = self.start(&["-y"]);
        self.push_release_and_permissions(&mut argv);
        argv.push("build-dep".into());
        argv.extend(names.iter().cloned());
        self.run(&argv, false)
    }

    pub(super) fn remove(&mut self, names: &[String]) -> ModuleResult {
        let mut argv = self.start(&["-q", "-y"]);
        if self.args.purge {
            argv.push("--purge".into());
        }
        if self.args.autoremove {
            argv.push("--auto-remove".into());
        }
        if self.args.allow_change_held_packages || self.args.force {
            argv.push("--allow-change-held-packages".into());
        }
        argv.push("remove".into());
        argv.extend(names.iter().cloned());
        self.run(&argv, true)
    }

    pub(super) fn upgrade(&mut self, mode: &str) -> ModuleResult {
        let mut argv = self.start(&["-y"]);
        self.push_release_and_permissions(&mut argv);
        match mode {
            "dist" | "full" => argv.push("dist-upgrade".into()),
            _ => argv.extend(["upgrade".into(), "--with-new-pkgs".into()]),
        }
        if self.args.autoremove {
            argv.push("--auto-remove".into());
        }
        let outcome = self.run(&argv, false)?;
        let shown = outcome.data.get("stdout").cloned().unwrap_or_default();
        Ok(outcome.with("msg", shown))
    }

    pub(super) fn autoremove(&mut self) -> ModuleResult {
        let mut argv = self.start(&["-y"]);
        if self.args.purge {
            argv.push("--purge".into());
        }
        argv.push("autoremove".into());
        self.run(&argv, false)
    }

    /// Removes downloaded package files: `clean` all, `autoclean` the outdated ones.
    pub(super) fn clean(&mut self, verb: &str) -> ModuleResult {
        let mut argv = self.start(&["-y"]);
        argv.push(verb.into());
        let simulated = self.simulate(&argv)?;
        let text = simulated.output.stdout_text();
        // Package files are a cache: there is nothing to undo.
        let effect = Effect::Compensated {
            what: argv.join(" "),
            undo: Vec::new(),
        };
        let done = self.machine.execute(&quiet(Command::new(&argv)), effect)?;
        let output = succeeded(&argv, done.output().unwrap_or(simulated.output))?;
        let changed = verb == "clean" || text.contains("Del ");
        let text = output.stdout_text();
        let outcome = Outcome::unchanged()
            .with_changed(changed)
            .with("stdout", text.as_str())
            .with("stderr", output.stderr_text());
        Ok(if verb == "clean" {
            outcome.msg(text)
        } else if self.machine.wants_diff() {
            outcome.only_diff(diff_of(&text))
        } else {
            outcome
        })
    }

    /// Marks packages as wanted for themselves, so that autoremove spares them.
    pub(super) fn mark_manual(&mut self, names: &[String]) -> Result<(), Failure> {
        if names.is_empty() || self.machine.is_check() {
            return Ok(());
        }
        let listed = Command::new(
            ["apt-mark", "showauto"]
                .into_iter()
                .chain(names.iter().map(String::as_str)),
        );
        let automatic = self.machine.query(&quiet(listed))?.stdout_text();
        let automatic: Vec<_> = automatic.lines().filter(|line| !line.is_empty()).collect();
        if automatic.is_empty() {
            return Ok(());
        }
        let words = |verb| {
            ["apt-mark", verb]
                .into_iter()
                .chain(automatic.iter().copied())
        };
        let effect = Effect::compensated("apt-mark manual", words("auto"));
        self.machine
            .execute(&quiet(Command::new(words("manual"))), effect)?;
        Ok(())
    }

    fn start(&self, flags: &[&str]) -> Vec<String> {
        let mut argv = vec!["apt-get".to_owned()];
        argv.extend(flags.iter().map(|flag| (*flag).to_owned()));
        for option in self
            .args
            .dpkg_options
            .split(',')
            .map(str::trim)
            .filter(|o| !o.is_empty())
        {
            argv.extend(["-o".into(), format!("Dpkg::Options::=--{option}")]);
        }
        argv.extend([
            "-o".into(),
            format!("DPkg::Lock::Timeout={}", self.args.lock_timeout),
        ]);
        argv
    }

    fn push_release_and_permissions(&self, argv: &mut Vec<String>) {
        let args = self.args;
        if args.fail_on_autoremove {
            argv.push("--no-remove".into());
        }
        for (option, wanted) in [
            ("--allow-unauthenticated", args.allow_unauthenticated),
            ("--allow-downgrades", args.allow_downgrade),
            (
                "--allow-change-held-packages",
                args.allow_change_held_packages,
            ),
        ] {
            if wanted || args.force {
                argv.push(option.into());
            }
        }
        if args.force {
            argv.push("--allow-remove-essential".into());
        }
        if let Some(release) = &args.default_release {
            argv.extend(["-t".into(), release.clone()]);
        }
        if let Some(wanted) = args.install_recommends {
            let value = if wanted { "yes" } else { "no" };
            argv.extend(["-o".into(), format!("APT::Install-Recommends={value}")]);
        }
    }

    /// Simulates the call, then runs it; `always` counts as a change whatever apt-get says.
    fn run(&mut self, argv: &[String], always: bool) -> ModuleResult {
        let plan = self.simulate(argv)?;
        let undo = vec![UndoStep::new(plan.undo)]
            .into_iter()
            .filter(|step| !step.argv.is_empty());
        let effect = Effect::Compensated {
            what: argv.join(" "),
            undo: undo.collect(),
        };
        let output =
            self.with_policy(|machine| Ok(machine.execute(&quiet(Command::new(argv)), effect)?))?;
        let output = match output {
            Execution::Done(output) => succeeded(argv, output)?,
            Execution::Predicted => plan.output,
        };
        let text = output.stdout_text();
        let outcome = Outcome::unchanged()
            .with_changed(always || !text.contains(NOTHING_TO_DO))
            .with("stdout", text.as_str())
            .with("stderr", output.stderr_text());
        Ok(if self.machine.wants_diff() {
            outcome.only_diff(diff_of(&text))
        } else {
            outcome
        })
    }

    fn simulate(&mut self, argv: &[String]) -> Result<Plan, Failure> {
        let mut words = argv.to_vec();
        words.insert(1, "-s".into());
        let output = self.machine.query(&quiet(Command::new(&words)))?;
        let output = succeeded(argv, output)?;
        let undo = undo_of(&output.stdout_text());
        Ok(Plan { output, undo })
    }

    /// Puts the wanted policy-rc.d in place around `run`, and takes it away again.
    fn with_policy<T>(
        &mut self,
        run: impl FnOnce(&mut Machine) -> Result<T, Failure>,
    ) -> Result<T, Failure> {
        let Some(code) = self.args.policy_rc_d else {
            return run(self.machine);
        };
        let path = Path::new(POLICY);
        let aside = Path::new("/usr/sbin/policy-rc.d.backstay");
        let had_one = self.machine.exists(path)?;
        if had_one {
            self.machine.rename(path, aside)?;
        }
        let script = format!("#!/bin/sh\nexit {code}\n").into_bytes();
        let executable = NewFile {
            mode: Some(0o755),
            ..NewFile::default()
        };
        self.machine
            .write(path, Content::Bytes(script), &executable)?;
        let result = run(self.machine);
        self.machine.remove(path)?;
        if had_one {
            self.machine.rename(aside, path)?;
        }
        result
    }
}

/// Sets what makes apt and dpkg ask nothing and speak English.
pub(super) fn quiet(command: Command) -> Command {
    command
        .env("DEBIAN_FRONTEND", "noninteractive")
        .env("DEBIAN_PRIORITY", "critical")
        .env("LC_ALL", "C.UTF-8")
        .env("LANGUAGE", "C")
}

/// Waits between two tries, without holding up check mode.
pub(super) fn wait(machine: &mut Machine, seconds: i64) -> Result<(), Failure> {
    let effect = Effect::Compensated {
        what: "wait".into(),
        undo: Vec::new(),
    };
    machine.execute(&Command::new(["sleep", &seconds.to_string()]), effect)?;
    Ok(())
}

fn succeeded(argv: &[String], output: Output) -> Result<Output, Failure> {
    if output.success() {
        return Ok(output);
    }
    Err(Failure::new(format!(
        "'{}' failed: {}",
        argv.join(" "),
        output.stderr_text()
    ))
    .with("rc", output.status)
    .with("stdout", output.stdout_text())
    .with("stderr", output.stderr_text()))
}

/// Reads a simulation: what it installs is removed again, what it upgrades or removes comes back
/// in its old version. Empty when it changes nothing.
fn undo_of(simulation: &str) -> Vec<String> {
    let mut packages = Vec::new();
    for line in simulation.lines() {
        let mut words = line.split_whitespace();
        let (verb, name, third) = (words.next(), words.next(), words.next());
        let old = third.and_then(|word| word.strip_prefix('[')?.strip_suffix(']'));
        match (verb, name, old) {
            (Some("Inst" | "Remv" | "Purg"), Some(name), Some(old)) => {
                packages.push(format!("{name}={old}"));
            }
            (Some("Inst"), Some(name), None) => packages.push(format!("{name}-")),
            _ => {}
        }
    }
    if packages.is_empty() {
        return packages;
    }
    let start = [
        "apt-get",
        "-y",
        "-q",
        "--allow-downgrades",
        "--allow-change-held-packages",
        "install",
    ];
    start
        .into_iter()
        .map(str::to_owned)
        .chain(packages)
        .collect()
}

/// What a package file says of itself.
pub(super) struct Fields {
    pub(super) name: String,
    pub(super) version: String,
}

/// Reads a package file's name and version.
pub(super) fn fields_of_file(machine: &mut Machine, path: &Path) -> Result<Fields, Failure> {
    let command =
        Command::new(["dpkg-deb", "-W", "--showformat=${Package}\\n${Version}\\n"]).arg(path);
    let output = machine.query(&command)?;
    let text = output.stdout_text();
    let mut lines = text.lines().map(str::to_owned);
    match (output.success(), lines.next(), lines.next()) {
        (true, Some(name), Some(version)) => Ok(Fields { name, version }),
        _ => Err(Failure::new(format!(
            "`{}` is not a package file: {}",
            path.display(),
            output.stderr_text().trim()
        ))),
    }
}

/// Downloads a package file into a directory that goes away with the value.
pub(super) fn fetch(machine: &mut Machine, url: &str) -> Result<TemporaryDir, Failure> {
    let directory = machine.temporary_dir()?;
    let file = directory.path().join("package.deb");
    let output = machine.query(&quiet(
        Command::new(["/usr/lib/apt/apt-helper", "download-file", url]).arg(&file),
    ))?;
    if !output.success() {
        return Err(Failure::new(format!(
            "Failure downloading {url}: {}",
            output.stderr_text().trim()
        )));
    }
    Ok(directory)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_undoes_a_simulation_names_old_versions_and_removals() {
        let simulation = "NOTE\nInst a [1.0] (2.0 Debian:12 [amd64]) []\nInst b (3.0 x [all])\n\
                          Remv c [4.0]\nConf a (2.0 x)\n";
        assert_eq!(
            undo_of(simulation).join(" "),
            "apt-get -y -q --allow-downgrades --allow-change-held-packages install a=1.0 b- c=4.0"
        );
        assert_eq!(undo_of("0 upgraded"), Vec::<String>::new());
    }
}
