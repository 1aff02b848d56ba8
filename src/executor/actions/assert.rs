//! `assert`: fails unless all conditions hold.

use super::{ActionContext, Answer};
use crate::arguments;
use crate::executor::failure::Failure;
use crate::node::{Kind, Node};
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
    // From `args:` a condition comes rendered, and only a template's text is one.
    let rendered = Node::new(
        context.job.task.mark.clone(),
        Kind::Bool(args.that.is_truthy()),
    );
    let that = context.written("that").unwrap_or(&rendered).clone();
    for condition in conditions(context, &that) {
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

/// Opens `that`: a list, one condition, or a template that resolves to a list.
fn conditions(context: &ActionContext<'_>, that: &Node) -> Vec<Node> {
    if let Some(items) = that.as_list() {
        return items.to_vec();
    }
    if let Kind::Text(text) = &that.kind
        && let Some(name) = whole_variable(text)
        && let Some(crate::template::Binding::Source(node)) = context.renderer.scope.get(name)
        && let Some(items) = node.as_list()
    {
        return items.to_vec();
    }
    vec![that.clone()]
}

/// Returns the name in `{{ name }}`.
fn whole_variable(text: &str) -> Option<&str> {
    let name = text.trim().strip_prefix("{{")?.strip_suffix("}}")?.trim();
    name.chars()
        .all(|character| character.is_alphanumeric() || character == '_')
        .then_some(name)
}
