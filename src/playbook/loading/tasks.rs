//! Lists of tasks: blocks, static imports, and plain tasks in the order they run.

use std::sync::Arc;

use super::super::directives;
use super::super::keyword::{Keyword, Place};
use super::super::layer::{Layer, LayerKind, Target, Vars};
use super::super::names;
use super::super::play::{Block, Item};
use super::super::search::{self, TaskPart};
use super::super::task::Task;
use super::action::Written;
use super::{Around, Loading, given};
use crate::error::Error;
use crate::node::{Kind, Node};

/// What to do where tasks are no list.
pub(super) const TASKS_HELP: &str = "start each task with `- name:`";

impl Loading<'_> {
    /// Loads a list of tasks and blocks.
    pub(super) fn items(&mut self, list: &Node, around: Around<'_>) -> Vec<Item> {
        let mut items = Vec::new();
        match &list.kind {
            Kind::List(entries) => {
                // A lone dash is nothing, but in a block it is an error: as in Ansible.
                let in_block = matches!(around.layer.kind, LayerKind::Block);
                for entry in entries.iter().filter(|entry| in_block || !entry.is_null()) {
                    self.item(entry, around, &mut items);
                }
            }
            Kind::Null => {}
            _ => self.error(
                Error::content(format!("tasks must be a list, not {}", list.kind_name()))
                    .at(&list.mark)
                    .help(TASKS_HELP),
            ),
        }
        items
    }

    /// Loads a list of handlers.
    pub(super) fn handlers(&mut self, list: Option<&Node>, around: Around<'_>) -> Vec<Arc<Task>> {
        let items = list.map_or_else(Vec::new, |list| self.items(list, around));
        handlers_of(&items)
    }

    fn item(&mut self, entry: &Node, around: Around<'_>, items: &mut Vec<Item>) {
        let Some(pairs) = entry.as_map() else {
            self.error(
                Error::content(format!(
                    "a task must be a dictionary, not {}",
                    entry.kind_name()
                ))
                .at(&entry.mark)
                .help("write `module: options` or `name: ...` after the dash"),
            );
            return;
        };
        if ["block", "rescue", "always"]
            .iter()
            .any(|key| entry.entry(key).is_some())
        {
            if around.handlers && matches!(around.layer.kind, LayerKind::Block) {
                self.wrong(entry, "a block within a block cannot be a handler");
            } else if let Some(block) = self.block(entry, pairs, around) {
                items.push(Item::Block(block));
            }
            return;
        }
        let Some(written) = self.action(entry, pairs, around) else {
            return;
        };
        let around = Around {
            tolerated: around.tolerated || ignores_errors(pairs),
            ..around
        };
        match names::core_name(&written.text()) {
            Some("import_tasks") => items.extend(self.import_tasks(pairs, &written, around)),
            Some("import_role") => items.extend(self.import_role(entry, pairs, &written, around)),
            _ => {
                let outer = std::mem::replace(&mut self.lenient, around.tolerated);
                let task = self.task(entry, pairs, written, around);
                self.lenient = outer;
                items.extend(task.map(|task| Item::Task(Arc::new(task))));
            }
        }
    }

    fn block(
        &mut self,
        entry: &Node,
        pairs: &[(Node, Node)],
        around: Around<'_>,
    ) -> Option<Arc<Block>> {
        let keywords = self.keywords(pairs, Place::Block, |_| false);
        let vars = self.vars(given(pairs, "vars"));
        let layer = Arc::new(Layer {
            kind: LayerKind::Block,
            keywords: inherited(keywords),
            vars,
            parent: Some(Arc::clone(around.layer)),
        });
        let is_filled =
            |list: &&(Node, Node)| list.1.as_list().is_some_and(|list| !list.is_empty());
        let rescued = entry.entry("rescue").as_ref().is_some_and(is_filled);
        let inner = Around {
            layer: &layer,
            tolerated: around.tolerated || rescued || ignores_errors(pairs),
            ..around
        };
        let mut part = |key: &str| match entry.get(key) {
            Some(list) if list.as_list().is_none() => {
                self.wrong_form(
                    list,
                    format!("`{key}` must be a list of tasks, not {}", list.kind_name()),
                    "start each task with a dash",
                );
                Vec::new()
            }
            Some(list) => self.items(list, inner),
            None => Vec::new(),
        };
        let (block, rescue, always) = (part("block"), part("rescue"), part("always"));
        let other = ["rescue", "always"]
            .iter()
            .find_map(|key| entry.entry(key).filter(is_filled));
        if let (None, Some((key, _))) = (entry.entry("block"), other) {
            let name = key.to_value();
            self.wrong_form(
                key,
                format!("`{name}` stands without a `block`"),
                "put the tasks it is for under a `block:` beside it",
            );
            return None;
        }
        Some(Arc::new(Block {
            mark: entry.mark.clone(),
            name: given(pairs, "name").cloned(),
            layer,
            block,
            rescue,
            always,
        }))
    }

    /// Makes the level of a static import: its keywords and variables reach what it brings.
    pub(super) fn import_layer(
        &mut self,
        pairs: &[(Node, Node)],
        target: Target,
        written: &Written,
        around: Around<'_>,
    ) -> Arc<Layer> {
        let place = if around.handlers {
            Place::Handler
        } else {
            Place::Task
        };
        let mut keywords = self.keywords(pairs, place, |name| written.claims(name));
        keywords.extend(written.delegation());
        Arc::new(Layer {
            kind: LayerKind::Import { target },
            keywords: inherited(keywords),
            vars: self.vars(given(pairs, "vars")),
            parent: Some(Arc::clone(around.layer)),
        })
    }

    fn import_tasks(
        &mut self,
        pairs: &[(Node, Node)],
        written: &Written,
        around: Around<'_>,
    ) -> Vec<Item> {
        self.refuse_loop(pairs, "import_tasks", "include_tasks");
        let Some(file) = self.tasks_file(written) else {
            return Vec::new();
        };
        let own = self.vars(given(pairs, "vars"));
        let Some(name) = self.static_name(&file, around, &own) else {
            return Vec::new();
        };
        let part = TaskPart {
            handlers: around.handlers,
            dynamic: false,
        };
        let found = search::task_file(self.context, around.directory, around.layer, part, &name);
        let path = match found {
            Ok(path) => path,
            Err(last) => {
                self.missing_file(&file, &last);
                return Vec::new();
            }
        };
        let Some(root) = self.read(&path, Some(&file.mark)) else {
            return Vec::new();
        };
        if root.is_null() || root.as_list().is_some_and(<[Node]>::is_empty) {
            let text = format!(
                "file {} is empty and had no tasks to include",
                path.display()
            );
            self.warnings.push((text, file.mark.clone()));
        }
        let target = Target::File(name.as_str().into());
        let layer = self.import_layer(pairs, target, written, around);
        self.deeper(&file.mark, |loading| {
            loading.items(
                &root,
                Around {
                    layer: &layer,
                    ..around
                },
            )
        })
        .unwrap_or_default()
    }

    /// Reads the options of `import_tasks` and `include_tasks`: the file.
    pub(super) fn tasks_file(&mut self, written: &Written) -> Option<Node> {
        let name = written.text();
        let spec = directives::find(names::core_name(&name).unwrap_or_default())?;
        for (key, _) in &written.args.options {
            let option = key.to_value().to_string();
            if spec.parameter(&option).is_none() {
                self.error(
                    Error::content(format!("`{name}` has no option `{option}`"))
                        .at(&key.mark)
                        .suggest(&option, spec.names()),
                );
            }
        }
        let file = written
            .args
            .free_form
            .as_ref()
            .or_else(|| given(&written.args.options, "file"))
            .or(written.args.variable.as_ref());
        if file.is_none() {
            self.wrong(&written.name, format!("`{name}` names no file"));
        }
        file.cloned()
    }

    /// Reports a file of tasks that is not there, with the nearest name beside it.
    pub(super) fn missing_file(&mut self, named: &Node, last: &std::path::Path) {
        let name = last.file_name().unwrap_or_default().to_string_lossy();
        let beside = last.parent().map(|parent| self.context.files.list(parent));
        let beside = beside.unwrap_or_default();
        self.error(
            Error::missing(format!("could not find or access `{}`", last.display()))
                .at(&named.mark)
                .suggest(&name, beside.iter().map(String::as_str)),
        );
    }

    /// Reports a loop on a static import.
    pub(super) fn refuse_loop(&mut self, pairs: &[(Node, Node)], import: &str, include: &str) {
        let found = pairs.iter().find(|(key, _)| {
            key.as_str()
                .is_some_and(|key| key == "loop" || key.starts_with("with_"))
        });
        if let Some((key, _)) = found {
            self.error(
                Error::content(format!("`{import}` cannot loop: it is static"))
                    .at(&key.mark)
                    .help(format!("use `{include}`")),
            );
        }
    }

    /// Reads `vars` and keywords of a dynamic include's `apply:` into a level.
    pub(super) fn apply_layer(&mut self, apply: Option<&Node>, parent: Arc<Layer>) -> Arc<Layer> {
        let Some(pairs) = apply.and_then(Node::as_map) else {
            return parent;
        };
        let keywords = self.keywords(pairs, Place::Block, |_| false);
        Arc::new(Layer {
            kind: LayerKind::Apply,
            keywords: inherited(keywords),
            vars: self.vars(given(pairs, "vars")),
            parent: Some(parent),
        })
    }
}

/// Tells whether `ignore_errors` says anything but no.
pub(super) fn ignores_errors(pairs: &[(Node, Node)]) -> bool {
    given(pairs, Keyword::IgnoreErrors.name())
        .is_some_and(|value| value.to_value().to_soft_bool() != Some(false))
}

/// Returns the handlers of a list. A block gives its tasks their conditions and variables; it is
/// no handler itself, and its `rescue` and `always` are never run, as in Ansible.
pub(super) fn handlers_of(items: &[Item]) -> Vec<Arc<Task>> {
    let mut found = Vec::new();
    for item in items {
        match item {
            Item::Task(task) => found.push(Arc::clone(task)),
            Item::Block(block) => found.extend(handlers_of(&block.block)),
            Item::RoleComplete(_) => {}
        }
    }
    found
}

/// Keeps the keywords that reach what is inside.
pub(super) fn inherited(keywords: Vec<(Keyword, Node)>) -> Vec<(Keyword, Node)> {
    use super::super::keyword::Inheritance;
    keywords
        .into_iter()
        .filter(|(keyword, _)| keyword.inheritance() != Inheritance::None)
        .collect()
}

/// Makes the level under which a dynamic include's tasks stand.
pub(super) fn include_layer(
    task: &Task,
    target: Target,
    bound: Arc<crate::value::Map>,
    vars: Arc<Vars>,
) -> Arc<Layer> {
    Arc::new(Layer {
        kind: LayerKind::Include { target, bound },
        keywords: Vec::new(),
        vars,
        parent: task.layer.parent.clone(),
    })
}
