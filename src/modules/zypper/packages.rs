//! `zypper`: packages of SUSE.
//!
//! What would be done is asked of zypper itself, with `--dry-run`: check mode tells it, and what
//! undoes it is taken from there.

use indexmap::IndexMap;

use super::xml::{Element, elements};
use crate::machine::{Machine, Output};
use crate::modules::{Diff, Failure, ModuleResult, Outcome, tool};
use crate::value::Value;

crate::arguments! {
    /// Manage packages on SUSE and openSUSE.
    pub(crate) struct ZypperArgs for "community.general.zypper" {
        /// Packages, perhaps with a version (`name>=1.0`), files or URLs; `*` is all.
        name: Vec<String> { required, aliases: ["pkg"] },
        /// Whether the packages should be there.
        state: String {
            default: "present",
            choices: ["present", "latest", "absent", "dist-upgrade", "installed", "removed"],
        },
        /// What sort of thing the names are of.
        r#type: String {
            default: "package",
            choices: ["package", "patch", "pattern", "product", "srcpackage", "application"],
        },
        /// Further words before zypper's command.
        extra_args_precommand: Option<String> {},
        /// Do not check signatures.
        disable_gpg_check: bool { default: "false" },
        /// Trust new keys of repositories.
        auto_import_keys: bool { default: "false" },
        /// Install nothing that is only recommended.
        disable_recommends: bool { default: "true" },
        /// Allow older versions and other vendors.
        force: bool { default: "false" },
        /// Let zypper choose where packages conflict.
        force_resolution: bool { default: "false" },
        /// Read the repositories anew first.
        update_cache: bool { default: "false", aliases: ["refresh"] },
        /// Allow older versions.
        oldpackage: bool { default: "false" },
        /// Further words behind zypper's command.
        extra_args: Option<String> {},
        /// Allow other vendors in a `dist-upgrade`.
        allow_vendor_change: bool { default: "false" },
        /// Replace files of other packages.
        replacefiles: bool { default: "false" },
        /// Remove what only the removed packages needed, too.
        clean_deps: bool { default: "false" },
        /// Tell only the messages of what zypper says.
        simple_errors: bool { default: "false" },
        /// Let zypper say little.
        quiet: bool { default: "true" },
        /// Scripts of packages may fail.
        skip_post_errors: bool { default: "false" },
    }
}

/// Brings packages into the wanted state.
pub(crate) fn run_packages(machine: &mut Machine, args: ZypperArgs) -> ModuleResult {
    let names: Vec<String> = args
        .name
        .iter()
        .filter(|it| !it.is_empty())
        .cloned()
        .collect();
    let start = start(machine, &args)?;
    let mut zypper = Zypper {
        machine,
        args: &args,
        start,
    };
    if args.update_cache {
        zypper.refresh()?;
    }
    let is_all = names == ["*"];
    let done = match args.state.as_str() {
        "latest" | "dist-upgrade" if is_all => zypper.update_all()?,
        "dist-upgrade" => return Err(Failure::new("Can not dist-upgrade specific packages.")),
        "absent" | "removed" => zypper.remove(&names)?,
        state => zypper.install(&names, state == "latest")?,
    };
    let told = |outcome: Outcome| {
        outcome
            .with("name", Value::list(names))
            .with("state", args.state.as_str())
            .with("update_cache", args.update_cache)
    };
    let wants_diff = zypper.machine.wants_diff();
    let with_diff = |outcome: Outcome, said: String| {
        if wants_diff {
            outcome.only_diff(Diff::default().with("prepared", said))
        } else {
            outcome
        }
    };
    let Some(done) = done else {
        let outcome = told(Outcome::unchanged()).with("rc", 0);
        return Ok(with_diff(outcome, String::new()));
    };
    if ![0, 102].contains(&done.status) {
        return Err(Failure::new("Zypper run failed.")
            .with("rc", done.status)
            .with("stdout", done.stdout)
            .with("stderr", done.stderr)
            .with("cmd", Value::list(done.argv)));
    }
    let changed = !done.packages.is_empty();
    let mut outcome = told(Outcome::unchanged().with_changed(changed))
        .with("rc", done.status)
        .with("cmd", Value::list(done.argv));
    if changed {
        outcome = outcome
            .with("stdout", done.stdout)
            .with("stderr", done.stderr);
    }
    Ok(with_diff(outcome, summary(&done.packages)))
}

/// A package, and what becomes of it.
#[derive(Debug, PartialEq)]
struct Package {
    version: String,
    old: String,
    group: String,
}

type Packages = IndexMap<String, Package>;

/// What zypper did, or would do.
struct Done {
    packages: Packages,
    status: i32,
    stdout: String,
    stderr: String,
    argv: Vec<String>,
}

/// A name that is asked for, with `+` or `-` and perhaps a version.
#[derive(Debug, PartialEq)]
struct Wanted {
    is_there: bool,
    name: String,
    version: String,
}

impl Wanted {
    fn read(text: &str, removes: bool) -> Self {
        let (is_there, text) = match text.split_at_checked(1) {
            Some(("-" | "~", name)) => (false, name),
            Some(("+", name)) => (true, name),
            _ => (!removes, text),
        };
        let is_version = |at: &usize| {
            let rest = &text[*at..];
            let number = rest
                .strip_prefix("<=")
                .or_else(|| rest.strip_prefix(">="))
                .unwrap_or(&rest[1..]);
            number
                .chars()
                .all(|it| it.is_ascii_digit() || ".-".contains(it))
        };
        let mut starts = text.match_indices(['<', '>', '=']).map(|(at, _)| at);
        let end = starts.find(is_version).unwrap_or(text.len());
        let (name, version) = text.split_at(end);
        Self {
            is_there,
            name: name.to_owned(),
            version: version.to_owned(),
        }
    }

    fn word(&self) -> String {
        let prefix = if self.is_there { '+' } else { '-' };
        format!("{prefix}{}{}", self.name, self.version)
    }
}

/// Returns the names, and the files and URLs.
fn wanted(names: &[String], removes: bool) -> (Vec<Wanted>, Vec<String>) {
    let (urls, names): (Vec<&String>, Vec<&String>) = names
        .iter()
        .partition(|name| name.contains("://") || name.ends_with(".rpm"));
    let wanted = names.iter().map(|name| Wanted::read(name, removes));
    (wanted.collect(), urls.into_iter().cloned().collect())
}

/// Returns the words that start any command of zypper.
fn start(machine: &mut Machine, args: &ZypperArgs) -> Result<Vec<String>, Failure> {
    let mut argv = Vec::new();
    if is_transactional(machine)? {
        let program = tool::required(machine, "transactional-update")?;
        argv.push(program);
        let words = ["--continue", "--drop-if-no-change", "--quiet", "run"];
        argv.extend(words.map(str::to_owned));
    }
    argv.push(tool::required(machine, "zypper")?);
    argv.extend(["--non-interactive", "--xmlout"].map(str::to_owned));
    argv.extend(args.quiet.then(|| "--quiet".to_owned()));
    let more = args.extra_args_precommand.iter();
    argv.extend(more.flat_map(|text| text.split_whitespace().map(str::to_owned)));
    Ok(argv)
}

/// Tells whether the root can only be changed through snapshots.
fn is_transactional(machine: &mut Machine) -> Result<bool, Failure> {
    if !machine.exists("/usr/sbin/transactional-update".as_ref())? {
        return Ok(false);
    }
    let mounts = machine.read("/proc/mounts".as_ref())?;
    let mounts = String::from_utf8_lossy(&mounts).into_owned();
    let root = mounts.lines().find_map(|line| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        (fields.get(1) == Some(&"/")).then(|| (fields[2].to_owned(), fields[3].to_owned()))
    });
    Ok(root.is_some_and(|(kind, options)| {
        kind == "btrfs" && options.split(',').any(|option| option == "ro")
    }))
}

struct Zypper<'a> {
    machine: &'a mut Machine,
    args: &'a ZypperArgs,
    start: Vec<String>,
}

impl Zypper<'_> {
    fn argv(&self, command: &str, is_dry: bool, older: bool) -> Vec<String> {
        let args = self.args;
        let installs = ["install", "update", "patch", "dist-upgrade"].contains(&command);
        let refreshes = command == "refresh";
        let mut argv = self.start.clone();
        let mut add = |is_meant: bool, word: &str| {
            if is_meant {
                argv.push(word.to_owned());
            }
        };
        add(
            (installs || refreshes) && args.disable_gpg_check,
            "--no-gpg-checks",
        );
        add(installs && args.auto_import_keys, "--gpg-auto-import-keys");
        add(command == "search", "--disable-repositories");
        add(true, command);
        if !["patch", "dist-upgrade", "refresh"].contains(&command) {
            add(true, "--type");
            add(true, &args.r#type);
        }
        add(is_dry, "--dry-run");
        add(installs, "--auto-agree-with-licenses");
        add(installs && args.disable_recommends, "--no-recommends");
        add(installs && args.force, "--force");
        add(installs && args.force_resolution, "--force-resolution");
        add(installs && (args.oldpackage || older), "--oldpackage");
        add(installs && args.replacefiles, "--replacefiles");
        add(command == "remove" && args.clean_deps, "--clean-deps");
        let is_upgrade = command == "dist-upgrade";
        add(
            is_upgrade && args.allow_vendor_change,
            "--allow-vendor-change",
        );
        if let Some(more) = &args.extra_args {
            more.split(' ').for_each(|word| add(true, word));
        }
        argv
    }

    fn refresh(&mut self) -> Result<(), Failure> {
        let argv = self.argv("refresh", false, false);
        if let Some(output) = tool::act_undone_by(self.machine, &argv, Vec::new())? {
            let done = self.read(&output, argv, Packages::new())?;
            if done.status != 0 {
                return Err(Failure::new("Zypper refresh run failed.")
                    .with("rc", done.status)
                    .with("stdout", done.stdout)
                    .with("stderr", done.stderr)
                    .with("cmd", Value::list(done.argv)));
            }
        }
        Ok(())
    }

    fn update_all(&mut self) -> Result<Option<Done>, Failure> {
        let command = match (self.args.r#type.as_str(), self.args.state.as_str()) {
            ("patch", _) => "patch",
            (_, "dist-upgrade") => "dist-upgrade",
            _ => "update",
        };
        self.change(command, &[], false).map(Some)
    }

    fn install(&mut self, names: &[String], latest: bool) -> Result<Option<Done>, Failure> {
        let (mut wanted, urls) = wanted(names, false);
        let older = wanted.iter().any(|one| !one.version.is_empty());
        if !latest {
            let plain: Vec<&Wanted> = wanted.iter().filter(|it| it.version.is_empty()).collect();
            let there = self.installed(&plain)?;
            wanted.retain(|one| {
                let is_there = one.version.is_empty() && there.contains_key(&one.name);
                one.is_there != is_there
            });
        }
        if wanted.is_empty() && urls.is_empty() {
            return Ok(None);
        }
        let mut words = vec!["--".to_owned()];
        words.extend(urls);
        words.extend(wanted.iter().map(Wanted::word));
        self.change("install", &words, older).map(Some)
    }

    fn remove(&mut self, names: &[String]) -> Result<Option<Done>, Failure> {
        let (mut wanted, urls) = wanted(names, true);
        let wrong = if wanted.iter().any(|one| one.is_there) {
            Some("Can not combine '+' prefix with state=remove/absent.")
        } else if !urls.is_empty() {
            Some("Can not remove via URL.")
        } else if self.args.r#type == "patch" {
            Some("Can not remove patches.")
        } else {
            None
        };
        if let Some(wrong) = wrong {
            return Err(Failure::new(wrong));
        }
        let there = self.installed(&wanted.iter().collect::<Vec<_>>())?;
        wanted.retain(|one| there.contains_key(&one.name));
        if wanted.is_empty() {
            return Ok(None);
        }
        let words = wanted
            .iter()
            .map(|one| format!("{}{}", one.name, one.version));
        let words: Vec<String> = words.collect();
        self.change("remove", &words, false).map(Some)
    }

    fn installed(&mut self, wanted: &[&Wanted]) -> Result<Packages, Failure> {
        if wanted.is_empty() {
            return Ok(Packages::new());
        }
        let mut argv = self.argv("search", false, false);
        argv.extend(["--match-exact", "--details", "--installed-only"].map(str::to_owned));
        argv.extend(wanted.iter().map(|one| one.name.clone()));
        let output = tool::ask(self.machine, &argv)?;
        // Nothing is found.
        if output.status == 104 {
            return Ok(Packages::new());
        }
        Ok(self.read(&output, argv, Packages::new())?.packages)
    }

    /// Has zypper change packages, or tell what it would.
    fn change(&mut self, command: &str, words: &[String], older: bool) -> Result<Done, Failure> {
        let with_words = |mut argv: Vec<String>| {
            argv.extend_from_slice(words);
            argv
        };
        let dry = with_words(self.argv(command, true, older));
        let output = tool::ask(self.machine, &dry)?;
        let foreseen = self.read(&output, dry, Packages::new())?;
        let argv = with_words(self.argv(command, false, older));
        let undo = self.undo(&foreseen.packages);
        let undo = undo.map(|argv| tool::step(&argv));
        let undo: Vec<_> = undo.into_iter().collect();
        let output = tool::act_undone_by(self.machine, &argv, undo)?;
        let Some(output) = output else {
            return Ok(foreseen);
        };
        let done = self.read(&output, argv.clone(), Packages::new())?;
        // Zypper itself was updated and goes on when it is called again.
        let goes_on = done.status == 103 || done.status == 107 && self.args.skip_post_errors;
        if !goes_on {
            return Ok(done);
        }
        match tool::act_undone_by(self.machine, &argv, Vec::new())? {
            Some(output) => self.read(&output, argv, done.packages),
            None => Ok(done),
        }
    }

    /// Returns the command that brings the packages back that something is done to.
    fn undo(&self, packages: &Packages) -> Option<Vec<String>> {
        let words = packages.iter().filter_map(|(name, package)| {
            let Package { version, old, .. } = package;
            match package.group.as_str() {
                "to-install" => Some(format!("-{name}")),
                "to-remove" => Some(format!("+{name}={version}")),
                group if group.starts_with("to-") && !old.is_empty() => {
                    Some(format!("+{name}={old}"))
                }
                _ => None,
            }
        });
        let words: Vec<String> = words.collect();
        if words.is_empty() {
            return None;
        }
        let end = self.start.iter().position(|word| word == "--xmlout");
        let mut argv = self.start[..end.unwrap_or(self.start.len())].to_vec();
        let more = [
            "install",
            "--oldpackage",
            "--no-recommends",
            "--force-resolution",
            "--",
        ];
        argv.extend(more.map(str::to_owned));
        argv.extend(words);
        Some(argv)
    }

    /// Reads what zypper said, and adds it to what it said before.
    fn read(
        &self,
        output: &Output,
        argv: Vec<String>,
        mut packages: Packages,
    ) -> Result<Done, Failure> {
        let stdout = output.stdout_text();
        let failed = |msg: String, stdout: String| {
            Failure::new(msg)
                .with("rc", output.status)
                .with("stdout", stdout)
                .with("stderr", output.stderr_text())
                .with("cmd", Value::list(argv.clone()))
        };
        let all = elements(&stdout).map_err(|why| {
            let msg = format!("Failed to parse zypper xml output: {why}");
            failed(msg, stdout.clone())
        })?;
        let messages = all.iter().filter(|element| element.name == "message");
        let messages: Vec<&str> = messages.map(|element| element.text.as_str()).collect();
        if output.status == 104 {
            let last = messages.last().copied().unwrap_or_default().to_owned();
            return Err(failed(last, stdout));
        }
        let told = if self.args.simple_errors && !messages.is_empty() {
            messages.join(" \n")
        } else {
            stdout.clone()
        };
        if ![0, 102, 103, 106, 107].contains(&output.status) {
            let msg = format!(
                "Zypper run command failed with return code {}.",
                output.status
            );
            return Err(failed(msg, told));
        }
        for element in all.iter().filter(|element| element.name == "solvable") {
            packages.insert(element.attribute("name").to_owned(), solvable(element));
        }
        Ok(Done {
            packages,
            status: output.status,
            stdout: told,
            stderr: output.stderr_text(),
            argv,
        })
    }
}

fn solvable(element: &Element) -> Package {
    Package {
        version: element.attribute("edition").to_owned(),
        old: element.attribute("edition-old").to_owned(),
        group: element.parent.clone(),
    }
}

/// Returns what a diff shows.
fn summary(packages: &Packages) -> String {
    let of = |group: &str| {
        let packages = packages.iter().filter(|(_, it)| it.group == group);
        packages.collect::<Vec<_>>()
    };
    let names = |group: &str| {
        let names = of(group).into_iter().map(|(name, _)| name.clone());
        names.collect::<Vec<_>>().join(", ")
    };
    let upgraded = of("to-upgrade")
        .into_iter()
        .map(|(name, it)| format!("{name} ({} => {})", it.old, it.version));
    let upgraded = upgraded.collect::<Vec<_>>().join(", ");
    let mut text = String::new();
    for (what, list) in [
        ("installed", names("to-install")),
        ("removed", names("to-remove")),
        ("upgraded", upgraded),
    ] {
        if !list.is_empty() {
            text += &format!("{what}: {list}\n");
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::modules::fake::Programs;

    const NAME: &str = "community.general.zypper";
    /// A zypper that keeps whether `nginx` is there, which `openssl` is updated with.
    const ZYPPER: &str = r#"
there="$here/there"
list() { echo "<stream><install-summary><$1><solvable type=\"package\" name=\"nginx\" edition=\"1.2-1\"/></$1>$2</install-summary></stream>"; }
case " $* " in
  *' broken '*|*'+broken '*) echo '<stream><message type="error">No provider of &apos;broken&apos; found.</message></stream>'; exit 104 ;;
  *+locked*) echo '<stream><message>System management is locked</message></stream>'; exit 7 ;;
  *+garbage*) echo garbage ;;
  *' search '*) if [ -e "$there" ]; then echo '<stream><search-result><solvable-list><solvable status="installed" name="nginx" edition="1.2-1"/></solvable-list></search-result></stream>'
     else echo '<stream/>'; exit 104; fi ;;
  *' install '*) list to-install '<to-upgrade><solvable name="openssl" edition="3.1-1" edition-old="3.0-1"/></to-upgrade>'
     case "$*" in *--dry-run*) ;; *) : >"$there" ;; esac ;;
  *' remove '*) list to-remove ''; case "$*" in *--dry-run*) ;; *) rm "$there" ;; esac ;;
  *' update '*) echo '<stream/>' ;;
  *' refresh '*) echo '<stream><message>done</message></stream>' ;;
esac
"#;

    fn host() -> Programs {
        Programs::new([("zypper", ZYPPER)])
    }

    fn changes(host: &Programs) -> Vec<String> {
        let calls = host.calls().into_iter();
        calls
            .filter(|call| !call.contains(" search ") && !call.contains("--dry-run"))
            .map(|call| call.replace("zypper --non-interactive --xmlout --quiet ", ""))
            .collect()
    }

    #[test]
    fn a_package_is_installed_once_and_removed_once() {
        let host = host();
        let options = r#"{"name": "nginx", "state": "present"}"#;
        let diff =
            r#""diff":{"prepared":"installed: nginx\nupgraded: openssl (3.0-1 => 3.1-1)\n"}"#;
        let predicted = host.predict(NAME, options);
        assert!(predicted.starts_with(r#"{"changed":true,"name":["nginx"],"state":"present","update_cache":false,"rc":0,"cmd":["#), "{predicted}");
        assert!(predicted.contains(diff), "{predicted}");
        assert_eq!(changes(&host), Vec::<String>::new());
        let done = host.run(NAME, options);
        assert!(
            done.starts_with(r#"{"changed":true,"#) && done.contains(diff),
            "{done}"
        );
        assert_eq!(
            host.run(NAME, options),
            r#"{"changed":false,"name":["nginx"],"state":"present","update_cache":false,"rc":0,"diff":{"prepared":""}}"#
        );
        let absent = r#"{"name": "nginx", "state": "absent", "clean_deps": true}"#;
        assert!(host.run(NAME, absent).starts_with(r#"{"changed":true,"#));
        assert!(host.run(NAME, absent).starts_with(r#"{"changed":false,"#));
        assert_eq!(
            changes(&host),
            [
                "install --type package --auto-agree-with-licenses --no-recommends -- +nginx",
                "remove --type package --clean-deps nginx",
            ]
        );
        let undo =
            "zypper --non-interactive install --oldpackage --no-recommends --force-resolution -- ";
        assert_eq!(
            host.undo_steps(),
            [
                format!("{undo}-nginx +openssl=3.0-1"),
                format!("{undo}+nginx=1.2-1")
            ]
        );
    }

    #[test]
    fn versions_and_prefixes_go_to_zypper() {
        let host = host();
        let options = r#"{"name": ["nginx>=1.0", "-exim", "http://h/a.rpm"], "force": true, "extra_args": "-y -v", "disable_gpg_check": true, "update_cache": true}"#;
        assert!(host.run(NAME, options).starts_with(r#"{"changed":true,"#));
        assert_eq!(
            changes(&host),
            [
                "--no-gpg-checks refresh -y -v",
                "--no-gpg-checks install --type package --auto-agree-with-licenses --no-recommends --force --oldpackage -y -v -- http://h/a.rpm +nginx>=1.0"
            ]
        );
        let all = host.run(NAME, r#"{"name": "*", "state": "latest"}"#);
        assert!(all.starts_with(r#"{"changed":false,"#), "{all}");
        let read = |text| Wanted::read(text, false).word();
        assert_eq!(read("~a"), "-a");
        assert_eq!(read("a=b=1.0"), "+a=b=1.0");
        assert_eq!(Wanted::read("a=b=1.0", false).version, "=1.0");
        assert_eq!(Wanted::read("a<2", true).word(), "-a<2");
    }

    #[test]
    fn what_zypper_refuses_is_told() {
        let host = host();
        for (options, start) in [
            (
                r#"{"name": "broken"}"#,
                r#"{"failed":true,"changed":false,"msg":"No provider of 'broken' found.","rc":104,"#,
            ),
            (
                r#"{"name": "locked", "simple_errors": true}"#,
                r#"{"failed":true,"changed":false,"msg":"Zypper run command failed with return code 7.","rc":7,"stdout":"System management is locked","#,
            ),
            (
                r#"{"name": "garbage"}"#,
                r#"{"failed":true,"changed":false,"msg":"Failed to parse zypper xml output: no element found","rc":0,"#,
            ),
            (
                r#"{"name": "a", "state": "dist-upgrade"}"#,
                r#"{"failed":true,"changed":false,"msg":"Can not dist-upgrade specific packages."}"#,
            ),
            (
                r#"{"name": "+a", "state": "absent"}"#,
                r#"{"failed":true,"changed":false,"msg":"Can not combine '+' prefix with state=remove/absent."}"#,
            ),
            (
                r#"{"name": "a.rpm", "state": "absent"}"#,
                r#"{"failed":true,"changed":false,"msg":"Can not remove via URL."}"#,
            ),
            (
                "{}",
                r#"{"failed":true,"changed":false,"msg":"missing required arguments: name"}"#,
            ),
        ] {
            let result = host.run(NAME, options);
            assert!(result.starts_with(start), "{options}: {result}");
        }
        assert_eq!(changes(&host), Vec::<String>::new());
    }
}
