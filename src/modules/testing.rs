//! A private directory that stands for a target in module tests: `$ROOT` in options and results.

use crate::machine::{ContentSource, Machine, MachineOptions, NewFile, NoContents};
use crate::value::{Map, Value};

use super::find;

/// Makes a machine that predicts, so that a module may name the target's own files.
pub(super) fn predicting() -> Machine {
    Machine::new(MachineOptions {
        check: true,
        diff: true,
        ..MachineOptions::default()
    })
}

/// A target whose files live under a temporary directory.
pub(super) struct Target {
    root: tempfile::TempDir,
    diff: bool,
    environment: Vec<(String, String)>,
    contents: Option<Box<dyn Fn() -> Box<dyn ContentSource>>>,
}

impl Target {
    pub(super) fn new() -> Self {
        Self {
            root: tempfile::tempdir().unwrap(),
            diff: false,
            environment: Vec::new(),
            contents: None,
        }
    }

    /// Puts a file there, with its directories.
    pub(super) fn file(self, name: &str, content: impl AsRef<[u8]>) -> Self {
        let path = self.path(name);
        let mut machine = self.machine();
        machine
            .create_dir_all(path.parent().unwrap(), 0o755)
            .unwrap();
        let content = crate::machine::Content::Bytes(content.as_ref().to_vec());
        machine.write(&path, content, &NewFile::default()).unwrap();
        self
    }

    pub(super) fn directory(self, name: &str) -> Self {
        self.machine()
            .create_dir_all(&self.path(name), 0o755)
            .unwrap();
        self
    }

    pub(super) fn link(self, name: &str, target: &str) -> Self {
        let target = target.replace("$ROOT", &self.root());
        self.machine()
            .symlink(target.as_ref(), &self.path(name))
            .unwrap();
        self
    }

    /// Asks for diffs.
    pub(super) fn diff(mut self) -> Self {
        self.diff = true;
        self
    }

    /// Lets a controller offer contents.
    pub(super) fn contents(mut self, source: impl ContentSource + Clone + 'static) -> Self {
        self.contents = Some(Box::new(move || Box::new(source.clone())));
        self
    }

    pub(super) fn env(mut self, name: &str, value: &str) -> Self {
        self.environment.push((name.into(), value.into()));
        self
    }

    pub(super) fn path(&self, name: &str) -> std::path::PathBuf {
        self.root.path().canonicalize().unwrap().join(name)
    }

    pub(super) fn read(&self, name: &str) -> String {
        String::from_utf8(std::fs::read(self.path(name)).unwrap()).unwrap()
    }

    pub(super) fn machine(&self) -> Machine {
        let contents = match &self.contents {
            Some(contents) => contents(),
            None => Box::new(NoContents),
        };
        Machine::new(MachineOptions {
            contents,
            diff: self.diff,
            environment: self.environment.clone(),
            umask: Some(0o022),
            ..MachineOptions::default()
        })
    }

    /// Runs a module with options in JSON and returns its result as JSON.
    pub(super) fn run(&self, module: &str, options: &str) -> String {
        let result = serde_json::to_string(&Value::from(self.result(module, options))).unwrap();
        result.replace(&self.root(), "$ROOT")
    }

    /// Runs a module with options in JSON and returns its result.
    pub(super) fn result(&self, module: &str, options: &str) -> Map {
        let options: Value = serde_json::from_str(&options.replace("$ROOT", &self.root())).unwrap();
        let mut machine = self.machine();
        let module = find(module).unwrap();
        match (module.run)(&mut machine, options.as_map().unwrap()) {
            Ok(outcome) => outcome.into_result(),
            Err(failure) => failure.into_result(),
        }
    }

    fn root(&self) -> String {
        self.root
            .path()
            .canonicalize()
            .unwrap()
            .display()
            .to_string()
    }
}
