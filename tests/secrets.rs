//! What `no_log` hides stays hidden: a canary goes through every kind of task, and is looked for in
//! everything a run prints, logs and keeps, at every verbosity.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use tempfile::TempDir;

use crate::notices::Server;

const CANARY: &str = "kanarienvogel-7341";

/// Runs the canary's playbook with the real binary and returns all that it printed and logged.
/// Whether `no_log` is told is a variable of the playbook.
fn told(words: &[&str], home: &Path, no_log: bool) -> String {
    let host = home.join("host");
    let log = home.join("log");
    fs::create_dir_all(&host).unwrap();
    let root = host.display();
    fs::write(
        home.join("hosts.ini"),
        format!("a ansible_connection=sandbox ansible_sandbox_root={root}\n"),
    )
    .unwrap();
    let cases = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cases/secrets");
    let output = Command::new(env!("CARGO_BIN_EXE_backstay"))
        .args(words)
        .arg(cases.join("canary.yml"))
        .args(["-i", "hosts.ini"])
        .args(["-e", if no_log { "hide=yes" } else { "hide=no" }])
        .current_dir(home)
        .env_clear()
        .env("HOME", home)
        .env("ANSIBLE_LOG_PATH", &log)
        .env("GITHUB_STEP_SUMMARY", home.join("summary"))
        .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let (out, err) = (
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
    );
    let status = if words.contains(&"broken=yes") { 21 } else { 0 };
    assert_eq!(output.status.code(), Some(status), "{out}{err}");
    let mut told = format!("{out}{err}{}", fs::read_to_string(&log).unwrap());
    for kept in ["summary", "metrics.prom"] {
        let path = home.join(kept);
        // Each is there where the words ask for it.
        let is_asked = words.contains(&kept) || (kept == "summary" && words.contains(&"github"));
        assert_eq!(path.exists(), is_asked, "{kept}: {words:?}");
        told += &fs::read_to_string(path).unwrap_or_default();
    }
    if words.contains(&"--state-dir") {
        for entry in fs::read_dir(home.join("states")).unwrap() {
            told += &fs::read_to_string(entry.unwrap().path()).unwrap();
        }
    }
    let journals = find(home, &|path| path.ends_with("journal"));
    let is_kept = words[0] == "deploy" && !words.contains(&"--check");
    assert_eq!(journals.len(), usize::from(is_kept), "{words:?}");
    for journal in journals {
        told += &String::from_utf8_lossy(&fs::read(journal).unwrap());
    }
    told
}

/// Returns the files below a directory that are wanted.
fn find(directory: &Path, is_wanted: &dyn Fn(&Path) -> bool) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(find(&path, is_wanted));
        } else if is_wanted(&path) {
            found.push(path);
        }
    }
    found
}

/// Returns the lines that hold the canary.
fn leaks(told: &str) -> Vec<&str> {
    told.lines().filter(|line| line.contains(CANARY)).collect()
}

#[test]
fn no_log_hides_a_value_from_every_output_at_every_verbosity() {
    let ways: [&[&str]; 14] = [
        &["play"],
        &["play", "-v", "--diff"],
        &["play", "-vvvvv", "--diff"],
        &["play", "--check", "--diff", "-vvv"],
        &["play", "--output", "json"],
        &["play", "--output", "json", "-vvvvv", "--diff"],
        &["deploy", "-vvvvv", "--diff"],
        &["deploy", "--check", "--diff", "-vvvvv"],
        &["deploy", "--check", "--output", "json"],
        &["deploy", "--output", "json", "-vvvvv", "--diff"],
        &["deploy", "-e", "broken=yes", "-vvvvv", "--diff"],
        &["play", "--output", "github", "-vvvvv", "--diff"],
        &[
            "deploy",
            "--output",
            "github",
            "-vvvvv",
            "--metrics-file",
            "metrics.prom",
        ],
        &[
            "deploy",
            "-e",
            "broken=yes",
            "--output",
            "github",
            "--metrics-file",
            "metrics.prom",
            "--state-dir",
            "states",
        ],
    ];
    for way in ways {
        let home = TempDir::new().unwrap();
        assert_eq!(leaks(&told(way, home.path(), true)), [""; 0], "{way:?}");
    }
}

#[test]
fn the_canary_shows_where_nothing_is_said_of_hiding_it() {
    let home = TempDir::new().unwrap();
    let told = told(&["play", "--diff"], home.path(), false);
    assert!(!leaks(&told).is_empty(), "{told}");
}

const HIDDEN_BY_ITSELF: &str = "
- hosts: all
  gather_facts: false
  vars:
    kept: '{{ ansible_sandbox_root }}/file'
  tasks:
    - copy: {dest: '{{ kept }}', content: 'key {{ canary }}'}
    - lineinfile: {path: '{{ kept }}', line: 'more {{ canary }}'}
    - template: {src: file.j2, dest: '{{ kept }}'}
    - command: 'cat {{ kept }}'
    - slurp: {path: '{{ kept }}'}
    - copy: {dest: '{{ ansible_sandbox_root }}/{{ canary }}', content: x}
    - shell: 'echo {{ canary }}; echo {{ canary }} >&2; echo {{ canary | b64encode }}'
      register: told
    - debug: {var: told}
    - command: 'echo {{ item }}'
      loop: ['{{ canary }}']
    - set_fact: {fact: '{{ canary }}'}
    - command: env
      environment: {TOKEN: '{{ canary }}'}
    - name: The end
      command: 'ls /{{ canary }}'
";

/// A vaulted value is hidden where nobody says `no_log`, in all that leaves a deploy too, and in the
/// journal of the host.
#[test]
fn a_vaulted_value_is_hidden_everywhere_without_being_told() {
    for output in ["github", "json", "text"] {
        vaulted_value_is_hidden(output);
    }
}

fn vaulted_value_is_hidden(output: &str) {
    let home = TempDir::new().unwrap();
    let path = |name: &str| home.path().join(name);
    fs::create_dir(path("host")).unwrap();
    let hosts = format!(
        "a ansible_connection=sandbox ansible_sandbox_root={}\n",
        path("host").display()
    );
    fs::write(path("hosts.ini"), hosts).unwrap();
    fs::write(path("site.yml"), HIDDEN_BY_ITSELF).unwrap();
    fs::write(path("file.j2"), "template {{ canary }}").unwrap();
    fs::write(path("password"), "the-word-of-the-vault\n").unwrap();
    fs::write(path("vault.yml"), format!("canary: {CANARY}\n")).unwrap();
    let hook = Server::new(&[]);
    let run = |words: &[&str]| {
        Command::new(env!("CARGO_BIN_EXE_backstay"))
            .args(words)
            .args(["--vault-password-file", "password"])
            .current_dir(home.path())
            .env_clear()
            .env("HOME", home.path())
            .env("ANSIBLE_LOG_PATH", path("log"))
            .env("GITHUB_STEP_SUMMARY", path("summary"))
            .env("HOOK", &hook.url)
            .env("TOKEN", "a-token-of-another")
            .env("PAGERDUTY_URL", &hook.url)
            .env("GITHUB_API_URL", &hook.url)
            .env("GITHUB_REPOSITORY", "a/shop")
            .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
            .stdin(Stdio::null())
            .output()
            .unwrap()
    };
    assert!(run(&["vault", "encrypt", "vault.yml"]).status.success());
    let deploy = [
        "deploy",
        "-i",
        "hosts.ini",
        "-e",
        "@vault.yml",
        "-vvvv",
        "--diff",
        "--output",
        output,
        "--metrics-file",
        "metrics",
        "--state-dir",
        "states",
        "--notify",
        "webhook=HOOK",
        "--notify",
        "slack=HOOK",
        "--notify",
        "github=TOKEN",
        "--notify",
        "pagerduty=TOKEN",
        "--pushgateway",
        "HOOK",
        "site.yml",
    ];
    let ended = run(&deploy);
    let (out, err) = (
        String::from_utf8_lossy(&ended.stdout).into_owned(),
        String::from_utf8_lossy(&ended.stderr).into_owned(),
    );
    assert_eq!(ended.status.code(), Some(21), "{out}{err}");
    let mut told = out + &err;
    for _ in 0..5 {
        told += &hook.next();
    }
    // What the deploy made itself is no output.
    let ours = |path: &Path| {
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        name != "file" && name != CANARY
    };
    let files = find(home.path(), &ours);
    let is_journal = |path: &PathBuf| path.ends_with("journal");
    assert_eq!(files.iter().filter(|path| is_journal(path)).count(), 1);
    for file in &files {
        told += &String::from_utf8_lossy(&fs::read(file).unwrap());
    }
    // The file's name is all that the host has to know, to remove it again.
    let named = format!("\"path\":\"{}\"", path("host").join(CANARY).display());
    assert_eq!(told.matches(&named).count(), 1, "{told}");
    let told = told.replace(&named, "");
    assert_eq!(leaks(&told), [""; 0], "{output}");
    // In base64 neither.
    assert!(!told.contains("a2FuYXJpZW52b2dlbC03MzQx"), "{told}");
    assert!(told.contains("STUCK"), "{told}");
}
