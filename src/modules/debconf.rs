//! `debconf`: an answer to a question that a package asks while it is configured.

use crate::machine::{Effect, Machine, Output};
use crate::value::{Map, Value};

use super::tool;
use super::{Diff, Failure, ModuleResult, Outcome};

crate::arguments! {
    /// Configure a .deb package.
    pub(crate) struct DebconfArgs for "debconf" {
        /// The package.
        name: String { required, aliases: ["pkg"] },
        /// The question.
        question: Option<String> { aliases: ["selection", "setting"] },
        /// The kind of the answer.
        vtype: Option<String> {
            choices: [
                "boolean", "error", "multiselect", "note", "password", "seen", "select", "string",
                "text", "title",
            ],
        },
        /// The answer.
        value: Option<Value> { aliases: ["answer"] },
        /// Do not mark the question as seen.
        unseen: bool { default: "false" },
    }
    required_together [["question", "vtype", "value"]]
}

/// Sets the answer where it differs, or only returns all answers of the package.
pub(crate) fn run(machine: &mut Machine, args: DebconfArgs) -> ModuleResult {
    let answers = answers(machine, &args.name)?;
    let (Some(question), Some(vtype), Some(value)) = (&args.question, &args.vtype, &args.value)
    else {
        return Ok(Outcome::unchanged().msg("").with("current", answers));
    };
    let value = wanted(vtype, value)?;
    let old = answers.get(question.as_str()).map(ToString::to_string);
    let is_same = match (&old, vtype.as_str()) {
        (None, _) => false,
        (Some(old), "boolean") => value == Value::from(old.to_lowercase()),
        (Some(_), "password") => {
            let old = password(machine, &args.name, question)?;
            old.is_some_and(|old| value == Value::from(old))
        }
        (Some(old), "multiselect") if matches!(value, Value::List(_)) => {
            let mut parts: Vec<_> = old.split(',').map(str::trim).collect();
            parts.sort_unstable();
            value == Value::list(parts)
        }
        (Some(old), _) => value == Value::from(old.as_str()),
    };
    if is_same {
        return Ok(Outcome::unchanged().msg("").with("current", answers));
    }
    let text = match &value {
        Value::List(items) => items
            .iter()
            .map(ToString::to_string)
            .collect::<Vec<_>>()
            .join(", "),
        value => value.to_string(),
    };
    let said = set(machine, &args, question, vtype, &text, old.as_deref())?;
    // As in Ansible: a list is returned as the text it was set to.
    let current = Value::map([(question.as_str(), Value::from(text))]);
    let mut previous: Map = Map::new();
    if old.is_none() {
        previous = answers;
    }
    previous.insert(question.as_str().into(), old.unwrap_or_default().into());
    let outcome = Outcome::changed()
        .msg(said)
        .with("current", current.clone())
        .with("previous", previous.clone());
    if !machine.wants_diff() {
        return Ok(outcome);
    }
    let mut after = previous.clone();
    after.extend(current.as_map().cloned().unwrap_or_default());
    Ok(outcome.only_diff(Diff::new(previous, after)))
}

/// Returns the value as debconf would show it.
fn wanted(vtype: &str, value: &Value) -> Result<Value, Failure> {
    match (vtype, value) {
        ("boolean", value) => Ok(value.to_string().to_lowercase().into()),
        ("multiselect", Value::List(items)) => {
            let texts: Option<Vec<_>> = items.iter().map(Value::as_str).collect();
            let mut texts = texts.ok_or_else(|| {
                Failure::new("Invalid value provided for 'multiselect': all items must be text")
            })?;
            texts.sort_unstable();
            Ok(Value::list(texts))
        }
        (_, value) => Ok(value.to_string().into()),
    }
}

fn answers(machine: &mut Machine, package: &str) -> Result<Map, Failure> {
    let program = tool::required(machine, "debconf-show")?;
    let output = machine.query(&crate::machine::Command::new([&program, package]))?;
    tool::check(Some(&output), Output::stderr_text)?;
    let text = output.stdout_text();
    let answer = |line: &str| {
        let (question, value) = line.split_once(':')?;
        let question = question.trim_matches('*').trim();
        Some((Value::from(question), Value::from(value.trim())))
    };
    Ok(text.lines().filter_map(answer).collect())
}

/// Returns a password, which `debconf-show` hides.
fn password(
    machine: &mut Machine,
    package: &str,
    question: &str,
) -> Result<Option<String>, Failure> {
    let program = tool::required(machine, "debconf-get-selections")?;
    let output = machine.query(&crate::machine::Command::new([&program]))?;
    tool::check(Some(&output), |output| {
        format!(
            "Failed to get the value '{question}' from '{package}': {}",
            output.stderr_text()
        )
    })?;
    let text = output.stdout_text();
    Ok(text
        .lines()
        .filter(|line| line.starts_with(package))
        .find_map(|line| {
            let fields: Vec<_> = line.split('\t').collect();
            match fields[..] {
                [_, found, "password", value, ..] if found == question => Some(value.to_owned()),
                _ => None,
            }
        }))
}

fn set(
    machine: &mut Machine,
    args: &DebconfArgs,
    question: &str,
    vtype: &str,
    value: &str,
    old: Option<&str>,
) -> Result<String, Failure> {
    let program = tool::required(machine, "debconf-set-selections")?;
    let line = |value: &str| format!("{} {question} {vtype} {value}", args.name);
    let mut argv = vec![program.as_str()];
    if args.unseen {
        argv.push("-u");
    }
    let command = crate::machine::Command::new(&argv).stdin(line(value));
    let what = format!("debconf-set-selections {} {question}", args.name);
    let effect = match old {
        // Nobody can read back a password that is not shown.
        Some(_) if vtype == "password" => Effect::opaque(what),
        Some(old) => {
            let script = r#"printf '%s\n' "$1" | "$2""#;
            Effect::compensated(what, ["sh", "-c", script, "sh", &line(old), &program])
        }
        None => {
            let script =
                r#"printf 'RESET %s\nUNREGISTER %s\n' "$1" "$1" | debconf-communicate "$2""#;
            Effect::compensated(what, ["sh", "-c", script, "sh", question, &args.name])
        }
    };
    let output = machine.execute(&command, effect)?.output();
    tool::check(output.as_ref(), Output::stderr_text)?;
    Ok(output
        .map(|output| output.stdout_text())
        .unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::modules::fake::Programs;

    const SHOW: &str = r#"
[ "$1" = gone ] && { echo 'no such package' >&2; exit 1; }
cat "$here/answers" 2>/dev/null || printf '* tz/area: Etc\n  tz/flag: true\n* tz/many: b, a\n'
"#;
    const SET: &str =
        r#"read -r name question kind value; echo "* $question: $value" >"$here/answers""#;

    fn tools() -> Programs {
        Programs::new([("debconf-show", SHOW), ("debconf-set-selections", SET)])
    }

    fn call(programs: &Programs, json: &str) -> String {
        let given: Value = serde_json::from_str(json).unwrap();
        let result = DebconfArgs::parse(given.as_map().unwrap())
            .map_err(Failure::from)
            .and_then(|args| run(&mut programs.machine(), args));
        let result = match result {
            Ok(outcome) => outcome.into_result(),
            Err(failure) => failure.into_result(),
        };
        serde_json::to_string(&Value::from(result)).unwrap()
    }

    #[test]
    fn an_answer_is_set_once_and_undone() {
        let programs = tools();
        let options = r#"{"name": "tz", "question": "tz/area", "vtype": "select", "value": "UTC"}"#;
        assert_eq!(
            call(&programs, options),
            r#"{"changed":true,"msg":"","current":{"tz/area":"UTC"},"previous":{"tz/area":"Etc"},"diff":{"before":{"tz/area":"Etc"},"after":{"tz/area":"UTC"}}}"#
        );
        assert_eq!(
            call(&programs, options),
            r#"{"changed":false,"msg":"","current":{"tz/area":"UTC"}}"#
        );
        assert_eq!(
            programs.undo_steps(),
            [
                "sh -c printf '%s\\n' \"$1\" | \"$2\" sh tz tz/area select Etc debconf-set-selections"
            ]
        );
    }

    #[test]
    fn truth_and_lists_are_compared_as_debconf_shows_them() {
        let programs = tools();
        for options in [
            r#"{"name": "tz", "question": "tz/flag", "vtype": "boolean", "value": true}"#,
            r#"{"name": "tz", "question": "tz/many", "vtype": "multiselect", "value": ["a", "b"]}"#,
        ] {
            assert!(call(&programs, options).starts_with(r#"{"changed":false"#));
        }
    }

    #[test]
    fn a_question_needs_an_answer_and_a_package_its_database() {
        let programs = tools();
        assert_eq!(
            call(&programs, r#"{"name": "tz", "question": "tz/area"}"#),
            r#"{"failed":true,"changed":false,"msg":"parameters are required together: question, vtype, value"}"#
        );
        assert!(call(&programs, r#"{"name": "gone"}"#).contains("no such package"));
    }
}
