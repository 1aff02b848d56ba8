//! `docker_network`: a network of containers, and who is in it.

use serde_json::{Map as JsonMap, Value as Json, json};

use super::daemon::{Daemon, quoted};
use super::docker_arguments;
use super::values::{field, from_json, only, texts, to_json};
use crate::machine::{Effect, Machine};
use crate::modules::{Diff, Failure, ModuleResult, Outcome};
use crate::value::{Map, Value};

docker_arguments! {
    /// Manage Docker networks.
    struct DockerNetworkArgs for "community.docker.docker_network" {
        name: String { required, aliases: ["network_name"] },
        /// The network whose configuration this one takes.
        config_from: Option<String> {},
        /// Have a configuration only, for other networks.
        config_only: Option<bool> {},
        /// Containers that are in the network.
        connected: Vec<String> { default: "", aliases: ["containers"] },
        state: String { default: "present", choices: ["present", "absent"] },
        driver: String { default: "bridge" },
        driver_options: Map { default: "{}" },
        /// Make the network anew.
        force: bool { default: "false" },
        /// Leave other containers in the network.
        appends: bool { default: "false", aliases: ["incremental"] },
        ipam_driver: Option<String> {},
        ipam_driver_options: Option<Map> {},
        /// Blocks of addresses: `subnet`, `iprange`, `gateway`, `aux_addresses`.
        ipam_config: Option<Vec<Map>> {},
        enable_ipv4: Option<bool> {},
        enable_ipv6: Option<bool> {},
        internal: Option<bool> {},
        labels: Map { default: "{}" },
        scope: Option<String> { choices: ["local", "global", "swarm"] },
        attachable: Option<bool> {},
        ingress: Option<bool> {},
    }
}

/// Brings the network into the wanted state.
pub(crate) fn run_network(machine: &mut Machine, args: DockerNetworkArgs) -> ModuleResult {
    let (is_check, wants_diff) = (machine.is_check(), machine.wants_diff());
    let daemon = args.daemon(machine)?;
    let mut work = Work {
        daemon,
        args: &args,
        actions: Vec::new(),
        changed: false,
        before: JsonMap::new(),
        after: JsonMap::new(),
    };
    let found = work.find()?;
    if args.state == "absent" {
        if let Some(found) = &found {
            work.differs("exists", false, true);
            work.remove(found)?;
        }
    } else {
        work.settle(found)?;
    }
    let network = if args.state == "absent" {
        None
    } else {
        work.find()?
    };
    let mut outcome = Outcome::unchanged().with_changed(work.changed);
    if let Some(network) = network {
        outcome = outcome.with("network", from_json(network));
    }
    if is_check || args.debug {
        outcome = outcome.with("actions", Value::list(work.actions));
    }
    if wants_diff {
        let diff = Diff::new(from_json(work.before.into()), from_json(work.after.into()));
        outcome = outcome.only_diff(diff);
    }
    Ok(outcome)
}

struct Work<'a> {
    daemon: Daemon<'a>,
    args: &'a DockerNetworkArgs,
    actions: Vec<String>,
    changed: bool,
    before: JsonMap<String, Json>,
    after: JsonMap<String, Json>,
}

impl Work<'_> {
    fn find(&mut self) -> Result<Option<Json>, Failure> {
        let path = format!("/networks/{}", quoted(&self.args.name));
        self.daemon.find(&path)
    }

    fn act(&mut self, action: String) {
        self.changed = true;
        self.actions.push(action);
    }

    fn differs(&mut self, name: &str, wanted: impl Into<Json>, found: impl Into<Json>) {
        self.after.insert(name.into(), wanted.into());
        self.before.insert(name.into(), found.into());
    }

    fn settle(&mut self, found: Option<Json>) -> Result<(), Failure> {
        let args = self.args;
        let mut network = found;
        if let Some(found) = &network {
            let differs = self.compare(found)?;
            if differs || args.force {
                self.remove(&found.clone())?;
                network = None;
            }
        }
        let is_new = network.is_none();
        if is_new {
            if self.after.is_empty() {
                self.differs("exists", true, false);
            }
            self.create()?;
        }
        let members = names_in(network.as_ref());
        for name in &args.connected {
            if members.contains(name) || self.daemon.container(name)?.is_none() {
                continue;
            }
            self.act(format!("Connected container {name}"));
            self.differs(&format!("connected.{name}"), true, false);
            let effect = self.daemon.undone_by(
                format!("connect {name} to network {}", args.name),
                &["network", "disconnect", &args.name, name],
            );
            let path = format!("/networks/{}/connect", quoted(&args.name));
            let body = json!({"Container": name, "EndpointConfig": null});
            self.daemon.post(&path, Some(&body), effect)?;
        }
        if !args.appends {
            for name in members.iter().filter(|name| !args.connected.contains(name)) {
                self.disconnect(name)?;
            }
        }
        Ok(())
    }

    /// Tells whether the network must be made anew.
    fn compare(&mut self, found: &Json) -> Result<bool, Failure> {
        let args = self.args;
        let mut wanted: Vec<(String, Json, Json)> = Vec::new();
        let at = |key: &str| found.get(key).cloned().unwrap_or_default();
        let mut want = |name: &str, value: Option<Json>, there: Json| {
            if let Some(value) = value {
                wanted.push((name.to_owned(), value, there));
            }
        };
        let or_no = |value: Json| if value.is_null() { json!(false) } else { value };
        for (name, flag, key) in [
            ("config_only", args.config_only, "ConfigOnly"),
            ("enable_ipv4", args.enable_ipv4, "EnableIPv4"),
            ("enable_ipv6", args.enable_ipv6, "EnableIPv6"),
            ("internal", args.internal, "Internal"),
            ("attachable", args.attachable, "Attachable"),
            ("ingress", args.ingress, "Ingress"),
        ] {
            want(name, flag.map(Json::from), or_no(at(key)));
        }
        let from = found
            .get("ConfigFrom")
            .and_then(|from| from.get("Network"))
            .cloned();
        want(
            "config_from",
            args.config_from.clone().map(Json::from),
            from.unwrap_or_default(),
        );
        want("driver", Some(args.driver.as_str().into()), at("Driver"));
        want("scope", args.scope.clone().map(Json::from), at("Scope"));
        for (name, given, key) in [
            ("driver_options", &args.driver_options, "Options"),
            ("labels", &args.labels, "Labels"),
        ] {
            if let Json::Object(pairs) = texts(given) {
                for (option, value) in pairs {
                    let there = at(key).get(&option).cloned().unwrap_or_default();
                    want(&format!("{name}.{option}"), Some(value), there);
                }
            }
        }
        let ipam = at("IPAM");
        let of_ipam = |key: &str| ipam.get(key).cloned().unwrap_or_default();
        let driver = args.ipam_driver.clone().map(Json::from);
        want("ipam_driver", driver, of_ipam("Driver"));
        if let Some(options) = &args.ipam_driver_options {
            let there = match of_ipam("Options") {
                Json::Null => json!({}),
                options => options,
            };
            want("ipam_driver_options", Some(texts(options)), there);
        }
        let blocks = of_ipam("Config");
        let blocks = blocks.as_array().cloned().unwrap_or_default();
        for (index, block) in args.ipam_config.iter().flatten().enumerate() {
            let block = pool(block)?;
            let is_there = |other: &Json| {
                block
                    .iter()
                    .all(|(key, value)| other.get(key) == Some(value))
            };
            if !blocks.iter().any(is_there) {
                let name = format!("ipam_config[{index}]");
                wanted.push((name, block.into(), Json::from(blocks.clone())));
            }
        }
        let mut differs = false;
        for (name, value, there) in wanted {
            if value != there {
                self.differs(&name, value, there);
                differs = true;
            }
        }
        Ok(differs)
    }

    fn create(&mut self) -> Result<(), Failure> {
        let args = self.args;
        let mut body = json!({
            "Name": args.name, "Driver": args.driver, "Options": texts(&args.driver_options),
            "IPAM": null, "Labels": texts(&args.labels),
        });
        for (key, value) in [
            ("ConfigOnly", args.config_only.map(Json::from)),
            (
                "ConfigFrom",
                args.config_from
                    .as_ref()
                    .map(|name| json!({"Network": name})),
            ),
            ("EnableIPv4", args.enable_ipv4.map(Json::from)),
            ("EnableIPv6", args.enable_ipv6.map(Json::from)),
            ("Internal", args.internal.map(Json::from)),
            ("Scope", args.scope.clone().map(Json::from)),
            ("Attachable", args.attachable.map(Json::from)),
            ("Ingress", args.ingress.map(Json::from)),
        ] {
            if let Some(value) = value {
                body[key] = value;
            }
        }
        let pools: Result<Vec<_>, _> = args.ipam_config.iter().flatten().map(pool).collect();
        let pools = pools?;
        if args.ipam_driver.is_some() || args.ipam_driver_options.is_some() || !pools.is_empty() {
            body["IPAM"] = json!({
                "Driver": args.ipam_driver, "Config": pools,
                "Options": args.ipam_driver_options.as_ref().map(texts),
            });
        }
        self.act(format!(
            "Created network {} with driver {}",
            args.name, args.driver
        ));
        let effect = self.daemon.undone_by(
            format!("create network {}", args.name),
            &["network", "rm", &args.name],
        );
        self.daemon.post("/networks/create", Some(&body), effect)?;
        Ok(())
    }

    fn remove(&mut self, found: &Json) -> Result<(), Failure> {
        for name in names_in(Some(found)) {
            self.disconnect(&name)?;
        }
        let name = &self.args.name;
        self.actions.push(format!("Removed network {name}"));
        self.changed = true;
        let effect = Effect::opaque(format!("remove network {name}"));
        self.daemon
            .delete(&format!("/networks/{}", quoted(name)), effect)?;
        Ok(())
    }

    fn disconnect(&mut self, name: &str) -> Result<(), Failure> {
        let network = &self.args.name;
        self.actions.push(format!("Disconnected container {name}"));
        self.changed = true;
        self.after.insert(format!("connected.{name}"), false.into());
        self.before.insert(format!("connected.{name}"), true.into());
        let effect = self.daemon.undone_by(
            format!("disconnect {name} from network {network}"),
            &["network", "connect", network, name],
        );
        let path = format!("/networks/{}/disconnect", quoted(network));
        let body = json!({"Container": name, "Force": true});
        self.daemon.post(&path, Some(&body), effect)?;
        Ok(())
    }
}

fn names_in(network: Option<&Json>) -> Vec<String> {
    let containers = network
        .and_then(|network| network.get("Containers"))
        .and_then(Json::as_object);
    containers
        .into_iter()
        .flat_map(JsonMap::values)
        .filter_map(|it| it.get("Name").and_then(Json::as_str).map(str::to_owned))
        .collect()
}

/// Returns a block of addresses in the daemon's words, without what is not given.
fn pool(given: &Map) -> Result<JsonMap<String, Json>, Failure> {
    only(
        "ipam_config",
        given,
        &["subnet", "iprange", "gateway", "aux_addresses"],
    )?;
    let names = [
        ("subnet", "Subnet"),
        ("iprange", "IPRange"),
        ("gateway", "Gateway"),
        ("aux_addresses", "AuxiliaryAddresses"),
    ];
    Ok(names
        .into_iter()
        .filter_map(|(name, key)| Some((key.to_owned(), to_json(field(given, name)?))))
        .collect())
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;
    use crate::modules::docker::testing::Host;

    const NAME: &str = "community.docker.docker_network";

    fn daemon() -> Host {
        let made: Arc<Mutex<Option<Json>>> = Arc::default();
        Host::with_bodies(move |request, body| {
            let mut made = made.lock().unwrap();
            match request {
                "GET /networks/net" => made.as_ref().map(Json::to_string).unwrap_or_default(),
                "POST /networks/create" => {
                    *made = Some(serde_json::from_str(body).unwrap());
                    r#"{"Id": "n1"}"#.into()
                }
                "POST /networks/net/connect" => {
                    made.as_mut().unwrap()["Containers"] = json!({"c": {"Name": "web"}});
                    "{}".into()
                }
                "POST /networks/net/disconnect" => {
                    made.as_mut().unwrap()["Containers"] = json!({});
                    "{}".into()
                }
                "DELETE /networks/net" => {
                    *made = None;
                    "{}".into()
                }
                "GET /containers/web/json" => "{}".into(),
                _ => String::new(),
            }
        })
    }

    fn changed(result: &str) -> bool {
        let result: Value = serde_json::from_str(result).unwrap();
        result.get("changed").and_then(Value::as_bool).unwrap()
    }

    #[test]
    fn a_network_is_made_once_changed_and_removed() {
        let host = daemon();
        let options =
            r#""name": "net", "ipam_config": [{"subnet": "10.1.0.0/16"}], "labels": {"a": "b"}"#;
        assert!(changed(&host.predict(NAME, options)));
        assert_eq!(host.changes(), Vec::<String>::new());
        assert!(changed(&host.run(NAME, options)));
        assert!(!changed(&host.run(NAME, options)));
        let connected = format!(r#"{options}, "connected": ["web", "gone"]"#);
        assert!(changed(&host.run(NAME, &connected)));
        assert!(!changed(&host.run(NAME, &connected)));
        let other = options.replace("10.1", "10.2");
        assert!(changed(&host.run(NAME, &other)));
        assert!(changed(
            &host.run(NAME, r#""name": "net", "state": "absent""#)
        ));
        assert!(!changed(
            &host.run(NAME, r#""name": "net", "state": "absent""#)
        ));
        assert_eq!(
            host.undo_steps(),
            [
                "network rm net",
                "network disconnect net web",
                "network connect net web",
                "network rm net",
            ]
        );
    }

    #[test]
    fn an_unknown_key_of_a_block_is_refused() {
        let result = daemon().run(NAME, r#""name": "net", "ipam_config": [{"subnett": "x"}]"#);
        assert!(result.contains("Unsupported parameters for ipam_config: subnett."));
    }
}
