//! One run from its loaded parts to its end: events to the screen, signals to the run, and what came
//! of it to an exit code.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::mpsc::Sender;
use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{mpsc, watch};

use super::arguments::OutputFormat;
use super::job::Parts;
use super::preparation::Preparation;
use super::run_options::CommandOptions;
use super::screen::{Screen, ScreenOptions, Shown};
use super::surroundings;
use super::terminal::{self, TerminalPrompter};
use crate::error::{
    EXIT_ERROR, EXIT_FAILED_HOSTS, EXIT_IN_DOUBT, EXIT_INTERRUPTED, EXIT_OK, EXIT_ROLLED_BACK,
    EXIT_SIGHUP, EXIT_SIGINT, EXIT_SIGTERM, EXIT_STUCK, EXIT_UNREACHABLE_HOSTS, Error, Result,
};
use crate::event::{Event, HostStats, TransactionEnd};
use crate::executor::{self, Cancellation, Fleet, Run, RunOptions, RunOutcome};
use crate::inventory::Inventory;
use crate::playbook::Playbook;
use crate::report::record::Record;
use crate::transport::ConnectContext;
use crate::vault;

/// What came of a run, and the signal that ended it.
pub(super) struct Ended {
    pub(super) run: RunOutcome,
    pub(super) record: Record,
    /// The exit code of the signal that came while a transaction could be open.
    pub(super) signal: Option<u8>,
}

impl CommandOptions<'_> {
    /// Runs the playbooks and shows what happens.
    pub(super) fn execute(
        &self,
        prepared: &Preparation,
        parts: Parts<'_>,
        playbooks: &[Playbook],
    ) -> Result<Ended> {
        let whole_run = parts.options.transaction.whole_run;
        let environment = &prepared.surroundings.environment;
        let in_actions = environment.get("GITHUB_ACTIONS").map(String::as_str) == Some("true");
        let format = self.output.output.unwrap_or(if whole_run && in_actions {
            OutputFormat::Github
        } else {
            OutputFormat::Text
        });
        let summary = environment
            .get("GITHUB_STEP_SUMMARY")
            .filter(|path| format == OutputFormat::Github && !path.is_empty());
        let screen = Screen::new(
            &ScreenOptions {
                format,
                verbosity: parts.options.verbosity,
                check: parts.options.check,
                layout: self.layout,
                plan: self.plan,
                explain: whole_run,
                in_actions,
                checkout: surroundings::checkout(&prepared.surroundings),
                summary: summary.map(PathBuf::from),
                title: title(&parts.options, playbooks),
            },
            &prepared.config,
            prepared.redactor.clone(),
        )?;
        let (show, shown_events) = std::sync::mpsc::channel();
        let shown = screen.start(shown_events);
        announce(prepared, playbooks, &show);
        let runtime = runtime()?;
        let transactional =
            parts.options.transaction.whole_run || executor::have_transactions(playbooks);
        let signal = Arc::new(AtomicU8::new(0));
        let outcome = runtime.block_on(async {
            let (trigger, cancel) = Cancellation::new();
            let signals = tokio::spawn(end_on_signals(
                trigger,
                transactional.then(|| Arc::clone(&signal)),
            ));
            let (events, happened) = mpsc::unbounded_channel();
            let run = make_run(prepared, parts, events, cancel);
            let show = |event| pass_on(event, &show, self.retry.as_deref());
            let outcome = Box::pin(follow(executor::run(run, playbooks), happened, &show)).await;
            signals.abort();
            outcome
        });
        // Agents that do not answer any more must not hold up the end.
        runtime.shutdown_timeout(Duration::from_secs(1));
        terminal::restore();
        // The screen ends when nobody can tell it anything any more.
        drop(show);
        match shown.join() {
            Ok(Shown { record, broken }) => {
                match broken {
                    // The exit code is all that can still tell how a transaction ended.
                    Some(error) if record.transaction.is_some() => {
                        let line = format!("standard output was not written to its end: {error}");
                        writeln!(std::io::stderr(), "{line}").ok();
                    }
                    Some(error) => return Err(super::cannot_print(error)),
                    None => {}
                }
                Ok(Ended {
                    run: outcome,
                    record,
                    signal: Some(signal.load(Ordering::Relaxed)).filter(|code| *code > 0),
                })
            }
            Err(panic) => std::panic::resume_unwind(panic),
        }
    }
}

/// Returns the exit code for what came of a run: Ansible's, unless a transaction was not committed.
pub(super) fn exit_code(ended: &Ended) -> u8 {
    let outcome = &ended.run;
    let uncommitted = outcome
        .transactions
        .iter()
        .filter_map(|transaction| match transaction.end {
            TransactionEnd::Committed => None,
            TransactionEnd::RolledBack => Some(EXIT_ROLLED_BACK),
            TransactionEnd::Stuck => Some(EXIT_STUCK),
            TransactionEnd::InDoubt => Some(EXIT_IN_DOUBT),
        })
        .max();
    match (ended.signal, uncommitted) {
        (Some(signal), Some(_)) => return signal,
        (Some(signal), None) if outcome.cancelled => return signal,
        (None, Some(code)) => return code,
        (_, None) => {}
    }
    if outcome.cancelled {
        EXIT_INTERRUPTED
    } else if let Some(error) = &outcome.error {
        super::exit_code(error.kind).max(EXIT_ERROR)
    } else if !outcome.unreachable.is_empty() {
        EXIT_UNREACHABLE_HOSTS
    } else if !outcome.failed.is_empty() {
        EXIT_FAILED_HOSTS
    } else {
        EXIT_OK
    }
}

/// Waits; returns the exit code of a signal that came meanwhile.
pub(super) fn wait(time: Duration) -> Result<Option<u8>> {
    let first = Arc::new(AtomicU8::new(0));
    let runtime = runtime()?;
    runtime.block_on(async {
        let (trigger, mut ended) = watch::channel(false);
        let signals = tokio::spawn(end_on_signals(trigger, Some(Arc::clone(&first))));
        // Either is the end of waiting.
        tokio::time::timeout(time, ended.changed()).await.ok();
        signals.abort();
    });
    Ok(Some(first.load(Ordering::Relaxed)).filter(|code| *code > 0))
}

/// Asks the hosts of `playbooks`; warnings go to standard error.
pub(super) fn ask<T>(
    prepared: &Preparation,
    parts: Parts<'_>,
    playbooks: &[Playbook],
    then: impl AsyncFnOnce(&mut Fleet) -> T,
) -> Result<T> {
    let runtime = runtime()?;
    let (events, mut happened) = mpsc::unbounded_channel();
    let answer = runtime.block_on(async {
        let (_trigger, cancel) = Cancellation::new();
        let run = make_run(prepared, parts, events, cancel);
        let mut fleet = executor::survey(run, playbooks).await;
        let answer = then(&mut fleet).await;
        fleet.close().await;
        answer
    });
    runtime.shutdown_timeout(Duration::from_secs(1));
    while let Ok(event) = happened.try_recv() {
        if let Event::Warning { message, mark } = event {
            super::tell_warning(prepared, &message, mark.as_ref());
        }
    }
    Ok(answer)
}

/// Returns what a summary of the run is headed with.
fn title(options: &RunOptions, playbooks: &[Playbook]) -> String {
    let verb = match (&options.transaction.rollback, options.transaction.whole_run) {
        (Some(_), _) => "rollback",
        (None, true) => "deploy",
        (None, false) => "play",
    };
    let names: Vec<String> = playbooks
        .iter()
        .filter_map(|playbook| playbook.path.file_name())
        .map(|name| name.to_string_lossy().into_owned())
        .collect();
    let dry = if options.check { " (check)" } else { "" };
    format!("{verb} of {}{dry}", names.join(", "))
}

fn make_run<'c>(
    prepared: &Preparation,
    parts: Parts<'c>,
    events: mpsc::UnboundedSender<Event>,
    cancel: Cancellation,
) -> Run<'c> {
    let secrets = Arc::clone(&prepared.secrets);
    let (sources, inventory_options) =
        (prepared.sources.clone(), prepared.inventory_options.clone());
    Run {
        connect: connect_context(prepared, &parts.options),
        context: parts.context,
        files: parts.files,
        engine: parts.engine,
        lookups: parts.lookups,
        inventory: Arc::clone(&prepared.inventory),
        limit: prepared.limit.clone(),
        variables: parts.variables,
        extra: Arc::clone(&prepared.extra),
        reload: Some(Arc::new(move || {
            Inventory::load(&sources, &inventory_options)
                .map(|(inventory, _)| inventory)
                .map_err(|mut errors| errors.remove(0))
        })),
        decrypt: Arc::new(move |bytes| {
            if vault::is_vaulted(bytes) {
                vault::decrypt(bytes, &secrets).map_err(|error| error.to_string())
            } else {
                Ok(bytes.to_vec())
            }
        }),
        prompter: Arc::new(TerminalPrompter),
        options: parts.options,
        events,
        cancel,
    }
}

/// Passes on what happens until the run is over, then what is still under way.
async fn follow(
    run: impl Future<Output = RunOutcome>,
    mut happened: mpsc::UnboundedReceiver<Event>,
    show: &impl Fn(Event),
) -> RunOutcome {
    let mut run = std::pin::pin!(run);
    let outcome = loop {
        tokio::select! {
            biased;
            Some(event) = happened.recv() => show(event),
            outcome = &mut run => break outcome,
        }
    };
    while let Ok(event) = happened.try_recv() {
        show(event);
    }
    outcome
}

/// Shows an event; before the recap, where the hosts that failed are written.
fn pass_on(event: Event, show: &Sender<Event>, retry: Option<&Path>) {
    // A screen that could not write any more is reported when it is joined.
    let tell = |event| show.send(event).ok();
    if let (Event::Finished { stats, .. }, Some(path)) = (&event, retry)
        && let Some(told) = write_retry_file(path, stats)
    {
        tell(told);
    }
    tell(event);
}

#[expect(clippy::disallowed_methods, reason = "a file of the controller")]
fn write_retry_file(path: &Path, stats: &[(Arc<str>, HostStats)]) -> Option<Event> {
    let failed = stats
        .iter()
        .filter(|(_, stats)| stats.failed > 0 || stats.unreachable > 0);
    let mut text = String::new();
    for (host, _) in failed {
        text += &format!("{host}\n");
    }
    if text.is_empty() {
        return None;
    }
    let path = path.display();
    Some(match std::fs::write(path.to_string(), text) {
        Ok(()) => Event::Prompt {
            text: format!("\tto retry, use: --limit @{path}"),
        },
        Err(error) => Event::Warning {
            message: format!("the retry file `{path}` cannot be written: {error}"),
            mark: None,
        },
    })
}

fn connect_context(prepared: &Preparation, options: &RunOptions) -> ConnectContext {
    let environment = &prepared.surroundings.environment;
    ConnectContext {
        agent_socket: environment.get("SSH_AUTH_SOCK").map(PathBuf::from),
        ..ConnectContext::new(options.home.clone(), options.user.clone())
    }
}

fn runtime() -> Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|error| {
            Error::new(
                crate::error::ErrorKind::Internal,
                "the runtime cannot be started",
            )
            .caused_by(error)
        })
}

/// Ends the run in order on the first signal, and at once on the second. Where a transaction may
/// be open, the exit code of the first is left in `first`, and no further one does anything: the
/// end is bounded, and half a commit helps nobody.
async fn end_on_signals(trigger: watch::Sender<bool>, first: Option<Arc<AtomicU8>>) {
    let kinds = [
        SignalKind::interrupt(),
        SignalKind::terminate(),
        SignalKind::hangup(),
    ];
    let Ok(streams) = kinds
        .into_iter()
        .map(signal)
        .collect::<std::io::Result<Vec<_>>>()
    else {
        return;
    };
    let [mut interrupt, mut terminate, mut hangup] =
        <[_; 3]>::try_from(streams).expect("three kinds give three streams");
    for is_second in (0..).map(|number| number > 0) {
        let code = tokio::select! {
            _ = interrupt.recv() => EXIT_SIGINT,
            _ = terminate.recv() => EXIT_SIGTERM,
            _ = hangup.recv() => EXIT_SIGHUP,
        };
        if let Some(first) = &first {
            // Only the first one is kept.
            first
                .compare_exchange(0, code, Ordering::Relaxed, Ordering::Relaxed)
                .ok();
        } else if is_second {
            #[expect(
                clippy::exit,
                reason = "the user does not want to wait for the end in order"
            )]
            std::process::exit(i32::from(EXIT_INTERRUPTED));
        }
        // A run that is over has nobody left to tell.
        trigger.send(true).ok();
    }
}

/// Tells what is known before the first play: the configuration file and all warnings.
fn announce(prepared: &Preparation, playbooks: &[Playbook], show: &Sender<Event>) {
    let config = match &prepared.config.file {
        Some(path) => format!("Using {} as config file", path.display()),
        None => "No config file found; using defaults".to_owned(),
    };
    let mut told = vec![Event::Verbose {
        verbosity: 1,
        host: None,
        text: config,
    }];
    told.extend(prepared.warnings.iter().map(|warning| {
        let text = warning.text.clone();
        match warning.verbosity {
            0 => Event::Warning {
                message: text,
                mark: warning.mark.clone(),
            },
            verbosity => Event::Verbose {
                verbosity,
                host: None,
                text,
            },
        }
    }));
    let of_playbooks = playbooks.iter().flat_map(|playbook| &playbook.warnings);
    told.extend(of_playbooks.map(|(message, mark)| Event::Warning {
        message: message.clone(),
        mark: Some(mark.clone()),
    }));
    for event in told {
        pass_on(event, show, None);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::TransactionOutcome;

    #[test]
    fn unreachable_hosts_decide_the_exit_code_before_failed_ones() {
        let hosts = |names: &[&str]| names.iter().map(|name| Arc::from(*name)).collect();
        let outcome = |failed: &[&str], unreachable: &[&str]| RunOutcome {
            failed: hosts(failed),
            unreachable: hosts(unreachable),
            ..RunOutcome::default()
        };
        let code = |run: RunOutcome| {
            exit_code(&Ended {
                run,
                record: Record::default(),
                signal: None,
            })
        };
        assert_eq!(code(outcome(&[], &[])), 0);
        assert_eq!(code(outcome(&["a"], &[])), 2);
        assert_eq!(code(outcome(&["a"], &["b"])), 4);
        let cancelled = RunOutcome {
            cancelled: true,
            ..outcome(&["a"], &[])
        };
        assert_eq!(code(cancelled), 99);
    }

    #[test]
    fn a_transaction_that_is_not_committed_decides_the_exit_code_and_a_signal_before_it() {
        use TransactionEnd::{Committed, InDoubt, RolledBack, Stuck};
        let code = |ends: &[TransactionEnd], signal: Option<u8>| {
            let transactions = ends.iter().map(|end| TransactionOutcome {
                id: String::new(),
                block: None,
                end: *end,
                reason: None,
                participants: Vec::new(),
            });
            let run = RunOutcome {
                failed: vec!["a".into()],
                transactions: transactions.collect(),
                ..RunOutcome::default()
            };
            exit_code(&Ended {
                run,
                record: Record::default(),
                signal,
            })
        };
        assert_eq!(code(&[RolledBack], None), 20);
        assert_eq!(code(&[RolledBack, Stuck], None), 21);
        assert_eq!(code(&[Stuck, InDoubt, Committed], None), 22);
        assert_eq!(code(&[Committed], None), 2);
        assert_eq!(code(&[RolledBack], Some(143)), 143);
        // The signal came too late: everything is committed.
        assert_eq!(code(&[Committed], Some(130)), 2);
    }
}
