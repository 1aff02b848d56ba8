//! `backstay doctor`: what a deploy needs of this machine and of every host, looked at all at
//! once, and each trouble named with its remedy.

use std::path::Path;
use std::time::Duration;

use clap::Parser;

use super::fleet::{self, FleetArgs};
use super::preparation::Preparation;
use crate::diagnosis::{Class, Diagnosis};
use crate::error::{EXIT_ERROR, EXIT_OK, EXIT_UNREACHABLE_HOSTS, Error, Result};
use crate::value::{Map, Value};

/// `backstay doctor`.
#[derive(Debug, Parser)]
#[command(name = "backstay-doctor")]
pub(super) struct DoctorArgs {
    #[command(flatten)]
    pub(super) fleet: FleetArgs,
    /// How much must be free where programs and data go
    #[arg(long, default_value_t = 512, value_name = "MIB")]
    pub(super) free: u64,
    /// How far a host's clock may be off
    #[arg(long, default_value_t = 10, value_name = "SECONDS")]
    pub(super) skew: u64,
    /// How long a host may take to answer
    #[arg(long, value_name = "MS")]
    pub(super) latency: Option<u64>,
    /// How high the load of a host's last minute may be
    #[arg(long, value_name = "LOAD")]
    pub(super) load: Option<f64>,
}

/// Each stage of a connection may take this long: hosts that are down must not hold up the rest.
const STAGE_SECONDS: u64 = 5;

/// One thing that was looked at.
#[derive(Debug, PartialEq)]
struct Finding {
    what: String,
    /// What is well about it.
    told: String,
    wrong: Vec<Diagnosis>,
    /// It was not reached.
    lost: bool,
}

/// Looks at everything and prints what it finds.
pub(super) fn run(args: &mut DoctorArgs, prepared: &Preparation) -> Result<u8, Vec<Error>> {
    args.fleet.connection.timeout.get_or_insert(STAGE_SECONDS);
    let mut findings = vec![runner(args, prepared), inventory(prepared)];
    let hosts = fleet::ask(&args.fleet, prepared, async |fleet| {
        let asked = [("gather_subset", ["!all", "mounts", "date_time", "loadavg"])];
        let options: Map = asked
            .into_iter()
            .map(|(name, subset)| (name.into(), Value::list(subset.map(Value::from))))
            .collect();
        let looked = fleet.look("setup", &options).await;
        let now = jiff::Timestamp::now().as_second();
        let names = fleet.contacts.iter().map(|contact| contact.name.clone());
        let looked = names.zip(looked);
        looked
            .map(|(name, answer)| host(args, name, answer, now))
            .collect::<Vec<_>>()
    })?;
    findings.extend(hosts);
    if args.fleet.json {
        fleet::print_json(&Value::list(findings.iter().map(to_value)))?;
    } else {
        let text: String = findings.iter().map(to_text).collect();
        fleet::print(&prepared.redactor.redact(&text))?;
    }
    Ok(exit_code(&findings))
}

fn exit_code(findings: &[Finding]) -> u8 {
    if findings.iter().any(|finding| finding.lost) {
        EXIT_UNREACHABLE_HOSTS
    } else if findings.iter().any(|finding| !finding.wrong.is_empty()) {
        EXIT_ERROR
    } else {
        EXIT_OK
    }
}

/// Looks at this machine: room for the sandbox, caches and artifacts.
fn runner(args: &DoctorArgs, prepared: &Preparation) -> Finding {
    let directory = &prepared.surroundings.working_directory;
    let mut wrong = Vec::new();
    let told = match free(directory) {
        Ok(bytes) => {
            if bytes < args.free << 20 {
                let told = format!("only {} free at {}", mib(bytes), directory.display());
                wrong.push(Diagnosis::new(Class::Disk, &told));
            }
            format!("{} free at {}", mib(bytes), directory.display())
        }
        Err(error) => {
            let told = format!("{} cannot be looked at: {error}", directory.display());
            wrong.push(Diagnosis::new(Class::Runner, &told));
            String::new()
        }
    };
    Finding {
        what: "this machine".into(),
        told,
        wrong,
        lost: false,
    }
}

fn free(directory: &Path) -> rustix::io::Result<u64> {
    let found = rustix::fs::statvfs(directory)?;
    Ok(found.f_bavail.saturating_mul(found.f_frsize))
}

fn inventory(prepared: &Preparation) -> Finding {
    let count = prepared.inventory.hosts().count();
    let wrong = (count == 0).then(|| {
        let told = format!("no hosts in {}", prepared.sources.join(", "));
        Diagnosis::new(Class::Playbook, &told)
    });
    Finding {
        what: "inventory".into(),
        told: format!("hosts: {count}"),
        wrong: wrong.into_iter().collect(),
        lost: false,
    }
}

fn host(
    args: &DoctorArgs,
    name: String,
    answer: Result<(Value, Duration), String>,
    now: i64,
) -> Finding {
    let (result, took) = match answer {
        Ok(answer) => answer,
        Err(why) => {
            return Finding {
                what: name,
                told: String::new(),
                wrong: vec![Diagnosis::of_reason(&why)],
                lost: true,
            };
        }
    };
    let mut told = vec![format!("agent answers in {} ms", took.as_millis())];
    let mut wrong = Vec::new();
    if let Some(limit) = args.latency
        && took.as_millis() > u128::from(limit)
    {
        let told = format!("it answered after {} ms", took.as_millis());
        wrong.push(Diagnosis::new(Class::Degraded, &told));
    }
    let facts = result.get("ansible_facts");
    let fact = |name: &str| facts.and_then(|facts| facts.get(name));
    let mounts = fact("ansible_mounts").and_then(Value::as_list);
    for mount in mounts.into_iter().flatten() {
        if let Some((path, bytes)) = writable(mount) {
            if bytes < args.free << 20 {
                let told = format!("only {} free at {path}", mib(bytes));
                wrong.push(Diagnosis::new(Class::Disk, &told));
            } else if path == "/" {
                told.push(format!("{} free at /", mib(bytes)));
            }
        }
    }
    let load = fact("ansible_loadavg").and_then(|load| load.get("1m"));
    let load = load.and_then(|load| load.to_string().parse::<f64>().ok());
    if let Some((load, limit)) = load.zip(args.load)
        && load > limit
    {
        let told = format!("the load of the last minute is {load}");
        wrong.push(Diagnosis::new(Class::Degraded, &told));
    }
    let epoch = fact("ansible_date_time").and_then(|time| time.get("epoch"));
    let epoch = epoch.and_then(|text| text.to_string().parse::<i64>().ok());
    if let Some(epoch) = epoch {
        let off = epoch.abs_diff(now).saturating_sub(took.as_secs() + 1);
        if off > args.skew {
            let told = format!("the clock is {off} s off");
            wrong.push(Diagnosis::new(Class::Clock, &told));
        } else {
            told.push("clock right".into());
        }
    }
    Finding {
        what: name,
        told: told.join(", "),
        wrong,
        lost: false,
    }
}

/// Where a deploy writes; a full image of a package or a boot partition is nobody's trouble.
const WRITTEN: [&str; 6] = ["/", "/home", "/opt", "/srv", "/tmp", "/var"];

/// Returns where a mount is and how much is free, where that matters.
fn writable(mount: &Value) -> Option<(&str, u64)> {
    let path = mount.get("mount")?.as_str()?;
    let bytes = mount.get("size_available")?.to_string().parse().ok()?;
    WRITTEN.contains(&path).then_some((path, bytes))
}

fn mib(bytes: u64) -> String {
    format!("{} MiB", bytes >> 20)
}

fn to_text(finding: &Finding) -> String {
    if finding.wrong.is_empty() {
        return format!("{}: ok: {}\n", finding.what, finding.told);
    }
    let mut text = String::new();
    for wrong in &finding.wrong {
        text += &format!("{}: {}\n", finding.what, wrong.line());
    }
    text
}

fn to_value(finding: &Finding) -> Value {
    Value::map([
        ("name", Value::from(finding.what.as_str())),
        ("ok", finding.wrong.is_empty().into()),
        ("reached", (!finding.lost).into()),
        ("told", finding.told.as_str().into()),
        (
            "wrong",
            Value::list(finding.wrong.iter().map(Diagnosis::to_value)),
        ),
    ])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn args() -> DoctorArgs {
        DoctorArgs::try_parse_from(["backstay-doctor"]).unwrap()
    }

    fn looked(json: &str) -> String {
        let facts: Value = serde_json::from_str(json).unwrap();
        let result = Value::map([("ansible_facts", facts)]);
        let answer = Ok((result, Duration::from_millis(12)));
        to_text(&host(&args(), "web1".into(), answer, 1_000_000))
    }

    #[test]
    fn a_host_with_room_and_time_is_well() {
        let json = r#"{"ansible_mounts":[{"mount":"/","size_available":1073741824},
            {"mount":"/snap/x","size_available":0}],"ansible_date_time":{"epoch":"1000003"}}"#;
        assert_eq!(
            looked(json),
            "web1: ok: agent answers in 12 ms, 1024 MiB free at /, clock right\n"
        );
    }

    #[test]
    fn a_full_disk_and_a_wrong_clock_are_both_named() {
        let json = r#"{"ansible_mounts":[{"mount":"/var","size_available":1048576}],
            "ansible_date_time":{"epoch":"1000100"}}"#;
        assert_eq!(
            looked(json),
            "web1: disk: only 1 MiB free at /var; free space or mount it writable, then deploy \
             again; see docs/runbooks/deploy-failed.md#disk\n\
             web1: clock: the clock is 99 s off; set the clock right: `timedatectl` tells whether \
             it is kept; see docs/runbooks/degraded.md#clock\n"
        );
    }

    #[test]
    fn a_host_that_is_slow_or_busy_is_named_where_limits_are_given() {
        let mut args = args();
        (args.latency, args.load) = (Some(11), Some(4.0));
        let facts = r#"{"ansible_facts":{"ansible_loadavg":{"1m":4.5}}}"#;
        let answer = Ok((
            serde_json::from_str(facts).unwrap(),
            Duration::from_millis(12),
        ));
        let found = host(&args, "web1".into(), answer, 0);
        let evidence: Vec<_> = found.wrong.iter().map(|it| it.evidence.as_str()).collect();
        let wanted = [
            "it answered after 12 ms",
            "the load of the last minute is 4.5",
        ];
        assert_eq!(evidence, wanted);
        assert!(found.wrong.iter().all(|it| it.class == Class::Degraded));
    }

    #[test]
    fn a_host_that_is_not_reached_decides_the_exit_code() {
        let answer = Err("`10.0.0.1:22` refused the connection: nothing listens there".to_owned());
        let lost = host(&args(), "web1".into(), answer, 0);
        assert_eq!(lost.wrong[0].class, Class::Network);
        assert_eq!(exit_code(&[lost]), 4);
    }
}
