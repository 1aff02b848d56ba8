//! Host patterns and `--limit`: which hosts a play is for.
//!
//! Patterns are words in a list: names, globs, `~regex`, with `&` to intersect, `!` to exclude
//! and `[1:3]` to pick. Never changes the inventory.

use std::collections::HashSet;
use std::path::Path;
use std::sync::Arc;

use rand::seq::SliceRandom;

use super::graph::LOCALHOST;
use super::{HostName, Inventory, PatternMismatch, address};
use crate::error::{Error, nearest};
use crate::pyregex::{Flags, Pattern};

/// What is told when no source has a host.
pub const EMPTY_INVENTORY: &str = "provided hosts list is empty, only localhost is available. Note that the implicit localhost does not match 'all'";

/// What is told when a pattern and a limit leave no host.
pub const NO_TARGETS: &str =
    "Specified inventory, host pattern and/or --limit leaves us with no hosts to target.";

/// The hosts a pattern selects, each once, and what did not match anything.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Selection {
    pub hosts: Vec<HostName>,
    /// In Ansible's words.
    pub warnings: Vec<String>,
}

/// The order of a play's hosts (`order:`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Order {
    #[default]
    Inventory,
    ReverseInventory,
    Sorted,
    ReverseSorted,
    Shuffle,
}

/// What `--limit` restricts a run to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Limit {
    patterns: Vec<String>,
}

impl Limit {
    /// Reads the text of `--limit`; `@file` stands for the lines of a file.
    pub fn parse(text: &str, working_directory: &Path) -> Result<Self, Error> {
        let mut patterns = Vec::new();
        for pattern in split(text) {
            let Some(name) = pattern.strip_prefix('@') else {
                patterns.push(pattern);
                continue;
            };
            let path = working_directory.join(name);
            if !path.exists() {
                return Err(
                    Error::missing(format!("unable to find limit file `{name}`"))
                        .help("`@` in `--limit` names a file with one pattern a line"),
                );
            }
            if !path.is_file() {
                return Err(Error::content(format!(
                    "limit starting with `@` must be a file, not a directory: `{name}`"
                )));
            }
            let lines = std::fs::read_to_string(&path).map_err(|error| {
                let why = super::load::reason(&error);
                Error::content(format!("cannot read limit file `{name}`: {why}"))
            })?;
            patterns.extend(lines.lines().map(|line| line.trim().to_string()));
        }
        Ok(Self { patterns })
    }
}

impl Inventory {
    /// Returns the hosts of a pattern.
    pub fn hosts_matching(&self, pattern: &str) -> Result<Selection, Error> {
        self.select(&[pattern], None, Order::Inventory)
    }

    /// Returns the hosts of all patterns that are within the limit.
    pub fn select(
        &self,
        patterns: &[&str],
        limit: Option<&Limit>,
        order: Order,
    ) -> Result<Selection, Error> {
        let mut matcher = Matcher {
            inventory: self,
            warnings: Vec::new(),
        };
        let words: Vec<String> = patterns.iter().flat_map(|pattern| split(pattern)).collect();
        let mut hosts = matcher.evaluate(&words)?;
        if let Some(limit) = limit.filter(|limit| !limit.patterns.is_empty()) {
            let within: HashSet<Match> = matcher.evaluate(&limit.patterns)?.into_iter().collect();
            hosts.retain(|host| within.contains(host));
        }
        let mut seen = HashSet::new();
        hosts.retain(|host| seen.insert(host.clone()));
        let mut hosts: Vec<HostName> = hosts.iter().map(|host| self.name_of(host)).collect();
        match order {
            Order::Inventory => {}
            Order::ReverseInventory => hosts.reverse(),
            Order::Sorted => hosts.sort(),
            Order::ReverseSorted => hosts.sort_by(|a, b| b.cmp(a)),
            Order::Shuffle => hosts.shuffle(&mut rand::rng()),
        }
        Ok(Selection {
            hosts,
            warnings: matcher.warnings,
        })
    }

    /// Returns the hosts a command is for, or an error when the limit leaves none of them.
    pub fn targets(&self, pattern: &str, limit: Option<&Limit>) -> Result<Selection, Error> {
        let is_empty = self
            .select(&["all"], None, Order::Inventory)?
            .hosts
            .is_empty();
        let mut selection = self.select(&[pattern], limit, Order::Inventory)?;
        if is_empty && !LOCALHOST.contains(&pattern) {
            selection.warnings.insert(0, EMPTY_INVENTORY.to_string());
        }
        if selection.hosts.is_empty() && !is_empty {
            return Err(Error::usage(NO_TARGETS));
        }
        Ok(selection)
    }

    fn name_of(&self, host: &Match) -> HostName {
        match host {
            Match::Known(index) => Arc::clone(&self.hosts[*index].name),
            Match::Implicit(name) => (*name).into(),
        }
    }
}

/// One host that matched.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Match {
    Known(usize),
    /// A `localhost` that no inventory has.
    Implicit(&'static str),
}

struct Matcher<'a> {
    inventory: &'a Inventory,
    warnings: Vec<String>,
}

impl Matcher<'_> {
    fn evaluate(&mut self, patterns: &[String]) -> Result<Vec<Match>, Error> {
        let mut hosts: Vec<Match> = Vec::new();
        let mut known: HashSet<Match> = HashSet::new();
        for pattern in ordered(patterns) {
            if let Some(index) = self.inventory.hosts.get_index_of(pattern) {
                hosts.push(Match::Known(index));
                known.insert(Match::Known(index));
                continue;
            }
            if let Some(excluded) = pattern.strip_prefix('!') {
                let found: HashSet<Match> = self.one(excluded)?.into_iter().collect();
                hosts.retain(|host| !found.contains(host));
                known.retain(|host| !found.contains(host));
            } else if let Some(required) = pattern.strip_prefix('&') {
                let found: HashSet<Match> = self.one(required)?.into_iter().collect();
                hosts.retain(|host| found.contains(host));
                known.retain(|host| found.contains(host));
            } else {
                let found = self.one(pattern)?;
                hosts.extend(found.iter().filter(|host| !known.contains(host)).cloned());
                known.extend(found);
            }
        }
        Ok(hosts)
    }

    /// Returns what one pattern without `&` and `!` matches; a host may stand there twice.
    fn one(&mut self, pattern: &str) -> Result<Vec<Match>, Error> {
        let (expression, subscript) = subscript(pattern);
        if subscript.is_some()
            && pattern[expression.len()..]
                .trim_start_matches("[-")
                .contains('-')
        {
            self.warn(
                "Use [x:y] inclusive subscripts instead of [x-y] which has been removed".into(),
            );
        }
        let hosts = self.enumerate(expression)?;
        let Some(subscript) = subscript.filter(|_| !hosts.is_empty()) else {
            return Ok(hosts);
        };
        picked(&hosts, subscript).ok_or_else(|| {
            Error::content(format!(
                "No hosts matched the subscripted pattern '{pattern}'"
            ))
            .help(format!(
                "`{expression}` matches {} hosts, counted from 0",
                hosts.len()
            ))
        })
    }

    fn enumerate(&mut self, pattern: &str) -> Result<Vec<Match>, Error> {
        let matching = Matching::new(pattern)?;
        let mut hosts = Vec::new();
        let groups = matching.indices(&self.inventory.groups);
        for group in &groups {
            let members = self.inventory.members(*group);
            hosts.extend(members.into_iter().map(Match::Known));
        }
        let reaches_hosts = pattern.starts_with('~') || pattern.contains(['.', '?', '*', '[']);
        if groups.is_empty() || reaches_hosts {
            let found = matching.indices(&self.inventory.hosts);
            hosts.extend(found.into_iter().map(Match::Known));
        }
        if hosts.is_empty()
            && let Some(name) = LOCALHOST.iter().find(|name| **name == pattern)
        {
            hosts.push(match self.inventory.localhost {
                Some(index) => Match::Known(index),
                None => Match::Implicit(name),
            });
        }
        if hosts.is_empty() && groups.is_empty() && pattern != "all" {
            self.mismatch(pattern)?;
        }
        Ok(hosts)
    }

    fn warn(&mut self, told: String) {
        if !self.warnings.contains(&told) {
            self.warnings.push(told);
        }
    }

    fn mismatch(&mut self, pattern: &str) -> Result<(), Error> {
        let told = format!("Could not match supplied host pattern, ignoring: {pattern}");
        match self.inventory.pattern_mismatch {
            PatternMismatch::Ignore => {}
            PatternMismatch::Warning => self.warn(told),
            PatternMismatch::Error => {
                let groups = self.inventory.groups.keys();
                let names = groups
                    .chain(self.inventory.hosts.keys())
                    .map(|name| &**name);
                return Err(match nearest(pattern, names) {
                    Some(near) => Error::usage(told).help(format!("did you mean `{near}`?")),
                    None => Error::usage(told).help("`backstay inventory --graph` shows all names"),
                });
            }
        }
        Ok(())
    }
}

/// A compiled pattern.
enum Matching<'a> {
    Exact(&'a str),
    Glob(Vec<Token>),
    Regex(Box<Pattern>),
}

impl<'a> Matching<'a> {
    fn new(pattern: &'a str) -> Result<Self, Error> {
        if let Some(expression) = pattern.strip_prefix('~') {
            return Pattern::text(expression, Flags::default())
                .map(|pattern| Self::Regex(Box::new(pattern)))
                .map_err(|_| {
                    Error::content(format!("Invalid host list pattern: {pattern}"))
                        .help("behind `~` stands a regular expression")
                });
        }
        if pattern.contains(['*', '?', '[']) {
            return Ok(Self::Glob(tokens(pattern)));
        }
        Ok(Self::Exact(pattern))
    }

    fn indices<V>(&self, names: &indexmap::IndexMap<Arc<str>, V>) -> Vec<usize> {
        if let Self::Exact(name) = self {
            return names.get_index_of(*name).into_iter().collect();
        }
        let matching = names
            .keys()
            .enumerate()
            .filter(|(_, name)| self.matches(name));
        matching.map(|(index, _)| index).collect()
    }

    fn matches(&self, name: &str) -> bool {
        match self {
            Self::Exact(exact) => *exact == name,
            Self::Glob(tokens) => {
                let characters: Vec<char> = name.chars().collect();
                glob_matches(tokens, &characters)
            }
            Self::Regex(pattern) => pattern.match_start(name).is_ok_and(|found| found.is_some()),
        }
    }
}

/// One part of a glob, as Python's `fnmatch` reads it.
enum Token {
    Many,
    One,
    Literal(char),
    Class {
        negated: bool,
        ranges: Vec<(char, char)>,
    },
}

impl Token {
    fn takes(&self, character: char) -> bool {
        match self {
            Self::Many | Self::One => true,
            Self::Literal(literal) => *literal == character,
            Self::Class { negated, ranges } => {
                ranges
                    .iter()
                    .any(|(low, high)| (*low..=*high).contains(&character))
                    != *negated
            }
        }
    }
}

fn tokens(pattern: &str) -> Vec<Token> {
    let characters: Vec<char> = pattern.chars().collect();
    let mut tokens = Vec::new();
    let mut at = 0;
    while let Some(&character) = characters.get(at) {
        at += 1;
        tokens.push(match character {
            '*' => Token::Many,
            '?' => Token::One,
            '[' => match class(&characters, at) {
                Some((token, end)) => {
                    at = end;
                    token
                }
                None => Token::Literal('['),
            },
            _ => Token::Literal(character),
        });
    }
    tokens
}

/// Reads `[abc]`, `[a-z]` or `[!a]` behind its bracket; `None` when it is not closed.
fn class(characters: &[char], start: usize) -> Option<(Token, usize)> {
    let negated = characters.get(start) == Some(&'!');
    let first = start + usize::from(negated);
    // A `]` that stands first is one of the characters.
    let close = (first + 1..characters.len()).find(|at| characters[*at] == ']')?;
    let inner = &characters[first..close];
    let mut ranges = Vec::new();
    let mut at = 0;
    while at < inner.len() {
        if at + 2 < inner.len() && inner[at + 1] == '-' {
            ranges.push((inner[at], inner[at + 2]));
            at += 3;
        } else {
            ranges.push((inner[at], inner[at]));
            at += 1;
        }
    }
    Some((Token::Class { negated, ranges }, close + 1))
}

fn glob_matches(tokens: &[Token], text: &[char]) -> bool {
    let (mut token, mut at) = (0, 0);
    // Where to go on when what follows the last `*` does not fit.
    let mut retry: Option<(usize, usize)> = None;
    loop {
        match tokens.get(token) {
            Some(Token::Many) => {
                retry = Some((token + 1, at));
                token += 1;
                continue;
            }
            Some(one) if text.get(at).is_some_and(|character| one.takes(*character)) => {
                token += 1;
                at += 1;
                continue;
            }
            None if at == text.len() => return true,
            _ => {}
        }
        let Some((behind, from)) = retry.filter(|(_, from)| *from < text.len()) else {
            return false;
        };
        retry = Some((behind, from + 1));
        token = behind;
        at = from + 1;
    }
}

/// What stands in brackets behind a pattern.
#[derive(Clone, Copy)]
enum Subscript {
    One(i64),
    /// Both ends included; `None` goes to the last.
    Range(usize, Option<usize>),
}

/// Splits `[1]`, `[-1]`, `[1:3]` or `[1:]` off a pattern that is no regular expression.
fn subscript(pattern: &str) -> (&str, Option<Subscript>) {
    let split = || {
        let (expression, inner) = pattern.strip_suffix(']')?.rsplit_once('[')?;
        if expression.is_empty() || expression.starts_with('~') {
            return None;
        }
        let is_digits =
            |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        if is_digits(inner.strip_prefix('-').unwrap_or(inner)) {
            return Some((expression, Subscript::One(inner.parse().ok()?)));
        }
        let (start, end) = inner.split_once([':', '-'])?;
        if !is_digits(start) || !(end.is_empty() || is_digits(end)) {
            return None;
        }
        let start = start.parse().ok()?;
        Some((
            expression,
            match end {
                "" => Subscript::Range(start, None),
                // Python takes an end of zero for none, and picks one host.
                end => match end.parse().ok()? {
                    0 => Subscript::One(i64::try_from(start).ok()?),
                    end => Subscript::Range(start, Some(end)),
                },
            },
        ))
    };
    match split() {
        Some((expression, subscript)) => (expression, Some(subscript)),
        None => (pattern, None),
    }
}

/// Returns the hosts a subscript picks; `None` when there is no such host.
fn picked(hosts: &[Match], subscript: Subscript) -> Option<Vec<Match>> {
    match subscript {
        Subscript::One(number) => {
            let length = i64::try_from(hosts.len()).ok()?;
            let index = if number < 0 { length + number } else { number };
            let host = hosts.get(usize::try_from(index).ok()?)?;
            Some(vec![host.clone()])
        }
        Subscript::Range(start, end) => {
            let end = end.map_or(hosts.len(), |end| end.saturating_add(1).min(hosts.len()));
            Some(hosts.get(start..end).unwrap_or_default().to_vec())
        }
    }
}

/// Puts plain patterns first, then intersections, then exclusions; `all` where none is plain.
fn ordered(patterns: &[String]) -> Vec<&str> {
    let with = |prefix: Option<char>| {
        let patterns = patterns
            .iter()
            .map(String::as_str)
            .filter(|pattern| !pattern.is_empty());
        patterns.filter(move |pattern| {
            pattern
                .chars()
                .next()
                .filter(|first| matches!(first, '&' | '!'))
                == prefix
        })
    };
    let mut ordered: Vec<&str> = with(None).collect();
    if ordered.is_empty() {
        ordered.push("all");
    }
    ordered.extend(with(Some('&')));
    ordered.extend(with(Some('!')));
    ordered
}

/// Splits a pattern at commas, or at colons when it is no address; empty parts are dropped.
fn split(pattern: &str) -> Vec<String> {
    let parts = if pattern.contains(',') {
        pattern.split(',').map(str::to_string).collect()
    } else if address::parse(pattern).is_some() {
        vec![pattern.to_string()]
    } else {
        at_colons(pattern)
    };
    let trimmed = parts.iter().map(|part| part.trim().to_string());
    trimmed.filter(|part| !part.is_empty()).collect()
}

/// Splits at colons, blanks and stray brackets that stand outside a bracketed expression.
fn at_colons(pattern: &str) -> Vec<String> {
    let mut parts = vec![String::new()];
    let mut rest = pattern;
    while let Some(character) = rest.chars().next() {
        let bracketed = rest.strip_prefix('[').and_then(|inner| inner.find(']'));
        let length = bracketed.map_or(character.len_utf8(), |end| end + 2);
        let is_break = bracketed.is_none()
            && (character.is_whitespace() || matches!(character, ':' | '[' | ']'));
        if is_break {
            parts.push(String::new());
        } else if let Some(part) = parts.last_mut() {
            part.push_str(&rest[..length]);
        }
        rest = &rest[length..];
    }
    parts
}
