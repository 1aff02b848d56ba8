//! Facts about the network: interfaces, addresses, default routes, the resolver.
//!
//! Addresses come from `ip`, as in Ansible; without it only what /sys and /proc say is known.

use std::net::{Ipv4Addr, Ipv6Addr};

use ipnet::Ipv4Net;

use super::Gathering;
use crate::value::{Map, Value};

/// Gathers interfaces, their addresses and the default routes.
pub(super) fn gather(to: &mut Gathering<'_>) {
    let listed = to.output(&["ip", "-o", "addr", "show"]).unwrap_or_default();
    let addresses: Vec<_> = listed.lines().filter_map(parse_address).collect();
    let mut names = to.names("/sys/class/net");
    names.retain(|name| to.exists(&format!("/sys/class/net/{name}/address")));
    let mut all_v4 = Vec::new();
    let mut all_v6 = Vec::new();
    for name in &names {
        let mut interface = link_facts(to, name);
        add_addresses(&mut interface, name, &addresses);
        to.set(&name.replace(['-', ':'], "_"), interface);
    }
    for address in &addresses {
        match address {
            Address::V4 { network, .. } if !network.addr().is_loopback() => {
                all_v4.push(Value::from(network.addr().to_string()));
            }
            Address::V6 { address, .. } if !address.is_loopback() => {
                all_v6.push(Value::from(address.to_string()));
            }
            _ => {}
        }
    }
    let v4 = default_route(to, "-4", "8.8.8.8");
    let v6 = default_route(to, "-6", "2404:6800:400a:800::1012");
    let default_v4 = describe_v4(to, v4, &addresses);
    let default_v6 = describe_v6(to, v6, &addresses);
    to.set(
        "interfaces",
        Value::list(names.iter().map(|name| name.replace(['-', ':'], "_"))),
    );
    to.set("default_ipv4", default_v4);
    to.set("default_ipv6", default_v6);
    to.set("all_ipv4_addresses", all_v4);
    to.set("all_ipv6_addresses", all_v6);
    locally_reachable(to);
    for name in ["iscsi_iqn", "hostnqn"] {
        let file = if name == "hostnqn" {
            "/etc/nvme/hostnqn"
        } else {
            "/etc/iscsi/initiatorname.iscsi"
        };
        let line = to.line(file).unwrap_or_default();
        to.set(name, line.rsplit('=').next().unwrap_or_default());
    }
    let ports = to.names("/sys/class/fc_host");
    let wwns: Vec<Value> = ports
        .iter()
        .filter_map(|port| to.line(&format!("/sys/class/fc_host/{port}/port_name")))
        .map(|wwn| Value::from(wwn.trim_start_matches("0x")))
        .collect();
    to.set("fibre_channel_wwn", wwns);
}

/// One address of one interface.
enum Address {
    V4 {
        interface: String,
        label: String,
        network: Ipv4Net,
        broadcast: String,
    },
    V6 {
        interface: String,
        address: Ipv6Addr,
        prefix: String,
        scope: String,
    },
}

/// Reads a line of `ip -o addr`.
fn parse_address(line: &str) -> Option<Address> {
    let words: Vec<_> = line.split_whitespace().collect();
    let interface = words
        .get(1)?
        .split('@')
        .next()?
        .trim_end_matches(':')
        .to_owned();
    let after = |word: &str| {
        words
            .iter()
            .position(|known| *known == word)
            .and_then(|index| words.get(index + 1))
            .copied()
    };
    match *words.get(2)? {
        "inet" => {
            let text = words.get(3)?;
            let text = if text.contains('/') {
                (*text).to_owned()
            } else {
                format!("{text}/32")
            };
            // The label is the word after the scope and its flags.
            let label = words
                .iter()
                .take_while(|word| !word.starts_with('\\'))
                .last()?;
            Some(Address::V4 {
                label: if label.starts_with(interface.as_str()) {
                    (*label).to_owned()
                } else {
                    interface.clone()
                },
                interface,
                network: text.parse().ok()?,
                broadcast: after("brd").unwrap_or_default().to_owned(),
            })
        }
        "inet6" => {
            let (address, prefix) = words
                .get(3)?
                .split_once('/')
                .unwrap_or((words.get(3)?, "128"));
            Some(Address::V6 {
                interface,
                address: address.parse().ok()?,
                prefix: prefix.to_owned(),
                scope: after("scope").unwrap_or_default().to_owned(),
            })
        }
        _ => None,
    }
}

fn link_facts(to: &mut Gathering<'_>, name: &str) -> Map {
    let base = format!("/sys/class/net/{name}");
    let mut facts = Map::new();
    facts.insert("device".into(), name.into());
    if let Some(mac) = to
        .line(&format!("{base}/address"))
        .filter(|mac| is_hardware(mac))
    {
        facts.insert("macaddress".into(), mac.into());
    }
    let number = |text: Option<String>| text.and_then(|text| text.parse::<i64>().ok());
    if let Some(mtu) = number(to.line(&format!("{base}/mtu"))) {
        facts.insert("mtu".into(), mtu.into());
    }
    let state = to.line(&format!("{base}/operstate"));
    facts.insert(
        "active".into(),
        state.is_some_and(|state| state != "down").into(),
    );
    let module = to.machine.read_link(std::path::Path::new(&format!(
        "{base}/device/driver/module"
    )));
    if let Some(module) = module
        .ok()
        .and_then(|target| Some(target.file_name()?.to_string_lossy().into_owned()))
    {
        facts.insert("module".into(), module.into());
    }
    let slot = to
        .machine
        .read_link(std::path::Path::new(&format!("{base}/device")));
    if let Some(slot) = slot
        .ok()
        .and_then(|target| Some(target.file_name()?.to_string_lossy().into_owned()))
    {
        facts.insert("pciid".into(), slot.into());
    }
    let kind = match to.line(&format!("{base}/type")).as_deref() {
        Some("1") => "ether",
        Some("32") => "infiniband",
        Some("512") => "ppp",
        Some("772") => "loopback",
        Some("65534") => "tunnel",
        _ => "unknown",
    };
    let kind = if to.exists(&format!("{base}/bridge")) {
        let members = to.names(&format!("{base}/brif"));
        facts.insert("interfaces".into(), Value::list(members));
        if let Some(id) = to.line(&format!("{base}/bridge/bridge_id")) {
            facts.insert("id".into(), id.into());
        }
        if let Some(stp) = to.line(&format!("{base}/bridge/stp_state")) {
            facts.insert("stp".into(), (stp == "1").into());
        }
        "bridge"
    } else if to.exists(&format!("{base}/bonding")) {
        let slaves = to
            .line(&format!("{base}/bonding/slaves"))
            .unwrap_or_default();
        facts.insert(
            "slaves".into(),
            Value::list(slaves.split_whitespace().map(Value::from)),
        );
        for (fact, file) in [
            ("mode", "mode"),
            ("miimon", "miimon"),
            ("lacp_rate", "lacp_rate"),
            ("primary", "primary"),
        ] {
            let value = to
                .line(&format!("{base}/bonding/{file}"))
                .unwrap_or_default();
            let first = value.split_whitespace().next().unwrap_or_default();
            facts.insert(fact.into(), first.into());
        }
        "bonding"
    } else {
        kind
    };
    facts.insert("type".into(), kind.into());
    if let Some(speed) = number(to.line(&format!("{base}/speed"))) {
        facts.insert("speed".into(), speed.into());
    }
    let flags = to.line(&format!("{base}/flags")).unwrap_or_default();
    let flags = i64::from_str_radix(flags.trim_start_matches("0x"), 16).unwrap_or(0);
    // IFF_PROMISC
    facts.insert("promisc".into(), (flags & 0x100 != 0).into());
    facts
}

fn is_hardware(mac: &str) -> bool {
    !mac.is_empty() && mac != "00:00:00:00:00:00"
}

fn add_addresses(facts: &mut Map, name: &str, addresses: &[Address]) {
    let mut secondaries = Vec::new();
    let mut v6 = Vec::new();
    for address in addresses {
        match address {
            Address::V4 {
                interface,
                network,
                broadcast,
                ..
            } if interface == name => {
                let described = v4_facts(*network, broadcast);
                if facts.contains_key("ipv4") {
                    secondaries.push(described);
                } else {
                    facts.insert("ipv4".into(), described);
                }
            }
            Address::V6 {
                interface,
                address,
                prefix,
                scope,
            } if interface == name => {
                v6.push(Value::map([
                    ("address", address.to_string()),
                    ("prefix", prefix.clone()),
                    ("scope", scope.clone()),
                ]));
            }
            _ => {}
        }
    }
    if !secondaries.is_empty() {
        facts.insert("ipv4_secondaries".into(), secondaries.into());
    }
    if !v6.is_empty() {
        facts.insert("ipv6".into(), v6.into());
    }
}

fn v4_facts(network: Ipv4Net, broadcast: &str) -> Value {
    Value::map([
        ("address", network.addr().to_string()),
        ("broadcast", broadcast.to_owned()),
        ("netmask", network.netmask().to_string()),
        ("network", network.network().to_string()),
        ("prefix", network.prefix_len().to_string()),
    ])
}

/// Where packets to the world leave.
#[derive(Default)]
struct Route {
    interface: String,
    address: String,
    gateway: Option<String>,
}

fn default_route(to: &mut Gathering<'_>, family: &str, destination: &str) -> Option<Route> {
    let text = to.output(&["ip", family, "route", "get", destination])?;
    let words: Vec<_> = text.lines().next()?.split_whitespace().collect();
    if words.first() != Some(&destination) {
        return None;
    }
    let after = |word: &str| {
        words
            .iter()
            .position(|known| *known == word)
            .and_then(|index| words.get(index + 1))
            .map(|word| (*word).to_owned())
    };
    Some(Route {
        interface: after("dev").unwrap_or_default(),
        address: after("src").unwrap_or_default(),
        gateway: after("via"),
    })
}

fn describe_v4(to: &mut Gathering<'_>, route: Option<Route>, addresses: &[Address]) -> Map {
    let Some(route) = route else {
        return Map::new();
    };
    let wanted: Option<Ipv4Addr> = route.address.parse().ok();
    let mut facts = route_facts(to, &route);
    let found = addresses.iter().find_map(|address| match address {
        Address::V4 {
            label,
            network,
            broadcast,
            ..
        } if Some(network.addr()) == wanted => Some((label, network, broadcast)),
        _ => None,
    });
    if let Some((label, network, broadcast)) = found {
        if let Some(described) = v4_facts(*network, broadcast).as_map() {
            facts.extend(described.clone());
        }
        facts.insert("alias".into(), label.as_str().into());
    }
    facts
}

fn describe_v6(to: &mut Gathering<'_>, route: Option<Route>, addresses: &[Address]) -> Map {
    let Some(route) = route else {
        return Map::new();
    };
    let wanted: Option<Ipv6Addr> = route.address.parse().ok();
    let mut facts = route_facts(to, &route);
    for address in addresses {
        if let Address::V6 {
            address,
            prefix,
            scope,
            ..
        } = address
            && Some(*address) == wanted
        {
            facts.insert("prefix".into(), prefix.as_str().into());
            facts.insert("scope".into(), scope.as_str().into());
        }
    }
    facts
}

fn route_facts(to: &mut Gathering<'_>, route: &Route) -> Map {
    let link = link_facts(to, &route.interface);
    let mut facts = Map::new();
    facts.insert("interface".into(), route.interface.as_str().into());
    facts.insert("address".into(), route.address.as_str().into());
    facts.insert("gateway".into(), route.gateway.clone().into());
    for key in ["macaddress", "mtu", "type"] {
        if let Some(value) = link.get(key) {
            facts.insert(key.into(), value.clone());
        }
    }
    facts
}

fn locally_reachable(to: &mut Gathering<'_>) {
    let mut reachable = Map::new();
    for (name, family) in [("ipv4", "-4"), ("ipv6", "-6")] {
        let text = to
            .output(&["ip", family, "route", "show", "table", "local"])
            .unwrap_or_default();
        let mut listed: Vec<String> = Vec::new();
        for line in text.lines() {
            let words: Vec<_> = line.split_whitespace().collect();
            let is_local = words.first() == Some(&"local");
            let Some(address) = words.get(usize::from(is_local)) else {
                continue;
            };
            if (is_local || family == "-6")
                && !line.starts_with("broadcast")
                && !line.starts_with("anycast")
                && !line.starts_with("multicast")
                && !listed.iter().any(|known| known == address)
            {
                listed.push((*address).to_owned());
            }
        }
        reachable.insert(name.into(), Value::list(listed));
    }
    to.set("locally_reachable_ips", reachable);
}

/// Gathers what the resolver is configured with.
pub(super) fn gather_dns(to: &mut Gathering<'_>) {
    let text = to.text("/etc/resolv.conf").unwrap_or_default();
    let mut dns = Map::new();
    for line in text.lines().filter(|line| !line.starts_with(['#', ';'])) {
        let words: Vec<_> = line.split_whitespace().collect();
        let Some((keyword, rest)) = words.split_first() else {
            continue;
        };
        match *keyword {
            "nameserver" => {
                let mut servers: Vec<Value> = dns
                    .get("nameservers")
                    .and_then(Value::as_list)
                    .unwrap_or_default()
                    .to_vec();
                servers.extend(rest.iter().map(|server| Value::from(*server)));
                dns.insert("nameservers".into(), servers.into());
            }
            "domain" => {
                if let Some(domain) = rest.first() {
                    dns.insert("domain".into(), (*domain).into());
                }
            }
            "search" | "sortlist" => {
                dns.insert(
                    (*keyword).into(),
                    Value::list(rest.iter().map(|word| Value::from(*word))),
                );
            }
            "options" => {
                let options = rest.iter().map(|option| match option.split_once(':') {
                    Some((name, value)) => (name, Value::from(value)),
                    None => (*option, Value::from(true)),
                });
                dns.insert("options".into(), Value::map(options));
            }
            _ => {}
        }
    }
    to.set("dns", dns);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_ip_is_an_address_with_its_network() {
        let line = "2: eth0    inet 192.0.2.7/24 brd 192.0.2.255 scope global eth0:web\\       \
                    valid_lft forever preferred_lft forever";
        let Some(Address::V4 {
            interface,
            label,
            network,
            broadcast,
        }) = parse_address(line)
        else {
            panic!("an address is read");
        };
        assert_eq!(
            (interface.as_str(), broadcast.as_str()),
            ("eth0", "192.0.2.255")
        );
        assert_eq!(network.to_string(), "192.0.2.7/24");
        assert_eq!(label, "eth0");
        let line = "1: lo    inet6 ::1/128 scope host \\       valid_lft forever";
        assert!(matches!(parse_address(line), Some(Address::V6 { scope, .. }) if scope == "host"));
        assert!(parse_address("garbage").is_none());
    }
}
