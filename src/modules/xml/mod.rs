//! `xml`: elements, texts and attributes of an XML file or text, found by `XPath`.
//!
//! What it writes is what lxml writes, because playbooks compare files.

mod children;
mod reading;
mod target;
mod tree;
mod writing;
mod xpath;

use std::path::PathBuf;

use crate::machine::{Content, Machine, NewFile};
use crate::value::{JsonStyle, Map, Value, to_json};

use super::{Diff, Failure, ModuleResult, Outcome};
use children::Input;
pub(super) use reading::letter;
use tree::{Id, Tree};
use xpath::{Answer, Found, Prefixes};

crate::arguments! {
    /// Manage bits and pieces of XML files or strings.
    pub(crate) struct XmlArgs for "community.general.xml" {
        /// The file, which must be there.
        path: Option<PathBuf> { aliases: ["dest", "file"] },
        /// A text to change instead of a file.
        xmlstring: Option<String> {},
        /// What it is about.
        xpath: Option<String> {},
        /// The prefixes that `xpath` uses, and their namespaces.
        namespaces: Map { default: "{}" },
        state: String { default: "present", choices: ["absent", "present"], aliases: ["ensure"] },
        /// The text of the elements, or of their attribute.
        value: Option<Value> {},
        /// The attribute that gets the value.
        attribute: Option<Value> {},
        /// Elements to add: names, dictionaries, or XML.
        add_children: Option<Vec<Value>> {},
        /// Elements that replace all there are.
        set_children: Option<Vec<Value>> {},
        /// Count what `xpath` names.
        count: bool { default: "false" },
        /// Tell the paths of what `xpath` names.
        print_match: bool { default: "false" },
        /// Lay the file out, one element a line.
        pretty_print: bool { default: "false" },
        /// Tell texts or attributes of what `xpath` names.
        content: Option<String> { choices: ["attribute", "text"] },
        /// How new elements are told.
        input_type: String { default: "yaml", choices: ["xml", "yaml"] },
        backup: bool { default: "false" },
        /// Make plain text of CDATA.
        strip_cdata_tags: bool { default: "false" },
        /// Add elements before the first that `xpath` names, instead of inside.
        insertbefore: bool { default: "false" },
        /// Add elements behind the last that `xpath` names, instead of inside.
        insertafter: bool { default: "false" },
    }
    mutually_exclusive [
        ["add_children", "content", "count", "print_match", "set_children", "value"],
        ["path", "xmlstring"],
        ["insertbefore", "insertafter"],
    ]
    required_one_of [["path", "xmlstring"]]
    required_by [
        ("add_children", ["xpath"]),
        ("attribute", ["value"]),
        ("content", ["xpath"]),
        ("set_children", ["xpath"]),
        ("value", ["xpath"]),
    ]
    required_if [
        ("count", "true", ["xpath"], false),
        ("print_match", "true", ["xpath"], false),
        ("insertbefore", "true", ["xpath"], false),
        ("insertafter", "true", ["xpath"], false),
    ]
}

/// Looks at the document, or changes it.
pub(crate) fn run(machine: &mut Machine, args: XmlArgs) -> ModuleResult {
    let mut document = Document::open(machine, &args)?;
    let Some(expression) = &args.xpath else {
        return document.laid_out(machine);
    };
    let told = document.told(expression)?;
    if told.is_none() {
        document.change(expression)?;
    }
    document.finish(machine, expression, told.unwrap_or_default())
}

/// What a task asks of a document.
struct Document<'a> {
    args: &'a XmlArgs,
    path: Option<PathBuf>,
    before: Tree,
    tree: Tree,
    prefixes: Prefixes,
}

/// What is told of a document that is not changed.
#[derive(Default)]
struct Told {
    msg: Option<Value>,
    n_hits: i64,
    matches: Vec<Value>,
}

impl<'a> Document<'a> {
    fn open(machine: &mut Machine, args: &'a XmlArgs) -> Result<Self, Failure> {
        let path = args.path.as_ref().map(|path| machine.expand(path));
        let bytes = match (&args.xmlstring, &path) {
            (Some(text), _) if !text.is_empty() => text.as_bytes().to_vec(),
            (_, Some(path)) if machine.metadata(path)?.is_some_and(|found| found.is_file()) => {
                machine.read(path)?
            }
            (_, path) => {
                let path = path
                    .as_ref()
                    .map_or("None".into(), |path| path.display().to_string());
                return Err(Failure::new(format!(
                    "The target XML source '{path}' does not exist."
                )));
            }
        };
        if let Some(expression) = &args.xpath {
            xpath::check(expression).map_err(|why| {
                Failure::new(format!(
                    "Syntax error in xpath expression: {expression} ({why})"
                ))
            })?;
        }
        let mut tree = reading::read(&bytes).map_err(|why| {
            let name = path
                .as_ref()
                .map_or("xml_string".into(), |path| path.display().to_string());
            Failure::new(format!("Error while parsing document: {name} ({why})"))
        })?;
        if args.strip_cdata_tags {
            tree.drop_cdata();
        }
        if args.pretty_print {
            tree.drop_blanks(tree.root);
        }
        let prefixes = args.namespaces.iter();
        Ok(Self {
            args,
            path,
            before: tree.clone(),
            tree,
            prefixes: prefixes
                .map(|(name, uri)| (name.to_string(), uri.to_string()))
                .collect(),
        })
    }

    /// Answers a task that only asks; none where it wants a change.
    fn told(&self, expression: &str) -> Result<Option<Told>, Failure> {
        if self.args.print_match {
            let paths: Result<Vec<_>, Failure> = self
                .nodes(expression)?
                .into_iter()
                .map(|found| match found {
                    Found::Node(id) => Ok(self.tree.path(id)),
                    _ => Err(Failure::new(format!(
                        "selector '{expression}' matches what is no element, which has no path"
                    ))),
                })
                .collect();
            let paths = to_json(&Value::list(paths?), JsonStyle::default());
            let msg = format!("selector '{expression}' match: {paths}");
            return Ok(Some(Told {
                msg: Some(msg.into()),
                ..Told::default()
            }));
        }
        if self.args.count {
            let count = format!("count(/{expression})");
            let answer = target::ask(&self.tree, &count, &self.prefixes).map_err(Failure::new)?;
            let n_hits = match answer {
                #[expect(clippy::cast_possible_truncation, reason = "a count of nodes is whole")]
                Answer::Number(number) => number as i64,
                _ => 0,
            };
            return Ok(Some(Told {
                msg: Some(format!("found {n_hits} nodes").into()),
                n_hits,
                matches: Vec::new(),
            }));
        }
        let Some(content) = self.args.content.as_deref() else {
            return Ok(None);
        };
        let found = self.elements(expression)?;
        if found.is_empty() {
            return Err(Failure::new(format!(
                "Xpath {expression} does not reference a node!"
            )));
        }
        let matches: Vec<Value> = found
            .iter()
            .filter_map(|id| self.shown(*id, content))
            .collect();
        let n_hits = i64::try_from(matches.len()).unwrap_or(i64::MAX);
        Ok(Some(Told {
            msg: Some(n_hits.into()),
            n_hits,
            matches,
        }))
    }

    fn shown(&self, id: Id, content: &str) -> Option<Value> {
        let element = self.tree.element(id)?;
        let shown = if content == "text" {
            self.tree.text(id).map_or(Value::Null, Value::from)
        } else {
            let attributes = element.attributes.iter();
            Value::map(attributes.map(|(name, value)| (name.clark(), value.as_str())))
        };
        Some(Value::map([(element.name.clark(), shown)]))
    }

    /// Changes the tree.
    fn change(&mut self, expression: &str) -> Result<(), Failure> {
        let input = match self.args.input_type.as_str() {
            "xml" => Input::Xml,
            _ => Input::Yaml,
        };
        if self.args.state == "absent" {
            return self.delete(expression).map_err(|why| {
                Failure::new(format!(
                    "Couldn't delete xpath target: {expression} ({why})"
                ))
            });
        }
        if let Some(children) = &self.args.set_children {
            return self.set_children(expression, children, input);
        }
        if let Some(children) = self.args.add_children.as_ref().filter(|it| !it.is_empty()) {
            return self.add_children(expression, children, input);
        }
        if let Some(value) = self.args.value.as_ref().filter(|it| **it != Value::Null) {
            return self.set(expression, value);
        }
        if self.elements(expression)?.is_empty() {
            target::ensure(&mut self.tree, self.before.root, expression, &self.prefixes)?;
        }
        Ok(())
    }

    fn delete(&mut self, expression: &str) -> Result<(), String> {
        let found = match target::ask(&self.tree, expression, &self.prefixes)? {
            Answer::Nodes(found) => found,
            answer => return Err(format!("'{}' object is not iterable", answer.python_type())),
        };
        // The numbers of later attributes of an element change with an earlier one's removal.
        for found in found.into_iter().rev() {
            match found {
                Found::Attribute(id, number) => self.tree.remove_attribute(id, number),
                Found::Node(id) if self.tree.parent(id).is_some() => {
                    self.tree.detach(id);
                }
                Found::Node(_) => return Err("the root cannot be removed".into()),
                Found::Text | Found::Other => {
                    return Err("only elements and attributes can be removed".into());
                }
            }
        }
        Ok(())
    }

    fn set_children(
        &mut self,
        expression: &str,
        children: &[Value],
        input: Input,
    ) -> Result<(), Failure> {
        let places = self.nodes(expression)?;
        let new = children::nodes(&mut self.tree, children, input)?;
        let wanted: Vec<_> = new
            .iter()
            .map(|id| writing::alone(&self.tree, *id))
            .collect();
        for place in places {
            let Found::Node(place) = place else {
                return Err(Failure::new(format!(
                    "Xpath {expression} matches what has no children"
                )));
            };
            let old = self.tree.items(place);
            if old
                .iter()
                .map(|id| writing::alone(&self.tree, *id))
                .eq(wanted.iter().cloned())
            {
                continue;
            }
            for id in old {
                self.tree.detach(id);
            }
            for id in &new {
                self.tree.append(place, *id);
            }
        }
        Ok(())
    }

    fn add_children(
        &mut self,
        expression: &str,
        children: &[Value],
        input: Input,
    ) -> Result<(), Failure> {
        let places = self.elements(expression)?;
        let (Some(first), Some(last)) = (places.first(), places.last()) else {
            return Ok(());
        };
        let new = children::nodes(&mut self.tree, children, input)?;
        if !self.args.insertbefore && !self.args.insertafter {
            for place in &places {
                for id in &new {
                    self.tree.append(*place, *id);
                }
            }
            return Ok(());
        }
        let beside = if self.args.insertbefore {
            *first
        } else {
            *last
        };
        let no_parent = || Failure::new(format!("nothing can stand beside the root: {expression}"));
        // As in Ansible, they go into the parent of the first.
        let parent = self.tree.parent(*first).ok_or_else(no_parent)?;
        let around = self.tree.parent(beside).ok_or_else(no_parent)?;
        let items = self.tree.items(around);
        let at = items
            .iter()
            .position(|id| *id == beside)
            .unwrap_or_default();
        let at = if self.args.insertafter { at + 1 } else { at };
        for (number, id) in new.into_iter().enumerate() {
            self.tree.insert(parent, at + number, id);
        }
        Ok(())
    }

    fn set(&mut self, expression: &str, value: &Value) -> Result<(), Failure> {
        let root = self.tree.root;
        let made = target::elements(&self.tree, root, expression, &self.prefixes)
            .map_err(Failure::new)
            .and_then(|found| {
                if found.is_empty() {
                    target::ensure(&mut self.tree, root, expression, &self.prefixes)
                } else {
                    Ok(false)
                }
            });
        made.map_err(|failure| {
            if failure.msg.starts_with("Can't process Xpath") {
                return failure;
            }
            let has_namespaces = !self.tree.in_scope(root).is_empty();
            let hint = if has_namespaces && !expression.contains(':') {
                "XML document has namespace(s) defined, but no namespace prefix(es) used in xpath!\n"
            } else {
                ""
            };
            Failure::new(format!(
                "{hint}Xpath {expression} causes a failure: {}\n  -- tree is {}",
                failure.msg,
                target::shown(&self.tree)
            ))
        })?;
        let found = self.elements(expression)?;
        if found.is_empty() {
            return Err(Failure::new(format!(
                "Xpath {expression} does not reference a node! tree is {}",
                target::shown(&self.tree)
            )));
        }
        let text = children::text(value)?;
        let attribute = match &self.args.attribute {
            Some(name) if name.is_truthy() => {
                Some(target::clark(children::text(name)?, &self.prefixes)?)
            }
            _ => None,
        };
        for id in found {
            match &attribute {
                None if self.tree.text(id).as_deref() == Some(text) => {}
                None => self.tree.set_text(id, Some(text)),
                Some(name) => self.tree.set_attribute(id, name, text),
            }
        }
        Ok(())
    }

    fn nodes(&self, expression: &str) -> Result<Vec<Found>, Failure> {
        match target::ask(&self.tree, expression, &self.prefixes).map_err(Failure::new)? {
            Answer::Nodes(found) => Ok(found),
            answer => Err(Failure::new(format!(
                "Xpath {expression} is a {}, not a list of nodes",
                answer.python_type()
            ))),
        }
    }

    fn elements(&self, expression: &str) -> Result<Vec<Id>, Failure> {
        target::elements(&self.tree, self.tree.root, expression, &self.prefixes)
            .map_err(Failure::new)
    }

    /// Only lays the document out.
    fn laid_out(self, machine: &mut Machine) -> ModuleResult {
        let text = writing::document(&self.tree, self.args.pretty_print);
        if !self.args.pretty_print {
            return Err(Failure::new("Don't know what to do"));
        }
        let Some(path) = &self.path else {
            // As in Ansible, a text is always another.
            return Ok(Outcome::changed().with("xmlstring", text));
        };
        let changed = machine.read(path)? != text.as_bytes();
        let outcome = Outcome::unchanged().with_changed(changed);
        if changed {
            return self.write(machine, outcome, text);
        }
        Ok(outcome)
    }

    fn finish(self, machine: &mut Machine, expression: &str, told: Told) -> ModuleResult {
        let namespaces: Value = self.args.namespaces.clone().into();
        let actions = Value::map([
            ("xpath", Value::from(expression)),
            ("namespaces", namespaces),
            ("state", self.args.state.as_str().into()),
        ]);
        let changed = compared(&self.before) != compared(&self.tree);
        let mut outcome = Outcome::unchanged()
            .with_changed(changed)
            .with("actions", actions);
        if self.args.count || told.n_hits > 0 {
            outcome = outcome.with("count", told.n_hits);
        }
        if self.args.print_match || !told.matches.is_empty() {
            outcome = outcome.with("matches", Value::list(told.matches));
        }
        if let Some(msg) = told.msg {
            outcome = outcome.with("msg", msg);
        }
        if changed && machine.wants_diff() {
            let pretty = |tree: &Tree| writing::document(tree, true);
            outcome = outcome.only_diff(Diff::new(pretty(&self.before), pretty(&self.tree)));
        }
        let text = writing::document(&self.tree, self.args.pretty_print);
        if self.path.is_some() && changed {
            return self.write(machine, outcome, text);
        }
        if self.path.is_none() {
            outcome = outcome.with("xmlstring", text);
        }
        Ok(outcome)
    }

    fn write(&self, machine: &mut Machine, mut outcome: Outcome, text: String) -> ModuleResult {
        let Some(path) = &self.path else {
            return Ok(outcome);
        };
        if self.args.backup && !machine.is_check() {
            let backup = machine.backup(path)?;
            outcome = outcome.with("backup_file", backup.display().to_string());
        }
        let path = machine.real_path(path)?;
        let content = Content::Bytes(text.into_bytes());
        machine.write(&path, content, &NewFile::default())?;
        Ok(outcome)
    }
}

/// Writes what counts as a change: neither blanks that lay out nor the marks of CDATA.
fn compared(tree: &Tree) -> String {
    let mut tree = tree.clone();
    tree.drop_blanks(tree.root);
    tree.drop_cdata();
    writing::alone(&tree, tree.root)
}
