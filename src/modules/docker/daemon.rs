//! Requests to the daemon, and its answers.

use std::io::Read;
use std::path::PathBuf;

use serde_json::Value as Json;

use crate::machine::{Effect, Machine};
use crate::modules::http::{self, Body, Options, Request};
use crate::modules::{Failure, tool};

/// What the options say of where the daemon is.
pub(super) struct Reach {
    pub(super) host: String,
    pub(super) api_version: String,
    pub(super) timeout: i64,
    pub(super) ca_path: Option<PathBuf>,
    pub(super) client_cert: Option<PathBuf>,
    pub(super) client_key: Option<PathBuf>,
    pub(super) tls: bool,
    pub(super) validate_certs: bool,
    pub(super) use_ssh_client: bool,
}

/// The daemon.
pub(super) struct Daemon<'m> {
    pub(super) machine: &'m mut Machine,
    /// What stands before each path.
    base: String,
    options: Options,
    /// The words of `docker` for the same daemon, for undoing.
    client: Vec<String>,
}

const DEFAULT_HOST: &str = "unix:///var/run/docker.sock";

impl<'m> Daemon<'m> {
    pub(super) fn new(machine: &'m mut Machine, reach: Reach) -> Result<Self, Failure> {
        let named = reach.host != DEFAULT_HOST;
        let host = match machine.variable("DOCKER_HOST") {
            Some(host) if !named && !host.is_empty() => host,
            _ => reach.host,
        };
        if reach.use_ssh_client {
            return Err(Failure::new(
                "use_ssh_client: a daemon is reached through its socket or TCP only",
            ));
        }
        let mut options = Options {
            http_agent: "ansible".into(),
            timeout: reach.timeout,
            validate_certs: reach.validate_certs,
            ca_path: reach.ca_path,
            client_cert: reach.client_cert,
            client_key: reach.client_key,
            use_netrc: false,
            ..Options::default()
        };
        let address = if let Some(path) = host.strip_prefix("unix://") {
            options.unix_socket = Some(PathBuf::from(path));
            options.use_proxy = false;
            "http://localhost".to_owned()
        } else {
            let plain = ["tcp://", "http://", "https://"]
                .iter()
                .find_map(|scheme| host.strip_prefix(scheme));
            let Some(plain) = plain else {
                return Err(Failure::new(format!(
                    "docker_host must begin with unix:// or tcp://, got: {host}"
                )));
            };
            let is_tls = reach.tls || reach.validate_certs || host.starts_with("https://");
            let scheme = if is_tls { "https" } else { "http" };
            format!("{scheme}://{}", plain.trim_end_matches('/'))
        };
        let version = match reach.api_version.as_str() {
            "auto" => String::new(),
            version => format!("/v{version}"),
        };
        let mut client = vec!["docker".to_owned()];
        if host != DEFAULT_HOST {
            client.extend(["-H".into(), host.replace("https://", "tcp://")]);
        }
        Ok(Self {
            machine,
            base: address + &version,
            options,
            client,
        })
    }

    /// Asks; `None` when there is no such thing.
    pub(super) fn find(&mut self, path: &str) -> Result<Option<Json>, Failure> {
        let (status, body) = self.send("GET", path, Body::None, &[])?;
        match status {
            404 => Ok(None),
            200..=299 => Ok(Some(parsed(&body)?)),
            _ => Err(refusal(status, &body)),
        }
    }

    /// Asks for what must be there.
    pub(super) fn get(&mut self, path: &str) -> Result<Json, Failure> {
        let (status, body) = self.send("GET", path, Body::None, &[])?;
        match status {
            200..=299 => parsed(&body),
            _ => Err(refusal(status, &body)),
        }
    }

    /// Returns an answer as it comes.
    pub(super) fn get_bytes(&mut self, path: &str) -> Result<Vec<u8>, Failure> {
        let (status, body) = self.send("GET", path, Body::None, &[])?;
        match status {
            200..=299 => Ok(body),
            _ => Err(refusal(status, &body)),
        }
    }

    /// Changes something; what undoes it is put down first. `None` in check mode.
    pub(super) fn post(
        &mut self,
        path: &str,
        body: Option<&Json>,
        effect: Effect,
    ) -> Result<Option<Json>, Failure> {
        let body = body.map(|body| body.to_string().into_bytes());
        self.change("POST", path, body, &[], effect)
    }

    pub(super) fn delete(&mut self, path: &str, effect: Effect) -> Result<Option<Json>, Failure> {
        self.change("DELETE", path, None, &[], effect)
    }

    pub(super) fn change(
        &mut self,
        method: &str,
        path: &str,
        body: Option<Vec<u8>>,
        headers: &[(String, String)],
        effect: Effect,
    ) -> Result<Option<Json>, Failure> {
        if !self.machine.affect(effect)? {
            return Ok(None);
        }
        let body = body.map_or(Body::None, Body::Bytes);
        let (status, answer) = self.send(method, path, body, headers)?;
        match status {
            // It is so already.
            304 => Ok(Some(Json::Null)),
            200..=299 => Ok(Some(lines(&answer))),
            _ => Err(refusal(status, &answer)),
        }
    }

    /// Makes an effect that one command of `docker` undoes.
    pub(super) fn undone_by(&self, what: impl Into<String>, words: &[&str]) -> Effect {
        let words = words.iter().map(|word| (*word).to_owned());
        let argv = self.client.iter().cloned().chain(words);
        Effect::Compensated {
            what: what.into(),
            undo: vec![tool::step(&argv.collect::<Vec<_>>())],
        }
    }

    fn send(
        &mut self,
        method: &str,
        path: &str,
        body: Body,
        headers: &[(String, String)],
    ) -> Result<(i32, Vec<u8>), Failure> {
        let mut all = headers.to_vec();
        if let Body::Bytes(_) = body
            && !all.iter().any(|(name, _)| name == "Content-Type")
        {
            all.push(("Content-Type".into(), "application/json".into()));
        }
        // A POST without a body must say that it has none.
        let body = match (method, body) {
            ("POST", Body::None) => Body::Bytes(Vec::new()),
            (_, body) => body,
        };
        let request = Request {
            method: method.to_owned(),
            url: format!("{}{path}", self.base),
            headers: all,
            body,
            force: false,
            newer_than: None,
        };
        let response = http::send(self.machine, request, &self.options)?;
        if response.status <= 0 {
            return Err(Failure::new(format!(
                "Error connecting: Error while fetching server API version: {}",
                response.msg
            )));
        }
        let status = response.status;
        let mut bytes = Vec::new();
        response
            .into_body()
            .read_to_end(&mut bytes)
            .map_err(|error| Failure::new(format!("the daemon's answer ended: {error}")))?;
        Ok((status, bytes))
    }

    /// Returns an image by its name or ID.
    pub(super) fn image(&mut self, name: &str) -> Result<Option<Json>, Failure> {
        self.find(&format!("/images/{}/json", quoted(name)))
    }

    /// Returns a container by its name or ID.
    pub(super) fn container(&mut self, name: &str) -> Result<Option<Json>, Failure> {
        self.find(&format!("/containers/{}/json", quoted(name)))
    }
}

fn parsed(body: &[u8]) -> Result<Json, Failure> {
    if body.iter().all(u8::is_ascii_whitespace) {
        return Ok(Json::Null);
    }
    serde_json::from_slice(body)
        .map_err(|error| Failure::new(format!("the daemon's answer is not JSON: {error}")))
}

/// Reads one JSON value, or the list of many that a progress is.
fn lines(body: &[u8]) -> Json {
    let mut values = Vec::new();
    for value in serde_json::Deserializer::from_slice(body).into_iter::<Json>() {
        match value {
            Ok(value) => values.push(value),
            // What is no JSON is a text such as `OK`.
            Err(_) => return Json::String(String::from_utf8_lossy(body).into_owned()),
        }
    }
    let is_progress = values.len() > 1
        || values
            .first()
            .is_some_and(|it| it.get("status").is_some() || it.get("error").is_some());
    if is_progress {
        return Json::Array(values);
    }
    values.pop().unwrap_or_default()
}

fn refusal(status: i32, body: &[u8]) -> Failure {
    let said = serde_json::from_slice::<Json>(body).ok();
    let said = said
        .as_ref()
        .and_then(|said| said.get("message"))
        .and_then(Json::as_str)
        .map_or_else(
            || String::from_utf8_lossy(body).trim().to_owned(),
            str::to_owned,
        );
    let kind = if status >= 500 { "Server" } else { "Client" };
    Failure::new(format!("{status} {kind} Error: {said}"))
}

/// Quotes a part of a URL, `/` and `:` excepted.
pub(super) fn quoted(text: &str) -> String {
    let mut out = String::new();
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-_.~/:@".contains(&byte) {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}

/// Splits `registry:5000/name:tag` or `name@sha256:…`; the tag is empty when there is none.
pub(super) fn split_tag(image: &str) -> (&str, &str) {
    if let Some((name, digest)) = image.split_once('@') {
        return (name, digest);
    }
    match image.rsplit_once(':') {
        Some((name, tag)) if !tag.contains('/') => (name, tag),
        _ => (image, ""),
    }
}

/// Puts a name and its tag or digest together.
pub(super) fn joined(name: &str, tag: &str) -> String {
    if tag.starts_with("sha256:") {
        format!("{name}@{tag}")
    } else {
        format!("{name}:{tag}")
    }
}

/// Tells whether the text is an image's ID rather than a name.
pub(super) fn is_id(image: &str) -> bool {
    image
        .strip_prefix("sha256:")
        .is_some_and(|digits| digits.len() == 64 && digits.bytes().all(|b| b.is_ascii_hexdigit()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_images_are_split() {
        assert_eq!(split_tag("nginx"), ("nginx", ""));
        assert_eq!(split_tag("host:5000/a/b"), ("host:5000/a/b", ""));
        assert_eq!(split_tag("host:5000/a/b:1.2"), ("host:5000/a/b", "1.2"));
        assert_eq!(split_tag("a@sha256:00"), ("a", "sha256:00"));
        assert_eq!(joined("a", "sha256:00"), "a@sha256:00");
    }

    #[test]
    fn a_progress_is_a_list_and_one_answer_is_itself() {
        assert_eq!(
            lines(b"{\"status\":\"a\"}\n{\"error\":\"b\"}\n"),
            serde_json::json!([{"status": "a"}, {"error": "b"}])
        );
        assert_eq!(lines(b"{\"Id\":\"x\"}"), serde_json::json!({"Id": "x"}));
        assert_eq!(lines(b""), Json::Null);
    }
}
