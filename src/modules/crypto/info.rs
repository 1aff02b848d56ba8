//! `x509_certificate_info`, `openssl_csr_info` and `openssl_publickey_info`: what certificates,
//! requests and public keys say.
//!
//! They change nothing. Numbers too long for a playbook are texts of digits.

use std::path::PathBuf;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::der::{self, Element};
use super::extensions::{self, Extension, purpose, usage_names};
use super::key::{Kind, described, fingerprints};
use super::names::{long_name, read_name, shown};
use super::signed::{Certificate, Request, algorithm_name};
use super::{colons, number, pem, times, unpem};
use crate::machine::Machine;
use crate::modules::{Failure, ModuleResult, Outcome};
use crate::value::{Map, Value};

crate::arguments! {
    /// Provide information of OpenSSL X.509 certificates.
    pub(crate) struct X509CertificateInfoArgs for "community.crypto.x509_certificate_info" {
        path: Option<PathBuf> {},
        content: Option<String> {},
        /// Points in time, by names of your own: is it valid then?
        valid_at: Option<Map> {},
        /// How names in other letters than ASCII are written.
        name_encoding: String { default: "ignore", choices: ["ignore", "idna", "unicode"] },
        select_crypto_backend: String { default: "auto", choices: ["auto", "cryptography"] },
    }
    mutually_exclusive [["path", "content"]]
    required_one_of [["path", "content"]]
}

crate::arguments! {
    /// Provide information of OpenSSL Certificate Signing Requests (CSR).
    pub(crate) struct OpensslCsrInfoArgs for "community.crypto.openssl_csr_info" {
        path: Option<PathBuf> {},
        content: Option<String> {},
        /// How names in other letters than ASCII are written.
        name_encoding: String { default: "ignore", choices: ["ignore", "idna", "unicode"] },
        select_crypto_backend: String { default: "auto", choices: ["auto", "cryptography"] },
    }
    mutually_exclusive [["path", "content"]]
    required_one_of [["path", "content"]]
}

crate::arguments! {
    /// Provide information for OpenSSL public keys.
    pub(crate) struct OpensslPublickeyInfoArgs for "community.crypto.openssl_publickey_info" {
        path: Option<PathBuf> {},
        content: Option<String> { no_log },
        select_crypto_backend: String { default: "auto", choices: ["auto", "cryptography"] },
    }
    mutually_exclusive [["path", "content"]]
    required_one_of [["path", "content"]]
}

/// Tells what a certificate says.
pub(crate) fn run_certificate_info(
    machine: &mut Machine,
    args: X509CertificateInfoArgs,
) -> ModuleResult {
    let bytes = given(
        machine,
        args.path.as_ref(),
        args.content.as_ref(),
        "certificate",
    )?;
    let certificate = Certificate::read(&bytes)
        .ok_or_else(|| unreadable(&bytes, "CERTIFICATE", "a certificate", "the certificate"))?;
    let now = times::now();
    let mut valid_at = Map::new();
    for (name, time) in args.valid_at.iter().flatten() {
        let Some(text) = time.as_str() else {
            return Err(Failure::new(format!(
                "The value for valid_at.{name} must be of type string (got <class '{}'>)",
                time.python_type()
            )));
        };
        let time = times::wanted(text, &format!("valid_at.{name}"), now)?;
        let is_valid = (certificate.not_before..=certificate.not_after).contains(&time);
        valid_at.insert(name.clone(), is_valid.into());
    }
    let all = Extensions {
        all: &certificate.extensions,
        decodes: args.name_encoding == "unicode",
    };
    let unclear = || Failure::new("the certificate cannot be read");
    let outcome = Outcome::unchanged().with(
        "signature_algorithm",
        algorithm_name(certificate.signature.oid()),
    );
    let outcome = with_name(outcome, "subject", &certificate.subject).ok_or_else(unclear)?;
    let outcome = with_name(outcome, "issuer", &certificate.issuer).ok_or_else(unclear)?;
    let outcome = outcome
        .with("version", i64::from(certificate.version))
        .with_all(all.common()?)
        .with("not_before", times::shown(certificate.not_before))
        .with("not_after", times::shown(certificate.not_after))
        .with("expired", certificate.not_after < now)
        .with_all(of_key(&certificate.public))
        .with("fingerprints", fingerprints(&certificate.whole))
        .with_all(all.keys()?)
        .with("serial_number", number(&certificate.serial))
        .with("extensions_by_oid", all.by_oid())
        .with("ocsp_uri", all.access("1.3.6.1.5.5.7.48.1"))
        .with("issuer_uri", all.access("1.3.6.1.5.5.7.48.2"))
        .with("valid_at", valid_at);
    Ok(outcome)
}

/// Tells what a request asks for.
pub(crate) fn run_request_info(machine: &mut Machine, args: OpensslCsrInfoArgs) -> ModuleResult {
    let bytes = given(machine, args.path.as_ref(), args.content.as_ref(), "CSR")?;
    let request = Request::read(&bytes)
        .ok_or_else(|| unreadable(&bytes, "CERTIFICATE REQUEST", "a CSR", "the CSR"))?;
    let all = Extensions {
        all: &request.extensions,
        decodes: args.name_encoding == "unicode",
    };
    let is_valid = request.signature.is_of(machine, &request.public)?;
    let outcome = with_name(Outcome::unchanged(), "subject", &request.subject)
        .ok_or_else(|| Failure::new("the CSR cannot be read"))?
        .with_all(all.common()?)
        .with_all(all.name_constraints()?)
        .with_all(of_key(&request.public))
        .with_all(all.keys()?)
        .with("extensions_by_oid", all.by_oid())
        .with("signature_valid", is_valid);
    if is_valid {
        return Ok(outcome);
    }
    Err(Failure::new("CSR signature is invalid!").with_all(outcome.data))
}

/// Tells what a public key is.
pub(crate) fn run_publickey_info(
    machine: &mut Machine,
    args: OpensslPublickeyInfoArgs,
) -> ModuleResult {
    // As in Ansible, these say nothing here.
    let told = Map::from_iter([
        ("can_load_key".into(), false.into()),
        ("can_parse_key".into(), false.into()),
        ("key_is_consistent".into(), Value::Null),
    ]);
    let failed = |failure: Failure| failure.with_all(told.clone());
    let bytes = given(
        machine,
        args.path.as_ref(),
        args.content.as_ref(),
        "public key",
    )
    .map_err(failed)?;
    let public = unpem(&bytes, &["PUBLIC KEY"]).filter(|public| described(public).is_some());
    let public = public.ok_or_else(|| {
        let why = unreadable(&bytes, "PUBLIC KEY", "a public key", "the key");
        let msg = format!("Error while deserializing key: {}", why.msg);
        failed(Failure::new(msg))
    })?;
    let (kind, data) = key_data(&public);
    Ok(Outcome::unchanged()
        .with_all(told)
        .with("fingerprints", fingerprints(&public))
        .with("type", kind)
        .with("public_data", data))
}

/// Reads what the options give.
fn given(
    machine: &mut Machine,
    path: Option<&PathBuf>,
    content: Option<&String>,
    what: &str,
) -> Result<Vec<u8>, Failure> {
    let Some(path) = path else {
        return Ok(content.cloned().unwrap_or_default().into_bytes());
    };
    let path = machine.expand(path);
    if !machine.exists(&path)? {
        return Err(Failure::new(format!(
            "Error while reading {what} file from disk: [Errno 2] No such file or directory: '{}'",
            path.display()
        )));
    }
    Ok(machine.read(&path)?)
}

/// Says why bytes are not what they should be.
fn unreadable(bytes: &[u8], kind: &str, what: &str, the: &str) -> Failure {
    let text = String::from_utf8_lossy(bytes);
    if text.contains("-----BEGIN ") && !text.contains(&format!("-----BEGIN {kind}-----")) {
        return Failure::new(format!(
            "Valid PEM but no BEGIN {kind}/END {kind} delimiters. Are you sure this is {what}?"
        ));
    }
    Failure::new(format!("{the} cannot be read"))
}

/// Adds a name: as a dictionary, where the last of a kind counts, and as a list.
fn with_name(outcome: Outcome, key: &str, encoded: &[u8]) -> Option<Outcome> {
    let attributes = read_name(&Element::only(encoded)?)?;
    let mut map = Map::new();
    let mut list = Vec::new();
    for (oid, text) in attributes {
        let name = long_name(&oid);
        map.insert(name.as_str().into(), text.as_str().into());
        list.push(Value::list([name, text]));
    }
    let list = Value::list(list);
    Some(outcome.with(key, map).with(&format!("{key}_ordered"), list))
}

/// Tells what there is to know of a certificate's or request's key.
fn of_key(public: &[u8]) -> Map {
    let (kind, data) = key_data(public);
    Map::from_iter([
        ("public_key".into(), pem("PUBLIC KEY", public).into()),
        ("public_key_type".into(), kind.into()),
        ("public_key_data".into(), data.into()),
        (
            "public_key_fingerprints".into(),
            fingerprints(public).into(),
        ),
    ])
}

/// Names a public key's kind, and its numbers.
fn key_data(public: &[u8]) -> (&'static str, Map) {
    let Some((kind, size, curve)) = described(public) else {
        return ("unknown", Map::new());
    };
    let name = match kind {
        Kind::Rsa => "RSA",
        Kind::Dsa => "DSA",
        Kind::Ec => "ECC",
        Kind::Ed25519 => "Ed25519",
        Kind::Ed448 => "Ed448",
        Kind::X25519 => "X25519",
        Kind::X448 => "X448",
    };
    (name, numbers(public, kind, size, curve).unwrap_or_default())
}

fn numbers(public: &[u8], kind: Kind, size: usize, curve: Option<&str>) -> Option<Map> {
    let size = Value::from(i64::try_from(size).ok()?);
    let parts = Element::only(public)?.inside()?;
    let bits = parts.get(1)?.bits()?;
    let mut map = Map::new();
    let mut put = |name: &str, value: Value| {
        map.insert(name.into(), value);
    };
    match kind {
        Kind::Rsa => {
            let numbers = Element::only(bits)?.inside()?;
            put("size", size);
            put("modulus", number(numbers.first()?.content));
            put("exponent", number(numbers.get(1)?.content));
        }
        Kind::Dsa => {
            let parameters = parts.first()?.inside()?.get(1)?.inside()?;
            put("size", size);
            for (name, parameter) in ["p", "q", "g"].into_iter().zip(&parameters) {
                put(name, number(parameter.content));
            }
            put("y", number(Element::only(bits)?.content));
        }
        Kind::Ec => {
            // Both coordinates stand there whole: a compressed point has but one.
            let point = bits.strip_prefix(&[4])?;
            let (x, y) = point.split_at(point.len() / 2);
            put("curve", curve?.into());
            put("x", number(x));
            put("y", number(y));
            put("exponent_size", size);
        }
        _ => {}
    }
    Some(map)
}

/// The extensions of a certificate, or those that a request asks for.
struct Extensions<'a> {
    all: &'a [Extension],
    /// Names of the internet are to be in their own letters.
    decodes: bool,
}

impl Extensions<'_> {
    fn find(&self, oid: &str) -> Option<&Extension> {
        self.all.iter().find(|extension| extension.oid == oid)
    }

    /// Tells what an extension means, and whether it is critical; null where there is none.
    fn put(
        &self,
        map: &mut Map,
        name: &str,
        oid: &str,
        read: impl FnOnce(&Element<'_>) -> Option<Value>,
    ) -> Result<(), Failure> {
        let found = self.find(oid);
        let value = match found {
            None => Value::Null,
            Some(found) => Element::only(&found.value)
                .and_then(|value| read(&value))
                .ok_or_else(|| Failure::new(format!("the extension {oid} cannot be read")))?,
        };
        map.insert(name.into(), value);
        let critical = found.is_some_and(|found| found.critical);
        map.insert(format!("{name}_critical").as_str().into(), critical.into());
        Ok(())
    }

    /// Tells what certificates and requests have in common.
    fn common(&self) -> Result<Map, Failure> {
        let mut map = Map::new();
        self.put(&mut map, "key_usage", extensions::KEY_USAGE, |value| {
            let mut names = usage_names(value)?;
            names.sort_unstable();
            Some(Value::list(names))
        })?;
        let oid = extensions::EXTENDED_USAGE;
        self.put(&mut map, "extended_key_usage", oid, |value| {
            let oids = value.inside()?.into_iter().map(|oid| oid.dotted());
            let mut names: Vec<String> = oids.map(|oid| oid.map(purpose)).collect::<Option<_>>()?;
            names.sort_unstable();
            Some(Value::list(names))
        })?;
        let oid = extensions::CONSTRAINTS;
        self.put(&mut map, "basic_constraints", oid, |value| {
            let parts = value.inside()?;
            let is_authority = parts
                .iter()
                .any(|it| it.tag == der::BOOLEAN && it.content != [0]);
            let word = if is_authority { "CA:TRUE" } else { "CA:FALSE" };
            let length = parts.iter().find(|it| it.tag == der::INTEGER);
            let length = length.map(|it| format!("pathlen:{}", number(it.content)));
            Some(Value::list([word.to_owned()].into_iter().chain(length)))
        })?;
        self.put(&mut map, "ocsp_must_staple", extensions::FEATURE, |value| {
            Some(
                value
                    .inside()?
                    .iter()
                    .any(|feature| feature.content == [5])
                    .into(),
            )
        })?;
        let mut undecoded = None;
        self.put(
            &mut map,
            "subject_alt_name",
            extensions::ALTERNATIVE,
            |value| {
                let names: Vec<_> = value.inside()?.iter().map(shown).collect();
                undecoded = self.undecoded(&names);
                Some(Value::list(names))
            },
        )?;
        match undecoded {
            Some(failure) => Err(failure),
            None => Ok(map),
        }
    }

    fn name_constraints(&self) -> Result<Map, Failure> {
        let mut map = Map::new();
        let names = |value: &Element<'_>, tag: u8| {
            let parts = value.inside()?;
            let found = parts.iter().find(|part| part.tag == der::context(tag));
            let trees = found.map_or(Some(Vec::new()), Element::inside)?;
            let names = trees
                .iter()
                .map(|tree| Some(shown(tree.inside()?.first()?)));
            Some(Value::list(names.collect::<Option<Vec<_>>>()?))
        };
        let oid = extensions::NAME_CONSTRAINTS;
        self.put(&mut map, "name_constraints_permitted", oid, |value| {
            names(value, 0)
        })?;
        map.shift_remove("name_constraints_permitted_critical");
        self.put(&mut map, "name_constraints_excluded", oid, |value| {
            names(value, 1)
        })?;
        map.shift_remove("name_constraints_excluded_critical");
        let critical = self.find(oid).is_some_and(|found| found.critical);
        map.insert("name_constraints_critical".into(), critical.into());
        Ok(map)
    }

    /// Tells which keys are meant.
    fn keys(&self) -> Result<Map, Failure> {
        let unclear = || Failure::new("the identifier of a key cannot be read");
        let mut map = Map::new();
        let subject = match self.find(extensions::SUBJECT_KEY) {
            None => Value::Null,
            Some(found) => {
                let identifier = Element::only(&found.value).ok_or_else(unclear)?;
                colons(identifier.content).into()
            }
        };
        map.insert("subject_key_identifier".into(), subject);
        let found = self.find(extensions::AUTHORITY_KEY);
        let parts = match found {
            None => Vec::new(),
            Some(found) => Element::only(&found.value)
                .and_then(|value| value.inside())
                .ok_or_else(unclear)?,
        };
        let part = |tag: u8| parts.iter().find(|part| part.tag == tag);
        let identifier = part(der::context_primitive(0)).map(|it| colons(it.content));
        let names = part(der::context(1)).and_then(Element::inside);
        let names = names.map(|names| names.iter().map(shown).collect::<Vec<_>>());
        if let Some(failure) = names.as_ref().and_then(|names| self.undecoded(names)) {
            return Err(failure);
        }
        let serial = part(der::context_primitive(2)).map(|it| number(it.content));
        map.insert(
            "authority_key_identifier".into(),
            identifier.map_or(Value::Null, Value::from),
        );
        map.insert(
            "authority_cert_issuer".into(),
            names.map_or(Value::Null, Value::list),
        );
        map.insert(
            "authority_cert_serial_number".into(),
            serial.unwrap_or_default(),
        );
        Ok(map)
    }

    fn by_oid(&self) -> Map {
        let told = |extension: &Extension| {
            Value::map([
                ("critical", Value::from(extension.critical)),
                ("value", STANDARD.encode(&extension.value).into()),
            ])
        };
        let all = self.all.iter();
        all.map(|extension| (extension.oid.as_str().into(), told(extension)))
            .collect()
    }

    /// Returns where something of the authority's is: its first address.
    fn access(&self, method: &str) -> Value {
        let find = || {
            let found = self.find("1.3.6.1.5.5.7.1.1")?;
            let all = Element::only(&found.value)?.inside()?;
            all.iter().find_map(|description| {
                let parts = description.inside()?;
                let place = parts.get(1).filter(|place| place.tag == 0x86)?;
                let is_it = parts.first()?.dotted()? == method;
                is_it.then(|| String::from_utf8_lossy(place.content).into_owned())
            })
        };
        find().map_or(Value::Null, Value::from)
    }

    /// Refuses what would have to be in letters that are in no table here.
    fn undecoded(&self, names: &[String]) -> Option<Failure> {
        let name = names.iter().find(|name| name.contains("xn--"))?;
        self.decodes.then(|| {
            Failure::new(format!(
                "`name_encoding: unicode` cannot decode `{name}`; take `ignore`, and it stays as it is"
            ))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::has_openssl;
    use crate::modules::testing::Target;
    use crate::value::Value;

    /// A certificate that `openssl` made, with all that is read.
    const RSA: &str = include_str!("testing/rsa.crt");
    const REQUEST: &str = include_str!("testing/rsa.csr");
    const EC: &str = include_str!("testing/ec.pub");

    /// Returns a result without what is compared by itself.
    fn told(target: &Target, module: &str, options: &str, without: &[&str]) -> String {
        let mut result = target.result(module, options);
        for name in without {
            result.shift_remove(*name).unwrap();
        }
        serde_json::to_string(&Value::from(result)).unwrap()
    }

    /// Recorded from community.crypto 3; there the long modulus is a number.
    #[test]
    fn a_certificate_is_told_whole() {
        let target = Target::new().file("crt", RSA);
        let options = r#"{"path": "$ROOT/crt", "valid_at": {"then": "20270101000000Z", "now": "20261201000000Z"}}"#;
        let name = "community.crypto.x509_certificate_info";
        let without = [
            "public_key",
            "public_key_data",
            "public_key_fingerprints",
            "fingerprints",
            "extensions_by_oid",
            "expired",
        ];
        assert_eq!(
            told(&target, name, options, &without),
            r#"{"changed":false,"signature_algorithm":"sha256WithRSAEncryption","subject":{"countryName":"DE","organizationName":"Lab & Söhne","commonName":"other"},"subject_ordered":[["countryName","DE"],["organizationName","Lab & Söhne"],["commonName","lab.example"],["commonName","other"]],"issuer":{"countryName":"DE","organizationName":"Lab & Söhne","commonName":"other"},"issuer_ordered":[["countryName","DE"],["organizationName","Lab & Söhne"],["commonName","lab.example"],["commonName","other"]],"version":3,"key_usage":["Digital Signature","Encipher Only","Key Agreement"],"key_usage_critical":true,"extended_key_usage":["1.2.3.4","Code Signing","TLS Web Server Authentication"],"extended_key_usage_critical":false,"basic_constraints":["CA:TRUE","pathlen:2"],"basic_constraints_critical":true,"ocsp_must_staple":true,"ocsp_must_staple_critical":false,"subject_alt_name":["DNS:lab.example","IP:10.0.0.1","email:a@b.c","URI:http://x/y","dirName:CN=dir,C=DE","otherName:1.2.3;0c:01:78","RID:1.2.3"],"subject_alt_name_critical":false,"not_before":"20261130121959Z","not_after":"20261230121959Z","public_key_type":"RSA","subject_key_identifier":"41:50:c3:36:1f:3f:b4:aa:44:28:79:33:92:e4:07:7f:f5:b4:aa:90","authority_key_identifier":"41:50:c3:36:1f:3f:b4:aa:44:28:79:33:92:e4:07:7f:f5:b4:aa:90","authority_cert_issuer":["dirName:CN=other,CN=lab.example,O=Lab & Söhne,C=DE"],"authority_cert_serial_number":4660,"serial_number":4660,"ocsp_uri":"http://ocsp/","issuer_uri":"http://ca/","valid_at":{"then":false,"now":true}}"#
        );
        let result = target.result(name, options);
        let data = serde_json::to_string(&result["public_key_data"]).unwrap();
        assert_eq!(
            data,
            r#"{"size":1024,"modulus":"149697211418594417504958931385784365154922581079729905795673404144690005606312630673759641457527282733098950619689506811309119249102994801252214381431262796974140686281042769651871552184954058746469825880765835640399489773002531047416835704757820815175931376162374294121683102589580168544331255931768176486637","exponent":65537}"#
        );
        let constraints = result["extensions_by_oid"].get("2.5.29.19").unwrap();
        assert_eq!(
            serde_json::to_string(constraints).unwrap(),
            r#"{"critical":true,"value":"MAYBAf8CAQI="}"#
        );
        assert_eq!(
            result["fingerprints"].get("sha1").unwrap().as_str(),
            Some("ae:ec:1b:0d:c9:8c:d3:50:2a:5a:dd:3f:d7:f1:60:e6:d2:b6:c9:31")
        );
    }

    #[test]
    fn a_request_is_told_whole() {
        if !has_openssl() {
            return;
        }
        let target = Target::new().file("csr", REQUEST);
        let without = ["public_key", "public_key_data", "public_key_fingerprints"];
        let told = told(
            &target,
            "community.crypto.openssl_csr_info",
            r#"{"path": "$ROOT/csr"}"#,
            &without,
        );
        assert_eq!(
            told,
            r#"{"changed":false,"subject":{"countryName":"DE","commonName":"lab.example"},"subject_ordered":[["countryName","DE"],["commonName","lab.example"]],"key_usage":null,"key_usage_critical":false,"extended_key_usage":null,"extended_key_usage_critical":false,"basic_constraints":["CA:TRUE"],"basic_constraints_critical":false,"ocsp_must_staple":null,"ocsp_must_staple_critical":false,"subject_alt_name":["DNS:lab.example"],"subject_alt_name_critical":false,"name_constraints_permitted":["DNS:a.b"],"name_constraints_excluded":["IP:10.0.0.0/8"],"name_constraints_critical":false,"public_key_type":"RSA","subject_key_identifier":null,"authority_key_identifier":null,"authority_cert_issuer":null,"authority_cert_serial_number":null,"extensions_by_oid":{"2.5.29.17":{"critical":false,"value":"MA2CC2xhYi5leGFtcGxl"},"2.5.29.30":{"critical":false,"value":"MBegBzAFggNhLmKhDDAKhwgKAAAA/wAAAA=="},"2.5.29.19":{"critical":false,"value":"MAMBAf8="}},"signature_valid":true}"#
        );
    }

    #[test]
    fn a_public_key_is_told_whole() {
        let target = Target::new().file("pub", EC);
        let told = told(
            &target,
            "community.crypto.openssl_publickey_info",
            r#"{"path": "$ROOT/pub"}"#,
            &["fingerprints"],
        );
        assert_eq!(
            told,
            r#"{"changed":false,"can_load_key":false,"can_parse_key":false,"key_is_consistent":null,"type":"ECC","public_data":{"curve":"secp256r1","x":"38215321130455981815267612196509695456851645692298716525205363310665834440168","y":"47577735223688620249167980048101685905039624853829280341874147225691694139639","exponent_size":256}}"#
        );
    }

    #[test]
    fn what_cannot_be_read_is_said() {
        let target = Target::new().file("pub", EC).file("crt", RSA);
        let said = |module: &str, options: &str| {
            let result = target.result(&format!("community.crypto.{module}"), options);
            result["msg"]
                .to_string()
                .replace(&target.path("").display().to_string(), "$ROOT/")
        };
        for (module, options, why) in [
            (
                "x509_certificate_info",
                r#"{"path": "$ROOT/none"}"#,
                "Error while reading certificate file from disk: [Errno 2] No such file or \
                 directory: '$ROOT/none'",
            ),
            (
                "x509_certificate_info",
                r#"{"path": "$ROOT/pub"}"#,
                "Valid PEM but no BEGIN CERTIFICATE/END CERTIFICATE delimiters. Are you sure this \
                 is a certificate?",
            ),
            (
                "x509_certificate_info",
                r#"{"content": "x"}"#,
                "the certificate cannot be read",
            ),
            (
                "x509_certificate_info",
                r#"{"path": "$ROOT/crt", "valid_at": {"a": 5}}"#,
                "The value for valid_at.a must be of type string (got <class 'int'>)",
            ),
            (
                "openssl_csr_info",
                r#"{"path": "$ROOT/crt"}"#,
                "Valid PEM but no BEGIN CERTIFICATE REQUEST/END CERTIFICATE REQUEST delimiters. \
                 Are you sure this is a CSR?",
            ),
            (
                "openssl_publickey_info",
                r#"{"path": "$ROOT/crt"}"#,
                "Error while deserializing key: Valid PEM but no BEGIN PUBLIC KEY/END PUBLIC KEY \
                 delimiters. Are you sure this is a public key?",
            ),
        ] {
            assert_eq!(said(module, options), why);
        }
    }
}
