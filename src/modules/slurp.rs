//! `slurp`: a file's content, as Base64.

use std::path::PathBuf;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;

use crate::machine::{Machine, MachineError};

use super::{Failure, ModuleResult, Outcome};

crate::arguments! {
    /// Slurp a file from remote nodes.
    pub(crate) struct SlurpArgs for "slurp" {
        /// The file to read.
        src: PathBuf { required, aliases: ["path"] },
    }
}

/// Reads the whole file.
pub(crate) fn run(machine: &mut Machine, args: SlurpArgs) -> ModuleResult {
    let path = machine.expand(&args.src);
    let source = path.display().to_string();
    if machine.is_dir(&path).unwrap_or(false) {
        let msg = format!("Source is a directory and must be a file: {source}");
        return Err(Failure::new(msg));
    }
    let bytes = machine
        .read(&path)
        .map_err(|error| unreadable(error, &source))?;
    Ok(Outcome::unchanged()
        .with("content", BASE64_STANDARD.encode(bytes))
        .with("source", source)
        .with("encoding", "base64"))
}

fn unreadable(error: MachineError, source: &str) -> Failure {
    match error.io_kind() {
        Some(std::io::ErrorKind::NotFound) => Failure::new(format!("File not found: {source}")),
        Some(std::io::ErrorKind::PermissionDenied) => {
            Failure::new(format!("File is not readable: {source}"))
        }
        Some(_) => Failure::new(format!("Unable to slurp file: {error}")),
        None => error.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::Target;

    #[test]
    fn content_is_returned_whatever_its_bytes_are() {
        let target = Target::new().file("f", b"\xff\x00a");
        assert_eq!(
            target.run("slurp", r#"{"src": "$ROOT/f"}"#),
            r#"{"changed":false,"content":"/wBh","source":"$ROOT/f","encoding":"base64"}"#
        );
    }

    #[test]
    fn what_is_no_readable_file_is_named() {
        let target = Target::new().directory("d");
        for (name, msg) in [
            ("no", "File not found: $ROOT/no"),
            ("d", "Source is a directory and must be a file: $ROOT/d"),
        ] {
            assert_eq!(
                target.run("slurp", &format!(r#"{{"src": "$ROOT/{name}"}}"#)),
                format!(r#"{{"failed":true,"changed":false,"msg":"{msg}"}}"#)
            );
        }
    }
}
