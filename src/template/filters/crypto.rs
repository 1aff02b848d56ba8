//! Filters that hash, encrypt passwords for `/etc/shadow`, and vault.

use std::fmt::Write;
use std::sync::Arc;

use md5::{Digest, Md5};
use sha1::Sha1;
use sha2::{Sha224, Sha256, Sha384, Sha512};

use super::super::call::{Bound, Call};
use super::super::finish::Finish;
use super::super::frame::Frame;
use super::super::runtime::{Evaluated, Val, Words};
use super::super::syntax::Place;
use super::{Filter, data, running};
use crate::crypt::{self, ALPHABET, letters, random_salt};
use crate::value::{Text, Value, bytes_of_text};

pub(super) const FILTERS: &[Filter] = &[
    data("hash", "hashtype", |call| {
        digest(
            &call.text_at(0).unwrap_or_else(|| "sha1".into()),
            &call.text(),
        )
    }),
    data("md5", "", |call| digest("md5", &call.text())),
    data("sha1", "", |call| digest("sha1", &call.text())),
    data("checksum", "", |call| digest("sha1", &call.text())),
    data(
        "password_hash",
        "hashtype salt salt_size rounds ident",
        password_hash,
    ),
    data(
        "vault",
        "secret! salt vault_id wrap_object vaultid",
        |call| {
            let secret = secret_of(call.required(0))?;
            let Some(text) = call.input.as_str() else {
                return Err(format!(
                    "Can only vault strings, instead we got <class '{}'>.",
                    call.input.python_type()
                ));
            };
            let id = call.text_at(2).unwrap_or_else(|| "filter_default".into());
            let vaulted = call
                .services
                .encrypt(text, &secret, Some(&id), call.text_at(1).as_deref())
                .map_err(|error| format!("Unable to encrypt: {error}"))?;
            Ok(if call.flag(3, false) {
                Text::from(text).decrypted_from(&vaulted.into()).into()
            } else {
                vaulted.into()
            })
        },
    ),
    running("unvault", "secret! vault_id vaultid", unvault).with_vaulted(),
];

/// Decrypts vaulted text, also where the value is vaulted itself and no password opened it.
fn unvault(frame: &mut Frame<'_>, input: Val, mut given: Bound<Val>, _: Place) -> Evaluated {
    let secret = frame.run.data(&given.take(0).unwrap_or_default())?;
    let secret = secret_of(&secret).map_err(|text| frame.run.failure(text))?;
    let vaulted = match &input {
        Val::Undefined(fault) => match &fault.words {
            Words::Undecryptable { ciphertext, .. } => Arc::clone(ciphertext),
            _ => return Ok(input),
        },
        _ => match frame.run.data(&input)? {
            Value::String(text) => text.ciphertext().map_or_else(|| text.shared(), Arc::clone),
            other => {
                return Err(frame.run.failure(format!(
                    "Vault should be in the form of a string, instead we got <class '{}'>.",
                    other.python_type()
                )));
            }
        },
    };
    if !vaulted.starts_with("$ANSIBLE_VAULT") {
        return Ok(vaulted.into());
    }
    let services = frame.run.engine.services();
    match services.decrypt_with(&vaulted, &secret) {
        Ok(plain) => Ok(plain.into()),
        Err(error) => Err(frame.run.failure(format!("Unable to decrypt: {error}"))),
    }
}

fn secret_of(secret: &Value) -> Result<String, String> {
    secret.as_str().map(str::to_owned).ok_or_else(|| {
        format!(
            "Secret passed is required to be a string, instead we got <class '{}'>.",
            secret.python_type()
        )
    })
}

fn hex(bytes: impl AsRef<[u8]>) -> Value {
    let mut text = String::new();
    for byte in bytes.as_ref() {
        write!(text, "{byte:02x}").expect("writing to a string cannot fail");
    }
    text.into()
}

fn digest(kind: &str, text: &str) -> Result<Value, String> {
    let bytes = &*bytes_of_text(text);
    Ok(match &*kind.to_lowercase() {
        "md5" => hex(Md5::digest(bytes)),
        "sha1" => hex(Sha1::digest(bytes)),
        "sha224" => hex(Sha224::digest(bytes)),
        "sha256" => hex(Sha256::digest(bytes)),
        "sha384" => hex(Sha384::digest(bytes)),
        "sha512" => hex(Sha512::digest(bytes)),
        _ => return Err(format!("unsupported hash type {kind}")),
    })
}

fn password_hash(call: &Call<'_>) -> Result<Value, String> {
    let wish = Wish {
        kind: call.text_at(0).unwrap_or_else(|| "sha512".into()),
        salt: call.text_at(1).filter(|salt| !salt.is_empty()),
        size: match call.get(2) {
            None => None,
            Some(Value::Int(size)) => usize::try_from(*size).ok(),
            Some(_) => return Err("salt_size must be an integer".into()),
        },
        rounds: call.int(3)?.filter(|rounds| *rounds != 0),
        ident: call.text_at(4),
    };
    hashed(&call.text(), wish)
}

/// How a password is to be hashed.
struct Wish {
    kind: String,
    salt: Option<String>,
    size: Option<usize>,
    rounds: Option<i128>,
    ident: Option<String>,
}

/// Hashes a password for `/etc/shadow` by a scheme of passlib's: `sha512_crypt`, `bcrypt` ...
pub fn hash_password(
    password: &str,
    kind: &str,
    salt: Option<&str>,
    ident: Option<&str>,
) -> Result<Value, String> {
    let wish = Wish {
        kind: kind.into(),
        salt: salt.map(Into::into),
        size: None,
        rounds: None,
        ident: ident.map(Into::into),
    };
    hashed(password, wish)
}

fn hashed(password: &str, wish: Wish) -> Result<Value, String> {
    let Wish {
        kind,
        salt,
        size,
        rounds,
        ident,
    } = wish;
    let salt_of = |size: usize| salt.clone().unwrap_or_else(|| random_salt(size));
    let valid = |salt: &str, most: usize| {
        if salt.chars().count() > most || !salt.bytes().all(|b| ALPHABET.contains(&b)) {
            Err("Could not hash the secret.".to_owned())
        } else {
            Ok(())
        }
    };
    match &*kind {
        "sha256" | "sha256_crypt" | "sha512" | "sha512_crypt" => {
            let salt = salt_of(size.unwrap_or(16));
            valid(&salt, 16)?;
            let is_512 = kind.starts_with("sha512");
            let rounds = rounds.unwrap_or(if is_512 { 656_000 } else { 535_000 });
            sha_crypt(password, &salt, rounds, is_512)
        }
        "md5" | "md5_crypt" => {
            let salt = salt_of(size.unwrap_or(8));
            valid(&salt, 8)?;
            Ok(crypt::md5(password, &salt, "$1$").into())
        }
        "blowfish" | "bcrypt" => {
            let ident = ident.unwrap_or_else(|| "2b".into());
            bcrypt_hash(password, &salt_of(22), rounds.unwrap_or(12), &ident)
        }
        other => Err(format!(
            "{other} is not in the list of supported passlib algorithms: md5, blowfish, sha256, sha512"
        )),
    }
}

const BCRYPT: &[u8; 64] = b"./ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";

fn sha_crypt(password: &str, salt: &str, rounds: i128, is_512: bool) -> Result<Value, String> {
    let params = u32::try_from(rounds)
        .ok()
        .and_then(|rounds| sha_crypt::Params::new(rounds).ok())
        .ok_or("Could not hash the secret.")?;
    let (id, most) = if is_512 { (6, 63) } else { (5, 30) };
    let mut out = format!("${id}$");
    if rounds != 5000 {
        write!(out, "rounds={rounds}$").expect("writing to a string cannot fail");
    }
    out.push_str(salt);
    out.push('$');
    let third = most / 3;
    let (mut a, mut b, mut c) = (0, third, 2 * third);
    let bytes: Vec<u8> = if is_512 {
        sha_crypt::sha512_crypt(password.as_bytes(), salt.as_bytes(), params).into()
    } else {
        sha_crypt::sha256_crypt(password.as_bytes(), salt.as_bytes(), params).into()
    };
    for _ in 0..third {
        letters(&mut out, [bytes[a], bytes[b], bytes[c]], 4);
        (a, b, c) = if is_512 {
            ((b + 1) % most, (c + 1) % most, (a + 1) % most)
        } else {
            ((c + 1) % most, (a + 1) % most, (b + 1) % most)
        };
    }
    if is_512 {
        letters(&mut out, [0, 0, bytes[63]], 2);
    } else {
        letters(&mut out, [0, bytes[31], bytes[30]], 3);
    }
    Ok(out.into())
}

fn bcrypt_hash(password: &str, salt: &str, rounds: i128, ident: &str) -> Result<Value, String> {
    let failed = || "Could not hash the secret.".to_owned();
    let version = match ident {
        "2" | "2a" => bcrypt::Version::TwoA,
        "2x" => bcrypt::Version::TwoX,
        "2y" => bcrypt::Version::TwoY,
        "2b" => bcrypt::Version::TwoB,
        _ => return Err(failed()),
    };
    if salt.len() != 22 {
        return Err(failed());
    }
    let mut bits = Vec::with_capacity(132);
    for byte in salt.bytes() {
        let value = BCRYPT
            .iter()
            .position(|known| *known == byte)
            .ok_or_else(failed)?;
        bits.extend((0..6).rev().map(|shift| value >> shift & 1));
    }
    let mut raw = [0_u8; 16];
    for (byte, bits) in raw.iter_mut().zip(bits.chunks(8)) {
        *byte = bits
            .iter()
            .fold(0, |byte, bit| (byte << 1) | u8::from(*bit == 1));
    }
    let cost = u32::try_from(rounds).map_err(|_| failed())?;
    let hashed = bcrypt::hash_with_salt(password, cost, raw).map_err(|_| failed())?;
    Ok(hashed.format_for_version(version).into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passwords_hash_as_crypt_hashes_them() {
        // From `openssl passwd -1|-5|-6 -salt saltstring Hello`.
        assert_eq!(
            sha_crypt("Hello", "saltstring", 5000, false),
            Ok("$5$saltstring$jfZe1.O5rA9aUKHLYLEqMjNCNYEqmZMJ.KAMmcgZPz5".into())
        );
        assert_eq!(sha_crypt("Hello", "saltstring", 5000, true), Ok("$6$saltstring$aQzKv7HhksN4CNT5HySRdxOEHxZvlWWP2je/lOgbrHx5iLYj3NJfVnC287n/dwkODYWL1.LZUdO9vX84fkCna/".into()));
    }
}
