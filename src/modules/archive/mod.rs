//! Reading tar and zip archives, compressed or not, without the programs of those names.
//!
//! Gives entries in the archive's order and refuses what no honest archive holds. Writes nothing:
//! what becomes of an entry is the visitor's business.

mod tarball;
mod zipped;

use std::fs::File;
use std::io::{self, Read, Seek};
use std::path::{Component, Path, PathBuf};

use super::Failure;

/// What an archive is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Format {
    Zip,
    Tar(Compression),
}

/// How a tar archive is compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Compression {
    None,
    Gzip,
    Bzip2,
    Xz,
    Zstd,
}

impl Format {
    /// Recognises an archive by its first bytes, and leaves the file at its start.
    pub(super) fn of(file: &mut File) -> io::Result<Option<Self>> {
        let mut head = Vec::new();
        file.rewind()?;
        file.by_ref().take(512).read_to_end(&mut head)?;
        file.rewind()?;
        Ok(match head.as_slice() {
            [b'P', b'K', 3, 4, ..] | [b'P', b'K', 5, 6, ..] => Some(Self::Zip),
            [0x1f, 0x8b, ..] => Some(Self::Tar(Compression::Gzip)),
            [b'B', b'Z', b'h', ..] => Some(Self::Tar(Compression::Bzip2)),
            [0xfd, b'7', b'z', b'X', b'Z', 0, ..] => Some(Self::Tar(Compression::Xz)),
            [0x28, 0xb5, 0x2f, 0xfd, ..] => Some(Self::Tar(Compression::Zstd)),
            head if tarball::is_header(head) => Some(Self::Tar(Compression::None)),
            _ => None,
        })
    }

    /// Returns Ansible's name of what handles the archive; GNU tar finds out by itself about all
    /// compressions but the first that Ansible tries.
    pub(super) fn handler(self) -> &'static str {
        match self {
            Self::Zip => "ZipArchive",
            Self::Tar(Compression::Gzip) => "TgzArchive",
            Self::Tar(_) => "TarArchive",
        }
    }
}

/// One member of an archive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    /// The name as the archive has it.
    pub(super) name: String,
    /// The same as a relative path that stays where it is put.
    pub(super) path: PathBuf,
    pub(super) kind: EntryKind,
    /// The permission bits, where the archive has any.
    pub(super) mode: Option<u32>,
    /// Owner and group, by name and number; zip archives have none.
    pub(super) owner: Option<Owner>,
    pub(super) size: u64,
    /// Seconds since the epoch.
    pub(super) mtime: i64,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum EntryKind {
    File,
    Directory,
    /// A symbolic link, with what it reads.
    Link(PathBuf),
    /// Another name of a member before it.
    HardLink(PathBuf),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Owner {
    pub(super) user: Option<String>,
    pub(super) uid: u64,
    pub(super) group: Option<String>,
    pub(super) gid: u64,
}

/// What is called for each member with its content; the content need not be read.
pub(super) type Visitor<'a> = dyn FnMut(&Entry, &mut dyn Read) -> Result<(), Failure> + 'a;

/// Visits all members of an archive in order.
pub(super) fn visit(
    file: &mut File,
    format: Format,
    visitor: &mut Visitor<'_>,
) -> Result<(), Failure> {
    file.rewind().map_err(|error| broken(&error))?;
    match format {
        Format::Zip => zipped::visit(file, visitor),
        Format::Tar(compression) => tarball::visit(file, compression, visitor),
    }
}

const BROKEN: &str = "the archive cannot be read: ";

fn broken(error: &dyn std::fmt::Display) -> Failure {
    Failure::new(format!("{BROKEN}{error}"))
}

/// Tells whether a visit ended because the archive is damaged, or none at all.
pub(super) fn is_broken(failure: &Failure) -> bool {
    failure.msg.starts_with(BROKEN)
}

/// Returns a member's name as a relative path; a leading `/` is dropped as tar drops it, and a
/// name that climbs out is refused.
fn safe_path(name: &Path) -> Result<PathBuf, Failure> {
    let mut path = PathBuf::new();
    for component in name.components() {
        match component {
            Component::Normal(part) => path.push(part),
            Component::RootDir | Component::CurDir => {}
            Component::ParentDir | Component::Prefix(_) => {
                return Err(refused(name, "its name leaves the destination"));
            }
        }
    }
    Ok(path)
}

fn refused(name: &Path, why: &str) -> Failure {
    Failure::new(format!(
        "refused to unpack the archive: `{}`: {why}",
        name.display()
    ))
}

#[cfg(test)]
mod tests;
