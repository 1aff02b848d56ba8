//! Private keys and certificates on disk: reading, decrypting, and remembering them for the run.

use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use russh::keys::{Certificate, PrivateKey, PublicKey};
use tokio::sync::OnceCell;

use crate::transport::Secret;

/// The keys read so far in a run. Reading and decrypting (bcrypt, on purpose slow) happens once
/// for each file, whatever the number of hosts.
#[derive(Clone, Default)]
pub struct KeyRing {
    files: Arc<Mutex<HashMap<PathBuf, Slot>>>,
}

type Slot = Arc<OnceCell<Result<Loaded, KeyProblem>>>;

impl std::fmt::Debug for KeyRing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("KeyRing").finish_non_exhaustive()
    }
}

/// A key file that was read.
#[derive(Clone)]
pub(super) struct Loaded {
    pub(super) public: PublicKey,
    pub(super) private: Result<Arc<PrivateKey>, Locked>,
}

/// Why the private half is out of reach.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Locked {
    NoPassphrase,
    WrongPassphrase,
}

/// Why a file gave no key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum KeyProblem {
    Missing,
    Unusable(String),
}

impl KeyRing {
    /// Returns the key in the file `path`, opened with `passphrase` when it is encrypted.
    pub(super) async fn load(
        &self,
        path: &Path,
        passphrase: Option<&Secret>,
    ) -> Result<Loaded, KeyProblem> {
        let slot = {
            let mut files = self.files.lock().unwrap_or_else(PoisonError::into_inner);
            Arc::clone(files.entry(path.to_owned()).or_default())
        };
        let reading = || async {
            let text = match std::fs::read_to_string(path) {
                Ok(text) => text,
                Err(error) => return Err(reading_problem(&error)),
            };
            open_key(text, passphrase.cloned(), Some(path.to_owned())).await
        };
        slot.get_or_init(reading).await.clone()
    }
}

fn reading_problem(error: &io::Error) -> KeyProblem {
    match error.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => KeyProblem::Missing,
        _ => KeyProblem::Unusable(error.to_string()),
    }
}

/// Opens the private key in `text`; decrypting runs beside the event loop.
pub(super) async fn open_key(
    text: String,
    passphrase: Option<Secret>,
    path: Option<PathBuf>,
) -> Result<Loaded, KeyProblem> {
    let opening = move || parse_key(&text, passphrase.as_ref(), path.as_deref());
    tokio::task::spawn_blocking(opening)
        .await
        .unwrap_or_else(|_| {
            Err(KeyProblem::Unusable(
                "its reading was interrupted".to_owned(),
            ))
        })
}

fn parse_key(
    text: &str,
    passphrase: Option<&Secret>,
    path: Option<&Path>,
) -> Result<Loaded, KeyProblem> {
    if let Ok(key) = PrivateKey::from_openssh(text)
        && key.is_encrypted()
    {
        return Ok(Loaded {
            public: key.public_key().clone(),
            private: unlock(&key, passphrase),
        });
    }
    match russh::keys::decode_secret_key(text, passphrase.map(Secret::expose)) {
        Ok(key) => Ok(Loaded {
            public: key.public_key().clone(),
            private: Ok(Arc::new(key)),
        }),
        Err(error) => locked_pem(text, passphrase, path)
            .ok_or_else(|| KeyProblem::Unusable(error.to_string().to_lowercase())),
    }
}

fn unlock(key: &PrivateKey, passphrase: Option<&Secret>) -> Result<Arc<PrivateKey>, Locked> {
    let passphrase = passphrase.ok_or(Locked::NoPassphrase)?;
    key.decrypt(passphrase.expose())
        .map(Arc::new)
        .map_err(|_| Locked::WrongPassphrase)
}

/// Returns an encrypted key of the older PEM formats, which hides its public half: that is in
/// the `.pub` file beside it, if anywhere.
fn locked_pem(text: &str, passphrase: Option<&Secret>, path: Option<&Path>) -> Option<Loaded> {
    let encrypted = text.contains("BEGIN ENCRYPTED PRIVATE KEY") || text.contains("4,ENCRYPTED");
    let public = path.map(|path| beside(path, ".pub"))?;
    encrypted.then_some(Loaded {
        public: russh::keys::load_public_key(public).ok()?,
        private: Err(match passphrase {
            Some(_) => Locked::WrongPassphrase,
            None => Locked::NoPassphrase,
        }),
    })
}

/// Returns the path of a file named like `path` with `suffix` behind.
pub(super) fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}

/// Reads a certificate; `None` when there is no file.
pub(super) fn load_certificate(path: &Path) -> Result<Option<Certificate>, KeyProblem> {
    match std::fs::read_to_string(path) {
        Ok(text) => Certificate::from_openssh(text.trim())
            .map(Some)
            .map_err(|error| KeyProblem::Unusable(error.to_string().to_lowercase())),
        Err(error) => match reading_problem(&error) {
            KeyProblem::Missing => Ok(None),
            problem @ KeyProblem::Unusable(_) => Err(problem),
        },
    }
}
