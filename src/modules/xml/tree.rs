//! A document as lxml sees it: elements with attributes, the texts before and after them, and what
//! stands around the root.
//!
//! A name knows its namespace by itself, as in libxml2: an element without one may stand below a
//! default namespace, and only who reads the written document takes it for one of that.

/// A node of a `Tree`.
pub(super) type Id = usize;

/// A name with its namespace.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Name {
    /// Empty for none.
    pub(super) prefix: String,
    pub(super) local: String,
    /// Empty for none.
    pub(super) uri: String,
}

impl Name {
    /// Returns the name as it is written.
    pub(super) fn written(&self) -> String {
        if self.prefix.is_empty() {
            self.local.clone()
        } else {
            format!("{}:{}", self.prefix, self.local)
        }
    }

    /// Returns the name as lxml shows it: `{namespace}name`.
    pub(super) fn clark(&self) -> String {
        if self.uri.is_empty() {
            self.local.clone()
        } else {
            format!("{{{}}}{}", self.uri, self.local)
        }
    }

    fn is(&self, (uri, local): (&str, &str)) -> bool {
        self.uri == uri && self.local == local
    }
}

/// Returns the prefix that lxml has for a well-known namespace.
fn usual_prefix(uri: &str) -> Option<&'static str> {
    Some(match uri {
        "http://www.w3.org/XML/1998/namespace" => "xml",
        "http://www.w3.org/1999/xhtml" => "html",
        "http://www.w3.org/1999/XSL/Transform" => "xsl",
        "http://www.w3.org/1999/02/22-rdf-syntax-ns#" => "rdf",
        "http://schemas.xmlsoap.org/wsdl/" => "wsdl",
        "http://www.w3.org/2001/XMLSchema" => "xs",
        "http://www.w3.org/2001/XMLSchema-instance" => "xsi",
        "http://purl.org/dc/elements/1.1/" => "dc",
        _ => return None,
    })
}

/// A name as lxml takes it, in its parts: namespace and name.
pub(super) fn parts(clark: &str) -> (&str, &str) {
    clark
        .strip_prefix('{')
        .and_then(|rest| rest.split_once('}'))
        .unwrap_or(("", clark))
}

#[derive(Clone, Debug, Default)]
pub(super) struct Element {
    pub(super) name: Name,
    /// Prefixes and their namespaces; an empty prefix is the default.
    pub(super) declared: Vec<(String, String)>,
    pub(super) attributes: Vec<(Name, String)>,
}

#[derive(Clone, Debug)]
pub(super) enum Content {
    Element(Element),
    Text { text: String, is_cdata: bool },
    Comment(String),
    Instruction { target: String, text: String },
}

#[derive(Clone, Debug)]
struct Node {
    content: Content,
    parent: Option<Id>,
    children: Vec<Id>,
}

/// A document, or a subtree that belongs to none yet.
#[derive(Clone, Debug, Default)]
pub(super) struct Tree {
    nodes: Vec<Node>,
    /// What stands outside the root, and the root.
    pub(super) top: Vec<Id>,
    pub(super) root: Id,
    /// As it is written, with its declarations one a line.
    pub(super) doctype: Option<String>,
    n_prefixes: usize,
}

impl Tree {
    /// Makes a node that stands nowhere yet.
    pub(super) fn add(&mut self, content: Content) -> Id {
        self.nodes.push(Node {
            content,
            parent: None,
            children: Vec::new(),
        });
        self.nodes.len() - 1
    }

    pub(super) fn content(&self, id: Id) -> &Content {
        &self.nodes[id].content
    }

    pub(super) fn content_mut(&mut self, id: Id) -> &mut Content {
        &mut self.nodes[id].content
    }

    pub(super) fn element(&self, id: Id) -> Option<&Element> {
        match self.content(id) {
            Content::Element(element) => Some(element),
            _ => None,
        }
    }

    fn element_mut(&mut self, id: Id) -> Option<&mut Element> {
        match &mut self.nodes[id].content {
            Content::Element(element) => Some(element),
            _ => None,
        }
    }

    pub(super) fn is_text(&self, id: Id) -> bool {
        matches!(self.content(id), Content::Text { .. })
    }

    pub(super) fn parent(&self, id: Id) -> Option<Id> {
        self.nodes[id].parent
    }

    pub(super) fn children(&self, id: Id) -> &[Id] {
        &self.nodes[id].children
    }

    /// Lists what is no text below a node.
    pub(super) fn items(&self, id: Id) -> Vec<Id> {
        let children = self.children(id).iter().copied();
        children.filter(|child| !self.is_text(*child)).collect()
    }

    /// Puts a node at the end of another, out of where it was, with the text behind it.
    pub(super) fn append(&mut self, parent: Id, child: Id) {
        self.insert(parent, usize::MAX, child);
    }

    /// Puts a node before the item of that number.
    pub(super) fn insert(&mut self, parent: Id, index: usize, child: Id) {
        let moved = self.detach(child);
        let at = self.items(parent).get(index).and_then(|item| {
            let mut children = self.children(parent).iter();
            children.position(|known| known == item)
        });
        let at = at.unwrap_or(self.children(parent).len());
        for id in &moved {
            self.nodes[*id].parent = Some(parent);
        }
        self.nodes[parent].children.splice(at..at, moved);
        if self.element(child).is_some() {
            self.settle(child);
        }
    }

    /// Takes a node out, with the text behind it, as lxml does.
    pub(super) fn detach(&mut self, id: Id) -> Vec<Id> {
        let Some(parent) = self.nodes[id].parent.take() else {
            return vec![id];
        };
        let children = &self.nodes[parent].children;
        let at = children.iter().position(|child| *child == id);
        let at = at.expect("a node is among its parent's children");
        let rest = &children[at + 1..];
        let n_texts = rest
            .iter()
            .take_while(|child| self.is_text(**child))
            .count();
        let range = at..=at + n_texts;
        self.nodes[parent].children.drain(range).collect()
    }

    /// Returns the text before the first item; none differs from an empty one.
    pub(super) fn text(&self, id: Id) -> Option<String> {
        let texts = self
            .children(id)
            .iter()
            .map_while(|child| match self.content(*child) {
                Content::Text { text, .. } => Some(text.as_str()),
                _ => None,
            });
        let texts: Vec<_> = texts.collect();
        (!texts.is_empty()).then(|| texts.concat())
    }

    pub(super) fn set_text(&mut self, id: Id, text: Option<&str>) {
        let children = self.children(id);
        let n_texts = children
            .iter()
            .take_while(|child| self.is_text(**child))
            .count();
        self.nodes[id].children.drain(..n_texts);
        if let Some(text) = text {
            let text = text.to_owned();
            let new = self.add(Content::Text {
                text,
                is_cdata: false,
            });
            self.nodes[new].parent = Some(id);
            self.nodes[id].children.insert(0, new);
        }
    }

    /// Returns an attribute by the name that lxml takes.
    pub(super) fn attribute(&self, id: Id, clark: &str) -> Option<&str> {
        let attributes = &self.element(id)?.attributes;
        let mut found = attributes.iter().filter(|(name, _)| name.is(parts(clark)));
        found.next().map(|(_, value)| value.as_str())
    }

    pub(super) fn set_attribute(&mut self, id: Id, clark: &str, value: &str) {
        let (uri, local) = parts(clark);
        let prefix = if uri.is_empty() {
            String::new()
        } else {
            self.prefix_for(id, uri, true)
        };
        let Some(element) = self.element_mut(id) else {
            return;
        };
        let mut attributes = element.attributes.iter_mut();
        match attributes.find(|(name, _)| name.is((uri, local))) {
            Some((_, old)) => value.clone_into(old),
            None => element.attributes.push((
                Name {
                    prefix,
                    local: local.to_owned(),
                    uri: uri.to_owned(),
                },
                value.to_owned(),
            )),
        }
    }

    pub(super) fn remove_attribute(&mut self, id: Id, number: usize) {
        if let Some(element) = self.element_mut(id) {
            element.attributes.remove(number);
        }
    }

    /// Makes an element of the name that lxml takes; its prefix is settled where it comes to stand.
    pub(super) fn new_element(&mut self, clark: &str) -> Id {
        let (uri, local) = parts(clark);
        let prefix = match uri {
            "" => String::new(),
            uri => usual_prefix(uri).unwrap_or("ns0").to_owned(),
        };
        let declared = if uri.is_empty() {
            Vec::new()
        } else {
            vec![(prefix.clone(), uri.to_owned())]
        };
        self.add(Content::Element(Element {
            name: Name {
                prefix,
                local: local.to_owned(),
                uri: uri.to_owned(),
            },
            declared,
            attributes: Vec::new(),
        }))
    }

    /// Takes a whole tree's root in.
    pub(super) fn adopt(&mut self, other: &Self) -> Id {
        self.adopt_below(other, other.root)
    }

    fn adopt_below(&mut self, other: &Self, id: Id) -> Id {
        let new = self.add(other.content(id).clone());
        for child in other.children(id) {
            let child = self.adopt_below(other, *child);
            self.nodes[child].parent = Some(new);
            self.nodes[new].children.push(child);
        }
        new
    }

    /// Links a child that was just read.
    pub(super) fn push(&mut self, parent: Id, child: Id) {
        self.nodes[child].parent = Some(parent);
        self.nodes[parent].children.push(child);
    }

    /// Lists the declarations that hold at an element, the nearest first.
    pub(super) fn in_scope(&self, id: Id) -> Vec<(String, String)> {
        let mut scope: Vec<(String, String)> = Vec::new();
        let mut next = Some(id);
        while let Some(id) = next {
            for (prefix, uri) in self.element(id).iter().flat_map(|it| &it.declared) {
                if !scope.iter().any(|(known, _)| known == prefix) {
                    scope.push((prefix.clone(), uri.clone()));
                }
            }
            next = self.parent(id);
        }
        scope
    }

    /// Returns a prefix for a namespace at an element, and declares one where there is none.
    fn prefix_for(&mut self, id: Id, uri: &str, needs_letters: bool) -> String {
        let scope = self.in_scope(id);
        let mut known = scope
            .iter()
            .filter(|(prefix, known)| known == uri && !(needs_letters && prefix.is_empty()));
        if let Some((prefix, _)) = known.next() {
            return prefix.clone();
        }
        let is_free = |prefix: &str| !scope.iter().any(|(known, _)| known == prefix);
        let usual = usual_prefix(uri).filter(|prefix| is_free(prefix));
        let prefix = usual.map_or_else(|| self.new_prefix(id, is_free), str::to_owned);
        if let Some(element) = self.element_mut(id) {
            element.declared.push((prefix.clone(), uri.to_owned()));
        }
        prefix
    }

    /// Returns a prefix that nobody declared here. A document counts them, a new element begins
    /// anew.
    fn new_prefix(&mut self, id: Id, is_free: impl Fn(&str) -> bool) -> String {
        let mut top = id;
        while let Some(parent) = self.parent(top) {
            top = parent;
        }
        let is_in_document = self.top.contains(&top);
        let mut number = if is_in_document { self.n_prefixes } else { 0 };
        while !is_free(&format!("ns{number}")) {
            number += 1;
        }
        if is_in_document {
            self.n_prefixes = number + 1;
        }
        format!("ns{number}")
    }

    /// Drops the declarations of a new subtree that hold where it stands, and renames what used
    /// them.
    fn settle(&mut self, id: Id) {
        let Some(parent) = self.parent(id) else {
            return;
        };
        let scope = self.in_scope(parent);
        let Some(element) = self.element_mut(id) else {
            return;
        };
        let mut renamed = Vec::new();
        element.declared.retain(|(prefix, uri)| {
            let known = scope.iter().find(|(_, known)| known == uri);
            if let Some((known, _)) = known {
                renamed.push((uri.clone(), prefix.clone(), known.clone()));
            }
            known.is_none()
        });
        if !renamed.is_empty() {
            self.rename(id, &renamed);
        }
    }

    fn rename(&mut self, id: Id, renamed: &[(String, String, String)]) {
        let Some(element) = self.element_mut(id) else {
            return;
        };
        let new = |name: &Name| {
            let mut all = renamed.iter();
            all.find(|(uri, old, _)| *uri == name.uri && *old == name.prefix)
                .map(|(_, _, new)| new.clone())
        };
        if let Some(prefix) = new(&element.name) {
            element.name.prefix = prefix;
        }
        let mut bare = Vec::new();
        for (number, (name, _)) in element.attributes.iter_mut().enumerate() {
            match new(name) {
                Some(prefix) if prefix.is_empty() => bare.push(number),
                Some(prefix) => name.prefix = prefix,
                None => {}
            }
        }
        // An attribute has no default namespace.
        for number in bare {
            let uri = self
                .element(id)
                .map(|it| it.attributes[number].0.uri.clone());
            let prefix = self.prefix_for(id, &uri.unwrap_or_default(), true);
            if let Some(element) = self.element_mut(id) {
                element.attributes[number].0.prefix = prefix;
            }
        }
        for child in self.children(id).to_vec() {
            self.rename(child, renamed);
        }
    }

    /// Drops the blanks that only lay elements out, as libxml2 does.
    pub(super) fn drop_blanks(&mut self, id: Id) {
        let is_kept =
            self.attribute(id, "{http://www.w3.org/XML/1998/namespace}space") == Some("preserve");
        if is_kept {
            return;
        }
        let children = self.children(id).to_vec();
        let mut kept: Vec<Id> = Vec::new();
        for (number, child) in children.iter().enumerate() {
            let is_blank = matches!(self.content(*child), Content::Text { text, is_cdata: false }
                if text.chars().all(|letter| " \t\n\r".contains(letter)));
            let is_alone = kept.is_empty() && number + 1 == children.len();
            let is_text = |id: Option<&Id>| id.is_some_and(|id| self.is_text(*id));
            if !is_blank || is_alone || is_text(kept.last()) || is_text(kept.first()) {
                kept.push(*child);
            }
        }
        self.nodes[id].children = kept;
        for child in children {
            self.drop_blanks(child);
        }
    }

    /// Makes plain text of CDATA.
    pub(super) fn drop_cdata(&mut self) {
        for node in &mut self.nodes {
            if let Content::Text { is_cdata, .. } = &mut node.content {
                *is_cdata = false;
            }
        }
    }

    /// Returns the path that libxml2 gives a node.
    pub(super) fn path(&self, id: Id) -> String {
        let mut path = String::new();
        let mut next = Some(id);
        while let Some(id) = next {
            let parent = self.parent(id);
            let siblings = parent.map_or(self.top.as_slice(), |parent| self.children(parent));
            path = format!("/{}{path}", self.step(id, siblings));
            next = parent;
        }
        path
    }

    fn step(&self, id: Id, siblings: &[Id]) -> String {
        let (name, alike): (String, Vec<Id>) = match self.content(id) {
            Content::Element(element) => {
                let is_any = !element.name.uri.is_empty() && element.name.prefix.is_empty();
                let is_alike = |other: &Id| {
                    let other = self.element(*other);
                    other.is_some_and(|other| is_any || other.name == element.name)
                };
                let name = if is_any {
                    "*".to_owned()
                } else {
                    element.name.written()
                };
                (name, siblings.iter().copied().filter(is_alike).collect())
            }
            Content::Comment(_) => {
                let is_alike = |other: &Id| matches!(self.content(*other), Content::Comment(_));
                let alike = siblings.iter().copied().filter(is_alike).collect();
                ("comment()".to_owned(), alike)
            }
            Content::Instruction { target, .. } => {
                let is_alike = |other: &Id| {
                    matches!(self.content(*other), Content::Instruction { target: other, .. }
                        if other == target)
                };
                let alike = siblings.iter().copied().filter(is_alike).collect();
                (format!("processing-instruction('{target}')"), alike)
            }
            Content::Text { .. } => {
                let alike = siblings
                    .iter()
                    .copied()
                    .filter(|it| self.is_text(*it))
                    .collect();
                ("text()".to_owned(), alike)
            }
        };
        match alike.iter().position(|other| *other == id) {
            Some(at) if alike.len() > 1 => format!("{name}[{}]", at + 1),
            _ => name,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::reading::read;
    use super::super::writing::alone;

    /// Recorded from lxml 6.1.
    #[test]
    fn namespaces_get_lxmls_prefixes() {
        let mut tree = read(b"<a xmlns=\"u\"><b/></a>").unwrap();
        let root = tree.root;
        let child = tree.items(root)[0];
        tree.set_attribute(root, "{u}k", "1");
        tree.set_attribute(child, "{z}q", "1");
        tree.set_attribute(root, "{y}q", "1");
        assert_eq!(
            alone(&tree, root),
            r#"<a xmlns="u" xmlns:ns0="u" xmlns:ns2="y" ns0:k="1" ns2:q="1"><b xmlns:ns1="z" ns1:q="1"/></a>"#
        );
        let mut tree = read(b"<a><b/></a>").unwrap();
        let root = tree.root;
        let new = tree.new_element("{v}n");
        tree.set_attribute(new, "{v}k", "1");
        tree.set_attribute(new, "{w}k", "1");
        for name in ["{w}m", "{q}m"] {
            let inner = tree.new_element(name);
            tree.append(new, inner);
        }
        tree.append(root, new);
        tree.set_attribute(root, "{http://www.w3.org/2001/XMLSchema-instance}t", "1");
        assert_eq!(
            alone(&tree, root),
            r#"<a xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance" xsi:t="1"><b/><ns0:n xmlns:ns0="v" xmlns:ns1="w" ns0:k="1" ns1:k="1"><ns1:m/><ns0:m xmlns:ns0="q"/></ns0:n></a>"#
        );
    }

    #[test]
    fn an_element_takes_the_text_behind_it_along() {
        let mut tree = read(b"<a>0<b/>1<c/>2</a>").unwrap();
        let root = tree.root;
        let first = tree.items(root)[0];
        tree.append(root, first);
        assert_eq!(alone(&tree, root), "<a>0<c/>2<b/>1</a>");
        tree.detach(first);
        assert_eq!(alone(&tree, root), "<a>0<c/>2</a>");
        tree.set_text(root, None);
        assert_eq!(
            (tree.text(root), alone(&tree, root)),
            (None, "<a><c/>2</a>".into())
        );
    }
}
