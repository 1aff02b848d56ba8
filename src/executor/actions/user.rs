//! `user`: an account that goes takes its own sessions with it.

use super::{ActionContext, Answer};
use crate::executor::failure::Failure;
use crate::value::Value;

/// Ends the sessions as the user who is to be absent, then has the target do the rest.
pub(super) async fn run(context: &mut ActionContext<'_>) -> Result<Answer, Failure> {
    let text = |name: &str| context.args.get(name).map(Value::to_string);
    let name = text("name").or_else(|| text("user"));
    if let (Some(name), Some("absent")) = (name, text("state").as_deref())
        && !context.settings.check
    {
        let target = context.target()?;
        context
            .job
            .world
            .sessions
            .end_those_of(&target, &name)
            .await;
    }
    context.call_module("user").await
}
