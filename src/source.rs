//! Source text and places in it: the files a user wrote, and marks that point into them.
//!
//! The text is kept from load to the end of the run, so an excerpt never re-reads a file that
//! may have changed. Knows nothing of YAML, templates or errors.

use std::fmt;
use std::sync::Arc;

/// One text that was read: a file, or a named text such as `-e` on the command line.
#[derive(Debug, PartialEq, Eq, Hash)]
pub struct SourceFile {
    /// The name that is shown: the path as the user spelled it, or e.g. `<command line>`.
    pub name: String,
    /// The whole decoded text.
    pub text: String,
}

impl SourceFile {
    /// Makes a shared source file.
    pub fn new(name: impl Into<String>, text: impl Into<String>) -> Arc<Self> {
        Arc::new(Self {
            name: name.into(),
            text: text.into(),
        })
    }

    /// Returns line `number` (1-based) without its line break, or `None` past the end.
    pub fn line(&self, number: u32) -> Option<&str> {
        self.text
            .lines()
            .nth(usize::try_from(number).ok()?.checked_sub(1)?)
    }
}

/// A place in a source file: 1-based line, 1-based column counted in characters.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Mark {
    pub file: Arc<SourceFile>,
    pub line: u32,
    pub column: u32,
}

impl Mark {
    /// Points at `line`:`column` of `file`.
    pub fn new(file: &Arc<SourceFile>, line: u32, column: u32) -> Self {
        Self {
            file: Arc::clone(file),
            line,
            column,
        }
    }

    /// Points at the first character of a text that has no finer position.
    pub fn start_of(file: &Arc<SourceFile>) -> Self {
        Self::new(file, 1, 1)
    }

    /// Returns the line the mark points into, or `None` when it points past the end.
    pub fn line_text(&self) -> Option<&str> {
        self.file.line(self.line)
    }
}

impl fmt::Display for Mark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}", self.file.name, self.line, self.column)
    }
}

impl fmt::Debug for Mark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Mark({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_prints_as_file_line_column_and_knows_its_line() {
        let file = SourceFile::new("site.yml", "- hosts: all\n  tasks: []\n");
        let mark = Mark::new(&file, 2, 3);
        assert_eq!(mark.to_string(), "site.yml:2:3");
        assert_eq!(mark.line_text(), Some("  tasks: []"));
        assert_eq!(Mark::new(&file, 9, 1).line_text(), None);
    }
}
