//! Templates give what ansible-core 2.19.14 gives: values, texts, conditions and error messages.
//!
//! The cases and what real ansible-core made of them stand in `tests/cases/template`; where we
//! differ on purpose, `differs.jsonl` says how and why.

use std::collections::HashMap;
use std::fmt::Write;
use std::sync::{Arc, Mutex};

use backstay::node::{Kind, Node};
use backstay::source::{Mark, SourceFile};
use backstay::template::{
    Binding, Engine, LookupCall, LookupError, PathState, Services, TemplateOptions, Untrusted,
};
use backstay::value::{Deprecation, Text, Value};
use indexmap::IndexMap;
use serde::Deserialize;

/// The files of the machine, as far as the cases ask for them, and what the user was told.
#[derive(Default)]
struct TestWorld {
    told: Mutex<Vec<String>>,
}

impl TestWorld {
    fn tell(&self, kind: &str, message: &str, mark: Option<&Mark>) {
        let place = mark.map(|mark| format!(" at {mark}")).unwrap_or_default();
        self.told
            .lock()
            .unwrap()
            .push(format!("{kind}{place}: {message}"));
    }
}

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
    fn warn(&self, message: String, mark: Option<&Mark>) {
        self.tell("warning", &message, mark);
    }
    fn deprecate(&self, message: String, mark: &Mark) {
        self.tell("deprecated", &message, Some(mark));
    }
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
    // Where ansible-core was told that they stand.
    let file = SourceFile::new("/case", text.clone());
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
    let engine = Engine::new(Arc::new(TestWorld::default()));
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

fn source(name: &str, kind: Kind) -> Node {
    let file = SourceFile::new(name, "text\n");
    Node::new(Mark::new(&file, 1, 1), kind)
}

#[test]
fn a_text_that_should_not_be_used_any_more_is_told_where_it_is_read() {
    let world = Arc::new(TestWorld::default());
    let engine = Engine::new(Arc::clone(&world) as Arc<dyn Services>);
    let message = "gone in 9.9.".to_owned();
    let old = Value::from(Text::from("old").deprecated(Deprecation { message }.into()));
    let reply = Value::map([
        ("old", old.clone()),
        ("list", Value::list([old])),
        ("new", 1.into()),
    ]);
    let indirect = source("hosts", Kind::Text("{{ reply.old }}".into()));
    let scope: IndexMap<Arc<str>, Binding> = [
        ("reply".into(), Binding::Final(reply)),
        ("indirect".into(), Binding::Source(indirect)),
    ]
    .into_iter()
    .collect();
    let play = source(
        "play.yml",
        Kind::Text("see {{ reply.old }} {{ reply['list'][0] }}".into()),
    );
    assert_eq!(
        engine.render(&play, &scope).unwrap().into_value(),
        Some("see old old".into())
    );
    let asked = Mark::start_of(&SourceFile::new("debug.yml", "x\n"));
    engine.expression_at("reply.old", &asked, &scope).unwrap();
    engine.expression_at("indirect", &asked, &scope).unwrap();
    engine.expression_at("reply.new", &asked, &scope).unwrap();
    assert_eq!(
        *world.told.lock().unwrap(),
        [
            "deprecated at play.yml:1:1: gone in 9.9.",
            "deprecated at play.yml:1:1: gone in 9.9.",
            "deprecated at debug.yml:1:1: gone in 9.9.",
            "deprecated at hosts:1:1: gone in 9.9.",
        ]
    );
}

/// Recorded with `_ANSIBLE_TEMPLAR_UNTRUSTED_TEMPLATE_BEHAVIOR`, ansible-core 2.19.14.
#[test]
fn data_that_looks_like_a_template_is_told_or_refused_as_asked() {
    let world = Arc::new(TestWorld::default());
    let engine = Engine::new(Arc::clone(&world) as Arc<dyn Services>);
    let told = || std::mem::take(&mut *world.told.lock().unwrap());
    let reply = Value::map([("stdout", Value::from("{{ x }}")), ("rc", 0.into())]);
    let key = source("vars.yml", Kind::Text("a".into()));
    let written = source("vars.yml", Kind::Unsafe("{{ 2 }}".into()));
    let dictionary = source("vars.yml", Kind::Map(Arc::new(vec![(key, written)])));
    let scope: IndexMap<Arc<str>, Binding> = [
        ("reply".into(), Binding::Final(reply)),
        ("dictionary".into(), Binding::Source(dictionary)),
    ]
    .into_iter()
    .collect();
    let ask = |engine: &Engine, text: &str| engine.expression(text, &scope);
    assert_eq!(ask(&engine, "reply.stdout"), Ok("{{ x }}".into()));
    assert_eq!(told(), [""; 0]);
    let warning = engine.clone().untrusted(Untrusted::Warn);
    assert_eq!(ask(&warning, "reply.stdout"), Ok("{{ x }}".into()));
    ask(&warning, "reply.rc").unwrap();
    ask(&warning, "reply").unwrap();
    ask(&warning, "dictionary").unwrap();
    assert_eq!(
        told(),
        [
            "warning: Encountered untrusted template or expression.\nOrigin: <unknown>\n\n\
             {{ x }}\n\nTemplates and expressions must be defined by trusted sources such as \
             playbooks or roles, not untrusted sources such as module results.\n",
            "warning at vars.yml:1:1: Encountered untrusted template or expression.",
        ]
    );
    let failing = engine.untrusted(Untrusted::Fail);
    assert_eq!(
        ask(&failing, "reply.stdout").unwrap_err().message,
        "Encountered untrusted template or expression."
    );
    assert_eq!(ask(&failing, "reply.rc"), Ok(0.into()));
}
