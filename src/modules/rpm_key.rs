//! `rpm_key`: a key that RPM trusts.

use std::io::Read;
use std::path::Path;

use crate::machine::{Command, Machine, Output};

use super::http::{self, Options, Request};
use super::tool;
use super::{Failure, ModuleResult, Outcome};

crate::arguments! {
    /// Adds or removes a gpg key from the rpm db.
    pub(crate) struct RpmKeyArgs for "rpm_key" {
        /// Whether the key should be trusted.
        state: String { default: "present", choices: ["absent", "present"] },
        /// The key: a URL, a file on the target, or its number.
        key: String { required },
        /// The fingerprints that a new key must have.
        fingerprint: Option<Vec<String>> {},
        /// Check the certificate of a URL's server.
        validate_certs: bool { default: "true" },
    }
}

/// Imports or erases the key.
pub(crate) fn run(machine: &mut Machine, args: RpmKeyArgs) -> ModuleResult {
    let rpm = tool::required(machine, "rpm")?;
    let gpg = match tool::found(machine, "gpg") {
        Some(gpg) => gpg,
        None => tool::required(machine, "gpg2")?,
    };
    let tools = Tools { rpm, gpg };
    let (id, file) = if args.key.contains("://") {
        let bytes = download(machine, &args)?;
        let file = machine.temporary_file(&bytes)?;
        let path = file.path().display().to_string();
        let id = tools.id_of(machine, &path)?;
        return tools.settle(machine, &args, &id, Some(&path));
    } else if is_id(&args.key) {
        (args.key.clone(), None)
    } else if machine
        .metadata(Path::new(&args.key))?
        .is_some_and(|found| found.is_file())
    {
        (tools.id_of(machine, &args.key)?, Some(args.key.as_str()))
    } else {
        return Err(Failure::new(format!("Not a valid key {}", args.key)));
    };
    tools.settle(machine, &args, &id, file)
}

/// Tells whether the text begins as a key's number does.
fn is_id(text: &str) -> bool {
    let digits = text
        .strip_prefix("0x")
        .or_else(|| text.strip_prefix("0X"))
        .unwrap_or(text);
    digits
        .get(..8)
        .is_some_and(|start| start.bytes().all(|byte| byte.is_ascii_hexdigit()))
}

fn download(machine: &mut Machine, args: &RpmKeyArgs) -> Result<Vec<u8>, Failure> {
    let shown = http::masked(&args.key);
    let options = Options {
        validate_certs: args.validate_certs,
        ..Options::default()
    };
    let response = http::send(machine, Request::get(&args.key), &options)?;
    if response.status != 200 {
        return Err(Failure::new(format!(
            "failed to fetch key at {shown} , error was: {}",
            response.msg
        )));
    }
    let mut bytes = Vec::new();
    response
        .into_body()
        .read_to_end(&mut bytes)
        .map_err(|error| Failure::new(format!("failed to fetch key at {shown}: {error}")))?;
    let text = String::from_utf8_lossy(&bytes);
    let is_key = text
        .split_once("-----BEGIN PGP PUBLIC KEY BLOCK-----")
        .is_some_and(|(_, rest)| rest.contains("-----END PGP PUBLIC KEY BLOCK-----"));
    if !is_key {
        return Err(Failure::new(format!("Not a public key: {shown}")));
    }
    Ok(bytes)
}

struct Tools {
    rpm: String,
    gpg: String,
}

impl Tools {
    fn settle(
        &self,
        machine: &mut Machine,
        args: &RpmKeyArgs,
        id: &str,
        file: Option<&str>,
    ) -> ModuleResult {
        let id = id.trim().to_uppercase();
        let id = id.strip_prefix("0X").unwrap_or(&id);
        let is_wanted = args.state == "present";
        if self.is_imported(machine, id)? == is_wanted {
            return Ok(Outcome::unchanged());
        }
        if !is_wanted {
            self.erase(machine, id)?;
            return Ok(Outcome::changed());
        }
        let file =
            file.ok_or_else(|| Failure::new("When importing a key, a valid file must be given"))?;
        self.check_fingerprints(machine, args, file)?;
        let argv = [&self.rpm, "--import", file];
        let undo = [&self.rpm, "--erase", "--allmatches", &package(id)];
        let output = tool::act(machine, &argv, &undo)?;
        tool::check(output.as_ref(), Output::stderr_text)?;
        Ok(Outcome::changed())
    }

    fn id_of(&self, machine: &mut Machine, file: &str) -> Result<String, Failure> {
        let argv = [
            &self.gpg,
            "--no-tty",
            "--batch",
            "--with-colons",
            "--fixed-list-mode",
            file,
        ];
        field(&answer(machine, &argv)?, "pub:", 4)
            .into_iter()
            .next()
            .ok_or_else(|| Failure::new("Unexpected gpg output"))
    }

    fn check_fingerprints(
        &self,
        machine: &mut Machine,
        args: &RpmKeyArgs,
        file: &str,
    ) -> Result<(), Failure> {
        let given = args.fingerprint.as_deref().unwrap_or_default();
        let wanted: Vec<_> = given
            .iter()
            .map(|one| one.replace(' ', "").to_uppercase())
            .filter(|one| !one.is_empty())
            .collect();
        if wanted.is_empty() {
            return Ok(());
        }
        let argv = [
            &self.gpg,
            "--no-tty",
            "--batch",
            "--with-colons",
            "--fixed-list-mode",
            "--import",
            "--import-options",
            "show-only",
            "--dry-run",
            file,
        ];
        let found = field(&answer(machine, &argv)?, "fpr:", 9);
        if found.is_empty() {
            return Err(Failure::new("Unexpected gpg output"));
        }
        if wanted.iter().all(|one| found.contains(one)) {
            return Ok(());
        }
        let set = |all: &[String]| {
            let quoted: Vec<_> = all.iter().map(|one| format!("'{one}'")).collect();
            format!("{{{}}}", quoted.join(", "))
        };
        Err(Failure::new(format!(
            "The specified fingerprint, '{}', does not match any key fingerprints in '{}'",
            set(&wanted),
            set(&found)
        )))
    }

    fn is_imported(&self, machine: &mut Machine, id: &str) -> Result<bool, Failure> {
        let listed = tool::ask(machine, &[&self.rpm, "-q", "gpg-pubkey"])?;
        if !listed.success() {
            return Ok(false);
        }
        let format = [&self.rpm, "-q", "gpg-pubkey", "--qf", "%{description}"];
        let keys = answer(machine, &format)?;
        let argv = [
            &self.gpg,
            "--no-tty",
            "--batch",
            "--with-colons",
            "--fixed-list-mode",
            "-",
        ];
        let output = machine.query(&Command::new(argv).stdin(keys))?;
        tool::check(Some(&output), Output::stderr_text)?;
        let known = field(&output.stdout_text(), "", 4);
        Ok(known.iter().any(|key| key.contains(id)))
    }

    fn erase(&self, machine: &mut Machine, id: &str) -> Result<(), Failure> {
        let format = [&self.rpm, "-q", &package(id), "--qf", "%{description}"];
        let key = tool::ask(machine, &format)?.stdout_text();
        let script =
            r#"file=$(mktemp) && printf %s "$1" >"$file" && "$2" --import "$file"; rm "$file""#;
        let undo = ["sh", "-c", script, "sh", &key, &self.rpm];
        let argv = [&self.rpm, "--erase", "--allmatches", &package(id)];
        let output = tool::act(machine, &argv, &undo)?;
        tool::check(output.as_ref(), Output::stderr_text)
    }
}

/// Returns the package that stands for a key in RPM's database.
fn package(id: &str) -> String {
    let start = id.len().saturating_sub(8);
    format!("gpg-pubkey-{}", id[start..].to_lowercase())
}

/// Returns one field of each line that begins so.
fn field(text: &str, start: &str, index: usize) -> Vec<String> {
    text.lines()
        .map(str::trim)
        .filter(|line| line.starts_with(start))
        .filter_map(|line| line.split(':').nth(index).map(str::to_owned))
        .collect()
}

fn answer(machine: &mut Machine, argv: &[&str]) -> Result<String, Failure> {
    let output = tool::ask(machine, argv)?;
    tool::check(Some(&output), Output::stderr_text)?;
    Ok(output.stdout_text())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::modules::fake::Programs;
    use crate::value::Value;

    const RPM: &str = r#"
case "$*" in
  "-q gpg-pubkey"*) [ -e "$here/key" ] || exit 1; echo KEY ;;
  --import*) : >"$here/key" ;;
  --erase*) rm "$here/key" ;;
esac
exit 0
"#;
    const GPG: &str = r#"
echo 'pub:-:4096:1:0123456789ABCDEF:1:::-:'
case "$*" in *show-only*) echo 'fpr:::::::::AABB:' ;; esac
"#;

    fn call(programs: &Programs, json: &str) -> Result<bool, String> {
        let given: Value = serde_json::from_str(json).unwrap();
        RpmKeyArgs::parse(given.as_map().unwrap())
            .map_err(Failure::from)
            .and_then(|args| run(&mut programs.machine(), args))
            .map(|outcome| outcome.changed)
            .map_err(|failure| failure.msg)
    }

    #[test]
    fn a_key_is_imported_and_erased_once() {
        let programs = Programs::new([("rpm", RPM), ("gpg", GPG)]);
        let file = tempfile::NamedTempFile::new().unwrap();
        let path = file.path().display();
        let options = format!(r#"{{"key": "{path}", "fingerprint": "aa bb"}}"#);
        assert_eq!(call(&programs, &options), Ok(true));
        assert_eq!(call(&programs, &options), Ok(false));
        let absent = r#"{"key": "0x89abcdef", "state": "absent"}"#;
        assert_eq!(call(&programs, absent), Ok(true));
        assert_eq!(call(&programs, absent), Ok(false));
        assert_eq!(
            programs.undo_steps()[0],
            "rpm --erase --allmatches gpg-pubkey-89abcdef"
        );
    }

    #[test]
    fn what_is_no_key_and_another_fingerprint_are_refused() {
        let programs = Programs::new([("rpm", RPM), ("gpg", GPG)]);
        let file = tempfile::NamedTempFile::new().unwrap();
        let path = file.path().display();
        assert_eq!(
            call(
                &programs,
                &format!(r#"{{"key": "{path}", "fingerprint": "CC"}}"#)
            ),
            Err(
                "The specified fingerprint, '{'CC'}', does not match any key fingerprints in \
                 '{'AABB'}'"
                    .into()
            )
        );
        assert_eq!(
            call(&programs, r#"{"key": "/backstay/none"}"#),
            Err("Not a valid key /backstay/none".into())
        );
        assert_eq!(
            call(&programs, r#"{"key": "89ABCDEF"}"#),
            Err("When importing a key, a valid file must be given".into())
        );
    }
}
