//! Statements: text, output, loops, scopes, macros, blocks and templates within templates.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;

use super::compile::Mode;
use super::finish::Finish;
use super::header::Overrides;
use super::run::{Run, caught};
use super::runtime::{
    Blocks, Closure, Dict, Evaluated, Fault, Locals, LoopState, Module, Origin, Recurse, Val, Words,
};
use super::scope::Scope;
use super::syntax::{Body, Expression, FilterUse, For, Macro, Place, Program, Statement, Target};
use crate::value::Value;

/// What a statement asks of the loop around it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Flow {
    Next,
    Break,
    Continue,
}

/// One template while it runs.
pub(super) struct Frame<'r> {
    pub(super) run: &'r Run<'r>,
    pub(super) origin: Rc<Origin>,
    pub(super) scope: Option<Arc<dyn Scope>>,
    pub(super) scopes: Vec<Locals>,
    /// `template` or `expression`, as errors call it.
    pub(super) kind: &'static str,
    blocks: Rc<RefCell<Blocks>>,
    parent: Option<Val>,
    loops: usize,
    /// How many failures were told in the text, where that is wanted instead of the failure.
    n_told: Option<usize>,
}

impl<'r> Frame<'r> {
    pub(super) fn new(run: &'r Run<'r>, origin: Rc<Origin>, scope: Option<Arc<dyn Scope>>) -> Self {
        Self {
            run,
            origin,
            scope,
            scopes: vec![Locals::default()],
            kind: "template",
            blocks: Rc::default(),
            parent: None,
            loops: 0,
            n_told: None,
        }
    }

    /// Runs a template whose failures are told where they are, as Ansible shows the names of
    /// tasks. A failure that leaves no value to go on with ends the text.
    pub(super) fn shown(&mut self, body: &Body) -> String {
        self.n_told = Some(0);
        let mut out = Vec::new();
        let ended = match body {
            Body::Expression(expression) => self.expression(expression).map(|val| out.push(val)),
            Body::Template(statements) => self.root(statements, &mut out),
        };
        let mut text: String = out
            .into_iter()
            .map(|val| self.part(self.run.finish(&val)))
            .collect();
        match ended {
            Ok(()) => {}
            Err(fault) if fault.is_raised() => {
                text += &self.part(Err(fault));
                let number = self.n_told.map_or(1, |n_told| n_told + 1);
                text += &format!("<< error {number} - template potentially truncated >>");
            }
            Err(fault) => text += &self.part(Err(fault)),
        }
        text
    }

    /// Returns a part of a text, or what stands for the failure of it.
    fn part(&mut self, value: Evaluated<Option<Value>>) -> String {
        match value {
            Ok(None | Some(Value::Null)) => String::new(),
            Ok(Some(value)) => value.to_string(),
            Err(fault) => {
                let number = self.n_told.map_or(1, |n_told| n_told + 1);
                self.n_told = Some(number);
                format!("<< error {number} - {} >>", fault.message())
            }
        }
    }

    /// Makes a frame of the same render that sees `scopes` and one of its own.
    fn within(&self, scopes: &[Locals], origin: &Rc<Origin>) -> Frame<'r> {
        let mut frame = Frame::new(self.run, Rc::clone(origin), self.scope.clone());
        frame.scopes = scopes.to_vec();
        frame.scopes.push(Locals::default());
        frame.blocks = Rc::clone(&self.blocks);
        frame
    }

    /// Makes the fault of an exception Python would raise at `place`.
    pub(super) fn raised(&self, place: Place, text: impl Into<String>) -> Rc<Fault> {
        self.run.fault(
            Words::Raised {
                kind: self.kind,
                text: text.into(),
            },
            &self.origin,
            Some(place),
        )
    }

    /// Makes a failure told in full words at `place`.
    pub(super) fn failed(&self, place: Place, text: impl Into<String>) -> Rc<Fault> {
        self.run
            .fault(Words::Failure(text.into()), &self.origin, Some(place))
    }

    /// Gives a fault without a place this one.
    pub(super) fn placed(&self, place: Place, fault: Rc<Fault>) -> Rc<Fault> {
        if !matches!(*fault.origin, Origin::Unknown) {
            return fault;
        }
        match Rc::try_unwrap(fault) {
            Ok(mut fault) => {
                fault.origin = Rc::clone(&self.origin);
                fault.place = Some(place);
                if let Words::Raised { kind, .. } = &mut fault.words {
                    *kind = self.kind;
                }
                Rc::new(fault)
            }
            Err(shared) => shared,
        }
    }

    /// Runs a whole template and joins what it put out.
    pub(super) fn template(&mut self, statements: &[Statement]) -> Evaluated {
        let mut out = Vec::new();
        self.root(statements, &mut out)?;
        self.run.join(out)
    }

    fn root(&mut self, statements: &[Statement], out: &mut Vec<Val>) -> Evaluated<()> {
        self.collect_blocks(statements);
        self.statements(statements, out)?;
        if let Some(parent) = self.parent.take() {
            out.clear();
            let (program, origin) = self.load(&parent, Place { line: 1, column: 1 })?;
            if let Body::Template(body) = &program.body {
                let scopes = self.scopes.clone();
                let mut frame = self.within(&scopes, &origin);
                return frame.root(body, out);
            }
        }
        Ok(())
    }

    fn collect_blocks(&self, statements: &[Statement]) {
        for statement in statements {
            match statement {
                Statement::Block(block) => {
                    self.blocks
                        .borrow_mut()
                        .entry(Arc::clone(&block.name))
                        .or_default()
                        .push((Arc::clone(block), Rc::clone(&self.origin)));
                    self.collect_blocks(&block.body);
                }
                Statement::If {
                    then, otherwise, ..
                } => {
                    self.collect_blocks(then);
                    self.collect_blocks(otherwise);
                }
                Statement::For(each) => {
                    self.collect_blocks(&each.body);
                    self.collect_blocks(&each.otherwise);
                }
                Statement::With { body, .. }
                | Statement::Scoped(body)
                | Statement::FilterBlock { body, .. }
                | Statement::SetBlock { body, .. } => self.collect_blocks(body),
                _ => {}
            }
        }
    }

    pub(super) fn statements(
        &mut self,
        statements: &[Statement],
        out: &mut Vec<Val>,
    ) -> Evaluated<Flow> {
        for statement in statements {
            let flow = self.statement(statement, out)?;
            if flow != Flow::Next {
                return Ok(flow);
            }
        }
        Ok(Flow::Next)
    }

    fn statement(&mut self, statement: &Statement, out: &mut Vec<Val>) -> Evaluated<Flow> {
        match statement {
            Statement::Text(text) => out.push(Arc::clone(text).into()),
            Statement::Print(expression) => {
                let val = match self.expression(expression) {
                    Ok(Val::Undefined(fault)) | Err(fault)
                        if self.n_told.is_some() && !fault.is_raised() =>
                    {
                        self.part(Err(fault)).into()
                    }
                    val => val?,
                };
                match val {
                    Val::Module(module) => out.extend(module.text.iter().cloned()),
                    Val::Undefined(fault) => return Err(fault),
                    // What is put out stays as it is now, whatever the template does to it later.
                    Val::List(items) => out.push(Val::list(items.borrow().clone())),
                    Val::Dict(dict) => out.push(Val::dict(dict.borrow().clone())),
                    val => out.push(val),
                }
            }
            Statement::If {
                condition,
                then,
                otherwise,
            } => {
                let chosen = if self.test(condition)? {
                    then
                } else {
                    otherwise
                };
                return self.statements(chosen, out);
            }
            Statement::For(each) => {
                let iterable = self.expression(&each.iterable)?;
                return self.each(each, &iterable, 0, out);
            }
            Statement::Set(target, expression) => {
                let val = self.expression(expression)?;
                self.assign(target, val)?;
            }
            Statement::SetBlock {
                target,
                filters,
                body,
            } => {
                let val = self.captured(filters, body)?;
                self.assign(target, val)?;
            }
            Statement::FilterBlock { filters, body } => {
                let val = self.captured(filters, body)?;
                out.push(val);
            }
            Statement::With { assignments, body } => {
                self.scopes.push(Locals::default());
                let flow = self.with(assignments, body, out);
                self.scopes.pop();
                return flow;
            }
            Statement::Scoped(body) => {
                self.scopes.push(Locals::default());
                let flow = self.statements(body, out);
                self.scopes.pop();
                return flow;
            }
            // A child's blocks are put out where its parent has them.
            Statement::Block(_) if self.parent.is_some() => {}
            Statement::Block(block) => {
                let val = self.block(&block.name, 0)?;
                out.push(val);
            }
            Statement::Extends(name) => self.parent = Some(self.expression(name)?),
            Statement::Include {
                name,
                ignore_missing,
            } => self.include(name, *ignore_missing, out)?,
            Statement::Import { template, target } => {
                let module = self.import(template)?;
                self.assign(target, Val::Module(module))?;
            }
            Statement::FromImport { template, names } => {
                let module = self.import(template)?;
                for (name, alias) in names {
                    let exported = module.exports.borrow().get(name).cloned();
                    let val = exported.unwrap_or_else(|| {
                        Val::Undefined(self.run.fault(
                            Words::Undefined(format!(
                                "the template does not export the requested name '{name}'"
                            )),
                            &self.origin,
                            None,
                        ))
                    });
                    self.bind(alias, val);
                }
            }
            Statement::Macro(declared) => {
                let closure = self.close(declared);
                self.bind(&declared.name, closure);
            }
            Statement::CallBlock { call, caller } => {
                let closure = self.close(caller);
                let val = self.call_with(call, Some(closure))?;
                if let Val::Undefined(fault) = val {
                    return Err(fault);
                }
                out.push(val);
            }
            Statement::Do(expression) => {
                self.expression(expression)?;
            }
            Statement::Break => return Ok(Flow::Break),
            Statement::Continue => return Ok(Flow::Continue),
        }
        Ok(Flow::Next)
    }

    fn with(
        &mut self,
        assignments: &[(Target, Expression)],
        body: &[Statement],
        out: &mut Vec<Val>,
    ) -> Evaluated<Flow> {
        for (target, expression) in assignments {
            let val = self.expression(expression)?;
            self.assign(target, val)?;
        }
        self.statements(body, out)
    }

    fn close(&self, declared: &Arc<Macro>) -> Val {
        Val::Macro(Rc::new(Closure {
            declared: Arc::clone(declared),
            scopes: self.scopes.clone(),
            origin: Rc::clone(&self.origin),
        }))
    }

    fn captured(&mut self, filters: &[FilterUse], body: &[Statement]) -> Evaluated {
        self.scopes.push(Locals::default());
        let mut out = Vec::new();
        let flow = self.statements(body, &mut out);
        self.scopes.pop();
        flow?;
        let mut val = self.run.join(out)?;
        for filter in filters {
            val = self.apply(filter, val)?;
        }
        Ok(val)
    }

    /// Binds a name in the innermost scope.
    pub(super) fn bind(&self, name: &Arc<str>, val: Val) {
        let scope = self.scopes.last().expect("a frame always has a scope");
        scope.borrow_mut().insert(Arc::clone(name), val);
    }

    /// Returns what a template itself bound to `name`.
    pub(super) fn local(&self, name: &str) -> Option<Val> {
        self.scopes
            .iter()
            .rev()
            .find_map(|scope| scope.borrow().get(name).cloned())
    }

    fn assign(&mut self, target: &Target, val: Val) -> Evaluated<()> {
        match target {
            Target::Name(name) => self.bind(name, val),
            Target::Attribute(name, attribute) => match self.local(name) {
                Some(Val::Namespace(pairs)) => {
                    pairs.borrow_mut().insert(Value::from(&**attribute), val);
                }
                _ => {
                    return Err(self
                        .run
                        .raised("cannot assign attribute on non-namespace object"));
                }
            },
            Target::Many(targets) => {
                let items = self.run.items(&val)?;
                if items.len() < targets.len() {
                    return Err(self.run.raised(format!(
                        "not enough values to unpack (expected {}, got {})",
                        targets.len(),
                        items.len()
                    )));
                }
                if items.len() > targets.len() {
                    return Err(self.run.raised(format!(
                        "too many values to unpack (expected {})",
                        targets.len()
                    )));
                }
                for (target, item) in targets.iter().zip(items) {
                    self.assign(target, item)?;
                }
            }
        }
        Ok(())
    }

    pub(super) fn each(
        &mut self,
        each: &Arc<For>,
        iterable: &Val,
        depth: usize,
        out: &mut Vec<Val>,
    ) -> Evaluated<Flow> {
        let mut items = self.run.items(iterable)?;
        if let Some(condition) = &each.condition {
            let mut kept = Vec::with_capacity(items.len());
            self.scopes.push(Locals::default());
            for item in items {
                let keep = self
                    .assign(&each.target, item.clone())
                    .and_then(|()| self.test(condition));
                match keep {
                    Ok(true) => kept.push(item),
                    Ok(false) => {}
                    Err(fault) => {
                        self.scopes.pop();
                        return Err(fault);
                    }
                }
            }
            self.scopes.pop();
            items = kept;
        }
        if items.is_empty() {
            self.scopes.push(Locals::default());
            let flow = self.statements(&each.otherwise, out);
            self.scopes.pop();
            return flow;
        }
        let state = Rc::new(LoopState {
            items,
            index: Cell::new(0),
            depth,
            changed: RefCell::default(),
            recurse: each.recursive.then(|| Recurse {
                each: Arc::clone(each),
                scopes: self.scopes.clone(),
                origin: Rc::clone(&self.origin),
            }),
        });
        self.loops += 1;
        let done = self.iterations(each, &state, out);
        self.loops -= 1;
        done?;
        Ok(Flow::Next)
    }

    fn iterations(
        &mut self,
        each: &For,
        state: &Rc<LoopState>,
        out: &mut Vec<Val>,
    ) -> Evaluated<()> {
        for (index, item) in state.items.iter().enumerate() {
            state.index.set(index);
            self.scopes.push(Locals::default());
            self.bind(&"loop".into(), Val::Loop(Rc::clone(state)));
            let flow = self
                .assign(&each.target, item.clone())
                .and_then(|()| self.statements(&each.body, out));
            self.scopes.pop();
            if flow? == Flow::Break {
                break;
            }
        }
        Ok(())
    }

    /// Runs a recursive loop again over other items.
    pub(super) fn recurse(&mut self, state: &LoopState, iterable: &Val) -> Evaluated {
        self.run.guard(&self.origin)?;
        let Some(recurse) = &state.recurse else {
            return Err(self
                .run
                .raised("The loop must have the 'recursive' marker to be called recursively."));
        };
        let mut frame = self.within(&recurse.scopes, &recurse.origin);
        let mut out = Vec::new();
        frame.each(&recurse.each, iterable, state.depth + 1, &mut out)?;
        self.run.join(out)
    }

    /// Renders the block `name`, `level` steps above the most derived one.
    pub(super) fn block(&mut self, name: &Arc<str>, level: usize) -> Evaluated {
        let chosen = self
            .blocks
            .borrow()
            .get(name)
            .and_then(|bodies| bodies.get(level).cloned());
        let Some((block, origin)) = chosen else {
            return Err(self.run.fault(
                Words::Undefined(format!("there is no parent block called '{name}'.")),
                &self.origin,
                None,
            ));
        };
        self.run.guard(&origin)?;
        let mut frame = self.within(&self.scopes, &origin);
        frame.bind(
            &"super".into(),
            Val::Super(Rc::new((Arc::clone(name), level + 1))),
        );
        let mut out = Vec::new();
        frame.statements(&block.body, &mut out)?;
        self.run.join(out)
    }

    fn include(&mut self, name: &Expression, ignore: bool, out: &mut Vec<Val>) -> Evaluated<()> {
        let place = expression_place(name);
        let wanted = self.expression(name)?;
        let (program, origin) = match self.load(&wanted, place) {
            Ok(loaded) => loaded,
            Err(fault) if ignore && matches!(&fault.words, Words::Raised { .. }) => return Ok(()),
            Err(fault) => return Err(fault),
        };
        self.run.guard(&origin)?;
        if let Body::Template(statements) = &program.body {
            let mut frame = self.within(&self.scopes, &origin);
            frame.blocks = Rc::default();
            frame.root(statements, out)?;
        }
        Ok(())
    }

    fn import(&mut self, template: &Expression) -> Evaluated<Rc<Module>> {
        let place = expression_place(template);
        let wanted = self.expression(template)?;
        let (program, origin) = self.load(&wanted, place)?;
        self.run.guard(&origin)?;
        let mut frame = self.within(&self.scopes, &origin);
        frame.blocks = Rc::default();
        let mut text = Vec::new();
        if let Body::Template(statements) = &program.body {
            frame.root(statements, &mut text)?;
        }
        let exports = frame.scopes.pop().unwrap_or_default();
        Ok(Rc::new(Module { exports, text }))
    }

    fn load(&mut self, wanted: &Val, place: Place) -> Evaluated<(Arc<Program>, Rc<Origin>)> {
        let names = match self.run.force(wanted)? {
            Val::Undefined(fault) => return Err(fault),
            Val::Data(Value::String(name)) => vec![name.to_string()],
            list => self
                .run
                .items(&list)?
                .iter()
                .map(|item| self.run.text_of(item))
                .collect::<Evaluated<_>>()?,
        };
        let services = self.run.engine.services();
        let from = match &*self.origin {
            Origin::File(file, _) => Some(file.name.as_str()),
            _ => None,
        };
        let found = names
            .iter()
            .find_map(|name| services.load_template(name, from).ok());
        let Some(file) = found else {
            let message = if names.len() == 1 {
                format!("'{}' not found in search path", names[0])
            } else {
                format!(
                    "none of the templates given were found: {}",
                    names.join(", ")
                )
            };
            return Err(self.raised(place, message));
        };
        let origin = Rc::new(Origin::File(Arc::clone(&file), 0));
        let text: Arc<str> = file.text.as_str().into();
        let mode = Mode::File(Arc::new(Overrides::default()));
        let program = self.run.program(&text, &mode, &origin)?;
        Ok((program, origin))
    }

    /// Calls a macro: undefined arguments are allowed, as in Jinja.
    pub(super) fn call_macro(
        &mut self,
        closure: &Closure,
        positional: Vec<Val>,
        mut named: Vec<(Arc<str>, Val)>,
        caller: Option<Val>,
        place: Place,
    ) -> Evaluated {
        self.run.guard(&self.origin)?;
        let declared = &closure.declared;
        let mut frame = self.within(&closure.scopes, &closure.origin);
        let mut positional = positional.into_iter();
        let required = declared.parameters.len() - declared.defaults.len();
        for (index, parameter) in declared.parameters.iter().enumerate() {
            let by_name = named.iter().position(|(name, _)| name == parameter);
            let val = if let Some(val) = positional.next() {
                val
            } else if let Some(at) = by_name {
                named.remove(at).1
            } else if index >= required {
                frame.expression(&declared.defaults[index - required])?
            } else {
                Val::Undefined(self.run.fault(
                    Words::Undefined(format!("parameter '{parameter}' was not provided")),
                    &closure.origin,
                    None,
                ))
            };
            frame.bind(parameter, val);
        }
        let caller = caller.or_else(|| {
            let at = named.iter().position(|(name, _)| &**name == "caller")?;
            Some(named.remove(at).1)
        });
        if let Some(caller) = caller {
            frame.bind(&"caller".into(), caller);
        }
        let rest: Vec<Val> = positional.collect();
        if !rest.is_empty() && !declared.takes_varargs {
            return Err(self.raised(
                place,
                format!(
                    "macro '{}' takes not more than {} argument(s)",
                    declared.name,
                    declared.parameters.len()
                ),
            ));
        }
        if let Some((name, _)) = named.first()
            && !declared.takes_kwargs
        {
            return Err(self.raised(
                place,
                format!(
                    "macro '{}' takes no keyword argument '{name}'",
                    declared.name
                ),
            ));
        }
        frame.bind(&"varargs".into(), Val::tuple(rest));
        let kwargs: Dict = named
            .into_iter()
            .map(|(name, val)| (name.into(), val))
            .collect();
        frame.bind(&"kwargs".into(), Val::dict(kwargs));
        let mut out = Vec::new();
        frame.statements(&declared.body, &mut out)?;
        caught(self.run.join(out))
    }

    /// Tells whether an expression is true.
    pub(super) fn test(&mut self, condition: &Expression) -> Evaluated<bool> {
        let val = self.expression(condition)?;
        self.run.truth(&val)
    }
}

fn expression_place(expression: &Expression) -> Place {
    match expression {
        Expression::Name(_, place)
        | Expression::Attribute(_, _, place)
        | Expression::Item(_, _, place)
        | Expression::Call(_, _, place) => *place,
        _ => Place { line: 1, column: 1 },
    }
}
