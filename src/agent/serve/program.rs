//! `backstay agent`: the hidden command that the bootstrap script runs on the target.
//!
//! Before anything else it compares its own open executable with the digest it was called by, so
//! that a damaged copy ends itself instead of doing anything.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use super::background;
use super::serve_standard_streams;
use crate::machine::Algorithm;

/// What the script says when it starts the agent.
#[derive(Debug, Default, PartialEq, Eq)]
struct Options {
    marker: String,
    sha256: Option<String>,
    directory: Option<PathBuf>,
}

/// Runs the agent on standard input and output; `arguments` come after the word `agent`.
pub fn run(arguments: impl IntoIterator<Item = String>) -> ExitCode {
    let arguments: Vec<String> = arguments.into_iter().collect();
    let ran = match arguments.as_slice() {
        [only] if only == background::ARGUMENT => background::run(),
        _ => parse(arguments).and_then(|options| start(&options)),
    };
    match ran {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            // Standard error is where the controller looks for last words.
            writeln!(std::io::stderr(), "backstay agent: {why}").ok();
            ExitCode::FAILURE
        }
    }
}

fn start(options: &Options) -> Result<(), String> {
    if let Some(sha256) = &options.sha256 {
        verify(sha256, &options.marker)?;
    }
    if let Some(directory) = &options.directory {
        // The login directory may be closed to the user that was become.
        std::env::set_current_dir(directory)
            .or_else(|_| std::env::set_current_dir("/"))
            .ok();
    }
    say(&options.marker, "ready")?;
    serve_standard_streams(options.sha256.clone()).map_err(|error| error.to_string())
}

fn parse(arguments: impl IntoIterator<Item = String>) -> Result<Options, String> {
    let mut options = Options::default();
    let mut arguments = arguments.into_iter();
    while let Some(name) = arguments.next() {
        let value = arguments
            .next()
            .ok_or_else(|| format!("`{name}` needs a value"))?;
        match name.as_str() {
            "--marker" => options.marker = value,
            "--sha256" => options.sha256 = Some(value),
            "--directory" => options.directory = Some(value.into()),
            _ => return Err(format!("no option `{name}`")),
        }
    }
    if options.marker.is_empty() {
        return Err("it is started by a controller, not by hand".to_owned());
    }
    Ok(options)
}

/// Compares the open executable with `sha256`; a damaged one is removed.
fn verify(sha256: &str, marker: &str) -> Result<(), String> {
    let executable = Path::new("/proc/self/exe");
    let mut file = std::fs::File::open(executable)
        .map_err(|error| format!("cannot read its own executable: {error}"))?;
    let found = Algorithm::Sha256
        .of_reader(&mut file)
        .map_err(|error| format!("cannot read its own executable: {error}"))?;
    if found == sha256 {
        return Ok(());
    }
    if let Ok(path) = std::fs::read_link(executable) {
        #[expect(
            clippy::disallowed_methods,
            reason = "our own damaged copy, no change to the target"
        )]
        std::fs::remove_file(path).ok();
    }
    say(marker, "damaged")?;
    Err("the cached agent was damaged".to_owned())
}

fn say(marker: &str, word: &str) -> Result<(), String> {
    let mut out = std::io::stdout();
    writeln!(out, "{marker} {word}")
        .and_then(|()| out.flush())
        .map_err(|error| format!("nobody listens: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(line: &str) -> Result<Options, String> {
        parse(line.split_whitespace().map(str::to_owned))
    }

    #[test]
    fn the_agent_is_only_started_by_its_script() {
        assert_eq!(
            words("--marker ab --sha256 cd --directory /srv"),
            Ok(Options {
                marker: "ab".into(),
                sha256: Some("cd".into()),
                directory: Some("/srv".into()),
            })
        );
        assert_eq!(
            words(""),
            Err("it is started by a controller, not by hand".into())
        );
        assert_eq!(words("--marker"), Err("`--marker` needs a value".into()));
        assert_eq!(words("--what x"), Err("no option `--what`".into()));
    }
}
