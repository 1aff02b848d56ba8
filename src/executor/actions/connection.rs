//! `wait_for_connection`: waits until the target answers.

use std::time::{Duration, Instant};

use super::{ActionContext, Answer};
use crate::arguments;
use crate::executor::failure::Failure;
use crate::value::{Map, Value};

arguments! {
    /// Waits until remote system is reachable/usable.
    pub(super) struct WaitArgs for "wait_for_connection" {
        /// Seconds one attempt may take.
        connect_timeout: i64 { default: "5" },
        /// Seconds before the first attempt.
        delay: i64 { default: "0" },
        /// Seconds between attempts.
        sleep: i64 { default: "1" },
        /// Seconds all attempts may take.
        timeout: i64 { default: "600" },
    }
}

/// Connects anew, again and again, until it works or the time is over.
pub(super) async fn wait(context: &mut ActionContext<'_>) -> Result<Answer, Failure> {
    let args =
        WaitArgs::parse(&context.args).map_err(|problem| Failure::action(problem.message))?;
    if context.settings.check {
        return Ok(Answer::new([("skipped", true.into())]));
    }
    let started = Instant::now();
    let seconds = |number: i64| Duration::from_secs(u64::try_from(number).unwrap_or(0));
    tokio::time::sleep(seconds(args.delay)).await;
    let waiting = Instant::now();
    let target = context.target()?;
    let mut told = String::new();
    while waiting.elapsed() < seconds(args.timeout) {
        context.job.world.sessions.reset(&target).await;
        let attempt = context.module_in("ping", Map::new(), false);
        let limit = seconds(args.connect_timeout.max(1));
        let answered = match tokio::time::timeout(limit, attempt).await {
            Ok(answered) => answered,
            Err(_) => Err(Failure::new("no answer in time")),
        };
        match answered {
            Ok(answer) if answer.result.get("ping").and_then(Value::as_str) == Some("pong") => {
                return Ok(Answer::new([
                    ("changed", false.into()),
                    ("elapsed", started.elapsed().as_secs().into()),
                ]));
            }
            Ok(_) => "ping test failed".clone_into(&mut told),
            Err(failure) => told = failure.brief(),
        }
        tokio::time::sleep(seconds(args.sleep.max(0))).await;
    }
    let mut answer = Answer::failed(format!("timed out waiting for ping module test: {told}"));
    answer.set("elapsed", started.elapsed().as_secs());
    Ok(answer)
}
