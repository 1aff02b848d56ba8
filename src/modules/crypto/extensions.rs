//! The extensions that requests ask for and certificates have. Pure.

use sha1::{Digest, Sha1};

use super::der::{self, Element};
use super::names::{attributes, general, pair};
use crate::modules::Failure;
use crate::value::{Map, Value};

pub(super) const ALTERNATIVE: &str = "2.5.29.17";
pub(super) const KEY_USAGE: &str = "2.5.29.15";
pub(super) const EXTENDED_USAGE: &str = "2.5.29.37";
pub(super) const CONSTRAINTS: &str = "2.5.29.19";
pub(super) const FEATURE: &str = "1.3.6.1.5.5.7.1.24";
pub(super) const NAME_CONSTRAINTS: &str = "2.5.29.30";
pub(super) const SUBJECT_KEY: &str = "2.5.29.14";
pub(super) const AUTHORITY_KEY: &str = "2.5.29.35";
pub(super) const CRL_POINTS: &str = "2.5.29.31";

/// One extension.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Extension {
    pub(super) oid: String,
    pub(super) critical: bool,
    /// The value's own encoding.
    pub(super) value: Vec<u8>,
}

impl Extension {
    pub(super) fn new(oid: &str, critical: bool, value: Vec<u8>) -> Self {
        Self {
            oid: oid.to_owned(),
            critical,
            value,
        }
    }

    fn encoded(&self) -> Vec<u8> {
        let mut parts = vec![der::oid(&self.oid).expect("it was read or looked up")];
        if self.critical {
            parts.push(der::wrap(der::BOOLEAN, &[0xff]));
        }
        parts.push(der::wrap(der::OCTETS, &self.value));
        der::sequence(&parts)
    }

    fn read(element: &Element<'_>) -> Option<Self> {
        let parts = element.inside()?;
        let (oid, rest) = parts.split_first()?;
        let (critical, value) = match rest {
            [critical, value] => (critical.content != [0], value),
            [value] => (false, value),
            _ => return None,
        };
        (value.tag == der::OCTETS).then_some(())?;
        Some(Self::new(&oid.dotted()?, critical, value.content.to_vec()))
    }

    /// Returns what two extensions that mean the same have in common: lists have no order.
    fn meaning(&self) -> (String, bool, Vec<Vec<u8>>) {
        let is_list = [ALTERNATIVE, EXTENDED_USAGE].contains(&self.oid.as_str());
        let parts = Element::only(&self.value)
            .filter(|_| is_list)
            .and_then(|it| it.inside());
        let parts = match parts {
            Some(parts) => {
                let mut parts: Vec<_> = parts.iter().map(|it| it.whole.to_vec()).collect();
                parts.sort();
                parts
            }
            None => vec![self.value.clone()],
        };
        (self.oid.clone(), self.critical, parts)
    }
}

/// Writes a list of extensions.
pub(super) fn encoded(all: &[Extension]) -> Vec<u8> {
    der::sequence(&all.iter().map(Extension::encoded).collect::<Vec<_>>())
}

/// Reads a list of extensions.
pub(super) fn read(list: &Element<'_>) -> Option<Vec<Extension>> {
    list.inside()?.iter().map(Extension::read).collect()
}

/// Tells whether two lists mean the same.
pub(super) fn same(one: &[Extension], other: &[Extension]) -> bool {
    let meanings = |all: &[Extension]| {
        let mut all: Vec<_> = all.iter().map(Extension::meaning).collect();
        all.sort();
        all
    };
    meanings(one) == meanings(other)
}

/// Writes a list of general names.
pub(super) fn generals(texts: &[String], what: &str) -> Result<Vec<u8>, Failure> {
    let all: Result<Vec<_>, _> = texts.iter().map(|text| general(text, what)).collect();
    Ok(der::sequence(&all?))
}

const USAGES: [(&str, &str); 9] = [
    ("digitalSignature", "Digital Signature"),
    ("nonRepudiation", "Non Repudiation"),
    ("keyEncipherment", "Key Encipherment"),
    ("dataEncipherment", "Data Encipherment"),
    ("keyAgreement", "Key Agreement"),
    ("keyCertSign", "Certificate Sign"),
    ("cRLSign", "CRL Sign"),
    ("encipherOnly", "Encipher Only"),
    ("decipherOnly", "Decipher Only"),
];

/// Writes what a key may be used for.
pub(super) fn usage(names: &[String]) -> Result<Vec<u8>, Failure> {
    let mut bits = Vec::new();
    for name in names {
        let found = USAGES
            .iter()
            .position(|(short, long)| name == short || name == long);
        bits.push(found.ok_or_else(|| Failure::new(format!("Unknown key usage '{name}'")))?);
    }
    Ok(der::named_bits(&bits))
}

/// Reads what a key may be used for.
pub(super) fn usage_names(value: &Element<'_>) -> Option<Vec<&'static str>> {
    let (_, bytes) = value
        .content
        .split_first()
        .filter(|_| value.tag == der::BITS)?;
    let is_set = |at: usize| {
        bytes
            .get(at / 8)
            .is_some_and(|byte| byte & (0x80 >> (at % 8)) != 0)
    };
    // The last two mean something only where keys are agreed upon.
    let agrees = is_set(4);
    let names = USAGES.iter().enumerate();
    let set = names.filter(|(at, _)| is_set(*at) && (*at < 7 || agrees));
    Some(set.map(|(_, (_, long))| *long).collect())
}

const PURPOSES: [(&str, &str, &str); 10] = [
    (
        "serverAuth",
        "TLS Web Server Authentication",
        "1.3.6.1.5.5.7.3.1",
    ),
    (
        "clientAuth",
        "TLS Web Client Authentication",
        "1.3.6.1.5.5.7.3.2",
    ),
    ("codeSigning", "Code Signing", "1.3.6.1.5.5.7.3.3"),
    ("emailProtection", "E-mail Protection", "1.3.6.1.5.5.7.3.4"),
    ("timeStamping", "Time Stamping", "1.3.6.1.5.5.7.3.8"),
    ("OCSPSigning", "OCSP Signing", "1.3.6.1.5.5.7.3.9"),
    (
        "ipsecIKE",
        "ipsec Internet Key Exchange",
        "1.3.6.1.5.5.7.3.17",
    ),
    (
        "msSmartcardLogin",
        "Microsoft Smartcard Login",
        "1.3.6.1.4.1.311.20.2.2",
    ),
    ("pkInitKDC", "Signing KDC Response", "1.3.6.1.5.2.3.5"),
    (
        "anyExtendedKeyUsage",
        "Any Extended Key Usage",
        "2.5.29.37.0",
    ),
];

/// Names what a certificate may be used for.
pub(super) fn purpose(oid: String) -> String {
    let found = PURPOSES.iter().find(|(_, _, known)| *known == oid);
    found.map_or(oid, |(_, long, _)| (*long).to_owned())
}

/// Writes what a certificate may be used for.
pub(super) fn purposes(names: &[String]) -> Result<Vec<u8>, Failure> {
    let mut all = Vec::new();
    for name in names {
        let found = PURPOSES
            .iter()
            .find(|(short, long, _)| name == short || name == long);
        let oid = found.map_or(name.as_str(), |(_, _, oid)| oid);
        all.push(
            der::oid(oid).ok_or_else(|| Failure::new(format!("Cannot find OID for \"{name}\"")))?,
        );
    }
    Ok(der::sequence(&all))
}

/// Writes whether a certificate is an authority's, and how deep.
pub(super) fn constraints(words: &[String]) -> Result<Vec<u8>, Failure> {
    let mut is_authority = false;
    let mut length = None;
    for word in words {
        match word.split_once(':') {
            Some(("CA", value)) if value.eq_ignore_ascii_case("true") => is_authority = true,
            Some(("CA", value)) if value.eq_ignore_ascii_case("false") => is_authority = false,
            Some(("pathlen", value)) => {
                let number: u32 = value.trim().parse().map_err(|_| {
                    Failure::new(format!("Cannot parse path length constraint \"{value}\""))
                })?;
                length = Some(number);
            }
            _ => {
                return Err(Failure::new(format!("Unknown basic constraint \"{word}\"")));
            }
        }
    }
    let mut parts = Vec::new();
    if is_authority {
        parts.push(der::wrap(der::BOOLEAN, &[0xff]));
        parts.extend(length.map(|length| der::number(&length.to_be_bytes())));
    }
    Ok(der::sequence(&parts))
}

/// Writes which names an authority may speak of.
pub(super) fn name_constraints(
    permitted: &[String],
    excluded: &[String],
) -> Result<Vec<u8>, Failure> {
    let mut parts = Vec::new();
    for (number, names, what) in [
        (0, permitted, "name constraints permitted"),
        (1, excluded, "name constraints excluded"),
    ] {
        if !names.is_empty() {
            let all: Result<Vec<_>, Failure> = names
                .iter()
                .map(|name| Ok(der::sequence(&[general(name, what)?])))
                .collect();
            parts.push(der::of(der::context(number), &all?));
        }
    }
    Ok(der::sequence(&parts))
}

/// Writes that the server staples the answer of OCSP.
pub(super) fn must_staple() -> Vec<u8> {
    der::sequence(&[der::number(&[5])])
}

/// Writes a key's identifier: that of the public key, as usual its SHA-1.
pub(super) fn key_identifier(public: &[u8]) -> Option<Vec<u8>> {
    let parts = Element::only(public)?.inside()?;
    let [_, bits] = parts.as_slice() else {
        return None;
    };
    Some(Sha1::digest(bits.bits()?).to_vec())
}

/// Writes which key has signed.
pub(super) fn authority(
    identifier: Option<&[u8]>,
    issuer: Option<&[String]>,
    serial: Option<i64>,
) -> Result<Vec<u8>, Failure> {
    let mut parts = Vec::new();
    parts.extend(identifier.map(|bytes| der::wrap(der::context_primitive(0), bytes)));
    if let Some(issuer) = issuer {
        let all: Result<Vec<_>, _> = issuer
            .iter()
            .map(|name| general(name, "authority cert issuer"))
            .collect();
        parts.push(der::of(der::context(1), &all?));
    }
    if let Some(serial) = serial {
        let number = der::number(&serial.to_be_bytes());
        let content = Element::only(&number).map(|it| it.content.to_vec());
        let content = content.unwrap_or_default();
        parts.push(der::wrap(der::context_primitive(2), &content));
    }
    Ok(der::sequence(&parts))
}

const REASONS: [&str; 9] = [
    "",
    "key_compromise",
    "ca_compromise",
    "affiliation_changed",
    "superseded",
    "cessation_of_operation",
    "certificate_hold",
    "privilege_withdrawn",
    "aa_compromise",
];

/// Writes where revocations are told.
pub(super) fn crl_points(points: &[Value]) -> Result<Vec<u8>, Failure> {
    let mut all = Vec::new();
    for (index, point) in points.iter().enumerate() {
        let wrong = |why: &str| Failure::new(format!("crl_distribution_points[{index}]: {why}"));
        let map = point.as_map().ok_or_else(|| wrong("it is no dictionary"))?;
        let list = |name: &str| -> Option<Vec<String>> {
            let value = map.get(name)?;
            match value {
                Value::Null => None,
                Value::List(items) => Some(items.iter().map(Value::to_string).collect()),
                value => Some(vec![value.to_string()]),
            }
        };
        let known = ["full_name", "relative_name", "crl_issuer", "reasons"];
        if let Some(name) = map
            .keys()
            .find(|name| !known.contains(&name.as_str().unwrap_or("")))
        {
            return Err(wrong(&format!("there is no option `{name}`")));
        }
        let mut parts = Vec::new();
        match (list("full_name"), list("relative_name")) {
            (Some(_), Some(_)) => {
                return Err(wrong("`full_name` and `relative_name` exclude each other"));
            }
            (Some(names), None) => {
                let names: Result<Vec<_>, _> = names
                    .iter()
                    .map(|name| general(name, "CRL distribution point"))
                    .collect();
                let full = der::of(der::context(0), &names?);
                parts.push(der::of(der::context(0), &[full]));
            }
            (None, Some(names)) => {
                let mut pairs = Map::new();
                for name in &names {
                    let (key, value) = name
                        .split_once('=')
                        .ok_or_else(|| wrong("`relative_name` is no `NAME=VALUE`"))?;
                    pairs.insert(key.trim().into(), value.trim().into());
                }
                let pairs: Vec<_> = attributes(&pairs)?.iter().map(pair).collect();
                let relative = der::of(der::context(1), &pairs);
                parts.push(der::of(der::context(0), &[relative]));
            }
            (None, None) if list("crl_issuer").is_none() => {
                return Err(wrong(
                    "one of `full_name`, `relative_name` and `crl_issuer` is needed",
                ));
            }
            (None, None) => {}
        }
        if let Some(reasons) = list("reasons") {
            let mut bits = Vec::new();
            for reason in reasons {
                let found = REASONS.iter().position(|known| *known == reason);
                bits.push(found.ok_or_else(|| wrong(&format!("unknown reason `{reason}`")))?);
            }
            let bits = der::named_bits(&bits);
            let content = Element::only(&bits).map(|it| it.content.to_vec());
            parts.push(der::wrap(
                der::context_primitive(1),
                &content.unwrap_or_default(),
            ));
        }
        if let Some(names) = list("crl_issuer") {
            let names: Result<Vec<_>, _> = names
                .iter()
                .map(|name| general(name, "CRL issuer"))
                .collect();
            parts.push(der::of(der::context(2), &names?));
        }
        all.push(der::sequence(&parts));
    }
    Ok(der::sequence(&all))
}
