//! Local facts: what the target's administrator keeps in `facts.d`.

use std::path::PathBuf;

use configparser::ini::Ini;

use super::Gathering;
use crate::machine::Command;
use crate::value::{Map, Value};

/// Gathers every `*.fact` file: run when it is executable, read otherwise; JSON or INI.
pub(super) fn gather(to: &mut Gathering<'_>) {
    let directory = to.machine.expand(&to.args.fact_path);
    let mut local = Map::new();
    let mut names = to.names(&directory.to_string_lossy());
    names.retain(|name| name.ends_with(".fact"));
    names.sort();
    for name in names {
        let path = directory.join(&name);
        let value = match content(to, &path) {
            Ok(text) => parse(&text).unwrap_or_else(|why| {
                let message = match why {
                    Unparsed::Neither => format!(
                        "error loading facts as JSON or ini - please check content: {}",
                        path.display()
                    ),
                    Unparsed::Interpolation(why) => format!(
                        "error loading facts as ini - please check content: {} ({why})",
                        path.display()
                    ),
                };
                to.warnings.push(message.clone());
                message.into()
            }),
            Err(why) => {
                to.warnings.push(why.clone());
                why.into()
            }
        };
        local.insert(name.trim_end_matches(".fact").into(), value);
    }
    to.set("local", local);
}

fn content(to: &mut Gathering<'_>, path: &PathBuf) -> Result<String, String> {
    let shown = path.display();
    let Ok(Some(found)) = to.machine.metadata(path) else {
        return Err(format!("Could not stat fact ({shown})"));
    };
    if found.mode & 0o111 == 0 {
        return to
            .machine
            .read(path)
            .map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
            .map_err(|error| format!("Failed to read fact file ({shown}): {error}"));
    }
    match to.machine.query(&Command::new([path])) {
        Ok(output) if output.success() => Ok(output.stdout_text()),
        Ok(output) => Err(format!(
            "Failure executing fact script ({shown}), rc: {}, err: {}",
            output.status,
            output.stderr_text()
        )),
        Err(error) => Err(format!("Could not execute fact script ({shown}): {error}")),
    }
}

/// Why a fact file holds no facts.
#[derive(Debug, PartialEq, Eq)]
enum Unparsed {
    Neither,
    /// A value is not written as Python's `ConfigParser` wants it.
    Interpolation(String),
}

fn parse(text: &str) -> Result<Value, Unparsed> {
    if let Ok(value) = serde_json::from_str(text) {
        return Ok(value);
    }
    let mut ini = Ini::new();
    ini.set_multiline(true);
    let sections = ini.read(text.to_owned()).map_err(|_| Unparsed::Neither)?;
    // Text before the first section is no INI in Python's eyes.
    if sections.contains_key("default") || sections.is_empty() {
        return Err(Unparsed::Neither);
    }
    let mut facts = Map::new();
    for (section, keys) in sections {
        let mut values = Map::new();
        for (key, value) in &keys {
            let value = match value {
                Some(text) => interpolated(text, &|name| keys.get(name).cloned().flatten(), 0)
                    .map_err(Unparsed::Interpolation)?
                    .into(),
                None => Value::Null,
            };
            values.insert(key.as_str().into(), value);
        }
        facts.insert(section.into(), values.into());
    }
    Ok(facts.into())
}

/// How deep values may refer to each other, as in Python.
const MOST_DEPTH: usize = 10;

/// Replaces `%%` and `%(name)s` as Python's `ConfigParser` does.
fn interpolated(
    text: &str,
    find: &dyn Fn(&str) -> Option<String>,
    depth: usize,
) -> Result<String, String> {
    let mut out = String::new();
    let mut rest = text;
    while let Some(at) = rest.find('%') {
        out.push_str(&rest[..at]);
        rest = &rest[at..];
        if let Some(after) = rest.strip_prefix("%%") {
            out.push('%');
            rest = after;
            continue;
        }
        let Some(inner) = rest.strip_prefix("%(") else {
            return Err(format!(
                "'%' must be followed by '%' or '(', found: '{rest}'"
            ));
        };
        let Some((name, after)) = inner.split_once(")s") else {
            return Err(format!("bad interpolation variable reference '{rest}'"));
        };
        let found = find(&name.to_lowercase())
            .filter(|_| depth < MOST_DEPTH)
            .ok_or_else(|| format!("Bad value substitution: no value for '{name}'"))?;
        out.push_str(&interpolated(&found, find, depth + 1)?);
        rest = after;
    }
    out.push_str(rest);
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fact_file_is_json_or_ini_and_nothing_else() {
        assert_eq!(parse("[1]"), Ok(Value::list([1])));
        assert_eq!(
            parse("[web]\nPort = 80\n"),
            Ok(Value::map([("web", Value::map([("port", "80")]))]))
        );
        assert_eq!(parse("just text"), Err(Unparsed::Neither));
    }

    #[test]
    fn a_percent_sign_in_an_ini_fact_refers_to_another_value_as_in_python() {
        assert_eq!(
            parse("[a]\nroot = /srv\nrate = 5%%\nlog = %(root)s/log\n"),
            Ok(Value::map([(
                "a",
                Value::map([("root", "/srv"), ("rate", "5%"), ("log", "/srv/log")])
            )]))
        );
        assert_eq!(
            parse("[a]\nvalue = this is a % bad % fact\n"),
            Err(Unparsed::Interpolation(
                "'%' must be followed by '%' or '(', found: '% bad % fact'".into()
            ))
        );
    }
}
