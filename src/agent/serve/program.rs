//! `backstay agent`: the hidden command that the bootstrap script runs on the target.
//!
//! Before anything else it compares its own open executable with the digest it was called by, so
//! that a damaged copy ends itself instead of doing anything. A copy that was compared is noted
//! beside it, and not read again that day unless it was touched or the machine was booted.

use std::fs::{File, Metadata};
use std::io::Write;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use super::background;
use super::serve_standard_streams;
use crate::machine::Algorithm;
use crate::transaction::store::boot_id;

/// How long a copy that nobody touched is taken for whole.
const TRUST: Duration = Duration::from_hours(24);

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
    let wrong = |error: std::io::Error| format!("cannot read its own executable: {error}");
    let mut file = File::open(executable).map_err(wrong)?;
    let path = std::fs::read_link(executable).map_err(wrong)?;
    let note = Note::of(&path, &file.metadata().map_err(wrong)?);
    if note.holds() {
        return Ok(());
    }
    let found = Algorithm::Sha256.of_reader(&mut file).map_err(wrong)?;
    if found == sha256 {
        note.keep();
        return Ok(());
    }
    #[expect(
        clippy::disallowed_methods,
        reason = "our own damaged copy, no change to the target"
    )]
    std::fs::remove_file(path).ok();
    say(marker, "damaged")?;
    Err("the cached agent was damaged".to_owned())
}

/// That a copy was compared, as it lies beside it in the directory that is ours alone.
struct Note {
    path: PathBuf,
    /// Changes with everything that touches the copy.
    text: String,
}

impl Note {
    fn of(executable: &Path, found: &Metadata) -> Self {
        let text = format!(
            "{}:{} {} bytes, modified {}.{:09}, changed {}.{:09}, boot {}\n",
            found.dev(),
            found.ino(),
            found.size(),
            found.mtime(),
            found.mtime_nsec(),
            found.ctime(),
            found.ctime_nsec(),
            boot_id(),
        );
        Self {
            path: executable.with_added_extension("verified"),
            text,
        }
    }

    fn holds(&self) -> bool {
        let written = std::fs::metadata(&self.path).and_then(|note| note.modified());
        let age = written.ok().and_then(|written| written.elapsed().ok());
        age.is_some_and(|age| age < TRUST)
            && std::fs::read_to_string(&self.path).is_ok_and(|text| text == self.text)
    }

    /// Without the note the copy is only read again; one that has lost its name gets none.
    fn keep(&self) {
        if !self.path.with_extension("").exists() {
            return;
        }
        #[expect(
            clippy::disallowed_methods,
            reason = "beside our own copy, no change to the target"
        )]
        std::fs::write(&self.path, &self.text).ok();
    }
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
    #[expect(
        clippy::disallowed_methods,
        reason = "a test stands for whoever damages it"
    )]
    fn a_copy_is_noted_as_whole_until_it_is_touched() {
        let directory = tempfile::tempdir().unwrap();
        let copy = directory.path().join("ab12");
        let note = || Note::of(&copy, &std::fs::metadata(&copy).unwrap());
        std::fs::write(&copy, "whole").unwrap();
        assert!(!note().holds());
        note().keep();
        assert!(note().holds());
        std::fs::write(&copy, "damaged").unwrap();
        assert!(!note().holds());
        note().keep();
        let day = std::time::SystemTime::now() - TRUST;
        let noted = File::options().write(true).open(note().path).unwrap();
        noted.set_modified(day).unwrap();
        assert!(!note().holds());
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
