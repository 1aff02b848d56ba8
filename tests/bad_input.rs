//! What bad input gets: one message, Ansible's exit code, and no host touched.
//!
//! A case is a directory of `cases/bad_input` with the files it needs, and beside it `NAME.txt`:
//! the command line, the exit code, and what is printed; see `cases/bad_input/record.py`.
//! A task of each case would leave a file behind.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

fn cases() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cases/bad_input")
}

/// Runs the command line of a case, variables before it, and returns what there is to compare.
#[expect(clippy::disallowed_methods, reason = "the process under test")]
fn run(line: &str) -> String {
    let home = tempfile::tempdir().unwrap();
    let words: Vec<&str> = line.split(' ').collect();
    let at = words.iter().position(|word| *word == "backstay").unwrap();
    let variables = words[..at].iter().map(|word| word.split_once('=').unwrap());
    let done = Command::new(env!("CARGO_BIN_EXE_backstay"))
        .args(&words[at + 1..])
        .current_dir(cases())
        .env_clear()
        .env("HOME", home.path())
        .env("PATH", "/usr/bin:/bin")
        .envs(variables)
        .stdin(Stdio::null())
        .output()
        .unwrap();
    assert!(!home.path().join("touched").exists(), "{line}: a task ran");
    let told = |bytes: &[u8]| {
        let text = String::from_utf8(bytes.to_vec()).unwrap();
        text.replace(cases().to_str().unwrap(), "$CASES")
            .replace(home.path().to_str().unwrap(), "$HOME")
    };
    format!(
        "$ {line}\nexit {}\n--- stdout\n{}--- stderr\n{}",
        done.status.code().unwrap(),
        told(&done.stdout),
        told(&done.stderr)
    )
}

#[test]
fn every_mistake_is_told_once_with_its_place_and_no_task_runs() {
    let mut names: Vec<PathBuf> = std::fs::read_dir(cases())
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|ending| ending == "txt"))
        .collect();
    names.sort();
    assert!(!names.is_empty());
    for path in names {
        let recorded = std::fs::read_to_string(&path).unwrap();
        let line = recorded.lines().next().unwrap().trim_start_matches("$ ");
        assert_eq!(run(line), recorded, "{}", path.display());
    }
}
