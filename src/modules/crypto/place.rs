//! The file that a module of this family makes: read, written with its attributes, removed.

use std::path::{Path, PathBuf};

use crate::arguments::FileAttributes;
use crate::machine::{Content, Follow, Machine, NewFile};
use crate::modules::{Failure, Outcome};
use crate::value::Value;

/// The file.
pub(super) struct Place {
    pub(super) path: PathBuf,
    /// What is there now.
    pub(super) bytes: Option<Vec<u8>>,
    backs_up: bool,
    backup: Option<PathBuf>,
}

impl Place {
    /// Looks at the file; its directory must be there.
    pub(super) fn of(machine: &mut Machine, path: &Path, backs_up: bool) -> Result<Self, Failure> {
        let path = machine.expand(path);
        let base = match path.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent.to_owned(),
            _ => PathBuf::from("."),
        };
        if !machine.is_dir(&base)? {
            let base = base.display();
            return Err(Failure::new(format!(
                "The directory {base} does not exist or the file is not a directory"
            ))
            .with("name", base.to_string()));
        }
        let bytes = if machine.exists(&path)? {
            Some(machine.read(&path)?)
        } else {
            None
        };
        Ok(Self {
            path,
            bytes,
            backs_up,
            backup: None,
        })
    }

    pub(super) fn shown(&self) -> String {
        self.path.display().to_string()
    }

    /// Writes the file; one that is new gets the mode.
    pub(super) fn write(
        &mut self,
        machine: &mut Machine,
        bytes: Vec<u8>,
        mode: u32,
    ) -> Result<(), Failure> {
        self.back_up(machine)?;
        let new = NewFile {
            mode: self.bytes.is_none().then_some(mode),
            ..NewFile::default()
        };
        machine.write(&self.path, Content::Bytes(bytes), &new)?;
        Ok(())
    }

    /// Removes the file; tells whether it was there.
    pub(super) fn remove(&mut self, machine: &mut Machine) -> Result<bool, Failure> {
        self.back_up(machine)?;
        Ok(machine.remove(&self.path)?)
    }

    fn back_up(&mut self, machine: &mut Machine) -> Result<(), Failure> {
        if self.backs_up && self.bytes.is_some() && !machine.is_check() {
            self.backup = Some(machine.backup(&self.path)?);
        }
        Ok(())
    }

    /// Sets owner, mode and the like; tells whether that changes anything.
    pub(super) fn dress(
        &self,
        machine: &mut Machine,
        wanted: &FileAttributes,
    ) -> Result<bool, Failure> {
        if !machine.exists(&self.path)? {
            return Ok(machine.is_check());
        }
        let change = machine.apply_file_attributes(&self.path, wanted, Follow::Yes)?;
        Ok(change.changed)
    }

    /// Adds what every result of these modules has.
    pub(super) fn told(&self, outcome: Outcome) -> Outcome {
        let outcome = outcome.with("filename", self.shown());
        match &self.backup {
            Some(backup) => outcome.with("backup_file", backup.display().to_string()),
            None => outcome,
        }
    }
}

/// Writes a path for a result, or null.
pub(super) fn path_or_null(path: Option<&PathBuf>) -> Value {
    path.map_or(Value::Null, |path| path.display().to_string().into())
}
