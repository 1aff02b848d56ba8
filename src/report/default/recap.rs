//! What closes the default output: a line for each host, and what `set_stats` has gathered.

use std::io;
use std::sync::Arc;

use super::{DefaultReporter, Streams};
use crate::event::HostStats;
use crate::value::{JsonStyle, Value, to_json};

impl DefaultReporter {
    pub(super) fn recap(
        &mut self,
        stats: &[(Arc<str>, HostStats)],
        custom: &Value,
        streams: &mut Streams<'_>,
    ) -> io::Result<()> {
        self.print_banner("PLAY RECAP", streams)?;
        let mut lines: Vec<_> = stats.iter().collect();
        lines.sort_by(|a, b| a.0.cmp(&b.0));
        for (host, stats) in lines {
            let line = self.recap_line(host, stats);
            streams.out(&line)?;
        }
        streams.out("")?;
        if self.options.show_custom_stats {
            self.custom_stats(custom, streams)?;
        }
        if self.options.check && self.options.check_mode_markers {
            self.print_banner("DRY RUN", streams)?;
        }
        Ok(())
    }

    fn recap_line(&self, host: &str, stats: &HostStats) -> String {
        let palette = &self.options.palette;
        let host_colour = if stats.failed + stats.unreachable > 0 {
            &palette.error
        } else if stats.changed > 0 {
            &palette.changed
        } else {
            &palette.ok
        };
        let host = if self.options.painter.is_colourful() {
            format!("{:<37}", self.options.painter.paint(host, host_colour))
        } else {
            format!("{host:<26}")
        };
        let cell = |name: &str, count: usize, colour: &str| {
            let text = format!("{name}={count:<4}");
            if count > 0 {
                self.options.painter.paint(&text, colour)
            } else {
                text
            }
        };
        format!(
            "{host} : {} {} {} {} {} {} {}",
            cell("ok", stats.ok, &palette.ok),
            cell("changed", stats.changed, &palette.changed),
            cell("unreachable", stats.unreachable, &palette.unreachable),
            cell("failed", stats.failed, &palette.error),
            cell("skipped", stats.skipped, &palette.skip),
            cell("rescued", stats.rescued, &palette.ok),
            cell("ignored", stats.ignored, &palette.warn),
        )
    }

    fn custom_stats(&self, custom: &Value, streams: &mut Streams<'_>) -> io::Result<()> {
        let Some(custom) = custom.as_map().filter(|map| !map.is_empty()) else {
            return Ok(());
        };
        let one_line = |value: &Value| {
            let style = JsonStyle {
                indent: Some(1),
                sort_keys: true,
                ensure_ascii: false,
            };
            to_json(value, style).replace('\n', "")
        };
        self.print_banner("CUSTOM STATS: ", streams)?;
        let mut hosts: Vec<_> = custom
            .iter()
            .filter(|(key, _)| key.as_str() != Some("_run"))
            .collect();
        hosts.sort_by_key(|(host, _)| host.to_string());
        for (host, stats) in hosts {
            streams.out(&format!("\t{host}: {}", one_line(stats)))?;
        }
        if let Some(run) = custom.get("_run") {
            streams.out(&format!("\n\tRUN: {}", one_line(run)))?;
        }
        streams.out("")
    }
}
