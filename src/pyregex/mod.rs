//! Python's regular expressions: the syntax, replacement texts, match rules and error texts of
//! `re`, on the `fancy-regex` engine.
//!
//! Vocabulary for both ends: the template filters and the modules that edit lines share it. Pure:
//! knows no file, host or template.

mod replacement;
mod translate;

use std::fmt;
use std::ops::Range;
use std::sync::OnceLock;

use fancy_regex::{BytesMode, Input, Regex, RegexBuilder, RegexInput};

pub use replacement::Replacement;

/// The flags of `re.compile`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Flags {
    pub ignore_case: bool,
    pub multi_line: bool,
    pub dot_all: bool,
    pub verbose: bool,
    pub ascii: bool,
}

/// Whether a pattern was given to Python as text or as bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Matches characters; `\w` and its kind know Unicode.
    Text,
    /// Matches bytes, also where they are not UTF-8; `\w` and its kind are ASCII.
    Bytes,
}

/// What a pattern searches in: `str` for text patterns, `[u8]` for bytes patterns.
pub trait Haystack: Input + ToOwned {
    #[doc(hidden)]
    fn range(found: &Self::Match<'_>) -> Range<usize>;
    #[doc(hidden)]
    fn rebuild(bytes: Vec<u8>) -> Self::Owned;
    /// Returns a part, as [`Captures::span`] gives its place.
    fn part(&self, range: Range<usize>) -> &Self;
}

impl Haystack for str {
    fn range(found: &Self::Match<'_>) -> Range<usize> {
        found.range()
    }

    fn rebuild(bytes: Vec<u8>) -> String {
        String::from_utf8(bytes).expect("matches of a text pattern end between characters")
    }

    fn part(&self, range: Range<usize>) -> &str {
        &self[range]
    }
}

impl Haystack for [u8] {
    fn range(found: &Self::Match<'_>) -> Range<usize> {
        found.range()
    }

    fn rebuild(bytes: Vec<u8>) -> Vec<u8> {
        bytes
    }

    fn part(&self, range: Range<usize>) -> &[u8] {
        &self[range]
    }
}

/// A compiled Python regular expression.
#[derive(Debug)]
pub struct Pattern {
    regex: Regex,
    translated: translate::Translated,
    kind: Kind,
    /// The same pattern without empty matches, built when one was found; `None` inside means the
    /// pattern matches nothing but empty text.
    not_empty: OnceLock<Option<Regex>>,
    /// The same pattern up to the end of the text.
    to_end: OnceLock<Regex>,
}

impl Pattern {
    /// Compiles a pattern that searches in `str`.
    pub fn text(pattern: &str, flags: Flags) -> Result<Self, PatternError> {
        Self::new(pattern, Kind::Text, flags)
    }

    /// Compiles a pattern that searches in `[u8]`.
    pub fn bytes(pattern: &str, flags: Flags) -> Result<Self, PatternError> {
        Self::new(pattern, Kind::Bytes, flags)
    }

    fn new(pattern: &str, kind: Kind, flags: Flags) -> Result<Self, PatternError> {
        let translated = translate::translate(pattern, kind, flags)?;
        let regex = builder(&translated, kind).build()?;
        Ok(Self {
            regex,
            translated,
            kind,
            not_empty: OnceLock::new(),
            to_end: OnceLock::new(),
        })
    }

    /// Returns whether the pattern is text or bytes.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// Tells whether `^` and `$` match at every line, by flag or by `(?m)`.
    pub fn is_multi_line(&self) -> bool {
        self.translated.multi_line
    }

    /// Returns how many groups the pattern has, the whole match not counted.
    pub fn n_groups(&self) -> usize {
        self.translated.n_groups
    }

    /// Returns the number of a named group.
    pub fn group_number(&self, name: &str) -> Option<usize> {
        self.translated
            .names
            .iter()
            .find(|(known, _)| known == name)
            .map(|(_, number)| *number)
    }

    /// Lists the named groups with their numbers, in the order written.
    pub fn group_names(&self) -> impl Iterator<Item = (&str, usize)> {
        let names = self.translated.names.iter();
        names.map(|(name, number)| (name.as_str(), *number))
    }

    /// Finds the first match, as `re.search`.
    pub fn search<H: Haystack + ?Sized>(&self, text: &H) -> Result<Option<Captures>, PatternError> {
        self.captures(&self.regex, RegexInput::new(text))
    }

    /// Matches at the start, as `re.match`.
    pub fn match_start<H: Haystack + ?Sized>(
        &self,
        text: &H,
    ) -> Result<Option<Captures>, PatternError> {
        self.captures(&self.regex, RegexInput::new(text).anchored(true))
    }

    /// Matches the whole text, as `re.fullmatch`.
    pub fn full_match<H: Haystack + ?Sized>(
        &self,
        text: &H,
    ) -> Result<Option<Captures>, PatternError> {
        let regex = if let Some(regex) = self.to_end.get() {
            regex
        } else {
            let whole = format!("(?:{})\\z", self.translated.pattern);
            let regex = builder(&self.translated, self.kind)
                .pattern(whole)
                .build()?;
            self.to_end.get_or_init(|| regex)
        };
        self.captures(regex, RegexInput::new(text).anchored(true))
    }

    /// Finds all matches, as `re.finditer`: an empty match may follow a match at once, and after
    /// an empty match the next one at the same place is not empty.
    pub fn find_all<H: Haystack + ?Sized>(&self, text: &H) -> Result<Vec<Captures>, PatternError> {
        self.find_up_to(text, usize::MAX)
    }

    /// Replaces up to `count` matches (0: all), as `re.subn`; returns the text and how many.
    pub fn replace<H: Haystack + ?Sized>(
        &self,
        text: &H,
        replacement: &Replacement,
        count: usize,
    ) -> Result<(H::Owned, usize), PatternError> {
        let limit = if count == 0 { usize::MAX } else { count };
        let found = self.find_up_to(text, limit)?;
        let bytes = text.as_bytes();
        let mut out = Vec::with_capacity(bytes.len());
        let mut copied = 0;
        for captures in &found {
            out.extend_from_slice(&bytes[copied..captures.start()]);
            replacement.expand(bytes, captures, &mut out);
            copied = captures.end();
        }
        out.extend_from_slice(&bytes[copied..]);
        Ok((H::rebuild(out), found.len()))
    }

    fn find_up_to<H: Haystack + ?Sized>(
        &self,
        text: &H,
        limit: usize,
    ) -> Result<Vec<Captures>, PatternError> {
        let mut found: Vec<Captures> = Vec::new();
        let mut at = 0;
        while found.len() < limit && at <= text.len() {
            let after_empty = found
                .last()
                .is_some_and(|last| last.is_empty() && last.end() == at);
            let next = if after_empty {
                match self.not_empty_at(text, at)? {
                    Some(captures) => Some(captures),
                    None if at < text.len() => {
                        let next = text.advance_position(at);
                        self.captures(&self.regex, RegexInput::new(text).from_pos(next))?
                    }
                    None => None,
                }
            } else {
                self.captures(&self.regex, RegexInput::new(text).from_pos(at))?
            };
            let Some(captures) = next else { break };
            at = captures.end();
            found.push(captures);
        }
        Ok(found)
    }

    fn not_empty_at<H: Haystack + ?Sized>(
        &self,
        text: &H,
        at: usize,
    ) -> Result<Option<Captures>, PatternError> {
        let regex = self.not_empty.get_or_init(|| {
            builder(&self.translated, self.kind)
                .find_not_empty(true)
                .build()
                .ok()
        });
        match regex {
            Some(regex) => {
                let input = RegexInput::new(text).from_pos(at).anchored(true);
                self.captures(regex, input)
            }
            None => Ok(None),
        }
    }

    fn captures<H: Haystack + ?Sized>(
        &self,
        regex: &Regex,
        input: RegexInput<'_, H>,
    ) -> Result<Option<Captures>, PatternError> {
        let found = regex.captures_input(input)?;
        Ok(found.map(|found| Captures {
            spans: (0..=self.n_groups())
                .map(|number| found.get(number).map(|part| H::range(&part)))
                .collect(),
        }))
    }
}

/// The engine gives up after this many steps back in one search; Python would hang for minutes.
const BACKTRACK_LIMIT: usize = 500_000_000;

fn builder(translated: &translate::Translated, kind: Kind) -> RegexBuilder {
    let mut builder = RegexBuilder::new(&translated.pattern);
    builder
        .case_insensitive(translated.ignore_case)
        .backtrack_limit(BACKTRACK_LIMIT)
        .bytes_mode(match kind {
            Kind::Text => BytesMode::Unicode,
            Kind::Bytes => BytesMode::Ascii,
        });
    builder
}

/// Where a match and its groups are, as byte ranges of what was searched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Captures {
    spans: Vec<Option<Range<usize>>>,
}

impl Captures {
    /// Returns where a group matched; group 0 is the whole match.
    pub fn span(&self, number: usize) -> Option<Range<usize>> {
        self.spans.get(number)?.clone()
    }

    /// Returns where the match starts.
    pub fn start(&self) -> usize {
        self.whole().start
    }

    /// Returns where the match ends.
    pub fn end(&self) -> usize {
        self.whole().end
    }

    /// Tells whether the match is empty.
    pub fn is_empty(&self) -> bool {
        self.whole().is_empty()
    }

    fn whole(&self) -> Range<usize> {
        self.spans[0].clone().expect("a match has a whole")
    }
}

/// What is wrong with a pattern or replacement, in Python's words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PatternError {
    message: String,
}

impl PatternError {
    fn at(message: impl Into<String>, position: usize) -> Self {
        let message = message.into();
        Self::whole(format!("{message} at position {position}"))
    }

    fn whole(message: String) -> Self {
        Self { message }
    }
}

impl fmt::Display for PatternError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for PatternError {}

impl From<fancy_regex::Error> for PatternError {
    fn from(error: fancy_regex::Error) -> Self {
        Self::whole(match error {
            fancy_regex::Error::RuntimeError(_) => {
                "the regular expression needs too many steps on this text".into()
            }
            other => other.to_string(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sub(pattern: &str, replacement: &str, text: &str) -> String {
        let pattern = Pattern::text(pattern, Flags::default()).unwrap();
        let replacement = Replacement::new(replacement, &pattern).unwrap();
        pattern.replace(text, &replacement, 0).unwrap().0
    }

    fn is_found(pattern: &str, text: &str) -> bool {
        let pattern = Pattern::text(pattern, Flags::default()).unwrap();
        pattern.search(text).unwrap().is_some()
    }

    #[test]
    fn empty_matches_are_replaced_where_python_replaces_them() {
        assert_eq!(sub("x*", "-", "abxd"), "-a-b--d-");
        assert_eq!(sub(".*$", "x", "abc"), "xx");
        assert_eq!(sub("|a", "-", "aé"), "---é-");
        assert_eq!(sub("^", "# ", "a"), "# a");
        assert_eq!(sub(r"\b", "|", "ab cd"), "|ab| |cd|");
    }

    #[test]
    fn dollar_matches_before_one_final_newline() {
        assert!(is_found("a$", "a\n"));
        assert!(!is_found("a$", "a\n\n"));
        assert!(!is_found(r"a\Z", "a\n"));
        assert_eq!(sub("(?m)^b$", "x", "a\nb\nc"), "a\nx\nc");
    }

    #[test]
    fn a_pattern_tells_its_inline_flag() {
        let is_multi_line = |pattern| {
            Pattern::text(pattern, Flags::default())
                .unwrap()
                .is_multi_line()
        };
        assert_eq!(
            [is_multi_line("(?m)a"), is_multi_line("(?m:a)")],
            [true, false]
        );
    }

    #[test]
    fn word_characters_are_pythons() {
        assert!(is_found(r"^\w+$", "é²_9"));
        assert!(!is_found(r"\w", "\u{301}"));
        assert!(!is_found(r"(?a)\w", "é"));
        assert!(is_found(r"\s", "\u{1c}"));
        assert!(is_found(r"^[\W\d]+$", "-5"));
    }

    #[test]
    fn groups_conditions_and_lookaround_work_with_and_without_names() {
        assert_eq!(sub(r"(?P<a>\d+)-(\d+)", r"\2-\g<a>", "1-2"), "2-1");
        assert!(is_found(r"^(<)?a(?(1)>)$", "<a>"));
        assert!(!is_found(r"^(<)?a(?(1)>)$", "<a"));
        assert_eq!(sub(r"(?<=a)b(?!c)", "x", "abc ab"), "abc ax");
        assert!(is_found(r"(?i:A)b", "ab"));
        assert!(!is_found(r"(?i:A)b", "aB"));
    }

    #[test]
    fn a_full_match_backtracks_to_the_end() {
        let pattern = Pattern::text("a|ab", Flags::default()).unwrap();
        assert_eq!(pattern.match_start("ab").unwrap().unwrap().end(), 1);
        assert_eq!(pattern.full_match("ab").unwrap().unwrap().end(), 2);
        assert!(pattern.full_match("abc").unwrap().is_none());
    }

    #[test]
    fn a_bytes_pattern_matches_bytes_that_are_not_text() {
        let pattern = Pattern::bytes("é.(?P<n>[é])", Flags::default()).unwrap();
        let found = pattern.search(&b"\xc3\xa9\xff\xa9"[..]).unwrap().unwrap();
        assert_eq!(found.span(1), Some(3..4));
        let word = Pattern::bytes(r"\w", Flags::default()).unwrap();
        assert!(word.search("é".as_bytes()).unwrap().is_none());
    }
}
