//! Text of a final value, and what is known of where it came from.
//!
//! Where a text came from is told and asked; it never makes the text a template. Texts that a
//! template puts together, and texts from a target, come from nowhere. Two texts are equal when
//! their characters are.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::ops::Deref;
use std::sync::Arc;

use crate::source::Mark;

/// Shared text. Cloning is cheap.
#[derive(Clone, Default)]
pub struct Text {
    text: Arc<str>,
    provenance: Option<Arc<Provenance>>,
}

/// What is known of a text.
#[derive(Clone, Debug, Default)]
struct Provenance {
    origin: Option<Origin>,
    /// What it was decrypted from.
    ciphertext: Option<Arc<str>>,
    deprecation: Option<Arc<Deprecation>>,
}

/// The place or the means a text came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// It stands there as it is, in what a user wrote: a condition may be read from it.
    Written(Mark),
    /// A playbook called it as good as written; nothing is read from it all the same.
    Trusted,
    /// Something that is no file, in words.
    Named(Arc<str>),
}

/// A value that should not be used any more.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Deprecation {
    /// Full sentences, with what removes the value and when.
    pub message: String,
}

impl Text {
    /// The names Ansible has for what can be known of a text, sorted.
    pub const TAGS: [&'static str; 4] =
        ["Deprecated", "Origin", "TrustedAsTemplate", "VaultedValue"];

    /// Makes the text a user wrote at `mark`.
    pub fn written(text: &Arc<str>, mark: &Mark) -> Self {
        Self::from(Arc::clone(text)).from_origin(Origin::Written(mark.clone()))
    }

    /// Returns the text as one that came from `origin`.
    #[must_use]
    pub fn from_origin(self, origin: Origin) -> Self {
        self.knowing(|provenance| provenance.origin = Some(origin))
    }

    /// Returns the text as one that was decrypted from `ciphertext`.
    #[must_use]
    pub fn decrypted_from(self, ciphertext: &Arc<str>) -> Self {
        self.knowing(|provenance| provenance.ciphertext = Some(Arc::clone(ciphertext)))
    }

    /// Returns the text as one that should not be used any more.
    #[must_use]
    pub fn deprecated(self, deprecation: Arc<Deprecation>) -> Self {
        self.knowing(|provenance| provenance.deprecation = Some(deprecation))
    }

    /// Returns where the text came from.
    pub fn origin(&self) -> Option<&Origin> {
        self.provenance.as_ref()?.origin.as_ref()
    }

    /// Returns what a module says about the use of the text.
    pub fn deprecation(&self) -> Option<&Arc<Deprecation>> {
        self.provenance.as_ref()?.deprecation.as_ref()
    }

    /// Returns the names Ansible has for what is known of the text, sorted.
    pub fn tags(&self) -> Vec<&'static str> {
        let origin = self.origin();
        let known = [
            self.deprecation().is_some(),
            matches!(origin, Some(Origin::Written(_) | Origin::Named(_))),
            matches!(origin, Some(Origin::Written(_) | Origin::Trusted)),
            self.ciphertext().is_some(),
        ];
        let names = Self::TAGS.into_iter().zip(known);
        names
            .filter_map(|(name, is_known)| is_known.then_some(name))
            .collect()
    }

    /// Returns the place where a user wrote the text as it is.
    pub fn written_at(&self) -> Option<&Mark> {
        match self.origin()? {
            Origin::Written(mark) => Some(mark),
            _ => None,
        }
    }

    /// Returns the ciphertext the text was decrypted from.
    pub fn ciphertext(&self) -> Option<&Arc<str>> {
        self.provenance.as_ref()?.ciphertext.as_ref()
    }

    /// Returns the characters, shared.
    pub fn shared(&self) -> Arc<str> {
        Arc::clone(&self.text)
    }

    fn knowing(mut self, change: impl FnOnce(&mut Provenance)) -> Self {
        change(Arc::make_mut(self.provenance.get_or_insert_default()));
        self
    }
}

impl Deref for Text {
    type Target = str;

    fn deref(&self) -> &str {
        &self.text
    }
}

impl fmt::Display for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self)
    }
}

impl fmt::Debug for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&**self, f)
    }
}

impl PartialEq for Text {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl Eq for Text {}

impl Hash for Text {
    fn hash<H: Hasher>(&self, state: &mut H) {
        str::hash(self, state);
    }
}

impl From<Arc<str>> for Text {
    fn from(text: Arc<str>) -> Self {
        Self {
            text,
            provenance: None,
        }
    }
}

impl From<&str> for Text {
    fn from(text: &str) -> Self {
        Arc::<str>::from(text).into()
    }
}

impl From<String> for Text {
    fn from(text: String) -> Self {
        Arc::<str>::from(text).into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::SourceFile;

    #[test]
    fn where_a_text_came_from_changes_neither_equality_nor_what_is_shown() {
        let file = SourceFile::new("a.yml", "x: abc\n");
        let written = Text::written(&"abc".into(), &Mark::new(&file, 1, 4));
        assert_eq!(written, Text::from("abc"));
        assert_eq!(format!("{written} {written:?}"), "abc \"abc\"");
        assert_eq!(
            written.written_at().map(ToString::to_string),
            Some("a.yml:1:4".into())
        );
        assert_eq!(Text::from("abc").written_at(), None);
    }

    #[test]
    fn what_is_known_of_a_text_adds_up() {
        let text = Text::from("x")
            .from_origin(Origin::Named("<environment variable 'X'>".into()))
            .decrypted_from(&"$ANSIBLE_VAULT".into());
        assert_eq!(
            text.ciphertext().map(|text| &**text),
            Some("$ANSIBLE_VAULT")
        );
        assert_eq!(text.tags(), ["Origin", "VaultedValue"]);
    }
}
