//! The one YAML reader and writer: text to marked nodes and back, as PyYAML under Ansible does.
//!
//! JSON is tried first, as Ansible does. Knows Ansible's tags (`!vault`, `!unsafe`), but nothing
//! of playbooks, templates, secrets or the file system.

mod analysis;
mod canonical;
mod construct;
mod digestible;
mod emitter;
mod hint;
mod json;
mod reader;
mod representer;
pub mod scalar;

use std::sync::Arc;

use crate::error::Error;
use crate::node::{Kind, Node};
use crate::source::{Mark, SourceFile};
use crate::value::Value;

pub use canonical::to_canonical;
pub use emitter::{MultiLine, ScalarStyle, YamlStyle, node_to_yaml, to_yaml};

/// One YAML document that was read.
#[derive(Clone, Debug, PartialEq)]
pub struct Document {
    /// The tree; `Kind::Null` for an empty file.
    pub root: Node,
    /// What is allowed but surely meant otherwise, in Ansible's words, each with its place.
    pub warnings: Vec<(String, Mark)>,
}

/// How a text is read.
#[derive(Clone, Copy, Debug, Default)]
pub struct ReadOptions {
    /// What a key that stands twice in one mapping is (`DUPLICATE_YAML_DICT_KEY`).
    pub duplicate_keys: DuplicateKeys,
}

/// What to make of a key that stands twice; the last value wins unless it is an error.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum DuplicateKeys {
    #[default]
    Warn,
    Error,
    Ignore,
}

/// Reads a file that holds exactly one document, or none.
pub fn parse(file: &Arc<SourceFile>) -> Result<Document, Vec<Error>> {
    parse_with(file, ReadOptions::default())
}

/// Reads a file that holds exactly one document, or none, under `options`.
pub fn parse_with(file: &Arc<SourceFile>, options: ReadOptions) -> Result<Document, Vec<Error>> {
    if let Some(root) = json::parse(file) {
        return Ok(Document {
            root,
            warnings: Vec::new(),
        });
    }
    let dialect = reader::Dialect {
        ansible_tags: true,
        options,
    };
    let mut documents = reader::read(file, dialect, true)?;
    Ok(documents.pop().unwrap_or_else(|| empty(file)))
}

/// Reads a JSON object, array or string with marks; `None` when the text is no JSON.
pub fn parse_json(file: &Arc<SourceFile>) -> Option<Node> {
    json::parse(file)
}

/// Reads all documents of a file.
pub fn parse_all(file: &Arc<SourceFile>) -> Result<Vec<Document>, Vec<Error>> {
    let dialect = reader::Dialect {
        ansible_tags: true,
        options: ReadOptions::default(),
    };
    reader::read(file, dialect, false)
}

/// Reads one document as inert data, without Ansible's tags: what `from_yaml` does.
pub fn parse_data(text: &str) -> Result<Value, Error> {
    let file = SourceFile::new("<data>", text);
    let root = reader::read(&file, DATA, true).map_err(first)?.pop();
    Ok(root.map_or(Value::Null, |document| document.root.to_value()))
}

/// Reads all documents as inert data: what `from_yaml_all` does.
pub fn parse_data_all(text: &str) -> Result<Vec<Value>, Error> {
    let file = SourceFile::new("<data>", text);
    let documents = reader::read(&file, DATA, false).map_err(first)?;
    Ok(documents
        .iter()
        .map(|document| document.root.to_value())
        .collect())
}

const DATA: reader::Dialect = reader::Dialect {
    ansible_tags: false,
    options: ReadOptions {
        duplicate_keys: DuplicateKeys::Ignore,
    },
};

fn empty(file: &Arc<SourceFile>) -> Document {
    Document {
        root: Node::new(Mark::start_of(file), Kind::Null),
        warnings: Vec::new(),
    }
}

fn first(mut errors: Vec<Error>) -> Error {
    errors.swap_remove(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn json(text: &str) -> String {
        let document = parse(&SourceFile::new("a.yml", text)).unwrap();
        serde_json::to_string(&document.root.to_value()).unwrap()
    }

    fn error(text: &str) -> String {
        let errors = parse(&SourceFile::new("a.yml", text)).unwrap_err();
        let error = &errors[0];
        let mark = error.mark.as_ref().unwrap();
        let help = error.help.as_deref().unwrap_or("-");
        format!("{}:{} {} ({help})", mark.line, mark.column, error.message)
    }

    #[test]
    fn an_empty_file_is_null() {
        for text in ["", "---\n", "# nothing\n"] {
            assert_eq!(json(text), "null", "{text:?}");
        }
    }

    #[test]
    fn merge_keys_give_way_to_the_keys_beside_them() {
        assert_eq!(
            json("a: &a {x: 1, y: 1}\nb: &b {y: 2, z: 2}\nc:\n  <<: [*a, *b]\n  z: 3\n"),
            r#"{"a":{"x":1,"y":1},"b":{"y":2,"z":2},"c":{"y":1,"z":3,"x":1}}"#
        );
    }

    #[test]
    fn a_duplicate_key_warns_and_the_last_value_wins() {
        let file = SourceFile::new("a.yml", "a: 1\nb: 2\na: 3\n");
        let document = parse(&file).unwrap();
        assert_eq!(
            document.root.get("a").map(|node| node.kind.clone()),
            Some(Kind::Int(3))
        );
        assert_eq!(
            document.warnings,
            [(
                "Found duplicate mapping key 'a'.".to_string(),
                Mark::new(&file, 3, 1)
            )]
        );
        let options = ReadOptions {
            duplicate_keys: DuplicateKeys::Error,
        };
        let errors = parse_with(&file, options).unwrap_err();
        assert_eq!(errors[0].message, "Found duplicate mapping key 'a'");
    }

    #[test]
    fn everything_below_unsafe_is_unsafe_and_numbers_stay_numbers() {
        let file = SourceFile::new("a.yml", "a: !unsafe\n  b: ['{{ x }}', \"12\"]\n");
        let root = parse(&file).unwrap().root;
        let list = root
            .get("a")
            .and_then(|node| node.get("b"))
            .and_then(Node::as_list)
            .unwrap();
        assert_eq!(list[0].kind, Kind::Unsafe("{{ x }}".into()));
        assert_eq!(list[1].kind, Kind::Unsafe("12".into()));
    }

    #[test]
    fn classic_mistakes_are_explained() {
        for (text, told) in [
            (
                "a: {{ x }}\n",
                "1:4 this template must be quoted (write `\"{{ x }}\"`)",
            ),
            (
                "a: b: c\n",
                "1:5 a colon followed by a space starts a new key here (quote the value when the colon belongs to it)",
            ),
            (
                "a:\n\t- b\n",
                "2:1 a tab cannot indent YAML (indent with spaces)",
            ),
        ] {
            assert_eq!(error(text), told);
        }
    }
}
