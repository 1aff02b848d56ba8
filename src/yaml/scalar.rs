//! YAML 1.1 scalars as PyYAML resolves them: which plain texts are booleans, numbers or nothing.
//!
//! Only plain (unquoted, untagged) text is resolved. Timestamps stay the text that was written.
//! Knows nothing of marks, templates or Ansible's tags.

/// What a plain scalar means.
#[derive(Clone, Debug, PartialEq)]
pub enum Scalar {
    Null,
    Bool(bool),
    Int(i128),
    Float(f64),
    /// Text, also where PyYAML would make a date of it.
    Text,
    /// `<<`: as a key, the value's pairs are merged into the mapping.
    Merge,
    /// `=`: as a key it is text; elsewhere PyYAML has no meaning for it.
    Value,
}

/// Returns the meaning of a plain scalar under PyYAML's YAML 1.1 rules.
pub fn resolve(text: &str) -> Scalar {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => return Scalar::Null,
        "<<" => return Scalar::Merge,
        "=" => return Scalar::Value,
        _ => {}
    }
    if let Some(value) = boolean(text) {
        return Scalar::Bool(value);
    }
    if !text.starts_with(|first: char| first.is_ascii_digit() || "+-.".contains(first)) {
        return Scalar::Text;
    }
    if let Some(value) = float(text) {
        return Scalar::Float(value);
    }
    integer(text).map_or(Scalar::Text, Scalar::Int)
}

/// Tells whether PyYAML would read a plain `text` as anything but a string.
pub fn is_ambiguous(text: &str) -> bool {
    resolve(text) != Scalar::Text
        || is_timestamp(text)
        || matches!(text, "!" | "&" | "*")
        || is_int_form(text)
}

fn boolean(text: &str) -> Option<bool> {
    match text {
        "yes" | "Yes" | "YES" | "true" | "True" | "TRUE" | "on" | "On" | "ON" => Some(true),
        "no" | "No" | "NO" | "false" | "False" | "FALSE" | "off" | "Off" | "OFF" => Some(false),
        _ => None,
    }
}

/// Reads an integer in the forms `0b1`, `017`, `1_000`, `0xff` and `1:30` (base 60).
///
/// `None` when it is none of these, or is too large for 128 bits.
pub(super) fn integer(text: &str) -> Option<i128> {
    if !is_int_form(text) {
        return None;
    }
    integer_value(text)
}

/// Reads the text of an `!!int`: the forms above without their spelling rules.
pub(super) fn integer_value(text: &str) -> Option<i128> {
    let digits = text.replace('_', "");
    let (negative, digits) = split_sign(&digits);
    let value = if digits == "0" {
        0
    } else if let Some(binary) = digits.strip_prefix("0b") {
        i128::from_str_radix(binary, 2).ok()?
    } else if let Some(hexadecimal) = digits.strip_prefix("0x") {
        i128::from_str_radix(hexadecimal, 16).ok()?
    } else if digits.starts_with('0') {
        i128::from_str_radix(digits, 8).ok()?
    } else {
        digits.split(':').try_fold(0_i128, |total, part| {
            total.checked_mul(60)?.checked_add(part.parse().ok()?)
        })?
    };
    Some(if negative { -value } else { value })
}

fn is_int_form(text: &str) -> bool {
    let (_, digits) = split_sign(text);
    let all = |rest: &str, allowed: fn(u8) -> bool| {
        !rest.is_empty() && rest.bytes().all(|byte| allowed(byte) || byte == b'_')
    };
    if let Some(rest) = digits.strip_prefix("0b") {
        return all(rest, |byte| matches!(byte, b'0' | b'1'));
    }
    if let Some(rest) = digits.strip_prefix("0x") {
        return all(rest, |byte| byte.is_ascii_hexdigit());
    }
    if let Some(rest) = digits.strip_prefix('0') {
        return rest.is_empty() || all(rest, |byte| matches!(byte, b'0'..=b'7'));
    }
    let (first, rest) = digits.split_once(':').unwrap_or((digits, ""));
    first.starts_with(|digit: char| digit.is_ascii_digit())
        && all(first, |byte| byte.is_ascii_digit())
        && (!digits.contains(':') || rest.split(':').all(is_sixtieth))
}

/// Reads a float: it has a dot, and an exponent has a sign (`1e3` is text, as PyYAML has it).
fn float(text: &str) -> Option<f64> {
    let (_, unsigned) = split_sign(text);
    if matches!(unsigned, ".inf" | ".Inf" | ".INF") || matches!(text, ".nan" | ".NaN" | ".NAN") {
        return float_value(text);
    }
    is_float_form(text).then(|| float_value(text)).flatten()
}

/// Reads the text of a `!!float`: the forms above without their spelling rules.
pub(super) fn float_value(text: &str) -> Option<f64> {
    let plain = text.replace('_', "").to_lowercase();
    let (negative, digits) = split_sign(&plain);
    let value = match digits {
        ".inf" => f64::INFINITY,
        ".nan" => f64::NAN,
        _ => digits.split(':').try_fold(0.0, |total: f64, part| {
            Some(total * 60.0 + part.parse::<f64>().ok()?)
        })?,
    };
    Some(if negative { -value } else { value })
}

fn is_float_form(text: &str) -> bool {
    let (_, unsigned) = split_sign(text);
    let Some((whole, fraction)) = unsigned.split_once('.') else {
        return false;
    };
    let is_digits = |part: &str| {
        part.starts_with(|first: char| first.is_ascii_digit()) && part.bytes().all(is_digit_or_line)
    };
    if let Some((first, rest)) = whole.split_once(':') {
        return is_digits(first)
            && rest.split(':').all(is_sixtieth)
            && fraction.bytes().all(is_digit_or_line);
    }
    let mantissa = match fraction.find(['e', 'E']) {
        Some(at) if is_signed_digits(&fraction[at + 1..]) => &fraction[..at],
        Some(_) => return false,
        None => fraction,
    };
    if whole.is_empty() {
        return unsigned.len() == text.len() && is_digits(mantissa);
    }
    is_digits(whole) && mantissa.bytes().all(is_digit_or_line)
}

fn is_digit_or_line(byte: u8) -> bool {
    byte.is_ascii_digit() || byte == b'_'
}

fn is_signed_digits(text: &str) -> bool {
    text.strip_prefix(['+', '-']).is_some_and(|digits| {
        !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit())
    })
}

/// Tells whether `text` is one place of a base 60 number: `0`–`59`.
fn is_sixtieth(text: &str) -> bool {
    match text.as_bytes() {
        [unit] => unit.is_ascii_digit(),
        [ten, unit] => matches!(ten, b'0'..=b'5') && unit.is_ascii_digit(),
        _ => false,
    }
}

/// Tells whether PyYAML would make a date or a time of a plain `text`.
pub(super) fn is_timestamp(text: &str) -> bool {
    let Some((date, rest)) = split_date(text) else {
        return false;
    };
    if rest.is_empty() {
        return date.len() == 10;
    }
    let blank = rest.trim_start_matches([' ', '\t']);
    let time = if blank.len() < rest.len() {
        blank
    } else if let Some(time) = rest.strip_prefix(['T', 't']) {
        time
    } else {
        return false;
    };
    is_time(time)
}

/// Splits `2024-1-02…` behind the day.
fn split_date(text: &str) -> Option<(&str, &str)> {
    let mut rest = text;
    for (index, (least, most)) in [(4, 4), (1, 2), (1, 2)].into_iter().enumerate() {
        if index > 0 {
            rest = rest.strip_prefix('-')?;
        }
        rest = strip_digits(rest, least, most)?;
    }
    Some(text.split_at(text.len() - rest.len()))
}

/// Tells whether `text` is `hh:mm:ss[.fraction][zone]`.
fn is_time(text: &str) -> bool {
    let clock = strip_digits(text, 1, 2)
        .and_then(|rest| strip_digits(rest.strip_prefix(':')?, 2, 2))
        .and_then(|rest| strip_digits(rest.strip_prefix(':')?, 2, 2));
    let Some(rest) = clock else {
        return false;
    };
    let rest = rest.strip_prefix('.').map_or(rest, |fraction| {
        fraction.trim_start_matches(|digit: char| digit.is_ascii_digit())
    });
    if rest.is_empty() {
        return true;
    }
    let zone = rest.trim_start_matches([' ', '\t']);
    zone == "Z" || zone.strip_prefix(['+', '-']).is_some_and(is_offset)
}

/// Tells whether `text` is the `1`, `01` or `01:30` of a time zone.
fn is_offset(text: &str) -> bool {
    strip_digits(text, 1, 2).is_some_and(|rest| {
        rest.is_empty()
            || rest
                .strip_prefix(':')
                .and_then(|minutes| strip_digits(minutes, 2, 2))
                == Some("")
    })
}

/// Removes between `least` and `most` leading digits.
fn strip_digits(text: &str, least: usize, most: usize) -> Option<&str> {
    let digits = text
        .bytes()
        .take(most)
        .take_while(u8::is_ascii_digit)
        .count();
    (digits >= least).then(|| &text[digits..])
}

fn split_sign(text: &str) -> (bool, &str) {
    match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_follow_yaml_1_1() {
        for (text, value) in [
            ("0644", 420),
            ("0x1F", 31),
            ("0b101", 5),
            ("1_000", 1000),
            ("1:30", 90),
            ("-1:30:00", -5400),
            ("+12", 12),
        ] {
            assert_eq!(resolve(text), Scalar::Int(value), "{text}");
        }
        for text in [
            "0o644", "08", "1e3", "0:30", "1:60", "-.5", "1.5e3", "0x", "12a", "-",
        ] {
            assert_eq!(resolve(text), Scalar::Text, "{text}");
        }
        for (text, value) in [
            ("1.", 1.0),
            (".5", 0.5),
            ("1.5e+3", 1500.0),
            ("1:30.5", 90.5),
        ] {
            assert_eq!(resolve(text), Scalar::Float(value), "{text}");
        }
        assert_eq!(resolve("-.INF"), Scalar::Float(f64::NEG_INFINITY));
    }

    #[test]
    fn words_are_case_checked() {
        assert_eq!(resolve("Yes"), Scalar::Bool(true));
        assert_eq!(resolve("yEs"), Scalar::Text);
        assert_eq!(resolve("y"), Scalar::Text);
        assert_eq!(resolve("~"), Scalar::Null);
        assert_eq!(resolve("nULL"), Scalar::Text);
    }

    #[test]
    fn timestamps_are_text_that_a_writer_must_quote() {
        for text in [
            "2024-01-02",
            "2024-1-2T1:02:03",
            "2001-12-14 21:59:43.10 -5",
            "2024-01-02t01:02:03Z",
        ] {
            assert_eq!(resolve(text), Scalar::Text, "{text}");
            assert!(is_ambiguous(text), "{text}");
        }
        for text in ["2024-1-2", "2024-01-02x", "2024-01-02 10:00", "24-01-02"] {
            assert!(!is_ambiguous(text), "{text}");
        }
    }
}
