//! `backstay config`: each setting with its value and origin.

use std::io::Write;

use super::arguments::ConfigArgs;
use crate::config::{Config, Origin};
use crate::error::{Error, Result};
use crate::value::{JsonStyle, Map, Value, repr, to_json};

/// Prints the settings as `ansible-config dump` does, or as JSON.
pub(super) fn run(args: &ConfigArgs, config: &Config, out: &mut dyn Write) -> Result<()> {
    check_names(&args.names, config)?;
    let shown = config.iter().filter(|(name, _, origin)| {
        (args.names.is_empty() || args.names.iter().any(|wanted| wanted == name))
            && !(args.only_changed && **origin == Origin::Default)
    });
    let text = if args.json { json(shown) } else { lines(shown) };
    out.write_all(text.as_bytes()).map_err(super::cannot_print)
}

fn check_names(names: &[String], config: &Config) -> Result<()> {
    match names.iter().find(|name| config.get(name).is_none()) {
        Some(name) => Err(Error::usage(format!("there is no setting `{name}`"))
            .suggest(name, config.iter().map(|(known, ..)| known))),
        None => Ok(()),
    }
}

fn lines<'a>(settings: impl Iterator<Item = (&'static str, &'a Value, &'a Origin)>) -> String {
    let mut lines = String::new();
    for (name, value, origin) in settings {
        let text = value.as_str().map_or_else(|| repr(value), str::to_owned);
        lines += &format!("{name}({origin}) = {text}\n");
    }
    lines
}

fn json<'a>(settings: impl Iterator<Item = (&'static str, &'a Value, &'a Origin)>) -> String {
    let listed = settings.map(|(name, value, origin)| {
        Value::from(Map::from_iter([
            ("name".into(), name.into()),
            ("value".into(), value.clone()),
            ("origin".into(), origin.to_string().into()),
        ]))
    });
    let style = JsonStyle {
        indent: Some(4),
        sort_keys: false,
        ensure_ascii: false,
    };
    to_json(&Value::list(listed), style) + "\n"
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Surroundings;

    fn shown(args: &ConfigArgs) -> Result<String> {
        let surroundings = Surroundings {
            environment: [("ANSIBLE_FORKS".to_owned(), "9".to_owned())].into(),
            working_directory: "/nonexistent".into(),
            home: "/nonexistent".into(),
        };
        let config = Config::load(&surroundings).unwrap();
        let mut out = Vec::new();
        run(args, &config, &mut out)?;
        Ok(String::from_utf8(out).unwrap())
    }

    #[test]
    fn a_changed_setting_names_the_variable_that_changed_it() {
        let args = ConfigArgs {
            only_changed: true,
            names: Vec::new(),
            json: false,
        };
        assert_eq!(
            shown(&args).unwrap(),
            "DEFAULT_FORKS(env: ANSIBLE_FORKS) = 9\n"
        );
    }

    #[test]
    fn an_unknown_setting_is_an_error_with_the_nearest_name() {
        let names = vec!["DEFAULT_FORK".to_owned()];
        let error = shown(&ConfigArgs {
            only_changed: false,
            names,
            json: false,
        })
        .unwrap_err();
        assert_eq!(error.message, "there is no setting `DEFAULT_FORK`");
        assert_eq!(error.help.as_deref(), Some("did you mean `DEFAULT_FORKS`?"));
    }
}
