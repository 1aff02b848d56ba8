//! Filters that choose, guard or convert one value: `default`, `mandatory`, `ternary`, `int` …

use super::super::call::{Bound, Call};
use super::super::finish::Finish;
use super::super::format::truncate;
use super::super::frame::Frame;
use super::super::python::Number;
use super::super::runtime::{Evaluated, Val, Words};
use super::super::syntax::Place;
use super::{Filter, data, running};
use crate::value::{Value, repr};

pub(super) const FILTERS: &[Filter] = &[
    running("default", "default_value boolean", default).with_undefined(),
    running("d", "default_value boolean", default).with_undefined(),
    running("mandatory", "msg", mandatory).with_undefined(),
    running("ternary", "true_val! false_val! none_val", ternary).with_undefined(),
    running("type_debug", "", |_, input, _, _| {
        Ok(input.type_name().into())
    })
    .with_undefined(),
    running("string", "", string),
    running("bool", "", boolean),
    data("int", "default base", integer),
    data("float", "default", |call| Ok(float(call))),
];

fn default(frame: &mut Frame<'_>, input: Val, mut given: Bound<Val>, _: Place) -> Evaluated {
    let fallback = given.take(0).unwrap_or_else(|| Val::from(""));
    let by_truth = match given.take(1) {
        Some(flag) => frame.run.truth(&flag)?,
        None => false,
    };
    if input.is_undefined() || (by_truth && !frame.run.truth(&input)?) {
        return frame.run.force(&fallback);
    }
    Ok(input)
}

fn mandatory(frame: &mut Frame<'_>, input: Val, mut given: Bound<Val>, _: Place) -> Evaluated {
    let Val::Undefined(fault) = &input else {
        return Ok(input);
    };
    if let Some(message) = given.take(0)
        && !matches!(message, Val::Data(Value::Null))
    {
        return Err(frame.run.failure(frame.run.text_of(&message)?));
    }
    let message = match &fault.words {
        Words::Name(name) => format!("Mandatory variable '{name}' not defined."),
        Words::Missing { name, .. } => format!("Mandatory variable {name} not defined."),
        _ => "Mandatory variable not defined.".into(),
    };
    Err(frame.run.failure(message))
}

fn ternary(frame: &mut Frame<'_>, input: Val, mut given: Bound<Val>, _: Place) -> Evaluated {
    let [yes, no, none] = [given.take(0), given.take(1), given.take(2)];
    let chosen = match (&input, none) {
        (Val::Data(Value::Null), Some(none)) if !matches!(none, Val::Data(Value::Null)) => none,
        _ if frame.run.truth(&input)? => yes.unwrap_or_default(),
        _ => no.unwrap_or_default(),
    };
    frame.run.force(&chosen)
}

fn string(frame: &mut Frame<'_>, input: Val, _: Bound<Val>, _: Place) -> Evaluated {
    Ok(frame.run.text_of(&input)?.into())
}

fn boolean(frame: &mut Frame<'_>, input: Val, _: Bound<Val>, place: Place) -> Evaluated {
    let value = frame.run.finish(&input)?.unwrap_or_default();
    let word = match &value {
        Value::String(text) => Some(text.to_lowercase()),
        Value::Int(_) | Value::Bool(_) => Some(value.to_string().to_lowercase()),
        _ => None,
    };
    let (result, is_known) = match word.as_deref() {
        Some("yes" | "on" | "true" | "1") => (true, true),
        Some("no" | "off" | "false" | "0") => (false, true),
        _ => (super::super::python::equal(&value, &1.into()), false),
    };
    if !is_known && let Some(mark) = frame.failed(place, "").to_error().mark {
        let message = format!(
            "The `bool` filter coerced invalid value {} ({}) to {}. This feature will be removed \
             from ansible-core version 2.23.",
            repr(&value),
            value.python_type(),
            if result { "True" } else { "False" }
        );
        frame.run.engine.services().deprecate(message, &mark);
    }
    Ok(result.into())
}

fn integer(call: &Call<'_>) -> Result<Value, String> {
    let fallback = call.given(0).cloned().unwrap_or(Value::Int(0));
    let base = match call.int(1)? {
        Some(base) => u32::try_from(base).unwrap_or(0),
        None => 10,
    };
    Ok(match &call.input {
        Value::Bool(flag) => i128::from(*flag).into(),
        Value::Int(number) => (*number).into(),
        Value::Float(number) if number.is_finite() => truncate(*number).into(),
        Value::String(text) => parse_int(text, base)
            .or_else(|| {
                let float = parse_float(text).filter(|float| float.is_finite())?;
                Some(truncate(float))
            })
            .map_or(fallback, Value::Int),
        _ => fallback,
    })
}

/// Reads an integer as Python's `int(text, base)` does.
pub(super) fn parse_int(text: &str, base: u32) -> Option<i128> {
    let text = text.trim().replace('_', "");
    let (negative, digits) = match text.strip_prefix('-') {
        Some(digits) => (true, digits),
        None => (false, text.strip_prefix('+').unwrap_or(&text)),
    };
    let lower = digits.to_lowercase();
    let (base, digits) = match (base, lower.get(..2)) {
        (0 | 16, Some("0x")) => (16, &lower[2..]),
        (0 | 8, Some("0o")) => (8, &lower[2..]),
        (0 | 2, Some("0b")) => (2, &lower[2..]),
        (0, _) => (10, &*lower),
        (2..=36, _) => (base, &*lower),
        _ => return None,
    };
    if digits.starts_with(['+', '-']) {
        return None;
    }
    let magnitude = i128::from_str_radix(digits, base).ok()?;
    Some(if negative { -magnitude } else { magnitude })
}

/// Reads a float as Python's `float(text)` does.
pub(super) fn parse_float(text: &str) -> Option<f64> {
    let text = text.trim().replace('_', "");
    let lower = text.to_lowercase();
    match lower.trim_start_matches(['+', '-']) {
        "inf" | "infinity" | "nan" => lower.replace("infinity", "inf").parse().ok(),
        digits if digits.starts_with(|c: char| c.is_ascii_digit() || c == '.') => {
            lower.parse().ok()
        }
        _ => None,
    }
}

fn float(call: &Call<'_>) -> Value {
    let fallback = call.given(0).cloned().unwrap_or(Value::Float(0.0));
    match &call.input {
        Value::String(text) => parse_float(text).map_or(fallback, Value::Float),
        value => Number::of(value).map_or(fallback, |number| number.to_f64().into()),
    }
}
