//! Requests and certificates: read, written, and checked against the key that signed them.

use jiff::civil::DateTime;

use super::der::{self, Element};
use super::extensions::{self, Extension};
use super::key::{Key, Kind, described, verifies};
use super::times;
use crate::machine::Machine;
use crate::modules::Failure;

const REQUEST: &[&str] = &["CERTIFICATE REQUEST", "NEW CERTIFICATE REQUEST"];
const CERTIFICATE: &[&str] = &["CERTIFICATE", "X509 CERTIFICATE", "TRUSTED CERTIFICATE"];
const ASKS_EXTENSIONS: &str = "1.2.840.113549.1.9.14";

/// The ways to sign: the key's kind, the digest's name, and the object identifier of both.
const ALGORITHMS: [(Kind, &str, &str); 17] = [
    (Kind::Rsa, "md5", "1.2.840.113549.1.1.4"),
    (Kind::Rsa, "sha1", "1.2.840.113549.1.1.5"),
    (Kind::Rsa, "sha224", "1.2.840.113549.1.1.14"),
    (Kind::Rsa, "sha256", "1.2.840.113549.1.1.11"),
    (Kind::Rsa, "sha384", "1.2.840.113549.1.1.12"),
    (Kind::Rsa, "sha512", "1.2.840.113549.1.1.13"),
    (Kind::Ec, "sha1", "1.2.840.10045.4.1"),
    (Kind::Ec, "sha224", "1.2.840.10045.4.3.1"),
    (Kind::Ec, "sha256", "1.2.840.10045.4.3.2"),
    (Kind::Ec, "sha384", "1.2.840.10045.4.3.3"),
    (Kind::Ec, "sha512", "1.2.840.10045.4.3.4"),
    (Kind::Dsa, "sha1", "1.2.840.10040.4.3"),
    (Kind::Dsa, "sha224", "2.16.840.1.101.3.4.3.1"),
    (Kind::Dsa, "sha256", "2.16.840.1.101.3.4.3.2"),
    (Kind::Ed25519, "", "1.3.101.112"),
    (Kind::Ed448, "", "1.3.101.113"),
    (Kind::Rsa, "ripemd160", "1.3.36.3.3.1.2"),
];

/// Names a way to sign as OpenSSL does.
pub(super) fn algorithm_name(oid: &str) -> String {
    let found = ALGORITHMS.iter().find(|(_, _, known)| *known == oid);
    match found {
        Some((Kind::Rsa, digest, _)) => format!("{digest}WithRSAEncryption"),
        Some((Kind::Ec, digest, _)) => format!("ecdsa-with-{}", digest.to_uppercase()),
        Some((Kind::Dsa, "sha1", _)) => "dsaWithSHA1".into(),
        Some((Kind::Dsa, digest, _)) => format!("dsa_with_{}", digest.to_uppercase()),
        Some((Kind::Ed25519, ..)) => "ED25519".into(),
        Some((Kind::Ed448, ..)) => "ED448".into(),
        _ if oid == "1.2.840.113549.1.1.10" => "rsassaPss".into(),
        _ => oid.to_owned(),
    }
}

/// Something that a key has signed.
#[derive(Clone, Debug)]
pub(super) struct Signature {
    signed: Vec<u8>,
    oid: String,
    bytes: Vec<u8>,
}

impl Signature {
    /// Returns the object identifier of the way it was signed.
    pub(super) fn oid(&self) -> &str {
        &self.oid
    }

    /// Tells whether this key has signed.
    pub(super) fn is_of(&self, machine: &mut Machine, public: &[u8]) -> Result<bool, Failure> {
        let Some((kind, digest, _)) = ALGORITHMS.iter().find(|(_, _, oid)| *oid == self.oid) else {
            return Ok(false);
        };
        if described(public).map(|(kind, _, _)| kind) != Some(*kind) {
            return Ok(false);
        }
        verifies(machine, public, *kind, digest, &self.signed, &self.bytes)
    }
}

/// Splits what is signed from its signature.
fn opened(bytes: &[u8]) -> Option<(Vec<Element<'_>>, Signature)> {
    let parts = Element::only(bytes)?.inside()?;
    let [signed, algorithm, signature] = parts.as_slice() else {
        return None;
    };
    let told = Signature {
        signed: signed.whole.to_vec(),
        oid: algorithm.inside()?.first()?.dotted()?,
        bytes: signature.bits()?.to_vec(),
    };
    Some((signed.inside()?, told))
}

/// Signs, and puts both together.
pub(super) fn closed(
    machine: &mut Machine,
    signed: Vec<u8>,
    key: &Key,
    algorithm: &Algorithm,
) -> Result<Vec<u8>, Failure> {
    let signature = key.sign(machine, algorithm.kind, algorithm.digest, &signed)?;
    Ok(der::sequence(&[
        signed,
        algorithm.encoded(),
        der::bit_string(&signature),
    ]))
}

/// A way to sign.
pub(super) struct Algorithm {
    kind: Kind,
    digest: &'static str,
    oid: &'static str,
}

impl Algorithm {
    /// Finds the way for a key; those that hash by themselves take no digest.
    pub(super) fn of(public: &[u8], digest: &str) -> Result<Self, Failure> {
        let (kind, _, _) = described(public)
            .ok_or_else(|| Failure::new("Private key cannot be used to sign certificates"))?;
        let digest = digest.to_lowercase();
        let found = ALGORITHMS
            .iter()
            .find(|(known, name, _)| *known == kind && (name.is_empty() || *name == digest));
        match found {
            Some((kind, digest, oid)) => Ok(Self {
                kind: *kind,
                digest,
                oid,
            }),
            None if matches!(kind, Kind::X25519 | Kind::X448) => Err(Failure::new(
                "Private key cannot be used to sign certificates",
            )),
            None => Err(Failure::new(format!("Unsupported digest \"{digest}\""))),
        }
    }

    pub(super) fn encoded(&self) -> Vec<u8> {
        let mut parts = vec![der::oid(self.oid).expect("the table is right")];
        if self.kind == Kind::Rsa {
            parts.push(vec![5, 0]);
        }
        der::sequence(&parts)
    }
}

/// A request for a certificate.
#[derive(Clone, Debug)]
pub(super) struct Request {
    /// The encoded name.
    pub(super) subject: Vec<u8>,
    pub(super) public: Vec<u8>,
    pub(super) extensions: Vec<Extension>,
    pub(super) signature: Signature,
}

impl Request {
    pub(super) fn read(text: &[u8]) -> Option<Self> {
        let bytes = super::unpem(text, REQUEST)?;
        let (parts, signature) = opened(&bytes)?;
        let [_, subject, public, rest @ ..] = parts.as_slice() else {
            return None;
        };
        let mut all = Vec::new();
        for attributes in rest {
            for attribute in attributes.inside()? {
                let pair = attribute.inside()?;
                if pair.first()?.dotted()? == ASKS_EXTENSIONS {
                    let lists = pair.get(1)?.inside()?;
                    all = extensions::read(lists.first()?)?;
                }
            }
        }
        Some(Self {
            subject: subject.whole.to_vec(),
            public: public.whole.to_vec(),
            extensions: all,
            signature,
        })
    }

    /// Writes what is to be signed.
    pub(super) fn unsigned(subject: &[u8], public: &[u8], all: &[Extension]) -> Vec<u8> {
        let mut attributes = Vec::new();
        if !all.is_empty() {
            attributes.push(der::sequence(&[
                der::oid(ASKS_EXTENSIONS).expect("it is one"),
                der::of(der::SET, &[extensions::encoded(all)]),
            ]));
        }
        der::sequence(&[
            der::number(&[0]),
            subject.to_vec(),
            public.to_vec(),
            der::of(der::context(0), &attributes),
        ])
    }
}

/// A certificate.
#[derive(Clone, Debug)]
pub(super) struct Certificate {
    /// As it is written.
    pub(super) whole: Vec<u8>,
    pub(super) version: u8,
    pub(super) serial: Vec<u8>,
    pub(super) issuer: Vec<u8>,
    pub(super) not_before: DateTime,
    pub(super) not_after: DateTime,
    pub(super) subject: Vec<u8>,
    pub(super) public: Vec<u8>,
    pub(super) extensions: Vec<Extension>,
    pub(super) signature: Signature,
}

impl Certificate {
    pub(super) fn read(text: &[u8]) -> Option<Self> {
        let bytes = super::unpem(text, CERTIFICATE)?;
        let (parts, signature) = opened(&bytes)?;
        let mut parts = parts.into_iter().peekable();
        // The version is left out where it is the first.
        let version = parts.next_if(|part| part.tag == der::context(0));
        let version = match version {
            Some(version) => *Element::only(version.content)?.content.last()?,
            None => 0,
        };
        let (serial, _, issuer, validity) =
            (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
        let (subject, public) = (parts.next()?, parts.next()?);
        let times = validity.inside()?;
        let mut all = Vec::new();
        for part in parts.filter(|part| part.tag == der::context(3)) {
            all = extensions::read(part.inside()?.first()?)?;
        }
        Some(Self {
            version: version.checked_add(1)?,
            serial: serial.content.to_vec(),
            issuer: issuer.whole.to_vec(),
            not_before: times::decoded(times.first()?)?,
            not_after: times::decoded(times.get(1)?)?,
            subject: subject.whole.to_vec(),
            public: public.whole.to_vec(),
            extensions: all,
            signature,
            whole: bytes.clone(),
        })
    }

    pub(super) fn extension(&self, oid: &str) -> Option<&Extension> {
        self.extensions
            .iter()
            .find(|extension| extension.oid == oid)
    }
}

/// What a certificate is to say, but for its signature.
pub(super) struct Unsigned<'a> {
    pub(super) serial: &'a [u8],
    pub(super) issuer: &'a [u8],
    pub(super) not_before: DateTime,
    pub(super) not_after: DateTime,
    pub(super) subject: &'a [u8],
    pub(super) public: &'a [u8],
    pub(super) extensions: &'a [Extension],
}

impl Unsigned<'_> {
    pub(super) fn encoded(&self, algorithm: &Algorithm) -> Vec<u8> {
        let mut parts = vec![
            der::of(der::context(0), &[der::number(&[2])]),
            der::number(self.serial),
            algorithm.encoded(),
            self.issuer.to_vec(),
            der::sequence(&[
                times::encoded(self.not_before),
                times::encoded(self.not_after),
            ]),
            self.subject.to_vec(),
            self.public.to_vec(),
        ];
        if !self.extensions.is_empty() {
            parts.push(der::of(
                der::context(3),
                &[extensions::encoded(self.extensions)],
            ));
        }
        der::sequence(&parts)
    }
}
