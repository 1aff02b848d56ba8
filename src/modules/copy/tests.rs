//! `copy` on a private directory, fed by a controller that counts what it is asked for.

use std::io::{self, Read};
use std::sync::{Arc, Mutex};

use super::super::testing::{Target, predicting};
use crate::machine::{Algorithm, ContentId, ContentSource};
use crate::value::Value;

/// A controller with some texts; notes which were sent.
#[derive(Clone)]
struct Controller {
    texts: Vec<String>,
    sent: Arc<Mutex<Vec<String>>>,
}

impl Controller {
    fn new(texts: &[&str]) -> Self {
        Self {
            texts: texts.iter().map(ToString::to_string).collect(),
            sent: Arc::default(),
        }
    }

    fn sent(&self) -> Vec<String> {
        self.sent.lock().unwrap().drain(..).collect()
    }
}

impl ContentSource for Controller {
    fn open(&mut self, id: &ContentId) -> io::Result<Box<dyn Read + Send + '_>> {
        let text = self.texts.iter().find(|text| sha256(text) == id.sha256);
        let text = text.expect("the controller offered it");
        self.sent.lock().unwrap().push(text.clone());
        Ok(Box::new(text.as_bytes()))
    }
}

fn sha256(text: &str) -> String {
    Algorithm::Sha256.of_reader(&mut text.as_bytes()).unwrap()
}

fn offer(text: &str) -> String {
    format!(
        r#"{{"sha256": "{}", "size": {}}}"#,
        sha256(text),
        text.len()
    )
}

/// Copies `text` with further options, and returns `changed` or the message.
fn copy(target: &Target, text: &str, options: &str) -> String {
    let options = format!(r#"{{"_content": {}, {options}}}"#, offer(text));
    brief(target, &options)
}

fn brief(target: &Target, options: &str) -> String {
    let result = target.result("copy", options);
    match result.get("msg") {
        Some(msg) => msg
            .to_string()
            .replace(&target.path("").display().to_string(), "$ROOT/"),
        None => format!("changed={}", result.get("changed").unwrap()),
    }
}

#[test]
fn content_is_sent_once_and_never_when_it_is_there() {
    let controller = Controller::new(&["hello"]);
    let target = Target::new().contents(controller.clone());
    let options = r#""dest": "$ROOT/f", "mode": "0600""#;
    assert_eq!(copy(&target, "hello", options), "changed=True");
    assert_eq!(controller.sent(), ["hello"]);
    assert_eq!(copy(&target, "hello", options), "changed=False");
    assert_eq!(controller.sent(), Vec::<String>::new());
    assert_eq!(target.read("f"), "hello");
}

#[test]
fn a_changed_file_is_described_as_ansible_describes_it() {
    let target = Target::new().contents(Controller::new(&["hello"]));
    let options = format!(
        r#"{{"_content": {}, "_source": "/src/f", "_original_basename": "f", "dest": "$ROOT/d/", "mode": "0640", "owner": "0", "group": "0"}}"#,
        offer("hello")
    );
    let mut result = target.result("copy", &options);
    let mut keys: Vec<_> = result.keys().map(ToString::to_string).collect();
    keys.sort();
    // Recorded from ansible-core 2.19.14.
    assert_eq!(
        keys.join(" "),
        "changed checksum dest gid group md5sum mode owner size src state uid"
    );
    let text = |result: &crate::value::Map, key: &str| result.get(key).unwrap().to_string();
    assert_eq!(
        text(&result, "checksum"),
        "aaf4c61ddcc5e8a2dabede0f3b482cd9aea9434d"
    );
    assert_eq!(text(&result, "md5sum"), "5d41402abc4b2a76b9719d911017c592");
    assert_eq!(text(&result, "mode"), "0640");
    result = target.result("copy", &options);
    let mut keys: Vec<_> = result.keys().map(ToString::to_string).collect();
    keys.sort();
    assert_eq!(
        keys.join(" "),
        "changed checksum dest gid group mode owner path size state uid"
    );
}

#[test]
fn a_directory_gets_the_sources_name_and_content_has_none() {
    let target = Target::new()
        .directory("d")
        .contents(Controller::new(&["x"]));
    let named = r#""dest": "$ROOT/d", "_original_basename": "f""#;
    assert_eq!(copy(&target, "x", named), "changed=True");
    assert_eq!(target.read("d/f"), "x");
    assert_eq!(
        copy(&target, "x", r#""dest": "$ROOT/d""#),
        "can not use content with a dir as dest"
    );
    assert_eq!(
        copy(&target, "x", r#""dest": "$ROOT/no/f""#),
        "Destination directory $ROOT/no does not exist"
    );
}

#[test]
fn text_needs_no_controller() {
    let target = Target::new();
    let options = r#"{"content": "a\n", "dest": "$ROOT/f"}"#;
    assert_eq!(brief(&target, options), "changed=True");
    assert_eq!(brief(&target, options), "changed=False");
    assert_eq!(target.read("f"), "a\n");
}

#[test]
fn a_link_is_replaced_or_written_through() {
    let target = Target::new()
        .file("f", "old")
        .link("l", "f")
        .contents(Controller::new(&["new"]));
    assert_eq!(
        copy(&target, "new", r#""dest": "$ROOT/l", "follow": true"#),
        "changed=True"
    );
    assert_eq!(target.read("f"), "new");
    assert_eq!(copy(&target, "new", r#""dest": "$ROOT/l""#), "changed=True");
    assert!(!target.path("l").is_symlink());
}

#[test]
fn a_file_is_left_alone_without_force_and_kept_by_a_backup() {
    let target = Target::new()
        .file("f", "old")
        .contents(Controller::new(&["new"]));
    assert_eq!(
        copy(&target, "new", r#""dest": "$ROOT/f", "force": false"#),
        "changed=False"
    );
    let options = format!(
        r#"{{"_content": {}, "dest": "$ROOT/f", "backup": true}}"#,
        offer("new")
    );
    let result = target.result("copy", &options);
    let backup = result.get("backup_file").unwrap().to_string();
    assert_eq!(std::fs::read_to_string(backup).unwrap(), "old");
}

#[test]
fn what_is_refused_changes_nothing() {
    let target = Target::new()
        .file("f", "old")
        .contents(Controller::new(&["new"]));
    assert_eq!(
        copy(
            &target,
            "new",
            r#""dest": "$ROOT/f", "validate": "grep -q zzz %s""#
        ),
        "failed to validate"
    );
    assert_eq!(
        copy(&target, "new", r#""dest": "$ROOT/f", "checksum": "00""#),
        "Copied file does not match the expected checksum. Transfer failed."
    );
    assert_eq!(target.read("f"), "old");
}

#[test]
fn check_mode_shows_the_content_also_where_the_directory_is_still_to_be_made() {
    let target = Target::new().file("new", "text\n");
    let path = |name: &str| Value::from(target.path(name).display().to_string());
    let options = Value::map([
        ("src", path("new")),
        ("remote_src", true.into()),
        ("dest", path("none/f")),
    ]);
    let module = super::super::find("copy").unwrap();
    let outcome = (module.run)(&mut predicting(), options.as_map().unwrap()).unwrap();
    let result = outcome.into_result();
    assert_eq!(result.get("changed"), Some(&Value::Bool(true)));
    let diff = result.get("diff").unwrap();
    let diff = diff.as_list().map_or(diff, |list| &list[0]);
    assert_eq!(diff.get("before"), Some(&"".into()));
    assert_eq!(diff.get("after"), Some(&"text\n".into()));
}

#[test]
fn the_diff_shows_both_contents_unless_one_is_binary() {
    let target = Target::new()
        .file("f", "old\n")
        .file("b", "a\0")
        .diff()
        .contents(Controller::new(&["new\n"]));
    let diff = |name: &str| {
        let options = format!(
            r#"{{"_content": {}, "_source": "/s", "_original_basename": "s", "dest": "$ROOT/{name}"}}"#,
            offer("new\n")
        );
        let result = target.result("copy", &options);
        serde_json::to_string(result.get("diff").unwrap())
            .unwrap()
            .replace(&target.path("").display().to_string(), "$ROOT/")
    };
    assert_eq!(
        diff("f"),
        r#"[{"before_header":"$ROOT/f","before":"old\n","after_header":"/s","after":"new\n"}]"#
    );
    assert_eq!(
        diff("b"),
        r#"[{"dst_binary":1,"after_header":"/s","after":"new\n"}]"#
    );
    assert_eq!(
        diff("n"),
        r#"[{"before":"","after_header":"/s","after":"new\n"}]"#
    );
}

#[test]
fn a_tree_is_one_call_and_only_its_new_files_are_sent() {
    let controller = Controller::new(&["one", "two"]);
    let target = Target::new()
        .file("d/b", "two")
        .contents(controller.clone());
    let options = format!(
        r#"{{"dest": "$ROOT/d", "mode": "preserve", "directory_mode": "0750", "_tree": [
            {{"path": "s/a", "kind": "file", "mode": "0700", "sha256": "{}", "size": 3}},
            {{"path": "b", "kind": "file", "mode": "0644", "sha256": "{}", "size": 3}},
            {{"path": "empty", "kind": "directory"}},
            {{"path": "l", "kind": "link", "link": "b"}}]}}"#,
        sha256("one"),
        sha256("two")
    );
    assert_eq!(brief(&target, &options), "changed=True");
    assert_eq!(controller.sent(), ["one"]);
    let mode = |name: &str| {
        let result = target.result("stat", &format!(r#"{{"path": "$ROOT/{name}"}}"#));
        result.get("stat").unwrap().get("mode").unwrap().to_string()
    };
    assert_eq!(
        ["d/s", "d/s/a", "d/b", "d/empty"].map(mode),
        ["0750", "0700", "0644", "0750"]
    );
    assert_eq!(brief(&target, &options), "changed=False");
    let outside = r#"{"dest": "$ROOT/d", "_tree": [{"path": "../x", "kind": "directory"}]}"#;
    assert_eq!(brief(&target, outside), "`../x` leaves the destination");
}

#[test]
fn a_tree_of_the_target_is_merged_into_another() {
    let target = Target::new()
        .file("s/a", "one")
        .file("s/d/b", "two")
        .link("s/l", "a")
        .directory("t");
    let options = r#"{"src": "$ROOT/s", "dest": "$ROOT/t", "remote_src": true}"#;
    assert_eq!(brief(&target, options), "changed=True");
    assert_eq!(target.read("t/s/d/b"), "two");
    assert!(target.path("t/s/l").is_symlink());
    assert_eq!(brief(&target, options), "changed=False");
    let target = target.file("s/d/c", "three");
    assert_eq!(brief(&target, options), "changed=True");
    let contents = r#"{"src": "$ROOT/s/", "dest": "$ROOT/u/", "remote_src": true}"#;
    assert_eq!(brief(&target, contents), "changed=True");
    assert_eq!(target.read("u/a"), "one");
}

#[test]
fn a_text_that_is_refused_is_told_with_its_checksum_and_difference() {
    let target = Target::new().diff().contents(Controller::new(&["bad"]));
    let options = format!(
        r#"{{"_content": {}, "dest": "$ROOT/none/f"}}"#,
        offer("bad")
    );
    assert_eq!(
        target.run("copy", &options),
        r#"{"failed":true,"changed":false,"msg":"Destination directory $ROOT/none does not exist","checksum":"1902e3d6fc4e78a0bcc50ba12b882769afbf4a8c","diff":[{"before":"","after_header":"$ROOT/none/f","after":"bad"}]}"#
    );
}

#[test]
fn a_text_that_is_there_already_has_the_difference_of_a_file_that_is_right() {
    let target = Target::new().diff().contents(Controller::new(&["text"]));
    let options = format!(r#"{{"_content": {}, "dest": "$ROOT/f"}}"#, offer("text"));
    target.run("copy", &options);
    let again = target.run("copy", &options);
    assert!(
        again.ends_with(r#""diff":{"before":{"path":"$ROOT/f"},"after":{"path":"$ROOT/f"}}}"#),
        "{again}"
    );
}
