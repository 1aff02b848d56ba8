//! Variables as they are loaded: `vars:` mappings, variable files, and those a static name sees.

use std::path::Path;
use std::sync::Arc;

use super::super::layer::{Layer, LayerKind, Vars};
use super::super::reserved::is_reserved;
use super::super::vars_file;
use super::{Around, Loading, as_items};
use crate::error::{Error, ErrorKind};
use crate::node::{Kind, Node};
use crate::source::Mark;
use crate::value::repr;

/// Names Jinja keeps for itself.
const JINJA_NAMES: &[&str] = &["true", "false", "none", "True", "False", "None", "not"];

/// Tells whether a variable may have this name.
pub fn is_variable_name(name: &str) -> bool {
    let mut characters = name.chars();
    characters
        .next()
        .is_some_and(|first| first.is_ascii_alphabetic() || first == '_')
        && characters.all(|next| next.is_ascii_alphanumeric() || next == '_')
        && !JINJA_NAMES.contains(&name)
}

/// Reads the root of a variable file: a dictionary, a list of dictionaries of which later ones
/// win, or nothing.
pub fn variables_of(root: &Node) -> Result<Vars, Error> {
    let mut variables = Vars::new();
    for part in as_items(root) {
        let pairs = part.as_map().ok_or_else(|| {
            Error::content(format!(
                "a variable file must hold a dictionary, not {}",
                part.kind_name()
            ))
            .at(&part.mark)
            .help("write `name: value` lines")
        })?;
        for (key, value) in pairs {
            variables.insert(key.to_value().to_string().into(), value.clone());
        }
    }
    Ok(variables)
}

impl Loading<'_> {
    /// Reads a `vars:` mapping.
    pub(super) fn vars(&mut self, node: Option<&Node>) -> Arc<Vars> {
        let Some(node) = node.filter(|node| !node.is_null()) else {
            return Arc::default();
        };
        let Some(pairs) = node.as_map() else {
            self.error(
                Error::content(format!(
                    "`vars` must be a dictionary, not {}",
                    node.kind_name()
                ))
                .at(&node.mark)
                .help("write `name: value` lines"),
            );
            return Arc::default();
        };
        let mut variables = Vars::new();
        for (key, value) in pairs {
            match key.as_str().filter(|name| is_variable_name(name)) {
                Some(name) => {
                    self.warn_if_reserved(key);
                    variables.insert(name.into(), value.clone());
                }
                None => self.wrong_name(key, ErrorKind::Refused),
            }
        }
        Arc::new(variables)
    }

    /// Warns of a variable that hides a keyword or what templates call.
    fn warn_if_reserved(&mut self, key: &Node) {
        if let Some(name) = key.as_str().filter(|name| is_reserved(name)) {
            let text = format!("Found variable using reserved name {}.", repr(&name.into()));
            self.warnings.push((text, key.mark.clone()));
        }
    }

    /// Warns of such variables in a file.
    fn warn_of_reserved(&mut self, root: &Node) {
        for part in as_items(root) {
            for (key, _) in part.as_map().unwrap_or_default() {
                self.warn_if_reserved(key);
            }
        }
    }

    /// Reports a name that no variable may have.
    pub(super) fn wrong_name(&mut self, key: &Node, kind: ErrorKind) {
        self.error(
            Error::new(kind, format!("Invalid variable name `{}`", key.to_value()))
                .at(&key.mark)
                .help("a name starts with a letter or `_` and holds letters, digits and `_`"),
        );
    }

    /// Reads the variable files of one part of a role, later files winning.
    pub(super) fn role_variables(
        &mut self,
        role: &Path,
        part: &str,
        name: Option<&Node>,
        mark: &Mark,
    ) -> Arc<Vars> {
        let mut variables = Vars::new();
        for root in self.role_files(role, part, name, true, mark) {
            self.warn_of_reserved(&root);
            match variables_of(&root) {
                Ok(found) if !matches!(root.kind, Kind::List(_)) => variables.extend(found),
                Ok(_) => self.wrong(
                    &root,
                    format!("`{part}` of a role must be a dictionary, not a list"),
                ),
                Err(error) => self.error(error),
            }
        }
        Arc::new(variables)
    }

    /// Reads the variables of `vars_files` whose names hold no template, as far as they exist:
    /// what static names may use.
    pub(super) fn static_vars_files(&mut self, directory: &Path, files: &[Node]) -> Vec<Arc<Vars>> {
        let mut found = Vec::new();
        for alternatives in files {
            let path = as_items(alternatives)
                .iter()
                .filter(|name| !super::super::may_be_template(name))
                .filter_map(Node::as_str)
                .flat_map(|name| vars_file::candidates(directory, name))
                .find(|path| self.context.files.kind(path).is_some());
            let root = path.and_then(|path| self.read(&path, Some(&alternatives.mark)));
            if let Some(root) = &root {
                self.warn_of_reserved(root);
            }
            match root.map(|root| variables_of(&root)) {
                Some(Ok(variables)) => found.insert(0, Arc::new(variables)),
                Some(Err(error)) => self.error(error),
                None => {}
            }
        }
        found
    }
}

/// Lists the variables a static name sees, the first wins: of the levels around it, of roles,
/// of the play.
pub(super) fn visible(around: Around<'_>, play_files: &[Arc<Vars>]) -> Vec<Arc<Vars>> {
    let mut layers = vec![magic(around)];
    let is_play = |layer: &&Layer| matches!(layer.kind, LayerKind::Play);
    let inner = around.layer.outwards().filter(|layer| !is_play(layer));
    layers.extend(inner.map(|layer| Arc::clone(&layer.vars)));
    for role in around.layer.roles() {
        layers.extend([Arc::clone(&role.use_vars), Arc::clone(&role.params)]);
        layers.push(Arc::clone(&role.vars));
    }
    layers.extend(play_files.iter().cloned());
    let play = around.layer.outwards().filter(is_play);
    layers.extend(play.map(|layer| Arc::clone(&layer.vars)));
    layers.extend(around.layer.roles().map(|role| Arc::clone(&role.defaults)));
    layers
}

/// Makes the magic variables that are known without a host.
fn magic(around: Around<'_>) -> Arc<Vars> {
    let mark = Mark::start_of(&crate::source::SourceFile::new("<magic variables>", ""));
    let text = |path: &str| Node::new(mark.clone(), Kind::Unsafe(path.into()));
    let mut variables = Vars::new();
    variables.insert(
        "playbook_dir".into(),
        text(&around.directory.to_string_lossy()),
    );
    if let Some(role) = around.layer.role() {
        variables.insert("role_path".into(), text(&role.path.to_string_lossy()));
        variables.insert("role_name".into(), text(&role.name));
    }
    Arc::new(variables)
}
