//! `subversion`: a working copy, or an export, of a repository at a revision.

use std::path::{Path, PathBuf};

use crate::machine::{Command, Effect, Machine, Output};
use crate::transaction::journal::UndoStep;
use crate::value::Value;

use super::command::quote;
use super::tool;
use super::{Failure, ModuleResult, Outcome};

crate::arguments! {
    /// Deploys a subversion repository.
    pub(crate) struct SubversionArgs for "subversion" {
        /// Where the working copy goes.
        dest: Option<PathBuf> {},
        /// Where it comes from.
        repo: String { required, aliases: ["name", "repository"] },
        /// The revision.
        revision: String { default: "HEAD", aliases: ["rev", "version"] },
        /// Discard local changes; export over what is there.
        force: bool { default: "false" },
        /// Whom to log in as.
        username: Option<String> {},
        password: Option<String> { no_log },
        /// The svn to run.
        executable: Option<PathBuf> {},
        /// Leave no working copy, only the files.
        export: bool { default: "false" },
        /// Check out what is not there.
        checkout: bool { default: "true" },
        /// Bring what is there to the revision.
        update: bool { default: "true" },
        /// Switch the working copy to the repository.
        switch: bool { default: "true" },
        /// Check out over what is there and no working copy.
        in_place: bool { default: "false" },
        /// Refuse certificates that cannot be checked.
        validate_certs: bool { default: "false" },
    }
}

/// Checks out, exports or updates.
pub(crate) fn run(machine: &mut Machine, args: SubversionArgs) -> ModuleResult {
    let program = match &args.executable {
        Some(path) => machine.expand(path).display().to_string(),
        None => tool::required(machine, "svn")?,
    };
    if args.dest.is_none() && (args.checkout || args.update || args.export) {
        return Err(Failure::new(
            "the destination directory must be specified unless checkout=no, update=no, and \
             export=no",
        ));
    }
    let dest = match &args.dest {
        Some(dest) => machine.expand(dest),
        None => PathBuf::new(),
    };
    let mut svn = Svn {
        program,
        dest: dest.display().to_string(),
        args: &args,
        machine,
        warnings: Vec::new(),
    };
    let outcome = svn.settle(&dest)?;
    let warnings = svn.warnings;
    Ok(Outcome {
        warnings,
        ..outcome
    })
}

struct Svn<'a> {
    machine: &'a mut Machine,
    args: &'a SubversionArgs,
    program: String,
    dest: String,
    warnings: Vec<String>,
}

/// A revision's line and a URL's line, as `svn info` prints them.
type Lines = (String, String);

impl Svn<'_> {
    fn settle(&mut self, dest: &Path) -> ModuleResult {
        let args = self.args;
        if !args.export && !args.update && !args.checkout {
            let info = self.answer(&["info", &args.repo])?;
            let after = revision(&info).unwrap_or("Unable to get remote revision");
            return Ok(Outcome::unchanged().with("after", after));
        }
        let exists = self.machine.exists(dest)?;
        if args.export || !exists {
            return self.create(exists);
        }
        if self.is_working_copy()? {
            return self.bring_up();
        }
        if !args.in_place {
            return Err(Failure::new(format!(
                "ERROR: {} folder already exists, but its not a subversion repository.",
                self.dest
            )));
        }
        self.check_out_over()
    }

    fn create(&mut self, exists: bool) -> ModuleResult {
        let args = self.args;
        if self.machine.is_check() {
            return Ok(Outcome::changed());
        }
        if !args.export && !args.checkout {
            return Ok(Outcome::unchanged());
        }
        // What an export covers is not known before, so only a new directory can be undone.
        let effect = |what: &str| {
            if exists {
                Effect::opaque(format!("svn {what} over {}", self.dest))
            } else {
                let what = format!("svn {what} {}", self.dest);
                Effect::compensated(what, ["rm", "-rf", "--", &self.dest])
            }
        };
        let place = ["-r", &args.revision, &args.repo, &self.dest.clone()].map(str::to_owned);
        let verb = if args.export { "export" } else { "checkout" };
        let effect = effect(verb);
        let mut words = vec![verb.to_owned()];
        if args.export && args.force {
            words.push("--force".into());
        }
        words.extend(place);
        self.act(&words, effect)?;
        if args.export {
            return Ok(Outcome::changed());
        }
        let after = self.place()?;
        Ok(Outcome::changed()
            .with("before", Value::Null)
            .with("after", shown(&after)))
    }

    fn bring_up(&mut self) -> ModuleResult {
        let args = self.args;
        if !args.update {
            return Ok(Outcome::unchanged());
        }
        let has_changes = self.has_local_changes()?;
        let refusal = || Failure::new("ERROR: modified files exist in the repository.");
        let before = self.place()?;
        if self.machine.is_check() {
            if has_changes && !args.force {
                return Err(refusal());
            }
            let info = self.answer(&["info", "-r", &args.revision, &self.dest.clone()])?;
            let after = revision(&info).unwrap_or("Unable to get revision");
            let changed = number(&before.0) < number(after);
            return Ok(Outcome::unchanged()
                .with_changed(changed)
                .with("before", before.0.as_str())
                .with("after", after));
        }
        let dest = self.dest.clone();
        let back = self.back(&before);
        let mut changed = has_changes;
        if args.switch {
            let words = ["switch", "--revision", &args.revision, &args.repo, &dest];
            let said = self.act(&words.map(str::to_owned), back.clone())?;
            changed |= said.lines().any(is_touched);
        }
        if has_changes {
            if !args.force {
                return Err(refusal());
            }
            let effect = self.reapplying()?;
            let said = self.act(&["revert", "-R", &dest].map(str::to_owned), effect)?;
            changed |= said.lines().any(|line| !line.starts_with("Reverted "));
        }
        let words = ["update", "-r", &args.revision, &dest].map(str::to_owned);
        changed |= self.act(&words, back)?.lines().any(is_touched);
        let after = self.place()?;
        Ok(Outcome::unchanged()
            .with_changed(changed)
            .with("before", shown(&before))
            .with("after", shown(&after)))
    }

    fn check_out_over(&mut self) -> ModuleResult {
        let args = self.args;
        if self.machine.is_check() {
            return Ok(Outcome::changed().with("before", Value::Null));
        }
        let dest = self.dest.clone();
        let place = ["-r", &args.revision, &args.repo, &dest];
        let words = ["checkout", "--force"].into_iter().chain(place);
        let words: Vec<_> = words.map(str::to_owned).collect();
        let metadata = format!("{dest}/.svn");
        let effect = if args.force {
            Effect::opaque(format!("svn checkout over {dest}"))
        } else {
            Effect::compensated(
                format!("svn checkout {dest}"),
                ["rm", "-rf", "--", &metadata],
            )
        };
        self.act(&words, effect)?;
        if self.has_local_changes()? && args.force {
            let effect = self.reapplying()?;
            self.act(&["revert", "-R", &dest].map(str::to_owned), effect)?;
        }
        let after = self.place()?;
        Ok(Outcome::changed()
            .with("before", Value::Null)
            .with("after", shown(&after)))
    }

    fn command(&mut self, words: &[String]) -> Result<Command, Failure> {
        let mut argv = vec![
            self.program.clone(),
            "--non-interactive".into(),
            "--no-auth-cache".into(),
        ];
        if !self.args.validate_certs {
            argv.push("--trust-server-cert".into());
        }
        if let Some(username) = &self.args.username {
            argv.extend(["--username".into(), username.clone()]);
        }
        let mut input = None;
        if let Some(password) = &self.args.password {
            if self.takes_password_from_input()? {
                argv.push("--password-from-stdin".into());
                input = Some(password.clone());
            } else {
                self.warnings.push(
                    "The authentication provided will be used on the svn command line and is not \
                     secure. To securely pass credentials, upgrade svn to version 1.10.0 or \
                     greater."
                        .into(),
                );
                argv.extend(["--password".into(), password.clone()]);
            }
        }
        argv.extend(words.iter().cloned());
        let command = tool::command(&argv);
        Ok(match input {
            Some(input) => command.stdin(input),
            None => command,
        })
    }

    fn takes_password_from_input(&mut self) -> Result<bool, Failure> {
        let argv = [self.program.as_str(), "--version", "--quiet"];
        let version = tool::ask(self.machine, &argv)?.stdout_text();
        let parts: Vec<u32> = version
            .trim()
            .split('.')
            .filter_map(|part| part.parse().ok())
            .collect();
        Ok(parts >= vec![1, 10])
    }

    fn act(&mut self, words: &[String], effect: Effect) -> Result<String, Failure> {
        let command = self.command(words)?;
        let output = self.machine.execute(&command, effect)?.output();
        check(output.as_ref(), &command)?;
        Ok(output
            .map(|output| output.stdout_text())
            .unwrap_or_default())
    }

    fn ask(&mut self, words: &[&str]) -> Result<Output, Failure> {
        let words: Vec<_> = words.iter().map(|word| (*word).to_owned()).collect();
        let command = self.command(&words)?;
        Ok(self.machine.query(&command)?)
    }

    fn answer(&mut self, words: &[&str]) -> Result<String, Failure> {
        let words: Vec<_> = words.iter().map(|word| (*word).to_owned()).collect();
        let command = self.command(&words)?;
        let output = self.machine.query(&command)?;
        check(Some(&output), &command)?;
        Ok(output.stdout_text())
    }

    fn is_working_copy(&mut self) -> Result<bool, Failure> {
        let dest = self.dest.clone();
        Ok(self.ask(&["info", &dest])?.success())
    }

    fn has_local_changes(&mut self) -> Result<bool, Failure> {
        let dest = self.dest.clone();
        let status = self.answer(&["status", "--quiet", "--ignore-externals", &dest])?;
        Ok(status
            .lines()
            .any(|line| !line.is_empty() && !line.starts_with(['?', 'X'])))
    }

    fn place(&mut self) -> Result<Lines, Failure> {
        let dest = self.dest.clone();
        let info = self.answer(&["info", &dest])?;
        let url = info.lines().find(|line| {
            line.strip_prefix("URL")
                .is_some_and(|rest| rest.trim_start().starts_with(':'))
        });
        Ok((
            revision(&info)
                .unwrap_or("Unable to get revision")
                .to_owned(),
            url.unwrap_or("Unable to get URL").to_owned(),
        ))
    }

    /// Returns the effect of moving away from `before`; a password is not kept for its undo.
    fn back(&self, before: &Lines) -> Effect {
        let what = format!("svn update {}", self.dest);
        let (Some(number), Some((_, url))) = (number(&before.0), before.1.split_once(':')) else {
            return Effect::opaque(what);
        };
        let number = number.to_string();
        let url = url.trim();
        Effect::compensated(
            what,
            [
                self.program.as_str(),
                "--non-interactive",
                "switch",
                "--ignore-ancestry",
                "--revision",
                &number,
                url,
                &self.dest,
            ],
        )
    }

    /// Returns the effect of reverting: the local changes are a patch that is applied again.
    fn reapplying(&mut self) -> Result<Effect, Failure> {
        let dest = self.dest.clone();
        let argv = [self.program.as_str(), "diff", "."];
        let output = self.machine.query(&tool::command(&argv).directory(&dest))?;
        let patch = output.stdout_text();
        let script = r#"file=$(mktemp) && printf %s "$1" >"$file" && "$2" patch "$file" "$3"; code=$?; rm "$file"; exit $code"#;
        let step = UndoStep::new(["/bin/sh", "-c", script, "sh", &patch, &self.program, &dest]);
        Ok(Effect::Compensated {
            what: format!("svn revert {dest}"),
            undo: vec![step],
        })
    }
}

fn shown(lines: &Lines) -> Value {
    Value::list([lines.0.as_str(), lines.1.as_str()])
}

/// Finds the line of the revision in whatever language: a word, a colon, a number.
fn revision(info: &str) -> Option<&str> {
    info.lines().find(|line| {
        line.split_once(':').is_some_and(|(word, rest)| {
            let word = word.strip_suffix(' ').unwrap_or(word);
            let digits = rest.trim_start();
            digits.len() < rest.len()
                && !word.is_empty()
                && word.chars().all(|c| c.is_alphanumeric() || c == '_')
                && !digits.is_empty()
                && digits.bytes().all(|byte| byte.is_ascii_digit())
        })
    })
}

fn number(line: &str) -> Option<u64> {
    line.split_once(':')?.1.trim().parse().ok()
}

/// Tells whether a line of `svn update` is about a file that changed.
fn is_touched(line: &str) -> bool {
    let mut letters = line.chars();
    letters
        .next()
        .is_some_and(|letter| "ABDUCGE".contains(letter))
        && letters.next().is_some_and(char::is_whitespace)
}

/// Refuses what a program could not do, and shows what was run.
fn check(output: Option<&Output>, command: &Command) -> Result<(), Failure> {
    let words = command.words();
    let shown: Vec<_> = words.iter().map(|word| quote(word)).collect();
    tool::check(output, tool::complaint).map_err(|failure| failure.with("cmd", shown.join(" ")))
}

#[cfg(test)]
mod tests {
    use crate::modules::fake::Programs;

    /// A working copy is a directory `copy`, its revision a file `at`; the repository is at 3.
    const SVN: &str = r#"
case "$*" in
  "--version --quiet") echo 1.14.2 ;;
  *" info -r "*) printf 'Path: x\nRevision: 3\n' ;;
  *" info "*/copy) [ -e "$here/at" ] || exit 1
    printf 'Path: x\nURL: file:///repo\nRelative URL: ^/\nRevision: %s\n' "$(cat "$here/at")" ;;
  *" info "*) printf 'Revision: 3\n' ;;
  *" checkout "*) mkdir -p "$here/copy"; echo 1 >"$here/at" ;;
  *" status "*) cat "$here/status" 2>/dev/null ;;
  *" switch "*) echo 'At revision 3.' ;;
  *" update "*) [ "$(cat "$here/at")" = 3 ] || echo 'U    a.txt'; echo 3 >"$here/at" ;;
  *" revert "*) rm "$here/status"; echo "Reverted 'a'" ;;
  *" export "*) mkdir -p "$here/out" ;;
esac
exit 0
"#;

    #[test]
    fn a_working_copy_is_checked_out_then_updated_then_left_alone() {
        let programs = Programs::new([("svn", SVN)]);
        let options = r#"{"repo": "file:///repo", "dest": "$BIN/copy"}"#;
        assert_eq!(
            programs.predict("subversion", options),
            r#"{"changed":true}"#
        );
        assert_eq!(
            programs.run("subversion", options),
            r#"{"changed":true,"before":null,"after":["Revision: 1","URL: file:///repo"]}"#
        );
        assert_eq!(
            programs.predict("subversion", options),
            r#"{"changed":true,"before":"Revision: 1","after":"Revision: 3"}"#
        );
        assert_eq!(
            programs.run("subversion", options),
            r#"{"changed":true,"before":["Revision: 1","URL: file:///repo"],"after":["Revision: 3","URL: file:///repo"]}"#
        );
        assert!(
            programs
                .run("subversion", options)
                .starts_with(r#"{"changed":false,"#)
        );
        let dest = programs.path("copy").display().to_string();
        let undo = programs.undo_steps();
        assert_eq!(undo[0].replace(&dest, "/copy"), "rm -rf -- copy");
        assert!(undo[1].contains("switch --ignore-ancestry --revision 1 file:///repo"));
    }

    #[test]
    fn local_changes_are_refused_unless_forced() {
        let programs = Programs::new([("svn", SVN)]);
        let options = r#"{"repo": "file:///repo", "dest": "$BIN/copy"}"#;
        programs.run("subversion", options);
        programs.put("status", "M       a.txt\n");
        assert!(
            programs
                .run("subversion", options)
                .contains("ERROR: modified files exist in the repository.")
        );
        let forced = options.replace('{', r#"{"force": true, "#);
        assert!(
            programs
                .run("subversion", &forced)
                .starts_with(r#"{"changed":true,"#)
        );
        assert!(!programs.path("status").exists());
    }

    #[test]
    fn an_export_a_remote_revision_and_a_missing_dest() {
        let programs = Programs::new([("svn", SVN)]);
        let export = r#"{"repo": "file:///repo", "dest": "$BIN/out", "export": true}"#;
        assert_eq!(programs.run("subversion", export), r#"{"changed":true}"#);
        let ask = r#"{"repo": "file:///repo", "checkout": false, "update": false}"#;
        assert_eq!(
            programs.run("subversion", ask),
            r#"{"changed":false,"after":"Revision: 3"}"#
        );
        assert!(
            programs
                .run("subversion", r#"{"repo": "file:///repo"}"#)
                .contains("the destination directory must be specified")
        );
    }

    #[test]
    fn a_password_is_no_argument() {
        let programs = Programs::new([("svn", SVN)]);
        let options = r#"{"repo": "file:///repo", "dest": "$BIN/copy", "username": "u", "password": "geheim"}"#;
        programs.run("subversion", options);
        assert!(programs.calls().iter().all(|call| !call.contains("geheim")));
    }

    #[test]
    fn a_repository_that_is_not_there_is_told_in_the_words_of_svn_with_what_was_run() {
        let programs = Programs::new([("svn", "echo 'svn: E170013: no' >&2; exit 1")]);
        let options = r#"{"repo": "file:///a b", "dest": "$BIN/copy"}"#;
        assert_eq!(
            programs.run("subversion", options),
            r#"{"failed":true,"changed":false,"msg":"svn: E170013: no","rc":1,"stdout":"","stderr":"svn: E170013: no\n","cmd":"$BIN/svn --non-interactive --no-auth-cache --trust-server-cert checkout -r HEAD 'file:///a b' $BIN/copy","stdout_lines":[],"stderr_lines":["svn: E170013: no"]}"#
        );
    }
}
