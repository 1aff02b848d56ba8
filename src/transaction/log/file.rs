//! Writing the journal: an entry is on the disk before what it announces happens.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rustix::fs::{CWD, FallocateFlags, FlockOperation, Mode, OFlags};
use rustix::io::Errno;

use super::format::{self, Chain};
use super::shelf::Shelves;
use super::unsettled::Unsettled;
use super::{Entry, Header, JOURNAL, KEPT, LogError, Replay};
use crate::transaction::journal::{Keeping, Kept, UndoLog, UndoRecord};

/// Space that is the journal's before a change is made, so that undoing it never waits for space.
const RESERVE: u64 = 64 << 10;

/// The journal of one transaction, open for writing.
#[derive(Debug)]
pub struct FileLog {
    directory: PathBuf,
    file: File,
    chain: Chain,
    /// Bytes, and entries, so far.
    length: u64,
    count: u64,
    allocated: u64,
    shelves: Shelves,
    unsettled: Unsettled,
    /// Why nothing more is written.
    poison: Option<String>,
}

impl FileLog {
    /// Begins a journal in `directory`, which is made with mode 0700 and must be new.
    pub fn create(directory: &Path, header: Header) -> Result<Self, LogError> {
        let wrong = |error: Errno| LogError::io(directory, error);
        let private = Mode::RWXU;
        rustix::fs::mkdir(directory, private).map_err(wrong)?;
        rustix::fs::mkdir(directory.join(KEPT), private).map_err(wrong)?;
        let path = directory.join(JOURNAL);
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW;
        let mode = Mode::RUSR | Mode::WUSR;
        let file = rustix::fs::open(&path, flags | OFlags::CLOEXEC, mode).map_err(wrong)?;
        let mut log = Self::over(directory, lock(&path, file)?, &[])?;
        log.reserve().map_err(|error| LogError::io(&path, error))?;
        let (record, chain) = format::encode(&Entry::Opened(header), &log.chain)?;
        log.put(&[&format::head()[..], &record].concat(), chain, true)?;
        log.sync_names()?;
        Ok(log)
    }

    /// Goes on with the journal in `directory`; what a crash left half written is cut off.
    ///
    /// Fails with [`LogError::Busy`] while another process writes it.
    pub fn resume(directory: &Path) -> Result<(Self, Replay), LogError> {
        let path = directory.join(JOURNAL);
        let wrong = |error: io::Error| LogError::io(&path, error);
        let flags = OFlags::RDWR | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = rustix::fs::open(&path, flags, Mode::empty())
            .map_err(|error| LogError::io(&path, error))?;
        let mut file = lock(&path, file)?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes).map_err(wrong)?;
        let scan = format::scan(&bytes)?;
        let replay = Replay::new(scan.entries)?;
        let length = u64::try_from(scan.length).expect("a file's length fits");
        if scan.length < bytes.len() {
            file.set_len(length).map_err(wrong)?;
            file.sync_all().map_err(wrong)?;
        }
        file.seek(SeekFrom::Start(length)).map_err(wrong)?;
        let mut log = Self::over(directory, file, &replay.shelves())?;
        log.chain = scan.chain;
        log.length = length;
        log.count = u64::try_from(replay.entries().len()).expect("a list's length fits");
        for (_, record) in replay.records() {
            log.unsettled.add(record);
        }
        Ok((log, replay))
    }

    fn over(directory: &Path, file: File, shelves: &[&Path]) -> Result<Self, LogError> {
        let kept = directory.join(KEPT);
        Ok(Self {
            shelves: Shelves::new(&kept, shelves).map_err(|error| LogError::io(&kept, error))?,
            unsettled: Unsettled::default(),
            directory: directory.to_owned(),
            file,
            chain: format::first_chain(),
            length: 0,
            count: 0,
            allocated: 0,
            poison: None,
        })
    }

    /// Returns the transaction's directory.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// Appends an entry and waits until it is on the disk; returns its number.
    pub fn append(&mut self, entry: &Entry) -> Result<u64, LogError> {
        self.write(entry, true)
    }

    /// Appends an entry that survives a crash of this process at once, and a crash of the machine
    /// with the next one that is waited for.
    pub fn note(&mut self, entry: &Entry) -> Result<u64, LogError> {
        self.write(entry, false)
    }

    /// Reads the journal back.
    pub fn replay(&self) -> Result<Replay, LogError> {
        super::read(&self.directory)
    }

    /// Names a fresh path for what somebody else made of a file, on the file system of `near`.
    pub fn save_drift(&mut self, near: &Path) -> Result<PathBuf, LogError> {
        self.fresh(near, "drift-")
    }

    /// Writes through another file from now on, and returns the one before.
    #[cfg(test)]
    pub(super) fn swap_file(&mut self, file: File) -> File {
        std::mem::replace(&mut self.file, file)
    }

    fn fresh(&mut self, near: &Path, prefix: &str) -> Result<PathBuf, LogError> {
        loop {
            let wrong = |error| LogError::io(near, error);
            if let Some(path) = self.shelves.fresh(near, prefix).map_err(wrong)? {
                return Ok(path);
            }
            // The shelf is announced before it is made, so that it is found again.
            let Some(path) = self.shelves.propose(near).map_err(wrong)? else {
                return self.shelves.at_home(prefix).map_err(wrong);
            };
            self.append(&Entry::Shelf { path: path.clone() })?;
            self.shelves.make(&path).map_err(wrong)?;
        }
    }

    fn write(&mut self, entry: &Entry, durable: bool) -> Result<u64, LogError> {
        self.check()?;
        let (record, chain) = format::encode(entry, &self.chain)?;
        if matches!(entry, Entry::Undo { .. }) {
            let reserved = self.reserve();
            reserved.map_err(|error| self.poison(error))?;
        }
        if matches!(entry, Entry::Prepared) {
            let settled = self.unsettled.settle_all();
            settled.map_err(|error| self.poison(error))?;
        }
        self.put(&record, chain, durable)
    }

    /// Appends the record of a change, and returns when the change may happen.
    fn announce(&mut self, record: UndoRecord) -> Result<(), LogError> {
        self.check()?;
        let settled = self.unsettled.settle_before(&record);
        settled.map_err(|error| self.poison(error))?;
        let durable = !self.unsettled.may_be_lost(&record);
        self.unsettled.add(&record);
        let kept = linked(&record).and_then(Path::parent).map(Path::to_owned);
        self.write(&Entry::Undo { record }, durable)?;
        // After the journal, which takes it along on most file systems.
        let synced = kept.map_or(Ok(()), |shelf| sync_directory(&shelf));
        synced.map_err(|error| self.poison(error))
    }

    fn put(&mut self, bytes: &[u8], chain: Chain, durable: bool) -> Result<u64, LogError> {
        let written = self.file.write_all(bytes).and_then(|()| {
            if durable {
                self.file.sync_data()?;
            }
            Ok(())
        });
        written.map_err(|error| self.poison(error))?;
        self.chain = chain;
        self.length += u64::try_from(bytes.len()).expect("a buffer's length fits");
        self.count += 1;
        Ok(self.count - 1)
    }

    fn check(&self) -> Result<(), LogError> {
        match &self.poison {
            Some(why) => Err(LogError::Poisoned(why.clone())),
            None => Ok(()),
        }
    }

    fn poison(&mut self, error: io::Error) -> LogError {
        self.poison = Some(error.to_string());
        LogError::io(&self.directory.join(JOURNAL), error)
    }

    /// Sees to it that as much space as is used so far is free for what undoing will write.
    fn reserve(&mut self) -> io::Result<()> {
        let wanted = self.length * 2 + RESERVE;
        if wanted <= self.allocated {
            return Ok(());
        }
        let more = wanted + RESERVE;
        match rustix::fs::fallocate(&self.file, FallocateFlags::KEEP_SIZE, 0, more) {
            // Some file systems reserve nothing.
            Ok(()) | Err(Errno::OPNOTSUPP | Errno::NOSYS | Errno::INVAL) => {
                self.allocated = more;
                Ok(())
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Makes the names of the journal and of the directories above it durable.
    fn sync_names(&self) -> Result<(), LogError> {
        for directory in self.directory.ancestors().take(3) {
            sync_directory(directory).map_err(|error| LogError::io(directory, error))?;
        }
        Ok(())
    }
}

impl UndoLog for FileLog {
    fn append(&mut self, record: UndoRecord) -> io::Result<()> {
        Ok(self.announce(record)?)
    }

    fn shelve(&mut self, near: &Path) -> io::Result<Option<PathBuf>> {
        self.check()?;
        Ok(Some(self.fresh(near, "")?))
    }

    fn settles(&self) -> bool {
        true
    }
}

/// One journal for all tasks of a session.
#[derive(Clone, Debug)]
pub struct SharedLog(Arc<Mutex<FileLog>>);

impl SharedLog {
    pub fn new(log: FileLog) -> Self {
        Self(Arc::new(Mutex::new(log)))
    }

    /// Does something with the journal while nobody else does.
    pub fn with<T>(&self, act: impl FnOnce(&mut FileLog) -> T) -> T {
        act(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl UndoLog for SharedLog {
    fn append(&mut self, record: UndoRecord) -> io::Result<()> {
        self.with(|log| UndoLog::append(log, record))
    }

    fn shelve(&mut self, near: &Path) -> io::Result<Option<PathBuf>> {
        self.with(|log| log.shelve(near))
    }

    fn settles(&self) -> bool {
        true
    }
}

/// Returns the new name of a pre-image that was kept by a name.
fn linked(record: &UndoRecord) -> Option<&Path> {
    match record {
        UndoRecord::Replaced { before, .. } | UndoRecord::Removed { before, .. } => {
            match &before.kept {
                Some(Kept {
                    path,
                    how: Keeping::Linked,
                }) => Some(path),
                _ => None,
            }
        }
        _ => None,
    }
}

/// Takes the journal for this process alone.
///
/// Whoever let it go may just have started a program: that child holds it, too, until its exec.
fn lock(path: &Path, file: OwnedFd) -> Result<File, LogError> {
    let mut pause = Duration::from_millis(1);
    loop {
        match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => return Ok(file.into()),
            Err(Errno::WOULDBLOCK) if pause < Duration::from_millis(200) => {
                std::thread::sleep(pause);
                pause *= 2;
            }
            Err(Errno::WOULDBLOCK) => return Err(LogError::Busy),
            Err(error) => return Err(LogError::io(path, error)),
        }
    }
}

/// Makes the names in a directory durable.
pub(in crate::transaction) fn sync_directory(path: &Path) -> io::Result<()> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let directory = rustix::fs::openat(CWD, path, flags, Mode::empty())?;
    Ok(rustix::fs::fsync(directory)?)
}
