//! `openssl_privatekey`: a private key that is there, of a kind and size.

use std::path::PathBuf;

use base64::Engine;

use super::key::{Key, Kind, described, fingerprints, openssl};
use super::place::Place;
use crate::arguments::Mode;
use crate::machine::Machine;
use crate::modules::{Diff, Failure, ModuleResult, Outcome, tool};
use crate::value::{Map, Value};

crate::arguments! {
    /// Generate OpenSSL private keys.
    pub(crate) struct OpensslPrivatekeyArgs for "community.crypto.openssl_privatekey"
    with file_attributes {
        path: PathBuf { required },
        state: String { default: "present", choices: ["present", "absent"] },
        size: i64 { default: "4096" },
        r#type: String {
            default: "RSA",
            choices: ["DSA", "ECC", "Ed25519", "Ed448", "RSA", "X25519", "X448"],
        },
        curve: Option<String> {
            choices: [
                "secp224r1", "secp256k1", "secp256r1", "secp384r1", "secp521r1", "secp192r1",
                "brainpoolP256r1", "brainpoolP384r1", "brainpoolP512r1", "sect163k1", "sect163r2",
                "sect233k1", "sect233r1", "sect283k1", "sect283r1", "sect409k1", "sect409r1",
                "sect571k1", "sect571r1",
            ],
        },
        passphrase: Option<String> { no_log },
        /// Only `auto`: AES with 256 bits.
        cipher: String { default: "auto" },
        format: String {
            default: "auto_ignore",
            choices: ["pkcs1", "pkcs8", "raw", "auto", "auto_ignore"],
        },
        format_mismatch: String { default: "regenerate", choices: ["regenerate", "convert"] },
        /// When a key that is not as wanted is made anew.
        regenerate: String {
            default: "full_idempotence",
            choices: ["never", "fail", "partial_idempotence", "full_idempotence", "always"],
        },
        force: bool { default: "false" },
        backup: bool { default: "false" },
        return_content: bool { default: "false" },
        select_crypto_backend: String { default: "auto", choices: ["auto", "cryptography"] },
    }
    required_if [("type", "ECC", ["curve"], false)]
}

/// Brings the key into the wanted state.
pub(crate) fn run_privatekey(machine: &mut Machine, args: OpensslPrivatekeyArgs) -> ModuleResult {
    let mut place = Place::of(machine, &args.path, args.backup)?;
    let before = told(machine, place.bytes.as_deref(), &args);
    let mut result = Outcome::unchanged()
        .with("type", args.r#type.as_str())
        .with("size", args.size);
    let mut bytes = place.bytes.clone();
    let changed = if args.state == "absent" {
        bytes = None;
        place.remove(machine)?
    } else {
        if args.passphrase.is_some() && args.cipher != "auto" {
            return Err(Failure::new(
                "Cryptography backend can only use \"auto\" for cipher option.",
            ));
        }
        let todo = todo(machine, &args, place.bytes.as_deref())?;
        if todo != Todo::Nothing {
            if machine.is_check() {
                // A key is not made to be thrown away; what will be there is private at least.
                bytes = None;
                place.write(machine, Vec::new(), 0o600)?;
            } else {
                let key = match (todo, &place.bytes) {
                    (Todo::Convert, Some(old)) => old.clone(),
                    _ => generated(machine, &args)?,
                };
                let is_new = todo == Todo::Make;
                let new = written(machine, &args, key, is_new)?;
                place.write(machine, new.clone(), 0o600)?;
                bytes = Some(new);
            }
        }
        let mut wanted = args.file.clone();
        wanted.mode.get_or_insert(Mode::Octal(0o600));
        place.dress(machine, &wanted)? || todo != Todo::Nothing
    };
    let after = told(machine, bytes.as_deref(), &args);
    let public = bytes.as_ref().and_then(|bytes| {
        let key = Key::new(bytes.clone(), args.passphrase.as_deref());
        key.public(machine).ok()
    });
    let prints = public.map_or(Value::Null, |public| fingerprints(&public).into());
    result = result.with("fingerprint", prints).with_changed(changed);
    if let Some(curve) = args.curve.as_deref().filter(|_| args.r#type == "ECC") {
        result = result.with("curve", curve);
    }
    if args.return_content {
        let content = bytes.map_or(Value::Null, |bytes| match String::from_utf8(bytes) {
            Ok(text) if text.contains("-----BEGIN ") => text.into(),
            Ok(text) => encoded(text.as_bytes()),
            Err(error) => encoded(error.as_bytes()),
        });
        result = result.with("privatekey", content);
    }
    Ok(place.told(result.only_diff(Diff::new(before, after))))
}

fn encoded(bytes: &[u8]) -> Value {
    base64::engine::general_purpose::STANDARD
        .encode(bytes)
        .into()
}

/// What is to be done with the key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Todo {
    Nothing,
    Make,
    Convert,
}

fn todo(
    machine: &mut Machine,
    args: &OpensslPrivatekeyArgs,
    found: Option<&[u8]>,
) -> Result<Todo, Failure> {
    let regenerate = if args.force {
        "always"
    } else {
        &args.regenerate
    };
    let Some(bytes) = found.filter(|_| regenerate != "always") else {
        return Ok(Todo::Make);
    };
    let key = Key::new(bytes.to_vec(), args.passphrase.as_deref());
    let makes = |why: &str| match regenerate {
        "partial_idempotence" | "full_idempotence" => Ok(Todo::Make),
        _ => Err(Failure::new(why)),
    };
    let public = if key.format() == "raw" {
        let key = Key::new(unraw(args, bytes).unwrap_or_default(), None);
        key.public(machine)
    } else {
        key.public(machine)
    };
    let Ok(public) = public else {
        if regenerate == "full_idempotence" {
            return Ok(Todo::Make);
        }
        return Err(Failure::new(
            "Unable to read the key. The key is protected with a another passphrase / no \
             passphrase or broken. Will not proceed. To force regeneration, call the module with \
             `generate` set to `full_idempotence` or `always`, or with `force=true`.",
        ));
    };
    if regenerate == "never" {
        return Ok(converts(args, &key));
    }
    let fits = described(&public).is_some_and(|(kind, size, curve)| {
        kind == kind_of(&args.r#type)
            && match kind {
                Kind::Rsa | Kind::Dsa => i64::try_from(size).is_ok_and(|size| size == args.size),
                Kind::Ec => curve == args.curve.as_deref(),
                _ => true,
            }
    });
    if !fits {
        return makes(
            "Key has wrong type and/or size. Will not proceed. To force regeneration, call the \
             module with `generate` set to `partial_idempotence`, `full_idempotence` or `always`, \
             or with `force=true`.",
        );
    }
    if args.format_mismatch == "regenerate" && !has_format(args, &key) {
        return makes(
            "Key has wrong format. Will not proceed. To force regeneration, call the module with \
             `generate` set to `partial_idempotence`, `full_idempotence` or `always`, or with \
             `force=true`. To convert the key, set `format_mismatch` to `convert`.",
        );
    }
    Ok(converts(args, &key))
}

fn converts(args: &OpensslPrivatekeyArgs, key: &Key) -> Todo {
    if args.format_mismatch == "convert" && !has_format(args, key) {
        Todo::Convert
    } else {
        Todo::Nothing
    }
}

fn has_format(args: &OpensslPrivatekeyArgs, key: &Key) -> bool {
    args.format == "auto_ignore" || key.format() == format_of(args)
}

fn format_of(args: &OpensslPrivatekeyArgs) -> &str {
    match (args.format.as_str(), args.r#type.as_str()) {
        ("auto" | "auto_ignore", "X25519" | "X448" | "Ed25519" | "Ed448") => "pkcs8",
        ("auto" | "auto_ignore", _) => "pkcs1",
        (format, _) => format,
    }
}

fn kind_of(name: &str) -> Kind {
    match name {
        "DSA" => Kind::Dsa,
        "ECC" => Kind::Ec,
        "Ed25519" => Kind::Ed25519,
        "Ed448" => Kind::Ed448,
        "X25519" => Kind::X25519,
        "X448" => Kind::X448,
        _ => Kind::Rsa,
    }
}

/// Has a key made, without a passphrase.
fn generated(machine: &mut Machine, args: &OpensslPrivatekeyArgs) -> Result<Vec<u8>, Failure> {
    let size = args.size.to_string();
    let bits = format!("rsa_keygen_bits:{size}");
    let group = match args.curve.as_deref().unwrap_or_default() {
        "secp256r1" => "prime256v1",
        "secp192r1" => "prime192v1",
        other => other,
    };
    let group = format!("ec_paramgen_curve:{group}");
    let upper = args.r#type.to_uppercase();
    let words = match args.r#type.as_str() {
        "RSA" => vec!["genpkey", "-algorithm", "RSA", "-pkeyopt", &bits],
        "DSA" => vec!["dsaparam", "-genkey", "-noout", &size],
        "ECC" => vec![
            "genpkey",
            "-algorithm",
            "EC",
            "-pkeyopt",
            &group,
            "-pkeyopt",
            "ec_param_enc:named_curve",
        ],
        _ => vec!["genpkey", "-algorithm", &upper],
    };
    let command = openssl(machine, &words)?;
    let output = machine.query(&command)?;
    tool::check(Some(&output), |output| {
        format!(
            "cannot make the private key: {}",
            output.stderr_text().trim()
        )
    })?;
    Ok(output.stdout)
}

/// Writes a key in the wanted format, with the passphrase.
fn written(
    machine: &mut Machine,
    args: &OpensslPrivatekeyArgs,
    key: Vec<u8>,
    is_new: bool,
) -> Result<Vec<u8>, Failure> {
    let passphrase = args.passphrase.as_deref().filter(|it| !it.is_empty());
    let format = format_of(args);
    if format == "raw" {
        if passphrase.is_some() {
            return Err(Failure::new("a raw key has no passphrase"));
        }
        let length = raw_length(&args.r#type)?;
        let text = Key::new(key, None).converted(machine, false, None)?;
        let bytes = super::unpem(&text, &["PRIVATE KEY"]).unwrap_or_default();
        let start = bytes.len().saturating_sub(length);
        return Ok(bytes[start..].to_vec());
    }
    let own = if is_new { None } else { passphrase };
    Key::new(key, own).converted(machine, format == "pkcs1", passphrase)
}

fn raw_length(kind: &str) -> Result<usize, Failure> {
    match kind {
        "X25519" | "Ed25519" => Ok(32),
        "X448" => Ok(56),
        "Ed448" => Ok(57),
        _ => Err(Failure::new(format!(
            "Cannot write a key of type {kind} in raw format"
        ))),
    }
}

/// Puts the numbers of a raw key into the structure that `openssl` reads.
fn unraw(args: &OpensslPrivatekeyArgs, bytes: &[u8]) -> Option<Vec<u8>> {
    use super::der;
    let oid = match args.r#type.as_str() {
        "X25519" => "1.3.101.110",
        "X448" => "1.3.101.111",
        "Ed25519" => "1.3.101.112",
        "Ed448" => "1.3.101.113",
        _ => return None,
    };
    let key = der::sequence(&[
        der::number(&[0]),
        der::sequence(&[der::oid(oid)?]),
        der::wrap(der::OCTETS, &der::wrap(der::OCTETS, bytes)),
    ]);
    Some(super::pem("PRIVATE KEY", &key).into_bytes())
}

/// Says what a diff tells of the key.
fn told(machine: &mut Machine, bytes: Option<&[u8]>, args: &OpensslPrivatekeyArgs) -> Value {
    let mut map = Map::new();
    let Some(bytes) = bytes else {
        return map.into();
    };
    let key = Key::new(bytes.to_vec(), args.passphrase.as_deref());
    let public = key.public(machine).ok();
    map.insert("can_parse_key".into(), public.is_some().into());
    if let Some(public) = public {
        let print = fingerprints(&public).get("sha256").cloned();
        let prints = Value::map([("sha256", print.unwrap_or_default())]);
        map.insert("public_key_fingerprints".into(), prints);
    }
    map.into()
}

#[cfg(test)]
mod tests {
    use super::super::testing::{has_openssl, short};
    use crate::modules::testing::Target;

    const NAME: &str = "community.crypto.openssl_privatekey";

    #[test]
    fn a_key_is_made_once_and_anew_only_when_it_is_another() {
        if !has_openssl() {
            return;
        }
        let target = Target::new();
        let run = |options: &str| {
            let options = format!(r#"{{"path": "$ROOT/key", {options}}}"#);
            short(&target.run(NAME, &options))
        };
        let ec = r#""type": "ECC", "curve": "secp256r1""#;
        assert_eq!(
            run(ec),
            r#"{"changed":true,"type":"ECC","size":4096,"curve":"secp256r1","filename":"$ROOT/key"}"#
        );
        let first = target.read("key");
        assert!(
            first.starts_with("-----BEGIN EC PRIVATE KEY-----\n"),
            "{first}"
        );
        assert!(run(ec).contains(r#""changed":false"#));
        assert_eq!(target.read("key"), first);
        let secret = format!(r#"{ec}, "passphrase": "geheim""#);
        assert!(run(&secret).contains(r#""changed":true"#));
        assert!(run(&secret).contains(r#""changed":false"#));
        assert!(target.read("key").contains("ENCRYPTED"));
        let careful =
            format!(r#"{ec}, "passphrase": "anders", "regenerate": "partial_idempotence""#);
        assert!(run(&careful).contains("Unable to read the key."));
        let other = r#""type": "Ed25519", "regenerate": "fail""#;
        assert!(run(other).contains("Unable to read the key."));
        let other = r#""type": "Ed25519", "backup": true"#;
        assert!(run(other).contains("backup_file"));
        assert!(
            target
                .read("key")
                .starts_with("-----BEGIN PRIVATE KEY-----\n")
        );
        let absent = r#""state": "absent""#;
        assert!(run(absent).contains(r#""changed":true"#));
        assert!(run(absent).contains(r#""changed":false"#));
    }

    #[test]
    fn a_key_is_converted_without_becoming_another() {
        if !has_openssl() {
            return;
        }
        let target = Target::new();
        let run = |options: &str| {
            let options =
                format!(r#"{{"path": "$ROOT/key", "type": "RSA", "size": 1024, {options}}}"#);
            target.run(NAME, &options)
        };
        let print = |result: &str| {
            let (_, rest) = result.split_once(r#""sha256":""#).unwrap();
            rest[..95].to_owned()
        };
        let first = print(&run(r#""format": "pkcs1""#));
        assert!(
            target
                .read("key")
                .starts_with("-----BEGIN RSA PRIVATE KEY-----\n")
        );
        let converted = run(r#""format": "pkcs8", "format_mismatch": "convert""#);
        assert!(converted.contains(r#""changed":true"#), "{converted}");
        assert_eq!(print(&converted), first);
        assert!(
            target
                .read("key")
                .starts_with("-----BEGIN PRIVATE KEY-----\n")
        );
        let made = run(r#""format": "pkcs1""#);
        assert_ne!(print(&made), first);
    }
}
