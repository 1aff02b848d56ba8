//! Conditions: `when`, `until`, `changed_when`, `failed_when` and what `assert` asks.
//!
//! A condition is source: a bare expression, or a template that gives a text which a user wrote
//! somewhere. Data never becomes an expression.

use std::rc::Rc;
use std::sync::Arc;

use super::compile::Mode;
use super::engine::{Engine, told};
use super::finish::Finish;
use super::header::has_header;
use super::run::Run;
use super::runtime::{Evaluated, Origin, Val, Words};
use super::scope::{Binding, Scope};
use super::trust::{TRUST, UNTRUSTED};
use super::{TemplateError, is_template};
use crate::node::{Kind, Node};
use crate::source::Mark;
use crate::value::Value;

/// What Ansible says of a condition that is a template for a value.
const AS_TEMPLATE: &str = "Conditionals should not be surrounded by templating delimiters such as \
     {{ }} or {% %}. This feature will be removed from ansible-core version 2.23.";

/// What helps where playbooks cannot be changed at once.
const ALLOWED: &str = "Broken conditionals can be temporarily allowed with the \
     `ALLOW_BROKEN_CONDITIONALS` configuration option.";

impl Engine {
    /// Evaluates one condition of `when`, `until`, `changed_when`, `failed_when` or `that`.
    pub fn condition(&self, node: &Node, scope: &dyn Scope) -> Result<bool, TemplateError> {
        let run = Run::new(self, scope);
        let text = match &node.kind {
            Kind::Bool(flag) => return Ok(*flag),
            Kind::Null => return self.empty_condition(node),
            Kind::Text(text) => text.trim(),
            Kind::Unsafe(_) => {
                let mut error = TemplateError::new(UNTRUSTED).at(&node.mark);
                error.help = Some(TRUST.into());
                return Err(error);
            }
            _ if self.allow_broken_conditionals => {
                let val = Val::of_node(node, None, None);
                return run.truth(&val).map_err(|fault| told(&fault, node, scope));
            }
            _ => {
                return Err(broken("Conditional expressions must be strings.", node));
            }
        };
        if text.is_empty() {
            return self.empty_condition(node);
        }
        let origin = Rc::new(Origin::Node(node.clone()));
        let answer = conditional(&run, text, &origin)
            .map_err(|fault| while_evaluating(told(&fault, node, scope)))?;
        match answer {
            None => self.empty_condition(node),
            Some(Value::Bool(flag)) => Ok(flag),
            Some(other) => {
                let message = format!(
                    "Conditional result ({}) was derived from value of type '{}' at '{}'. \
                     Conditionals must have a boolean result.",
                    if other.is_truthy() { "True" } else { "False" },
                    other.python_type(),
                    origin_of(text, scope).unwrap_or_else(|| node.mark.clone())
                );
                if self.allow_broken_conditionals {
                    self.deprecate(&message, node);
                    return Ok(other.is_truthy());
                }
                Err(broken(&message, node))
            }
        }
    }

    fn deprecate(&self, message: &str, node: &Node) {
        let text =
            format!("{message} This feature will be removed from ansible-core version 2.23.");
        self.services().deprecate(text, &node.mark);
    }

    fn empty_condition(&self, node: &Node) -> Result<bool, TemplateError> {
        if self.allow_broken_conditionals {
            self.deprecate("Empty conditional expression was evaluated as True.", node);
            return Ok(true);
        }
        Err(broken(
            "Empty conditional expressions are not allowed.",
            node,
        ))
    }
}

fn broken(message: &str, node: &Node) -> TemplateError {
    let mut error = TemplateError::new(message).at(&node.mark);
    error.help = Some(ALLOWED.into());
    error
}

/// Returns where the value of a condition is written, if the condition is a variable or a part of
/// one, or a template that is nothing else.
fn origin_of(text: &str, scope: &dyn Scope) -> Option<Mark> {
    let name = |text: &str| {
        let inside = text
            .strip_prefix("{{")
            .and_then(|text| text.strip_suffix("}}"));
        inside.unwrap_or(text).trim().to_owned()
    };
    let mut path = name(text);
    // A variable may stand for another one; a circle was an error before.
    loop {
        let mut parts = path.split('.');
        let Some(Binding::Source(mut node)) = scope.get(parts.next()?) else {
            return None;
        };
        for part in parts {
            let pairs = node.as_map()?;
            let (_, value) = pairs.iter().find(|(key, _)| key.as_str() == Some(part))?;
            node = value.clone();
        }
        match node.as_str() {
            Some(text) if is_all_template(text) => path = name(text),
            _ => return Some(node.mark.clone()),
        }
    }
}

/// Evaluates a condition's text; `None` when it turns out to be empty. A condition that is one
/// template gives its answer, or a text that stands somewhere as a user wrote it.
fn conditional(run: &Run<'_>, text: &str, origin: &Rc<Origin>) -> Evaluated<Option<Value>> {
    let mut expression: Arc<str> = text.into();
    let mut origin = Rc::clone(origin);
    if is_all_template(text) {
        let val = run.evaluate(&expression, &Mode::Value, &origin, None)?;
        let answer = match run.finish(&val)? {
            Some(Value::String(answer)) if answer.trim().is_empty() => return Ok(None),
            Some(Value::String(answer)) => answer,
            other => {
                if let Origin::Node(node) = &*origin {
                    let services = run.engine.services();
                    services.deprecate(AS_TEMPLATE.to_owned(), &node.mark);
                }
                return Ok(other.filter(|value| !matches!(value, Value::Null)));
            }
        };
        let Some(mark) = answer.written_at().filter(|_| !is_template(&answer)) else {
            let mut fault = run.fault(Words::Failure(UNTRUSTED.into()), &origin, None);
            if let Some(fault) = Rc::get_mut(&mut fault) {
                fault.help = Some(TRUST.into());
            }
            return Err(fault);
        };
        expression = answer.trim().into();
        origin = Rc::new(Origin::Node(Node::text(mark.clone(), answer.shared())));
    }
    let val = run.evaluate(&expression, &Mode::Condition, &origin, None)?;
    Ok(Some(run.finish(&val)?.unwrap_or_default()))
}

/// Tells whether a condition is wrapped in template markers as a whole.
pub(super) fn is_all_template(text: &str) -> bool {
    has_header(text)
        || (["{{", "{%", "{#"]
            .iter()
            .any(|start| text.starts_with(start))
            && ["}}", "%}", "#}"].iter().any(|end| text.ends_with(end)))
}

fn while_evaluating(mut error: TemplateError) -> TemplateError {
    if error.undefined {
        error.message = format!("Error while evaluating conditional: {}", error.message);
    }
    error
}

#[cfg(test)]
mod tests {
    use indexmap::IndexMap;

    use super::*;
    use crate::source::{Mark, SourceFile};
    use crate::template::{Binding, Isolated};

    fn source(text: &str) -> Node {
        let file = SourceFile::new("a.yml", format!("x: {text}\n"));
        Node::text(Mark::new(&file, 1, 4), text)
    }

    fn scope() -> IndexMap<Arc<str>, Binding> {
        [("n".into(), Binding::from(1))].into_iter().collect()
    }

    #[test]
    fn a_condition_must_be_a_boolean() {
        let engine = Engine::new(Arc::new(Isolated));
        assert_eq!(
            engine.condition(&source("n == 1 and n is defined"), &scope()),
            Ok(true)
        );
        assert_eq!(
            engine
                .condition(&source("gone"), &scope())
                .unwrap_err()
                .message,
            "Error while evaluating conditional: 'gone' is undefined"
        );
        assert_eq!(
            engine
                .condition(&source("'text'"), &scope())
                .unwrap_err()
                .message,
            "Conditional result (True) was derived from value of type 'str' at 'a.yml:1:4'. Conditionals must have a boolean result."
        );
    }

    #[test]
    fn a_condition_never_runs_data_as_code() {
        let engine = Engine::new(Arc::new(Isolated));
        let mut scope = scope();
        scope.insert("indirect".into(), Binding::Source(source("n == 1")));
        scope.insert("reply".into(), Binding::from("n == 1"));
        assert_eq!(
            engine.condition(&source("{{ indirect }}"), &scope),
            Ok(true)
        );
        assert_eq!(
            engine
                .condition(&source("{{ reply }}"), &scope)
                .unwrap_err()
                .message,
            "Encountered untrusted template or expression."
        );
    }
}
