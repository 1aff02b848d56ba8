//! A deploy of two hosts whose link is cut, at the end of every message and in the middle of some.
//!
//! One host becomes root by a program of ours, which carries what agent and controller say to each
//! other: it can write that down, it can end either direction after some bytes, and it can swallow
//! what goes to the agent from there on.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use backstay::agent::frame::Decoder;

use crate::deploy::{Ended, Fleet, RELEASE, wait};

/// Carries one session: `runuser -u USER -- COMMAND`. The file `cut` names the session to be cut,
/// and how many bytes pass there and back; without it all sessions are written down. With `swallow`
/// nobody is told that nothing passes any more.
const CARRIER: &str = r#"#!/bin/sh
cd "$(dirname "$0")" && echo >>sessions && session=$(wc -l <sessions)
shift 3
if [ ! -e cut ]; then
    tee "there-$session" | "$@" | tee "back-$session"
elif read -r victim there back <cut && [ "$session" = "$victim" ]; then
    { dd bs=1 count="$there" 2>/dev/null; [ ! -e swallow ] || cat >/dev/null; } |
        "$@" | dd bs=1 count="$back" 2>/dev/null
else
    exec "$@"
fi
"#;

/// More bytes than anybody says.
const ALL: usize = 1 << 40;

/// The lease of a deploy that is to succeed, however busy the machine is.
const UNHURRIED: &str = "60";

/// How many cuts in the middle of a message are tried.
const SAMPLED: usize = 8;

struct Pair {
    fleet: Fleet,
    releases: usize,
}

impl Pair {
    /// Two hosts on which a release stands.
    fn new() -> Self {
        let fleet = Fleet::new();
        fleet.file("release.yml", RELEASE);
        fleet.file("carrier", CARRIER);
        let carrier = fleet.path("carrier");
        fs::set_permissions(&carrier, fs::Permissions::from_mode(0o755)).unwrap();
        let become_it = format!(
            "{}\n[app:vars]\nansible_become_method=runuser\nansible_become_exe={}\n",
            fs::read_to_string(fleet.path("hosts.ini"))
                .unwrap()
                .replace("web2 ", "web2 ansible_become=true "),
            carrier.display()
        );
        fleet.file("hosts.ini", &become_it);
        let mut pair = Self { fleet, releases: 0 };
        assert_eq!(pair.deploy(UNHURRIED).status, Some(0));
        pair
    }

    /// Deploys the next release.
    fn deploy(&mut self, lease: &str) -> Ended {
        self.releases += 1;
        fs::remove_file(self.fleet.path("sessions")).ok();
        let release = format!("release={}", self.releases);
        let words = ["deploy", "release.yml", "-l", "web1,web2", "--lease", lease];
        self.fleet.run(&[&words[..], &["-e", &release]].concat())
    }

    /// Deploys with a cut; both hosts must be all old or all new, and the exit code must say which.
    fn deploy_cut(&mut self, session: usize, there: usize, back: usize) {
        let what = format!("session {session}, {there} bytes there, {back} back");
        self.fleet
            .file("cut", &format!("{session} {there} {back}\n"));
        let before = self.standing();
        let ended = self.deploy("3");
        let status = match ended.status {
            Some(22) => {
                let settled = self.fleet.run(&["recover", "-l", "web1,web2"]);
                assert_eq!(settled.status, Some(0), "{what}: {ended}{settled}");
                None
            }
            status => status,
        };
        let after = self.standing();
        let new = format!("release {}\n", self.releases);
        let is_new = after.iter().all(|tree| tree["app/config"].ends_with(&new));
        let is_old = after == before;
        match status {
            Some(0) => assert!(is_new, "{what}: not all new: {ended}"),
            Some(20) => assert!(is_old, "{what}: not all old: {ended}"),
            // Not opened: nobody was touched.
            Some(1 | 4) => assert!(is_old, "{what}: not all old: {ended}"),
            None => assert!(is_new || is_old, "{what}: the hosts differ: {ended}"),
            Some(_) => panic!("{what}: {ended}"),
        }
        // One that nobody knows to be open is undone when its grace is over.
        wait("nothing is open", || {
            self.fleet.run(&["status", "-l", "web1,web2"]).status == Some(0)
        });
    }

    fn standing(&self) -> Vec<std::collections::BTreeMap<String, String>> {
        ["web1", "web2"].map(|host| self.fleet.tree(host)).into()
    }

    fn log(&self, name: &str) -> PathBuf {
        self.fleet.path(name)
    }
}

/// Returns after how many bytes each message of a recorded direction ends; the greeting is before.
fn ends_of_messages(log: &Path) -> Vec<usize> {
    let bytes = fs::read(log).unwrap();
    let hello = b"{\"type\":\"hello\"";
    let found = bytes.windows(hello.len()).position(|part| part == hello);
    let start = found.expect("a session begins with a greeting") - 5;
    let mut decoder = Decoder::default();
    let mut ends = vec![start];
    for (at, byte) in bytes.iter().enumerate().skip(start) {
        decoder.push(&[*byte]);
        while decoder.next_frame().unwrap().is_some() {
            ends.push(at + 1);
        }
    }
    ends
}

/// The host undoes by itself when its lease is over, and is asked what became of it just then.
#[test]
fn a_commit_that_is_lost_on_a_silent_link_is_told_as_it_ended() {
    let mut pair = Pair::new();
    assert_eq!(pair.deploy(UNHURRIED).status, Some(0));
    let said = fs::read(pair.log("there-2")).unwrap();
    let commit = br#"{"type":"transaction","seq":2,"ask":{"ask":"commit""#;
    let at = said.windows(commit.len()).position(|part| part == commit);
    pair.fleet.file("swallow", "");
    pair.deploy_cut(2, at.expect("the second request commits"), ALL);
}

#[test]
fn wherever_the_link_is_cut_both_hosts_are_all_old_or_all_new_and_the_exit_code_says_which() {
    let mut pair = Pair::new();
    let ended = pair.deploy(UNHURRIED);
    assert_eq!(ended.status, Some(0), "{ended}");
    let mut cuts = Vec::new();
    for session in [1, 2] {
        for there in ends_of_messages(&pair.log(&format!("there-{session}"))) {
            cuts.push((session, there, ALL));
        }
        for back in ends_of_messages(&pair.log(&format!("back-{session}"))) {
            cuts.push((session, ALL, back));
        }
    }
    assert!(cuts.len() > 20, "{cuts:?}");
    // And some within messages, evenly spread.
    let within: Vec<_> = cuts
        .iter()
        .step_by(cuts.len().div_ceil(SAMPLED))
        .map(|(session, there, back)| match *there {
            ALL => (*session, ALL, back + 3),
            there => (*session, there + 3, ALL),
        })
        .collect();
    cuts.extend(within);
    let (early, late) = cuts.split_at(cuts.len() / 2);
    std::thread::scope(|scope| {
        for half in [early, late] {
            scope.spawn(move || {
                let mut pair = Pair::new();
                for (session, there, back) in half {
                    pair.deploy_cut(*session, *there, *back);
                }
            });
        }
    });
}
