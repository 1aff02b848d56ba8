//! Requests of the controller itself: short, bounded, and never followed elsewhere.

use std::sync::Arc;
use std::time::Duration;

use ureq::tls::{RootCerts, TlsConfig};

/// Answers longer than this are no answers.
const LONGEST: u64 = 4 << 20;

/// Gets a page, within a time that counts for all of it; what is wrong is told without the query.
pub(super) fn get(url: &str, limit: Duration) -> Result<String, String> {
    get_as(url, &[], limit)
}

/// Gets a page with headers of one's own.
pub(super) fn get_as(
    url: &str,
    headers: &[(&'static str, String)],
    limit: Duration,
) -> Result<String, String> {
    let told = |error: ureq::Error| format!("{}: {error}", place(url));
    let mut request = agent(limit).get(url);
    for (name, value) in headers {
        request = request.header(*name, value);
    }
    let mut answer = request.call().map_err(told)?;
    let body = answer.body_mut().with_config().limit(LONGEST);
    body.read_to_string().map_err(told)
}

/// Something that is sent.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Message {
    pub(super) url: String,
    pub(super) headers: Vec<(&'static str, String)>,
    pub(super) body: String,
}

/// Sends a message. What is wrong is told by the server's name alone: paths hold secrets too.
pub(super) fn post(message: &Message, limit: Duration) -> Result<(), String> {
    let mut request = agent(limit).post(&message.url);
    for (name, value) in &message.headers {
        request = request.header(*name, value);
    }
    let answer = request.send(message.body.as_str());
    answer
        .map(drop)
        .map_err(|error| format!("{}: {error}", server(&message.url)))
}

/// Sends a message and returns the status and the body of the answer, also where it refuses.
pub(super) fn exchange(message: &Message, limit: Duration) -> Result<(u16, String), String> {
    let told = |error: ureq::Error| format!("{}: {error}", place(&message.url));
    let mut request = agent(limit).post(&message.url);
    for (name, value) in &message.headers {
        request = request.header(*name, value);
    }
    let request = request.config().http_status_as_error(false).build();
    let mut answer = request.send(message.body.as_str()).map_err(told)?;
    let body = answer.body_mut().with_config().limit(LONGEST);
    let text = body.read_to_string().map_err(told)?;
    Ok((answer.status().as_u16(), text))
}

fn agent(limit: Duration) -> ureq::Agent {
    let tls = TlsConfig::builder()
        .root_certs(RootCerts::PlatformVerifier)
        .unversioned_rustls_crypto_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .build();
    ureq::Agent::config_builder()
        .timeout_global(Some(limit))
        .max_redirects(0)
        .tls_config(tls)
        .build()
        .new_agent()
}

fn place(url: &str) -> &str {
    url.split('?').next().unwrap_or(url)
}

fn server(url: &str) -> &str {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    let server = rest.split(['/', '?', '#']).next().unwrap_or(rest);
    // A name and password may stand before it.
    server.rsplit('@').next().unwrap_or(server)
}

/// Encodes text for the query of a URL.
pub(super) fn encoded(text: &str) -> String {
    text.bytes()
        .map(|byte| match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' => {
                char::from(byte).to_string()
            }
            other => format!("%{other:02X}"),
        })
        .collect()
}
