//! The binary: on a target, the agent that a controller started.

use std::process::ExitCode;

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    match arguments.next().as_deref() {
        Some("agent") => backstay::agent::serve::run(arguments),
        _ => ExitCode::from(backstay::error::EXIT_USAGE),
    }
}
