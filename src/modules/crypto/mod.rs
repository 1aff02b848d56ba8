//! The modules for keys, requests and certificates.
//!
//! Keys stay with the target's own `openssl`, which knows every format of them and every curve; what
//! is signed is written and read here, bit by bit as the standards say.

mod certificate;
mod der;
mod dhparam;
mod extensions;
mod info;
mod key;
mod keypair;
mod names;
mod place;
mod privatekey;
mod publickey;
mod request;
mod signed;
#[cfg(test)]
mod testing;
mod times;

pub(super) use certificate::{X509CertificateArgs, run_certificate};
pub(super) use dhparam::{OpensslDhparamArgs, run_dhparam};
pub(super) use info::{
    OpensslCsrInfoArgs, OpensslPublickeyInfoArgs, X509CertificateInfoArgs, run_certificate_info,
    run_publickey_info, run_request_info,
};
pub(super) use keypair::{OpensshKeypairArgs, run_keypair};
pub(super) use privatekey::{OpensslPrivatekeyArgs, run_privatekey};
pub(super) use publickey::{OpensslPublickeyArgs, run_publickey};
pub(super) use request::{OpensslCsrArgs, run_request};

use crate::value::Value;

/// Writes bytes as pairs of digits between colons.
fn colons(bytes: &[u8]) -> String {
    let pairs: Vec<_> = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    pairs.join(":")
}

/// Reads pairs of hexadecimal digits.
fn unhex(text: &str) -> Option<Vec<u8>> {
    let digits: Option<Vec<u8>> = text
        .chars()
        .map(|digit| {
            digit
                .to_digit(16)
                .and_then(|digit| u8::try_from(digit).ok())
        })
        .collect();
    let digits = digits?;
    let pairs = digits.chunks_exact(2);
    if !pairs.remainder().is_empty() {
        return None;
    }
    Some(pairs.map(|pair| pair[0] << 4 | pair[1]).collect())
}

/// Reads a number of any length as far as a playbook has numbers for it; a longer one is a text.
fn number(bytes: &[u8]) -> Value {
    let digits: Vec<u8> = bytes
        .iter()
        .copied()
        .skip_while(|byte| *byte == 0)
        .collect();
    if digits.len() < 16 {
        let number = digits
            .iter()
            .fold(0_i128, |number, digit| (number << 8) | i128::from(*digit));
        return Value::Int(number);
    }
    // Long division by ten, digit for digit.
    let mut rest = digits;
    let mut text = Vec::new();
    while rest.iter().any(|digit| *digit != 0) {
        let mut left = 0_u32;
        for digit in &mut rest {
            let value = left * 256 + u32::from(*digit);
            *digit = u8::try_from(value / 10).expect("a digit");
            left = value % 10;
        }
        text.push(char::from_digit(left, 10).expect("below ten"));
    }
    text.iter().rev().collect::<String>().into()
}

/// Writes bytes as the armour of `BEGIN` and `END`.
fn pem(kind: &str, bytes: &[u8]) -> String {
    use base64::Engine;
    let text = base64::engine::general_purpose::STANDARD.encode(bytes);
    let mut lines = format!("-----BEGIN {kind}-----\n");
    for line in text.as_bytes().chunks(64) {
        lines += &String::from_utf8_lossy(line);
        lines.push('\n');
    }
    lines + &format!("-----END {kind}-----\n")
}

/// Reads the bytes of the first armour of one of these kinds; bytes without any are taken as they
/// are.
fn unpem(text: &[u8], kinds: &[&str]) -> Option<Vec<u8>> {
    use base64::Engine;
    let Ok(text) = std::str::from_utf8(text) else {
        return Some(text.to_vec());
    };
    kinds.iter().find_map(|kind| {
        let (_, rest) = text.split_once(&format!("-----BEGIN {kind}-----"))?;
        let (body, _) = rest.split_once(&format!("-----END {kind}-----"))?;
        let body: String = body.split_whitespace().collect();
        base64::engine::general_purpose::STANDARD.decode(body).ok()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn armour_is_taken_off_again() {
        let bytes: Vec<u8> = (0..=255).collect();
        let text = pem("CERTIFICATE", &bytes);
        assert!(text.lines().all(|line| line.len() <= 64));
        assert_eq!(unpem(text.as_bytes(), &["CERTIFICATE"]).unwrap(), bytes);
        assert_eq!(unpem(text.as_bytes(), &["X"]), None);
        assert_eq!(unhex("0aFF").unwrap(), [10, 255]);
        assert_eq!(unhex("0"), None);
        assert_eq!(colons(&[10, 255]), "0a:ff");
    }
}
