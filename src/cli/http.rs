//! Requests of the controller itself: short, bounded, and never followed elsewhere.

use std::sync::Arc;
use std::time::Duration;

use ureq::tls::{RootCerts, TlsConfig};

/// Answers longer than this are no answers.
const LONGEST: u64 = 4 << 20;

/// Gets a page, within a time that counts for all of it; what is wrong is told without the query.
pub(super) fn get(url: &str, limit: Duration) -> Result<String, String> {
    let tls = TlsConfig::builder()
        .root_certs(RootCerts::PlatformVerifier)
        .unversioned_rustls_crypto_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .build();
    let agent = ureq::Agent::config_builder()
        .timeout_global(Some(limit))
        .max_redirects(0)
        .tls_config(tls)
        .build()
        .new_agent();
    let shown = url.split('?').next().unwrap_or(url);
    let told = |error: ureq::Error| format!("{shown}: {error}");
    let mut answer = agent.get(url).call().map_err(told)?;
    let body = answer.body_mut().with_config().limit(LONGEST);
    body.read_to_string().map_err(told)
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
