//! How one host is to be reached, settled: the endpoint's variables, the ssh arguments and the
//! ssh_config files brought together.

use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use russh::Preferred;
use russh::keys::{PrivateKey, PublicKey};

use super::host_key::{Files, Strictness, Trust};
use super::known_hosts;
use super::{ConnectContext, Endpoint, TransportError};
use crate::transport::Secret;

/// The way to log in to one server.
#[derive(Debug)]
pub(in crate::transport) struct Settings {
    /// The inventory name, for errors.
    pub(super) name: Arc<str>,
    /// The name in `ProxyJump` when this is a jump host.
    pub(super) jump: Option<String>,
    /// What is connected to: an address or a name to resolve.
    pub(super) host_name: String,
    pub(super) port: u16,
    pub(super) user: String,
    /// `HostKeyAlias`: the name in known_hosts, without a port.
    pub(super) host_key_alias: Option<String>,
    pub(super) trust: Arc<Trust>,
    pub(super) login: Login,
    pub(super) algorithms: Preferred,
    pub(super) ciphers_chosen: bool,
    /// The limit of each stage before the login.
    pub(super) timeout: Duration,
    pub(super) attempts: u32,
    /// Keepalive: the interval, and how many probes may stay unanswered.
    pub(super) alive: Option<(Duration, usize)>,
    pub(super) bind_address: Option<IpAddr>,
    pub(super) family: AddressFamily,
    pub(super) proxy: Proxy,
    pub(super) warnings: Vec<String>,
}

/// What may be tried to log in.
#[derive(Debug)]
pub(super) struct Login {
    /// In the order of preference, only those that are allowed.
    pub(super) methods: Vec<Method>,
    pub(super) identities: Vec<Identity>,
    /// The user named the identities: one that is missing or locked is worth telling.
    pub(super) identities_named: bool,
    pub(super) certificates: Vec<PathBuf>,
    pub(super) identities_only: bool,
    pub(super) agent: Option<PathBuf>,
    pub(super) password: Option<Secret>,
    pub(super) passphrase: Option<Secret>,
}

/// A private key to try.
#[derive(Clone, Debug)]
pub(super) enum Identity {
    File(PathBuf),
    /// The key's text, given by a variable.
    Inline(Secret),
    /// A key this process made.
    Made(Arc<PrivateKey>),
}

/// The login methods we know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Method {
    PublicKey,
    KeyboardInteractive,
    Password,
}

/// `AddressFamily`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum AddressFamily {
    Any,
    V4,
    V6,
}

/// What lies between us and the server.
#[derive(Debug)]
pub(super) enum Proxy {
    None,
    Jump(Box<Settings>),
    Command(String),
}

impl Settings {
    /// Settles how `endpoint` is to be reached.
    pub(super) async fn resolve(
        endpoint: &Endpoint,
        context: &ConnectContext,
    ) -> Result<Self, TransportError> {
        let ssh = context.home.join(".ssh");
        let identities = match (&endpoint.private_key, &endpoint.private_key_file) {
            (Some(text), _) => vec![Identity::Inline(text.clone())],
            (None, Some(path)) => vec![Identity::File(path.clone())],
            (None, None) => ["id_rsa", "id_ecdsa", "id_ed25519"]
                .map(|name| Identity::File(ssh.join(name)))
                .to_vec(),
        };
        let files = Files {
            strictness: if endpoint.host_key_checking {
                Strictness::Known
            } else {
                Strictness::Off
            },
            user: vec![ssh.join("known_hosts")],
            global: context.system_known_hosts.iter().cloned().collect(),
            hash_names: false,
        };
        Ok(Self {
            name: Arc::clone(&endpoint.name),
            jump: None,
            host_name: endpoint.address.clone(),
            port: endpoint.port.unwrap_or(22),
            user: endpoint
                .user
                .clone()
                .unwrap_or_else(|| context.user.clone()),
            host_key_alias: None,
            trust: Arc::new(Trust::Files(files)),
            login: Login {
                methods: vec![
                    Method::PublicKey,
                    Method::KeyboardInteractive,
                    Method::Password,
                ],
                identities,
                identities_named: endpoint.private_key_file.is_some(),
                certificates: Vec::new(),
                identities_only: false,
                agent: context.agent_socket.clone(),
                password: endpoint.password.clone(),
                passphrase: endpoint.passphrase.clone(),
            },
            algorithms: Preferred::DEFAULT,
            ciphers_chosen: false,
            timeout: endpoint.timeout,
            attempts: endpoint.retries + 1,
            alive: None,
            bind_address: None,
            family: AddressFamily::Any,
            proxy: Proxy::None,
            warnings: Vec::new(),
        })
    }

    /// Returns the settings for a server of this process on loopback, which has `host_key` and
    /// lets `key` log in.
    pub(in crate::transport) fn pinned(
        endpoint: &Endpoint,
        port: u16,
        user: String,
        host_key: PublicKey,
        key: Arc<PrivateKey>,
    ) -> Self {
        Self {
            name: Arc::clone(&endpoint.name),
            jump: None,
            host_name: "127.0.0.1".to_owned(),
            port,
            user,
            host_key_alias: None,
            trust: Arc::new(Trust::Pinned(host_key)),
            login: Login {
                methods: vec![Method::PublicKey],
                identities: vec![Identity::Made(key)],
                identities_named: true,
                certificates: Vec::new(),
                identities_only: true,
                agent: None,
                password: None,
                passphrase: None,
            },
            algorithms: Preferred::DEFAULT,
            ciphers_chosen: false,
            timeout: endpoint.timeout,
            attempts: endpoint.retries + 1,
            alive: None,
            bind_address: None,
            family: AddressFamily::Any,
            proxy: Proxy::None,
            warnings: Vec::new(),
        }
    }

    /// Returns `address:port` for errors.
    pub(super) fn peer(&self) -> String {
        if self.host_name.contains(':') {
            format!("[{}]:{}", self.host_name, self.port)
        } else {
            format!("{}:{}", self.host_name, self.port)
        }
    }

    /// Returns the server's name in known_hosts.
    pub(super) fn known_name(&self) -> String {
        match &self.host_key_alias {
            Some(alias) => alias.to_lowercase(),
            None => known_hosts::host_name(&self.host_name, self.port),
        }
    }

    /// Returns the limit of one login request: the server may have to ask others (PAM, LDAP),
    /// and a person may have to touch a key.
    pub(super) fn login_timeout(&self) -> Duration {
        self.timeout.saturating_mul(6)
    }

    /// Returns how long the server may be silent before keepalive gives up.
    pub(super) fn alive_limit(&self) -> Duration {
        self.alive.map_or(Duration::ZERO, |(interval, count)| {
            interval.saturating_mul(u32::try_from(count).unwrap_or(u32::MAX))
        })
    }
}
