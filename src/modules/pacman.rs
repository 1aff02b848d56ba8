//! `pacman`: packages of Arch Linux.
//!
//! What would be done is asked of pacman itself, with `--print-format`; what undoes it takes old
//! versions from its cache.

use std::collections::{BTreeMap, BTreeSet};

use indexmap::IndexMap;

use crate::machine::{Machine, Output, split_words};
use crate::transaction::journal::UndoStep;
use crate::value::Value;

use super::tool;
use super::{Diff, Failure, ModuleResult, Outcome};

crate::arguments! {
    /// Manage packages with pacman.
    pub(crate) struct PacmanArgs for "community.general.pacman" {
        /// Packages, groups, files or URLs.
        name: Option<Vec<String>> { aliases: ["pkg", "package"] },
        /// Whether the packages should be there.
        state: String {
            default: "present", choices: ["present", "installed", "latest", "absent", "removed"],
        },
        /// Remove without checks; read the databases anew though they are fresh.
        force: bool { default: "false" },
        /// Keep no changed configuration of what is removed.
        remove_nosave: bool { default: "false" },
        /// The program.
        executable: String { default: "pacman" },
        /// Further words for pacman.
        extra_args: String { default: "" },
        /// Bring the whole system up to date.
        upgrade: Option<bool> {},
        /// Further words for an upgrade.
        upgrade_extra_args: String { default: "" },
        /// Read the databases anew.
        update_cache: Option<bool> {},
        /// Further words for that.
        update_cache_extra_args: String { default: "" },
        /// Why the packages are there, for pacman.
        reason: Option<String> { choices: ["explicit", "dependency"] },
        /// Of which packages the reason is set.
        reason_for: String { default: "new", choices: ["new", "all"] },
    }
    required_one_of [["name", "update_cache", "upgrade"]]
    mutually_exclusive [["name", "upgrade"]]
}

/// Brings packages into the wanted state.
pub(crate) fn run(machine: &mut Machine, args: PacmanArgs) -> ModuleResult {
    let words = |text: &str| split_words(text).ok_or_else(|| Failure::new("No closing quotation"));
    let mut pacman = Pacman {
        program: tool::required(machine, &args.executable)?,
        extra: words(&args.extra_args)?,
        machine,
        args: &args,
        told: Told::default(),
    };
    let names = args.name.as_deref().unwrap_or_default();
    let upgrades = args.upgrade == Some(true);
    if args.update_cache == Some(true) {
        pacman.refresh(&words(&args.update_cache_extra_args)?)?;
        if names.is_empty() && !upgrades {
            return Ok(pacman.told.outcome());
        }
    }
    let known = pacman.known()?;
    if upgrades {
        pacman.upgrade(&known, &words(&args.upgrade_extra_args)?)?;
    } else if !names.is_empty() {
        let packages = pacman.packages(&known, names)?;
        match args.state.as_str() {
            "absent" | "removed" => pacman.remove(&known, &packages)?,
            state => pacman.install(&known, &packages, state == "latest")?,
        }
    } else {
        pacman.told.messages.push("Nothing to do".into());
    }
    Ok(pacman.told.outcome())
}

/// What the result tells.
#[derive(Default)]
struct Told {
    changed: bool,
    messages: Vec<String>,
    stdout: Vec<String>,
    stderr: Vec<String>,
    packages: Option<Vec<String>>,
    cache_updated: Option<bool>,
    diff: Option<Diff>,
}

impl Told {
    fn say(&mut self, message: impl Into<String>, output: Option<&Output>) {
        self.messages.push(message.into());
        self.hear(output);
    }

    fn hear(&mut self, output: Option<&Output>) {
        let Some(output) = output else { return };
        let texts = [
            (&mut self.stdout, output.stdout_text()),
            (&mut self.stderr, output.stderr_text()),
        ];
        for (all, text) in texts {
            all.extend(Some(text).filter(|text| !text.is_empty()));
        }
    }

    fn outcome(self) -> Outcome {
        let mut outcome = Outcome::unchanged()
            .with_changed(self.changed)
            .msg(self.messages.join("\n"));
        if let Some(packages) = self.packages {
            outcome = outcome.with("packages", Value::list(packages));
        }
        if let Some(updated) = self.cache_updated {
            outcome = outcome.with("cache_updated", updated);
        }
        for (name, texts) in [("stdout", self.stdout), ("stderr", self.stderr)] {
            if !texts.is_empty() {
                outcome = outcome.with(name, texts.join("\n"));
            }
        }
        match self.diff {
            Some(diff) => outcome.only_diff(diff),
            None => outcome,
        }
    }
}

/// What pacman knows of packages.
struct Known {
    installed: BTreeMap<String, String>,
    available: BTreeSet<String>,
    groups: BTreeMap<String, BTreeSet<String>>,
    /// Names, with the version that is there and the newest.
    upgradable: IndexMap<String, (String, String)>,
    reasons: BTreeMap<String, &'static str>,
}

/// A package that is asked for.
struct Package {
    name: String,
    /// As it was written.
    source: String,
    is_file: bool,
}

struct Pacman<'a> {
    machine: &'a mut Machine,
    args: &'a PacmanArgs,
    program: String,
    extra: Vec<String>,
    told: Told,
}

impl Pacman<'_> {
    fn argv(&self, words: &[&str], more: &[String]) -> Vec<String> {
        let words = words.iter().map(|word| (*word).to_owned());
        let start = std::iter::once(self.program.clone());
        start.chain(words).chain(more.iter().cloned()).collect()
    }

    fn ask(&mut self, words: &[&str]) -> Result<String, Failure> {
        let argv = self.argv(words, &[]);
        let output = tool::ask(self.machine, &argv)?;
        tool::check(Some(&output), tool::complaint)?;
        Ok(output.stdout_text())
    }

    /// Asks what a change would be about.
    fn foresee(&mut self, argv: &[String], msg: &str) -> Result<String, Failure> {
        let output = tool::ask(self.machine, argv)?;
        tool::check(Some(&output), |_| msg.to_owned())
            .map_err(|failure| failure.with("cmd", Value::list(argv.iter().cloned())))?;
        Ok(output.stdout_text())
    }

    fn act(
        &mut self,
        argv: &[String],
        undo: Vec<UndoStep>,
        msg: &str,
    ) -> Result<Option<Output>, Failure> {
        let output = tool::act_undone_by(self.machine, argv, undo)?;
        tool::check(output.as_ref(), |_| msg.to_owned())
            .map_err(|failure| failure.with("cmd", Value::list(argv.iter().cloned())))?;
        Ok(output)
    }

    fn refresh(&mut self, more: &[String]) -> Result<(), Failure> {
        let mut argv = self.argv(&["--sync", "--refresh"], more);
        if self.args.force {
            argv.push("--refresh".into());
        }
        let before = self.database()?;
        let output = self.act(&argv, Vec::new(), "could not update package db")?;
        let updated = output.is_none() || self.args.force || self.database()? != before;
        self.told.cache_updated = Some(updated);
        self.told.changed |= updated;
        let message = match output {
            Some(_) => "Updated package db",
            None => "Would have updated the package db",
        };
        self.told.say(message, output.as_ref());
        Ok(())
    }

    fn database(&mut self) -> Result<Vec<String>, Failure> {
        let text = self.ask(&["--sync", "--list"])?;
        let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
        lines.sort();
        Ok(lines)
    }

    fn known(&mut self) -> Result<Known, Failure> {
        let pairs = |text: &str| -> Vec<(String, String)> {
            let words = text.lines().map(|line| line.split_whitespace().collect());
            let pairs = words.filter_map(|words: Vec<&str>| match words[..] {
                [first, second] => Some((first.to_owned(), second.to_owned())),
                _ => None,
            });
            pairs.collect()
        };
        let installed = pairs(&self.ask(&["--query"])?).into_iter().collect();
        let database = self.database()?;
        let available = database
            .iter()
            .filter_map(|line| line.split_whitespace().nth(1));
        let available = available.map(str::to_owned).collect();
        let mut groups: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        for (group, package) in pairs(&self.ask(&["--sync", "--groups", "--groups"])?) {
            groups.entry(group).or_default().insert(package);
        }
        let mut reasons = BTreeMap::new();
        for (flag, reason) in [("--explicit", "explicit"), ("--deps", "dependency")] {
            for (name, _) in pairs(&self.ask(&["--query", flag])?) {
                reasons.insert(name, reason);
            }
        }
        Ok(Known {
            installed,
            available,
            groups,
            upgradable: self.upgradable()?,
            reasons,
        })
    }

    fn upgradable(&mut self) -> Result<IndexMap<String, (String, String)>, Failure> {
        let argv = self.argv(&["--query", "--upgrades"], &[]);
        let output = tool::ask(self.machine, &argv)?;
        let text = output.stdout_text();
        let lines = text.lines().map(str::trim);
        let lines: Vec<&str> = lines
            .filter(|line| !line.is_empty() && !line.contains("Avoid running"))
            .collect();
        if output.status == 1 && lines.is_empty() {
            return Ok(IndexMap::new());
        }
        let msg = "Couldn't get list of packages available for upgrade";
        tool::check(Some(&output), |_| msg.to_owned())?;
        let mut found = IndexMap::new();
        for line in lines.iter().filter(|line| !line.contains("[ignored]")) {
            let words: Vec<&str> = line.split_whitespace().collect();
            let [name, current, _, latest] = words[..] else {
                return Err(Failure::new(format!("Invalid line: {line}")));
            };
            found.insert(name.to_owned(), (current.to_owned(), latest.to_owned()));
        }
        Ok(found)
    }

    /// Finds what is asked for: groups are their packages, and files are read by pacman.
    fn packages(&mut self, known: &Known, names: &[String]) -> Result<Vec<Package>, Failure> {
        let plain = |name: &String| Package {
            name: name.clone(),
            source: name.clone(),
            is_file: false,
        };
        let mut packages = Vec::new();
        for name in names.iter().filter(|name| !name.is_empty()) {
            if let Some(group) = known.groups.get(name) {
                packages.extend(group.iter().map(plain));
                continue;
            }
            if known.available.contains(name) || known.installed.contains_key(name) {
                packages.push(plain(name));
                continue;
            }
            let mut found = None;
            for (verb, is_file) in [("--sync", false), ("--upgrade", true)] {
                let argv = self.argv(&[verb, "--print-format", "%n", name], &[]);
                let output = tool::ask(self.machine, &argv)?;
                if output.success() {
                    found = Some((output.stdout_text(), is_file));
                    break;
                }
                let is_wanted = !matches!(self.args.state.as_str(), "absent" | "removed");
                if is_file && is_wanted {
                    let msg = format!("Failed to list package {name}");
                    return Err(tool::failed(&output, msg).with("cmd", Value::list(argv)));
                }
            }
            if let Some((text, is_file)) = found {
                let line = text.trim().lines().last().unwrap_or_default();
                packages.push(Package {
                    name: line.trim().to_owned(),
                    source: name.clone(),
                    is_file,
                });
            }
        }
        Ok(packages)
    }

    fn install(
        &mut self,
        known: &Known,
        packages: &[Package],
        latest: bool,
    ) -> Result<(), Failure> {
        let reason = self.args.reason.as_deref();
        let needs_reason = |package: &&Package| {
            let has = known.reasons.get(&package.name).copied();
            let for_all = self.args.reason_for == "all";
            reason.is_some() && (has.is_none() || for_all && has != reason)
        };
        let to_explain: Vec<&Package> = packages.iter().filter(needs_reason).collect();
        let is_wanted = |package: &&Package| {
            package.is_file
                || !known.installed.contains_key(&package.name)
                || latest && known.upgradable.contains_key(&package.name)
        };
        let (files, named): (Vec<&Package>, Vec<&Package>) = packages
            .iter()
            .filter(is_wanted)
            .partition(|package| package.is_file);
        let mut work = Vec::new();
        let (mut before, mut after, mut comes) = (Vec::new(), Vec::new(), Vec::new());
        for (verb, packages) in [("--sync", named), ("--upgrade", files)] {
            if packages.is_empty() {
                continue;
            }
            let sources: Vec<String> = packages.iter().map(|it| it.source.clone()).collect();
            let mut start = vec!["--noconfirm", "--noprogressbar", "--needed"];
            start.extend(self.extra.iter().map(String::as_str));
            start.push(verb);
            let real = self.argv(&start, &sources);
            start.extend(["--print-format", "%n %v"]);
            let argv = self.argv(&start, &sources);
            let text = self.foresee(&argv, "Failed to list package(s) to install")?;
            let mut undo = Vec::new();
            for (name, version) in text.lines().filter_map(listed) {
                let why =
                    |reason: Option<&str>| reason.map(|it| format!("-{it}")).unwrap_or_default();
                let has = known.reasons.get(name).copied();
                let gets = reason.filter(|_| to_explain.iter().any(|it| it.name == name));
                match known.installed.get(name) {
                    Some(old) => {
                        before.push(format!("{name}-{old}{}", why(has)));
                        undo.push(self.cached(name, old));
                    }
                    None => undo.push(tool::step(&self.argv(
                        &["--remove", "--noconfirm", "--nodeps", "--nodeps", name],
                        &[],
                    ))),
                }
                after.push(format!("{name}-{version}{}", why(gets.or(has))));
                comes.push(name.to_owned());
            }
            work.push((real, undo));
        }
        let explained: Vec<String> = to_explain.iter().map(|it| it.name.clone()).collect();
        if comes.is_empty() && explained.is_empty() {
            self.told.packages = Some(Vec::new());
            self.told.say("package(s) already installed", None);
            return Ok(());
        }
        self.told.changed = true;
        self.told.diff = Some(Diff::new(sorted_lines(before), sorted_lines(after)));
        let mut all = comes.clone();
        all.extend(explained.iter().filter(|it| !comes.contains(it)).cloned());
        all.sort();
        let is_real = !self.machine.is_check();
        for (argv, undo) in work {
            let output = self.act(&argv, undo, "Failed to install package(s)")?;
            self.told.hear(output.as_ref());
        }
        if let Some(reason) = reason.filter(|_| !explained.is_empty()) {
            self.explain(known, reason, &explained)?;
        }
        let verb = if is_real {
            "Installed"
        } else {
            "Would have installed"
        };
        let end = if is_real { "package(s)" } else { "packages" };
        self.told
            .messages
            .push(format!("{verb} {} {end}", all.len()));
        self.told.packages = Some(all);
        Ok(())
    }

    /// Tells pacman why packages are there.
    fn explain(&mut self, known: &Known, reason: &str, names: &[String]) -> Result<(), Failure> {
        let flag = |reason: &str| match reason {
            "dependency" => "--asdeps",
            _ => "--asexplicit",
        };
        let start = ["--noconfirm", "--database"];
        let argv = self.argv(&[start[0], start[1], flag(reason)], names);
        let had = names
            .iter()
            .filter_map(|name| Some((name, known.reasons.get(name)?)));
        let undo = had
            .map(|(name, old)| tool::step(&self.argv(&[start[0], start[1], flag(old), name], &[])))
            .collect();
        let output = self.act(&argv, undo, "Failed to install package(s)")?;
        self.told.hear(output.as_ref());
        Ok(())
    }

    fn remove(&mut self, known: &Known, packages: &[Package]) -> Result<(), Failure> {
        let there = packages
            .iter()
            .filter(|package| known.installed.contains_key(&package.name));
        let names: Vec<String> = there.map(|package| package.name.clone()).collect();
        if names.is_empty() {
            self.told.packages = Some(Vec::new());
            self.told.say("package(s) already absent", None);
            return Ok(());
        }
        let mut start = vec!["--remove", "--noconfirm", "--noprogressbar"];
        start.extend(self.extra.iter().map(String::as_str));
        if self.args.force {
            start.extend(["--nodeps", "--nodeps"]);
        }
        let mut asking = start.clone();
        asking.extend(["--print-format", "%n-%v"]);
        if self.args.remove_nosave {
            start.push("--nosave");
        }
        let (argv, asking) = (self.argv(&start, &names), self.argv(&asking, &names));
        let text = self.foresee(&asking, "failed to list package(s) to remove")?;
        let gone: Vec<String> = text.split_whitespace().map(str::to_owned).collect();
        self.told.changed = true;
        self.told.diff = Some(Diff::new(gone.join("\n") + "\n", ""));
        let undo = known
            .installed
            .iter()
            .filter(|(name, version)| gone.contains(&format!("{name}-{version}")))
            .map(|(name, version)| self.cached(name, version))
            .collect();
        let output = self.act(&argv, undo, "failed to remove package(s)")?;
        let message = match output {
            Some(_) => format!("Removed {} package(s)", gone.len()),
            None => format!("Would have removed {} packages", gone.len()),
        };
        self.told.say(message, output.as_ref());
        self.told.packages = Some(gone);
        Ok(())
    }

    fn upgrade(&mut self, known: &Known, more: &[String]) -> Result<(), Failure> {
        let found = &known.upgradable;
        if found.is_empty() {
            self.told.say("Nothing to upgrade", None);
            return Ok(());
        }
        let lines = |latest: bool| -> String {
            let line = |(name, (old, new)): (&String, &(String, String))| {
                format!("{name}-{}\n", if latest { new } else { old })
            };
            found.iter().map(line).collect()
        };
        self.told.changed = true;
        self.told.diff = Some(Diff::new(lines(false), lines(true)));
        self.told.packages = Some(found.keys().cloned().collect());
        let undo = found
            .iter()
            .map(|(name, (old, _))| self.cached(name, old))
            .collect();
        let argv = self.argv(&["--sync", "--sysupgrade", "--quiet", "--noconfirm"], more);
        let output = self.act(&argv, undo, "Could not upgrade")?;
        let message = match output {
            Some(_) => "System upgraded".to_owned(),
            None => format!("{} packages would have been upgraded", found.len()),
        };
        self.told.say(message, output.as_ref());
        Ok(())
    }

    /// Returns a step that installs an old version from pacman's cache.
    fn cached(&self, name: &str, version: &str) -> UndoStep {
        let script = r#"set -- "$1" /var/cache/pacman/pkg/"$2"-*.pkg.tar.*[!g]
exec "$1" --upgrade --noconfirm --nodeps --nodeps "$2""#;
        UndoStep::new([
            "sh",
            "-c",
            script,
            "sh",
            &self.program,
            &format!("{name}-{version}"),
        ])
    }
}

/// Reads `name version` of what would be installed; all else is talk.
fn listed(line: &str) -> Option<(&str, &str)> {
    let talk = [
        "loading packages",
        "there is nothing to do",
        "Avoid running",
    ];
    if talk.iter().any(|it| line.contains(it)) {
        return None;
    }
    line.trim().split_once(' ')
}

fn sorted_lines(mut lines: Vec<String>) -> String {
    lines.sort();
    lines
        .iter()
        .flat_map(|line| [line.as_str(), "\n"])
        .collect()
}

#[cfg(test)]
mod tests {
    use crate::modules::fake::Programs;

    const NAME: &str = "community.general.pacman";
    /// Packages are lines of a file; the newest version of each is 2-1.
    const PACMAN: &str = r#"
last() { for word; do :; done; echo "$word"; }
case "$*" in
  --query) cat "$here/installed" ;;
  '--query --upgrades') grep ' 1-1$' "$here/installed" | sed 's/$/ -> 2-1/' | grep . ;;
  '--query --explicit') cat "$here/installed" ;;
  '--query --deps') ;;
  '--sync --list') printf 'core git 2-1\ncore vim 2-1\n'; cat "$here/fresh" 2>/dev/null || : ;;
  '--sync --groups --groups') echo 'editors vim' ;;
  '--sync --refresh') echo 'core new 1-1' >"$here/fresh" ;;
  *broken*) echo 'error: target not found: broken' >&2; exit 1 ;;
  *--remove*--print-format*) echo "$(last "$@")-2-1" ;;
  *--print-format*) echo "$(last "$@") 2-1" ;;
  *--sysupgrade*) sed -i 's/ 1-1$/ 2-1/' "$here/installed" ;;
  *--remove*) sed -i "/^$(last "$@") /d" "$here/installed" ;;
  *--sync*) sed -i "/^$(last "$@") /d" "$here/installed"; echo "$(last "$@") 2-1" >>"$here/installed" ;;
esac
"#;

    fn host(installed: &str) -> Programs {
        let host = Programs::new([("pacman", PACMAN)]);
        host.put("installed", installed);
        host
    }

    #[test]
    fn a_package_is_installed_brought_up_to_date_and_removed_once() {
        let host = host("vim 1-1\n");
        let add = r#"{"name": "git"}"#;
        let diff = r#""diff":{"before":"","after":"git-2-1\n"}"#;
        assert_eq!(
            host.predict(NAME, add),
            format!(
                r#"{{"changed":true,"msg":"Would have installed 1 packages","packages":["git"],{diff}}}"#
            )
        );
        assert_eq!(
            host.run(NAME, add),
            format!(
                r#"{{"changed":true,"msg":"Installed 1 package(s)","packages":["git"],{diff}}}"#
            )
        );
        assert_eq!(
            host.run(NAME, add),
            r#"{"changed":false,"msg":"package(s) already installed","packages":[]}"#
        );
        assert!(
            host.run(NAME, r#"{"name": "editors"}"#)
                .contains(r#""changed":false"#)
        );
        let latest = host.run(NAME, r#"{"name": "editors", "state": "latest"}"#);
        assert!(
            latest.contains(r#""before":"vim-1-1-explicit\n","after":"vim-2-1-explicit\n""#),
            "{latest}"
        );
        let absent = r#"{"name": "git", "state": "absent", "remove_nosave": true}"#;
        assert!(
            host.run(NAME, absent)
                .contains(r#""changed":true,"msg":"Removed 1 package(s)","packages":["git-2-1"]"#)
        );
        assert!(host.run(NAME, absent).contains("already absent"));
        let steps = host.undo_steps();
        assert_eq!(
            steps[0],
            "pacman --remove --noconfirm --nodeps --nodeps git"
        );
        assert!(steps[1].ends_with(" vim-1-1"), "{steps:?}");
        assert!(steps[2].ends_with(" git-2-1"), "{steps:?}");
        assert!(
            host.calls()
                .contains(&"pacman --remove --noconfirm --noprogressbar --nosave git".to_owned())
        );
    }

    #[test]
    fn databases_are_read_anew_and_the_system_is_brought_up_to_date() {
        let host = host("vim 1-1\n");
        let refresh = r#"{"update_cache": true}"#;
        let told = |changed: bool| {
            format!(
                r#"{{"changed":{changed},"msg":"Updated package db","cache_updated":{changed}}}"#
            )
        };
        assert_eq!(host.run(NAME, refresh), told(true));
        assert_eq!(host.run(NAME, refresh), told(false));
        let upgrade = r#"{"upgrade": true}"#;
        assert_eq!(
            host.run(NAME, upgrade),
            r#"{"changed":true,"msg":"System upgraded","packages":["vim"],"diff":{"before":"vim-1-1\n","after":"vim-2-1\n"}}"#
        );
        assert_eq!(
            host.run(NAME, upgrade),
            r#"{"changed":false,"msg":"Nothing to upgrade"}"#
        );
    }

    #[test]
    fn what_pacman_does_not_know_is_told() {
        let host = host("");
        let result = host.run(NAME, r#"{"name": "broken"}"#);
        assert!(
            result.starts_with(
                r#"{"failed":true,"changed":false,"msg":"Failed to list package broken","rc":1"#
            ),
            "{result}"
        );
        let result = host.run(NAME, r#"{"name": "broken", "state": "absent"}"#);
        assert!(result.contains("package(s) already absent"), "{result}");
        let result = host.run(NAME, r#"{"name": "git", "upgrade": true}"#);
        assert!(
            result.contains("parameters are mutually exclusive: name|upgrade"),
            "{result}"
        );
    }
}
