//! `pam_limits`: one line of limits.conf.

use std::path::{Path, PathBuf};

use rustix::fs::Access;

use crate::machine::{Content, Machine, Metadata, NewFile};

use super::{Diff, Failure, ModuleResult, Outcome, edit};

crate::arguments! {
    /// Modify Linux PAM limits.
    pub(crate) struct PamLimitsArgs for "community.general.pam_limits" {
        /// A user, a group after `@`, a range of ids, or `*`.
        domain: String { required },
        /// Which of its two limits, or `-` for both.
        limit_type: String { required, choices: ["hard", "soft", "-"] },
        /// What is limited.
        limit_item: String {
            required,
            choices: [
                "core", "data", "fsize", "memlock", "nofile", "rss", "stack", "cpu", "nproc", "as",
                "maxlogins", "maxsyslogins", "priority", "locks", "sigpending", "msgqueue", "nice",
                "rtprio", "chroot",
            ],
        },
        /// A number, or `unlimited`, `infinity` or `-1`.
        value: String { required },
        /// Keep a greater value that is there.
        use_max: bool { default: "false" },
        /// Keep a smaller value that is there.
        use_min: bool { default: "false" },
        /// Keep the old file under a name with a time stamp.
        backup: bool { default: "false" },
        /// The file.
        dest: PathBuf { default: "/etc/security/limits.conf" },
        /// What stands behind the limit as a comment.
        comment: String { default: "" },
    }
}

const UNLIMITED: [&str; 3] = ["unlimited", "infinity", "-1"];

/// Sets the limit where it differs.
pub(crate) fn run(machine: &mut Machine, args: PamLimitsArgs) -> ModuleResult {
    let path = &args.dest;
    let found = machine.metadata(path)?.filter(Metadata::is_file);
    check_access(machine, path, found.is_some())?;
    if args.use_max && args.use_min {
        return Err(Failure::new(
            "Cannot use use_min and use_max at the same time.",
        ));
    }
    check_value(&args.limit_item, &args.value, "")?;
    let backup = match (args.backup, found.is_some()) {
        (false, _) => None,
        (true, true) => Some(machine.backup(path)?.display().to_string()),
        (true, false) => Some(String::new()),
    };
    let before = match found {
        Some(_) => machine.read(path)?,
        None => Vec::new(),
    };
    let text = String::from_utf8_lossy(&before);
    let (after, line) = edited(&text, &args)?;
    if found.is_none() || after != text {
        let path = machine.real_path(path)?;
        let content = Content::Bytes(after.clone().into_bytes());
        machine.write(&path, content, &NewFile::default())?;
    }
    let mut outcome = Outcome::unchanged()
        .with_changed(found.is_none() || after != text)
        .msg(line)
        .only_diff(Diff::new(edit::text(&before), after));
    if let Some(backup) = backup {
        outcome = outcome.with("backup_file", backup);
    }
    Ok(outcome)
}

fn check_access(machine: &Machine, path: &Path, exists: bool) -> Result<(), Failure> {
    let shown = path.display();
    if exists {
        return if machine.may(path, Access::WRITE_OK) {
            Ok(())
        } else {
            Err(Failure::new(format!("{shown} is not writable. Use sudo")))
        };
    }
    let directory = path.parent().unwrap_or(Path::new("/"));
    if machine.is_dir(directory)? && machine.may(directory, Access::WRITE_OK) {
        return Ok(());
    }
    Err(Failure::new(format!(
        "directory {} is not writable (check presence, access rights, use sudo)",
        directory.display()
    )))
}

fn check_value(item: &str, value: &str, prefix: &str) -> Result<(), Failure> {
    let is_priority = matches!(item, "nice" | "priority");
    let is_valid = if is_priority {
        value
            .parse::<i64>()
            .is_ok_and(|number| (-20..=19).contains(&number))
    } else {
        UNLIMITED.contains(&value)
            || !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_digit())
    };
    if is_valid {
        return Ok(());
    }
    let rule = if is_priority {
        "Value must be a number in the range -20 to 19 inclusive."
    } else {
        "Value must either be 'unlimited', 'infinity' or -1, all of which indicate no limit, or a \
         limit of 0 or larger."
    };
    Err(Failure::new(format!(
        "{prefix} Value of '{value}' for item '{item}' is invalid. {rule} Refer to the \
         limits.conf(5) manual pages for more details."
    )))
}

/// Returns the new text, and the line of the limit in it.
fn edited(text: &str, args: &PamLimitsArgs) -> Result<(String, String), Failure> {
    let mut comment = args.comment.clone();
    let mut after = String::new();
    let mut told = None;
    let mut value = args.value.clone();
    let line = |value: &str, comment: &str| {
        let comment = match comment {
            "" => String::new(),
            comment => format!("\t#{comment}"),
        };
        let [domain, kind, item] = [&args.domain, &args.limit_type, &args.limit_item];
        format!("{domain}\t{kind}\t{item}\t{value}{comment}\n")
    };
    for old in text.split_inclusive('\n') {
        let (limit, remark) = old.split_once('#').unwrap_or((old, ""));
        let is_comment = old.starts_with('#') || old.trim().is_empty();
        // Ansible takes the first comment that it meets, whosever it is, and its line end.
        if !is_comment && comment.is_empty() {
            remark.clone_into(&mut comment);
        }
        let fields: Vec<&str> = limit.split_whitespace().collect();
        let [domain, kind, item, current] = fields[..] else {
            after.push_str(old);
            continue;
        };
        if is_comment {
            after.push_str(old);
            continue;
        }
        let prefix = format!("Invalid configuration found in '{}'.", args.dest.display());
        check_value(item, current, &prefix)?;
        let is_it = (domain, kind, item)
            == (
                args.domain.as_str(),
                args.limit_type.as_str(),
                args.limit_item.as_str(),
            );
        if is_it {
            value = chosen(args, &value, current);
        }
        if is_it && value != current {
            let new = line(&value, &comment);
            after.push_str(&new);
            told = Some(new);
        } else {
            after.push_str(old);
            if is_it {
                told = Some(old.to_owned());
            }
        }
    }
    let told = told.unwrap_or_else(|| {
        let new = line(&value, &comment);
        after.push_str(&new);
        new
    });
    Ok((after, told))
}

/// Returns the value that is to be, of the wanted and the current one.
fn chosen(args: &PamLimitsArgs, wanted: &str, current: &str) -> String {
    if args.value == current {
        return current.to_owned();
    }
    let number = |text: &str| text.parse::<i64>().unwrap_or(0);
    let is_unlimited = |text: &str| UNLIMITED.contains(&text);
    let keeps = match (is_unlimited(wanted), is_unlimited(current)) {
        (_, true) if args.use_max => true,
        (true, false) if args.use_max => false,
        (true, _) if args.use_min => true,
        (false, true) if args.use_min => false,
        _ if args.use_max => number(current) > number(&args.value),
        _ if args.use_min => number(current) < number(&args.value),
        _ => false,
    };
    let kept = if keeps { current } else { wanted };
    kept.to_owned()
}

#[cfg(test)]
mod tests {
    use crate::modules::testing::Target;

    const NAME: &str = "community.general.pam_limits";

    fn options(more: &str) -> String {
        format!(
            r#"{{"dest": "$ROOT/limits.conf", "domain": "app", "limit_type": "soft", "limit_item": "nofile", {more}}}"#
        )
    }

    #[test]
    fn a_limit_is_added_changed_and_left_alone() {
        let target = Target::new().file("limits.conf", "# about\n* hard core 0\n");
        let run = |more: &str| target.run(NAME, &options(more));
        assert_eq!(
            run(r#""value": "1024", "comment": "many""#),
            r##"{"changed":true,"msg":"app\tsoft\tnofile\t1024\t#many\n","diff":{"before":"# about\n* hard core 0\n","after":"# about\n* hard core 0\napp\tsoft\tnofile\t1024\t#many\n"}}"##
        );
        assert!(run(r#""value": "1024""#).starts_with(r#"{"changed":false,"#));
        assert!(run(r#""value": "512", "use_max": true"#).starts_with(r#"{"changed":false,"#));
        assert!(run(r#""value": "512", "use_min": true"#).starts_with(r#"{"changed":true,"#));
        assert!(
            run(r#""value": "unlimited", "use_min": true"#).starts_with(r#"{"changed":false,"#)
        );
        assert!(run(r#""value": "unlimited", "use_max": true"#).starts_with(r#"{"changed":true,"#));
        assert_eq!(
            target.read("limits.conf"),
            "# about\n* hard core 0\napp\tsoft\tnofile\tunlimited\t#many\n\n\n"
        );
    }

    #[test]
    fn a_file_that_is_not_there_is_made() {
        let target = Target::new();
        let result = target.run(NAME, &options(r#""value": "5", "backup": true"#));
        assert!(
            result.ends_with(
                r#""backup_file":"","diff":{"before":"","after":"app\tsoft\tnofile\t5\n"}}"#
            ),
            "{result}"
        );
        assert_eq!(target.read("limits.conf"), "app\tsoft\tnofile\t5\n");
    }

    #[test]
    fn wrong_values_are_refused_and_nothing_is_written() {
        let target = Target::new().file("limits.conf", "app soft nofile lots\n");
        for (more, msg) in [
            (
                r#""value": "many""#,
                " Value of 'many' for item 'nofile' is invalid.",
            ),
            (
                r#""value": "1""#,
                "Invalid configuration found in '$ROOT/limits.conf'. Value of 'lots' for item \
                 'nofile' is invalid.",
            ),
            (
                r#""value": "1", "use_min": true, "use_max": true"#,
                "Cannot use use_min and use_max at the same time.",
            ),
            (
                r#""value": "1", "dest": "$ROOT/none/limits.conf""#,
                "directory $ROOT/none is not writable",
            ),
        ] {
            let result = target.run(NAME, &options(more));
            let start = format!(r#"{{"failed":true,"changed":false,"msg":"{msg}"#);
            assert!(result.starts_with(&start), "{result}");
        }
        assert_eq!(target.read("limits.conf"), "app soft nofile lots\n");
    }
}
