//! Random sequences of changes: check mode foresees what apply mode does.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::*;
use crate::transaction::journal::MemoryLog;

const NAMES: [&str; 7] = ["a", "b", "d", "d/x", "d/y", "d/e", "link/x"];

/// What a path shows: kind, mode, and content or target.
type Shown = BTreeMap<PathBuf, String>;

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

    fn name(&mut self) -> &'static str {
        NAMES[self.roll(NAMES.len())]
    }
}

fn machine(check: bool, log: &MemoryLog) -> Machine {
    Machine::new(MachineOptions {
        undo: Box::new(log.clone()),
        umask: Some(0o022),
        check,
        ..MachineOptions::default()
    })
}

/// Makes the tree that every sequence starts from.
fn plant(root: &Path) {
    let mut machine = machine(false, &MemoryLog::default());
    machine.create_dir(&root.join("d"), 0o755).unwrap();
    machine.create_dir(&root.join("d/e"), 0o2775).unwrap();
    let new = NewFile::default();
    machine.write(&root.join("a"), "one".into(), &new).unwrap();
    machine
        .write(&root.join("d/x"), "two".into(), &new)
        .unwrap();
    machine
        .hard_link(&root.join("a"), &root.join("d/y"))
        .unwrap();
    machine.symlink(Path::new("d"), &root.join("link")).unwrap();
}

/// Does one random thing; the result is what a module would see of it.
fn step(machine: &mut Machine, root: &Path, dice: &mut Dice) -> String {
    let kind = dice.roll(9);
    let (path, other) = (root.join(dice.name()), root.join(dice.name()));
    let number = dice.roll(1000);
    let done = match kind {
        0 | 1 => machine.write(&path, format!("text {number}").into(), &NewFile::default()),
        2 => machine.create_dir(&path, 0o777),
        3 => machine.remove(&path).map(|_| ()),
        4 => machine.symlink(Path::new(dice.name()), &path),
        5 => machine.hard_link(&other, &path),
        6 => machine.rename(&other, &path),
        7 => {
            let attributes = Attributes {
                mode: Some(0o600 + u32::try_from(number % 0o100).unwrap()),
                ..Attributes::default()
            };
            machine
                .set_attributes(&path, &attributes, Follow::Yes)
                .map(|_| ())
        }
        _ => machine.write(&path, Content::File(other), &NewFile::default()),
    };
    match done {
        Ok(()) => format!("{kind} done"),
        Err(_) => format!("{kind} failed"),
    }
}

fn show(machine: &mut Machine, directory: &Path, below: &Path, shown: &mut Shown) {
    for entry in machine.read_dir(directory).unwrap() {
        let path = directory.join(&entry.name);
        let name = below.join(&entry.name);
        let found = machine.symlink_metadata(&path).unwrap().unwrap();
        assert_eq!(found.kind, entry.metadata.kind);
        let holds = match found.kind {
            FileKind::File => String::from_utf8(machine.read(&path).unwrap()).unwrap(),
            FileKind::Link => machine.read_link(&path).unwrap().display().to_string(),
            _ => String::new(),
        };
        let mode = if found.is_link() { 0 } else { found.mode };
        shown.insert(name.clone(), format!("{:?} {mode:o} {holds}", found.kind));
        if found.is_dir() {
            show(machine, &path, &name, shown);
        }
    }
}

fn shown(machine: &mut Machine, root: &Path) -> Shown {
    let mut shown = Shown::new();
    show(machine, root, Path::new(""), &mut shown);
    shown
}

#[test]
fn check_mode_foresees_what_apply_mode_does_and_changes_nothing() {
    for seed in 0..150 {
        let (applied, predicted) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        plant(applied.path());
        plant(predicted.path());
        let log = MemoryLog::default();
        let before = shown(&mut machine(false, &log), predicted.path());
        let (mut real, mut check) = (machine(false, &log), machine(true, &MemoryLog::default()));
        for number in 0..25 {
            let (mut one, mut two) = (Dice(seed * 100 + number), Dice(seed * 100 + number));
            let done = step(&mut real, applied.path(), &mut one);
            let foreseen = step(&mut check, predicted.path(), &mut two);
            assert_eq!(foreseen, done, "seed {seed}, step {number}");
            assert_eq!(
                shown(&mut check, predicted.path()),
                shown(&mut real, applied.path()),
                "seed {seed}, step {number}: {done}"
            );
        }
        assert_eq!(shown(&mut machine(false, &log), predicted.path()), before);
    }
}

#[test]
fn a_program_is_not_run_in_check_mode_but_a_question_is() {
    let mut machine = machine(true, &MemoryLog::default());
    let command = Command::new(["echo", "asked"]);
    let execution = machine.execute(&command, Effect::opaque("echo")).unwrap();
    assert!(matches!(execution, Execution::Predicted));
    assert_eq!(machine.query(&command).unwrap().stdout_text(), "asked\n");
}

#[test]
fn a_later_task_sees_what_an_earlier_one_would_have_made() {
    let root = tempfile::tempdir().unwrap();
    let prediction = Prediction::default();
    let task = || {
        Machine::new(MachineOptions {
            check: true,
            prediction: prediction.clone(),
            ..MachineOptions::default()
        })
    };
    let path = root.path().join("app/config");
    task()
        .create_dir_all(path.parent().unwrap(), 0o755)
        .unwrap();
    task()
        .write(&path, "x".into(), &NewFile::default())
        .unwrap();
    assert_eq!(task().read(&path).unwrap(), b"x");
    assert_eq!(std::fs::read_dir(root.path()).unwrap().count(), 0);
}
