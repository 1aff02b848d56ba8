//! `validate_argument_spec`: checks variables and given arguments against a specification. A role
//! with `argument_specs` gets such a task before its own.

use super::{ActionContext, Answer};
use crate::arguments::{self, ArgumentSpec, OptionType, Parameter};
use crate::executor::failure::Failure;
use crate::template::Binding;
use crate::value::{Map, Value};

/// The options, untyped: what is wrong with them is told in ansible-core's words.
pub(super) const OPTIONS: ArgumentSpec = ArgumentSpec::new(
    "validate_argument_spec",
    &["Validate role argument specs."],
    &[
        Parameter::new(
            "argument_spec",
            OptionType::Raw,
            &["The options that there are, by their names."],
        ),
        Parameter::new(
            "provided_arguments",
            OptionType::Raw,
            &["What is checked; it wins over variables of the same names."],
        ),
        Parameter::new(
            "validate_args_context",
            OptionType::Raw,
            &["What is told of the place where the arguments were given."],
        ),
    ],
    &[],
);

/// Checks the arguments.
pub(super) async fn run(context: &mut ActionContext<'_>) -> Result<Answer, Failure> {
    let args = &context.args;
    let Some(specification) = args.get("argument_spec") else {
        return Err(Failure::new(format!(
            "\"argument_spec\" arg is required in args: {}",
            crate::value::repr(&args.clone().into())
        )));
    };
    let options = dictionary("argument_spec", Some(specification))?;
    let provided = dictionary("provided_arguments", args.get("provided_arguments"))?;
    let mut given = Map::new();
    for name in options.keys() {
        if let Some(name) = name.as_str()
            && let Some(value) = variable(context, name)?
        {
            given.insert(name.into(), value);
        }
    }
    given.extend(provided);
    let errors = arguments::validate(&options, &given).map_err(Failure::new)?;
    let about = args.get("validate_args_context").cloned();
    let mut answer = if errors.is_empty() {
        Answer::new([
            ("changed", false.into()),
            ("msg", "The arg spec validation passed".into()),
        ])
    } else {
        let told = errors.join("\n");
        let mut failed = Answer::failed(format!("Validation of arguments failed:\n{told}"));
        failed.set("argument_spec_data", specification.clone());
        failed.set("argument_errors", Value::list(errors));
        failed
    };
    answer.set(
        "validate_args_context",
        about.unwrap_or_else(|| Map::new().into()),
    );
    Ok(answer)
}

/// Reads a variable; unlike elsewhere, one that is null is there.
fn variable(context: &ActionContext<'_>, name: &str) -> Result<Option<Value>, Failure> {
    let renderer = &context.renderer;
    match renderer.scope.get(name) {
        Some(Binding::Final(value)) => Ok(Some(value)),
        Some(Binding::Source(node)) => renderer.value(&node),
        Some(Binding::Object(_)) => renderer.variable(name),
        None => Ok(None),
    }
}

fn dictionary(name: &str, value: Option<&Value>) -> Result<Map, Failure> {
    match value {
        None => Ok(Map::new()),
        Some(Value::Map(map)) => Ok(map.as_ref().clone()),
        Some(other) => Err(Failure::new(format!(
            "Incorrect type for {name}, expected dict and got <class '{}'>",
            other.python_type()
        ))),
    }
}
