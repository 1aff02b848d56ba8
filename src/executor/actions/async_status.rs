//! `async_status`: how a task in the background is doing.

use super::{ActionContext, Answer};
use crate::arguments;
use crate::executor::failure::Failure;
use crate::executor::jobs;
use crate::value::{Map, Value};

arguments! {
    /// Obtain status of asynchronous task.
    pub(super) struct AsyncStatusArgs for "async_status" {
        /// The job.
        jid: String { required },
        /// Ask about it, or forget it.
        mode: String { default: "status", choices: ["status", "cleanup"] },
    }
}

/// Answers for the job.
pub(super) async fn run(context: &mut ActionContext<'_>) -> Result<Answer, Failure> {
    let args = AsyncStatusArgs::parse(&context.args)
        .map_err(|problem| Failure::action(problem.message))?;
    let known = &context.job.world.jobs;
    if args.mode == "status" {
        let mut answer = Answer::from_result(jobs::status(&known.state(&args.jid), &args.jid));
        answer.by_module = true;
        return Ok(answer);
    }
    known.forget(&args.jid);
    let mut result: Map = jobs::status(&jobs::JobState::Running, &args.jid);
    let file = result.shift_remove("results_file").unwrap_or_default();
    result.insert("erased".into(), file);
    result.insert("started".into(), Value::Bool(false));
    Ok(Answer::from_result(result))
}
