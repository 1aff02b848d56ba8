//! `backstay deploy`: the playbooks of `backstay play`, as one transaction over all their hosts.

use std::io::Write;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, ValueEnum};

use super::aftermath::{AftermathArgs, Audience, Labels, Told};
use super::arguments::PlayArgs;
use super::execution;
use super::play::{self, Ran, Transactional};
use super::preparation::Preparation;
use super::state::{StateArgs, StateBefore};
use super::surroundings;
use crate::config::Surroundings;
use crate::error::{EXIT_ROLLED_BACK, EXIT_UNREACHABLE_HOSTS, Error, Result};
use crate::executor::{OnFailure, TransactionOptions};

/// `backstay deploy`.
#[derive(Debug, Parser)]
#[command(name = "backstay-deploy")]
pub(super) struct DeployArgs {
    #[command(flatten)]
    pub(super) play: PlayArgs,
    #[command(flatten)]
    pub(super) transaction: TransactionArgs,
    /// The version that is deployed: status and the file `current` of every host tell it
    #[arg(long, value_name = "VERSION", help_heading = "Transaction options")]
    pub(super) release: Option<String>,
    /// Refuse what nobody can undo, before anything is changed
    #[arg(long, help_heading = "Transaction options")]
    pub(super) strict: bool,
    /// What a failure undoes
    #[arg(
        long,
        value_enum,
        default_value_t = FailurePolicy::RollbackRun,
        value_name = "POLICY",
        help_heading = "Transaction options"
    )]
    pub(super) on_failure: FailurePolicy,
    /// Deploy again, from the state before, when it was rolled back or hosts were not reached
    #[arg(
        long,
        default_value_t = 1,
        value_name = "N",
        help_heading = "Transaction options"
    )]
    pub(super) attempts: u32,
    /// Wait this long before the second attempt, and twice as long before each further one
    #[arg(
        long,
        default_value_t = 10,
        value_name = "SECONDS",
        help_heading = "Transaction options"
    )]
    pub(super) backoff: u64,
    #[command(flatten)]
    pub(super) state: StateArgs,
    #[command(flatten)]
    pub(super) aftermath: AftermathArgs,
}

/// Whose lock is taken, and how long everybody waits.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Transaction options")]
pub(super) struct TransactionArgs {
    /// The application: hosts have a lock and generations for each
    #[arg(long, default_value = "default", value_name = "NAME")]
    pub(super) application: String,
    /// A host that hears nothing for this long undoes by itself
    #[arg(long, default_value_t = 60.0, value_name = "SECONDS")]
    pub(super) lease: f64,
    /// Wait this long for locks that other runs hold
    #[arg(long, default_value_t = 600, value_name = "SECONDS")]
    pub(super) lock_wait: u64,
    /// Do not wait for locks
    #[arg(long, conflicts_with = "lock_wait")]
    pub(super) no_wait: bool,
    /// How many generations a host keeps
    #[arg(long, default_value_t = 5, value_name = "N")]
    pub(super) keep: u64,
}

/// What a failure undoes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum FailurePolicy {
    /// Everything the run has done, on every host
    RollbackRun,
    /// The batch that failed; each batch is a transaction, and those before it stay committed
    RollbackBatch,
    /// Nothing: what is done is kept, and not known to be good
    Stop,
}

/// The shortest lease: heartbeats must have time to travel.
const SHORTEST_LEASE: f64 = 2.0;

impl TransactionArgs {
    /// Resolves the options that every transaction has.
    pub(super) fn options(
        &self,
        surroundings: &Surroundings,
        playbooks: &[PathBuf],
    ) -> Result<TransactionOptions> {
        let lease = Duration::try_from_secs_f64(self.lease)
            .ok()
            .filter(|_| self.lease >= SHORTEST_LEASE)
            .ok_or_else(|| {
                let message = format!("a lease of {} seconds is too short", self.lease);
                Error::usage(message).help(format!("give it at least {SHORTEST_LEASE} seconds"))
            })?;
        let absolute = |path: &PathBuf| surroundings.working_directory.join(path);
        Ok(TransactionOptions {
            application: application(&self.application)?,
            lease,
            lock_wait: if self.no_wait {
                Duration::ZERO
            } else {
                Duration::from_secs(self.lock_wait)
            },
            keep: self.keep.max(1),
            ..of_controller(surroundings, playbooks.iter().map(absolute).collect())
        })
    }
}

/// Returns the options of transactions that nobody gave options for.
pub(super) fn of_controller(
    surroundings: &Surroundings,
    playbooks: Vec<PathBuf>,
) -> TransactionOptions {
    TransactionOptions {
        who: surroundings::user_name(),
        controller: rustix::system::uname()
            .nodename()
            .to_string_lossy()
            .into_owned(),
        run_url: run_url(surroundings),
        playbooks,
        ..TransactionOptions::default()
    }
}

/// Reads the page of the run from what continuous integrations set.
fn run_url(surroundings: &Surroundings) -> Option<String> {
    let get = |name: &str| {
        let value = surroundings.environment.get(name);
        value.filter(|value| !value.is_empty()).cloned()
    };
    let github = || {
        let (server, repository) = (get("GITHUB_SERVER_URL")?, get("GITHUB_REPOSITORY")?);
        Some(format!(
            "{server}/{repository}/actions/runs/{}",
            get("GITHUB_RUN_ID")?
        ))
    };
    github()
        .or_else(|| get("CI_JOB_URL"))
        .or_else(|| get("BUILD_URL"))
}

/// Checks an application's name: it names a file on the hosts.
pub(super) fn application(name: &str) -> Result<String> {
    let is_plain = |character: char| character.is_ascii_alphanumeric() || "._-".contains(character);
    if !name.is_empty() && name.len() <= 64 && name.chars().all(is_plain) && !name.starts_with('.')
    {
        return Ok(name.to_owned());
    }
    Err(
        Error::usage(format!("`{name}` is no name of an application"))
            .help("use up to 64 letters, digits, `-`, `_` and `.`"),
    )
}

/// Runs the playbooks as one transaction, or prints its plan under `--check`.
pub(super) fn run(args: &DeployArgs, prepared: &Preparation) -> Result<u8, Vec<Error>> {
    let options = args
        .transaction
        .options(&prepared.surroundings, &args.play.playbooks)
        .map_err(|error| vec![error])?;
    let transaction = TransactionOptions {
        whole_run: true,
        release: args.release.clone(),
        strict: args.strict,
        on_failure: match args.on_failure {
            FailurePolicy::RollbackRun => OnFailure::RollbackRun,
            FailurePolicy::RollbackBatch => OnFailure::RollbackBatch,
            FailurePolicy::Stop => OnFailure::Stop,
        },
        ..options
    };
    let audience = Audience::new(&args.aftermath, prepared).map_err(|error| vec![error])?;
    let labels = Labels::new(&transaction);
    let before = StateBefore::new(&args.state, prepared);
    let transactional = Transactional::Deploy(transaction, before);
    for attempt in 1.. {
        let ran = play::run_as(&args.play, prepared, &transactional)?;
        let again = attempt < args.attempts && is_worth_another_try(&ran);
        if let Some(record) = ran.record.filter(|_| !again && !args.play.task.check) {
            audience.tell(&Told {
                record: &record,
                labels: &labels,
                code: ran.code,
                attempts: attempt,
            });
        }
        if !again {
            return Ok(ran.code);
        }
        let pause = pause(args.backoff, attempt);
        let line = format!(
            "attempt {attempt} of {} ended with {}; the next one starts in {} s",
            args.attempts,
            ran.code,
            pause.as_secs()
        );
        // Without a stderr there is nobody to tell.
        writeln!(std::io::stderr(), "{line}").ok();
        if let Some(code) = execution::wait(pause).map_err(|error| vec![error])? {
            return Ok(code);
        }
    }
    unreachable!("the last attempt returns")
}

/// Tells whether hosts are as before, so that the same may go better now.
fn is_worth_another_try(ran: &Ran) -> bool {
    let is_as_before = match ran.code {
        EXIT_ROLLED_BACK => true,
        // Before anybody was changed; else the transaction tells.
        EXIT_UNREACHABLE_HOSTS => ran
            .record
            .as_ref()
            .is_some_and(|record| record.transaction.is_none()),
        _ => false,
    };
    is_as_before && !ran.is_ended
}

/// The longest pause between two attempts.
const LONGEST_PAUSE: u64 = 600;

/// Returns how long is waited after an attempt, counted from 1.
fn pause(backoff: u64, attempt: u32) -> Duration {
    let factor = 2_u64.saturating_pow(attempt.saturating_sub(1));
    Duration::from_secs(backoff.saturating_mul(factor).min(LONGEST_PAUSE))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn in_environment(pairs: &[(&str, &str)]) -> Option<String> {
        let pairs = pairs.iter();
        run_url(&Surroundings {
            working_directory: "/".into(),
            home: "/".into(),
            environment: pairs
                .map(|(key, value)| ((*key).into(), (*value).into()))
                .collect(),
        })
    }

    #[test]
    fn the_page_of_a_run_is_known_where_the_integration_says_it() {
        assert_eq!(in_environment(&[]), None);
        assert_eq!(
            in_environment(&[
                ("GITHUB_SERVER_URL", "https://github.com"),
                ("GITHUB_REPOSITORY", "a/b"),
                ("GITHUB_RUN_ID", "7"),
            ])
            .as_deref(),
            Some("https://github.com/a/b/actions/runs/7")
        );
        assert_eq!(
            in_environment(&[("CI_JOB_URL", "https://ci/1")]).as_deref(),
            Some("https://ci/1")
        );
    }

    #[test]
    fn pauses_double_up_to_ten_minutes() {
        let seconds = [1, 2, 3, 9, 90].map(|attempt| pause(10, attempt).as_secs());
        assert_eq!(seconds, [10, 20, 40, 600, 600]);
    }

    #[test]
    fn only_what_left_every_host_as_before_is_tried_again() {
        let ran = |code: u8, is_ended: bool| Ran {
            code,
            is_ended,
            record: Some(crate::report::record::Record::default()),
        };
        assert!(is_worth_another_try(&ran(20, false)));
        assert!(is_worth_another_try(&ran(4, false)));
        assert!(!is_worth_another_try(&ran(20, true)));
        for code in [0, 1, 2, 21, 22] {
            assert!(!is_worth_another_try(&ran(code, false)), "{code}");
        }
    }

    #[test]
    fn an_application_is_a_plain_word() {
        assert!(application("web-2.a_b").is_ok());
        for name in ["", "../x", "a b", ".hidden", "a/b"] {
            assert!(application(name).is_err(), "{name}");
        }
    }

    #[test]
    fn a_deploy_takes_every_flag_of_a_play_and_its_own() {
        let line = "backstay-deploy -vv -C -D -i inv -l web --tags a site.yml --application shop \
                    --strict --on-failure rollback-batch --lease 30 --lock-wait 5 --keep 3";
        let args = DeployArgs::try_parse_from(line.split_whitespace()).unwrap();
        assert!(args.strict && args.play.task.check);
        assert_eq!(args.on_failure, FailurePolicy::RollbackBatch);
        assert_eq!(args.transaction.application, "shop");
        let both = ["backstay-deploy", "--no-wait", "--lock-wait", "5", "a.yml"];
        assert!(DeployArgs::try_parse_from(both).is_err());
    }
}
