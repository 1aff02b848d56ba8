//! The modules that talk to Docker's daemon through its socket; no client is needed on the target
//! but by `docker_compose_v2` and `docker_image_build`.
//!
//! What undoes a change are commands of `docker`, for whoever runs containers has that too.

mod cli;
mod compose;
mod container;
mod daemon;
mod image;
mod image_build;
mod image_pull;
mod image_push;
mod image_remove;
mod image_tag;
mod inspect;
mod login;
mod network;
mod platform;
mod prune;
mod reference;
mod registry;
#[cfg(test)]
mod testing;
mod values;
mod volume;

pub(super) use compose::{
    DockerComposeV2Args, DockerComposeV2PullArgs, run_compose, run_compose_pull,
};
pub(super) use container::{DockerContainerArgs, run_container};
pub(super) use image::{DockerImageArgs, run_image};
pub(super) use image_build::{DockerImageBuildArgs, run_image_build};
pub(super) use image_pull::{DockerImagePullArgs, run_image_pull};
pub(super) use image_push::{DockerImagePushArgs, run_image_push};
pub(super) use image_remove::{DockerImageRemoveArgs, run_image_remove};
pub(super) use image_tag::{DockerImageTagArgs, run_image_tag};
pub(super) use inspect::{
    DockerContainerInfoArgs, DockerHostInfoArgs, DockerImageInfoArgs, DockerNetworkInfoArgs,
    DockerVolumeInfoArgs, run_container_info, run_host_info, run_image_info, run_network_info,
    run_volume_info,
};
pub(super) use login::{DockerLoginArgs, run_login};
pub(super) use network::{DockerNetworkArgs, run_network};
pub(super) use prune::{DockerPruneArgs, run_prune};
pub(super) use volume::{DockerVolumeArgs, run_volume};

/// Declares a module's options and those that say where the daemon is.
macro_rules! docker_arguments {
    (
        $(#[doc = $about:literal])*
        struct $name:ident for $module:literal { $($fields:tt)* }
        $($rules:tt)*
    ) => {
        crate::arguments! {
            $(#[doc = $about])*
            pub(crate) struct $name for $module {
                $($fields)*
                /// Where the daemon listens: `unix://PATH` or `tcp://HOST:PORT`.
                docker_host: String {
                    default: "unix:///var/run/docker.sock", aliases: ["docker_url"],
                },
                /// The name in the daemon's certificate; it is that of its address here.
                tls_hostname: Option<String> {},
                /// The version of the API; the daemon's own by default.
                api_version: String { default: "auto", aliases: ["docker_api_version"] },
                /// Seconds one answer may take.
                timeout: i64 { default: "60" },
                /// The authority of the daemon's certificate.
                ca_path: Option<std::path::PathBuf> {
                    aliases: ["ca_cert", "tls_ca_cert", "cacert_path"],
                },
                client_cert: Option<std::path::PathBuf> {
                    aliases: ["tls_client_cert", "cert_path"],
                },
                client_key: Option<std::path::PathBuf> {
                    aliases: ["tls_client_key", "key_path"],
                },
                /// Use TLS, whoever the daemon is.
                tls: bool { default: "false" },
                /// Reach a daemon of another host with ssh; refused here.
                use_ssh_client: bool { default: "false" },
                /// Use TLS, and check the daemon's certificate.
                validate_certs: bool { default: "false", aliases: ["tls_verify"] },
                /// Tell what was done as `actions`.
                debug: bool { default: "false" },
            }
            $($rules)*
        }

        impl $name {
            /// Connects to the daemon that the options name.
            fn daemon<'m>(
                &self,
                machine: &'m mut crate::machine::Machine,
            ) -> Result<super::daemon::Daemon<'m>, crate::modules::Failure> {
                super::daemon::Daemon::new(machine, super::daemon::Reach {
                    host: self.docker_host.clone(),
                    api_version: self.api_version.clone(),
                    timeout: self.timeout,
                    ca_path: self.ca_path.clone(),
                    client_cert: self.client_cert.clone(),
                    client_key: self.client_key.clone(),
                    tls: self.tls,
                    validate_certs: self.validate_certs,
                    use_ssh_client: self.use_ssh_client,
                })
            }
        }
    };
}
use docker_arguments;
