//! Python literals: what Ansible makes of the values of an INI inventory.
//!
//! Text that is no literal stays text. Tuples and sets become lists, bytes become inert text,
//! complex numbers and `...` become the text Python prints.

use std::sync::Arc;

use crate::node::{Kind, Node};
use crate::source::Mark;
use crate::value::float_repr;

/// Literals may nest this deep.
const MAX_DEPTH: usize = 100;

/// Returns the value of a text as a Python literal, or the text itself.
pub(super) fn value(text: &str, mark: &Mark) -> Node {
    let mut reader = Reader {
        rest: text.trim_start_matches([' ', '\t']),
        mark,
        depth: 0,
    };
    let whole = reader.expression_list().filter(|_| {
        reader.skip_blanks();
        reader.rest.is_empty() || reader.rest.starts_with('#')
    });
    whole.unwrap_or_else(|| Node::text(mark.clone(), text))
}

struct Reader<'text> {
    rest: &'text str,
    mark: &'text Mark,
    depth: usize,
}

impl Reader<'_> {
    fn node(&self, kind: Kind) -> Node {
        Node::new(self.mark.clone(), kind)
    }

    fn skip_blanks(&mut self) {
        self.rest = self.rest.trim_start_matches([' ', '\t', '\u{c}']);
    }

    fn eat(&mut self, token: &str) -> bool {
        self.skip_blanks();
        match self.rest.strip_prefix(token) {
            Some(rest) => {
                self.rest = rest;
                true
            }
            None => false,
        }
    }

    /// Reads one expression, or a tuple without parentheses: `1, 2`.
    fn expression_list(&mut self) -> Option<Node> {
        let first = self.expression()?;
        if !self.eat(",") {
            return Some(first);
        }
        let mut items = vec![first];
        loop {
            self.skip_blanks();
            if self.rest.is_empty() || self.rest.starts_with('#') {
                return Some(self.node(Kind::List(Arc::new(items))));
            }
            items.push(self.expression()?);
            if !self.eat(",") {
                return Some(self.node(Kind::List(Arc::new(items))));
            }
        }
    }

    fn expression(&mut self) -> Option<Node> {
        self.skip_blanks();
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return None;
        }
        let kind = match self.rest.chars().next()? {
            '[' => self.list("[", "]")?,
            '(' => self.parenthesized()?,
            '{' => self.braces()?,
            '+' | '-' | '.' | '0'..='9' => self.number()?,
            _ => self.word_or_string()?,
        };
        self.depth -= 1;
        Some(self.node(kind))
    }

    fn items(&mut self, close: &str) -> Option<(Vec<Node>, bool)> {
        let mut items = Vec::new();
        let mut has_comma = false;
        while !self.eat(close) {
            if !items.is_empty() && !has_comma {
                return None;
            }
            items.push(self.expression()?);
            has_comma = self.eat(",");
        }
        Some((items, has_comma))
    }

    fn list(&mut self, open: &str, close: &str) -> Option<Kind> {
        self.eat(open);
        let (items, _) = self.items(close)?;
        Some(Kind::List(Arc::new(items)))
    }

    fn parenthesized(&mut self) -> Option<Kind> {
        self.eat("(");
        let (mut items, has_comma) = self.items(")")?;
        if items.len() == 1 && !has_comma {
            return items.pop().map(|item| item.kind);
        }
        Some(Kind::List(Arc::new(items)))
    }

    /// Reads a dictionary or a set.
    fn braces(&mut self) -> Option<Kind> {
        self.eat("{");
        if self.eat("}") {
            return Some(Kind::Map(Arc::default()));
        }
        let first = self.expression()?;
        if !self.eat(":") {
            if !self.eat(",") {
                return self.eat("}").then(|| Kind::List(Arc::new(vec![first])));
            }
            let (rest, _) = self.items("}")?;
            let mut items: Vec<Node> = Vec::with_capacity(rest.len() + 1);
            for item in std::iter::once(first).chain(rest) {
                if !items.iter().any(|known| known.kind == item.kind) {
                    items.push(item);
                }
            }
            return Some(Kind::List(Arc::new(items)));
        }
        let mut pairs: Vec<(Node, Node)> = Vec::new();
        let mut key = first;
        loop {
            let value = self.expression()?;
            if matches!(key.kind, Kind::List(_) | Kind::Map(_)) {
                return None;
            }
            match pairs.iter_mut().find(|(known, _)| known.kind == key.kind) {
                Some(pair) => pair.1 = value,
                None => pairs.push((key, value)),
            }
            let has_comma = self.eat(",");
            if self.eat("}") {
                return Some(Kind::Map(Arc::new(pairs)));
            }
            if !has_comma {
                return None;
            }
            key = self.expression()?;
            self.eat(":").then_some(())?;
        }
    }

    fn word_or_string(&mut self) -> Option<Kind> {
        let end = self
            .rest
            .find(|next: char| !next.is_alphanumeric() && next != '_')
            .unwrap_or(self.rest.len());
        let (word, rest) = self.rest.split_at(end);
        if rest.starts_with(['"', '\'']) {
            return self.strings();
        }
        self.rest = rest;
        match word {
            "True" => Some(Kind::Bool(true)),
            "False" => Some(Kind::Bool(false)),
            "None" => Some(Kind::Null),
            "set" if self.eat("(") && self.eat(")") => Some(Kind::List(Arc::default())),
            _ => None,
        }
    }

    /// Reads one string, or several beside one another, which are one.
    fn strings(&mut self) -> Option<Kind> {
        let mut out = Vec::new();
        let mut is_bytes = None;
        loop {
            self.skip_blanks();
            let quote = self.rest.find(['"', '\'']).filter(|at| {
                self.rest[..*at]
                    .chars()
                    .all(|prefix| prefix.is_ascii_alphabetic())
            });
            let Some(at) = quote else { break };
            let prefix = self.rest[..at].to_ascii_lowercase();
            let (raw, bytes) = match prefix.as_str() {
                "" | "u" => (false, false),
                "r" => (true, false),
                "b" => (false, true),
                "br" | "rb" => (true, true),
                _ => return None,
            };
            if is_bytes.is_some_and(|known| known != bytes) {
                return None;
            }
            is_bytes = Some(bytes);
            self.rest = &self.rest[at..];
            self.string(raw, bytes, &mut out)?;
        }
        let text: Arc<str> = String::from_utf8(out).ok()?.into();
        Some(if is_bytes? {
            Kind::Unsafe(text)
        } else {
            Kind::Text(text)
        })
    }

    fn string(&mut self, raw: bool, bytes: bool, out: &mut Vec<u8>) -> Option<()> {
        let quote = ["\"\"\"", "'''", "\"", "'"]
            .into_iter()
            .find(|quote| self.rest.starts_with(quote))?;
        self.rest = &self.rest[quote.len()..];
        loop {
            if let Some(rest) = self.rest.strip_prefix(quote) {
                self.rest = rest;
                return Some(());
            }
            let next = self.rest.chars().next()?;
            self.rest = &self.rest[next.len_utf8()..];
            if bytes && !next.is_ascii() {
                return None;
            }
            if next == '\\' && !raw {
                self.escape(bytes, out)?;
            } else {
                push(out, next);
                if next == '\\' {
                    let escaped = self.rest.chars().next()?;
                    self.rest = &self.rest[escaped.len_utf8()..];
                    push(out, escaped);
                }
            }
        }
    }

    fn escape(&mut self, bytes: bool, out: &mut Vec<u8>) -> Option<()> {
        let next = self.rest.chars().next()?;
        self.rest = &self.rest[next.len_utf8()..];
        let simple = match next {
            '\\' | '\'' | '"' => next,
            'a' => '\u{7}',
            'b' => '\u{8}',
            'f' => '\u{c}',
            'n' => '\n',
            'r' => '\r',
            't' => '\t',
            'v' => '\u{b}',
            'x' => return self.code(2, bytes, out),
            'u' if !bytes => return self.code(4, bytes, out),
            'U' if !bytes => return self.code(8, bytes, out),
            'N' if !bytes => return None,
            '0'..='7' => {
                let more = self
                    .rest
                    .bytes()
                    .take(2)
                    .take_while(|byte| matches!(byte, b'0'..=b'7'));
                let more = more.count();
                let digits = format!("{next}{}", &self.rest[..more]);
                self.rest = &self.rest[more..];
                return character(u32::from_str_radix(&digits, 8).ok()?, bytes, out);
            }
            _ => {
                out.push(b'\\');
                next
            }
        };
        push(out, simple);
        Some(())
    }

    fn code(&mut self, digits: usize, bytes: bool, out: &mut Vec<u8>) -> Option<()> {
        let text = self.rest.get(..digits)?;
        if !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return None;
        }
        self.rest = &self.rest[digits..];
        character(u32::from_str_radix(text, 16).ok()?, bytes, out)
    }

    fn number(&mut self) -> Option<Kind> {
        if self.eat("...") {
            return Some(Kind::Text("...".into()));
        }
        let is_negative = self.eat("-");
        if !is_negative {
            self.eat("+");
        }
        self.skip_blanks();
        let token = self.take_number()?;
        if let Some(imaginary) = token.strip_suffix(['j', 'J']) {
            return complex(imaginary, is_negative);
        }
        if let Some(number) = integer(token) {
            return Some(Kind::Int(if is_negative { -number } else { number }));
        }
        let number = float(token)?;
        Some(Kind::Float(if is_negative { -number } else { number }))
    }

    /// Takes what can be a number: digits, letters, and a sign behind an exponent.
    fn take_number(&mut self) -> Option<&str> {
        let bytes = self.rest.as_bytes();
        let mut end = 0;
        let is_based = self.rest.starts_with("0x") || self.rest.starts_with("0X");
        while let Some(&byte) = bytes.get(end) {
            let is_sign = matches!(byte, b'+' | b'-')
                && end > 0
                && !is_based
                && matches!(bytes[end - 1], b'e' | b'E');
            if !(byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_') || is_sign) {
                break;
            }
            end += 1;
        }
        let (token, rest) = self.rest.split_at(end);
        self.rest = rest;
        (!rest.starts_with(|next: char| !next.is_ascii())).then_some(token)
    }
}

fn push(out: &mut Vec<u8>, character: char) {
    out.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
}

fn character(code: u32, bytes: bool, out: &mut Vec<u8>) -> Option<()> {
    if bytes {
        out.push(u8::try_from(code).ok()?);
    } else {
        push(out, char::from_u32(code)?);
    }
    Some(())
}

/// Returns digits without single `_` between them.
fn joined(digits: &str, is_digit: impl Fn(u8) -> bool) -> Option<String> {
    let groups = digits.split('_');
    let is_group = |group: &str| !group.is_empty() && group.bytes().all(&is_digit);
    groups.clone().all(is_group).then(|| groups.collect())
}

fn integer(token: &str) -> Option<i128> {
    let lower = token.to_ascii_lowercase();
    for (prefix, radix) in [("0x", 16), ("0o", 8), ("0b", 2)] {
        if let Some(digits) = lower.strip_prefix(prefix) {
            let digits = digits.strip_prefix('_').unwrap_or(digits);
            let digits = joined(digits, |byte| char::from(byte).is_digit(radix))?;
            return i128::from_str_radix(&digits, radix).ok();
        }
    }
    let digits = joined(token, |byte| byte.is_ascii_digit())?;
    let is_padded = digits.len() > 1 && digits.starts_with('0');
    if is_padded && digits.bytes().any(|byte| byte != b'0') {
        return None;
    }
    digits.parse().ok()
}

fn float(token: &str) -> Option<f64> {
    let (mantissa, exponent) = match token.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, Some(exponent)),
        None => (token, None),
    };
    let is_digit = |byte: u8| byte.is_ascii_digit();
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    if whole.is_empty() && fraction.is_empty() {
        return None;
    }
    if exponent.is_none() && !mantissa.contains('.') {
        return None;
    }
    for part in [whole, fraction] {
        if !part.is_empty() {
            joined(part, is_digit)?;
        }
    }
    if let Some(exponent) = exponent {
        joined(exponent.trim_start_matches(['+', '-']), is_digit)?;
    }
    token.replace('_', "").parse().ok()
}

/// Returns what Python prints of an imaginary number.
fn complex(imaginary: &str, is_negative: bool) -> Option<Kind> {
    let number = match float(imaginary) {
        Some(number) => number,
        None => joined(imaginary, |byte| byte.is_ascii_digit())?
            .parse()
            .ok()?,
    };
    let text = float_repr(number);
    let text = text.strip_suffix(".0").unwrap_or(&text);
    let text = if is_negative {
        format!("(-0-{text}j)")
    } else {
        format!("{text}j")
    };
    Some(Kind::Text(text.into()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::SourceFile;
    use crate::value::repr;

    #[test]
    fn literals_are_pythons() {
        let file = SourceFile::new("hosts", "");
        let mark = Mark::start_of(&file);
        for (text, expected) in [
            ("1", "1"),
            ("-5", "-5"),
            ("--5", "'--5'"),
            ("0644", "'0644'"),
            ("00", "0"),
            ("0x1F", "31"),
            ("0o17", "15"),
            ("1_000", "1000"),
            ("1__0", "'1__0'"),
            ("1e3", "1000.0"),
            (".5", "0.5"),
            ("1.2.3", "'1.2.3'"),
            ("True", "True"),
            ("true", "'true'"),
            ("None", "None"),
            ("", "''"),
            ("'a' \"b\"", "'ab'"),
            ("'a", "\"'a\""),
            (r"'\x41\t\q'", r"'A\t\\q'"),
            (r"r'\x41'", r"'\\x41'"),
            ("b'x'", "'x'"),
            ("[1, 'a', (2,), {3, 3}]", "[1, 'a', [2], [3]]"),
            ("{'a': 1, 'b': [], 'a': 2}", "{'a': 2, 'b': []}"),
            ("1, 2", "[1, 2]"),
            ("(1)", "1"),
            ("()", "[]"),
            ("1j", "'1j'"),
            ("...", "'...'"),
            ("5 # five", "5"),
            ("10.0.0.1", "'10.0.0.1'"),
            ("{{ x }}", "'{{ x }}'"),
            ("[a]", "'[a]'"),
            ("{1: 2", "'{1: 2'"),
            ("f'x'", "\"f'x'\""),
        ] {
            assert_eq!(repr(&value(text, &mark).to_value()), expected, "{text}");
        }
    }
}
