//! The file that tells other programs what stands on the host. It is written anew from the journals
//! at each commit, so it is never more than late.

use std::io::{self, Write};

use rustix::fs::{CWD, Mode, OFlags};
use serde::Serialize;

use super::{StateRoot, StoreError, Stored, walk};
use crate::transaction::generations::releases;

/// Where the files are.
const CURRENT: &str = "current";

/// What stands, as the file tells it.
#[derive(Debug, Serialize)]
struct Current<'s> {
    application: &'s str,
    version: Option<String>,
    previous: Option<String>,
    generation: Option<u64>,
    healthy: bool,
    kind: &'s str,
    /// In UTC.
    time: Option<String>,
    who: &'s str,
    runner: &'s str,
    run_url: Option<&'s str>,
}

impl StateRoot {
    /// Writes the file of an application whose transaction was committed.
    pub fn tell_current(&self, application: &str) -> Result<(), StoreError> {
        let stored = self.generations(application)?;
        let known: Vec<_> = stored.iter().rev().filter_map(summary).collect();
        let Some(last) = known.first() else {
            return Ok(());
        };
        let (version, previous) = releases(application, &known);
        let time = jiff::Timestamp::from_second(last.ended.unwrap_or(last.opened)).ok();
        let current = Current {
            application,
            version,
            previous,
            generation: last.generation,
            healthy: last.healthy,
            kind: &last.run.kind,
            time: time.map(|time| time.to_string()),
            who: &last.run.who,
            runner: &last.run.host,
            run_url: last.run.run_url.as_deref(),
        };
        let directory = self.path.join(CURRENT);
        walk::make(&directory)?;
        let path = directory.join(format!("{application}.json"));
        let fresh = directory.join(format!("{application}.json.new"));
        let wrong = |error: io::Error| StoreError::io(&path, error);
        let text = serde_json::to_string_pretty(&current).map_err(|error| wrong(error.into()))?;
        let flags =
            OFlags::WRONLY | OFlags::CREATE | OFlags::TRUNC | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = rustix::fs::openat(CWD, &fresh, flags, Mode::RUSR | Mode::WUSR)
            .map_err(|error| wrong(error.into()))?;
        let mut file = std::fs::File::from(file);
        file.write_all(text.as_bytes())
            .and_then(|()| file.write_all(b"\n"))
            .map_err(wrong)?;
        rustix::fs::rename(&fresh, &path).map_err(|error| wrong(error.into()))
    }
}

fn summary(stored: &Stored) -> Option<crate::transaction::state::Summary> {
    stored
        .replay()
        .map(crate::transaction::log::Replay::summary)
}
