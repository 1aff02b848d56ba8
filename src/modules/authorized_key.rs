//! `authorized_key`: public keys that may log in to an account.

use std::io::Read;
use std::path::{Path, PathBuf};

use indexmap::IndexMap;

use crate::machine::{Attributes, Content, Follow, Links, Machine, NewFile, User};

use super::http::{self, Options, Request};
use super::links::Below;
use super::path_info::path_info;
use super::{Diff, Failure, ModuleResult, Outcome};

crate::arguments! {
    /// Add or remove an SSH authorized key.
    pub(crate) struct AuthorizedKeyArgs for "ansible.posix.authorized_key" {
        /// Whose keys.
        user: String { required },
        /// The public keys, one a line, or the URL of a text or a file of them.
        key: String { required },
        /// The file, where it is not `.ssh/authorized_keys` of the user's home.
        path: Option<PathBuf> {},
        /// Make the directory of the file, and make it the user's.
        manage_dir: bool { default: "true" },
        /// Whether the keys may log in.
        state: String { default: "present", choices: ["absent", "present"] },
        /// What stands before each key.
        key_options: Option<String> {},
        /// Remove all other keys.
        exclusive: bool { default: "false" },
        /// The comment of the keys instead of their own.
        comment: Option<String> {},
        /// Check the certificate of a URL's server.
        validate_certs: bool { default: "true" },
        /// Write through a link instead of refusing it.
        follow: bool { default: "false" },
    }
}

const KEY_TYPES: [&str; 23] = [
    "sk-ecdsa-sha2-nistp256@openssh.com",
    "sk-ecdsa-sha2-nistp256-cert-v01@openssh.com",
    "webauthn-sk-ecdsa-sha2-nistp256@openssh.com",
    "ecdsa-sha2-nistp256",
    "ecdsa-sha2-nistp256-cert-v01@openssh.com",
    "ecdsa-sha2-nistp384",
    "ecdsa-sha2-nistp384-cert-v01@openssh.com",
    "ecdsa-sha2-nistp521",
    "ecdsa-sha2-nistp521-cert-v01@openssh.com",
    "sk-ssh-ed25519@openssh.com",
    "sk-ssh-ed25519-cert-v01@openssh.com",
    "ssh-ed25519",
    "ssh-ed25519-cert-v01@openssh.com",
    "ssh-dss",
    "ssh-rsa",
    "ssh-xmss@openssh.com",
    "ssh-xmss-cert-v01@openssh.com",
    "rsa-sha2-256",
    "rsa-sha2-512",
    "ssh-rsa-cert-v01@openssh.com",
    "rsa-sha2-256-cert-v01@openssh.com",
    "rsa-sha2-512-cert-v01@openssh.com",
    "ssh-dss-cert-v01@openssh.com",
];

/// Makes the keys be in the file, or not.
pub(crate) fn run(machine: &mut Machine, args: AuthorizedKeyArgs) -> ModuleResult {
    let text = key_text(machine, &args)?;
    let user = owner(machine, &args)?;
    let path = key_file(machine, &args, user.as_ref());
    if !args.follow {
        refuse_links(machine, &args, &path)?;
    }
    // Its home is not the account's to exchange, but all below it is.
    let home = path.parent().and_then(Path::parent);
    let (changed, outcome) = match home.filter(|_| !args.follow) {
        Some(home) => {
            let names = path.strip_prefix(home).unwrap_or(&path);
            let place = Below::new(home).place(machine, names)?;
            machine.below(home, Links::OfRootFollowed, |machine| {
                bring(machine, &args, user.as_ref(), &text, &place)
            })?
        }
        None => bring(machine, &args, user.as_ref(), &text, &path)?,
    };
    let outcome = outcome.with("keyfile", path.display().to_string());
    let outcome = outcome.with_changed(changed);
    match &args.path {
        Some(path) => Ok(outcome.with_all(path_info(machine, path)?)),
        None => Ok(outcome),
    }
}

/// Brings the file into the wanted state; tells whether that changed anything.
fn bring(
    machine: &mut Machine,
    args: &AuthorizedKeyArgs,
    user: Option<&User>,
    text: &str,
    path: &Path,
) -> Result<(bool, Outcome), Failure> {
    let before = match machine.metadata(path)? {
        Some(found) if found.is_file() => {
            String::from_utf8_lossy(&machine.read(path)?).into_owned()
        }
        _ => String::new(),
    };
    let mut keys = parse_keys(&before);
    let changed = change(&mut keys, text, args)?;
    let after = serialize(keys);
    let mut outcome = described(args, text);
    if changed {
        let written = if args.follow {
            machine.real_path(path)?
        } else {
            path.to_owned()
        };
        if machine.wants_diff() {
            let diff = Diff::new(before, after.as_str())
                .headers(path.display().to_string(), written.display().to_string());
            outcome = outcome.only_diff(diff);
        }
        write(machine, args, user, &written, &after)?;
    }
    Ok((changed, outcome))
}

/// Returns what the module was called with, which is what its result is.
fn described(args: &AuthorizedKeyArgs, text: &str) -> Outcome {
    let as_text = |path: &PathBuf| path.display().to_string();
    Outcome::unchanged()
        .with("user", args.user.as_str())
        .with("key", text)
        .with("path", args.path.as_ref().map(as_text))
        .with("manage_dir", args.manage_dir)
        .with("state", args.state.as_str())
        .with("key_options", args.key_options.clone())
        .with("exclusive", args.exclusive)
        .with("comment", args.comment.clone())
        .with("validate_certs", args.validate_certs)
        .with("follow", args.follow)
}

/// Returns the keys, fetched when the option names a URL or a file.
fn key_text(machine: &mut Machine, args: &AuthorizedKeyArgs) -> Result<String, Failure> {
    let key = &args.key;
    if key.starts_with("http") {
        let options = Options {
            validate_certs: args.validate_certs,
            ..Options::default()
        };
        let failed = || Failure::new(format!("Error getting key from: {key}"));
        let response = http::send(machine, Request::get(key), &options)?;
        if response.status != 200 {
            return Err(failed());
        }
        let mut text = String::new();
        let read = response.into_body().read_to_string(&mut text);
        return read.map(|_| text).map_err(|_| failed());
    }
    if key.starts_with("file") {
        let path = match key.strip_prefix("file://") {
            Some(rest) => &rest[rest.find('/').unwrap_or(0)..],
            None => key.strip_prefix("file:").unwrap_or(key),
        };
        return match machine.metadata(Path::new(path))? {
            None => Err(Failure::new(format!(
                "Path to a key file not found: {path}"
            ))),
            Some(found) if !found.is_file() => Err(Failure::new(format!(
                "Path to a key is a directory and must be a file: {path}"
            ))),
            Some(_) => {
                let bytes = machine.read(Path::new(path))?;
                Ok(String::from_utf8_lossy(&bytes).into_owned())
            }
        };
    }
    Ok(key.clone())
}

/// Finds the user; in check mode one that does not exist yet will do if the file is named.
fn owner(machine: &mut Machine, args: &AuthorizedKeyArgs) -> Result<Option<User>, Failure> {
    match machine.user(&args.user) {
        Some(user) => Ok(Some(user)),
        None if machine.is_check() && args.path.is_some() => Ok(None),
        None if machine.is_check() => Err(Failure::new(
            "Either user must exist or you must provide full path to key file in check mode",
        )),
        None => Err(Failure::new(format!(
            "Failed to lookup user {0}: \"getpwnam(): name not found: '{0}'\"",
            args.user
        ))),
    }
}

fn key_file(machine: &mut Machine, args: &AuthorizedKeyArgs, user: Option<&User>) -> PathBuf {
    match (&args.path, user) {
        (Some(path), _) => machine.expand(path),
        (None, Some(user)) => Path::new(&user.home).join(".ssh/authorized_keys"),
        (None, None) => PathBuf::new(),
    }
}

/// Refuses what the account itself could have linked to where only we may read and write.
///
/// Ansible's collection does since CVE-2026-11837.
fn refuse_links(machine: &Machine, args: &AuthorizedKeyArgs, path: &Path) -> Result<(), Failure> {
    let directory = path.parent().filter(|_| args.manage_dir);
    for place in directory.into_iter().chain([path]) {
        let found = machine.symlink_metadata(place)?;
        if found.is_some_and(|found| found.is_link()) {
            return Err(Failure::new(format!(
                "refusing to follow the symbolic link `{}` (`follow: true` follows it)",
                place.display()
            )));
        }
    }
    Ok(())
}

fn write(
    machine: &mut Machine,
    args: &AuthorizedKeyArgs,
    user: Option<&User>,
    path: &Path,
    text: &str,
) -> Result<(), Failure> {
    let (uid, gid) = (user.map(|user| user.uid), user.map(|user| user.gid));
    let directory = path.parent().unwrap_or(Path::new("/"));
    let follow = if args.follow { Follow::Yes } else { Follow::No };
    if args.manage_dir {
        if !machine.exists(directory)? {
            machine.create_dir(directory, 0o700)?;
        }
        let wanted = Attributes {
            mode: Some(0o700),
            uid,
            gid,
            ..Attributes::default()
        };
        machine.set_attributes(directory, &wanted, follow)?;
    } else if !machine.exists(directory)? {
        machine.create_dir_all(directory, 0o777)?;
    }
    let new = NewFile {
        mode: Some(0o600),
        uid,
        gid,
        ..NewFile::default()
    };
    Ok(machine.write(path, Content::Bytes(text.as_bytes().to_vec()), &new)?)
}

/// One line of the file.
#[derive(Clone, Debug)]
struct Line {
    /// Its place: lines are written in the order of their ranks.
    rank: usize,
    kind: Kind,
}

#[derive(Clone, Debug, PartialEq)]
enum Kind {
    Key {
        body: String,
        key_type: String,
        options: KeyOptions,
        comment: String,
    },
    /// A comment, or what is no key: it stays as it is.
    Other(String),
}

/// The options before a key, in order, each with its value.
type KeyOptions = Vec<(String, Option<String>)>;

/// Reads the file; a key that stands there twice counts once, in its last place.
fn parse_keys(text: &str) -> IndexMap<String, Line> {
    let mut keys = IndexMap::new();
    for (rank, line) in text.split_inclusive('\n').enumerate() {
        let (name, kind) = match parse_key(line) {
            Some(kind @ Kind::Key { .. }) => (identity(&kind).to_owned(), kind),
            _ => (line.to_owned(), Kind::Other(line.to_owned())),
        };
        keys.insert(name, Line { rank, kind });
    }
    keys
}

fn identity(kind: &Kind) -> &str {
    match kind {
        Kind::Key { body, .. } => body,
        Kind::Other(line) => line,
    }
}

/// Reads one line; `None` when it is no key.
fn parse_key(line: &str) -> Option<Kind> {
    let line = line.replace("\\#", "#");
    let words: Vec<_> = line
        .split([' ', '\t', '\r', '\n'])
        .filter(|word| !word.is_empty())
        .collect();
    if words.first() == Some(&"#") {
        return Some(Kind::Other(line.clone()));
    }
    let index = words.iter().position(|word| KEY_TYPES.contains(word))?;
    Some(Kind::Key {
        body: (*words.get(index + 1)?).to_owned(),
        key_type: words[index].to_owned(),
        options: parse_options(&words[..index].join(" ")),
        comment: words[index + 2..].join(" "),
    })
}

/// Splits options at commas outside quotes.
fn parse_options(text: &str) -> KeyOptions {
    let mut parts = vec![String::new()];
    let mut quote = None;
    for letter in text.chars() {
        match (quote, letter) {
            (None, ',') => {
                parts.push(String::new());
                continue;
            }
            (None, '"' | '\'') => quote = Some(letter),
            (Some(open), _) if open == letter => quote = None,
            _ => {}
        }
        if let Some(part) = parts.last_mut() {
            part.push(letter);
        }
    }
    parts.retain(|part| !part.is_empty());
    let pair = |part: String| match part.split_once('=') {
        Some((name, value)) => (name.to_owned(), Some(value.to_owned())),
        None => (part, None),
    };
    parts.into_iter().map(pair).collect()
}

/// Brings the keys into the wanted state; tells whether anything changed.
fn change(
    keys: &mut IndexMap<String, Line>,
    text: &str,
    args: &AuthorizedKeyArgs,
) -> Result<bool, Failure> {
    let n_before = keys.len();
    let mut changed = false;
    let mut wanted = Vec::new();
    let lines = text
        .lines()
        .filter(|l| !l.is_empty() && !l.starts_with('#'));
    for (rank, line) in lines.enumerate() {
        let kind = parse_key(line)
            .ok_or_else(|| Failure::new(format!("invalid key specified: {line}")))?;
        let kind = with_given(kind, args);
        let name = identity(&kind).to_owned();
        if args.state == "absent" {
            changed |= keys.shift_remove(&name).is_some();
            continue;
        }
        if !keys
            .get(&name)
            .is_some_and(|found| is_same(&found.kind, &kind))
        {
            keys.shift_remove(&name);
            let rank = n_before + rank;
            keys.insert(name.clone(), Line { rank, kind });
            changed = true;
        }
        wanted.push(name);
    }
    if args.state == "present" && args.exclusive {
        let n_found = keys.len();
        keys.retain(|name, _| wanted.contains(name));
        changed |= keys.len() != n_found;
    }
    Ok(changed)
}

/// Puts the module's options and comment in the place of the key's own.
fn with_given(kind: Kind, args: &AuthorizedKeyArgs) -> Kind {
    match kind {
        Kind::Key {
            body,
            key_type,
            options,
            comment,
        } => Kind::Key {
            body,
            key_type,
            options: match &args.key_options {
                Some(given) => parse_options(given),
                None => options,
            },
            comment: args.comment.clone().unwrap_or(comment),
        },
        other @ Kind::Other(_) => other,
    }
}

/// Tells whether two keys are the same but for the order of their options.
fn is_same(one: &Kind, other: &Kind) -> bool {
    let sorted = |kind: &Kind| {
        let mut kind = kind.clone();
        if let Kind::Key { options, .. } = &mut kind {
            options.sort_by(|a, b| a.0.cmp(&b.0));
        }
        kind
    };
    sorted(one) == sorted(other)
}

fn serialize(keys: IndexMap<String, Line>) -> String {
    let mut lines: Vec<_> = keys.into_values().collect();
    lines.sort_by_key(|line| line.rank);
    let mut text = String::new();
    for line in lines {
        // A comment without an end would swallow the key after it.
        if !text.is_empty() && !text.ends_with('\n') {
            text.push('\n');
        }
        text.push_str(&rendered(line.kind));
    }
    text
}

fn rendered(kind: Kind) -> String {
    match kind {
        Kind::Other(line) => line,
        Kind::Key {
            body,
            key_type,
            options,
            comment,
        } => {
            let options: Vec<_> = options
                .into_iter()
                .map(|(name, value)| match value {
                    Some(value) => format!("{name}={value}"),
                    None => name,
                })
                .collect();
            let mut start = options.join(",");
            if !start.is_empty() {
                start.push(' ');
            }
            format!("{start}{key_type} {body} {comment}\n")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::Target;

    const MODULE: &str = "ansible.posix.authorized_key";

    fn call(target: &Target, options: &str) -> String {
        let me = target
            .machine()
            .user_name(rustix::process::geteuid().as_raw())
            .unwrap();
        let given = format!(r#"{{"user": "{me}", "path": "$ROOT/ssh/keys", {options}}}"#);
        let result = target.result(MODULE, &given);
        match result.get("msg") {
            Some(msg) => msg.to_string(),
            None => format!("{}", result.get("changed").unwrap()),
        }
    }

    #[test]
    fn a_key_is_added_once_with_its_directory_and_modes() {
        use std::os::unix::fs::MetadataExt;
        let target = Target::new();
        assert_eq!(call(&target, r#""key": "ssh-rsa AAAA me@here""#), "True");
        assert_eq!(target.read("ssh/keys"), "ssh-rsa AAAA me@here\n");
        let mode = |name| target.path(name).metadata().unwrap().mode() & 0o7777;
        assert_eq!((mode("ssh"), mode("ssh/keys")), (0o700, 0o600));
        assert_eq!(call(&target, r#""key": "ssh-rsa AAAA me@here""#), "False");
    }

    #[test]
    fn changed_options_and_comments_replace_the_key_at_the_end() {
        let target = Target::new().file(
            "ssh/keys",
            "# mine\nssh-rsa AAAA a\nno-pty,command=\"x, y\" ssh-ed25519 BBBB b c\nno key",
        );
        let options = r#""key": "ssh-rsa AAAA a", "key_options": "no-pty,from=\"a,b\"""#;
        assert_eq!(call(&target, options), "True");
        assert_eq!(
            target.read("ssh/keys"),
            "# mine\nno-pty,command=\"x, y\" ssh-ed25519 BBBB b c\nno key\n\
             no-pty,from=\"a,b\" ssh-rsa AAAA a\n"
        );
        let options = r#""key": "command=\"x, y\",no-pty ssh-ed25519 BBBB b c""#;
        assert_eq!(call(&target, options), "False");
        assert_eq!(
            call(&target, r#""key": "ssh-ed25519 BBBB b c", "comment": "d""#),
            "True"
        );
    }

    #[test]
    fn other_keys_go_when_the_given_are_exclusive_and_given_keys_when_absent() {
        let target = Target::new().file("ssh/keys", "ssh-rsa AAAA a\nssh-rsa CCCC c\n# x\n");
        let absent = r#""key": "ssh-rsa CCCC other", "state": "absent""#;
        assert_eq!(call(&target, absent), "True");
        assert_eq!(target.read("ssh/keys"), "ssh-rsa AAAA a\n# x\n");
        assert_eq!(call(&target, absent), "False");
        let exclusive = r#""key": "\n# hm\nssh-rsa BBBB b\nssh-rsa DDDD\n", "exclusive": true"#;
        assert_eq!(call(&target, exclusive), "True");
        assert_eq!(target.read("ssh/keys"), "ssh-rsa BBBB b\nssh-rsa DDDD \n");
        assert_eq!(call(&target, exclusive), "False");
    }

    #[test]
    fn links_that_the_account_could_have_made_are_followed_only_when_asked_to() {
        let key = r#""key": "ssh-rsa AAAA a""#;
        let target = Target::new()
            .file("shadow", "root:x\n")
            .link("keys", "shadow");
        let given = format!(r#""path": "$ROOT/keys", {key}"#);
        let refused = |target: &Target, name: &str| {
            let place = target.path(name);
            let place = place.display();
            format!("refusing to follow the symbolic link `{place}` (`follow: true` follows it)")
        };
        assert_eq!(call(&target, &given), refused(&target, "keys"));
        assert_eq!(target.read("shadow"), "root:x\n");
        let target = target.directory("etc").link("ssh", "etc");
        assert_eq!(call(&target, key), refused(&target, "ssh"));
        let followed = format!(r#"{key}, "follow": true"#);
        assert_eq!(call(&target, &followed), "True");
        assert_eq!(target.read("etc/keys"), "ssh-rsa AAAA a\n");
    }

    #[test]
    fn what_is_no_key_and_who_is_no_user_are_named() {
        let target = Target::new();
        assert_eq!(
            call(&target, r#""key": "hello""#),
            "invalid key specified: hello"
        );
        assert_eq!(
            call(&target, r#""key": "file:///backstay/none""#),
            "Path to a key file not found: /backstay/none"
        );
        let options = r#"{"user": "backstay-none", "key": "ssh-rsa A"}"#;
        assert_eq!(
            target
                .result(MODULE, options)
                .get("msg")
                .unwrap()
                .to_string(),
            "Failed to lookup user backstay-none: \
             \"getpwnam(): name not found: 'backstay-none'\""
        );
    }
}
