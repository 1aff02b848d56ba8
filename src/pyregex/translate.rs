//! Rewrites a Python regular expression in the engine's syntax, construct by construct.
//!
//! Flags that change what a construct means (`m`, `s`, `x`, `a`) are resolved here, so only
//! case-insensitivity reaches the engine. Groups lose their names: the caller keeps them. Error
//! texts are those of Python's `re`. Knows nothing of matching.

use std::fmt::Write;

use super::{Flags, Kind, PatternError};

/// A pattern in the engine's syntax.
#[derive(Debug)]
pub(super) struct Translated {
    pub(super) pattern: String,
    pub(super) ignore_case: bool,
    pub(super) multi_line: bool,
    pub(super) n_groups: usize,
    /// The named groups with their numbers, in the order written.
    pub(super) names: Vec<(String, usize)>,
}

/// Translates a whole pattern.
pub(super) fn translate(
    pattern: &str,
    kind: Kind,
    flags: Flags,
) -> Result<Translated, PatternError> {
    let mut translator = Translator {
        source: pattern.chars().collect(),
        at: 0,
        out: String::new(),
        kind,
        flags,
        global: flags,
        depth: 0,
        n_groups: 0,
        names: Vec::new(),
        open: Vec::new(),
        conditions: Vec::new(),
    };
    translator.alternatives()?;
    let n_groups = translator.n_groups;
    if let Some((number, position)) = translator
        .conditions
        .iter()
        .find(|(number, _)| *number > n_groups)
    {
        let message = format!("invalid group reference {number}");
        return Err(PatternError::at(message, *position));
    }
    if translator.at < translator.source.len() {
        return Err(PatternError::at("unbalanced parenthesis", translator.at));
    }
    Ok(Translated {
        pattern: translator.out,
        ignore_case: translator.global.ignore_case,
        multi_line: translator.global.multi_line,
        n_groups: translator.n_groups,
        names: translator.names,
    })
}

struct Translator {
    source: Vec<char>,
    /// The next character's index.
    at: usize,
    out: String,
    kind: Kind,
    /// The flags that hold at `at`.
    flags: Flags,
    /// The flags of the whole pattern.
    global: Flags,
    depth: usize,
    n_groups: usize,
    names: Vec<(String, usize)>,
    /// Groups whose closing parenthesis has not been read.
    open: Vec<usize>,
    /// The groups that conditions ask for and where; they may be written later.
    conditions: Vec<(usize, usize)>,
}

/// What was translated last, as far as a quantifier cares.
#[derive(Clone, Copy, PartialEq)]
enum Last {
    Nothing,
    Item,
    Repeat,
}

/// One member of a character class.
enum Member {
    /// A code point, or a byte's value in a bytes pattern.
    One(u32),
    /// A class already in the engine's syntax.
    Set(String),
}

impl Translator {
    fn peek(&self) -> Option<char> {
        self.source.get(self.at).copied()
    }

    fn next(&mut self) -> Option<char> {
        let character = self.peek()?;
        self.at += 1;
        Some(character)
    }

    fn take(&mut self, wanted: char) -> bool {
        let found = self.peek() == Some(wanted);
        self.at += usize::from(found);
        found
    }

    fn alternatives(&mut self) -> Result<(), PatternError> {
        self.sequence()?;
        while self.take('|') {
            self.out.push('|');
            self.sequence()?;
        }
        Ok(())
    }

    fn sequence(&mut self) -> Result<(), PatternError> {
        let mut last = Last::Nothing;
        while let Some(character) = self.peek() {
            match character {
                '|' | ')' => break,
                '#' if self.flags.verbose => self.skip_comment_line(),
                ' ' | '\t' | '\n' | '\r' | '\u{b}' | '\u{c}' if self.flags.verbose => self.at += 1,
                '*' | '+' | '?' => last = self.quantifier(last)?,
                '{' if self.is_interval() => last = self.quantifier(last)?,
                _ => last = self.item(last)?,
            }
        }
        Ok(())
    }

    fn skip_comment_line(&mut self) {
        while self.next().is_some_and(|character| character != '\n') {}
    }

    /// Reads what a quantifier may follow; anchors and comments are nothing to repeat.
    fn item(&mut self, last: Last) -> Result<Last, PatternError> {
        let start = self.at;
        match self.next().expect("the caller peeked") {
            '.' => self.out.push_str(if self.flags.dot_all {
                "(?s:.)"
            } else {
                "[^\\n]"
            }),
            '^' => {
                self.out.push_str(if self.flags.multi_line {
                    "(?m:^)"
                } else {
                    "\\A"
                });
                return Ok(Last::Nothing);
            }
            '$' => {
                self.out.push_str(if self.flags.multi_line {
                    "(?m:$)"
                } else {
                    // Python's `$` also matches before one newline at the end.
                    "(?=\\n?\\z)"
                });
                return Ok(Last::Nothing);
            }
            '(' => return self.group(start, last),
            '[' => self.class(start)?,
            '\\' => return self.escape(start),
            character => self.literal(character),
        }
        Ok(Last::Item)
    }

    fn literal(&mut self, character: char) {
        match self.kind {
            Kind::Bytes if !character.is_ascii() => {
                for byte in character.encode_utf8(&mut [0; 4]).bytes() {
                    self.code(u32::from(byte));
                }
            }
            _ => self.code(u32::from(character)),
        }
    }

    /// Writes one code point (or byte) so that nothing can take it for syntax.
    fn code(&mut self, code: u32) {
        self.out.push_str(&code_text(code));
    }

    /// Tells whether the `{` at hand starts a repetition; otherwise it is literal text.
    fn is_interval(&self) -> bool {
        let rest = &self.source[self.at + 1..];
        let Some(end) = rest.iter().position(|character| *character == '}') else {
            return false;
        };
        let inside: String = rest[..end].iter().collect();
        let (low, high) = inside.split_once(',').unwrap_or((&inside, "0"));
        let is_number = |text: &str| text.chars().all(|digit| digit.is_ascii_digit());
        !inside.is_empty() && is_number(low) && is_number(high)
    }

    fn quantifier(&mut self, last: Last) -> Result<Last, PatternError> {
        let start = self.at;
        let text = match self.next().expect("the caller peeked") {
            '{' => self.interval(start)?,
            character => character.to_string(),
        };
        match last {
            Last::Nothing => return Err(PatternError::at("nothing to repeat", start)),
            Last::Repeat => return Err(PatternError::at("multiple repeat", start)),
            Last::Item => self.out.push_str(&text),
        }
        if self.take('?') {
            self.out.push('?');
        } else if self.take('+') {
            self.out.push('+');
        }
        Ok(Last::Repeat)
    }

    fn interval(&mut self, start: usize) -> Result<String, PatternError> {
        let inside: String =
            std::iter::from_fn(|| self.next().filter(|character| *character != '}')).collect();
        let (low, high) = inside.split_once(',').unwrap_or((&inside, &inside));
        let bound = |text: &str, missing: u32| match text {
            "" => Ok(missing),
            digits => digits
                .parse()
                .map_err(|_| PatternError::at("the repetition number is too large", start)),
        };
        let (at_least, at_most) = (bound(low, 0)?, bound(high, u32::MAX)?);
        if at_most < at_least {
            return Err(PatternError::at(
                "min repeat greater than max repeat",
                start + 1,
            ));
        }
        Ok(match at_most {
            u32::MAX => format!("{{{at_least},}}"),
            _ => format!("{{{at_least},{at_most}}}"),
        })
    }

    fn escape(&mut self, start: usize) -> Result<Last, PatternError> {
        let Some(character) = self.next() else {
            return Err(PatternError::at("bad escape (end of pattern)", start));
        };
        match character {
            'A' | 'b' | 'B' | 'Z' => {
                let text = match character {
                    'A' => "\\A",
                    'Z' => "\\z",
                    'b' if self.is_ascii_text() => ASCII_BOUNDARY,
                    'B' if self.is_ascii_text() => ASCII_NO_BOUNDARY,
                    'b' => "\\b",
                    _ => "\\B",
                };
                self.out.push_str(text);
                return Ok(Last::Nothing);
            }
            'd' | 'D' | 's' | 'S' | 'w' | 'W' => {
                let set = self.category(character);
                self.out.push_str(&set);
            }
            '1'..='9' => self.reference_or_octal(start)?,
            _ => {
                let code = self.character_escape(character, start)?;
                self.code(code);
            }
        }
        Ok(Last::Item)
    }

    fn is_ascii_text(&self) -> bool {
        self.kind == Kind::Text && self.flags.ascii
    }

    /// Returns the class of `\d` and its kind, as a bracketed class.
    fn category(&self, letter: char) -> String {
        let ascii = self.flags.ascii || self.kind == Kind::Bytes;
        let members = match (letter.to_ascii_lowercase(), ascii) {
            ('d', true) => "0-9",
            ('d', false) => "\\d",
            ('s', true) => " \\t\\n\\r\\x0b\\x0c",
            // Python counts the four separators of ASCII as white space.
            ('s', false) => "\\s\\x1c-\\x1f",
            (_, true) => "A-Za-z0-9_",
            (_, false) => "\\p{L}\\p{N}_",
        };
        let not = if letter.is_ascii_uppercase() { "^" } else { "" };
        format!("[{not}{members}]")
    }

    /// Reads a reference to a group; three octal digits are a character.
    fn reference_or_octal(&mut self, start: usize) -> Result<(), PatternError> {
        let digit = |at: usize| self.source.get(at).and_then(|digit| digit.to_digit(10));
        let first = digit(start + 1).expect("the caller saw a digit");
        let (second, third) = (digit(start + 2), digit(start + 3));
        if let (Some(second @ 0..=7), Some(third @ 0..=7), true) = (second, third, first < 8) {
            self.at = start + 4;
            let code = first * 64 + second * 8 + third;
            if code > 0o377 {
                let text: String = self.source[start..self.at].iter().collect();
                return Err(PatternError::at(
                    format!("octal escape value {text} outside of range 0-0o377"),
                    start,
                ));
            }
            self.code(code);
            return Ok(());
        }
        let number = match second {
            Some(second) => {
                self.at = start + 3;
                first * 10 + second
            }
            None => first,
        };
        self.reference(number as usize, start)
    }

    fn reference(&mut self, number: usize, start: usize) -> Result<(), PatternError> {
        if number > self.n_groups {
            return Err(PatternError::at(
                format!("invalid group reference {number}"),
                start + 1,
            ));
        }
        if self.open.contains(&number) {
            return Err(PatternError::at("cannot refer to an open group", start));
        }
        // The group keeps a following digit apart.
        write!(self.out, "(?:\\{number})").expect("writing to a string cannot fail");
        Ok(())
    }

    /// Reads an escape that stands for one character; `character` follows the backslash.
    fn character_escape(&mut self, character: char, start: usize) -> Result<u32, PatternError> {
        Ok(match character {
            'a' => 7,
            'f' => 12,
            'n' => 10,
            'r' => 13,
            't' => 9,
            'v' => 11,
            'x' => self.hexadecimal(2, start)?,
            'u' if self.kind == Kind::Text => self.hexadecimal(4, start)?,
            'U' if self.kind == Kind::Text => self.hexadecimal(8, start)?,
            '0'..='7' => self.octal(character),
            c if c.is_ascii_alphanumeric() => {
                return Err(PatternError::at(format!("bad escape \\{c}"), start));
            }
            c if self.kind == Kind::Bytes && !c.is_ascii() => {
                // Only the first byte is escaped; the others follow as literals.
                let mut buffer = [0; 4];
                let bytes = c.encode_utf8(&mut buffer).as_bytes();
                let (last, first) = bytes.split_last().expect("a character has bytes");
                for byte in first {
                    self.code(u32::from(*byte));
                }
                u32::from(*last)
            }
            c => u32::from(c),
        })
    }

    fn hexadecimal(&mut self, n_digits: usize, start: usize) -> Result<u32, PatternError> {
        let mut text = String::new();
        while text.len() < n_digits && self.peek().is_some_and(|c| c.is_ascii_hexdigit()) {
            text.extend(self.next());
        }
        match u32::from_str_radix(&text, 16) {
            Ok(code) if text.len() == n_digits && code <= 0x0010_ffff => Ok(code),
            Ok(_) if text.len() == n_digits => Err(PatternError::at("bad escape", start)),
            _ => {
                let read: String = self.source[start..self.at].iter().collect();
                Err(PatternError::at(format!("incomplete escape {read}"), start))
            }
        }
    }

    /// Reads up to two more octal digits.
    fn octal(&mut self, first: char) -> u32 {
        let mut code = first.to_digit(8).unwrap_or(0);
        for _ in 0..2 {
            match self.peek().and_then(|digit| digit.to_digit(8)) {
                Some(digit) => {
                    code = code * 8 + digit;
                    self.at += 1;
                }
                None => break,
            }
        }
        code
    }

    /// Translates a class; in Python `[`, `&&`, `--` and `~~` inside it are plain characters.
    fn class(&mut self, start: usize) -> Result<(), PatternError> {
        let mut class = String::from(if self.take('^') { "[^" } else { "[" });
        let first = self.at;
        loop {
            let member_start = self.at;
            match self.peek() {
                None => return Err(PatternError::at("unterminated character set", start)),
                Some(']') if self.at != first => {
                    self.at += 1;
                    break;
                }
                Some(_) => {}
            }
            let mut members = self.class_member(start)?;
            let is_range = self.peek() == Some('-')
                && !matches!(self.source.get(self.at + 1), None | Some(']'));
            if !is_range {
                write_all(&members, &mut class);
                continue;
            }
            self.at += 1;
            let mut ends = self.class_member(start)?.into_iter();
            match (members.pop(), ends.next()) {
                (Some(Member::One(low)), Some(Member::One(high))) if low <= high => {
                    write_all(&members, &mut class);
                    write!(class, "{}-{}", code_text(low), code_text(high))
                        .expect("writing to a string cannot fail");
                    write_all(ends.as_slice(), &mut class);
                }
                _ => {
                    let text: String = self.source[member_start..self.at].iter().collect();
                    return Err(PatternError::at(
                        format!("bad character range {text}"),
                        member_start,
                    ));
                }
            }
        }
        class.push(']');
        self.out.push_str(&class);
        Ok(())
    }

    /// Reads one member: several bytes for a character beyond ASCII in a bytes pattern.
    fn class_member(&mut self, class_start: usize) -> Result<Vec<Member>, PatternError> {
        let start = self.at;
        let unterminated = PatternError::at("unterminated character set", class_start);
        let character = self.next().ok_or(unterminated)?;
        if character != '\\' {
            let mut buffer = [0; 4];
            return Ok(match self.kind {
                Kind::Bytes => character
                    .encode_utf8(&mut buffer)
                    .bytes()
                    .map(|byte| Member::One(byte.into()))
                    .collect(),
                Kind::Text => vec![Member::One(character.into())],
            });
        }
        let Some(escaped) = self.next() else {
            return Err(PatternError::at("bad escape (end of pattern)", start));
        };
        Ok(vec![match escaped {
            'b' => Member::One(8),
            'd' | 'D' | 's' | 'S' | 'w' | 'W' => Member::Set(self.category(escaped)),
            _ => Member::One(self.character_escape(escaped, start)?),
        }])
    }

    fn group(&mut self, start: usize, last: Last) -> Result<Last, PatternError> {
        if !self.take('?') {
            return self.capture(start, None);
        }
        let Some(character) = self.next() else {
            return Err(PatternError::at("unexpected end of pattern", self.at));
        };
        match character {
            ':' => self.body(start, "(?:")?,
            '>' => self.body(start, "(?>")?,
            '=' => self.body(start, "(?=")?,
            '!' => self.body(start, "(?!")?,
            '<' => match self.next() {
                Some('=') => self.body(start, "(?<=")?,
                Some('!') => self.body(start, "(?<!")?,
                Some(other) => {
                    return Err(PatternError::at(
                        format!("unknown extension ?<{other}"),
                        start + 1,
                    ));
                }
                None => return Err(PatternError::at("unexpected end of pattern", self.at)),
            },
            '#' => {
                while self.peek().is_some_and(|inside| inside != ')') {
                    self.at += 1;
                }
                if !self.take(')') {
                    return Err(PatternError::at("missing ), unterminated comment", start));
                }
                return Ok(last);
            }
            'P' => return self.named(start),
            '(' => self.conditional(start)?,
            'a' | 'i' | 'L' | 'm' | 's' | 'u' | 'x' | '-' => return self.flag_group(start, last),
            other => {
                return Err(PatternError::at(
                    format!("unknown extension ?{other}"),
                    start + 1,
                ));
            }
        }
        Ok(Last::Item)
    }

    /// Translates what follows `opening` up to the closing parenthesis.
    fn body(&mut self, start: usize, opening: &str) -> Result<(), PatternError> {
        let outer = self.flags;
        self.depth += 1;
        self.out.push_str(opening);
        self.alternatives()?;
        if !self.take(')') {
            return Err(PatternError::at(
                "missing ), unterminated subpattern",
                start,
            ));
        }
        self.out.push(')');
        self.depth -= 1;
        self.flags = outer;
        Ok(())
    }

    fn capture(&mut self, start: usize, name: Option<String>) -> Result<Last, PatternError> {
        self.n_groups += 1;
        let number = self.n_groups;
        self.names.extend(name.map(|name| (name, number)));
        self.open.push(number);
        self.body(start, "(")?;
        self.open.pop();
        Ok(Last::Item)
    }

    fn named(&mut self, start: usize) -> Result<Last, PatternError> {
        let name_start = self.at + 1;
        match self.next() {
            Some('<') => {
                let name = self.name('>')?;
                if let Some((_, number)) = self.names.iter().find(|(known, _)| *known == name) {
                    let message = format!(
                        "redefinition of group name '{name}' as group {}; was group {number}",
                        self.n_groups + 1
                    );
                    return Err(PatternError::at(message, name_start));
                }
                self.capture(start, Some(name))
            }
            Some('=') => {
                let name = self.name(')')?;
                let number = self.group_number(&name, name_start)?;
                self.reference(number, start)?;
                Ok(Last::Item)
            }
            Some(other) => Err(PatternError::at(
                format!("unknown extension ?P{other}"),
                start + 1,
            )),
            None => Err(PatternError::at("unexpected end of pattern", self.at)),
        }
    }

    fn name(&mut self, end: char) -> Result<String, PatternError> {
        let start = self.at;
        let mut name = String::new();
        loop {
            match self.next() {
                Some(character) if character == end => break,
                Some(character) => name.push(character),
                None => {
                    return Err(PatternError::at(
                        format!("missing {end}, unterminated name"),
                        start,
                    ));
                }
            }
        }
        let is_identifier = name
            .chars()
            .enumerate()
            .all(|(index, c)| c == '_' || c.is_alphabetic() || (index > 0 && c.is_alphanumeric()));
        match name.as_str() {
            "" => Err(PatternError::at("missing group name", start)),
            _ if is_identifier || name.chars().all(|c| c.is_ascii_digit()) => Ok(name),
            _ => Err(PatternError::at(
                format!("bad character in group name '{name}'"),
                start,
            )),
        }
    }

    fn group_number(&self, name: &str, position: usize) -> Result<usize, PatternError> {
        self.names
            .iter()
            .find(|(known, _)| known == name)
            .map(|(_, number)| *number)
            .ok_or_else(|| PatternError::at(format!("unknown group name '{name}'"), position))
    }

    fn conditional(&mut self, start: usize) -> Result<(), PatternError> {
        let name_start = self.at;
        let name = self.name(')')?;
        let number = match name.parse::<usize>() {
            Ok(0) => return Err(PatternError::at("bad group number", name_start)),
            Ok(number) => number,
            Err(_) => self.group_number(&name, name_start)?,
        };
        self.conditions.push((number, name_start));
        self.body(start, &format!("(?({number})"))
    }

    /// Reads `(?i)` at the start of the pattern, or `(?i-s:...)` anywhere.
    fn flag_group(&mut self, start: usize, last: Last) -> Result<Last, PatternError> {
        self.at = start + 2;
        let outer = self.flags;
        let mut flags = outer;
        let mut value = true;
        loop {
            match self.next() {
                Some('i') => flags.ignore_case = value,
                Some('m') => flags.multi_line = value,
                Some('s') => flags.dot_all = value,
                Some('x') => flags.verbose = value,
                Some('a') => flags.ascii = value,
                Some('u') => flags.ascii = !value,
                // Bytes are matched by the C locale on every host.
                Some('L') if self.kind == Kind::Bytes => {}
                Some('L') => {
                    let message = "bad inline flags: cannot use 'L' flag with a str pattern";
                    return Err(PatternError::at(message, self.at));
                }
                Some('-') if value => value = false,
                Some(')') if value => break,
                Some(':') => {
                    self.flags = flags;
                    let sign = if flags.ignore_case { "" } else { "-" };
                    self.body(start, &format!("(?{sign}i:"))?;
                    self.flags = outer;
                    return Ok(Last::Item);
                }
                Some(_) => return Err(PatternError::at("unknown flag", self.at - 1)),
                None => return Err(PatternError::at("missing -, : or )", self.at)),
            }
        }
        if self.depth > 0 || !self.out.is_empty() {
            return Err(PatternError::at(
                "global flags not at the start of the expression",
                start,
            ));
        }
        (self.flags, self.global) = (flags, flags);
        Ok(last)
    }
}

fn write_all(members: &[Member], class: &mut String) {
    for member in members {
        match member {
            Member::One(code) => class.push_str(&code_text(*code)),
            Member::Set(set) => class.push_str(set),
        }
    }
}

/// Returns a code point (or byte) as the engine reads it, inside and outside of classes.
fn code_text(code: u32) -> String {
    match char::from_u32(code) {
        Some(character) if character.is_ascii_alphanumeric() || code > 0xff => character.into(),
        _ => format!("\\x{{{code:02x}}}"),
    }
}

const ASCII_BOUNDARY: &str =
    "(?:(?<=[A-Za-z0-9_])(?![A-Za-z0-9_])|(?<![A-Za-z0-9_])(?=[A-Za-z0-9_]))";
const ASCII_NO_BOUNDARY: &str =
    "(?:(?<=[A-Za-z0-9_])(?=[A-Za-z0-9_])|(?<![A-Za-z0-9_])(?![A-Za-z0-9_]))";

#[cfg(test)]
mod tests {
    use super::*;

    fn text(pattern: &str) -> Result<String, String> {
        translate(pattern, Kind::Text, Flags::default())
            .map(|translated| translated.pattern)
            .map_err(|error| error.to_string())
    }

    #[test]
    fn what_means_something_else_to_the_engine_is_rewritten() {
        assert_eq!(text(r"a\Z"), Ok(r"a\z".into()));
        assert_eq!(text(r"\<"), Ok(r"\x{3c}".into()));
        assert_eq!(text("[[a&&b]"), Ok(r"[\x{5b}a\x{26}\x{26}b]".into()));
        assert_eq!(text("x{a}"), Ok(r"x\x{7b}a\x{7d}".into()));
        assert_eq!(text("(?P<n>a)(?P=n)"), Ok(r"(a)(?:\1)".into()));
        assert_eq!(text("(?x) a # b\n c"), Ok("ac".into()));
        assert_eq!(
            text("(<)?a(?(1)>|b)"),
            Ok(r"(\x{3c})?a(?(1)\x{3e}|b)".into())
        );
    }

    #[test]
    fn errors_are_pythons() {
        for (pattern, message) in [
            ("(a", "missing ), unterminated subpattern at position 0"),
            ("a)", "unbalanced parenthesis at position 1"),
            ("[a", "unterminated character set at position 0"),
            ("*a", "nothing to repeat at position 0"),
            ("a**", "multiple repeat at position 2"),
            (r"a\h", r"bad escape \h at position 1"),
            (r"\1", "invalid group reference 1 at position 1"),
            ("(?(1)a)", "invalid group reference 1 at position 3"),
            (
                "a(?i)b",
                "global flags not at the start of the expression at position 1",
            ),
            ("[z-a]", "bad character range z-a at position 1"),
            ("a{3,2}", "min repeat greater than max repeat at position 2"),
            ("(?<n>a)", "unknown extension ?<n at position 1"),
            ("a\\", "bad escape (end of pattern) at position 1"),
        ] {
            assert_eq!(text(pattern), Err(message.into()), "{pattern}");
        }
    }
}
