//! `getent`: entries of the target's databases, as facts.

use crate::machine::Machine;
use crate::value::{Map, Value};

use super::tool;
use super::{Failure, ModuleResult, Outcome};

crate::arguments! {
    /// A wrapper to the unix getent utility.
    pub(crate) struct GetentArgs for "getent" {
        /// The database.
        database: String { required },
        /// The entry; without, all of them.
        key: Option<String> {},
        /// The service that is asked instead of those of nsswitch.conf.
        service: Option<String> {},
        /// What separates the fields of an entry.
        split: Option<String> {},
        /// Fail when there is no such entry.
        fail_key: bool { default: "true" },
    }
}

/// Returns the entries as the fact `getent_DATABASE`.
pub(crate) fn run(machine: &mut Machine, args: GetentArgs) -> ModuleResult {
    let mut argv = vec![tool::required(machine, "getent")?, args.database.clone()];
    argv.extend(args.key.clone());
    if let Some(service) = &args.service {
        argv.extend(["-s".into(), service.clone()]);
    }
    let output = machine.query(&crate::machine::Command::new(&argv))?;
    let has_colons = matches!(
        args.database.as_str(),
        "passwd" | "shadow" | "group" | "gshadow"
    );
    let split = args.split.as_deref().or(has_colons.then_some(":"));
    let msg = match output.status {
        0 => {
            let entries = entries(&output.stdout_text(), split);
            return Ok(Outcome::unchanged().with("ansible_facts", facts(&args, entries)));
        }
        1 => "Missing arguments, or database unknown.",
        2 => "One or more supplied key could not be found in the database.",
        3 => "Enumeration not supported on this database.",
        _ => "Unexpected failure!",
    };
    if output.status == 2 && !args.fail_key {
        let key = args.key.as_deref().map_or(Value::Null, Value::from);
        let entries = Map::from_iter([(key, Value::Null)]);
        return Ok(Outcome::unchanged()
            .with("ansible_facts", facts(&args, entries))
            .msg(msg));
    }
    Err(Failure::new(msg))
}

fn facts(args: &GetentArgs, entries: Map) -> Value {
    Value::map([(format!("getent_{}", args.database), Value::from(entries))])
}

/// Reads lines of fields; what stands there more than once has a list of its fields.
fn entries(text: &str, split: Option<&str>) -> Map {
    let mut all: indexmap::IndexMap<String, Vec<Value>> = indexmap::IndexMap::new();
    for line in text.lines() {
        let mut fields: Vec<&str> = match split {
            Some(split) => line.split(split).collect(),
            None => line.split_whitespace().collect(),
        };
        if fields.is_empty() {
            continue;
        }
        let key = fields.remove(0).to_owned();
        all.entry(key).or_default().push(Value::list(fields));
    }
    let one = |mut records: Vec<Value>| match records.len() {
        1 => records.remove(0),
        _ => Value::list(records),
    };
    all.into_iter()
        .map(|(key, records)| (Value::from(key), one(records)))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::modules::fake::Programs;

    fn call(programs: &Programs, json: &str) -> String {
        let given: Value = serde_json::from_str(json).unwrap();
        let args = GetentArgs::parse(given.as_map().unwrap()).unwrap();
        let result = match run(&mut programs.machine(), args) {
            Ok(outcome) => outcome.into_result(),
            Err(failure) => failure.into_result(),
        };
        serde_json::to_string(&Value::from(result)).unwrap()
    }

    #[test]
    fn entries_are_facts_with_their_fields() {
        let programs = Programs::new([(
            "getent",
            "case $1 in hosts) printf '::1  a b\\n::1 c\\n' ;; *) echo root:x:0 ;; esac",
        )]);
        assert_eq!(
            call(
                &programs,
                r#"{"database": "group", "key": "root", "service": "files"}"#
            ),
            r#"{"changed":false,"ansible_facts":{"getent_group":{"root":["x","0"]}}}"#
        );
        assert_eq!(programs.calls(), ["getent group root -s files"]);
        assert_eq!(
            call(&programs, r#"{"database": "hosts"}"#),
            r#"{"changed":false,"ansible_facts":{"getent_hosts":{"::1":[["a","b"],["c"]]}}}"#
        );
    }

    #[test]
    fn a_missing_entry_fails_unless_it_may_be_missing() {
        let programs = Programs::new([("getent", "exit 2")]);
        let msg = "One or more supplied key could not be found in the database.";
        assert_eq!(
            call(&programs, r#"{"database": "passwd", "key": "x"}"#),
            format!(r#"{{"failed":true,"changed":false,"msg":"{msg}"}}"#)
        );
        assert_eq!(
            call(
                &programs,
                r#"{"database": "passwd", "key": "x", "fail_key": false}"#
            ),
            format!(
                r#"{{"changed":false,"ansible_facts":{{"getent_passwd":{{"x":null}}}},"msg":"{msg}"}}"#
            )
        );
    }
}
