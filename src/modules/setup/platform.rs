//! Facts about the system itself: kernel, names, Python, package and service managers.

use super::Gathering;
use crate::value::{Map, Value};

/// Package managers by the program that shows them, in the order Ansible looks.
const PACKAGE_MANAGERS: [(&str, &str); 16] = [
    ("/usr/bin/rpm-ostree", "atomic_container"),
    ("/usr/bin/yum", "yum"),
    ("/usr/bin/dnf-3", "dnf"),
    ("/usr/bin/dnf5", "dnf5"),
    ("/usr/bin/apt-get", "apt"),
    ("/usr/bin/zypper", "zypper"),
    ("/usr/sbin/urpmi", "urpmi"),
    ("/usr/bin/pacman", "pacman"),
    ("/bin/opkg", "opkg"),
    ("/usr/pkg/bin/pkgin", "pkgin"),
    ("/opt/tools/bin/pkgin", "pkgin"),
    ("/sbin/apk", "apk"),
    ("/usr/bin/swupd", "swupd"),
    ("/usr/bin/emerge", "portage"),
    ("/usr/sbin/swinstall", "swdepot"),
    ("/run/current-system/sw/bin/nix", "nix"),
];

/// Gathers what `uname` and the host's names say.
pub(super) fn gather(to: &mut Gathering<'_>) {
    let uname = rustix::system::uname();
    let text = |part: &std::ffi::CStr| part.to_string_lossy().into_owned();
    let machine = text(uname.machine());
    let node = text(uname.nodename());
    to.set("system", text(uname.sysname()));
    to.set("kernel", text(uname.release()));
    to.set("kernel_version", text(uname.version()));
    to.set("machine", machine.as_str());
    to.set("nodename", node.as_str());
    to.set("hostname", node.split('.').next().unwrap_or_default());
    let qualified = qualified_name(to, &node);
    to.set(
        "domain",
        qualified.split_once('.').map_or("", |(_, domain)| domain),
    );
    to.set("fqdn", qualified);
    let bits = if machine.ends_with("64") || machine == "s390x" || machine == "ppc64le" {
        "64"
    } else {
        "32"
    };
    to.set("userspace_bits", bits);
    let architecture = match machine.as_str() {
        "i386" | "i486" | "i586" | "i686" => "i386".to_owned(),
        _ => machine.clone(),
    };
    to.set("architecture", architecture.as_str());
    to.set("userspace_architecture", architecture);
    let id = ["/var/lib/dbus/machine-id", "/etc/machine-id"]
        .into_iter()
        .find_map(|path| to.line(path));
    if let Some(id) = id {
        to.set("machine_id", id);
    }
}

/// Returns the name `getfqdn` returns: of the names that the host's address has, the first with a
/// dot.
fn qualified_name(to: &mut Gathering<'_>, node: &str) -> String {
    let addresses = to.output(&["getent", "ahosts", node]).unwrap_or_default();
    let address = addresses.split_whitespace().next();
    let answer = address.and_then(|address| to.output(&["getent", "hosts", address]));
    first_qualified(answer.as_deref(), node)
}

/// Picks the first name with a dot of what `getent hosts` answered, else any.
pub(in crate::modules) fn first_qualified(answer: Option<&str>, node: &str) -> String {
    let names: Vec<_> = answer
        .unwrap_or_default()
        .split_whitespace()
        .skip(1)
        .collect();
    let found = names
        .iter()
        .find(|name| name.contains('.'))
        .or(names.first());
    found.map_or_else(|| node.to_owned(), |name| (*name).to_owned())
}

/// Gathers which Python the target has, where it has one.
pub(super) fn gather_python(to: &mut Gathering<'_>) {
    const ASK: &str = "import sys\nv=sys.version_info\nprint(sys.executable)\nprint(v[0],v[1],v[2],v[3],v[4])\nprint(sys.implementation.name)\ntry:\n import ssl\n print(hasattr(ssl,'SSLContext'))\nexcept ImportError:\n print(False)";
    let Some(program) = to.machine.find_program("python3") else {
        return;
    };
    let Some(answer) = to.output(&[&program.display().to_string(), "-c", ASK]) else {
        return;
    };
    let lines: Vec<_> = answer.lines().collect();
    let [executable, version, kind, ssl] = lines[..] else {
        return;
    };
    let parts: Vec<_> = version
        .split(' ')
        .map(|part| {
            part.parse::<i64>()
                .map_or_else(|_| Value::from(part), Value::from)
        })
        .collect();
    if let [major, minor, micro, level, serial] = &parts[..] {
        let fields = [
            ("major", major),
            ("minor", minor),
            ("micro", micro),
            ("releaselevel", level),
            ("serial", serial),
        ];
        let version: Map = fields
            .map(|(name, value)| (name.into(), value.clone()))
            .into_iter()
            .collect();
        to.set("python_version", format!("{major}.{minor}.{micro}"));
        to.set(
            "python",
            Value::map([
                ("version", Value::from(version)),
                ("version_info", Value::list(parts.clone())),
                ("executable", executable.into()),
                ("has_sslcontext", (ssl == "True").into()),
                ("type", kind.into()),
            ]),
        );
    }
}

/// Gathers which package manager the target has.
pub(super) fn gather_package_manager(to: &mut Gathering<'_>) {
    // As in Ansible, the last one found wins, but a Debian with rpm installed still uses apt.
    let found = PACKAGE_MANAGERS
        .iter()
        .rfind(|(program, _)| to.exists(program));
    let is_debian = to.exists("/usr/bin/apt-get") && to.exists("/var/lib/dpkg/status");
    let name = match found {
        Some(_) if is_debian => "apt",
        Some((_, name)) => name,
        None => "unknown",
    };
    to.set("pkg_mgr", name);
}

/// Gathers what manages services: what process 1 is, or what its files show.
pub(super) fn gather_service_manager(to: &mut Gathering<'_>) {
    let init = to.line("/proc/1/comm").unwrap_or_default();
    let name = match init.as_str() {
        "systemd" => "systemd".to_owned(),
        "runit-init" => "runit".to_owned(),
        "svscan" => "svc".to_owned(),
        "openrc-init" => "openrc".to_owned(),
        // Names that say nothing: what stands on the disk decides.
        "init" | "COMMAND" | "" | "sh" | "bash" => by_files(to).to_owned(),
        other => other.to_owned(),
    };
    to.set("service_mgr", name);
}

/// Gathers version and features of systemd, where it runs the target.
pub(super) fn gather_systemd(to: &mut Gathering<'_>) {
    if !to.exists("/run/systemd/system") {
        return;
    }
    let Some(answer) = to.output(&["systemctl", "--version"]) else {
        return;
    };
    let mut lines = answer.lines();
    let version = lines.next().and_then(|line| line.split(' ').nth(1));
    let version = version.and_then(|version| version.parse::<i64>().ok());
    if let (Some(version), Some(features)) = (version, lines.next()) {
        to.set(
            "systemd",
            Value::map([
                ("features", Value::from(features)),
                ("version", version.into()),
            ]),
        );
    }
}

fn by_files(to: &Gathering<'_>) -> &'static str {
    if to.exists("/run/systemd/system") {
        "systemd"
    } else if to.exists("/sbin/openrc") {
        "openrc"
    } else if to.exists("/etc/init/") && to.exists("/sbin/initctl") {
        "upstart"
    } else if to.exists("/etc/init.d/") {
        "sysvinit"
    } else {
        "service"
    }
}
