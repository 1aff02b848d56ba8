//! Backslashes in string literals: in YAML values they stay as written, in files they escape.
//!
//! ansible-core doubles the backslashes of literals inside `{{ }}` when a template comes from
//! YAML. Here they are swapped for stand-ins of the same width before parsing, so that every
//! column of an error stays right, and swapped back when a literal is compiled.

use std::borrow::Cow;

use super::syntax::Delimiters;

const BACKSLASH: char = '\u{fdd0}';
const SINGLE_QUOTE: char = '\u{fdd1}';
const DOUBLE_QUOTE: char = '\u{fdd2}';

/// Returns `source` with the backslashes of literals inside variable blocks shielded.
pub(super) fn shield<'a>(source: &'a str, delimiters: &Delimiters) -> Cow<'a, str> {
    if !source.contains('\\') {
        return Cow::Borrowed(source);
    }
    let mut scanner = Scanner {
        rest: source,
        out: String::with_capacity(source.len()),
    };
    scanner.text(delimiters);
    Cow::Owned(scanner.out)
}

/// Returns the text a parsed literal stands for.
pub(super) fn unshield(literal: &str) -> Cow<'_, str> {
    if !literal.contains([BACKSLASH, SINGLE_QUOTE, DOUBLE_QUOTE]) {
        return Cow::Borrowed(literal);
    }
    literal
        .chars()
        .map(|character| match character {
            BACKSLASH => '\\',
            SINGLE_QUOTE => '\'',
            DOUBLE_QUOTE => '"',
            other => other,
        })
        .collect::<String>()
        .into()
}

struct Scanner<'a> {
    rest: &'a str,
    out: String,
}

impl Scanner<'_> {
    fn copy(&mut self, length: usize) {
        self.out.push_str(&self.rest[..length]);
        self.rest = &self.rest[length..];
    }

    fn copy_past(&mut self, end: &str) {
        let length = self
            .rest
            .find(end)
            .map_or(self.rest.len(), |at| at + end.len());
        self.copy(length);
    }

    fn text(&mut self, delimiters: &Delimiters) {
        while let Some(start) = delimiters.first_start(self.rest) {
            self.copy(start);
            if self.rest.starts_with(&*delimiters.comment_start) {
                self.copy_past(&delimiters.comment_end);
            } else if self.rest.starts_with(&*delimiters.block_start) {
                self.copy(delimiters.block_start.len());
                if self
                    .rest
                    .trim_start_matches(['-', '+', ' '])
                    .starts_with("raw")
                {
                    self.copy_past("endraw");
                }
                self.code(&delimiters.block_end, false);
            } else {
                self.copy(delimiters.variable_start.len());
                self.code(&delimiters.variable_end, true);
            }
        }
        self.copy(self.rest.len());
    }

    fn code(&mut self, end: &str, shielding: bool) {
        let mut depth = 0_usize;
        while let Some(next) = self.rest.chars().next() {
            if depth == 0 && self.rest.starts_with(end) {
                self.copy(end.len());
                return;
            }
            match next {
                '(' | '[' | '{' => depth += 1,
                ')' | ']' | '}' => depth = depth.saturating_sub(1),
                '\'' | '"' => {
                    self.literal(next, shielding);
                    continue;
                }
                _ => {}
            }
            self.copy(next.len_utf8());
        }
    }

    fn literal(&mut self, quote: char, shielding: bool) {
        self.copy(1);
        while let Some(next) = self.rest.chars().next() {
            if next != '\\' {
                self.copy(next.len_utf8());
                if next == quote {
                    return;
                }
                continue;
            }
            let escaped = self.rest[1..].chars().next();
            let length = 1 + escaped.map_or(0, char::len_utf8);
            if shielding {
                self.rest = &self.rest[length..];
                self.out.push(BACKSLASH);
                self.out.extend(escaped.map(|character| match character {
                    '\\' => BACKSLASH,
                    '\'' => SINGLE_QUOTE,
                    '"' => DOUBLE_QUOTE,
                    other => other,
                }));
            } else {
                self.copy(length);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn round(source: &str) -> String {
        let shielded = shield(source, &Delimiters::default());
        assert_eq!(shielded.chars().count(), source.chars().count());
        unshield(&shielded).into_owned()
    }

    #[test]
    fn only_literals_of_variable_blocks_are_shielded_and_all_come_back() {
        let source =
            r#"a\b {{ x | f('\1\'"', "\\") }} {% set y = '\n' %} {% raw %}{{ '\1' }}{% endraw %}"#;
        assert_eq!(round(source), source);
        let shielded = shield(source, &Delimiters::default()).into_owned();
        assert_eq!(shielded.matches('\\').count(), 3);
    }
}
