//! `command` and `shell`: run a program, or a text that a shell reads.
//!
//! What they change is unknown, so the undo log says so; `creates` and `removes` decide whether
//! they run at all.

use std::path::{Path, PathBuf};
use std::time::SystemTime;

use crate::machine::{Command, Effect, Execution, Machine, MachineError, Output, split_words};
use crate::value::Value;

use super::os_error::{errno_text, os_error};
use super::{Failure, ModuleResult, Outcome, glob};

crate::arguments! {
    /// Execute commands on targets.
    pub(crate) struct CommandArgs for "command" {
        /// The command to run.
        cmd: Option<String> {},
        /// The command as a list of words.
        argv: Option<Vec<String>> {},
        /// Change into this directory before running the command.
        chdir: Option<PathBuf> {},
        /// Do not run when a file matches this path or pattern.
        creates: Option<PathBuf> {},
        /// Run only when a file matches this path or pattern.
        removes: Option<PathBuf> {},
        /// Accepted as Ansible accepts it, and not used.
        executable: Option<String> {},
        /// Expand `$VARIABLE` and `~` in the words.
        expand_argument_vars: bool { default: "true" },
        /// The text on standard input.
        stdin: Option<String> {},
        /// Append a newline to `stdin`.
        stdin_add_newline: bool { default: "true" },
        /// Strip empty lines from the end of stdout and stderr.
        strip_empty_ends: bool { default: "true" },
    }
    free_form "cmd"
}

crate::arguments! {
    /// Execute shell commands on targets.
    pub(crate) struct ShellArgs for "shell" {
        /// The command to run.
        cmd: Option<String> {},
        /// The command as a list of words, which are quoted for the shell.
        argv: Option<Vec<String>> {},
        /// Change into this directory before running the command.
        chdir: Option<PathBuf> {},
        /// Do not run when a file matches this path or pattern.
        creates: Option<PathBuf> {},
        /// Run only when a file matches this path or pattern.
        removes: Option<PathBuf> {},
        /// The shell, by its absolute path.
        executable: Option<String> {},
        /// The text on standard input.
        stdin: Option<String> {},
        /// Append a newline to `stdin`.
        stdin_add_newline: bool { default: "true" },
        /// Strip empty lines from the end of stdout and stderr.
        strip_empty_ends: bool { default: "true" },
    }
    free_form "cmd"
}

/// Runs a program without a shell.
pub(crate) fn run(machine: &mut Machine, args: CommandArgs) -> ModuleResult {
    let words = match given(args.cmd, args.argv)? {
        Given::Text(text) => {
            split_words(&text).ok_or_else(|| Failure::new("No closing quotation"))?
        }
        Given::Words(words) => words,
    };
    let shown = Value::list(words.iter().map(String::as_str));
    let expanded: Vec<String> = if args.expand_argument_vars {
        words.iter().map(|word| machine.expand_text(word)).collect()
    } else {
        words
    };
    let joined = expanded.join(" ");
    let outcome = execute(
        machine,
        Invocation {
            command: Command::new(expanded),
            shown,
            joined,
            chdir: args.chdir,
            creates: args.creates,
            removes: args.removes,
            stdin: args.stdin,
            stdin_add_newline: args.stdin_add_newline,
            strip: args.strip_empty_ends,
        },
    );
    match args.executable {
        Some(executable) => {
            let warning = format!(
                "As of Ansible 2.4, the parameter 'executable' is no longer supported with the \
                 'command' module. Not using '{executable}'."
            );
            outcome
                .map(|outcome| outcome.warn(warning.clone()))
                .map_err(|failure| failure.warn(warning))
        }
        None => outcome,
    }
}

/// Runs a text through a shell.
pub(crate) fn run_shell(machine: &mut Machine, args: ShellArgs) -> ModuleResult {
    let (text, shown) = match given(args.cmd, args.argv)? {
        Given::Text(text) => (text.clone(), Value::from(text)),
        Given::Words(words) => {
            let quoted: Vec<_> = words.iter().map(|word| quote(word)).collect();
            (quoted.join(" "), Value::list(words))
        }
    };
    let shell = args.executable.as_deref().unwrap_or("/bin/sh");
    execute(
        machine,
        Invocation {
            command: Command::shell_with(shell, &text),
            shown,
            joined: text,
            chdir: args.chdir,
            creates: args.creates,
            removes: args.removes,
            stdin: args.stdin,
            stdin_add_newline: args.stdin_add_newline,
            strip: args.strip_empty_ends,
        },
    )
}

enum Given {
    Text(String),
    Words(Vec<String>),
}

fn given(cmd: Option<String>, argv: Option<Vec<String>>) -> Result<Given, Failure> {
    match (cmd.filter(|text| !text.is_empty()), argv) {
        (Some(_), Some(_)) => Err(Failure::new(
            "parameters are mutually exclusive: _raw_params|cmd|argv",
        )),
        (Some(text), None) => Ok(Given::Text(text)),
        (None, Some(words)) => Ok(Given::Words(words)),
        (None, None) => Err(Failure::new(
            "one of the following is required: _raw_params, cmd, argv",
        )),
    }
}

struct Invocation {
    command: Command,
    /// What the result has as `cmd`.
    shown: Value,
    /// The same in one line, for an error and the undo log.
    joined: String,
    chdir: Option<PathBuf>,
    creates: Option<PathBuf>,
    removes: Option<PathBuf>,
    stdin: Option<String>,
    stdin_add_newline: bool,
    strip: bool,
}

fn execute(machine: &mut Machine, invocation: Invocation) -> ModuleResult {
    let chdir = invocation.chdir.as_deref().map(|path| machine.expand(path));
    if let Some(directory) = &chdir {
        check_directory(machine, directory, &invocation.shown)?;
    }
    let verb = if machine.is_check() { "Would" } else { "Did" };
    let within = |machine: &mut Machine, path: &Path| match &chdir {
        Some(directory) if is_relative(path) => directory.join(path),
        _ => machine.expand(path),
    };
    let creates = invocation.creates.as_ref();
    let created = creates.map(|path| within(machine, path));
    if let (Some(creates), Some(path)) = (creates, &created)
        && glob::matches_any(machine, path)?
    {
        let why = format!("{} exists", creates.display());
        let msg = format!(
            "{verb} not run command since '{}' exists",
            creates.display()
        );
        return Ok(not_run(&invocation, &why, msg));
    }
    if let Some(removes) = &invocation.removes {
        let path = within(machine, removes);
        if !glob::matches_any(machine, &path)? {
            let why = format!("{} does not exist", removes.display());
            let msg = format!(
                "{verb} not run command since '{}' does not exist",
                removes.display()
            );
            return Ok(not_run(&invocation, &why, msg));
        }
    }
    let command = prepared(&invocation, chdir);
    let what = format!("command `{}`", invocation.joined);
    let effect = match &created {
        Some(created) => Effect::creating(what, created),
        None => Effect::opaque(what),
    };
    match machine.execute(&command, effect) {
        Ok(Execution::Done(output)) => finished(&invocation, &output),
        Ok(Execution::Predicted) => Ok(predicted(&invocation)),
        Err(error) => Err(not_started(&invocation, error)),
    }
}

fn prepared(invocation: &Invocation, chdir: Option<PathBuf>) -> Command {
    let mut command = invocation.command.clone();
    if let Some(directory) = chdir {
        command = command.directory(directory);
    }
    if let Some(stdin) = invocation.stdin.as_ref().filter(|text| !text.is_empty()) {
        let mut bytes = stdin.clone().into_bytes();
        if invocation.stdin_add_newline {
            bytes.push(b'\n');
        }
        command = command.stdin(bytes);
    }
    command
}

fn check_directory(machine: &Machine, directory: &Path, shown: &Value) -> Result<(), Failure> {
    let path = directory.display().to_string();
    let why = match machine.metadata(directory) {
        Ok(Some(found)) if found.is_dir() => return Ok(()),
        Ok(Some(_)) => errno_text(20, &path),
        Ok(None) => errno_text(2, &path),
        Err(error) => os_error(&error),
    };
    let msg = format!("Unable to change directory before execution: {why}");
    Err(Failure::new(msg).with_all(empty(shown, Value::Null).data))
}

/// Makes the result of a command that did not run; its keys are there all the same.
fn empty(shown: &Value, rc: Value) -> Outcome {
    Outcome::unchanged()
        .with("stdout", "")
        .with("stderr", "")
        .with("rc", rc)
        .with("cmd", shown.clone())
        .with("start", Value::Null)
        .with("end", Value::Null)
        .with("delta", Value::Null)
}

fn not_run(invocation: &Invocation, why: &str, msg: String) -> Outcome {
    empty(&invocation.shown, 0.into())
        .with("stdout", format!("skipped, since {why}"))
        .msg(msg)
}

fn predicted(invocation: &Invocation) -> Outcome {
    let outcome =
        empty(&invocation.shown, 0.into()).msg("Command would have run if not in check mode");
    if invocation.creates.is_none() && invocation.removes.is_none() {
        outcome.skipped()
    } else {
        outcome.with_changed(true)
    }
}

fn finished(invocation: &Invocation, output: &Output) -> ModuleResult {
    let text = |text: String| {
        if invocation.strip {
            text.trim_end_matches(['\r', '\n']).to_owned()
        } else {
            text
        }
    };
    let took = output.end.duration_since(output.start).unwrap_or_default();
    let outcome = Outcome::changed()
        .with("stdout", text(output.stdout_text()))
        .with("stderr", text(output.stderr_text()))
        .with("rc", output.status)
        .with("cmd", invocation.shown.clone())
        .with("start", local_time(output.start))
        .with("end", local_time(output.end))
        .with("delta", python_timedelta(took));
    if output.success() {
        return Ok(outcome.msg(""));
    }
    Err(Failure::new("non-zero return code")
        .with_changed(true)
        .with_all(outcome.data))
}

fn not_started(invocation: &Invocation, error: MachineError) -> Failure {
    let Some(errno) = error.errno() else {
        return Failure::from(error);
    };
    let program = invocation.command.program().to_string_lossy();
    let why = errno_text(errno, &program);
    Failure::new(format!("Error executing command: {why}"))
        .with("rc", errno)
        .with("cmd", invocation.joined.clone())
        .with("stdout", "")
        .with("stderr", "")
}

/// Returns a time as `str(datetime.now())` writes it: microseconds, unless there are none.
pub(super) fn local_time(time: SystemTime) -> String {
    let Ok(timestamp) = jiff::Timestamp::try_from(time) else {
        return String::new();
    };
    let local = timestamp.to_zoned_datetime(jiff::tz::TimeZone::system());
    let micros = local.subsec_nanosecond() / 1000;
    let whole = local.strftime("%Y-%m-%d %H:%M:%S");
    if micros == 0 {
        whole.to_string()
    } else {
        format!("{whole}.{micros:06}")
    }
}

/// Returns a duration as `str(timedelta)` writes it.
pub(super) fn python_timedelta(duration: std::time::Duration) -> String {
    let seconds = duration.as_secs();
    let days = match seconds / 86_400 {
        0 => String::new(),
        1 => "1 day, ".to_owned(),
        days => format!("{days} days, "),
    };
    let clock = format!(
        "{}:{:02}:{:02}",
        seconds / 3600 % 24,
        seconds / 60 % 60,
        seconds % 60
    );
    match duration.subsec_micros() {
        0 => format!("{days}{clock}"),
        micros => format!("{days}{clock}.{micros:06}"),
    }
}

/// Tells whether a path counts from the working directory: it starts with neither `/`, `~` nor a
/// variable.
fn is_relative(path: &Path) -> bool {
    !path.to_string_lossy().starts_with(['/', '~', '$'])
}

/// Quotes a word for a POSIX shell where it needs it.
pub(super) fn quote(word: &str) -> String {
    let is_plain = |letter: char| letter.is_ascii_alphanumeric() || "@%_-+=:,./".contains(letter);
    if !word.is_empty() && word.chars().all(is_plain) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', r#"'"'"'"#))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::testing::Target;
    use super::*;

    /// Runs a module and returns its result without lines, and with T for times.
    fn result(target: &Target, module: &str, options: &str) -> String {
        let mut result = target.result(module, options);
        result.retain(|key, _| !key.to_string().ends_with("_lines"));
        for key in ["start", "end", "delta"] {
            if let Some(value) = result.get_mut(key)
                && *value != Value::Null
            {
                *value = "T".into();
            }
        }
        serde_json::to_string(&Value::from(result)).unwrap()
    }

    #[test]
    fn a_program_gets_its_words_with_variables_expanded() {
        let target = Target::new().env("NAME", "me").env("HOME", "/h");
        let options = r#"{"cmd": "printf '%s.' $NAME ~ '$NOPE' \"a  b\""}"#;
        assert_eq!(
            result(&target, "command", options),
            r#"{"changed":true,"stdout":"me./h.$NOPE.a  b.","stderr":"","rc":0,"cmd":["printf","%s.","$NAME","~","$NOPE","a  b"],"start":"T","end":"T","delta":"T","msg":""}"#
        );
        let literal = r#"{"argv": ["printf", "%s", "$NAME"], "expand_argument_vars": false}"#;
        let result = target.result("command", literal);
        assert_eq!(result.get("stdout"), Some(&"$NAME".into()));
    }

    #[test]
    fn a_failed_command_has_changed_something_and_keeps_its_output() {
        let options = r#"{"cmd": "echo out; echo err >&2; printf 'a\n\n\n'; exit 4"}"#;
        assert_eq!(
            result(&Target::new(), "shell", options),
            r#"{"failed":true,"changed":true,"msg":"non-zero return code","stdout":"out\na","stderr":"err","rc":4,"cmd":"echo out; echo err >&2; printf 'a\n\n\n'; exit 4","start":"T","end":"T","delta":"T"}"#
        );
    }

    #[test]
    fn a_program_that_cannot_start_is_named_with_the_kernels_reason() {
        assert_eq!(
            result(&Target::new(), "command", r#"{"cmd": "/no/such a"}"#),
            r#"{"failed":true,"changed":false,"msg":"Error executing command: [Errno 2] No such file or directory: b'/no/such'","rc":2,"cmd":"/no/such a","stdout":"","stderr":""}"#
        );
    }

    #[test]
    fn creates_and_removes_count_from_the_working_directory() {
        let target = Target::new().file("d/made", "");
        let options = r#"{"cmd": "echo x", "chdir": "$ROOT/d", "creates": "ma*"}"#;
        assert_eq!(
            result(&target, "shell", options),
            r#"{"changed":false,"stdout":"skipped, since ma* exists","stderr":"","rc":0,"cmd":"echo x","start":null,"end":null,"delta":null,"msg":"Did not run command since 'ma*' exists"}"#
        );
        let options = r#"{"cmd": "pwd", "chdir": "$ROOT/d", "removes": "made"}"#;
        let ran = target.result("shell", options);
        let directory = target.path("d").display().to_string();
        assert_eq!(ran.get("stdout"), Some(&directory.into()));
    }

    #[test]
    fn input_gets_a_newline_unless_it_should_not() {
        let stdout = |options: &str| {
            let result = Target::new().result("shell", options);
            result.get("stdout").map(ToString::to_string)
        };
        let kept = r#"{"cmd": "cat; echo .", "stdin": "a", "strip_empty_ends": false}"#;
        assert_eq!(stdout(kept), Some("a\n.\n".into()));
        let bare = r#"{"cmd": "cat; echo .", "stdin": "a", "stdin_add_newline": false}"#;
        assert_eq!(stdout(bare), Some("a.".into()));
    }

    #[test]
    fn foreign_bytes_become_replacement_characters() {
        let result = Target::new().result("shell", r#"{"cmd": "printf '\\377ok'"}"#);
        assert_eq!(result.get("stdout"), Some(&"\u{fffd}ok".into()));
    }

    #[test]
    fn durations_are_written_as_python_writes_them() {
        for (duration, text) in [
            (Duration::from_micros(6_452), "0:00:00.006452"),
            (Duration::from_secs(3661), "1:01:01"),
            (Duration::from_hours(50), "2 days, 2:00:00"),
        ] {
            assert_eq!(python_timedelta(duration), text);
        }
    }

    #[test]
    fn words_are_quoted_for_the_shell_only_where_they_need_it() {
        let result = Target::new().result("shell", r#"{"argv": ["echo", "a  b", "it's"]}"#);
        assert_eq!(result.get("stdout"), Some(&"a  b it's".into()));
        assert_eq!(quote("a/b=c"), "a/b=c");
    }
}
