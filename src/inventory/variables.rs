//! `group_vars` and `host_vars`: the variable files beside an inventory or a playbook.
//!
//! A directory is listed once; a file is read when its host or group is first asked for, and kept.

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use super::load::read_text;
use super::{HostName, Inventory, InventoryOptions, Variables, Warning};
use crate::error::{Error, ErrorKind};
use crate::node::Node;
use crate::yaml;

/// The endings of variable files; of files that differ in it only, the first counts.
const EXTENSIONS: [&str; 4] = ["", ".yml", ".yaml", ".json"];

/// What a variable file belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Entity {
    Group,
    Host,
}

impl Entity {
    fn directory(self) -> &'static str {
        match self {
            Self::Group => "group_vars",
            Self::Host => "host_vars",
        }
    }
}

type Loaded = Result<Arc<Variables>, Vec<Error>>;

/// The variable files beside one inventory or playbook.
pub struct VariableFiles {
    options: InventoryOptions,
    groups: HashMap<String, PathBuf>,
    hosts: HashMap<String, PathBuf>,
    loaded: Mutex<HashMap<(Entity, Arc<str>), Loaded>>,
    warnings: Mutex<Vec<Warning>>,
}

impl VariableFiles {
    /// Lists the variable files in `directory`; absent ones are no error.
    pub fn beside(directory: &Path, options: &InventoryOptions) -> Arc<Self> {
        let mut warnings = Vec::new();
        let mut index = |entity: Entity| index(directory, entity, &mut warnings);
        let (groups, hosts) = (index(Entity::Group), index(Entity::Host));
        Arc::new(Self {
            options: options.clone(),
            groups,
            hosts,
            loaded: Mutex::default(),
            warnings: Mutex::new(warnings),
        })
    }

    /// Returns the variables of a host or group; none at all when it has no files.
    pub fn get(&self, entity: Entity, name: &str) -> Loaded {
        let index = match entity {
            Entity::Group => &self.groups,
            Entity::Host => &self.hosts,
        };
        // A name that is a path belongs to a chroot connection, never to a file.
        let found = EXTENSIONS.iter().find_map(|ending| match *ending {
            "" => index.get(name),
            ending => index.get(&format!("{name}{ending}")),
        });
        let Some(path) = found.filter(|_| !name.starts_with('/')) else {
            return Ok(Arc::default());
        };
        let key = (entity, Arc::from(name));
        let mut loaded = self.loaded.lock().unwrap_or_else(PoisonError::into_inner);
        loaded.entry(key).or_insert_with(|| self.load(path)).clone()
    }

    /// Tells whether there is no file at all.
    pub fn is_empty(&self) -> bool {
        self.groups.is_empty() && self.hosts.is_empty()
    }

    /// Reads the files of the hosts of `inventory`, or of `only` these, and of their groups, and
    /// returns every error in them.
    pub fn preload(&self, inventory: &Inventory, only: Option<&HashSet<HostName>>) -> Vec<Error> {
        let is_wanted = |name: &HostName| only.is_none_or(|only| only.contains(name));
        let hosts = inventory.hosts().filter(|host| is_wanted(&host.name));
        let names: HashSet<&str> = match only {
            None => inventory.groups().map(|group| &*group.name).collect(),
            Some(only) => only
                .iter()
                .flat_map(|host| inventory.groups_of(host))
                .map(|group| &*group.name)
                .collect(),
        };
        let groups = inventory
            .groups()
            .filter(|group| names.contains(&*group.name));
        let groups = groups.map(|group| (Entity::Group, &group.name));
        let hosts = hosts.map(|host| (Entity::Host, &host.name));
        let entities = groups.chain(hosts).filter(|_| !self.is_empty());
        entities
            .filter_map(|(entity, name)| self.get(entity, name).err())
            .flatten()
            .filter(|error| !self.options.secrets_on_demand || error.kind != ErrorKind::Missing)
            .collect()
    }

    /// Takes the warnings that came up since the last call.
    pub fn take_warnings(&self) -> Vec<Warning> {
        std::mem::take(&mut *self.warnings.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn load(&self, path: &Path) -> Loaded {
        let mut files = Vec::new();
        if path.is_dir() {
            collect(path, &mut files);
        } else {
            files.push(path.to_path_buf());
        }
        let mut all = Variables::new();
        let mut errors = Vec::new();
        for file in files {
            match self.read(&file) {
                Ok(variables) => all.extend(variables),
                Err(mut found) => errors.append(&mut found),
            }
        }
        if errors.is_empty() {
            Ok(Arc::new(all))
        } else {
            Err(errors)
        }
    }

    fn read(&self, path: &Path) -> Result<Variables, Vec<Error>> {
        let shown = self.shown(path);
        let file = read_text(path, &shown, &self.options).map_err(|error| vec![error])?;
        let document = yaml::parse_with(&file, self.options.yaml)?;
        let mut warnings = self.warnings.lock().unwrap_or_else(PoisonError::into_inner);
        warnings.extend(document.warnings.into_iter().map(|(text, mark)| Warning {
            mark: Some(mark),
            help: Some("Using last defined value only.".to_string()),
            ..Warning::new(text)
        }));
        variables_of(&document.root)
    }

    /// Returns a path as it is shown: relative where it is below the working directory.
    fn shown(&self, path: &Path) -> String {
        let relative = path
            .strip_prefix(&self.options.working_directory)
            .unwrap_or(path);
        relative.display().to_string()
    }
}

fn variables_of(root: &Node) -> Result<Variables, Vec<Error>> {
    if !root.to_value().is_truthy() {
        return Ok(Variables::new());
    }
    let Some(pairs) = root.as_map() else {
        return Err(vec![
            Error::content(format!(
                "a variable file must hold a dictionary, not {}",
                root.kind_name()
            ))
            .at(&root.mark)
            .help("write each variable as `name: value`"),
        ]);
    };
    let named = pairs.iter().map(|(key, value)| match key.as_str() {
        Some(name) => Ok((Arc::from(name), value.clone())),
        None => Err(vec![
            Error::content(format!(
                "`{}` cannot be the name of a variable",
                key.to_value()
            ))
            .at(&key.mark)
            .help("names are letters, digits and `_`"),
        ]),
    });
    named.collect()
}

/// Lists what stands in `group_vars` or `host_vars`, by its whole file name.
fn index(
    directory: &Path,
    entity: Entity,
    warnings: &mut Vec<Warning>,
) -> HashMap<String, PathBuf> {
    let path = directory.join(entity.directory());
    if path.exists() && !path.is_dir() {
        warnings.push(Warning::new(format!(
            "Found {} that is not a directory, skipping: {}",
            entity.directory(),
            path.display()
        )));
        return HashMap::new();
    }
    let entries = std::fs::read_dir(path).into_iter().flatten().flatten();
    let named =
        entries.filter_map(|entry| Some((entry.file_name().into_string().ok()?, entry.path())));
    named.collect()
}

/// Collects the variable files of a directory and those below it, sorted by name.
fn collect(directory: &Path, files: &mut Vec<PathBuf>) {
    let entries = std::fs::read_dir(directory).into_iter().flatten().flatten();
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.path()).collect();
    paths.sort();
    for path in paths {
        let Some(name) = path.file_name().and_then(|name| name.to_str()) else {
            continue;
        };
        if name.starts_with('.') || name.ends_with('~') {
            continue;
        }
        let extension = path.extension().and_then(|extension| extension.to_str());
        match extension {
            None if path.is_dir() => collect(&path, files),
            None => files.push(path),
            Some(extension) if path.is_file() && is_variable_extension(extension) => {
                files.push(path);
            }
            Some(_) => {}
        }
    }
}

fn is_variable_extension(extension: &str) -> bool {
    EXTENSIONS
        .iter()
        .any(|known| known.strip_prefix('.') == Some(extension))
}
