//! `script`: run a file of the controller on the target.
//!
//! The file is private to the task and gone afterwards; what it changes is unknown.

use std::path::PathBuf;

use crate::machine::{Command, Content, Effect, Execution, Machine};
use crate::value::Map;

use super::command::quote;
use super::offer::content_id;
use super::{Failure, ModuleResult, Outcome};

crate::arguments! {
    /// Runs a local script on a remote node after transferring it.
    pub(crate) struct ScriptArgs for "script" {
        /// The script of the controller and its arguments, as a shell reads them.
        cmd: String { required },
        /// Do nothing when this exists.
        creates: Option<PathBuf> {},
        /// Do nothing unless this exists.
        removes: Option<PathBuf> {},
        /// The absolute path of the directory to run in.
        chdir: Option<PathBuf> {},
        /// The program that reads the script.
        executable: Option<String> {},
        /// Decrypt a vaulted script.
        decrypt: bool { default: "true" },
        /// What the controller has.
        _content: Option<Map> { internal },
        /// The name of the controller's file.
        _original_basename: Option<String> { internal },
    }
    free_form "cmd"
}

/// Runs the script; it counts as a change whatever it does.
pub(crate) fn run(machine: &mut Machine, args: ScriptArgs) -> ModuleResult {
    if let Some(outcome) = unneeded(machine, &args)? {
        return Ok(outcome);
    }
    let Some(offer) = &args._content else {
        return Err(Failure::new("the controller offered no script"));
    };
    if let Some(chdir) = &args.chdir
        && !chdir.is_absolute()
    {
        return Err(Failure::new(format!(
            "chdir {} must be an absolute path for a Unix-aware remote node",
            chdir.display()
        )));
    }
    if machine.is_check() {
        return Ok(predicted(&args));
    }
    let bytes = machine.read_content(&Content::Remote(content_id(offer)?))?;
    let name = args._original_basename.as_deref().unwrap_or("script");
    let script = machine.temporary_program(name, &bytes)?;
    let text = command_line(&args, &quote(&script.path().to_string_lossy()));
    let mut command = Command::shell(&text);
    if let Some(chdir) = &args.chdir {
        command = command.directory(chdir);
    }
    let what = format!("script `{}`", args.cmd);
    let effect = match &args.creates {
        Some(creates) => Effect::creating(what, &machine.expand(creates)),
        None => Effect::opaque(what),
    };
    let Execution::Done(output) = machine.execute(&command, effect)? else {
        return Ok(predicted(&args));
    };
    let outcome = Outcome::changed()
        .with("rc", output.status)
        .with("stdout", output.stdout_text())
        .with("stderr", output.stderr_text());
    if output.success() {
        return Ok(outcome);
    }
    Err(Failure::new("non-zero return code")
        .with_changed(true)
        .with_all(outcome.data))
}

fn unneeded(machine: &mut Machine, args: &ScriptArgs) -> Result<Option<Outcome>, Failure> {
    if let Some(creates) = &args.creates {
        let path = machine.expand(creates);
        if machine.exists(&path)? {
            let msg = format!("{} exists, matching creates option", creates.display());
            return Ok(Some(Outcome::unchanged().skipped().msg(msg)));
        }
    }
    if let Some(removes) = &args.removes {
        let path = machine.expand(removes);
        if !machine.exists(&path)? {
            let msg = format!(
                "{} does not exist, matching removes option",
                removes.display()
            );
            return Ok(Some(Outcome::unchanged().skipped().msg(msg)));
        }
    }
    Ok(None)
}

fn predicted(args: &ScriptArgs) -> Outcome {
    if args.creates.is_some() || args.removes.is_some() {
        Outcome::changed()
    } else {
        Outcome::unchanged()
            .skipped()
            .msg("Check mode is not supported for this task.")
    }
}

/// Puts the target's path in place of the controller's; the arguments stay as they are written.
fn command_line(args: &ScriptArgs, path: &str) -> String {
    let rest = without_first_word(args.cmd.trim());
    match &args.executable {
        Some(executable) => format!("{executable} {path}{rest}"),
        None => format!("{path}{rest}"),
    }
}

/// Returns what follows the first word of a command line, quotes and blanks kept.
fn without_first_word(line: &str) -> &str {
    let mut quote = None;
    let mut letters = line.char_indices();
    while let Some((index, letter)) = letters.next() {
        match (quote, letter) {
            (None, blank) if blank.is_whitespace() => return &line[index..],
            (None, '\'' | '"') => quote = Some(letter),
            (Some(open), letter) if open == letter => quote = None,
            (None | Some('"'), '\\') => {
                letters.next();
            }
            _ => {}
        }
    }
    ""
}

#[cfg(test)]
mod tests {
    use std::io::{self, Read};

    use super::super::testing::Target;
    use crate::machine::{Algorithm, ContentId, ContentSource};
    use crate::value::Value;

    const SCRIPT: &str = "#!/bin/sh\necho \"$#:$1:$(pwd)\"\nexit ${2:-0}\n";

    #[derive(Clone)]
    struct Controller;

    impl ContentSource for Controller {
        fn open(&mut self, _: &ContentId) -> io::Result<Box<dyn Read + Send + '_>> {
            Ok(Box::new(SCRIPT.as_bytes()))
        }
    }

    fn run(options: &str) -> String {
        let target = Target::new().directory("d").contents(Controller);
        let offer = format!(
            r#"{{"sha256": "{}", "size": {}}}"#,
            Algorithm::Sha256.of(SCRIPT.as_bytes()),
            SCRIPT.len()
        );
        let options =
            format!(r#"{{"_content": {offer}, "_original_basename": "my script.sh", {options}}}"#);
        let result =
            serde_json::to_string(&Value::from(target.result("script", &options))).unwrap();
        result.replace(&target.path("d").display().to_string(), "$ROOT/d")
    }

    #[test]
    fn a_script_gets_its_arguments_as_a_shell_reads_them() {
        assert_eq!(
            run(r#""cmd": "'my script.sh' 'a  b'", "chdir": "$ROOT/d""#),
            r#"{"changed":true,"rc":0,"stdout":"1:a  b:$ROOT/d\n","stderr":"","stdout_lines":["1:a  b:$ROOT/d"],"stderr_lines":[]}"#
        );
        assert_eq!(
            run(r#""cmd": "x.sh a 3", "executable": "/bin/sh", "chdir": "$ROOT/d""#),
            r#"{"failed":true,"changed":true,"msg":"non-zero return code","rc":3,"stdout":"2:a:$ROOT/d\n","stderr":"","stdout_lines":["2:a:$ROOT/d"],"stderr_lines":[]}"#
        );
    }

    #[test]
    fn what_is_not_needed_is_skipped() {
        assert_eq!(
            run(r#""cmd": "x.sh", "creates": "$ROOT/d""#),
            r#"{"changed":false,"msg":"$ROOT/d exists, matching creates option","skipped":true}"#
        );
        assert_eq!(
            run(r#""cmd": "x.sh", "chdir": "d""#),
            r#"{"failed":true,"changed":false,"msg":"chdir d must be an absolute path for a Unix-aware remote node"}"#
        );
    }
}
