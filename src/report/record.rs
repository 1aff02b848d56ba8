//! What a run came to, gathered from its events: hosts, changes, times, failures, the verdict.
//!
//! For what is told after a run: its summary, its metrics, its notices. Decides nothing; the
//! time since the run's start comes with each event.

use std::fmt::Write;
use std::sync::Arc;
use std::time::Duration;

use indexmap::IndexMap;

use super::transaction;
use crate::diagnosis::{Class, Diagnosis};
use crate::event::{Event, HostStats, TaskResult, TransactionEnd, TransactionOutcome};

/// A run as it is remembered.
#[derive(Clone, Debug, Default)]
pub struct Record {
    pub hosts: IndexMap<Arc<str>, HostRecord>,
    /// What ended the run outside any host's task.
    pub error: Option<Diagnosis>,
    /// The transaction of the whole run, the last one where each batch had its own.
    pub transaction: Option<TransactionOutcome>,
    /// How many transactions were rolled back.
    pub rollbacks: usize,
    /// From the start to the first failure that nothing rescued at once.
    pub until_failure: Option<Duration>,
    /// How long hosts were put back for.
    pub rolling_back: Option<Duration>,
    pub duration: Duration,
    rolling_since: Option<Duration>,
}

/// One host of a run.
#[derive(Clone, Debug, Default)]
pub struct HostRecord {
    pub stats: HostStats,
    /// From its first task to its last.
    pub duration: Duration,
    /// How it failed, where it did.
    pub failure: Option<HostFailure>,
    since: Option<Duration>,
}

/// How a host failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostFailure {
    pub diagnosis: Diagnosis,
    /// The task, as its banner has it.
    pub task: String,
    /// `file:line:column` of it.
    pub place: String,
}

impl Record {
    /// Takes in what happened `at` this time after the start.
    pub fn hear(&mut self, event: &Event, at: Duration) {
        self.duration = at;
        match event {
            Event::PlayStarted { hosts, .. } => {
                for host in hosts {
                    self.hosts.entry(Arc::clone(host)).or_default();
                }
            }
            Event::HostStarted { host, .. } => {
                let host = self.hosts.entry(Arc::clone(host)).or_default();
                host.since.get_or_insert(at);
            }
            Event::HostFinished(result) => self.finished(result, at),
            Event::Failed(error) => {
                self.until_failure.get_or_insert(at);
                self.error = Some(Diagnosis::of_error(error));
            }
            Event::RollingBack { .. } => {
                self.rolling_since.get_or_insert(at);
            }
            Event::TransactionEnded(outcome) if outcome.block.is_none() => {
                if let Some(since) = self.rolling_since.take() {
                    self.rolling_back = Some(at.saturating_sub(since));
                }
                if outcome.end != TransactionEnd::Committed {
                    self.rollbacks += 1;
                }
                // A batch that went well says nothing of one that did not.
                let is_worse = |known: &TransactionOutcome| {
                    known.end == TransactionEnd::Committed
                        || outcome.end != TransactionEnd::Committed
                };
                if self.transaction.as_ref().is_none_or(is_worse) {
                    self.transaction = Some(outcome.clone());
                }
            }
            Event::Finished { stats, .. } => {
                for (host, line) in stats {
                    self.hosts.entry(Arc::clone(host)).or_default().stats = *line;
                }
            }
            _ => {}
        }
    }

    fn finished(&mut self, result: &TaskResult, at: Duration) {
        let host = self.hosts.entry(Arc::clone(&result.host)).or_default();
        let since = *host.since.get_or_insert(at);
        host.duration = at.saturating_sub(since);
        let Some(diagnosis) = Diagnosis::of_result(result) else {
            return;
        };
        self.until_failure.get_or_insert(at);
        let known = host.failure.as_ref();
        // A rescue that ends with `fail` tells less of the cause than what it rescued.
        let repeats = result.task.action.ends_with("fail")
            && matches!(diagnosis.class, Class::Task | Class::Playbook)
            && known.is_some();
        if !repeats {
            host.failure = Some(HostFailure {
                diagnosis,
                task: result.task.title(),
                place: result.task.mark.to_string(),
            });
        }
    }

    /// Returns the hosts that failed, with how: what a rescue made good is left out.
    pub fn failures(&self) -> impl Iterator<Item = (&str, &HostFailure)> {
        self.hosts.iter().filter_map(|(name, host)| {
            let is_lost = host.stats.failed + host.stats.unreachable > 0;
            let failure = host.failure.as_ref().filter(|_| is_lost)?;
            Some((&**name, failure))
        })
    }

    /// Names the one thing that the run failed by; nothing where it went well.
    pub fn cause(&self) -> Option<Diagnosis> {
        if let Some((host, failure)) = self.failures().next() {
            let mut cause = failure.diagnosis.clone();
            cause.evidence = format!("{host}, task `{}`: {}", failure.task, cause.evidence);
            return Some(cause);
        }
        if self.error.is_some() {
            return self.error.clone();
        }
        let outcome = self.transaction.as_ref()?;
        match outcome.end {
            TransactionEnd::Committed => None,
            TransactionEnd::RolledBack => Some(Diagnosis::of_reason(
                outcome.reason.as_deref().unwrap_or("no reason was told"),
            )),
            TransactionEnd::Stuck | TransactionEnd::InDoubt => {
                let told = transaction::last_line(outcome).1;
                Some(Diagnosis::new(Class::Partial, &told))
            }
        }
    }

    /// Returns the lines that name each failure; none where the run went well.
    pub fn diagnoses(&self) -> Vec<String> {
        let mut lines: Vec<String> = self
            .failures()
            .map(|(host, failure)| {
                let mut named = failure.diagnosis.clone();
                named.evidence = format!("{host}, task `{}`: {}", failure.task, named.evidence);
                format!("diagnosis: {}", named.line())
            })
            .collect();
        if lines.is_empty() {
            lines.extend(self.cause().map(|it| format!("diagnosis: {}", it.line())));
        }
        if self.is_partial() {
            let told = self.verdict().unwrap_or_default();
            let line = format!(
                "diagnosis: {}",
                Diagnosis::new(Class::Partial, &told).line()
            );
            if !lines.contains(&line) {
                lines.push(line);
            }
        }
        lines
    }

    /// Tells whether hosts may be left neither new nor old.
    pub fn is_partial(&self) -> bool {
        let end = self.transaction.as_ref().map(|outcome| outcome.end);
        matches!(end, Some(TransactionEnd::Stuck | TransactionEnd::InDoubt))
    }

    /// Returns the sentence that says what is true on every host; nothing without a transaction.
    pub fn verdict(&self) -> Option<String> {
        let outcome = self.transaction.as_ref()?;
        Some(transaction::last_line(outcome).1)
    }

    /// Returns the summary as Markdown: verdict, failures, a table of hosts.
    pub fn markdown(&self, title: &str) -> String {
        let mut text = format!("### {}\n\n", cell(title));
        if let Some(verdict) = self.verdict() {
            text += &format!("**{}**\n\n", cell(&verdict));
        }
        for line in self.diagnoses() {
            let line = line.strip_prefix("diagnosis: ").unwrap_or(&line);
            writeln!(text, "- {}", cell(line)).expect("texts take every line");
        }
        if !text.ends_with("\n\n") {
            text.push('\n');
        }
        text += "| host | result | changed | ok | failed | unreachable | duration |\n";
        text += "| --- | --- | ---: | ---: | ---: | ---: | ---: |\n";
        for (name, host) in &self.hosts {
            let line = format!(
                "| {} | {} | {} | {} | {} | {} | {} |",
                cell(name),
                self.end_of(name),
                host.stats.changed,
                host.stats.ok,
                host.stats.failed,
                host.stats.unreachable,
                seconds(host.duration)
            );
            writeln!(text, "{line}").expect("texts take every line");
        }
        writeln!(text, "\nDuration: {}", seconds(self.duration)).expect("texts take every line");
        text
    }

    /// Returns how a host ended, in a word or two.
    fn end_of(&self, name: &str) -> String {
        let is_it = |participant: &str| {
            participant == name || participant.starts_with(&format!("{name} ("))
        };
        let of_transaction = self.transaction.as_ref().and_then(|outcome| {
            let mut all = outcome.participants.iter();
            all.find(|it| is_it(&it.name))
        });
        if let Some(participant) = of_transaction {
            return cell(&transaction::state(&participant.end));
        }
        let stats = self.hosts.get(name).map(|host| host.stats);
        match stats {
            Some(stats) if stats.unreachable > 0 => "unreachable",
            Some(stats) if stats.failed > 0 => "failed",
            Some(stats) if stats.changed > 0 => "changed",
            _ => "ok",
        }
        .to_owned()
    }
}

/// Returns a duration as a table shows it.
fn seconds(duration: Duration) -> String {
    let tenths = duration.as_millis() / 100;
    format!("{}.{} s", tenths / 10, tenths % 10)
}

/// Keeps foreign text from being markup, or the end of its cell.
fn cell(text: &str) -> String {
    let mut plain = String::new();
    for character in text.chars() {
        match character {
            '|' | '*' | '[' | ']' | '<' | '>' | '#' | '!' | '\\' => {
                plain.push('\\');
                plain.push(character);
            }
            '\n' | '\r' => plain.push(' '),
            other => plain.push(other),
        }
    }
    plain
}

#[cfg(test)]
pub(super) mod tests {
    use super::super::default::tests;
    use super::*;
    use crate::event::{ParticipantEnd, ParticipantOutcome, Status};
    use crate::value::Value;

    fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn participant(name: &str) -> ParticipantOutcome {
        ParticipantOutcome {
            name: name.into(),
            end: ParticipantEnd::RolledBack,
            drift: Vec::new(),
            stuck: Vec::new(),
            not_undone: Vec::new(),
        }
    }

    /// A deploy of one host that fails at a task and is rolled back.
    pub(in crate::report) fn failed_run() -> Vec<(Event, Duration)> {
        let task = tests::task("Install", "apt", false);
        let json = r#"{"msg":"no package | *x*","failed":true}"#;
        let stats = HostStats {
            changed: 2,
            ok: 3,
            failed: 1,
            ..HostStats::default()
        };
        vec![
            (
                Event::PlayStarted {
                    name: "all".into(),
                    hosts: vec!["web1".into()],
                    check_mode: false,
                    lockstep: true,
                },
                at(1),
            ),
            (
                Event::TaskStarted {
                    task: Arc::clone(&task),
                },
                at(2),
            ),
            (
                Event::HostStarted {
                    host: "web1".into(),
                    task: Arc::clone(&task),
                },
                at(2),
            ),
            (
                Event::HostFinished(tests::result(&task, Status::Failed, json)),
                at(4),
            ),
            (
                Event::RollingBack {
                    participants: vec!["web1".into()],
                    reason: "web1: no".into(),
                },
                at(5),
            ),
            (
                Event::TransactionEnded(TransactionOutcome {
                    id: "1".into(),
                    block: None,
                    end: TransactionEnd::RolledBack,
                    reason: Some("web1: no".into()),
                    participants: vec![participant("web1")],
                }),
                at(8),
            ),
            (
                Event::Finished {
                    stats: vec![("web1".into(), stats)],
                    custom: Value::Null,
                },
                at(9),
            ),
        ]
    }

    fn record(events: &[(Event, Duration)]) -> Record {
        let mut record = Record::default();
        for (event, at) in events {
            record.hear(event, *at);
        }
        record
    }

    #[test]
    fn a_failed_deploy_is_remembered_with_its_times_and_its_cause() {
        let record = record(&failed_run());
        assert_eq!(record.until_failure, Some(at(4)));
        assert_eq!(record.rolling_back, Some(at(3)));
        assert_eq!(record.rollbacks, 1);
        assert_eq!(
            record.diagnoses(),
            [
                "diagnosis: package manager: web1, task `Install`: no package | *x*; run the \
                 package manager on the host by hand and read its answer; see \
                 docs/runbooks/deploy-failed.md#package-manager"
            ]
        );
    }

    #[test]
    fn the_summary_is_a_table_in_which_foreign_text_is_no_markup() {
        assert_eq!(
            record(&failed_run()).markdown("deploy of site.yml"),
            "### deploy of site.yml\n\
             \n\
             **rolled back: the host is as before (web1: no)**\n\
             \n\
             - package manager: web1, task `Install`: no package \\| \\*x\\*; run the package \
             manager on the host by hand and read its answer; see \
             docs/runbooks/deploy-failed.md\\#package-manager\n\
             \n\
             | host | result | changed | ok | failed | unreachable | duration |\n\
             | --- | --- | ---: | ---: | ---: | ---: | ---: |\n\
             | web1 | rolled back | 2 | 3 | 1 | 0 | 2.0 s |\n\
             \n\
             Duration: 9.0 s\n"
        );
    }

    #[test]
    fn a_rescued_failure_is_no_diagnosis_and_a_rescue_that_fails_tells_what_it_rescued() {
        let mut events = failed_run();
        let again = tests::task("Fail the host", "ansible.builtin.fail", false);
        let json = r#"{"msg":"app failed at Install"}"#;
        let result = tests::result(&again, Status::Failed, json);
        events.insert(4, (Event::HostFinished(result), at(4)));
        let told = record(&events).diagnoses();
        assert!(
            told[0].starts_with("diagnosis: package manager: web1, task `Install`"),
            "{told:?}"
        );

        let rescued = HostStats {
            rescued: 1,
            ..HostStats::default()
        };
        let good = [
            failed_run().remove(3),
            (
                Event::Finished {
                    stats: vec![("web1".into(), rescued)],
                    custom: Value::Null,
                },
                at(5),
            ),
        ];
        assert_eq!(record(&good).diagnoses(), [""; 0]);
    }
}
