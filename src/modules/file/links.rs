//! The states `link` and `hard` of `file`.

use std::path::{Path, PathBuf};

use crate::machine::Machine;
use crate::value::Value;

use super::super::Failure;
use super::super::path_info::path_info;
use super::{State, Work, failure};

impl Work<'_> {
    /// Makes the path a symbolic link, or manages one that is there.
    pub(super) fn link(&mut self, machine: &mut Machine) -> Result<PathBuf, Failure> {
        let path = self.args.path.clone();
        let state = State::of(machine, &path)?;
        let src = match &self.args.src {
            None if self.args.follow && state == State::Link && leads_somewhere(machine, &path) => {
                Some(machine.read_link(&path)?)
            }
            src => src.clone(),
        };
        self.src.clone_from(&src);
        self.check_link(machine, &path, state, src.as_deref())?;
        self.begin(&path, state, "link");
        if self.link_differs(machine, &path, state, src.as_deref())? {
            let Some(src) = &src else {
                return Err(Failure::new("src is required for creating new symlinks"));
            };
            if state == State::Directory {
                machine.remove_empty_dir(&path)?;
            }
            machine.symlink(src, &path)?;
            self.changed = true;
        }
        let subject = self.subject(machine, &path)?;
        if self.args.follow && !leads_somewhere(machine, &subject) {
            self.warnings.push(
                "Cannot set fs attributes on a non-existent symlink target. follow should be set \
                 to False to avoid this."
                    .into(),
            );
        } else {
            self.apply_attributes(machine, &subject)?;
            self.apply_times(machine, &subject)?;
        }
        Ok(path)
    }

    /// Refuses a link to nothing, and to replace what is worth something, unless forced.
    fn check_link(
        &self,
        machine: &mut Machine,
        path: &Path,
        state: State,
        src: Option<&Path>,
    ) -> Result<(), Failure> {
        let is_directory = state == State::Directory;
        if let Some(src) = src.filter(|_| !self.args.force) {
            let base = match (is_directory, path.parent()) {
                (false, Some(parent)) => parent,
                _ => path,
            };
            let absolute = base.join(src);
            if !leads_somewhere(machine, &absolute) {
                let msg = format!(
                    "src file does not exist, use 'force=yes' if you really want to create the \
                     link: {}",
                    absolute.display()
                );
                return Err(failure(machine, &msg, path).with("src", src.display().to_string()));
            }
        }
        if is_directory && self.args.force && !machine.read_dir(path)?.is_empty() {
            let msg = format!(
                "the directory {} is not empty, refusing to convert it",
                path.display()
            );
            return Err(failure(machine, &msg, path));
        }
        let is_something = matches!(state, State::Directory | State::File | State::Hard);
        if is_something && !self.args.force {
            let msg = format!(
                "refusing to convert from {} to symlink for {}",
                state.name(),
                path.display()
            );
            return Err(failure(machine, &msg, path));
        }
        Ok(())
    }

    fn link_differs(
        &mut self,
        machine: &Machine,
        path: &Path,
        state: State,
        src: Option<&Path>,
    ) -> Result<bool, Failure> {
        let (State::Link, Some(src)) = (state, src) else {
            return Ok(state != State::Link);
        };
        let old = machine.read_link(path)?;
        if old == src {
            return Ok(false);
        }
        self.note_src(&old, src);
        Ok(true)
    }

    fn note_src(&mut self, old: &Path, new: &Path) {
        let text = |path: &Path| Value::from(path.display().to_string());
        self.before.insert("src".into(), text(old));
        self.after.insert("src".into(), text(new));
    }

    /// Makes the path another name of a file.
    pub(super) fn hard(&mut self, machine: &mut Machine) -> Result<PathBuf, Failure> {
        let path = self.args.path.clone();
        let state = State::of(machine, &path)?;
        let src = self.args.src.clone();
        if state != State::Hard && src.is_none() {
            return Err(Failure::new("src is required for creating new hardlinks"));
        }
        if let Some(src) = &src
            && !leads_somewhere(machine, src)
        {
            return Err(self.refusal(machine, "src does not exist", src));
        }
        self.begin(&path, state, "hard");
        if let Some(src) = &src
            && self.hard_link_differs(machine, &path, state, src)?
        {
            let mut source = src.clone();
            if self.args.follow && State::of(machine, src)? == State::Link {
                let base = src.parent().unwrap_or(Path::new("/"));
                source = base.join(machine.read_link(src)?);
            }
            if state == State::Directory {
                machine.remove_empty_dir(&path)?;
            }
            machine.hard_link(&source, &path)?;
            self.changed = true;
        }
        let subject = self.subject(machine, &path)?;
        self.apply_attributes(machine, &subject)?;
        self.apply_times(machine, &subject)?;
        Ok(path)
    }

    fn hard_link_differs(
        &mut self,
        machine: &mut Machine,
        path: &Path,
        state: State,
        src: &Path,
    ) -> Result<bool, Failure> {
        let inode = |path: &Path| {
            let found = machine.metadata(path);
            found.map(|found| found.map(|found| (found.device, found.inode)))
        };
        let refused = match state {
            State::Link => {
                let old = machine.read_link(path)?;
                if old != src {
                    self.note_src(&old, src);
                }
                return Ok(old != src);
            }
            State::Absent => return Ok(true),
            State::Hard if inode(path)? == inode(src)? => return Ok(false),
            State::File => "Cannot link, file exists at destination",
            State::Hard => "Cannot link, different hard link exists at destination",
            State::Directory => "Cannot link: different hard link exists at destination",
        };
        if self.args.force {
            Ok(true)
        } else {
            Err(self.refusal(machine, refused, src))
        }
    }

    fn refusal(&self, machine: &mut Machine, msg: &str, src: &Path) -> Failure {
        Failure::new(msg)
            .with("dest", self.args.path.display().to_string())
            .with("src", src.display().to_string())
            .with_all(path_info(machine, &self.args.path).unwrap_or_default())
    }
}

/// Tells whether a path leads to anything; a link to itself does not.
fn leads_somewhere(machine: &Machine, path: &Path) -> bool {
    matches!(machine.metadata(path), Ok(Some(_)))
}
