//! Root's modules against an account that exchanges directories and links below them meanwhile.
//!
//! A link in the middle of a path that a task names is followed, as in every shell; what a module
//! finds by itself below that path, and what it changes under its last name, never is one.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::fs::{CWD, RenameFlags, renameat_with};
use rustix::process::geteuid;

use super::testing::Target;
use crate::machine::{Attributes, Content, Follow, NewFile};

/// Runs a module again and again while `tree/NAME` and a link to what is `theirs` change places;
/// tells what became of `theirs`: its mode, its names, and the mode and content of its file.
fn attacked(name: &str, link: &str, module: &str, rounds: &[String]) -> String {
    let target = Target::new()
        .file("theirs/file", "theirs")
        .directory("tree");
    let link = PathBuf::from(link.replace("$ROOT", &target.path("").display().to_string()));
    let paths = [name, "link"].map(|name| target.path("tree").join(name));
    let (turn, over) = (Mutex::new(()), AtomicBool::new(false));
    std::thread::scope(|scope| {
        renew(&target, &paths, &link);
        scope.spawn(|| {
            while !over.load(Ordering::Relaxed) {
                std::thread::yield_now();
                let _turn = turn.lock().unwrap();
                renameat_with(CWD, &paths[0], CWD, &paths[1], RenameFlags::EXCHANGE).ok();
            }
        });
        for round in rounds.iter().cycle().take(300) {
            target.run(module, round);
            let _turn = turn.lock().unwrap();
            renew(&target, &paths, &link);
        }
        over.store(true, Ordering::Relaxed);
    });
    let mode = |name: &str| target.path(name).metadata().unwrap().mode() & 0o7777;
    let names = target.machine().read_dir(&target.path("theirs")).unwrap();
    let names: Vec<_> = names.iter().map(|entry| entry.name.display()).collect();
    let text = target.read("theirs/file");
    let modes = [mode("theirs"), mode("theirs/file")];
    format!("{:o} {names:?} {:o} {text}", modes[0], modes[1])
}

/// Puts back what the module removed. It is made elsewhere: here the account would be at it.
fn renew(target: &Target, paths: &[PathBuf; 2], link: &Path) {
    let mut machine = target.machine();
    if !paths.iter().any(|path| path.is_symlink()) {
        machine.remove(&paths[1]).unwrap();
        machine.symlink(link, &paths[1]).unwrap();
        // The account's own: root's would be followed.
        let owner = Attributes {
            uid: Some(65534).filter(|_| geteuid().is_root()),
            ..Attributes::default()
        };
        machine
            .set_attributes(&paths[1], &owner, Follow::No)
            .unwrap();
    }
    let is_missing = |path: &&PathBuf| path.symlink_metadata().is_err();
    if let Some(path) = paths.iter().find(is_missing) {
        let spare = target.path("spare");
        let file = if link.is_dir() {
            machine.create_dir(&spare, 0o755).unwrap();
            spare.join("file")
        } else {
            spare.clone()
        };
        let content = Content::Bytes(b"ours".to_vec());
        machine.write(&file, content, &NewFile::default()).unwrap();
        machine.rename(&spare, path).unwrap();
    }
}

const UNTOUCHED: &str = r#"755 ["file"] 644 theirs"#;

#[test]
fn modes_of_a_tree_do_not_reach_beyond_it() {
    let rounds = ["0700", "0777"].map(|mode| {
        format!(
            r#"{{"path": "$ROOT/tree", "state": "directory", "recurse": true, "follow": false, "mode": "{mode}"}}"#
        )
    });
    assert_eq!(attacked("d", "$ROOT/theirs", "file", &rounds), UNTOUCHED);
}

#[test]
fn a_removal_does_not_reach_beyond_the_tree() {
    let rounds = [r#"{"path": "$ROOT/tree/d", "state": "absent"}"#.to_owned()];
    assert_eq!(attacked("d", "$ROOT/theirs", "file", &rounds), UNTOUCHED);
}

#[test]
fn the_last_name_of_a_path_is_never_written_through() {
    let file = "$ROOT/theirs/file";
    for (module, rounds) in [
        ("copy", [r#""content": "a""#, r#""content": "b""#]),
        ("file", [r#""mode": "0600""#, r#""mode": "0666""#]),
        ("file", [r#""state": "absent""#, r#""state": "touch""#]),
    ] {
        let rounds = rounds.map(|options| {
            let place = if module == "copy" { "dest" } else { "path" };
            format!(r#"{{"{place}": "$ROOT/tree/f", "follow": false, {options}}}"#)
        });
        assert_eq!(
            attacked("f", file, module, &rounds),
            UNTOUCHED,
            "{rounds:?}"
        );
    }
}

#[test]
fn keys_of_an_account_stay_in_its_directory() {
    let me = geteuid().as_raw();
    let me = Target::new().machine().user_name(me).unwrap();
    for manage_dir in [true, false] {
        if !manage_dir && !geteuid().is_root() {
            // Who is not root follows every link of a directory that is not to be managed.
            continue;
        }
        let rounds = ["AAAA", "BBBB"].map(|key| {
            format!(
                r#"{{"user": "{me}", "path": "$ROOT/tree/ssh/file", "key": "ssh-rsa {key}", "exclusive": true, "manage_dir": {manage_dir}}}"#
            )
        });
        let module = "ansible.posix.authorized_key";
        let found = attacked("ssh", "$ROOT/theirs", module, &rounds);
        assert_eq!(found, UNTOUCHED, "{manage_dir}");
    }
}

#[test]
fn an_archive_is_not_unpacked_beyond_its_directory() {
    if !geteuid().is_root() {
        return;
    }
    let archive = |mode: u32| {
        let mut archive = tar::Builder::new(Vec::new());
        let mut header = tar::Header::new_gnu();
        header.set_mode(mode);
        header.set_size(4);
        let name = "d/file";
        archive
            .append_data(&mut header, name, &b"ours"[..])
            .unwrap();
        archive.into_inner().unwrap()
    };
    let archives = Target::new()
        .file("0.tar", archive(0o600))
        .file("1.tar", archive(0o666));
    let rounds = ["0.tar", "1.tar"].map(|name| {
        let src = archives.path(name);
        format!(
            r#"{{"src": "{}", "remote_src": true, "dest": "$ROOT/tree", "owner": "root"}}"#,
            src.display()
        )
    });
    assert_eq!(
        attacked("d", "$ROOT/theirs", "unarchive", &rounds),
        UNTOUCHED
    );
}

#[test]
fn a_tree_is_not_copied_beyond_its_directory() {
    if !geteuid().is_root() {
        return;
    }
    let rounds = ["0700", "0777"].map(|mode| {
        format!(
            r#"{{"dest": "$ROOT/tree", "directory_mode": "{mode}", "_tree": [{{"path": "d", "kind": "directory"}}, {{"path": "d/file", "kind": "link", "link": "{mode}"}}]}}"#
        )
    });
    assert_eq!(attacked("d", "$ROOT/theirs", "copy", &rounds), UNTOUCHED);
}
