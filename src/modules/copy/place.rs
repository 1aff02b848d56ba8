//! One file put in its place: compared by digest, diffed, validated, written, and its attributes
//! applied.

use std::path::{Path, PathBuf};

use rustix::fs::Access;

use crate::arguments::{FileAttributes, Mode};
use crate::machine::{
    Algorithm, Content, FileKind, Follow, Machine, MachineError, Metadata, NewFile, Reason,
    symbolic_mode,
};
use crate::value::{Map, Value};

use super::super::edit::check_validate;
use super::super::path_info::path_info;
use super::super::{Diff, Failure, ModuleResult, Outcome};
use super::{CopyArgs, difference};

/// What a file should hold.
pub(super) struct Source {
    pub(super) content: Content,
    pub(super) size: u64,
    pub(super) sha1: Option<String>,
    pub(super) md5: Option<String>,
    /// What a new file takes over from the source.
    pub(super) new: NewFile,
}

/// How files are put in place.
pub(super) struct Placing<'a> {
    pub(super) args: &'a CopyArgs,
    pub(super) attributes: &'a FileAttributes,
    pub(super) follow: bool,
}

impl Placing<'_> {
    /// Makes `dest` hold the source.
    pub(super) fn run(&self, machine: &mut Machine, source: &Source, dest: &Path) -> ModuleResult {
        let dest = self.through_link(machine, dest)?;
        let found = machine.symlink_metadata(&dest)?;
        match self.settle(machine, source, &dest, found.as_ref()) {
            Err(failure) if !self.args.remote_src => {
                Err(self.with_intent(machine, source, &dest, found.as_ref(), failure))
            }
            settled => settled,
        }
    }

    fn settle(
        &self,
        machine: &mut Machine,
        source: &Source,
        dest: &Path,
        found: Option<&Metadata>,
    ) -> ModuleResult {
        if !self.args.force && found.is_some() {
            return self.left_alone(machine, dest);
        }
        if found.is_none() && !has_parent(machine, dest)? {
            // An earlier task may have been going to make it.
            return self.changed(machine, source, dest, None);
        }
        if holds_already(machine, source, dest, found)? {
            return self.unchanged(machine, source, dest);
        }
        self.replace(machine, source, dest, found)
    }

    /// Adds what would have been written to the reason why it was not.
    fn with_intent(
        &self,
        machine: &mut Machine,
        source: &Source,
        dest: &Path,
        found: Option<&Metadata>,
        failure: Failure,
    ) -> Failure {
        if failure.data.contains_key("checksum") {
            return failure;
        }
        let sum = match &source.sha1 {
            Some(sum) => Ok(sum.clone()),
            None => machine.content_digest(&source.content, Algorithm::Sha1),
        };
        // Where even that cannot be told, the failure says why.
        let Ok(sum) = sum else { return failure };
        let failure = failure.with("checksum", sum);
        match self.changed(machine, source, dest, found) {
            Ok(intent) if !intent.diff.is_empty() => failure.with("diff", Value::list(intent.diff)),
            _ => failure,
        }
    }

    fn through_link(&self, machine: &mut Machine, dest: &Path) -> Result<PathBuf, Failure> {
        let found = machine.symlink_metadata(dest)?;
        match found {
            Some(found) if found.is_link() && self.follow => Ok(machine.real_path(dest)?),
            _ => Ok(dest.to_owned()),
        }
    }

    fn left_alone(&self, machine: &mut Machine, dest: &Path) -> ModuleResult {
        let outcome = Outcome::unchanged().with("dest", dest.display().to_string());
        if !self.args.remote_src {
            return Ok(outcome);
        }
        Ok(outcome
            .msg("file already exists")
            .with_all(self.shown_src())
            .with_all(path_info(machine, dest)?))
    }

    fn unchanged(&self, machine: &mut Machine, source: &Source, dest: &Path) -> ModuleResult {
        let change = machine.apply_file_attributes(dest, self.attributes, Follow::No)?;
        let text = dest.display().to_string();
        let mut outcome = Outcome::unchanged()
            .with_changed(change.changed)
            .with("dest", text.clone())
            .with("checksum", sha1(machine, source, dest)?);
        outcome = if self.args.remote_src {
            let md5 = md5(machine, source, dest)?;
            outcome.with_all(self.shown_src()).with("md5sum", md5)
        } else {
            outcome.with("path", text.clone())
        };
        // A file of the controller is looked at as `file` does it.
        if machine.wants_diff() && (change.changed || !self.args.remote_src) {
            let half = |values: Map| {
                let mut half = Map::new();
                half.insert("path".into(), text.clone().into());
                half.extend(values);
                half
            };
            outcome = outcome.only_diff(Diff::new(half(change.before), half(change.after)));
        }
        Ok(outcome.with_all(path_info(machine, dest)?))
    }

    fn replace(
        &self,
        machine: &mut Machine,
        source: &Source,
        dest: &Path,
        found: Option<&Metadata>,
    ) -> ModuleResult {
        self.check_checksum(machine, source)?;
        let mut outcome = self.changed(machine, source, dest, found)?;
        if let Some(found) = found
            && self.args.backup
            && !(found.is_link() && machine.metadata(dest)?.is_none())
        {
            let backup = machine.backup(dest)?;
            outcome = outcome.with("backup_file", backup.display().to_string());
        }
        self.write(machine, source, dest, found)?;
        machine.apply_file_attributes(dest, self.attributes, Follow::No)?;
        if !machine.is_check() || self.args.remote_src {
            outcome = outcome
                .with_all(self.shown_src())
                .with("md5sum", md5(machine, source, dest)?)
                .with("checksum", sha1(machine, source, dest)?);
        }
        Ok(outcome.with_all(path_info(machine, dest)?))
    }

    /// Says what would change, with the difference where one is asked for.
    fn changed(
        &self,
        machine: &mut Machine,
        source: &Source,
        dest: &Path,
        found: Option<&Metadata>,
    ) -> ModuleResult {
        let outcome = Outcome::changed().with("dest", dest.display().to_string());
        if !machine.wants_diff() {
            return Ok(outcome);
        }
        // A text has no name of its own: the differences are under the destination's.
        let has_name = self.args._original_basename.is_some();
        let header = self.args._source.as_deref().filter(|_| has_name);
        Ok(outcome.diff(difference::of(machine, source, dest, found, header)?))
    }

    /// Writes the new file, which has its owner and mode before anybody can open it.
    fn write(
        &self,
        machine: &mut Machine,
        source: &Source,
        dest: &Path,
        found: Option<&Metadata>,
    ) -> Result<(), Failure> {
        check_validate(self.args.validate.as_deref())?;
        let file = self.attributes;
        let id = |name: &Option<String>, id: Option<u32>| match (name, id) {
            (Some(_), Some(id)) => Some(id),
            _ => None,
        };
        let uid = file.owner.as_ref().and_then(|owner| machine.user_id(owner));
        let gid = file
            .group
            .as_ref()
            .and_then(|group| machine.group_id(group));
        // A link hands on the attributes of what it pointed to.
        let old = if found.is_some() {
            machine.metadata(dest)?
        } else {
            None
        };
        let base = source
            .new
            .mode
            .or(old.map(|old| old.mode))
            .unwrap_or(0o666 & !machine.umask());
        let new = NewFile {
            mode: match &file.mode {
                Some(Mode::Octal(mode)) => Some(*mode),
                Some(Mode::Symbolic(text)) => Some(
                    symbolic_mode(text, base, FileKind::File, machine.umask()).map_err(|why| {
                        Failure::new(format!("mode must be in octal or symbolic form: {why}"))
                    })?,
                ),
                Some(Mode::Preserve) | None => source.new.mode,
            },
            uid: id(&file.owner, uid).or(source.new.uid),
            gid: id(&file.group, gid).or(source.new.gid),
            unsafe_writes: file.unsafe_writes,
            ..source.new.clone()
        };
        machine
            .write_validated(
                dest,
                source.content.clone(),
                self.args.validate.as_deref(),
                &new,
            )
            .map_err(refused)
    }

    fn check_checksum(&self, machine: &mut Machine, source: &Source) -> Result<(), Failure> {
        let Some(expected) = &self.args.checksum else {
            return Ok(());
        };
        let actual = match &source.sha1 {
            Some(sha1) => sha1.clone(),
            None => machine.content_digest(&source.content, Algorithm::Sha1)?,
        };
        if actual == *expected {
            return Ok(());
        }
        let msg = "Copied file does not match the expected checksum. Transfer failed.";
        Err(Failure::new(msg)
            .with("checksum", actual)
            .with("expected_checksum", expected.as_str()))
    }

    /// Returns `src`, where the source has a path.
    fn shown_src(&self) -> Map {
        let src = self.args.src.as_ref().map(|src| src.display().to_string());
        let src = src.or_else(|| self.args._source.clone());
        src.map(|src| ("src".into(), src.into()))
            .into_iter()
            .collect()
    }
}

/// Tells whether there is a directory for the file; without check mode there must be one.
fn has_parent(machine: &mut Machine, dest: &Path) -> Result<bool, Failure> {
    let parent = dest.parent().unwrap_or(Path::new("/"));
    let found = machine.is_dir(parent)?;
    if found || machine.is_check() {
        return Ok(found);
    }
    let msg = format!("Destination directory {} does not exist", parent.display());
    Err(Failure::new(msg))
}

/// Tells whether `dest` is a file with the source's bytes.
fn holds_already(
    machine: &mut Machine,
    source: &Source,
    dest: &Path,
    found: Option<&Metadata>,
) -> Result<bool, Failure> {
    match found {
        Some(found) if found.is_file() && found.size == source.size => {
            if !machine.may(dest, Access::READ_OK) {
                return Ok(false);
            }
            let wanted = machine.content_digest(&source.content, Algorithm::Sha256)?;
            Ok(machine.digest(dest, Algorithm::Sha256)? == wanted)
        }
        _ => Ok(false),
    }
}

fn sha1(machine: &mut Machine, source: &Source, dest: &Path) -> Result<String, MachineError> {
    match &source.sha1 {
        Some(known) => Ok(known.clone()),
        None => machine.digest(dest, Algorithm::Sha1),
    }
}

fn md5(machine: &mut Machine, source: &Source, dest: &Path) -> Result<String, MachineError> {
    match &source.md5 {
        Some(known) => Ok(known.clone()),
        None => machine.digest(dest, Algorithm::Md5),
    }
}

fn refused(error: MachineError) -> Failure {
    match error.reason {
        Reason::Invalid(output) => Failure::new("failed to validate")
            .with("exit_status", output.status)
            .with("stdout", output.stdout_text())
            .with("stderr", output.stderr_text()),
        _ => error.into(),
    }
}
