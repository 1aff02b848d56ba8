//! Tests of task results: `changed`, `failed`, `skipped` …

use super::super::call::Call;
use super::super::frame::Frame;
use super::super::runtime::{Evaluated, Val};
use super::{Check, data, running};
use crate::value::Value;

pub(super) const CHECKS: &[Check] = &[
    running("failed", "", |frame, result, _, _| {
        truth_of(frame, result, "failed")
    }),
    running("failure", "", |frame, result, _, _| {
        truth_of(frame, result, "failed")
    }),
    running("success", "", |frame, result, _, _| {
        not_failed(frame, result)
    }),
    running("succeeded", "", |frame, result, _, _| {
        not_failed(frame, result)
    }),
    running("successful", "", |frame, result, _, _| {
        not_failed(frame, result)
    }),
    running("unreachable", "", |frame, result, _, _| {
        truth_of(frame, result, "unreachable")
    }),
    running("reachable", "", |frame, result, _, _| {
        truth_of(frame, result, "unreachable").map(|unreachable| !unreachable)
    }),
    running("skipped", "", |frame, result, _, _| {
        truth_of(frame, result, "skipped")
    }),
    running("skip", "", |frame, result, _, _| {
        truth_of(frame, result, "skipped")
    }),
    running("started", "", |frame, result, _, _| {
        async_state(frame, result, "started")
    }),
    running("finished", "", |frame, result, _, _| {
        async_state(frame, result, "finished")
    }),
    data("changed", "", changed),
    data("change", "", changed),
    data("timedout", "", |call| {
        let result = dictionary(call, "timedout")?;
        Ok(result
            .get("timedout")
            .and_then(|timeout| timeout.get("period"))
            .is_some_and(Value::is_truthy))
    }),
];

/// Returns the entry `name` of a result; the error names the test.
fn entry(frame: &mut Frame<'_>, result: &Val, name: &str) -> Evaluated<Option<Val>> {
    match frame.run.pairs(result)? {
        Some(pairs) => Ok(pairs
            .into_iter()
            .find(|(key, _)| key.as_str() == Some(name))
            .map(|(_, val)| val)),
        None => Err(frame
            .run
            .failure(format!("The '{name}' test expects a dictionary"))),
    }
}

fn truth_of(frame: &mut Frame<'_>, result: &Val, name: &str) -> Evaluated<bool> {
    match entry(frame, result, name)? {
        Some(val) => frame.run.truth(&val),
        None => Ok(false),
    }
}

fn not_failed(frame: &mut Frame<'_>, result: &Val) -> Evaluated<bool> {
    truth_of(frame, result, "failed").map(|failed| !failed)
}

fn async_state(frame: &mut Frame<'_>, result: &Val, name: &str) -> Evaluated<bool> {
    if let Some(val) = entry(frame, result, name)? {
        return frame.run.truth(&val);
    }
    let message =
        format!("The '{name}' test expects an async task, but a non-async task was tested");
    frame.run.engine.services().warn(message, None);
    Ok(true)
}

fn dictionary<'c>(call: &'c Call<'_>, name: &str) -> Result<&'c crate::value::Map, String> {
    call.input
        .as_map()
        .ok_or_else(|| format!("The '{name}' test expects a dictionary"))
}

fn changed(call: &Call<'_>) -> Result<bool, String> {
    let result = dictionary(call, "changed")?;
    if let Some(changed) = result.get("changed") {
        return Ok(changed.is_truthy());
    }
    let results = result
        .get("results")
        .and_then(Value::as_list)
        .unwrap_or_default();
    Ok(results
        .iter()
        .any(|result| result.get("changed").is_some_and(Value::is_truthy)))
}
