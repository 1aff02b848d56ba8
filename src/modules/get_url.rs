//! `get_url`: a file holds what a URL gives.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Instant;

use rustix::fs::Access;

use crate::machine::{Algorithm, Content, Follow, Machine, NewFile, TemporaryFile};
use crate::value::{Map, Value};

use super::http::{self, Address, Options, Request, Response};
use super::path_info::{path_info, without_unborn_owners};
use super::stat::algorithm;
use super::{Failure, ModuleResult, Outcome};

crate::arguments! {
    /// Downloads files from HTTP, HTTPS, or the target's own disk.
    pub(crate) struct GetUrlArgs for "get_url" with file_attributes {
        /// The URL.
        url: String { required },
        /// Where to save the content; in a directory, under the server's name for it.
        dest: PathBuf { required },
        /// Keep a copy of the old file beside it.
        backup: bool { default: "false" },
        /// `ALGORITHM:DIGEST`, or `ALGORITHM:URL` of a list of digests.
        checksum: String { default: "" },
        /// Seconds that any one step may take.
        timeout: i64 { default: "10" },
        /// Headers to send.
        headers: Option<Map> {},
        /// An existing directory for the download.
        tmp_dest: Option<PathBuf> {},
        /// Download even though the file is there.
        force: bool { default: "false" },
        /// Who asks.
        url_username: Option<String> { aliases: ["username"] },
        url_password: Option<String> { no_log, aliases: ["password"] },
        /// Send user and password before they are asked for.
        force_basic_auth: bool { default: "false" },
        client_cert: Option<PathBuf> {},
        client_key: Option<PathBuf> {},
        /// Check the server's certificate.
        validate_certs: bool { default: "true" },
        /// Headers that stay behind at a redirect.
        unredirected_headers: Vec<String> { default: "" },
        /// Decode what the server compressed.
        decompress: bool { default: "true" },
        ciphers: Option<Vec<String>> {},
        /// Take user and password from the netrc file.
        use_netrc: bool { default: "true" },
        /// Use the proxies of the environment.
        use_proxy: bool { default: "true" },
        /// The User-Agent header.
        http_agent: String { default: "ansible-httpget" },
        use_gssapi: bool { default: "false" },
    }
}

/// Downloads the file unless it is there, and applies the file options.
pub(crate) fn run(machine: &mut Machine, args: GetUrlArgs) -> ModuleResult {
    http::check_unsupported(args.use_gssapi, args.ciphers.as_deref())?;
    let dest = machine.expand(&args.dest);
    let (attributes, warnings) = without_unborn_owners(machine, &args.file);
    let args = GetUrlArgs {
        file: attributes,
        ..args
    };
    let mut task = Task {
        args: &args,
        dest_is_dir: machine.is_dir(&dest)?,
        dest,
        force: args.force,
        elapsed: 0,
    };
    let mut outcome = task.run(machine)?;
    outcome.warnings.extend(warnings);
    Ok(outcome)
}

struct Task<'a> {
    args: &'a GetUrlArgs,
    dest: PathBuf,
    dest_is_dir: bool,
    force: bool,
    /// Seconds that the download took.
    elapsed: u64,
}

/// What the file must hash to.
struct Checksum {
    algorithm: Algorithm,
    digest: String,
}

impl Task<'_> {
    fn run(&mut self, machine: &mut Machine) -> ModuleResult {
        let checksum = self.checksum(machine)?;
        let found = match machine.metadata(&self.dest)? {
            Some(found) if !self.dest_is_dir => Some(found),
            _ => None,
        };
        let mut newer_than = None;
        if let Some(found) = found {
            newer_than = Some(found.mtime.seconds);
            if let Some(checksum) = checksum.as_ref().filter(|_| !self.force) {
                if machine.digest(&self.dest, checksum.algorithm)? == checksum.digest {
                    return self.exists(machine);
                }
                // The date says nothing about a file that is not the right one.
                self.force = true;
            }
        }
        let started = Instant::now();
        let method = if machine.is_check() { "HEAD" } else { "GET" };
        let fetched = self.fetch(machine, &self.args.url.clone(), method, newer_than);
        self.elapsed = started.elapsed().as_secs();
        match fetched? {
            Fetched::NotModified(msg) => {
                let outcome = Outcome::unchanged().msg(msg).with("status_code", 304);
                self.described(machine, outcome)
            }
            Fetched::File(download) => self.place(machine, download, checksum.as_ref()),
        }
    }

    /// Adds what every result has.
    fn described(&self, machine: &mut Machine, outcome: Outcome) -> ModuleResult {
        Ok(outcome
            .with("url", http::masked(&self.args.url))
            .with("dest", self.dest.display().to_string())
            .with("elapsed", self.elapsed)
            .with_all(path_info(machine, &self.dest)?))
    }

    fn failed(&self, machine: &mut Machine, msg: String) -> Failure {
        let outcome = self.described(machine, Outcome::unchanged());
        Failure::new(msg).with_all(outcome.map(|outcome| outcome.data).unwrap_or_default())
    }

    fn exists(&self, machine: &mut Machine) -> ModuleResult {
        let change = machine.apply_file_attributes(&self.dest, &self.args.file, Follow::No)?;
        let msg = if change.changed {
            "file already exists but file attributes changed"
        } else {
            "file already exists"
        };
        let outcome = Outcome::unchanged()
            .with_changed(change.changed)
            .msg(msg)
            .with("checksum_dest", Value::Null)
            .with("checksum_src", Value::Null);
        self.described(machine, outcome)
    }

    /// Reads the `checksum` option, and the list that it may name.
    fn checksum(&self, machine: &mut Machine) -> Result<Option<Checksum>, Failure> {
        let option = self.args.checksum.as_str();
        if option.is_empty() {
            return Ok(None);
        }
        let Some((name, digest)) = option.split_once(':') else {
            let msg = "The checksum parameter has to be in format <algorithm>:<checksum>";
            return Err(self.failed(machine, msg.into()));
        };
        let is_url = matches!(
            Address::new(digest).scheme,
            "http" | "https" | "ftp" | "file"
        );
        let digest = if is_url {
            self.listed_digest(machine, digest)?
        } else {
            digest.to_owned()
        };
        let is_word = |letter: &char| letter.is_alphanumeric() || *letter == '_';
        let digest: String = digest.to_lowercase().chars().filter(is_word).collect();
        if digest.is_empty() || !digest.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err(self.failed(machine, "The checksum format is invalid".into()));
        }
        Ok(Some(Checksum {
            algorithm: algorithm(name)?,
            digest,
        }))
    }

    fn listed_digest(&self, machine: &mut Machine, url: &str) -> Result<String, Failure> {
        let Fetched::File(list) = self.fetch(machine, url, "GET", None)? else {
            return Err(Failure::new("the list of checksums did not arrive"));
        };
        let text = machine.read(list.file.path())?;
        let name = match Address::new(&self.args.url).file_name() {
            "" => "index.html",
            name => name,
        };
        find_digest(&String::from_utf8_lossy(&text), name).ok_or_else(|| {
            Failure::new(format!(
                "Unable to find a checksum for file '{name}' in '{}'",
                http::masked(url)
            ))
        })
    }

    /// Downloads a URL into a private file.
    fn fetch(
        &self,
        machine: &mut Machine,
        url: &str,
        method: &str,
        newer_than: Option<i64>,
    ) -> Result<Fetched, Failure> {
        if let Some(path) = url.strip_prefix("file:") {
            let path = PathBuf::from(http::unquote(path.trim_start_matches("//")));
            return self.fetch_local(machine, &path);
        }
        let request = Request {
            method: method.into(),
            headers: http::header_list(&self.args.headers.clone().unwrap_or_default())?,
            force: self.force,
            newer_than,
            ..Request::get(url)
        };
        let mut response = http::send(machine, request, &self.options())?;
        match response.status {
            304 => return Ok(Fetched::NotModified(response.msg)),
            200 => {}
            -1 => return Err(self.failed(machine, response.msg)),
            status => {
                let failure = self.failed(machine, "Request failed".into());
                return Err(failure
                    .with("status_code", status)
                    .with("response", response.msg));
            }
        }
        let mut file = self.spool(machine)?;
        let size = io::copy(&mut response.take_body(), file.file()).map_err(|error| {
            let msg = format!("failed to create temporary content file: {error}");
            Failure::new(msg).with("elapsed", self.elapsed)
        })?;
        check_length(&response, size, method)?;
        Ok(Fetched::File(Download {
            file,
            name: response.disposition_name().or_else(|| response.url_name()),
            msg: response.msg,
            status: response.status.into(),
        }))
    }

    fn fetch_local(&self, machine: &mut Machine, path: &Path) -> Result<Fetched, Failure> {
        let mut file = self.spool(machine)?;
        let mut from = machine.open(path)?;
        let size = io::copy(&mut from, file.file()).map_err(|error| {
            Failure::new(format!("failed to create temporary content file: {error}"))
        })?;
        drop(from);
        let name = path
            .file_name()
            .map(|name| name.to_string_lossy().into_owned());
        Ok(Fetched::File(Download {
            file,
            name,
            msg: format!("OK ({size} bytes)"),
            status: Value::Null,
        }))
    }

    /// Makes the file to download into; `tmp_dest` only has to be a directory, because the file
    /// in its place is complete before it gets its name in any case.
    fn spool(&self, machine: &mut Machine) -> Result<TemporaryFile, Failure> {
        if let Some(directory) = &self.args.tmp_dest {
            let path = machine.expand(directory);
            let wrong = match machine.metadata(&path)? {
                None => format!("{} directory does not exist.", directory.display()),
                Some(found) if !found.is_dir() => {
                    format!(
                        "{} is a file but should be a directory.",
                        directory.display()
                    )
                }
                Some(_) => return Ok(machine.temporary_file(b"")?),
            };
            return Err(Failure::new(wrong).with("elapsed", self.elapsed));
        }
        Ok(machine.temporary_file(b"")?)
    }

    fn options(&self) -> Options {
        let args = self.args;
        Options {
            http_agent: args.http_agent.clone(),
            use_proxy: args.use_proxy,
            validate_certs: args.validate_certs,
            username: args.url_username.clone(),
            password: args.url_password.clone(),
            force_basic_auth: args.force_basic_auth,
            client_cert: args.client_cert.clone(),
            client_key: args.client_key.clone(),
            timeout: args.timeout,
            use_netrc: args.use_netrc,
            decompress: args.decompress,
            unredirected_headers: args.unredirected_headers.clone(),
            ..Options::default()
        }
    }

    fn place(
        &mut self,
        machine: &mut Machine,
        download: Download,
        checksum: Option<&Checksum>,
    ) -> ModuleResult {
        if self.dest_is_dir {
            let name = download.name.clone();
            self.dest.push(name.unwrap_or_else(|| "index.html".into()));
        }
        let source = download.file.path().to_owned();
        let sha1 = machine.digest(&source, Algorithm::Sha1)?;
        let found = Outcome::unchanged()
            .with("src", source.display().to_string())
            .with("checksum_src", sha1.as_str())
            .with("checksum_dest", Value::Null);
        let old = self
            .old_digest(machine)
            .map_err(|failure| failure.with_all(found.data.clone()))?;
        let outcome = found
            .with("checksum_dest", old.clone())
            .msg(download.msg.as_str());
        let differs = old.as_deref() != Some(&*sha1);
        if machine.is_check() {
            return self.described(machine, outcome.with_changed(differs));
        }
        if let Some(checksum) = checksum {
            let actual = machine.digest(&source, checksum.algorithm)?;
            if actual != checksum.digest {
                let msg = format!(
                    "The checksum for {} did not match {}; it was {actual}.",
                    source.display(),
                    checksum.digest
                );
                let failure = self.failed(machine, msg.clone());
                return Err(failure.with_all(outcome.msg(msg).data));
            }
        }
        let mut backup = None;
        if differs {
            if self.args.backup && old.is_some() {
                backup = Some(machine.backup(&self.dest)?);
            }
            let new = NewFile {
                unsafe_writes: self.args.file.unsafe_writes,
                ..NewFile::default()
            };
            machine.write(&self.dest, Content::File(source), &new)?;
        }
        let change = machine.apply_file_attributes(&self.dest, &self.args.file, Follow::No)?;
        let mut outcome = outcome
            .with_changed(differs || change.changed)
            .with("status_code", download.status)
            .with("md5sum", machine.digest(&self.dest, Algorithm::Md5)?);
        if let Some(backup) = backup {
            outcome = outcome.with("backup_file", backup.display().to_string());
        }
        self.described(machine, outcome)
    }

    /// Returns the digest of the file that is there; fails where none could be put.
    fn old_digest(&self, machine: &mut Machine) -> Result<Option<String>, Failure> {
        let shown = self.dest.display();
        if machine.exists(&self.dest)? {
            if !machine.may(&self.dest, Access::WRITE_OK) {
                return Err(self.failed(machine, format!("Destination {shown} is not writable")));
            }
            return Ok(Some(machine.digest(&self.dest, Algorithm::Sha1)?));
        }
        let parent = self.dest.parent().unwrap_or(Path::new("/"));
        if !machine.exists(parent)? && !machine.is_check() {
            let msg = format!("Destination {} does not exist", parent.display());
            return Err(self.failed(machine, msg));
        }
        Ok(None)
    }
}

fn check_length(response: &Response, size: u64, method: &str) -> Result<(), Failure> {
    let is_encoded = response.header("content-encoding").is_some();
    let length = response.header("content-length");
    let length = length.and_then(|length| length.parse::<u64>().ok());
    match length {
        Some(length) if length != size && method == "GET" && !is_encoded => {
            Err(Failure::new(format!(
                "Incomplete read, ({size} of {length} bytes arrived) failed to read remaining \
                 {} bytes",
                length.saturating_sub(size)
            )))
        }
        _ => Ok(()),
    }
}

enum Fetched {
    /// The server has nothing newer; with what it said.
    NotModified(String),
    File(Download),
}

struct Download {
    file: TemporaryFile,
    /// The name that the server has for it.
    name: Option<String>,
    msg: String,
    status: Value,
}

/// Finds a file's digest in a list such as `sha256sum` writes, plain or with `--tag`; a list of
/// one word is the digest.
fn find_digest(list: &str, name: &str) -> Option<String> {
    let lines: Vec<&str> = list.lines().collect();
    if let [line] = lines.as_slice()
        && let [digest] = line.split_whitespace().collect::<Vec<_>>().as_slice()
    {
        return Some((*digest).to_owned());
    }
    lines.iter().find_map(|line| {
        let (digest, path) = tagged(line).or_else(|| {
            let (digest, path) = line.split_once(char::is_whitespace)?;
            let path = path.trim_start().trim_start_matches('*');
            Some((digest, path.trim_start_matches(['.', '/'])))
        })?;
        (path == name).then(|| digest.to_owned())
    })
}

/// Reads `SHA256 (name) = digest`.
fn tagged(line: &str) -> Option<(&str, &str)> {
    let (algorithm, rest) = line.split_once('(')?;
    let (path, digest) = rest.rsplit_once(')')?;
    let digest = digest.trim_start().strip_prefix('=')?.trim();
    let is_word = |text: &str| {
        text.chars()
            .all(|letter| letter.is_alphanumeric() || letter == '_')
    };
    is_word(algorithm.trim_end()).then_some((digest, path))
}

#[cfg(test)]
mod tests {
    use super::super::http::testing::Server;
    use super::super::testing::Target;
    use super::*;

    /// The SHA-256 of `data`.
    const DIGEST: &str = "3a6eb0790f39ac87c94f3856b2dd2c5d110e6811602261a9a923d3bb23adc8b7";

    fn server() -> Server {
        Server::new(|request| match request {
            "GET /a.txt" | "HEAD /a.txt" => "200 OK\n\ndata".into(),
            "GET /SUMS" => format!("200 OK\n\n00  other\n{DIGEST} *a.txt\n"),
            "GET /same" => "304 Not Modified".into(),
            _ => "404 Not Found\n\nno".into(),
        })
    }

    /// Runs the module and returns `changed` or the message of a failure.
    fn brief(target: &Target, server: &Server, options: &str) -> String {
        let options = options.replace("$SERVER", &server.address);
        let result = target.result("get_url", &options);
        match result.get("failed") {
            Some(_) => result
                .get("msg")
                .unwrap()
                .to_string()
                .replace(&server.address, "$SERVER"),
            None => format!("changed={}", result.get("changed").unwrap()),
        }
    }

    fn target() -> Target {
        Target::new().env("no_proxy", "*").directory("d")
    }

    #[test]
    fn a_file_is_downloaded_once_and_described() {
        let (server, target) = (server(), target());
        let options = r#"{"url": "http://$SERVER/a.txt", "dest": "$ROOT/d", "mode": "0640"}"#;
        let result = target.result("get_url", &options.replace("$SERVER", &server.address));
        let mut keys: Vec<_> = result.keys().map(ToString::to_string).collect();
        keys.sort();
        // Recorded from ansible-core 2.19.14.
        assert_eq!(
            keys.join(" "),
            "changed checksum_dest checksum_src dest elapsed gid group md5sum mode msg owner size \
             src state status_code uid url"
        );
        assert_eq!(result.get("msg"), Some(&"OK (4 bytes)".into()));
        assert_eq!(target.read("d/a.txt"), "data");
        assert_eq!(brief(&target, &server, options), "changed=False");
    }

    #[test]
    fn a_checksum_saves_the_download_and_refuses_the_wrong_file() {
        let (server, target) = (server(), target().file("d/a.txt", "data"));
        let right = format!(
            r#"{{"url": "http://$SERVER/a.txt", "dest": "$ROOT/d/a.txt", "checksum": "sha256:{DIGEST}"}}"#
        );
        assert_eq!(brief(&target, &server, &right), "changed=False");
        assert!(server.seen().is_empty());
        let listed = r#"{"url": "http://$SERVER/a.txt", "dest": "$ROOT/d/b", "checksum": "sha256:http://$SERVER/SUMS"}"#;
        assert_eq!(brief(&target, &server, listed), "changed=True");
        let wrong = r#"{"url": "http://$SERVER/a.txt", "dest": "$ROOT/d/c", "checksum": "md5:00"}"#;
        let failed = target.result("get_url", &wrong.replace("$SERVER", &server.address));
        assert_eq!(
            failed.get("checksum_src").map(Value::to_string).as_deref(),
            Some("a17c9aaa61e80a1bf71d0d850af4e5baa9800bbd")
        );
        let msg = brief(&target, &server, wrong);
        assert!(
            msg.ends_with(" did not match 00; it was 8d777f385d3dfec8815d20f7496026dc."),
            "{msg}"
        );
        assert!(!target.path("d/c").exists());
    }

    #[test]
    fn what_is_not_newer_stays_and_what_is_not_there_fails() {
        let (server, target) = (server(), target().file("f", "old"));
        let same = r#"{"url": "http://$SERVER/same", "dest": "$ROOT/f"}"#;
        assert_eq!(brief(&target, &server, same), "changed=False");
        assert!(
            server.seen()[0]
                .to_lowercase()
                .contains("if-modified-since: ")
        );
        let missing = r#"{"url": "http://$SERVER/no", "dest": "$ROOT/f"}"#;
        let options = missing.replace("$SERVER", &server.address);
        let result = target.result("get_url", &options);
        assert_eq!(result.get("msg"), Some(&"Request failed".into()));
        assert_eq!(
            result.get("response"),
            Some(&"HTTP Error 404: Not Found".into())
        );
        assert_eq!(result.get("status_code"), Some(&404.into()));
        let nowhere = r#"{"url": "http://$SERVER/a.txt", "dest": "$ROOT/no/f"}"#;
        let msg = brief(&target, &server, nowhere);
        assert!(
            msg.starts_with("Destination ") && msg.ends_with("/no does not exist"),
            "{msg}"
        );
    }

    #[test]
    fn a_file_of_the_targets_own_is_a_url_too() {
        let target = target().file("f", "here");
        let options = r#"{"url": "file://$ROOT/f", "dest": "$ROOT/g"}"#;
        assert_eq!(brief(&target, &server(), options), "changed=True");
        assert_eq!(target.read("g"), "here");
    }

    #[test]
    fn digests_are_found_in_lists_of_all_kinds() {
        for list in [
            "00  b\nff  a",
            "ff *a\n00 *b",
            "SHA256 (b) = 00\nSHA256 (a) = ff\n",
            "ff  ./a\n00  ./b\n",
            "ff\n",
        ] {
            assert_eq!(find_digest(list, "a"), Some("ff".into()), "{list}");
        }
        assert_eq!(find_digest("00  b\n11  c\n", "a"), None);
    }
}
