//! The default output: the text of ansible-core 2.19's default callback, line for line.

mod recap;

use std::collections::HashSet;
use std::io;

use unicode_width::UnicodeWidthStr;

use super::diagnostic::{self, render_deprecation, render_origin, render_warning};
use super::plan::Plan;
use super::results::{ResultStyle, clean, dump};
use super::transaction::{self, Tone};
use super::{Painter, Palette, Reporter, Streams, diff};
use crate::config::Config;
use crate::error::ErrorKind;
use crate::event::{Event, Status, TaskInfo, TaskResult};
use crate::source::Mark;
use crate::value::{Map, Value};

const HOW_TO_SILENCE: &str =
    "Deprecation warnings can be disabled by setting `deprecation_warnings=False` in ansible.cfg.";

/// How the default output is laid out.
#[derive(Clone, Debug)]
pub struct DefaultOptions {
    pub results: ResultStyle,
    /// The width of banners: 79 without a terminal.
    pub columns: usize,
    pub painter: Painter,
    pub palette: Palette,
    pub diff_context: usize,
    pub show_ok: bool,
    pub show_skipped: bool,
    pub failed_to_stderr: bool,
    pub check_mode_markers: bool,
    pub show_host_start: bool,
    pub show_task_path_on_failure: bool,
    pub show_arguments: bool,
    pub show_custom_stats: bool,
    pub show_deprecations: bool,
    /// The whole run is a dry run.
    pub check: bool,
    /// The changes that tasks tell are shown as a plan at the end.
    pub plan: bool,
}

impl DefaultOptions {
    /// Reads the callback's settings.
    pub fn from_config(config: &Config, verbosity: u8, columns: usize, painter: Painter) -> Self {
        let pretty = config
            .get("CALLBACK_PRETTY_RESULTS")
            .and_then(|(value, _)| value.as_bool());
        let callback = config.text("DEFAULT_STDOUT_CALLBACK").unwrap_or_default();
        let yaml = config.text("CALLBACK_RESULT_FORMAT").as_deref() == Some("yaml")
            || ["yaml", "community.general.yaml"].contains(&callback.as_str());
        Self {
            results: ResultStyle {
                verbosity,
                yaml,
                pretty,
            },
            columns,
            painter,
            palette: Palette::from_config(config),
            diff_context: config
                .integer("DIFF_CONTEXT")
                .and_then(|lines| usize::try_from(lines).ok())
                .unwrap_or(3),
            show_ok: config.is_on("CALLBACK_DISPLAY_OK_HOSTS"),
            show_skipped: config.is_on("DISPLAY_SKIPPED_HOSTS"),
            failed_to_stderr: config.is_on("CALLBACK_DISPLAY_FAILED_STDERR"),
            check_mode_markers: config.is_on("CALLBACK_CHECK_MODE_MARKERS"),
            show_host_start: config.is_on("CALLBACK_SHOW_PER_HOST_START"),
            show_task_path_on_failure: config.is_on("CALLBACK_SHOW_TASK_PATH_ON_FAILURE"),
            show_arguments: config.is_on("DISPLAY_ARGS_TO_STDOUT"),
            show_custom_stats: config.is_on("SHOW_CUSTOM_STATS"),
            show_deprecations: config.is_on("DEPRECATION_WARNINGS"),
            check: false,
            plan: false,
        }
    }
}

/// Writes the default output.
pub struct DefaultReporter {
    options: DefaultOptions,
    lockstep: bool,
    /// The task whose banner was printed last.
    banner: Option<u64>,
    /// Errors, warnings and deprecations already shown; each is shown once.
    shown: HashSet<String>,
    plan: Plan,
}

impl DefaultReporter {
    /// Makes a reporter that has shown nothing yet.
    pub fn new(options: DefaultOptions) -> Self {
        Self {
            options,
            lockstep: true,
            banner: None,
            shown: HashSet::new(),
            plan: Plan::default(),
        }
    }

    fn paint(&self, text: &str, colour: impl Fn(&Palette) -> &String) -> String {
        self.options
            .painter
            .paint(text, colour(&self.options.palette))
    }

    fn print_banner(&self, text: &str, streams: &mut Streams<'_>) -> io::Result<()> {
        streams.out(&format!("\n{}", self.banner_of(text)))
    }

    fn banner_of(&self, text: &str) -> String {
        let text = text.trim();
        let stars = self.options.columns.saturating_sub(text.width()).max(3);
        format!("{text} {}", "*".repeat(stars))
    }

    fn tell_transaction(&self, event: &Event, streams: &mut Streams<'_>) -> io::Result<()> {
        for (tone, line) in transaction::lines(event) {
            let line = self.paint(&line, |palette| match tone {
                Tone::Plain => &palette.verbose,
                Tone::Good => &palette.ok,
                Tone::Changed => &palette.changed,
                Tone::Bad => &palette.error,
            });
            streams.out(&line)?;
        }
        Ok(())
    }

    fn print_plan(&mut self, streams: &mut Streams<'_>) -> io::Result<()> {
        if !self.options.plan {
            return Ok(());
        }
        self.print_banner("PLAN", streams)?;
        for line in self.plan.take_lines() {
            streams.out(&line)?;
        }
        Ok(())
    }

    fn check_marker(&self, check_mode: bool) -> &'static str {
        if check_mode && self.options.check_mode_markers {
            " [CHECK MODE]"
        } else {
            ""
        }
    }

    fn task_banner(&mut self, task: &TaskInfo, streams: &mut Streams<'_>) -> io::Result<()> {
        if self.banner == Some(task.id) {
            return Ok(());
        }
        self.banner = Some(task.id);
        let arguments = match &task.arguments {
            Some(arguments) if self.options.show_arguments => format!(" {arguments}"),
            _ => String::new(),
        };
        let prefix = if task.handler {
            "RUNNING HANDLER"
        } else {
            "TASK"
        };
        let marker = self.check_marker(task.check_mode);
        let title = task.title();
        self.print_banner(
            &format!("{prefix} [{}{arguments}]{marker}", title.trim()),
            streams,
        )?;
        if self.options.results.verbosity >= 2 {
            self.task_path(task, streams)?;
        }
        Ok(())
    }

    fn task_path(&self, task: &TaskInfo, streams: &mut Streams<'_>) -> io::Result<()> {
        let path = format!("task path: {}:{}", task.mark.file.name, task.mark.line);
        streams.out(&self.paint(&path, |palette| &palette.debug))
    }

    fn warning(
        &mut self,
        message: &str,
        mark: Option<&Mark>,
        streams: &mut Streams<'_>,
    ) -> io::Result<()> {
        let text = render_warning(message, mark);
        if self.shown.insert(text.clone()) {
            streams.err(&self.paint(&text, |palette| &palette.warn))?;
        }
        Ok(())
    }

    fn deprecated(
        &mut self,
        message: &str,
        mark: Option<&Mark>,
        streams: &mut Streams<'_>,
    ) -> io::Result<()> {
        let text = render_deprecation(message, mark);
        if self.options.show_deprecations && self.shown.insert(text.clone()) {
            self.warning(HOW_TO_SILENCE, None, streams)?;
            streams.err(&self.paint(&text, |palette| &palette.deprecate))?;
        }
        Ok(())
    }

    /// Shows what a result says beside its outcome: warnings, deprecations, the error behind it.
    fn asides(&mut self, result: &TaskResult, streams: &mut Streams<'_>) -> io::Result<()> {
        let texts = |key: &str| -> Vec<String> {
            let listed = result
                .result
                .get(key)
                .and_then(Value::as_list)
                .unwrap_or_default();
            listed
                .iter()
                .map(|entry| entry.get("msg").unwrap_or(entry).to_string())
                .collect()
        };
        for message in texts("warnings") {
            self.warning(&message, None, streams)?;
        }
        for message in texts("deprecations") {
            self.deprecated(&message, None, streams)?;
        }
        let failed = !matches!(
            result.status,
            Status::Ok | Status::Changed | Status::Skipped
        );
        if let Some(error) = result.error.as_ref().filter(|_| failed) {
            let text = format!("[ERROR]: {}", render_origin(error));
            if self.shown.insert(text.clone()) {
                self.failed_line(&self.paint(&text, |palette| &palette.error), streams)?;
            }
        }
        Ok(())
    }

    fn failed_line(&self, line: &str, streams: &mut Streams<'_>) -> io::Result<()> {
        if self.options.failed_to_stderr {
            streams.err(line)
        } else {
            streams.out(line)
        }
    }

    fn is_verbose(&self, result: &Map, verbosity: u8) -> bool {
        let hint = |key| result.get(key).is_some_and(Value::is_truthy);
        (self.options.results.verbosity > verbosity || hint("_ansible_verbose_always"))
            && !hint("_ansible_verbose_override")
    }

    fn host_finished(&mut self, result: &TaskResult, streams: &mut Streams<'_>) -> io::Result<()> {
        match result.status {
            Status::Ok | Status::Changed => self.succeeded(result, streams),
            Status::Skipped => self.skipped(result, streams),
            Status::Failed | Status::Ignored => self.failed(result, streams),
            Status::Unreachable | Status::IgnoredUnreachable => self.unreachable(result, streams),
        }
    }

    fn succeeded(&mut self, result: &TaskResult, streams: &mut Streams<'_>) -> io::Result<()> {
        let changed = result.status == Status::Changed;
        self.diff(result, streams)?;
        if is_include(&result.task) {
            return self.task_banner(&result.task, streams);
        }
        if !changed && !self.options.show_ok {
            return Ok(());
        }
        self.task_banner(&result.task, streams)?;
        self.asides(result, streams)?;
        if has_items(result) {
            return Ok(());
        }
        let shown = cleaned(result);
        let mut line = format!(
            "{}: [{}]",
            if changed { "changed" } else { "ok" },
            host_label(result)
        );
        if self.is_verbose(&shown, 0) {
            line += &format!(" => {}", dump(&shown, self.options.results));
        }
        let line = self.paint(&line, |palette| {
            if changed {
                &palette.changed
            } else {
                &palette.ok
            }
        });
        streams.out(&line)
    }

    /// Shows the diff of one result; a loop's stands above the line of each item.
    fn diff(&mut self, result: &TaskResult, streams: &mut Streams<'_>) -> io::Result<()> {
        if !result.diff {
            return Ok(());
        }
        let one = &result.result;
        let changed = one.get("changed").is_some_and(Value::is_truthy);
        let Some(diff) = one.get("diff").filter(|diff| changed && diff.is_truthy()) else {
            return Ok(());
        };
        let text = diff::render(
            diff,
            self.options.diff_context,
            self.options.results,
            self.options.painter,
            &self.options.palette,
        );
        if text.is_empty() {
            return Ok(());
        }
        self.task_banner(&result.task, streams)?;
        streams.out(text.strip_suffix('\n').unwrap_or(&text))
    }

    fn skipped(&mut self, result: &TaskResult, streams: &mut Streams<'_>) -> io::Result<()> {
        if !self.options.show_skipped {
            return Ok(());
        }
        self.task_banner(&result.task, streams)?;
        self.asides(result, streams)?;
        let mut shown = cleaned(result);
        if result.task.looped {
            shown.shift_remove("results");
        }
        let mut line = format!("skipping: [{}]", result.host);
        if self.is_verbose(&shown, 0) {
            line += &format!(" => {}", dump(&shown, self.options.results));
        }
        streams.out(&self.paint(&line, |palette| &palette.skip))
    }

    fn failed(&mut self, result: &TaskResult, streams: &mut Streams<'_>) -> io::Result<()> {
        self.task_banner(&result.task, streams)?;
        self.asides(result, streams)?;
        // What `debug` shows is its message alone: the items are hidden, and a summary takes their
        // place.
        if !has_items(result) || !cleaned(result).contains_key("results") {
            if self.options.results.verbosity < 2 && self.options.show_task_path_on_failure {
                self.task_path(&result.task, streams)?;
            }
            let line = format!(
                "fatal: [{}]: FAILED! => {}",
                host_label(result),
                dump(&cleaned(result), self.options.results)
            );
            self.failed_line(&self.paint(&line, |palette| &palette.error), streams)?;
        }
        if result.status == Status::Ignored {
            streams.out(&self.paint("...ignoring", |palette| &palette.skip))?;
        }
        Ok(())
    }

    fn unreachable(&mut self, result: &TaskResult, streams: &mut Streams<'_>) -> io::Result<()> {
        self.task_banner(&result.task, streams)?;
        self.asides(result, streams)?;
        let shown = result.result.as_map().cloned().unwrap_or_default();
        let line = format!(
            "fatal: [{}]: UNREACHABLE! => {}",
            host_label(result),
            dump(&shown, self.options.results)
        );
        self.failed_line(&self.paint(&line, |palette| &palette.unreachable), streams)?;
        if result.status == Status::IgnoredUnreachable {
            streams.out(&self.paint("...ignoring", |palette| &palette.skip))?;
        }
        Ok(())
    }

    fn item_finished(&mut self, result: &TaskResult, streams: &mut Streams<'_>) -> io::Result<()> {
        let label = item_label(result);
        let shown = cleaned(result);
        let (line, always) = match result.status {
            Status::Ok | Status::Changed => {
                self.diff(result, streams)?;
                if is_include(&result.task)
                    || (result.status == Status::Ok && !self.options.show_ok)
                {
                    return Ok(());
                }
                let word = if result.status == Status::Changed {
                    "changed"
                } else {
                    "ok"
                };
                (
                    format!("{word}: [{}] => (item={label})", host_label(result)),
                    false,
                )
            }
            Status::Skipped if !self.options.show_skipped => return Ok(()),
            Status::Skipped => (
                format!("skipping: [{}] => (item={label}) ", result.host),
                false,
            ),
            _ => (
                format!("failed: [{}] (item={label})", host_label(result)),
                true,
            ),
        };
        self.task_banner(&result.task, streams)?;
        self.asides(result, streams)?;
        let line = if always || self.is_verbose(&shown, 0) {
            format!("{line} => {}", dump(&shown, self.options.results))
        } else {
            line
        };
        let painted = self.paint(&line, |palette| match result.status {
            Status::Ok => &palette.ok,
            Status::Changed => &palette.changed,
            Status::Skipped => &palette.skip,
            _ => &palette.error,
        });
        if always {
            self.failed_line(&painted, streams)
        } else {
            streams.out(&painted)
        }
    }

    fn retried(
        &mut self,
        result: &TaskResult,
        left: u32,
        streams: &mut Streams<'_>,
    ) -> io::Result<()> {
        let mut line = format!(
            "FAILED - RETRYING: [{}]: {} ({left} retries left).",
            host_label(result),
            result.task.title()
        );
        let shown = result.result.as_map().cloned().unwrap_or_default();
        if self.is_verbose(&shown, 2) {
            line += &format!("Result was: {}", dump(&shown, self.options.results));
        }
        streams.out(&self.paint(&line, |palette| &palette.debug))
    }

    fn polled(
        &mut self,
        result: &TaskResult,
        job: &str,
        finished: bool,
        streams: &mut Streams<'_>,
    ) -> io::Result<()> {
        let host = &result.host;
        let line = match (finished, result.status) {
            (false, _) => format!("ASYNC POLL on {host}: jid={job} started=True finished=False"),
            (true, Status::Ok | Status::Changed) => format!("ASYNC OK on {host}: jid={job}"),
            (true, _) => format!("ASYNC FAILED on {host}: jid={job}"),
        };
        streams.out(&self.paint(&line, |palette| &palette.debug))
    }
}

impl Reporter for DefaultReporter {
    fn report(&mut self, event: &Event, streams: &mut Streams<'_>) -> io::Result<()> {
        match event {
            Event::PlaybookStarted { path, n_plays } => {
                if self.options.results.verbosity >= 2 {
                    let name = path.rsplit('/').next().unwrap_or(path);
                    self.print_banner(&format!("PLAYBOOK: {name}"), streams)?;
                    streams
                        .out(&self.paint(&format!("{n_plays} plays in {path}"), |p| &p.verbose))?;
                }
                if self.options.check && self.options.check_mode_markers {
                    self.print_banner("DRY RUN", streams)?;
                }
                Ok(())
            }
            Event::PlayStarted {
                name,
                check_mode,
                lockstep,
                ..
            } => {
                self.lockstep = *lockstep;
                self.banner = None;
                let marker = self.check_marker(*check_mode);
                let title = if name.trim().is_empty() {
                    format!("PLAY{marker}")
                } else {
                    format!("PLAY [{}]{marker}", name.trim())
                };
                self.print_banner(&title, streams)
            }
            Event::NoHostsMatched => {
                streams.out(&self.paint("skipping: no hosts matched", |palette| &palette.skip))
            }
            Event::NoHostsRemaining => self.print_banner("NO MORE HOSTS LEFT", streams),
            Event::TaskStarted { task } => {
                // With results hidden, the banner waits for a result that is shown.
                if self.lockstep && self.options.show_ok && self.options.show_skipped {
                    self.task_banner(task, streams)?;
                }
                Ok(())
            }
            Event::HostStarted { host, task } if self.options.show_host_start => {
                let line = format!(" [started TASK: {} on {host}]", task.title());
                streams.out(&self.paint(&line, |palette| &palette.ok))
            }
            Event::HostStarted { .. } | Event::Progress { .. } => Ok(()),
            Event::ItemFinished(result) => self.item_finished(result, streams),
            Event::HostFinished(result) => {
                if self.options.plan {
                    self.plan.add(result);
                }
                self.host_finished(result, streams)
            }
            Event::Retried {
                result,
                retries_left,
            } => self.retried(result, *retries_left, streams),
            Event::AsyncPolled {
                result,
                job,
                finished,
            } => self.polled(result, job, *finished, streams),
            Event::Included { what, hosts, item } => {
                let mut line = format!("included: {what} for {}", hosts.join(", "));
                if let Some(item) = item {
                    line += &format!(" => (item={item})");
                }
                streams.out(&self.paint(&line, |palette| &palette.included))
            }
            Event::HandlerNotified { handler, host } if self.options.results.verbosity > 1 => {
                let line = format!("NOTIFIED HANDLER {handler} for {host}");
                streams.out(&self.paint(&line, |palette| &palette.verbose))
            }
            Event::Meta { text, .. } if self.options.results.verbosity > 1 => {
                let line = format!("META: {text}");
                streams.out(&self.paint(&line, |palette| &palette.verbose))
            }
            Event::HandlerNotified { .. } | Event::Meta { .. } => Ok(()),
            Event::Warning { message, mark } => self.warning(message, mark.as_ref(), streams),
            Event::Deprecated { message, mark } => self.deprecated(message, mark.as_ref(), streams),
            Event::Failed(error) if error.kind == ErrorKind::TaskFailed => {
                let told = format!("[ERROR]: {}", diagnostic::render_origin(error));
                streams.err(&self.paint(&told, |palette| &palette.error))
            }
            Event::Failed(error) => streams.err(&diagnostic::render(
                error,
                diagnostic::HEADING,
                self.options.painter,
            )),
            Event::Verbose {
                verbosity,
                host,
                text,
            } => {
                if *verbosity > self.options.results.verbosity {
                    return Ok(());
                }
                let line = match host {
                    Some(host) => format!("<{host}> {text}"),
                    None => text.clone(),
                };
                streams.out(&self.paint(&line, |palette| &palette.verbose))
            }
            Event::Prompt { text } => streams.out(text),
            Event::Stepped { question, typed } => {
                let gap = if *typed { "\n" } else { "" };
                streams.out(&format!("{gap}{}", self.banner_of(question)))
            }
            Event::Finished { stats, custom } => {
                self.recap(stats, custom, streams)?;
                self.print_plan(streams)
            }
            Event::TransactionOpened { id, participants } => {
                if self.options.results.verbosity == 0 {
                    return Ok(());
                }
                let line = format!("transaction {id} is open on {}", participants.join(", "));
                streams.out(&self.paint(&line, |palette| &palette.verbose))
            }
            Event::TransactionEnded(outcome) => {
                if outcome.block.is_none() {
                    self.print_banner("TRANSACTION", streams)?;
                }
                self.tell_transaction(event, streams)
            }
            Event::LockAwaited { .. } | Event::RollingBack { .. } | Event::BlockUndone { .. } => {
                self.tell_transaction(event, streams)
            }
        }
    }
}

fn cleaned(result: &TaskResult) -> Map {
    let is_debug = ["debug", "ansible.builtin.debug", "ansible.legacy.debug"]
        .contains(&result.task.action.as_str());
    clean(
        &result.result.as_map().cloned().unwrap_or_default(),
        is_debug,
    )
}

fn is_include(task: &TaskInfo) -> bool {
    matches!(
        task.action.rsplit('.').next(),
        Some("include_tasks" | "include_role")
    )
}

fn has_items(result: &TaskResult) -> bool {
    result.task.looped && result.result.get("results").is_some()
}

fn host_label(result: &TaskResult) -> String {
    match &result.delegate {
        Some(delegate) if *delegate != result.host => format!("{} -> {delegate}", result.host),
        _ => result.host.to_string(),
    }
}

fn item_label(result: &TaskResult) -> String {
    result
        .item
        .as_ref()
        .map(Value::to_string)
        .unwrap_or_default()
}

#[cfg(test)]
pub(super) mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::error::Error;
    use crate::event::HostStats;
    use crate::redactor::Redactor;
    use crate::source::SourceFile;

    pub(in crate::report) fn plain_palette() -> Palette {
        let normal = || "normal".to_owned();
        Palette {
            ok: "green".into(),
            changed: "yellow".into(),
            skip: normal(),
            error: "red".into(),
            unreachable: normal(),
            verbose: normal(),
            warn: normal(),
            debug: normal(),
            deprecate: normal(),
            included: normal(),
            diff_add: normal(),
            diff_remove: normal(),
            diff_lines: normal(),
        }
    }

    pub(in crate::report) fn options() -> DefaultOptions {
        DefaultOptions {
            results: ResultStyle::default(),
            columns: 40,
            painter: Painter::new(false),
            palette: plain_palette(),
            diff_context: 3,
            show_ok: true,
            show_skipped: true,
            failed_to_stderr: false,
            check_mode_markers: false,
            show_host_start: false,
            show_task_path_on_failure: false,
            show_arguments: false,
            show_custom_stats: false,
            show_deprecations: true,
            check: false,
            plan: false,
        }
    }

    pub(in crate::report) fn task(name: &str, action: &str, looped: bool) -> Arc<TaskInfo> {
        let file = SourceFile::new("site.yml", "- hosts: all\n  tasks:\n  - name: x\n");
        Arc::new(TaskInfo {
            id: 7,
            name: name.into(),
            role: None,
            action: action.into(),
            mark: Mark::new(&file, 3, 5),
            arguments: None,
            no_log: false,
            check_mode: false,
            handler: false,
            looped,
        })
    }

    pub(in crate::report) fn result(
        task: &Arc<TaskInfo>,
        status: Status,
        json: &str,
    ) -> TaskResult {
        TaskResult {
            host: "web1".into(),
            delegate: None,
            task: Arc::clone(task),
            status,
            result: serde_json::from_str(json).unwrap(),
            item: None,
            error: None,
            diff: true,
            steps: Vec::new(),
        }
    }

    fn check(options: DefaultOptions, events: &[Event], out: &str, err: &str) {
        let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
        let redactor = Redactor::default();
        let mut reporter = DefaultReporter::new(options);
        for event in events {
            let mut streams = Streams::new(&mut stdout, &mut stderr, &redactor);
            reporter.report(event, &mut streams).unwrap();
        }
        assert_eq!(String::from_utf8(stdout).unwrap(), out);
        assert_eq!(String::from_utf8(stderr).unwrap(), err);
    }

    #[test]
    fn a_changed_file_shows_its_diff_under_one_banner() {
        let task = task("motd", "copy", false);
        let done = result(
            &task,
            Status::Changed,
            r#"{"changed":true,"diff":{"before":"","after":"hi\n","after_header":"/etc/motd"}}"#,
        );
        check(
            options(),
            &[
                Event::PlayStarted {
                    name: "all".into(),
                    hosts: Vec::new(),
                    check_mode: false,
                    lockstep: true,
                },
                Event::TaskStarted { task },
                Event::HostFinished(done),
            ],
            "\nPLAY [all] ******************************\n\nTASK [motd] *****************************\n\
             --- before\n+++ after: /etc/motd\n@@ -0,0 +1 @@\n+hi\n\nchanged: [web1]\n",
            "",
        );
    }

    #[test]
    fn a_failure_tells_where_then_what_and_an_ignored_one_goes_on() {
        let task = task("x", "command", false);
        let mut failed = result(
            &task,
            Status::Ignored,
            r#"{"rc":1,"msg":"no","failed":true}"#,
        );
        failed.error = Some(Arc::new(
            Error::content("Task failed")
                .at(&task.mark)
                .caused_by("Module failed: no"),
        ));
        check(
            options(),
            &[Event::HostFinished(failed)],
            "\nTASK [x] ********************************\n\
             [ERROR]: Task failed: Module failed: no\nOrigin: site.yml:3:5\n\n1 - hosts: all\n2   \
             tasks:\n3   - name: x\n      ^ column 5\n\n\
             fatal: [web1]: FAILED! => {\"msg\": \"no\", \"rc\": 1}\n...ignoring\n",
            "",
        );
    }

    #[test]
    fn a_loop_shows_its_items_and_no_line_of_its_own() {
        let task = task("", "ansible.builtin.command", true);
        let mut item = result(&task, Status::Changed, r#"{"changed":true}"#);
        item.item = Some(1.into());
        let whole = result(&task, Status::Changed, r#"{"changed":true,"results":[]}"#);
        check(
            options(),
            &[Event::ItemFinished(item), Event::HostFinished(whole)],
            "\nTASK [ansible.builtin.command] **********\nchanged: [web1] => (item=1)\n",
            "",
        );
    }

    #[test]
    fn an_items_diff_stands_above_its_line_and_is_not_shown_again() {
        let task = task("", "copy", true);
        let changed = r#"{"changed":true,"diff":{"before":"","after":"hi\n","after_header":"/x"}}"#;
        let mut item = result(&task, Status::Changed, changed);
        item.item = Some(1.into());
        let whole = format!(r#"{{"changed":true,"results":[{changed}]}}"#);
        let whole = result(&task, Status::Changed, &whole);
        check(
            options(),
            &[Event::ItemFinished(item), Event::HostFinished(whole)],
            "\nTASK [copy] *****************************\n--- before\n+++ after: /x\n@@ -0,0 +1 @@\n+hi\n\n\
             changed: [web1] => (item=1)\n",
            "",
        );
    }

    #[test]
    fn the_same_warning_is_shown_once_and_on_stderr() {
        let warning = Event::Warning {
            message: "careful".into(),
            mark: None,
        };
        check(
            options(),
            &[warning.clone(), warning],
            "",
            "[WARNING]: careful\n",
        );
    }

    #[test]
    fn without_skipped_results_a_banner_waits_for_a_result_that_is_shown() {
        let task = task("x", "debug", false);
        let quiet = DefaultOptions {
            show_skipped: false,
            ..options()
        };
        let skipped = result(&task, Status::Skipped, "{}");
        check(
            quiet,
            &[Event::TaskStarted { task }, Event::HostFinished(skipped)],
            "",
            "",
        );
    }

    #[test]
    fn the_recap_is_sorted_and_padded_as_ansible_pads_it() {
        let stats = HostStats {
            ok: 2,
            changed: 1,
            ..HostStats::default()
        };
        check(
            options(),
            &[Event::Finished {
                stats: vec![("b".into(), stats), ("a".into(), HostStats::default())],
                custom: Value::Null,
            }],
            "\nPLAY RECAP ******************************\n\
             a                          : ok=0    changed=0    unreachable=0    failed=0    \
             skipped=0    rescued=0    ignored=0   \n\
             b                          : ok=2    changed=1    unreachable=0    failed=0    \
             skipped=0    rescued=0    ignored=0   \n\n",
            "",
        );
    }
}
