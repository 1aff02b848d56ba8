//! What came back: status, headers, cookies, and the body as a stream.

use std::io::{self, Read};

use ureq::http;

use super::Options;
use super::address::{Address, unquote};
use super::authentication::parameter;

/// A response, or why there is none.
pub(in crate::modules) struct Response {
    /// -1 when there is none.
    pub(in crate::modules) status: i32,
    /// `OK (5 bytes)`, `HTTP Error 404: Not Found`, or what went wrong.
    pub(in crate::modules) msg: String,
    /// Where it came from in the end, without secrets; the first URL when it is an error.
    pub(in crate::modules) url: String,
    /// Lowercase names; values of the same name are joined.
    pub(in crate::modules) headers: Vec<(String, String)>,
    pub(in crate::modules) cookies: Cookies,
    body: Box<dyn Read + Send>,
}

impl Response {
    pub(super) fn new(
        response: http::Response<ureq::Body>,
        url: String,
        cookies: Cookies,
        options: &Options,
    ) -> Self {
        let status = response.status();
        let headers = joined(Self::header_list(&response));
        let length = headers.iter().find(|(name, _)| name == "content-length");
        let length = length.map_or("unknown", |(_, length)| length);
        let msg = if is_success(status.as_u16()) {
            format!("OK ({length} bytes)")
        } else {
            let reason = status.canonical_reason().unwrap_or_default();
            format!("HTTP Error {}: {reason}", status.as_u16())
        };
        let is_gzip = options.decompress
            && headers.iter().any(|(name, value)| {
                name == "content-encoding" && value.eq_ignore_ascii_case("gzip")
            });
        let body = response
            .into_body()
            .into_with_config()
            .limit(u64::MAX)
            .reader();
        let body: Box<dyn Read + Send> = if is_gzip {
            Box::new(flate2::read::MultiGzDecoder::new(body))
        } else {
            Box::new(body)
        };
        Self {
            status: i32::from(status.as_u16()),
            msg,
            url,
            headers,
            cookies,
            body,
        }
    }

    /// Makes the answer to a request that got none.
    pub(super) fn failed(url: String, why: &str) -> Self {
        Self {
            status: -1,
            msg: format!("Request failed: {why}"),
            url,
            headers: Vec::new(),
            cookies: Cookies::default(),
            body: Box::new(io::empty()),
        }
    }

    /// Says that redirects led in circles.
    pub(super) fn looping(mut self) -> Self {
        self.msg = format!(
            "HTTP Error {}: The HTTP server returned a redirect error that would lead to an \
             infinite loop.",
            self.status
        );
        self
    }

    /// Lists headers with lowercase names; foreign bytes become U+FFFD.
    pub(super) fn header_list(response: &http::Response<ureq::Body>) -> Vec<(String, String)> {
        response
            .headers()
            .iter()
            .map(|(name, value)| {
                let value = String::from_utf8_lossy(value.as_bytes()).into_owned();
                (name.as_str().to_owned(), value)
            })
            .collect()
    }

    pub(in crate::modules) fn is_success(&self) -> bool {
        u16::try_from(self.status).is_ok_and(is_success)
    }

    pub(in crate::modules) fn header(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(known, _)| known == name);
        found.map(|(_, value)| value.as_str())
    }

    /// Returns the body, which may be read while it arrives.
    pub(in crate::modules) fn into_body(self) -> Box<dyn Read + Send> {
        self.body
    }

    /// Takes the body out.
    pub(in crate::modules) fn take_body(&mut self) -> Box<dyn Read + Send> {
        std::mem::replace(&mut self.body, Box::new(io::empty()))
    }

    /// Returns the content's type, such as `application/json`, and its character set.
    pub(in crate::modules) fn content_type(&self) -> (String, String) {
        let header = self.header("content-type").unwrap_or_default();
        let (kind, parameters) = header.split_once(';').unwrap_or((header, ""));
        let kind = kind
            .split(',')
            .next()
            .unwrap_or_default()
            .trim()
            .to_lowercase();
        // What is no type at all is text, as for Python's mail parser.
        let kind = if kind.split('/').count() == 2 {
            kind
        } else {
            "text/plain".into()
        };
        let charset = parameter(parameters, "charset").unwrap_or_else(|| "utf-8".into());
        let charset = charset
            .split(',')
            .next()
            .unwrap_or_default()
            .trim()
            .to_lowercase();
        (kind, charset)
    }

    /// Returns the name under which the server wants the content saved.
    pub(in crate::modules) fn disposition_name(&self) -> Option<String> {
        let header = self.header("content-disposition")?;
        let name = parameter(header.split_once(';')?.1, "filename")?;
        base_name(&name)
    }

    /// Returns the last part of the URL's path, decoded.
    pub(in crate::modules) fn url_name(&self) -> Option<String> {
        let path = Address::new(&self.url).path.trim_end_matches('/');
        base_name(&unquote(path))
    }
}

/// A server does not choose directories.
fn base_name(name: &str) -> Option<String> {
    let name = name.rsplit('/').next().unwrap_or_default();
    (!matches!(name, "" | "." | "..")).then(|| name.to_owned())
}

fn is_success(status: u16) -> bool {
    (200..300).contains(&status)
}

fn joined(headers: Vec<(String, String)>) -> Vec<(String, String)> {
    let mut all: Vec<(String, String)> = Vec::new();
    for (name, value) in headers {
        match all.iter_mut().find(|(known, _)| *known == name) {
            Some((_, known)) => {
                known.push_str(", ");
                known.push_str(&value);
            }
            None => all.push((name, value)),
        }
    }
    all
}

/// The cookies that a chain of requests collected.
#[derive(Clone, Debug, Default)]
pub(in crate::modules) struct Cookies {
    pub(in crate::modules) all: Vec<(String, String)>,
    /// How many of them belong to hosts left behind.
    n_foreign: usize,
}

impl Cookies {
    pub(super) fn collect(&mut self, headers: &[(String, String)]) {
        for (_, header) in headers.iter().filter(|(name, _)| name == "set-cookie") {
            let pair = header.split(';').next().unwrap_or_default();
            let Some((name, value)) = pair.split_once('=') else {
                continue;
            };
            let (name, value) = (name.trim(), value.trim().trim_matches('"'));
            self.all.retain(|(known, _)| known != name);
            self.all.push((name.to_owned(), value.to_owned()));
        }
        self.n_foreign = self.n_foreign.min(self.all.len());
    }

    /// Returns the header that gives them back.
    pub(super) fn header(&self) -> Option<String> {
        let own = &self.all[self.n_foreign..];
        (!own.is_empty()).then(|| text(own))
    }

    /// Keeps the cookies of one host from the next.
    pub(super) fn forget_sent(&mut self) {
        self.n_foreign = self.all.len();
    }

    /// Returns all as `a=b; c=d`.
    pub(in crate::modules) fn text(&self) -> String {
        text(&self.all)
    }
}

fn text(cookies: &[(String, String)]) -> String {
    let pairs: Vec<_> = cookies
        .iter()
        .map(|(name, value)| format!("{name}={value}"))
        .collect();
    pairs.join("; ")
}
