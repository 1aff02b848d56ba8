//! `pause`: waits for a time, or for the person in front of the run.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::{ActionContext, Answer};
use crate::arguments;
use crate::event::Event;
use crate::executor::failure::Failure;
use crate::executor::prompt::{self, Prompt, Until};
use crate::executor::world::World;
use crate::value::Value;

arguments! {
    /// Pause playbook execution.
    pub(super) struct PauseArgs for "pause" {
        /// How long, in minutes.
        minutes: Option<Value> {},
        /// How long, in seconds.
        seconds: Option<Value> {},
        /// What to ask.
        prompt: Option<String> {},
        /// Show what is typed.
        echo: bool { default: "true" },
    }
    mutually_exclusive [["minutes", "seconds"]]
}

/// What ends a pause with a time early.
const KEYS: &str = "(ctrl+C then 'C' = continue early, ctrl+C then 'A' = abort)";

/// Waits.
pub(super) async fn run(context: &mut ActionContext<'_>) -> Result<Answer, Failure> {
    let args =
        PauseArgs::parse(&context.args).map_err(|problem| Failure::action(problem.message))?;
    let started = Instant::now();
    let start = now();
    let minutes = whole("minutes", args.minutes.as_ref())?;
    let seconds = whole("seconds", args.seconds.as_ref())?;
    let time = minutes
        .map(|minutes| minutes.saturating_mul(60))
        .or(seconds)
        .map(|seconds| Duration::from_secs(u64::try_from(seconds).unwrap_or(0).max(1)));
    let world = Arc::clone(&context.job.world);
    let hidden = if args.echo { "" } else { " (output is hidden)" };
    let question = args.prompt.as_deref().filter(|prompt| !prompt.is_empty());
    let mut above = Vec::new();
    if let Some(time) = time {
        above.push(format!("Pausing for {} seconds{hidden}", time.as_secs()));
        if question.is_some() {
            above.push(KEYS.to_owned());
        }
    }
    let question = match (question, time) {
        (None, Some(_)) => KEYS.to_owned(),
        (question, _) => {
            let question = question.unwrap_or("Press enter to continue, Ctrl+C to interrupt");
            format!("[{}]\n{question}{hidden}:", context.job.info.title())
        }
    };
    // One text, for nobody else keeps what is asked behind what is told.
    let is_watched = world.prompter.is_interactive();
    let text: String = if is_watched {
        above.push(question);
        above.join("\n") + "\n"
    } else {
        for text in above {
            world.tell(Event::Prompt { text });
        }
        question
    };
    let question = Prompt {
        text,
        // What is typed while a time runs is no answer.
        echo: args.echo && time.is_none(),
        timeout: time,
        until: match time {
            Some(_) => Until::Timeout,
            None => Until::Line,
        },
    };
    let mut typed = String::new();
    match ask(&world, question.clone()).await {
        prompt::Answer::Text(text) => typed = text,
        prompt::Answer::TimedOut => {}
        prompt::Answer::NoTerminal => match time {
            Some(time) => tokio::time::sleep(time).await,
            None => world.tell(Event::Warning {
                message: "Not waiting for response to prompt as stdin is not interactive".into(),
                mark: None,
            }),
        },
        prompt::Answer::Aborted => {
            let question = Prompt {
                text: "Press 'C' to continue the play or 'A' to abort\n".into(),
                timeout: None,
                until: Until::ContinueOrAbort,
                ..question
            };
            if ask(&world, question).await == prompt::Answer::Aborted {
                return Err(Failure::new("user requested abort!"));
            }
        }
    }
    let took = started.elapsed();
    let (amount, unit) = if seconds.is_some() {
        (took.as_secs_f64(), "seconds")
    } else {
        (took.as_secs_f64() / 60.0, "minutes")
    };
    let rounded = Value::Float((amount * 100.0).round() / 100.0);
    Ok(Answer::new([
        ("changed", false.into()),
        ("rc", 0.into()),
        ("stderr", "".into()),
        ("stdout", format!("Paused for {rounded} {unit}").into()),
        ("start", start.into()),
        ("stop", now().into()),
        ("delta", took.as_secs().into()),
        ("echo", args.echo.into()),
        ("user_input", typed.into()),
    ]))
}

async fn ask(world: &World, question: Prompt) -> prompt::Answer {
    let prompter = Arc::clone(&world.prompter);
    let asking = tokio::task::spawn_blocking(move || prompter.ask(&question));
    asking.await.unwrap_or(prompt::Answer::Aborted)
}

/// Reads a whole number as Python's `int` does: what is behind the point is dropped.
fn whole(name: &str, value: Option<&Value>) -> Result<Option<i128>, Failure> {
    let Some(value) = value else { return Ok(None) };
    let number = match value {
        Value::Int(number) => Some(*number),
        Value::Bool(flag) => Some(i128::from(*flag)),
        #[expect(clippy::cast_possible_truncation, reason = "what Python's int() does")]
        Value::Float(number) if number.is_finite() => Some(number.trunc() as i128),
        Value::String(text) => text.trim().replace('_', "").parse().ok(),
        _ => None,
    };
    match number {
        Some(number) => Ok(Some(number)),
        None => Err(Failure::action(format!(
            "argument '{name}' is of type {} and we were unable to convert to int: invalid \
             literal for int() with base 10: {}",
            value.python_type(),
            crate::value::repr(value)
        ))),
    }
}

/// Returns the local time as Python prints it.
fn now() -> String {
    jiff::ZonedDateTime::now()
        .strftime("%Y-%m-%d %H:%M:%S%.6f")
        .to_string()
}
