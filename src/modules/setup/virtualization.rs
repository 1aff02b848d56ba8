//! Facts about what the target runs in, and what runs on it.

use std::collections::BTreeSet;

use super::Gathering;
use crate::value::Value;

/// Gathers the kind of virtualization, as guest or as host.
pub(super) fn gather(to: &mut Gathering<'_>) {
    let (guest, host) = (guest_technologies(to), host_technologies(to));
    let (kind, role) = match (guest.first(), host.first()) {
        (Some(kind), _) => (*kind, "guest"),
        (None, Some(kind)) => (*kind, "host"),
        (None, None) => ("NA", "NA"),
    };
    to.set("virtualization_type", kind);
    to.set("virtualization_role", role);
    let sorted = |list: Vec<&'static str>| {
        Value::list(
            list.into_iter()
                .collect::<BTreeSet<_>>()
                .into_iter()
                .map(Value::from),
        )
    };
    to.set("virtualization_tech_guest", sorted(guest));
    to.set("virtualization_tech_host", sorted(host));
}

/// Lists what the target is a guest of, the innermost first.
fn guest_technologies(to: &mut Gathering<'_>) -> Vec<&'static str> {
    let mut found = Vec::new();
    if to.exists("/.dockerenv") || to.exists("/.dockerinit") {
        found.extend(["docker", "container"]);
    }
    if to.exists("/run/.containerenv") {
        found.extend(["podman", "container"]);
    }
    let groups = to.text("/proc/1/cgroup").unwrap_or_default();
    for (mark, name) in [
        ("/docker/", "docker"),
        ("/docker-", "docker"),
        ("/lxc/", "lxc"),
        ("machine.slice/machine-lxc", "lxc"),
    ] {
        if groups.contains(mark) && !found.contains(&name) {
            found.extend([name, "container"]);
        }
    }
    let environment = to.text("/proc/1/environ").unwrap_or_default();
    let container = environment
        .split('\0')
        .find_map(|entry| entry.strip_prefix("container="));
    if let Some(container) = container.filter(|name| !name.is_empty()) {
        found.push(match container {
            "lxc" => "lxc",
            "podman" => "podman",
            "docker" => "docker",
            _ => "container",
        });
        found.push("container");
    }
    if to.exists("/proc/vz") && !to.exists("/proc/lve") && !to.exists("/proc/bc") {
        found.push("openvz");
    }
    found.extend(machine_technology(to));
    found
}

/// Tells which hypervisor the firmware and the processor name.
fn machine_technology(to: &mut Gathering<'_>) -> Option<&'static str> {
    let mut field = |name: &str| {
        to.line(&format!("/sys/devices/virtual/dmi/id/{name}"))
            .unwrap_or_default()
    };
    let (product, vendor, bios) = (
        field("product_name"),
        field("sys_vendor"),
        field("bios_vendor"),
    );
    let by_product = [
        ("VMware", "VMware"),
        ("VirtualBox", "virtualbox"),
        ("RHEV Hypervisor", "RHEV"),
        ("oVirt", "oVirt"),
        ("KVM", "kvm"),
        ("Bochs", "kvm"),
        ("AHV", "kvm"),
        ("HVM domU", "xen"),
        ("OpenStack", "openstack"),
        ("Parallels", "parallels"),
        ("BHYVE", "bhyve"),
        ("Standard PC", "kvm"),
        ("Google Compute Engine", "kvm"),
        ("Virtual Machine", "VirtualPC"),
    ];
    let by_vendor = [
        ("QEMU", "kvm"),
        ("Amazon EC2", "kvm"),
        ("DigitalOcean", "kvm"),
        ("Xen", "xen"),
        ("innotek GmbH", "virtualbox"),
        ("VMware", "VMware"),
        ("Parallels", "parallels"),
        ("Hetzner", "kvm"),
        ("Alibaba", "kvm"),
        ("Google", "kvm"),
    ];
    let named = by_product
        .iter()
        .find(|(mark, _)| product.contains(mark))
        .or_else(|| {
            by_vendor
                .iter()
                .find(|(mark, _)| vendor.contains(mark) || bios.contains(mark))
        })
        .map(|(_, name)| *name);
    if named.is_some() {
        return named;
    }
    if to.exists("/proc/xen") {
        return Some("xen");
    }
    let processors = to.text("/proc/cpuinfo").unwrap_or_default();
    if processors.contains("QEMU Virtual CPU") || processors.contains("Common KVM processor") {
        return Some("kvm");
    }
    None
}

/// Lists what the target can be a host of.
fn host_technologies(to: &mut Gathering<'_>) -> Vec<&'static str> {
    let mut found = Vec::new();
    if to.exists("/dev/kvm") {
        found.push("kvm");
    }
    let modules = to.text("/proc/modules").unwrap_or_default();
    let loaded: BTreeSet<_> = modules
        .lines()
        .filter_map(|line| line.split(' ').next())
        .collect();
    if (loaded.contains("kvm_intel") || loaded.contains("kvm_amd")) && !found.contains(&"kvm") {
        found.push("kvm");
    }
    if loaded.contains("vboxdrv") {
        found.push("virtualbox");
    }
    if to.exists("/dev/vmmon") || loaded.contains("vmmon") {
        found.push("VMware");
    }
    found
}
