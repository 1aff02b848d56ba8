//! Which algorithms are offered to a server, and in which order: our defaults, changed by the
//! user's lists in the `+`, `-`, `^` notation of `ssh_config`(5).

use std::borrow::Cow;

use russh::keys::{Algorithm, EcdsaCurve, HashAlg};
use russh::{Preferred, cipher, compression, kex, mac};

use super::options::Options;
use super::pattern;

/// The post-quantum hybrid where the server has it, then the cheapest exchange.
const KEX: [kex::Name; 10] = [
    kex::MLKEM768X25519_SHA256,
    kex::CURVE25519,
    kex::CURVE25519_PRE_RFC_8731,
    kex::ECDH_SHA2_NISTP256,
    kex::ECDH_SHA2_NISTP384,
    kex::ECDH_SHA2_NISTP521,
    kex::DH_GEX_SHA256,
    kex::DH_G16_SHA512,
    kex::DH_G18_SHA512,
    kex::DH_G14_SHA256,
];

/// What is no algorithm but is announced in its list; the strict exchange guards against
/// CVE-2023-48795.
const KEX_EXTENSIONS: [kex::Name; 2] = [
    kex::EXTENSION_SUPPORT_AS_CLIENT,
    kex::EXTENSION_OPENSSH_STRICT_KEX_AS_CLIENT,
];

/// The fastest first.
const CIPHERS: [cipher::Name; 6] = [
    cipher::AES_128_GCM,
    cipher::AES_256_GCM,
    cipher::CHACHA20_POLY1305,
    cipher::AES_128_CTR,
    cipher::AES_192_CTR,
    cipher::AES_256_CTR,
];

const MACS: [mac::Name; 4] = [
    mac::HMAC_SHA256_ETM,
    mac::HMAC_SHA512_ETM,
    mac::HMAC_SHA256,
    mac::HMAC_SHA512,
];

/// Host key types; SHA-1 signatures (`ssh-rsa`) only when the user adds them.
const HOST_KEYS: [Algorithm; 6] = [
    Algorithm::Ed25519,
    Algorithm::Ecdsa {
        curve: EcdsaCurve::NistP256,
    },
    Algorithm::Ecdsa {
        curve: EcdsaCurve::NistP384,
    },
    Algorithm::Ecdsa {
        curve: EcdsaCurve::NistP521,
    },
    Algorithm::Rsa {
        hash: Some(HashAlg::Sha512),
    },
    Algorithm::Rsa {
        hash: Some(HashAlg::Sha256),
    },
];

/// Returns the algorithms to offer. `known` are the key types known for the host, which go
/// first, so that a server shows a key that can be checked; `certificates` says that an
/// authority vouches for the host. The error names the option that leaves nothing.
pub(super) fn preferred(
    options: &Options,
    known: &[String],
    certificates: bool,
) -> Result<Preferred, &'static str> {
    let mut kex = chosen(&KEX, options.kex.as_deref()).ok_or("KexAlgorithms")?;
    kex.extend(KEX_EXTENSIONS);
    let mut keys = host_keys(options.host_key_algorithms.as_deref()).ok_or("HostKeyAlgorithms")?;
    if !fixes_order(options.host_key_algorithms.as_deref()) {
        keys.sort_by_key(|key| !known.iter().any(|known| is_of_type(key, known)));
    }
    let compressions = match options.compression {
        Some(true) => vec![
            compression::ZLIB_LEGACY,
            compression::ZLIB,
            compression::NONE,
        ],
        _ => vec![
            compression::NONE,
            compression::ZLIB_LEGACY,
            compression::ZLIB,
        ],
    };
    Ok(Preferred {
        kex: Cow::Owned(kex),
        host_key_certificates: Cow::Owned(if certificates {
            keys.clone()
        } else {
            Vec::new()
        }),
        key: Cow::Owned(keys),
        cipher: Cow::Owned(chosen(&CIPHERS, options.ciphers.as_deref()).ok_or("Ciphers")?),
        mac: Cow::Owned(chosen(&MACS, options.macs.as_deref()).ok_or("MACs")?),
        compression: Cow::Owned(compressions),
    })
}

/// Returns whether the user's list says itself what goes first.
fn fixes_order(list: Option<&str>) -> bool {
    list.is_some_and(|list| !list.starts_with(['+', '-']))
}

/// Returns whether keys of `known_hosts` type `known` can serve `algorithm`.
fn is_of_type(algorithm: &Algorithm, known: &str) -> bool {
    match algorithm {
        Algorithm::Rsa { .. } => known == "ssh-rsa",
        other => other.as_str() == known,
    }
}

/// Returns the algorithms of a list over `defaults`; names we do not have are passed over, and
/// `None` means that no other is left.
fn chosen<T>(defaults: &[T], list: Option<&str>) -> Option<Vec<T>>
where
    T: Copy + PartialEq + AsRef<str> + for<'a> TryFrom<&'a str>,
{
    let names: Vec<&str> = defaults.iter().map(AsRef::as_ref).collect();
    let names = assemble(&names, list);
    let found: Vec<T> = names
        .iter()
        .filter_map(|name| T::try_from(name).ok())
        .collect();
    (!found.is_empty()).then_some(found)
}

fn host_keys(list: Option<&str>) -> Option<Vec<Algorithm>> {
    let names: Vec<&str> = HOST_KEYS.iter().map(Algorithm::as_str).collect();
    let names = assemble(&names, list);
    let found: Vec<Algorithm> = names
        .iter()
        .filter_map(|name| Algorithm::new(name).ok())
        .filter(|algorithm| !matches!(algorithm, Algorithm::Other(_)))
        .collect();
    (!found.is_empty()).then_some(found)
}

/// Applies a list in OpenSSH's notation to the default names.
fn assemble(defaults: &[&str], list: Option<&str>) -> Vec<String> {
    let own = || defaults.iter().map(|name| (*name).to_owned());
    let Some(list) = list else {
        return own().collect();
    };
    let (mark, rest) = match list.chars().next() {
        Some(mark @ ('+' | '-' | '^')) => (Some(mark), &list[1..]),
        _ => (None, list),
    };
    let given: Vec<&str> = rest.split(',').filter(|name| !name.is_empty()).collect();
    let added = given.iter().map(|name| (*name).to_owned());
    let mut names: Vec<String> = match mark {
        Some('+') => own().chain(added).collect(),
        Some('^') => added.chain(own()).collect(),
        Some(_) => own()
            .filter(|name| !given.iter().any(|pattern| pattern::matches(pattern, name)))
            .collect(),
        None => added.collect(),
    };
    let mut seen = Vec::new();
    names.retain(|name| {
        let new = !seen.contains(name);
        seen.push(name.clone());
        new
    });
    names
}

/// Returns whether a list of signature algorithms lets RSA keys sign with SHA-1.
pub(super) fn allows_sha1(list: Option<&str>) -> bool {
    let Some(list) = list else { return false };
    !list.starts_with('-')
        && list
            .trim_start_matches(['+', '^'])
            .split(',')
            .any(|name| name == "ssh-rsa")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_replace_append_remove_and_prepend() {
        let cases = [
            (None, "a,b,c"),
            (Some("c,x"), "c,x"),
            (Some("+x,a"), "a,b,c,x"),
            (Some("-b*,c"), "a"),
            (Some("^c"), "c,a,b"),
        ];
        for (list, expected) in cases {
            assert_eq!(
                assemble(&["a", "b", "c"], list).join(","),
                expected,
                "{list:?}"
            );
        }
    }

    #[test]
    fn a_key_type_known_for_the_host_goes_first() {
        let options = Options::default();
        let preferred = preferred(&options, &["ssh-rsa".to_owned()], false).unwrap();
        let names: Vec<&str> = preferred.key.iter().map(Algorithm::as_str).collect();
        assert_eq!(names[..3], ["rsa-sha2-512", "rsa-sha2-256", "ssh-ed25519"]);
        assert!(preferred.host_key_certificates.is_empty());
    }

    #[test]
    fn names_we_do_not_have_are_passed_over_unless_nothing_is_left() {
        let mut options = Options {
            kex: Some("sntrup761x25519-sha512@openssh.com,curve25519-sha256".into()),
            ..Options::default()
        };
        let chosen = preferred(&options, &[], false).unwrap();
        assert_eq!(chosen.kex[0], kex::CURVE25519);
        options.ciphers = Some("nonsense".into());
        assert_eq!(preferred(&options, &[], false).err(), Some("Ciphers"));
    }

    #[test]
    fn sha1_signatures_are_off_unless_named() {
        assert!(!allows_sha1(None));
        assert!(allows_sha1(Some("+ssh-rsa")));
        assert!(!allows_sha1(Some("-ssh-rsa")));
        assert!(!allows_sha1(Some("rsa-sha2-512")));
    }
}
