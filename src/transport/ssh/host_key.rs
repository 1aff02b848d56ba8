//! Whether a server's host key, or the certificate in its place, is to be trusted.
//!
//! Decides from the files and the user's strictness alone; asks nobody.

use std::path::PathBuf;
use std::time::{SystemTime, UNIX_EPOCH};

use rand::Rng;
use russh::keys::ssh_key::certificate::CertType;
use russh::keys::{Algorithm, Certificate, HashAlg, PublicKey, PublicKeyOrCertificate};

use super::known_hosts::{self, KnownHosts, Place, Verdict};
use super::pattern;
use crate::transport::HostKeyProblem;

/// What makes a host key trusted.
#[derive(Debug)]
pub(in crate::transport) enum Trust {
    /// The `known_hosts` files.
    Files(Files),
    /// This key and no other.
    Pinned(PublicKey),
}

/// The `known_hosts` files and how strictly they are meant.
#[derive(Debug)]
pub(super) struct Files {
    pub(super) strictness: Strictness,
    /// New keys go to the first.
    pub(super) user: Vec<PathBuf>,
    pub(super) global: Vec<PathBuf>,
    /// Names are hashed when a key is added.
    pub(super) hash_names: bool,
}

/// `StrictHostKeyChecking`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Strictness {
    /// `yes`, and `ask`: there is nobody to ask in the middle of a play.
    Known,
    /// `accept-new`.
    AcceptNew,
    /// `no`: any key but a revoked one.
    Off,
}

/// A host key that was accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Acceptance {
    Trusted,
    /// Accepted although the files have another key for the host. As in OpenSSH no password may
    /// be sent to such a server.
    Suspect,
}

impl Trust {
    /// Judges what the server shows; `name` is `host` or `[host]:port`.
    pub(super) fn judge(
        &self,
        name: &str,
        shown: &PublicKeyOrCertificate,
    ) -> Result<Acceptance, HostKeyProblem> {
        match self {
            Self::Files(files) => files.judge(name, shown, now()),
            Self::Pinned(key) if *key.key_data() == *shown.public_key().key_data() => {
                Ok(Acceptance::Trusted)
            }
            Self::Pinned(_) => Err(HostKeyProblem::Pinned {
                fingerprint: fingerprint(&shown.public_key()),
            }),
        }
    }

    /// Returns the key types the files have for `name`, and whether an authority vouches for it.
    pub(super) fn known_algorithms(&self, name: &str) -> (Vec<String>, bool) {
        match self {
            Self::Files(files) => files.known().map_or_else(
                |_| (Vec::new(), false),
                |known| (known.algorithms(name), known.has_authorities(name)),
            ),
            Self::Pinned(key) => (vec![key.algorithm().to_string()], false),
        }
    }
}

impl Files {
    fn known(&self) -> Result<KnownHosts, HostKeyProblem> {
        let files: Vec<PathBuf> = self.user.iter().chain(&self.global).cloned().collect();
        KnownHosts::read(&files).map_err(|(file, error)| HostKeyProblem::File {
            file,
            detail: error.to_string(),
        })
    }

    fn judge(
        &self,
        name: &str,
        shown: &PublicKeyOrCertificate,
        now: u64,
    ) -> Result<Acceptance, HostKeyProblem> {
        let known = self.known()?;
        if let Some(certificate) = shown.certificate()
            && known.has_authority(name, &authority_bytes(certificate))
        {
            return judge_certificate(&known, name, certificate, now);
        }
        // A certificate nobody here vouches for counts as its key.
        self.judge_key(&known, name, &shown.public_key())
    }

    fn judge_key(
        &self,
        known: &KnownHosts,
        name: &str,
        key: &PublicKey,
    ) -> Result<Acceptance, HostKeyProblem> {
        match known.judge(name, &key_bytes(key)) {
            Verdict::Known => Ok(Acceptance::Trusted),
            Verdict::Revoked(place) => Err(revoked(key, place)),
            Verdict::Different(_) if self.strictness == Strictness::Off => Ok(Acceptance::Suspect),
            Verdict::Different(place) => Err(HostKeyProblem::Changed {
                algorithm: key.algorithm().to_string(),
                fingerprint: fingerprint(key),
                file: place.file,
                line: place.line,
                name: name.to_owned(),
            }),
            Verdict::Unknown if self.strictness == Strictness::Known => {
                Err(HostKeyProblem::Unknown {
                    algorithm: key.algorithm().to_string(),
                    fingerprint: fingerprint(key),
                    files: self.user.iter().chain(&self.global).cloned().collect(),
                    name: name.to_owned(),
                })
            }
            Verdict::Unknown => self.learn(name, key),
        }
    }

    /// Adds a new key to the user's first file.
    fn learn(&self, name: &str, key: &PublicKey) -> Result<Acceptance, HostKeyProblem> {
        let Some(file) = self.user.first() else {
            return Ok(Acceptance::Trusted);
        };
        let salt = self.hash_names.then(|| {
            let mut salt = [0; 20];
            rand::rng().fill_bytes(&mut salt);
            salt
        });
        let algorithm = key.algorithm().to_string();
        match known_hosts::add(file, name, &algorithm, &key_bytes(key), salt) {
            // With checking off, a place that cannot be written to is no reason to stay away.
            Err(error) if self.strictness == Strictness::AcceptNew => Err(HostKeyProblem::File {
                file: file.clone(),
                detail: error.to_string(),
            }),
            _ => Ok(Acceptance::Trusted),
        }
    }
}

/// Judges a certificate signed by an authority that is trusted for `name`.
fn judge_certificate(
    known: &KnownHosts,
    name: &str,
    certificate: &Certificate,
    now: u64,
) -> Result<Acceptance, HostKeyProblem> {
    let key = PublicKey::new(certificate.public_key().clone(), "");
    let authority = PublicKey::new(certificate.signature_key().clone(), "");
    for key in [&key, &authority] {
        if let Some(place) = known.revocation(name, &key_bytes(key)) {
            return Err(revoked(key, place));
        }
    }
    match certificate_flaw(certificate, host_of(name), now) {
        None => Ok(Acceptance::Trusted),
        Some(detail) => Err(HostKeyProblem::Certificate {
            detail,
            fingerprint: fingerprint(&key),
        }),
    }
}

/// Returns why `certificate` does not hold for `host`, if it does not.
fn certificate_flaw(certificate: &Certificate, host: &str, now: u64) -> Option<String> {
    if certificate.cert_type() != CertType::Host {
        return Some("it is a user's certificate, not a host's".to_owned());
    }
    if now < certificate.valid_after() {
        return Some("it is not valid yet".to_owned());
    }
    if now >= certificate.valid_before() {
        return Some("it has expired".to_owned());
    }
    let principals = certificate.valid_principals();
    // A certificate without principals holds for every name, as OpenSSH 9.2 has it.
    if !principals.is_empty() && !principals.iter().any(|name| pattern::matches(name, host)) {
        return Some(format!(
            "it is for {}, not for `{host}`",
            principals.join(", ")
        ));
    }
    if let Some((option, _)) = certificate.critical_options().iter().next() {
        return Some(format!("it demands `{option}`, which is not known"));
    }
    if certificate.signature().algorithm() == (Algorithm::Rsa { hash: None }) {
        return Some("it is signed with SHA-1".to_owned());
    }
    match certificate.verify_signature() {
        Ok(()) => None,
        Err(_) => Some("its signature is wrong".to_owned()),
    }
}

fn revoked(key: &PublicKey, place: Place) -> HostKeyProblem {
    HostKeyProblem::Revoked {
        algorithm: key.algorithm().to_string(),
        fingerprint: fingerprint(key),
        file: place.file,
        line: place.line,
    }
}

/// Returns the host of a `known_hosts` name.
fn host_of(name: &str) -> &str {
    name.strip_prefix('[')
        .and_then(|rest| rest.rsplit_once("]:"))
        .map_or(name, |(host, _)| host)
}

/// Returns the fingerprint as `ssh-keygen -l` prints it.
pub(super) fn fingerprint(key: &PublicKey) -> String {
    key.fingerprint(HashAlg::Sha256).to_string()
}

fn key_bytes(key: &PublicKey) -> Vec<u8> {
    // Encoding to memory fails only beyond 4 GiB; an empty key matches nothing.
    key.to_bytes().unwrap_or_default()
}

fn authority_bytes(certificate: &Certificate) -> Vec<u8> {
    key_bytes(&PublicKey::new(certificate.signature_key().clone(), ""))
}

fn now() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_secs())
}
