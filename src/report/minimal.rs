//! The output of ad-hoc runs: ansible's `minimal` and `oneline` callbacks.

use std::collections::HashSet;
use std::io;

use super::diagnostic::{self, render_origin};
use super::results::{ResultStyle, clean, dump};
use super::{Painter, Palette, Reporter, Streams, diff, transaction};
use crate::event::{Event, Status, TaskResult};
use crate::value::{Map, Value};

/// Actions whose output is shown as text rather than as a dictionary.
const TEXT_ACTIONS: [&str; 4] = ["command", "shell", "raw", "script"];

/// Writes one block, or one line, a host.
pub struct MinimalReporter {
    pub painter: Painter,
    pub palette: Palette,
    pub style: ResultStyle,
    /// `--one-line`.
    pub one_line: bool,
    /// Errors are told once, whatever hosts they are of.
    pub told: HashSet<String>,
}

impl MinimalReporter {
    fn finished(&mut self, result: &TaskResult, streams: &mut Streams<'_>) -> io::Result<()> {
        let (word, mark, colour) = match result.status {
            Status::Ok => ("SUCCESS", "SUCCESS", &self.palette.ok),
            Status::Changed => ("CHANGED", "CHANGED", &self.palette.changed),
            Status::Skipped => ("SKIPPED", "SKIPPED", &self.palette.skip),
            Status::Failed | Status::Ignored => ("FAILED", "FAILED!", &self.palette.error),
            Status::Unreachable | Status::IgnoredUnreachable => {
                ("UNREACHABLE!", "UNREACHABLE!", &self.palette.unreachable)
            }
        };
        let error = result.error.as_ref().filter(|_| !self.one_line);
        if let Some(text) = error.map(|error| format!("[ERROR]: {}", render_origin(error)))
            && self.told.insert(text.clone())
        {
            streams.out(&self.painter.paint(&text, &self.palette.error))?;
        }
        let map = result.result.as_map().cloned().unwrap_or_default();
        self.diff(&map, result.diff, streams)?;
        let action = result.task.action.rsplit('.').next().unwrap_or_default();
        let beside = match result.status {
            Status::Failed | Status::Ignored => Some("module_stderr"),
            Status::Ok | Status::Changed => Some("ansible_job_id"),
            Status::Skipped | Status::Unreachable | Status::IgnoredUnreachable => None,
        };
        let is_text = TEXT_ACTIONS.contains(&action)
            && beside.is_some_and(|is_no_command| !map.contains_key(is_no_command));
        let host = &result.host;
        let text = match (result.status, is_text, self.one_line) {
            (Status::Skipped, ..) => format!("{host} | SKIPPED"),
            // Ansible tells such a failure twice.
            (Status::Failed | Status::Ignored, true, true) => format!(
                "{}\n{host} | {mark} => {}",
                text_line(host, word, &map),
                self.one_line(&map)
            ),
            (_, true, true) => text_line(host, word, &map),
            (_, true, false) => text_block(host, word, &map),
            (Status::Unreachable | Status::IgnoredUnreachable, false, true) => {
                format!("{host} | {mark}: {}", field(&map, "msg"))
            }
            (_, false, true) => format!("{host} | {mark} => {}", self.one_line(&map)),
            (_, false, false) => {
                let style = ResultStyle {
                    pretty: Some(true),
                    ..self.style
                };
                let map = clean(&map, action == "debug");
                format!("{host} | {mark} => {}", dump(&map, style))
            }
        };
        streams.out(&self.painter.paint(&text, colour))
    }

    /// Returns a result as Python prints it with an indent of none, or of four where it is always
    /// shown, without the line breaks.
    fn one_line(&self, map: &Map) -> String {
        let style = ResultStyle {
            pretty: Some(true),
            ..self.style
        };
        let is_indented = map.contains_key("_ansible_verbose_always");
        let dumped = dump(&clean(map, false), style);
        if is_indented {
            dumped.lines().collect()
        } else {
            dumped.lines().map(str::trim_start).collect()
        }
    }

    fn diff(&self, map: &Map, wanted: bool, streams: &mut Streams<'_>) -> io::Result<()> {
        let Some(value) = map.get("diff").filter(|_| wanted) else {
            return Ok(());
        };
        let text = diff::render(value, 3, self.style, self.painter, &self.palette);
        if text.is_empty() {
            Ok(())
        } else {
            streams.out(text.trim_end_matches('\n'))
        }
    }
}

impl Reporter for MinimalReporter {
    fn report(&mut self, event: &Event, streams: &mut Streams<'_>) -> io::Result<()> {
        match event {
            Event::HostFinished(result) => self.finished(result, streams),
            Event::Warning { message, mark } => {
                let text = diagnostic::render_warning(message, mark.as_ref());
                streams.err(&self.painter.paint(&text, &self.palette.warn))
            }
            Event::Deprecated { message, mark } => {
                let text = diagnostic::render_deprecation(message, mark.as_ref());
                streams.err(&self.painter.paint(&text, &self.palette.deprecate))
            }
            Event::Failed(error) => streams.err(&diagnostic::render(
                error,
                diagnostic::HEADING,
                self.painter,
            )),
            Event::Verbose {
                verbosity,
                host,
                text,
            } if *verbosity <= self.style.verbosity => {
                let line = match host {
                    Some(host) => format!("<{host}> {text}"),
                    None => text.clone(),
                };
                streams.out(&self.painter.paint(&line, &self.palette.verbose))
            }
            event => {
                for (_, line) in transaction::lines(event) {
                    streams.out(&line)?;
                }
                Ok(())
            }
        }
    }
}

fn field(map: &Map, name: &str) -> String {
    map.get(name).map(Value::to_string).unwrap_or_default()
}

/// Returns the exit status, -1 where no program ran.
fn status(map: &Map) -> String {
    map.get("rc").unwrap_or(&Value::from(-1)).to_string()
}

fn text_block(host: &str, word: &str, map: &Map) -> String {
    format!(
        "{host} | {word} | rc={} >>\n{}{}{}",
        status(map),
        field(map, "stdout"),
        field(map, "stderr"),
        field(map, "msg"),
    )
}

fn text_line(host: &str, word: &str, map: &Map) -> String {
    let escaped = |name: &str| field(map, name).replace('\n', "\\n").replace('\r', "\\r");
    let stderr = match escaped("stderr") {
        text if text.is_empty() => text,
        text => format!(" (stderr) {text}"),
    };
    format!(
        "{host} | {word} | rc={} | (stdout) {}{stderr}",
        status(map),
        escaped("stdout")
    )
}

#[cfg(test)]
mod tests {
    use super::super::default::tests::{plain_palette, result, task};
    use super::*;
    use crate::redactor::Redactor;

    fn check(one_line: bool, action: &str, status: Status, json: &str, expected: &str) {
        let (mut out, mut err) = (Vec::new(), Vec::new());
        let redactor = Redactor::default();
        let mut reporter = MinimalReporter {
            painter: Painter::new(false),
            palette: plain_palette(),
            style: ResultStyle::default(),
            one_line,
            told: HashSet::new(),
        };
        let event = Event::HostFinished(result(&task("", action, false), status, json));
        reporter
            .report(&event, &mut Streams::new(&mut out, &mut err, &redactor))
            .unwrap();
        assert_eq!(String::from_utf8(out).unwrap(), expected);
    }

    #[test]
    fn a_command_shows_its_output_as_text() {
        let json = r#"{"rc":0,"stdout":"a\nb","stderr":"","msg":""}"#;
        check(
            false,
            "command",
            Status::Changed,
            json,
            "web1 | CHANGED | rc=0 >>\na\nb\n",
        );
        check(
            true,
            "command",
            Status::Changed,
            json,
            "web1 | CHANGED | rc=0 | (stdout) a\\nb\n",
        );
    }

    #[test]
    fn a_command_that_never_ran_shows_why_as_text() {
        check(
            false,
            "command",
            Status::Failed,
            r#"{"changed":false,"msg":"'x' is undefined"}"#,
            "web1 | FAILED | rc=-1 >>\n'x' is undefined\n",
        );
    }

    #[test]
    fn a_command_on_a_lost_host_shows_its_result_as_json() {
        check(
            true,
            "command",
            Status::Unreachable,
            r#"{"changed":false,"msg":"no answer"}"#,
            "web1 | UNREACHABLE!: no answer\n",
        );
    }

    #[test]
    fn another_module_shows_its_result_as_json() {
        let json = r#"{"ping":"pong","changed":false}"#;
        check(
            false,
            "ping",
            Status::Ok,
            json,
            "web1 | SUCCESS => {\n    \"changed\": false,\n    \"ping\": \"pong\"\n}\n",
        );
        check(
            true,
            "ping",
            Status::Ok,
            json,
            "web1 | SUCCESS => {\"changed\": false,\"ping\": \"pong\"}\n",
        );
    }
}
