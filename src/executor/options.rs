//! Everything a run is told: plain values that `cli` and `config` resolved.
//!
//! Reads no environment, no file and no command line itself.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use super::fleet::Rollback;
use crate::playbook::TagSelection;
use crate::redactor::Redactor;

/// The settings of a run. Not `Debug`: it holds passwords.
#[derive(Clone)]
pub struct RunOptions {
    /// How many hosts work at once; `None` sets no limit.
    pub forks: Option<usize>,
    /// `--check`.
    pub check: bool,
    /// `--diff`.
    pub diff: bool,
    pub tags: TagSelection,
    /// `--force-handlers`; a play's own keyword wins.
    pub force_handlers: bool,
    /// `--start-at-task`: a name or a shell pattern.
    pub start_at_task: Option<String>,
    /// `--step`: the [`Prompter`](super::Prompter) is asked before each task.
    pub step: bool,
    /// The number of `-v`.
    pub verbosity: u8,
    /// What `ansible_managed` is in templates where nobody sets it.
    pub managed: String,
    /// The strategy of plays that name none: `linear`, `free` or `host_pinned`.
    pub strategy: String,
    pub gathering: Gathering,
    /// The setting `any_errors_fatal`.
    pub any_errors_fatal: bool,
    /// The setting `no_log`: no result of any task is shown.
    pub no_log: bool,
    /// Known secrets: a task that is given one leaves nothing of it in a host's journal.
    pub redactor: Redactor,
    /// The setting `task_timeout` in seconds; 0 sets none.
    pub task_timeout: u64,
    /// What `ansible_python_interpreter: auto` looks for.
    pub pythons: Vec<String>,
    /// The setting `async_dir`: where jobs in the background leave their results on the target.
    pub async_dir: String,
    /// The setting `error_on_missing_handler`.
    pub error_on_missing_handler: bool,
    /// The setting `inject_facts_as_vars`.
    pub inject_facts: bool,
    /// The setting `display_args_to_stdout`, or `-vv`: events carry the tasks' arguments.
    pub show_arguments: bool,
    /// The setting `max_diff_size`, in bytes.
    pub max_diff_size: u64,
    pub connection: ConnectionDefaults,
    pub become_defaults: BecomeDefaults,
    pub transaction: TransactionOptions,
    /// The agent's executable, for hosts of this CPU.
    pub agent: PathBuf,
    /// Agents for hosts of other CPUs, by `uname -m` (`--agent aarch64=PATH`).
    pub other_agents: BTreeMap<String, PathBuf>,
    /// The directory under which sandbox hosts have their roots.
    pub sandbox_root: PathBuf,
    /// The directory the user started backstay in.
    pub working_directory: PathBuf,
    /// The home of the user who started backstay.
    pub home: PathBuf,
    /// The login name of that user.
    pub user: String,
}

/// How transactions are run: a whole deploy, or the plays and blocks that ask to be one.
#[derive(Clone, Debug)]
pub struct TransactionOptions {
    /// The whole run is one transaction.
    pub whole_run: bool,
    /// What is put back before the plays run.
    pub rollback: Option<Rollback>,
    /// Whose lock is taken, and whose generations are counted, on each host.
    pub application: String,
    /// A step that nobody can undo is refused.
    pub strict: bool,
    pub on_failure: OnFailure,
    /// How long a host waits for a sign of life before it undoes by itself.
    pub lease: Duration,
    /// How long a lock is waited for; zero does not wait.
    pub lock_wait: Duration,
    /// How many generations a host keeps.
    pub keep: u64,
    /// The user, for whoever meets the lock.
    pub who: String,
    /// The controller's name.
    pub controller: String,
    /// The page of the run in the continuous integration.
    pub run_url: Option<String>,
    /// What is deployed, as the user names it.
    pub release: Option<String>,
    /// The absolute paths of the playbooks, for the health checks of a rollback.
    pub playbooks: Vec<PathBuf>,
}

/// What a failure undoes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnFailure {
    /// Everything the run has done, on every host.
    #[default]
    RollbackRun,
    /// Everything on hosts that have not completed their batch; the others commit.
    RollbackBatch,
    /// Nothing: what is done is kept, as a generation that is not known to be good.
    Stop,
}

impl Default for TransactionOptions {
    fn default() -> Self {
        Self {
            whole_run: false,
            rollback: None,
            application: "default".into(),
            strict: false,
            on_failure: OnFailure::RollbackRun,
            lease: Duration::from_mins(1),
            lock_wait: Duration::ZERO,
            keep: 5,
            who: String::new(),
            controller: String::new(),
            run_url: None,
            release: None,
            playbooks: Vec::new(),
        }
    }
}

/// When facts are gathered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Gathering {
    /// Unless the play says `gather_facts: false`.
    #[default]
    Implicit,
    /// Only when the play says `gather_facts: true`.
    Explicit,
    /// As `Implicit`, once a host.
    Smart,
}

/// How hosts are reached that say nothing themselves.
#[derive(Clone)]
pub struct ConnectionDefaults {
    /// `--connection`: `ssh`, `local`, `sandbox`; `smart` and `paramiko` mean `ssh`.
    pub connection: String,
    /// `--user`; the weakest of all sources.
    pub remote_user: Option<String>,
    pub port: Option<u16>,
    /// `--ask-pass`.
    pub password: Option<String>,
    /// `--private-key`.
    pub private_key_file: Option<PathBuf>,
    pub ssh_args: String,
    pub ssh_common_args: String,
    pub ssh_extra_args: String,
    pub host_key_checking: bool,
    /// `--timeout`.
    pub timeout: Duration,
    pub retries: u32,
}

/// Who tasks run as that say nothing themselves.
#[derive(Clone)]
pub struct BecomeDefaults {
    /// `--become`.
    pub enabled: bool,
    /// `--become-method`.
    pub method: String,
    /// Of the methods with settings of their own.
    pub methods: BTreeMap<String, MethodDefaults>,
    /// Of the other methods.
    pub others: MethodDefaults,
    /// The setting `become_allow_same_user`: the login user becomes itself where it is asked to.
    pub allow_same_user: bool,
}

impl BecomeDefaults {
    /// Returns the defaults of a method.
    pub fn of(&self, method: &str) -> &MethodDefaults {
        self.methods.get(method).unwrap_or(&self.others)
    }
}

/// What a method of becoming another user is told where a task tells it nothing.
#[derive(Clone, Default)]
pub struct MethodDefaults {
    /// `--become-user`.
    pub user: Option<String>,
    pub flags: Option<String>,
    pub executable: Option<String>,
    /// `--ask-become-pass`.
    pub password: Option<String>,
    /// The directory that is entered before.
    pub directory: Option<String>,
    /// The prompts for the password; none means those of the method's languages.
    pub prompts: Vec<String>,
}

impl RunOptions {
    /// Makes the options of a run without any flag, in Ansible's defaults.
    pub fn new(agent: impl Into<PathBuf>, home: impl Into<PathBuf>) -> Self {
        let home = home.into();
        Self {
            forks: None,
            check: false,
            diff: false,
            tags: TagSelection::default(),
            force_handlers: false,
            start_at_task: None,
            step: false,
            verbosity: 0,
            managed: "Ansible managed".into(),
            strategy: "linear".into(),
            gathering: Gathering::Implicit,
            any_errors_fatal: false,
            no_log: false,
            redactor: Redactor::default(),
            task_timeout: 0,
            pythons: vec!["python3".into()],
            async_dir: "~/.ansible_async".into(),
            error_on_missing_handler: true,
            inject_facts: true,
            show_arguments: false,
            max_diff_size: 104_448,
            connection: ConnectionDefaults::default(),
            become_defaults: BecomeDefaults::default(),
            transaction: TransactionOptions::default(),
            agent: agent.into(),
            other_agents: BTreeMap::new(),
            sandbox_root: home.join(".cache/backstay/sandbox"),
            working_directory: PathBuf::from("/"),
            home,
            user: "root".into(),
        }
    }
}

impl Default for ConnectionDefaults {
    fn default() -> Self {
        Self {
            connection: "ssh".into(),
            remote_user: None,
            port: None,
            password: None,
            private_key_file: None,
            ssh_args: String::new(),
            ssh_common_args: String::new(),
            ssh_extra_args: String::new(),
            host_key_checking: true,
            timeout: Duration::from_secs(10),
            retries: 0,
        }
    }
}

impl Default for BecomeDefaults {
    fn default() -> Self {
        Self {
            enabled: false,
            method: "sudo".into(),
            methods: BTreeMap::new(),
            others: MethodDefaults::default(),
            allow_same_user: false,
        }
    }
}
