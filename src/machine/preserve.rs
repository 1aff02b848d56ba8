//! Whole paths kept as they are before a program changes them, for an undo that puts the copy
//! back. Knows nothing of the program.

use std::path::Path;

use crate::transaction::journal::{KEEPING, Undo, UndoRecord, UndoStep};

use super::{Command, Machine, MachineError, Result};

impl Machine {
    /// Keeps a path, with all that is below it, before a program changes it; where nothing is,
    /// what appears there is removed by an undo.
    pub fn preserve(&mut self, path: &Path) -> Result<()> {
        if self.predicted().is_some() {
            return Ok(());
        }
        let path = self.real_path(path)?;
        let failed = |error| MachineError::io("keep", &path, error);
        let shelf = self.options.undo.shelve(nearest(&path)).map_err(failed)?;
        let Some(shelf) = shelf else {
            return Ok(());
        };
        let step = self
            .kept_whole(&path, &shelf)
            .map_err(|why| MachineError::said("keep", path.display(), why))?;
        let record = kept_record(&path, Undo::Compensated(vec![step]));
        self.record(&path, record)
    }

    /// Copies a path to `shelf` and returns what puts it back as it is now.
    pub fn kept_whole(&mut self, path: &Path, shelf: &Path) -> Result<UndoStep, String> {
        let exists = self
            .symlink_metadata(path)
            .map_err(|error| error.to_string())?;
        let [name, kept] = [path, shelf].map(|path| quoted(&path.to_string_lossy()));
        if exists.is_none() {
            let near = quoted(&nearest(path).to_string_lossy());
            return Ok(durably(&format!("rm -rf -- {name}"), &near));
        }
        let copy = Command::shell(format!("cp -a --reflink=auto -- {name} {kept}"));
        let copied = self.query(&copy).map_err(|error| error.to_string())?;
        if !copied.success() {
            return Err(copied.stderr_text().trim().to_owned());
        }
        sync_around(shelf).map_err(|error| error.to_string())?;
        Ok(durably(&put_back(&name, &kept), &name))
    }
}

/// Returns the text that brings a copy back. A file that has other names is written in place: they
/// are to be one file again.
fn put_back(path: &str, kept: &str) -> String {
    // With `-a` it would take away the name that it is to write to.
    format!(
        "if [ -f {path} ] && [ ! -L {path} ] && [ -f {kept} ] && [ ! -L {kept} ] \
         && [ \"$(stat -c %h -- {path})\" -gt 1 ]; then cp -p --reflink=auto -- {kept} {path}; \
         else rm -rf -- {path} && cp -a --reflink=auto -- {kept} {path}; fi"
    )
}

/// Does `text` and then has the file system of `near` on the disk: the copy goes away when it is
/// told as undone.
fn durably(text: &str, near: &str) -> UndoStep {
    UndoStep::shell(format!(
        "{{ {text}; }} && {{ sync -f {near} 2>/dev/null || sync; }}"
    ))
}

/// Makes the record of a path that is kept.
pub fn kept_record(path: &Path, undo: Undo) -> UndoRecord {
    UndoRecord::Effect {
        what: format!("{KEEPING}{}", path.display()),
        undo,
        redo: None,
    }
}

/// Returns the nearest directory that exists: a shelf is to be on its file system.
pub fn nearest(path: &Path) -> &Path {
    path.ancestors()
        .find(|path| path.exists())
        .unwrap_or(Path::new("/"))
}

/// Makes a fresh copy durable, whatever it is a copy of.
fn sync_around(path: &Path) -> std::io::Result<()> {
    let directory = std::fs::File::open(path.parent().unwrap_or(path))?;
    Ok(rustix::fs::syncfs(&directory)?)
}

fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', "'\"'\"'"))
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;
    use crate::machine::MachineOptions;
    use crate::transaction::journal::MemoryLog;

    #[test]
    #[expect(clippy::disallowed_methods, reason = "a test stands for a program")]
    fn what_a_program_does_below_a_kept_path_is_undone() {
        let root = tempfile::tempdir().unwrap();
        let root = root.path().canonicalize().unwrap();
        let path = |name: &str| -> PathBuf { root.join(name) };
        for directory in ["shelf", "there"] {
            std::fs::create_dir(path(directory)).unwrap();
        }
        std::fs::write(path("there/old"), "old").unwrap();
        let log = MemoryLog::new(Some(path("shelf")));
        let mut machine = Machine::new(MachineOptions {
            undo: Box::new(log.clone()),
            ..MachineOptions::default()
        });
        machine.preserve(&path("there")).unwrap();
        machine.preserve(&path("new")).unwrap();
        std::fs::write(path("there/old"), "changed").unwrap();
        std::fs::write(path("there/more"), "more").unwrap();
        std::fs::create_dir(path("new")).unwrap();
        for record in log.records().iter().rev() {
            let UndoRecord::Effect {
                what,
                undo: Undo::Compensated(steps),
                ..
            } = record
            else {
                panic!("{record:?}");
            };
            assert!(what.starts_with("keep /"), "{what}");
            let done = machine.query(&Command::new(&steps[0].argv)).unwrap();
            assert!(done.success(), "{}", done.stderr_text());
        }
        assert_eq!(std::fs::read_to_string(path("there/old")).unwrap(), "old");
        assert!(!path("there/more").exists() && !path("new").exists());
    }
}
