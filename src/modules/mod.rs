//! The modules: what each does to the target, one file each, registered by one line here.
//!
//! A module is a function from its arguments and a machine to what happened. It never prints,
//! never templates and knows no controller.

mod acl;
mod alternatives;
mod apache2_module;
mod apk;
mod apt;
mod apt_key;
mod apt_repository;
mod archive;
mod archiving;
mod assemble;
mod async_status;
mod at;
mod authorized_key;
mod blockinfile;
mod bundler;
mod capabilities;
mod command;
mod composer;
mod copy;
mod cron;
mod crypto;
mod deb822_repository;
mod debconf;
mod deploy_helper;
mod django_manage;
mod dnf;
mod docker;
mod dpkg_divert;
mod dpkg_selections;
mod edit;
mod encoding;
mod expect;
mod external;
#[cfg(test)]
mod fake;
mod file;
mod filesystem;
mod find;
mod firewalld;
mod foresight;
mod fragments;
mod gem;
mod get_url;
mod getent;
mod git;
mod git_config;
mod glob;
mod group;
mod hostname;
mod htpasswd;
mod http;
mod ini_file;
mod init_scripts;
mod invocation;
mod ipify_facts;
mod iptables;
mod keygen;
mod known_hosts;
mod kubernetes;
mod lineinfile;
mod lines;
mod links;
mod locale_gen;
mod mail;
mod make;
mod modprobe;
mod monit;
mod mount;
mod mount_facts;
mod mysql;
mod npm;
mod offer;
mod os_error;
mod outcome;
mod package;
mod package_facts;
mod pacman;
mod pam_limits;
mod path_info;
mod ping;
mod pip;
mod pip_package_info;
mod placeholders;
mod postgresql;
mod rabbitmq_plugin;
#[cfg(test)]
mod races;
mod replace;
mod reversal;
mod rpm_key;
mod script;
mod seboolean;
mod sefcontext;
mod selinux;
mod selinux_permissive;
mod seport;
#[cfg(test)]
mod server;
mod service;
mod service_facts;
mod setup;
mod slack;
mod slurp;
mod snap;
mod stat;
mod subversion;
mod sudoers;
mod supervisorctl;
pub(crate) mod synchronize;
mod sysctl;
mod systemd;
mod sysvinit;
mod tempfile;
#[cfg(test)]
mod testing;
mod timezone;
mod tool;
mod ufw;
mod unarchive;
mod uri;
mod user;
mod wait_for;
mod wakeonlan;
mod xfs_quota;
mod xml;
mod yarn;
mod yum_repository;
mod zypper;

use crate::arguments::ArgumentSpec;
use crate::machine::Machine;
use crate::value::Map;

pub use foresight::Foresight;
pub(crate) use fragments::Assembly;
pub use invocation::invocation;
pub use outcome::{Diff, Failure, ModuleResult, Outcome};
pub use reversal::Reversal;

/// One module, as both ends see it.
#[derive(Debug)]
pub struct Module {
    /// The short name, without collection.
    pub name: &'static str,
    pub spec: &'static ArgumentSpec,
    pub run: fn(&mut Machine, &Map) -> ModuleResult,
}

impl Module {
    /// Returns how what it changes is undone; one that says nothing of it is undone as its user
    /// says.
    pub fn reversal(&self) -> Reversal {
        reversal::of(self.name).unwrap_or(Reversal::Asked(""))
    }
}

/// Declares a module from its options' type and its function.
macro_rules! module {
    ($file:ident, $arguments:ident) => {
        module!($file, $arguments, run)
    };
    ($file:ident, $arguments:ident, $run:ident) => {
        Module {
            name: $file::$arguments::SPEC.module,
            spec: &$file::$arguments::SPEC,
            run: |machine, given| $file::$run(machine, $file::$arguments::parse(given)?),
        }
    };
}

/// All modules, in alphabetical order.
const MODULES: &[Module] = &[
    module!(acl, AclArgs),
    module!(at, AtArgs),
    module!(authorized_key, AuthorizedKeyArgs),
    module!(firewalld, FirewalldArgs),
    module!(mount, MountArgs),
    module!(seboolean, SebooleanArgs),
    module!(selinux, SelinuxArgs),
    module!(synchronize, SynchronizeArgs),
    module!(sysctl, SysctlArgs),
    module!(apt, AptArgs),
    module!(apt_key, AptKeyArgs),
    module!(apt_repository, AptRepositoryArgs),
    module!(assemble, AssembleArgs),
    module!(async_status, AsyncStatusArgs),
    module!(blockinfile, BlockinfileArgs),
    module!(command, CommandArgs),
    module!(crypto, OpensshKeypairArgs, run_keypair),
    module!(crypto, OpensslCsrArgs, run_request),
    module!(crypto, OpensslCsrInfoArgs, run_request_info),
    module!(crypto, OpensslDhparamArgs, run_dhparam),
    module!(crypto, OpensslPrivatekeyArgs, run_privatekey),
    module!(crypto, OpensslPublickeyArgs, run_publickey),
    module!(crypto, OpensslPublickeyInfoArgs, run_publickey_info),
    module!(crypto, X509CertificateArgs, run_certificate),
    module!(crypto, X509CertificateInfoArgs, run_certificate_info),
    module!(docker, DockerComposeV2Args, run_compose),
    module!(docker, DockerComposeV2PullArgs, run_compose_pull),
    module!(docker, DockerContainerArgs, run_container),
    module!(docker, DockerContainerInfoArgs, run_container_info),
    module!(docker, DockerHostInfoArgs, run_host_info),
    module!(docker, DockerImageArgs, run_image),
    module!(docker, DockerImageBuildArgs, run_image_build),
    module!(docker, DockerImageInfoArgs, run_image_info),
    module!(docker, DockerImagePullArgs, run_image_pull),
    module!(docker, DockerImagePushArgs, run_image_push),
    module!(docker, DockerImageRemoveArgs, run_image_remove),
    module!(docker, DockerImageTagArgs, run_image_tag),
    module!(docker, DockerLoginArgs, run_login),
    module!(docker, DockerNetworkArgs, run_network),
    module!(docker, DockerNetworkInfoArgs, run_network_info),
    module!(docker, DockerPruneArgs, run_prune),
    module!(docker, DockerVolumeArgs, run_volume),
    module!(docker, DockerVolumeInfoArgs, run_volume_info),
    module!(alternatives, AlternativesArgs),
    module!(apache2_module, Apache2ModuleArgs),
    module!(apk, ApkArgs),
    module!(archiving, ArchiveArgs),
    module!(bundler, BundlerArgs),
    module!(capabilities, CapabilitiesArgs),
    module!(composer, ComposerArgs),
    module!(deploy_helper, DeployHelperArgs),
    module!(django_manage, DjangoManageArgs),
    module!(dpkg_divert, DpkgDivertArgs),
    module!(filesystem, FilesystemArgs),
    module!(gem, GemArgs),
    module!(git_config, GitConfigArgs),
    module!(htpasswd, HtpasswdArgs),
    module!(ini_file, IniFileArgs),
    module!(ipify_facts, IpifyFactsArgs),
    module!(locale_gen, LocaleGenArgs),
    module!(mail, MailArgs),
    module!(make, MakeArgs),
    module!(modprobe, ModprobeArgs),
    module!(monit, MonitArgs),
    module!(npm, NpmArgs),
    module!(pacman, PacmanArgs),
    module!(pam_limits, PamLimitsArgs),
    module!(pip_package_info, PipPackageInfoArgs),
    module!(sefcontext, SefcontextArgs),
    module!(selinux_permissive, SelinuxPermissiveArgs),
    module!(seport, SeportArgs),
    module!(slack, SlackArgs),
    module!(snap, SnapArgs),
    module!(sudoers, SudoersArgs),
    module!(supervisorctl, SupervisorctlArgs),
    module!(timezone, TimezoneArgs),
    module!(ufw, UfwArgs),
    module!(wakeonlan, WakeonlanArgs),
    module!(xfs_quota, XfsQuotaArgs),
    module!(xml, XmlArgs),
    module!(yarn, YarnArgs),
    module!(zypper, ZypperArgs, run_packages),
    module!(zypper, ZypperRepositoryArgs, run_repository),
    module!(mysql, MysqlDbArgs, run_database),
    module!(mysql, MysqlInfoArgs, run_info),
    module!(mysql, MysqlQueryArgs, run_query),
    module!(mysql, MysqlReplicationArgs, run_replication),
    module!(mysql, MysqlUserArgs, run_user),
    module!(mysql, MysqlVariablesArgs, run_variables),
    module!(postgresql, PostgresqlDbArgs, run_database),
    module!(postgresql, PostgresqlExtArgs, run_extension),
    module!(postgresql, PostgresqlMembershipArgs, run_membership),
    module!(postgresql, PostgresqlPrivsArgs, run_privileges),
    module!(postgresql, PostgresqlQueryArgs, run_query),
    module!(postgresql, PostgresqlSchemaArgs, run_schema),
    module!(postgresql, PostgresqlScriptArgs, run_script),
    module!(postgresql, PostgresqlUserArgs, run_role),
    module!(rabbitmq_plugin, RabbitmqPluginArgs),
    module!(copy, CopyArgs),
    module!(cron, CronArgs),
    module!(deb822_repository, Deb822RepositoryArgs),
    module!(debconf, DebconfArgs),
    module!(dnf, DnfArgs),
    Module {
        name: "dnf5",
        ..module!(dnf, DnfArgs, run_dnf5)
    },
    module!(dpkg_selections, DpkgSelectionsArgs),
    module!(expect, ExpectArgs),
    module!(file, FileArgs),
    module!(find, FindArgs),
    module!(get_url, GetUrlArgs),
    module!(getent, GetentArgs),
    module!(git, GitArgs),
    module!(group, GroupArgs),
    module!(hostname, HostnameArgs),
    module!(iptables, IptablesArgs),
    module!(known_hosts, KnownHostsArgs),
    module!(kubernetes, K8sInfoArgs, run_info),
    module!(lineinfile, LineinfileArgs),
    module!(mount_facts, MountFactsArgs),
    module!(package, PackageArgs),
    module!(package_facts, PackageFactsArgs),
    module!(ping, PingArgs),
    module!(pip, PipArgs),
    module!(replace, ReplaceArgs),
    module!(rpm_key, RpmKeyArgs),
    module!(script, ScriptArgs),
    module!(service, ServiceArgs),
    module!(service_facts, ServiceFactsArgs),
    module!(setup, SetupArgs),
    module!(command, ShellArgs, run_shell),
    module!(slurp, SlurpArgs),
    module!(stat, StatArgs),
    module!(subversion, SubversionArgs),
    module!(systemd, SystemdArgs),
    Module {
        name: "systemd_service",
        ..module!(systemd, SystemdArgs)
    },
    module!(sysvinit, SysvinitArgs),
    module!(tempfile, TempfileArgs),
    module!(unarchive, UnarchiveArgs),
    module!(uri, UriArgs),
    module!(user, UserArgs),
    module!(wait_for, WaitForArgs),
    module!(yum_repository, YumRepositoryArgs),
];

/// Finds a module by its short name.
pub fn find(name: &str) -> Option<&'static Module> {
    MODULES.iter().find(|module| module.name == name)
}

/// What runs modules that are no part of this program; no playbook can name it.
const EXTERNAL: Module = module!(external, ExternalArgs);

/// Finds what a target can be asked to run.
pub fn on_target(name: &str) -> Option<&'static Module> {
    match name {
        "module" => Some(&EXTERNAL),
        name => find(name),
    }
}

/// Lists all modules in alphabetical order.
pub fn all() -> impl Iterator<Item = &'static Module> {
    MODULES.iter()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modules_are_listed_in_order_and_once() {
        let names: Vec<_> = all().map(|module| module.name).collect();
        let mut sorted = names.clone();
        sorted.sort_unstable();
        sorted.dedup();
        assert_eq!(names, sorted);
    }
}
