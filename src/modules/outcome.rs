//! What a module reports: what happened, or why it could not.

use crate::arguments::Problem;
use crate::machine::{MachineError, Reason};
use crate::value::{Map, Value};

/// What every module returns.
pub type ModuleResult = Result<Outcome, Failure>;

/// What happened.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Outcome {
    pub changed: bool,
    /// The module did not apply; the result says `skipped`.
    pub skipped: bool,
    /// The module's own return values.
    pub data: Map,
    /// One before-and-after, or several.
    pub diff: Vec<Diff>,
    /// The result shows its only diff as a dictionary instead of a list of one.
    pub bare_diff: bool,
    pub warnings: Vec<String>,
    pub deprecations: Vec<String>,
}

impl Outcome {
    /// Says that nothing changed.
    pub fn unchanged() -> Self {
        Self::default()
    }

    /// Says that something changed.
    pub fn changed() -> Self {
        Self::default().with_changed(true)
    }

    #[must_use]
    pub fn with_changed(mut self, changed: bool) -> Self {
        self.changed = changed;
        self
    }

    #[must_use]
    pub fn skipped(mut self) -> Self {
        self.skipped = true;
        self
    }

    /// Adds a return value.
    #[must_use]
    pub fn with(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.data.insert(name.into(), value.into());
        self
    }

    /// Adds many return values.
    #[must_use]
    pub fn with_all(mut self, values: Map) -> Self {
        self.data.extend(values);
        self
    }

    /// Adds the return value `msg`.
    #[must_use]
    pub fn msg(self, text: impl Into<String>) -> Self {
        self.with("msg", text.into())
    }

    /// Adds a diff; the result has a list of them.
    #[must_use]
    pub fn diff(mut self, diff: Diff) -> Self {
        self.diff.push(diff);
        self
    }

    /// Sets the only diff; the result has it as a dictionary.
    #[must_use]
    pub fn only_diff(mut self, diff: Diff) -> Self {
        self.diff = vec![diff];
        self.bare_diff = true;
        self
    }

    #[must_use]
    pub fn warn(mut self, text: impl Into<String>) -> Self {
        self.warnings.push(text.into());
        self
    }

    #[must_use]
    pub fn deprecate(mut self, text: impl Into<String>) -> Self {
        self.deprecations.push(text.into());
        self
    }

    /// Returns the result as Ansible registers it, without what the caller adds (`invocation`).
    pub fn into_result(self) -> Map {
        let mut result = Map::new();
        result.insert("changed".into(), self.changed.into());
        result.extend(self.data);
        insert_lines(&mut result);
        if self.skipped {
            result.insert("skipped".into(), true.into());
        }
        insert_diff(&mut result, self.diff, self.bare_diff);
        insert_texts(&mut result, "warnings", self.warnings);
        insert_texts(&mut result, "deprecations", self.deprecations);
        result
    }
}

/// Why a module could not do what was asked.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Failure {
    pub msg: String,
    /// Further return values (`rc`, `stderr` …).
    pub data: Map,
    pub warnings: Vec<String>,
}

impl Failure {
    pub fn new(msg: impl Into<String>) -> Self {
        Self {
            msg: msg.into(),
            ..Self::default()
        }
    }

    /// Adds a return value.
    #[must_use]
    pub fn with(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.data.insert(name.into(), value.into());
        self
    }

    /// Adds many return values.
    #[must_use]
    pub fn with_all(mut self, values: Map) -> Self {
        self.data.extend(values);
        self
    }

    /// Says that something changed before the failure.
    #[must_use]
    pub fn with_changed(self, changed: bool) -> Self {
        self.with("changed", changed)
    }

    #[must_use]
    pub fn warn(mut self, text: impl Into<String>) -> Self {
        self.warnings.push(text.into());
        self
    }

    /// Returns the result as Ansible registers it, without what the caller adds (`invocation`).
    pub fn into_result(self) -> Map {
        let mut result = Map::new();
        result.insert("failed".into(), true.into());
        result.insert("changed".into(), false.into());
        result.insert("msg".into(), self.msg.into());
        result.extend(self.data);
        insert_lines(&mut result);
        insert_texts(&mut result, "warnings", self.warnings);
        result
    }
}

impl From<Problem> for Failure {
    fn from(problem: Problem) -> Self {
        Self::new(problem.message)
    }
}

impl From<MachineError> for Failure {
    /// Says the whole story in `msg`, the help in parentheses at its end.
    fn from(error: MachineError) -> Self {
        let msg = match &error.help {
            Some(help) => format!("{error} ({help})"),
            None => error.to_string(),
        };
        let failure = Self::new(msg);
        match error.reason {
            Reason::Invalid(output) => failure
                .with("exit_status", output.status)
                .with("stdout", output.stdout_text())
                .with("stderr", output.stderr_text()),
            _ => failure,
        }
    }
}

/// One before-and-after.
///
/// Texts, or dictionaries of attributes, with what a reporter prints above them.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Diff(Map);

impl Diff {
    /// Makes a diff of two states.
    pub fn new(before: impl Into<Value>, after: impl Into<Value>) -> Self {
        Self::default().with("before", before).with("after", after)
    }

    /// Sets what is printed above the two states.
    #[must_use]
    pub fn headers(self, before: impl Into<Value>, after: impl Into<Value>) -> Self {
        self.with("before_header", before)
            .with("after_header", after)
    }

    /// Adds another key of Ansible's diffs (`prepared`, `src_binary`, `dst_larger` …).
    #[must_use]
    pub fn with(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.0.insert(name.into(), value.into());
        self
    }
}

impl From<Diff> for Value {
    fn from(diff: Diff) -> Self {
        diff.0.into()
    }
}

fn insert_diff(result: &mut Map, mut diffs: Vec<Diff>, bare: bool) {
    if bare && let Some(diff) = diffs.pop() {
        result.insert("diff".into(), diff.into());
    } else if !diffs.is_empty() {
        result.insert("diff".into(), Value::list(diffs));
    }
}

/// Adds the lines of what a program printed.
fn insert_lines(result: &mut Map) {
    for (text, lines) in [("stdout", "stdout_lines"), ("stderr", "stderr_lines")] {
        if let Some(text) = result.get(text).and_then(Value::as_str)
            && !result.contains_key(lines)
        {
            let split = Value::list(split_lines(text));
            result.insert(lines.into(), split);
        }
    }
}

/// Splits as Python's `str.splitlines` does.
fn split_lines(text: &str) -> Vec<&str> {
    let is_end = |letter| {
        matches!(
            letter,
            '\n' | '\r' | '\u{b}' | '\u{c}' | '\u{1c}'
                ..='\u{1e}' | '\u{85}' | '\u{2028}' | '\u{2029}'
        )
    };
    let mut lines = Vec::new();
    let mut rest = text;
    while !rest.is_empty() {
        let end = rest.find(is_end).unwrap_or(rest.len());
        lines.push(&rest[..end]);
        let after = &rest[end..];
        rest = match after.strip_prefix("\r\n") {
            Some(after) => after,
            None => after
                .get(after.chars().next().map_or(0, char::len_utf8)..)
                .unwrap_or(""),
        };
    }
    lines
}

fn insert_texts(result: &mut Map, name: &str, texts: Vec<String>) {
    if !texts.is_empty() {
        result.insert(name.into(), Value::list(texts));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn json(result: Map) -> String {
        serde_json::to_string(&Value::from(result)).unwrap()
    }

    #[test]
    fn what_a_program_printed_is_there_in_lines_too() {
        let result = Outcome::unchanged()
            .with("stdout", "a\r\nb\n\nc")
            .into_result();
        assert_eq!(
            json(result),
            r#"{"changed":false,"stdout":"a\r\nb\n\nc","stdout_lines":["a","b","","c"]}"#
        );
        assert_eq!(split_lines("a\u{2028}"), ["a"]);
        assert_eq!(split_lines("\n"), [""]);
    }

    #[test]
    fn a_result_has_only_what_there_is_to_say() {
        assert_eq!(
            json(Outcome::unchanged().into_result()),
            r#"{"changed":false}"#
        );
        let outcome = Outcome::changed()
            .with("dest", "/x")
            .only_diff(Diff::new("a", "b"))
            .warn("careful");
        assert_eq!(
            json(outcome.into_result()),
            r#"{"changed":true,"dest":"/x","diff":{"before":"a","after":"b"},"warnings":["careful"]}"#
        );
        assert_eq!(
            json(Failure::new("no").with("rc", 1).into_result()),
            r#"{"failed":true,"changed":false,"msg":"no","rc":1}"#
        );
    }
}
