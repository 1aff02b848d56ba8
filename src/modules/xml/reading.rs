//! The text of a document, read to a tree. Pure.
//!
//! Reads no file that a document names: neither a DTD nor an entity from outside.

use std::collections::HashMap;

use encoding_rs::Encoding;
use quick_xml::Reader;
use quick_xml::events::{BytesStart, Event};

use super::tree::{Content, Element, Id, Name, Tree};

/// As deep as libxml2 reads.
const DEEPEST: usize = 256;

/// As much as entities may add: they can name one another, and so grow without end.
const MOST_EXPANDED: usize = 10_000_000;

const XML: &str = "http://www.w3.org/XML/1998/namespace";

/// Reads a document; the error says what is wrong, and where.
pub(super) fn read(bytes: &[u8]) -> Result<Tree, String> {
    let text = decoded(bytes)?;
    let mut reading = Reading::default();
    let mut reader = Reader::from_str(&text);
    reader.config_mut().enable_all_checks(true);
    loop {
        let at = reader.buffer_position();
        let done = match reader.read_event() {
            Ok(event) => reading.take(event),
            Err(error) => Err(error.to_string()),
        };
        match done {
            Ok(true) => {}
            Ok(false) => break,
            Err(why) => return Err(format!("{why}, {}", place(&text, at))),
        }
    }
    Ok(reading.tree)
}

fn place(text: &str, at: u64) -> String {
    let at = usize::try_from(at).unwrap_or(usize::MAX).min(text.len());
    let before = String::from_utf8_lossy(&text.as_bytes()[..at]);
    let line = before.matches('\n').count() + 1;
    let column = before
        .rsplit('\n')
        .next()
        .map_or(0, |last| last.chars().count())
        + 1;
    format!("line {line}, column {column}")
}

/// Makes text of bytes, in the encoding they say, with ends of lines as XML has them.
fn decoded(bytes: &[u8]) -> Result<String, String> {
    let head = String::from_utf8_lossy(&bytes[..bytes.len().min(256)]).into_owned();
    let named = head
        .starts_with("<?xml")
        .then(|| head.split_once("encoding"))
        .flatten()
        .and_then(|(_, rest)| rest.split(['"', '\'']).nth(1));
    let encoding = match (Encoding::for_bom(bytes), named) {
        (Some((encoding, _)), _) => encoding,
        (None, Some(name)) => Encoding::for_label(name.as_bytes())
            .ok_or_else(|| format!("Unsupported encoding: {name}"))?,
        (None, None) => encoding_rs::UTF_8,
    };
    let (text, _, has_errors) = encoding.decode(bytes);
    if has_errors {
        return Err(format!("input is not in the encoding {}", encoding.name()));
    }
    Ok(text.replace("\r\n", "\n").replace('\r', "\n"))
}

#[derive(Default)]
struct Reading {
    tree: Tree,
    open: Vec<Id>,
    has_root: bool,
    entities: HashMap<String, String>,
    /// Letters that came of entities so far.
    n_expanded: usize,
}

impl Reading {
    /// Takes one piece of the document; `false` at its end.
    fn take(&mut self, event: Event<'_>) -> Result<bool, String> {
        match event {
            Event::Start(start) => {
                let id = self.start(&start)?;
                self.open.push(id);
                if self.open.len() > DEEPEST {
                    return Err(format!("Excessive depth in document: {DEEPEST}"));
                }
            }
            Event::Empty(start) => {
                self.start(&start)?;
            }
            Event::End(_) => {
                self.open.pop();
            }
            Event::Text(text) => self.text(&text, false)?,
            Event::CData(text) => self.text(&text, true)?,
            Event::GeneralRef(name) => {
                let text = self.resolved(&name)?;
                self.text(&text, false)?;
            }
            Event::Comment(text) => self.beside(Content::Comment(text.to_string())),
            Event::PI(instruction) => self.beside(Content::Instruction {
                target: instruction.target().to_owned(),
                text: instruction.content().trim_start().to_owned(),
            }),
            Event::DocType(text) => self.doctype(&text)?,
            Event::Decl(_) => {}
            Event::Eof => {
                return match self.open.last().and_then(|id| self.tree.element(*id)) {
                    Some(element) => Err(format!(
                        "Premature end of data in tag {}",
                        element.name.written()
                    )),
                    None if !self.has_root => Err("Document is empty".into()),
                    None => Ok(false),
                };
            }
        }
        Ok(true)
    }

    fn start(&mut self, start: &BytesStart<'_>) -> Result<Id, String> {
        let mut element = Element::default();
        let mut attributes = Vec::new();
        for attribute in start.attributes() {
            let attribute = attribute.map_err(|error| error.to_string())?;
            let name: &str = attribute.key.as_ref();
            let value = self.value(&attribute.value)?;
            if name == "xmlns" {
                element.declared.push((String::new(), value));
            } else if let Some(prefix) = name.strip_prefix("xmlns:") {
                element.declared.push((prefix.to_owned(), value));
            } else {
                attributes.push((name.to_owned(), value));
            }
        }
        let mut scope = element.declared.clone();
        if let Some(around) = self.open.last() {
            scope.extend(self.tree.in_scope(*around));
        }
        let written: &str = start.name().into_inner();
        element.name = named(written, &scope, true)?;
        for (name, value) in attributes {
            let name = named(&name, &scope, false)?;
            if element
                .attributes
                .iter()
                .any(|(known, _)| known.clark() == name.clark())
            {
                return Err(format!("Attribute {} redefined", name.written()));
            }
            element.attributes.push((name, value));
        }
        let id = self.tree.add(Content::Element(element));
        match self.open.last() {
            Some(parent) => self.tree.push(*parent, id),
            None if self.has_root => return Err("Extra content at the end of the document".into()),
            None => {
                self.has_root = true;
                self.tree.root = id;
                self.tree.top.push(id);
            }
        }
        Ok(id)
    }

    /// Adds text where there is an element around it.
    fn text(&mut self, text: &str, is_cdata: bool) -> Result<(), String> {
        let Some(parent) = self.open.last().copied() else {
            return match text.trim() {
                "" => Ok(()),
                _ if self.has_root => Err("Extra content at the end of the document".into()),
                _ => Err("Start tag expected, '<' not found".into()),
            };
        };
        if !is_cdata
            && let Some(last) = self.tree.children(parent).last().copied()
            && let Content::Text {
                text: before,
                is_cdata: false,
            } = self.tree.content_mut(last)
        {
            before.push_str(text);
            return Ok(());
        }
        if !text.is_empty() || is_cdata {
            let text = text.to_owned();
            let id = self.tree.add(Content::Text { text, is_cdata });
            self.tree.push(parent, id);
        }
        Ok(())
    }

    /// Adds what may also stand outside the root.
    fn beside(&mut self, content: Content) {
        let id = self.tree.add(content);
        match self.open.last() {
            Some(parent) => self.tree.push(*parent, id),
            None => self.tree.top.push(id),
        }
    }

    /// Returns an attribute's value: blanks are spaces, references what they stand for.
    fn value(&mut self, written: &str) -> Result<String, String> {
        let mut out = String::new();
        let mut rest = written;
        while let Some(at) = rest.find('&') {
            out.push_str(&rest[..at].replace(['\n', '\t'], " "));
            let (name, after) = rest[at + 1..]
                .split_once(';')
                .ok_or("EntityRef: expecting ';'")?;
            out.push_str(&self.resolved(name)?);
            rest = after;
        }
        if rest.contains('<') || written.contains('<') {
            return Err("Unescaped '<' not allowed in attributes values".into());
        }
        out.push_str(&rest.replace(['\n', '\t'], " "));
        Ok(out)
    }

    /// Returns what a reference stands for.
    fn resolved(&mut self, name: &str) -> Result<String, String> {
        if let Some(letter) = letter(name)? {
            return Ok(letter.into());
        }
        let Some(text) = self.entities.get(name) else {
            return Err(format!("Entity '{name}' not defined"));
        };
        self.n_expanded += text.len();
        if self.n_expanded > MOST_EXPANDED {
            return Err("Maximum entity amplification factor exceeded".into());
        }
        Ok(text.clone())
    }

    /// Keeps the document's type, and the entities it declares.
    fn doctype(&mut self, text: &str) -> Result<(), String> {
        let text = text.trim();
        let Some((head, inside)) = text.split_once('[') else {
            self.tree.doctype = Some(format!("<!DOCTYPE {text}>"));
            return Ok(());
        };
        let inside = inside.trim_end().trim_end_matches(']');
        let mut written = format!("<!DOCTYPE {} [\n", head.trim_end());
        for declaration in declarations(inside)? {
            if let Some((name, value)) = entity(declaration) {
                let value = self.value(value)?;
                self.entities.entry(name.to_owned()).or_insert(value);
            }
            written.push_str(declaration);
            written.push('\n');
        }
        self.tree.doctype = Some(written + "]>");
        Ok(())
    }
}

/// Splits what a document's type declares.
fn declarations(text: &str) -> Result<Vec<&str>, String> {
    let mut all = Vec::new();
    let mut rest = text.trim();
    while !rest.is_empty() {
        let end = if rest.starts_with("<!--") {
            rest.find("-->").map(|at| at + 3)
        } else {
            let mut quote = None;
            rest.char_indices().find_map(|(at, letter)| {
                match (quote, letter) {
                    (Some(open), letter) if open == letter => quote = None,
                    (None, '"' | '\'') => quote = Some(letter),
                    (None, '>') => return Some(at + 1),
                    _ => {}
                }
                None
            })
        };
        let end = end.ok_or("internal error: the document's type has no end")?;
        all.push(&rest[..end]);
        rest = rest[end..].trim_start();
    }
    Ok(all)
}

/// Reads `<!ENTITY name "value">`; one from outside is none.
fn entity(declaration: &str) -> Option<(&str, &str)> {
    let rest = declaration.strip_prefix("<!ENTITY")?.trim_start();
    let (name, rest) = rest.split_once(char::is_whitespace)?;
    let rest = rest.trim_start();
    let quote = rest
        .chars()
        .next()
        .filter(|letter| "\"'".contains(*letter))?;
    let (value, _) = rest[1..].split_once(quote)?;
    Some((name, value))
}

/// Returns the letter that a reference stands for; none where it is an entity's.
pub(in crate::modules) fn letter(name: &str) -> Result<Option<char>, String> {
    let letter = match name {
        "amp" => Some('&'),
        "lt" => Some('<'),
        "gt" => Some('>'),
        "quot" => Some('"'),
        "apos" => Some('\''),
        _ => None,
    };
    let Some(number) = name.strip_prefix('#') else {
        return Ok(letter);
    };
    let code = match number.strip_prefix('x') {
        Some(digits) => u32::from_str_radix(digits, 16),
        None => number.parse(),
    };
    match code.ok().and_then(char::from_u32) {
        None | Some('\0') => Err(format!("xmlParseCharRef: invalid {name}")),
        letter => Ok(letter),
    }
}

/// Finds a name's namespace.
fn named(written: &str, scope: &[(String, String)], is_element: bool) -> Result<Name, String> {
    let (prefix, local) = written.split_once(':').unwrap_or(("", written));
    if !is_name(local) || (written.contains(':') && !is_name(prefix)) {
        return Err(format!("StartTag: invalid element name `{written}`"));
    }
    let uri = match prefix {
        "" if !is_element => "",
        "xml" => XML,
        prefix => match scope.iter().find(|(known, _)| known == prefix) {
            Some((_, uri)) => uri,
            None if prefix.is_empty() => "",
            None => {
                return Err(format!(
                    "Namespace prefix {prefix} on {local} is not defined"
                ));
            }
        },
    };
    Ok(Name {
        prefix: prefix.to_owned(),
        local: local.to_owned(),
        uri: uri.to_owned(),
    })
}

/// Tells whether a text may name an element.
pub(super) fn is_name(text: &str) -> bool {
    let is_first = |letter: char| letter.is_alphabetic() || letter == '_';
    text.starts_with(is_first)
        && text
            .chars()
            .all(|letter| is_first(letter) || letter.is_numeric() || "-.\u{b7}".contains(letter))
}

#[cfg(test)]
mod tests {
    use super::super::writing::document;
    use super::*;

    fn written(text: &str, is_pretty: bool) -> String {
        match read(text.as_bytes()) {
            Ok(mut tree) => {
                if is_pretty {
                    tree.drop_blanks(tree.root);
                }
                let text = document(&tree, is_pretty);
                let (_, rest) = text.split_once('\n').unwrap();
                rest.to_owned()
            }
            Err(why) => why,
        }
    }

    /// Recorded from lxml 6.1 with libxml2 2.14.
    #[test]
    fn a_document_is_written_as_lxml_writes_it() {
        let prolog = "<?xml version=\"1.0\"?>\n<!DOCTYPE a SYSTEM \"x.dtd\">\n<!-- c --><?pi x?>\n\
                      <a b='1\"2'>x &amp; &lt; &gt; \r\n y<b/><c></c> <d>t</d></a>\n<!-- e -->\n";
        let subset = "<!DOCTYPE a [\n<!ENTITY f \"foo\">\n<!ELEMENT a ANY>]><a>&f;</a>";
        let spaces = "<!DOCTYPE a PUBLIC \"-//X\" \"u\"><a xmlns=\"u\" xmlns:p=\"q\" \
                      p:z=\"1&#10;2&#9;3\"><p:b/></a>";
        let blanks = "<a>  <b>  </b>  <c> x <d/> </c> <e><!-- k --></e> <f><![CDATA[<x>]]></f></a>";
        for (text, plain, pretty) in [
            (
                prolog,
                "<!DOCTYPE a SYSTEM \"x.dtd\">\n<!-- c --><?pi x?><a b=\"1&quot;2\">x &amp; &lt; \
                 &gt; \n y<b/><c/> <d>t</d></a><!-- e -->",
                "<!DOCTYPE a SYSTEM \"x.dtd\">\n<!-- c -->\n<?pi x?>\n<a b=\"1&quot;2\">x &amp; \
                 &lt; &gt; \n y<b/><c/> <d>t</d></a>\n<!-- e -->\n",
            ),
            (
                subset,
                "<!DOCTYPE a [\n<!ENTITY f \"foo\">\n<!ELEMENT a ANY>\n]>\n<a>foo</a>",
                "<!DOCTYPE a [\n<!ENTITY f \"foo\">\n<!ELEMENT a ANY>\n]>\n<a>foo</a>\n",
            ),
            (
                spaces,
                "<!DOCTYPE a PUBLIC \"-//X\" \"u\">\n<a xmlns=\"u\" xmlns:p=\"q\" \
                 p:z=\"1&#10;2&#9;3\"><p:b/></a>",
                "<!DOCTYPE a PUBLIC \"-//X\" \"u\">\n<a xmlns=\"u\" xmlns:p=\"q\" \
                 p:z=\"1&#10;2&#9;3\">\n  <p:b/>\n</a>\n",
            ),
            (
                blanks,
                blanks,
                "<a>\n  <b>  </b>\n  <c> x <d/> </c>\n  <e>\n    <!-- k -->\n  </e>\n  \
                 <f><![CDATA[<x>]]></f>\n</a>\n",
            ),
            (
                "<a>é &#233; &#xD; </a>",
                "<a>é é &#13; </a>",
                "<a>é é &#13; </a>\n",
            ),
            (
                "<a>x</a> \n\n<!-- q -->\n<?z?>  ",
                "<a>x</a><!-- q --><?z?>",
                "<a>x</a>\n<!-- q -->\n<?z?>\n",
            ),
        ] {
            assert_eq!(written(text, false), plain);
            assert_eq!(written(text, true), pretty);
        }
    }

    #[test]
    fn a_document_may_be_in_other_encodings() {
        let mut utf16 = vec![0xff, 0xfe];
        utf16.extend("<a>é</a>".encode_utf16().flat_map(u16::to_le_bytes));
        let latin = b"<?xml version=\"1.0\" encoding=\"ISO-8859-1\"?><a>\xe9</a>";
        for bytes in [utf16.as_slice(), latin, b"\xef\xbb\xbf<a>\xc3\xa9</a>"] {
            let tree = read(bytes).unwrap();
            assert_eq!(tree.text(tree.root).unwrap(), "é");
        }
        assert_eq!(
            read(b"<a>\xe9</a>").unwrap_err(),
            "input is not in the encoding UTF-8"
        );
    }

    #[test]
    fn what_is_no_document_is_said_with_its_place() {
        for (text, why) in [
            ("", "Document is empty, line 1, column 1"),
            ("x", "Start tag expected, '<' not found, line 1, column 1"),
            (
                "<a>\n&nope;</a>",
                "Entity 'nope' not defined, line 2, column 1",
            ),
            (
                "<a/><b/>",
                "Extra content at the end of the document, line 1, column 5",
            ),
            (
                "<p:a/>",
                "Namespace prefix p on a is not defined, line 1, column 1",
            ),
            ("<a><b>", "Premature end of data in tag b, line 1, column 7"),
            (
                "<a b='1' xmlns:x='u' xmlns:y='u' x:b='2' y:b='3'/>",
                "Attribute y:b redefined, line 1, column 1",
            ),
            (
                "<a b='<'/>",
                "Unescaped '<' not allowed in attributes values, line 1, column 1",
            ),
            (
                "<!DOCTYPE a [<!ENTITY f SYSTEM \"/etc/passwd\">]><a>&f;</a>",
                "Entity 'f' not defined, line 1, column 51",
            ),
        ] {
            assert_eq!(read(text.as_bytes()).unwrap_err(), why, "{text}");
        }
        let deep = "<a>".repeat(300);
        assert_eq!(
            read(deep.as_bytes()).unwrap_err(),
            "Excessive depth in document: 256, line 1, column 769"
        );
        assert!(read(b"<a><b></a>").is_err());
        assert!(read(b"<a").is_err());
    }

    #[test]
    fn entities_that_name_one_another_do_not_grow_without_end() {
        let document = |n_entities: usize| {
            let mut text = "<!DOCTYPE a [<!ENTITY e0 \"xx\">".to_owned();
            for number in 1..n_entities {
                let last = number - 1;
                text += &format!("<!ENTITY e{number} \"&e{last};&e{last};\">");
            }
            text + &format!("]><a>&e{};</a>", n_entities - 1)
        };
        let tree = read(document(3).as_bytes()).unwrap();
        assert_eq!(tree.text(tree.root).unwrap(), "xxxxxxxx");
        assert_eq!(
            read(document(64).as_bytes()).unwrap_err(),
            "Maximum entity amplification factor exceeded, line 1, column 1"
        );
    }
}
