//! The inventory plugin `constructed`: variables and groups of the hosts that the sources before
//! it named, from expressions over their variables.
//!
//! Groups see what earlier sources said of them and no more: the rules about `all` and
//! `ungrouped` are kept at the end of loading. Evaluating is the caller's: see [`Expressions`].

use std::sync::Arc;

use super::graph::replaced;
use super::plugin::{self, Configuration};
use super::{Entity, Expressions, Inventory, Variables};
use crate::error::Error;
use crate::node::{Kind, Node};
use crate::value::Value;

/// The options of the plugin.
const OPTIONS: [&str; 13] = [
    "plugin",
    "strict",
    "compose",
    "groups",
    "keyed_groups",
    "use_extra_vars",
    "use_vars_plugins",
    "leading_separator",
    // Those of every plugin that could keep what it fetches: this one fetches nothing.
    "cache",
    "cache_connection",
    "cache_plugin",
    "cache_prefix",
    "cache_timeout",
];

/// The options of one entry of `keyed_groups`.
const KEYED_OPTIONS: [&str; 6] = [
    "key",
    "prefix",
    "separator",
    "parent_group",
    "default_value",
    "trailing_separator",
];

/// Adds what the configuration constructs to `inventory`.
pub(super) fn read(
    root: &Node,
    expressions: &dyn Expressions,
    inventory: &mut Inventory,
) -> Result<(), Error> {
    let configuration = Configuration::new(root);
    configuration.check_names(&OPTIONS)?;
    let constructor = Constructor {
        strict: configuration.flag("strict", false)?,
        compose: configuration.table("compose")?,
        groups: configuration.table("groups")?,
        keyed: keyed_groups(&configuration)?,
        uses_files: configuration.flag("use_vars_plugins", false)?,
        uses_extra: configuration.flag("use_extra_vars", false)?,
        leads: configuration.flag("leading_separator", true)?,
        expressions,
    };
    let names: Vec<_> = inventory.hosts.keys().cloned().collect();
    for host in names {
        constructor.host(&host, inventory)?;
    }
    Ok(())
}

fn keyed_groups<'a>(configuration: &Configuration<'a>) -> Result<Vec<Keyed<'a>>, Error> {
    let entries = configuration.list("keyed_groups")?;
    entries.iter().map(Keyed::new).collect()
}

/// One entry of `keyed_groups`.
struct Keyed<'a> {
    key: &'a Node,
    prefix: String,
    separator: String,
    parent: Option<&'a Node>,
    default: Option<String>,
    trails: bool,
}

impl<'a> Keyed<'a> {
    fn new(entry: &'a Node) -> Result<Self, Error> {
        let options = Configuration::new(entry);
        options.check_names(&KEYED_OPTIONS)?;
        if let (Some(_), Some((trailing, _))) = (
            entry.get("default_value"),
            entry.entry("trailing_separator"),
        ) {
            return Err(Error::content(
                "`default_value` and `trailing_separator` are mutually exclusive",
            )
            .at(&trailing.mark));
        }
        let Some(key) = entry.get("key") else {
            return Err(Error::content("an entry of `keyed_groups` has no `key`").at(&entry.mark));
        };
        let text = |name| {
            entry
                .get(name)
                .map(|node: &Node| node.to_value().to_string())
        };
        Ok(Self {
            key,
            prefix: text("prefix").unwrap_or_default(),
            separator: text("separator").unwrap_or_else(|| "_".into()),
            parent: entry.get("parent_group").filter(|node| !node.is_null()),
            default: text("default_value"),
            trails: options.flag("trailing_separator", true)?,
        })
    }

    /// Returns the names of groups that a key's value stands for, without prefix.
    fn names(&self, value: &Value) -> Result<Vec<String>, String> {
        let or_default = |value: &Value| match &self.default {
            Some(default) if is_blank(value) => default.clone(),
            _ => value.to_string(),
        };
        match value {
            Value::String(_) | Value::Null => Ok(vec![or_default(value)]),
            Value::List(items) => Ok(items.iter().map(or_default).collect()),
            Value::Map(map) => Ok(map
                .iter()
                .map(|(name, value)| match &self.default {
                    None if is_blank(value) && !self.trails => name.to_string(),
                    _ => format!("{name}{}{}", self.separator, or_default(value)),
                })
                .collect()),
            other => Err(format!(
                "Invalid group name format, expected a string or a list of them or dictionary, got: {}",
                other.python_type()
            )),
        }
    }
}

fn is_blank(value: &Value) -> bool {
    *value == Value::Null || value.as_str() == Some("")
}

struct Constructor<'a> {
    strict: bool,
    compose: &'a [(Node, Node)],
    groups: &'a [(Node, Node)],
    keyed: Vec<Keyed<'a>>,
    uses_files: bool,
    uses_extra: bool,
    leads: bool,
    expressions: &'a dyn Expressions,
}

impl Constructor<'_> {
    fn host(&self, host: &str, inventory: &mut Inventory) -> Result<(), Error> {
        let variables = self.variables(host, inventory)?;
        for (name, expression) in self.compose {
            let text = name.to_value().to_string();
            let composed = self.evaluate(expression, &variables);
            let told = || format!("could not set `{text}` for host `{host}`");
            if let Some(computed) = self.settled(composed, expression, told)? {
                let lone = expression.as_str();
                let passed = lone.and_then(|name| plugin::passed_on(name, &variables));
                let value = passed.cloned();
                let value = value.unwrap_or_else(|| Node::inert(&computed, &expression.mark));
                inventory.set_variable(host, &text, value)?;
            }
        }
        let variables = self.variables(host, inventory)?;
        for (name, condition) in self.groups {
            let group = replaced(&name.to_value().to_string());
            let holds = self.expressions.holds(condition, &variables);
            let told = || format!("could not add host `{host}` to group `{group}`");
            if self.settled(holds, condition, told)? == Some(true) {
                let group = inventory.add_group(&group)?;
                inventory.add_child(&group, host)?;
            }
        }
        for keyed in &self.keyed {
            self.keyed_group(keyed, host, &variables, inventory)?;
        }
        Ok(())
    }

    fn keyed_group(
        &self,
        keyed: &Keyed<'_>,
        host: &str,
        variables: &Arc<Variables>,
        inventory: &mut Inventory,
    ) -> Result<(), Error> {
        let value = self.evaluate(keyed.key, variables);
        let told = || format!("could not generate a group for host `{host}`");
        let Some(value) = self.settled(value, keyed.key, told)? else {
            return Ok(());
        };
        let takes_default = is_blank(&value) && keyed.default.is_some();
        if !value.is_truthy() && !takes_default {
            let is_empty = value.as_list().is_some() || value.as_map().is_some();
            if self.strict && !is_empty {
                return Err(Error::content(format!(
                    "no key, or a key without a value, for host `{host}`"
                ))
                .at(&keyed.key.mark));
            }
            return Ok(());
        }
        let parent = match keyed.parent {
            None => None,
            Some(parent) => {
                let rendered = self.expressions.render(parent, variables);
                let told = || format!("could not generate the parent group for host `{host}`");
                match self.settled(rendered, parent, told)? {
                    Some(name) => Some(name.to_string()).filter(|name| !name.is_empty()),
                    None => return Ok(()),
                }
            }
        };
        let names = keyed
            .names(&value)
            .map_err(|told| Error::content(told).at(&keyed.key.mark))?;
        let separator = if keyed.prefix.is_empty() && !self.leads {
            ""
        } else {
            &keyed.separator
        };
        for name in names {
            let name = format!("{}{separator}{name}", keyed.prefix);
            let group = inventory.add_group(&replaced(&name))?;
            inventory.add_host(host, Some(&group))?;
            if let Some(parent) = &parent {
                let parent = inventory.add_group(&replaced(parent))?;
                inventory.add_child(&parent, &group)?;
            }
        }
        Ok(())
    }

    /// Evaluates a node: text is an expression, anything else is itself.
    fn evaluate(&self, node: &Node, variables: &Arc<Variables>) -> Result<Value, Error> {
        match &node.kind {
            Kind::Text(_) => self.expressions.evaluate(node, variables),
            _ => Ok(node.to_value()),
        }
    }

    /// Returns what came out, or nothing where an error counts for nothing.
    fn settled<T>(
        &self,
        result: Result<T, Error>,
        node: &Node,
        told: impl Fn() -> String,
    ) -> Result<Option<T>, Error> {
        match result {
            Ok(value) => Ok(Some(value)),
            Err(error) if self.strict => {
                Err(Error::content(format!("{}: {}", told(), error.message)).at(&node.mark))
            }
            Err(_) => Ok(None),
        }
    }

    /// Returns what expressions about a host can read.
    fn variables(&self, host: &str, inventory: &Inventory) -> Result<Arc<Variables>, Error> {
        let mark = crate::source::Mark::start_of(&crate::source::SourceFile::new("<host>", ""));
        let mut sum = Variables::new();
        let groups = inventory.unreconciled_groups_of(host);
        for group in &groups {
            extend(&mut sum, &group.variables);
        }
        if self.uses_files {
            for group in &groups {
                extend_from_files(&mut sum, Entity::Group, &group.name, inventory)?;
            }
        }
        if let Some(found) = inventory.host(host) {
            extend(&mut sum, &found.variables);
            let names = groups
                .iter()
                .map(|group| Value::from(Arc::clone(&group.name)));
            let mut names: Vec<Value> = names.filter(|name| name.as_str() != Some("all")).collect();
            names.sort_by_key(Value::to_string);
            let short = host.split('.').next().unwrap_or_default();
            for (name, value) in [
                ("inventory_hostname", Value::from(host)),
                ("inventory_hostname_short", short.into()),
                ("group_names", names.into()),
            ] {
                sum.insert(name.into(), Node::inert(&value, &mark));
            }
        }
        if self.uses_files {
            extend_from_files(&mut sum, Entity::Host, host, inventory)?;
        }
        for (name, value) in self.expressions.facts(host) {
            sum.insert(name.to_string().into(), Node::inert(&value, &mark));
        }
        if self.uses_extra {
            extend(&mut sum, &self.expressions.extra());
        }
        Ok(Arc::new(sum))
    }
}

fn extend_from_files(
    sum: &mut Variables,
    entity: Entity,
    name: &str,
    inventory: &Inventory,
) -> Result<(), Error> {
    for files in inventory.variable_files() {
        let found = files
            .get(entity, name)
            .map_err(|mut errors| errors.swap_remove(0))?;
        extend(sum, &found);
    }
    Ok(())
}

fn extend(sum: &mut Variables, layer: &Variables) {
    let pairs = layer.iter();
    sum.extend(pairs.map(|(name, value)| (Arc::clone(name), value.clone())));
}
