//! What loading needs from outside: files, the template engine, the modules that exist, settings.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::layer::Vars;
use crate::arguments::ArgumentSpec;
use crate::error::Error;
use crate::node::Node;
use crate::source::SourceFile;
use crate::yaml::ReadOptions;

/// Reads files for the loader; it decrypts vaulted files and keeps every text it read.
pub trait Files: Sync {
    /// Reads a text file. The error says why it could not be read.
    fn read(&self, path: &Path) -> Result<Arc<SourceFile>, Error>;

    /// Tells whether a file that was read is vaulted: what it holds is not for everybody's eyes.
    fn is_vaulted(&self, _path: &Path) -> bool {
        false
    }

    /// Tells what stands at a path, symlinks followed; `None` when there is nothing.
    fn kind(&self, path: &Path) -> Option<FileKind>;

    /// Lists the names in a directory, sorted; empty when it cannot be read.
    fn list(&self, directory: &Path) -> Vec<String>;
}

/// What stands at a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileKind {
    File,
    Directory,
}

/// Checks and renders templates for the loader.
pub trait Templates: Sync {
    /// Finds syntax errors and unknown filters and tests in every text of `node`.
    fn check(&self, node: &Node) -> Vec<Error>;

    /// Finds the same in a condition, which is an expression without braces.
    fn check_condition(&self, node: &Node) -> Vec<Error>;

    /// Renders a name that must be known before any host is: of an imported file, of a role.
    /// `layers` are the variables of the play and around the import, the first wins; extra
    /// variables win over all.
    fn render_name(&self, node: &Node, layers: &[Arc<Vars>]) -> Result<String, Error>;
}

/// The modules and lookups that exist here.
pub trait Catalog: Sync {
    /// Returns the options of the module with a short name of `ansible.builtin`.
    fn module(&self, name: &str) -> Option<&'static ArgumentSpec>;

    /// Lists the short names of all modules.
    fn modules(&self) -> Vec<&'static str>;

    /// Tells whether there is a lookup of that name, for `with_NAME`.
    fn has_lookup(&self, name: &str) -> bool;

    /// Lists the names of all lookups.
    fn lookups(&self) -> Vec<&'static str>;
}

/// Everything loading needs.
pub struct Context<'a> {
    pub files: &'a dyn Files,
    pub templates: &'a dyn Templates,
    pub catalog: &'a dyn Catalog,
    /// The setting `roles_path`.
    pub roles_path: Vec<PathBuf>,
    /// The setting `collections_path`.
    pub collections_path: Vec<PathBuf>,
    /// The setting `library`: where local modules stand beside `library/` of playbook and role.
    pub module_path: Vec<PathBuf>,
    /// The directory relative paths of the command line start from.
    pub working_directory: PathBuf,
    /// What a leading `~` stands for.
    pub home: Option<PathBuf>,
    /// How YAML files are read.
    pub yaml: ReadOptions,
    /// The setting `private_role_vars` when it was set: `import_role` keeps its variables to
    /// itself, or `include_role` does not.
    pub private_role_vars: Option<bool>,
    /// The setting `invalid_task_attribute_failed`: an unknown keyword of a task is an error.
    pub unknown_keyword_fails: bool,
    pub ids: TaskIds,
}

/// Hands out the ids of tasks, also of those that are loaded during the run.
#[derive(Debug, Default)]
pub struct TaskIds(AtomicU64);

impl TaskIds {
    /// Returns the next id; the first is 1.
    pub fn next(&self) -> u64 {
        self.0.fetch_add(1, Ordering::Relaxed) + 1
    }
}
