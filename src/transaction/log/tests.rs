//! What the journal promises when its bytes are cut, changed or refused by the disk.

use std::path::{Path, PathBuf};

use super::*;
use crate::transaction::journal::{After, FileId, Spot, Undo, UndoLog, UndoRecord};
use crate::transaction::state::{Drift, RunInfo, State};

fn header() -> Header {
    Header {
        id: "0123456789abcdef0123456789abcdef".into(),
        application: "shop".into(),
        run: RunInfo {
            who: "ada".into(),
            host: "laptop".into(),
            version: "0.1.0".into(),
            playbook: "/home/ada/site.yml".into(),
            ..RunInfo::default()
        },
        opened: 1_700_000_000,
        lease: 60.0,
        boot_id: "b".into(),
        worker_pid: 7,
        token_sha256: "t".into(),
        uid: 1000,
        restores: None,
    }
}

fn record(path: impl Into<PathBuf>) -> UndoRecord {
    let parent = FileId {
        device: 1,
        inode: u64::MAX,
    };
    UndoRecord::Created {
        spot: Spot {
            path: path.into(),
            parent,
        },
        after: After::Directory,
        staged: None,
    }
}

/// A journal with one entry of most kinds, and where each record of it ends.
fn written(directory: &Path) -> (Vec<Entry>, Vec<usize>) {
    let mut log = FileLog::create(directory, header()).unwrap();
    let journal = directory.join(JOURNAL);
    let size = || usize::try_from(journal.metadata().unwrap().len()).unwrap();
    let mut ends = vec![size()];
    let entries = [
        Entry::TaskStarted {
            seq: 1,
            name: "make the place".into(),
        },
        Entry::Undo {
            record: record("/srv/shop"),
        },
        Entry::TaskDone {
            seq: 1,
            result: serde_json::json!({"changed": true}),
        },
        Entry::RollingBack {
            reason: "aborted".into(),
            to: None,
        },
        Entry::Compensated {
            of: 2,
            outcome: Outcome::Drift(Drift {
                path: "/srv/shop".into(),
                saved: None,
            }),
        },
        Entry::RolledBack { to: None, at: 5 },
    ];
    for entry in &entries {
        log.append(entry).unwrap();
        ends.push(size());
    }
    let all = [vec![Entry::Opened(header())], entries.to_vec()].concat();
    (all, ends)
}

#[test]
fn what_is_written_is_read_back_and_gone_on_with() {
    let root = tempfile::tempdir().unwrap();
    let directory = root.path().join("one");
    let (entries, _) = written(&directory);
    assert_eq!(read(&directory).unwrap().entries(), entries);
    let (mut log, replay) = FileLog::resume(&directory).unwrap();
    assert_eq!(replay.state(), State::RolledBack);
    let number = log.append(&Entry::Staged).unwrap();
    assert_eq!(number, u64::try_from(entries.len()).unwrap());
    assert_eq!(read(&directory).unwrap().state(), State::Staged);
}

#[test]
fn only_one_process_writes_a_journal() {
    let root = tempfile::tempdir().unwrap();
    let directory = root.path().join("one");
    let log = FileLog::create(&directory, header()).unwrap();
    let busy = FileLog::resume(&directory).unwrap_err();
    assert_eq!(busy.to_string(), "another process writes the journal");
    drop(log);
    FileLog::resume(&directory).unwrap();
}

#[test]
fn a_tail_torn_at_any_byte_is_no_part_of_the_journal() {
    let root = tempfile::tempdir().unwrap();
    let directory = root.path().join("one");
    let (entries, ends) = written(&directory);
    let journal = directory.join(JOURNAL);
    let bytes = std::fs::read(&journal).unwrap();
    for length in 0..bytes.len() {
        let whole = ends.iter().filter(|end| **end <= length).count();
        // What was not written yet is missing, or is zeros.
        let zeros = vec![0; bytes.len() - length];
        for tail in [&[][..], &zeros] {
            let torn = [&bytes[..length], tail].concat();
            match format::scan(&torn) {
                Ok(scan) => {
                    assert_eq!(scan.entries, entries[..whole], "{length}");
                    assert_eq!(scan.length, ends[whole - 1], "{length}");
                }
                Err(error) => {
                    let known = "the journal ends before its first entry";
                    assert_eq!((whole, error.to_string().as_str()), (0, known), "{length}");
                }
            }
        }
    }
}

#[test]
fn a_torn_tail_is_written_over() {
    let root = tempfile::tempdir().unwrap();
    let directory = root.path().join("one");
    let (entries, ends) = written(&directory);
    let file = std::fs::File::options()
        .write(true)
        .open(directory.join(JOURNAL))
        .unwrap();
    let last = ends.len() - 1;
    file.set_len(u64::try_from(ends[last] - 3).unwrap())
        .unwrap();
    let (mut log, replay) = FileLog::resume(&directory).unwrap();
    assert_eq!(replay.entries(), &entries[..last]);
    log.append(&Entry::Staged).unwrap();
    let read = read(&directory).unwrap();
    assert_eq!(read.entries()[last], Entry::Staged);
}

#[test]
fn a_bit_flipped_in_any_byte_is_seen() {
    let root = tempfile::tempdir().unwrap();
    let directory = root.path().join("one");
    let (_, ends) = written(&directory);
    let bytes = std::fs::read(directory.join(JOURNAL)).unwrap();
    let starts = [&[format::HEAD], &ends[..]].concat();
    for at in 0..bytes.len() {
        for bit in 0..8 {
            let mut flipped = bytes.clone();
            flipped[at] ^= 1 << bit;
            let found = format::scan(&flipped).err().map(|error| error.to_string());
            let expected = match at {
                0..8 => "the file is no journal of backstay".to_owned(),
                8..16 => "the journal is damaged at byte 8".to_owned(),
                at => {
                    let start = starts.iter().rev().find(|start| **start <= at);
                    format!("the journal is damaged at byte {}", start.unwrap())
                }
            };
            assert_eq!(found, Some(expected), "bit {bit} of byte {at}");
        }
    }
}

#[test]
fn a_record_taken_out_of_the_middle_is_seen() {
    let root = tempfile::tempdir().unwrap();
    let directory = root.path().join("one");
    let (_, ends) = written(&directory);
    let bytes = std::fs::read(directory.join(JOURNAL)).unwrap();
    let without = [&bytes[..ends[1]], &bytes[ends[2]..]].concat();
    let error = format::scan(&without).err().unwrap();
    assert_eq!(
        error.to_string(),
        format!("the journal is damaged at byte {}", ends[1])
    );
}

#[test]
fn a_journal_of_version_1_is_read() {
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cases/transaction/version-1");
    let replay = read(&golden).unwrap();
    assert_eq!(replay.header(), &header());
    assert_eq!(replay.state(), State::RolledBack);
    assert_eq!(replay.drift()[0].path, "/srv/shop");
    assert_eq!(replay.results()[&1]["changed"], true);
    let root = tempfile::tempdir().unwrap();
    let directory = root.path().join("one");
    written(&directory);
    let now = std::fs::read(directory.join(JOURNAL)).unwrap();
    assert_eq!(now, std::fs::read(golden.join(JOURNAL)).unwrap());
}

#[test]
fn a_later_version_is_refused_by_its_number() {
    let mut bytes = format::head();
    bytes[8..12].copy_from_slice(&2_u32.to_le_bytes());
    bytes[12..].copy_from_slice(&(!2_u32).to_le_bytes());
    let error = format::scan(&bytes).err().unwrap();
    assert_eq!(
        error.to_string(),
        "the journal has version 2, this backstay reads up to 1"
    );
}

#[test]
fn nothing_is_written_after_a_write_that_failed() {
    let root = tempfile::tempdir().unwrap();
    let directory = root.path().join("one");
    let mut log = FileLog::create(&directory, header()).unwrap();
    // Nothing can be written through a file that is open for reading only.
    let refusing = std::fs::File::open(directory.join(JOURNAL)).unwrap();
    let file = log.swap_file(refusing);
    let error = UndoLog::append(&mut log, record("/srv/shop")).unwrap_err();
    assert_eq!(
        error.raw_os_error(),
        Some(rustix::io::Errno::BADF.raw_os_error())
    );
    log.swap_file(file);
    let error = UndoLog::append(&mut log, record("/srv/shop")).unwrap_err();
    assert_eq!(
        error.to_string(),
        "an earlier write to the journal failed: Bad file descriptor (os error 9)"
    );
    assert!(log.shelve(&directory).is_err());
    assert_eq!(read(&directory).unwrap().entries().len(), 1);
}

#[test]
fn changes_are_on_the_disk_before_what_builds_on_them_and_before_the_vote() {
    let root = tempfile::tempdir().unwrap();
    let program = || UndoRecord::Effect {
        what: "command `true`".to_owned(),
        undo: Undo::Opaque,
        redo: None,
    };
    // A directory that nobody can write out: its name is too long to be one.
    let far = PathBuf::from("/srv").join("x".repeat(300));
    let UndoRecord::Created { spot, .. } = record(far.join("shop")) else {
        unreachable!()
    };
    let moved = UndoRecord::Renamed {
        moved: spot.parent,
        to: Spot {
            path: "/srv/shop".into(),
            ..spot
        },
        from: spot,
    };
    let too_long = rustix::io::Errno::NAMETOOLONG;
    let too_long = std::io::Error::from(too_long).to_string();
    for (number, builds_on_it) in [moved, program()].into_iter().enumerate() {
        let directory = root.path().join(number.to_string());
        let mut log = FileLog::create(&directory, header()).unwrap();
        UndoLog::append(&mut log, record(far.join("shop"))).unwrap();
        UndoLog::append(&mut log, record("/srv/other")).unwrap();
        let error = UndoLog::append(&mut log, builds_on_it).unwrap_err();
        assert_eq!(error.to_string(), too_long);
    }
    let directory = root.path().join("vote");
    let mut log = FileLog::create(&directory, header()).unwrap();
    UndoLog::append(&mut log, record(far.join("shop"))).unwrap();
    drop(log);
    // Whoever goes on with a journal knows as much.
    let (mut log, _) = FileLog::resume(&directory).unwrap();
    assert!(log.append(&Entry::Prepared).is_err());
}

#[test]
fn paths_that_are_not_text_survive() {
    use std::os::unix::ffi::OsStrExt;
    let odd = Path::new(std::ffi::OsStr::from_bytes(b"/srv/\xff\xfe name"));
    let root = tempfile::tempdir().unwrap();
    let directory = root.path().join("one");
    let mut log = FileLog::create(&directory, header()).unwrap();
    UndoLog::append(&mut log, record(odd)).unwrap();
    let replay = read(&directory).unwrap();
    let pending = replay.pending(None).unwrap();
    assert_eq!(pending, [(1, &record(odd))]);
}

#[test]
fn a_savepoint_ends_what_is_pending_and_what_is_undone_is_pending_no_more() {
    let root = tempfile::tempdir().unwrap();
    let directory = root.path().join("one");
    let mut log = FileLog::create(&directory, header()).unwrap();
    let undo = |path: &str| Entry::Undo {
        record: record(path),
    };
    let name = String::from("block");
    for entry in [
        undo("/a"),
        Entry::Savepoint { name },
        undo("/b"),
        undo("/c"),
        Entry::Compensated {
            of: 4,
            outcome: Outcome::Restored,
        },
    ] {
        log.append(&entry).unwrap();
    }
    let replay = log.replay().unwrap();
    let numbers = |to| {
        let pending = replay.pending(to).unwrap();
        pending
            .into_iter()
            .map(|(number, _)| number)
            .collect::<Vec<_>>()
    };
    assert_eq!(numbers(Some("block")), [3]);
    assert_eq!(numbers(None), [3, 1]);
    let unknown = replay.pending(Some("other")).unwrap_err();
    assert_eq!(unknown.to_string(), "there is no savepoint `other`");
}

#[test]
fn what_a_task_without_change_would_do_again_is_no_change() {
    let directory = tempfile::tempdir().unwrap();
    let mut log = FileLog::create(&directory.path().join("t"), header()).unwrap();
    let mut has_changes_after = |seq: u64, changed: bool| {
        let reload = UndoRecord::Effect {
            what: "systemctl daemon-reload".into(),
            undo: Undo::Again(Vec::new()),
            redo: None,
        };
        let name = "reload".into();
        log.append(&Entry::TaskStarted { seq, name }).unwrap();
        log.append(&Entry::Undo { record: reload }).unwrap();
        let result = serde_json::json!({ "result": { "changed": changed } });
        log.append(&Entry::TaskDone { seq, result }).unwrap();
        log.replay().unwrap().has_changes()
    };
    assert!(!has_changes_after(1, false));
    assert!(has_changes_after(2, true));
}
