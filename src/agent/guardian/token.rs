//! The secret that lets a fresh connection take a transaction over; only its digest is on disk.

use sha2::{Digest, Sha256};

use crate::machine::hex;

/// Returns what is kept of a token.
pub(in crate::agent) fn digest(token: &str) -> String {
    hex(&Sha256::digest(token.as_bytes()))
}

/// Tells whether `token` has this digest, in a time that does not depend on how near it is.
pub(in crate::agent) fn matches(token: &str, kept: &str) -> bool {
    let found = digest(token);
    let kept = kept.trim().as_bytes();
    let difference = found
        .as_bytes()
        .iter()
        .zip(kept)
        .fold(found.len() ^ kept.len(), |all, (one, other)| {
            all | usize::from(one ^ other)
        });
    difference == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_token_itself_matches() {
        let kept = digest("0123");
        assert!(matches("0123", &kept));
        assert!(matches("0123", &format!("{kept}\n")));
        for (token, kept) in [
            ("0124", kept.as_str()),
            ("0123", ""),
            ("", &kept),
            ("0123", &kept[1..]),
        ] {
            assert!(!matches(token, kept));
        }
    }
}
