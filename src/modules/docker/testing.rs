//! A daemon that answers as a test says; no engine can run where the tests do.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::{Arc, Mutex};

use crate::machine::{Machine, MachineOptions};
use crate::transaction::journal::{MemoryLog, Undo, UndoRecord};
use crate::value::Value;

/// A host with a daemon.
pub(super) struct Host {
    directory: tempfile::TempDir,
    log: MemoryLog,
    seen: Arc<Mutex<Vec<String>>>,
}

/// What a daemon that keeps something remembers between requests.
pub(super) type State = Arc<Mutex<HashMap<String, String>>>;

impl Host {
    /// Answers `METHOD /path` with a body; `!404 …` is a refusal, and so is no answer.
    pub(super) fn new(answer: impl Fn(&str) -> String + Send + 'static) -> Self {
        Self::with_bodies(move |request, _| answer(request))
    }

    /// The same, with what each request carries.
    pub(super) fn with_bodies(answer: impl Fn(&str, &str) -> String + Send + 'static) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let listener = UnixListener::bind(directory.path().join("docker.sock")).unwrap();
        let seen: Arc<Mutex<Vec<String>>> = Arc::default();
        let log = Arc::clone(&seen);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                serve(stream, &answer, &log);
            }
        });
        Self {
            directory,
            log: MemoryLog::new(None),
            seen,
        }
    }

    /// Runs a module with the members of a JSON object as options.
    pub(super) fn run(&self, module: &str, options: &str) -> String {
        self.call(module, options, false)
    }

    pub(super) fn predict(&self, module: &str, options: &str) -> String {
        self.call(module, options, true)
    }

    fn call(&self, module: &str, options: &str, check: bool) -> String {
        let directory = self.directory.path().display().to_string();
        let json = format!(r#"{{"docker_host": "unix://$DIR/docker.sock", {options}}}"#);
        let given: Value = serde_json::from_str(&json.replace("$DIR", &directory)).unwrap();
        let mut machine = Machine::new(MachineOptions {
            check,
            undo: Box::new(self.log.clone()),
            environment: vec![("HOME".into(), directory.clone())],
            ..MachineOptions::default()
        });
        let module = crate::modules::find(module).unwrap();
        let result = match (module.run)(&mut machine, given.as_map().unwrap()) {
            Ok(outcome) => outcome.into_result(),
            Err(failure) => failure.into_result(),
        };
        let text = serde_json::to_string(&Value::from(result)).unwrap();
        text.replace(&directory, "$DIR")
    }

    /// Returns the requests that change something, without what they carry.
    pub(super) fn changes(&self) -> Vec<String> {
        let seen = self.seen.lock().unwrap();
        let changes = seen.iter().filter(|request| !request.starts_with("GET "));
        changes.cloned().collect()
    }

    pub(super) fn undo_steps(&self) -> Vec<String> {
        let directory = self.directory.path().display().to_string();
        let start = format!("docker -H unix://{directory}/docker.sock ");
        let mut steps = Vec::new();
        for record in self.log.records() {
            if let UndoRecord::Effect {
                undo: Undo::Compensated(undo),
                ..
            } = record
            {
                steps.extend(
                    undo.iter()
                        .map(|step| step.argv.join(" ").replace(&start, "")),
                );
            }
        }
        steps
    }

    pub(super) fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.directory.path().join(name)).unwrap()
    }
}

fn serve(stream: UnixStream, answer: &impl Fn(&str, &str) -> String, log: &Mutex<Vec<String>>) {
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    let mut stream = stream;
    loop {
        let mut first = String::new();
        if reader.read_line(&mut first).unwrap_or(0) == 0 {
            return;
        }
        let mut length = 0;
        loop {
            let mut line = String::new();
            if reader.read_line(&mut line).unwrap_or(0) == 0 || line.trim().is_empty() {
                break;
            }
            if let Some(value) = line.to_lowercase().strip_prefix("content-length:") {
                length = value.trim().parse().unwrap();
            }
        }
        let mut body = vec![0; length];
        reader.read_exact(&mut body).unwrap();
        let request = first.trim().trim_end_matches(" HTTP/1.1").to_owned();
        let said = answer(&request, &String::from_utf8_lossy(&body));
        log.lock().unwrap().push(request);
        let (status, text) = match said.strip_prefix('!') {
            Some(refusal) => refusal.split_once(' ').unwrap_or((refusal, "")),
            None if said.is_empty() => ("404", "{\"message\": \"no such thing\"}"),
            None => ("200", said.as_str()),
        };
        let reply = format!(
            "HTTP/1.1 {status} X\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{text}",
            text.len()
        );
        if stream.write_all(reply.as_bytes()).is_err() {
            return;
        }
    }
}
