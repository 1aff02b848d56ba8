//! What an `XPath` expression finds in a tree: the crate's document is made of the tree for each
//! question, and its answers are told in the tree's nodes.

use std::collections::HashMap;

use sxd_document::dom::{self, ChildOfElement, ChildOfRoot, Document};
use sxd_document::{Package, QName};
use sxd_xpath::nodeset::Node;
use sxd_xpath::{Context, Factory, Value, XPath};

use super::tree::{Content, Element, Id, Tree};

/// One thing found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Found {
    /// An element, a comment or an instruction.
    Node(Id),
    /// An element's attribute, by its number.
    Attribute(Id, usize),
    Text,
    /// The document itself, or a declaration of a namespace.
    Other,
}

/// What an expression comes to.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Answer {
    Nodes(Vec<Found>),
    Number(f64),
    Boolean(bool),
    Text(String),
}

impl Answer {
    /// Tells whether Python takes it for true.
    pub(super) fn is_truthy(&self) -> bool {
        match self {
            Self::Nodes(nodes) => !nodes.is_empty(),
            Self::Number(number) => *number != 0.0,
            Self::Boolean(value) => *value,
            Self::Text(text) => !text.is_empty(),
        }
    }

    /// Names the type as Python does.
    pub(super) const fn python_type(&self) -> &'static str {
        match self {
            Self::Nodes(_) => "list",
            Self::Number(_) => "float",
            Self::Boolean(_) => "bool",
            Self::Text(_) => "_ElementUnicodeResult",
        }
    }
}

/// Prefixes that expressions may use, and their namespaces.
pub(super) type Prefixes = Vec<(String, String)>;

/// Reads an expression.
fn compiled(expression: &str) -> Result<XPath, String> {
    match Factory::new().build(expression) {
        Ok(Some(compiled)) => Ok(compiled),
        _ => Err("Invalid expression".into()),
    }
}

/// Checks an expression before there is a document.
pub(super) fn check(expression: &str) -> Result<(), String> {
    compiled(expression).map(drop)
}

/// Evaluates an expression at a node.
pub(super) fn evaluate(
    tree: &Tree,
    at: Id,
    expression: &str,
    prefixes: &Prefixes,
) -> Result<Answer, String> {
    let compiled = compiled(expression)?;
    let is_known = |prefix: &str| prefix == "xml" || prefixes.iter().any(|(it, _)| it == prefix);
    // The crate panics where it meets one.
    if !prefixes_of(expression).into_iter().all(is_known) {
        return Err("Undefined namespace prefix".into());
    }
    let package = Package::new();
    let mut known = Known::default();
    let root = package.as_document().root();
    for id in &tree.top {
        match known.make(tree, *id, package.as_document()) {
            Some(ChildOfElement::Element(it)) => root.append_child(ChildOfRoot::Element(it)),
            Some(ChildOfElement::Comment(it)) => root.append_child(ChildOfRoot::Comment(it)),
            Some(ChildOfElement::ProcessingInstruction(it)) => {
                root.append_child(ChildOfRoot::ProcessingInstruction(it));
            }
            Some(ChildOfElement::Text(_)) | None => {}
        }
    }
    let top = topmost(tree, at);
    if !tree.top.contains(&top) {
        // A subtree that stands nowhere yet is asked about, too.
        known.make(tree, top, package.as_document());
    }
    let mut elements = known.elements.iter();
    let start = elements
        .find(|(_, id)| **id == at)
        .map(|(element, _)| *element);
    let start = start.ok_or("the context is no element")?;
    let mut context = Context::new();
    for (prefix, uri) in prefixes {
        context.set_namespace(prefix, uri);
    }
    context.set_namespace("xml", "http://www.w3.org/XML/1998/namespace");
    Ok(
        match compiled
            .evaluate(&context, start)
            .map_err(|error| wrong(&error))?
        {
            Value::Boolean(value) => Answer::Boolean(value),
            Value::Number(value) => Answer::Number(value),
            Value::String(text) => Answer::Text(text),
            Value::Nodeset(nodes) => {
                let nodes = nodes.document_order();
                Answer::Nodes(
                    nodes
                        .into_iter()
                        .map(|node| known.found(tree, node))
                        .collect(),
                )
            }
        },
    )
}

/// Lists the prefixes that an expression uses: what stands before a lone colon, outside of texts.
fn prefixes_of(expression: &str) -> Vec<&str> {
    let is_in_name = |letter: char| letter.is_alphanumeric() || "_-.".contains(letter);
    // Every second part stands between quotes.
    let mut bare = Vec::new();
    let mut rest = expression;
    while let Some(at) = rest.find(['"', '\'']) {
        let quote = &rest[at..=at];
        bare.push(&rest[..at]);
        rest = rest[at + 1..]
            .split_once(quote)
            .map_or("", |(_, after)| after);
    }
    bare.push(rest);
    let mut prefixes = Vec::new();
    for text in bare {
        for (at, _) in text.match_indices(':') {
            let (before, after) = (&text[..at], &text[at + 1..]);
            if before.ends_with(':') || after.starts_with(':') {
                continue;
            }
            let start = before.trim_end_matches(is_in_name).len();
            prefixes.push(&before[start..]);
        }
    }
    prefixes
}

fn topmost(tree: &Tree, id: Id) -> Id {
    tree.parent(id).map_or(id, |parent| topmost(tree, parent))
}

/// Says in libxml2's words what is wrong with an expression.
fn wrong(error: &sxd_xpath::ExecutionError) -> String {
    let why = error.to_string();
    let lower = why.to_lowercase();
    if lower.contains("unknown variable") {
        "Undefined variable".into()
    } else if lower.contains("unknown function") {
        "Unregistered function".into()
    } else {
        why
    }
}

/// The crate's nodes, and the tree's they were made of.
#[derive(Default)]
struct Known<'d> {
    elements: HashMap<dom::Element<'d>, Id>,
    comments: HashMap<dom::Comment<'d>, Id>,
    instructions: HashMap<dom::ProcessingInstruction<'d>, Id>,
}

impl<'d> Known<'d> {
    fn make(&mut self, tree: &Tree, id: Id, document: Document<'d>) -> Option<ChildOfElement<'d>> {
        Some(match tree.content(id) {
            Content::Text { text, .. } if text.is_empty() => return None,
            Content::Text { text, .. } => ChildOfElement::Text(document.create_text(text)),
            Content::Comment(text) => {
                let comment = document.create_comment(text);
                self.comments.insert(comment, id);
                ChildOfElement::Comment(comment)
            }
            Content::Instruction { target, text } => {
                let text = (!text.is_empty()).then_some(text.as_str());
                let instruction = document.create_processing_instruction(target, text);
                self.instructions.insert(instruction, id);
                ChildOfElement::ProcessingInstruction(instruction)
            }
            Content::Element(element) => {
                let made = made(element, document);
                self.elements.insert(made, id);
                for child in tree.children(id) {
                    if let Some(child) = self.make(tree, *child, document) {
                        made.append_child(child);
                    }
                }
                ChildOfElement::Element(made)
            }
        })
    }

    fn found(&self, tree: &Tree, node: Node<'d>) -> Found {
        let id = match node {
            Node::Element(element) => self.elements.get(&element),
            Node::Comment(comment) => self.comments.get(&comment),
            Node::ProcessingInstruction(instruction) => self.instructions.get(&instruction),
            Node::Attribute(attribute) => {
                let id = attribute
                    .parent()
                    .and_then(|it| self.elements.get(&it).copied());
                let number = id.and_then(|id| {
                    let mut all = tree.element(id)?.attributes.iter();
                    all.position(|(name, _)| qualified(&name.uri, &name.local) == attribute.name())
                });
                return match (id, number) {
                    (Some(id), Some(number)) => Found::Attribute(id, number),
                    _ => Found::Other,
                };
            }
            Node::Text(_) => return Found::Text,
            Node::Root(_) | Node::Namespace(_) => None,
        };
        id.map_or(Found::Other, |id| Found::Node(*id))
    }
}

fn qualified<'n>(uri: &'n str, local: &'n str) -> QName<'n> {
    if uri.is_empty() {
        QName::new(local)
    } else {
        QName::with_namespace_uri(Some(uri), local)
    }
}

fn made<'d>(element: &Element, document: Document<'d>) -> dom::Element<'d> {
    let name = &element.name;
    let made = document.create_element(qualified(&name.uri, &name.local));
    let prefix = |prefix: &str| (!prefix.is_empty()).then(|| prefix.to_owned());
    made.set_preferred_prefix(prefix(&name.prefix).as_deref());
    for (prefix, uri) in &element.declared {
        if prefix.is_empty() {
            made.set_default_namespace_uri(Some(uri));
        } else {
            made.register_prefix(prefix, uri);
        }
    }
    for (name, value) in &element.attributes {
        let attribute = made.set_attribute_value(qualified(&name.uri, &name.local), value);
        attribute.set_preferred_prefix(prefix(&name.prefix).as_deref());
    }
    made
}

#[cfg(test)]
mod tests {
    use super::super::reading::read;
    use super::*;

    const TEXT: &str = "<a xmlns:n='u'><b/><b k='1'><c x='1'/></b><!-- x --><n:b>t</n:b></a>";

    fn asked(expression: &str) -> Result<Answer, String> {
        let tree = read(TEXT.as_bytes()).unwrap();
        let prefixes = vec![("p".to_owned(), "u".to_owned())];
        evaluate(&tree, tree.root, expression, &prefixes)
    }

    fn paths(expression: &str) -> Vec<String> {
        let tree = read(TEXT.as_bytes()).unwrap();
        let Ok(Answer::Nodes(nodes)) = asked(expression) else {
            panic!("{expression}");
        };
        nodes
            .into_iter()
            .map(|found| match found {
                Found::Node(id) => tree.path(id),
                Found::Attribute(id, number) => {
                    let (name, _) = &tree.element(id).unwrap().attributes[number];
                    format!("{}/@{}", tree.path(id), name.written())
                }
                Found::Text => "text".into(),
                Found::Other => "other".into(),
            })
            .collect()
    }

    #[test]
    fn nodes_are_found_where_lxml_finds_them() {
        assert_eq!(paths("/a/b"), ["/a/b[1]", "/a/b[2]"]);
        assert_eq!(paths("//c"), ["/a/b[2]/c"]);
        assert_eq!(paths("b"), ["/a/b[1]", "/a/b[2]"]);
        assert_eq!(paths("a"), [""; 0]);
        assert_eq!(paths("/a/comment()"), ["/a/comment()"]);
        assert_eq!(paths("//@*"), ["/a/b[2]/@k", "/a/b[2]/c/@x"]);
        assert_eq!(paths("//p:b"), ["/a/n:b"]);
        assert_eq!(paths("//p:b/text()"), ["text"]);
        assert_eq!(paths("/a/b[c/@x='1' and position()=2]/c"), ["/a/b[2]/c"]);
        assert_eq!(asked("count(//b)"), Ok(Answer::Number(2.0)));
        assert_eq!(asked("string(//@k)"), Ok(Answer::Text("1".into())));
        assert_eq!(asked("//b = 'x'"), Ok(Answer::Boolean(false)));
    }

    #[test]
    fn prefixes_are_told_from_axes_and_texts() {
        let expression = "/p:a/child::b[@q:k = 'r:x' and . != \"s:y\"]/following::t-1:*";
        assert_eq!(prefixes_of(expression), ["p", "q", "t-1"]);
    }

    #[test]
    fn what_is_wrong_with_an_expression_is_said_in_libxml2s_words() {
        for (expression, why) in [
            ("//q:b", "Undefined namespace prefix"),
            ("//b[@q:k='p:x']/child::p:c", "Undefined namespace prefix"),
            ("nope(1)", "Unregistered function"),
            ("$v", "Undefined variable"),
            ("/a/b/", "Invalid expression"),
            ("//[", "Invalid expression"),
            ("", "Invalid expression"),
            ("a/b c", "Invalid expression"),
        ] {
            assert_eq!(asked(expression).unwrap_err(), why, "{expression}");
        }
    }
}
