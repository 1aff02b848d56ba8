//! A role as one use of it in a play: identity, variables, metadata.
//!
//! Its tasks are not here, they stand in the play; so a task can point at its role.

use std::path::PathBuf;
use std::sync::Arc;

use super::layer::Vars;

/// One use of a role.
#[derive(Debug)]
pub struct Role {
    /// The short name: `web`, also for `ns.coll.web`.
    pub name: String,
    /// The collection it comes from: `ns.coll`.
    pub collection: Option<String>,
    pub path: PathBuf,
    /// `defaults/main.yml`, or what `defaults_from` names.
    pub defaults: Arc<Vars>,
    /// `vars/main.yml`, or what `vars_from` names.
    pub vars: Arc<Vars>,
    /// Parameters written beside `role:`.
    pub params: Arc<Vars>,
    /// The `vars:` of the use.
    pub use_vars: Arc<Vars>,
    /// The roles of `meta/main.yml`, in the order written.
    pub dependencies: Vec<Arc<Role>>,
    pub allow_duplicates: bool,
    /// The variables are seen by the whole play.
    pub public: bool,
    /// Brought in by `import_role` or `include_role`.
    pub from_include: bool,
    /// Equal for two uses that Ansible takes for the same run of a role: a role that completed
    /// on a host is skipped there the next time, unless `allow_duplicates`.
    pub identity: Arc<str>,
}

impl Role {
    /// Returns the name with its collection.
    pub fn full_name(&self) -> String {
        match &self.collection {
            Some(collection) => format!("{collection}.{}", self.name),
            None => self.name.clone(),
        }
    }

    /// Lists the dependencies, each after its own: the order in which they run.
    pub fn all_dependencies(&self) -> Vec<Arc<Self>> {
        let mut found = Vec::new();
        for dependency in &self.dependencies {
            found.extend(dependency.all_dependencies());
            found.push(Arc::clone(dependency));
        }
        found
    }
}
