//! `archive`: files of the target packed into an archive, or one of them compressed.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use crate::machine::{Content, FileKind, Follow, Machine, NewFile};
use crate::value::Value;

use super::archive::{Format as Packed, visit};
use super::glob::{self, NamePattern};
use super::path_info::path_info;
use super::{Failure, ModuleResult, Outcome};

crate::arguments! {
    /// Creates a compressed archive of one or more files or trees.
    pub(crate) struct ArchiveArgs for "community.general.archive" with file_attributes {
        /// Files, directories, and patterns of them.
        path: Vec<String> { required },
        format: String { default: "gz", choices: ["bz2", "gz", "tar", "xz", "zip"] },
        /// The archive; beside the file by default.
        dest: Option<PathBuf> {},
        /// What is not packed of the paths.
        exclude_path: Vec<String> { default: "" },
        /// Patterns of what is not packed of directories.
        exclusion_patterns: Option<Vec<String>> {},
        /// Make an archive of a single file too.
        force_archive: bool { default: "false" },
        /// Remove what was packed.
        remove: bool { default: "false" },
    }
}

/// Packs, and tells whether the archive holds something else than before.
pub(crate) fn run(machine: &mut Machine, args: ArchiveArgs) -> ModuleResult {
    let mut work = Work::new(machine, &args)?;
    let mut changed = work.pack()?;
    if work.machine.exists(&work.dest)? {
        let dest = work.dest.clone();
        let change = work
            .machine
            .apply_file_attributes(&dest, &args.file, Follow::Yes)?;
        changed |= change.changed;
    }
    let list = |paths: &[PathBuf]| Value::list(paths.iter().map(|path| path.display().to_string()));
    let info = path_info(work.machine, &work.dest)?;
    Ok(Outcome::unchanged()
        .with_changed(changed)
        .with("archived", list(&work.packed))
        .with("dest", work.dest.display().to_string())
        .with("dest_state", work.state)
        .with("arcroot", work.root.clone())
        .with("missing", list(&work.missing))
        .with("expanded_paths", list(&work.expanded))
        .with("expanded_exclude_paths", list(&work.excluded))
        .with_all(info))
}

struct Work<'a> {
    machine: &'a mut Machine,
    args: &'a ArchiveArgs,
    expanded: Vec<PathBuf>,
    excluded: Vec<PathBuf>,
    paths: Vec<PathBuf>,
    missing: Vec<PathBuf>,
    packed: Vec<PathBuf>,
    dest: PathBuf,
    /// What all names in the archive leave out.
    root: String,
    is_archive: bool,
    state: &'static str,
}

impl<'a> Work<'a> {
    fn new(machine: &'a mut Machine, args: &'a ArchiveArgs) -> Result<Self, Failure> {
        let (expanded, has_patterns) = expand(machine, &args.path)?;
        let (excluded, _) = expand(machine, &args.exclude_path)?;
        let paths: BTreeSet<_> = expanded
            .iter()
            .filter(|path| !excluded.contains(path))
            .cloned()
            .collect();
        let paths: Vec<_> = paths.into_iter().collect();
        let joined = |paths: &[PathBuf]| {
            let texts: Vec<_> = paths
                .iter()
                .map(|path| path.display().to_string())
                .collect();
            texts.join(", ")
        };
        let Some(first) = paths.first() else {
            return Err(Failure::new("Error, no source paths were found")
                .with("path", args.path.join(", "))
                .with("expanded_paths", joined(&expanded))
                .with("expanded_exclude_paths", joined(&excluded)));
        };
        let is_archive =
            args.force_archive || has_patterns || paths.len() > 1 || machine.is_dir(first)?;
        let dest = match &args.dest {
            Some(dest) => machine.expand(dest),
            None if !is_archive => PathBuf::from(format!("{}.{}", first.display(), args.format)),
            None => {
                return Err(Failure::new(
                    "Error, must specify \"dest\" when archiving multiple files or trees",
                )
                .with("path", args.path.join(", ")));
            }
        };
        if args.remove {
            for path in &paths {
                if machine.is_dir(path)? && dest.starts_with(path) {
                    return Err(Failure::new(
                        "Error, created archive can not be contained in source paths when \
                         remove=true",
                    )
                    .with("path", joined(&paths)));
                }
            }
        }
        Ok(Self {
            root: common(&paths),
            machine,
            args,
            expanded,
            excluded,
            paths,
            missing: Vec::new(),
            packed: Vec::new(),
            dest,
            is_archive,
            state: "absent",
        })
    }

    fn pack(&mut self) -> Result<bool, Failure> {
        let mut targets = Vec::new();
        for path in self.paths.clone() {
            if self.machine.symlink_metadata(&path)?.is_some() {
                targets.push(path);
            } else {
                self.missing.push(path);
            }
        }
        let exists = self.machine.exists(&self.dest)?;
        if targets.is_empty() {
            if exists {
                let name = self.dest.file_name().unwrap_or_default().to_string_lossy();
                let name = name.to_lowercase();
                let is_archive = [
                    ".tar", ".tar.gz", ".tar.bz2", ".tar.xz", ".tgz", ".tbz2", ".zip",
                ]
                .iter()
                .any(|end| name.ends_with(end));
                self.state = if is_archive { "archive" } else { "compress" };
            }
            return Ok(false);
        }
        if self.machine.is_check() {
            return Ok(self.is_archive || !exists);
        }
        let is_plain = !self.is_archive && !matches!(self.args.format.as_str(), "zip" | "tar");
        let before = self.contents()?;
        let bytes = if is_plain {
            let path = targets[0].clone();
            let bytes = self.machine.read(&path)?;
            self.packed.push(path);
            self.state = "compress";
            compressed(&self.args.format, &bytes).map_err(|error| self.failed(&error))?
        } else {
            self.state = if self.missing.is_empty() {
                "archive"
            } else {
                "incomplete"
            };
            self.archive(&targets)?
        };
        self.write(bytes)?;
        let changed = self.contents()? != before;
        if self.args.remove {
            self.remove()?;
        }
        Ok(changed)
    }

    fn failed(&self, error: &io::Error) -> Failure {
        let format = match self.args.format.as_str() {
            format @ ("zip" | "tar") => format.to_owned(),
            format => format!("tar.{format}"),
        };
        Failure::new(format!(
            "Error when writing {format} archive at {}: {error}",
            self.dest.display()
        ))
    }

    fn write(&mut self, bytes: Vec<u8>) -> Result<(), Failure> {
        let path = self.machine.real_path(&self.dest)?;
        let content = Content::Bytes(bytes);
        Ok(self.machine.write(&path, content, &NewFile::default())?)
    }

    /// Returns what tells the archive's contents: names and checksums, or the bytes of one file.
    fn contents(&mut self) -> Result<Option<BTreeSet<(String, u32)>>, Failure> {
        let dest = self.dest.clone();
        if !self.machine.exists(&dest)? {
            return Ok(None);
        }
        let bytes = self.machine.read(&dest)?;
        let mut found = BTreeSet::new();
        let mut file = self.machine.temporary_file(&bytes)?;
        let format = Packed::of(file.file()).ok().flatten();
        let is_read = format.is_some_and(|format| {
            let mut add = |entry: &super::archive::Entry, reader: &mut dyn Read| {
                let mut bytes = Vec::new();
                let read = reader.read_to_end(&mut bytes);
                read.map_err(|error| Failure::new(error.to_string()))?;
                // As in Ansible the attributes count too, not only the bytes.
                let about = format!("{:?}{:?}{}", entry.mode, entry.owner, entry.mtime);
                bytes.extend(about.bytes());
                found.insert((entry.name.clone(), checksum(&bytes)));
                Ok(())
            };
            visit(file.file(), format, &mut add).is_ok()
        });
        if !is_read || found.is_empty() {
            let plain = decompressed(&bytes).unwrap_or(bytes);
            found = BTreeSet::from([(String::new(), checksum(&plain))]);
        }
        Ok(Some(found))
    }

    /// Returns the files to pack, directories before what is in them.
    fn walk(&mut self, targets: &[PathBuf]) -> Result<Vec<PathBuf>, Failure> {
        let mut found = Vec::new();
        for target in targets {
            if !self.machine.is_dir(target)? {
                found.push(target.clone());
                continue;
            }
            let mut waiting = vec![target.clone()];
            while let Some(directory) = waiting.pop() {
                self.machine.check_cancelled()?;
                for entry in self.machine.read_dir(&directory)? {
                    let path = directory.join(&entry.name);
                    let about = self.machine.symlink_metadata(&path)?;
                    if about.is_some_and(|about| about.is_dir()) {
                        waiting.push(path.clone());
                    }
                    found.push(path);
                }
            }
        }
        let patterns: Vec<_> = self
            .args
            .exclusion_patterns
            .iter()
            .flatten()
            .map(|pattern| NamePattern::new(pattern))
            .collect();
        let (root, is_zip) = (self.root.clone(), self.args.format == "zip");
        found.retain(|path| {
            let whole = path.display().to_string();
            let subject = if is_zip {
                whole.as_str()
            } else {
                whole.strip_prefix(&root).unwrap_or(&whole)
            };
            !patterns
                .iter()
                .any(|pattern| pattern.matches(OsStr::new(subject)))
        });
        // The archive itself is not part of what it holds.
        found.retain(|path| *path != self.dest);
        Ok(found)
    }

    fn archive(&mut self, targets: &[PathBuf]) -> Result<Vec<u8>, Failure> {
        let files = self.walk(targets)?;
        let bytes = if self.args.format == "zip" {
            self.zip(&files)?
        } else {
            let tar = self.tar(&files)?;
            compressed(&self.args.format, &tar).map_err(|error| self.failed(&error))?
        };
        self.packed = files;
        Ok(bytes)
    }

    fn name(&self, path: &Path) -> String {
        let whole = path.display().to_string();
        let name = whole.strip_prefix(&self.root).unwrap_or(&whole);
        name.trim_start_matches('/').to_owned()
    }

    fn tar(&mut self, files: &[PathBuf]) -> Result<Vec<u8>, Failure> {
        let mut tar = tar::Builder::new(Vec::new());
        for path in files {
            let Some(about) = self.machine.symlink_metadata(path)? else {
                continue;
            };
            let mut header = tar::Header::new_gnu();
            header.set_mode(about.mode & 0o7777);
            header.set_uid(about.uid.into());
            header.set_gid(about.gid.into());
            header.set_mtime(u64::try_from(about.mtime.seconds).unwrap_or(0));
            let user = self.machine.user_name(about.uid).unwrap_or_default();
            let group = self.machine.group_name(about.gid).unwrap_or_default();
            let name = self.name(path);
            let added = header
                .set_username(&user)
                .and_then(|()| header.set_groupname(&group))
                .and(Ok(()));
            let added = added.and_then(|()| match about.kind {
                FileKind::Directory => {
                    header.set_entry_type(tar::EntryType::Directory);
                    header.set_size(0);
                    tar.append_data(&mut header, name + "/", io::empty())
                }
                FileKind::Link => {
                    header.set_entry_type(tar::EntryType::Symlink);
                    header.set_size(0);
                    let target = self.machine.read_link(path).unwrap_or_default();
                    tar.append_link(&mut header, name, target)
                }
                FileKind::File => {
                    let bytes = self
                        .machine
                        .read(path)
                        .map_err(|error| io::Error::other(error.to_string()))?;
                    header.set_size(bytes.len() as u64);
                    tar.append_data(&mut header, name, bytes.as_slice())
                }
                // Sockets and devices are no content.
                _ => Ok(()),
            });
            added.map_err(|error| self.failed(&error))?;
        }
        tar.into_inner().map_err(|error| self.failed(&error))
    }

    fn zip(&mut self, files: &[PathBuf]) -> Result<Vec<u8>, Failure> {
        let mut zip = zip::ZipWriter::new(io::Cursor::new(Vec::new()));
        for path in files {
            // A zip holds what links lead to.
            let Some(about) = self.machine.metadata(path)? else {
                continue;
            };
            let options = zip::write::SimpleFileOptions::default()
                .compression_method(zip::CompressionMethod::Deflated)
                .unix_permissions(about.mode & 0o7777);
            let name = self.name(path);
            let added = if about.is_dir() {
                zip.add_directory(name, options).map_err(io::Error::other)
            } else if about.is_file() {
                let bytes = self.machine.read(path)?;
                zip.start_file(name, options)
                    .map_err(io::Error::other)
                    .and_then(|()| zip.write_all(&bytes))
            } else {
                Ok(())
            };
            added.map_err(|error| self.failed(&error))?;
        }
        let done = zip.finish().map_err(io::Error::other);
        Ok(done.map_err(|error| self.failed(&error))?.into_inner())
    }

    fn remove(&mut self) -> Result<(), Failure> {
        for path in self.packed.iter().chain(&self.paths) {
            if self.machine.symlink_metadata(path)?.is_some() {
                self.machine.remove(path)?;
            }
        }
        Ok(())
    }
}

/// Expands patterns; tells whether there were any.
fn expand(machine: &mut Machine, given: &[String]) -> Result<(Vec<PathBuf>, bool), Failure> {
    let mut found = Vec::new();
    let mut has_patterns = false;
    for text in given {
        let path = machine.expand(Path::new(text));
        if text.contains(['*', '?']) {
            has_patterns = true;
            found.extend(glob::expand(machine, &path)?);
        } else {
            found.push(path);
        }
    }
    Ok((found, has_patterns))
}

/// Returns the directory that all paths are in, with a slash at its end.
fn common(paths: &[PathBuf]) -> String {
    let parents = paths.iter().map(|path| {
        let parent = path.parent().unwrap_or(Path::new("/"));
        format!("{}/", parent.display()).replace("//", "/")
    });
    let shared = parents.reduce(|left, right| {
        let same = left
            .char_indices()
            .zip(right.chars())
            .take_while(|((_, one), other)| one == other)
            .map(|((at, one), _)| at + one.len_utf8())
            .last();
        left[..same.unwrap_or(0)].to_owned()
    });
    let shared = shared.unwrap_or_default();
    match shared.rfind('/') {
        Some(end) => shared[..=end].to_owned(),
        None => String::new(),
    }
}

fn compressed(format: &str, bytes: &[u8]) -> io::Result<Vec<u8>> {
    match format {
        "gz" => {
            let mut out = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
            out.write_all(bytes)?;
            out.finish()
        }
        "bz2" => {
            let mut out = bzip2::write::BzEncoder::new(Vec::new(), bzip2::Compression::best());
            out.write_all(bytes)?;
            out.finish()
        }
        "xz" => {
            let options = lzma_rust2::XzOptions::with_preset(6);
            let mut out = lzma_rust2::XzWriter::new(Vec::new(), options)?;
            out.write_all(bytes)?;
            out.finish()
        }
        _ => Ok(bytes.to_vec()),
    }
}

/// Returns the content of one compressed file.
fn decompressed(bytes: &[u8]) -> Option<Vec<u8>> {
    let mut out = Vec::new();
    let read = match bytes {
        [0x1f, 0x8b, ..] => flate2::read::GzDecoder::new(bytes).read_to_end(&mut out),
        [b'B', b'Z', b'h', ..] => bzip2::read::BzDecoder::new(bytes).read_to_end(&mut out),
        [0xfd, b'7', ..] => lzma_rust2::XzReader::new(bytes, true).read_to_end(&mut out),
        _ => return None,
    };
    read.ok().map(|_| out)
}

fn checksum(bytes: &[u8]) -> u32 {
    let mut crc = flate2::Crc::new();
    crc.update(bytes);
    crc.sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::modules::testing::Target;

    const NAME: &str = "community.general.archive";

    #[test]
    fn a_directory_is_packed_in_every_format_and_unpacks_again() {
        for format in ["gz", "bz2", "xz", "tar", "zip"] {
            let target = Target::new()
                .file("s/a.txt", "one")
                .file("s/d/b.log", "two")
                .directory("out");
            let options = format!(
                r#"{{"path": "$ROOT/s", "dest": "$ROOT/x", "format": "{format}", "exclusion_patterns": ["*.log"]}}"#
            );
            let result = target.run(NAME, &options);
            assert!(result.contains(r#""changed":true"#), "{format}: {result}");
            assert!(result.contains(r#""arcroot":"$ROOT/""#), "{result}");
            assert!(
                target.run(NAME, &options).contains(r#""changed":false"#),
                "{format}"
            );
            let unpack = r#"{"src": "$ROOT/x", "dest": "$ROOT/out", "remote_src": true}"#;
            target.run("unarchive", unpack);
            assert_eq!(target.read("out/s/a.txt"), "one", "{format}");
            assert!(!target.path("out/s/d/b.log").exists(), "{format}");
        }
    }

    #[test]
    fn one_file_is_compressed_beside_itself_and_removed_if_asked() {
        let target = Target::new().file("a.txt", "one");
        let options = r#"{"path": "$ROOT/a.txt", "remove": true}"#;
        let made = target.run(NAME, options);
        let (told, about) = made.split_once(r#","uid":"#).unwrap();
        assert_eq!(
            told,
            r#"{"changed":true,"archived":["$ROOT/a.txt"],"dest":"$ROOT/a.txt.gz","dest_state":"compress","arcroot":"$ROOT/","missing":[],"expanded_paths":["$ROOT/a.txt"],"expanded_exclude_paths":[]"#
        );
        assert!(
            about.contains(r#""mode":"0644","state":"file","size":"#),
            "{about}"
        );
        assert!(!target.path("a.txt").exists());
        let again = target.run(NAME, options);
        assert!(
            again.contains(r#""changed":false"#) && again.contains(r#""missing":["$ROOT/a.txt"]"#),
            "{again}"
        );
    }

    #[test]
    fn calls_without_sense_are_refused() {
        let target = Target::new().file("s/a", "1");
        for (options, msg) in [
            (r#"{"path": "$ROOT/s"}"#, "must specify \\\"dest\\\""),
            (
                r#"{"path": "$ROOT/*.none", "dest": "$ROOT/x"}"#,
                "Error, no source paths were found",
            ),
            (
                r#"{"path": "$ROOT/s", "dest": "$ROOT/s/x.tgz", "remove": true}"#,
                "can not be contained in source paths",
            ),
        ] {
            let result = target.run(NAME, options);
            assert!(result.contains(msg), "{result}");
        }
        assert_eq!(common(&["/a/b/c".into(), "/a/bd/e".into()]), "/a/");
    }
}
