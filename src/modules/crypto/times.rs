//! Points in time of certificates: written by users, and in certificates. Pure.

use jiff::SignedDuration;
use jiff::civil::DateTime;

use super::der::{self, Element};
use crate::modules::Failure;

/// Returns this second, in UTC.
pub(super) fn now() -> DateTime {
    let now = jiff::Timestamp::now().to_zoned_datetime(jiff::tz::TimeZone::UTC);
    let now = now.datetime();
    now.with().subsec_nanosecond(0).build().unwrap_or(now)
}

/// Reads `+3650d`, `-1w2h`, or `20300101000000Z`, from `now` in UTC.
pub(super) fn wanted(text: &str, option: &str, now: DateTime) -> Result<DateTime, Failure> {
    let found = match text.strip_prefix(['+', '-']) {
        Some(rest) => span(rest).and_then(|span| {
            if text.starts_with('+') {
                now.checked_add(span).ok()
            } else {
                now.checked_sub(span).ok()
            }
        }),
        None => absolute(text),
    };
    found.ok_or_else(|| Failure::new(format!("The time spec \"{text}\" for {option} is invalid")))
}

fn span(text: &str) -> Option<SignedDuration> {
    let mut seconds = 0_i64;
    let mut digits = String::new();
    // A number without a letter at its end is one of seconds.
    let is_open = text.ends_with(|last: char| last.is_ascii_digit());
    for letter in text.chars().chain(is_open.then_some('s')) {
        if letter.is_ascii_digit() {
            digits.push(letter);
            continue;
        }
        let unit = match letter {
            'w' => 7 * 24 * 3600,
            'd' => 24 * 3600,
            'h' => 3600,
            'm' => 60,
            's' => 1,
            _ => return None,
        };
        let number: i64 = digits.parse().ok()?;
        digits.clear();
        seconds = seconds.checked_add(number.checked_mul(unit)?)?;
    }
    Some(SignedDuration::from_secs(seconds))
}

/// Reads `YYYYMMDDhhmm[ss]Z`.
fn absolute(text: &str) -> Option<DateTime> {
    let digits = text.strip_suffix('Z')?;
    let n_digits = digits.len();
    if !digits.bytes().all(|digit| digit.is_ascii_digit()) || !matches!(n_digits, 12 | 14) {
        return None;
    }
    let part = |from: usize, to: usize| digits.get(from..to)?.parse::<i8>().ok();
    let seconds = if n_digits == 14 { part(12, 14)? } else { 0 };
    DateTime::new(
        digits[..4].parse().ok()?,
        part(4, 6)?,
        part(6, 8)?,
        part(8, 10)?,
        part(10, 12)?,
        seconds,
        0,
    )
    .ok()
}

/// Writes a point in time as results have it.
pub(super) fn shown(time: DateTime) -> String {
    format!("{}Z", time.strftime("%Y%m%d%H%M%S"))
}

/// Writes a point in time as certificates have it: with two digits of the year until 2049.
pub(super) fn encoded(time: DateTime) -> Vec<u8> {
    let (tag, text) = if (1950..2050).contains(&time.year()) {
        (der::UTC_TIME, time.strftime("%y%m%d%H%M%SZ").to_string())
    } else {
        (der::GENERAL_TIME, shown(time))
    };
    der::wrap(tag, text.as_bytes())
}

/// Reads a point in time of a certificate.
pub(super) fn decoded(element: &Element<'_>) -> Option<DateTime> {
    let text = element.text();
    match element.tag {
        der::GENERAL_TIME => absolute(&text),
        der::UTC_TIME => {
            let year: u8 = text.get(..2)?.parse().ok()?;
            absolute(&format!("{}{text}", if year < 50 { "20" } else { "19" }))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_from_now_or_as_they_are() {
        let now = DateTime::constant(2024, 2, 28, 23, 0, 0, 0);
        let at = |text: &str| wanted(text, "x", now).map(shown).map_err(|it| it.msg);
        assert_eq!(at("+1d1h").unwrap(), "20240301000000Z");
        assert_eq!(at("-2w30").unwrap(), "20240214225930Z");
        assert_eq!(at("+3650d").unwrap(), "20340225230000Z");
        assert_eq!(at("203001020304Z").unwrap(), "20300102030400Z");
        assert_eq!(
            at("soon").unwrap_err(),
            "The time spec \"soon\" for x is invalid"
        );
        for time in [now, DateTime::constant(2051, 1, 1, 0, 0, 0, 0)] {
            let bytes = encoded(time);
            assert_eq!(decoded(&Element::only(&bytes).unwrap()), Some(time));
        }
    }
}
