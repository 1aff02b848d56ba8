//! An SSH server in this process that lets in whom a test says, and notes who tried what.

use std::collections::HashMap;
use std::net::Ipv4Addr;
use std::process::Stdio;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use russh::keys::{Certificate, PrivateKey, PublicKey};
use russh::server::{self, Auth, ChannelOpenHandle, Msg, Response, Session, VerifiedPublicKey};
use russh::{Channel, ChannelId, ChannelMsg, MethodKind, MethodSet};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// Who may log in, and how.
#[derive(Clone, Default)]
pub(super) struct Rules {
    pub(super) password: Option<&'static str>,
    /// The answer to the keyboard-interactive question.
    pub(super) answer: Option<&'static str>,
    pub(super) keys: Vec<PublicKey>,
    /// Authorities whose certificates are accepted.
    pub(super) authorities: Vec<PublicKey>,
    /// A key must be followed by the password.
    pub(super) both: bool,
    /// Commands are refused.
    pub(super) no_commands: bool,
    /// Nothing that arrives on a channel is read.
    pub(super) deaf: bool,
    pub(super) host_certificate: Option<Certificate>,
    pub(super) host_key: Option<PrivateKey>,
    /// How many attempts are allowed; 0: 10.
    pub(super) attempts: usize,
}

/// A running server; dropping it ends it and its connections.
pub(super) struct Server {
    pub(super) port: u16,
    pub(super) host_key: PublicKey,
    attempts: Arc<Mutex<Vec<String>>>,
    /// Second handles of the connections, to cut them.
    connections: Arc<Mutex<Vec<std::net::TcpStream>>>,
    running: tokio::task::JoinHandle<()>,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.running.abort();
        for connection in self.connections.lock().unwrap().drain(..) {
            drop(connection.shutdown(std::net::Shutdown::Both));
        }
    }
}

impl Server {
    pub(super) async fn start(rules: Rules) -> Self {
        let key = rules.host_key.clone().unwrap_or_else(super::new_key);
        let host_key = key.public_key().clone();
        let mut methods = MethodSet::empty();
        for (method, offered) in [
            (
                MethodKind::PublicKey,
                !rules.keys.is_empty() || !rules.authorities.is_empty(),
            ),
            (MethodKind::KeyboardInteractive, rules.answer.is_some()),
            (MethodKind::Password, rules.password.is_some()),
        ] {
            if offered {
                methods.push(method);
            }
        }
        let config = Arc::new(server::Config {
            methods,
            keys: vec![key],
            certificates: rules.host_certificate.iter().cloned().collect(),
            auth_rejection_time: Duration::ZERO,
            max_auth_attempts: if rules.attempts == 0 {
                10
            } else {
                rules.attempts
            },
            ..server::Config::default()
        });
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let attempts = Arc::new(Mutex::new(Vec::new()));
        let visitor = Visitor {
            rules: Arc::new(rules),
            attempts: Arc::clone(&attempts),
            channels: HashMap::new(),
        };
        let connections = Arc::new(Mutex::new(Vec::new()));
        let cuttable = Arc::clone(&connections);
        let running = tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let stream = stream.into_std().unwrap();
                cuttable.lock().unwrap().push(stream.try_clone().unwrap());
                let stream = TcpStream::from_std(stream).unwrap();
                let (config, visitor) = (Arc::clone(&config), visitor.renew());
                tokio::spawn(async move {
                    if let Ok(session) = server::run_stream(config, stream, visitor).await {
                        drop(session.await);
                    }
                });
            }
        });
        Self {
            port,
            host_key,
            attempts,
            connections,
            running,
        }
    }

    /// Returns the line that makes the server known.
    pub(super) fn known_line(&self) -> String {
        format!(
            "[127.0.0.1]:{} {}\n",
            self.port,
            self.host_key.to_openssh().unwrap()
        )
    }

    /// Returns what was tried to log in, in order.
    pub(super) fn attempts(&self) -> Vec<String> {
        self.attempts.lock().unwrap().clone()
    }
}

struct Visitor {
    rules: Arc<Rules>,
    attempts: Arc<Mutex<Vec<String>>>,
    channels: HashMap<ChannelId, Channel<Msg>>,
}

impl Visitor {
    fn renew(&self) -> Self {
        Self {
            rules: Arc::clone(&self.rules),
            attempts: Arc::clone(&self.attempts),
            channels: HashMap::new(),
        }
    }

    fn note(&self, attempt: impl Into<String>) {
        self.attempts.lock().unwrap().push(attempt.into());
    }

    fn key_accepted(&self) -> Auth {
        if self.rules.both {
            Auth::Reject {
                proceed_with_methods: Some(MethodSet::from([MethodKind::Password].as_slice())),
                partial_success: true,
            }
        } else {
            Auth::Accept
        }
    }
}

fn accept_if(right: bool) -> Auth {
    if right { Auth::Accept } else { Auth::reject() }
}

impl server::Handler for Visitor {
    type Error = russh::Error;

    async fn auth_password(&mut self, user: &str, password: &str) -> Result<Auth, Self::Error> {
        self.note(format!("{user} password"));
        Ok(accept_if(self.rules.password == Some(password)))
    }

    async fn auth_publickey_offered(
        &mut self,
        user: &str,
        offer: server::PublicKeyOffer<'_>,
    ) -> Result<Auth, Self::Error> {
        let known = |keys: &[PublicKey]| {
            keys.iter()
                .any(|key| key.key_data() == offer.public_key.key_data())
        };
        self.note(format!("{user} key"));
        // A certificate is judged when its signature has been.
        Ok(accept_if(
            known(&self.rules.keys) || !self.rules.authorities.is_empty(),
        ))
    }

    async fn auth_publickey(
        &mut self,
        _user: &str,
        key: VerifiedPublicKey<'_>,
    ) -> Result<Auth, Self::Error> {
        let keys = &self.rules.keys;
        let known = keys
            .iter()
            .any(|known| known.key_data() == key.public_key.key_data());
        Ok(if known {
            self.key_accepted()
        } else {
            Auth::reject()
        })
    }

    async fn auth_openssh_certificate(
        &mut self,
        user: &str,
        certificate: &Certificate,
    ) -> Result<Auth, Self::Error> {
        self.note(format!("{user} certificate"));
        let trusted = self
            .rules
            .authorities
            .iter()
            .any(|authority| authority.key_data() == certificate.signature_key());
        let named = certificate
            .valid_principals()
            .iter()
            .any(|name| name == user);
        Ok(accept_if(trusted && named))
    }

    async fn auth_keyboard_interactive<'a>(
        &'a mut self,
        user: &str,
        _submethods: &str,
        response: Option<Response<'a>>,
    ) -> Result<Auth, Self::Error> {
        let Some(mut response) = response else {
            self.note(format!("{user} keyboard-interactive"));
            return Ok(Auth::Partial {
                name: "".into(),
                instructions: "".into(),
                prompts: vec![("Password: ".into(), false)].into(),
            });
        };
        let answer = response.next().unwrap_or_default();
        Ok(accept_if(
            self.rules.answer.map(str::as_bytes) == Some(&answer),
        ))
    }

    async fn channel_open_session(
        &mut self,
        channel: Channel<Msg>,
        reply: ChannelOpenHandle,
        _session: &mut Session,
    ) -> Result<(), Self::Error> {
        self.channels.insert(channel.id(), channel);
        reply.accept().await;
        Ok(())
    }

    async fn pty_request(
        &mut self,
        channel: ChannelId,
        _term: &str,
        _col_width: u32,
        _row_height: u32,
        _pix_width: u32,
        _pix_height: u32,
        _modes: &[(russh::Pty, u32)],
        session: &mut Session,
    ) -> Result<(), Self::Error> {
        session.channel_failure(channel)
    }

    async fn exec_request(
        &mut self,
        id: ChannelId,
        command: &[u8],
        session: &mut Session,
    ) -> Result<(), Self::Error> {
        if self.rules.no_commands {
            return session.channel_failure(id);
        }
        session.channel_success(id)?;
        let channel = self.channels.remove(&id).unwrap();
        if command == b"ask the agent" {
            tokio::spawn(ask_agent(channel, session.handle()));
        } else if command == b"echo" {
            tokio::spawn(echo(channel));
        } else if self.rules.deaf {
            self.channels.insert(id, channel);
        } else {
            let command = String::from_utf8_lossy(command).into_owned();
            tokio::spawn(run(channel, command));
        }
        Ok(())
    }

    async fn channel_open_direct_tcpip(
        &mut self,
        channel: Channel<Msg>,
        host: &str,
        port: u32,
        _originator_address: &str,
        _originator_port: u32,
        reply: ChannelOpenHandle,
        _session: &mut Session,
    ) -> Result<(), Self::Error> {
        let port = u16::try_from(port).unwrap();
        match TcpStream::connect((host, port)).await {
            Ok(mut stream) => {
                reply.accept().await;
                tokio::spawn(async move {
                    let mut channel = channel.into_stream();
                    drop(tokio::io::copy_bidirectional(&mut channel, &mut stream).await);
                });
            }
            Err(_) => reply.reject(russh::ChannelOpenFailure::ConnectFailed).await,
        }
        Ok(())
    }
}

/// Opens a channel to the client's agent, whether it was forwarded or not, asks for its keys and
/// prints how many it has, or `refused`.
async fn ask_agent(channel: Channel<Msg>, session: server::Handle) {
    let answer = match session.channel_open_agent().await {
        Ok(agent) => {
            let mut agent = agent.into_stream();
            agent.write_all(&[0, 0, 0, 1, 11]).await.unwrap();
            let mut head = [0; 9];
            agent.read_exact(&mut head).await.unwrap();
            format!("{} keys", head[8])
        }
        Err(_) => "refused".to_owned(),
    };
    channel.data(answer.as_bytes()).await.unwrap();
    drop(channel.exit_status(0).await);
    drop(channel.close().await);
}

/// Sends back what arrives, as it arrives.
async fn echo(channel: Channel<Msg>) {
    let (mut reader, mut writer) = tokio::io::split(channel.into_stream());
    drop(tokio::io::copy(&mut reader, &mut writer).await);
    drop(writer.shutdown().await);
}

/// Runs `command` with the input that arrives before the end of file.
async fn run(mut channel: Channel<Msg>, command: String) {
    let mut child = tokio::process::Command::new("/bin/sh")
        .arg("-c")
        .arg(command)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take();
    loop {
        match channel.wait().await {
            Some(ChannelMsg::Data { data }) => {
                stdin.as_mut().unwrap().write_all(&data).await.unwrap();
            }
            Some(ChannelMsg::Eof) => break,
            Some(_) => {}
            None => return,
        }
    }
    drop(stdin.take());
    let mut output = Vec::new();
    child
        .stdout
        .take()
        .unwrap()
        .read_to_end(&mut output)
        .await
        .unwrap();
    let status = child.wait().await.unwrap();
    channel.data(output.as_slice()).await.unwrap();
    let code = u32::try_from(status.code().unwrap()).unwrap();
    drop(channel.exit_status(code).await);
    drop(channel.close().await);
}
