//! Python's equality, ordering and arithmetic on final values, and its literals as text.
//!
//! `==` on [`Value`] is strict about types; templates compare as Python does, where `1 == 1.0`
//! and `True == 1`.

use std::cmp::Ordering;

use crate::value::{Map, Value};

/// Tells whether Python calls two values equal.
pub(crate) fn equal(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::String(a), Value::String(b)) => a == b,
        (Value::Null, Value::Null) => true,
        (Value::List(a), Value::List(b)) => {
            a.len() == b.len() && a.iter().zip(b.iter()).all(|(a, b)| equal(a, b))
        }
        (Value::Map(a), Value::Map(b)) => {
            a.len() == b.len()
                && a.iter()
                    .all(|(key, value)| b.get(key).is_some_and(|other| equal(value, other)))
        }
        _ => match (Number::of(a), Number::of(b)) {
            (Some(a), Some(b)) => a.compare(b) == Some(Ordering::Equal),
            _ => false,
        },
    }
}

/// Orders two values as Python's `<` does; the error is Python's message, which names `operator`.
pub(crate) fn compare(a: &Value, b: &Value, operator: &str) -> Result<Ordering, String> {
    match (a, b) {
        (Value::String(a), Value::String(b)) => Ok(a.chars().cmp(b.chars())),
        (Value::List(a), Value::List(b)) => {
            for (a, b) in a.iter().zip(b.iter()) {
                if !equal(a, b) {
                    return compare(a, b, operator);
                }
            }
            Ok(a.len().cmp(&b.len()))
        }
        _ => match (Number::of(a), Number::of(b)) {
            (Some(a), Some(b)) => Ok(a.compare(b).unwrap_or(Ordering::Greater)),
            _ => Err(format!(
                "'{operator}' not supported between instances of '{}' and '{}'",
                a.python_type(),
                b.python_type()
            )),
        },
    }
}

/// Sorts by `key`, stable, as Python's `sorted` does.
pub(crate) fn sort_by_key<T>(
    items: Vec<T>,
    reverse: bool,
    key: impl Fn(&T) -> Value,
) -> Result<Vec<T>, String> {
    let mut keyed: Vec<(Value, T)> = items.into_iter().map(|item| (key(&item), item)).collect();
    let mut failure = None;
    keyed.sort_by(|(a, _), (b, _)| {
        let ordering = compare(a, b, "<").unwrap_or_else(|error| {
            failure.get_or_insert(error);
            Ordering::Equal
        });
        if reverse {
            ordering.reverse()
        } else {
            ordering
        }
    });
    match failure {
        Some(error) => Err(error),
        None => Ok(keyed.into_iter().map(|(_, item)| item).collect()),
    }
}

/// Tells whether `items` holds a value equal to `wanted`.
pub(crate) fn contains(items: &[Value], wanted: &Value) -> bool {
    items.iter().any(|item| equal(item, wanted))
}

/// The most items or bytes one operation may make; Python would run out of memory much later.
const LARGEST: usize = 1 << 28;

/// Refuses to make something of `size` items or bytes that no machine should hold.
pub(crate) fn room_for(size: Option<usize>) -> Result<usize, String> {
    size.filter(|size| *size <= LARGEST)
        .ok_or_else(|| "out of memory".to_owned())
}

/// A number as Python computes with it; booleans count as 0 and 1.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Number {
    Int(i128),
    Float(f64),
}

impl Number {
    /// Returns the number a value is, without conversion of text.
    pub(crate) fn of(value: &Value) -> Option<Self> {
        match value {
            Value::Bool(flag) => Some(Self::Int(i128::from(*flag))),
            Value::Int(number) => Some(Self::Int(*number)),
            Value::Float(number) => Some(Self::Float(*number)),
            _ => None,
        }
    }

    /// Returns the number as a float.
    #[expect(
        clippy::cast_precision_loss,
        reason = "Python's float() rounds the same way"
    )]
    pub(crate) fn to_f64(self) -> f64 {
        match self {
            Self::Int(number) => number as f64,
            Self::Float(number) => number,
        }
    }

    fn compare(self, other: Self) -> Option<Ordering> {
        match (self, other) {
            (Self::Int(a), Self::Int(b)) => Some(a.cmp(&b)),
            (a, b) => a.to_f64().partial_cmp(&b.to_f64()),
        }
    }
}

impl From<Number> for Value {
    fn from(number: Number) -> Self {
        match number {
            Number::Int(number) => Self::Int(number),
            Number::Float(number) => Self::Float(number),
        }
    }
}

/// Returns the value of a Python literal (scalars, lists, tuples, dictionaries), as
/// `ast.literal_eval` does; tuples and sets become lists.
pub(crate) fn literal(text: &str) -> Option<Value> {
    let mut reader = LiteralReader { rest: text.trim() };
    let value = reader.value(0)?;
    reader.rest.trim().is_empty().then_some(value)
}

struct LiteralReader<'a> {
    rest: &'a str,
}

impl LiteralReader<'_> {
    fn skip(&mut self) {
        self.rest = self.rest.trim_start();
    }

    fn take(&mut self, token: &str) -> bool {
        self.skip();
        match self.rest.strip_prefix(token) {
            Some(rest) => {
                self.rest = rest;
                true
            }
            None => false,
        }
    }

    fn value(&mut self, depth: usize) -> Option<Value> {
        if depth > 100 {
            return None;
        }
        self.skip();
        match self.rest.chars().next()? {
            '[' => self.items('[', ']', depth).map(|(items, _)| items.into()),
            '(' => {
                let (mut items, had_comma) = self.items('(', ')', depth)?;
                if items.len() == 1 && !had_comma {
                    items.pop()
                } else {
                    Some(items.into())
                }
            }
            '{' => self.dict(depth),
            '\'' | '"' => self.strings(),
            _ => self.word(),
        }
    }

    fn items(&mut self, open: char, close: char, depth: usize) -> Option<(Vec<Value>, bool)> {
        self.rest = self.rest.strip_prefix(open)?;
        let mut items = Vec::new();
        let mut had_comma = false;
        loop {
            self.skip();
            if let Some(rest) = self.rest.strip_prefix(close) {
                self.rest = rest;
                return Some((items, had_comma));
            }
            items.push(self.value(depth + 1)?);
            if self.take(",") {
                had_comma = true;
            } else {
                self.skip();
                self.rest = self.rest.strip_prefix(close)?;
                return Some((items, had_comma));
            }
        }
    }

    fn dict(&mut self, depth: usize) -> Option<Value> {
        self.rest = self.rest.strip_prefix('{')?;
        if self.take("}") {
            return Some(Map::new().into());
        }
        let first = self.value(depth + 1)?;
        if !self.take(":") {
            let mut items = vec![first];
            while self.take(",") {
                self.skip();
                if self.rest.starts_with('}') {
                    break;
                }
                items.push(self.value(depth + 1)?);
            }
            return self.take("}").then(|| items.into());
        }
        let mut map = Map::new();
        let mut key = first;
        loop {
            map.insert(key, self.value(depth + 1)?);
            if self.take("}") {
                return Some(map.into());
            }
            if !self.take(",") {
                return None;
            }
            if self.take("}") {
                return Some(map.into());
            }
            key = self.value(depth + 1)?;
            if !self.take(":") {
                return None;
            }
        }
    }

    fn strings(&mut self) -> Option<Value> {
        let mut text = String::new();
        loop {
            self.skip();
            match self.rest.chars().next() {
                Some(quote @ ('\'' | '"')) => self.string(quote, &mut text)?,
                _ => return Some(Value::from(text)),
            }
        }
    }

    fn string(&mut self, quote: char, text: &mut String) -> Option<()> {
        let triple: String = [quote; 3].iter().collect();
        let end = if self.rest.starts_with(&triple) {
            triple
        } else {
            quote.to_string()
        };
        let mut rest = &self.rest[end.len()..];
        loop {
            if let Some(after) = rest.strip_prefix(&end) {
                self.rest = after;
                return Some(());
            }
            let next = rest.chars().next()?;
            rest = &rest[next.len_utf8()..];
            if next == '\\' {
                let (character, used) = unescape(rest)?;
                text.extend(character);
                rest = &rest[used..];
            } else {
                text.push(next);
            }
        }
    }

    fn word(&mut self) -> Option<Value> {
        let end = self
            .rest
            .find([',', ']', ')', '}', ':', ' ', '\t', '\n'])
            .unwrap_or(self.rest.len());
        let (word, rest) = self.rest.split_at(end);
        self.rest = rest;
        match word {
            "True" => Some(true.into()),
            "False" => Some(false.into()),
            "None" => Some(Value::Null),
            _ => number(word),
        }
    }
}

fn number(word: &str) -> Option<Value> {
    let plain = word.replace('_', "");
    let unsigned = plain.trim_start_matches(['+', '-']);
    if !unsigned.starts_with(|c: char| c.is_ascii_digit() || c == '.') {
        return None;
    }
    for (prefix, radix) in [("0x", 16), ("0o", 8), ("0b", 2)] {
        if let Some(digits) = unsigned.to_lowercase().strip_prefix(prefix) {
            let magnitude = i128::from_str_radix(digits, radix).ok()?;
            return Some(Value::Int(if plain.starts_with('-') {
                -magnitude
            } else {
                magnitude
            }));
        }
    }
    let is_octal_like = unsigned.len() > 1
        && unsigned.starts_with('0')
        && unsigned.bytes().all(|byte| byte.is_ascii_digit())
        && unsigned.bytes().any(|byte| byte != b'0');
    if is_octal_like {
        return None;
    }
    plain
        .parse::<i128>()
        .map(Value::Int)
        .or_else(|_| plain.parse::<f64>().map(Value::Float))
        .ok()
}

/// Reads the escape after a backslash: what it stands for and how many bytes it took. An
/// unknown escape stands for itself, backslash included.
pub(crate) fn unescape(rest: &str) -> Option<(Vec<char>, usize)> {
    let next = rest.chars().next()?;
    let simple = match next {
        '\n' => return Some((Vec::new(), 1)),
        '\\' | '\'' | '"' => Some(next),
        'a' => Some('\x07'),
        'b' => Some('\x08'),
        'f' => Some('\x0c'),
        'n' => Some('\n'),
        'r' => Some('\r'),
        't' => Some('\t'),
        'v' => Some('\x0b'),
        _ => None,
    };
    if let Some(character) = simple {
        return Some((vec![character], 1));
    }
    let (radix, start, most) = match next {
        'x' => (16, 1, 2),
        'u' => (16, 1, 4),
        'U' => (16, 1, 8),
        '0'..='7' => (8, 0, 3),
        _ => return Some((vec!['\\', next], next.len_utf8())),
    };
    let digits: String = rest[start..]
        .chars()
        .take(most)
        .take_while(|character| character.is_digit(radix))
        .collect();
    let character = char::from_u32(u32::from_str_radix(&digits, radix).ok()?)?;
    Some((vec![character], start + digits.len()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_booleans_are_equal_across_types_and_text_is_not() {
        assert!(equal(&1.into(), &1.0.into()));
        assert!(equal(&true.into(), &1.into()));
        assert!(!equal(&"1".into(), &1.into()));
    }

    #[test]
    fn ordering_of_unlike_types_fails_in_pythons_words() {
        assert_eq!(
            compare(&"a".into(), &1.into(), "<"),
            Err("'<' not supported between instances of 'str' and 'int'".into())
        );
    }

    #[test]
    fn literals_are_read_as_python_reads_them() {
        assert_eq!(
            literal("{'a': [1, 2.5, None], 'b': (True,), \"c\": '\\x41\\n'}")
                .map(|v| v.to_string()),
            Some(r"{'a': [1, 2.5, None], 'b': [True], 'c': 'A\n'}".into())
        );
        assert_eq!(literal("007"), None);
        assert_eq!(literal("foo"), None);
    }
}
