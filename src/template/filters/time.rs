//! Filters on dates.

use super::super::call::{Bound, Call};
use super::super::finish::Finish;
use super::super::frame::Frame;
use super::super::methods::time::{strftime_epoch, strptime};
use super::super::runtime::{Evaluated, Val};
use super::super::syntax::Place;
use super::values::parse_float;
use super::{Filter, data, running};
use crate::value::Value;

pub(super) const FILTERS: &[Filter] = &[
    running("to_datetime", "format", to_datetime),
    data("strftime", "second utc", strftime),
];

fn to_datetime(frame: &mut Frame<'_>, input: Val, mut given: Bound<Val>, _: Place) -> Evaluated {
    let format = match given.take(0) {
        Some(format) => frame.run.text_of(&format)?,
        None => "%Y-%m-%d %H:%M:%S".into(),
    };
    let Some(text) = input.as_str() else {
        return Err(frame.run.failure(format!(
            "strptime() argument 1 must be str, not {}",
            input.type_name()
        )));
    };
    strptime(text, &format)
        .map(Val::Time)
        .map_err(|text| frame.run.failure(text))
}

fn strftime(call: &Call<'_>) -> Result<Value, String> {
    let seconds = match call.get(0) {
        None => jiff::Timestamp::now().as_duration().as_secs_f64(),
        Some(value) => parse_float(&value.to_string())
            .ok_or_else(|| format!("Invalid value for epoch value ({value})"))?,
    };
    strftime_epoch(seconds.trunc(), call.flag(1, false), &call.text()).map(Value::from)
}
