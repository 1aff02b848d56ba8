//! Filters that sort, group and sum up: `sort`, `unique`, `min`, `max`, `sum`, `groupby`.
//!
//! Texts compare without case unless asked, as Jinja's do.

use std::cmp::Ordering;

use super::super::call::{Bound, Call};
use super::super::finish::Finish;
use super::super::frame::Frame;
use super::super::operators::{arithmetic, binary};
use super::super::python::{Number, compare, contains, equal, sort_by_key};
use super::super::runtime::{Evaluated, Val, Words};
use super::super::syntax::{Operator, Place};
use super::selection::path;
use super::{Filter, data, running};
use crate::value::Value;

pub(super) const FILTERS: &[Filter] = &[
    running("sort", "reverse case_sensitive attribute", sort),
    running("unique", "case_sensitive attribute", unique),
    running("min", "case_sensitive attribute", min),
    running("max", "case_sensitive attribute", max),
    running("sum", "attribute start", sum),
    running("groupby", "attribute! default case_sensitive", groupby),
    data("dictsort", "case_sensitive by reverse", dictsort),
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
    // Python compares by hash first; without one, the filter of Ansible takes over, which knows
    // neither option.
    let is_asked =
        attribute.is_some() || matches!(case_sensitive, Some(Val::Data(Value::Bool(false))));
    let mut seen: Vec<Value> = Vec::new();
    let mut out = Vec::new();
    for (key, item) in keyed.items {
        if is_asked && matches!(key, Value::List(_) | Value::Map(_)) {
            return Err(frame.run.failure(format!(
                "Jinja2's unique filter failed and we cannot fall back to Ansible's version as it does not support the parameters supplied: unhashable type: '{}'",
                key.python_type()
            )));
        }
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
