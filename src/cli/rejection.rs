//! The modules that `plugin_filters_cfg` rejects: they are as if they were not there.

use std::path::{Path, PathBuf};

use crate::arguments::ArgumentSpec;
use crate::config::Config;
use crate::error::{Error, ErrorKind, Result};
use crate::executor::Executable;
use crate::node::Node;
use crate::playbook::{Catalog, FileKind, Files};
use crate::yaml;

/// Where the rejected modules are listed unless a setting says otherwise.
const DEFAULT_PATH: &str = "/etc/ansible/plugin_filters.yml";

/// What there is apart from what is rejected.
#[derive(Clone, Debug, Default)]
pub(super) struct Accepted {
    rejected: Vec<String>,
}

impl Accepted {
    /// Reads the list of rejected modules; what is odd about its file is returned as a warning.
    pub(super) fn read(config: &Config, files: &dyn Files) -> Result<(Self, Option<String>)> {
        let named = config.text("PLUGIN_FILTERS_CFG").map(PathBuf::from);
        let path = named.clone().unwrap_or_else(|| DEFAULT_PATH.into());
        let shown = path.display();
        if files.kind(&path) != Some(FileKind::File) {
            let warning =
                named.map(|_| format!("The plugin filter file, {shown} does not exist. Skipping."));
            return Ok((Self::default(), warning));
        }
        let rejected = match listed(&path, files) {
            Ok(rejected) => rejected,
            Err(why) => {
                let warning = format!("The plugin filter file, {shown} {why}. Skipping.");
                return Ok((Self::default(), Some(warning)));
            }
        };
        if rejected.iter().any(|name| name == "stat") {
            return Err(Error::new(
                ErrorKind::Missing,
                format!(
                    "The stat module was specified in the module reject list file, {shown}, but \
                     Ansible will not function without the stat module.  Please remove stat from \
                     the reject list."
                ),
            ));
        }
        Ok((Self { rejected }, None))
    }

    fn is_rejected(&self, name: &str) -> bool {
        self.rejected.iter().any(|rejected| rejected == name)
    }
}

/// Returns the names in the file, or what is wrong with it.
fn listed(path: &Path, files: &dyn Files) -> Result<Vec<String>, String> {
    let file = files
        .read(path)
        .map_err(|error| format!("was not parsable: {error}"))?;
    let root = yaml::parse(&file)
        .map_err(|errors| format!("was not parsable: {}", errors[0]))?
        .root;
    let version = root.get("filter_version").map(Node::to_value);
    let version = version.ok_or("was invalid: it has no `filter_version`")?;
    if version.to_string().trim() != "1.0" {
        return Err("was a version not recognized by this version of Ansible".into());
    }
    let list = root.get("module_rejectlist").and_then(Node::as_list);
    let list = list.ok_or("has a `module_rejectlist` that is not a list")?;
    Ok(list
        .iter()
        .map(|name| name.to_value().to_string())
        .collect())
}

impl Catalog for Accepted {
    fn module(&self, name: &str) -> Option<&'static ArgumentSpec> {
        Executable.module(name).filter(|_| !self.is_rejected(name))
    }

    fn modules(&self) -> Vec<&'static str> {
        let mut names = Executable.modules();
        names.retain(|name| !self.is_rejected(name));
        names
    }

    fn has_lookup(&self, name: &str) -> bool {
        Executable.has_lookup(name)
    }

    fn lookups(&self) -> Vec<&'static str> {
        Executable.lookups()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Surroundings;
    use crate::source::SourceFile;
    use std::sync::Arc;

    /// One file at every path.
    struct Everywhere(&'static str);

    impl Files for Everywhere {
        fn read(&self, path: &Path) -> Result<Arc<SourceFile>> {
            Ok(SourceFile::new(path.to_string_lossy(), self.0))
        }

        fn kind(&self, _: &Path) -> Option<FileKind> {
            Some(FileKind::File)
        }

        fn list(&self, _: &Path) -> Vec<String> {
            Vec::new()
        }
    }

    fn read(text: &'static str) -> Result<(Accepted, Option<String>)> {
        let config = Config::load(&Surroundings::default()).unwrap();
        Accepted::read(&config, &Everywhere(text))
    }

    #[test]
    fn a_rejected_module_is_as_if_it_were_not_there() {
        let (accepted, warning) =
            read("filter_version: 1.0\nmodule_rejectlist: [copy, list]\n").unwrap();
        assert_eq!(warning, None);
        assert!(accepted.module("copy").is_none());
        assert!(!accepted.modules().contains(&"copy"));
        assert!(accepted.module("file").is_some());
        assert!(accepted.has_lookup("list"));
    }

    #[test]
    fn stat_cannot_be_rejected_and_an_odd_file_is_a_warning() {
        let error = read("filter_version: 1.0\nmodule_rejectlist: [stat]\n").unwrap_err();
        assert!(error.message.starts_with("The stat module was specified"));
        let (_, warning) = read("filter_version: 1.0\nmodule_rejectlist:\n").unwrap();
        assert_eq!(
            warning.as_deref(),
            Some(
                "The plugin filter file, /etc/ansible/plugin_filters.yml has a \
                 `module_rejectlist` that is not a list. Skipping."
            )
        );
    }
}
