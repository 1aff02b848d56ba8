//! The target's own programs, as modules call them: found or named, asked in the C locale, run
//! with what undoes them.

use std::path::Path;

use crate::machine::{Command, Effect, Machine, Output};
use crate::transaction::journal::UndoStep;

use super::Failure;

/// Returns the path of a program that the module cannot do without.
pub(super) fn required(machine: &Machine, name: &str) -> Result<String, Failure> {
    found(machine, name).ok_or_else(|| {
        Failure::new(format!(
            "Failed to find required executable \"{name}\" in paths: {}",
            machine.variable("PATH").unwrap_or_default()
        ))
    })
}

/// Returns the path of a program where the target has it.
pub(super) fn found(machine: &Machine, name: &str) -> Option<String> {
    machine
        .find_program(name)
        .map(|path| path.display().to_string())
}

/// Makes a command whose output is in the C locale.
pub(super) fn command<S: AsRef<str>>(argv: &[S]) -> Command {
    Command::new(argv.iter().map(AsRef::as_ref))
        .env("LANG", "C")
        .env("LC_ALL", "C")
        .env("LC_MESSAGES", "C")
}

/// Runs a program that changes nothing.
pub(super) fn ask<S: AsRef<str>>(machine: &mut Machine, argv: &[S]) -> Result<Output, Failure> {
    Ok(machine.query(&command(argv))?)
}

/// Runs a program that changes the target and is undone by the program `undo`; `None` in check
/// mode.
pub(super) fn act<S: AsRef<str>, U: AsRef<str>>(
    machine: &mut Machine,
    argv: &[S],
    undo: &[U],
) -> Result<Option<Output>, Failure> {
    act_undone_by(machine, argv, vec![step(undo)])
}

/// Runs a program that changes the target; `None` in check mode. Without steps there is nothing
/// to undo.
pub(super) fn act_undone_by<S: AsRef<str>>(
    machine: &mut Machine,
    argv: &[S],
    undo: Vec<UndoStep>,
) -> Result<Option<Output>, Failure> {
    let what = words(argv).join(" ");
    let effect = Effect::Compensated { what, undo };
    Ok(machine.execute(&command(argv), effect)?.output())
}

/// Makes one step of an undoing.
pub(super) fn step<S: AsRef<str>>(argv: &[S]) -> UndoStep {
    UndoStep::new(words(argv))
}

/// Makes one step of an undoing that runs in a directory.
pub(super) fn step_in<S: AsRef<str>>(directory: &Path, argv: &[S]) -> UndoStep {
    let directory = directory.display().to_string();
    let script = r#"cd "$1" && shift && "$@""#;
    let start = ["sh", "-c", script, "sh", &directory].map(str::to_owned);
    UndoStep::new(start.into_iter().chain(words(argv)))
}

/// Returns what a program said of its failure.
pub(super) fn complaint(output: &Output) -> String {
    output.stderr_text().trim_end().to_owned()
}

/// Refuses the output of a program that failed, with `msg` and all it said.
pub(super) fn check(
    output: Option<&Output>,
    msg: impl FnOnce(&Output) -> String,
) -> Result<(), Failure> {
    match output {
        Some(output) if !output.success() => Err(failed(output, msg(output))),
        _ => Ok(()),
    }
}

/// Makes a failure of what a program said.
pub(super) fn failed(output: &Output, msg: impl Into<String>) -> Failure {
    Failure::new(msg)
        .with("rc", output.status)
        .with("stdout", output.stdout_text())
        .with("stderr", output.stderr_text())
}

fn words<S: AsRef<str>>(argv: &[S]) -> Vec<String> {
    argv.iter().map(|word| word.as_ref().to_owned()).collect()
}
