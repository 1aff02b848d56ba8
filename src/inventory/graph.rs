//! The graph of hosts and groups: who is in what, and the rules Ansible keeps about it.
//!
//! Hosts and groups are held by index; memberships are lists of indices, never copies. Knows
//! nothing of files, formats and patterns.

use std::collections::HashSet;
use std::path::Path;
use std::sync::Arc;

use indexmap::IndexMap;

use super::{Entity, GroupNames, HostName, PatternMismatch, VariableFiles, Variables, Warning};
use crate::error::Error;
use crate::node::{Kind, Node};
use crate::source::{Mark, SourceFile};

/// Names that mean this machine, also where no inventory has them.
pub(super) const LOCALHOST: [&str; 3] = ["127.0.0.1", "localhost", "::1"];

/// One host.
#[derive(Clone, Debug)]
pub struct Host {
    pub name: HostName,
    /// The host's own variables, shared by hosts that came from one range.
    pub variables: Arc<Variables>,
    /// The source that named it first; `None` for a host added at run time.
    pub source: Option<Arc<Path>>,
    /// The `localhost` that no inventory has.
    pub implicit: bool,
    /// The groups it stands in directly.
    pub(super) groups: Vec<usize>,
}

/// One group.
#[derive(Clone, Debug)]
pub struct Group {
    pub name: Arc<str>,
    pub variables: Arc<Variables>,
    /// `ansible_group_priority`: among groups of one depth the highest wins.
    pub priority: i64,
    /// The longest way down from `all`.
    pub depth: usize,
    pub(super) hosts: Vec<usize>,
    pub(super) host_set: HashSet<usize>,
    pub(super) children: Vec<usize>,
    pub(super) parents: Vec<usize>,
}

/// All hosts and groups of a run.
#[derive(Clone)]
pub struct Inventory {
    pub(super) hosts: IndexMap<HostName, Host>,
    pub(super) groups: IndexMap<Arc<str>, Group>,
    /// The first host that is named as this machine.
    pub(super) localhost: Option<usize>,
    implicit: Host,
    pub(super) sources: Vec<Arc<Path>>,
    pub(super) current_source: Option<Arc<Path>>,
    pub(super) group_names: GroupNames,
    pub(super) pattern_mismatch: PatternMismatch,
    pub(super) warnings: Vec<Warning>,
    files: Vec<Arc<VariableFiles>>,
}

impl Default for Inventory {
    fn default() -> Self {
        let mut inventory = Self {
            hosts: IndexMap::new(),
            groups: IndexMap::new(),
            localhost: None,
            implicit: implicit_localhost(),
            sources: Vec::new(),
            current_source: None,
            group_names: GroupNames::default(),
            pattern_mismatch: PatternMismatch::default(),
            warnings: Vec::new(),
            files: Vec::new(),
        };
        let all = inventory.new_group("all");
        let ungrouped = inventory.new_group("ungrouped");
        inventory.link(all, ungrouped);
        inventory
    }
}

impl Inventory {
    /// Returns a host, also the implicit `localhost`.
    pub fn host(&self, name: &str) -> Option<&Host> {
        self.hosts.get(name).or_else(|| {
            LOCALHOST.contains(&name).then(|| match self.localhost {
                Some(index) => &self.hosts[index],
                None => &self.implicit,
            })
        })
    }

    /// Returns a group.
    pub fn group(&self, name: &str) -> Option<&Group> {
        self.groups.get(name)
    }

    /// Walks the hosts in the order they were named, the implicit one left out.
    pub fn hosts(&self) -> impl ExactSizeIterator<Item = &Host> {
        self.hosts.values()
    }

    /// Walks the groups in the order they were named, `all` and `ungrouped` first.
    pub fn groups(&self) -> impl ExactSizeIterator<Item = &Group> {
        self.groups.values()
    }

    /// Returns a host's variables from inventories and the files beside them, weakest first: the
    /// group `all`, other groups, files of `all`, files of other groups, the host, its files.
    ///
    /// `play` are the variable files beside the playbook, each stronger than those of its kind
    /// beside the inventories.
    pub fn layers(
        &self,
        host: &str,
        play: &[Arc<VariableFiles>],
    ) -> Result<Vec<Arc<Variables>>, Vec<Error>> {
        let groups = self.groups_of(host);
        let mut layers = self.group_layers(&groups, play)?;
        if let Some(found) = self.host(host) {
            layers.push(Arc::clone(&found.variables));
            for files in self.files.iter().chain(play) {
                layers.push(files.get(Entity::Host, &found.name)?);
            }
        }
        layers.retain(|layer| !layer.is_empty());
        Ok(layers)
    }

    /// Returns the layers that `groups` bring, sorted as `groups_of` sorts them.
    pub(super) fn group_layers(
        &self,
        groups: &[&Group],
        play: &[Arc<VariableFiles>],
    ) -> Result<Vec<Arc<Variables>>, Vec<Error>> {
        let (all, others): (Vec<&Group>, Vec<&Group>) = groups
            .iter()
            .copied()
            .partition(|group| &*group.name == "all");
        let mut layers = Vec::new();
        for group in all.iter().chain(&others) {
            layers.push(Arc::clone(&group.variables));
        }
        for kind in [all, others] {
            for sources in [self.files.as_slice(), play] {
                for group in &kind {
                    for files in sources {
                        layers.push(files.get(Entity::Group, &group.name)?);
                    }
                }
            }
        }
        Ok(layers)
    }

    /// Returns the variable files beside the inventories, in the order of their sources.
    pub fn variable_files(&self) -> &[Arc<VariableFiles>] {
        &self.files
    }

    pub(super) fn add_variable_files(&mut self, files: Arc<VariableFiles>) {
        self.files.push(files);
    }

    /// Reads the variable files of every host and group and gathers their warnings; what is wrong
    /// with one concerns who asks for its host.
    pub(super) fn read_variable_files(&mut self) {
        for files in self.files.clone() {
            files.preload(self, None);
            for warning in files.take_warnings() {
                push_once(&mut self.warnings, warning);
            }
        }
    }

    /// Adds a host of a list on the command line.
    pub(super) fn add_listed_host(&mut self, name: &str, port: Option<u16>, list: &str) {
        if self.hosts.contains_key(name) {
            return;
        }
        let ungrouped = self.ungrouped();
        let (host, _) = self.host_index(name);
        self.join(ungrouped, host);
        if let Some(port) = port {
            let mark = Mark::start_of(&SourceFile::new(format!("<inventory `{list}`>"), list));
            let port = Node::new(mark, Kind::Int(port.into()));
            Arc::make_mut(&mut self.hosts[host].variables).insert("ansible_port".into(), port);
        }
    }

    /// Returns the sources that were read, for the files beside them.
    pub fn sources(&self) -> &[Arc<Path>] {
        &self.sources
    }

    /// Returns what [`groups_of`](Self::groups_of) does while sources are still being read: only
    /// groups that a source put the host into.
    pub(super) fn unreconciled_groups_of(&self, host: &str) -> Vec<&Group> {
        let mut whole = self.clone();
        whole.reconcile();
        let depth = |group: &Group| whole.groups[&group.name].depth;
        let mut groups = self.groups_of(host);
        groups
            .sort_by(|a, b| (depth(a), a.priority, &a.name).cmp(&(depth(b), b.priority, &b.name)));
        groups
    }

    /// Returns the groups a host is in, directly or not, weakest first: by depth, priority, name.
    pub fn groups_of(&self, host: &str) -> Vec<&Group> {
        let direct = self.host(host).map_or(&[][..], |host| &host.groups);
        let mut found = self.ancestors(direct);
        found.extend(direct);
        if self.host(host).is_some_and(|host| host.implicit) {
            found.insert(self.all());
        }
        let mut groups: Vec<&Group> = found.into_iter().map(|index| &self.groups[index]).collect();
        groups.sort_by(|a, b| (a.depth, a.priority, &a.name).cmp(&(b.depth, b.priority, &b.name)));
        groups
    }

    /// Returns the magic variable `group_names`: sorted, without `all`.
    pub fn group_names(&self, host: &str) -> Vec<Arc<str>> {
        let groups = self.groups_of(host);
        let mut names: Vec<_> = groups
            .into_iter()
            .map(|group| Arc::clone(&group.name))
            .collect();
        names.retain(|name| &**name != "all");
        names.sort();
        names
    }

    /// Returns the hosts of a group and of the groups below it, each once.
    pub fn hosts_of(&self, group: &str) -> Vec<HostName> {
        let Some(index) = self.groups.get_index_of(group) else {
            return Vec::new();
        };
        let names = self.members(index).into_iter();
        names
            .map(|host| Arc::clone(&self.hosts[host].name))
            .collect()
    }

    /// Returns the hosts that stand in a group itself.
    pub fn direct_hosts(&self, group: &Group) -> impl Iterator<Item = &Host> {
        group.hosts.iter().map(|index| &self.hosts[*index])
    }

    /// Returns the groups directly below a group.
    pub fn children(&self, group: &Group) -> impl Iterator<Item = &Group> {
        group.children.iter().map(|index| &self.groups[*index])
    }

    /// Adds a group unless it is there; returns the name it got.
    pub fn add_group(&mut self, name: &str) -> Result<Arc<str>, Error> {
        if name.is_empty() {
            return Err(Error::content("a group needs a name"));
        }
        if let Some(group) = self.groups.get(name) {
            return Ok(Arc::clone(&group.name));
        }
        let name = self.safe_group_name(name);
        let index = self.new_group(&name);
        Ok(Arc::clone(&self.groups[index].name))
    }

    /// Adds a host unless it is there, and puts it into `group`; tells whether anything changed.
    pub fn add_host(&mut self, name: &str, group: Option<&str>) -> Result<bool, Error> {
        if name.is_empty() {
            return Err(Error::content("a host needs a name"));
        }
        let group = group.map(|group| self.group_index(group)).transpose()?;
        let (host, is_new) = self.host_index(name);
        let joined = group.is_some_and(|group| self.join(group, host));
        Ok(is_new || joined)
    }

    /// Puts a group or a host into a group; tells whether anything changed.
    pub fn add_child(&mut self, group: &str, child: &str) -> Result<bool, Error> {
        let parent = self.group_index(group)?;
        if let Some(child) = self.groups.get_index_of(child) {
            return self.add_child_group(parent, child);
        }
        match self.hosts.get_index_of(child) {
            Some(host) => Ok(self.join(parent, host)),
            None => Err(
                Error::content(format!("`{child}` is not a known host nor group"))
                    .suggest(child, self.groups.keys().map(|name| &**name)),
            ),
        }
    }

    /// Sets a variable of a group, or else of a host.
    pub fn set_variable(&mut self, entity: &str, name: &str, value: Node) -> Result<(), Error> {
        if let Some(group) = self.groups.get_mut(entity) {
            if name == "ansible_group_priority" {
                group.priority = priority(&value)?;
            } else {
                // Ansible copies: an alias in the source is not one of two variables.
                Arc::make_mut(&mut group.variables).insert(name.into(), separate(&value));
            }
            return Ok(());
        }
        let Some(host) = self.hosts.get_mut(entity) else {
            return Err(Error::content(format!(
                "could not identify group or host named `{entity}`"
            )));
        };
        Arc::make_mut(&mut host.variables).insert(name.into(), value);
        Ok(())
    }

    /// Gives a host variables; a host that has none yet shares them.
    pub(super) fn extend_host(&mut self, name: &str, variables: &Arc<Variables>) {
        let Some(host) = self.hosts.get_mut(name) else {
            return;
        };
        if host.variables.is_empty() {
            host.variables = Arc::clone(variables);
        } else {
            let pairs = variables
                .iter()
                .map(|(name, value)| (Arc::clone(name), value.clone()));
            Arc::make_mut(&mut host.variables).extend(pairs);
        }
    }

    /// Restores Ansible's rules after changes: everything is below `all`, hosts without a group
    /// are in `ungrouped` and no others.
    pub fn reconcile(&mut self) {
        let (all, ungrouped) = (self.all(), self.ungrouped());
        for index in 0..self.groups.len() {
            if index != all && self.groups[index].parents.is_empty() {
                self.link(all, index);
            }
        }
        for host in 0..self.hosts.len() {
            let groups = &self.hosts[host].groups;
            let is_grouped = groups
                .iter()
                .any(|group| *group != all && *group != ungrouped);
            if is_grouped {
                self.leave(ungrouped, host);
            } else {
                self.join(ungrouped, host);
            }
        }
        self.measure_depths();
        for name in self.groups.keys() {
            if self.hosts.contains_key(name) {
                let text = format!("Found both group and host with same name: {name}");
                push_once(&mut self.warnings, Warning::new(text));
            }
        }
    }

    /// Returns a group name in which invalid characters are replaced, where that is asked for.
    pub(super) fn safe_group_name(&mut self, name: &str) -> Arc<str> {
        let safe = replaced(name);
        if safe == name {
            return name.into();
        }
        let told = match self.group_names {
            GroupNames::Never => Some("not replaced"),
            GroupNames::Always => Some("automatically replaced"),
            GroupNames::Ignore | GroupNames::Silently => None,
        };
        if let Some(told) = told {
            let text = format!(
                "Invalid characters were found in group names {}{told}, use -vvvv to see details",
                if self.group_names == GroupNames::Never {
                    "but "
                } else {
                    "and "
                }
            );
            push_once(&mut self.warnings, Warning::new(text));
        }
        match self.group_names {
            GroupNames::Never | GroupNames::Ignore => name.into(),
            GroupNames::Always | GroupNames::Silently => safe.into(),
        }
    }

    /// Takes the warnings that came up since the last call.
    pub fn take_warnings(&mut self) -> Vec<Warning> {
        std::mem::take(&mut self.warnings)
    }

    pub(super) fn all(&self) -> usize {
        self.groups
            .get_index_of("all")
            .expect("`all` is never removed")
    }

    fn ungrouped(&self) -> usize {
        self.groups
            .get_index_of("ungrouped")
            .expect("`ungrouped` is never removed")
    }

    /// Returns the hosts of a group and of those below it, level by level, each once.
    pub(super) fn members(&self, group: usize) -> Vec<usize> {
        let mut order = vec![group];
        let mut seen: HashSet<usize> = HashSet::from([group]);
        let mut next = 0;
        while let Some(&index) = order.get(next) {
            let children = &self.groups[index].children;
            order.extend(children.iter().filter(|child| seen.insert(**child)));
            next += 1;
        }
        let mut found = HashSet::new();
        let hosts = order.iter().flat_map(|group| &self.groups[*group].hosts);
        hosts.copied().filter(|host| found.insert(*host)).collect()
    }

    fn group_index(&self, name: &str) -> Result<usize, Error> {
        self.groups.get_index_of(name).ok_or_else(|| {
            Error::content(format!("could not find group `{name}` in inventory"))
                .suggest(name, self.groups.keys().map(|name| &**name))
        })
    }

    fn host_index(&mut self, name: &str) -> (usize, bool) {
        if let Some(index) = self.hosts.get_index_of(name) {
            return (index, false);
        }
        let host = Host {
            name: name.into(),
            variables: Arc::default(),
            source: self.current_source.clone(),
            implicit: false,
            groups: Vec::new(),
        };
        let (index, _) = self.hosts.insert_full(Arc::clone(&host.name), host);
        if LOCALHOST.contains(&name) {
            self.note_localhost(index);
        }
        (index, true)
    }

    fn note_localhost(&mut self, index: usize) {
        match self.localhost {
            None => self.localhost = Some(index),
            Some(first) => {
                let text = format!(
                    "A duplicate localhost-like entry was found ({}). First found localhost was {}",
                    self.hosts[index].name, self.hosts[first].name
                );
                push_once(&mut self.warnings, Warning::new(text));
            }
        }
    }

    fn new_group(&mut self, name: &str) -> usize {
        if let Some(index) = self.groups.get_index_of(name) {
            return index;
        }
        let group = Group {
            name: name.into(),
            variables: Arc::default(),
            priority: 1,
            depth: 0,
            hosts: Vec::new(),
            host_set: HashSet::new(),
            children: Vec::new(),
            parents: Vec::new(),
        };
        self.groups.insert_full(Arc::clone(&group.name), group).0
    }

    fn add_child_group(&mut self, parent: usize, child: usize) -> Result<bool, Error> {
        let names = |index: usize| &self.groups[index].name;
        if parent == child {
            return Err(Error::content(format!(
                "can't add group `{}` to itself",
                names(parent)
            )));
        }
        if self.groups[parent].children.contains(&child) {
            return Ok(false);
        }
        if child == self.all() {
            return Err(Error::content(format!(
                "group `all` cannot be below `{}`: all groups are below it",
                names(parent)
            ))
            .help("remove `all` from the `children`"));
        }
        if self.ancestors(&[parent]).contains(&child) {
            return Err(Error::content(format!(
                "adding group `{}` as child to `{}` creates a recursive dependency loop",
                names(child),
                names(parent)
            ))
            .help("a group cannot be below itself; remove one of the two `children` entries"));
        }
        self.link(parent, child);
        Ok(true)
    }

    fn link(&mut self, parent: usize, child: usize) {
        self.groups[parent].children.push(child);
        self.groups[child].parents.push(parent);
    }

    fn join(&mut self, group: usize, host: usize) -> bool {
        if !self.groups[group].host_set.insert(host) {
            return false;
        }
        self.groups[group].hosts.push(host);
        self.hosts[host].groups.push(group);
        true
    }

    fn leave(&mut self, group: usize, host: usize) {
        if self.groups[group].host_set.remove(&host) {
            self.groups[group].hosts.retain(|member| *member != host);
            self.hosts[host].groups.retain(|member| *member != group);
        }
    }

    fn ancestors(&self, groups: &[usize]) -> HashSet<usize> {
        let mut found = HashSet::new();
        let mut open = groups.to_vec();
        while let Some(group) = open.pop() {
            for parent in &self.groups[group].parents {
                if found.insert(*parent) {
                    open.push(*parent);
                }
            }
        }
        found
    }

    /// Sets each group's depth to its longest way down from `all`.
    fn measure_depths(&mut self) {
        let mut missing: Vec<usize> = self
            .groups
            .values()
            .map(|group| group.parents.len())
            .collect();
        let mut open = vec![self.all()];
        while let Some(index) = open.pop() {
            let depth = self.groups[index].depth;
            for child in self.groups[index].children.clone() {
                let below = &mut self.groups[child];
                below.depth = below.depth.max(depth + 1);
                missing[child] -= 1;
                if missing[child] == 0 {
                    open.push(child);
                }
            }
        }
    }
}

pub(super) fn push_once(warnings: &mut Vec<Warning>, warning: Warning) {
    if !warnings.contains(&warning) {
        warnings.push(warning);
    }
}

fn priority(value: &Node) -> Result<i64, Error> {
    let number = match &value.kind {
        Kind::Int(number) => i64::try_from(*number).ok(),
        Kind::Text(text) | Kind::Unsafe(text) => text.trim().parse().ok(),
        Kind::Bool(value) => Some(i64::from(*value)),
        _ => None,
    };
    number.ok_or_else(|| {
        Error::content("`ansible_group_priority` must be an integer").at(&value.mark)
    })
}

/// Returns a name with what a variable name cannot hold replaced by `_`.
pub(super) fn replaced(name: &str) -> String {
    name.chars()
        .enumerate()
        .map(|(at, character)| {
            let is_word = character.is_alphanumeric() || character == '_';
            if is_word && !(at == 0 && character.is_numeric()) {
                character
            } else {
                '_'
            }
        })
        .collect()
}

/// Copies a tree so that it shares no collection with another.
pub(super) fn separate(node: &Node) -> Node {
    let kind = match &node.kind {
        Kind::List(items) => Kind::List(Arc::new(items.iter().map(separate).collect())),
        Kind::Map(pairs) => {
            let pairs = pairs
                .iter()
                .map(|(key, value)| (key.clone(), separate(value)));
            Kind::Map(Arc::new(pairs.collect()))
        }
        kind => kind.clone(),
    };
    Node::new(node.mark.clone(), kind)
}

fn implicit_localhost() -> Host {
    let file = SourceFile::new(
        "<implicit localhost>",
        "ansible_connection: local\nansible_python_interpreter: '{{ ansible_playbook_python }}'\n",
    );
    let connection = Node::new(Mark::new(&file, 1, 21), Kind::Unsafe("local".into()));
    let python = Node::text(Mark::new(&file, 2, 29), "{{ ansible_playbook_python }}");
    Host {
        name: "localhost".into(),
        variables: Arc::new(Variables::from([
            ("ansible_connection".into(), connection),
            ("ansible_python_interpreter".into(), python),
        ])),
        source: None,
        implicit: true,
        groups: Vec::new(),
    }
}
