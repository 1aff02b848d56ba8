//! Tests of text, collections and truth: `match`, `subset`, `contains`, `truthy`, `version` …

use super::super::call::{Call, items_of};
use super::super::filters::regex::pattern;
use super::super::operators;
use super::super::python;
use super::super::runtime::Val;
use super::super::version;
use super::{Check, data, running};
use crate::value::Value;

pub(super) const CHECKS: &[Check] = &[
    data("match", "pattern ignorecase multiline", |call| {
        matches(call, "match")
    }),
    data("search", "pattern ignorecase multiline", |call| {
        matches(call, "search")
    }),
    data("regex", "pattern ignorecase multiline match_type", |call| {
        matches(call, call.text_at(3).as_deref().unwrap_or("search"))
    }),
    data("subset", "b!", |call| subset(&call.input, call.required(0))),
    data("issubset", "b!", |call| {
        subset(&call.input, call.required(0))
    }),
    data("superset", "b!", |call| {
        subset(call.required(0), &call.input)
    }),
    data("issuperset", "b!", |call| {
        subset(call.required(0), &call.input)
    }),
    running("contains", "value!", |frame, subject, bound, _| {
        let wanted = bound.arguments[0].clone().unwrap_or_default();
        let wanted = frame.run.force(&wanted)?;
        operators::contains(frame, subject, &wanted)
    }),
    running("any", "", |frame, subject, _, _| {
        for item in frame.run.items(subject)? {
            if frame.run.truth(&item)? {
                return Ok(true);
            }
        }
        Ok(false)
    }),
    running("all", "", |frame, subject, _, _| {
        for item in frame.run.items(subject)? {
            if !frame.run.truth(&item)? {
                return Ok(false);
            }
        }
        Ok(true)
    }),
    running("truthy", "convert_bool", |frame, subject, bound, _| {
        truthy(frame, subject, bound.arguments[0].as_ref())
    }),
    running("falsy", "convert_bool", |frame, subject, bound, _| {
        truthy(frame, subject, bound.arguments[0].as_ref()).map(|truthy| !truthy)
    }),
    data("nan", "", |call| Ok(is_nan(&call.input))),
    data("isnan", "", |call| Ok(is_nan(&call.input))),
    data("version", "version! operator strict version_type", versions),
    data(
        "version_compare",
        "version! operator strict version_type",
        versions,
    ),
];

fn matches(call: &Call<'_>, kind: &str) -> Result<bool, String> {
    let text = call.text();
    let wanted = match call.given(0) {
        None => "",
        Some(Value::String(wanted)) => wanted,
        Some(_) => return Err("first argument must be string or compiled pattern".into()),
    };
    let pattern = pattern(wanted, call.flag(1, false), call.flag(2, false))?;
    let found = match kind {
        "match" => pattern.match_start(&*text),
        "fullmatch" => pattern.full_match(&*text),
        _ => pattern.search(&*text),
    };
    found
        .map(|captures| captures.is_some())
        .map_err(|error| error.to_string())
}

fn subset(part: &Value, whole: &Value) -> Result<bool, String> {
    let whole = items_of(whole)?;
    Ok(items_of(part)?
        .iter()
        .all(|item| python::contains(&whole, item)))
}

fn truthy(
    frame: &super::super::frame::Frame<'_>,
    subject: &Val,
    convert: Option<&Val>,
) -> super::super::runtime::Evaluated<bool> {
    let converts = convert.map_or(Ok(false), |convert| frame.run.truth(convert))?;
    if converts
        && let Val::Data(value) = subject
        && let Some(flag) = value.to_soft_bool()
    {
        return Ok(flag);
    }
    frame.run.truth(subject)
}

fn is_nan(value: &Value) -> bool {
    matches!(value, Value::Float(number) if number.is_nan())
}

fn versions(call: &Call<'_>) -> Result<bool, String> {
    if call
        .given(2)
        .is_some_and(|strict| !matches!(strict, Value::Null))
        && call.get(3).is_some()
    {
        return Err("Cannot specify both 'strict' and 'version_type'".into());
    }
    if !call.input.is_truthy() {
        return Err("Input version value cannot be empty".into());
    }
    if !call.required(0).is_truthy() {
        return Err("Version parameter to compare against cannot be empty".into());
    }
    let kind = match call.text_at(3).as_deref() {
        None if call.flag(2, false) => version::Kind::Strict,
        None => version::Kind::Loose,
        Some(name) => version::Kind::named(name).ok_or_else(|| {
            format!(
                "Invalid version type ({name}). Must be one of 'loose', 'strict', 'semver', 'semantic', 'pep440'"
            )
        })?,
    };
    let operator = call.text_at(1).unwrap_or_else(|| "eq".into());
    let wanted: fn(std::cmp::Ordering) -> bool = match &*operator {
        "==" | "=" | "eq" => std::cmp::Ordering::is_eq,
        "<" | "lt" => std::cmp::Ordering::is_lt,
        "<=" | "le" => std::cmp::Ordering::is_le,
        ">" | "gt" => std::cmp::Ordering::is_gt,
        ">=" | "ge" => std::cmp::Ordering::is_ge,
        "!=" | "<>" | "ne" => std::cmp::Ordering::is_ne,
        other => {
            return Err(format!(
                "Invalid operator type ({other}). Must be one of '==', '=', 'eq', '<', 'lt', '<=', 'le', '>', 'gt', '>=', 'ge', '!=', '<>', 'ne'"
            ));
        }
    };
    version::compare(&call.text(), &call.required(0).to_string(), kind)
        .map(wanted)
        .map_err(|error| format!("Version comparison failed: {error}"))
}
