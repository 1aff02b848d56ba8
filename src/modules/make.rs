//! `make`: targets of a makefile, where make says that they are not up to date.

use std::path::PathBuf;

use crate::machine::{Command, Effect, Machine};
use crate::value::{Map, Value};

use super::command::quote;
use super::tool;
use super::{ModuleResult, Outcome};

crate::arguments! {
    /// Run targets in a Makefile.
    pub(crate) struct MakeArgs for "community.general.make" {
        /// The target; the first one by default.
        target: Option<String> {},
        /// Several targets.
        targets: Option<Vec<String>> {},
        /// Variables for make; one without a value is a word of its own.
        params: Option<Map> {},
        /// The directory to run it in.
        chdir: PathBuf { required },
        /// The makefile.
        file: Option<PathBuf> {},
        /// The make to run.
        make: Option<PathBuf> {},
        /// How many jobs at once.
        jobs: Option<i64> {},
    }
    mutually_exclusive [["target", "targets"]]
}

/// Asks make, and runs it where there is something to do.
pub(crate) fn run(machine: &mut Machine, args: MakeArgs) -> ModuleResult {
    let program = match &args.make {
        Some(path) => machine.expand(path).display().to_string(),
        None => match tool::found(machine, "gmake") {
            Some(gmake) => gmake,
            None => tool::required(machine, "make")?,
        },
    };
    let directory = machine.expand(&args.chdir);
    let mut argv = vec![program];
    if let Some(jobs) = args.jobs {
        argv.extend(["-j".into(), jobs.to_string()]);
    }
    if let Some(file) = &args.file {
        argv.extend(["-f".into(), file.display().to_string()]);
    }
    argv.extend(args.target.clone());
    argv.extend(args.targets.clone().unwrap_or_default());
    for (name, value) in args.params.iter().flatten() {
        argv.push(match value {
            Value::Null => name.to_string(),
            value => format!("{name}={value}"),
        });
    }
    let question = Command::new(&argv).arg("-q").directory(&directory);
    let mut output = machine.query(&question)?;
    let changed = !output.success();
    if changed {
        let what = format!("make in {}", directory.display());
        let command = Command::new(&argv).directory(&directory);
        let made = machine.execute(&command, Effect::opaque(what))?.output();
        let words: Vec<_> = argv.iter().map(|word| quote(word)).collect();
        tool::check(made.as_ref(), tool::complaint)
            .map_err(|failure| failure.with("cmd", words.join(" ")))?;
        output = made.unwrap_or(output);
    }
    let end = |text: String| text.trim_end_matches(['\r', '\n']).to_owned();
    let text = |text: Option<String>| text.map_or(Value::Null, Value::from);
    let path = |path: Option<PathBuf>| text(path.map(|path| path.display().to_string()));
    let words: Vec<_> = argv.iter().map(|word| quote(word)).collect();
    Ok(Outcome::unchanged()
        .with_changed(changed)
        .with("stdout", end(output.stdout_text()))
        .with("stderr", end(output.stderr_text()))
        .with("target", text(args.target))
        .with("targets", args.targets.map_or(Value::Null, Value::list))
        .with("params", args.params.map_or(Value::Null, Value::from))
        .with("chdir", directory.display().to_string())
        .with("file", path(args.file))
        .with("jobs", args.jobs.map_or(Value::Null, Value::from))
        .with("command", words.join(" ")))
}

#[cfg(test)]
mod tests {
    use crate::modules::fake::Programs;

    const NAME: &str = "community.general.make";
    const MAKE: &str = r#"
case "$*" in
  *broken*-q) exit 2 ;;
  *broken*) echo 'no rule' >&2; exit 2 ;;
  *-q) [ -e "$here/made" ] ;;
  *) : >"$here/made"; echo done ;;
esac
"#;

    #[test]
    fn a_target_is_made_until_it_is_up_to_date() {
        let host = Programs::new([("make", MAKE)]);
        let options = r#"{"chdir": "$BIN", "make": "$BIN/make", "target": "all", "jobs": 2, "params": {"V": 1, "-k": null}}"#;
        let result = r#"{"changed":true,"stdout":"done","stderr":"","target":"all","targets":null,"params":{"V":1,"-k":null},"chdir":"$BIN","file":null,"jobs":2,"command":"$BIN/make -j 2 all V=1 -k","stdout_lines":["done"],"stderr_lines":[]}"#;
        assert!(host.predict(NAME, options).contains(r#""changed":true"#));
        assert_eq!(host.run(NAME, options), result);
        assert!(host.run(NAME, options).contains(r#""changed":false"#));
        assert!(host.predict(NAME, options).contains(r#""changed":false"#));
    }

    #[test]
    fn a_target_that_fails_says_why() {
        let host = Programs::new([("make", MAKE)]);
        let options = r#"{"chdir": "$BIN", "make": "$BIN/make", "target": "broken"}"#;
        assert!(
            host.run(NAME, options)
                .contains(r#""msg":"no rule","rc":2"#)
        );
    }
}
