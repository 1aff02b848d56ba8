//! Templates give what ansible-core 2.19.14 gives: values, texts, conditions and error messages.
//!
//! The cases and what real ansible-core made of them stand in `tests/cases/template`; where we
//! differ on purpose, `differs.jsonl` says how and why.

use std::collections::HashMap;
use std::fmt::Write;
use std::sync::Arc;

use backstay::node::{Kind, Node};
use backstay::source::{Mark, SourceFile};
use backstay::template::{
    Binding, Engine, LookupCall, LookupError, PathState, Services, TemplateOptions,
};
use backstay::value::Value;
use indexmap::IndexMap;
use serde::Deserialize;

/// The files of the machine, as far as the cases ask for them.
struct TestWorld;

impl Services for TestWorld {
    fn lookup(&self, call: LookupCall<'_>) -> Result<Vec<Value>, LookupError> {
        Err(format!("no lookup {} here", call.name).into())
    }
    fn lookup_names(&self) -> &'static [&'static str] {
        &[]
    }
    fn decrypt(&self, _: &str) -> Result<String, String> {
        Err("no secrets here".into())
    }
    fn encrypt(
        &self,
        _: &str,
        _: &str,
        _: Option<&str>,
        _: Option<&str>,
    ) -> Result<String, String> {
        Err("no secrets here".into())
    }
    fn decrypt_with(&self, _: &str, _: &str) -> Result<String, String> {
        Err("no secrets here".into())
    }
    fn load_template(&self, name: &str, _: Option<&str>) -> Result<Arc<SourceFile>, String> {
        Err(name.into())
    }
    fn is_vaulted_file(&self, path: &str) -> Result<bool, String> {
        Err(format!("there is no file {path}"))
    }

    fn path_state(&self, path: &str, _: bool) -> Option<PathState> {
        (path == "/").then_some(PathState {
            is_dir: true,
            is_file: false,
            is_link: false,
            is_mount: true,
            identity: (1, 1),
        })
    }
    fn real_path(&self, path: &str) -> String {
        path.into()
    }
    fn glob(&self, _: &str) -> Vec<String> {
        Vec::new()
    }
    fn environment(&self, _: &str) -> Option<String> {
        None
    }
    fn home(&self, _: Option<&str>) -> Option<String> {
        None
    }
    fn warn(&self, _: String) {}
    fn deprecate(&self, _: String, _: &Mark) {}
}

#[derive(Deserialize)]
struct Case {
    kind: String,
    text: String,
    #[serde(default)]
    result: Option<Value>,
    #[serde(default)]
    omit: bool,
    #[serde(default)]
    error: Option<String>,
}

#[derive(Deserialize)]
struct Difference {
    text: String,
    ours: String,
}

fn node(value: &Value, mark: &Mark) -> Node {
    let kind = match value {
        Value::Null => Kind::Null,
        Value::Bool(flag) => Kind::Bool(*flag),
        Value::Int(number) => Kind::Int(*number),
        Value::Float(number) => Kind::Float(*number),
        Value::String(text) => Kind::Text(text.shared()),
        Value::List(items) => Kind::List(Arc::new(items.iter().map(|v| node(v, mark)).collect())),
        Value::Map(map) => Kind::Map(Arc::new(
            map.iter()
                .map(|(key, value)| (node(key, mark), node(value, mark)))
                .collect(),
        )),
    };
    Node::new(mark.clone(), kind)
}

fn read(name: &str) -> String {
    let path = format!("{}/tests/cases/template/{name}", env!("CARGO_MANIFEST_DIR"));
    std::fs::read_to_string(path).expect("the cases are in the repository")
}

fn scope() -> IndexMap<Arc<str>, Binding> {
    let text = read("vars.json");
    let file = SourceFile::new("vars.json", text.clone());
    let mark = Mark::start_of(&file);
    let variables: Value = serde_json::from_str(&text).expect("vars.json is JSON");
    variables
        .as_map()
        .expect("vars.json is a dictionary")
        .iter()
        .map(|(name, value)| (name.to_string().into(), Binding::Source(node(value, &mark))))
        .collect()
}

/// Says what became of a case in one line.
fn outcome(engine: &Engine, case: &Case, scope: &IndexMap<Arc<str>, Binding>) -> String {
    let file = SourceFile::new("/case", case.text.clone());
    let source = Node::text(Mark::start_of(&file), case.text.as_str());
    let rendered = match &*case.kind {
        "when" => engine
            .condition(&source, scope)
            .map(|answer| Some(Value::Bool(answer))),
        "file" => engine
            .template_value(&file, &TemplateOptions::default(), scope)
            .map(Some),
        _ => engine
            .render(&source, scope)
            .map(backstay::template::Rendered::into_value),
    };
    match rendered {
        Ok(Some(value)) => format!("= {}", json(&value)),
        Ok(None) => "omit".into(),
        Err(error) => format!("! {}", error.message),
    }
}

fn json(value: &Value) -> String {
    serde_json::to_string(value).expect("a value has a JSON text")
}

fn expected(case: &Case) -> String {
    match (&case.error, case.omit) {
        (Some(error), _) => format!("! {error}"),
        (None, true) => "omit".into(),
        (None, false) => format!("= {}", json(&case.result.clone().unwrap_or_default())),
    }
}

#[test]
fn every_recorded_case_gives_what_ansible_core_gives() {
    let differences: HashMap<String, String> = read("differs.jsonl")
        .lines()
        .map(|line| serde_json::from_str::<Difference>(line).unwrap())
        .map(|difference| (difference.text, difference.ours))
        .collect();
    let engine = Engine::new(Arc::new(TestWorld));
    let scope = scope();
    let mut report = String::new();
    for line in read("recorded.jsonl").lines() {
        let case: Case = serde_json::from_str(line).unwrap();
        let ours = outcome(&engine, &case, &scope);
        let wanted = differences
            .get(&case.text)
            .cloned()
            .unwrap_or_else(|| expected(&case));
        if ours != wanted {
            writeln!(
                report,
                "{} {}\n   wanted {wanted}\n   got    {ours}",
                case.kind, case.text
            )
            .unwrap();
        }
    }
    assert!(report.is_empty(), "\n{report}");
}
