//! `assemble`: a file holds what the fragments in a directory hold, one after the other.

use std::path::{Path, PathBuf};

use crate::machine::{Algorithm, Content, Follow, Machine, NewFile, Reason};
use crate::pyregex::{Flags, Pattern};
use crate::value::Value;

use super::edit::check_validate;
use super::fragments::Assembly;
use super::path_info::{path_info, without_unborn_owners};
use super::{Failure, ModuleResult, Outcome};

crate::arguments! {
    /// Assemble configuration files from fragments.
    pub(crate) struct AssembleArgs for "assemble" with file_attributes {
        /// The directory of the fragments.
        src: PathBuf { required },
        /// What stands between two fragments.
        delimiter: Option<String> {},
        /// The file to write.
        dest: PathBuf { required },
        /// Keep a copy of the old file beside it.
        backup: bool { default: "false" },
        /// The fragments are on the target.
        remote_src: bool { default: "true" },
        /// Only fragments whose name matches this regular expression.
        regexp: Option<String> {},
        /// Leave out fragments whose name starts with a dot.
        ignore_hidden: bool { default: "false" },
        /// The command that checks the new file, `%s`, before it is used.
        validate: Option<String> {},
        /// Decrypt vaulted fragments.
        decrypt: bool { default: "true" },
    }
}

/// Writes the file where it differs, and applies the file options.
pub(crate) fn run(machine: &mut Machine, args: AssembleArgs) -> ModuleResult {
    let (src, dest) = (machine.expand(&args.src), machine.expand(&args.dest));
    let shown = src.display();
    match machine.metadata(&src)? {
        None => return Err(Failure::new(format!("Source ({shown}) does not exist"))),
        Some(found) if !found.is_dir() => {
            return Err(Failure::new(format!("Source ({shown}) is not a directory")));
        }
        Some(_) => {}
    }
    check_validate(args.validate.as_deref())?;
    let whole = assembled(machine, &src, &assembly(&args)?)?;
    let (attributes, warnings) = without_unborn_owners(machine, &args.file);
    let checksum = Algorithm::Sha1.of(&whole);
    let mut outcome = Outcome::unchanged()
        .with("src", shown.to_string())
        .with("dest", dest.display().to_string())
        .with("checksum", checksum.as_str())
        .with("md5sum", Algorithm::Md5.of(&whole))
        .msg("OK");
    let old = if machine.exists(&dest)? {
        Some(machine.digest(&dest, Algorithm::Sha1)?)
    } else {
        None
    };
    if old.as_ref() != Some(&checksum) {
        if args.backup && old.is_some() {
            let backup = machine.backup(&dest)?;
            outcome = outcome.with("backup_file", backup.display().to_string());
        }
        write(machine, &args, &dest, whole)?;
        if args.validate.is_some() {
            outcome = outcome.with("validation", Value::map([("rc", 0)]));
        }
        outcome.changed = true;
    }
    let change = machine.apply_file_attributes(&dest, &attributes, Follow::No)?;
    outcome.changed |= change.changed;
    outcome.warnings = warnings;
    Ok(outcome.with_all(path_info(machine, &dest)?))
}

fn assembly(args: &AssembleArgs) -> Result<Assembly, Failure> {
    let regexp = args.regexp.as_deref().map(|regexp| {
        Pattern::text(regexp, Flags::default())
            .map_err(|error| Failure::new(format!("Invalid Regexp ({error}) in \"{regexp}\"")))
    });
    Ok(Assembly {
        regexp: regexp.transpose()?,
        ignore_hidden: args.ignore_hidden,
        delimiter: args.delimiter.clone(),
    })
}

fn assembled(
    machine: &mut Machine,
    directory: &Path,
    assembly: &Assembly,
) -> Result<Vec<u8>, Failure> {
    let mut fragments = Vec::new();
    for entry in machine.read_dir(directory)? {
        let path = directory.join(&entry.name);
        let is_file = machine
            .metadata(&path)?
            .is_some_and(|found| found.is_file());
        if is_file && assembly.takes(&entry.name.to_string_lossy()) {
            fragments.push(machine.read(&path)?);
        }
    }
    Ok(assembly.join(&fragments))
}

fn write(
    machine: &mut Machine,
    args: &AssembleArgs,
    dest: &Path,
    whole: Vec<u8>,
) -> Result<(), Failure> {
    let new = NewFile {
        unsafe_writes: args.file.unsafe_writes,
        ..NewFile::default()
    };
    machine
        .write_validated(dest, Content::Bytes(whole), args.validate.as_deref(), &new)
        .map_err(|error| match error.reason {
            Reason::Invalid(output) => Failure::new(format!(
                "failed to validate: rc:{} error:{}",
                output.status,
                output.stderr_text()
            )),
            _ => error.into(),
        })
}

#[cfg(test)]
mod tests {
    use super::super::testing::Target;

    #[test]
    fn fragments_are_joined_in_the_order_of_their_names() {
        let target = Target::new()
            .file("d/20-b", "b\n")
            .file("d/10-a", "a")
            .file("d/.hidden", "h")
            .file("d/sub/c", "c");
        let options =
            r#"{"src": "$ROOT/d", "dest": "$ROOT/f", "delimiter": "--", "ignore_hidden": true}"#;
        let result = target.result("assemble", options);
        assert_eq!(result.get("changed"), Some(&true.into()));
        assert_eq!(target.read("f"), "a\n--\nb\n");
        let again = target.result("assemble", options);
        assert_eq!(again.get("changed"), Some(&false.into()));
    }

    #[test]
    fn what_is_no_directory_or_is_refused_is_named() {
        let target = Target::new().file("f", "").file("d/a", "a");
        for (options, msg) in [
            (r#""src": "$ROOT/no""#, "Source ($ROOT/no) does not exist"),
            (r#""src": "$ROOT/f""#, "Source ($ROOT/f) is not a directory"),
            (
                r#""src": "$ROOT/d", "validate": "false %s""#,
                "failed to validate: rc:1 error:",
            ),
            (
                r#""src": "$ROOT/d", "regexp": "(""#,
                "Invalid Regexp (missing ), unterminated subpattern at position 0) in \\\"(\\\"",
            ),
        ] {
            assert_eq!(
                target.run("assemble", &format!(r#"{{"dest": "$ROOT/x", {options}}}"#)),
                format!(r#"{{"failed":true,"changed":false,"msg":"{msg}"}}"#)
            );
        }
    }
}
