//! Tasks in the background (`async`): each runs on a session of its own until it is done, its
//! time is over, or the run ends.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::task::AbortHandle;

use super::deploy::Acting;
use super::failure::Failure;
use super::session::ModuleCall;
use super::world::World;
use crate::value::{Map, Value};

/// The jobs of a run, by their id.
#[derive(Debug, Default)]
pub(super) struct Jobs {
    results: Mutex<HashMap<String, Option<Map>>>,
    tasks: Mutex<Vec<AbortHandle>>,
}

/// What is known of a job.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum JobState {
    Unknown,
    Running,
    /// The result of its module.
    Finished(Map),
}

impl Jobs {
    /// Returns what is known of a job.
    pub(super) fn state(&self, id: &str) -> JobState {
        match self.lock().get(id) {
            None => JobState::Unknown,
            Some(None) => JobState::Running,
            Some(Some(result)) => JobState::Finished(result.clone()),
        }
    }

    /// Forgets a job.
    pub(super) fn forget(&self, id: &str) {
        self.lock().remove(id);
    }

    /// Ends every job that still runs.
    pub(super) fn end(&self) {
        let mut tasks = self.tasks.lock().unwrap_or_else(PoisonError::into_inner);
        for task in tasks.drain(..) {
            task.abort();
        }
    }

    fn remember(&self, task: AbortHandle) {
        let mut tasks = self.tasks.lock().unwrap_or_else(PoisonError::into_inner);
        tasks.retain(|task| !task.is_finished());
        tasks.push(task);
    }

    fn set(&self, id: &str, result: Option<Map>) {
        self.lock().insert(id.to_owned(), result);
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<String, Option<Map>>> {
        self.results.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Starts a job of at most `seconds` and returns its id.
pub(super) fn start(world: &Arc<World>, place: Acting, call: ModuleCall, seconds: u64) -> String {
    let id = format!(
        "j{:012}.{}",
        rand::random::<u64>() % 1_000_000_000_000,
        std::process::id()
    );
    world.jobs.set(&id, None);
    let shared = Arc::clone(world);
    let job = id.clone();
    let task = tokio::spawn(async move {
        let world = shared;
        let running = run(&world, &place, call);
        let result = match tokio::time::timeout(Duration::from_secs(seconds), running).await {
            Ok(Ok(result)) => result,
            Ok(Err(failure)) => failure.result(),
            Err(_) => failed("Timeout exceeded"),
        };
        world.jobs.set(&job, Some(result));
    });
    world.jobs.remember(task.abort_handle());
    id
}

async fn run(world: &World, place: &Acting, call: ModuleCall) -> Result<Map, Failure> {
    let silent = |_: &str, _: u64, _: u64| {};
    let reported = place.call(world, call, &silent).await?;
    Ok(reported.result)
}

fn failed(msg: &str) -> Map {
    let mut result = Map::new();
    result.insert("changed".into(), false.into());
    result.insert("failed".into(), true.into());
    result.insert("msg".into(), msg.into());
    result
}

/// Returns what `async_status` answers about a job.
pub(super) fn status(state: &JobState, id: &str) -> Map {
    let mut result = Map::new();
    let mut set = |key: &str, value: Value| {
        result.insert(key.into(), value);
    };
    set("ansible_job_id", id.into());
    set("results_file", results_file(id).into());
    set("started", true.into());
    set("finished", (*state != JobState::Running).into());
    for name in ["stdout", "stderr"] {
        set(name, "".into());
        set(&format!("{name}_lines"), Value::List(Arc::default()));
    }
    match state {
        JobState::Unknown => result.extend(failed("could not find job")),
        JobState::Running => {
            result.insert("changed".into(), false.into());
        }
        JobState::Finished(answer) => {
            result.extend(
                answer
                    .iter()
                    .map(|(key, value)| (key.clone(), value.clone())),
            );
        }
    }
    result
}

/// Returns where Ansible keeps the result of a job; nothing stands there, jobs are the run's.
pub(super) fn results_file(id: &str) -> String {
    format!("~/.ansible_async/{id}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_job_is_unknown_then_running_then_finished_with_its_result() {
        let jobs = Jobs::default();
        assert_eq!(
            status(&jobs.state("j1"), "j1").get("msg"),
            Some(&"could not find job".into())
        );
        jobs.set("j1", None);
        let running = status(&jobs.state("j1"), "j1");
        assert_eq!(running.get("finished"), Some(&false.into()));
        let result: Map = [("rc".into(), 0.into())].into_iter().collect();
        jobs.set("j1", Some(result));
        let finished = status(&jobs.state("j1"), "j1");
        assert_eq!(finished.get("finished"), Some(&true.into()));
        assert_eq!(finished.get("rc"), Some(&0.into()));
        jobs.forget("j1");
        assert_eq!(jobs.state("j1"), JobState::Unknown);
    }
}
