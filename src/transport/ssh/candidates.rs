//! Which keys are offered to a server, in OpenSSH's order: certificates, named keys that the
//! agent holds, the agent's other keys, then keys that are only in files.
//!
//! Reads key files and asks the agent; talks to no server.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use russh::keys::agent::client::AgentClient;
use russh::keys::agent::{AgentIdentity, AgentSessionBinding};
use russh::keys::{Certificate, PrivateKey, PublicKey};

use super::Failure;
use super::host_key::fingerprint;
use super::identity::{KeyProblem, KeyRing, Loaded, Locked, beside, load_certificate, open_key};
use super::settings::{Identity, Login};
use super::signer::{Agent, Holder};

/// A key to offer.
pub(super) struct Candidate {
    /// What errors call it.
    pub(super) label: String,
    pub(super) public: PublicKey,
    pub(super) certificate: Option<Certificate>,
    pub(super) holder: Holder,
}

/// The keys of one login.
#[derive(Default)]
pub(super) struct Gathered {
    pub(super) candidates: Vec<Candidate>,
    /// The agent that signs for some of them.
    pub(super) agent: Option<Agent>,
    /// What could have been offered, and why it is not.
    pub(super) skipped: Vec<String>,
    /// The first key the user named that needs a passphrase.
    pub(super) locked: Option<Failure>,
}

/// A key of an identity file.
struct FileKey {
    label: String,
    path: Option<PathBuf>,
    loaded: Loaded,
}

/// Gathers what `login` allows. `binding` ties the agent's signatures to the connection; each
/// answer of the agent may take `limit`.
pub(super) async fn gather(
    login: &Login,
    keys: &KeyRing,
    binding: Option<&AgentSessionBinding>,
    limit: Duration,
) -> Gathered {
    let mut gathered = Gathered::default();
    let files = gathered.file_keys(login, keys).await;
    gathered.connect_agent(login, binding, limit).await;
    let held = gathered.agent_keys(limit).await;
    let certificates = gathered.certificates(login, &files);
    gathered.offer_certificates(certificates, &files, &held);
    gathered.offer_held(held, &files, login.identities_only);
    for file in files {
        gathered.offer_file(file, login.identities_named);
    }
    gathered
}

impl Gathered {
    /// Reads the identity files; what the user named and is no use is remembered.
    async fn file_keys(&mut self, login: &Login, keys: &KeyRing) -> Vec<FileKey> {
        let mut found = Vec::new();
        for identity in &login.identities {
            let (label, path, loaded) = load(identity, login, keys).await;
            match loaded {
                Ok(loaded) => found.push(FileKey {
                    label,
                    path,
                    loaded,
                }),
                Err(KeyProblem::Missing) if login.identities_named => {
                    self.skip(format!("{label}, as there is no such file"));
                }
                Err(KeyProblem::Missing) => {}
                Err(KeyProblem::Unusable(detail)) => self.skip(format!("{label}: {detail}")),
            }
        }
        found
    }

    async fn connect_agent(
        &mut self,
        login: &Login,
        binding: Option<&AgentSessionBinding>,
        limit: Duration,
    ) {
        let Some(socket) = &login.agent else { return };
        let connecting = AgentClient::connect_uds(socket);
        let Ok(Ok(mut agent)) = tokio::time::timeout(limit, connecting).await else {
            self.skip(format!(
                "the agent at `{}`: not reachable",
                socket.display()
            ));
            return;
        };
        if let Some(binding) = binding {
            // Agents before OpenSSH 8.9 do not know it, and hold no keys that need it.
            let binding = agent.bind_session(binding, false);
            drop(tokio::time::timeout(limit, binding).await);
        }
        self.agent = Some(agent);
    }

    async fn agent_keys(&mut self, limit: Duration) -> Vec<Candidate> {
        let Some(agent) = &mut self.agent else {
            return Vec::new();
        };
        match tokio::time::timeout(limit, agent.request_identities()).await {
            Ok(Ok(identities)) => identities.into_iter().map(held_key).collect(),
            Ok(Err(error)) => {
                self.skip(format!("the agent's keys: {error}"));
                Vec::new()
            }
            Err(_) => {
                self.skip("the agent's keys: it does not answer".to_owned());
                Vec::new()
            }
        }
    }

    /// Returns the certificates to offer: those named, then those beside identity files.
    fn certificates(&mut self, login: &Login, files: &[FileKey]) -> Vec<(Certificate, String)> {
        let named = login.certificates.iter().map(|path| (path.clone(), true));
        let beside_keys = files
            .iter()
            .filter_map(|file| file.path.as_deref())
            .map(|path| (beside(path, "-cert.pub"), false));
        let mut certificates = Vec::new();
        for (path, named) in named.chain(beside_keys) {
            let label = format!("certificate `{}`", path.display());
            match load_certificate(&path) {
                Ok(Some(certificate)) => certificates.push((certificate, label)),
                Ok(None) if named => self.skip(format!("{label}, as there is no such file")),
                Err(KeyProblem::Unusable(detail)) => self.skip(format!("{label}: {detail}")),
                Ok(None) | Err(KeyProblem::Missing) => {}
            }
        }
        certificates
    }

    /// Offers the certificates whose private key is in a file or in the agent.
    fn offer_certificates(
        &mut self,
        certificates: Vec<(Certificate, String)>,
        files: &[FileKey],
        held: &[Candidate],
    ) {
        for (certificate, label) in certificates {
            let public = PublicKey::new(certificate.public_key().clone(), "");
            let own = files.iter().find_map(|file| file.private_of(&public));
            let in_agent = held.iter().any(|known| is_same(&known.public, &public));
            let holder = match own {
                Some(key) => Holder::Here(key),
                None if in_agent => Holder::Agent(Box::new(AgentIdentity::from(public.clone()))),
                None => continue,
            };
            self.candidates.push(Candidate {
                label,
                public,
                certificate: Some(certificate),
                holder,
            });
        }
    }

    /// Offers the agent's keys: those of identity files in the order of the files, then the
    /// others, unless only identity files may be used.
    fn offer_held(&mut self, held: Vec<Candidate>, files: &[FileKey], only_named: bool) {
        let rank = |key: &PublicKey| {
            let mut files = files.iter();
            files.position(|file| is_same(&file.loaded.public, key))
        };
        let (mut named, others): (Vec<_>, Vec<_>) = held
            .into_iter()
            .partition(|candidate| rank(&candidate.public).is_some());
        named.sort_by_key(|candidate| rank(&candidate.public));
        self.candidates.append(&mut named);
        if !only_named {
            self.candidates.extend(others);
        }
    }

    /// Offers the key of a file, unless the agent offers the same.
    fn offer_file(&mut self, file: FileKey, named: bool) {
        let held = |known: &Candidate| {
            known.certificate.is_none() && is_same(&known.public, &file.loaded.public)
        };
        if self.candidates.iter().any(held) {
            return;
        }
        let print = fingerprint(&file.loaded.public);
        match file.loaded.private {
            Ok(key) => self.candidates.push(Candidate {
                label: format!("{} {print}", file.label),
                public: file.loaded.public,
                certificate: None,
                holder: Holder::Here(key),
            }),
            Err(locked) => {
                let wrong = locked == Locked::WrongPassphrase;
                let why = if wrong {
                    "the passphrase is wrong"
                } else {
                    "it is encrypted"
                };
                self.skip(format!("{}, as {why}", file.label));
                if named && self.locked.is_none() {
                    let path = file.path.unwrap_or_default();
                    self.locked = Some(Failure::Passphrase { path, wrong });
                }
            }
        }
    }

    fn skip(&mut self, what: String) {
        self.skipped.push(what);
    }
}

impl FileKey {
    fn private_of(&self, public: &PublicKey) -> Option<Arc<PrivateKey>> {
        let same = is_same(&self.loaded.public, public);
        self.loaded.private.as_ref().ok().filter(|_| same).cloned()
    }
}

/// Returns the label, path and content of an identity.
async fn load(
    identity: &Identity,
    login: &Login,
    keys: &KeyRing,
) -> (String, Option<PathBuf>, Result<Loaded, KeyProblem>) {
    let passphrase = login.passphrase.as_ref();
    match identity {
        Identity::File(path) => (
            format!("`{}`", path.display()),
            Some(Path::to_owned(path)),
            keys.load(path, passphrase).await,
        ),
        Identity::Inline(text) => (
            "the key in `ansible_ssh_private_key`".to_owned(),
            None,
            open_key(text.expose().to_owned(), passphrase.cloned(), None).await,
        ),
        Identity::Made(key) => (
            "the sandbox's key".to_owned(),
            None,
            Ok(Loaded {
                public: key.public_key().clone(),
                private: Ok(Arc::clone(key)),
            }),
        ),
    }
}

fn held_key(identity: AgentIdentity) -> Candidate {
    let (public, certificate, what, comment) = match &identity {
        AgentIdentity::PublicKey { key, comment } => (key.clone(), None, "key", comment),
        AgentIdentity::Certificate {
            certificate,
            comment,
        } => {
            let public = PublicKey::new(certificate.public_key().clone(), "");
            (public, Some(certificate.clone()), "certificate", comment)
        }
    };
    Candidate {
        label: format!("agent {what} `{comment}` {}", fingerprint(&public)),
        public,
        certificate,
        holder: Holder::Agent(Box::new(identity)),
    }
}

fn is_same(one: &PublicKey, other: &PublicKey) -> bool {
    one.key_data() == other.key_data()
}
