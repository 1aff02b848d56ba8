//! `import_role`: a role's tasks in the place of a task.

use std::sync::Arc;

use super::super::layer::{Target, Vars};
use super::super::play::Item;
use super::super::task::IncludeRole;
use super::action::Written;
use super::role::Request;
use super::{Around, Loading, given};
use crate::node::{Kind, Node};

impl Loading<'_> {
    /// Loads `import_role`: the role's tasks in its place.
    pub(super) fn import_role(
        &mut self,
        entry: &Node,
        pairs: &[(Node, Node)],
        written: &Written,
        around: Around<'_>,
    ) -> Vec<Item> {
        if around.handlers {
            self.wrong(entry, "`import_role` cannot be a handler");
            return Vec::new();
        }
        self.refuse_loop(pairs, "import_role", "include_role");
        let Some(options) = self.role_options(written, "import_role") else {
            return Vec::new();
        };
        let own = self.vars(given(pairs, "vars"));
        let Some(name) = self.static_name(&options.name, around, &own) else {
            return Vec::new();
        };
        let Some(options) = self.static_options(options, around, &own) else {
            return Vec::new();
        };
        let flag = |node: &Option<Node>| {
            node.as_ref()
                .and_then(|node| node.to_value().to_soft_bool())
        };
        let request = Request {
            name,
            mark: options.name.mark.clone(),
            keywords: Vec::new(),
            params: Arc::default(),
            use_vars: own,
            public: flag(&options.public).unwrap_or_else(|| {
                self.context
                    .private_role_vars
                    .is_none_or(|private| !private)
            }),
            allow_duplicates: Some(flag(&options.allow_duplicates).unwrap_or(true)),
            include: Some(options),
        };
        let Some(found) = self.find_role(request, around, None, &mut Vec::new()) else {
            return Vec::new();
        };
        let target = Target::Role(Arc::clone(&found.role));
        let layer = self.import_layer(pairs, target, written, around);
        self.roles.push(Arc::clone(&found.role));
        let (items, handlers) = self.expand(
            &found,
            Around {
                layer: &layer,
                ..around
            },
        );
        self.handlers.extend(handlers);
        items
    }

    /// Renders the `*_from` names of a static import.
    fn static_options(
        &mut self,
        mut options: IncludeRole,
        around: Around<'_>,
        own: &Arc<Vars>,
    ) -> Option<IncludeRole> {
        let names = [
            &mut options.tasks_from,
            &mut options.vars_from,
            &mut options.defaults_from,
            &mut options.handlers_from,
        ];
        for node in names.into_iter().flatten() {
            let text = self.static_name(node, around, own)?;
            *node = Node::new(node.mark.clone(), Kind::Unsafe(text.into()));
        }
        Some(options)
    }
}
