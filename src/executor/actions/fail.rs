//! `fail`: fails with a message.

use super::{ActionContext, Answer};
use crate::arguments;
use crate::executor::failure::Failure;
use crate::value::Value;

arguments! {
    /// Fail with custom message.
    pub(super) struct FailArgs for "fail" {
        /// What to say.
        msg: Value { default: "Failed as requested from task" },
    }
}

/// Fails.
pub(super) async fn run(context: &mut ActionContext<'_>) -> Result<Answer, Failure> {
    let args =
        FailArgs::parse(&context.args).map_err(|problem| Failure::action(problem.message))?;
    Ok(Answer::failed(args.msg))
}
