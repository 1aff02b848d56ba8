//! Filters and tests of Python's regular expressions.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;

use super::super::call::Call;
use super::{Filter, data};
use crate::pyregex::{Captures, Flags, Pattern, Replacement};
use crate::value::Value;

pub(super) const FILTERS: &[Filter] = &[
    data(
        "regex_replace",
        "pattern replacement ignorecase multiline count mandatory_count",
        replace,
    ),
    data("regex_search", "regex! * **", search),
    data("regex_findall", "regex! multiline ignorecase", findall),
    data("regex_escape", "re_type", escape),
];

/// How many compiled patterns a thread keeps.
const KEPT_PATTERNS: usize = 256;

/// Returns a compiled pattern; the ones used lately are kept.
pub(in crate::template) fn pattern(
    text: &str,
    ignore_case: bool,
    multi_line: bool,
) -> Result<Rc<Pattern>, String> {
    thread_local! {
        static PATTERNS: RefCell<HashMap<(String, bool, bool), Rc<Pattern>>> = RefCell::default();
    }
    let key = (text.to_owned(), ignore_case, multi_line);
    if let Some(known) = PATTERNS.with_borrow(|known| known.get(&key).cloned()) {
        return Ok(known);
    }
    let flags = Flags {
        ignore_case,
        multi_line,
        ..Flags::default()
    };
    let compiled = Rc::new(Pattern::text(text, flags).map_err(|error| error.to_string())?);
    PATTERNS.with_borrow_mut(|known| {
        if known.len() >= KEPT_PATTERNS {
            known.clear();
        }
        known.insert(key, Rc::clone(&compiled));
    });
    Ok(compiled)
}

fn expression(value: &Value) -> Result<&str, String> {
    value
        .as_str()
        .ok_or_else(|| "first argument must be string or compiled pattern".into())
}

fn replace(call: &Call<'_>) -> Result<Value, String> {
    let text = call.text();
    let wanted = match call.given(0) {
        Some(value) => expression(value)?,
        None => "",
    };
    let pattern = pattern(wanted, call.flag(2, false), call.flag(3, false))?;
    let replacement = match call.given(1) {
        Some(Value::String(text)) => text.to_string(),
        None => String::new(),
        Some(other) => {
            return Err(format!(
                "decoding to str: need a bytes-like object, {} found",
                other.python_type()
            ));
        }
    };
    let replacement =
        Replacement::new(&replacement, &pattern).map_err(|error| error.to_string())?;
    let count = call.int(4)?.unwrap_or(0);
    let limit = usize::try_from(count).unwrap_or(0);
    let (output, replaced) = pattern
        .replace(&*text, &replacement, limit)
        .map_err(|error| error.to_string())?;
    let mandatory = call.int(5)?.unwrap_or(0);
    if mandatory != 0 && usize::try_from(mandatory) != Ok(replaced) {
        return Err(format!(
            "'{wanted}' should match {mandatory} times, but matches {count} times in '{text}'"
        ));
    }
    Ok(output.into())
}

fn group_text(text: &str, captures: &Captures, number: usize) -> Value {
    captures
        .span(number)
        .map_or(Value::Null, |span| text[span].into())
}

fn search(call: &Call<'_>) -> Result<Value, String> {
    let text = call.text();
    let flag = |name: &str| call.named.get(name).is_some_and(Value::is_truthy);
    let pattern = pattern(
        expression(call.required(0))?,
        flag("ignorecase"),
        flag("multiline"),
    )?;
    let mut groups = Vec::new();
    for group in &call.rest {
        let group = group.to_string();
        let number = if let Some(name) = group.strip_prefix("\\g<") {
            let name = name.split('>').next().unwrap_or_default();
            match name.parse() {
                Ok(number) => Some(number),
                Err(_) => pattern.group_number(name),
            }
        } else if let Some(number) = group.strip_prefix('\\') {
            number.parse().ok()
        } else {
            return Err("Unknown argument".into());
        };
        groups.push(
            number
                .filter(|number| *number <= pattern.n_groups())
                .ok_or("no such group")?,
        );
    }
    let found = pattern.search(&*text).map_err(|error| error.to_string())?;
    Ok(match found {
        None => Value::Null,
        Some(captures) if groups.is_empty() => group_text(&text, &captures, 0),
        Some(captures) => Value::list(
            groups
                .into_iter()
                .map(|number| group_text(&text, &captures, number)),
        ),
    })
}

fn findall(call: &Call<'_>) -> Result<Value, String> {
    let text = call.text();
    let pattern = pattern(
        expression(call.required(0))?,
        call.flag(2, false),
        call.flag(1, false),
    )?;
    let found = pattern
        .find_all(&*text)
        .map_err(|error| error.to_string())?;
    let group = |captures: &Captures, number| match group_text(&text, captures, number) {
        Value::Null => Value::from(""),
        value => value,
    };
    Ok(Value::list(found.iter().map(
        |captures| match pattern.n_groups() {
            0 => group(captures, 0),
            1 => group(captures, 1),
            many => Value::list((1..=many).map(|number| group(captures, number))),
        },
    )))
}

fn escape(call: &Call<'_>) -> Result<Value, String> {
    let text = call.text();
    let special = match call.text_at(0).as_deref() {
        None | Some("python") => "()[]{}?*+-|^$\\.&~# \t\n\r\x0b\x0c",
        Some("posix_basic") => "].[^$*\\",
        Some(kind @ "posix_extended") => {
            return Err(format!("Regex type ({kind}) not yet implemented"));
        }
        Some(kind) => return Err(format!("Invalid regex type ({kind})")),
    };
    let mut out = String::with_capacity(text.len());
    for character in text.chars() {
        if special.contains(character) {
            out.push('\\');
        }
        out.push(character);
    }
    Ok(out.into())
}
