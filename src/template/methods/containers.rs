//! Methods of `list`, `tuple` and `dict`, those that change their owner included.

use std::rc::Rc;

use super::super::call::Given;
use super::super::expressions::equal;
use super::super::finish::Finish;
use super::super::frame::Frame;
use super::super::python::sort_by_key;
use super::super::runtime::{Dict, Evaluated, Val};
use super::bind;
use crate::value::{Value, repr};

/// Calls the method `name` of a container.
pub(super) fn call(frame: &Frame<'_>, owner: &Val, name: &str, given: Given<Val>) -> Evaluated {
    if owner.is_mapping() {
        if let Val::Dict(dict) = owner
            && super::changes(name)
        {
            return change_dict(frame, &mut dict.borrow_mut(), name, given);
        }
        return read_dict(frame, owner, name, given);
    }
    match owner {
        Val::List(items) if super::changes(name) => change_list(frame, items, name, given),
        _ => read_list(frame, owner, name, given),
    }
}

fn read_list(frame: &Frame<'_>, owner: &Val, name: &str, given: Given<Val>) -> Evaluated {
    let items = frame.run.items(owner)?;
    if name == "copy" {
        return Ok(Val::list(items));
    }
    let arguments = bind(frame, given, name, "value! start end")?;
    let wanted = arguments[0].clone().unwrap_or_default();
    let mut count = 0;
    for (index, item) in items.iter().enumerate() {
        if equal(frame, &frame.run.force(item)?, &wanted)? {
            if name == "index" {
                return Ok(index.into());
            }
            count += 1;
        }
    }
    if name == "index" {
        let shown = repr(&frame.run.data(&wanted)?);
        return Err(frame.run.raised(format!("{shown} is not in list")));
    }
    Ok(count.into())
}

fn change_list(
    frame: &Frame<'_>,
    items: &Rc<std::cell::RefCell<Vec<Val>>>,
    name: &str,
    given: Given<Val>,
) -> Evaluated {
    match name {
        "append" => {
            let mut arguments = bind(frame, given, "list.append", "object!")?;
            items.borrow_mut().extend(arguments[0].take());
        }
        "extend" => {
            let arguments = bind(frame, given, "list.extend", "iterable!")?;
            let more = match &arguments[0] {
                Some(more) => frame.run.items(more)?,
                None => Vec::new(),
            };
            items.borrow_mut().extend(more);
        }
        "insert" => {
            let mut arguments = bind(frame, given, "insert", "index! object!")?;
            let at = position(frame, arguments[0].as_ref())?;
            let mut items = items.borrow_mut();
            let length = i128::try_from(items.len()).unwrap_or(i128::MAX);
            let at = if at < 0 {
                (at + length).max(0)
            } else {
                at.min(length)
            };
            let at = usize::try_from(at).unwrap_or(0);
            items.insert(at, arguments[1].take().unwrap_or_default());
        }
        "pop" => {
            let arguments = bind(frame, given, "pop", "index")?;
            let at = match &arguments[0] {
                Some(at) => position(frame, Some(at))?,
                None => -1,
            };
            let mut items = items.borrow_mut();
            if items.is_empty() {
                return Err(frame.run.raised("pop from empty list"));
            }
            let length = i128::try_from(items.len()).unwrap_or(i128::MAX);
            let at = if at < 0 { at + length } else { at };
            return match usize::try_from(at) {
                Ok(at) if at < items.len() => Ok(items.remove(at)),
                _ => Err(frame.run.raised("pop index out of range")),
            };
        }
        "remove" => {
            let arguments = bind(frame, given, "list.remove", "value!")?;
            let wanted = arguments[0].clone().unwrap_or_default();
            let candidates = items.borrow().clone();
            for (index, item) in candidates.iter().enumerate() {
                if equal(frame, &frame.run.force(item)?, &wanted)? {
                    items.borrow_mut().remove(index);
                    return Ok(Val::default());
                }
            }
            return Err(frame.run.raised("list.remove(x): x not in list"));
        }
        "reverse" => items.borrow_mut().reverse(),
        "sort" => {
            let arguments = bind(frame, given, "sort", "reverse")?;
            let reverse = match &arguments[0] {
                Some(reverse) => frame.run.truth(reverse)?,
                None => false,
            };
            let values = items
                .borrow()
                .iter()
                .map(|item| frame.run.data(item))
                .collect::<Evaluated<Vec<_>>>()?;
            let sorted = sort_by_key(values, reverse, Value::clone)
                .map_err(|text| frame.run.raised(text))?;
            *items.borrow_mut() = sorted.into_iter().map(Val::Data).collect();
        }
        _ => items.borrow_mut().clear(),
    }
    Ok(Val::default())
}

fn position(frame: &Frame<'_>, val: Option<&Val>) -> Evaluated<i128> {
    match val {
        Some(Val::Data(Value::Int(number))) => Ok(*number),
        other => Err(frame.run.raised(format!(
            "'{}' object cannot be interpreted as an integer",
            other.map_or("NoneType", Val::type_name)
        ))),
    }
}

fn read_dict(frame: &Frame<'_>, owner: &Val, name: &str, given: Given<Val>) -> Evaluated {
    if name == "get" {
        let mut arguments = bind(frame, given, "get", "key! default")?;
        let key = frame.run.data(&arguments[0].take().unwrap_or_default())?;
        let found = match (owner, &key) {
            (Val::Object(object), Value::String(key)) => frame.run.entry(object, key)?,
            (Val::Dict(dict), _) => dict.borrow().get(&key).cloned(),
            (Val::Data(Value::Map(map)), _) => map.get(&key).cloned().map(Val::Data),
            _ => None,
        };
        return match found {
            Some(val) => frame.run.force(&val),
            None => Ok(arguments[1].take().unwrap_or_default()),
        };
    }
    bind(frame, given, name, "")?;
    let pairs = frame.run.pairs(owner)?.unwrap_or_default();
    Ok(match name {
        "items" => Val::list(
            pairs
                .into_iter()
                .map(|(key, val)| Val::tuple([Val::Data(key), val])),
        ),
        "keys" => Val::list(pairs.into_iter().map(|(key, _)| Val::Data(key))),
        "values" => Val::list(pairs.into_iter().map(|(_, val)| val)),
        _ => Val::dict(pairs.into_iter().collect()),
    })
}

fn change_dict(frame: &Frame<'_>, dict: &mut Dict, name: &str, given: Given<Val>) -> Evaluated {
    match name {
        "update" => {
            for source in &given.positional {
                match frame.run.pairs(source)? {
                    Some(pairs) => dict.extend(pairs),
                    None => {
                        for pair in frame.run.items(source)? {
                            if let [key, val] = &frame.run.items(&pair)?[..] {
                                dict.insert(frame.run.data(key)?, val.clone());
                            }
                        }
                    }
                }
            }
            for (name, val) in given.named {
                dict.insert(name.into(), val);
            }
        }
        "setdefault" => {
            let mut arguments = bind(frame, given, "setdefault", "key! default")?;
            let key = frame.run.data(&arguments[0].take().unwrap_or_default())?;
            let fallback = arguments[1].take().unwrap_or_default();
            return Ok(dict.entry(key).or_insert(fallback).clone());
        }
        "pop" => {
            let mut arguments = bind(frame, given, "pop", "key! default")?;
            let key = frame.run.data(&arguments[0].take().unwrap_or_default())?;
            return match (dict.shift_remove(&key), arguments[1].take()) {
                (Some(val), _) | (None, Some(val)) => Ok(val),
                (None, None) => Err(frame.run.raised(repr(&key))),
            };
        }
        "popitem" => {
            return match dict.pop() {
                Some((key, val)) => Ok(Val::tuple([Val::Data(key), val])),
                None => Err(frame.run.raised("'popitem(): dictionary is empty'")),
            };
        }
        "__setitem__" => {
            let mut arguments = bind(frame, given, "__setitem__", "key! value!")?;
            let key = frame.run.data(&arguments[0].take().unwrap_or_default())?;
            dict.insert(key, arguments[1].take().unwrap_or_default());
        }
        _ => dict.clear(),
    }
    Ok(Val::default())
}
