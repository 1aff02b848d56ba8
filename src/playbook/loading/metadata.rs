//! `meta/`: what a role says of itself.

use std::path::Path;

use super::super::keyword::Place;
use super::{Loading, as_items, given};
use crate::node::Node;
use crate::source::Mark;

/// What `meta/main.yml` says.
#[derive(Default)]
pub(super) struct Metadata {
    pub(super) dependencies: Vec<Node>,
    pub(super) collections: Vec<String>,
    pub(super) allow_duplicates: bool,
    pub(super) argument_specs: Option<Node>,
}

impl Loading<'_> {
    /// Reads `meta/main.yml`, and `argument_specs` of it or beside it.
    pub(super) fn metadata(&mut self, role: &Path, mark: &Mark) -> Metadata {
        let specs = self.argument_specs(role, mark);
        let roots = self.role_files(role, "meta", None, false, mark);
        let Some(root) = roots.first().filter(|root| !root.is_null()) else {
            return Metadata {
                argument_specs: specs,
                ..Metadata::default()
            };
        };
        let Some(pairs) = root.as_map() else {
            self.wrong(root, "`meta/main.yml` of a role must be a dictionary");
            return Metadata::default();
        };
        self.keywords(pairs, Place::RoleMetadata, |_| false);
        let dependencies = given(pairs, "dependencies");
        if let Some(wrong) = dependencies.filter(|list| list.as_list().is_none()) {
            self.wrong(
                wrong,
                format!("`dependencies` must be a list, not {}", wrong.kind_name()),
            );
        }
        Metadata {
            dependencies: dependencies
                .and_then(Node::as_list)
                .map(<[Node]>::to_vec)
                .unwrap_or_default(),
            collections: given(pairs, "collections")
                .map(as_items)
                .unwrap_or_default()
                .iter()
                .map(|name| name.to_value().to_string())
                .collect(),
            allow_duplicates: given(pairs, "allow_duplicates")
                .and_then(|value| value.to_value().to_soft_bool())
                .unwrap_or(false),
            argument_specs: specs.or_else(|| given(pairs, "argument_specs").cloned()),
        }
    }

    /// Reads `meta/argument_specs.yml`.
    fn argument_specs(&mut self, role: &Path, mark: &Mark) -> Option<Node> {
        let path = [".yml", ".yaml", ".json"]
            .iter()
            .map(|end| role.join("meta").join(format!("argument_specs{end}")))
            .find(|path| self.context.files.kind(path).is_some())?;
        let root = self.read(&path, Some(mark))?;
        root.get("argument_specs").cloned()
    }
}
