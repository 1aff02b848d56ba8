//! Tells why a text is no YAML: the parser's finding in our words, and the classic mistake
//! behind it where one is recognised.
//!
//! Looks only at the line of the error, as Ansible does; changes nothing about what is accepted.

use std::sync::Arc;

use super::reader::mark_at;
use crate::error::Error;
use crate::node::Node;
use crate::source::{Mark, SourceFile};

/// Turns libyaml's error into ours.
pub(super) fn syntax_error(file: &Arc<SourceFile>, error: &libyaml_safer::Error) -> Error {
    // Where a quote is open is told, not the end of the file.
    let opened = error
        .context_mark()
        .filter(|_| error.problem().contains("unexpected end of stream"));
    let position = opened.or(error.problem_mark()).unwrap_or_default();
    let mark = last_place(file, mark_at(file, &position));
    let line = mark.line_text().unwrap_or("");
    if let Some(found) = classic_mistake(line, &mark, error.problem()) {
        return found;
    }
    let told = Error::content(plain_words(error.context(), error.problem())).at(&mark);
    match advice(error.problem()) {
        Some(help) => told.help(help),
        None => told,
    }
}

/// Returns the error for a key that is a list or a dictionary, mostly an unquoted template.
pub(super) fn unhashable(key: &Node) -> Error {
    let line = key.mark.line_text().unwrap_or("");
    if let Some(found) = unquoted_template(line, &key.mark) {
        return found;
    }
    if key.as_map().is_some() && line.contains("{{") {
        return Error::content("a template must be quoted")
            .at(&key.mark)
            .help("write `\"{{ … }}\"`");
    }
    Error::content(format!("{} cannot be a key", key.kind_name()))
        .at(&key.mark)
        .help("keys are text or numbers")
}

/// Finds a character that YAML forbids.
pub(super) fn unprintable(file: &Arc<SourceFile>, text: &str) -> Option<Error> {
    let at = text.find(|character: char| !is_printable(character))?;
    let character = text[at..].chars().next()?;
    let before = &text[..at];
    let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
    let number = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
    let line = number(before.matches('\n').count() + 1);
    let column = number(before[line_start..].chars().count() + 1);
    Some(
        Error::content(format!(
            "the character U+{:04X} is not allowed in YAML",
            character as u32
        ))
        .at(&Mark::new(file, line, column))
        .help("remove it, or write it as an escape in double quotes"),
    )
}

fn is_printable(character: char) -> bool {
    matches!(character,
        '\t' | '\n' | '\r' | ' '..='~' | '\u{85}' | '\u{a0}'..='\u{d7ff}' | '\u{e000}'..='\u{fffd}'
        | '\u{10000}'..)
}

/// Moves a mark behind the end of the text to the last line that has any.
fn last_place(file: &Arc<SourceFile>, mark: Mark) -> Mark {
    if mark.line_text().is_some() {
        return mark;
    }
    let number = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
    let line = file.text.lines().count().max(1);
    let column = file
        .text
        .lines()
        .last()
        .map_or(1, |last| last.chars().count() + 1);
    Mark::new(file, number(line), number(column))
}

fn classic_mistake(line: &str, mark: &Mark, info: &str) -> Option<Error> {
    tab(line, mark)
        .or_else(|| unquoted_template(line, mark))
        .or_else(|| unbalanced_quotes(line, mark))
        .or_else(|| second_colon(line, mark, info))
}

fn tab(line: &str, mark: &Mark) -> Option<Error> {
    let at = line.find('\t')?;
    let is_indent = line[..at].trim().is_empty();
    let told = if is_indent {
        "a tab cannot indent YAML"
    } else {
        "a tab cannot stand here"
    };
    Some(
        Error::content(told)
            .at(&at_column(mark, line, at))
            .help("indent with spaces"),
    )
}

fn unquoted_template(line: &str, mark: &Mark) -> Option<Error> {
    let at = value_start(line);
    let value = line[at..].trim_end();
    if !value.starts_with("{{") || !value.contains("}}") {
        return None;
    }
    let quoted = if value.contains('"') {
        format!("'{value}'")
    } else {
        format!("\"{value}\"")
    };
    Some(
        Error::content("this template must be quoted")
            .at(&at_column(mark, line, at))
            .help(format!("write `{quoted}`")),
    )
}

/// Finds `"foo" in bar`: a value that starts with a quote but does not end with it.
fn unbalanced_quotes(line: &str, mark: &Mark) -> Option<Error> {
    let at = value_start(line);
    let value = line[at..].trim_end();
    let quote = value
        .chars()
        .next()
        .filter(|first| matches!(first, '"' | '\''))?;
    let ends = value.len() > 1 && value.ends_with(quote);
    if ends && value.matches(quote).count() == 2 {
        return None;
    }
    let told = if ends {
        "a value that starts with a quote cannot contain that quote"
    } else {
        "a value that starts with a quote must end with the same quote"
    };
    Some(Error::content(told).at(&at_column(mark, line, at)).help(
        if value.matches(quote).count() == 1 {
            format!("close the quote with `{quote}`")
        } else {
            "put the other kind of quotes around the whole value".to_string()
        },
    ))
}

fn second_colon(line: &str, mark: &Mark, info: &str) -> Option<Error> {
    if !info.contains("mapping values are not allowed") {
        return None;
    }
    let start = value_start(line);
    let value = line[start..].trim_end();
    let colon = value
        .find(": ")
        .or_else(|| value.ends_with(':').then(|| value.len() - 1));
    let indent = line.len() - line.trim_start().len();
    match colon {
        Some(colon) if start > indent => Some(
            Error::content("a colon followed by a space starts a new key here")
                .at(&at_column(mark, line, start + colon))
                .help("quote the value when the colon belongs to it"),
        ),
        _ => Some(
            Error::content("a key cannot stand here")
                .at(&at_column(mark, line, indent))
                .help("check the indentation: keys of one mapping start in the same column"),
        ),
    }
}

/// Returns where the value begins, behind indentation, list dashes and one `key: `.
fn value_start(line: &str) -> usize {
    let mut at = line.len() - line.trim_start().len();
    while let Some(rest) = line[at..].strip_prefix("- ") {
        at = line.len() - rest.trim_start().len();
    }
    let rest = &line[at..];
    let Some(colon) = rest.find(": ") else {
        return at;
    };
    let is_key = rest[..colon]
        .chars()
        .all(|character| character.is_alphanumeric() || " _-.".contains(character));
    if !is_key {
        return at;
    }
    line.len() - rest[colon + 1..].trim_start().len()
}

fn at_column(mark: &Mark, line: &str, byte: usize) -> Mark {
    let column = line[..byte].chars().count() + 1;
    Mark::new(
        &mark.file,
        mark.line,
        u32::try_from(column).unwrap_or(u32::MAX),
    )
}

/// Returns libyaml's finding as one of our messages.
fn plain_words(context: Option<&str>, problem: &str) -> String {
    if let Some((_, words, _)) = known(problem) {
        return (*words).to_string();
    }
    let problem = problem
        .replace(['\'', '"'], "`")
        .replace("hexdecimal", "hexadecimal");
    match context {
        Some(context) => format!("{problem} {context}"),
        None => problem,
    }
}

fn advice(problem: &str) -> Option<&'static str> {
    known(problem).map(|(_, _, help)| *help)
}

const COLUMNS: &str = "check the indentation: keys of one mapping start in the same column";

/// What libyaml says, what we say, and what to do about it.
const FINDINGS: [(&str, &str, &str); 11] = [
    (
        "could not find expected ':'",
        "expected a `:` behind this key",
        "text goes on only where it is indented; a key needs a `:`",
    ),
    ("did not find expected key", "expected a key here", COLUMNS),
    (
        "did not find expected '-'",
        "expected a list item here",
        "check the indentation: items of one list start in the same column",
    ),
    (
        "unexpected end of stream",
        "this quote is never closed",
        "close the quote",
    ),
    (
        "unknown escape character",
        "this escape is unknown in double quotes",
        "write a backslash as `\\\\`, or use single quotes",
    ),
    (
        "hexdecimal number",
        "this escape needs hexadecimal digits",
        "write a backslash as `\\\\`, or use single quotes",
    ),
    (
        "block sequence entries",
        "a list cannot start on this line",
        "start the list on its own line",
    ),
    (
        "cannot start any token",
        "this character cannot start a value",
        "quote the value",
    ),
    (
        "',' or ']'",
        "expected `,` or `]` here",
        "close the `[`, and separate its items with `,`",
    ),
    (
        "',' or '}'",
        "expected `,` or `}` here",
        "close the `{`, and separate its items with `,`",
    ),
    (
        "<document start>",
        "the document has ended before this",
        "check the indentation, and that brackets and quotes are closed once",
    ),
];

fn known(problem: &str) -> Option<&'static (&'static str, &'static str, &'static str)> {
    FINDINGS
        .iter()
        .find(|(found, _, _)| problem.contains(found))
}
