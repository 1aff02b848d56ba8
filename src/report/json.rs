//! `--output json`: every event as one line of JSON, for programs.
//!
//! The shape is documented in docs/events.md; a field is added, never renamed. Nothing here
//! depends on verbosity or colour.

use std::io;
use std::sync::Arc;

use super::{Reporter, Streams};
use crate::diagnosis::Diagnosis;
use crate::error::Error;
use crate::event::{
    Event, HostStats, ParticipantEnd, ParticipantOutcome, Status, Step, TaskInfo, TaskResult,
    TransactionEnd,
};
use crate::source::Mark;
use crate::value::{Map, Value};

/// Writes JSON lines.
pub struct JsonReporter;

impl Reporter for JsonReporter {
    fn report(&mut self, event: &Event, streams: &mut Streams<'_>) -> io::Result<()> {
        let line = serde_json::to_string(&to_value(event)).map_err(io::Error::other)?;
        streams.out(&line)
    }
}

/// Returns an event as the dictionary that is written.
fn to_value(event: &Event) -> Value {
    match event {
        Event::PlaybookStarted { path, n_plays } => object(
            "playbook_started",
            [("path", path.as_str().into()), ("plays", (*n_plays).into())],
        ),
        Event::PlayStarted {
            name,
            hosts,
            check_mode,
            ..
        } => object(
            "play_started",
            [
                ("name", name.as_str().into()),
                ("hosts", names(hosts)),
                ("check_mode", (*check_mode).into()),
            ],
        ),
        Event::NoHostsMatched => object("no_hosts_matched", []),
        Event::NoHostsRemaining => object("no_hosts_remaining", []),
        Event::TaskStarted { task: started } => object("task_started", [("task", task(started))]),
        Event::HostStarted {
            host,
            task: started,
        } => object(
            "host_started",
            [("host", (&**host).into()), ("task", task(started))],
        ),
        Event::Progress {
            host,
            label,
            done,
            total,
        } => object(
            "progress",
            [
                ("host", (&**host).into()),
                ("label", label.as_str().into()),
                ("done", (*done).into()),
                ("total", (*total).into()),
            ],
        ),
        Event::ItemFinished(finished) => result("item_finished", finished, []),
        Event::Retried {
            result: failed,
            retries_left,
        } => result(
            "retried",
            failed,
            [("retries_left", (*retries_left).into())],
        ),
        Event::AsyncPolled {
            result: polled,
            job,
            finished,
        } => result(
            "async_polled",
            polled,
            [
                ("job", job.as_str().into()),
                ("finished", (*finished).into()),
            ],
        ),
        Event::HostFinished(finished) => result("host_finished", finished, []),
        Event::Included { what, hosts, item } => object(
            "included",
            [
                ("what", what.as_str().into()),
                ("hosts", names(hosts)),
                ("item", item.clone().unwrap_or_default()),
            ],
        ),
        Event::HandlerNotified { handler, host } => object(
            "handler_notified",
            [
                ("handler", handler.as_str().into()),
                ("host", (&**host).into()),
            ],
        ),
        Event::Meta { text, host } => object(
            "meta",
            [
                ("text", text.as_str().into()),
                ("host", host.clone().into()),
            ],
        ),
        Event::Warning { message, mark } => object(
            "warning",
            [
                ("message", message.as_str().into()),
                ("place", place(mark.as_ref())),
            ],
        ),
        Event::Deprecated { message, mark } => object(
            "deprecated",
            [
                ("message", message.as_str().into()),
                ("place", place(mark.as_ref())),
            ],
        ),
        Event::Failed(failure) => object(
            "failed",
            [
                ("error", error(failure)),
                ("diagnosis", Diagnosis::of_error(failure).to_value()),
            ],
        ),
        Event::Verbose {
            verbosity,
            host,
            text,
        } => object(
            "verbose",
            [
                ("verbosity", (*verbosity).into()),
                ("host", host.clone().into()),
                ("text", text.as_str().into()),
            ],
        ),
        Event::Prompt { text } => object("prompt", [("text", text.as_str().into())]),
        Event::Stepped { question, .. } => {
            object("stepped", [("question", question.as_str().into())])
        }
        Event::LockAwaited { host, holder } => object(
            "lock_awaited",
            [
                ("host", (&**host).into()),
                ("who", holder.who.as_str().into()),
                ("since", holder.since_text().into()),
                ("run_url", holder.run_url.clone().into()),
            ],
        ),
        Event::TransactionOpened { id, participants } => object(
            "transaction_opened",
            [
                ("id", id.as_str().into()),
                ("participants", names(participants)),
            ],
        ),
        Event::RollingBack {
            participants,
            reason,
        } => object(
            "rolling_back",
            [
                ("participants", names(participants)),
                ("reason", reason.as_str().into()),
            ],
        ),
        Event::BlockUndone {
            host,
            block,
            participants,
        } => object(
            "block_undone",
            [
                ("host", (&**host).into()),
                ("block", block.as_str().into()),
                (
                    "participants",
                    Value::list(participants.iter().map(participant)),
                ),
            ],
        ),
        Event::TransactionEnded(outcome) => object(
            "transaction_ended",
            [
                ("id", outcome.id.as_str().into()),
                ("block", outcome.block.clone().into()),
                ("end", end(outcome.end).into()),
                ("reason", outcome.reason.clone().into()),
                (
                    "participants",
                    Value::list(outcome.participants.iter().map(participant)),
                ),
            ],
        ),
        Event::Finished {
            stats: lines,
            custom,
        } => object(
            "finished",
            [
                (
                    "stats",
                    Value::map(lines.iter().map(|(host, line)| (host, stats(line)))),
                ),
                ("custom", custom.clone()),
            ],
        ),
    }
}

fn object<const N: usize>(event: &str, fields: [(&str, Value); N]) -> Value {
    let kind = [("event", Value::from(event))];
    Value::map(kind.into_iter().chain(fields))
}

fn names(hosts: &[Arc<str>]) -> Value {
    Value::list(hosts.iter().map(|host| Value::from(&**host)))
}

fn place(mark: Option<&Mark>) -> Value {
    mark.map_or(Value::Null, |mark| {
        Value::map([
            ("file", Value::from(mark.file.name.as_str())),
            ("line", mark.line.into()),
            ("column", mark.column.into()),
        ])
    })
}

fn task(task: &TaskInfo) -> Value {
    Value::map([
        ("id", Value::from(task.id)),
        ("name", task.name.as_str().into()),
        ("role", task.role.clone().into()),
        ("action", task.action.as_str().into()),
        ("place", place(Some(&task.mark))),
        ("handler", task.handler.into()),
    ])
}

fn result<const N: usize>(event: &str, result: &TaskResult, more: [(&str, Value); N]) -> Value {
    let shown: Map = result
        .result
        .as_map()
        .into_iter()
        .flatten()
        .filter(|(key, _)| !key.as_str().is_some_and(|key| key.starts_with("_ansible_")))
        .map(|(key, value)| (key.clone(), value.clone()))
        .collect();
    let fields = [
        ("event", Value::from(event)),
        ("host", (&*result.host).into()),
        ("delegate", result.delegate.clone().into()),
        ("task", task(&result.task)),
        ("status", status(result.status).into()),
        ("item", result.item.clone().unwrap_or_default()),
        ("result", shown.into()),
        ("error", result.error.as_deref().map_or(Value::Null, error)),
    ];
    // Outside of transactions and their plans nobody looks for steps.
    let steps =
        (!result.steps.is_empty()).then(|| ("steps", Value::list(result.steps.iter().map(step))));
    let diagnosis =
        Diagnosis::of_result(result).map(|diagnosis| ("diagnosis", diagnosis.to_value()));
    Value::map(fields.into_iter().chain(steps).chain(diagnosis).chain(more))
}

fn step(step: &Step) -> Value {
    Value::map([
        ("class", Value::from(step.class.name())),
        ("what", step.what.as_str().into()),
        ("undo", step.undo.as_str().into()),
    ])
}

fn end(end: TransactionEnd) -> &'static str {
    match end {
        TransactionEnd::Committed => "committed",
        TransactionEnd::RolledBack => "rolled_back",
        TransactionEnd::Stuck => "stuck",
        TransactionEnd::InDoubt => "in_doubt",
    }
}

fn participant(participant: &ParticipantOutcome) -> Value {
    let (state, generation, why) = match &participant.end {
        ParticipantEnd::Committed(None) => ("unchanged", None, None),
        ParticipantEnd::Committed(generation) => ("committed", *generation, None),
        ParticipantEnd::RolledBack => ("rolled_back", None, None),
        ParticipantEnd::Stuck => ("stuck", None, None),
        ParticipantEnd::Unknown(why) => ("unknown", None, Some(why.as_str())),
    };
    let drift = participant.drift.iter().map(|(path, saved)| {
        Value::map([
            ("path", Value::from(path.as_str())),
            ("saved", saved.clone().into()),
        ])
    });
    let stuck = participant.stuck.iter().map(|(what, why)| {
        Value::map([
            ("what", Value::from(what.as_str())),
            ("why", why.as_str().into()),
        ])
    });
    Value::map([
        ("name", Value::from(&*participant.name)),
        ("state", state.into()),
        ("generation", generation.map_or(Value::Null, Value::from)),
        ("why", why.map_or(Value::Null, Value::from)),
        ("drift", Value::list(drift)),
        ("stuck", Value::list(stuck)),
        (
            "not_undone",
            Value::list(
                participant
                    .not_undone
                    .iter()
                    .map(|what| Value::from(what.as_str())),
            ),
        ),
    ])
}

fn status(status: Status) -> &'static str {
    match status {
        Status::Ok => "ok",
        Status::Changed => "changed",
        Status::Skipped => "skipped",
        Status::Failed => "failed",
        Status::Ignored => "ignored",
        Status::Unreachable => "unreachable",
        Status::IgnoredUnreachable => "ignored_unreachable",
    }
}

/// Returns an error as a dictionary; `cli` writes errors before the run in the same shape.
pub fn error(error: &Error) -> Value {
    Value::map([
        ("message", Value::from(error.message.as_str())),
        ("context", error.context.clone().into()),
        ("place", place(error.mark.as_ref())),
        (
            "causes",
            Value::list(error.causes.iter().map(|cause| {
                Value::map([
                    ("message", Value::from(cause.message.as_str())),
                    ("place", place(cause.mark.as_ref())),
                ])
            })),
        ),
        ("help", error.help.clone().into()),
    ])
}

fn stats(stats: &HostStats) -> Value {
    Value::map([
        ("ok", stats.ok),
        ("changed", stats.changed),
        ("unreachable", stats.unreachable),
        ("failed", stats.failed),
        ("skipped", stats.skipped),
        ("rescued", stats.rescued),
        ("ignored", stats.ignored),
    ])
}

#[cfg(test)]
mod tests {
    use super::super::default::tests;
    use super::*;
    use crate::redactor::Redactor;

    #[test]
    fn a_failed_result_tells_its_class_and_its_runbook() {
        let task = tests::task("install", "apt", false);
        let json = r#"{"msg":"no package"}"#;
        let event = Event::HostFinished(tests::result(&task, Status::Failed, json));
        assert_eq!(
            serde_json::to_string(to_value(&event).get("diagnosis").unwrap()).unwrap(),
            concat!(
                r#"{"class":"package_manager","evidence":"no package","#,
                r#""remedy":"run the package manager on the host by hand and read its answer","#,
                r#""page":"docs/runbooks/deploy-failed.md#package-manager"}"#
            )
        );
    }

    #[test]
    fn a_result_is_one_line_without_display_hints_and_without_secrets() {
        let (mut out, mut err) = (Vec::new(), Vec::new());
        let redactor = Redactor::default();
        redactor.add("hunter22");
        let task = tests::task("say", "debug", false);
        let json = r#"{"msg":"hunter22","_ansible_verbose_always":true}"#;
        let event = Event::HostFinished(tests::result(&task, Status::Ok, json));
        let mut streams = Streams::new(&mut out, &mut err, &redactor);
        JsonReporter.report(&event, &mut streams).unwrap();
        assert_eq!(
            String::from_utf8(out).unwrap(),
            concat!(
                r#"{"event":"host_finished","host":"web1","delegate":null,"task":{"id":7,"#,
                r#""name":"say","role":null,"action":"debug","place":{"file":"site.yml","line":3,"#,
                r#""column":5},"handler":false},"status":"ok","item":null,"#,
                r#""result":{"msg":"********"},"error":null}"#,
                "\n"
            )
        );
    }
}
