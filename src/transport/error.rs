//! Why a host could not be reached or a channel ended early, as data, and the one story each
//! becomes for the user.
//!
//! Never carries a secret: user names, paths, methods and fingerprints only.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::error::{Error, ErrorKind};

/// What went wrong on the way to one host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TransportError {
    /// The inventory name.
    pub host: Arc<str>,
    /// `address:port` of the peer that failed; a jump host's when the failure was there.
    pub peer: String,
    /// The jump host is the peer that failed, by the name in `ProxyJump`.
    pub jump: Option<String>,
    pub failure: Failure,
}

/// The steps of making a connection, for timeouts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// Waiting for the TCP connection.
    Connect,
    /// Waiting for the server's banner and key exchange.
    Handshake,
    /// Waiting for an answer to a login request.
    Login,
    /// Waiting for a channel to open or its command to start.
    Channel,
    /// A command was running.
    Running,
    /// Keepalive probes stayed unanswered.
    Keepalive,
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Failure {
    /// The name has no address.
    Resolve {
        name: String,
        detail: String,
    },
    /// Nothing listens there.
    Refused,
    /// No route, network down, host down.
    Unreachable {
        detail: String,
    },
    Timeout {
        stage: Stage,
        after: Duration,
    },
    /// The server closed the connection; `said` is its disconnect message or pre-banner text.
    Closed {
        stage: Stage,
        said: Option<String>,
    },
    HostKey(HostKeyProblem),
    /// Every way to log in was refused.
    Refusal {
        user: String,
        /// The methods the server offers.
        methods: Vec<String>,
        /// What was offered, in order: key paths with fingerprints, `password` …
        tried: Vec<String>,
        /// What could have been tried and why it was not: unreadable keys …
        skipped: Vec<String>,
        /// A password was there to try.
        password: bool,
    },
    /// A private key named by the user cannot be used.
    Key {
        path: PathBuf,
        detail: String,
    },
    /// A private key named by the user is encrypted and no, or a wrong, passphrase was given.
    Passphrase {
        path: PathBuf,
        wrong: bool,
    },
    /// No common algorithm.
    Algorithms {
        kind: &'static str,
        ours: Vec<String>,
        theirs: Vec<String>,
    },
    /// The proxy command could not be started or ended.
    Proxy {
        command: String,
        detail: String,
    },
    /// An option cannot be followed.
    Option {
        option: String,
        detail: String,
    },
    /// The server refused to open a channel or start the command.
    Channel {
        detail: String,
    },
    /// The peer broke the protocol.
    Protocol {
        detail: String,
    },
    /// A process of this machine or the sandbox could not be started.
    Local {
        detail: String,
    },
}

/// Why a server's host key was not accepted. `fingerprint` is `SHA256:…` as `ssh-keygen -l`
/// prints it, `algorithm` the key's type.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HostKeyProblem {
    /// No `known_hosts` file has a key for the host.
    Unknown {
        algorithm: String,
        fingerprint: String,
        /// The files that were looked at, the one to add the key to first.
        files: Vec<PathBuf>,
        /// The name to look up: `host` or `[host]:port`.
        name: String,
    },
    /// A file has another key for the host.
    Changed {
        algorithm: String,
        fingerprint: String,
        file: PathBuf,
        line: usize,
        name: String,
    },
    /// A file marks the key, or the authority that signed it, as revoked.
    Revoked {
        algorithm: String,
        fingerprint: String,
        file: PathBuf,
        line: usize,
    },
    /// The host certificate does not hold.
    Certificate { detail: String, fingerprint: String },
    /// The server is not the sandbox that this process started.
    Pinned { fingerprint: String },
    /// A `known_hosts` file could not be read or written.
    File { file: PathBuf, detail: String },
}

impl Failure {
    /// A refusal after which the server takes no further method, before it is known what was
    /// tried.
    pub(super) fn no_method_left() -> Self {
        Self::Refusal {
            user: String::new(),
            methods: Vec::new(),
            tried: Vec::new(),
            skipped: Vec::new(),
            password: false,
        }
    }
}

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Connect => "waiting for the connection",
            Self::Handshake => "waiting for the key exchange",
            Self::Login => "logging in",
            Self::Channel => "starting a command",
            Self::Running => "a command was running",
            Self::Keepalive => "waiting for an answer to keepalive probes",
        })
    }
}

impl TransportError {
    /// Returns whether the same attempt may succeed a moment later.
    pub fn is_transient(&self) -> bool {
        match &self.failure {
            Failure::Refused | Failure::Unreachable { .. } => true,
            Failure::Timeout { stage, .. } | Failure::Closed { stage, .. } => {
                matches!(stage, Stage::Connect | Stage::Handshake)
            }
            Failure::Resolve { detail, .. } => detail.contains("Temporary"),
            _ => false,
        }
    }

    fn describe(&self) -> String {
        let peer = &self.peer;
        match &self.failure {
            Failure::Resolve { name, detail } => {
                format!("the name `{name}` has no address: {detail}")
            }
            Failure::Refused => format!("`{peer}` refused the connection: nothing listens there"),
            Failure::Unreachable { detail } => format!("`{peer}` cannot be reached: {detail}"),
            Failure::Timeout { stage, after } => {
                format!(
                    "`{peer}` did not answer within {} while {stage}",
                    seconds(*after)
                )
            }
            Failure::Closed { stage, said } => {
                let said = said.as_ref().map(|text| format!(", saying `{text}`"));
                format!(
                    "`{peer}` closed the connection while {stage}{}",
                    said.unwrap_or_default()
                )
            }
            Failure::HostKey(problem) => describe_host_key(peer, problem),
            Failure::Refusal {
                user,
                methods,
                tried,
                ..
            } => format!(
                "`{peer}` refused the login of `{user}`: tried {}; the server offers {}",
                list(tried),
                if methods.is_empty() && !tried.is_empty() {
                    "nothing else".to_owned()
                } else {
                    list(methods)
                }
            ),
            Failure::Key { path, detail } => {
                format!(
                    "the private key `{}` cannot be used: {detail}",
                    path.display()
                )
            }
            Failure::Passphrase { path, wrong: false } => {
                format!("the private key `{}` is encrypted", path.display())
            }
            Failure::Passphrase { path, wrong: true } => {
                format!(
                    "the passphrase does not open the private key `{}`",
                    path.display()
                )
            }
            Failure::Algorithms { kind, ours, theirs } => format!(
                "no common {kind} with `{peer}`: ours are {}; theirs are {}",
                list(ours),
                list(theirs)
            ),
            Failure::Proxy { command, detail } => {
                format!("the proxy command `{command}` failed: {detail}")
            }
            Failure::Option { option, detail } => {
                format!("the ssh option `{option}` cannot be followed: {detail}")
            }
            Failure::Channel { detail } => format!("`{peer}` did not start the command: {detail}"),
            Failure::Protocol { detail } => {
                format!("`{peer}` does not speak SSH as expected: {detail}")
            }
            Failure::Local { detail } => detail.clone(),
        }
    }

    fn remedy(&self) -> Option<String> {
        Some(match &self.failure {
            Failure::Resolve { .. } => {
                "set `ansible_host` to the host's address, or check the name".to_owned()
            }
            Failure::Refused => {
                "check that sshd runs there and that `ansible_port` is its port".to_owned()
            }
            Failure::Unreachable { .. } => {
                "check the address, the network and any VPN or jump host".to_owned()
            }
            Failure::Timeout {
                stage: Stage::Connect,
                ..
            } => "check the address and firewalls, or raise `timeout` in ansible.cfg".to_owned(),
            Failure::Timeout { .. } => {
                "the host may be overloaded; raise `timeout` in ansible.cfg".to_owned()
            }
            Failure::HostKey(problem) => remedy_host_key(problem)?,
            Failure::Refusal {
                skipped, password, ..
            } => remedy_refusal(skipped, *password),
            Failure::Passphrase { .. } => {
                "load it into ssh-agent, or set `ansible_ssh_private_key_passphrase`".to_owned()
            }
            Failure::Algorithms { kind, .. } => format!(
                "add one of theirs with `-o {}=+NAME` in `ansible_ssh_common_args`",
                match *kind {
                    "key exchange" => "KexAlgorithms",
                    "cipher" => "Ciphers",
                    "MAC" => "MACs",
                    "compression" => "Compression",
                    _ => "HostKeyAlgorithms",
                }
            ),
            _ => return None,
        })
    }
}

fn describe_host_key(peer: &str, problem: &HostKeyProblem) -> String {
    match problem {
        HostKeyProblem::Unknown {
            algorithm,
            fingerprint,
            ..
        } => format!(
            "the host key of `{peer}` is not known: it shows the {algorithm} key {fingerprint}"
        ),
        HostKeyProblem::Changed {
            algorithm,
            fingerprint,
            file,
            line,
            ..
        } => format!(
            "the host key of `{peer}` has changed: it shows the {algorithm} key {fingerprint}, \
             but {}:{line} has another",
            file.display()
        ),
        HostKeyProblem::Revoked {
            algorithm,
            fingerprint,
            file,
            line,
        } => format!(
            "the host key of `{peer}` is revoked: {}:{line} revokes the {algorithm} key \
             {fingerprint}",
            file.display()
        ),
        HostKeyProblem::Certificate {
            detail,
            fingerprint,
        } => format!("the host certificate of `{peer}` ({fingerprint}) does not hold: {detail}"),
        HostKeyProblem::Pinned { fingerprint } => {
            format!("`{peer}` is not the sandbox that was started: it shows the key {fingerprint}")
        }
        HostKeyProblem::File { file, detail } => {
            format!(
                "the known hosts file `{}` cannot be used: {detail}",
                file.display()
            )
        }
    }
}

fn remedy_host_key(problem: &HostKeyProblem) -> Option<String> {
    Some(match problem {
        HostKeyProblem::Unknown { name, files, .. } => {
            let (host, port) = split_known_name(name);
            let port = port.map(|port| format!("-p {port} ")).unwrap_or_default();
            let file = files.first().map_or_else(
                || "~/.ssh/known_hosts".to_owned(),
                |file| file.display().to_string(),
            );
            format!(
                "compare the fingerprint with the host's own, then add it: \
                 `ssh-keyscan {port}{host} >> {file}`"
            )
        }
        HostKeyProblem::Changed { name, file, .. } => format!(
            "if the host was rebuilt, remove its old key: `ssh-keygen -f {} -R '{name}'`; \
             if not, somebody may be in between",
            file.display()
        ),
        HostKeyProblem::Revoked { .. } => {
            "do not log in there before the host has a new key".to_owned()
        }
        HostKeyProblem::Certificate { .. } => {
            "have the host's certificate issued anew by its authority".to_owned()
        }
        HostKeyProblem::Pinned { .. } | HostKeyProblem::File { .. } => return None,
    })
}

/// Splits `[host]:port` or `host`.
fn split_known_name(name: &str) -> (&str, Option<&str>) {
    name.strip_prefix('[')
        .and_then(|rest| rest.rsplit_once("]:"))
        .map_or((name, None), |(host, port)| (host, Some(port)))
}

fn remedy_refusal(skipped: &[String], password: bool) -> String {
    if !skipped.is_empty() {
        return format!("not tried: {}", skipped.join("; "));
    }
    if password {
        return "check `ansible_user` and the password".to_owned();
    }
    "check `ansible_user`; name a key with `ansible_ssh_private_key_file`, load one into \
     ssh-agent, or give a password with `--ask-pass`"
        .to_owned()
}

fn list(items: &[String]) -> String {
    if items.is_empty() {
        return "nothing".to_owned();
    }
    items.join(", ")
}

fn seconds(duration: Duration) -> String {
    if duration.subsec_millis() == 0 {
        format!("{} s", duration.as_secs())
    } else {
        format!("{} ms", duration.as_millis())
    }
}

impl fmt::Display for TransportError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(jump) = &self.jump {
            write!(f, "at the jump host `{jump}`: ")?;
        }
        f.write_str(&self.describe())
    }
}

impl std::error::Error for TransportError {}

impl From<TransportError> for Error {
    fn from(error: TransportError) -> Self {
        let told =
            Error::new(ErrorKind::Unreachable, error.to_string()).context(error.host.to_string());
        match error.remedy() {
            Some(remedy) => told.help(remedy),
            None => told,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(failure: Failure) -> Error {
        Error::from(TransportError {
            host: Arc::from("web1"),
            peer: "10.0.0.1:22".into(),
            jump: None,
            failure,
        })
    }

    #[test]
    fn an_unknown_host_key_tells_the_fingerprint_and_the_command_that_adds_it() {
        let error = told(Failure::HostKey(HostKeyProblem::Unknown {
            algorithm: "ssh-ed25519".into(),
            fingerprint: "SHA256:abc".into(),
            files: vec!["/home/ann/.ssh/known_hosts".into()],
            name: "[10.0.0.1]:2222".into(),
        }));
        assert_eq!(error.kind, ErrorKind::Unreachable);
        assert_eq!(
            error.to_string(),
            "web1: the host key of `10.0.0.1:22` is not known: it shows the ssh-ed25519 key \
             SHA256:abc"
        );
        assert_eq!(
            error.help.as_deref(),
            Some(
                "compare the fingerprint with the host's own, then add it: \
                 `ssh-keyscan -p 2222 10.0.0.1 >> /home/ann/.ssh/known_hosts`"
            )
        );
    }

    #[test]
    fn a_refused_login_lists_methods_and_keys_tried() {
        let error = told(Failure::Refusal {
            user: "deploy".into(),
            methods: vec!["publickey".into(), "password".into()],
            tried: vec!["~/.ssh/id_ed25519 SHA256:abc".into()],
            skipped: Vec::new(),
            password: false,
        });
        assert_eq!(
            error.message,
            "`10.0.0.1:22` refused the login of `deploy`: tried ~/.ssh/id_ed25519 SHA256:abc; \
             the server offers publickey, password"
        );
    }

    #[test]
    fn only_what_may_pass_by_itself_is_tried_again() {
        let closed = |stage| Failure::Closed { stage, said: None };
        let timeout = |stage| Failure::Timeout {
            stage,
            after: Duration::from_secs(1),
        };
        for (failure, again) in [
            (Failure::Refused, true),
            (closed(Stage::Handshake), true),
            (timeout(Stage::Connect), true),
            (closed(Stage::Login), false),
            (timeout(Stage::Login), false),
            (closed(Stage::Running), false),
            (Failure::no_method_left(), false),
        ] {
            let error = TransportError {
                host: Arc::from("web1"),
                peer: String::new(),
                jump: None,
                failure,
            };
            assert_eq!(error.is_transient(), again, "{error:?}");
        }
    }

    #[test]
    fn a_timeout_names_its_stage() {
        let error = told(Failure::Timeout {
            stage: Stage::Handshake,
            after: Duration::from_secs(10),
        });
        assert_eq!(
            error.message,
            "`10.0.0.1:22` did not answer within 10 s while waiting for the key exchange"
        );
    }
}
