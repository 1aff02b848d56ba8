//! Undoing, tried on real trees: random changes against a digest, and what others do meanwhile.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt, symlink};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use rustix::fs::XattrFlags;

use super::*;
use crate::machine::{
    Attributes, Command, Content, Effect, Follow, Machine, MachineOptions, NewFile, Timestamp,
    extended,
};
use crate::transaction::journal::{UndoLog, UndoStep};
use crate::transaction::log::{Header, SharedLog};
use crate::transaction::state::State;
use crate::transaction::store::StateRoot;

/// A tree that a transaction changes, and the state directory, beside it as a rule.
struct World {
    _bases: [tempfile::TempDir; 2],
    tree: PathBuf,
    root: StateRoot,
    log: SharedLog,
    machine: Machine,
}

fn header(number: u32) -> Header {
    Header {
        id: format!("{number:032x}"),
        application: "shop".into(),
        boot_id: boot_id(),
        ..Header::default()
    }
}

fn machine(log: &SharedLog) -> Machine {
    Machine::new(MachineOptions {
        undo: Box::new(log.clone()),
        umask: Some(0o022),
        ..MachineOptions::default()
    })
}

fn world() -> World {
    let directory = || tempfile::tempdir().unwrap();
    world_in(directory(), None)
}

/// Makes a world whose tree is on another file system than all that is kept of it.
fn world_without_shelves() -> World {
    let elsewhere = tempfile::tempdir_in("/dev/shm").unwrap();
    let mut world = world_in(tempfile::tempdir().unwrap(), Some(elsewhere));
    world.machine = Machine::new(MachineOptions {
        undo: Box::new(AtHome {
            log: world.log.clone(),
            home: world.root.path().to_owned(),
        }),
        umask: Some(0o022),
        ..MachineOptions::default()
    });
    world
}

fn world_in(base: tempfile::TempDir, elsewhere: Option<tempfile::TempDir>) -> World {
    let path = base.path().canonicalize().unwrap();
    let root = StateRoot::open(&path.join("state")).unwrap();
    let log = SharedLog::new(root.create(header(1)).unwrap());
    let elsewhere = elsewhere.unwrap_or_else(|| tempfile::tempdir_in(&path).unwrap());
    let tree = elsewhere.path().canonicalize().unwrap().join("tree");
    make_dir(&tree);
    World {
        machine: machine(&log),
        _bases: [elsewhere, base],
        tree,
        root,
        log,
    }
}

/// A journal that keeps everything beside itself, as where no shelf can be made.
struct AtHome {
    log: SharedLog,
    home: PathBuf,
}

impl UndoLog for AtHome {
    fn append(&mut self, record: UndoRecord) -> io::Result<()> {
        self.log.append(record)
    }

    fn shelve(&mut self, _near: &Path) -> io::Result<Option<PathBuf>> {
        self.log.shelve(&self.home)
    }

    fn settles(&self) -> bool {
        self.log.settles()
    }
}

fn undoing() -> Undoing {
    Undoing {
        grace: Duration::ZERO,
        ..Undoing::default()
    }
}

impl World {
    /// Replaces `a` and makes `new`; returns where the old `a` is kept.
    fn replace_one(&mut self) -> PathBuf {
        foreign(&self.path("a"), b"old");
        self.write("a", "ours");
        self.write("new", "ours");
        let kept = self.root.directory(&header(1).id).unwrap().join("kept");
        fs::read_dir(&kept).unwrap().next().unwrap().unwrap().path()
    }

    fn path(&self, name: &str) -> PathBuf {
        self.tree.join(name)
    }

    fn write(&mut self, name: &str, text: &str) {
        let path = self.path(name);
        let new = NewFile::default();
        self.machine.write(&path, text.into(), &new).unwrap();
    }

    fn roll_back(&self) -> Verdict {
        self.roll_back_to(None)
    }

    fn roll_back_to(&self, to: Option<&str>) -> Verdict {
        let roll_back = |log: &mut FileLog| undoing().roll_back(log, "a test", to, &mut |_| {});
        self.log.with(roll_back).unwrap()
    }

    /// Begins another transaction over the same tree.
    fn next(&mut self, number: u32) {
        self.log = SharedLog::new(self.root.create(header(number)).unwrap());
        self.machine = machine(&self.log);
    }
}

const CLEAN: Verdict = Verdict::RolledBack { drift: Vec::new() };

#[expect(
    clippy::disallowed_methods,
    reason = "a test makes what is there before"
)]
fn make_dir(path: &Path) {
    fs::create_dir(path).unwrap();
}

#[expect(
    clippy::disallowed_methods,
    reason = "a test changes what others change"
)]
fn foreign(path: &Path, bytes: &[u8]) {
    fs::write(path, bytes).unwrap();
}

#[expect(
    clippy::disallowed_methods,
    reason = "a test changes what others change"
)]
fn remove_file(path: &Path) {
    fs::remove_file(path).unwrap();
}

#[expect(
    clippy::disallowed_methods,
    reason = "a test changes what others change"
)]
fn chmod(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

#[expect(
    clippy::disallowed_methods,
    reason = "a test changes what others change"
)]
fn rename(from: &Path, to: &Path) {
    fs::rename(from, to).unwrap();
}

/// What a tree is, name by name: kind, owner, mode, time, labels, content, and which names are
/// one file.
fn digest(tree: &Path) -> BTreeMap<OsString, String> {
    let mut all = BTreeMap::new();
    let mut first = BTreeMap::new();
    digest_below(tree, &OsString::new(), &mut first, &mut all);
    all
}

fn digest_below(
    directory: &Path,
    below: &OsStr,
    first: &mut BTreeMap<u64, OsString>,
    all: &mut BTreeMap<OsString, String>,
) {
    let mut names: Vec<_> = fs::read_dir(directory)
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    names.sort();
    for name in names {
        let path = directory.join(&name);
        let mut shown = below.to_owned();
        shown.push("/");
        shown.push(&name);
        let found = path.symlink_metadata().unwrap();
        let content = if found.is_symlink() {
            format!("-> {:?}", fs::read_link(&path).unwrap())
        } else if found.is_file() {
            let bytes = fs::read(&path).unwrap();
            format!(
                "{} at {}",
                String::from_utf8_lossy(&bytes),
                found.mtime_nsec()
            )
        } else {
            String::new()
        };
        let one = first.entry(found.ino()).or_insert_with(|| shown.clone());
        let note = extended::get(&path, &c"user.note".into()).unwrap();
        let line = format!(
            "{:o} {}:{} {content} {note:?} is {one:?}",
            found.mode(),
            found.uid(),
            found.gid()
        );
        all.insert(shown.clone(), line);
        if found.is_dir() {
            digest_below(&path, &shown, first, all);
        }
    }
}

struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: usize) -> usize {
        // Knuth's MMIX generator: the same sequence on every machine.
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(self.0 >> 33).unwrap() % sides
    }

    fn path(&mut self, tree: &Path) -> PathBuf {
        let long = "n".repeat(255);
        let names: [&[u8]; 13] = [
            b"a",
            b"b",
            b"d",
            b"d/x",
            b"d/y",
            b"d/e",
            b"d/e/deep/er/and/deeper",
            b"link/x",
            b"hard",
            b"\xff\xfe odd",
            b"sparse",
            b"socket",
            long.as_bytes(),
        ];
        tree.join(OsStr::from_bytes(names[self.roll(names.len())]))
    }
}

/// Makes the tree that every sequence starts from.
fn plant(tree: &Path) {
    for directory in ["d", "d/e", "d/e/deep", "d/e/deep/er", "d/e/deep/er/and"] {
        make_dir(&tree.join(directory));
    }
    chmod(&tree.join("d/e"), 0o2775);
    for (name, text) in [("a", "one"), ("d/x", "two"), ("d/e/deep/er/file", "three")] {
        foreign(&tree.join(name), text.as_bytes());
    }
    chmod(&tree.join("a"), 0o4755);
    fs::hard_link(tree.join("a"), tree.join("hard")).unwrap();
    symlink("d", tree.join("link")).unwrap();
    symlink("nowhere", tree.join("d/y")).unwrap();
    foreign(&tree.join(OsStr::from_bytes(b"\xff\xfe odd")), b"odd");
    let sparse = fs::File::create(tree.join("sparse")).unwrap();
    sparse.set_len(1 << 20).unwrap();
    sparse.write_at(b"end", 1 << 20).unwrap();
    let flags = XattrFlags::empty();
    // Not every tmpfs has them.
    rustix::fs::setxattr(tree.join("a"), c"user.note", b"kept", flags).ok();
    rustix::fs::mknodat(
        rustix::fs::CWD,
        tree.join("socket"),
        rustix::fs::FileType::Socket,
        rustix::fs::Mode::RWXU,
        0,
    )
    .unwrap();
}

/// Does one random thing; what is refused changes nothing.
fn step(machine: &mut Machine, tree: &Path, dice: &mut Dice) {
    let (kind, path, other) = (dice.roll(13), dice.path(tree), dice.path(tree));
    let number = u32::try_from(dice.roll(1000)).unwrap();
    let new = NewFile::default();
    let done = match kind {
        0 | 1 => machine.write(&path, format!("text {number}").into(), &new),
        2 => machine.create_dir_all(&path, 0o777).map(|_| ()),
        3 | 4 => machine.remove(&path).map(|_| ()),
        5 => machine.symlink(Path::new("d/x"), &path),
        6 => machine.hard_link(&other, &path),
        7 | 8 => machine.rename(&other, &path),
        9 => {
            let attributes = Attributes {
                mode: Some(0o4000 * (number % 2) + 0o600 + number % 0o100),
                uid: Some(number % 3),
                gid: Some(number % 5),
                times: (number % 4 == 0).then_some([Timestamp::default(); 2]),
            };
            let changed = machine.set_attributes(&path, &attributes, Follow::Yes);
            changed.map(|_| ())
        }
        // A pipe would be waited for.
        10 if other.is_file() => machine.write(&path, Content::File(other), &new),
        11 => machine.create_fifo(&path, 0o666),
        // A directory that makes way for a file.
        _ => machine
            .remove(&path)
            .and_then(|_| machine.write(&path, "instead".into(), &new)),
    };
    done.ok();
}

#[test]
fn whatever_was_done_is_undone() {
    for seed in 0..60 {
        let mut world = world();
        plant(&world.tree);
        let before = digest(&world.tree);
        for number in 0..30 {
            let mut dice = Dice(seed * 100 + number);
            step(&mut world.machine, &world.tree, &mut dice);
        }
        assert_eq!(world.roll_back(), CLEAN, "seed {seed}");
        assert_eq!(digest(&world.tree), before, "seed {seed}");
        assert_eq!(
            world.log.with(|log| log.replay()).unwrap().state(),
            State::RolledBack
        );
        let stored = world.root.transaction(&header(1).id).unwrap().unwrap();
        assert_eq!(world.root.clear(&stored), Vec::<String>::new());
        assert_eq!(
            fs::read_dir(stored.directory.join("kept")).unwrap().count(),
            0
        );
    }
}

#[test]
fn what_can_only_be_kept_as_a_copy_is_undone_as_well() {
    for seed in 100..130 {
        let mut world = world_without_shelves();
        plant(&world.tree);
        // A copy of one name of two is a file of its own.
        remove_file(&world.path("hard"));
        let before = digest(&world.tree);
        for number in 0..30 {
            let mut dice = Dice(seed * 100 + number);
            step(&mut world.machine, &world.tree, &mut dice);
        }
        assert_eq!(world.roll_back(), CLEAN, "seed {seed}");
        assert_eq!(digest(&world.tree), before, "seed {seed}");
    }
}

#[test]
fn undoing_stops_at_a_savepoint_and_can_go_on() {
    for seed in 200..215 {
        let mut world = world();
        plant(&world.tree);
        let before = digest(&world.tree);
        let mut between = BTreeMap::new();
        for number in 0..20 {
            if number == 10 {
                between = digest(&world.tree);
                let name = "block".to_owned();
                let savepoint = |log: &mut FileLog| log.append(&Entry::Savepoint { name });
                world.log.with(savepoint).unwrap();
            }
            let mut dice = Dice(seed * 100 + number);
            step(&mut world.machine, &world.tree, &mut dice);
        }
        assert_eq!(world.roll_back_to(Some("block")), CLEAN, "seed {seed}");
        assert_eq!(digest(&world.tree), between, "seed {seed}");
        world.write("rescue", "more");
        assert_eq!(world.roll_back(), CLEAN, "seed {seed}");
        assert_eq!(digest(&world.tree), before, "seed {seed}");
    }
}

#[test]
fn an_interrupted_undoing_goes_on_where_it_was() {
    for seed in 300..340 {
        let has_shelves = seed % 2 == 0;
        let mut world = if has_shelves {
            world()
        } else {
            world_without_shelves()
        };
        plant(&world.tree);
        if !has_shelves {
            remove_file(&world.path("hard"));
        }
        let before = digest(&world.tree);
        for number in 0..30 {
            let mut dice = Dice(seed * 100 + number);
            step(&mut world.machine, &world.tree, &mut dice);
        }
        let directory = world.root.directory(&header(1).id).unwrap();
        let stop = Dice(seed).roll(10) + 1;
        let interrupted = catch_unwind(AssertUnwindSafe(|| {
            let mut stopping = |progress: Progress| assert!(progress.done < stop, "stopped");
            let roll_back =
                |log: &mut FileLog| undoing().roll_back(log, "once", None, &mut stopping);
            world.log.with(roll_back)
        }));
        assert!(interrupted.is_err(), "seed {seed}");
        drop((world.machine, world.log));
        // A crash before the last compensation is on the disk leaves the journal without it.
        let journal = directory.join("journal");
        let file = fs::File::options().write(true).open(&journal).unwrap();
        let cut = 1 + u64::try_from(Dice(seed).roll(80)).unwrap();
        file.set_len(file.metadata().unwrap().len() - cut).unwrap();
        let (mut log, _) = FileLog::resume(&directory).unwrap();
        let again = undoing().roll_back(&mut log, "again", None, &mut |_| {});
        assert_eq!(again.unwrap(), CLEAN, "seed {seed}, cut {cut}");
        assert_eq!(digest(&world.tree), before, "seed {seed}, cut {cut}");
    }
}

#[test]
fn a_reverted_generation_is_the_state_before_it_and_can_be_undone_itself() {
    for seed in 400..420 {
        let mut world = world();
        plant(&world.tree);
        let before = digest(&world.tree);
        for number in 0..20 {
            let mut dice = Dice(seed * 100 + number);
            step(&mut world.machine, &world.tree, &mut dice);
        }
        let after = digest(&world.tree);
        let first = world.log.with(|log| log.replay()).unwrap();
        world.next(2);
        let reverted = revert_generation(&mut world.machine, &first).unwrap();
        assert_eq!(reverted, CLEAN, "seed {seed}");
        assert_eq!(digest(&world.tree), before, "seed {seed}");
        assert_eq!(world.roll_back(), CLEAN, "seed {seed}");
        assert_eq!(digest(&world.tree), after, "seed {seed}");
    }
}

fn drift(verdict: Verdict) -> Vec<(String, Option<Vec<u8>>)> {
    let Verdict::RolledBack { drift } = verdict else {
        panic!("{verdict:?}");
    };
    let saved = |drift: Drift| (drift.path, drift.saved.map(|path| fs::read(path).unwrap()));
    drift.into_iter().map(saved).collect()
}

#[test]
fn what_somebody_else_wrote_is_saved_before_the_old_file_is_back() {
    let mut world = world();
    foreign(&world.path("a"), b"old");
    world.write("a", "ours");
    world.write("new", "ours");
    foreign(&world.path("a"), b"theirs");
    foreign(&world.path("new"), b"their new");
    let expected = [
        (world.path("new"), b"their new".to_vec()),
        (world.path("a"), b"theirs".to_vec()),
    ];
    let expected = expected.map(|(path, bytes)| (path.display().to_string(), Some(bytes)));
    assert_eq!(drift(world.roll_back()), expected);
    assert_eq!(fs::read(world.path("a")).unwrap(), b"old");
    assert!(!world.path("new").exists());
}

#[test]
fn a_directory_that_others_put_something_into_is_saved_whole() {
    let mut world = world();
    let path = world.path("made");
    world.machine.create_dir(&path, 0o755).unwrap();
    foreign(&path.join("upload"), b"theirs");
    let Verdict::RolledBack { drift } = world.roll_back() else {
        panic!("it is rolled back");
    };
    assert!(!path.exists());
    let saved = PathBuf::from(drift[0].saved.clone().unwrap());
    assert_eq!(fs::read(saved.join("upload")).unwrap(), b"theirs");
}

fn stuck(verdict: Verdict) -> Vec<(String, String)> {
    let Verdict::Stuck { items, .. } = verdict else {
        panic!("{verdict:?}");
    };
    items
        .into_iter()
        .map(|item| (item.what, item.why))
        .collect()
}

#[test]
fn nothing_is_undone_behind_a_link_or_in_another_directory() {
    for swapped_for_link in [true, false] {
        let mut world = world();
        make_dir(&world.path("d"));
        make_dir(&world.path("victim"));
        foreign(&world.path("d/file"), b"old");
        foreign(&world.path("victim/file"), b"victim");
        world.write("d/file", "ours");
        world.write("other", "ours");
        rename(&world.path("d"), &world.path("hidden"));
        let why = if swapped_for_link {
            symlink(world.path("victim"), world.path("d")).unwrap();
            format!("a part of `{}` is a link now", world.path("d").display())
        } else {
            rename(&world.path("victim"), &world.path("d"));
            format!(
                "`{}` is another directory than it was",
                world.path("d").display()
            )
        };
        let item = (world.path("d/file").display().to_string(), why);
        assert_eq!(stuck(world.roll_back())[0], item);
        assert_eq!(fs::read(world.path("d/file")).unwrap(), b"victim");
        assert!(!world.path("other").exists());
    }
}

#[test]
fn a_lost_pre_image_stops_undoing_before_it_begins_unless_a_part_is_wanted() {
    let mut world = world();
    let kept = world.replace_one();
    rename(&kept, &world.path("stolen"));
    let why = format!("its pre-image `{}` is gone", kept.display());
    let item = (world.path("a").display().to_string(), why);
    assert_eq!(stuck(world.roll_back()), std::slice::from_ref(&item));
    assert!(world.path("new").exists());
    let partly = Undoing {
        partial: true,
        ..undoing()
    };
    let roll_back = |log: &mut FileLog| partly.roll_back(log, "partly", None, &mut |_| {});
    assert_eq!(stuck(world.log.with(roll_back).unwrap())[0], item);
    assert!(!world.path("new").exists());
    rename(&world.path("stolen"), &kept);
    assert_eq!(world.roll_back(), CLEAN);
    assert_eq!(fs::read(world.path("a")).unwrap(), b"old");
}

#[test]
fn a_damaged_pre_image_stops_undoing_before_it_begins() {
    let mut world = world_without_shelves();
    let kept = world.replace_one();
    foreign(&kept, b"0ld");
    let why = format!("its pre-image `{}` is damaged", kept.display());
    let item = (world.path("a").display().to_string(), why);
    assert_eq!(stuck(world.roll_back()), [item]);
    assert!(world.path("new").exists());
    foreign(&kept, b"old");
    assert_eq!(world.roll_back(), CLEAN);
    assert_eq!(fs::read(world.path("a")).unwrap(), b"old");
}

#[test]
fn the_old_owner_mode_and_time_are_back_with_the_bytes() {
    let mut world = world();
    let path = world.path("a");
    foreign(&path, b"old");
    chmod(&path, 0o640);
    rustix::fs::chown(&path, Some(rustix::fs::Uid::from_raw(7)), None).unwrap();
    let before = digest(&world.tree);
    let new = NewFile {
        mode: Some(0o755),
        uid: Some(0),
        ..NewFile::default()
    };
    world.machine.write(&path, "ours".into(), &new).unwrap();
    assert_eq!(world.roll_back(), CLEAN);
    assert_eq!(digest(&world.tree), before);
}

#[test]
fn attributes_that_others_changed_are_told_and_the_old_ones_are_back() {
    let mut world = world();
    let path = world.path("a");
    foreign(&path, b"old");
    chmod(&path, 0o640);
    let attributes = Attributes {
        mode: Some(0o600),
        ..Attributes::default()
    };
    world
        .machine
        .set_attributes(&path, &attributes, Follow::No)
        .unwrap();
    chmod(&path, 0o777);
    let expected = (format!("attributes of {}", path.display()), None);
    assert_eq!(drift(world.roll_back()), [expected]);
    assert_eq!(path.metadata().unwrap().mode() & 0o7777, 0o640);
}

#[test]
fn effects_are_undone_newest_first_and_what_is_done_again_comes_last() {
    let mut world = world();
    let said = world.path("said");
    foreign(&said, b"");
    let say = |word: &str| UndoStep::shell(format!("echo {word} >>{}", said.display()));
    let run = |machine: &mut Machine, effect: Effect| {
        machine.execute(&Command::new(["true"]), effect).unwrap();
    };
    let restart = || Effect::Again {
        what: "restart".into(),
        again: vec![say("restart")],
    };
    run(&mut world.machine, restart());
    run(
        &mut world.machine,
        Effect::Compensated {
            what: "first".into(),
            undo: vec![say("first")],
        },
    );
    run(
        &mut world.machine,
        Effect::Declared {
            what: "second".into(),
            undo: vec![say("second"), say("never").done_when("true")],
        },
    );
    run(&mut world.machine, Effect::opaque("rm -rf"));
    run(&mut world.machine, restart());
    assert_eq!(world.roll_back(), CLEAN);
    assert_eq!(
        fs::read_to_string(&said).unwrap(),
        "second\nfirst\nrestart\n"
    );
    let replay = world.log.with(|log| log.replay()).unwrap();
    assert_eq!(replay.opaque(), ["rm -rf"]);
}

#[test]
fn what_is_done_again_is_done_anew_by_the_undoing_that_brings_what_was_stuck() {
    let mut world = world();
    let (said, free) = (world.path("said"), world.path("free"));
    foreign(&said, b"");
    let mut run = |effect: Effect| {
        let command = Command::new(["true"]);
        world.machine.execute(&command, effect).unwrap();
    };
    let undo = format!(
        "test -e {} && echo old >>{}",
        free.display(),
        said.display()
    );
    run(Effect::compensated("the data", ["sh", "-c", &undo]));
    run(Effect::Again {
        what: "restart".into(),
        again: vec![UndoStep::shell(format!(
            "echo restart >>{}",
            said.display()
        ))],
    });
    let expected = format!("`sh -c {undo}` failed with 1: it said nothing");
    assert_eq!(
        stuck(world.roll_back()),
        [("the data".to_owned(), expected)]
    );
    assert_eq!(fs::read_to_string(&said).unwrap(), "restart\n");
    foreign(&free, b"");
    assert_eq!(world.roll_back(), CLEAN);
    assert_eq!(
        fs::read_to_string(&said).unwrap(),
        "restart\nold\nrestart\n"
    );
}

#[test]
fn what_others_change_again_right_after_the_undo_is_told() {
    let mut world = world();
    let [old, new, aside] =
        ["a", "new", "aside"].map(|name| world.path(name).display().to_string());
    foreign(&world.path("a"), b"old");
    world.write("a", "ours");
    world.write("new", "ours");
    let again = format!("cp {old} {aside} && mv {aside} {old} && echo theirs >{new}");
    let restart = Effect::Again {
        what: "restart".into(),
        again: vec![UndoStep::shell(again)],
    };
    world
        .machine
        .execute(&Command::new(["true"]), restart)
        .unwrap();
    let replaced = "it was replaced again after it was restored".to_owned();
    let there = "it is there again after it was removed".to_owned();
    assert_eq!(stuck(world.roll_back()), [(old, replaced), (new, there)]);
}

#[test]
fn what_an_effect_that_stands_may_have_written_is_nobodys_drift() {
    let mut world = world();
    let (made, free) = (world.path("made"), world.path("free"));
    world.machine.create_dir(&made, 0o755).unwrap();
    let undo = format!("test -e {} && rm {}/warm", free.display(), made.display());
    let effect = Effect::compensated("cp page warm", ["sh", "-c", &undo]);
    world
        .machine
        .execute(&Command::new(["true"]), effect)
        .unwrap();
    foreign(&made.join("warm"), b"of the effect");
    let failed = format!("`sh -c {undo}` failed with 1: it said nothing");
    let waits = "something else is there, perhaps of `cp page warm`, which could not be undone";
    assert_eq!(
        stuck(world.roll_back()),
        [
            ("cp page warm".to_owned(), failed),
            (made.display().to_string(), waits.to_owned())
        ]
    );
    assert!(made.join("warm").exists());
    foreign(&free, b"");
    assert_eq!(world.roll_back(), CLEAN);
    assert!(!made.exists());
}

#[test]
fn an_effect_that_cannot_be_undone_is_stuck_and_the_rest_is_undone() {
    let mut world = world();
    world.write("a", "ours");
    let effect = Effect::compensated("useradd eve", ["sh", "-c", "echo no >&2; exit 3"]);
    let command = Command::new(["true"]);
    world.machine.execute(&command, effect).unwrap();
    let why = "`sh -c echo no >&2; exit 3` failed with 3: no";
    assert_eq!(
        stuck(world.roll_back()),
        [("useradd eve".to_owned(), why.to_owned())]
    );
    assert!(!world.path("a").exists());
    let stored = world.root.transaction(&header(1).id).unwrap().unwrap();
    assert_eq!(stored.state(), State::Stuck);
}

#[test]
fn a_tree_is_kept_by_renaming_it_and_a_file_by_another_name() {
    let mut world = world();
    make_dir(&world.path("tree"));
    foreign(&world.path("tree/file"), b"old");
    let inode = world.path("tree/file").metadata().unwrap().ino();
    world.machine.remove(&world.path("tree")).unwrap();
    let kept = world.root.directory(&header(1).id).unwrap().join("kept/0");
    assert_eq!(kept.join("file").metadata().unwrap().ino(), inode);
    assert_eq!(world.roll_back(), CLEAN);
    assert_eq!(world.path("tree/file").metadata().unwrap().ino(), inode);
}

#[test]
fn what_is_older_waits_for_a_later_change_of_the_same_that_could_not_be_undone() {
    let mut world = world();
    let (file, flag) = (world.path("file"), world.path("../flag"));
    foreign(&file, b"old");
    let old = digest(&world.tree);
    world.write("file", "new");
    let keep = UndoRecord::Effect {
        what: format!("keep {}", file.display()),
        undo: Undo::Declared(vec![UndoStep::shell(format!("test -e {}", flag.display()))]),
        redo: None,
    };
    UndoLog::append(&mut world.log.clone(), keep).unwrap();
    let items = stuck(world.roll_back());
    let waits = format!("a later change of `{}` stands", file.display());
    assert_eq!(items[1], (file.display().to_string(), waits));
    assert_eq!(fs::read(&file).unwrap(), b"new");
    foreign(&flag, b"");
    assert_eq!(world.roll_back(), CLEAN);
    assert_eq!(digest(&world.tree), old);
}
