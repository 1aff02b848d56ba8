//! Playbooks and what they are loaded with: tags, lookups, variables and their files.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::execution::{self, Ended};
use super::preparation::{self, Preparation};
use super::run_options::CommandOptions;
use super::{listing, setting};
use crate::config::Config;
use crate::error::{EXIT_OK, Error, Result};
use crate::executor::{Fleet, RunOptions};
use crate::inventory::{HostName, Inventory, Order};
use crate::lookups::World;
use crate::playbook::{
    self, Context, Files, Playbook, TagSelection, TaskIds, VarsFiles, may_be_template,
};
use crate::template::Engine;
use crate::vars::{Constants, HostFiles, Settings, StaticNames, Variables};

/// Playbooks to load, and to list or run.
pub(super) struct Job<'a> {
    pub(super) prepared: &'a Preparation,
    pub(super) files: Arc<dyn Files + Send + Sync>,
    pub(super) tags: &'a Tags,
    /// At least one; the first one's directory is where files are searched.
    pub(super) playbooks: &'a [PathBuf],
}

impl Job<'_> {
    pub(super) fn list(&self, wanted: &listing::Wanted) -> Result<u8, Vec<Error>> {
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
            |parts, playbooks| execution::ask(self.prepared, parts, playbooks, then),
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
        if let Some(cache) = prepared.facts.clone() {
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
    pub(super) options: RunOptions,
    pub(super) context: &'a Context<'a>,
    pub(super) files: Arc<dyn Files + Send + Sync>,
    pub(super) engine: Engine,
    pub(super) lookups: World,
    pub(super) variables: Variables,
}

/// The tags of the command line, or of the settings when it has none.
pub(super) struct Tags {
    pub(super) only: Vec<String>,
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
        .untrusted(preparation::untrusted_templates(&prepared.config))
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
