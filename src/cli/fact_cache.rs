//! The fact cache `jsonfile`: a file for each host, as ansible-core 2.19 writes and reads them.

use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use crate::config::{Config, Surroundings};
use crate::error::{Error, Result};
use crate::value::{JsonStyle, Map, Value, to_json};
use crate::vars::FactCache;

/// The names of what can keep facts.
const PLUGINS: [&str; 2] = ["memory", "jsonfile"];
/// What Ansible's file names say of the format.
const FORMAT: &str = "s1_";
/// The key under which the facts are, as JSON in a text.
const PAYLOAD: &str = "__payload__";

/// Returns what keeps facts beyond the run, where the settings name something.
pub(super) fn read(
    config: &Config,
    surroundings: &Surroundings,
) -> Result<Option<Arc<dyn FactCache>>> {
    let name = config
        .text("CACHE_PLUGIN")
        .unwrap_or_else(|| "memory".into());
    match name.strip_prefix("ansible.builtin.").unwrap_or(&name) {
        "memory" => Ok(None),
        "jsonfile" => {
            let named = config.text("CACHE_PLUGIN_CONNECTION").ok_or_else(|| {
                Error::usage(
                    "error, 'jsonfile' cache plugin requires the 'fact_caching_connection' config \
                     option to be set (to a writeable directory path)",
                )
            })?;
            let path = match named.strip_prefix("~/") {
                Some(rest) => surroundings.home.join(rest),
                None => surroundings.working_directory.join(&named),
            };
            let prefix = config.is_set("CACHE_PLUGIN_PREFIX");
            let prefix = prefix.then(|| config.text("CACHE_PLUGIN_PREFIX")).flatten();
            let timeout = config.integer("CACHE_PLUGIN_TIMEOUT").unwrap_or_default();
            let cache = JsonFiles {
                directory: path,
                prefix: prefix.unwrap_or_default(),
                timeout: u64::try_from(timeout).ok().filter(|seconds| *seconds > 0),
            };
            cache.check()?;
            Ok(Some(Arc::new(cache)))
        }
        other => {
            Err(Error::usage(format!("there is no fact cache `{name}`")).suggest(other, PLUGINS))
        }
    }
}

struct JsonFiles {
    directory: PathBuf,
    prefix: String,
    /// How many seconds facts are good for; for ever when there is none.
    timeout: Option<u64>,
}

impl JsonFiles {
    #[expect(
        clippy::disallowed_methods,
        reason = "a directory of the controller, not of a target"
    )]
    fn check(&self) -> Result<()> {
        let shown = self.directory.display();
        fs::create_dir_all(&self.directory).map_err(|error| {
            let told = format!("the directory `{shown}` of the fact cache cannot be made");
            Error::usage(told).caused_by(error)
        })
    }

    fn path(&self, host: &str) -> PathBuf {
        let host = host.replace('/', "_");
        self.directory
            .join(format!("{}{FORMAT}{host}", self.prefix))
    }

    fn is_expired(&self, path: &Path) -> bool {
        let Some(timeout) = self.timeout else {
            return false;
        };
        let written = fs::metadata(path).and_then(|found| found.modified());
        let age = written.map(|written| SystemTime::now().duration_since(written));
        matches!(age, Ok(Ok(age)) if age > Duration::from_secs(timeout))
    }

    #[expect(
        clippy::disallowed_methods,
        reason = "a file of the controller, not of a target"
    )]
    fn write(&self, host: &str, text: &str) -> io::Result<()> {
        let path = self.path(host);
        let new = self
            .directory
            .join(format!(".{host}.{}", std::process::id()));
        fs::write(&new, text)?;
        fs::set_permissions(&new, fs::Permissions::from_mode(0o644))?;
        fs::rename(&new, &path)
    }
}

impl FactCache for JsonFiles {
    fn load(&self, host: &str) -> Option<Map> {
        let path = self.path(host);
        let text = fs::read_to_string(&path).ok()?;
        if self.is_expired(&path) {
            return None;
        }
        let whole: Value = serde_json::from_str(&text).ok()?;
        let payload = whole.get(PAYLOAD)?;
        let facts: Value = serde_json::from_str(payload.as_str()?).ok()?;
        untagged(facts).as_map().cloned()
    }

    fn store(&self, host: &str, facts: &Map) -> Result<(), String> {
        let payload = to_json(&Value::from(facts.clone()), JsonStyle::default());
        let whole = Value::map([(PAYLOAD, Value::from(payload))]);
        let text = to_json(&whole, JsonStyle::default());
        self.write(host, &text).map_err(|error| {
            let shown = self.path(host);
            format!(
                "the facts of {host} cannot be kept in {}: {error}",
                shown.display()
            )
        })
    }

    #[expect(
        clippy::disallowed_methods,
        reason = "a file of the controller, not of a target"
    )]
    fn forget(&self, host: &str) {
        // What is not there is forgotten.
        fs::remove_file(self.path(host)).ok();
    }
}

/// Takes away what ansible-core notes beside values: where they come from, and their trust.
fn untagged(value: Value) -> Value {
    match value {
        Value::List(items) => Value::list(items.iter().cloned().map(untagged)),
        Value::Map(map) if map.contains_key("__ansible_type") => {
            map.get("value").cloned().map_or(Value::Null, untagged)
        }
        Value::Map(map) => {
            let pairs = map.iter();
            Value::from(
                pairs
                    .map(|(key, value)| (key.clone(), untagged(value.clone())))
                    .collect::<Map>(),
            )
        }
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cache(directory: &Path) -> Arc<dyn FactCache> {
        let settings = [
            ("ANSIBLE_CACHE_PLUGIN", "jsonfile"),
            ("ANSIBLE_CACHE_PLUGIN_CONNECTION", "facts"),
            ("ANSIBLE_CACHE_PLUGIN_PREFIX", "mine_"),
        ];
        let surroundings = Surroundings {
            environment: settings
                .map(|(name, value)| (name.into(), value.into()))
                .into(),
            working_directory: directory.into(),
            home: "/nonexistent".into(),
        };
        let config = Config::load(&surroundings).unwrap();
        read(&config, &surroundings).unwrap().unwrap()
    }

    #[test]
    fn facts_are_kept_in_ansible_s_files_until_they_are_forgotten() {
        let directory = tempfile::tempdir().unwrap();
        let cache = cache(directory.path());
        let facts: Map = [("ansible_os", "Debian")]
            .map(|(name, value)| (name.into(), value.into()))
            .into_iter()
            .collect();
        cache.store("web1", &facts).unwrap();
        let path = directory.path().join("facts/mine_s1_web1");
        assert_eq!(
            fs::read_to_string(&path).unwrap(),
            r#"{"__payload__": "{\"ansible_os\": \"Debian\"}"}"#
        );
        assert_eq!(cache.load("web1"), Some(facts));
        assert_eq!(cache.load("web2"), None);
        cache.forget("web1");
        assert!(!path.exists());
    }

    #[test]
    fn what_ansible_notes_beside_values_is_left_out() {
        let tagged = r#"{"y": {"value": [1, {"value": "a", "tags": [], "__ansible_type": "T"}], "__ansible_type": "T"}}"#;
        let plain = untagged(serde_json::from_str(tagged).unwrap());
        assert_eq!(to_json(&plain, JsonStyle::default()), r#"{"y": [1, "a"]}"#);
    }
}
