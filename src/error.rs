//! The one error that reaches a user: a kind that decides the exit code, a story, and its place.
//!
//! Rooms keep small typed errors of their own; exactly one `From` per room turns each into an
//! `Error`. Rendering with excerpt and colour belongs to `report::diagnostic`.

use std::fmt;

use crate::source::Mark;

/// Why a run ended; decides the exit code.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ErrorKind {
    /// The command line was wrong.
    Usage,
    /// A playbook, inventory, variable file or setting was wrong.
    Content,
    /// A playbook can be read but not be played: Ansible ends as with any error, not as its
    /// parser does.
    Refused,
    /// A file, role or other thing the user named does not exist.
    Missing,
    /// A host could not be reached.
    Unreachable,
    /// A task failed on a host.
    TaskFailed,
    /// Another run holds the lock of a host.
    Locked,
    /// backstay itself is wrong.
    Internal,
}

/// The run did what was asked.
pub const EXIT_OK: u8 = 0;
/// An error before or outside any host, as `ansible-playbook` exits.
pub const EXIT_ERROR: u8 = 1;
/// One or more hosts failed.
pub const EXIT_FAILED_HOSTS: u8 = 2;
/// One or more hosts were unreachable; also a playbook that does not parse.
pub const EXIT_UNREACHABLE_HOSTS: u8 = 4;
/// `ansible-playbook`'s code for a parse error: the same number as unreachable hosts.
pub const EXIT_PARSE_ERROR: u8 = 4;
/// The command line was wrong, as `ansible-playbook` exits on bad options.
pub const EXIT_USAGE: u8 = 2;
/// A setting has a value it cannot have, as Ansible exits where it cannot load its settings.
pub const EXIT_SETTINGS: u8 = 5;
/// The user interrupted the run (Ctrl-C).
pub const EXIT_INTERRUPTED: u8 = 99;
/// A transaction failed, and every host is back where it was.
pub const EXIT_ROLLED_BACK: u8 = 20;
/// A transaction failed, and something could not be undone.
pub const EXIT_STUCK: u8 = 21;
/// A transaction's hosts differ, or one is not known about; `backstay recover` settles it.
pub const EXIT_IN_DOUBT: u8 = 22;
/// A deploy was interrupted by Ctrl-C: 128 and the signal's number.
pub const EXIT_SIGINT: u8 = 130;
/// A deploy was ended by SIGTERM.
pub const EXIT_SIGTERM: u8 = 143;
/// A deploy was ended by SIGHUP.
pub const EXIT_SIGHUP: u8 = 129;
/// backstay itself failed.
pub const EXIT_INTERNAL: u8 = 250;

/// One error, told as one story.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Error {
    pub kind: ErrorKind,
    /// Lowercase, no final period, literals in backticks.
    pub message: String,
    pub mark: Option<Mark>,
    /// What to do, one line.
    pub help: Option<String>,
    /// `host: task` context when the error happened at run time.
    pub context: Option<String>,
    /// What led to it, outermost first.
    pub causes: Vec<Cause>,
}

/// One step of what led to an error.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cause {
    pub message: String,
    /// Where, when it is another place than the step before.
    pub mark: Option<Mark>,
}

/// What fallible functions of the engine return.
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    /// Makes an error of `kind`.
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self {
            kind,
            message: message.into(),
            mark: None,
            help: None,
            context: None,
            causes: Vec::new(),
        }
    }

    /// Makes a content error: the user's file is wrong.
    pub fn content(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Content, message)
    }

    /// Makes an error about a playbook that Ansible's parser takes, and something else refuses.
    pub fn refused(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Refused, message)
    }

    /// Makes an error about something the user named that does not exist.
    pub fn missing(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Missing, message)
    }

    /// Makes a usage error: the command line is wrong.
    pub fn usage(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Usage, message)
    }

    /// Adds the place, unless a finer one is known already.
    #[must_use]
    pub fn at(mut self, mark: &Mark) -> Self {
        self.mark.get_or_insert_with(|| mark.clone());
        self
    }

    /// Adds the help line, unless there is one already.
    #[must_use]
    pub fn help(mut self, help: impl Into<String>) -> Self {
        self.help.get_or_insert_with(|| help.into());
        self
    }

    /// Adds `help: did you mean ...` when one of `known` is near `name`.
    #[must_use]
    pub fn suggest<'a>(self, name: &str, known: impl IntoIterator<Item = &'a str>) -> Self {
        match nearest(name, known) {
            Some(near) => self.help(format!("did you mean `{near}`?")),
            None => self,
        }
    }

    /// Adds the host and task the error happened in.
    #[must_use]
    pub fn context(mut self, context: impl Into<String>) -> Self {
        self.context.get_or_insert_with(|| context.into());
        self
    }

    /// Adds what led to the error, after the causes already there.
    #[must_use]
    pub fn caused_by(mut self, cause: impl fmt::Display) -> Self {
        self.causes.push(Cause {
            message: cause.to_string(),
            mark: None,
        });
        self
    }

    /// Adds what led to the error and where, after the causes already there.
    #[must_use]
    pub fn caused_by_at(mut self, cause: impl fmt::Display, mark: &Mark) -> Self {
        self.causes.push(Cause {
            message: cause.to_string(),
            mark: Some(mark.clone()),
        });
        self
    }
}

impl fmt::Display for Error {
    /// Prints one line: context and message; place, help and causes are the reporter's.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(context) = &self.context {
            write!(f, "{context}: ")?;
        }
        f.write_str(&self.message)
    }
}

impl std::error::Error for Error {}

/// Returns the name in `known` that a user most likely meant by `name`, if any is near.
pub fn nearest<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let wanted = name.to_lowercase();
    let allowed = (name.chars().count() / 3).max(1);
    known
        .into_iter()
        .map(|candidate| {
            (
                strsim::damerau_levenshtein(&wanted, &candidate.to_lowercase()),
                candidate,
            )
        })
        .filter(|(distance, _)| *distance <= allowed)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_name_is_suggested_only_when_it_is_near() {
        assert_eq!(nearest("dst", ["dest", "src"]), Some("dest"));
        assert_eq!(nearest("tempalte", ["template", "copy"]), Some("template"));
        assert_eq!(nearest("mode", ["dest", "src"]), None);
    }

    #[test]
    fn the_finest_mark_and_first_help_win() {
        let file = crate::source::SourceFile::new("a.yml", "x");
        let error = Error::content("no")
            .at(&Mark::new(&file, 3, 4))
            .at(&Mark::new(&file, 1, 1))
            .help("first")
            .help("second");
        assert_eq!(
            error.mark.map(|mark| mark.to_string()),
            Some("a.yml:3:4".into())
        );
        assert_eq!(error.help.as_deref(), Some("first"));
    }
}
