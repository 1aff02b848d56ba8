//! Filters on paths, POSIX and Windows.

use super::super::call::Call;
use super::{Filter, data};
use crate::value::Value;

pub(super) const FILTERS: &[Filter] = &[
    data("basename", "", |call| {
        let text = call.text();
        Ok(text.rsplit('/').next().unwrap_or_default().into())
    }),
    data("dirname", "", |call| Ok(dirname(&call.text()).into())),
    data("expanduser", "", |call| Ok(expand_user(call).into())),
    data("expandvars", "", |call| Ok(expand_vars(call).into())),
    data("realpath", "**", |call| {
        Ok(call.services.real_path(&call.text()).into())
    }),
    data("relpath", "start", relpath),
    data("splitext", "", |call| {
        let text = call.text();
        let (root, extension) = split_extension(&text);
        Ok(Value::list([root, extension]))
    }),
    data("normpath", "", |call| Ok(normalize(&call.text()).into())),
    data("path_join", "", path_join),
    data("commonpath", "", commonpath),
    data("fileglob", "", |call| {
        let found = call.services.glob(&call.text()).into_iter().filter(|path| {
            call.services
                .path_state(path, true)
                .is_some_and(|state| state.is_file)
        });
        Ok(Value::list(found))
    }),
    data("win_basename", "", |call| {
        let text = call.text();
        let (_, path) = split_drive(&text);
        Ok(path.rsplit(['\\', '/']).next().unwrap_or_default().into())
    }),
    data("win_dirname", "", |call| {
        let text = call.text();
        let (drive, path) = split_drive(&text);
        let end = path.rfind(['\\', '/']).map_or(0, |at| at + 1);
        let head = path[..end].trim_end_matches(['\\', '/']);
        let head = if head.is_empty() { &path[..end] } else { head };
        Ok(format!("{drive}{head}").into())
    }),
    data("win_splitdrive", "", |call| {
        let text = call.text();
        let (drive, path) = split_drive(&text);
        Ok(Value::list([drive, path]))
    }),
];

/// Returns the directory part as Python's `os.path.dirname` does.
pub(in crate::template) fn dirname(path: &str) -> &str {
    let end = path.rfind('/').map_or(0, |at| at + 1);
    let head = &path[..end];
    let trimmed = head.trim_end_matches('/');
    if trimmed.is_empty() { head } else { trimmed }
}

fn expand_user(call: &Call<'_>) -> String {
    let path = call.text();
    let Some(rest) = path.strip_prefix('~') else {
        return path;
    };
    let (user, tail) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    match call
        .services
        .home(Some(user).filter(|user| !user.is_empty()))
    {
        Some(home) => format!("{}{tail}", home.trim_end_matches('/')),
        None => path,
    }
}

fn expand_vars(call: &Call<'_>) -> String {
    let text = call.text();
    let mut out = String::new();
    let mut rest = &*text;
    while let Some(at) = rest.find('$') {
        out.push_str(&rest[..at]);
        let after = &rest[at + 1..];
        let (name, length) = if let Some(inner) = after.strip_prefix('{') {
            inner
                .find('}')
                .map_or(("", 0), |end| (&inner[..end], end + 2))
        } else {
            let end = after
                .find(|c: char| !(c.is_ascii_alphanumeric() || c == '_'))
                .unwrap_or(after.len());
            (&after[..end], end)
        };
        match call.services.environment(name).filter(|_| !name.is_empty()) {
            Some(value) => out.push_str(&value),
            None => out.push_str(&rest[at..at + 1 + length]),
        }
        rest = &after[length..];
    }
    out.push_str(rest);
    out
}

/// Returns the path without empty parts, `.` and resolvable `..`, as `os.path.normpath` does.
pub(in crate::template) fn normalize(path: &str) -> String {
    if path.is_empty() {
        return ".".into();
    }
    let root = match path {
        path if path.starts_with("//") && !path.starts_with("///") => "//",
        path if path.starts_with('/') => "/",
        _ => "",
    };
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." if parts.last().is_some_and(|last| *last != "..") => {
                parts.pop();
            }
            ".." if !root.is_empty() => {}
            part => parts.push(part),
        }
    }
    let joined = format!("{root}{}", parts.join("/"));
    if joined.is_empty() {
        ".".into()
    } else {
        joined
    }
}

fn relpath(call: &Call<'_>) -> Result<Value, String> {
    let path = call.text();
    if path.is_empty() {
        return Err("no path specified".into());
    }
    let here = || call.services.real_path(".");
    let absolute = |path: &str| {
        if path.starts_with('/') {
            normalize(path)
        } else {
            normalize(&format!("{}/{path}", here()))
        }
    };
    let start = absolute(&call.text_at(0).unwrap_or_else(|| ".".into()));
    let path = absolute(&path);
    let split = |path: &str| -> Vec<String> {
        path.split('/')
            .filter(|part| !part.is_empty())
            .map(str::to_owned)
            .collect()
    };
    let (start, path) = (split(&start), split(&path));
    let shared = start.iter().zip(&path).take_while(|(a, b)| a == b).count();
    let mut parts = vec!["..".to_owned(); start.len() - shared];
    parts.extend_from_slice(&path[shared..]);
    Ok(if parts.is_empty() {
        ".".into()
    } else {
        parts.join("/").into()
    })
}

/// Splits off the extension as `os.path.splitext` does.
fn split_extension(path: &str) -> (&str, &str) {
    let name = path.rfind('/').map_or(0, |at| at + 1);
    let leading = path[name..].len() - path[name..].trim_start_matches('.').len();
    match path[name + leading..].rfind('.') {
        Some(at) => path.split_at(name + leading + at),
        None => (path, ""),
    }
}

/// Joins paths as `os.path.join` does.
pub(in crate::template) fn join<'a>(parts: impl IntoIterator<Item = &'a str>) -> String {
    let mut out = String::new();
    for part in parts {
        if part.starts_with('/') {
            part.clone_into(&mut out);
        } else {
            if !out.is_empty() && !out.ends_with('/') {
                out.push('/');
            }
            out.push_str(part);
        }
    }
    out
}

fn texts(value: &Value) -> Result<Vec<&str>, String> {
    value
        .as_list()
        .unwrap_or_default()
        .iter()
        .map(|part| {
            part.as_str().ok_or_else(|| {
                format!(
                    "join() argument must be str, bytes, or os.PathLike object, not '{}'",
                    part.python_type()
                )
            })
        })
        .collect()
}

fn path_join(call: &Call<'_>) -> Result<Value, String> {
    match &call.input {
        Value::String(text) => Ok(Value::String(text.clone())),
        Value::List(parts) if parts.is_empty() => {
            Err("join() missing 1 required positional argument: 'a'".into())
        }
        list @ Value::List(_) => Ok(join(texts(list)?).into()),
        other => Err(format!(
            "|path_join expects string or sequence, got <class '{}'> instead.",
            other.python_type()
        )),
    }
}

fn commonpath(call: &Call<'_>) -> Result<Value, String> {
    if call.input.as_list().is_none() {
        return Err(format!(
            "|commonpath expects sequence, got <class '{}'> instead.",
            call.input.python_type()
        ));
    }
    let paths = texts(&call.input)?;
    let Some(first) = paths.first() else {
        return Err("commonpath() arg is an empty sequence".into());
    };
    let is_absolute = first.starts_with('/');
    if paths
        .iter()
        .any(|path| path.starts_with('/') != is_absolute)
    {
        return Err("Can't mix absolute and relative paths".into());
    }
    let split = |path: &str| -> Vec<String> {
        path.split('/')
            .filter(|part| !part.is_empty() && *part != ".")
            .map(str::to_owned)
            .collect()
    };
    let mut shared = split(first);
    for path in &paths[1..] {
        let parts = split(path);
        let same = shared
            .iter()
            .zip(&parts)
            .take_while(|(a, b)| a == b)
            .count();
        shared.truncate(same);
    }
    let root = if is_absolute { "/" } else { "" };
    Ok(format!("{root}{}", shared.join("/")).into())
}

fn split_drive(path: &str) -> (&str, &str) {
    let bytes = path.as_bytes();
    if bytes.get(1) == Some(&b':') && path.is_char_boundary(2) {
        return path.split_at(2);
    }
    let slash = |c: char| c == '\\' || c == '/';
    if path.starts_with(slash) && path[1..].starts_with(slash) {
        let server = path[2..].find(slash).map(|at| at + 3);
        let share = server.and_then(|at| path[at..].find(slash).map(|end| at + end));
        return path.split_at(share.unwrap_or(path.len()));
    }
    ("", path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_taken_apart_as_python_does() {
        assert_eq!(dirname("/a/b/"), "/a/b");
        assert_eq!(dirname("/a"), "/");
        assert_eq!(split_extension("/a.b/.c"), ("/a.b/.c", ""));
        assert_eq!(split_extension("x.tar.gz"), ("x.tar", ".gz"));
        assert_eq!(normalize("/a/../../b//c/."), "/b/c");
        assert_eq!(split_drive("C:\\x"), ("C:", "\\x"));
    }
}
