//! One render: reads variables, renders source when it is read, opens containers.
//!
//! Keeps what is read for the length of the render, so a variable is rendered once, and knows
//! what is being read, so a variable that reads itself is an error instead of a loop.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;

use super::compile::Mode;
use super::engine::Engine;
use super::frame::Frame;
use super::python::room_for;
use super::runtime::{Dict, Evaluated, Fault, Lazy, LazyState, Object, Origin, Val, Words};
use super::scope::{Binding, Scope};
use super::syntax::{Body, Place, Program};
use crate::node::{Kind, Node};
use crate::source::Mark;
use crate::value::{Text, Value, repr};

/// How much stack one render may use before it counts as an endless recursion.
const STACK_BUDGET: usize = 900 * 1024;

/// What was read, by the address of its scope and its name.
type Variables = HashMap<(usize, Arc<str>), Option<Val>>;

pub(super) struct Run<'a> {
    pub(super) engine: &'a Engine,
    pub(super) scope: &'a dyn Scope,
    variables: RefCell<Variables>,
    trail: RefCell<Vec<Arc<str>>>,
    stack: usize,
    /// Where a user asks for an expression that has no place of its own.
    pub(super) asked_at: Option<&'a Mark>,
}

impl<'a> Run<'a> {
    pub(super) fn new(engine: &'a Engine, scope: &'a dyn Scope) -> Self {
        Self {
            engine,
            scope,
            variables: RefCell::default(),
            trail: RefCell::default(),
            stack: stack_address(),
            asked_at: None,
        }
    }

    /// Makes a fault that remembers which variables are being read.
    pub(super) fn fault(
        &self,
        words: Words,
        origin: &Rc<Origin>,
        place: Option<Place>,
    ) -> Rc<Fault> {
        Rc::new(Fault {
            words,
            origin: Rc::clone(origin),
            place,
            trail: self.trail.borrow().clone(),
            help: None,
        })
    }

    /// Makes a failure without a place of its own.
    pub(super) fn failure(&self, message: impl Into<String>) -> Rc<Fault> {
        self.fault(
            Words::Failure(message.into()),
            &Rc::new(Origin::Unknown),
            None,
        )
    }

    /// Ends an endless recursion before it ends the process.
    pub(super) fn guard(&self, origin: &Rc<Origin>) -> Evaluated<()> {
        if self.has_room() {
            return Ok(());
        }
        Err(self.fault(
            Words::Failure(
                "Recursive loop detected in template: maximum recursion depth exceeded".into(),
            ),
            origin,
            None,
        ))
    }

    /// Ends the walk into a value that holds itself.
    pub(super) fn guard_value(&self) -> Evaluated<()> {
        if self.has_room() {
            return Ok(());
        }
        self.guard(&Rc::new(Origin::Unknown))
    }

    fn has_room(&self) -> bool {
        self.stack.abs_diff(stack_address()) < STACK_BUDGET
    }

    /// Reads a variable of `scope` (or of the render's own), rendered.
    pub(super) fn variable(
        &self,
        scope: Option<&Arc<dyn Scope>>,
        name: &str,
    ) -> Evaluated<Option<Val>> {
        let val = self.unread(scope, name);
        val.map(|val| self.force(&val)).transpose()
    }

    /// Finds a variable, rendered or not.
    pub(super) fn unread(&self, scope: Option<&Arc<dyn Scope>>, name: &str) -> Option<Val> {
        let address = scope.map_or(0, |scope| Arc::as_ptr(scope).cast::<()>() as usize);
        let key = (address, Arc::<str>::from(name));
        let known = self.variables.borrow().get(&key).cloned();
        known.unwrap_or_else(|| {
            let binding = match scope {
                Some(scope) => scope.get(name),
                None => self.scope.get(name),
            };
            let val = binding.map(|binding| Self::bind(binding, scope, &key.1));
            self.variables.borrow_mut().insert(key, val.clone());
            val
        })
    }

    /// Replaces a variable for the rest of the render.
    pub(super) fn rebind(&self, scope: Option<&Arc<dyn Scope>>, name: &str, val: Val) {
        let address = scope.map_or(0, |scope| Arc::as_ptr(scope).cast::<()>() as usize);
        self.variables
            .borrow_mut()
            .insert((address, name.into()), Some(val));
    }

    fn bind(binding: Binding, scope: Option<&Arc<dyn Scope>>, name: &Arc<str>) -> Val {
        match binding {
            Binding::Final(value) => Val::Data(value),
            Binding::Source(node) => Val::of_node(&node, scope, Some(name)),
            Binding::Object(inner) => {
                let scope = inner.scope().or_else(|| scope.cloned());
                Val::Object(Object { inner, scope })
            }
        }
    }

    /// Returns the entry `key` of an object.
    pub(super) fn entry(&self, object: &Object, key: &str) -> Evaluated<Option<Val>> {
        object
            .inner
            .get(key)
            .map(|binding| self.force(&Self::bind(binding, object.scope.as_ref(), &key.into())))
            .transpose()
    }

    /// Renders what is still source; everything else is returned as it is.
    pub(super) fn force(&self, val: &Val) -> Evaluated {
        let Val::Lazy(lazy) = val else {
            return Ok(val.clone());
        };
        match &*lazy.state.borrow() {
            LazyState::Read(val) => return Ok(val.clone()),
            LazyState::Reading => return Err(self.cycle(lazy)),
            LazyState::Unread => {}
        }
        *lazy.state.borrow_mut() = LazyState::Reading;
        let named = lazy.name.as_ref().is_some_and(|name| {
            let mut trail = self.trail.borrow_mut();
            let is_new = trail.last() != Some(name);
            if is_new {
                trail.push(Arc::clone(name));
            }
            is_new
        });
        let read = self.read(lazy);
        if named {
            self.trail.borrow_mut().pop();
        }
        *lazy.state.borrow_mut() = match &read {
            Ok(val) => LazyState::Read(val.clone()),
            Err(_) => LazyState::Unread,
        };
        read
    }

    fn cycle(&self, lazy: &Lazy) -> Rc<Fault> {
        let mut chain = self.trail.borrow().clone();
        chain.extend(lazy.name.clone());
        if let Some(name) = &lazy.name
            && let Some(start) = chain.iter().position(|link| link == name)
        {
            chain.drain(..start);
        }
        let message = format!(
            "Recursive loop detected in template: {}",
            chain.join(" -> ")
        );
        self.fault(
            Words::Failure(message),
            &Rc::new(Origin::Node(lazy.node.clone())),
            None,
        )
    }

    fn read(&self, lazy: &Lazy) -> Evaluated {
        let scope = lazy.scope.as_ref();
        let open = |node: &Node| Val::of_node(node, scope, lazy.name.as_ref());
        match &lazy.node.kind {
            Kind::List(items) => {
                items.iter().try_for_each(|item| self.holds(item))?;
                Ok(Val::list(items.iter().map(open)))
            }
            Kind::Map(pairs) => {
                let mut dict = Dict::with_capacity(pairs.len());
                for (key, value) in pairs.iter() {
                    self.holds(value)?;
                    dict.insert(key.to_key(), open(value));
                }
                Ok(Val::dict(dict))
            }
            Kind::Text(text) => self.text(text, &lazy.node, scope),
            Kind::Vault(ciphertext) => {
                let plain = match self.engine.services().decrypt(ciphertext) {
                    Ok(plain) => plain,
                    Err(reason) => {
                        let ciphertext = Arc::clone(ciphertext);
                        let words = Words::Undecryptable { ciphertext, reason };
                        let origin = Rc::new(Origin::Node(lazy.node.clone()));
                        return Ok(Val::Undefined(self.fault(words, &origin, None)));
                    }
                };
                if is_plain(&plain) {
                    return Ok(Text::from(plain).decrypted_from(ciphertext).into());
                }
                self.text(&plain.into(), &lazy.node, scope)
            }
            _ => Ok(open(&lazy.node)),
        }
    }

    fn text(&self, text: &Arc<str>, node: &Node, scope: Option<&Arc<dyn Scope>>) -> Evaluated {
        let origin = Rc::new(Origin::Node(node.clone()));
        self.evaluate(text, &Mode::Value, &origin, scope)
    }

    /// Compiles and evaluates a text; what is undefined comes back as an undefined value.
    pub(super) fn evaluate(
        &self,
        text: &Arc<str>,
        mode: &Mode,
        origin: &Rc<Origin>,
        scope: Option<&Arc<dyn Scope>>,
    ) -> Evaluated {
        self.guard(origin)?;
        let program = self.program(text, mode, origin)?;
        let mut frame = Frame::new(self, Rc::clone(origin), scope.cloned());
        let evaluated = match &program.body {
            Body::Expression(expression) => {
                frame.kind = "expression";
                frame.expression(expression)
            }
            Body::Template(statements) => frame
                .template(statements)
                .map(|val| keep_line_breaks(text, val)),
        };
        caught(evaluated)
    }

    /// Compiles and evaluates a text that tells its own failures.
    pub(super) fn shown(&self, text: &Arc<str>, node: &Node) -> Evaluated<String> {
        let origin = Rc::new(Origin::Node(node.clone()));
        let program = self.program(text, &Mode::Value, &origin)?;
        Ok(Frame::new(self, origin, None).shown(&program.body))
    }

    /// Returns the compiled text, or its syntax error with its place.
    pub(super) fn program(
        &self,
        text: &Arc<str>,
        mode: &Mode,
        origin: &Rc<Origin>,
    ) -> Evaluated<Arc<Program>> {
        self.engine.program(text, mode).map_err(|error| {
            Rc::new(Fault {
                words: Words::Failure(error.message),
                origin: Rc::clone(origin),
                place: error.place,
                trail: self.trail.borrow().clone(),
                help: error.help,
            })
        })
    }

    /// Returns the items Python iterates over, unread ones as they are.
    pub(super) fn items(&self, val: &Val) -> Evaluated<Vec<Val>> {
        Ok(match self.force(val)? {
            Val::List(items) => items.borrow().clone(),
            Val::Tuple(items) => items.to_vec(),
            Val::Dict(dict) | Val::Namespace(dict) => {
                dict.borrow().keys().cloned().map(Val::Data).collect()
            }
            Val::Data(Value::List(items)) => items.iter().cloned().map(Val::Data).collect(),
            Val::Data(Value::Map(map)) => map.keys().cloned().map(Val::Data).collect(),
            Val::Data(Value::String(text)) => {
                text.chars().map(|c| Val::from(c.to_string())).collect()
            }
            Val::Object(object) => object.inner.keys().into_iter().map(Val::from).collect(),
            Val::Range(range) => {
                room_for(usize::try_from(range.len()).ok()).map_err(|text| self.raised(text))?;
                range.iter().map(Val::from).collect()
            }
            Val::Loop(state) => state.items.clone(),
            Val::Blank => Vec::new(),
            Val::Undefined(fault) => return Err(fault),
            other => {
                return Err(self.raised(format!("'{}' object is not iterable", other.type_name())));
            }
        })
    }

    /// Returns the pairs of a mapping, or `None` when the value is none.
    pub(super) fn pairs(&self, val: &Val) -> Evaluated<Option<Vec<(Value, Val)>>> {
        Ok(match self.force(val)? {
            Val::Dict(dict) | Val::Namespace(dict) => Some(
                dict.borrow()
                    .iter()
                    .map(|(key, val)| (key.clone(), val.clone()))
                    .collect(),
            ),
            Val::Data(Value::Map(map)) => Some(
                map.iter()
                    .map(|(key, value)| (key.clone(), Val::Data(value.clone())))
                    .collect(),
            ),
            Val::Object(object) => {
                let mut pairs = Vec::new();
                for key in object.inner.keys() {
                    if let Some(val) = self.entry(&object, &key)? {
                        pairs.push((key.into(), val));
                    }
                }
                Some(pairs)
            }
            Val::Undefined(fault) => return Err(fault),
            _ => None,
        })
    }

    /// Tells whether Python calls a value true.
    pub(super) fn truth(&self, val: &Val) -> Evaluated<bool> {
        Ok(match self.force(val)? {
            Val::Data(value) => value.is_truthy(),
            Val::List(items) => !items.borrow().is_empty(),
            Val::Dict(dict) => !dict.borrow().is_empty(),
            Val::Tuple(items) => !items.is_empty(),
            Val::Object(object) => !object.inner.keys().is_empty(),
            Val::Range(range) => range.len() > 0,
            Val::Span(span) => !span.is_zero(),
            Val::Blank => false,
            Val::Undefined(fault) => return Err(fault),
            _ => true,
        })
    }

    /// Returns how many items a value has, or `None` when Python has no `len()` for it.
    pub(super) fn length(&self, val: &Val) -> Evaluated<Option<usize>> {
        Ok(match self.force(val)? {
            Val::Data(Value::String(text)) => Some(text.chars().count()),
            Val::Data(Value::List(items)) => Some(items.len()),
            Val::Data(Value::Map(map)) => Some(map.len()),
            Val::List(items) => Some(items.borrow().len()),
            Val::Dict(dict) => Some(dict.borrow().len()),
            Val::Tuple(items) => Some(items.len()),
            Val::Object(object) => Some(object.inner.keys().len()),
            Val::Range(range) => usize::try_from(range.len()).ok(),
            Val::Loop(state) => Some(state.items.len()),
            Val::Blank => Some(0),
            Val::Undefined(fault) => return Err(fault),
            _ => None,
        })
    }

    /// Makes the fault of an exception Python would raise, without a place of its own.
    pub(super) fn raised(&self, text: impl Into<String>) -> Rc<Fault> {
        self.fault(
            Words::Raised {
                kind: "template",
                text: text.into(),
            },
            &Rc::new(Origin::Unknown),
            None,
        )
    }

    /// Makes the undefined value of an attribute or item that is not there.
    pub(super) fn missing(
        &self,
        owner: &Val,
        name: &Value,
        origin: &Rc<Origin>,
        place: Place,
    ) -> Val {
        Val::Undefined(self.fault(
            Words::Missing {
                owner: owner.type_name(),
                name: repr(name),
            },
            origin,
            Some(place),
        ))
    }
}

/// Turns the use of something undefined into the undefined value it was, as a variable's template
/// gives it to whoever reads the variable.
pub(super) fn caught(evaluated: Evaluated) -> Evaluated {
    match evaluated {
        Err(fault) if fault.is_undefined() => Ok(Val::Undefined(fault)),
        other => other,
    }
}

/// Appends the line breaks that ended the text and that Jinja drops.
fn keep_line_breaks(text: &str, val: Val) -> Val {
    let wanted = trailing_line_breaks(text);
    if wanted == 0 {
        return val;
    }
    match val.as_str() {
        Some(rendered) => {
            let present = trailing_line_breaks(rendered);
            if wanted > present {
                Val::from(rendered.to_owned() + &"\n".repeat(wanted - present))
            } else {
                val
            }
        }
        None => val,
    }
}

fn trailing_line_breaks(text: &str) -> usize {
    text.len() - text.trim_end_matches('\n').len()
}

fn is_plain(text: &str) -> bool {
    !super::is_template(text)
}

#[inline(never)]
fn stack_address() -> usize {
    let here = 0_u8;
    std::ptr::from_ref(&here) as usize
}
