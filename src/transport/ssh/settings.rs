//! How one host is to be reached, settled: the endpoint's variables, the ssh arguments and the
//! `ssh_config` files brought together.

use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use russh::Preferred;
use russh::keys::{PrivateKey, PublicKey};

use super::arguments::Arguments;
use super::config::{BadOption, Question, Reader, expand_home};
use super::host_key::{Files, Strictness, Trust};
use super::options::Options;
use super::tokens::Tokens;
use super::{ConnectContext, Endpoint, Failure, TransportError, algorithms, known_hosts};
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
    /// `HostKeyAlias`: the name in `known_hosts`, without a port.
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
    /// The agent whose keys commands on the host may use.
    pub(super) forwarded_agent: Option<PathBuf>,
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
    /// RSA keys may sign with SHA-1 for servers that know no better.
    pub(super) sha1: bool,
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
        let failed = |bad| option_error(endpoint, bad);
        let (endpoint, context) = (endpoint.clone(), context.clone());
        // Reads files and may run the commands of `Match exec`.
        let settling = move || Draft::target(&endpoint, &context)?.settle(&endpoint, &context);
        match tokio::task::spawn_blocking(settling).await {
            Ok(settled) => settled.map_err(failed),
            Err(_) => Err(failed(BadOption {
                option: "ssh_args".to_owned(),
                detail: "their reading was interrupted".to_owned(),
            })),
        }
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
                sha1: false,
            },
            algorithms: Preferred::DEFAULT,
            ciphers_chosen: false,
            timeout: endpoint.timeout,
            attempts: endpoint.retries + 1,
            alive: None,
            bind_address: None,
            family: AddressFamily::Any,
            proxy: Proxy::None,
            forwarded_agent: None,
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

    /// Returns the server's name in `known_hosts`.
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

fn option_error(endpoint: &Endpoint, bad: BadOption) -> TransportError {
    TransportError {
        host: Arc::clone(&endpoint.name),
        peer: endpoint.address.clone(),
        jump: None,
        failure: Failure::Option {
            option: bad.option,
            detail: bad.detail,
        },
    }
}

/// The options found for one host, before they are given their meaning.
struct Draft {
    /// The host as it was named.
    original: String,
    jump: Option<String>,
    options: Options,
    warnings: Vec<String>,
    tokens: Tokens,
    /// The file of `-F`, which holds for jump hosts too.
    config_file: Option<String>,
    /// How many jumps away from the target.
    depth: usize,
}

/// Ansible's own `ssh_args`, which nobody chose: they share connections and compress, which
/// helps its many small scripts and only slows an agent whose bytes are compressed already.
const ANSIBLE_SSH_ARGS: &str = "-C -o ControlMaster=auto -o ControlPersist=60s";
/// Keepalive is on unless switched off: a run must not wait for ever for a host that vanished.
const ALIVE_INTERVAL: Duration = Duration::from_secs(20);
const ALIVE_COUNT: usize = 3;
/// How many jump hosts may lie between us and a host.
const MOST_JUMPS: usize = 8;
/// The key files that are tried when none is named.
const DEFAULT_KEYS: [&str; 5] = [
    "id_rsa",
    "id_ecdsa",
    "id_ecdsa_sk",
    "id_ed25519",
    "id_ed25519_sk",
];

impl Draft {
    /// Gathers the options of the endpoint itself, in Ansible's order: `ssh_args`, the
    /// variables, the two other argument strings, then the files.
    fn target(endpoint: &Endpoint, context: &ConnectContext) -> Result<Self, BadOption> {
        let question = question(&endpoint.address, context);
        let mut reader = Reader::new(&question);
        let mut config_file = None;
        let arguments = [
            ("ssh_args", &endpoint.ssh_args),
            ("ssh_common_args", &endpoint.ssh_common_args),
            ("ssh_extra_args", &endpoint.ssh_extra_args),
        ];
        for (index, (name, text)) in arguments.into_iter().enumerate() {
            let text = if text == ANSIBLE_SSH_ARGS { "" } else { text };
            let arguments = Arguments::parse(text).map_err(|detail| BadOption {
                option: name.to_owned(),
                detail,
            })?;
            for setting in &arguments.settings {
                reader.argument(setting)?;
            }
            for flag in &arguments.unsupported {
                reader.warn(format!(
                    "`{flag}` in `{name}` is not supported and has no effect"
                ));
            }
            config_file = config_file.or(arguments.config_file);
            if index == 0 {
                take_variables(&mut reader.options, endpoint);
            }
        }
        read_files(&mut reader, config_file.as_deref(), context)?;
        Ok(Self::from_reader(
            reader,
            &endpoint.address,
            None,
            config_file,
            0,
        ))
    }

    /// Gathers the options of a jump host: what `ProxyJump` says of it, then the files. As in
    /// OpenSSH, arguments meant for the target do not hold for it.
    fn jump(spec: &str, target: &Self, context: &ConnectContext) -> Result<Self, BadOption> {
        let (earlier, own) = match spec.rsplit_once(',') {
            Some((earlier, own)) => (Some(earlier), own),
            None => (None, spec),
        };
        let own = JumpHost::parse(own)?;
        let question = question(&own.host, context);
        let mut reader = Reader::new(&question);
        reader.options.user = own.user;
        reader.options.port = own.port;
        reader.options.proxy_jump = earlier.map(str::to_owned);
        reader.options.connect_timeout = target.options.connect_timeout;
        let config_file = target.config_file.clone();
        read_files(&mut reader, config_file.as_deref(), context)?;
        let depth = target.depth + 1;
        Ok(Self::from_reader(
            reader,
            &own.host,
            Some(own.host.clone()),
            config_file,
            depth,
        ))
    }

    fn from_reader(
        reader: Reader<'_>,
        original: &str,
        jump: Option<String>,
        config_file: Option<String>,
        depth: usize,
    ) -> Self {
        let tokens = reader.tokens();
        Self {
            original: original.to_owned(),
            jump,
            options: reader.options,
            warnings: reader.warnings,
            tokens,
            config_file,
            depth,
        }
    }

    /// Gives the options their meaning.
    fn settle(self, endpoint: &Endpoint, context: &ConnectContext) -> Result<Settings, BadOption> {
        let options = &self.options;
        let trust = Trust::Files(self.trust(context)?);
        let known_name = match &options.host_key_alias {
            Some(alias) => alias.to_lowercase(),
            None => known_hosts::host_name(&self.tokens.host, self.tokens.port),
        };
        let (known, vouched) = trust.known_algorithms(&known_name);
        let algorithms = algorithms::preferred(options, &known, vouched)
            .map_err(|option| bad(option, "it names nothing that is known here"))?;
        let attempts = endpoint
            .retries
            .saturating_add(options.connection_attempts.unwrap_or(1));
        Ok(Settings {
            name: Arc::clone(&endpoint.name),
            jump: self.jump.clone(),
            host_name: self.tokens.host.clone(),
            port: self.tokens.port,
            user: self.tokens.user.clone(),
            host_key_alias: options.host_key_alias.clone(),
            trust: Arc::new(trust),
            login: self.login(endpoint, context)?,
            algorithms,
            ciphers_chosen: options.ciphers.is_some(),
            timeout: options.connect_timeout.unwrap_or(endpoint.timeout),
            attempts: attempts.max(1),
            alive: self.alive(),
            bind_address: self.bind_address()?,
            family: self.family()?,
            proxy: self.proxy(endpoint, context)?,
            forwarded_agent: self.forwarded_agent(context)?,
            warnings: self.warnings,
        })
    }

    fn trust(&self, context: &ConnectContext) -> Result<Files, BadOption> {
        let options = &self.options;
        let strictness = match options.strict_host_key_checking.as_deref() {
            // Nobody can be asked in the middle of a play.
            None | Some("yes" | "true" | "ask") => Strictness::Known,
            Some("accept-new") => Strictness::AcceptNew,
            Some("no" | "false" | "off") => Strictness::Off,
            Some(other) => {
                return Err(bad(
                    "StrictHostKeyChecking",
                    &format!("it cannot be `{other}`"),
                ));
            }
        };
        let ssh = context.home.join(".ssh");
        let user = match &options.user_known_hosts_files {
            Some(files) => self.paths("UserKnownHostsFile", files, context)?,
            None => vec![ssh.join("known_hosts"), ssh.join("known_hosts2")],
        };
        let global = match &options.global_known_hosts_files {
            Some(files) => self.paths("GlobalKnownHostsFile", files, context)?,
            None => context.system_known_hosts.iter().cloned().collect(),
        };
        Ok(Files {
            strictness,
            user,
            global,
            hash_names: options.hash_known_hosts.unwrap_or(false),
        })
    }

    fn login(&self, endpoint: &Endpoint, context: &ConnectContext) -> Result<Login, BadOption> {
        let options = &self.options;
        let own = self.jump.is_none();
        let inline = endpoint.private_key.as_ref().filter(|_| own);
        let identities = match inline {
            Some(text) => vec![Identity::Inline(text.clone())],
            None => self.identities(context)?,
        };
        Ok(Login {
            methods: self.methods(),
            identities,
            identities_named: inline.is_some() || !options.identity_files.is_empty(),
            certificates: self.paths("CertificateFile", &options.certificate_files, context)?,
            identities_only: inline.is_some() || options.identities_only.unwrap_or(false),
            agent: self.agent(context)?,
            password: endpoint.password.clone().filter(|_| own),
            passphrase: endpoint.passphrase.clone(),
            sha1: algorithms::allows_sha1(options.signature_algorithms.as_deref()),
        })
    }

    fn identities(&self, context: &ConnectContext) -> Result<Vec<Identity>, BadOption> {
        let files = &self.options.identity_files;
        let paths = if files.is_empty() {
            DEFAULT_KEYS
                .map(|name| context.home.join(".ssh").join(name))
                .to_vec()
        } else {
            self.paths("IdentityFile", files, context)?
        };
        Ok(paths.into_iter().map(Identity::File).collect())
    }

    fn methods(&self) -> Vec<Method> {
        let options = &self.options;
        let allowed = |method: &Method| match method {
            Method::PublicKey => options.public_key.unwrap_or(true),
            Method::KeyboardInteractive => options.keyboard_interactive.unwrap_or(true),
            Method::Password => options.password.unwrap_or(true),
        };
        let preferred = options
            .preferred_methods
            .as_deref()
            .unwrap_or("publickey,keyboard-interactive,password");
        let named = preferred.split(',').filter_map(|name| match name.trim() {
            "publickey" => Some(Method::PublicKey),
            "keyboard-interactive" => Some(Method::KeyboardInteractive),
            "password" => Some(Method::Password),
            _ => None,
        });
        named.filter(allowed).collect()
    }

    fn agent(&self, context: &ConnectContext) -> Result<Option<PathBuf>, BadOption> {
        Ok(match self.options.identity_agent.as_deref() {
            None | Some("SSH_AUTH_SOCK" | "$SSH_AUTH_SOCK") => context.agent_socket.clone(),
            Some("none") => None,
            Some(variable) if variable.starts_with('$') => {
                return Err(bad("IdentityAgent", "only `$SSH_AUTH_SOCK` is known here"));
            }
            Some(path) => Some(self.path("IdentityAgent", path, context)?),
        })
    }

    /// Agents are forwarded to the target only, never to jump hosts.
    fn forwarded_agent(&self, context: &ConnectContext) -> Result<Option<PathBuf>, BadOption> {
        match self.options.forward_agent.as_deref() {
            None | Some("no" | "false") => Ok(None),
            Some(_) if self.jump.is_some() => Ok(None),
            Some("yes" | "true" | "SSH_AUTH_SOCK" | "$SSH_AUTH_SOCK") => {
                Ok(context.agent_socket.clone())
            }
            Some(path) => self.path("ForwardAgent", path, context).map(Some),
        }
    }

    fn alive(&self) -> Option<(Duration, usize)> {
        let interval = self.options.alive_interval.unwrap_or(ALIVE_INTERVAL);
        let count = self.options.alive_count.unwrap_or(ALIVE_COUNT);
        (!interval.is_zero()).then_some((interval, count))
    }

    fn bind_address(&self) -> Result<Option<IpAddr>, BadOption> {
        let Some(address) = &self.options.bind_address else {
            return Ok(None);
        };
        address
            .parse()
            .map(Some)
            .map_err(|_| bad("BindAddress", &format!("`{address}` is not an address")))
    }

    fn family(&self) -> Result<AddressFamily, BadOption> {
        match self.options.address_family.as_deref() {
            None | Some("any") => Ok(AddressFamily::Any),
            Some("inet") => Ok(AddressFamily::V4),
            Some("inet6") => Ok(AddressFamily::V6),
            Some(other) => Err(bad("AddressFamily", &format!("it cannot be `{other}`"))),
        }
    }

    fn proxy(&self, endpoint: &Endpoint, context: &ConnectContext) -> Result<Proxy, BadOption> {
        if let Some(command) = self
            .options
            .proxy_command
            .as_deref()
            .filter(|text| *text != "none")
        {
            let command = self.expand("ProxyCommand", command)?;
            return Ok(Proxy::Command(format!("exec {command}")));
        }
        let Some(spec) = self
            .options
            .proxy_jump
            .as_deref()
            .filter(|text| *text != "none")
        else {
            return Ok(Proxy::None);
        };
        if self.depth == MOST_JUMPS {
            return Err(bad("ProxyJump", "the jump hosts lead in a circle"));
        }
        let jump = Self::jump(spec, self, context)?;
        // `Host *` with `ProxyJump bastion` holds for the bastion too, and must not.
        if jump.is_same_server(self) {
            return Ok(Proxy::None);
        }
        Ok(Proxy::Jump(Box::new(jump.settle(endpoint, context)?)))
    }

    fn is_same_server(&self, other: &Self) -> bool {
        let same_host = self.tokens.host == other.tokens.host || self.original == other.original;
        same_host && self.tokens.port == other.tokens.port
    }

    fn paths(
        &self,
        option: &str,
        texts: &[String],
        context: &ConnectContext,
    ) -> Result<Vec<PathBuf>, BadOption> {
        let named = texts.iter().filter(|text| *text != "none");
        named.map(|text| self.path(option, text, context)).collect()
    }

    fn path(
        &self,
        option: &str,
        text: &str,
        context: &ConnectContext,
    ) -> Result<PathBuf, BadOption> {
        let home = context.home.display().to_string();
        let text = text.replace("${HOME}", &home);
        Ok(expand_home(&self.expand(option, &text)?, &context.home))
    }

    fn expand(&self, option: &str, text: &str) -> Result<String, BadOption> {
        self.tokens
            .expand(text)
            .map_err(|detail| bad(option, &detail))
    }
}

/// Takes what the host's variables say, where the arguments before said nothing.
fn take_variables(options: &mut Options, endpoint: &Endpoint) {
    if !endpoint.host_key_checking {
        options
            .strict_host_key_checking
            .get_or_insert_with(|| "no".to_owned());
    }
    options.port = options.port.or(endpoint.port);
    let key = endpoint
        .private_key_file
        .as_ref()
        .map(|path| path.display().to_string());
    options.identity_files.extend(key);
    options.user = options.user.take().or_else(|| endpoint.user.clone());
    options.connect_timeout.get_or_insert(endpoint.timeout);
}

fn read_files(
    reader: &mut Reader<'_>,
    config_file: Option<&str>,
    context: &ConnectContext,
) -> Result<(), BadOption> {
    match config_file {
        Some("none") => Ok(()),
        Some(path) => reader.files(Some(&expand_home(path, &context.home)), true, None),
        None => {
            let own = context.home.join(".ssh/config");
            reader.files(Some(&own), false, context.system_config.as_deref())
        }
    }
}

fn question(host: &str, context: &ConnectContext) -> Question {
    Question {
        original: host.to_owned(),
        local_user: context.user.clone(),
        home: context.home.clone(),
    }
}

fn bad(option: &str, detail: &str) -> BadOption {
    BadOption {
        option: option.to_owned(),
        detail: detail.to_owned(),
    }
}

/// One jump host as `ProxyJump` names it: `[user@]host[:port]` or `ssh://…`.
#[derive(Debug, PartialEq, Eq)]
struct JumpHost {
    host: String,
    user: Option<String>,
    port: Option<u16>,
}

impl JumpHost {
    fn parse(text: &str) -> Result<Self, BadOption> {
        let wrong = || {
            bad(
                "ProxyJump",
                &format!("`{text}` is not `[user@]host[:port]`"),
            )
        };
        let rest = text.trim();
        let rest = rest
            .strip_prefix("ssh://")
            .unwrap_or(rest)
            .trim_end_matches('/');
        let (user, rest) = match rest.rsplit_once('@') {
            Some((user, rest)) => (Some(user.to_owned()), rest),
            None => (None, rest),
        };
        let (host, port) = match (rest.strip_prefix('['), rest.matches(':').count()) {
            (Some(bracketed), _) => {
                let (host, after) = bracketed.split_once(']').ok_or_else(wrong)?;
                (host, after.strip_prefix(':'))
            }
            (None, 1) => rest
                .split_once(':')
                .map(|(host, port)| (host, Some(port)))
                .ok_or_else(wrong)?,
            // No colon, or an IPv6 address.
            (None, _) => (rest, None),
        };
        if host.is_empty() || host.starts_with('-') {
            return Err(wrong());
        }
        Ok(Self {
            host: host.to_owned(),
            user,
            port: port.map(str::parse).transpose().map_err(|_| wrong())?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn context(home: &std::path::Path) -> ConnectContext {
        ConnectContext {
            system_config: None,
            system_known_hosts: None,
            ..ConnectContext::new(home, "ann")
        }
    }

    fn settle(endpoint: &Endpoint, config: &str) -> Result<Settings, BadOption> {
        let home = tempfile::tempdir().unwrap();
        let ssh = home.path().join(".ssh");
        std::fs::DirBuilder::new().create(&ssh).unwrap();
        let mut file = std::fs::File::create(ssh.join("config")).unwrap();
        std::io::Write::write_all(&mut file, config.as_bytes()).unwrap();
        let context = context(home.path());
        Draft::target(endpoint, &context)?.settle(endpoint, &context)
    }

    #[test]
    fn ssh_args_win_over_variables_and_these_over_files() {
        let endpoint = Endpoint {
            port: Some(2200),
            user: Some("deploy".into()),
            ssh_args: "-o Port=2201".into(),
            ssh_common_args: "-o User=other -o ServerAliveInterval=5".into(),
            ..Endpoint::ssh("web1")
        };
        let config = "Host web1\n HostName 10.0.0.1\n User file\n Port 1\n ServerAliveCountMax 2\n";
        let settings = settle(&endpoint, config).unwrap();
        assert_eq!(settings.peer(), "10.0.0.1:2201");
        assert_eq!(settings.user, "deploy");
        assert_eq!(settings.alive, Some((Duration::from_secs(5), 2)));
        assert_eq!(settings.known_name(), "[10.0.0.1]:2201");
        assert!(settings.warnings.is_empty());
    }

    #[test]
    fn compression_is_for_those_who_ask_for_it() {
        for (arguments, first) in [(ANSIBLE_SSH_ARGS, "none"), ("-C", "zlib@openssh.com")] {
            let endpoint = Endpoint {
                ssh_args: arguments.into(),
                ..Endpoint::ssh("web1")
            };
            let algorithms = settle(&endpoint, "").unwrap().algorithms;
            assert_eq!(algorithms.compression[0].as_ref(), first, "{arguments}");
        }
    }

    #[test]
    fn jump_hosts_chain_towards_the_host_with_their_own_options() {
        let endpoint = Endpoint {
            ssh_common_args: "-J a,root@b:2222".into(),
            user: Some("deploy".into()),
            ..Endpoint::ssh("web1")
        };
        let settings = settle(&endpoint, "Host a\n HostName 10.9.9.9\n User hop\n").unwrap();
        let Proxy::Jump(b) = &settings.proxy else {
            panic!("no jump")
        };
        let Proxy::Jump(a) = &b.proxy else {
            panic!("no second jump")
        };
        assert_eq!((b.peer().as_str(), b.user.as_str()), ("b:2222", "root"));
        assert_eq!((a.peer().as_str(), a.user.as_str()), ("10.9.9.9:22", "hop"));
        assert!(matches!(a.proxy, Proxy::None));
        assert_eq!(a.jump.as_deref(), Some("a"));
    }

    #[test]
    fn a_jump_for_every_host_spares_the_jump_host_itself() {
        let settings = settle(&Endpoint::ssh("web1"), "Host *\n ProxyJump bastion\n").unwrap();
        let Proxy::Jump(bastion) = &settings.proxy else {
            panic!("no jump")
        };
        assert!(matches!(bastion.proxy, Proxy::None));
    }

    #[test]
    fn jump_hosts_that_lead_in_a_circle_are_refused() {
        let config = "Host a\n ProxyJump b\nHost b\n ProxyJump a\nHost web1\n ProxyJump a\n";
        let error = settle(&Endpoint::ssh("web1"), config).unwrap_err();
        assert_eq!(error, bad("ProxyJump", "the jump hosts lead in a circle"));
    }

    #[test]
    fn tokens_and_tildes_are_expanded_in_files_and_commands() {
        let endpoint = Endpoint {
            ssh_args: "-o ProxyCommand='nc %h %p' -i ~/keys/%r".into(),
            user: Some("deploy".into()),
            port: Some(2222),
            ..Endpoint::ssh("web1")
        };
        let settings = settle(&endpoint, "").unwrap();
        let Proxy::Command(command) = &settings.proxy else {
            panic!("no command")
        };
        assert_eq!(command, "exec nc web1 2222");
        let [Identity::File(path)] = settings.login.identities.as_slice() else {
            panic!("not one file")
        };
        assert!(path.ends_with("keys/deploy"), "{}", path.display());
    }

    #[test]
    fn what_the_login_may_try_follows_the_options() {
        let endpoint = Endpoint {
            ssh_args: "-o PreferredAuthentications=password,publickey -o PubkeyAuthentication=no"
                .into(),
            ..Endpoint::ssh("web1")
        };
        assert_eq!(
            settle(&endpoint, "").unwrap().login.methods,
            [Method::Password]
        );
        let endpoint = Endpoint::ssh("web1");
        assert_eq!(settle(&endpoint, "").unwrap().login.identities.len(), 5);
    }

    #[test]
    fn jump_hosts_are_written_in_many_ways() {
        for (text, host, user, port) in [
            ("bastion", "bastion", None, None),
            ("ann@bastion:2222", "bastion", Some("ann"), Some(2222)),
            (
                "ssh://ann@bastion:2222/",
                "bastion",
                Some("ann"),
                Some(2222),
            ),
            ("[2001:db8::1]:2222", "2001:db8::1", None, Some(2222)),
            ("2001:db8::1", "2001:db8::1", None, None),
        ] {
            let expected = JumpHost {
                host: host.to_owned(),
                user: user.map(str::to_owned),
                port,
            };
            assert_eq!(JumpHost::parse(text), Ok(expected), "{text}");
        }
        assert!(JumpHost::parse("-oProxyCommand=x").is_err());
        assert!(JumpHost::parse("a:b").is_err());
    }
}
