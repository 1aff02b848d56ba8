//! Private scratch files of one task; gone when the task is over.
//!
//! They are no change to the target: not recorded, and made in check mode too.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};

use super::place::Place;
use super::{Machine, MachineError, Result};

/// A private directory (mode 0700) that is removed when this is dropped.
#[derive(Debug)]
pub struct TemporaryDir(PathBuf);

impl TemporaryDir {
    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for TemporaryDir {
    fn drop(&mut self) {
        // Nobody is left to be told; the session's own directory goes later in any case.
        Place::of(&self.0).and_then(|place| place.remove()).ok();
    }
}

/// A private file (mode 0600) that is removed when this is dropped.
#[derive(Debug)]
pub struct TemporaryFile {
    path: PathBuf,
    file: File,
}

impl TemporaryFile {
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Returns the open file, for writing.
    pub fn file(&mut self) -> &mut File {
        &mut self.file
    }
}

impl Drop for TemporaryFile {
    fn drop(&mut self) {
        Place::of(&self.path).and_then(|place| place.remove()).ok();
    }
}

/// A private program (mode 0700) in a directory of its own; both are removed when this is dropped.
#[derive(Debug)]
pub struct TemporaryProgram {
    path: PathBuf,
    _directory: TemporaryDir,
}

impl TemporaryProgram {
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Machine {
    /// Makes a private program called `name`, ready to run.
    pub fn temporary_program(&mut self, name: &str, bytes: &[u8]) -> Result<TemporaryProgram> {
        let directory = self.temporary_dir()?;
        let name = Path::new(name).file_name().unwrap_or("program".as_ref());
        let path = directory.path().join(name);
        let wrong = |error| MachineError::io("write temporary program", &path, error);
        let place = Place::of(&path).map_err(wrong)?;
        // The file is closed at the end: the kernel runs none that is open for writing.
        let mut file = place.create().map_err(wrong)?;
        file.write_all(bytes).map_err(wrong)?;
        rustix::fs::fchmod(&file, rustix::fs::Mode::from_raw_mode(0o700))
            .map_err(|error| wrong(error.into()))?;
        Ok(TemporaryProgram {
            path,
            _directory: directory,
        })
    }

    /// Makes a private scratch directory.
    pub fn temporary_dir(&mut self) -> Result<TemporaryDir> {
        let place = self.scratch_place()?;
        place
            .make_directory(0o700)
            .map_err(|error| MachineError::io("make temporary directory", &place.path, error))?;
        Ok(TemporaryDir(place.path))
    }

    /// Makes a private scratch file that holds `bytes`.
    pub fn temporary_file(&mut self, bytes: &[u8]) -> Result<TemporaryFile> {
        let place = self.scratch_place()?;
        let wrong = |error| MachineError::io("write temporary file", &place.path, error);
        let mut file = place.create().map_err(wrong)?;
        file.write_all(bytes).map_err(|error| {
            place.remove().ok();
            wrong(error)
        })?;
        Ok(TemporaryFile {
            path: place.path,
            file,
        })
    }

    fn scratch_place(&self) -> Result<Place> {
        let base = self
            .options
            .scratch
            .clone()
            .unwrap_or_else(std::env::temp_dir);
        let path = base.join(hidden_name());
        Place::of(&path).map_err(|error| MachineError::io("use temporary directory", &base, error))
    }
}

/// Returns a fresh hidden name that nobody can guess.
pub(super) fn hidden_name() -> String {
    format!(".backstay-{:016x}", rand::random::<u64>())
}
