//! How Python prints values: `str()` as `Display`, `repr()` for what stands inside collections.
//!
//! Must agree with CPython 3.11+ to the byte: users' templates depend on it.

use std::fmt::{self, Display, Write};

use super::Value;
use super::printable::is_printable;

impl Display for Value {
    /// Prints as Python's `str()`: bare text at the top, `repr()` inside collections.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::String(text) => f.write_str(text),
            other => f.write_str(&repr(other)),
        }
    }
}

/// Returns Python's `repr()` of a value.
pub fn repr(value: &Value) -> String {
    let mut text = String::new();
    write_repr(value, &mut text);
    text
}

fn write_repr(value: &Value, out: &mut String) {
    match value {
        Value::Null => out.push_str("None"),
        Value::Bool(true) => out.push_str("True"),
        Value::Bool(false) => out.push_str("False"),
        Value::Int(number) => out.push_str(&number.to_string()),
        Value::Float(number) => out.push_str(&float_repr(*number)),
        Value::String(text) => write_string_repr(text, out),
        Value::List(items) => {
            out.push('[');
            for (index, item) in items.iter().enumerate() {
                if index > 0 {
                    out.push_str(", ");
                }
                write_repr(item, out);
            }
            out.push(']');
        }
        Value::Map(map) => {
            out.push('{');
            for (index, (key, item)) in map.iter().enumerate() {
                if index > 0 {
                    out.push_str(", ");
                }
                write_repr(key, out);
                out.push_str(": ");
                write_repr(item, out);
            }
            out.push('}');
        }
    }
}

fn write_string_repr(text: &str, out: &mut String) {
    let quote = if text.contains('\'') && !text.contains('"') {
        '"'
    } else {
        '\''
    };
    out.push(quote);
    for character in text.chars() {
        match character {
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            c if c == quote => {
                out.push('\\');
                out.push(c);
            }
            c if !is_printable(c) => push_escaped(u32::from(c), out),
            c => out.push(c),
        }
    }
    out.push(quote);
}

fn push_escaped(code: u32, out: &mut String) {
    match code {
        0..=0xff => write!(out, "\\x{code:02x}"),
        0x100..=0xffff => write!(out, "\\u{code:04x}"),
        _ => write!(out, "\\U{code:08x}"),
    }
    .expect("writing to a string cannot fail");
}

/// Returns Python's shortest round-trip text of a float: `1.0`, `1e+16`, `1e-05`, `inf`.
pub fn float_repr(number: f64) -> String {
    if number.is_nan() {
        return "nan".into();
    }
    if number.is_infinite() {
        return if number > 0.0 {
            "inf".into()
        } else {
            "-inf".into()
        };
    }
    if number == 0.0 {
        return if number.is_sign_negative() {
            "-0.0".into()
        } else {
            "0.0".into()
        };
    }
    let scientific = format!("{number:e}");
    let (digits, exponent) = scientific
        .split_once('e')
        .expect("`{:e}` always writes an exponent");
    let exponent: i32 = exponent.parse().expect("`{:e}` writes a decimal exponent");
    if (-4..16).contains(&exponent) {
        let plain = format!("{number}");
        return if plain.contains('.') {
            plain
        } else {
            format!("{plain}.0")
        };
    }
    let sign = if exponent < 0 { '-' } else { '+' };
    format!("{digits}e{sign}{:02}", exponent.abs())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn collections_print_with_python_quotes_and_words() {
        let value: Value =
            serde_json::from_str(r#"{"a":[null,true,1,1.5,"it's","q\"'\n"],"b":{}}"#).unwrap();
        assert_eq!(
            value.to_string(),
            r#"{'a': [None, True, 1, 1.5, "it's", 'q"\'\n'], 'b': {}}"#
        );
        assert_eq!(Value::from("it's").to_string(), "it's");
    }

    #[test]
    fn what_python_cannot_print_is_escaped_and_nothing_else() {
        let text = "a\u{7f}\u{a0}\u{ad}\u{2028}\u{2029}\u{feff}\u{200b}\u{e000}\u{1f600}\u{e0001}é\u{378}漢";
        assert_eq!(
            repr(&Value::from(text)),
            r"'a\x7f\xa0\xad\u2028\u2029\ufeff\u200b\ue000😀\U000e0001é\u0378漢'"
        );
        assert_eq!(repr(&Value::from("\0\u{1b} ~")), r"'\x00\x1b ~'");
    }

    #[test]
    fn floats_print_as_python_prints_them() {
        for (number, text) in [
            (1.0, "1.0"),
            (0.1, "0.1"),
            (1e15, "1000000000000000.0"),
            (1e16, "1e+16"),
            (1.5e-5, "1.5e-05"),
            (0.0001, "0.0001"),
            (-0.0, "-0.0"),
            (f64::INFINITY, "inf"),
        ] {
            assert_eq!(float_repr(number), text);
        }
    }
}
