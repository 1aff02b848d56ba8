//! Texts of a result that should not be used any more: JSON has no place for what is known of a
//! text, so it travels beside the result.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::value::{Deprecation, Map, Value};

/// One such text.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Deprecated {
    /// The keys that lead to it; of a list the number of the item.
    pub path: Vec<String>,
    /// What is said of its use.
    pub message: String,
}

/// Finds the deprecated texts of a result.
pub(super) fn found_in(result: &Map) -> Vec<Deprecated> {
    let mut found = Vec::new();
    for (key, value) in result {
        find(value, &mut vec![key.to_string()], &mut found);
    }
    found
}

/// Marks the texts of a result that is just as it was found in.
pub(super) fn mark_in(result: &mut Map, deprecated: &[Deprecated]) {
    for Deprecated { path, message } in deprecated {
        let Some((first, rest)) = path.split_first() else {
            continue;
        };
        let mut place = result.get_mut(&Value::from(first.as_str()));
        for key in rest {
            place = place.and_then(|value| inside(value, key));
        }
        if let Some(Value::String(text)) = place {
            let message = message.clone();
            *text = text.clone().deprecated(Arc::new(Deprecation { message }));
        }
    }
}

fn find(value: &Value, path: &mut Vec<String>, found: &mut Vec<Deprecated>) {
    let mut step = |key: String, value: &Value| {
        path.push(key);
        find(value, path, found);
        path.pop();
    };
    match value {
        Value::String(text) => found.extend(text.deprecation().map(|deprecation| Deprecated {
            path: path.clone(),
            message: deprecation.message.clone(),
        })),
        Value::List(items) => {
            for (index, item) in items.iter().enumerate() {
                step(index.to_string(), item);
            }
        }
        Value::Map(map) => {
            for (key, value) in map.iter() {
                step(key.to_string(), value);
            }
        }
        _ => {}
    }
}

fn inside<'a>(value: &'a mut Value, key: &str) -> Option<&'a mut Value> {
    match value {
        Value::List(items) => Arc::make_mut(items).get_mut(key.parse::<usize>().ok()?),
        Value::Map(map) => Arc::make_mut(map).get_mut(&Value::from(key)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_said_of_a_text_arrives_with_it() {
        let old = |message: &str| {
            let message = message.to_owned();
            Value::from(crate::value::Text::from("x").deprecated(Deprecation { message }.into()))
        };
        let inner = Value::map([("deep", Value::list([1.into(), old("in a list")]))]);
        let sent: Map = [("plain", "x".into()), ("old", old("on top")), ("a", inner)]
            .into_iter()
            .map(|(name, value)| (name.into(), value))
            .collect();
        let told = found_in(&sent);
        let text = serde_json::to_string(&Value::from(sent)).unwrap();
        let Value::Map(arrived) = serde_json::from_str::<Value>(&text).unwrap() else {
            panic!("a result is a dictionary");
        };
        let mut arrived = arrived.as_ref().clone();
        assert_eq!(found_in(&arrived), []);
        mark_in(&mut arrived, &told);
        let places: Vec<_> = found_in(&arrived)
            .into_iter()
            .map(|found| (found.path.join("."), found.message))
            .collect();
        assert_eq!(
            places,
            [
                ("old".into(), "on top".into()),
                ("a.deep.1".into(), "in a list".to_owned())
            ]
        );
    }

    #[test]
    fn a_path_that_leads_nowhere_marks_nothing() {
        let mut result: Map = [("a".into(), 1.into())].into_iter().collect();
        let path = vec!["a".to_owned(), "b".to_owned()];
        let message = "gone".to_owned();
        mark_in(&mut result, &[Deprecated { path, message }]);
        assert_eq!(found_in(&result), []);
    }
}
