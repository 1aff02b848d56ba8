//! JSON text as Python's `json.dumps` writes it: separators, indents, key order, escapes.
//!
//! `serde_json` is used where the reader is a program; this writer is for text a person or a
//! golden file compares with Ansible's.

use std::borrow::Cow;
use std::fmt::Write;

use super::{Value, float_repr};

/// How `json.dumps` is asked to write.
#[derive(Clone, Copy, Debug, Default)]
pub struct JsonStyle {
    /// Spaces per level; `None` writes one line with `", "` and `": "`.
    pub indent: Option<usize>,
    pub sort_keys: bool,
    /// Writes everything beyond ASCII as `\uXXXX`.
    pub ensure_ascii: bool,
}

/// Returns the JSON text of a value in the given style.
pub fn to_json(value: &Value, style: JsonStyle) -> String {
    let mut out = String::new();
    write_value(value, style, 0, &mut out);
    out
}

/// Returns the text a key has in JSON: Python turns scalars into their JSON text.
pub(super) fn key_text(key: &Value) -> Cow<'_, str> {
    match key {
        Value::String(text) => Cow::Borrowed(text),
        Value::Null => Cow::Borrowed("null"),
        Value::Bool(true) => Cow::Borrowed("true"),
        Value::Bool(false) => Cow::Borrowed("false"),
        Value::Float(number) => Cow::Owned(float_text(*number)),
        other => Cow::Owned(other.to_string()),
    }
}

fn write_value(value: &Value, style: JsonStyle, depth: usize, out: &mut String) {
    match value {
        Value::Null => out.push_str("null"),
        Value::Bool(true) => out.push_str("true"),
        Value::Bool(false) => out.push_str("false"),
        Value::Int(number) => out.push_str(&number.to_string()),
        Value::Float(number) => out.push_str(&float_text(*number)),
        Value::String(text) => write_string(text, style.ensure_ascii, out),
        Value::List(items) if items.is_empty() => out.push_str("[]"),
        Value::Map(map) if map.is_empty() => out.push_str("{}"),
        Value::List(items) => {
            out.push('[');
            for (index, item) in items.iter().enumerate() {
                separate(index, style, depth + 1, out);
                write_value(item, style, depth + 1, out);
            }
            close(']', style, depth, out);
        }
        Value::Map(map) => {
            let mut pairs: Vec<_> = map
                .iter()
                .map(|(key, item)| (key_text(key), item))
                .collect();
            if style.sort_keys {
                pairs.sort_by(|a, b| a.0.cmp(&b.0));
            }
            out.push('{');
            for (index, (key, item)) in pairs.into_iter().enumerate() {
                separate(index, style, depth + 1, out);
                write_string(&key, style.ensure_ascii, out);
                out.push_str(": ");
                write_value(item, style, depth + 1, out);
            }
            close('}', style, depth, out);
        }
    }
}

fn separate(index: usize, style: JsonStyle, depth: usize, out: &mut String) {
    match style.indent {
        Some(_) => {
            if index > 0 {
                out.push(',');
            }
            break_line(style, depth, out);
        }
        None if index > 0 => out.push_str(", "),
        None => {}
    }
}

fn close(bracket: char, style: JsonStyle, depth: usize, out: &mut String) {
    if style.indent.is_some() {
        break_line(style, depth, out);
    }
    out.push(bracket);
}

fn break_line(style: JsonStyle, depth: usize, out: &mut String) {
    out.push('\n');
    out.extend(std::iter::repeat_n(' ', style.indent.unwrap_or(0) * depth));
}

fn float_text(number: f64) -> String {
    if number.is_nan() {
        "NaN".into()
    } else if number.is_infinite() {
        if number > 0.0 {
            "Infinity".into()
        } else {
            "-Infinity".into()
        }
    } else {
        float_repr(number)
    }
}

fn write_string(text: &str, ensure_ascii: bool, out: &mut String) {
    out.push('"');
    for character in text.chars() {
        match character {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\u{8}' => out.push_str("\\b"),
            '\u{c}' => out.push_str("\\f"),
            c if (c as u32) < 0x20 || (ensure_ascii && !c.is_ascii()) => {
                for unit in c.encode_utf16(&mut [0; 2]) {
                    write!(out, "\\u{unit:04x}").expect("writing to a string cannot fail");
                }
            }
            c => out.push(c),
        }
    }
    out.push('"');
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Value {
        serde_json::from_str(r#"{"b":[1,{"x":[]}],"a":"ä\u0001\""}"#).unwrap()
    }

    #[test]
    fn one_line_json_has_pythons_separators() {
        assert_eq!(
            to_json(
                &sample(),
                JsonStyle {
                    ensure_ascii: true,
                    ..JsonStyle::default()
                }
            ),
            r#"{"b": [1, {"x": []}], "a": "\u00e4\u0001\""}"#
        );
    }

    #[test]
    fn indented_sorted_json_is_what_a_callback_prints() {
        let style = JsonStyle {
            indent: Some(4),
            sort_keys: true,
            ensure_ascii: false,
        };
        assert_eq!(
            to_json(&sample(), style),
            "{\n    \"a\": \"ä\\u0001\\\"\",\n    \"b\": [\n        1,\n        {\n            \"x\": []\n        }\n    ]\n}"
        );
    }
}
