//! The vault's AES256: keys from PBKDF2, AES in counter mode, an HMAC checked before anything.
//!
//! Knows the hexadecimal body of a vaulted text; the header and the lines are the envelope's.

use aes::Aes256;
use ctr::Ctr128BE;
use ctr::cipher::{KeyIvInit, StreamCipher};
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use super::VaultError;

const ITERATIONS: u32 = 10_000;
const BLOCK: usize = 16;

/// A sealed text: what is needed to open it, apart from the password.
pub(super) struct Sealed {
    salt: Vec<u8>,
    tag: Vec<u8>,
    ciphertext: Vec<u8>,
}

impl Sealed {
    /// Reads the hexadecimal body.
    pub(super) fn parse(body: &str) -> Result<Self, VaultError> {
        let inner = unhex(body.as_bytes())?;
        let mut parts = inner.splitn(3, |byte| *byte == b'\n').map(unhex);
        let mut next = || parts.next().unwrap_or(Err(VaultError::Damaged));
        Ok(Self {
            salt: next()?,
            tag: next()?,
            ciphertext: next()?,
        })
    }

    /// Opens it: `None` for the wrong password, `Some(None)` for a damaged plaintext.
    #[expect(
        clippy::option_option,
        reason = "two failures of which one tries the next password"
    )]
    pub(super) fn open(&self, password: &[u8]) -> Option<Option<Vec<u8>>> {
        let keys = Keys::derive(password, &self.salt);
        keys.mac(&self.ciphertext).verify_slice(&self.tag).ok()?;
        let mut bytes = self.ciphertext.clone();
        keys.apply(&mut bytes);
        Some(unpadded(bytes))
    }
}

/// Returns the hexadecimal body of a sealed plaintext.
pub(super) fn seal(plaintext: &[u8], password: &[u8], salt: &[u8]) -> String {
    let keys = Keys::derive(password, salt);
    let padding = BLOCK - plaintext.len() % BLOCK;
    let mut bytes = plaintext.to_vec();
    bytes.resize(
        plaintext.len() + padding,
        u8::try_from(padding).expect("a padding is at most one block"),
    );
    keys.apply(&mut bytes);
    let tag = keys.mac(&bytes).finalize().into_bytes();
    let inner = [hex(salt), hex(&tag), hex(&bytes)].join("\n");
    hex(inner.as_bytes())
}

struct Keys {
    cipher: [u8; 32],
    mac: [u8; 32],
    counter: [u8; BLOCK],
}

impl Keys {
    fn derive(password: &[u8], salt: &[u8]) -> Self {
        let mut derived = [0; 80];
        pbkdf2::pbkdf2_hmac::<Sha256>(password, salt, ITERATIONS, &mut derived);
        let mut keys = Self {
            cipher: [0; 32],
            mac: [0; 32],
            counter: [0; BLOCK],
        };
        keys.cipher.copy_from_slice(&derived[..32]);
        keys.mac.copy_from_slice(&derived[32..64]);
        keys.counter.copy_from_slice(&derived[64..]);
        keys
    }

    fn apply(&self, bytes: &mut [u8]) {
        let mut cipher = Ctr128BE::<Aes256>::new(&self.cipher.into(), &self.counter.into());
        cipher.apply_keystream(bytes);
    }

    fn mac(&self, bytes: &[u8]) -> Hmac<Sha256> {
        let mut mac =
            Hmac::<Sha256>::new_from_slice(&self.mac).expect("an HMAC takes a key of any length");
        mac.update(bytes);
        mac
    }
}

fn unpadded(mut bytes: Vec<u8>) -> Option<Vec<u8>> {
    let padding = usize::from(*bytes.last()?);
    let length = bytes.len().checked_sub(padding)?;
    let fits = (1..=BLOCK).contains(&padding)
        && bytes.len().is_multiple_of(BLOCK)
        && bytes[length..]
            .iter()
            .all(|byte| usize::from(*byte) == padding);
    fits.then(|| {
        bytes.truncate(length);
        bytes
    })
}

fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let digit = |nibble: u8| char::from(DIGITS[usize::from(nibble)]);
    bytes
        .iter()
        .flat_map(|byte| [digit(byte >> 4), digit(byte & 15)])
        .collect()
}

fn unhex(text: &[u8]) -> Result<Vec<u8>, VaultError> {
    if text.is_empty() {
        return Err(VaultError::Damaged);
    }
    if !text.len().is_multiple_of(2) {
        return Err(VaultError::NotHexadecimal("Odd-length string"));
    }
    let nibble = |digit: u8| {
        char::from(digit)
            .to_digit(16)
            .and_then(|value| u8::try_from(value).ok())
    };
    text.chunks_exact(2)
        .map(|pair| Some(nibble(pair[0])? << 4 | nibble(pair[1])?))
        .collect::<Option<_>>()
        .ok_or(VaultError::NotHexadecimal("Non-hexadecimal digit found"))
}
