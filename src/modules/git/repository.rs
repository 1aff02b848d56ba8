//! One repository on the target, spoken to through the `git` program.

use std::path::{Path, PathBuf};

use crate::machine::{Command, Content, Effect, Machine, NewFile, Output};
use crate::transaction::journal::UndoStep;

use super::{Failure, GitArgs, Outcome, is_same_address, program, ssh_command, tool, umask};

/// The repository of the module's options.
pub(super) struct Repository<'a> {
    pub(super) machine: &'a mut Machine,
    pub(super) args: &'a GitArgs,
    /// Where it comes from; a path has its protocol, without which git ignores a depth.
    pub(super) url: String,
    git: String,
    ssh: String,
    umask: Option<u32>,
    dest: Option<PathBuf>,
    separate: Option<PathBuf>,
}

impl<'a> Repository<'a> {
    pub(super) fn new(machine: &'a mut Machine, args: &'a GitArgs) -> Result<Self, Failure> {
        let umask = umask(args)?;
        let expanded = if args.repo.starts_with('~') {
            machine.expand(Path::new(&args.repo)).display().to_string()
        } else {
            args.repo.clone()
        };
        let url = if expanded.starts_with('/') {
            format!("file://{expanded}")
        } else {
            expanded
        };
        Ok(Self {
            git: program(machine, args)?,
            ssh: ssh_command(machine, args),
            dest: args.dest.as_ref().map(|dest| machine.expand(dest)),
            separate: args
                .separate_git_dir
                .as_ref()
                .map(|dir| machine.expand(dir)),
            machine,
            args,
            url,
            umask,
        })
    }

    pub(super) fn shown(&self) -> String {
        let dest = self.dest.as_deref().unwrap_or(Path::new(""));
        dest.display().to_string()
    }

    fn command(&self, words: &[&str]) -> Command {
        let argv: Vec<_> = std::iter::once(self.git.as_str())
            .chain(words.iter().copied())
            .collect();
        let mut command = tool::command(&argv)
            .env("GIT_SSH_COMMAND", &self.ssh)
            // Nobody is there to answer.
            .env("GIT_TERMINAL_PROMPT", "0");
        if let Some(dest) = self.dest.as_ref().filter(|dest| dest.is_dir()) {
            command = command.directory(dest);
        }
        match self.umask {
            Some(umask) => command.umask(umask),
            None => command,
        }
    }

    fn ask(&mut self, words: &[&str]) -> Result<Output, Failure> {
        let command = self.command(words);
        Ok(self.machine.query(&command)?)
    }

    /// Asks for what cannot fail.
    fn answer(&mut self, words: &[&str]) -> Result<String, Failure> {
        let output = self.ask(words)?;
        tool::check(Some(&output), |output| {
            output.stderr_text().trim_end().to_owned()
        })?;
        Ok(output.stdout_text())
    }

    fn act(&mut self, words: &[&str], undo: Vec<UndoStep>) -> Result<Option<Output>, Failure> {
        let command = self.command(words);
        let what = command.words().join(" ");
        let effect = Effect::Compensated { what, undo };
        Ok(self.machine.execute(&command, effect)?.output())
    }

    /// Runs what cannot fail; only objects and references of remotes change.
    fn act_harmlessly(&mut self, words: &[&str], msg: &str) -> Result<(), Failure> {
        let output = self.act(words, Vec::new())?;
        tool::check(output.as_ref(), |output| {
            format!("{msg}: {} {}", output.stdout_text(), output.stderr_text())
        })
    }

    /// Returns a step that runs git in the working copy.
    fn step(&self, words: &[&str]) -> UndoStep {
        let dest = self.shown();
        let start = [self.git.as_str(), "-C", &dest];
        tool::step(
            &start
                .into_iter()
                .chain(words.iter().copied())
                .collect::<Vec<_>>(),
        )
    }

    /// Returns where the repository itself is.
    fn git_dir(&mut self) -> Result<PathBuf, Failure> {
        let dest = self.dest.clone().unwrap_or_default();
        if self.args.bare {
            return Ok(dest);
        }
        let dot_git = dest.join(".git");
        let is_file = self
            .machine
            .metadata(&dot_git)?
            .is_some_and(|found| found.is_file());
        if !is_file {
            return Ok(dot_git);
        }
        let bytes = self.machine.read(&dot_git)?;
        let text = String::from_utf8_lossy(&bytes).into_owned();
        let path = text
            .trim_end()
            .strip_prefix("gitdir: ")
            .map(|path| dest.join(path));
        match path {
            Some(path) if self.machine.is_dir(&path)? => Ok(path),
            _ => Err(Failure::new(
                "Current repo does not have a valid reference to a separate Git dir or it refers \
                 to the invalid path",
            )),
        }
    }

    pub(super) fn exists(&mut self) -> Result<bool, Failure> {
        if self.dest.is_none() {
            return Ok(false);
        }
        let config = self.git_dir()?.join("config");
        Ok(self.machine.exists(&config)?)
    }

    /// Moves the repository to where `separate_git_dir` says.
    pub(super) fn relocate(&mut self) -> Result<Outcome, Failure> {
        let outcome = Outcome::unchanged();
        let (Some(separate), Some(dest)) = (self.separate.clone(), self.dest.clone()) else {
            return Ok(outcome);
        };
        let old = self.git_dir()?;
        if old == separate || !self.machine.exists(&old)? {
            return Ok(outcome);
        }
        if self.machine.exists(&separate)? {
            return Err(Failure::new(format!(
                "Separate-git-dir path {} already exists.",
                separate.display()
            )));
        }
        self.machine.rename(&old, &separate)?;
        let text = format!("gitdir: {}", separate.display());
        let new = NewFile::default();
        self.machine
            .write(&dest.join(".git"), Content::Bytes(text.into_bytes()), &new)?;
        Ok(outcome
            .with_changed(true)
            .with("git_dir_before", old.display().to_string())
            .with("git_dir_now", separate.display().to_string()))
    }

    /// Returns the commit that a name stands for.
    pub(super) fn commit(&mut self, name: &str) -> Result<String, Failure> {
        let output = self.ask(&["rev-parse", name])?;
        Ok(output.stdout_text().trim_end_matches('\n').to_owned())
    }

    pub(super) fn has_local_changes(&mut self) -> Result<bool, Failure> {
        if self.args.bare {
            return Ok(false);
        }
        let status = self.ask(&["status", "--porcelain"])?.stdout_text();
        Ok(status.lines().any(|line| !line.starts_with("??")))
    }

    /// Discards local changes; a stash that no name leads to keeps them for an undo.
    pub(super) fn discard_changes(&mut self) -> Result<(), Failure> {
        let kept = self.act(&["stash", "create"], Vec::new())?;
        let kept = kept.map(|output| output.stdout_text().trim().to_owned());
        let undo = kept
            .filter(|stash| !stash.is_empty())
            .map(|stash| self.step(&["stash", "apply", &stash]));
        let output = self.act(&["reset", "--hard", "HEAD"], undo.into_iter().collect())?;
        tool::check(output.as_ref(), Output::stderr_text)
    }

    fn lists(&mut self, remote: &str, kind: &str, name: &str) -> Result<String, Failure> {
        self.answer(&["ls-remote", remote, kind, name])
    }

    fn is_remote_branch(&mut self, remote: &str, version: &str) -> Result<bool, Failure> {
        let listed = self.lists(remote, "-h", &format!("refs/heads/{version}"))?;
        Ok(listed.contains(version))
    }

    fn is_remote_tag(&mut self, remote: &str, version: &str) -> Result<bool, Failure> {
        let listed = self.lists(remote, "-t", &format!("refs/tags/{version}"))?;
        Ok(listed.contains(version))
    }

    fn is_local_branch(&mut self, branch: &str) -> Result<bool, Failure> {
        let name = format!("refs/heads/{branch}");
        Ok(self
            .ask(&["show-ref", "--verify", "--quiet", &name])?
            .success())
    }

    /// Returns the branch that is checked out, else that of the remote's head.
    fn head_branch(&mut self) -> Result<String, Failure> {
        let own = self.ask(&["symbolic-ref", "-q", "HEAD"])?;
        if own.success() {
            let name = own.stdout_text();
            return Ok(name.trim().trim_start_matches("refs/heads/").to_owned());
        }
        let start = format!("refs/remotes/{}/", self.args.remote);
        let name = self.answer(&["symbolic-ref", "-q", &format!("{start}HEAD")])?;
        Ok(name.trim().trim_start_matches(&start).to_owned())
    }

    /// Returns the commit that the version is on the remote, an address or a remote's name.
    pub(super) fn remote_head(&mut self, remote: &str) -> Result<String, Failure> {
        let version = self.args.version.clone();
        let listed = if version == "HEAD" {
            let name = if remote == self.url {
                "HEAD".to_owned()
            } else {
                format!("refs/heads/{}", self.head_branch()?)
            };
            // Only a branch is a head for `-h`.
            if remote == self.url {
                self.answer(&["ls-remote", remote, &name])?
            } else {
                self.lists(remote, "-h", &name)?
            }
        } else if self.is_remote_branch(remote, &version)? {
            self.lists(remote, "-h", &format!("refs/heads/{version}"))?
        } else if self.is_remote_tag(remote, &version)? {
            self.lists(remote, "-t", &format!("refs/tags/{version}*"))?
        } else {
            // A commit, which nobody can ask a remote for.
            return Ok(version);
        };
        let peeled = format!("refs/tags/{version}^{{}}");
        let line = listed
            .lines()
            .find(|line| line.ends_with(&peeled))
            .or_else(|| listed.lines().find(|line| line.ends_with(&version)))
            .or_else(|| listed.lines().next());
        match line.and_then(|line| line.split_whitespace().next()) {
            Some(commit) => Ok(commit.to_owned()),
            None => Err(Failure::new(format!(
                "Could not determine remote revision for {version}"
            ))),
        }
    }

    pub(super) fn clone_it(&mut self) -> Result<(), Failure> {
        let args = self.args;
        let dest = self.dest.clone().unwrap_or_default();
        if let Some(parent) = dest.parent() {
            self.machine.create_dir_all(parent, 0o777)?;
        }
        let words = self.clone_words(&dest)?;
        let words: Vec<_> = words.iter().map(String::as_str).collect();
        let undo = self.removal(&dest)?;
        let output = self.act(&words, undo)?;
        tool::check(output.as_ref(), |output| {
            output.stderr_text().trim_end().to_owned()
        })?;
        if args.bare && args.remote != "origin" {
            let url = self.url.clone();
            self.act_harmlessly(
                &["remote", "add", &args.remote, &url],
                "Failed to add a remote",
            )?;
        }
        if let Some(refspec) = &args.refspec {
            let depth = args.depth.map(|depth| depth.to_string());
            let mut words = vec!["fetch"];
            if let Some(depth) = &depth {
                words.extend(["--depth", depth]);
            }
            words.extend([args.remote.as_str(), refspec]);
            self.act_harmlessly(&words, "Failed to fetch")?;
        }
        if args.verify_commit {
            self.verify()?;
        }
        Ok(())
    }

    fn clone_words(&mut self, dest: &Path) -> Result<Vec<String>, Failure> {
        let args = self.args;
        let mut words = vec!["clone".to_owned()];
        if args.bare {
            words.push("--bare".into());
        } else {
            words.extend(["--origin".into(), args.remote.clone()]);
        }
        let url = self.url.clone();
        let is_name = self.is_remote_branch(&url, &args.version)?
            || self.is_remote_tag(&url, &args.version)?;
        let mut branch = false;
        if let Some(depth) = args.depth
            && (args.version == "HEAD" || args.refspec.is_some() || is_name)
        {
            words.extend(["--depth".into(), depth.to_string()]);
            branch = args.version != "HEAD" && args.refspec.is_none();
        }
        if let Some(reference) = &args.reference {
            words.extend(["--reference".into(), reference.clone()]);
        }
        if args.single_branch {
            words.push("--single-branch".into());
            branch |= is_name;
        }
        if branch {
            words.extend(["--branch".into(), args.version.clone()]);
        }
        if let Some(separate) = &self.separate {
            words.push(format!("--separate-git-dir={}", separate.display()));
        }
        words.extend([url, dest.display().to_string()]);
        Ok(words)
    }

    /// Returns what removes a clone again.
    fn removal(&mut self, dest: &Path) -> Result<Vec<UndoStep>, Failure> {
        let shown = dest.display().to_string();
        let mut steps = vec![if self.machine.exists(dest)? {
            tool::step(&["find", &shown, "-mindepth", "1", "-delete"])
        } else {
            tool::step(&["rm", "-rf", "--", &shown])
        }];
        if let Some(separate) = &self.separate {
            steps.push(tool::step(&[
                "rm",
                "-rf",
                "--",
                &separate.display().to_string(),
            ]));
        }
        Ok(steps)
    }

    /// Makes the remote be where the option says; tells whether it was elsewhere.
    pub(super) fn set_remote_url(&mut self) -> Result<bool, Failure> {
        let remote = self.args.remote.clone();
        let asked = self.ask(&["ls-remote", "--get-url", &remote])?;
        if !asked.success() {
            return Ok(false);
        }
        let old = asked.stdout_text().trim_end_matches('\n').to_owned();
        if is_same_address(&old, &self.url) {
            return Ok(false);
        }
        let url = self.url.clone();
        let undo = self.step(&["remote", "set-url", &remote, &old]);
        let output = self.act(&["remote", "set-url", &remote, &url], vec![undo])?;
        tool::check(output.as_ref(), |output| {
            format!(
                "Failed to set a new url {url} for {remote}: {} {}",
                output.stdout_text(),
                output.stderr_text()
            )
        })?;
        Ok(true)
    }

    pub(super) fn fetch(&mut self) -> Result<(), Failure> {
        let args = self.args;
        let (version, remote) = (args.version.as_str(), args.remote.as_str());
        let mut words = vec!["fetch".to_owned()];
        let mut wanted = Vec::new();
        if let Some(depth) = args.depth {
            wanted = self.shallow_refspecs(version, remote)?;
            if !wanted.is_empty() {
                words.extend(["--depth".into(), depth.to_string()]);
            }
        }
        if wanted.is_empty() {
            if args.bare {
                wanted.extend(
                    ["+refs/heads/*:refs/heads/*", "+refs/tags/*:refs/tags/*"].map(Into::into),
                );
            } else {
                words.push("--tags".into());
            }
            wanted.extend(args.refspec.clone());
        }
        if args.force {
            words.push("--force".into());
        }
        words.push(remote.to_owned());
        words.extend(wanted);
        let words: Vec<_> = words.iter().map(String::as_str).collect();
        self.act_harmlessly(&words, "Failed to download remote objects and refs")
    }

    /// Returns the fewest references that lead to the version; none for a commit.
    fn shallow_refspecs(&mut self, version: &str, remote: &str) -> Result<Vec<String>, Failure> {
        if let Some(refspec) = &self.args.refspec {
            return Ok(vec![refspec.clone()]);
        }
        let head = self.head_branch()?;
        let url = self.url.clone();
        if version == "HEAD" {
            return Ok(vec![head]);
        }
        if self.is_remote_branch(&url, version)? {
            let tracked = format!("+refs/heads/{version}:refs/remotes/{remote}/{version}");
            let own = format!("+refs/heads/{version}:refs/heads/{version}");
            return Ok(if head == version {
                vec![tracked]
            } else {
                vec![own, tracked]
            });
        }
        if self.is_remote_tag(&url, version)? {
            return Ok(vec![format!("+refs/tags/{version}:refs/tags/{version}")]);
        }
        Ok(Vec::new())
    }

    /// Checks the version out; `before` is the commit that is left.
    pub(super) fn switch(&mut self, before: Option<&str>) -> Result<(), Failure> {
        let args = self.args;
        let (version, remote) = (args.version.as_str(), args.remote.as_str());
        let undo = match before {
            Some(before) => self.way_back(before)?,
            None => Vec::new(),
        };
        if version == "HEAD" {
            let branch = self.head_branch()?;
            let msg = format!("Failed to checkout branch {branch}");
            self.check_out(&["checkout", "--force", &branch], undo, &msg)?;
            let target = format!("{remote}/{branch}");
            self.check_out(&["reset", "--hard", &target, "--"], Vec::new(), &msg)?;
        } else if self.is_remote_branch(remote, version)? {
            let target = format!("{remote}/{version}");
            if self.is_local_branch(version)? {
                let msg = format!("Failed to checkout branch {version}");
                self.check_out(&["checkout", "--force", version], undo, &msg)?;
                let msg = format!("Failed to checkout {version}");
                self.check_out(&["reset", "--hard", &target], Vec::new(), &msg)?;
            } else {
                self.fetch_branch(version, remote)?;
                let msg = format!("Failed to checkout {version}");
                let words = if self.is_local_branch(version)? {
                    vec!["checkout", "--force", version]
                } else {
                    vec!["checkout", "--track", "-b", version, &target]
                };
                self.check_out(&words, undo, &msg)?;
            }
        } else {
            let msg = format!("Failed to checkout {version}");
            self.check_out(&["checkout", "--force", version], undo, &msg)?;
        }
        if args.verify_commit {
            self.verify()?;
        }
        Ok(())
    }

    /// Fetches a branch that a shallow clone of another one does not have.
    fn fetch_branch(&mut self, version: &str, remote: &str) -> Result<(), Failure> {
        let Some(depth) = self.args.depth else {
            return Ok(());
        };
        let words = [
            "fetch",
            &format!("--depth={depth}"),
            remote,
            &format!("+refs/heads/{version}:refs/heads/{version}"),
            &format!("+refs/heads/{version}:refs/remotes/{remote}/{version}"),
        ];
        self.act_harmlessly(
            &words,
            &format!("Failed to fetch branch from remote: {version}"),
        )
    }

    fn check_out(&mut self, words: &[&str], undo: Vec<UndoStep>, msg: &str) -> Result<(), Failure> {
        let output = self.act(words, undo)?;
        tool::check(output.as_ref(), |_| msg.to_owned())
    }

    /// Returns the steps that check out again what is checked out now.
    fn way_back(&mut self, before: &str) -> Result<Vec<UndoStep>, Failure> {
        let branch = self.ask(&["symbolic-ref", "-q", "--short", "HEAD"])?;
        let mut steps = if branch.success() {
            vec![
                self.step(&["checkout", "--force", branch.stdout_text().trim()]),
                self.step(&["reset", "--hard", before]),
            ]
        } else {
            vec![self.step(&["checkout", "--force", before])]
        };
        let dest = self.dest.clone().unwrap_or_default();
        if self.machine.exists(&dest.join(".gitmodules"))? {
            steps.push(self.step(&["submodule", "update", "--recursive"]));
        }
        Ok(steps)
    }

    fn verify(&mut self) -> Result<(), Failure> {
        let version = self.args.version.clone();
        let kind = self.ask(&["cat-file", "-t", &format!("refs/tags/{version}")])?;
        let verb = match kind.stdout_text().trim() {
            "tag" => "verify-tag",
            _ => "verify-commit",
        };
        let output = self.ask(&[verb, "--raw", &version])?;
        tool::check(Some(&output), |_| {
            format!("Failed to verify GPG signature of commit/tag \"{version}\"")
        })?;
        if self.args.gpg_allowlist.is_empty() {
            return Ok(());
        }
        let said = output.stderr_text();
        let fingerprint = fingerprint(&said).unwrap_or("None");
        if self
            .args
            .gpg_allowlist
            .iter()
            .any(|allowed| allowed == fingerprint)
        {
            return Ok(());
        }
        Err(tool::failed(
            &output,
            format!(
                "The gpg_allowlist does not include the public key \"{fingerprint}\" for this commit"
            ),
        ))
    }

    /// Tells whether submodules are missing or not where they should be.
    pub(super) fn submodules_differ(&mut self) -> Result<bool, Failure> {
        let dest = self.dest.clone().unwrap_or_default();
        let modules = dest.join(".gitmodules");
        if !self.machine.exists(&modules)? {
            return Ok(false);
        }
        let bytes = self.machine.read(&modules)?;
        for line in String::from_utf8_lossy(&bytes).lines() {
            if let Some((name, path)) = line.split_once('=')
                && name.trim() == "path"
                && !self.machine.exists(&dest.join(path.trim()).join(".git"))?
            {
                return Ok(true);
            }
        }
        let git = self.git.clone();
        let fetched = format!("{git} fetch");
        self.act_harmlessly(
            &["submodule", "foreach", &fetched],
            "Failed to fetch submodules",
        )?;
        if !self.args.track_submodules {
            let status = self.answer(&["submodule", "status"])?;
            return Ok(status.lines().any(|line| !line.starts_with(' ')));
        }
        let at = |name: &str| format!("{git} rev-parse {name}");
        let now = self.answer(&["submodule", "foreach", &at("HEAD")])?;
        let head = format!("{}/HEAD", self.args.remote);
        Ok(now != self.answer(&["submodule", "foreach", &at(&head)])?)
    }

    pub(super) fn update_submodules(&mut self) -> Result<(), Failure> {
        let output = self.act(&["submodule", "sync"], Vec::new())?;
        tool::check(output.as_ref(), Output::stderr_text)?;
        let mut words = vec!["submodule", "update", "--init", "--recursive"];
        if self.args.track_submodules {
            words.push("--remote");
        }
        if self.args.force {
            words.push("--force");
        }
        // Checking out the old version again brings its submodules along.
        let output = self.act(&words, Vec::new())?;
        tool::check(output.as_ref(), |output| {
            format!(
                "Failed to init/update submodules: {}{}",
                output.stdout_text(),
                output.stderr_text()
            )
        })
    }

    /// Returns what differs between two commits, in git's words.
    pub(super) fn difference(&mut self, before: &str, after: &str) -> String {
        let between = format!("between {before} and {after}");
        match self.ask(&["diff", before, after]) {
            Ok(output) if output.success() && !output.stdout.is_empty() => output.stdout_text(),
            Ok(output) if output.success() => format!(">> No visual differences {between}"),
            Ok(output) if !output.stderr.is_empty() => format!(
                ">> Failed to get proper diff {between}:\n>> {}",
                output.stderr_text()
            ),
            _ => format!(">> Failed to get proper diff {between}"),
        }
    }

    /// Writes an archive of the version to a private file.
    pub(super) fn archive(
        &mut self,
        made: &Path,
        format: &str,
        shown: &Path,
    ) -> Result<(), Failure> {
        let made = made.display().to_string();
        let mut words = vec!["archive", "--format", format, "--output", &made];
        if let Some(prefix) = &self.args.archive_prefix {
            words.extend(["--prefix", prefix]);
        }
        words.push(&self.args.version);
        let output = self.ask(&words)?;
        if output.success() {
            return Ok(());
        }
        let details = format!(
            "Git archive command failed to create archive {} using {} directory.Error: {}",
            shown.display(),
            self.shown(),
            output.stderr_text()
        );
        Err(Failure::new("Failed to perform archive operation").with("details", details))
    }
}

/// Finds the primary key's fingerprint in what gpg says.
fn fingerprint(said: &str) -> Option<&str> {
    said.lines().find_map(|line| {
        let words: Vec<_> = line.split_whitespace().collect();
        let is_valid = words.get(1) == Some(&"VALIDSIG");
        let index = if words.len() >= 12 { 11 } else { 2 };
        is_valid.then(|| words.get(index).copied()).flatten()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_primary_keys_fingerprint_is_last() {
        let with = "[GNUPG:] NEWSIG\n[GNUPG:] VALIDSIG SUB 2020 1 0 4 0 1 8 00 PRIMARY\n";
        assert_eq!(fingerprint(with), Some("PRIMARY"));
        assert_eq!(fingerprint("[GNUPG:] VALIDSIG SUB 2020"), Some("SUB"));
        assert_eq!(fingerprint(""), None);
    }
}
