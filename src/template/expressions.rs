//! Expressions: names, attributes, calls, filters and tests, evaluated as Jinja does on Python.

use std::rc::Rc;
use std::sync::Arc;

use super::call::{Given, Parameters};
use super::checks::Check;
use super::compile::Mode;
use super::filters::{Filter, FilterBody};
use super::finish::Finish;
use super::frame::Frame;
use super::runtime::{Dict, Evaluated, Fault, Val, Words};
use super::scope::Binding;
use super::syntax::{Argument, Comparison, Expression, FilterUse, Operator, Place};
use super::{functions, is_template, loops, methods, operators, python};
use crate::node::{Kind, Node};
use crate::value::Value;

impl Frame<'_> {
    pub(super) fn expression(&mut self, expression: &Expression) -> Evaluated {
        self.run.guard(&self.origin)?;
        match expression {
            Expression::Constant(value) => Ok(Val::Data(value.clone())),
            Expression::Embedded(text) => {
                let origin = Rc::clone(&self.origin);
                self.run
                    .evaluate(text, &Mode::Value, &origin, self.scope.as_ref())
            }
            Expression::Name(name, place) => self.name(name, *place),
            Expression::Attribute(owner, name, place) => {
                let owner = self.expression(owner)?;
                self.attribute(&owner, name, *place)
            }
            Expression::Item(owner, key, place) => {
                let owner = self.expression(owner)?;
                let key = self.expression(key)?;
                self.item(&owner, &key, *place)
            }
            Expression::Slice(parts, place) => {
                let [owner, start, stop, step] = &**parts;
                let owner = self.expression(owner)?;
                let bounds = [
                    self.bound(start, *place)?,
                    self.bound(stop, *place)?,
                    self.bound(step, *place)?,
                ];
                operators::slice(self, &owner, bounds, *place)
            }
            Expression::Not(operand) => Ok((!self.test(operand)?).into()),
            Expression::Negate(operand, place) => {
                let operand = self.expression(operand)?;
                operators::negate(self, &operand, *place)
            }
            Expression::And(left, right) => {
                let left = self.expression(left)?;
                if self.run.truth(&left)? {
                    self.expression(right)
                } else {
                    Ok(left)
                }
            }
            Expression::Or(left, right) => {
                let left = self.expression(left)?;
                if self.run.truth(&left)? {
                    Ok(left)
                } else {
                    self.expression(right)
                }
            }
            Expression::Binary(operator, left, right, place) => {
                let left = self.expression(left)?;
                let right = self.expression(right)?;
                operators::binary(self, *operator, &left, &right, *place)
            }
            Expression::Compare(first, rest, place) => self.comparison(first, rest, *place),
            Expression::Choice {
                condition,
                then,
                otherwise,
            } => {
                if self.test(condition)? {
                    return self.expression(then);
                }
                match otherwise {
                    Some(otherwise) => self.expression(otherwise),
                    None => Ok(Val::Blank),
                }
            }
            Expression::Filter(input, used) => {
                let input = self.expression(input)?;
                self.apply(used, input)
            }
            Expression::Test {
                check,
                subject,
                arguments,
                place,
            } => {
                let subject = self.expression(subject)?;
                self.check(check, subject, arguments, *place)
            }
            Expression::Call(..) => self.call_with(expression, None),
            Expression::List(items) => Ok(Val::list(self.all(items)?)),
            Expression::Tuple(items) => Ok(Val::tuple(self.all(items)?)),
            Expression::Dict(pairs) => {
                let mut dict = Dict::with_capacity(pairs.len());
                for (key, value) in pairs {
                    let key = self.expression(key)?;
                    let key = self.run.data(&key)?;
                    dict.insert(key, self.expression(value)?);
                }
                Ok(Val::dict(dict))
            }
        }
    }

    fn all(&mut self, items: &[Expression]) -> Evaluated<Vec<Val>> {
        items.iter().map(|item| self.expression(item)).collect()
    }

    fn bound(&mut self, bound: &Expression, place: Place) -> Evaluated<Option<i128>> {
        match self.expression(bound)? {
            Val::Data(Value::Null) => Ok(None),
            Val::Data(Value::Int(number)) => Ok(Some(number)),
            Val::Data(Value::Bool(flag)) => Ok(Some(i128::from(flag))),
            Val::Undefined(fault) => Err(fault),
            _ => Err(self.raised(
                place,
                "slice indices must be integers or None or have an __index__ method",
            )),
        }
    }

    /// Returns what a user wrote, where a variable is `!unsafe` text with a template in it.
    fn unsafe_source(&self, name: &str, data: &Val) -> Option<Node> {
        data.as_str().filter(|text| is_template(text))?;
        let binding = match &self.scope {
            Some(scope) => scope.get(name),
            None => self.run.scope.get(name),
        };
        match binding? {
            Binding::Source(node) if matches!(node.kind, Kind::Unsafe(_)) => Some(node),
            _ => None,
        }
    }

    fn name(&mut self, name: &Arc<str>, place: Place) -> Evaluated {
        if let Some(val) = self.local(name) {
            return self.run.force(&val);
        }
        if let Some(val) = self.run.unread(self.scope.as_ref(), name) {
            // What a template of the variable's own reads, it tells itself.
            return match self.run.force(&val)? {
                data if matches!(val, Val::Data(_)) => match self.unsafe_source(name, &data) {
                    Some(node) => self.run.holds(&node).map(|()| data),
                    None => self.reads(data),
                },
                read => Ok(read),
            };
        }
        if let Some(val) = functions::global(name) {
            return Ok(val);
        }
        Ok(Val::Undefined(self.run.fault(
            Words::Name(Arc::clone(name)),
            &self.origin,
            Some(place),
        )))
    }

    /// Reads `owner.name`: what Python's type has by that name first, then the item.
    pub(super) fn attribute(&mut self, owner: &Val, name: &Arc<str>, place: Place) -> Evaluated {
        let owner = self.run.force(owner)?;
        match owner {
            Val::Undefined(_) => return Ok(owner),
            Val::Blank => return Err(self.blank(place)),
            _ => {}
        }
        if let Some(found) = loops::attribute(self, &owner, name, place)? {
            return Ok(found);
        }
        if methods::has(&owner, name) {
            return Ok(Val::Method(Rc::new((owner, Arc::clone(name)))));
        }
        let key = Value::from(Arc::clone(name));
        match self.subscript(&owner, &key)? {
            Some(found) => Ok(found),
            None => Ok(self.run.missing(&owner, &key, &self.origin, place)),
        }
    }

    /// Makes the fault of using what an inline `if` without `else` gives.
    pub(super) fn blank(&self, place: Place) -> Rc<Fault> {
        self.raised(
            place,
            format!(
                "the inline if-expression on line {} evaluated to false and no else section was defined.",
                place.line
            ),
        )
    }

    /// Reads `owner[key]`: the item first, then what Python's type has by that name.
    pub(super) fn item(&mut self, owner: &Val, key: &Val, place: Place) -> Evaluated {
        let owner = self.run.force(owner)?;
        if let Val::Undefined(_) = owner {
            return Ok(owner);
        }
        let key = self.run.data(key)?;
        if let Some(found) = self.subscript(&owner, &key)? {
            return Ok(found);
        }
        if let Value::String(name) = &key {
            let name = &name.shared();
            if let Some(found) = loops::attribute(self, &owner, name, place)? {
                return Ok(found);
            }
            if methods::has(&owner, name) {
                return Ok(Val::Method(Rc::new((owner, Arc::clone(name)))));
            }
        }
        Ok(self.run.missing(&owner, &key, &self.origin, place))
    }

    fn subscript(&self, owner: &Val, key: &Value) -> Evaluated<Option<Val>> {
        let index = |length: usize| -> Option<usize> {
            let wanted = match key {
                Value::Int(number) => *number,
                Value::Bool(flag) => i128::from(*flag),
                _ => return None,
            };
            let length = i128::try_from(length).ok()?;
            let at = if wanted < 0 { wanted + length } else { wanted };
            (0..length)
                .contains(&at)
                .then(|| usize::try_from(at).ok())?
        };
        let found = match owner {
            Val::Data(Value::Map(map)) => match map.get(key) {
                Some(value) => Some(self.reads(value.clone().into())?),
                None => None,
            },
            Val::Data(Value::List(items)) => match index(items.len()) {
                Some(at) => Some(self.reads(items[at].clone().into())?),
                None => None,
            },
            Val::Data(Value::String(text)) => {
                let at = index(text.chars().count());
                at.and_then(|at| text.chars().nth(at))
                    .map(|character| Val::from(character.to_string()))
            }
            Val::List(items) => {
                let items = items.borrow();
                index(items.len()).map(|at| items[at].clone())
            }
            Val::Tuple(items) => index(items.len()).map(|at| items[at].clone()),
            Val::Dict(dict) | Val::Namespace(dict) => dict.borrow().get(key).cloned(),
            Val::Module(module) => key
                .as_str()
                .and_then(|name| module.exports.borrow().get(name).cloned()),
            Val::Range(range) => match usize::try_from(range.len()).ok().and_then(index) {
                Some(at) => range.iter().nth(at).map(Val::from),
                None => None,
            },
            Val::Object(object) => match key.as_str() {
                Some(name) => self.run.entry(object, name)?,
                None => None,
            },
            _ => None,
        };
        found.map(|val| self.run.force(&val)).transpose()
    }

    fn comparison(
        &mut self,
        first: &Expression,
        rest: &[(Comparison, Expression)],
        place: Place,
    ) -> Evaluated {
        let mut left = self.expression(first)?;
        for (comparison, next) in rest {
            if let Val::Undefined(fault) = &left
                && !matches!(comparison, Comparison::In | Comparison::NotIn)
            {
                return Err(Rc::clone(fault));
            }
            let right = self.expression(next)?;
            if !operators::compares(self, *comparison, &left, &right, place)? {
                return Ok(false.into());
            }
            left = right;
        }
        Ok(true.into())
    }

    /// Evaluates the arguments of a call, a filter or a test.
    pub(super) fn arguments(&mut self, arguments: &[Argument]) -> Evaluated<Given<Val>> {
        let mut given = Given::default();
        for argument in arguments {
            match argument {
                Argument::Positional(value) => given.positional.push(self.expression(value)?),
                Argument::Named(name, value) => {
                    let val = self.expression(value)?;
                    given.named.push((Arc::clone(name), val));
                }
                Argument::Spread(values) => {
                    let values = self.expression(values)?;
                    given.positional.extend(self.run.items(&values)?);
                }
                Argument::SpreadNamed(values) => {
                    let values = self.expression(values)?;
                    for (key, val) in self.run.pairs(&values)?.unwrap_or_default() {
                        given.named.push((key.to_string().into(), val));
                    }
                }
            }
        }
        Ok(given)
    }

    /// Applies a filter as the template wrote it.
    pub(super) fn apply(&mut self, used: &FilterUse, input: Val) -> Evaluated {
        let given = self.arguments(&used.arguments)?;
        self.filter(used.filter, input, given, used.place)
    }

    /// Applies a filter to a value; an undefined input or argument is the result, unless the
    /// filter takes undefined values.
    pub(super) fn filter(
        &mut self,
        filter: &'static Filter,
        input: Val,
        given: Given<Val>,
        place: Place,
    ) -> Evaluated {
        let input = self.run.force(&input)?;
        if let Some(fault) = given.first_undefined(&input)
            && !filter.takes.takes(&fault)
        {
            return Ok(Val::Undefined(fault));
        }
        let result = match filter.body {
            FilterBody::Data(function) => self
                .data_call(filter.name, &filter.parameters, &input, given)
                .and_then(|call| {
                    function(&call)
                        .map(Val::Data)
                        .map_err(|text| self.run.failure(text))
                }),
            FilterBody::Running(function) => given
                .bind(filter.name, &filter.parameters)
                .map_err(|text| self.run.failure(text))
                .and_then(|bound| function(self, input, bound, place)),
        };
        match result {
            Ok(val) => Ok(val),
            Err(fault) if fault.is_undefined() => Ok(Val::Undefined(fault)),
            Err(fault) => Err(self.plugin_fault("filter", filter.name, fault, place)),
        }
    }

    /// Evaluates a test as the template wrote it.
    fn check(
        &mut self,
        check: &'static Check,
        subject: Val,
        arguments: &[Argument],
        place: Place,
    ) -> Evaluated {
        let given = self.arguments(arguments)?;
        self.passes(check, subject, given, place)
    }

    /// Tests a value; an undefined subject or argument is the result, unless the test takes it.
    pub(super) fn passes(
        &mut self,
        check: &'static Check,
        subject: Val,
        given: Given<Val>,
        place: Place,
    ) -> Evaluated {
        let subject = self.run.force(&subject)?;
        if let Some(fault) = given.first_undefined(&subject)
            && !check.takes.takes(&fault)
        {
            return Ok(Val::Undefined(fault));
        }
        let result = check.run(self, subject, given, place);
        match result {
            Ok(answer) => Ok(answer.into()),
            Err(fault) if fault.is_undefined() => Ok(Val::Undefined(fault)),
            Err(fault) => Err(self.plugin_fault("test", check.name, fault, place)),
        }
    }

    /// Turns the input and arguments of a filter or test into data.
    pub(super) fn data_call<'c>(
        &'c self,
        name: &'static str,
        parameters: &Parameters,
        input: &Val,
        given: Given<Val>,
    ) -> Evaluated<super::call::Call<'c>> {
        let bound = given
            .bind(name, parameters)
            .map_err(|text| self.run.failure(text))?;
        let data = |val: &Val| self.run.data(val);
        Ok(super::call::Call {
            name,
            input: data(input)?,
            arguments: bound
                .arguments
                .iter()
                .map(|val| val.as_ref().map(data).transpose())
                .collect::<Evaluated<_>>()?,
            rest: bound.rest.iter().map(data).collect::<Evaluated<_>>()?,
            named: bound
                .named
                .iter()
                .map(|(name, val)| Ok((Arc::clone(name).into(), data(val)?)))
                .collect::<Evaluated<_>>()?,
            services: self.run.engine.services(),
        })
    }

    fn plugin_fault(&self, kind: &str, name: &str, fault: Rc<Fault>, place: Place) -> Rc<Fault> {
        let is_fresh = matches!(*fault.origin, super::runtime::Origin::Unknown);
        let text = match &fault.words {
            Words::Failure(text) | Words::Raised { text, .. } if is_fresh => text,
            _ => return fault,
        };
        let full = if name.contains('.') {
            name.to_owned()
        } else {
            format!("ansible.builtin.{name}")
        };
        self.failed(place, format!("The {kind} plugin '{full}' failed: {text}"))
    }

    /// Calls what an expression names, with the block of a `call` statement if there is one.
    pub(super) fn call_with(&mut self, call: &Expression, caller: Option<Val>) -> Evaluated {
        let Expression::Call(callee, arguments, place) = call else {
            return self.expression(call);
        };
        let place = *place;
        if let Expression::Attribute(owner, name, attribute_place) = &**callee {
            let receiver = if methods::changes(name) {
                self.place_of(owner)?
            } else {
                self.expression(owner)?
            };
            let receiver = self.run.force(&receiver)?;
            if let Val::Undefined(_) = receiver {
                return Ok(receiver);
            }
            if methods::has(&receiver, name) {
                let given = self.arguments(arguments)?;
                return self.method(&receiver, name, given, place);
            }
            let callee = self.attribute(&receiver, name, *attribute_place)?;
            let given = self.arguments(arguments)?;
            return self.call(&callee, given, caller, place);
        }
        let callee = self.expression(callee)?;
        let given = self.arguments(arguments)?;
        self.call(&callee, given, caller, place)
    }

    /// Calls a method of a Python type.
    pub(super) fn method(
        &mut self,
        receiver: &Val,
        name: &str,
        given: Given<Val>,
        place: Place,
    ) -> Evaluated {
        if let Some(fault) = given.first_undefined(receiver) {
            return Ok(Val::Undefined(fault));
        }
        methods::call(self, receiver, name, given).map_err(|fault| self.placed(place, fault))
    }

    /// Calls a value.
    pub(super) fn call(
        &mut self,
        callee: &Val,
        given: Given<Val>,
        caller: Option<Val>,
        place: Place,
    ) -> Evaluated {
        match callee {
            Val::Undefined(fault) => Err(Rc::clone(fault)),
            Val::Macro(closure) => {
                self.call_macro(closure, given.positional, given.named, caller, place)
            }
            Val::Method(bound) => self.method(&bound.0, &bound.1, given, place),
            Val::Function(name) => {
                functions::call(self, name, given, place).map_err(|fault| self.placed(place, fault))
            }
            Val::Super(level) => self.block(&level.0, level.1),
            Val::Loop(state) => match given.positional.first() {
                Some(items) => self.recurse(state, items),
                None => Err(self.raised(
                    place,
                    "LoopContext.__call__() missing 1 required positional argument: 'iterable'",
                )),
            },
            Val::Joiner(joiner) => Ok(if joiner.1.replace(true) {
                Val::Data(joiner.0.clone())
            } else {
                Val::from("")
            }),
            other => Err(self.raised(
                place,
                format!("'{}' object is not callable", other.type_name()),
            )),
        }
    }

    /// Evaluates what a changing method is called on; data found there becomes a copy the
    /// template owns, put back where it was read, so that the change is seen again.
    fn place_of(&mut self, owner: &Expression) -> Evaluated {
        let val = self.expression(owner)?;
        let opened = match &val {
            Val::Data(Value::List(items)) => Val::list(items.iter().cloned().map(Val::Data)),
            Val::Data(Value::Map(map)) => Val::dict(
                map.iter()
                    .map(|(key, value)| (key.clone(), Val::Data(value.clone())))
                    .collect(),
            ),
            _ => return Ok(val),
        };
        match owner {
            Expression::Name(name, _) => {
                let holder = self
                    .scopes
                    .iter()
                    .rev()
                    .find(|scope| scope.borrow().contains_key(name))
                    .map(Rc::clone);
                match holder {
                    Some(scope) => {
                        scope.borrow_mut().insert(Arc::clone(name), opened.clone());
                    }
                    None => self.run.rebind(self.scope.as_ref(), name, opened.clone()),
                }
            }
            Expression::Attribute(outer, name, _) => {
                let outer = self.place_of(outer)?;
                self.put(&outer, Arc::clone(name).into(), &opened);
            }
            Expression::Item(outer, key, _) => {
                let outer = self.place_of(outer)?;
                let key = self.expression(key)?;
                let key = self.run.data(&key)?;
                self.put(&outer, key, &opened);
            }
            _ => {}
        }
        Ok(opened)
    }

    #[expect(clippy::unused_self, reason = "reads as one step of `place_of`")]
    fn put(&self, outer: &Val, key: Value, val: &Val) {
        match (outer, &key) {
            (Val::Dict(dict) | Val::Namespace(dict), _) => {
                dict.borrow_mut().insert(key, val.clone());
            }
            (Val::List(items), Value::Int(index)) => {
                let mut items = items.borrow_mut();
                let length = items.len();
                let at = if *index < 0 {
                    usize::try_from(-index)
                        .ok()
                        .and_then(|back| length.checked_sub(back))
                } else {
                    usize::try_from(*index).ok()
                };
                if let Some(slot) = at.and_then(|at| items.get_mut(at)) {
                    *slot = val.clone();
                }
            }
            _ => {}
        }
    }
}

/// Compares two running values as Python's `==` does.
pub(super) fn equal(frame: &Frame<'_>, a: &Val, b: &Val) -> Evaluated<bool> {
    Ok(match (a, b) {
        (Val::Omit, Val::Omit) => true,
        (Val::Undefined(fault), _) | (_, Val::Undefined(fault)) => return Err(Rc::clone(fault)),
        (Val::Time(a), Val::Time(b)) => a == b,
        (Val::Span(a), Val::Span(b)) => a == b,
        (Val::Function(a), Val::Function(b)) => a == b,
        (Val::Data(a), Val::Data(b)) => python::equal(a, b),
        (Val::Range(a), Val::Range(b)) => a == b,
        _ if a.type_name() != b.type_name() => false,
        _ => python::equal(&frame.run.data(a)?, &frame.run.data(b)?),
    })
}

/// The operators whose operands may be text.
pub(super) fn symbol(operator: Operator) -> &'static str {
    match operator {
        Operator::Add => "+",
        Operator::Subtract => "-",
        Operator::Multiply => "*",
        Operator::Divide => "/",
        Operator::FloorDivide => "//",
        Operator::Remainder => "%",
        Operator::Power => "** or pow()",
        Operator::Concatenate => "~",
    }
}
