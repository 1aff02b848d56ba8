//! Starting a program that outlives the agent: a job in the background.
//!
//! Knows nothing of what the program does; that it leaves the agent's session is its own part.

use std::io::{self, BufRead, BufReader, Write};
use std::path::Path;
use std::process::Stdio;

/// Starts a program with `input` on its standard input and returns the first line it prints,
/// without its end; the program runs on.
///
/// Fails when the program ends before it has printed one.
pub fn start_detached(program: &Path, arguments: &[&str], input: &[u8]) -> io::Result<String> {
    #[expect(clippy::disallowed_methods, reason = "this room starts programs")]
    let mut child = std::process::Command::new(program)
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()?;
    let (stdin, stdout) = (child.stdin.take(), child.stdout.take());
    // Whoever starts it has no use for its end but to let the system forget it.
    std::thread::spawn(move || child.wait());
    if let Some(mut stdin) = stdin {
        stdin.write_all(input)?;
    }
    let mut line = String::new();
    if let Some(stdout) = stdout {
        BufReader::new(stdout).read_line(&mut line)?;
    }
    match line.strip_suffix('\n') {
        Some(said) => Ok(said.to_owned()),
        None => Err(io::Error::other("it ended before it said anything")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_line_is_returned_while_the_program_runs_on() {
        let script = "read word; echo \"got $word\"; exec >/dev/null; read more";
        let said = start_detached(Path::new("/bin/sh"), &["-c", script], b"this\n").unwrap();
        assert_eq!(said, "got this");
    }

    #[test]
    fn a_program_that_says_nothing_did_not_start() {
        let error = start_detached(Path::new("/bin/true"), &[], b"").unwrap_err();
        assert_eq!(error.to_string(), "it ended before it said anything");
    }
}
