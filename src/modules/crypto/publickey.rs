//! `openssl_publickey`: the public key that belongs to a private one, in a file of its own.

use std::path::PathBuf;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::der::Element;
use super::key::{Key, Kind, described, fingerprints};
use super::place::{Place, path_or_null};
use crate::machine::Machine;
use crate::modules::{Diff, Failure, ModuleResult, Outcome};
use crate::value::{Map, Value};

crate::arguments! {
    /// Generate an OpenSSL public key from its private key.
    pub(crate) struct OpensslPublickeyArgs for "community.crypto.openssl_publickey"
    with file_attributes {
        path: PathBuf { required },
        state: String { default: "present", choices: ["present", "absent"] },
        privatekey_path: Option<PathBuf> {},
        privatekey_content: Option<String> { no_log },
        privatekey_passphrase: Option<String> { no_log },
        format: String { default: "PEM", choices: ["OpenSSH", "PEM"] },
        force: bool { default: "false" },
        backup: bool { default: "false" },
        return_content: bool { default: "false" },
        select_crypto_backend: String { default: "auto", choices: ["auto", "cryptography"] },
    }
    mutually_exclusive [["privatekey_path", "privatekey_content"]]
    required_if [("state", "present", ["privatekey_path", "privatekey_content"], true)]
}

/// Brings the key into the wanted state.
pub(crate) fn run_publickey(machine: &mut Machine, args: OpensslPublickeyArgs) -> ModuleResult {
    let mut place = Place::of(machine, &args.path, args.backup)?;
    let before = told(place.bytes.as_deref());
    let mut bytes = place.bytes.clone();
    let mut prints = Map::new();
    let changed = if args.state == "absent" {
        bytes = None;
        place.remove(machine)?
    } else {
        let key = Key::given(
            machine,
            args.privatekey_path.as_ref(),
            args.privatekey_content.as_deref(),
            args.privatekey_passphrase.as_deref(),
        )?;
        let public = key.public(machine)?;
        prints = fingerprints(&public);
        let wanted = if args.format == "OpenSSH" {
            openssh(&public).ok_or_else(|| {
                Failure::new("a key of this kind cannot be written in OpenSSH's format")
            })?
        } else {
            super::pem("PUBLIC KEY", &public)
        };
        let has = |bytes: &[u8]| match args.format.as_str() {
            "OpenSSH" => {
                let text = String::from_utf8_lossy(bytes).into_owned();
                // What stands behind the key is a comment.
                let words: Vec<_> = text.split_whitespace().take(2).collect();
                words.join(" ") == wanted
            }
            _ => super::unpem(bytes, &["PUBLIC KEY"]).is_some_and(|found| found == public),
        };
        let todo = args.force || !place.bytes.as_deref().is_some_and(has);
        if todo {
            let mode = 0o666 & !machine.umask();
            place.write(machine, wanted.clone().into_bytes(), mode)?;
            bytes = Some(wanted.into_bytes());
        }
        place.dress(machine, &args.file)? || todo
    };
    let mut outcome = Outcome::unchanged()
        .with_changed(changed)
        .with("privatekey", path_or_null(args.privatekey_path.as_ref()))
        .with("format", args.format.as_str())
        .with("fingerprint", prints);
    if args.return_content {
        let text = bytes
            .as_ref()
            .map(|bytes| String::from_utf8_lossy(bytes).into_owned());
        outcome = outcome.with("publickey", text.map_or(Value::Null, Value::from));
    }
    let after = told(bytes.as_deref());
    Ok(place.told(outcome.only_diff(Diff::new(before, after))))
}

fn told(bytes: Option<&[u8]>) -> Value {
    let Some(bytes) = bytes else {
        return Map::new().into();
    };
    let public = super::unpem(bytes, &["PUBLIC KEY"]).filter(|public| described(public).is_some());
    let mut map = Map::new();
    map.insert("can_parse_key".into(), public.is_some().into());
    if let Some(public) = public {
        let print = fingerprints(&public).get("sha256").cloned();
        let prints = Value::map([("sha256", print.unwrap_or_default())]);
        map.insert("fingerprints".into(), prints);
    }
    map.into()
}

/// Writes a public key as OpenSSH does: `ssh-rsa AAAA…`.
fn openssh(public: &[u8]) -> Option<String> {
    let (kind, _, curve) = described(public)?;
    let parts = Element::only(public)?.inside()?;
    let bits = parts.get(1)?.bits()?;
    let mut bytes = Vec::new();
    let mut push = |part: &[u8]| {
        let length = u32::try_from(part.len()).expect("a key is short");
        bytes.extend(length.to_be_bytes());
        bytes.extend(part);
    };
    let name = match (kind, curve) {
        (Kind::Rsa, _) => {
            push(b"ssh-rsa");
            let numbers = Element::only(bits)?.inside()?;
            push(numbers.get(1)?.content);
            push(numbers.first()?.content);
            "ssh-rsa".to_owned()
        }
        (Kind::Ed25519, _) => {
            push(b"ssh-ed25519");
            push(bits);
            "ssh-ed25519".to_owned()
        }
        (Kind::Ec, Some(curve)) => {
            let size = match curve {
                "secp256r1" => "nistp256",
                "secp384r1" => "nistp384",
                "secp521r1" => "nistp521",
                _ => return None,
            };
            let name = format!("ecdsa-sha2-{size}");
            push(name.as_bytes());
            push(size.as_bytes());
            push(bits);
            name
        }
        _ => return None,
    };
    Some(format!("{name} {}", STANDARD.encode(bytes)))
}

#[cfg(test)]
mod tests {
    use super::super::testing::{has_openssl, short};
    use crate::modules::testing::Target;

    const NAME: &str = "community.crypto.openssl_publickey";

    #[test]
    fn a_public_key_is_made_once_in_both_formats() {
        if !has_openssl() {
            return;
        }
        let target = Target::new();
        for kind in [
            r#""type": "RSA", "size": 1024"#,
            r#""type": "ECC", "curve": "secp384r1""#,
            r#""type": "Ed25519""#,
        ] {
            let options = format!(r#"{{"path": "$ROOT/key", {kind}}}"#);
            target.run("community.crypto.openssl_privatekey", &options);
            for format in ["PEM", "OpenSSH"] {
                let options = format!(
                    r#"{{"path": "$ROOT/{format}", "privatekey_path": "$ROOT/key", "format": "{format}"}}"#
                );
                assert_eq!(
                    short(&target.run(NAME, &options)),
                    format!(
                        r#"{{"changed":true,"privatekey":"$ROOT/key","format":"{format}","filename":"$ROOT/{format}"}}"#
                    )
                );
                assert!(target.run(NAME, &options).contains(r#""changed":false"#));
            }
        }
        assert!(
            target
                .read("PEM")
                .starts_with("-----BEGIN PUBLIC KEY-----\n")
        );
        assert!(
            target
                .read("OpenSSH")
                .starts_with("ssh-ed25519 AAAAC3NzaC1lZDI1NTE5")
        );
        let none = r#"{"path": "$ROOT/x", "privatekey_path": "$ROOT/none"}"#;
        assert!(
            target
                .run(NAME, none)
                .contains("The private key $ROOT/none does not exist")
        );
    }
}
