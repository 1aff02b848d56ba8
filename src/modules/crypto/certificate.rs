//! `x509_certificate`: a certificate that signs itself, or that an authority of ours has signed.

use std::path::PathBuf;

use jiff::civil::DateTime;

use super::extensions::{self as ext, Extension};
use super::key::Key;
use super::place::{Place, path_or_null};
use super::signed::{Algorithm, Certificate, Request, Unsigned, closed};
use super::{der, number, times};
use crate::machine::Machine;
use crate::modules::{Diff, Failure, ModuleResult, Outcome};
use crate::value::{Map, Value};

crate::arguments! {
    /// Generate and/or check OpenSSL certificates.
    pub(crate) struct X509CertificateArgs for "community.crypto.x509_certificate"
    with file_attributes {
        path: PathBuf { required },
        state: String { default: "present", choices: ["present", "absent"] },
        /// Who signs: the key itself, or an authority of ours.
        provider: Option<String> { choices: ["ownca", "selfsigned"] },
        privatekey_path: Option<PathBuf> {},
        privatekey_content: Option<String> { no_log },
        privatekey_passphrase: Option<String> { no_log },
        csr_path: Option<PathBuf> {},
        csr_content: Option<String> {},
        /// Leave a certificate alone that differs only in its times.
        ignore_timestamps: bool { default: "true" },
        force: bool { default: "false" },
        backup: bool { default: "false" },
        return_content: bool { default: "false" },
        select_crypto_backend: String { default: "auto", choices: ["auto", "cryptography"] },
        selfsigned_version: i64 { default: "3", choices: ["3"] },
        selfsigned_digest: String { default: "sha256" },
        selfsigned_not_before: String { default: "+0s", aliases: ["selfsigned_notBefore"] },
        selfsigned_not_after: String { default: "+3650d", aliases: ["selfsigned_notAfter"] },
        selfsigned_create_subject_key_identifier: String {
            default: "create_if_not_provided",
            choices: ["create_if_not_provided", "always_create", "never_create"],
        },
        ownca_path: Option<PathBuf> {},
        ownca_content: Option<String> {},
        ownca_privatekey_path: Option<PathBuf> {},
        ownca_privatekey_content: Option<String> { no_log },
        ownca_privatekey_passphrase: Option<String> { no_log },
        ownca_digest: String { default: "sha256" },
        ownca_version: i64 { default: "3", choices: ["3"] },
        ownca_not_before: String { default: "+0s" },
        ownca_not_after: String { default: "+3650d" },
        ownca_create_subject_key_identifier: String {
            default: "create_if_not_provided",
            choices: ["create_if_not_provided", "always_create", "never_create"],
        },
        ownca_create_authority_key_identifier: bool { default: "true" },
    }
    mutually_exclusive [
        ["privatekey_path", "privatekey_content"],
        ["csr_path", "csr_content"],
        ["ownca_path", "ownca_content"],
        ["ownca_privatekey_path", "ownca_privatekey_content"],
    ]
    required_if [("state", "present", ["provider"], false)]
}

/// Brings the certificate into the wanted state.
pub(crate) fn run_certificate(machine: &mut Machine, args: X509CertificateArgs) -> ModuleResult {
    let csr = path_or_null(args.csr_path.as_ref());
    let key = path_or_null(args.privatekey_path.as_ref());
    let outcome = Outcome::unchanged()
        .with("privatekey", key)
        .with("csr", csr);
    if args.state == "absent" {
        return absent(machine, &args, outcome);
    }
    let mut place = Place::of(machine, &args.path, args.backup)?;
    let before = told(place.bytes.as_deref());
    let plan = if args.provider.as_deref() == Some("ownca") {
        Plan::of_authority(machine, &args)?
    } else {
        Plan::of_itself(machine, &args)?
    };
    let found = place.bytes.as_deref().and_then(Certificate::read);
    let fits = match &found {
        Some(found) if !args.force => plan.fits(machine, &args, found)?,
        _ => false,
    };
    let mut bytes = place.bytes.clone();
    if !fits {
        let text = plan.signed(machine)?;
        let mode = 0o666 & !machine.umask();
        place.write(machine, text.clone(), mode)?;
        bytes = Some(text);
    }
    let changed = place.dress(machine, &args.file)? || !fits;
    let written = bytes.as_deref().and_then(Certificate::read);
    let (not_before, not_after, serial) = match &written {
        Some(written) if fits || !machine.is_check() => (
            written.not_before,
            written.not_after,
            written.serial.clone(),
        ),
        _ => (plan.not_before, plan.not_after, plan.serial.to_vec()),
    };
    let mut outcome = outcome
        .with_changed(changed)
        .with("notBefore", times::shown(not_before))
        .with("notAfter", times::shown(not_after))
        .with("serial_number", number(&serial));
    if args.provider.as_deref() == Some("ownca") {
        outcome = outcome
            .with("ca_cert", path_or_null(args.ownca_path.as_ref()))
            .with(
                "ca_privatekey",
                path_or_null(args.ownca_privatekey_path.as_ref()),
            );
    }
    if args.return_content {
        let text = bytes
            .as_ref()
            .map(|bytes| String::from_utf8_lossy(bytes).into_owned());
        outcome = outcome.with("certificate", text.map_or(Value::Null, Value::from));
    }
    let after = told(bytes.as_deref());
    Ok(place.told(outcome.only_diff(Diff::new(before, after))))
}

fn absent(machine: &mut Machine, args: &X509CertificateArgs, outcome: Outcome) -> ModuleResult {
    let path = machine.expand(&args.path);
    let mut outcome = outcome;
    if args.return_content {
        outcome = outcome.with("certificate", Value::Null);
    }
    if !machine.exists(&path)? {
        return Ok(outcome.with("filename", path.display().to_string()));
    }
    let mut place = Place::of(machine, &args.path, args.backup)?;
    let changed = place.remove(machine)?;
    Ok(place.told(outcome.with_changed(changed)))
}

/// The certificate that is wanted.
struct Plan {
    subject: Vec<u8>,
    issuer: Vec<u8>,
    public: Vec<u8>,
    extensions: Vec<Extension>,
    not_before: DateTime,
    not_after: DateTime,
    serial: [u8; 20],
    /// Who signs, and how.
    signer: Key,
    signer_public: Vec<u8>,
    algorithm: Algorithm,
    /// The public key that belongs to the private key that was named.
    own: Option<Vec<u8>>,
    request: Request,
    makes_subject_key: String,
    authority_key: Option<Vec<u8>>,
}

impl Plan {
    fn of_itself(machine: &mut Machine, args: &X509CertificateArgs) -> Result<Self, Failure> {
        if args.privatekey_path.is_none() && args.privatekey_content.is_none() {
            return Err(Failure::new(
                "One of privatekey_path and privatekey_content must be specified for the \
                 selfsigned provider.",
            ));
        }
        let signer = own_key(machine, args)?;
        let public = signer.public(machine)?;
        let algorithm = Algorithm::of(&public, &args.selfsigned_digest)?;
        let request = match request(machine, args)? {
            Some(request) => request,
            None => {
                // Without a request there is a certificate that says nothing.
                let unsigned = Request::unsigned(&der::sequence(&[]), &public, &[]);
                let signed = closed(machine, unsigned, &signer, &algorithm)?;
                Request::read(super::pem("CERTIFICATE REQUEST", &signed).as_bytes())
                    .ok_or_else(|| Failure::new("cannot write an empty request"))?
            }
        };
        let now = times::now();
        Ok(Self {
            subject: request.subject.clone(),
            issuer: request.subject.clone(),
            extensions: extensions(
                &request,
                &args.selfsigned_create_subject_key_identifier,
                None,
            ),
            not_before: times::wanted(&args.selfsigned_not_before, "selfsigned_not_before", now)?,
            not_after: times::wanted(&args.selfsigned_not_after, "selfsigned_not_after", now)?,
            serial: serial(),
            signer,
            own: Some(public.clone()),
            signer_public: public.clone(),
            public,
            algorithm,
            makes_subject_key: args.selfsigned_create_subject_key_identifier.clone(),
            authority_key: None,
            request,
        })
    }

    fn of_authority(machine: &mut Machine, args: &X509CertificateArgs) -> Result<Self, Failure> {
        let refuse = |msg: &str| Err(Failure::new(msg));
        if args.ownca_path.is_none() && args.ownca_content.is_none() {
            return refuse(
                "One of ownca_path and ownca_content must be specified for the ownca provider.",
            );
        }
        if args.ownca_privatekey_path.is_none() && args.ownca_privatekey_content.is_none() {
            return refuse(
                "One of ownca_privatekey_path and ownca_privatekey_content must be specified for \
                 the ownca provider.",
            );
        }
        let Some(request) = request(machine, args)? else {
            return refuse("csr_path or csr_content is required for ownca provider");
        };
        let text = match (&args.ownca_content, &args.ownca_path) {
            (Some(text), _) => text.as_bytes().to_vec(),
            (None, path) => {
                let path = machine.expand(&path.clone().unwrap_or_default());
                if !machine.exists(&path)? {
                    return Err(Failure::new(format!(
                        "The CA certificate file {} does not exist",
                        path.display()
                    )));
                }
                machine.read(&path)?
            }
        };
        let Some(authority) = Certificate::read(&text) else {
            return refuse("Unable to load certificate of the CA");
        };
        let signer = Key::given(
            machine,
            args.ownca_privatekey_path.as_ref(),
            args.ownca_privatekey_content.as_deref(),
            args.ownca_privatekey_passphrase.as_deref(),
        )?;
        let signer_public = signer.public(machine)?;
        if signer_public != authority.public {
            return refuse("The CA private key does not belong to the CA certificate");
        }
        let own = if args.privatekey_path.is_some() || args.privatekey_content.is_some() {
            let key = own_key(machine, args)?;
            Some(key.public(machine)?)
        } else {
            None
        };
        let authority_key = args
            .ownca_create_authority_key_identifier
            .then(|| authority_key(&authority))
            .flatten();
        let now = times::now();
        Ok(Self {
            subject: request.subject.clone(),
            issuer: authority.subject.clone(),
            public: request.public.clone(),
            extensions: extensions(
                &request,
                &args.ownca_create_subject_key_identifier,
                authority_key.as_deref(),
            ),
            not_before: times::wanted(&args.ownca_not_before, "ownca_not_before", now)?,
            not_after: times::wanted(&args.ownca_not_after, "ownca_not_after", now)?,
            serial: serial(),
            algorithm: Algorithm::of(&signer_public, &args.ownca_digest)?,
            signer,
            signer_public,
            own,
            makes_subject_key: args.ownca_create_subject_key_identifier.clone(),
            authority_key,
            request,
        })
    }

    /// Tells whether a certificate needs no change.
    fn fits(
        &self,
        machine: &mut Machine,
        args: &X509CertificateArgs,
        found: &Certificate,
    ) -> Result<bool, Failure> {
        if self.own.as_ref().is_some_and(|own| *own != found.public)
            || found.public != self.request.public
            || found.subject != self.subject
            || found.issuer != self.issuer
        {
            return Ok(false);
        }
        let left_out = |extension: &&Extension| {
            let is_subject_key = extension.oid == ext::SUBJECT_KEY;
            let is_authority_key = extension.oid == ext::AUTHORITY_KEY;
            !(is_subject_key && self.makes_subject_key != "never_create"
                || is_authority_key && self.authority_key.is_some())
        };
        let of = |all: &[Extension]| -> Vec<Extension> {
            all.iter().filter(left_out).cloned().collect()
        };
        if !ext::same(&of(&found.extensions), &of(&self.request.extensions)) {
            return Ok(false);
        }
        for oid in [ext::SUBJECT_KEY, ext::AUTHORITY_KEY] {
            let wanted = self
                .extensions
                .iter()
                .find(|extension| extension.oid == oid);
            if wanted.is_some() && found.extension(oid) != wanted {
                return Ok(false);
            }
        }
        let has_times = found.not_before == self.not_before && found.not_after == self.not_after;
        if !args.ignore_timestamps && !has_times {
            return Ok(false);
        }
        Ok(self
            .request
            .signature
            .is_of(machine, &self.request.public)?
            && found.signature.is_of(machine, &self.signer_public)?)
    }

    fn signed(&self, machine: &mut Machine) -> Result<Vec<u8>, Failure> {
        let unsigned = Unsigned {
            serial: &self.serial,
            issuer: &self.issuer,
            not_before: self.not_before,
            not_after: self.not_after,
            subject: &self.subject,
            public: &self.public,
            extensions: &self.extensions,
        };
        let bytes = unsigned.encoded(&self.algorithm);
        let signed = closed(machine, bytes, &self.signer, &self.algorithm)?;
        Ok(super::pem("CERTIFICATE", &signed).into_bytes())
    }
}

fn own_key(machine: &mut Machine, args: &X509CertificateArgs) -> Result<Key, Failure> {
    Key::given(
        machine,
        args.privatekey_path.as_ref(),
        args.privatekey_content.as_deref(),
        args.privatekey_passphrase.as_deref(),
    )
}

fn request(machine: &mut Machine, args: &X509CertificateArgs) -> Result<Option<Request>, Failure> {
    let text = match (&args.csr_content, &args.csr_path) {
        (Some(text), _) => text.as_bytes().to_vec(),
        (None, Some(path)) => {
            let path = machine.expand(path);
            if !machine.exists(&path)? {
                return Err(Failure::new(format!(
                    "The certificate signing request file {} does not exist",
                    path.display()
                )));
            }
            machine.read(&path)?
        }
        (None, None) => return Ok(None),
    };
    match Request::read(&text) {
        Some(request) => Ok(Some(request)),
        None => Err(Failure::new("Unable to load certificate signing request")),
    }
}

fn extensions(
    request: &Request,
    makes_subject_key: &str,
    authority_key: Option<&[u8]>,
) -> Vec<Extension> {
    let mut all: Vec<Extension> = request
        .extensions
        .iter()
        .filter(|extension| {
            !(extension.oid == ext::SUBJECT_KEY && makes_subject_key == "always_create"
                || extension.oid == ext::AUTHORITY_KEY && authority_key.is_some())
        })
        .cloned()
        .collect();
    let has_key = all
        .iter()
        .any(|extension| extension.oid == ext::SUBJECT_KEY);
    if !has_key
        && makes_subject_key != "never_create"
        && let Some(bytes) = ext::key_identifier(&request.public)
    {
        let value = der::wrap(der::OCTETS, &bytes);
        all.push(Extension::new(ext::SUBJECT_KEY, false, value));
    }
    if let Some(bytes) = authority_key {
        let value = der::sequence(&[der::wrap(der::context_primitive(0), bytes)]);
        all.push(Extension::new(ext::AUTHORITY_KEY, false, value));
    }
    all
}

/// Returns what certificates call the authority's key.
fn authority_key(authority: &Certificate) -> Option<Vec<u8>> {
    let own = authority.extension(ext::SUBJECT_KEY);
    let own =
        own.and_then(|extension| Some(der::Element::only(&extension.value)?.content.to_vec()));
    own.or_else(|| ext::key_identifier(&authority.public))
}

/// Returns a random number of 159 bits, as authorities take them.
fn serial() -> [u8; 20] {
    let mut bytes: [u8; 20] = rand::random();
    bytes[0] &= 0x7f;
    bytes[0] |= 0x40;
    bytes
}

/// Says what a diff tells of a certificate.
fn told(text: Option<&[u8]>) -> Value {
    let Some(text) = text else {
        return Map::new().into();
    };
    let Some(certificate) = Certificate::read(text) else {
        return Value::map([("can_parse_certificate", false)]);
    };
    Value::map([
        ("can_parse_certificate", Value::from(true)),
        ("not_before", times::shown(certificate.not_before).into()),
        ("not_after", times::shown(certificate.not_after).into()),
        ("serial_number", number(&certificate.serial)),
    ])
}

#[cfg(test)]
mod tests {
    use super::super::testing::{has_openssl, short};
    use super::number;
    use crate::modules::testing::Target;
    use crate::value::Value;

    const NAME: &str = "community.crypto.x509_certificate";

    fn prepared() -> Option<Target> {
        if !has_openssl() {
            return None;
        }
        let target = Target::new();
        for (name, kind) in [
            (
                "ca",
                r#""type": "RSA", "size": 2048, "passphrase": "geheim""#,
            ),
            ("key", r#""type": "ECC", "curve": "secp256r1""#),
            ("ed", r#""type": "Ed25519""#),
        ] {
            let options = format!(r#"{{"path": "$ROOT/{name}.key", {kind}}}"#);
            target.run("community.crypto.openssl_privatekey", &options);
        }
        let csr = "community.crypto.openssl_csr";
        target.run(csr, r#"{"path": "$ROOT/ca.csr", "privatekey_path": "$ROOT/ca.key", "privatekey_passphrase": "geheim", "common_name": "our ca", "use_common_name_for_san": false, "basic_constraints": ["CA:TRUE"], "basic_constraints_critical": true, "key_usage": ["keyCertSign"]}"#);
        target.run(csr, r#"{"path": "$ROOT/key.csr", "privatekey_path": "$ROOT/key.key", "common_name": "www.example.com"}"#);
        target.run(
            csr,
            r#"{"path": "$ROOT/ed.csr", "privatekey_path": "$ROOT/ed.key", "common_name": "ed"}"#,
        );
        Some(target)
    }

    #[expect(clippy::disallowed_methods, reason = "openssl is the judge")]
    fn openssl(target: &Target, words: &str) -> String {
        let root = target.path("").display().to_string();
        let words = words.replace("$ROOT/", &root);
        let said = std::process::Command::new("openssl")
            .args(words.split(' '))
            .output()
            .unwrap();
        format!(
            "{}{}",
            String::from_utf8_lossy(&said.stdout),
            String::from_utf8_lossy(&said.stderr)
        )
    }

    #[test]
    fn certificates_are_made_once_and_openssl_verifies_them() {
        let Some(target) = prepared() else {
            return;
        };
        let run = |options: &str| short(&target.run(NAME, options));
        let root = r#"{"path": "$ROOT/ca.pem", "provider": "selfsigned", "privatekey_path": "$ROOT/ca.key", "privatekey_passphrase": "geheim", "csr_path": "$ROOT/ca.csr"}"#;
        assert_eq!(
            run(root),
            r#"{"changed":true,"privatekey":"$ROOT/ca.key","csr":"$ROOT/ca.csr","filename":"$ROOT/ca.pem"}"#
        );
        assert!(run(root).contains(r#""changed":false"#));
        let leaf = r#"{"path": "$ROOT/key.pem", "provider": "ownca", "ownca_path": "$ROOT/ca.pem", "ownca_privatekey_path": "$ROOT/ca.key", "ownca_privatekey_passphrase": "geheim", "csr_path": "$ROOT/key.csr", "ownca_not_after": "+30d", "mode": "0640"}"#;
        assert_eq!(
            run(leaf),
            r#"{"changed":true,"privatekey":null,"csr":"$ROOT/key.csr","ca_cert":"$ROOT/ca.pem","ca_privatekey":"$ROOT/ca.key","filename":"$ROOT/key.pem"}"#
        );
        assert!(run(leaf).contains(r#""changed":false"#));
        let said = openssl(
            &target,
            "verify -CAfile $ROOT/ca.pem -purpose sslserver $ROOT/key.pem",
        );
        assert!(said.contains("key.pem: OK"), "{said}");
        let said = openssl(&target, "x509 -in $ROOT/key.pem -noout -text");
        for part in [
            "Issuer: CN = our ca",
            "Subject: CN = www.example.com",
            "DNS:www.example.com",
            "Version: 3",
        ] {
            assert!(said.contains(part), "{part}: {said}");
        }
        let self_signed = r#"{"path": "$ROOT/ed.pem", "provider": "selfsigned", "privatekey_path": "$ROOT/ed.key", "csr_path": "$ROOT/ed.csr"}"#;
        assert!(run(self_signed).contains(r#""changed":true"#));
        assert!(run(self_signed).contains(r#""changed":false"#));
        let timed = leaf.replace(r#""+30d""#, r#""+60d", "ignore_timestamps": false"#);
        assert!(run(&timed).contains(r#""changed":true"#));
        let gone = r#"{"path": "$ROOT/ed.pem", "state": "absent"}"#;
        assert!(run(gone).contains(r#""changed":true"#));
        assert!(run(gone).contains(r#""changed":false"#));
    }

    #[test]
    fn a_certificate_of_another_request_or_authority_is_made_anew() {
        let Some(target) = prepared() else {
            return;
        };
        let with = |key: &str, csr: &str| {
            let options = format!(
                r#"{{"path": "$ROOT/x.pem", "provider": "selfsigned", "privatekey_path": "$ROOT/{key}.key", "csr_path": "$ROOT/{csr}.csr"}}"#
            );
            target.run(NAME, &options)
        };
        assert!(with("key", "key").contains(r#""changed":true"#));
        assert!(with("ed", "ed").contains(r#""changed":true"#));
        let none = r#"{"path": "$ROOT/x.pem", "provider": "ownca", "ownca_path": "$ROOT/x.pem", "ownca_privatekey_path": "$ROOT/key.key", "csr_path": "$ROOT/key.csr"}"#;
        assert!(
            target
                .run(NAME, none)
                .contains("The CA private key does not belong to the CA certificate")
        );
    }

    #[test]
    fn long_numbers_are_written_whole() {
        assert_eq!(number(&[1, 0]), Value::Int(256));
        let long = number(&[0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
        assert_eq!(long, Value::from("1329227995784915872903807060280344576"));
    }
}
