//! Zip archives.

use std::fs::File;
use std::io::{BufReader, Read};
use std::path::{Path, PathBuf};

use zip::extra_fields::ExtraField;
use zip::{DateTime, ZipArchive};

use super::super::Failure;
use super::{Entry, EntryKind, Visitor, broken, refused, safe_path};

pub(super) fn visit(file: &mut File, visitor: &mut Visitor<'_>) -> Result<(), Failure> {
    let mut archive = ZipArchive::new(BufReader::new(file)).map_err(|error| broken(&error))?;
    for index in 0..archive.len() {
        let mut member = archive.by_index(index).map_err(|error| broken(&error))?;
        let mut entry = read_entry(&member)?;
        if matches!(entry.kind, EntryKind::Link(_)) {
            // The content of a link is what it reads; no path is longer than this.
            let mut target = Vec::new();
            member
                .by_ref()
                .take(4096)
                .read_to_end(&mut target)
                .map_err(|error| broken(&error))?;
            let target = String::from_utf8_lossy(&target).into_owned();
            entry.kind = EntryKind::Link(target.into());
        }
        visitor(&entry, &mut member)?;
    }
    Ok(())
}

fn read_entry<R: Read>(member: &zip::read::ZipFile<'_, R>) -> Result<Entry, Failure> {
    let name = member.name().map_err(|error| broken(&error))?.into_owned();
    let path = Path::new(&name);
    if member.encrypted() {
        return Err(refused(path, "it is encrypted"));
    }
    let bits = unix_bits(member);
    let kind = match bits.map(|bits| bits & 0o170_000) {
        _ if member.is_dir() => EntryKind::Directory,
        Some(0o120_000) => EntryKind::Link(PathBuf::new()),
        Some(0o020_000 | 0o060_000) => return Err(refused(path, "it is a device")),
        Some(0o010_000) => return Err(refused(path, "it is a named pipe")),
        Some(0o140_000) => return Err(refused(path, "it is a socket")),
        _ => EntryKind::File,
    };
    Ok(Entry {
        path: safe_path(path)?,
        kind,
        mode: bits.map(|bits| bits & 0o777),
        owner: None,
        size: member.size(),
        mtime: modified(member),
        name,
    })
}

/// Returns the file type and permissions, where a Unix system wrote the archive.
fn unix_bits<R: Read>(member: &zip::read::ZipFile<'_, R>) -> Option<u32> {
    // 3 is Unix, 19 is macOS.
    let is_unix = matches!(member.system() as u8, 3 | 19);
    Some(member.external_attributes() >> 16).filter(|bits| is_unix && *bits != 0)
}

/// Returns when the file was changed: in UTC where the archive has that, else in local time to
/// two seconds.
fn modified<R: Read>(member: &zip::read::ZipFile<'_, R>) -> i64 {
    let exact = member.extra_data_fields().find_map(|field| match field {
        ExtraField::ExtendedTimestamp(times) => times.mod_time(),
        _ => None,
    });
    match exact {
        Some(seconds) => i64::from(seconds),
        None => member.last_modified().and_then(local_seconds).unwrap_or(0),
    }
}

fn local_seconds(time: DateTime) -> Option<i64> {
    let small = |number: u8| i8::try_from(number).ok();
    let local = jiff::civil::DateTime::new(
        i16::try_from(time.year()).ok()?,
        small(time.month())?,
        small(time.day())?,
        small(time.hour())?,
        small(time.minute())?,
        small(time.second())?,
        0,
    );
    let zoned = local.ok()?.to_zoned_datetime(jiff::tz::TimeZone::system());
    Some(zoned.ok()?.timestamp().as_second())
}
