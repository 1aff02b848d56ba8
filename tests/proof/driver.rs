//! One transaction without a network: `sweep` runs it under a tracer that breaks its calls.
//!
//! `proof apply STATE TREE` changes the tree in a transaction and leaves it open, `proof commit STATE
//! TREE` commits it, and `proof recover STATE TREE` undoes whatever is open and says what came of
//! it. `proof told STATE` says how far all is.

use std::error::Error;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use backstay::machine::undo::{Undoing, Verdict};
use backstay::machine::{Attributes, Command, Effect, Follow, Machine, MachineOptions, NewFile};
use backstay::transaction::journal::UndoStep;
use backstay::transaction::log::{Entry, FileLog, Header, LogError, SharedLog};
use backstay::transaction::state::State;
use backstay::transaction::store::{StateRoot, boot_id};

type Done<T = ()> = Result<T, Box<dyn Error>>;

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().collect();
    let done = match words.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [_, "apply", state, tree] => apply(Path::new(state), Path::new(tree)).map(drop),
        [_, "commit", state, tree] => commit(Path::new(state), Path::new(tree)),
        [_, "recover", state, _] => recover(Path::new(state)),
        [_, "told", state] => told(Path::new(state)),
        _ => Err("usage: proof apply|commit|recover|told STATE TREE".into()),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            say(&error.to_string());
            ExitCode::FAILURE
        }
    }
}

#[expect(clippy::print_stdout, reason = "the sweep reads it")]
fn say(text: &str) {
    println!("{text}");
}

fn apply(state: &Path, tree: &Path) -> Done<SharedLog> {
    let header = Header {
        id: format!("{:032x}", 1),
        application: "proof".into(),
        boot_id: boot_id(),
        ..Header::default()
    };
    let log = SharedLog::new(StateRoot::open(state)?.create(header)?);
    let mut machine = Machine::new(MachineOptions {
        undo: Box::new(log.clone()),
        umask: Some(0o022),
        ..MachineOptions::default()
    });
    change(&mut machine, tree)?;
    Ok(log)
}

fn commit(state: &Path, tree: &Path) -> Done {
    let log = apply(state, tree)?;
    let (generation, at) = (1, 1);
    log.with(|log| {
        log.append(&Entry::Prepared)?;
        log.append(&Entry::Committed { generation, at })
    })?;
    Ok(())
}

/// What a deploy does to files: a release, its links, its configuration, and what is in the way.
fn change(machine: &mut Machine, tree: &Path) -> Done {
    let at = |name: &str| tree.join(name);
    let new = NewFile::default();
    machine.create_dir_all(&at("app/releases/2/bin"), 0o755)?;
    for name in ["bin/app", "index", "assets"] {
        let path = at("app/releases/2").join(name);
        machine.write(&path, format!("two {name}").into(), &new)?;
    }
    machine.symlink(Path::new("releases/2"), &at("app/current"))?;
    machine.write(&at("etc/app.conf"), "new".into(), &new)?;
    let attributes = Attributes {
        mode: Some(0o600),
        uid: Some(1),
        ..Attributes::default()
    };
    machine.set_attributes(&at("etc/app.conf"), &attributes, Follow::No)?;
    machine.set_attributes(&at("etc/other.conf"), &attributes, Follow::No)?;
    machine.rename(&at("etc/other.conf"), &at("etc/renamed.conf"))?;
    machine.remove(&at("app/releases/0"))?;
    machine.remove(&at("app/shared"))?;
    machine.write(&at("app/shared"), "a file now".into(), &new)?;
    machine.hard_link(&at("app/shared"), &at("app/again"))?;
    machine.create_fifo(&at("app/pipe"), 0o600)?;
    let shell = |text: String| Command::new(["sh", "-c", &text]);
    let (declared, saved) = (at("etc/declared"), at("../saved"));
    let effect = Effect::Declared {
        what: "write etc/declared".into(),
        undo: vec![UndoStep::shell(format!(
            "cp -a {} {}",
            saved.display(),
            declared.display()
        ))],
    };
    machine.execute(&shell(format!("echo new >{}", declared.display())), effect)?;
    Ok(())
}

fn recover(state: &Path) -> Done {
    let root = StateRoot::open(state)?;
    for stored in root.transactions()? {
        match stored.state() {
            State::RolledBack => continue,
            State::Committed => {
                say("committed");
                return Ok(());
            }
            _ => {}
        }
        let (mut log, _) = match FileLog::resume(&stored.directory) {
            // Nothing was changed before the journal was there.
            Err(LogError::Unborn | LogError::Io { .. }) if stored.replay().is_none() => continue,
            resumed => resumed?,
        };
        let undoing = Undoing {
            grace: Duration::ZERO,
            ..Undoing::default()
        };
        match undoing.roll_back(&mut log, "recovery", None, &mut |_| {})? {
            Verdict::RolledBack { drift } if drift.is_empty() => {}
            verdict => return Err(format!("{verdict:?}").into()),
        }
    }
    for stored in root.transactions()? {
        let wrong = root.clear(&stored);
        if !wrong.is_empty() {
            return Err(wrong.join("; ").into());
        }
    }
    say("rolled back");
    Ok(())
}

/// Says the state of every transaction.
fn told(state: &Path) -> Done {
    let Some(root) = StateRoot::find(state)? else {
        return Ok(());
    };
    for stored in root.transactions()? {
        if !stored.is_unborn() {
            say(&format!("{:?}", stored.state()));
        }
    }
    Ok(())
}
