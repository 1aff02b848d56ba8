//! Filters that reshape lists and dictionaries: join, cut, pair up, flatten, rekey, query.

use super::super::call::{Bound, Call};
use super::super::finish::Finish;
use super::super::frame::Frame;
use super::super::methods;
use super::super::runtime::{Evaluated, Val};
use super::super::syntax::Place;
use super::selection::path;
use super::{Filter, data, running};
use crate::value::{Map, Value, repr};

pub(super) const FILTERS: &[Filter] = &[
    running("join", "d attribute", join),
    running("reverse", "", reverse),
    running("batch", "linecount! fill_with", batch),
    running("slice", "slices! fill_with", slice),
    running("items", "", items).with_undefined(),
    running("attr", "name!", attr),
    running("dict2items", "key_name value_name", dict2items),
    running("zip", "* **", zip),
    running("zip_longest", "* **", zip_longest),
    running("flatten", "levels skip_nulls", flatten),
    data("items2dict", "key_name value_name", items2dict),
    data("subelements", "subelements! skip_missing", subelements),
    data("rekey_on_member", "key! duplicates", rekey_on_member),
    data("json_query", "expr!", json_query),
    data("community.general.json_query", "expr!", json_query),
];

fn join(frame: &mut Frame<'_>, input: Val, mut given: Bound<Val>, place: Place) -> Evaluated {
    let separator = match given.take(0) {
        Some(separator) => frame.run.text_of(&separator)?,
        None => String::new(),
    };
    let attribute = match given.take(1) {
        Some(attribute) => Some(frame.run.data(&attribute)?),
        None => None,
    };
    let mut parts = Vec::new();
    for item in frame.run.items(&input)? {
        let item = match &attribute {
            Some(attribute) if !matches!(attribute, Value::Null) => {
                path(frame, &item, attribute, place)?
            }
            _ => item,
        };
        parts.push(frame.run.text_of(&item)?);
    }
    Ok(parts.join(&separator).into())
}

fn reverse(frame: &mut Frame<'_>, input: Val, _: Bound<Val>, _: Place) -> Evaluated {
    if let Some(text) = input.as_str() {
        return Ok(text.chars().rev().collect::<String>().into());
    }
    let mut items = frame.run.items(&input)?;
    items.reverse();
    Ok(Val::list(items))
}

fn size(frame: &Frame<'_>, val: Option<Val>) -> Evaluated<usize> {
    match frame.run.data(&val.unwrap_or_default())? {
        Value::Int(number) if number > 0 => Ok(usize::try_from(number).unwrap_or(usize::MAX)),
        other => Err(frame.run.failure(format!(
            "a positive integer is needed, not {}",
            repr(&other)
        ))),
    }
}

/// The longest row `batch` fills up.
const LONGEST_ROW: usize = 1 << 16;

fn batch(frame: &mut Frame<'_>, input: Val, mut given: Bound<Val>, _: Place) -> Evaluated {
    let size = size(frame, given.take(0))?;
    let fill = given.take(1);
    let items = frame.run.items(&input)?;
    Ok(Val::list(items.chunks(size).map(|chunk| {
        let mut chunk = chunk.to_vec();
        if let Some(fill) = &fill {
            chunk.resize(size.min(LONGEST_ROW), fill.clone());
        }
        Val::list(chunk)
    })))
}

fn slice(frame: &mut Frame<'_>, input: Val, mut given: Bound<Val>, _: Place) -> Evaluated {
    let slices = size(frame, given.take(0))?;
    let fill = given.take(1);
    let items = frame.run.items(&input)?;
    let slices = slices.min(LONGEST_ROW);
    let (each, longer) = (items.len() / slices, items.len() % slices);
    let mut rest = items.into_iter();
    Ok(Val::list((0..slices).map(|index| {
        let length = each + usize::from(index < longer);
        let mut part: Vec<Val> = rest.by_ref().take(length).collect();
        if index >= longer && longer > 0 {
            part.extend(fill.clone());
        }
        Val::list(part)
    })))
}

fn items(frame: &mut Frame<'_>, input: Val, _: Bound<Val>, _: Place) -> Evaluated {
    if matches!(input, Val::Undefined(_)) {
        return Ok(Val::list([]));
    }
    match frame.run.pairs(&input)? {
        Some(pairs) => Ok(Val::list(
            pairs
                .into_iter()
                .map(|(key, val)| Val::tuple([Val::Data(key), val])),
        )),
        None => Err(frame.run.failure("Can only get item pairs from a mapping.")),
    }
}

fn attr(frame: &mut Frame<'_>, input: Val, mut given: Bound<Val>, place: Place) -> Evaluated {
    let name = frame.run.text_of(&given.take(0).unwrap_or_default())?;
    if input.is_mapping() && !methods::has(&input, &name) {
        return Ok(frame
            .run
            .missing(&input, &name.into(), &frame.origin, place));
    }
    frame.attribute(&input, &name.into(), place)
}

fn dict2items(frame: &mut Frame<'_>, input: Val, mut given: Bound<Val>, _: Place) -> Evaluated {
    let key_name = match given.take(0) {
        Some(name) => frame.run.data(&name)?,
        None => "key".into(),
    };
    let value_name = match given.take(1) {
        Some(name) => frame.run.data(&name)?,
        None => "value".into(),
    };
    match frame.run.pairs(&input)? {
        Some(pairs) => Ok(Val::list(pairs.into_iter().map(|(key, val)| {
            let pair = [
                (key_name.clone(), Val::Data(key)),
                (value_name.clone(), val),
            ];
            Val::dict(pair.into_iter().collect())
        }))),
        None => Err(frame.run.failure(format!(
            "dict2items requires a dictionary, got {} instead.",
            class_of(input.type_name())
        ))),
    }
}

/// Names a type as Python's `type()` prints it inside ansible-core's templates.
fn class_of(name: &str) -> String {
    match name {
        "str" => "<class 'ansible.module_utils._internal._datatag._AnsibleTaggedStr'>".into(),
        "int" => "<class 'int'>".into(),
        "list" => {
            "<class 'ansible._internal._templating._lazy_containers._AnsibleLazyTemplateList'>"
                .into()
        }
        "dict" => {
            "<class 'ansible._internal._templating._lazy_containers._AnsibleLazyTemplateDict'>"
                .into()
        }
        name => format!("<class '{name}'>"),
    }
}

fn columns(frame: &Frame<'_>, input: &Val, rest: &[Val]) -> Evaluated<Vec<Vec<Val>>> {
    std::iter::once(input)
        .chain(rest)
        .map(|column| frame.run.items(column))
        .collect()
}

fn zip(frame: &mut Frame<'_>, input: Val, given: Bound<Val>, _: Place) -> Evaluated {
    let columns = columns(frame, &input, &given.rest)?;
    let shortest = columns.iter().map(Vec::len).min().unwrap_or(0);
    let strict = given
        .named
        .iter()
        .find(|(name, _)| &**name == "strict")
        .map(|(_, val)| frame.run.truth(val))
        .transpose()?
        .unwrap_or(false);
    if strict
        && let Some(at) = columns
            .iter()
            .position(|column| column.len() != columns[0].len())
    {
        let longer = columns[at].len() > columns[0].len();
        return Err(frame.run.failure(format!(
            "zip() argument {} is {} than argument{} 1{}",
            at + 1,
            if longer { "longer" } else { "shorter" },
            if at > 1 { "s" } else { "" },
            if at > 1 {
                format!("-{at}")
            } else {
                String::new()
            },
        )));
    }
    Ok(Val::list((0..shortest).map(|row| {
        Val::tuple(columns.iter().map(|column| column[row].clone()))
    })))
}

fn zip_longest(frame: &mut Frame<'_>, input: Val, given: Bound<Val>, _: Place) -> Evaluated {
    let columns = columns(frame, &input, &given.rest)?;
    let longest = columns.iter().map(Vec::len).max().unwrap_or(0);
    let fill = given
        .named
        .iter()
        .find(|(name, _)| &**name == "fillvalue")
        .map(|(_, val)| val.clone())
        .unwrap_or_default();
    Ok(Val::list((0..longest).map(|row| {
        Val::tuple(
            columns
                .iter()
                .map(|column| column.get(row).unwrap_or(&fill).clone()),
        )
    })))
}

fn flatten(frame: &mut Frame<'_>, input: Val, mut given: Bound<Val>, _: Place) -> Evaluated {
    let levels = match given.take(0) {
        Some(levels) => match frame.run.data(&levels)? {
            Value::Null => None,
            Value::Int(levels) => Some(levels),
            other => super::values::parse_int(&other.to_string(), 10),
        },
        None => None,
    };
    let skip_nulls = match given.take(1) {
        Some(skip) => frame.run.truth(&skip)?,
        None => true,
    };
    let mut out = Vec::new();
    flatten_into(frame, &input, levels, skip_nulls, &mut out)?;
    Ok(Val::list(out))
}

fn flatten_into(
    frame: &Frame<'_>,
    list: &Val,
    levels: Option<i128>,
    skip_nulls: bool,
    out: &mut Vec<Val>,
) -> Evaluated<()> {
    frame.run.guard_value()?;
    for item in frame.run.items(list)? {
        let item = frame.run.force(&item)?;
        let is_null = matches!(item, Val::Data(Value::Null))
            || matches!(item.as_str(), Some("None" | "null"));
        if skip_nulls && is_null {
            continue;
        }
        if item.is_sequence() && levels.is_none_or(|levels| levels >= 1) {
            flatten_into(
                frame,
                &item,
                levels.map(|levels| levels - 1),
                skip_nulls,
                out,
            )?;
        } else {
            out.push(item);
        }
    }
    Ok(())
}

fn items2dict(call: &Call<'_>) -> Result<Value, String> {
    let Some(items) = call.input.as_list() else {
        return Err(format!(
            "items2dict requires a list, got {} instead.",
            class_of(call.input.python_type())
        ));
    };
    let key_name = call.given(0).cloned().unwrap_or_else(|| "key".into());
    let value_name = call.given(1).cloned().unwrap_or_else(|| "value".into());
    let mut out = Map::new();
    for item in items {
        // Of a pair the names are numbers.
        if let (Some(pair), Value::Int(key), Value::Int(value)) =
            (item.as_list(), &key_name, &value_name)
            && let (Ok(key), Ok(value)) = (usize::try_from(*key), usize::try_from(*value))
            && let (Some(key), Some(value)) = (pair.get(key), pair.get(value))
        {
            out.insert(key.clone(), value.clone());
            continue;
        }
        let Some(map) = item.as_map() else {
            return Err(format!(
                "items2dict requires a list of dictionaries, got {} instead.",
                repr(&call.input)
            ));
        };
        match (map.get(&key_name), map.get(&value_name)) {
            (Some(key), Some(value)) => out.insert(key.clone(), value.clone()),
            _ => {
                return Err(format!(
                    "items2dict requires each dictionary in the list to contain the keys '{key_name}' and '{value_name}', got {} instead.",
                    repr(&call.input)
                ));
            }
        };
    }
    Ok(out.into())
}

fn subelements(call: &Call<'_>) -> Result<Value, String> {
    let elements: Vec<Value> = match &call.input {
        Value::Map(map) => map.values().cloned().collect(),
        Value::List(items) => items.to_vec(),
        _ => return Err("obj must be a list of dicts or a nested dict".into()),
    };
    let keys: Vec<Value> = match call.required(0) {
        Value::List(keys) => keys.to_vec(),
        Value::String(keys) => keys.split('.').map(Value::from).collect(),
        _ => return Err("subelements must be a list or a string".into()),
    };
    let skip_missing = call.flag(1, false);
    let mut out = Vec::new();
    for element in elements {
        let mut values = element.clone();
        for key in &keys {
            values = match (&values, values.as_map().and_then(|map| map.get(key))) {
                (_, Some(found)) => found.clone(),
                (Value::Map(_), None) if skip_missing => {
                    values = Vec::new().into();
                    break;
                }
                (Value::Map(_), None) => {
                    return Err(format!(
                        "could not find {} key in iterated item {}",
                        repr(key),
                        repr(&values)
                    ));
                }
                _ => {
                    return Err(format!(
                        "the key {key} should point to a dictionary, got '{values}'"
                    ));
                }
            };
        }
        let Some(inner) = values.as_list() else {
            return Err(format!(
                "the key {} should point to a list, got {}",
                repr(keys.last().unwrap_or(&Value::Null)),
                repr(&values)
            ));
        };
        for value in inner {
            out.push(Value::list([element.clone(), value.clone()]));
        }
    }
    Ok(out.into())
}

fn rekey_on_member(call: &Call<'_>) -> Result<Value, String> {
    let duplicates = call.text_at(1).unwrap_or_else(|| "error".into());
    if duplicates != "error" && duplicates != "overwrite" {
        return Err(format!(
            "duplicates parameter to rekey_on_member has unknown value '{duplicates}'"
        ));
    }
    let items: Vec<Value> = match &call.input {
        Value::Map(map) => map.values().cloned().collect(),
        Value::List(items) => items.to_vec(),
        _ => return Err("Type is not a valid list, set, or dict".into()),
    };
    let key = call.required(0);
    let mut out = Map::new();
    for item in items {
        let map = item.as_map().ok_or("List item is not a valid dict")?;
        let member = map
            .get(key)
            .ok_or_else(|| format!("Key {} was not found.", repr(key)))?
            .clone();
        if out.contains_key(&member) && duplicates == "error" {
            return Err(format!(
                "Key {} is not unique, cannot convert to dict.",
                repr(&member)
            ));
        }
        out.insert(member, item);
    }
    Ok(out.into())
}

/// Quotes a literal that is no JSON: Python's library takes `` `word` `` as text.
fn with_quoted_literals(query: &str) -> String {
    let mut parts = query.split('`');
    let mut quoted = parts.next().unwrap_or_default().to_owned();
    while let Some(literal) = parts.next() {
        let is_json = serde_json::from_str::<serde_json::Value>(literal).is_ok();
        let Some(after) = parts.next() else {
            return query.to_owned();
        };
        let literal = if is_json || literal.ends_with('\\') {
            literal.to_owned()
        } else {
            serde_json::Value::from(literal.trim_start()).to_string()
        };
        quoted += &format!("`{literal}`{after}");
    }
    quoted
}

fn json_query(call: &Call<'_>) -> Result<Value, String> {
    let query = call.required(0).to_string();
    let expression = jmespath::compile(&with_quoted_literals(&query))
        .map_err(|error| format!("JMESPathError in json_query filter plugin:\n{error}"))?;
    let text = serde_json::to_string(&call.input).map_err(|error| error.to_string())?;
    let data = jmespath::Variable::from_json(&text)?;
    let found = expression
        .search(data)
        .map_err(|error| format!("JMESPathError in json_query filter plugin:\n{error}"))?;
    let found = serde_json::to_string(&*found).map_err(|error| error.to_string())?;
    serde_json::from_str(&found).map_err(|error| error.to_string())
}
