//! Logging in: public keys (certificates, agent, files), keyboard-interactive and password, in
//! the order OpenSSH tries them, until the server is content or nothing is left.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use russh::client::{AuthResult, Handle, KeyboardInteractiveAuthResponse, Prompt};
use russh::keys::agent::AgentIdentity;
use russh::keys::agent::client::AgentClient;
use russh::keys::signature::Signer as _;
use russh::keys::ssh_encoding::Encode as _;
use russh::keys::ssh_key::{self, Signature};
use russh::keys::{Algorithm, Certificate, HashAlg, PrivateKey, PublicKey};
use russh::{AgentAuthError, MethodKind, MethodSet};
use tokio::net::UnixStream;

use super::handshake::Verifier;
use super::host_key::{Acceptance, fingerprint};
use super::identity::{KeyProblem, Loaded, Locked, beside, load_certificate, open_key};
use super::settings::{Identity, Method};
use super::{ConnectContext, Failure, Link, Settings, Stage, TransportError};
use crate::transport::Secret;

/// How often a server may ask the same questions again.
const ROUNDS: usize = 8;

/// Logs in over `handle`, or says what was tried.
pub(super) async fn log_in(
    handle: &mut Handle<Verifier>,
    acceptance: Acceptance,
    settings: &Settings,
    context: &ConnectContext,
    link: &Link,
) -> Result<(), TransportError> {
    let mut login = Attempt {
        handle,
        settings,
        context,
        link,
        offered: None,
        tried: Vec::new(),
        skipped: Vec::new(),
        locked: None,
    };
    let password = settings.login.password.as_ref();
    if acceptance == Acceptance::Suspect && password.is_some() {
        login
            .skipped
            .push("the password, as the host key has changed".to_owned());
    }
    let password = password.filter(|_| acceptance == Acceptance::Trusted);
    // A server may want several methods one after the other.
    for _ in 0..ROUNDS {
        match login.round(password).await? {
            Progress::Done => return Ok(()),
            Progress::Partly => {}
            Progress::Refused => break,
        }
    }
    Err(login.refusal())
}

enum Progress {
    Done,
    /// The method was right, and the server wants another one.
    Partly,
    Refused,
}

struct Attempt<'a> {
    handle: &'a mut Handle<Verifier>,
    settings: &'a Settings,
    context: &'a ConnectContext,
    link: &'a Link,
    /// The methods the server would still take; `None` before its first answer.
    offered: Option<MethodSet>,
    tried: Vec<String>,
    skipped: Vec<String>,
    /// The first key the user named that needs a passphrase.
    locked: Option<Failure>,
}

/// A key to offer and who signs with it.
struct Candidate {
    label: String,
    public: PublicKey,
    certificate: Option<Certificate>,
    signer: Signer,
}

enum Signer {
    Key(Arc<PrivateKey>),
    Agent,
}

impl Attempt<'_> {
    /// Tries every allowed method once, as far as the server still offers it.
    async fn round(&mut self, password: Option<&Secret>) -> Result<Progress, TransportError> {
        for method in &self.settings.login.methods {
            if !self.offers(*method) {
                continue;
            }
            if *method != Method::PublicKey && password.is_some() && self.offered.is_none() {
                // An attempt the server does not offer would cost a failure: ask first.
                match self.none().await? {
                    Progress::Refused if !self.offers(*method) => continue,
                    Progress::Refused => {}
                    progress => return Ok(progress),
                }
            }
            let progress = match (method, password) {
                (Method::PublicKey, _) => self.public_keys().await?,
                (Method::KeyboardInteractive, Some(password)) => {
                    self.keyboard_interactive(password).await?
                }
                (Method::Password, Some(password)) => self.password(password).await?,
                (_, None) => Progress::Refused,
            };
            if !matches!(progress, Progress::Refused) {
                return Ok(progress);
            }
        }
        if self.offered.is_none() {
            // Nothing to try: the server's answer tells what it would have taken.
            return self.none().await;
        }
        Ok(Progress::Refused)
    }

    fn offers(&self, method: Method) -> bool {
        let kind = match method {
            Method::PublicKey => MethodKind::PublicKey,
            Method::KeyboardInteractive => MethodKind::KeyboardInteractive,
            Method::Password => MethodKind::Password,
        };
        self.offered
            .as_ref()
            .is_none_or(|offered| offered.contains(&kind))
    }

    async fn none(&mut self) -> Result<Progress, TransportError> {
        let limit = self.limit();
        let asking = self.handle.authenticate_none(self.settings.user.as_str());
        let answer = tokio::time::timeout(limit, asking).await;
        self.settle(answer)
    }

    async fn password(&mut self, password: &Secret) -> Result<Progress, TransportError> {
        if !self.note("password".to_owned()) {
            return Ok(Progress::Refused);
        }
        let limit = self.limit();
        let asking = self
            .handle
            .authenticate_password(self.settings.user.as_str(), password.expose());
        let answer = tokio::time::timeout(limit, asking).await;
        self.settle(answer)
    }

    /// Answers each question that hides its answer with the password, as `sshpass` does.
    async fn keyboard_interactive(
        &mut self,
        password: &Secret,
    ) -> Result<Progress, TransportError> {
        if !self.note("keyboard-interactive".to_owned()) {
            return Ok(Progress::Refused);
        }
        let limit = self.limit();
        let user = self.settings.user.as_str();
        let asking = self
            .handle
            .authenticate_keyboard_interactive_start(user, None::<String>);
        let mut answer = tokio::time::timeout(limit, asking).await;
        let mut told = false;
        for _ in 0..ROUNDS {
            let prompts = match answer {
                Ok(Ok(KeyboardInteractiveAuthResponse::InfoRequest { prompts, .. })) => prompts,
                settled => return self.settle(settled.map(|answer| answer.map(as_result))),
            };
            let asks_again = prompts.iter().any(|prompt| !prompt.echo) && told;
            if asks_again || prompts.iter().any(|prompt| prompt.echo) {
                // The password was wrong, or something else is wanted.
                self.describe_prompts(&prompts);
                return Ok(Progress::Refused);
            }
            told |= !prompts.is_empty();
            let responses = prompts
                .iter()
                .map(|_| password.expose().to_owned())
                .collect();
            let asking = self
                .handle
                .authenticate_keyboard_interactive_respond(responses);
            answer = tokio::time::timeout(limit, asking).await;
        }
        Ok(Progress::Refused)
    }

    fn describe_prompts(&mut self, prompts: &[Prompt]) {
        let asked = prompts
            .iter()
            .map(|prompt| prompt.prompt.trim().trim_end_matches(':'));
        self.skipped.push(format!(
            "an answer to the server's question `{}`",
            asked.collect::<Vec<_>>().join("`, `")
        ));
        self.offered = self
            .offered
            .take()
            .or_else(|| Some(MethodSet::client_supported()));
    }

    /// Offers keys until one is accepted, the server wants no more, or none is left.
    async fn public_keys(&mut self) -> Result<Progress, TransportError> {
        let mut agent = self.agent().await;
        for candidate in self.candidates(agent.as_mut()).await {
            if !self.offers(Method::PublicKey) {
                break;
            }
            if !self.note(candidate.label.clone()) {
                continue;
            }
            match self.offer(candidate, agent.as_mut()).await? {
                Progress::Refused => {}
                progress => return Ok(progress),
            }
        }
        Ok(Progress::Refused)
    }

    async fn offer(
        &mut self,
        candidate: Candidate,
        agent: Option<&mut AgentClient<UnixStream>>,
    ) -> Result<Progress, TransportError> {
        let label = candidate.label.clone();
        let limit = self.limit();
        let asking = self.ask(candidate, agent);
        let answer = match tokio::time::timeout(limit, asking).await {
            Ok(Err(Unanswered::Unsigned(why))) => {
                // The server waits for another request, and gets one.
                self.skipped
                    .push(format!("{label}, which did not sign: {why}"));
                return Ok(Progress::Refused);
            }
            Ok(Err(Unanswered::Broken(error))) => Ok(Err(error)),
            Ok(Ok(result)) => Ok(Ok(result)),
            Err(elapsed) => Err(elapsed),
        };
        self.settle(answer)
    }

    async fn ask(
        &mut self,
        candidate: Candidate,
        agent: Option<&mut AgentClient<UnixStream>>,
    ) -> Result<AuthResult, Unanswered> {
        let hash = self.hash_for(&candidate.public).await?;
        let handle = &mut *self.handle;
        let user = self.settings.user.as_str();
        let public = candidate.public;
        Ok(match (candidate.signer, candidate.certificate, agent) {
            (Signer::Key(key), None, _) => {
                let mut signer = KeySigner(key);
                handle
                    .authenticate_publickey_with(user, public, hash, &mut signer)
                    .await?
            }
            (Signer::Key(key), Some(certificate), _) => {
                let mut signer = KeySigner(key);
                handle
                    .authenticate_certificate_with(user, certificate, hash, &mut signer)
                    .await?
            }
            (Signer::Agent, Some(certificate), Some(agent)) => {
                handle
                    .authenticate_certificate_with(user, certificate, hash, agent)
                    .await?
            }
            (Signer::Agent, None, Some(agent)) => {
                handle
                    .authenticate_publickey_with(user, public, hash, agent)
                    .await?
            }
            (Signer::Agent, _, None) => {
                return Err(Unanswered::Unsigned("the agent is gone".to_owned()));
            }
        })
    }

    /// Returns the hash to sign with: RSA's is chosen by what the server announces. `Err` when
    /// only SHA-1 would do, which has to be allowed.
    async fn hash_for(&self, key: &PublicKey) -> Result<Option<HashAlg>, Unanswered> {
        if !matches!(key.algorithm(), Algorithm::Rsa { .. }) {
            return Ok(None);
        }
        match self.handle.best_supported_rsa_hash().await? {
            Some(None) if self.settings.login.sha1 => Ok(None),
            Some(None) => Err(Unanswered::Unsigned(
                "the server takes RSA signatures with SHA-1 only (allow them with \
                 `-o PubkeyAcceptedAlgorithms=+ssh-rsa`)"
                    .to_owned(),
            )),
            Some(hash) => Ok(hash),
            // A server that announces nothing takes SHA-2 if it is younger than 2016.
            None => Ok(Some(HashAlg::Sha512)),
        }
    }

    /// Remembers an attempt; `false` when the same was made before.
    fn note(&mut self, label: String) -> bool {
        let new = !self.tried.contains(&label);
        if new {
            self.tried.push(label);
        }
        new
    }

    fn limit(&self) -> Duration {
        self.settings.login_timeout()
    }

    /// Turns the server's answer into progress, or the end of the connection into an error.
    fn settle(
        &mut self,
        answer: Result<Result<AuthResult, russh::Error>, tokio::time::error::Elapsed>,
    ) -> Result<Progress, TransportError> {
        match answer {
            Err(_) => Err(self.link.timeout(Stage::Login, self.limit())),
            Ok(Err(error)) => Err(self.link.broken(Stage::Login, &error)),
            Ok(Ok(AuthResult::Success)) => Ok(Progress::Done),
            // How russh reports that the connection ended.
            Ok(Ok(AuthResult::Failure { .. })) if self.handle.is_closed() => {
                let lost = self.link.lost(Stage::Login);
                if lost.failure == Failure::no_method_left() {
                    self.offered = Some(MethodSet::empty());
                    return Ok(Progress::Refused);
                }
                Err(lost)
            }
            Ok(Ok(AuthResult::Failure {
                remaining_methods,
                partial_success,
            })) => {
                self.offered = Some(remaining_methods);
                Ok(if partial_success {
                    Progress::Partly
                } else {
                    Progress::Refused
                })
            }
        }
    }

    fn refusal(self) -> TransportError {
        if let Some(locked) = self.locked {
            return self.link.error(locked);
        }
        let methods = self.offered.unwrap_or_else(MethodSet::empty);
        self.link.error(Failure::Refusal {
            user: self.settings.user.clone(),
            methods: methods.iter().map(String::from).collect(),
            tried: self.tried,
            skipped: self.skipped,
            password: self.settings.login.password.is_some(),
        })
    }
}

fn as_result(answer: KeyboardInteractiveAuthResponse) -> AuthResult {
    match answer {
        KeyboardInteractiveAuthResponse::Success => AuthResult::Success,
        KeyboardInteractiveAuthResponse::Failure {
            remaining_methods,
            partial_success,
        } => AuthResult::Failure {
            remaining_methods,
            partial_success,
        },
        // The caller has handled questions.
        KeyboardInteractiveAuthResponse::InfoRequest { .. } => AuthResult::Failure {
            remaining_methods: MethodSet::empty(),
            partial_success: false,
        },
    }
}

/// Why an offered key has no answer.
enum Unanswered {
    /// Whoever holds the key would not sign.
    Unsigned(String),
    /// The connection broke.
    Broken(russh::Error),
}

impl From<russh::Error> for Unanswered {
    fn from(error: russh::Error) -> Self {
        Self::Broken(error)
    }
}

impl From<AgentAuthError> for Unanswered {
    fn from(error: AgentAuthError) -> Self {
        match error {
            AgentAuthError::Send(_) => Self::Broken(russh::Error::SendError),
            AgentAuthError::Key(error) => Self::Unsigned(error.to_string().to_lowercase()),
        }
    }
}

/// Signs with a key of this process. (russh's own way would sign for an RSA certificate with
/// SHA-1, and end the connection over a key it cannot sign with.)
struct KeySigner(Arc<PrivateKey>);

impl russh::Signer for KeySigner {
    type Error = AgentAuthError;

    async fn auth_sign(
        &mut self,
        _key: &AgentIdentity,
        hash: Option<HashAlg>,
        mut to_sign: Vec<u8>,
    ) -> Result<Vec<u8>, Self::Error> {
        self.sign(hash, &mut to_sign)
            .map_err(|error| AgentAuthError::Key(error.into()))?;
        Ok(to_sign)
    }
}

impl KeySigner {
    /// Appends the signature of `message` to it, as the request wants it.
    fn sign(&self, hash: Option<HashAlg>, message: &mut Vec<u8>) -> Result<(), ssh_key::Error> {
        let signature: Signature = match self.0.key_data().rsa() {
            Some(key) => (key, hash).try_sign(message)?,
            None => self.0.try_sign(message)?,
        };
        Ok(signature.encode_prefixed(message)?)
    }
}

impl Attempt<'_> {
    /// Connects to the agent, if there is one.
    async fn agent(&mut self) -> Option<AgentClient<UnixStream>> {
        let socket = self.settings.login.agent.as_deref()?;
        let connected = tokio::time::timeout(self.limit(), AgentClient::connect_uds(socket)).await;
        let Ok(Ok(mut agent)) = connected else {
            self.skipped.push(format!(
                "the agent at `{}`: not reachable",
                socket.display()
            ));
            return None;
        };
        if let Some(binding) = self.handle.agent_session_binding() {
            // Agents before OpenSSH 8.9 do not know it, and hold no keys that need it.
            drop(agent.bind_session(binding, false).await);
        }
        Some(agent)
    }

    /// Returns the keys to offer, in OpenSSH's order: named keys the agent holds, the agent's
    /// other keys, then keys only in files; a key's certificate goes before the key.
    async fn candidates(&mut self, agent: Option<&mut AgentClient<UnixStream>>) -> Vec<Candidate> {
        let files = self.file_keys().await;
        let held = match agent {
            Some(agent) => self.agent_keys(agent).await,
            None => Vec::new(),
        };
        let named = |key: &PublicKey| {
            files
                .iter()
                .position(|file| file.loaded.public.key_data() == key.key_data())
        };
        let (mut preferred, mut others): (Vec<_>, Vec<_>) = held
            .into_iter()
            .partition(|candidate| named(&candidate.public).is_some());
        preferred.sort_by_key(|candidate| named(&candidate.public));
        if self.settings.login.identities_only {
            others.clear();
        }
        let mut candidates = preferred;
        candidates.append(&mut others);
        let certificates = self.certificates(&files);
        let mut all = Vec::new();
        for (certificate, label) in certificates {
            let public = PublicKey::new(certificate.public_key().clone(), "");
            let in_agent = candidates
                .iter()
                .any(|known| known.public.key_data() == public.key_data());
            let own = files.iter().find_map(|file| file.signer_of(&public));
            let signer = match own {
                Some(key) => Signer::Key(key),
                None if in_agent => Signer::Agent,
                None => continue,
            };
            all.push(Candidate {
                label,
                public,
                certificate: Some(certificate),
                signer,
            });
        }
        all.append(&mut candidates);
        for file in files {
            let held = all.iter().any(|known| {
                known.certificate.is_none()
                    && known.public.key_data() == file.loaded.public.key_data()
            });
            if !held && let Some(candidate) = self.file_candidate(file) {
                all.push(candidate);
            }
        }
        all
    }

    async fn agent_keys(&mut self, agent: &mut AgentClient<UnixStream>) -> Vec<Candidate> {
        let identities = match tokio::time::timeout(self.limit(), agent.request_identities()).await
        {
            Ok(Ok(identities)) => identities,
            Ok(Err(error)) => {
                self.skipped.push(format!("the agent's keys: {error}"));
                return Vec::new();
            }
            Err(_) => {
                self.skipped
                    .push("the agent's keys: it does not answer".to_owned());
                return Vec::new();
            }
        };
        let candidate = |identity| {
            let (public, certificate, comment) = match identity {
                AgentIdentity::PublicKey { key, comment } => (key, None, comment),
                AgentIdentity::Certificate {
                    certificate,
                    comment,
                } => {
                    let public = PublicKey::new(certificate.public_key().clone(), "");
                    (public, Some(certificate), comment)
                }
            };
            let what = if certificate.is_some() {
                "certificate"
            } else {
                "key"
            };
            Candidate {
                label: format!("agent {what} `{comment}` {}", fingerprint(&public)),
                public,
                certificate,
                signer: Signer::Agent,
            }
        };
        identities.into_iter().map(candidate).collect()
    }

    /// Reads the identity files; what the user named and is no use is remembered for the error.
    async fn file_keys(&mut self) -> Vec<FileKey> {
        let login = &self.settings.login;
        let mut keys = Vec::new();
        for identity in &login.identities {
            let passphrase = login.passphrase.as_ref();
            let (label, path, loaded) = match identity {
                Identity::File(path) => (
                    format!("`{}`", path.display()),
                    Some(path.as_path()),
                    self.context.keys.load(path, passphrase).await,
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
            };
            match loaded {
                Ok(loaded) => keys.push(FileKey {
                    label,
                    path: path.map(Path::to_owned),
                    loaded,
                }),
                Err(KeyProblem::Missing) if login.identities_named => {
                    self.skipped
                        .push(format!("{label}, as there is no such file"));
                }
                Err(KeyProblem::Missing) => {}
                Err(KeyProblem::Unusable(detail)) => {
                    self.skipped.push(format!("{label}: {detail}"));
                }
            }
        }
        keys
    }

    fn file_candidate(&mut self, file: FileKey) -> Option<Candidate> {
        let print = fingerprint(&file.loaded.public);
        match file.loaded.private {
            Ok(key) => Some(Candidate {
                label: format!("{} {print}", file.label),
                public: file.loaded.public,
                certificate: None,
                signer: Signer::Key(key),
            }),
            Err(locked) => {
                let wrong = locked == Locked::WrongPassphrase;
                let why = if wrong {
                    "the passphrase is wrong"
                } else {
                    "it is encrypted"
                };
                self.skipped.push(format!("{}, as {why}", file.label));
                if self.settings.login.identities_named && self.locked.is_none() {
                    let path = file.path.unwrap_or_default();
                    self.locked = Some(Failure::Passphrase { path, wrong });
                }
                None
            }
        }
    }

    /// Returns the certificates to offer: those named, then those beside identity files.
    fn certificates(&mut self, files: &[FileKey]) -> Vec<(Certificate, String)> {
        let named = self
            .settings
            .login
            .certificates
            .iter()
            .map(|path| (path.clone(), true));
        let beside_keys = files
            .iter()
            .filter_map(|file| file.path.as_deref())
            .map(|path| (beside(path, "-cert.pub"), false));
        let mut certificates = Vec::new();
        for (path, named) in named.chain(beside_keys) {
            let label = format!("certificate `{}`", path.display());
            match load_certificate(&path) {
                Ok(Some(certificate)) => certificates.push((certificate, label)),
                Ok(None) if named => self
                    .skipped
                    .push(format!("{label}, as there is no such file")),
                Err(KeyProblem::Unusable(detail)) => {
                    self.skipped.push(format!("{label}: {detail}"));
                }
                Ok(None) | Err(KeyProblem::Missing) => {}
            }
        }
        certificates
    }
}

/// A key of an identity file.
struct FileKey {
    label: String,
    path: Option<std::path::PathBuf>,
    loaded: Loaded,
}

impl FileKey {
    fn signer_of(&self, public: &PublicKey) -> Option<Arc<PrivateKey>> {
        let same = self.loaded.public.key_data() == public.key_data();
        self.loaded.private.as_ref().ok().filter(|_| same).cloned()
    }
}
