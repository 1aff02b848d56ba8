//! Ansible's vault: passwords and text in, bytes out, and back.
//!
//! The format is a header line (`$ANSIBLE_VAULT;1.1;AES256`, or `1.2` with an id) and hexadecimal
//! lines of 80. Pure: where passwords come from and which files are touched is others'.

mod cipher;
mod files;

use std::fmt;
use std::sync::Arc;

use crate::error::{Error, ErrorKind};

pub use files::{
    Key, VaultFiles, create_file, decrypt_file, edit_file, encrypt_file, encrypt_string,
    rekey_file, view_file,
};

const HEADER: &str = "$ANSIBLE_VAULT";
const CIPHER: &str = "AES256";
const LINE: usize = 80;
/// The id of a password that was given without one.
pub const DEFAULT_ID: &str = "default";

/// The vault passwords of a run, in the order they were given.
#[derive(Clone, Default)]
pub struct Secrets {
    entries: Vec<(String, Arc<[u8]>)>,
    /// Tries a password only on text of the same id (`DEFAULT_VAULT_ID_MATCH`).
    pub match_ids: bool,
    /// What to encrypt with instead of a random salt (`VAULT_ENCRYPT_SALT`): equal input gives
    /// equal text.
    pub salt: Option<Arc<[u8]>>,
    listener: Option<PlaintextListener>,
}

/// Is told every plaintext that was decrypted, so that it can be kept out of outputs.
type PlaintextListener = Arc<dyn Fn(&[u8]) + Send + Sync>;

impl Secrets {
    /// Adds a password under `id`; the same id may stand more than once.
    pub fn add(&mut self, id: impl Into<String>, password: impl Into<Arc<[u8]>>) {
        self.entries.push((id.into(), password.into()));
    }

    /// Has `listener` told every plaintext these secrets open.
    pub fn on_plaintext(&mut self, listener: PlaintextListener) {
        self.listener = Some(listener);
    }

    /// Tells whether there is no password at all.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Returns the ids in the order they were given.
    pub fn ids(&self) -> impl Iterator<Item = &str> {
        self.entries.iter().map(|(id, _)| id.as_str())
    }

    /// Returns the first password of `id`.
    pub fn get(&self, id: &str) -> Option<&Arc<[u8]>> {
        self.entries
            .iter()
            .find(|(known, _)| known == id)
            .map(|(_, password)| password)
    }

    /// Returns all ids with their passwords, those of `id` first.
    fn candidates<'a>(&'a self, id: &str) -> impl Iterator<Item = &'a (String, Arc<[u8]>)> {
        let named = self.entries.iter().filter(move |(known, _)| known == id);
        let others = self.entries.iter().filter(move |(known, _)| known != id);
        named.chain(others.filter(|_| !self.match_ids))
    }
}

impl fmt::Debug for Secrets {
    /// Prints the ids only.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.ids()).finish()
    }
}

/// Why a vaulted text could not be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum VaultError {
    /// The bytes do not start with a vault header.
    NotVaulted,
    /// The text is encrypted already.
    AlreadyVaulted,
    /// There is no password to try.
    NoSecrets,
    /// No password fits; holds the id the text names.
    WrongSecret {
        id: String,
    },
    UnknownCipher {
        name: String,
    },
    /// The header or the lines below it are not as the format says.
    Damaged,
    /// A line is not hexadecimal, in Python's words.
    NotHexadecimal(&'static str),
}

impl fmt::Display for VaultError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotVaulted => f.write_str("input is not vault encrypted data"),
            Self::AlreadyVaulted => f.write_str("input is already encrypted"),
            Self::NoSecrets => f.write_str("Attempting to decrypt but no vault secrets found"),
            Self::WrongSecret { .. } => {
                f.write_str("Decryption failed (no vault secrets were found that could decrypt)")
            }
            Self::UnknownCipher { name } => write!(f, "cipher `{name}` could not be found"),
            Self::NotHexadecimal(why) => write!(f, "Vault format unhexlify error: {why}"),
            Self::Damaged => f.write_str("vault format error: the encrypted text is damaged"),
        }
    }
}

impl std::error::Error for VaultError {}

impl From<VaultError> for Error {
    fn from(error: VaultError) -> Self {
        let help = match &error {
            VaultError::NotVaulted => "encrypt it first with `backstay vault encrypt`".to_string(),
            VaultError::AlreadyVaulted => "decrypt it first, or use `rekey`".to_string(),
            VaultError::NoSecrets => {
                "give the password with `--vault-password-file` or `--ask-vault-pass`".to_string()
            }
            VaultError::WrongSecret { id } if id == DEFAULT_ID => {
                "check the vault password".to_string()
            }
            VaultError::WrongSecret { id } => {
                format!("check the vault password of the id `{id}`")
            }
            VaultError::UnknownCipher { .. } => format!("only `{CIPHER}` is supported"),
            VaultError::Damaged | VaultError::NotHexadecimal(_) => {
                "restore it from version control".to_string()
            }
        };
        let kind = match &error {
            // The password is what is missing, not the file what is wrong.
            VaultError::NoSecrets | VaultError::WrongSecret { .. } => ErrorKind::Missing,
            _ => ErrorKind::Refused,
        };
        Self::new(kind, error.to_string()).help(help)
    }
}

/// Tells whether bytes are a vaulted text.
pub fn is_vaulted(bytes: &[u8]) -> bool {
    bytes.starts_with(HEADER.as_bytes()) && bytes.is_ascii()
}

/// Returns the plaintext of a vaulted text, whichever of the secrets fits.
pub fn decrypt(vaulted: &[u8], secrets: &Secrets) -> Result<Vec<u8>, VaultError> {
    decrypt_with_id(vaulted, secrets).map(|(plaintext, _)| plaintext)
}

/// Returns the plaintext and the id of the secret that fitted.
pub fn decrypt_with_id<'a>(
    vaulted: &[u8],
    secrets: &'a Secrets,
) -> Result<(Vec<u8>, &'a str), VaultError> {
    let envelope = Envelope::parse(vaulted)?;
    if secrets.is_empty() {
        return Err(VaultError::NoSecrets);
    }
    let sealed = cipher::Sealed::parse(&envelope.body)?;
    for (id, password) in secrets.candidates(&envelope.id) {
        if let Some(opened) = sealed.open(password) {
            let plaintext = opened.ok_or(VaultError::Damaged)?;
            if let Some(listener) = &secrets.listener {
                listener(&plaintext);
            }
            return Ok((plaintext, id));
        }
    }
    Err(VaultError::WrongSecret { id: envelope.id })
}

/// Returns the vaulted text of `plaintext`, in format 1.2 when it names an id.
pub fn encrypt(plaintext: &[u8], password: &[u8], id: Option<&str>) -> String {
    let salt: [u8; 32] = rand::random();
    encrypt_with_salt(plaintext, password, id, &salt)
}

/// Returns the vaulted text of `plaintext` with this salt.
pub fn encrypt_with_salt(
    plaintext: &[u8],
    password: &[u8],
    id: Option<&str>,
    salt: &[u8],
) -> String {
    let body = cipher::seal(plaintext, password, salt);
    let mut text = match id.filter(|id| *id != DEFAULT_ID) {
        Some(id) => format!("{HEADER};1.2;{CIPHER};{id}\n"),
        None => format!("{HEADER};1.1;{CIPHER}\n"),
    };
    let mut rest = body.as_str();
    while !rest.is_empty() {
        let (line, tail) = rest.split_at(rest.len().min(LINE));
        text.push_str(line);
        text.push('\n');
        rest = tail;
    }
    text
}

/// What the header says, and the hexadecimal text below it in one piece.
struct Envelope {
    id: String,
    body: String,
}

impl Envelope {
    fn parse(vaulted: &[u8]) -> Result<Self, VaultError> {
        if !is_vaulted(vaulted) {
            return Err(VaultError::NotVaulted);
        }
        let text = std::str::from_utf8(vaulted).map_err(|_| VaultError::Damaged)?;
        let mut lines = text.lines();
        let header = lines.next().unwrap_or_default();
        let mut fields = header.trim().split(';').map(str::trim).skip(2);
        let name = fields.next().ok_or(VaultError::Damaged)?;
        if name != CIPHER {
            return Err(VaultError::UnknownCipher {
                name: name.to_string(),
            });
        }
        let id = fields.next().unwrap_or(DEFAULT_ID).to_string();
        Ok(Self {
            id,
            body: lines.collect(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Made by ansible-vault of ansible-core 2.19.14; the password is `secret`.
    const RECORDED: &str = include_str!("../../tests/cases/vault/id_dev.vault");

    fn secrets(pairs: &[(&str, &str)]) -> Secrets {
        let mut secrets = Secrets::default();
        for (id, password) in pairs {
            secrets.add(*id, password.as_bytes());
        }
        secrets
    }

    #[test]
    fn a_text_of_ansible_vault_opens_whatever_the_id_of_its_password() {
        let plaintext = decrypt(
            RECORDED.as_bytes(),
            &secrets(&[("prod", "no"), ("x", "secret")]),
        );
        assert_eq!(plaintext.as_deref(), Ok(&b"key: plain text\n"[..]));
    }

    #[test]
    fn with_matching_asked_for_another_id_is_not_tried() {
        let mut secrets = secrets(&[("prod", "secret")]);
        secrets.match_ids = true;
        assert_eq!(
            decrypt(RECORDED.as_bytes(), &secrets),
            Err(VaultError::WrongSecret { id: "dev".into() })
        );
    }

    #[test]
    fn what_was_encrypted_opens_again_also_when_empty() {
        let secrets = secrets(&[("default", "pä")]);
        for plaintext in [
            &b""[..],
            b"x",
            b"sixteen bytes 16",
            &[0, 255, 10].repeat(99),
        ] {
            let text = encrypt(plaintext, "pä".as_bytes(), None);
            assert!(text.starts_with("$ANSIBLE_VAULT;1.1;AES256\n"));
            assert!(text.lines().all(|line| line.len() <= 80));
            assert_eq!(decrypt(text.as_bytes(), &secrets).as_deref(), Ok(plaintext));
        }
    }

    #[test]
    fn every_kind_of_bad_text_has_its_error() {
        let secrets = secrets(&[("default", "secret")]);
        let refused = |text: &str| decrypt(text.as_bytes(), &secrets).unwrap_err();
        assert_eq!(refused("plain"), VaultError::NotVaulted);
        assert_eq!(refused("$ANSIBLE_VAULT"), VaultError::Damaged);
        assert_eq!(refused("$ANSIBLE_VAULT;1.1;AES256\n"), VaultError::Damaged);
        assert_eq!(
            refused("$ANSIBLE_VAULT;1.1;AES256\nzz\n"),
            VaultError::NotHexadecimal("Non-hexadecimal digit found")
        );
        assert_eq!(
            refused("$ANSIBLE_VAULT;1.1;AES\n00\n"),
            VaultError::UnknownCipher { name: "AES".into() }
        );
        let inner = RECORDED.replacen("\n6", "\n5", 1);
        assert_eq!(
            refused(&inner),
            VaultError::NotHexadecimal("Non-hexadecimal digit found")
        );
        let none = decrypt(RECORDED.as_bytes(), &Secrets::default());
        assert_eq!(none, Err(VaultError::NoSecrets));
    }

    #[test]
    fn printing_secrets_shows_no_password() {
        assert_eq!(
            format!("{:?}", secrets(&[("dev", "hunter2")])),
            r#"{"dev"}"#
        );
    }
}
