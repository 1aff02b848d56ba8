//! Check mode: what the target would look like, kept beside what it looks like.
//!
//! A tree of changed directories over the real one, by inode: a name that is not in it is read
//! from the real directory below. Nothing here changes the target. What programs would have done
//! is not known and not predicted.

use std::cell::Cell;
use std::collections::{BTreeMap, HashMap};
use std::ffi::{OsStr, OsString};
use std::io;
use std::path::{Component, Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rustix::io::Errno;

use super::attributes::difference;
use super::place;
use super::{Attributes, ContentId, DirEntry, FileKind, Metadata, NewFile, Timestamp};

/// The predicted state of a session; clones share it.
#[derive(Clone, Debug, Default)]
pub struct Prediction(Arc<Mutex<Overlay>>);

impl Prediction {
    /// Starts to watch for what is now predicted.
    pub fn begin_task(&self) {
        let mut state = self.lock();
        state.earlier = Some(state.inodes.clone());
        state.saw_earlier.set(false);
    }

    /// Tells whether anything was seen since then that only an earlier task would have made so.
    pub fn saw_earlier(&self) -> bool {
        self.lock().saw_earlier.get()
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, Overlay> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Key {
    Real { device: u64, inode: u64 },
    New(u64),
}

/// Where a predicted file's bytes are.
#[derive(Clone, Debug)]
pub(super) enum Source {
    Real(PathBuf),
    Bytes(Arc<[u8]>),
    Remote(ContentId),
}

#[derive(Clone, Debug)]
struct Inode {
    metadata: Metadata,
    body: Body,
}

#[derive(Clone, Debug)]
enum Body {
    Directory {
        /// The real directory that shows through.
        lower: Option<PathBuf>,
        /// Names that differ from it; `None` is gone.
        names: BTreeMap<OsString, Option<Key>>,
    },
    File(Source),
    Link(PathBuf),
    Other,
}

/// The end of a path: its directory, and what is there under its name.
struct Slot {
    /// The directories above, outermost first.
    above: Vec<Key>,
    directory: (Key, Inode),
    name: OsString,
    found: Option<(Key, Inode)>,
}

#[derive(Debug, Default)]
pub(super) struct Overlay {
    /// Everything that differs from the real file system.
    inodes: HashMap<Key, Inode>,
    made: u64,
    /// What differed when the task at work began, where somebody asks what it sees of it.
    earlier: Option<HashMap<Key, Inode>>,
    saw_earlier: Cell<bool>,
}

impl Overlay {
    pub(super) fn metadata(&self, path: &Path, follow: bool) -> io::Result<Option<Metadata>> {
        match self.walk(path, follow) {
            Ok(slot) => Ok(slot.found.map(|(key, inode)| {
                self.sees(key);
                inode.metadata
            })),
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Finds the bytes of a file, links followed.
    pub(super) fn source(&self, path: &Path) -> io::Result<Source> {
        let (_, inode) = self.existing(path, true)?.1;
        match inode.body {
            Body::File(source) => Ok(source),
            Body::Directory { .. } => Err(Errno::ISDIR.into()),
            Body::Link(_) | Body::Other => Ok(Source::Real(path.to_owned())),
        }
    }

    pub(super) fn read_link(&self, path: &Path) -> io::Result<PathBuf> {
        match self.existing(path, false)?.1.1.body {
            Body::Link(target) => Ok(target),
            _ => Err(Errno::INVAL.into()),
        }
    }

    pub(super) fn read_dir(&self, path: &Path) -> io::Result<Vec<DirEntry>> {
        let Body::Directory { lower, names } = self.existing(path, true)?.1.1.body else {
            return Err(Errno::NOTDIR.into());
        };
        let real = match lower {
            Some(lower) => place::read_dir(&lower)?,
            None => Vec::new(),
        };
        let mut entries: BTreeMap<OsString, Metadata> = real
            .into_iter()
            .filter(|entry| !names.contains_key(&entry.name))
            .map(|entry| (entry.name, self.current(entry.metadata)))
            .collect();
        for (name, key) in names {
            if let Some(inode) = key.and_then(|key| self.inodes.get(&key)) {
                entries.insert(name, inode.metadata.clone());
            }
        }
        Ok(entries
            .into_iter()
            .map(|(name, metadata)| DirEntry { name, metadata })
            .collect())
    }

    pub(super) fn write(
        &mut self,
        path: &Path,
        source: Source,
        size: u64,
        new: &NewFile,
        umask: u32,
    ) -> io::Result<()> {
        let slot = self.replaceable(path)?;
        let old = if new.fresh {
            None
        } else {
            self.metadata(path, true)?
        };
        let mut metadata = self.fresh(FileKind::File, 0o666 & !umask, &slot);
        if let Some(old) = old {
            (metadata.mode, metadata.uid, metadata.gid) = (old.mode, old.uid, old.gid);
        }
        metadata.mode = new.mode.unwrap_or(metadata.mode);
        metadata.uid = new.uid.unwrap_or(metadata.uid);
        metadata.gid = new.gid.unwrap_or(metadata.gid);
        metadata.size = size;
        if let Some([atime, mtime]) = new.times {
            (metadata.atime, metadata.mtime) = (atime, mtime);
        }
        self.put(slot, metadata, Body::File(source));
        Ok(())
    }

    pub(super) fn create_dir(&mut self, path: &Path, mode: u32) -> io::Result<()> {
        let slot = self.walk(path, false)?;
        if slot.found.is_some() {
            return Err(Errno::EXIST.into());
        }
        let mut metadata = self.fresh(FileKind::Directory, mode, &slot);
        // A directory hands its set-group-id bit on to those made in it.
        metadata.mode |= slot.directory.1.metadata.mode & 0o2000;
        let body = Body::Directory {
            lower: None,
            names: BTreeMap::new(),
        };
        self.put(slot, metadata, body);
        Ok(())
    }

    pub(super) fn symlink(&mut self, target: &Path, path: &Path) -> io::Result<()> {
        let slot = self.replaceable(path)?;
        let mut metadata = self.fresh(FileKind::Link, 0o777, &slot);
        metadata.size = u64::try_from(target.as_os_str().len()).unwrap_or(0);
        self.put(slot, metadata, Body::Link(target.to_owned()));
        Ok(())
    }

    pub(super) fn create_fifo(&mut self, path: &Path, mode: u32) -> io::Result<()> {
        let slot = self.replaceable(path)?;
        let metadata = self.fresh(FileKind::Fifo, mode, &slot);
        self.put(slot, metadata, Body::Other);
        Ok(())
    }

    pub(super) fn hard_link(&mut self, source: &Path, path: &Path) -> io::Result<()> {
        let (key, mut inode) = self.existing(source, false)?.1;
        if inode.metadata.is_dir() {
            return Err(Errno::PERM.into());
        }
        let slot = self.replaceable(path)?;
        if slot.found.as_ref().is_some_and(|(other, _)| *other == key) {
            return Ok(());
        }
        self.unlink_count(&slot);
        inode.metadata.nlink += 1;
        self.inodes.insert(key, inode);
        self.name(&slot, Some(key));
        Ok(())
    }

    /// Removes whatever is at the path; tells whether anything was.
    pub(super) fn remove(&mut self, path: &Path) -> io::Result<bool> {
        let slot = match self.walk(path, false) {
            Ok(slot) if slot.found.is_some() => slot,
            Ok(_) | Err(Errno::NOENT | Errno::NOTDIR) => return Ok(false),
            Err(error) => return Err(error.into()),
        };
        self.unlink_count(&slot);
        self.name(&slot, None);
        Ok(true)
    }

    pub(super) fn rename(&mut self, from: &Path, to: &Path) -> io::Result<()> {
        let (old, (key, inode)) = self.existing(from, false)?;
        let slot = self.walk(to, false)?;
        if slot.above.contains(&key) || slot.directory.0 == key {
            return Err(Errno::INVAL.into());
        }
        match &slot.found {
            Some((_, found)) if found.metadata.is_dir() => return Err(Errno::EXIST.into()),
            Some((other, _)) if *other == key => return Ok(()),
            _ => {}
        }
        if inode.metadata.is_dir() && slot.found.is_some() {
            return Err(Errno::NOTDIR.into());
        }
        self.unlink_count(&slot);
        self.inodes.insert(key, inode);
        self.name(&old, None);
        // The directories may be the same one, which has just changed.
        let slot = self.walk(to, false)?;
        self.name(&slot, Some(key));
        Ok(())
    }

    /// Sets attributes of the path itself; tells whether any differed.
    pub(super) fn set_attributes(&mut self, path: &Path, wanted: &Attributes) -> io::Result<bool> {
        let (key, mut inode) = self.existing(path, false)?.1;
        let change = difference(&inode.metadata, wanted);
        if change == Attributes::default() {
            return Ok(false);
        }
        let metadata = &mut inode.metadata;
        if (change.uid.is_some() || change.gid.is_some()) && !metadata.is_dir() {
            metadata.mode &= !0o4000;
            if metadata.mode & 0o010 != 0 {
                metadata.mode &= !0o2000;
            }
        }
        metadata.mode = change.mode.unwrap_or(metadata.mode);
        metadata.uid = change.uid.unwrap_or(metadata.uid);
        metadata.gid = change.gid.unwrap_or(metadata.gid);
        if let Some([atime, mtime]) = change.times {
            (metadata.atime, metadata.mtime) = (atime, mtime);
        }
        self.inodes.insert(key, inode);
        Ok(true)
    }

    fn existing(&self, path: &Path, follow: bool) -> io::Result<(Slot, (Key, Inode))> {
        let slot = self.walk(path, follow)?;
        let found = slot.found.clone().ok_or(Errno::NOENT)?;
        self.sees(found.0);
        Ok((slot, found))
    }

    /// Notes that a file is looked at.
    fn sees(&self, key: Key) {
        if self
            .earlier
            .as_ref()
            .is_some_and(|earlier| earlier.contains_key(&key))
        {
            self.saw_earlier.set(true);
        }
    }

    /// Notes that a name is looked up in a directory.
    fn sees_name(&self, directory: Key, name: &OsStr) {
        let earlier = self.earlier.as_ref();
        let body = earlier.and_then(|earlier| Some(&earlier.get(&directory)?.body));
        if matches!(body, Some(Body::Directory { names, .. }) if names.contains_key(name)) {
            self.saw_earlier.set(true);
        }
    }

    /// Finds the place of a file or link that may be replaced.
    fn replaceable(&self, path: &Path) -> io::Result<Slot> {
        let slot = self.walk(path, false)?;
        match &slot.found {
            Some((_, inode)) if inode.metadata.is_dir() => Err(Errno::ISDIR.into()),
            _ => Ok(slot),
        }
    }

    /// Makes what a new file of ours has.
    fn fresh(&self, kind: FileKind, mode: u32, slot: &Slot) -> Metadata {
        let parent = &slot.directory.1.metadata;
        let now = Timestamp::now();
        let own = rustix::process::getegid().as_raw();
        Metadata {
            kind,
            mode,
            uid: rustix::process::geteuid().as_raw(),
            gid: if parent.mode & 0o2000 == 0 {
                own
            } else {
                parent.gid
            },
            size: 0,
            inode: u64::MAX - self.made,
            device: parent.device,
            device_type: 0,
            nlink: 1,
            blocks: 0,
            block_size: parent.block_size,
            atime: now,
            mtime: now,
            ctime: now,
        }
    }

    fn put(&mut self, slot: Slot, metadata: Metadata, body: Body) {
        self.unlink_count(&slot);
        let key = Key::New(self.made);
        self.made += 1;
        self.inodes.insert(key, Inode { metadata, body });
        self.name(&slot, Some(key));
    }

    /// Counts one name less of a file that loses the slot's.
    fn unlink_count(&mut self, slot: &Slot) {
        let Some((key, inode)) = &slot.found else {
            return;
        };
        if inode.metadata.nlink > 1 && !inode.metadata.is_dir() {
            let mut inode = inode.clone();
            inode.metadata.nlink -= 1;
            self.inodes.insert(*key, inode);
        }
    }

    fn name(&mut self, slot: &Slot, what: Option<Key>) {
        let (key, inode) = &slot.directory;
        let directory = self.inodes.entry(*key).or_insert_with(|| inode.clone());
        if let Body::Directory { names, .. } = &mut directory.body {
            names.insert(slot.name.clone(), what);
        }
    }

    /// Follows a path, links in its middle always, one at its end when `follow` says so.
    fn walk(&self, path: &Path, follow: bool) -> Result<Slot, Errno> {
        let mut stack = vec![(self.root()?, OsString::from("."))];
        let absolute = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
        let mut waiting = components_reversed(&absolute);
        let mut links = 0;
        while let Some(name) = waiting.pop() {
            let ((key, directory), _) = stack.last().cloned().expect("the root stays");
            if name == ".." {
                if stack.len() > 1 {
                    stack.pop();
                }
                continue;
            }
            self.sees_name(key, &name);
            let found = self.look(&directory, &name)?;
            let last = waiting.is_empty();
            match found {
                Some((
                    _,
                    Inode {
                        body: Body::Link(target),
                        ..
                    },
                )) if !last || follow => {
                    links += 1;
                    if links > 40 {
                        return Err(Errno::LOOP);
                    }
                    if target.is_absolute() {
                        stack.truncate(1);
                    }
                    waiting.extend(components_reversed(&target));
                }
                Some(found) if found.1.metadata.is_dir() => stack.push((found, name)),
                Some(_) if !last => return Err(Errno::NOTDIR),
                None if !last => return Err(Errno::NOENT),
                found => {
                    return Ok(Slot {
                        above: stack.iter().map(|((key, _), _)| *key).collect(),
                        directory: (key, directory),
                        name,
                        found,
                    });
                }
            }
        }
        let (found, name) = stack.pop().expect("the root stays");
        let directory = match stack.pop() {
            Some((directory, _)) => directory,
            None => found.clone(),
        };
        Ok(Slot {
            above: stack.iter().map(|((key, _), _)| *key).collect(),
            directory,
            name,
            found: Some(found),
        })
    }

    fn root(&self) -> Result<(Key, Inode), Errno> {
        self.real(Path::new("/"))?.ok_or(Errno::NOENT)
    }

    fn look(&self, directory: &Inode, name: &OsStr) -> Result<Option<(Key, Inode)>, Errno> {
        let Body::Directory { lower, names } = &directory.body else {
            return Err(Errno::NOTDIR);
        };
        match (names.get(name), lower) {
            (Some(None), _) | (None, None) => Ok(None),
            (Some(Some(key)), _) => Ok(self.inodes.get(key).map(|inode| (*key, inode.clone()))),
            (None, Some(lower)) => self.real(&lower.join(name)),
        }
    }

    /// Reads a real file, with what is predicted of it.
    fn real(&self, path: &Path) -> Result<Option<(Key, Inode)>, Errno> {
        let failed = |error: io::Error| Errno::from_io_error(&error).unwrap_or(Errno::IO);
        let Some(metadata) = place::symlink_metadata(path).map_err(failed)? else {
            return Ok(None);
        };
        let key = key_of(&metadata);
        if let Some(inode) = self.inodes.get(&key) {
            return Ok(Some((key, inode.clone())));
        }
        let body = match metadata.kind {
            FileKind::Directory => Body::Directory {
                lower: Some(path.to_owned()),
                names: BTreeMap::new(),
            },
            FileKind::File => Body::File(Source::Real(path.to_owned())),
            FileKind::Link => Body::Link(read_real_link(path)?),
            _ => Body::Other,
        };
        Ok(Some((key, Inode { metadata, body })))
    }

    /// Returns what is predicted of a real file, else what it is.
    fn current(&self, metadata: Metadata) -> Metadata {
        match self.inodes.get(&key_of(&metadata)) {
            Some(inode) => {
                self.sees(key_of(&metadata));
                inode.metadata.clone()
            }
            None => metadata,
        }
    }
}

fn key_of(metadata: &Metadata) -> Key {
    Key::Real {
        device: metadata.device,
        inode: metadata.inode,
    }
}

fn read_real_link(path: &Path) -> Result<PathBuf, Errno> {
    use std::os::unix::ffi::OsStringExt;
    let target = rustix::fs::readlink(path, Vec::new())?;
    Ok(OsString::from_vec(target.into_bytes()).into())
}

fn components_reversed(path: &Path) -> Vec<OsString> {
    path.components()
        .rev()
        .filter(|component| !matches!(component, Component::RootDir | Component::CurDir))
        .map(|component| component.as_os_str().to_owned())
        .collect()
}
