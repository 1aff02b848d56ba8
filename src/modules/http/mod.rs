//! HTTP requests from the target: what `uri`, `get_url` and `unarchive` share.
//!
//! Redirects, proxies, authentication and error texts are those of ansible-core's `urls`, because
//! playbooks test them. Knows no module.

mod address;
mod authentication;
mod client;
mod form;
mod request;
mod response;
mod socket;

use std::io;
use std::path::PathBuf;

use crate::arguments::Argument;
use crate::machine::{Machine, TemporaryFile};
use crate::value::{Map, Value};

use super::Failure;

pub(super) use address::{Address, join, masked, unquote};
pub(super) use authentication::basic;
pub(super) use form::{multipart, urlencoded};
pub(super) use request::{Body, Request, send};
pub(super) use response::Response;

/// The options that every module with a URL has.
#[derive(Clone, Debug)]
pub(super) struct Options {
    pub(super) http_agent: String,
    pub(super) use_proxy: bool,
    pub(super) validate_certs: bool,
    pub(super) username: Option<String>,
    pub(super) password: Option<String>,
    pub(super) force_basic_auth: bool,
    pub(super) client_cert: Option<PathBuf>,
    pub(super) client_key: Option<PathBuf>,
    pub(super) ca_path: Option<PathBuf>,
    pub(super) unix_socket: Option<PathBuf>,
    /// Seconds that any one step may take.
    pub(super) timeout: i64,
    pub(super) use_netrc: bool,
    /// Decode what the server compressed.
    pub(super) decompress: bool,
    pub(super) redirects: Redirects,
    /// Headers that stay behind at a redirect.
    pub(super) unredirected_headers: Vec<String>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            http_agent: "ansible-httpget".into(),
            use_proxy: true,
            validate_certs: true,
            username: None,
            password: None,
            force_basic_auth: false,
            client_cert: None,
            client_key: None,
            ca_path: None,
            unix_socket: None,
            timeout: 10,
            use_netrc: true,
            decompress: true,
            redirects: Redirects::Urllib2,
            unredirected_headers: Vec::new(),
        }
    }
}

/// Which redirects are followed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Redirects {
    All,
    None,
    /// Those of `GET` and `HEAD`.
    Safe,
    /// As Python does by itself.
    Urllib2,
}

/// Refuses what the TLS and HTTP libraries cannot do, rather than ignore it.
pub(super) fn check_unsupported(
    use_gssapi: bool,
    ciphers: Option<&[String]>,
) -> Result<(), Failure> {
    if use_gssapi {
        return Err(Failure::new(
            "use_gssapi=True needs Kerberos, which this program does not have",
        ));
    }
    if ciphers.is_some_and(|ciphers| !ciphers.is_empty()) {
        return Err(Failure::new(
            "`ciphers` cannot be chosen: only safe ones are offered, in a fixed order",
        ));
    }
    Ok(())
}

/// Returns headers as texts in the order given.
pub(super) fn header_list(headers: &Map) -> Result<Vec<(String, String)>, Failure> {
    headers
        .iter()
        .map(|(name, value)| {
            let value = String::convert(value).map_err(Failure::new)?;
            Ok((name.to_string(), value))
        })
        .collect()
}

/// Downloads a URL into a private file.
pub(super) fn download(
    machine: &mut Machine,
    url: &str,
    validate_certs: bool,
) -> Result<TemporaryFile, Failure> {
    let options = Options {
        validate_certs,
        ..Options::default()
    };
    let failed = |why: &str| Failure::new(format!("Failure downloading {}, {why}", masked(url)));
    let response = send(machine, Request::get(url), &options)?;
    if !response.is_success() {
        return Err(failed(&response.msg));
    }
    let mut file = machine.temporary_file(b"")?;
    let mut body = response.into_body();
    io::copy(&mut body, file.file()).map_err(|error| failed(&error.to_string()))?;
    Ok(file)
}

/// Returns a JSON text as `json.dumps` writes it.
pub(super) fn json_text(value: &Value) -> String {
    let style = crate::value::JsonStyle {
        ensure_ascii: true,
        ..crate::value::JsonStyle::default()
    };
    crate::value::to_json(value, style)
}

#[cfg(test)]
pub(super) mod testing;
#[cfg(test)]
mod tests;
