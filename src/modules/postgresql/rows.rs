//! Values of a result as Python's driver gives them, from the texts that the server writes. Pure.

use crate::value::Value;

/// A column of a result.
#[derive(Clone, Debug)]
pub(super) struct Column {
    pub(super) name: String,
    /// The type's name, as the server writes it; of an array that of its items.
    kind: String,
    is_array: bool,
}

impl Column {
    pub(super) fn new(name: &str, kind: &str) -> Self {
        let (item, is_array) = match kind.strip_suffix("[]") {
            Some(item) => (item, true),
            None => (kind, false),
        };
        Self {
            name: name.to_owned(),
            kind: item.split('(').next().unwrap_or(item).to_owned(),
            is_array,
        }
    }
}

/// Reads one value; what has no type of its own in a playbook stays the server's text.
pub(super) fn typed(column: &Column, text: Option<&str>) -> Value {
    let Some(text) = text else {
        return Value::Null;
    };
    if column.is_array {
        return array(&column.kind, text).unwrap_or_else(|| text.into());
    }
    scalar(&column.kind, text)
}

fn scalar(kind: &str, text: &str) -> Value {
    let number = || {
        text.parse::<f64>()
            .map_or_else(|_| text.into(), Value::from)
    };
    match kind {
        "integer" | "bigint" | "smallint" | "oid" => text
            .parse::<i64>()
            .map_or_else(|_| text.into(), Value::from),
        "numeric" | "real" | "double precision" => number(),
        "boolean" => (text == "t").into(),
        "json" | "jsonb" => serde_json::from_str(text).unwrap_or_else(|_| text.into()),
        "timestamp without time zone" | "timestamp with time zone" => timestamp(text).into(),
        _ => text.into(),
    }
}

/// Writes a point in time as Python's `isoformat` does.
fn timestamp(text: &str) -> String {
    let Some((date, time)) = text.split_once(' ') else {
        return text.to_owned();
    };
    let zone_at = time.find(['+', '-']).unwrap_or(time.len());
    let (clock, zone) = time.split_at(zone_at);
    let clock = match clock.split_once('.') {
        Some((whole, part)) => format!("{whole}.{part:0<6}"),
        None => clock.to_owned(),
    };
    let zone = if zone.len() == 3 {
        format!("{zone}:00")
    } else {
        zone.to_owned()
    };
    format!("{date}T{clock}{zone}")
}

/// Reads `{1,NULL,"a b"}`, arrays in arrays too.
fn array(kind: &str, text: &str) -> Option<Value> {
    // Bounds other than 1 are written before the items.
    let start = text.find('{')?;
    let mut letters = text[start + 1..].chars().peekable();
    let value = items(kind, &mut letters)?;
    letters.next().is_none().then_some(value)
}

fn items(kind: &str, letters: &mut std::iter::Peekable<std::str::Chars<'_>>) -> Option<Value> {
    let mut all: Vec<Value> = Vec::new();
    loop {
        match letters.peek()? {
            '}' => {
                letters.next();
                return Some(Value::list(all));
            }
            ',' => {
                letters.next();
            }
            '{' => {
                letters.next();
                all.push(items(kind, letters)?);
            }
            '"' => {
                letters.next();
                let mut text = String::new();
                loop {
                    match letters.next()? {
                        '"' => break,
                        '\\' => text.push(letters.next()?),
                        letter => text.push(letter),
                    }
                }
                all.push(scalar(kind, &text));
            }
            _ => {
                let mut text = String::new();
                while let Some(letter) = letters.next_if(|letter| !matches!(letter, ',' | '}')) {
                    text.push(letter);
                }
                all.push(if text == "NULL" {
                    Value::Null
                } else {
                    scalar(kind, &text)
                });
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn json(kind: &str, text: &str) -> String {
        serde_json::to_string(&typed(&Column::new("x", kind), Some(text))).unwrap()
    }

    #[test]
    fn each_type_is_read_as_the_driver_does() {
        for (kind, text, expected) in [
            ("integer", "-3", "-3"),
            ("numeric(5,2)", "1.50", "1.5"),
            ("boolean", "f", "false"),
            ("text", "t", r#""t""#),
            ("character varying(3)", "5", r#""5""#),
            (
                "timestamp with time zone",
                "2024-01-02 03:04:05+00",
                r#""2024-01-02T03:04:05+00:00""#,
            ),
            ("timestamp without time zone", "infinity", r#""infinity""#),
            ("integer[]", "{{1,2},{3,NULL}}", "[[1,2],[3,null]]"),
            (
                "text[]",
                r#"{"NULL",NULL,"a\"b,",}"#,
                r#"["NULL",null,"a\"b,"]"#,
            ),
            ("integer[]", "[0:1]={1,2}", "[1,2]"),
            ("integer[]", "{}", "[]"),
            ("text[]", "{broken", r#""{broken""#),
            ("jsonb", r#"{"a": 1}"#, r#"{"a":1}"#),
        ] {
            assert_eq!(json(kind, text), expected, "{kind} {text}");
        }
        assert_eq!(typed(&Column::new("x", "integer"), None), Value::Null);
    }
}
