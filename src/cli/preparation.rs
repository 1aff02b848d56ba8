//! What every command over an inventory needs: settings, secrets, extra variables, the inventory.

use std::path::PathBuf;
use std::sync::Arc;

use super::arguments::{SourceArgs, VaultPasswordArgs};
use super::files::ControllerFiles;
use super::programs::Scripts;
use super::rejection::Accepted;
use super::secrets::vault_secrets;
use super::{extra_vars, fact_cache};
use crate::config::{Config, Surroundings};
use crate::error::{Error, Result};
use crate::inventory::{
    EMPTY_INVENTORY, GroupNames, Inventory, InventoryOptions, Limit, PatternMismatch, Warning,
};
use crate::lookups::World;
use crate::playbook::Vars;
use crate::redactor::Redactor;
use crate::template::{Engine, Untrusted};
use crate::vars::{FactCache, PluginExpressions};
use crate::vault::Secrets;
use crate::yaml::{DuplicateKeys, ReadOptions};

/// What a command is going to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Purpose {
    /// It runs tasks: everything is read and checked before.
    Run,
    /// It shows what there is: a vault password may be absent, as with Ansible.
    Look,
}

/// The settings and secrets of one command, and the inventory it is about.
pub(super) struct Preparation {
    pub(super) surroundings: Surroundings,
    pub(super) config: Config,
    pub(super) redactor: Redactor,
    pub(super) secrets: Arc<Secrets>,
    pub(super) files: Arc<ControllerFiles>,
    pub(super) accepted: Accepted,
    pub(super) extra: Arc<Vars>,
    pub(super) yaml: ReadOptions,
    pub(super) sources: Vec<String>,
    pub(super) inventory_options: InventoryOptions,
    /// What keeps facts beyond the run.
    pub(super) facts: Option<Arc<dyn FactCache>>,
    pub(super) inventory: Arc<Inventory>,
    pub(super) limit_text: Option<String>,
    pub(super) limit: Option<Limit>,
    /// Forget what is kept of the hosts' facts first.
    pub(super) flush_cache: bool,
    pub(super) warnings: Vec<Warning>,
}

impl Preparation {
    /// Reads everything, gathering the errors of the inventory.
    pub(super) fn new(
        surroundings: Surroundings,
        config: Config,
        sources: &SourceArgs,
        vault: &VaultPasswordArgs,
        purpose: Purpose,
    ) -> Result<Self, Vec<Error>> {
        let one = |error: Error| vec![error];
        let redactor = Redactor::default();
        let directory = surroundings.working_directory.clone();
        let (secrets, told) = vault_secrets(vault, &config, &directory, &redactor).map_err(one)?;
        let secrets = Arc::new(secrets);
        let files = Arc::new(ControllerFiles::new(Arc::clone(&secrets)));
        let (accepted, told_of_filters) = Accepted::read(&config, &*files).map_err(one)?;
        let extra = extra_vars::read(&sources.extra_vars, &*files, &directory)?;
        let yaml = ReadOptions {
            duplicate_keys: duplicate_keys(&config),
        };
        let facts = fact_cache::read(&config, &surroundings).map_err(one)?;
        let inventory_options = inventory_options(
            &config,
            &surroundings,
            &secrets,
            &extra,
            facts.clone(),
            purpose,
        );
        let names = if sources.inventory.is_empty() {
            config.list("DEFAULT_HOST_LIST")
        } else {
            sources.inventory.clone()
        };
        let (inventory, mut warnings) = Inventory::load(&names, &inventory_options)?;
        warnings.extend(config.warnings.iter().map(Warning::new));
        let told = told.into_iter().chain(told_of_filters);
        warnings.extend(told.map(Warning::new));
        let limit_text = sources.limit.last().cloned();
        let limit = limit_text
            .as_deref()
            .map(|text| Limit::parse(text, &directory))
            .transpose()
            .map_err(one)?;
        Ok(Self {
            surroundings,
            config,
            redactor,
            secrets,
            files,
            accepted,
            extra,
            yaml,
            sources: names,
            inventory_options,
            facts,
            inventory: Arc::new(inventory),
            limit_text,
            limit,
            flush_cache: sources.flush_cache,
            warnings,
        })
    }

    /// Checks that there are hosts for a command to be about; what is odd about them becomes
    /// warnings.
    pub(super) fn check_targets(&mut self, pattern: &str) -> Result<(), Vec<Error>> {
        let selection = self
            .inventory
            .targets(pattern, self.limit.as_ref())
            .map_err(|error| vec![error])?;
        let told = selection.warnings.into_iter();
        let is_wanted = self.config.is_on("LOCALHOST_WARNING");
        self.warnings.extend(
            told.filter(|text| is_wanted || text != EMPTY_INVENTORY)
                .map(Warning::new),
        );
        Ok(())
    }

    /// Checks the pattern of a command for one task. As in Ansible it is a warning that no host
    /// matches it, unless a limit left none; its play says what is wrong with it.
    pub(super) fn check_pattern(&mut self, pattern: &str) -> Result<(), Vec<Error>> {
        match self.check_targets(pattern) {
            Err(_) if self.limit.is_none() => {
                self.warnings
                    .push(Warning::new("No hosts matched, nothing to do"));
                Ok(())
            }
            checked => checked,
        }
    }

    /// Returns the inventory's sources as playbooks see them: made absolute, host lists as given.
    pub(super) fn absolute_sources(&self) -> Vec<String> {
        let absolute = |source: &String| {
            if source.contains(',') {
                source.clone()
            } else {
                self.surroundings
                    .working_directory
                    .join(source)
                    .display()
                    .to_string()
            }
        };
        self.sources.iter().map(absolute).collect()
    }

    /// Returns the directory of the cache: `$XDG_CACHE_HOME/backstay` or `~/.cache/backstay`.
    pub(super) fn cache_directory(&self) -> PathBuf {
        let named = self.surroundings.environment.get("XDG_CACHE_HOME");
        named
            .map(PathBuf::from)
            .filter(|path| path.is_absolute())
            .unwrap_or_else(|| self.surroundings.home.join(".cache"))
            .join("backstay")
    }
}

fn duplicate_keys(config: &Config) -> DuplicateKeys {
    match config.text("DUPLICATE_YAML_DICT_KEY").as_deref() {
        Some("error") => DuplicateKeys::Error,
        Some("ignore") => DuplicateKeys::Ignore,
        _ => DuplicateKeys::Warn,
    }
}

/// Returns what is asked for data that looks like a template.
pub(super) fn untrusted_templates(config: &Config) -> Untrusted {
    match config
        .text("_TEMPLAR_UNTRUSTED_TEMPLATE_BEHAVIOR")
        .as_deref()
    {
        Some("error") => Untrusted::Fail,
        Some("warning") => Untrusted::Warn,
        _ => Untrusted::Ignore,
    }
}

fn inventory_options(
    config: &Config,
    surroundings: &Surroundings,
    secrets: &Arc<Secrets>,
    extra: &Arc<Vars>,
    facts: Option<Arc<dyn FactCache>>,
    purpose: Purpose,
) -> InventoryOptions {
    let group_names = match config.text("TRANSFORM_INVALID_GROUP_CHARS").as_deref() {
        Some("always") => GroupNames::Always,
        Some("ignore") => GroupNames::Ignore,
        Some("silently") => GroupNames::Silently,
        _ => GroupNames::Never,
    };
    let pattern_mismatch = match config.text("HOST_PATTERN_MISMATCH").as_deref() {
        Some("error") => PatternMismatch::Error,
        Some("ignore") => PatternMismatch::Ignore,
        _ => PatternMismatch::Warning,
    };
    let directory = &surroundings.working_directory;
    let world = World {
        environment: Arc::new(surroundings.environment.clone().into_iter().collect()),
        secrets: Arc::clone(secrets),
        ..World::new(directory)
    };
    let expressions =
        PluginExpressions::new(Engine::new(Arc::new(world)), Arc::clone(extra)).with_facts(facts);
    InventoryOptions {
        secrets: Arc::clone(secrets),
        yaml: ReadOptions {
            duplicate_keys: duplicate_keys(config),
        },
        group_names,
        pattern_mismatch,
        enabled: config.list("INVENTORY_ENABLED"),
        ignored_extensions: config.list("INVENTORY_IGNORE_EXTS"),
        ignored_patterns: config.list("INVENTORY_IGNORE_PATTERNS"),
        any_unparsed_is_failed: config.is_on("INVENTORY_ANY_UNPARSED_IS_FAILED"),
        unparsed_is_failed: config.is_on("INVENTORY_UNPARSED_IS_FAILED"),
        unparsed_warning: config.is_on("INVENTORY_UNPARSED_WARNING"),
        scripts: Some(Arc::new(Scripts)),
        shows_script_errors: config.is_on("INVENTORY_SCRIPT_SHOW_STDERR"),
        expressions: Some(Arc::new(expressions)),
        secrets_on_demand: purpose == Purpose::Look,
        working_directory: directory.clone(),
    }
}
