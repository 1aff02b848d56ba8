//! Which words and modules speak of which class. The first row that fits counts.

use super::Class;

/// Words of the way to a host, as this program and OpenSSH tell them.
const CONNECTION: &[(&str, Class)] = &[
    ("no private directory on the host", Class::Disk),
    ("no space left", Class::Disk),
    ("host key of `", Class::HostKey),
    ("host key verification failed", Class::HostKey),
    ("host certificate of `", Class::HostKey),
    ("known hosts file `", Class::HostKey),
    ("is not the sandbox that was started", Class::HostKey),
    ("refused the login", Class::Credentials),
    ("private key `", Class::Credentials),
    ("permission denied (", Class::Credentials),
    ("cannot be reached", Class::Network),
    ("refused the connection", Class::Network),
    ("did not answer within", Class::Network),
    ("closed the connection", Class::Network),
    ("has no address", Class::Network),
    ("proxy command", Class::Network),
    ("lost the agent", Class::Network),
    ("it does not answer", Class::Network),
    ("said nothing for", Class::Network),
];

/// Words that say it whichever module they come from.
const ANYWHERE: &[(&str, Class)] = &[
    ("no space left on device", Class::Disk),
    ("disk quota exceeded", Class::Disk),
    ("read-only file system", Class::Disk),
    ("missing sudo password", Class::Privilege),
    ("missing su password", Class::Privilege),
    ("missing doas password", Class::Privilege),
    ("incorrect sudo password", Class::Privilege),
    ("incorrect su password", Class::Privilege),
    ("incorrect doas password", Class::Privilege),
    ("does not let this user become", Class::Privilege),
    ("not in the sudoers file", Class::Privilege),
    ("insists on a terminal", Class::Privilege),
    ("are you root", Class::Privilege),
    ("must be root", Class::Privilege),
    ("interactive authentication required", Class::Privilege),
    ("decryption failed", Class::Credentials),
    ("vault password", Class::Credentials),
    ("401 unauthorized", Class::Credentials),
    ("token is expired", Class::Credentials),
    ("certificate has expired", Class::Credentials),
    ("the lock of ", Class::Lock),
];

/// Words that say it where the module does not.
const SOMETIMES: &[(&str, Class)] = &[
    ("checksum", Class::Checksum),
    ("sha256", Class::Checksum),
    ("is undefined", Class::Playbook),
    ("permission denied", Class::Privilege),
    ("operation not permitted", Class::Privilege),
    ("connection refused", Class::Network),
    ("no route to host", Class::Network),
    ("network is unreachable", Class::Network),
    ("connection timed out", Class::Network),
    ("name resolution", Class::Network),
    ("name or service not known", Class::Network),
    ("could not resolve", Class::Network),
    ("connection reset by peer", Class::Network),
];

/// Modules whose every other failure is of one class.
const MODULES: &[(&[&str], Class)] = &[
    (
        &[
            "apt",
            "apt_key",
            "apt_repository",
            "deb822_repository",
            "dnf",
            "dnf5",
            "dpkg_selections",
            "npm",
            "package",
            "pip",
            "rpm_key",
            "snap",
            "yum",
            "yum_repository",
        ],
        Class::PackageManager,
    ),
    (
        &[
            "service",
            "supervisorctl",
            "systemd",
            "systemd_service",
            "sysvinit",
        ],
        Class::Service,
    ),
    (&["uri", "wait_for", "wait_for_connection"], Class::Health),
];

/// Names a failure to reach a host.
pub(super) fn of_connection(said: &str) -> Option<Class> {
    first(CONNECTION, said)
}

/// Names a failure whose module is not known.
pub(super) fn of_words(said: &str) -> Option<Class> {
    first(ANYWHERE, said).or_else(|| first(SOMETIMES, said))
}

/// Names the failure of a module.
pub(super) fn of_task(action: &str, said: &str) -> Class {
    let module = action.rsplit('.').next().unwrap_or(action);
    let of_module = || {
        let mut rows = MODULES.iter();
        rows.find(|(names, _)| names.contains(&module))
            .map(|(_, class)| *class)
    };
    let otherwise = match module {
        "assert" | "debug" | "set_fact" | "include_vars" => Class::Playbook,
        _ => Class::Task,
    };
    first(ANYWHERE, said)
        .or_else(of_module)
        .or_else(|| first(SOMETIMES, said))
        .unwrap_or(otherwise)
}

/// Tells whether somebody ended the run.
pub(super) fn is_interruption(reason: &str) -> bool {
    reason.contains("the run was interrupted")
}

fn first(rows: &[(&str, Class)], said: &str) -> Option<Class> {
    let said = said.to_lowercase();
    rows.iter()
        .find(|(words, _)| said.contains(words))
        .map(|(_, class)| *class)
}
