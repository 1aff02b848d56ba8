//! Who signs a login request: a private key of this process, or the agent.

use std::sync::Arc;

use russh::AgentAuthError;
use russh::keys::agent::AgentIdentity;
use russh::keys::agent::client::AgentClient;
use russh::keys::signature::Signer as _;
use russh::keys::ssh_encoding::Encode as _;
use russh::keys::ssh_key::{self, Signature};
use russh::keys::{HashAlg, PrivateKey};
use tokio::net::UnixStream;

/// A connection to the user's agent.
pub(super) type Agent = AgentClient<UnixStream>;

/// Where a private key is.
pub(super) enum Holder {
    Here(Arc<PrivateKey>),
    /// In the agent, under this identity: a key signs for its certificates too.
    Agent(Box<AgentIdentity>),
}

/// Signs one request. (russh's own way would sign for an RSA certificate with SHA-1, and end the
/// connection over a key it cannot sign with.)
pub(super) struct KeySigner<'a> {
    pub(super) holder: Holder,
    pub(super) agent: Option<&'a mut Agent>,
}

impl russh::Signer for KeySigner<'_> {
    type Error = AgentAuthError;

    async fn auth_sign(
        &mut self,
        _key: &AgentIdentity,
        hash: Option<HashAlg>,
        mut request: Vec<u8>,
    ) -> Result<Vec<u8>, Self::Error> {
        let failed = AgentAuthError::Key;
        match (&self.holder, &mut self.agent) {
            (Holder::Here(key), _) => {
                sign(key, hash, &mut request).map_err(|error| failed(error.into()))?;
                Ok(request)
            }
            (Holder::Agent(identity), Some(agent)) => agent
                .sign_request(identity, hash, request)
                .await
                .map_err(failed),
            (Holder::Agent(_), None) => Err(failed(russh::keys::Error::AgentFailure)),
        }
    }
}

/// Appends the signature of `request` to it, as the protocol wants it.
fn sign(
    key: &PrivateKey,
    hash: Option<HashAlg>,
    request: &mut Vec<u8>,
) -> Result<(), ssh_key::Error> {
    let signature: Signature = match key.key_data().rsa() {
        Some(key) => (key, hash).try_sign(request)?,
        None => key.try_sign(request)?,
    };
    Ok(signature.encode_prefixed(request)?)
}
