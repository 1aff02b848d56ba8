//! The metrics of a deploy, as text for Prometheus. Pure.

use std::fmt::Write;
use std::time::Duration;

use super::aftermath::Told;
use crate::diagnosis::Class;
use crate::error::EXIT_OK;

/// Returns the metrics of a deploy that ended `now`, in seconds since the epoch.
pub(super) fn text(told: &Told<'_>, now: i64) -> String {
    let record = told.record;
    let mut text = String::new();
    let labels = format!(
        "application=\"{}\",runner=\"{}\"",
        label(&told.labels.application),
        label(&told.labels.runner)
    );
    let mut metric = |name: &str, help: &str, more: &str, value: String| {
        writeln!(
            text,
            "# HELP backstay_deploy_{name} {help}.\n# TYPE backstay_deploy_{name} gauge\n\
             backstay_deploy_{name}{{{labels}{more}}} {value}"
        )
        .expect("texts take every line");
    };
    let is_good = u8::from(told.code == EXIT_OK);
    metric(
        "success",
        "Whether the last deploy went well",
        "",
        is_good.to_string(),
    );
    metric(
        "exit_code",
        "The exit code of the last deploy",
        "",
        told.code.to_string(),
    );
    metric("timestamp_seconds", "When it ended", "", now.to_string());
    metric(
        "duration_seconds",
        "How long it took",
        "",
        seconds(record.duration),
    );
    metric(
        "attempts",
        "How many attempts it took",
        "",
        told.attempts.to_string(),
    );
    metric(
        "hosts",
        "How many hosts it was about",
        "",
        record.hosts.len().to_string(),
    );
    metric(
        "partial",
        "Whether hosts may be neither new nor old",
        "",
        u8::from(record.is_partial()).to_string(),
    );
    let cause = record.cause();
    let reason = cause
        .as_ref()
        .map(|cause| cause.class.word())
        .unwrap_or_default();
    let reason = format!(",reason=\"{reason}\"");
    metric(
        "rollbacks",
        "Transactions that were not committed",
        &reason,
        record.rollbacks.to_string(),
    );
    metric(
        "failed",
        "Whether it failed, and by what",
        &reason,
        u8::from(cause.is_some()).to_string(),
    );
    let health = record
        .failures()
        .filter(|(_, failure)| failure.diagnosis.class == Class::Health);
    metric(
        "health_failures",
        "Hosts whose health check failed",
        "",
        health.count().to_string(),
    );
    if let Some(time) = record.until_failure {
        metric(
            "seconds_to_detect",
            "From the start to the first failure",
            "",
            seconds(time),
        );
    }
    if let Some(time) = record.rolling_back {
        metric(
            "seconds_to_roll_back",
            "How long hosts were put back for",
            "",
            seconds(time),
        );
    }
    text
}

fn seconds(time: Duration) -> String {
    format!("{:.3}", time.as_secs_f64())
}

fn label(text: &str) -> String {
    text.replace('\\', "\\\\")
        .replace('"', "\\\"")
        .replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use super::super::aftermath::Labels;
    use super::*;
    use crate::report::record::Record;

    #[test]
    fn a_deploy_that_went_well_says_so() {
        let mut record = Record::default();
        record.duration = Duration::from_millis(1500);
        let labels = Labels {
            application: "shop".into(),
            runner: "one".into(),
            run_url: None,
        };
        let told = Told {
            record: &record,
            labels: &labels,
            code: 0,
            attempts: 2,
        };
        let text = text(&told, 7);
        let values: Vec<&str> = text.lines().filter(|line| !line.starts_with('#')).collect();
        assert_eq!(
            values,
            [
                "backstay_deploy_success{application=\"shop\",runner=\"one\"} 1",
                "backstay_deploy_exit_code{application=\"shop\",runner=\"one\"} 0",
                "backstay_deploy_timestamp_seconds{application=\"shop\",runner=\"one\"} 7",
                "backstay_deploy_duration_seconds{application=\"shop\",runner=\"one\"} 1.500",
                "backstay_deploy_attempts{application=\"shop\",runner=\"one\"} 2",
                "backstay_deploy_hosts{application=\"shop\",runner=\"one\"} 0",
                "backstay_deploy_partial{application=\"shop\",runner=\"one\"} 0",
                "backstay_deploy_rollbacks{application=\"shop\",runner=\"one\",reason=\"\"} 0",
                "backstay_deploy_failed{application=\"shop\",runner=\"one\",reason=\"\"} 0",
                "backstay_deploy_health_failures{application=\"shop\",runner=\"one\"} 0",
            ]
        );
    }
}
