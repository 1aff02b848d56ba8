//! Host names as inventories spell them: ports, IPv6, and ranges that stand for many hosts.
//!
//! Pure text in, names out; unknown spellings are names, as in Ansible.

/// Splits `name[:port]`; `None` when it is no host name, address or range.
pub(super) fn parse(text: &str) -> Option<(&str, Option<u16>)> {
    let (host, port) = split_port(text);
    let port = match port {
        Some(digits) => Some(digits.parse().ok()?),
        None => None,
    };
    (is_ipv4(host) || is_ipv6(host) || is_hostname(host)).then_some((host, port))
}

/// Returns the hosts a pattern stands for and their port, or what is wrong with its range.
pub(super) fn expand(pattern: &str) -> Result<(Vec<String>, Option<u16>), &'static str> {
    // Nothing to find in a plain name, and inventories are full of them.
    let (host, port) = if pattern.contains([':', '[']) {
        parse(pattern).unwrap_or((pattern, None))
    } else {
        (pattern, None)
    };
    let mut names = Vec::new();
    if host.contains('[') {
        expand_range(host, &mut names)?;
    } else {
        names.push(host.to_string());
    }
    Ok((names, port))
}

const BAD_STEP: &str = "host range must have a number as its step";
const BAD_BOUND: &str = "host range must be numeric or alphabetic";

/// Tells whether a range failed for what should have been a number.
pub(super) fn is_no_number(why: &str) -> bool {
    [BAD_STEP, BAD_BOUND].contains(&why)
}

/// The most hosts one pattern may stand for.
const MAX_RANGE: usize = 100_000;

fn expand_range(pattern: &str, names: &mut Vec<String>) -> Result<(), &'static str> {
    const SHAPE: &str = "host range must be begin:end or begin:end:step";
    let (head, rest) = pattern.split_once('[').ok_or(SHAPE)?;
    let (range, tail) = rest.split_once(']').ok_or(SHAPE)?;
    let bounds: Vec<&str> = range.split(':').collect();
    let (begin, end, step) = match bounds[..] {
        [begin, end] => (begin, end, "1"),
        [begin, end, step] => (begin, end, step),
        _ => return Err(SHAPE),
    };
    let begin = if begin.is_empty() { "0" } else { begin };
    if end.is_empty() {
        return Err("host range must specify end value");
    }
    for value in sequence(begin, end, step)? {
        let name = format!("{head}{value}{tail}");
        if name.contains('[') {
            expand_range(&name, names)?;
        } else {
            names.push(name);
        }
        if names.len() > MAX_RANGE {
            return Err("host range stands for more than 100,000 hosts");
        }
    }
    Ok(())
}

fn sequence(begin: &str, end: &str, step: &str) -> Result<Vec<String>, &'static str> {
    let is_padded = begin.len() > 1 && begin.starts_with('0');
    if is_padded && begin.len() != end.len() {
        return Err("host range must specify equal-length begin and end formats");
    }
    let step: usize = step.parse().map_err(|_| BAD_STEP)?;
    if step == 0 {
        return Err("host range must have a step above zero");
    }
    if let (Some(first), Some(last)) = (letter(begin), letter(end)) {
        if first > last {
            return Err("host range must have begin <= end");
        }
        let letters = LETTERS[first..=last].iter().step_by(step);
        return Ok(letters
            .map(|letter| char::from(*letter).to_string())
            .collect());
    }
    let number = |text: &str| {
        let digits = text.bytes().all(|byte| byte.is_ascii_digit());
        digits
            .then(|| text.parse::<usize>().ok())
            .flatten()
            .ok_or(BAD_BOUND)
    };
    let (first, last) = (number(begin)?, number(end)?);
    if last.saturating_sub(first) / step >= MAX_RANGE {
        return Err("host range stands for more than 100,000 hosts");
    }
    let width = if is_padded { begin.len() } else { 0 };
    Ok((first..=last)
        .step_by(step)
        .map(|value| format!("{value:0width$}"))
        .collect())
}

const LETTERS: &[u8; 52] = b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ";

fn letter(text: &str) -> Option<usize> {
    match text.as_bytes() {
        [byte] => LETTERS.iter().position(|letter| letter == byte),
        _ => None,
    }
}

fn split_port(text: &str) -> (&str, Option<&str>) {
    let Some((host, port)) = text.rsplit_once(':') else {
        return (text, None);
    };
    if port.is_empty() || !port.bytes().all(|byte| byte.is_ascii_digit()) {
        return (text, None);
    }
    if let Some(inner) = host
        .strip_prefix('[')
        .and_then(|host| host.strip_suffix(']'))
        && !inner.is_empty()
    {
        return (inner, Some(port));
    }
    if split_outside(host, ':').is_some_and(|parts| parts.len() == 1) {
        return (host, Some(port));
    }
    (text, None)
}

/// Splits at a separator that stands outside brackets; `None` when brackets are unbalanced.
fn split_outside(text: &str, separator: char) -> Option<Vec<&str>> {
    let (mut parts, mut start, mut inside) = (Vec::new(), 0, false);
    for (at, character) in text.char_indices() {
        match character {
            '[' if !inside => inside = true,
            ']' if inside => inside = false,
            '[' | ']' => return None,
            _ if character == separator && !inside => {
                parts.push(&text[start..at]);
                start = at + separator.len_utf8();
            }
            _ => {}
        }
    }
    parts.push(&text[start..]);
    (!inside).then_some(parts)
}

/// Tells whether `text` is `[begin:end]` or `[begin:end:step]` with bounds that `is_bound` takes.
fn is_range(text: &str, is_bound: impl Fn(&str) -> bool) -> bool {
    let inner = text
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'));
    let bounds: Vec<&str> = inner.unwrap_or_default().split(':').collect();
    match bounds[..] {
        [begin, end] => is_bound(begin) && is_bound(end),
        [begin, end, step] => is_bound(begin) && is_bound(end) && is_number(step),
        _ => false,
    }
}

fn is_number(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

fn is_hexadecimal(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

pub(super) fn is_ipv4(text: &str) -> bool {
    let is_part = |part: &&str| {
        is_range(part, is_number)
            || (is_number(part)
                && part.len() <= 3
                && part.parse::<u16>().is_ok_and(|byte| byte < 256))
    };
    split_outside(text, '.').is_some_and(|parts| parts.len() == 4 && parts.iter().all(is_part))
}

pub(super) fn is_ipv6(text: &str) -> bool {
    let is_part =
        |part: &str| is_range(part, is_hexadecimal) || (is_hexadecimal(part) && part.len() <= 4);
    let (text, from_ipv4) = match text.rsplit_once(':') {
        Some((head, tail)) if tail.contains('.') && is_ipv4(tail) => (head, 2),
        _ => (text, 0),
    };
    // `::` at an end leaves two empty parts, in the middle one.
    let whole = if from_ipv4 > 0 && text.ends_with(':') {
        format!("{text}:")
    } else {
        text.into()
    };
    let Some(parts) = split_outside(&whole, ':') else {
        return false;
    };
    if parts.len() < 3 || !parts.iter().all(|part| part.is_empty() || is_part(part)) {
        return from_ipv4 > 0 && parts.len() == 2 && parts.iter().all(|part| part.is_empty());
    }
    let filled = parts.iter().filter(|part| !part.is_empty()).count() + from_ipv4;
    match whole.matches("::").count() {
        0 => filled == 8 && parts.iter().all(|part| !part.is_empty()),
        1 => {
            filled <= 7
                && (!whole.starts_with(':') || whole.starts_with("::"))
                && (!whole.ends_with(':') || whole.ends_with("::"))
        }
        _ => false,
    }
}

fn is_hostname(text: &str) -> bool {
    split_outside(text, '.').is_some_and(|labels| labels.into_iter().all(is_label))
}

/// Tells whether `text` is letters, digits, `_`, `-` and ranges, with no `-` or `_` at its end.
fn is_label(text: &str) -> bool {
    let is_bound = |bound: &str| letter(bound).is_some() || is_number(bound);
    let mut rest = text;
    while let Some(next) = rest.chars().next() {
        if next == '[' {
            let Some(end) = rest.find(']') else {
                return false;
            };
            if !is_range(&rest[..=end], is_bound) {
                return false;
            }
            rest = &rest[end + 1..];
        } else if next.is_alphanumeric() || next == '_' || (next == '-' && rest.len() < text.len())
        {
            rest = &rest[next.len_utf8()..];
        } else {
            return false;
        }
    }
    !text.is_empty() && !text.ends_with(['-', '_'])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn expanded(pattern: &str) -> String {
        match expand(pattern) {
            Ok((names, port)) => format!("{} {port:?}", names.join(",")),
            Err(told) => told.to_string(),
        }
    }

    #[test]
    fn ranges_count_in_numbers_and_letters() {
        for (pattern, names) in [
            ("web[01:05:2].x", "web01.x,web03.x,web05.x None"),
            ("db-[a:c]", "db-a,db-b,db-c None"),
            ("x[1:2]-[a:b]:22", "x1-a,x1-b,x2-a,x2-b Some(22)"),
            ("h[:2]", "h0,h1,h2 None"),
            ("h[9:11]", "h9,h10,h11 None"),
            ("h[2:1]", " None"),
            (
                "h[01:100]",
                "host range must specify equal-length begin and end formats",
            ),
            ("h[1:]", "host range must specify end value"),
            ("h[c:a]", "host range must have begin <= end"),
            ("h[1]", "host range must be begin:end or begin:end:step"),
            (
                "h[1:9999999999]",
                "host range stands for more than 100,000 hosts",
            ),
        ] {
            assert_eq!(expanded(pattern), names, "{pattern}");
        }
    }

    #[test]
    fn ports_are_split_off_names_and_bracketed_addresses() {
        for (text, parsed) in [
            ("host:22", Some(("host", Some(22)))),
            ("10.0.0.1:22", Some(("10.0.0.1", Some(22)))),
            ("[::1]:22", Some(("::1", Some(22)))),
            ("fe80::1", Some(("fe80::1", None))),
            ("::ffff:1.2.3.4", Some(("::ffff:1.2.3.4", None))),
            ("1:2:3:4:5:6:7:8", Some(("1:2:3:4:5:6:7:8", None))),
            ("::", Some(("::", None))),
            ("a[1:3]:22", Some(("a[1:3]", Some(22)))),
            ("a:b", None),
            ("1:2:3:4:5:6:7:8:9", None),
            ("web*", None),
            ("-x", None),
        ] {
            assert_eq!(parse(text), parsed, "{text}");
        }
    }
}
