//! Modules that stand in files of the controller: which kind each is, what reads it, and what it
//! is told beside its options. The target runs it; here nothing of it runs.

use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use base64::Engine;

use super::payload::{is_python, payload};
use super::{ActionContext, Answer};
use crate::arguments::ArgumentSpec;
use crate::executor::content::content_option;
use crate::executor::failure::Failure;
use crate::playbook::{ExternalModule, words};
use crate::value::{Map, Value};

/// External modules take whatever they are given.
pub(super) const SPEC: ArgumentSpec =
    ArgumentSpec::new("module", &["Runs a module of the controller."], &[], &[]);

/// How a module takes its options, and what is sent of it.
struct Program {
    style: &'static str,
    /// What reads it; empty where the target is to find a Python.
    interpreter: Vec<String>,
    bytes: Vec<u8>,
    entry: Option<String>,
}

/// Sends the module to the target and has it run there.
pub(super) async fn run(
    context: &mut ActionContext<'_>,
    module: &ExternalModule,
) -> Result<Answer, Failure> {
    let source = std::fs::read(&module.path).map_err(|error| {
        Failure::new(format!(
            "the module {} cannot be read: {error}",
            module.path.display()
        ))
    })?;
    let program = program(context, module, source)?;
    let mut options = std::mem::take(&mut context.args);
    options.extend(told(context, module));
    let mut args = Map::new();
    let mut set = |key: &str, value: Value| args.insert(key.into(), value);
    set("name", (&*module.name).into());
    set("style", program.style.into());
    set("interpreter", Value::list(program.interpreter));
    set("options", options.into());
    if let Some(entry) = program.entry {
        set("entry", entry.into());
    }
    // A job in the background outlives the controller's offers.
    if context.settings.async_seconds > 0 {
        let text = base64::engine::general_purpose::STANDARD.encode(&program.bytes);
        set("_inline", text.into());
    } else {
        let offer = context.job.world.contents.offer_bytes(program.bytes);
        set("_content", content_option(&offer));
    }
    context.module("module", args).await
}

fn program(
    context: &ActionContext<'_>,
    module: &ExternalModule,
    bytes: Vec<u8>,
) -> Result<Program, Failure> {
    let plain = |style, interpreter, bytes| Program {
        style,
        interpreter,
        bytes,
        entry: None,
    };
    if is_binary(&bytes) {
        return Ok(plain("program", Vec::new(), bytes));
    }
    let source = String::from_utf8_lossy(&bytes).into_owned();
    let interpreter = interpreter(context, &source)?;
    if is_python(&source) {
        let text = source.replace(
            "#<<INCLUDE_ANSIBLE_MODULE_COMMON>>",
            "from ansible.module_utils.basic import *",
        );
        let core = core(context)?;
        let (archive, entry) = payload(module, text.as_bytes(), &core).map_err(Failure::new)?;
        return Ok(Program {
            style: "python",
            interpreter: interpreter.unwrap_or_default(),
            bytes: archive,
            entry: Some(entry),
        });
    }
    let style = if source.contains("<<INCLUDE_ANSIBLE_MODULE_JSON_ARGS>>") {
        "embedded"
    } else if source.contains("WANT_JSON") {
        "json"
    } else {
        "key_value"
    };
    match interpreter {
        Some(interpreter) => Ok(plain(style, interpreter, bytes)),
        None => Err(Failure::new(format!(
            "module ({}) is missing interpreter line",
            module.name
        ))),
    }
}

/// Tells whether the first bytes hold any that no text has.
fn is_binary(bytes: &[u8]) -> bool {
    bytes.iter().take(1024).any(|byte| {
        let is_text = matches!(byte, 7..=10 | 12 | 13 | 27 | 0x20..=0x7e | 0x80..);
        !is_text
    })
}

/// Returns what the first line says reads the module, or what a variable says instead. A plain
/// `python` that no variable names is left to the target: nothing.
fn interpreter(context: &ActionContext<'_>, source: &str) -> Result<Option<Vec<String>>, Failure> {
    let line = source.lines().next().unwrap_or_default();
    let Some(line) = line.strip_prefix("#!") else {
        return python_of(context, is_python(source));
    };
    let mut said = words(line.trim()).unwrap_or_default();
    said.retain(|word| !word.trim().is_empty());
    let Some(first) = said.first().cloned() else {
        return Ok(None);
    };
    let name = first
        .trim()
        .rsplit('/')
        .next()
        .unwrap_or_default()
        .to_owned();
    if name == "python" {
        let mut found = python_of(context, true)?.unwrap_or_default();
        if !found.is_empty() {
            found.extend(said.into_iter().skip(1));
        }
        return Ok(Some(found));
    }
    let variable = format!("ansible_{name}_interpreter");
    if let Some(value) = context.target_renderer.variable(&variable)? {
        value.to_string().trim().clone_into(&mut said[0]);
    }
    Ok(Some(said))
}

fn python_of(context: &ActionContext<'_>, is_python: bool) -> Result<Option<Vec<String>>, Failure> {
    if !is_python {
        return Ok(None);
    }
    let named = context
        .target_renderer
        .variable("ansible_python_interpreter")?
        .map(|value| value.to_string().trim().to_owned());
    if let Some(path) = named.filter(|path| !path.is_empty() && !path.starts_with("auto")) {
        return Ok(Some(vec![path]));
    }
    let facts = context.target_renderer.variable("ansible_facts")?;
    let known = facts.and_then(|facts| facts.get("discovered_interpreter_python").cloned());
    Ok(Some(
        known.map(|path| path.to_string()).into_iter().collect(),
    ))
}

/// Finds the ansible-core that is installed on the controller.
fn core(context: &ActionContext<'_>) -> Result<PathBuf, Failure> {
    static FOUND: OnceLock<Option<PathBuf>> = OnceLock::new();
    let python = context
        .renderer
        .variable("ansible_playbook_python")?
        .map_or_else(|| "python3".to_owned(), |value| value.to_string());
    let found = FOUND.get_or_init(|| installed_core(&python));
    found.clone().ok_or_else(|| {
        Failure::new(
            "the module is of Python and needs ansible-core's `module_utils`, and no ansible-core \
             is installed here",
        )
        .help("install ansible-core where `python3` finds it: `pip install ansible-core`")
    })
}

/// Asks a Python where its package `ansible` is.
fn installed_core(python: &str) -> Option<PathBuf> {
    #[expect(
        clippy::disallowed_methods,
        reason = "the controller's own Python is asked for a path"
    )]
    let asked = std::process::Command::new(python)
        .args(["-c", "import ansible; print(ansible.__path__[0])"])
        .stdin(std::process::Stdio::null())
        .output()
        .ok()?;
    let path = String::from_utf8(asked.stdout).ok()?;
    let path = Path::new(path.trim());
    path.join("module_utils/basic.py")
        .is_file()
        .then(|| path.to_owned())
}

/// Returns what every module is told beside its options.
fn told(context: &ActionContext<'_>, module: &ExternalModule) -> Map {
    const SPECIAL: [&str; 5] = ["fuse", "nfs", "vboxsf", "ramfs", "9p"];
    let settings = context.settings;
    let pairs: [(&str, Value); 16] = [
        ("_ansible_check_mode", settings.check.into()),
        ("_ansible_no_log", settings.no_log.into()),
        ("_ansible_debug", false.into()),
        ("_ansible_diff", settings.diff.into()),
        (
            "_ansible_verbosity",
            i64::from(context.job.world.options.verbosity).into(),
        ),
        ("_ansible_version", CORE_VERSION.into()),
        ("_ansible_module_name", (&*module.name).into()),
        ("_ansible_syslog_facility", "LOG_USER".into()),
        ("_ansible_selinux_special_fs", Value::list(SPECIAL)),
        ("_ansible_socket", Value::Null),
        ("_ansible_shell_executable", "/bin/sh".into()),
        ("_ansible_keep_remote_files", false.into()),
        ("_ansible_remote_tmp", "~/.ansible/tmp".into()),
        ("_ansible_ignore_unknown_opts", false.into()),
        ("_ansible_target_log_info", Value::Null),
        ("_ansible_tracebacks_for", Value::list::<Value>([])),
    ];
    pairs
        .into_iter()
        .map(|(key, value)| (Value::from(key), value))
        .collect()
}

/// The version of ansible-core whose behaviour this is.
const CORE_VERSION: &str = "2.19.14";
