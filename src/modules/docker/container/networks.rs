//! The networks a container is in.

use serde_json::{Map as JsonMap, Value as Json, json};

use super::{Work, id};
use crate::modules::Failure;
use crate::modules::docker::daemon::quoted;
use crate::modules::docker::values::{field, only, to_json};
use crate::value::{Map, Value};

impl Work<'_> {
    /// Puts the container into the networks that the options name.
    pub(super) fn connect(&mut self, container: &mut Json) -> Result<(), Failure> {
        let args = self.args;
        let Some(networks) = &args.networks else {
            return Ok(());
        };
        let mode = args
            .comparisons
            .as_ref()
            .and_then(|all| field(all, "networks").or_else(|| field(all, "*")))
            .map(Value::to_string);
        if mode.as_deref() == Some("ignore") {
            return Ok(());
        }
        let id = id(container);
        let connected = container
            .get("NetworkSettings")
            .and_then(|settings| settings.get("Networks"))
            .and_then(Json::as_object)
            .cloned()
            .unwrap_or_default();
        let mut touched = false;
        for network in networks {
            let (name, endpoint) = endpoint(network)?;
            let found = connected.get(&name);
            if found.is_some_and(|found| is_connected_so(&endpoint, found)) {
                continue;
            }
            touched = true;
            let shown = to_json(&Value::from(network.clone()));
            self.differs(
                &format!("network.{name}"),
                shown.clone(),
                found.cloned().unwrap_or_default(),
            );
            if found.is_some() {
                self.act(json!({"removed_from_network": name}));
                self.disconnect(&name, &id)?;
            }
            self.act(json!({"added_to_network": name, "network_parameters": shown}));
            let body = json!({"Container": id, "EndpointConfig": endpoint});
            let container = args.name.as_str();
            let effect = self.daemon.undone_by(
                format!("connect {container} to network {name}"),
                &["network", "disconnect", &name, container],
            );
            let path = format!("/networks/{}/connect", quoted(&name));
            self.daemon
                .post(&path, Some(&body), effect)
                .map_err(|failure| {
                    Failure::new(format!(
                        "Error connecting container to network {name} - {}",
                        failure.msg
                    ))
                })?;
        }
        if mode.as_deref() == Some("strict") {
            let is_wanted = |name: &str| {
                networks
                    .iter()
                    .any(|network| field(network, "name").is_some_and(|it| it.to_string() == name))
            };
            for name in connected.keys().filter(|name| !is_wanted(name)) {
                touched = true;
                self.act(json!({"removed_from_network": name}));
                self.disconnect(name, &id)?;
            }
        }
        if touched {
            self.look_again(container)?;
        }
        Ok(())
    }

    fn disconnect(&mut self, network: &str, id: &str) -> Result<(), Failure> {
        let name = self.args.name.clone();
        let effect = self.daemon.undone_by(
            format!("disconnect {name} from network {network}"),
            &["network", "connect", network, &name],
        );
        let path = format!("/networks/{}/disconnect", quoted(network));
        let body = json!({"Container": id});
        self.daemon
            .post(&path, Some(&body), effect)
            .map_err(|failure| {
                Failure::new(format!(
                    "Error disconnecting container from network {network} - {}",
                    failure.msg
                ))
            })?;
        Ok(())
    }
}

/// Returns a network's name, and what the container is in it.
pub(super) fn endpoint(network: &Map) -> Result<(String, Json), Failure> {
    only(
        "networks",
        network,
        &[
            "name",
            "ipv4_address",
            "ipv6_address",
            "links",
            "aliases",
            "mac_address",
        ],
    )?;
    let text = |name: &str| field(network, name).map(Value::to_string);
    let name = text("name")
        .ok_or_else(|| Failure::new("missing required arguments: name found in networks"))?;
    let mut endpoint = JsonMap::new();
    let mut addresses = JsonMap::new();
    for (option, key) in [
        ("ipv4_address", "IPv4Address"),
        ("ipv6_address", "IPv6Address"),
    ] {
        if let Some(address) = text(option) {
            addresses.insert(key.into(), address.into());
        }
    }
    if !addresses.is_empty() {
        endpoint.insert("IPAMConfig".into(), addresses.into());
    }
    for (option, key) in [("links", "Links"), ("aliases", "Aliases")] {
        if let Some(list) = field(network, option) {
            endpoint.insert(key.into(), to_json(list));
        }
    }
    if let Some(address) = text("mac_address") {
        endpoint.insert("MacAddress".into(), address.into());
    }
    Ok((name, endpoint.into()))
}

/// Tells whether a container is in a network as it should be.
fn is_connected_so(wanted: &Json, found: &Json) -> bool {
    let Some(wanted) = wanted.as_object() else {
        return true;
    };
    wanted.iter().all(|(key, value)| {
        let there = found.get(key).unwrap_or(&Json::Null);
        match (value, there) {
            (Json::Array(wanted), Json::Array(there)) => {
                wanted.iter().all(|one| there.contains(one))
            }
            (Json::Object(wanted), there) => wanted
                .iter()
                .all(|(key, value)| there.get(key) == Some(value)),
            (value, there) => value == there,
        }
    })
}
