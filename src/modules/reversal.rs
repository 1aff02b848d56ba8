//! How far what a module changes can be undone, and how: one line for each module.
//!
//! The plan and `--strict` read it here, and the table in `docs/transactions.md` is held to it.
//! Says nothing of a single change: that is in its undo record.

use Reversal::{Asked, Compensated, Exact, Nothing};

/// How what a module changes is undone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reversal {
    /// It changes nothing.
    Nothing,
    /// The old state comes back as it was.
    Exact(&'static str),
    /// The recorded state is applied again.
    Compensated(&'static str),
    /// It runs what only its user knows: as the user says, else nobody knows.
    Asked(&'static str),
}

const FILES: &str = "the old file, its owner, mode and attributes come back";
const PACKAGES: &str = "what it installed is removed, what it removed or replaced is installed in \
                        its old version; a changed configuration of a package comes back with it \
                        only where a task changed it";
const SERVICES: &str = "started and stopped, enabled and disabled the other way round; what was \
                        restarted or reloaded is so again when every file is as it was";
const ACCOUNTS: &str = "the account gets its recorded values again; a removed one is made anew \
                        with its ids";
const COMMANDS: &str = "`backstay_undo` is run, or the paths of `backstay_protect` come back, or \
                        what `creates` names is removed; with none of them nobody knows";
const SELINUX: &str = "the recorded setting is made again with the tool that changed it";

const DOCKER: &str = "what it made is removed, what it changed gets its old settings; what it \
                      removed can be brought back by nobody";
const COMPOSE: &str = "a project that was not there goes down, one that was comes up again from its \
                       old files; pulled images stay, removed volumes can be brought back by nobody";
const PROGRAMS: &str = "what it installed is removed, what it replaced or removed gets its old \
                        version from where it came from";

const SENT: &str = "what was sent stays sent; on the host there is nothing to undo";

const DATABASES: &str = "what it made is dropped, what it changed gets its old settings; what it \
                        dropped can be brought back by nobody";

const STATEMENTS: &str = "`backstay_undo` is run, or the paths of `backstay_protect` come back; with \
                          none of them nobody knows, but what only reads changes nothing";

/// The modules that `MODULES` lists, in alphabetical order.
const REVERSALS: &[(&str, Reversal)] = &[
    (
        "acl",
        Compensated("the old list is set again, but below a directory: nobody can"),
    ),
    (
        "alternatives",
        Compensated("the old selection is made again"),
    ),
    (
        "apache2_module",
        Compensated("the links to the modules come back"),
    ),
    (
        "apk",
        Compensated(
            "what it installed is removed, what it removed or replaced is installed again in the version the repositories have, or the old one where they have it",
        ),
    ),
    ("apt", Compensated(PACKAGES)),
    (
        "apt_key",
        Compensated("the key is removed, or imported again"),
    ),
    ("apt_repository", Exact(FILES)),
    ("archive", Exact(FILES)),
    ("assemble", Exact(FILES)),
    ("async_status", Nothing),
    ("at", Compensated("the job is removed, or planned again")),
    ("authorized_key", Exact(FILES)),
    ("blockinfile", Exact(FILES)),
    ("bundler", Asked(COMMANDS)),
    (
        "capabilities",
        Compensated("the old capabilities are set again"),
    ),
    ("command", Asked(COMMANDS)),
    ("composer", Asked(COMMANDS)),
    ("copy", Exact(FILES)),
    (
        "cron",
        Compensated("the old table is installed again; a file in `cron.d` comes back"),
    ),
    ("deb822_repository", Exact(FILES)),
    (
        "debconf",
        Compensated("the old answer is set again, but a password's: nobody can"),
    ),
    ("deploy_helper", Exact(FILES)),
    ("django_manage", Asked(COMMANDS)),
    ("dnf", Compensated(PACKAGES)),
    ("dnf5", Compensated(PACKAGES)),
    ("docker_compose_v2", Compensated(COMPOSE)),
    ("docker_compose_v2_pull", Compensated(COMPOSE)),
    ("docker_container", Compensated(DOCKER)),
    ("docker_container_info", Nothing),
    ("docker_host_info", Nothing),
    ("docker_image", Compensated(DOCKER)),
    ("docker_image_build", Compensated(DOCKER)),
    ("docker_image_info", Nothing),
    ("docker_image_pull", Compensated(DOCKER)),
    ("docker_image_push", Compensated(SENT)),
    ("docker_image_remove", Compensated(DOCKER)),
    ("docker_image_tag", Compensated(DOCKER)),
    ("docker_login", Exact(FILES)),
    ("docker_network", Compensated(DOCKER)),
    ("docker_network_info", Nothing),
    ("docker_prune", Compensated(DOCKER)),
    ("docker_volume", Compensated(DOCKER)),
    ("docker_volume_info", Nothing),
    (
        "dpkg_divert",
        Compensated("the diversion is removed, or made again"),
    ),
    (
        "dpkg_selections",
        Compensated("the old selection is made again"),
    ),
    ("expect", Asked(COMMANDS)),
    ("file", Exact(FILES)),
    (
        "filesystem",
        Compensated(
            "one that was made on an empty device is wiped, an old UUID is set again; the rest can be undone by nobody",
        ),
    ),
    ("find", Nothing),
    (
        "firewalld",
        Compensated("the rule is removed, or added again"),
    ),
    (
        "gem",
        Compensated(
            "the gem is removed, not what it needed, or installed again in its old version",
        ),
    ),
    ("get_url", Exact(FILES)),
    ("getent", Nothing),
    (
        "git",
        Compensated(
            "the old commit is checked out, local changes are applied again; a clone is removed",
        ),
    ),
    ("git_config", Compensated("the old value is set again")),
    ("group", Compensated(ACCOUNTS)),
    ("hostname", Compensated("the old name is set again")),
    ("htpasswd", Exact(FILES)),
    ("ini_file", Exact(FILES)),
    ("ipify_facts", Nothing),
    (
        "iptables",
        Compensated(
            "the rule is removed, or added again where it was; a flushed chain is restored",
        ),
    ),
    ("k8s_info", Nothing),
    ("known_hosts", Exact(FILES)),
    ("lineinfile", Exact(FILES)),
    (
        "locale_gen",
        Exact("the old list comes back and the locales are generated again"),
    ),
    ("mail", Compensated(SENT)),
    ("make", Asked(COMMANDS)),
    (
        "modprobe",
        Compensated("the kernel module is unloaded, or loaded again"),
    ),
    (
        "monit",
        Compensated("started and stopped, watched and left alone the other way round"),
    ),
    (
        "mount",
        Compensated("mounted and unmounted the other way round; the table's file comes back"),
    ),
    ("mount_facts", Nothing),
    ("mysql_db", Compensated(DATABASES)),
    ("mysql_info", Nothing),
    ("mysql_query", Asked(STATEMENTS)),
    (
        "mysql_replication",
        Compensated("started and stopped the other way round; the rest can be undone by nobody"),
    ),
    (
        "mysql_user",
        Compensated(
            "the account gets its old password, privileges and limits again; a dropped one is \
             made anew",
        ),
    ),
    ("mysql_variables", Compensated("the old value is set again")),
    ("npm", Compensated(PROGRAMS)),
    ("openssh_keypair", Exact(FILES)),
    ("openssl_csr", Exact(FILES)),
    ("openssl_csr_info", Nothing),
    ("openssl_dhparam", Exact(FILES)),
    ("openssl_privatekey", Exact(FILES)),
    ("openssl_publickey", Exact(FILES)),
    ("openssl_publickey_info", Nothing),
    ("package", Compensated(PACKAGES)),
    ("package_facts", Nothing),
    (
        "pacman",
        Compensated(
            "what it installed is removed, what it replaced or removed is installed again from pacman's cache",
        ),
    ),
    ("pam_limits", Exact(FILES)),
    ("ping", Nothing),
    ("pip", Compensated(PROGRAMS)),
    ("pip_package_info", Nothing),
    ("postgresql_db", Compensated(DATABASES)),
    ("postgresql_ext", Compensated(DATABASES)),
    ("postgresql_membership", Compensated(DATABASES)),
    ("postgresql_privs", Compensated(DATABASES)),
    ("postgresql_query", Asked(STATEMENTS)),
    ("postgresql_schema", Compensated(DATABASES)),
    ("postgresql_script", Asked(STATEMENTS)),
    ("postgresql_user", Compensated(DATABASES)),
    (
        "rabbitmq_plugin",
        Compensated("the plugin is disabled, or enabled again"),
    ),
    ("replace", Exact(FILES)),
    (
        "rpm_key",
        Compensated("the key is removed, or imported again"),
    ),
    ("script", Asked(COMMANDS)),
    ("seboolean", Compensated(SELINUX)),
    ("sefcontext", Compensated(SELINUX)),
    (
        "selinux",
        Compensated("the file comes back, and the old mode is set again"),
    ),
    ("selinux_permissive", Compensated(SELINUX)),
    ("seport", Compensated(SELINUX)),
    ("service", Compensated(SERVICES)),
    ("service_facts", Nothing),
    ("setup", Nothing),
    ("shell", Asked(COMMANDS)),
    ("slack", Compensated(SENT)),
    ("slurp", Nothing),
    ("snap", Compensated(PROGRAMS)),
    ("stat", Nothing),
    (
        "subversion",
        Compensated("the old revision is checked out; over a directory that was there nobody can"),
    ),
    ("sudoers", Exact(FILES)),
    (
        "supervisorctl",
        Compensated("started and stopped the other way round"),
    ),
    ("synchronize", Exact(FILES)),
    (
        "sysctl",
        Compensated("the old value is set in the kernel; the file comes back"),
    ),
    ("systemd", Compensated(SERVICES)),
    ("systemd_service", Compensated(SERVICES)),
    ("sysvinit", Compensated(SERVICES)),
    ("tempfile", Exact("what it made is removed")),
    (
        "timezone",
        Compensated("the old zone and clock are set again"),
    ),
    (
        "ufw",
        Compensated("the files of its rules come back and are loaded again"),
    ),
    ("unarchive", Exact(FILES)),
    (
        "uri",
        Exact("the file it writes to is as it was; a request that writes can be undone by nobody"),
    ),
    ("user", Compensated(ACCOUNTS)),
    ("wait_for", Nothing),
    ("wakeonlan", Compensated(SENT)),
    ("x509_certificate", Exact(FILES)),
    ("x509_certificate_info", Nothing),
    ("xfs_quota", Compensated("the old limits are set again")),
    ("xml", Exact(FILES)),
    (
        "yarn",
        Compensated(
            "the project's packages come back as they were; one for the whole target is removed, or added again",
        ),
    ),
    ("yum_repository", Exact(FILES)),
    ("zypper", Compensated(PACKAGES)),
    (
        "zypper_repository",
        Compensated("the repository is removed, or added again as it was"),
    ),
];

/// Finds how what a module changes is undone; its collection says nothing of it.
pub(super) fn of(module: &str) -> Option<Reversal> {
    let mut all = REVERSALS.iter();
    all.find(|(name, _)| *name == short(module))
        .map(|(_, reversal)| *reversal)
}

fn short(module: &str) -> &str {
    module.rsplit('.').next().unwrap_or(module)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::modules;

    #[test]
    fn each_module_says_how_it_is_undone_and_nothing_else_does() {
        let mut listed: Vec<&str> = modules::all().map(|module| short(module.name)).collect();
        listed.sort_unstable();
        let named: Vec<&str> = REVERSALS.iter().map(|(name, _)| *name).collect();
        assert_eq!(named, listed);
    }

    #[test]
    fn the_manual_has_the_table_of_modules() {
        let manual = include_str!("../../docs/transactions.md");
        let is_row = |line: &&str| line.starts_with("| `") && line.matches('|').count() == 4;
        let written: Vec<&str> = manual
            .lines()
            .skip_while(|line| *line != "| module | class | undo |")
            .filter(is_row)
            .collect();
        assert_eq!(written.join("\n"), rows().join("\n"));
    }

    /// Returns one row for all modules that are undone alike, and the class's order.
    fn rows() -> Vec<String> {
        let mut groups: Vec<(Reversal, Vec<String>)> = Vec::new();
        for (name, reversal) in REVERSALS {
            let name = format!("`{name}`");
            match groups.iter_mut().find(|(known, _)| known == reversal) {
                Some((_, names)) => names.push(name),
                None => groups.push((*reversal, vec![name])),
            }
        }
        groups.sort_by_key(|(reversal, _)| match reversal {
            Exact(_) => 0,
            Compensated(_) => 1,
            Asked(_) => 2,
            Nothing => 3,
        });
        let row = |(reversal, names): &(Reversal, Vec<String>)| {
            let (class, how) = match reversal {
                Exact(how) => ("exact", *how),
                Compensated(how) => ("compensated", *how),
                Asked(how) => ("declared or opaque", *how),
                Nothing => ("none", "they change nothing"),
            };
            format!("| {} | {class} | {how} |", names.join(", "))
        };
        groups.iter().map(row).collect()
    }
}
