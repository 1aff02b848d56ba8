//! `apk`: packages of Alpine Linux.
//!
//! In check mode apk simulates. An undo takes old versions from the repositories, and puts the
//! list of wanted packages back.

use std::path::Path;

use crate::machine::{Machine, Output};
use crate::transaction::journal::UndoStep;
use crate::value::{Value, repr};

use super::tool;
use super::{Failure, ModuleResult, Outcome};

crate::arguments! {
    /// Manages apk packages.
    pub(crate) struct ApkArgs for "community.general.apk" {
        /// Whether the packages should be there.
        state: String {
            default: "present", choices: ["present", "installed", "absent", "removed", "latest"],
        },
        /// The packages.
        name: Option<Vec<String>> {},
        /// Use no cache.
        no_cache: bool { default: "false" },
        /// Repositories to use instead of the system's.
        repository: Option<Vec<String>> {},
        /// Read the repositories anew.
        update_cache: bool { default: "false" },
        /// Bring all packages up to date.
        upgrade: bool { default: "false" },
        /// With `upgrade`: replace what no repository has any more.
        available: bool { default: "false" },
        /// The list of packages that are wanted for themselves.
        world: String { default: "/etc/apk/world" },
    }
    required_one_of [["name", "update_cache", "upgrade"]]
    mutually_exclusive [["name", "upgrade"]]
}

/// Brings packages into the wanted state.
pub(crate) fn run(machine: &mut Machine, args: ApkArgs) -> ModuleResult {
    let mut start = vec![tool::required(machine, "apk")?];
    let names = args.name.as_deref().unwrap_or_default();
    if names.iter().any(|name| name.trim().is_empty()) {
        return Err(Failure::new(
            "Package name(s) cannot be empty or whitespace-only",
        ));
    }
    if args.no_cache {
        start.push("--no-cache".into());
    }
    for repository in args.repository.iter().flatten() {
        start.extend(["--repository".into(), repository.clone()]);
        start.extend(["--repositories-file".into(), "/dev/null".into()]);
    }
    let mut apk = Apk {
        machine,
        args: &args,
        start,
    };
    if args.update_cache {
        let output = apk.act(&["update"], &[], Vec::new())?;
        refuse(output.as_ref(), "could not update package db")?;
        if names.is_empty() && !args.upgrade {
            let outcome = Outcome::changed().msg("updated repository indexes");
            return Ok(match output {
                Some(output) => said(outcome, &output),
                None => outcome,
            });
        }
    }
    match args.state.as_str() {
        _ if args.upgrade => apk.upgrade(),
        "absent" | "removed" => apk.remove(names),
        state => apk.install(names, state == "latest"),
    }
}

struct Apk<'a> {
    machine: &'a mut Machine,
    args: &'a ApkArgs,
    start: Vec<String>,
}

impl Apk<'_> {
    fn argv(&self, words: &[&str], names: &[String]) -> Vec<String> {
        let words = words.iter().map(|word| (*word).to_owned());
        let start = self.start.iter().cloned();
        start.chain(words).chain(names.iter().cloned()).collect()
    }

    fn ask(&mut self, words: &[&str]) -> Result<Output, Failure> {
        let argv = self.argv(words, &[]);
        tool::ask(self.machine, &argv)
    }

    fn act(
        &mut self,
        words: &[&str],
        names: &[String],
        undo: Vec<UndoStep>,
    ) -> Result<Option<Output>, Failure> {
        let argv = self.argv(words, names);
        tool::act_undone_by(self.machine, &argv, undo)
    }

    /// Has apk change packages, or simulate it; keeps the list of what is wanted.
    fn change(
        &mut self,
        words: &[&str],
        names: &[String],
        undo: Vec<UndoStep>,
    ) -> Result<Output, Failure> {
        let world = Path::new(&self.args.world);
        if self.machine.exists(world)? {
            self.machine.preserve(world)?;
        }
        if let Some(output) = self.act(words, names, undo)? {
            return Ok(output);
        }
        let words = [words, &["--simulate"]].concat();
        let argv = self.argv(&words, names);
        tool::ask(self.machine, &argv)
    }

    fn upgrade(&mut self) -> ModuleResult {
        let listed = self.ask(&["version", "-l", "<"])?.stdout_text();
        let undo = listed.lines().filter_map(old_version);
        let undo = undo.map(|old| tool::step(&self.argv(&["add", &old], &[])));
        let undo = undo.collect();
        let words: &[&str] = if self.args.available {
            &["upgrade", "--available"]
        } else {
            &["upgrade"]
        };
        let output = self.change(words, &[], undo)?;
        refuse(Some(&output), "failed to upgrade packages")?;
        let is_idle = output.stdout_text().starts_with("OK");
        let outcome = Outcome::unchanged().with_changed(!is_idle).msg(if is_idle {
            "packages already upgraded"
        } else {
            "upgraded packages"
        });
        Ok(told(outcome, &output))
    }

    fn install(&mut self, names: &[String], latest: bool) -> ModuleResult {
        let (mut new, mut old) = (Vec::new(), Vec::new());
        for name in names {
            if self.is_virtual(name)? {
                let needed = self.dependencies(name)?;
                for name in needed {
                    if latest && !self.is_latest(&name)? {
                        old.push(name);
                    }
                }
            } else if !self.is_wanted(name)? {
                new.push(name.clone());
            } else if latest && !self.is_latest(name)? {
                old.push(name.clone());
            }
        }
        if new.is_empty() && old.is_empty() {
            return Ok(Outcome::unchanged().msg("package(s) already installed"));
        }
        let mut undo = Vec::new();
        if !new.is_empty() {
            // What was there before for others' sake stays for their sake.
            undo.push(tool::step(&self.argv(&["del"], &new)));
        }
        for name in &old {
            let listed = self.ask(&["version", name])?.stdout_text();
            let versions = listed.lines().filter_map(old_version);
            undo.extend(versions.map(|old| tool::step(&self.argv(&["add", &old], &[]))));
        }
        let words: &[&str] = if old.is_empty() {
            &["add"]
        } else {
            &["add", "--upgrade"]
        };
        let all = [new, old].concat();
        let output = self.change(words, &all, undo)?;
        let shown = repr(&Value::list(all));
        refuse(Some(&output), &format!("failed to install {shown}"))?;
        let outcome = Outcome::changed().msg(format!("installed {shown} package(s)"));
        Ok(told(outcome, &output))
    }

    fn remove(&mut self, names: &[String]) -> ModuleResult {
        let mut there = Vec::new();
        for name in names {
            if self.is_installed(name)? {
                there.push(name.clone());
            }
        }
        if there.is_empty() {
            return Ok(Outcome::unchanged().msg("package(s) already removed"));
        }
        let undo = vec![tool::step(&self.argv(&["add"], &there))];
        let output = self.change(&["del", "--purge"], &there, undo)?;
        let shown = repr(&Value::list(there.clone()));
        let msg = format!("failed to remove {shown} package(s)");
        refuse(Some(&output), &msg)?;
        for name in &there {
            // Others may need it still.
            if !self.machine.is_check() && self.is_installed(name)? {
                return Err(failed(&output, &msg));
            }
        }
        let outcome = Outcome::changed().msg(format!("removed {shown} package(s)"));
        Ok(told(outcome, &output))
    }

    /// Tells whether the package is wanted for itself.
    fn is_wanted(&mut self, name: &str) -> Result<bool, Failure> {
        let world = self.machine.read(Path::new(&self.args.world))?;
        let world = String::from_utf8_lossy(&world);
        let mut words = world.split_whitespace();
        Ok(words.any(|word| {
            let rest = word.strip_prefix(name);
            rest.is_some_and(|rest| {
                rest.is_empty() || rest.len() > 1 && rest.starts_with(['@', '=', '<', '>', '~'])
            })
        }))
    }

    fn is_installed(&mut self, name: &str) -> Result<bool, Failure> {
        Ok(self.ask(&["-v", "info", "--installed", name])?.success())
    }

    fn is_latest(&mut self, name: &str) -> Result<bool, Failure> {
        let text = self.ask(&["version", name])?.stdout_text();
        let is_old = |line: &str| {
            let of_it = line
                .strip_prefix(name)
                .is_some_and(|it| it.starts_with('-'));
            of_it && line.split_whitespace().nth(1) == Some("<")
        };
        Ok(!text.lines().any(is_old))
    }

    fn is_virtual(&mut self, name: &str) -> Result<bool, Failure> {
        let output = self.ask(&["-v", "info", "--description", name])?;
        let start = format!("{name}: virtual meta package");
        Ok(output.stdout_text().starts_with(&start))
    }

    fn dependencies(&mut self, name: &str) -> Result<Vec<String>, Failure> {
        let text = self.ask(&["-v", "info", "--depends", name])?.stdout_text();
        let words = text.split_whitespace().skip(1);
        Ok(words.map(str::to_owned).collect())
    }
}

/// Reads `name-1.2-r0 < 1.3-r0` as the version that is there: `name=1.2-r0`.
fn old_version(line: &str) -> Option<String> {
    let mut words = line.split_whitespace();
    let (package, sign) = (words.next()?, words.next()?);
    if sign != "<" {
        return None;
    }
    let mut parts = package.rsplitn(3, '-');
    let (release, version, name) = (parts.next()?, parts.next()?, parts.next()?);
    Some(format!("{name}={version}-{release}"))
}

/// Lists the packages of lines such as `(1/2) Installing name (1.2-r0)`.
fn packages(text: &str) -> Value {
    let names = text.lines().filter_map(|line| {
        let mut words = line.split_whitespace();
        let count = words.next()?.strip_prefix('(')?.strip_suffix(')')?;
        let (at, of) = count.split_once('/')?;
        let is_number = |text: &str| !text.is_empty() && text.bytes().all(|it| it.is_ascii_digit());
        (is_number(at) && is_number(of)).then_some(())?;
        words.nth(1)
    });
    Value::list(names)
}

fn said(outcome: Outcome, output: &Output) -> Outcome {
    outcome
        .with("stdout", output.stdout_text())
        .with("stderr", output.stderr_text())
}

fn told(outcome: Outcome, output: &Output) -> Outcome {
    said(outcome, output).with("packages", packages(&output.stdout_text()))
}

fn failed(output: &Output, msg: &str) -> Failure {
    Failure::new(msg)
        .with("stdout", output.stdout_text())
        .with("stderr", output.stderr_text())
        .with("packages", packages(&output.stdout_text()))
}

fn refuse(output: Option<&Output>, msg: &str) -> Result<(), Failure> {
    match output {
        Some(output) if !output.success() => Err(failed(output, msg)),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::modules::fake::Programs;

    const NAME: &str = "community.general.apk";
    const APK: &str = r#"
last() { for word; do :; done; echo "$word"; }
case "$*" in
  '-v info --installed '*) grep -qx "$(last "$@")" "$here/world" ;;
  '-v info '*) ;;
  'version -l <'|'version jq') [ -e "$here/new" ] || echo 'jq-1.6-r2 < 1.7-r0' ;;
  version*) ;;
  *broken*) echo 'ERROR: unable to select packages' >&2; exit 1 ;;
  *--simulate*) echo "(1/1) Installing $(last "$@") (1.6-r2)" ;;
  'add --upgrade '*|upgrade) if [ -e "$here/new" ]; then echo 'OK: 9 MiB'
    else : >"$here/new"; echo '(1/1) Upgrading jq (1.6-r2 -> 1.7-r0)'; fi ;;
  'add '*) last "$@" >>"$here/world"; echo "(1/1) Installing $(last "$@") (1.6-r2)" ;;
  'del '*) sed -i "/^$(last "$@")$/d" "$here/world"; echo "(1/1) Purging $(last "$@") (1.6-r2)" ;;
  *update) echo 'OK: 20 distinct packages' ;;
esac
"#;

    fn host(world: &str) -> Programs {
        let host = Programs::new([("apk", APK)]);
        host.put("world", world);
        host
    }

    fn run(host: &Programs, options: &str) -> String {
        host.run(NAME, &format!(r#"{{"world": "$BIN/world", {options}}}"#))
    }

    #[test]
    fn a_package_is_installed_brought_up_to_date_and_removed_once() {
        let host = host("alpine-base\n");
        let add = r#""name": "jq""#;
        let changed = r#"{"changed":true,"msg":"installed ['jq'] package(s)","stdout":"(1/1) Installing jq (1.6-r2)\n","stderr":"","packages":["jq"],"stdout_lines":["(1/1) Installing jq (1.6-r2)"],"stderr_lines":[]}"#;
        let options = format!(r#"{{"world": "$BIN/world", {add}}}"#);
        assert!(host.predict(NAME, &options).contains(r#""changed":true"#));
        assert_eq!(run(&host, add), changed);
        assert_eq!(
            run(&host, add),
            r#"{"changed":false,"msg":"package(s) already installed"}"#
        );
        let latest = r#""name": "jq", "state": "latest""#;
        assert!(run(&host, latest).contains(r#""changed":true"#));
        assert!(run(&host, latest).contains(r#""changed":false"#));
        let absent = r#""name": ["jq", "git"], "state": "absent""#;
        assert!(run(&host, absent).contains("removed ['jq'] package(s)"));
        assert!(run(&host, absent).contains(r#""changed":false"#));
        assert_eq!(
            host.undo_steps(),
            ["apk del jq", "apk add jq=1.6-r2", "apk add jq"]
        );
    }

    #[test]
    fn indexes_are_read_anew_and_all_packages_are_brought_up_to_date() {
        let host = host("jq\n");
        let result = run(&host, r#""update_cache": true, "no_cache": true"#);
        assert!(
            result.starts_with(r#"{"changed":true,"msg":"updated repository indexes""#),
            "{result}"
        );
        assert!(run(&host, r#""upgrade": true"#).contains(r#""msg":"upgraded packages""#));
        assert!(run(&host, r#""upgrade": true"#).contains(r#""changed":false"#));
        assert_eq!(host.undo_steps(), ["apk add jq=1.6-r2"]);
    }

    #[test]
    fn what_apk_refuses_is_told() {
        let host = host("");
        let result = run(&host, r#""name": "broken""#);
        assert!(
            result.starts_with(
                r#"{"failed":true,"changed":false,"msg":"failed to install ['broken']","#
            ),
            "{result}"
        );
        let result = run(&host, r#""name": ["jq", " "]"#);
        assert!(
            result.contains("Package name(s) cannot be empty or whitespace-only"),
            "{result}"
        );
    }

    #[test]
    fn a_version_that_is_there_is_read() {
        assert_eq!(
            old_version("py3-six-1.16.0-r3 < 1.17.0-r0").as_deref(),
            Some("py3-six=1.16.0-r3")
        );
        assert_eq!(old_version("jq-1.7-r0 = 1.7-r0"), None);
    }
}
