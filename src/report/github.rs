//! `--output github`: the default output in groups that fold, and an annotation at the place of
//! each failed task, as the log of GitHub Actions reads them.
//!
//! Lines of foreign text that the log would take for a command are broken up, so that only this
//! reporter commands.

use std::io;

use super::default::{DefaultOptions, DefaultReporter};
use super::{Reporter, Streams};
use crate::diagnosis::Diagnosis;
use crate::error::Error;
use crate::event::{Event, TaskResult};
use crate::source::Mark;

/// Writes the text of the default reporter with the commands of the log around it.
pub struct GithubReporter {
    text: DefaultReporter,
    /// Known secrets are announced: what reads the output masks them, and does not show this.
    masks: bool,
    root: String,
    announced: usize,
    in_group: bool,
}

impl GithubReporter {
    /// Makes a reporter; `masks` is for output that a runner of GitHub reads, `root` the checkout
    /// that places are told within.
    pub fn new(options: DefaultOptions, masks: bool, root: &str) -> Self {
        Self {
            text: DefaultReporter::new(options),
            masks,
            root: root.to_owned(),
            announced: 0,
            in_group: false,
        }
    }

    fn announce(&mut self, streams: &mut Streams<'_>) -> io::Result<()> {
        if !self.masks {
            return Ok(());
        }
        let known = streams.secrets_from(self.announced);
        self.announced += known.len();
        for secret in known {
            // The lines of a text are secrets of their own.
            if !secret.contains(['\n', '\r']) {
                streams.command(&format!("::add-mask::{}", data(&secret)))?;
            }
        }
        Ok(())
    }

    fn open(&mut self, title: &str, streams: &mut Streams<'_>) -> io::Result<()> {
        self.close(streams)?;
        self.in_group = true;
        streams.out(&format!("::group::{}", data(title)))
    }

    fn close(&mut self, streams: &mut Streams<'_>) -> io::Result<()> {
        if std::mem::take(&mut self.in_group) {
            streams.out("::endgroup::")?;
        }
        Ok(())
    }

    /// Shows the event as text without commands in it.
    fn tell(&mut self, event: &Event, streams: &mut Streams<'_>) -> io::Result<()> {
        let (mut out, mut err) = (Vec::new(), Vec::new());
        self.text
            .report(event, &mut streams.beside(&mut out, &mut err))?;
        for line in String::from_utf8_lossy(&out).lines() {
            streams.out(&harmless(line))?;
        }
        for line in String::from_utf8_lossy(&err).lines() {
            streams.err(&harmless(line))?;
        }
        Ok(())
    }
}

impl Reporter for GithubReporter {
    fn report(&mut self, event: &Event, streams: &mut Streams<'_>) -> io::Result<()> {
        self.announce(streams)?;
        match event {
            Event::PlayStarted { name, .. } => {
                self.close(streams)?;
                self.open(&format!("PLAY [{name}]"), streams)?;
            }
            Event::TaskStarted { task } => {
                let kind = if task.handler { "HANDLER" } else { "TASK" };
                self.open(&format!("{kind} [{}]", task.title()), streams)?;
            }
            Event::HostFinished(result) if Diagnosis::of_result(result).is_some() => {
                // What went wrong is not to be folded away.
                self.close(streams)?;
            }
            Event::Failed(_)
            | Event::LockAwaited { .. }
            | Event::RollingBack { .. }
            | Event::TransactionEnded(_)
            | Event::Finished { .. } => self.close(streams)?,
            _ => {}
        }
        self.tell(event, streams)?;
        match event {
            Event::HostFinished(result) => match Diagnosis::of_result(result) {
                Some(diagnosis) => streams.out(&of_result(result, &diagnosis, &self.root)),
                None => Ok(()),
            },
            Event::Failed(error) => streams.out(&of_error(error, &self.root)),
            Event::Warning {
                message,
                mark: Some(mark),
            } => streams.out(&annotation(
                "warning",
                Some((mark, &self.root)),
                "warning",
                message,
            )),
            _ => Ok(()),
        }
    }
}

/// Returns the annotation of a failed task.
fn of_result(result: &TaskResult, diagnosis: &Diagnosis, root: &str) -> String {
    let title = format!("{}: {}", result.host, result.task.title());
    annotation(
        "error",
        Some((&result.task.mark, root)),
        &title,
        &diagnosis.line(),
    )
}

/// Returns the annotation of an error outside any host's task.
pub fn of_error(error: &Error, root: &str) -> String {
    let diagnosis = Diagnosis::of_error(error);
    annotation(
        "error",
        error.mark.as_ref().map(|mark| (mark, root)),
        diagnosis.class.name(),
        &diagnosis.line(),
    )
}

fn annotation(level: &str, place: Option<(&Mark, &str)>, title: &str, message: &str) -> String {
    let mut properties = Vec::new();
    // A text that is no file, such as the command line, has no place to point at.
    if let Some((mark, root)) = place.filter(|(mark, _)| !mark.file.name.starts_with('<')) {
        let name = &mark.file.name;
        let inside = name.strip_prefix(root).and_then(|it| it.strip_prefix('/'));
        properties.push(format!("file={}", property(inside.unwrap_or(name))));
        properties.push(format!("line={}", mark.line));
        properties.push(format!("col={}", mark.column));
    }
    properties.push(format!("title={}", property(title)));
    format!("::{level} {}::{}", properties.join(","), data(message))
}

/// Escapes what stands after a command.
fn data(text: &str) -> String {
    text.replace('%', "%25")
        .replace('\r', "%0D")
        .replace('\n', "%0A")
}

/// Escapes the value of a command's property.
fn property(text: &str) -> String {
    data(text).replace(':', "%3A").replace(',', "%2C")
}

/// Breaks up what the log would take for a command.
fn harmless(line: &str) -> String {
    let start = line.len() - line.trim_start().len();
    let line = if line[start..].starts_with("::") {
        format!("{}: :{}", &line[..start], &line[start + 2..])
    } else {
        line.to_owned()
    };
    line.replace("##[", "# #[")
}

#[cfg(test)]
mod tests {
    use super::super::record::tests::failed_run;
    use super::*;
    use crate::event::Status;
    use crate::redactor::Redactor;
    use crate::report::default::tests;

    fn told(events: &[Event], masks: bool, redactor: &Redactor) -> String {
        let (mut out, mut err) = (Vec::new(), Vec::new());
        let mut reporter = GithubReporter::new(tests::options(), masks, "/checkout");
        for event in events {
            let mut streams = Streams::new(&mut out, &mut err, redactor);
            reporter.report(event, &mut streams).unwrap();
        }
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn a_failed_task_is_outside_its_group_and_annotated_at_its_place() {
        let events: Vec<Event> = failed_run().into_iter().map(|(event, _)| event).collect();
        let stars = |text: &str| "*".repeat(40 - text.len());
        assert_eq!(
            told(&events[..5], true, &Redactor::default()),
            format!(
                "::group::PLAY [all]\n\
                 \n\
                 PLAY [all] {}\n\
                 ::endgroup::\n\
                 ::group::TASK [Install]\n\
                 \n\
                 TASK [Install] {}\n\
                 ::endgroup::\n\
                 fatal: [web1]: FAILED! => {{\"msg\": \"no package | *x*\"}}\n\
                 ::error file=site.yml,line=3,col=5,title=web1%3A Install::package manager: no \
                 package | *x*; run the package manager on the host by hand and read its answer; \
                 see docs/runbooks/deploy-failed.md#package-manager\n\
                 rolling back on web1: web1: no\n",
                stars("PLAY [all]"),
                stars("TASK [Install]"),
            )
        );
    }

    #[test]
    fn data_of_a_target_is_never_a_command() {
        let task = tests::task("say", "debug", false);
        let json = r#"{"msg":"x\n::set-output name=a::b","_ansible_verbose_always":true}"#;
        let event = Event::HostFinished(tests::result(&task, Status::Ok, json));
        let told = told(&[event], true, &Redactor::default());
        assert!(
            !told
                .lines()
                .any(|line| line.trim_start().starts_with("::set")),
            "{told}"
        );
        assert_eq!(harmless("  ::add-path::/x"), "  : :add-path::/x");
        assert_eq!(harmless("a ##[command]b"), "a # #[command]b");
        assert_eq!(property("a:b,c%\n"), "a%3Ab%2Cc%25%0A");
    }

    #[test]
    fn secrets_are_announced_once_before_anything_else_and_only_to_a_runner() {
        let redactor = Redactor::default();
        redactor.add("first-secret\nsecond-secret");
        let event = Event::Prompt {
            text: "first-secret".into(),
        };
        let text = told(&[event.clone(), event.clone()], true, &redactor);
        let masks = |text: &str, mask: &str| text.matches(&format!("::add-mask::{mask}\n")).count();
        assert_eq!(masks(&text, "first-secret"), 1, "{text}");
        assert_eq!(masks(&text, "second-secret"), 1, "{text}");
        // The whole text in base64.
        assert_eq!(
            masks(&text, "Zmlyc3Qtc2VjcmV0CnNlY29uZC1zZWNyZXQ="),
            1,
            "{text}"
        );
        let unwatched = told(&[event], false, &redactor);
        assert!(!unwatched.contains("first-secret"), "{unwatched}");
    }
}
