//! From running values to final ones: renders what is left, drops what is omitted.

use std::rc::Rc;

use super::run::Run;
use super::runtime::{Evaluated, Val};
use crate::value::{Map, Value};

/// Turns values into final data.
pub(super) trait Finish {
    /// Returns the final value, or `None` when the whole value is omitted.
    fn finish(&self, val: &Val) -> Evaluated<Option<Value>>;

    /// Returns the value as data; omitted is null.
    fn data(&self, val: &Val) -> Evaluated<Value>;

    /// Returns what Python's `str()` prints.
    fn text_of(&self, val: &Val) -> Evaluated<String>;

    /// Joins what a template put out: one value keeps its type, more become text.
    fn join(&self, out: Vec<Val>) -> Evaluated;
}

impl Finish for Run<'_> {
    fn finish(&self, val: &Val) -> Evaluated<Option<Value>> {
        finish(self, val, true)
    }

    fn data(&self, val: &Val) -> Evaluated<Value> {
        Ok(finish(self, val, false)?.unwrap_or(Value::Null))
    }

    fn text_of(&self, val: &Val) -> Evaluated<String> {
        match self.force(val)? {
            Val::Data(value) => Ok(value.to_string()),
            Val::Undefined(fault) => Err(fault),
            Val::Omit | Val::Blank => Ok(String::new()),
            val @ (Val::List(_) | Val::Dict(_) | Val::Object(_)) => {
                Ok(self.data(&val)?.to_string())
            }
            Val::Tuple(items) => {
                let items: Vec<Value> = items
                    .iter()
                    .map(|item| self.data(item))
                    .collect::<Evaluated<_>>()?;
                let list = Value::from(items.clone()).to_string();
                let inner = &list[1..list.len() - 1];
                let comma = if items.len() == 1 { "," } else { "" };
                Ok(format!("({inner}{comma})"))
            }
            other => Ok(other.opaque_text()),
        }
    }

    fn join(&self, mut out: Vec<Val>) -> Evaluated {
        out.retain(|val| !matches!(val, Val::Data(Value::Null)));
        match out.len() {
            0 => return Ok(Value::Null.into()),
            1 => return out.pop().map_or_else(|| Ok(Value::Null.into()), Ok),
            _ => {}
        }
        let mut text = String::new();
        for val in &out {
            match self.force(val)? {
                Val::Data(Value::String(part)) => text.push_str(&part),
                val @ Val::Tuple(_) => text.push_str(&self.data(&val)?.to_string()),
                val => text.push_str(&self.text_of(&val)?),
            }
        }
        Ok(text.into())
    }
}

fn finish(run: &Run<'_>, val: &Val, strict: bool) -> Evaluated<Option<Value>> {
    run.guard_value()?;
    Ok(Some(match run.force(val)? {
        Val::Data(value) => value,
        Val::Omit => return Ok(None),
        Val::Undefined(fault) => return Err(Rc::clone(&fault)),
        Val::List(items) => {
            let items = items.borrow().clone();
            list(run, &items, strict)?
        }
        Val::Tuple(items) => list(run, &items, strict)?,
        Val::Dict(dict) => {
            let pairs = dict.borrow().clone();
            map(run, pairs, strict)?
        }
        object @ Val::Object(_) => map(run, run.pairs(&object)?.unwrap_or_default(), strict)?,
        range @ Val::Range(_) if !strict => {
            let items = run.items(&range)?;
            list(run, &items, strict)?
        }
        // As JSON has it; printed inside a text it has a blank.
        Val::Time(time) if strict => super::methods::time::iso_text(&time).into(),
        time @ (Val::Time(_) | Val::Span(_)) => time.opaque_text().into(),
        Val::Module(module) => run
            .join(module.text.clone())
            .and_then(|val| run.data(&val))?,
        Val::Blank if !strict => "".into(),
        other if strict => {
            return Err(run.raised(format!(
                "Type '{}' is unsupported for variable storage.",
                other.type_name()
            )));
        }
        other => other.opaque_text().into(),
    }))
}

fn list(run: &Run<'_>, items: &[Val], strict: bool) -> Evaluated<Value> {
    let mut finished = Vec::with_capacity(items.len());
    for item in items {
        finished.extend(finish(run, item, strict)?);
    }
    Ok(finished.into())
}

fn map(
    run: &Run<'_>,
    pairs: impl IntoIterator<Item = (Value, Val)>,
    strict: bool,
) -> Evaluated<Value> {
    let mut finished = Map::new();
    for (key, val) in pairs {
        if let Some(value) = finish(run, &val, strict)? {
            finished.insert(key, value);
        }
    }
    Ok(finished.into())
}
