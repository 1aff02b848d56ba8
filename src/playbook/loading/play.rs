//! Playbook files and plays.

use std::path::Path;
use std::sync::Arc;

use super::super::keyword::{Keyword, Place};
use super::super::layer::{Layer, LayerKind, Target, Vars};
use super::super::names;
use super::super::play::{Item, Play, VarsPrompt};
use super::super::role::Role;
use super::super::task::Task;
use super::tasks::{TASKS_HELP, ignores_errors};
use super::{Around, Loading, as_items, given};
use crate::error::Error;
use crate::node::{Kind, Node};

const IMPORT_NAMES: [&str; 3] = [
    "import_playbook",
    "ansible.builtin.import_playbook",
    "ansible.legacy.import_playbook",
];

/// The values of an `import_playbook` that reach the plays in it.
#[derive(Clone, Default)]
pub(super) struct Imported {
    vars: Vars,
    tags: Vec<Node>,
    conditions: Vec<Node>,
}

/// What an empty playbook needs.
const FIRST_PLAY: &str = "write a play: `- hosts: all`, with its `tasks:`";

/// Returns the action of an entry of a playbook that is a task, where a play should stand.
fn action_among_plays(entry: &Node) -> Option<&Node> {
    let keys = entry.as_map().unwrap_or_default();
    let is_play = |key: &str| {
        key == "hosts"
            || IMPORT_NAMES.contains(&key)
            || ["tasks", "roles", "pre_tasks", "post_tasks", "handlers"].contains(&key)
    };
    let texts = || keys.iter().filter_map(|(key, _)| key.as_str());
    if texts().any(is_play) {
        return None;
    }
    let is_action = |key: &&Node| {
        key.as_str()
            .is_some_and(|key| names::builtin().any(|name| name == key))
    };
    keys.iter().map(|(key, _)| key).find(is_action)
}

impl Loading<'_> {
    /// Loads one playbook file; `import` is what the statement that brought it says, and where.
    pub(super) fn playbook(
        &mut self,
        path: &Path,
        import: Option<(&Node, &Imported)>,
    ) -> Vec<Arc<Play>> {
        let path = self.absolute(&self.context.working_directory, &path.to_string_lossy());
        let mark = import.map(|(node, _)| &node.mark);
        let Some(root) = self.read(&path, mark) else {
            return Vec::new();
        };
        let directory = path.parent().unwrap_or(&path);
        match &root.kind {
            Kind::List(entries) if entries.iter().any(|it| action_among_plays(it).is_some()) => {
                // One error says it for all of its keywords, and for the tasks after it.
                if let Some(action) = entries.iter().find_map(action_among_plays) {
                    self.wrong_form(
                        action,
                        format!(
                            "'{}' is not a valid attribute for a Play",
                            action.as_str().map_or("", |name| name)
                        ),
                        "a task stands here, among plays: put it under the `tasks:` of a play, \
                         which starts with `- hosts:`",
                    );
                }
                Vec::new()
            }
            Kind::List(entries) if !entries.is_empty() => entries
                .iter()
                .flat_map(|entry| self.entry(entry, directory, import.map(|(_, values)| values)))
                .collect(),
            Kind::List(_) => {
                self.wrong_form(
                    &root,
                    "A playbook must contain at least one play",
                    FIRST_PLAY,
                );
                Vec::new()
            }
            Kind::Null => {
                self.wrong_form(&root, "the playbook is empty", FIRST_PLAY);
                Vec::new()
            }
            _ => {
                self.error(
                    Error::content(format!(
                        "a playbook must be a list of plays, not {}",
                        root.kind_name()
                    ))
                    .at(&root.mark)
                    .help("start each play with `- hosts:`"),
                );
                Vec::new()
            }
        }
    }

    fn entry(
        &mut self,
        entry: &Node,
        directory: &Path,
        import: Option<&Imported>,
    ) -> Vec<Arc<Play>> {
        let Some(pairs) = entry.as_map() else {
            self.wrong(
                entry,
                format!(
                    "an entry of a playbook must be a play or an `import_playbook`, not {}",
                    entry.kind_name()
                ),
            );
            return Vec::new();
        };
        let imports: Vec<_> = pairs
            .iter()
            .filter(|(key, _)| key.as_str().is_some_and(|key| IMPORT_NAMES.contains(&key)))
            .collect();
        match imports.as_slice() {
            [] => self
                .play(entry, pairs, directory, import)
                .into_iter()
                .collect(),
            [(_, target)] => self.import_playbook(pairs, target, directory, import),
            [_, (second, _), ..] => {
                self.wrong(second, "two `import_playbook` in one entry");
                Vec::new()
            }
        }
    }

    fn import_playbook(
        &mut self,
        pairs: &[(Node, Node)],
        target: &Node,
        directory: &Path,
        outer: Option<&Imported>,
    ) -> Vec<Arc<Play>> {
        let keywords = self.keywords(pairs, Place::ImportPlaybook, |name| {
            IMPORT_NAMES.contains(&name)
        });
        let own = self.vars(given(pairs, "vars"));
        let value = |keyword| {
            keywords
                .iter()
                .filter(move |(name, _)| *name == keyword)
                .flat_map(|(_, value)| as_items(value))
        };
        let mut values = outer.cloned().unwrap_or_default();
        // The outer statement's variables win over the inner one's.
        let mut vars = Vars::clone(&own);
        vars.extend(values.vars);
        values.vars = vars;
        values.tags.extend(value(Keyword::Tags));
        values.conditions.extend(value(Keyword::When));

        let empty = Arc::new(Layer::new(LayerKind::Play, None));
        let around = Around {
            directory,
            layer: &empty,
            handlers: false,
            tolerated: false,
        };
        let Some(name) = self.static_name(target, around, &Arc::new(values.vars.clone())) else {
            return Vec::new();
        };
        let path = self
            .collection_playbook(&name)
            .unwrap_or_else(|| self.absolute(directory, &name));
        self.deeper(&target.mark, |loading| {
            loading.playbook(&path, Some((target, &values)))
        })
        .unwrap_or_default()
    }

    /// Finds `namespace.collection.name` among the collections' playbooks.
    fn collection_playbook(&self, name: &str) -> Option<std::path::PathBuf> {
        let (namespace, rest) = name.split_once('.')?;
        let (collection, playbook) = rest.split_once('.')?;
        let roots = self.context.collections_path.iter();
        roots
            .flat_map(|root| {
                let playbooks = root
                    .join("ansible_collections")
                    .join(namespace)
                    .join(collection)
                    .join("playbooks");
                ["", ".yml", ".yaml"].map(|end| playbooks.join(format!("{playbook}{end}")))
            })
            .find(|path| self.context.files.kind(path).is_some())
    }

    fn play(
        &mut self,
        entry: &Node,
        pairs: &[(Node, Node)],
        directory: &Path,
        import: Option<&Imported>,
    ) -> Option<Arc<Play>> {
        let keywords = self.play_keywords(pairs);
        let hosts = self.hosts(entry, pairs);
        self.check_play_choices(pairs);
        let vars_files = self.vars_files(given(pairs, "vars_files"));
        let vars_prompt = self.vars_prompt(given(pairs, "vars_prompt"));
        let mut vars = Vars::clone(&self.vars(given(pairs, "vars")));
        vars.extend(import.map(|values| values.vars.clone()).unwrap_or_default());

        self.play_files = self.static_vars_files(directory, &vars_files);
        self.roles.clear();
        self.handlers.clear();
        let handler_layer = Arc::new(Layer {
            kind: LayerKind::Play,
            keywords: keywords.clone(),
            vars: Arc::new(vars),
            parent: None,
        });
        let layer = import.map_or_else(
            || Arc::clone(&handler_layer),
            |values| under_import(&handler_layer, values),
        );
        let tasks_around = Around {
            directory,
            layer: &layer,
            handlers: false,
            tolerated: ignores_errors(pairs),
        };
        let (play_roles, role_items, role_handlers) =
            self.play_roles(given(pairs, "roles"), tasks_around);
        let handlers = self.handlers(
            given(pairs, "handlers"),
            Around {
                layer: &handler_layer,
                handlers: true,
                ..tasks_around
            },
        );
        let pre_tasks = self.section(pairs, "pre_tasks", tasks_around);
        let tasks = self.section(pairs, "tasks", tasks_around);
        let post_tasks = self.section(pairs, "post_tasks", tasks_around);
        Some(Arc::new(Play {
            mark: entry.mark.clone(),
            name: given(pairs, "name").cloned(),
            hosts: hosts?,
            directory: directory.to_path_buf(),
            layer,
            gather_facts: given(pairs, "gather_facts").cloned(),
            gather_subset: given(pairs, "gather_subset").cloned(),
            gather_timeout: given(pairs, "gather_timeout").cloned(),
            fact_path: given(pairs, "fact_path").cloned(),
            vars_files,
            vars_prompt,
            roles: [play_roles, std::mem::take(&mut self.roles)].concat(),
            pre_tasks,
            tasks: [role_items, tasks].concat(),
            post_tasks,
            handlers: [role_handlers, handlers, std::mem::take(&mut self.handlers)].concat(),
            force_handlers: given(pairs, "force_handlers").cloned(),
            max_fail_percentage: given(pairs, "max_fail_percentage").cloned(),
            serial: given(pairs, "serial").map(as_items).unwrap_or_default(),
            strategy: given(pairs, "strategy").cloned(),
            order: given(pairs, "order").cloned(),
            import_conditions: import
                .map(|values| values.conditions.clone())
                .unwrap_or_default(),
        }))
    }

    fn section(&mut self, pairs: &[(Node, Node)], key: &str, around: Around<'_>) -> Vec<Item> {
        match given(pairs, key) {
            Some(list) if list.as_list().is_none() && !list.is_null() => {
                let told = format!(
                    "A malformed block was encountered while loading {key}: {} should be a list \
                     or None, not {}",
                    list.to_value(),
                    list.kind_name()
                );
                self.error(Error::content(told).at(&list.mark).help(TASKS_HELP));
                Vec::new()
            }
            Some(list) => self.items(list, around),
            None => Vec::new(),
        }
    }

    /// Reads the keywords of a play; `user` is an old name of `remote_user`.
    fn play_keywords(&mut self, pairs: &[(Node, Node)]) -> Vec<(Keyword, Node)> {
        let mut keywords = self.keywords(pairs, Place::Play, |_| false);
        let has_remote_user = keywords
            .iter()
            .any(|(keyword, _)| *keyword == Keyword::RemoteUser);
        for (keyword, value) in &mut keywords {
            if *keyword == Keyword::User {
                if has_remote_user {
                    self.errors.push(
                        Error::content("both 'user' and 'remote_user' are set for this play.")
                            .at(&value.mark)
                            .help("`user` is the old name of `remote_user`: remove it"),
                    );
                }
                *keyword = Keyword::RemoteUser;
            }
        }
        keywords
    }

    fn hosts(&mut self, entry: &Node, pairs: &[(Node, Node)]) -> Option<Node> {
        let Some((key, hosts)) = pairs.iter().find(|(key, _)| key.as_str() == Some("hosts")) else {
            self.error(
                Error::content("the play has no `hosts`")
                    .at(&entry.mark)
                    .help("say where it runs, e.g. `hosts: all`"),
            );
            return None;
        };
        match &hosts.kind {
            Kind::Null => self.wrong_form(
                key,
                "Hosts list cannot be empty. Please check your playbook",
                "say where it runs, e.g. `hosts: all`",
            ),
            Kind::Text(text) if text.is_empty() => self.wrong(
                hosts,
                "Hosts list cannot be empty. Please check your playbook",
            ),
            Kind::List(items) if items.is_empty() => self.wrong(
                hosts,
                "Hosts list cannot be empty. Please check your playbook",
            ),
            Kind::List(items) => {
                for item in items.iter() {
                    if item.as_str().is_none_or(|text| text.trim().is_empty()) {
                        self.wrong(
                            item,
                            format!("a host must be text, not {}", item.kind_name()),
                        );
                    }
                }
            }
            Kind::Text(_) | Kind::Unsafe(_) | Kind::Vault(_) => {}
            _ => self.wrong(
                hosts,
                format!("`hosts` must be text or a list, not {}", hosts.kind_name()),
            ),
        }
        Some(hosts.clone())
    }

    fn check_play_choices(&mut self, pairs: &[(Node, Node)]) {
        if let Some(order) = given(pairs, "order") {
            self.check_choice(
                Keyword::Order,
                order,
                &[
                    "inventory",
                    "reverse_inventory",
                    "sorted",
                    "reverse_sorted",
                    "shuffle",
                ],
            );
        }
        if let Some(strategy) = given(pairs, "strategy") {
            let short = strategy
                .as_str()
                .and_then(|name| name.strip_prefix("ansible.builtin."))
                .map_or_else(
                    || strategy.clone(),
                    |short| Node::text(strategy.mark.clone(), short),
                );
            self.check_choice(
                Keyword::Strategy,
                &short,
                &["linear", "free", "host_pinned", "debug"],
            );
        }
    }

    fn vars_files(&mut self, node: Option<&Node>) -> Vec<Node> {
        let entries = node.map(as_items).unwrap_or_default();
        for name in entries.iter().flat_map(as_items) {
            if !matches!(name.kind, Kind::Text(_) | Kind::Unsafe(_)) {
                self.wrong(
                    &name,
                    format!(
                        "a name in `vars_files` must be text, not {}",
                        name.kind_name()
                    ),
                );
            }
        }
        entries
    }

    fn vars_prompt(&mut self, node: Option<&Node>) -> Vec<VarsPrompt> {
        let entries = node.map(as_items).unwrap_or_default();
        entries
            .iter()
            .filter_map(|entry| self.one_prompt(entry))
            .collect()
    }

    fn one_prompt(&mut self, entry: &Node) -> Option<VarsPrompt> {
        const KEYS: [&str; 9] = [
            "name",
            "prompt",
            "default",
            "private",
            "confirm",
            "encrypt",
            "salt_size",
            "salt",
            "unsafe",
        ];
        let Some(pairs) = entry.as_map() else {
            self.wrong(
                entry,
                format!(
                    "an entry of `vars_prompt` must be a dictionary, not {}",
                    entry.kind_name()
                ),
            );
            return None;
        };
        for (key, _) in pairs {
            let name = key.to_value().to_string();
            if !KEYS.contains(&name.as_str()) {
                self.error(
                    Error::content(format!("`{name}` is not a key of `vars_prompt`"))
                        .at(&key.mark)
                        .suggest(&name, KEYS),
                );
            }
        }
        let flag = |key: &str, default: bool| {
            given(pairs, key)
                .and_then(|value| value.to_value().to_soft_bool())
                .unwrap_or(default)
        };
        let Some(name) = given(pairs, "name") else {
            self.wrong(
                entry,
                "Invalid vars_prompt data structure, missing 'name' key",
            );
            return None;
        };
        Some(VarsPrompt {
            name: name.to_value().to_string(),
            prompt: given(pairs, "prompt").cloned(),
            default: given(pairs, "default").cloned(),
            private: flag("private", true),
            confirm: flag("confirm", false),
            encrypt: given(pairs, "encrypt").cloned(),
            salt_size: given(pairs, "salt_size").cloned(),
            salt: given(pairs, "salt").cloned(),
            is_unsafe: flag("unsafe", false),
        })
    }

    /// Loads the roles of `roles:`.
    fn play_roles(
        &mut self,
        node: Option<&Node>,
        around: Around<'_>,
    ) -> (Vec<Arc<Role>>, Vec<Item>, Vec<Arc<Task>>) {
        let (mut roles, mut items, mut handlers) = (Vec::new(), Vec::new(), Vec::new());
        let Some(node) = node else {
            return (roles, items, handlers);
        };
        let Some(entries) = node.as_list() else {
            self.wrong_form(
                node,
                format!(
                    "A malformed role declaration was encountered: `roles` should be a list, not {}",
                    node.kind_name()
                ),
                "write a line `- NAME` for each role",
            );
            return (roles, items, handlers);
        };
        for entry in entries {
            if let Some(found) = self.role_entry(entry, around) {
                let (role_items, role_handlers) = self.expand(&found, around);
                roles.push(Arc::clone(&found.role));
                items.extend(role_items);
                handlers.extend(role_handlers);
            }
        }
        (roles, items, handlers)
    }
}

/// Puts a play's level under the tags and conditions of an import.
fn under_import(play: &Arc<Layer>, import: &Imported) -> Arc<Layer> {
    let mut outer = Layer::new(
        LayerKind::Import {
            target: Target::File("".into()),
        },
        None,
    );
    for (keyword, values) in [
        (Keyword::Tags, &import.tags),
        (Keyword::When, &import.conditions),
    ] {
        if let Some(first) = values.first() {
            let mark = first.mark.clone();
            let list = Kind::List(Arc::new(values.clone()));
            outer.keywords.push((keyword, Node::new(mark, list)));
        }
    }
    Arc::new(Layer {
        kind: LayerKind::Play,
        keywords: play.keywords.clone(),
        vars: Arc::clone(&play.vars),
        parent: Some(Arc::new(outer)),
    })
}
