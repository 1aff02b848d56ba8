//! What users write for Docker, in the daemon's words: sizes, ports, devices, durations.

use serde_json::{Map as JsonMap, Value as Json, json};

use crate::modules::Failure;
use crate::value::{Map, Value};

/// Reads `512M` and `1.5g` as bytes; `unlimited` is -1.
pub(super) fn bytes(option: &str, text: &str) -> Result<i64, Failure> {
    let text = text.trim();
    if matches!(text, "unlimited" | "-1") {
        return Ok(-1);
    }
    let end = text
        .find(|c: char| !c.is_ascii_digit() && c != '.')
        .unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    let unit = unit.trim().to_ascii_lowercase();
    let power = match unit.trim_end_matches("ib").trim_end_matches('b') {
        "" => 0,
        "k" => 1,
        "m" => 2,
        "g" => 3,
        "t" => 4,
        "p" => 5,
        _ => return Err(no_size(option, text)),
    };
    let number: f64 = number.parse().map_err(|_| no_size(option, text))?;
    #[expect(clippy::cast_possible_truncation, reason = "a size of a container")]
    Ok((number * 1024_f64.powi(power)) as i64)
}

fn no_size(option: &str, text: &str) -> Failure {
    Failure::new(format!(
        "Failed to convert {option} to bytes: human_to_bytes() can't interpret following string: \
         {text}"
    ))
}

/// Reads `1m30s`, `5s` or `200ms` as nanoseconds.
pub(super) fn nanoseconds(text: &str) -> Result<i64, Failure> {
    let wrong = || Failure::new(format!("Invalid time duration - {text}"));
    let mut rest = text.trim();
    let mut total = 0.0;
    while !rest.is_empty() {
        let end = rest
            .find(|c: char| !c.is_ascii_digit() && c != '.')
            .ok_or_else(wrong)?;
        let number: f64 = rest[..end].parse().map_err(|_| wrong())?;
        rest = &rest[end..];
        let end = rest
            .find(|c: char| c.is_ascii_digit())
            .unwrap_or(rest.len());
        total += number
            * match &rest[..end] {
                "h" => 3.6e12,
                "m" => 6e10,
                "s" => 1e9,
                "ms" => 1e6,
                "us" => 1e3,
                _ => return Err(wrong()),
            };
        rest = &rest[end..];
    }
    #[expect(clippy::cast_possible_truncation, reason = "a duration of a check")]
    Ok(total as i64)
}

/// The ports that are published, and those that are exposed by it.
#[derive(Debug, Default)]
pub(super) struct Ports {
    pub(super) bindings: JsonMap<String, Json>,
    pub(super) exposed: Vec<String>,
}

/// Reads `[IP:][HOST:]CONTAINER[/PROTOCOL]`, each of which may be a range.
pub(super) fn ports(published: &[String], default_ip: &str) -> Result<Ports, Failure> {
    let mut ports = Ports::default();
    for text in published {
        let (text, protocol) = match text.split_once('/') {
            Some((text, protocol)) => (text, protocol.to_lowercase()),
            None => (text.as_str(), "tcp".into()),
        };
        let wrong = || Failure::new(format!("Invalid port description \"{text}\""));
        let (left, container) = match text.rsplit_once(':') {
            Some((left, container)) => (Some(left), container),
            None => (None, text),
        };
        let (ip, host) = match left {
            None => (default_ip, ""),
            Some(left) => match left.rsplit_once(':') {
                Some((ip, host)) => (ip.trim_matches(['[', ']']), host),
                None if left.contains('.') => (left, ""),
                None => (default_ip, left),
            },
        };
        let inside = range(container).ok_or_else(wrong)?;
        let outside = match host {
            "" => vec![String::new(); inside.len()],
            host => range(host).ok_or_else(wrong)?,
        };
        let is_one_of_many = inside.len() == 1 && outside.len() > 1;
        if inside.len() != outside.len() && !is_one_of_many {
            return Err(Failure::new(format!(
                "Port range mismatch in published_ports: \"{text}\""
            )));
        }
        if is_one_of_many {
            let binding = json!({"HostIp": ip, "HostPort": host});
            ports.add(&format!("{}/{protocol}", inside[0]), binding);
            continue;
        }
        for (inside, outside) in inside.iter().zip(outside) {
            let binding = json!({"HostIp": ip, "HostPort": outside});
            ports.add(&format!("{inside}/{protocol}"), binding);
        }
    }
    Ok(ports)
}

impl Ports {
    fn add(&mut self, port: &str, binding: Json) {
        let bindings = self
            .bindings
            .entry(port)
            .or_insert_with(|| Json::Array(Vec::new()));
        if let Json::Array(bindings) = bindings {
            bindings.push(binding);
        }
        if !self.exposed.iter().any(|one| one == port) {
            self.exposed.push(port.to_owned());
        }
    }
}

/// Returns each port of `80` or `8000-8010`.
pub(super) fn range(text: &str) -> Option<Vec<String>> {
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let (first, last): (u16, u16) = (first.trim().parse().ok()?, last.trim().parse().ok()?);
    (first <= last).then(|| (first..=last).map(|port| port.to_string()).collect())
}

/// Returns a value as JSON.
pub(super) fn to_json(value: &Value) -> Json {
    serde_json::to_value(value).unwrap_or_default()
}

/// Returns JSON as a result's value.
pub(super) fn from_json(json: Json) -> Value {
    serde_json::from_value(json).unwrap_or_default()
}

/// Returns a dictionary of texts, as labels and options are.
pub(super) fn texts(map: &Map) -> Json {
    let pairs = map.iter().map(|(key, value)| {
        let text = match value {
            Value::Bool(flag) => flag.to_string(),
            value => value.to_string(),
        };
        (key.to_string(), Json::String(text))
    });
    Json::Object(pairs.collect())
}

/// Returns a field of a dictionary that is given and not null.
pub(super) fn field<'a>(map: &'a Map, name: &str) -> Option<&'a Value> {
    map.get(name).filter(|value| !matches!(value, Value::Null))
}

/// Refuses a dictionary with a key that is none of `known`.
pub(super) fn only(option: &str, map: &Map, known: &[&str]) -> Result<(), Failure> {
    match map
        .keys()
        .map(ToString::to_string)
        .find(|key| !known.contains(&key.as_str()))
    {
        None => Ok(()),
        Some(key) => Err(Failure::new(format!(
            "Unsupported parameters for {option}: {key}. Supported parameters include: {}.",
            known.join(", ")
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_and_durations_are_read() {
        assert_eq!(bytes("memory", "512M"), Ok(512 << 20));
        assert_eq!(bytes("memory", "1.5g"), Ok(3 << 29));
        assert_eq!(bytes("memory", "10"), Ok(10));
        assert_eq!(bytes("memory_swap", "unlimited"), Ok(-1));
        assert!(bytes("memory", "lots").is_err());
        assert_eq!(nanoseconds("1m30s"), Ok(90_000_000_000));
        assert_eq!(nanoseconds("200ms"), Ok(200_000_000));
        assert_eq!(
            nanoseconds("5").unwrap_err().msg,
            "Invalid time duration - 5"
        );
    }

    #[test]
    fn published_ports_have_addresses_and_ranges() {
        let published = [
            "80",
            "8080:80",
            "127.0.0.1:53:53/udp",
            "9000-9001:7000-7001",
            "[::1]:443:443",
        ];
        let ports = ports(&published.map(str::to_owned), "0.0.0.0").unwrap();
        assert_eq!(
            Json::Object(ports.bindings).to_string(),
            r#"{"80/tcp":[{"HostIp":"0.0.0.0","HostPort":""},{"HostIp":"0.0.0.0","HostPort":"8080"}],"53/udp":[{"HostIp":"127.0.0.1","HostPort":"53"}],"7000/tcp":[{"HostIp":"0.0.0.0","HostPort":"9000"}],"7001/tcp":[{"HostIp":"0.0.0.0","HostPort":"9001"}],"443/tcp":[{"HostIp":"::1","HostPort":"443"}]}"#
        );
        assert_eq!(
            ports.exposed,
            ["80/tcp", "53/udp", "7000/tcp", "7001/tcp", "443/tcp"]
        );
        assert_eq!(
            super::ports(&["1-2:3".to_owned()], "").map(|it| it.exposed),
            Ok(vec!["3/tcp".to_owned()])
        );
        assert!(super::ports(&["1:2-3".to_owned()], "").is_err());
    }
}
