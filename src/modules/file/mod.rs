//! `file`: a file, directory or link exists with given attributes, or nothing does.

mod links;
mod times;

use std::path::{Path, PathBuf};

use crate::arguments::FileAttributes;
use crate::machine::{
    AttributeChange, Content, Follow, Links, Machine, MachineError, Metadata, NewFile,
};
use crate::value::{Map, Value};

use super::os_error::os_error;
use super::path_info::{path_info, without_unborn_owners};
use super::{Diff, Failure, ModuleResult, Outcome};
use times::Times;

crate::arguments! {
    /// Manage files and file properties.
    pub(crate) struct FileArgs for "file" with file_attributes {
        /// What should be at the path.
        state: Option<String> {
            choices: ["absent", "directory", "file", "hard", "link", "touch"],
        },
        /// The path to manage.
        path: PathBuf { required, aliases: ["dest", "name"] },
        /// Apply the attributes to everything in the directory.
        recurse: bool { default: "false" },
        /// Make a link even though its source does not exist or something is in its place.
        force: bool { default: "false" },
        /// Manage what a link points to.
        follow: bool { default: "true" },
        /// What a link points to.
        src: Option<PathBuf> {},
        /// The modification time: `preserve`, `now` or a time.
        modification_time: Option<String> {},
        /// How `modification_time` is written.
        modification_time_format: String { default: "%Y%m%d%H%M.%S" },
        /// The access time: `preserve`, `now` or a time.
        access_time: Option<String> {},
        /// How `access_time` is written.
        access_time_format: String { default: "%Y%m%d%H%M.%S" },
        /// The name that a source had on the controller.
        _original_basename: Option<String> { internal },
        /// Only tell whether the path holds text; for Ansible's own use, accepted and without effect.
        _diff_peek: Option<bool> {},
    }
}

/// Brings the path into the wanted state.
pub(crate) fn run(machine: &mut Machine, mut args: FileArgs) -> ModuleResult {
    args.path = machine.expand(&args.path);
    args.src = args
        .src
        .map(|src| machine.expand_text(&src.to_string_lossy()).into());
    settle_path(machine, &mut args)?;
    let state = match &args.state {
        Some(state) => state.clone(),
        None => current_or_default_state(machine, &args)?,
    };
    if args.recurse && state != "directory" {
        return Err(failure(
            machine,
            "recurse option requires state to be 'directory'",
            &args.path,
        ));
    }
    if args.src.is_some() && state != "link" && state != "hard" {
        let msg = "src option requires state to be 'link' or 'hard'";
        return Err(failure(machine, msg, &args.path));
    }
    let times = Times::new(&args, &state)?;
    let (attributes, warnings) = without_unborn_owners(machine, &args.file);
    let mut work = Work {
        args: &args,
        attributes: &attributes,
        times,
        src: args.src.clone(),
        before: Map::new(),
        after: Map::new(),
        changed: false,
        warnings,
    };
    let (name, done) = match state.as_str() {
        "absent" => ("path", work.absent(machine)),
        "directory" => ("path", work.directory(machine)),
        "file" => ("path", work.file(machine)),
        "link" => ("dest", work.link(machine)),
        "hard" => ("dest", work.hard(machine)),
        _ => ("dest", work.touch(machine)),
    };
    let path = done.map_err(|mut failure| {
        failure.warnings.append(&mut work.warnings);
        failure
    })?;
    work.into_outcome(machine, name, &path, &state)
}

/// Inside a directory, a source's name is added to the path, as for `cp`.
fn settle_path(machine: &Machine, args: &mut FileArgs) -> Result<(), Failure> {
    let keeps = matches!(args.state.as_deref(), Some("link" | "absent"));
    if keeps || !machine.is_dir(&args.path)? {
        return Ok(());
    }
    let source = args.src.as_ref().and_then(|src| src.file_name());
    if let Some(name) = args
        ._original_basename
        .as_deref()
        .map(Path::new)
        .or(source.map(Path::new))
    {
        args.path.push(name);
    }
    Ok(())
}

fn current_or_default_state(machine: &Machine, args: &FileArgs) -> Result<String, Failure> {
    Ok(match State::of(machine, &args.path)? {
        State::Absent if args.recurse => "directory",
        State::Absent => "file",
        state => state.name(),
    }
    .to_owned())
}

/// What is at a path now, in Ansible's words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Absent,
    Link,
    Directory,
    /// A file with several names.
    Hard,
    File,
}

impl State {
    fn of(machine: &Machine, path: &Path) -> Result<Self, Failure> {
        Ok(match machine.symlink_metadata(path)? {
            None => Self::Absent,
            Some(found) if found.is_link() => Self::Link,
            Some(found) if found.is_dir() => Self::Directory,
            Some(found) if found.nlink > 1 => Self::Hard,
            Some(_) => Self::File,
        })
    }

    fn name(self) -> &'static str {
        match self {
            Self::Absent => "absent",
            Self::Link => "link",
            Self::Directory => "directory",
            Self::Hard => "hard",
            Self::File => "file",
        }
    }
}

const ELOOP: i32 = 40;

/// One task on its way.
struct Work<'a> {
    args: &'a FileArgs,
    attributes: &'a FileAttributes,
    times: Times,
    /// What the link points to, once it is known.
    src: Option<PathBuf>,
    /// The two halves of the diff.
    before: Map,
    after: Map,
    changed: bool,
    warnings: Vec<String>,
}

impl Work<'_> {
    /// Starts the diff: where, and from which state to which.
    fn begin(&mut self, path: &Path, from: State, to: &str) {
        let path = Value::from(path.display().to_string());
        self.before.insert("path".into(), path.clone());
        self.after.insert("path".into(), path);
        if from.name() != to {
            self.before.insert("state".into(), from.name().into());
            self.after.insert("state".into(), to.into());
        }
    }

    /// Applies attributes to `path`, which no link leads away from, and notes them in the diff.
    fn apply_attributes(&mut self, machine: &mut Machine, path: &Path) -> Result<(), Failure> {
        let change = self.attributes_of(machine, path)?;
        self.changed |= change.changed;
        self.before.extend(change.before);
        self.after.extend(change.after);
        Ok(())
    }

    fn attributes_of(
        &self,
        machine: &mut Machine,
        path: &Path,
    ) -> Result<AttributeChange, Failure> {
        // Nothing asked of something that is gone is no error.
        if *self.attributes == FileAttributes::default() {
            return Ok(AttributeChange::default());
        }
        machine
            .apply_file_attributes(path, self.attributes, Follow::No)
            .map_err(|error| failure(machine, &Failure::from(error).msg, path))
    }

    fn apply_times(&mut self, machine: &mut Machine, path: &Path) -> Result<(), Failure> {
        let change = self.times.apply(machine, path)?;
        self.changed |= change.changed;
        self.before.extend(change.before);
        self.after.extend(change.after);
        Ok(())
    }

    /// Returns where attributes go: what a link leads to, where links are followed.
    fn subject(&self, machine: &mut Machine, path: &Path) -> Result<PathBuf, Failure> {
        match machine.real_path(path) {
            Ok(real) if self.args.follow => Ok(real),
            // A link to itself leads nowhere, and is what it is.
            Err(error) if error.errno() != Some(ELOOP) => Err(error.into()),
            _ => Ok(path.to_owned()),
        }
    }

    fn absent(&mut self, machine: &mut Machine) -> Result<PathBuf, Failure> {
        let path = &self.args.path;
        let state = State::of(machine, path)?;
        if state != State::Absent {
            self.begin(path, state, "absent");
            if state == State::Directory && machine.wants_diff() {
                let mut content = [Vec::new(), Vec::new()];
                list_tree(machine, path, &mut content)?;
                let [directories, files] = content.map(Value::from);
                let content = Value::map([("directories", directories), ("files", files)]);
                self.before.insert("path_content".into(), content);
            }
            self.changed = machine.remove(path)?;
        }
        Ok(path.clone())
    }

    fn directory(&mut self, machine: &mut Machine) -> Result<PathBuf, Failure> {
        let mut path = self.args.path.clone();
        let mut state = State::of(machine, &path)?;
        if self.args.follow && state == State::Link {
            path = machine.real_path(&path)?;
            state = State::of(machine, &path)?;
        }
        self.begin(&path, state, "directory");
        match state {
            State::Absent => {
                let made = machine.create_dir_all(&path, 0o777);
                for made in made.map_err(|error| not_made(machine, &path, &error))? {
                    self.changed = true;
                    self.apply_attributes(machine, &made)?;
                }
                self.apply_times(machine, &path)?;
            }
            State::Directory => {
                self.apply_attributes(machine, &path)?;
                self.apply_times(machine, &path)?;
                if self.args.recurse && self.args.follow {
                    self.apply_below(machine, &path)?;
                } else if self.args.recurse {
                    machine.below(&path, Links::Taken, |machine| {
                        self.apply_below(machine, &path)
                    })?;
                }
            }
            other => {
                let msg = format!("{} already exists as a {}", path.display(), other.name());
                return Err(failure(machine, &msg, &path));
            }
        }
        Ok(path)
    }

    /// Applies attributes and times to everything in a directory, through links where those are
    /// followed.
    fn apply_below(&mut self, machine: &mut Machine, directory: &Path) -> Result<(), Failure> {
        machine.check_cancelled()?;
        for entry in machine.read_dir(directory)? {
            let path = directory.join(&entry.name);
            self.apply_to_entry(machine, &path)?;
            if entry.metadata.is_dir() {
                self.apply_below(machine, &path)?;
            }
            if entry.metadata.is_link() && self.args.follow {
                let target = directory.join(machine.read_link(&path)?);
                match machine.metadata(&target)? {
                    // A link upwards would never end.
                    Some(found) if found.is_dir() && !directory.starts_with(&target) => {
                        self.apply_below(machine, &target)?;
                        self.apply_to_entry(machine, &target)?;
                    }
                    Some(_) => self.apply_to_entry(machine, &target)?,
                    None => {}
                }
            }
        }
        Ok(())
    }

    fn apply_to_entry(&mut self, machine: &mut Machine, path: &Path) -> Result<(), Failure> {
        let change = self.attributes_of(machine, path)?;
        let times = self.times.apply(machine, path)?;
        self.changed |= change.changed | times.changed;
        Ok(())
    }

    fn file(&mut self, machine: &mut Machine) -> Result<PathBuf, Failure> {
        let mut path = self.args.path.clone();
        let mut state = State::of(machine, &path)?;
        if self.args.follow && state == State::Link {
            path = machine.real_path(&path)?;
            state = State::of(machine, &path)?;
        }
        if !matches!(state, State::File | State::Hard) {
            let msg = format!(
                "file ({}) is {}, cannot continue",
                path.display(),
                state.name()
            );
            return Err(failure(machine, &msg, &path).with("state", state.name()));
        }
        self.begin(&path, state, "file");
        self.apply_attributes(machine, &path)?;
        self.apply_times(machine, &path)?;
        Ok(path)
    }

    fn touch(&mut self, machine: &mut Machine) -> Result<PathBuf, Failure> {
        let path = self.args.path.clone();
        let state = State::of(machine, &path)?;
        self.begin(&path, state, "touch");
        if state == State::Absent {
            machine
                .write(&path, Content::Bytes(Vec::new()), &NewFile::default())
                .map_err(|error| {
                    let msg = format!("Error, could not touch target: {}", os_error(&error));
                    failure(machine, &msg, &path)
                })?;
            self.changed = true;
        }
        let finished = self.finish_touch(machine, &path);
        // A file that cannot become what is wanted is not left behind.
        if state == State::Absent && finished.is_err() {
            machine.remove(&path)?;
        }
        finished?;
        Ok(path)
    }

    fn finish_touch(&mut self, machine: &mut Machine, path: &Path) -> Result<(), Failure> {
        let subject = self.subject(machine, path)?;
        self.apply_attributes(machine, &subject)?;
        self.apply_times(machine, &subject)
    }

    fn into_outcome(
        self,
        machine: &mut Machine,
        name: &str,
        path: &Path,
        state: &str,
    ) -> ModuleResult {
        let mut outcome = Outcome::unchanged()
            .with_changed(self.changed)
            .with(name, path.display().to_string());
        if state == "link" || state == "hard" {
            let src = self.src.as_ref().map(|src| src.display().to_string());
            outcome = outcome.with("src", src);
        }
        outcome = outcome.with_all(path_info(machine, path)?);
        if state == "absent" {
            outcome = outcome.with("state", "absent");
        }
        if machine.wants_diff() && !self.before.is_empty() {
            outcome = outcome.only_diff(Diff::new(self.before, self.after));
        }
        outcome.warnings = self.warnings;
        Ok(outcome)
    }
}

fn not_made(machine: &mut Machine, path: &Path, error: &MachineError) -> Failure {
    let msg = format!(
        "There was an issue creating {} as requested: {}",
        error.object,
        os_error(error)
    );
    failure(machine, &msg, path)
}

/// Lists the directories and files below a directory, in that order.
fn list_tree(
    machine: &Machine,
    directory: &Path,
    lists: &mut [Vec<Value>; 2],
) -> Result<(), Failure> {
    let entries = machine.read_dir(directory)?;
    let is_dir = |metadata: &Metadata| metadata.is_dir();
    for entry in &entries {
        let path = directory.join(&entry.name).display().to_string();
        lists[usize::from(!is_dir(&entry.metadata))].push(path.into());
    }
    for entry in entries.iter().filter(|entry| is_dir(&entry.metadata)) {
        list_tree(machine, &directory.join(&entry.name), lists)?;
    }
    Ok(())
}

/// Makes a failure about `path`, with what Ansible adds about it.
fn failure(machine: &mut Machine, msg: &str, path: &Path) -> Failure {
    let info = path_info(machine, path).unwrap_or_default();
    Failure::new(msg)
        .with("path", path.display().to_string())
        .with_all(info)
}

#[cfg(test)]
mod tests;
