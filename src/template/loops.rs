//! Attributes of what only a template has: the loop variable, cyclers, imported modules, times.

use std::rc::Rc;

use super::expressions::equal;
use super::frame::Frame;
use super::methods::time;
use super::runtime::{Evaluated, LoopState, Val};
use super::syntax::Place;
use crate::value::Value;

/// Returns the attribute `name` when the owner is of such a type and has it.
pub(super) fn attribute(
    frame: &Frame<'_>,
    owner: &Val,
    name: &str,
    _place: Place,
) -> Evaluated<Option<Val>> {
    Ok(match owner {
        Val::Loop(state) => loop_attribute(state, name),
        Val::Cycler(cycler) if name == "current" => cycler.0.get(cycler.1.get()).cloned(),
        Val::Macro(closure) => match name {
            "name" => Some(Val::from(&*closure.declared.name)),
            "arguments" => Some(Val::tuple(
                closure
                    .declared
                    .parameters
                    .iter()
                    .map(|name| Val::from(&**name)),
            )),
            _ => None,
        },
        // What `groupby` gives can be taken apart by name as well.
        Val::Tuple(pair) if pair.len() == 2 => match name {
            "grouper" => Some(pair[0].clone()),
            "list" => Some(pair[1].clone()),
            _ => None,
        },
        Val::Time(moment) => time::field(moment, name),
        Val::Span(span) => time::span_field(*span, name),
        Val::Data(Value::Int(_) | Value::Bool(_)) if matches!(name, "real" | "numerator") => {
            Some(frame.run.force(owner)?)
        }
        _ => None,
    })
}

fn loop_attribute(state: &Rc<LoopState>, name: &str) -> Option<Val> {
    let index = state.index.get();
    let length = state.items.len();
    Some(match name {
        "index" => (index + 1).into(),
        "index0" => index.into(),
        "revindex" => (length - index).into(),
        "revindex0" => (length - index - 1).into(),
        "first" => (index == 0).into(),
        "last" => (index + 1 == length).into(),
        "length" => length.into(),
        "depth" => (state.depth + 1).into(),
        "depth0" => state.depth.into(),
        "previtem" => state.items.get(index.checked_sub(1)?)?.clone(),
        "nextitem" => state.items.get(index + 1)?.clone(),
        _ => return None,
    })
}

/// Calls a method of the loop variable or a cycler; `None` when there is none of that name.
pub(super) fn method(
    frame: &Frame<'_>,
    owner: &Val,
    name: &str,
    arguments: &[Val],
) -> Evaluated<Option<Val>> {
    Ok(match (owner, name) {
        (Val::Loop(state), "cycle") => {
            if arguments.is_empty() {
                return Err(frame.run.raised("no items for cycling given"));
            }
            arguments.get(state.index.get() % arguments.len()).cloned()
        }
        (Val::Loop(state), "changed") => {
            let previous = state.changed.replace(Some(Vec::new()));
            let now: Vec<Value> = arguments
                .iter()
                .map(|val| super::finish::Finish::data(frame.run, val))
                .collect::<Evaluated<_>>()?;
            let changed = match previous {
                Some(before) => !equal(frame, &Val::from(before), &Val::from(now.clone()))?,
                None => true,
            };
            state.changed.replace(Some(now));
            Some(changed.into())
        }
        (Val::Cycler(cycler), "next") => {
            let at = cycler.1.get();
            cycler.1.set((at + 1) % cycler.0.len().max(1));
            cycler.0.get(at).cloned()
        }
        (Val::Cycler(cycler), "reset") => {
            cycler.1.set(0);
            Some(Value::Null.into())
        }
        _ => None,
    })
}
