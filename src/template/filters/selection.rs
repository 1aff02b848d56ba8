//! Filters that walk over items and may call other filters and tests: `map`, `select`, `first` …

use std::sync::Arc;

use super::super::call::{Bound, Given};
use super::super::checks::{self, Check};
use super::super::finish::Finish;
use super::super::frame::Frame;
use super::super::runtime::{Evaluated, Val, Words};
use super::super::syntax::Place;
use super::{Filter, running};
use crate::value::Value;

pub(super) const FILTERS: &[Filter] = &[
    running("list", "", list),
    running("length", "", length),
    running("count", "", length),
    running("first", "", first),
    running("last", "", last),
    running("map", "* **", map),
    running("select", "* **", select),
    running("reject", "* **", reject),
    running("selectattr", "* **", selectattr),
    running("rejectattr", "* **", rejectattr),
    running("extract", "container! morekeys", extract).with_undefined(),
];

fn list(frame: &mut Frame<'_>, input: Val, _: Bound<Val>, _: Place) -> Evaluated {
    Ok(Val::list(frame.run.items(&input)?))
}

fn length(frame: &mut Frame<'_>, input: Val, _: Bound<Val>, _: Place) -> Evaluated {
    match frame.run.length(&input)? {
        Some(length) => Ok(length.into()),
        None => Err(frame.run.failure(format!(
            "object of type '{}' has no len()",
            input.type_name()
        ))),
    }
}

fn empty(frame: &Frame<'_>, which: &str) -> Val {
    Val::Undefined(frame.run.fault(
        Words::Undefined(format!("No {which} item, sequence was empty.")),
        &frame.origin,
        None,
    ))
}

fn first(frame: &mut Frame<'_>, input: Val, _: Bound<Val>, _: Place) -> Evaluated {
    match frame.run.items(&input)?.first() {
        Some(item) => frame.run.force(item),
        None => Ok(empty(frame, "first")),
    }
}

fn last(frame: &mut Frame<'_>, input: Val, _: Bound<Val>, _: Place) -> Evaluated {
    match frame.run.items(&input)?.last() {
        Some(item) => frame.run.force(item),
        None => Ok(empty(frame, "last")),
    }
}

/// Reads a dotted path of attributes and indexes from a value.
pub(super) fn path(frame: &mut Frame<'_>, item: &Val, path: &Value, place: Place) -> Evaluated {
    let Value::String(text) = path else {
        return frame.item(item, &Val::Data(path.clone()), place);
    };
    let mut val = frame.run.force(item)?;
    for part in text.split('.') {
        let key = match part.parse::<i128>() {
            Ok(index) if !part.starts_with('+') => Val::from(index),
            _ => Val::from(part),
        };
        val = frame.item(&val, &key, place)?;
    }
    Ok(val)
}

fn map(frame: &mut Frame<'_>, input: Val, mut given: Bound<Val>, place: Place) -> Evaluated {
    let items = frame.run.items(&input)?;
    let mut out = Vec::with_capacity(items.len());
    let attribute = given
        .named
        .iter()
        .position(|(name, _)| &**name == "attribute");
    if let (true, Some(at)) = (given.rest.is_empty(), attribute) {
        let attribute = given.named.remove(at).1;
        let attribute = frame.run.data(&attribute)?;
        let fallback = given
            .named
            .iter()
            .position(|(name, _)| &**name == "default")
            .map(|at| given.named.remove(at).1);
        if let Some((name, _)) = given.named.first() {
            return Err(frame
                .run
                .failure(format!("Unexpected keyword argument '{name}'")));
        }
        for item in &items {
            let val = path(frame, item, &attribute, place)?;
            out.push(match (&val, &fallback) {
                (Val::Undefined(_), Some(fallback)) => fallback.clone(),
                _ => val,
            });
        }
        return Ok(Val::list(out));
    }
    if given.rest.is_empty() {
        return Err(frame.run.failure("map requires a filter argument"));
    }
    let name = given.rest.remove(0);
    let name = frame.run.text_of(&name)?;
    let Some(filter) = super::find(&name) else {
        return Err(frame.run.failure(format!("No filter named '{name}'.")));
    };
    for item in items {
        let arguments = Given {
            positional: given.rest.clone(),
            named: given.named.clone(),
        };
        out.push(frame.filter(filter, item, arguments, place)?);
    }
    Ok(Val::list(out))
}

/// What a selecting filter asks of each item.
struct Question {
    check: Option<&'static Check>,
    arguments: Given<Val>,
}

impl Question {
    fn read(frame: &Frame<'_>, mut rest: Vec<Val>, named: Vec<(Arc<str>, Val)>) -> Evaluated<Self> {
        if rest.is_empty() {
            return Ok(Self {
                check: None,
                arguments: Given::default(),
            });
        }
        let name = frame.run.text_of(&rest.remove(0))?;
        let check = checks::find(&name)
            .ok_or_else(|| frame.run.failure(format!("No test named '{name}'.")))?;
        Ok(Self {
            check: Some(check),
            arguments: Given {
                positional: rest,
                named,
            },
        })
    }

    fn holds(&self, frame: &mut Frame<'_>, subject: Val, place: Place) -> Evaluated<bool> {
        let answer = match self.check {
            Some(check) => frame.passes(check, subject, self.arguments.clone(), place)?,
            None => subject,
        };
        frame.run.truth(&answer)
    }
}

fn chosen(
    frame: &mut Frame<'_>,
    input: &Val,
    mut given: Bound<Val>,
    place: Place,
    by_attribute: bool,
    wanted: bool,
) -> Evaluated {
    let attribute = if by_attribute {
        if given.rest.is_empty() {
            return Err(frame.run.failure("Missing parameter for attribute name"));
        }
        Some(frame.run.data(&given.rest.remove(0))?)
    } else {
        None
    };
    let question = Question::read(frame, given.rest, given.named)?;
    let mut out = Vec::new();
    for item in frame.run.items(input)? {
        let subject = match &attribute {
            Some(attribute) => path(frame, &item, attribute, place)?,
            None => frame.run.force(&item)?,
        };
        if question.holds(frame, subject, place)? == wanted {
            out.push(item);
        }
    }
    Ok(Val::list(out))
}

fn select(frame: &mut Frame<'_>, input: Val, given: Bound<Val>, place: Place) -> Evaluated {
    chosen(frame, &input, given, place, false, true)
}

fn reject(frame: &mut Frame<'_>, input: Val, given: Bound<Val>, place: Place) -> Evaluated {
    chosen(frame, &input, given, place, false, false)
}

fn selectattr(frame: &mut Frame<'_>, input: Val, given: Bound<Val>, place: Place) -> Evaluated {
    chosen(frame, &input, given, place, true, true)
}

fn rejectattr(frame: &mut Frame<'_>, input: Val, given: Bound<Val>, place: Place) -> Evaluated {
    chosen(frame, &input, given, place, true, false)
}

fn extract(frame: &mut Frame<'_>, input: Val, mut given: Bound<Val>, place: Place) -> Evaluated {
    if let Val::Undefined(_) = input {
        return Ok(input);
    }
    let container = given.take(0).unwrap_or_default();
    let mut val = frame.item(&container, &input, place)?;
    match given.take(1) {
        None | Some(Val::Data(Value::Null)) => {}
        Some(more) if more.is_sequence() => {
            for key in frame.run.items(&more)? {
                val = frame.item(&val, &key, place)?;
            }
        }
        Some(key) => val = frame.item(&val, &key, place)?,
    }
    Ok(val)
}
