//! `backstay exporter`: the health of this machine's CI runner as metrics for Prometheus.
//!
//! Asks systemd for the runner's unit and reads the dates of the runner's own logs, at each
//! scrape; knows nothing of deploys.

use std::fmt::Write as _;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use clap::Parser;

use super::runners::{Runner, Runners};
use super::{fleet, http, preflight, programs};
use crate::config::Surroundings;
use crate::error::{EXIT_OK, Error, Result};

/// The metric that says whether the runner is online.
pub(super) const ONLINE: &str = "backstay_runner_online";

/// The metrics that say whether it is degraded.
pub(super) const DISK_FREE: &str = "backstay_runner_disk_free_bytes";
pub(super) const LOAD: &str = "backstay_runner_load1";
pub(super) const PROCESSORS: &str = "backstay_runner_processors";

/// How old the last check-in of a runner that is online may be: it polls every minute.
const FRESH: Duration = Duration::from_mins(5);

/// How long a scraper may take to ask.
const PATIENCE: Duration = Duration::from_secs(5);

/// `backstay exporter`.
#[derive(Debug, Parser)]
#[command(name = "backstay-exporter")]
pub(super) struct ExporterArgs {
    /// Where to listen
    #[arg(long, default_value = "0.0.0.0:9101", value_name = "ADDRESS:PORT")]
    pub(super) listen: String,
    /// The directory the runner is installed in: its logs are in `_diag`
    #[arg(long, value_name = "DIRECTORY")]
    pub(super) directory: PathBuf,
    /// The runner's unit; without it only the last check-in tells whether it is online
    #[arg(long, value_name = "UNIT")]
    pub(super) unit: Option<String>,
    /// The file that lists the runners, for the labels role, environment and authorised
    #[arg(long, value_name = "FILE")]
    pub(super) runners: Option<PathBuf>,
    /// The environment the label `authorised` is about
    #[arg(long, default_value = "production", value_name = "NAME")]
    pub(super) environment: String,
    /// The name of this runner (default: `RUNNER_NAME`, else the host's name)
    #[arg(long, value_name = "NAME")]
    pub(super) name: Option<String>,
    /// Ask GitHub how many runs of this repository are queued, with the token in `GITHUB_TOKEN`
    #[arg(long, value_name = "OWNER/NAME")]
    pub(super) queue: Option<String>,
    /// Print the metrics once, and do not listen
    #[arg(long)]
    pub(super) once: bool,
}

/// What is known of the runner and its machine at one time.
#[derive(Debug, Default)]
struct Health {
    active: bool,
    /// Seconds since the epoch.
    checked_in: Option<u64>,
    jobs: u64,
    version: String,
    load: f64,
    processors: usize,
    memory_available: u64,
    disk_free: u64,
    /// Runs that wait for a runner, where GitHub is asked and answers.
    queued: Option<u64>,
}

/// Where GitHub tells how many runs of a repository are queued.
struct Queue {
    url: String,
    headers: Vec<(&'static str, String)>,
}

impl Queue {
    fn new(repository: &str, surroundings: &Surroundings) -> Result<Self> {
        let get = |name: &str| {
            let value = surroundings.environment.get(name);
            value.filter(|value| !value.is_empty()).map(String::as_str)
        };
        let token = get("GITHUB_TOKEN").ok_or_else(|| {
            Error::missing("the environment has no variable `GITHUB_TOKEN`")
                .help("`--queue` needs a token that may read the actions of the repository")
        })?;
        let api = get("GITHUB_API_URL").unwrap_or("https://api.github.com");
        Ok(Self {
            url: format!("{api}/repos/{repository}/actions/runs?status=queued&per_page=1"),
            headers: vec![
                ("Authorization", format!("Bearer {token}")),
                ("User-Agent", "backstay".into()),
            ],
        })
    }

    /// Returns how many wait; what does not answer in time is no reason to say nothing else.
    fn length(&self) -> Option<u64> {
        let answer = http::get_as(&self.url, &self.headers, PATIENCE).ok()?;
        let answer: serde_json::Value = serde_json::from_str(&answer).ok()?;
        answer.get("total_count")?.as_u64()
    }
}

/// Prints the metrics, or serves them until it is ended.
pub(super) fn run(args: &ExporterArgs, surroundings: &Surroundings) -> Result<u8> {
    let name = preflight::name(args.name.as_ref(), surroundings);
    let runner = match &args.runners {
        Some(path) => Runners::load(&surroundings.working_directory.join(path))?
            .named(&name)
            .cloned(),
        None => None,
    };
    let directory = surroundings.working_directory.join(&args.directory);
    let labels = labels(&name, runner.as_ref(), &args.environment);
    let queue = args
        .queue
        .as_deref()
        .map(|repository| Queue::new(repository, surroundings))
        .transpose()?;
    let metrics = || {
        let mut health = look(&directory, args.unit.as_deref());
        health.queued = queue.as_ref().and_then(Queue::length);
        metrics(&health, &labels, now())
    };
    if args.once {
        fleet::print(&metrics()).map_err(|mut errors| errors.remove(0))?;
        return Ok(EXIT_OK);
    }
    let listener = TcpListener::bind(&args.listen).map_err(|error| {
        Error::usage(format!("nobody can listen on `{}`", args.listen)).caused_by(error)
    })?;
    let address = listener.local_addr().map_err(super::cannot_print)?;
    writeln!(io::stderr(), "listening on http://{address}/metrics").map_err(super::cannot_print)?;
    for stream in listener.incoming() {
        // Whoever does not get an answer asks again.
        stream.and_then(|stream| answer(&stream, metrics)).ok();
    }
    Ok(EXIT_OK)
}

fn answer(mut stream: &TcpStream, metrics: impl Fn() -> String) -> io::Result<()> {
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    let mut asked = String::new();
    let mut reader = BufReader::new(stream.take(8192));
    reader.read_line(&mut asked)?;
    let mut line = String::new();
    // What follows the first line is of no interest, but it is to be taken.
    while reader.read_line(&mut line)? > 2 {
        line.clear();
    }
    let (status, body) = match asked.split(' ').nth(1) {
        Some("/metrics") => ("200 OK", metrics()),
        _ => ("404 Not Found", "the metrics are at /metrics\n".to_owned()),
    };
    write!(
        stream,
        "HTTP/1.1 {status}\r\nContent-Type: text/plain; version=0.0.4\r\n\
         Content-Length: {}\r\nConnection: close\r\n\r\n{body}",
        body.len()
    )
}

fn now() -> u64 {
    seconds(SystemTime::now())
}

fn seconds(time: SystemTime) -> u64 {
    let since = time.duration_since(SystemTime::UNIX_EPOCH);
    since.map_or(0, |since| since.as_secs())
}

fn look(directory: &Path, unit: Option<&str>) -> Health {
    let logs = directory.join("_diag");
    let systemctl = Path::new("systemctl");
    Health {
        active: unit.is_none_or(|unit| {
            // Its answer is its exit code.
            programs::output_of(systemctl, &["is-active", "--quiet", unit]).is_ok()
        }),
        checked_in: logs_of(&logs, "Runner_").map(seconds).max(),
        jobs: u64::try_from(logs_of(&logs, "Worker_").count()).unwrap_or(u64::MAX),
        version: version(directory),
        load: first_number(&read("/proc/loadavg")).unwrap_or(0.0),
        processors: std::thread::available_parallelism().map_or(1, Into::into),
        memory_available: memory(&read("/proc/meminfo")),
        disk_free: rustix::fs::statvfs(directory)
            .map_or(0, |found| found.f_bavail.saturating_mul(found.f_frsize)),
        queued: None,
    }
}

/// Returns when the logs of a name were last written.
fn logs_of(directory: &Path, start: &'static str) -> impl Iterator<Item = SystemTime> {
    let entries = std::fs::read_dir(directory).into_iter().flatten().flatten();
    let of_name =
        entries.filter(move |entry| entry.file_name().to_string_lossy().starts_with(start));
    of_name.filter_map(|entry| entry.metadata().ok()?.modified().ok())
}

/// Returns the version that the runner's links point at: `bin.2.321.0`.
fn version(directory: &Path) -> String {
    let target = std::fs::read_link(directory.join("bin")).unwrap_or_default();
    let name = target
        .file_name()
        .map(|name| name.to_string_lossy().into_owned());
    name.and_then(|name| name.strip_prefix("bin.").map(str::to_owned))
        .unwrap_or_else(|| "unknown".into())
}

fn read(path: &str) -> String {
    std::fs::read_to_string(path).unwrap_or_default()
}

fn first_number(text: &str) -> Option<f64> {
    text.split_whitespace().next()?.parse().ok()
}

fn memory(text: &str) -> u64 {
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix("MemAvailable:"));
    let kib = line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
    kib.unwrap_or(0) * 1024
}

fn labels(name: &str, runner: Option<&Runner>, environment: &str) -> String {
    let role = runner.map_or("unknown", |runner| runner.role.word());
    let authorised =
        runner.is_some_and(|runner| runner.environments.iter().any(|it| it == environment));
    format!(
        "name=\"{}\",role=\"{role}\",environment=\"{}\",authorised=\"{authorised}\"",
        label(name),
        label(environment)
    )
}

/// Escapes the value of a label.
fn label(text: &str) -> String {
    text.replace('\\', "\\\\")
        .replace('"', "\\\"")
        .replace('\n', "\\n")
}

fn metrics(health: &Health, labels: &str, now: u64) -> String {
    let age = health.checked_in.map(|time| now.saturating_sub(time));
    let online = health.active && age.is_some_and(|age| age <= FRESH.as_secs());
    let rows = [
        (
            ONLINE,
            "gauge",
            "Whether the unit is active and has checked in",
            u8::from(online).to_string(),
        ),
        (
            "backstay_runner_last_checkin_timestamp_seconds",
            "gauge",
            "When the runner last wrote its log",
            health.checked_in.unwrap_or(0).to_string(),
        ),
        (
            "backstay_runner_jobs",
            "gauge",
            "Jobs whose logs the runner still keeps",
            health.jobs.to_string(),
        ),
        (
            LOAD,
            "gauge",
            "Load of the last minute",
            health.load.to_string(),
        ),
        (
            PROCESSORS,
            "gauge",
            "Processors of the machine",
            health.processors.to_string(),
        ),
        (
            "backstay_runner_memory_available_bytes",
            "gauge",
            "Memory that is available",
            health.memory_available.to_string(),
        ),
        (
            DISK_FREE,
            "gauge",
            "Free space where the runner works",
            health.disk_free.to_string(),
        ),
    ];
    let mut text = String::new();
    for (name, kind, help, value) in rows {
        writeln!(
            text,
            "# HELP {name} {help}.\n# TYPE {name} {kind}\n{name}{{{labels}}} {value}"
        )
        .expect("texts take every line");
    }
    if let Some(queued) = health.queued {
        text += "# HELP backstay_runner_queued_runs Runs that wait for a runner.\n# TYPE backstay_runner_queued_runs gauge\n";
        text += &format!("backstay_runner_queued_runs{{{labels}}} {queued}\n");
    }
    let version = label(&health.version);
    text += "# HELP backstay_runner_info The version of the runner.\n# TYPE backstay_runner_info gauge\n";
    text += &format!("backstay_runner_info{{{labels},version=\"{version}\"}} 1\n");
    text
}

/// What a runner that is to deploy needs.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Limits {
    /// Free space where it works, in MiB.
    pub(super) free: u64,
    /// The highest load for each processor.
    pub(super) load: Option<f64>,
}

/// Reads metrics of an exporter, and says why the runner is not healthy where it is not.
pub(super) fn judge(text: &str, limits: Limits) -> Result<(), String> {
    let value = |name: &str| {
        let start = format!("{name}{{");
        let line = text.lines().find(|line| line.starts_with(&start));
        line.and_then(|line| line.rsplit(' ').next())
    };
    match value(ONLINE) {
        Some("1") => {}
        Some(_) => return Err("it is offline, says its exporter".into()),
        None => return Err("its exporter says nothing of it".into()),
    }
    let number = |name: &str| value(name).and_then(|value| value.parse::<f64>().ok());
    judge_numbers(
        number(DISK_FREE),
        number(LOAD).zip(number(PROCESSORS)),
        limits,
    )
}

/// Says why a runner that is online is degraded, where it is: by free bytes, load and processors.
pub(super) fn judge_numbers(
    free: Option<f64>,
    load: Option<(f64, f64)>,
    limits: Limits,
) -> Result<(), String> {
    if let Some(free) = free.map(|bytes| bytes / 1_048_576.0)
        && let Ok(wanted) = u32::try_from(limits.free)
        && free < f64::from(wanted)
    {
        return Err(format!(
            "it is degraded: only {free:.0} MiB free where it works"
        ));
    }
    if let Some((load, processors)) = load
        && limits.load.is_some_and(|limit| load > limit * processors)
    {
        return Err(format!(
            "it is degraded: a load of {load} on {processors} processors"
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_runner_is_online_where_its_unit_is_active_and_it_has_checked_in_lately() {
        let online = |active: bool, checked_in: Option<u64>| {
            let health = Health {
                active,
                checked_in,
                ..Health::default()
            };
            judge(&metrics(&health, "name=\"a\"", 1000), Limits::default())
        };
        assert_eq!(online(true, Some(900)), Ok(()));
        for (active, checked_in) in [(false, Some(900)), (true, Some(1)), (true, None)] {
            assert_eq!(
                online(active, checked_in),
                Err("it is offline, says its exporter".into())
            );
        }
    }

    #[test]
    fn a_runner_without_room_or_with_too_much_to_do_is_degraded() {
        let health = Health {
            active: true,
            checked_in: Some(1000),
            load: 9.0,
            processors: 4,
            disk_free: 300 << 20,
            ..Health::default()
        };
        let text = metrics(&health, "name=\"a\"", 1000);
        let judged = |free, load| judge(&text, Limits { free, load });
        assert_eq!(judged(300, Some(3.0)), Ok(()));
        assert_eq!(
            judged(301, None),
            Err("it is degraded: only 300 MiB free where it works".into())
        );
        assert_eq!(
            judged(0, Some(2.0)),
            Err("it is degraded: a load of 9 on 4 processors".into())
        );
    }

    #[test]
    fn a_label_holds_no_quote_of_a_name() {
        assert_eq!(
            labels("a\"b", None, "production"),
            "name=\"a\\\"b\",role=\"unknown\",environment=\"production\",authorised=\"false\""
        );
    }
}
