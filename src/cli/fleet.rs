//! What the commands about transactions share: whom they ask, and how the answer is printed.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::{ArgAction, Args};

use super::arguments::{
    BecomeArgs, ConnectionArgs, OutputArgs, SourceArgs, TaskArgs, VaultPasswordArgs,
};
use super::job::{Job, Tags};
use super::preparation::Preparation;
use super::run::{AdHoc, PLAY};
use super::run_options::CommandOptions;
use super::screen::Layout;
use crate::diagnosis::Diagnosis;
use crate::error::{Error, Result};
use crate::executor::{Contact, Fleet};
use crate::source::SourceFile;
use crate::transaction::state::{RunInfo, State, Summary};
use crate::value::Value;

/// Whom a command about transactions asks.
#[derive(Debug, Args)]
pub(super) struct FleetArgs {
    /// The hosts to ask
    #[arg(default_value = "all", value_name = "PATTERN")]
    pub(super) pattern: String,
    #[command(flatten)]
    pub(super) sources: SourceArgs,
    /// Write JSON
    #[arg(long)]
    pub(super) json: bool,
    /// The agent for hosts of another CPU, as `uname -m` names it
    #[arg(long, value_name = "CPU=PATH", action = ArgAction::Append)]
    pub(super) agent: Vec<String>,
    #[command(flatten)]
    pub(super) connection: ConnectionArgs,
    #[command(flatten)]
    pub(super) become_: BecomeArgs,
    #[command(flatten)]
    pub(super) vault: VaultPasswordArgs,
}

/// Asks the hosts, and hands what they know to `then`.
pub(super) fn ask<T>(
    args: &FleetArgs,
    prepared: &Preparation,
    then: impl AsyncFnOnce(&mut Fleet) -> T,
) -> Result<T, Vec<Error>> {
    prepared
        .inventory
        .targets(&args.pattern, prepared.limit.as_ref())
        .map_err(|error| vec![error])?;
    let files = AdHoc {
        play: SourceFile::new(PLAY, play_over(&args.pattern)),
        files: Arc::clone(&prepared.files) as _,
    };
    let job = Job {
        prepared,
        files: Arc::new(files),
        tags: &Tags::new(&[], &[], &prepared.config),
        playbooks: &[PathBuf::from(PLAY)],
    };
    let (task, output) = (task_args(&args.agent), OutputArgs::quiet(false));
    job.ask(&command(args, &task, &output), then)
}

/// Returns a play over a pattern that does nothing.
pub(super) fn play_over(pattern: &str) -> String {
    let play = Value::map([
        ("hosts", Value::from(pattern)),
        ("gather_facts", false.into()),
    ]);
    serde_json::to_string(&Value::list([play])).expect("two texts and a flag are JSON")
}

fn command<'a>(
    args: &'a FleetArgs,
    task: &'a TaskArgs,
    output: &'a OutputArgs,
) -> CommandOptions<'a> {
    CommandOptions {
        task,
        connection: &args.connection,
        become_: &args.become_,
        output,
        forks: None,
        layout: Layout::Default,
        plan: false,
        retry: None,
    }
}

/// Returns the options of tasks for a command that runs none.
pub(super) fn task_args(agent: &[String]) -> TaskArgs {
    TaskArgs {
        check: false,
        diff: false,
        module_path: Vec::new(),
        agent: agent.to_vec(),
    }
}

/// Prints to standard output.
pub(super) fn print(text: &str) -> Result<(), Vec<Error>> {
    std::io::stdout()
        .write_all(text.as_bytes())
        .map_err(|error| vec![super::cannot_print(error)])
}

/// Prints a value as indented JSON.
pub(super) fn print_json(value: &Value) -> Result<(), Vec<Error>> {
    let text = serde_json::to_string_pretty(value)
        .map_err(|error| vec![Error::usage("the answer is no JSON").caused_by(error)])?;
    print(&(text + "\n"))
}

/// Returns the applications that contacts know, with `always` among them.
pub(super) fn applications(contacts: &[Contact], always: &str) -> Vec<String> {
    let known = contacts
        .iter()
        .filter_map(|contact| contact.known.as_ref().ok());
    let mut names: Vec<String> = known
        .flatten()
        .map(|summary| summary.application.clone())
        .chain([always.to_owned()])
        .filter(|name| !name.is_empty())
        .collect();
    names.sort();
    names.dedup();
    names
}

/// Returns a time in UTC as users read it.
pub(super) fn when(seconds: i64) -> String {
    jiff::Timestamp::from_second(seconds)
        .map_or_else(|_| "an unknown time".to_owned(), |time| time.to_string())
}

/// Returns who ran what, as users read it.
pub(super) fn by(run: &RunInfo) -> String {
    let mut text = match run.host.as_str() {
        "" => run.who.clone(),
        host => format!("{}@{host}", run.who),
    };
    let playbooks: Vec<String> = run
        .playbook
        .lines()
        .filter_map(|path| Path::new(path).file_name())
        .map(|name| name.to_string_lossy().into_owned())
        .collect();
    if !playbooks.is_empty() {
        text += &format!(" with {}", playbooks.join(" "));
    }
    if let Some(url) = &run.run_url {
        text += &format!(", run {url}");
    }
    text
}

/// Returns the word for a state.
pub(super) fn word(state: State) -> &'static str {
    match state {
        State::Locked => "locked",
        State::Staged => "staged",
        State::Applying => "applying",
        State::Verified => "verified",
        State::Prepared => "prepared",
        State::Committed => "committed",
        State::RollingBack => "rolling back",
        State::RolledBack => "rolled back",
        State::Stuck => "STUCK",
    }
}

/// Names why a transaction was not committed, where it tells a reason.
pub(super) fn diagnosis(summary: &Summary) -> Option<Diagnosis> {
    let reason = summary.reason.as_deref().filter(|it| !it.is_empty())?;
    (summary.state != State::Committed).then(|| Diagnosis::of_reason(reason))
}

/// Returns a transaction as JSON shows it.
pub(super) fn transaction(summary: &Summary) -> Value {
    let texts = |texts: &[String]| Value::list(texts.iter().map(|text| Value::from(text.as_str())));
    let time = |seconds: i64| Value::from(when(seconds));
    let number = |number: Option<u64>| number.map_or(Value::Null, Value::from);
    let drift = summary.drift.iter().map(|drift| {
        Value::map([
            ("path", Value::from(drift.path.as_str())),
            ("saved", drift.saved.clone().into()),
        ])
    });
    let stuck = summary.stuck.iter().map(|item| {
        Value::map([
            ("what", Value::from(item.what.as_str())),
            ("why", item.why.as_str().into()),
        ])
    });
    Value::map([
        ("id", Value::from(summary.id.as_str())),
        ("application", summary.application.as_str().into()),
        ("kind", summary.run.kind.as_str().into()),
        (
            "state",
            word(summary.state).to_lowercase().replace(' ', "_").into(),
        ),
        ("generation", number(summary.generation)),
        ("healthy", summary.healthy.into()),
        ("changes", summary.changes.into()),
        ("opened", time(summary.opened)),
        ("ended", summary.ended.map_or(Value::Null, time)),
        ("reason", summary.reason.clone().into()),
        (
            "diagnosis",
            diagnosis(summary).map_or(Value::Null, |it| it.to_value()),
        ),
        ("who", summary.run.who.as_str().into()),
        ("controller", summary.run.host.as_str().into()),
        ("run_url", summary.run.run_url.clone().into()),
        ("version", summary.run.release.clone().into()),
        (
            "playbooks",
            Value::list(summary.run.playbook.lines().map(Value::from)),
        ),
        ("participants", texts(&summary.run.participants)),
        ("drift", Value::list(drift)),
        ("stuck", Value::list(stuck)),
        ("not_undone", texts(&summary.opaque)),
    ])
}
