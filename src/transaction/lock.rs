//! The lock of one application on one host: a kernel lock, and a record of who holds it.
//!
//! The kernel frees the lock when its last holder dies, so the record is only told, never trusted:
//! a record without a locked file beside it is history. The lock can be handed to another process
//! as a descriptor. Waiting is the controller's business.
//!
//! ```text
//! ROOT/locks/APPLICATION         the locked file, empty
//! ROOT/locks/APPLICATION.json    the record, replaced whole
//! ```

use std::fmt;
use std::io::{self, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, FlockOperation, Mode, OFlags};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};

use super::state::RunInfo;

/// Who holds a lock.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Holder {
    /// The transaction.
    pub id: String,
    pub application: String,
    pub run: RunInfo,
    /// Seconds since the epoch.
    pub since: i64,
    /// The guardian, once it runs.
    #[serde(default)]
    pub pid: Option<u32>,
    /// The boot it runs in.
    pub boot_id: String,
}

/// A lock that is held as long as this lives, here or in a process it was handed to.
#[derive(Debug)]
pub struct Lock {
    file: OwnedFd,
    record: PathBuf,
}

/// Why a lock is not held.
#[derive(Debug)]
pub enum LockError {
    /// Somebody else holds it; the record may be missing while they begin.
    Held(Option<Box<Holder>>),
    /// No application can be called so.
    BadName(String),
    Io {
        path: PathBuf,
        error: io::Error,
    },
}

impl Lock {
    /// Takes the lock of an application below the state directory `root`, without waiting.
    pub fn take(root: &Path, application: &str) -> Result<Self, LockError> {
        let path = path_of(root, application)?;
        let wrong = |error: Errno| LockError::io(&path, error);
        let directory = path.parent().unwrap_or(root);
        match rustix::fs::mkdir(directory, Mode::RWXU) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(error) => return Err(wrong(error)),
        }
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = rustix::fs::openat(CWD, &path, flags, Mode::RUSR | Mode::WUSR).map_err(wrong)?;
        match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(Self {
                file,
                record: record_of(&path),
            }),
            Err(Errno::WOULDBLOCK) => Err(LockError::Held(read(&path).map(Box::new))),
            Err(error) => Err(wrong(error)),
        }
    }

    /// Takes over a lock that another process handed to this one.
    pub fn adopt(root: &Path, application: &str, file: OwnedFd) -> Result<Self, LockError> {
        let path = path_of(root, application)?;
        let record = record_of(&path);
        Ok(Self { file, record })
    }

    /// Writes down who holds it.
    pub fn record(&self, holder: &Holder) -> Result<(), LockError> {
        let wrong = |error: io::Error| LockError::io(&self.record, error);
        let text = serde_json::to_vec(holder).map_err(|error| wrong(error.into()))?;
        let fresh = self.record.with_extension("json.new");
        let flags =
            OFlags::WRONLY | OFlags::CREATE | OFlags::TRUNC | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = rustix::fs::openat(CWD, &fresh, flags, Mode::RUSR | Mode::WUSR)
            .map_err(|error| wrong(error.into()))?;
        std::fs::File::from(file).write_all(&text).map_err(wrong)?;
        rustix::fs::rename(&fresh, &self.record).map_err(|error| wrong(error.into()))
    }

    /// Frees the lock; what is still held of it elsewhere keeps it.
    pub fn free(self) {
        // Without a record the holder is unknown, with an old one it is history: both do no harm.
        rustix::fs::unlink(&self.record).ok();
    }
}

impl AsFd for Lock {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

/// Returns who holds the lock of an application, if it is held.
pub fn holder(root: &Path, application: &str) -> Result<Option<Holder>, LockError> {
    match Lock::take(root, application) {
        Ok(_) => Ok(None),
        Err(LockError::Held(Some(holder))) => Ok(Some(*holder)),
        // Between taking a lock and its record there is a moment.
        Err(LockError::Held(None)) => Ok(Some(Holder {
            id: String::new(),
            application: application.to_owned(),
            run: RunInfo::default(),
            since: 0,
            pid: None,
            boot_id: String::new(),
        })),
        Err(error) => Err(error),
    }
}

fn path_of(root: &Path, application: &str) -> Result<PathBuf, LockError> {
    let ordinary = |byte: u8| byte.is_ascii_alphanumeric() || b"_-".contains(&byte);
    let is_good = (1..=64).contains(&application.len()) && application.bytes().all(ordinary);
    if !is_good {
        return Err(LockError::BadName(application.to_owned()));
    }
    Ok(root.join("locks").join(application))
}

fn record_of(path: &Path) -> PathBuf {
    path.with_extension("json")
}

fn read(path: &Path) -> Option<Holder> {
    let text = std::fs::read(record_of(path)).ok()?;
    serde_json::from_slice(&text).ok()
}

impl LockError {
    fn io(path: &Path, error: impl Into<io::Error>) -> Self {
        Self::Io {
            path: path.to_owned(),
            error: error.into(),
        }
    }
}

impl fmt::Display for LockError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Held(Some(holder)) => {
                write!(
                    f,
                    "{} on {} holds the lock",
                    holder.run.who, holder.run.host
                )
            }
            Self::Held(None) => f.write_str("somebody else takes the lock"),
            Self::BadName(name) => write!(
                f,
                "`{name}` cannot name an application: only letters, digits, `_` and `-` can, up to 64"
            ),
            Self::Io { path, error } => write!(f, "cannot lock `{}`: {error}", path.display()),
        }
    }
}

impl std::error::Error for LockError {}

#[cfg(test)]
mod tests {
    use super::*;

    fn root() -> tempfile::TempDir {
        tempfile::tempdir().unwrap()
    }

    fn ann() -> Holder {
        Holder {
            id: "ab".repeat(16),
            application: "shop".into(),
            run: RunInfo {
                who: "ann".into(),
                host: "desk".into(),
                ..RunInfo::default()
            },
            since: 1_700_000_000,
            pid: Some(7),
            boot_id: "boot".into(),
        }
    }

    #[test]
    fn the_second_is_told_who_the_first_is() {
        let root = root();
        let first = Lock::take(root.path(), "shop").unwrap();
        first.record(&ann()).unwrap();
        let Err(LockError::Held(Some(found))) = Lock::take(root.path(), "shop") else {
            panic!("the lock is held");
        };
        assert_eq!(*found, ann());
        assert_eq!(holder(root.path(), "shop").unwrap(), Some(ann()));
    }

    #[test]
    fn a_dropped_lock_is_free_although_its_record_stays() {
        let root = root();
        let first = Lock::take(root.path(), "shop").unwrap();
        first.record(&ann()).unwrap();
        drop(first);
        assert_eq!(holder(root.path(), "shop").unwrap(), None);
        Lock::take(root.path(), "shop").unwrap();
    }

    #[test]
    fn a_lock_that_was_handed_on_outlives_its_first_holder() {
        let root = root();
        let first = Lock::take(root.path(), "shop").unwrap();
        let handed = rustix::io::dup(&first).unwrap();
        let second = Lock::adopt(root.path(), "shop", handed).unwrap();
        drop(first);
        assert!(matches!(
            Lock::take(root.path(), "shop"),
            Err(LockError::Held(None))
        ));
        second.free();
        Lock::take(root.path(), "shop").unwrap();
    }

    #[test]
    fn applications_do_not_lock_each_other_out() {
        let root = root();
        let _shop = Lock::take(root.path(), "shop").unwrap();
        let _blog = Lock::take(root.path(), "blog").unwrap();
        for name in ["", "..", "a/b", "a b"] {
            assert!(matches!(
                Lock::take(root.path(), name),
                Err(LockError::BadName(_))
            ));
        }
    }
}
