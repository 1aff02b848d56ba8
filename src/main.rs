//! The binary: hands its arguments to `backstay::cli`, or, on a target, to the agent.

use std::ffi::OsStr;
use std::process::ExitCode;

fn main() -> ExitCode {
    let mut arguments = std::env::args_os();
    // The target's side needs nothing of the command line's parts, and must start fast.
    let word = arguments.nth(1);
    let options = arguments.map(|word| word.to_string_lossy().into_owned());
    match word.as_deref().and_then(OsStr::to_str) {
        Some("agent") => return backstay::agent::serve::run(options),
        Some("guardian") => return backstay::agent::guardian::run(options),
        Some("recover-local") => return backstay::agent::guardian::recover_local(options),
        _ => {}
    }
    ExitCode::from(backstay::cli::main(std::env::args_os()))
}
