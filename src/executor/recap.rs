//! The numbers of a run: each host's line of the recap, and the stats of `set_stats`.

use std::sync::Arc;

use indexmap::IndexMap;

use crate::event::{HostStats, Status};
use crate::value::{Map, Value};

/// The numbers so far.
#[derive(Debug, Default)]
pub(super) struct Recap {
    hosts: IndexMap<Arc<str>, HostStats>,
    custom: IndexMap<Arc<str>, Map>,
}

/// Under this name stand the custom stats of the run as a whole.
const RUN: &str = "_run";

impl Recap {
    /// Returns a host's line.
    pub(super) fn of(&mut self, host: &Arc<str>) -> &mut HostStats {
        self.hosts.entry(Arc::clone(host)).or_default()
    }

    /// Counts a result; `rescued` when its failure is being rescued.
    pub(super) fn count(&mut self, host: &Arc<str>, status: Status, changed: bool, rescued: bool) {
        let line = self.of(host);
        match status {
            Status::Ok => line.ok += 1,
            Status::Changed => {
                line.ok += 1;
                line.changed += 1;
            }
            Status::Skipped => line.skipped += 1,
            Status::Failed if rescued => line.rescued += 1,
            Status::Failed => line.failed += 1,
            Status::Ignored => {
                line.ok += 1;
                line.ignored += 1;
                line.changed += usize::from(changed);
            }
            Status::Unreachable => line.unreachable += 1,
            Status::IgnoredUnreachable => {
                line.ok += 1;
                line.ignored += 1;
            }
        }
    }

    /// Records custom stats of a host, or of the run.
    pub(super) fn set_stats(&mut self, host: Option<&Arc<str>>, data: &Map, aggregate: bool) {
        let key = host.cloned().unwrap_or_else(|| RUN.into());
        let stats = self.custom.entry(key).or_default();
        for (name, value) in data {
            let combined = match stats.get(name) {
                Some(known) if aggregate => match combine(known, value) {
                    Some(combined) => combined,
                    None => continue,
                },
                _ => value.clone(),
            };
            stats.insert(name.clone(), combined);
        }
    }

    /// Returns the lines in the order of the recap, and the custom stats.
    pub(super) fn finished(&self) -> (Vec<(Arc<str>, HostStats)>, Value) {
        let mut lines: Vec<_> = self
            .hosts
            .iter()
            .map(|(host, line)| (Arc::clone(host), *line))
            .collect();
        lines.sort_by(|(a, _), (b, _)| a.cmp(b));
        let custom: Map = self
            .custom
            .iter()
            .map(|(host, stats)| (Value::from(Arc::clone(host)), stats.clone().into()))
            .collect();
        (lines, custom.into())
    }
}

/// Adds a stat to one of the same kind; dictionaries are merged. Kinds that do not fit are left
/// as they were.
fn combine(known: &Value, value: &Value) -> Option<Value> {
    match (known, value) {
        (Value::Int(a), Value::Int(b)) => Some(Value::Int(a + b)),
        (Value::Float(a), Value::Float(b)) => Some(Value::Float(a + b)),
        (Value::String(a), Value::String(b)) => Some(format!("{a}{b}").into()),
        (Value::List(a), Value::List(b)) => Some([&a[..], &b[..]].concat().into()),
        (Value::Map(a), Value::Map(b)) => {
            let mut merged = (**a).clone();
            for (key, value) in b.iter() {
                let both = match (merged.get(key), value) {
                    (Some(Value::Map(old)), Value::Map(new)) => {
                        combine(&Value::Map(Arc::clone(old)), &Value::Map(Arc::clone(new)))
                    }
                    _ => None,
                };
                merged.insert(key.clone(), both.unwrap_or_else(|| value.clone()));
            }
            Some(merged.into())
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_recap_lists_hosts_by_name_and_counts_each_way_a_task_ends() {
        let mut recap = Recap::default();
        let (a, b): (Arc<str>, Arc<str>) = ("a".into(), "b".into());
        recap.count(&b, Status::Changed, true, false);
        recap.count(&a, Status::Failed, false, true);
        recap.count(&a, Status::Ignored, true, false);
        let (lines, _) = recap.finished();
        assert_eq!(
            lines,
            [
                (
                    a,
                    HostStats {
                        ok: 1,
                        changed: 1,
                        rescued: 1,
                        ignored: 1,
                        ..HostStats::default()
                    }
                ),
                (
                    b,
                    HostStats {
                        ok: 1,
                        changed: 1,
                        ..HostStats::default()
                    }
                ),
            ]
        );
    }

    #[test]
    fn aggregated_stats_add_up_and_others_are_replaced() {
        let mut recap = Recap::default();
        let one = |value: i32| -> Map { [("n".into(), value.into())].into_iter().collect() };
        recap.set_stats(None, &one(1), true);
        recap.set_stats(None, &one(2), true);
        assert_eq!(recap.finished().1.to_string(), "{'_run': {'n': 3}}");
        recap.set_stats(None, &one(9), false);
        assert_eq!(recap.finished().1.to_string(), "{'_run': {'n': 9}}");
    }
}
