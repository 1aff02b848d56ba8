//! Extended attributes: what a replaced file hands on to its successor.

use std::ffi::{CStr, CString};
use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::path::Path;

use rustix::fs::XattrFlags;
use rustix::io::Errno;

const CAPABILITY: &CStr = c"security.capability";

/// Attributes that belong to the old bytes and would be wrong or refused on new ones.
const OF_CONTENT: [&[u8]; 3] = [b"security.capability", b"security.ima", b"security.evm"];

/// Copies the extended attributes (labels, ACLs) of the file at `from` to an open new file.
///
/// What this user may not set, or the file system does not know, is left out.
pub(super) fn hand_on(from: &Path, to: &File) -> io::Result<()> {
    for name in names(from)? {
        if OF_CONTENT.contains(&name.as_bytes()) {
            continue;
        }
        let Some(value) = get(from, &name)? else {
            continue;
        };
        match rustix::fs::fsetxattr(to.as_fd(), &name, &value, XattrFlags::empty()) {
            Ok(()) | Err(Errno::PERM | Errno::NOTSUP | Errno::ACCESS | Errno::INVAL) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

/// Copies all extended attributes of one file, link or directory to another.
pub(super) fn copy(from: &Path, to: &Path) -> io::Result<()> {
    for name in names(from)? {
        let Some(value) = get(from, &name)? else {
            continue;
        };
        match rustix::fs::lsetxattr(to, &name, &value, XattrFlags::empty()) {
            Ok(()) | Err(Errno::PERM | Errno::NOTSUP | Errno::ACCESS | Errno::INVAL) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

/// Returns the capabilities of a program file, as the kernel keeps them.
pub(super) fn capability(path: &Path) -> io::Result<Option<Vec<u8>>> {
    get(path, &CString::from(CAPABILITY))
}

/// Gives a program file back the capabilities it had.
pub(super) fn set_capability(path: &Path, value: &[u8]) -> io::Result<()> {
    let flags = XattrFlags::empty();
    Ok(rustix::fs::lsetxattr(path, CAPABILITY, value, flags)?)
}

/// Returns one extended attribute of a file, a link being itself.
pub(super) fn get(path: &Path, name: &CString) -> io::Result<Option<Vec<u8>>> {
    loop {
        let size = match rustix::fs::lgetxattr_query(path, name) {
            Ok(size) => size,
            Err(Errno::NODATA | Errno::NOTSUP | Errno::NOENT) => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        let mut value = vec![0; size];
        match rustix::fs::lgetxattr(path, name, &mut value[..]) {
            Ok(size) => {
                value.truncate(size);
                return Ok(Some(value));
            }
            // It grew meanwhile.
            Err(Errno::RANGE) => {}
            Err(Errno::NODATA) => return Ok(None),
            Err(error) => return Err(error.into()),
        }
    }
}

fn names(path: &Path) -> io::Result<Vec<CString>> {
    loop {
        let size = match rustix::fs::llistxattr_query(path) {
            Ok(size) => size,
            Err(Errno::NOTSUP | Errno::NOENT | Errno::PERM) => return Ok(Vec::new()),
            Err(error) => return Err(error.into()),
        };
        let mut list = vec![0; size];
        match rustix::fs::llistxattr(path, &mut list[..]) {
            Ok(size) => {
                let names = list[..size].split(|byte| *byte == 0);
                return Ok(names
                    .filter(|name| !name.is_empty())
                    .filter_map(|name| CString::new(name).ok())
                    .collect());
            }
            Err(Errno::RANGE) => {}
            Err(error) => return Err(error.into()),
        }
    }
}
