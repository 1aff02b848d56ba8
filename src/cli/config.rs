//! `backstay config`: the settings as `ansible-config` lists, dumps, writes and checks them.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::path::PathBuf;

use super::arguments::{
    ChosenSettings, ConfigAction, ConfigArgs, DumpFormat, InitFormat, ListFormat, SettingGroup,
    ValidateFormat,
};
use crate::config::{Config, Origin, SETTINGS, Setting, SettingType, Surroundings};
use crate::error::{EXIT_OK, EXIT_SETTINGS, Error, Result};
use crate::template::quote;
use crate::value::{JsonStyle, Map, Value, repr, to_json};
use crate::yaml::{YamlStyle, to_yaml};

/// Returns the configuration file that the command line names.
pub(super) fn named_file(
    args: &ConfigArgs,
    surroundings: &Surroundings,
) -> Result<Option<PathBuf>, Vec<Error>> {
    let Some(named) = &args.chosen().config_file else {
        return Ok(None);
    };
    let path = surroundings.working_directory.join(named);
    if path.is_file() {
        return Ok(Some(path));
    }
    let shown = path.display();
    Err(vec![Error::usage(format!(
        "there is no configuration file `{shown}`"
    ))])
}

/// Does what was asked and returns the exit code.
pub(super) fn run(
    args: &ConfigArgs,
    config: &Config,
    surroundings: &Surroundings,
    heading: &str,
    out: &mut dyn Write,
) -> Result<u8, Vec<Error>> {
    let text = match &args.action {
        ConfigAction::List { chosen, format } => listed(chosen, *format),
        ConfigAction::Dump {
            chosen,
            only_changed,
            format,
        } => dumped(chosen, *only_changed, *format, config),
        ConfigAction::View { .. } => match config_text(config)? {
            Some(text) => text,
            None => {
                super::fail(&[Error::usage("there is no configuration file")], heading);
                return Ok(EXIT_SETTINGS);
            }
        },
        ConfigAction::Init {
            chosen,
            format,
            disabled,
        } => initial(chosen, *format, *disabled),
        ConfigAction::Validate { format, .. } => {
            validate(*format, config, surroundings)?;
            "All configurations seem valid!\n".into()
        }
    };
    out.write_all(text.as_bytes())
        .map_err(|error| vec![super::cannot_print(error)])?;
    Ok(EXIT_OK)
}

impl ConfigArgs {
    fn chosen(&self) -> &ChosenSettings {
        match &self.action {
            ConfigAction::List { chosen, .. }
            | ConfigAction::Dump { chosen, .. }
            | ConfigAction::View { chosen }
            | ConfigAction::Init { chosen, .. }
            | ConfigAction::Validate { chosen, .. } => chosen,
        }
    }
}

/// The settings of one plugin, under its type and name.
type PluginSettings = BTreeMap<(&'static str, &'static str), Vec<(&'static str, &'static Setting)>>;

impl ChosenSettings {
    /// Returns the base settings that are asked for.
    fn base(&self) -> impl Iterator<Item = &'static Setting> {
        let is_wanted = matches!(self.group, SettingGroup::Base | SettingGroup::All);
        SETTINGS
            .iter()
            .filter(move |setting| is_wanted && setting.plugin().is_none())
    }

    /// Returns the options of plugins that are asked for.
    fn of_plugins(&self) -> PluginSettings {
        let mut found = PluginSettings::new();
        for setting in SETTINGS {
            let Some((plugin_type, plugin, option)) = setting.plugin() else {
                continue;
            };
            let is_named =
                self.plugins.is_empty() || self.plugins.iter().any(|name| name == plugin);
            if is_named && self.group.has(plugin_type) {
                let options = found.entry((plugin_type, plugin)).or_default();
                options.push((option, setting));
            }
        }
        found
    }
}

impl SettingGroup {
    fn has(self, plugin_type: &str) -> bool {
        match self {
            Self::All => true,
            Self::Become => plugin_type == "become",
            Self::Callback => plugin_type == "callback",
            Self::Connection => plugin_type == "connection",
            _ => false,
        }
    }
}

fn map<const N: usize>(pairs: [(&str, Value); N]) -> Value {
    Value::from(Map::from_iter(
        pairs.map(|(name, value)| (name.into(), value)),
    ))
}

fn as_json(value: &Value) -> String {
    let style = JsonStyle {
        indent: Some(4),
        sort_keys: true,
        ensure_ascii: false,
    };
    to_json(value, style) + "\n"
}

fn as_yaml(value: &Value) -> String {
    to_yaml(
        value,
        &YamlStyle {
            default_flow_style: Some(false),
            ..YamlStyle::default()
        },
    )
}

/// Shows what is known of each setting.
fn listed(chosen: &ChosenSettings, format: ListFormat) -> String {
    let mut all: Map = chosen
        .base()
        .map(|setting| (setting.name.into(), described(setting)))
        .collect();
    let mut plugins: BTreeMap<&str, Map> = BTreeMap::new();
    for ((plugin_type, plugin), options) in chosen.of_plugins() {
        let options: Map = options
            .into_iter()
            .map(|(option, setting)| (option.into(), described(setting)))
            .collect();
        let of_type = plugins.entry(plugin_type).or_default();
        of_type.insert(plugin.into(), options.into());
    }
    if chosen.group != SettingGroup::Base {
        let plugins: Map = plugins
            .into_iter()
            .map(|(plugin_type, of_type)| (plugin_type.into(), of_type.into()))
            .collect();
        all.insert("PLUGINS".into(), plugins.into());
    }
    match format {
        ListFormat::Json => as_json(&all.into()),
        ListFormat::Yaml => as_yaml(&all.into()),
    }
}

fn described(setting: &Setting) -> Value {
    let environment = setting
        .environment
        .iter()
        .map(|name| map([("name", (*name).into())]));
    let keys = setting
        .keys
        .iter()
        .map(|(section, key)| map([("key", (*key).into()), ("section", (*section).into())]));
    map([
        ("default", default_of(setting)),
        ("env", Value::list(environment)),
        ("ini", Value::list(keys)),
        ("type", type_name(setting.setting_type).into()),
    ])
}

/// Returns a setting's default in its type, with paths as they are written.
fn default_of(setting: &Setting) -> Value {
    let Some(text) = setting.default else {
        return Value::Null;
    };
    let parsed = |text: &str| serde_json::from_str(text).ok();
    let split = |at: char| text.split(at).filter(|part| !part.is_empty());
    match setting.setting_type {
        SettingType::Boolean
        | SettingType::Integer
        | SettingType::Float
        | SettingType::Dictionary => parsed(text).unwrap_or_else(|| text.into()),
        SettingType::List => Value::list(split(',').map(Value::from)),
        SettingType::PathList => Value::list(split(':').map(Value::from)),
        SettingType::Text | SettingType::Path => text.into(),
    }
}

fn type_name(setting_type: SettingType) -> &'static str {
    match setting_type {
        SettingType::Text => "string",
        SettingType::Boolean => "boolean",
        SettingType::Integer => "integer",
        SettingType::Float => "float",
        SettingType::List => "list",
        SettingType::Dictionary => "dict",
        SettingType::Path => "path",
        SettingType::PathList => "pathlist",
    }
}

/// Shows each setting with its value and origin.
fn dumped(
    chosen: &ChosenSettings,
    only_changed: bool,
    format: DumpFormat,
    config: &Config,
) -> String {
    let resolved = |setting: &Setting| {
        let (value, origin) = config
            .get(setting.name)
            .expect("every setting has been read");
        (!only_changed || *origin != Origin::Default).then(|| (origin.to_string(), value.clone()))
    };
    let is_base = matches!(chosen.group, SettingGroup::Base | SettingGroup::All);
    let mut base: Vec<_> = chosen
        .base()
        .filter_map(|setting| {
            let (origin, value) = resolved(setting)?;
            Some((setting.name, origin, value))
        })
        .collect();
    if is_base {
        let file = config.file.as_ref();
        let file = file.map_or(Value::Null, |path| path.display().to_string().into());
        base.push(("CONFIG_FILE", String::new(), file));
        base.sort_by_key(|(name, ..)| *name);
    }
    let plugins = chosen
        .of_plugins()
        .into_iter()
        .filter_map(|(plugin, options)| {
            let options: Vec<_> = options
                .into_iter()
                .filter_map(|(option, setting)| {
                    let (origin, value) = resolved(setting)?;
                    Some((option, origin, value))
                })
                .collect();
            (!options.is_empty()).then_some((plugin, options))
        });
    if format == DumpFormat::Display {
        return displayed(&base, is_base, plugins);
    }
    let entry = |(name, origin, value): (&str, String, Value)| {
        map([
            ("name", name.into()),
            ("origin", origin.into()),
            ("value", value),
        ])
    };
    let mut all: Vec<Value> = base.into_iter().map(entry).collect();
    if is_base {
        all.push(map([("GALAXY_SERVERS", Map::new().into())]));
    }
    let mut types: BTreeMap<&str, Vec<Value>> = BTreeMap::new();
    for ((plugin_type, plugin), options) in plugins {
        let options = Value::list(options.into_iter().map(entry));
        let of_type = types.entry(plugin_type).or_default();
        of_type.push(map([(plugin, options)]));
    }
    for (plugin_type, of_type) in types {
        if is_base {
            all.push(map([(&plugin_type.to_uppercase(), Value::from(of_type))]));
        } else {
            all.extend(of_type);
        }
    }
    match format {
        DumpFormat::Json => as_json(&all.into()),
        _ => as_yaml(&all.into()),
    }
}

type Shown = (&'static str, String, Value);

fn displayed(
    base: &[Shown],
    is_base: bool,
    plugins: impl Iterator<Item = ((&'static str, &'static str), Vec<Shown>)>,
) -> String {
    let mut text = lines(base);
    if is_base {
        text += "\nGALAXY_SERVERS:\n";
    }
    let mut current = "";
    for ((plugin_type, plugin), options) in plugins {
        if is_base && plugin_type != current {
            text += &format!(
                "\n{}:\n{}\n",
                plugin_type.to_uppercase(),
                "=".repeat(plugin_type.len())
            );
            current = plugin_type;
        }
        text += &format!(
            "\n{plugin}:\n{}\n{}",
            "_".repeat(plugin.len()),
            lines(&options)
        );
    }
    text
}

fn lines(settings: &[Shown]) -> String {
    let mut lines = String::new();
    for (name, origin, value) in settings {
        let text = value.as_str().map_or_else(|| repr(value), str::to_owned);
        lines += &format!("{name}({origin}) = {text}\n");
    }
    lines
}

/// Returns the text of the configuration file in force.
fn config_text(config: &Config) -> Result<Option<String>, Vec<Error>> {
    let Some(path) = &config.file else {
        return Ok(None);
    };
    std::fs::read_to_string(path).map(Some).map_err(|error| {
        let shown = path.display();
        let why = format!("the configuration file `{shown}` cannot be read");
        vec![Error::usage(why).caused_by(error)]
    })
}

/// Returns a configuration with every setting at its default.
fn initial(chosen: &ChosenSettings, format: InitFormat, disabled: bool) -> String {
    let settings = chosen.base().chain(
        chosen
            .of_plugins()
            .into_values()
            .flatten()
            .map(|(_, setting)| setting),
    );
    let settings = settings.filter(|setting| !setting.name.starts_with('_'));
    match format {
        InitFormat::Env => {
            let comment = if disabled { "#" } else { "" };
            settings
                .filter_map(|setting| {
                    let variable = setting.environment.last()?;
                    let default = setting.default.unwrap_or_default();
                    let kind = type_name(setting.setting_type);
                    Some(format!(
                        "# {}({kind})\n{comment}{variable}={}\n\n",
                        setting.name,
                        quote(default)
                    ))
                })
                .collect()
        }
        InitFormat::Ini => {
            let comment = if disabled { ";" } else { "" };
            let mut sections: Vec<(&str, String)> = Vec::new();
            for setting in settings {
                let Some((section, key)) = setting.keys.last() else {
                    continue;
                };
                let kind = type_name(setting.setting_type);
                let default = setting.default.unwrap_or_default();
                let entry = format!("# ({kind}) {}\n{comment}{key}={default}\n\n", setting.name);
                match sections.iter_mut().find(|(name, _)| name == section) {
                    Some((_, entries)) => *entries += &entry,
                    None => sections.push((section, entry)),
                }
            }
            let told = |(section, entries)| format!("[{section}]\n{entries}\n");
            sections.into_iter().map(told).collect::<Vec<_>>().concat()
        }
    }
}

/// Fails with every name that no setting has.
fn validate(
    format: ValidateFormat,
    config: &Config,
    surroundings: &Surroundings,
) -> Result<(), Vec<Error>> {
    let errors = match format {
        ValidateFormat::Ini => match &config.file {
            Some(path) => Config::unknown_names(path).map_err(|error| vec![error])?,
            None => Vec::new(),
        },
        ValidateFormat::Env => {
            let known: BTreeSet<&str> = SETTINGS
                .iter()
                .flat_map(|setting| setting.environment.iter().copied())
                .chain(["ANSIBLE_CONFIG"])
                .collect();
            let names = surroundings.environment.keys();
            let unknown =
                names.filter(|name| name.starts_with("ANSIBLE_") && !known.contains(name.as_str()));
            unknown
                .map(|name| {
                    Error::usage(format!("the environment variable `{name}` is not known"))
                        .suggest(name, known.iter().copied())
                })
                .collect()
        }
    };
    if errors.is_empty() {
        return Ok(());
    }
    Err(errors)
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    /// Returns what a command line prints, with nine forks in the environment.
    fn shown(line: &str) -> String {
        let surroundings = Surroundings {
            environment: [("ANSIBLE_FORKS".to_owned(), "9".to_owned())].into(),
            working_directory: "/nonexistent".into(),
            home: "/nonexistent".into(),
        };
        let config = Config::load(&surroundings).unwrap();
        let args = ConfigArgs::try_parse_from(line.split(' ')).unwrap();
        let mut out = Vec::new();
        run(&args, &config, &surroundings, "error", &mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn a_changed_setting_names_the_variable_that_changed_it() {
        assert_eq!(
            shown("ansible-config dump --only-changed"),
            "CONFIG_FILE() = None\nDEFAULT_FORKS(env: ANSIBLE_FORKS) = 9\n\nGALAXY_SERVERS:\n"
        );
    }

    #[test]
    fn changed_settings_are_printed_as_json_too() {
        assert_eq!(
            shown("ansible-config dump --only-changed -f json"),
            r#"[
    {
        "name": "CONFIG_FILE",
        "origin": "",
        "value": null
    },
    {
        "name": "DEFAULT_FORKS",
        "origin": "env: ANSIBLE_FORKS",
        "value": 9
    },
    {
        "GALAXY_SERVERS": {}
    }
]
"#
        );
    }

    #[test]
    fn a_type_of_plugin_shows_the_options_of_its_plugins() {
        assert_eq!(
            shown("ansible-config dump -t become su"),
            "\nsu:\n__\nbecome_exe(default) = su\nbecome_flags(default) = \n\
             become_pass(default) = None\nbecome_user(default) = root\n\
             prompt_l10n(default) = []\n"
        );
    }

    #[test]
    fn an_initial_file_has_each_setting_under_its_section() {
        let text = shown("ansible-config init --disabled");
        assert!(
            text.starts_with("[defaults]\n# (boolean) ACTION_WARNINGS\n;action_warnings=true\n")
        );
        assert!(text.contains("\n[privilege_escalation]\n"));
    }

    #[test]
    fn an_unknown_variable_is_named_with_the_nearest_one() {
        let surroundings = Surroundings {
            environment: [("ANSIBLE_FROKS".to_owned(), "9".to_owned())].into(),
            working_directory: "/nonexistent".into(),
            home: "/nonexistent".into(),
        };
        let config = Config::load(&surroundings).unwrap();
        let errors = validate(ValidateFormat::Env, &config, &surroundings).unwrap_err();
        assert_eq!(
            errors[0].message,
            "the environment variable `ANSIBLE_FROKS` is not known"
        );
        assert_eq!(
            errors[0].help.as_deref(),
            Some("did you mean `ANSIBLE_FORKS`?")
        );
    }
}
