//! Why a task failed before, around or outside its action, as a chain told outermost first.
//!
//! The chain becomes both the `msg` of the result and the error a reporter shows; what an action
//! or a module answers itself is no `Failure`.

use crate::error::{Cause, Error, ErrorKind};
use crate::source::Mark;
use crate::template::TemplateError;
use crate::value::{Map, Value};

/// What a registered result holds under `exception`, since there is no traceback to show.
pub(super) const NO_TRACEBACK: &str = "(traceback unavailable)";

/// A chain of reasons.
#[derive(Clone, Debug, Default)]
pub(super) struct Failure {
    causes: Vec<Cause>,
    help: Option<String>,
    /// Result keys the failure brings along.
    pub(super) data: Map,
    /// The reason is that something undefined was used.
    pub(super) undefined: bool,
    /// The host could not be reached, or was lost.
    pub(super) unreachable: bool,
    /// The result's `msg` is the reason alone, as an action told it itself.
    pub(super) own_words: bool,
    /// The task is not told as `Task failed`: what it repeats over is wrong.
    pub(super) bare: bool,
}

impl Failure {
    /// Makes a failure with one reason.
    pub(super) fn new(message: impl Into<String>) -> Self {
        Self {
            causes: vec![Cause {
                message: message.into(),
                mark: None,
            }],
            ..Self::default()
        }
    }

    /// Makes a failure to reach a host.
    pub(super) fn unreachable(message: impl Into<String>) -> Self {
        Self {
            unreachable: true,
            ..Self::new(message)
        }
    }

    /// Makes a failure that an action tells itself: the result's `msg` is `message` alone.
    pub(super) fn action(message: impl Into<String>) -> Self {
        Self {
            own_words: true,
            ..Self::new(message)
        }
    }

    /// Places the outermost reason, unless it has a place.
    #[must_use]
    pub(super) fn at(mut self, mark: &Mark) -> Self {
        if let Some(first) = self.causes.first_mut() {
            first.mark.get_or_insert_with(|| mark.clone());
        }
        self
    }

    /// Tells `message` before the reasons so far.
    #[must_use]
    pub(super) fn within(mut self, message: impl Into<String>) -> Self {
        self.causes.insert(
            0,
            Cause {
                message: message.into(),
                mark: None,
            },
        );
        self
    }

    /// Tells `message` before the reasons so far, at the place of the outermost of them.
    #[must_use]
    pub(super) fn within_same_place(mut self, message: impl Into<String>) -> Self {
        let mark = self.causes.first_mut().and_then(|first| first.mark.take());
        self = self.within(message);
        match mark {
            Some(mark) => self.at(&mark),
            None => self,
        }
    }

    /// Puts `prefix` before the outermost reason's own words.
    #[must_use]
    pub(super) fn prefixed(mut self, prefix: &str) -> Self {
        if let Some(first) = self.causes.first_mut() {
            first.message = format!("{prefix}{}", first.message);
        }
        self
    }

    /// Adds a result key.
    #[must_use]
    pub(super) fn with(mut self, key: &str, value: impl Into<Value>) -> Self {
        self.data.insert(key.into(), value.into());
        self
    }

    /// Adds a line of help.
    #[must_use]
    pub(super) fn help(mut self, help: impl Into<String>) -> Self {
        self.help.get_or_insert_with(|| help.into());
        self
    }

    /// Returns the whole chain in one line, without `Task failed`.
    pub(super) fn brief(&self) -> String {
        join(self.causes.iter().map(|cause| cause.message.as_str()))
    }

    /// Returns the result of a task that ended in this failure.
    pub(super) fn result(&self) -> Map {
        let mut result = Map::new();
        if self.unreachable {
            result.insert("unreachable".into(), true.into());
            // What to do is nowhere else for whoever reads only the result.
            let msg = match &self.help {
                Some(help) => format!("{}; {help}", self.brief()),
                None => self.brief(),
            };
            result.insert("msg".into(), msg.into());
        } else {
            result.insert("failed".into(), true.into());
            result.insert("exception".into(), NO_TRACEBACK.into());
            let brief = self.brief();
            let msg = match (self.bare || self.own_words, brief.as_str()) {
                (true, _) => brief,
                (false, "") => "Task failed.".to_owned(),
                (false, _) => format!("Task failed: {brief}"),
            };
            result.insert("msg".into(), msg.into());
        }
        result.insert("changed".into(), false.into());
        result.extend(self.data.clone());
        result
    }

    /// Returns the error a reporter shows, placed at the task.
    pub(super) fn error(&self, task: &Mark) -> Error {
        let kind = if self.unreachable {
            ErrorKind::Unreachable
        } else {
            ErrorKind::TaskFailed
        };
        let mut causes = self.causes.clone();
        if let Some((_, before)) = causes.split_last_mut() {
            // A reporter ends a step itself, with a colon or a period.
            for cause in before {
                cause
                    .message
                    .truncate(cause.message.trim_end_matches('.').len());
            }
        }
        let mut error = if self.bare && !causes.is_empty() {
            let first = causes.remove(0);
            let place = first.mark.unwrap_or_else(|| task.clone());
            Error::new(kind, first.message).at(&place)
        } else {
            Error::new(kind, "Task failed").at(task)
        };
        error.causes = causes;
        error.help.clone_from(&self.help);
        error
    }
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.brief())
    }
}

impl From<TemplateError> for Failure {
    fn from(error: TemplateError) -> Self {
        let undefined = error.is_undefined();
        let mut failure = Self::new(error.message);
        failure.undefined = undefined;
        failure.help = error.help;
        match error.mark {
            Some(mark) => failure.at(&mark),
            None => failure,
        }
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        let mut failure = Self::new(error.message);
        failure.help = error.help;
        failure.causes.extend(error.causes);
        match error.mark {
            Some(mark) => failure.at(&mark),
            None => failure,
        }
    }
}

/// Joins messages outermost first; one that already ends with all that follows stands for it.
fn join<'a>(messages: impl DoubleEndedIterator<Item = &'a str>) -> String {
    let mut told = String::new();
    for message in messages.rev() {
        told = if told.is_empty() || message.ends_with(&told) {
            message.to_owned()
        } else {
            format!("{}: {told}", message.trim_end_matches('.'))
        };
    }
    told
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::SourceFile;

    #[test]
    fn the_message_tells_the_chain_once_and_the_error_keeps_the_places() {
        let file = SourceFile::new("a.yml", "- debug: msg={{ nope }}\n");
        let failure = Failure::new("'nope' is undefined")
            .at(&Mark::new(&file, 1, 14))
            .prefixed("Error while resolving value for 'msg': ")
            .within("Finalization of task args for 'ansible.builtin.debug' failed");
        assert_eq!(
            failure.result().get("msg").and_then(Value::as_str),
            Some(
                "Task failed: Finalization of task args for 'ansible.builtin.debug' failed: Error \
                 while resolving value for 'msg': 'nope' is undefined"
            )
        );
        let error = failure.error(&Mark::new(&file, 1, 3));
        assert_eq!(error.message, "Task failed");
        assert_eq!(
            error.causes[1].mark.as_ref().map(ToString::to_string),
            Some("a.yml:1:14".into())
        );
    }

    #[test]
    fn only_the_last_reason_keeps_its_period() {
        let file = SourceFile::new("a.yml", "- debug:\n");
        let error = Failure::new("Timed out after 1 second(s).")
            .within("Action failed.")
            .error(&Mark::new(&file, 1, 3));
        let told: Vec<_> = error.causes.iter().map(|cause| &*cause.message).collect();
        assert_eq!(told, ["Action failed", "Timed out after 1 second(s)."]);
    }

    #[test]
    fn a_message_that_repeats_its_cause_is_told_once() {
        assert_eq!(join(["a: b", "b"].into_iter()), "a: b");
        assert_eq!(join(["a.", "b"].into_iter()), "a: b");
    }
}
