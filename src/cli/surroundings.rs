//! Reads the process's surroundings once: environment, directories, the user. Nobody behind
//! `cli` reads them again.

use std::path::PathBuf;

use crate::config::Surroundings;
use crate::error::{Error, Result};

/// Returns the environment, working directory and home.
#[expect(
    clippy::disallowed_methods,
    reason = "the one place that reads the environment"
)]
pub(super) fn read() -> Result<Surroundings> {
    let working_directory = std::env::current_dir().map_err(|error| {
        Error::usage("the working directory cannot be read")
            .caused_by(error)
            .help("change into a directory that exists")
    })?;
    let environment = std::env::vars_os()
        .map(|(name, value)| {
            (
                name.to_string_lossy().into_owned(),
                value.to_string_lossy().into_owned(),
            )
        })
        .collect();
    Ok(Surroundings {
        environment,
        working_directory,
        home: home(),
    })
}

/// Returns the home directory: `$HOME`, or `/` for a user without one.
#[expect(
    clippy::disallowed_methods,
    reason = "the one place that reads the environment"
)]
fn home() -> PathBuf {
    std::env::var_os("HOME").map_or_else(|| PathBuf::from("/"), PathBuf::from)
}

/// Returns the directory of the sources a run is about: the checkout of GitHub Actions, or the
/// working directory.
pub(super) fn checkout(surroundings: &Surroundings) -> String {
    let named = surroundings.environment.get("GITHUB_WORKSPACE");
    named
        .filter(|path| !path.is_empty())
        .cloned()
        .unwrap_or_else(|| surroundings.working_directory.display().to_string())
}

/// Returns the login name of the user who started backstay, or the number of one without.
pub(super) fn user_name() -> String {
    let uid = rustix::process::getuid().as_raw();
    let entries = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
    entries
        .lines()
        .map(|line| line.split(':').collect::<Vec<_>>())
        .find(|fields| fields.get(2).is_some_and(|field| *field == uid.to_string()))
        .map_or_else(|| uid.to_string(), |fields| fields[0].to_owned())
}
