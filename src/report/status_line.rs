//! The live line under the output of a terminal: running hosts, the task and the time it takes;
//! and a bar for each transfer that takes longer than a second.
//!
//! Only a decoration: it holds nothing that is not also in the output, and without a terminal it
//! does not exist.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};

use crate::event::Event;

/// Transfers shorter than this show no bar.
const SHOWN_AFTER: Duration = Duration::from_secs(1);
/// More hosts than this are counted instead of named.
const NAMED_HOSTS: usize = 4;

/// The live line and its bars.
pub struct StatusLine {
    bars: MultiProgress,
    line: ProgressBar,
    task: String,
    running: BTreeSet<Arc<str>>,
    transfers: BTreeMap<(Arc<str>, String), Transfer>,
}

struct Transfer {
    since: Instant,
    bar: Option<ProgressBar>,
}

impl StatusLine {
    /// Starts the line at the bottom of the terminal that standard error is.
    pub fn new() -> Self {
        let bars = MultiProgress::new();
        let line = bars.add(ProgressBar::new_spinner());
        line.set_style(style("{spinner} {elapsed} {wide_msg}"));
        line.enable_steady_tick(Duration::from_millis(120));
        Self {
            bars,
            line,
            task: String::new(),
            running: BTreeSet::new(),
            transfers: BTreeMap::new(),
        }
    }

    /// Runs `print` with the line out of the way.
    pub fn suspend<T>(&self, print: impl FnOnce() -> T) -> T {
        self.bars.suspend(print)
    }

    /// Follows what happens.
    pub fn update(&mut self, event: &Event) {
        match event {
            Event::TaskStarted { task } => {
                self.task = task.title();
                self.line.reset_elapsed();
            }
            Event::HostStarted { host, .. } => {
                self.running.insert(Arc::clone(host));
            }
            Event::HostFinished(result) => {
                self.running.remove(&result.host);
                self.end_transfers(&result.host);
            }
            Event::Progress {
                host,
                label,
                done,
                total,
            } => {
                self.progress(host, label, *done, *total);
            }
            Event::Finished { .. } => {
                self.line.finish_and_clear();
                return;
            }
            _ => return,
        }
        self.line.set_message(summary(&self.task, &self.running));
    }

    fn progress(&mut self, host: &Arc<str>, label: &str, done: u64, total: u64) {
        let key = (Arc::clone(host), label.to_owned());
        let transfer = self.transfers.entry(key).or_insert_with(|| Transfer {
            since: Instant::now(),
            bar: None,
        });
        if transfer.bar.is_none() && transfer.since.elapsed() >= SHOWN_AFTER {
            let bar = self.bars.insert_before(&self.line, ProgressBar::new(total));
            bar.set_style(style(
                "{msg} {bar:24} {bytes}/{total_bytes} {bytes_per_sec}",
            ));
            bar.set_message(format!("{host} {label}"));
            transfer.bar = Some(bar);
        }
        if let Some(bar) = &transfer.bar {
            bar.set_position(done);
        }
        if total > 0 && done >= total {
            self.end_transfers(host);
        }
    }

    fn end_transfers(&mut self, host: &Arc<str>) {
        self.transfers.retain(|(owner, _), transfer| {
            if owner != host {
                return true;
            }
            if let Some(bar) = &transfer.bar {
                bar.finish_and_clear();
                self.bars.remove(bar);
            }
            false
        });
    }
}

impl Default for StatusLine {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for StatusLine {
    fn drop(&mut self) {
        self.line.finish_and_clear();
    }
}

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).expect("the template is a constant of this file")
}

fn summary(task: &str, running: &BTreeSet<Arc<str>>) -> String {
    let hosts = if running.len() <= NAMED_HOSTS {
        running
            .iter()
            .map(|host| &**host)
            .collect::<Vec<_>>()
            .join(", ")
    } else {
        format!("{} hosts", running.len())
    };
    match (hosts.is_empty(), task.is_empty()) {
        (true, _) => task.to_owned(),
        (false, true) => hosts,
        (false, false) => format!("{task}: {hosts}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn few_hosts_are_named_and_many_are_counted() {
        let hosts = |n: usize| (0..n).map(|i| Arc::from(format!("h{i}"))).collect();
        assert_eq!(summary("copy", &hosts(2)), "copy: h0, h1");
        assert_eq!(summary("copy", &hosts(50)), "copy: 50 hosts");
        assert_eq!(summary("copy", &hosts(0)), "copy");
    }
}
