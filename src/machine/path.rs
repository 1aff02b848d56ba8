//! Paths as Ansible's `path` options mean them: `~` and `$VARIABLE` expanded, made absolute.

use std::collections::BTreeMap;
use std::path::{Component, Path, PathBuf};

use super::{Machine, MachineError, Result};

impl Machine {
    /// Expands `~`, `~user`, `$NAME` and `${NAME}`, and makes the path absolute.
    ///
    /// What cannot be expanded stays as it is, as in Python's `expanduser` and `expandvars`.
    pub fn expand(&mut self, path: &Path) -> PathBuf {
        let Some(text) = path.to_str() else {
            return absolute(path);
        };
        absolute(Path::new(&self.expand_text(text)))
    }

    /// Expands `~`, `~user`, `$NAME` and `${NAME}` in a word that need not be a path.
    pub fn expand_text(&mut self, text: &str) -> String {
        let text = expand_variables(text, &|name| self.variable(name));
        match text
            .strip_prefix('~')
            .and_then(|rest| self.expand_home(rest))
        {
            Some(path) => path.to_string_lossy().into_owned(),
            None => text,
        }
    }

    /// Resolves every link in `path` as far as it exists, as Python's `os.path.realpath`.
    pub fn real_path(&mut self, path: &Path) -> Result<PathBuf> {
        let mut real = PathBuf::from("/");
        let mut links = 0;
        let mut waiting: Vec<PathBuf> = components_reversed(&absolute(path));
        while let Some(component) = waiting.pop() {
            if component.as_os_str() == ".." {
                real.pop();
                continue;
            }
            real.push(&component);
            let is_link = self
                .symlink_metadata(&real)?
                .is_some_and(|metadata| metadata.is_link());
            if is_link {
                links += 1;
                if links > 40 {
                    let error = rustix::io::Errno::LOOP;
                    return Err(MachineError::io("resolve", path, error));
                }
                let target = self.read_link(&real)?;
                real.pop();
                if target.is_absolute() {
                    real = PathBuf::from("/");
                }
                waiting.extend(components_reversed(&target));
            }
        }
        Ok(real)
    }

    /// Returns the environment programs of this task start with, in the order of names.
    pub fn environment(&self) -> BTreeMap<String, String> {
        #[expect(
            clippy::disallowed_methods,
            reason = "the target's own environment is part of the target"
        )]
        let own = std::env::vars_os().map(|(name, value)| {
            (
                name.to_string_lossy().into_owned(),
                value.to_string_lossy().into_owned(),
            )
        });
        own.chain(self.options.environment.iter().cloned())
            .collect()
    }

    /// Returns a variable of the task's environment, else of the agent's.
    pub fn variable(&self, name: &str) -> Option<String> {
        let task = self.options.environment.iter().rev();
        task.clone()
            .find(|(variable, _)| variable == name)
            .map(|(_, value)| value.clone())
            .or_else(|| {
                #[expect(
                    clippy::disallowed_methods,
                    reason = "the target's own environment is part of the target"
                )]
                std::env::var(name).ok()
            })
    }

    fn expand_home(&mut self, rest: &str) -> Option<PathBuf> {
        let (user, tail) = rest.split_once('/').unwrap_or((rest, ""));
        let home = if user.is_empty() {
            self.variable("HOME").or_else(|| {
                let uid = rustix::process::geteuid().as_raw();
                self.user_by_id(uid).map(|user| user.home)
            })?
        } else {
            self.user(user)?.home
        };
        Some(if tail.is_empty() {
            home.into()
        } else {
            Path::new(&home).join(tail)
        })
    }
}

fn absolute(path: &Path) -> PathBuf {
    std::path::absolute(path).unwrap_or_else(|_| path.to_owned())
}

/// Lists the components without the root, last one first.
fn components_reversed(path: &Path) -> Vec<PathBuf> {
    path.components()
        .rev()
        .filter(|component| !matches!(component, Component::RootDir | Component::CurDir))
        .map(|component| PathBuf::from(component.as_os_str()))
        .collect()
}

fn expand_variables(text: &str, variable: &dyn Fn(&str) -> Option<String>) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some(start) = rest.find('$') {
        out.push_str(&rest[..start]);
        let after = &rest[start + 1..];
        let (name, length) = variable_name(after);
        match (name, variable(name)) {
            (name, Some(value)) if !name.is_empty() => out.push_str(&value),
            _ => out.push_str(&rest[start..=start + length]),
        }
        rest = &after[length..];
    }
    out.push_str(rest);
    out
}

/// Returns the name after a `$`, and how many bytes it takes with its braces.
fn variable_name(after: &str) -> (&str, usize) {
    if let Some(inner) = after.strip_prefix('{') {
        return match inner.find('}') {
            Some(end) => (&inner[..end], end + 2),
            None => ("", 0),
        };
    }
    let end = after
        .find(|letter: char| !(letter.is_ascii_alphanumeric() || letter == '_'))
        .unwrap_or(after.len());
    (&after[..end], end)
}

#[cfg(test)]
mod tests {
    use super::super::MachineOptions;
    use super::*;

    fn machine() -> Machine {
        Machine::new(MachineOptions {
            environment: vec![
                ("HOME".into(), "/home/me".into()),
                ("APP".into(), "shop".into()),
            ],
            ..MachineOptions::default()
        })
    }

    #[test]
    fn home_and_variables_are_expanded_and_unknown_ones_stay() {
        for (given, expanded) in [
            ("~", "/home/me"),
            ("~/x", "/home/me/x"),
            ("/srv/$APP/${APP}s", "/srv/shop/shops"),
            ("/srv/$NO_SUCH_NAME/${open", "/srv/$NO_SUCH_NAME/${open"),
            ("~no_such_user/x", "~no_such_user/x"),
            ("/a/$", "/a/$"),
        ] {
            let expanded = absolute(Path::new(expanded));
            assert_eq!(machine().expand(Path::new(given)), expanded, "{given}");
        }
    }

    #[test]
    fn a_real_path_follows_links_and_keeps_what_does_not_exist() {
        let root = tempfile::tempdir().unwrap();
        let real = root.path().canonicalize().unwrap();
        std::os::unix::fs::symlink("b/../c", real.join("a")).unwrap();
        std::os::unix::fs::symlink("loop", real.join("loop")).unwrap();
        let resolved = machine().real_path(&real.join("a/new/file")).unwrap();
        assert_eq!(resolved, real.join("c/new/file"));
        let error = machine().real_path(&real.join("loop")).unwrap_err();
        assert_eq!(error.errno(), Some(rustix::io::Errno::LOOP.raw_os_error()));
    }
}
