//! Inventories: sources of every kind to one graph of hosts and groups with their variables.
//!
//! Reads its sources and the `group_vars` and `host_vars` beside them; runs no process itself and
//! renders no template. Which variable wins is the `vars` room's; here are only the layers.

mod address;
mod constructed;
mod generator;
mod graph;
mod ini;
mod literal;
mod load;
mod pattern;
mod plugin;
mod report;
mod script;
mod structure;
mod toml;
mod variables;
mod words;

use std::path::PathBuf;
use std::sync::Arc;

use indexmap::IndexMap;

use crate::error::Error;
use crate::node::Node;
use crate::source::Mark;
use crate::value::{Map, Value};
use crate::vault::Secrets;
use crate::yaml::ReadOptions;

pub use graph::{Group, Host, Inventory};
pub use load::Format;
pub use pattern::{EMPTY_INVENTORY, Limit, NO_TARGETS, Order, Selection};
pub use report::{Listing, ListingFormat, graph_text, host_variables, list};
pub use variables::{Entity, VariableFiles};

/// The name of a host as the inventory spells it.
pub type HostName = Arc<str>;

/// Variables of one host or group from one source, in the order written.
pub type Variables = IndexMap<Arc<str>, Node>;

/// Runs executable inventory sources; the room itself starts no process.
pub trait ScriptRunner: Sync {
    /// Runs `path` with `arguments` and returns what came of it; the error is the system's, when it
    /// could not be started.
    fn run(&self, path: &std::path::Path, arguments: &[&str]) -> std::io::Result<ScriptOutput>;
}

/// What an inventory script printed, and how it ended.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ScriptOutput {
    pub code: i32,
    pub stdout: Vec<u8>,
    pub stderr: String,
}

/// Evaluates what the configuration of an inventory plugin computes; the room itself renders
/// nothing.
pub trait Expressions: Sync {
    /// Evaluates a text as an expression.
    fn evaluate(&self, expression: &Node, variables: &Arc<Variables>) -> Result<Value, Error>;

    /// Evaluates a condition.
    fn holds(&self, condition: &Node, variables: &Arc<Variables>) -> Result<bool, Error>;

    /// Renders a text that may hold templates.
    fn render(&self, template: &Node, variables: &Arc<Variables>) -> Result<Value, Error>;

    /// Returns the variables given with `-e`.
    fn extra(&self) -> Arc<Variables>;

    /// Returns what an earlier run found out about a host and kept.
    fn facts(&self, host: &str) -> Map;
}

/// What to make of group names that are no variable names (`TRANSFORM_INVALID_GROUP_CHARS`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum GroupNames {
    /// Keeps them, with a warning.
    #[default]
    Never,
    /// Keeps them silently.
    Ignore,
    /// Replaces the characters by `_`, with a warning.
    Always,
    /// Replaces them silently.
    Silently,
}

/// What a pattern that matches nothing is (`HOST_PATTERN_MISMATCH`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum PatternMismatch {
    #[default]
    Warning,
    Error,
    Ignore,
}

/// How inventories are read.
#[derive(Clone)]
pub struct InventoryOptions {
    pub secrets: Arc<Secrets>,
    pub yaml: ReadOptions,
    pub group_names: GroupNames,
    pub pattern_mismatch: PatternMismatch,
    /// The readers that are tried, in order (`INVENTORY_ENABLED`).
    pub enabled: Vec<String>,
    /// File name endings that a directory is searched without.
    pub ignored_extensions: Vec<String>,
    /// Regular expressions of names that a directory is searched without.
    pub ignored_patterns: Vec<String>,
    /// A source that cannot be read is an error rather than a warning.
    pub any_unparsed_is_failed: bool,
    /// It is an error when no source at all could be read.
    pub unparsed_is_failed: bool,
    /// It is a warning when no source at all could be read.
    pub unparsed_warning: bool,
    /// Runs executable sources; without one they are an error.
    pub scripts: Option<Arc<dyn ScriptRunner + Send>>,
    /// What scripts say on their standard error is told also where they succeed.
    pub shows_script_errors: bool,
    /// Evaluates for inventory plugins; without it their configurations are an error.
    pub expressions: Option<Arc<dyn Expressions + Send>>,
    /// Vaulted variable files whose password is missing are no error before they are read.
    pub secrets_on_demand: bool,
    /// The directory relative paths start from.
    pub working_directory: PathBuf,
}

impl InventoryOptions {
    /// Makes the options of a run without any setting, in Ansible's defaults.
    pub fn new(working_directory: impl Into<PathBuf>) -> Self {
        let texts = |names: &[&str]| names.iter().map(ToString::to_string).collect();
        Self {
            secrets: Arc::default(),
            yaml: ReadOptions::default(),
            group_names: GroupNames::default(),
            pattern_mismatch: PatternMismatch::default(),
            enabled: texts(&["host_list", "script", "auto", "yaml", "ini", "toml"]),
            ignored_extensions: texts(&[
                ".pyc", ".pyo", ".swp", ".bak", "~", ".rpm", ".md", ".txt", ".rst", ".orig",
                ".cfg", ".retry",
            ]),
            ignored_patterns: Vec::new(),
            any_unparsed_is_failed: false,
            unparsed_is_failed: false,
            unparsed_warning: true,
            scripts: None,
            shows_script_errors: true,
            expressions: None,
            secrets_on_demand: false,
            working_directory: working_directory.into(),
        }
    }
}

/// Something that is allowed but surely meant otherwise.
#[derive(Clone, Debug, PartialEq)]
pub struct Warning {
    /// In Ansible's words.
    pub text: String,
    pub mark: Option<Mark>,
    pub help: Option<String>,
    /// From which `-v` on it is told, and then in plain words; 0 for a warning proper.
    pub verbosity: u8,
}

impl Warning {
    /// Makes a warning without a place.
    pub fn new(text: impl Into<String>) -> Self {
        Self {
            text: text.into(),
            mark: None,
            help: None,
            verbosity: 0,
        }
    }
}

impl From<Error> for Warning {
    /// Tells an error as a warning, where Ansible goes on.
    fn from(error: Error) -> Self {
        Self {
            mark: error.mark,
            help: error.help,
            ..Self::new(error.message)
        }
    }
}
