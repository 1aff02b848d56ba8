//! The rungs that belong to a host: inventory, `group_vars` and `host_vars`, each host's stack
//! made once and kept.

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use indexmap::IndexMap;

use super::ladder::Rung;
use super::layers::Layer;
use crate::error::Error;
use crate::inventory::{Entity, HostName, Inventory, InventoryOptions, VariableFiles};
use crate::template::Binding;
use crate::value::Value;

/// The variable files of a run, beside inventories and playbooks.
pub struct HostFiles {
    options: InventoryOptions,
    beside_inventory: Vec<Arc<VariableFiles>>,
    beside_playbooks: Arc<Mutex<HashMap<PathBuf, Arc<VariableFiles>>>>,
    known: Mutex<HashMap<(PathBuf, HostName), Arc<HostLayers>>>,
}

impl HostFiles {
    /// Lists the files beside the sources of `inventory`.
    pub fn new(inventory: &Inventory, options: InventoryOptions) -> Self {
        let mut directories: Vec<PathBuf> = Vec::new();
        for source in inventory.sources() {
            let source = options.working_directory.join(source);
            let directory = match source.parent() {
                Some(parent) if !source.is_dir() => parent.to_path_buf(),
                _ => source,
            };
            if !directories.contains(&directory) {
                directories.push(directory);
            }
        }
        let beside = directories
            .iter()
            .map(|directory| VariableFiles::beside(directory, &options));
        Self {
            beside_inventory: beside.collect(),
            beside_playbooks: Arc::default(),
            known: Mutex::default(),
            options,
        }
    }

    /// Reads every file of these hosts (of all, where it is not known which) and of their groups,
    /// and returns all errors in them.
    pub fn check<'p>(
        &self,
        inventory: &Inventory,
        hosts: Option<&HashSet<HostName>>,
        playbooks: impl IntoIterator<Item = &'p Path>,
    ) -> Vec<Error> {
        let beside_playbooks = playbooks
            .into_iter()
            .map(|directory| self.beside_playbook(directory));
        self.beside_inventory
            .iter()
            .cloned()
            .chain(beside_playbooks)
            .flat_map(|files| files.preload(inventory, hosts))
            .collect()
    }

    /// Returns the same files without what is known of hosts, for a changed inventory.
    pub(super) fn renewed(&self) -> Self {
        Self {
            options: self.options.clone(),
            beside_inventory: self.beside_inventory.clone(),
            beside_playbooks: Arc::clone(&self.beside_playbooks),
            known: Mutex::default(),
        }
    }

    /// Returns a host's layers in plays of the playbook directory `playbook`.
    pub(super) fn layers(
        &self,
        inventory: &Inventory,
        playbook: &Path,
        host: &str,
    ) -> Arc<HostLayers> {
        let key = (playbook.to_path_buf(), HostName::from(host));
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(layers) = known.get(&key) {
            return Arc::clone(layers);
        }
        drop(known);
        let layers = Arc::new(self.stack(inventory, playbook, host));
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.insert(key, Arc::clone(&layers));
        layers
    }

    fn stack(&self, inventory: &Inventory, playbook: &Path, host: &str) -> HostLayers {
        let playbook = [self.beside_playbook(playbook)];
        let groups = inventory.groups_of(host);
        let groups: Vec<_> = groups
            .iter()
            .rev()
            .filter(|group| &*group.name != "all")
            .collect();
        let all = inventory.group("all");
        let of_groups = |files: &[Arc<VariableFiles>]| -> Vec<Layer> {
            groups
                .iter()
                .flat_map(|group| layers_of(files, Entity::Group, &group.name))
                .collect()
        };
        let of_source_groups = |files: &[Arc<VariableFiles>]| -> Vec<Layer> {
            // Each source is laid whole over the source before it.
            files
                .iter()
                .rev()
                .flat_map(|source| of_groups(std::slice::from_ref(source)))
                .collect()
        };
        let own = inventory
            .host(host)
            .map(|host| Layer::from(&host.variables));
        let mut host_layers = vec![known_of_host(inventory, host)];
        host_layers.extend(own);
        HostLayers([
            all.map(|group| Layer::from(&group.variables))
                .into_iter()
                .collect(),
            groups
                .iter()
                .map(|group| Layer::from(&group.variables))
                .collect(),
            layers_of(&self.beside_inventory, Entity::Group, "all"),
            layers_of(&playbook, Entity::Group, "all"),
            of_source_groups(&self.beside_inventory),
            of_groups(&playbook),
            host_layers,
            layers_of(&self.beside_inventory, Entity::Host, host),
            layers_of(&playbook, Entity::Host, host),
        ])
    }

    fn beside_playbook(&self, directory: &Path) -> Arc<VariableFiles> {
        let mut known = self
            .beside_playbooks
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let files = known
            .entry(directory.to_path_buf())
            .or_insert_with(|| VariableFiles::beside(directory, &self.options));
        Arc::clone(files)
    }
}

/// The layers of one host, a list for each of its rungs, strongest first.
#[derive(Debug)]
pub(super) struct HostLayers([Vec<Layer>; 9]);

impl HostLayers {
    /// Returns the layers of one rung.
    pub(super) fn of(&self, rung: Rung) -> Vec<Layer> {
        let first = Rung::InventoryAll as usize;
        let index = (rung as usize).checked_sub(first);
        index
            .and_then(|index| self.0.get(index))
            .cloned()
            .unwrap_or_default()
    }
}

/// Returns what the files say of a host or group, the last source strongest. Files with errors
/// were reported by [`HostFiles::check`].
fn layers_of(files: &[Arc<VariableFiles>], entity: Entity, name: &str) -> Vec<Layer> {
    let found = files
        .iter()
        .rev()
        .filter_map(|files| files.get(entity, name).ok());
    found
        .filter(|vars| !vars.is_empty())
        .map(Layer::Source)
        .collect()
}

/// Returns what the inventory knows of every host: its names and groups.
fn known_of_host(inventory: &Inventory, host: &str) -> Layer {
    let short = host.split('.').next().unwrap_or(host);
    let groups = inventory.group_names(host);
    let groups = Value::list(groups.iter().map(|name| &**name));
    let file = inventory.host(host).and_then(|known| known.source.clone());
    let directory = file.as_deref().and_then(|file| file.parent());
    let place = |path: Option<&Path>| {
        path.map_or(Value::Null, |path| path.to_string_lossy().as_ref().into())
    };
    let pairs: [(&str, Value); 5] = [
        ("inventory_hostname", host.into()),
        ("inventory_hostname_short", short.into()),
        ("inventory_file", place(file.as_deref())),
        ("inventory_dir", place(directory)),
        ("group_names", groups),
    ];
    let bindings: IndexMap<Arc<str>, Binding> = pairs
        .into_iter()
        .map(|(name, value)| (name.into(), Binding::Final(value)))
        .collect();
    Layer::Bound(Arc::new(bindings))
}
