//! Facts about the hardware: processors, memory, firmware, block devices, uptime.

use std::collections::BTreeSet;

use super::{Gathering, mounts};
use crate::value::{Map, Value};

/// Gathers everything about the hardware.
pub(super) fn gather(to: &mut Gathering<'_>) {
    processors(to);
    memory(to);
    firmware(to);
    devices(to);
    mounts::gather(to);
    if let Some(text) = to.line("/proc/uptime") {
        let seconds = text
            .split('.')
            .next()
            .and_then(|whole| whole.parse::<i64>().ok());
        to.set("uptime_seconds", seconds);
    }
    to.set("lvm", "N/A");
}

fn processors(to: &mut Gathering<'_>) {
    let text = to.text("/proc/cpuinfo").unwrap_or_default();
    let mut listed: Vec<Value> = Vec::new();
    let mut sockets = BTreeSet::new();
    let (mut cores, mut siblings, mut n_processors) = (1_usize, 1_usize, 0_usize);
    let mut flags: Vec<Value> = Vec::new();
    for (key, value) in text.lines().filter_map(|line| line.split_once(':')) {
        let value = value.trim();
        match key.trim() {
            "processor" => {
                n_processors += 1;
                listed.push(value.into());
            }
            "vendor_id" | "model name" | "Processor" => listed.push(value.into()),
            "physical id" => {
                sockets.insert(value.to_owned());
            }
            "cpu cores" => cores = value.parse().unwrap_or(1),
            "siblings" => siblings = value.parse().unwrap_or(1),
            "flags" if flags.is_empty() => {
                flags = value.split_whitespace().map(Value::from).collect();
            }
            _ => {}
        }
    }
    let count = if sockets.is_empty() {
        n_processors.max(1)
    } else {
        sockets.len()
    };
    let threads = siblings.checked_div(cores).unwrap_or(1).max(1);
    to.set("processor", listed);
    to.set("processor_count", count);
    to.set("processor_cores", cores);
    to.set("processor_threads_per_core", threads);
    to.set("processor_vcpus", count * cores * threads);
    let usable = std::thread::available_parallelism().map_or(n_processors, usize::from);
    to.set("processor_nproc", usable);
    if !flags.is_empty() {
        to.set("flags", flags);
    }
}

fn memory(to: &mut Gathering<'_>) {
    let text = to.text("/proc/meminfo").unwrap_or_default();
    let megabytes = |name: &str| -> i64 {
        text.lines()
            .filter_map(|line| line.split_once(':'))
            .find(|(key, _)| *key == name)
            .and_then(|(_, value)| value.split_whitespace().next()?.parse::<i64>().ok())
            .unwrap_or(0)
            / 1024
    };
    let (total, free) = (megabytes("MemTotal"), megabytes("MemFree"));
    let (swap_total, swap_free) = (megabytes("SwapTotal"), megabytes("SwapFree"));
    let free_without_cache = free + megabytes("Cached") + megabytes("Buffers");
    to.set("memtotal_mb", total);
    to.set("memfree_mb", free);
    to.set("swaptotal_mb", swap_total);
    to.set("swapfree_mb", swap_free);
    to.set(
        "memory_mb",
        Value::map([
            (
                "real",
                Value::map([("total", total), ("used", total - free), ("free", free)]),
            ),
            (
                "nocache",
                Value::map([
                    ("free", free_without_cache),
                    ("used", total - free_without_cache),
                ]),
            ),
            (
                "swap",
                Value::map([
                    ("total", swap_total),
                    ("free", swap_free),
                    ("used", swap_total - swap_free),
                    ("cached", megabytes("SwapCached")),
                ]),
            ),
        ]),
    );
}

fn firmware(to: &mut Gathering<'_>) {
    const FIELDS: [(&str, &str); 19] = [
        ("bios_date", "bios_date"),
        ("bios_vendor", "bios_vendor"),
        ("bios_version", "bios_version"),
        ("board_asset_tag", "board_asset_tag"),
        ("board_name", "board_name"),
        ("board_serial", "board_serial"),
        ("board_vendor", "board_vendor"),
        ("board_version", "board_version"),
        ("chassis_asset_tag", "chassis_asset_tag"),
        ("chassis_serial", "chassis_serial"),
        ("chassis_vendor", "chassis_vendor"),
        ("chassis_version", "chassis_version"),
        ("form_factor", "chassis_type"),
        ("product_name", "product_name"),
        ("product_serial", "product_serial"),
        ("product_uuid", "product_uuid"),
        ("product_version", "product_version"),
        ("system_vendor", "sys_vendor"),
        ("bios_release", "bios_release"),
    ];
    for (fact, file) in FIELDS.iter().filter(|(fact, _)| *fact != "bios_release") {
        let value = to.line(&format!("/sys/devices/virtual/dmi/id/{file}"));
        let value = match (value, *fact) {
            (None, _) => "NA".to_owned(),
            (Some(number), "form_factor") => form_factor(&number).to_owned(),
            (Some(text), _) => text,
        };
        to.set(fact, value);
    }
}

/// Returns what SMBIOS calls a chassis of this number.
fn form_factor(number: &str) -> &'static str {
    const NAMES: [&str; 37] = [
        "Unknown",
        "Other",
        "Unknown",
        "Desktop",
        "Low Profile Desktop",
        "Pizza Box",
        "Mini Tower",
        "Tower",
        "Portable",
        "Laptop",
        "Notebook",
        "Hand Held",
        "Docking Station",
        "All In One",
        "Sub Notebook",
        "Space-saving",
        "Lunch Box",
        "Main Server Chassis",
        "Expansion Chassis",
        "Sub Chassis",
        "Bus Expansion Chassis",
        "Peripheral Chassis",
        "RAID Chassis",
        "Rack Mount Chassis",
        "Sealed-case PC",
        "Multi-system",
        "CompactPCI",
        "AdvancedTCA",
        "Blade",
        "Blade Enclosure",
        "Tablet",
        "Convertible",
        "Detachable",
        "IoT Gateway",
        "Embedded PC",
        "Mini PC",
        "Stick PC",
    ];
    number
        .parse::<usize>()
        .ok()
        .and_then(|index| NAMES.get(index).copied())
        .unwrap_or("Unknown")
}

fn devices(to: &mut Gathering<'_>) {
    let links = device_links(to);
    let mut devices = Map::new();
    for name in to.names("/sys/block") {
        let base = format!("/sys/block/{name}");
        let mut device = Map::new();
        // Ansible calls a device real only where `/sys/block` holds no links, as kernels before 2.6.
        let is_link = to.machine.read_link(std::path::Path::new(&base)).is_ok();
        let is_real = !is_link && to.names(&base).iter().any(|file| file.contains("device"));
        device.insert("virtual".into(), i64::from(!is_real).into());
        device.insert("links".into(), links_of(&links, &name));
        for key in ["vendor", "model", "sas_address", "sas_device_handle"] {
            device.insert(key.into(), to.line(&format!("{base}/device/{key}")).into());
        }
        for (key, file) in [
            ("removable", "removable"),
            ("support_discard", "queue/discard_granularity"),
            ("rotational", "queue/rotational"),
        ] {
            if let Some(value) = to.line(&format!("{base}/{file}")) {
                device.insert(key.into(), value.into());
            }
        }
        device.insert("partitions".into(), partitions(to, &base, &name, &links));
        let scheduler = to
            .line(&format!("{base}/queue/scheduler"))
            .unwrap_or_default();
        let chosen = scheduler.split(['[', ']']).nth(1).unwrap_or_default();
        device.insert("scheduler_mode".into(), chosen.into());
        let sectors = sectors_of(to, &base);
        let sector_size = sector_size_of(to, &base);
        device.insert("sectors".into(), sectors.into());
        device.insert("sectorsize".into(), sector_size.to_string().into());
        device.insert("size".into(), human_size(sectors * 512).into());
        device.insert("host".into(), "".into());
        device.insert(
            "holders".into(),
            Value::list(to.names(&format!("{base}/holders"))),
        );
        devices.insert(name.into(), device.into());
    }
    to.set("devices", devices);
    to.set("device_links", links);
}

fn sectors_of(to: &mut Gathering<'_>, base: &str) -> u64 {
    to.line(&format!("{base}/size"))
        .and_then(|text| text.parse().ok())
        .unwrap_or(0)
}

fn sector_size_of(to: &mut Gathering<'_>, base: &str) -> u64 {
    to.line(&format!("{base}/queue/logical_block_size"))
        .and_then(|text| text.parse().ok())
        .unwrap_or(512)
}

fn partitions(to: &mut Gathering<'_>, base: &str, disk: &str, links: &Map) -> Value {
    let mut partitions = Map::new();
    for name in to
        .names(base)
        .into_iter()
        .filter(|name| name.starts_with(disk))
    {
        let path = format!("{base}/{name}");
        if !to.exists(&format!("{path}/partition")) {
            continue;
        }
        let sectors = sectors_of(to, &path);
        let start = to
            .line(&format!("{path}/start"))
            .unwrap_or_else(|| "0".into());
        let uuid = links_of(links, &name);
        let uuid = uuid
            .get("uuids")
            .and_then(Value::as_list)
            .and_then(<[_]>::first)
            .cloned();
        let sector_size = sector_size_of(to, base);
        let partition = [
            ("links", links_of(links, &name)),
            ("start", start.into()),
            ("sectors", sectors.into()),
            ("sectorsize", sector_size.into()),
            ("size", human_size(sectors * 512).into()),
            ("uuid", uuid.unwrap_or_default()),
            ("holders", Value::list(to.names(&format!("{path}/holders")))),
        ];
        partitions.insert(name.into(), Value::map(partition));
    }
    partitions.into()
}

/// Returns, by kind of link, each device's names under /dev/disk.
fn device_links(to: &mut Gathering<'_>) -> Map {
    let mut all = Map::new();
    for (kind, directory) in [
        ("ids", "by-id"),
        ("uuids", "by-uuid"),
        ("labels", "by-label"),
    ] {
        let directory = format!("/dev/disk/{directory}");
        let mut by_device = Map::new();
        for name in to.names(&directory) {
            let link = to
                .machine
                .read_link(std::path::Path::new(&format!("{directory}/{name}")));
            let Some(device) = link.ok().and_then(|target| {
                target
                    .file_name()
                    .map(|name| name.to_string_lossy().into_owned())
            }) else {
                continue;
            };
            let mut names: Vec<Value> = by_device
                .get(device.as_str())
                .and_then(Value::as_list)
                .unwrap_or_default()
                .to_vec();
            names.push(name.into());
            by_device.insert(device.into(), names.into());
        }
        all.insert(kind.into(), by_device.into());
    }
    let mut masters = Map::new();
    for block in to.names("/sys/block") {
        for slave in to.names(&format!("/sys/block/{block}/slaves")) {
            let mut names: Vec<Value> = masters
                .get(slave.as_str())
                .and_then(Value::as_list)
                .unwrap_or_default()
                .to_vec();
            names.push(block.as_str().into());
            masters.insert(slave.into(), names.into());
        }
    }
    all.insert("masters".into(), masters.into());
    all
}

fn links_of(links: &Map, device: &str) -> Value {
    Value::map(["ids", "uuids", "labels", "masters"].map(|kind| {
        let found = links
            .get(kind)
            .and_then(|by_device| by_device.get(device))
            .cloned();
        (
            kind,
            found.unwrap_or_else(|| Value::list(Vec::<Value>::new())),
        )
    }))
}

/// Returns a size as Ansible writes it: `10.00 GB`.
fn human_size(bytes: u64) -> String {
    const UNITS: [(&str, u64); 5] = [
        ("TB", 1 << 40),
        ("GB", 1 << 30),
        ("MB", 1 << 20),
        ("KB", 1 << 10),
        ("Bytes", 1),
    ];
    let (unit, factor) = UNITS
        .into_iter()
        .find(|(_, factor)| bytes >= *factor)
        .unwrap_or(("Bytes", 1));
    #[expect(clippy::cast_precision_loss, reason = "two digits are shown")]
    let number = bytes as f64 / factor as f64;
    format!("{number:.2} {unit}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_written_with_two_digits() {
        assert_eq!(human_size(10 * 1024 * 1024 * 1024), "10.00 GB");
        assert_eq!(human_size(512), "512.00 Bytes");
        assert_eq!(human_size(0), "0.00 Bytes");
    }
}
