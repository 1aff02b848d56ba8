//! `combine`: dictionaries merged over one another, and lists in them by the user's wish.

use super::super::call::Bound;
use super::super::finish::Finish;
use super::super::frame::Frame;
use super::super::python::contains;
use super::super::runtime::{Dict, Evaluated, Val};
use super::super::syntax::Place;
use super::{Filter, running};
use crate::value::Value;

pub(super) const FILTERS: &[Filter] = &[running("combine", "* **", combine)];

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
