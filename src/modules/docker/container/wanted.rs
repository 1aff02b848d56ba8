//! What a container should be like: from options to the daemon's words, and where it differs.

use serde_json::{Map as JsonMap, Value as Json, json};

use super::DockerContainerArgs;
use super::mounts::{bind, mount};
use super::process::{command, entrypoint, environment, health};
use crate::machine::Machine;
use crate::modules::Failure;
use crate::modules::docker::values::{bytes, field, only, ports, range, texts, to_json};
use crate::value::{Map, Value};

/// How what is there is compared with what is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Comparison {
    Ignore,
    Strict,
    AllowMore,
}

/// One thing about a container.
#[derive(Clone, Debug)]
pub(super) struct Wanted {
    pub(super) option: &'static str,
    /// In `HostConfig`, rather than beside it.
    pub(super) of_host: bool,
    pub(super) key: &'static str,
    pub(super) value: Json,
    /// The order of a list means nothing.
    is_set: bool,
    pub(super) comparison: Comparison,
    /// A running container can be given it.
    pub(super) updates: bool,
}

impl Wanted {
    /// Returns what the container has instead; `None` when it is as wanted.
    pub(super) fn difference<'a>(&self, container: &'a Json) -> Option<&'a Json> {
        const NOTHING: &Json = &Json::Null;
        let place = if self.of_host { "HostConfig" } else { "Config" };
        let found = container
            .get(place)
            .and_then(|place| place.get(self.key))
            .unwrap_or(NOTHING);
        let is_same = self.comparison == Comparison::Ignore
            || self.is_default_network(found)
            || same(&self.value, found, self.comparison, self.is_set);
        (!is_same).then_some(found)
    }

    /// The network that is called `default` became known as `bridge`.
    fn is_default_network(&self, found: &Json) -> bool {
        let is_default = |json: &Json| matches!(json.as_str(), Some("default" | "bridge"));
        self.key == "NetworkMode" && is_default(&self.value) && is_default(found)
    }
}

fn same(wanted: &Json, found: &Json, comparison: Comparison, is_set: bool) -> bool {
    if is_empty(wanted) && is_empty(found) {
        return true;
    }
    let more = comparison == Comparison::AllowMore;
    match (wanted, found) {
        (Json::Object(wanted), Json::Object(found)) => {
            let has = wanted.iter().all(|(key, value)| {
                same(
                    value,
                    found.get(key).unwrap_or(&Json::Null),
                    comparison,
                    false,
                )
            });
            has && (more
                || found
                    .iter()
                    .all(|(key, it)| wanted.contains_key(key) || is_empty(it)))
        }
        (Json::Array(wanted), Json::Array(found)) if is_set => {
            let has = |list: &[Json], one: &Json| {
                list.iter().any(|other| same(one, other, comparison, false))
            };
            wanted.iter().all(|one| has(found, one))
                && (more
                    || found
                        .iter()
                        .all(|one| wanted.iter().any(|it| same(it, one, comparison, false))))
        }
        (Json::Array(wanted), Json::Array(found)) if more => {
            // The wanted ones in their order, others between them.
            let mut rest = found.iter();
            wanted
                .iter()
                .all(|one| rest.any(|other| same(one, other, comparison, false)))
        }
        (Json::Array(wanted), Json::Array(found)) => {
            wanted.len() == found.len()
                && wanted
                    .iter()
                    .zip(found)
                    .all(|(one, other)| same(one, other, comparison, false))
        }
        (Json::Number(wanted), Json::Number(found)) => wanted.as_f64() == found.as_f64(),
        _ => wanted == found,
    }
}

fn is_empty(json: &Json) -> bool {
    match json {
        Json::Null | Json::Bool(false) => true,
        Json::Number(number) => number.as_f64() == Some(0.0),
        Json::String(text) => text.is_empty(),
        Json::Array(list) => list.is_empty(),
        Json::Object(map) => map.is_empty(),
        Json::Bool(true) => false,
    }
}

/// Gathers what is wanted.
struct Gathered<'a> {
    args: &'a DockerContainerArgs,
    wanted: Vec<Wanted>,
}

/// Returns all that the options want of the container.
pub(super) fn wanted(
    machine: &mut Machine,
    args: &DockerContainerArgs,
    image: Option<&Json>,
) -> Result<Vec<Wanted>, Failure> {
    let mut gathered = Gathered {
        args,
        wanted: Vec::new(),
    };
    gathered.process(machine, image)?;
    gathered.limits()?;
    gathered.network()?;
    gathered.storage(machine)?;
    gathered.behaviour()?;
    gathered.compare()?;
    Ok(gathered.wanted)
}

/// Options whose present values may have more than is wanted, unless told otherwise.
const COLLECTIONS: [&str; 31] = [
    "capabilities",
    "cap_drop",
    "devices",
    "device_read_bps",
    "device_write_bps",
    "device_read_iops",
    "device_write_iops",
    "device_requests",
    "device_cgroup_rules",
    "dns_opts",
    "env",
    "etc_hosts",
    "exposed_ports",
    "groups",
    "labels",
    "links",
    "log_options",
    "mounts",
    "networks",
    "published_ports",
    "security_opts",
    "storage_opts",
    "sysctls",
    "tmpfs",
    "ulimits",
    "volumes",
    "volumes_from",
    "expected_ports",
    "healthcheck_parts",
    "dns_names",
    "anonymous_volumes",
];
/// Of those lists the order does mean something.
const ORDERED: [&str; 5] = [
    "command",
    "entrypoint",
    "dns_servers",
    "dns_search_domains",
    "test",
];

impl Gathered<'_> {
    fn put(&mut self, option: &'static str, of_host: bool, key: &'static str, value: Json) {
        self.wanted.push(Wanted {
            option,
            of_host,
            key,
            value,
            is_set: !ORDERED.contains(&option),
            comparison: if COLLECTIONS.contains(&option) {
                Comparison::AllowMore
            } else {
                Comparison::Strict
            },
            updates: false,
        });
    }

    fn config(&mut self, option: &'static str, key: &'static str, value: Option<Json>) {
        if let Some(value) = value {
            self.put(option, false, key, value);
        }
    }

    fn host(&mut self, option: &'static str, key: &'static str, value: Option<Json>) {
        if let Some(value) = value {
            self.put(option, true, key, value);
        }
    }

    fn process(&mut self, machine: &mut Machine, image: Option<&Json>) -> Result<(), Failure> {
        let args = self.args;
        self.config("command", "Cmd", command(args)?);
        self.config("entrypoint", "Entrypoint", entrypoint(args));
        self.config("user", "User", args.user.clone().map(Json::from));
        self.config(
            "working_dir",
            "WorkingDir",
            args.working_dir.clone().map(Json::from),
        );
        self.config(
            "hostname",
            "Hostname",
            args.hostname.clone().map(Json::from),
        );
        self.config(
            "domainname",
            "Domainname",
            args.domainname.clone().map(Json::from),
        );
        self.config(
            "stop_signal",
            "StopSignal",
            args.stop_signal.clone().map(Json::from),
        );
        self.config(
            "stop_timeout",
            "StopTimeout",
            args.stop_timeout.map(Json::from),
        );
        self.config("labels", "Labels", args.labels.as_ref().map(texts));
        let default = args.default_behaviour();
        self.config("tty", "Tty", args.tty.or(default).map(Json::from));
        let interactive = args.interactive.or(default);
        self.config("interactive", "OpenStdin", interactive.map(Json::from));
        if let Some(detach) = args.detach.or(default.map(|_| true)) {
            self.config("detach", "AttachStdout", Some((!detach).into()));
            self.config("detach", "AttachStderr", Some((!detach).into()));
            if interactive == Some(true) {
                self.config("interactive", "AttachStdin", Some((!detach).into()));
                self.config("interactive", "StdinOnce", Some((!detach).into()));
            }
        }
        let env = environment(machine, args, image)?;
        self.config("env", "Env", env);
        self.config("healthcheck", "Healthcheck", health(args)?);
        self.host("init", "Init", args.init.or(default).map(Json::from));
        self.host(
            "privileged",
            "Privileged",
            args.privileged.or(default).map(Json::from),
        );
        self.host(
            "read_only",
            "ReadonlyRootfs",
            args.read_only.or(default).map(Json::from),
        );
        self.host(
            "auto_remove",
            "AutoRemove",
            args.auto_remove.or(default).map(Json::from),
        );
        Ok(())
    }

    fn limits(&mut self) -> Result<(), Failure> {
        let args = self.args;
        let first = self.wanted.len();
        self.host(
            "blkio_weight",
            "BlkioWeight",
            args.blkio_weight.map(Json::from),
        );
        self.host("cpu_period", "CpuPeriod", args.cpu_period.map(Json::from));
        self.host("cpu_quota", "CpuQuota", args.cpu_quota.map(Json::from));
        self.host("cpu_shares", "CpuShares", args.cpu_shares.map(Json::from));
        self.host(
            "cpuset_cpus",
            "CpusetCpus",
            args.cpuset_cpus.clone().map(Json::from),
        );
        self.host(
            "cpuset_mems",
            "CpusetMems",
            args.cpuset_mems.clone().map(Json::from),
        );
        let zero = args.default_behaviour().map(|_| "0".to_owned());
        for (option, key, text) in [
            ("kernel_memory", "KernelMemory", args.kernel_memory.clone()),
            ("memory", "Memory", args.memory.clone().or(zero)),
            (
                "memory_reservation",
                "MemoryReservation",
                args.memory_reservation.clone(),
            ),
            ("memory_swap", "MemorySwap", args.memory_swap.clone()),
        ] {
            let size = text.map(|text| bytes(option, &text)).transpose()?;
            self.host(option, key, size.map(Json::from));
        }
        if let Some(policy) = &args.restart_policy {
            let retries = args.restart_retries.unwrap_or(0);
            let policy = json!({"Name": policy, "MaximumRetryCount": retries});
            self.host("restart_policy", "RestartPolicy", Some(policy));
        }
        for wanted in &mut self.wanted[first..] {
            wanted.updates = true;
        }
        #[expect(clippy::cast_possible_truncation, reason = "a number of processors")]
        let cpus = args.cpus.map(|cpus| (cpus * 1e9).round() as i64);
        self.host("cpus", "NanoCpus", cpus.map(Json::from));
        self.host(
            "memory_swappiness",
            "MemorySwappiness",
            args.memory_swappiness.map(Json::from),
        );
        self.host(
            "oom_killer",
            "OomKillDisable",
            args.oom_killer.map(Json::from),
        );
        self.host(
            "oom_score_adj",
            "OomScoreAdj",
            args.oom_score_adj.map(Json::from),
        );
        self.host("pids_limit", "PidsLimit", args.pids_limit.map(Json::from));
        let size = args.shm_size.as_deref();
        let size = size.map(|size| bytes("shm_size", size)).transpose()?;
        self.host("shm_size", "ShmSize", size.map(Json::from));
        let ulimits = args.ulimits.as_deref();
        let ulimits = ulimits.map(|list| list.iter().map(|one| ulimit(one)).collect());
        let ulimits: Option<Result<Vec<_>, _>> = ulimits;
        self.host("ulimits", "Ulimits", ulimits.transpose()?.map(Json::from));
        for (option, key, rates, is_size) in [
            (
                "device_read_bps",
                "BlkioDeviceReadBps",
                &args.device_read_bps,
                true,
            ),
            (
                "device_write_bps",
                "BlkioDeviceWriteBps",
                &args.device_write_bps,
                true,
            ),
            (
                "device_read_iops",
                "BlkioDeviceReadIOps",
                &args.device_read_iops,
                false,
            ),
            (
                "device_write_iops",
                "BlkioDeviceWriteIOps",
                &args.device_write_iops,
                false,
            ),
        ] {
            let Some(rates) = rates else { continue };
            let mut list = Vec::new();
            for rate in rates {
                only(option, rate, &["path", "rate"])?;
                let text = |name: &str| field(rate, name).map(Value::to_string).unwrap_or_default();
                let amount = if is_size {
                    bytes(option, &text("rate"))?
                } else {
                    text("rate").parse().unwrap_or(0)
                };
                list.push(json!({"Path": text("path"), "Rate": amount}));
            }
            self.host(option, key, Some(list.into()));
        }
        Ok(())
    }

    fn network(&mut self) -> Result<(), Failure> {
        let args = self.args;
        let first = args
            .networks
            .as_deref()
            .unwrap_or_default()
            .first()
            .and_then(|network| field(network, "name").map(Value::to_string))
            .filter(|_| args.networks_cli_compatible);
        let mode = args.network_mode.clone().or(first);
        self.host("network_mode", "NetworkMode", mode.map(Json::from));
        self.config(
            "mac_address",
            "MacAddress",
            args.mac_address.clone().map(Json::from),
        );
        self.host(
            "dns_servers",
            "Dns",
            args.dns_servers.clone().map(Json::from),
        );
        self.host(
            "dns_opts",
            "DnsOptions",
            args.dns_opts.clone().map(Json::from),
        );
        let domains = args.dns_search_domains.clone();
        self.host("dns_search_domains", "DnsSearch", domains.map(Json::from));
        let hosts = args.etc_hosts.as_ref().map(|hosts| {
            let lines = hosts
                .iter()
                .map(|(name, address)| format!("{name}:{address}"));
            Json::from(lines.collect::<Vec<_>>())
        });
        self.host("etc_hosts", "ExtraHosts", hosts);
        let links = args.links.as_ref().map(|links| {
            let pairs = links.iter().map(|link| match link.split_once(':') {
                Some(_) => link.clone(),
                None => format!("{link}:{link}"),
            });
            Json::from(pairs.collect::<Vec<_>>())
        });
        self.host("links", "Links", links);
        let mut exposed = Vec::new();
        if let Some(published) = &args.published_ports {
            let ip = args.default_host_ip.as_deref().unwrap_or("0.0.0.0");
            let ports = ports(published, ip)?;
            self.host(
                "published_ports",
                "PortBindings",
                Some(ports.bindings.into()),
            );
            exposed.extend(ports.exposed);
        }
        for port in args.exposed_ports.iter().flatten() {
            let (port, protocol) = port.split_once('/').unwrap_or((port, "tcp"));
            let numbers = range(port)
                .ok_or_else(|| Failure::new(format!("Invalid port description \"{port}\"")))?;
            exposed.extend(numbers.iter().map(|number| format!("{number}/{protocol}")));
        }
        if args.published_ports.is_some() || args.exposed_ports.is_some() {
            let ports: JsonMap<_, _> = exposed.into_iter().map(|port| (port, json!({}))).collect();
            self.config("exposed_ports", "ExposedPorts", Some(ports.into()));
        }
        let all = args.publish_all_ports;
        self.host("publish_all_ports", "PublishAllPorts", all.map(Json::from));
        Ok(())
    }

    fn storage(&mut self, machine: &mut Machine) -> Result<(), Failure> {
        let args = self.args;
        if let Some(volumes) = &args.volumes {
            let (mut binds, mut anonymous) = (Vec::new(), JsonMap::new());
            for volume in volumes {
                match bind(machine, volume)? {
                    Some(bind) => binds.push(bind),
                    None => {
                        anonymous.insert(volume.clone(), json!({}));
                    }
                }
            }
            self.host("volumes", "Binds", Some(binds.into()));
            if !anonymous.is_empty() {
                self.config("anonymous_volumes", "Volumes", Some(anonymous.into()));
            }
        }
        if let Some(mounts) = &args.mounts {
            let mounts: Result<Vec<_>, _> = mounts.iter().map(mount).collect();
            self.host("mounts", "Mounts", Some(mounts?.into()));
        }
        let tmpfs = args.tmpfs.as_ref().map(|list| {
            let pairs = list.iter().map(|one| match one.split_once(':') {
                Some((path, options)) => (path.to_owned(), options.into()),
                None => (one.clone(), "".into()),
            });
            Json::Object(pairs.collect())
        });
        self.host("tmpfs", "Tmpfs", tmpfs);
        self.host(
            "volume_driver",
            "VolumeDriver",
            args.volume_driver.clone().map(Json::from),
        );
        self.host(
            "volumes_from",
            "VolumesFrom",
            args.volumes_from.clone().map(Json::from),
        );
        self.host(
            "storage_opts",
            "StorageOpt",
            args.storage_opts.as_ref().map(texts),
        );
        Ok(())
    }

    fn behaviour(&mut self) -> Result<(), Failure> {
        let args = self.args;
        self.host(
            "capabilities",
            "CapAdd",
            args.capabilities.clone().map(Json::from),
        );
        self.host("cap_drop", "CapDrop", args.cap_drop.clone().map(Json::from));
        self.host(
            "cgroupns_mode",
            "CgroupnsMode",
            args.cgroupns_mode.clone().map(Json::from),
        );
        self.host(
            "cgroup_parent",
            "CgroupParent",
            args.cgroup_parent.clone().map(Json::from),
        );
        let rules = args.device_cgroup_rules.clone();
        self.host(
            "device_cgroup_rules",
            "DeviceCgroupRules",
            rules.map(Json::from),
        );
        self.host("groups", "GroupAdd", args.groups.clone().map(Json::from));
        self.host("ipc_mode", "IpcMode", args.ipc_mode.clone().map(Json::from));
        self.host("pid_mode", "PidMode", args.pid_mode.clone().map(Json::from));
        self.host("runtime", "Runtime", args.runtime.clone().map(Json::from));
        self.host(
            "security_opts",
            "SecurityOpt",
            args.security_opts.clone().map(Json::from),
        );
        self.host("sysctls", "Sysctls", args.sysctls.as_ref().map(texts));
        self.host(
            "userns_mode",
            "UsernsMode",
            args.userns_mode.clone().map(Json::from),
        );
        self.host("uts", "UTSMode", args.uts.clone().map(Json::from));
        let devices = args.devices.as_ref().map(|list| {
            let devices = list.iter().map(|one| {
                let mut parts = one.splitn(3, ':');
                let path = parts.next().unwrap_or_default();
                json!({
                    "PathOnHost": path,
                    "PathInContainer": parts.next().unwrap_or(path),
                    "CgroupPermissions": parts.next().unwrap_or("rwm"),
                })
            });
            Json::from(devices.collect::<Vec<_>>())
        });
        self.host("devices", "Devices", devices);
        let requests = args.device_requests.as_deref();
        let requests = requests.map(|list| list.iter().map(device_request).collect());
        let requests: Option<Result<Vec<_>, _>> = requests;
        self.host(
            "device_requests",
            "DeviceRequests",
            requests.transpose()?.map(Json::from),
        );
        if args.log_driver.is_some() || args.log_options.is_some() {
            let mut log = JsonMap::new();
            if let Some(driver) = &args.log_driver {
                log.insert("Type".into(), driver.as_str().into());
            }
            if let Some(options) = &args.log_options {
                log.insert("Config".into(), texts(options));
            }
            // A driver that is named compares as such, options may be more.
            self.host("log_options", "LogConfig", Some(log.into()));
        }
        Ok(())
    }

    /// Follows `comparisons`.
    fn compare(&mut self) -> Result<(), Failure> {
        let Some(comparisons) = &self.args.comparisons else {
            return Ok(());
        };
        let read = |value: &Value| match value.to_string().as_str() {
            "ignore" => Ok(Comparison::Ignore),
            "strict" => Ok(Comparison::Strict),
            "allow_more_present" => Ok(Comparison::AllowMore),
            other => Err(Failure::new(format!("Unknown comparison mode '{other}'!"))),
        };
        if let Some(all) = field(comparisons, "*") {
            let all = read(all)?;
            if all == Comparison::AllowMore {
                return Err(Failure::new(
                    "The wildcard can only be used with comparison modes 'strict' and 'ignore'!",
                ));
            }
            for wanted in &mut self.wanted {
                wanted.comparison = all;
            }
        }
        for (option, mode) in comparisons {
            let option = option.to_string();
            if option == "*" {
                continue;
            }
            if DockerContainerArgs::SPEC.parameter(&option).is_none() {
                return Err(Failure::new(format!(
                    "Unknown module option '{option}' in comparisons dict!"
                )));
            }
            let mode = read(mode)?;
            for wanted in &mut self.wanted {
                let is_it = wanted.option == option
                    || (option == "volumes" && wanted.option == "anonymous_volumes")
                    || (option == "log_driver" && wanted.option == "log_options");
                if is_it {
                    wanted.comparison = mode;
                }
            }
        }
        Ok(())
    }
}

fn ulimit(text: &str) -> Result<Json, Failure> {
    let mut parts = text.split(':');
    let name = parts.next().unwrap_or_default();
    let mut number = |default: Option<i64>| match parts.next() {
        None => default.ok_or(()),
        Some(text) => text.parse().map_err(|_| ()),
    };
    let wrong = |()| Failure::new(format!("Error parsing ulimits value \"{text}\""));
    let soft = number(None).map_err(wrong)?;
    let hard = number(Some(soft)).map_err(wrong)?;
    Ok(json!({"Name": name, "Soft": soft, "Hard": hard}))
}

/// Returns `SOURCE:TARGET:MODE`; `None` for a volume without a name.
fn device_request(given: &Map) -> Result<Json, Failure> {
    only(
        "device_requests",
        given,
        &["capabilities", "count", "device_ids", "driver", "options"],
    )?;
    let mut request =
        json!({"Driver": "", "Count": 0, "DeviceIDs": [], "Capabilities": [], "Options": {}});
    for (name, key) in [
        ("driver", "Driver"),
        ("count", "Count"),
        ("device_ids", "DeviceIDs"),
        ("capabilities", "Capabilities"),
        ("options", "Options"),
    ] {
        if let Some(value) = field(given, name) {
            request[key] = to_json(value);
        }
    }
    Ok(request)
}

/// Puts together what a new container is made of.
pub(super) fn body(wanted: &[Wanted], image: &str) -> Json {
    let (mut config, mut host) = (JsonMap::new(), JsonMap::new());
    for one in wanted {
        let place = if one.of_host { &mut host } else { &mut config };
        place.insert(one.key.into(), one.value.clone());
    }
    config.insert("Image".into(), image.into());
    config.insert("HostConfig".into(), host.into());
    config.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_there_may_be_more_unless_it_is_compared_strictly() {
        let (more, strict) = (Comparison::AllowMore, Comparison::Strict);
        for (wanted, found, comparison, is_same) in [
            (json!(["a"]), json!(["b", "a"]), more, true),
            (json!(["a"]), json!(["b", "a"]), strict, false),
            (json!({"a": "1"}), json!({"a": "1", "b": "2"}), more, true),
            (
                json!({"a": "1"}),
                json!({"a": "1", "b": "2"}),
                strict,
                false,
            ),
            (json!({"a": "1"}), json!({"a": "2"}), more, false),
            (json!(0), Json::Null, strict, true),
            (json!([]), Json::Null, strict, true),
            (json!("x"), Json::Null, strict, false),
        ] {
            assert_eq!(
                same(&wanted, &found, comparison, true),
                is_same,
                "{wanted} {found}"
            );
        }
        assert!(!same(&json!(["a", "b"]), &json!(["b", "a"]), strict, false));
    }

    #[test]
    fn limits_and_mounts_are_read() {
        assert_eq!(
            ulimit("nofile:1:2"),
            Ok(json!({"Name": "nofile", "Soft": 1, "Hard": 2}))
        );
        assert!(ulimit("nofile").is_err());
        let given: Value = serde_json::from_str(
            r#"{"target": "/d", "type": "tmpfs", "tmpfs_size": "1k", "tmpfs_mode": "1777"}"#,
        )
        .unwrap();
        assert_eq!(
            mount(given.as_map().unwrap()),
            Ok(
                json!({"Target": "/d", "Type": "tmpfs", "TmpfsOptions": {"SizeBytes": 1024, "Mode": 0o1777}})
            )
        );
        let wrong: Value = serde_json::from_str(r#"{"targt": "/d"}"#).unwrap();
        assert!(
            mount(wrong.as_map().unwrap())
                .unwrap_err()
                .msg
                .contains("targt")
        );
    }
}
