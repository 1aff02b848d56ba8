//! Facts about what confines the target: SELinux, AppArmor, capabilities, FIPS, chroot.

use std::path::Path;

use super::Gathering;
use crate::value::Value;

/// Gathers SELinux's state from its file system and configuration.
pub(super) fn gather_selinux(to: &mut Gathering<'_>) {
    to.set("selinux_python_present", true);
    let enforce = to.line("/sys/fs/selinux/enforce");
    let Some(enforce) = enforce else {
        to.set("selinux", Value::map([("status", "disabled")]));
        return;
    };
    let config = to.text("/etc/selinux/config").unwrap_or_default();
    let setting = |name: &str| {
        config
            .lines()
            .filter_map(|line| line.trim().split_once('='))
            .find(|(key, _)| key.trim() == name)
            .map_or_else(
                || "unknown".to_owned(),
                |(_, value)| value.trim().to_owned(),
            )
    };
    let version = to
        .line("/sys/fs/selinux/policyvers")
        .unwrap_or_else(|| "unknown".into());
    let mode = if enforce == "1" {
        "enforcing"
    } else {
        "permissive"
    };
    to.set(
        "selinux",
        Value::map([
            ("status", "enabled".to_owned()),
            ("policyvers", version),
            ("config_mode", setting("SELINUX")),
            ("mode", mode.to_owned()),
            ("type", setting("SELINUXTYPE")),
        ]),
    );
}

/// Gathers whether AppArmor is on.
pub(super) fn gather_apparmor(to: &mut Gathering<'_>) {
    let is_on = to.exists("/sys/kernel/security/apparmor");
    to.set(
        "apparmor",
        Value::map([("status", if is_on { "enabled" } else { "disabled" })]),
    );
}

/// Gathers whether FIPS mode is on.
pub(super) fn gather_fips(to: &mut Gathering<'_>) {
    let is_on = to
        .line("/proc/sys/crypto/fips_enabled")
        .is_some_and(|text| text == "1");
    to.set("fips", is_on);
}

/// Gathers what `capsh` says of the process's capabilities.
pub(super) fn gather_capabilities(to: &mut Gathering<'_>) {
    let Some(text) = to.output(&["capsh", "--print"]) else {
        to.set("system_capabilities_enforced", "NA");
        to.set("system_capabilities", Value::list(Vec::<Value>::new()));
        return;
    };
    let Some(current) = text.lines().find_map(|line| line.strip_prefix("Current:")) else {
        return;
    };
    let current = current.trim();
    let is_unconfined = current == "=ep";
    let listed = current
        .trim_start_matches('=')
        .split(',')
        .map(str::trim)
        .filter(|c| !c.is_empty());
    let listed: Vec<Value> = if is_unconfined {
        Vec::new()
    } else {
        listed.map(Value::from).collect()
    };
    to.set(
        "system_capabilities_enforced",
        if is_unconfined { "False" } else { "True" },
    );
    to.set("system_capabilities", listed);
}

/// Gathers whether the agent's root is process 1's.
pub(super) fn gather_chroot(to: &mut Gathering<'_>) {
    let ours = to.machine.metadata(Path::new("/")).unwrap_or_default();
    // Without the right to look, the inode of an ordinary root decides, as in Ansible.
    let is_chroot = match (ours, to.machine.metadata(Path::new("/proc/1/root/."))) {
        (Some(ours), Ok(Some(theirs))) => {
            (ours.inode, ours.device) != (theirs.inode, theirs.device)
        }
        (Some(ours), _) => !matches!(ours.inode, 2 | 128 | 256),
        (None, _) => false,
    };
    to.set("is_chroot", is_chroot);
}
