//! Filters that reshape lists and dictionaries: merge, sort, group, flatten, pair up.

use std::cmp::Ordering;

use super::super::call::{Bound, Call, items_of};
use super::super::finish::Finish;
use super::super::frame::Frame;
use super::super::methods;
use super::super::operators::{arithmetic, binary};
use super::super::python::{Number, compare, contains, equal, room_for, sort_by_key};
use super::super::runtime::{Dict, Evaluated, Val, Words};
use super::super::syntax::{Operator, Place};
use super::selection::path;
use super::{Filter, data, running};
use crate::value::{Map, Value, repr};

pub(super) const FILTERS: &[Filter] = &[
    running("join", "d attribute", join),
    running("sort", "reverse case_sensitive attribute", sort),
    running("unique", "case_sensitive attribute", unique),
    running("min", "case_sensitive attribute", min),
    running("max", "case_sensitive attribute", max),
    running("sum", "attribute start", sum),
    running("groupby", "attribute! default case_sensitive", groupby),
    running("reverse", "", reverse),
    running("batch", "linecount! fill_with", batch),
    running("slice", "slices! fill_with", slice),
    running("items", "", items).with_undefined(),
    running("attr", "name!", attr),
    running("dict2items", "key_name value_name", dict2items),
    running("combine", "* **", combine),
    running("zip", "* **", zip),
    running("zip_longest", "* **", zip_longest),
    running("flatten", "levels skip_nulls", flatten),
    data("union", "b!", |call| {
        let (mut a, b) = both(call)?;
        a.extend(b);
        Ok(distinct(a).into())
    }),
    data("intersect", "b!", |call| {
        let (mut a, b) = both(call)?;
        a.retain(|item| contains(&b, item));
        Ok(distinct(a).into())
    }),
    data("difference", "b!", |call| {
        let (mut a, b) = both(call)?;
        a.retain(|item| !contains(&b, item));
        Ok(distinct(a).into())
    }),
    data("symmetric_difference", "b!", |call| {
        let (a, b) = both(call)?;
        let only_a = a.iter().filter(|item| !contains(&b, item));
        let only_b = b.iter().filter(|item| !contains(&a, item));
        Ok(distinct(only_a.chain(only_b).cloned().collect()).into())
    }),
    data("dictsort", "case_sensitive by reverse", dictsort),
    data("items2dict", "key_name value_name", items2dict),
    data("subelements", "subelements! skip_missing", subelements),
    data("product", "* repeat", product),
    data("permutations", "r", |call| arranged(call, false)),
    data("combinations", "r!", |call| arranged(call, true)),
    data("rekey_on_member", "key! duplicates", rekey_on_member),
    data("json_query", "expr!", json_query),
    data("community.general.json_query", "expr!", json_query),
];

/// Reads the options that sorting filters share and one key per item.
struct Keyed {
    items: Vec<(Value, Val)>,
}

impl Keyed {
    fn read(
        frame: &mut Frame<'_>,
        input: &Val,
        attribute: Option<&Val>,
        case_sensitive: Option<&Val>,
        place: Place,
    ) -> Evaluated<Self> {
        let keeps_case = match case_sensitive {
            Some(flag) => frame.run.truth(flag)?,
            None => false,
        };
        let attribute = match attribute {
            Some(attribute) => Some(frame.run.data(attribute)?),
            None => None,
        };
        let mut items = Vec::new();
        for item in frame.run.items(input)? {
            let key = match &attribute {
                None | Some(Value::Null) => frame.run.data(&item)?,
                Some(Value::String(names)) if names.contains(',') => {
                    let mut keys = Vec::new();
                    for name in names.split(',') {
                        let val = path(frame, &item, &name.into(), place)?;
                        keys.push(folded(frame.run.data(&val)?, keeps_case));
                    }
                    keys.into()
                }
                Some(name) => {
                    let val = path(frame, &item, name, place)?;
                    frame.run.data(&val)?
                }
            };
            items.push((folded(key, keeps_case), item));
        }
        Ok(Self { items })
    }
}

fn folded(key: Value, keeps_case: bool) -> Value {
    match key {
        Value::String(text) if !keeps_case => text.to_lowercase().into(),
        key => key,
    }
}

fn flag(frame: &Frame<'_>, val: Option<&Val>) -> Evaluated<bool> {
    val.map_or(Ok(false), |val| frame.run.truth(val))
}

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

fn sort(frame: &mut Frame<'_>, input: Val, given: Bound<Val>, place: Place) -> Evaluated {
    let [reverse, case_sensitive, attribute] = &given.arguments[..] else {
        return Ok(input);
    };
    let reverse = flag(frame, reverse.as_ref())?;
    let keyed = Keyed::read(
        frame,
        &input,
        attribute.as_ref(),
        case_sensitive.as_ref(),
        place,
    )?;
    let sorted = sort_by_key(keyed.items, reverse, |(key, _)| key.clone())
        .map_err(|text| frame.run.failure(text))?;
    Ok(Val::list(sorted.into_iter().map(|(_, item)| item)))
}

fn unique(frame: &mut Frame<'_>, input: Val, given: Bound<Val>, place: Place) -> Evaluated {
    let [case_sensitive, attribute] = &given.arguments[..] else {
        return Ok(input);
    };
    let keyed = Keyed::read(
        frame,
        &input,
        attribute.as_ref(),
        case_sensitive.as_ref(),
        place,
    )?;
    let mut seen: Vec<Value> = Vec::new();
    let mut out = Vec::new();
    for (key, item) in keyed.items {
        if !contains(&seen, &key) {
            seen.push(key);
            out.push(item);
        }
    }
    Ok(Val::list(out))
}

fn extreme(
    frame: &mut Frame<'_>,
    input: &Val,
    given: &Bound<Val>,
    place: Place,
    wanted: Ordering,
) -> Evaluated {
    let case_sensitive = given.arguments.first().and_then(Option::as_ref);
    let attribute = given.arguments.get(1).and_then(Option::as_ref);
    let keyed = Keyed::read(frame, input, attribute, case_sensitive, place)?;
    let operator = if wanted == Ordering::Less { "<" } else { ">" };
    let mut best: Option<(Value, Val)> = None;
    for (key, item) in keyed.items {
        let better = match &best {
            None => true,
            Some((best, _)) => {
                compare(&key, best, operator).map_err(|text| frame.run.failure(text))? == wanted
            }
        };
        if better {
            best = Some((key, item));
        }
    }
    match best {
        Some((_, item)) => frame.run.force(&item),
        None => Ok(Val::Undefined(frame.run.fault(
            Words::Undefined("No aggregated item, sequence was empty.".into()),
            &frame.origin,
            Some(place),
        ))),
    }
}

fn min(frame: &mut Frame<'_>, input: Val, given: Bound<Val>, place: Place) -> Evaluated {
    extreme(frame, &input, &given, place, Ordering::Less)
}

fn max(frame: &mut Frame<'_>, input: Val, given: Bound<Val>, place: Place) -> Evaluated {
    extreme(frame, &input, &given, place, Ordering::Greater)
}

fn sum(frame: &mut Frame<'_>, input: Val, mut given: Bound<Val>, place: Place) -> Evaluated {
    let attribute = match given.take(0) {
        Some(attribute) => Some(frame.run.data(&attribute)?),
        None => None,
    };
    let mut total = given.take(1).unwrap_or_else(|| 0.into());
    for item in frame.run.items(&input)? {
        let item = match &attribute {
            Some(attribute) if !matches!(attribute, Value::Null) => {
                path(frame, &item, attribute, place)?
            }
            _ => frame.run.force(&item)?,
        };
        total = match (&total, &item) {
            (Val::Data(a), Val::Data(b)) => match (Number::of(a), Number::of(b)) {
                (Some(a), Some(b)) => arithmetic(Operator::Add, a, b)
                    .map(Val::Data)
                    .map_err(|text| frame.run.failure(text))?,
                _ => added(frame, &total, &item, place)?,
            },
            _ => added(frame, &total, &item, place)?,
        };
    }
    Ok(total)
}

fn added(frame: &Frame<'_>, total: &Val, item: &Val, place: Place) -> Evaluated {
    binary(frame, Operator::Add, total, item, place)
}

fn groupby(frame: &mut Frame<'_>, input: Val, mut given: Bound<Val>, place: Place) -> Evaluated {
    let attribute = given.take(0).unwrap_or_default();
    let attribute = frame.run.data(&attribute)?;
    let fallback = given.take(1);
    let keeps_case = flag(frame, given.take(2).as_ref())?;
    let mut keyed = Vec::new();
    for item in frame.run.items(&input)? {
        let val = match (path(frame, &item, &attribute, place)?, &fallback) {
            (Val::Undefined(_), Some(fallback)) => fallback.clone(),
            (val, _) => val,
        };
        keyed.push((frame.run.data(&val)?, item));
    }
    let sorted = sort_by_key(keyed, false, |(key, _)| folded(key.clone(), keeps_case))
        .map_err(|text| frame.run.failure(text))?;
    let mut groups: Vec<(Value, Vec<Val>)> = Vec::new();
    for (key, item) in sorted {
        match groups.last_mut() {
            Some((known, members))
                if equal(
                    &folded(known.clone(), keeps_case),
                    &folded(key.clone(), keeps_case),
                ) =>
            {
                members.push(item);
            }
            _ => groups.push((key, vec![item])),
        }
    }
    Ok(Val::list(groups.into_iter().map(|(key, members)| {
        Val::tuple([Val::Data(key), Val::list(members)])
    })))
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

fn combine(frame: &mut Frame<'_>, input: Val, given: Bound<Val>, _: Place) -> Evaluated {
    let mut recursive = false;
    let mut merge = ListMerge::Replace;
    for (name, val) in &given.named {
        match &**name {
            "recursive" => recursive = frame.run.truth(val)?,
            "list_merge" => {
                merge = ListMerge::named(&frame.run.text_of(val)?).ok_or_else(|| {
                    frame.run.failure("merge_hash: 'list_merge' argument can only be equal to 'replace', 'keep', 'append', 'prepend', 'append_rp' or 'prepend_rp'")
                })?;
            }
            _ => {
                return Err(frame
                    .run
                    .failure("'recursive' and 'list_merge' are the only valid keyword arguments"));
            }
        }
    }
    let mut dictionaries = Vec::new();
    for term in std::iter::once(input).chain(given.rest) {
        let term = frame.run.force(&term)?;
        if term.is_sequence() {
            for item in frame.run.items(&term)? {
                let item = frame.run.force(&item)?;
                if !matches!(item, Val::Data(Value::Null)) {
                    dictionaries.push(item);
                }
            }
        } else if !matches!(term, Val::Data(Value::Null)) {
            dictionaries.push(term);
        }
    }
    if let [only] = &dictionaries[..] {
        return Ok(only.clone());
    }
    let mut result = Dict::new();
    for dictionary in &dictionaries {
        let Some(pairs) = frame.run.pairs(dictionary)? else {
            return Err(frame.run.failure(format!(
                "failed to combine variables, expected dicts but got a '{}' and a '{}'.",
                dictionaries[0].type_name(),
                dictionary.type_name(),
            )));
        };
        merge_into(frame, &mut result, pairs, recursive, merge)?;
    }
    Ok(Val::dict(result))
}

#[derive(Clone, Copy)]
enum ListMerge {
    Replace,
    Keep,
    Append,
    Prepend,
    AppendRemovingPresent,
    PrependRemovingPresent,
}

impl ListMerge {
    fn named(name: &str) -> Option<Self> {
        Some(match name {
            "replace" => Self::Replace,
            "keep" => Self::Keep,
            "append" => Self::Append,
            "prepend" => Self::Prepend,
            "append_rp" => Self::AppendRemovingPresent,
            "prepend_rp" => Self::PrependRemovingPresent,
            _ => return None,
        })
    }
}

fn merge_into(
    frame: &Frame<'_>,
    under: &mut Dict,
    over: Vec<(Value, Val)>,
    recursive: bool,
    merge: ListMerge,
) -> Evaluated<()> {
    let simple = !recursive && matches!(merge, ListMerge::Replace);
    for (key, new) in over {
        let old = match under.get(&key) {
            Some(old) if !simple => frame.run.force(old)?,
            _ => {
                under.insert(key, new);
                continue;
            }
        };
        let new = frame.run.force(&new)?;
        let merged = if old.is_mapping() && new.is_mapping() {
            if recursive {
                let mut inner: Dict = frame
                    .run
                    .pairs(&old)?
                    .unwrap_or_default()
                    .into_iter()
                    .collect();
                let pairs = frame.run.pairs(&new)?.unwrap_or_default();
                merge_into(frame, &mut inner, pairs, recursive, merge)?;
                Val::dict(inner)
            } else {
                new
            }
        } else if old.is_sequence() && new.is_sequence() {
            merge_lists(frame, &old, new, merge)?
        } else {
            new
        };
        under.insert(key, merged);
    }
    Ok(())
}

fn merge_lists(frame: &Frame<'_>, old: &Val, new: Val, merge: ListMerge) -> Evaluated {
    let older = frame.run.items(old)?;
    let newer = frame.run.items(&new)?;
    let absent = || -> Evaluated<Vec<Val>> {
        let present = frame.run.data(&new)?;
        let present = present.as_list().unwrap_or_default();
        let mut kept = Vec::new();
        for item in &older {
            if !contains(present, &frame.run.data(item)?) {
                kept.push(item.clone());
            }
        }
        Ok(kept)
    };
    Ok(match merge {
        ListMerge::Replace => new,
        ListMerge::Keep => old.clone(),
        ListMerge::Append => Val::list(older.into_iter().chain(newer)),
        ListMerge::Prepend => Val::list(newer.into_iter().chain(older)),
        ListMerge::AppendRemovingPresent => Val::list(absent()?.into_iter().chain(newer)),
        ListMerge::PrependRemovingPresent => Val::list(newer.into_iter().chain(absent()?)),
    })
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

fn both(call: &Call<'_>) -> Result<(Vec<Value>, Vec<Value>), String> {
    Ok((call.items()?, items_of(call.required(0))?))
}

fn distinct(items: Vec<Value>) -> Vec<Value> {
    let mut out: Vec<Value> = Vec::with_capacity(items.len());
    for item in items {
        if !contains(&out, &item) {
            out.push(item);
        }
    }
    out
}

fn dictsort(call: &Call<'_>) -> Result<Value, String> {
    let Some(map) = call.input.as_map() else {
        return Err(format!(
            "'{}' object has no attribute 'items'",
            call.input.python_type()
        ));
    };
    let by_value = match call.text_at(1).as_deref() {
        None | Some("key") => false,
        Some("value") => true,
        Some(_) => return Err("You can only sort by either \"key\" or \"value\"".into()),
    };
    let keeps_case = call.flag(0, false);
    let pairs: Vec<(Value, Value)> = map.iter().map(|(k, v)| (k.clone(), v.clone())).collect();
    let sorted = sort_by_key(pairs, call.flag(2, false), |(key, value)| {
        folded(
            if by_value { value.clone() } else { key.clone() },
            keeps_case,
        )
    })?;
    Ok(Value::list(
        sorted
            .into_iter()
            .map(|(key, value)| Value::list([key, value])),
    ))
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

fn product(call: &Call<'_>) -> Result<Value, String> {
    let mut pools = vec![call.items()?];
    for pool in &call.rest {
        pools.push(items_of(pool)?);
    }
    let repeat = call.named.get("repeat").or_else(|| call.get(0));
    let repeat = repeat.and_then(Value::as_int).unwrap_or(1);
    let times = usize::try_from(repeat).unwrap_or(0);
    let size = pools
        .iter()
        .try_fold(1_usize, |size, pool| size.checked_mul(pool.len()))
        .and_then(|size| size.checked_pow(u32::try_from(times).ok()?));
    room_for(size)?;
    let mut rows: Vec<Vec<Value>> = vec![Vec::new()];
    for pool in std::iter::repeat_n(&pools, times).flatten() {
        rows = rows
            .iter()
            .flat_map(|row| {
                pool.iter().map(|item| {
                    let mut row = row.clone();
                    row.push(item.clone());
                    row
                })
            })
            .collect();
    }
    Ok(Value::list(rows))
}

fn arranged(call: &Call<'_>, combinations: bool) -> Result<Value, String> {
    let pool = call.items()?;
    let length = match call.int(0)? {
        Some(length) => usize::try_from(length).map_err(|_| "r must be non-negative")?,
        None => pool.len(),
    };
    let mut out = Vec::new();
    arrange(&pool, length, combinations, &mut Vec::new(), &mut out);
    Ok(Value::list(out))
}

fn arrange(
    pool: &[Value],
    length: usize,
    combinations: bool,
    chosen: &mut Vec<usize>,
    out: &mut Vec<Vec<Value>>,
) {
    if chosen.len() == length {
        out.push(chosen.iter().map(|at| pool[*at].clone()).collect());
        return;
    }
    let start = match chosen.last() {
        Some(last) if combinations => last + 1,
        _ => 0,
    };
    for at in start..pool.len() {
        if !chosen.contains(&at) {
            chosen.push(at);
            arrange(pool, length, combinations, chosen, out);
            chosen.pop();
        }
    }
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

fn json_query(call: &Call<'_>) -> Result<Value, String> {
    let query = call.required(0).to_string();
    let expression = jmespath::compile(&query)
        .map_err(|error| format!("JMESPathError in json_query filter plugin:\n{error}"))?;
    let text = serde_json::to_string(&call.input).map_err(|error| error.to_string())?;
    let data = jmespath::Variable::from_json(&text)?;
    let found = expression
        .search(data)
        .map_err(|error| format!("JMESPathError in json_query filter plugin:\n{error}"))?;
    let found = serde_json::to_string(&*found).map_err(|error| error.to_string())?;
    serde_json::from_str(&found).map_err(|error| error.to_string())
}
