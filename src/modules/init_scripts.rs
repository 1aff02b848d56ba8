//! What the modules for services know of System V init scripts.

use std::path::Path;

use crate::machine::{Machine, Result};

/// Tells whether a start link of the script is in one of the runlevels 2 to 5.
pub(super) fn starts_at_boot(machine: &Machine, name: &str) -> Result<bool> {
    for level in 2..=5 {
        let directory = format!("/etc/rc{level}.d");
        let directory = Path::new(&directory);
        if !machine.is_dir(directory)? {
            continue;
        }
        let is_linked = machine.read_dir(directory)?.iter().any(|entry| {
            let link = entry.name.to_string_lossy();
            link.starts_with('S') && link.get(3..) == Some(name)
        });
        if is_linked {
            return Ok(true);
        }
    }
    Ok(false)
}
