//! `cron`: one job or variable of a crontab, of a user or in a file of its own.

mod table;

use std::path::{Path, PathBuf};

use crate::machine::{Command, Content, Effect, Machine, NewFile};

use super::tool;
use super::{Diff, Failure, ModuleResult, Outcome};
use table::Table;

crate::arguments! {
    /// Manage cron.d and crontab entries.
    pub(crate) struct CronArgs for "cron" {
        /// What the job is known by, or the variable.
        name: String { required },
        /// Whose crontab, or as whom a job of a file runs.
        user: Option<String> {},
        /// The command, or the variable's value.
        job: Option<String> { aliases: ["value"] },
        /// Whether the job or variable should be there.
        state: String { default: "present", choices: ["present", "absent"] },
        /// A file, below /etc/cron.d if it is relative.
        cron_file: Option<PathBuf> {},
        /// Keep a copy of the crontab.
        backup: bool { default: "false" },
        minute: String { default: "*" },
        hour: String { default: "*" },
        day: String { default: "*", aliases: ["dom"] },
        month: String { default: "*" },
        weekday: String { default: "*", aliases: ["dow"] },
        /// A time by its name.
        special_time: Option<String> {
            choices: ["reboot", "yearly", "annually", "monthly", "weekly", "daily", "hourly"],
        },
        /// Comment the job out.
        disabled: bool { default: "false" },
        /// Manage a variable instead of a job.
        env: bool { default: "false" },
        /// Put the variable after this one.
        insertafter: Option<String> {},
        /// Put the variable before this one.
        insertbefore: Option<String> {},
    }
    mutually_exclusive [["insertafter", "insertbefore"]]
}

/// Brings the job or variable into the wanted state.
pub(crate) fn run(machine: &mut Machine, args: CronArgs) -> ModuleResult {
    let mut outcome = Outcome::unchanged();
    if let Some(file) = &args.cron_file {
        outcome.warnings.extend(warning_of_name(file)?);
    }
    let place = Place::of(machine, &args)?;
    check(&args)?;
    let old = place.read(machine)?;
    let mut table = Table::parse(&old);
    let original = table.render();
    let mut changed = if args.env {
        change_variable(&mut table, &args)?
    } else {
        outcome.warnings.extend(warning_of_line_breaks(&args));
        change_job(&mut table, &args)
    };
    if changed
        && args.state == "absent"
        && !args.env
        && table.is_empty()
        && let Place::File(path) = &place
    {
        return remove_file(machine, &args, path, &old, outcome);
    }
    if !changed && !old.is_empty() && !old.ends_with(['\r', '\n']) {
        changed = true;
    }
    outcome = outcome
        .with_changed(changed)
        .with("jobs", crate::value::Value::list(table.job_names()))
        .with("envs", crate::value::Value::list(table.variable_names()));
    if changed {
        if args.backup {
            let backup = keep(machine, &original)?;
            outcome = outcome.with("backup_file", backup.display().to_string());
        }
        place.write(machine, &old, &table.render())?;
        if machine.wants_diff() {
            let header = place.name(&args);
            let diff = Diff::new(old, table.render());
            outcome = outcome.only_diff(diff.headers(header.clone(), header));
        }
    }
    Ok(match &args.cron_file {
        Some(file) => outcome.with("cron_file", file.display().to_string()),
        None => outcome,
    })
}

fn warning_of_name(file: &Path) -> Result<Option<String>, Failure> {
    if file == Path::new("/etc/crontab") {
        return Err(Failure::new(
            "Will not manage /etc/crontab via cron_file, see documentation.",
        ));
    }
    let name = file.file_name().unwrap_or_default().to_string_lossy();
    let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-');
    let is_ignored = name.is_empty() || !name.chars().all(is_plain);
    Ok(is_ignored.then(|| {
        format!(
            "Filename portion of cron_file (\"{name}\") should consist solely of upper- and \
             lower-case letters, digits, underscores, and hyphens"
        )
    }))
}

fn warning_of_line_breaks(args: &CronArgs) -> Option<String> {
    let job = args.job.as_deref().unwrap_or_default();
    (args.state == "present" && job.trim_matches(['\r', '\n']).contains(['\r', '\n']))
        .then(|| "Job should not contain line breaks".to_owned())
}

fn check(args: &CronArgs) -> Result<(), Failure> {
    let times = [
        &args.minute,
        &args.hour,
        &args.day,
        &args.month,
        &args.weekday,
    ];
    let is_present = args.state == "present";
    let is_placed = args.insertafter.is_some() || args.insertbefore.is_some();
    let wrong = [
        (
            args.special_time.is_some() && times.iter().any(|time| *time != "*"),
            "You cannot combine special_time with any of the time or day/date parameters.",
        ),
        (
            is_present
                && args.cron_file.is_some()
                && args.user.as_deref().is_none_or(str::is_empty),
            "To use cron_file=... parameter you must specify user=... as well",
        ),
        (
            is_present && args.job.is_none(),
            "You must specify 'job' to install a new cron job or variable",
        ),
        (
            is_present && is_placed && !args.env,
            "Insertafter and insertbefore parameters are valid only with env=yes",
        ),
        (
            args.env && args.name.contains(' '),
            "Invalid name for environment variable",
        ),
    ];
    match wrong.iter().find(|(is_wrong, _)| *is_wrong) {
        Some((_, msg)) => Err(Failure::new(*msg)),
        None => Ok(()),
    }
}

fn change_variable(table: &mut Table, args: &CronArgs) -> Result<bool, Failure> {
    if args.state == "absent" {
        return Ok(table.remove_variable(&args.name));
    }
    let line = format!(
        "{}=\"{}\"",
        args.name,
        args.job.as_deref().unwrap_or_default()
    );
    let (after, before) = (args.insertafter.as_deref(), args.insertbefore.as_deref());
    table.set_variable(&args.name, &line, after, before)
}

fn change_job(table: &mut Table, args: &CronArgs) -> bool {
    if args.state == "absent" {
        return table.remove_job(&args.name);
    }
    table.set_job(&args.name, &job_line(args))
}

fn job_line(args: &CronArgs) -> String {
    let mut words = match &args.special_time {
        Some(time) => vec![format!("@{time}")],
        None => vec![
            args.minute.clone(),
            args.hour.clone(),
            args.day.clone(),
            args.month.clone(),
            args.weekday.clone(),
        ],
    };
    if args.cron_file.is_some() {
        words.extend(args.user.clone());
    }
    let job = args.job.as_deref().unwrap_or_default();
    words.push(job.trim_matches(['\r', '\n']).to_owned());
    let start = if args.disabled { "#" } else { "" };
    format!("{start}{}", words.join(" "))
}

fn remove_file(
    machine: &mut Machine,
    args: &CronArgs,
    path: &Path,
    old: &str,
    outcome: Outcome,
) -> ModuleResult {
    let is_removed = machine.remove(path)?;
    let shown = args.cron_file.as_deref().unwrap_or(path);
    let outcome = outcome
        .with_changed(is_removed)
        .with("cron_file", shown.display().to_string())
        .with("state", args.state.as_str());
    if machine.wants_diff() {
        let diff = Diff::new(old, "");
        return Ok(outcome.only_diff(diff.headers(path.display().to_string(), "/dev/null")));
    }
    Ok(outcome)
}

/// Keeps a copy where Ansible keeps it: beside other temporary files.
fn keep(machine: &mut Machine, text: &str) -> Result<PathBuf, Failure> {
    let path = PathBuf::from(format!("/tmp/crontab{:08x}", rand::random::<u32>()));
    let new = NewFile {
        mode: Some(0o600),
        ..NewFile::default()
    };
    machine.write(&path, Content::Bytes(text.as_bytes().to_vec()), &new)?;
    Ok(path)
}

/// Where a crontab is.
enum Place {
    File(PathBuf),
    /// A user's, spoken to through `crontab` with these first words.
    User(Vec<String>),
}

impl Place {
    fn of(machine: &mut Machine, args: &CronArgs) -> Result<Self, Failure> {
        let crontab = tool::required(machine, "crontab")?;
        if let Some(file) = &args.cron_file {
            return Ok(Self::File(Path::new("/etc/cron.d").join(file)));
        }
        let mut words = vec![crontab];
        if let Some(user) = args.user.as_deref().filter(|user| !user.is_empty()) {
            let me = rustix::process::geteuid().as_raw();
            if machine.user_name(me).as_deref() != Some(user) {
                words.extend(["-u".into(), user.to_owned()]);
            }
        }
        Ok(Self::User(words))
    }

    fn read(&self, machine: &mut Machine) -> Result<String, Failure> {
        match self {
            Self::File(path) => {
                if !machine.exists(path)? {
                    return Ok(String::new());
                }
                let bytes = machine.read(path)?;
                Ok(String::from_utf8_lossy(&bytes).into_owned())
            }
            Self::User(words) => {
                let output = machine.query(&Command::new(words).arg("-l"))?;
                match output.status {
                    0 => Ok(table::without_header(&output.stdout_text())),
                    // There is none yet.
                    1 => Ok(String::new()),
                    _ => Err(tool::failed(&output, "Unable to read crontab")),
                }
            }
        }
    }

    fn write(&self, machine: &mut Machine, old: &str, text: &str) -> Result<(), Failure> {
        match self {
            Self::File(path) => {
                let path = machine.real_path(path)?;
                let new = NewFile {
                    mode: (!machine.exists(&path)?).then_some(0o644),
                    ..NewFile::default()
                };
                Ok(machine.write(&path, Content::Bytes(text.as_bytes().to_vec()), &new)?)
            }
            Self::User(words) => {
                let command = Command::new(words).arg("-").stdin(text);
                let effect = Effect::compensated(words.join(" "), restoring(words, old));
                match machine.execute(&command, effect)?.output() {
                    Some(output) if !output.success() => {
                        Err(tool::failed(&output, "Failed to install new cronfile"))
                    }
                    _ => Ok(()),
                }
            }
        }
    }

    fn name(&self, args: &CronArgs) -> String {
        match (self, &args.user) {
            (Self::File(path), _) => path.display().to_string(),
            (Self::User(_), Some(user)) => format!("crontab for user \"{user}\""),
            (Self::User(_), None) => "crontab".into(),
        }
    }
}

/// Returns what installs the old crontab again, or removes what was none.
fn restoring(words: &[String], old: &str) -> Vec<String> {
    let mut undo = Vec::new();
    if old.is_empty() {
        undo.extend_from_slice(words);
        undo.push("-r".into());
    } else {
        let script = r#"text=$1; shift; printf %s "$text" | "$@" -"#;
        undo.extend(["sh", "-c", script, "sh", old].map(str::to_owned));
        undo.extend_from_slice(words);
    }
    undo
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::modules::fake::Programs;
    use crate::value::Value;

    const CRONTAB: &str = r#"
case "$*" in
  *-l) cat "$here/tab" 2>/dev/null || exit 1 ;;
  *bad*) echo 'bad minute' >&2; exit 3 ;;
  *-) cat >"$here/tab" ;;
esac
"#;

    fn call(programs: &Programs, json: &str) -> ModuleResult {
        let given: Value = serde_json::from_str(json).unwrap();
        let args = CronArgs::parse(given.as_map().unwrap())?;
        run(&mut programs.machine(), args)
    }

    fn tab(programs: &Programs) -> String {
        let output = programs.machine().query(&Command::new(["crontab", "-l"]));
        output.unwrap().stdout_text()
    }

    #[test]
    fn a_job_is_added_changed_and_removed_once() {
        let programs = Programs::new([("crontab", CRONTAB)]);
        let options = r#"{"name": "clean", "minute": "5", "job": "rm x"}"#;
        let outcome = call(&programs, options).unwrap();
        assert_eq!(
            serde_json::to_string(&Value::from(outcome.into_result())).unwrap(),
            r##"{"changed":true,"jobs":["clean"],"envs":[],"diff":{"before":"","after":"#Ansible: clean\n5 * * * * rm x\n","before_header":"crontab","after_header":"crontab"}}"##
        );
        assert_eq!(tab(&programs), "#Ansible: clean\n5 * * * * rm x\n");
        assert!(!call(&programs, options).unwrap().changed);
        let options =
            r#"{"name": "clean", "special_time": "daily", "job": "rm y", "disabled": true}"#;
        assert!(call(&programs, options).unwrap().changed);
        assert_eq!(tab(&programs), "#Ansible: clean\n#@daily rm y\n");
        let options = r#"{"name": "clean", "state": "absent"}"#;
        assert!(call(&programs, options).unwrap().changed);
        assert_eq!(tab(&programs), "");
        assert!(!call(&programs, options).unwrap().changed);
        assert_eq!(
            programs.undo_steps(),
            [
                "crontab -r",
                "sh -c text=$1; shift; printf %s \"$text\" | \"$@\" - sh #Ansible: clean\n5 * * * * rm x\n crontab",
                "sh -c text=$1; shift; printf %s \"$text\" | \"$@\" - sh #Ansible: clean\n#@daily rm y\n crontab",
            ]
        );
    }

    #[test]
    fn a_file_has_the_user_in_its_lines_and_goes_with_its_last_job() {
        let programs = Programs::new([("crontab", CRONTAB)]);
        let root = tempfile::tempdir().unwrap();
        let file = root.path().join("jobs");
        let given = |options: &str| {
            format!(
                r#"{{"name": "j", "cron_file": "{}", {options}}}"#,
                file.display()
            )
        };
        call(&programs, &given(r#""user": "www", "job": "x""#)).unwrap();
        let text = std::fs::read_to_string(&file).unwrap();
        assert_eq!(text, "#Ansible: j\n* * * * * www x\n");
        assert!(
            call(&programs, &given(r#""state": "absent""#))
                .unwrap()
                .changed
        );
        assert!(!file.exists());
    }

    #[test]
    fn what_cannot_be_is_named() {
        let programs = Programs::new([("crontab", CRONTAB)]);
        for (options, msg) in [
            (
                r#"{"name": "x", "job": "y", "special_time": "daily", "hour": "1"}"#,
                "You cannot combine special_time with any of the time or day/date parameters.",
            ),
            (
                r#"{"name": "x"}"#,
                "You must specify 'job' to install a new cron job or variable",
            ),
            (
                r#"{"name": "x", "job": "y", "cron_file": "f"}"#,
                "To use cron_file=... parameter you must specify user=... as well",
            ),
            (
                r#"{"name": "x", "job": "y", "user": "bad"}"#,
                "Failed to install new cronfile",
            ),
        ] {
            assert_eq!(call(&programs, options).unwrap_err().msg, msg);
        }
    }
}
