//! What is told of a deploy after it, and further attempts: receivers that are slow, down or answer
//! 500 change nothing of what the deploy came to.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::Stdio;
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use crate::deploy::{Ended, Fleet};

/// A server that keeps what it is sent, and answers with each status once, then with 200.
pub(crate) struct Server {
    pub(crate) url: String,
    got: Receiver<String>,
}

impl Server {
    pub(crate) fn new(statuses: &[u16]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let mut statuses = statuses.to_vec();
        let (sender, got) = channel();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let status = if statuses.is_empty() {
                    200
                } else {
                    statuses.remove(0)
                };
                sender.send(taken(stream.unwrap(), status)).unwrap();
            }
        });
        Self { url, got }
    }

    pub(crate) fn next(&self) -> String {
        self.got.recv_timeout(Duration::from_mins(1)).unwrap()
    }
}

fn taken(stream: TcpStream, status: u16) -> String {
    let mut reader = BufReader::new(stream);
    let (mut head, mut length) = (String::new(), 0);
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).unwrap();
        let lower = line.to_lowercase();
        if let Some(value) = lower.strip_prefix("content-length: ") {
            length = value.trim().parse().unwrap();
        }
        if line.trim().is_empty() {
            break;
        }
        head += &line;
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).unwrap();
    let mut stream = reader.into_inner();
    write!(
        stream,
        "HTTP/1.1 {status} X\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
    )
    .unwrap();
    head + "\n" + &String::from_utf8(body).unwrap()
}

const PLAYBOOK: &str = "
- hosts: web1
  gather_facts: false
  tasks:
    - copy: {dest: ~/a, content: a}
    - name: Ask the application
      assert: {that: marker is exists, fail_msg: No space left on device}
";

fn fleet() -> Fleet {
    let fleet = Fleet::new();
    fleet.file("site.yml", PLAYBOOK);
    fleet
}

fn words<'a>(marker: &'a str, more: &[&'a str]) -> Vec<&'a str> {
    [&["deploy", "site.yml", "-e", marker], more].concat()
}

#[test]
fn a_failed_deploy_is_told_with_its_cause_to_everybody_and_retried_where_the_answer_is_500() {
    let fleet = fleet();
    let (hook, gateway) = (Server::new(&[500]), Server::new(&[]));
    let marker = format!("marker={}", fleet.path("marker").display());
    let words = words(
        &marker,
        &[
            "--application",
            "shop",
            "--metrics-file",
            "backstay.prom",
            "--pushgateway",
            "GATEWAY",
            "--notify",
            "webhook=HOOK",
            "--notify",
            "slack=DOWN",
        ],
    );
    let secret = format!("{}/canary-7341-token", hook.url);
    let mut command = fleet.command(&words);
    command
        .env("HOOK", &secret)
        .env("GATEWAY", &gateway.url)
        .env("DOWN", "http://127.0.0.1:9/canary-7341-down");
    let ended = Ended::of(command.output().unwrap());
    assert_eq!(ended.status, Some(20), "{ended}");
    assert!(!ended.to_string().contains("canary-7341"), "{ended}");
    assert!(
        ended.stderr.contains("\nnot told: 127.0.0.1:9: "),
        "{ended}"
    );
    let refused = hook.next();
    assert_eq!(hook.next(), refused);
    assert!(
        refused.starts_with("POST /canary-7341-token HTTP/1.1\r\n"),
        "{refused}"
    );
    let (_, body) = refused
        .split_once("\n\n")
        .or(refused.rsplit_once("\r\n\n"))
        .unwrap();
    let body: serde_json::Value = serde_json::from_str(body).unwrap();
    assert_eq!(body["status"], "rolled_back");
    assert_eq!(body["diagnosis"]["class"], "disk");
    assert_eq!(body["hosts"], serde_json::json!(["web1"]));
    let pushed = gateway.next();
    assert!(
        pushed.starts_with("POST /metrics/job/backstay/application/shop HTTP/1.1\r\n"),
        "{pushed}"
    );
    let written = fs::read_to_string(fleet.path("backstay.prom")).unwrap();
    assert!(pushed.ends_with(&written), "{pushed}\n{written}");
    let failed = |line: &str| {
        line.starts_with("backstay_deploy_failed{application=\"shop\",")
            && line.ends_with(",reason=\"disk\"} 1")
    };
    assert!(written.lines().any(failed), "{written}");
}

#[test]
fn of_attempts_that_all_fail_one_incident_is_opened_after_the_last() {
    let fleet = fleet();
    let (github, hook) = (Server::new(&[]), Server::new(&[]));
    let marker = format!("marker={}", fleet.path("marker").display());
    let more = [
        "--attempts",
        "2",
        "--backoff",
        "1",
        "--notify",
        "github=TOKEN",
        "--notify",
        "webhook=HOOK",
    ];
    let mut command = fleet.command(&words(&marker, &more));
    command
        .env("TOKEN", "canary-7341")
        .env("HOOK", &hook.url)
        .env("GITHUB_API_URL", &github.url)
        .env("GITHUB_SERVER_URL", "https://ci")
        .env("GITHUB_RUN_ID", "7")
        .env("GITHUB_REPOSITORY", "a/shop");
    let ended = Ended::of(command.output().unwrap());
    assert_eq!(ended.status, Some(20), "{ended}");
    assert!(fleet.tree("web1").is_empty(), "{ended}");
    let issue = github.next();
    assert!(
        issue.starts_with("POST /repos/a/shop/issues HTTP/1.1\r\n"),
        "{issue}"
    );
    assert!(issue.contains("Bearer canary-7341\r\n"), "{issue}");
    let body: serde_json::Value = serde_json::from_str(body(&issue)).unwrap();
    assert_eq!(body["labels"], serde_json::json!(["incident", "deploy"]));
    let text = body["body"].as_str().unwrap();
    for words in [
        "rolled back",
        "No space left on device",
        "docs/runbooks/deploy-failed.md\\#disk",
        "\nRun: https://ci/a/shop/actions/runs/7\n",
    ] {
        assert!(text.contains(words), "{words}: {text}");
    }
    let event: serde_json::Value = serde_json::from_str(self::body(&hook.next())).unwrap();
    assert_eq!(
        (&event["attempts"], &event["status"]),
        (&2.into(), &"rolled_back".into())
    );
    assert!(github.got.try_recv().is_err() && hook.got.try_recv().is_err());
}

/// Returns what follows the head of a request.
fn body(request: &str) -> &str {
    let end = request.find("\n\n").or(request.rfind("\r\n\r\n"));
    request[end.unwrap()..].trim_start()
}

#[test]
fn a_receiver_that_never_answers_is_left_behind_and_the_deploy_is_what_it_was() {
    let fleet = fleet();
    // Connections are taken by the system, and nobody reads from them.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", silent.local_addr().unwrap());
    let more = [
        "--notify",
        "webhook=HOOK",
        "--notify",
        "slack=HOOK",
        "--pushgateway",
        "HOOK",
    ];
    let mut command = fleet.command(&words("marker=/", &more));
    let ended = Ended::of(command.env("HOOK", url).output().unwrap());
    assert_eq!(ended.status, Some(0), "{ended}");
    assert!(fleet.tree("web1").contains_key("a"), "{ended}");
    assert!(ended.stderr.contains("not told: "), "{ended}");
}

#[test]
fn an_address_that_is_not_there_is_told_before_anything_is_changed() {
    let fleet = fleet();
    let ended = fleet.run(&words("marker=/", &["--notify", "slack=NOPE"]));
    assert_eq!(ended.status, Some(1), "{ended}");
    assert!(
        ended
            .stderr
            .starts_with("error: the environment has no variable `NOPE`\n"),
        "{ended}"
    );
    assert!(fleet.tree("web1").is_empty());
}

#[test]
fn a_deploy_that_was_rolled_back_is_tried_again_from_the_state_before() {
    let fleet = fleet();
    let marker = fleet.path("marker");
    let variable = format!("marker={}", marker.display());
    let mut child = fleet
        .command(&words(&variable, &["--attempts", "9", "--backoff", "1"]))
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let mut stderr = BufReader::new(child.stderr.take().unwrap());
    let mut told = String::new();
    while !told.contains("attempt 1 of 9 ended with 20; the next one starts in 1 s\n") {
        assert!(stderr.read_line(&mut told).unwrap() > 0, "{told}");
    }
    assert!(fleet.tree("web1").is_empty(), "not as before");
    fs::write(&marker, "").unwrap();
    stderr.read_to_string(&mut told).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(0), "{told}");
    assert!(fleet.tree("web1").contains_key("a"));
}

#[test]
fn the_state_before_is_kept_with_generations_and_checksums_of_each_host() {
    let fleet = fleet();
    let file = fleet.path("hosts/web1/a");
    let path = file.display().to_string();
    let state = ["--state-dir", "states", "--state-path", &path];
    let words = words("marker=/", &state);
    for _ in 0..2 {
        let ended = fleet.run(&words);
        assert_eq!(ended.status, Some(0), "{ended}");
    }
    let entries = fs::read_dir(fleet.path("states")).unwrap();
    let mut texts: Vec<String> = entries
        .map(|entry| entry.unwrap().path())
        .collect::<std::collections::BTreeSet<_>>()
        .into_iter()
        .map(|path| fs::read_to_string(path).unwrap())
        .collect();
    let parse = |text: &str| serde_json::from_str::<serde_json::Value>(text).unwrap();
    let (second, first) = (parse(&texts.pop().unwrap()), parse(&texts.pop().unwrap()));
    assert!(texts.is_empty());
    assert_eq!(first["hosts"][0]["name"], "web1");
    assert_eq!(first["hosts"][0]["transactions"], serde_json::json!([]));
    assert_eq!(first["hosts"][0]["files"][&path], serde_json::Value::Null);
    assert_eq!(second["hosts"][0]["transactions"][0]["generation"], 1);
    // The sum of the one letter in it.
    assert_eq!(
        second["hosts"][0]["files"][&path],
        "ca978112ca1bbdcafac231b39a23dc4da786eff8147c4e72b9807785afee48bb"
    );
}

#[test]
fn a_webhook_is_sent_what_the_template_says_and_a_broken_one_is_told_before_anything_is_changed() {
    let fleet = fleet();
    let hook = Server::new(&[]);
    let run = |template: &str| {
        fleet.file("notice.json", template);
        let more = [
            "--notify",
            "webhook=HOOK",
            "--notify-template",
            "notice.json",
        ];
        let mut command = fleet.command(&words("marker=/nonexistent", &more));
        Ended::of(command.env("HOOK", &hook.url).output().unwrap())
    };
    let ended = run(r#"{"text": "{{ status", "x": 1}"#);
    assert_eq!(ended.status, Some(4), "{ended}");
    assert!(fleet.tree("web1").is_empty(), "{ended}");
    let ended =
        run(r#"{"text": "{{ application }}: {{ status }} by {{ diagnosis.class }}", "n": 7}"#);
    assert_eq!(ended.status, Some(20), "{ended}");
    let got = hook.next();
    assert!(
        got.ends_with(r#"{"text":"default: rolled_back by disk","n":7}"#),
        "{got}"
    );
}
