//! The gates before a deploy, with the real binary: doctor, secrets, preflight and the exporter
//! whose metrics preflight reads.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use tempfile::TempDir;

use crate::deploy::{Ended, Fleet};

/// Runs the binary in a directory with nothing but these variables.
fn run(directory: &Path, words: &[&str], variables: &[(&str, &str)]) -> Ended {
    let mut command = Command::new(env!("CARGO_BIN_EXE_backstay"));
    command
        .args(words)
        .current_dir(directory)
        .env_clear()
        .env("HOME", directory)
        .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
        .envs(variables.iter().copied())
        .stdin(Stdio::null());
    Ended::of(command.output().unwrap())
}

#[test]
fn doctor_tells_of_every_host_and_names_the_one_that_is_down() {
    let fleet = Fleet::new();
    let ended = fleet.run(&["doctor"]);
    assert_eq!(ended.status, Some(0), "{ended}");
    for host in ["web1", "web2", "web3"] {
        let start = format!("\n{host}: ok: agent answers in ");
        assert!(ended.stdout.contains(&start), "{ended}");
    }
    let hosts = fs::read_to_string(fleet.path("hosts.ini")).unwrap();
    // Nothing listens on the port of discarding.
    let down = "down ansible_connection=ssh ansible_host=127.0.0.1 ansible_port=9\n";
    fleet.file("hosts.ini", &(hosts + down));
    let ended = fleet.run(&["doctor"]);
    assert_eq!(ended.status, Some(4), "{ended}");
    assert!(
        ended.stdout.contains(
            "down: network: `127.0.0.1:9` refused the connection: nothing listens there; "
        ),
        "{ended}"
    );
    assert_eq!(
        ended.stdout.matches(": ok: agent answers in ").count(),
        3,
        "{ended}"
    );
    let ended = fleet.run(&["doctor", "--json", "--free", "999999999"]);
    let told: serde_json::Value = serde_json::from_str(&ended.stdout).unwrap();
    assert_eq!(told[0]["wrong"][0]["class"], "disk", "{ended}");
}

#[test]
fn secrets_are_judged_without_being_shown_and_masked_where_actions_reads() {
    let home = TempDir::new().unwrap();
    let list = "secrets:
  - {name: PLAIN}
  - {name: GONE}
  - {name: MAYBE, optional: true}
  - {name: LINES, optional: true}
  - {name: TLS, kind: certificate, file: certificate.pem}
";
    fs::write(home.path().join("secrets.yml"), list).unwrap();
    let certificate = include_str!("cases/certificate.pem");
    fs::write(home.path().join("certificate.pem"), certificate).unwrap();
    let words = ["secrets", "check", "secrets.yml"];
    let plain = ("PLAIN", "kanarienvogel 7341");
    let ended = run(home.path(), &words, &[plain]);
    assert_eq!(ended.status, Some(1), "{ended}");
    assert_eq!(
        ended.stdout,
        "PLAIN: ok: there\n\
         GONE: wrong: the environment has no such variable\n\
         MAYBE: ok: not there, and optional\n\
         LINES: ok: not there, and optional\n\
         TLS: ok: expires at 2126-10-31T12:30:39Z\n",
        "{ended}"
    );
    let ended = run(
        home.path(),
        &words,
        &[
            plain,
            ("GONE", "second-secret"),
            ("LINES", "first-of-three\nsecond-of-three\nthird-of-three\n"),
            ("GITHUB_ACTIONS", "true"),
        ],
    );
    assert_eq!(ended.status, Some(0), "{ended}");
    let (masks, told) = ended.stdout.split_once("PLAIN: ok").unwrap();
    assert!(
        masks.lines().all(|line| line.starts_with("::add-mask::")),
        "{ended}"
    );
    for form in [
        "kanarienvogel 7341",
        "a2FuYXJpZW52b2dlbCA3MzQx",
        "first-of-three",
        "second-of-three",
        "third-of-three",
        "Zmlyc3Qtb2YtdGhyZWUKc2Vjb25kLW9mLXRocmVlCnRoaXJkLW9mLXRocmVlCg==",
        "kanarienvogel%25207341",
    ] {
        assert!(
            masks.contains(&format!("::add-mask::{form}\n")),
            "{form}: {ended}"
        );
    }
    assert!(!told.contains("kanarienvogel"), "{ended}");
    let soon = ["secrets", "check", "secrets.yml", "--warn", "99999"];
    let ended = run(home.path(), &soon, &[plain, ("GONE", "second-secret")]);
    assert_eq!(ended.status, Some(3), "{ended}");
}

/// An exporter that ends with the test.
struct Exporter {
    child: Child,
    url: String,
}

impl Exporter {
    fn new(directory: &Path) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_backstay"))
            .args(["exporter", "--listen", "127.0.0.1:0", "--directory", "."])
            .args(["--name", "one", "--runners", "labels.yml"])
            .current_dir(directory)
            .env_clear()
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        let stderr = child.stderr.take().unwrap();
        BufReader::new(stderr).read_line(&mut line).unwrap();
        let url = line
            .trim()
            .strip_prefix("listening on ")
            .unwrap()
            .to_owned();
        Self { child, url }
    }
}

impl Drop for Exporter {
    fn drop(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

#[test]
fn the_primary_deploys_while_its_exporter_says_it_is_online_and_then_the_secondary_does() {
    let home = TempDir::new().unwrap();
    let directory = home.path();
    let line = |name: &str, role: &str, url: &str| {
        format!(
            "  - {{name: {name}, role: {role}, environments: [production], exporter: '{url}'}}\n"
        )
    };
    let labels = "runners:\n".to_owned() + &line("one", "primary", "");
    fs::write(directory.join("labels.yml"), labels).unwrap();
    fs::create_dir(directory.join("_diag")).unwrap();
    fs::write(directory.join("_diag/Runner_1.log"), "").unwrap();
    let exporter = Exporter::new(directory);
    // The secondary is the same machine: it is online when the primary is not asked.
    let runners = |primary: &str| {
        let text = "runners:\n".to_owned()
            + &line("one", "primary", primary)
            + &line("two", "secondary", &exporter.url);
        fs::write(directory.join("runners.yml"), text).unwrap();
    };
    let preflight = |name: &str, role: &str| {
        let words = ["preflight", "--role", role];
        run(directory, &words, &[("RUNNER_NAME", name)])
    };
    runners(&exporter.url);
    let ended = preflight("one", "primary");
    assert_eq!(ended.status, Some(0), "{ended}");
    assert_eq!(
        ended.stdout, "one: the primary is healthy: deploy\n",
        "{ended}"
    );
    assert_eq!(preflight("two", "secondary").status, Some(10));
    runners("http://127.0.0.1:9/metrics");
    let ended = preflight("one", "primary");
    assert_eq!(ended.status, Some(11), "{ended}");
    assert!(
        ended
            .stdout
            .contains("\nrunner: the primary runner `one`: http://127.0.0.1:9/metrics: "),
        "{ended}"
    );
    assert_eq!(preflight("two", "secondary").status, Some(0));
    // Nobody has checked in: both are down.
    fs::remove_file(directory.join("_diag/Runner_1.log")).unwrap();
    let ended = preflight("two", "secondary");
    assert_eq!(ended.status, Some(13), "{ended}");
    assert!(
        ended.stdout.starts_with("two: no runner is healthy\n"),
        "{ended}"
    );
    assert_eq!(preflight("three", "primary").status, Some(12));
}

#[test]
fn the_step_of_the_action_deploys_with_the_words_it_is_given() {
    let fleet = Fleet::new();
    let task = "- hosts: app\n  gather_facts: false\n  tasks: [{copy: {dest: ~/a, content: '{{ said }}'}}]\n";
    fleet.file("one.yml", task);
    fleet.file("two.yml", &task.replace("~/a", "~/b"));
    let (_, script) = include_str!("../action.yml")
        .rsplit_once("run: |\n")
        .unwrap();
    let bin = Path::new(env!("CARGO_BIN_EXE_backstay")).parent().unwrap();
    let step = |arguments: &str| {
        let mut command = Command::new("bash");
        command
            .args(["--noprofile", "--norc", "-eo", "pipefail", "-c", script])
            .current_dir(fleet.path("."))
            .env_clear()
            .env("HOME", fleet.path("home"))
            .env("PATH", format!("{}:/usr/bin:/bin", bin.display()))
            .env("PLAYBOOK", "one.yml two.yml")
            .env("INVENTORY", "hosts.ini")
            .env("ARGUMENTS", arguments)
            .env("GITHUB_ACTIONS", "true")
            .stdin(Stdio::null());
        Ended::of(command.output().unwrap())
    };
    let ended = step("-e said=yes --limit web1");
    assert_eq!(ended.status, Some(0), "{ended}");
    assert!(ended.stdout.contains("committed on 1 host"), "{ended}");
    let names = fleet.tree("web1").into_keys().collect::<Vec<_>>();
    assert!(
        names.contains(&"a".into()) && names.contains(&"b".into()),
        "{names:?}"
    );
    assert!(fleet.tree("web2").is_empty());
    // Without arguments too; what the deploy comes to is what the step comes to.
    let ended = step("");
    assert_eq!(ended.status, Some(20), "{ended}");
}
