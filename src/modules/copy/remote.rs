//! `remote_src`: copying from one place of the target to another.

use std::path::{Path, PathBuf};

use rustix::fs::Access;

use crate::arguments::{FileAttributes, Mode};
use crate::machine::{
    Algorithm, Attributes, Content, FileKind, Follow, Machine, Metadata, NewFile,
};
use crate::value::Value;

use super::super::path_info::path_info;
use super::super::{Failure, ModuleResult, Outcome};
use super::place::{Placing, Source};
use super::{Copy, ends_with_slash, expand_keeping_slash};

impl Copy<'_> {
    /// Copies a file or a directory of the target.
    pub(super) fn remote(&self, machine: &mut Machine, src: &Path) -> ModuleResult {
        let src = expand_keeping_slash(machine, src);
        let Some(found) = machine.metadata(&src)? else {
            return Err(Failure::new(format!("Source {} not found", src.display())));
        };
        if !machine.may(&src, Access::READ_OK) {
            return Err(Failure::new(format!(
                "Source {} not readable",
                src.display()
            )));
        }
        let mut made = false;
        if ends_with_slash(&self.dest) {
            made = self.make_directories(machine, &self.dest)?;
        }
        let mut dest = self.dest.clone();
        if machine.is_dir(&dest)? {
            // Without a name this ends the path with a slash, as Ansible shows it.
            dest.push(name_of(&src).unwrap_or_default());
        }
        let attributes = FileAttributes {
            mode: match &self.attributes.mode {
                Some(Mode::Preserve) => Some(Mode::Octal(found.mode)),
                mode => mode.clone(),
            },
            ..self.attributes.clone()
        };
        let mut outcome = match found.kind {
            FileKind::File => self.remote_file(machine, &src, &dest, &found, &attributes)?,
            FileKind::Directory => self.remote_directory(machine, &src, &dest, &attributes)?,
            _ => {
                return Err(Failure::new(format!(
                    "Cannot copy invalid source '{}': not a file",
                    src.display()
                )));
            }
        };
        outcome.changed |= made;
        Ok(outcome)
    }

    fn remote_file(
        &self,
        machine: &mut Machine,
        src: &Path,
        dest: &Path,
        found: &Metadata,
        attributes: &FileAttributes,
    ) -> ModuleResult {
        let placing = Placing {
            args: self.args,
            attributes,
            follow: self.args.follow,
        };
        let source = Source {
            sha1: Some(machine.digest(src, Algorithm::Sha1)?),
            md5: Some(machine.digest(src, Algorithm::Md5)?),
            ..source_of(src, found, true)
        };
        placing.run(machine, &source, dest)
    }

    fn remote_directory(
        &self,
        machine: &mut Machine,
        src: &Path,
        dest: &Path,
        attributes: &FileAttributes,
    ) -> ModuleResult {
        let top = match name_of(src) {
            Some(name) => self.dest.join(name),
            None => self.dest.clone(),
        };
        let trees = Trees {
            follow: self.args.local_follow == Some(true),
            owner: FileAttributes {
                owner: self.attributes.owner.clone(),
                group: self.attributes.group.clone(),
                ..FileAttributes::default()
            },
        };
        if let Some(parent) = top.parent()
            && !machine.is_dir(&top)?
        {
            machine.create_dir_all(parent, 0o777)?;
        }
        let mut changed = trees.merge(machine, src, &top)?;
        let change = machine.apply_file_attributes(dest, attributes, Follow::No)?;
        changed |= change.changed;
        Ok(Outcome::unchanged()
            .with_changed(changed)
            .with("dest", dest.display().to_string())
            .with("src", src.display().to_string())
            .with("md5sum", Value::Null)
            .with("checksum", Value::Null)
            .with_all(path_info(machine, dest)?))
    }
}

/// Returns the name that a copy gets in a directory; none when only the contents are meant.
fn name_of(src: &Path) -> Option<PathBuf> {
    if ends_with_slash(src) {
        return None;
    }
    src.file_name().map(PathBuf::from)
}

/// Returns a file of the target as a source; a copy of it looks like it, `with_times` or without.
fn source_of(path: &Path, found: &Metadata, with_times: bool) -> Source {
    Source {
        content: Content::File(path.to_owned()),
        size: found.size,
        sha1: None,
        md5: None,
        new: NewFile {
            mode: Some(found.mode),
            times: with_times.then_some([found.atime, found.mtime]),
            fresh: true,
            ..NewFile::default()
        },
    }
}

/// Copies what one directory has into another.
struct Trees {
    /// Copies what links point to.
    follow: bool,
    /// The owner of everything in the destination.
    owner: FileAttributes,
}

impl Trees {
    fn merge(&self, machine: &mut Machine, from: &Path, to: &Path) -> Result<bool, Failure> {
        machine.check_cancelled()?;
        let Some(found) = machine.metadata(from)? else {
            return Ok(false);
        };
        let is_new = machine.metadata(to)?.is_none();
        if is_new {
            machine.create_dir(to, 0o700)?;
        }
        let mut changed = is_new;
        for entry in machine.read_dir(from)? {
            changed |= self.merge_entry(machine, &from.join(&entry.name), &to.join(&entry.name))?;
        }
        if is_new {
            let attributes = Attributes {
                mode: Some(found.mode),
                times: Some([found.atime, found.mtime]),
                ..Attributes::default()
            };
            machine.set_attributes(to, &attributes, Follow::No)?;
        }
        Ok(self.own(machine, to)? || changed)
    }

    fn merge_entry(&self, machine: &mut Machine, from: &Path, to: &Path) -> Result<bool, Failure> {
        let mut found = machine.symlink_metadata(from)?;
        if self.follow && found.as_ref().is_some_and(Metadata::is_link) {
            found = machine.metadata(from)?;
        }
        match found {
            Some(found) if found.is_dir() => match machine.metadata(to)? {
                // A file where a directory should be stays, as in Ansible.
                Some(there) if !there.is_dir() => Ok(false),
                _ => self.merge(machine, from, to),
            },
            Some(found) if found.is_link() => self.merge_link(machine, from, to),
            Some(found) if found.is_file() => self.merge_file(machine, from, to, &found),
            _ => Ok(false),
        }
    }

    fn merge_link(&self, machine: &mut Machine, from: &Path, to: &Path) -> Result<bool, Failure> {
        let target = machine.read_link(from)?;
        match machine.symlink_metadata(to)? {
            Some(there) if there.is_dir() => return Ok(false),
            Some(there) if there.is_link() && machine.read_link(to)? == target => {
                return self.own(machine, to);
            }
            _ => machine.symlink(&target, to)?,
        }
        self.own(machine, to)?;
        Ok(true)
    }

    fn merge_file(
        &self,
        machine: &mut Machine,
        from: &Path,
        to: &Path,
        found: &Metadata,
    ) -> Result<bool, Failure> {
        let there = machine.metadata(to)?;
        let is_same = match &there {
            Some(there) if there.is_dir() => return Ok(false),
            Some(there) => {
                there.size == found.size
                    && machine.digest(from, Algorithm::Sha256)?
                        == machine.digest(to, Algorithm::Sha256)?
            }
            None => false,
        };
        if !is_same {
            let source = source_of(from, found, there.is_none());
            machine.write(to, source.content, &source.new)?;
        }
        Ok(self.own(machine, to)? || !is_same)
    }

    fn own(&self, machine: &mut Machine, path: &Path) -> Result<bool, Failure> {
        let change = machine.apply_file_attributes(path, &self.owner, Follow::No)?;
        Ok(change.changed)
    }
}
