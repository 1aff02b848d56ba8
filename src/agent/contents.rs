//! The controller's bytes by their digest: what agents may ask for in this run.

use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::io::AsyncRead;

pub use crate::machine::{Algorithm, ContentId};

/// Gives out bytes that an agent asks for.
pub trait Contents: Send + Sync {
    /// Opens the content from its start.
    fn open(&self, id: &ContentId) -> io::Result<Box<dyn AsyncRead + Send + Unpin>>;
}

/// The contents of a run: texts in memory and files read when they are asked for.
///
/// Clones share one store. An agent can only get what was put in.
#[derive(Clone, Debug, Default)]
pub struct Store(Arc<Mutex<HashMap<String, Origin>>>);

#[derive(Clone, Debug)]
enum Origin {
    Bytes(Arc<[u8]>),
    File(PathBuf),
}

impl Store {
    /// Puts bytes in and returns their name.
    pub fn add_bytes(&self, bytes: impl Into<Arc<[u8]>>) -> ContentId {
        let bytes = bytes.into();
        let id = ContentId {
            sha256: Algorithm::Sha256.of(&bytes),
            size: size_of(bytes.len()),
        };
        self.insert(&id, Origin::Bytes(bytes));
        id
    }

    /// Puts a file in, reading it once for its digest (this blocks), and returns its name.
    ///
    /// The file is read again when an agent needs it; if it has changed, the agent notices.
    pub fn add_file(&self, path: &Path) -> io::Result<ContentId> {
        let mut file = std::fs::File::open(path)?;
        let mut counted = Counted {
            inner: &mut file,
            size: 0,
        };
        let sha256 = Algorithm::Sha256.of_reader(&mut counted)?;
        let id = ContentId {
            sha256,
            size: counted.size,
        };
        self.insert(&id, Origin::File(path.to_owned()));
        Ok(id)
    }

    fn insert(&self, id: &ContentId, origin: Origin) {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(id.sha256.clone(), origin);
    }
}

impl Contents for Store {
    fn open(&self, id: &ContentId) -> io::Result<Box<dyn AsyncRead + Send + Unpin>> {
        let origins = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match origins.get(&id.sha256) {
            Some(Origin::Bytes(bytes)) => Ok(Box::new(io::Cursor::new(bytes.clone()))),
            Some(Origin::File(path)) => {
                let file = std::fs::File::open(path)?;
                Ok(Box::new(tokio::fs::File::from_std(file)))
            }
            None => Err(io::Error::new(
                io::ErrorKind::NotFound,
                format!("no content {} in this run", id.sha256),
            )),
        }
    }
}

struct Counted<'a> {
    inner: &'a mut dyn io::Read,
    size: u64,
}

impl io::Read for Counted<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buffer)?;
        self.size += size_of(count);
        Ok(count)
    }
}

fn size_of(length: usize) -> u64 {
    u64::try_from(length).expect("a length in memory fits 64 bits")
}
