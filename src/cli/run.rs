//! `backstay run`: one module on hosts, as a play of one task.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::arguments::RunArgs;
use super::execution::exit_code;
use super::job::{Job, Tags};
use super::preparation::Preparation;
use super::run_options::CommandOptions;
use super::screen::Layout;
use crate::config::Config;
use crate::error::{EXIT_OK, Error, Result};
use crate::playbook::{FileKind, Files};
use crate::source::SourceFile;
use crate::value::{Map, Value};
use crate::yaml::{self, MultiLine, YamlStyle};

/// The name errors show for the play that is made of the command line.
pub(super) const PLAY: &str = "<ad hoc>";

/// As a playbook would be written: an error shows the line that it is about.
const LAID_OUT: YamlStyle = YamlStyle {
    indent: 2,
    width: usize::MAX,
    sort_keys: false,
    default_flow_style: Some(false),
    explicit_start: false,
    explicit_end: false,
    allow_unicode: true,
    multi_line: MultiLine::Quoted,
    scalars: None,
    vault_tags: false,
};

/// Runs the module, or lists the hosts it would run on.
pub(super) fn run(args: &RunArgs, prepared: &Preparation) -> Result<u8, Vec<Error>> {
    if args.hosts.list_hosts {
        return list_hosts(args, prepared).map_err(|error| vec![error]);
    }
    let play = play_of(args, &prepared.config).map_err(|error| vec![error])?;
    let files = AdHoc {
        play: SourceFile::new(PLAY, yaml::to_yaml(&play, &LAID_OUT)),
        files: Arc::clone(&prepared.files) as _,
    };
    let command = CommandOptions {
        task: &args.task,
        connection: &args.connection,
        become_: &args.become_,
        output: &args.output,
        forks: args.hosts.forks,
        layout: layout(args, &prepared.config).map_err(|error| vec![error])?,
        plan: false,
        retry: None,
    };
    let named = prepared.config.text("PLAYBOOK_DIR").map(PathBuf::from);
    let directory = args.playbook_dir.clone().or(named).unwrap_or_default();
    let job = Job {
        prepared,
        files: Arc::new(files),
        tags: &Tags::new(&[], &[], &prepared.config),
        playbooks: &[directory.join(PLAY)],
    };
    job.run(&command, |_| {}).map(|outcome| exit_code(&outcome))
}

/// Returns the layout: as Ansible has it, `stdout_callback` counts only beside
/// `bin_ansible_callbacks`.
fn layout(args: &RunArgs, config: &Config) -> Result<Layout> {
    if args.one_line {
        return Ok(Layout::OneLine);
    }
    let is_default = config.text("DEFAULT_STDOUT_CALLBACK").as_deref() == Some("default");
    if is_default || !config.is_on("DEFAULT_LOAD_CALLBACK_PLUGINS") {
        return Ok(Layout::Minimal);
    }
    Layout::from_config(config)
}

fn list_hosts(args: &RunArgs, prepared: &Preparation) -> Result<u8> {
    use std::io::Write;

    let limit = prepared.limit.as_ref();
    let hosts = match prepared.inventory.targets(&args.pattern, limit) {
        Err(_) if limit.is_none() => {
            for text in prepared.inventory.hosts_matching(&args.pattern)?.warnings {
                super::tell_warning(prepared, &text, None);
            }
            Vec::new()
        }
        targets => targets?.hosts,
    };
    super::tell_warnings(prepared);
    let mut text = format!("  hosts ({}):\n", hosts.len());
    for host in hosts {
        text += &format!("    {host}\n");
    }
    std::io::stdout()
        .write_all(text.as_bytes())
        .map_err(super::cannot_print)?;
    Ok(EXIT_OK)
}

/// Returns the play of one task that the command line describes.
fn play_of(args: &RunArgs, config: &Config) -> Result<Value> {
    let mut task = Map::new();
    let setting = |name: &str| config.text(name).unwrap_or_default();
    let module = args
        .module_name
        .clone()
        .unwrap_or_else(|| setting("DEFAULT_MODULE_NAME"));
    let given = args
        .module_args
        .clone()
        .unwrap_or_else(|| setting("DEFAULT_MODULE_ARGS"));
    let given = given.trim();
    if given.starts_with('{') {
        let options = yaml::parse_data(given).map_err(|error| {
            Error::usage("the arguments of `-a` are not a dictionary").caused_by(error)
        })?;
        task.insert(module.into(), options);
    } else {
        let action = format!("{module} {given}");
        task.insert("action".into(), action.trim_end().into());
    }
    for (keyword, value) in [
        ("async", args.background),
        ("poll", args.poll_interval),
        ("timeout", args.task_timeout),
    ] {
        if let Some(value) = value {
            task.insert(keyword.into(), value.into());
        }
    }
    let play = Value::map([
        ("name", Value::from("Ansible Ad-Hoc")),
        ("hosts", args.pattern.as_str().into()),
        ("gather_facts", false.into()),
        ("tasks", Value::list([Value::from(task)])),
    ]);
    Ok(Value::list([play]))
}

/// The controller's files, and beside them the play of the command line.
pub(super) struct AdHoc {
    pub(super) play: Arc<SourceFile>,
    pub(super) files: Arc<dyn Files + Send + Sync>,
}

impl Files for AdHoc {
    fn read(&self, path: &Path) -> Result<Arc<SourceFile>> {
        if path.ends_with(PLAY) {
            Ok(Arc::clone(&self.play))
        } else {
            self.files.read(path)
        }
    }

    fn is_vaulted(&self, path: &Path) -> bool {
        self.files.is_vaulted(path)
    }

    fn kind(&self, path: &Path) -> Option<FileKind> {
        if path.ends_with(PLAY) {
            Some(FileKind::File)
        } else {
            self.files.kind(path)
        }
    }

    fn list(&self, directory: &Path) -> Vec<String> {
        self.files.list(directory)
    }
}
