//! `lookup`, `query` and `q`: arguments out to the lookup plugins, results back.

use std::rc::Rc;
use std::sync::Arc;

use indexmap::IndexMap;

use super::call::Given;
use super::finish::Finish;
use super::frame::Frame;
use super::functions::NO_HINT;
use super::run::Run;
use super::runtime::{Evaluated, Val, Words};
use super::scope::{Binding, Layers, Scope};
use super::services::{LookupCall, LookupError, Reader};
use super::syntax::Place;
use super::{TemplateError, TemplateOptions};
use crate::error::nearest;
use crate::source::SourceFile;
use crate::value::{Map, Value};

/// Calls the lookup plugin the first argument names.
pub(super) fn call(
    frame: &mut Frame<'_>,
    mut given: Given<Val>,
    mut wants_list: bool,
    place: Place,
) -> Evaluated {
    if given.positional.is_empty() {
        return Err(frame.raised(
            place,
            "_lookup() missing 1 required positional argument: 'plugin_name'",
        ));
    }
    let plugin = given.positional.remove(0);
    let plugin = frame.run.text_of(&plugin)?;
    if short_name(&plugin) == "env"
        && let Some(fallback) = undefined_default(frame, &mut given)?
    {
        return Ok(fallback);
    }
    if let Some(fault) = given.first_undefined(&Val::Omit)
        && plugin != "vars"
    {
        return Ok(Val::Undefined(fault));
    }
    let mut options = Map::new();
    let mut errors = String::from("strict");
    for (name, val) in &given.named {
        match &**name {
            "wantlist" => wants_list = frame.run.truth(val)?,
            "errors" => errors = frame.run.text_of(val)?,
            _ => {
                options.insert(Arc::clone(name).into(), frame.run.data(val)?);
            }
        }
    }
    let terms = given
        .positional
        .iter()
        .map(|term| frame.run.data(term))
        .collect::<Evaluated<Vec<Value>>>()?;
    let result = run(frame.run, &plugin, terms, options, false);
    let values = match result {
        Ok(values) => values,
        Err(LookupError::Template(error)) => return Err(placed(frame, error, place)),
        Err(LookupError::Failed(message)) if errors == "ignore" || errors == "warn" => {
            if errors == "warn" {
                let message = format!(
                    "An error occurred while running the lookup plugin '{plugin}': {message}"
                );
                frame.run.engine.services().warn(message, None);
            }
            return Ok(if wants_list {
                Val::list([])
            } else {
                Value::Null.into()
            });
        }
        Err(LookupError::Failed(message)) => {
            return Err(frame.failed(
                place,
                format!("The lookup plugin '{plugin}' failed: {message}"),
            ));
        }
    };
    Ok(Val::Data(if wants_list {
        values.into()
    } else {
        joined(values)
    }))
}

/// Takes an undefined `default` of the lookup `env` away; returns what stands for it where one of
/// the variables is not set.
fn undefined_default(frame: &Frame<'_>, given: &mut Given<Val>) -> Evaluated<Option<Val>> {
    let is_default = |(name, val): &(Arc<str>, Val)| &**name == "default" && val.is_undefined();
    let Some(at) = given.named.iter().position(is_default) else {
        return Ok(None);
    };
    let (_, fallback) = given.named.remove(at);
    for term in &given.positional {
        if let Val::Undefined(_) = term {
            return Ok(None);
        }
        let term = frame.run.text_of(term)?;
        let name = term.split_whitespace().next().unwrap_or_default();
        if frame.run.engine.services().environment(name).is_some() {
            continue;
        }
        let is_bare = matches!(&fallback, Val::Undefined(fault)
            if matches!(&fault.words, Words::Undefined(hint) if hint == NO_HINT));
        if !is_bare {
            return Ok(Some(fallback));
        }
        let words = Words::Undefined(format!("The environment variable '{name}' is not set."));
        return Ok(Some(Val::Undefined(frame.run.fault(
            words,
            &frame.origin,
            None,
        ))));
    }
    Ok(None)
}

/// One result stands alone, texts are joined by commas, anything else stays a list.
fn joined(mut values: Vec<Value>) -> Value {
    if values.len() == 1 {
        return values.remove(0);
    }
    let texts: Option<Vec<&str>> = values.iter().map(Value::as_str).collect();
    match texts {
        Some(texts) if !texts.is_empty() => texts.join(",").into(),
        _ => values.into(),
    }
}

/// Runs a lookup plugin by its short or full name.
pub(super) fn run(
    run: &Run<'_>,
    plugin: &str,
    terms: Vec<Value>,
    options: Map,
    from_loop: bool,
) -> Result<Vec<Value>, LookupError> {
    let services = run.engine.services();
    let name = short_name(plugin);
    if !services.lookup_names().contains(&name) {
        let mut error = TemplateError::new(not_found(plugin));
        error.help = nearest_name(plugin, services.lookup_names());
        return Err(LookupError::Template(error));
    }
    services.lookup(LookupCall {
        name,
        terms,
        options,
        from_loop,
        reader: &RunReader { run },
    })
}

/// Words an unknown lookup as ansible-core does.
pub(super) fn not_found(plugin: &str) -> String {
    format!("The lookup plugin '{plugin}' was not found.")
}

/// Returns the help line that names the lookup most likely meant.
pub(super) fn nearest_name(plugin: &str, known: &'static [&'static str]) -> Option<String> {
    nearest(short_name(plugin), known.iter().copied()).map(|near| format!("did you mean `{near}`?"))
}

/// Returns the name without its collection when that is ansible.builtin.
pub(super) fn short_name(name: &str) -> &str {
    name.strip_prefix("ansible.builtin.")
        .or_else(|| name.strip_prefix("ansible.legacy."))
        .unwrap_or(name)
}

fn placed(frame: &Frame<'_>, error: TemplateError, place: Place) -> Rc<super::runtime::Fault> {
    let words = if error.undefined {
        Words::Undefined(error.message)
    } else {
        Words::Failure(error.message)
    };
    let mut fault = frame.run.fault(words, &frame.origin, Some(place));
    if let Some(fault) = Rc::get_mut(&mut fault) {
        fault.help = error.help;
    }
    fault
}

struct RunReader<'a> {
    run: &'a Run<'a>,
}

impl Reader for RunReader<'_> {
    fn variable(&self, name: &str) -> Result<Option<Value>, TemplateError> {
        self.run
            .variable(None, name)
            .and_then(|val| match val {
                Some(val) => self.run.data(&val).map(Some),
                None => Ok(None),
            })
            .map_err(|fault| fault.to_error())
    }

    fn names(&self) -> Vec<Arc<str>> {
        self.run.scope.names()
    }

    fn template(
        &self,
        file: &Arc<SourceFile>,
        options: &TemplateOptions,
        extra: &Map,
    ) -> Result<Value, TemplateError> {
        let extra: IndexMap<Arc<str>, Binding> = extra
            .iter()
            .map(|(name, value)| (name.to_string().into(), Binding::Final(value.clone())))
            .collect();
        let layers = Layers::new([&extra as &dyn Scope, self.run.scope]);
        self.run.engine.template_value(file, options, &layers)
    }
}
