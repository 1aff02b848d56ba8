//! Ansible's soft types: how `"yes"`, `"0644"`, `"a,b"` and `"3"` become typed options.
//!
//! Each soft rule and its error text lives here once. Texts are those of ansible-core 2.19.

use std::path::PathBuf;
use std::sync::Arc;

use crate::value::{Map, Value, repr};

/// The type an option is declared with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OptionType {
    Text,
    Boolean,
    Integer,
    Float,
    Path,
    List,
    Dictionary,
    /// Whatever was given.
    Raw,
}

impl OptionType {
    /// All names of types, those included that only a role's specification uses.
    pub(super) const NAMES: [&'static str; 12] = [
        "str", "bool", "int", "float", "path", "list", "dict", "raw", "json", "jsonarg", "bytes",
        "bits",
    ];

    /// Ansible's name of the type: `str`, `bool` …
    pub const fn name(self) -> &'static str {
        match self {
            Self::Text => "str",
            Self::Boolean => "bool",
            Self::Integer => "int",
            Self::Float => "float",
            Self::Path => "path",
            Self::List => "list",
            Self::Dictionary => "dict",
            Self::Raw => "raw",
        }
    }
}

/// A Rust type an option can have.
pub trait Argument: Sized {
    /// The declared type.
    const TYPE: OptionType;

    /// Converts a given value; the error is the part after `unable to convert to TYPE: `.
    fn convert(value: &Value) -> Result<Self, String>;

    /// Returns the value of an option that was neither given nor has a default.
    fn absent() -> Option<Self> {
        None
    }
}

impl Argument for String {
    const TYPE: OptionType = OptionType::Text;

    fn convert(value: &Value) -> Result<Self, String> {
        Ok(value.to_string())
    }
}

impl Argument for bool {
    const TYPE: OptionType = OptionType::Boolean;

    fn convert(value: &Value) -> Result<Self, String> {
        value.to_soft_bool().ok_or_else(|| match value {
            Value::List(_) | Value::Map(_) | Value::Null => {
                format!("{} cannot be converted to a bool", python_class(value))
            }
            _ => format!("The value '{value}' is not a valid boolean."),
        })
    }
}

impl Argument for i64 {
    const TYPE: OptionType = OptionType::Integer;

    fn convert(value: &Value) -> Result<Self, String> {
        let number = match value {
            Value::Int(number) => i64::try_from(*number).ok(),
            Value::Bool(flag) => Some(Self::from(*flag)),
            Value::String(text) => {
                let text = text.trim().replace('_', "");
                let decimal = || text.parse().ok().and_then(integral);
                text.parse().ok().or_else(decimal)
            }
            Value::Float(number) => integral(*number),
            _ => None,
        };
        number.ok_or_else(|| no_integer(value))
    }
}

impl Argument for f64 {
    const TYPE: OptionType = OptionType::Float;

    fn convert(value: &Value) -> Result<Self, String> {
        let number = match value {
            #[expect(
                clippy::cast_precision_loss,
                reason = "Python's float() rounds as well"
            )]
            Value::Int(number) => Some(*number as Self),
            Value::Float(number) => Some(*number),
            Value::Bool(flag) => Some(Self::from(u8::from(*flag))),
            Value::String(text) => text.trim().parse().ok(),
            _ => None,
        };
        number.ok_or_else(|| format!("{} cannot be converted to a float", python_class(value)))
    }
}

impl Argument for PathBuf {
    const TYPE: OptionType = OptionType::Path;

    /// Keeps the text: `~` and variables are expanded on the target, by `machine`.
    fn convert(value: &Value) -> Result<Self, String> {
        Ok(Self::from(value.to_string()))
    }
}

impl Argument for Value {
    const TYPE: OptionType = OptionType::Raw;

    fn convert(value: &Value) -> Result<Self, String> {
        Ok(value.clone())
    }
}

impl Argument for Map {
    const TYPE: OptionType = OptionType::Dictionary;

    fn convert(value: &Value) -> Result<Self, String> {
        match value {
            Value::Map(map) => Ok(Self::clone(map)),
            Value::String(text) => dictionary_from_text(text),
            _ => Err(format!(
                "{} cannot be converted to a dict",
                python_class(value)
            )),
        }
    }
}

impl<T: Argument> Argument for Vec<T> {
    const TYPE: OptionType = OptionType::List;

    fn convert(value: &Value) -> Result<Self, String> {
        match value {
            Value::List(items) => items.iter().map(T::convert).collect(),
            Value::String(text) if text.is_empty() => Ok(Self::new()),
            Value::String(text) => text
                .split(',')
                .map(|part| T::convert(&Value::from(part.trim())))
                .collect(),
            Value::Int(_) | Value::Float(_) => {
                Ok(vec![T::convert(&Value::from(value.to_string()))?])
            }
            _ => Err(format!(
                "{} cannot be converted to a list",
                python_class(value)
            )),
        }
    }
}

impl<T: Argument> Argument for Option<T> {
    const TYPE: OptionType = T::TYPE;

    fn convert(value: &Value) -> Result<Self, String> {
        T::convert(value).map(Some)
    }

    fn absent() -> Option<Self> {
        Some(None)
    }
}

/// A `mode` option: a number of bits, or clauses such as `u=rwX,go-w` that need the old mode.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Mode {
    Octal(u32),
    Symbolic(Arc<str>),
    /// `mode: preserve`, where a module allows it.
    Preserve,
}

impl Argument for Mode {
    const TYPE: OptionType = OptionType::Raw;

    /// Reads `"0644"` and `"644"` as octal digits and an integer as the bits it already is.
    fn convert(value: &Value) -> Result<Self, String> {
        match value {
            Value::Int(bits) => u32::try_from(*bits)
                .ok()
                .filter(|bits| *bits <= 0o7777)
                .map(Self::Octal)
                .ok_or_else(|| {
                    "bad symbolic permission for mode: ".to_owned() + &value.to_string()
                }),
            Value::String(text) if &**text == "preserve" => Ok(Self::Preserve),
            Value::String(text) => match u32::from_str_radix(text.trim_start_matches("0o"), 8) {
                Ok(bits) if bits <= 0o7777 => Ok(Self::Octal(bits)),
                Ok(_) => Err(format!("mode {text} is out of range")),
                Err(_) => Ok(Self::Symbolic(text.shared())),
            },
            _ => Err(format!(
                "mode must be in octal or symbolic form, got {}",
                repr(value)
            )),
        }
    }
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "integral and checked in range"
)]
fn integral(number: f64) -> Option<i64> {
    (number.fract() == 0.0 && number.abs() < 9e15).then_some(number as i64)
}

/// Returns what is said of a value that is no integer.
pub(super) fn no_integer(value: &Value) -> String {
    format!("\"{}\" cannot be converted to an int", repr(value))
}

/// Returns the class of a value as Python prints it.
pub(super) fn python_class(value: &Value) -> String {
    format!("<class '{}'>", value.python_type())
}

/// Reads `{"a": 1}` as JSON and `a=1, b="x y"` as Ansible's key=value dictionaries.
fn dictionary_from_text(text: &str) -> Result<Map, String> {
    if text.trim_start().starts_with('{') {
        return match serde_json::from_str(text) {
            Ok(Value::Map(map)) => Ok(Map::clone(&map)),
            _ => Err("unable to evaluate string as dictionary".into()),
        };
    }
    if !text.contains('=') {
        return Err("dictionary requested, could not parse JSON or key=value".into());
    }
    let mut map = Map::new();
    for field in split_fields(text) {
        let (key, value) = field
            .split_once('=')
            .ok_or("unable to evaluate string in the \"key=value\" format as dictionary")?;
        map.insert(key.trim().into(), value.into());
    }
    Ok(map)
}

/// Splits at commas and blanks outside quotes, dropping the quotes.
fn split_fields(text: &str) -> Vec<String> {
    let mut fields = vec![String::new()];
    let mut quote = None;
    let mut escaped = false;
    for character in text.trim().chars() {
        let field = fields.last_mut().expect("starts with one field");
        match (quote, character) {
            _ if escaped => {
                field.push(character);
                escaped = false;
            }
            (_, '\\') => escaped = true,
            (None, '\'' | '"') => quote = Some(character),
            (Some(open), c) if c == open => quote = None,
            (None, ',' | ' ') => fields.push(String::new()),
            (_, c) => field.push(c),
        }
    }
    fields.retain(|field| !field.is_empty());
    fields
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mode_is_octal_digits_as_text_and_bits_as_a_number() {
        assert_eq!(Mode::convert(&"0644".into()), Ok(Mode::Octal(0o644)));
        assert_eq!(Mode::convert(&"755".into()), Ok(Mode::Octal(0o755)));
        assert_eq!(Mode::convert(&Value::Int(420)), Ok(Mode::Octal(0o644)));
        assert_eq!(
            Mode::convert(&"u=rw,g=r".into()),
            Ok(Mode::Symbolic("u=rw,g=r".into()))
        );
    }

    #[test]
    fn a_dictionary_may_be_written_as_json_or_key_value_text() {
        let expected: Map = [("a".into(), "1".into()), ("b".into(), "x y".into())]
            .into_iter()
            .collect();
        assert_eq!(Map::convert(&"a=1, b='x y'".into()), Ok(expected));
        assert_eq!(
            Map::convert(&"a".into()),
            Err("dictionary requested, could not parse JSON or key=value".into())
        );
    }
}
