//! `package`: the variable `ansible_package_use` names the manager where the task does not.

use super::{ActionContext, Answer};
use crate::executor::failure::Failure;
use crate::value::Value;

/// Hands the packages to the target, which finds its manager out unless one is named.
pub(super) async fn run(context: &mut ActionContext<'_>) -> Result<Answer, Failure> {
    let named = context.args.get("use").map(Value::to_string);
    if named.is_none_or(|named| named == "auto")
        && let Some(manager) = context.renderer.variable("ansible_package_use")?
        && manager.is_truthy()
    {
        context.args.insert("use".into(), manager);
    }
    context.call_module("package").await
}
