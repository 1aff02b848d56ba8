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
            Ok(text) => parse(&text).unwrap_or_else(|| {
                let message = format!(
                    "error loading facts as JSON or ini - please check content: {}",
                    path.display()
                );
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

fn parse(text: &str) -> Option<Value> {
    if let Ok(value) = serde_json::from_str(text) {
        return Some(value);
    }
    let mut ini = Ini::new();
    ini.set_multiline(true);
    let sections = ini.read(text.to_owned()).ok()?;
    // Text before the first section is no INI in Python's eyes.
    if sections.contains_key("default") || sections.is_empty() {
        return None;
    }
    Some(Value::map(sections.into_iter().map(|(section, keys)| {
        (
            section,
            Value::map(
                keys.into_iter()
                    .map(|(key, value)| (key, Value::from(value))),
            ),
        )
    })))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fact_file_is_json_or_ini_and_nothing_else() {
        assert_eq!(parse("[1]"), Some(Value::list([1])));
        assert_eq!(
            parse("[web]\nPort = 80\n"),
            Some(Value::map([("web", Value::map([("port", "80")]))]))
        );
        assert_eq!(parse("just text"), None);
    }
}
