//! The command line as clap types: every flag of Ansible's commands with its name and meaning.
//!
//! Only what the user typed: nothing is resolved here, no file is read.

use std::path::PathBuf;

use clap::{ArgAction, Args, Parser, Subcommand, ValueEnum};

/// Runs Ansible playbooks over SSH from one static binary.
#[derive(Debug, Parser)]
#[command(
    name = "backstay",
    version,
    propagate_version = true,
    disable_help_subcommand = true
)]
pub(super) struct Backstay {
    #[command(subcommand)]
    pub(super) command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Run playbooks, as `ansible-playbook` does.
    Play(PlayArgs),
    /// Run playbooks as one transaction: committed on every host, or undone on every host.
    Deploy(super::deploy::DeployArgs),
    /// Show which generation stands on hosts, what is open, and what differs.
    Status(super::status::StatusArgs),
    /// List the transactions of hosts.
    History(super::status::HistoryArgs),
    /// Put hosts back to an earlier generation.
    Rollback(super::rollback::RollbackArgs),
    /// Settle what dead runs left behind.
    Recover(super::recover::RecoverArgs),
    /// Show who holds hosts, or make them let go.
    Lock(super::lock::LockArgs),
    /// Check this machine and the way to every host, and name what is wrong.
    Doctor(super::doctor::DoctorArgs),
    /// Check secrets: there, well formed, not expired.
    Secrets(super::required_secrets::SecretsArgs),
    /// Tell whether this runner is to deploy: its role, whether it may, and whether it is healthy.
    Preflight(super::preflight::PreflightArgs),
    /// Serve the health of this machine's CI runner to Prometheus.
    Exporter(super::exporter::ExporterArgs),
    /// Run one module on hosts, as `ansible` does.
    Run(RunArgs),
    /// Show the inventory, as `ansible-inventory` does.
    Inventory(InventoryArgs),
    /// Encrypt and decrypt files and values, as `ansible-vault` does.
    Vault(super::vault::VaultArgs),
    /// Show the settings, as `ansible-config` does.
    Config(ConfigArgs),
    /// Show what modules do and which options they take.
    Doc(super::documentation::DocArgs),
    /// Write the JSON schema of playbooks for editors.
    Schema(super::schema::SchemaArgs),
}

/// `backstay play`, or started as `ansible-playbook`.
#[derive(Debug, Parser)]
#[command(name = "ansible-playbook", disable_version_flag = true)]
pub(super) struct PlayArgs {
    /// Playbooks to run, in order
    #[arg(required = true, value_name = "PLAYBOOK")]
    pub(super) playbooks: Vec<PathBuf>,
    #[command(flatten)]
    pub(super) hosts: HostArgs,
    #[command(flatten)]
    pub(super) task: TaskArgs,
    #[command(flatten)]
    pub(super) connection: ConnectionArgs,
    #[command(flatten)]
    pub(super) become_: BecomeArgs,
    #[command(flatten)]
    pub(super) vault: VaultPasswordArgs,
    #[command(flatten)]
    pub(super) output: OutputArgs,
    /// Only run plays and tasks tagged with these values
    #[arg(short, long, value_name = "TAGS", action = ArgAction::Append)]
    pub(super) tags: Vec<String>,
    /// Only run plays and tasks whose tags do not match these values
    #[arg(long, value_name = "TAGS", action = ArgAction::Append)]
    pub(super) skip_tags: Vec<String>,
    /// Check the syntax of the playbooks and everything they import, and run nothing
    #[arg(long)]
    pub(super) syntax_check: bool,
    /// List all tasks that would be run, and run nothing
    #[arg(long)]
    pub(super) list_tasks: bool,
    /// List all tags, and run nothing
    #[arg(long)]
    pub(super) list_tags: bool,
    /// Confirm each task before it runs
    #[arg(long)]
    pub(super) step: bool,
    /// Start at the task with this name
    #[arg(long, value_name = "NAME")]
    pub(super) start_at_task: Option<String>,
    /// Run handlers even if a task fails
    #[arg(long)]
    pub(super) force_handlers: bool,
}

impl PlayArgs {
    /// Tells whether the command only shows what a run would be about.
    pub(super) fn runs_nothing(&self) -> bool {
        self.syntax_check || self.hosts.list_hosts || self.list_tasks || self.list_tags
    }
}

/// `backstay run`, or started as `ansible`.
#[derive(Debug, Parser)]
#[command(name = "ansible", disable_version_flag = true)]
pub(super) struct RunArgs {
    /// The hosts to run on
    pub(super) pattern: String,
    /// The module to run (default: command, or the setting `module_name`)
    #[arg(short, long, value_name = "MODULE")]
    pub(super) module_name: Option<String>,
    /// The module's arguments: `key=value …` or a JSON or YAML dictionary
    #[arg(short = 'a', long = "args", value_name = "ARGS")]
    pub(super) module_args: Option<String>,
    /// Run asynchronously, failing after this many seconds
    #[arg(short = 'B', long, value_name = "SECONDS")]
    pub(super) background: Option<u64>,
    /// The poll interval when running asynchronously
    #[arg(short = 'P', long = "poll", value_name = "SECONDS")]
    pub(super) poll_interval: Option<u64>,
    /// Condense the output to one line a host
    #[arg(short, long)]
    pub(super) one_line: bool,
    /// The directory that stands in for the playbook's
    #[arg(long, value_name = "DIRECTORY")]
    pub(super) playbook_dir: Option<PathBuf>,
    /// Fail the task after this many seconds
    #[arg(long, value_name = "SECONDS")]
    pub(super) task_timeout: Option<u64>,
    #[command(flatten)]
    pub(super) hosts: HostArgs,
    #[command(flatten)]
    pub(super) task: TaskArgs,
    #[command(flatten)]
    pub(super) connection: ConnectionArgs,
    #[command(flatten)]
    pub(super) become_: BecomeArgs,
    #[command(flatten)]
    pub(super) vault: VaultPasswordArgs,
    #[command(flatten)]
    pub(super) output: OutputArgs,
}

/// `backstay inventory`, or started as `ansible-inventory`.
#[derive(Debug, Parser)]
#[command(name = "ansible-inventory", disable_version_flag = true)]
#[command(group(clap::ArgGroup::new("action").required(true)))]
pub(super) struct InventoryArgs {
    /// With --graph: start at this group
    #[arg(value_name = "GROUP")]
    pub(super) group: Option<String>,
    /// Show all hosts and groups
    #[arg(long, group = "action")]
    pub(super) list: bool,
    /// Show the variables of one host
    #[arg(long, value_name = "HOST", group = "action")]
    pub(super) host: Option<String>,
    /// Show the groups as a tree
    #[arg(long, group = "action")]
    pub(super) graph: bool,
    /// Write YAML instead of JSON
    #[arg(short, long)]
    pub(super) yaml: bool,
    /// Write TOML instead of JSON
    #[arg(long)]
    pub(super) toml: bool,
    /// With --graph: show variables too
    #[arg(long)]
    pub(super) vars: bool,
    /// With --list: keep variables at their groups instead of at the hosts
    #[arg(long)]
    pub(super) export: bool,
    /// With --list: write to this file instead of the screen
    #[arg(long, value_name = "FILE")]
    pub(super) output: Option<PathBuf>,
    /// The directory that stands in for the playbook's
    #[arg(long, value_name = "DIRECTORY")]
    pub(super) playbook_dir: Option<PathBuf>,
    #[command(flatten)]
    pub(super) sources: SourceArgs,
    #[command(flatten)]
    pub(super) vault: VaultPasswordArgs,
    #[command(flatten)]
    pub(super) verbosity: VerbosityArgs,
}

/// `backstay config`, or started as `ansible-config`.
#[derive(Debug, Parser)]
#[command(name = "ansible-config", disable_version_flag = true)]
pub(super) struct ConfigArgs {
    #[command(subcommand)]
    pub(super) action: ConfigAction,
}

/// What to do with the settings.
#[derive(Debug, Subcommand)]
pub(super) enum ConfigAction {
    /// Show what is known of each setting
    List {
        #[command(flatten)]
        chosen: ChosenSettings,
        /// The output format
        #[arg(short, long, value_enum, default_value_t = ListFormat::Yaml)]
        format: ListFormat,
    },
    /// Show each setting with its origin
    Dump {
        #[command(flatten)]
        chosen: ChosenSettings,
        /// Show only settings that are not at their default
        #[arg(long, visible_alias = "changed-only")]
        only_changed: bool,
        /// The output format
        #[arg(short, long, value_enum, default_value_t = DumpFormat::Display)]
        format: DumpFormat,
    },
    /// Show the configuration file
    View {
        #[command(flatten)]
        chosen: ChosenSettings,
    },
    /// Write a configuration file with every setting at its default
    Init {
        #[command(flatten)]
        chosen: ChosenSettings,
        /// The output format
        #[arg(short, long, value_enum, default_value_t = InitFormat::Ini)]
        format: InitFormat,
        /// Make every entry a comment
        #[arg(long)]
        disabled: bool,
    },
    /// Check the configuration file, or the environment, for names that are not known
    Validate {
        #[command(flatten)]
        chosen: ChosenSettings,
        /// What to check
        #[arg(short, long, value_enum, default_value_t = ValidateFormat::Ini)]
        format: ValidateFormat,
    },
}

/// Which settings, of which file.
#[derive(Debug, Args)]
pub(super) struct ChosenSettings {
    #[command(flatten)]
    pub(super) verbosity: VerbosityArgs,
    /// The configuration file, instead of the first that is found
    #[arg(short, long = "config", value_name = "FILE")]
    pub(super) config_file: Option<PathBuf>,
    /// Whose settings: base, all, or a type of plugin
    #[arg(id = "type", short = 't', long = "type", value_enum, default_value_t = SettingGroup::Base)]
    pub(super) group: SettingGroup,
    /// With a type of plugin: only those of these plugins
    #[arg(value_name = "PLUGIN")]
    pub(super) plugins: Vec<String>,
}

/// Whose settings.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum SettingGroup {
    All,
    Base,
    Become,
    Cache,
    Callback,
    Cliconf,
    Connection,
    Httpapi,
    Inventory,
    Lookup,
    Netconf,
    Shell,
    Vars,
}

/// How `list` prints.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum ListFormat {
    Json,
    Yaml,
}

/// How `dump` prints.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum DumpFormat {
    Json,
    Yaml,
    Display,
}

/// What `init` writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum InitFormat {
    Ini,
    Env,
}

/// What `validate` checks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum ValidateFormat {
    Ini,
    Env,
}

/// Which inventory, which hosts of it, and extra variables.
#[derive(Debug, Args)]
pub(super) struct SourceArgs {
    /// An inventory file, directory or comma-separated host list; may be given several times
    #[arg(short, long, visible_alias = "inventory-file", value_name = "INVENTORY", action = ArgAction::Append)]
    pub(super) inventory: Vec<String>,
    /// Further limit the hosts to a pattern
    #[arg(short, long = "limit", value_name = "PATTERN", action = ArgAction::Append)]
    pub(super) limit: Vec<String>,
    /// Set variables: `key=value`, YAML or JSON, or @FILE; may be given several times
    #[arg(short, long, value_name = "VARS", action = ArgAction::Append)]
    pub(super) extra_vars: Vec<String>,
    /// Forget the cached facts of all hosts
    #[arg(long)]
    pub(super) flush_cache: bool,
}

/// The inventory and what concerns all its hosts.
#[derive(Debug, Args)]
pub(super) struct HostArgs {
    #[command(flatten)]
    pub(super) sources: SourceArgs,
    /// List the matching hosts, and run nothing
    #[arg(long)]
    pub(super) list_hosts: bool,
    /// How many hosts work at once (default: all)
    #[arg(short, long, value_name = "FORKS")]
    pub(super) forks: Option<usize>,
}

/// How tasks run.
#[derive(Debug, Args)]
pub(super) struct TaskArgs {
    /// Change nothing; tell what would change
    #[arg(short = 'C', long)]
    pub(super) check: bool,
    /// Show the differences in files and templates that change
    #[arg(short = 'D', long)]
    pub(super) diff: bool,
    /// Accepted as Ansible accepts it; modules are built in
    #[arg(short = 'M', long, value_name = "PATH", action = ArgAction::Append)]
    pub(super) module_path: Vec<String>,
    /// The agent for hosts of another CPU, as `uname -m` names it
    #[arg(long, value_name = "CPU=PATH", action = ArgAction::Append)]
    pub(super) agent: Vec<String>,
}

/// As whom and how to connect.
#[derive(Debug, Args)]
#[command(next_help_heading = "Connection options")]
pub(super) struct ConnectionArgs {
    /// Authenticate with this key
    #[arg(long, visible_alias = "key-file", value_name = "FILE")]
    pub(super) private_key: Option<PathBuf>,
    /// Connect as this user
    #[arg(short, long, value_name = "USER")]
    pub(super) user: Option<String>,
    /// The connection type: ssh, local or sandbox
    #[arg(short, long, value_name = "CONNECTION")]
    pub(super) connection: Option<String>,
    /// Give up connecting after this many seconds
    #[arg(short = 'T', long, value_name = "SECONDS")]
    pub(super) timeout: Option<u64>,
    /// Options for ssh, scp and sftp (such as `-o ProxyCommand=…`)
    #[arg(long, value_name = "ARGS", allow_hyphen_values = true)]
    pub(super) ssh_common_args: Option<String>,
    /// Accepted as Ansible accepts it; files travel over the agent
    #[arg(long, value_name = "ARGS", allow_hyphen_values = true)]
    pub(super) sftp_extra_args: Option<String>,
    /// Accepted as Ansible accepts it; files travel over the agent
    #[arg(long, value_name = "ARGS", allow_hyphen_values = true)]
    pub(super) scp_extra_args: Option<String>,
    /// Options for ssh only
    #[arg(long, value_name = "ARGS", allow_hyphen_values = true)]
    pub(super) ssh_extra_args: Option<String>,
    /// Ask for the connection password
    #[arg(short = 'k', long, conflicts_with = "connection_password_file")]
    pub(super) ask_pass: bool,
    /// Read the connection password from this file
    #[arg(long, visible_alias = "conn-pass-file", value_name = "FILE")]
    pub(super) connection_password_file: Option<PathBuf>,
}

/// As whom tasks run.
#[derive(Debug, Args)]
#[command(next_help_heading = "Privilege escalation options")]
pub(super) struct BecomeArgs {
    /// Run tasks as another user
    #[arg(id = "become", short = 'b', long = "become")]
    pub(super) enabled: bool,
    /// How: sudo, su, doas or runuser
    #[arg(id = "become_method", long = "become-method", value_name = "METHOD")]
    pub(super) method: Option<String>,
    /// As whom (default: root)
    #[arg(id = "become_user", long = "become-user", value_name = "USER")]
    pub(super) user: Option<String>,
    /// Ask for the password of privilege escalation
    #[arg(
        id = "ask_become_pass",
        short = 'K',
        long = "ask-become-pass",
        conflicts_with = "become_password_file"
    )]
    pub(super) ask_pass: bool,
    /// Read the password of privilege escalation from this file
    #[arg(
        id = "become_password_file",
        long = "become-password-file",
        visible_alias = "become-pass-file",
        value_name = "FILE"
    )]
    pub(super) password_file: Option<PathBuf>,
}

/// Where vault passwords come from.
#[derive(Clone, Debug, Default, Args)]
pub(super) struct VaultPasswordArgs {
    /// A vault identity: `label@prompt` or `label@FILE`; may be given several times
    #[arg(long, value_name = "ID", action = ArgAction::Append)]
    pub(super) vault_id: Vec<String>,
    /// Ask for the vault password
    #[arg(
        short = 'J',
        long,
        visible_alias = "ask-vault-pass",
        conflicts_with = "vault_password_file"
    )]
    pub(super) ask_vault_password: bool,
    /// Read the vault password from this file, or from what it prints when it is executable
    #[arg(long, visible_alias = "vault-pass-file", value_name = "FILE", action = ArgAction::Append)]
    pub(super) vault_password_file: Vec<PathBuf>,
}

/// How much is shown, and how.
#[derive(Debug, Args)]
pub(super) struct OutputArgs {
    #[command(flatten)]
    pub(super) verbosity: VerbosityArgs,
    /// What is written to standard output [default: text; for `deploy` in GitHub Actions: github]
    #[arg(long, value_enum, value_name = "FORMAT")]
    pub(super) output: Option<OutputFormat>,
}

impl OutputArgs {
    /// Returns the options of a command without `-v`.
    pub(super) fn quiet(json: bool) -> Self {
        Self {
            verbosity: VerbosityArgs { verbose: 0 },
            output: json.then_some(OutputFormat::Json),
        }
    }
}

/// `-v`.
#[derive(Debug, Args)]
pub(super) struct VerbosityArgs {
    /// Show more; may be given several times
    #[arg(short, long, action = ArgAction::Count)]
    pub(super) verbose: u8,
}

/// What is written to standard output.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum OutputFormat {
    /// The text of Ansible's default callback
    Text,
    /// Every event as one line of JSON
    Json,
    /// The text in groups, with annotations, as the log of GitHub Actions reads them
    Github,
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        Backstay::command().debug_assert();
        PlayArgs::command().debug_assert();
        RunArgs::command().debug_assert();
        InventoryArgs::command().debug_assert();
        ConfigArgs::command().debug_assert();
    }

    #[test]
    fn every_flag_of_ansible_playbook_is_taken() {
        let line = "ansible-playbook -vv --private-key k -u me -c ssh -T 5 --ssh-common-args=-4 \
                    --sftp-extra-args=-x --scp-extra-args=-y --ssh-extra-args=-z -k --force-handlers \
                    -b --become-method su --become-user app -K -t a,b --tags c --skip-tags d -C -D \
                    -i inv -i web1, --list-hosts -l web --flush-cache -e a=1 --extra-vars b=2 \
                    --vault-id dev@prompt -J -f 9 -M lib --syntax-check --list-tasks --list-tags \
                    --step --start-at-task x site.yml more.yml";
        let args = PlayArgs::try_parse_from(line.split_whitespace()).unwrap();
        assert_eq!(args.output.verbosity.verbose, 2);
        assert_eq!(args.hosts.sources.inventory, ["inv", "web1,"]);
        assert_eq!(args.tags, ["a,b", "c"]);
        assert_eq!(args.connection.ssh_common_args.as_deref(), Some("-4"));
        assert_eq!(
            args.playbooks,
            [PathBuf::from("site.yml"), "more.yml".into()]
        );
    }
}
