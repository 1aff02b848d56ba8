//! Filters on IP addresses as the `ansible.utils` collection names them.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;

use super::super::call::Call;
use super::{Filter, data};
use crate::value::Value;

pub(super) const FILTERS: &[Filter] = &[
    data("ipaddr", "query version alias", |call| ipaddr(call, None)),
    data("ansible.utils.ipaddr", "query version alias", |call| {
        ipaddr(call, None)
    }),
    data("ansible.netcommon.ipaddr", "query version alias", |call| {
        ipaddr(call, None)
    }),
    data("ipv4", "query", |call| ipaddr(call, Some(4))),
    data("ansible.utils.ipv4", "query", |call| ipaddr(call, Some(4))),
    data("ansible.netcommon.ipv4", "query", |call| {
        ipaddr(call, Some(4))
    }),
    data("ipv6", "query", |call| ipaddr(call, Some(6))),
    data("ansible.utils.ipv6", "query", |call| ipaddr(call, Some(6))),
    data("ansible.netcommon.ipv6", "query", |call| {
        ipaddr(call, Some(6))
    }),
    data("ipwrap", "query", |call| Ok(each(&call.input, &wrap))),
    data("ansible.utils.ipwrap", "query", |call| {
        Ok(each(&call.input, &wrap))
    }),
    data("ansible.netcommon.ipwrap", "query", |call| {
        Ok(each(&call.input, &wrap))
    }),
    data("ipsubnet", "query index", ipsubnet),
    data("ansible.utils.ipsubnet", "query index", ipsubnet),
    data("ansible.netcommon.ipsubnet", "query index", ipsubnet),
    data("nthhost", "query!", nthhost),
    data("ansible.utils.nthhost", "query!", nthhost),
    data("ansible.netcommon.nthhost", "query!", nthhost),
    data("ipmath", "amount!", ipmath),
    data("ansible.utils.ipmath", "amount!", ipmath),
    data("ansible.netcommon.ipmath", "amount!", ipmath),
    data("network_in_network", "test!", |call| {
        Ok(network_in_network(call).into())
    }),
    data("ansible.utils.network_in_network", "test!", |call| {
        Ok(network_in_network(call).into())
    }),
    data("ansible.netcommon.network_in_network", "test!", |call| {
        Ok(network_in_network(call).into())
    }),
];

/// An address with the length of its network; a lone address has its full length.
#[derive(Clone, Copy)]
struct Address {
    net: IpNet,
    has_prefix: bool,
}

impl Address {
    fn read(value: &Value) -> Option<Self> {
        if let Value::Int(number) = value {
            let ip = match u32::try_from(*number) {
                Ok(number) => IpAddr::V4(Ipv4Addr::from(number)),
                Err(_) => IpAddr::V6(Ipv6Addr::from(u128::try_from(*number).ok()?)),
            };
            return Some(Self {
                net: ip.into(),
                has_prefix: false,
            });
        }
        let text = value.as_str()?.trim();
        let text = text.trim_matches(['[', ']']);
        match text.split_once('/') {
            None => Some(Self {
                net: text.parse::<IpAddr>().ok()?.into(),
                has_prefix: false,
            }),
            Some((ip, prefix)) => {
                let ip: IpAddr = ip.parse().ok()?;
                let length = match prefix.parse() {
                    Ok(length) => length,
                    Err(_) => ipnet::ip_mask_to_prefix(prefix.parse().ok()?).ok()?,
                };
                Some(Self {
                    net: IpNet::new(ip, length).ok()?,
                    has_prefix: true,
                })
            }
        }
    }

    fn version(self) -> u8 {
        if matches!(self.net, IpNet::V4(_)) {
            4
        } else {
            6
        }
    }

    fn number(self) -> u128 {
        number(self.net.addr())
    }

    fn size(self) -> Option<u128> {
        1_u128.checked_shl(u32::from(self.net.max_prefix_len() - self.net.prefix_len()))
    }

    /// Returns the address `offset` steps from the network's first, or back from its last.
    fn nth(self, offset: i128) -> Option<IpAddr> {
        let size = i128::try_from(self.size()?).ok()?;
        let at = if offset < 0 { size + offset } else { offset };
        if !(0..size).contains(&at) {
            return None;
        }
        let first = number(self.net.network());
        Some(address(first + u128::try_from(at).ok()?, self.version()))
    }

    fn is_single(self) -> bool {
        self.net.prefix_len() == self.net.max_prefix_len()
    }

    /// Tells whether the text names a network and not an address in one.
    fn is_network(self) -> bool {
        self.has_prefix && !self.is_single() && self.net.addr() == self.net.network()
    }
}

fn number(ip: IpAddr) -> u128 {
    match ip {
        IpAddr::V4(ip) => u128::from(u32::from(ip)),
        IpAddr::V6(ip) => u128::from(ip),
    }
}

fn address(number: u128, version: u8) -> IpAddr {
    if version == 4 {
        IpAddr::V4(Ipv4Addr::from(u32::try_from(number).unwrap_or(u32::MAX)))
    } else {
        IpAddr::V6(Ipv6Addr::from(number))
    }
}

/// Applies a filter to a value, or to each item of a list, keeping those that have an answer.
fn each(input: &Value, answer: &dyn Fn(&Value) -> Value) -> Value {
    match input {
        Value::List(items) => Value::list(
            items
                .iter()
                .map(answer)
                .filter(|value| !matches!(value, Value::Bool(false))),
        ),
        value => answer(value),
    }
}

fn ipaddr(call: &Call<'_>, version: Option<u8>) -> Result<Value, String> {
    let query = call.given(0).cloned().unwrap_or_else(|| "".into());
    let version = match call.given(1) {
        Some(Value::Int(number)) => u8::try_from(*number).ok(),
        _ => version,
    };
    let known = asked(&query).is_some();
    if !known {
        return Err(format!("{}: unknown filter type: {query}", call.name));
    }
    Ok(each(&call.input, &|value| {
        let Some(address) = Address::read(value) else {
            return false.into();
        };
        if version.is_some_and(|version| version != address.version()) {
            return false.into();
        }
        answered(value, address, &query).unwrap_or(Value::Bool(false))
    }))
}

/// The queries `ipaddr` answers, by the name Ansible gives each.
fn asked(query: &Value) -> Option<()> {
    const NAMES: [&str; 38] = [
        "",
        "address",
        "ip",
        "address/prefix",
        "bool",
        "broadcast",
        "cidr",
        "first_usable",
        "gateway",
        "gw",
        "host",
        "host/prefix",
        "hostmask",
        "hostnet",
        "int",
        "ip/prefix",
        "ip_netmask",
        "ipv4",
        "ipv6",
        "last_usable",
        "link-local",
        "lla",
        "loopback",
        "lo",
        "multicast",
        "net",
        "netmask",
        "network",
        "network_id",
        "network/prefix",
        "network_netmask",
        "prefix",
        "private",
        "public",
        "range_usable",
        "revdns",
        "size",
        "subnet",
    ];
    const MORE: [&str; 8] = [
        "next_usable",
        "previous_usable",
        "router",
        "size_usable",
        "type",
        "unicast",
        "version",
        "wrap",
    ];
    match query {
        Value::Int(_) => Some(()),
        Value::String(text) => (NAMES.contains(&&**text)
            || MORE.contains(&&**text)
            || Address::read(query).is_some()
            || text.parse::<i128>().is_ok())
        .then_some(()),
        _ => None,
    }
}

fn answered(value: &Value, address: Address, query: &Value) -> Option<Value> {
    let net = address.net;
    let prefixed = |ip: IpAddr| Value::from(format!("{ip}/{}", net.prefix_len()));
    let text = |ip: IpAddr| Value::from(ip.to_string());
    let itself = || value.clone();
    let only = |holds: bool| holds.then(itself);
    let index = match query {
        Value::Int(index) => Some(*index),
        Value::String(query) => query.parse().ok(),
        _ => None,
    };
    if let Some(index) = index {
        return address.nth(index).map(prefixed);
    }
    let query = query.as_str()?;
    if let Some(outer) = query
        .contains(['.', ':'])
        .then(|| Address::read(&query.into()))
        .flatten()
    {
        return only(outer.net.contains(&net));
    }
    let usable = !address.is_single();
    let is_v4 = address.version() == 4;
    let (low, high) = if is_v4 && net.prefix_len() < 31 {
        (1, -2)
    } else {
        (0, -1)
    };
    match query {
        "" => Some(if address.has_prefix || value.as_str().is_some() {
            itself()
        } else {
            text(net.addr())
        }),
        "bool" => Some(true.into()),
        "address" | "ip" => (!address.is_network()).then(|| text(net.addr())),
        "ip/prefix" | "address/prefix" | "gateway" | "gw" | "router" | "host/prefix"
        | "hostnet" => (address.has_prefix && !address.is_network()).then(|| prefixed(net.addr())),
        "host" => (address.has_prefix && !address.is_network() || address.is_single())
            .then(|| prefixed(net.addr())),
        "net" => only(address.is_network()),
        "subnet" | "cidr" => Some(prefixed(if query == "subnet" {
            net.network()
        } else {
            net.addr()
        })),
        "network" | "network_id" => (address.has_prefix || usable).then(|| text(net.network())),
        "network/prefix" => Some(prefixed(net.network())),
        "network_netmask" => Some(format!("{} {}", net.network(), net.netmask()).into()),
        "ip_netmask" => Some(format!("{} {}", net.addr(), net.netmask()).into()),
        "netmask" => Some(text(net.netmask())),
        "hostmask" => Some(text(net.hostmask())),
        "prefix" => Some(u32::from(net.prefix_len()).into()),
        "broadcast" => (is_v4 && net.prefix_len() < 31).then(|| text(net.broadcast())),
        "size" => address
            .size()
            .map(|size| Value::from(size.to_string().parse::<i128>().unwrap_or(i128::MAX))),
        "size_usable" => {
            let size = i128::try_from(address.size()?).ok()?;
            Some((if low == 1 { size - 2 } else { size }).into())
        }
        "first_usable" => usable.then(|| address.nth(low).map(text))?,
        "last_usable" => usable.then(|| address.nth(high).map(text))?,
        "range_usable" => {
            usable.then(|| Some(format!("{}-{}", address.nth(low)?, address.nth(high)?).into()))?
        }
        "next_usable" => neighbour(address, 1, low, high).map(text),
        "previous_usable" => neighbour(address, -1, low, high).map(text),
        "int" => Some(i128::try_from(address.number()).unwrap_or(i128::MAX).into()),
        "revdns" => Some(reverse_name(net.addr()).into()),
        "version" => Some(u32::from(address.version()).into()),
        "ipv4" => only(is_v4),
        "ipv6" => only(!is_v4),
        "type" => Some(
            if address.is_network() {
                "network"
            } else {
                "address"
            }
            .into(),
        ),
        "private" => only(is_private(net.addr())),
        "public" => only(!is_private(net.addr()) && !is_special(net.addr())),
        "loopback" | "lo" => only(net.addr().is_loopback()),
        "multicast" => only(net.addr().is_multicast()),
        "unicast" => only(!net.addr().is_multicast()),
        "link-local" | "lla" => only(is_link_local(net.addr())),
        "wrap" => Some(wrap(value)),
        _ => None,
    }
}

fn neighbour(address: Address, step: i128, low: i128, high: i128) -> Option<IpAddr> {
    let first = number(address.net.network());
    let at = i128::try_from(address.number() - first).ok()? + step;
    let last = i128::try_from(address.size()?).ok()? + high;
    (low..=last).contains(&at).then(|| address.nth(at))?
}

fn is_private(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => ip.is_private() || ip.is_link_local(),
        IpAddr::V6(ip) => (ip.segments()[0] & 0xfe00) == 0xfc00 || is_link_local(IpAddr::V6(ip)),
    }
}

fn is_link_local(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => ip.is_link_local(),
        IpAddr::V6(ip) => (ip.segments()[0] & 0xffc0) == 0xfe80,
    }
}

fn is_special(ip: IpAddr) -> bool {
    ip.is_loopback() || ip.is_multicast() || ip.is_unspecified() || is_link_local(ip)
}

fn reverse_name(ip: IpAddr) -> String {
    match ip {
        IpAddr::V4(ip) => {
            let [a, b, c, d] = ip.octets();
            format!("{d}.{c}.{b}.{a}.in-addr.arpa.")
        }
        IpAddr::V6(ip) => {
            let hex = format!("{:032x}", u128::from(ip));
            let digits: Vec<String> = hex.chars().rev().map(String::from).collect();
            format!("{}.ip6.arpa.", digits.join("."))
        }
    }
}

/// Puts an IPv6 address in brackets; anything else stays.
fn wrap(value: &Value) -> Value {
    match Address::read(value) {
        Some(address) if address.version() == 6 => {
            let ip = address.net.addr();
            if address.has_prefix {
                format!("[{ip}]/{}", address.net.prefix_len()).into()
            } else {
                format!("[{ip}]").into()
            }
        }
        _ => value.clone(),
    }
}

fn ipsubnet(call: &Call<'_>) -> Result<Value, String> {
    let Some(address) = Address::read(&call.input) else {
        return Ok(false.into());
    };
    let query = call.text_at(0).unwrap_or_default();
    let index = call.text_at(1);
    if query.is_empty() {
        return Ok(address.net.trunc().to_string().into());
    }
    let wanted: u8 = query
        .parse()
        .map_err(|_| format!("You must pass a valid subnet or IP address; {query} is not one"))?;
    let net = address.net;
    if address.is_network() || !address.is_single() {
        if wanted < net.prefix_len() || wanted > net.max_prefix_len() {
            return Ok(false.into());
        }
        let count = 1_u128 << (wanted - net.prefix_len()).min(127);
        let Some(index) = index else {
            return Ok(count.to_string().into());
        };
        let index: i128 = index
            .parse()
            .map_err(|_| "the index must be a number".to_owned())?;
        let size = 1_u128
            .checked_shl(u32::from(net.max_prefix_len() - wanted))
            .unwrap_or(0);
        let total = i128::try_from(count).unwrap_or(i128::MAX);
        let at = if index < 0 { total + index } else { index };
        if !(0..total).contains(&at) {
            return Ok(false.into());
        }
        let first = number(net.network()) + u128::try_from(at).unwrap_or(0) * size;
        return Ok(format!("{}/{wanted}", self::address(first, address.version())).into());
    }
    match IpNet::new(net.addr(), wanted) {
        Ok(net) => Ok(net.trunc().to_string().into()),
        Err(_) => Ok(false.into()),
    }
}

fn nthhost(call: &Call<'_>) -> Result<Value, String> {
    let index = call.required(0).to_string();
    let index: i128 = index
        .parse()
        .map_err(|_| format!("'{index}' is not a number"))?;
    Ok(Address::read(&call.input)
        .and_then(|address| address.nth(index))
        .map_or(Value::Bool(false), |ip| ip.to_string().into()))
}

fn ipmath(call: &Call<'_>) -> Result<Value, String> {
    let amount = call.required(0).as_int().ok_or_else(|| {
        format!(
            "You must pass an integer for arithmetic; {} is not a valid integer",
            call.required(0)
        )
    })?;
    let address = Address::read(&call.input).ok_or_else(|| {
        format!(
            "You must pass a valid IP address; {} is invalid",
            call.input
        )
    })?;
    let result = i128::try_from(address.number())
        .unwrap_or(i128::MAX)
        .saturating_add(amount);
    let result = u128::try_from(result).map_err(|_| format!("{} is out of range", call.input))?;
    Ok(self::address(result, address.version()).to_string().into())
}

fn network_in_network(call: &Call<'_>) -> bool {
    match (Address::read(&call.input), Address::read(call.required(0))) {
        (Some(outer), Some(inner)) => outer.net.contains(&inner.net),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ask(value: &str, query: &str) -> String {
        let value = Value::from(value);
        Address::read(&value)
            .and_then(|address| answered(&value, address, &query.into()))
            .map_or_else(|| "False".into(), |answer| answer.to_string())
    }

    #[test]
    fn queries_answer_as_the_collection_documents() {
        for (value, query, answer) in [
            ("192.24.2.1", "", "192.24.2.1"),
            ("host.fqdn", "", "False"),
            ("192.168.32.0/24", "address", "False"),
            ("192.24.2.1", "host", "192.24.2.1/32"),
            ("fe80::100/10", "host", "fe80::100/10"),
            ("192.168.32.0/24", "net", "192.168.32.0/24"),
            ("192.0.2.1/24", "address", "192.0.2.1"),
            ("192.0.2.1/24", "network", "192.0.2.0"),
            ("192.0.2.1/24", "subnet", "192.0.2.0/24"),
            ("192.0.2.1/24", "netmask", "255.255.255.0"),
            ("192.0.2.1/24", "broadcast", "192.0.2.255"),
            ("192.0.2.1/24", "prefix", "24"),
            ("192.0.2.0/24", "size", "256"),
            ("192.0.2.0/24", "1", "192.0.2.1/24"),
            ("192.0.2.0/24", "-1", "192.0.2.255/24"),
            ("192.0.2.0/24", "first_usable", "192.0.2.1"),
            ("192.0.2.0/24", "range_usable", "192.0.2.1-192.0.2.254"),
            ("192.0.2.7", "192.0.2.0/24", "192.0.2.7"),
            ("192.0.3.7", "192.0.2.0/24", "False"),
            ("10.1.1.1", "private", "10.1.1.1"),
            ("10.1.1.1", "public", "False"),
            ("192.0.2.1", "revdns", "1.2.0.192.in-addr.arpa."),
        ] {
            assert_eq!(ask(value, query), answer, "{value} {query}");
        }
    }

    #[test]
    fn only_ipv6_is_wrapped() {
        assert_eq!(wrap(&"::1".into()), "[::1]".into());
        assert_eq!(wrap(&"fe80::1/64".into()), "[fe80::1]/64".into());
        assert_eq!(wrap(&"10.0.0.1".into()), "10.0.0.1".into());
    }
}
