//! Builds node trees from libyaml's events: nesting, anchors, aliases and documents.
//!
//! Iterative, with a bound on depth and on what aliases expand to, so hostile text ends in an
//! error and never in a full stack or memory. What a tag or a scalar means is `construct`'s.

use std::collections::HashMap;
use std::sync::Arc;

use libyaml_safer::{Encoding, Event, EventData, Parser, ScalarStyle};

use super::construct::{self, Constructed};
use super::{Document, DuplicateKeys, ReadOptions, digestible, hint};
use crate::error::Error;
use crate::node::{Kind, Node};
use crate::source::{Mark, SourceFile};

/// Nodes may nest this deep; CPython's own limit stops Ansible at about as much.
pub(super) const MAX_DEPTH: usize = 200;
/// What the aliases of one document may expand to, in nodes.
const MAX_EXPANDED: usize = 2_000_000;

/// Which tags are known, and how duplicate keys are met.
#[derive(Clone, Copy)]
pub(super) struct Dialect {
    /// Whether `!vault` and `!unsafe` are known.
    pub(super) ansible_tags: bool,
    pub(super) options: ReadOptions,
}

/// Reads the documents of a file; with `single`, a second document is an error.
pub(super) fn read(
    file: &Arc<SourceFile>,
    dialect: Dialect,
    single: bool,
) -> Result<Vec<Document>, Vec<Error>> {
    let text = file.text.strip_prefix('\u{feff}').unwrap_or(&file.text);
    if let Some(error) = hint::unprintable(file, text) {
        return Err(vec![error]);
    }
    let mut reader = Reader::new(file, dialect, single);
    let digestible = digestible::text(text);
    if !text.ends_with('\n') {
        reader.added_break = digestible.len().checked_sub(1);
    }
    let mut bytes = digestible.as_bytes();
    let mut parser: Parser<&mut &[u8]> = Parser::new();
    parser.set_encoding(Encoding::Utf8);
    parser.set_input_string(&mut bytes);
    for event in parser {
        let step = match event {
            Ok(event) => reader.take(event),
            Err(error) => Err(hint::syntax_error(file, &error)),
        };
        if let Err(error) = step {
            reader.errors.push(error);
            break;
        }
    }
    if reader.errors.is_empty() {
        Ok(reader.documents)
    } else {
        Err(reader.errors)
    }
}

/// A finished node with what its parent must know of it.
#[derive(Clone)]
pub(super) struct Part {
    pub(super) node: Node,
    pub(super) constructed: Constructed,
    /// How many nodes a walk over it meets, aliases expanded.
    size: usize,
    depth: usize,
}

/// A collection that is still open.
struct Open {
    mark: Mark,
    anchor: Option<String>,
    tag: Option<String>,
    makes_unsafe: bool,
    size: usize,
    depth: usize,
    items: Items,
}

enum Items {
    List(Vec<Part>),
    Map(Vec<(Part, Part)>, Option<Part>),
}

/// What an anchor names.
enum Anchor {
    /// A node that is still being read.
    Open,
    Finished(Part),
}

struct Reader<'file> {
    file: &'file Arc<SourceFile>,
    dialect: Dialect,
    single: bool,
    /// The byte of a line break that was put at the end of the text.
    added_break: Option<usize>,
    open: Vec<Open>,
    anchors: HashMap<String, Anchor>,
    warnings: Vec<(String, Mark)>,
    documents: Vec<Document>,
    errors: Vec<Error>,
}

impl<'file> Reader<'file> {
    fn new(file: &'file Arc<SourceFile>, dialect: Dialect, single: bool) -> Self {
        Self {
            file,
            dialect,
            single,
            added_break: None,
            open: Vec::new(),
            anchors: HashMap::new(),
            warnings: Vec::new(),
            documents: Vec::new(),
            errors: Vec::new(),
        }
    }

    fn take(&mut self, event: Event) -> Result<(), Error> {
        let mark = mark_at(self.file, &event.start_mark);
        match event.data {
            EventData::DocumentStart { .. } if self.single && !self.documents.is_empty() => {
                return Err(
                    Error::content("expected a single document, but found another one")
                        .at(&mark)
                        .help("keep one document to a file; remove the `---` in between"),
                );
            }
            EventData::Scalar {
                anchor,
                tag,
                mut value,
                plain_implicit,
                style,
                ..
            } => {
                let is_block = matches!(style, ScalarStyle::Literal | ScalarStyle::Folded);
                if is_block && self.ends_in_added_break(&event.end_mark, &value) {
                    value.pop();
                }
                self.declare(anchor.as_deref(), &mark)?;
                let tag = real_tag(tag);
                let part = self.scalar(&value, plain_implicit, tag.as_deref(), &mark);
                self.finish(part, anchor)?;
            }
            EventData::SequenceStart { anchor, tag, .. } => {
                self.start(Items::List(Vec::new()), anchor, tag, mark)?;
            }
            EventData::MappingStart { anchor, tag, .. } => {
                self.start(Items::Map(Vec::new(), None), anchor, tag, mark)?;
            }
            EventData::SequenceEnd | EventData::MappingEnd => self.end()?,
            EventData::Alias { anchor } => self.alias(&anchor, &mark)?,
            EventData::StreamStart { .. }
            | EventData::StreamEnd
            | EventData::DocumentStart { .. }
            | EventData::DocumentEnd { .. } => {}
        }
        Ok(())
    }

    /// Tells whether a block scalar took the line break that the text itself does not have.
    fn ends_in_added_break(&self, end: &libyaml_safer::Mark, value: &str) -> bool {
        let end = usize::try_from(end.index).unwrap_or(usize::MAX);
        let Some(lines) = value.strip_suffix('\n') else {
            return false;
        };
        // Of a last line of blanks alone the scalar may have nothing, not even the break.
        let is_blank = |text: &str| {
            text.rsplit('\n')
                .next()
                .is_none_or(|line| line.trim().is_empty())
        };
        let is_taken = !is_blank(&self.file.text) || is_blank(lines);
        is_taken && self.added_break.is_some_and(|added| end >= added)
    }

    /// Notes an anchor whose node is not finished yet.
    fn declare(&mut self, anchor: Option<&str>, mark: &Mark) -> Result<(), Error> {
        let Some(name) = anchor else { return Ok(()) };
        if self
            .anchors
            .insert(name.to_string(), Anchor::Open)
            .is_some()
        {
            return Err(Error::content(format!("the anchor `&{name}` stands twice"))
                .at(mark)
                .help("give each anchor a name of its own"));
        }
        Ok(())
    }

    fn is_unsafe(&self) -> bool {
        self.open.iter().any(|open| open.makes_unsafe)
    }

    fn scalar(&mut self, text: &str, is_plain: bool, tag: Option<&str>, mark: &Mark) -> Part {
        let built = construct::scalar(text, is_plain, tag, self.dialect, mark);
        let (kind, constructed) = built.unwrap_or_else(|error| {
            self.errors.push(error);
            (Kind::Null, Constructed::Plain)
        });
        let kind = match kind {
            Kind::Text(text) if self.is_unsafe() => Kind::Unsafe(text),
            kind => kind,
        };
        Part {
            node: Node::new(mark.clone(), kind),
            constructed,
            size: 1,
            depth: 0,
        }
    }

    fn start(
        &mut self,
        items: Items,
        anchor: Option<String>,
        tag: Option<String>,
        mark: Mark,
    ) -> Result<(), Error> {
        self.declare(anchor.as_deref(), &mark)?;
        if self.open.len() >= MAX_DEPTH {
            return Err(too_deep(&mark));
        }
        let tag = real_tag(tag);
        let makes_unsafe = self.dialect.ansible_tags && tag.as_deref() == Some("!unsafe");
        let tag = if makes_unsafe { None } else { tag };
        self.open.push(Open {
            mark,
            anchor,
            tag,
            makes_unsafe,
            size: 1,
            depth: 0,
            items,
        });
        Ok(())
    }

    fn end(&mut self) -> Result<(), Error> {
        let Some(open) = self.open.pop() else {
            return Ok(());
        };
        let tag = open.tag.as_deref();
        let built = match open.items {
            Items::List(items) => construct::list(items, tag, &open.mark),
            Items::Map(pairs, _) => {
                let duplicates = self.dialect.options.duplicate_keys;
                construct::map(pairs, tag, &open.mark).and_then(|built| {
                    self.note_duplicates(built.duplicates, duplicates)?;
                    Ok(built.kind)
                })
            }
        };
        let kind = built.unwrap_or_else(|error| {
            self.errors.push(error);
            Kind::Null
        });
        let part = Part {
            node: Node::new(open.mark, kind),
            constructed: Constructed::Plain,
            size: open.size,
            depth: open.depth + 1,
        };
        self.finish(part, open.anchor)
    }

    fn note_duplicates(&mut self, keys: Vec<Node>, mode: DuplicateKeys) -> Result<(), Error> {
        for key in keys {
            match mode {
                DuplicateKeys::Ignore => {}
                DuplicateKeys::Warn => {
                    let shown = crate::value::repr(&key.to_value());
                    self.warnings
                        .push((format!("Found duplicate mapping key {shown}."), key.mark));
                }
                DuplicateKeys::Error => {
                    return Err(Error::content(format!(
                        "Found duplicate mapping key '{}'",
                        key.to_value()
                    ))
                    .at(&key.mark)
                    .help("keep one of the two"));
                }
            }
        }
        Ok(())
    }

    fn alias(&mut self, name: &str, mark: &Mark) -> Result<(), Error> {
        let part = match self.anchors.get(name) {
            Some(Anchor::Finished(part)) => part.clone(),
            Some(Anchor::Open) => {
                return Err(
                    Error::content(format!("`*{name}` stands inside the node it names"))
                        .at(mark)
                        .help("a value cannot contain itself"),
                );
            }
            None => {
                return Err(Error::content(format!(
                    "no anchor `&{name}` stands before this alias"
                ))
                .at(mark)
                .suggest(name, self.anchors.keys().map(String::as_str))
                .help("an anchor must stand before its aliases; quote the value if it is text"));
            }
        };
        let expanded: usize = self.open.iter().map(|open| open.size).sum();
        if expanded.saturating_add(part.size) > MAX_EXPANDED {
            return Err(Error::content(format!(
                "the aliases of this document expand to more than {MAX_EXPANDED} nodes"
            ))
            .at(mark)
            .help("write the data out, or nest the aliases less"));
        }
        if self.open.len() + part.depth > MAX_DEPTH {
            return Err(too_deep(mark));
        }
        self.finish(part, None)
    }

    /// Hands a finished node to the collection it stands in, or ends the document with it.
    fn finish(&mut self, part: Part, anchor: Option<String>) -> Result<(), Error> {
        if let Some(name) = anchor {
            self.anchors.insert(name, Anchor::Finished(part.clone()));
        }
        let Some(parent) = self.open.last_mut() else {
            return self.finish_document(part);
        };
        parent.size = parent.size.saturating_add(part.size);
        parent.depth = parent.depth.max(part.depth);
        match &mut parent.items {
            Items::List(items) => items.push(part),
            Items::Map(pairs, key) => match key.take() {
                None => *key = Some(part),
                Some(key) => pairs.push((key, part)),
            },
        }
        Ok(())
    }

    fn finish_document(&mut self, part: Part) -> Result<(), Error> {
        part.constructed.reject(&part.node.mark)?;
        let warnings = std::mem::take(&mut self.warnings);
        self.documents.push(Document {
            root: part.node,
            warnings,
        });
        self.anchors.clear();
        Ok(())
    }
}

/// Turns libyaml's position into a mark.
pub(super) fn mark_at(file: &Arc<SourceFile>, position: &libyaml_safer::Mark) -> Mark {
    let number = |count: u64| u32::try_from(count + 1).unwrap_or(u32::MAX);
    Mark::new(file, number(position.line), number(position.column))
}

fn too_deep(mark: &Mark) -> Error {
    Error::content(format!("collections nest more than {MAX_DEPTH} deep"))
        .at(mark)
        .help("nest the data less")
}

/// Returns a tag unless it is a lone `!`, which libyaml reads as none.
fn real_tag(tag: Option<String>) -> Option<String> {
    tag.filter(|tag| tag != "!")
}
