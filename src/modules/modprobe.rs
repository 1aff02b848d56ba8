//! `modprobe`: a module of the kernel, now and after a boot.

use std::path::{Path, PathBuf};

use crate::machine::{Content, Machine, NewFile, Output, split_words};

use super::tool;
use super::{Failure, ModuleResult, Outcome};

crate::arguments! {
    /// Load or unload kernel modules.
    pub(crate) struct ModprobeArgs for "community.general.modprobe" {
        /// The kernel module.
        name: String { required },
        /// Whether it should be loaded.
        state: String { default: "present", choices: ["absent", "present"] },
        /// Its parameters.
        params: String { default: "" },
        /// Whether it is loaded at boot; left alone by default.
        persistent: String { default: "disabled", choices: ["disabled", "present", "absent"] },
    }
}

const LOADED_AT_BOOT: &str = "/etc/modules-load.d";
const PARAMETERS: &str = "/etc/modprobe.d";

/// Loads or unloads the module.
pub(crate) fn run(machine: &mut Machine, args: ModprobeArgs) -> ModuleResult {
    let modprobe = tool::required(machine, "modprobe")?;
    let mut outcome = Outcome::unchanged()
        .with("name", args.name.as_str())
        .with("params", args.params.as_str())
        .with("state", args.state.as_str());
    let is_loaded = is_loaded(machine, &args.name)?;
    match (args.state.as_str(), is_loaded) {
        ("present", false) => load(machine, &args, &modprobe, &mut outcome)?,
        ("absent", true) => unload(machine, &args, &modprobe, &mut outcome)?,
        _ => {}
    }
    match args.persistent.as_str() {
        "present" => outcome.changed |= keep(machine, &args)?,
        "absent" => outcome.changed |= forget(machine, &args)?,
        _ => {}
    }
    Ok(outcome)
}

fn is_loaded(machine: &mut Machine, name: &str) -> Result<bool, Failure> {
    let list = Path::new("/proc/modules");
    // A kernel without loadable modules has no such list; modprobe will say so.
    let loaded = if machine.exists(list)? {
        read(machine, list)?
    } else {
        String::new()
    };
    let start = format!("{} ", name.replace('-', "_"));
    if loaded.lines().any(|line| line.starts_with(&start)) {
        return Ok(true);
    }
    let release = rustix::system::uname()
        .release()
        .to_string_lossy()
        .into_owned();
    let builtin = PathBuf::from(format!("/lib/modules/{release}/modules.builtin"));
    if !machine.exists(&builtin)? {
        return Ok(false);
    }
    let end = format!("/{name}.ko");
    Ok(read(machine, &builtin)?
        .lines()
        .any(|line| line.trim_end().ends_with(&end)))
}

fn read(machine: &mut Machine, path: &Path) -> Result<String, Failure> {
    let bytes = machine.read(path)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

fn load(
    machine: &mut Machine,
    args: &ModprobeArgs,
    modprobe: &str,
    outcome: &mut Outcome,
) -> Result<(), Failure> {
    let words =
        split_words(&args.params).ok_or_else(|| Failure::new("No closing quotation in params"))?;
    let argv = |flags: &[&str]| -> Vec<String> {
        [&[modprobe], flags, &[args.name.as_str()]]
            .concat()
            .into_iter()
            .map(str::to_owned)
            .chain(words.iter().cloned())
            .collect()
    };
    if machine.is_check() {
        let tried = tool::ask(machine, &argv(&["-n"]))?;
        refuse(args, outcome, Some(&tried))?;
        outcome.changed = true;
        return Ok(());
    }
    let undo = [modprobe, "-r", &args.name];
    let output = tool::act(machine, &argv(&[]), &undo)?;
    refuse(args, outcome, output.as_ref())?;
    if is_loaded(machine, &args.name)? {
        outcome.changed = true;
        return Ok(());
    }
    let tried = tool::ask(machine, &argv(&["-n", "--first-time"]))?;
    if !tried.success() {
        outcome.warnings.push(tried.stderr_text());
    }
    Ok(())
}

fn unload(
    machine: &mut Machine,
    args: &ModprobeArgs,
    modprobe: &str,
    outcome: &mut Outcome,
) -> Result<(), Failure> {
    let argv = [modprobe, "-r", &args.name];
    let output = if machine.is_check() {
        Some(tool::ask(machine, &[modprobe, "-r", &args.name, "-n"])?)
    } else {
        tool::act(machine, &argv, &[modprobe, &args.name])?
    };
    refuse(args, outcome, output.as_ref())?;
    outcome.changed = true;
    Ok(())
}

fn refuse(
    _args: &ModprobeArgs,
    outcome: &Outcome,
    output: Option<&crate::machine::Output>,
) -> Result<(), Failure> {
    tool::check(output, Output::stderr_text)
        .map_err(|failure| failure.with_all(outcome.data.clone()))
}

/// Makes the module be loaded at boot with its parameters; tells whether anything changed.
fn keep(machine: &mut Machine, args: &ModprobeArgs) -> Result<bool, Failure> {
    let mut changed = false;
    if !is_loaded_at_boot(machine, &args.name)? {
        let path = Path::new(LOADED_AT_BOOT).join(format!("{}.conf", args.name));
        write(machine, &path, format!("{}\n", args.name))?;
        changed = true;
    }
    let mut wanted: Vec<_> = args.params.split_whitespace().map(str::to_owned).collect();
    wanted.sort();
    wanted.dedup();
    if parameters(machine, &args.name)? != wanted {
        comment_out(machine, PARAMETERS, |line| {
            parameter(line, &args.name).is_some()
        })?;
        let lines = args.params.split_whitespace();
        let lines: Vec<_> = lines
            .map(|one| format!("options {} {one}", args.name))
            .collect();
        let path = Path::new(PARAMETERS).join(format!("{}.conf", args.name));
        write(machine, &path, lines.join("\n") + "\n")?;
        changed = true;
    }
    Ok(changed)
}

/// Makes the module not be loaded at boot; tells whether anything changed.
fn forget(machine: &mut Machine, args: &ModprobeArgs) -> Result<bool, Failure> {
    let loaded = comment_out(machine, LOADED_AT_BOOT, |line| names(line, &args.name))?;
    let set = comment_out(machine, PARAMETERS, |line| {
        parameter(line, &args.name).is_some()
    })?;
    Ok(loaded || set)
}

fn is_loaded_at_boot(machine: &mut Machine, name: &str) -> Result<bool, Failure> {
    for path in files(machine, LOADED_AT_BOOT)? {
        if read(machine, &path)?.lines().any(|line| names(line, name)) {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Returns the parameters that are set at boot, each once and sorted.
fn parameters(machine: &mut Machine, name: &str) -> Result<Vec<String>, Failure> {
    let mut found = Vec::new();
    for path in files(machine, PARAMETERS)? {
        let text = read(machine, &path)?;
        found.extend(
            text.lines()
                .filter_map(|line| parameter(line, name))
                .map(str::to_owned),
        );
    }
    found.sort();
    found.dedup();
    Ok(found)
}

fn files(machine: &Machine, directory: &str) -> Result<Vec<PathBuf>, Failure> {
    let directory = Path::new(directory);
    if !machine.is_dir(directory)? {
        return Ok(Vec::new());
    }
    let mut files = Vec::new();
    for entry in machine.read_dir(directory)? {
        let path = directory.join(entry.name);
        if machine
            .metadata(&path)?
            .is_some_and(|found| found.is_file())
        {
            files.push(path);
        }
    }
    Ok(files)
}

/// Tells whether a line names the module and nothing else but a comment.
fn names(line: &str, name: &str) -> bool {
    let line = line.trim_matches(' ');
    line.strip_prefix(name).is_some_and(|rest| {
        let rest = rest.trim_start_matches(' ');
        rest.is_empty() || rest.starts_with(['#', ';'])
    })
}

/// Reads `options NAME PARAMETER=VALUE`.
fn parameter<'a>(line: &'a str, name: &str) -> Option<&'a str> {
    let rest = line
        .strip_prefix("options ")?
        .strip_prefix(name)?
        .strip_prefix(' ')?;
    let (set, rest) = match rest.find(' ') {
        Some(end) => rest.split_at(end),
        None => (rest, ""),
    };
    let rest = rest.trim_start_matches(' ');
    let (key, value) = set.split_once('=')?;
    let is_word = !key.is_empty() && key.chars().all(|c| c.is_alphanumeric() || c == '_');
    let ends = rest.is_empty() || rest.starts_with(['#', ';']);
    (is_word && !value.is_empty() && ends).then_some(set)
}

/// Comments out the lines of a directory's files that are meant; tells whether there were any.
fn comment_out(
    machine: &mut Machine,
    directory: &str,
    is_meant: impl Fn(&str) -> bool,
) -> Result<bool, Failure> {
    let mut changed = false;
    for path in files(machine, directory)? {
        let text = read(machine, &path)?;
        if !text.lines().any(&is_meant) {
            continue;
        }
        let lines = text.lines().map(|line| {
            if is_meant(line) {
                format!("#{line}\n")
            } else {
                format!("{line}\n")
            }
        });
        write(machine, &path, lines.collect())?;
        changed = true;
    }
    Ok(changed)
}

fn write(machine: &mut Machine, path: &Path, text: String) -> Result<(), Failure> {
    let path = machine.real_path(path)?;
    if let Some(directory) = path.parent() {
        machine.create_dir_all(directory, 0o755)?;
    }
    let content = Content::Bytes(text.into_bytes());
    Ok(machine.write(&path, content, &NewFile::default())?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::machine::MachineOptions;
    use crate::modules::fake::Programs;
    use crate::value::Value;

    fn parse(json: &str) -> ModprobeArgs {
        let given: Value = serde_json::from_str(json).unwrap();
        ModprobeArgs::parse(given.as_map().unwrap()).unwrap()
    }

    #[test]
    fn what_cannot_be_loaded_says_why() {
        let programs = Programs::new([("modprobe", "echo 'FATAL: not found' >&2; exit 1")]);
        let args = parse(r#"{"name": "backstay-none", "params": "a=1"}"#);
        let failure = run(&mut programs.machine(), args).unwrap_err();
        assert_eq!(failure.msg, "FATAL: not found\n");
        assert_eq!(failure.data.get("name"), Some(&"backstay-none".into()));
        assert_eq!(programs.calls(), ["modprobe backstay-none a=1"]);
        assert_eq!(programs.undo_steps(), ["modprobe -r backstay-none"]);
    }

    #[test]
    fn a_module_is_kept_for_the_next_boot_and_forgotten() {
        let mut machine = Machine::new(MachineOptions {
            check: true,
            ..MachineOptions::default()
        });
        let args = parse(r#"{"name": "backstay-none", "params": "a=1 b=2"}"#);
        assert_eq!(keep(&mut machine, &args), Ok(true));
        assert_eq!(keep(&mut machine, &args), Ok(false));
        let path = Path::new("/etc/modprobe.d/backstay-none.conf");
        assert_eq!(
            read(&mut machine, path).unwrap(),
            "options backstay-none a=1\noptions backstay-none b=2\n"
        );
        assert_eq!(forget(&mut machine, &args), Ok(true));
        assert_eq!(forget(&mut machine, &args), Ok(false));
        let path = Path::new("/etc/modules-load.d/backstay-none.conf");
        assert_eq!(read(&mut machine, path).unwrap(), "#backstay-none\n");
    }

    #[test]
    fn lines_are_read_with_their_comments() {
        assert!(names(" dummy  # why", "dummy"));
        assert!(!names("dummy2", "dummy"));
        assert_eq!(parameter("options dummy n=2 # x", "dummy"), Some("n=2"));
        assert_eq!(parameter("options dummy n=2 m=3", "dummy"), None);
    }
}
