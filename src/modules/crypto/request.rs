//! `openssl_csr`: a request for a certificate, as wanted.

use std::path::PathBuf;

use super::extensions::{self as ext, Extension};
use super::key::Key;
use super::names::{Attribute, attribute, attributes, name, read_name, shown};
use super::place::{Place, path_or_null};
use super::signed::{Algorithm, Request, closed};
use super::{der, unhex};
use crate::machine::Machine;
use crate::modules::{Diff, Failure, ModuleResult, Outcome};
use crate::value::{Map, Value};

crate::arguments! {
    /// Generate OpenSSL Certificate Signing Request (CSR).
    pub(crate) struct OpensslCsrArgs for "community.crypto.openssl_csr" with file_attributes {
        path: PathBuf { required },
        state: String { default: "present", choices: ["absent", "present"] },
        digest: String { default: "sha256" },
        privatekey_path: Option<PathBuf> {},
        privatekey_content: Option<String> { no_log },
        privatekey_passphrase: Option<String> { no_log },
        version: i64 { default: "1", choices: ["1"] },
        subject: Option<Map> {},
        /// Dictionaries of one pair each.
        subject_ordered: Option<Vec<Value>> {},
        country_name: Option<String> { aliases: ["C", "countryName"] },
        state_or_province_name: Option<String> { aliases: ["ST", "stateOrProvinceName"] },
        locality_name: Option<String> { aliases: ["L", "localityName"] },
        organization_name: Option<String> { aliases: ["O", "organizationName"] },
        organizational_unit_name: Option<String> { aliases: ["OU", "organizationalUnitName"] },
        common_name: Option<String> { aliases: ["CN", "commonName"] },
        email_address: Option<String> { aliases: ["E", "emailAddress"] },
        subject_alt_name: Option<Vec<String>> { aliases: ["subjectAltName"] },
        subject_alt_name_critical: bool { default: "false", aliases: ["subjectAltName_critical"] },
        /// Without alternative names take the common name as one.
        use_common_name_for_san: bool { default: "true", aliases: ["useCommonNameForSAN"] },
        key_usage: Option<Vec<String>> { aliases: ["keyUsage"] },
        key_usage_critical: bool { default: "false", aliases: ["keyUsage_critical"] },
        extended_key_usage: Option<Vec<String>> { aliases: ["extKeyUsage", "extendedKeyUsage"] },
        extended_key_usage_critical: bool {
            default: "false",
            aliases: ["extKeyUsage_critical", "extendedKeyUsage_critical"],
        },
        basic_constraints: Option<Vec<String>> { aliases: ["basicConstraints"] },
        basic_constraints_critical: bool { default: "false", aliases: ["basicConstraints_critical"] },
        ocsp_must_staple: bool { default: "false", aliases: ["ocspMustStaple"] },
        ocsp_must_staple_critical: bool { default: "false", aliases: ["ocspMustStaple_critical"] },
        name_constraints_permitted: Option<Vec<String>> {},
        name_constraints_excluded: Option<Vec<String>> {},
        name_constraints_critical: bool { default: "false" },
        create_subject_key_identifier: bool { default: "false" },
        subject_key_identifier: Option<String> {},
        authority_key_identifier: Option<String> {},
        authority_cert_issuer: Option<Vec<String>> {},
        authority_cert_serial_number: Option<i64> {},
        crl_distribution_points: Option<Vec<Value>> {},
        force: bool { default: "false" },
        backup: bool { default: "false" },
        return_content: bool { default: "false" },
        select_crypto_backend: String { default: "auto", choices: ["auto", "cryptography"] },
    }
    mutually_exclusive [["privatekey_path", "privatekey_content"], ["subject", "subject_ordered"]]
    required_together [["authority_cert_issuer", "authority_cert_serial_number"]]
    required_if [("state", "present", ["privatekey_path", "privatekey_content"], true)]
}

/// Brings the request into the wanted state.
pub(crate) fn run_request(machine: &mut Machine, args: OpensslCsrArgs) -> ModuleResult {
    let mut place = Place::of(machine, &args.path, args.backup)?;
    let before = told(place.bytes.as_deref());
    let subject = subject(&args)?;
    let alternatives = alternatives(&args, &subject);
    let mut bytes = place.bytes.clone();
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
        let algorithm = Algorithm::of(&public, &args.digest)?;
        let extensions = extensions(&args, &alternatives, &public)?;
        let found = place.bytes.as_deref().and_then(Request::read);
        let fits = found.as_ref().is_some_and(|found| {
            found.public == public
                && has_subject(found, &subject, args.subject_ordered.is_some())
                && ext::same(&found.extensions, &extensions)
        });
        let is_signed = match &found {
            Some(found) if fits && !args.force => found.signature.is_of(machine, &public)?,
            _ => false,
        };
        let todo = !is_signed;
        if todo {
            let unsigned = Request::unsigned(&name(&subject), &public, &extensions);
            let signed = closed(machine, unsigned, &key, &algorithm)?;
            let text = super::pem("CERTIFICATE REQUEST", &signed).into_bytes();
            let mode = 0o666 & !machine.umask();
            place.write(machine, text.clone(), mode)?;
            bytes = Some(text);
        }
        place.dress(machine, &args.file)? || todo
    };
    let pairs = subject
        .iter()
        .map(|(oid, text)| Value::list([short(oid), text.as_str().into()]));
    let mut outcome = Outcome::unchanged()
        .with_changed(changed)
        .with("privatekey", path_or_null(args.privatekey_path.as_ref()))
        .with("subject", Value::list(pairs))
        .with(
            "subjectAltName",
            list_or_null(Some(&alternatives).filter(|all| !all.is_empty())),
        )
        .with("keyUsage", list_or_null(args.key_usage.as_ref()))
        .with(
            "extendedKeyUsage",
            list_or_null(args.extended_key_usage.as_ref()),
        )
        .with(
            "basicConstraints",
            list_or_null(args.basic_constraints.as_ref()),
        )
        .with("ocspMustStaple", args.ocsp_must_staple)
        .with(
            "name_constraints_permitted",
            Value::list(args.name_constraints_permitted.clone().unwrap_or_default()),
        )
        .with(
            "name_constraints_excluded",
            Value::list(args.name_constraints_excluded.clone().unwrap_or_default()),
        );
    if args.return_content {
        let text = bytes
            .as_ref()
            .map(|bytes| String::from_utf8_lossy(bytes).into_owned());
        outcome = outcome.with("csr", text.map_or(Value::Null, Value::from));
    }
    let after = told(bytes.as_deref());
    Ok(place.told(outcome.only_diff(Diff::new(before, after))))
}

fn list_or_null(list: Option<&Vec<String>>) -> Value {
    list.map_or(Value::Null, |list| {
        Value::list(list.iter().map(String::as_str))
    })
}

fn short(oid: &str) -> Value {
    let names = [
        ("2.5.4.6", "C"),
        ("2.5.4.8", "ST"),
        ("2.5.4.7", "L"),
        ("2.5.4.10", "O"),
        ("2.5.4.11", "OU"),
        ("2.5.4.3", "CN"),
    ];
    let found = names.iter().find(|(known, _)| *known == oid);
    match found {
        Some((_, short)) => (*short).into(),
        None => super::names::long_name(oid).into(),
    }
}

/// Puts the names together that the options have.
fn subject(args: &OpensslCsrArgs) -> Result<Vec<Attribute>, Failure> {
    let mut all = Vec::new();
    for (key, value) in [
        ("C", &args.country_name),
        ("ST", &args.state_or_province_name),
        ("L", &args.locality_name),
        ("O", &args.organization_name),
        ("OU", &args.organizational_unit_name),
        ("CN", &args.common_name),
        ("emailAddress", &args.email_address),
    ] {
        if let Some(value) = value.as_ref().filter(|value| !value.is_empty()) {
            all.push((attribute(key)?, value.clone()));
        }
    }
    if let Some(subject) = &args.subject {
        all.extend(attributes(subject)?);
    }
    if let Some(ordered) = &args.subject_ordered {
        if !all.is_empty() {
            return Err(Failure::new(
                "subject_ordered cannot be combined with any other subject field",
            ));
        }
        for pair in ordered {
            let map = pair.as_map().filter(|map| map.len() == 1).ok_or_else(|| {
                Failure::new("each item of subject_ordered must be a dictionary of one pair")
            })?;
            all.extend(attributes(map)?);
        }
    }
    Ok(all)
}

fn alternatives(args: &OpensslCsrArgs, subject: &[Attribute]) -> Vec<String> {
    let given = args.subject_alt_name.clone().unwrap_or_default();
    if !given.is_empty() || !args.use_common_name_for_san {
        return given;
    }
    let common = subject.iter().find(|(oid, _)| oid == "2.5.4.3");
    common
        .map(|(_, text)| format!("DNS:{text}"))
        .into_iter()
        .collect()
}

fn has_subject(found: &Request, wanted: &[Attribute], is_ordered: bool) -> bool {
    let element = der::Element::only(&found.subject);
    let Some(mut has) = element.and_then(|element| read_name(&element)) else {
        return false;
    };
    let mut wanted = wanted.to_vec();
    if !is_ordered {
        has.sort();
        wanted.sort();
    }
    has == wanted
}

/// Writes the extensions that the options ask for.
fn extensions(
    args: &OpensslCsrArgs,
    alternatives: &[String],
    public: &[u8],
) -> Result<Vec<Extension>, Failure> {
    let given = |list: &Option<Vec<String>>| list.clone().filter(|list| !list.is_empty());
    let mut all = Vec::new();
    if !alternatives.is_empty() {
        let value = ext::generals(alternatives, "subject alternative name")?;
        let critical = args.subject_alt_name_critical;
        all.push(Extension::new(ext::ALTERNATIVE, critical, value));
    }
    if let Some(names) = given(&args.key_usage) {
        let value = ext::usage(&names)?;
        all.push(Extension::new(
            ext::KEY_USAGE,
            args.key_usage_critical,
            value,
        ));
    }
    if let Some(names) = given(&args.extended_key_usage) {
        let value = ext::purposes(&names)?;
        let critical = args.extended_key_usage_critical;
        all.push(Extension::new(ext::EXTENDED_USAGE, critical, value));
    }
    if let Some(words) = given(&args.basic_constraints) {
        let value = ext::constraints(&words)?;
        let critical = args.basic_constraints_critical;
        all.push(Extension::new(ext::CONSTRAINTS, critical, value));
    }
    if args.ocsp_must_staple {
        let critical = args.ocsp_must_staple_critical;
        all.push(Extension::new(ext::FEATURE, critical, ext::must_staple()));
    }
    let permitted = given(&args.name_constraints_permitted).unwrap_or_default();
    let excluded = given(&args.name_constraints_excluded).unwrap_or_default();
    if !permitted.is_empty() || !excluded.is_empty() {
        let value = ext::name_constraints(&permitted, &excluded)?;
        let critical = args.name_constraints_critical;
        all.push(Extension::new(ext::NAME_CONSTRAINTS, critical, value));
    }
    let identifier = |text: &Option<String>, option: &str| match text {
        Some(text) => unhex(&text.replace(':', ""))
            .map(Some)
            .ok_or_else(|| Failure::new(format!("Cannot parse {option}: {text}"))),
        None => Ok(None),
    };
    let own = identifier(&args.subject_key_identifier, "subject_key_identifier")?;
    if args.create_subject_key_identifier && own.is_some() {
        return Err(Failure::new(
            "subject_key_identifier cannot be specified if create_subject_key_identifier is true",
        ));
    }
    let own = if args.create_subject_key_identifier {
        ext::key_identifier(public)
    } else {
        own
    };
    if let Some(bytes) = own {
        let value = der::wrap(der::OCTETS, &bytes);
        all.push(Extension::new(ext::SUBJECT_KEY, false, value));
    }
    let theirs = identifier(&args.authority_key_identifier, "authority_key_identifier")?;
    if theirs.is_some() || args.authority_cert_issuer.is_some() {
        let value = ext::authority(
            theirs.as_deref(),
            args.authority_cert_issuer.as_deref(),
            args.authority_cert_serial_number,
        )?;
        all.push(Extension::new(ext::AUTHORITY_KEY, false, value));
    }
    if let Some(points) = args
        .crl_distribution_points
        .as_ref()
        .filter(|it| !it.is_empty())
    {
        let value = ext::crl_points(points)?;
        all.push(Extension::new(ext::CRL_POINTS, false, value));
    }
    Ok(all)
}

/// Says what a diff tells of a request.
fn told(text: Option<&[u8]>) -> Value {
    let Some(text) = text else {
        return Map::new().into();
    };
    let Some(request) = Request::read(text) else {
        return Value::map([("can_parse_csr", false)]);
    };
    let names = der::Element::only(&request.subject)
        .and_then(|element| read_name(&element))
        .unwrap_or_default();
    let pairs = names
        .iter()
        .map(|(oid, text)| Value::list([super::names::long_name(oid), text.clone()]));
    let alternatives = request
        .extensions
        .iter()
        .find(|extension| extension.oid == ext::ALTERNATIVE)
        .and_then(|extension| {
            let list = der::Element::only(&extension.value)?.inside()?;
            Some(Value::list(list.iter().map(shown)))
        });
    Value::map([
        ("can_parse_csr", Value::from(true)),
        ("subject_ordered", Value::list(pairs)),
        ("subject_alt_name", alternatives.unwrap_or_default()),
    ])
}

#[cfg(test)]
mod tests {
    use super::super::testing::{has_openssl, short};
    use crate::modules::testing::Target;

    const NAME: &str = "community.crypto.openssl_csr";

    fn with_key() -> Option<Target> {
        if !has_openssl() {
            return None;
        }
        let target = Target::new();
        target.run(
            "community.crypto.openssl_privatekey",
            r#"{"path": "$ROOT/key", "type": "ECC", "curve": "secp256r1"}"#,
        );
        Some(target)
    }

    #[test]
    #[expect(clippy::disallowed_methods, reason = "openssl is the judge")]
    fn a_request_is_made_once_and_openssl_understands_it() {
        let Some(target) = with_key() else {
            return;
        };
        let run = |options: &str| {
            let options =
                format!(r#"{{"path": "$ROOT/csr", "privatekey_path": "$ROOT/key", {options}}}"#);
            short(&target.run(NAME, &options))
        };
        let options = r#""common_name": "example.com", "subject": {"O": ["a", "b"], "C": "DE"}, "subject_alt_name": ["DNS:example.com", "IP:10.0.0.1", "email:a@b.c", "URI:https://x/", "RID:1.2.3"], "key_usage": ["digitalSignature", "Certificate Sign"], "key_usage_critical": true, "extended_key_usage": ["serverAuth", "1.2.3.4"], "basic_constraints": ["CA:TRUE", "pathlen:0"], "basic_constraints_critical": true, "ocsp_must_staple": true, "name_constraints_permitted": ["DNS:.example.com", "IP:10.0.0.0/8"], "create_subject_key_identifier": true, "authority_cert_issuer": ["dirName:CN=ca"], "authority_cert_serial_number": 300, "crl_distribution_points": [{"full_name": ["URI:http://x/crl"], "reasons": ["key_compromise"]}]"#;
        let result = run(options);
        assert!(result.starts_with(r#"{"changed":true,"privatekey":"$ROOT/key","subject":[["CN","example.com"],["O","a"],["O","b"],["C","DE"]],"subjectAltName":["DNS:example.com","#), "{result}");
        assert!(run(options).contains(r#""changed":false"#));
        let path = target.path("csr");
        let said = std::process::Command::new("openssl")
            .args(["req", "-verify", "-noout", "-text", "-in"])
            .arg(&path)
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&said.stdout).into_owned();
        let err = String::from_utf8_lossy(&said.stderr).into_owned();
        for part in [
            "CN = example.com, O = a, O = b, C = DE",
            "DNS:example.com, IP Address:10.0.0.1, email:a@b.c, URI:https://x/, Registered ID:1.2.3",
            "Digital Signature, Certificate Sign",
            "TLS Web Server Authentication, 1.2.3.4",
            "CA:TRUE, pathlen:0",
            "status_request",
            "DNS:.example.com",
            "IP:10.0.0.0/255.0.0.0",
            "X509v3 Subject Key Identifier",
            "serial:01:2C",
            "URI:http://x/crl",
            "Key Compromise",
        ] {
            assert!(text.contains(part), "{part}: {text}{err}");
        }
        assert!(err.contains("OK"), "{err}");
        let other = options.replace("10.0.0.1", "10.0.0.2");
        assert!(run(&other).contains(r#""changed":true"#));
    }

    #[test]
    fn what_cannot_be_asked_for_is_refused() {
        let Some(target) = with_key() else {
            return;
        };
        for (options, why) in [
            (r#""subject": {"XX": "a"}"#, "Cannot find OID for"),
            (r#""key_usage": ["fly"]"#, "Unknown key usage 'fly'"),
            (r#""subject_alt_name": ["x"]"#, "(forgot"),
            (r#""basic_constraints": ["CA"]"#, "Unknown basic constraint"),
            (r#""digest": "sha3""#, "Unsupported digest"),
            (r#""privatekey_passphrase": "x""#, "Wrong passphrase"),
        ] {
            let options =
                format!(r#"{{"path": "$ROOT/csr", "privatekey_path": "$ROOT/key", {options}}}"#);
            let result = target.run(NAME, &options);
            assert!(
                result.starts_with(r#"{"failed":true"#) && result.contains(why),
                "{result}"
            );
        }
    }
}
