//! What users call an image: a name, and the tag or digest that goes with it.

use serde_json::{Value as Json, json};

use super::daemon::{is_id, joined, split_tag};
use crate::modules::Failure;

/// A name and its tag, which is empty for an ID, or its digest.
#[derive(Debug, PartialEq)]
pub(super) struct Reference {
    pub(super) name: String,
    pub(super) tag: String,
}

impl Reference {
    /// Takes the tag out of the name where it has one; `end` is how the module ends what it says
    /// of a wrong tag.
    pub(super) fn new(name: &str, tag: &str, end: &str) -> Result<Self, Failure> {
        if !tag.is_empty() && !is_tag(tag) {
            return Err(wrong_tag(tag, end));
        }
        let (name, tag) = match split_tag(name) {
            _ if is_id(name) => (name, ""),
            (_, "") => (name, tag),
            (name, own) => (name, own),
        };
        Ok(Self {
            name: name.to_owned(),
            tag: tag.to_owned(),
        })
    }

    /// Returns what the daemon calls it.
    pub(super) fn shown(&self) -> String {
        if self.tag.is_empty() {
            self.name.clone()
        } else {
            joined(&self.name, &self.tag)
        }
    }
}

/// Tells whether the text can be a tag.
pub(super) fn is_tag(text: &str) -> bool {
    let is_word = |letter: char| letter.is_ascii_alphanumeric() || letter == '_';
    text.len() <= 128
        && text.starts_with(is_word)
        && text
            .chars()
            .all(|letter| is_word(letter) || ".-".contains(letter))
}

pub(super) fn wrong_tag(tag: &str, end: &str) -> Failure {
    Failure::new(format!("\"{tag}\" is not a valid docker tag{end}"))
}

/// Returns what a diff says of an image that may be there.
pub(super) fn told(image: Option<&Json>) -> Json {
    match image {
        Some(image) => json!({"id": image.get("Id")}),
        None => json!({"exists": false}),
    }
}

/// Returns the ID of an image.
pub(super) fn id(image: &Json) -> &str {
    image.get("Id").and_then(Json::as_str).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_names_own_tag_beats_the_option() {
        let read = |name, tag| Reference::new(name, tag, "!").map(|it| it.shown());
        assert_eq!(read("nginx", "1"), Ok("nginx:1".into()));
        assert_eq!(read("nginx:2", "1"), Ok("nginx:2".into()));
        assert_eq!(read("host:5000/a", "1"), Ok("host:5000/a:1".into()));
        assert_eq!(read("a@sha256:00", "latest"), Ok("a@sha256:00".into()));
        let id = format!("sha256:{}", "0".repeat(64));
        assert_eq!(read(&id, "latest"), Ok(id.clone()));
        assert_eq!(
            read("a", "b/c").unwrap_err().msg,
            "\"b/c\" is not a valid docker tag!"
        );
    }
}
