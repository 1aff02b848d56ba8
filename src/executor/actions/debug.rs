//! `debug`: shows a message or a variable.

use super::{ActionContext, Answer};
use crate::arguments;
use crate::event::Event;
use crate::executor::failure::Failure;
use crate::value::Value;

arguments! {
    /// Print statements during execution.
    pub(super) struct DebugArgs for "debug" {
        /// The message to show.
        msg: Value { default: "Hello world!" },
        /// The name of a variable, or an expression, to show.
        var: Option<Value> {},
        /// Show only at this level of `-v` and above.
        verbosity: i64 { default: "0" },
    }
    mutually_exclusive [["msg", "var"]]
}

/// Shows what the task asks for.
pub(super) async fn run(context: &mut ActionContext<'_>) -> Result<Answer, Failure> {
    let args = match DebugArgs::parse(&context.args) {
        Ok(args) => args,
        Err(problem) => return Err(Failure::action(problem.message)),
    };
    if args.verbosity > i64::from(context.job.world.options.verbosity) {
        return Ok(Answer::new([
            ("skipped", true.into()),
            ("skipped_reason", "Verbosity threshold not met.".into()),
            ("failed", false.into()),
        ]));
    }
    let written = context.written("var").filter(|_| args.var.is_some());
    let Some(node) = written else {
        let shown = Answer::new([("msg", args.msg), ("failed", false.into())]);
        return Ok(shown.always_shown());
    };
    let expression = match context.renderer.text(Some(node))? {
        Some(_) if !crate::playbook::may_be_template(node) => node.to_value().to_string(),
        Some(rendered) => rendered,
        None => String::new(),
    };
    let value = match context
        .renderer
        .engine
        .expression(&expression, context.renderer.scope)
    {
        Ok(value) => value,
        Err(error) if error.is_undefined() => {
            context.job.world.tell(Event::Warning {
                message: format!("Encountered 1 template error.\nerror 1 - {error}"),
                mark: Some(node.mark.clone()),
            });
            format!("<< error 1 - {error} >>").into()
        }
        Err(error) => {
            return Err(Failure::from(error)
                .within("Error while resolving `var` expression")
                .at(&node.mark));
        }
    };
    Ok(Answer::new([(expression.as_str(), value), ("failed", false.into())]).always_shown())
}
