//! `dpkg_divert`: files of packages that are installed elsewhere.

use std::path::{Path, PathBuf};

use crate::machine::{Machine, Output};
use crate::value::{Map, Value};

use super::tool;
use super::{Diff, Failure, ModuleResult, Outcome};

crate::arguments! {
    /// Override a debian package's version of a file.
    pub(crate) struct DpkgDivertArgs for "community.general.dpkg_divert" {
        /// The file that packages are to install elsewhere.
        path: PathBuf { required },
        /// Whether the file is diverted.
        state: String { default: "present", choices: ["absent", "present"] },
        /// The package that may install the file; none, unless it is named.
        holder: Option<String> {},
        /// Where other packages install it.
        divert: Option<PathBuf> {},
        /// Move the file there, or back.
        rename: bool { default: "false" },
        /// Replace what is where the file is moved to.
        force: bool { default: "false" },
    }
}

/// Adds, changes or removes the diversion.
pub(crate) fn run(machine: &mut Machine, args: DpkgDivertArgs) -> ModuleResult {
    let program = tool::required(machine, "dpkg-divert")?;
    let output = tool::ask(machine, &[program.as_str(), "--version"])?;
    tool::check(Some(&output), tool::complaint)?;
    let version = version(&output.stdout_text());
    if version < [1, 15, 0] {
        return Err(Failure::new("Unsupported dpkg version (<1.15.0)."));
    }
    let path = machine.expand(&args.path).display().to_string();
    let divert = args
        .divert
        .as_ref()
        .map(|divert| machine.expand(divert).display().to_string());
    let wanted = Diversion::wanted(&args, &path, divert.clone());
    let mut work = Work {
        before: Diversion::default(),
        path,
        divert,
        wanted,
        no_rename: version >= [1, 19, 1],
        program,
        machine,
        args: &args,
    };
    work.before = work.found()?;
    work.run()
}

fn version(text: &str) -> [u32; 3] {
    let line = text.lines().next().unwrap_or_default();
    let word = line
        .split_whitespace()
        .find(|word| word.starts_with(|letter: char| letter.is_ascii_digit()));
    let mut numbers = word
        .unwrap_or_default()
        .split(|letter: char| !letter.is_ascii_digit())
        .map_while(|part| part.parse().ok());
    [(); 3].map(|()| numbers.next().unwrap_or(0))
}

/// Who may install the file, and where it goes; `None` where it is not diverted.
#[derive(Clone, Debug, Default, PartialEq)]
struct Diversion(Option<(String, String)>);

impl Diversion {
    fn wanted(args: &DpkgDivertArgs, path: &str, divert: Option<String>) -> Self {
        if args.state == "absent" {
            return Self(None);
        }
        let holder = args.holder.clone().filter(|holder| !holder.is_empty());
        Self(Some((
            holder.unwrap_or_else(|| "LOCAL".into()),
            divert.unwrap_or_else(|| format!("{path}.distrib")),
        )))
    }

    fn value(&self, path: &str) -> Value {
        let part = |text: Option<&String>| text.map_or(Value::Null, |it| it.as_str().into());
        let (holder, divert) = self.0.as_ref().map(|(a, b)| (a, b)).unzip();
        let state = if self.0.is_some() {
            "present"
        } else {
            "absent"
        };
        Value::map([
            ("path", Value::from(path)),
            ("state", state.into()),
            ("divert", part(divert)),
            ("holder", part(holder)),
        ])
    }
}

struct Work<'a> {
    machine: &'a mut Machine,
    args: &'a DpkgDivertArgs,
    program: String,
    path: String,
    divert: Option<String>,
    /// This dpkg says itself that nothing is to be renamed.
    no_rename: bool,
    before: Diversion,
    wanted: Diversion,
}

impl Work<'_> {
    fn run(&mut self) -> ModuleResult {
        let argv = self.setting(self.args.rename);
        let commands = match (&self.before.0, &self.wanted.0) {
            (Some(before), Some(wanted)) if before != wanted => {
                return self.change();
            }
            _ => vec![argv.join(" ")],
        };
        let trial = self.trial(&argv)?;
        if !trial.success() {
            self.make_way(&trial, &argv)?;
        }
        let messages = if self.before == self.wanted {
            vec![trial.stdout_text().trim_end().to_owned()]
        } else {
            let undo = match &self.before.0 {
                None => self.removal(self.args.rename),
                Some(before) => self.addition(before, self.args.rename),
            };
            match tool::act(self.machine, &argv, &undo)? {
                Some(output) => {
                    tool::check(Some(&output), tool::complaint)?;
                    vec![output.stdout_text().trim_end().to_owned()]
                }
                None => vec![trial.stdout_text().trim_end().to_owned()],
            }
        };
        self.told(commands, messages)
    }

    /// Gives a diversion another holder or place: dpkg-divert has to remove it first.
    fn change(&mut self) -> ModuleResult {
        let (remove, add) = (self.removal(false), self.setting(false));
        let commands = vec![remove.join(" "), add.join(" ")];
        let (Some(before), Some(wanted)) = (self.before.0.clone(), self.wanted.0.clone()) else {
            return Err(Failure::new("there is no diversion to change"));
        };
        let again = self.addition(&before, false);
        let trial = self.trial(&remove)?;
        tool::check(Some(&trial), tool::complaint)?;
        let removed = tool::act(self.machine, &remove, &again)?;
        tool::check(removed.as_ref(), tool::complaint)?;
        let added = tool::act(self.machine, &add, &remove)?;
        tool::check(added.as_ref(), tool::complaint)?;
        let said = |output: Option<Output>, or: String| {
            output.map_or(or, |output| output.stdout_text().trim_end().to_owned())
        };
        let messages = vec![
            said(removed, trial.stdout_text().trim_end().to_owned()),
            said(added, "Running in check mode".into()),
        ];
        // The file goes along, where it can: nobody would find it any more.
        let (old, new) = (Path::new(&before.1), Path::new(&wanted.1));
        if old != new && self.machine.exists(old)? && !self.machine.exists(new)? {
            self.machine.rename(old, new).ok();
        }
        self.told(commands, messages)
    }

    /// Removes what dpkg-divert will not overwrite, where that is asked for.
    fn make_way(&mut self, trial: &Output, argv: &[String]) -> Result<(), Failure> {
        let refused = |msg: &str| {
            tool::failed(trial, msg)
                .with("cmd", argv.join(" "))
                .with("diversion", self.before.value(&self.path))
        };
        let target = match (&self.before.0, &self.wanted.0) {
            (None, Some((_, target))) | (Some((_, target)), None) => target.clone(),
            _ => {
                return Err(refused(
                    "Unexpected error: see stdout and stderr for details.",
                ));
            }
        };
        let exists = |path: &str| self.machine.exists(Path::new(path));
        if !self.args.rename || !exists(&self.path)? || !exists(&target)? {
            return Err(refused(
                "Unexpected error while changing state of the diversion.",
            ));
        }
        if !self.args.force {
            return Err(refused(
                "Set 'force' param to True to force renaming of files.",
            ));
        }
        let in_the_way = if self.wanted.0.is_some() {
            target
        } else {
            self.path.clone()
        };
        self.machine.remove(Path::new(&in_the_way))?;
        Ok(())
    }

    fn told(&mut self, commands: Vec<String>, messages: Vec<String>) -> ModuleResult {
        let after = if self.machine.is_check() {
            self.wanted.clone()
        } else {
            self.found()?
        };
        if after != self.wanted {
            return Err(
                Failure::new("Unexpected error: see stdout and stderr for details.")
                    .with("cmd", commands.join(" "))
                    .with("diversion", after.value(&self.path)),
            );
        }
        let outcome = Outcome::unchanged()
            .with_changed(after != self.before)
            .with("diversion", after.value(&self.path))
            .with("commands", Value::list(commands))
            .with("messages", Value::list(messages));
        Ok(if self.machine.wants_diff() {
            outcome.only_diff(Diff::new(
                self.before.value(&self.path),
                after.value(&self.path),
            ))
        } else {
            outcome.with("diff", Map::new())
        })
    }

    fn found(&mut self) -> Result<Diversion, Failure> {
        let mut ask = |question: &str| -> Result<String, Failure> {
            let argv = [self.program.as_str(), question, &self.path];
            let output = tool::ask(self.machine, &argv)?;
            tool::check(Some(&output), tool::complaint)?;
            Ok(output.stdout_text().trim_end().to_owned())
        };
        let holder = ask("--listpackage")?;
        if holder.is_empty() {
            return Ok(Diversion(None));
        }
        Ok(Diversion(Some((holder, ask("--truename")?))))
    }

    /// Runs a command so that it only says what it would do.
    fn trial(&mut self, argv: &[String]) -> Result<Output, Failure> {
        let mut argv = argv.to_vec();
        argv.insert(1, "--test".into());
        tool::ask(self.machine, &argv)
    }

    fn start(&self, rename: bool) -> Vec<String> {
        let mut argv = vec![self.program.clone()];
        if rename {
            argv.push("--rename".into());
        } else if self.no_rename {
            argv.push("--no-rename".into());
        }
        argv
    }

    /// Returns the command that makes things as they are wanted.
    fn setting(&self, rename: bool) -> Vec<String> {
        let Some((holder, _)) = &self.wanted.0 else {
            return self.removal(rename);
        };
        let mut argv = self.start(rename);
        argv.extend(holding(holder));
        if let Some(divert) = &self.divert {
            argv.extend(["--divert".into(), divert.clone()]);
        }
        argv.extend(["--add".into(), self.path.clone()]);
        argv
    }

    fn addition(&self, (holder, divert): &(String, String), rename: bool) -> Vec<String> {
        let mut argv = self.start(rename);
        argv.extend(holding(holder));
        argv.extend(["--divert".into(), divert.clone()]);
        argv.extend(["--add".into(), self.path.clone()]);
        argv
    }

    fn removal(&self, rename: bool) -> Vec<String> {
        let mut argv = self.start(rename);
        argv.extend(["--remove".into(), self.path.clone()]);
        argv
    }
}

fn holding(holder: &str) -> Vec<String> {
    match holder {
        "LOCAL" => vec!["--local".into()],
        holder => vec!["--package".into(), holder.to_owned()],
    }
}

#[cfg(test)]
mod tests {
    use crate::modules::fake::Programs;

    const NAME: &str = "community.general.dpkg_divert";
    /// The real program, on a database of its own.
    const DIVERT: &str = r#"
mkdir -p "$here/admin/alternatives" && : >>"$here/admin/diversions"
exec /usr/bin/dpkg-divert --admindir "$here/admin" "$@"
"#;

    fn host() -> Programs {
        Programs::new([("dpkg-divert", DIVERT)])
    }

    #[test]
    fn a_file_is_diverted_elsewhere_and_back() {
        let host = host();
        let add = r#"{"path": "$BIN/conf"}"#;
        let changed = r#"{"changed":true,"diversion":{"path":"$BIN/conf","state":"present","divert":"$BIN/conf.distrib","holder":"LOCAL"},"commands":["$BIN/dpkg-divert --no-rename --local --add $BIN/conf"],"messages":["Adding 'local diversion of $BIN/conf to $BIN/conf.distrib'"],"diff":{"before":{"path":"$BIN/conf","state":"absent","divert":null,"holder":null},"after":{"path":"$BIN/conf","state":"present","divert":"$BIN/conf.distrib","holder":"LOCAL"}}}"#;
        assert_eq!(host.predict(NAME, add), changed);
        assert_eq!(host.run(NAME, add), changed);
        let again = host.run(NAME, add);
        assert!(again.starts_with(r#"{"changed":false,"#), "{again}");
        let other = r#"{"path": "$BIN/conf", "holder": "nginx", "divert": "$BIN/elsewhere"}"#;
        let result = host.run(NAME, other);
        assert!(
            result.contains(r#""divert":"$BIN/elsewhere","holder":"nginx"}"#),
            "{result}"
        );
        let remove = r#"{"path": "$BIN/conf", "state": "absent"}"#;
        assert!(host.run(NAME, remove).starts_with(r#"{"changed":true,"#));
        assert!(host.run(NAME, remove).starts_with(r#"{"changed":false,"#));
        let bin = host.path("").display().to_string();
        let steps = host.undo_steps().join("\n").replace(&bin, "");
        assert_eq!(
            steps,
            "dpkg-divert --no-rename --remove conf\n\
             dpkg-divert --no-rename --local --divert conf.distrib --add conf\n\
             dpkg-divert --no-rename --remove conf\n\
             dpkg-divert --no-rename --package nginx --divert elsewhere --add conf"
        );
    }

    #[test]
    fn a_file_in_the_way_is_replaced_only_by_force() {
        let host = host();
        host.put("conf", "packaged");
        host.put("conf.distrib", "old");
        let options = r#"{"path": "$BIN/conf", "rename": true}"#;
        let result = host.run(NAME, options);
        assert!(
            result.contains(r#""msg":"Set 'force' param to True to force renaming of files.""#),
            "{result}"
        );
        let options = r#"{"path": "$BIN/conf", "rename": true, "force": true}"#;
        assert!(host.run(NAME, options).starts_with(r#"{"changed":true,"#));
        let read = |name: &str| std::fs::read_to_string(host.path(name)).ok();
        assert_eq!(read("conf"), None);
        assert_eq!(read("conf.distrib").as_deref(), Some("packaged"));
    }
}
