//! What the target holds now, without changing it.

use std::io::{self, Read};
use std::path::{Path, PathBuf};

use super::place;
use super::prediction::Source;
use super::{
    Algorithm, Command, Content, DirEntry, Machine, MachineError, Metadata, Output, Result,
};

impl Machine {
    /// Returns what `path` leads to, links followed; `None` when it leads nowhere.
    pub fn metadata(&self, path: &Path) -> Result<Option<Metadata>> {
        match self.predicted() {
            Some(prediction) => prediction.lock().metadata(path, true),
            None => place::metadata(path),
        }
        .map_err(|error| MachineError::io("look at", path, error))
    }

    /// Returns what is at `path`, a link being itself; `None` when nothing is.
    pub fn symlink_metadata(&self, path: &Path) -> Result<Option<Metadata>> {
        match self.predicted() {
            Some(prediction) => prediction.lock().metadata(path, false),
            None => place::symlink_metadata(path),
        }
        .map_err(|error| MachineError::io("look at", path, error))
    }

    /// Tells whether `path` leads to anything.
    pub fn exists(&self, path: &Path) -> Result<bool> {
        Ok(self.metadata(path)?.is_some())
    }

    /// Tells whether `path` leads to a directory.
    pub fn is_dir(&self, path: &Path) -> Result<bool> {
        Ok(self.metadata(path)?.is_some_and(|found| found.is_dir()))
    }

    /// Reads a whole file.
    pub fn read(&mut self, path: &Path) -> Result<Vec<u8>> {
        let mut bytes = Vec::new();
        self.open(path)?
            .read_to_end(&mut bytes)
            .map_err(|error| MachineError::io("read", path, error))?;
        Ok(bytes)
    }

    /// Opens a file as a stream.
    pub fn open(&mut self, path: &Path) -> Result<Box<dyn Read + Send + '_>> {
        let failed = |error| MachineError::io("read", path, error);
        let source = match self.predicted() {
            Some(prediction) => prediction.lock().source(path).map_err(failed)?,
            None => Source::Real(path.to_owned()),
        };
        match source {
            Source::Real(path) => {
                let file = match self.unlinked {
                    Some(_) => self.place(&path).and_then(|place| place.open()),
                    None => std::fs::File::open(path),
                };
                Ok(Box::new(file.map_err(failed)?))
            }
            Source::Bytes(bytes) => Ok(Box::new(io::Cursor::new(bytes))),
            Source::Remote(id) => self.options.contents.open(&id).map_err(failed),
        }
    }

    /// Opens content as a stream, wherever it is.
    pub fn open_content<'a>(
        &'a mut self,
        content: &'a Content,
    ) -> Result<Box<dyn Read + Send + 'a>> {
        match content {
            Content::Bytes(bytes) => Ok(Box::new(bytes.as_slice())),
            Content::File(path) => self.open(path),
            Content::Remote(id) => self
                .options
                .contents
                .open(id)
                .map_err(|error| MachineError::io("receive", Path::new(&id.sha256), error)),
        }
    }

    /// Reads content into memory; for diffs and other small things.
    pub fn read_content(&mut self, content: &Content) -> Result<Vec<u8>> {
        let mut bytes = Vec::new();
        self.open_content(content)?
            .read_to_end(&mut bytes)
            .map_err(|error| MachineError::io("read", Path::new("content"), error))?;
        Ok(bytes)
    }

    /// Returns where a link points, as it is written.
    pub fn read_link(&self, path: &Path) -> Result<PathBuf> {
        match self.predicted() {
            Some(prediction) => prediction.lock().read_link(path),
            None => self.place(path).and_then(|place| place.read_link()),
        }
        .map_err(|error| MachineError::io("read link", path, error))
    }

    /// Lists a directory in the order of names.
    pub fn read_dir(&self, path: &Path) -> Result<Vec<DirEntry>> {
        match self.predicted() {
            Some(prediction) => prediction.lock().read_dir(path),
            None => place::read_dir(path),
        }
        .map_err(|error| MachineError::io("list", path, error))
    }

    /// Returns the lowercase hexadecimal digest of a file.
    pub fn digest(&mut self, path: &Path, algorithm: Algorithm) -> Result<String> {
        let mut file = self.open(path)?;
        algorithm
            .of_reader(&mut *file)
            .map_err(|error| MachineError::io("read", path, error))
    }

    /// Returns the digest of content; a remote content's sha256 is known without asking for it.
    pub fn content_digest(&mut self, content: &Content, algorithm: Algorithm) -> Result<String> {
        match content {
            Content::Remote(id) if algorithm == Algorithm::Sha256 => Ok(id.sha256.clone()),
            Content::File(path) => self.digest(path, algorithm),
            content => algorithm
                .of_reader(&mut *self.open_content(content)?)
                .map_err(|error| MachineError::io("read", Path::new("content"), error)),
        }
    }

    /// Runs a program that changes nothing, in check mode too; the caller promises that.
    pub fn query(&mut self, command: &Command) -> Result<Output> {
        self.run_program(command)
    }

    /// Finds a program in the task's `PATH`, then where system programs are, as Ansible does.
    pub fn find_program(&self, name: &str) -> Option<PathBuf> {
        let path = self.variable("PATH").unwrap_or_default();
        let system = ["/sbin", "/usr/sbin", "/usr/local/sbin", "/bin", "/usr/bin"];
        std::env::split_paths(&path)
            .chain(system.iter().map(PathBuf::from))
            .map(|directory| directory.join(name))
            .find(|program| is_program(program))
    }

    /// Tells whether the task's user may do `access` to `path`.
    pub fn may(&self, path: &Path, access: rustix::fs::Access) -> bool {
        if let Some(allowed) = self.may_in_prediction(path, access) {
            return allowed;
        }
        rustix::fs::accessat(rustix::fs::CWD, path, access, rustix::fs::AtFlags::EACCESS).is_ok()
    }

    /// Answers for a file that is only predicted: whoever would write it may do what its mode
    /// lets its owner do. `None` when the real file is the answer.
    fn may_in_prediction(&self, path: &Path, access: rustix::fs::Access) -> Option<bool> {
        use rustix::fs::Access;

        let prediction = self.predicted()?;
        if let Ok(Source::Real(real)) = prediction.lock().source(path)
            && real.exists()
        {
            return None;
        }
        let found = prediction.lock().metadata(path, true).ok().flatten()?;
        let owner = [
            (Access::READ_OK, 0o400),
            (Access::WRITE_OK, 0o200),
            (Access::EXEC_OK, 0o100),
        ];
        let lets = |bit| found.mode & bit != 0;
        Some(
            owner
                .into_iter()
                .all(|(wanted, bit)| !access.contains(wanted) || lets(bit)),
        )
    }
}

fn is_program(path: &Path) -> bool {
    rustix::fs::access(path, rustix::fs::Access::EXEC_OK).is_ok()
        && matches!(place::metadata(path), Ok(Some(found)) if found.is_file())
}

/// Copies a stream and returns the sha256 and the size of what went through.
pub(super) fn copy_hashed(
    from: &mut dyn Read,
    to: &mut dyn io::Write,
    machine_cancelled: &dyn Fn() -> bool,
) -> io::Result<(String, u64)> {
    let mut hasher = Algorithm::Sha256.hasher();
    let mut buffer = vec![0; 128 * 1024];
    let mut size = 0;
    loop {
        let count = match from.read(&mut buffer) {
            Ok(0) => return Ok((hasher.finish(), size)),
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        if machine_cancelled() {
            return Err(io::Error::other("the task was cancelled"));
        }
        hasher.update(&buffer[..count]);
        to.write_all(&buffer[..count])?;
        size += u64::try_from(count).expect("a buffer's length fits");
    }
}
