//! Lookups that only arrange their terms: what `with_items`, `with_dict`, `with_nested` … loop over.

use super::{Found, Options};
use crate::template::LookupCall;
use crate::value::{Map, Value, repr};

pub(super) fn lookup(call: &LookupCall<'_>) -> Found {
    Options::new(call, &[])?;
    let terms = &call.terms;
    match call.name {
        "items" => Ok(flattened_once(terms)),
        "list" => Ok(terms.clone()),
        "dict" => dict(terms),
        "nested" | "cartesian" => nested(terms, call.name),
        "together" => together(terms),
        "subelements" => subelements(terms),
        "indexed_items" => Ok(flattened_once(terms)
            .into_iter()
            .enumerate()
            .map(|(index, item)| Value::list([index.into(), item]))
            .collect()),
        "flattened" => {
            let mut out = Vec::new();
            flatten_into(terms, &mut out);
            Ok(out)
        }
        _ => Ok(random_choice(terms)),
    }
}

fn flattened_once(terms: &[Value]) -> Vec<Value> {
    let mut out = Vec::new();
    for term in terms {
        match term {
            Value::List(items) => out.extend(items.iter().cloned()),
            term => out.push(term.clone()),
        }
    }
    out
}

fn flatten_into(terms: &[Value], out: &mut Vec<Value>) {
    for term in terms {
        match term {
            Value::List(items) => flatten_into(items, out),
            Value::Null => {}
            term if matches!(term.as_str(), Some("None" | "null")) => {}
            term => out.push(term.clone()),
        }
    }
}

fn dict(terms: &[Value]) -> Found {
    let mut out = Vec::new();
    for term in terms {
        let map = term.as_map().ok_or_else(|| {
            format!(
                "the 'dict' lookup plugin expects a dictionary, got '{term}' of type <class '{}'>)",
                term.python_type()
            )
        })?;
        out.extend(
            map.iter()
                .map(|(key, value)| Value::map([("key", key.clone()), ("value", value.clone())])),
        );
    }
    Ok(out)
}

fn nested(terms: &[Value], name: &str) -> Found {
    if terms.is_empty() {
        return Err(
            format!("with_{name} requires at least one element in each list")
                .as_str()
                .into(),
        );
    }
    let mut rows: Vec<Vec<Value>> = vec![Vec::new()];
    for term in terms {
        let items = match term {
            Value::List(items) => items.to_vec(),
            other => vec![other.clone()],
        };
        rows = rows
            .iter()
            .flat_map(|row| {
                items.iter().map(|item| {
                    let mut row = row.clone();
                    match item {
                        Value::List(parts) => row.extend(parts.iter().cloned()),
                        item => row.push(item.clone()),
                    }
                    row
                })
            })
            .collect();
    }
    Ok(rows.into_iter().map(Value::from).collect())
}

fn together(terms: &[Value]) -> Found {
    if terms.is_empty() {
        return Err("with_together requires at least one element in each list".into());
    }
    let columns: Vec<&[Value]> = terms
        .iter()
        .map(|term| term.as_list().unwrap_or(std::slice::from_ref(term)))
        .collect();
    let longest = columns.iter().map(|column| column.len()).max().unwrap_or(0);
    Ok((0..longest)
        .map(|row| {
            let cells: Vec<Value> = columns
                .iter()
                .map(|column| column.get(row).cloned().unwrap_or_default())
                .collect();
            flattened_once(&cells).into()
        })
        .collect())
}

fn subelements(terms: &[Value]) -> Found {
    let refuse =
        |reason: &str| format!("subelements lookup expects a list of two or three items, {reason}");
    let (elements, key, flags) = match terms {
        [elements, key] => (elements, key, None),
        [elements, key, Value::Map(flags)] if flags.keys().all(is_subelements_flag) => {
            (elements, key, Some(flags))
        }
        [_, _, _] => {
            let known = "the optional third item must be a dict with flags ['skip_missing']";
            return Err(refuse(known).into());
        }
        _ => return Err(refuse("").into()),
    };
    let words = "first a dict or a list, second a string pointing to the subkey";
    let keys: Vec<&str> = key
        .as_str()
        .ok_or_else(|| refuse(words))?
        .split('.')
        .collect();
    let elements: Vec<Value> = match elements {
        Value::List(items) => items.to_vec(),
        Value::Map(map) if map.get("skipped").is_some_and(Value::is_truthy) => Vec::new(),
        Value::Map(map) => map.values().cloned().collect(),
        _ => return Err(refuse(words).into()),
    };
    let skip_missing = flags
        .and_then(|flags| flags.get("skip_missing"))
        .and_then(Value::to_soft_bool)
        .unwrap_or(false);
    let mut out = Vec::new();
    for element in &elements {
        let Some(map) = element.as_map() else {
            return Err(format!("subelements lookup expects a dictionary, got '{element}'").into());
        };
        if map.get("skipped").is_some_and(Value::is_truthy) {
            continue;
        }
        let (rest, inner) = taken(map, &keys, skip_missing)?;
        out.extend(
            inner
                .into_iter()
                .map(|item| Value::list([rest.clone(), item])),
        );
    }
    Ok(out)
}

fn is_subelements_flag(name: &Value) -> bool {
    name.as_str() == Some("skip_missing")
}

/// Takes the list at a dotted key out of a dictionary; returns what is left and the list.
fn taken(map: &Map, keys: &[&str], skip_missing: bool) -> Result<(Value, Vec<Value>), String> {
    let whole = || Value::from(map.clone());
    let [key, deeper @ ..] = keys else {
        return Ok((whole(), Vec::new()));
    };
    let Some(found) = map.get(*key) else {
        if skip_missing {
            return Ok((whole(), Vec::new()));
        }
        return Err(format!(
            "could not find '{key}' key in iterated item '{}'",
            repr(&whole())
        ));
    };
    let mut rest = map.clone();
    if deeper.is_empty() {
        let items = found
            .as_list()
            .ok_or_else(|| format!("the key {key} should point to a list, got '{found}'"))?
            .to_vec();
        rest.shift_remove(*key);
        return Ok((rest.into(), items));
    }
    match found.as_map() {
        Some(inner) => {
            let (left, items) = taken(inner, deeper, skip_missing)?;
            rest.insert((*key).into(), left);
            Ok((rest.into(), items))
        }
        None if skip_missing => Ok((whole(), Vec::new())),
        None => Err(format!(
            "the key {key} should point to a dictionary, got '{found}'"
        )),
    }
}

fn random_choice(terms: &[Value]) -> Vec<Value> {
    if terms.is_empty() {
        return Vec::new();
    }
    let at = usize::try_from(rand::random::<u64>() % terms.len() as u64).unwrap_or(0);
    vec![terms[at].clone()]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(text: &str) -> Value {
        serde_json::from_str(text).unwrap()
    }

    #[test]
    fn nested_lists_combine_each_with_each() {
        let rows = nested(&[value("[1, 2]"), value(r#"["a", "b"]"#)], "nested").unwrap();
        assert_eq!(
            Value::from(rows).to_string(),
            "[[1, 'a'], [1, 'b'], [2, 'a'], [2, 'b']]"
        );
    }

    #[test]
    fn subelements_take_the_list_out_of_its_owner() {
        let users = value(r#"[{"name": "a", "keys": {"ssh": [1, 2]}}]"#);
        let pairs = subelements(&[users, "keys.ssh".into()]).unwrap();
        assert_eq!(
            Value::from(pairs).to_string(),
            "[[{'name': 'a', 'keys': {}}, 1], [{'name': 'a', 'keys': {}}, 2]]"
        );
    }

    #[test]
    fn items_flatten_one_level_and_flattened_all() {
        let terms = [value("[1, [2, [3]]]"), value("null")];
        assert_eq!(
            Value::from(flattened_once(&terms)).to_string(),
            "[1, [2, [3]], None]"
        );
        let mut all = Vec::new();
        flatten_into(&terms, &mut all);
        assert_eq!(Value::from(all).to_string(), "[1, 2, 3]");
    }
}
