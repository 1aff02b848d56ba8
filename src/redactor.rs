//! The one filter every sink writes through: known secrets become asterisks.
//!
//! Secrets are registered as they become known (vault plaintext, passwords, `no_log` options);
//! sinks ask for the redacted text. Knows nothing of where texts come from or go.

use std::borrow::Cow;
use std::sync::{Arc, RwLock};

use crate::value::{Map, Value};

/// What a secret is shown as.
pub const MASK: &str = "********";

/// Shorter texts are not masked: replacing every `yes` or `8080` would hide the run itself.
const SHORTEST_SECRET: usize = 6;

/// The shared set of known secrets. Cloning shares the set.
#[derive(Clone, Debug, Default)]
pub struct Redactor {
    // Longest first, so that a secret containing another is masked whole.
    secrets: Arc<RwLock<Vec<String>>>,
}

impl Redactor {
    /// Registers a secret text, and each line of it: outputs are often shown line by line.
    pub fn add(&self, secret: &str) {
        let lines = secret.lines().chain(std::iter::once(secret));
        let mut secrets = self
            .secrets
            .write()
            .expect("no writer panics while it holds the lock");
        for text in lines
            .map(str::trim)
            .filter(|text| text.chars().count() >= SHORTEST_SECRET)
        {
            if !secrets.iter().any(|known| known == text) {
                secrets.push(text.to_owned());
            }
        }
        secrets.sort_by_key(|text| std::cmp::Reverse(text.len()));
    }

    /// Returns `text` with every known secret masked.
    pub fn redact<'a>(&self, text: &'a str) -> Cow<'a, str> {
        let secrets = self
            .secrets
            .read()
            .expect("no writer panics while it holds the lock");
        let mut shown = Cow::Borrowed(text);
        for secret in secrets.iter() {
            if shown.contains(secret.as_str()) {
                shown = Cow::Owned(shown.replace(secret.as_str(), MASK));
            }
        }
        shown
    }

    /// Returns `value` with every known secret masked in its texts and keys.
    pub fn redact_value(&self, value: &Value) -> Value {
        match value {
            Value::String(text) => match self.redact(text) {
                Cow::Borrowed(_) => value.clone(),
                Cow::Owned(masked) => masked.into(),
            },
            Value::List(items) => Value::list(items.iter().map(|item| self.redact_value(item))),
            Value::Map(map) => map
                .iter()
                .map(|(key, item)| (self.redact_value(key), self.redact_value(item)))
                .collect::<Map>()
                .into(),
            other => other.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_masked_inside_other_text_and_line_by_line() {
        let redactor = Redactor::default();
        redactor.add("first-secret\nsecond-secret");
        assert_eq!(redactor.redact("x=first-secret;"), "x=********;");
        assert_eq!(
            redactor.redact("only second-secret here"),
            "only ******** here"
        );
        assert_eq!(redactor.redact("nothing"), "nothing");
    }

    #[test]
    fn a_secret_that_contains_another_is_masked_whole() {
        let redactor = Redactor::default();
        redactor.add("hunter2");
        redactor.add("hunter2-and-more");
        assert_eq!(redactor.redact("hunter2-and-more"), MASK);
    }

    #[test]
    fn short_words_are_left_readable() {
        let redactor = Redactor::default();
        redactor.add("8080");
        assert_eq!(redactor.redact("port 8080"), "port 8080");
    }
}
