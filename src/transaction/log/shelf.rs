//! Where pre-images are kept: on the file system of the thing itself, so that they are renamed or
//! linked there instead of copied.
//!
//! That is `kept` beside the journal, or a directory `.backstay-ID` as far up as this user may
//! make one on another file system.

use std::io;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, Mode, StatxFlags};
use rustix::io::Errno;

use super::file::sync_directory;

/// What a rename or link cannot leave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Mount {
    device: (u32, u32),
    /// Zero where the kernel does not tell.
    id: u64,
}

/// The directories for pre-images of one transaction.
#[derive(Debug)]
pub(super) struct Shelves {
    /// The first one is `kept`.
    places: Vec<(PathBuf, Mount)>,
    /// Places where no shelf could be made.
    refused: Vec<PathBuf>,
    next: u64,
}

impl Shelves {
    /// Takes up the shelf `kept` and those that exist of `others`.
    pub(super) fn new(kept: &Path, others: &[&Path]) -> io::Result<Self> {
        let mut shelves = vec![(kept.to_owned(), mount_of(kept)?)];
        for other in others {
            match mount_of(other) {
                Ok(mount) => shelves.push(((*other).to_owned(), mount)),
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        let mut next = 0;
        for (shelf, _) in &shelves {
            for entry in std::fs::read_dir(shelf)? {
                let name = entry?.file_name();
                let digits = name.to_str().and_then(|name| name.rsplit('-').next());
                let number = digits.and_then(|digits| digits.parse::<u64>().ok());
                next = next.max(number.map_or(0, |number| number + 1));
            }
        }
        Ok(Self {
            places: shelves,
            refused: Vec::new(),
            next,
        })
    }

    /// Returns a fresh path on the file system of `near`; `None` when no shelf is there yet.
    pub(super) fn fresh(&mut self, near: &Path, prefix: &str) -> io::Result<Option<PathBuf>> {
        let mount = mount_of(near)?;
        let shelf = self.places.iter().find(|(_, other)| *other == mount);
        let path = shelf.map(|(shelf, _)| shelf.join(format!("{prefix}{}", self.next)));
        self.next += u64::from(path.is_some());
        Ok(path)
    }

    /// Returns a fresh path beside the journal, whatever its file system.
    #[expect(clippy::unnecessary_wraps, reason = "the same shape as its siblings")]
    pub(super) fn at_home(&mut self, prefix: &str) -> io::Result<PathBuf> {
        self.next += 1;
        Ok(self.places[0].0.join(format!("{prefix}{}", self.next - 1)))
    }

    /// Returns where a shelf could be made for `near`, the highest place first.
    pub(super) fn propose(&mut self, near: &Path) -> io::Result<Option<PathBuf>> {
        let mount = mount_of(near)?;
        let same = |path: &&Path| mount_of(path).is_ok_and(|other| other == mount);
        let mut places: Vec<&Path> = near.ancestors().take_while(same).collect();
        places.reverse();
        let name = self.name();
        let shelves = places.into_iter().map(|place| place.join(&name));
        Ok(shelves
            .into_iter()
            .find(|shelf| !self.refused.contains(shelf)))
    }

    /// Makes a shelf, or remembers that it cannot be made.
    pub(super) fn make(&mut self, shelf: &Path) -> io::Result<()> {
        let parent = shelf.parent().unwrap_or(shelf);
        match rustix::fs::mkdir(shelf, Mode::RWXU) {
            Ok(()) => {
                sync_directory(parent)?;
                self.places.push((shelf.to_owned(), mount_of(shelf)?));
                Ok(())
            }
            Err(Errno::ACCESS | Errno::PERM | Errno::ROFS | Errno::EXIST | Errno::NOSPC) => {
                self.refused.push(shelf.to_owned());
                Ok(())
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Names the shelves after the transaction, whose directory holds `kept`.
    fn name(&self) -> String {
        let id = self.places[0].0.parent().and_then(Path::file_name);
        let id = id.map(|id| id.to_string_lossy().into_owned());
        format!(".backstay-{}", id.unwrap_or_default())
    }
}

fn mount_of(path: &Path) -> io::Result<Mount> {
    let wanted = StatxFlags::MNT_ID;
    let found = rustix::fs::statx(CWD, path, AtFlags::empty(), wanted)?;
    Ok(Mount {
        device: (found.stx_dev_major, found.stx_dev_minor),
        id: found.stx_mnt_id,
    })
}
