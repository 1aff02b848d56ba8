//! The hashes that servers keep of passwords. Pure.

use sha1::{Digest, Sha1};
use sha2::Sha256;

use crate::crypt::letters;
use crate::machine::hex;

/// The hash of `mysql_native_password`: SHA-1 twice.
pub(super) fn native(password: &str) -> String {
    if password.is_empty() {
        return String::new();
    }
    let hash = Sha1::digest(Sha1::digest(password.as_bytes()));
    format!("*{}", hex(&hash).to_uppercase())
}

/// The hash of `caching_sha2_password`: five thousand rounds of SHA-256 crypt.
pub(super) fn sha256(password: &str, salt: &str) -> String {
    let (password, bytes) = (password.as_bytes(), salt.as_bytes());
    let b = Sha256::new_with_prefix(password)
        .chain_update(bytes)
        .chain_update(password)
        .finalize();
    let mut a = Sha256::new_with_prefix(password).chain_update(bytes);
    for chunk in password.chunks(32) {
        a.update(&b[..chunk.len()]);
    }
    let mut length = password.len();
    while length > 0 {
        if length & 1 == 1 {
            a.update(b);
        } else {
            a.update(password);
        }
        length >>= 1;
    }
    let mut digest = a.finalize();
    let mut p = Sha256::new();
    for _ in 0..password.len() {
        p.update(password);
    }
    let p = p.finalize();
    let p: Vec<u8> = p.iter().copied().cycle().take(password.len()).collect();
    let mut s = Sha256::new();
    for _ in 0..16 + usize::from(digest[0]) {
        s.update(bytes);
    }
    let s = s.finalize();
    let s = &s[..bytes.len().min(32)];
    for round in 0..5000 {
        let mut next = Sha256::new();
        if round % 2 == 1 {
            next.update(&p);
        } else {
            next.update(digest);
        }
        if round % 3 != 0 {
            next.update(s);
        }
        if round % 7 != 0 {
            next.update(&p);
        }
        if round % 2 == 1 {
            next.update(digest);
        } else {
            next.update(&p);
        }
        digest = next.finalize();
    }
    let mut text = String::new();
    let mut at = 0;
    loop {
        letters(
            &mut text,
            [digest[at], digest[(at + 10) % 30], digest[(at + 20) % 30]],
            4,
        );
        at = (at + 21) % 30;
        if at == 0 {
            break;
        }
    }
    letters(&mut text, [0, digest[31], digest[30]], 3);
    format!("$A$005${salt}{text}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hashes_are_those_of_the_servers() {
        assert_eq!(
            native("geheim"),
            "*462366917EEDD1970A48E87D8EF59EB67D2CA26F"
        );
        let salt = "abcdefghijklmnopqrst";
        assert_eq!(
            sha256("geheim", salt),
            "$A$005$abcdefghijklmnopqrstQg/zAZy8EzXZw00VVkfpLa7WziKAZKHPR7BV1Q1yoK7"
        );
        assert_eq!(
            sha256("a much longer password than thirty-two bytes it is", salt),
            "$A$005$abcdefghijklmnopqrstswz2dkq46xgis1E697OzV/ckM1gfPniuVNOILvNmhb."
        );
    }
}
