//! A directory of the controller, compared and copied in one call.

use std::path::{Component, Path, PathBuf};

use crate::arguments::{FileAttributes, Mode};
use crate::machine::{Follow, Links, Machine};
use crate::value::Value;

use super::super::links::Below;
use super::super::{Failure, ModuleResult, Outcome};
use super::place::{Placing, Source};
use super::{Copy, CopyArgs};

impl Copy<'_> {
    /// Makes everything in the list be below the destination; what else is there stays.
    pub(super) fn tree(&self, machine: &mut Machine, entries: &[Value]) -> ModuleResult {
        let below = Below::new(&self.dest);
        machine.below(&self.dest, Links::OfRootFollowed, |machine| {
            self.entries(machine, entries, below)
        })
    }

    fn entries(&self, machine: &mut Machine, entries: &[Value], mut below: Below) -> ModuleResult {
        let mut all = Outcome::unchanged();
        let mut n_files = 0;
        let mut only_file = None;
        for entry in entries {
            machine.check_cancelled()?;
            let path = relative_path(entry)?;
            let kind = entry.get("kind").and_then(Value::as_str);
            let path = match kind {
                Some("directory") => below.directory(machine, &path)?,
                _ => below.place(machine, &path)?,
            };
            let outcome = match kind {
                Some("file") => self.tree_file(machine, entry, &path)?,
                Some("directory") => self.tree_directory(machine, &path)?,
                Some("link") => self.tree_link(machine, entry, &path)?,
                _ => {
                    return Err(Failure::new(
                        "the controller listed an unknown kind of file",
                    ));
                }
            };
            all.changed |= outcome.changed;
            if outcome.changed {
                all.diff.extend(outcome.diff.iter().cloned());
            }
            if kind == Some("file") {
                n_files += 1;
                only_file = Some(outcome);
            }
        }
        // As in Ansible, a directory with one file is reported as that file.
        match only_file.filter(|_| n_files == 1) {
            Some(outcome) => Ok(outcome.with_changed(all.changed)),
            None => Ok(all
                .with("dest", self.dest.join("").display().to_string())
                .with("src", self.args._source.clone())),
        }
    }

    fn tree_file(&self, machine: &mut Machine, entry: &Value, path: &Path) -> ModuleResult {
        let offer = entry.as_map().cloned().unwrap_or_default();
        let source = Source::controllers(&offer)?;
        let made = self.make_parents(machine, path)?;
        let attributes = FileAttributes {
            mode: match (&self.attributes.mode, entry_mode(entry)) {
                (Some(Mode::Preserve), mode) => mode,
                (mode, _) => mode.clone(),
            },
            ..self.attributes.clone()
        };
        let args = CopyArgs {
            _source: entry
                .get("source")
                .and_then(Value::as_str)
                .map(str::to_owned),
            ..self.args.clone()
        };
        let placing = Placing {
            args: &args,
            attributes: &attributes,
            follow: false,
        };
        let mut outcome = placing.run(machine, &source, path)?;
        outcome.changed |= made;
        Ok(outcome)
    }

    fn tree_directory(&self, machine: &mut Machine, path: &Path) -> ModuleResult {
        let made = self.make_directories(machine, path)?;
        if !machine.is_dir(path)? {
            let msg = format!("{} already exists as a file", path.display());
            return Err(Failure::new(msg).with("path", path.display().to_string()));
        }
        let attributes = self.directory_attributes();
        let change = machine.apply_file_attributes(path, &attributes, Follow::No)?;
        Ok(Outcome::unchanged().with_changed(made || change.changed))
    }

    fn tree_link(&self, machine: &mut Machine, entry: &Value, path: &Path) -> ModuleResult {
        let target = entry.get("link").and_then(Value::as_str);
        let target =
            target.ok_or_else(|| Failure::new("the controller listed a link to nothing"))?;
        let mut changed = self.make_parents(machine, path)?;
        let found = machine.symlink_metadata(path)?;
        let is_right = match &found {
            Some(found) if found.is_link() => machine.read_link(path)? == Path::new(target),
            _ => false,
        };
        if !is_right {
            if found.is_some_and(|found| found.is_dir()) {
                machine.remove_empty_dir(path)?;
            }
            machine.symlink(Path::new(target), path)?;
            changed = true;
        }
        Ok(Outcome::unchanged().with_changed(changed))
    }
}

/// Returns an entry's path, which never leaves the destination.
fn relative_path(entry: &Value) -> Result<PathBuf, Failure> {
    let path = entry
        .get("path")
        .and_then(Value::as_str)
        .unwrap_or_default();
    let path = PathBuf::from(path);
    let stays = path
        .components()
        .all(|component| matches!(component, Component::Normal(_) | Component::CurDir));
    if stays {
        Ok(path)
    } else {
        Err(Failure::new(format!(
            "`{}` leaves the destination",
            path.display()
        )))
    }
}

fn entry_mode(entry: &Value) -> Option<Mode> {
    use crate::arguments::Argument;
    entry.get("mode").and_then(|mode| Mode::convert(mode).ok())
}
