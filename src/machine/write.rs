//! Replacing a file: a new one beside it, made durable, then renamed over it.

use std::fs::File;
use std::io::{self, Write};
use std::path::Path;

use rustix::fs::{AtFlags, Gid, Mode, Timespec, Timestamps, Uid};
use rustix::io::Errno;

use crate::transaction::journal::{After, Identity};

use super::place::{self, Place};
use super::prediction::{Overlay, Source};
use super::query::copy_hashed;
use super::temporary::hidden_name;
use super::{
    Command, Content, Machine, MachineError, Metadata, Output, Reason, Result, Timestamp, extended,
    split_words,
};

/// How a new file is to be, beyond its bytes.
///
/// What is `None` comes from the file that is replaced, else from the umask and the agent's user.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NewFile {
    pub mode: Option<u32>,
    pub uid: Option<u32>,
    pub gid: Option<u32>,
    /// Access and modification time.
    pub times: Option<[Timestamp; 2]>,
    /// Write over the old file where it cannot be replaced (a mount point of a container).
    pub unsafe_writes: bool,
    /// Take nothing over from the file that is replaced.
    pub fresh: bool,
}

impl Machine {
    /// Makes `path` a file that holds `content`; a link at `path` itself is replaced.
    ///
    /// Readers see the old file or the new one, never a part. The bytes are verified against the
    /// content's digest before they take the place.
    pub fn write(&mut self, path: &Path, content: Content, new: &NewFile) -> Result<()> {
        self.write_validated(path, content, None, new)
    }

    /// Like [`write`](Self::write), after the program `validate` (with `%s` for the new file) has
    /// accepted the new file; else the error's reason is [`Reason::Invalid`].
    pub fn write_validated(
        &mut self,
        path: &Path,
        content: Content,
        validate: Option<&str>,
        new: &NewFile,
    ) -> Result<()> {
        self.check_cancelled()?;
        let failed = |error: io::Error| MachineError::io("write", path, error);
        if let Some(prediction) = self.predicted() {
            let mut state = prediction.lock();
            let (source, size) = source_of(&state, content).map_err(failed)?;
            let written = state.write(path, source, size, new, self.umask);
            return written.map_err(failed);
        }
        let place = self.place(path).map_err(failed)?;
        let before = place.metadata().map_err(failed)?;
        if before.as_ref().is_some_and(Metadata::is_dir) {
            return Err(failed(Errno::ISDIR.into()));
        }
        let staged = match self.stage(&place, &content, new, validate.is_some()) {
            Ok(staged) => staged,
            Err(error) if new.unsafe_writes && is_unwritable(&error) => {
                return self.write_over(&place, &content, validate);
            }
            Err(error) => return Err(error),
        };
        if let Some(validate) = validate {
            self.validate(validate, &staged.place.path)?;
        }
        let after = After::File {
            sha256: staged.sha256.clone(),
            identity: Some(staged.identity().map_err(failed)?),
        };
        let name = Some(staged.place.path.clone());
        self.record_put(&place, before.as_ref(), after, name)?;
        match staged.take(&place) {
            Ok(()) => {}
            Err(error) if new.unsafe_writes && is_busy(&error) => {
                drop(staged);
                return self.write_over(&place, &content, None);
            }
            Err(error) => return Err(failed(error)),
        }
        self.sync_names(&place).map_err(failed)
    }

    /// Writes the new file for `place`, complete with its attributes, and makes it durable.
    ///
    /// It has a hidden name beside the place only when it is `named`, or where files without a
    /// name are unknown; such a name is in the undo log before it is in the directory.
    fn stage(
        &mut self,
        place: &Place,
        content: &Content,
        new: &NewFile,
        named: bool,
    ) -> Result<Staged> {
        let failed = |error: io::Error| MachineError::io("write", &place.path, error);
        let hidden = place.sibling(hidden_name().as_ref()).map_err(failed)?;
        let unnamed = if named {
            None
        } else {
            unnamed(place).map_err(failed)?
        };
        let named = unnamed.is_none();
        let file = match unnamed {
            Some(file) => file,
            None => {
                self.record_put(&hidden, None, After::Scratch, None)?;
                hidden.create().map_err(failed)?
            }
        };
        let mut staged = Staged {
            place: hidden,
            file,
            named,
            sha256: String::new(),
        };
        staged.sha256 = self.fill(&place.path, &mut staged.file, content)?;
        self.dress(place, &staged.file, new).map_err(failed)?;
        staged.file.sync_all().map_err(failed)?;
        if named {
            // The kernel runs no program that is open for writing, and `validate` may run it.
            staged.file = staged.place.open().map_err(failed)?;
        }
        Ok(staged)
    }

    /// Streams `content` into `file` and returns the sha256 of what was written.
    pub(super) fn fill(
        &mut self,
        path: &Path,
        file: &mut File,
        content: &Content,
    ) -> Result<String> {
        let cancellation = self.options.cancellation.clone();
        let mut reader = self.open_content(content)?;
        let (sha256, size) = copy_hashed(&mut *reader, file, &|| cancellation.is_cancelled())
            .map_err(|error| MachineError::io("write", path, error))?;
        match content {
            Content::Remote(id) if id.sha256 != sha256 || id.size != size => {
                Err(MachineError::said(
                    "write",
                    path.display(),
                    format!(
                        "the content arrived with sha256 {sha256} and {size} bytes instead of {} \
                         and {} bytes",
                        id.sha256, id.size
                    ),
                )
                .help("did the source file change during the run?"))
            }
            _ => Ok(sha256),
        }
    }

    /// Gives the new file its owner, mode, labels and times.
    fn dress(&self, place: &Place, file: &File, new: &NewFile) -> io::Result<()> {
        // As in Ansible, the file that a replaced link leads to hands on its attributes.
        let old = if new.fresh {
            None
        } else {
            place::metadata(&place.path)?
        };
        let uid = new.uid.or(old.as_ref().map(|old| old.uid));
        let gid = new.gid.or(old.as_ref().map(|old| old.gid));
        let asked = new.uid.is_some() || new.gid.is_some();
        match change_owner(file, uid, gid) {
            // Handing on the old owner is best effort for those who are not root, as in Ansible.
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied && !asked => {}
            changed => changed?,
        }
        if old.is_some() {
            extended::hand_on(&place.path, file)?;
        }
        let mode = new
            .mode
            .or(old.map(|old| old.mode))
            .unwrap_or(0o666 & !self.umask);
        rustix::fs::fchmod(file, Mode::from_raw_mode(mode))?;
        match new.times {
            Some(times) => Ok(rustix::fs::futimens(file, &timestamps(times))?),
            None => Ok(()),
        }
    }

    fn validate(&mut self, validate: &str, path: &Path) -> Result<()> {
        let words = split_words(validate)
            .ok_or_else(|| MachineError::said("run", validate, "its quotes do not match"))?;
        let path = path.to_string_lossy();
        let command = Command::new(words.iter().map(|word| word.replace("%s", &path)));
        let output: Output = self.query(&command)?;
        if output.success() {
            return Ok(());
        }
        Err(MachineError {
            action: "write",
            object: path.into_owned(),
            reason: Reason::Invalid(Box::new(output)),
            help: None,
        })
    }

    /// Writes over the old file's own bytes; a crash in the middle leaves a part.
    fn write_over(
        &mut self,
        place: &Place,
        content: &Content,
        validate: Option<&str>,
    ) -> Result<()> {
        let failed = |error: io::Error| MachineError::io("write", &place.path, error);
        let mut scratch = self.temporary_file(b"")?;
        let sha256 = self.fill(&place.path, scratch.file(), content)?;
        if let Some(validate) = validate {
            self.validate(validate, scratch.path())?;
        }
        let before = place.metadata().map_err(failed)?;
        let after = After::File {
            sha256,
            identity: None,
        };
        self.record_overwriting(place, before.as_ref(), after)?;
        let mut from = File::open(scratch.path()).map_err(failed)?;
        let mut file = match place.truncate() {
            Err(error) if error.kind() == io::ErrorKind::NotFound => place.create(),
            opened => opened,
        }
        .map_err(failed)?;
        io::copy(&mut from, &mut file).map_err(failed)?;
        file.flush().and_then(|()| file.sync_all()).map_err(failed)
    }
}

/// Returns where predicted content is, and its size.
fn source_of(state: &Overlay, content: Content) -> io::Result<(Source, u64)> {
    match content {
        Content::Bytes(bytes) => {
            let size = u64::try_from(bytes.len()).map_err(io::Error::other)?;
            Ok((Source::Bytes(bytes.into()), size))
        }
        Content::File(path) => {
            let size = state.metadata(&path, true)?.map_or(0, |found| found.size);
            Ok((state.source(&path)?, size))
        }
        Content::Remote(id) => {
            let size = id.size;
            Ok((Source::Remote(id), size))
        }
    }
}

/// A new file that is to take a place; its hidden name goes again unless it did.
struct Staged {
    place: Place,
    file: File,
    named: bool,
    sha256: String,
}

impl Staged {
    fn identity(&self) -> io::Result<Identity> {
        let found: Metadata = (&rustix::fs::fstat(&self.file)?).into();
        Ok(found.identity())
    }

    /// Renames the file into its place.
    fn take(&self, place: &Place) -> io::Result<()> {
        if !self.named {
            self.place.link_unnamed(&self.file)?;
        }
        self.place.rename_to(place)
    }
}

impl Drop for Staged {
    fn drop(&mut self) {
        // After the rename there is nothing to remove under this name.
        rustix::fs::unlinkat(self.place.directory(), &self.place.name, AtFlags::empty()).ok();
    }
}

/// Opens a new file without a name beside `place`; `None` where the system knows no such thing.
fn unnamed(place: &Place) -> io::Result<Option<File>> {
    // The name is given through `/proc`.
    if !Path::new("/proc/self/fd").exists() {
        return Ok(None);
    }
    match place.create_unnamed() {
        Ok(file) => Ok(Some(file)),
        Err(error) => match error.raw_os_error().map(Errno::from_raw_os_error) {
            Some(Errno::OPNOTSUPP | Errno::ISDIR | Errno::INVAL | Errno::NOENT) => Ok(None),
            _ => Err(error),
        },
    }
}

/// Changes owner and group where they differ.
pub(super) fn change_owner(file: &File, uid: Option<u32>, gid: Option<u32>) -> io::Result<()> {
    let now: Metadata = (&rustix::fs::fstat(file)?).into();
    let uid = uid.filter(|uid| *uid != now.uid).map(Uid::from_raw);
    let gid = gid.filter(|gid| *gid != now.gid).map(Gid::from_raw);
    if uid.is_none() && gid.is_none() {
        return Ok(());
    }
    Ok(rustix::fs::fchown(file, uid, gid)?)
}

pub(super) fn timestamps(times: [Timestamp; 2]) -> Timestamps {
    let spec = |time: Timestamp| Timespec {
        tv_sec: time.seconds,
        tv_nsec: i64::from(time.nanoseconds),
    };
    Timestamps {
        last_access: spec(times[0]),
        last_modification: spec(times[1]),
    }
}

fn is_busy(error: &io::Error) -> bool {
    matches!(
        error.raw_os_error().map(Errno::from_raw_os_error),
        Some(Errno::BUSY | Errno::PERM | Errno::ACCESS | Errno::XDEV | Errno::TXTBSY)
    )
}

fn is_unwritable(error: &MachineError) -> bool {
    matches!(
        error.errno().map(Errno::from_raw_os_error),
        Some(Errno::ACCESS | Errno::PERM | Errno::ROFS)
    )
}
