//! Spells a text so that libyaml-safer 0.3.0 does not panic on it, without changing its meaning.
//!
//! It panics on a block scalar or an escape at the very end of a text without a line break, and
//! in a flow collection on a tag right before a comma (`[!tag, x]`). Delete this file when a
//! release has neither.

use std::borrow::Cow;
use std::collections::BTreeSet;

use libyaml_safer::{Encoding, Scanner, TokenData};

/// Returns the text, or a copy with a line break or a few blanks put in.
pub(super) fn text(text: &str) -> Cow<'_, str> {
    if text.ends_with('\n') || text.is_empty() {
        spaced(text)
    } else {
        Cow::Owned(spaced(&format!("{text}\n")).into_owned())
    }
}

/// Puts a blank between each tag and the comma that follows it.
fn spaced(text: &str) -> Cow<'_, str> {
    let commas = candidates(text);
    if commas.is_empty() {
        return Cow::Borrowed(text);
    }
    let all = with_blanks(text, &commas);
    // A text that cannot be scanned has no meaning to keep.
    let Some(ends) = tag_ends(&all) else {
        return Cow::Owned(all);
    };
    // In quotes and comments it is no tag: only behind one that is scanned the blank stays.
    let places = commas.into_iter().enumerate();
    let real: Vec<usize> = places
        .filter(|(index, comma)| ends.contains(&(comma + index)))
        .map(|(_, comma)| comma)
        .collect();
    Cow::Owned(with_blanks(text, &real))
}

/// Returns the bytes of the commas that may end a tag.
fn candidates(text: &str) -> Vec<usize> {
    let bytes = text.as_bytes();
    let mut found = BTreeSet::new();
    for (start, _) in text.match_indices('!') {
        let rest = &bytes[start..];
        let is_end = |byte: &u8| byte.is_ascii_whitespace() || b",[]{}".contains(byte);
        let length = if rest.get(1) == Some(&b'<') {
            rest.iter()
                .position(|byte| *byte == b'>')
                .map(|length| length + 1)
        } else {
            rest.iter().position(is_end)
        };
        let end = length.map(|length| start + length);
        found.extend(end.filter(|end| bytes.get(*end) == Some(&b',')));
    }
    found.into_iter().collect()
}

fn with_blanks(text: &str, commas: &[usize]) -> String {
    let mut out = String::with_capacity(text.len() + commas.len());
    let mut from = 0;
    for comma in commas {
        out.push_str(&text[from..*comma]);
        out.push(' ');
        from = *comma;
    }
    out.push_str(&text[from..]);
    out
}

/// Returns the bytes behind the tags of a text, or `None` when it cannot be scanned.
fn tag_ends(text: &str) -> Option<Vec<usize>> {
    let mut bytes = text.as_bytes();
    let mut scanner: Scanner<&mut &[u8]> = Scanner::new();
    scanner.set_encoding(Encoding::Utf8);
    scanner.set_input_string(&mut bytes);
    let mut ends = Vec::new();
    for token in scanner {
        let token = token.ok()?;
        if matches!(token.data, TokenData::Tag { .. }) {
            ends.extend(usize::try_from(token.end_mark.index));
        }
    }
    Some(ends)
}

#[cfg(test)]
mod tests {
    use super::text;

    #[test]
    fn only_what_the_parser_cannot_take_is_changed() {
        for (given, expected) in [
            ("[!a, b]\n", "[!a , b]\n"),
            ("{x: &y !vault, y: !<z>,}\n", "{x: &y !vault , y: !<z> ,}\n"),
            (
                "['!a, b', !c, \"d !e, f\"]\n",
                "['!a, b', !c , \"d !e, f\"]\n",
            ),
            ("a: hello !world, you\n", "a: hello !world, you\n"),
            ("# !a, b\n- c\n", "# !a, b\n- c\n"),
            ("a: \"\\", "a: \"\\\n"),
        ] {
            assert_eq!(text(given), expected);
        }
    }
}
