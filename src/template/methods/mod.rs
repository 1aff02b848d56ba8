//! Methods of Python's types, as templates call them: `x.split(',')`, `d.items()`, `l.append(1)`.

mod containers;
pub(super) mod text;
pub(super) mod time;

use super::call::{Given, Parameters};
use super::frame::Frame;
use super::loops;
use super::runtime::{Evaluated, Val};
use crate::value::Value;

const LIST: &[&str] = &[
    "append", "clear", "copy", "count", "extend", "index", "insert", "pop", "remove", "reverse",
    "sort",
];
const TUPLE: &[&str] = &["count", "index"];
const DICT: &[&str] = &[
    "clear",
    "copy",
    "get",
    "items",
    "keys",
    "pop",
    "popitem",
    "setdefault",
    "update",
    "values",
];
const CHANGING: &[&str] = &[
    "append",
    "clear",
    "extend",
    "insert",
    "pop",
    "popitem",
    "remove",
    "reverse",
    "setdefault",
    "sort",
    "update",
    "__setitem__",
];

/// Tells whether Python's type of `owner` has a method `name`.
pub(super) fn has(owner: &Val, name: &str) -> bool {
    let known = match owner {
        Val::List(_) | Val::Data(Value::List(_)) => LIST,
        Val::Tuple(_) => TUPLE,
        Val::Dict(_) | Val::Data(Value::Map(_)) => {
            return DICT.contains(&name) || name == "__setitem__";
        }
        Val::Object(_) => &["get", "items", "keys", "values"],
        Val::Data(Value::String(_)) => text::METHODS,
        Val::Data(Value::Int(_)) => &[
            "bit_length",
            "__and__",
            "__or__",
            "__xor__",
            "__lshift__",
            "__rshift__",
        ],
        Val::Data(Value::Float(_)) => &["is_integer"],
        Val::Time(_) => time::METHODS,
        Val::Span(_) => &["total_seconds"],
        Val::Loop(_) => &["cycle", "changed"],
        Val::Cycler(_) => &["next", "reset"],
        _ => &[],
    };
    known.contains(&name)
}

/// Tells whether a method of that name changes its owner.
pub(super) fn changes(name: &str) -> bool {
    CHANGING.contains(&name)
}

/// Calls the method `name` of `owner`.
pub(super) fn call(frame: &mut Frame<'_>, owner: &Val, name: &str, given: Given<Val>) -> Evaluated {
    match owner {
        Val::Data(Value::String(text)) => text::call(frame, &text.shared(), name, given),
        Val::Time(_) | Val::Span(_) => time::call(frame, owner, name, &given),
        Val::Loop(_) | Val::Cycler(_) => {
            let called = loops::method(frame, owner, name, &given.positional)?;
            Ok(called.unwrap_or_default())
        }
        Val::Data(Value::Int(number)) => integer(frame, *number, name, &given),
        Val::Data(Value::Float(number)) => Ok((number.fract() == 0.0).into()),
        _ => containers::call(frame, owner, name, given),
    }
}

fn integer(frame: &Frame<'_>, number: i128, name: &str, given: &Given<Val>) -> Evaluated {
    if name == "bit_length" {
        return Ok((128 - number.unsigned_abs().leading_zeros()).into());
    }
    let Some(Val::Data(Value::Int(other))) = given.positional.first() else {
        return Err(frame.run.raised(format!("{name}() needs one integer")));
    };
    let shift = u32::try_from(*other).unwrap_or(127).min(127);
    Ok(match name {
        "__and__" => number & other,
        "__or__" => number | other,
        "__xor__" => number ^ other,
        "__lshift__" => number << shift,
        _ => number >> shift,
    }
    .into())
}

/// Matches the arguments of a method, in Python's words when they do not fit.
fn bind(
    frame: &Frame<'_>,
    given: Given<Val>,
    name: &str,
    parameters: &'static str,
) -> Evaluated<Vec<Option<Val>>> {
    given
        .bind(name, &Parameters::new(parameters))
        .map(|bound| bound.arguments)
        .map_err(|text| frame.run.raised(text))
}

impl Default for Val {
    fn default() -> Self {
        Self::Data(Value::Null)
    }
}
