//! Facts about the moment: user, environment, time, load, the kernel's command line, host keys.

use std::path::Path;

use super::Gathering;
use crate::value::{Map, Value};

/// Gathers who the agent runs as.
pub(super) fn gather_user(to: &mut Gathering<'_>) {
    let uid = rustix::process::getuid().as_raw();
    let gid = rustix::process::getgid().as_raw();
    if let Some(user) = to.machine.user_by_id(uid) {
        to.set("user_id", user.name);
        to.set("user_uid", user.uid);
        to.set("user_gid", user.gid);
        to.set("user_gecos", user.gecos);
        to.set("user_dir", user.home);
        to.set("user_shell", user.shell);
    }
    to.set("real_user_id", uid);
    to.set("effective_user_id", rustix::process::geteuid().as_raw());
    to.set("real_group_id", gid);
    to.set("effective_group_id", rustix::process::getegid().as_raw());
}

/// Gathers the environment tasks run in.
pub(super) fn gather_env(to: &mut Gathering<'_>) {
    let variables = to.machine.environment();
    to.set("env", Value::map(variables));
}

/// Gathers the time in every form Ansible gives it.
pub(super) fn gather_date_time(to: &mut Gathering<'_>) {
    let now = jiff::ZonedDateTime::now();
    let utc = now.with_time_zone(jiff::tz::TimeZone::UTC);
    let epoch = now.timestamp().as_second().to_string();
    let local = |format: &str| Value::from(now.strftime(format).to_string());
    let universal = |format: &str| Value::from(utc.strftime(format).to_string());
    let facts = Value::map([
        ("year", local("%Y")),
        ("month", local("%m")),
        ("weekday", local("%A")),
        ("weekday_number", local("%w")),
        ("weeknumber", local("%W")),
        ("day", local("%d")),
        ("hour", local("%H")),
        ("minute", local("%M")),
        ("second", local("%S")),
        ("epoch", epoch.as_str().into()),
        ("epoch_int", epoch.as_str().into()),
        ("date", local("%Y-%m-%d")),
        ("time", local("%H:%M:%S")),
        ("iso8601_micro", universal("%Y-%m-%dT%H:%M:%S.%6fZ")),
        ("iso8601", universal("%Y-%m-%dT%H:%M:%SZ")),
        ("iso8601_basic", local("%Y%m%dT%H%M%S%6f")),
        ("iso8601_basic_short", local("%Y%m%dT%H%M%S")),
        ("tz", local("%Z")),
        ("tz_dst", local("%Z")),
        ("tz_offset", local("%z")),
    ]);
    to.set("date_time", facts);
}

/// Gathers the load of the last 1, 5 and 15 minutes.
pub(super) fn gather_loadavg(to: &mut Gathering<'_>) {
    let text = to.line("/proc/loadavg").unwrap_or_default();
    let loads: Vec<f64> = text
        .split(' ')
        .map_while(|word| word.parse().ok())
        .collect();
    if let [one, five, fifteen, ..] = loads[..] {
        to.set(
            "loadavg",
            Value::map([("1m", one), ("5m", five), ("15m", fifteen)]),
        );
    }
}

/// Gathers the kernel's command line: the last value of each word, and all of them.
pub(super) fn gather_cmdline(to: &mut Gathering<'_>) {
    let text = to.text("/proc/cmdline").unwrap_or_default();
    let (mut last, mut all) = (Map::new(), Map::new());
    for word in text.split_whitespace() {
        let (name, value) = match word.split_once('=') {
            Some((name, value)) => (Value::from(name), Value::from(value)),
            None => (Value::from(word), Value::from(true)),
        };
        last.insert(name.clone(), value.clone());
        let merged = match all.get(&name) {
            Some(Value::List(values)) => Value::list(values.iter().cloned().chain([value])),
            Some(single) => Value::list([single.clone(), value]),
            None => value,
        };
        all.insert(name, merged);
    }
    to.set("cmdline", last);
    to.set("proc_cmdline", all);
}

/// Gathers the host's public SSH keys.
pub(super) fn gather_host_keys(to: &mut Gathering<'_>) {
    let directory = ["/etc/ssh", "/etc/openssh", "/etc"]
        .into_iter()
        .find(|directory| {
            to.machine
                .exists(&Path::new(directory).join("ssh_host_rsa_key.pub"))
                .unwrap_or(false)
                || to
                    .machine
                    .exists(&Path::new(directory).join("ssh_host_ed25519_key.pub"))
                    .unwrap_or(false)
        });
    let Some(directory) = directory else { return };
    for algorithm in ["dsa", "rsa", "ecdsa", "ed25519"] {
        let Some(line) = to.line(&format!("{directory}/ssh_host_{algorithm}_key.pub")) else {
            continue;
        };
        if let [kind, key, ..] = line.split_whitespace().collect::<Vec<_>>()[..] {
            to.set(&format!("ssh_host_key_{algorithm}_public"), key);
            to.set(&format!("ssh_host_key_{algorithm}_public_keytype"), kind);
        }
    }
}
