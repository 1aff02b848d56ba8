//! Modules that are no part of this program: files of the controller, run as they expect it.
//!
//! The program is private to the task and gone afterwards; what it changes is unknown. It is run
//! in check mode too, for it is told of it and judges for itself, as under Ansible.

use std::path::PathBuf;

use base64::Engine;

use crate::machine::{Command, Content, Effect, Execution, Machine, Output, TemporaryDir};
use crate::value::{Deprecation, JsonStyle, Map, Value, to_json};

use super::command::quote;
use super::offer::content_id;
use super::{Failure, ModuleResult, Outcome};

crate::arguments! {
    /// Runs a module that the controller sends.
    pub(crate) struct ExternalArgs for "module" {
        /// The module's short name.
        name: String { required, internal },
        /// How it takes its options.
        style: String {
            internal,
            default: "json",
            choices: ["embedded", "json", "key_value", "program", "python"],
        },
        /// What reads it, with its own arguments; empty finds a Python.
        interpreter: Vec<String> { internal, default: "" },
        /// The options, and what every module is told.
        options: Map { internal, default: "" },
        /// A Python module's dotted name in the archive.
        entry: Option<String> { internal },
        /// What the controller has.
        _content: Option<Map> { internal },
        /// The same in base64, for a job that no controller is near.
        _inline: Option<String> { internal },
    }
}

/// What `auto` looks for, in this order.
const PYTHONS: [&str; 8] = [
    "python3.13",
    "python3.12",
    "python3.11",
    "python3.10",
    "python3.9",
    "python3.8",
    "/usr/bin/python3",
    "python3",
];

/// Imports the module from the archive as Ansible's own wrapper does.
const WRAPPER: &str = "\
import sys
archive, entry = sys.argv[1:3]
sys.argv = [entry]
sys.path[0] = archive
said = getattr(sys.stdin, 'buffer', sys.stdin).read()
try:
    from ansible.module_utils._internal._ansiballz import _loader
except ImportError:
    import runpy
    from ansible.module_utils import basic
    basic._ANSIBLE_ARGS = said
    names = dict(_module_fqn=entry, _modlib_path=archive)
    runpy.run_module(entry, init_globals=names, run_name='__main__', alter_sys=True)
else:
    _loader.run_module(json_params=said, profile='legacy', module_fqn=entry,
                       modlib_path=archive, extensions={})
";

/// Runs the module and returns what it printed.
pub(crate) fn run(machine: &mut Machine, args: ExternalArgs) -> ModuleResult {
    let program = program(machine, &args)?;
    let directory = machine.temporary_dir()?;
    let discovered = match args.interpreter.as_slice() {
        [] if args.style != "program" => Some(python(machine)?),
        _ => None,
    };
    let interpreter = match &discovered {
        Some(found) => vec![found.clone()],
        None => args.interpreter.clone(),
    };
    if let Some(missing) = interpreter
        .first()
        .filter(|name| machine.find_program(name).is_none())
    {
        return Ok(no_interpreter(missing));
    }
    let (command, _files) = command(machine, &args, &interpreter, &directory, program)?;
    let effect = Effect::opaque(format!("module {}", args.name));
    let output = if machine.is_check() {
        machine.query(&command)?
    } else {
        match machine.execute(&command, effect)? {
            Execution::Done(output) => output,
            Execution::Predicted => return Ok(Outcome::unchanged().skipped()),
        }
    };
    let mut outcome = answer(&output);
    // A job's result says what went to standard error, for nobody was there to see it.
    if args._inline.is_some() {
        let said = output.stderr_text();
        outcome
            .data
            .entry("stderr".into())
            .or_insert_with(|| said.into());
    }
    if let Some(python) = discovered {
        note_python(&mut outcome, python);
    }
    Ok(outcome)
}

fn program(machine: &mut Machine, args: &ExternalArgs) -> Result<Vec<u8>, Failure> {
    if let Some(text) = &args._inline {
        let decoded = base64::engine::general_purpose::STANDARD.decode(text);
        return decoded.map_err(|error| Failure::new(format!("the module is not whole: {error}")));
    }
    let Some(offer) = &args._content else {
        return Err(Failure::new("the controller offered no module"));
    };
    Ok(machine.read_content(&Content::Remote(content_id(offer)?))?)
}

/// Returns how the module is run, and what must be kept until it has.
fn command(
    machine: &mut Machine,
    args: &ExternalArgs,
    interpreter: &[String],
    directory: &TemporaryDir,
    program: Vec<u8>,
) -> Result<(Command, Vec<Box<dyn std::any::Any>>), Failure> {
    let mut options = args.options.clone();
    options.insert(
        "_ansible_tmpdir".into(),
        directory.path().to_string_lossy().as_ref().into(),
    );
    let json = |value: Value| to_json(&value, JsonStyle::default()).into_bytes();
    if args.style == "python" {
        let archive = machine.temporary_file(&program)?;
        let entry = args.entry.clone().unwrap_or_default();
        let path = archive.path().to_string_lossy().into_owned();
        let words = ["-c", WRAPPER, &path, &entry].map(str::to_owned);
        let said = Value::map([("ANSIBLE_MODULE_ARGS", Value::from(options))]);
        let command = Command::new(interpreter.iter().chain(&words)).stdin(json(said));
        return Ok((command, vec![Box::new(archive)]));
    }
    if args.style == "embedded" {
        let text = embedded(&program, &json(options.into()));
        let program = machine.temporary_program(&args.name, &text)?;
        let words = [program.path().to_string_lossy().into_owned()];
        let command = Command::new(interpreter.iter().chain(&words));
        return Ok((command, vec![Box::new(program)]));
    }
    let said = match args.style.as_str() {
        "key_value" => key_values(&options).into_bytes(),
        _ => json(options.into()),
    };
    let file = machine.temporary_file(&said)?;
    let program = machine.temporary_program(&args.name, &program)?;
    let words = [program.path(), file.path()].map(|path| path.to_string_lossy().into_owned());
    let command = Command::new(interpreter.iter().chain(&words));
    Ok((command, vec![Box::new(file), Box::new(program)]))
}

/// Writes the options into the module's own text.
fn embedded(program: &[u8], json: &[u8]) -> Vec<u8> {
    const PLACE: &[u8] = b"<<INCLUDE_ANSIBLE_MODULE_JSON_ARGS>>";
    let mut text = Vec::with_capacity(program.len() + json.len());
    let mut rest = program;
    while let Some(at) = rest.windows(PLACE.len()).position(|window| window == PLACE) {
        text.extend_from_slice(&rest[..at]);
        text.extend_from_slice(json);
        rest = &rest[at + PLACE.len()..];
    }
    text.extend_from_slice(rest);
    text
}

/// Writes options as `key=value` words, as a shell would read them.
fn key_values(options: &Map) -> String {
    let words: Vec<String> = options
        .iter()
        .map(|(key, value)| format!("{key}={}", quote(&value.to_string())))
        .collect();
    words.join(" ")
}

/// Finds a Python that starts: a name may lead to nothing but a version manager's complaint.
fn python(machine: &mut Machine) -> Result<String, Failure> {
    let starts = |machine: &mut Machine, path: &PathBuf| {
        let asked = machine.query(&Command::new([
            path.as_os_str(),
            "-c".as_ref(),
            "".as_ref(),
        ]));
        asked.is_ok_and(|output| output.success())
    };
    PYTHONS
        .iter()
        .filter_map(|name| machine.find_program(name))
        .collect::<Vec<_>>()
        .into_iter()
        .find(|path| starts(machine, path))
        .map(|path| path.to_string_lossy().into_owned())
        .ok_or_else(|| {
            Failure::new(
                "the module is of Python, and there is none on the target; install one, or say \
                 where it is with `ansible_python_interpreter`",
            )
        })
}

/// Says which Python was found, where later tasks and the user look for it.
fn note_python(outcome: &mut Outcome, python: String) {
    let mut facts = match outcome.data.get("ansible_facts") {
        Some(Value::Map(facts)) => facts.as_ref().clone(),
        _ => Map::new(),
    };
    facts.insert("discovered_interpreter_python".into(), python.into());
    outcome.data.insert("ansible_facts".into(), facts.into());
}

fn no_interpreter(name: &str) -> Outcome {
    Outcome::unchanged()
        .with("failed", true)
        .msg(format!(
            "The module interpreter '{name}' was not found. Consider overriding the configured \
             interpreter path for this host. See stdout/stderr for the returned output."
        ))
        .with("module_stdout", "")
        .with("module_stderr", format!("/bin/sh: 1: {name}: not found\n"))
        .with("rc", 127)
}

/// Reads what the module printed.
fn answer(output: &Output) -> Outcome {
    let printed = output.stdout_text();
    match object_in(&printed) {
        Ok((result, junk)) => {
            let mut outcome = Outcome::unchanged().with_all(plain_result(result));
            if let Some(junk) = junk {
                let said = format!("Module invocation had junk after the JSON data: {junk}");
                let mut warnings = match outcome.data.get("warnings") {
                    Some(Value::List(list)) => list.as_ref().clone(),
                    _ => Vec::new(),
                };
                warnings.push(said.into());
                outcome.data.insert("warnings".into(), warnings.into());
            }
            outcome
        }
        Err(why) => Outcome::unchanged()
            .with("failed", true)
            .msg(format!("Module result deserialization failed: {why}"))
            .with("module_stdout", printed)
            .with("module_stderr", output.stderr_text())
            .with("rc", output.status),
    }
}

/// Returns a result without the types that Ansible's own modules write beside their values; an
/// exception becomes the message.
fn plain_result(result: Map) -> Map {
    let mut plain: Map = result
        .into_iter()
        .map(|(key, value)| (key, plain(&value)))
        .collect();
    let raised = plain
        .get("exception")
        .filter(|said| said.as_map().is_some());
    let raised = raised.map(|summary| event_text(summary.get("event")));
    if let Some(raised) = raised {
        plain.shift_remove("exception");
        plain
            .entry("msg".into())
            .or_insert_with(|| format!("Task failed: Module failed: {raised}").into());
    }
    plain
}

fn plain(value: &Value) -> Value {
    match value {
        Value::List(items) => Value::list(items.iter().map(plain)),
        Value::Map(map) => {
            let kind = map.get("__ansible_type").and_then(Value::as_str);
            match (kind, map.get("value")) {
                (Some("WarningSummary"), _) => event_text(map.get("event")).into(),
                (Some("DeprecationSummary"), _) => deprecation(map).into(),
                (Some("ErrorSummary"), _) => value.clone(),
                (Some(_), Some(Value::String(text))) => match deprecation_tag(map) {
                    Some(message) => text
                        .clone()
                        .deprecated(Deprecation { message }.into())
                        .into(),
                    None => text.clone().into(),
                },
                (Some(_), Some(inner)) => plain(inner),
                _ => map
                    .iter()
                    .map(|(key, value)| (key.clone(), plain(value)))
                    .collect::<Map>()
                    .into(),
            }
        }
        other => other.clone(),
    }
}

/// Returns what a module says of the use of a text.
fn deprecation_tag(tagged: &Map) -> Option<String> {
    let tags = tagged.get("tags").and_then(Value::as_list)?;
    let kind =
        |tag: &Value| tag.get("__ansible_type").and_then(Value::as_str) == Some("Deprecated");
    let tag = tags.iter().find(|tag| kind(tag))?.as_map()?;
    let text = tag.get("msg").map(Value::to_string).unwrap_or_default();
    Some(removal(&text, tag))
}

fn deprecation(summary: &Map) -> String {
    removal(&event_text(summary.get("event")), summary)
}

/// Says in Ansible's words when something will be removed, and from what.
fn removal(text: &str, summary: &Map) -> String {
    let known = |key: &str| match summary.get(key) {
        Some(Value::String(text)) => Some(text.to_string()),
        _ => None,
    };
    let (plugin, collection) = deprecator(summary.get("deprecator"));
    let when = match (&collection, known("date"), known("version")) {
        (None, ..) => "in the future".to_owned(),
        (_, Some(date), _) => format!("in a release after {date}"),
        (_, None, Some(version)) => format!("version {version}"),
        (_, None, None) => "in a future release".to_owned(),
    };
    let by = match (plugin, collection) {
        (Some(plugin), Some(collection)) => format!(" from {plugin} in {collection}"),
        (Some(name), None) | (None, Some(name)) => format!(" from {name}"),
        (None, None) => String::new(),
    };
    let stop = if text.ends_with(['.', '!', '?']) {
        ""
    } else {
        "."
    };
    format!("{text}{stop} This feature will be removed{by} {when}.")
}

/// Returns the plugin that says so and its collection, as Ansible calls them.
fn deprecator(info: Option<&Value>) -> (Option<String>, Option<String>) {
    let Some(name) = info.and_then(|info| info.get("resolved_name")?.as_str()) else {
        return (None, None);
    };
    let kind = info.and_then(|info| info.get("type"));
    let kind = kind.and_then(|kind| kind.get("value").unwrap_or(kind).as_str());
    let kind = kind.map(|kind| match kind {
        "module" => kind.to_owned(),
        _ => format!("{kind} plugin"),
    });
    let parts: Vec<&str> = name.split('.').collect();
    let (plugin, collection) = match (kind, &parts[..]) {
        (None, _) => (None, Some(name.to_owned())),
        (Some(kind), ["ansible", "builtin"]) => {
            (Some(format!("the {kind} API")), Some(name.to_owned()))
        }
        (Some(kind), [.., last]) => {
            let collection = (parts.len() > 2).then(|| parts[..2].join("."));
            (Some(format!("{kind} '{last}'")), collection)
        }
        (Some(_), []) => (None, None),
    };
    let collection = collection.map(|name| match name.as_str() {
        "ansible.builtin" => "ansible-core".to_owned(),
        name => format!("collection '{name}'"),
    });
    (plugin, collection)
}

/// Returns an event's message, with those of what caused it.
fn event_text(event: Option<&Value>) -> String {
    let mut parts = Vec::new();
    let mut next = event;
    while let Some(event) = next {
        parts.extend(event.get("msg").map(Value::to_string));
        next = event.get("chain").and_then(|chain| chain.get("event"));
    }
    parts.join(": ")
}

/// Finds the JSON object in what a module printed: from the first line that starts one to the
/// last that ends one. What follows it is returned too.
fn object_in(printed: &str) -> Result<(Map, Option<String>), String> {
    let lines: Vec<&str> = printed.lines().collect();
    let start = lines
        .iter()
        .position(|line| line.trim().starts_with('{'))
        .ok_or("No start of json char found")?;
    let end = lines
        .iter()
        .rposition(|line| line.trim().ends_with('}'))
        .filter(|end| *end >= start)
        .ok_or("No end of json char found")?;
    let junk = lines[end + 1..].join("\n");
    let text = lines[start..=end].join("\n");
    match serde_json::from_str(&text) {
        Ok(Value::Map(map)) => {
            let junk = (!junk.trim().is_empty()).then_some(junk);
            Ok((map.as_ref().clone(), junk))
        }
        Ok(_) => Err("it is no dictionary".into()),
        Err(error) => Err(error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::super::Module;
    use super::*;
    use crate::machine::MachineOptions;

    fn ran(style: &str, interpreter: &str, program: &str, options: &str) -> String {
        let text = base64::engine::general_purpose::STANDARD.encode(program);
        let call = format!(
            r#"{{"name": "mine", "style": "{style}", "interpreter": [{interpreter}],
                 "options": {options}, "_inline": "{text}"}}"#
        );
        let given: Value = serde_json::from_str(&call).unwrap();
        let module: &Module = super::super::on_target("module").unwrap();
        let mut machine = Machine::new(MachineOptions::default());
        let outcome = (module.run)(&mut machine, given.as_map().unwrap()).unwrap();
        serde_json::to_string(&Value::from(outcome.into_result())).unwrap()
    }

    #[test]
    fn each_style_gets_its_options_its_own_way() {
        let shell = r#""/bin/sh""#;
        let words =
            "#!/bin/sh\n. \"$1\"\necho \"{\\\"changed\\\": true, \\\"got\\\": \\\"$a\\\"}\"\n";
        assert_eq!(
            ran("key_value", shell, words, r#"{"a": "b c"}"#),
            r#"{"changed":true,"got":"b c","stderr":"","stderr_lines":[]}"#
        );
        let json = "#!/bin/sh\n# WANT_JSON\nsed -e 's/, \"_ans.*/}/' \"$1\"\n";
        assert_eq!(
            ran("json", shell, json, r#"{"a": "b c"}"#),
            r#"{"changed":false,"a":"b c","stderr":"","stderr_lines":[]}"#
        );
        let embedded = "cat <<'E'\n{\"own\": <<INCLUDE_ANSIBLE_MODULE_JSON_ARGS>>, \"rc\": 0}\nE\n";
        let said = ran("embedded", shell, embedded, r#"{"a": 1}"#);
        assert!(
            said.starts_with(r#"{"changed":false,"own":{"a":1,"_ansible_tmpdir":"#),
            "{said}"
        );
    }

    #[test]
    fn what_is_printed_around_the_result_is_left_out() {
        let noisy = "#!/bin/sh\necho hello\necho '{\"a\": 1}'\necho bye\n";
        assert_eq!(
            ran("json", r#""/bin/sh""#, noisy, "{}"),
            r#"{"changed":false,"a":1,"warnings":["Module invocation had junk after the JSON data: bye"],"stderr":"","stderr_lines":[]}"#
        );
        assert_eq!(
            ran("json", r#""/bin/sh""#, "echo nothing >&2; exit 3", "{}"),
            r#"{"changed":false,"failed":true,"msg":"Module result deserialization failed: No start of json char found","module_stdout":"","module_stderr":"nothing\n","rc":3,"stderr":"nothing\n","stderr_lines":["nothing"]}"#
        );
    }

    #[test]
    fn what_ansible_s_modules_write_in_types_of_their_own_is_read_as_plain_values() {
        let printed = r#"{"failed": true, "exception": {"event": {"msg": "outer", "chain":
            {"event": {"msg": "inner", "__ansible_type": "Event"}, "__ansible_type": "EventChain"},
            "__ansible_type": "Event"}, "__ansible_type": "ErrorSummary"},
            "warnings": [{"event": {"msg": "careful"}, "__ansible_type": "WarningSummary"}],
            "deprecations": [{"event": {"msg": "old"}, "version": "2.99",
            "deprecator": {"resolved_name": "a.b"}, "__ansible_type": "DeprecationSummary"}],
            "tagged": [{"__ansible_type": "_AnsibleTaggedStr", "value": "x", "tags": []}]}"#;
        let result = plain_result(object_in(printed).unwrap().0);
        assert_eq!(
            serde_json::to_string(&Value::from(result)).unwrap(),
            r#"{"failed":true,"warnings":["careful"],"deprecations":["old. This feature will be removed from collection 'a.b' version 2.99."],"tagged":["x"],"msg":"Task failed: Module failed: outer: inner"}"#
        );
    }

    #[test]
    fn what_will_be_removed_is_told_in_ansible_s_words_with_the_text_it_is_said_of() {
        let told = |deprecator: &str, when: &str| {
            let printed = format!(
                r#"{{"old": {{"__ansible_type": "_AnsibleTaggedStr", "value": "x", "tags":
                [{{"__ansible_type": "Deprecated", "msg": "gone soon!", {when}
                "deprecator": {deprecator}}}]}}}}"#
            );
            let result = plain_result(object_in(&printed).unwrap().0);
            let Some(Value::String(text)) = result.get("old") else {
                panic!("a tagged text is a text");
            };
            assert_eq!(&**text, "x");
            text.deprecation().unwrap().message.clone()
        };
        let plugin = |name: &str, kind: &str| {
            format!(r#"{{"resolved_name": "{name}", "type": {{"value": "{kind}"}}}}"#)
        };
        assert_eq!(
            [
                told(&plugin("a.b.c", "module"), r#""version": "9.9","#),
                told(&plugin("a.b.c", "filter"), r#""date": "2030-01-01","#),
                told(&plugin("ansible.builtin", "lookup"), ""),
                told(&plugin("local", "module"), r#""version": "9.9","#),
                told("null", ""),
            ],
            [
                "gone soon! This feature will be removed from module 'c' in collection 'a.b' version 9.9.",
                "gone soon! This feature will be removed from filter plugin 'c' in collection 'a.b' in a release after 2030-01-01.",
                "gone soon! This feature will be removed from the lookup plugin API in ansible-core in a future release.",
                "gone soon! This feature will be removed from module 'local' in the future.",
                "gone soon! This feature will be removed in the future.",
            ]
        );
    }

    #[test]
    fn an_interpreter_that_is_not_there_is_named() {
        let said = ran("json", r#""/no/such/thing""#, "", "{}");
        assert!(
            said.contains("The module interpreter '/no/such/thing' was not found."),
            "{said}"
        );
    }
}
