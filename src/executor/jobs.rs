//! Tasks in the background (`async`): the target runs them in a process of its own, and the
//! controller asks how they do.
//!
//! A transaction cannot undo what runs on beside it: there a task that is waited for (`poll`) runs
//! in the foreground, and any other is a step that nobody undoes.

use std::sync::Arc;
use std::time::Duration;

use super::actions::{ActionContext, nobody_undoes};
use super::deploy::Acting;
use super::failure::Failure;
use super::session::{ModuleCall, Reported};
use crate::agent::protocol::{Background, CheckMode};
use crate::event::{Event, Status, TaskResult};
use crate::value::{Map, Value};

/// How long after its time a job is asked about for the last time: by then the target has ended
/// it and says so.
const GRACE: Duration = Duration::from_secs(1);

impl ActionContext<'_> {
    /// Starts a module as a job; with `poll` waits for it.
    pub(super) async fn in_background(
        &self,
        place: &Acting,
        call: ModuleCall,
    ) -> Result<Reported, Failure> {
        let seconds = self.settings.async_seconds;
        if place.deploy.is_some() && self.settings.poll > 0 {
            let timeout = Duration::from_secs(seconds).as_secs_f64();
            let call = ModuleCall {
                timeout: Some(timeout),
                ..call
            };
            return self.call(place, call).await;
        }
        let beside = Acting {
            target: place.target.clone(),
            deploy: None,
        };
        let step = nobody_undoes(format!("{} in the background", call.module));
        if let (Some(deploy), CheckMode::Off) = (&place.deploy, call.check) {
            deploy.cannot_undo(&self.job.host, &step.what);
        }
        let steps = vec![step];
        let background = Background {
            id: format!("j{}", rand::random::<u64>() % 1_000_000_000_000),
            directory: self.async_directory()?,
            seconds,
        };
        let call = ModuleCall {
            background: Some(background),
            ..call
        };
        let mut started = self.call(&beside, call).await?.result;
        started.insert("changed".into(), true.into());
        let id = started.get("ansible_job_id").map(Value::to_string);
        let result = match id {
            Some(id) if self.settings.poll > 0 => self.wait_for_job(&beside, &id).await?,
            _ => started,
        };
        Ok(Reported { result, steps })
    }

    /// Asks about a job until it is done or its time is over, and removes what it left.
    async fn wait_for_job(&self, place: &Acting, id: &str) -> Result<Map, Failure> {
        let poll = self.settings.poll;
        let mut left = self.settings.async_seconds;
        let mut last = Map::new();
        while left > 0 {
            left = left.saturating_sub(poll);
            let grace = if left == 0 { GRACE } else { Duration::ZERO };
            tokio::time::sleep(Duration::from_secs(poll) + grace).await;
            match self.ask_about_job(place, id, "status").await {
                Ok(state) => last = state,
                // The job runs on without the connection; the next question opens another.
                Err(failure) if left == 0 => return Err(failure),
                Err(_) => continue,
            }
            let has = |key| last.get(key).is_some_and(Value::is_truthy);
            if has("finished") || has("failed") || has("skipped") {
                break;
            }
            self.tell_polled(id, &last, false);
        }
        if last.get("finished").is_some_and(Value::is_truthy) {
            // What cannot be removed now stays until somebody asks for it.
            self.ask_about_job(place, id, "cleanup").await.ok();
        } else {
            last = not_complete(self.settings.async_seconds, last);
        }
        self.tell_polled(id, &last, true);
        Ok(last)
    }

    /// Runs `async_status` and returns its whole result.
    pub(super) async fn ask_about_job(
        &self,
        place: &Acting,
        id: &str,
        mode: &str,
    ) -> Result<Map, Failure> {
        let args = [
            ("jid", Value::from(id)),
            ("mode", mode.into()),
            ("_async_dir", self.async_directory()?.into()),
        ];
        let call = ModuleCall {
            module: "async_status".into(),
            args: args.map(|(name, value)| (name.into(), value)).into(),
            check: if self.settings.check {
                CheckMode::Task
            } else {
                CheckMode::Off
            },
            diff: false,
            environment: self.settings.environment.clone(),
            seq: None,
            undo: None,
            protect: Vec::new(),
            harmless: true,
            no_log: self.settings.no_log,
            background: None,
            timeout: None,
        };
        let mut answer = self.call(place, call).await?.result;
        if answer.get("finished") == Some(&false.into()) {
            answer.shift_remove("invocation");
        }
        Ok(with_defaults(answer, mode))
    }

    fn async_directory(&self) -> Result<String, Failure> {
        let said = self
            .target_renderer
            .first_variable(&["ansible_async_dir"])?;
        Ok(said.map_or_else(
            || self.job.world.options.async_dir.clone(),
            |said| said.to_string(),
        ))
    }

    fn tell_polled(&self, id: &str, state: &Map, finished: bool) {
        let failed = state.get("failed").is_some_and(Value::is_truthy);
        self.job.world.tell(Event::AsyncPolled {
            result: TaskResult {
                host: Arc::clone(&self.job.host),
                delegate: None,
                task: Arc::clone(&self.job.info),
                status: if failed { Status::Failed } else { Status::Ok },
                result: state.clone().into(),
                item: None,
                error: None,
                diff: false,
                steps: Vec::new(),
            },
            job: id.to_owned(),
            finished,
        });
    }
}

/// Adds what an answer of `async_status` has whatever the job left.
fn with_defaults(answer: Map, mode: &str) -> Map {
    let nothing = || Value::List(Arc::default());
    let mut result: Map = [
        ("started", (mode == "status").into()),
        ("finished", false.into()),
        ("stdout", "".into()),
        ("stderr", "".into()),
        ("stdout_lines", nothing()),
        ("stderr_lines", nothing()),
    ]
    .into_iter()
    .map(|(key, value)| (key.into(), value))
    .collect();
    result.extend(answer);
    result
}

fn not_complete(seconds: u64, last: Map) -> Map {
    let msg = format!("async task did not complete within the requested time - {seconds}s");
    [
        ("failed", true.into()),
        ("msg", msg.into()),
        ("async_result", last.into()),
    ]
    .into_iter()
    .map(|(key, value): (&str, Value)| (key.into(), value))
    .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_job_left_is_over_what_an_answer_always_has() {
        let left: Map = [
            ("stdout".into(), "hi".into()),
            ("finished".into(), true.into()),
        ]
        .into_iter()
        .collect();
        assert_eq!(
            serde_json::to_string(&Value::from(with_defaults(left, "status"))).unwrap(),
            r#"{"started":true,"finished":true,"stdout":"hi","stderr":"","stdout_lines":[],"stderr_lines":[]}"#
        );
    }
}
