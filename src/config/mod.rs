//! Settings: `ansible.cfg`, `ANSIBLE_*` variables and defaults, each value with its origin.
//!
//! Reads the environment and the working directory once, when it is loaded; everything behind it
//! takes plain values. Command-line options are not settings: `cli` puts them on top.

mod settings;

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use configparser::ini::Ini;

use crate::error::{Error, Result, nearest};
use crate::source::{Mark, SourceFile};
use crate::value::Value;

pub use settings::{Effect, SETTINGS, Setting};

/// The type a setting is read as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SettingType {
    Text,
    Boolean,
    Integer,
    Float,
    /// Comma-separated.
    List,
    /// Written as JSON.
    Dictionary,
    /// One path; `~` expanded, relative to the file it is written in.
    Path,
    /// Colon-separated paths.
    PathList,
}

/// Where a setting's value comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    Default,
    /// The environment variable of this name.
    Environment(&'static str),
    /// The configuration file at this path.
    File(String),
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::Environment(name) => write!(f, "env: {name}"),
            Self::File(path) => f.write_str(path),
        }
    }
}

/// The process's surroundings, read once by the caller.
#[derive(Clone, Debug, Default)]
pub struct Surroundings {
    pub environment: BTreeMap<String, String>,
    pub working_directory: PathBuf,
    pub home: PathBuf,
}

/// Every setting's value and origin.
#[derive(Clone, Debug)]
pub struct Config {
    /// The configuration file in force.
    pub file: Option<PathBuf>,
    /// What the user should know about the configuration itself.
    pub warnings: Vec<String>,
    values: BTreeMap<&'static str, (Value, Origin)>,
}

impl Config {
    /// Finds the configuration file in Ansible's order and reads every setting.
    pub fn load(surroundings: &Surroundings) -> Result<Self, Vec<Error>> {
        let mut warnings = Vec::new();
        let path = find_file(surroundings, &mut warnings);
        Self::read(path, surroundings, warnings)
    }

    /// Reads every setting, from this configuration file and no other.
    pub fn load_file(path: &Path, surroundings: &Surroundings) -> Result<Self, Vec<Error>> {
        Self::read(Some(path.to_owned()), surroundings, Vec::new())
    }

    fn read(
        path: Option<PathBuf>,
        surroundings: &Surroundings,
        mut warnings: Vec<String>,
    ) -> Result<Self, Vec<Error>> {
        let file = path
            .as_deref()
            .map(ConfigFile::read)
            .transpose()
            .map_err(|error| vec![error])?;
        if let Some(file) = &file {
            warnings.extend(file.unknown_keys());
        }
        let mut errors = Vec::new();
        let mut values = BTreeMap::new();
        for setting in SETTINGS {
            match resolve(setting, file.as_ref(), surroundings) {
                Ok(resolved) => {
                    warnings.extend(without_effect(setting, &resolved, surroundings));
                    values.insert(setting.name, resolved);
                }
                Err(error) => errors.push(error),
            }
        }
        if errors.is_empty() {
            Ok(Self {
                file: path,
                warnings,
                values,
            })
        } else {
            Err(errors)
        }
    }

    /// Returns an error for each section and key of a configuration file that no setting has.
    pub fn unknown_names(path: &Path) -> Result<Vec<Error>> {
        Ok(ConfigFile::read(path)?.unknown_names())
    }

    /// Returns a setting's value and origin.
    pub fn get(&self, name: &str) -> Option<&(Value, Origin)> {
        self.values.get(name)
    }

    /// Lists all settings in the order of their names.
    pub fn iter(&self) -> impl Iterator<Item = (&'static str, &Value, &Origin)> {
        self.values
            .iter()
            .map(|(name, (value, origin))| (*name, value, origin))
    }

    /// Returns a setting that is on or off; off when unset.
    pub fn is_on(&self, name: &str) -> bool {
        self.value(name).as_bool().unwrap_or(false)
    }

    /// Returns a setting's text, or `None` when it is unset or empty.
    pub fn text(&self, name: &str) -> Option<String> {
        Some(self.value(name))
            .filter(|value| **value != Value::Null)
            .map(Value::to_string)
            .filter(|text| !text.is_empty())
    }

    /// Returns a whole number, or `None` when it is unset.
    pub fn integer(&self, name: &str) -> Option<i64> {
        self.value(name)
            .as_int()
            .and_then(|number| i64::try_from(number).ok())
    }

    /// Returns the texts of a list setting.
    pub fn list(&self, name: &str) -> Vec<String> {
        self.value(name)
            .as_list()
            .unwrap_or_default()
            .iter()
            .map(Value::to_string)
            .collect()
    }

    fn value(&self, name: &str) -> &Value {
        let (value, _) = self
            .values
            .get(name)
            .expect("only settings of the table are asked for");
        value
    }

    /// Tells whether a setting was set by the user rather than left at its default.
    pub fn is_set(&self, name: &str) -> bool {
        self.values
            .get(name)
            .is_some_and(|(_, origin)| *origin != Origin::Default)
    }
}

fn find_file(surroundings: &Surroundings, warnings: &mut Vec<String>) -> Option<PathBuf> {
    let mut candidates = Vec::new();
    if let Some(named) = surroundings.environment.get("ANSIBLE_CONFIG") {
        let path = expand_path(named, &surroundings.working_directory, surroundings);
        candidates.push(if path.is_dir() {
            path.join("ansible.cfg")
        } else {
            path
        });
    }
    let here = surroundings.working_directory.join("ansible.cfg");
    if is_world_writable(&surroundings.working_directory) {
        if here.exists() && candidates.iter().all(|path| !path.is_file()) {
            warnings.push(format!(
                "running in a world writable directory ({}), ignoring it as an ansible.cfg source",
                surroundings.working_directory.display()
            ));
        }
    } else {
        candidates.push(here);
    }
    candidates.push(surroundings.home.join(".ansible.cfg"));
    candidates.push("/etc/ansible/ansible.cfg".into());
    candidates.into_iter().find(|path| path.is_file())
}

fn is_world_writable(directory: &Path) -> bool {
    use std::os::unix::fs::MetadataExt;
    directory
        .metadata()
        .is_ok_and(|metadata| metadata.mode() & 0o002 != 0)
}

/// One parsed configuration file, its text kept for marks.
struct ConfigFile {
    directory: PathBuf,
    source: Arc<SourceFile>,
    ini: Ini,
}

impl ConfigFile {
    fn read(path: &Path) -> Result<Self> {
        let name = path.display().to_string();
        let bytes = std::fs::read(path).map_err(|error| {
            Error::content(format!("the configuration file `{name}` cannot be read"))
                .caused_by(error)
        })?;
        let source = SourceFile::new(name, String::from_utf8_lossy(&bytes));
        let mut ini = Ini::new();
        ini.set_multiline(true);
        ini.set_comment_symbols(&['#', ';']);
        ini.set_inline_comment_symbols(Some(&[';']));
        ini.read(source.text.clone()).map_err(|why| {
            Error::content(format!("the configuration file is not valid: {why}"))
                .at(&Mark::start_of(&source))
                .help("each line is `[section]`, `key = value`, or a comment")
        })?;
        let directory = path.parent().map(Path::to_path_buf).unwrap_or_default();
        Ok(Self {
            directory,
            source,
            ini,
        })
    }

    fn get(&self, section: &str, key: &str) -> Option<String> {
        self.ini.get(section, key)
    }

    /// Points at the line that sets `key` in `section`.
    fn mark(&self, section: &str, key: &str) -> Mark {
        let mut current = String::new();
        for (number, line) in (1..).zip(self.source.text.lines()) {
            let line = line.trim();
            if let Some(name) = line
                .strip_prefix('[')
                .and_then(|rest| rest.split(']').next())
            {
                current = name.trim().to_lowercase();
            } else if current == section
                && line
                    .split(['=', ':'])
                    .next()
                    .is_some_and(|name| name.trim().to_lowercase() == key)
            {
                return Mark::new(&self.source, number, 1);
            }
        }
        Mark::start_of(&self.source)
    }

    /// Names keys that no setting has, in the sections whose keys are all known.
    fn unknown_keys(&self) -> Vec<String> {
        const WHOLE: [&str; 6] = [
            "defaults",
            "privilege_escalation",
            "ssh_connection",
            "inventory",
            "diff",
            "tags",
        ];
        let mut unknown = Vec::new();
        for (section, keys) in self.ini.get_map_ref() {
            if !WHOLE.contains(&section.as_str()) {
                continue;
            }
            for key in keys.keys().filter(|key| !is_key(section, key)) {
                let hint = nearest(key, keys_of(section))
                    .map(|near| format!("; did you mean `{near}`?"))
                    .unwrap_or_default();
                unknown.push(format!(
                    "{}: the setting `{key}` of section `{section}` is not known and has no effect{hint}",
                    self.mark(section, key)
                ));
            }
        }
        unknown
    }

    /// Returns an error for each section and key that no setting has.
    fn unknown_names(&self) -> Vec<Error> {
        let mut errors = Vec::new();
        for (section, keys) in self.ini.get_map_ref() {
            if keys_of(section).next().is_none() {
                let sections = SETTINGS.iter().flat_map(|setting| setting.keys);
                errors.push(
                    Error::usage(format!("there is no section `{section}`"))
                        .suggest(section, sections.map(|(name, _)| *name)),
                );
                continue;
            }
            for key in keys.keys().filter(|key| !is_key(section, key)) {
                let why = format!("the setting `{key}` of section `{section}` is not known");
                let error = Error::usage(why).at(&self.mark(section, key));
                errors.push(error.suggest(key, keys_of(section)));
            }
        }
        errors
    }
}

/// Lists the keys that settings have in a section.
fn keys_of(section: &str) -> impl Iterator<Item = &'static str> {
    SETTINGS
        .iter()
        .flat_map(|setting| setting.keys)
        .filter(move |(name, _)| *name == section)
        .map(|(_, key)| *key)
}

fn is_key(section: &str, key: &str) -> bool {
    keys_of(section).any(|known| known == key)
}

fn resolve(
    setting: &Setting,
    file: Option<&ConfigFile>,
    surroundings: &Surroundings,
) -> Result<(Value, Origin)> {
    for name in setting.environment.iter().rev() {
        if let Some(text) = surroundings.environment.get(*name) {
            // NO_COLOR is on whatever it holds, as its users expect; an empty one is unset.
            let text = match *name {
                "NO_COLOR" if text.is_empty() => continue,
                "NO_COLOR" => "true",
                _ => text,
            };
            let value = typed(setting, text, &surroundings.working_directory, surroundings)
                .map_err(|why| {
                    Error::content(format!("the environment variable `{name}` {why}"))
                })?;
            return Ok((value, Origin::Environment(name)));
        }
    }
    for (section, key) in setting.keys.iter().rev() {
        let Some((file, text)) = file.and_then(|file| Some((file, file.get(section, key)?))) else {
            continue;
        };
        let value =
            typed(setting, unquote(&text), &file.directory, surroundings).map_err(|why| {
                Error::content(format!("the setting `{key}` {why}")).at(&file.mark(section, key))
            })?;
        return Ok((value, Origin::File(file.source.name.clone())));
    }
    Ok((default_of(setting, file, surroundings)?, Origin::Default))
}

/// Returns a setting's default; what stands in Ansible's directory follows it.
fn default_of(
    setting: &Setting,
    file: Option<&ConfigFile>,
    surroundings: &Surroundings,
) -> Result<Value> {
    let Some(text) = setting.default else {
        return Ok(Value::Null);
    };
    let is_inside = setting.name != ANSIBLE_HOME && text.starts_with("~/.ansible");
    let text = if is_inside {
        let named = SETTINGS.iter().find(|known| known.name == ANSIBLE_HOME);
        let home = named.map(|home| resolve(home, file, surroundings));
        match home.transpose()? {
            Some((home, _)) => text.replacen("~/.ansible", &home.to_string(), 1),
            None => text.to_owned(),
        }
    } else {
        text.to_owned()
    };
    typed(
        setting,
        &text,
        &surroundings.working_directory,
        surroundings,
    )
    .map_err(|why| Error::content(format!("the default of `{}` {why}", setting.name)))
}

const ANSIBLE_HOME: &str = "ANSIBLE_HOME";

/// Tells of a setting that the user changed and that does nothing here.
fn without_effect(
    setting: &Setting,
    (value, origin): &(Value, Origin),
    surroundings: &Surroundings,
) -> Option<String> {
    let Effect::Nothing(why) = setting.effect else {
        return None;
    };
    // Callbacks that are there need no plugin.
    if setting.name == "CALLBACKS_ENABLED" {
        let mut names = value.as_list().unwrap_or_default().iter();
        let is_there = |name: &Value| {
            let name = name.to_string();
            let short = name.strip_prefix("ansible.builtin.").unwrap_or(&name);
            ["default", "minimal", "oneline"].contains(&short)
        };
        if names.all(is_there) {
            return None;
        }
    }
    let is_changed =
        *origin != Origin::Default && default_of(setting, None, surroundings).ok()? != *value;
    is_changed.then(|| {
        let name = setting.name;
        format!("the setting `{name}` ({origin}) has no effect: {why}")
    })
}

/// The settings that have one of a few values.
const CHOICES: [(&str, &[&str]); 6] = [
    ("DEFAULT_GATHERING", &["implicit", "explicit", "smart"]),
    ("DEFAULT_HASH_BEHAVIOUR", &["replace", "merge"]),
    ("DUPLICATE_YAML_DICT_KEY", &["error", "warn", "ignore"]),
    ("HOST_PATTERN_MISMATCH", &["warning", "error", "ignore"]),
    (
        "TRANSFORM_INVALID_GROUP_CHARS",
        &["always", "never", "ignore", "silently"],
    ),
    (
        "_TEMPLAR_UNTRUSTED_TEMPLATE_BEHAVIOR",
        &["error", "warning", "ignore"],
    ),
];

/// Checks a text against the values its setting can have.
fn one_of(setting: &Setting, text: &str) -> Result<(), String> {
    let Some((_, known)) = CHOICES.iter().find(|(name, _)| *name == setting.name) else {
        return Ok(());
    };
    if known.contains(&text) {
        return Ok(());
    }
    Err(format!(
        "is `{text}`, which is none of {}",
        known.join(", ")
    ))
}

fn unquote(text: &str) -> &str {
    for quote in ['"', '\''] {
        if let Some(inner) = text
            .strip_prefix(quote)
            .and_then(|rest| rest.strip_suffix(quote))
        {
            return inner;
        }
    }
    text
}

/// Reads a setting's text; the error continues a sentence that starts with the setting's name.
fn typed(
    setting: &Setting,
    text: &str,
    directory: &Path,
    surroundings: &Surroundings,
) -> Result<Value, String> {
    let path = |part: &str| {
        Value::from(
            expand_path(part.trim(), directory, surroundings)
                .display()
                .to_string(),
        )
    };
    match setting.setting_type {
        SettingType::Text => one_of(setting, text).map(|()| text.into()),
        SettingType::Boolean => {
            let value = Value::from(text).to_soft_bool();
            value
                .map(Value::Bool)
                .ok_or_else(|| format!("is `{text}`, which is neither yes nor no"))
        }
        SettingType::Integer if text.is_empty() => Ok(Value::Null),
        SettingType::Integer => text
            .trim()
            .parse::<i64>()
            .map(Value::from)
            .map_err(|_| format!("is `{text}`, which is not a whole number")),
        SettingType::Float if text.is_empty() => Ok(Value::Null),
        SettingType::Float => text
            .trim()
            .parse::<f64>()
            .map(Value::from)
            .map_err(|_| format!("is `{text}`, which is not a number")),
        SettingType::Dictionary => serde_json::from_str(text)
            .map_err(|_| format!("is `{text}`, which is not a JSON object")),
        SettingType::List => Ok(Value::list(
            text.split(',')
                .map(str::trim)
                .filter(|part| !part.is_empty())
                .map(Value::from),
        )),
        SettingType::Path if text.is_empty() => Ok(Value::Null),
        SettingType::Path => Ok(path(text)),
        // An inventory host list such as `web1,web2` is not a path.
        SettingType::PathList if setting.name == "DEFAULT_HOST_LIST" => {
            Ok(inventory_list(text, path))
        }
        SettingType::PathList => Ok(Value::list(
            text.split(':')
                .filter(|part| !part.trim().is_empty())
                .map(path),
        )),
    }
}

fn inventory_list(text: &str, path: impl Fn(&str) -> Value) -> Value {
    let parts: Vec<_> = text
        .split(',')
        .map(str::trim)
        .filter(|part| !part.is_empty())
        .collect();
    Value::list(parts.into_iter().map(path))
}

/// Expands `~`, `$HOME`-like variables and `{{CWD}}`, and makes the path absolute.
fn expand_path(text: &str, directory: &Path, surroundings: &Surroundings) -> PathBuf {
    let text = text.replace("{{CWD}}", &surroundings.working_directory.to_string_lossy());
    let text = expand_variables(&text, &surroundings.environment);
    let path = match text.strip_prefix('~') {
        Some("") => surroundings.home.clone(),
        Some(rest) if rest.starts_with('/') => surroundings.home.join(rest.trim_start_matches('/')),
        _ => directory.join(text),
    };
    let mut clean = PathBuf::new();
    for component in path.components() {
        match component {
            Component::CurDir => {}
            Component::ParentDir => {
                clean.pop();
            }
            other => clean.push(other),
        }
    }
    clean
}

fn expand_variables(text: &str, environment: &BTreeMap<String, String>) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('$') {
        out.push_str(before);
        let braced = after
            .strip_prefix('{')
            .and_then(|inner| inner.split_once('}'));
        let (name, tail) = braced.unwrap_or_else(|| {
            let end = after
                .find(|c: char| !c.is_ascii_alphanumeric() && c != '_')
                .unwrap_or(after.len());
            after.split_at(end)
        });
        match environment.get(name) {
            Some(value) => {
                out.push_str(value);
                rest = tail;
            }
            None => {
                out.push('$');
                rest = after;
            }
        }
    }
    out + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    fn surroundings(directory: &Path, environment: &[(&str, &str)]) -> Surroundings {
        Surroundings {
            environment: environment
                .iter()
                .map(|(k, v)| ((*k).into(), (*v).into()))
                .collect(),
            working_directory: directory.to_path_buf(),
            home: "/home/me".into(),
        }
    }

    #[expect(clippy::disallowed_methods, reason = "a test writes its own fixture")]
    fn with_file(text: &str) -> tempfile::TempDir {
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join("ansible.cfg"), text).unwrap();
        directory
    }

    #[test]
    fn the_environment_beats_the_file_and_the_file_beats_the_default() {
        let directory = with_file("[defaults]\nforks = 7 ; as many as we dare\ntimeout=20\n");
        let config = Config::load(&surroundings(
            directory.path(),
            &[("ANSIBLE_TIMEOUT", "30")],
        ))
        .unwrap();
        assert_eq!(config.integer("DEFAULT_FORKS"), Some(7));
        assert_eq!(config.integer("DEFAULT_TIMEOUT"), Some(30));
        assert_eq!(
            config.get("DEFAULT_TIMEOUT").unwrap().1,
            Origin::Environment("ANSIBLE_TIMEOUT")
        );
        assert_eq!(
            config.text("DEFAULT_BECOME_METHOD").as_deref(),
            Some("sudo")
        );
        assert!(!config.is_set("DEFAULT_BECOME_METHOD"));
    }

    #[test]
    fn paths_are_relative_to_the_file_they_are_written_in() {
        let directory = with_file("[defaults]\nroles_path = roles:~/r:/abs/../x\n");
        let config = Config::load(&surroundings(directory.path(), &[])).unwrap();
        let roles = directory.path().join("roles").display().to_string();
        assert_eq!(
            config.list("DEFAULT_ROLES_PATH"),
            [roles.as_str(), "/home/me/r", "/x"]
        );
    }

    #[test]
    fn a_wrong_value_is_named_with_its_place() {
        let directory = with_file("[defaults]\n\nhost_key_checking = maybe\n");
        let errors = Config::load(&surroundings(directory.path(), &[])).unwrap_err();
        assert_eq!(errors.len(), 1);
        assert_eq!(
            errors[0].message,
            "the setting `host_key_checking` is `maybe`, which is neither yes nor no"
        );
        assert_eq!(errors[0].mark.as_ref().map(|mark| mark.line), Some(3));
    }

    #[test]
    fn an_unknown_key_is_a_warning_with_the_nearest_name() {
        let directory = with_file("[defaults]\nfork = 3\n[callback_x]\nanything = 1\n");
        let config = Config::load(&surroundings(directory.path(), &[])).unwrap();
        assert_eq!(
            config.warnings,
            [format!(
                "{}:2:1: the setting `fork` of section `defaults` is not known and has no effect; \
                 did you mean `forks`?",
                directory.path().join("ansible.cfg").display()
            )]
        );
    }

    #[test]
    fn no_color_is_on_whatever_it_holds_and_unset_when_empty() {
        let directory = tempfile::tempdir().unwrap();
        for (text, on) in [("1", true), ("anything", true), ("", false)] {
            let config =
                Config::load(&surroundings(directory.path(), &[("NO_COLOR", text)])).unwrap();
            assert_eq!(config.is_on("ANSIBLE_NOCOLOR"), on, "{text:?}");
        }
    }

    #[test]
    fn setting_names_are_unique_and_sorted() {
        assert!(SETTINGS.is_sorted_by(|a, b| a.name < b.name));
    }
}
