//! Filters that turn one text into another: case, padding, comments, quoting, HTML.

use super::super::call::{Bound, Call, Given};
use super::super::finish::Finish;
use super::super::format::percent;
use super::super::frame::Frame;
use super::super::methods::text::{capitalize, split, split_lines, strip};
use super::super::python::room_for;
use super::super::runtime::{Dict, Evaluated, Val};
use super::super::syntax::Place;
use super::{Filter, data, running};
use crate::value::{JsonStyle, Value, repr, to_json};

pub(super) const FILTERS: &[Filter] = &[
    data("lower", "", |call| Ok(call.text().to_lowercase().into())),
    data("upper", "", |call| Ok(call.text().to_uppercase().into())),
    data("capitalize", "", |call| Ok(capitalize(&call.text()).into())),
    data("title", "", |call| Ok(title(&call.text()).into())),
    data("trim", "chars", |call| {
        Ok(strip(&call.text(), call.text_at(0).as_deref(), "strip").into())
    }),
    data("replace", "old! new! count", replace),
    data("split", "sep maxsplit", split_filter),
    data("indent", "width first blank", indent),
    data("truncate", "length killwords end leeway", truncate),
    data(
        "wordwrap",
        "width break_long_words wrapstring break_on_hyphens",
        wordwrap,
    ),
    data("wordcount", "", |call| Ok(words(&call.text()).into())),
    data("center", "width", center),
    data("quote", "", |call| {
        Ok(match &call.input {
            Value::Null => "''".into(),
            value => quote(&value.to_string()).into(),
        })
    }),
    data("comment", "style **", comment),
    data("escape", "", |call| Ok(escape(&call.text()).into())),
    data("e", "", |call| Ok(escape(&call.text()).into())),
    data("forceescape", "", |call| Ok(escape(&call.text()).into())),
    data("safe", "", |call| Ok(call.text().into())),
    data("striptags", "", |call| Ok(strip_tags(&call.text()).into())),
    data("pprint", "", |call| Ok(repr(&call.input).into())),
    data("tojson", "indent", tojson),
    data("filesizeformat", "binary", filesizeformat),
    data("xmlattr", "autospace", xmlattr),
    running("format", "* **", format),
];

fn title(text: &str) -> String {
    let mut out = String::new();
    let mut starts = true;
    for character in text.chars() {
        if character.is_whitespace() || "-([{<".contains(character) {
            out.push(character);
            starts = true;
        } else if starts {
            out.extend(character.to_uppercase());
            starts = false;
        } else {
            out.extend(character.to_lowercase());
        }
    }
    out
}

fn replace(call: &Call<'_>) -> Result<Value, String> {
    let text = call.text();
    let old = call.required(0).to_string();
    let new = call.required(1).to_string();
    Ok(
        match call.int(2)?.and_then(|count| usize::try_from(count).ok()) {
            Some(count) => text.replacen(&old, &new, count).into(),
            None => text.replace(&old, &new).into(),
        },
    )
}

fn split_filter(call: &Call<'_>) -> Result<Value, String> {
    let Some(text) = call.input.as_str() else {
        return Err(format!(
            "descriptor 'split' for 'str' objects doesn't apply to a '{}' object",
            call.input.python_type()
        ));
    };
    let separator = call.text_at(0);
    if separator.as_deref() == Some("") {
        return Err("empty separator".into());
    }
    let most = call.int(1)?.and_then(|most| usize::try_from(most).ok());
    Ok(Value::list(split(text, separator.as_deref(), most, false)))
}

fn indent(call: &Call<'_>) -> Result<Value, String> {
    let indention = match call.given(0) {
        None => "    ".to_owned(),
        Some(Value::String(text)) => text.to_string(),
        Some(_) => {
            let width = usize::try_from(call.int(0)?.unwrap_or(4)).unwrap_or(0);
            " ".repeat(room_for(Some(width))?)
        }
    };
    let Some(text) = call.input.as_str() else {
        return Err(format!(
            "unsupported operand type(s) for +=: '{}' and 'str'",
            call.input.python_type()
        ));
    };
    let blank = call.flag(2, false);
    let lines = split_lines(&format!("{text}\n"), false);
    let mut out = String::new();
    if call.flag(1, false) {
        out.push_str(&indention);
    }
    for (index, line) in lines.iter().enumerate() {
        if index > 0 {
            out.push('\n');
            if blank || !line.is_empty() {
                out.push_str(&indention);
            }
        }
        out.push_str(line);
    }
    Ok(out.into())
}

fn truncate(call: &Call<'_>) -> Result<Value, String> {
    let text = call.text();
    let length = usize::try_from(call.int(0)?.unwrap_or(255)).unwrap_or(0);
    let end = call.text_at(2).unwrap_or_else(|| "...".into());
    let leeway = usize::try_from(call.int(3)?.unwrap_or(5)).unwrap_or(0);
    let ending = end.chars().count();
    if length < ending {
        return Err(format!("expected length >= {ending}, got {length}"));
    }
    if text.chars().count() <= length + leeway {
        return Ok(text.into());
    }
    let cut: String = text.chars().take(length - ending).collect();
    if call.flag(1, false) {
        return Ok((cut + &end).into());
    }
    let whole = cut.rsplit_once(' ').map_or(&*cut, |(before, _)| before);
    Ok((whole.to_owned() + &end).into())
}

fn wordwrap(call: &Call<'_>) -> Result<Value, String> {
    let width = usize::try_from(call.int(0)?.unwrap_or(79)).unwrap_or(1);
    let breaks = call.flag(1, true);
    let joint = call.text_at(2).unwrap_or_else(|| "\n".into());
    let lines: Vec<String> = split_lines(&call.text(), false)
        .iter()
        .map(|line| wrapped(line, width, breaks).join(&joint))
        .collect();
    Ok(lines.join(&joint).into())
}

/// Wraps one line as Python's `textwrap.wrap` does without touching its white space.
pub(in crate::template) fn wrapped(line: &str, width: usize, breaks: bool) -> Vec<String> {
    let mut chunks: Vec<String> = Vec::new();
    for character in line.chars() {
        let is_space = character == ' ';
        match chunks.last_mut() {
            Some(last) if last.starts_with(' ') == is_space => last.push(character),
            _ => chunks.push(character.to_string()),
        }
    }
    chunks.reverse();
    let mut lines: Vec<String> = Vec::new();
    while !chunks.is_empty() {
        if !lines.is_empty() && chunks.last().is_some_and(|chunk| chunk.starts_with(' ')) {
            chunks.pop();
        }
        let mut current = String::new();
        while let Some(chunk) = chunks.last() {
            let length = current.chars().count() + chunk.chars().count();
            if length <= width {
                current.push_str(chunk);
                chunks.pop();
            } else {
                break;
            }
        }
        if let Some(chunk) = chunks.last_mut()
            && chunk.chars().count() > width
        {
            let room = width.saturating_sub(current.chars().count());
            if breaks && room > 0 {
                let head: String = chunk.chars().take(room).collect();
                *chunk = chunk.chars().skip(room).collect();
                current.push_str(&head);
            } else if current.is_empty() {
                current.push_str(chunk);
                chunks.pop();
            }
        }
        let line = current.trim_end_matches(' ');
        if !line.is_empty() {
            lines.push(line.to_owned());
        } else if current.is_empty() && chunks.is_empty() {
            break;
        }
    }
    lines
}

fn words(text: &str) -> usize {
    text.split(|c: char| !(c.is_alphanumeric() || c == '_'))
        .filter(|word| !word.is_empty())
        .count()
}

fn center(call: &Call<'_>) -> Result<Value, String> {
    let text = call.text();
    let width = usize::try_from(call.int(0)?.unwrap_or(80)).unwrap_or(0);
    let missing = room_for(Some(width.saturating_sub(text.chars().count())))?;
    let before = missing / 2 + (missing & width & 1);
    Ok(format!(
        "{}{text}{}",
        " ".repeat(before),
        " ".repeat(missing - before)
    )
    .into())
}

/// Quotes a text for a POSIX shell as Python's `shlex.quote` does.
pub fn quote(text: &str) -> String {
    let is_safe = |c: char| c.is_ascii_alphanumeric() || "@%+=:,./-_".contains(c);
    if !text.is_empty() && text.chars().all(is_safe) {
        return text.to_owned();
    }
    format!("'{}'", text.replace('\'', "'\"'\"'"))
}

fn comment(call: &Call<'_>) -> Result<Value, String> {
    let text = call.text();
    let style = call.text_at(0).unwrap_or_else(|| "plain".into());
    let (mut beginning, mut decoration, mut end) = match &*style {
        "plain" => ("", "# ", ""),
        "erlang" => ("", "% ", ""),
        "c" => ("", "// ", ""),
        "cblock" => ("/*", " * ", " */"),
        "xml" => ("<!--", " - ", "-->"),
        _ => return Err(format!("Invalid style '{style}'.")),
    };
    let option = |name: &str| call.named.get(name).map(ToString::to_string);
    let given_decoration = option("decoration");
    let (given_beginning, given_end) = (option("beginning"), option("end"));
    if let Some(given) = &given_decoration {
        decoration = given;
    }
    if let Some(given) = &given_beginning {
        beginning = given;
    }
    if let Some(given) = &given_end {
        end = given;
    }
    let edge = decoration.trim_end().to_owned();
    let newline = option("newline").unwrap_or_else(|| "\n".into());
    let prefix = option("prefix").unwrap_or_else(|| edge.clone());
    let postfix = option("postfix").unwrap_or_else(|| edge.clone());
    let count = |name: &str| -> Result<usize, String> {
        match call.named.get(name) {
            None => Ok(1),
            Some(value) => value
                .to_string()
                .parse()
                .map_err(|_| format!("invalid literal for int() with base 10: {}", repr(value))),
        }
    };
    let mut out = String::new();
    if !beginning.is_empty() {
        out.push_str(beginning);
        out.push_str(&newline);
    }
    if !prefix.is_empty() {
        let line = if prefix == newline {
            newline.clone()
        } else {
            format!("{prefix}{newline}")
        };
        out.push_str(&line.repeat(room_for(Some(count("prefix_count")?))?));
    }
    let decorated = format!(
        "{decoration}{}",
        text.replace(&newline, &format!("{newline}{decoration}"))
    );
    out.push_str(&decorated.replace(
        &format!("{decoration}{newline}"),
        &format!("{edge}{newline}"),
    ));
    out.push_str(&format!("{newline}{postfix}").repeat(room_for(Some(count("postfix_count")?))?));
    if !end.is_empty() {
        out.push_str(&newline);
        out.push_str(end);
    }
    Ok(out.into())
}

/// Escapes a text for HTML as markupsafe does.
pub(super) fn escape(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('>', "&gt;")
        .replace('<', "&lt;")
        .replace('\'', "&#39;")
        .replace('"', "&#34;")
}

fn strip_tags(text: &str) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some(start) = rest.find('<') {
        out.push_str(&rest[..start]);
        let Some(end) = rest[start..].find('>') else {
            rest = &rest[start..];
            break;
        };
        rest = &rest[start + end + 1..];
    }
    out.push_str(rest);
    let joined = out.split_whitespace().collect::<Vec<_>>().join(" ");
    joined
        .replace("&lt;", "<")
        .replace("&gt;", ">")
        .replace("&#34;", "\"")
        .replace("&quot;", "\"")
        .replace("&#39;", "'")
        .replace("&amp;", "&")
}

fn tojson(call: &Call<'_>) -> Result<Value, String> {
    let style = JsonStyle {
        indent: call.int(0)?.and_then(|indent| usize::try_from(indent).ok()),
        sort_keys: true,
        ensure_ascii: true,
    };
    Ok(to_json(&call.input, style)
        .replace('<', "\\u003c")
        .replace('>', "\\u003e")
        .replace('&', "\\u0026")
        .replace('\'', "\\u0027")
        .into())
}

fn filesizeformat(call: &Call<'_>) -> Result<Value, String> {
    let bytes = super::values::parse_float(&call.text())
        .ok_or_else(|| format!("could not convert string to float: {}", repr(&call.input)))?;
    let binary = call.flag(0, false);
    let base: f64 = if binary { 1024.0 } else { 1000.0 };
    let units = ["k", "M", "G", "T", "P", "E", "Z", "Y"];
    #[expect(clippy::float_cmp, reason = "exactly one byte is singular")]
    if bytes == 1.0 {
        return Ok("1 Byte".into());
    }
    if bytes < base {
        return Ok(format!("{} Bytes", bytes.trunc()).into());
    }
    let mut size = bytes;
    for (index, unit) in units.iter().enumerate() {
        size /= base;
        if size < base || index + 1 == units.len() {
            let unit = if binary {
                format!("{}iB", unit.to_uppercase())
            } else {
                format!("{unit}B")
            };
            return Ok(format!("{size:.1} {unit}").into());
        }
    }
    Ok(Value::Null)
}

fn xmlattr(call: &Call<'_>) -> Result<Value, String> {
    let Some(map) = call.input.as_map() else {
        return Err(format!(
            "'{}' object has no attribute 'items'",
            call.input.python_type()
        ));
    };
    let attributes: Vec<String> = map
        .iter()
        .filter(|(_, value)| !matches!(value, Value::Null))
        .map(|(key, value)| {
            format!(
                "{}=\"{}\"",
                escape(&key.to_string()),
                escape(&value.to_string())
            )
        })
        .collect();
    let joined = attributes.join(" ");
    Ok(if call.flag(0, true) && !joined.is_empty() {
        format!(" {joined}").into()
    } else {
        joined.into()
    })
}

fn format(frame: &mut Frame<'_>, input: Val, given: Bound<Val>, _: Place) -> Evaluated {
    let template = frame.run.text_of(&input)?;
    let Given { positional, named } = Given {
        positional: given.rest,
        named: given.named,
    };
    if !named.is_empty() {
        if !positional.is_empty() {
            return Err(frame
                .run
                .failure("can't handle positional and keyword arguments at the same time"));
        }
        let pairs: Dict = named
            .into_iter()
            .map(|(name, val)| (name.into(), val))
            .collect();
        return percent(frame, &template, &Val::dict(pairs));
    }
    percent(frame, &template, &Val::tuple(positional))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quoting_leaves_safe_words_and_shields_the_rest() {
        assert_eq!(quote("/a/b-c"), "/a/b-c");
        assert_eq!(quote("it's"), "'it'\"'\"'s'");
        assert_eq!(quote(""), "''");
    }

    #[test]
    fn wrapping_breaks_at_spaces_and_long_words() {
        assert_eq!(wrapped("aa bb cc", 5, true), ["aa bb", "cc"]);
        assert_eq!(wrapped("abcdef", 4, true), ["abcd", "ef"]);
    }
}
