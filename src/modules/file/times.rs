//! The access and modification times of `file`: `preserve`, `now`, or a time in a format.

use std::path::Path;

use crate::machine::{AttributeChange, Attributes, Follow, Machine, Timestamp};

use super::super::Failure;
use super::super::os_error::errno_text;
use super::FileArgs;

/// What the two times should become.
#[derive(Clone, Copy, Debug)]
pub(super) struct Times {
    modification: Wanted,
    access: Wanted,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Wanted {
    Preserve,
    Now,
    /// Seconds since the epoch.
    At(i64),
}

impl Times {
    /// Reads the options; what is not given is `now` for a touch and `preserve` otherwise.
    pub(super) fn new(args: &FileArgs, state: &str) -> Result<Self, Failure> {
        let default = if state == "touch" {
            Wanted::Now
        } else {
            Wanted::Preserve
        };
        let read = |text: &Option<String>, format: &str| match text.as_deref() {
            None => Ok(default),
            Some("preserve") => Ok(Wanted::Preserve),
            Some("now") => Ok(Wanted::Now),
            Some(text) => parse(text, format).map(Wanted::At),
        };
        Ok(Self {
            modification: read(&args.modification_time, &args.modification_time_format)?,
            access: read(&args.access_time, &args.access_time_format)?,
        })
    }

    /// Sets the times where they differ, and returns what changed.
    pub(super) fn apply(
        &self,
        machine: &mut Machine,
        path: &Path,
    ) -> Result<AttributeChange, Failure> {
        let mut change = AttributeChange::default();
        if self.modification == Wanted::Preserve && self.access == Wanted::Preserve {
            return Ok(change);
        }
        let Some(found) = machine.metadata(path)? else {
            let path = path.display().to_string();
            return Err(Failure::new(format!(
                "Error while updating modification or access time: {}",
                errno_text(2, &path)
            ))
            .with("path", path));
        };
        let now = Timestamp::now();
        let access = self.access.against(found.atime, now);
        let modification = self.modification.against(found.mtime, now);
        for (name, old, new) in [
            ("mtime", found.mtime, modification),
            ("atime", found.atime, access),
        ] {
            if old != new {
                change.changed = true;
                change.before.insert(name.into(), old.as_seconds().into());
                change.after.insert(name.into(), new.as_seconds().into());
            }
        }
        if change.changed {
            let times = Attributes {
                times: Some([access, modification]),
                ..Attributes::default()
            };
            machine.set_attributes(path, &times, Follow::Yes)?;
        }
        Ok(change)
    }
}

impl Wanted {
    fn against(self, old: Timestamp, now: Timestamp) -> Timestamp {
        match self {
            Self::Preserve => old,
            Self::Now => now,
            Self::At(seconds) => Timestamp {
                seconds,
                nanoseconds: 0,
            },
        }
    }
}

/// Reads a local time in a format of `strptime`, as seconds since the epoch.
fn parse(text: &str, format: &str) -> Result<i64, Failure> {
    let seconds = jiff::civil::DateTime::strptime(format, text)
        .or_else(|_| {
            let date = jiff::civil::Date::strptime(format, text)?;
            Ok::<_, jiff::Error>(date.at(0, 0, 0, 0))
        })
        .and_then(|local| local.to_zoned_datetime(jiff::tz::TimeZone::system()))
        .map(|zoned| zoned.timestamp().as_second());
    seconds.map_err(|_| {
        Failure::new(format!(
            "Error while obtaining timestamp for time {text} using format {format}: time data \
             '{text}' does not match format '{format}'"
        ))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_in_their_format() {
        let hours = parse("202401021530.45", "%Y%m%d%H%M.%S").unwrap()
            - parse("2024-01-02", "%Y-%m-%d").unwrap();
        assert_eq!(hours, 15 * 3600 + 30 * 60 + 45);
        assert_eq!(
            parse("soon", "%Y").unwrap_err().msg,
            "Error while obtaining timestamp for time soon using format %Y: time data 'soon' does \
             not match format '%Y'"
        );
    }
}
