//! Modules return what ansible-core's own modules returned for the same files and options, and
//! check mode predicts it; the cases are recorded by `tests/cases/modules/record.py`.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use backstay::machine::{Machine, MachineOptions};
use backstay::modules;
use serde_json::{Map, Value, json};

/// What differs from run to run.
const MASKED: [&str; 25] = [
    "uid",
    "gid",
    "owner",
    "group",
    "pw_name",
    "gr_name",
    "inode",
    "dev",
    "device_type",
    "blocks",
    "block_size",
    "atime",
    "mtime",
    "ctime",
    "start",
    "end",
    "delta",
    "version",
    "attributes",
    "attr_flags",
    "backup_file",
    "elapsed",
    "backup",
    "mimetype",
    "charset",
];

/// What only Ansible's programs say, or is said twice.
const DROPPED: [&str; 3] = ["stdout_lines", "stderr_lines", "extract_results"];

#[test]
fn assemble_is_as_recorded() {
    compare("assemble");
}

#[test]
fn blockinfile_is_as_recorded() {
    compare("blockinfile");
}

#[test]
fn modules_of_collections_that_edit_files_are_as_recorded() {
    compare("collections");
}

#[test]
fn command_and_shell_are_as_recorded() {
    compare("command");
}

#[test]
fn copy_on_the_target_is_as_recorded() {
    compare("copy");
}

#[test]
fn file_is_as_recorded() {
    compare("file");
}

#[test]
fn find_is_as_recorded() {
    compare("find");
}

#[test]
fn ini_file_is_as_recorded() {
    compare("ini_file");
}

#[test]
fn known_hosts_is_as_recorded() {
    compare("known_hosts");
}

#[test]
fn lineinfile_is_as_recorded() {
    compare("lineinfile");
}

#[test]
fn stat_slurp_and_ping_are_as_recorded() {
    compare("query");
}

#[test]
fn replace_is_as_recorded() {
    compare("replace");
}

#[test]
fn unarchive_is_as_recorded() {
    compare("unarchive");
}

#[test]
fn xml_is_as_recorded() {
    compare("xml");
}

#[test]
fn yum_repository_is_as_recorded() {
    compare("yum_repository");
}

fn compare(name: &str) {
    let path = format!(
        "{}/tests/cases/modules/{name}.json",
        env!("CARGO_MANIFEST_DIR")
    );
    let document: Value = serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap();
    let mut differences = Vec::new();
    for case in document["cases"].as_array().unwrap() {
        let name = case["name"].as_str().unwrap();
        let root = tempfile::tempdir().unwrap();
        let root = root.path().canonicalize().unwrap();
        set_up(&root, &case["files"]);
        for (index, step) in case["steps"].as_array().unwrap().iter().enumerate() {
            let predicted = predict(&root, step);
            let result = run(&root, step, false);
            // What would be refused, by a validator or for a missing owner, is not predicted.
            let predicted = predicted.filter(|_| result["failed"] != true);
            if let Some(difference) =
                predicted.and_then(|predicted| disagreement(&predicted, &result))
            {
                differences.push(format!("{name}, step {index}, in check mode: {difference}"));
            }
            let (mut recorded, mut ours) = (normal(&step["result"]), normal(&result));
            // Ansible adds this on the controller.
            recorded["changed"] = json!(recorded["changed"] == true);
            // Some modules return it though nobody asked.
            if step["diff"] != true {
                recorded.as_object_mut().unwrap().remove("diff");
                ours.as_object_mut().unwrap().remove("diff");
            }
            if recorded != ours {
                differences.push(format!("{name}, step {index}:\n  {recorded}\n  {ours}"));
            }
        }
        for (file, content) in case["after"].as_object().into_iter().flatten() {
            let ours = fs::read_to_string(root.join(file)).ok();
            if content.as_str() != ours.as_deref() {
                differences.push(format!("{name}, {file}:\n  {content}\n  {}", json!(ours)));
            }
        }
    }
    assert!(
        differences.is_empty(),
        "{} differences, recorded above ours:\n{}",
        differences.len(),
        differences.join("\n")
    );
}

#[expect(clippy::disallowed_methods, reason = "a test writes its own fixture")]
fn set_up(root: &Path, files: &Value) {
    for (name, content) in files.as_object().into_iter().flatten() {
        let path = root.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        match content {
            Value::String(text) => fs::write(path, text).unwrap(),
            Value::Null => fs::create_dir_all(path).unwrap(),
            link => {
                let target = link["link"].as_str().unwrap();
                symlink(target.replace("$ROOT", &root.display().to_string()), path).unwrap();
            }
        }
    }
}

/// Runs a step in check mode, which must change nothing; commands are not predicted.
fn predict(root: &Path, step: &Value) -> Option<Value> {
    if matches!(step["module"].as_str(), Some("command" | "shell")) {
        return None;
    }
    let before = snapshot(root);
    let predicted = run(root, step, true);
    assert_eq!(
        before,
        snapshot(root),
        "check mode changed something: {step}"
    );
    Some(predicted)
}

/// Tells how a prediction differs from what happened then.
fn disagreement(predicted: &Value, result: &Value) -> Option<String> {
    ["changed", "failed"].into_iter().find_map(|key| {
        let (predicted_value, value) = (&predicted[key], &result[key]);
        (predicted_value != value).then(|| {
            format!("{key} was predicted as {predicted_value}, and is {value}\n  {predicted}\n  {result}")
        })
    })
}

/// Lists everything below a directory with its type, mode, times and content.
fn snapshot(root: &Path) -> Vec<String> {
    use std::os::unix::fs::MetadataExt;
    let mut found = Vec::new();
    for entry in fs::read_dir(root).unwrap() {
        let path = entry.unwrap().path();
        let metadata = path.symlink_metadata().unwrap();
        let content = match () {
            () if metadata.is_dir() => {
                found.extend(snapshot(&path));
                Vec::new()
            }
            () if metadata.is_symlink() => Vec::new(),
            () => fs::read(&path).unwrap(),
        };
        found.push(format!(
            "{} {:?} {:?} {:o} {}.{} {content:?}",
            path.display(),
            metadata.file_type(),
            fs::read_link(&path).ok(),
            metadata.mode(),
            metadata.mtime(),
            metadata.mtime_nsec(),
        ));
    }
    found.sort();
    found
}

fn run(root: &Path, step: &Value, check: bool) -> Value {
    let root = root.display().to_string();
    let given = step["args"].to_string().replace("$ROOT", &root);
    let given: backstay::value::Value = serde_json::from_str(&given).unwrap();
    let mut machine = Machine::new(MachineOptions {
        environment: [("HOME", root.as_str()), ("GREETING", "hello")]
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .to_vec(),
        umask: Some(0o022),
        diff: step["diff"] == true,
        check,
        ..MachineOptions::default()
    });
    let module = modules::find(step["module"].as_str().unwrap()).unwrap();
    let result = match (module.run)(&mut machine, given.as_map().unwrap()) {
        Ok(outcome) => outcome.into_result(),
        Err(failure) => failure.into_result(),
    };
    let text = serde_json::to_string(&backstay::value::Value::from(result)).unwrap();
    serde_json::from_str(&text.replace(&root, "$ROOT")).unwrap()
}

/// Tells whether a result is about a file, whose size does not depend on where it is.
fn is_file(result: &Map<String, Value>) -> bool {
    match result.get("state") {
        Some(state) => state == "file" || state == "hard",
        None => result.get("isreg") == Some(&json!(true)),
    }
}

/// Masks what differs from run to run, and sorts what has no order.
fn normal(value: &Value) -> Value {
    match value {
        Value::Object(map) => {
            let mut entries: Vec<_> = map.iter().collect();
            entries.sort_by_key(|(key, _)| key.as_str());
            entries
                .into_iter()
                .filter(|(key, _)| !DROPPED.contains(&key.as_str()))
                .map(|(key, value)| {
                    let is_masked =
                        MASKED.contains(&key.as_str()) || (key == "size" && !is_file(map));
                    // The generation of an inode is known to some file systems only.
                    let is_there = key == "version" || !value.is_null() && *value != json!("");
                    let value = if is_masked && is_there {
                        json!("*")
                    } else {
                        normal(value)
                    };
                    (key.clone(), value)
                })
                .collect::<Map<_, _>>()
                .into()
        }
        Value::Array(items) => {
            let mut items: Vec<_> = items.iter().map(normal).collect();
            if items.iter().all(|item| item["path"].is_string()) {
                items.sort_by_key(|item| item["path"].to_string());
            }
            items.into()
        }
        other => other.clone(),
    }
}
