//! `pause`: waits for a time, or for the person in front of the run.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::{ActionContext, Answer};
use crate::arguments;
use crate::event::Event;
use crate::executor::failure::Failure;
use crate::executor::prompt::{self, Prompt};
use crate::value::Value;

arguments! {
    /// Pause playbook execution.
    pub(super) struct PauseArgs for "pause" {
        /// How long, in minutes.
        minutes: Option<f64> {},
        /// How long, in seconds.
        seconds: Option<f64> {},
        /// What to ask.
        prompt: Option<String> {},
        /// Show what is typed.
        echo: bool { default: "true" },
    }
    mutually_exclusive [["minutes", "seconds"]]
}

/// Waits.
pub(super) async fn run(context: &mut ActionContext<'_>) -> Result<Answer, Failure> {
    let args =
        PauseArgs::parse(&context.args).map_err(|problem| Failure::action(problem.message))?;
    let started = Instant::now();
    let start = now();
    let seconds = args
        .minutes
        .map(|minutes| minutes.trunc() * 60.0)
        .or_else(|| args.seconds.map(f64::trunc))
        .map(|seconds| seconds.max(1.0));
    let world = Arc::clone(&context.job.world);
    let hidden = if args.echo { "" } else { " (output is hidden)" };
    let mut typed = String::new();
    match seconds.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok()) {
        Some(time) => {
            world.tell(Event::Prompt {
                text: format!("Pausing for {} seconds{hidden}", time.as_secs()),
            });
            tokio::time::sleep(time).await;
        }
        None if world.prompter.is_interactive() => {
            let title = context.job.info.title();
            let question = args
                .prompt
                .as_deref()
                .unwrap_or("Press enter to continue, Ctrl+C to interrupt");
            let question = Prompt {
                text: format!("[{title}]\n{question}{hidden}:\n"),
                echo: args.echo,
                timeout: None,
            };
            let asking = tokio::task::spawn_blocking(move || world.prompter.ask(&question));
            match asking.await {
                Ok(prompt::Answer::Text(text)) => typed = text,
                Ok(prompt::Answer::TimedOut | prompt::Answer::NoTerminal) => {}
                Ok(prompt::Answer::Aborted) | Err(_) => {
                    return Err(Failure::new("user requested abort!"));
                }
            }
        }
        None => world.tell(Event::Warning {
            message: "Not waiting for response to prompt as stdin is not interactive".into(),
            mark: None,
        }),
    }
    let took = started.elapsed();
    let (amount, unit) = if args.seconds.is_some() {
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

/// Returns the local time as Python prints it.
fn now() -> String {
    jiff::ZonedDateTime::now()
        .strftime("%Y-%m-%d %H:%M:%S%.6f")
        .to_string()
}
