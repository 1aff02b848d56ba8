//! Programs the controller starts for itself: password scripts, inventory scripts, an editor.
//!
//! Nothing here touches a target.

use std::path::Path;
use std::process::Command;

use crate::error::{Error, Result};
use crate::inventory::{ScriptOutput, ScriptRunner};

/// Runs a program and returns what it printed.
#[expect(
    clippy::disallowed_methods,
    reason = "a program of the controller, not of a target"
)]
pub(super) fn output_of(path: &Path, arguments: &[&str]) -> Result<Vec<u8>> {
    let shown = path.display();
    let output = Command::new(path)
        .args(arguments)
        .output()
        .map_err(|error| {
            Error::usage(format!("the program `{shown}` cannot be started"))
                .caused_by(error)
                .help("check that it is executable and that its first line names an interpreter")
        })?;
    if output.status.success() {
        return Ok(output.stdout);
    }
    let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    let error = Error::usage(format!("the program `{shown}` failed: {}", output.status));
    Err(if said.is_empty() {
        error
    } else {
        error.caused_by(said)
    })
}

/// Opens a file in the user's editor, whose command may have arguments, and waits.
#[expect(
    clippy::disallowed_methods,
    reason = "a program of the controller, not of a target"
)]
pub(super) fn edit(editor: &str, path: &Path) -> Result<()> {
    let mut words = editor.split_whitespace();
    let program = words.next().unwrap_or("vi");
    let status = Command::new(program)
        .args(words)
        .arg(path)
        .status()
        .map_err(|error| {
            Error::usage(format!("the editor `{editor}` cannot be started"))
                .caused_by(error)
                .help("name another with the variable EDITOR")
        })?;
    if status.success() {
        return Ok(());
    }
    Err(Error::usage(format!(
        "the editor `{editor}` failed: {status}"
    )))
}

/// Runs inventory scripts.
pub(super) struct Scripts;

impl ScriptRunner for Scripts {
    #[expect(
        clippy::disallowed_methods,
        reason = "a program of the controller, not of a target"
    )]
    fn run(&self, path: &Path, arguments: &[&str]) -> std::io::Result<ScriptOutput> {
        let output = Command::new(path).args(arguments).output()?;
        Ok(ScriptOutput {
            code: output.status.code().unwrap_or(-1),
            stdout: output.stdout,
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        })
    }
}
