//! What `ansible-vault` does with files: encrypt, decrypt, create, edit, view, rekey.
//!
//! Works through a trait that reads, writes and edits; asks nobody and prints nothing. A file is
//! only written once its whole new content is known.

use std::sync::Arc;

use super::{Envelope, Secrets, VaultError, decrypt_with_id, encrypt, encrypt_with_salt};
use crate::error::{Error, nearest};

/// The files a vault command works on; `-` is standard input and output.
pub trait VaultFiles {
    /// Reads a whole file.
    fn read(&self, path: &str) -> Result<Vec<u8>, Error>;

    /// Replaces a file whole, keeping its owner and mode, or makes it readable by its owner only.
    fn write(&self, path: &str, content: &[u8]) -> Result<(), Error>;

    /// Tells whether there is a file.
    fn exists(&self, path: &str) -> bool;

    /// Lets the user edit a content, in a private file named like `path`; returns the new one.
    fn edit(&self, path: &str, content: &[u8]) -> Result<Vec<u8>, Error>;
}

/// A password to encrypt with, and the id that is written into the text.
#[derive(Clone)]
pub struct Key {
    pub id: String,
    pub password: Arc<[u8]>,
    pub salt: Option<Arc<[u8]>>,
}

impl Key {
    /// Returns the vaulted text of a plaintext that is none yet.
    pub fn seal(&self, plaintext: &[u8]) -> Result<String, VaultError> {
        if super::is_vaulted(plaintext) {
            return Err(VaultError::AlreadyVaulted);
        }
        Ok(match &self.salt {
            Some(salt) => encrypt_with_salt(plaintext, &self.password, Some(&self.id), salt),
            None => encrypt(plaintext, &self.password, Some(&self.id)),
        })
    }
}

impl Secrets {
    /// Chooses the key to encrypt with: the one of `id` (`--encrypt-vault-id`), or the only one.
    pub fn encryption_key(&self, id: Option<&str>) -> Result<Key, Error> {
        let ids: Vec<&str> = self.ids().collect();
        let chosen = match (id, ids.as_slice()) {
            (Some(id), _) => id,
            (None, [only]) => only,
            (None, []) => {
                return Err(
                    Error::usage("a vault password is required to use the vault")
                        .help("give it with `--vault-password-file` or `--ask-vault-pass`"),
                );
            }
            (None, ids) => {
                return Err(Error::usage(format!(
                    "the vault-ids {} are available to encrypt",
                    ids.join(",")
                ))
                .help("choose one with `--encrypt-vault-id`"));
            }
        };
        let password = self.get(chosen).ok_or_else(|| {
            let known: Vec<_> = ids.iter().map(|id| format!("'{id}'")).collect();
            let told = format!(
                "Did not find a match for --encrypt-vault-id={chosen} in the known vault-ids [{}]",
                known.join(", ")
            );
            Error::content(told).help(match nearest(chosen, ids.iter().copied()) {
                Some(near) => format!("did you mean `{near}`?"),
                None => format!("give it with `--vault-id {chosen}@FILE`"),
            })
        })?;
        Ok(Key {
            id: chosen.to_string(),
            password: Arc::clone(password),
            salt: self.salt.clone(),
        })
    }
}

/// Encrypts a file in place, or into `output`.
pub fn encrypt_file(
    files: &dyn VaultFiles,
    path: &str,
    output: Option<&str>,
    key: &Key,
) -> Result<(), Error> {
    let plaintext = files.read(path)?;
    let vaulted = key.seal(&plaintext).map_err(|error| about(error, path))?;
    files.write(output.unwrap_or(path), vaulted.as_bytes())
}

/// Decrypts a file in place, or into `output`.
pub fn decrypt_file(
    files: &dyn VaultFiles,
    path: &str,
    output: Option<&str>,
    secrets: &Secrets,
) -> Result<(), Error> {
    let plaintext = view_file(files, path, secrets)?;
    files.write(output.unwrap_or(path), &plaintext)
}

/// Returns the plaintext of a file.
pub fn view_file(files: &dyn VaultFiles, path: &str, secrets: &Secrets) -> Result<Vec<u8>, Error> {
    let vaulted = files.read(path)?;
    super::decrypt(&vaulted, secrets).map_err(|error| about(error, path))
}

/// Lets the user write a new file, which is then encrypted.
pub fn create_file(files: &dyn VaultFiles, path: &str, key: &Key) -> Result<(), Error> {
    if files.exists(path) {
        return Err(Error::content(format!("{path} exists"))
            .help(format!("edit it with `backstay vault edit {path}`")));
    }
    let plaintext = files.edit(path, b"")?;
    let vaulted = key.seal(&plaintext).map_err(|error| about(error, path))?;
    files.write(path, vaulted.as_bytes())
}

/// Lets the user edit a file; it keeps its id and password, and is written only when changed.
pub fn edit_file(files: &dyn VaultFiles, path: &str, secrets: &Secrets) -> Result<(), Error> {
    let vaulted = files.read(path)?;
    let (plaintext, used) =
        decrypt_with_id(&vaulted, secrets).map_err(|error| about(error, path))?;
    let envelope = Envelope::parse(&vaulted).map_err(|error| about(error, path))?;
    let edited = files.edit(path, &plaintext)?;
    if edited == plaintext {
        return Ok(());
    }
    let mut key = secrets.encryption_key(Some(used))?;
    key.id = envelope.id;
    let vaulted = key.seal(&edited).map_err(|error| about(error, path))?;
    files.write(path, vaulted.as_bytes())
}

/// Encrypts a file anew under another key.
pub fn rekey_file(
    files: &dyn VaultFiles,
    path: &str,
    secrets: &Secrets,
    key: &Key,
) -> Result<(), Error> {
    let plaintext = view_file(files, path, secrets)?;
    let vaulted = key.seal(&plaintext).map_err(|error| about(error, path))?;
    files.write(path, vaulted.as_bytes())
}

/// Returns a text encrypted as a YAML value, under its name where it has one.
pub fn encrypt_string(plaintext: &[u8], name: Option<&str>, key: &Key) -> Result<String, Error> {
    let vaulted = key.seal(plaintext)?;
    let head = name.map_or_else(String::new, |name| format!("{name}: "));
    let lines = vaulted.lines().map(|line| format!("\n          {line}"));
    Ok(format!("{head}!vault |{}", lines.collect::<String>()))
}

fn about(error: VaultError, path: &str) -> Error {
    let mut error = Error::from(error);
    error.message = format!("{} for {path}", error.message);
    error
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::collections::BTreeMap;

    use super::*;

    /// Files in memory; the editor appends a line.
    #[derive(Default)]
    struct Memory {
        files: RefCell<BTreeMap<String, Vec<u8>>>,
        appended: &'static str,
    }

    impl VaultFiles for Memory {
        fn read(&self, path: &str) -> Result<Vec<u8>, Error> {
            let files = self.files.borrow();
            files
                .get(path)
                .cloned()
                .ok_or_else(|| Error::usage("no such file"))
        }

        fn write(&self, path: &str, content: &[u8]) -> Result<(), Error> {
            self.files
                .borrow_mut()
                .insert(path.into(), content.to_vec());
            Ok(())
        }

        fn exists(&self, path: &str) -> bool {
            self.files.borrow().contains_key(path)
        }

        fn edit(&self, _: &str, content: &[u8]) -> Result<Vec<u8>, Error> {
            Ok([content, self.appended.as_bytes()].concat())
        }
    }

    fn secrets(pairs: &[(&str, &str)]) -> Secrets {
        let mut secrets = Secrets::default();
        for (id, password) in pairs {
            secrets.add(*id, password.as_bytes());
        }
        secrets
    }

    #[test]
    fn a_file_goes_through_every_command_and_keeps_its_id() {
        let secrets = secrets(&[("dev", "one"), ("prod", "two")]);
        let mut files = Memory {
            appended: "b: 2\n",
            ..Memory::default()
        };
        let dev = secrets.encryption_key(Some("dev")).unwrap();
        create_file(&files, "a.yml", &dev).unwrap();
        edit_file(&files, "a.yml", &secrets).unwrap();
        assert_eq!(
            view_file(&files, "a.yml", &secrets).unwrap(),
            b"b: 2\nb: 2\n"
        );
        assert!(
            files
                .read("a.yml")
                .unwrap()
                .starts_with(b"$ANSIBLE_VAULT;1.2;AES256;dev\n")
        );
        let prod = secrets.encryption_key(Some("prod")).unwrap();
        rekey_file(&files, "a.yml", &secrets, &prod).unwrap();
        let rekeyed = files.read("a.yml").unwrap();
        assert!(rekeyed.starts_with(b"$ANSIBLE_VAULT;1.2;AES256;prod\n"));
        files.appended = "";
        edit_file(&files, "a.yml", &secrets).unwrap();
        assert_eq!(
            files.read("a.yml").unwrap(),
            rekeyed,
            "unchanged, so not written"
        );
        decrypt_file(&files, "a.yml", None, &secrets).unwrap();
        assert_eq!(files.read("a.yml").unwrap(), b"b: 2\nb: 2\n");
        encrypt_file(&files, "a.yml", Some("b.yml"), &dev).unwrap();
        assert_eq!(
            view_file(&files, "b.yml", &secrets).unwrap(),
            b"b: 2\nb: 2\n"
        );
    }

    #[test]
    fn what_cannot_be_done_says_what_to_do() {
        let both = secrets(&[("dev", "one"), ("prod", "two")]);
        let refused = |result: Result<Key, Error>| {
            let error = result.err().unwrap();
            format!("{} ({})", error.message, error.help.unwrap_or_default())
        };
        assert_eq!(
            refused(both.encryption_key(None)),
            "the vault-ids dev,prod are available to encrypt (choose one with `--encrypt-vault-id`)"
        );
        assert_eq!(
            refused(both.encryption_key(Some("pord"))),
            "Did not find a match for --encrypt-vault-id=pord in the known vault-ids ['dev', 'prod'] (did you mean `prod`?)"
        );
        let files = Memory::default();
        files.write("a.yml", b"plain").unwrap();
        let key = both.encryption_key(Some("dev")).unwrap();
        assert_eq!(
            create_file(&files, "a.yml", &key).unwrap_err().message,
            "a.yml exists"
        );
        let error = view_file(&files, "a.yml", &both).unwrap_err();
        assert_eq!(error.message, "input is not vault encrypted data for a.yml");
        encrypt_file(&files, "a.yml", None, &key).unwrap();
        let error = encrypt_file(&files, "a.yml", None, &key).unwrap_err();
        assert_eq!(error.message, "input is already encrypted for a.yml");
    }

    #[test]
    fn an_encrypted_string_is_a_yaml_value() {
        let secrets = secrets(&[("default", "pw")]);
        let key = secrets.encryption_key(None).unwrap();
        let text = encrypt_string(b"word", Some("password"), &key).unwrap();
        assert!(text.starts_with("password: !vault |\n          $ANSIBLE_VAULT;1.1;AES256\n"));
        let lines: Vec<&str> = text.lines().skip(1).map(str::trim).collect();
        let vaulted = lines.join(
            "
",
        );
        assert_eq!(
            super::super::decrypt(vaulted.as_bytes(), &secrets).unwrap(),
            b"word"
        );
    }
}
