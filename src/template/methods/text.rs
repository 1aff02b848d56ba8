//! Methods of `str`.

use std::sync::Arc;

use super::super::call::Given;
use super::super::finish::Finish;
use super::super::format::braces;
use super::super::frame::Frame;
use super::super::operators::pick;
use super::super::python::room_for;
use super::super::runtime::{Evaluated, Val};
use super::bind;
use crate::value::Value;

pub(super) const METHODS: &[&str] = &[
    "capitalize",
    "casefold",
    "center",
    "count",
    "encode",
    "endswith",
    "expandtabs",
    "find",
    "format",
    "format_map",
    "index",
    "isalnum",
    "isalpha",
    "isascii",
    "isdecimal",
    "isdigit",
    "isidentifier",
    "islower",
    "isnumeric",
    "isprintable",
    "isspace",
    "istitle",
    "isupper",
    "join",
    "ljust",
    "lower",
    "lstrip",
    "partition",
    "removeprefix",
    "removesuffix",
    "replace",
    "rfind",
    "rindex",
    "rjust",
    "rpartition",
    "rsplit",
    "rstrip",
    "split",
    "splitlines",
    "startswith",
    "strip",
    "swapcase",
    "title",
    "translate",
    "upper",
    "zfill",
];

/// Calls the method `name` of a text.
pub(super) fn call(
    frame: &mut Frame<'_>,
    text: &Arc<str>,
    name: &str,
    given: Given<Val>,
) -> Evaluated {
    match name {
        "format" => return braces(frame, text, &given),
        "format_map" => {
            let pairs = match given.positional.first() {
                Some(mapping) => frame.run.pairs(mapping)?.unwrap_or_default(),
                None => Vec::new(),
            };
            let named = pairs
                .into_iter()
                .map(|(key, val)| (key.to_string().into(), val))
                .collect();
            return braces(
                frame,
                text,
                &Given {
                    positional: Vec::new(),
                    named,
                },
            );
        }
        "join" => return join(frame, text, &given),
        "encode" => return Ok(Val::from(&**text)),
        "startswith" | "endswith" => return edge(frame, text, name, &given),
        _ => {}
    }
    if let Some(answer) = predicate(text, name) {
        return Ok(answer.into());
    }
    if let Some(changed) = cased(text, name) {
        return Ok(changed.into());
    }
    with_arguments(frame, text, name, given)
}

fn join(frame: &Frame<'_>, separator: &str, given: &Given<Val>) -> Evaluated {
    let Some(items) = given.positional.first() else {
        return Err(frame
            .run
            .raised("str.join() takes exactly one argument (0 given)"));
    };
    let mut parts = Vec::new();
    for (index, item) in frame.run.items(items)?.iter().enumerate() {
        let item = frame.run.force(item)?;
        match item.as_str() {
            Some(part) => parts.push(part.to_owned()),
            None => {
                return Err(frame.run.raised(format!(
                    "sequence item {index}: expected str instance, {} found",
                    item.type_name()
                )));
            }
        }
    }
    Ok(parts.join(separator).into())
}

fn edge(frame: &Frame<'_>, text: &str, name: &str, given: &Given<Val>) -> Evaluated {
    let text = window(
        frame,
        text,
        &given.positional[1.min(given.positional.len())..],
    )?;
    let wanted = match given.positional.first() {
        Some(Val::Tuple(items)) => items
            .iter()
            .map(|item| frame.run.text_of(item))
            .collect::<Evaluated<Vec<_>>>()?,
        Some(val) if val.as_str().is_some() => vec![frame.run.text_of(val)?],
        other => {
            return Err(frame.run.raised(format!(
                "{name} first arg must be str or a tuple of str, not {}",
                other.map_or("nothing", Val::type_name)
            )));
        }
    };
    Ok(wanted
        .iter()
        .any(|edge| {
            if name == "startswith" {
                text.starts_with(&**edge)
            } else {
                text.ends_with(&**edge)
            }
        })
        .into())
}

/// Returns the part of a text that optional start and end arguments leave.
fn window(frame: &Frame<'_>, text: &str, bounds: &[Val]) -> Evaluated<String> {
    let bound = |at: usize| match bounds.get(at) {
        Some(val) => match frame.run.data(val) {
            Ok(Value::Int(number)) => Ok(Some(number)),
            Ok(_) => Ok(None),
            Err(fault) => Err(fault),
        },
        None => Ok(None),
    };
    let characters: Vec<char> = text.chars().collect();
    let picked = pick(characters.len(), [bound(0)?, bound(1)?, None]).unwrap_or_default();
    Ok(picked.into_iter().map(|at| characters[at]).collect())
}

fn predicate(text: &str, name: &str) -> Option<bool> {
    let all = |test: fn(char) -> bool| !text.is_empty() && text.chars().all(test);
    let cased = || text.chars().any(|c| c.is_lowercase() || c.is_uppercase());
    Some(match name {
        "isalnum" => all(char::is_alphanumeric),
        "isalpha" => all(char::is_alphabetic),
        "isascii" => text.is_ascii(),
        "isdecimal" | "isdigit" => all(|c| c.is_ascii_digit()),
        "isnumeric" => all(char::is_numeric),
        "isspace" => all(char::is_whitespace),
        "islower" => cased() && !text.chars().any(char::is_uppercase),
        "isupper" => cased() && !text.chars().any(char::is_lowercase),
        "istitle" => cased() && title(text) == text,
        "isprintable" => !text.chars().any(char::is_control),
        "isidentifier" => {
            let mut characters = text.chars();
            characters
                .next()
                .is_some_and(|c| c == '_' || c.is_alphabetic())
                && characters.all(|c| c == '_' || c.is_alphanumeric())
        }
        _ => return None,
    })
}

fn cased(text: &str, name: &str) -> Option<String> {
    Some(match name {
        "lower" | "casefold" => text.to_lowercase(),
        "upper" => text.to_uppercase(),
        "capitalize" => capitalize(text),
        "title" => title(text),
        "swapcase" => text
            .chars()
            .flat_map(|c| -> Vec<char> {
                if c.is_uppercase() {
                    c.to_lowercase().collect()
                } else {
                    c.to_uppercase().collect()
                }
            })
            .collect(),
        _ => return None,
    })
}

/// Returns the text with its first letter large and the others small.
pub(in crate::template) fn capitalize(text: &str) -> String {
    let mut characters = text.chars();
    match characters.next() {
        Some(first) => {
            first.to_uppercase().collect::<String>() + &characters.as_str().to_lowercase()
        }
        None => String::new(),
    }
}

fn title(text: &str) -> String {
    let mut in_word = false;
    text.chars()
        .flat_map(|c| -> Vec<char> {
            let starts = !in_word;
            in_word = c.is_alphabetic();
            if starts {
                c.to_uppercase().collect()
            } else {
                c.to_lowercase().collect()
            }
        })
        .collect()
}

struct Arguments<'f, 'r> {
    frame: &'f Frame<'r>,
    values: Vec<Option<Val>>,
}

impl Arguments<'_, '_> {
    fn text(&self, index: usize) -> Evaluated<Option<String>> {
        match self.values.get(index).and_then(Option::as_ref) {
            None | Some(Val::Data(Value::Null)) => Ok(None),
            Some(Val::Data(Value::String(text))) => Ok(Some(text.to_string())),
            Some(other) => Err(self
                .frame
                .run
                .raised(format!("must be str, not {}", other.type_name()))),
        }
    }

    fn int(&self, index: usize) -> Evaluated<Option<i128>> {
        match self.values.get(index).and_then(Option::as_ref) {
            None => Ok(None),
            Some(Val::Data(Value::Int(number))) => Ok(Some(*number)),
            Some(Val::Data(Value::Bool(flag))) => Ok(Some(i128::from(*flag))),
            Some(other) => Err(self.frame.run.raised(format!(
                "'{}' object cannot be interpreted as an integer",
                other.type_name()
            ))),
        }
    }

    fn flag(&self, index: usize) -> Evaluated<bool> {
        match self.values.get(index).and_then(Option::as_ref) {
            Some(val) => self.frame.run.truth(val),
            None => Ok(false),
        }
    }
}

fn with_arguments(frame: &Frame<'_>, text: &str, name: &str, given: Given<Val>) -> Evaluated {
    let parameters = match name {
        "split" | "rsplit" => "sep maxsplit",
        "splitlines" => "keepends",
        "replace" => "old! new! count",
        "strip" | "lstrip" | "rstrip" => "chars",
        "find" | "rfind" | "index" | "rindex" | "count" => "sub! start end",
        "ljust" | "rjust" | "center" => "width! fillchar",
        "zfill" => "width!",
        "expandtabs" => "tabsize",
        "translate" => "table!",
        _ => "part!",
    };
    let arguments = Arguments {
        frame,
        values: bind(frame, given, name, parameters)?,
    };
    Ok(match name {
        "split" | "rsplit" => {
            let most = arguments
                .int(1)?
                .and_then(|most| usize::try_from(most).ok());
            let separator = arguments.text(0)?;
            if separator.as_deref() == Some("") {
                return Err(frame.run.raised("empty separator"));
            }
            let parts = split(text, separator.as_deref(), most, name == "rsplit");
            Val::list(parts.into_iter().map(Val::from))
        }
        "splitlines" => {
            let keep = arguments.flag(0)?;
            Val::list(split_lines(text, keep).into_iter().map(Val::from))
        }
        "replace" => {
            let old = arguments.text(0)?.unwrap_or_default();
            let new = arguments.text(1)?.unwrap_or_default();
            match arguments
                .int(2)?
                .and_then(|count| usize::try_from(count).ok())
            {
                Some(count) => text.replacen(&old, &new, count).into(),
                None => text.replace(&old, &new).into(),
            }
        }
        "strip" | "lstrip" | "rstrip" => strip(text, arguments.text(0)?.as_deref(), name).into(),
        "find" | "rfind" | "index" | "rindex" | "count" => search(&arguments, text, name)?,
        "ljust" | "rjust" | "center" | "zfill" => adjust(&arguments, text, name)?,
        "expandtabs" => {
            let width = arguments.int(0)?.unwrap_or(8);
            expand_tabs(text, usize::try_from(width).unwrap_or(0).min(1 << 16)).into()
        }
        "translate" => text.into(),
        "removeprefix" | "removesuffix" => {
            let part = arguments.text(0)?.unwrap_or_default();
            let left = if name == "removeprefix" {
                text.strip_prefix(&*part)
            } else {
                text.strip_suffix(&*part)
            };
            left.unwrap_or(text).into()
        }
        _ => {
            let separator = arguments.text(0)?.unwrap_or_default();
            if separator.is_empty() {
                return Err(frame.run.raised("empty separator"));
            }
            let parts = if name == "partition" {
                match text.split_once(&*separator) {
                    Some((before, after)) => [before, &separator, after],
                    None => [text, "", ""],
                }
            } else {
                match text.rsplit_once(&*separator) {
                    Some((before, after)) => [before, &separator, after],
                    None => ["", "", text],
                }
            };
            Val::tuple(parts.map(Val::from))
        }
    })
}

fn search(arguments: &Arguments<'_, '_>, text: &str, name: &str) -> Evaluated {
    let wanted = arguments.text(0)?.unwrap_or_default();
    let characters: Vec<char> = text.chars().collect();
    let bounds = [arguments.int(1)?, arguments.int(2)?, None];
    let picked = pick(characters.len(), bounds).unwrap_or_default();
    let start = picked.first().copied().unwrap_or(0);
    let window: String = picked.iter().map(|at| characters[*at]).collect();
    if name == "count" {
        let count = if wanted.is_empty() {
            window.chars().count() + 1
        } else {
            window.matches(&*wanted).count()
        };
        return Ok(count.into());
    }
    let found = if name.starts_with('r') {
        window.rfind(&*wanted)
    } else {
        window.find(&*wanted)
    };
    match found {
        Some(at) => Ok((start + window[..at].chars().count()).into()),
        None if name.ends_with("index") => Err(arguments.frame.run.raised("substring not found")),
        None => Ok((-1).into()),
    }
}

fn adjust(arguments: &Arguments<'_, '_>, text: &str, name: &str) -> Evaluated {
    let width = usize::try_from(arguments.int(0)?.unwrap_or(0)).unwrap_or(0);
    let missing = room_for(Some(width.saturating_sub(text.chars().count())))
        .map_err(|text| arguments.frame.run.raised(text))?;
    if name == "zfill" {
        let (sign, digits) = match text.chars().next() {
            Some(sign @ ('+' | '-')) => (sign.to_string(), &text[1..]),
            _ => (String::new(), text),
        };
        return Ok(format!("{sign}{}{digits}", "0".repeat(missing)).into());
    }
    let fill = arguments.text(1)?.unwrap_or_else(|| " ".into());
    if fill.chars().count() != 1 {
        return Err(arguments
            .frame
            .run
            .raised("The fill character must be exactly one character long"));
    }
    let before = match name {
        "rjust" => missing,
        "center" => missing / 2 + (missing & width & 1),
        _ => 0,
    };
    Ok(format!(
        "{}{text}{}",
        fill.repeat(before),
        fill.repeat(missing - before)
    )
    .into())
}

/// Splits as `str.split` and `str.rsplit` do.
pub(in crate::template) fn split(
    text: &str,
    separator: Option<&str>,
    most: Option<usize>,
    from_end: bool,
) -> Vec<String> {
    let owned = |parts: Vec<&str>| parts.into_iter().map(str::to_owned).collect::<Vec<_>>();
    match (separator, most) {
        (Some(separator), None) => owned(text.split(separator).collect()),
        (Some(separator), Some(most)) if from_end => {
            let mut parts = owned(text.rsplitn(most + 1, separator).collect());
            parts.reverse();
            parts
        }
        (Some(separator), Some(most)) => owned(text.splitn(most + 1, separator).collect()),
        (None, None) => owned(text.split_whitespace().collect()),
        (None, Some(most)) if from_end => {
            let mut parts = Vec::new();
            let mut rest = text.trim_end();
            while parts.len() < most {
                match rest.rfind(char::is_whitespace) {
                    Some(at) if !rest[at..].trim().is_empty() => {
                        parts.push(rest[at..].trim_start().to_owned());
                        rest = rest[..at].trim_end();
                    }
                    _ => break,
                }
            }
            let rest = rest.trim_end();
            if !rest.is_empty() {
                parts.push(rest.to_owned());
            }
            parts.reverse();
            parts
        }
        (None, Some(most)) => {
            let mut parts = Vec::new();
            let mut rest = text.trim_start();
            while parts.len() < most && !rest.is_empty() {
                match rest.find(char::is_whitespace) {
                    Some(at) => {
                        parts.push(rest[..at].to_owned());
                        rest = rest[at..].trim_start();
                    }
                    None => break,
                }
            }
            if !rest.is_empty() {
                parts.push(rest.to_owned());
            }
            parts
        }
    }
}

/// Splits at line boundaries as `str.splitlines` does.
pub(in crate::template) fn split_lines(text: &str, keep: bool) -> Vec<String> {
    let mut lines = Vec::new();
    let mut rest = text;
    while !rest.is_empty() {
        let Some(at) = rest.find(['\n', '\r', '\x0b', '\x0c', '\u{85}', '\u{2028}', '\u{2029}'])
        else {
            lines.push(rest.to_owned());
            break;
        };
        let width = if rest[at..].starts_with("\r\n") {
            2
        } else {
            rest[at..].chars().next().map_or(1, char::len_utf8)
        };
        lines.push(rest[..if keep { at + width } else { at }].to_owned());
        rest = &rest[at + width..];
    }
    lines
}

/// Strips as `str.strip`, `lstrip` and `rstrip` do.
pub(in crate::template) fn strip<'t>(
    text: &'t str,
    characters: Option<&str>,
    name: &str,
) -> &'t str {
    let unwanted = |c: char| match characters {
        Some(characters) => characters.contains(c),
        None => c.is_whitespace(),
    };
    match name {
        "lstrip" => text.trim_start_matches(unwanted),
        "rstrip" => text.trim_end_matches(unwanted),
        _ => text.trim_matches(unwanted),
    }
}

fn expand_tabs(text: &str, width: usize) -> String {
    let mut out = String::new();
    let mut column = 0;
    for c in text.chars() {
        match c {
            '\t' if width > 0 => {
                let spaces = width - column % width;
                out.extend(std::iter::repeat_n(' ', spaces));
                column += spaces;
            }
            '\t' => {}
            '\n' | '\r' => {
                out.push(c);
                column = 0;
            }
            c => {
                out.push(c);
                column += 1;
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn splitting_on_whitespace_drops_runs_and_edges() {
        assert_eq!(split("  a  b c ", None, None, false), ["a", "b", "c"]);
        assert_eq!(split("  a  b c ", None, Some(1), false), ["a", "b c "]);
        assert_eq!(split("a  b c ", None, Some(1), true), ["a  b", "c"]);
    }

    #[test]
    fn titles_start_anew_after_every_non_letter() {
        assert_eq!(title("it's a-b"), "It'S A-B");
    }
}
