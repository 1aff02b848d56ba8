//! Text arguments: `src=a dest="b c"` split as Ansible splits it, quotes and template blocks
//! kept whole.

use std::sync::LazyLock;

use fancy_regex::Regex;

/// The options that stay options in the text of a command module.
const COMMAND_OPTIONS: &[&str] = &[
    "creates",
    "removes",
    "chdir",
    "executable",
    "warn",
    "stdin",
    "stdin_add_newline",
    "strip_empty_ends",
];

/// Text arguments, split.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KeyValues {
    /// The `key=value` pairs; of two with one key the last counts.
    pub options: Vec<(String, String)>,
    /// The words that are no pairs, joined as written.
    pub rest: Option<String>,
}

/// Splits `text` into `key=value` options and the rest. With `command`, only the options of
/// command modules are options, everything else is the command. `None`: a quote or a template
/// block is not closed.
pub fn key_values(text: &str, command: bool) -> Option<KeyValues> {
    let mut found = KeyValues::default();
    let mut rest = Vec::new();
    for word in words(text)? {
        let decoded = decode_escapes(&word);
        match option_of(&decoded) {
            Some((key, value)) if !command || COMMAND_OPTIONS.contains(&key) => {
                let key = key.trim().to_owned();
                found.options.retain(|(known, _)| *known != key);
                found.options.push((key, unquote(value.trim()).to_owned()));
            }
            None if decoded.contains('=') => rest.push(decoded.replace("\\=", "=")),
            _ => rest.push(word),
        }
    }
    found.rest = (!rest.is_empty()).then(|| join(&rest));
    Some(found)
}

/// Splits at the first `=` that is neither the first character nor escaped.
fn option_of(word: &str) -> Option<(&str, &str)> {
    let at = word
        .char_indices()
        .zip(std::iter::once(None).chain(word.chars().map(Some)))
        .find(|((index, current), previous)| {
            *current == '=' && *index > 0 && *previous != Some('\\')
        })
        .map(|((index, _), _)| index)?;
    Some((&word[..at], &word[at + 1..]))
}

/// Joins words with a space, except after a line break.
fn join(words: &[String]) -> String {
    words.iter().fold(String::new(), |mut joined, word| {
        if !(joined.is_empty() || joined.ends_with('\n')) {
            joined.push(' ');
        }
        joined.push_str(word);
        joined
    })
}

/// Removes one pair of quotes around the whole text.
fn unquote(text: &str) -> &str {
    let is_quoted = ['"', '\''].into_iter().any(|quote| {
        text.len() > 1
            && text.starts_with(quote)
            && text.ends_with(quote)
            && !text[..text.len() - 1].ends_with('\\')
    });
    if is_quoted {
        &text[1..text.len() - 1]
    } else {
        text
    }
}

/// Splits on spaces and line breaks; what stands in quotes or in a template block stays one
/// word, and further spaces and line breaks stay at the end of the word before. `None`: a quote
/// or a block is not closed.
pub fn words(text: &str) -> Option<Vec<String>> {
    if text.is_empty() {
        return Some(Vec::new());
    }
    let mut state = Splitter::default();
    let lines: Vec<_> = text.split('\n').collect();
    for (index, line) in lines.iter().enumerate() {
        let continued = state.line(line);
        if index + 1 < lines.len() && !continued {
            state.extend("\n");
        }
    }
    (!state.is_open()).then_some(state.words)
}

/// The state of splitting, kept over spaces and line breaks.
#[derive(Default)]
struct Splitter {
    words: Vec<String>,
    quote: Option<char>,
    /// How many `{{`, `{%` and `{#` are open.
    open: [usize; 3],
}

impl Splitter {
    /// Takes one line; tells whether it ends in a lone backslash.
    fn line(&mut self, line: &str) -> bool {
        let mut continued = false;
        for (index, token) in line.split(' ').enumerate() {
            if token.is_empty() && index > 0 {
                self.extend(" ");
            } else if token == "\\" && self.quote.is_none() {
                continued = true;
            } else {
                self.token(token, index == 0);
            }
        }
        continued
    }

    fn token(&mut self, token: &str, first_of_line: bool) {
        let was_quoted = self.quote.is_some();
        let was_in_block = self.open.iter().any(|depth| *depth > 0);
        self.quote = quote_after(token, self.quote);
        let mut placed = true;
        if self.quote.is_some() && !was_quoted && !was_in_block {
            self.words.push(token.to_owned());
        } else if was_in_block || self.quote.is_some() || was_quoted {
            if !first_of_line {
                self.extend(" ");
            }
            self.extend(token);
        } else {
            placed = false;
        }
        for (depth, (start, end)) in
            self.open
                .iter_mut()
                .zip([("{{", "}}"), ("{%", "%}"), ("{#", "#}")])
        {
            let before = *depth;
            *depth =
                (before + token.matches(start).count()).saturating_sub(token.matches(end).count());
            if *depth != before && !placed {
                self.words.push(token.to_owned());
                placed = true;
            }
        }
        if !placed && !token.is_empty() {
            self.words.push(token.to_owned());
        }
    }

    fn extend(&mut self, text: &str) {
        match self.words.last_mut() {
            Some(word) => word.push_str(text),
            None => self.words.push(text.to_owned()),
        }
    }

    fn is_open(&self) -> bool {
        self.quote.is_some() || self.open.iter().any(|depth| *depth > 0)
    }
}

/// Returns the quote that is open after `token` when `quote` is open before it.
fn quote_after(token: &str, mut quote: Option<char>) -> Option<char> {
    let mut previous = None;
    for current in token.chars() {
        if matches!(current, '"' | '\'') && previous != Some('\\') {
            match quote {
                Some(open) if open == current => quote = None,
                Some(_) => {}
                None => quote = Some(current),
            }
        }
        previous = Some(current);
    }
    quote
}

/// Decodes Python's escapes: `\n`, `\t`, `\xHH`, `\uHHHH` …
fn decode_escapes(text: &str) -> String {
    static ESCAPE: LazyLock<Regex> = LazyLock::new(|| {
        Regex::new(r#"\\(?:U([0-9a-fA-F]{8})|u([0-9a-fA-F]{4})|x([0-9a-fA-F]{2})|([\\'"abfnrtv]))"#)
            .expect("the pattern is constant")
    });
    if !text.contains('\\') {
        return text.to_owned();
    }
    ESCAPE
        .replace_all(text, |captures: &fancy_regex::Captures<'_, str>| {
            let code = (1..=3).find_map(|group| captures.get(group));
            match code {
                Some(digits) => u32::from_str_radix(digits.as_str(), 16)
                    .ok()
                    .and_then(char::from_u32)
                    .map_or_else(|| captures[0].to_owned(), String::from),
                None => single_escape(&captures[4]).to_string(),
            }
        })
        .into_owned()
}

fn single_escape(letter: &str) -> char {
    match letter {
        "a" => '\x07',
        "b" => '\x08',
        "f" => '\x0c',
        "n" => '\n',
        "r" => '\r',
        "t" => '\t',
        "v" => '\x0b',
        other => other.chars().next().unwrap_or('\\'),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Shows a split as `options | rest`.
    fn show(text: &str, command: bool) -> String {
        match key_values(text, command) {
            Some(found) => format!("{:?} {:?}", found.options, found.rest),
            None => "unbalanced".to_owned(),
        }
    }

    /// Each expectation was printed by ansible-core 2.19.14's `parse_kv`.
    #[test]
    fn text_arguments_split_as_ansible_splits_them() {
        for (text, command, expected) in CASES {
            assert_eq!(show(text, *command), *expected, "{text:?} {command}");
        }
    }

    const CASES: &[(&str, bool, &str)] = &[
        (
            "src=a dest=b",
            false,
            "[(\"src\", \"a\"), (\"dest\", \"b\")] None",
        ),
        (
            "src=a dest='b c'",
            false,
            "[(\"src\", \"a\"), (\"dest\", \"b c\")] None",
        ),
        (
            "src=\"a b\" mode=0644",
            false,
            "[(\"src\", \"a b\"), (\"mode\", \"0644\")] None",
        ),
        (
            "path={{ a b }} x=1",
            false,
            "[(\"path\", \"{{ a b }}\"), (\"x\", \"1\")] None",
        ),
        ("{{ a }}", false, "[] Some(\"{{ a }}\")"),
        (
            "ls -l /tmp creates=/x",
            true,
            "[(\"creates\", \"/x\")] Some(\"ls -l /tmp\")",
        ),
        (
            "echo foo=bar chdir=/tmp",
            true,
            "[(\"chdir\", \"/tmp\")] Some(\"echo foo=bar\")",
        ),
        ("echo  two  spaces", true, "[] Some(\"echo  two  spaces\")"),
        ("echo a\\\n  b", true, "[] Some(\"echo a\\\\\\n  b\")"),
        (
            "echo 'a b' \"c d\"",
            true,
            "[] Some(\"echo 'a b' \\\"c d\\\"\")",
        ),
        ("x=a\\=b", false, "[(\"x\", \"a\\\\=b\")] None"),
        ("a\\=b", false, "[] Some(\"a=b\")"),
        ("=x", false, "[] Some(\"=x\")"),
        ("x=", false, "[(\"x\", \"\")] None"),
        ("x='it''s'", false, "[(\"x\", \"it''s\")] None"),
        ("x=\"a", false, "unbalanced"),
        ("{{ x", false, "unbalanced"),
        ("a=1\nb=2\n", false, "[(\"a\", \"1\"), (\"b\", \"2\")] None"),
        ("line1\nline2 x=1", true, "[] Some(\"line1\\nline2 x=1\")"),
        (
            "x={% if a %}b c{% endif %} y=2",
            false,
            "[(\"x\", \"{% if a %}b\"), (\"y\", \"2\")] Some(\"c{% endif %}\")",
        ),
        ("x={# c d #}", false, "[(\"x\", \"{# c d #}\")] None"),
        ("msg='a\\nb'", false, "[(\"msg\", \"a\\nb\")] None"),
        ("echo a\\tb", true, "[] Some(\"echo a\\\\tb\")"),
        (
            "x=\\x41 y=\\u00e9",
            false,
            "[(\"x\", \"A\"), (\"y\", \"é\")] None",
        ),
        ("a=1 a=2", false, "[(\"a\", \"2\")] None"),
        (" ", false, "[] Some(\" \")"),
        ("  lead x=1", false, "[(\"x\", \"1\")] Some(\"  lead\")"),
        ("x = 1", false, "[] Some(\"x = 1\")"),
        (
            "msg=\"{{ a | join(' ') }}\" y=z",
            false,
            "[(\"msg\", \"{{ a | join(' ') }}\"), (\"y\", \"z\")] None",
        ),
        (
            "echo {{ a }} {{ b c }} end",
            true,
            "[] Some(\"echo {{ a }} {{ b c }} end\")",
        ),
        ("printf '%s\\n' a", true, "[] Some(\"printf '%s\\\\n' a\")"),
        ("x=a'b c'd", false, "[(\"x\", \"a'b c'd\")] None"),
        ("stdin=hi cat", true, "[(\"stdin\", \"hi\")] Some(\"cat\")"),
        ("echo \\ x", true, "[] Some(\"echo x\")"),
        ("foo \\", true, "[] Some(\"foo\")"),
        (
            "x=\"a\" b=\"c\"",
            false,
            "[(\"x\", \"a\"), (\"b\", \"c\")] None",
        ),
        ("echo \"a\nb\"", true, "[] Some(\"echo \\\"a\\nb\\\"\")"),
    ];
}
