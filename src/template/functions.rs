//! The functions every template can call: `range`, `dict`, `lookup`, `now` and the rest.

use std::cell::Cell;
use std::rc::Rc;

use super::call::{Given, Parameters};
use super::finish::Finish;
use super::frame::Frame;
use super::lookup;
use super::methods::time;
use super::runtime::{Dict, Evaluated, RangeOf, Val, Words};
use super::syntax::Place;
use crate::value::Value;

const FUNCTIONS: [&str; 11] = [
    "range",
    "dict",
    "namespace",
    "lookup",
    "query",
    "q",
    "now",
    "undef",
    "cycler",
    "joiner",
    "lipsum",
];

/// Returns the global `name`.
pub(super) fn global(name: &str) -> Option<Val> {
    if name == "omit" {
        return Some(Val::Omit);
    }
    FUNCTIONS
        .iter()
        .find(|known| **known == name)
        .map(|known| Val::Function(known))
}

/// Calls the global function `name`.
pub(super) fn call(
    frame: &mut Frame<'_>,
    name: &'static str,
    given: Given<Val>,
    place: Place,
) -> Evaluated {
    match name {
        "lookup" => return lookup::call(frame, given, false, place),
        "query" | "q" => return lookup::call(frame, given, true, place),
        "undef" => return undef(frame, given),
        _ => {}
    }
    if let Some(fault) = given.first_undefined(&Val::Omit) {
        return Ok(Val::Undefined(fault));
    }
    match name {
        "range" => range(frame, &given),
        "dict" | "namespace" => {
            let mut dict = Dict::new();
            for source in &given.positional {
                if let Some(pairs) = frame.run.pairs(source)? {
                    dict.extend(pairs);
                    continue;
                }
                for pair in frame.run.items(source)? {
                    let pair = frame.run.items(&pair)?;
                    if let [key, val] = &pair[..] {
                        dict.insert(frame.run.data(key)?, val.clone());
                    }
                }
            }
            dict.extend(
                given
                    .named
                    .into_iter()
                    .map(|(name, val)| (name.into(), val)),
            );
            Ok(if name == "dict" {
                Val::dict(dict)
            } else {
                Val::Namespace(Rc::new(dict.into()))
            })
        }
        "now" => now(frame, given),
        "cycler" => Ok(Val::Cycler(Rc::new((given.positional, Cell::new(0))))),
        "joiner" => {
            let separator = match given.positional.first() {
                Some(separator) => frame.run.data(separator)?,
                None => ", ".into(),
            };
            Ok(Val::Joiner(Rc::new((separator, Cell::new(false)))))
        }
        _ => Ok(LIPSUM.into()),
    }
}

/// What `undef()` says for itself.
pub(super) const NO_HINT: &str = "Mandatory variable has not been overridden";

const LIPSUM: &str = "Lorem ipsum dolor sit amet, consectetur adipiscing elit, sed do eiusmod \
tempor incididunt ut labore et dolore magna aliqua.";

fn undef(frame: &Frame<'_>, given: Given<Val>) -> Evaluated {
    let mut bound = given
        .bind("undef", &Parameters::new("hint"))
        .map_err(|text| frame.run.raised(text))?;
    let hint = match bound.take(0) {
        None | Some(Val::Data(Value::Null)) => NO_HINT.to_owned(),
        Some(hint) => frame.run.text_of(&hint)?,
    };
    Ok(Val::Undefined(frame.run.fault(
        Words::Undefined(hint),
        &frame.origin,
        None,
    )))
}

fn range(frame: &Frame<'_>, given: &Given<Val>) -> Evaluated {
    let mut bounds = Vec::with_capacity(3);
    for bound in &given.positional {
        match frame.run.data(bound)? {
            Value::Int(number) => bounds.push(number),
            Value::Bool(flag) => bounds.push(i128::from(flag)),
            other => {
                return Err(frame.run.raised(format!(
                    "'{}' object cannot be interpreted as an integer",
                    other.python_type()
                )));
            }
        }
    }
    let (start, stop, step) = match bounds[..] {
        [stop] => (0, stop, 1),
        [start, stop] => (start, stop, 1),
        [start, stop, step] => (start, stop, step),
        _ => {
            return Err(frame.run.raised(format!(
                "range expected at {} argument{}, got {}",
                if bounds.is_empty() {
                    "least 1"
                } else {
                    "most 3"
                },
                if bounds.is_empty() { "" } else { "s" },
                bounds.len()
            )));
        }
    };
    if step == 0 {
        return Err(frame.run.raised("range() arg 3 must not be zero"));
    }
    Ok(Val::Range(RangeOf { start, stop, step }))
}

fn now(frame: &Frame<'_>, given: Given<Val>) -> Evaluated {
    let mut bound = given
        .bind("now", &Parameters::new("utc fmt"))
        .map_err(|text| frame.run.raised(text))?;
    let utc = match bound.take(0) {
        Some(utc) => frame.run.truth(&utc)?,
        None => false,
    };
    let now = time::now(utc);
    match bound.take(1) {
        Some(format) if frame.run.truth(&format)? => {
            Ok(time::strftime(&now, &frame.run.text_of(&format)?).into())
        }
        _ => Ok(Val::Time(now)),
    }
}
