//! Values while a template runs: data, and what only lives inside one render.
//!
//! Lists and dictionaries a template makes can be changed by it; data cannot. Entries that are
//! still source are rendered when they are read. Nothing here leaves a render: `finish` turns a
//! result into a final [`Value`].

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;

use indexmap::IndexMap;

use super::scope::{Dynamic, Scope};
use super::syntax::{Block, For, Macro, Place};
use super::{TemplateError, is_template};
use crate::node::{Kind, Node};
use crate::source::{Mark, SourceFile};
use crate::value::{Text, Value, repr};

/// A dictionary made or opened by a template.
pub(super) type Dict = IndexMap<Value, Val>;

/// Names bound inside one template scope.
pub(super) type Locals = Rc<RefCell<HashMap<Arc<str>, Val>>>;

/// What evaluation gives: a value, or the fault that ended it.
pub(super) type Evaluated<T = Val> = Result<T, Rc<Fault>>;

/// One value inside a render.
#[derive(Clone)]
pub(super) enum Val {
    Data(Value),
    List(Rc<RefCell<Vec<Val>>>),
    Dict(Rc<RefCell<Dict>>),
    Tuple(Rc<Vec<Val>>),
    Lazy(Rc<Lazy>),
    /// Undefined, or vaulted text that no password opens: nothing but a fault so far.
    Undefined(Rc<Fault>),
    /// What an inline `if` without `else` gives: prints as nothing, is false, and is no value.
    Blank,
    Omit,
    Object(Object),
    Range(RangeOf),
    Namespace(Rc<RefCell<Dict>>),
    Loop(Rc<LoopState>),
    Macro(Rc<Closure>),
    Module(Rc<Module>),
    Function(&'static str),
    Method(Rc<(Val, Arc<str>)>),
    Cycler(Rc<(Vec<Val>, Cell<usize>)>),
    Joiner(Rc<(Value, Cell<bool>)>),
    Super(Rc<(Arc<str>, usize)>),
    Time(Time),
    Span(jiff::SignedDuration),
}

/// A point in time: naive as Python's `datetime`, or with the offset its text gave; or only its
/// date or its clock.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Time {
    pub(super) civil: jiff::civil::DateTime,
    pub(super) offset: Option<jiff::tz::Offset>,
    pub(super) part: Part,
}

/// What of a moment is meant.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Part {
    #[default]
    Both,
    Date,
    Clock,
}

/// A mapping computed on demand, with the scope its source is rendered in.
#[derive(Clone)]
pub(super) struct Object {
    pub(super) inner: Arc<dyn Dynamic>,
    pub(super) scope: Option<Arc<dyn Scope>>,
}

/// Python's `range`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct RangeOf {
    pub(super) start: i128,
    pub(super) stop: i128,
    pub(super) step: i128,
}

impl RangeOf {
    /// Returns how many numbers the range holds.
    pub(super) fn len(self) -> i128 {
        let span = if self.step > 0 {
            self.stop.saturating_sub(self.start)
        } else {
            self.start.saturating_sub(self.stop)
        };
        if span <= 0 {
            0
        } else {
            (span - 1) / self.step.abs() + 1
        }
    }

    /// Returns the numbers in order.
    pub(super) fn iter(self) -> impl DoubleEndedIterator<Item = i128> {
        (0..self.len()).map(move |index| self.start + index * self.step)
    }
}

/// Source that is rendered once, when it is first read.
pub(super) struct Lazy {
    pub(super) node: Node,
    pub(super) scope: Option<Arc<dyn Scope>>,
    /// The variable it is, or is part of.
    pub(super) name: Option<Arc<str>>,
    pub(super) state: RefCell<LazyState>,
}

pub(super) enum LazyState {
    Unread,
    Reading,
    Read(Val),
}

/// The loop variable.
pub(super) struct LoopState {
    pub(super) items: Vec<Val>,
    pub(super) index: Cell<usize>,
    pub(super) depth: usize,
    pub(super) changed: RefCell<Option<Vec<Value>>>,
    /// What a recursive loop runs again.
    pub(super) recurse: Option<Recurse>,
}

/// A recursive loop with the scopes it stands in.
pub(super) struct Recurse {
    pub(super) each: Arc<For>,
    pub(super) scopes: Vec<Locals>,
    pub(super) origin: Rc<Origin>,
}

/// A macro with the scopes it was declared in.
pub(super) struct Closure {
    pub(super) declared: Arc<Macro>,
    pub(super) scopes: Vec<Locals>,
    pub(super) origin: Rc<Origin>,
}

/// An imported template.
pub(super) struct Module {
    pub(super) exports: Locals,
    pub(super) text: Vec<Val>,
}

/// Bodies of one block, the most derived first.
pub(super) type Blocks = HashMap<Arc<str>, Vec<(Arc<Block>, Rc<Origin>)>>;

/// Where a template's text came from.
#[derive(Debug)]
pub(super) enum Origin {
    Node(Node),
    /// A file, and how many lines of it were a header.
    File(Arc<SourceFile>, u32),
    Unknown,
}

impl Origin {
    /// Returns the mark of a place in the template's text, as fine as it can be known.
    pub(super) fn mark(&self, place: Option<Place>) -> Option<Mark> {
        match self {
            Self::Unknown => None,
            Self::File(file, skipped) => Some(match place {
                Some(place) => Mark::new(file, place.line + skipped, place.column),
                None => Mark::start_of(file),
            }),
            Self::Node(node) => Some(
                place
                    .and_then(|place| inside(node, place))
                    .unwrap_or_else(|| node.mark.clone()),
            ),
        }
    }
}

/// Finds a place of a scalar's text in the file that holds the scalar: the template's line must
/// stand there unchanged, which quoting, folding and escapes may prevent.
fn inside(node: &Node, place: Place) -> Option<Mark> {
    let line = node
        .as_str()?
        .lines()
        .nth(usize::try_from(place.line).ok()?.checked_sub(1)?)?
        .trim_end();
    [place.line - 1, place.line].into_iter().find_map(|below| {
        let number = node.mark.line + below;
        let source = node.mark.file.line(number)?;
        let from = if below == 0 {
            let skip = usize::try_from(node.mark.column).ok()?.checked_sub(1)?;
            source.char_indices().nth(skip)?.0
        } else {
            0
        };
        let at = from + source[from..].find(line)?;
        let before = u32::try_from(source[..at].chars().count()).ok()?;
        Some(Mark::new(&node.mark.file, number, before + place.column))
    })
}

/// Why a value could not be had; also what an undefined value is made of.
#[derive(Debug)]
pub(super) struct Fault {
    pub(super) words: Words,
    pub(super) origin: Rc<Origin>,
    pub(super) place: Option<Place>,
    pub(super) trail: Vec<Arc<str>>,
    pub(super) help: Option<String>,
}

#[derive(Debug)]
pub(super) enum Words {
    /// A name that is bound to nothing.
    Name(Arc<str>),
    /// An attribute or item that is not there: Python's type of the owner, the name as `repr`.
    Missing { owner: &'static str, name: String },
    /// Undefined for a reason of its own.
    Undefined(String),
    /// A failure, already in full words.
    Failure(String),
    /// Vaulted text that no password opens; the ciphertext can still be had.
    Undecryptable {
        ciphertext: Arc<str>,
        reason: String,
    },
    /// What Python would raise: told with the kind of text it stood in.
    Raised { kind: &'static str, text: String },
}

impl Fault {
    /// Tells whether it stands for something undefined.
    pub(super) fn is_undefined(&self) -> bool {
        matches!(
            self.words,
            Words::Name(_) | Words::Missing { .. } | Words::Undefined(_)
        )
    }

    /// Tells whether Python would leave the template with an exception.
    pub(super) fn is_raised(&self) -> bool {
        matches!(self.words, Words::Raised { .. })
    }

    /// Returns the message in ansible-core's words.
    pub(super) fn message(&self) -> String {
        match &self.words {
            Words::Name(name) => format!("'{name}' is undefined"),
            Words::Missing { owner, name } if *owner == "HostVars" => format!("hostvars[{name}]"),
            Words::Missing { owner, name } => {
                format!("object of type '{owner}' has no attribute {name}")
            }
            Words::Undefined(text) | Words::Failure(text) => text.clone(),
            Words::Undecryptable { reason, .. } => {
                format!("Attempt to use undecryptable variable: {reason}")
            }
            Words::Raised { kind, text } => format!("Error rendering {kind}: {text}"),
        }
    }

    /// Returns the error a user sees.
    pub(super) fn to_error(&self) -> TemplateError {
        TemplateError {
            message: self.message(),
            mark: self.origin.mark(self.place),
            help: self.help.clone(),
            trail: self.trail.clone(),
            undefined: self.is_undefined(),
        }
    }
}

impl<T: Into<Value>> From<T> for Val {
    fn from(value: T) -> Self {
        Self::Data(value.into())
    }
}

impl Val {
    /// Makes a list a template can change.
    pub(super) fn list(items: impl IntoIterator<Item = Val>) -> Self {
        Self::List(Rc::new(RefCell::new(items.into_iter().collect())))
    }

    /// Makes a dictionary a template can change.
    pub(super) fn dict(pairs: Dict) -> Self {
        Self::Dict(Rc::new(RefCell::new(pairs)))
    }

    /// Makes a tuple.
    pub(super) fn tuple(items: impl IntoIterator<Item = Val>) -> Self {
        Self::Tuple(Rc::new(items.into_iter().collect()))
    }

    /// Takes source without rendering it: scalars become data, the rest waits to be read.
    pub(super) fn of_node(
        node: &Node,
        scope: Option<&Arc<dyn Scope>>,
        name: Option<&Arc<str>>,
    ) -> Self {
        match &node.kind {
            Kind::Null => Value::Null.into(),
            Kind::Bool(flag) => (*flag).into(),
            Kind::Int(number) => (*number).into(),
            Kind::Float(number) => (*number).into(),
            Kind::Unsafe(text) => Arc::clone(text).into(),
            Kind::Time(text) => match super::methods::time::moment(text) {
                Some(time) => Self::Time(time),
                None => Text::written(text, &node.mark).into(),
            },
            Kind::Text(text) if !is_template(text) => Text::written(text, &node.mark).into(),
            _ => Self::Lazy(Rc::new(Lazy {
                node: node.clone(),
                scope: scope.cloned(),
                name: name.cloned(),
                state: RefCell::new(LazyState::Unread),
            })),
        }
    }

    /// Tells whether the value is undefined; vaulted text that no password opens is not.
    pub(super) fn is_undefined(&self) -> bool {
        matches!(self, Self::Undefined(fault) if fault.is_undefined())
    }

    /// Returns the text of a text value.
    pub(super) fn as_str(&self) -> Option<&str> {
        match self {
            Self::Data(value) => value.as_str(),
            _ => None,
        }
    }

    /// Returns Python's name of the type.
    pub(super) fn type_name(&self) -> &'static str {
        match self {
            Self::Data(value) => value.python_type(),
            Self::List(_) => "list",
            Self::Dict(_) => "dict",
            Self::Tuple(_) => "tuple",
            Self::Lazy(_) => "str",
            Self::Undefined(_) => "UndefinedMarker",
            Self::Blank => "Undefined",
            Self::Omit => "Omit",
            Self::Object(object) => object.inner.type_name(),
            Self::Range(_) => "range",
            Self::Namespace(_) => "Namespace",
            Self::Loop(_) => "LoopContext",
            Self::Macro(_) => "Macro",
            Self::Module(_) => "TemplateModule",
            Self::Function("range" | "dict" | "namespace" | "cycler" | "joiner") => "type",
            Self::Function(_) => "function",
            Self::Method(_) => "builtin_function_or_method",
            Self::Cycler(_) => "Cycler",
            Self::Joiner(_) => "Joiner",
            Self::Super(_) => "BlockReference",
            Self::Time(time) => match time.part {
                Part::Both => "datetime",
                Part::Date => "date",
                Part::Clock => "time",
            },
            Self::Span(_) => "timedelta",
        }
    }

    /// Tells whether the value is a list, a tuple or a range.
    pub(super) fn is_sequence(&self) -> bool {
        matches!(
            self,
            Self::List(_) | Self::Tuple(_) | Self::Range(_) | Self::Data(Value::List(_))
        )
    }

    /// Tells whether the value is a mapping.
    pub(super) fn is_mapping(&self) -> bool {
        matches!(
            self,
            Self::Dict(_) | Self::Object(_) | Self::Data(Value::Map(_))
        )
    }

    /// Returns what `str()` prints for values that are no data.
    pub(super) fn opaque_text(&self) -> String {
        match self {
            Self::Range(range) if range.step == 1 => {
                format!("range({}, {})", range.start, range.stop)
            }
            Self::Range(range) => {
                format!("range({}, {}, {})", range.start, range.stop, range.step)
            }
            Self::Time(time) => super::methods::time::datetime_text(time),
            Self::Span(span) => super::methods::time::timedelta_text(*span),
            Self::Macro(closure) => format!("<Macro {}>", repr(&(&*closure.declared.name).into())),
            Self::Method(bound) => format!("<built-in method {}>", bound.1),
            other => format!("<{}>", other.type_name()),
        }
    }
}
