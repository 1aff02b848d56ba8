//! The binary: hands its arguments to `backstay::cli`, or, on a target, to the agent.

use std::process::ExitCode;

fn main() -> ExitCode {
    let mut arguments = std::env::args_os();
    // The agent needs nothing of the command line's parts, and must start fast.
    if arguments.nth(1).is_some_and(|word| word == "agent") {
        let options = arguments.map(|word| word.to_string_lossy().into_owned());
        return backstay::agent::serve::run(options);
    }
    ExitCode::from(backstay::cli::main(std::env::args_os()))
}
