//! What the keywords around a task come to for one host and one loop item.

use std::sync::Arc;
use std::time::Duration;

use super::deploy::{PROTECT, UNDO};
use super::failure::Failure;
use super::options::RunOptions;
use super::render::Renderer;
use crate::playbook::{Keyword, Task};
use crate::value::Value;

/// The keywords of a task, rendered.
#[derive(Clone, Debug)]
pub(super) struct Settings {
    pub(super) check: bool,
    pub(super) diff: bool,
    /// Variables of the process environment, later ones win.
    pub(super) environment: Vec<(String, String)>,
    /// What the task says and does is for nobody to read.
    pub(super) no_log: bool,
    /// The number of attempts, at least 1.
    pub(super) attempts: u32,
    pub(super) delay: Duration,
    /// `None` without a limit.
    pub(super) timeout: Option<u64>,
    /// Seconds a background job may run; 0 runs in the foreground.
    pub(super) async_seconds: u64,
    pub(super) poll: u64,
    pub(super) notify: Vec<Arc<str>>,
    pub(super) delegate_facts: bool,
    /// The shell text that the user declared to undo the task.
    pub(super) undo: Option<String>,
    /// Paths that the user declared the task to change.
    pub(super) protect: Vec<String>,
}

/// The longest `timeout` Ansible accepts.
const LONGEST_TIMEOUT: i128 = 100_000_000;
/// Attempts of a task with `until` but without `retries`, beyond the first.
const DEFAULT_RETRIES: i128 = 3;

impl Settings {
    /// Renders the keywords of `task`.
    pub(super) fn render(
        task: &Task,
        renderer: &Renderer<'_>,
        options: &RunOptions,
    ) -> Result<Self, Failure> {
        let layer = &task.layer;
        // Read where a failure is judged; here what cannot be read fails the task.
        for keyword in [Keyword::IgnoreErrors, Keyword::IgnoreUnreachable] {
            renderer.flag(layer, keyword)?;
        }
        let own_number = |name, node: &Option<_>| renderer.own_number(name, node.as_ref());
        let natural = |number: i128| u64::try_from(number).unwrap_or(0);
        let delay = renderer
            .own_float("delay", task.delay.as_ref())?
            .unwrap_or(5.0);
        Ok(Self {
            check: check_mode(task, renderer, options)?,
            diff: renderer.flag(layer, Keyword::Diff)?.unwrap_or(options.diff),
            no_log: renderer.flag(layer, Keyword::NoLog)?.unwrap_or(false) || options.no_log,
            attempts: attempts(
                own_number("retries", &task.retries)?,
                !task.until.is_empty(),
            ),
            delay: Duration::try_from_secs_f64(if delay < 0.0 { 1.0 } else { delay })
                .unwrap_or(Duration::MAX),
            timeout: timeout(renderer.number(layer, Keyword::Timeout)?, options)?,
            async_seconds: natural(own_number("async", &task.async_seconds)?.unwrap_or(0)),
            poll: natural(own_number("poll", &task.poll)?.unwrap_or(15)),
            notify: renderer.names(task.notify()).map_err(|failure| {
                failure.within_same_place("Error processing keyword 'notify'")
            })?,
            environment: environment(task, renderer)?,
            undo: renderer
                .variable(UNDO)?
                .map(|undo| undo.to_string())
                .filter(|undo| !undo.trim().is_empty()),
            protect: protected(renderer)?,
            delegate_facts: renderer
                .flag(layer, Keyword::DelegateFacts)?
                .unwrap_or(false),
        })
    }
}

/// Tells whether `task` runs in check mode.
pub(super) fn check_mode(
    task: &Task,
    renderer: &Renderer<'_>,
    options: &RunOptions,
) -> Result<bool, Failure> {
    let said = renderer.flag(&task.layer, Keyword::CheckMode)?;
    Ok(said.unwrap_or(options.check))
}

fn protected(renderer: &Renderer<'_>) -> Result<Vec<String>, Failure> {
    match renderer.variable(PROTECT)? {
        None => Ok(Vec::new()),
        Some(Value::List(paths)) => Ok(paths.iter().map(ToString::to_string).collect()),
        Some(Value::String(path)) => Ok(vec![path.to_string()]),
        Some(other) => Err(Failure::new(format!(
            "`{PROTECT}` must be a path or a list of paths, not {}",
            other.python_type()
        ))),
    }
}

fn attempts(retries: Option<i128>, has_until: bool) -> u32 {
    let retries = match retries {
        Some(retries) => retries.max(0),
        None if has_until => DEFAULT_RETRIES,
        None => 0,
    };
    u32::try_from(retries)
        .unwrap_or(u32::MAX - 1)
        .saturating_add(1)
}

fn timeout(said: Option<i128>, options: &RunOptions) -> Result<Option<u64>, Failure> {
    let seconds = said.unwrap_or_else(|| options.task_timeout.into());
    match seconds {
        0 => Ok(None),
        1..=LONGEST_TIMEOUT => Ok(u64::try_from(seconds).ok()),
        _ => Err(Failure::new(format!(
            "Timeout {seconds} is invalid, it must be between 0 and {LONGEST_TIMEOUT}."
        ))),
    }
}

fn environment(task: &Task, renderer: &Renderer<'_>) -> Result<Vec<(String, String)>, Failure> {
    let mut variables: Vec<(String, String)> = Vec::new();
    for node in task.environment() {
        let Some(Value::Map(map)) = renderer.value(node).map_err(|failure| {
            failure.within_same_place("Error processing keyword 'environment'")
        })?
        else {
            continue;
        };
        for (name, value) in map.iter() {
            let name = name.to_string();
            variables.retain(|(known, _)| *known != name);
            variables.push((name, value.to_string()));
        }
    }
    Ok(variables)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn until_retries_three_times_unless_told_and_retries_count_beyond_the_first_attempt() {
        assert_eq!(attempts(None, false), 1);
        assert_eq!(attempts(None, true), 4);
        assert_eq!(attempts(Some(2), false), 3);
        assert_eq!(attempts(Some(0), true), 1);
        assert_eq!(attempts(Some(-5), true), 1);
    }

    #[test]
    fn a_timeout_out_of_range_is_an_error_and_zero_is_none() {
        let options = RunOptions::new("/agent", "/root");
        assert_eq!(timeout(Some(0), &options).unwrap(), None);
        assert_eq!(timeout(Some(7), &options).unwrap(), Some(7));
        assert!(timeout(Some(-1), &options).is_err());
        assert!(timeout(Some(100_000_001), &options).is_err());
    }
}
