//! Both ends together, in one process, over a pair of sockets.

use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::thread::JoinHandle;
use std::time::Duration;

use super::frame::Frame;
use super::serve::{ServeError, catch_panics, serve, serve_modules};
use crate::agent::client::{Agent, AgentError, FetchError, Progress};
use crate::agent::contents::{Contents, Store};
use crate::agent::protocol::{Call, CheckMode};
use crate::arguments::ArgumentSpec;
use crate::machine::{Command, Content, ContentId, Effect, Machine, NewFile};
use crate::modules::{self, Module, ModuleResult, Outcome};
use crate::value::{Map, Value};

static SPEC: ArgumentSpec = ArgumentSpec::new("probe", &[], &[], &[]);

static PROBES: [Module; 4] = [
    Module {
        name: "panics",
        spec: &SPEC,
        run: |_, _| panic!("out of cheese"),
    },
    Module {
        name: "sleeps",
        spec: &SPEC,
        run: |machine, _| {
            machine.sleep(Duration::from_mins(10))?;
            Ok(Outcome::unchanged())
        },
    },
    Module {
        name: "runs",
        spec: &SPEC,
        run: |machine, given| {
            let text = given.get("text").map(Value::to_string).unwrap_or_default();
            let execution = machine.execute(&Command::shell(text), Effect::opaque("probe"))?;
            let output = execution.output().map(|output| output.stdout_text());
            Ok(Outcome::changed().with("stdout", output))
        },
    },
    Module {
        name: "stores",
        spec: &SPEC,
        run: store,
    },
];

fn store(machine: &mut Machine, given: &Map) -> ModuleResult {
    let path = PathBuf::from(given["path"].to_string());
    let id = ContentId {
        sha256: given["sha256"].to_string(),
        size: u64::try_from(given["size"].as_int().unwrap()).unwrap(),
    };
    machine.write(&path, Content::Remote(id), &NewFile::default())?;
    Ok(Outcome::changed())
}

fn find(name: &str) -> Option<&'static Module> {
    PROBES
        .iter()
        .find(|module| module.name == name)
        .or_else(|| modules::find(name))
}

struct Served {
    agent: Agent,
    thread: JoinHandle<Result<(), ServeError>>,
}

async fn start() -> Served {
    let (near, far) = UnixStream::pair().unwrap();
    let thread = std::thread::spawn(move || {
        catch_panics();
        serve_modules(far.try_clone().unwrap(), Box::new(far), find, None)
    });
    near.set_nonblocking(true).unwrap();
    let (input, output) = tokio::net::UnixStream::from_std(near).unwrap().into_split();
    let agent = Agent::start(Box::new(input), Box::new(output), None, &[])
        .await
        .unwrap();
    Served { agent, thread }
}

impl Served {
    async fn run(&mut self, module: &str, arguments: Value) -> Value {
        let call = call(module, &arguments);
        let reply = self.agent.call(call, &Store::default(), &quiet).await;
        reply.unwrap().result.into()
    }
}

fn call(module: &str, arguments: &Value) -> Call {
    Call {
        module: module.into(),
        arguments: arguments.as_map().unwrap().clone(),
        ..Call::default()
    }
}

fn quiet(_: Progress) {}

fn no_arguments() -> Value {
    Value::from(Map::new())
}

fn text<'a>(result: &'a Value, key: &str) -> &'a str {
    result.get(key).and_then(Value::as_str).unwrap_or_default()
}

#[tokio::test]
async fn a_task_is_answered_with_its_result_and_invocation() {
    let mut served = start().await;
    let result = served.run("ping", no_arguments()).await;
    assert_eq!(
        serde_json::to_string(&result).unwrap(),
        r#"{"changed":false,"ping":"pong","invocation":{"module_args":{"data":"pong"}}}"#
    );
    drop(served.agent);
    served.thread.join().unwrap().unwrap();
}

#[tokio::test]
async fn a_panic_fails_its_task_and_the_agent_goes_on() {
    let mut served = start().await;
    let result = served.run("panics", no_arguments()).await;
    assert_eq!(result.get("failed"), Some(&Value::Bool(true)));
    let message = text(&result, "msg");
    assert!(message.starts_with("the module `panics` has a bug and stopped: out of cheese ("));
    assert_eq!(
        text(&served.run("ping", no_arguments()).await, "ping"),
        "pong"
    );
}

#[tokio::test]
async fn an_unknown_module_is_a_failed_task() {
    let mut served = start().await;
    let result = served.run("nope", no_arguments()).await;
    assert_eq!(text(&result, "msg"), "the agent has no module `nope`");
}

#[tokio::test]
async fn a_timeout_ends_the_task_and_says_so() {
    let mut served = start().await;
    let call = Call {
        timeout: Some(0.01),
        ..call("sleeps", &no_arguments())
    };
    let reply = served.agent.call(call, &Store::default(), &quiet).await;
    assert!(reply.unwrap().timed_out);
    assert_eq!(
        text(&served.run("ping", no_arguments()).await, "ping"),
        "pong"
    );
}

#[tokio::test]
async fn a_dropped_call_is_cancelled_by_the_next() {
    let mut served = start().await;
    let store = Store::default();
    let sleeping = served
        .agent
        .call(call("sleeps", &no_arguments()), &store, &quiet);
    assert!(
        tokio::time::timeout(Duration::from_millis(20), sleeping)
            .await
            .is_err()
    );
    assert_eq!(
        text(&served.run("ping", no_arguments()).await, "ping"),
        "pong"
    );
}

#[tokio::test]
async fn closing_the_channel_kills_the_running_program() {
    let mut served = start().await;
    let root = tempfile::tempdir().unwrap();
    let mark = root.path().join("pid");
    let script = format!(
        "echo $$ > {0}.new; mv {0}.new {0}; sleep 600",
        mark.display()
    );
    let store = Store::default();
    let arguments = Value::map([("text", script)]);
    let running = served.agent.call(call("runs", &arguments), &store, &quiet);
    let started = async {
        while !mark.exists() {
            tokio::task::yield_now().await;
        }
    };
    tokio::select! {
        _ = running => panic!("the program goes on for ten minutes"),
        () = started => {}
    }
    drop(served.agent);
    served.thread.join().unwrap().unwrap();
    let pid = std::fs::read_to_string(&mark).unwrap();
    assert!(!Path::new("/proc").join(pid.trim()).exists());
}

#[tokio::test]
async fn content_larger_than_the_window_arrives_whole_with_progress() {
    let mut served = start().await;
    let root = tempfile::tempdir().unwrap();
    let bytes: Vec<u8> = (0..5_000_000_u32)
        .map(|number| number.to_le_bytes()[1])
        .collect();
    let store = Store::default();
    let id = store.add_bytes(bytes.clone());
    let path = root.path().join("big");
    let arguments = Value::map([
        ("path", Value::from(path.to_str().unwrap())),
        ("sha256", id.sha256.as_str().into()),
        ("size", id.size.into()),
    ]);
    let seen = Mutex::new(Vec::new());
    let watch = |progress: Progress| seen.lock().unwrap().push(progress);
    let reply = served
        .agent
        .call(call("stores", &arguments), &store, &watch)
        .await
        .unwrap();
    assert_eq!(reply.result.get("changed"), Some(&Value::Bool(true)));
    assert!(std::fs::read(&path).unwrap() == bytes);
    let last = Progress {
        done: 5_000_000,
        total: 5_000_000,
    };
    assert_eq!(seen.lock().unwrap().last(), Some(&last));
}

#[tokio::test]
async fn content_the_controller_does_not_have_fails_the_task() {
    let mut served = start().await;
    let arguments = Value::map([
        ("path", Value::from("/nowhere/file")),
        ("sha256", "00".into()),
        ("size", 1.into()),
    ]);
    let root = tempfile::tempdir().unwrap();
    let mut arguments = arguments.as_map().unwrap().clone();
    let path = root.path().join("file");
    arguments.insert("path".into(), path.to_str().unwrap().into());
    let result = served.run("stores", arguments.into()).await;
    assert!(
        text(&result, "msg").contains("no content 00 in this run"),
        "{result}"
    );
    assert_eq!(std::fs::read_dir(root.path()).unwrap().count(), 0);
}

/// A content that never comes.
#[derive(Default)]
struct Stuck(Mutex<Vec<tokio::io::DuplexStream>>);

impl Contents for Stuck {
    fn open(&self, _: &ContentId) -> io::Result<crate::agent::client::Input> {
        let (near, far) = tokio::io::duplex(1);
        self.0.lock().unwrap().push(far);
        Ok(Box::new(near))
    }
}

#[tokio::test]
async fn a_task_that_waits_for_content_can_be_cancelled() {
    let mut served = start().await;
    let root = tempfile::tempdir().unwrap();
    let path = root.path().join("file");
    let arguments = Value::map([
        ("path", Value::from(path.to_str().unwrap())),
        ("sha256", "00".into()),
        ("size", 1.into()),
    ]);
    let stuck = Stuck::default();
    let waiting = served
        .agent
        .call(call("stores", &arguments), &stuck, &quiet);
    let asked = async {
        while stuck.0.lock().unwrap().is_empty() {
            tokio::task::yield_now().await;
        }
    };
    tokio::select! {
        _ = waiting => panic!("the content never comes"),
        () = asked => {}
    }
    assert_eq!(
        text(&served.run("ping", no_arguments()).await, "ping"),
        "pong"
    );
    assert_eq!(std::fs::read_dir(root.path()).unwrap().count(), 0);
}

#[tokio::test]
async fn a_fetched_file_arrives_whole_and_a_missing_one_is_named() {
    let mut served = start().await;
    let root = tempfile::tempdir().unwrap();
    let path = root.path().join("file");
    let bytes = vec![7; 3_000_000];
    std::fs::File::create(&path)
        .unwrap()
        .write_all(&bytes)
        .unwrap();
    let mut copy = Vec::new();
    let fetched = served
        .agent
        .fetch(path.to_str().unwrap(), &mut copy, &quiet)
        .await
        .unwrap();
    assert_eq!(fetched.size, 3_000_000);
    assert!(copy == bytes);
    let error = served
        .agent
        .fetch("/no/such", &mut Vec::new(), &quiet)
        .await;
    let Err(FetchError::Refused(why)) = error else {
        panic!("a missing file cannot be fetched");
    };
    assert_eq!(why, "cannot read `/no/such`: no such file or directory");
}

#[tokio::test]
async fn an_agent_that_dies_in_a_task_is_lost() {
    let (near, mut far) = UnixStream::pair().unwrap();
    let dies = std::thread::spawn(move || {
        let hello = r#"{"type":"hello","protocol":1,"version":"0","pid":1,"uid":0}"#;
        let mut bytes = Vec::new();
        Frame::Control(hello.into()).encode(&mut bytes);
        far.write_all(&bytes).unwrap();
        let mut first = [0; 1];
        far.read_exact(&mut first).unwrap();
    });
    near.set_nonblocking(true).unwrap();
    let (input, output) = tokio::net::UnixStream::from_std(near).unwrap().into_split();
    let errors = Box::new(&b"Killed\n"[..]);
    let mut agent = Agent::start(Box::new(input), Box::new(output), Some(errors), &[])
        .await
        .unwrap();
    let store = Store::default();
    let error = agent
        .call(call("ping", &no_arguments()), &store, &quiet)
        .await;
    assert!(matches!(
        error,
        Err(AgentError::Lost { last_words, .. }) if last_words == "Killed"
    ));
    dies.join().unwrap();
}

#[test]
fn garbage_and_strangers_end_the_agent() {
    let framed = |text: &str| {
        let mut bytes = Vec::new();
        Frame::Control(text.into()).encode(&mut bytes);
        bytes
    };
    for (input, error) in [
        (
            b"GET / HTTP/1.1\r\n".to_vec(),
            "the controller sent a frame of unknown kind 47",
        ),
        (
            framed(r#"{"type":"hello","protocol":99}"#),
            "the controller speaks protocol 99, not 1",
        ),
        (
            framed(r#"{"type":"cancel","seq":1}"#),
            "the controller sent a request before a greeting",
        ),
        (vec![0, 0, 0], "the controller sent half a frame"),
    ] {
        let ended = serve(&input[..], Vec::new());
        assert_eq!(ended.unwrap_err().to_string(), error);
    }
}

#[test]
fn check_mode_has_four_words_on_the_wire() {
    let words = [
        CheckMode::Off,
        CheckMode::Run,
        CheckMode::Each,
        CheckMode::Task,
    ]
    .map(|mode| serde_json::to_string(&mode).unwrap());
    assert_eq!(words, [r#""off""#, r#""run""#, r#""each""#, r#""task""#]);
}

/// Plays tasks that lean on each other in check mode, and says of each whether it would change
/// something, and what `stat` tells of the directory.
async fn tried(check: CheckMode) -> Vec<String> {
    let root = tempfile::tempdir().unwrap();
    let path = |name: &str| Value::from(root.path().join(name).display().to_string());
    let make = Value::map([("path", path("app")), ("state", "directory".into())]);
    let link = [
        ("path", path("app/link")),
        ("state", "link".into()),
        ("src", "/etc".into()),
    ];
    let look = Value::map([("path", path("app"))]);
    let mut served = start().await;
    let mut told = Vec::new();
    for (module, arguments) in [
        ("file", make.clone()),
        ("file", make),
        ("file", Value::map(link)),
        ("stat", look),
    ] {
        let call = Call {
            check,
            ..call(module, &arguments)
        };
        let reply = served.agent.call(call, &Store::default(), &quiet).await;
        let result = Value::from(reply.unwrap().into_result());
        let exists = result.get("stat").and_then(|stat| stat.get("exists"));
        told.push(match (result.get("failed"), exists) {
            (Some(_), _) => "failed".to_owned(),
            (None, Some(exists)) => format!("exists: {exists}"),
            (None, None) => format!("changed: {}", result.get("changed").unwrap()),
        });
    }
    assert_eq!(std::fs::read_dir(root.path()).unwrap().count(), 0);
    told
}

#[tokio::test]
async fn a_plan_remembers_a_check_forgets_unless_a_task_fails_without_the_earlier_ones() {
    assert_eq!(
        tried(CheckMode::Run).await,
        [
            "changed: True",
            "changed: False",
            "changed: True",
            "exists: True"
        ]
    );
    assert_eq!(
        tried(CheckMode::Each).await,
        [
            "changed: True",
            "changed: True",
            "changed: True",
            "exists: False"
        ]
    );
    assert_eq!(
        tried(CheckMode::Task).await,
        ["changed: True", "changed: True", "failed", "exists: False"]
    );
}

#[tokio::test]
async fn an_agent_that_is_gone_is_known_before_anything_is_sent() {
    let (near, far) = UnixStream::pair().unwrap();
    let other = far.try_clone().unwrap();
    let thread = std::thread::spawn(move || {
        serve_modules(other.try_clone().unwrap(), Box::new(other), find, None)
    });
    near.set_nonblocking(true).unwrap();
    let (input, output) = tokio::net::UnixStream::from_std(near).unwrap().into_split();
    let mut agent = Agent::start(Box::new(input), Box::new(output), None, &[])
        .await
        .unwrap();
    assert!(agent.is_alive());
    far.shutdown(std::net::Shutdown::Both).unwrap();
    thread.join().unwrap().ok();
    // The runtime hears of the end when it looks at its sockets.
    for _ in 0..10_000 {
        tokio::task::yield_now().await;
        if !agent.is_alive() {
            break;
        }
    }
    assert!(!agent.is_alive());
}
