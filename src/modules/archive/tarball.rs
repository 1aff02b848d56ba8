//! Tar archives, plain or compressed.

use std::fs::File;
use std::io::{BufReader, Read};
use std::path::Path;

use tar::EntryType;

use super::super::Failure;
use super::{Compression, Entry, EntryKind, Owner, Visitor, broken, refused, safe_path};

/// Tells whether a block is a tar header: its checksum is right.
pub(super) fn is_header(block: &[u8]) -> bool {
    let Ok(block) = <&[u8; 512]>::try_from(block) else {
        return false;
    };
    let sum: u32 = block
        .iter()
        .enumerate()
        // The checksum's own field counts as blanks.
        .map(|(index, byte)| {
            if (148..156).contains(&index) {
                32
            } else {
                u32::from(*byte)
            }
        })
        .sum();
    tar::Header::from_byte_slice(block)
        .cksum()
        .is_ok_and(|stored| stored == sum)
}

pub(super) fn visit(
    file: &mut File,
    compression: Compression,
    visitor: &mut Visitor<'_>,
) -> Result<(), Failure> {
    let file = BufReader::with_capacity(128 * 1024, file);
    let reader: Box<dyn Read + '_> = match compression {
        Compression::None => Box::new(file),
        Compression::Gzip => Box::new(flate2::bufread::MultiGzDecoder::new(file)),
        Compression::Bzip2 => Box::new(bzip2::bufread::MultiBzDecoder::new(file)),
        Compression::Xz => Box::new(lzma_rust2::XzReader::new(file, true)),
        Compression::Zstd => Box::new(
            zstd::stream::read::Decoder::with_buffer(file).map_err(|error| broken(&error))?,
        ),
    };
    let mut archive = tar::Archive::new(reader);
    for member in archive.entries().map_err(|error| broken(&error))? {
        let mut member = member.map_err(|error| broken(&error))?;
        if let Some(entry) = read_entry(&member)? {
            visitor(&entry, &mut member)?;
        }
    }
    Ok(())
}

/// Describes a member; `None` for one that is no file (a pax header for all that follow).
fn read_entry<R: Read>(member: &tar::Entry<'_, R>) -> Result<Option<Entry>, Failure> {
    let header = member.header();
    let name = member.path().map_err(|error| broken(&error))?;
    let link = || -> Result<_, Failure> {
        let link = member.link_name().map_err(|error| broken(&error))?;
        link.map(std::borrow::Cow::into_owned)
            .ok_or_else(|| refused(&name, "it is a link to nothing"))
    };
    let kind = match header.entry_type() {
        // Old archives mark a directory by the slash at its end only.
        EntryType::Regular | EntryType::Continuous if ends_with_slash(&name) => {
            EntryKind::Directory
        }
        EntryType::Regular | EntryType::Continuous | EntryType::GNUSparse => EntryKind::File,
        EntryType::Directory => EntryKind::Directory,
        EntryType::Symlink => EntryKind::Link(link()?),
        EntryType::Link => EntryKind::HardLink(safe_path(&link()?)?),
        EntryType::XGlobalHeader => return Ok(None),
        EntryType::Char | EntryType::Block => return Err(refused(&name, "it is a device")),
        EntryType::Fifo => return Err(refused(&name, "it is a named pipe")),
        _ => return Err(refused(&name, "it is no file, directory or link")),
    };
    let text = |bytes: Option<&[u8]>| {
        let text = bytes.map(|bytes| String::from_utf8_lossy(bytes).into_owned());
        text.filter(|text| !text.is_empty())
    };
    // A number that was left out is nobody's.
    let number = |number: std::io::Result<u64>| number.unwrap_or(0);
    let mtime = number(header.mtime());
    Ok(Some(Entry {
        path: safe_path(&name)?,
        name: name.to_string_lossy().into_owned(),
        kind,
        mode: header.mode().ok().map(|mode| mode & 0o7777),
        owner: Some(Owner {
            user: text(header.username_bytes()),
            uid: number(header.uid()),
            group: text(header.groupname_bytes()),
            gid: number(header.gid()),
        }),
        size: member.size(),
        mtime: i64::try_from(mtime).unwrap_or(0),
    }))
}

fn ends_with_slash(path: &Path) -> bool {
    path.as_os_str().as_encoded_bytes().ends_with(b"/")
}
