//! Arguments of filters, tests, methods and functions, bound as Python binds them.

use std::rc::Rc;
use std::sync::Arc;

use super::runtime::{Fault, Val};
use super::services::Services;
use crate::value::{Map, Value};

/// The parameters a callable declares: `name!` is required, `*` takes more positional ones, `**`
/// takes any named ones. Names after `*` can only be given by name.
#[derive(Debug)]
pub(super) struct Parameters {
    names: &'static str,
}

impl Parameters {
    pub(super) const fn new(names: &'static str) -> Self {
        Self { names }
    }

    fn list(&self) -> impl Iterator<Item = (&'static str, bool)> {
        self.names
            .split_ascii_whitespace()
            .filter(|name| !name.starts_with('*'))
            .map(|name| match name.strip_suffix('!') {
                Some(name) => (name, true),
                None => (name, false),
            })
    }

    /// Returns how many parameters can be given by position.
    fn positional(&self) -> usize {
        self.names
            .split_ascii_whitespace()
            .take_while(|name| *name != "*")
            .filter(|name| *name != "**")
            .count()
    }

    fn takes(&self, marker: &str) -> bool {
        self.names
            .split_ascii_whitespace()
            .any(|name| name == marker)
    }
}

/// Which values without data a filter or test takes as its own business.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Takes {
    /// None: such a value is the result.
    Data,
    Undefined,
    /// Undefined ones, and vaulted text that no password opens.
    Vaulted,
}

impl Takes {
    /// Tells whether a value that is a fault so far is taken.
    pub(super) fn takes(self, fault: &Fault) -> bool {
        match self {
            Self::Data => false,
            Self::Undefined => fault.is_undefined(),
            Self::Vaulted => true,
        }
    }
}

/// Arguments as they were given.
#[derive(Clone)]
pub(super) struct Given<T> {
    pub(super) positional: Vec<T>,
    pub(super) named: Vec<(Arc<str>, T)>,
}

impl<T> Default for Given<T> {
    fn default() -> Self {
        Self {
            positional: Vec::new(),
            named: Vec::new(),
        }
    }
}

/// Arguments matched to parameters.
pub(super) struct Bound<T> {
    /// One slot per declared parameter.
    pub(super) arguments: Vec<Option<T>>,
    pub(super) rest: Vec<T>,
    pub(super) named: Vec<(Arc<str>, T)>,
}

impl<T> Bound<T> {
    /// Takes the argument of parameter `index`.
    pub(super) fn take(&mut self, index: usize) -> Option<T> {
        self.arguments.get_mut(index).and_then(Option::take)
    }
}

impl<T> Given<T> {
    /// Matches the arguments to `parameters`; the error is Python's message.
    pub(super) fn bind(self, function: &str, parameters: &Parameters) -> Result<Bound<T>, String> {
        let declared: Vec<_> = parameters.list().collect();
        let mut arguments: Vec<Option<T>> = Vec::with_capacity(declared.len());
        let given = self.positional.len();
        let mut positional = self.positional.into_iter();
        let places = parameters.positional();
        arguments.extend(positional.by_ref().take(places).map(Some));
        arguments.resize_with(declared.len(), || None);
        let rest: Vec<T> = positional.collect();
        if !rest.is_empty() && !parameters.takes("*") {
            let least = 1 + declared.iter().filter(|(_, required)| *required).count();
            let most = places + 1;
            let takes = if least == most {
                format!(
                    "{most} positional argument{}",
                    if most == 1 { "" } else { "s" }
                )
            } else {
                format!("from {least} to {most} positional arguments")
            };
            return Err(format!(
                "{function}() takes {takes} but {} were given",
                given + 1
            ));
        }
        let mut named = Vec::new();
        for (name, value) in self.named {
            match declared.iter().position(|(known, _)| *known == &*name) {
                Some(index) if arguments[index].is_some() => {
                    return Err(format!(
                        "{function}() got multiple values for argument '{name}'"
                    ));
                }
                Some(index) => arguments[index] = Some(value),
                None if parameters.takes("**") => named.push((name, value)),
                None => {
                    return Err(format!(
                        "{function}() got an unexpected keyword argument '{name}'"
                    ));
                }
            }
        }
        let missing: Vec<String> = declared
            .iter()
            .zip(&arguments)
            .filter(|((_, required), argument)| *required && argument.is_none())
            .map(|((name, _), _)| format!("'{name}'"))
            .collect();
        if !missing.is_empty() {
            return Err(format!(
                "{function}() missing {} required positional argument{}: {}",
                missing.len(),
                if missing.len() == 1 { "" } else { "s" },
                missing.join(" and ")
            ));
        }
        Ok(Bound {
            arguments,
            rest,
            named,
        })
    }
}

impl Given<Val> {
    /// Returns the first value without data among the input and the arguments.
    pub(super) fn first_undefined(&self, input: &Val) -> Option<Rc<Fault>> {
        std::iter::once(input)
            .chain(&self.positional)
            .chain(self.named.iter().map(|(_, val)| val))
            .find_map(|val| match val {
                Val::Undefined(fault) => Some(Rc::clone(fault)),
                _ => None,
            })
    }
}

/// One call of a filter or test that works on data alone.
pub(super) struct Call<'a> {
    pub(super) name: &'static str,
    pub(super) input: Value,
    pub(super) arguments: Vec<Option<Value>>,
    pub(super) rest: Vec<Value>,
    pub(super) named: Map,
    pub(super) services: &'a dyn Services,
}

impl Call<'_> {
    /// Returns the argument of parameter `index`, if it was given and is not null.
    pub(super) fn get(&self, index: usize) -> Option<&Value> {
        self.given(index)
            .filter(|value| !matches!(value, Value::Null))
    }

    /// Returns the argument of parameter `index`, if it was given.
    pub(super) fn given(&self, index: usize) -> Option<&Value> {
        self.arguments.get(index).and_then(Option::as_ref)
    }

    /// Returns a required argument.
    pub(super) fn required(&self, index: usize) -> &Value {
        self.given(index).unwrap_or(&Value::Null)
    }

    /// Returns the input as text, as Ansible's `to_text` makes it.
    pub(super) fn text(&self) -> String {
        self.input.to_string()
    }

    /// Returns an argument as text.
    pub(super) fn text_at(&self, index: usize) -> Option<String> {
        self.get(index).map(ToString::to_string)
    }

    /// Returns an argument's truth, or `default`.
    pub(super) fn flag(&self, index: usize, default: bool) -> bool {
        self.given(index).map_or(default, Value::is_truthy)
    }

    /// Returns an argument as an integer.
    pub(super) fn int(&self, index: usize) -> Result<Option<i128>, String> {
        match self.get(index) {
            None => Ok(None),
            Some(Value::Int(number)) => Ok(Some(*number)),
            Some(Value::Bool(flag)) => Ok(Some(i128::from(*flag))),
            Some(other) => Err(format!(
                "'{}' object cannot be interpreted as an integer",
                other.python_type()
            )),
        }
    }

    /// Returns the items of the input as Python iterates over it.
    pub(super) fn items(&self) -> Result<Vec<Value>, String> {
        items_of(&self.input)
    }
}

/// Returns the items Python iterates over.
pub(super) fn items_of(value: &Value) -> Result<Vec<Value>, String> {
    match value {
        Value::List(items) => Ok(items.to_vec()),
        Value::Map(map) => Ok(map.keys().cloned().collect()),
        Value::String(text) => Ok(text.chars().map(|c| c.to_string().into()).collect()),
        other => Err(format!("'{}' object is not iterable", other.python_type())),
    }
}
