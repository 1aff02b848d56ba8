//! A compiled template: an owned tree of statements and expressions, names already resolved.
//!
//! Built once per text by `compile`, shared between threads, walked by `evaluate`.

use std::sync::Arc;

use super::{checks::Check, filters::Filter};
use crate::value::Value;

/// The markers that set template code apart from text.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Delimiters {
    pub(super) variable_start: Arc<str>,
    pub(super) variable_end: Arc<str>,
    pub(super) block_start: Arc<str>,
    pub(super) block_end: Arc<str>,
    pub(super) comment_start: Arc<str>,
    pub(super) comment_end: Arc<str>,
}

impl Default for Delimiters {
    fn default() -> Self {
        Self {
            variable_start: "{{".into(),
            variable_end: "}}".into(),
            block_start: "{%".into(),
            block_end: "%}".into(),
            comment_start: "{#".into(),
            comment_end: "#}".into(),
        }
    }
}

impl Delimiters {
    /// Returns where the first of the start markers stands.
    pub(super) fn first_start(&self, text: &str) -> Option<usize> {
        [&self.variable_start, &self.block_start, &self.comment_start]
            .iter()
            .filter_map(|start| text.find(&***start))
            .min()
    }
}

/// A place in a template's text: 1-based line, 1-based column in characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) line: u32,
    pub(super) column: u32,
}

/// What a text compiled to.
#[derive(Debug)]
pub(super) struct Program {
    pub(super) body: Body,
    /// The lookup plugins it names in so many words.
    pub(super) lookups: Vec<(Arc<str>, Place)>,
}

#[derive(Debug)]
pub(super) enum Body {
    Template(Vec<Statement>),
    Expression(Expression),
}

#[derive(Debug)]
pub(super) enum Statement {
    Text(Arc<str>),
    Print(Expression),
    For(Arc<For>),
    If {
        condition: Expression,
        then: Vec<Statement>,
        otherwise: Vec<Statement>,
    },
    With {
        assignments: Vec<(Target, Expression)>,
        body: Vec<Statement>,
    },
    Set(Target, Expression),
    SetBlock {
        target: Target,
        filters: Vec<FilterUse>,
        body: Vec<Statement>,
    },
    FilterBlock {
        filters: Vec<FilterUse>,
        body: Vec<Statement>,
    },
    Scoped(Vec<Statement>),
    Block(Arc<Block>),
    Extends(Expression),
    Include {
        name: Expression,
        ignore_missing: bool,
    },
    Import {
        template: Expression,
        target: Target,
    },
    FromImport {
        template: Expression,
        names: Vec<(Arc<str>, Arc<str>)>,
    },
    Macro(Arc<Macro>),
    CallBlock {
        call: Expression,
        caller: Arc<Macro>,
    },
    Do(Expression),
    Break,
    Continue,
}

#[derive(Debug)]
pub(super) struct For {
    pub(super) target: Target,
    pub(super) iterable: Expression,
    pub(super) condition: Option<Expression>,
    pub(super) recursive: bool,
    pub(super) body: Vec<Statement>,
    pub(super) otherwise: Vec<Statement>,
}

#[derive(Debug)]
pub(super) struct Block {
    pub(super) name: Arc<str>,
    pub(super) body: Vec<Statement>,
}

#[derive(Debug)]
pub(super) struct Macro {
    pub(super) name: Arc<str>,
    pub(super) parameters: Vec<Arc<str>>,
    /// Defaults of the last parameters.
    pub(super) defaults: Vec<Expression>,
    /// Whether the body reads `varargs`, so more arguments may be given.
    pub(super) takes_varargs: bool,
    pub(super) takes_kwargs: bool,
    pub(super) body: Vec<Statement>,
}

/// What an assignment writes to.
#[derive(Debug)]
pub(super) enum Target {
    Name(Arc<str>),
    /// `namespace.attribute`.
    Attribute(Arc<str>, Arc<str>),
    Many(Vec<Target>),
}

#[derive(Debug)]
pub(super) struct FilterUse {
    pub(super) filter: &'static Filter,
    pub(super) arguments: Vec<Argument>,
    pub(super) place: Place,
}

#[derive(Debug)]
pub(super) enum Argument {
    Positional(Expression),
    Named(Arc<str>, Expression),
    Spread(Expression),
    SpreadNamed(Expression),
}

#[derive(Debug)]
pub(super) enum Expression {
    Constant(Value),
    /// A literal that itself holds template syntax, rendered where ansible-core still does.
    Embedded(Arc<str>),
    Name(Arc<str>, Place),
    Attribute(Box<Expression>, Arc<str>, Place),
    Item(Box<Expression>, Box<Expression>, Place),
    Slice(Box<[Expression; 4]>, Place),
    Not(Box<Expression>),
    Negate(Box<Expression>, Place),
    And(Box<Expression>, Box<Expression>),
    Or(Box<Expression>, Box<Expression>),
    Binary(Operator, Box<Expression>, Box<Expression>, Place),
    Compare(Box<Expression>, Vec<(Comparison, Expression)>, Place),
    Choice {
        condition: Box<Expression>,
        then: Box<Expression>,
        otherwise: Option<Box<Expression>>,
    },
    Filter(Box<Expression>, Box<FilterUse>),
    Test {
        check: &'static Check,
        subject: Box<Expression>,
        arguments: Vec<Argument>,
        place: Place,
    },
    Call(Box<Expression>, Vec<Argument>, Place),
    List(Vec<Expression>),
    Tuple(Vec<Expression>),
    Dict(Vec<(Expression, Expression)>),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Operator {
    Add,
    Subtract,
    Multiply,
    Divide,
    FloorDivide,
    Remainder,
    Power,
    Concatenate,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Comparison {
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
    In,
    NotIn,
}
