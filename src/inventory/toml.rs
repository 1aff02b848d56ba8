//! TOML inventories: tables of `hosts`, `children` and `vars`, one a group.
//!
//! Turns the text into nodes with marks; the rules are those of YAML inventories, except that
//! `children` is a list of names. Texts may hold templates, as in every inventory.

use std::ops::Range;
use std::sync::Arc;

use ::toml::Spanned;
use ::toml::de::{DeTable, DeValue, Error as TomlError};

use super::Inventory;
use super::structure::{hosts, key_text, warn};
use crate::error::Error;
use crate::node::{Kind, Node};
use crate::source::{Mark, SourceFile};

/// Reads a TOML inventory into `inventory`.
pub(super) fn read(file: &Arc<SourceFile>, inventory: &mut Inventory) -> Result<(), Error> {
    let root = parse(file)?;
    let groups = root.as_map().unwrap_or_default();
    if groups.is_empty() {
        return Err(Error::content(format!("`{}` is empty", file.name))
            .help("name at least one group or host in it"));
    }
    if let Some((key, _)) = root.entry("plugin") {
        return Err(
            Error::content("this is the configuration of an inventory plugin")
                .at(&key.mark)
                .help("write it as YAML, which inventory plugins read"),
        );
    }
    for (name, content) in groups {
        group(name, content, inventory)?;
    }
    Ok(())
}

fn group(name: &Node, content: &Node, inventory: &mut Inventory) -> Result<(), Error> {
    let text = key_text(name)?;
    let Some(sections) = content.as_map() else {
        let told = format!("Skipping '{text}' as this is not a valid group definition");
        warn(inventory, told, name);
        return Ok(());
    };
    let group = inventory
        .add_group(&text)
        .map_err(|error| error.at(&name.mark))?;
    for (key, section) in sections {
        match key.as_str().unwrap_or_default() {
            "vars" => {
                for (name, value) in table(section, "vars", &group)? {
                    let set = inventory.set_variable(&group, &key_text(name)?, value.clone());
                    set.map_err(|error| error.at(&name.mark))?;
                }
            }
            "children" => {
                let Some(children) = section.as_list() else {
                    return Err(wrong("children", &group, "a list", section));
                };
                for child in children {
                    let name = inventory
                        .add_group(&key_text(child)?)
                        .map_err(|error| error.at(&child.mark))?;
                    let added = inventory.add_child(&group, &name);
                    added.map_err(|error| error.at(&child.mark))?;
                }
            }
            "hosts" => {
                for (pattern, variables) in table(section, "hosts", &group)? {
                    hosts(pattern, variables, &group, inventory)?;
                }
            }
            other => {
                let told = format!(
                    "Skipping unexpected key \"{other}\" in group \"{group}\", only \"vars\", \"children\" and \"hosts\" are valid"
                );
                warn(inventory, told, key);
            }
        }
    }
    Ok(())
}

fn table<'a>(section: &'a Node, kind: &str, group: &str) -> Result<&'a [(Node, Node)], Error> {
    section
        .as_map()
        .ok_or_else(|| wrong(kind, group, "a dictionary", section))
}

fn wrong(kind: &str, group: &str, wanted: &str, found: &Node) -> Error {
    Error::content(format!(
        "invalid `{kind}` entry for group `{group}`: it requires {wanted}, not {}",
        found.kind_name()
    ))
    .at(&found.mark)
}

/// Returns the text as nodes.
fn parse(file: &Arc<SourceFile>) -> Result<Node, Error> {
    let places = Places { file };
    let table = DeTable::parse(&file.text).map_err(|error| places.error(&error))?;
    places.table(table.get_ref(), Mark::start_of(file))
}

/// Finds the marks of byte ranges.
struct Places<'a> {
    file: &'a Arc<SourceFile>,
}

impl Places<'_> {
    fn mark(&self, span: &Range<usize>) -> Mark {
        let before = self.file.text.get(..span.start).unwrap_or_default();
        let line_start = before.rfind('\n').map_or(0, |at| at + 1);
        let line = before.matches('\n').count() + 1;
        let column = before[line_start..].chars().count() + 1;
        let number = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
        Mark::new(self.file, number(line), number(column))
    }

    fn error(&self, error: &TomlError) -> Error {
        let message = error.message().trim_end_matches('.').replace('\n', ", ");
        let told = Error::content(format!("TOML parsing failed: {message}"));
        match error.span() {
            Some(span) => told.at(&self.mark(&span)),
            None => told,
        }
    }

    fn table(&self, table: &DeTable<'_>, mark: Mark) -> Result<Node, Error> {
        // The parser sorts by name; places tell the order written.
        let mut entries: Vec<_> = table.iter().collect();
        entries.sort_by_key(|(key, _)| key.span().start);
        let pairs = entries.into_iter().map(|(key, value)| {
            let name = Node::text(self.mark(&key.span()), &**key.get_ref());
            Ok((name, self.value(value)?))
        });
        let pairs = pairs.collect::<Result<Vec<_>, Error>>()?;
        Ok(Node::new(mark, Kind::Map(Arc::new(pairs))))
    }

    fn value(&self, value: &Spanned<DeValue<'_>>) -> Result<Node, Error> {
        let mark = self.mark(&value.span());
        let kind = match value.get_ref() {
            DeValue::String(text) => Kind::Text((&**text).into()),
            DeValue::Integer(number) => i128::from_str_radix(number.as_str(), number.radix())
                .map(Kind::Int)
                .map_err(|_| {
                    Error::content(format!("the number `{number}` is too large")).at(&mark)
                })?,
            DeValue::Float(number) => number
                .as_str()
                .parse()
                .map(Kind::Float)
                .map_err(|_| Error::content(format!("`{number}` is no number")).at(&mark))?,
            DeValue::Boolean(flag) => Kind::Bool(*flag),
            DeValue::Datetime(when) => Kind::Time(when.to_string().into()),
            DeValue::Array(items) => {
                let items = items.iter().map(|item| self.value(item));
                Kind::List(Arc::new(items.collect::<Result<Vec<_>, Error>>()?))
            }
            DeValue::Table(table) => return self.table(table, mark),
        };
        Ok(Node::new(mark, kind))
    }
}
