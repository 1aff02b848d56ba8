//! Text to program: minijinja parses, this file turns its tree into ours.
//!
//! Names of filters and tests are resolved here, so an unknown one is an error before anything
//! runs. Knows nothing of variables.

use std::sync::Arc;

use minijinja::machinery::{Span, ast, parse, parse_expr};
use minijinja::syntax::SyntaxConfig;

use super::header::Overrides;
use super::literals::{shield, unshield};
use super::syntax::{
    Argument, Block, Body, Comparison, Expression, FilterUse, For, Macro, Operator, Place, Program,
    Statement, Target,
};
use super::{checks, filters, is_template};
use crate::error::nearest;
use crate::value::{Value, repr};

/// How a text is to be read.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Mode {
    /// A YAML value: backslashes in literals of `{{ }}` stay.
    Value,
    /// A file: backslashes escape, markers and whitespace rules may be set.
    File(Arc<Overrides>),
    /// A bare expression: backslashes stay.
    Expression,
    /// A condition: backslashes escape, literals that hold templates are rendered.
    Condition,
}

/// Why a text does not compile.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct SyntaxError {
    pub(super) message: String,
    pub(super) place: Option<Place>,
    pub(super) help: Option<String>,
}

type Compiled<T> = Result<T, SyntaxError>;

/// Compiles `source`.
pub(super) fn compile(source: &str, mode: &Mode) -> Compiled<Program> {
    let mut compiler = Compiler {
        embedded: *mode == Mode::Condition,
        reads_varargs: false,
        reads_kwargs: false,
        lookups: Vec::new(),
        kind: match mode {
            Mode::Condition | Mode::Expression => "expression",
            Mode::Value | Mode::File(_) => "template",
        },
    };
    let body = match mode {
        Mode::Condition => {
            let tree = parse_expr(source).map_err(|error| parse_error(&error, source, true))?;
            compiler.expression(&tree).map(Body::Expression)
        }
        Mode::Expression => {
            let opened = format!("{{{{{source}}}}}");
            let shielded = shield(&opened, &super::syntax::Delimiters::default()).into_owned();
            let inner = &shielded[2..shielded.len() - 2];
            let tree = parse_expr(inner).map_err(|error| parse_error(&error, source, true))?;
            compiler.expression(&tree).map(Body::Expression)
        }
        Mode::Value => {
            let overrides = Overrides::default();
            let shielded = shield(source, &overrides.delimiters);
            compiler.template(&shielded, &syntax_config(&overrides, source)?)
        }
        Mode::File(overrides) => compiler.template(source, &syntax_config(overrides, source)?),
    }?;
    Ok(Program {
        body,
        lookups: compiler.lookups,
    })
}

fn syntax_config(overrides: &Overrides, source: &str) -> Compiled<SyntaxConfig> {
    let marks = &overrides.delimiters;
    let mut builder = SyntaxConfig::builder();
    builder
        .block_delimiters(marks.block_start.to_string(), marks.block_end.to_string())
        .variable_delimiters(
            marks.variable_start.to_string(),
            marks.variable_end.to_string(),
        )
        .comment_delimiters(
            marks.comment_start.to_string(),
            marks.comment_end.to_string(),
        )
        .trim_blocks(overrides.trim_blocks)
        .lstrip_blocks(overrides.lstrip_blocks)
        .keep_trailing_newline(overrides.keep_trailing_newline);
    if let Some(prefix) = &overrides.line_statement_prefix {
        builder.line_statement_prefix(prefix.to_string());
    }
    if let Some(prefix) = &overrides.line_comment_prefix {
        builder.line_comment_prefix(prefix.to_string());
    }
    builder
        .build()
        .map_err(|error| parse_error(&error, source, false))
}

fn parse_error(error: &minijinja::Error, source: &str, is_expression: bool) -> SyntaxError {
    let token = error.range().and_then(|range| source.get(range));
    let detail = match error.detail() {
        Some("unexpected character") => {
            let at = error.range().map_or(0, |range| range.start);
            let character = source.get(at..).and_then(|rest| rest.chars().next());
            format!("unexpected char {} at {at}", quoted(character))
        }
        Some(detail) => in_jinjas_words(detail, token),
        None => error.kind().to_string(),
    };
    let kind = if is_expression {
        "expression"
    } else {
        "template"
    };
    let hint = if is_expression && is_template(source) {
        " Template delimiters are not supported in expressions."
    } else {
        ""
    };
    let line = error
        .line()
        .map_or(1, |line| u32::try_from(line).unwrap_or(1));
    let column = error
        .range()
        .and_then(|range| source.get(..range.start))
        .map(|before| before.chars().rev().take_while(|c| *c != '\n').count() + 1);
    SyntaxError {
        message: format!("Syntax error in {kind}.{hint}")
            .trim_end_matches('.')
            .to_owned()
            + ": "
            + &detail,
        place: column.map(|column| Place {
            line,
            column: u32::try_from(column).unwrap_or(1),
        }),
        help: None,
    }
}

/// Returns Python's `repr` of a character.
fn quoted(character: Option<char>) -> String {
    repr(&character.map(String::from).unwrap_or_default().into())
}

/// Words a syntax error as Jinja words it; `found` is the text of the token it stumbled over.
fn in_jinjas_words(detail: &str, found: Option<&str>) -> String {
    let token = |token: &str| match token {
        "identifier" | "string" | "integer" | "float" => {
            let text = found.unwrap_or(token).trim_matches(['\'', '"']);
            if text.is_empty() { token } else { text }.to_owned()
        }
        "end of variable block" => "end of print statement".to_owned(),
        "end of block" => "end of statement block".to_owned(),
        "end of input" => "end of template".to_owned(),
        token => token.trim_matches('`').to_owned(),
    };
    if let Some(tag) = detail.strip_prefix("unknown statement ") {
        return format!("Encountered unknown tag '{tag}'.");
    }
    let Some(unexpected) = detail.strip_prefix("unexpected ") else {
        return detail.to_owned();
    };
    match unexpected.split_once(", expected ") {
        Some(("end of input", "end of block")) => "Unexpected end of template.".into(),
        Some((got, "expression")) => format!("unexpected '{}'", token(got)),
        Some((got, wanted)) => {
            let wanted = match wanted {
                "identifier" => "name".to_owned(),
                wanted => token(wanted),
            };
            format!("expected token '{wanted}', got '{}'", token(got))
        }
        None if unexpected.contains(' ') && !unexpected.starts_with("end of ") => detail.to_owned(),
        None => format!("unexpected '{}'", token(unexpected)),
    }
}

fn place(span: Span) -> Place {
    Place {
        line: u32::from(span.start_line),
        column: u32::from(span.start_col) + 1,
    }
}

struct Compiler {
    /// Whether literals that hold templates are rendered.
    embedded: bool,
    /// Whether the macro being compiled reads these names.
    reads_varargs: bool,
    reads_kwargs: bool,
    lookups: Vec<(Arc<str>, Place)>,
    /// `template` or `expression`, as errors call it.
    kind: &'static str,
}

impl Compiler {
    fn template(&mut self, source: &str, config: &SyntaxConfig) -> Compiled<Body> {
        let tree = parse(source, "template", config.clone())
            .map_err(|error| parse_error(&error, source, false))?;
        match tree {
            ast::Stmt::Template(template) => {
                self.statements(&template.children).map(Body::Template)
            }
            other => Ok(Body::Template(vec![self.statement(&other)?])),
        }
    }

    fn statements(&mut self, statements: &[ast::Stmt<'_>]) -> Compiled<Vec<Statement>> {
        statements
            .iter()
            .map(|statement| self.statement(statement))
            .collect()
    }

    fn statement(&mut self, statement: &ast::Stmt<'_>) -> Compiled<Statement> {
        Ok(match statement {
            ast::Stmt::Template(template) => {
                Statement::Scoped(self.statements(&template.children)?)
            }
            ast::Stmt::EmitRaw(raw) => Statement::Text(text_data(raw.raw)),
            ast::Stmt::EmitExpr(emit) => Statement::Print(self.expression(&emit.expr)?),
            ast::Stmt::ForLoop(each) => Statement::For(Arc::new(For {
                target: self.target(&each.target)?,
                iterable: self.expression(&each.iter)?,
                condition: self.optional(each.filter_expr.as_ref())?,
                recursive: each.recursive,
                body: self.statements(&each.body)?,
                otherwise: self.statements(&each.else_body)?,
            })),
            ast::Stmt::IfCond(choice) => Statement::If {
                condition: self.expression(&choice.expr)?,
                then: self.statements(&choice.true_body)?,
                otherwise: self.statements(&choice.false_body)?,
            },
            ast::Stmt::WithBlock(with) => Statement::With {
                assignments: with
                    .assignments
                    .iter()
                    .map(|(target, value)| Ok((self.target(target)?, self.expression(value)?)))
                    .collect::<Compiled<_>>()?,
                body: self.statements(&with.body)?,
            },
            ast::Stmt::Set(set) => {
                Statement::Set(self.target(&set.target)?, self.expression(&set.expr)?)
            }
            ast::Stmt::SetBlock(set) => Statement::SetBlock {
                target: self.target(&set.target)?,
                filters: match &set.filter {
                    Some(filter) => self.filter_chain(filter)?,
                    None => Vec::new(),
                },
                body: self.statements(&set.body)?,
            },
            ast::Stmt::AutoEscape(escape) => Statement::Scoped(self.statements(&escape.body)?),
            ast::Stmt::FilterBlock(block) => Statement::FilterBlock {
                filters: self.filter_chain(&block.filter)?,
                body: self.statements(&block.body)?,
            },
            ast::Stmt::Block(block) => Statement::Block(Arc::new(Block {
                name: block.name.into(),
                body: self.statements(&block.body)?,
            })),
            ast::Stmt::Extends(extends) => Statement::Extends(self.expression(&extends.name)?),
            ast::Stmt::Include(include) => Statement::Include {
                name: self.expression(&include.name)?,
                ignore_missing: include.ignore_missing,
            },
            ast::Stmt::Import(import) => Statement::Import {
                template: self.expression(&import.expr)?,
                target: self.target(&import.name)?,
            },
            ast::Stmt::FromImport(import) => Statement::FromImport {
                template: self.expression(&import.expr)?,
                names: import
                    .names
                    .iter()
                    .map(|(name, alias)| {
                        let name = variable_name(name);
                        let alias = alias.as_ref().map_or_else(|| name.clone(), variable_name);
                        (name, alias)
                    })
                    .collect(),
            },
            ast::Stmt::Macro(declared) => Statement::Macro(self.macro_(declared)?),
            ast::Stmt::CallBlock(block) => Statement::CallBlock {
                call: self.call(&block.call, block.call.span())?,
                caller: self.macro_(&block.macro_decl)?,
            },
            ast::Stmt::Do(done) => Statement::Do(self.call(&done.call, done.call.span())?),
            ast::Stmt::Break(_) => Statement::Break,
            ast::Stmt::Continue(_) => Statement::Continue,
        })
    }

    fn macro_(&mut self, declared: &ast::Macro<'_>) -> Compiled<Arc<Macro>> {
        let outer = (self.reads_varargs, self.reads_kwargs);
        (self.reads_varargs, self.reads_kwargs) = (false, false);
        let defaults = self.expressions(&declared.defaults)?;
        let body = self.statements(&declared.body)?;
        let (takes_varargs, takes_kwargs) = (self.reads_varargs, self.reads_kwargs);
        (self.reads_varargs, self.reads_kwargs) = outer;
        Ok(Arc::new(Macro {
            name: declared.name.into(),
            parameters: declared.args.iter().map(variable_name).collect(),
            defaults,
            takes_varargs,
            takes_kwargs,
            body,
        }))
    }

    fn target(&mut self, target: &ast::Expr<'_>) -> Compiled<Target> {
        Ok(match target {
            ast::Expr::Var(var) => Target::Name(var.id.into()),
            ast::Expr::GetAttr(attribute) => {
                Target::Attribute(variable_name(&attribute.expr), attribute.name.into())
            }
            ast::Expr::List(list) => Target::Many(self.targets(&list.items)?),
            ast::Expr::Tuple(tuple) => Target::Many(self.targets(&tuple.items)?),
            other => {
                return Err(SyntaxError {
                    message: format!(
                        "Syntax error in template: can't assign to '{}'",
                        other.description()
                    ),
                    place: Some(place(other.span())),
                    help: None,
                });
            }
        })
    }

    fn targets(&mut self, targets: &[ast::Expr<'_>]) -> Compiled<Vec<Target>> {
        targets.iter().map(|target| self.target(target)).collect()
    }

    fn filter_chain(&mut self, chain: &ast::Expr<'_>) -> Compiled<Vec<FilterUse>> {
        let mut filters = Vec::new();
        let mut next = Some(chain);
        while let Some(ast::Expr::Filter(filter)) = next {
            filters.push(self.filter(filter, filter.span())?);
            next = filter.expr.as_ref();
        }
        filters.reverse();
        Ok(filters)
    }

    fn filter(&mut self, filter: &ast::Filter<'_>, span: Span) -> Compiled<FilterUse> {
        Ok(FilterUse {
            filter: filters::find(filter.name)
                .ok_or_else(|| self.unknown("filter", filter.name, filters::names(), span))?,
            arguments: self.arguments(&filter.args)?,
            place: place(span),
        })
    }

    fn arguments(&mut self, arguments: &[ast::CallArg<'_>]) -> Compiled<Vec<Argument>> {
        arguments
            .iter()
            .map(|argument| {
                Ok(match argument {
                    ast::CallArg::Pos(value) => Argument::Positional(self.expression(value)?),
                    ast::CallArg::Kwarg(name, value) => {
                        Argument::Named((*name).into(), self.expression(value)?)
                    }
                    ast::CallArg::PosSplat(values) => Argument::Spread(self.expression(values)?),
                    ast::CallArg::KwargSplat(values) => {
                        Argument::SpreadNamed(self.expression(values)?)
                    }
                })
            })
            .collect()
    }

    fn call(&mut self, call: &ast::Call<'_>, span: Span) -> Compiled<Expression> {
        let is_lookup = matches!(&call.expr, ast::Expr::Var(var)
            if matches!(var.id, "lookup" | "query" | "q"));
        if is_lookup
            && let Some(ast::CallArg::Pos(ast::Expr::Const(name))) = call.args.first()
            && let Some(name) = name.value.as_str()
        {
            self.lookups.push((name.into(), place(span)));
        }
        let outer = self.embedded;
        self.embedded |= is_lookup;
        let arguments = self.arguments(&call.args);
        self.embedded = outer;
        Ok(Expression::Call(
            Box::new(self.expression(&call.expr)?),
            arguments?,
            place(span),
        ))
    }

    fn expressions(&mut self, expressions: &[ast::Expr<'_>]) -> Compiled<Vec<Expression>> {
        expressions
            .iter()
            .map(|expression| self.expression(expression))
            .collect()
    }

    fn optional(&mut self, expression: Option<&ast::Expr<'_>>) -> Compiled<Option<Expression>> {
        expression.map(|it| self.expression(it)).transpose()
    }

    fn boxed(&mut self, expression: &ast::Expr<'_>) -> Compiled<Box<Expression>> {
        self.expression(expression).map(Box::new)
    }

    fn expression(&mut self, expression: &ast::Expr<'_>) -> Compiled<Expression> {
        let at = place(expression.span());
        Ok(match expression {
            ast::Expr::Var(var) => {
                self.reads_varargs |= var.id == "varargs";
                self.reads_kwargs |= var.id == "kwargs";
                Expression::Name(var.id.into(), at)
            }
            ast::Expr::Const(constant) => self.constant(&constant.value),
            ast::Expr::Slice(slice) => Expression::Slice(
                Box::new([
                    self.expression(&slice.expr)?,
                    self.bound(slice.start.as_ref())?,
                    self.bound(slice.stop.as_ref())?,
                    self.bound(slice.step.as_ref())?,
                ]),
                at,
            ),
            ast::Expr::UnaryOp(unary) => match unary.op {
                ast::UnaryOpKind::Not => Expression::Not(self.boxed(&unary.expr)?),
                ast::UnaryOpKind::Neg => Expression::Negate(self.boxed(&unary.expr)?, at),
            },
            ast::Expr::BinOp(binary) => self.binary(binary, at)?,
            ast::Expr::Compare(chain) => Expression::Compare(
                self.boxed(&chain.expr)?,
                chain
                    .ops
                    .iter()
                    .map(|next| Ok((chained(next.op), self.expression(&next.expr)?)))
                    .collect::<Compiled<_>>()?,
                at,
            ),
            ast::Expr::IfExpr(choice) => Expression::Choice {
                condition: self.boxed(&choice.test_expr)?,
                then: self.boxed(&choice.true_expr)?,
                otherwise: self.optional(choice.false_expr.as_ref())?.map(Box::new),
            },
            ast::Expr::Filter(filter) => {
                let used = self.filter(filter, filter.span())?;
                let input = self.optional(filter.expr.as_ref())?;
                Expression::Filter(
                    Box::new(input.unwrap_or(Expression::Constant(Value::Null))),
                    Box::new(used),
                )
            }
            ast::Expr::Test(test) => Expression::Test {
                check: checks::find(test.name)
                    .ok_or_else(|| self.unknown("test", test.name, checks::names(), test.span()))?,
                subject: self.boxed(&test.expr)?,
                arguments: self.arguments(&test.args)?,
                place: at,
            },
            ast::Expr::GetAttr(attribute) => {
                Expression::Attribute(self.boxed(&attribute.expr)?, attribute.name.into(), at)
            }
            ast::Expr::GetItem(item) => Expression::Item(
                self.boxed(&item.expr)?,
                self.boxed(&item.subscript_expr)?,
                at,
            ),
            ast::Expr::Call(call) => self.call(call, call.span())?,
            ast::Expr::List(list) => Expression::List(self.expressions(&list.items)?),
            ast::Expr::Tuple(tuple) => Expression::Tuple(self.expressions(&tuple.items)?),
            ast::Expr::Map(map) => Expression::Dict(
                map.keys
                    .iter()
                    .zip(&map.values)
                    .map(|(key, value)| Ok((self.expression(key)?, self.expression(value)?)))
                    .collect::<Compiled<_>>()?,
            ),
        })
    }

    fn unknown<'a>(
        &self,
        what: &str,
        name: &str,
        known: impl Iterator<Item = &'a str>,
        span: Span,
    ) -> SyntaxError {
        SyntaxError {
            message: format!("Syntax error in {}: No {what} named '{name}'.", self.kind),
            place: Some(place(span)),
            help: nearest(name, known).map(|near| format!("did you mean `{near}`?")),
        }
    }

    fn bound(&mut self, bound: Option<&ast::Expr<'_>>) -> Compiled<Expression> {
        Ok(self
            .optional(bound)?
            .unwrap_or(Expression::Constant(Value::Null)))
    }

    fn constant(&self, value: &minijinja::Value) -> Expression {
        if let Some(text) = value.as_str() {
            let text = unshield(text);
            if self.embedded && is_template(&text) {
                return Expression::Embedded(text.as_ref().into());
            }
            return Expression::Constant(Value::from(text.as_ref()));
        }
        Expression::Constant(match value.kind() {
            minijinja::value::ValueKind::Bool => Value::Bool(value.is_true()),
            minijinja::value::ValueKind::Number if value.is_integer() => {
                i128::try_from(value.clone()).map_or(Value::Null, Value::Int)
            }
            minijinja::value::ValueKind::Number => {
                f64::try_from(value.clone()).map_or(Value::Null, Value::Float)
            }
            _ => Value::Null,
        })
    }

    fn binary(&mut self, binary: &ast::BinOp<'_>, at: Place) -> Compiled<Expression> {
        let left = self.boxed(&binary.left)?;
        let right = self.boxed(&binary.right)?;
        let compare = |comparison, left, right: Box<Expression>| {
            Expression::Compare(left, vec![(comparison, *right)], at)
        };
        Ok(match binary.op {
            ast::BinOpKind::Eq => compare(Comparison::Equal, left, right),
            ast::BinOpKind::Ne => compare(Comparison::NotEqual, left, right),
            ast::BinOpKind::Lt => compare(Comparison::Less, left, right),
            ast::BinOpKind::Lte => compare(Comparison::LessOrEqual, left, right),
            ast::BinOpKind::Gt => compare(Comparison::Greater, left, right),
            ast::BinOpKind::Gte => compare(Comparison::GreaterOrEqual, left, right),
            ast::BinOpKind::In => compare(Comparison::In, left, right),
            ast::BinOpKind::ScAnd => Expression::And(left, right),
            ast::BinOpKind::ScOr => Expression::Or(left, right),
            ast::BinOpKind::Add => Expression::Binary(Operator::Add, left, right, at),
            ast::BinOpKind::Sub => Expression::Binary(Operator::Subtract, left, right, at),
            ast::BinOpKind::Mul => Expression::Binary(Operator::Multiply, left, right, at),
            ast::BinOpKind::Div => Expression::Binary(Operator::Divide, left, right, at),
            ast::BinOpKind::FloorDiv => Expression::Binary(Operator::FloorDivide, left, right, at),
            ast::BinOpKind::Rem => Expression::Binary(Operator::Remainder, left, right, at),
            ast::BinOpKind::Pow => Expression::Binary(Operator::Power, left, right, at),
            ast::BinOpKind::Concat => Expression::Binary(Operator::Concatenate, left, right, at),
        })
    }
}

fn chained(op: ast::CompareOpKind) -> Comparison {
    match op {
        ast::CompareOpKind::Eq => Comparison::Equal,
        ast::CompareOpKind::Ne => Comparison::NotEqual,
        ast::CompareOpKind::Lt => Comparison::Less,
        ast::CompareOpKind::Lte => Comparison::LessOrEqual,
        ast::CompareOpKind::Gt => Comparison::Greater,
        ast::CompareOpKind::Gte => Comparison::GreaterOrEqual,
        ast::CompareOpKind::In => Comparison::In,
        ast::CompareOpKind::NotIn => Comparison::NotIn,
    }
}

fn variable_name(expression: &ast::Expr<'_>) -> Arc<str> {
    match expression {
        ast::Expr::Var(var) => var.id.into(),
        other => other.description().into(),
    }
}

/// Jinja writes every line break of template text as the environment's newline.
fn text_data(raw: &str) -> Arc<str> {
    if raw.contains('\r') {
        raw.replace("\r\n", "\n").replace('\r', "\n").into()
    } else {
        raw.into()
    }
}
