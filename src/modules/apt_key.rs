//! `apt_key`: a key of apt's keyring, as long as the target still has `apt-key`.

use std::io::Read;
use std::path::PathBuf;

use crate::machine::{Command, Effect, Machine, Output};
use crate::value::Value;

use super::http::{self, Options, Request};
use super::tool;
use super::{Failure, ModuleResult, Outcome};

crate::arguments! {
    /// Add or remove an apt key.
    pub(crate) struct AptKeyArgs for "apt_key" {
        /// The key's number: 8, 16 or more hexadecimal digits.
        id: Option<String> {},
        /// Where the key is fetched from.
        url: Option<String> {},
        /// The key itself.
        data: Option<String> {},
        /// A file on the target that holds the key.
        file: Option<PathBuf> {},
        /// The keyring, where it is not apt's own.
        keyring: Option<PathBuf> {},
        /// Check the certificate of a URL's server.
        validate_certs: bool { default: "true" },
        /// The key server.
        keyserver: Option<String> {},
        /// Whether apt should trust the key.
        state: String { default: "present", choices: ["absent", "present"] },
    }
    mutually_exclusive [["data", "file", "keyserver", "url"]]
}

/// Adds or removes the key.
pub(crate) fn run(machine: &mut Machine, args: AptKeyArgs) -> ModuleResult {
    let keyring = args
        .keyring
        .as_ref()
        .map(|path| machine.expand(path).display().to_string());
    let tools = Tools {
        apt_key: tool::required(machine, "apt-key")?,
        gpg: tool::required(machine, "gpg")?,
        keyring,
    };
    let mut source = source(&args);
    let id = match args.id.clone().filter(|id| !id.is_empty()) {
        Some(id) => Some(id),
        None => tools.id_of(machine, &args, &mut source)?,
    };
    let Some(id) = id.as_deref().and_then(KeyId::parse) else {
        return Err(Failure::new("Invalid key_id").with("id", id));
    };
    let before = tools.list(machine, &id)?;
    let outcome = Outcome::unchanged()
        .with("id", id.given.as_str())
        .with("short_id", id.short())
        .with("fp", id.fingerprint())
        .with("key_id", id.key.as_str())
        .with("before", Value::list(before.iter().map(String::as_str)));
    let is_present = before.iter().any(|key| *key == id.listed());
    let is_wanted = args.state == "present";
    if is_present == is_wanted {
        return Ok(outcome);
    }
    let done = if is_wanted {
        tools.add(machine, &args, source, &id)?
    } else {
        tools.remove(machine, &id)?
    };
    if !done {
        return Ok(outcome.with_changed(true));
    }
    let after = tools.list(machine, &id)?;
    let outcome = outcome
        .with_changed(true)
        .with("after", Value::list(after.iter().map(String::as_str)));
    if after.iter().any(|key| *key == id.listed()) == is_wanted {
        return Ok(outcome);
    }
    let what = if is_wanted {
        "failed to add the key"
    } else {
        "the key was not removed"
    };
    let msg = format!(
        "apt-key did not return an error, but {what} (check that the id is correct and *not* a \
         subkey)"
    );
    Err(Failure::new(msg).with_all(outcome.data).with_changed(true))
}

/// Where the key's bytes come from.
enum Source {
    File(String),
    Bytes(Vec<u8>),
    Url(String),
    Keyserver(String),
    Nowhere,
}

fn source(args: &AptKeyArgs) -> Source {
    match (&args.file, &args.keyserver, &args.data, &args.url) {
        (Some(file), ..) => Source::File(file.display().to_string()),
        (_, Some(server), ..) => Source::Keyserver(server.clone()),
        (_, _, Some(data), _) => Source::Bytes(data.clone().into_bytes()),
        (_, _, _, Some(url)) => Source::Url(url.clone()),
        _ => Source::Nowhere,
    }
}

/// A key's number in the lengths that `apt-key` wants.
struct KeyId {
    given: String,
    key: String,
}

impl KeyId {
    /// Reads 8, 16 or more hexadecimal digits, with or without `0x`.
    fn parse(given: &str) -> Option<Self> {
        let upper = given.trim().to_uppercase();
        let key = upper.strip_prefix("0X").unwrap_or(&upper);
        let is_number = !key.is_empty() && key.bytes().all(|byte| byte.is_ascii_hexdigit());
        let is_long_enough = key.len() == 8 || key.len() >= 16;
        (is_number && is_long_enough).then(|| Self {
            given: given.to_owned(),
            key: key.to_owned(),
        })
    }

    fn short(&self) -> &str {
        &self.key[self.key.len() - 8..]
    }

    fn fingerprint(&self) -> &str {
        &self.key[self.key.len().saturating_sub(16)..]
    }

    fn is_short(&self) -> bool {
        self.key.len() == 8
    }

    /// Returns the form in which keys are listed for comparison with this one.
    fn listed(&self) -> &str {
        if self.is_short() {
            self.short()
        } else {
            self.fingerprint()
        }
    }
}

struct Tools {
    apt_key: String,
    gpg: String,
    keyring: Option<String>,
}

impl Tools {
    fn apt_key(&self, words: &[&str]) -> Vec<String> {
        let mut argv = vec![self.apt_key.clone()];
        if let Some(keyring) = &self.keyring {
            argv.extend(["--keyring".into(), keyring.clone()]);
        }
        argv.extend(words.iter().map(|word| (*word).to_owned()));
        argv
    }

    /// Finds the number of the first key that the options give.
    fn id_of(
        &self,
        machine: &mut Machine,
        args: &AptKeyArgs,
        source: &mut Source,
    ) -> Result<Option<String>, Failure> {
        if matches!(source, Source::Keyserver(_)) {
            return Err(Failure::new("Missing key_id, required with keyserver."));
        }
        if let Source::Url(url) = source {
            *source = Source::Bytes(download(machine, args, url)?);
        }
        let (command, name) = match source {
            Source::File(file) => (
                tool::command(&[self.gpg.as_str(), "--with-colons", file]),
                file.as_str(),
            ),
            Source::Bytes(bytes) => (
                tool::command(&[self.gpg.as_str(), "--with-colons", "-"]).stdin(bytes.clone()),
                "inline data",
            ),
            _ => return Ok(None),
        };
        let output = machine.query(&command)?;
        let refused = |_: &Output| format!("Unable to extract key from '{name}'");
        tool::check(Some(&output), refused)?;
        Ok(keys(&output.stdout_text()).into_iter().next())
    }

    fn list(&self, machine: &mut Machine, id: &KeyId) -> Result<Vec<String>, Failure> {
        let argv = self.apt_key(&["adv", "--list-public-keys", "--keyid-format=long"]);
        let output = tool::ask(machine, &argv)?;
        tool::check(Some(&output), |_| "Unable to list public keys".into())?;
        let mut found = keys(&output.stdout_text());
        if id.is_short() {
            for key in &mut found {
                *key = key[key.len().saturating_sub(8)..].to_owned();
            }
        }
        Ok(found)
    }

    /// Adds the key; tells whether it did, which check mode does not.
    fn add(
        &self,
        machine: &mut Machine,
        args: &AptKeyArgs,
        source: Source,
        id: &KeyId,
    ) -> Result<bool, Failure> {
        let undo = self.apt_key(&["del", id.short()]);
        let (argv, stdin, msg) = match source {
            Source::File(file) => (
                self.apt_key(&["add", &file]),
                None,
                format!("Unable to add a key from file {file}"),
            ),
            Source::Keyserver(server) => return self.receive(machine, &server, id, undo),
            Source::Bytes(bytes) => (self.apt_key(&["add", "-"]), Some(bytes), binary()),
            Source::Url(url) => {
                let bytes = download(machine, args, &url)?;
                (self.apt_key(&["add", "-"]), Some(bytes), binary())
            }
            Source::Nowhere => {
                return Err(Failure::new("No key to add ... how did i get here?!?!"));
            }
        };
        let mut command = Command::new(&argv);
        if let Some(bytes) = stdin {
            command = command.stdin(bytes);
        }
        let effect = Effect::compensated(argv.join(" "), undo);
        let output = machine.execute(&command, effect)?.output();
        tool::check(output.as_ref(), |_| msg)?;
        Ok(output.is_some())
    }

    fn receive(
        &self,
        machine: &mut Machine,
        server: &str,
        id: &KeyId,
        undo: Vec<String>,
    ) -> Result<bool, Failure> {
        let mut words = vec!["adv", "--no-tty", "--keyserver", server];
        let proxy = ["HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "http_proxy"]
            .into_iter()
            .find_map(|name| machine.variable(name).filter(|proxy| !proxy.is_empty()))
            .map(|proxy| format!("http-proxy={proxy}"));
        if let Some(proxy) = &proxy {
            words.extend(["--keyserver-options", proxy]);
        }
        words.extend(["--recv", &id.key]);
        let argv = self.apt_key(&words);
        let mut last = None;
        for _ in 0..5 {
            match tool::act(machine, &argv, &undo)? {
                None => return Ok(false),
                Some(output) if output.success() => return Ok(true),
                Some(output) => last = Some(output),
            }
        }
        tool::check(last.as_ref(), |output| {
            if output.status == 2 && output.stdout_text().contains("not found on keyserver") {
                format!("Key {} not found on keyserver {server}", id.key)
            } else {
                format!("Error fetching key {} from keyserver: {server}", id.key)
            }
        })?;
        Ok(true)
    }

    /// Removes the key; tells whether it did, which check mode does not.
    fn remove(&self, machine: &mut Machine, id: &KeyId) -> Result<bool, Failure> {
        let exported = tool::ask(machine, &self.apt_key(&["export", id.short()]))?.stdout_text();
        let script = r#"key=$1; shift; printf %s "$key" | "$@""#;
        let mut undo: Vec<String> = ["sh", "-c", script, "sh", &exported]
            .map(str::to_owned)
            .to_vec();
        undo.extend(self.apt_key(&["add", "-"]));
        let output = tool::act(machine, &self.apt_key(&["del", id.short()]), &undo)?;
        tool::check(output.as_ref(), |_| {
            format!("Unable to remove a key with id {}", id.short())
        })?;
        Ok(output.is_some())
    }
}

fn binary() -> String {
    "Unable to add a key from binary data".into()
}

fn download(machine: &mut Machine, args: &AptKeyArgs, url: &str) -> Result<Vec<u8>, Failure> {
    let options = Options {
        validate_certs: args.validate_certs,
        ..Options::default()
    };
    let shown = http::masked(url);
    let response = http::send(machine, Request::get(url), &options)?;
    if response.status != 200 {
        return Err(Failure::new(format!(
            "Failed to download key at {shown}: {}",
            response.msg
        )));
    }
    let mut bytes = Vec::new();
    response
        .into_body()
        .read_to_end(&mut bytes)
        .map_err(|_| Failure::new(format!("Error getting key id from url: {shown}")))?;
    Ok(bytes)
}

/// Reads the numbers of keys and subkeys from what gpg lists, with colons or without.
fn keys(text: &str) -> Vec<String> {
    let key = |line: &str| {
        let word = line.split_whitespace().nth(1).unwrap_or_default();
        match word.split_once('/') {
            Some((_, key)) if !key.contains('/') => Some(key.to_owned()),
            _ => line.split(':').nth(4).map(str::to_owned),
        }
    };
    text.lines()
        .filter(|line| line.starts_with("pub") || line.starts_with("sub"))
        .filter(|line| !line.contains("expired"))
        .filter_map(key)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::modules::fake::Programs;

    const APT_KEY: &str = r#"
case $* in
  *--list-public-keys*) [ -e "$here/key" ] && echo 'pub   rsa4096/0123456789ABCDEF 2020-01-01 [SC]'; exit 0 ;;
  *export*) echo armored ;;
  *broken*) exit 2 ;;
  *add*|*--recv*) : >"$here/key" ;;
  *del*) rm "$here/key" ;;
esac
"#;

    fn tools() -> Programs {
        Programs::new([
            ("apt-key", APT_KEY),
            ("gpg", "echo 'pub:-:4096:1:0123456789ABCDEF:1:::-:'"),
        ])
    }

    fn call(programs: &Programs, json: &str) -> ModuleResult {
        let given: Value = serde_json::from_str(json).unwrap();
        run(
            &mut programs.machine(),
            AptKeyArgs::parse(given.as_map().unwrap())?,
        )
    }

    #[test]
    fn a_key_is_added_once_by_its_data_and_removed_by_its_number() {
        let programs = tools();
        let outcome = call(&programs, r#"{"data": "KEY"}"#).unwrap();
        assert_eq!(
            serde_json::to_string(&Value::from(outcome.into_result())).unwrap(),
            r#"{"changed":true,"id":"0123456789ABCDEF","short_id":"89ABCDEF","fp":"0123456789ABCDEF","key_id":"0123456789ABCDEF","before":[],"after":["0123456789ABCDEF"]}"#
        );
        assert!(!call(&programs, r#"{"data": "KEY"}"#).unwrap().changed);
        let options = r#"{"id": "0x89abcdef", "state": "absent", "keyring": "/k"}"#;
        assert!(call(&programs, options).unwrap().changed);
        assert!(!call(&programs, options).unwrap().changed);
        assert_eq!(
            programs.undo_steps(),
            [
                "apt-key del 89ABCDEF",
                "sh -c key=$1; shift; printf %s \"$key\" | \"$@\" sh armored\n apt-key --keyring /k add -"
            ]
        );
    }

    #[test]
    fn a_key_server_needs_a_number_that_is_one() {
        let programs = tools();
        for (options, msg) in [
            (
                r#"{"keyserver": "x.org"}"#,
                "Missing key_id, required with keyserver.",
            ),
            (r#"{"id": "12345"}"#, "Invalid key_id"),
            (
                r#"{"id": "0123456789ABCDE0", "keyserver": "broken"}"#,
                "Error fetching key 0123456789ABCDE0 from keyserver: broken",
            ),
        ] {
            assert_eq!(call(&programs, options).unwrap_err().msg, msg);
        }
    }
}
