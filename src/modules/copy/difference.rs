//! The before-and-after of a file that a copy is about to replace.

use std::path::Path;

use crate::machine::{Machine, Metadata};

use super::super::edit::text;
use super::super::{Diff, Failure};
use super::place::Source;

/// Above this many bytes a file is not shown, as in Ansible (`MAX_FILE_SIZE_FOR_DIFF`).
const LARGEST: u64 = 104_448;

/// Shows both contents, or says why one cannot be shown.
pub(super) fn of(
    machine: &mut Machine,
    source: &Source,
    dest: &Path,
    found: Option<&Metadata>,
    header: Option<&str>,
) -> Result<Diff, Failure> {
    let path = dest.display().to_string();
    let mut diff = Diff::default();
    let old = machine.metadata(dest)?;
    if found.is_none() {
        diff = diff.with("before", "");
    } else if old.as_ref().is_some_and(|old| old.size > LARGEST) {
        diff = diff.with("dst_larger", LARGEST);
    } else if old.is_some_and(|old| old.is_file()) {
        let before = machine.read(dest)?;
        diff = if before.contains(&0) {
            diff.with("dst_binary", 1)
        } else {
            diff.with("before_header", path.clone())
                .with("before", text(&before))
        };
    }
    if source.size > LARGEST {
        return Ok(diff.with("src_larger", LARGEST));
    }
    let after = machine.read_content(&source.content)?;
    if after.contains(&0) {
        return Ok(diff.with("src_binary", 1));
    }
    Ok(diff
        .with("after_header", header.map_or(path, str::to_owned))
        .with("after", text(&after)))
}
