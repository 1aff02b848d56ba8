//! `assert`: fails unless all conditions hold.

use super::{ActionContext, Answer};
use crate::arguments;
use crate::executor::failure::Failure;
use crate::node::{Kind, Node};
use crate::playbook::may_be_template;
use crate::value::Value;

arguments! {
    /// Asserts that given expressions are true.
    pub(super) struct AssertArgs for "assert" {
        /// The conditions.
        that: Value { required },
        /// What to say when one does not hold.
        fail_msg: Value { default: "Assertion failed", aliases: ["msg"] },
        /// What to say when all hold.
        success_msg: Value { default: "All assertions passed" },
        /// Say nothing when all hold.
        quiet: bool { default: "false" },
    }
}

/// Evaluates the conditions in order, up to the first that does not hold.
pub(super) async fn run(context: &mut ActionContext<'_>) -> Result<Answer, Failure> {
    let args =
        AssertArgs::parse(&context.args).map_err(|problem| Failure::action(problem.message))?;
    for condition in conditions(context, &args.that)? {
        if context.renderer.condition(&condition)? {
            continue;
        }
        let failed = Answer::failed(args.fail_msg);
        let mut failed = if args.quiet {
            failed
        } else {
            failed.always_shown()
        };
        failed.set("evaluated_to", false);
        failed.set("assertion", condition.to_value());
        return Ok(failed);
    }
    let passed = Answer::new([("changed", false.into()), ("msg", args.success_msg)]);
    Ok(if args.quiet {
        passed
    } else {
        passed.always_shown()
    })
}

/// Opens `that`: a list, one condition, or a template that gives either. What a template gives is
/// a condition where a user wrote it so.
fn conditions(context: &ActionContext<'_>, given: &Value) -> Result<Vec<Node>, Failure> {
    let mark = &context.job.task.mark;
    let of_value = |value: &Value| match Node::as_written(value, mark) {
        node @ Node {
            kind: Kind::List(_),
            ..
        } => node.as_list().unwrap_or_default().to_vec(),
        node => vec![node],
    };
    let Some(that) = context.written("that") else {
        return Ok(of_value(given));
    };
    if let Some(items) = that.as_list() {
        return Ok(items.to_vec());
    }
    if may_be_template(that)
        && let Some(list @ Value::List(_)) = context.renderer.value(that)?
    {
        return Ok(of_value(&list));
    }
    Ok(vec![that.clone()])
}
