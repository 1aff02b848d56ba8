//! `apt`: packages of Debian and its kin.
//!
//! Drives `apt-get`, `apt-cache` and `dpkg-query`; needs no Python bindings on the target. Every
//! change is simulated first: the simulation is check mode's answer, and says what undoes it.

mod packages;
mod plan;

use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::machine::{Command, Effect, Execution, Machine};
use crate::value::Value;

use super::{Diff, Failure, ModuleResult, Outcome};
use packages::{Database, Spec};
use plan::AptGet;

crate::arguments! {
    /// Manage apt packages.
    pub(crate) struct AptArgs for "apt" {
        /// What the packages should be.
        state: String {
            default: "present",
            choices: ["absent", "build-dep", "fixed", "latest", "present"],
        },
        /// Fetch the package lists first, unless they are fresher than `cache_valid_time`.
        update_cache: Option<bool> { aliases: ["update-cache"] },
        /// How often a failed fetch is tried.
        update_cache_retries: i64 { default: "5" },
        /// The longest wait between two tries, in seconds.
        update_cache_retry_max_delay: i64 { default: "12" },
        /// How many seconds old the package lists may be.
        cache_valid_time: i64 { default: "0" },
        /// Remove configuration files too.
        purge: bool { default: "no" },
        /// Packages: names, name=version, or patterns.
        package: Option<Vec<String>> { aliases: ["pkg", "name"] },
        /// A package file on the target, or its URL.
        deb: Option<PathBuf> {},
        /// The release packages come from.
        default_release: Option<String> { aliases: ["default-release"] },
        /// Whether recommended packages are installed; unset leaves it to the host.
        install_recommends: Option<bool> { aliases: ["install-recommends"] },
        /// Allow everything apt refuses by itself: unauthenticated, downgrade, held, essential.
        force: bool { default: "no" },
        /// Upgrade the whole host.
        upgrade: String { default: "no", choices: ["dist", "full", "no", "safe", "yes"] },
        /// Options for dpkg, comma-separated, without their dashes.
        dpkg_options: String { default: "force-confdef,force-confold" },
        /// Remove packages nothing needs any more.
        autoremove: bool { default: "no" },
        /// Remove package files that cannot be downloaded any more.
        autoclean: bool { default: "no" },
        /// Fail rather than remove a package.
        fail_on_autoremove: bool { default: "no" },
        /// The exit code of policy-rc.d while packages are installed: 101 starts no service.
        policy_rc_d: Option<i64> {},
        /// Only upgrade what is installed.
        only_upgrade: bool { default: "no" },
        /// Accepted as Ansible accepts it: apt-get is always used.
        force_apt_get: bool { default: "no" },
        /// Remove all downloaded package files.
        clean: bool { default: "no" },
        /// Allow packages that cannot be authenticated.
        allow_unauthenticated: bool { default: "no", aliases: ["allow-unauthenticated"] },
        /// Allow an older version.
        allow_downgrade: bool {
            default: "no",
            aliases: ["allow-downgrade", "allow_downgrades", "allow-downgrades"],
        },
        /// Allow changes to held packages.
        allow_change_held_packages: bool { default: "no" },
        /// How many seconds to wait for another package manager.
        lock_timeout: i64 { default: "60" },
        /// Accepted as Ansible accepts it: no bindings are needed here.
        auto_install_module_deps: bool { default: "yes" },
    }
    mutually_exclusive [["deb", "package", "upgrade"]]
}

/// Brings the packages into the wanted state.
pub(crate) fn run(machine: &mut Machine, args: AptArgs) -> ModuleResult {
    if machine.find_program("apt-get").is_none() {
        return Err(Failure::new(
            "Failed to find required executable \"apt-get\" in paths",
        ));
    }
    // Both are always met: apt-get is what is called, and no bindings are needed.
    let _: [bool; 2] = [args.force_apt_get, args.auto_install_module_deps];
    let packages = args.package.clone().unwrap_or_default();
    let has_more_work = !packages.is_empty() || args.upgrade != "no" || args.deb.is_some();
    if args.clean {
        let outcome = AptGet::new(machine, &args).clean("clean")?;
        if !has_more_work {
            return Ok(outcome);
        }
    }
    let cache = refresh(machine, &args)?;
    let wants_cache = args.update_cache == Some(true) || args.cache_valid_time > 0;
    let only_cache = wants_cache && !has_more_work;
    let outcome = if only_cache {
        Outcome::unchanged().with_changed(cache.updated)
    } else {
        work(machine, &args, &packages)?
    };
    // Only where packages are installed by name a result tells of the cache too.
    let installs = args.deb.is_none()
        && args.upgrade == "no"
        && args.state != "absent"
        && !packages.is_empty()
        && packages.iter().all(|package| package != "*");
    if !only_cache && !installs {
        return Ok(outcome);
    }
    Ok(outcome
        .with("cache_updated", cache.updated)
        .with("cache_update_time", cache.time))
}

fn work(machine: &mut Machine, args: &AptArgs, packages: &[String]) -> ModuleResult {
    let everything = packages.iter().any(|package| package == "*");
    let specs: Vec<Spec> = packages
        .iter()
        .map(|package| package.trim())
        .filter(|package| *package != "*")
        .map(Spec::parse)
        .collect::<Result<_, _>>()
        .map_err(Failure::new)?;
    if args.upgrade != "no" {
        return AptGet::new(machine, args).upgrade(&args.upgrade);
    }
    if let Some(deb) = &args.deb {
        return install_file(machine, args, deb);
    }
    if everything && args.state == "latest" {
        if !specs.is_empty() {
            return Err(Failure::new(
                "unable to install additional packages when upgrading all installed packages",
            ));
        }
        return AptGet::new(machine, args).upgrade("yes");
    }
    if specs.is_empty() && args.autoclean {
        return AptGet::new(machine, args).clean("autoclean");
    }
    if specs.is_empty() && args.autoremove {
        return AptGet::new(machine, args).autoremove();
    }
    match args.state.as_str() {
        "absent" => remove(machine, args, &specs),
        "build-dep" => {
            let names: Vec<_> = specs.iter().map(Spec::text).collect();
            AptGet::new(machine, args).build_dep(&names)
        }
        _ => install(machine, args, &specs),
    }
}

fn install(machine: &mut Machine, args: &AptArgs, specs: &[Spec]) -> ModuleResult {
    let mut database = Database::open(machine)?;
    let specs = Database::expand(machine, specs)?;
    database.look_up_candidates(machine, &specs, args.default_release.as_deref())?;
    let mut wanted = Vec::new();
    for spec in &specs {
        let installed = database.installed_version(spec);
        if installed.is_none() && args.only_upgrade {
            continue;
        }
        if database.is_satisfied(spec) && args.state != "latest" {
            continue;
        }
        match database.candidate(spec) {
            Some(candidate) if installed == Some(candidate.version.as_str()) => {}
            Some(candidate) => wanted.push(candidate.argument(spec)),
            // What is installed but in no list any more stays as it is.
            None if installed.is_some() && spec.version.is_none() => {}
            None if database.is_virtual(spec) => wanted.push(spec.name.clone()),
            None if database.is_known(spec) => {
                return Err(Failure::new(format!(
                    "no available installation candidate for {}",
                    spec.text()
                )));
            }
            None => {
                return Err(Failure::new(format!(
                    "No package matching '{}' is available",
                    spec.name
                )));
            }
        }
    }
    let names: Vec<_> = specs.iter().map(|spec| spec.name.clone()).collect();
    let outcome = if wanted.is_empty() && args.state != "fixed" {
        Outcome::unchanged()
    } else {
        AptGet::new(machine, args).install(&wanted)?
    };
    AptGet::new(machine, args).mark_manual(&names)?;
    Ok(outcome)
}

fn remove(machine: &mut Machine, args: &AptArgs, specs: &[Spec]) -> ModuleResult {
    let database = Database::open(machine)?;
    let specs = Database::expand(machine, specs)?;
    let wanted: Vec<_> = specs
        .iter()
        .filter(|spec| database.is_satisfied(spec) || (args.purge && database.has_left_files(spec)))
        .map(|spec| spec.name.clone())
        .collect();
    if wanted.is_empty() {
        return Ok(Outcome::unchanged());
    }
    AptGet::new(machine, args).remove(&wanted)
}

fn install_file(machine: &mut Machine, args: &AptArgs, deb: &Path) -> ModuleResult {
    if args.state != "present" {
        return Err(Failure::new("deb only supports state=present"));
    }
    let text = deb.to_string_lossy().into_owned();
    let fetched;
    let path = if text.contains("://") {
        fetched = plan::fetch(machine, &text)?;
        fetched.path().join("package.deb")
    } else {
        machine.expand(deb)
    };
    if !machine.exists(&path)? {
        let shown = path.display();
        return Err(Failure::new(format!(
            "Unable to install package: E:Could not open file {shown} - open (2: No such file or directory)"
        )));
    }
    let fields = plan::fields_of_file(machine, &path)?;
    let database = Database::open(machine)?;
    let spec = Spec::parse(&format!("{}={}", fields.name, fields.version)).map_err(Failure::new)?;
    if database.is_satisfied(&spec) {
        return Ok(Outcome::unchanged());
    }
    AptGet::new(machine, args).install(&[path.display().to_string()])
}

/// What became of the package lists.
struct Cache {
    updated: bool,
    /// Seconds since the epoch; 0 when they were never fetched.
    time: u64,
}

fn refresh(machine: &mut Machine, args: &AptArgs) -> Result<Cache, Failure> {
    let before = cache_time(machine)?;
    if args.update_cache == Some(false)
        || (args.update_cache.is_none() && args.cache_valid_time == 0)
    {
        return Ok(Cache {
            updated: false,
            time: before,
        });
    }
    let valid = Duration::from_secs(u64::try_from(args.cache_valid_time).unwrap_or(0));
    let is_fresh = args.cache_valid_time > 0
        && UNIX_EPOCH + Duration::from_secs(before) + valid >= SystemTime::now();
    if is_fresh {
        return Ok(Cache {
            updated: false,
            time: before,
        });
    }
    let ran = update(
        machine,
        args.update_cache_retries,
        args.update_cache_retry_max_delay,
    )?;
    let time = if ran { cache_time(machine)? } else { before };
    Ok(Cache {
        updated: !ran || time != before,
        time,
    })
}

/// Fetches the package lists; tells whether it did, which check mode does not.
pub(super) fn update(machine: &mut Machine, retries: i64, max_delay: i64) -> Result<bool, Failure> {
    let attempts = retries.max(1);
    let mut why = String::new();
    for attempt in 0..attempts {
        // Package lists are a cache: there is nothing to undo.
        let effect = Effect::Compensated {
            what: "apt-get update".into(),
            undo: Vec::new(),
        };
        let command = plan::quiet(Command::new(["apt-get", "-q", "update"]));
        let Execution::Done(output) = machine.execute(&command, effect)? else {
            return Ok(false);
        };
        // apt-get exits with 0 when only some lists could not be fetched.
        let err = output.stderr_text();
        if output.success() && !err.contains("Some index files failed to download") {
            return Ok(true);
        }
        err.trim().clone_into(&mut why);
        let delay = (1_i64 << attempt.min(20)).min(max_delay.max(0));
        if attempt + 1 < attempts {
            plan::wait(machine, delay)?;
        }
    }
    let why = if why.is_empty() {
        "unknown reason".into()
    } else {
        why
    };
    Err(Failure::new(format!(
        "Failed to update apt cache after {attempts} retries: {why}"
    )))
}

/// Returns when the package lists were fetched, in seconds since the epoch.
fn cache_time(machine: &Machine) -> Result<u64, Failure> {
    for path in [
        "/var/lib/apt/periodic/update-success-stamp",
        "/var/lib/apt/lists",
    ] {
        if let Some(found) = machine.metadata(Path::new(path))? {
            return Ok(u64::try_from(found.mtime.seconds).unwrap_or(0));
        }
    }
    Ok(0)
}

/// Returns the part of apt-get's output that Ansible shows as a diff.
fn diff_of(output: &str) -> Diff {
    let lines: Vec<_> = output.lines().collect();
    let start = lines
        .iter()
        .position(|line| line.starts_with("Reading state information..."))
        .map_or(0, |index| index + 1);
    let end = lines
        .iter()
        .position(|line| {
            line.starts_with(|c: char| c.is_ascii_digit()) && line.contains(" upgraded")
        })
        .map_or(lines.len(), |index| index + 1);
    let shown = lines.get(start..end).unwrap_or_default().join("\n");
    Diff::default().with("prepared", Value::from(shown))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::modules::fake::Programs;

    /// An apt that knows `tree` (not installed), `jq` (installed and old) and a virtual package.
    const APT_GET: &str = r#"
case "$*" in
  *"-s "*install*) cat <<'EOF'
Reading state information...
The following NEW packages will be installed:
  tree
1 upgraded, 1 newly installed, 0 to remove and 0 not upgraded.
Inst jq [1.5] (1.6 Debian:12 [amd64])
Inst tree (2.0 Debian:12 [amd64])
Conf tree (2.0 Debian:12 [amd64])
EOF
  ;;
  *"-s "*remove*) echo 'Remv jq [1.5]' ;;
  *broken*) echo 'E: dpkg was interrupted' >&2; exit 100 ;;
  *install*) echo done ;;
esac
"#;
    const APT_CACHE: &str = r#"
case $1 in
  policy)
    shift
    for name; do case $name in
      tree) printf 'tree:\n  Installed: (none)\n  Candidate: 2.0\n  Version table:\n     2.0 500\n' ;;
      jq) printf 'jq:\n  Installed: 1.5\n  Candidate: 1.6\n  Version table:\n     1.6 500\n *** 1.5 100\n' ;;
      virtual) printf 'virtual:\n  Installed: (none)\n  Candidate: (none)\n  Version table:\n' ;;
    esac; done ;;
  showpkg) [ "$2" = virtual ] && printf 'Package: virtual\nReverse Provides: \ntree 2.0 (= )\n' ;;
  pkgnames) printf 'tree\njq\n' ;;
esac
exit 0
"#;
    const DPKG_QUERY: &str = r"printf 'jq\tamd64\tinstall ok installed\t1.5\t\nmawk\tamd64\tinstall ok installed\t1.3\tawk\nold\tamd64\tdeinstall ok config-files\t1\t\n'";

    fn tools() -> Programs {
        Programs::new([
            ("apt-get", APT_GET),
            ("apt-cache", APT_CACHE),
            ("dpkg-query", DPKG_QUERY),
            ("apt-mark", "[ $1 = showauto ] && exit 0"),
        ])
    }

    fn call(programs: &Programs, json: &str) -> ModuleResult {
        let given: Value = serde_json::from_str(json).unwrap();
        run(
            &mut programs.machine(),
            AptArgs::parse(given.as_map().unwrap()).unwrap(),
        )
    }

    fn changing_calls(programs: &Programs) -> Vec<String> {
        let changes = |call: &String| call.starts_with("apt-get") && !call.contains(" -s ");
        programs.calls().into_iter().filter(changes).collect()
    }

    #[test]
    fn a_missing_package_is_installed_and_what_undoes_it_is_known() {
        let programs = tools();
        let outcome = call(&programs, r#"{"name":"tree"}"#).unwrap();
        assert!(outcome.changed);
        assert_eq!(outcome.data.get("stdout"), Some(&"done\n".into()));
        assert_eq!(
            changing_calls(&programs),
            [
                "apt-get -y -o Dpkg::Options::=--force-confdef -o Dpkg::Options::=--force-confold -o \
              DPkg::Lock::Timeout=60 install tree"
            ]
        );
        assert_eq!(
            programs.undo_steps(),
            ["apt-get -y -q --allow-downgrades --allow-change-held-packages install jq=1.5 tree-"]
        );
    }

    #[test]
    fn what_is_installed_or_provided_needs_nothing() {
        let programs = tools();
        let outcome = call(&programs, r#"{"name":["jq","awk","mawk=1.*"]}"#).unwrap();
        assert!(!outcome.changed);
        assert_eq!(changing_calls(&programs), Vec::<String>::new());
    }

    #[test]
    fn only_an_installation_tells_of_the_cache() {
        let programs = tools();
        for (json, tells) in [
            (r#"{"name":"jq"}"#, true),
            (r#"{"name":"jq","state":"absent"}"#, false),
            (r#"{"autoclean":true}"#, false),
            (r#"{"upgrade":"dist"}"#, false),
        ] {
            let outcome = call(&programs, json).unwrap();
            assert_eq!(outcome.data.contains_key("cache_updated"), tells, "{json}");
            let has_msg = outcome.data.contains_key("msg");
            assert_eq!(has_msg, json.contains("upgrade"), "{json}");
        }
    }

    #[test]
    fn latest_upgrades_what_has_a_newer_candidate() {
        let programs = tools();
        assert!(
            call(&programs, r#"{"name":"jq","state":"latest"}"#)
                .unwrap()
                .changed
        );
        assert!(changing_calls(&programs)[0].ends_with("install jq"));
    }

    #[test]
    fn an_absent_package_is_removed_once() {
        let programs = tools();
        assert!(
            call(&programs, r#"{"name":"jq","state":"absent"}"#)
                .unwrap()
                .changed
        );
        assert_eq!(
            programs.undo_steps(),
            ["apt-get -y -q --allow-downgrades --allow-change-held-packages install jq=1.5"]
        );
        assert!(
            !call(&programs, r#"{"name":"tree","state":"absent"}"#)
                .unwrap()
                .changed
        );
        assert!(
            !call(&programs, r#"{"name":"old","state":"absent"}"#)
                .unwrap()
                .changed
        );
        assert!(
            call(&programs, r#"{"name":"old","state":"absent","purge":true}"#)
                .unwrap()
                .changed
        );
    }

    #[test]
    fn unknown_and_virtual_packages_are_told_apart() {
        let programs = tools();
        assert_eq!(
            call(&programs, r#"{"name":"nope"}"#).unwrap_err().msg,
            "No package matching 'nope' is available"
        );
        assert!(call(&programs, r#"{"name":"virtual"}"#).unwrap().changed);
    }

    #[test]
    fn the_diff_is_what_apt_says_it_will_do() {
        assert_eq!(
            Value::from(diff_of(
                "a\nReading state information...\nNEW:\n  x\n0 upgraded, 1 newly\nz"
            )),
            Value::map([("prepared", "NEW:\n  x\n0 upgraded, 1 newly")])
        );
    }
}
