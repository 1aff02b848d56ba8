//! The file that lists runners: their names and roles, what they may deploy, who knows their health.

use std::path::Path;

use crate::error::{Error, Result};
use crate::value::Value;
use crate::yaml;

/// The runners of a repository.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Runners {
    pub(super) all: Vec<Runner>,
    /// The address of a Prometheus that scrapes their exporters.
    pub(super) prometheus: Option<String>,
}

/// One runner.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Runner {
    pub(super) name: String,
    pub(super) role: Role,
    /// The environments it is authorised for.
    pub(super) environments: Vec<String>,
    /// The address of its metrics.
    pub(super) exporter: Option<String>,
}

/// Which runner deploys first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum Role {
    /// It deploys while it is healthy
    Primary,
    /// It deploys when the primary is not
    Secondary,
}

impl Role {
    /// Returns the word of the file and the labels.
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Primary => "primary",
            Self::Secondary => "secondary",
        }
    }
}

impl Runners {
    /// Reads the file.
    pub(super) fn load(path: &Path) -> Result<Self> {
        let text = std::fs::read_to_string(path).map_err(|error| {
            Error::missing(format!("the file `{}` cannot be read", path.display()))
                .caused_by(error)
                .help("list the runners there: docs/runners.md")
        })?;
        Self::parse(&text)
    }

    fn parse(text: &str) -> Result<Self> {
        let root = yaml::parse_data(text)
            .map_err(|error| Error::content("the list of runners is no YAML").caused_by(error))?;
        known_keys(&root, &["runners", "prometheus"], "the file")?;
        let list = root
            .get("runners")
            .and_then(Value::as_list)
            .ok_or_else(|| Error::content("the file has no list `runners`"))?;
        Ok(Self {
            all: list.iter().map(runner).collect::<Result<_>>()?,
            prometheus: text_of(&root, "prometheus"),
        })
    }

    /// Returns the runner of a name.
    pub(super) fn named(&self, name: &str) -> Option<&Runner> {
        self.all.iter().find(|runner| runner.name == name)
    }
}

fn runner(entry: &Value) -> Result<Runner> {
    known_keys(
        entry,
        &["name", "role", "environments", "exporter"],
        "a runner",
    )?;
    let name = text_of(entry, "name").ok_or_else(|| Error::content("a runner has no `name`"))?;
    let role = match text_of(entry, "role").as_deref() {
        Some("primary") => Role::Primary,
        Some("secondary") => Role::Secondary,
        _ => {
            let message = format!("the runner `{name}` has no role");
            return Err(Error::content(message).help("say `role: primary` or `role: secondary`"));
        }
    };
    let environments = entry.get("environments").and_then(Value::as_list);
    Ok(Runner {
        name,
        role,
        environments: environments
            .into_iter()
            .flatten()
            .map(ToString::to_string)
            .collect(),
        exporter: text_of(entry, "exporter"),
    })
}

fn text_of(entry: &Value, key: &str) -> Option<String> {
    entry.get(key).and_then(Value::as_str).map(str::to_owned)
}

fn known_keys(entry: &Value, known: &[&str], what: &str) -> Result<()> {
    for (key, _) in entry.as_map().into_iter().flatten() {
        let key = key.to_string();
        if !known.contains(&key.as_str()) {
            let error = Error::content(format!("{what} has no `{key}`"));
            return Err(error.suggest(&key, known.iter().copied()));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_runner_needs_a_role_and_a_misspelt_key_is_told() {
        let error = Runners::parse("runners: [{name: a}]").unwrap_err();
        assert_eq!(error.message, "the runner `a` has no role");
        let error = Runners::parse("runners: [{name: a, rol: primary}]").unwrap_err();
        assert_eq!(error.help.as_deref(), Some("did you mean `role`?"));
    }
}
