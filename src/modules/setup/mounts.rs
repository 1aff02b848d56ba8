//! Facts about mounted file systems: what is where, how full it is.

use std::collections::HashMap;

use super::Gathering;
use crate::value::Value;

/// Gathers the mounts that have something on a device or come over the network.
pub(super) fn gather(to: &mut Gathering<'_>) {
    let table = to
        .text("/etc/mtab")
        .or_else(|| to.text("/proc/mounts"))
        .unwrap_or_default();
    let uuids = uuids(to);
    let mut mounts = Vec::new();
    for line in table.lines() {
        let fields: Vec<_> = line.split_whitespace().map(unescape).collect();
        let [device, mount, fstype, options, ..] = &fields[..] else {
            continue;
        };
        if !device.starts_with(['/', '\\']) && !device.contains(":/") || fstype == "none" {
            continue;
        }
        let Ok(usage) = rustix::fs::statvfs(mount.as_str()) else {
            continue;
        };
        let name = device.rsplit('/').next().unwrap_or_default();
        let number = |index: usize| {
            fields
                .get(index)
                .and_then(|field| field.parse::<i64>().ok())
                .unwrap_or(0)
        };
        mounts.push(Value::map([
            ("mount", Value::from(mount.as_str())),
            ("device", device.as_str().into()),
            ("fstype", fstype.as_str().into()),
            ("options", options.as_str().into()),
            ("dump", number(4).into()),
            ("passno", number(5).into()),
            ("size_total", (usage.f_frsize * usage.f_blocks).into()),
            ("size_available", (usage.f_frsize * usage.f_bavail).into()),
            ("block_size", usage.f_bsize.into()),
            ("block_total", usage.f_blocks.into()),
            ("block_available", usage.f_bavail.into()),
            ("block_used", (usage.f_blocks - usage.f_bavail).into()),
            ("inode_total", usage.f_files.into()),
            ("inode_available", usage.f_favail.into()),
            ("inode_used", (usage.f_files - usage.f_favail).into()),
            ("uuid", uuids.get(name).map_or("N/A", String::as_str).into()),
        ]));
    }
    to.set("mounts", mounts);
}

/// Returns the file system's UUID of each device that udev knows.
fn uuids(to: &mut Gathering<'_>) -> HashMap<String, String> {
    let directory = "/dev/disk/by-uuid";
    let mut found = HashMap::new();
    for uuid in to.names(directory) {
        let link = to
            .machine
            .read_link(std::path::Path::new(&format!("{directory}/{uuid}")));
        let device = link.ok().and_then(|target| {
            target
                .file_name()
                .map(|name| name.to_string_lossy().into_owned())
        });
        if let Some(device) = device {
            found.insert(device, uuid);
        }
    }
    found
}

/// Undoes the octal escapes of mount tables: `\040` is a blank.
pub(in crate::modules) fn unescape(field: &str) -> String {
    let mut out = String::new();
    let mut rest = field;
    while let Some((before, after)) = rest.split_once('\\') {
        out.push_str(before);
        let code = after
            .get(..3)
            .and_then(|digits| u8::from_str_radix(digits, 8).ok());
        match code {
            Some(code) if code.is_ascii() => {
                out.push(char::from(code));
                rest = &after[3..];
            }
            _ => {
                out.push('\\');
                rest = after;
            }
        }
    }
    out + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blanks_in_mount_points_are_unescaped() {
        assert_eq!(unescape("/mnt/a\\040b"), "/mnt/a b");
        assert_eq!(unescape("/mnt/\\x"), "/mnt/\\x");
    }
}
