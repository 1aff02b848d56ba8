//! The mappings that are computed when they are read: `hostvars`, one host in it, and `vars`.

use std::fmt;
use std::sync::Arc;

use super::ladder::Rung;
use super::layers::Layer;
use super::scope::{TaskScope, names_of};
use super::state::Snapshot;
use crate::template::{Binding, Dynamic, Scope};

/// `hostvars`: every host of the inventory, and `localhost` on demand.
pub(super) struct HostVars {
    pub(super) snapshot: Arc<Snapshot>,
}

impl fmt::Debug for HostVars {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("HostVars")
    }
}

impl Dynamic for HostVars {
    fn get(&self, key: &str) -> Option<Binding> {
        self.snapshot.inventory().host(key)?;
        let scope = Arc::new(TaskScope::of_host(&self.snapshot, key));
        Some(Binding::Object(Arc::new(OneHost { scope })))
    }

    fn keys(&self) -> Vec<Arc<str>> {
        let hosts = self.snapshot.inventory().hosts();
        hosts.map(|host| Arc::clone(&host.name)).collect()
    }

    fn type_name(&self) -> &'static str {
        "HostVars"
    }
}

/// One host of `hostvars`: its variables, rendered in its own context.
struct OneHost {
    scope: Arc<TaskScope>,
}

impl fmt::Debug for OneHost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let host = self.scope.host().map_or("", |host| &**host);
        write!(f, "HostVarsVars({host})")
    }
}

impl Dynamic for OneHost {
    fn get(&self, key: &str) -> Option<Binding> {
        self.scope.get(key)
    }

    fn keys(&self) -> Vec<Arc<str>> {
        self.scope.names()
    }

    fn scope(&self) -> Option<Arc<dyn Scope>> {
        Some(Arc::clone(&self.scope) as Arc<dyn Scope>)
    }

    fn type_name(&self) -> &'static str {
        "HostVarsVars"
    }
}

/// `vars`: all variables of a task by name.
pub(super) struct AllVariables {
    pub(super) snapshot: Arc<Snapshot>,
    pub(super) layers: Vec<(Rung, Layer)>,
}

impl fmt::Debug for AllVariables {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("vars")
    }
}

impl Dynamic for AllVariables {
    fn get(&self, key: &str) -> Option<Binding> {
        match key {
            "groups" => Some(Binding::Final(self.snapshot.groups().clone())),
            "hostvars" => Some(Binding::Object(Arc::new(HostVars {
                snapshot: Arc::clone(&self.snapshot),
            }))),
            _ => self.layers.iter().find_map(|(_, layer)| layer.get(key)),
        }
    }

    fn keys(&self) -> Vec<Arc<str>> {
        let mut names = names_of(&self.layers);
        names.extend(["groups".into(), "hostvars".into()]);
        names
    }
}
