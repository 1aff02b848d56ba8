//! The HTTP client for one request: certificates, proxies, timeouts.

use std::time::Duration;

use std::sync::Arc;

use ureq::Agent;
use ureq::tls::{Certificate, ClientCert, PemItem, PrivateKey, RootCerts, TlsConfig, parse_pem};
use ureq::unversioned::transport::{Connector, RustlsConnector};

use crate::machine::Machine;

use super::address::Address;
use super::socket::{Dial, NoResolver};
use super::{Options, basic};
use crate::modules::Failure;

/// A client, and the header that its proxy wants.
pub(super) struct Client {
    pub(super) agent: Agent,
    pub(super) proxy_authorization: Option<String>,
}

/// Makes the client that suits a URL.
pub(super) fn client(
    machine: &mut Machine,
    url: &Address<'_>,
    options: &Options,
) -> Result<Client, Failure> {
    let limit = Duration::from_secs(options.timeout.unsigned_abs().max(1));
    let mut config = Agent::config_builder()
        .http_status_as_error(false)
        .max_redirects(0)
        .allow_non_standard_methods(true)
        .timeout_resolve(Some(limit))
        .timeout_connect(Some(limit))
        .timeout_recv_response(Some(limit))
        .timeout_per_read(Some(limit))
        .timeout_per_write(Some(limit))
        .accept_encoding("identity")
        .max_response_header_size(256 * 1024)
        .tls_config(tls(machine, options)?)
        .proxy(None);
    if let Some(path) = &options.unix_socket {
        let path = machine.expand(path);
        return Ok(dialled(config.build(), Dial::Unix(path), None));
    }
    let proxy = options.use_proxy.then(|| proxy_for(machine, url)).flatten();
    let Some(proxy) = proxy else {
        return Ok(Client {
            agent: config.build().new_agent(),
            proxy_authorization: None,
        });
    };
    let address = Address::new(&proxy);
    if url.scheme == "http" {
        let authorization = address.user_info.map(basic);
        let dial = Dial::Proxy(with_port(address.host_port));
        return Ok(dialled(config.build(), dial, authorization));
    }
    let proxy = ureq::Proxy::new(&proxy).map_err(|error| {
        let shown = super::address::masked(&proxy);
        Failure::new(format!("the proxy `{shown}` cannot be used: {error}"))
    })?;
    config = config.proxy(Some(proxy));
    Ok(Client {
        agent: config.build().new_agent(),
        proxy_authorization: None,
    })
}

fn dialled(config: ureq::config::Config, dial: Dial, authorization: Option<String>) -> Client {
    let connector = dial.chain(RustlsConnector::default());
    Client {
        agent: Agent::with_parts(config, connector, NoResolver),
        proxy_authorization: authorization,
    }
}

fn with_port(host_port: &str) -> String {
    let has_port = host_port.rsplit_once(':').is_some_and(|(_, port)| {
        !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit())
    });
    if has_port {
        host_port.to_owned()
    } else {
        format!("{host_port}:80")
    }
}

fn tls(machine: &mut Machine, options: &Options) -> Result<TlsConfig, Failure> {
    let mut config = TlsConfig::builder()
        .root_certs(RootCerts::PlatformVerifier)
        .unversioned_rustls_crypto_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .disable_verification(!options.validate_certs);
    if let Some(path) = &options.ca_path {
        let path = machine.expand(path);
        let certificates = certificates(&machine.read(&path)?);
        if certificates.is_empty() {
            let msg = format!("{} holds no certificate", path.display());
            return Err(Failure::new(msg));
        }
        config = config.root_certs(RootCerts::new_with_certs(&certificates));
    }
    if let Some(path) = &options.client_cert {
        let path = machine.expand(path);
        let pem = machine.read(&path)?;
        let key = match &options.client_key {
            Some(key) => {
                let key = machine.expand(key);
                machine.read(&key)?
            }
            // One file may hold both.
            None => pem.clone(),
        };
        let key = PrivateKey::from_pem(&key).map_err(|error| {
            Failure::new(format!("the key of `client_cert` cannot be read: {error}"))
        })?;
        let certificate = ClientCert::new_with_certs(&certificates(&pem), key);
        config = config.client_cert(Some(certificate));
    }
    Ok(config.build())
}

fn certificates(pem: &[u8]) -> Vec<Certificate<'static>> {
    parse_pem(pem)
        .filter_map(|item| match item {
            Ok(PemItem::Certificate(certificate)) => Some(certificate),
            _ => None,
        })
        .collect()
}

/// Returns the proxy that the task's environment names for a URL, as `urllib` chooses it.
fn proxy_for(machine: &Machine, url: &Address<'_>) -> Option<String> {
    let variable = |name: &str| {
        machine
            .variable(name)
            .or_else(|| machine.variable(&name.to_uppercase()))
            .filter(|value| !value.is_empty())
    };
    let proxy = variable(&format!("{}_proxy", url.scheme)).or_else(|| variable("all_proxy"))?;
    let bypassed = variable("no_proxy").is_some_and(|list| is_bypassed(&list, url));
    if bypassed {
        return None;
    }
    Some(if proxy.contains("://") {
        proxy
    } else {
        format!("http://{proxy}")
    })
}

fn is_bypassed(list: &str, url: &Address<'_>) -> bool {
    let (host, host_port) = (url.host().to_lowercase(), url.host_port.to_lowercase());
    list.split(',')
        .map(|name| name.trim().to_lowercase())
        .any(|name| {
            let suffix = name.trim_start_matches('.');
            name == "*"
                || (!suffix.is_empty()
                    && [&host, &host_port].into_iter().any(|host| {
                        host == suffix
                            || host
                                .strip_suffix(suffix)
                                .is_some_and(|rest| rest.ends_with('.'))
                    }))
        })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::machine::MachineOptions;

    fn proxy(environment: &[(&str, &str)], url: &str) -> Option<String> {
        let environment = environment
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        let machine = Machine::new(MachineOptions {
            environment: environment.collect(),
            ..MachineOptions::default()
        });
        proxy_for(&machine, &Address::new(url))
    }

    #[test]
    fn the_tasks_environment_chooses_the_proxy() {
        let environment = [
            ("http_proxy", "proxy:3128"),
            ("https_proxy", ""),
            ("HTTPS_PROXY", ""),
            ("all_proxy", ""),
            ("ALL_PROXY", ""),
            ("no_proxy", "localhost,.corp.example, 10.0.0.1:80"),
        ];
        let through = |url: &str| proxy(&environment, url);
        assert_eq!(
            through("http://a.example/"),
            Some("http://proxy:3128".into())
        );
        assert_eq!(through("https://a.example/"), None);
        assert_eq!(through("http://localhost:80/"), None);
        assert_eq!(through("http://a.corp.example/"), None);
        assert_eq!(through("http://corp.example/"), None);
        assert_eq!(through("http://10.0.0.1:80/"), None);
        assert!(through("http://notcorp.example/").is_some());
    }
}
