//! The one error a render can end in, told in Ansible's words with the place it happened.

use std::fmt;
use std::sync::Arc;

use crate::error::Error;
use crate::source::Mark;

/// Why a template gave no value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TemplateError {
    /// As ansible-core words it: `'x' is undefined`, `Syntax error in template: ...`.
    pub message: String,
    /// The place in the user's text, as fine as it is known.
    pub mark: Option<Mark>,
    pub help: Option<String>,
    /// The variables that were being read, outermost first.
    pub trail: Vec<Arc<str>>,
    pub(super) undefined: bool,
}

impl TemplateError {
    /// Makes an error without a place.
    pub fn new(message: impl Into<String>) -> Self {
        Self {
            message: message.into(),
            mark: None,
            help: None,
            trail: Vec::new(),
            undefined: false,
        }
    }

    /// Makes the error of something undefined, without a place.
    pub fn of_undefined(message: impl Into<String>) -> Self {
        Self {
            undefined: true,
            ..Self::new(message)
        }
    }

    /// Tells whether the error is the use of something undefined.
    pub fn is_undefined(&self) -> bool {
        self.undefined
    }

    /// Adds the place, unless a finer one is known already.
    #[must_use]
    pub fn at(mut self, mark: &Mark) -> Self {
        self.mark.get_or_insert_with(|| mark.clone());
        self
    }
}

impl fmt::Display for TemplateError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for TemplateError {}

impl From<TemplateError> for Error {
    fn from(error: TemplateError) -> Self {
        let mut told = Self::content(error.message);
        told.mark = error.mark;
        told.help = error.help;
        if !error.trail.is_empty() {
            told = told.caused_by(format!("read through `{}`", error.trail.join("` → `")));
        }
        told
    }
}
