//! What every module that rewrites a text file does around its edit: backup, validation,
//! attributes, message and diff.

use std::path::{Path, PathBuf};

use crate::arguments::FileAttributes;
use crate::machine::{Content, Follow, Machine, MachineError, NewFile, Reason};
use crate::value::Value;

use super::{Diff, Failure, Outcome};

/// A text file's new content, and how it is put in place.
#[derive(Debug)]
pub(super) struct Edit<'a> {
    pub(super) path: &'a Path,
    /// The old content; `None` when there is no file yet.
    pub(super) before: Option<&'a [u8]>,
    pub(super) after: &'a [u8],
    /// What to say about the edit; attribute changes are added to it.
    pub(super) msg: String,
    pub(super) backup: bool,
    pub(super) validate: Option<&'a str>,
    pub(super) file: &'a FileAttributes,
}

/// What came of an edit: `msg`, the diffs of content and attributes, and the backup if one was
/// made.
#[derive(Debug)]
pub(super) struct Edited {
    pub(super) outcome: Outcome,
    pub(super) backup: Option<PathBuf>,
}

/// Reads the file to edit; `None` when it does not exist, an error in Ansible's words when it is a
/// directory.
pub(super) fn read(machine: &mut Machine, path: &Path) -> Result<Option<Vec<u8>>, Failure> {
    match machine.metadata(path)? {
        None => Ok(None),
        Some(found) if found.is_dir() => {
            let msg = format!("Path {} is a directory !", path.display());
            Err(Failure::new(msg).with("rc", 256))
        }
        Some(_) => Ok(Some(machine.read(path)?)),
    }
}

/// Writes the new content where it differs, through links, and applies the file options.
pub(super) fn apply(machine: &mut Machine, edit: Edit<'_>) -> Result<Edited, Failure> {
    let mut changed = edit.before != Some(edit.after);
    let mut backup = None;
    if changed {
        if edit.backup && edit.before.is_some() {
            backup = Some(machine.backup(edit.path)?);
        }
        write(machine, &edit)?;
    }
    let attributes = machine.apply_file_attributes(edit.path, edit.file, Follow::No)?;
    let mut msg = edit.msg;
    if attributes.changed {
        if changed {
            msg.push_str(" and ");
        }
        msg.push_str("ownership, perms or SE linux context changed");
        changed = true;
    }
    let mut outcome = Outcome::unchanged().with_changed(changed).msg(msg);
    if machine.wants_diff() {
        let path = edit.path.display();
        let content = Diff::new(text(edit.before.unwrap_or_default()), text(edit.after))
            .headers(format!("{path} (content)"), format!("{path} (content)"));
        let headers = format!("{path} (file attributes)");
        let mut attributes_diff = Diff::default().headers(headers.clone(), headers);
        if attributes.changed {
            attributes_diff = attributes_diff
                .with("before", attributes.before)
                .with("after", attributes.after);
        }
        outcome = outcome.diff(content).diff(attributes_diff);
    }
    Ok(Edited { outcome, backup })
}

fn write(machine: &mut Machine, edit: &Edit<'_>) -> Result<(), Failure> {
    if let Some(directory) = edit.path.parent()
        && edit.before.is_none()
    {
        machine.create_dir_all(directory, 0o777)?;
    }
    let path = machine.real_path(edit.path)?;
    let new = NewFile {
        unsafe_writes: edit.file.unsafe_writes,
        ..NewFile::default()
    };
    let content = Content::Bytes(edit.after.to_vec());
    check_validate(edit.validate)?;
    machine
        .write_validated(&path, content, edit.validate, &new)
        .map_err(refused)
}

/// Checks that `validate` names the file to check.
pub(super) fn check_validate(validate: Option<&str>) -> Result<(), Failure> {
    match validate {
        Some(validate) if !validate.contains("%s") => Err(Failure::new(format!(
            "validate must contain %s: {validate}"
        ))),
        _ => Ok(()),
    }
}

fn refused(error: MachineError) -> Failure {
    match error.reason {
        Reason::Invalid(output) => Failure::new(format!(
            "failed to validate: rc:{} error:{}",
            output.status,
            output.stderr_text()
        )),
        _ => error.into(),
    }
}

/// Returns bytes as a value; foreign bytes become U+FFFD.
pub(super) fn text(bytes: &[u8]) -> Value {
    Value::from(&*String::from_utf8_lossy(bytes))
}
