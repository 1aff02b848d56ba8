//! `ipify_facts`: under which address the target is seen from outside.

use crate::machine::Machine;
use crate::value::Value;

use super::http::{self, Request};
use super::{Failure, ModuleResult, Outcome};

crate::arguments! {
    /// Retrieve the public IP of your internet gateway.
    pub(crate) struct IpifyFactsArgs for "community.general.ipify_facts" {
        /// The service to ask.
        api_url: String { default: "https://api.ipify.org/" },
        /// Seconds the service may take.
        timeout: i64 { default: "10" },
        /// Ask only a server that proves who it is.
        validate_certs: bool { default: "true" },
    }
}

/// Asks the service.
pub(crate) fn run(machine: &mut Machine, args: IpifyFactsArgs) -> ModuleResult {
    let url = format!("{}?format=json", args.api_url);
    let request = Request {
        force: true,
        ..Request::get(&url)
    };
    let options = http::Options {
        timeout: args.timeout,
        validate_certs: args.validate_certs,
        ..http::Options::default()
    };
    let refused = || {
        Failure::new(format!(
            "No valid or no response from url {} within {} seconds (timeout)",
            args.api_url, args.timeout
        ))
    };
    let response = http::send(machine, request, &options)?;
    if !response.is_success() {
        return Err(refused());
    }
    let answer: Value = serde_json::from_reader(response.into_body()).map_err(|_| refused())?;
    let address = answer.get("ip").cloned().unwrap_or_default();
    let facts = Value::map([("ipify_public_ip", address)]);
    Ok(Outcome::unchanged().with("ansible_facts", facts))
}

#[cfg(test)]
mod tests {
    use crate::modules::http::testing::Server;
    use crate::modules::testing::Target;

    #[test]
    fn the_service_says_the_address() {
        let server = Server::new(|wanted| match wanted {
            "GET /?format=json" => "200 OK\n\n{\"ip\": \"192.0.2.7\"}".into(),
            _ => "404 Not Found\n\n".into(),
        });
        let ask = |path: &str| {
            let options = format!(r#"{{"api_url": "{}"}}"#, server.url(path));
            Target::new().run("community.general.ipify_facts", &options)
        };
        assert_eq!(
            ask("/"),
            r#"{"changed":false,"ansible_facts":{"ipify_public_ip":"192.0.2.7"}}"#
        );
        let url = server.url("/none");
        assert_eq!(
            ask("/none"),
            format!(
                r#"{{"failed":true,"changed":false,"msg":"No valid or no response from url {url} within 10 seconds (timeout)"}}"#
            )
        );
    }
}
