//! `openssl_dhparam`: the numbers of a Diffie-Hellman exchange.

use std::path::PathBuf;

use super::der::Element;
use super::key::openssl;
use super::place::Place;
use crate::machine::{Machine, Output};
use crate::modules::{ModuleResult, Outcome, tool};
use crate::value::Value;

crate::arguments! {
    /// Generate OpenSSL Diffie-Hellman Parameters.
    pub(crate) struct OpensslDhparamArgs for "community.crypto.openssl_dhparam"
    with file_attributes {
        path: PathBuf { required },
        state: String { default: "present", choices: ["absent", "present"] },
        size: i64 { default: "4096" },
        force: bool { default: "false" },
        backup: bool { default: "false" },
        return_content: bool { default: "false" },
        select_crypto_backend: String {
            default: "auto",
            choices: ["auto", "cryptography", "openssl"],
        },
    }
}

/// Brings the numbers into the wanted state.
pub(crate) fn run_dhparam(machine: &mut Machine, args: OpensslDhparamArgs) -> ModuleResult {
    let mut place = Place::of(machine, &args.path, args.backup)?;
    let mut bytes = place.bytes.clone();
    let changed = if args.state == "absent" {
        bytes = None;
        place.remove(machine)?
    } else {
        let has = |bytes: &[u8]| n_bits(bytes).and_then(|size| i64::try_from(size).ok());
        let todo = args.force || place.bytes.as_deref().and_then(has) != Some(args.size);
        if todo {
            let new = if machine.is_check() {
                Vec::new()
            } else {
                let size = args.size.to_string();
                let command = openssl(machine, &["dhparam", &size])?;
                let output = machine.query(&command)?;
                tool::check(Some(&output), Output::stderr_text)?;
                output.stdout
            };
            let mode = 0o666 & !machine.umask();
            place.write(machine, new.clone(), mode)?;
            bytes = Some(new);
        }
        place.dress(machine, &args.file)? || todo
    };
    let mut outcome = Outcome::unchanged()
        .with_changed(changed)
        .with("size", args.size);
    if args.return_content {
        let text = bytes
            .as_ref()
            .map(|bytes| String::from_utf8_lossy(bytes).into_owned());
        outcome = outcome.with("dhparams", text.map_or(Value::Null, Value::from));
    }
    Ok(place.told(outcome))
}

/// Returns the size of the prime.
fn n_bits(text: &[u8]) -> Option<usize> {
    let bytes = super::unpem(text, &["DH PARAMETERS"])?;
    let parts = Element::only(&bytes)?.inside()?;
    let prime = parts.first()?.content;
    let digits = &prime[prime.iter().take_while(|digit| **digit == 0).count()..];
    Some(digits.len() * 8 - digits.first()?.leading_zeros() as usize)
}

#[cfg(test)]
mod tests {
    use super::super::testing::has_openssl;
    use crate::modules::testing::Target;

    const NAME: &str = "community.crypto.openssl_dhparam";

    #[test]
    fn parameters_are_made_once_for_each_size() {
        if !has_openssl() {
            return;
        }
        let target = Target::new();
        let run = |size: u32| {
            let options = format!(r#"{{"path": "$ROOT/dh", "size": {size}}}"#);
            target.run(NAME, &options)
        };
        assert_eq!(
            run(512),
            r#"{"changed":true,"size":512,"filename":"$ROOT/dh"}"#
        );
        assert_eq!(
            run(512),
            r#"{"changed":false,"size":512,"filename":"$ROOT/dh"}"#
        );
        assert!(run(520).contains(r#""changed":true"#));
        let gone = r#"{"path": "$ROOT/dh", "state": "absent"}"#;
        assert!(target.run(NAME, gone).contains(r#""changed":true"#));
    }
}
