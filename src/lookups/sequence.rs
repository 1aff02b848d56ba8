//! `sequence`: numbers from a start to an end, formatted; `5-8`, `2-10/2:host%02d`, `count=4`.

use super::{Found, Options};
use crate::template::LookupCall;
use crate::value::{Value, repr};

const FIELDS: [&str; 5] = ["start", "end", "stride", "count", "format"];

pub(super) fn lookup(call: &LookupCall<'_>) -> Found {
    let options = Options::new(call, &FIELDS)?;
    let mut base = Fields::default();
    for name in FIELDS {
        if let Some(value) = options.text(name) {
            base.set(name, &value)?;
        }
    }
    if call.terms.is_empty() {
        return Ok(base.numbers()?);
    }
    let mut out = Vec::new();
    for term in &call.terms {
        let mut fields = base.clone();
        fields.read(&term.to_string())?;
        out.extend(fields.numbers()?);
    }
    Ok(out)
}

#[derive(Clone)]
struct Fields {
    start: i128,
    end: Option<i128>,
    stride: i128,
    count: Option<i128>,
    format: String,
}

impl Default for Fields {
    fn default() -> Self {
        Self {
            start: 1,
            end: None,
            stride: 1,
            count: None,
            format: "%d".into(),
        }
    }
}

fn number(text: &str) -> Option<i128> {
    let (negative, digits) = match text.trim().strip_prefix('-') {
        Some(digits) => (true, digits),
        None => (false, text.trim()),
    };
    let lower = digits.to_lowercase();
    let magnitude = if let Some(hex) = lower.strip_prefix("0x") {
        i128::from_str_radix(hex, 16)
    } else if let Some(octal) = lower.strip_prefix("0o") {
        i128::from_str_radix(octal, 8)
    } else if lower.len() > 1 && lower.starts_with('0') {
        i128::from_str_radix(&lower[1..], 8)
    } else {
        lower.parse()
    }
    .ok()?;
    Some(if negative { -magnitude } else { magnitude })
}

impl Fields {
    fn set(&mut self, name: &str, value: &str) -> Result<(), String> {
        let parsed =
            || number(value).ok_or_else(|| format!("can't parse {name}={value} as integer"));
        match name {
            "start" => self.start = parsed()?,
            "end" => self.end = Some(parsed()?),
            "stride" => self.stride = parsed()?,
            "count" => self.count = Some(parsed()?),
            "format" => value.clone_into(&mut self.format),
            other => {
                return Err(format!(
                    "unrecognized arguments to with_sequence: ['{other}']"
                ));
            }
        }
        Ok(())
    }

    fn read(&mut self, term: &str) -> Result<(), String> {
        if self.read_shortcut(term) {
            return Ok(());
        }
        for pair in term.split_whitespace() {
            let (name, value) = pair.split_once('=').ok_or_else(|| {
                format!(
                    "unknown error parsing with_sequence arguments: {}",
                    repr(&term.into())
                )
            })?;
            self.set(name, value.trim_matches(['\'', '"']))?;
        }
        Ok(())
    }

    /// Reads `[start-]end[/stride][:format]`; tells whether the term is of that form.
    fn read_shortcut(&mut self, term: &str) -> bool {
        let is_number = |text: &str| {
            let digits = text.strip_prefix("0x").unwrap_or(text);
            !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_hexdigit())
        };
        let (range, format) = match term.split_once(':') {
            Some((range, format)) => (range, Some(format)),
            None => (term, None),
        };
        let (range, stride) = match range.split_once('/') {
            Some((range, stride)) => (range, Some(stride)),
            None => (range, None),
        };
        let (start, end) = match range.split_once('-') {
            Some((start, end)) => (Some(start), end),
            None => (None, range),
        };
        if !is_number(end)
            || !start.is_none_or(is_number)
            || !stride.is_none_or(is_number)
            || format.is_some_and(str::is_empty)
        {
            return false;
        }
        let (Some(end), Some(start), Some(stride)) = (
            number(end),
            start.map_or(Some(self.start), number),
            stride.map_or(Some(self.stride), number),
        ) else {
            return false;
        };
        (self.start, self.end, self.stride) = (start, Some(end), stride);
        if let Some(format) = format {
            format.clone_into(&mut self.format);
        }
        true
    }

    fn numbers(&self) -> Result<Vec<Value>, String> {
        let end = match (self.count, self.end) {
            (None, None) => return Err("must specify count or end in with_sequence".into()),
            (Some(_), Some(_)) => {
                return Err("can't specify both count and end in with_sequence".into());
            }
            (Some(0), None) => return Ok(Vec::new()),
            (Some(count), None) => self.start + count * self.stride - 1,
            (None, Some(end)) => end,
        };
        if self.stride > 0 && end < self.start {
            return Err("to count backwards make stride negative".into());
        }
        if self.stride < 0 && end > self.start {
            return Err("to count forward don't make stride negative".into());
        }
        if self.stride == 0 {
            return Ok(Vec::new());
        }
        if self.format.matches('%').count() != 1 {
            return Err(format!("bad formatting string: {}", self.format));
        }
        let mut out = Vec::new();
        let mut at = self.start;
        while (self.stride > 0 && at <= end) || (self.stride < 0 && at >= end) {
            out.push(formatted(&self.format, at)?.into());
            at += self.stride;
        }
        Ok(out)
    }
}

/// Writes a number where the one `%` directive of a format stands.
fn formatted(format: &str, number: i128) -> Result<String, String> {
    let refuse = || format!("problem formatting {number} with {}", repr(&format.into()));
    let (before, rest) = format.split_once('%').ok_or_else(refuse)?;
    let end = rest
        .find(|c: char| c.is_ascii_alphabetic())
        .ok_or_else(refuse)?;
    let (flags, kind) = (&rest[..end], &rest[end..=end]);
    let after = &rest[end + 1..];
    let digits = match kind {
        "d" | "i" | "u" | "s" => number.to_string(),
        "x" => format!("{number:x}"),
        "X" => format!("{number:X}"),
        "o" => format!("{number:o}"),
        _ => return Err(refuse()),
    };
    let digits = match (flags.contains('#'), kind) {
        (true, "x" | "X") => format!("0{kind}{digits}"),
        (true, "o") => format!("0o{digits}"),
        _ => digits,
    };
    let flags = flags.trim_start_matches('#');
    let width: usize = flags
        .trim_start_matches(['0', '-', '+', ' '])
        .parse()
        .unwrap_or(0);
    let padded = if flags.starts_with('-') {
        format!("{digits:<width$}")
    } else if flags.starts_with('0') {
        format!("{digits:0>width$}")
    } else {
        format!("{digits:>width$}")
    };
    Ok(format!("{before}{padded}{after}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbers(term: &str) -> Result<String, String> {
        let mut fields = Fields::default();
        fields.read(term)?;
        fields.numbers().map(|list| Value::from(list).to_string())
    }

    #[test]
    fn every_form_counts_as_ansible_counts() {
        assert_eq!(numbers("3"), Ok("['1', '2', '3']".into()));
        assert_eq!(numbers("2-6/2"), Ok("['2', '4', '6']".into()));
        assert_eq!(numbers("7-8:host%02d"), Ok("['host07', 'host08']".into()));
        assert_eq!(
            numbers("start=0 count=3 stride=2"),
            Ok("['0', '2', '4']".into())
        );
        assert_eq!(
            numbers("start=0x0f00 count=2 format=%04x"),
            Ok("['0f00', '0f01']".into())
        );
        assert_eq!(
            numbers("start=3 end=1 stride=-1"),
            Ok("['3', '2', '1']".into())
        );
    }

    #[test]
    fn what_cannot_be_counted_is_told_in_ansibles_words() {
        assert_eq!(
            numbers("start=1"),
            Err("must specify count or end in with_sequence".into())
        );
        assert_eq!(
            numbers("5-1"),
            Err("to count backwards make stride negative".into())
        );
        assert_eq!(
            numbers("count=2 format=x"),
            Err("bad formatting string: x".into())
        );
    }
}
