//! `tempfile`: a new private file or directory that stays until somebody removes it.

use std::path::{Path, PathBuf};

use crate::machine::{Content, Machine, NewFile};

use super::foresight::skipped_in_check_mode;
use super::os_error::errno_reason;
use super::path_info::path_info;
use super::{Failure, ModuleResult, Outcome};

crate::arguments! {
    /// Create temporary files and directories.
    pub(crate) struct TempfileArgs for "tempfile" {
        /// What to create.
        state: String { default: "file", choices: ["file", "directory"] },
        /// Where to create it; the system's temporary directory otherwise.
        path: Option<PathBuf> {},
        /// What its name starts with.
        prefix: String { default: "ansible." },
        /// What its name ends with.
        suffix: String { default: "" },
    }
}

/// Creates the file (mode 0600) or directory (mode 0700).
pub(crate) fn run(machine: &mut Machine, args: TempfileArgs) -> ModuleResult {
    if let Some(outcome) = skipped_in_check_mode(machine, "tempfile") {
        return Ok(outcome);
    }
    for (option, value) in [("prefix", &args.prefix), ("suffix", &args.suffix)] {
        if value.contains('/') {
            return Err(Failure::new(format!(
                "{option} must be a valid file name component, got {}",
                crate::value::repr(&value.as_str().into())
            )));
        }
    }
    let directory = match &args.path {
        Some(path) => machine.expand(path),
        None => PathBuf::from(machine.variable("TMPDIR").unwrap_or_else(|| "/tmp".into())),
    };
    let path = fresh_path(machine, &directory, &args)?;
    let made = if args.state == "file" {
        let new = NewFile {
            mode: Some(0o600),
            ..NewFile::default()
        };
        machine.write(&path, Content::Bytes(Vec::new()), &new)
    } else {
        machine.create_dir(&path, 0o700)
    };
    made.map_err(|error| match error.errno() {
        Some(errno) => Failure::new(format!("{}: '{}'", errno_reason(errno), path.display())),
        None => error.into(),
    })?;
    let info = path_info(machine, &path)?;
    Ok(Outcome::changed()
        .with("path", path.display().to_string())
        .with_all(info))
}

/// Returns a path that does not exist, with eight random letters as Python's.
fn fresh_path(
    machine: &Machine,
    directory: &Path,
    args: &TempfileArgs,
) -> Result<PathBuf, Failure> {
    const LETTERS: &[u8] = b"abcdefghijklmnopqrstuvwxyz0123456789_";
    loop {
        let random: String = rand::random::<[u8; 8]>()
            .map(|byte| char::from(LETTERS[usize::from(byte) % LETTERS.len()]))
            .iter()
            .collect();
        let path = directory.join(format!("{}{random}{}", args.prefix, args.suffix));
        if machine.symlink_metadata(&path)?.is_none() {
            return Ok(path);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::Target;

    #[test]
    fn a_file_and_a_directory_are_private() {
        let target = Target::new();
        for (state, mode) in [("file", "0600"), ("directory", "0700")] {
            let options = format!(
                r#"{{"state": "{state}", "path": "$ROOT", "prefix": "a.", "suffix": ".z"}}"#
            );
            let result = target.result("tempfile", &options);
            let path = result.get("path").unwrap().to_string();
            let name = path.rsplit('/').next().unwrap();
            let middle = name
                .strip_prefix("a.")
                .and_then(|name| name.strip_suffix(".z"));
            assert_eq!(middle.map(str::len), Some(8), "{name}");
            assert_eq!(result.get("mode"), Some(&mode.into()));
            assert_eq!(result.get("state"), Some(&state.into()));
        }
    }

    #[test]
    fn a_directory_that_is_not_there_is_told_in_pythons_words() {
        let options = r#"{"path": "$ROOT/none", "prefix": "a."}"#;
        let msg = Target::new().result("tempfile", options);
        let msg = msg.get("msg").unwrap().to_string();
        assert!(
            msg.starts_with("[Errno 2] No such file or directory: '/") && msg.contains("/none/a."),
            "{msg}"
        );
    }

    #[test]
    fn a_prefix_is_no_path() {
        assert_eq!(
            Target::new().run("tempfile", r#"{"prefix": "a/b"}"#),
            r#"{"failed":true,"changed":false,"msg":"prefix must be a valid file name component, got 'a/b'"}"#
        );
    }
}
