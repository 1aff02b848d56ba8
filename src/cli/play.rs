//! `backstay play`: options to a run, the run's outcome to an exit code.

use std::collections::{BTreeMap, HashSet};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::mpsc::Sender;
use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{mpsc, watch};

use super::arguments::{BecomeArgs, ConnectionArgs, OutputArgs, OutputFormat, PlayArgs, TaskArgs};
use super::preparation::Preparation;
use super::screen::{Layout, Screen, ScreenOptions, Shown};
use super::secrets::{LoginPasswords, login_passwords};
use super::state::StateBefore;
use super::surroundings;
use super::terminal::{self, TerminalPrompter};
use super::{deploy, fact_cache, listing, setting};
use crate::config::Config;
use crate::error::{
    EXIT_ERROR, EXIT_FAILED_HOSTS, EXIT_IN_DOUBT, EXIT_INTERRUPTED, EXIT_OK, EXIT_ROLLED_BACK,
    EXIT_SIGHUP, EXIT_SIGINT, EXIT_SIGTERM, EXIT_STUCK, EXIT_UNREACHABLE_HOSTS, Error, Result,
};
use crate::event::{Event, HostStats, TransactionEnd};
use crate::executor::{
    self, BecomeDefaults, Cancellation, ConnectionDefaults, Fleet, Gathering, MethodDefaults, Run,
    RunOptions, RunOutcome, TransactionOptions,
};
use crate::inventory::{HostName, Inventory, Order};
use crate::lookups::World;
use crate::playbook::{
    self, Context, Files, Playbook, TagSelection, TaskIds, VarsFiles, may_be_template,
};
use crate::report::record::Record;
use crate::template::Engine;
use crate::transport::ConnectContext;
use crate::vars::{Constants, HostFiles, Settings, StaticNames, Variables};
use crate::vault;

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

/// What came of a run, and the signal that ended it.
pub(super) struct Ended {
    pub(super) run: RunOutcome,
    pub(super) record: Record,
    /// The exit code of the signal that came while a transaction could be open.
    signal: Option<u8>,
}

/// Playbooks to load, and to list or run.
pub(super) struct Job<'a> {
    pub(super) prepared: &'a Preparation,
    pub(super) files: Arc<dyn Files + Send + Sync>,
    pub(super) tags: &'a Tags,
    /// At least one; the first one's directory is where files are searched.
    pub(super) playbooks: &'a [PathBuf],
}

impl Job<'_> {
    fn list(&self, wanted: &listing::Wanted) -> Result<u8, Vec<Error>> {
        let world = lookups(self.prepared, &self.playbooks[0]);
        let engine = engine(self.prepared, &world);
        let templates = StaticNames::new(engine.clone(), Arc::clone(&self.prepared.extra));
        let context = context(self.prepared, &*self.files, &templates);
        let (playbooks, _) = self.load(&context)?;
        listing::print(
            wanted,
            &playbooks,
            self.prepared,
            &self.tags.selection(),
            &engine,
        )
        .map(|()| EXIT_OK)
    }

    /// Runs the playbooks; `adjust` sets what only one command has.
    pub(super) fn run(
        &self,
        command: &CommandOptions<'_>,
        adjust: impl FnOnce(&mut RunOptions),
    ) -> Result<Ended, Vec<Error>> {
        self.with_parts(command, adjust, |parts, playbooks| {
            command.execute(self.prepared, parts, playbooks)
        })
    }

    /// Asks the hosts of the plays what they know of transactions.
    pub(super) fn ask<T>(
        &self,
        command: &CommandOptions<'_>,
        then: impl AsyncFnOnce(&mut Fleet) -> T,
    ) -> Result<T, Vec<Error>> {
        self.with_parts(
            command,
            |_| {},
            |parts, playbooks| ask(self.prepared, parts, playbooks, then),
        )
    }

    fn with_parts<T>(
        &self,
        command: &CommandOptions<'_>,
        adjust: impl FnOnce(&mut RunOptions),
        act: impl FnOnce(Parts<'_>, &[Playbook]) -> Result<T>,
    ) -> Result<T, Vec<Error>> {
        let prepared = self.prepared;
        let world = lookups(prepared, &self.playbooks[0]);
        let engine = engine(prepared, &world);
        let templates = StaticNames::new(engine.clone(), Arc::clone(&prepared.extra));
        let context = context(prepared, &*self.files, &templates);
        let (playbooks, host_files) = self.load(&context)?;
        let mut options = command.run_options(prepared).map_err(|error| vec![error])?;
        options.tags = self.tags.selection();
        adjust(&mut options);
        let constants = constants(prepared, &options, self.tags, &self.playbooks[0]);
        let settings = settings(prepared, &self.files, constants, engine.clone());
        let mut variables = Variables::new(settings, Arc::clone(&prepared.inventory), host_files);
        let cache = fact_cache::read(&prepared.config, &prepared.surroundings);
        if let Some(cache) = cache.map_err(|error| vec![error])? {
            if prepared.flush_cache {
                let hosts = prepared.inventory.hosts().map(|host| &*host.name);
                hosts
                    .chain(["localhost"])
                    .for_each(|host| cache.forget(host));
            }
            variables.keep_facts_in(cache);
        }
        let parts = Parts {
            options,
            context: &context,
            files: Arc::clone(&self.files),
            engine,
            lookups: world,
            variables,
        };
        act(parts, &playbooks).map_err(|error| vec![error])
    }

    /// Loads every playbook and the variable files of every host; all errors are gathered.
    fn load(&self, context: &Context<'_>) -> Result<(Vec<Playbook>, HostFiles), Vec<Error>> {
        let playbooks = load(self.playbooks, context)?;
        let options = self.prepared.inventory_options.clone();
        let files = HostFiles::new(&self.prepared.inventory, options);
        let hosts = self.concerned(&playbooks);
        let inventory = &self.prepared.inventory;
        check_variable_files(&files, inventory, hosts.as_ref(), &playbooks)?;
        Ok((playbooks, files))
    }

    /// Returns the hosts that the plays are about, or nothing where a template names some.
    fn concerned(&self, playbooks: &[Playbook]) -> Option<HashSet<HostName>> {
        let mut hosts = HashSet::new();
        for play in playbooks.iter().flat_map(|playbook| &playbook.plays) {
            if may_be_template(&play.hosts) {
                return None;
            }
            let patterns: Vec<String> = match play.hosts.as_list() {
                Some(list) => list
                    .iter()
                    .map(|name| name.to_value().to_string())
                    .collect(),
                None => vec![play.hosts.to_value().to_string()],
            };
            let limit = self.prepared.limit.as_ref();
            let inventory = &self.prepared.inventory;
            let patterns: Vec<&str> = patterns.iter().map(String::as_str).collect();
            let selected = inventory.select(&patterns, limit, Order::Inventory).ok()?;
            hosts.extend(selected.hosts);
        }
        Some(hosts)
    }
}

/// The parts of a run that belong to its playbooks.
pub(super) struct Parts<'a> {
    options: RunOptions,
    context: &'a Context<'a>,
    files: Arc<dyn Files + Send + Sync>,
    engine: Engine,
    lookups: World,
    variables: Variables,
}

/// The tags of the command line, or of the settings when it has none.
pub(super) struct Tags {
    only: Vec<String>,
    skip: Vec<String>,
}

impl Tags {
    pub(super) fn new(only: &[String], skip: &[String], config: &Config) -> Self {
        let given = |given: &[String], setting: &str| {
            if given.is_empty() {
                config.list(setting)
            } else {
                given.to_vec()
            }
        };
        let only = given(only, "TAGS_RUN");
        Self {
            only,
            skip: given(skip, "TAGS_SKIP"),
        }
    }

    fn selection(&self) -> TagSelection {
        let texts = |tags: &'_ [String]| tags.to_vec();
        let (only, skip) = (texts(&self.only), texts(&self.skip));
        TagSelection::new(
            only.iter().map(String::as_str),
            skip.iter().map(String::as_str),
        )
    }
}

/// Returns what lookups see of the controller before any task: they search beside the playbook.
fn lookups(prepared: &Preparation, playbook: &Path) -> World {
    let directory = prepared.surroundings.working_directory.join(playbook);
    let directory = directory
        .parent()
        .map(Path::to_path_buf)
        .unwrap_or_default();
    let environment = prepared.surroundings.environment.clone();
    World {
        environment: Arc::new(environment.into_iter().collect()),
        secrets: Arc::clone(&prepared.secrets),
        setting: Some(setting::by_name(&prepared.config)),
        ..World::new(directory)
    }
}

fn engine(prepared: &Preparation, world: &World) -> Engine {
    Engine::new(Arc::new(world.clone()))
        .allow_broken_conditionals(prepared.config.is_on("ALLOW_BROKEN_CONDITIONALS"))
}

/// Makes what playbooks are loaded with.
fn context<'a>(
    prepared: &'a Preparation,
    files: &'a dyn Files,
    templates: &'a StaticNames,
) -> Context<'a> {
    let config = &prepared.config;
    let paths = |setting: &str| {
        config
            .list(setting)
            .into_iter()
            .map(PathBuf::from)
            .collect()
    };
    let private = config
        .is_set("DEFAULT_PRIVATE_ROLE_VARS")
        .then(|| config.is_on("DEFAULT_PRIVATE_ROLE_VARS"));
    Context {
        files,
        templates,
        catalog: &prepared.accepted,
        roles_path: paths("DEFAULT_ROLES_PATH"),
        collections_path: paths("COLLECTIONS_PATHS"),
        module_path: paths("DEFAULT_MODULE_PATH"),
        working_directory: prepared.surroundings.working_directory.clone(),
        home: Some(prepared.surroundings.home.clone()),
        yaml: prepared.yaml,
        private_role_vars: private,
        unknown_keyword_fails: config.is_on("INVALID_TASK_ATTRIBUTE_FAILED"),
        ids: TaskIds::default(),
    }
}

/// Loads every playbook and gathers the errors of all of them.
fn load(paths: &[PathBuf], context: &Context<'_>) -> Result<Vec<Playbook>, Vec<Error>> {
    let mut playbooks = Vec::new();
    let mut errors = Vec::new();
    for path in paths {
        match playbook::load(path, context) {
            Ok(playbook) => playbooks.push(playbook),
            Err(found) => errors.extend(found),
        }
    }
    if errors.is_empty() {
        Ok(playbooks)
    } else {
        Err(errors)
    }
}

fn check_variable_files(
    files: &HostFiles,
    inventory: &Inventory,
    hosts: Option<&HashSet<HostName>>,
    playbooks: &[Playbook],
) -> Result<(), Vec<Error>> {
    let plays = playbooks.iter().flat_map(|playbook| &playbook.plays);
    let directories = plays.map(|play| play.directory.as_path());
    let errors = files.check(inventory, hosts, directories);
    if errors.is_empty() {
        Ok(())
    } else {
        Err(errors)
    }
}

fn constants(
    prepared: &Preparation,
    options: &RunOptions,
    tags: &Tags,
    playbook: &Path,
) -> Constants {
    let all = |tags: &[String]| {
        tags.iter()
            .flat_map(|tag| tag.split(','))
            .map(|tag| tag.trim().to_owned())
            .collect()
    };
    let run_tags: Vec<String> = all(&tags.only);
    let directory = prepared.surroundings.working_directory.join(playbook);
    let directory = directory.parent().map(playbook::normal).unwrap_or_default();
    Constants {
        check_mode: options.check,
        diff_mode: options.diff,
        forks: options.forks.unwrap_or(DEFAULT_FORKS),
        verbosity: options.verbosity.into(),
        inventory_sources: prepared.absolute_sources(),
        run_tags: if run_tags.is_empty() {
            vec!["all".into()]
        } else {
            run_tags
        },
        skip_tags: all(&tags.skip),
        limit: prepared.limit_text.clone(),
        config_file: prepared
            .config
            .file
            .as_ref()
            .map(|path| path.display().to_string()),
        python: python(prepared),
        playbook_dir: directory.display().to_string(),
    }
}

/// What `ansible_forks` says when nobody set a number: Ansible's own default.
const DEFAULT_FORKS: usize = 5;

/// Returns a Python of the controller, for plays that ask for Ansible's own.
fn python(prepared: &Preparation) -> String {
    let path = prepared
        .surroundings
        .environment
        .get("PATH")
        .cloned()
        .unwrap_or_default();
    std::env::split_paths(&path)
        .map(|directory| directory.join("python3"))
        .find(|program| program.is_file())
        .unwrap_or_else(|| "/usr/bin/python3".into())
        .display()
        .to_string()
}

fn settings(
    prepared: &Preparation,
    files: &Arc<dyn Files + Send + Sync>,
    constants: Constants,
    engine: Engine,
) -> Settings {
    Settings {
        constants,
        extra: Arc::clone(&prepared.extra),
        engine,
        vars_files: VarsFiles::new(Arc::clone(files) as _, prepared.yaml),
        merge: prepared.config.text("DEFAULT_HASH_BEHAVIOUR").as_deref() == Some("merge"),
        inject_facts: prepared.config.is_on("INJECT_FACTS_AS_VARS"),
    }
}

/// The options that `play` and `run` share.
pub(super) struct CommandOptions<'a> {
    pub(super) task: &'a TaskArgs,
    pub(super) connection: &'a ConnectionArgs,
    pub(super) become_: &'a BecomeArgs,
    pub(super) output: &'a OutputArgs,
    pub(super) forks: Option<usize>,
    pub(super) layout: Layout,
    /// What would change is shown as a plan.
    pub(super) plan: bool,
    /// Where the hosts that failed are written.
    pub(super) retry: Option<PathBuf>,
}

impl CommandOptions<'_> {
    /// Resolves options and settings into the run's values.
    pub(super) fn run_options(&self, prepared: &Preparation) -> Result<RunOptions> {
        let config = &prepared.config;
        let passwords = login_passwords(self.connection, self.become_, config, &prepared.redactor)?;
        let verbosity = self.verbosity(config);
        let number = |setting: &str| config.integer(setting).and_then(|n| u64::try_from(n).ok());
        Ok(RunOptions {
            forks: self.forks.or_else(|| {
                config
                    .is_set("DEFAULT_FORKS")
                    .then(|| config.integer("DEFAULT_FORKS"))
                    .flatten()
                    .and_then(|n| usize::try_from(n).ok())
            }),
            check: self.task.check,
            diff: self.task.diff || config.is_on("DIFF_ALWAYS"),
            verbosity,
            managed: config.text("DEFAULT_MANAGED_STR").unwrap_or_default(),
            strategy: config
                .text("DEFAULT_STRATEGY")
                .unwrap_or_else(|| "linear".into()),
            gathering: gathering(config),
            any_errors_fatal: config.is_on("ANY_ERRORS_FATAL"),
            no_log: config.is_on("DEFAULT_NO_LOG"),
            redactor: prepared.redactor.clone(),
            task_timeout: number("TASK_TIMEOUT").unwrap_or(0),
            pythons: config.list("INTERPRETER_PYTHON_FALLBACK"),
            async_dir: config
                .text("ASYNC_DIR")
                .unwrap_or_else(|| "~/.ansible_async".into()),
            error_on_missing_handler: config.is_on("ERROR_ON_MISSING_HANDLER"),
            inject_facts: config.is_on("INJECT_FACTS_AS_VARS"),
            show_arguments: config.is_on("DISPLAY_ARGS_TO_STDOUT"),
            max_diff_size: number("MAX_FILE_SIZE_FOR_DIFF").unwrap_or(104_448),
            connection: self.connection_defaults(prepared, passwords.connection.clone()),
            become_defaults: self.become_defaults(config, &passwords),
            other_agents: other_agents(&self.task.agent)?,
            sandbox_root: prepared.cache_directory().join("sandbox"),
            working_directory: prepared.surroundings.working_directory.clone(),
            user: surroundings::user_name(),
            ..RunOptions::new(own_binary(), prepared.surroundings.home.clone())
        })
    }

    fn verbosity(&self, config: &Config) -> u8 {
        let set = config
            .integer("DEFAULT_VERBOSITY")
            .and_then(|n| u8::try_from(n).ok());
        self.output.verbosity.verbose.max(set.unwrap_or(0))
    }

    fn connection_defaults(
        &self,
        prepared: &Preparation,
        password: Option<String>,
    ) -> ConnectionDefaults {
        let (args, config) = (self.connection, &prepared.config);
        let text = |given: &Option<String>, setting: &str| {
            given
                .clone()
                .or_else(|| config.text(setting))
                .unwrap_or_default()
        };
        let seconds = config
            .integer("SSH_TIMEOUT")
            .or_else(|| config.integer("DEFAULT_TIMEOUT"));
        let seconds = args
            .timeout
            .or_else(|| seconds.and_then(|n| u64::try_from(n).ok()));
        let is_checked = config
            .get("SSH_HOST_KEY_CHECKING")
            .and_then(|(value, _)| value.as_bool());
        ConnectionDefaults {
            connection: text(&args.connection, "DEFAULT_TRANSPORT"),
            remote_user: args
                .user
                .clone()
                .or_else(|| config.text("DEFAULT_REMOTE_USER")),
            port: config
                .integer("DEFAULT_REMOTE_PORT")
                .and_then(|port| u16::try_from(port).ok()),
            password,
            private_key_file: args
                .private_key
                .clone()
                .or_else(|| config.text("DEFAULT_PRIVATE_KEY_FILE").map(PathBuf::from)),
            ssh_args: config.text("SSH_ARGS").unwrap_or_default(),
            ssh_common_args: text(&args.ssh_common_args, "SSH_COMMON_ARGS"),
            ssh_extra_args: text(&args.ssh_extra_args, "SSH_EXTRA_ARGS"),
            host_key_checking: is_checked.unwrap_or_else(|| config.is_on("HOST_KEY_CHECKING")),
            timeout: Duration::from_secs(seconds.unwrap_or(10)),
            retries: config
                .integer("SSH_RECONNECTION_RETRIES")
                .and_then(|n| u32::try_from(n).ok())
                .unwrap_or(0),
        }
    }

    fn become_defaults(&self, config: &Config, passwords: &LoginPasswords) -> BecomeDefaults {
        let method = self
            .become_
            .method
            .clone()
            .or_else(|| config.text("DEFAULT_BECOME_METHOD"));
        let user = |setting: &str| {
            let own = self.become_.user.clone();
            own.or_else(|| {
                config
                    .is_set(setting)
                    .then(|| config.text(setting))
                    .flatten()
            })
        };
        let password = |setting: Option<&str>| {
            let typed = passwords.become_.clone();
            typed.or_else(|| config.text(setting?))
        };
        let sudo = MethodDefaults {
            user: user("SUDO_BECOME_USER"),
            flags: config.text("SUDO_BECOME_FLAGS"),
            executable: config.text("SUDO_BECOME_EXE"),
            password: password(Some("SUDO_BECOME_PASS")),
            directory: config.text("SUDO_SUDO_CHDIR"),
            prompts: Vec::new(),
        };
        let su = MethodDefaults {
            user: user("SU_BECOME_USER"),
            flags: config.text("SU_BECOME_FLAGS"),
            executable: config.text("SU_BECOME_EXE"),
            password: password(Some("SU_BECOME_PASS")),
            directory: None,
            prompts: config.list("SU_PROMPT_L10N"),
        };
        BecomeDefaults {
            enabled: self.become_.enabled || config.is_on("DEFAULT_BECOME"),
            method: method.unwrap_or_else(|| "sudo".into()),
            methods: BTreeMap::from([("sudo".into(), sudo), ("su".into(), su)]),
            others: MethodDefaults {
                user: user("DEFAULT_BECOME_USER"),
                flags: config.text("DEFAULT_BECOME_FLAGS"),
                executable: config.text("DEFAULT_BECOME_EXE"),
                password: password(None),
                ..MethodDefaults::default()
            },
            allow_same_user: config.is_on("BECOME_ALLOW_SAME_USER"),
        }
    }

    /// Runs the playbooks and shows what happens.
    fn execute(
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

/// Asks the hosts of `playbooks`; warnings go to standard error.
fn ask<T>(
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

fn connect_context(prepared: &Preparation, options: &RunOptions) -> ConnectContext {
    let environment = &prepared.surroundings.environment;
    ConnectContext {
        agent_socket: environment.get("SSH_AUTH_SOCK").map(PathBuf::from),
        ..ConnectContext::new(options.home.clone(), options.user.clone())
    }
}

/// Names the running binary in a way that other processes can start, whatever became of its file.
fn own_binary() -> String {
    format!("/proc/{}/exe", std::process::id())
}

fn gathering(config: &Config) -> Gathering {
    match config.text("DEFAULT_GATHERING").as_deref() {
        Some("explicit") => Gathering::Explicit,
        Some("smart") => Gathering::Smart,
        _ => Gathering::Implicit,
    }
}

fn other_agents(given: &[String]) -> Result<BTreeMap<String, PathBuf>> {
    given
        .iter()
        .map(|text| match text.split_once('=') {
            Some((cpu, path)) if !cpu.is_empty() && Path::new(path).is_file() => {
                Ok((cpu.to_owned(), PathBuf::from(path)))
            }
            Some((_, path)) => Err(Error::usage(format!("the agent `{path}` does not exist"))),
            None => Err(Error::usage(format!("`--agent {text}` names no CPU"))
                .help("write it as `--agent aarch64=PATH`, the CPU as `uname -m` prints it")),
        })
        .collect()
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

fn retry_file(config: &Config, playbook: &Path) -> Option<PathBuf> {
    if !config.is_on("RETRY_FILES_ENABLED") {
        return None;
    }
    let name = format!("{}.retry", playbook.file_stem()?.to_string_lossy());
    let directory = config.text("RETRY_FILES_SAVE_PATH").map(PathBuf::from);
    let directory = directory.or_else(|| playbook.parent().map(Path::to_path_buf))?;
    Some(directory.join(name))
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

    #[test]
    fn an_agent_for_another_cpu_names_both() {
        let error = other_agents(&["aarch64".to_owned()]).unwrap_err();
        assert_eq!(error.message, "`--agent aarch64` names no CPU");
    }
}
