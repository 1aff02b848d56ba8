//! Values checked against a specification that is itself data: a role's `argument_specs`.
//!
//! A module's own options are declared in the code (see [`super::specification`]) and checked up
//! to the first problem; here every problem is told, in the order and the words of
//! ansible-core's `ArgumentSpecValidator`. Pure, as the rest of the room.

use super::size;
use super::soft::{Argument, OptionType, python_class};
use crate::value::{Map, Value, repr};

/// Checks `given` against the options of `specification`, and returns all that is wrong with it;
/// the error is that the specification itself cannot be used.
pub fn validate(specification: &Map, given: &Map) -> Result<Vec<String>, String> {
    let mut validation = Validation::default();
    let top = Rules {
        options: specification,
        between: None,
    };
    validation.check(&top, &mut given.clone())?;
    if let Some((_, supported)) = validation.unsupported.last() {
        let mut names: Vec<_> = validation
            .unsupported
            .iter()
            .map(|(name, _)| name)
            .collect();
        names.sort();
        let names: Vec<_> = names.into_iter().map(String::as_str).collect();
        validation.errors.push(format!(
            "{}. Supported parameters include: {supported}.",
            names.join(", ")
        ));
    }
    Ok(validation.errors)
}

/// The options on one level, and the option that holds the rules between them.
struct Rules<'a> {
    options: &'a Map,
    between: Option<&'a Value>,
}

#[derive(Default)]
struct Validation {
    errors: Vec<String>,
    /// What no option is called, as a path, and what there is in its place.
    unsupported: Vec<(String, String)>,
    /// The options around the ones that are checked.
    context: Vec<String>,
}

impl Validation {
    fn check(&mut self, rules: &Rules<'_>, given: &mut Map) -> Result<(), String> {
        for (name, option) in rules.options {
            if option.as_map().is_none() {
                return Err(format!(
                    "the specification of `{name}` must be a dictionary"
                ));
            }
            if option.get("fallback").is_some() {
                return Err(format!(
                    "`{name}` has a `fallback`, which only modules have"
                ));
            }
        }
        let aliases = self.aliases(rules.options, given);
        if let Err(message) = hidden_values(rules.options, given) {
            self.errors.push(message);
        }
        self.names(rules.options, given, &aliases);
        self.mutually_exclusive(rules, given)?;
        defaults(rules.options, given, |default| *default != Value::Null);
        self.required(rules.options, given);
        self.types(rules.options, given);
        self.choices(rules.options, given);
        self.required_together(rules, given)?;
        self.required_one_of(rules, given)?;
        self.required_if(rules, given)?;
        self.required_by(rules, given)?;
        defaults(rules.options, given, |_| true);
        self.inner(rules.options, given)
    }

    /// Tells an error, and in which options it was found.
    fn found(&mut self, message: String) {
        let place = self.context.join(" -> ");
        self.errors.push(if place.is_empty() {
            message
        } else {
            format!("{message} found in {place}")
        });
    }

    /// Gives options the values that were given to their aliases; returns the aliases.
    fn aliases(&mut self, options: &Map, given: &mut Map) -> Vec<String> {
        let mut known = Vec::new();
        for (name, option) in options {
            if is_required(option) && given_default(option) != Value::Null {
                self.errors.push(format!(
                    "internal error: required and default are mutually exclusive for {name}"
                ));
                return Vec::new();
            }
            match option.get("aliases") {
                None | Some(Value::Null) => {}
                Some(Value::List(aliases)) => {
                    for alias in aliases.iter() {
                        known.push(alias.to_string());
                        if let Some(value) = given.get(alias).cloned() {
                            given.insert(name.clone(), value);
                        }
                    }
                }
                Some(_) => {
                    self.errors
                        .push("internal error: aliases must be a list or tuple".into());
                    return Vec::new();
                }
            }
        }
        known
    }

    fn names(&mut self, options: &Map, given: &Map, aliases: &[String]) {
        for name in given.keys() {
            let text = name.to_string();
            if options.contains_key(name) || aliases.contains(&text) {
                continue;
            }
            let mut supported: Vec<_> = options.keys().map(Value::to_string).collect();
            supported.sort();
            let mut supported = supported.join(", ");
            if !aliases.is_empty() {
                let mut aliases = aliases.to_vec();
                aliases.sort();
                supported += &format!(" ({})", aliases.join(", "));
            }
            let path: Vec<_> = self.context.iter().cloned().chain([text]).collect();
            self.unsupported.push((path.join("."), supported));
        }
    }

    fn required(&mut self, options: &Map, given: &Map) {
        let mut missing: Vec<_> = options
            .iter()
            .filter(|(name, option)| is_required(option) && !given.contains_key(*name))
            .map(|(name, _)| name.to_string())
            .collect();
        if !missing.is_empty() {
            missing.sort();
            self.found(format!(
                "missing required arguments: {}",
                missing.join(", ")
            ));
        }
    }

    fn types(&mut self, options: &Map, given: &mut Map) {
        for (name, option) in options {
            let Some(value) = given.get(name).cloned() else {
                continue;
            };
            let none = value == Value::Null;
            if none && !is_required(option) && given_default(option) == Value::Null {
                continue;
            }
            let wanted = type_name(option, "type").unwrap_or_else(|| "str".into());
            let place = match self.context.join(" -> ") {
                place if place.is_empty() => place,
                place => format!(" found in '{place}'."),
            };
            let mut converted = match convert(&wanted, &value) {
                Ok(converted) => converted,
                Err(why) => {
                    let of = value.python_type();
                    self.errors.push(format!(
                        "argument '{name}' is of type {of}{place} and we were unable to convert \
                         to {wanted}: {why}"
                    ));
                    continue;
                }
            };
            if let Some(wanted_element) = type_name(option, "elements") {
                match &converted {
                    Value::List(items) => {
                        converted = self.elements(name, &wanted_element, items).into();
                    }
                    other => self.errors.push(format!(
                        "Invalid type {wanted} for option '{other}'{place}, elements value check \
                         is supported only with 'list' type"
                    )),
                }
            }
            given.insert(name.clone(), converted);
        }
    }

    /// Returns the elements that could be converted.
    fn elements(&mut self, name: &Value, wanted: &str, items: &[Value]) -> Vec<Value> {
        let place = match self.context.join(" -> ") {
            place if place.is_empty() => place,
            place => format!(" found in '{place}'"),
        };
        let mut converted = Vec::new();
        for item in items {
            match convert(wanted, item) {
                Ok(value) => converted.push(value),
                Err(why) => self.errors.push(format!(
                    "Elements value for option '{name}'{place} is of type {} and we were unable \
                     to convert to {wanted}: {why}",
                    item.python_type()
                )),
            }
        }
        converted
    }

    fn choices(&mut self, options: &Map, given: &mut Map) {
        for (name, option) in options {
            let choices = match option.get("choices") {
                None | Some(Value::Null) => continue,
                Some(Value::List(choices)) => choices,
                Some(other) => {
                    self.found(format!(
                        "internal error: choices for argument {name} are not iterable: {other}"
                    ));
                    continue;
                }
            };
            let is_choice = |value: &Value| choices.iter().any(|choice| is_equal(choice, value));
            let joined = || texts(choices.iter()).join(", ");
            match given.get_mut(name) {
                None => {}
                Some(Value::List(items)) => {
                    let wrong: Vec<_> = items.iter().filter(|item| !is_choice(item)).collect();
                    if !wrong.is_empty() {
                        let message = format!(
                            "value of {name} must be one or more of: {}. Got no match for: {}",
                            joined(),
                            texts(wrong).join(", ")
                        );
                        self.found(message);
                    }
                }
                Some(value) if is_choice(value) => {}
                Some(value) => match spelled(value, choices) {
                    Some(choice) => *value = choice,
                    None => {
                        let message =
                            format!("value of {name} must be one of: {}, got: {value}", joined());
                        self.found(message);
                    }
                },
            }
        }
    }

    fn mutually_exclusive(&mut self, rules: &Rules<'_>, given: &Map) -> Result<(), String> {
        let broken: Vec<_> = groups(rules, "mutually_exclusive")?
            .into_iter()
            .filter(|group| count(group, given) > 1)
            .map(|group| group.join("|"))
            .collect();
        if !broken.is_empty() {
            self.found(format!(
                "parameters are mutually exclusive: {}",
                broken.join(", ")
            ));
        }
        Ok(())
    }

    fn required_together(&mut self, rules: &Rules<'_>, given: &Map) -> Result<(), String> {
        let broken = groups(rules, "required_together")?
            .into_iter()
            .find(|group| (1..group.len()).contains(&count(group, given)));
        if let Some(group) = broken {
            self.found(format!(
                "parameters are required together: {}",
                group.join(", ")
            ));
        }
        Ok(())
    }

    fn required_one_of(&mut self, rules: &Rules<'_>, given: &Map) -> Result<(), String> {
        let broken = groups(rules, "required_one_of")?
            .into_iter()
            .find(|group| count(group, given) == 0);
        if let Some(group) = broken {
            self.found(format!(
                "one of the following is required: {}",
                group.join(", ")
            ));
        }
        Ok(())
    }

    fn required_if(&mut self, rules: &Rules<'_>, given: &Map) -> Result<(), String> {
        let malformed = || "`required_if` must list an option, a value and options".to_owned();
        for rule in rules.between("required_if").map_or(Ok(&[][..]), items)? {
            let (option, value, needed, any) = match rule.as_list() {
                Some([option, value, needed]) => (option, value, needed, false),
                Some([option, value, needed, any]) => (option, value, needed, any.is_truthy()),
                _ => return Err(malformed()),
            };
            let needed = needed.as_list().ok_or_else(malformed)?;
            if !given
                .get(option)
                .is_some_and(|given| is_equal(given, value))
            {
                continue;
            }
            let missing: Vec<_> = needed
                .iter()
                .filter(|name| !given.contains_key(*name))
                .collect();
            if missing.is_empty() || (any && missing.len() < needed.len()) {
                continue;
            }
            self.found(format!(
                "{option} is {value} but {} of the following are missing: {}",
                if any { "any" } else { "all" },
                texts(missing).join(", ")
            ));
            break;
        }
        Ok(())
    }

    fn required_by(&mut self, rules: &Rules<'_>, given: &Map) -> Result<(), String> {
        let is_given = |name: &Value| given.get(name).is_some_and(|value| *value != Value::Null);
        let Some(rule) = rules.between("required_by") else {
            return Ok(());
        };
        let pairs = rule
            .as_map()
            .ok_or("`required_by` must be a dictionary of options")?;
        for (option, needed) in pairs.iter().filter(|(option, _)| is_given(option)) {
            let needed = match needed {
                Value::List(names) => names.as_slice(),
                one => std::slice::from_ref(one),
            };
            let missing: Vec<_> = needed.iter().filter(|name| !is_given(name)).collect();
            if !missing.is_empty() {
                self.found(format!(
                    "missing parameter(s) required by '{option}': {}",
                    texts(missing).join(", ")
                ));
                break;
            }
        }
        Ok(())
    }

    /// Checks the options of options.
    fn inner(&mut self, options: &Map, given: &mut Map) -> Result<(), String> {
        for (name, option) in options {
            if !holds_options(option) {
                continue;
            }
            let Some(Value::Map(inner)) = option.get("options") else {
                continue;
            };
            if given.get(name).is_none_or(|value| *value == Value::Null) {
                if !option.get("apply_defaults").is_some_and(Value::is_truthy) {
                    continue;
                }
                given.insert(name.clone(), Map::new().into());
            }
            let rules = Rules {
                options: inner,
                between: Some(option),
            };
            let elements = match &given[name] {
                Value::List(items) => items.to_vec(),
                one => vec![one.clone()],
            };
            self.context.push(name.to_string());
            for element in elements {
                match element {
                    Value::Map(map) => self.check(&rules, &mut map.as_ref().clone())?,
                    _ => self.errors.push(format!(
                        "value of '{name}' must be of type dict or list of dicts"
                    )),
                }
            }
            self.context.pop();
        }
        Ok(())
    }
}

impl<'a> Rules<'a> {
    fn between(&self, name: &str) -> Option<&'a Value> {
        self.between?.get(name).filter(|rule| **rule != Value::Null)
    }
}

/// Ansible looks for secrets in the options of options, and complains where it cannot.
fn hidden_values(options: &Map, given: &Map) -> Result<(), String> {
    for (name, option) in options.iter().filter(|(_, option)| holds_options(option)) {
        let (Some(Value::Map(inner)), Some(value)) = (option.get("options"), given.get(name))
        else {
            continue;
        };
        let elements = match value {
            Value::Null => continue,
            Value::List(items) => items.as_slice(),
            one => std::slice::from_ref(one),
        };
        for element in elements {
            let map = match element {
                Value::Map(map) => map.as_ref().clone(),
                Value::String(_) => Map::convert(element)?,
                _ => {
                    return Err(format!(
                        "Value '{element}' in the sub parameter field '{name}' must be a {}, not \
                         '{}'",
                        type_name(option, "type").unwrap_or_default(),
                        element.python_type()
                    ));
                }
            };
            hidden_values(inner, &map)?;
        }
    }
    Ok(())
}

/// Tells whether an option is a dictionary, or a list of them.
fn holds_options(option: &Value) -> bool {
    match type_name(option, "type").as_deref() {
        Some("dict") => true,
        Some("list") => type_name(option, "elements").as_deref() == Some("dict"),
        _ => false,
    }
}

fn is_required(option: &Value) -> bool {
    option.get("required").is_some_and(Value::is_truthy)
}

fn given_default(option: &Value) -> Value {
    option.get("default").cloned().unwrap_or_default()
}

fn type_name(option: &Value, key: &str) -> Option<String> {
    match option.get(key) {
        None | Some(Value::Null) => None,
        Some(name) => Some(name.to_string()),
    }
}

fn defaults(options: &Map, given: &mut Map, take: fn(&Value) -> bool) {
    for (name, option) in options {
        let default = given_default(option);
        if !given.contains_key(name) && take(&default) {
            given.insert(name.clone(), default);
        }
    }
}

/// Reads a rule that lists groups of options.
fn groups(rules: &Rules<'_>, name: &str) -> Result<Vec<Vec<String>>, String> {
    let Some(rule) = rules.between(name) else {
        return Ok(Vec::new());
    };
    let group = |group: &Value| match group {
        Value::List(names) => texts(names.iter()),
        one => vec![one.to_string()],
    };
    items(rule)
        .map(|listed| listed.iter().map(group).collect())
        .map_err(|_| format!("`{name}` must be a list of lists of options"))
}

fn items(rule: &Value) -> Result<&[Value], String> {
    rule.as_list()
        .ok_or_else(|| format!("the rules of options must be lists, not {}", repr(rule)))
}

fn count(group: &[String], given: &Map) -> usize {
    group
        .iter()
        .filter(|name| given.contains_key(name.as_str()))
        .count()
}

fn texts<'a>(values: impl IntoIterator<Item = &'a Value>) -> Vec<String> {
    values.into_iter().map(Value::to_string).collect()
}

/// Compares as Python does: `1` is `1.0` and `True`.
fn is_equal(one: &Value, other: &Value) -> bool {
    let number = |value: &Value| match value {
        Value::Bool(flag) => Some(f64::from(u8::from(*flag))),
        #[expect(
            clippy::cast_precision_loss,
            reason = "only what is no integer is compared so"
        )]
        Value::Int(number) => Some(*number as f64),
        Value::Float(number) => Some(*number),
        _ => None,
    };
    match (one, other) {
        (Value::Int(one), Value::Int(other)) => one == other,
        #[expect(clippy::float_cmp, reason = "Python's equality is as exact")]
        _ => match (number(one), number(other)) {
            (Some(one), Some(other)) => one == other,
            _ => one == other,
        },
    }
}

/// Returns the one choice that stands for the boolean which YAML made of it.
fn spelled(value: &Value, choices: &[Value]) -> Option<Value> {
    let words: &[&str] = match value.as_str()? {
        "True" => &["y", "yes", "on", "1", "true", "t"],
        "False" => &["n", "no", "off", "0", "false", "f"],
        _ => return None,
    };
    let number = Value::Bool(words.contains(&"yes"));
    let mut meant = choices.iter().filter(|choice| {
        choice.as_str().is_some_and(|text| words.contains(&text)) || is_equal(choice, &number)
    });
    meant.next().filter(|_| meant.next().is_none()).cloned()
}

/// Converts to a type by its name; the error is the part after `unable to convert to TYPE: `.
fn convert(wanted: &str, value: &Value) -> Result<Value, String> {
    let refused = |to: &str| format!("{} cannot be converted to {to}", python_class(value));
    match wanted {
        "str" | "path" => Ok(match value {
            Value::Null => "".into(),
            _ => value.to_string().into(),
        }),
        "bool" => bool::convert(value).map(Value::from),
        "int" => whole_number(value),
        "float" => f64::convert(value).map(Value::from),
        "dict" => Map::convert(value).map(Value::from),
        // Unlike options of modules, the parts keep their blanks.
        "list" => match value {
            Value::List(_) => Ok(value.clone()),
            Value::String(text) => Ok(Value::list(text.split(','))),
            Value::Int(_) | Value::Float(_) | Value::Bool(_) => {
                Ok(Value::list([value.to_string()]))
            }
            _ => Err(refused("a list")),
        },
        "raw" => Ok(value.clone()),
        "json" | "jsonarg" => match value {
            Value::String(text) => Ok(text.trim().into()),
            Value::List(_) | Value::Map(_) => Ok(value.clone()),
            _ => Err(refused("a json string")),
        },
        "bytes" => size::parse(&value.to_string(), None, false)
            .map(Value::from)
            .ok_or_else(|| refused("a Byte value")),
        "bits" => size::parse(&value.to_string(), None, true)
            .map(Value::from)
            .ok_or_else(|| refused("a Bit value")),
        _ => Err(format!(
            "there is no type `{wanted}`; the types are {}",
            OptionType::NAMES.join(", ")
        )),
    }
}

/// Reads an integer; unlike `i64`, without a bound.
fn whole_number(value: &Value) -> Result<Value, String> {
    match value {
        Value::Int(_) | Value::Bool(_) => Ok(value.clone()),
        _ => i64::convert(value).map(Value::from),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(specification: &str, given: &str) -> Result<Vec<String>, String> {
        let [specification, given] =
            [specification, given].map(|json| serde_json::from_str::<Value>(json).unwrap());
        validate(specification.as_map().unwrap(), given.as_map().unwrap())
    }

    #[test]
    fn a_dictionary_with_options_must_be_one_where_ansible_stops_at_a_traceback() {
        assert_eq!(
            told(r#"{"a":{"type":"dict","options":{"x":{}}}}"#, r#"{"a":5}"#).unwrap(),
            [
                "Value '5' in the sub parameter field 'a' must be a dict, not 'int'",
                "argument 'a' is of type int and we were unable to convert to dict: <class 'int'> \
                 cannot be converted to a dict",
                "value of 'a' must be of type dict or list of dicts",
            ]
        );
    }

    #[test]
    fn a_choice_that_yaml_took_for_a_boolean_is_found_when_only_one_can_be_meant() {
        let nothing: [&str; 0] = [];
        assert_eq!(
            told(r#"{"a":{"choices":["no","yes"]}}"#, r#"{"a":false}"#).unwrap(),
            nothing
        );
        assert_eq!(
            told(r#"{"a":{"choices":["no","off"]}}"#, r#"{"a":false}"#).unwrap(),
            ["value of a must be one of: no, off, got: False"]
        );
    }

    #[test]
    fn a_specification_that_cannot_be_used_is_an_error_of_its_own() {
        assert_eq!(
            told(r#"{"a":"int"}"#, "{}").unwrap_err(),
            "the specification of `a` must be a dictionary"
        );
        assert_eq!(
            told(r#"{"a":{"type":"integer"}}"#, r#"{"a":1}"#).unwrap(),
            [
                "argument 'a' is of type int and we were unable to convert to integer: there is \
                 no type `integer`; the types are str, bool, int, float, path, list, dict, raw, \
                 json, jsonarg, bytes, bits"
            ]
        );
    }

    #[test]
    fn several_unknown_names_are_told_by_their_paths() {
        assert_eq!(
            told(
                r#"{"a":{"type":"dict","options":{"x":{}}}}"#,
                r#"{"a":{"y":1},"b":2}"#
            )
            .unwrap(),
            ["a.y, b. Supported parameters include: x."]
        );
    }
}
