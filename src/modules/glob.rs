//! Shell patterns as Python's `fnmatch` and `glob` read them: `*`, `?`, `[seq]` and `[!seq]`.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

use crate::machine::{self, Machine};
use crate::pyregex::{Flags, Pattern};

/// A shell pattern for names; `*` and `?` match `/` and a leading dot too.
#[derive(Debug)]
pub(super) struct NamePattern(Pattern);

impl NamePattern {
    pub(super) fn new(pattern: &str) -> Self {
        let flags = Flags {
            dot_all: true,
            ..Flags::default()
        };
        let regex = Pattern::bytes(&to_regex(pattern), flags)
            .expect("the translation is a regular expression");
        Self(regex)
    }

    /// Tells whether the pattern matches the whole name.
    pub(super) fn matches(&self, name: &OsStr) -> bool {
        matches!(self.0.full_match(name.as_bytes()), Ok(Some(_)))
    }
}

/// Returns every path that a pattern matches, in the order of names.
pub(super) fn expand(machine: &Machine, pattern: &Path) -> machine::Result<Vec<PathBuf>> {
    let mut found = vec![PathBuf::from("/")];
    for component in pattern.components() {
        if matches!(component, Component::RootDir | Component::CurDir) {
            continue;
        }
        let part = component.as_os_str();
        let mut next = Vec::new();
        let pattern = part.to_str().filter(|text| text.contains(['*', '?', '[']));
        for directory in found {
            let Some(pattern) = pattern else {
                let path = directory.join(part);
                if machine.symlink_metadata(&path)?.is_some() {
                    next.push(path);
                }
                continue;
            };
            if !machine.is_dir(&directory)? {
                continue;
            }
            let (names, hidden) = (NamePattern::new(pattern), pattern.starts_with('.'));
            for entry in machine.read_dir(&directory)? {
                let is_shown = hidden || !entry.name.as_bytes().starts_with(b".");
                if is_shown && names.matches(&entry.name) {
                    next.push(directory.join(&entry.name));
                }
            }
        }
        found = next;
    }
    Ok(found)
}

/// Tells whether a path, or any path that a pattern matches, is there; a dangling link is.
pub(super) fn matches_any(machine: &Machine, pattern: &Path) -> machine::Result<bool> {
    Ok(!expand(machine, pattern)?.is_empty())
}

fn to_regex(pattern: &str) -> String {
    let mut regex = String::new();
    let mut rest = pattern;
    while let Some(character) = rest.chars().next() {
        rest = &rest[character.len_utf8()..];
        match character {
            '*' => regex.push_str(".*"),
            '?' => regex.push('.'),
            '[' => match class_end(rest) {
                Some(end) => {
                    push_class(&rest[..end], &mut regex);
                    rest = &rest[end + 1..];
                }
                None => regex.push_str("\\["),
            },
            other => push_literal(other, &mut regex),
        }
    }
    regex
}

/// Finds the `]` that ends a class; one right after `[` or `[!` is a member.
fn class_end(rest: &str) -> Option<usize> {
    let negation = usize::from(rest.starts_with('!'));
    let first = negation + usize::from(rest[negation..].starts_with(']'));
    rest[first..].find(']').map(|end| end + first)
}

fn push_class(members: &str, regex: &mut String) {
    let (negated, members) = match members.strip_prefix('!') {
        Some(members) => (true, members),
        None => (false, members),
    };
    regex.push_str(if negated { "[^" } else { "[" });
    for member in members.chars() {
        if member == '-' {
            regex.push('-');
        } else {
            push_literal(member, regex);
        }
    }
    regex.push(']');
}

fn push_literal(character: char, regex: &mut String) {
    if character.is_ascii_punctuation() {
        regex.push('\\');
    }
    regex.push(character);
}

#[cfg(test)]
mod tests {
    use super::super::testing::Target;
    use super::*;

    #[test]
    fn names_are_matched_as_fnmatch_matches_them() {
        for (pattern, name, expected) in [
            ("*.log", "a.log", true),
            ("*.log", ".log", true),
            ("a?c", "a/c", true),
            ("[a-c]x", "bx", true),
            ("[!a-c]x", "bx", false),
            ("[]]", "]", true),
            ("[a", "[a", true),
            ("a.b", "axb", false),
            ("{a,b}", "a", false),
            ("*", "\n", true),
        ] {
            let found = NamePattern::new(pattern).matches(name.as_ref());
            assert_eq!(found, expected, "{pattern} {name:?}");
        }
    }

    #[test]
    fn a_pattern_finds_paths_below_patterns_and_no_hidden_ones() {
        let target = Target::new()
            .file("d1/.hidden", "")
            .file("d2/seen", "")
            .link("d2/dangling", "nowhere");
        let finds = |name: &str| matches_any(&target.machine(), &target.path(name)).unwrap();
        assert!(finds("d?/s*n"));
        assert!(!finds("d1/*"));
        assert!(finds("d1/.h*"));
        assert!(finds("d2/dangling"));
        assert!(!finds("d3"));
        assert!(!finds("none/*"));
    }
}
