//! What only the holder of a transaction's token can read of its journal.
//!
//! The token comes over the connection and is on no disk, so what is sealed with it can be read by
//! nobody when the run is over. The journal's own checksums see what is damaged; whoever may write
//! there needs no forged result, so the cipher has no code of its own against that.

use aes::Aes256;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use ctr::Ctr128BE;
use ctr::cipher::{KeyIvInit, StreamCipher};
use sha2::{Digest, Sha256};

const NONCE: usize = 16;

/// The key of one transaction.
pub(super) struct Seal {
    key: [u8; 32],
}

impl Seal {
    pub(super) fn new(token: &str) -> Self {
        // Not the digest of the token alone: that one is in the journal.
        let key = Sha256::new().chain_update("sealed by ").chain_update(token);
        Self {
            key: key.finalize().into(),
        }
    }

    /// Returns bytes as a text that tells nothing.
    pub(super) fn close(&self, plain: &[u8]) -> String {
        let nonce: [u8; NONCE] = rand::random();
        let mut sealed = [&nonce, plain].concat();
        self.apply(&nonce, &mut sealed[NONCE..]);
        STANDARD_NO_PAD.encode(sealed)
    }

    /// Returns the bytes of a sealed text; of another key's, other bytes.
    pub(super) fn open(&self, sealed: &str) -> Option<Vec<u8>> {
        let sealed = STANDARD_NO_PAD.decode(sealed).ok()?;
        let (nonce, rest) = sealed.split_first_chunk::<NONCE>()?;
        let mut plain = rest.to_vec();
        self.apply(nonce, &mut plain);
        Some(plain)
    }

    fn apply(&self, nonce: &[u8; NONCE], bytes: &mut [u8]) {
        Ctr128BE::<Aes256>::new(&self.key.into(), nonce.into()).apply_keystream(bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_sealed_is_opened_by_its_token_alone() {
        let seal = Seal::new("0123");
        let sealed = seal.close(b"kanarienvogel");
        assert_eq!(seal.open(&sealed).as_deref(), Some(&b"kanarienvogel"[..]));
        assert_ne!(seal.close(b"kanarienvogel"), sealed);
        let other = Seal::new("0124").open(&sealed);
        assert_ne!(other.as_deref(), Some(&b"kanarienvogel"[..]));
    }

    #[test]
    fn a_text_that_was_never_sealed_is_none() {
        for text in ["", "abc", "not in base64!"] {
            assert_eq!(Seal::new("0123").open(text), None, "{text}");
        }
    }
}
