//! `ini_file`: one option of one section of an INI file, every other byte as it was.

mod section;

use std::path::{Path, PathBuf};

use crate::arguments::Argument;
use crate::machine::{Content, Follow, Machine, NewFile};
use crate::value::Map;

use super::path_info::path_info;
use super::{Diff, Failure, ModuleResult, Outcome};
use section::{Condition, Wanted};

crate::arguments! {
    /// Tweak settings in INI files.
    pub(crate) struct IniFileArgs for "community.general.ini_file" with file_attributes {
        /// The file.
        path: PathBuf { required, aliases: ["dest"] },
        /// The section; without, the options before the first one.
        section: Option<String> {},
        /// Which of several sections of that name: the one that has these values.
        section_has_values: Option<Vec<Map>> {},
        /// The option; without, the whole section.
        option: Option<String> {},
        /// Its value.
        value: Option<String> {},
        /// Its values, where it may stand more than once.
        values: Option<Vec<String>> {},
        /// Keep a copy of the old file beside it.
        backup: bool { default: "false" },
        /// Whether the option or section should be there.
        state: String { default: "present", choices: ["absent", "present"] },
        /// No other lines with the same option stay.
        exclusive: bool { default: "true" },
        /// Put no blanks around the equals sign.
        no_extra_spaces: bool { default: "false" },
        /// Leave a line alone that differs in blanks only.
        ignore_spaces: bool { default: "false" },
        /// Let the option have no value.
        allow_no_value: bool { default: "false" },
        /// Use a line that is commented out.
        modify_inactive_option: bool { default: "true" },
        /// Create the file if it does not exist.
        create: bool { default: "true" },
        /// Write through a link instead of replacing it.
        follow: bool { default: "false" },
    }
    mutually_exclusive [["value", "values"]]
}

/// Brings the option or section into the wanted state, and applies the file options.
pub(crate) fn run(machine: &mut Machine, args: IniFileArgs) -> ModuleResult {
    let wanted = wanted(&args)?;
    let path = machine.expand(&args.path);
    let target = if args.follow {
        machine.real_path(&path)?
    } else {
        path.clone()
    };
    let before = read(machine, &args, &target)?;
    let edited = section::edit(before.as_deref().unwrap_or_default(), &wanted);
    let mut outcome = Outcome::unchanged()
        .with_changed(edited.changed)
        .msg(edited.msg)
        .with("path", path.display().to_string());
    if machine.wants_diff() {
        let header = format!("{} (content)", path.display());
        let diff = Diff::new(before.clone().unwrap_or_default(), edited.text.as_str());
        outcome = outcome.only_diff(diff.headers(header.clone(), header));
    }
    if edited.changed {
        if args.backup && before.is_some() {
            let backup = machine.backup(&target)?;
            outcome = outcome.with("backup_file", backup.display().to_string());
        }
        write(machine, &args, &target, edited.text)?;
    }
    if machine.exists(&path)? {
        let follow = if args.follow { Follow::Yes } else { Follow::No };
        let change = machine.apply_file_attributes(&path, &args.file, follow)?;
        outcome.changed |= change.changed;
    }
    Ok(outcome.with_all(path_info(machine, &path)?))
}

fn wanted(args: &IniFileArgs) -> Result<Wanted<'_>, Failure> {
    let has_no_values = args.value.is_none() && args.values.as_ref().is_none_or(Vec::is_empty);
    if args.state == "present" && !args.allow_no_value && has_no_values {
        return Err(Failure::new(
            "Parameter 'value(s)' must be defined if state=present and allow_no_value=False.",
        ));
    }
    let conditions = args.section_has_values.as_deref().unwrap_or_default();
    Ok(Wanted {
        section: args
            .section
            .as_deref()
            .filter(|section| !section.is_empty()),
        conditions: conditions.iter().map(condition).collect::<Result<_, _>>()?,
        option: args.option.as_deref().filter(|option| !option.is_empty()),
        values: match &args.value {
            Some(value) => vec![value.clone()],
            None => without_repetition(args.values.clone().unwrap_or_default()),
        },
        is_present: args.state == "present",
        exclusive: args.exclusive,
        no_extra_spaces: args.no_extra_spaces,
        ignore_spaces: args.ignore_spaces,
        allow_no_value: args.allow_no_value,
        modify_inactive: args.modify_inactive_option,
    })
}

fn without_repetition(values: Vec<String>) -> Vec<String> {
    let mut unique = Vec::new();
    for value in values {
        if !unique.contains(&value) {
            unique.push(value);
        }
    }
    unique
}

/// Reads one entry of `section_has_values`.
fn condition(given: &Map) -> Result<Condition, Failure> {
    let wrong = |why: String| Failure::new(format!("{why} found in section_has_values"));
    for name in given.keys() {
        let name = name.to_string();
        if !matches!(name.as_str(), "option" | "value" | "values") {
            return Err(wrong(format!(
                "Unsupported parameters: {name}. Supported parameters include: option, value, \
                 values"
            )));
        }
    }
    let set = |name: &str| {
        given
            .get(name)
            .filter(|value| **value != crate::value::Value::Null)
    };
    let option = set("option")
        .ok_or_else(|| wrong("missing required arguments: option".into()))?
        .to_string();
    let values = match (set("value"), set("values")) {
        (Some(_), Some(_)) => {
            return Err(wrong(
                "parameters are mutually exclusive: value|values".into(),
            ));
        }
        (Some(value), None) => vec![value.to_string()],
        (None, Some(values)) => Vec::convert(values).map_err(wrong)?,
        (None, None) => Vec::new(),
    };
    Ok(Condition { option, values })
}

/// Reads the file with its line ends made newlines and without its byte order mark.
fn read(machine: &mut Machine, args: &IniFileArgs, path: &Path) -> Result<Option<String>, Failure> {
    if !machine.exists(path)? {
        if args.create {
            return Ok(None);
        }
        let msg = format!("Destination {} does not exist!", path.display());
        return Err(Failure::new(msg).with("rc", 257));
    }
    let bytes = machine.read(path)?;
    let text = String::from_utf8(bytes)
        .map_err(|_| Failure::new(format!("{} is not encoded in UTF-8", path.display())))?;
    let text = text.strip_prefix('\u{feff}').unwrap_or(&text);
    Ok(Some(text.replace("\r\n", "\n").replace('\r', "\n")))
}

fn write(
    machine: &mut Machine,
    args: &IniFileArgs,
    path: &Path,
    text: String,
) -> Result<(), Failure> {
    if let Some(directory) = path.parent() {
        machine.create_dir_all(directory, 0o777)?;
    }
    let new = NewFile {
        unsafe_writes: args.file.unsafe_writes,
        ..NewFile::default()
    };
    Ok(machine.write(path, Content::Bytes(text.into_bytes()), &new)?)
}

#[cfg(test)]
mod tests {
    use super::super::testing::Target;

    const MODULE: &str = "community.general.ini_file";

    fn call(target: &Target, options: &str) -> String {
        let result = target.result(MODULE, &format!(r#"{{"path": "$ROOT/f", {options}}}"#));
        format!(
            "{} {}",
            result.get("changed").unwrap(),
            result.get("msg").unwrap()
        )
    }

    #[test]
    fn an_option_is_set_once_and_its_file_made() {
        let target = Target::new();
        let options = r#""section": "a", "option": "x", "value": "1", "mode": "0600""#;
        assert_eq!(call(&target, options), "True section and option added");
        assert_eq!(target.read("f"), "\n[a]\nx = 1\n");
        assert_eq!(call(&target, options), "False OK");
        assert_eq!(
            call(&target, r#""section": "a", "state": "absent""#),
            "True section removed"
        );
        assert_eq!(target.read("f"), "\n");
    }

    #[test]
    fn a_missing_file_and_a_missing_value_are_named() {
        let target = Target::new();
        let options = r#""section": "a", "option": "x", "value": "1", "create": false"#;
        assert_eq!(
            target.run(MODULE, &format!(r#"{{"path": "$ROOT/f", {options}}}"#)),
            r#"{"failed":true,"changed":false,"msg":"Destination $ROOT/f does not exist!","rc":257}"#
        );
        assert_eq!(
            call(&target, r#""section": "a", "option": "x""#),
            "False Parameter 'value(s)' must be defined if state=present and allow_no_value=False."
        );
    }

    #[test]
    fn the_diff_is_of_the_content() {
        let target = Target::new().file("f", "[a]\r\nx=1\r\n").diff();
        let options = r#"{"path": "$ROOT/f", "section": "a", "option": "x", "value": "2"}"#;
        let diff = target.result(MODULE, options).get("diff").cloned().unwrap();
        assert_eq!(diff.get("before").unwrap(), &"[a]\nx=1\n".into());
        assert_eq!(diff.get("after").unwrap(), &"[a]\nx = 2\n".into());
    }
}
