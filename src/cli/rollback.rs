//! `backstay rollback`: puts hosts back to the last known good state, as a transaction with the
//! health checks of the deploy that made it.
//!
//! The health checks are the tasks tagged `backstay_health` of that deploy's playbooks, as they
//! are on the controller now, with the variables of this command line.

use std::path::PathBuf;
use std::sync::Arc;

use clap::Parser;

use super::arguments::OutputArgs;
use super::deploy::TransactionArgs;
use super::execution::exit_code;
use super::fleet::{self, FleetArgs};
use super::job::{Job, Tags};
use super::preparation::Preparation;
use super::run::{AdHoc, PLAY};
use super::run_options::CommandOptions;
use super::screen::Layout;
use crate::error::{EXIT_OK, EXIT_UNREACHABLE_HOSTS, Error, Result};
use crate::executor::{Rollback, TransactionOptions};
use crate::source::SourceFile;

/// The tag of tasks that tell whether a deploy is healthy.
const HEALTH: &str = "backstay_health";

/// `backstay rollback`.
#[derive(Debug, Parser)]
#[command(name = "backstay-rollback")]
pub(super) struct RollbackArgs {
    #[command(flatten)]
    pub(super) fleet: FleetArgs,
    #[command(flatten)]
    pub(super) transaction: TransactionArgs,
    /// Go back to this generation of each host (default: the last known good state; 0: before the first)
    #[arg(long, value_name = "GENERATION")]
    pub(super) to: Option<u64>,
    /// The playbook whose health checks are run (default: that of the deploy)
    #[arg(long, value_name = "PLAYBOOK", conflicts_with = "no_health")]
    pub(super) playbook: Vec<PathBuf>,
    /// Run no health checks
    #[arg(long)]
    pub(super) no_health: bool,
}

/// What is to be put back, and what tells whether it is good.
struct Wanted {
    rollback: Rollback,
    playbooks: Vec<PathBuf>,
    unreached: Vec<String>,
}

/// Puts the hosts back.
pub(super) fn run(args: &RollbackArgs, prepared: &Preparation) -> Result<u8, Vec<Error>> {
    let one = |error: Error| vec![error];
    let application = super::deploy::application(&args.transaction.application).map_err(one)?;
    let wanted = fleet::ask(&args.fleet, prepared, async |fleet| {
        let rollback = fleet.plan_rollback(&application, args.to);
        Wanted {
            playbooks: fleet.playbooks_of(&application, &rollback),
            unreached: fleet
                .contacts
                .iter()
                .filter_map(|it| Some(format!("{}: {}", it.name, it.known.as_ref().err()?)))
                .collect(),
            rollback,
        }
    })?;
    if !wanted.unreached.is_empty() {
        for line in &wanted.unreached {
            fleet::print(&format!("not reached: {line}\n"))?;
        }
        fleet::print(
            "nothing was changed: a rollback needs all hosts; leave some out with --limit\n",
        )?;
        return Ok(EXIT_UNREACHABLE_HOSTS);
    }
    if wanted.rollback.plan().is_empty() {
        fleet::print("nothing to roll back\n")?;
        return Ok(EXIT_OK);
    }
    for (name, generation) in wanted.rollback.plan() {
        let to = match generation {
            0 => "the state before the first deploy".to_owned(),
            generation => format!("generation {generation}"),
        };
        fleet::print(&format!("{name}: back to {to}\n"))?;
    }
    put_back(args, prepared, wanted)
}

fn put_back(args: &RollbackArgs, prepared: &Preparation, wanted: Wanted) -> Result<u8, Vec<Error>> {
    let playbooks = health_checks(args, &wanted.rollback, wanted.playbooks)?;
    let transaction = args
        .transaction
        .options(&prepared.surroundings, &playbooks)
        .map_err(|error| vec![error])?;
    let options = TransactionOptions {
        whole_run: true,
        rollback: Some(wanted.rollback),
        ..transaction
    };
    let health = [HEALTH.to_owned()];
    let (paths, only): (Vec<PathBuf>, &[String]) = if playbooks.is_empty() {
        (vec![PathBuf::from(PLAY)], &[])
    } else {
        (playbooks, &health)
    };
    let files = AdHoc {
        play: SourceFile::new(PLAY, fleet::play_over(&args.fleet.pattern)),
        files: Arc::clone(&prepared.files) as _,
    };
    let task = fleet::task_args(&args.fleet.agent);
    let output = OutputArgs::quiet(args.fleet.json);
    let command = CommandOptions {
        task: &task,
        connection: &args.fleet.connection,
        become_: &args.fleet.become_,
        output: &output,
        forks: None,
        layout: Layout::Default,
        plan: false,
        retry: None,
    };
    let job = Job {
        prepared,
        files: Arc::new(files),
        tags: &Tags::new(only, &[], &prepared.config),
        playbooks: &paths,
    };
    let ended = job.run(&command, |run| run.transaction = options)?;
    Ok(exit_code(&ended))
}

/// Returns the playbooks whose health checks are run, and tells when there are none.
fn health_checks(
    args: &RollbackArgs,
    rollback: &Rollback,
    known: Vec<PathBuf>,
) -> Result<Vec<PathBuf>, Vec<Error>> {
    if args.no_health {
        return Ok(Vec::new());
    }
    if rollback
        .plan()
        .iter()
        .all(|(_, generation)| *generation == 0)
    {
        fleet::print("no health checks: before the first deploy there is nothing to check\n")?;
        return Ok(Vec::new());
    }
    if !args.playbook.is_empty() {
        return Ok(args.playbook.clone());
    }
    let (found, missing): (Vec<_>, Vec<_>) = known.into_iter().partition(|path| path.is_file());
    for path in missing {
        fleet::print(&format!(
            "no health checks: `{}` is not on this machine; name it with --playbook\n",
            path.display()
        ))?;
    }
    Ok(found)
}
