//! `lineinfile`: one line of a text file is there, or is not.

use std::path::PathBuf;

use crate::machine::Machine;
use crate::pyregex::PatternError;

use super::edit::{self, Edit};
use super::lines::{self, Sought, Spot, WantedLine};
use super::{Failure, ModuleResult, Outcome};

crate::arguments! {
    /// Manage lines in text files.
    pub(crate) struct LineinfileArgs for "lineinfile" with file_attributes {
        /// The file to modify.
        path: PathBuf { required, aliases: ["dest", "destfile", "name"] },
        /// Whether the line should be there or not.
        state: String { default: "present", choices: ["absent", "present"] },
        /// The regular expression to look for in every line of the file.
        regexp: Option<String> { aliases: ["regex"] },
        /// The literal text to look for in every line of the file.
        search_string: Option<String> {},
        /// The line to insert or replace.
        line: Option<String> { aliases: ["value"] },
        /// Insert after the last match of this regular expression, or `EOF`.
        insertafter: Option<String> {},
        /// Insert before the last match of this regular expression, or `BOF`.
        insertbefore: Option<String> {},
        /// Expand the groups of `regexp` in `line`.
        backrefs: bool { default: "false" },
        /// Create the file if it does not exist.
        create: bool { default: "false" },
        /// Keep a copy of the old file beside it.
        backup: bool { default: "false" },
        /// Use the first match instead of the last.
        firstmatch: bool { default: "false" },
        /// The command that checks the new file, `%s`, before it is used.
        validate: Option<String> {},
    }
    mutually_exclusive [
        ["insertbefore", "insertafter"],
        ["regexp", "search_string"],
        ["backrefs", "search_string"],
    ]
}

/// Edits the file's lines and applies the file options.
pub(crate) fn run(machine: &mut Machine, args: LineinfileArgs) -> ModuleResult {
    let args = LineinfileArgs {
        path: machine.expand(&args.path),
        ..args
    };
    let before = edit::read(machine, &args.path)?;
    let outcome = if args.state == "present" {
        present(machine, &args, before.as_deref())
    } else {
        absent(machine, &args, before.as_deref())
    }?;
    Ok(warn_of_empty_patterns(outcome, &args))
}

fn present(machine: &mut Machine, args: &LineinfileArgs, before: Option<&[u8]>) -> ModuleResult {
    if args.backrefs && args.regexp.is_none() {
        return Err(Failure::new("regexp is required with backrefs=true"));
    }
    let Some(line) = &args.line else {
        return Err(Failure::new("line is required with state=present"));
    };
    if before.is_none() && !args.create {
        let msg = format!("Destination {} does not exist !", args.path.display());
        return Err(Failure::new(msg).with("rc", 257));
    }
    let wanted = WantedLine {
        line,
        sought: sought(args).map_err(bad_pattern)?,
        spot: spot(args).map_err(bad_pattern)?,
        backrefs: args.backrefs,
        first_match: args.firstmatch,
    };
    let mut lines = lines::split_lines(before.unwrap_or_default());
    let msg = lines::ensure_line(&mut lines, &wanted).map_err(bad_pattern)?;
    if msg.is_empty() && before.is_none() {
        // Nothing to put into a file that is not there: `backrefs` adds no line.
        return Ok(Outcome::unchanged().msg("").with("backup", ""));
    }
    write(machine, args, before, &lines.concat(), msg.to_owned())
}

fn absent(machine: &mut Machine, args: &LineinfileArgs, before: Option<&[u8]>) -> ModuleResult {
    if args.regexp.is_none() && args.search_string.is_none() && args.line.is_none() {
        let msg = "one of line, search_string, or regexp is required with state=absent";
        return Err(Failure::new(msg));
    }
    let Some(before) = before else {
        return Ok(Outcome::unchanged().msg("file not present"));
    };
    let mut lines = lines::split_lines(before);
    let sought = sought(args).map_err(bad_pattern)?;
    let n_removed =
        lines::remove_lines(&mut lines, &sought, args.line.as_deref()).map_err(bad_pattern)?;
    let msg = match n_removed {
        0 => String::new(),
        count => format!("{count} line(s) removed"),
    };
    let outcome = write(machine, args, Some(before), &lines.concat(), msg)?;
    Ok(outcome.with("found", n_removed))
}

fn write(
    machine: &mut Machine,
    args: &LineinfileArgs,
    before: Option<&[u8]>,
    after: &[u8],
    msg: String,
) -> ModuleResult {
    let edited = edit::apply(
        machine,
        Edit {
            path: &args.path,
            before,
            after,
            msg,
            backup: args.backup,
            validate: args.validate.as_deref(),
            file: &args.file,
        },
    )?;
    let backup = edited.backup.unwrap_or_default();
    Ok(edited.outcome.with("backup", backup.display().to_string()))
}

fn sought(args: &LineinfileArgs) -> Result<Sought, PatternError> {
    Ok(match (&args.regexp, &args.search_string) {
        (Some(pattern), _) => Sought::Pattern(Box::new(lines::bytes_pattern(pattern)?)),
        (None, Some(text)) => Sought::Text(text.clone().into_bytes()),
        (None, None) => Sought::Line,
    })
}

fn spot(args: &LineinfileArgs) -> Result<Spot, PatternError> {
    match args.insertafter.as_deref() {
        Some("BOF") => Ok(Spot::Start),
        after => Spot::new(after, args.insertbefore.as_deref()),
    }
}

fn bad_pattern(error: PatternError) -> Failure {
    Failure::new(format!("Invalid regular expression: {error}"))
}

fn warn_of_empty_patterns(outcome: Outcome, args: &LineinfileArgs) -> Outcome {
    let (what, advice) = match (args.regexp.as_deref(), args.search_string.as_deref()) {
        (Some(""), _) => (
            "regular expression",
            " If this is desired, use '^' to match every line in the file and avoid this warning.",
        ),
        (_, Some("")) => ("search string", ""),
        _ => return outcome,
    };
    outcome.warn(format!(
        "The {what} is an empty string, which will match every line in the file. This may have \
         unintended consequences, such as replacing the last line in the file rather than \
         appending.{advice}"
    ))
}

#[cfg(test)]
mod tests {
    use super::super::testing::Target;

    #[test]
    fn a_line_is_added_once_and_the_result_says_so() {
        let target = Target::new().file("hosts", "a\n");
        let result = target.run("lineinfile", r#"{"path": "$ROOT/hosts", "line": "b"}"#);
        assert_eq!(result, r#"{"changed":true,"msg":"line added","backup":""}"#);
        assert_eq!(target.read("hosts"), "a\nb\n");
        let again = target.run("lineinfile", r#"{"path": "$ROOT/hosts", "line": "b"}"#);
        assert_eq!(again, r#"{"changed":false,"msg":"","backup":""}"#);
    }

    #[test]
    fn a_new_file_is_made_on_request_with_its_directory_and_mode() {
        let target = Target::new();
        let missing = target.run("lineinfile", r#"{"path": "$ROOT/d/f", "line": "b"}"#);
        assert_eq!(
            missing,
            r#"{"failed":true,"changed":false,"msg":"Destination $ROOT/d/f does not exist !","rc":257}"#
        );
        let result = target.run(
            "lineinfile",
            r#"{"path": "$ROOT/d/f", "line": "b", "create": true, "mode": "0600"}"#,
        );
        assert_eq!(
            result,
            r#"{"changed":true,"msg":"line added and ownership, perms or SE linux context changed","backup":""}"#
        );
        assert_eq!(target.read("d/f"), "b\n");
    }

    #[test]
    fn a_refused_file_stays_as_it_was() {
        let target = Target::new().file("f", "a\n");
        let result = target.run(
            "lineinfile",
            r#"{"path": "$ROOT/f", "line": "b", "validate": "grep -q c %s"}"#,
        );
        assert_eq!(
            result,
            r#"{"failed":true,"changed":false,"msg":"failed to validate: rc:1 error:"}"#
        );
        assert_eq!(target.read("f"), "a\n");
    }

    #[test]
    fn removed_lines_are_found_and_a_missing_file_is_well() {
        let target = Target::new().file("f", "a1\na2\nb\n");
        let result = target.run(
            "lineinfile",
            r#"{"path": "$ROOT/f", "regexp": "^a", "state": "absent"}"#,
        );
        assert_eq!(
            result,
            r#"{"changed":true,"msg":"2 line(s) removed","backup":"","found":2}"#
        );
        let result = target.run(
            "lineinfile",
            r#"{"path": "$ROOT/no", "line": "b", "state": "absent"}"#,
        );
        assert_eq!(result, r#"{"changed":false,"msg":"file not present"}"#);
    }

    #[test]
    fn the_diff_shows_content_and_attributes() {
        let target = Target::new().file("f", "a\n").diff();
        let result = target.run("lineinfile", r#"{"path": "$ROOT/f", "line": "b"}"#);
        assert_eq!(
            result,
            "{\"changed\":true,\"msg\":\"line added\",\"backup\":\"\",\"diff\":[\
             {\"before\":\"a\\n\",\"after\":\"a\\nb\\n\",\
             \"before_header\":\"$ROOT/f (content)\",\"after_header\":\"$ROOT/f (content)\"},\
             {\"before_header\":\"$ROOT/f (file attributes)\",\
             \"after_header\":\"$ROOT/f (file attributes)\"}]}"
        );
    }
}
