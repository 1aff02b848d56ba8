//! Replacement texts as Python's `re.sub` reads them: `\1`, `\g<name>`, `\n`.

use super::{Captures, Kind, Pattern, PatternError};

/// A replacement text, checked against the groups of its pattern.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Replacement {
    parts: Vec<Part>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Literal(Vec<u8>),
    Group(usize),
}

impl Replacement {
    /// Reads a replacement for `pattern`.
    pub fn new(text: &str, pattern: &Pattern) -> Result<Self, PatternError> {
        let mut reader = Reader {
            source: text.chars().collect(),
            at: 0,
            pattern,
            literal: Vec::new(),
            parts: Vec::new(),
        };
        reader.read()?;
        Ok(Self {
            parts: reader.parts,
        })
    }

    /// Appends the replacement of one match; a group that took no part is empty.
    pub fn expand(&self, haystack: &[u8], captures: &Captures, out: &mut Vec<u8>) {
        for part in &self.parts {
            match part {
                Part::Literal(bytes) => out.extend_from_slice(bytes),
                Part::Group(number) => {
                    if let Some(span) = captures.span(*number) {
                        out.extend_from_slice(&haystack[span]);
                    }
                }
            }
        }
    }
}

struct Reader<'a> {
    source: Vec<char>,
    at: usize,
    pattern: &'a Pattern,
    literal: Vec<u8>,
    parts: Vec<Part>,
}

impl Reader<'_> {
    fn read(&mut self) -> Result<(), PatternError> {
        while let Some(character) = self.next() {
            if character == '\\' {
                self.escape()?;
            } else {
                self.push(character);
            }
        }
        self.end_literal();
        Ok(())
    }

    fn next(&mut self) -> Option<char> {
        let character = self.source.get(self.at).copied()?;
        self.at += 1;
        Some(character)
    }

    fn push(&mut self, character: char) {
        self.literal
            .extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
    }

    fn end_literal(&mut self) {
        if !self.literal.is_empty() {
            let literal = std::mem::take(&mut self.literal);
            self.parts.push(Part::Literal(literal));
        }
    }

    fn escape(&mut self) -> Result<(), PatternError> {
        let start = self.at - 1;
        let Some(character) = self.next() else {
            return Err(PatternError::at("bad escape (end of pattern)", start));
        };
        match character {
            'g' => return self.group_by_name(),
            '0' => self.octal(),
            '1'..='9' => return self.group_by_number(start),
            'a' => self.push('\u{7}'),
            'b' => self.push('\u{8}'),
            'f' => self.push('\u{c}'),
            'n' => self.push('\n'),
            'r' => self.push('\r'),
            't' => self.push('\t'),
            'v' => self.push('\u{b}'),
            '\\' => self.push('\\'),
            letter if letter.is_ascii_alphabetic() => {
                return Err(PatternError::at(format!("bad escape \\{letter}"), start));
            }
            other => {
                self.push('\\');
                self.push(other);
            }
        }
        Ok(())
    }

    fn group(&mut self, number: usize, position: usize) -> Result<(), PatternError> {
        if number > self.pattern.n_groups() {
            let message = format!("invalid group reference {number}");
            return Err(PatternError::at(message, position));
        }
        self.end_literal();
        self.parts.push(Part::Group(number));
        Ok(())
    }

    fn group_by_name(&mut self) -> Result<(), PatternError> {
        if self.next() != Some('<') {
            return Err(PatternError::at(
                "missing <",
                self.at.min(self.source.len()),
            ));
        }
        let start = self.at;
        let name: String =
            std::iter::from_fn(|| self.next().filter(|character| *character != '>')).collect();
        if self.source.get(self.at.wrapping_sub(1)) != Some(&'>') {
            let message = "missing >, unterminated name";
            return Err(PatternError::at(message, start));
        }
        if name.is_empty() {
            return Err(PatternError::at("missing group name", start));
        }
        if let Ok(number) = name.parse() {
            return self.group(number, start);
        }
        let unknown = || PatternError::whole(format!("unknown group name '{name}'"));
        let number = self.pattern.group_number(&name).ok_or_else(unknown)?;
        self.group(number, start)
    }

    /// Reads one or two digits as a group, three octal digits as a character.
    fn group_by_number(&mut self, start: usize) -> Result<(), PatternError> {
        let digit = |at: usize| self.source.get(at).and_then(|digit| digit.to_digit(10));
        let first = digit(start + 1).expect("the caller saw a digit");
        let (second, third) = (digit(start + 2), digit(start + 3));
        if let (0..=7, Some(second @ 0..=7), Some(third @ 0..=7)) = (first, second, third) {
            self.at = start + 4;
            let code = first * 64 + second * 8 + third;
            if code > 0o377 {
                let text: String = self.source[start..self.at].iter().collect();
                let message = format!("octal escape value {text} outside of range 0-0o377");
                return Err(PatternError::at(message, start));
            }
            self.push_code(code);
            return Ok(());
        }
        let number = match second {
            Some(second) => {
                self.at = start + 3;
                first * 10 + second
            }
            None => first,
        };
        self.group(number as usize, start + 1)
    }

    fn octal(&mut self) {
        let mut code = 0;
        for _ in 0..2 {
            match self.source.get(self.at).and_then(|digit| digit.to_digit(8)) {
                Some(digit) => {
                    code = code * 8 + digit;
                    self.at += 1;
                }
                None => break,
            }
        }
        self.push_code(code);
    }

    fn push_code(&mut self, code: u32) {
        match (self.pattern.kind(), u8::try_from(code)) {
            (Kind::Bytes, Ok(byte)) => self.literal.push(byte),
            _ => self.push(char::from_u32(code).expect("an octal escape is below 0o400")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::Flags;
    use super::*;

    fn replaced(pattern: &str, replacement: &str, text: &str) -> Result<String, String> {
        let pattern = Pattern::text(pattern, Flags::default()).unwrap();
        Replacement::new(replacement, &pattern)
            .and_then(|replacement| pattern.replace(text, &replacement, 0))
            .map(|(text, _)| text)
            .map_err(|error| error.to_string())
    }

    #[test]
    fn groups_are_named_numbered_or_empty() {
        assert_eq!(
            replaced(r"(?P<a>\w)(x)?", r"<\g<a>\2\g<0>>", "b"),
            Ok("<bb>".into())
        );
        assert_eq!(replaced("(a)", r"\g<1>0\n", "a"), Ok("a0\n".into()));
    }

    #[test]
    fn escapes_are_pythons() {
        assert_eq!(replaced("a", r"\.\101\\", "a"), Ok("\\.A\\".into()));
        assert_eq!(
            replaced("a", r"\q", "a"),
            Err(r"bad escape \q at position 0".into())
        );
        assert_eq!(
            replaced("a", r"x\2", "a"),
            Err("invalid group reference 2 at position 2".into())
        );
        assert_eq!(
            replaced("a", r"\g<no>", "a"),
            Err("unknown group name 'no'".into())
        );
    }
}
