//! Roles: found, their variables and dependencies read, then their tasks laid out in the play.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::super::keyword::{Keyword, Place};
use super::super::layer::{Layer, LayerKind, Vars};
use super::super::play::Item;
use super::super::role::Role;
use super::super::search;
use super::super::task::{IncludeRole, Task};
use super::action::collections;
use super::metadata::is_validated;
use super::{Around, Loading, given};
use crate::error::Error;
use crate::node::{Kind, Node};
use crate::source::Mark;
use crate::value::{Map, Value, repr};

/// A role whose tasks are not laid out yet.
pub(super) struct Found {
    pub(super) role: Arc<Role>,
    keywords: Vec<(Keyword, Node)>,
    dependencies: Vec<Found>,
    tasks_from: Option<Node>,
    handlers_from: Option<Node>,
    /// The task that checks the role's arguments before all others.
    validation: Option<Node>,
    mark: Mark,
}

/// How a role is asked for.
pub(super) struct Request {
    pub(super) name: String,
    pub(super) mark: Mark,
    pub(super) keywords: Vec<(Keyword, Node)>,
    pub(super) params: Arc<Vars>,
    pub(super) use_vars: Arc<Vars>,
    /// What `include_role` or `import_role` says; `None` under `roles:` and `dependencies:`.
    pub(super) include: Option<IncludeRole>,
    pub(super) public: bool,
    pub(super) allow_duplicates: Option<bool>,
}

impl Loading<'_> {
    /// Finds the role that an entry of `roles:` names.
    pub(super) fn role_entry(&mut self, entry: &Node, around: Around<'_>) -> Option<Found> {
        self.role_of(entry, around, None, &mut Vec::new())
    }

    fn role_of(
        &mut self,
        entry: &Node,
        around: Around<'_>,
        asking: Option<&AskingRole<'_>>,
        chain: &mut Vec<PathBuf>,
    ) -> Option<Found> {
        let request = self.role_request(entry, around)?;
        self.find_role(request, around, asking, chain)
    }

    /// Reads an entry of `roles:` or `dependencies:`.
    fn role_request(&mut self, entry: &Node, around: Around<'_>) -> Option<Request> {
        let static_role = self
            .context
            .private_role_vars
            .is_none_or(|private| !private);
        let simple = |name: String| Request {
            name,
            mark: entry.mark.clone(),
            keywords: Vec::new(),
            params: Arc::default(),
            use_vars: Arc::default(),
            include: None,
            public: static_role,
            allow_duplicates: None,
        };
        let pairs = match &entry.kind {
            Kind::Text(text) | Kind::Unsafe(text) if text.contains(',') => {
                self.error(
                    Error::content(format!("Invalid old style role requirement: {text}"))
                        .at(&entry.mark)
                        .help("write `- role: name`"),
                );
                return None;
            }
            Kind::Text(_) | Kind::Unsafe(_) | Kind::Int(_) => {
                let name = self.static_name(entry, around, &Arc::default())?;
                return Some(simple(name));
            }
            Kind::Map(pairs) => pairs,
            _ => {
                self.wrong(
                    entry,
                    format!(
                        "a role must be a name or a dictionary, not {}",
                        entry.kind_name()
                    ),
                );
                return None;
            }
        };
        let name = self.role_name(entry, pairs, around)?;
        let is_param = |name: &str| Keyword::find(name, Place::Role).is_none() && name != "name";
        let keywords = self.keywords(pairs, Place::Role, is_param);
        let params = pairs
            .iter()
            .filter(|(key, _)| is_param(&key.to_value().to_string()))
            .map(|(key, value)| (Arc::from(key.to_value().to_string()), value.clone()))
            .collect();
        Some(Request {
            keywords: super::tasks::inherited(keywords),
            params: Arc::new(params),
            use_vars: self.vars(given(pairs, "vars")),
            ..simple(name)
        })
    }

    fn role_name(
        &mut self,
        entry: &Node,
        pairs: &[(Node, Node)],
        around: Around<'_>,
    ) -> Option<String> {
        let named = given(pairs, "role")
            .or_else(|| given(pairs, "name"))
            .filter(|name| name.as_str().is_some());
        if let Some(name) = named {
            let own = self.vars(given(pairs, "vars"));
            return self.static_name(name, around, &own);
        }
        // The form of galaxy's requirements: `src: https://.../role.git`.
        let source = given(pairs, "src").and_then(Node::as_str);
        if source.is_none() {
            self.error(
                Error::refused("the role has no name")
                    .at(&entry.mark)
                    .help("give it `role:`"),
            );
        }
        source.map(repository_role)
    }

    /// Finds a role, reads its variables and those of its dependencies.
    pub(super) fn find_role(
        &mut self,
        request: Request,
        around: Around<'_>,
        asking: Option<&AskingRole<'_>>,
        chain: &mut Vec<PathBuf>,
    ) -> Option<Found> {
        let searched = asking.map_or_else(|| collections(around), |role| role.collections.clone());
        let beside = asking.map(|role| role.path.parent().unwrap_or(role.path));
        let place = match search::role(
            self.context,
            around.directory,
            beside,
            &searched,
            &request.name,
        ) {
            Ok(place) => place,
            Err(roots) => {
                self.missing_role(&request, &roots);
                return None;
            }
        };
        if chain.contains(&place.path) {
            self.circle(&request, chain, &place.path);
            return None;
        }
        let path = place.path;
        self.libraries.push(path.join("library"));
        let from = |pick: fn(&IncludeRole) -> &Option<Node>| {
            request.include.as_ref().and_then(|role| pick(role).clone())
        };
        let (vars_from, defaults_from) = (
            from(|role| &role.vars_from),
            from(|role| &role.defaults_from),
        );
        let vars = self.role_variables(&path, "vars", vars_from.as_ref(), &request.mark);
        let defaults =
            self.role_variables(&path, "defaults", defaults_from.as_ref(), &request.mark);
        let metadata = self.metadata(&path, &request.mark);
        let own_collections = role_collections(place.collection.as_deref(), &metadata.collections);

        chain.push(path.clone());
        let mut listed = own_collections.clone();
        listed.push("ansible.legacy".to_owned());
        let asked_by = AskingRole {
            path: &path,
            collections: listed,
        };
        let dependencies: Vec<_> = metadata
            .dependencies
            .iter()
            .filter_map(|entry| self.role_of(entry, around, Some(&asked_by), chain))
            .collect();
        chain.pop();

        let mut keywords = request.keywords;
        keywords.retain(|(keyword, _)| *keyword != Keyword::Collections);
        let names = own_collections
            .iter()
            .map(|name| Node::text(request.mark.clone(), name.as_str()))
            .collect();
        let identity = identity(
            request.include.as_ref(),
            &keywords,
            [
                ("name", Value::from(request.name.as_str())),
                ("path", Value::from(path.to_string_lossy().as_ref())),
                ("params", plain(&request.params)),
                ("vars", plain(&request.use_vars)),
            ],
        );
        // A role does not inherit the collections of the play.
        keywords.push((
            Keyword::Collections,
            Node::new(request.mark.clone(), Kind::List(Arc::new(names))),
        ));
        let role = Role {
            name: place.name,
            collection: place.collection,
            path,
            defaults,
            vars,
            params: request.params,
            use_vars: request.use_vars,
            dependencies: dependencies
                .iter()
                .map(|found| Arc::clone(&found.role))
                .collect(),
            allow_duplicates: request
                .allow_duplicates
                .unwrap_or(metadata.allow_duplicates),
            public: request.public,
            from_include: request.include.is_some(),
            identity,
        };
        let validation = match &metadata.argument_specs {
            Some(specs) if is_validated(request.include.as_ref()) => {
                let from = request.include.as_ref();
                let from = from.and_then(|include| include.tasks_from.as_ref());
                self.validation(specs, &role, from)
            }
            _ => None,
        };
        Some(Found {
            role: Arc::new(role),
            keywords,
            dependencies,
            tasks_from: request
                .include
                .as_ref()
                .and_then(|role| role.tasks_from.clone()),
            handlers_from: request.include.and_then(|role| role.handlers_from),
            validation,
            mark: request.mark,
        })
    }

    fn missing_role(&mut self, request: &Request, roots: &[PathBuf]) {
        let beside: Vec<_> = roots
            .iter()
            .take(roots.len().saturating_sub(1).max(1))
            .flat_map(|root| self.context.files.list(root))
            .collect();
        let looked: Vec<_> = roots
            .iter()
            .map(|root| root.display().to_string())
            .collect();
        self.error(
            Error::missing(format!(
                "the role '{}' was not found in {}",
                request.name,
                looked.join(":")
            ))
            .at(&request.mark)
            .suggest(&request.name, beside.iter().map(String::as_str)),
        );
    }

    fn circle(&mut self, request: &Request, chain: &[PathBuf], path: &Path) {
        let name = |path: &Path| {
            let name = path.file_name().unwrap_or_default();
            name.to_string_lossy().into_owned()
        };
        let from = chain.iter().position(|known| known == path).unwrap_or(0);
        let names: Vec<_> = chain[from..]
            .iter()
            .map(PathBuf::as_path)
            .chain([path])
            .map(name)
            .collect();
        self.error(
            Error::refused(format!(
                "roles depend on each other in a circle: {}",
                names.join(" → ")
            ))
            .at(&request.mark),
        );
    }

    /// Lays out a role and its dependencies: tasks in the order they run, and handlers.
    pub(super) fn expand(
        &mut self,
        found: &Found,
        around: Around<'_>,
    ) -> (Vec<Item>, Vec<Arc<Task>>) {
        let layer = Arc::new(Layer {
            kind: LayerKind::Role(Arc::clone(&found.role)),
            keywords: found.keywords.clone(),
            vars: Arc::default(),
            parent: Some(Arc::clone(around.layer)),
        });
        let inner = Around {
            layer: &layer,
            handlers: false,
            ..around
        };
        let (mut items, mut handlers) = (Vec::new(), Vec::new());
        for dependency in &found.dependencies {
            let (more_items, more_handlers) = self.expand(dependency, inner);
            items.extend(more_items);
            handlers.extend(more_handlers);
        }
        let path = &found.role.path;
        if let Some(task) = &found.validation {
            let list = Kind::List(Arc::new(vec![task.clone()]));
            items.extend(self.items(&Node::new(task.mark.clone(), list), inner));
        }
        self.deeper(&found.mark, |loading| {
            for list in
                loading.role_files(path, "tasks", found.tasks_from.as_ref(), false, &found.mark)
            {
                items.extend(loading.items(&list, inner));
            }
            let from = found.handlers_from.as_ref();
            for list in loading.role_files(path, "handlers", from, false, &found.mark) {
                let around = Around {
                    handlers: true,
                    ..inner
                };
                handlers.extend(loading.handlers(Some(&list), around));
            }
        });
        items.push(Item::RoleComplete(Arc::clone(&found.role)));
        (items, handlers)
    }

    /// Reads the files of one part of a role; a name that is given must exist and stay inside.
    pub(super) fn role_files(
        &mut self,
        role: &Path,
        part: &str,
        name: Option<&Node>,
        directories: bool,
        mark: &Mark,
    ) -> Vec<Node> {
        let directory = role.join(part);
        let text = name.map(|name| name.to_value().to_string());
        let paths = search::role_part(self.context, &directory, text.as_deref(), directories);
        if let (Some(name), Some(text), []) = (name, &text, paths.as_slice()) {
            let beside = self.context.files.list(&directory);
            self.error(
                Error::content(format!("the role has no file `{part}/{text}`"))
                    .at(&name.mark)
                    .suggest(
                        text,
                        beside.iter().filter_map(|file| file.split('.').next()),
                    ),
            );
        }
        let mut roots = Vec::new();
        for path in paths {
            if path.starts_with(&directory) {
                roots.extend(self.read(&path, Some(mark)));
            } else {
                let at = name.map_or(mark, |name| &name.mark).clone();
                self.error(
                    Error::content(format!(
                        "`{}` is not inside the expected role path `{}`",
                        path.display(),
                        directory.display()
                    ))
                    .at(&at),
                );
            }
        }
        roots
    }
}

/// The role that asks for another: as a dependency, or from its tasks.
pub(super) struct AskingRole<'b> {
    path: &'b Path,
    collections: Vec<String>,
}

/// Lists the collections a role's tasks look into: its own first, then those of its metadata.
fn role_collections(own: Option<&str>, listed: &[String]) -> Vec<String> {
    let mut names: Vec<String> = own.map(str::to_owned).into_iter().collect();
    for name in listed {
        if !names.contains(name) {
            names.push(name.clone());
        }
    }
    names
}

/// Returns what makes two uses of a role the same run of it.
fn identity<const N: usize>(
    include: Option<&IncludeRole>,
    keywords: &[(Keyword, Node)],
    fields: [(&str, Value); N],
) -> Arc<str> {
    let mut map: Map = fields
        .into_iter()
        .map(|(name, value)| (Value::from(name), value))
        .collect();
    for (keyword, value) in keywords {
        if matches!(keyword, Keyword::When | Keyword::Tags) {
            map.insert(keyword.name().into(), value.to_value());
        }
    }
    if let Some(include) = include {
        for (name, from) in [
            ("tasks_from", &include.tasks_from),
            ("vars_from", &include.vars_from),
            ("defaults_from", &include.defaults_from),
            ("handlers_from", &include.handlers_from),
        ] {
            let value = from.as_ref().map_or(Value::Null, Node::to_value);
            map.insert(name.into(), value);
        }
    }
    repr(&Value::from(map)).into()
}

fn plain(vars: &Vars) -> Value {
    Value::map(vars.iter().map(|(name, value)| (name, value.to_value())))
}

/// Returns the role's name in a repository's address, as galaxy names it.
fn repository_role(source: &str) -> String {
    let last = source.rsplit('/').next().unwrap_or(source);
    let last = last.strip_suffix(".git").unwrap_or(last);
    let last = last.strip_suffix(".tar.gz").unwrap_or(last);
    last.split(',').next().unwrap_or(last).to_owned()
}
