//! The `known_hosts` files: which keys, authorities and revocations they hold for a host, and how a
//! new key is added. The format and its rules are those of sshd(8).
//!
//! Keys are compared as bytes; deciding what a verdict means is `host_key`'s.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use hmac::{Hmac, KeyInit, Mac};
use sha1::Sha1;

use super::pattern;

/// What the files say of a key that a host shows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Known,
    /// No line speaks of this host.
    Unknown,
    /// Lines speak of this host, but none has this key; the first such line is named.
    Different(Place),
    Revoked(Place),
}

/// A line of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) file: PathBuf,
    pub(super) line: usize,
}

/// The lines of all files, in the order the files were named.
#[derive(Debug, Default)]
pub(super) struct KnownHosts {
    entries: Vec<Entry>,
}

#[derive(Debug)]
struct Entry {
    place: Place,
    marker: Marker,
    hosts: String,
    algorithm: String,
    key: Vec<u8>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Marker {
    None,
    Authority,
    Revoked,
}

/// Returns the name a host has in the files: itself, or `[host]:port` beside port 22.
pub(super) fn host_name(host: &str, port: u16) -> String {
    let host = host.to_lowercase();
    if port == 22 {
        host
    } else {
        format!("[{host}]:{port}")
    }
}

impl KnownHosts {
    /// Reads `files`; one that does not exist is empty.
    pub(super) fn read(files: &[PathBuf]) -> Result<Self, (PathBuf, io::Error)> {
        let mut known = Self::default();
        for file in files {
            match std::fs::read(file) {
                Ok(bytes) => known.add_text(file, &String::from_utf8_lossy(&bytes)),
                Err(error) if is_absent(&error) => {}
                Err(error) => return Err((file.clone(), error)),
            }
        }
        Ok(known)
    }

    fn add_text(&mut self, file: &Path, text: &str) {
        let lines = text.lines().enumerate();
        self.entries.extend(lines.filter_map(|(index, line)| {
            let place = Place {
                file: file.to_owned(),
                line: index + 1,
            };
            Entry::parse(line, place)
        }));
    }

    /// Judges the plain `key` (its wire bytes) that the host `name` shows. Beside port 22 a line
    /// for the bare host name vouches too, as OpenSSH has it.
    pub(super) fn judge(&self, name: &str, key: &[u8]) -> Verdict {
        let exact = self.judge_name(name, key);
        match bare_host(name) {
            Some(host) if exact == Verdict::Unknown => match self.judge_name(host, key) {
                Verdict::Different(_) => Verdict::Unknown,
                verdict => verdict,
            },
            _ => exact,
        }
    }

    fn judge_name(&self, name: &str, key: &[u8]) -> Verdict {
        if let Some(place) = self.revocation(name, key) {
            return Verdict::Revoked(place);
        }
        let mut different = None;
        for entry in self.matching(name, Marker::None) {
            if entry.key == key {
                return Verdict::Known;
            }
            different.get_or_insert_with(|| entry.place.clone());
        }
        different.map_or(Verdict::Unknown, Verdict::Different)
    }

    /// Returns where `key` is revoked for `name`, be it a host key or an authority's.
    pub(super) fn revocation(&self, name: &str, key: &[u8]) -> Option<Place> {
        self.matching(name, Marker::Revoked)
            .chain(
                bare_host(name)
                    .into_iter()
                    .flat_map(|host| self.matching(host, Marker::Revoked)),
            )
            .find(|entry| entry.key == key)
            .map(|entry| entry.place.clone())
    }

    /// Returns whether `key` is an authority trusted to sign for `name`.
    pub(super) fn has_authority(&self, name: &str, key: &[u8]) -> bool {
        self.authorities(name).any(|entry| entry.key == key)
    }

    /// Returns whether any authority is trusted to sign for `name`.
    pub(super) fn has_authorities(&self, name: &str) -> bool {
        self.authorities(name).next().is_some()
    }

    fn authorities<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a Entry> {
        self.matching(name, Marker::Authority).chain(
            bare_host(name)
                .into_iter()
                .flat_map(|host| self.matching(host, Marker::Authority)),
        )
    }

    /// Returns the key types known for `name`, each once.
    pub(super) fn algorithms(&self, name: &str) -> Vec<String> {
        let mut algorithms: Vec<String> = Vec::new();
        let bare = bare_host(name)
            .into_iter()
            .flat_map(|host| self.matching(host, Marker::None));
        for entry in self.matching(name, Marker::None).chain(bare) {
            if !algorithms.contains(&entry.algorithm) {
                algorithms.push(entry.algorithm.clone());
            }
        }
        algorithms
    }

    fn matching<'a>(&'a self, name: &'a str, marker: Marker) -> impl Iterator<Item = &'a Entry> {
        self.entries
            .iter()
            .filter(move |entry| entry.marker == marker && hosts_match(&entry.hosts, name))
    }
}

/// `/dev/null` and a missing directory count as no file.
fn is_absent(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
    )
}

/// Returns the host of a `[host]:port` name.
fn bare_host(name: &str) -> Option<&str> {
    Some(name.strip_prefix('[')?.rsplit_once("]:")?.0)
}

impl Entry {
    /// Reads one line; comments, blank lines and lines that make no sense are none.
    fn parse(line: &str, place: Place) -> Option<Self> {
        let mut words = line.split_ascii_whitespace().peekable();
        let marker = match *words.peek()? {
            word if word.starts_with('#') => return None,
            "@cert-authority" => Marker::Authority,
            "@revoked" => Marker::Revoked,
            word if word.starts_with('@') => return None,
            _ => Marker::None,
        };
        if marker != Marker::None {
            words.next();
        }
        Some(Self {
            place,
            marker,
            hosts: words.next()?.to_owned(),
            algorithm: words.next()?.to_owned(),
            key: BASE64.decode(words.next()?).ok()?,
        })
    }
}

/// Returns whether the host field of a line speaks of `name`.
fn hosts_match(hosts: &str, name: &str) -> bool {
    if hosts.starts_with('|') {
        return hashed_match(hosts, name).unwrap_or(false);
    }
    pattern::list_matches(hosts.split(','), name)
}

/// Compares a `|1|salt|hash` field; `None` when it is malformed.
fn hashed_match(field: &str, name: &str) -> Option<bool> {
    let (salt, hash) = field.strip_prefix("|1|")?.split_once('|')?;
    let salt = BASE64.decode(salt).ok()?;
    Some(name_hash(&salt, name) == BASE64.decode(hash).ok()?)
}

fn name_hash(salt: &[u8], name: &str) -> Vec<u8> {
    let mut mac =
        <Hmac<Sha1> as KeyInit>::new_from_slice(salt).expect("HMAC takes a key of any length");
    mac.update(name.as_bytes());
    mac.finalize().into_bytes().to_vec()
}

/// Adds a line for `name` to `file`, hashing the name with `salt` when one is given. Makes the
/// file, and its directory, private to the user when they are missing.
pub(super) fn add(
    file: &Path,
    name: &str,
    algorithm: &str,
    key: &[u8],
    salt: Option<[u8; 20]>,
) -> io::Result<()> {
    if let Some(directory) = file.parent().filter(|directory| !directory.exists()) {
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(directory)?;
    }
    let mut opened = OpenOptions::new()
        .read(true)
        .append(true)
        .create(true)
        .mode(0o600)
        .open(file)?;
    let line = line(name, algorithm, key, salt);
    let start = if ends_in_line_break(&mut opened)? {
        ""
    } else {
        "\n"
    };
    // One write, so that lines of hosts that connect at the same time do not mix.
    opened.write_all(format!("{start}{line}\n").as_bytes())
}

fn line(name: &str, algorithm: &str, key: &[u8], salt: Option<[u8; 20]>) -> String {
    let hosts = salt.map_or_else(
        || name.to_owned(),
        |salt| {
            let hash = BASE64.encode(name_hash(&salt, name));
            format!("|1|{}|{hash}", BASE64.encode(salt))
        },
    );
    format!("{hosts} {algorithm} {}", BASE64.encode(key))
}

fn ends_in_line_break(file: &mut File) -> io::Result<bool> {
    // Devices (`/dev/null`) have no length and need no line break.
    if file.metadata()?.len() == 0 {
        return Ok(true);
    }
    file.seek(SeekFrom::End(-1))?;
    let mut last = [0];
    file.read_exact(&mut last)?;
    Ok(last == *b"\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &[u8] = b"first key";
    const OTHER: &[u8] = b"other key";

    fn known(text: &str) -> KnownHosts {
        let mut known = KnownHosts::default();
        known.add_text(Path::new("kh"), text);
        known
    }

    fn entry(hosts: &str, key: &[u8]) -> String {
        format!("{hosts} ssh-ed25519 {} a comment\n", BASE64.encode(key))
    }

    fn place(line: usize) -> Place {
        Place {
            file: "kh".into(),
            line,
        }
    }

    #[test]
    fn lines_match_by_name_pattern_and_port() {
        let cases = [
            ("web1", "web1", Verdict::Known),
            ("WEB1", "web1", Verdict::Known),
            ("db,web1", "web1", Verdict::Known),
            ("web*", "web1", Verdict::Known),
            ("web?", "web1", Verdict::Known),
            ("web*,!web1", "web1", Verdict::Unknown),
            ("web1", "web11", Verdict::Unknown),
            ("[web1]:2222", "[web1]:2222", Verdict::Known),
            ("[web1]:2222", "web1", Verdict::Unknown),
            ("web1", "[web1]:2222", Verdict::Known),
            ("[*.example.org]:*", "[a.example.org]:2222", Verdict::Known),
            ("2001:db8::1", "2001:db8::1", Verdict::Known),
        ];
        for (hosts, name, verdict) in cases {
            let judged = known(&entry(hosts, KEY)).judge(name, KEY);
            assert_eq!(judged, verdict, "{hosts} for {name}");
        }
    }

    #[test]
    fn another_key_for_the_host_names_its_line() {
        let known = known(&format!("# comment\n\n{}", entry("web1", OTHER)));
        assert_eq!(known.judge("web1", KEY), Verdict::Different(place(3)));
        assert_eq!(known.judge("web2", KEY), Verdict::Unknown);
    }

    #[test]
    fn another_key_under_the_bare_name_does_not_condemn_another_port() {
        let known = known(&entry("web1", OTHER));
        assert_eq!(known.judge("[web1]:2222", KEY), Verdict::Unknown);
    }

    #[test]
    fn any_of_several_keys_is_known() {
        let known = known(&(entry("web1", OTHER) + &entry("web1", KEY)));
        assert_eq!(known.judge("web1", KEY), Verdict::Known);
    }

    #[test]
    fn a_revoked_key_is_revoked_even_if_another_line_knows_it() {
        let text = entry("web1", KEY) + "@revoked " + &entry("*", KEY);
        assert_eq!(known(&text).judge("web1", KEY), Verdict::Revoked(place(2)));
        assert_eq!(
            known(&text).judge("[web1]:2222", KEY),
            Verdict::Revoked(place(2))
        );
        assert_eq!(
            known(&text).judge("web1", OTHER),
            Verdict::Different(place(1))
        );
    }

    #[test]
    fn authorities_vouch_for_names_and_are_no_host_keys() {
        let known = known(&format!("@cert-authority {}", entry("*.example.org", KEY)));
        assert!(known.has_authority("web1.example.org", KEY));
        assert!(!known.has_authority("web1.example.com", KEY));
        assert!(!known.has_authority("web1.example.org", OTHER));
        assert_eq!(known.judge("web1.example.org", KEY), Verdict::Unknown);
    }

    // Made by `ssh-keygen -H` of OpenSSH 9.2 from a line for `[web1.example.org]:2222`.
    #[test]
    fn names_hashed_by_openssh_match() {
        let known = known(
            "|1|uKzbO8vYxizOuQQSeyeeJbhiT8E=|hyuY9kGqTCQlLS3qPSmMVtcZ60A= ssh-ed25519 Zmlyc3Qga2V5",
        );
        assert_eq!(known.judge("[web1.example.org]:2222", KEY), Verdict::Known);
        assert_eq!(
            known.judge("[web1.example.org]:2222", OTHER),
            Verdict::Different(place(1))
        );
        assert_eq!(
            known.judge("[web2.example.org]:2222", KEY),
            Verdict::Unknown
        );
    }

    #[test]
    fn a_name_hashed_by_us_matches_too() {
        let hashed = line("web1", "ssh-ed25519", KEY, Some(*b"12345678901234567890"));
        assert!(
            hashed.starts_with("|1|MTIzNDU2Nzg5MDEyMzQ1Njc4OTA=|"),
            "{hashed}"
        );
        assert_eq!(known(&hashed).judge("web1", KEY), Verdict::Known);
    }

    #[test]
    fn broken_lines_and_unknown_markers_are_passed_over() {
        let text = format!(
            "web1\nweb1 ssh-ed25519\nweb1 ssh-ed25519 ???\n|1|x web1 QQ==\n@new {}",
            entry("web1", KEY)
        );
        assert_eq!(known(&text).judge("web1", KEY), Verdict::Unknown);
    }

    #[test]
    fn an_added_line_starts_on_its_own_line_and_is_known_after() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("ssh/known_hosts");
        add(&file, "web1", "ssh-ed25519", KEY, None).unwrap();
        OpenOptions::new()
            .append(true)
            .open(&file)
            .unwrap()
            .write_all(b"# no line break")
            .unwrap();
        add(&file, "web2", "ssh-rsa", OTHER, None).unwrap();
        let text = std::fs::read_to_string(&file).unwrap();
        assert_eq!(
            text,
            "web1 ssh-ed25519 Zmlyc3Qga2V5\n# no line break\nweb2 ssh-rsa b3RoZXIga2V5\n"
        );
        let known = KnownHosts::read(&[file]).unwrap();
        assert_eq!(known.judge("web2", OTHER), Verdict::Known);
        assert_eq!(known.algorithms("web2"), ["ssh-rsa"]);
    }

    #[test]
    fn a_missing_file_is_empty() {
        assert!(
            KnownHosts::read(&["/nonexistent/known_hosts".into()])
                .unwrap()
                .entries
                .is_empty()
        );
    }
}
