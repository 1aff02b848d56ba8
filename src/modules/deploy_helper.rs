//! `deploy_helper`: the directories and the link of a project that is deployed release by release.

use std::path::{Path, PathBuf};

use crate::arguments::FileAttributes;
use crate::machine::{Follow, Machine, Metadata};
use crate::value::{Map, Value};

use super::{Failure, ModuleResult, Outcome};

crate::arguments! {
    /// Manages some of the steps common in deploying projects.
    pub(crate) struct DeployHelperArgs for "community.general.deploy_helper" with file_attributes {
        /// The project's directory.
        path: PathBuf { required, aliases: ["dest"] },
        /// The release; without, a new one is named after the time.
        release: Option<String> {},
        /// Where releases are, below the project or absolute.
        releases_path: String { default: "releases" },
        /// Where shared things are; empty where nothing is shared.
        shared_path: String { default: "shared" },
        /// The link to the release that is in use.
        current_path: String { default: "current" },
        /// How many other releases are kept.
        keep_releases: i64 { default: "5" },
        /// Remove old and unfinished releases when one is finished.
        clean: bool { default: "true" },
        /// The file that says that a release is not finished.
        unfinished_filename: String { default: "DEPLOY_UNFINISHED" },
        /// What is to be done.
        state: String {
            default: "present",
            choices: ["present", "absent", "clean", "finalize", "query"],
        },
    }
    required_if [("state", "finalize", ["release"], false)]
}

/// Does the step that `state` names.
pub(crate) fn run(machine: &mut Machine, mut args: DeployHelperArgs) -> ModuleResult {
    for path in [
        &mut args.releases_path,
        &mut args.shared_path,
        &mut args.current_path,
    ] {
        if path.starts_with('~') || path.contains('$') {
            *path = machine.expand(Path::new(path)).display().to_string();
        }
    }
    if args.release.as_deref().is_none_or(str::is_empty)
        && matches!(args.state.as_str(), "present" | "query")
    {
        let now = jiff::ZonedDateTime::now().strftime("%Y%m%d%H%M%S");
        args.release = Some(now.to_string());
    }
    let project = machine.expand(&args.path);
    let mut helper = Helper {
        releases: project.join(&args.releases_path),
        current: project.join(&args.current_path),
        shared: Some(&args.shared_path)
            .filter(|path| !path.is_empty())
            .map(|path| project.join(path)),
        project,
        machine,
        args: &args,
        changed: false,
    };
    let facts = match args.state.as_str() {
        "query" => Some(helper.facts()?),
        "present" => {
            let facts = helper.facts()?;
            helper.prepare()?;
            Some(facts)
        }
        "finalize" => {
            helper.finish()?;
            None
        }
        "clean" => {
            helper.clean()?;
            None
        }
        _ => {
            let project = helper.project.clone();
            helper.remove_directory(&project)?;
            Some(Value::list::<Value>([]))
        }
    };
    let outcome = Outcome::unchanged()
        .with_changed(helper.changed)
        .with("state", args.state.as_str());
    Ok(match facts {
        Some(facts) => outcome.with("ansible_facts", Value::map([("deploy_helper", facts)])),
        None => outcome,
    })
}

struct Helper<'a> {
    machine: &'a mut Machine,
    args: &'a DeployHelperArgs,
    project: PathBuf,
    releases: PathBuf,
    shared: Option<PathBuf>,
    current: PathBuf,
    changed: bool,
}

impl Helper<'_> {
    fn facts(&mut self) -> Result<Value, Failure> {
        let text = |path: &Path| Value::from(path.display().to_string());
        let previous = match self.machine.symlink_metadata(&self.current)? {
            Some(_) => Some(self.machine.real_path(&self.current)?),
            None => None,
        };
        let name = previous.as_deref().and_then(Path::file_name);
        let release = self.args.release.as_deref();
        let facts = [
            ("project_path", text(&self.project)),
            ("current_path", text(&self.current)),
            ("releases_path", text(&self.releases)),
            (
                "shared_path",
                self.shared.as_deref().map_or(Value::Null, text),
            ),
            (
                "previous_release",
                name.map_or(Value::Null, |name| name.to_string_lossy().as_ref().into()),
            ),
            (
                "previous_release_path",
                previous.as_deref().map_or(Value::Null, text),
            ),
            ("new_release", release.map_or(Value::Null, Value::from)),
            (
                "new_release_path",
                release.map_or(Value::Null, |name| text(&self.releases.join(name))),
            ),
            (
                "unfinished_filename",
                self.args.unfinished_filename.as_str().into(),
            ),
        ];
        let facts: Map = facts
            .into_iter()
            .map(|(name, value)| (Value::from(name), value))
            .collect();
        Ok(facts.into())
    }

    /// Makes the directories.
    fn prepare(&mut self) -> Result<(), Failure> {
        let current = self.machine.symlink_metadata(&self.current)?;
        if current.is_some_and(|found| !found.is_link()) {
            return Err(Failure::new(format!(
                "{} exists but is not a symbolic link",
                self.current.display()
            )));
        }
        let directories = [
            Some(&self.project),
            Some(&self.releases),
            self.shared.as_ref(),
        ];
        for path in directories.into_iter().flatten() {
            if self.machine.symlink_metadata(path)?.is_none() {
                self.machine.create_dir_all(path, 0o777)?;
                self.changed = true;
            } else if !self.machine.is_dir(path)? {
                return Err(not_a_directory(path));
            }
            self.changed |= set_attributes(self.machine, path, &self.args.file)?;
        }
        Ok(())
    }

    /// Makes the release the current one.
    fn finish(&mut self) -> Result<(), Failure> {
        if self.args.keep_releases <= 0 {
            return Err(Failure::new("'keep_releases' should be at least 1"));
        }
        let name = self.args.release.as_deref().unwrap_or_default();
        let release = self.releases.join(name);
        let unfinished = release.join(&self.args.unfinished_filename);
        self.changed |= self.machine.remove(&unfinished)?;
        self.point_to(&release)?;
        if self.args.clean {
            self.clean()?;
        }
        Ok(())
    }

    fn point_to(&mut self, release: &Path) -> Result<(), Failure> {
        let found = self.machine.symlink_metadata(&self.current)?;
        if let Some(found) = found {
            if !found.is_link() {
                return Err(Failure::new(format!(
                    "{} exists but is not a symbolic link",
                    self.current.display()
                )));
            }
            if self.machine.real_path(&self.current)? == self.machine.real_path(release)? {
                return Ok(());
            }
            if self.machine.symlink_metadata(release)?.is_none() {
                return Err(Failure::new(format!(
                    "the symlink target {} doesn't exists",
                    release.display()
                )));
            }
        }
        self.machine.symlink(release, &self.current)?;
        self.changed = true;
        Ok(())
    }

    /// Removes unfinished releases, and all but the newest.
    fn clean(&mut self) -> Result<(), Failure> {
        if let Some(release) = &self.args.release {
            let name = format!("{release}.{}", self.args.unfinished_filename);
            self.changed |= self.machine.remove(&self.project.join(name))?;
        }
        let mut kept = Vec::new();
        for entry in self.machine.read_dir(&self.releases)? {
            let path = self.releases.join(&entry.name);
            let unfinished = path.join(&self.args.unfinished_filename);
            let unfinished = self.machine.metadata(&unfinished)?;
            if unfinished.is_some_and(|found| found.is_file()) {
                self.remove_directory(&path)?;
                continue;
            }
            let found = self.machine.metadata(&path)?.filter(Metadata::is_dir);
            let is_reserved = Some(&*entry.name.to_string_lossy()) == self.args.release.as_deref();
            if let Some(found) = found.filter(|_| !is_reserved) {
                kept.push((found.ctime, path));
            }
        }
        kept.sort_by_key(|(ctime, _)| std::cmp::Reverse(*ctime));
        let n_kept = usize::try_from(self.args.keep_releases).unwrap_or(0);
        for (_, path) in kept.iter().skip(n_kept) {
            self.remove_directory(path)?;
        }
        Ok(())
    }

    fn remove_directory(&mut self, path: &Path) -> Result<(), Failure> {
        if self.machine.symlink_metadata(path)?.is_none() {
            return Ok(());
        }
        if !self.machine.is_dir(path)? {
            return Err(not_a_directory(path));
        }
        self.changed |= self.machine.remove(path)?;
        Ok(())
    }
}

fn set_attributes(
    machine: &mut Machine,
    path: &Path,
    file: &FileAttributes,
) -> Result<bool, Failure> {
    let change = machine.apply_file_attributes(path, file, Follow::Yes)?;
    Ok(change.changed)
}

fn not_a_directory(path: &Path) -> Failure {
    Failure::new(format!("{} exists but is not a directory", path.display()))
}

#[cfg(test)]
mod tests {
    use crate::modules::testing::Target;

    const NAME: &str = "community.general.deploy_helper";

    fn run(target: &Target, more: &str) -> String {
        target.run(NAME, &format!(r#"{{"path": "$ROOT/app", {more}}}"#))
    }

    #[test]
    fn a_project_is_prepared_once_and_tells_its_paths() {
        let target = Target::new();
        let facts = r#""ansible_facts":{"deploy_helper":{"project_path":"$ROOT/app","current_path":"$ROOT/app/current","releases_path":"$ROOT/app/releases","shared_path":"$ROOT/app/shared","previous_release":null,"previous_release_path":null,"new_release":"1","new_release_path":"$ROOT/app/releases/1","unfinished_filename":"DEPLOY_UNFINISHED"}}"#;
        for changed in [true, false] {
            assert_eq!(
                run(&target, r#""release": "1""#),
                format!(r#"{{"changed":{changed},"state":"present",{facts}}}"#)
            );
        }
        assert!(target.path("app/releases").is_dir() && target.path("app/shared").is_dir());
        assert!(run(&target, r#""release": "1", "mode": "0750""#).contains(r#""changed":true"#));
        let query = run(&target, r#""state": "query", "shared_path": """#);
        assert!(query.contains(r#""shared_path":null"#), "{query}");
    }

    #[test]
    fn a_release_is_finished_once_and_old_ones_go() {
        let target = Target::new().directory("app/releases/0");
        let target = target
            .file("app/releases/1/DEPLOY_UNFINISHED", "")
            .file("app/releases/2/DEPLOY_UNFINISHED", "");
        let finish = r#""state": "finalize", "release": "1", "keep_releases": 1"#;
        assert_eq!(
            run(&target, finish),
            r#"{"changed":true,"state":"finalize"}"#
        );
        assert_eq!(
            run(&target, finish),
            r#"{"changed":false,"state":"finalize"}"#
        );
        let link = std::fs::read_link(target.path("app/current")).unwrap();
        assert_eq!(link, target.path("app/releases/1"));
        assert!(!target.path("app/releases/1/DEPLOY_UNFINISHED").exists());
        assert!(target.path("app/releases/0").exists() && !target.path("app/releases/2").exists());
        assert_eq!(
            run(&target, r#""state": "absent""#),
            r#"{"changed":true,"state":"absent","ansible_facts":{"deploy_helper":[]}}"#
        );
        assert!(run(&target, r#""state": "absent""#).starts_with(r#"{"changed":false,"#));
    }

    #[test]
    fn what_is_in_the_way_is_told() {
        let target = Target::new()
            .directory("app")
            .link("app/current", "$ROOT/elsewhere")
            .file("file/current", "");
        for (options, msg) in [
            (
                r#"{"path": "$ROOT/app", "state": "finalize", "release": "9", "clean": false}"#,
                "the symlink target $ROOT/app/releases/9 doesn't exists",
            ),
            (
                r#"{"path": "$ROOT/app", "state": "finalize"}"#,
                "state is finalize but all of the following are missing: release",
            ),
            (
                r#"{"path": "$ROOT/app", "state": "finalize", "release": "9", "keep_releases": 0}"#,
                "'keep_releases' should be at least 1",
            ),
            (
                r#"{"path": "$ROOT/file", "release": "1"}"#,
                "$ROOT/file/current exists but is not a symbolic link",
            ),
            (
                r#"{"path": "$ROOT/file/current", "state": "absent"}"#,
                "$ROOT/file/current exists but is not a directory",
            ),
        ] {
            let result = target.run(NAME, options);
            assert!(result.contains(&format!(r#""msg":"{msg}""#)), "{result}");
        }
    }
}
