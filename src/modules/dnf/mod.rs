//! `dnf`, `dnf5` and `yum`: packages of RPM systems.
//!
//! Drives the program of either name and asks RPM what is installed before and after: what
//! changed is the difference, whatever words the program has for it.

#[cfg(test)]
mod tests;
mod versions;

use std::path::Path;
use std::time::{Duration, Instant};

use crate::machine::{Command, Effect, Machine, Output};
use crate::transaction::journal::UndoStep;
use crate::value::{Map, Value};

use super::tool;
use super::{Failure, ModuleResult, Outcome};
use versions::Package;

crate::arguments! {
    /// Manages packages with the dnf package manager.
    pub(crate) struct DnfArgs for "dnf" {
        /// Which program: dnf5, or dnf, or the one that is there.
        use_backend: String {
            default: "auto", choices: ["auto", "yum", "yum4", "dnf4", "dnf", "dnf5"],
            aliases: ["use"],
        },
        /// Packages, groups (`@group`), files or URLs.
        name: Vec<String> { default: "", aliases: ["pkg"] },
        /// What to list instead of changing anything.
        list: Option<String> {},
        /// Whether the packages should be there.
        state: Option<String> { choices: ["absent", "present", "installed", "removed", "latest"] },
        /// Repositories to enable for this.
        enablerepo: Vec<String> { default: "" },
        /// Repositories to disable for this.
        disablerepo: Vec<String> { default: "" },
        /// The configuration file.
        conf_file: Option<String> {},
        /// Install what is not signed.
        disable_gpg_check: bool { default: "no" },
        /// Another root directory.
        installroot: String { default: "/" },
        /// The release whose packages are installed.
        releasever: Option<String> {},
        /// Remove what nothing needs any more.
        autoremove: bool { default: "no" },
        /// Packages to leave out.
        exclude: Vec<String> { default: "" },
        /// Leave out what cannot be installed.
        skip_broken: bool { default: "no" },
        /// Read the repositories anew.
        update_cache: bool { default: "no", aliases: ["expire-cache"] },
        /// With `latest`: install nothing that is not there.
        update_only: bool { default: "no" },
        /// With `latest`: only what closes security holes.
        security: bool { default: "no" },
        /// With `latest`: only what mends faults.
        bugfix: bool { default: "no" },
        enable_plugin: Vec<String> { default: "" },
        disable_plugin: Vec<String> { default: "" },
        /// Do not heed excludes of the configuration: all, main, or of a repository.
        disable_excludes: Option<String> {},
        /// Check the certificates of servers that packages are named at.
        validate_certs: bool { default: "yes" },
        /// Check the certificates of repositories.
        sslverify: bool { default: "yes" },
        /// Install an older version where one is named.
        allow_downgrade: bool { default: "no" },
        /// Does nothing, as in Ansible.
        install_repoquery: bool { default: "yes" },
        /// Only download.
        download_only: bool { default: "no" },
        /// Seconds to wait for another dnf.
        lock_timeout: i64 { default: "30" },
        /// Install what is recommended too.
        install_weak_deps: bool { default: "yes" },
        /// Where downloads go.
        download_dir: Option<String> {},
        /// Remove what is in the way.
        allowerasing: bool { default: "no" },
        /// Take older versions where the newest cannot be had.
        nobest: Option<bool> {},
        /// Fail where the newest cannot be had.
        best: Option<bool> {},
        /// Ask no server.
        cacheonly: bool { default: "no" },
        /// Does nothing: there is nothing to install first.
        auto_install_module_deps: bool { default: "true" },
    }
    mutually_exclusive [["name", "list"], ["autoremove", "list"], ["best", "nobest"]]
    required_one_of [["name", "list", "update_cache", "autoremove"]]
}

/// Brings the packages into the wanted state, or lists.
pub(crate) fn run(machine: &mut Machine, args: DnfArgs) -> ModuleResult {
    let wanted = match args.use_backend.as_str() {
        "dnf5" => &["dnf5"][..],
        "auto" | "yum" => &["dnf", "dnf5", "yum"],
        _ => &["dnf", "dnf-3", "yum"],
    };
    work(machine, &args, wanted)
}

/// The same with dnf5 and no other.
pub(crate) fn run_dnf5(machine: &mut Machine, args: DnfArgs) -> ModuleResult {
    work(machine, &args, &["dnf5"])
}

fn work(machine: &mut Machine, args: &DnfArgs, programs: &[&str]) -> ModuleResult {
    let found = programs.iter().find_map(|name| tool::found(machine, name));
    let program = match found {
        Some(program) => program,
        None => tool::required(machine, programs[0])?,
    };
    let real = machine.real_path(Path::new(&program))?;
    let is_five = real.file_name().is_some_and(|name| name == "dnf5");
    let mut dnf = Dnf {
        rpm: tool::required(machine, "rpm")?,
        program,
        is_five,
        machine,
        args,
        results: Vec::new(),
    };
    dnf.wait_for_lock()?;
    if let Some(what) = &args.list {
        return dnf.list(what);
    }
    if args.update_cache && args.name.is_empty() && !args.autoremove {
        let output = dnf.change(&["makecache"], &[], Vec::new())?;
        tool::check(output.as_ref(), Output::stderr_text)?;
        return Ok(answer("Cache updated", false, Vec::new()));
    }
    dnf.settle()
}

fn answer(msg: &str, changed: bool, results: Vec<String>) -> Outcome {
    Outcome::unchanged()
        .msg(msg)
        .with_changed(changed)
        .with("results", Value::list(results))
        .with("rc", 0)
}

struct Dnf<'a> {
    machine: &'a mut Machine,
    args: &'a DnfArgs,
    program: String,
    rpm: String,
    is_five: bool,
    results: Vec<String>,
}

/// What one call of the program is to do.
struct Call {
    words: Vec<&'static str>,
    specs: Vec<String>,
}

impl Dnf<'_> {
    fn settle(&mut self) -> ModuleResult {
        let before = self.installed()?;
        let calls = self.calls(&before)?;
        if calls.is_empty() {
            return Ok(answer("Nothing to do", false, self.results.clone()));
        }
        if self.machine.is_check() {
            return self.predict(&calls);
        }
        let mut refused = Vec::new();
        let mut downloaded = Vec::new();
        for call in &calls {
            let undo = self.restoring(&before);
            let Some(output) = self.change(&call.words, &call.specs, undo)? else {
                continue;
            };
            if !output.success() {
                refused.push(output);
            } else if self.args.download_only {
                downloaded.extend(downloads(&output.stdout_text()));
            }
        }
        let after = self.installed()?;
        let mut changed = !downloaded.is_empty();
        self.results.extend(downloaded);
        let lines = |verb: &str, here: &[Package], there: &[Package]| {
            here.iter()
                .filter(|package| !there.contains(package))
                .map(|package| format!("{verb}: {}", package.nevra()))
                .collect::<Vec<_>>()
        };
        let installed = lines("Installed", &after, &before);
        let removed = lines("Removed", &before, &after);
        changed |= !installed.is_empty() || !removed.is_empty();
        self.results.extend(installed.into_iter().chain(removed));
        match refused.first() {
            Some(output) => Err(self.failure(output).with_changed(changed)),
            None if changed => Ok(answer("", true, self.results.clone())),
            None => Ok(answer("Nothing to do", false, self.results.clone())),
        }
    }

    /// Asks the program what it would do: it ends with a refusal when there is anything.
    fn predict(&mut self, calls: &[Call]) -> ModuleResult {
        let mut changed = false;
        for call in calls {
            let mut argv = self.argv(&call.words, &call.specs);
            argv.insert(1, "--assumeno".into());
            let output = self.machine.query(&tool::command(&argv))?;
            let said = output.stdout_text() + &output.stderr_text();
            if said.contains("Operation aborted") {
                changed = true;
            } else if !output.success() && !said.contains("Nothing to do") {
                return Err(self.failure(&output));
            }
        }
        let msg = if changed {
            "Check mode: No changes made, but would have if not in check mode"
        } else {
            "Nothing to do"
        };
        Ok(answer(msg, changed, self.results.clone()))
    }

    /// Returns the calls it takes; what is known to be as wanted is left out.
    fn calls(&mut self, before: &[Package]) -> Result<Vec<Call>, Failure> {
        let args = self.args;
        let specs: Vec<_> = args
            .name
            .iter()
            .map(|name| name.trim().to_owned())
            .filter(|name| !name.is_empty())
            .collect();
        let call = |words: &[&'static str], specs: Vec<String>| Call {
            words: words.to_vec(),
            specs,
        };
        let state = args.state.as_deref().unwrap_or("present");
        let is_absent = matches!(state, "absent" | "removed");
        if specs.is_empty() && args.autoremove {
            if args.state.is_some() && !is_absent {
                return Err(
                    Failure::new("Autoremove should be used alone or with state=absent")
                        .with("results", Value::list::<Value>([])),
                );
            }
            return Ok(vec![call(&["autoremove"], Vec::new())]);
        }
        if is_absent {
            if specs.iter().any(|spec| is_file(spec)) {
                return Err(
                    Failure::new("Cannot remove paths -- please specify package name.")
                        .with("results", Value::list::<Value>([])),
                );
            }
            let mut there = Vec::new();
            for spec in specs {
                if is_plain(&spec) && !self.is_installed(&spec)? {
                    self.results.push(format!("no package matched: {spec}"));
                } else {
                    there.push(spec);
                }
            }
            return Ok(if there.is_empty() {
                Vec::new()
            } else {
                vec![call(&["remove"], there)]
            });
        }
        if state == "latest" && specs == ["*"] {
            return Ok(vec![call(&["upgrade"], Vec::new())]);
        }
        let (mut install, mut upgrade) = (Vec::new(), Vec::new());
        for spec in specs {
            let is_known = is_plain(&spec) && self.is_installed(&spec)?;
            if args.update_only && is_plain(&spec) && !is_known {
                self.results.push(format!(
                    "Packages providing {spec} not installed due to update_only specified"
                ));
            } else if is_known && (state == "latest" || args.update_only) {
                upgrade.push(spec);
            } else if !is_known && !self.is_downgrade(&spec, before)? {
                install.push(spec);
            }
        }
        let mut calls = Vec::new();
        if !install.is_empty() {
            calls.push(call(&["install"], install));
        }
        if !upgrade.is_empty() {
            calls.push(call(&["upgrade"], upgrade));
        }
        Ok(calls)
    }

    /// Tells whether the spec names an older version than what is there, and none is wanted.
    fn is_downgrade(&mut self, spec: &str, before: &[Package]) -> Result<bool, Failure> {
        if self.args.allow_downgrade || !is_plain(spec) || !spec.contains('-') {
            return Ok(false);
        }
        let offered = self.query(&["--available", spec])?;
        Ok(offered.first().is_some_and(|offered| {
            before
                .iter()
                .any(|one| one.name == offered.name && one.compare(offered).is_gt())
        }))
    }

    fn is_installed(&mut self, spec: &str) -> Result<bool, Failure> {
        let root = self.root_words();
        let ask = |more: &[&str]| {
            let mut argv = vec![self.rpm.clone()];
            argv.extend(root.iter().cloned());
            argv.extend(more.iter().map(|word| (*word).to_owned()));
            argv
        };
        if spec.contains(['*', '?', '[']) {
            let output = tool::ask(self.machine, &ask(&["-qa", spec]))?;
            return Ok(!output.stdout_text().trim().is_empty());
        }
        for more in [&["-q", spec][..], &["-q", "--whatprovides", spec]] {
            if tool::ask(self.machine, &ask(more))?.success() {
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn root_words(&self) -> Vec<String> {
        match self.args.installroot.as_str() {
            "/" => Vec::new(),
            root => vec!["--root".into(), root.into()],
        }
    }

    fn installed(&mut self) -> Result<Vec<Package>, Failure> {
        let mut argv = vec![self.rpm.clone()];
        argv.extend(self.root_words());
        argv.extend(["-qa", "--qf", versions::FORMAT].map(str::to_owned));
        let output = tool::ask(self.machine, &argv)?;
        tool::check(Some(&output), Output::stderr_text)?;
        let text = output.stdout_text();
        let mut packages: Vec<_> = text
            .lines()
            .filter_map(Package::parse)
            .filter(|package| package.name != "gpg-pubkey")
            .collect();
        packages.sort_by_key(Package::nevra);
        Ok(packages)
    }

    fn query(&mut self, words: &[&str]) -> Result<Vec<Package>, Failure> {
        let specs: Vec<_> = ["--qf", versions::QUERY]
            .iter()
            .chain(words)
            .map(|word| (*word).to_owned())
            .collect();
        let argv = self.argv(&["-q", "repoquery"], &specs);
        let output = self.machine.query(&tool::command(&argv))?;
        let text = output.stdout_text();
        Ok(text.lines().filter_map(Package::parse).collect())
    }

    fn list(&mut self, what: &str) -> ModuleResult {
        let found = match what {
            "repos" | "repositories" => return self.list_repositories(),
            "installed" => self.installed()?,
            "updates" | "upgrades" => self.query(&["--upgrades"])?,
            "available" => self.query(&["--available"])?,
            pattern => {
                let mut found = self.query(&["--installed", pattern])?;
                found.extend(self.query(&["--available", pattern])?);
                found
            }
        };
        let results = found.iter().map(shown);
        Ok(Outcome::unchanged()
            .msg("")
            .with("results", Value::list(results)))
    }

    fn list_repositories(&mut self) -> ModuleResult {
        let argv = self.argv(&["-q", "repolist"], &[]);
        let output = self.machine.query(&tool::command(&argv))?;
        tool::check(Some(&output), Output::stderr_text)?;
        let text = output.stdout_text();
        let repositories = text
            .lines()
            .skip_while(|line| !line.starts_with("repo id"))
            .skip(1)
            .filter_map(|line| line.split_whitespace().next())
            .map(|id| Value::map([("repoid", id), ("state", "enabled")]));
        Ok(Outcome::unchanged()
            .msg("")
            .with("results", Value::list(repositories)))
    }

    fn wait_for_lock(&mut self) -> Result<(), Failure> {
        let limit = Duration::from_secs(u64::try_from(self.args.lock_timeout).unwrap_or(0));
        let started = Instant::now();
        while self.is_locked()? {
            if started.elapsed() >= limit {
                return Err(Failure::new("dnf lockfile is held by another process")
                    .with("results", Value::list::<Value>([])));
            }
            self.machine.sleep(Duration::from_secs(1))?;
        }
        Ok(())
    }

    fn is_locked(&mut self) -> Result<bool, Failure> {
        let directory = Path::new("/var/cache/dnf");
        if !self.machine.is_dir(directory)? {
            return Ok(false);
        }
        for entry in self.machine.read_dir(directory)? {
            if !entry.name.to_string_lossy().ends_with("_lock.pid") {
                continue;
            }
            let held = self.machine.read(&directory.join(&entry.name));
            let pid = String::from_utf8_lossy(&held.unwrap_or_default()).into_owned();
            let process = format!("/proc/{}", pid.trim());
            if !pid.trim().is_empty() && self.machine.exists(Path::new(&process))? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Returns the whole command line; the first word is the program.
    fn argv(&self, words: &[&str], specs: &[String]) -> Vec<String> {
        let args = self.args;
        let verb = words.last().copied().unwrap_or_default();
        let mut argv = vec![self.program.clone()];
        argv.extend(words.iter().map(|word| (*word).to_owned()));
        let spelled = |four: &str, five: &str| if self.is_five { five } else { four }.to_owned();
        let mut option = |name: String, value: &str| argv.push(format!("{name}={value}"));
        for repository in &args.disablerepo {
            option(spelled("--disablerepo", "--disable-repo"), repository);
        }
        for repository in &args.enablerepo {
            option(spelled("--enablerepo", "--enable-repo"), repository);
        }
        for plugin in &args.disable_plugin {
            option(spelled("--disableplugin", "--disable-plugin"), plugin);
        }
        for plugin in &args.enable_plugin {
            option(spelled("--enableplugin", "--enable-plugin"), plugin);
        }
        for package in &args.exclude {
            option("--exclude".into(), package);
        }
        for (name, value) in [
            ("--config", &args.conf_file),
            ("--releasever", &args.releasever),
        ] {
            if let Some(value) = value {
                option(name.into(), value);
            }
        }
        if args.installroot != "/" {
            option("--installroot".into(), &args.installroot);
        }
        if let Some(scope) = &args.disable_excludes {
            option("--disableexcludes".into(), scope);
        }
        let mut set = |setting: &str, value: &str| {
            option("--setopt".into(), &format!("{setting}={value}"));
        };
        if !args.sslverify || !args.validate_certs {
            set("sslverify", "0");
        }
        if !args.install_weak_deps {
            set("install_weak_deps", "0");
        }
        if let Some(best) = args.best.or(args.nobest.map(|nobest| !nobest)) {
            set("best", if best { "1" } else { "0" });
        }
        if verb == "remove" {
            let flag = if args.autoremove { "1" } else { "0" };
            set("clean_requirements_on_remove", flag);
        }
        if let Some(directory) = args.download_dir.as_ref().filter(|_| args.download_only) {
            set("destdir", directory);
        }
        let changes = matches!(verb, "install" | "upgrade" | "remove" | "autoremove");
        for (is_on, flag) in [
            (
                args.disable_gpg_check,
                spelled("--nogpgcheck", "--no-gpgchecks"),
            ),
            (
                args.skip_broken && verb == "install",
                "--skip-broken".into(),
            ),
            (args.update_cache, "--refresh".into()),
            (args.cacheonly, spelled("-C", "--cacheonly")),
            (args.security && verb == "upgrade", "--security".into()),
            (args.bugfix && verb == "upgrade", "--bugfix".into()),
            (args.download_only && changes, "--downloadonly".into()),
            (
                args.allowerasing && matches!(verb, "install" | "upgrade"),
                "--allowerasing".into(),
            ),
        ] {
            if is_on {
                argv.push(flag);
            }
        }
        argv.extend(specs.iter().cloned());
        argv
    }

    fn change(
        &mut self,
        words: &[&str],
        specs: &[String],
        undo: Vec<UndoStep>,
    ) -> Result<Option<Output>, Failure> {
        let mut argv = self.argv(words, specs);
        argv.insert(1, "-y".into());
        let effect = Effect::Compensated {
            what: argv.join(" "),
            undo,
        };
        let command: Command = tool::command(&argv);
        Ok(self.machine.execute(&command, effect)?.output())
    }

    /// Returns what brings the packages back that were there, and takes away the others.
    fn restoring(&self, before: &[Package]) -> Vec<UndoStep> {
        const SCRIPT: &str = r#"
dnf=$1 rpm=$2 format=$3 before=$4; shift 4
now=$("$rpm" "$@" -qa --qf "$format" | sed 's/|@System$//' | grep -v '^gpg-pubkey|' | sort)
only() { printf '%s\n' "$1" | while IFS= read -r line; do
  case "
$2
" in *"
$line
"*) ;; *) printf '%s\n' "$line" | awk -F'|' 'NF { print $1 "-" $2 ":" $3 "-" $4 "." $5 }' ;; esac
done; }
gone=$(only "$before" "$now")
[ -z "$gone" ] || "$dnf" -y install --allowerasing $gone || exit
now=$("$rpm" "$@" -qa --qf "$format" | sed 's/|@System$//' | grep -v '^gpg-pubkey|' | sort)
new=$(only "$now" "$before")
[ -z "$new" ] || "$dnf" -y remove --setopt=clean_requirements_on_remove=0 $new
"#;
        let lines = |packages: &[Package]| {
            let mut lines: Vec<_> = packages
                .iter()
                .map(|it| [&*it.name, &it.epoch, &it.version, &it.release, &it.arch].join("|"))
                .collect();
            lines.sort();
            lines.join("\n")
        };
        let mut argv = vec![
            "/bin/sh".to_owned(),
            "-c".into(),
            SCRIPT.into(),
            "sh".into(),
            self.program.clone(),
            self.rpm.clone(),
            versions::FORMAT.into(),
            lines(before),
        ];
        argv.extend(self.root_words());
        vec![UndoStep::new(argv)]
    }

    fn failure(&self, output: &Output) -> Failure {
        let said = output.stdout_text() + "\n" + &output.stderr_text();
        let missing: Vec<_> = said
            .lines()
            .filter_map(|line| line.trim().strip_prefix("No match for argument: "))
            .map(|spec| format!("No package {} available.", spec.trim()))
            .collect();
        let (msg, failures) = if missing.is_empty() {
            let why = match said.split_once("Error:") {
                Some((_, why)) => why.trim(),
                None => said.trim(),
            };
            (format!("Depsolve Error occurred: {why}"), Vec::new())
        } else {
            let msg = "Failed to install some of the specified packages".to_owned();
            (msg, missing)
        };
        Failure::new(msg)
            .with("failures", Value::list(failures))
            .with("results", Value::list(self.results.clone()))
            .with("rc", 1)
    }
}

/// Tells whether RPM alone can say if the package is there.
fn is_plain(spec: &str) -> bool {
    !spec.starts_with('@') && !is_file(spec) && !spec.contains([' ', '<', '>', '='])
}

fn is_file(spec: &str) -> bool {
    spec.contains("://") || spec.ends_with(".rpm")
}

/// Reads the names of what was downloaded, which no other place tells.
fn downloads(said: &str) -> Vec<String> {
    said.lines()
        .filter_map(|line| line.split_once(".rpm"))
        .filter_map(|(name, _)| name.split_whitespace().last())
        .map(|name| format!("Downloaded: {name}"))
        .collect()
}

fn shown(package: &Package) -> Value {
    let epoch = match package.epoch.as_str() {
        "" | "(none)" => "0",
        epoch => epoch,
    };
    let Package {
        name,
        version,
        release,
        arch,
        repo,
        ..
    } = package;
    let envra = format!("{epoch}:{name}-{version}-{release}.{arch}");
    let state = if repo == "@System" || repo == "System" {
        "installed"
    } else {
        "available"
    };
    let pairs = [
        ("name", name.as_str()),
        ("arch", arch),
        ("epoch", epoch),
        ("release", release),
        ("version", version),
        ("repo", repo),
        ("envra", &envra),
        ("nevra", &envra),
        ("yumstate", state),
    ];
    let shown: Map = pairs
        .into_iter()
        .map(|(key, value)| (key.into(), value.into()))
        .collect();
    shown.into()
}
