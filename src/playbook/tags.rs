//! Tags: which a task has, and whether `--tags` and `--skip-tags` let it run.

use std::collections::BTreeSet;

use super::keyword::Keyword;
use super::layer::Layer;
use crate::node::Node;

/// Which tags a run asks for.
#[derive(Clone, Debug, Default)]
pub struct TagSelection {
    /// `--tags`; empty means `all`.
    pub only: BTreeSet<String>,
    /// `--skip-tags`.
    pub skip: BTreeSet<String>,
}

impl TagSelection {
    /// Makes a selection of the values of the two options, each a comma-separated list.
    pub fn new<'a>(
        only: impl IntoIterator<Item = &'a str>,
        skip: impl IntoIterator<Item = &'a str>,
    ) -> Self {
        Self {
            only: only.into_iter().flat_map(split).collect(),
            skip: skip.into_iter().flat_map(split).collect(),
        }
    }

    /// Tells whether a task with `tags` runs.
    pub fn lets_run(&self, tags: &[String]) -> bool {
        let has = |tag: &str| tags.iter().any(|own| own == tag);
        let untagged = tags.is_empty();
        let meets = |wanted: &BTreeSet<String>| {
            (untagged && wanted.contains("untagged")) || tags.iter().any(|tag| wanted.contains(tag))
        };
        let all_wanted = self.only.is_empty() || self.only.contains("all");
        let wanted = has("always")
            || (all_wanted && !has("never"))
            || meets(&self.only)
            || (self.only.contains("tagged") && !untagged && !has("never"));
        let skipped = if self.skip.contains("all") {
            !has("always") || self.skip.contains("always")
        } else {
            meets(&self.skip) || (self.skip.contains("tagged") && !untagged)
        };
        wanted && !skipped
    }
}

/// Returns the tags of a level and the levels around it, each once, own ones first.
pub(super) fn of(layer: &Layer) -> Vec<String> {
    let mut found = Vec::new();
    for tag in layer.values(Keyword::Tags).flat_map(of_node) {
        if !found.contains(&tag) {
            found.push(tag);
        }
    }
    found
}

/// Opens the value of a `tags` keyword: a comma-separated text, or a list of texts, numbers or
/// lists of them.
fn of_node(node: &Node) -> Vec<String> {
    match node.as_list() {
        Some(items) => items.iter().flat_map(of_item).collect(),
        None if node.is_null() => Vec::new(),
        None => split(&node.to_value().to_string()),
    }
}

fn of_item(node: &Node) -> Vec<String> {
    match node.as_list() {
        Some(items) => items.iter().flat_map(of_item).collect(),
        None => vec![node.to_value().to_string()],
    }
}

fn split(text: &str) -> Vec<String> {
    text.split(',').map(|tag| tag.trim().to_owned()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn runs(only: &[&str], skip: &[&str], tags: &[&str]) -> bool {
        let tags: Vec<_> = tags.iter().map(|tag| (*tag).to_owned()).collect();
        TagSelection::new(only.iter().copied(), skip.iter().copied()).lets_run(&tags)
    }

    #[test]
    fn without_options_everything_but_never_runs() {
        assert!(runs(&[], &[], &[]));
        assert!(runs(&[], &[], &["web"]));
        assert!(!runs(&[], &[], &["never", "web"]));
        assert!(runs(&[], &[], &["never", "always"]));
    }

    #[test]
    fn only_tags_select_and_always_comes_along() {
        assert!(runs(&["web"], &[], &["web"]));
        assert!(runs(&["db,web"], &[], &["web"]));
        assert!(!runs(&["web"], &[], &["db"]));
        assert!(!runs(&["web"], &[], &[]));
        assert!(runs(&["web"], &[], &["always"]));
        assert!(runs(&["web"], &[], &["never", "web"]));
        assert!(runs(&["tagged"], &[], &["db"]));
        assert!(!runs(&["tagged"], &[], &[]));
        assert!(!runs(&["tagged"], &[], &["never"]));
        assert!(runs(&["untagged"], &[], &[]));
        assert!(!runs(&["untagged"], &[], &["db"]));
        assert!(runs(&["never"], &[], &["never"]));
    }

    #[test]
    fn skipping_beats_selecting() {
        assert!(!runs(&["web"], &["db"], &["web", "db"]));
        assert!(!runs(&[], &["all"], &["web"]));
        assert!(runs(&[], &["all"], &["always"]));
        assert!(!runs(&[], &["all", "always"], &["always"]));
        assert!(!runs(&[], &["always"], &["always"]));
        assert!(!runs(&[], &["tagged"], &["web"]));
        assert!(runs(&[], &["tagged"], &[]));
        assert!(!runs(&[], &["untagged"], &[]));
    }
}
