//! Where names of files and roles lead: Ansible's search orders, as lists of candidates.

use std::path::{Component, Path, PathBuf};

use super::context::{Context, FileKind};
use super::layer::{Layer, LayerKind, Target};

/// Makes a path absolute and removes `.` and `..` without following links.
pub fn absolute(context: &Context<'_>, base: &Path, path: &str) -> PathBuf {
    let expanded = match (path.strip_prefix('~'), &context.home) {
        (Some(""), Some(home)) => home.clone(),
        (Some(rest), Some(home)) if rest.starts_with('/') => home.join(&rest[1..]),
        _ => base.join(path),
    };
    normal(&context.working_directory.join(expanded))
}

/// Removes `.` and `..` without following links.
pub fn normal(path: &Path) -> PathBuf {
    let mut clean = PathBuf::new();
    for part in path.components() {
        match part {
            Component::CurDir => {}
            Component::ParentDir => {
                clean.pop();
            }
            other => clean.push(other),
        }
    }
    clean
}

/// Finds the file of tasks that `target` names, for an import or include standing in `layer`.
/// Each import or include around it is tried, innermost first, then the role or the playbook's
/// directory; a static import prefers the file beside the one it stands in over the role's own.
/// Without a match, what was looked at first in the end.
pub fn task_file(
    context: &Context<'_>,
    directory: &Path,
    layer: &Layer,
    part: TaskPart,
    target: &str,
) -> Result<PathBuf, PathBuf> {
    let subdirectory = if part.handlers { "handlers" } else { "tasks" };
    let role = layer.role();
    let mut cumulative = PathBuf::new();
    for around in including(layer) {
        cumulative = around.join(&cumulative);
        let candidates = match role {
            Some(role) => {
                let base = role.path.join(subdirectory).join(&cumulative);
                let beside = relative(context, directory, &base, subdirectory, target);
                if part.dynamic {
                    let own = relative(context, directory, &role.path, subdirectory, target);
                    [own, beside].concat()
                } else {
                    beside
                }
            }
            None => relative(
                context,
                directory,
                directory,
                &cumulative.to_string_lossy(),
                target,
            ),
        };
        if let Some(found) = first_file(context, &candidates) {
            return Ok(found);
        }
    }
    let candidates = match role {
        Some(role) => relative(context, directory, &role.path, subdirectory, target),
        None => vec![absolute(context, directory, target)],
    };
    let last = candidates.first().cloned().unwrap_or_default();
    first_file(context, &candidates).ok_or(last)
}

/// Which kind of file is looked for.
#[derive(Clone, Copy, Debug)]
pub struct TaskPart {
    /// Handlers instead of tasks.
    pub handlers: bool,
    /// For an `include_tasks` instead of an `import_tasks`.
    pub dynamic: bool,
}

/// Walks the directories of the imports and includes around a level, as their targets were
/// written, innermost first.
fn including(layer: &Layer) -> impl Iterator<Item = PathBuf> {
    layer.outwards().filter_map(|around| match &around.kind {
        LayerKind::Import { target } | LayerKind::Include { target, .. } => Some(match target {
            Target::File(written) => Path::new(&**written)
                .parent()
                .map(Path::to_path_buf)
                .unwrap_or_default(),
            Target::Role(role) => role.path.clone(),
        }),
        _ => None,
    })
}

/// Lists where `source` may be for something in `base`: in its `subdirectory`, beside it, in a
/// role's `tasks`, and in the playbook's directory.
fn relative(
    context: &Context<'_>,
    directory: &Path,
    base: &Path,
    subdirectory: &str,
    source: &str,
) -> Vec<PathBuf> {
    if source.starts_with('/') || source.starts_with('~') {
        return vec![absolute(context, directory, source)];
    }
    let in_tasks = base.ends_with("tasks") && is_role_part(context, base);
    let root = match base.parent() {
        Some(parent) if in_tasks => parent,
        _ => base,
    };
    let mut candidates = vec![
        base.join(subdirectory).join(source),
        root.join(subdirectory).join(source),
    ];
    if is_role_part(context, base) && !source.ends_with(subdirectory) {
        candidates.push(root.join("tasks").join(source));
    }
    candidates.push(root.join(source));
    candidates.push(directory.join(subdirectory).join(source));
    candidates.push(directory.join(source));
    candidates.iter().map(|path| normal(path)).collect()
}

/// Tells whether a directory is a role or stands directly in one.
fn is_role_part(context: &Context<'_>, directory: &Path) -> bool {
    let has_main = |root: &Path| {
        ["tasks", "meta"].iter().any(|part| {
            ["main.yml", "main.yaml", "main"]
                .iter()
                .any(|name| context.files.kind(&root.join(part).join(name)).is_some())
        })
    };
    has_main(directory) || directory.parent().is_some_and(has_main)
}

fn first_file(context: &Context<'_>, candidates: &[PathBuf]) -> Option<PathBuf> {
    candidates
        .iter()
        .find(|path| context.files.kind(path) == Some(FileKind::File))
        .cloned()
}

/// Where a role was found.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct FoundRole {
    pub name: String,
    pub collection: Option<String>,
    pub path: PathBuf,
}

/// Finds a role: in the collections, in `roles/` beside the playbook, in `roles_path`, beside
/// the role that asks (`beside`), beside the playbook, and as a path. The error lists where it
/// was looked for.
pub(super) fn role(
    context: &Context<'_>,
    directory: &Path,
    beside: Option<&Path>,
    collections: &[String],
    name: &str,
) -> Result<FoundRole, Vec<PathBuf>> {
    if let Some(found) = collection_role(context, collections, name) {
        return Ok(found);
    }
    let mut roots = vec![directory.join("roles")];
    roots.extend(context.roles_path.iter().cloned());
    roots.extend(beside.map(Path::to_path_buf));
    roots.push(directory.to_path_buf());
    for root in &roots {
        let path = absolute(context, root, name);
        if context.files.kind(&path).is_some() {
            return Ok(FoundRole {
                name: name.to_owned(),
                collection: None,
                path,
            });
        }
    }
    let path = absolute(context, &context.working_directory, name);
    if context.files.kind(&path).is_some() {
        let short = path.file_name().unwrap_or_default().to_string_lossy();
        return Ok(FoundRole {
            name: short.into_owned(),
            collection: None,
            path,
        });
    }
    Err(roots)
}

fn collection_role(context: &Context<'_>, collections: &[String], name: &str) -> Option<FoundRole> {
    let full = |name: &str| {
        let (namespace, rest) = name.split_once('.')?;
        let (collection, role) = rest.split_once('.')?;
        let path = context
            .collections_path
            .iter()
            .map(|root| {
                root.join("ansible_collections")
                    .join(namespace)
                    .join(collection)
                    .join("roles")
                    .join(role.replace('.', "/"))
            })
            .find(|path| context.files.kind(path) == Some(FileKind::Directory))?;
        Some(FoundRole {
            name: role.to_owned(),
            collection: Some(format!("{namespace}.{collection}")),
            path,
        })
    };
    full(name).or_else(|| {
        collections
            .iter()
            .find_map(|collection| full(&format!("{collection}.{name}")))
    })
}

/// Finds a module that stands in one of `directories`, in whatever language.
pub(super) fn local_module(
    context: &Context<'_>,
    directories: impl IntoIterator<Item = PathBuf>,
    name: &str,
) -> Option<PathBuf> {
    directories.into_iter().find_map(|directory| {
        let names = context.files.list(&directory);
        let file = names.into_iter().find(|file| {
            file == name
                || file
                    .strip_prefix(name)
                    .is_some_and(|rest| matches!(rest, ".py" | ".sh" | ".ps1" | ".pl" | ".rb"))
        })?;
        let path = directory.join(file);
        (context.files.kind(&path) == Some(FileKind::File)).then_some(path)
    })
}

/// Finds the files of one part of a role (`tasks`, `vars` …): `main`, or the one that `name`
/// says. A directory of that name counts as its files where `directories` are taken.
pub(super) fn role_part(
    context: &Context<'_>,
    part: &Path,
    name: Option<&str>,
    directories: bool,
) -> Vec<PathBuf> {
    let suffixes: [&str; 4] = match name {
        None => [".yml", ".yaml", ".json", ""],
        Some(_) => ["", ".yml", ".yaml", ".json"],
    };
    for suffix in suffixes {
        let path = normal(&part.join(format!("{}{suffix}", name.unwrap_or("main"))));
        match context.files.kind(&path) {
            Some(FileKind::File) => return vec![path],
            Some(FileKind::Directory) if directories => return variable_files(context, &path),
            _ => {}
        }
    }
    Vec::new()
}

/// Lists the variable files in a directory and those in it, sorted, hidden and backup files
/// left out.
pub fn variable_files(context: &Context<'_>, directory: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for name in context.files.list(directory) {
        if name.starts_with('.') || name.ends_with('~') {
            continue;
        }
        let path = directory.join(&name);
        let extension = Path::new(&name)
            .extension()
            .map(|extension| extension.to_string_lossy().into_owned());
        match (context.files.kind(&path), extension.as_deref()) {
            (Some(FileKind::Directory), None) => found.extend(variable_files(context, &path)),
            (Some(FileKind::File), None | Some("yml" | "yaml" | "json")) => found.push(path),
            _ => {}
        }
    }
    found
}
