//! Lookups in tables of text: `csvfile` and `ini`.

use configparser::ini::{Ini, IniDefault};

use super::{Found, Options, World};
use crate::pyregex::{Flags, Pattern};
use crate::template::{LookupCall, LookupError};
use crate::value::Value;

/// Splits a term of the old form `key name=value name=value`.
fn inline(term: &str) -> (String, Vec<(String, String)>) {
    let mut key = Vec::new();
    let mut options = Vec::new();
    let mut quote = None;
    let words = term.split(|letter: char| {
        match (quote, letter) {
            (None, '"' | '\'') => quote = Some(letter),
            (Some(open), letter) if open == letter => quote = None,
            _ => {}
        }
        quote.is_none() && letter.is_whitespace()
    });
    for word in words.filter(|word| !word.is_empty()) {
        match word.split_once('=') {
            Some((name, value)) => options.push((name.to_owned(), unquoted(value).to_owned())),
            None => key.push(word),
        }
    }
    (key.join(" "), options)
}

fn unquoted(text: &str) -> &str {
    ['"', '\'']
        .iter()
        .find_map(|quote| text.strip_prefix(*quote)?.strip_suffix(*quote))
        .unwrap_or(text)
}

fn search(world: &World, name: &str) -> Result<String, LookupError> {
    let path = world.find(Some("files"), name).ok_or_else(|| {
        format!("Unable to find '{name}' in expected paths (use -vvvvv to see paths)")
    })?;
    Ok(world.read_text(&path)?)
}

pub(super) fn csvfile(world: &World, call: &LookupCall<'_>) -> Found {
    let known = ["col", "keycol", "default", "delimiter", "file", "encoding"];
    let options = Options::new(call, &known)?;
    if call.terms.is_empty() {
        return Err("Search key is required but was not found".into());
    }
    let mut found = Vec::new();
    for term in &call.terms {
        let (key, overrides) = inline(&term.to_string());
        if key.is_empty() {
            return Err("Search key is required but was not found".into());
        }
        if let Some((name, _)) = overrides.iter().find(|(name, _)| !known.contains(&&**name)) {
            return Err(format!("'{name}' is not a valid option").into());
        }
        let option = |name: &str| {
            let inline = overrides.iter().find(|(known, _)| known == name);
            inline
                .map(|(_, value)| value.clone())
                .or_else(|| options.text(name))
        };
        let column = |name: &str, default: usize| {
            match option(name) {
            None => Ok(default),
            Some(text) => text.parse().map_err(|_| {
                LookupError::Failed(format!(
                    "Config '{name}' for 'csvfile' lookup plugin from 'Direct' has an invalid value: Invalid value provided for 'int': '{text}'"
                ))
            }),
        }
        };
        let delimiter = match option("delimiter").as_deref() {
            None | Some("TAB" | "\\t") => '\t',
            Some(text) => text.chars().next().unwrap_or('\t'),
        };
        let name = option("file").unwrap_or_else(|| "ansible.csv".into());
        let text = search(world, &name).map_err(|error| match error {
            LookupError::Failed(why) => {
                LookupError::Failed(format!("No such file or directory: {why}"))
            }
            other @ LookupError::Template(_) => other,
        })?;
        let (key_column, value_column) = (column("keycol", 0)?, column("col", 1)?);
        let row = rows(&text, delimiter)
            .into_iter()
            .find(|row| row.get(key_column) == Some(&key));
        match row {
            Some(row) => found.push(
                row.get(value_column)
                    .ok_or_else(|| LookupError::Failed("list index out of range".into()))?
                    .as_str()
                    .into(),
            ),
            None => match options.get("default") {
                Some(Value::List(items)) if !named(&overrides, "default") => {
                    found.extend(items.iter().cloned());
                }
                _ => found.extend(option("default").map(Value::from)),
            },
        }
    }
    Ok(found)
}

fn named(overrides: &[(String, String)], name: &str) -> bool {
    overrides.iter().any(|(known, _)| known == name)
}

/// Reads rows as Python's `csv` module reads its excel dialect.
fn rows(text: &str, delimiter: char) -> Vec<Vec<String>> {
    let mut rows = Vec::new();
    let mut row = vec![String::new()];
    let mut quoted = false;
    let mut characters = text.chars().peekable();
    while let Some(character) = characters.next() {
        let field = row.last_mut().expect("a row always has a field");
        match character {
            '"' if quoted && characters.peek() == Some(&'"') => {
                field.push('"');
                characters.next();
            }
            '"' if quoted => quoted = false,
            '"' if field.is_empty() => quoted = true,
            c if quoted => field.push(c),
            c if c == delimiter => row.push(String::new()),
            '\r' => {}
            '\n' => rows.push(std::mem::replace(&mut row, vec![String::new()])),
            c => field.push(c),
        }
    }
    if row.len() > 1 || !row[0].is_empty() {
        rows.push(row);
    }
    rows
}

pub(super) fn ini(world: &World, call: &LookupCall<'_>) -> Found {
    let known = [
        "type",
        "file",
        "section",
        "re",
        "encoding",
        "default",
        "case_sensitive",
        "allow_no_value",
        "allow_none",
        "interpolation",
    ];
    let options = Options::new(call, &known)?;
    let mut found = Vec::new();
    for term in &call.terms {
        let (key, overrides) = inline(&term.to_string());
        if let Some((name, _)) = overrides.iter().find(|(name, _)| !known.contains(&&**name)) {
            return Err(format!("'{name}' is not a valid option.").into());
        }
        let option = |name: &str| {
            let inline = overrides.iter().find(|(known, _)| known == name);
            inline
                .map(|(_, value)| value.clone())
                .or_else(|| options.text(name))
        };
        let flag = |name: &str| {
            option(name)
                .and_then(|text| Value::from(text).to_soft_bool())
                .unwrap_or(false)
        };
        let name = option("file").unwrap_or_else(|| "ansible.ini".into());
        let mut text = search(world, &name)?;
        let mut section = option("section").unwrap_or_else(|| "global".into());
        if option("type").as_deref() == Some("properties") {
            section = "java_properties".into();
            text.insert_str(0, "[java_properties]\n");
        }
        let pairs = section_pairs(&text, &section, flag("case_sensitive"))?
            .ok_or_else(|| format!("No section '{section}' in '{name}'."))?;
        if flag("re") {
            let pattern =
                Pattern::text(&key, Flags::default()).map_err(|error| error.to_string())?;
            for (name, value) in pairs {
                if matches!(pattern.match_start(&*name), Ok(Some(_))) {
                    found.push(value.into());
                }
            }
            continue;
        }
        let wanted = if flag("case_sensitive") {
            key
        } else {
            key.to_lowercase()
        };
        match pairs.into_iter().find(|(name, _)| *name == wanted) {
            Some((_, Some(value))) => found.push(value.into()),
            Some((_, None)) => {}
            None => found.push(option("default").unwrap_or_default().into()),
        }
    }
    Ok(found)
}

type Pairs = Vec<(String, Option<String>)>;

/// Returns the pairs of a section, those of `DEFAULT` under them, or `None` without the section.
fn section_pairs(text: &str, section: &str, case_sensitive: bool) -> Result<Option<Pairs>, String> {
    let mut defaults = IniDefault::default();
    defaults.default_section = "DEFAULT".into();
    defaults.comment_symbols = vec!['#', ';'];
    defaults.inline_comment_symbols = Some(Vec::new());
    defaults.delimiters = vec!['=', ':'];
    defaults.case_sensitive = true;
    defaults.multiline = true;
    let mut file = Ini::new_from_defaults(defaults);
    let sections = file.read(text.to_owned())?;
    let Some(found) = sections.get(section) else {
        return Ok(None);
    };
    let fold = |name: &str| {
        if case_sensitive {
            name.to_owned()
        } else {
            name.to_lowercase()
        }
    };
    let mut pairs: Pairs = found
        .iter()
        .map(|(name, value)| (fold(name), value.clone()))
        .collect();
    if let Some(defaults) = sections.get("DEFAULT") {
        for (name, value) in defaults {
            let name = fold(name);
            if !pairs.iter().any(|(known, _)| *known == name) {
                pairs.push((name, value.clone()));
            }
        }
    }
    Ok(Some(pairs))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_within_a_term_may_be_quoted() {
        let option = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        assert_eq!(
            inline("red fruit delimiter=\"\t\" file='a b.csv' col=1"),
            (
                "red fruit".to_owned(),
                vec![
                    option("delimiter", "\t"),
                    option("file", "a b.csv"),
                    option("col", "1"),
                ]
            )
        );
    }

    #[test]
    fn quoted_fields_keep_delimiters_and_quotes() {
        assert_eq!(
            rows("a,\"b,\"\"c\"\"\"\r\nd,e", ','),
            [["a", "b,\"c\""], ["d", "e"]]
        );
    }

    #[test]
    fn a_section_has_its_pairs_and_the_defaults() {
        let text = "[DEFAULT]\nx = 1\n[web]\nPort: 80\nname = a b ; c\n";
        let pairs = section_pairs(text, "web", false).unwrap().unwrap();
        let get = |name: &str| {
            pairs
                .iter()
                .find(|(known, _)| known == name)
                .and_then(|(_, value)| value.clone())
        };
        assert_eq!(get("port").as_deref(), Some("80"));
        assert_eq!(get("name").as_deref(), Some("a b ; c"));
        assert_eq!(get("x").as_deref(), Some("1"));
        assert_eq!(section_pairs(text, "db", false), Ok(None));
    }
}
