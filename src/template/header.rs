//! The rules a template file can change about its own syntax: options and the `#jinja2:` header.

use std::sync::Arc;

use super::python::literal;
use super::syntax::Delimiters;
use crate::value::Value;

const HEADER: &str = "#jinja2:";

/// Markers and whitespace rules of one template.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Overrides {
    pub(super) delimiters: Delimiters,
    pub(super) line_statement_prefix: Option<Arc<str>>,
    pub(super) line_comment_prefix: Option<Arc<str>>,
    pub(super) newline: Arc<str>,
    pub(super) trim_blocks: bool,
    pub(super) lstrip_blocks: bool,
    pub(super) keep_trailing_newline: bool,
}

impl Default for Overrides {
    fn default() -> Self {
        Self {
            delimiters: Delimiters::default(),
            line_statement_prefix: None,
            line_comment_prefix: None,
            newline: "\n".into(),
            trim_blocks: true,
            lstrip_blocks: false,
            keep_trailing_newline: false,
        }
    }
}

/// Tells whether `text` opens with a header.
pub(super) fn has_header(text: &str) -> bool {
    text.starts_with(HEADER)
}

impl Overrides {
    /// Applies the header of `text`, if it has one; returns the text after it.
    pub(super) fn apply_header<'a>(&mut self, text: &'a str) -> Result<&'a str, String> {
        let Some(after) = text.strip_prefix(HEADER) else {
            return Ok(text);
        };
        let (line, body) = after
            .split_once('\n')
            .ok_or_else(|| format!("Missing newline after '{HEADER}' override."))?;
        for pair in line.trim_end_matches('\r').split(',') {
            self.apply_pair(pair)?;
        }
        Ok(body)
    }

    fn apply_pair(&mut self, pair: &str) -> Result<(), String> {
        if pair.trim().is_empty() {
            return Err(format!("Empty '{HEADER}' override pair not allowed."));
        }
        let (key, value) = pair.split_once(':').ok_or_else(|| {
            format!("Missing key-value separator `:` in '{HEADER}' override pair '{pair}'.")
        })?;
        let key = key.trim();
        let value = literal(value.trim())
            .ok_or_else(|| format!("malformed value in '{HEADER}' override pair '{pair}'"))?;
        self.set(key, &value)
    }

    /// Sets one rule by the name Jinja and the template module give it.
    pub(super) fn set(&mut self, key: &str, value: &Value) -> Result<(), String> {
        let marks = &mut self.delimiters;
        let text_field = match key {
            "variable_start_string" => Some(&mut marks.variable_start),
            "variable_end_string" => Some(&mut marks.variable_end),
            "block_start_string" => Some(&mut marks.block_start),
            "block_end_string" => Some(&mut marks.block_end),
            "comment_start_string" => Some(&mut marks.comment_start),
            "comment_end_string" => Some(&mut marks.comment_end),
            "newline_sequence" => Some(&mut self.newline),
            _ => None,
        };
        if let Some(field) = text_field {
            let text = value
                .as_str()
                .ok_or_else(|| format!("{key} must be {}, not {}", "str", value.python_type()))?;
            *field = text.into();
            return Ok(());
        }
        match key {
            "line_statement_prefix" => self.line_statement_prefix = value.as_str().map(Into::into),
            "line_comment_prefix" => self.line_comment_prefix = value.as_str().map(Into::into),
            "trim_blocks" => self.trim_blocks = flag(key, value)?,
            "lstrip_blocks" => self.lstrip_blocks = flag(key, value)?,
            "keep_trailing_newline" => self.keep_trailing_newline = flag(key, value)?,
            _ => return Err(format!("Invalid '{HEADER}' override key '{key}'.")),
        }
        Ok(())
    }
}

fn flag(key: &str, value: &Value) -> Result<bool, String> {
    value
        .as_bool()
        .ok_or_else(|| format!("{key} must be bool, not {}", value.python_type()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_sets_rules_and_leaves_the_text() {
        let mut overrides = Overrides::default();
        let text = "#jinja2: lstrip_blocks: True, variable_start_string:'[['\nbody\n";
        assert_eq!(overrides.apply_header(text), Ok("body\n"));
        assert!(overrides.lstrip_blocks);
        assert_eq!(&*overrides.delimiters.variable_start, "[[");
    }

    #[test]
    fn a_wrong_header_is_told_in_ansibles_words() {
        assert_eq!(
            Overrides::default().apply_header("#jinja2: nope: True\n"),
            Err("Invalid '#jinja2:' override key 'nope'.".into())
        );
    }
}
