//! What `ansible-inventory` prints: the shapes of `--list`, `--host` and `--graph`.
//!
//! Returns values and text; nothing is printed here, and no template is rendered.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use indexmap::IndexMap;

use super::graph::separate;
use super::{Entity, Expressions, Group, Host, Inventory, Limit, Order, VariableFiles, Variables};
use crate::error::Error;
use crate::node::{Kind, Node};
use crate::source::{Mark, SourceFile};
use crate::value::{JsonStyle, Map, Value, repr, to_json};
use crate::vault::{self, Secrets};
use crate::yaml::{self, YamlStyle};

/// What a listing covers.
#[derive(Clone, Copy, Default)]
pub struct Listing<'a> {
    /// The variable files beside the playbook or in the working directory.
    pub play: &'a [Arc<VariableFiles>],
    /// `-e`: variables that win over all others.
    pub extra: Option<&'a Arc<Variables>>,
    pub limit: Option<&'a Limit>,
    /// What earlier runs found out about hosts and kept: it wins over what the sources say.
    pub facts: Option<&'a dyn Expressions>,
    /// Opens vaulted variables in `--graph --vars`; the other shapes keep them closed.
    pub secrets: Option<&'a Secrets>,
    /// `--export`: each variable where it is set, rather than each host's sum.
    pub export: bool,
}

/// How a listing is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ListingFormat {
    Json,
    Yaml,
    Toml,
}

/// Returns the text of `--list`.
pub fn list(
    inventory: &Inventory,
    listing: Listing<'_>,
    format: ListingFormat,
) -> Result<String, Vec<Error>> {
    let mut lister = Lister::new(inventory, listing)?;
    match format {
        ListingFormat::Json => lister.json(),
        ListingFormat::Yaml => {
            let tree = lister.yaml_group(lister.all())?;
            let root = tree.map(|content| ("all".into(), content));
            let root = lister.map(root.into_iter().collect());
            Ok(yaml::node_to_yaml(&root, &block_style()))
        }
        ListingFormat::Toml => {
            let mut groups = Vec::new();
            lister.toml_group(lister.all(), &mut groups)?;
            toml_text(&lister.map(groups)).map_err(|error| vec![error])
        }
    }
}

/// Returns the text of `--host`.
pub fn host_variables(
    inventory: &Inventory,
    host: &str,
    listing: Listing<'_>,
    format: ListingFormat,
) -> Result<String, Vec<Error>> {
    let mut lister = Lister::new(inventory, listing)?;
    let variables = lister.host_variables(host)?;
    let as_node = |variables: Variables| lister.map(variables.into_iter().collect());
    match format {
        ListingFormat::Json => Ok(json_text(&json_map(&variables, false))),
        ListingFormat::Yaml => Ok(yaml::node_to_yaml(&as_node(variables), &block_style())),
        ListingFormat::Toml => toml_text(&as_node(variables)).map_err(|error| vec![error]),
    }
}

/// Returns the text of `--graph` below a group, with variables where asked for.
pub fn graph_text(
    inventory: &Inventory,
    group: &str,
    listing: Listing<'_>,
    with_variables: bool,
) -> Result<String, Vec<Error>> {
    let Some(group) = inventory.group(group) else {
        let known = inventory.groups().map(|group| &*group.name);
        let told = "Pattern must be valid group name when using --graph";
        return Err(vec![Error::usage(told).suggest(group, known)]);
    };
    let mut lister = Lister::new(inventory, listing)?;
    let mut lines = Vec::new();
    lister.graph_group(group, 0, with_variables, &mut lines)?;
    Ok(lines.join("\n"))
}

struct Lister<'a> {
    inventory: &'a Inventory,
    listing: Listing<'a>,
    available: Vec<Arc<str>>,
    within: HashSet<Arc<str>>,
    seen_groups: HashSet<Arc<str>>,
    seen_hosts: HashSet<Arc<str>>,
    /// What groups bring together, by their names: hosts of the same groups share it.
    group_sums: HashMap<Vec<Arc<str>>, Arc<Variables>>,
    mark: Mark,
}

impl<'a> Lister<'a> {
    fn new(inventory: &'a Inventory, listing: Listing<'a>) -> Result<Self, Vec<Error>> {
        let selection = inventory.select(&["all"], listing.limit, Order::Inventory);
        let available = selection.map_err(|error| vec![error])?.hosts;
        Ok(Self {
            inventory,
            listing,
            within: available.iter().cloned().collect(),
            available,
            seen_groups: HashSet::new(),
            seen_hosts: HashSet::new(),
            group_sums: HashMap::new(),
            mark: Mark::start_of(&SourceFile::new("<inventory>", "")),
        })
    }

    fn all(&self) -> &'a Group {
        &self.inventory.groups[self.inventory.all()]
    }

    fn host_variables(&mut self, name: &str) -> Result<Variables, Vec<Error>> {
        let Some(host) = self.inventory.host(name) else {
            return Ok(Variables::new());
        };
        let mut sum = if self.listing.export {
            Variables::new()
        } else {
            Variables::clone(&*self.group_sum(name)?)
        };
        // Each host has its own copies of its own variables, so nothing is shared in the YAML.
        let own = host.variables.iter();
        sum.extend(own.map(|(name, value)| (Arc::clone(name), separate(value))));
        for files in self
            .inventory
            .variable_files()
            .iter()
            .chain(self.listing.play)
        {
            extend(&mut sum, &*files.get(Entity::Host, &host.name)?);
        }
        if let Some(kept) = self.listing.facts.filter(|_| !self.listing.export) {
            for (name, value) in kept.facts(name) {
                sum.insert(name.to_string().into(), Node::inert(&value, &self.mark));
            }
        }
        if let Some(extra) = self.listing.extra.filter(|_| !self.listing.export) {
            extend(&mut sum, extra);
        }
        Ok(sum)
    }

    fn group_sum(&mut self, host: &str) -> Result<Arc<Variables>, Vec<Error>> {
        let groups = self.inventory.groups_of(host);
        let key: Vec<Arc<str>> = groups.iter().map(|group| Arc::clone(&group.name)).collect();
        if let Some(sum) = self.group_sums.get(&key) {
            return Ok(Arc::clone(sum));
        }
        let mut sum = Variables::new();
        for layer in self.inventory.group_layers(&groups, self.listing.play)? {
            extend(&mut sum, &layer);
        }
        let sum = Arc::new(sum);
        self.group_sums.insert(key, Arc::clone(&sum));
        Ok(sum)
    }

    fn group_variables(&self, group: &Group) -> Result<Variables, Vec<Error>> {
        let mut sum = Variables::clone(&group.variables);
        for files in self
            .inventory
            .variable_files()
            .iter()
            .chain(self.listing.play)
        {
            extend(&mut sum, &*files.get(Entity::Group, &group.name)?);
        }
        if group.priority != 1 {
            let priority = Node::new(self.mark.clone(), Kind::Int(group.priority.into()));
            sum.insert("ansible_group_priority".into(), priority);
        }
        Ok(sum)
    }

    fn json(&mut self) -> Result<String, Vec<Error>> {
        let mut groups = Map::new();
        self.json_group(self.all(), &mut groups)?;
        let mut hosts = Map::new();
        for name in self.available.clone() {
            let variables = self.host_variables(&name)?;
            if !variables.is_empty() {
                hosts.insert(Value::from(Arc::clone(&name)), json_map(&variables, true));
            }
        }
        let meta = [
            ("hostvars", Value::from(hosts)),
            ("profile", Value::from("inventory_legacy")),
        ];
        groups.insert("_meta".into(), Value::map(meta));
        Ok(json_text(&groups.into()))
    }

    fn json_group(&mut self, group: &Group, groups: &mut Map) -> Result<(), Vec<Error>> {
        let mut content = Map::new();
        let hosts = self.direct_hosts(group).into_iter();
        let hosts: Vec<Value> = hosts
            .map(|host| Value::from(Arc::clone(&host.name)))
            .collect();
        if &*group.name != "all" && !hosts.is_empty() {
            content.insert("hosts".into(), hosts.into());
        }
        let children: Vec<&Group> = self.inventory.children(group).collect();
        if !children.is_empty() {
            let names = children.iter().map(|child| Arc::clone(&child.name));
            content.insert("children".into(), Value::list(names));
        }
        if self.listing.export {
            let variables = self.group_variables(group)?;
            if !variables.is_empty() {
                content.insert("vars".into(), json_map(&variables, true));
            }
        }
        if !content.is_empty() {
            groups.insert(Value::from(Arc::clone(&group.name)), content.into());
        }
        for child in children {
            if self.seen_groups.insert(Arc::clone(&child.name)) {
                self.json_group(child, groups)?;
            }
        }
        Ok(())
    }

    /// Returns a group's content, or nothing when it is empty.
    fn yaml_group(&mut self, group: &Group) -> Result<Option<Node>, Vec<Error>> {
        let mut children = Vec::new();
        for child in self.inventory.children(group) {
            if self.seen_groups.contains(&child.name) {
                children.push((Arc::clone(&child.name), self.map(Vec::new())));
                continue;
            }
            if let Some(content) = self.yaml_group(child)? {
                children.push((Arc::clone(&child.name), content));
            }
            self.seen_groups.insert(Arc::clone(&child.name));
        }
        let hosts = self.hosts_once(group)?;
        let variables = self.own_variables(group)?;
        let sections = [
            ("children", children),
            ("hosts", hosts),
            ("vars", variables),
        ];
        let content: Vec<(Arc<str>, Node)> = sections
            .into_iter()
            .filter(|(_, pairs)| !pairs.is_empty())
            .map(|(name, pairs)| (name.into(), self.map(pairs)))
            .collect();
        Ok((!content.is_empty()).then(|| self.map(content)))
    }

    /// Adds a group, and then those below it; what is empty is left out.
    fn toml_group(
        &mut self,
        group: &Group,
        groups: &mut Vec<(Arc<str>, Node)>,
    ) -> Result<(), Vec<Error>> {
        let children: Vec<&Group> = self.inventory.children(group).collect();
        let names = children.iter().map(|child| Arc::clone(&child.name));
        let names = names.filter(|name| &**name != "ungrouped" && &*group.name != "all");
        let names: Vec<Node> = names
            .map(|name| Node::text(self.mark.clone(), name))
            .collect();
        let at = groups.len();
        for child in children {
            if self.seen_groups.insert(Arc::clone(&child.name)) {
                self.toml_group(child, groups)?;
            }
        }
        let mut content = Vec::new();
        if !names.is_empty() {
            let names = Node::new(self.mark.clone(), Kind::List(names.into()));
            content.push(("children".into(), names));
        }
        for (name, pairs) in [
            ("hosts", self.hosts_once(group)?),
            ("vars", self.own_variables(group)?),
        ] {
            if !pairs.is_empty() {
                content.push((name.into(), self.map(pairs)));
            }
        }
        if !content.is_empty() {
            groups.insert(at, (Arc::clone(&group.name), self.map(content)));
        }
        Ok(())
    }

    /// Returns a group's hosts, each with its variables where it is met first.
    fn hosts_once(&mut self, group: &Group) -> Result<Vec<(Arc<str>, Node)>, Vec<Error>> {
        let mut hosts = Vec::new();
        if &*group.name == "all" {
            return Ok(hosts);
        }
        for host in self.direct_hosts(group) {
            let is_new = self.seen_hosts.insert(Arc::clone(&host.name));
            let variables = if is_new {
                self.host_variables(&host.name)?
            } else {
                Variables::new()
            };
            let variables = self.map(variables.into_iter().collect());
            hosts.push((Arc::clone(&host.name), variables));
        }
        Ok(hosts)
    }

    /// Returns the variables that are told at their groups.
    fn own_variables(&self, group: &Group) -> Result<Vec<(Arc<str>, Node)>, Vec<Error>> {
        if !self.listing.export {
            return Ok(Vec::new());
        }
        Ok(self.group_variables(group)?.into_iter().collect())
    }

    fn direct_hosts(&self, group: &Group) -> Vec<&'a Host> {
        let hosts = self.inventory.direct_hosts(group);
        hosts
            .filter(|host| self.within.contains(&host.name))
            .collect()
    }

    fn graph_group(
        &mut self,
        group: &Group,
        depth: usize,
        with_variables: bool,
        lines: &mut Vec<String>,
    ) -> Result<(), Vec<Error>> {
        lines.push(branch(&format!("@{}:", group.name), depth));
        for child in self.inventory.children(group) {
            self.graph_group(child, depth + 1, with_variables, lines)?;
        }
        if &*group.name != "all" {
            for host in self.inventory.direct_hosts(group) {
                lines.push(branch(&host.name, depth + 1));
                if with_variables {
                    let variables = self.host_variables(&host.name)?;
                    self.graph_variables(&variables, depth + 2, lines)?;
                }
            }
        }
        if with_variables {
            let variables = self.group_variables(group)?;
            self.graph_variables(&variables, depth + 1, lines)?;
        }
        Ok(())
    }

    fn graph_variables(
        &self,
        variables: &Variables,
        depth: usize,
        lines: &mut Vec<String>,
    ) -> Result<(), Vec<Error>> {
        let mut sorted: Vec<_> = variables.iter().collect();
        sorted.sort_by_key(|(name, _)| Arc::clone(name));
        for (name, value) in sorted {
            let value = self.opened(value).map_err(|error| vec![error])?;
            let shown = value.as_str().map_or_else(|| repr(&value), str::to_string);
            lines.push(branch(&format!("{{{name} = {shown}}}"), depth));
        }
        Ok(())
    }

    /// Returns a node as data, vaulted texts decrypted where there are secrets.
    fn opened(&self, node: &Node) -> Result<Value, Error> {
        match (&node.kind, self.listing.secrets) {
            (Kind::Vault(text), Some(secrets)) => {
                let plain = vault::decrypt(text.as_bytes(), secrets)
                    .map_err(|error| Error::from(error).at(&node.mark))?;
                Ok(Value::from(String::from_utf8_lossy(&plain).as_ref()))
            }
            (Kind::List(items), _) => {
                let items: Result<Vec<_>, _> = items.iter().map(|item| self.opened(item)).collect();
                Ok(items?.into())
            }
            (Kind::Map(pairs), _) => {
                let pairs = pairs
                    .iter()
                    .map(|(key, value)| Ok((key.to_value(), self.opened(value)?)));
                Ok(pairs.collect::<Result<Map, Error>>()?.into())
            }
            _ => Ok(node.to_value()),
        }
    }

    fn map(&self, pairs: Vec<(Arc<str>, Node)>) -> Node {
        let named = pairs
            .into_iter()
            .map(|(name, value)| (Node::text(self.mark.clone(), name), value));
        Node::new(self.mark.clone(), Kind::Map(Arc::new(named.collect())))
    }
}

fn branch(name: &str, depth: usize) -> String {
    if depth == 0 {
        return name.to_string();
    }
    format!("{}--{name}", "  |".repeat(depth))
}

fn extend(sum: &mut Variables, layer: &Variables) {
    sum.extend(
        layer
            .iter()
            .map(|(name, value)| (Arc::clone(name), value.clone())),
    );
}

fn json_map(variables: &Variables, marks_unsafe: bool) -> Value {
    let pairs = variables.iter().map(|(name, value)| {
        (
            Value::from(Arc::clone(name)),
            json_value(value, marks_unsafe),
        )
    });
    pairs.collect::<IndexMap<_, _>>().into()
}

/// Returns a node as Ansible's JSON has it: vaulted texts as they are, inert texts marked.
fn json_value(node: &Node, marks_unsafe: bool) -> Value {
    match &node.kind {
        Kind::Vault(text) => Value::map([("__ansible_vault", Arc::clone(text))]),
        Kind::Unsafe(text) if marks_unsafe => Value::map([("__ansible_unsafe", Arc::clone(text))]),
        Kind::List(items) => Value::list(items.iter().map(|item| json_value(item, marks_unsafe))),
        Kind::Map(pairs) => pairs
            .iter()
            .map(|(key, value)| (key.to_value(), json_value(value, marks_unsafe)))
            .collect::<Map>()
            .into(),
        _ => node.to_value(),
    }
}

fn json_text(value: &Value) -> String {
    to_json(
        value,
        JsonStyle {
            indent: Some(4),
            sort_keys: true,
            ensure_ascii: true,
        },
    )
}

fn toml_text(root: &Node) -> Result<String, Error> {
    if let Some(null) = null_in(root) {
        let told = Error::content("TOML has no null").at(&null.mark);
        return Err(told.help("without `--toml` it is shown as JSON, with `--yaml` as YAML"));
    }
    toml::to_string_pretty(&json_value(root, false))
        .map_err(|error| Error::usage("the inventory cannot be written as TOML").caused_by(error))
}

/// Returns the first value that TOML cannot hold.
fn null_in(node: &Node) -> Option<&Node> {
    match &node.kind {
        Kind::Null => Some(node),
        Kind::List(items) => items.iter().find_map(null_in),
        Kind::Map(pairs) => pairs.iter().find_map(|(_, value)| null_in(value)),
        _ => None,
    }
}

fn block_style() -> YamlStyle {
    YamlStyle {
        default_flow_style: Some(false),
        ..YamlStyle::default()
    }
}
