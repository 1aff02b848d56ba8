//! `blockinfile`: a block of text between marker lines is there, or is not.

use std::path::PathBuf;

use crate::machine::Machine;

use super::edit::{self, Edit};
use super::lines::{self, Spot, WantedBlock};
use super::{Failure, ModuleResult, Outcome};

crate::arguments! {
    /// Insert, update and remove a text block surrounded by marker lines.
    pub(crate) struct BlockinfileArgs for "blockinfile" with file_attributes {
        /// The file to modify.
        path: PathBuf { required, aliases: ["dest", "destfile", "name"] },
        /// Whether the block should be there or not.
        state: String { default: "present", choices: ["absent", "present"] },
        /// The marker lines, with `{mark}` for `marker_begin` and `marker_end`.
        marker: String { default: "# {mark} ANSIBLE MANAGED BLOCK" },
        /// The text between the markers; empty means the block should be absent.
        block: String { default: "", aliases: ["content"] },
        /// Insert after the last match of this regular expression, or `EOF`.
        insertafter: Option<String> {},
        /// Insert before the last match of this regular expression, or `BOF`.
        insertbefore: Option<String> {},
        /// Create the file if it does not exist.
        create: bool { default: "false" },
        /// Keep a copy of the old file beside it.
        backup: bool { default: "false" },
        /// The command that checks the new file, `%s`, before it is used.
        validate: Option<String> {},
        /// What stands for `{mark}` in the opening marker.
        marker_begin: String { default: "BEGIN" },
        /// What stands for `{mark}` in the closing marker.
        marker_end: String { default: "END" },
        /// Keep an empty line after the block.
        append_newline: bool { default: "false" },
        /// Keep an empty line before the block.
        prepend_newline: bool { default: "false" },
    }
    mutually_exclusive [["insertbefore", "insertafter"]]
}

/// Puts the block in, replaces it or takes it out, and applies the file options.
pub(crate) fn run(machine: &mut Machine, args: BlockinfileArgs) -> ModuleResult {
    let path = machine.expand(&args.path);
    let before = edit::read(machine, &path)?;
    let is_present = args.state == "present";
    if before.is_none() && !args.create {
        let msg = format!("Path {} does not exist !", path.display());
        return Err(Failure::new(msg).with("rc", 257));
    }
    if before.is_none() && !is_present {
        return Ok(Outcome::unchanged().msg(format!("File {} not present", path.display())));
    }
    let block = if is_present { args.block.as_str() } else { "" };
    let spot = Spot::new(args.insertafter.as_deref(), args.insertbefore.as_deref());
    let wanted = WantedBlock {
        markers: [&args.marker_begin, &args.marker_end]
            .map(|mark| args.marker.replace("{mark}", mark)),
        block,
        spot: spot.map_err(|error| Failure::new(format!("Invalid regular expression: {error}")))?,
        blank_before: args.prepend_newline && is_present,
        blank_after: args.append_newline && is_present,
    };
    let after = lines::ensure_block(before.as_deref().unwrap_or_default(), &wanted)
        .map_err(|error| Failure::new(error.to_string()))?;
    let msg = match &before {
        Some(before) if *before == after => "",
        None => "File created",
        Some(_) if block.is_empty() => "Block removed",
        Some(_) => "Block inserted",
    };
    let edited = edit::apply(
        machine,
        Edit {
            path: &path,
            before: before.as_deref(),
            after: &after,
            msg: msg.to_owned(),
            backup: args.backup,
            validate: args.validate.as_deref(),
            file: &args.file,
        },
    )?;
    Ok(match edited.backup {
        Some(backup) => edited
            .outcome
            .with("backup_file", backup.display().to_string()),
        None => edited.outcome,
    })
}

#[cfg(test)]
mod tests {
    use super::super::testing::Target;

    #[test]
    fn a_block_is_inserted_once_and_removed_again() {
        let target = Target::new().file("f", "a\n");
        let options = r#"{"path": "$ROOT/f", "block": "x\ny", "marker": "// {mark}"}"#;
        assert_eq!(
            target.run("blockinfile", options),
            r#"{"changed":true,"msg":"Block inserted"}"#
        );
        assert_eq!(target.read("f"), "a\n// BEGIN\nx\ny\n// END\n");
        assert_eq!(
            target.run("blockinfile", options),
            r#"{"changed":false,"msg":""}"#
        );
        let options = r#"{"path": "$ROOT/f", "state": "absent", "marker": "// {mark}"}"#;
        assert_eq!(
            target.run("blockinfile", options),
            r#"{"changed":true,"msg":"Block removed"}"#
        );
        assert_eq!(target.read("f"), "a\n");
    }

    #[test]
    fn a_missing_file_is_made_only_on_request() {
        let target = Target::new();
        assert_eq!(
            target.run("blockinfile", r#"{"path": "$ROOT/f", "block": "x"}"#),
            r#"{"failed":true,"changed":false,"msg":"Path $ROOT/f does not exist !","rc":257}"#
        );
        let options = r#"{"path": "$ROOT/f", "block": "x", "create": true, "mode": "0644"}"#;
        assert_eq!(
            target.run("blockinfile", options),
            r#"{"changed":true,"msg":"File created"}"#
        );
    }

    #[test]
    fn the_backup_holds_the_old_content() {
        let target = Target::new().file("f", "a\n");
        let options = r#"{"path": "$ROOT/f", "block": "x", "backup": true}"#;
        let result = target.result("blockinfile", options);
        let backup = result.get("backup_file").unwrap().to_string();
        assert_eq!(std::fs::read_to_string(backup).unwrap(), "a\n");
    }
}
