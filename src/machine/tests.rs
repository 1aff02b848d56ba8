//! What the machine's changes promise, tried on a real directory.

use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use super::*;
use crate::arguments::{FileAttributes, Mode};
use crate::transaction::journal::MemoryLog;
use crate::value::Value;

struct World {
    _root: TempDir,
    root: PathBuf,
    log: MemoryLog,
    machine: Machine,
}

fn world() -> World {
    let root = tempfile::tempdir().unwrap();
    let path = root.path().canonicalize().unwrap();
    let log = MemoryLog::default();
    let machine = Machine::new(MachineOptions {
        undo: Box::new(log.clone()),
        umask: Some(0o022),
        ..MachineOptions::default()
    });
    World {
        _root: root,
        root: path,
        log,
        machine,
    }
}

impl World {
    fn path(&self, name: &str) -> PathBuf {
        self.root.join(name)
    }

    fn write(&mut self, name: &str, text: &str) {
        let path = self.path(name);
        self.machine
            .write(&path, text.into(), &NewFile::default())
            .unwrap();
    }

    fn mode(&self, name: &str) -> u32 {
        self.path(name).metadata().unwrap().permissions().mode() & 0o7777
    }

    fn names(&self) -> Vec<String> {
        let entries = self.machine.read_dir(&self.root).unwrap();
        entries
            .iter()
            .map(|entry| entry.name.to_string_lossy().into_owned())
            .collect()
    }
}

#[test]
fn a_new_file_obeys_the_umask_and_a_replaced_one_keeps_its_mode() {
    let mut world = world();
    world.write("a", "one");
    assert_eq!(world.mode("a"), 0o644);
    let wanted = Attributes {
        mode: Some(0o4750),
        ..Attributes::default()
    };
    let path = world.path("a");
    assert!(
        world
            .machine
            .set_attributes(&path, &wanted, Follow::No)
            .unwrap()
    );
    assert!(
        !world
            .machine
            .set_attributes(&path, &wanted, Follow::No)
            .unwrap()
    );
    world.write("a", "two");
    assert_eq!(world.mode("a"), 0o4750);
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "two");
}

#[test]
fn a_replaced_file_keeps_its_extended_attributes() {
    let mut world = world();
    world.write("a", "one");
    let path = world.path("a");
    let flags = rustix::fs::XattrFlags::empty();
    rustix::fs::setxattr(&path, c"user.note", b"kept", flags).unwrap();
    world.write("a", "two");
    let value = extended::get(&path, &c"user.note".into()).unwrap();
    assert_eq!(value.as_deref(), Some(&b"kept"[..]));
}

#[test]
fn readers_of_the_old_file_keep_it_and_no_other_name_is_left() {
    let mut world = world();
    world.write("a", "one");
    let inode = world.path("a").metadata().unwrap().ino();
    world.write("a", "two");
    assert_ne!(world.path("a").metadata().unwrap().ino(), inode);
    assert_eq!(world.names(), ["a"]);
}

#[test]
fn a_link_at_the_place_is_replaced_and_its_target_is_not_touched() {
    let mut world = world();
    world.write("target", "safe");
    let link = world.path("link");
    world.machine.symlink(Path::new("target"), &link).unwrap();
    world.write("link", "new");
    assert!(!link.symlink_metadata().unwrap().is_symlink());
    assert_eq!(
        std::fs::read_to_string(world.path("target")).unwrap(),
        "safe"
    );
}

#[test]
fn a_refused_file_does_not_take_the_place() {
    let mut world = world();
    world.write("a", "good");
    let path = world.path("a");
    let error = world
        .machine
        .write_validated(
            &path,
            "bad".into(),
            Some("grep -q good '%s'"),
            &NewFile::default(),
        )
        .unwrap_err();
    assert!(matches!(error.reason, Reason::Invalid(_)));
    assert_eq!(error.to_string().split(" error:").count(), 2);
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "good");
    assert_eq!(world.names(), ["a"]);
}

/// Gives a content and, while it is read, looks at what has a name in a directory.
struct Watching {
    directory: PathBuf,
    modes: std::sync::Arc<std::sync::Mutex<Vec<u32>>>,
}

impl ContentSource for Watching {
    fn open(&mut self, _id: &ContentId) -> std::io::Result<Box<dyn std::io::Read + Send + '_>> {
        for entry in std::fs::read_dir(&self.directory)? {
            let mode = entry?.metadata()?.mode() & 0o7777;
            self.modes.lock().unwrap().push(mode);
        }
        Ok(Box::new(&b"secret"[..]))
    }
}

#[test]
fn nobody_else_can_read_a_file_while_it_is_written() {
    let mut world = world();
    let modes = std::sync::Arc::<std::sync::Mutex<Vec<u32>>>::default();
    world.machine.options.contents = Box::new(Watching {
        directory: world.root.clone(),
        modes: std::sync::Arc::clone(&modes),
    });
    let id = ContentId {
        sha256: Algorithm::Sha256.of(b"secret"),
        size: 6,
    };
    let new = NewFile {
        mode: Some(0o644),
        ..NewFile::default()
    };
    let path = world.path("a");
    for validate in [None, Some("test -s %s")] {
        let content = Content::Remote(id.clone());
        world
            .machine
            .write_validated(&path, content, validate, &new)
            .unwrap();
        assert_eq!(path.metadata().unwrap().mode() & 0o7777, 0o644);
        world.machine.remove(&path).unwrap();
    }
    // One that is validated has a name before it is finished; as a rule no other has.
    let modes = modes.lock().unwrap();
    assert!(
        !modes.is_empty() && modes.iter().all(|mode| *mode == 0o600),
        "{modes:?}"
    );
}

#[test]
fn content_that_arrives_wrong_does_not_take_the_place() {
    struct Wrong;
    impl ContentSource for Wrong {
        fn open(&mut self, _id: &ContentId) -> std::io::Result<Box<dyn std::io::Read + Send + '_>> {
            Ok(Box::new(&b"other"[..]))
        }
    }
    let mut world = world();
    world.machine.options.contents = Box::new(Wrong);
    let id = ContentId {
        sha256: Algorithm::Sha256.of(b"right"),
        size: 5,
    };
    let path = world.path("a");
    let error = world
        .machine
        .write(&path, Content::Remote(id), &NewFile::default())
        .unwrap_err();
    assert!(
        error
            .to_string()
            .contains("the content arrived with sha256")
    );
    assert_eq!(world.names(), Vec::<String>::new());
}

#[test]
fn directories_are_made_outermost_first() {
    let mut world = world();
    let path = world.path("a/b/c");
    let made = world.machine.create_dir_all(&path, 0o777).unwrap();
    assert_eq!(made, ["a", "a/b", "a/b/c"].map(|name| world.path(name)));
    assert_eq!(world.mode("a/b"), 0o755);
    assert!(world.machine.remove(&world.path("a")).unwrap());
    assert!(!world.machine.remove(&world.path("a")).unwrap());
    assert!(!world.machine.remove(&world.path("a/b")).unwrap());
}

#[test]
fn a_hard_link_onto_another_name_of_the_same_file_leaves_no_third() {
    let mut world = world();
    world.write("a", "one");
    for _ in 0..2 {
        let (source, path) = (world.path("a"), world.path("b"));
        world.machine.hard_link(&source, &path).unwrap();
    }
    assert_eq!(world.names(), ["a", "b"]);
}

#[test]
fn a_copied_tree_keeps_links_modes_and_times() {
    let mut world = world();
    world
        .machine
        .create_dir(&world.root.join("from"), 0o700)
        .unwrap();
    world.write("from/file", "text");
    let old = Timestamp {
        seconds: 1_000_000,
        nanoseconds: 5,
    };
    let attributes = Attributes {
        mode: Some(0o640),
        times: Some([old, old]),
        ..Attributes::default()
    };
    let file = world.path("from/file");
    world
        .machine
        .set_attributes(&file, &attributes, Follow::No)
        .unwrap();
    world
        .machine
        .symlink(Path::new("file"), &world.root.join("from/link"))
        .unwrap();
    world
        .machine
        .copy_tree(&world.root.join("from"), &world.root.join("to"))
        .unwrap();
    let copy = world
        .machine
        .metadata(&world.path("to/file"))
        .unwrap()
        .unwrap();
    assert_eq!((copy.mode, copy.mtime), (0o640, old));
    assert_eq!(
        world.machine.read_link(&world.path("to/link")).unwrap(),
        Path::new("file")
    );
    assert_eq!(world.mode("to"), 0o700);
}

#[test]
fn the_shared_options_change_once_and_say_what() {
    let mut world = world();
    world.write("a", "one");
    let attributes = FileAttributes {
        mode: Some(Mode::Symbolic("u=rwx,g=rX,o=".into())),
        ..FileAttributes::default()
    };
    let path = world.path("a");
    let change = world
        .machine
        .apply_file_attributes(&path, &attributes, Follow::No)
        .unwrap();
    assert!(change.changed);
    assert_eq!(change.before.get("mode"), Some(&Value::from("0644")));
    // `X` looks at the bits as the clauses before it left them.
    assert_eq!(change.after.get("mode"), Some(&Value::from("0750")));
    let again = world
        .machine
        .apply_file_attributes(&path, &attributes, Follow::No)
        .unwrap();
    assert_eq!(again, AttributeChange::default());
}

#[test]
fn an_unknown_owner_is_named_in_ansibles_words() {
    let mut world = world();
    world.write("a", "one");
    let attributes = FileAttributes {
        owner: Some("no_such_user".into()),
        ..FileAttributes::default()
    };
    let path = world.path("a");
    let error = world
        .machine
        .apply_file_attributes(&path, &attributes, Follow::No)
        .unwrap_err();
    assert_eq!(
        error.to_string(),
        "chown failed: failed to look up user no_such_user"
    );
}

#[test]
fn a_backup_has_ansibles_name_and_the_files_mode() {
    let mut world = world();
    world.write("a", "one");
    let path = world.path("a");
    let private = Attributes {
        mode: Some(0o600),
        ..Attributes::default()
    };
    world
        .machine
        .set_attributes(&path, &private, Follow::No)
        .unwrap();
    let backup = world.machine.backup(&path).unwrap();
    let name = backup.file_name().unwrap().to_string_lossy().into_owned();
    let pattern = format!("a.{}.", std::process::id());
    assert!(
        name.starts_with(&pattern) && name.ends_with('~') && name.contains('@'),
        "{name}"
    );
    assert_eq!(world.mode(&name), 0o600);
    assert_eq!(std::fs::read(backup).unwrap(), b"one");
}

#[test]
fn scratch_files_are_gone_with_their_guards_and_never_recorded() {
    let mut world = world();
    world.machine.options.scratch = Some(world.root.clone());
    let file = world.machine.temporary_file(b"secret").unwrap();
    let directory = world.machine.temporary_dir().unwrap();
    assert_eq!(std::fs::read(file.path()).unwrap(), b"secret");
    let mode = |path: &Path| path.metadata().unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(file.path()), mode(directory.path())), (0o600, 0o700));
    drop((file, directory));
    assert_eq!(world.names(), Vec::<String>::new());
    assert_eq!(world.log.records(), []);
}
