//! `backstay secrets certificate`: the identity token that GitHub Actions gives a job, exchanged at
//! a Vault-compatible signer for an SSH certificate that is good for minutes. No key outlives the
//! job, and none is kept anywhere.
//!
//! The private key never leaves this machine: the signer sees the public one.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use russh::keys::ssh_key::LineEnding;
use russh::keys::ssh_key::certificate::CertType;
use russh::keys::{Algorithm, Certificate, PrivateKey};

use super::http::{self, Message};
use super::{fleet, required_secrets};
use crate::config::Surroundings;
use crate::error::{EXIT_OK, Error, Result};
use crate::redactor::Redactor;

/// `backstay secrets certificate`.
#[derive(Debug, Args)]
pub(super) struct CertificateArgs {
    /// Where the private key goes; its certificate goes beside it, as `FILE-cert.pub`
    #[arg(value_name = "FILE")]
    pub(super) file: PathBuf,
    /// The address of the signer, such as `https://vault:8200`
    #[arg(long, value_name = "URL")]
    pub(super) signer: String,
    /// The role of the signer's login
    #[arg(long, value_name = "NAME")]
    pub(super) login_role: String,
    /// The role that signs
    #[arg(long, value_name = "NAME")]
    pub(super) sign_role: String,
    /// The user of the hosts that the certificate is for
    #[arg(long, value_name = "NAME")]
    pub(super) user: String,
    /// How long it is to be good; the role of the signer has the last word
    #[arg(long, default_value = "30m", value_name = "TIME")]
    pub(super) ttl: String,
    /// Who the identity token is for
    #[arg(long, default_value = "backstay", value_name = "NAME")]
    pub(super) audience: String,
    /// Where the signer's login is mounted
    #[arg(long, default_value = "jwt", value_name = "PATH")]
    pub(super) login_mount: String,
    /// Where the signer's SSH engine is mounted
    #[arg(long, default_value = "ssh", value_name = "PATH")]
    pub(super) sign_mount: String,
}

/// How long each request may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// The variables that GitHub Actions sets where a job has `permissions: id-token: write`.
const TOKEN_URL: &str = "ACTIONS_ID_TOKEN_REQUEST_URL";
const TOKEN_KEY: &str = "ACTIONS_ID_TOKEN_REQUEST_TOKEN";

/// Makes a key, has it certified, and writes both.
pub(super) fn run(args: &CertificateArgs, surroundings: &Surroundings) -> Result<u8> {
    let redactor = Redactor::default();
    let in_actions = surroundings.environment.get("GITHUB_ACTIONS");
    let in_actions = in_actions.is_some_and(|value| value == "true");
    let identity = identity(args, surroundings)?;
    let base = args.signer.trim_end_matches('/');
    let login = exchange(
        &format!("{base}/v1/auth/{}/login", args.login_mount),
        None,
        &serde_json::json!({"role": args.login_role, "jwt": identity}),
    )?;
    let token = text_at(&login, "/auth/client_token", "the signer's login")?;
    redactor.add(&identity);
    redactor.add(&token);
    if in_actions {
        required_secrets::mask(&redactor)?;
    }
    let key = new_key()?;
    let signed = sign(args, base, &token, &key);
    // The certificate is all that is wanted of the login. A token that stays ends by itself.
    exchange(
        &format!("{base}/v1/auth/token/revoke-self"),
        Some(&token),
        &serde_json::json!({}),
    )
    .ok();
    let signed = signed?;
    let until = judge(
        &signed,
        &key,
        &args.user,
        jiff::Timestamp::now().as_second(),
    )?;
    let path = surroundings.working_directory.join(&args.file);
    let private = key
        .to_openssh(LineEnding::LF)
        .map_err(|error| Error::usage("the key cannot be written down").caused_by(error))?;
    write(&path, &private, 0o600)?;
    write(&certificate_of(&path), &signed, 0o644)?;
    let until = fleet::when(until);
    fleet::print(&format!(
        "{}: a certificate for {}, good until {until}\n",
        args.file.display(),
        args.user
    ))
    .map_err(|mut errors| errors.remove(0))?;
    Ok(EXIT_OK)
}

fn new_key() -> Result<PrivateKey> {
    PrivateKey::random(&mut russh::keys::key::safe_rng(), Algorithm::Ed25519)
        .map_err(|error| Error::usage("no key can be made").caused_by(error))
}

/// Asks GitHub Actions for the token that says which job this is.
fn identity(args: &CertificateArgs, surroundings: &Surroundings) -> Result<String> {
    let variable = |name: &str| {
        let value = surroundings.environment.get(name);
        value.filter(|value| !value.is_empty()).ok_or_else(|| {
            Error::missing(format!("the environment has no variable `{name}`"))
                .help("give the job `permissions: {id-token: write}`")
        })
    };
    let (url, key) = (variable(TOKEN_URL)?, variable(TOKEN_KEY)?);
    let joint = if url.contains('?') { '&' } else { '?' };
    let url = format!("{url}{joint}audience={}", http::encoded(&args.audience));
    let headers = [
        ("Authorization", format!("bearer {key}")),
        ("Accept", "application/json; api-version=2.0".into()),
    ];
    let answer = http::get_as(&url, &headers, PATIENCE)
        .map_err(|why| refused(format!("there is no identity token: {why}")))?;
    let answer = serde_json::from_str(&answer).unwrap_or_default();
    text_at(&answer, "/value", "the service of identity tokens")
}

fn sign(args: &CertificateArgs, base: &str, token: &str, key: &PrivateKey) -> Result<String> {
    let public = key
        .public_key()
        .to_openssh()
        .map_err(|error| Error::usage("the key cannot be written down").caused_by(error))?;
    let answer = exchange(
        &format!("{base}/v1/{}/sign/{}", args.sign_mount, args.sign_role),
        Some(token),
        &serde_json::json!({
            "public_key": public,
            "valid_principals": args.user,
            "cert_type": "user",
            "ttl": args.ttl,
        }),
    )?;
    text_at(&answer, "/data/signed_key", "the signer")
}

/// Sends JSON to the signer; what it refuses is told in its own words.
fn exchange(url: &str, token: Option<&str>, body: &serde_json::Value) -> Result<serde_json::Value> {
    let mut headers = vec![("Content-Type", "application/json".to_owned())];
    headers.extend(token.map(|token| ("X-Vault-Token", token.to_owned())));
    let message = Message {
        url: url.to_owned(),
        headers,
        body: body.to_string(),
    };
    let (status, text) = http::exchange(&message, PATIENCE)
        .map_err(|why| refused(format!("the signer cannot be asked: {why}")))?;
    let answer: serde_json::Value = serde_json::from_str(&text).unwrap_or_default();
    if (200..300).contains(&status) {
        return Ok(answer);
    }
    let errors = answer.get("errors").and_then(|errors| errors.as_array());
    let told: Vec<&str> = errors
        .into_iter()
        .flatten()
        .filter_map(|error| error.as_str())
        .collect();
    Err(refused(format!(
        "{url} answered {status}: {}",
        told.join("; ")
    )))
}

fn refused(message: String) -> Error {
    Error::missing(message).help(
        "look at the roles of the signer and at what the identity token must say: docs/runbooks/secrets-expired.md",
    )
}

fn text_at(answer: &serde_json::Value, pointer: &str, who: &str) -> Result<String> {
    let text = answer.pointer(pointer).and_then(|value| value.as_str());
    text.map(str::to_owned)
        .ok_or_else(|| refused(format!("{who} gave no `{pointer}`")))
}

/// Returns until when a certificate is good, if it is one for this key and user.
fn judge(text: &str, key: &PrivateKey, user: &str, now: i64) -> Result<i64> {
    let certificate = Certificate::from_openssh(text.trim())
        .map_err(|error| refused("the signer gave no certificate".into()).caused_by(error))?;
    let until = i64::try_from(certificate.valid_before()).unwrap_or(i64::MAX);
    let wrong = if certificate.public_key() != key.public_key().key_data() {
        Some("is for another key".to_owned())
    } else if certificate.cert_type() != CertType::User {
        Some("is for a host".to_owned())
    } else if !certificate.valid_principals().iter().any(|it| it == user) {
        Some(format!("is not for `{user}`"))
    } else if until <= now {
        Some("has expired".to_owned())
    } else {
        None
    };
    match wrong {
        Some(why) => Err(refused(format!("the signer's certificate {why}"))),
        None => Ok(until),
    }
}

/// Returns where OpenSSH looks for the certificate of a key.
fn certificate_of(key: &Path) -> PathBuf {
    let mut name = key.as_os_str().to_owned();
    name.push("-cert.pub");
    name.into()
}

/// Writes a file that nobody else could open while it was written.
#[expect(clippy::disallowed_methods, reason = "a file of the controller")]
fn write(path: &Path, text: &str, mode: u32) -> Result<()> {
    let wrong = |error: std::io::Error| {
        Error::usage(format!("`{}` cannot be written", path.display())).caused_by(error)
    };
    let mut fresh = path.as_os_str().to_owned();
    fresh.push(format!(".{}.new", std::process::id()));
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(mode)
        .open(&fresh)
        .map_err(wrong)?;
    file.write_all(text.trim_end().as_bytes())
        .and_then(|()| file.write_all(b"\n"))
        .and_then(|()| fs::rename(&fresh, path))
        .map_err(wrong)
}

#[cfg(test)]
mod tests {
    use super::*;
    use russh::keys::ssh_key::certificate::Builder;

    fn certificate(of: &PrivateKey, authority: &PrivateKey, until: u64) -> String {
        let mut rng = russh::keys::key::safe_rng();
        let mut builder =
            Builder::new_with_random_nonce(&mut rng, of.public_key().clone(), 0, until).unwrap();
        builder.valid_principal("deploy").unwrap();
        builder.cert_type(CertType::User).unwrap();
        builder.sign(authority).unwrap().to_openssh().unwrap()
    }

    #[test]
    fn a_certificate_for_another_key_or_user_or_of_yesterday_is_refused() {
        let (key, other) = (new_key().unwrap(), new_key().unwrap());
        let own = certificate(&key, &other, 2000);
        let told = |text: &str, user: &str, now: i64| {
            judge(text, &key, user, now).map_err(|error| error.message)
        };
        assert_eq!(told(&own, "deploy", 1000), Ok(2000));
        let cases = [
            (own.as_str(), "root", 1000, "is not for `root`"),
            (&own, "deploy", 2000, "has expired"),
            (
                &certificate(&other, &other, 2000),
                "deploy",
                1000,
                "is for another key",
            ),
        ];
        for (text, user, now, why) in cases {
            let wanted = format!("the signer's certificate {why}");
            assert_eq!(told(text, user, now), Err(wanted));
        }
        let none = told("ssh-ed25519 AAAA", "deploy", 1000);
        assert_eq!(none, Err("the signer gave no certificate".into()));
    }
}
