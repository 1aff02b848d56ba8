//! Backups beside a file, named as Ansible names them.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use super::write::NewFile;
use super::{Content, Machine, MachineError, Result};

impl Machine {
    /// Copies a file to `path.PID.DATE@TIME~` with owner, mode and times, and returns that path.
    pub fn backup(&mut self, path: &Path) -> Result<PathBuf> {
        let found = self.metadata(path)?.ok_or_else(|| {
            MachineError::io("back up", path, std::io::Error::from_raw_os_error(2))
        })?;
        let copy = backup_path(path);
        let new = NewFile {
            mode: Some(found.mode),
            uid: Some(found.uid),
            gid: Some(found.gid),
            times: Some([found.atime, found.mtime]),
            ..NewFile::default()
        };
        self.write(&copy, Content::File(path.to_owned()), &new)?;
        Ok(copy)
    }
}

fn backup_path(path: &Path) -> PathBuf {
    let when = jiff::ZonedDateTime::now().strftime("%Y-%m-%d@%H:%M:%S~");
    let mut name: OsString = path.as_os_str().to_owned();
    name.push(format!(".{}.{when}", std::process::id()));
    name.into()
}
