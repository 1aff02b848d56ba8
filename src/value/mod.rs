//! Final values: inert data as Ansible's users see it, ordered, printed as Python prints it.
//!
//! A value is never compiled as a template, whatever braces it holds (see [`crate::node`] for
//! source). A text may know where it came from. Knows nothing of templates or hosts.

mod bytes;
mod json;
mod printable;
mod python;
mod text;

use std::hash::{Hash, Hasher};
use std::sync::Arc;

use indexmap::{Equivalent, IndexMap};
use serde::de::{MapAccess, SeqAccess, Visitor};
use serde::ser::{SerializeMap, SerializeSeq};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

pub use bytes::{bytes_of_text, shown_text, text_of_bytes};
pub use json::{JsonStyle, to_json};
pub use python::{float_repr, repr};
pub use text::{Deprecation, Origin, Text};

/// An ordered dictionary. Keys are scalars; text keys are looked up by `&str`.
pub type Map = IndexMap<Value, Value>;

/// One final value. Cloning is cheap: texts and collections are shared.
///
/// `==` is strict about types (`Int(1)` is not `Float(1.0)` nor `Bool(true)`); the template room
/// owns Python's looser equality.
#[derive(Clone, Debug, Default)]
pub enum Value {
    #[default]
    Null,
    Bool(bool),
    Int(i128),
    Float(f64),
    String(Text),
    List(Arc<Vec<Value>>),
    Map(Arc<Map>),
}

impl Value {
    /// Makes a list.
    pub fn list<T: Into<Value>>(items: impl IntoIterator<Item = T>) -> Self {
        Self::List(Arc::new(items.into_iter().map(Into::into).collect()))
    }

    /// Makes a dictionary with text keys.
    pub fn map<K: AsRef<str>, V: Into<Value>>(pairs: impl IntoIterator<Item = (K, V)>) -> Self {
        pairs
            .into_iter()
            .map(|(key, value)| (Value::from(key.as_ref()), value.into()))
            .collect::<Map>()
            .into()
    }

    /// Returns a string with what is known of where it came from.
    pub fn as_text(&self) -> Option<&Text> {
        match self {
            Self::String(text) => Some(text),
            _ => None,
        }
    }

    /// Returns the text of a string.
    pub fn as_str(&self) -> Option<&str> {
        match self {
            Self::String(text) => Some(text),
            _ => None,
        }
    }

    /// Returns a boolean that is one, without coercion.
    pub fn as_bool(&self) -> Option<bool> {
        match self {
            Self::Bool(value) => Some(*value),
            _ => None,
        }
    }

    /// Returns an integer that is one, without coercion.
    pub fn as_int(&self) -> Option<i128> {
        match self {
            Self::Int(value) => Some(*value),
            _ => None,
        }
    }

    /// Returns the items of a list.
    pub fn as_list(&self) -> Option<&[Value]> {
        match self {
            Self::List(items) => Some(items),
            _ => None,
        }
    }

    /// Returns the pairs of a dictionary.
    pub fn as_map(&self) -> Option<&Map> {
        match self {
            Self::Map(map) => Some(map),
            _ => None,
        }
    }

    /// Returns the value under the text key `key` of a dictionary.
    pub fn get(&self, key: &str) -> Option<&Value> {
        self.as_map()?.get(key)
    }

    /// Tells whether Python calls the value true.
    pub fn is_truthy(&self) -> bool {
        match self {
            Self::Null => false,
            Self::Bool(value) => *value,
            Self::Int(value) => *value != 0,
            Self::Float(value) => *value != 0.0,
            Self::String(text) => !text.is_empty(),
            Self::List(items) => !items.is_empty(),
            Self::Map(map) => !map.is_empty(),
        }
    }

    /// Returns Ansible's soft boolean (`yes`, `on`, `1`, `true`, `t`, `y` and their opposites, any
    /// case), or `None` when it is not one.
    #[expect(
        clippy::float_cmp,
        reason = "only these two numbers stand for a boolean"
    )]
    pub fn to_soft_bool(&self) -> Option<bool> {
        match self {
            Self::Bool(value) => Some(*value),
            Self::Int(0) => Some(false),
            Self::Int(1) => Some(true),
            Self::Float(value) if *value == 0.0 => Some(false),
            Self::Float(value) if *value == 1.0 => Some(true),
            Self::String(text) => match text.trim().to_lowercase().as_str() {
                "y" | "yes" | "on" | "1" | "true" | "t" | "1.0" => Some(true),
                "n" | "no" | "off" | "0" | "false" | "f" | "0.0" => Some(false),
                _ => None,
            },
            _ => None,
        }
    }

    /// Returns Python's name of the type: `str`, `int`, `dict` …
    pub fn python_type(&self) -> &'static str {
        match self {
            Self::Null => "NoneType",
            Self::Bool(_) => "bool",
            Self::Int(_) => "int",
            Self::Float(_) => "float",
            Self::String(_) => "str",
            Self::List(_) => "list",
            Self::Map(_) => "dict",
        }
    }
}

impl PartialEq for Value {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Null, Self::Null) => true,
            (Self::Bool(a), Self::Bool(b)) => a == b,
            (Self::Int(a), Self::Int(b)) => a == b,
            (Self::Float(a), Self::Float(b)) => a.to_bits() == b.to_bits() || a == b,
            (Self::String(a), Self::String(b)) => a == b,
            (Self::List(a), Self::List(b)) => a == b,
            (Self::Map(a), Self::Map(b)) => a == b,
            _ => false,
        }
    }
}

impl Eq for Value {}

impl Hash for Value {
    /// Hashes a string exactly as `str` hashes, so that a map is looked up by `&str`.
    fn hash<H: Hasher>(&self, state: &mut H) {
        match self {
            Self::Null => 0_u8.hash(state),
            Self::Bool(value) => value.hash(state),
            Self::Int(value) => value.hash(state),
            // Zero has two bit patterns that are equal.
            Self::Float(value) => (if *value == 0.0 { 0 } else { value.to_bits() }).hash(state),
            Self::String(text) => str::hash(text, state),
            Self::List(items) => items.hash(state),
            Self::Map(map) => map.len().hash(state),
        }
    }
}

impl Equivalent<Value> for str {
    fn equivalent(&self, key: &Value) -> bool {
        key.as_str() == Some(self)
    }
}

impl From<bool> for Value {
    fn from(value: bool) -> Self {
        Self::Bool(value)
    }
}

macro_rules! from_integer {
    ($($integer:ty),*) => {$(
        impl From<$integer> for Value {
            fn from(value: $integer) -> Self {
                Self::Int(i128::from(value))
            }
        }
    )*};
}
from_integer!(i32, i64, i128, u8, u16, u32, u64);

impl From<usize> for Value {
    fn from(value: usize) -> Self {
        Self::Int(i128::try_from(value).expect("a usize fits an i128"))
    }
}

impl From<f64> for Value {
    fn from(value: f64) -> Self {
        Self::Float(value)
    }
}

impl From<Text> for Value {
    fn from(value: Text) -> Self {
        Self::String(value)
    }
}

impl From<&str> for Value {
    fn from(value: &str) -> Self {
        Self::String(value.into())
    }
}

impl From<String> for Value {
    fn from(value: String) -> Self {
        Self::String(value.into())
    }
}

impl From<Arc<str>> for Value {
    fn from(value: Arc<str>) -> Self {
        Self::String(value.into())
    }
}

impl From<Vec<Value>> for Value {
    fn from(value: Vec<Value>) -> Self {
        Self::List(Arc::new(value))
    }
}

impl From<Map> for Value {
    fn from(value: Map) -> Self {
        Self::Map(Arc::new(value))
    }
}

impl<T: Into<Value>> From<Option<T>> for Value {
    fn from(value: Option<T>) -> Self {
        value.map_or(Self::Null, Into::into)
    }
}

impl Serialize for Value {
    /// Serializes as JSON does; non-text keys become their JSON text, as Python's `json` does.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Null => serializer.serialize_unit(),
            Self::Bool(value) => serializer.serialize_bool(*value),
            Self::Int(value) => match i64::try_from(*value) {
                Ok(value) => serializer.serialize_i64(value),
                Err(_) => serializer.serialize_i128(*value),
            },
            Self::Float(value) => serializer.serialize_f64(*value),
            Self::String(text) => serializer.serialize_str(text),
            Self::List(items) => {
                let mut sequence = serializer.serialize_seq(Some(items.len()))?;
                for item in items.iter() {
                    sequence.serialize_element(item)?;
                }
                sequence.end()
            }
            Self::Map(map) => {
                let mut object = serializer.serialize_map(Some(map.len()))?;
                for (key, value) in map.iter() {
                    object.serialize_entry(&json::key_text(key), value)?;
                }
                object.end()
            }
        }
    }
}

impl<'de> Deserialize<'de> for Value {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ValueVisitor)
    }
}

struct ValueVisitor;

impl<'de> Visitor<'de> for ValueVisitor {
    type Value = Value;

    fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("a value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(Value::from(value))
    }

    fn visit_i128<E>(self, value: i128) -> Result<Value, E> {
        Ok(Value::Int(value))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(Value::from(value))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(Value::Float(value))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(Value::from(value))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut sequence: A) -> Result<Value, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = sequence.next_element::<Value>()? {
            items.push(item);
        }
        Ok(items.into())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut object: A) -> Result<Value, A::Error> {
        let mut map = Map::new();
        while let Some((key, value)) = object.next_entry::<String, Value>()? {
            map.insert(key.into(), value);
        }
        Ok(map.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_key_is_found_by_str_and_an_integer_key_is_not() {
        let map: Map = [
            (Value::from("80"), Value::from(1)),
            (Value::from(80), Value::from(2)),
        ]
        .into_iter()
        .collect();
        assert_eq!(map.get("80"), Some(&Value::from(1)));
        assert_eq!(map.get(&Value::from(80)), Some(&Value::from(2)));
    }

    #[test]
    fn json_text_round_trips_with_its_order_kept() {
        let text = r#"{"b":[1,2.5,null,true],"a":{"x":"y"}}"#;
        let value: Value = serde_json::from_str(text).unwrap();
        assert_eq!(serde_json::to_string(&value).unwrap(), text);
    }

    #[test]
    fn soft_booleans_are_ansibles_words_and_nothing_else() {
        assert_eq!(Value::from("Yes").to_soft_bool(), Some(true));
        assert_eq!(Value::from("off").to_soft_bool(), Some(false));
        assert_eq!(Value::from(1).to_soft_bool(), Some(true));
        assert_eq!(Value::from("2").to_soft_bool(), None);
        assert_eq!(Value::Null.to_soft_bool(), None);
    }
}
