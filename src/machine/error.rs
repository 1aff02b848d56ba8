//! What can go wrong with a target: one sentence with its object, its reason and its help.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use super::command::Output;

/// What the machine's operations return.
pub type Result<T, E = MachineError> = std::result::Result<T, E>;

/// An operation on the target that failed.
#[derive(Debug)]
pub struct MachineError {
    /// What could not be done, as a verb: `write`, `remove`, `run`.
    pub action: &'static str,
    /// The path or the program.
    pub object: String,
    pub reason: Reason,
    pub help: Option<String>,
}

/// Why an operation failed.
#[derive(Debug)]
pub enum Reason {
    Io(io::Error),
    Said(String),
    /// The whole message in Ansible's words, which playbooks may look for.
    Verbatim(String),
    /// The `validate` command refused the new content.
    Invalid(Box<Output>),
    /// The task was cancelled or ran out of time.
    Cancelled,
}

impl MachineError {
    /// Makes an error about `path` from what the kernel said.
    pub fn io(action: &'static str, path: &Path, error: impl Into<io::Error>) -> Self {
        let error = error.into();
        let help = help_for(&error);
        Self {
            action,
            object: path.display().to_string(),
            reason: Reason::Io(error),
            help: help.map(str::to_owned),
        }
    }

    /// Makes an error about `object` in our own words.
    pub fn said(action: &'static str, object: impl fmt::Display, why: impl Into<String>) -> Self {
        Self {
            action,
            object: object.to_string(),
            reason: Reason::Said(why.into()),
            help: None,
        }
    }

    /// Adds the help line, unless there is one already.
    #[must_use]
    pub fn help(mut self, help: impl Into<String>) -> Self {
        self.help.get_or_insert_with(|| help.into());
        self
    }

    /// Returns the kernel's answer, where it was one.
    pub fn io_kind(&self) -> Option<io::ErrorKind> {
        match &self.reason {
            Reason::Io(error) => Some(error.kind()),
            _ => None,
        }
    }

    /// Returns the kernel's error number, where there was one.
    pub fn errno(&self) -> Option<i32> {
        match &self.reason {
            Reason::Io(error) => error.raw_os_error(),
            _ => None,
        }
    }

    /// Returns the path or program as a path.
    pub fn path(&self) -> PathBuf {
        PathBuf::from(&self.object)
    }
}

impl fmt::Display for MachineError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Reason::Verbatim(message) = &self.reason {
            return f.write_str(message);
        }
        write!(f, "cannot {} `{}`: ", self.action, self.object)?;
        match &self.reason {
            Reason::Io(error) => f.write_str(&reason_text(error)),
            Reason::Said(why) | Reason::Verbatim(why) => f.write_str(why),
            Reason::Invalid(output) => write!(
                f,
                "failed to validate: rc:{} error:{}",
                output.status,
                String::from_utf8_lossy(&output.stderr)
            ),
            Reason::Cancelled => f.write_str("the task was cancelled"),
        }
    }
}

impl std::error::Error for MachineError {}

/// Returns the kernel's words without Rust's number, in the house's case.
pub fn reason_text(error: &io::Error) -> String {
    let text = error.to_string();
    let text = match text.find(" (os error") {
        Some(end) => &text[..end],
        None => &text,
    };
    let mut letters = text.chars();
    match letters.next() {
        Some(first) => first.to_lowercase().chain(letters).collect(),
        None => String::new(),
    }
}

fn help_for(error: &io::Error) -> Option<&'static str> {
    match error.kind() {
        io::ErrorKind::PermissionDenied => Some("does the task need `become: true`?"),
        io::ErrorKind::StorageFull => Some("free some space on the target's file system"),
        io::ErrorKind::ReadOnlyFilesystem => Some("the target's file system is mounted read-only"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_is_one_sentence_with_the_kernels_reason() {
        let error = MachineError::io(
            "write",
            Path::new("/etc/motd"),
            io::Error::from_raw_os_error(28),
        );
        assert_eq!(
            error.to_string(),
            "cannot write `/etc/motd`: no space left on device"
        );
        assert_eq!(
            error.help.as_deref(),
            Some("free some space on the target's file system")
        );
    }
}
