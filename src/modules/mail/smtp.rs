//! A session with a mail server.
//!
//! As in Ansible, encryption hides what is sent, and does not prove who the server is: local
//! mail servers sign their certificates themselves.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use hmac::{Hmac, KeyInit, Mac};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, ClientConnection, DigitallySignedStruct, SignatureScheme, StreamOwned};

use crate::modules::Failure;

/// Where the server is, and how it is spoken to.
pub(super) struct Server<'a> {
    pub(super) host: &'a str,
    pub(super) port: u16,
    /// Seconds.
    pub(super) timeout: u64,
    pub(super) greeting: Option<&'a str>,
}

/// Whether the session is encrypted.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Secure {
    /// From the start, or not at all.
    Always,
    Never,
    /// From the start or once the server was asked; else not at all.
    StartTls,
    /// Where the server can.
    Try,
}

/// Recipients that the server refused, with its answer.
pub(super) type Refused = Vec<(String, (u16, String))>;

/// An open session.
pub(super) struct Session {
    wire: BufReader<Wire>,
    is_secure: bool,
    /// `HOST:PORT`, for messages.
    name: String,
    greeting: String,
    /// What the server can do, in capitals.
    extensions: Vec<String>,
}

enum Wire {
    Plain(TcpStream),
    Tls(Box<StreamOwned<ClientConnection, TcpStream>>),
}

impl Read for Wire {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        match self {
            Self::Plain(stream) => stream.read(buffer),
            Self::Tls(stream) => stream.read(buffer),
        }
    }
}

impl Write for Wire {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        match self {
            Self::Plain(stream) => stream.write(bytes),
            Self::Tls(stream) => stream.write(bytes),
        }
    }

    fn flush(&mut self) -> std::io::Result<()> {
        match self {
            Self::Plain(stream) => stream.flush(),
            Self::Tls(stream) => stream.flush(),
        }
    }
}

fn wrong(msg: impl Into<String>) -> Failure {
    Failure::new(msg).with("rc", 1)
}

impl Session {
    /// Connects and greets; encrypts as it is asked to.
    pub(super) fn open(server: &Server<'_>, secure: Secure) -> Result<Self, Failure> {
        let name = format!("{}:{}", server.host, server.port);
        let cannot_connect = |why: String| wrong(format!("Unable to Connect {name}: {why}"));
        let mut from_start = None;
        if secure != Secure::Never {
            let stream = server.dial().map_err(&cannot_connect)?;
            match encrypted(stream, server.host) {
                Ok(wire) => from_start = Some(wire),
                Err(why) if secure == Secure::Always => return Err(no_encryption(&name, &why)),
                Err(_) => {}
            }
        }
        let is_secure = from_start.is_some();
        let wire = match from_start {
            Some(wire) => wire,
            None => Wire::Plain(server.dial().map_err(&cannot_connect)?),
        };
        let mut session = Self {
            wire: BufReader::new(wire),
            is_secure,
            greeting: server.greeting.map_or_else(own_name, str::to_owned),
            extensions: Vec::new(),
            name: name.clone(),
        };
        let (code, said) = session.answer().map_err(&cannot_connect)?;
        if code != 220 {
            return Err(cannot_connect(format!("({code}, {said})")));
        }
        session.greet()?;
        if is_secure || !matches!(secure, Secure::StartTls | Secure::Try) {
            return Ok(session);
        }
        if session.has("STARTTLS") {
            session.start_tls(server.host)?;
        } else if secure == Secure::StartTls {
            let msg = format!("StartTLS is not offered on server {name}");
            return Err(wrong(msg));
        }
        Ok(session)
    }

    pub(super) fn is_secure(&self) -> bool {
        self.is_secure
    }

    /// Logs in by a way that the server offers.
    pub(super) fn log_in(&mut self, user: &str, password: &str) -> Result<(), Failure> {
        let name = self.name.clone();
        let offered: Vec<String> = self
            .extensions
            .iter()
            .filter_map(|line| line.strip_prefix("AUTH"))
            .flat_map(|ways| ways.split([' ', '=']))
            .map(str::to_owned)
            .collect();
        if offered.is_empty() {
            let msg = format!("No Authentication on the server at {name}");
            return Err(wrong(msg));
        }
        let unknown = || {
            wrong(format!(
                "No Suitable authentication method was found on {name}"
            ))
        };
        let is_offered = |way: &str| offered.iter().any(|it| it == way);
        let encoded = |text: &str| BASE64.encode(text);
        let answered = if is_offered("CRAM-MD5") {
            let (_, challenge) = self.ask("AUTH CRAM-MD5").map_err(|_| unknown())?;
            let challenge = BASE64.decode(challenge.trim()).map_err(|_| unknown())?;
            let mut mac =
                Hmac::<md5::Md5>::new_from_slice(password.as_bytes()).map_err(|_| unknown())?;
            mac.update(&challenge);
            let digest = crate::machine::hex(&mac.finalize().into_bytes());
            self.ask(&encoded(&format!("{user} {digest}")))
        } else if is_offered("PLAIN") {
            let plain = encoded(&format!("\0{user}\0{password}"));
            self.ask(&format!("AUTH PLAIN {plain}"))
        } else if is_offered("LOGIN") {
            self.ask(&format!("AUTH LOGIN {}", encoded(user)))
                .map_err(|_| unknown())?;
            self.ask(&encoded(password))
        } else {
            return Err(unknown());
        };
        match answered {
            Ok((235 | 503, _)) => Ok(()),
            _ => Err(wrong(format!(
                "Authentication to {name} failed, please check your username and/or password"
            ))),
        }
    }

    /// Sends a message; fails where nobody may get it.
    pub(super) fn send(
        &mut self,
        sender: &str,
        recipients: &[String],
        text: &[u8],
    ) -> Result<Refused, String> {
        let expect = |(code, said): (u16, String), wanted: u16| {
            if code == wanted {
                Ok(())
            } else {
                Err(format!("({code}, {said})"))
            }
        };
        expect(self.ask(&format!("MAIL FROM:<{sender}>"))?, 250)?;
        let mut refused = Refused::new();
        for recipient in recipients {
            let (code, said) = self.ask(&format!("RCPT TO:<{recipient}>"))?;
            if !matches!(code, 250 | 251) {
                refused.push((recipient.clone(), (code, said)));
            }
        }
        if refused.len() == recipients.len() {
            let answers = refused.iter();
            let answers: Vec<_> = answers
                .map(|(address, (code, said))| format!("{address}: ({code}, {said})"))
                .collect();
            return Err(answers.join(", "));
        }
        expect(self.ask("DATA")?, 354)?;
        let mut stuffed = Vec::new();
        for line in text.split_inclusive(|byte| *byte == b'\n') {
            if line.starts_with(b".") {
                stuffed.push(b'.');
            }
            stuffed.extend_from_slice(line);
        }
        stuffed.extend_from_slice(b".");
        expect(self.tell(&stuffed).and_then(|()| self.answer())?, 250)?;
        Ok(refused)
    }

    /// Ends the session; what was sent is sent.
    pub(super) fn quit(&mut self) {
        self.ask("QUIT").ok();
    }

    fn greet(&mut self) -> Result<(), Failure> {
        let greeting = format!("EHLO {}", self.greeting);
        let failed = |name: &str, why: &str| wrong(format!("Helo failed for host {name}: {why}"));
        let asked = self.ask(&greeting);
        let (code, said) = asked.map_err(|why| failed(&self.name, &why))?;
        self.extensions = said
            .to_uppercase()
            .lines()
            .skip(1)
            .map(str::to_owned)
            .collect();
        if code == 250 {
            return Ok(());
        }
        let greeting = format!("HELO {}", self.greeting);
        match self.ask(&greeting) {
            Ok((250, _)) => Ok(()),
            Ok((code, said)) => Err(failed(&self.name, &format!("({code}, {said})"))),
            Err(why) => Err(failed(&self.name, &why)),
        }
    }

    fn has(&self, extension: &str) -> bool {
        let mut words = self
            .extensions
            .iter()
            .filter_map(|line| line.split(' ').next());
        words.any(|word| word == extension)
    }

    fn start_tls(&mut self, host: &str) -> Result<(), Failure> {
        let refused = |why: &str| no_encryption(&self.name, why);
        let asked = self.wire.get_mut().write_all(b"STARTTLS\r\n");
        asked.map_err(|error| refused(&error.to_string()))?;
        let (code, said) = self
            .answer()
            .map_err(|why| no_encryption(&self.name, &why))?;
        // What came before the encryption was anybody's to send.
        let Wire::Plain(stream) = self.wire.get_ref() else {
            return Ok(());
        };
        if code != 220 || !self.wire.buffer().is_empty() {
            return Err(no_encryption(&self.name, &format!("({code}, {said})")));
        }
        let stream = stream
            .try_clone()
            .map_err(|error| no_encryption(&self.name, &error.to_string()))?;
        let wire = encrypted(stream, host).map_err(|why| no_encryption(&self.name, &why))?;
        self.wire = BufReader::new(wire);
        self.is_secure = true;
        self.greet()
    }

    fn ask(&mut self, line: &str) -> Result<(u16, String), String> {
        if line.contains(['\r', '\n']) {
            return Err("a command has more than one line".into());
        }
        self.tell(line.as_bytes())?;
        self.answer()
    }

    fn tell(&mut self, bytes: &[u8]) -> Result<(), String> {
        let wire = self.wire.get_mut();
        let told = wire
            .write_all(bytes)
            .and_then(|()| wire.write_all(b"\r\n"))
            .and_then(|()| wire.flush());
        told.map_err(|error| error.to_string())
    }

    /// Reads an answer of one or more lines.
    fn answer(&mut self) -> Result<(u16, String), String> {
        const LONGEST: u64 = 64 * 1024;
        let mut said: Vec<String> = Vec::new();
        let mut limited = (&mut self.wire).take(LONGEST);
        loop {
            let mut line = String::new();
            let n = limited
                .read_line(&mut line)
                .map_err(|error| error.to_string())?;
            if n == 0 {
                return Err("Connection unexpectedly closed".into());
            }
            let line = line.trim_end();
            let code = line.get(..3).and_then(|code| code.parse::<u16>().ok());
            let code = code.ok_or_else(|| format!("the server said `{line}`"))?;
            said.push(line.get(4..).unwrap_or_default().to_owned());
            if line.as_bytes().get(3) != Some(&b'-') {
                return Ok((code, said.join("\n")));
            }
        }
    }
}

impl Server<'_> {
    fn dial(&self) -> Result<TcpStream, String> {
        let limit = Duration::from_secs(self.timeout);
        let addresses = (self.host, self.port)
            .to_socket_addrs()
            .map_err(|error| error.to_string())?;
        let mut why = "the host has no address".to_owned();
        for address in addresses {
            match TcpStream::connect_timeout(&address, limit) {
                Ok(stream) => {
                    stream
                        .set_read_timeout(Some(limit))
                        .and_then(|()| stream.set_write_timeout(Some(limit)))
                        .map_err(|error| error.to_string())?;
                    return Ok(stream);
                }
                Err(error) => why = crate::machine::reason_text(&error),
            }
        }
        Err(why)
    }
}

fn no_encryption(name: &str, why: &str) -> Failure {
    wrong(format!(
        "Unable to start an encrypted session to {name}: {why}"
    ))
}

fn own_name() -> String {
    let name = rustix::system::uname();
    let name = name.nodename().to_string_lossy();
    if name.contains('.') {
        name.into_owned()
    } else {
        "[127.0.0.1]".into()
    }
}

fn encrypted(mut stream: TcpStream, host: &str) -> Result<Wire, String> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Anybody(provider)))
        .with_no_client_auth();
    let name = ServerName::try_from(host.to_owned()).map_err(|error| error.to_string())?;
    let mut connection =
        ClientConnection::new(Arc::new(config), name).map_err(|error| error.to_string())?;
    connection
        .complete_io(&mut stream)
        .map_err(|error| error.to_string())?;
    let stream = StreamOwned::new(connection, stream);
    Ok(Wire::Tls(Box::new(stream)))
}

/// Takes any certificate, but one that its server has the key of.
#[derive(Debug)]
struct Anybody(Arc<CryptoProvider>);

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        rustls::crypto::verify_tls12_signature(message, certificate, signed, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, certificate, signed, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
