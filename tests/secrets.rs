//! What `no_log` hides stays hidden: a canary goes through every kind of task, and is looked for in
//! everything a run prints, logs and keeps, at every verbosity.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use tempfile::TempDir;

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
    told
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
