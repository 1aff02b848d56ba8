//! YAML in its canonical form, as libyaml writes it: every tag told, every scalar in quotes.

use super::emitter::{ScalarStyle, YamlStyle, to_yaml};
use super::representer::{float_text, sorted};
use crate::value::Value;

/// Returns a value as one canonical document.
pub fn to_canonical(value: &Value, style: &YamlStyle) -> String {
    let mut out = String::from("---\n");
    write(value, style, 0, &mut out);
    out.push('\n');
    out
}

fn write(value: &Value, style: &YamlStyle, level: usize, out: &mut String) {
    let inner = "  ".repeat(level + 1);
    match value {
        Value::List(items) => {
            out.push_str("!!seq [");
            for item in items.iter() {
                out.push('\n');
                out.push_str(&inner);
                write(item, style, level + 1, out);
                out.push(',');
            }
            close(items.is_empty(), ']', level, out);
        }
        Value::Map(map) => {
            out.push_str("!!map {");
            for (key, value) in sorted(map, style.sort_keys) {
                for (mark, part, end) in [("? ", key, ""), (": ", value, ",")] {
                    out.push('\n');
                    out.push_str(&inner);
                    out.push_str(mark);
                    write(part, style, level + 1, out);
                    out.push_str(end);
                }
            }
            close(map.is_empty(), '}', level, out);
        }
        Value::Null => scalar("null", "null".into(), style, out),
        Value::Bool(flag) => scalar("bool", flag.to_string(), style, out),
        Value::Int(number) => scalar("int", number.to_string(), style, out),
        Value::Float(number) => scalar("float", float_text(*number), style, out),
        Value::String(text) => scalar("str", text.to_string(), style, out),
    }
}

fn close(is_empty: bool, bracket: char, level: usize, out: &mut String) {
    if !is_empty {
        out.push('\n');
        out.push_str(&"  ".repeat(level));
    }
    out.push(bracket);
}

fn scalar(tag: &str, text: String, style: &YamlStyle, out: &mut String) {
    let quoted = YamlStyle {
        width: usize::MAX,
        scalars: Some(ScalarStyle::Double),
        ..*style
    };
    out.push_str("!!");
    out.push_str(tag);
    out.push(' ');
    out.push_str(to_yaml(&text.into(), &quoted).trim_end_matches('\n'));
}

#[cfg(test)]
mod tests {
    use super::*;

    // As ansible-core 2.19.14 with libyaml 0.2.5 writes it.
    #[test]
    fn every_tag_is_told_and_every_scalar_quoted() {
        let value: Value =
            serde_json::from_str(r#"{"a": [1, "b", null, true, 1.5], "b": {}, "c": []}"#).unwrap();
        assert_eq!(
            to_canonical(&value, &YamlStyle::default()),
            "---\n!!map {\n  ? !!str \"a\"\n  : !!seq [\n    !!int \"1\",\n    !!str \"b\",\n    !!null \"null\",\n    !!bool \"true\",\n    !!float \"1.5\",\n  ],\n  ? !!str \"b\"\n  : !!map {},\n  ? !!str \"c\"\n  : !!seq [],\n}\n"
        );
        assert_eq!(
            to_canonical(&"thing".into(), &YamlStyle::default()),
            "---\n!!str \"thing\"\n"
        );
    }
}
