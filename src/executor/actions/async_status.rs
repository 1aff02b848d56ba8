//! `async_status`: how a task in the background is doing.

use super::{ActionContext, Answer};
use crate::executor::deploy::Acting;
use crate::executor::failure::Failure;

/// Asks the target about the job.
pub(super) async fn run(context: &mut ActionContext<'_>) -> Result<Answer, Failure> {
    // It changes nothing that a transaction would undo.
    let place = Acting {
        target: context.target()?,
        deploy: None,
    };
    let id = context.text("jid").unwrap_or_default();
    let mode = context.text("mode").unwrap_or_else(|| "status".into());
    let mut answer = Answer::from_result(context.ask_about_job(&place, &id, &mode).await?);
    answer.by_module = true;
    Ok(answer)
}
