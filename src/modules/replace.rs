//! `replace`: every match of a regular expression in a text file gets another text.

use std::path::PathBuf;

use crate::machine::Machine;
use crate::pyregex::{Flags, Haystack, Pattern, PatternError, Replacement};

use super::edit::{self, Edit};
use super::encoding::{self, Decoded};
use super::{Diff, Failure, ModuleResult, Outcome};

crate::arguments! {
    /// Replace all instances of a particular string in a file.
    pub(crate) struct ReplaceArgs for "replace" with file_attributes {
        /// The file to modify.
        path: PathBuf { required, aliases: ["dest", "destfile", "name"] },
        /// The regular expression to look for, with `^` and `$` at every line.
        regexp: String { required },
        /// What matches are replaced with; may refer to groups.
        replace: String { default: "" },
        /// Change only what comes after a match of this regular expression.
        after: Option<String> {},
        /// Change only what comes before a match of this regular expression.
        before: Option<String> {},
        /// Keep a copy of the old file beside it.
        backup: bool { default: "false" },
        /// The command that checks the new file, `%s`, before it is used.
        validate: Option<String> {},
        /// The file's character encoding.
        encoding: String { default: "utf-8" },
    }
}

/// Replaces the matches and applies the file options.
pub(crate) fn run(machine: &mut Machine, args: ReplaceArgs) -> ModuleResult {
    let path = machine.expand(&args.path);
    let Some(before) = edit::read(machine, &path)? else {
        let msg = format!("Path {} does not exist !", path.display());
        return Err(Failure::new(msg).with("rc", 257));
    };
    let text = encoding::decode(&before, &args.encoding)?;
    let replaced = match &text {
        Decoded::Text(text) => replaced(text.as_str(), &Patterns::new(&args, Pattern::text)?),
        Decoded::Bytes(bytes) => replaced(bytes.as_slice(), &Patterns::new(&args, Pattern::bytes)?),
    };
    let Some((after, count)) = replaced.map_err(bad_pattern)? else {
        return Ok(no_section(&args));
    };
    let after = encoding::encode(after, &args.encoding)?;
    let is_changed = after != before;
    let edited = edit::apply(
        machine,
        Edit {
            path: &path,
            before: Some(&before),
            after: &after,
            msg: if is_changed {
                format!("{count} replacements made")
            } else {
                String::new()
            },
            backup: args.backup,
            validate: args.validate.as_deref(),
            file: &args.file,
        },
    )?;
    let mut outcome = edited.outcome.with("rc", 0);
    outcome.diff.clear();
    if is_changed && machine.wants_diff() {
        let header = path.display().to_string();
        let diff = Diff::new(edit::text(&before), edit::text(&after));
        outcome = outcome.only_diff(diff.headers(header.clone(), header));
    }
    Ok(match edited.backup {
        Some(backup) => outcome.with("backup_file", backup.display().to_string()),
        None => outcome,
    })
}

struct Patterns {
    /// Finds the part to change as its last group, where not the whole file is meant.
    section: Option<Pattern>,
    pattern: Pattern,
    replacement: Replacement,
}

impl Patterns {
    fn new(
        args: &ReplaceArgs,
        compile: impl Fn(&str, Flags) -> Result<Pattern, PatternError>,
    ) -> Result<Self, Failure> {
        let dot_all = Flags {
            dot_all: true,
            ..Flags::default()
        };
        let multi_line = Flags {
            multi_line: true,
            ..Flags::default()
        };
        let section = section_pattern(args).map(|pattern| compile(&pattern, dot_all));
        let pattern = compile(&args.regexp, multi_line).map_err(bad_pattern)?;
        Ok(Self {
            section: section.transpose().map_err(bad_pattern)?,
            replacement: Replacement::new(&args.replace, &pattern).map_err(bad_pattern)?,
            pattern,
        })
    }
}

fn section_pattern(args: &ReplaceArgs) -> Option<String> {
    match (args.after.as_deref(), args.before.as_deref()) {
        (Some(after), Some(before)) => Some(format!("{after}(?P<subsection>.*?){before}")),
        (Some(after), None) => Some(format!("{after}(?P<subsection>.*)")),
        (None, Some(before)) => Some(format!("(?P<subsection>.*){before}")),
        (None, None) => None,
    }
}

/// Returns the new content and how many matches were replaced; `None` when `before` and `after`
/// match nothing.
fn replaced<H>(text: &H, patterns: &Patterns) -> Result<Option<(Vec<u8>, usize)>, PatternError>
where
    H: Haystack + ?Sized,
    H::Owned: Into<Vec<u8>>,
{
    let section = match &patterns.section {
        None => 0..text.len(),
        Some(pattern) => {
            let found = pattern.search(text)?;
            let group = pattern.group_number("subsection").unwrap_or(0);
            match found.and_then(|found| found.span(group)) {
                Some(section) => section,
                None => return Ok(None),
            }
        }
    };
    let part = text.part(section.clone());
    let (new, count) = patterns.pattern.replace(part, &patterns.replacement, 0)?;
    let (old, new) = (text.as_bytes(), new.into());
    let after = [&old[..section.start], &new, &old[section.end..]].concat();
    Ok(Some((after, count)))
}

fn no_section(args: &ReplaceArgs) -> Outcome {
    Outcome::unchanged().with("rc", 0).msg(format!(
        "Pattern for before/after params did not match the given file: {}",
        section_pattern(args).unwrap_or_default()
    ))
}

fn bad_pattern(error: PatternError) -> Failure {
    Failure::new(format!("Unable to process replace due to error: {error}"))
}

#[cfg(test)]
mod tests {
    use super::super::testing::Target;

    #[test]
    fn matches_are_replaced_line_by_line_and_counted() {
        let target = Target::new().file("f", "a=1\nb=2\na=3\n").diff();
        let options = r#"{"path": "$ROOT/f", "regexp": "^a=(\\d)$", "replace": "A\\1"}"#;
        assert_eq!(
            target.run("replace", options),
            r#"{"changed":true,"msg":"2 replacements made","rc":0,"diff":{"before":"a=1\nb=2\na=3\n","after":"A1\nb=2\nA3\n","before_header":"$ROOT/f","after_header":"$ROOT/f"}}"#
        );
        assert_eq!(
            target.run("replace", options),
            r#"{"changed":false,"msg":"","rc":0}"#
        );
    }

    #[test]
    fn only_the_part_between_after_and_before_changes() {
        let target = Target::new().file("f", "x\n<\nx\n>\nx\n");
        let options =
            r#"{"path": "$ROOT/f", "regexp": "x", "replace": "y", "after": "<", "before": ">"}"#;
        assert_eq!(
            target.run("replace", options),
            r#"{"changed":true,"msg":"1 replacements made","rc":0}"#
        );
        assert_eq!(target.read("f"), "x\n<\ny\n>\nx\n");
        let options = r#"{"path": "$ROOT/f", "regexp": "x", "after": "none"}"#;
        assert_eq!(
            target.run("replace", options),
            r#"{"changed":false,"rc":0,"msg":"Pattern for before/after params did not match the given file: none(?P<subsection>.*)"}"#
        );
    }

    #[test]
    fn a_file_of_another_encoding_keeps_it() {
        let target = Target::new().file("f", b"\xe9 a\n");
        let options =
            r#"{"path": "$ROOT/f", "regexp": "é", "replace": "è", "encoding": "latin-1"}"#;
        target.result("replace", options);
        assert_eq!(std::fs::read(target.path("f")).unwrap(), b"\xe8 a\n");
    }

    #[test]
    fn a_wrong_reference_is_named() {
        let target = Target::new().file("f", "a\n");
        assert_eq!(
            target.run(
                "replace",
                r#"{"path": "$ROOT/f", "regexp": "a", "replace": "\\2"}"#
            ),
            r#"{"failed":true,"changed":false,"msg":"Unable to process replace due to error: invalid group reference 2 at position 1"}"#
        );
    }
}
