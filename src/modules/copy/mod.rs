//! `copy`: a file or tree on the target holds what the controller, or another place there, has.
//!
//! Never templates and never reads controller files: both happened before the call. What the
//! controller has arrives by digest, and its bytes are asked for only where they are missing.

mod difference;
mod place;
mod remote;
mod tree;

use std::path::{Path, PathBuf};

use crate::arguments::{FileAttributes, Mode};
use crate::machine::Machine;
use crate::value::{Map, Value};

use super::offer::content_id;
use super::path_info::without_unborn_owners;
use super::{Failure, ModuleResult};
use place::{Placing, Source};

crate::arguments! {
    /// Copy files to remote locations.
    pub(crate) struct CopyArgs for "copy" with file_attributes {
        /// The file or directory to copy.
        src: Option<PathBuf> {},
        /// The text to copy instead of a file.
        content: Option<Value> { no_log },
        /// Where to copy to; a directory when it ends with a slash.
        dest: PathBuf { required },
        /// Keep a copy of the old file beside it.
        backup: bool { default: "false" },
        /// Replace a file that differs.
        force: bool { default: "true" },
        /// The command that checks the new file, `%s`, before it is used.
        validate: Option<String> {},
        /// The permissions of new directories.
        directory_mode: Option<Mode> {},
        /// The source is on the target.
        remote_src: bool { default: "false" },
        /// Copy what links in the source point to.
        local_follow: Option<bool> {},
        /// The SHA-1 that the source must have.
        checksum: Option<String> {},
        /// Write through a link at the destination.
        follow: bool { default: "false" },
        /// Decrypt a vaulted source.
        decrypt: bool { default: "true" },
        /// What the controller has: `sha256`, `size` and, where it is known, `sha1` and `md5`.
        _content: Option<Map> { internal },
        /// The name of the controller's file; without one it is no file.
        _original_basename: Option<String> { internal },
        /// The path of the controller's file, for the diff.
        _source: Option<String> { internal },
        /// A directory of the controller, as one list: each entry has `path` (below `dest`),
        /// `kind` (`file`, `directory` or `link`), and for a file `sha256`, `size` and perhaps
        /// `mode`, for a link `link`. Parents need not be listed.
        _tree: Option<Vec<Value>> { internal },
    }
}

/// Makes the destination hold the source, and applies the file options.
pub(crate) fn run(machine: &mut Machine, args: CopyArgs) -> ModuleResult {
    let (attributes, warnings) = without_unborn_owners(machine, &args.file);
    let copy = Copy {
        dest: expand_keeping_slash(machine, &args.dest),
        attributes,
        args: &args,
    };
    let result = if let Some(entries) = &args._tree {
        copy.tree(machine, entries)
    } else if let Some(content) = &args._content {
        copy.controllers_file(machine, content)
    } else if let Some(text) = &args.content {
        copy.text(machine, text.to_string())
    } else if let Some(src) = args.src.as_deref().filter(|_| args.remote_src) {
        copy.remote(machine, src)
    } else {
        Err(Failure::new("src (or content) is required"))
    };
    result.map(|mut outcome| {
        outcome.warnings.extend(warnings);
        outcome
    })
}

/// One task.
struct Copy<'a> {
    args: &'a CopyArgs,
    /// Ends with a slash where the option does.
    dest: PathBuf,
    attributes: FileAttributes,
}

impl Copy<'_> {
    fn text(&self, machine: &mut Machine, text: String) -> ModuleResult {
        if machine.is_dir(&self.dest)? {
            return Err(Failure::new("can not use content with a dir as dest"));
        }
        let source = Source {
            size: text.len().try_into().expect("a length fits"),
            content: text.into(),
            sha1: None,
            md5: None,
            new: crate::machine::NewFile::default(),
        };
        self.place(machine, &source, &self.dest)
    }

    fn controllers_file(&self, machine: &mut Machine, content: &Map) -> ModuleResult {
        let source = Source::controllers(content)?;
        let name = self.args._original_basename.as_deref();
        let dest = match name {
            Some(name) if ends_with_slash(&self.dest) => self.dest.join(name),
            _ => self.dest.clone(),
        };
        let is_directory = machine.is_dir(&dest)?;
        let dest = match name {
            Some(name) if is_directory => dest.join(name),
            None if is_directory => {
                return Err(Failure::new("can not use content with a dir as dest"));
            }
            _ => dest,
        };
        if ends_with_slash(&self.dest) {
            self.make_parents(machine, &dest)?;
        }
        self.place(machine, &source, &dest)
    }

    fn place(&self, machine: &mut Machine, source: &Source, dest: &Path) -> ModuleResult {
        let placing = Placing {
            args: self.args,
            attributes: &self.attributes,
            follow: self.args.follow,
        };
        placing.run(machine, source, dest)
    }

    /// Makes the directories above `path` that are missing, with the mode and owner of new
    /// directories; tells whether any was.
    fn make_parents(&self, machine: &mut Machine, path: &Path) -> Result<bool, Failure> {
        match path.parent() {
            Some(parent) => self.make_directories(machine, parent),
            None => Ok(false),
        }
    }

    fn make_directories(&self, machine: &mut Machine, path: &Path) -> Result<bool, Failure> {
        let attributes = self.directory_attributes();
        let made = machine.create_dir_all(path, 0o777)?;
        for directory in &made {
            machine.apply_file_attributes(directory, &attributes, crate::machine::Follow::No)?;
        }
        Ok(!made.is_empty())
    }

    /// Returns the file options for directories: the same owner, another mode.
    fn directory_attributes(&self) -> FileAttributes {
        FileAttributes {
            mode: self.args.directory_mode.clone(),
            ..self.attributes.clone()
        }
    }
}

impl Source {
    /// Reads what the controller offers.
    fn controllers(offer: &Map) -> Result<Self, Failure> {
        let text = |name: &str| offer.get(name).and_then(Value::as_str).map(str::to_owned);
        let id = content_id(offer)?;
        Ok(Self {
            size: id.size,
            content: crate::machine::Content::Remote(id),
            sha1: text("sha1"),
            md5: text("md5"),
            new: crate::machine::NewFile::default(),
        })
    }
}

fn ends_with_slash(path: &Path) -> bool {
    path.as_os_str().as_encoded_bytes().ends_with(b"/")
}

/// Expands a path; one that ends with a slash does so afterwards.
fn expand_keeping_slash(machine: &mut Machine, path: &Path) -> PathBuf {
    let expanded = machine.expand(path);
    if ends_with_slash(path) {
        expanded.join("")
    } else {
        expanded
    }
}

#[cfg(test)]
mod tests;
