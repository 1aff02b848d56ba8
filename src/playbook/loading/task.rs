//! One task or handler: its keywords, loop, register, and what kind of action it is.

use std::sync::Arc;

use super::super::directives;
use super::super::keyword::{Keyword, Place};
use super::super::layer::{Layer, LayerKind};
use super::super::names;
use super::super::task::{Action, ActionKind, IncludeRole, Loop, LoopControl, Meta, Task};
use super::action::Written;
use super::tasks::inherited;
use super::{Around, Loading, as_items, given, is_variable_name};
use crate::error::{Error, ErrorKind};
use crate::node::{Kind, Node};

impl Loading<'_> {
    /// Loads a task that is no static import. `None` after an error that leaves nothing.
    pub(super) fn task(
        &mut self,
        entry: &Node,
        pairs: &[(Node, Node)],
        written: Written,
        around: Around<'_>,
    ) -> Option<Task> {
        let short = names::core_name(&written.text())
            .unwrap_or_default()
            .to_owned();
        let is_include = matches!(short.as_str(), "include_tasks" | "include_role");
        let place = match (is_include, around.handlers) {
            (true, false) => Place::Include,
            (true, true) => Place::HandlerInclude,
            (false, false) => Place::Task,
            (false, true) => Place::Handler,
        };
        let tolerated = around.tolerated;
        let mut keywords = self.keywords_of(pairs, place, tolerated, |name| written.claims(name));
        keywords.extend(written.delegation());
        let value = |wanted: Keyword| {
            keywords
                .iter()
                .find(|(keyword, _)| *keyword == wanted)
                .map(|(_, value)| value.clone())
        };
        let conditions = |wanted: Keyword| value(wanted).as_ref().map(as_items).unwrap_or_default();
        let (until, changed_when, failed_when) = (
            conditions(Keyword::Until),
            conditions(Keyword::ChangedWhen),
            conditions(Keyword::FailedWhen),
        );
        for condition in [&until, &changed_when, &failed_when].into_iter().flatten() {
            self.check_conditions(condition);
        }
        let register = value(Keyword::Register).and_then(|name| self.register(&name));
        let loop_over = self.loop_of(pairs);
        // Even an empty one is refused, as Ansible does.
        let loop_control = entry
            .get(Keyword::LoopControl.name())
            .map(|control| self.loop_control(control))
            .unwrap_or_default();
        let listen = value(Keyword::Listen).map_or_else(Vec::new, |topics| self.listen(&topics));
        let (name, retries, delay) = (
            value(Keyword::Name),
            value(Keyword::Retries),
            value(Keyword::Delay),
        );
        let (async_seconds, poll) = (value(Keyword::Async), value(Keyword::Poll));
        let vars = self.vars(given(pairs, "vars"));
        let layer = Arc::new(Layer {
            kind: LayerKind::Task,
            keywords: inherited(keywords),
            vars,
            parent: Some(Arc::clone(around.layer)),
        });
        let inner = Around {
            layer: &layer,
            ..around
        };
        let kind = self.kind(&written, &short, inner)?;
        Some(Task {
            id: self.context.ids.next(),
            mark: entry.mark.clone(),
            name,
            action: Action {
                written: written.name,
                kind,
            },
            layer,
            register,
            loop_over,
            loop_control,
            until,
            retries,
            delay,
            changed_when,
            failed_when,
            async_seconds,
            poll,
            handler: around.handlers,
            listen,
        })
    }

    fn kind(&mut self, written: &Written, short: &str, around: Around<'_>) -> Option<ActionKind> {
        for (_, value) in &written.args.options {
            self.check_templates(value);
        }
        for text in [&written.args.free_form, &written.args.variable]
            .into_iter()
            .flatten()
        {
            self.check_templates(text);
        }
        match short {
            "meta" => self.meta(written, around).map(ActionKind::Meta),
            "include_tasks" => {
                let file = self.tasks_file(written)?;
                let apply = self.apply(written);
                Some(ActionKind::IncludeTasks { file, apply })
            }
            "include_role" => self.include_role(written, around),
            _ => {
                let name = self.module(written, around)?;
                Some(ActionKind::Module {
                    name,
                    args: written.args.clone(),
                })
            }
        }
    }

    fn meta(&mut self, written: &Written, around: Around<'_>) -> Option<Meta> {
        let Some(text) = &written.args.free_form else {
            self.wrong(&written.name, "`meta` names no action");
            return None;
        };
        let name = text.to_value().to_string();
        let found = Meta::ALL.iter().find(|(known, _)| *known == name.trim());
        let Some((_, action)) = found else {
            self.error(
                Error::refused(format!("`meta` has no action `{name}`"))
                    .at(&text.mark)
                    .suggest(&name, Meta::ALL.iter().map(|(known, _)| *known)),
            );
            return None;
        };
        if *action == Meta::EndRole && around.handlers {
            self.wrong(text, "`end_role` cannot be a handler");
        } else if *action == Meta::EndRole && around.layer.role().is_none() {
            self.wrong(text, "`end_role` stands outside of a role");
        }
        Some(*action)
    }

    fn apply(&mut self, written: &Written) -> Option<Node> {
        let apply = given(&written.args.options, "apply")?;
        if apply.as_map().is_none() {
            self.wrong(
                apply,
                format!("`apply` must be a dictionary, not {}", apply.kind_name()),
            );
            return None;
        }
        // Checked now, though it is applied when the include runs.
        let empty = Arc::new(Layer::new(LayerKind::Play, None));
        self.apply_layer(Some(apply), empty);
        Some(apply.clone())
    }

    fn include_role(&mut self, written: &Written, around: Around<'_>) -> Option<ActionKind> {
        if around.handlers {
            self.wrong(&written.name, "`include_role` cannot be a handler");
        }
        let options = self.role_options(written, "include_role")?;
        let apply = self.apply(written);
        let role = IncludeRole { apply, ..options };
        Some(ActionKind::IncludeRole(Box::new(role)))
    }

    /// Reads the options of `include_role` and `import_role`, without `apply`.
    pub(super) fn role_options(
        &mut self,
        written: &Written,
        directive: &str,
    ) -> Option<IncludeRole> {
        let action = written.text();
        let spec = directives::find(directive)?;
        let options = &written.args.options;
        for (key, value) in options {
            let name = key.to_value().to_string();
            if spec.parameter(&name).is_none() {
                self.error(
                    Error::content(format!("`{action}` has no option `{name}`"))
                        .at(&key.mark)
                        .suggest(&name, spec.names()),
                );
            } else if name.ends_with("_from") && value.as_str().is_none() {
                self.wrong(
                    value,
                    format!("`{name}` must be text, not {}", value.kind_name()),
                );
            }
        }
        let option = |name: &str| given(options, name).cloned();
        let Some(name) = option("name").or_else(|| option("role")) else {
            self.error(
                Error::content(format!("`{action}` names no role"))
                    .at(&written.name.mark)
                    .help("give it `name:`"),
            );
            return None;
        };
        Some(IncludeRole {
            name,
            tasks_from: option("tasks_from"),
            vars_from: option("vars_from"),
            defaults_from: option("defaults_from"),
            handlers_from: option("handlers_from"),
            apply: None,
            public: option("public"),
            allow_duplicates: option("allow_duplicates"),
            rolespec_validate: option("rolespec_validate"),
        })
    }

    fn register(&mut self, name: &Node) -> Option<Arc<str>> {
        let text = name.as_str().filter(|name| is_variable_name(name));
        if text.is_none() {
            self.wrong_name(name, ErrorKind::Content);
        }
        text.map(Arc::from)
    }

    fn loop_of(&mut self, pairs: &[(Node, Node)]) -> Option<Loop> {
        let mut found: Option<(Node, Loop)> = None;
        for (key, value) in pairs {
            let name = key.to_value().to_string();
            let this = match name.strip_prefix("with_") {
                Some(lookup) => self.with_loop(key, lookup, value),
                None if name == "loop" && !value.is_null() => Some(Loop::Items(value.clone())),
                None => None,
            };
            let Some(this) = this else { continue };
            self.check_templates(value);
            if let Some((first, _)) = &found {
                let message = format!("two loops in one task: `{}` and `{name}`", first.to_value());
                self.error(Error::refused(message).at(&key.mark).help(
                    "keep one of them, or put the task into a file that is included in a loop",
                ));
            }
            found = Some((key.clone(), this));
        }
        found.map(|(_, found)| found)
    }

    fn with_loop(&mut self, key: &Node, lookup: &str, value: &Node) -> Option<Loop> {
        let short = names::core_name(lookup).unwrap_or(lookup);
        if !self.context.catalog.has_lookup(short) {
            let lookups = self.context.catalog.lookups();
            self.error(
                Error::content(format!("there is no lookup `{lookup}` for `with_{lookup}`"))
                    .at(&key.mark)
                    .suggest(lookup, lookups),
            );
            return None;
        }
        if value.is_null() {
            self.wrong(key, format!("`with_{lookup}` has no value"));
            return None;
        }
        Some(Loop::With {
            lookup: short.to_owned(),
            terms: value.clone(),
        })
    }

    fn loop_control(&mut self, node: &Node) -> LoopControl {
        const KEYS: [&str; 7] = [
            "loop_var",
            "index_var",
            "label",
            "pause",
            "extended",
            "extended_allitems",
            "break_when",
        ];
        let Some(pairs) = node.as_map() else {
            self.error(
                Error::content(format!(
                    "`loop_control` must be a dictionary, not {}",
                    node.kind_name()
                ))
                .at(&node.mark)
                .help("it may hold templates, but not be one"),
            );
            return LoopControl::default();
        };
        for (key, value) in pairs {
            let name = key.to_value().to_string();
            if KEYS.contains(&name.as_str()) {
                if name != "break_when" {
                    self.check_templates(value);
                }
            } else {
                self.error(
                    Error::content(format!("`{name}` is not a key of `loop_control`"))
                        .at(&key.mark)
                        .suggest(&name, KEYS),
                );
            }
        }
        let value = |key: &str| given(pairs, key).cloned();
        let break_when = value("break_when")
            .as_ref()
            .map(as_items)
            .unwrap_or_default();
        for condition in &break_when {
            self.check_conditions(condition);
        }
        LoopControl {
            loop_var: value("loop_var"),
            index_var: value("index_var"),
            label: value("label"),
            pause: value("pause"),
            extended: value("extended"),
            extended_allitems: value("extended_allitems"),
            break_when,
        }
    }

    fn listen(&mut self, topics: &Node) -> Vec<String> {
        self.check_texts(Keyword::Listen, topics);
        as_items(topics)
            .iter()
            .filter(|topic| matches!(topic.kind, Kind::Text(_) | Kind::Unsafe(_)))
            .map(|topic| topic.to_value().to_string())
            .collect()
    }
}
