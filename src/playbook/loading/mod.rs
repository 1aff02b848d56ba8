//! Loading: from files to the model. One `Loading` gathers every error and warning on the way,
//! so that a wrong task does not hide the wrong task after it.

mod action;
mod import_role;
mod include;
mod metadata;
mod play;
mod role;
mod task;
mod tasks;
mod variables;

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

pub use include::{IncludedRole, RoleRequest, include_role, include_tasks};
pub use variables::{is_variable_name, variables_of};

use super::context::Context;
use super::keyword::{Keyword, Place};
use super::layer::{Layer, Vars};
use super::play::Playbook;
use super::role::Role;
use super::search;
use super::task::Task;
use crate::error::{Error, ErrorKind, Result};
use crate::node::{Kind, Node};
use crate::source::Mark;
use crate::yaml;

/// How deep imports and roles may nest before they are taken for a circle.
const DEEPEST: usize = 64;

/// Loads a playbook with everything static in it. Every error found is returned, in the order
/// of files and lines.
pub fn load(path: &Path, context: &Context<'_>) -> Result<Playbook, Vec<Error>> {
    let mut loading = Loading::new(context);
    let plays = loading.playbook(path, None);
    loading.finish(|warnings| Playbook {
        path: path.to_path_buf(),
        plays,
        warnings,
    })
}

/// The state of loading.
struct Loading<'a> {
    context: &'a Context<'a>,
    errors: Vec<Error>,
    warnings: Vec<(String, Mark)>,
    /// Files read so far; `None` for one that could not be.
    parsed: HashMap<PathBuf, Option<Node>>,
    /// Variables of the play's `vars_files` that can be read without a host.
    play_files: Vec<Arc<Vars>>,
    /// The roles that imports and includes brought into the play.
    roles: Vec<Arc<Role>>,
    /// The handlers of those roles.
    handlers: Vec<Arc<Task>>,
    /// The `library/` of every role found so far: their modules are for all that comes after.
    libraries: Vec<PathBuf>,
    /// What is wrong with a template is left to fail its task.
    lenient: bool,
    depth: usize,
}

/// Where something stands that is being loaded.
#[derive(Clone, Copy)]
struct Around<'b> {
    /// The directory of the playbook.
    directory: &'b Path,
    layer: &'b Arc<Layer>,
    /// The list holds handlers.
    handlers: bool,
    /// A failure is met by a `rescue` or `ignore_errors`: what is wrong with a task's options is
    /// then the task's failure, as in Ansible, and no error of the playbook.
    tolerated: bool,
}

impl<'a> Loading<'a> {
    fn new(context: &'a Context<'a>) -> Self {
        Self {
            context,
            errors: Vec::new(),
            warnings: Vec::new(),
            parsed: HashMap::new(),
            play_files: Vec::new(),
            roles: Vec::new(),
            handlers: Vec::new(),
            libraries: Vec::new(),
            lenient: false,
            depth: 0,
        }
    }

    /// Returns what was loaded, or the errors in order, each once.
    fn finish<T>(mut self, value: impl FnOnce(Vec<(String, Mark)>) -> T) -> Result<T, Vec<Error>> {
        if self.errors.is_empty() {
            let mut told = HashSet::new();
            self.warnings.retain(|warning| told.insert(warning.clone()));
            return Ok(value(self.warnings));
        }
        let mut order: Vec<String> = Vec::new();
        let mut keyed: Vec<_> = Vec::new();
        for error in self.errors {
            let (file, line, column) = error.mark.as_ref().map_or_else(
                || (String::new(), 0, 0),
                |mark| (mark.file.name.clone(), mark.line, mark.column),
            );
            let rank = order.iter().position(|known| *known == file);
            let rank = rank.unwrap_or_else(|| {
                order.push(file);
                order.len() - 1
            });
            keyed.push(((rank, line, column), error));
        }
        keyed.sort_by_key(|(key, _)| *key);
        let mut errors: Vec<_> = keyed.into_iter().map(|(_, error)| error).collect();
        errors.dedup();
        Err(errors)
    }

    fn error(&mut self, error: Error) {
        self.errors.push(error);
    }

    /// Reports an error at a node.
    fn wrong(&mut self, node: &Node, message: impl Into<String>) {
        self.error(Error::content(message).at(&node.mark));
    }

    /// Reports what is wrong and what to write instead.
    fn wrong_form(&mut self, node: &Node, message: impl Into<String>, help: &str) {
        self.error(Error::content(message).at(&node.mark).help(help));
    }

    /// Reads a YAML file; `mark` is where it was asked for. `None` after an error.
    fn read(&mut self, path: &Path, mark: Option<&Mark>) -> Option<Node> {
        if let Some(known) = self.parsed.get(path) {
            return known.clone();
        }
        let root = match self.context.files.read(path) {
            Ok(file) => match yaml::parse_with(&file, self.context.yaml) {
                Ok(document) => {
                    self.warnings.extend(document.warnings);
                    Some(document.root)
                }
                Err(errors) => {
                    self.errors.extend(errors);
                    None
                }
            },
            Err(error) => {
                self.error(match mark {
                    Some(mark) => error.at(mark),
                    None => error,
                });
                None
            }
        };
        self.parsed.insert(path.to_path_buf(), root.clone());
        root
    }

    /// Goes one level deeper, unless it is a circle.
    fn deeper<T>(&mut self, mark: &Mark, load: impl FnOnce(&mut Self) -> T) -> Option<T> {
        if self.depth == DEEPEST {
            self.error(
                Error::content(format!(
                    "imports and roles nest more than {DEEPEST} levels deep"
                ))
                .at(mark)
                .help("is this an import that imports itself?"),
            );
            return None;
        }
        self.depth += 1;
        let loaded = load(self);
        self.depth -= 1;
        Some(loaded)
    }

    /// Reads the keywords of a mapping that are allowed in `place`, without `vars`; reports the
    /// others unless `is_other` claims them.
    fn keywords(
        &mut self,
        pairs: &[(Node, Node)],
        place: Place,
        is_other: impl Fn(&str) -> bool,
    ) -> Vec<(Keyword, Node)> {
        self.keywords_of(pairs, place, false, is_other)
    }

    /// The same; where failures are `tolerated`, a value of another type is left to fail its task.
    fn keywords_of(
        &mut self,
        pairs: &[(Node, Node)],
        place: Place,
        tolerated: bool,
        is_other: impl Fn(&str) -> bool,
    ) -> Vec<(Keyword, Node)> {
        let mut found = Vec::new();
        for (key, value) in pairs {
            let name = key.to_value().to_string();
            match Keyword::find(&name, place) {
                Some(keyword) => {
                    self.check_keyword(keyword, value, tolerated);
                    if !(value.is_null() || keyword == Keyword::Vars) {
                        found.push((keyword, value.clone()));
                    }
                }
                None if is_other(&name) => {}
                None => self.unknown_keyword(key, place),
            }
        }
        found
    }

    fn unknown_keyword(&mut self, key: &Node, place: Place) {
        let name = key.to_value().to_string();
        let is_task = !matches!(
            place,
            Place::Play | Place::ImportPlaybook | Place::RoleMetadata
        );
        if is_task && place != Place::Block && !self.context.unknown_keyword_fails {
            self.warnings.push((
                format!("Ignoring invalid attribute: {name}"),
                key.mark.clone(),
            ));
            return;
        }
        let error = Error::content(format!(
            "'{name}' is not a valid attribute for a {}",
            place.name()
        ))
        .at(&key.mark);
        let is_include = matches!(place, Place::Include | Place::HandlerInclude);
        self.error(
            if is_include && Keyword::find(&name, Place::Task).is_some() {
                error.help(format!(
                    "put `{name}` under `apply:` to give it to the included tasks"
                ))
            } else if place == Place::Play && Keyword::find(&name, Place::Task).is_some() {
                error.help(format!(
                    "`{name}` is for tasks: indent it as far as the other keys of its task"
                ))
            } else {
                error.suggest(&name, place.keywords().map(Keyword::name))
            },
        );
    }

    /// Checks one value of a keyword: its type, and the templates in it.
    fn check_keyword(&mut self, keyword: Keyword, value: &Node, tolerated: bool) {
        if !(tolerated && keyword.is_scalar()) {
            self.errors.extend(keyword.check(value));
        }
        match keyword {
            Keyword::When => self.check_conditions(value),
            Keyword::Tags => self.check_tags(value),
            Keyword::Collections => self.check_texts(keyword, value),
            Keyword::Debugger => self.check_choice(
                keyword,
                value,
                &[
                    "always",
                    "on_failed",
                    "on_unreachable",
                    "on_skipped",
                    "never",
                ],
            ),
            Keyword::ModuleDefaults => self.check_module_defaults(value),
            Keyword::Environment
            | Keyword::Notify
            | Keyword::DelegateTo
            | Keyword::Connection
            | Keyword::RemoteUser
            | Keyword::BecomeUser
            | Keyword::BecomeMethod
            | Keyword::BecomeFlags
            | Keyword::BecomeExe => self.check_templates(value),
            _ if matches!(keyword.kind(), super::keyword::KeywordType::Boolean) => {
                self.check_templates(value);
            }
            _ => {}
        }
    }

    fn check_templates(&mut self, value: &Node) {
        if self.lenient {
            return;
        }
        self.errors.extend(self.context.templates.check(value));
    }

    /// Checks a condition or a list of them.
    fn check_conditions(&mut self, value: &Node) {
        if self.lenient {
            return;
        }
        for condition in as_items(value) {
            if let Kind::Text(_) = condition.kind {
                self.errors
                    .extend(self.context.templates.check_condition(&condition));
            }
        }
    }

    fn check_tags(&mut self, value: &Node) {
        match &value.kind {
            Kind::List(items) => {
                for item in items.iter() {
                    if !matches!(item.kind, Kind::Text(_) | Kind::Int(_) | Kind::List(_)) {
                        self.wrong(
                            item,
                            format!("a tag must be text or a number, not {}", item.kind_name()),
                        );
                    }
                }
            }
            Kind::Text(_) | Kind::Unsafe(_) | Kind::Null => {}
            _ => self.error(
                Error::refused(format!(
                    "`tags` must be text or a list, not {}",
                    value.kind_name()
                ))
                .at(&value.mark)
                .help("write `tags: [one, two]`"),
            ),
        }
    }

    /// Checks a keyword that takes texts only, never rendered.
    fn check_texts(&mut self, keyword: Keyword, value: &Node) {
        for item in as_items(value) {
            if item.as_str().is_none() {
                self.wrong(
                    &item,
                    format!(
                        "an item of `{}` must be text, not {}",
                        keyword.name(),
                        item.kind_name()
                    ),
                );
            }
        }
    }

    fn check_choice(&mut self, keyword: Keyword, value: &Node, choices: &[&str]) {
        let Some(text) = value.as_str().filter(|_| !super::may_be_template(value)) else {
            return;
        };
        if !choices.contains(&text) {
            // What a strategy plugin is, is not for Ansible's parser to say.
            let kind = match keyword {
                Keyword::Strategy => ErrorKind::Refused,
                _ => ErrorKind::Content,
            };
            let name = keyword.name();
            let choices_told = choices.join(", ");
            self.error(
                Error::new(
                    kind,
                    format!("`{name}` has no value `{text}`: it is one of {choices_told}"),
                )
                .at(&value.mark)
                .suggest(text, choices.iter().copied()),
            );
        }
    }

    fn check_module_defaults(&mut self, value: &Node) {
        for defaults in as_items(value) {
            let Some(pairs) = defaults.as_map() else {
                self.wrong(
                    &defaults,
                    format!(
                        "`module_defaults` must be a dictionary or a list of dictionaries, not {}",
                        defaults.kind_name()
                    ),
                );
                continue;
            };
            for (name, options) in pairs {
                let written = name.to_value().to_string();
                match written.strip_prefix("group/") {
                    Some(group) => self.check_group(name, group),
                    None => self.check_module_name(name, &written),
                }
                self.check_templates(options);
            }
        }
    }

    /// Reports a group of `module_defaults` that is none of ansible-core's; those of collections
    /// are not known here.
    fn check_group(&mut self, at: &Node, group: &str) {
        let unknown = super::names::core_name(group)
            .filter(|short| !super::names::DEFAULTS_GROUPS.contains(short));
        if let Some(short) = unknown {
            self.error(
                Error::content(format!("`module_defaults` knows no group `{group}`"))
                    .at(&at.mark)
                    .suggest(short, super::names::DEFAULTS_GROUPS.iter().copied()),
            );
        }
    }

    /// Renders a name that must be known now, from the variables around it.
    fn static_name(&mut self, node: &Node, around: Around<'_>, own: &Arc<Vars>) -> Option<String> {
        if !super::may_be_template(node) {
            return Some(node.to_value().to_string());
        }
        let mut layers = vec![Arc::clone(own)];
        layers.extend(variables::visible(around, &self.play_files));
        match self.context.templates.render_name(node, &layers) {
            Ok(name) => Some(name),
            Err(error) => {
                self.error(error.at(&node.mark).help(
                    "a static import is resolved before any host is known: its name may only use \
                     `vars`, `vars_files` and extra variables",
                ));
                None
            }
        }
    }

    fn absolute(&self, base: &Path, path: &str) -> PathBuf {
        search::absolute(self.context, base, path)
    }
}

/// Returns the items of a list, the one item of a scalar, or nothing for null.
fn as_items(node: &Node) -> Vec<Node> {
    match &node.kind {
        Kind::List(items) => items.to_vec(),
        Kind::Null => Vec::new(),
        _ => vec![node.clone()],
    }
}

/// Returns the value under `key`, unless it is null.
fn given<'n>(pairs: &'n [(Node, Node)], key: &str) -> Option<&'n Node> {
    pairs
        .iter()
        .find(|(name, _)| name.as_str() == Some(key))
        .map(|(_, value)| value)
        .filter(|value| !value.is_null())
}
