//! What is told of a deploy after it: metrics and notices, to whom the command line names. Bounded
//! in time, and never able to change what came of the deploy.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

use clap::{ArgAction, Args};
use indexmap::IndexMap;

use super::http::{self, Message};
use super::notices::Channel;
use super::preparation::Preparation;
use super::{metrics, notices};
use crate::error::{Error, Result};
use crate::executor::TransactionOptions;
use crate::node::Node;
use crate::redactor::Redactor;
use crate::report::record::Record;
use crate::source::SourceFile;
use crate::template::{Binding, Engine, Isolated};
use crate::value::Value;
use crate::yaml;

/// Who is told of a deploy.
#[derive(Debug, Default, Args)]
#[command(next_help_heading = "Metrics and notices")]
pub(super) struct AftermathArgs {
    /// Write metrics to this file, for the textfile collector of the node exporter
    #[arg(long, value_name = "FILE")]
    pub(super) metrics_file: Option<PathBuf>,
    /// Push metrics to the Pushgateway whose address is in this environment variable
    #[arg(long, value_name = "VARIABLE")]
    pub(super) pushgateway: Option<String>,
    /// Tell webhook, slack, pagerduty or github; the address or token is in the environment variable
    #[arg(long, value_name = "KIND=VARIABLE", action = ArgAction::Append)]
    pub(super) notify: Vec<String>,
    /// What a webhook is sent: JSON whose texts are templates over the fields it is sent otherwise
    #[arg(long, value_name = "FILE")]
    pub(super) notify_template: Option<PathBuf>,
}

/// What metrics and notices name a deploy by.
#[derive(Clone, Debug, Default)]
pub(super) struct Labels {
    pub(super) application: String,
    pub(super) runner: String,
    pub(super) run_url: Option<String>,
}

impl Labels {
    /// Takes them from the options of the transaction.
    pub(super) fn new(options: &TransactionOptions) -> Self {
        Self {
            application: options.application.clone(),
            runner: options.controller.clone(),
            run_url: options.run_url.clone(),
        }
    }
}

/// A deploy that is over.
pub(super) struct Told<'a> {
    pub(super) record: &'a Record,
    pub(super) labels: &'a Labels,
    pub(super) code: u8,
    pub(super) attempts: u32,
}

/// Those who are told.
pub(super) struct Audience {
    file: Option<PathBuf>,
    pushgateway: Option<String>,
    channels: Vec<Channel>,
    template: Option<Node>,
    redactor: Redactor,
}

/// How long one request may take, how often it is tried, and how long all of them may take.
const ATTEMPT: Duration = Duration::from_secs(3);
const ATTEMPTS: u32 = 3;
const ALL: Duration = Duration::from_secs(10);

impl Audience {
    /// Finds the addresses, before the deploy: one that is missing is told while nothing is
    /// changed.
    pub(super) fn new(args: &AftermathArgs, prepared: &Preparation) -> Result<Self> {
        let environment = &prepared.surroundings.environment;
        let variable = |name: &str| -> Result<String> {
            let value = environment.get(name).filter(|value| !value.is_empty());
            let value = value.cloned().ok_or_else(|| {
                Error::usage(format!("the environment has no variable `{name}`"))
                    .help("metrics and notices take addresses and tokens from the environment")
            })?;
            prepared.redactor.add(&value);
            Ok(value)
        };
        let channels = args.notify.iter().map(|text| {
            let (kind, name) = text.split_once('=').ok_or_else(|| {
                Error::usage(format!("`--notify {text}` names no variable"))
                    .help("write it as `--notify slack=SLACK_URL`")
            })?;
            Channel::new(kind, variable(name)?, environment)
        });
        let directory = &prepared.surroundings.working_directory;
        Ok(Self {
            file: args.metrics_file.as_ref().map(|path| directory.join(path)),
            pushgateway: args.pushgateway.as_deref().map(variable).transpose()?,
            channels: channels.collect::<Result<_>>()?,
            template: args
                .notify_template
                .as_ref()
                .map(|path| template(&directory.join(path)))
                .transpose()?,
            redactor: prepared.redactor.clone(),
        })
    }

    /// Tells everybody at once; what does not work is a line on standard error.
    pub(super) fn tell(&self, told: &Told<'_>) {
        let text = metrics::text(told, jiff::Timestamp::now().as_second());
        let text = self.redactor.redact(&text).into_owned();
        if let Some(path) = &self.file
            && let Err(error) = write(path, &text)
        {
            self.warn(&format!("metrics file `{}`: {error}", path.display()));
        }
        let push = self.pushgateway.as_ref().map(|url| Message {
            url: format!(
                "{}/metrics/job/backstay/application/{}",
                url.trim_end_matches('/'),
                told.labels.application
            ),
            headers: vec![("Content-Type", "text/plain; version=0.0.4".into())],
            body: text,
        });
        let mut event = notices::event(told);
        if let Some(template) = &self.template {
            match filled(template, &event) {
                Ok(value) => event = value,
                Err(error) => self.warn(&format!("template of notices: {error}")),
            }
        }
        let notices = self
            .channels
            .iter()
            .filter_map(|channel| notices::message(channel, told, &event, &self.redactor));
        self.send_all(push.into_iter().chain(notices).collect());
    }

    fn send_all(&self, messages: Vec<Message>) {
        let (done, outcomes) = mpsc::channel();
        let count = messages.len();
        for message in messages {
            let done = done.clone();
            // Whoever is too slow is left behind: the process ends without it.
            std::thread::spawn(move || done.send(send(&message)).ok());
        }
        let end = Instant::now() + ALL;
        for left in (1..=count).rev() {
            match outcomes.recv_timeout(end.saturating_duration_since(Instant::now())) {
                Ok(Ok(())) => {}
                Ok(Err(why)) => self.warn(&why),
                Err(_) => {
                    let seconds = ALL.as_secs();
                    self.warn(&format!("{left} did not answer within {seconds} s"));
                    return;
                }
            }
        }
    }

    fn warn(&self, why: &str) {
        let line = format!("not told: {why}");
        // Without a stderr there is nobody to tell.
        writeln!(std::io::stderr(), "{}", self.redactor.redact(&line)).ok();
    }
}

/// Reads the template of notices; what is wrong with it is told before the deploy.
fn template(path: &Path) -> Result<Node> {
    let text = std::fs::read_to_string(path).map_err(|error| {
        Error::missing(format!("the file `{}` cannot be read", path.display())).caused_by(error)
    })?;
    let file = SourceFile::new(path.display().to_string(), text);
    let first = |mut errors: Vec<Error>| errors.remove(0);
    let node = yaml::parse(&file).map_err(first)?.root;
    match Engine::new(Arc::new(Isolated)).check(&node) {
        errors if errors.is_empty() => Ok(node),
        errors => Err(first(errors)),
    }
}

/// Fills the template in with what a webhook is sent otherwise.
fn filled(template: &Node, event: &Value) -> Result<Value> {
    let fields = event.as_map().into_iter().flatten();
    let scope: IndexMap<Arc<str>, Binding> = fields
        .map(|(name, value)| (name.to_string().into(), Binding::Final(value.clone())))
        .collect();
    let rendered = Engine::new(Arc::new(Isolated)).render(template, &scope)?;
    Ok(rendered.into_value().unwrap_or_default())
}

fn send(message: &Message) -> Result<(), String> {
    let mut last = String::new();
    for attempt in 0..ATTEMPTS {
        if attempt > 0 {
            std::thread::sleep(Duration::from_millis(250) * attempt);
        }
        match http::post(message, ATTEMPT) {
            Ok(()) => return Ok(()),
            Err(why) => last = why,
        }
    }
    Err(last)
}

/// Writes the file whole or not at all: the collector reads it at any time.
#[expect(clippy::disallowed_methods, reason = "a file of the controller")]
fn write(path: &Path, text: &str) -> std::io::Result<()> {
    let beside = path.with_extension(format!("{}.tmp", std::process::id()));
    std::fs::write(&beside, text)?;
    std::fs::rename(&beside, path)
}
