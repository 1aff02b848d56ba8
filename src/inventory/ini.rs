//! INI inventories: sections of hosts, of children and of variables, read line by line.
//!
//! Nothing is defaulted or repaired here; the first line that makes no sense ends the source.

use std::sync::Arc;

use indexmap::IndexMap;

use super::{Inventory, Variables, address, literal, words};
use crate::error::{Error, nearest};
use crate::source::{Mark, SourceFile};

/// Reads an INI inventory into `inventory`.
pub(super) fn read(file: &Arc<SourceFile>, inventory: &mut Inventory) -> Result<(), Error> {
    let mut reader = Reader {
        file,
        inventory,
        section: Section {
            group: "ungrouped".into(),
            kind: SectionKind::Hosts,
        },
        pending: IndexMap::new(),
    };
    for (index, line) in file.text.lines().enumerate() {
        let number = u32::try_from(index + 1).unwrap_or(u32::MAX);
        reader.line(line, number)?;
    }
    reader.finish()
}

#[derive(Clone, Copy, PartialEq)]
enum SectionKind {
    Hosts,
    Children,
    Vars,
}

struct Section {
    group: Arc<str>,
    kind: SectionKind,
}

/// A group that was named but not declared yet.
struct Pending {
    mark: Mark,
    kind: SectionKind,
    parents: Vec<Arc<str>>,
}

struct Reader<'a> {
    file: &'a Arc<SourceFile>,
    inventory: &'a mut Inventory,
    section: Section,
    pending: IndexMap<Arc<str>, Pending>,
}

impl Reader<'_> {
    fn line(&mut self, raw: &str, number: u32) -> Result<(), Error> {
        let line = raw.trim();
        if line.is_empty() || line.starts_with([';', '#']) {
            return Ok(());
        }
        let indent = raw
            .chars()
            .take_while(|character| character.is_whitespace())
            .count();
        let place = Place {
            file: self.file,
            line: number,
            indent,
        };
        if let Some((group, kind)) = header(line) {
            return self.open(group, kind, &place);
        }
        if line.starts_with('[') && line.ends_with(']') {
            return Err(Error::content(format!("invalid section entry `{line}`"))
                .at(&place.column(0))
                .help(
                    "a section is `[group]`, `[group:children]` or `[group:vars]`, without spaces",
                ));
        }
        match self.section.kind {
            SectionKind::Hosts => self.host(line, &place),
            SectionKind::Children => self.child(line, &place),
            SectionKind::Vars => self.variable(line, &place),
        }
    }

    fn open(&mut self, group: &str, kind: Option<&str>, place: &Place<'_>) -> Result<(), Error> {
        let mark = place.column(0);
        let kind = match kind {
            None | Some("hosts") => SectionKind::Hosts,
            Some("children") => SectionKind::Children,
            Some("vars") => SectionKind::Vars,
            Some(other) => {
                return Err(Error::content(format!(
                    "section `[{group}:{other}]` has unknown type `{other}`"
                ))
                .at(&mark)
                .suggest(other, ["hosts", "children", "vars"])
                .help("a section is `[group]`, `[group:children]` or `[group:vars]`"));
            }
        };
        let group = self.inventory.safe_group_name(group);
        if self.inventory.group(&group).is_none() {
            if kind == SectionKind::Vars && !self.pending.contains_key(&group) {
                let pending = Pending {
                    mark,
                    kind,
                    parents: Vec::new(),
                };
                self.pending.insert(Arc::clone(&group), pending);
            }
            self.inventory.add_group(&group)?;
        }
        if kind != SectionKind::Vars {
            self.declare(&group)?;
        }
        self.section = Section { group, kind };
        Ok(())
    }

    /// Puts a group that was waited for below its parents.
    fn declare(&mut self, group: &Arc<str>) -> Result<(), Error> {
        let Some(pending) = self.pending.shift_remove(group) else {
            return Ok(());
        };
        for parent in &pending.parents {
            let added = self.inventory.add_child(parent, group);
            added.map_err(|error| error.at(&pending.mark))?;
            if self
                .pending
                .get(parent)
                .is_some_and(|parent| parent.kind == SectionKind::Children)
            {
                self.declare(parent)?;
            }
        }
        Ok(())
    }

    fn host(&mut self, line: &str, place: &Place<'_>) -> Result<(), Error> {
        let mut words = words::split(line)
            .map_err(|told| {
                Error::content(format!("error parsing host definition: {told}"))
                    .at(&place.column(0))
                    .help("quotes must be closed; write a literal quote as `\\'` or `\\\"`")
            })?
            .into_iter();
        let Some(pattern) = words.next() else {
            return Ok(());
        };
        let names = expand(&pattern.text, place)?;
        let mut variables = Variables::new();
        if let Some(port) = names.1 {
            let node = crate::node::Node::new(place.column(0), crate::node::Kind::Int(port.into()));
            variables.insert("ansible_port".into(), node);
        }
        for word in words {
            let Some((name, value)) = word.text.split_once('=') else {
                return Err(Error::content(format!(
                    "expected `key=value` host variable assignment, got `{}`",
                    word.text
                ))
                .at(&place.column(word.column))
                .help("quote a value that has spaces; comments start with `#`"));
            };
            let mark = place.column(word.column + name.chars().count() + 1);
            variables.insert(name.into(), literal::value(value, &mark));
        }
        let variables = Arc::new(variables);
        for name in names.0 {
            self.inventory.add_host(&name, Some(&self.section.group))?;
            self.inventory.extend_host(&name, &variables);
        }
        Ok(())
    }

    fn child(&mut self, line: &str, place: &Place<'_>) -> Result<(), Error> {
        let mark = place.column(0);
        let Some(child) = group_name(line) else {
            return Err(
                Error::content(format!("expected a group name, got `{line}`"))
                    .at(&mark)
                    .help("a `:children` section holds one group name a line, without variables"),
            );
        };
        let parent = Arc::clone(&self.section.group);
        if self.inventory.group(child).is_some() {
            let added = self.inventory.add_child(&parent, child);
            return added.map(|_| ()).map_err(|error| error.at(&mark));
        }
        self.pending
            .entry(child.into())
            .or_insert_with(|| Pending {
                mark,
                kind: SectionKind::Children,
                parents: Vec::new(),
            })
            .parents
            .push(parent);
        Ok(())
    }

    fn variable(&mut self, line: &str, place: &Place<'_>) -> Result<(), Error> {
        let Some((name, value)) = line.split_once('=') else {
            return Err(
                Error::content(format!("expected `key=value`, got `{line}`"))
                    .at(&place.column(0))
                    .help("a `:vars` section holds one `name=value` a line"),
            );
        };
        let blanks = value
            .chars()
            .take_while(|character| character.is_whitespace())
            .count();
        let mark = place.column(name.chars().count() + 1 + blanks);
        let node = literal::value(value.trim(), &mark);
        let set = self
            .inventory
            .set_variable(&self.section.group, name.trim(), node);
        set.map_err(|error| error.at(&mark))
    }

    fn finish(self) -> Result<(), Error> {
        let Some((name, pending)) = self.pending.first() else {
            return Ok(());
        };
        let told = if pending.kind == SectionKind::Vars {
            format!("section `[{name}:vars]` not valid for undefined group `{name}`")
        } else {
            let parent = pending.parents.last().map_or("", |parent| parent);
            format!("section `[{parent}:children]` includes undefined group `{name}`")
        };
        let known = self.inventory.groups.keys().map(|known| &**known);
        let near = nearest(name, known.filter(|known| *known != &**name));
        Err(Error::content(told).at(&pending.mark).help(match near {
            Some(near) => format!("did you mean `{near}`?"),
            None => format!("declare it with a section `[{name}]`"),
        }))
    }
}

fn expand(pattern: &str, place: &Place<'_>) -> Result<(Vec<String>, Option<u16>), Error> {
    let refuse =
        |told: String, help: &str| Err(Error::content(told).at(&place.column(0)).help(help));
    let (names, port) = match address::expand(pattern) {
        Ok(expanded) => expanded,
        Err(told) => {
            return refuse(
                told.to_string(),
                "ranges are `[1:9]`, `[01:50:2]` or `[a:f]`",
            );
        }
    };
    if pattern.ends_with(':') && port.is_none() {
        return refuse(
            format!("invalid host pattern `{pattern}`"),
            "a `:` at the end is reserved to provide a port; is this file YAML?",
        );
    }
    if names.iter().any(|name| name == "---") {
        return refuse(
            "invalid host pattern `---`".to_string(),
            "this looks like YAML: name the file `.yml` or `.yaml`",
        );
    }
    Ok((names, port))
}

/// A line of the file, for marks.
struct Place<'a> {
    file: &'a Arc<SourceFile>,
    line: u32,
    indent: usize,
}

impl Place<'_> {
    /// Points at a 0-based column of the trimmed line.
    fn column(&self, column: usize) -> Mark {
        let column = u32::try_from(self.indent + column + 1).unwrap_or(u32::MAX);
        Mark::new(self.file, self.line, column)
    }
}

/// Reads `[group]` or `[group:kind]`, with a comment behind it perhaps.
fn header(line: &str) -> Option<(&str, Option<&str>)> {
    let (inner, rest) = line.strip_prefix('[')?.split_once(']')?;
    if !is_rest(rest) {
        return None;
    }
    let (group, kind) = match inner.split_once(':') {
        Some((group, kind)) => (group, Some(kind)),
        None => (inner, None),
    };
    let is_word = |text: &str| {
        !text.is_empty()
            && text
                .chars()
                .all(|next| next.is_alphanumeric() || next == '_')
    };
    (is_name(group) && kind.is_none_or(is_word)).then_some((group, kind))
}

fn group_name(line: &str) -> Option<&str> {
    let end = line.find([':', ']']).unwrap_or(line.len());
    let end = line
        .find(char::is_whitespace)
        .unwrap_or(line.len())
        .min(end);
    // A `#` belongs to the name unless a blank stands before it.
    let (name, rest) = line.split_at(end);
    (is_name(name) && is_rest(rest)).then_some(name)
}

fn is_name(text: &str) -> bool {
    !text.is_empty() && !text.contains([':', ']']) && !text.contains(char::is_whitespace)
}

fn is_rest(text: &str) -> bool {
    let text = text.trim_start();
    text.is_empty() || text.starts_with('#')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(text: &str) -> String {
        let file = SourceFile::new("hosts", text);
        let error = read(&file, &mut Inventory::default()).unwrap_err();
        let mark = error.mark.map(|mark| mark.to_string()).unwrap_or_default();
        format!(
            "{mark} {} ({})",
            error.message,
            error.help.unwrap_or_default()
        )
    }

    #[test]
    fn errors_point_at_their_line_and_name_what_was_meant() {
        for (text, told) in [
            (
                "[web]\na\n[prod:children]\nwbe\n",
                "hosts:4:1 section `[prod:children]` includes undefined group `wbe` (did you mean `web`?)",
            ),
            (
                "[db:vars]\na=1\n",
                "hosts:1:1 section `[db:vars]` not valid for undefined group `db` (declare it with a section `[db]`)",
            ),
            (
                "[a:childs]\n",
                "hosts:1:1 section `[a:childs]` has unknown type `childs` (a section is `[group]`, `[group:children]` or `[group:vars]`)",
            ),
            (
                "a x=1 y\n",
                "hosts:1:7 expected `key=value` host variable assignment, got `y` (quote a value that has spaces; comments start with `#`)",
            ),
            (
                "[a:children]\nb\n[b:children]\na\n",
                "hosts:4:1 adding group `a` as child to `b` creates a recursive dependency loop (a group cannot be below itself; remove one of the two `children` entries)",
            ),
            (
                "a[1:]\n",
                "hosts:1:1 host range must specify end value (ranges are `[1:9]`, `[01:50:2]` or `[a:f]`)",
            ),
        ] {
            assert_eq!(refused(text), told, "{text:?}");
        }
    }
}
