//! What `play` and `run` share of the command line: options and settings to the values of a run.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::arguments::{BecomeArgs, ConnectionArgs, OutputArgs, TaskArgs};
use super::preparation::Preparation;
use super::screen::Layout;
use super::secrets::{LoginPasswords, login_passwords};
use super::surroundings;
use crate::config::Config;
use crate::error::{Error, Result};
use crate::executor::{BecomeDefaults, ConnectionDefaults, Gathering, MethodDefaults, RunOptions};

/// The options that `play` and `run` share.
pub(super) struct CommandOptions<'a> {
    pub(super) task: &'a TaskArgs,
    pub(super) connection: &'a ConnectionArgs,
    pub(super) become_: &'a BecomeArgs,
    pub(super) output: &'a OutputArgs,
    pub(super) forks: Option<usize>,
    pub(super) layout: Layout,
    /// What would change is shown as a plan.
    pub(super) plan: bool,
    /// Where the hosts that failed are written.
    pub(super) retry: Option<PathBuf>,
}

impl CommandOptions<'_> {
    /// Resolves options and settings into the run's values.
    pub(super) fn run_options(&self, prepared: &Preparation) -> Result<RunOptions> {
        let config = &prepared.config;
        let passwords = login_passwords(self.connection, self.become_, config, &prepared.redactor)?;
        let verbosity = self.verbosity(config);
        let number = |setting: &str| config.integer(setting).and_then(|n| u64::try_from(n).ok());
        Ok(RunOptions {
            forks: self.forks.or_else(|| {
                config
                    .is_set("DEFAULT_FORKS")
                    .then(|| config.integer("DEFAULT_FORKS"))
                    .flatten()
                    .and_then(|n| usize::try_from(n).ok())
            }),
            check: self.task.check,
            diff: self.task.diff || config.is_on("DIFF_ALWAYS"),
            verbosity,
            managed: config.text("DEFAULT_MANAGED_STR").unwrap_or_default(),
            strategy: config
                .text("DEFAULT_STRATEGY")
                .unwrap_or_else(|| "linear".into()),
            gathering: gathering(config),
            any_errors_fatal: config.is_on("ANY_ERRORS_FATAL"),
            no_log: config.is_on("DEFAULT_NO_LOG"),
            redactor: prepared.redactor.clone(),
            task_timeout: number("TASK_TIMEOUT").unwrap_or(0),
            pythons: config.list("INTERPRETER_PYTHON_FALLBACK"),
            async_dir: config
                .text("ASYNC_DIR")
                .unwrap_or_else(|| "~/.ansible_async".into()),
            error_on_missing_handler: config.is_on("ERROR_ON_MISSING_HANDLER"),
            inject_facts: config.is_on("INJECT_FACTS_AS_VARS"),
            show_arguments: config.is_on("DISPLAY_ARGS_TO_STDOUT"),
            max_diff_size: number("MAX_FILE_SIZE_FOR_DIFF").unwrap_or(104_448),
            connection: self.connection_defaults(prepared, passwords.connection.clone()),
            become_defaults: self.become_defaults(config, &passwords),
            other_agents: other_agents(&self.task.agent)?,
            sandbox_root: prepared.cache_directory().join("sandbox"),
            working_directory: prepared.surroundings.working_directory.clone(),
            user: surroundings::user_name(),
            ..RunOptions::new(own_binary(), prepared.surroundings.home.clone())
        })
    }

    fn verbosity(&self, config: &Config) -> u8 {
        let set = config
            .integer("DEFAULT_VERBOSITY")
            .and_then(|n| u8::try_from(n).ok());
        self.output.verbosity.verbose.max(set.unwrap_or(0))
    }

    fn connection_defaults(
        &self,
        prepared: &Preparation,
        password: Option<String>,
    ) -> ConnectionDefaults {
        let (args, config) = (self.connection, &prepared.config);
        let text = |given: &Option<String>, setting: &str| {
            given
                .clone()
                .or_else(|| config.text(setting))
                .unwrap_or_default()
        };
        let seconds = config
            .integer("SSH_TIMEOUT")
            .or_else(|| config.integer("DEFAULT_TIMEOUT"));
        let seconds = args
            .timeout
            .or_else(|| seconds.and_then(|n| u64::try_from(n).ok()));
        let is_checked = config
            .get("SSH_HOST_KEY_CHECKING")
            .and_then(|(value, _)| value.as_bool());
        ConnectionDefaults {
            connection: text(&args.connection, "DEFAULT_TRANSPORT"),
            remote_user: args
                .user
                .clone()
                .or_else(|| config.text("DEFAULT_REMOTE_USER")),
            port: config
                .integer("DEFAULT_REMOTE_PORT")
                .and_then(|port| u16::try_from(port).ok()),
            password,
            private_key_file: args
                .private_key
                .clone()
                .or_else(|| config.text("DEFAULT_PRIVATE_KEY_FILE").map(PathBuf::from)),
            ssh_args: config.text("SSH_ARGS").unwrap_or_default(),
            ssh_common_args: text(&args.ssh_common_args, "SSH_COMMON_ARGS"),
            ssh_extra_args: text(&args.ssh_extra_args, "SSH_EXTRA_ARGS"),
            host_key_checking: is_checked.unwrap_or_else(|| config.is_on("HOST_KEY_CHECKING")),
            timeout: Duration::from_secs(seconds.unwrap_or(10)),
            retries: config
                .integer("SSH_RECONNECTION_RETRIES")
                .and_then(|n| u32::try_from(n).ok())
                .unwrap_or(0),
        }
    }

    fn become_defaults(&self, config: &Config, passwords: &LoginPasswords) -> BecomeDefaults {
        let method = self
            .become_
            .method
            .clone()
            .or_else(|| config.text("DEFAULT_BECOME_METHOD"));
        let user = |setting: &str| {
            let own = self.become_.user.clone();
            own.or_else(|| {
                config
                    .is_set(setting)
                    .then(|| config.text(setting))
                    .flatten()
            })
        };
        let password = |setting: Option<&str>| {
            let typed = passwords.become_.clone();
            typed.or_else(|| config.text(setting?))
        };
        let sudo = MethodDefaults {
            user: user("SUDO_BECOME_USER"),
            flags: config.text("SUDO_BECOME_FLAGS"),
            executable: config.text("SUDO_BECOME_EXE"),
            password: password(Some("SUDO_BECOME_PASS")),
            directory: config.text("SUDO_SUDO_CHDIR"),
            prompts: Vec::new(),
        };
        let su = MethodDefaults {
            user: user("SU_BECOME_USER"),
            flags: config.text("SU_BECOME_FLAGS"),
            executable: config.text("SU_BECOME_EXE"),
            password: password(Some("SU_BECOME_PASS")),
            directory: None,
            prompts: config.list("SU_PROMPT_L10N"),
        };
        BecomeDefaults {
            enabled: self.become_.enabled || config.is_on("DEFAULT_BECOME"),
            method: method.unwrap_or_else(|| "sudo".into()),
            methods: BTreeMap::from([("sudo".into(), sudo), ("su".into(), su)]),
            others: MethodDefaults {
                user: user("DEFAULT_BECOME_USER"),
                flags: config.text("DEFAULT_BECOME_FLAGS"),
                executable: config.text("DEFAULT_BECOME_EXE"),
                password: password(None),
                ..MethodDefaults::default()
            },
            allow_same_user: config.is_on("BECOME_ALLOW_SAME_USER"),
        }
    }
}

/// Names the running binary in a way that other processes can start, whatever became of its file.
fn own_binary() -> String {
    format!("/proc/{}/exe", std::process::id())
}

fn gathering(config: &Config) -> Gathering {
    match config.text("DEFAULT_GATHERING").as_deref() {
        Some("explicit") => Gathering::Explicit,
        Some("smart") => Gathering::Smart,
        _ => Gathering::Implicit,
    }
}

fn other_agents(given: &[String]) -> Result<BTreeMap<String, PathBuf>> {
    given
        .iter()
        .map(|text| match text.split_once('=') {
            Some((cpu, path)) if !cpu.is_empty() && Path::new(path).is_file() => {
                Ok((cpu.to_owned(), PathBuf::from(path)))
            }
            Some((_, path)) => Err(Error::usage(format!("the agent `{path}` does not exist"))),
            None => Err(Error::usage(format!("`--agent {text}` names no CPU"))
                .help("write it as `--agent aarch64=PATH`, the CPU as `uname -m` prints it")),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_agent_for_another_cpu_names_both() {
        let error = other_agents(&["aarch64".to_owned()]).unwrap_err();
        assert_eq!(error.message, "`--agent aarch64` names no CPU");
    }
}
