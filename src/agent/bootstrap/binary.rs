//! The executables that can be an agent: this one, and those named for other CPUs.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use flate2::Compression;
use flate2::read::GzEncoder;

use crate::machine::Algorithm;

/// One executable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Binary {
    /// As `uname -m` names it.
    pub(super) cpu: String,
    pub(super) path: PathBuf,
    pub(super) sha256: String,
    pub(super) size: u64,
}

impl Binary {
    fn read(cpu: &str, path: &Path) -> io::Result<Self> {
        let mut file = File::open(path)?;
        Ok(Self {
            cpu: cpu.to_owned(),
            path: path.to_owned(),
            size: file.metadata()?.len(),
            sha256: Algorithm::Sha256.of_reader(&mut file)?,
        })
    }
}

/// The agents of a run; each is hashed once, and compressed once when a target asks for it.
///
/// Clones share what was read.
#[derive(Clone, Debug)]
pub struct Agents(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    known: Vec<(String, PathBuf)>,
    binaries: OnceLock<Vec<Binary>>,
    /// Held while hashing, which would else be done once for every host that starts.
    hashing: Mutex<()>,
    /// The executable for this CPU; the lock keeps many hosts from compressing it at once.
    compressed: Mutex<Option<Arc<Vec<u8>>>>,
}

impl Agents {
    /// Names the executable for this CPU (usually the running one) and those for others, by what
    /// `uname -m` says there.
    pub fn new(own: impl Into<PathBuf>, others: &BTreeMap<String, PathBuf>) -> Self {
        let mut known = vec![(std::env::consts::ARCH.to_owned(), own.into())];
        known.extend(others.iter().map(|(cpu, path)| (cpu.clone(), path.clone())));
        Self(Arc::new(Inner {
            known,
            binaries: OnceLock::new(),
            hashing: Mutex::default(),
            compressed: Mutex::default(),
        }))
    }

    /// Returns the path of the executable for this CPU.
    pub(super) fn own(&self) -> &Path {
        &self.0.known[0].1
    }

    /// Hashes the executables ahead of time; blocks. Who needs them is told what is wrong.
    pub fn prepare(&self) {
        self.binaries().ok();
    }

    /// Lists the executables, hashed; blocks when it is the first to ask.
    pub(super) fn binaries(&self) -> io::Result<&[Binary]> {
        let _turn = self
            .0
            .hashing
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if let Some(binaries) = self.0.binaries.get() {
            return Ok(binaries);
        }
        let read: io::Result<Vec<Binary>> = self
            .0
            .known
            .iter()
            .map(|(cpu, path)| {
                Binary::read(cpu, path).map_err(|error| {
                    io::Error::new(error.kind(), format!("{}: {error}", path.display()))
                })
            })
            .collect();
        let read = read?;
        Ok(self.0.binaries.get_or_init(|| read))
    }

    /// Returns the bytes to send for a CPU; blocks.
    pub(super) fn bytes(&self, cpu: &str, gzip: bool) -> io::Result<Arc<Vec<u8>>> {
        let index = self.0.known.iter().position(|(known, _)| known == cpu);
        let index = index.ok_or_else(|| io::Error::other(format!("no agent for {cpu}")))?;
        let path = &self.0.known[index].1;
        match (gzip, index) {
            (false, _) => Ok(std::fs::read(path)?.into()),
            // Most targets are of this CPU, so that one is worth keeping.
            (true, 0) => {
                let compressed = &self.0.compressed;
                let mut kept = compressed.lock().unwrap_or_else(PoisonError::into_inner);
                if kept.is_none() {
                    *kept = Some(compress(path)?);
                }
                kept.clone()
                    .ok_or_else(|| io::Error::other("it was just made"))
            }
            (true, _) => compress(path),
        }
    }
}

fn compress(path: &Path) -> io::Result<Arc<Vec<u8>>> {
    let mut bytes = Vec::new();
    GzEncoder::new(File::open(path)?, Compression::default()).read_to_end(&mut bytes)?;
    // It is kept to the end of the run: growing took up to twice as much.
    bytes.shrink_to_fit();
    Ok(Arc::new(bytes))
}
