//! Python's operators on running values: arithmetic, concatenation, comparison, slices.

use std::cmp::Ordering;
use std::rc::Rc;

use super::expressions::{equal, symbol};
use super::finish::Finish;
use super::format::percent;
use super::frame::Frame;
use super::python::{self, Number, room_for};
use super::runtime::{Evaluated, Fault, Time, Val};
use super::syntax::{Comparison, Operator, Place};
use crate::value::Value;

/// Evaluates `left operator right`.
pub(super) fn binary(
    frame: &Frame<'_>,
    operator: Operator,
    left: &Val,
    right: &Val,
    place: Place,
) -> Evaluated {
    if operator == Operator::Concatenate {
        let mut text = frame.run.text_of(left)?;
        text.push_str(&frame.run.text_of(right)?);
        return Ok(text.into());
    }
    for operand in [left, right] {
        if let Val::Undefined(fault) = operand {
            return Err(Rc::clone(fault));
        }
    }
    if matches!((left, right), (Val::Blank, _) | (_, Val::Blank)) {
        return Err(frame.blank(place));
    }
    if let (Some(a), Some(b)) = (number(left), number(right)) {
        return arithmetic(operator, a, b)
            .map(Val::Data)
            .map_err(|text| frame.raised(place, text));
    }
    if let Some(val) = on_sequences(frame, operator, left, right)? {
        return Ok(val);
    }
    Err(frame.raised(place, mismatch(operator, left, right)))
}

fn number(val: &Val) -> Option<Number> {
    match val {
        Val::Data(value) => Number::of(value),
        _ => None,
    }
}

fn mismatch(operator: Operator, left: &Val, right: &Val) -> String {
    let owner = left.type_name();
    if operator == Operator::Add && matches!(owner, "str" | "list" | "tuple") {
        return format!(
            "can only concatenate {owner} (not \"{}\") to {owner}",
            right.type_name()
        );
    }
    if operator == Operator::Multiply && (left.as_str().is_some() || left.is_sequence()) {
        return format!(
            "can't multiply sequence by non-int of type '{}'",
            right.type_name()
        );
    }
    format!(
        "unsupported operand type(s) for {}: '{owner}' and '{}'",
        symbol(operator),
        right.type_name()
    )
}

fn on_sequences(
    frame: &Frame<'_>,
    operator: Operator,
    left: &Val,
    right: &Val,
) -> Evaluated<Option<Val>> {
    Ok(Some(match (operator, left, right) {
        (Operator::Add, Val::Data(Value::String(a)), Val::Data(Value::String(b))) => {
            format!("{a}{b}").into()
        }
        (Operator::Add, Val::Tuple(a), Val::Tuple(b)) => {
            Val::tuple(a.iter().chain(b.iter()).cloned())
        }
        (Operator::Add, a, b) if is_list(a) && is_list(b) => {
            let mut items = frame.run.items(a)?;
            items.extend(frame.run.items(b)?);
            Val::list(items)
        }
        (Operator::Multiply, Val::Data(Value::String(text)), times)
        | (Operator::Multiply, times, Val::Data(Value::String(text))) => match whole(times) {
            Some(times) => {
                room_for(text.len().checked_mul(times)).map_err(|text| frame.run.raised(text))?;
                text.repeat(times).into()
            }
            None => return Ok(None),
        },
        (Operator::Multiply, list, times) if is_list(list) => match whole(times) {
            Some(times) => repeated(frame, list, times)?,
            None => return Ok(None),
        },
        (Operator::Multiply, times, list) if is_list(list) => match whole(times) {
            Some(times) => repeated(frame, list, times)?,
            None => return Ok(None),
        },
        (Operator::Remainder, Val::Data(Value::String(template)), arguments) => {
            percent(frame, template, arguments)?
        }
        (Operator::Subtract, Val::Time(a), Val::Time(b)) => Val::Span(a.since(b)),
        (Operator::Subtract, Val::Time(time), Val::Span(span)) => time.plus(-*span),
        (Operator::Add, Val::Time(time), Val::Span(span))
        | (Operator::Add, Val::Span(span), Val::Time(time)) => time.plus(*span),
        (Operator::Add, Val::Span(a), Val::Span(b)) => Val::Span(*a + *b),
        (Operator::Subtract, Val::Span(a), Val::Span(b)) => Val::Span(*a - *b),
        _ => return Ok(None),
    }))
}

fn is_list(val: &Val) -> bool {
    matches!(val, Val::List(_) | Val::Data(Value::List(_)))
}

fn whole(val: &Val) -> Option<usize> {
    match number(val)? {
        Number::Int(number) => Some(usize::try_from(number).unwrap_or(0)),
        Number::Float(_) => None,
    }
}

fn repeated(frame: &Frame<'_>, list: &Val, times: usize) -> Evaluated {
    let items = frame.run.items(list)?;
    let length = room_for(items.len().checked_mul(times)).map_err(|text| frame.run.raised(text))?;
    Ok(Val::list(items.into_iter().cycle().take(length)))
}

/// Computes with numbers as Python does; the error is Python's message.
pub(super) fn arithmetic(operator: Operator, a: Number, b: Number) -> Result<Value, String> {
    match (a, b) {
        (Number::Int(a), Number::Int(b)) => on_integers(operator, a, b),
        _ => on_floats(operator, a.to_f64(), b.to_f64()).map(Value::Float),
    }
}

fn on_integers(operator: Operator, a: i128, b: i128) -> Result<Value, String> {
    let fits = |result: Option<i128>| {
        result
            .map(Value::Int)
            .ok_or_else(|| "integer result is too large".to_owned())
    };
    match operator {
        Operator::Add => fits(a.checked_add(b)),
        Operator::Subtract => fits(a.checked_sub(b)),
        Operator::Multiply => fits(a.checked_mul(b)),
        Operator::Divide if b == 0 => Err("division by zero".into()),
        Operator::Divide => Ok((Number::Int(a).to_f64() / Number::Int(b).to_f64()).into()),
        Operator::FloorDivide if b == 0 => Err("integer division or modulo by zero".into()),
        Operator::FloorDivide => Ok(floor_division(a, b).into()),
        Operator::Remainder if b == 0 => Err("integer modulo by zero".into()),
        Operator::Remainder => Ok((a - floor_division(a, b) * b).into()),
        Operator::Power if b < 0 => {
            on_floats(operator, Number::Int(a).to_f64(), Number::Int(b).to_f64()).map(Value::Float)
        }
        Operator::Power => fits(u32::try_from(b).ok().and_then(|b| a.checked_pow(b))),
        Operator::Concatenate => Ok(format!("{a}{b}").into()),
    }
}

fn floor_division(a: i128, b: i128) -> i128 {
    let quotient = a / b;
    if a % b != 0 && (a < 0) != (b < 0) {
        quotient - 1
    } else {
        quotient
    }
}

fn on_floats(operator: Operator, a: f64, b: f64) -> Result<f64, String> {
    match operator {
        Operator::Add => Ok(a + b),
        Operator::Subtract => Ok(a - b),
        Operator::Multiply => Ok(a * b),
        Operator::Divide if b == 0.0 => Err("float division by zero".into()),
        Operator::Divide => Ok(a / b),
        Operator::FloorDivide if b == 0.0 => Err("float floor division by zero".into()),
        Operator::FloorDivide => Ok((a / b).floor()),
        Operator::Remainder if b == 0.0 => Err("float modulo by zero".into()),
        Operator::Remainder => Ok(a - b * (a / b).floor()),
        Operator::Power if a == 0.0 && b < 0.0 => {
            Err("0.0 cannot be raised to a negative power".into())
        }
        Operator::Power => Ok(a.powf(b)),
        Operator::Concatenate => Err("cannot concatenate numbers".into()),
    }
}

/// Evaluates `-operand`.
pub(super) fn negate(frame: &Frame<'_>, operand: &Val, place: Place) -> Evaluated {
    match operand {
        Val::Undefined(fault) => Err(Rc::clone(fault)),
        Val::Span(span) => Ok(Val::Span(-*span)),
        val => match number(val) {
            Some(Number::Int(number)) => Ok(number.saturating_neg().into()),
            Some(Number::Float(number)) => Ok((-number).into()),
            None => Err(frame.raised(
                place,
                format!("bad operand type for unary -: '{}'", val.type_name()),
            )),
        },
    }
}

/// Evaluates one comparison.
pub(super) fn compares(
    frame: &Frame<'_>,
    comparison: Comparison,
    left: &Val,
    right: &Val,
    place: Place,
) -> Evaluated<bool> {
    let operands = match comparison {
        Comparison::In | Comparison::NotIn => [right, left],
        _ => [left, right],
    };
    for operand in operands {
        if let Val::Undefined(fault) = operand {
            return Err(Rc::clone(fault));
        }
    }
    let ordered = |operator: &str, wanted: fn(Ordering) -> bool| {
        ordering(frame, left, right, operator, place).map(wanted)
    };
    match comparison {
        Comparison::Equal => equal(frame, left, right),
        Comparison::NotEqual => equal(frame, left, right).map(|is_equal| !is_equal),
        Comparison::Less => ordered("<", Ordering::is_lt),
        Comparison::LessOrEqual => ordered("<=", Ordering::is_le),
        Comparison::Greater => ordered(">", Ordering::is_gt),
        Comparison::GreaterOrEqual => ordered(">=", Ordering::is_ge),
        Comparison::In => contains(frame, right, left).map_err(|fault| frame.placed(place, fault)),
        Comparison::NotIn => contains(frame, right, left)
            .map(|found| !found)
            .map_err(|fault| frame.placed(place, fault)),
    }
}

fn ordering(
    frame: &Frame<'_>,
    left: &Val,
    right: &Val,
    operator: &str,
    place: Place,
) -> Evaluated<Ordering> {
    let unordered = || -> Rc<Fault> {
        frame.raised(
            place,
            format!(
                "'{operator}' not supported between instances of '{}' and '{}'",
                left.type_name(),
                right.type_name()
            ),
        )
    };
    match (left, right) {
        (Val::Time(a), Val::Time(b)) if a.part == b.part => Ok(a.civil.cmp(&b.civil)),
        (Val::Span(a), Val::Span(b)) => Ok(a.cmp(b)),
        (Val::Data(a), Val::Data(b)) => {
            python::compare(a, b, operator).map_err(|text| frame.raised(place, text))
        }
        _ if left.is_mapping() || right.is_mapping() => Err(unordered()),
        _ if left.is_sequence() && right.is_sequence() => {
            python::compare(&frame.run.data(left)?, &frame.run.data(right)?, operator)
                .map_err(|text| frame.raised(place, text))
        }
        _ => Err(unordered()),
    }
}

/// Tells whether `container` holds `item`, as Python's `in` does.
pub(super) fn contains(frame: &Frame<'_>, container: &Val, item: &Val) -> Evaluated<bool> {
    let container = frame.run.force(container)?;
    if let Val::Data(Value::String(text)) = &container {
        return match item.as_str() {
            Some(part) => Ok(text.contains(part)),
            None => Err(frame.run.raised(format!(
                "'in <string>' requires string as left operand, not {}",
                item.type_name()
            ))),
        };
    }
    if let Val::Dict(_) | Val::Data(Value::Map(_)) | Val::Object(_) = &container {
        let key = frame.run.data(item)?;
        return Ok(match &container {
            Val::Dict(dict) => dict.borrow().contains_key(&key),
            Val::Data(Value::Map(map)) => map.contains_key(&key),
            Val::Object(object) => key
                .as_str()
                .is_some_and(|name| object.inner.keys().iter().any(|known| &**known == name)),
            _ => false,
        });
    }
    if frame.run.length(&container)?.is_none() {
        return Err(frame.run.raised(format!(
            "argument of type '{}' is not iterable",
            container.type_name()
        )));
    }
    for candidate in frame.run.items(&container)? {
        if equal(frame, &frame.run.force(&candidate)?, item)? {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Evaluates `owner[start:stop:step]`.
pub(super) fn slice(
    frame: &Frame<'_>,
    owner: &Val,
    bounds: [Option<i128>; 3],
    place: Place,
) -> Evaluated {
    if let Val::Undefined(fault) = owner {
        return Ok(Val::Undefined(Rc::clone(fault)));
    }
    let is_text = owner.as_str().is_some();
    if !is_text && !owner.is_sequence() {
        let key = Value::from("slice");
        return Ok(frame.run.missing(owner, &key, &frame.origin, place));
    }
    let items = frame.run.items(owner)?;
    let picked = pick(items.len(), bounds)
        .ok_or_else(|| frame.raised(place, "slice step cannot be zero"))?;
    let picked = picked.into_iter().map(|at| items[at].clone());
    Ok(match owner {
        _ if is_text => picked
            .filter_map(|val| val.as_str().map(str::to_owned))
            .collect::<String>()
            .into(),
        Val::Tuple(_) => Val::tuple(picked),
        _ => Val::list(picked),
    })
}

/// Returns the indexes a slice picks, or `None` for a step of zero.
pub(super) fn pick(length: usize, bounds: [Option<i128>; 3]) -> Option<Vec<usize>> {
    let length = i128::try_from(length).ok()?;
    let step = bounds[2].unwrap_or(1);
    if step == 0 {
        return None;
    }
    let (low, high) = if step > 0 {
        (0, length)
    } else {
        (-1, length - 1)
    };
    let clamp = |bound: i128| {
        let bound = if bound < 0 { bound + length } else { bound };
        bound.clamp(low, high)
    };
    let (first, last) = if step > 0 { (low, high) } else { (high, low) };
    let start = bounds[0].map_or(first, clamp);
    let stop = bounds[1].map_or(last, clamp);
    let mut picked = Vec::new();
    let mut at = start;
    while (step > 0 && at < stop) || (step < 0 && at > stop) {
        picked.extend(usize::try_from(at));
        at += step;
    }
    Some(picked)
}

impl Time {
    fn since(&self, earlier: &Self) -> jiff::SignedDuration {
        let shift = |time: &Self| time.offset.map_or(0, jiff::tz::Offset::seconds);
        let difference = self.civil.duration_since(earlier.civil);
        difference + jiff::SignedDuration::from_secs(i64::from(shift(earlier) - shift(self)))
    }

    fn plus(&self, span: jiff::SignedDuration) -> Val {
        Val::Time(Self {
            civil: self.civil.saturating_add(span),
            offset: self.offset,
            part: self.part,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slices_pick_what_python_picks() {
        assert_eq!(pick(5, [Some(1), Some(-1), None]), Some(vec![1, 2, 3]));
        assert_eq!(pick(3, [None, None, Some(-1)]), Some(vec![2, 1, 0]));
        assert_eq!(pick(3, [Some(-10), Some(10), Some(2)]), Some(vec![0, 2]));
        assert_eq!(pick(3, [None, None, Some(0)]), None);
    }
}
