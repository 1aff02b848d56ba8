//! Writes YAML byte for byte as libyaml 0.2.5 does under PyYAML and Ansible's dumpers.
//!
//! Follows libyaml's emitter: what it knows is a column, an indent and two flags about what was
//! written last. Knows nothing of marks.

use super::analysis::{analyze, is_break, is_printable};
use super::representer::{Anchors, Item};
use crate::node::Node;
use crate::value::Value;

/// What the callers of PyYAML's `dump` choose; the default is the `to_yaml` filter's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct YamlStyle {
    /// Spaces per level; outside 2–9 libyaml takes 2.
    pub indent: usize,
    /// The column after which lines are folded; libyaml takes 80 when it is too small.
    pub width: usize,
    pub sort_keys: bool,
    /// `Some(false)`: always blocks; `Some(true)`: always brackets; `None`: brackets around
    /// collections that hold no collection.
    pub default_flow_style: Option<bool>,
    /// Writes `---` first.
    pub explicit_start: bool,
    /// Writes `...` last.
    pub explicit_end: bool,
    /// Leaves characters beyond ASCII as they are.
    pub allow_unicode: bool,
    pub multi_line: MultiLine,
    /// Writes all scalars so where libyaml can.
    pub scalars: Option<ScalarStyle>,
    /// Writes texts that were vaulted as their ciphertext.
    pub vault_tags: bool,
}

/// How all scalars are written, keys too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ScalarStyle {
    Single,
    Double,
    /// As a `|` block.
    Literal,
}

/// How text with line breaks is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum MultiLine {
    /// In quotes.
    #[default]
    Quoted,
    /// As a `|` block where that keeps the text exactly.
    Block,
    /// As a `|` block without what a block cannot hold, as callbacks with `result_format=yaml`
    /// write it unless `pretty_results` is off.
    LossyBlock,
}

impl Default for YamlStyle {
    fn default() -> Self {
        Self {
            indent: 2,
            width: 80,
            sort_keys: true,
            default_flow_style: None,
            explicit_start: false,
            explicit_end: false,
            allow_unicode: true,
            multi_line: MultiLine::Quoted,
            scalars: None,
            vault_tags: false,
        }
    }
}

impl YamlStyle {
    /// Returns the style of the `to_nice_yaml` filter.
    pub fn nice() -> Self {
        Self {
            indent: 4,
            default_flow_style: Some(false),
            ..Self::default()
        }
    }
}

/// Returns a value as one YAML document, with a line break at its end.
pub fn to_yaml(value: &Value, style: &YamlStyle) -> String {
    let mut emitter = Emitter::new(*style);
    if style.explicit_start {
        emitter.indicator("---", true, false, false);
    }
    emitter.node(&Item::new(value, style), Context::default());
    emitter.end_document(style.explicit_end);
    emitter.out
}

/// Returns a source tree as one YAML document: vaulted texts under their tag, and collections
/// that stand in it more than once (they are one in memory) under an anchor, as PyYAML does.
pub fn node_to_yaml(node: &Node, style: &YamlStyle) -> String {
    let mut anchors = Anchors::default();
    anchors.count(node, style);
    let mut emitter = Emitter::new(*style);
    let item = Item::from_node(node, style, &mut anchors);
    emitter.node(&item, Context::default());
    emitter.end_document(style.explicit_end);
    emitter.out
}

/// Where a node stands.
#[derive(Clone, Copy, Default)]
struct Context {
    /// Directly in a mapping, as key or value.
    mapping: bool,
    /// As a key that is written on one line.
    simple_key: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Quoting {
    Plain,
    Single,
    Double,
    Literal,
}

struct Emitter {
    out: String,
    style: YamlStyle,
    best_indent: usize,
    best_width: usize,
    column: usize,
    /// The current indent; below zero outside the root.
    indent: isize,
    indents: Vec<isize>,
    flow_level: usize,
    /// Whether the last character written was blank.
    whitespace: bool,
    /// Whether only blanks and indicators stand on the line so far.
    indention: bool,
    /// Whether the last block scalar kept its trailing breaks: libyaml then marks the end of the
    /// document, also when other nodes follow.
    open_ended: bool,
}

impl Emitter {
    fn new(style: YamlStyle) -> Self {
        let best_indent = if (2..=9).contains(&style.indent) {
            style.indent
        } else {
            2
        };
        Self {
            out: String::new(),
            style,
            best_indent,
            best_width: if style.width <= best_indent * 2 {
                80
            } else {
                style.width
            },
            column: 0,
            indent: -1,
            indents: Vec::new(),
            flow_level: 0,
            whitespace: true,
            indention: true,
            open_ended: false,
        }
    }

    fn node(&mut self, item: &Item, context: Context) {
        match item {
            Item::Scalar {
                text,
                is_plain,
                is_block,
                is_text,
            } => {
                let quoting = match self.style.scalars {
                    None => self.choose(text, *is_plain, *is_block, context.simple_key),
                    Some(wanted) => self.styled(text, wanted, context.simple_key),
                };
                if self.style.scalars.is_some() && !is_text {
                    self.indicator("!", true, false, false);
                }
                self.scalar(text, quoting, context);
            }
            Item::List { items, is_flow } => {
                if self.flow_level > 0 || *is_flow || items.is_empty() {
                    self.flow_list(items);
                } else {
                    self.block_list(items, context);
                }
            }
            Item::Map { pairs, is_flow } => {
                if self.flow_level > 0 || *is_flow || pairs.is_empty() {
                    self.flow_map(pairs);
                } else {
                    self.block_map(pairs);
                }
            }
            Item::Vault(text) => self.vault(text),
            Item::Anchored(name, item) => {
                self.indicator(&format!("&{name}"), true, false, false);
                self.node(item, context);
            }
            Item::Alias(name) => self.indicator(&format!("*{name}"), true, false, false),
        }
    }

    fn block_list(&mut self, items: &[Item], context: Context) {
        let is_indentless = context.mapping && !self.indention;
        self.increase_indent(false, is_indentless);
        for item in items {
            self.write_indent();
            self.indicator("-", true, false, true);
            self.node(item, Context::default());
        }
        self.decrease_indent();
    }

    fn block_map(&mut self, pairs: &[(Item, Item)]) {
        self.increase_indent(false, false);
        for (key, value) in pairs {
            self.write_indent();
            if key.is_simple_key() {
                self.node(
                    key,
                    Context {
                        mapping: true,
                        simple_key: true,
                    },
                );
                self.indicator(":", false, false, false);
            } else {
                self.indicator("?", true, false, true);
                self.node(
                    key,
                    Context {
                        mapping: true,
                        ..Context::default()
                    },
                );
                self.write_indent();
                self.indicator(":", true, false, true);
            }
            self.node(
                value,
                Context {
                    mapping: true,
                    ..Context::default()
                },
            );
        }
        self.decrease_indent();
    }

    fn flow_list(&mut self, items: &[Item]) {
        self.open_flow("[");
        for (index, item) in items.iter().enumerate() {
            self.separate_flow(index);
            self.node(item, Context::default());
        }
        self.close_flow("]");
    }

    fn flow_map(&mut self, pairs: &[(Item, Item)]) {
        self.open_flow("{");
        for (index, (key, value)) in pairs.iter().enumerate() {
            self.separate_flow(index);
            if key.is_simple_key() {
                self.node(
                    key,
                    Context {
                        mapping: true,
                        simple_key: true,
                    },
                );
                self.indicator(":", false, false, false);
            } else {
                self.indicator("?", true, false, false);
                self.node(
                    key,
                    Context {
                        mapping: true,
                        ..Context::default()
                    },
                );
                if self.column > self.best_width {
                    self.write_indent();
                }
                self.indicator(":", true, false, false);
            }
            self.node(
                value,
                Context {
                    mapping: true,
                    ..Context::default()
                },
            );
        }
        self.close_flow("}");
    }

    fn open_flow(&mut self, bracket: &str) {
        self.indicator(bracket, true, true, false);
        self.increase_indent(true, false);
        self.flow_level += 1;
    }

    fn separate_flow(&mut self, index: usize) {
        if index > 0 {
            self.indicator(",", false, false, false);
        }
        if self.column > self.best_width {
            self.write_indent();
        }
    }

    fn close_flow(&mut self, bracket: &str) {
        self.flow_level -= 1;
        self.decrease_indent();
        self.indicator(bracket, false, false, false);
    }

    fn scalar(&mut self, text: &str, quoting: Quoting, context: Context) {
        self.increase_indent(true, false);
        let may_fold = !context.simple_key;
        match quoting {
            Quoting::Plain => self.plain(text, may_fold),
            Quoting::Single => self.single_quoted(text, may_fold),
            Quoting::Double => self.double_quoted(text, may_fold),
            Quoting::Literal => self.literal(text),
        }
        self.decrease_indent();
    }

    /// Writes vaulted text under its tag.
    fn vault(&mut self, text: &str) {
        self.indicator("!vault", true, false, false);
        self.increase_indent(true, false);
        self.literal(text);
        self.decrease_indent();
    }

    fn styled(&self, text: &str, wanted: ScalarStyle, simple_key: bool) -> Quoting {
        let allowed = analyze(text, self.style.allow_unicode);
        let is_one_line = !(simple_key && allowed.multi_line);
        match wanted {
            ScalarStyle::Single if allowed.single_quoted && is_one_line => Quoting::Single,
            ScalarStyle::Literal if allowed.block && self.flow_level == 0 && !simple_key => {
                Quoting::Literal
            }
            _ => Quoting::Double,
        }
    }

    fn choose(&self, text: &str, is_plain: bool, is_block: bool, simple_key: bool) -> Quoting {
        let allowed = analyze(text, self.style.allow_unicode);
        let in_flow = self.flow_level > 0;
        if simple_key && allowed.multi_line {
            return Quoting::Double;
        }
        if is_block {
            return if allowed.block && !in_flow && !simple_key {
                Quoting::Literal
            } else {
                Quoting::Double
            };
        }
        let plain_allowed = if in_flow {
            allowed.plain_in_flow
        } else {
            allowed.plain_in_block
        };
        let is_bare = text.is_empty() && (in_flow || simple_key);
        if plain_allowed && is_plain && !is_bare {
            Quoting::Plain
        } else if allowed.single_quoted {
            Quoting::Single
        } else {
            Quoting::Double
        }
    }

    fn plain(&mut self, text: &str, may_fold: bool) {
        if !self.whitespace && (!text.is_empty() || self.flow_level > 0) {
            self.put(' ');
        }
        self.folded(text, may_fold, false);
        self.whitespace = false;
        self.indention = false;
    }

    fn single_quoted(&mut self, text: &str, may_fold: bool) {
        self.indicator("'", true, false, false);
        let ended_in_break = self.folded(text, may_fold, true);
        if ended_in_break {
            self.write_indent();
        }
        self.indicator("'", false, false, false);
        self.whitespace = false;
        self.indention = false;
    }

    /// Writes the characters of a plain or single quoted text; returns whether a break was last.
    fn folded(&mut self, text: &str, may_fold: bool, is_quoted: bool) -> bool {
        let (mut spaces, mut breaks) = (false, false);
        let mut characters = text.chars().enumerate().peekable();
        while let Some((at, character)) = characters.next() {
            let next = characters.peek().map(|(_, next)| *next);
            if character == ' ' {
                let inside = !is_quoted || (at > 0 && next.is_some());
                let folds = may_fold && !spaces && inside && self.column > self.best_width;
                if folds && next != Some(' ') {
                    self.write_indent();
                } else {
                    self.put(' ');
                }
                spaces = true;
            } else if is_break(character) {
                if !breaks && character == '\n' {
                    self.put_break('\n');
                }
                self.put_break(character);
                self.indention = true;
                breaks = true;
            } else {
                if breaks {
                    self.write_indent();
                }
                if is_quoted && character == '\'' {
                    self.put('\'');
                }
                self.put(character);
                self.indention = false;
                (spaces, breaks) = (false, false);
            }
        }
        breaks
    }

    fn double_quoted(&mut self, text: &str, may_fold: bool) {
        self.indicator("\"", true, false, false);
        let mut spaces = false;
        let mut characters = text.chars().enumerate().peekable();
        while let Some((at, character)) = characters.next() {
            let next = characters.peek().map(|(_, next)| *next);
            if self.must_escape(character) {
                self.put_all(&escaped(character));
                spaces = false;
            } else if character == ' ' {
                let inside = at > 0 && next.is_some();
                if may_fold && !spaces && inside && self.column > self.best_width {
                    self.write_indent();
                    if next == Some(' ') {
                        self.put('\\');
                    }
                } else {
                    self.put(' ');
                }
                spaces = true;
            } else {
                self.put(character);
                spaces = false;
            }
        }
        self.indicator("\"", false, false, false);
        self.whitespace = false;
        self.indention = false;
    }

    fn must_escape(&self, character: char) -> bool {
        !is_printable(character)
            || (!self.style.allow_unicode && !character.is_ascii())
            || is_break(character)
            || matches!(character, '"' | '\\')
    }

    fn literal(&mut self, text: &str) {
        self.indicator("|", true, false, false);
        self.block_hints(text);
        self.put_break('\n');
        self.indention = true;
        self.whitespace = true;
        let mut breaks = true;
        for character in text.chars() {
            if is_break(character) {
                self.put_break(character);
                self.indention = true;
                breaks = true;
            } else {
                if breaks {
                    self.write_indent();
                }
                self.put(character);
                self.indention = false;
                breaks = false;
            }
        }
    }

    fn block_hints(&mut self, text: &str) {
        if text.starts_with(|first: char| first == ' ' || is_break(first)) {
            let hint = self.best_indent.to_string();
            self.indicator(&hint, false, false, false);
        }
        self.open_ended = false;
        let mut from_end = text.chars().rev();
        if !from_end.next().is_some_and(is_break) {
            self.indicator("-", false, false, false);
        } else if from_end.next().is_none_or(is_break) {
            self.indicator("+", false, false, false);
            self.open_ended = true;
        }
    }

    fn end_document(&mut self, explicit: bool) {
        self.indent = -1;
        self.write_indent();
        if explicit || self.open_ended {
            self.indicator("...", true, false, false);
            self.write_indent();
        }
    }

    fn increase_indent(&mut self, is_flow: bool, is_indentless: bool) {
        self.indents.push(self.indent);
        let step = isize::try_from(self.best_indent).expect("an indent is below ten");
        if self.indent < 0 {
            self.indent = if is_flow { step } else { 0 };
        } else if !is_indentless {
            self.indent += step;
        }
    }

    fn decrease_indent(&mut self) {
        self.indent = self.indents.pop().unwrap_or(-1);
    }

    fn write_indent(&mut self) {
        let indent = usize::try_from(self.indent).unwrap_or(0);
        if !self.indention || self.column > indent || (self.column == indent && !self.whitespace) {
            self.put_break('\n');
        }
        while self.column < indent {
            self.put(' ');
        }
        self.whitespace = true;
        self.indention = true;
    }

    fn indicator(&mut self, text: &str, after_blank: bool, is_blank: bool, is_indention: bool) {
        if after_blank && !self.whitespace {
            self.put(' ');
        }
        self.put_all(text);
        self.whitespace = is_blank;
        self.indention = self.indention && is_indention;
    }

    fn put(&mut self, character: char) {
        self.out.push(character);
        self.column += 1;
    }

    fn put_all(&mut self, text: &str) {
        text.chars().for_each(|character| self.put(character));
    }

    fn put_break(&mut self, character: char) {
        self.out.push(character);
        self.column = 0;
    }
}

/// Returns the escape of a character in double quotes.
fn escaped(character: char) -> String {
    let short = match character {
        '\0' => "\\0",
        '\u{7}' => "\\a",
        '\u{8}' => "\\b",
        '\t' => "\\t",
        '\n' => "\\n",
        '\u{b}' => "\\v",
        '\u{c}' => "\\f",
        '\r' => "\\r",
        '\u{1b}' => "\\e",
        '"' => "\\\"",
        '\\' => "\\\\",
        '\u{85}' => "\\N",
        '\u{a0}' => "\\_",
        '\u{2028}' => "\\L",
        '\u{2029}' => "\\P",
        _ => {
            let code = character as u32;
            return match code {
                0..=0xff => format!("\\x{code:02X}"),
                0x100..=0xffff => format!("\\u{code:04X}"),
                _ => format!("\\U{code:08X}"),
            };
        }
    };
    short.to_string()
}
