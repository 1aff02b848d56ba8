//! The one filter every sink writes through: known secrets become asterisks.
//!
//! Secrets are registered as they become known (vault plaintext, passwords, `no_log` options);
//! sinks ask for the redacted text. Knows nothing of where texts come from or go.

use std::borrow::Cow;
use std::sync::{Arc, RwLock};

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD, URL_SAFE_NO_PAD};

use crate::value::{Map, Value};

/// What a secret is shown as.
pub const MASK: &str = "********";

/// Shorter texts are not masked: replacing every `yes` or `8080` would hide the run itself.
const SHORTEST_SECRET: usize = 6;

/// Encoded forms of shorter secrets are not looked for: they are found by chance.
const SHORTEST_ENCODED: usize = 8;

/// The shared set of known secrets. Cloning shares the set.
#[derive(Clone, Debug, Default)]
pub struct Redactor {
    secrets: Arc<RwLock<Known>>,
}

#[derive(Debug, Default)]
struct Known {
    // Longest first, so that a secret containing another is masked whole.
    longest_first: Vec<String>,
    // As they became known.
    in_order: Vec<String>,
}

impl Redactor {
    /// Registers a secret text, each line of it (outputs are often shown line by line), and the
    /// forms that programs put it in: base64, the encoding of URLs, JSON.
    pub fn add(&self, secret: &str) {
        let whole = secret.trim();
        let forms: Vec<String> = secret
            .lines()
            .map(str::trim)
            .chain([whole])
            .filter(|text| text.chars().count() >= SHORTEST_SECRET)
            .map(str::to_owned)
            .chain(encoded(secret))
            .chain(
                (whole != secret)
                    .then(|| encoded(whole))
                    .into_iter()
                    .flatten(),
            )
            .collect();
        let mut known = self
            .secrets
            .write()
            .expect("no writer panics while it holds the lock");
        for form in forms {
            if !known.in_order.contains(&form) {
                known.in_order.push(form.clone());
                known.longest_first.push(form);
            }
        }
        known
            .longest_first
            .sort_by_key(|text| std::cmp::Reverse(text.len()));
    }

    /// Returns the texts that are masked, those after the first `start`, as they became known.
    pub fn known_from(&self, start: usize) -> Vec<String> {
        let known = self
            .secrets
            .read()
            .expect("no writer panics while it holds the lock");
        known.in_order.get(start..).unwrap_or_default().to_vec()
    }

    /// Returns `text` with every known secret masked.
    pub fn redact<'a>(&self, text: &'a str) -> Cow<'a, str> {
        let secrets = self
            .secrets
            .read()
            .expect("no writer panics while it holds the lock");
        let mut shown = Cow::Borrowed(text);
        for secret in &secrets.longest_first {
            if shown.contains(secret.as_str()) {
                shown = Cow::Owned(shown.replace(secret.as_str(), MASK));
            }
        }
        shown
    }

    /// Tells whether a dictionary holds a known secret anywhere in its texts and keys.
    pub fn finds_in(&self, map: &Map) -> bool {
        map.iter()
            .any(|(key, value)| self.is_in(key) || self.is_in(value))
    }

    fn is_in(&self, value: &Value) -> bool {
        match value {
            Value::String(text) => matches!(self.redact(text), Cow::Owned(_)),
            Value::List(items) => items.iter().any(|item| self.is_in(item)),
            Value::Map(map) => self.finds_in(map),
            _ => false,
        }
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

/// Returns the forms a secret travels in, those that differ from it.
fn encoded(secret: &str) -> Vec<String> {
    if secret.len() < SHORTEST_ENCODED {
        return Vec::new();
    }
    let mut forms = vec![
        STANDARD.encode(secret),
        STANDARD_NO_PAD.encode(secret),
        URL_SAFE_NO_PAD.encode(secret),
        url_encoded(secret),
        secret
            .replace('\\', "\\\\")
            .replace('"', "\\\"")
            .replace('\n', "\\n"),
    ];
    // Inside of a longer text, such as a login's `user:password`, it starts anywhere.
    forms.extend((0..3).map(|offset| inside(secret, offset)));
    forms.retain(|form| form != secret);
    forms.dedup();
    forms
}

/// Returns the characters of base64 that depend on the secret alone where it starts `offset`
/// bytes into a group of three.
fn inside(secret: &str, offset: usize) -> String {
    let padded = [vec![0; offset], secret.as_bytes().to_vec()].concat();
    let text = STANDARD_NO_PAD.encode(&padded);
    // The first group has the bytes before it, the last may have bytes after it.
    let end = padded.len() / 3 * 4;
    let start = if offset == 0 { 0 } else { 4 };
    text[start..end].to_owned()
}

fn url_encoded(text: &str) -> String {
    let mut encoded = String::new();
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            encoded += &format!("%{byte:02X}");
        }
    }
    encoded
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
    fn encoded_forms_are_masked_and_a_login_in_base64_too() {
        let redactor = Redactor::default();
        redactor.add("pass word\"77&");
        for told in [
            "cGFzcyB3b3JkIjc3Jg==",
            "p=pass%20word%2277%26",
            r#"{"p":"pass word\"77&"}"#,
        ] {
            assert!(redactor.redact(told).contains(MASK), "{told}");
        }
        for user in ["a", "ab", "abc"] {
            let login = STANDARD.encode(format!("{user}:pass word\"77&:after"));
            assert!(redactor.redact(&login).contains(MASK), "{user}");
        }
    }

    #[test]
    fn a_secret_is_found_wherever_it_is_in_a_dictionary() {
        let redactor = Redactor::default();
        redactor.add("hunter2");
        let list = Value::list([Value::map([("a", Value::from("x hunter2"))])]);
        let holding: Map = [("deep".into(), list)].into_iter().collect();
        assert!(redactor.finds_in(&holding));
        let key: Map = [("hunter2".into(), true.into())].into_iter().collect();
        assert!(redactor.finds_in(&key));
        let free: Map = [("a".into(), "hunter".into())].into_iter().collect();
        assert!(!redactor.finds_in(&free));
    }

    #[test]
    fn short_words_are_left_readable() {
        let redactor = Redactor::default();
        redactor.add("8080");
        assert_eq!(redactor.redact("port 8080"), "port 8080");
    }
}
