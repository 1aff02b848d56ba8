//! Facts about the distribution: its name, versions, code name and family.

use std::collections::BTreeMap;

use super::Gathering;
use crate::value::Value;

/// What os-release's `ID` is called in Ansible, and the family it belongs to.
const DISTRIBUTIONS: [(&str, &str, &str); 34] = [
    ("debian", "Debian", "Debian"),
    ("raspbian", "Debian", "Debian"),
    ("ubuntu", "Ubuntu", "Debian"),
    ("linuxmint", "Linux Mint", "Debian"),
    ("kali", "Kali", "Debian"),
    ("devuan", "Devuan", "Debian"),
    ("pop", "Pop!_OS", "Debian"),
    ("parrot", "Parrot", "Debian"),
    ("deepin", "Deepin", "Debian"),
    ("uos", "Uos", "Debian"),
    ("neon", "KDE neon", "Debian"),
    ("osmc", "OSMC", "Debian"),
    ("steamos", "SteamOS", "Debian"),
    ("fedora", "Fedora", "RedHat"),
    ("rhel", "RedHat", "RedHat"),
    ("centos", "CentOS", "RedHat"),
    ("rocky", "Rocky", "RedHat"),
    ("almalinux", "AlmaLinux", "RedHat"),
    ("ol", "OracleLinux", "RedHat"),
    ("amzn", "Amazon", "RedHat"),
    ("scientific", "Scientific", "RedHat"),
    ("virtuozzo", "Virtuozzo", "RedHat"),
    ("openEuler", "openEuler", "RedHat"),
    ("opensuse-leap", "openSUSE Leap", "Suse"),
    ("opensuse-tumbleweed", "openSUSE Tumbleweed", "Suse"),
    ("sles", "SLES", "Suse"),
    ("sled", "SLED", "Suse"),
    ("arch", "Archlinux", "Archlinux"),
    ("manjaro", "Manjaro", "Archlinux"),
    ("alpine", "Alpine", "Alpine"),
    ("gentoo", "Gentoo", "Gentoo"),
    ("clear-linux-os", "Clear Linux OS", "ClearLinux"),
    ("altlinux", "Altlinux", "Altlinux"),
    ("slackware", "Slackware", "Slackware"),
];

/// Files that a distribution is known by before its os-release.
const RELEASE_FILES: [(&str, &str); 8] = [
    ("altlinux", "/etc/altlinux-release"),
    ("ol", "/etc/oracle-release"),
    ("slackware", "/etc/slackware-version"),
    ("centos", "/etc/centos-release"),
    ("rhel", "/etc/redhat-release"),
    ("alpine", "/etc/alpine-release"),
    ("arch", "/etc/arch-release"),
    ("gentoo", "/etc/gentoo-release"),
];

/// Gathers the distribution's names and versions.
pub(super) fn gather(to: &mut Gathering<'_>) {
    let (path, text) = match (to.text("/etc/os-release"), to.text("/usr/lib/os-release")) {
        (Some(text), _) => ("/etc/os-release", text),
        (None, Some(text)) => ("/usr/lib/os-release", text),
        (None, None) => ("", String::new()),
    };
    let release = parse_os_release(&text);
    let field = |name: &str| release.get(name).cloned().unwrap_or_default();
    let id = field("ID");
    let known = DISTRIBUTIONS.iter().find(|(known, ..)| *known == id);
    let (name, family) = match known {
        Some((_, name, family)) => ((*name).to_owned(), (*family).to_owned()),
        None if text.is_empty() => ("NA".into(), "NA".into()),
        None => (
            field("NAME"),
            family_like(&field("ID_LIKE"))
                .unwrap_or(&field("NAME"))
                .to_owned(),
        ),
    };
    let version = full_version(to, &id, &field("VERSION_ID"));
    let major = version
        .split('.')
        .next()
        .filter(|part| !part.is_empty())
        .unwrap_or("NA");
    let file = RELEASE_FILES
        .iter()
        .find(|(owner, file)| *owner == id && to.exists(file))
        .map_or(path, |(_, file)| file);
    if let Some(minor) = minor_version(to, &name, &version) {
        to.set("distribution_minor_version", minor);
    }
    to.set("distribution_major_version", major);
    to.set(
        "distribution_version",
        if version.is_empty() { "NA" } else { &version },
    );
    to.set("distribution_release", code_name(&release, &name));
    to.set("distribution_file_path", file);
    to.set("distribution_file_variety", variety(&name, &family));
    to.set("distribution_file_parsed", !text.is_empty());
    to.set("distribution", name);
    to.set("os_family", family);
}

fn parse_os_release(text: &str) -> BTreeMap<String, String> {
    text.lines()
        .filter_map(|line| line.split_once('='))
        .map(|(name, value)| {
            (
                name.trim().into(),
                value.trim().trim_matches(['"', '\'']).into(),
            )
        })
        .collect()
}

fn family_like(like: &str) -> Option<&'static str> {
    like.split_whitespace().find_map(|id| {
        DISTRIBUTIONS
            .iter()
            .find(|(known, ..)| *known == id)
            .map(|(_, _, family)| *family)
    })
}

/// Returns the version with its point release, which some distributions keep elsewhere.
fn full_version(to: &mut Gathering<'_>, id: &str, version: &str) -> String {
    let precise = match id {
        "debian" | "raspbian" => to.line("/etc/debian_version"),
        "alpine" => to.line("/etc/alpine-release"),
        "centos" | "rhel" => to.line("/etc/redhat-release").and_then(|line| {
            line.split_whitespace()
                .find(|word| word.starts_with(|c: char| c.is_ascii_digit()))
                .map(str::to_owned)
        }),
        _ => None,
    };
    precise
        .filter(|precise| precise.starts_with(|c: char| c.is_ascii_digit()))
        .unwrap_or_else(|| version.to_owned())
}

fn minor_version(to: &mut Gathering<'_>, name: &str, version: &str) -> Option<String> {
    match name {
        "Debian" => {
            let line = to.line("/etc/debian_version")?;
            line.split_once('.').map(|(_, minor)| minor.to_owned())
        }
        "Amazon" => Some(
            version
                .split_once('.')
                .map_or("NA", |(_, minor)| minor)
                .to_owned(),
        ),
        _ => None,
    }
}

fn code_name(release: &BTreeMap<String, String>, name: &str) -> String {
    if let Some(code) = release
        .get("VERSION_CODENAME")
        .filter(|code| !code.is_empty())
    {
        return code.clone();
    }
    if let Some(code) = release.get("UBUNTU_CODENAME") {
        return code.clone();
    }
    // `8.9 (Ootpa)`, `12 (bookworm)`
    let version = release
        .get("VERSION")
        .map(String::as_str)
        .unwrap_or_default();
    let inside = version
        .split_once('(')
        .and_then(|(_, rest)| rest.split_once(')'));
    match inside {
        Some((code, _)) => code.to_owned(),
        None if matches!(name, "Archlinux" | "Alpine" | "Gentoo") => "NA".into(),
        None => String::new(),
    }
}

fn variety(name: &str, family: &str) -> String {
    match (family, name) {
        ("RedHat", "CentOS" | "OracleLinux" | "Amazon") => name.to_owned(),
        ("Suse", _) => "SUSE".to_owned(),
        _ => family.to_owned(),
    }
}

/// Gathers what `lsb_release` says, or what its file holds.
pub(super) fn gather_lsb(to: &mut Gathering<'_>) {
    let mut lsb: BTreeMap<&str, String> = BTreeMap::new();
    if let Some(text) = to.output(&["lsb_release", "-a"]) {
        for (name, value) in text.lines().filter_map(|line| line.split_once(':')) {
            let key = match name {
                "Distributor ID" => "id",
                "Description" => "description",
                "Release" => "release",
                "Codename" => "codename",
                _ => continue,
            };
            lsb.insert(key, value.trim().to_owned());
        }
    } else if let Some(text) = to.text("/etc/lsb-release") {
        for (name, value) in parse_os_release(&text) {
            let key = match name.as_str() {
                "DISTRIB_ID" => "id",
                "DISTRIB_DESCRIPTION" => "description",
                "DISTRIB_RELEASE" => "release",
                "DISTRIB_CODENAME" => "codename",
                _ => continue,
            };
            lsb.insert(key, value);
        }
    }
    if let Some(release) = lsb.get("release").cloned() {
        lsb.insert(
            "major_release",
            release.split('.').next().unwrap_or_default().to_owned(),
        );
    }
    to.set("lsb", Value::map(lsb));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn code_names_are_found_where_distributions_write_them() {
        for (text, name, expected) in [
            (
                "VERSION_CODENAME=bookworm\nVERSION=\"12 (bookworm)\"",
                "Debian",
                "bookworm",
            ),
            ("VERSION=\"9.3 (Blue Onyx)\"", "Rocky", "Blue Onyx"),
            ("ID=arch", "Archlinux", "NA"),
        ] {
            assert_eq!(code_name(&parse_os_release(text), name), expected);
        }
    }

    #[test]
    fn an_unknown_distribution_belongs_to_the_family_it_is_like() {
        assert_eq!(family_like("something ubuntu debian"), Some("Debian"));
        assert_eq!(family_like("something"), None);
    }
}
