//! `datetime` and `timedelta`: what `now()` and `to_datetime` give, their fields and methods.

use std::fmt::Write;

use jiff::fmt::strtime;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, ZonedDateTime, civil};

use super::super::call::Given;
use super::super::finish::Finish;
use super::super::frame::Frame;
use super::super::runtime::{Evaluated, Part, Time, Val};
use crate::value::Value;

pub(super) const METHODS: &[&str] = &[
    "ctime",
    "date",
    "isocalendar",
    "isoformat",
    "isoweekday",
    "replace",
    "strftime",
    "time",
    "timestamp",
    "toordinal",
    "weekday",
];

/// Returns the present moment as Python's naive `datetime`.
pub(in crate::template) fn now(utc: bool) -> Time {
    let now = ZonedDateTime::now();
    let civil = if utc {
        now.with_time_zone(TimeZone::UTC).datetime()
    } else {
        now.datetime()
    };
    Time {
        civil,
        offset: None,
        part: Part::Both,
    }
}

/// Reads a date, a time of day or both as YAML and TOML write them.
pub(in crate::template) fn moment(text: &str) -> Option<Time> {
    let (date, rest) = match text
        .get(..2)
        .filter(|_| text.as_bytes().get(2) == Some(&b':'))
    {
        Some(_) => (None, text),
        None => {
            let end = text.find(['T', 't', ' ', '\t']).unwrap_or(text.len());
            let mut numbers = text[..end].split('-');
            let mut next = || numbers.next()?.parse::<i16>().ok();
            let (year, month, day) = (next()?, next()?, next()?);
            let (month, day) = (i8::try_from(month).ok()?, i8::try_from(day).ok()?);
            let rest = text[end..].trim_start_matches(['T', 't', ' ', '\t']);
            (Some(civil::Date::new(year, month, day).ok()?), rest)
        }
    };
    let (clock, offset) = match rest {
        "" => (None, None),
        rest => {
            let end = rest.find(['Z', 'z', '+', '-', ' ']).unwrap_or(rest.len());
            let offset = match rest[end..].trim_start() {
                "" => None,
                text => Some(zone(text)?),
            };
            (Some(clock(&rest[..end])?), offset)
        }
    };
    let part = match (date, clock) {
        (Some(_), Some(_)) => Part::Both,
        (_, None) => Part::Date,
        (None, _) => Part::Clock,
    };
    Some(Time {
        civil: date
            .unwrap_or(civil::date(1, 1, 1))
            .to_datetime(clock.unwrap_or(civil::Time::midnight())),
        offset,
        part,
    })
}

fn clock(text: &str) -> Option<civil::Time> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let mut numbers = whole.split(':');
    let mut next = || numbers.next()?.parse::<i8>().ok();
    let (hour, minute, second) = (next()?, next()?, next()?);
    let micros = format!("{fraction:0<6}").get(..6)?.parse::<i32>().ok()?;
    civil::Time::new(hour, minute, second, micros * 1000).ok()
}

/// Reads `Z`, `+1` or `-07:00`.
fn zone(text: &str) -> Option<jiff::tz::Offset> {
    if matches!(text, "Z" | "z") {
        return Some(jiff::tz::Offset::UTC);
    }
    let digits = text.strip_prefix(['+', '-'])?;
    let (hours, minutes) = digits.split_once(':').unwrap_or((digits, "0"));
    let seconds = hours.parse::<i32>().ok()? * 3600 + minutes.parse::<i32>().ok()? * 60;
    let seconds = if text.starts_with('-') {
        -seconds
    } else {
        seconds
    };
    jiff::tz::Offset::from_seconds(seconds).ok()
}

fn zoned(time: &Time) -> Option<ZonedDateTime> {
    let zone = match time.offset {
        Some(offset) => TimeZone::fixed(offset),
        None => TimeZone::system(),
    };
    time.civil.to_zoned_datetime(zone).ok()
}

/// Formats as `datetime.strftime` does.
pub(in crate::template) fn strftime(time: &Time, format: &str) -> String {
    let mut adapted = format.replace("%f", "%6f");
    if time.offset.is_none() {
        adapted = adapted.replace("%z", "").replace("%Z", "");
    }
    zoned(time)
        .and_then(|zoned| strtime::format(&adapted, &zoned).ok())
        .unwrap_or_else(|| format.to_owned())
}

/// Formats seconds since the epoch as `time.strftime` does.
pub(in crate::template) fn strftime_epoch(
    seconds: f64,
    utc: bool,
    format: &str,
) -> Result<String, String> {
    let instant = jiff::Timestamp::UNIX_EPOCH
        .checked_add(SignedDuration::try_from_secs_f64(seconds).map_err(|error| error.to_string())?)
        .map_err(|error| error.to_string())?;
    let zone = if utc {
        TimeZone::UTC
    } else {
        TimeZone::system()
    };
    let zoned = instant.to_zoned_datetime(zone);
    strtime::format(format.replace("%f", "%6f"), &zoned).map_err(|error| error.to_string())
}

/// Reads a time as `datetime.strptime` does.
pub(in crate::template) fn strptime(text: &str, format: &str) -> Result<Time, String> {
    let parsed = strtime::parse(format, text)
        .map_err(|_| format!("time data '{text}' does not match format '{format}'"))?;
    let date = parsed.to_date().unwrap_or(civil::date(1900, 1, 1));
    let time = parsed.to_time().unwrap_or(civil::Time::midnight());
    Ok(Time {
        civil: date.to_datetime(time),
        offset: parsed.offset(),
        part: Part::Both,
    })
}

/// Prints as `str(datetime)` does.
pub(in crate::template) fn datetime_text(time: &Time) -> String {
    isoformat(time, " ")
}

/// Returns what `isoformat()` prints.
pub(in crate::template) fn iso_text(time: &Time) -> String {
    isoformat(time, "T")
}

fn isoformat(time: &Time, separator: &str) -> String {
    let moment = time.civil;
    let mut text = String::new();
    if time.part != Part::Clock {
        text = format!(
            "{:04}-{:02}-{:02}",
            moment.year(),
            moment.month(),
            moment.day()
        );
    }
    match time.part {
        Part::Date => return text,
        Part::Both => text.push_str(separator),
        Part::Clock => {}
    }
    write!(
        text,
        "{:02}:{:02}:{:02}",
        moment.hour(),
        moment.minute(),
        moment.second()
    )
    .expect("writing to a string cannot fail");
    let micros = moment.subsec_nanosecond() / 1000;
    if micros != 0 {
        write!(text, ".{micros:06}").expect("writing to a string cannot fail");
    }
    if let Some(offset) = time.offset {
        let seconds = offset.seconds();
        let sign = if seconds < 0 { '-' } else { '+' };
        let minutes = seconds.abs() / 60;
        write!(text, "{sign}{:02}:{:02}", minutes / 60, minutes % 60)
            .expect("writing to a string cannot fail");
    }
    text
}

/// Prints as `str(timedelta)` does.
pub(in crate::template) fn timedelta_text(span: SignedDuration) -> String {
    let (days, seconds, micros) = parts(span);
    let mut text = String::new();
    if days != 0 {
        let plural = if days.abs() == 1 { "" } else { "s" };
        write!(text, "{days} day{plural}, ").expect("writing to a string cannot fail");
    }
    write!(
        text,
        "{}:{:02}:{:02}",
        seconds / 3600,
        seconds / 60 % 60,
        seconds % 60
    )
    .expect("writing to a string cannot fail");
    if micros != 0 {
        write!(text, ".{micros:06}").expect("writing to a string cannot fail");
    }
    text
}

/// Splits a span as Python stores it: days may be negative, the rest never is.
fn parts(span: SignedDuration) -> (i128, i128, i128) {
    let micros = span.as_micros();
    let day = 86_400_000_000;
    let days = micros.div_euclid(day);
    let rest = micros.rem_euclid(day);
    (days, rest / 1_000_000, rest % 1_000_000)
}

/// Returns a field of a `datetime`.
pub(in crate::template) fn field(time: &Time, name: &str) -> Option<Val> {
    let moment = time.civil;
    Some(match name {
        "year" => i32::from(moment.year()).into(),
        "month" => i32::from(moment.month()).into(),
        "day" => i32::from(moment.day()).into(),
        "hour" => i32::from(moment.hour()).into(),
        "minute" => i32::from(moment.minute()).into(),
        "second" => i32::from(moment.second()).into(),
        "microsecond" => (moment.subsec_nanosecond() / 1000).into(),
        _ => return None,
    })
}

/// Returns a field of a `timedelta`.
pub(in crate::template) fn span_field(span: SignedDuration, name: &str) -> Option<Val> {
    let (days, seconds, micros) = parts(span);
    Some(match name {
        "days" => days.into(),
        "seconds" => seconds.into(),
        "microseconds" => micros.into(),
        _ => return None,
    })
}

/// Calls a method of a `datetime` or `timedelta`.
pub(super) fn call(frame: &Frame<'_>, owner: &Val, name: &str, given: &Given<Val>) -> Evaluated {
    let time = match owner {
        Val::Time(time) => time,
        Val::Span(span) => return Ok(span.as_secs_f64().into()),
        _ => return Ok(Val::default()),
    };
    let weekday = i32::from(time.civil.weekday().to_monday_zero_offset());
    Ok(match name {
        "strftime" => match given.positional.first() {
            Some(format) => strftime(time, &frame.run.text_of(format)?).into(),
            None => {
                return Err(frame
                    .run
                    .raised("strftime() missing required argument 'format' (pos 1)"));
            }
        },
        "isoformat" => match given.positional.first() {
            Some(separator) => isoformat(time, &frame.run.text_of(separator)?).into(),
            None => isoformat(time, "T").into(),
        },
        "timestamp" => zoned(time)
            .map_or(0.0, |zoned| zoned.timestamp().as_duration().as_secs_f64())
            .into(),
        "weekday" => weekday.into(),
        "isoweekday" => (weekday + 1).into(),
        "isocalendar" => {
            let week = time.civil.iso_week_date();
            Val::tuple([
                i32::from(week.year()).into(),
                i32::from(week.week()).into(),
                (weekday + 1).into(),
            ])
        }
        "ctime" => strftime(time, "%a %b %e %H:%M:%S %Y").into(),
        "toordinal" => (time
            .civil
            .date()
            .duration_since(civil::date(1, 1, 1))
            .as_hours()
            .div_euclid(24)
            + 1)
        .into(),
        "date" => Val::Time(Time {
            civil: time.civil.date().to_datetime(civil::Time::midnight()),
            offset: None,
            part: Part::Date,
        }),
        "time" => Val::Time(Time {
            civil: civil::date(1, 1, 1).to_datetime(time.civil.time()),
            offset: None,
            part: Part::Clock,
        }),
        _ => Val::Time(replaced(frame, time, given)?),
    })
}

fn replaced(frame: &Frame<'_>, time: &Time, given: &Given<Val>) -> Evaluated<Time> {
    let mut with = time.civil.with();
    for (name, val) in &given.named {
        let Value::Int(number) = frame.run.data(val)? else {
            return Err(frame.run.raised("an integer is required"));
        };
        let wrong = || frame.run.raised(format!("{name} is out of range"));
        let small = i8::try_from(number);
        with = match &**name {
            "year" => with.year(i16::try_from(number).map_err(|_| wrong())?),
            "month" => with.month(small.map_err(|_| wrong())?),
            "day" => with.day(small.map_err(|_| wrong())?),
            "hour" => with.hour(small.map_err(|_| wrong())?),
            "minute" => with.minute(small.map_err(|_| wrong())?),
            "second" => with.second(small.map_err(|_| wrong())?),
            "microsecond" => {
                with.subsec_nanosecond(i32::try_from(number * 1000).map_err(|_| wrong())?)
            }
            _ => return Err(frame.run.raised(format!("unexpected argument '{name}'"))),
        };
    }
    let civil = with
        .build()
        .map_err(|error| frame.run.raised(error.to_string()))?;
    Ok(Time {
        civil,
        offset: time.offset,
        part: time.part,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_read_as_yaml_and_toml_write_them() {
        let printed = |text: &str| moment(text).map(|time| (iso_text(&time), time.part));
        let both = |text: &str| Some((text.to_owned(), Part::Both));
        assert_eq!(
            printed("2020-01-01T12:42:42-07:00"),
            both("2020-01-01T12:42:42-07:00")
        );
        assert_eq!(
            printed("2020-1-1 1:02:03.5"),
            both("2020-01-01T01:02:03.500000")
        );
        assert_eq!(
            printed("2020-01-01t12:42:42Z"),
            both("2020-01-01T12:42:42+00:00")
        );
        assert_eq!(
            printed("2020-01-01"),
            Some(("2020-01-01".into(), Part::Date))
        );
        assert_eq!(printed("12:42:42"), Some(("12:42:42".into(), Part::Clock)));
        assert_eq!(printed("2020-13-01"), None);
    }

    #[test]
    fn times_and_spans_print_as_python_prints_them() {
        let time = strptime("2024-02-03 04:05:06", "%Y-%m-%d %H:%M:%S").unwrap();
        assert_eq!(datetime_text(&time), "2024-02-03 04:05:06");
        assert_eq!(
            timedelta_text(SignedDuration::from_secs(-3600)),
            "-1 day, 23:00:00"
        );
        assert_eq!(
            timedelta_text(SignedDuration::from_secs(90_061)),
            "1 day, 1:01:01"
        );
    }
}
