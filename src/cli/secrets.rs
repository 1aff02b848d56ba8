//! Where passwords come from: options, files, scripts, prompts and settings.
//!
//! A password is read once, registered with the redactor, and never printed.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::arguments::{BecomeArgs, ConnectionArgs, VaultPasswordArgs};
use super::{programs, terminal};
use crate::config::Config;
use crate::error::{Error, ErrorKind, Result};
use crate::redactor::Redactor;
use crate::source::SourceFile;
use crate::value::Value;
use crate::vault::{self, DEFAULT_ID, Secrets};
use crate::yaml;

/// Reads every vault password the options and settings name, in Ansible's order. A file that
/// gives none is a warning, and an error only where no other source gave one.
pub(super) fn vault_secrets(
    args: &VaultPasswordArgs,
    config: &Config,
    directory: &Path,
    redactor: &Redactor,
) -> Result<(Secrets, Vec<String>)> {
    let mut secrets = Secrets::default();
    secrets.match_ids = config.is_on("DEFAULT_VAULT_ID_MATCH");
    secrets.salt = config
        .text("VAULT_ENCRYPT_SALT")
        .map(|salt| salt.into_bytes().into());
    let mut warnings = Vec::new();
    let mut last = None;
    let default_id = config
        .text("DEFAULT_VAULT_IDENTITY")
        .unwrap_or_else(|| DEFAULT_ID.into());
    for source in sources(args, config) {
        let (id, from) = match source.split_once('@') {
            Some((id, from)) if !id.is_empty() => (id.to_owned(), from),
            Some((_, from)) => (default_id.clone(), from),
            None => (default_id.clone(), source.as_str()),
        };
        let password = if matches!(from, "prompt" | "prompt_ask_vault_pass") {
            let prompt = if id == default_id {
                "Vault password: ".to_owned()
            } else {
                format!("Vault password ({id}): ")
            };
            terminal::ask_password(&prompt)?.into_bytes()
        } else {
            let path = directory.join(from);
            match password_file(&path, &id, &secrets) {
                Ok(password) => password,
                Err(error) => {
                    let step = if path.exists() {
                        "Error in vault password file loading"
                    } else {
                        "Error getting vault password file"
                    };
                    warnings.push(format!("{step} ({id}): {error}"));
                    last = Some(error);
                    continue;
                }
            }
        };
        redactor.add(&String::from_utf8_lossy(&password));
        secrets.add(id, password);
    }
    if let Some(error) = last.filter(|_| secrets.is_empty()) {
        return Err(error);
    }
    let registrar = redactor.clone();
    secrets.on_plaintext(Arc::new(move |plaintext| register(plaintext, &registrar)));
    Ok((secrets, warnings))
}

fn sources(args: &VaultPasswordArgs, config: &Config) -> Vec<String> {
    let mut sources: Vec<String> = config.list("DEFAULT_VAULT_IDENTITY_LIST");
    sources.extend(args.vault_id.iter().cloned());
    let files = args
        .vault_password_file
        .iter()
        .map(|path| path.display().to_string());
    sources.extend(files);
    sources.extend(config.text("DEFAULT_VAULT_PASSWORD_FILE"));
    if args.ask_vault_password
        || (config.is_on("DEFAULT_ASK_VAULT_PASS") && args.vault_password_file.is_empty())
    {
        sources.push("prompt".into());
    }
    sources
}

/// Reads a password file, or what it prints when it is executable; a script whose name ends in
/// `-client` is told which id is wanted.
fn password_file(path: &Path, id: &str, known: &Secrets) -> Result<Vec<u8>> {
    let shown = path.display();
    let metadata = std::fs::metadata(path).map_err(|_| {
        missing(format!("the vault password file {shown} was not found"))
            .help("write the password into that file, or name another with `--vault-password-file`")
    })?;
    if metadata.is_dir() {
        return Err(missing(format!(
            "the vault password file {shown} is a directory"
        )));
    }
    let is_client = path
        .file_stem()
        .is_some_and(|stem| stem.to_string_lossy().ends_with("-client"));
    let bytes = if metadata.permissions().mode() & 0o111 != 0 {
        let arguments: &[&str] = if is_client { &["--vault-id", id] } else { &[] };
        programs::output_of(path, arguments)?
    } else {
        read(path)?
    };
    let bytes = if vault::is_vaulted(&bytes) {
        vault::decrypt(&bytes, known)?
    } else {
        bytes
    };
    let password = bytes.trim_ascii().to_vec();
    if password.is_empty() {
        return Err(missing(format!("the vault password from {shown} is empty")));
    }
    Ok(password)
}

fn missing(why: String) -> Error {
    Error::new(ErrorKind::Missing, why)
}

fn read(path: &Path) -> Result<Vec<u8>> {
    std::fs::read(path).map_err(|error| {
        Error::usage(format!("the file {} cannot be read", path.display())).caused_by(error)
    })
}

/// Registers what was in a vault: every text of a YAML dictionary, or the whole text.
fn register(plaintext: &[u8], redactor: &Redactor) {
    let text = String::from_utf8_lossy(plaintext);
    let parsed = yaml::parse(&SourceFile::new("<vault>", text.as_ref()))
        .map(|document| document.root.to_value());
    match parsed {
        Ok(value @ (Value::Map(_) | Value::List(_))) => register_texts(&value, redactor),
        _ => redactor.add(&text),
    }
}

fn register_texts(value: &Value, redactor: &Redactor) {
    match value {
        Value::String(text) => redactor.add(text),
        Value::List(items) => items.iter().for_each(|item| register_texts(item, redactor)),
        Value::Map(map) => map.values().for_each(|item| register_texts(item, redactor)),
        _ => {}
    }
}

/// The passwords of connections and of privilege escalation.
#[derive(Default)]
pub(super) struct LoginPasswords {
    pub(super) connection: Option<String>,
    pub(super) become_: Option<String>,
}

/// Reads or asks for the passwords of connections and of privilege escalation.
pub(super) fn login_passwords(
    connection: &ConnectionArgs,
    become_: &BecomeArgs,
    config: &Config,
    redactor: &Redactor,
) -> Result<LoginPasswords> {
    let file = |given: &Option<PathBuf>, setting: &str| {
        given
            .clone()
            .or_else(|| config.text(setting).map(PathBuf::from))
    };
    let asks_connection = connection.ask_pass
        || (config.is_on("DEFAULT_ASK_PASS") && connection.connection_password_file.is_none());
    let connection_password = if asks_connection {
        Some(terminal::ask_password("SSH password: ")?)
    } else {
        from_file(file(
            &connection.connection_password_file,
            "CONNECTION_PASSWORD_FILE",
        ))?
    };
    let asks_become = become_.ask_pass
        || (config.is_on("DEFAULT_BECOME_ASK_PASS") && become_.password_file.is_none());
    let become_password = if asks_become {
        let method = config
            .text("DEFAULT_BECOME_METHOD")
            .unwrap_or_else(|| "sudo".into());
        let method = become_.method.clone().unwrap_or(method).to_uppercase();
        let default = if connection_password.is_some() {
            "[defaults to SSH password]"
        } else {
            ""
        };
        let typed = terminal::ask_password(&format!("{method} password{default}: "))?;
        if typed.is_empty() {
            connection_password.clone()
        } else {
            Some(typed)
        }
    } else {
        from_file(file(&become_.password_file, "BECOME_PASSWORD_FILE"))?
    };
    for password in [&connection_password, &become_password]
        .into_iter()
        .flatten()
    {
        redactor.add(password);
    }
    for setting in ["SUDO_BECOME_PASS", "SU_BECOME_PASS"] {
        if let Some(password) = config.text(setting) {
            redactor.add(&password);
        }
    }
    Ok(LoginPasswords {
        connection: connection_password,
        become_: become_password,
    })
}

/// Reads a password from a file, or from what it prints when it is executable; `-` is stdin.
fn from_file(path: Option<PathBuf>) -> Result<Option<String>> {
    let Some(path) = path else { return Ok(None) };
    let bytes = if path == Path::new("-") {
        let mut line = String::new();
        std::io::stdin().read_line(&mut line).map_err(|error| {
            Error::usage("the password cannot be read from standard input").caused_by(error)
        })?;
        line.into_bytes()
    } else {
        let metadata = std::fs::metadata(&path).map_err(|_| {
            Error::usage(format!(
                "the password file {} was not found",
                path.display()
            ))
        })?;
        if metadata.permissions().mode() & 0o111 != 0 {
            programs::output_of(&path, &[])?
        } else {
            read(&path)?
        }
    };
    let password = String::from_utf8_lossy(bytes.trim_ascii()).into_owned();
    if password.is_empty() {
        return Err(missing(format!(
            "an empty password was read from {}",
            path.display()
        )));
    }
    Ok(Some(password))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_text_of_a_vaulted_dictionary_is_masked_and_its_keys_are_not() {
        let redactor = Redactor::default();
        register(
            b"db_password: correct-horse\nport: 5432\nlist: [battery-staple]\n",
            &redactor,
        );
        assert_eq!(
            redactor.redact("db_password correct-horse 5432 battery-staple"),
            "db_password ******** 5432 ********"
        );
    }

    #[test]
    #[expect(clippy::disallowed_methods, reason = "a test writes its own fixture")]
    fn an_executable_client_is_told_the_id_and_a_plain_file_is_read() {
        let directory = tempfile::tempdir().unwrap();
        let known = Secrets::default();
        let client = directory.path().join("ask-client.sh");
        std::fs::write(&client, "#!/bin/sh\necho \"secret for $2\"\n").unwrap();
        std::fs::set_permissions(&client, std::fs::Permissions::from_mode(0o700)).unwrap();
        assert_eq!(
            password_file(&client, "dev", &known).unwrap(),
            b"secret for dev"
        );
        let plain = directory.path().join("plain");
        std::fs::write(&plain, " word \n").unwrap();
        assert_eq!(password_file(&plain, "dev", &known).unwrap(), b"word");
        let missing = password_file(&directory.path().join("none"), "dev", &known).unwrap_err();
        assert!(
            missing.message.ends_with("/none was not found"),
            "{}",
            missing.message
        );
    }
}
