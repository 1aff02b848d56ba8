//! Where a task's relative files are found, and what stands at a path of the controller.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::World;
use crate::template::PathState;
use crate::value::{Map, Value};
use crate::vault;

impl World {
    /// Returns the first file of that name along the search path: in `subdir` of each directory
    /// first, then in the directory itself.
    pub fn find(&self, subdir: Option<&str>, name: &str) -> Option<PathBuf> {
        self.candidates(subdir, name)
            .into_iter()
            .find(|path| path.exists())
    }

    /// Returns all places a file is searched at, in order.
    pub fn candidates(&self, subdir: Option<&str>, name: &str) -> Vec<PathBuf> {
        let expanded = self.expand_home(name);
        if expanded.is_absolute() {
            return vec![expanded];
        }
        let names_subdir = subdir.is_some_and(|subdir| {
            expanded
                .components()
                .next()
                .is_some_and(|first| first.as_os_str() == subdir)
        });
        let mut places = Vec::new();
        for directory in self.search_paths.iter().chain([&self.base_dir]) {
            if let Some(subdir) = subdir
                && !names_subdir
            {
                places.push(directory.join(subdir).join(&expanded));
            }
            places.push(directory.join(&expanded));
        }
        places
    }

    fn expand_home(&self, name: &str) -> PathBuf {
        let own = self.environment.get("HOME").map(Path::new);
        expand_home(name, own)
    }

    /// Returns the template another template names: beside it, then along the search path.
    pub(super) fn find_template(&self, name: &str, from: Option<&str>) -> Option<PathBuf> {
        let beside = from
            .and_then(|from| Path::new(from).parent())
            .map(|directory| directory.join(name));
        let along = self
            .search_paths
            .iter()
            .chain([&self.base_dir])
            .flat_map(|directory| [directory.join("templates").join(name), directory.join(name)]);
        beside.into_iter().chain(along).find(|path| path.is_file())
    }

    /// Reads a file, decrypting it when it is vaulted.
    pub(super) fn read_bytes(&self, path: &Path) -> Result<Vec<u8>, String> {
        let bytes = fs::read(path).map_err(|error| format!("{}: {error}", path.display()))?;
        if vault::is_vaulted(&bytes) {
            return vault::decrypt(&bytes, &self.secrets)
                .map_err(|error| format!("{}: {error}", path.display()));
        }
        Ok(bytes)
    }

    /// Reads a text file, decrypting it when it is vaulted.
    pub(super) fn read_text(&self, path: &Path) -> Result<String, String> {
        String::from_utf8(self.read_bytes(path)?)
            .map_err(|_| format!("{} is not UTF-8 text", path.display()))
    }
}

/// Returns the variables a template sees about itself: `template_path`, `template_uid` ...
pub fn template_variables(path: &str, full: &Path, destination: Option<&str>) -> Map {
    let metadata = fs::metadata(full).ok();
    let owner = metadata.as_ref().map_or(Value::Null, |metadata| {
        let uid = metadata.uid();
        user_name(uid).map_or_else(|| Value::from(uid), Value::from)
    });
    let modified = metadata.as_ref().map_or(Value::Null, |metadata| {
        local_time(metadata.mtime(), metadata.mtime_nsec()).into()
    });
    let now = jiff::Timestamp::now().as_duration();
    let host = rustix::system::uname()
        .nodename()
        .to_string_lossy()
        .into_owned();
    let mut variables = Map::new();
    for (name, value) in [
        ("template_host", host.into()),
        ("template_path", path.into()),
        ("template_mtime", modified),
        ("template_uid", owner),
        ("template_run_date", local_time(now.as_secs(), 0).into()),
        ("template_destpath", destination.map(str::to_owned).into()),
        ("template_fullpath", full.display().to_string().into()),
    ] {
        variables.insert(name.into(), value);
    }
    variables
}

fn local_time(seconds: i64, nanoseconds: i64) -> String {
    let instant = jiff::Timestamp::new(seconds, i32::try_from(nanoseconds).unwrap_or(0))
        .unwrap_or(jiff::Timestamp::UNIX_EPOCH);
    let local = instant.to_zoned_datetime(jiff::tz::TimeZone::system());
    let micros = local.subsec_nanosecond() / 1000;
    let whole = jiff::fmt::strtime::format("%Y-%m-%d %H:%M:%S", &local).unwrap_or_default();
    if micros == 0 {
        whole
    } else {
        format!("{whole}.{micros:06}")
    }
}

/// Reads `/etc/passwd` for the line whose field `index` is `wanted`, and returns another field.
fn passwd_field(wanted: &str, index: usize, field: usize) -> Option<String> {
    let text = fs::read_to_string("/etc/passwd").ok()?;
    text.lines().find_map(|line| {
        let fields: Vec<&str> = line.split(':').collect();
        (fields.get(index) == Some(&wanted)).then(|| fields.get(field).map(|f| (*f).to_owned()))?
    })
}

fn user_name(uid: u32) -> Option<String> {
    passwd_field(&uid.to_string(), 2, 0)
}

/// Returns the home directory of a local user.
pub(super) fn home_of(user: &str) -> Option<String> {
    passwd_field(user, 0, 5)
}

/// Returns a path of the controller without `~` and `~user`; a user nobody knows stays as written.
pub fn expand_home(path: &str, own: Option<&Path>) -> PathBuf {
    let Some(rest) = path.strip_prefix('~') else {
        return PathBuf::from(path);
    };
    let (user, below) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let home = match user {
        "" => own.map(Path::to_path_buf),
        user => home_of(user).map(PathBuf::from),
    };
    match home {
        Some(home) if below.is_empty() => home,
        Some(home) => home.join(below.trim_start_matches('/')),
        None => PathBuf::from(path),
    }
}

/// Returns what stands at a path.
pub(super) fn path_state(path: &Path, follow: bool) -> Option<PathState> {
    let metadata = if follow {
        fs::metadata(path)
    } else {
        fs::symlink_metadata(path)
    }
    .ok()?;
    let is_mount = !metadata.is_symlink()
        && fs::symlink_metadata(path.join(".."))
            .is_ok_and(|parent| parent.dev() != metadata.dev() || parent.ino() == metadata.ino());
    Some(PathState {
        is_dir: metadata.is_dir(),
        is_file: metadata.is_file(),
        is_link: metadata.is_symlink(),
        is_mount,
        identity: (metadata.dev(), metadata.ino()),
    })
}

/// Returns the path with links resolved as far as it exists.
pub(super) fn real_path(path: &Path) -> String {
    let mut existing = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    let mut missing = Vec::new();
    loop {
        if let Ok(real) = existing.canonicalize() {
            let full = missing
                .into_iter()
                .rev()
                .fold(real, |path: PathBuf, part: std::ffi::OsString| {
                    path.join(part)
                });
            return full.display().to_string();
        }
        match (
            existing.file_name().map(ToOwned::to_owned),
            existing.parent(),
        ) {
            (Some(name), Some(parent)) => {
                missing.push(name);
                existing = parent.to_owned();
            }
            _ => return path.display().to_string(),
        }
    }
}

/// Returns the paths a shell pattern matches, sorted; hidden names only where the pattern says so.
pub(super) fn glob(pattern: &str) -> Vec<String> {
    let (start, rest) = match pattern.strip_prefix('/') {
        Some(rest) => (PathBuf::from("/"), rest),
        None => (PathBuf::new(), pattern),
    };
    let mut found = vec![start];
    for part in rest.split('/').filter(|part| !part.is_empty()) {
        found = found
            .iter()
            .flat_map(|directory| matching(directory, part))
            .collect();
    }
    let mut paths: Vec<String> = found
        .iter()
        .map(|path| path.display().to_string())
        .collect();
    paths.sort();
    paths
}

fn matching(directory: &Path, part: &str) -> Vec<PathBuf> {
    if !part.contains(['*', '?', '[']) {
        let path = directory.join(part);
        return if path.symlink_metadata().is_ok() {
            vec![path]
        } else {
            Vec::new()
        };
    }
    let Ok(pattern) = globset::GlobBuilder::new(part)
        .literal_separator(true)
        .backslash_escape(false)
        .build()
    else {
        return Vec::new();
    };
    let matcher = pattern.compile_matcher();
    let listed = if directory.as_os_str().is_empty() {
        Path::new(".")
    } else {
        directory
    };
    let Ok(entries) = fs::read_dir(listed) else {
        return Vec::new();
    };
    entries
        .filter_map(Result::ok)
        .map(|entry| entry.file_name())
        .filter(|name| {
            let hidden = name.to_string_lossy().starts_with('.');
            (!hidden || part.starts_with('.')) && matcher.is_match(name)
        })
        .map(|name| directory.join(name))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tilde_is_ones_own_home_and_with_a_name_that_user_s() {
        let own = Some(Path::new("/home/me"));
        let root = home_of("root").unwrap();
        for (written, path) in [
            ("~", "/home/me".to_owned()),
            ("~/.ssh/config", "/home/me/.ssh/config".to_owned()),
            ("~root", root.clone()),
            ("~root/.ssh/config", format!("{root}/.ssh/config")),
            ("~nobody knows/x", "~nobody knows/x".to_owned()),
            ("a/~root", "a/~root".to_owned()),
        ] {
            assert_eq!(expand_home(written, own), Path::new(&path), "{written}");
        }
        assert_eq!(expand_home("~/x", None), Path::new("~/x"));
    }
}
