//! The controller's files and rendered texts, offered to targets by their digest.
//!
//! A file is read and hashed once in a run, unless it changes; nothing is sent from here.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use crate::agent::contents::{ContentId, Store};
use crate::value::Value;
use crate::vault::VaultError;

/// Decrypts a vaulted file's bytes; the error is a sentence.
pub type Decrypt = Arc<dyn Fn(&[u8]) -> Result<Vec<u8>, String> + Send + Sync>;

/// What is offered to targets.
pub(super) struct Contents {
    pub(super) store: Store,
    known: Mutex<HashMap<(PathBuf, bool), (Stamp, ContentId)>>,
    decrypt: Decrypt,
}

/// What tells that a file is still the one that was hashed.
#[derive(Clone, PartialEq, Eq)]
struct Stamp {
    size: u64,
    modified: Option<SystemTime>,
}

impl Contents {
    /// Makes an empty offer; vaulted files are offered as `decrypt` returns them.
    pub(super) fn new(decrypt: Decrypt) -> Self {
        Self {
            store: Store::default(),
            known: Mutex::default(),
            decrypt,
        }
    }

    /// Offers bytes.
    pub(super) fn offer_bytes(&self, bytes: Vec<u8>) -> ContentId {
        self.store.add_bytes(bytes)
    }

    /// Offers a file; a vaulted one decrypted, unless `decrypt` is false.
    pub(super) fn offer_file(&self, path: &Path, decrypt: bool) -> io::Result<ContentId> {
        let metadata = std::fs::metadata(path)?;
        let stamp = Stamp {
            size: metadata.len(),
            modified: metadata.modified().ok(),
        };
        let key = (path.to_owned(), decrypt);
        if let Some((known, id)) = self.lock().get(&key)
            && *known == stamp
        {
            return Ok(id.clone());
        }
        let id = if decrypt && is_vaulted(path)? {
            self.store.add_bytes(self.read(path, true)?)
        } else {
            self.store.add_file(path)?
        };
        self.lock().insert(key, (stamp, id.clone()));
        Ok(id)
    }

    /// Returns what a file holds, decrypted where it is vaulted and that is wanted.
    pub(super) fn read(&self, path: &Path, decrypt: bool) -> io::Result<Vec<u8>> {
        let bytes = std::fs::read(path)?;
        if decrypt && is_vaulted(path)? {
            return (self.decrypt)(&bytes)
                .map_err(|why| io::Error::other(undecryptable(path, why)));
        }
        Ok(bytes)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<(PathBuf, bool), (Stamp, ContentId)>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Says in Ansible's words that a file wants a password where there is none at all.
fn undecryptable(path: &Path, why: String) -> String {
    if why == VaultError::NoSecrets.to_string() {
        let path = path.display();
        return format!("A vault password or secret must be specified to decrypt {path}");
    }
    why
}

/// Returns a content's name as a module's internal option holds it.
pub(super) fn content_option(id: &ContentId) -> Value {
    Value::map([
        ("sha256", Value::from(id.sha256.as_str())),
        ("size", id.size.into()),
    ])
}

fn is_vaulted(path: &Path) -> io::Result<bool> {
    let mut head = Vec::new();
    File::open(path)?.take(14).read_to_end(&mut head)?;
    Ok(head.starts_with(b"$ANSIBLE_VAULT"))
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn contents() -> Contents {
        Contents::new(Arc::new(|_| Ok(b"plain".to_vec())))
    }

    #[test]
    fn a_file_is_offered_by_its_digest_and_again_when_it_changed() {
        let file = tempfile::NamedTempFile::new().unwrap();
        file.as_file().write_all(b"hello").unwrap();
        let contents = contents();
        let offer = contents.offer_file(file.path(), true).unwrap();
        assert_eq!(offer, contents.offer_bytes(b"hello".to_vec()));
        file.as_file().write_all(b" again").unwrap();
        let changed = contents.offer_file(file.path(), true).unwrap();
        assert_eq!(changed, contents.offer_bytes(b"hello again".to_vec()));
    }

    #[test]
    fn a_vaulted_file_is_offered_decrypted_unless_it_is_wanted_as_it_is() {
        let file = tempfile::NamedTempFile::new().unwrap();
        file.as_file()
            .write_all(b"$ANSIBLE_VAULT;1.1;AES256\n00")
            .unwrap();
        let contents = contents();
        let plain = contents.offer_file(file.path(), true).unwrap();
        assert_eq!(plain, contents.offer_bytes(b"plain".to_vec()));
        assert_eq!(contents.offer_file(file.path(), false).unwrap().size, 28);
    }

    #[test]
    fn a_vaulted_file_where_there_is_no_password_at_all_asks_for_one() {
        let file = tempfile::NamedTempFile::new().unwrap();
        file.as_file()
            .write_all(b"$ANSIBLE_VAULT;1.1;AES256\n00")
            .unwrap();
        let contents = Contents::new(Arc::new(|_| Err(VaultError::NoSecrets.to_string())));
        assert_eq!(
            contents
                .offer_file(file.path(), true)
                .unwrap_err()
                .to_string(),
            format!(
                "A vault password or secret must be specified to decrypt {}",
                file.path().display()
            )
        );
    }
}
