//! Loops: what a task repeats over, and what each round binds and shows.

use std::sync::Arc;
use std::time::Duration;

use super::execution::Execution;
use super::failure::Failure;
use super::render::Renderer;
use super::world::Job;
use crate::event::Event;
use crate::node::Kind;
use crate::playbook::{Loop, LoopControl};
use crate::value::{Map, Value};

/// The items of a loop.
pub(super) struct Items(Arc<Vec<Value>>);

impl Items {
    /// Reads what the task repeats over; `None` when it has no loop.
    pub(super) fn read(job: &Job) -> Result<Option<Self>, Failure> {
        let renderer = Renderer {
            engine: &job.engine,
            scope: &*job.scope,
        };
        match &job.task.loop_over {
            None => Ok(None),
            Some(Loop::Items(node)) => match renderer.value(node)? {
                Some(Value::List(items)) => Ok(Some(Self(items))),
                other => Err(not_a_list(&other.unwrap_or_default(), &node.mark)),
            },
            Some(Loop::With { lookup, terms }) => {
                let terms = loop_terms(&renderer, terms)?;
                let found = job
                    .engine
                    .lookup(lookup, terms, Map::new(), renderer.scope)?;
                Ok(Some(Self(Arc::new(found))))
            }
        }
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }
}

fn not_a_list(value: &Value, mark: &crate::source::Mark) -> Failure {
    let mut failure = Failure::new(format!(
        "The `loop` value must resolve to a 'list', not '{}'.",
        value.python_type()
    ))
    .at(mark)
    .help("Provide a list of items/templates, or a template resolving to a list.");
    failure.bare = true;
    failure
}

/// Returns the terms of `with_NAME`: a list as it is, anything else as the only term. A bare
/// name stands for the variable of that name.
fn loop_terms(renderer: &Renderer<'_>, terms: &crate::node::Node) -> Result<Vec<Value>, Failure> {
    let named = match &terms.kind {
        Kind::Text(text) if is_name(text.trim()) => renderer.variable(text.trim())?,
        _ => None,
    };
    let value = match named {
        Some(Value::List(items)) => Value::List(items),
        Some(Value::Map(map)) => Value::Map(map),
        _ => renderer.value(terms)?.unwrap_or_default(),
    };
    Ok(match value {
        Value::List(items) => items.to_vec(),
        other => vec![other],
    })
}

fn is_name(text: &str) -> bool {
    let mut characters = text.chars();
    characters
        .next()
        .is_some_and(|first| first.is_alphabetic() || first == '_')
        && characters.all(|character| character.is_alphanumeric() || character == '_')
}

/// `loop_control`, rendered.
pub(super) struct LoopVariables<'a> {
    pub(super) loop_var: String,
    index_var: Option<String>,
    pub(super) pause: Duration,
    extended: bool,
    all_items: bool,
    control: &'a LoopControl,
}

impl<'a> LoopVariables<'a> {
    /// Reads what the task says about its loop.
    pub(super) fn read(job: &'a Job) -> Result<Self, Failure> {
        let control = &job.task.loop_control;
        let renderer = Renderer {
            engine: &job.engine,
            scope: &*job.scope,
        };
        let pause = renderer.own_float("pause", control.pause.as_ref())?;
        let flag = |name, node: &Option<_>| renderer.own_flag(name, node.as_ref());
        Ok(Self {
            loop_var: renderer
                .text(control.loop_var.as_ref())?
                .unwrap_or_else(|| "item".into()),
            index_var: renderer.text(control.index_var.as_ref())?,
            pause: Duration::try_from_secs_f64(pause.unwrap_or(0.0)).unwrap_or_default(),
            extended: flag("extended", &control.extended)?.unwrap_or(false),
            all_items: flag("extended_allitems", &control.extended_allitems)?.unwrap_or(true),
            control,
        })
    }

    /// Warns when the loop variable hides another one.
    pub(super) fn warn_if_taken(&self, job: &Job) {
        if job.scope.get(&self.loop_var).is_some() {
            let mark = self.control.loop_var.as_ref().map(|node| node.mark.clone());
            job.world.tell(Event::Warning {
                message: format!(
                    "The loop variable '{}' is already in use. You should set the `loop_var` \
                     value in the `loop_control` option for the task to something else to avoid \
                     variable collisions and unexpected behavior.",
                    self.loop_var
                ),
                mark,
            });
        }
    }

    /// Returns what a round binds; the same keys stand in its result.
    pub(super) fn bind(&self, items: &Items, index: usize) -> Map {
        let mut bound = Map::new();
        bound.insert(self.loop_var.as_str().into(), items.0[index].clone());
        bound.insert("ansible_loop_var".into(), self.loop_var.as_str().into());
        if let Some(name) = &self.index_var {
            bound.insert(name.as_str().into(), index.into());
            bound.insert("ansible_index_var".into(), name.as_str().into());
        }
        if self.extended {
            bound.insert("ansible_loop".into(), self.extended(items, index));
        }
        bound
    }

    fn extended(&self, items: &Items, index: usize) -> Value {
        let all = &items.0;
        let length = all.len();
        let mut told = Map::new();
        let mut tell = |key: &str, value: Value| {
            told.insert(key.into(), value);
        };
        tell("index", (index + 1).into());
        tell("index0", index.into());
        tell("first", (index == 0).into());
        tell("last", (index + 1 == length).into());
        tell("length", length.into());
        tell("revindex", (length - index).into());
        tell("revindex0", (length - index - 1).into());
        if self.all_items {
            tell("allitems", Value::List(Arc::clone(all)));
        }
        if let Some(next) = all.get(index + 1) {
            tell("nextitem", next.clone());
        }
        if let Some(previous) = index.checked_sub(1).and_then(|at| all.get(at)) {
            tell("previtem", previous.clone());
        }
        told.into()
    }

    /// Gives the round its label, which may read the round's own result.
    pub(super) fn label(&self, renderer: &Renderer<'_>, execution: &mut Execution) {
        let Some(node) = &self.control.label else {
            execution.label = execution.result.get(self.loop_var.as_str()).cloned();
            return;
        };
        match renderer.value(node) {
            Ok(label) => execution.label = label,
            Err(failure) => {
                let reason = failure.brief();
                execution.label = Some(Value::Null);
                execution.set("failed", true);
                execution.set(
                    "msg",
                    format!("Failed to template loop_control.label: {reason}"),
                );
            }
        }
    }

    /// Tells whether `break_when` ends the loop after this round.
    pub(super) fn is_over(&self, renderer: &Renderer<'_>) -> Result<bool, Failure> {
        if self.control.break_when.is_empty() {
            return Ok(false);
        }
        Ok(renderer.first_false(&self.control.break_when)?.is_none())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_extended_loop_knows_its_neighbours_and_its_place_from_both_ends() {
        let control = LoopControl::default();
        let variables = LoopVariables {
            loop_var: "item".into(),
            index_var: Some("i".into()),
            pause: Duration::ZERO,
            extended: true,
            all_items: false,
            control: &control,
        };
        let items = Items(Arc::new(vec!["a".into(), "b".into(), "c".into()]));
        let bound = Value::from(variables.bind(&items, 1));
        assert_eq!(
            bound.to_string(),
            "{'item': 'b', 'ansible_loop_var': 'item', 'i': 1, 'ansible_index_var': 'i', \
             'ansible_loop': {'index': 2, 'index0': 1, 'first': False, 'last': False, 'length': \
             3, 'revindex': 2, 'revindex0': 1, 'nextitem': 'c', 'previtem': 'a'}}"
        );
    }

    #[test]
    fn only_a_bare_name_stands_for_a_variable() {
        assert!(is_name("packages"));
        assert!(!is_name("a.b"));
        assert!(!is_name("1a"));
        assert!(!is_name(""));
    }
}
