//! The settings as the lookup `config` asks for them: by name, or by plugin and option.

use std::collections::HashMap;
use std::sync::Arc;

use crate::config::{Config, SETTINGS};
use crate::lookups::{KnownSetting, Setting};

/// Returns what finds the values and origins of settings.
pub(super) fn by_name(config: &Config) -> Setting {
    let mut base: HashMap<&str, KnownSetting> = HashMap::new();
    let mut of_plugins = HashMap::new();
    for setting in SETTINGS {
        let Some((value, origin)) = config.get(setting.name) else {
            continue;
        };
        let known = KnownSetting {
            value: value.clone(),
            origin: origin.to_string(),
            variables: setting.variables(),
        };
        if let Some(option) = setting.plugin() {
            of_plugins.insert(option, known.clone());
        }
        base.insert(setting.name, known);
    }
    Arc::new(move |plugin, name| match plugin {
        Some((kind, plugin)) => of_plugins.get(&(kind, plugin, name)).cloned(),
        None => base.get(name).cloned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Surroundings;

    #[test]
    fn an_option_of_a_plugin_has_its_value_its_origin_and_its_variables() {
        let surroundings = Surroundings {
            environment: [("ANSIBLE_SU_USER".to_owned(), "bob".to_owned())].into(),
            working_directory: "/nonexistent".into(),
            home: "/nonexistent".into(),
        };
        let by_name = by_name(&Config::load(&surroundings).unwrap());
        let known = |plugin, name: &str| {
            by_name(Some(("become", plugin)), name)
                .map(|known| (known.value.to_string(), known.origin, known.variables))
        };
        assert_eq!(
            known("sudo", "become_flags"),
            Some((
                "-H -S -n".to_owned(),
                "default".to_owned(),
                &["ansible_become_flags", "ansible_sudo_flags"][..]
            ))
        );
        assert_eq!(
            known("su", "become_user"),
            Some((
                "bob".to_owned(),
                "env: ANSIBLE_SU_USER".to_owned(),
                &["ansible_become_user", "ansible_su_user"][..]
            ))
        );
        assert_eq!(known("sudo", "nope"), None);
    }
}
