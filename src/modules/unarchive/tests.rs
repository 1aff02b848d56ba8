//! `unarchive` on a private directory, with archives built here.

use std::io::{self, Read, Write};

use super::super::testing::Target;
use crate::machine::{Algorithm, ContentId, ContentSource};

/// Builds a tar.gz from `name` and content; a name with a slash at its end is a directory, a
/// content that starts with `->` a link.
fn archive(members: &[(&str, &str)]) -> Vec<u8> {
    let gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    let mut builder = tar::Builder::new(gzip);
    for (name, content) in members {
        let mut header = tar::Header::new_gnu();
        header.set_mtime(1_700_000_000);
        header.set_uid(rustix::process::geteuid().as_raw().into());
        header.set_gid(rustix::process::getegid().as_raw().into());
        header.set_size(0);
        if name.ends_with('/') {
            header.set_entry_type(tar::EntryType::Directory);
            header.set_mode(0o755);
            builder.append_data(&mut header, name, &[][..]).unwrap();
        } else if let Some(target) = content.strip_prefix("->") {
            header.set_entry_type(tar::EntryType::Symlink);
            builder.append_link(&mut header, name, target).unwrap();
        } else {
            header.set_mode(0o644);
            header.set_size(content.len() as u64);
            builder
                .append_data(&mut header, name, content.as_bytes())
                .unwrap();
        }
    }
    builder.into_inner().unwrap().finish().unwrap()
}

fn app() -> Vec<u8> {
    archive(&[
        ("app/", ""),
        ("app/bin/run", "#!/bin/sh\n"),
        ("app/readme.md", "hello\n"),
        ("app/current", "->bin"),
    ])
}

/// Unpacks `$ROOT/a` into `$ROOT/d`, and returns `changed` or the message.
fn unarchive(target: &Target, options: &str) -> String {
    let options =
        format!(r#"{{"src": "$ROOT/a", "dest": "$ROOT/d", "remote_src": true{options}}}"#);
    let result = target.result("unarchive", &options);
    match result.get("msg") {
        Some(msg) => msg
            .to_string()
            .replace(&target.path("").display().to_string(), "$ROOT/"),
        None => format!("changed={}", result.get("changed").unwrap()),
    }
}

fn target() -> Target {
    Target::new().file("a", app()).directory("d")
}

#[test]
fn an_archive_is_unpacked_once_and_only_what_changed_again() {
    let target = target();
    assert_eq!(unarchive(&target, ""), "changed=True");
    assert_eq!(target.read("d/app/current/run"), "#!/bin/sh\n");
    assert_eq!(unarchive(&target, ""), "changed=False");
    let target = target.file("d/app/readme.md", "HELLO\n");
    assert_eq!(unarchive(&target, ""), "changed=True");
    assert_eq!(target.read("d/app/readme.md"), "hello\n");
    assert_eq!(unarchive(&target, ""), "changed=False");
}

/// A controller that has one archive.
#[derive(Clone)]
struct Controller(Vec<u8>);

impl ContentSource for Controller {
    fn open(&mut self, _: &ContentId) -> io::Result<Box<dyn Read + Send + '_>> {
        Ok(Box::new(self.0.as_slice()))
    }
}

#[test]
fn the_controllers_archive_is_checked_and_unpacked() {
    let bytes = app();
    let digest = Algorithm::Sha256.of(&bytes);
    let target = Target::new()
        .directory("d")
        .contents(Controller(bytes.clone()));
    let run = |digest: &str| {
        let options = format!(
            r#"{{"src": "x", "dest": "$ROOT/d", "_content": {{"sha256": "{digest}", "size": {}}}, "_original_basename": "app.tgz"}}"#,
            bytes.len()
        );
        target.result("unarchive", &options)
    };
    let wrong = run("00");
    assert_eq!(
        wrong.get("msg"),
        Some(&"Source 'app.tgz' failed to transfer".into())
    );
    assert_eq!(run(&digest).get("changed"), Some(&true.into()));
    assert_eq!(target.read("d/app/readme.md"), "hello\n");
}

#[test]
fn the_result_names_the_handler_and_the_files() {
    let target = target();
    let result = target.result(
        "unarchive",
        r#"{"src": "$ROOT/a", "dest": "$ROOT/d", "remote_src": true, "list_files": true}"#,
    );
    let mut keys: Vec<_> = result.keys().map(ToString::to_string).collect();
    keys.sort();
    // Recorded from ansible-core 2.19.14.
    assert_eq!(
        keys.join(" "),
        "changed dest extract_results files gid group handler mode owner size src state uid"
    );
    assert_eq!(result.get("handler"), Some(&"TgzArchive".into()));
    let files = crate::value::repr(result.get("files").unwrap());
    assert_eq!(
        files,
        "['app/', 'app/bin/run', 'app/readme.md', 'app/current']"
    );
}

#[test]
fn owners_and_modes_of_the_task_win_over_the_archives() {
    let target = target();
    assert_eq!(
        unarchive(&target, r#", "mode": "u=rwX,go=""#),
        "changed=True"
    );
    let mode = |name: &str| {
        let stat = target.result("stat", &format!(r#"{{"path": "$ROOT/d/{name}"}}"#));
        stat.get("stat").unwrap().get("mode").unwrap().to_string()
    };
    assert_eq!([mode("app"), mode("app/readme.md")], ["0700", "0600"]);
    assert_eq!(
        unarchive(&target, r#", "mode": "u=rwX,go=""#),
        "changed=False"
    );
}

#[test]
fn parts_are_selected_and_renamed() {
    let only = target();
    assert_eq!(
        unarchive(&only, r#", "include": ["app/bin"]"#),
        "changed=True"
    );
    assert!(only.path("d/app/bin/run").exists() && !only.path("d/app/readme.md").exists());
    assert_eq!(
        unarchive(&only, r#", "include": ["nope"]"#),
        "failed to unpack: nope: Not found in archive"
    );
    let without = target();
    assert_eq!(
        unarchive(&without, r#", "exclude": ["*.md", "bin"]"#),
        "changed=True"
    );
    assert!(without.path("d/app").exists() && !without.path("d/app/readme.md").exists());
    assert!(!without.path("d/app/bin").exists());
    let stripped = target();
    let options = r#", "extra_opts": ["--strip-components=1"]"#;
    assert_eq!(unarchive(&stripped, options), "changed=True");
    assert_eq!(stripped.read("d/readme.md"), "hello\n");
    assert_eq!(unarchive(&stripped, options), "changed=False");
}

#[test]
fn newer_files_are_kept_and_what_creates_names_ends_it() {
    let target = target().file("d/app/readme.md", "mine\n");
    assert_eq!(
        unarchive(&target, r#", "keep_newer": true"#),
        "changed=True"
    );
    assert_eq!(target.read("d/app/readme.md"), "mine\n");
    assert_eq!(
        unarchive(&target, r#", "creates": "$ROOT/d/app""#)
            .replace(&target.path("").display().to_string(), "$ROOT/"),
        "skipped, since $ROOT/d/app exists"
    );
}

#[test]
fn nothing_is_written_through_a_link_of_the_archives_own() {
    let outside = Target::new();
    let path = outside.path("").display().to_string();
    let bytes = archive(&[("fine", "x"), ("l", &format!("->{path}")), ("l/evil", "x")]);
    let target = Target::new().file("a", bytes).directory("d");
    assert_eq!(
        unarchive(&target, ""),
        "refused to unpack the archive: `l/evil` would be written through the link `l`"
    );
    // What comes before the hostile member is not unpacked either.
    assert!(!target.path("d/fine").exists());
}

#[test]
fn what_is_no_archive_or_no_directory_is_named() {
    let target = Target::new().file("a", "plain text").directory("d");
    assert_eq!(
        unarchive(&target, ""),
        "Failed to find handler for \"$ROOT/a\": it is no zip archive, and no tar archive, plain \
         or compressed with gzip, bzip2, xz or zstd"
    );
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(b"plain text").unwrap();
    let text = Target::new()
        .file("a", gzip.finish().unwrap())
        .directory("d");
    assert!(unarchive(&text, "").starts_with("Failed to find handler for "));
    let empty = Target::new().file("a", "").directory("d");
    assert_eq!(
        unarchive(&empty, ""),
        "Invalid archive '$ROOT/a', the file is 0 bytes"
    );
    assert_eq!(
        unarchive(&Target::new(), ""),
        "dest '$ROOT/d' must be an existing dir"
    );
}

#[test]
fn a_zip_archive_is_unpacked_with_its_times_and_modes() {
    let mut writer = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
    let options = zip::write::SimpleFileOptions::default().unix_permissions(0o750);
    writer.start_file("app/run", options).unwrap();
    writer.write_all(b"hello").unwrap();
    let bytes = writer.finish().unwrap().into_inner();
    let target = Target::new().file("a", bytes).directory("d");
    assert_eq!(unarchive(&target, ""), "changed=True");
    let stat = target.result("stat", r#"{"path": "$ROOT/d/app/run"}"#);
    assert_eq!(stat.get("stat").unwrap().get("mode"), Some(&"0750".into()));
    assert_eq!(unarchive(&target, ""), "changed=False");
}
