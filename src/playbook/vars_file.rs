//! Variable files that are read during the run: found beside the playbook, read once.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use super::context::Files;
use super::layer::Vars;
use super::loading::variables_of;
use super::search;
use crate::error::Error;
use crate::source::SourceFile;
use crate::yaml::{self, ReadOptions};

/// Reads variable files, each once in a run.
pub struct VarsFiles {
    files: Arc<dyn Files + Send>,
    yaml: ReadOptions,
    known: Mutex<HashMap<PathBuf, Arc<Vars>>>,
}

impl VarsFiles {
    /// Makes a reader over `files`.
    pub fn new(files: Arc<dyn Files + Send>, yaml: ReadOptions) -> Self {
        Self {
            files,
            yaml,
            known: Mutex::default(),
        }
    }

    /// Finds what a `vars_files` entry names: in `vars/` of the playbook's directory, or in the
    /// directory itself.
    pub fn find(&self, directory: &Path, name: &str) -> Option<PathBuf> {
        candidates(directory, name)
            .into_iter()
            .find(|path| self.files.kind(path).is_some())
    }

    /// Reads a variable file.
    pub fn read(&self, path: &Path) -> Result<Arc<Vars>, Vec<Error>> {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(variables) = known.get(path) {
            return Ok(Arc::clone(variables));
        }
        drop(known);
        let file = self.files.read(path).map_err(|error| vec![error])?;
        let variables = Arc::new(variables_in(&file, self.yaml)?);
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.insert(path.to_path_buf(), Arc::clone(&variables));
        Ok(variables)
    }
}

/// Reads the text of a variable file.
pub fn variables_in(file: &Arc<SourceFile>, yaml: ReadOptions) -> Result<Vars, Vec<Error>> {
    let document = yaml::parse_with(file, yaml)?;
    variables_of(&document.root).map_err(|error| vec![error])
}

/// Lists where a `vars_files` entry may be.
pub(super) fn candidates(directory: &Path, name: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    if !(name.starts_with("vars/") || name.starts_with('/')) {
        found.push(search::normal(&directory.join("vars").join(name)));
    }
    found.push(search::normal(&directory.join(name)));
    found
}
