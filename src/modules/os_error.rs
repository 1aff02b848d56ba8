//! The kernel's errors as Python writes them: `[Errno 2] No such file or directory: b'/x'`.

use crate::machine::MachineError;

/// Returns the error as Python's `OSError` prints itself, or in our words when it is none.
pub(super) fn os_error(error: &MachineError) -> String {
    match error.errno() {
        Some(errno) => errno_text(errno, &error.object),
        None => error.to_string(),
    }
}

/// Returns an error number about a path as Python prints it.
pub(super) fn errno_text(errno: i32, path: &str) -> String {
    format!("{}: b'{path}'", errno_reason(errno))
}

/// Returns an error number as Python prints it.
pub(super) fn errno_reason(errno: i32) -> String {
    let text = std::io::Error::from_raw_os_error(errno).to_string();
    let text = text.split(" (os error").next().unwrap_or_default();
    format!("[Errno {errno}] {text}")
}
