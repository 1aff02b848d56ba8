//! `openssh_keypair`: a private and a public key for SSH, as `ssh-keygen` makes them.
//!
//! Where Ansible takes a Python library instead (`backend: cryptography`, a passphrase), the same
//! program is asked in the library's place.

use std::path::{Path, PathBuf};

use super::place::Place;
use crate::machine::{Command, Machine, Output};
use crate::modules::keygen::Passphrase;
use crate::modules::{Diff, Failure, ModuleResult, Outcome, tool};
use crate::value::{Map, Value};

crate::arguments! {
    /// Generate OpenSSH private and public keys.
    pub(crate) struct OpensshKeypairArgs for "community.crypto.openssh_keypair"
    with file_attributes {
        state: String { default: "present", choices: ["present", "absent"] },
        /// The number of bits; each type has one of its own.
        size: Option<i64> {},
        r#type: String { default: "rsa", choices: ["rsa", "dsa", "rsa1", "ecdsa", "ed25519"] },
        /// Make new keys in any case.
        force: bool { default: "false" },
        /// The private key's file; the public key's ends with `.pub`.
        path: PathBuf { required },
        comment: Option<String> {},
        /// When other keys may be made in place of those that are there.
        regenerate: String {
            default: "partial_idempotence",
            choices: ["never", "fail", "partial_idempotence", "full_idempotence", "always"],
        },
        passphrase: Option<String> { no_log },
        private_key_format: String {
            default: "auto",
            choices: ["auto", "pkcs1", "pkcs8", "ssh"],
        },
        backend: String { default: "auto", choices: ["auto", "cryptography", "opensshbin"] },
    }
}

/// Brings the pair into the wanted state.
pub(crate) fn run_keypair(machine: &mut Machine, args: OpensshKeypairArgs) -> ModuleResult {
    let size = size(&args)?;
    let mut pair = Pair::of(machine, &args, size)?;
    let old = (pair.private_key(machine)?, pair.public_key());
    let mut changed = false;
    let mut new = (None, None);
    if args.state == "absent" {
        changed |= pair.private.bytes.is_some() && pair.private.remove(machine)?;
        changed |= pair.public.bytes.is_some() && pair.public.remove(machine)?;
    } else {
        pair.check_readable(machine, old.0.as_ref())?;
        if pair.must_generate(old.0.as_ref())? {
            pair.generate(machine)?;
            changed = true;
        } else if !pair.is_public_key_right(machine, old.1.as_ref())? {
            pair.restore(machine)?;
            changed = true;
        }
        // In check mode there is no new key to tell of.
        new = if machine.is_check() && changed {
            old.clone()
        } else {
            (pair.private_key(machine)?, pair.public_key())
        };
        for place in [&pair.private, &pair.public] {
            changed |= place.dress(machine, &args.file)?;
        }
    }
    let private = new.0.as_ref().or(old.0.as_ref());
    let public = new.1.as_ref().or(old.1.as_ref());
    let comment = public.map(|key| key.comment.clone()).unwrap_or_default();
    let outcome = Outcome::unchanged()
        .with_changed(changed)
        .with("size", size)
        .with("type", args.r#type.as_str())
        .with("filename", pair.private.shown())
        .with(
            "fingerprint",
            private
                .map(|key| key.fingerprint.clone())
                .unwrap_or_default(),
        )
        .with(
            "public_key",
            public.map(PublicKey::written).unwrap_or_default(),
        )
        .with("comment", comment);
    if !machine.wants_diff() {
        return Ok(outcome);
    }
    Ok(outcome.only_diff(Diff::new(told(&old), told(&new))))
}

fn told((private, public): &(Option<PrivateKey>, Option<PublicKey>)) -> Value {
    let mut map = Map::new();
    if let Some(key) = private {
        map.insert("size".into(), key.size.into());
        map.insert("type".into(), key.kind.as_str().into());
        map.insert("fingerprint".into(), key.fingerprint.as_str().into());
        map.insert("format".into(), key.format.into());
    }
    if let Some(key) = public {
        map.insert("comment".into(), key.comment.as_str().into());
        map.insert("public_key".into(), key.data.as_str().into());
    }
    map.into()
}

/// Returns the number of bits that the type may have.
fn size(args: &OpensshKeypairArgs) -> Result<i64, Failure> {
    match (args.r#type.as_str(), args.size) {
        ("rsa" | "rsa1", Some(size)) if size < 1024 => Err(Failure::new(
            "For RSA keys, the minimum size is 1024 bits and the default is 4096 bits. \
             Attempting to use bit lengths under 1024 will cause the module to fail.",
        )),
        ("rsa" | "rsa1", size) => Ok(size.unwrap_or(4096)),
        ("dsa", None | Some(1024)) => Ok(1024),
        ("dsa", _) => Err(Failure::new(
            "DSA keys must be exactly 1024 bits as specified by FIPS 186-2.",
        )),
        ("ecdsa", size @ (None | Some(256 | 384 | 521))) => Ok(size.unwrap_or(256)),
        ("ecdsa", _) => Err(Failure::new(
            "For ECDSA keys, size determines the key length by selecting from one of three \
             elliptic curve sizes: 256, 384 or 521 bits. Attempting to use bit lengths other than \
             these three values for ECDSA keys will cause this module to fail.",
        )),
        _ => Ok(256),
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct PrivateKey {
    size: i64,
    kind: String,
    fingerprint: String,
    /// `SSH`, `PKCS1` or `PKCS8`, where Ansible's library would read it.
    format: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct PublicKey {
    kind: String,
    data: String,
    comment: String,
}

impl PublicKey {
    fn read(text: &str) -> Option<Self> {
        let mut words = text.trim_matches([' ', '\n']).splitn(3, ' ');
        Some(Self {
            kind: words.next()?.to_owned(),
            data: words.next()?.to_owned(),
            comment: words.next().unwrap_or_default().to_owned(),
        })
    }

    fn written(&self) -> String {
        format!("{} {}", self.kind, self.data)
    }
}

/// The two files, and how they are read.
struct Pair<'a> {
    args: &'a OpensshKeypairArgs,
    private: Place,
    public: Place,
    size: i64,
    regenerate: &'a str,
    /// Whether Ansible would take the library.
    is_library: bool,
    passphrase: Option<Passphrase>,
}

impl<'a> Pair<'a> {
    fn of(machine: &mut Machine, args: &'a OpensshKeypairArgs, size: i64) -> Result<Self, Failure> {
        let passphrase = args.passphrase.as_deref().filter(|text| !text.is_empty());
        let is_library = match args.backend.as_str() {
            "auto" => passphrase.is_some(),
            backend => backend == "cryptography",
        };
        if tool::found(machine, "ssh-keygen").is_none() {
            return Err(Failure::new("Cannot find the OpenSSH binary in the PATH"));
        }
        let path = machine.expand(&args.path);
        if machine.is_dir(&path)? {
            return Err(Failure::new(format!(
                "{} is a directory. Please specify a path to a file.",
                path.display()
            )));
        }
        let private = Place::of(machine, &path, false)?;
        let public = PathBuf::from(format!("{}.pub", path.display()));
        let public = Place::of(machine, &public, false)?;
        let format = args.private_key_format.as_str();
        match (is_library, args.r#type.as_str(), format) {
            (false, _, "auto") | (true, "rsa" | "dsa" | "ecdsa", _) => {}
            (false, ..) => {
                return Err(Failure::new(
                    "'auto' is the only valid option for 'private_key_format' when 'backend' is \
                     not 'cryptography'",
                ));
            }
            (true, "rsa1", _) => {
                return Err(Failure::new(
                    "RSA1 keys are not supported by the cryptography backend",
                ));
            }
            (true, kind, "pkcs1" | "pkcs8") => {
                return Err(Failure::new(format!(
                    "{kind} keys cannot be represented in {} format",
                    format.to_uppercase()
                )));
            }
            (true, ..) => {}
        }
        Ok(Self {
            args,
            private,
            public,
            size,
            regenerate: if args.force {
                "always"
            } else {
                &args.regenerate
            },
            is_library,
            passphrase: match passphrase.filter(|_| is_library) {
                Some(passphrase) => Some(Passphrase::new(machine, passphrase)?),
                None => None,
            },
        })
    }

    /// Describes the private key; none where there is none, or none that can be read.
    fn private_key(&self, machine: &mut Machine) -> Result<Option<PrivateKey>, Failure> {
        if !machine.exists(&self.private.path)? {
            return Ok(None);
        }
        let shown = if self.is_library {
            let output = self.public_half(machine, &self.private.path)?;
            if !output.success() {
                return Ok(None);
            }
            let file = machine.temporary_file(&output.stdout)?;
            ask(machine, &["-l", "-f"], file.path())?
        } else {
            ask(machine, &["-l", "-f"], &self.private.path)?
        };
        if !shown.success() {
            return Ok(None);
        }
        let text = shown.stdout_text();
        let words: Vec<_> = text.split_whitespace().collect();
        let (Some(size), Some(fingerprint), Some(kind)) = (
            words.first().and_then(|size| size.parse().ok()),
            words.get(1),
            words.last(),
        ) else {
            return Ok(None);
        };
        let format = if self.is_library {
            format_of(&machine.read(&self.private.path)?)
        } else {
            ""
        };
        Ok(Some(PrivateKey {
            size,
            kind: kind.trim_matches(['(', ')']).to_lowercase(),
            fingerprint: (*fingerprint).to_owned(),
            format,
        }))
    }

    /// Reads the public key's file.
    fn public_key(&self) -> Option<PublicKey> {
        let bytes = self.public.bytes.as_deref()?;
        PublicKey::read(std::str::from_utf8(bytes).ok()?)
    }

    /// Has the public half of a private key written.
    fn public_half(&self, machine: &mut Machine, path: &Path) -> Result<Output, Failure> {
        let Some(passphrase) = &self.passphrase else {
            return ask(machine, &["-P", "", "-y", "-f"], path);
        };
        let command = passphrase.told_to(keygen(machine, &["-y", "-f"], path)?);
        Ok(machine.query(&command)?)
    }

    fn check_readable(
        &self,
        machine: &mut Machine,
        old: Option<&PrivateKey>,
    ) -> Result<(), Failure> {
        let is_replaced = matches!(self.regenerate, "full_idempotence" | "always");
        if self.private.bytes.is_none() || is_replaced {
            return Ok(());
        }
        let path = &self.private.path;
        let mut is_readable = old.is_some() && self.public_half(machine, path)?.success();
        if is_readable && self.passphrase.is_some() {
            // One that needs no passphrase is not protected as it should be.
            is_readable = !ask(machine, &["-P", "", "-y", "-f"], path)?.success();
        }
        if is_readable {
            return Ok(());
        }
        Err(Failure::new(
            "Unable to read the key. The key is protected with a passphrase or broken. Will not \
             proceed. To force regeneration, call the module with `generate` set to \
             `full_idempotence` or `always`, or with `force=true`.",
        ))
    }

    fn must_generate(&self, old: Option<&PrivateKey>) -> Result<bool, Failure> {
        let Some(old) = old else {
            return Ok(true);
        };
        let format = self.args.private_key_format.as_str();
        let is_right = self.size == old.size
            && self.args.r#type == old.kind
            && (format == "auto" || format.eq_ignore_ascii_case(old.format));
        match self.regenerate {
            "never" => Ok(false),
            "always" => Ok(true),
            "fail" if !is_right => Err(Failure::new(
                "Key has wrong type and/or size. Will not proceed. To force regeneration, call \
                 the module with `generate` set to `partial_idempotence`, `full_idempotence` or \
                 `always`, or with `force=true`.",
            )),
            _ => Ok(!is_right),
        }
    }

    fn generate(&mut self, machine: &mut Machine) -> Result<(), Failure> {
        let (mut private, mut public) = (Vec::new(), Vec::new());
        // No key is thrown away for a look at what would be.
        if !machine.is_check() {
            let directory = machine.temporary_dir()?;
            let path = directory.path().join("key");
            let size = self.size.to_string();
            let comment = self.args.comment.as_deref().unwrap_or_default();
            let mut words = vec!["-q", "-b", &size, "-t", &self.args.r#type, "-C", comment];
            match self.args.private_key_format.as_str() {
                "pkcs1" => words.extend(["-m", "PEM"]),
                "pkcs8" => words.extend(["-m", "PKCS8"]),
                _ => {}
            }
            if self.passphrase.is_none() {
                words.extend(["-N", ""]);
            }
            words.push("-f");
            let mut command = keygen(machine, &words, &path)?;
            if let Some(passphrase) = &self.passphrase {
                command = passphrase.told_to(command);
            }
            let output = machine.query(&command)?;
            tool::check(Some(&output), tool::complaint)?;
            private = machine.read(&path)?;
            public = machine.read(&directory.path().join("key.pub"))?;
            if self.is_library {
                public.truncate(public.trim_ascii_end().len());
            }
        }
        self.private.write(machine, private.clone(), 0o600)?;
        self.public.write(machine, public.clone(), 0o644)?;
        self.private.bytes = Some(private);
        self.public.bytes = Some(public);
        Ok(())
    }

    fn is_public_key_right(
        &self,
        machine: &mut Machine,
        old: Option<&PublicKey>,
    ) -> Result<bool, Failure> {
        let Some(old) = old else {
            return Ok(false);
        };
        let output = self.public_half(machine, &self.private.path)?;
        tool::check(Some(&output), tool::complaint)?;
        let found = PublicKey::read(&output.stdout_text());
        let is_right = |found: PublicKey| {
            let comment = self.args.comment.as_ref();
            found.kind == old.kind
                && found.data == old.data
                && comment.is_none_or(|comment| *comment == old.comment)
        };
        Ok(found.is_some_and(is_right))
    }

    /// Writes the public key that belongs to the private one, with its comment.
    fn restore(&mut self, machine: &mut Machine) -> Result<(), Failure> {
        let output = self.public_half(machine, &self.private.path)?;
        let found = PublicKey::read(&output.stdout_text()).filter(|_| output.success());
        let found = found.ok_or_else(|| {
            Failure::new(
                "The public key is missing or does not match the private key. Unable to \
                 regenerate the public key.",
            )
        })?;
        let mut public = format!("{}\n", found.written()).into_bytes();
        match self
            .args
            .comment
            .as_deref()
            .filter(|comment| !comment.is_empty())
        {
            Some(comment) if self.is_library => {
                public = format!("{} {comment}\n", found.written()).into_bytes();
            }
            // The program writes the comment into both files.
            Some(comment) => {
                let private = machine.read(&self.private.path)?;
                let copy = machine.temporary_program("key", &private)?;
                let words = ["-q", "-c", "-P", "", "-C", comment, "-f"];
                let output = ask(machine, &words, copy.path())?;
                tool::check(Some(&output), tool::complaint)?;
                let private = machine.read(copy.path())?;
                let named = PathBuf::from(format!("{}.pub", copy.path().display()));
                public = machine.read(&named)?;
                self.private.write(machine, private.clone(), 0o600)?;
                self.private.bytes = Some(private);
            }
            None => {}
        }
        self.public.write(machine, public.clone(), 0o644)?;
        self.public.bytes = Some(public);
        Ok(())
    }
}

/// Names the format of a private key's file.
fn format_of(bytes: &[u8]) -> &'static str {
    let text = String::from_utf8_lossy(bytes);
    match text.lines().next().unwrap_or_default().trim() {
        "-----BEGIN OPENSSH PRIVATE KEY-----" => "SSH",
        "-----BEGIN PRIVATE KEY-----" | "-----BEGIN ENCRYPTED PRIVATE KEY-----" => "PKCS8",
        "-----BEGIN RSA PRIVATE KEY-----"
        | "-----BEGIN DSA PRIVATE KEY-----"
        | "-----BEGIN EC PRIVATE KEY-----" => "PKCS1",
        _ => "",
    }
}

fn keygen(machine: &Machine, words: &[&str], path: &Path) -> Result<Command, Failure> {
    let mut argv = vec![tool::required(machine, "ssh-keygen")?];
    argv.extend(words.iter().map(|word| (*word).to_owned()));
    Ok(tool::command(&argv).arg(path))
}

fn ask(machine: &mut Machine, words: &[&str], path: &Path) -> Result<Output, Failure> {
    let command = keygen(machine, words, path)?;
    Ok(machine.query(&command)?)
}

#[cfg(test)]
mod tests {
    use crate::modules::testing::Target;

    const NAME: &str = "community.crypto.openssh_keypair";

    fn has_keygen() -> bool {
        std::path::Path::new("/usr/bin/ssh-keygen").exists()
    }

    /// Runs the module and hides what is drawn at random.
    fn run(target: &Target, options: &str) -> String {
        let result = target.run(NAME, &format!(r#"{{"path": "$ROOT/key", {options}}}"#));
        let hidden = result.split('"').map(|part| {
            let kind = part.split(' ').next().unwrap_or_default();
            if part.starts_with("SHA256:") {
                "PRINT".to_owned()
            } else if part.starts_with("AAAA") {
                "DATA".to_owned()
            } else if part.contains(" AAAA") {
                format!("{kind} DATA")
            } else {
                part.to_owned()
            }
        });
        hidden.collect::<Vec<_>>().join("\"")
    }

    /// Recorded from community.crypto 3.
    #[test]
    fn a_pair_is_made_once_commented_and_removed() {
        if !has_keygen() {
            return;
        }
        let target = Target::new().diff();
        let told =
            r#""filename":"$ROOT/key","fingerprint":"PRINT","public_key":"ssh-ed25519 DATA""#;
        let keys = |comment: &str| {
            format!(
                r#"{{"size":256,"type":"ed25519","fingerprint":"PRINT","format":"","comment":"{comment}","public_key":"DATA"}}"#
            )
        };
        let result = |changed: bool, comment: &str, before: &str, after: &str| {
            format!(
                r#"{{"changed":{changed},"size":256,"type":"ed25519",{told},"comment":"{comment}","diff":{{"before":{before},"after":{after}}}}}"#
            )
        };
        let plain = r#""type": "ed25519""#;
        assert_eq!(run(&target, plain), result(true, "", "{}", &keys("")));
        assert_eq!(run(&target, plain), result(false, "", &keys(""), &keys("")));
        let commented = r#""type": "ed25519", "comment": "me@x""#;
        assert_eq!(
            run(&target, commented),
            result(true, "me@x", &keys(""), &keys("me@x"))
        );
        assert_eq!(
            run(&target, commented),
            result(false, "me@x", &keys("me@x"), &keys("me@x"))
        );
        assert_eq!(
            run(&target, plain),
            result(false, "me@x", &keys("me@x"), &keys("me@x"))
        );
        let absent = r#""state": "absent", "type": "ed25519""#;
        assert_eq!(
            run(&target, absent),
            result(true, "me@x", &keys("me@x"), "{}")
        );
        assert!(!target.path("key").exists() && !target.path("key.pub").exists());
        assert!(run(&target, absent).starts_with(r#"{"changed":false"#));
    }

    #[test]
    fn other_keys_are_made_only_where_that_is_allowed() {
        if !has_keygen() {
            return;
        }
        let target = Target::new();
        run(&target, r#""type": "ecdsa""#);
        let fails = |options: &str, why: &str| {
            let result = run(&target, options);
            assert!(
                result.contains(r#""failed":true"#) && result.contains(why),
                "{result}"
            );
        };
        fails(
            r#""type": "ed25519", "regenerate": "fail""#,
            "Key has wrong type and/or size",
        );
        let kept = run(&target, r#""type": "ed25519", "regenerate": "never""#);
        assert!(kept.contains(r#""changed":false"#), "{kept}");
        let other = run(&target, r#""type": "ecdsa", "size": 384"#);
        assert!(other.contains("ecdsa-sha2-nistp384 DATA"), "{other}");
        target.machine().remove(&target.path("key.pub")).unwrap();
        let restored = run(&target, r#""type": "ecdsa", "size": 384"#);
        assert!(restored.contains(r#""changed":true"#), "{restored}");
        assert!(target.read("key.pub").starts_with("ecdsa-sha2-nistp384 "));
        fails(r#""type": "ecdsa", "size": 100"#, "256, 384 or 521 bits");
        fails(
            r#""type": "rsa", "size": 512"#,
            "the minimum size is 1024 bits",
        );
        fails(
            r#""private_key_format": "ssh""#,
            "'auto' is the only valid option",
        );
        let broken = Target::new().file("key", "broken");
        let result = run(&broken, r#""type": "ed25519""#);
        assert!(result.contains("Unable to read the key."), "{result}");
        let result = run(
            &broken,
            r#""type": "ed25519", "regenerate": "full_idempotence""#,
        );
        assert!(result.contains(r#""changed":true"#), "{result}");
    }

    #[test]
    fn a_passphrase_protects_the_key() {
        if !has_keygen() {
            return;
        }
        let target = Target::new();
        let with = |passphrase: &str, more: &str| {
            run(
                &target,
                &format!(r#""type": "ed25519", "passphrase": "{passphrase}"{more}"#),
            )
        };
        assert!(with("geheim", "").starts_with(r#"{"changed":true"#));
        assert!(with("geheim", "").starts_with(r#"{"changed":false"#));
        assert!(with("falsch", "").contains("Unable to read the key."));
        assert!(run(&target, r#""type": "ed25519""#).contains("Unable to read the key."));
        let commented = with("geheim", r#", "comment": "me@x""#);
        assert!(commented.starts_with(r#"{"changed":true"#), "{commented}");
        assert!(target.read("key.pub").ends_with(" me@x\n"));
        for (format, start) in [
            ("pkcs1", "-----BEGIN RSA PRIVATE KEY-----"),
            ("pkcs8", "-----BEGIN PRIVATE KEY-----"),
        ] {
            let options = format!(
                r#""type": "rsa", "size": 1024, "backend": "cryptography", "private_key_format": "{format}", "regenerate": "full_idempotence""#
            );
            assert!(run(&target, &options).starts_with(r#"{"changed":true"#));
            assert!(target.read("key").starts_with(start));
            assert!(run(&target, &options).starts_with(r#"{"changed":false"#));
        }
    }
}
