//! A file put together from fragments, as `assemble` does it on either end. Pure.

use crate::pyregex::Pattern;

/// What is done with the fragments of a directory.
#[derive(Debug, Default)]
pub(crate) struct Assembly {
    /// Fragments whose name does not match are left out.
    pub(crate) regexp: Option<Pattern>,
    pub(crate) ignore_hidden: bool,
    /// What stands between two fragments, with Python's escapes.
    pub(crate) delimiter: Option<String>,
}

impl Assembly {
    /// Tells whether a fragment belongs to the file.
    pub(crate) fn takes(&self, name: &str) -> bool {
        let is_hidden = self.ignore_hidden && name.starts_with('.');
        let matches = |pattern: &Pattern| matches!(pattern.search(name), Ok(Some(_)));
        !is_hidden && self.regexp.as_ref().is_none_or(matches)
    }

    /// Joins fragments in the order given: a newline between two where the first has none at its
    /// end, and the delimiter in a line of its own.
    pub(crate) fn join(&self, fragments: &[Vec<u8>]) -> Vec<u8> {
        let mut delimiter = self.delimiter.as_deref().map(unescaped).unwrap_or_default();
        if !delimiter.is_empty() && !delimiter.ends_with(b"\n") {
            delimiter.push(b'\n');
        }
        let mut whole = Vec::new();
        for (index, fragment) in fragments.iter().enumerate() {
            if let Some(before) = index.checked_sub(1) {
                if !fragments[before].ends_with(b"\n") {
                    whole.push(b'\n');
                }
                whole.extend_from_slice(&delimiter);
            }
            whole.extend_from_slice(fragment);
        }
        whole
    }
}

/// Decodes the escapes of Python's byte literals; an unknown one stays as it is.
fn unescaped(text: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        let (byte, length) = match (first, after.first()) {
            (b'\\', Some(b'n')) => (Some(b'\n'), 2),
            (b'\\', Some(b't')) => (Some(b'\t'), 2),
            (b'\\', Some(b'r')) => (Some(b'\r'), 2),
            (b'\\', Some(quoted @ (b'\\' | b'\'' | b'"'))) => (Some(*quoted), 2),
            (b'\\', Some(b'\n')) => (None, 2),
            (b'\\', Some(b'x')) => {
                let digits = after
                    .get(1..3)
                    .and_then(|digits| std::str::from_utf8(digits).ok());
                match digits.and_then(|digits| u8::from_str_radix(digits, 16).ok()) {
                    Some(byte) => (Some(byte), 4),
                    None => (Some(b'\\'), 1),
                }
            }
            _ => (Some(*first), 1),
        };
        bytes.extend(byte);
        rest = &rest[length..];
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pyregex::Flags;

    fn joined(delimiter: Option<&str>, fragments: &[&str]) -> String {
        let assembly = Assembly {
            delimiter: delimiter.map(str::to_owned),
            ..Assembly::default()
        };
        let fragments: Vec<_> = fragments
            .iter()
            .map(|text| text.as_bytes().to_vec())
            .collect();
        String::from_utf8(assembly.join(&fragments)).unwrap()
    }

    #[test]
    fn fragments_end_in_newlines_before_the_next_or_the_delimiter() {
        assert_eq!(joined(None, &["a", "b\n", "c"]), "a\nb\nc");
        assert_eq!(joined(Some("---"), &["a", "b\n", "c"]), "a\n---\nb\n---\nc");
        assert_eq!(joined(Some("\\n#\\x41\\n"), &["a\n", "b"]), "a\n\n#A\nb");
        assert_eq!(joined(Some("---"), &[]), "");
    }

    #[test]
    fn names_are_chosen_by_pattern_and_dot() {
        let assembly = Assembly {
            regexp: Some(Pattern::text(r"\.conf$", Flags::default()).unwrap()),
            ignore_hidden: true,
            delimiter: None,
        };
        assert!(assembly.takes("10-a.conf"));
        assert!(!assembly.takes(".a.conf"));
        assert!(!assembly.takes("a.conf~"));
    }
}
