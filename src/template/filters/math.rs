//! Filters on numbers: rounding, logarithms, sizes people read, chance.

use super::super::call::{Bound, Call};
use super::super::finish::Finish;
use super::super::frame::Frame;
use super::super::python::Number;
use super::super::random::Generator;
use super::super::runtime::{Evaluated, Val};
use super::super::syntax::Place;
use super::values::parse_float;
use super::{Filter, data, running};
use crate::arguments::size;
use crate::value::Value;

pub(super) const FILTERS: &[Filter] = &[
    data("abs", "", |call| match Number::of(&call.input) {
        Some(Number::Int(number)) => Ok(number.abs().into()),
        Some(Number::Float(number)) => Ok(number.abs().into()),
        None => Err(format!(
            "bad operand type for abs(): '{}'",
            call.input.python_type()
        )),
    }),
    data("round", "precision method", round),
    data("log", "base", |call| {
        let number = real(&call.input, "log")?;
        if number <= 0.0 {
            return Err("math domain error".into());
        }
        Ok(match call.get(0) {
            None => number.ln().into(),
            Some(Value::Int(10)) => number.log10().into(),
            Some(Value::Int(2)) => number.log2().into(),
            Some(base) => {
                let base = real(base, "log")?;
                (number.ln() / base.ln()).into()
            }
        })
    }),
    data("pow", "y!", |call| {
        let number = real(&call.input, "pow")?;
        Ok(number.powf(real(call.required(0), "pow")?).into())
    }),
    data("root", "base", |call| {
        let wrong = "root() can only be used on numbers";
        let number = real(&call.input, "root")?;
        if number < 0.0 {
            return Err(format!("{wrong}: math domain error"));
        }
        Ok(match call.get(0) {
            None | Some(Value::Int(2)) => number.sqrt().into(),
            Some(base) => {
                let base = parse_float(&base.to_string()).ok_or(wrong)?;
                number.powf(1.0 / base).into()
            }
        })
    }),
    data("human_readable", "isbits unit", human_readable),
    data("human_to_bytes", "default_unit isbits", human_to_bytes),
    running("random", "start step seed", random),
    running("shuffle", "seed", shuffle),
];

/// Returns a number of any kind; the error names the filter.
fn real(value: &Value, filter: &str) -> Result<f64, String> {
    float(value).ok_or_else(|| {
        format!(
            "{filter}() can only be used on numbers: must be real number, not {}",
            value.python_type()
        )
    })
}

fn float(value: &Value) -> Option<f64> {
    Number::of(value).map(Number::to_f64)
}

fn round(call: &Call<'_>) -> Result<Value, String> {
    let precision = call.int(0)?.unwrap_or(0);
    let number = Number::of(&call.input).ok_or_else(|| {
        format!(
            "type {} doesn't define __round__ method",
            call.input.python_type()
        )
    })?;
    let method = call.text_at(1).unwrap_or_else(|| "common".into());
    let scale = 10_f64.powi(i32::try_from(precision).unwrap_or(0));
    let float = number.to_f64();
    let rounded = match &*method {
        "common" => {
            return Ok(match number {
                Number::Int(number) if precision >= 0 => number.into(),
                _ if precision >= 0 => {
                    half_even(float, usize::try_from(precision).unwrap_or(0)).into()
                }
                Number::Int(_) => {
                    super::super::format::truncate((float * scale).round_ties_even() / scale).into()
                }
                Number::Float(_) => ((float * scale).round_ties_even() / scale).into(),
            });
        }
        "ceil" => (float * scale).ceil() / scale,
        "floor" => (float * scale).floor() / scale,
        _ => return Err("method must be common, ceil or floor".into()),
    };
    Ok(rounded.into())
}

/// Rounds as Python's `round` does: to the nearest decimal, ties of the exact value to even.
fn half_even(float: f64, precision: usize) -> f64 {
    let precision = precision.min(400);
    format!("{float:.precision$}").parse().unwrap_or(float)
}

fn human_readable(call: &Call<'_>) -> Result<Value, String> {
    let size = match &call.input {
        Value::String(_) => {
            return Err("human_readable() failed on bad input: '>=' not supported between instances of 'str' and 'int'".into());
        }
        value => float(value).ok_or("human_readable() failed on bad input")?,
    };
    let base = if call.flag(0, false) { "bits" } else { "Bytes" };
    let wanted = call.text_at(1).map(|unit| unit.to_uppercase());
    let (suffix, limit) = size::UNITS
        .iter()
        .find(|(suffix, limit)| match &wanted {
            None => size >= *limit,
            Some(unit) => unit.starts_with(*suffix),
        })
        .copied()
        .unwrap_or(('B', 1.0));
    let suffix = if suffix == 'B' {
        String::new()
    } else {
        let letter = if base == "bits" { 'b' } else { 'B' };
        format!("{suffix}{letter}")
    };
    let unit = if suffix.is_empty() { base } else { &suffix };
    Ok(format!("{:.2} {unit}", size / limit).into())
}

fn human_to_bytes(call: &Call<'_>) -> Result<Value, String> {
    let (text, unit) = (call.text(), call.text_at(0));
    let size = size::parse(&text, unit.as_deref(), call.flag(1, false));
    size.map(Value::from).ok_or_else(|| {
        let why = if text.starts_with(|first: char| first.is_ascii_digit()) {
            String::new()
        } else {
            format!(": human_to_bytes() can't interpret following string: {text}")
        };
        format!("human_to_bytes() can't interpret the input{why}")
    })
}

fn generator(frame: &Frame<'_>, seed: Option<&Val>) -> Evaluated<Generator> {
    match seed {
        None | Some(Val::Data(Value::Null)) => Ok(Generator::unpredictable()),
        Some(seed) => Ok(Generator::seeded(&frame.run.data(seed)?)),
    }
}

fn random(frame: &mut Frame<'_>, input: Val, mut given: Bound<Val>, _: Place) -> Evaluated {
    let [start, step, seed] = [given.take(0), given.take(1), given.take(2)];
    let mut generator = generator(frame, seed.as_ref())?;
    let number = |val: Option<Val>| -> Evaluated<i128> {
        match val {
            None => Ok(0),
            Some(val) => Ok(frame.run.data(&val)?.as_int().unwrap_or(0)),
        }
    };
    let (start, step) = (number(start)?, number(step)?);
    if let Val::Data(Value::Int(end)) = &input {
        let step = if step == 0 { 1 } else { step };
        let range = super::super::runtime::RangeOf {
            start,
            stop: *end,
            step,
        };
        let length = range.len();
        if length == 0 {
            return Err(frame.run.failure(format!(
                "empty range for randrange() ({start}, {end}, {})",
                end - start
            )));
        }
        let at = generator.below(u128::try_from(length).unwrap_or(1));
        return Ok((start + step * i128::try_from(at).unwrap_or(0)).into());
    }
    if start != 0 || step != 0 {
        return Err(frame
            .run
            .failure("start and step can only be used with integer values"));
    }
    if frame.run.length(&input)?.is_none() {
        return Err(frame
            .run
            .failure("random can only be used on sequences and integers"));
    }
    let items = frame.run.items(&input)?;
    if items.is_empty() {
        return Err(frame.run.failure("Cannot choose from an empty sequence"));
    }
    let at = generator.below(items.len() as u128);
    frame.run.force(&items[usize::try_from(at).unwrap_or(0)])
}

fn shuffle(frame: &mut Frame<'_>, input: Val, mut given: Bound<Val>, _: Place) -> Evaluated {
    if frame.run.length(&input)?.is_none() {
        return Ok(input);
    }
    let seed = given.take(0);
    let seed = match &seed {
        Some(seed) if frame.run.truth(seed)? => Some(seed),
        _ => None,
    };
    let mut generator = generator(frame, seed)?;
    let mut items = frame.run.items(&input)?;
    for last in (1..items.len()).rev() {
        let at = generator.below(last as u128 + 1);
        items.swap(last, usize::try_from(at).unwrap_or(0));
    }
    Ok(Val::list(items))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::value::repr;

    #[test]
    fn rounding_follows_the_exact_value() {
        assert_eq!(half_even(2.675, 2).to_string(), "2.67");
        assert_eq!(repr(&half_even(2.5, 0).into()), "2.0");
    }
}
