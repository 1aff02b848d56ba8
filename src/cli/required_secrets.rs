//! `backstay secrets check`: whether the secrets a repository says it needs are there, well
//! formed and not about to expire. Values are never shown; GitHub Actions is told to mask them.

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use clap::{Parser, Subcommand};
use russh::keys::HashAlg;

use super::certificate;
use super::fleet;
use super::signer::{self, CertificateArgs};
use crate::config::Surroundings;
use crate::error::{EXIT_ERROR, EXIT_OK, Error, Result, nearest};
use crate::redactor::Redactor;
use crate::value::Value;
use crate::yaml;

/// `backstay secrets`.
#[derive(Debug, Parser)]
#[command(name = "backstay-secrets")]
pub(super) struct SecretsArgs {
    #[command(subcommand)]
    pub(super) action: SecretsAction,
}

/// What to do with secrets.
#[derive(Debug, Subcommand)]
pub(super) enum SecretsAction {
    /// Check that they are there, well formed and not expired
    Check {
        /// The file that names them
        #[arg(value_name = "FILE")]
        file: PathBuf,
        /// Warn of what expires within this many days
        #[arg(long, default_value_t = 14, value_name = "DAYS")]
        warn: i64,
        /// Write JSON
        #[arg(long)]
        json: bool,
    },
    /// Have a signer certify a new SSH key by this runner's identity token
    Certificate(CertificateArgs),
}

/// Something expires soon; everything is well otherwise.
const EXIT_SOON: u8 = 3;

const DAY: i64 = 86_400;

/// A secret that is needed.
#[derive(Debug, PartialEq)]
struct Required {
    /// The environment variable it is in.
    name: String,
    kind: Kind,
    /// The file it is in, instead of a variable.
    file: Option<String>,
    optional: bool,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Kind {
    Text,
    Jwt,
    Certificate,
    SshKey,
}

const KINDS: [(&str, Kind); 4] = [
    ("text", Kind::Text),
    ("jwt", Kind::Jwt),
    ("certificate", Kind::Certificate),
    ("ssh_key", Kind::SshKey),
];

/// How a secret stands.
#[derive(Clone, Copy, Debug, PartialEq, PartialOrd)]
enum Standing {
    Fine,
    Soon,
    Wrong,
}

/// Checks the secrets and prints how each stands.
pub(super) fn run(args: &SecretsArgs, surroundings: &Surroundings) -> Result<u8> {
    let (file, warn, json) = match &args.action {
        SecretsAction::Check { file, warn, json } => (file, warn, json),
        SecretsAction::Certificate(args) => return signer::run(args, surroundings),
    };
    let path = surroundings.working_directory.join(file);
    let text = std::fs::read_to_string(&path).map_err(|error| {
        Error::missing(format!("the file `{}` cannot be read", file.display())).caused_by(error)
    })?;
    let required = required(&text)?;
    let values: Vec<Option<String>> = required
        .iter()
        .map(|secret| value_of(secret, surroundings))
        .collect();
    let redactor = Redactor::default();
    values
        .iter()
        .flatten()
        .for_each(|value| redactor.add(value));
    let in_actions = surroundings.environment.get("GITHUB_ACTIONS");
    if in_actions.is_some_and(|value| value == "true") {
        mask(&redactor)?;
    }
    let now = jiff::Timestamp::now().as_second();
    let told: Vec<_> = required
        .iter()
        .zip(&values)
        .map(|(secret, value)| (secret, check(secret, value.as_deref(), now, *warn)))
        .collect();
    let worst =
        told.iter()
            .map(|(_, (standing, _))| *standing)
            .fold(
                Standing::Fine,
                |one, other| if other > one { other } else { one },
            );
    print(&told, &redactor, *json)?;
    Ok(match worst {
        Standing::Fine => EXIT_OK,
        Standing::Soon => EXIT_SOON,
        Standing::Wrong => EXIT_ERROR,
    })
}

fn print(told: &[(&Required, (Standing, String))], redactor: &Redactor, json: bool) -> Result<()> {
    let word = |standing: Standing| match standing {
        Standing::Fine => "ok",
        Standing::Soon => "expires soon",
        Standing::Wrong => "wrong",
    };
    let first = |mut errors: Vec<Error>| errors.remove(0);
    if json {
        let all = told.iter().map(|(secret, (standing, said))| {
            Value::map([
                ("name", Value::from(secret.name.as_str())),
                ("standing", word(*standing).replace(' ', "_").into()),
                ("told", redactor.redact(said).as_ref().into()),
            ])
        });
        return fleet::print_json(&Value::list(all)).map_err(first);
    }
    let lines = told.iter().map(|(secret, (standing, said))| {
        format!("{}: {}: {said}\n", secret.name, word(*standing))
    });
    fleet::print(&redactor.redact(&lines.collect::<String>())).map_err(first)
}

/// Tells the log of GitHub Actions what to mask, before anything else is written. The lines of a
/// text are secrets of their own, as its encoded forms are.
pub(super) fn mask(redactor: &Redactor) -> Result<()> {
    let mut out = io::stdout().lock();
    for secret in redactor.known_from(0) {
        if !secret.contains(['\n', '\r']) {
            writeln!(out, "::add-mask::{}", secret.replace('%', "%25"))
                .map_err(super::cannot_print)?;
        }
    }
    Ok(())
}

fn required(text: &str) -> Result<Vec<Required>> {
    let root = yaml::parse_data(text)
        .map_err(|error| Error::content("the list of secrets is no YAML").caused_by(error))?;
    let list = root
        .get("secrets")
        .and_then(Value::as_list)
        .ok_or_else(|| {
            Error::content("the file has no list `secrets`")
                .help("write `secrets: [{name: DEPLOY_KEY}]`")
        })?;
    list.iter().map(one).collect()
}

fn one(entry: &Value) -> Result<Required> {
    let keys = ["name", "kind", "file", "optional"];
    for key in entry
        .as_map()
        .into_iter()
        .flatten()
        .map(|(key, _)| key.to_string())
    {
        if !keys.contains(&key.as_str()) {
            return Err(Error::content(format!("a secret has no `{key}`")).suggest(&key, keys));
        }
    }
    let text = |key: &str| entry.get(key).and_then(Value::as_str).map(str::to_owned);
    let name = text("name").ok_or_else(|| Error::content("a secret has no `name`"))?;
    let word = text("kind").unwrap_or_else(|| "text".into());
    let kind = KINDS.iter().find(|(known, _)| *known == word);
    let kind = kind.map(|(_, kind)| *kind).ok_or_else(|| {
        let known = KINDS.map(|(known, _)| known);
        let error = Error::content(format!("`{name}`: there is no kind `{word}`"));
        match nearest(&word, known) {
            Some(near) => error.help(format!("did you mean `{near}`?")),
            None => error.help(format!("the kinds are {}", known.join(", "))),
        }
    })?;
    Ok(Required {
        name,
        kind,
        file: text("file"),
        optional: entry.get("optional").is_some_and(Value::is_truthy),
    })
}

fn value_of(secret: &Required, surroundings: &Surroundings) -> Option<String> {
    let value = match &secret.file {
        Some(file) => {
            let home = |rest: &str| surroundings.home.join(rest);
            let path = file
                .strip_prefix("~/")
                .map_or_else(|| surroundings.working_directory.join(file), home);
            read(&path)?
        }
        None => surroundings.environment.get(&secret.name)?.clone(),
    };
    (!value.trim().is_empty()).then_some(value)
}

fn read(path: &Path) -> Option<String> {
    std::fs::read_to_string(path).ok()
}

fn check(secret: &Required, value: Option<&str>, now: i64, warn: i64) -> (Standing, String) {
    let Some(value) = value else {
        return if secret.optional {
            (Standing::Fine, "not there, and optional".into())
        } else {
            let place = secret.file.as_ref().map_or_else(
                || "the environment has no such variable".to_owned(),
                |file| format!("`{file}` is not there or empty"),
            );
            (Standing::Wrong, place)
        };
    };
    let expiry = match secret.kind {
        Kind::Text => return (Standing::Fine, "there".into()),
        Kind::SshKey => return ssh_key(value),
        Kind::Jwt => jwt_expiry(value),
        Kind::Certificate => certificate::expiry(value)
            .map(Some)
            .ok_or("it is no certificate in PEM"),
    };
    match expiry {
        Err(why) => (Standing::Wrong, why.into()),
        Ok(None) => (Standing::Fine, "it does not expire".into()),
        Ok(Some(time)) => expires(time, now, warn),
    }
}

fn expires(time: i64, now: i64, warn: i64) -> (Standing, String) {
    let when = fleet::when(time);
    if time <= now {
        (Standing::Wrong, format!("expired at {when}"))
    } else if time - now <= warn.saturating_mul(DAY) {
        let days = (time - now) / DAY;
        (Standing::Soon, format!("expires at {when}, in {days} days"))
    } else {
        (Standing::Fine, format!("expires at {when}"))
    }
}

/// Returns when a token expires, in seconds since the epoch, where it ever does.
fn jwt_expiry(token: &str) -> Result<Option<i64>, &'static str> {
    let foreign = "it is no JSON Web Token";
    let claims = claims(token).ok_or(foreign)?;
    match claims.get("exp") {
        None => Ok(None),
        Some(time) => time.as_i64().map(Some).ok_or(foreign),
    }
}

fn claims(token: &str) -> Option<serde_json::Map<String, serde_json::Value>> {
    let parts: Vec<&str> = token.trim().split('.').collect();
    let [_, payload, _] = parts[..] else {
        return None;
    };
    let bytes = URL_SAFE_NO_PAD.decode(payload.trim_end_matches('=')).ok()?;
    serde_json::from_slice(&bytes).ok()
}

fn ssh_key(text: &str) -> (Standing, String) {
    if !text.ends_with('\n') {
        let told = "the key does not end with a line break, so it was cut when it was copied";
        return (Standing::Wrong, told.into());
    }
    match russh::keys::decode_secret_key(text, None) {
        Ok(key) => {
            let fingerprint = key.public_key().fingerprint(HashAlg::Sha256);
            (
                Standing::Fine,
                format!("{} {fingerprint}", key.algorithm().as_str()),
            )
        }
        Err(russh::keys::Error::KeyIsEncrypted) => {
            (Standing::Fine, "a key that needs its passphrase".into())
        }
        Err(_) => (Standing::Wrong, "it is no private SSH key".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(kind: Kind, value: &str) -> (Standing, String) {
        let secret = Required {
            name: "X".into(),
            kind,
            file: None,
            optional: false,
        };
        check(&secret, Some(value), 1_000_000, 14)
    }

    fn token(claims: &str) -> String {
        format!("e30.{}.sig", URL_SAFE_NO_PAD.encode(claims))
    }

    #[test]
    fn a_token_is_judged_by_its_expiry_and_the_window() {
        let cases = [
            (
                r#"{"exp":999999}"#,
                Standing::Wrong,
                "expired at 1970-01-12T13:46:39Z",
            ),
            (
                r#"{"exp":1259200}"#,
                Standing::Soon,
                "expires at 1970-01-15T13:46:40Z, in 3 days",
            ),
            (
                r#"{"exp":9000000}"#,
                Standing::Fine,
                "expires at 1970-04-15T04:00:00Z",
            ),
            (r#"{"sub":"a"}"#, Standing::Fine, "it does not expire"),
        ];
        for (claims, standing, text) in cases {
            assert_eq!(told(Kind::Jwt, &token(claims)), (standing, text.to_owned()));
        }
        assert_eq!(told(Kind::Jwt, "a.b").0, Standing::Wrong);
        assert_eq!(
            told(Kind::Jwt, &token(r#"{"exp":"soon"}"#)).0,
            Standing::Wrong
        );
    }

    #[test]
    fn a_key_that_lost_its_last_line_break_is_told_as_cut() {
        let (standing, text) = told(Kind::SshKey, "-----BEGIN OPENSSH PRIVATE KEY-----");
        assert_eq!(standing, Standing::Wrong);
        assert!(text.starts_with("the key does not end with a line break"));
        assert_eq!(
            told(Kind::SshKey, "nothing\n").1,
            "it is no private SSH key"
        );
    }

    #[test]
    fn the_list_refuses_what_it_does_not_know() {
        let message = |text: &str| required(text).unwrap_err().message;
        assert_eq!(
            message("secrets: [{name: A, kid: jwt}]"),
            "a secret has no `kid`"
        );
        assert_eq!(
            message("secrets: [{name: A, kind: jwd}]"),
            "`A`: there is no kind `jwd`"
        );
        assert_eq!(message("[]"), "the file has no list `secrets`");
    }
}
