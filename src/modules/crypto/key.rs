//! Private keys, as the target's `openssl` reads and uses them.

use std::path::PathBuf;

use md5::Md5;
use sha1::Sha1;
use sha2::{Digest, Sha224, Sha256, Sha384, Sha512};

use super::colons;
use super::der::Element;
use crate::machine::{Command, Machine, TemporaryFile};
use crate::modules::{Failure, tool};
use crate::value::{Map, Value};

/// Where a passphrase is handed over: neither in words that everybody sees nor in a file.
const PASSPHRASE: &str = "BACKSTAY_PASSPHRASE";

/// A private key.
pub(super) struct Key {
    bytes: Vec<u8>,
    passphrase: Option<String>,
}

/// What `openssl` can sign and check with a kind of key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Rsa,
    Dsa,
    Ec,
    Ed25519,
    Ed448,
    X25519,
    X448,
}

impl Key {
    pub(super) fn new(bytes: Vec<u8>, passphrase: Option<&str>) -> Self {
        Self {
            bytes,
            passphrase: passphrase.map(str::to_owned),
        }
    }

    /// Reads the key that options name: a file, or its content.
    pub(super) fn given(
        machine: &mut Machine,
        path: Option<&PathBuf>,
        content: Option<&str>,
        passphrase: Option<&str>,
    ) -> Result<Self, Failure> {
        let bytes = match (path, content) {
            (_, Some(content)) => content.as_bytes().to_vec(),
            (Some(path), None) => {
                let path = machine.expand(path);
                if !machine.exists(&path)? {
                    return Err(Failure::new(format!(
                        "The private key {} does not exist",
                        path.display()
                    )));
                }
                machine.read(&path)?
            }
            (None, None) => return Err(Failure::new("Must provide either path or content")),
        };
        Ok(Self::new(bytes, passphrase))
    }

    /// Tells whether the key can only be read with a passphrase.
    pub(super) fn is_encrypted(&self) -> bool {
        let text = String::from_utf8_lossy(&self.bytes);
        text.contains("BEGIN ENCRYPTED PRIVATE KEY") || text.contains("Proc-Type: 4,ENCRYPTED")
    }

    /// Names the format of the key's file.
    pub(super) fn format(&self) -> &'static str {
        let text = String::from_utf8_lossy(&self.bytes);
        if text.contains("-----BEGIN PRIVATE KEY-----")
            || text.contains("-----BEGIN ENCRYPTED PRIVATE KEY-----")
        {
            "pkcs8"
        } else if text.contains("-----BEGIN ") && text.contains(" PRIVATE KEY-----") {
            "pkcs1"
        } else {
            "raw"
        }
    }

    /// Returns the public key; an error where the key or its passphrase is wrong.
    pub(super) fn public(&self, machine: &mut Machine) -> Result<Vec<u8>, Failure> {
        let wrong = || {
            Failure::new(
                "Wrong passphrase provided for private key, or private key cannot be parsed",
            )
        };
        match (&self.passphrase, self.is_encrypted()) {
            (Some(passphrase), false) if !passphrase.is_empty() => return Err(wrong()),
            (None, true) => {
                return Err(Failure::new(
                    "Wrong or empty passphrase provided for private key",
                ));
            }
            _ => {}
        }
        let words = ["pkey", "-pubout", "-outform", "DER", "-passin"];
        let command = openssl(machine, &words)?.arg(format!("env:{PASSPHRASE}"));
        let command = command.stdin(self.bytes.clone());
        let output = machine.query(&self.with_passphrase(command))?;
        if !output.success() {
            return Err(wrong());
        }
        Ok(output.stdout)
    }

    /// Rewrites the key in another format or with a passphrase.
    pub(super) fn converted(
        &self,
        machine: &mut Machine,
        is_traditional: bool,
        passphrase: Option<&str>,
    ) -> Result<Vec<u8>, Failure> {
        let mut words = vec!["pkey"];
        if is_traditional {
            words.push("-traditional");
        }
        let out = format!("{PASSPHRASE}_OUT");
        let passout = format!("env:{out}");
        if passphrase.is_some() {
            words.extend(["-aes256", "-passout", &passout]);
        }
        words.push("-passin");
        let mut command = openssl(machine, &words)?
            .arg(format!("env:{PASSPHRASE}"))
            .stdin(self.bytes.clone());
        if let Some(passphrase) = passphrase {
            command = command.env(out, passphrase);
        }
        let output = machine.query(&self.with_passphrase(command))?;
        tool::check(Some(&output), |output| {
            format!(
                "cannot write the private key: {}",
                output.stderr_text().trim()
            )
        })?;
        Ok(output.stdout)
    }

    /// Signs bytes; `digest` is for kinds that hash first.
    pub(super) fn sign(
        &self,
        machine: &mut Machine,
        kind: Kind,
        digest: &str,
        bytes: &[u8],
    ) -> Result<Vec<u8>, Failure> {
        let file = machine.temporary_file(&self.bytes)?;
        let data = machine.temporary_file(bytes)?;
        let (file, data) = (named(&file), named(&data));
        let pass = format!("env:{PASSPHRASE}");
        let digest = format!("-{digest}");
        let words = match kind {
            Kind::Ed25519 | Kind::Ed448 => vec![
                "pkeyutl", "-sign", "-rawin", "-inkey", &file, "-passin", &pass, "-in", &data,
            ],
            _ => vec!["dgst", &digest, "-sign", &file, "-passin", &pass, &data],
        };
        let command = openssl(machine, &words)?;
        let output = machine.query(&self.with_passphrase(command))?;
        tool::check(Some(&output), |output| {
            format!("cannot sign: {}", output.stderr_text().trim())
        })?;
        Ok(output.stdout)
    }

    fn with_passphrase(&self, command: Command) -> Command {
        command.env(PASSPHRASE, self.passphrase.as_deref().unwrap_or_default())
    }
}

fn named(file: &TemporaryFile) -> String {
    file.path().display().to_string()
}

/// Makes a call of the program.
pub(super) fn openssl(machine: &mut Machine, words: &[&str]) -> Result<Command, Failure> {
    let mut argv = vec![tool::required(machine, "openssl")?];
    argv.extend(words.iter().map(|word| (*word).to_owned()));
    Ok(tool::command(&argv))
}

/// Checks a signature with a public key.
pub(super) fn verifies(
    machine: &mut Machine,
    public: &[u8],
    kind: Kind,
    digest: &str,
    signed: &[u8],
    signature: &[u8],
) -> Result<bool, Failure> {
    let key = machine.temporary_file(super::pem("PUBLIC KEY", public).as_bytes())?;
    let data = machine.temporary_file(signed)?;
    let signature = machine.temporary_file(signature)?;
    let (key, data, signature) = (named(&key), named(&data), named(&signature));
    let digest = format!("-{digest}");
    let words = match kind {
        Kind::Ed25519 | Kind::Ed448 => vec![
            "pkeyutl", "-verify", "-rawin", "-pubin", "-inkey", &key, "-sigfile", &signature,
            "-in", &data,
        ],
        _ => vec![
            "dgst",
            &digest,
            "-verify",
            &key,
            "-signature",
            &signature,
            &data,
        ],
    };
    let command = openssl(machine, &words)?;
    Ok(machine.query(&command)?.success())
}

/// What a public key says of itself: its kind, size in bits, and the curve's name.
pub(super) fn described(public: &[u8]) -> Option<(Kind, usize, Option<&'static str>)> {
    let parts = Element::only(public)?.inside()?;
    let [algorithm, bits] = parts.as_slice() else {
        return None;
    };
    let algorithm = algorithm.inside()?;
    let n_bits = |number: &Element<'_>| {
        let digits: Vec<u8> = number
            .content
            .iter()
            .copied()
            .skip_while(|it| *it == 0)
            .collect();
        let first = digits.first()?;
        Some(digits.len() * 8 - first.leading_zeros() as usize)
    };
    Some(match algorithm.first()?.dotted()?.as_str() {
        "1.2.840.113549.1.1.1" => {
            let key = Element::only(bits.bits()?)?;
            (Kind::Rsa, n_bits(key.inside()?.first()?)?, None)
        }
        "1.2.840.10040.4.1" => {
            let parameters = algorithm.get(1)?.inside()?;
            (Kind::Dsa, n_bits(parameters.first()?)?, None)
        }
        "1.2.840.10045.2.1" => {
            let oid = algorithm.get(1)?.dotted()?;
            let (name, _, size) = CURVES.iter().find(|(_, known, _)| *known == oid)?;
            (Kind::Ec, *size, Some(*name))
        }
        "1.3.101.110" => (Kind::X25519, 256, None),
        "1.3.101.111" => (Kind::X448, 448, None),
        "1.3.101.112" => (Kind::Ed25519, 256, None),
        "1.3.101.113" => (Kind::Ed448, 456, None),
        _ => return None,
    })
}

/// The curves: their names, object identifiers and sizes.
const CURVES: [(&str, &str, usize); 19] = [
    ("secp224r1", "1.3.132.0.33", 224),
    ("secp256k1", "1.3.132.0.10", 256),
    ("secp256r1", "1.2.840.10045.3.1.7", 256),
    ("secp384r1", "1.3.132.0.34", 384),
    ("secp521r1", "1.3.132.0.35", 521),
    ("secp192r1", "1.2.840.10045.3.1.1", 192),
    ("brainpoolP256r1", "1.3.36.3.3.2.8.1.1.7", 256),
    ("brainpoolP384r1", "1.3.36.3.3.2.8.1.1.11", 384),
    ("brainpoolP512r1", "1.3.36.3.3.2.8.1.1.13", 512),
    ("sect163k1", "1.3.132.0.1", 163),
    ("sect163r2", "1.3.132.0.15", 163),
    ("sect233k1", "1.3.132.0.26", 233),
    ("sect233r1", "1.3.132.0.27", 233),
    ("sect283k1", "1.3.132.0.16", 283),
    ("sect283r1", "1.3.132.0.17", 283),
    ("sect409k1", "1.3.132.0.36", 409),
    ("sect409r1", "1.3.132.0.37", 409),
    ("sect571k1", "1.3.132.0.38", 571),
    ("sect571r1", "1.3.132.0.39", 571),
];

/// Returns the fingerprints of bytes.
pub(super) fn fingerprints(bytes: &[u8]) -> Map {
    let mut map = Map::new();
    let mut put = |name: &str, digest: &[u8]| {
        map.insert(name.into(), Value::from(colons(digest)));
    };
    put("md5", &Md5::digest(bytes));
    put("sha1", &Sha1::digest(bytes));
    put("sha224", &Sha224::digest(bytes));
    put("sha256", &Sha256::digest(bytes));
    put("sha384", &Sha384::digest(bytes));
    put("sha512", &Sha512::digest(bytes));
    map
}
