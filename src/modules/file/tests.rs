//! `file` on a private directory: each state, its idempotence and its refusals.

use super::super::testing::Target;

/// Runs `file` and returns `changed` or the message of the failure.
fn file(target: &Target, options: &str) -> String {
    let result = target.result("file", &format!("{{{options}}}"));
    match result.get("msg") {
        Some(msg) => msg
            .to_string()
            .replace(&target.path("").display().to_string(), "$ROOT/"),
        None => format!("changed={}", result.get("changed").unwrap()),
    }
}

fn twice(target: &Target, options: &str) -> [String; 2] {
    [file(target, options), file(target, options)]
}

const CHANGED_ONCE: [&str; 2] = ["changed=True", "changed=False"];

#[test]
fn a_directory_is_made_with_those_above_it_and_the_mode_on_each() {
    let target = Target::new();
    let options = r#""path": "$ROOT/a/b", "state": "directory", "mode": "0750""#;
    assert_eq!(twice(&target, options), CHANGED_ONCE);
    let stat = target.result("stat", r#"{"path": "$ROOT/a"}"#);
    assert_eq!(stat.get("stat").unwrap().get("mode"), Some(&"0750".into()));
    let at_file = target.file("f", "");
    assert_eq!(
        file(&at_file, r#""path": "$ROOT/f", "state": "directory""#),
        "$ROOT/f already exists as a file"
    );
}

#[test]
fn symbolic_modes_go_through_a_tree_and_spare_plain_files_with_capital_x() {
    let target = Target::new().file("d/f", "").directory("d/e");
    let options = r#""path": "$ROOT/d", "recurse": true, "mode": "u=rwX,go=""#;
    assert_eq!(twice(&target, options), CHANGED_ONCE);
    for (name, mode) in [("d", "0700"), ("d/e", "0700"), ("d/f", "0600")] {
        let stat = target.result("stat", &format!(r#"{{"path": "$ROOT/{name}"}}"#));
        assert_eq!(
            stat.get("stat").unwrap().get("mode"),
            Some(&mode.into()),
            "{name}"
        );
    }
}

#[test]
fn a_tree_goes_away_and_the_diff_lists_what_it_held() {
    let target = Target::new().file("d/e/f", "").diff();
    assert_eq!(
        target.run("file", r#"{"path": "$ROOT/d", "state": "absent"}"#),
        r#"{"changed":true,"path":"$ROOT/d","state":"absent","diff":{"before":{"path":"$ROOT/d","state":"directory","path_content":{"directories":["$ROOT/d/e"],"files":["$ROOT/d/e/f"]}},"after":{"path":"$ROOT/d","state":"absent"}}}"#
    );
    assert_eq!(
        target.run("file", r#"{"path": "$ROOT/d", "state": "absent"}"#),
        r#"{"changed":false,"path":"$ROOT/d","state":"absent"}"#
    );
}

#[test]
fn a_link_is_made_changed_and_left() {
    let target = Target::new().file("f", "").file("g", "");
    let options = r#""path": "$ROOT/l", "src": "f", "state": "link""#;
    assert_eq!(twice(&target, options), CHANGED_ONCE);
    let options = r#""path": "$ROOT/l", "src": "$ROOT/g", "state": "link""#;
    assert_eq!(twice(&target, options), CHANGED_ONCE);
    assert_eq!(
        file(
            &target,
            r#""path": "$ROOT/l", "src": "no", "state": "link""#
        ),
        "src file does not exist, use 'force=yes' if you really want to create the link: $ROOT/no"
    );
}

#[test]
fn a_forced_link_may_dangle_and_replace_a_file_or_an_empty_directory() {
    let target = Target::new()
        .file("f", "")
        .directory("d")
        .file("full/x", "");
    for name in ["l", "f", "d"] {
        let options = format!(
            r#""path": "$ROOT/{name}", "src": "no", "state": "link", "force": true, "follow": false"#
        );
        assert_eq!(twice(&target, &options), CHANGED_ONCE, "{name}");
    }
    assert_eq!(
        file(
            &target,
            r#""path": "$ROOT/full", "src": "no", "state": "link", "force": true"#
        ),
        "the directory $ROOT/full is not empty, refusing to convert it"
    );
}

#[test]
fn without_force_nothing_is_turned_into_a_link() {
    let target = Target::new().file("f", "").file("g", "").directory("d");
    for (name, state) in [("g", "file"), ("d", "directory")] {
        let options = format!(r#""path": "$ROOT/{name}", "src": "$ROOT/f", "state": "link""#);
        assert_eq!(
            file(&target, &options),
            format!("refusing to convert from {state} to symlink for $ROOT/{name}")
        );
    }
}

#[test]
fn a_mode_on_a_link_reaches_what_it_points_to_only_when_followed() {
    let target = Target::new().file("f", "").link("l", "f");
    let options = r#""path": "$ROOT/l", "state": "link", "mode": "0600", "follow": false"#;
    assert_eq!(file(&target, options), "changed=False");
    let options = r#""path": "$ROOT/l", "state": "link", "mode": "0600""#;
    assert_eq!(twice(&target, options), CHANGED_ONCE);
}

#[test]
fn a_hard_link_is_another_name_of_its_source() {
    let target = Target::new().file("f", "").file("g", "").file("h", "");
    let options = r#""path": "$ROOT/l", "src": "$ROOT/f", "state": "hard""#;
    assert_eq!(twice(&target, options), CHANGED_ONCE);
    assert_eq!(
        file(
            &target,
            r#""path": "$ROOT/g", "src": "$ROOT/f", "state": "hard""#
        ),
        "Cannot link, file exists at destination"
    );
    let options = r#""path": "$ROOT/g", "src": "$ROOT/f", "state": "hard", "force": true"#;
    assert_eq!(twice(&target, options), CHANGED_ONCE);
    assert_eq!(
        file(
            &target,
            r#""path": "$ROOT/l", "src": "$ROOT/h", "state": "hard""#
        ),
        "Cannot link, different hard link exists at destination"
    );
    assert_eq!(
        file(
            &target,
            r#""path": "$ROOT/x", "src": "$ROOT/no", "state": "hard""#
        ),
        "src does not exist"
    );
}

#[test]
fn a_touch_makes_a_file_and_keeps_times_on_request() {
    let target = Target::new();
    assert_eq!(
        file(&target, r#""path": "$ROOT/f", "state": "touch""#),
        "changed=True"
    );
    assert_eq!(
        file(&target, r#""path": "$ROOT/f", "state": "touch""#),
        "changed=True"
    );
    let options = r#""path": "$ROOT/f", "state": "touch", "access_time": "preserve", "modification_time": "preserve""#;
    assert_eq!(file(&target, options), "changed=False");
    let options = r#""path": "$ROOT/f", "modification_time": "202401021530.45""#;
    assert_eq!(twice(&target, options), CHANGED_ONCE);
}

#[test]
fn a_file_is_managed_but_never_made() {
    let target = Target::new().directory("d");
    assert_eq!(
        file(&target, r#""path": "$ROOT/no""#),
        "file ($ROOT/no) is absent, cannot continue"
    );
    assert_eq!(
        file(&target, r#""path": "$ROOT/d", "state": "file""#),
        "file ($ROOT/d) is directory, cannot continue"
    );
    assert_eq!(
        file(&target, r#""path": "$ROOT/d", "src": "x""#),
        "src option requires state to be 'link' or 'hard'"
    );
}
