//! What a result says about how its module was called.

use crate::arguments::{ArgumentSpec, OptionType, Parameter};
use crate::value::{Map, Value};

/// What stands in a result for the value of a `no_log` option.
const HIDDEN: &str = "VALUE_SPECIFIED_IN_NO_LOG_PARAMETER";

/// Returns `module_args`: every option with its value or default, secrets hidden.
pub fn invocation(spec: &ArgumentSpec, given: &Map) -> Map {
    spec.all_parameters()
        .filter(|parameter| !parameter.internal)
        .map(|parameter| (parameter.name.into(), shown(parameter, given)))
        .collect()
}

fn shown(parameter: &Parameter, given: &Map) -> Value {
    let names = std::iter::once(parameter.name).chain(parameter.aliases.iter().copied());
    let value = names
        .filter_map(|name| given.get(name))
        .next_back()
        .cloned()
        .or_else(|| parameter.default.map(Value::from));
    match value {
        None | Some(Value::Null) => Value::Null,
        Some(_) if parameter.no_log => HIDDEN.into(),
        Some(value) => typed(parameter.option_type, value),
    }
}

/// Converts the soft types; a value that does not convert is shown as it was given.
fn typed(option_type: OptionType, value: Value) -> Value {
    match (option_type, &value) {
        (OptionType::Boolean, _) => value.to_soft_bool().map_or(value, Value::from),
        (OptionType::Integer, Value::String(text)) => text
            .trim()
            .parse::<i64>()
            .map_or(value.clone(), Value::from),
        (OptionType::List, Value::String(text)) if text.is_empty() => Value::list::<Value>([]),
        (OptionType::List, Value::String(text)) => Value::list(text.split(',').map(str::trim)),
        (OptionType::List, Value::List(_)) => value,
        (OptionType::List, _) => Value::list([value]),
        (OptionType::Text | OptionType::Path, Value::Int(_) | Value::Float(_) | Value::Bool(_)) => {
            value.to_string().into()
        }
        _ => value,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    crate::arguments! {
        /// Sample.
        struct SampleArgs for "sample" {
            path: String { required, aliases: ["dest"] },
            force: bool { default: "no" },
            names: Vec<String> {},
            password: Option<String> { no_log },
            _content: Option<String> { internal },
        }
    }

    #[test]
    fn every_option_is_shown_and_secrets_are_not() {
        let given = Value::map([("dest", "/x"), ("password", "geheim"), ("names", "a, b")]);
        let parsed = SampleArgs::parse(given.as_map().unwrap()).unwrap();
        assert_eq!((parsed.path.as_str(), parsed.force), ("/x", false));
        assert_eq!(parsed.names, ["a", "b"]);
        assert_eq!(parsed.password.as_deref(), Some("geheim"));
        assert_eq!(parsed._content, None);
        let shown = invocation(&SampleArgs::SPEC, given.as_map().unwrap());
        assert_eq!(
            serde_json::to_string(&Value::from(shown)).unwrap(),
            r#"{"path":"/x","force":false,"names":["a","b"],"password":"VALUE_SPECIFIED_IN_NO_LOG_PARAMETER"}"#
        );
    }
}
