//! What a text of SQL is made of, as far as a client has to know: where a statement ends, and
//! which word says what it does. Pure.

/// One statement of a text, without its semicolon.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Statement {
    pub(super) text: String,
    /// The word that says what it does, in upper case: after the queries of a `WITH` the first
    /// that is one.
    pub(super) verb: String,
}

/// Splits a text at its semicolons; empty statements and lone comments are left out.
pub(super) fn split(text: &str) -> Vec<Statement> {
    let mut all = Vec::new();
    let mut words: Vec<String> = Vec::new();
    let mut start = 0;
    let mut depth = 0_usize;
    let mut at = 0;
    let bytes = text.as_bytes();
    while at < bytes.len() {
        let rest = &text[at..];
        let length = match bytes[at] {
            b'\'' => {
                let escapes = at > 0 && matches!(bytes[at - 1], b'e' | b'E');
                quoted(rest, '\'', escapes)
            }
            b'"' => quoted(rest, '"', false),
            b'$' => dollars(rest).unwrap_or(1),
            b'-' if rest.starts_with("--") => rest.find('\n').unwrap_or(rest.len()),
            b'/' if rest.starts_with("/*") => comment(rest),
            b'(' => {
                if words.is_empty() {
                    // Only a query may stand in parentheses.
                    words.push("SELECT".into());
                }
                depth += 1;
                1
            }
            b')' => {
                depth = depth.saturating_sub(1);
                1
            }
            b';' => {
                push(&mut all, &text[start..at], &mut words);
                start = at + 1;
                depth = 0;
                1
            }
            letter if letter.is_ascii_alphabetic() || letter == b'_' => {
                let is_end = |letter: char| !letter.is_alphanumeric() && letter != '_';
                let length = rest.find(is_end).unwrap_or(rest.len());
                if depth == 0 {
                    words.push(rest[..length].to_uppercase());
                }
                length
            }
            letter => {
                if words.is_empty() && !letter.is_ascii_whitespace() {
                    words.push(String::new());
                }
                rest.chars().next().map_or(1, char::len_utf8)
            }
        };
        at += length;
    }
    push(&mut all, &text[start..], &mut words);
    all
}

fn push(all: &mut Vec<Statement>, text: &str, words: &mut Vec<String>) {
    let words = std::mem::take(words);
    let Some(first) = words.first() else {
        return;
    };
    let does = [
        "SELECT", "INSERT", "UPDATE", "DELETE", "MERGE", "VALUES", "TABLE",
    ];
    let verb = match first.as_str() {
        "WITH" => words.iter().find(|word| does.contains(&word.as_str())),
        _ => Some(first),
    };
    all.push(Statement {
        text: text.trim().to_owned(),
        verb: verb.unwrap_or(first).clone(),
    });
}

/// Returns the length of a quoted text; one that does not end goes to the end.
fn quoted(text: &str, quote: char, escapes: bool) -> usize {
    let mut letters = text.char_indices().skip(1).peekable();
    while let Some((at, letter)) = letters.next() {
        if escapes && letter == '\\' {
            letters.next();
        } else if letter == quote {
            if letters.peek().is_some_and(|(_, next)| *next == quote) {
                letters.next();
            } else {
                return at + 1;
            }
        }
    }
    text.len()
}

/// Returns the length of `$tag$…$tag$`.
fn dollars(text: &str) -> Option<usize> {
    let end = text[1..].find('$')? + 2;
    let tag = &text[..end];
    let inner = &tag[1..tag.len() - 1];
    let is_name = |letter: char| letter.is_alphanumeric() || letter == '_';
    if !inner.chars().all(is_name) || inner.starts_with(|letter: char| letter.is_ascii_digit()) {
        return None;
    }
    Some(
        text[end..]
            .find(tag)
            .map_or(text.len(), |at| end + at + end),
    )
}

/// Returns the length of a comment, with those inside of it.
fn comment(text: &str) -> usize {
    let mut depth = 0;
    let mut at = 0;
    while at < text.len() {
        let rest = &text[at..];
        if rest.starts_with("/*") {
            depth += 1;
            at += 2;
        } else if rest.starts_with("*/") {
            depth -= 1;
            at += 2;
            if depth == 0 {
                return at;
            }
        } else {
            at += rest.chars().next().map_or(1, char::len_utf8);
        }
    }
    text.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(text: &str) -> Vec<(String, String)> {
        let all = split(text).into_iter();
        all.map(|one| (one.verb, one.text)).collect()
    }

    #[test]
    fn a_semicolon_ends_a_statement_only_where_it_is_one() {
        for (text, expected) in [
            ("select 1", vec![("SELECT", "select 1")]),
            (
                "insert into a values (';'); \n update a set b = 1;;",
                vec![
                    ("INSERT", "insert into a values (';')"),
                    ("UPDATE", "update a set b = 1"),
                ],
            ),
            ("-- a;b\n/* c; /* d; */ ; */", vec![]),
            (
                "create function f() returns int as $x$ begin; $$;$$ end; $x$ language sql; select 'a'';'",
                vec![
                    (
                        "CREATE",
                        "create function f() returns int as $x$ begin; $$;$$ end; $x$ language sql",
                    ),
                    ("SELECT", "select 'a'';'"),
                ],
            ),
            (
                r#"select E'\';', ";""#,
                vec![("SELECT", r#"select E'\';', ";""#)],
            ),
            (
                "with a as (delete from b returning *) select * from a",
                vec![(
                    "SELECT",
                    "with a as (delete from b returning *) select * from a",
                )],
            ),
            ("(select 1)", vec![("SELECT", "(select 1)")]),
            ("select 'open;", vec![("SELECT", "select 'open;")]),
            ("select $1; é", vec![("SELECT", "select $1"), ("", "é")]),
        ] {
            let expected: Vec<_> = expected
                .into_iter()
                .map(|(verb, text)| (verb.to_owned(), text.to_owned()))
                .collect();
            assert_eq!(parts(text), expected, "{text}");
        }
    }
}
