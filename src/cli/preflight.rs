//! `backstay preflight`: whether this runner is to deploy now. A workflow branches on the code.

use std::path::PathBuf;
use std::time::Duration;

use clap::Parser;

use super::exporter::{self, Limits};
use super::fleet;
use super::http;
use super::runners::{Role, Runner, Runners};
use crate::config::Surroundings;
use crate::diagnosis::{Class, Diagnosis};
use crate::error::{EXIT_OK, Error, Result};
use crate::value::Value;

/// The primary is healthy and deploys itself: the secondary stands by.
const EXIT_STAND_BY: u8 = 10;
/// The primary is not healthy: the secondary is to deploy.
const EXIT_TAKE_OVER: u8 = 11;
/// This runner may not deploy there.
const EXIT_UNAUTHORISED: u8 = 12;
/// No runner is healthy.
const EXIT_NOBODY: u8 = 13;

/// How long a runner's metrics may take.
const PATIENCE: Duration = Duration::from_secs(5);

/// `backstay preflight`.
#[derive(Debug, Parser)]
#[command(name = "backstay-preflight")]
pub(super) struct PreflightArgs {
    /// The file that lists the runners
    #[arg(long, default_value = "runners.yml", value_name = "FILE")]
    pub(super) runners: PathBuf,
    /// As what this runner was started
    #[arg(long, value_enum)]
    pub(super) role: Role,
    /// What it is to deploy to
    #[arg(long, default_value = "production", value_name = "NAME")]
    pub(super) environment: String,
    /// The name of this runner (default: `RUNNER_NAME`, else the host's name)
    #[arg(long, value_name = "NAME")]
    pub(super) name: Option<String>,
    /// How much must be free where a runner works
    #[arg(long, default_value_t = 512, value_name = "MIB")]
    pub(super) free: u64,
    /// How high the load for each processor of a runner may be
    #[arg(long, value_name = "LOAD")]
    pub(super) load: Option<f64>,
    /// Write JSON
    #[arg(long)]
    pub(super) json: bool,
}

/// What is to happen, and why.
#[derive(Debug, PartialEq)]
struct Decision {
    code: u8,
    told: String,
    wrong: Vec<Diagnosis>,
}

/// Decides whether this runner is to deploy.
pub(super) fn run(args: &PreflightArgs, surroundings: &Surroundings) -> Result<u8> {
    let runners = Runners::load(&surroundings.working_directory.join(&args.runners))?;
    let name = name(args.name.as_ref(), surroundings);
    let limits = Limits {
        free: args.free,
        load: args.load,
    };
    let decision = decide(&runners, &name, args.role, &args.environment, |runner| {
        health(runner, runners.prometheus.as_deref(), limits)
    });
    let first = |mut errors: Vec<Error>| errors.remove(0);
    if args.json {
        let wrong = decision.wrong.iter().map(Diagnosis::to_value);
        fleet::print_json(&Value::map([
            ("runner", Value::from(name.as_str())),
            ("code", u64::from(decision.code).into()),
            ("told", decision.told.as_str().into()),
            ("wrong", Value::list(wrong)),
        ]))
        .map_err(first)?;
    } else {
        let mut text = format!("{name}: {}\n", decision.told);
        for wrong in &decision.wrong {
            text += &format!("{}\n", wrong.line());
        }
        fleet::print(&text).map_err(first)?;
    }
    Ok(decision.code)
}

/// Returns the name of this runner.
pub(super) fn name(given: Option<&String>, surroundings: &Surroundings) -> String {
    given
        .or_else(|| surroundings.environment.get("RUNNER_NAME"))
        .filter(|name| !name.is_empty())
        .cloned()
        .unwrap_or_else(|| {
            let host = rustix::system::uname();
            host.nodename().to_string_lossy().into_owned()
        })
}

fn decide(
    runners: &Runners,
    name: &str,
    role: Role,
    environment: &str,
    health: impl Fn(&Runner) -> Result<(), String>,
) -> Decision {
    let refused = |told: String| Decision {
        code: EXIT_UNAUTHORISED,
        wrong: vec![Diagnosis::new(Class::Runner, &told)],
        told: "not authorised".into(),
    };
    let Some(this) = runners.named(name) else {
        return refused(format!("`{name}` is not in the list of runners"));
    };
    if this.role != role {
        let (is, said) = (this.role.word(), role.word());
        return refused(format!("`{name}` is the {is} runner, not the {said}"));
    }
    let may = |runner: &&Runner| runner.environments.iter().any(|it| it == environment);
    if !may(&this) {
        return refused(format!("`{name}` is not authorised for {environment}"));
    }
    let mut wrong = Vec::new();
    let mut is_healthy = |role: Role| {
        let all = runners.all.iter();
        let mut of_role = all.filter(|runner| runner.role == role).filter(may);
        of_role.any(|runner| match health(runner) {
            Ok(()) => true,
            Err(why) => {
                let told = format!("the {} runner `{}`: {why}", role.word(), runner.name);
                wrong.push(Diagnosis::new(Class::Runner, &told));
                false
            }
        })
    };
    let primary = is_healthy(Role::Primary);
    let secondary = !primary && is_healthy(Role::Secondary);
    let (code, told) = match (role, primary, secondary) {
        (Role::Primary, true, _) => (EXIT_OK, "the primary is healthy: deploy"),
        (Role::Secondary, true, _) => (EXIT_STAND_BY, "the primary is healthy: stand by"),
        (Role::Primary, false, true) => (
            EXIT_TAKE_OVER,
            "the primary is not healthy: the secondary is to deploy",
        ),
        (Role::Secondary, false, true) => (
            EXIT_OK,
            "the primary is not healthy and the secondary is: deploy",
        ),
        (_, false, false) => (EXIT_NOBODY, "no runner is healthy"),
    };
    Decision {
        code,
        told: told.into(),
        wrong,
    }
}

/// Asks a runner's exporter, or a Prometheus, whether the runner is healthy.
fn health(runner: &Runner, prometheus: Option<&str>, limits: Limits) -> Result<(), String> {
    if let Some(url) = &runner.exporter {
        return exporter::judge(&http::get(url, PATIENCE)?, limits);
    }
    let Some(prometheus) = prometheus else {
        return Err("neither an exporter nor a Prometheus is named for it".into());
    };
    let base = prometheus.trim_end_matches('/');
    let metrics = [
        exporter::ONLINE,
        exporter::DISK_FREE,
        exporter::LOAD,
        exporter::PROCESSORS,
    ];
    let query = format!(
        "{{__name__=~\"{}\",name=\"{}\"}}",
        metrics.join("|"),
        runner.name
    );
    let url = format!("{base}/api/v1/query?query={}", http::encoded(&query));
    judge_answer(&http::get(&url, PATIENCE)?, limits)
}

/// Reads the answer of a Prometheus to the query for one runner.
fn judge_answer(text: &str, limits: Limits) -> Result<(), String> {
    let answer: serde_json::Value =
        serde_json::from_str(text).map_err(|_| "Prometheus did not answer in JSON".to_owned())?;
    let series = answer
        .pointer("/data/result")
        .and_then(|series| series.as_array());
    let value = |name: &str| {
        let mut series = series.into_iter().flatten();
        let of_name = series
            .find(|it| it.pointer("/metric/__name__").and_then(|it| it.as_str()) == Some(name))?;
        of_name.pointer("/value/1")?.as_str()
    };
    match value(exporter::ONLINE) {
        Some("1") => {}
        Some(_) => return Err("it is offline, says Prometheus".into()),
        None => return Err("Prometheus knows nothing of it".into()),
    }
    let number = |name: &str| value(name).and_then(|value| value.parse::<f64>().ok());
    exporter::judge_numbers(
        number(exporter::DISK_FREE),
        number(exporter::LOAD).zip(number(exporter::PROCESSORS)),
        limits,
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn runners() -> Runners {
        let runner = |name: &str, role| Runner {
            name: name.into(),
            role,
            environments: vec!["production".into()],
            exporter: None,
        };
        Runners {
            all: vec![runner("one", Role::Primary), runner("two", Role::Secondary)],
            prometheus: None,
        }
    }

    fn code(name: &str, role: Role, healthy: &[&str]) -> u8 {
        let decision = decide(&runners(), name, role, "production", |runner| {
            if healthy.contains(&runner.name.as_str()) {
                Ok(())
            } else {
                Err("offline".into())
            }
        });
        decision.code
    }

    #[test]
    fn the_primary_deploys_while_it_is_healthy_and_the_secondary_where_it_is_not() {
        use Role::{Primary, Secondary};
        let cases = [
            ("one", Primary, &["one", "two"][..], 0),
            ("two", Secondary, &["one", "two"], 10),
            ("one", Primary, &["two"], 11),
            ("two", Secondary, &["two"], 0),
            ("one", Primary, &[], 13),
            ("two", Secondary, &[], 13),
            ("one", Secondary, &["one"], 12),
            ("three", Primary, &["one"], 12),
        ];
        for (name, role, healthy, wanted) in cases {
            assert_eq!(
                code(name, role, healthy),
                wanted,
                "{name} {role:?} {healthy:?}"
            );
        }
        let staging = decide(&runners(), "one", Primary, "staging", |_| Ok(()));
        assert_eq!(staging.code, 12);
        assert_eq!(
            staging.wrong[0].evidence,
            "`one` is not authorised for staging"
        );
    }

    #[test]
    fn prometheus_says_online_with_a_one_and_how_much_is_free() {
        let answer = |online: &str, free: &str| {
            let series = |name: &str, value: &str| {
                format!(r#"{{"metric":{{"__name__":"{name}"}},"value":[1,"{value}"]}}"#)
            };
            let (online, free) = (
                series(exporter::ONLINE, online),
                series(exporter::DISK_FREE, free),
            );
            let limits = Limits {
                free: 512,
                load: None,
            };
            let text = format!(r#"{{"status":"success","data":{{"result":[{free},{online}]}}}}"#);
            judge_answer(&text, limits)
        };
        assert_eq!(answer("1", "1e10"), Ok(()));
        assert_eq!(
            answer("1", "1048576"),
            Err("it is degraded: only 1 MiB free where it works".into())
        );
        assert_eq!(
            answer("0", "1e10"),
            Err("it is offline, says Prometheus".into())
        );
        assert!(judge_answer(r#"{"data":{"result":[]}}"#, Limits::default()).is_err());
    }
}
