//! What the state directory promises about who may look into it and what stays.

use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use super::*;
use crate::transaction::journal::UndoLog;
use crate::transaction::log::{Entry, Outcome};
use crate::transaction::state::Drift;

fn base() -> (tempfile::TempDir, PathBuf) {
    let root = tempfile::tempdir().unwrap();
    let path = root.path().canonicalize().unwrap();
    (root, path)
}

fn header(number: u32) -> Header {
    Header {
        id: format!("{number:032x}"),
        application: "shop".into(),
        opened: i64::from(number),
        ..Header::default()
    }
}

fn commit(root: &StateRoot, number: u32, healthy: bool) {
    let generation = root.next_generation("shop").unwrap();
    let mut log = root.create(header(number)).unwrap();
    log.append(&Entry::Committed { generation, at: 0 }).unwrap();
    if healthy {
        log.append(&Entry::Healthy).unwrap();
    }
}

#[test]
fn everything_below_the_root_is_this_users_alone() {
    let (_root, base) = base();
    let root = StateRoot::open(&base.join("a/b")).unwrap();
    let mut log = root.create(header(1)).unwrap();
    let kept = log.shelve(&base).unwrap().unwrap();
    assert!(kept.starts_with(root.directory(&header(1).id).unwrap()));
    let mut waiting = vec![base.join("a/b")];
    let mut seen = 0;
    while let Some(path) = waiting.pop() {
        seen += 1;
        let found = path.symlink_metadata().unwrap();
        let mode = if found.is_dir() { 0o700 } else { 0o600 };
        assert_eq!(
            found.permissions().mode() & 0o7777,
            mode,
            "{}",
            path.display()
        );
        if found.is_dir() {
            let entries = std::fs::read_dir(&path).unwrap();
            waiting.extend(entries.map(|entry| entry.unwrap().path()));
        }
    }
    // The root, `transactions`, the transaction, `kept` and the journal.
    assert_eq!(seen, 5);
}

#[expect(
    clippy::disallowed_methods,
    reason = "a test makes what is to be refused"
)]
fn mode(path: &Path, mode: u32) {
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
}

#[test]
fn a_root_that_others_could_change_is_refused() {
    let (_root, base) = base();
    let refused = |path: &Path| StateRoot::open(path).unwrap_err().to_string();
    symlink(&base, base.join("link")).unwrap();
    assert_eq!(
        refused(&base.join("link/state")),
        format!(
            "cannot keep state in `{}/link`: it is no directory",
            base.display()
        )
    );
    StateRoot::open(&base.join("state")).unwrap();
    mode(&base.join("state"), 0o750);
    assert_eq!(
        refused(&base.join("state")),
        format!(
            "cannot keep state in `{}/state`: others may look into it",
            base.display()
        )
    );
    mode(&base.join("state"), 0o700);
    mode(&base, 0o777);
    assert_eq!(
        refused(&base.join("state")),
        format!(
            "cannot keep state in `{}`: others may write to it",
            base.display()
        )
    );
    mode(&base, 0o1777);
    StateRoot::open(&base.join("state")).unwrap();
}

#[test]
fn a_transactions_name_is_no_path() {
    let (_root, base) = base();
    let root = StateRoot::open(&base.join("state")).unwrap();
    let error = root
        .directory("../../../../../../etc/passwd/000")
        .unwrap_err();
    assert_eq!(
        error.to_string(),
        "`../../../../../../etc/passwd/000` names no transaction"
    );
}

#[test]
fn healthy_generations_count_and_the_last_known_good_always_stays() {
    let (_root, base) = base();
    let root = StateRoot::open(&base.join("state")).unwrap();
    for (number, healthy) in [(1, true), (2, true), (3, false), (4, false)] {
        commit(&root, number, healthy);
    }
    let numbers = || {
        let generations = root.generations("shop").unwrap();
        generations
            .iter()
            .filter_map(Stored::generation)
            .collect::<Vec<_>>()
    };
    let good = || root.last_known_good("shop").unwrap().unwrap().generation();
    assert_eq!(numbers(), [1, 2, 3, 4]);
    assert_eq!(good(), Some(2));
    assert_eq!(root.collect("shop", 2), Vec::<String>::new());
    assert_eq!(numbers(), [1, 2, 3, 4]);
    assert_eq!(root.collect("shop", 0), Vec::<String>::new());
    assert_eq!(numbers(), [2, 3, 4]);
    assert_eq!(root.next_generation("shop").unwrap(), 5);
    assert_eq!(root.next_generation("other").unwrap(), 1);
}

#[test]
fn undone_transactions_go_when_they_are_many_unless_they_saved_something() {
    let (_root, base) = base();
    let root = StateRoot::open(&base.join("state")).unwrap();
    for number in 1..=25 {
        let mut log = root.create(header(number)).unwrap();
        if number == 1 {
            let saved = log.save_drift(&base).unwrap();
            let drift = Drift {
                path: "/etc/motd".into(),
                saved: Some(saved.display().to_string()),
            };
            let outcome = Outcome::Drift(drift);
            log.append(&Entry::Compensated { of: 0, outcome }).unwrap();
        }
        log.append(&Entry::RolledBack { to: None, at: 0 }).unwrap();
    }
    assert_eq!(root.collect("shop", 5), Vec::<String>::new());
    let left = root.transactions().unwrap();
    let opened: Vec<_> = left
        .iter()
        .map(|one| one.header().unwrap().opened)
        .collect();
    let expected: Vec<i64> = [1].into_iter().chain(6..=25).collect();
    assert_eq!(opened, expected);
}

#[test]
fn a_damaged_journal_is_stuck_and_stops_nobody() {
    let (_root, base) = base();
    let root = StateRoot::open(&base.join("state")).unwrap();
    commit(&root, 1, true);
    let mut log = root.create(header(2)).unwrap();
    log.append(&Entry::Staged).unwrap();
    let journal = log.directory().join("journal");
    let mut bytes = std::fs::read(&journal).unwrap();
    bytes[100] ^= 1;
    #[expect(clippy::disallowed_methods, reason = "a test damages a file")]
    std::fs::write(&journal, bytes).unwrap();
    let found = root.transaction(&header(2).id).unwrap().unwrap();
    assert_eq!(found.state(), State::Stuck);
    assert_eq!(
        found.journal,
        Err("the journal is damaged at byte 16".into())
    );
    assert_eq!(root.generations("shop").unwrap().len(), 1);
}

#[test]
fn the_file_of_an_application_tells_its_release_and_the_one_before_also_after_a_rollback() {
    let (_root, base) = base();
    let root = StateRoot::open(&base.join("state")).unwrap();
    let deploy = |number: u32, release: Option<&str>, target: Option<u32>| {
        let mut header = header(number);
        header.run.kind = if target.is_some() {
            "rollback"
        } else {
            "deploy"
        }
        .into();
        header.run.host = "runner-1".into();
        header.run.release = release.map(Into::into);
        header.run.target = target.map(|number| format!("{number:032x}"));
        let generation = root.next_generation("shop").unwrap();
        let mut log = root.create(header).unwrap();
        log.append(&Entry::Committed { generation, at: 60 })
            .unwrap();
        root.tell_current("shop").unwrap();
        let text = std::fs::read_to_string(base.join("state/current/shop.json")).unwrap();
        serde_json::from_str::<serde_json::Value>(&text).unwrap()
    };
    deploy(1, Some("1.0"), None);
    let second = deploy(2, Some("1.1"), None);
    assert_eq!(
        second,
        serde_json::json!({
            "application": "shop", "version": "1.1", "previous": "1.0", "generation": 2,
            "healthy": false, "kind": "deploy", "time": "1970-01-01T00:01:00Z", "who": "",
            "runner": "runner-1", "run_url": null,
        })
    );
    let back = deploy(3, None, Some(1));
    assert_eq!(back["version"], "1.0");
    assert_eq!(back["previous"], serde_json::Value::Null);
    assert_eq!(back["kind"], "rollback");
}
