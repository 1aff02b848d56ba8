//! `debug`: shows a message or a variable; and Ansible's own `debug` for expressions.

use super::{ActionContext, Answer, arguments};
use crate::event::Event;
use crate::executor::failure::Failure;
use crate::node::Node;
use crate::template::TemplateError;
use crate::value::Value;

crate::arguments! {
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

crate::arguments! {
    /// Evaluate expressions, also those that fail.
    pub(super) struct ExpressionArgs for "ansible._protomatter.debug" {
        /// The expressions, as they are written.
        expression: Vec<Value> { required },
    }
}

/// Evaluates expressions one by one; what fails gives its error's text and a warning.
pub(super) async fn expressions(context: &mut ActionContext<'_>) -> Result<Answer, Failure> {
    let args =
        ExpressionArgs::parse(&context.args).map_err(|problem| Failure::action(problem.message))?;
    let Some(written) = context.written("expression").and_then(Node::as_list) else {
        return Err(Failure::action(
            "expression must be a list as it is written",
        ));
    };
    let mut results = Vec::with_capacity(args.expression.len());
    let mut warnings = Vec::new();
    for node in written {
        let text = node.to_value().to_string();
        let renderer = &context.renderer;
        match renderer.engine.expression(&text, renderer.scope) {
            Ok(value) => results.push(value),
            Err(error) => {
                let (value, warning) = replaced(warnings.len() + 1, &error);
                results.push(value);
                warnings.push(warning);
            }
        }
    }
    let mut answer = Answer::new([
        ("changed", false.into()),
        ("expression_result", results.into()),
    ]);
    if !warnings.is_empty() {
        answer.set("warnings", Value::list(warnings));
    }
    Ok(answer.always_shown())
}

/// Returns what stands for an expression that failed, and the warning that says so.
fn replaced(number: usize, error: &TemplateError) -> (Value, String) {
    let message = format!("Encountered 1 template error.\nerror {number} - {error}");
    (format!("<< error {number} - {error} >>").into(), message)
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
    let mark = &context.job.task.action.written.mark;
    let written = context.written("var").filter(|_| args.var.is_some());
    let named = match written {
        Some(node) => arguments::argument(&context.renderer, "debug", "var", node)
            .map_err(|failure| failure.at(mark))?
            .map(|value| (node, value)),
        None => None,
    };
    let (node, expression) = match named {
        Some((node, Value::String(text))) if !text.is_empty() => (node, text.to_string()),
        None | Some((_, Value::Null | Value::String(_))) => {
            let shown = Answer::new([("msg", args.msg), ("failed", false.into())]);
            return Ok(shown.always_shown());
        }
        Some((_, other)) => {
            return Err(Failure::action(format!(
                "argument 'var' is of type {} and we were unable to convert to \
                 _check_type_str_no_conversion: '{other}' is not a string and conversion is not \
                 allowed",
                other.python_type(),
            )));
        }
    };
    let value =
        match context
            .renderer
            .engine
            .expression_at(&expression, &node.mark, context.renderer.scope)
        {
            Ok(value) => value,
            Err(error) if error.is_undefined() => {
                let (value, message) = replaced(1, &error);
                context.job.world.tell(Event::Warning {
                    message,
                    mark: Some(node.mark.clone()),
                });
                value
            }
            Err(error) => {
                return Err(Failure::from(error)
                    .within("Error while resolving `var` expression")
                    .at(&node.mark));
            }
        };
    Ok(Answer::new([(expression.as_str(), value), ("failed", false.into())]).always_shown())
}
