//! The controller's files as playbooks see them: read once, decrypted when they are vaulted.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use crate::error::{Error, Result};
use crate::playbook::{FileKind, Files};
use crate::source::{Mark, SourceFile};
use crate::vault::{self, Secrets};

/// Reads files under the working directory's names for them.
pub(super) struct ControllerFiles {
    secrets: Arc<Secrets>,
    read: Mutex<HashMap<PathBuf, Read>>,
}

struct Read {
    file: Arc<SourceFile>,
    is_vaulted: bool,
}

impl ControllerFiles {
    pub(super) fn new(secrets: Arc<Secrets>) -> Self {
        Self {
            secrets,
            read: Mutex::default(),
        }
    }
}

impl Files for ControllerFiles {
    fn read(&self, path: &Path) -> Result<Arc<SourceFile>> {
        let mut read = self.read.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = read.get(path) {
            return Ok(Arc::clone(&known.file));
        }
        let new = read_file(path, &self.secrets)?;
        let file = Arc::clone(&new.file);
        read.insert(path.to_path_buf(), new);
        Ok(file)
    }

    fn is_vaulted(&self, path: &Path) -> bool {
        let read = self.read.lock().unwrap_or_else(PoisonError::into_inner);
        read.get(path).is_some_and(|read| read.is_vaulted)
    }

    fn kind(&self, path: &Path) -> Option<FileKind> {
        let metadata = std::fs::metadata(path).ok()?;
        Some(if metadata.is_dir() {
            FileKind::Directory
        } else {
            FileKind::File
        })
    }

    fn list(&self, directory: &Path) -> Vec<String> {
        names_in(directory)
    }
}

fn names_in(directory: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(directory).into_iter().flatten().flatten();
    let mut names: Vec<_> = entries
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    names
}

fn read_file(path: &Path, secrets: &Secrets) -> Result<Read> {
    let shown = path.display().to_string();
    let bytes = std::fs::read(path).map_err(|error| match error.kind() {
        std::io::ErrorKind::NotFound => {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            let beside = path.parent().map(names_in).unwrap_or_default();
            Error::missing(format!("the file `{shown}` does not exist"))
                .suggest(&name, beside.iter().map(String::as_str))
        }
        _ => Error::missing(format!("the file `{shown}` cannot be read")).caused_by(error),
    })?;
    if !vault::is_vaulted(&bytes) {
        return Ok(Read {
            file: text_of(&shown, bytes)?,
            is_vaulted: false,
        });
    }
    let plaintext = vault::decrypt(&bytes, secrets).map_err(|error| {
        let head = SourceFile::new(shown.as_str(), String::from_utf8_lossy(&bytes));
        Error::from(error).at(&Mark::start_of(&head))
    })?;
    Ok(Read {
        file: text_of(&shown, plaintext)?,
        is_vaulted: true,
    })
}

fn text_of(name: &str, bytes: Vec<u8>) -> Result<Arc<SourceFile>> {
    String::from_utf8(bytes)
        .map(|text| SourceFile::new(name, text))
        .map_err(|error| {
            let good = error.utf8_error().valid_up_to();
            let line = error.as_bytes()[..good]
                .split(|byte| *byte == b'\n')
                .count();
            Error::content(format!(
                "the file `{name}` is not UTF-8 text: line {line} has a foreign byte"
            ))
            .help("save the file as UTF-8")
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[expect(clippy::disallowed_methods, reason = "a test writes its own fixture")]
    fn a_vaulted_file_is_read_as_its_plaintext_and_a_foreign_byte_is_located() {
        let directory = tempfile::tempdir().unwrap();
        let mut secrets = Secrets::default();
        secrets.add("default", b"pw".as_slice());
        let files = ControllerFiles::new(Arc::new(secrets));
        let vaulted = directory.path().join("v.yml");
        std::fs::write(&vaulted, vault::encrypt(b"a: 1\n", b"pw", None)).unwrap();
        assert_eq!(files.read(&vaulted).unwrap().text, "a: 1\n");
        assert!(files.is_vaulted(&vaulted));
        let foreign = directory.path().join("f.yml");
        std::fs::write(&foreign, b"a: 1\nb: \xff\n").unwrap();
        let error = files.read(&foreign).unwrap_err();
        assert!(
            error.message.ends_with("line 2 has a foreign byte"),
            "{}",
            error.message
        );
    }
}
