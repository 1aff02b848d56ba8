//! The listening end of a run: takes events off the channel and has the reporters show them.

use std::collections::HashSet;
use std::fs::File;
use std::io::{self, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::sync::mpsc::Receiver;
use std::thread::JoinHandle;
use std::time::Instant;

use super::arguments::OutputFormat;
use super::terminal;
use crate::config::Config;
use crate::error::{Error, Result};
use crate::event::Event;
use crate::redactor::Redactor;
use crate::report::default::{DefaultOptions, DefaultReporter};
use crate::report::github::GithubReporter;
use crate::report::json::JsonReporter;
use crate::report::minimal::MinimalReporter;
use crate::report::record::Record;
use crate::report::{Painter, Palette, Reporter, ResultStyle, StatusLine, Streams};

/// What a screen shows.
pub(super) struct ScreenOptions {
    pub(super) format: OutputFormat,
    pub(super) verbosity: u8,
    pub(super) check: bool,
    pub(super) layout: Layout,
    /// What would change is shown as a plan.
    pub(super) plan: bool,
    /// Failures are named after the run: class, evidence, remedy, page.
    pub(super) explain: bool,
    /// A runner of GitHub reads the output.
    pub(super) in_actions: bool,
    /// The directory that annotations tell places within.
    pub(super) checkout: String,
    /// The summary of the run is added to this file.
    pub(super) summary: Option<PathBuf>,
    /// What the summary is headed with.
    pub(super) title: String,
}

/// Which text layout is used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Layout {
    Default,
    Minimal,
    OneLine,
}

impl Layout {
    /// Returns the layout of the setting `stdout_callback`.
    pub(super) fn from_config(config: &Config) -> Result<Self> {
        let name = config.text("DEFAULT_STDOUT_CALLBACK").unwrap_or_default();
        match name.strip_prefix("ansible.builtin.").unwrap_or(&name) {
            "" | "default" | "yaml" | "community.general.yaml" => Ok(Self::Default),
            "minimal" => Ok(Self::Minimal),
            "oneline" => Ok(Self::OneLine),
            "json" | "jsonl" | "ansible.posix.json" | "ansible.posix.jsonl" => {
                Err(Error::usage(format!("there is no callback `{name}`"))
                    .help("say `--output json` for one event a line"))
            }
            other => {
                let known = ["default", "minimal", "oneline", "yaml"];
                Err(Error::usage(format!("there is no callback `{name}`"))
                    .suggest(other, known)
                    .help("set `stdout_callback` to default, minimal, oneline or yaml"))
            }
        }
    }
}

/// What a screen heard, and whether it could show it.
pub(super) struct Shown {
    pub(super) record: Record,
    /// Why nothing more was shown; the run went on without it.
    pub(super) broken: Option<io::Error>,
}

/// Shows events until the channel closes.
pub(super) struct Screen {
    reporter: Box<dyn Reporter + Send>,
    log: Option<Log>,
    status: Option<StatusLine>,
    redactor: Redactor,
    record: Record,
    started: Instant,
    explain: bool,
    summary: Option<(PathBuf, String)>,
}

impl Screen {
    /// Sets up the reporters the options and settings ask for.
    pub(super) fn new(
        options: &ScreenOptions,
        config: &Config,
        redactor: Redactor,
    ) -> Result<Self> {
        let painter = painter(config, io::stdout().is_terminal());
        let log = config
            .text("DEFAULT_LOG_PATH")
            .map(|path| Log::open(Path::new(&path), options, config))
            .transpose()?;
        let is_watched = options.format == OutputFormat::Text
            && io::stderr().is_terminal()
            && io::stdout().is_terminal();
        Ok(Self {
            reporter: reporter(options, config, painter),
            log,
            status: is_watched.then(StatusLine::new),
            redactor,
            record: Record::default(),
            started: Instant::now(),
            explain: options.explain,
            summary: options
                .summary
                .clone()
                .map(|path| (path, options.title.clone())),
        })
    }

    /// Shows events on a thread of its own until every sender is gone, and returns what they came
    /// to. One that can show nothing any more still hears how the run ends.
    pub(super) fn start(mut self, events: Receiver<Event>) -> JoinHandle<Shown> {
        std::thread::spawn(move || {
            let mut broken = None;
            for event in events {
                self.record.hear(&event, self.started.elapsed());
                if broken.is_none() {
                    broken = self.show(&event).err();
                }
            }
            self.sum_up();
            Shown {
                record: self.record,
                broken,
            }
        })
    }

    fn tell(&self, line: &str) {
        // Without a standard error there is nobody to tell.
        writeln!(io::stderr(), "{}", self.redactor.redact(line)).ok();
    }

    /// Names the failures on standard error and adds the summary to its file. Neither can make a
    /// run fail.
    fn sum_up(&self) {
        if self.explain {
            for line in self.record.diagnoses() {
                self.tell(&line);
            }
        }
        let Some((path, title)) = &self.summary else {
            return;
        };
        let text = self.record.markdown(title);
        let text = self.redactor.redact(&text);
        let file = File::options().create(true).append(true).open(path);
        if let Err(error) = file.and_then(|mut file| writeln!(file, "{text}")) {
            let path = path.display();
            self.tell(&format!("the summary cannot be added to `{path}`: {error}"));
        }
    }

    fn show(&mut self, event: &Event) -> io::Result<()> {
        if let Some(status) = &mut self.status {
            status.update(event);
        }
        if let Some(log) = &mut self.log
            && let Err(error) = log.write(event, &self.redactor)
        {
            self.tell(&format!("the log is not written any more: {error}"));
            self.log = None;
        }
        let reporter = &mut self.reporter;
        let redactor = &self.redactor;
        let mut print = || {
            let (mut out, mut err) = (io::stdout().lock(), io::stderr().lock());
            reporter.report(event, &mut Streams::new(&mut out, &mut err, redactor))?;
            out.flush()
        };
        match &self.status {
            Some(status) => status.suspend(print),
            None => print(),
        }
    }
}

/// Returns the painter the settings and the terminal ask for.
pub(super) fn painter(config: &Config, is_terminal: bool) -> Painter {
    let colour =
        config.is_on("ANSIBLE_FORCE_COLOR") || (is_terminal && !config.is_on("ANSIBLE_NOCOLOR"));
    Painter::new(colour)
}

fn reporter(
    options: &ScreenOptions,
    config: &Config,
    painter: Painter,
) -> Box<dyn Reporter + Send> {
    let default = DefaultOptions {
        check: options.check,
        plan: options.plan,
        ..DefaultOptions::from_config(config, options.verbosity, terminal::columns(), painter)
    };
    match (options.format, options.layout) {
        (OutputFormat::Json, _) => Box::new(JsonReporter),
        (OutputFormat::Github, _) => Box::new(GithubReporter::new(
            default,
            options.in_actions,
            &options.checkout,
        )),
        (OutputFormat::Text, Layout::Default) => Box::new(DefaultReporter::new(default)),
        (OutputFormat::Text, layout) => Box::new(MinimalReporter {
            painter,
            palette: Palette::from_config(config),
            style: ResultStyle {
                verbosity: options.verbosity,
                ..default.results
            },
            one_line: layout == Layout::OneLine,
            told: HashSet::new(),
        }),
    }
}

/// Returns the options of a file beside the output: nobody reads commands there.
fn as_text(options: &ScreenOptions) -> ScreenOptions {
    let format = match options.format {
        OutputFormat::Github => OutputFormat::Text,
        other => other,
    };
    ScreenOptions {
        format,
        summary: None,
        title: String::new(),
        checkout: String::new(),
        ..*options
    }
}

/// The setting `log_path`: the same text without colour, each line with time, process and level,
/// at the verbosity of `log_verbosity`.
struct Log {
    file: File,
    reporter: Box<dyn Reporter + Send>,
    prefix: String,
}

impl Log {
    fn open(path: &Path, options: &ScreenOptions, config: &Config) -> Result<Self> {
        let file = File::options()
            .create(true)
            .append(true)
            .open(path)
            .map_err(|error| {
                Error::usage(format!(
                    "the log file `{}` cannot be written",
                    path.display()
                ))
                .caused_by(error)
                .help("set `log_path` to a file you may write, or unset it")
            })?;
        let user = super::surroundings::user_name();
        let verbosity = config.integer("LOG_VERBOSITY");
        let options = ScreenOptions {
            verbosity: verbosity
                .and_then(|level| u8::try_from(level).ok())
                .unwrap_or(options.verbosity),
            ..as_text(options)
        };
        Ok(Self {
            file,
            reporter: reporter(&options, config, Painter::new(false)),
            prefix: format!("p={} u={user} n=ansible", std::process::id()),
        })
    }

    fn write(&mut self, event: &Event, redactor: &Redactor) -> io::Result<()> {
        let (mut out, mut err) = (Vec::new(), Vec::new());
        self.reporter
            .report(event, &mut Streams::new(&mut out, &mut err, redactor))?;
        out.append(&mut err);
        let now = jiff::ZonedDateTime::now()
            .strftime("%Y-%m-%d %H:%M:%S,%3f")
            .to_string();
        for line in String::from_utf8_lossy(&out).lines() {
            let level = match line {
                _ if line.starts_with("[WARNING]") => "WARNING",
                _ if line.starts_with("[ERROR]") => "ERROR",
                _ => "INFO",
            };
            writeln!(self.file, "{now} {} {level}| {line}", self.prefix)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Surroundings;

    fn layout(callback: &str) -> Result<Layout> {
        let surroundings = Surroundings {
            environment: [("ANSIBLE_STDOUT_CALLBACK".to_owned(), callback.to_owned())].into(),
            working_directory: "/nonexistent".into(),
            home: "/nonexistent".into(),
        };
        Layout::from_config(&Config::load(&surroundings).unwrap())
    }

    #[test]
    fn the_setting_stdout_callback_chooses_the_layout_and_an_unknown_one_is_an_error() {
        assert_eq!(layout("yaml"), Ok(Layout::Default));
        assert_eq!(layout("ansible.builtin.minimal"), Ok(Layout::Minimal));
        assert_eq!(layout("oneline"), Ok(Layout::OneLine));
        let error = layout("minimall").unwrap_err();
        assert_eq!(error.message, "there is no callback `minimall`");
        assert_eq!(error.help.as_deref(), Some("did you mean `minimal`?"));
        let error = layout("json").unwrap_err();
        assert_eq!(
            error.help.as_deref(),
            Some("say `--output json` for one event a line")
        );
    }
}
