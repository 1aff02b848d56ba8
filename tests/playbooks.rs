//! The playbooks that ship, run by the real binary on a sandbox host: looked at before, deployed,
//! asked for its health, tried, and put back.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use tempfile::TempDir;

use crate::deploy::Ended;

/// One host with the application; it is stopped with the test.
struct Host {
    root: TempDir,
}

impl Host {
    fn new() -> Self {
        let root = TempDir::new().unwrap();
        let sandbox = root.path().join("host");
        fs::create_dir(&sandbox).unwrap();
        let free = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = free.local_addr().unwrap().port();
        let shipped = shipped("inventories/sandbox/group_vars");
        fs::create_dir(root.path().join("group_vars")).unwrap();
        fs::copy(
            shipped.join("app.yml"),
            root.path().join("group_vars/app.yml"),
        )
        .unwrap();
        let sandbox = sandbox.display();
        let hosts = format!(
            "[app]\none ansible_sandbox_root={sandbox} app_port={port}\n[database]\n[frontend]\n"
        );
        fs::write(root.path().join("hosts"), hosts).unwrap();
        Self { root }
    }

    fn run(&self, command: &str, playbook: &str, more: &[&str]) -> Ended {
        // A runner has the binary where its programs are.
        let bin = Path::new(env!("CARGO_BIN_EXE_backstay")).parent().unwrap();
        let output = Command::new(env!("CARGO_BIN_EXE_backstay"))
            .arg(command)
            .arg(shipped("playbooks").join(playbook))
            .args(["-i", "hosts"])
            .args(more)
            .current_dir(self.root.path())
            .env_clear()
            .env("HOME", self.root.path())
            .env(
                "PATH",
                format!("{}:/usr/sbin:/usr/bin:/sbin:/bin", bin.display()),
            )
            .env("RUNNER_NAME", "one")
            .stdin(Stdio::null())
            .output()
            .unwrap();
        Ended::of(output)
    }

    fn home(&self) -> PathBuf {
        self.root.path().join("host/greeter")
    }

    fn current(&self) -> String {
        let link = fs::read_link(self.home().join("current")).unwrap();
        link.display().to_string()
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        let home = self.home();
        let control = home.join("current/bin/appctl");
        if control.exists() {
            let mut stop = Command::new(control);
            stop.arg("stop").arg(home).output().ok();
        }
    }
}

fn shipped(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

#[test]
fn a_release_is_validated_deployed_asked_tried_and_put_back() {
    let host = Host::new();
    let good = |command: &str, playbook: &str, more: &[&str]| {
        let ended = host.run(command, playbook, more);
        assert_eq!(ended.status, Some(0), "{playbook}: {ended}");
        ended
    };
    good("play", "validate.yml", &[]);
    let ended = host.run("play", "health.yml", &["-e", "app_health_retries=1"]);
    assert_eq!(ended.status, Some(2), "nothing runs yet: {ended}");
    good("deploy", "deploy.yml", &[]);
    for playbook in ["validate.yml", "health.yml", "smoke.yml"] {
        let ended = good("play", playbook, &[]);
        assert!(ended.stdout.contains(" changed=0 "), "{ended}");
    }
    good("deploy", "deploy.yml", &["-e", "app_version=1.1.0"]);
    assert_eq!(host.current(), "releases/1.1.0");
    good("play", "rollback.yml", &[]);
    assert_eq!(host.current(), "releases/1.0.0");
    let kept = fs::read_to_string(host.home().join("forensics/1.1.0.json")).unwrap();
    assert!(kept.contains("\"version\": \"1.1.0\""), "{kept}");
    good("play", "health.yml", &[]);
    let ended = host.run("play", "rollback.yml", &["-e", "rollback_version=9.9.9"]);
    assert_eq!(ended.status, Some(2), "{ended}");
    assert!(ended.stdout.contains("one has no release 9.9.9"), "{ended}");
    assert_eq!(host.current(), "releases/1.0.0");
}

#[test]
fn a_wrong_artifact_is_named_before_anything_is_changed() {
    let host = Host::new();
    let ended = host.run("deploy", "validate.yml", &["-e", "app_sha256=0"]);
    assert_eq!(ended.status, Some(20), "{ended}");
    assert!(
        ended.stderr.starts_with("diagnosis: checksum: one, task "),
        "{ended}"
    );
    assert!(!host.home().exists(), "{ended}");
}

#[test]
fn a_full_disk_is_named_before_anything_is_changed() {
    let host = Host::new();
    let ended = host.run(
        "deploy",
        "validate.yml",
        &["-e", "validate_free_mib=999999999"],
    );
    assert_eq!(ended.status, Some(20), "{ended}");
    let start = "diagnosis: disk: one, task `Check the room`: No space left on device: ";
    assert!(ended.stderr.starts_with(start), "{ended}");
    assert!(!host.home().exists(), "{ended}");
}

#[test]
fn a_runner_without_right_secret_or_way_is_named_before_anything_is_changed() {
    let host = Host::new();
    let write = |name: &str, text: &str| fs::write(host.root.path().join(name), text).unwrap();
    write(
        "runners.yml",
        "runners: [{name: two, role: primary, environments: [production], exporter: \"http://127.0.0.1:9\"}]\n",
    );
    write("secrets.yml", "secrets: [{name: GONE}]\n");
    let at = |name: &str| host.root.path().join(name).display().to_string();
    let runners = format!("validate_runners={}", at("runners.yml"));
    let secrets = format!("validate_secrets={}", at("secrets.yml"));
    let endpoint = r#"{"validate_endpoints": [{"host": "127.0.0.1", "port": 9}]}"#;
    let cases: [(&[&str], &str); 3] = [
        (
            &["-e", "validate_role=primary", "-e", &runners],
            "Ask whether this runner is authorised and healthy",
        ),
        (
            &["-e", &secrets],
            "Ask whether the secrets are there and unexpired",
        ),
        (&["-e", endpoint], "Try the way from here to every endpoint"),
    ];
    for (words, task) in cases {
        let ended = host.run("deploy", "validate.yml", words);
        assert_eq!(ended.status, Some(20), "{task}: {ended}");
        let named = format!("localhost, task `{task}`");
        assert!(ended.stderr.contains(&named), "{task}: {ended}");
        assert!(!host.home().exists(), "{ended}");
    }
}

/// Answers every `PING` as a Redis does, on a port of its own.
fn cache() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut asked = [0; 6];
            stream.read_exact(&mut asked).unwrap();
            assert_eq!(&asked, b"PING\r\n");
            stream.write_all(b"+PONG\r\n").unwrap();
        }
    });
    port
}

#[test]
fn the_health_of_the_cache_counts_and_a_deadline_ends_all_tries() {
    let host = Host::new();
    let ended = host.run("deploy", "deploy.yml", &[]);
    assert_eq!(ended.status, Some(0), "{ended}");
    let port = cache();
    let answering = format!(r#"{{"health_cache": {{"host": "127.0.0.1", "port": {port}}}}}"#);
    let ended = host.run("play", "health.yml", &["-e", &answering]);
    assert_eq!(ended.status, Some(0), "{ended}");
    // Without a deadline these would be asked for a quarter of an hour.
    let patient = ["-e", "health_retries=1000", "-e", "health_deadline=2"];
    let silent = r#"{"health_cache": {"host": "127.0.0.1", "port": 9}}"#;
    let page = r#"{"health_pages": ["/", "/nothing-such"]}"#;
    for (broken, task) in [(silent, "Ask the cache"), (page, "Ask for the pages")] {
        let words = [&patient[..], &["-e", broken]].concat();
        let ended = host.run("play", "health.yml", &words);
        assert_eq!(ended.status, Some(2), "{task}: {ended}");
        let (before, _) = ended.stdout.split_once("PLAY RECAP").unwrap();
        let last = before.rsplit("TASK [").next().unwrap();
        assert!(last.starts_with(task), "{task}: {ended}");
    }
}

#[test]
fn every_shipped_playbook_is_valid() {
    for entry in fs::read_dir(shipped("playbooks")).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        if name.ends_with(".yml") {
            let ended = Host::new().run("play", &name, &["--syntax-check"]);
            assert_eq!(ended.status, Some(0), "{name}: {ended}");
        }
    }
}
