//! `deb822_repository`: a file of apt's sources in the deb822 format, with its key.

use std::io::Read;
use std::path::{Path, PathBuf};

use crate::arguments::{FileAttributes, Mode};
use crate::machine::{Attributes, Content, Follow, Machine, NewFile};
use crate::value::Value;

use super::http::{self, Options, Request};
use super::path_info::path_info;
use super::{Failure, ModuleResult, Outcome};

crate::arguments! {
    /// Add and remove deb822 formatted repositories.
    pub(crate) struct Deb822RepositoryArgs for "deb822_repository" {
        /// Let a secure repository become an insecure one.
        allow_downgrade_to_insecure: Option<bool> {},
        /// Let the repository be insecure.
        allow_insecure: Option<bool> {},
        /// Let its keys be weak.
        allow_weak: Option<bool> {},
        architectures: Option<Vec<String>> {},
        /// Fetch indexes by their digest.
        by_hash: Option<bool> {},
        check_date: Option<bool> {},
        check_valid_until: Option<bool> {},
        components: Option<Vec<String>> {},
        /// How many seconds in the future a file's date may be.
        date_max_future: Option<i64> {},
        enabled: Option<bool> {},
        inrelease_path: Option<String> {},
        languages: Option<Vec<String>> {},
        /// The repository; the file's name is made of it.
        name: String { required },
        pdiffs: Option<bool> {},
        /// The key: a file, a URL, a fingerprint or the key itself.
        signed_by: Option<String> {},
        suites: Option<Vec<String>> {},
        targets: Option<Vec<String>> {},
        trusted: Option<bool> {},
        types: Vec<String> { default: "deb", choices: ["deb", "deb-src"] },
        uris: Option<Vec<String>> {},
        /// The file's permissions.
        mode: Mode { default: "0644" },
        /// Whether the repository should be known.
        state: String { default: "present", choices: ["absent", "present"] },
    }
}

const KEYRINGS: &str = "/etc/apt/keyrings";

/// Writes or removes the repository's file and its key.
pub(crate) fn run(machine: &mut Machine, args: Deb822RepositoryArgs) -> ModuleResult {
    let slug = slug(&args.name);
    let dest = PathBuf::from(format!("/etc/apt/sources.list.d/{slug}.sources"));
    let shown = dest.display().to_string();
    if args.state == "absent" {
        let mut changed = machine.remove(&dest)?;
        for extension in ["asc", "gpg"] {
            changed |= machine.remove(&key_path(&slug, extension))?;
        }
        let key = key_path(&slug, "gpg").display().to_string();
        let outcome = Outcome::unchanged().with_changed(changed);
        return Ok(outcome
            .with("repo", Value::Null)
            .with("dest", shown)
            .with("key_filename", key));
    }
    let key = match &args.signed_by {
        Some(signed_by) => signing_key(machine, signed_by, &slug)?,
        None => Key::default(),
    };
    let text = render(&args, &key.field);
    let mut changed = key.changed;
    let old = if machine.exists(&dest)? {
        Some(machine.read(&dest)?)
    } else {
        None
    };
    if old.as_deref() != Some(text.as_bytes()) {
        let content = Content::Bytes(text.clone().into_bytes());
        machine.write(&dest, content, &NewFile::default())?;
        changed = true;
    }
    let attributes = FileAttributes {
        mode: Some(args.mode.clone()),
        ..FileAttributes::default()
    };
    changed |= machine
        .apply_file_attributes(&dest, &attributes, Follow::No)?
        .changed;
    let outcome = Outcome::unchanged()
        .with_changed(changed)
        .with("repo", text)
        .with("dest", shown)
        .with(
            "key_filename",
            key.file.map(|path| path.display().to_string()),
        );
    Ok(outcome.with_all(path_info(machine, &dest)?))
}

/// Makes a file's name of the repository's.
fn slug(name: &str) -> String {
    let mut slug = String::new();
    let mut is_in_gap = false;
    for letter in name.to_lowercase().chars() {
        let is_gap = letter == '_' || letter.is_whitespace();
        if is_gap && !is_in_gap {
            slug.push('-');
        }
        if letter.is_ascii_lowercase() || letter.is_ascii_digit() || letter == '-' {
            slug.push(letter);
        }
        is_in_gap = is_gap;
    }
    slug
}

fn key_path(slug: &str, extension: &str) -> PathBuf {
    PathBuf::from(format!("{KEYRINGS}/{slug}.{extension}"))
}

/// What `Signed-By` says, and the file it names.
#[derive(Debug, Default)]
struct Key {
    changed: bool,
    file: Option<PathBuf>,
    field: String,
}

fn signing_key(machine: &mut Machine, signed_by: &str, slug: &str) -> Result<Key, Failure> {
    let path = Path::new(signed_by);
    let is_file =
        !signed_by.contains('\n') && machine.metadata(path)?.is_some_and(|found| found.is_file());
    if is_file {
        return Ok(Key {
            changed: false,
            file: Some(path.to_owned()),
            field: signed_by.to_owned(),
        });
    }
    let is_url = signed_by
        .split_once("://")
        .is_some_and(|(scheme, _)| scheme.bytes().all(|byte| byte.is_ascii_alphanumeric()));
    if !is_url {
        return Ok(Key {
            field: signed_by.to_owned(),
            ..Key::default()
        });
    }
    let bytes = fetch(machine, signed_by)?;
    let extension = if is_armored(&bytes) { "asc" } else { "gpg" };
    let file = key_path(slug, extension);
    let changed = write_key(machine, &file, bytes)?;
    Ok(Key {
        changed,
        field: file.display().to_string(),
        file: Some(file),
    })
}

fn fetch(machine: &mut Machine, url: &str) -> Result<Vec<u8>, Failure> {
    let failed = |why: &str| Failure::new(format!("Could not fetch signed_by key: {why}"));
    let response = http::send(machine, Request::get(url), &Options::default())?;
    if !response.is_success() {
        return Err(failed(&response.msg));
    }
    let mut bytes = Vec::new();
    response
        .into_body()
        .read_to_end(&mut bytes)
        .map_err(|error| failed(&error.to_string()))?;
    Ok(bytes)
}

fn is_armored(bytes: &[u8]) -> bool {
    const START: &[u8] = b"-----BEGIN PGP PUBLIC KEY BLOCK-----";
    bytes.windows(START.len()).any(|part| part == START)
}

fn write_key(machine: &mut Machine, file: &Path, bytes: Vec<u8>) -> Result<bool, Failure> {
    let mut changed = false;
    if !machine.exists(file)? || machine.read(file)? != bytes {
        let keyrings = Path::new(KEYRINGS);
        if !machine.is_dir(keyrings)? {
            machine.create_dir_all(keyrings, 0o755)?;
        }
        let wanted = Attributes {
            mode: Some(0o755),
            uid: Some(0),
            gid: Some(0),
            ..Attributes::default()
        };
        machine.set_attributes(keyrings, &wanted, Follow::Yes)?;
        machine.write(file, Content::Bytes(bytes), &NewFile::default())?;
        changed = true;
    }
    let wanted = Attributes {
        mode: Some(0o644),
        ..Attributes::default()
    };
    Ok(machine.set_attributes(file, &wanted, Follow::Yes)? || changed)
}

/// Writes the fields that are given, in the order of the options' names.
fn render(args: &Deb822RepositoryArgs, signed_by: &str) -> String {
    let flag = |value: Option<bool>| value.map(|value| if value { "yes" } else { "no" }.to_owned());
    let list = |value: &Option<Vec<String>>| value.as_ref().map(|value| value.join(" "));
    let fields = [
        (
            "Allow-Downgrade-To-Insecure",
            flag(args.allow_downgrade_to_insecure),
        ),
        ("Allow-Insecure", flag(args.allow_insecure)),
        ("Allow-Weak", flag(args.allow_weak)),
        ("Architectures", list(&args.architectures)),
        ("By-Hash", flag(args.by_hash)),
        ("Check-Date", flag(args.check_date)),
        ("Check-Valid-Until", flag(args.check_valid_until)),
        ("Components", list(&args.components)),
        (
            "Date-Max-Future",
            args.date_max_future.map(|seconds| seconds.to_string()),
        ),
        ("Enabled", flag(args.enabled)),
        ("Inrelease-Path", args.inrelease_path.clone()),
        ("Languages", list(&args.languages)),
        ("X-Repolib-Name", Some(args.name.clone())),
        ("Pdiffs", flag(args.pdiffs)),
        (
            "Signed-By",
            args.signed_by.as_ref().map(|_| signed_by.to_owned()),
        ),
        ("Suites", list(&args.suites)),
        ("Targets", list(&args.targets)),
        ("Trusted", flag(args.trusted)),
        ("Types", Some(args.types.join(" "))),
        ("URIs", list(&args.uris)),
    ];
    fields
        .into_iter()
        .filter_map(|(name, value)| Some(field(name, &value?)))
        .collect()
}

fn field(name: &str, value: &str) -> String {
    if value.is_empty() {
        return format!("{name}:\n");
    }
    if !value.contains('\n') {
        return format!("{name}: {value}\n");
    }
    let mut text = format!("{name}:\n");
    for line in value.trim().lines() {
        let line = match line.trim() {
            "" => ".",
            line => line,
        };
        text += &format!("    {line}\n");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::modules::http::testing::Server;
    use crate::modules::testing::predicting;

    fn call(machine: &mut Machine, json: &str) -> ModuleResult {
        let given: Value = serde_json::from_str(json).unwrap();
        run(
            machine,
            Deb822RepositoryArgs::parse(given.as_map().unwrap())?,
        )
    }

    #[test]
    fn a_repository_is_written_once_and_removed() {
        let mut machine = predicting();
        let options = r#"{"name": "Back stay_x", "uris": "https://x.org/a", "suites": "stable",
            "components": ["main", "extra"], "enabled": false, "signed_by": "ABCD"}"#;
        let outcome = call(&mut machine, options).unwrap();
        assert_eq!(
            outcome.data.get("dest"),
            Some(&"/etc/apt/sources.list.d/back-stay-x.sources".into())
        );
        assert_eq!(
            outcome.data.get("repo").unwrap().to_string(),
            "Components: main extra\nEnabled: no\nX-Repolib-Name: Back stay_x\nSigned-By: ABCD\n\
             Suites: stable\nTypes: deb\nURIs: https://x.org/a\n"
        );
        assert!(outcome.changed);
        assert!(!call(&mut machine, options).unwrap().changed);
        let options = r#"{"name": "Back stay_x", "state": "absent"}"#;
        assert!(call(&mut machine, options).unwrap().changed);
        assert!(!call(&mut machine, options).unwrap().changed);
    }

    #[test]
    fn a_key_in_the_option_is_folded_into_the_field() {
        assert_eq!(
            field("Signed-By", "-----BEGIN\n\n  abc\n-----END\n"),
            "Signed-By:\n    -----BEGIN\n    .\n    abc\n    -----END\n"
        );
    }

    #[test]
    fn a_key_behind_a_url_is_kept_in_the_keyrings() {
        let server = Server::new(|_| "200 OK\n\nkey".into());
        let mut machine = predicting();
        let options = format!(
            r#"{{"name": "backstay-y", "uris": "https://x.org", "signed_by": "{}"}}"#,
            server.url("/gpg")
        );
        let outcome = call(&mut machine, &options).unwrap();
        assert_eq!(
            outcome.data.get("key_filename"),
            Some(&"/etc/apt/keyrings/backstay-y.gpg".into())
        );
        assert!(
            machine
                .exists(Path::new("/etc/apt/keyrings/backstay-y.gpg"))
                .unwrap()
        );
    }
}
