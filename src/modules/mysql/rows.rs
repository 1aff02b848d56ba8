//! What the client program prints: result sets as XML, and the types of their columns. Pure.

use crate::value::{Map, Value};

/// One row: a dictionary in the order of the columns.
pub(super) type Row = Map;

/// Reads the result sets of `--xml`.
pub(super) fn result_sets(text: &str) -> Vec<Vec<Row>> {
    let mut all = Vec::new();
    let mut rest = text;
    while let Some(at) = rest.find("<resultset ") {
        rest = &rest[at..];
        let Some(open) = rest.find('>') else {
            break;
        };
        let Some(end) = rest.find("</resultset>") else {
            break;
        };
        let body = rest.get(open + 1..end).unwrap_or_default();
        all.push(body.split("<row>").skip(1).map(row).collect());
        rest = &rest[end..];
    }
    all
}

fn row(text: &str) -> Row {
    let mut row = Row::new();
    let mut rest = text;
    while let Some((_, after)) = rest.split_once("<field name=\"") {
        let Some((name, after)) = after.split_once('"') else {
            break;
        };
        let Some((attributes, after)) = after.split_once('>') else {
            break;
        };
        let value = if attributes.contains("xsi:nil") {
            rest = after;
            Value::Null
        } else {
            let (value, after) = after.split_once("</field>").unwrap_or((after, ""));
            rest = after;
            plain(value).into()
        };
        row.insert(plain(name).into(), value);
    }
    row
}

/// Takes the escapes of XML out.
fn plain(text: &str) -> String {
    text.replace("&lt;", "<")
        .replace("&gt;", ">")
        .replace("&quot;", "\"")
        .replace("&amp;", "&")
}

/// Returns the statement that has the columns of a query and does nothing; `None` where there is
/// no such.
pub(super) fn question(query: &str) -> Option<String> {
    let query = query.trim().trim_end_matches(';').trim_end();
    let is_word = |letter: char| letter.is_ascii_alphabetic() || letter == '(';
    let first: String = query
        .chars()
        .take_while(|letter| is_word(*letter))
        .collect();
    match first.to_uppercase().trim_start_matches('(') {
        "SELECT" | "WITH" | "VALUES" | "TABLE" => {
            Some(format!("SELECT * FROM (\n{query}\n) AS t LIMIT 0"))
        }
        "SHOW" | "DESCRIBE" | "DESC" | "EXPLAIN" => Some(query.to_owned()),
        _ => None,
    }
}

/// Reads the names and types of the columns, as `--column-type-info` prints them.
pub(super) fn types(text: &str) -> Vec<(String, String)> {
    let mut all: Vec<(String, String)> = Vec::new();
    for line in text.lines() {
        if line.starts_with("+-") {
            break;
        }
        let Some((label, value)) = line.split_once(':') else {
            continue;
        };
        let value = value.trim();
        match label.split_whitespace().collect::<Vec<_>>().as_slice() {
            ["Field", _] => {
                let name = value.trim_start_matches('`').trim_end_matches('`');
                all.push((name.to_owned(), String::new()));
            }
            ["Type"] => {
                if let Some((_, kind)) = all.last_mut() {
                    value.clone_into(kind);
                }
            }
            _ => {}
        }
    }
    all
}

/// Gives each value the type of its column, as Python's driver does; what has no type of its own
/// in a playbook stays the server's text.
pub(super) fn typed(rows: Vec<Row>, types: &[(String, String)]) -> Vec<Row> {
    let value = |name: &Value, value: Value| {
        let Value::String(text) = &value else {
            return value;
        };
        let kind = types.iter().find(|(known, _)| name.as_str() == Some(known));
        match kind.map_or("", |(_, kind)| kind.as_str()) {
            "TINY" | "SHORT" | "LONG" | "LONGLONG" | "INT24" | "YEAR" => {
                text.parse::<i128>().map_or(value.clone(), Value::Int)
            }
            "FLOAT" | "DOUBLE" | "DECIMAL" | "NEWDECIMAL" => {
                text.parse::<f64>().map_or(value.clone(), Value::from)
            }
            "DATETIME" | "TIMESTAMP" => timestamp(text).into(),
            _ => value,
        }
    };
    rows.into_iter()
        .map(|row| {
            row.into_iter()
                .map(|(name, it)| {
                    let it = value(&name, it);
                    (name, it)
                })
                .collect()
        })
        .collect()
}

/// Writes a point in time as Python's `isoformat` does.
fn timestamp(text: &str) -> String {
    let text = text.replacen(' ', "T", 1);
    match text.split_once('.') {
        Some((whole, part)) if part.bytes().all(|digit| digit == b'0') => whole.to_owned(),
        Some((whole, part)) => format!("{whole}.{part:0<6}"),
        None => text,
    }
}

/// Returns a field of a row as text; empty when it is null.
pub(super) fn text(row: &Row, name: &str) -> String {
    match row.get(name) {
        None | Some(Value::Null) => String::new(),
        Some(value) => value.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn result_sets_are_read_with_their_nulls_and_signs() {
        let text = "<?xml version=\"1.0\"?>\n\n<resultset statement=\"select 1 &gt; 0\n\" xmlns:xsi=\"http://www.w3.org/2001/XMLSchema-instance\">\n  <row>\n\t<field name=\"a &amp; b\">1 &lt;\n</field>\n\t<field name=\"n\" xsi:nil=\"true\" />\n\t<field name=\"e\"></field>\n  </row>\n</resultset>\n<?xml version=\"1.0\"?>\n\n<resultset statement=\"x\"></resultset>\n";
        let sets = Value::list(result_sets(text).into_iter().map(Value::list));
        assert_eq!(
            serde_json::to_string(&sets).unwrap(),
            r#"[[{"a & b":"1 <\n","n":null,"e":""}],[]]"#
        );
        assert!(result_sets("<resultset broken").is_empty());
    }

    #[test]
    fn values_get_the_types_of_their_columns() {
        let told = "Field   1:  `a`\nOrg_field:  ``\nType:       LONG\nFlags:      NUM \n\nField   2:  `t`\nType:       DATETIME\n\n+---+\n| Field 3: `x` |\n";
        let types = types(told);
        let rows = vec![
            [("a", "3"), ("t", "2024-01-02 03:04:05.500"), ("b", "4")]
                .map(|(name, value)| (Value::from(name), Value::from(value)))
                .into_iter()
                .collect(),
        ];
        assert_eq!(
            serde_json::to_string(&Value::list(typed(rows, &types))).unwrap(),
            r#"[{"a":3,"t":"2024-01-02T03:04:05.500000","b":"4"}]"#
        );
        assert_eq!(timestamp("2024-01-02 03:04:05.000"), "2024-01-02T03:04:05");
    }

    #[test]
    fn only_what_does_nothing_is_asked_for_its_types() {
        assert_eq!(
            question(" select 1; ").unwrap(),
            "SELECT * FROM (\nselect 1\n) AS t LIMIT 0"
        );
        assert_eq!(question("SHOW TABLES").unwrap(), "SHOW TABLES");
        assert_eq!(question("CALL f()"), None);
        assert_eq!(question("INSERT INTO t VALUES (1) RETURNING a"), None);
    }
}
