//! Password hashes in the ways of `crypt` that no crate has. Pure, but for the salt.

use md5::{Digest, Md5};

/// The letters of salts and hashes, in the order of their values.
pub const ALPHABET: &[u8; 64] = b"./0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

/// Returns a salt nobody can foretell, in the letters `crypt` allows.
pub fn random_salt(length: usize) -> String {
    (0..length)
        .map(|_| char::from(ALPHABET[usize::from(rand::random::<u8>() % 64)]))
        .collect()
}

/// Writes three bytes as `crypt` does, lowest six bits first.
pub fn letters(out: &mut String, [high, middle, low]: [u8; 3], n_letters: usize) {
    let mut bits = u32::from_be_bytes([0, high, middle, low]);
    for _ in 0..n_letters {
        out.push(char::from(ALPHABET[(bits & 0x3f) as usize]));
        bits >>= 6;
    }
}

/// The MD5 hash of FreeBSD (its sign is `$1$`), and with a sign of its own (`$apr1$`) Apache's.
pub fn md5(password: &str, salt: &str, sign: &str) -> String {
    let (password, salt) = (password.as_bytes(), salt.as_bytes());
    let mut other = Md5::new();
    other.update(password);
    other.update(salt);
    other.update(password);
    let other = other.finalize();
    let mut first = Md5::new();
    first.update(password);
    first.update(sign.as_bytes());
    first.update(salt);
    for chunk in password.chunks(16) {
        first.update(&other[..chunk.len()]);
    }
    let mut length = password.len();
    while length > 0 {
        if length & 1 == 1 {
            first.update([0]);
        } else {
            first.update(&password[..1]);
        }
        length >>= 1;
    }
    let mut digest = first.finalize();
    for round in 0..1000 {
        let mut next = Md5::new();
        if round % 2 == 1 {
            next.update(password);
        } else {
            next.update(digest);
        }
        if round % 3 != 0 {
            next.update(salt);
        }
        if round % 7 != 0 {
            next.update(password);
        }
        if round % 2 == 1 {
            next.update(digest);
        } else {
            next.update(password);
        }
        digest = next.finalize();
    }
    let mut out = format!("{sign}{}$", String::from_utf8_lossy(salt));
    for [high, middle, low] in [[0, 6, 12], [1, 7, 13], [2, 8, 14], [3, 9, 15], [4, 10, 5]] {
        letters(&mut out, [digest[high], digest[middle], digest[low]], 4);
    }
    letters(&mut out, [0, 0, digest[11]], 2);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hashes_are_those_of_openssl_and_htpasswd() {
        for (password, salt, hash) in [
            (
                "geheim",
                "abcdefgh",
                "$apr1$abcdefgh$bw9gEObk10asetVLiysIZ0",
            ),
            ("geheim", "abcdefgh", "$1$abcdefgh$eKehL.s8tG6zTf8hBtmEF."),
            ("Hello", "saltstri", "$1$saltstri$OINShNxjt0ZCuX7ywvcGD0"),
        ] {
            let sign = &hash[..=hash[1..].find('$').unwrap() + 1];
            assert_eq!(md5(password, salt, sign), hash);
        }
    }

    #[test]
    fn a_salt_has_letters_that_crypt_allows() {
        let salt = random_salt(64);
        assert_eq!(salt.len(), 64);
        assert!(salt.bytes().all(|letter| ALPHABET.contains(&letter)));
    }
}
