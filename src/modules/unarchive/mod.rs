//! `unarchive`: what an archive holds is in a directory of the target.
//!
//! Unpacks without tar or unzip. The archive is read once to compare it with what is there, and
//! once more only when something differs; only what differs is written.

mod extra;
mod member;
mod selection;

use std::collections::BTreeSet;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use rustix::fs::Access;

use crate::arguments::FileAttributes;
use crate::machine::{
    Algorithm, Attributes, Content, Follow, Links, Machine, TemporaryFile, Timestamp,
};
use crate::value::{Map, Value};

use super::archive::{self, Entry, EntryKind, Format};
use super::offer::content_id;
use super::path_info::{path_info, without_unborn_owners};
use super::{Failure, ModuleResult, Outcome, http};
use extra::Extra;
use member::Unpacking;
use selection::Selection;

crate::arguments! {
    /// Unpack an archive after optionally copying it from the local machine.
    pub(crate) struct UnarchiveArgs for "unarchive" with file_attributes {
        /// The archive; with `remote_src` a path of the target or a URL.
        src: String { required },
        /// The existing directory to unpack into.
        dest: PathBuf { required },
        /// The archive is on the target.
        remote_src: bool { default: "false" },
        /// Do not unpack when this exists.
        creates: Option<PathBuf> {},
        /// Return the names of what is in the archive.
        list_files: bool { default: "false" },
        /// Keep files that are newer than those in the archive.
        keep_newer: bool { default: "false" },
        /// What to leave out.
        exclude: Vec<String> { default: "" },
        /// What alone to unpack.
        include: Vec<String> { default: "" },
        /// Options of tar or unzip.
        extra_opts: Vec<String> { default: "" },
        /// Check the certificate of the server that a URL names.
        validate_certs: bool { default: "true" },
        /// Accepted as Ansible accepts it; buffers have a size of their own.
        io_buffer_size: i64 { default: "65536" },
        /// The opposite of `remote_src`.
        copy: bool { default: "true" },
        /// Decrypt a vaulted archive.
        decrypt: bool { default: "true" },
        /// What the controller has.
        _content: Option<Map> { internal },
        /// The name of the controller's file.
        _original_basename: Option<String> { internal },
    }
    mutually_exclusive [["include", "exclude"]]
}

/// Brings the directory in line with the archive, then applies the file options to all of it.
pub(crate) fn run(machine: &mut Machine, args: UnarchiveArgs) -> ModuleResult {
    if let Some(creates) = &args.creates {
        let path = machine.expand(creates);
        if machine.symlink_metadata(&path)?.is_some() {
            let msg = format!("skipped, since {} exists", creates.display());
            return Ok(Outcome::unchanged().skipped().msg(msg));
        }
    }
    let dest = machine.expand(&args.dest);
    if !machine.is_dir(&dest)? {
        return Err(Failure::new(format!(
            "dest '{}' must be an existing dir",
            dest.display()
        )));
    }
    let mut source = open(machine, &args)?;
    let format = Format::of(&mut source.file)
        .map_err(|error| Failure::new(format!("Source '{}' not readable, {error}", source.name)))?
        .ok_or_else(|| no_handler(&source.name))?;
    let (attributes, warnings) = without_unborn_owners(machine, &args.file);
    let extra = Extra::new(&args.extra_opts, format)?;
    let selection = Selection::new(&args, &extra, format);
    let mut unpacking = Unpacking::new(&dest, &attributes, &args, &extra);
    let (changed, plan) = machine.below(&dest, Links::OfRootFollowed, |machine| {
        let plan = plan(
            machine,
            &mut source.file,
            format,
            &selection,
            &mut unpacking,
            &source.name,
        )?;
        let mut changed = !plan.different.is_empty();
        if changed {
            unpack(
                machine,
                &mut source.file,
                format,
                &selection,
                &mut unpacking,
                &plan,
            )?;
        }
        changed |= apply_attributes(machine, &mut unpacking, &attributes, &plan)?;
        Ok::<_, Failure>((changed, plan))
    })?;
    let mut outcome = Outcome::unchanged()
        .with_changed(changed)
        .with("handler", format.handler())
        .with("dest", args.dest.display().to_string())
        .with("src", source.name.as_str())
        .with_all(path_info(machine, &dest)?);
    if changed && !machine.is_check() {
        outcome = outcome.with("extract_results", extract_results());
    }
    if args.list_files {
        outcome = outcome.with("files", Value::list(plan.names));
    }
    outcome.warnings = warnings;
    Ok(outcome)
}

/// The archive as an open file, whatever it came from.
struct Source {
    file: File,
    /// What the result has as `src`.
    name: String,
    /// Removes the file when it was fetched for this task.
    _fetched: Option<TemporaryFile>,
}

fn open(machine: &mut Machine, args: &UnarchiveArgs) -> Result<Source, Failure> {
    if let Some(offer) = &args._content {
        let id = content_id(offer)?;
        let name = args._original_basename.clone();
        let name = name.unwrap_or_else(|| args.src.clone());
        return fetch(machine, &Content::Remote(id), name);
    }
    if args.src.contains("://") {
        let fetched = http::download(machine, &args.src, args.validate_certs)?;
        return opened(fetched, args.src.clone());
    }
    let path = machine.expand(Path::new(&args.src));
    let name = path.display().to_string();
    let Some(found) = machine.metadata(&path)? else {
        return Err(Failure::new(format!("Source '{name}' does not exist")));
    };
    if !machine.may(&path, Access::READ_OK) && !machine.is_check() {
        return Err(Failure::new(format!("Source '{name}' not readable")));
    }
    if found.size == 0 {
        let msg = format!("Invalid archive '{name}', the file is 0 bytes");
        return Err(Failure::new(msg));
    }
    if machine.is_check() {
        // The archive may be one that an earlier task would have put there.
        return fetch(machine, &Content::File(path), name);
    }
    let file = File::open(&path)
        .map_err(|error| Failure::new(format!("Source '{name}' not readable, {error}")))?;
    Ok(Source {
        file,
        name,
        _fetched: None,
    })
}

/// Copies content into a private file, and checks that it arrived whole.
fn fetch(machine: &mut Machine, content: &Content, name: String) -> Result<Source, Failure> {
    let mut fetched = machine.temporary_file(b"")?;
    let mut reader = machine.open_content(content)?;
    io::copy(&mut reader, fetched.file())
        .map_err(|error| Failure::new(format!("Source '{name}' failed to transfer: {error}")))?;
    drop(reader);
    let source = opened(fetched, name)?;
    if let Content::Remote(id) = content {
        let mut file = &source.file;
        let digest = Algorithm::Sha256.of_reader(&mut file);
        if !digest.is_ok_and(|digest| digest == id.sha256) {
            let msg = format!("Source '{}' failed to transfer", source.name);
            return Err(Failure::new(msg));
        }
    }
    Ok(source)
}

fn opened(fetched: TemporaryFile, name: String) -> Result<Source, Failure> {
    let file = File::open(fetched.path())
        .map_err(|error| Failure::new(format!("Source '{name}' not readable, {error}")))?;
    Ok(Source {
        file,
        name,
        _fetched: Some(fetched),
    })
}

fn no_handler(name: &str) -> Failure {
    Failure::new(format!(
        "Failed to find handler for \"{name}\": it is no zip archive, and no tar archive, plain or \
         compressed with gzip, bzip2, xz or zstd"
    ))
}

/// What is to be done, known before anything is.
#[derive(Default)]
struct Plan {
    /// The names of the selected members, as the archive has them or as they are unpacked.
    names: Vec<String>,
    /// The paths of the selected members below the destination.
    paths: Vec<PathBuf>,
    /// The members, by their number in the archive, that are not there as they should be.
    different: BTreeSet<usize>,
}

/// Compares every selected member with what is there. Nothing is changed by a hostile archive:
/// all of it is looked at before any of it is unpacked.
fn plan(
    machine: &mut Machine,
    file: &mut File,
    format: Format,
    selection: &Selection,
    unpacking: &mut Unpacking<'_>,
    name: &str,
) -> Result<Plan, Failure> {
    let mut plan = Plan::default();
    let mut links = BTreeSet::new();
    let mut number = 0;
    let visited = archive::visit(file, format, &mut |entry, content| {
        machine.check_cancelled()?;
        number += 1;
        let Some(entry) = selection.select(entry) else {
            return Ok(());
        };
        if let Some(link) = through(&links, &entry) {
            return Err(Failure::new(format!(
                "refused to unpack the archive: `{}` would be written through the link `{}`",
                entry.name,
                link.display()
            )));
        }
        if matches!(entry.kind, EntryKind::Link(_)) {
            links.insert(entry.path.clone());
        }
        if unpacking.differs(machine, &entry, content)? {
            plan.different.insert(number);
        }
        plan.names.push(selection.shown_name(&entry));
        plan.paths.push(entry.path);
        Ok(())
    });
    // Compressed text that is no archive shows at its first block only.
    visited.map_err(|failure| {
        if number == 0 && archive::is_broken(&failure) {
            no_handler(name)
        } else {
            failure
        }
    })?;
    if let Some(missing) = selection.missing(&plan.names) {
        return Err(Failure::new(format!(
            "failed to unpack: {missing}: Not found in archive"
        )));
    }
    if plan.names.is_empty() && selection.is_everything() {
        return Err(Failure::new("Empty archive files are not supported."));
    }
    Ok(plan)
}

/// Returns the link of the archive's own that a member's path goes through.
fn through<'a>(links: &'a BTreeSet<PathBuf>, entry: &Entry) -> Option<&'a PathBuf> {
    entry
        .path
        .ancestors()
        .skip(1)
        .find_map(|above| links.get(above))
}

fn unpack(
    machine: &mut Machine,
    file: &mut File,
    format: Format,
    selection: &Selection,
    unpacking: &mut Unpacking<'_>,
    plan: &Plan,
) -> Result<(), Failure> {
    let mut number = 0;
    let mut directories = Vec::new();
    archive::visit(file, format, &mut |entry, content| {
        machine.check_cancelled()?;
        number += 1;
        let Some(entry) = selection.select(entry) else {
            return Ok(());
        };
        if plan.different.contains(&number) {
            unpacking.unpack(machine, &entry, content)?;
        }
        if entry.kind == EntryKind::Directory {
            directories.push((unpacking.target(machine, &entry.path)?, entry.mtime));
        }
        Ok(())
    })?;
    // Only now nothing is put into them any more.
    for (path, mtime) in directories {
        let times = Attributes {
            times: Some([Timestamp::now(), member::timestamp(mtime)]),
            ..Attributes::default()
        };
        let found = machine.symlink_metadata(&path)?;
        if found.is_some_and(|found| found.is_dir() && found.mtime.seconds != mtime) {
            machine.set_attributes(&path, &times, Follow::No)?;
        }
    }
    Ok(())
}

/// Applies the file options to all that was in the archive and to the directories at its top.
fn apply_attributes(
    machine: &mut Machine,
    unpacking: &mut Unpacking<'_>,
    attributes: &FileAttributes,
    plan: &Plan,
) -> Result<bool, Failure> {
    if *attributes == FileAttributes::default() {
        return Ok(false);
    }
    let tops = plan
        .paths
        .iter()
        .filter_map(|path| path.components().next());
    let tops: BTreeSet<PathBuf> = tops.map(|top| PathBuf::from(top.as_os_str())).collect();
    let mut changed = false;
    for path in plan.paths.iter().chain(&tops) {
        let path = unpacking.target(machine, path)?;
        if machine.symlink_metadata(&path)?.is_some() {
            let change = machine.apply_file_attributes(&path, attributes, Follow::No)?;
            changed |= change.changed;
        }
    }
    Ok(changed)
}

/// Says what Ansible says about the program it ran; here none was.
fn extract_results() -> Value {
    Value::map([
        ("cmd", Value::list::<Value>([])),
        ("rc", 0.into()),
        ("out", "".into()),
        ("err", "".into()),
    ])
}

#[cfg(test)]
mod tests;
