//! `git`: a working copy, or a bare repository, at a version of its remote.

mod repository;

use std::path::{Path, PathBuf};

use crate::machine::{Algorithm, Content, Machine, NewFile};
use crate::value::Value;

use super::tool;
use super::{Diff, Failure, ModuleResult, Outcome};
use repository::Repository;

crate::arguments! {
    /// Deploy software (or files) from git checkouts.
    pub(crate) struct GitArgs for "git" {
        /// Where the repository goes.
        dest: Option<PathBuf> {},
        /// Where it comes from.
        repo: String { required, aliases: ["name"] },
        /// A branch, a tag, a commit, or `HEAD`.
        version: String { default: "HEAD" },
        /// The remote's name.
        remote: String { default: "origin" },
        /// What else to fetch.
        refspec: Option<String> {},
        /// A repository on the target to take objects from.
        reference: Option<String> {},
        /// Discard local changes.
        force: bool { default: "no" },
        /// How many commits of history to fetch.
        depth: Option<i64> {},
        /// Clone what is not there.
        clone: bool { default: "yes" },
        /// Fetch what is new.
        update: bool { default: "yes" },
        /// Fail unless the version is signed.
        verify_commit: bool { default: "no" },
        /// The fingerprints of those who may sign.
        gpg_allowlist: Vec<String> { default: "", aliases: ["gpg_whitelist"] },
        /// Trust any host key.
        accept_hostkey: bool { default: "no" },
        /// Trust the key of a host that is not known yet.
        accept_newhostkey: bool { default: "no" },
        /// The private key to log in with.
        key_file: Option<PathBuf> {},
        /// Options for ssh.
        ssh_opts: Option<String> {},
        /// The git to run.
        executable: Option<PathBuf> {},
        /// Have no working copy.
        bare: bool { default: "no" },
        /// Bring submodules along.
        recursive: bool { default: "yes" },
        /// Fetch only the branch that leads to the version.
        single_branch: bool { default: "no" },
        /// Take submodules from the head of their branches.
        track_submodules: bool { default: "no" },
        /// The umask of new files, as octal text.
        umask: Option<Value> {},
        /// An archive to make of the version.
        archive: Option<PathBuf> {},
        /// What stands before each path of the archive.
        archive_prefix: Option<String> {},
        /// Where the repository itself goes, away from the working copy.
        separate_git_dir: Option<PathBuf> {},
    }
    mutually_exclusive [["separate_git_dir", "bare"], ["accept_hostkey", "accept_newhostkey"]]
    required_by [("archive_prefix", ["archive"])]
}

/// Clones or updates, and checks the version out.
pub(crate) fn run(machine: &mut Machine, args: GitArgs) -> ModuleResult {
    if args.dest.is_none() && args.clone {
        return Err(Failure::new(
            "the destination directory must be specified unless clone=no",
        ));
    }
    let mut repository = Repository::new(machine, &args)?;
    let mut outcome = repository.relocate()?;
    outcome = outcome.with("before", Value::Null);
    if !repository.exists()? {
        return if repository.machine.is_check() || !args.clone {
            let after = repository.remote_head(&repository.url.clone())?;
            let outcome = outcome.with_changed(true).with("after", after.as_str());
            Ok(with_diff(&mut repository, outcome, None, &after))
        } else {
            repository.clone_it()?;
            finish(repository, outcome, None, false)
        };
    }
    let before = repository.commit("HEAD")?;
    outcome = outcome.with("before", before.as_str());
    if !args.update {
        let outcome = outcome.with("after", before);
        return with_archive(repository, outcome);
    }
    let has_changes = repository.has_local_changes()?;
    if has_changes && !args.force {
        let msg = format!(
            "Local modifications exist in the destination: {} (force=no).",
            repository.shown()
        );
        return Err(Failure::new(msg).with_all(outcome.data));
    }
    if has_changes {
        repository.discard_changes()?;
        if !repository.machine.is_check() {
            outcome = outcome.with_changed(true).msg(format!(
                "Local modifications exist in the destination: {}",
                repository.shown()
            ));
        }
    }
    let is_moved = repository.set_remote_url()?;
    outcome = outcome.with("remote_url_changed", is_moved);
    if repository.machine.is_check() {
        let after = repository.remote_head(&args.remote)?;
        let changed = before != after || is_moved || has_changes;
        let outcome = outcome.with_changed(changed).with("after", after.as_str());
        return Ok(with_diff(&mut repository, outcome, Some(&before), &after));
    }
    repository.fetch()?;
    finish(repository, outcome, Some(&before), has_changes || is_moved)
}

/// Checks the version out, brings the submodules along, and says what changed.
fn finish(
    mut repository: Repository<'_>,
    mut outcome: Outcome,
    before: Option<&str>,
    has_changed: bool,
) -> ModuleResult {
    let args = repository.args;
    if !args.bare {
        repository.switch(before)?;
    }
    let mut changed = has_changed;
    if args.recursive && !args.bare && repository.submodules_differ()? {
        outcome = outcome.with("submodules_changed", true);
        repository.update_submodules()?;
        changed = true;
    }
    let after = repository.commit("HEAD")?;
    outcome = outcome.with("after", after.as_str());
    if changed || before != Some(&*after) {
        outcome = with_diff(&mut repository, outcome.with_changed(true), before, &after);
    }
    with_archive(repository, outcome)
}

fn with_diff(
    repository: &mut Repository<'_>,
    outcome: Outcome,
    before: Option<&str>,
    after: &str,
) -> Outcome {
    if !repository.machine.wants_diff() || before == Some(after) {
        return outcome;
    }
    let prepared = match before {
        None => format!(">> Newly checked out {after}"),
        Some(before) => repository.difference(before, after),
    };
    outcome.only_diff(Diff::default().with("prepared", prepared))
}

/// Makes the archive where one is wanted and what is there differs.
fn with_archive(mut repository: Repository<'_>, outcome: Outcome) -> ModuleResult {
    let Some(archive) = &repository.args.archive else {
        return Ok(outcome);
    };
    let archive = repository.machine.expand(archive);
    let format = match archive.extension().and_then(|extension| extension.to_str()) {
        Some("zip") => "zip",
        Some("gz") => "tar.gz",
        Some("tar") => "tar",
        Some("tgz") => "tgz",
        _ => {
            let msg = "Unable to get file extension from archive file name : ";
            return Err(Failure::new(format!("{msg}{}", archive.display())).with(
                "details",
                "Please specify archive as filename with extension. File extension can be one of \
                 ['tar', 'tar.gz', 'zip', 'tgz']",
            ));
        }
    };
    let directory = repository.machine.temporary_dir()?;
    let made = directory.path().join("archive");
    repository.archive(&made, format, &archive)?;
    let machine = repository.machine;
    let new = machine.digest(&made, Algorithm::Sha256)?;
    if machine.exists(&archive)? && machine.digest(&archive, Algorithm::Sha256)? == new {
        return Ok(outcome);
    }
    machine.write(&archive, Content::File(made), &NewFile::default())?;
    Ok(outcome.with_changed(true))
}

/// Returns the umask that the option asks for.
fn umask(args: &GitArgs) -> Result<Option<u32>, Failure> {
    match &args.umask {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => u32::from_str_radix(text.trim_start_matches("0o"), 8)
            .map(Some)
            .map_err(|_| Failure::new("umask must be an octal integer")),
        Some(_) => Err(Failure::new(
            "umask must be defined as a quoted octal integer",
        )),
    }
}

/// Returns the command that git is to log in with.
fn ssh_command(machine: &mut Machine, args: &GitArgs) -> String {
    let mut options = machine.variable("GIT_SSH_OPTS").unwrap_or_default();
    if let Some(given) = &args.ssh_opts {
        options += &format!(" {given}");
    }
    let mut add = |option: &str, known: &[&str]| {
        if !known.iter().any(|known| options.contains(known)) {
            options += &format!(" {option}");
        }
    };
    let strict = [
        "StrictHostKeyChecking=no",
        "StrictHostKeyChecking=accept-new",
    ];
    if args.accept_hostkey {
        add("-o StrictHostKeyChecking=no", &strict);
    }
    if args.accept_newhostkey {
        add("-o StrictHostKeyChecking=accept-new", &strict);
    }
    add("-o BatchMode=yes", &["BatchMode=yes"]);
    if let Some(key) = &args.key_file {
        let key = format!("-i {}", machine.expand(key).display());
        add(&key, &[&key]);
        add("-o IdentitiesOnly=yes", &["IdentitiesOnly=yes"]);
    }
    let program = machine
        .variable("GIT_SSH")
        .or_else(|| machine.variable("GIT_SSH_COMMAND"))
        .unwrap_or_else(|| "ssh".into());
    format!("{program} {}", options.trim_start())
}

fn program(machine: &mut Machine, args: &GitArgs) -> Result<String, Failure> {
    match &args.executable {
        Some(path) => Ok(machine.expand(path).display().to_string()),
        None => tool::required(machine, "git"),
    }
}

/// Tells whether two addresses lead to the same place.
fn is_same_address(one: &str, other: &str) -> bool {
    one == other
        || Path::new(one)
            .components()
            .eq(Path::new(other).components())
}

#[cfg(test)]
mod tests {
    use super::super::testing::Target;
    use crate::machine::Command;
    use crate::value::{Map, Value};

    fn git(target: &Target, script: &str) -> String {
        let text = format!(
            "cd {0} && export HOME={0} GIT_CONFIG_NOSYSTEM=1 GIT_AUTHOR_NAME=a GIT_AUTHOR_EMAIL=a@b \
             GIT_COMMITTER_NAME=a GIT_COMMITTER_EMAIL=a@b && {script}",
            target.path("").display()
        );
        let output = target.machine().query(&Command::shell(text)).unwrap();
        assert!(output.success(), "{}", output.stderr_text());
        output.stdout_text().trim().to_owned()
    }

    /// A remote with two commits, a tag on the first and a branch `side`.
    fn remote() -> Target {
        let target = Target::new();
        let home = target.path("").display().to_string();
        let target = target.env("HOME", &home).env("GIT_CONFIG_NOSYSTEM", "1");
        git(
            &target,
            "git init -q -b main up && cd up && echo 1 >f && git add f && git commit -qm 1 && \
             git tag v1 && git branch side && echo 2 >f && git commit -qam 2",
        );
        target
    }

    fn call(target: &Target, options: &str) -> Map {
        let given = format!(r#"{{"repo": "$ROOT/up", "dest": "$ROOT/co", {options}}}"#);
        target.result("git", &given)
    }

    fn said(result: &Map, name: &str) -> String {
        result.get(name).map(Value::to_string).unwrap_or_default()
    }

    #[test]
    fn a_repository_is_cloned_updated_and_left_alone() {
        let target = remote();
        let first = call(&target, r#""version": "main""#);
        assert_eq!(said(&first, "msg"), "");
        assert_eq!(
            (said(&first, "changed"), said(&first, "before")),
            ("True".into(), "None".into())
        );
        assert_eq!(target.read("co/f"), "2\n");
        assert_eq!(
            said(&call(&target, r#""version": "main""#), "changed"),
            "False"
        );
        git(&target, "cd up && echo 3 >f && git commit -qam 3");
        let update = call(&target, r#""version": "HEAD""#);
        assert_eq!(said(&update, "changed"), "True");
        assert_eq!(said(&update, "before"), said(&first, "after"));
        assert_eq!(
            said(&update, "after"),
            git(&target, "git -C up rev-parse HEAD")
        );
        assert_eq!(target.read("co/f"), "3\n");
    }

    #[test]
    fn tags_branches_and_commits_are_versions() {
        let target = remote();
        call(&target, r#""version": "v1""#);
        assert_eq!(target.read("co/f"), "1\n");
        call(&target, r#""version": "main""#);
        assert_eq!(target.read("co/f"), "2\n");
        call(&target, r#""version": "side""#);
        assert_eq!(
            git(&target, "git -C co rev-parse --abbrev-ref HEAD"),
            "side"
        );
        let commit = git(&target, "git -C up rev-parse main");
        call(&target, &format!(r#""version": "{commit}""#));
        assert_eq!(target.read("co/f"), "2\n");
        let missing = call(&target, r#""version": "nope""#);
        assert_eq!(said(&missing, "msg"), "Failed to checkout nope");
    }

    #[test]
    fn local_changes_are_kept_unless_force_says_otherwise() {
        let target = remote();
        call(&target, r#""version": "main""#);
        let target = target.file("co/f", "mine\n");
        let refused = call(&target, r#""version": "main""#);
        assert_eq!(
            said(&refused, "msg"),
            format!(
                "Local modifications exist in the destination: {} (force=no).",
                target.path("co").display()
            )
        );
        assert_eq!(target.read("co/f"), "mine\n");
        let forced = call(&target, r#""version": "main", "force": true"#);
        assert_eq!(said(&forced, "changed"), "True");
        assert_eq!(target.read("co/f"), "2\n");
    }

    #[test]
    fn a_shallow_clone_has_the_depth_and_an_archive_the_files() {
        let target = remote();
        let options = r#""version": "main", "depth": 1, "archive": "$ROOT/a.tar""#;
        assert_eq!(said(&call(&target, options), "changed"), "True");
        assert_eq!(git(&target, "git -C co rev-list --count HEAD"), "1");
        assert_eq!(git(&target, "tar tf a.tar"), "f");
        assert_eq!(said(&call(&target, options), "changed"), "False");
    }

    #[test]
    fn a_bare_repository_has_no_working_copy() {
        let target = remote();
        assert_eq!(said(&call(&target, r#""bare": true"#), "changed"), "True");
        assert!(target.path("co/HEAD").exists());
        assert_eq!(said(&call(&target, r#""bare": true"#), "changed"), "False");
    }

    #[test]
    fn what_git_says_is_told() {
        let target = Target::new();
        let result = call(&target, r#""version": "main""#);
        assert!(said(&result, "msg").contains("does not appear to be a git repository"));
    }
}
