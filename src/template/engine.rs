//! The door of the room: renders source nodes, conditions, expressions and template files.
//!
//! Compiled texts are kept for the life of the process. An engine is cheap to clone, so whoever
//! runs a task gives it the services of that task.

use std::collections::HashMap;
use std::rc::Rc;
use std::sync::{Arc, Mutex, PoisonError};

use super::compile::{Mode, SyntaxError, compile};
use super::finish::Finish;
use super::header::{Overrides, has_header};
use super::run::Run;
use super::runtime::{Fault, Origin, Val, Words};
use super::scope::Scope;
use super::services::{LookupError, Services};
use super::syntax::Program;
use super::trust::Untrusted;
use super::{TemplateError, condition, is_template, lookup};
use crate::error::{Error, nearest};
use crate::node::{Kind, Node};
use crate::source::{Mark, SourceFile};
use crate::value::{Map, Value};

/// What a node rendered to.
#[derive(Clone, Debug, PartialEq)]
pub enum Rendered {
    Value(Value),
    /// The whole value is `omit`: whoever asked leaves it out.
    Omit,
}

impl Rendered {
    /// Returns the value, or `None` when it is omitted.
    pub fn into_value(self) -> Option<Value> {
        match self {
            Self::Value(value) => Some(value),
            Self::Omit => None,
        }
    }
}

/// How the template module and the template lookup read a file.
#[derive(Clone, Debug, Default)]
pub struct TemplateOptions {
    /// Jinja's settings by the module's names: `trim_blocks`, `variable_start_string` ...
    pub settings: Map,
}

type Programs = HashMap<(Arc<str>, Mode), Result<Arc<Program>, SyntaxError>>;

/// Renders templates.
#[derive(Clone)]
pub struct Engine {
    programs: Arc<Mutex<Programs>>,
    services: Arc<dyn Services>,
    pub(super) allow_broken_conditionals: bool,
    pub(super) untrusted: Untrusted,
}

impl Engine {
    /// Makes an engine that asks `services` for all it does not do itself.
    pub fn new(services: Arc<dyn Services>) -> Self {
        Self {
            programs: Arc::default(),
            services,
            allow_broken_conditionals: false,
            untrusted: Untrusted::default(),
        }
    }

    /// Returns an engine with the same compiled texts and other services.
    #[must_use]
    pub fn with_services(&self, services: Arc<dyn Services>) -> Self {
        Self {
            services,
            ..self.clone()
        }
    }

    /// Takes any value's truth as a condition's answer, as `ALLOW_BROKEN_CONDITIONALS` asks.
    #[must_use]
    pub fn allow_broken_conditionals(mut self, allow: bool) -> Self {
        self.allow_broken_conditionals = allow;
        self
    }

    /// Says what happens when data that looks like a template is read.
    #[must_use]
    pub fn untrusted(mut self, untrusted: Untrusted) -> Self {
        self.untrusted = untrusted;
        self
    }

    pub(super) fn services(&self) -> &dyn Services {
        &*self.services
    }

    /// Renders a node: templates inside are evaluated, omitted entries dropped.
    pub fn render(&self, node: &Node, scope: &dyn Scope) -> Result<Rendered, TemplateError> {
        let run = Run::new(self, scope);
        let val = Val::of_node(node, None, None);
        let finished = run.finish(&val);
        match finished.map_err(|fault| told(&fault, node, scope))? {
            Some(value) => Ok(Rendered::Value(value)),
            None => Ok(Rendered::Omit),
        }
    }

    /// Renders a text that is only shown: what fails in it is told in its place.
    pub fn shown(&self, node: &Node, scope: &dyn Scope) -> String {
        let written = || node.to_value().to_string();
        match &node.kind {
            Kind::Text(text) if is_template(text) => {
                let run = Run::new(self, scope);
                run.shown(text, node).unwrap_or_else(|_| written())
            }
            _ => written(),
        }
    }

    /// Evaluates a bare expression.
    pub fn expression(&self, text: &str, scope: &dyn Scope) -> Result<Value, TemplateError> {
        evaluated(text, &Run::new(self, scope))
    }

    /// Evaluates a bare expression that a user asks for at `mark`.
    pub fn expression_at(
        &self,
        text: &str,
        mark: &Mark,
        scope: &dyn Scope,
    ) -> Result<Value, TemplateError> {
        let mut run = Run::new(self, scope);
        run.asked_at = Some(mark);
        evaluated(text, &run)
    }

    /// Renders a template file to text, as the template module does.
    pub fn template_text(
        &self,
        file: &Arc<SourceFile>,
        options: &TemplateOptions,
        scope: &dyn Scope,
    ) -> Result<String, TemplateError> {
        Ok(match self.template_value(file, options, scope)? {
            Value::Null => String::new(),
            value => value.to_string(),
        })
    }

    /// Renders a template file; a file that is one expression keeps the expression's type.
    pub fn template_value(
        &self,
        file: &Arc<SourceFile>,
        options: &TemplateOptions,
        scope: &dyn Scope,
    ) -> Result<Value, TemplateError> {
        let in_file = |message: String| TemplateError::new(message).at(&Mark::start_of(file));
        let mut overrides = Overrides::default();
        for (name, value) in &options.settings {
            overrides
                .set(&name.to_string(), value)
                .map_err(|message| in_file(format!("Syntax error in template: {message}")))?;
        }
        let body = overrides
            .apply_header(&file.text)
            .map_err(|message| in_file(format!("Syntax error in template: {message}")))?;
        let skipped = u32::from(has_header(&file.text));
        if skipped == 0 && overrides.delimiters.first_start(&file.text).is_none() {
            return Ok(file.text.as_str().into());
        }
        let newline = Arc::clone(&overrides.newline);
        let run = Run::new(self, scope);
        let origin = Rc::new(Origin::File(Arc::clone(file), skipped));
        let mode = Mode::File(Arc::new(overrides));
        let value = run
            .evaluate(&body.into(), &mode, &origin, None)
            .and_then(|val| run.finish(&val))
            .map_err(|fault| with_nearest(fault.to_error(), &fault, scope))?
            .unwrap_or_default();
        Ok(match value {
            Value::String(text) if &*newline != "\n" => text.replace('\n', &newline).into(),
            value => value,
        })
    }

    /// Runs a lookup plugin for a `with_NAME` loop.
    pub fn lookup(
        &self,
        plugin: &str,
        terms: Vec<Value>,
        options: Map,
        scope: &dyn Scope,
    ) -> Result<Vec<Value>, TemplateError> {
        let run = Run::new(self, scope);
        lookup::run(&run, plugin, terms, options, true).map_err(|error| match error {
            LookupError::Template(error) => error,
            LookupError::Failed(message) => {
                TemplateError::new(format!("The lookup plugin '{plugin}' failed: {message}"))
            }
        })
    }

    /// Compiles everything in a node that is a template, without evaluating any of it.
    pub fn check(&self, node: &Node) -> Vec<Error> {
        let mut errors = Vec::new();
        self.check_into(node, &mut errors);
        errors
    }

    fn check_into(&self, node: &Node, errors: &mut Vec<Error>) {
        match &node.kind {
            Kind::Text(text) if is_template(text) => {
                errors.extend(self.syntax_error(text, &Mode::Value, node));
            }
            Kind::List(items) => {
                for item in items.iter() {
                    self.check_into(item, errors);
                }
            }
            Kind::Map(pairs) => {
                for (_, value) in pairs.iter() {
                    self.check_into(value, errors);
                }
            }
            _ => {}
        }
    }

    /// Compiles a condition, or each of a list of them, without evaluating it.
    pub fn check_condition(&self, node: &Node) -> Vec<Error> {
        match &node.kind {
            Kind::List(items) => items
                .iter()
                .flat_map(|item| self.check_condition(item))
                .collect(),
            Kind::Text(text) if condition::is_all_template(text.trim()) => self.check(node),
            Kind::Text(text) if !text.trim().is_empty() => {
                let text = text.trim().into();
                self.syntax_error(&text, &Mode::Condition, node)
                    .into_iter()
                    .collect()
            }
            _ => Vec::new(),
        }
    }

    fn syntax_error(&self, text: &Arc<str>, mode: &Mode, node: &Node) -> Option<Error> {
        let error = match self.program(text, mode) {
            Ok(program) => self.unknown_lookup(&program)?,
            Err(mut error) => {
                if matches!(mode, Mode::Condition) && error.help.is_none() && assigns(text) {
                    error.help = Some("compare with `==`".into());
                }
                error
            }
        };
        let fault = Fault {
            words: Words::Failure(error.message),
            origin: Rc::new(Origin::Node(node.clone())),
            place: error.place,
            trail: Vec::new(),
            help: error.help,
        };
        Some(fault.to_error().into())
    }

    fn unknown_lookup(&self, program: &Program) -> Option<SyntaxError> {
        let known = self.services.lookup_names();
        let (name, place) = program
            .lookups
            .iter()
            .find(|(name, _)| !known.contains(&lookup::short_name(name)))?;
        Some(SyntaxError {
            message: lookup::not_found(name),
            place: Some(*place),
            help: lookup::nearest_name(name, known),
        })
    }

    /// Returns the compiled text; compiles it when it is new.
    pub(super) fn program(
        &self,
        text: &Arc<str>,
        mode: &Mode,
    ) -> Result<Arc<Program>, SyntaxError> {
        let key = (Arc::clone(text), mode.clone());
        let locked = || self.programs.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = locked().get(&key) {
            return known.clone();
        }
        let compiled = match mode {
            Mode::Value if has_header(text) => compile_with_header(text),
            _ => compile(text, mode),
        }
        .map(Arc::new);
        locked().insert(key, compiled.clone());
        compiled
    }
}

fn evaluated(text: &str, run: &Run<'_>) -> Result<Value, TemplateError> {
    let origin = Rc::new(Origin::Unknown);
    run.evaluate(&text.trim().into(), &Mode::Expression, &origin, None)
        .and_then(|val| run.finish(&val))
        .map(Option::unwrap_or_default)
        .map_err(|fault| fault.to_error())
}

fn compile_with_header(text: &str) -> Result<Program, SyntaxError> {
    let mut overrides = Overrides::default();
    let body = overrides
        .apply_header(text)
        .map_err(|message| SyntaxError {
            message: format!("Syntax error in template: {message}"),
            place: None,
            help: None,
        })?;
    compile(body, &Mode::File(Arc::new(overrides)))
}

pub(super) fn told(fault: &Fault, node: &Node, scope: &dyn Scope) -> TemplateError {
    with_nearest(fault.to_error().at(&node.mark), fault, scope)
}

/// Adds the nearest name that there is to the failure of a name that there is not.
fn with_nearest(mut error: TemplateError, fault: &Fault, scope: &dyn Scope) -> TemplateError {
    if let Words::Name(name) = &fault.words
        && error.help.is_none()
    {
        let names = scope.names();
        let near = nearest(name, names.iter().map(|name| &**name));
        error.help = near.map(|near| format!("did you mean `{near}`?"));
    }
    error
}

/// Tells whether a condition assigns where it means to compare.
fn assigns(condition: &str) -> bool {
    let bytes = condition.as_bytes();
    let is_operator = |byte: Option<&u8>| byte.is_some_and(|byte| b"=!<>".contains(byte));
    let at = |index: usize| bytes[index] == b'=' && !condition[..index].contains('(');
    (0..bytes.len()).any(|index| {
        at(index)
            && !is_operator(bytes.get(index + 1))
            && !is_operator(index.checked_sub(1).and_then(|before| bytes.get(before)))
    })
}

#[cfg(test)]
mod tests {
    use indexmap::IndexMap;

    use super::*;
    use crate::template::{Binding, Isolated};

    fn source(text: &str) -> Node {
        let file = SourceFile::new("a.yml", format!("x: {text}\n"));
        Node::text(Mark::new(&file, 1, 4), text)
    }

    fn scope() -> IndexMap<Arc<str>, Binding> {
        let braces = Value::from("{{ boom }}");
        [
            ("n".into(), Binding::Final(1.into())),
            ("data".into(), Binding::Final(braces)),
            ("list".into(), Binding::Final(Value::list([1, 2]))),
            ("indirect".into(), Binding::Source(source("{{ n + 1 }}"))),
            ("broken".into(), Binding::Source(source("{{ gone.a }}"))),
            ("a".into(), Binding::Source(source("{{ b }}"))),
            ("b".into(), Binding::Source(source("{{ a }}"))),
        ]
        .into_iter()
        .collect()
    }

    fn render(text: &str) -> Result<Value, TemplateError> {
        let engine = Engine::new(Arc::new(Isolated));
        engine
            .render(&source(text), &scope())
            .map(|rendered| rendered.into_value().unwrap_or_default())
    }

    #[test]
    fn a_lone_expression_keeps_its_type_and_text_around_it_makes_text() {
        assert_eq!(render("{{ list }}"), Ok(Value::list([1, 2])));
        assert_eq!(render("{{ n }}"), Ok(1.into()));
        assert_eq!(render("{{ n }} {{ list }}"), Ok("1 [1, 2]".into()));
        assert_eq!(render("{{ n == 1 }}"), Ok(true.into()));
    }

    #[test]
    fn variables_are_rendered_when_read_and_data_never_is() {
        assert_eq!(render("{{ indirect * 2 }}"), Ok(4.into()));
        assert_eq!(render("{{ data }}"), Ok("{{ boom }}".into()));
    }

    #[test]
    fn undefined_chains_until_it_is_used_and_then_says_who() {
        assert_eq!(render("{{ broken.b.c | default('x') }}"), Ok("x".into()));
        let error = render("{{ 1 if broken else 2 }}").unwrap_err();
        assert!(error.is_undefined());
        assert_eq!(error.message, "'gone' is undefined");
        assert_eq!(error.trail, ["broken".into()]);
        assert_eq!(
            error.mark.map(|mark| mark.to_string()),
            Some("a.yml:1:7".into())
        );
    }

    #[test]
    fn a_variable_that_reads_itself_is_told_with_its_chain() {
        assert_eq!(
            render("{{ a }}").unwrap_err().message,
            "Recursive loop detected in template: a -> b -> a"
        );
    }

    #[test]
    fn an_unknown_filter_is_found_without_running_anything() {
        let engine = Engine::new(Arc::new(Isolated));
        let errors = engine.check(&source("{{ nothing | defualt('x') }}"));
        assert_eq!(errors.len(), 1);
        assert_eq!(
            errors[0].message,
            "Syntax error in template: No filter named 'defualt'."
        );
        assert_eq!(errors[0].help.as_deref(), Some("did you mean `default`?"));
    }

    #[test]
    fn an_unknown_lookup_is_found_without_running_anything() {
        let engine = Engine::new(Arc::new(crate::template::Isolated));
        let errors = engine.check(&source("{{ lookup('file', 'x') }}"));
        assert_eq!(errors[0].message, "The lookup plugin 'file' was not found.");
    }

    #[test]
    fn a_place_inside_a_block_scalar_is_pointed_at() {
        let file = SourceFile::new("b.yml", "x: |\n  first\n  {{ n }} {{ gone }}\ny: 1\n");
        let node = Node::text(Mark::new(&file, 1, 4), "first\n{{ n }} {{ gone }}\n");
        let error = Engine::new(Arc::new(Isolated))
            .render(&node, &scope())
            .unwrap_err();
        assert_eq!(
            error.mark.map(|mark| mark.to_string()),
            Some("b.yml:3:14".into())
        );
    }

    #[test]
    fn endless_recursion_ends_in_an_error() {
        let endless = "{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}";
        assert!(
            render(endless)
                .unwrap_err()
                .message
                .starts_with("Recursive loop detected")
        );
        let within_itself = "{% set x = [] %}{% set _ = x.append(x) %}{{ x }}";
        assert!(
            render(within_itself)
                .unwrap_err()
                .message
                .starts_with("Recursive loop detected")
        );
    }

    #[derive(Debug)]
    struct Hosts;

    impl crate::template::Dynamic for Hosts {
        fn get(&self, key: &str) -> Option<Binding> {
            (key == "web").then(|| {
                Binding::Source(Node::new(
                    source("").mark,
                    Kind::Map(Arc::new(vec![(source("port"), source("{{ n }}"))])),
                ))
            })
        }

        fn keys(&self) -> Vec<Arc<str>> {
            vec!["web".into()]
        }

        fn scope(&self) -> Option<Arc<dyn Scope>> {
            let own: IndexMap<Arc<str>, Binding> =
                [("n".into(), Binding::from(7))].into_iter().collect();
            Some(Arc::new(own))
        }
    }

    #[test]
    fn what_an_object_holds_is_rendered_in_its_own_scope() {
        let mut scope = scope();
        scope.insert("hostvars".into(), Binding::Object(Arc::new(Hosts)));
        let engine = Engine::new(Arc::new(Isolated));
        let render = |text: &str| {
            engine
                .render(&source(text), &scope)
                .map(|rendered| rendered.into_value().unwrap_or_default().to_string())
                .map_err(|error| error.message)
        };
        assert_eq!(
            render("{{ n }} {{ hostvars['web'].port }}"),
            Ok("1 7".into())
        );
        assert_eq!(
            render("{{ ['web'] | map('extract', hostvars, 'port') | first }}"),
            Ok("7".into())
        );
        assert_eq!(
            render("{{ hostvars.db.port | default('none') }}"),
            Ok("none".into())
        );
        assert_eq!(render("{{ hostvars }}"), Ok("{'web': {'port': 7}}".into()));
        assert_eq!(
            render("{{ 'web' in hostvars and hostvars.keys() == ['web'] }}"),
            Ok("True".into())
        );
    }
}
