//! Logging in: public keys (certificates, agent, files), keyboard-interactive and password, in
//! the order OpenSSH tries them, until the server is content or nothing is left.

use std::time::Duration;

use russh::client::{AuthResult, Handle, KeyboardInteractiveAuthResponse, Prompt};
use russh::keys::{Algorithm, HashAlg, PublicKey};
use russh::{AgentAuthError, MethodKind, MethodSet};

use super::candidates::{self, Candidate};
use super::handshake::Verifier;
use super::host_key::Acceptance;
use super::settings::Method;
use super::signer::{Agent, KeySigner};
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
        let login = &self.settings.login;
        let binding = self.handle.agent_session_binding();
        let mut gathered =
            candidates::gather(login, &self.context.keys, binding, self.limit()).await;
        self.locked = self.locked.take().or(gathered.locked.take());
        for skipped in gathered.skipped {
            if !self.skipped.contains(&skipped) {
                self.skipped.push(skipped);
            }
        }
        for candidate in gathered.candidates {
            if !self.offers(Method::PublicKey) {
                break;
            }
            if !self.note(candidate.label.clone()) {
                continue;
            }
            match self.offer(candidate, gathered.agent.as_mut()).await? {
                Progress::Refused => {}
                progress => return Ok(progress),
            }
        }
        Ok(Progress::Refused)
    }

    async fn offer(
        &mut self,
        candidate: Candidate,
        agent: Option<&mut Agent>,
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
        agent: Option<&mut Agent>,
    ) -> Result<AuthResult, Unanswered> {
        let hash = self.hash_for(&candidate.public).await?;
        let handle = &mut *self.handle;
        let user = self.settings.user.as_str();
        let mut signer = KeySigner {
            holder: candidate.holder,
            agent,
        };
        Ok(match candidate.certificate {
            Some(certificate) => {
                handle
                    .authenticate_certificate_with(user, certificate, hash, &mut signer)
                    .await?
            }
            None => {
                handle
                    .authenticate_publickey_with(user, candidate.public, hash, &mut signer)
                    .await?
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
