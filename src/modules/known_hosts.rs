//! `known_hosts`: a host's public key in a file of known hosts.
//!
//! `ssh-keygen` says which lines are the host's, because only it knows hashed names.

use std::path::{Path, PathBuf};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hmac::{KeyInit, Mac};

use crate::machine::{Content, Machine, NewFile};

use super::path_info::path_info;
use super::tool;
use super::{Diff, Failure, ModuleResult, Outcome};

crate::arguments! {
    /// Add or remove a host from the `known_hosts` file.
    pub(crate) struct KnownHostsArgs for "known_hosts" {
        /// The host.
        name: String { required, aliases: ["host"] },
        /// Its key, as a line of the file.
        key: Option<String> {},
        /// The file.
        path: PathBuf { default: "~/.ssh/known_hosts" },
        /// Hide the host's name.
        hash_host: bool { default: "false" },
        /// Whether the key should be known.
        state: String { default: "present", choices: ["absent", "present"] },
    }
}

/// Puts the key into the file, or takes it out.
pub(crate) fn run(machine: &mut Machine, args: KnownHostsArgs) -> ModuleResult {
    let keygen = tool::required(machine, "ssh-keygen")?;
    let path = machine.expand(&args.path);
    let is_present = args.state == "present";
    let host = args.name.to_lowercase();
    let given = args.key.clone().filter(|key| !key.is_empty());
    if given.is_none() && is_present {
        return Err(Failure::new("No key specified when adding a host"));
    }
    let key = given.map(|key| line(&host, &key, args.hash_host));
    if let Some(key) = &key {
        check(machine, &keygen, &host, key)?;
    }
    let before = if machine.exists(&path)? {
        Some(machine.read(&path)?)
    } else {
        None
    };
    let text = String::from_utf8_lossy(before.as_deref().unwrap_or_default()).into_owned();
    let found = match &before {
        Some(_) => find(machine, &keygen, &host, &text)?,
        None => Vec::new(),
    };
    let place = place(&found, key.as_deref());
    let lines: Vec<&str> = text.split_inclusive('\n').collect();
    let mut after: Vec<&str> = lines.clone();
    let changed = match (&key, place) {
        (Some(key), Place::None | Place::Other(_)) if is_present => {
            if let Place::Other(Some(number)) = place {
                after.remove(number.saturating_sub(1).min(after.len() - 1));
            }
            after.push(key);
            true
        }
        (Some(_), Place::Same(number) | Place::Other(Some(number))) if !is_present => {
            after.remove(number.saturating_sub(1).min(after.len() - 1));
            true
        }
        (None, _) if !found.is_empty() => {
            after = without(&lines, &found);
            true
        }
        _ => false,
    };
    // A last line without an end would swallow the key.
    let mut after: Vec<String> = after.into_iter().map(str::to_owned).collect();
    let n_lines = after.len();
    for line in after.iter_mut().take(n_lines.saturating_sub(1)) {
        if !line.ends_with('\n') {
            line.push('\n');
        }
    }
    let after = after.concat();
    if changed {
        write(machine, &path, &after)?;
    }
    let mut outcome = Outcome::unchanged()
        .with_changed(changed)
        .with("name", args.name.as_str())
        .with("key", args.key.clone())
        .with("path", path.display().to_string())
        .with("hash_host", args.hash_host)
        .with("state", args.state.as_str());
    let shown = path.display().to_string();
    let old = if before.is_some() {
        &shown
    } else {
        "/dev/null"
    };
    // Ansible returns it whether or not it is to be shown.
    let diff = Diff::new(text, after).headers(old, shown.as_str());
    outcome = outcome.only_diff(diff);
    Ok(outcome.with_all(path_info(machine, &path)?))
}

/// Makes the line of the file, the host hidden if that is asked for.
fn line(host: &str, key: &str, is_hashed: bool) -> String {
    let mut line = key.to_owned();
    if is_hashed {
        let salt: [u8; 20] = rand::random();
        let mut words: Vec<String> = key.split_whitespace().map(str::to_owned).collect();
        let index = usize::from(key.trim_start().starts_with('@'));
        if let Some(word) = words.get_mut(index) {
            *word = hashed(host, salt);
        }
        line = words.join(" ");
    }
    if !line.ends_with('\n') {
        line.push('\n');
    }
    line
}

fn hashed(host: &str, salt: [u8; 20]) -> String {
    let mut mac =
        hmac::Hmac::<sha1::Sha1>::new_from_slice(&salt).expect("any length is a key of HMAC");
    mac.update(host.as_bytes());
    let digest = mac.finalize().into_bytes();
    format!("|1|{}|{}", STANDARD.encode(salt), STANDARD.encode(digest))
}

/// Checks that the key is one of the host.
fn check(machine: &mut Machine, keygen: &str, host: &str, key: &str) -> Result<(), Failure> {
    let is_list = host
        .split_once(',')
        .is_some_and(|(before, _)| !before.trim().is_empty());
    if is_list {
        return Err(Failure::new(
            "Comma separated list of names is not supported. Please pass a single name to lookup \
             in the known_hosts file.",
        ));
    }
    if find(machine, keygen, host, key)?.is_empty() || words(key).is_none() {
        return Err(Failure::new(
            "Host parameter does not match hashed host field in supplied key",
        ));
    }
    Ok(())
}

/// A line of the host: its number, from 1, and the line.
type Found = (usize, String);

fn find(
    machine: &mut Machine,
    keygen: &str,
    host: &str,
    text: &str,
) -> Result<Vec<Found>, Failure> {
    let file = machine.temporary_file(text.as_bytes())?;
    let output = tool::ask(
        machine,
        &[keygen, "-F", host, "-f", &file.path().display().to_string()],
    )?;
    let (out, err) = (output.stdout_text(), output.stderr_text());
    if !(output.success() || output.status == 1 && out.is_empty()) {
        return Err(Failure::new(format!(
            "ssh-keygen failed (rc={}, stdout='{out}',stderr='{err}')",
            output.status
        )));
    }
    let mut found = Vec::new();
    let mut number = 0;
    for line in out.lines().filter(|line| !line.is_empty()) {
        match line.strip_prefix('#') {
            Some(note) => {
                let digits = note.split("found: line ").nth(1).unwrap_or_default();
                let digits = digits.split(|c: char| !c.is_ascii_digit()).next();
                number = digits.and_then(|digits| digits.parse().ok()).unwrap_or(0);
            }
            None if number > 0 => found.push((number, line.to_owned())),
            None => {}
        }
    }
    Ok(found)
}

/// Where a key is among the host's lines.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Place {
    /// The host is not there.
    None,
    Same(usize),
    /// Another key of the same type, or of another one.
    Other(Option<usize>),
}

fn place(found: &[Found], key: Option<&str>) -> Place {
    let Some(mut new) = key.and_then(words) else {
        return Place::None;
    };
    if found.is_empty() {
        return Place::None;
    }
    for (number, line) in found {
        let Some(old) = words(line) else { continue };
        if old.marker.is_none() && new.host.starts_with("|1|") && old.host.starts_with("|1|") {
            // The same host, hidden by another salt.
            new.host.clone_from(&old.host);
        }
        if new == old {
            return Place::Same(*number);
        }
        if old.marker.is_none() && new.key_type == old.key_type {
            return Place::Other(Some(*number));
        }
    }
    Place::Other(None)
}

#[derive(Debug, PartialEq)]
struct Words {
    marker: Option<String>,
    host: String,
    key_type: String,
    key: String,
}

fn words(line: &str) -> Option<Words> {
    let mut words = line.split_whitespace().map(str::to_owned).peekable();
    let marker = words.next_if(|word| word.starts_with('@'));
    Some(Words {
        marker,
        host: words.next()?,
        key_type: words.next()?,
        key: words.next()?,
    })
}

/// Leaves out the host's lines, but not those of authorities and revoked keys.
fn without<'a>(lines: &[&'a str], found: &[Found]) -> Vec<&'a str> {
    let goes = |number: usize| {
        let is_plain = |line: &str| !line.starts_with('@');
        found
            .iter()
            .any(|(at, line)| *at == number && is_plain(line))
    };
    let kept = lines
        .iter()
        .enumerate()
        .filter(|(index, _)| !goes(index + 1));
    kept.map(|(_, line)| *line).collect()
}

fn write(machine: &mut Machine, path: &Path, text: &str) -> Result<(), Failure> {
    Ok(machine.write(
        path,
        Content::Bytes(text.as_bytes().to_vec()),
        &NewFile::default(),
    )?)
}

#[cfg(test)]
mod tests {
    use super::super::testing::Target;

    const ONE: &str =
        "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJ0Zr6pZ2vkFVd9Ej1ZyyqIIKHvnc9sCbkbRhxCAtsO0";
    const TWO: &str =
        "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGrE7nRXJm4oOsQ0h1cB+4HWz2wVbFVhQjKmE2C0hxSv";

    fn call(target: &Target, options: &str) -> String {
        let given = format!(r#"{{"path": "$ROOT/kh", {options}}}"#);
        let result = target.result("known_hosts", &given);
        result
            .get("msg")
            .or_else(|| result.get("changed"))
            .unwrap()
            .to_string()
    }

    #[test]
    fn a_key_is_added_replaced_and_removed_once() {
        let target = Target::new().file("kh", "other x y");
        let one = format!(r#""name": "A.org", "key": "a.org {ONE}""#);
        assert_eq!(call(&target, &one), "True");
        assert_eq!(target.read("kh"), format!("other x y\na.org {ONE}\n"));
        assert_eq!(call(&target, &one), "False");
        let two = format!(r#""name": "a.org", "key": "a.org {TWO}""#);
        assert_eq!(call(&target, &two), "True");
        assert_eq!(target.read("kh"), format!("other x y\na.org {TWO}\n"));
        assert_eq!(
            call(&target, r#""name": "a.org", "state": "absent""#),
            "True"
        );
        assert_eq!(target.read("kh"), "other x y\n");
        assert_eq!(
            call(&target, r#""name": "a.org", "state": "absent""#),
            "False"
        );
    }

    #[test]
    fn a_hidden_name_is_found_again() {
        let target = Target::new();
        let options = format!(r#""name": "a.org", "key": "a.org {ONE}", "hash_host": true"#);
        assert_eq!(call(&target, &options), "True");
        assert!(target.read("kh").starts_with("|1|"));
        assert_eq!(call(&target, &options), "False");
    }

    #[test]
    fn a_key_of_another_host_is_refused() {
        let target = Target::new();
        assert_eq!(
            call(
                &target,
                &format!(r#""name": "b.org", "key": "a.org {ONE}""#)
            ),
            "Host parameter does not match hashed host field in supplied key"
        );
        assert_eq!(
            call(&target, r#""name": "b.org""#),
            "No key specified when adding a host"
        );
    }
}
