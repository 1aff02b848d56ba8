//! The target's `docker`, for the modules that need it: which program, and which daemon it talks
//! to.

use std::path::Path;

use crate::machine::{Command, Machine, Output};
use crate::modules::{Failure, tool};
use crate::transaction::journal::UndoStep;

/// Declares a module's options and those that say which `docker` and which daemon.
macro_rules! cli_arguments {
    (
        $(#[doc = $about:literal])*
        struct $name:ident for $module:literal { $($fields:tt)* }
        $($rules:tt)*
    ) => {
        crate::arguments! {
            $(#[doc = $about])*
            pub(crate) struct $name for $module {
                $($fields)*
                /// The docker to run.
                docker_cli: Option<std::path::PathBuf> {},
                /// Where the daemon listens.
                docker_host: Option<String> { aliases: ["docker_url"] },
                /// The name in the daemon's certificate.
                tls_hostname: Option<String> {},
                /// The version of the API.
                api_version: String { default: "auto", aliases: ["docker_api_version"] },
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
                /// Use TLS, and check the daemon's certificate.
                validate_certs: bool { default: "false", aliases: ["tls_verify"] },
                /// The context of docker's own configuration.
                cli_context: Option<String> {},
            }
            required_together [["client_cert", "client_key"]]
            $($rules)*
        }

        impl $name {
            fn reach(&self) -> $crate::modules::docker::cli::Reach<'_> {
                $crate::modules::docker::cli::Reach {
                    docker_cli: self.docker_cli.as_deref(),
                    docker_host: self.docker_host.as_deref(),
                    tls_hostname: self.tls_hostname.as_deref(),
                    api_version: &self.api_version,
                    certificates: [
                        ("--tlscacert", self.ca_path.as_deref()),
                        ("--tlscert", self.client_cert.as_deref()),
                        ("--tlskey", self.client_key.as_deref()),
                    ],
                    tls: self.tls,
                    validate_certs: self.validate_certs,
                    cli_context: self.cli_context.as_deref(),
                }
            }
        }
    };
}
pub(super) use cli_arguments;

/// What the options say of which program and which daemon.
pub(super) struct Reach<'a> {
    pub(super) docker_cli: Option<&'a Path>,
    pub(super) docker_host: Option<&'a str>,
    pub(super) tls_hostname: Option<&'a str>,
    pub(super) api_version: &'a str,
    pub(super) certificates: [(&'static str, Option<&'a Path>); 3],
    pub(super) tls: bool,
    pub(super) validate_certs: bool,
    pub(super) cli_context: Option<&'a str>,
}

/// The program.
pub(super) struct Client {
    /// `docker` and what says which daemon.
    argv: Vec<String>,
    environment: Vec<(&'static str, String)>,
}

impl Client {
    /// Finds the program; it must be able to tell its version.
    pub(super) fn new(machine: &mut Machine, reach: &Reach<'_>) -> Result<Self, Failure> {
        let client = Self {
            argv: argv(machine, reach)?,
            environment: environment(machine, reach),
        };
        let words = ["version", "--format", "{{ json . }}"];
        let output = machine.query(&client.command(&words))?;
        tool::check(Some(&output), tool::complaint)?;
        Ok(client)
    }

    pub(super) fn program(&self) -> &str {
        &self.argv[0]
    }

    pub(super) fn command<S: AsRef<str>>(&self, words: &[S]) -> Command {
        let words = words.iter().map(AsRef::as_ref);
        let mut command = Command::new(self.argv.iter().map(String::as_str).chain(words));
        for (name, value) in &self.environment {
            command = command.env(name, value);
        }
        command
    }

    pub(super) fn ask<S: AsRef<str>>(
        &self,
        machine: &mut Machine,
        words: &[S],
    ) -> Result<Output, Failure> {
        Ok(machine.query(&self.command(words))?)
    }

    /// Makes a step of an undoing.
    pub(super) fn step<S: AsRef<str>>(&self, words: &[S]) -> UndoStep {
        let words = words.iter().map(|word| word.as_ref().to_owned());
        let argv: Vec<String> = self.argv.iter().cloned().chain(words).collect();
        if self.environment.is_empty() {
            return tool::step(&argv);
        }
        let environment = self.environment.iter();
        let start = environment.map(|(name, value)| format!("{name}={value}"));
        UndoStep::new(["env".to_owned()].into_iter().chain(start).chain(argv))
    }
}

fn argv(machine: &mut Machine, reach: &Reach<'_>) -> Result<Vec<String>, Failure> {
    let program = match reach.docker_cli {
        Some(path) => Some(machine.expand_text(&path.to_string_lossy())),
        None => tool::found(machine, "docker"),
    };
    let program = program.ok_or_else(|| {
        Failure::new(
            "Cannot find docker CLI in path. Please provide it explicitly with the docker_cli \
             parameter",
        )
    })?;
    let mut argv = vec![program];
    let host = reach.docker_host.map(str::to_owned);
    let host = host.or_else(|| machine.variable("DOCKER_HOST"));
    match host.filter(|host| !host.is_empty()) {
        Some(host) => argv.extend(["--host".into(), host]),
        None if reach.cli_context.is_none() => {
            argv.extend(["--host".into(), "unix:///var/run/docker.sock".into()]);
        }
        None => {}
    }
    if reach.validate_certs {
        argv.push("--tlsverify".into());
    } else if reach.tls {
        argv.push("--tls".into());
    }
    for (flag, path) in reach.certificates {
        if let Some(path) = path {
            argv.extend([flag.to_owned(), machine.expand(path).display().to_string()]);
        }
    }
    if let Some(context) = reach.cli_context {
        argv.extend(["--context".into(), context.to_owned()]);
    }
    Ok(argv)
}

fn environment(machine: &Machine, reach: &Reach<'_>) -> Vec<(&'static str, String)> {
    let mut environment = Vec::new();
    let hostname = reach.tls_hostname.map(str::to_owned);
    if let Some(name) = hostname.or_else(|| machine.variable("DOCKER_TLS_HOSTNAME")) {
        environment.push(("DOCKER_TLS_HOSTNAME", name));
    }
    if reach.api_version != "auto" {
        environment.push(("DOCKER_API_VERSION", reach.api_version.to_owned()));
    }
    environment
}
