//! Reads JSON as Python's `json` does, with marks: Ansible tries it before YAML.
//!
//! `1e3` is a number here and text in YAML. Whatever is not JSON is left to the YAML reader,
//! whose errors are better, so this one has none.

use std::collections::HashMap;
use std::sync::Arc;

use super::reader::MAX_DEPTH;
use crate::node::{Kind, Node};
use crate::source::{Mark, SourceFile};

/// Returns the tree of a JSON object, array or string, or `None` when the text is no JSON.
pub(super) fn parse(file: &Arc<SourceFile>) -> Option<Node> {
    let text = file.text.as_str();
    if !text.trim_start().starts_with(['{', '[', '"']) {
        return None;
    }
    let mut reader = Reader {
        file,
        text,
        at: 0,
        line: 1,
        counted: 0,
        column: 1,
        depth: 0,
    };
    let root = reader.value()?;
    reader.skip_blanks();
    (reader.at == text.len()).then_some(root)
}

struct Reader<'text> {
    file: &'text Arc<SourceFile>,
    text: &'text str,
    at: usize,
    line: u32,
    /// The byte up to which characters of the line were counted, and its column.
    counted: usize,
    column: u32,
    depth: usize,
}

impl Reader<'_> {
    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn eat(&mut self, expected: &str) -> bool {
        let found = self.text[self.at..].starts_with(expected);
        if found {
            self.at += expected.len();
        }
        found
    }

    fn skip_blanks(&mut self) {
        while let Some(byte @ (b' ' | b'\t' | b'\r' | b'\n')) = self.peek() {
            self.at += 1;
            if byte == b'\n' {
                self.line += 1;
                self.counted = self.at;
                self.column = 1;
            }
        }
    }

    fn mark(&mut self) -> Mark {
        let passed = self.text[self.counted..self.at].chars().count();
        self.counted = self.at;
        self.column = self
            .column
            .saturating_add(u32::try_from(passed).unwrap_or(u32::MAX));
        Mark::new(self.file, self.line, self.column)
    }

    fn value(&mut self) -> Option<Node> {
        self.skip_blanks();
        let mark = self.mark();
        let kind = match self.peek()? {
            b'{' => self.nested(Self::object)?,
            b'[' => self.nested(Self::array)?,
            b'"' => Kind::Text(self.string()?.into()),
            b't' if self.eat("true") => Kind::Bool(true),
            b'f' if self.eat("false") => Kind::Bool(false),
            b'n' if self.eat("null") => Kind::Null,
            b'N' if self.eat("NaN") => Kind::Float(f64::NAN),
            b'I' if self.eat("Infinity") => Kind::Float(f64::INFINITY),
            b'-' if self.eat("-Infinity") => Kind::Float(f64::NEG_INFINITY),
            _ => self.number()?,
        };
        Some(Node::new(mark, kind))
    }

    fn nested(&mut self, read: fn(&mut Self) -> Option<Kind>) -> Option<Kind> {
        if self.depth >= MAX_DEPTH {
            return None;
        }
        self.depth += 1;
        self.at += 1;
        let kind = read(self);
        self.depth -= 1;
        kind
    }

    fn array(&mut self) -> Option<Kind> {
        let mut items = Vec::new();
        self.skip_blanks();
        if self.eat("]") {
            return Some(Kind::List(Arc::new(items)));
        }
        loop {
            items.push(self.value()?);
            self.skip_blanks();
            if self.eat("]") {
                return Some(Kind::List(Arc::new(items)));
            }
            self.eat(",").then_some(())?;
        }
    }

    fn object(&mut self) -> Option<Kind> {
        let mut pairs = Vec::new();
        self.skip_blanks();
        if self.eat("}") {
            return Some(Kind::Map(Arc::new(pairs)));
        }
        loop {
            self.skip_blanks();
            let mark = self.mark();
            let key = Node::text(mark, self.string()?);
            self.skip_blanks();
            self.eat(":").then_some(())?;
            pairs.push((key, self.value()?));
            self.skip_blanks();
            if self.eat("}") {
                return Some(finished(last_wins(pairs)));
            }
            self.eat(",").then_some(())?;
        }
    }

    fn string(&mut self) -> Option<String> {
        self.eat("\"").then_some(())?;
        let mut out = String::new();
        loop {
            let rest = &self.text[self.at..];
            let end = rest.find(|next: char| matches!(next, '"' | '\\') || next < ' ')?;
            out.push_str(&rest[..end]);
            self.at += end;
            if self.eat("\"") {
                return Some(out);
            }
            self.eat("\\").then_some(())?;
            out.push(self.escape()?);
        }
    }

    fn escape(&mut self) -> Option<char> {
        let letter = self.peek()?;
        self.at += 1;
        Some(match letter {
            b'"' => '"',
            b'\\' => '\\',
            b'/' => '/',
            b'b' => '\u{8}',
            b'f' => '\u{c}',
            b'n' => '\n',
            b'r' => '\r',
            b't' => '\t',
            b'u' => return self.unicode(),
            _ => return None,
        })
    }

    /// Reads the four digits behind `\u`, and the second half of a surrogate pair.
    fn unicode(&mut self) -> Option<char> {
        let unit = self.four_digits()?;
        if !(0xd800..0xe000).contains(&unit) {
            return char::from_u32(unit);
        }
        let whole = self.at;
        if unit < 0xdc00 && self.eat("\\u") {
            let low = self.four_digits()?;
            if (0xdc00..0xe000).contains(&low) {
                return char::from_u32(0x1_0000 + ((unit - 0xd800) << 10) + (low - 0xdc00));
            }
        }
        self.at = whole;
        Some(char::REPLACEMENT_CHARACTER)
    }

    fn four_digits(&mut self) -> Option<u32> {
        let digits = self.text.get(self.at..self.at + 4)?;
        if !digits.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return None;
        }
        self.at += 4;
        u32::from_str_radix(digits, 16).ok()
    }

    fn number(&mut self) -> Option<Kind> {
        let start = self.at;
        self.eat("-");
        let whole = self.digits()?;
        if whole.len() > 1 && whole.starts_with('0') {
            return None;
        }
        let mut is_float = false;
        if self.eat(".") {
            is_float = true;
            self.digits()?;
        }
        if self.eat("e") || self.eat("E") {
            is_float = true;
            if !self.eat("+") {
                self.eat("-");
            }
            self.digits()?;
        }
        let text = &self.text[start..self.at];
        if is_float {
            return text.parse().ok().map(Kind::Float);
        }
        Some(
            text.parse()
                .map_or_else(|_| Kind::Text(text.into()), Kind::Int),
        )
    }

    fn digits(&mut self) -> Option<&str> {
        let start = self.at;
        while self.peek().is_some_and(|byte| byte.is_ascii_digit()) {
            self.at += 1;
        }
        (self.at > start).then(|| &self.text[start..self.at])
    }
}

/// Reads Ansible's marked strings, `{"__ansible_unsafe": …}` and `{"__ansible_vault": …}`.
fn finished(pairs: Vec<(Node, Node)>) -> Kind {
    for (key, value) in &pairs {
        match (key.as_str(), &value.kind) {
            (Some("__ansible_unsafe"), Kind::Text(text)) => return Kind::Unsafe(Arc::clone(text)),
            (Some("__ansible_vault"), Kind::Text(text)) => return Kind::Vault(Arc::clone(text)),
            _ => {}
        }
    }
    Kind::Map(Arc::new(pairs))
}

fn last_wins(pairs: Vec<(Node, Node)>) -> Vec<(Node, Node)> {
    let mut places: HashMap<Arc<str>, usize> = HashMap::with_capacity(pairs.len());
    let mut kept: Vec<(Node, Node)> = Vec::with_capacity(pairs.len());
    for pair in pairs {
        let Kind::Text(name) = &pair.0.kind else {
            continue;
        };
        if let Some(&place) = places.get(name) {
            kept[place] = pair;
        } else {
            places.insert(Arc::clone(name), kept.len());
            kept.push(pair);
        }
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Option<String> {
        let root = parse(&SourceFile::new("a.json", text))?;
        Some(crate::value::repr(&root.to_value()))
    }

    #[test]
    fn json_numbers_and_escapes_are_not_yamls() {
        assert_eq!(
            read(r#"{"a": 1e3, "b": "x\/\u00e9\ud83d\ude00", "a": [NaN, -0]}"#).as_deref(),
            Some("{'a': [nan, 0], 'b': 'x/é😀'}")
        );
    }

    #[test]
    fn what_is_no_json_is_left_alone() {
        for text in [
            "{a: 1}",
            "[1,]",
            "{\"a\": 01}",
            "[1] x",
            "\"a\tb\"",
            "{{ x }}",
            "[\"\\x\"]",
        ] {
            assert_eq!(read(text), None, "{text}");
        }
    }

    #[test]
    fn marks_count_characters() {
        let root = parse(&SourceFile::new("a.json", "{\n \"é\": [1]}")).unwrap();
        let (key, value) = root.entry("é").unwrap();
        assert_eq!((key.mark.line, key.mark.column), (2, 2));
        assert_eq!((value.mark.line, value.mark.column), (2, 7));
    }
}
