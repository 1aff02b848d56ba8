//! `--extra-vars`: `key=value` words, YAML or JSON, or `@FILE`.

use std::path::Path;
use std::sync::Arc;

use crate::error::{Error, Result};
use crate::node::Node;
use crate::playbook::{Files, Vars, key_values, variables_in};
use crate::source::{Mark, SourceFile};
use crate::yaml::{self, ReadOptions};

/// Reads all `--extra-vars`; of two values for one name the last wins.
pub(super) fn read(
    given: &[String],
    files: &dyn Files,
    directory: &Path,
) -> Result<Arc<Vars>, Vec<Error>> {
    let mut variables = Vars::new();
    for text in given {
        variables.extend(read_one(text, files, directory)?);
    }
    Ok(Arc::new(variables))
}

fn read_one(text: &str, files: &dyn Files, directory: &Path) -> Result<Vars, Vec<Error>> {
    if let Some(name) = text.strip_prefix('@') {
        let file = files
            .read(&directory.join(name))
            .map_err(|error| vec![error])?;
        return variables_in(&file, ReadOptions::default());
    }
    let file = SourceFile::new("<command line: --extra-vars>", text);
    let mark = Mark::start_of(&file);
    match text.trim_start().chars().next() {
        None => Ok(Vars::new()),
        Some('/' | '.') => Err(vec![
            Error::usage(format!(
                "`{text}` looks like a file, but `--extra-vars` would take it as variables"
            ))
            .help(format!("write `--extra-vars @{text}` to read the file")),
        ]),
        Some('{' | '[') => {
            yaml::parse(&file)?;
            variables_in(&file, ReadOptions::default())
        }
        Some(_) => Ok(words(text, &mark)?),
    }
}

fn words(text: &str, mark: &Mark) -> Result<Vars, Vec<Error>> {
    let parsed = key_values(text, false).ok_or_else(|| {
        vec![Error::usage("the quotes of `--extra-vars` are not balanced").at(mark)]
    })?;
    if let Some(rest) = parsed.rest.filter(|rest| !rest.trim().is_empty()) {
        return Err(vec![
            Error::usage(format!("`{rest}` in `--extra-vars` is not `key=value`"))
                .at(mark)
                .help("write `key=value`, YAML or JSON in braces, or `@FILE`"),
        ]);
    }
    Ok(parsed
        .options
        .into_iter()
        .map(|(name, value)| (name.into(), Node::text(mark.clone(), value)))
        .collect())
}

#[cfg(test)]
mod tests {
    use super::super::files::ControllerFiles;
    use super::*;

    fn values(given: &[&str]) -> Result<String, String> {
        let files = ControllerFiles::new(Arc::default());
        let given: Vec<_> = given.iter().map(|text| (*text).to_owned()).collect();
        read(&given, &files, Path::new("/"))
            .map(|vars| {
                let shown = vars
                    .iter()
                    .map(|(name, node)| format!("{name}={}", node.to_value()));
                shown.collect::<Vec<_>>().join(" ")
            })
            .map_err(|errors| errors[0].message.clone())
    }

    #[test]
    fn words_are_text_and_yaml_keeps_its_types() {
        assert_eq!(
            values(&["a=1 b='x y'", "{c: true, a: 2}"]).unwrap(),
            "a=2 b=x y c=True"
        );
    }

    #[test]
    fn what_is_no_variable_is_named() {
        assert_eq!(
            values(&["oops"]).unwrap_err(),
            "`oops` in `--extra-vars` is not `key=value`"
        );
        assert_eq!(
            values(&["./vars.yml"]).unwrap_err(),
            "`./vars.yml` looks like a file, but `--extra-vars` would take it as variables"
        );
    }
}
