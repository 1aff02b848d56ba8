//! `meta/`: what a role says of itself.

use std::path::Path;
use std::sync::Arc;

use super::super::keyword::Place;
use super::super::role::Role;
use super::super::task::IncludeRole;
use super::{Loading, as_items, given};
use crate::node::{Kind, Node};
use crate::source::Mark;

/// What `meta/main.yml` says.
#[derive(Default)]
pub(super) struct Metadata {
    pub(super) dependencies: Vec<Node>,
    pub(super) collections: Vec<String>,
    pub(super) allow_duplicates: bool,
    /// What its arguments must be, by the names of its entry points.
    pub(super) argument_specs: Option<Node>,
}

impl Loading<'_> {
    /// Reads `meta/main.yml`, and `argument_specs` of it or beside it.
    pub(super) fn metadata(&mut self, role: &Path, mark: &Mark) -> Metadata {
        let file = self.argument_specs(role, mark);
        let roots = self.role_files(role, "meta", None, false, mark);
        let Some(root) = roots.first().filter(|root| !root.is_null()) else {
            return Metadata {
                argument_specs: file,
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
            argument_specs: file.or_else(|| given(pairs, "argument_specs").cloned()),
        }
    }

    /// Reads `meta/argument_specs.yml`, which counts alone where it exists.
    fn argument_specs(&mut self, role: &Path, mark: &Mark) -> Option<Node> {
        let path = [".yml", ".yaml", ".json"]
            .iter()
            .map(|end| role.join("meta").join(format!("argument_specs{end}")))
            .find(|path| self.context.files.kind(path).is_some())?;
        let root = self.read(&path, Some(mark));
        let specs = root.and_then(|root| root.get("argument_specs").cloned());
        Some(specs.unwrap_or_else(|| Node::new(mark.clone(), Kind::Null)))
    }

    /// Makes the task that checks a role's arguments, when its entry point specifies them; `from`
    /// names another entry point than `main`.
    pub(super) fn validation(
        &mut self,
        specs: &Node,
        role: &Role,
        from: Option<&Node>,
    ) -> Option<Node> {
        if !specs.is_null() && specs.as_map().is_none() {
            self.wrong(
                specs,
                "`argument_specs` must be a dictionary of entry points",
            );
            return None;
        }
        let from = from.map(|name| name.to_value().to_string());
        let entry = from.as_deref().map_or("main", |name| {
            name.rsplit_once('/').map_or(name, |(_, last)| last)
        });
        let spec = specs.get(entry).filter(|spec| !spec.is_null())?;
        let Some(pairs) = spec.as_map() else {
            self.wrong(
                spec,
                format!("the specification of `{entry}` must be a dictionary"),
            );
            return None;
        };
        if pairs.is_empty() {
            return None;
        }
        let mark = &spec.mark;
        let text = |text: &str| Node::text(mark.clone(), text);
        let inert = |text: &str| Node::new(mark.clone(), Kind::Unsafe(text.into()));
        let map = |pairs: Vec<(&str, Node)>| {
            let pairs = pairs.into_iter().map(|(key, value)| (text(key), value));
            Node::new(mark.clone(), Kind::Map(Arc::new(pairs.collect())))
        };
        let mut name = format!("Validating arguments against arg spec '{entry}'");
        if let Some(about) = spec.get("short_description") {
            name += &format!(" - {}", about.to_value());
        }
        let params = role.params.iter();
        let params = params.map(|(name, value)| (&**name, value.clone()));
        let options = spec.get("options").cloned();
        let args = map(vec![
            ("argument_spec", options.unwrap_or_else(|| map(Vec::new()))),
            ("provided_arguments", map(params.collect())),
            (
                "validate_args_context",
                map(vec![
                    ("type", text("role")),
                    ("name", inert(&role.full_name())),
                    ("argument_spec_name", inert(entry)),
                    ("path", inert(&role.path.to_string_lossy())),
                ]),
            ),
        ]);
        Some(map(vec![
            ("name", inert(&name)),
            ("action", text("ansible.builtin.validate_argument_spec")),
            ("args", args),
            ("tags", text("always")),
        ]))
    }
}

/// Tells whether a role's arguments are to be checked: they are unless `rolespec_validate` says no.
pub(super) fn is_validated(include: Option<&IncludeRole>) -> bool {
    include
        .and_then(|include| include.rolespec_validate.as_ref())
        .and_then(|flag| flag.to_value().to_soft_bool())
        .unwrap_or(true)
}
