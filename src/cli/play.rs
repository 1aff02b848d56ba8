//! `backstay play`: what it runs as, and what its end means.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::arguments::PlayArgs;
use super::execution::exit_code;
use super::job::{Job, Tags};
use super::preparation::Preparation;
use super::run_options::CommandOptions;
use super::screen::Layout;
use super::state::StateBefore;
use super::{deploy, listing};
use crate::config::Config;
use crate::error::Error;
use crate::executor::TransactionOptions;
use crate::playbook::Files;
use crate::report::record::Record;

/// How transactions are run.
#[expect(clippy::large_enum_variant, reason = "there is one of it in a run")]
pub(super) enum Transactional {
    /// Plays and blocks that ask for it.
    Asked,
    /// All of the run.
    Deploy(TransactionOptions, Option<StateBefore>),
}

/// Runs the playbooks, or lists what they would do.
pub(super) fn run(args: &PlayArgs, prepared: &Preparation) -> Result<u8, Vec<Error>> {
    run_as(args, prepared, &Transactional::Asked).map(|ran| ran.code)
}

/// What came of a command that runs playbooks.
#[derive(Default)]
pub(super) struct Ran {
    pub(super) code: u8,
    /// Nothing where it only showed what it would run.
    pub(super) record: Option<Record>,
    /// A signal ended it.
    pub(super) is_ended: bool,
}

/// Runs the playbooks with their transactions, or lists what they would do.
pub(super) fn run_as(
    args: &PlayArgs,
    prepared: &Preparation,
    transactional: &Transactional,
) -> Result<Ran, Vec<Error>> {
    let mut tags = Tags::new(&args.tags, &args.skip_tags, &prepared.config);
    if args.list_tags && args.tags.is_empty() && args.skip_tags.is_empty() {
        tags.only = vec!["all".into(), "never".into()];
    }
    let files = Arc::clone(&prepared.files) as Arc<dyn Files + Send + Sync>;
    let command = CommandOptions {
        task: &args.task,
        connection: &args.connection,
        become_: &args.become_,
        output: &args.output,
        forks: args.hosts.forks,
        layout: Layout::from_config(&prepared.config).map_err(|error| vec![error])?,
        plan: args.task.check && matches!(transactional, Transactional::Deploy(..)),
        retry: retry_file(&prepared.config, &args.playbooks[0]),
    };
    let job = Job {
        prepared,
        files,
        tags: &tags,
        playbooks: &args.playbooks,
    };
    if args.runs_nothing() {
        let wanted = listing::Wanted {
            hosts: args.hosts.list_hosts,
            tasks: args.list_tasks,
            tags: args.list_tags,
        };
        super::tell_warnings(prepared);
        return job.list(&wanted).map(|code| Ran {
            code,
            ..Ran::default()
        });
    }
    if let Transactional::Deploy(options, Some(before)) = transactional {
        let asked = job.ask(&command, async |fleet| before.capture(fleet, options).await)?;
        let text = prepared.redactor.redact(&asked).into_owned();
        before.keep(&text).map_err(|error| vec![error])?;
    }
    let outcome = job.run(&command, |options| {
        options.force_handlers =
            args.force_handlers || prepared.config.is_on("DEFAULT_FORCE_HANDLERS");
        options.start_at_task.clone_from(&args.start_at_task);
        options.step = args.step;
        options.transaction = match transactional {
            Transactional::Asked => {
                let directory = &prepared.surroundings.working_directory;
                let playbooks = args.playbooks.iter().map(|path| directory.join(path));
                deploy::of_controller(&prepared.surroundings, playbooks.collect())
            }
            Transactional::Deploy(options, _) => options.clone(),
        };
    })?;
    Ok(Ran {
        code: exit_code(&outcome),
        is_ended: outcome.signal.is_some() || outcome.run.cancelled,
        record: Some(outcome.record),
    })
}

fn retry_file(config: &Config, playbook: &Path) -> Option<PathBuf> {
    if !config.is_on("RETRY_FILES_ENABLED") {
        return None;
    }
    let name = format!("{}.retry", playbook.file_stem()?.to_string_lossy());
    let directory = config.text("RETRY_FILES_SAVE_PATH").map(PathBuf::from);
    let directory = directory.or_else(|| playbook.parent().map(Path::to_path_buf))?;
    Some(directory.join(name))
}
