//! The action of a task: which key names it, and its arguments in every form Ansible takes.

use std::path::{Path, PathBuf};

use super::super::keyword::{Keyword, Place};
use super::super::names::{self, Meaning};
use super::super::search;
use super::super::split::{key_values, words};
use super::super::task::{Args, ExternalModule, ModuleName};
use super::{Around, Loading, given};
use crate::arguments::ArgumentSpec;
use crate::error::Error;
use crate::node::{Kind, Node};
use crate::source::Mark;

/// An action as written.
pub(super) struct Written {
    /// The name, at the key or text that holds it.
    pub(super) name: Node,
    pub(super) args: Args,
    /// `local_action`: where it stands.
    local: Option<Mark>,
}

impl Written {
    /// Returns the name as text.
    pub(super) fn text(&self) -> String {
        self.name.to_value().to_string()
    }

    /// Tells whether a key of the task is the action's and no keyword.
    pub(super) fn claims(&self, key: &str) -> bool {
        key == self.text() || key.starts_with("with_")
    }

    /// Returns the delegation that `local_action` means.
    pub(super) fn delegation(&self) -> Option<(Keyword, Node)> {
        let mark = self.local.clone()?;
        Some((Keyword::DelegateTo, Node::text(mark, "localhost")))
    }
}

impl Loading<'_> {
    /// Finds the action of a task. `None` after an error.
    pub(super) fn action(
        &mut self,
        entry: &Node,
        pairs: &[(Node, Node)],
        around: Around<'_>,
    ) -> Option<Written> {
        let args = entry.get("args");
        let old_forms: Vec<_> = ["action", "local_action"]
            .into_iter()
            .filter_map(|key| entry.entry(key))
            .collect();
        let modules = self.candidates(pairs, !old_forms.is_empty(), around)?;
        match (old_forms.as_slice(), modules.as_slice()) {
            ([(key, value)], []) => self.old_form(key, value, args),
            ([], [(name, value)]) => {
                let args = self.arguments(name, value, args);
                Some(Written {
                    name: (*name).clone(),
                    args,
                    local: None,
                })
            }
            ([], []) => {
                self.error(
                    Error::content("the task has no action")
                        .at(&entry.mark)
                        .help("name a module, e.g. `debug:`"),
                );
                None
            }
            ([first, second, ..], _) => self.conflict(&first.0, &second.0),
            ([(key, _)], [(name, _), ..]) => self.conflict(key, name),
            ([], [(first, _), (second, _), ..]) => self.conflict(first, second),
        }
    }

    fn conflict(&mut self, first: &Node, second: &Node) -> Option<Written> {
        self.error(
            Error::content(format!(
                "conflicting actions: `{}` and `{}`",
                first.to_value(),
                second.to_value()
            ))
            .at(&second.mark)
            .help("a task does one thing: write two tasks"),
        );
        None
    }

    /// Lists the keys that may name the module. Of several, those that no module has are
    /// misspelled keywords. `None` after an error.
    fn candidates<'n>(
        &mut self,
        pairs: &'n [(Node, Node)],
        has_action: bool,
        around: Around<'_>,
    ) -> Option<Vec<(&'n Node, &'n Node)>> {
        let mut candidates: Vec<_> = pairs
            .iter()
            .filter(|(key, _)| {
                let name = key.to_value().to_string();
                Keyword::find(&name, Place::Handler).is_none() && !name.starts_with("with_")
            })
            .map(|(key, value)| (key, value))
            .collect();
        let is_known = |(key, _): &(&Node, &Node)| {
            let name = key.to_value().to_string();
            !matches!(
                names::meaning(&name, &collections(around)),
                Meaning::Unknown(_)
            ) || self.local_module(&name, around).is_some()
        };
        if candidates.len() + usize::from(has_action) > 1 {
            let (known, unknown): (Vec<_>, Vec<_>) = candidates.into_iter().partition(is_known);
            if known.is_empty() && !has_action {
                self.neither_module_nor_keyword(&unknown);
                return None;
            }
            for (key, _) in &unknown {
                self.unknown_keyword(key, Place::Task);
            }
            candidates = known;
        }
        Some(candidates)
    }

    fn neither_module_nor_keyword(&mut self, keys: &[(&Node, &Node)]) {
        if let Some((key, _)) = keys.iter().find(|(key, _)| key.as_str() == Some("hosts")) {
            self.error(
                Error::content("a play stands here, among tasks")
                    .at(&key.mark)
                    .help("bring it with `import_playbook`, beside the other plays"),
            );
            return;
        }
        for (key, _) in keys {
            let name = key.to_value().to_string();
            let known = Place::Task.keywords().map(Keyword::name);
            self.error(
                Error::content(format!(
                    "`{name}` is neither a module nor a keyword of a task"
                ))
                .at(&key.mark)
                .suggest(&name, known.chain(names::builtin())),
            );
        }
    }

    /// Reads `action:` and `local_action:`.
    fn old_form(&mut self, key: &Node, value: &Node, args: Option<&Node>) -> Option<Written> {
        let local = (key.as_str() == Some("local_action")).then(|| key.mark.clone());
        let (name, text, mut options) = match &value.kind {
            Kind::Text(text) | Kind::Unsafe(text) => {
                let (name, rest) = self.first_word(value, text)?;
                (name, rest, Vec::new())
            }
            Kind::Map(pairs) => {
                let Some(module) = given(pairs, "module").filter(|node| node.as_str().is_some())
                else {
                    let message = format!("`{}` names no `module`", key.to_value());
                    self.wrong(value, message);
                    return None;
                };
                let (name, rest) = self.first_word(module, module.as_str().unwrap_or_default())?;
                let others = pairs
                    .iter()
                    .filter(|(key, _)| key.as_str() != Some("module"));
                (name, rest, others.cloned().collect())
            }
            _ => {
                self.wrong(
                    value,
                    format!(
                        "`{}` must be text or a dictionary, not {}",
                        key.to_value(),
                        value.kind_name()
                    ),
                );
                return None;
            }
        };
        let mut found = self.arguments(&name, &text, args);
        if let Some(at) = options
            .iter()
            .position(|(key, _): &(Node, Node)| key.as_str() == Some("args"))
        {
            let (_, inner) = options.remove(at);
            options.extend(self.arguments(&name, &inner, None).options);
        }
        self.add_options(&mut found, options);
        Some(Written {
            name,
            args: found,
            local,
        })
    }

    /// Splits `copy src=a` into the name and the text after it.
    fn first_word(&mut self, node: &Node, text: &str) -> Option<(Node, Node)> {
        let Some(split) = words(text) else {
            self.unbalanced(node);
            return None;
        };
        let name = split.first().map(|word| word.trim()).unwrap_or_default();
        if name.is_empty() {
            self.wrong(node, "the action is empty");
            return None;
        }
        let rest = split.get(1..).unwrap_or_default().join(" ");
        Some((node_like(node, name), node_like(node, &rest)))
    }

    fn unbalanced(&mut self, node: &Node) {
        self.error(
            Error::content("a quote or a template block is not closed")
                .at(&node.mark)
                .help("write the options as a dictionary: then YAML does the quoting"),
        );
    }

    /// Reads the arguments of a module, over those of `args:`.
    fn arguments(&mut self, name: &Node, value: &Node, keyword: Option<&Node>) -> Args {
        let module = name.to_value().to_string();
        let mut args = Args::default();
        if let Some(keyword) = keyword {
            match &keyword.kind {
                Kind::Map(pairs) => self.add_options(&mut args, pairs.to_vec()),
                Kind::Text(text) if is_whole_template(text) => {
                    args.variable = Some(keyword.clone());
                }
                Kind::Null => {}
                _ => self.error(
                    Error::content(format!(
                        "`args` must be a dictionary, not {}",
                        keyword.kind_name()
                    ))
                    .at(&keyword.mark)
                    .help("a template that renders to a dictionary does as well"),
                ),
            }
        }
        match &value.kind {
            Kind::Map(pairs) => self.add_options(&mut args, pairs.to_vec()),
            Kind::Text(text) | Kind::Unsafe(text) => {
                self.text_arguments(&module, value, text, &mut args);
            }
            Kind::Vault(_) => args.free_form = Some(value.clone()),
            Kind::Null => {}
            _ => self.wrong(
                value,
                format!(
                    "the options of `{module}` must be a dictionary or text, not {}",
                    value.kind_name()
                ),
            ),
        }
        args
    }

    fn text_arguments(&mut self, module: &str, node: &Node, text: &str, args: &mut Args) {
        let Some(split) = key_values(text, names::takes_command(module)) else {
            self.unbalanced(node);
            return;
        };
        let pairs = split
            .options
            .iter()
            .map(|(key, value)| (node_like(node, key), node_like(node, value)))
            .collect();
        self.add_options(args, pairs);
        let Some(rest) = split.rest.map(|rest| node_like(node, &rest)) else {
            return;
        };
        let takes_text = names::takes_text(module)
            || self
                .spec(module)
                .is_some_and(|spec| spec.free_form.is_some());
        if takes_text {
            args.free_form = Some(rest);
        } else if rest.as_str().is_some_and(is_whole_template) {
            args.variable = Some(rest);
        } else if !matches!(names::meaning(module, &[]), Meaning::Unknown(_)) {
            self.error(
                Error::content(format!(
                    "`{module}` takes no text besides `key=value` options"
                ))
                .at(&node.mark)
                .help("write its options as a dictionary"),
            );
        }
    }

    /// Adds options over those that are there; `_raw_params` is the free-form text.
    fn add_options(&mut self, args: &mut Args, options: Vec<(Node, Node)>) {
        for (key, value) in options {
            let name = key.to_value().to_string();
            if name.starts_with("_ansible_") {
                self.error(
                    Error::content(format!("`{name}` is reserved for the engine itself"))
                        .at(&key.mark),
                );
            } else if name == "_raw_params" {
                args.free_form = Some(value);
            } else {
                args.options
                    .retain(|(known, _)| known.to_value() != key.to_value());
                args.options.push((key, value));
            }
        }
    }

    /// Returns the options of a module that exists here.
    pub(super) fn spec(&self, written: &str) -> Option<&'static ArgumentSpec> {
        match names::meaning(written, &[]) {
            Meaning::Builtin(name) | Meaning::Unknown(name) | Meaning::Collection(name) => {
                self.context.catalog.module(&name)
            }
        }
    }

    /// Resolves the module of a task, and checks its option names where they are known.
    pub(super) fn module(&mut self, written: &Written, around: Around<'_>) -> Option<ModuleName> {
        let text = written.text();
        if super::super::may_be_template(&written.name) {
            return Some(ModuleName::Source(written.name.clone()));
        }
        if let Some(found) = self.external(&text, around) {
            self.check_external_text(written);
            return Some(ModuleName::External(found.into()));
        }
        match names::meaning(&text, &collections(around)) {
            Meaning::Builtin(short) | Meaning::Unknown(short)
                if self.context.catalog.module(&short).is_some() =>
            {
                if !around.tolerated {
                    self.check_options(&short, &written.args);
                }
                Some(ModuleName::Known(format!("ansible.builtin.{short}").into()))
            }
            Meaning::Collection(full) if self.context.catalog.module(&full).is_some() => {
                if !around.tolerated {
                    self.check_options(&full, &written.args);
                }
                Some(ModuleName::Known(full.into()))
            }
            Meaning::Builtin(short) => {
                let full = format!("ansible.builtin.{short}");
                let why = format!("module `{full}` is not one that backstay has");
                self.missing(written, &full, why, around)
            }
            Meaning::Collection(full) => {
                let why = format!("module `{full}` is not one that backstay has");
                self.missing(written, &full, why, around)
            }
            Meaning::Unknown(_) => {
                self.check_module_name(&written.name, &text);
                None
            }
        }
    }

    /// An external module takes options only, unless it is one of Windows' that run commands.
    fn check_external_text(&mut self, written: &Written) {
        let module = written.text();
        if written.args.free_form.is_some() && !names::takes_command(&module) {
            self.error(
                Error::content(format!(
                    "`{module}` takes no text besides `key=value` options"
                ))
                .at(&written.name.mark)
                .help("write its options as a dictionary"),
            );
        }
    }

    /// A module that Ansible has and this engine has not: an error now, unless a condition may
    /// keep it from being reached.
    fn missing(
        &mut self,
        written: &Written,
        full: &str,
        why: String,
        around: Around<'_>,
    ) -> Option<ModuleName> {
        if around.layer.nearest(Keyword::When).is_some() {
            return Some(ModuleName::Missing {
                name: full.into(),
                why: why.into(),
            });
        }
        self.error(
            Error::content(why)
                .at(&written.name.mark)
                .help("docs/compatibility.md lists what it has; others run from a `library/` or an installed collection"),
        );
        None
    }

    /// Finds the file of a module: of a collection, or in a `library/`, which wins over
    /// ansible-core's own module of that name unless that is named in full.
    fn external(&self, written: &str, around: Around<'_>) -> Option<ExternalModule> {
        let collections = collections(around);
        let path = match names::meaning(written, &collections) {
            _ if written.starts_with("ansible.builtin.") => None,
            Meaning::Builtin(short) if names::acts_on_controller(&short) => None,
            Meaning::Builtin(short) => self.local_module(&short, around),
            Meaning::Unknown(short) => self.local_module(&short, around),
            Meaning::Collection(full) if written.contains('.') => {
                let is_native = self.context.catalog.module(&full).is_some();
                if is_native {
                    None
                } else {
                    self.collection_module(&full, around)
                }
            }
            Meaning::Collection(full) => {
                let listed = collections.iter().find_map(|collection| {
                    self.collection_module(&format!("{collection}.{written}"), around)
                });
                let is_native = self.context.catalog.module(&full).is_some();
                listed
                    .or_else(|| self.local_module(written, around))
                    .or_else(|| {
                        let installed = || self.collection_module(&full, around);
                        (!is_native).then(installed).flatten()
                    })
            }
        }?;
        let beside = |directory: &str| around.directory.join(directory);
        let roles = around.layer.roles();
        Some(ExternalModule {
            name: written
                .strip_prefix("ansible.legacy.")
                .unwrap_or(written)
                .into(),
            path: self.whole_path(&path),
            utilities: roles
                .map(|role| role.path.join("module_utils"))
                .chain([beside("module_utils")])
                .map(|path| self.whole_path(&path))
                .collect(),
            collections: self
                .collection_roots(around)
                .map(|path| self.whole_path(&path))
                .collect(),
        })
    }

    fn whole_path(&self, path: &Path) -> PathBuf {
        search::normal(&self.context.working_directory.join(path))
    }

    /// Walks the directories where `ansible_collections` may stand.
    fn collection_roots(&self, around: Around<'_>) -> impl Iterator<Item = PathBuf> {
        let adjacent = around.directory.join("collections");
        let set = self.context.collections_path.iter().cloned();
        std::iter::once(adjacent).chain(set)
    }

    /// Finds a module of an installed collection by its full name.
    fn collection_module(&self, full: &str, around: Around<'_>) -> Option<PathBuf> {
        let (namespace, rest) = full.split_once('.')?;
        let (collection, name) = rest.split_once('.')?;
        let (below, short) = name.rsplit_once('.').unwrap_or(("", name));
        let plugins = |kind: &str| {
            let below = format!(
                "ansible_collections/{namespace}/{collection}/plugins/{kind}/{}",
                below.replace('.', "/")
            );
            self.collection_roots(around)
                .map(move |root| search::normal(&root.join(&below)))
        };
        // Its half on the controller would be missing.
        search::local_module(self.context, plugins("action"), short)
            .is_none()
            .then_some(())?;
        let directories = plugins("modules");
        search::local_module(self.context, directories, short)
    }

    /// Finds a module in `library/` of the playbook, then of the roles in the order they came in,
    /// or in the setting's directories.
    fn local_module(&self, name: &str, around: Around<'_>) -> Option<PathBuf> {
        let playbook = std::iter::once(around.directory.join("library"));
        let roles = around.layer.roles().map(|role| role.path.join("library"));
        let directories = playbook
            .chain(self.libraries.iter().cloned())
            .chain(roles)
            .chain(self.context.module_path.iter().cloned());
        search::local_module(self.context, directories, name)
    }

    /// Reports a module name that nobody knows.
    pub(super) fn check_module_name(&mut self, at: &Node, written: &str) {
        let Meaning::Unknown(short) = names::meaning(written, &[]) else {
            return;
        };
        if self.context.catalog.module(&short).is_some() {
            return;
        }
        let known = self.context.catalog.modules();
        let keywords = Place::Task.keywords().map(Keyword::name);
        self.error(
            Error::content(format!("there is no module `{written}`"))
                .at(&at.mark)
                .suggest(
                    &short,
                    known.into_iter().chain(names::builtin()).chain(keywords),
                ),
        );
    }

    fn check_options(&mut self, short: &str, args: &Args) {
        let Some(spec) = self
            .context
            .catalog
            .module(short)
            .filter(|_| !names::takes_any_option(short))
        else {
            return;
        };
        // `service` hands over to the service manager's own module, with all options.
        let handed_over = (short == "service")
            .then(|| self.context.catalog.module("systemd"))
            .flatten();
        for (key, _) in &args.options {
            let name = key.to_value().to_string();
            if super::super::may_be_template(key)
                || handed_over.is_some_and(|other| other.parameter(&name).is_some())
            {
                continue;
            }
            for problem in spec.check_names([name.as_str()]) {
                self.error(Error::from(problem).at(&key.mark));
            }
        }
    }
}

/// Returns the collections that the `collections` keyword lists.
pub(super) fn collections(around: Around<'_>) -> Vec<String> {
    around
        .layer
        .nearest(Keyword::Collections)
        .map(super::as_items)
        .unwrap_or_default()
        .iter()
        .map(|name| name.to_value().to_string())
        .collect()
}

/// Makes a text node of the same kind and place as another.
fn node_like(node: &Node, text: &str) -> Node {
    let kind = match node.kind {
        Kind::Unsafe(_) => Kind::Unsafe(text.into()),
        _ => Kind::Text(text.into()),
    };
    Node::new(node.mark.clone(), kind)
}

/// Tells whether text looks like one template and nothing else.
fn is_whole_template(text: &str) -> bool {
    let text = text.trim();
    text.starts_with("#jinja2:")
        || [("{{", "}}"), ("{%", "%}"), ("{#", "#}")]
            .iter()
            .any(|(start, end)| text.starts_with(start) && text.ends_with(end))
}
