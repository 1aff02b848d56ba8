//! The walls of the house: which room may import which, read from the sources themselves.
//!
//! A new arrow is a commit of its own with its reason; ARCHITECTURE.md draws the same table.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// Rooms that everybody may use: data, and nothing that acts.
pub(super) const VOCABULARY: [&str; 9] = [
    "source",
    "value",
    "node",
    "error",
    "event",
    "redactor",
    "arguments",
    "pyregex",
    "crypt",
];

/// Each room and the rooms it may import beside the vocabulary.
pub(super) const ARROWS: [(&str, &[&str]); 25] = [
    ("source", &[]),
    ("value", &[]),
    ("node", &[]),
    ("error", &[]),
    ("event", &[]),
    ("redactor", &[]),
    ("arguments", &[]),
    ("pyregex", &[]),
    ("crypt", &[]),
    ("yaml", &[]),
    ("vault", &[]),
    ("config", &[]),
    ("template", &["yaml"]),
    ("lookups", &["template", "yaml", "vault"]),
    ("inventory", &["yaml", "vault"]),
    ("playbook", &["yaml", "vault"]),
    ("vars", &["inventory", "playbook", "template"]),
    ("transaction", &[]),
    ("machine", &["transaction"]),
    ("modules", &["machine", "transaction"]),
    ("agent", &["machine", "modules", "transaction"]),
    ("transport", &[]),
    (
        "executor",
        &[
            "vars",
            "template",
            "lookups",
            "playbook",
            "inventory",
            "yaml",
            "vault",
            "transport",
            "agent",
            "modules",
            "transaction",
        ],
    ),
    ("diagnosis", &[]),
    ("report", &["config", "diagnosis", "yaml"]),
];

/// Rooms on the target's side: they block, and know neither the controller nor its runtime.
const TARGET_SIDE: [&str; 4] = ["machine", "modules", "transaction", "agent/serve"];

#[test]
fn no_room_imports_a_room_it_has_no_arrow_to() {
    let mut wrong = Vec::new();
    for file in sources() {
        let room = room_of(&file);
        if matches!(room.as_str(), "cli" | "lib" | "main") {
            continue;
        }
        let Some((_, allowed)) = ARROWS.iter().find(|(name, _)| *name == room) else {
            wrong.push(format!(
                "{}: room `{room}` is not in the table",
                file.display()
            ));
            continue;
        };
        for used in rooms_used(&fs::read_to_string(&file).unwrap()) {
            let is_room = ARROWS.iter().any(|(name, _)| *name == used) || used == "cli";
            if is_room
                && used != room
                && !VOCABULARY.contains(&used.as_str())
                && !allowed.contains(&used.as_str())
            {
                wrong.push(format!("{}: `{room}` imports `{used}`", file.display()));
            }
        }
    }
    assert_eq!(wrong, Vec::<String>::new());
}

#[test]
fn the_target_side_does_not_know_the_runtime_of_the_controller() {
    let wrong: Vec<_> = sources()
        .into_iter()
        .filter(|file| {
            let path = file
                .strip_prefix(source_root())
                .unwrap()
                .to_string_lossy()
                .into_owned();
            let text = fs::read_to_string(file).unwrap();
            // Tests may put both ends into one process.
            let shipped = text
                .split("#[cfg(test)]\nmod tests {")
                .next()
                .unwrap_or_default();
            TARGET_SIDE.iter().any(|room| path.starts_with(room))
                && !path.ends_with("/tests.rs")
                && shipped.contains("tokio::")
        })
        .collect();
    assert_eq!(wrong, Vec::<PathBuf>::new());
}

#[test]
fn the_executor_never_prints() {
    for file in sources()
        .into_iter()
        .filter(|file| room_of(file) == "executor")
    {
        let text = fs::read_to_string(&file).unwrap();
        for word in [
            "println!",
            "eprintln!",
            "print!(",
            "indicatif",
            "io::stdout",
            "io::stderr",
        ] {
            assert!(!text.contains(word), "{} has `{word}`", file.display());
        }
    }
}

#[test]
fn every_file_says_first_what_it_is() {
    let silent: Vec<_> = sources()
        .into_iter()
        .filter(|file| !fs::read_to_string(file).unwrap().starts_with("//! "))
        .collect();
    assert_eq!(silent, Vec::<PathBuf>::new());
}

fn source_root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src")
}

fn sources() -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut pending = vec![source_root()];
    while let Some(directory) = pending.pop() {
        for entry in fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                pending.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                found.push(path);
            }
        }
    }
    found.sort();
    found
}

fn room_of(file: &Path) -> String {
    let inside = file.strip_prefix(source_root()).unwrap();
    let first = inside
        .components()
        .next()
        .unwrap()
        .as_os_str()
        .to_string_lossy();
    first.trim_end_matches(".rs").to_owned()
}

/// Returns every `crate::ROOM` that is named, also in lists such as `crate::{a, b}`.
fn rooms_used(text: &str) -> BTreeSet<String> {
    let mut used = BTreeSet::new();
    for (at, _) in text.match_indices("crate::") {
        let is_whole_word = !text[..at].ends_with(|c: char| c.is_alphanumeric() || c == '$');
        let rest = &text[at + "crate::".len()..];
        if !is_whole_word {
            continue;
        }
        let names = match rest.strip_prefix('{') {
            Some(list) => list.split('}').next().unwrap_or_default(),
            None => rest,
        };
        for name in names.split(',') {
            used.insert(leading_name(name.trim()));
            if !rest.starts_with('{') {
                break;
            }
        }
    }
    used
}

fn leading_name(text: &str) -> String {
    text.chars()
        .take_while(|c| c.is_alphanumeric() || *c == '_')
        .collect()
}
