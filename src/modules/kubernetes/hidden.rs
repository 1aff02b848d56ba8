//! Fields of an object that a result leaves out: `spec.containers[0].env`, `metadata.annotations[a.b/c]`.

use serde_json::Value as Json;

use crate::modules::Failure;

/// Fields beneath a field; one without any is left out whole.
#[derive(Debug, Default)]
pub(super) struct Hidden(Vec<(String, Self)>);

impl Hidden {
    /// Reads what a user wrote, and puts fields of one object together.
    pub(super) fn read(fields: &[String]) -> Result<Self, Failure> {
        let mut all = Self::default();
        for field in fields {
            let keys = keys(field).ok_or_else(|| {
                Failure::new(format!(
                    "hidden_fields: `{field}` has a bracket without its end"
                ))
            })?;
            all.add(&keys);
        }
        Ok(all)
    }

    fn add(&mut self, keys: &[String]) {
        let Some((first, rest)) = keys.split_first() else {
            self.0.clear();
            return;
        };
        let known = self.0.iter_mut().find(|(key, _)| key == first);
        match known {
            // It is left out whole already.
            Some((_, below)) if below.0.is_empty() => {}
            Some((_, below)) => below.add(rest),
            None => {
                let mut below = Self::default();
                if !rest.is_empty() {
                    below.add(rest);
                }
                self.0.push((first.clone(), below));
            }
        }
    }

    /// Takes the fields out, and what is empty without them.
    pub(super) fn hide(&self, object: &mut Json) {
        let mut keys: Vec<&(String, Self)> = self.0.iter().collect();
        // From the end, so that what is taken out of a list moves nothing.
        keys.sort_by_key(|(key, _)| std::cmp::Reverse(key.parse::<usize>().unwrap_or(0)));
        for (key, below) in keys {
            let found = match object {
                Json::Array(items) => key.parse().ok().and_then(|at: usize| items.get_mut(at)),
                Json::Object(fields) => fields.get_mut(key),
                _ => None,
            };
            let Some(found) = found else { continue };
            if !below.0.is_empty() {
                below.hide(found);
                let is_empty = match found {
                    Json::Array(items) => items.is_empty(),
                    Json::Object(fields) => fields.is_empty(),
                    _ => false,
                };
                if !is_empty {
                    continue;
                }
            }
            match object {
                Json::Array(items) => {
                    if let Ok(at) = key.parse() {
                        items.remove(at);
                    }
                }
                Json::Object(fields) => {
                    fields.shift_remove(key);
                }
                _ => {}
            }
        }
    }
}

/// Splits at dots that do not stand in brackets, and at brackets.
fn keys(field: &str) -> Option<Vec<String>> {
    let mut keys = Vec::new();
    let mut rest = field;
    while !rest.is_empty() {
        if let Some(inside) = rest.strip_prefix('[') {
            let (key, after) = inside.split_once(']')?;
            keys.push(key.to_owned());
            rest = after.strip_prefix('.').unwrap_or(after);
            continue;
        }
        let end = rest.find(['.', '[']).unwrap_or(rest.len());
        keys.push(rest[..end].to_owned());
        rest = &rest[end..];
        rest = rest.strip_prefix('.').unwrap_or(rest);
    }
    Some(keys)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_left_out_with_what_is_empty_without_them() {
        let mut object = serde_json::json!({
            "metadata": {"managedFields": [1], "annotations": {"a.b/c": "x"}, "name": "n"},
            "spec": {"containers": [{"env": [1, 2, 3]}, {"env": [4]}]},
        });
        let fields = [
            "metadata.managedFields",
            "metadata.annotations[a.b/c]",
            "spec.containers[0].env[0]",
            "spec.containers[0].env[2]",
            "spec.containers[1].env[0]",
            "status",
        ];
        let hidden = Hidden::read(&fields.map(str::to_owned)).unwrap();
        hidden.hide(&mut object);
        assert_eq!(
            object,
            serde_json::json!({"metadata": {"name": "n"}, "spec": {"containers": [{"env": [2]}]}})
        );
    }

    #[test]
    fn a_bracket_must_end() {
        let refused = Hidden::read(&["a[0".to_owned()]).unwrap_err();
        assert_eq!(
            refused.msg,
            "hidden_fields: `a[0` has a bracket without its end"
        );
    }
}
