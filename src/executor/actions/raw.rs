//! `raw`: a command of the target's shell, with nothing of ours on the target.

use super::context::nobody_undoes;
use super::{ActionContext, Answer};
use crate::arguments;
use crate::event::Event;
use crate::executor::failure::Failure;
use crate::value::{Map, Value};

arguments! {
    /// Executes a low-down and dirty command.
    pub(super) struct RawArgs for "raw" {
        /// The command.
        cmd: Option<String> {},
        /// The shell to run it with.
        executable: Option<String> {},
    }
    free_form "cmd"
}

/// Runs the command.
pub(super) async fn run(context: &mut ActionContext<'_>) -> Result<Answer, Failure> {
    let args = RawArgs::parse(&context.args).map_err(|problem| Failure::action(problem.message))?;
    if !context.settings.environment.is_empty() {
        context.job.world.tell(Event::Warning {
            message: "raw module does not support the environment keyword".into(),
            mark: None,
        });
    }
    if context.settings.check {
        return Ok(Answer::new([("skipped", true.into())]));
    }
    let command = args.cmd.unwrap_or_default();
    let command = match args.executable.filter(|shell| !shell.is_empty()) {
        Some(shell) => format!("{shell} -c {}", quoted(&command)),
        None => command,
    };
    let what = format!("raw: {command}");
    let output = context.raw(&command).await?;
    let mut result = Map::new();
    result.insert("changed".into(), true.into());
    result.insert("rc".into(), output.status.into());
    for (name, bytes) in [("stdout", &output.stdout), ("stderr", &output.stderr)] {
        let text = String::from_utf8_lossy(bytes).into_owned();
        let lines = Value::list(text.lines());
        result.insert(name.into(), text.into());
        result.insert(format!("{name}_lines").into(), lines);
    }
    if output.status != 0 {
        result.insert("failed".into(), true.into());
        result.insert("msg".into(), "non-zero return code".into());
    }
    let mut answer = Answer::from_result(result);
    answer.steps.push(nobody_undoes(what));
    Ok(answer)
}

/// Quotes a text for a POSIX shell.
fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', "'\"'\"'"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quoted_text_is_one_word_for_a_shell() {
        assert_eq!(quoted("it's"), "'it'\"'\"'s'");
    }
}
