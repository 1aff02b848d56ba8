//! What bad input gets: one message, Ansible's exit code, and no host touched.
//!
//! A case is a directory of `cases/bad_input` with the files it needs, and beside it `NAME.txt`:
//! the command line, the exit code, and what is printed; `NAME.ansible` is what ansible-core says.
//! `cases/bad_input/record.py` records both.
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

/// Lists the recorded cases.
fn recorded() -> Vec<PathBuf> {
    let mut paths: Vec<PathBuf> = std::fs::read_dir(cases())
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|ending| ending == "txt"))
        .collect();
    paths.sort();
    assert!(!paths.is_empty());
    paths
}

#[test]
fn every_mistake_is_told_once_with_its_place_and_no_task_runs() {
    for path in recorded() {
        let recorded = std::fs::read_to_string(&path).unwrap();
        let line = recorded.lines().next().unwrap().trim_start_matches("$ ");
        assert_eq!(run(line), recorded, "{}", path.display());
    }
}

/// There is no more to say of these: no file is at fault, and nothing is like what was meant.
const NO_MORE: [&str; 5] = [
    "bad_limit",
    "missing_extra_vars_file",
    "missing_handler",
    "missing_playbook",
    "unknown_setting",
];

/// Here the line is shown that is at fault, and ansible-core shows none; or the run goes on without
/// the hosts that fail, and ansible-core's does not.
const SHOWS_THE_SOURCE: [&str; 4] = [
    "ad_hoc_undefined_variable",
    "include_of_a_play",
    "template_undefined",
    "wrong_role_argument",
];

/// What is wrong is told in no more characters than by ansible-core, and with its place or a line
/// of help, which is not counted. Where ansible-core shows nothing of the source, its message
/// alone is compared.
#[test]
fn forty_mistakes_are_told_in_no_more_words_than_ansible_core_has_and_say_more() {
    let mut n_compared = 0;
    for path in recorded() {
        let name = path.file_stem().unwrap().to_string_lossy().into_owned();
        let [ours, theirs] = ["txt", "ansible"]
            .map(|ending| std::fs::read_to_string(path.with_extension(ending)).unwrap());
        // A warning beside a run that went well is no error.
        if [&ours, &theirs].iter().any(|text| exit_code(text) == "0") {
            continue;
        }
        n_compared += 1;
        let (_, ours) = ours.split_once("--- stdout\n").unwrap();
        let ours = ours.replace("--- stderr\n", "");
        let (_, theirs) = theirs.split_once('\n').unwrap();
        let (ours_counted, theirs_counted) = if !theirs.contains("Origin: ") {
            (message(&ours).len(), without_help(theirs))
        } else if theirs.contains("(source not shown") || SHOWS_THE_SOURCE.contains(&&*name) {
            (message(&ours).len(), message(theirs).len())
        } else {
            (without_help(&ours), without_help(theirs))
        };
        assert!(
            ours_counted <= theirs_counted,
            "{name}: ours is longer\n{ours}\n{theirs}"
        );
        let says_more = [" --> ", "Origin: ", "\nhelp: ", "\n  tip: ", "try '--help'"]
            .iter()
            .any(|sign| ours.contains(sign));
        assert!(
            says_more != NO_MORE.contains(&name.as_str()),
            "{name}: no place and no help, or it should not be listed\n{ours}"
        );
    }
    assert!(n_compared >= 40, "{n_compared} cases were compared");
}

/// Counts the characters of all lines but those of help and empty ones.
fn without_help(told: &str) -> usize {
    let is_help = |line: &str| line.starts_with("help: ") || line.starts_with("did you mean ");
    let lines = told.lines().filter(|line| !is_help(line));
    lines.map(|line| line.trim().chars().count()).sum()
}

fn exit_code(recorded: &str) -> &str {
    let (_, after) = recorded.split_once("exit ").unwrap();
    after.lines().next().unwrap()
}

/// Returns the line that says what is wrong.
fn message(told: &str) -> &str {
    let is_message = |line: &&str| line.starts_with("error: ") || line.starts_with("[ERROR]: ");
    told.lines().find(is_message).unwrap_or(told)
}
