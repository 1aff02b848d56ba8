//! `password`: a random password that is kept in a file, so the next run finds it again.

use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use super::{Found, Options, World};
use crate::crypt::random_salt;
use crate::template::{LookupCall, LookupError, Seeded, hash_password};
use crate::value::Value;

const PARAMETERS: [&str; 5] = ["length", "encrypt", "chars", "ident", "seed"];

pub(super) fn lookup(world: &World, call: &LookupCall<'_>) -> Found {
    let options = Options::new(call, &PARAMETERS)?;
    call.terms
        .iter()
        .map(|term| password(world, &options, &term.to_string()))
        .collect()
}

struct Parameters {
    path: PathBuf,
    length: usize,
    encrypt: Option<String>,
    letters: Vec<char>,
    ident: Option<String>,
    seed: Option<String>,
}

impl Parameters {
    fn read(world: &World, options: &Options<'_>, term: &str) -> Result<Self, LookupError> {
        let mut path = Vec::new();
        let mut inline: Vec<(&str, &str)> = Vec::new();
        for word in term.split(' ') {
            match word.split_once('=') {
                Some((name, value)) if !path.is_empty() => inline.push((name, value)),
                _ if !inline.is_empty() => {
                    return Err(
                        "Unrecognized value after key=value parameters given to password lookup"
                            .into(),
                    );
                }
                _ => path.push(word),
            }
        }
        let wrong: Vec<&str> = inline
            .iter()
            .map(|(name, _)| *name)
            .filter(|name| !PARAMETERS.contains(name))
            .collect();
        if !wrong.is_empty() {
            return Err(format!(
                "Unrecognized parameter(s) given to password lookup: {}",
                wrong.join(", ")
            )
            .into());
        }
        let option = |name: &str| {
            let inline = inline.iter().find(|(known, _)| *known == name);
            inline
                .map(|(_, value)| (*value).to_owned())
                .or_else(|| options.text(name))
        };
        let chars = match (
            inline.iter().find(|(name, _)| *name == "chars"),
            options.get("chars"),
        ) {
            (None, Some(Value::List(specs))) => specs.iter().map(ToString::to_string).collect(),
            _ => match option("chars") {
                Some(text) => specs(&text),
                None => vec!["ascii_letters".into(), "digits".into(), ".,:-_".into()],
            },
        };
        let length = option("length").unwrap_or_else(|| "20".into());
        let path = path.join(" ");
        let path = if path.starts_with('/') || path.starts_with('~') {
            world.candidates(None, &path).remove(0)
        } else {
            world.base_dir.join(path)
        };
        Ok(Self {
            path,
            length: length.parse().map_err(|_| {
                LookupError::Failed(format!("the password length '{length}' is not a number"))
            })?,
            encrypt: option("encrypt").filter(|kind| !kind.is_empty()),
            letters: chars.iter().flat_map(|spec| letters(spec)).collect(),
            ident: option("ident"),
            seed: option("seed"),
        })
    }
}

/// Splits `chars=a,b`; two commas stand for the comma itself.
fn specs(text: &str) -> Vec<String> {
    let mut out = Vec::new();
    if text.contains(",,") {
        out.push(",".to_owned());
    }
    out.extend(
        text.replace(",,", ",")
            .split(',')
            .filter(|spec| !spec.is_empty())
            .map(str::to_owned),
    );
    out
}

/// Returns the letters a name of Python's `string` module stands for, or the text itself.
fn letters(spec: &str) -> Vec<char> {
    let lower = "abcdefghijklmnopqrstuvwxyz";
    let upper = "ABCDEFGHIJKLMNOPQRSTUVWXYZ";
    let punctuation = "!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~";
    let text = match spec {
        "ascii_letters" => format!("{lower}{upper}"),
        "ascii_lowercase" => lower.into(),
        "ascii_uppercase" => upper.into(),
        "digits" => "0123456789".into(),
        "hexdigits" => "0123456789abcdefABCDEF".into(),
        "octdigits" => "01234567".into(),
        "punctuation" => punctuation.into(),
        "whitespace" => " \t\n\r\x0b\x0c".into(),
        "printable" => format!("0123456789{lower}{upper}{punctuation} \t\n\r\x0b\x0c"),
        other => other.to_owned(),
    };
    text.chars().filter(|c| !matches!(c, '"' | '\'')).collect()
}

/// What the file of a password holds: `PASSWORD[ salt=SALT[ ident=IDENT]]`.
struct Kept {
    password: String,
    salt: Option<String>,
    ident: Option<String>,
}

impl Kept {
    fn read(text: &str) -> Self {
        let Some((password, rest)) = text.rsplit_once(" salt=") else {
            return Self {
                password: text.to_owned(),
                salt: None,
                ident: None,
            };
        };
        let (salt, ident) = match rest.rsplit_once(" ident=") {
            Some((salt, ident)) => (salt, Some(ident.to_owned())),
            None => (rest, None),
        };
        Self {
            password: password.to_owned(),
            salt: Some(salt.to_owned()),
            ident,
        }
    }

    fn write(&self) -> String {
        let mut text = self.password.clone();
        if let Some(salt) = &self.salt {
            text = format!("{text} salt={salt}");
            if let Some(ident) = &self.ident {
                text = format!("{text} ident={ident}");
            }
        }
        text
    }
}

fn password(world: &World, options: &Options<'_>, term: &str) -> Result<Value, LookupError> {
    /// Hosts of one run must not each make a password of their own.
    static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
    let parameters = Parameters::read(world, options, term)?;
    let _turn = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    let is_kept = parameters.path != Path::new("/dev/null");
    let content = is_kept
        .then(|| std::fs::read_to_string(&parameters.path).ok())
        .flatten();
    let mut changed = content.is_none();
    let mut kept = match content {
        Some(content) => Kept::read(content.trim_end()),
        None => Kept {
            password: generated(&parameters)?,
            salt: None,
            ident: None,
        },
    };
    if let Some(kind) = &parameters.encrypt {
        if kept.salt.is_none() {
            kept.salt = Some(random_salt(salt_length(kind)));
            changed = true;
        }
        let wanted = parameters
            .ident
            .clone()
            .or_else(|| (kind == "bcrypt").then(|| "2b".to_owned()));
        if kept.ident.is_none() && wanted.is_some() {
            kept.ident = wanted;
            changed = true;
        }
    }
    if changed && is_kept {
        keep(&parameters.path, &kept.write())
            .map_err(|error| format!("{}: {error}", parameters.path.display()))?;
    }
    match &parameters.encrypt {
        None => Ok(kept.password.into()),
        Some(kind) => hash_password(
            &kept.password,
            kind,
            kept.salt.as_deref(),
            kept.ident.as_deref(),
        )
        .map_err(LookupError::Failed),
    }
}

fn salt_length(kind: &str) -> usize {
    match kind {
        "bcrypt" | "blowfish" => 22,
        "md5_crypt" | "sha256_crypt" | "sha512_crypt" => 16,
        _ => 8,
    }
}

fn generated(parameters: &Parameters) -> Result<String, LookupError> {
    if parameters.letters.is_empty() {
        return Err("the password lookup has no characters to choose from".into());
    }
    let mut source = Seeded::new(parameters.seed.as_deref());
    Ok((0..parameters.length)
        .map(|_| parameters.letters[source.below(parameters.letters.len())])
        .collect())
}

fn keep(path: &Path, content: &str) -> std::io::Result<()> {
    use std::io::Write as _;
    use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};

    if let Some(parent) = path.parent() {
        std::fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(parent)?;
    }
    let mut file = std::fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(path)?;
    writeln!(file, "{content}")?;
    file.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kept_password_is_read_with_its_salt() {
        let kept = Kept::read("a b salt=xyz ident=2b");
        assert_eq!(kept.password, "a b");
        assert_eq!(kept.salt.as_deref(), Some("xyz"));
        assert_eq!(kept.write(), "a b salt=xyz ident=2b");
    }

    #[test]
    fn two_commas_stand_for_a_comma() {
        assert_eq!(specs("digits,,,x"), [",", "digits", "x"]);
        assert_eq!(letters("octdigits").len(), 8);
    }
}
