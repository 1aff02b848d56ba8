//! Deploys over sandbox hosts, with the real binary on both ends: what stands on every host
//! afterwards, what the last line says, and the exit code.

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Output, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

/// How long anything here may take before it counts as never.
const PATIENCE: Duration = Duration::from_mins(2);

const HOSTS: [&str; 3] = ["web1", "web2", "web3"];

/// Three sandbox hosts and a directory of playbooks.
pub(crate) struct Fleet {
    root: TempDir,
}

/// A command that ended.
pub(crate) struct Ended {
    pub(crate) status: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Fleet {
    pub(crate) fn new() -> Self {
        let root = TempDir::new().unwrap();
        let fleet = Self { root };
        let mut inventory = String::from("[app]\n");
        for host in HOSTS {
            let directory = fleet.host(host);
            fs::create_dir_all(&directory).unwrap();
            inventory += &format!(
                "{host} ansible_connection=sandbox ansible_sandbox_root={}\n",
                directory.display()
            );
        }
        fleet.file("hosts.ini", &inventory);
        fs::create_dir_all(fleet.path("home")).unwrap();
        fleet
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.root.path().join(name)
    }

    fn host(&self, host: &str) -> PathBuf {
        self.path("hosts").join(host)
    }

    pub(crate) fn file(&self, name: &str, text: &str) {
        fs::write(self.path(name), text).unwrap();
    }

    pub(crate) fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_backstay"));
        command
            .args(words)
            .args(["-i", "hosts.ini"])
            .current_dir(self.root.path())
            .env_clear()
            .env("HOME", self.path("home"))
            .env(
                "PATH",
                "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
            )
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }

    pub(crate) fn run(&self, words: &[&str]) -> Ended {
        Ended::of(self.command(words).output().unwrap())
    }

    /// Deploys the release, which must end with `status`.
    fn deploy(&self, release: &str, more: &[&str], status: i32) -> Ended {
        let release = format!("release={release}");
        let words = [&["deploy", "release.yml", "-e", &release], more].concat();
        let ended = self.run(&words);
        assert_eq!(ended.status, Some(status), "{ended}");
        ended
    }

    /// Returns everything on a host but backstay's own: path to kind, mode and content.
    pub(crate) fn tree(&self, host: &str) -> BTreeMap<String, String> {
        let mut found = BTreeMap::new();
        gather(&self.host(host), Path::new(""), &mut found);
        found
    }

    fn trees(&self) -> Vec<BTreeMap<String, String>> {
        HOSTS.iter().map(|host| self.tree(host)).collect()
    }
}

/// Waits until `is_so`, asking again and again.
pub(crate) fn wait(what: &str, is_so: impl Fn() -> bool) {
    let started = Instant::now();
    while !is_so() {
        assert!(started.elapsed() < PATIENCE, "never: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

impl Ended {
    pub(crate) fn of(output: Output) -> Self {
        Self {
            status: output.status.code(),
            stdout: String::from_utf8(output.stdout).unwrap(),
            stderr: String::from_utf8(output.stderr).unwrap(),
        }
    }

    fn last_line(&self) -> &str {
        self.stdout.trim_end().lines().last().unwrap_or_default()
    }
}

impl std::fmt::Display for Ended {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "status {:?}\n{}\n{}",
            self.status, self.stdout, self.stderr
        )
    }
}

fn gather(root: &Path, at: &Path, found: &mut BTreeMap<String, String>) {
    for entry in fs::read_dir(root.join(at)).unwrap() {
        let name = at.join(entry.unwrap().file_name());
        // The agent's cache and the state directory are not the application's.
        if [".cache", ".local", ".backstay"]
            .iter()
            .any(|own| name == Path::new(own))
        {
            continue;
        }
        let path = root.join(&name);
        let metadata = path.symlink_metadata().unwrap();
        let mode = metadata.permissions().mode();
        let content = if metadata.is_symlink() {
            format!("-> {}", fs::read_link(&path).unwrap().display())
        } else if metadata.is_dir() {
            gather(root, &name, found);
            "directory".to_owned()
        } else {
            fs::read_to_string(&path).unwrap()
        };
        found.insert(name.display().to_string(), format!("{mode:o} {content}"));
    }
}

/// A release: a directory, a file, a link that flips, and a health check that can be told to fail
/// on one host.
pub(crate) const RELEASE: &str = "
- hosts: app
  gather_facts: false
  tasks:
    - name: Make the directory
      file: {path: \"~/app/{{ release }}\", state: directory, mode: '0755'}
    - name: Render the configuration
      copy: {dest: ~/app/config, content: \"release {{ release }}\\n\", mode: '0640'}
      notify: Restart
    - name: Flip
      file: {src: \"{{ release }}\", dest: ~/app/current, state: link}
    - meta: flush_handlers
    - name: Wait at the gate
      wait_for: {path: \"{{ gate }}\", timeout: 300}
      when: gate is defined
    - name: Check its health
      command: test \"{{ sick | default('none') }}\" != \"{{ inventory_hostname }}\"
      changed_when: false
      tags: [backstay_health]
  handlers:
    - name: Restart
      copy: {dest: ~/app/restarted, content: \"{{ release }}\\n\"}
";

fn released() -> Fleet {
    let fleet = Fleet::new();
    fleet.file("release.yml", RELEASE);
    fleet
}

#[test]
fn a_failed_health_check_on_one_host_leaves_every_host_as_it_was() {
    let fleet = released();
    let ended = fleet.deploy("1", &[], 0);
    assert_eq!(ended.last_line(), "committed on 3 hosts", "{ended}");
    let before = fleet.trees();
    let ended = fleet.deploy("2", &["-e", "sick=web2"], 20);
    assert!(
        ended.last_line().starts_with(
            "rolled back: all 3 hosts are as before (web2: task \"Check its health\": "
        ),
        "{ended}"
    );
    assert_eq!(fleet.trees(), before);
    // A retry is as if nothing had been.
    fleet.deploy("2", &[], 0);
    assert_eq!(
        fs::read_to_string(fleet.host("web3").join("app/config")).unwrap(),
        "release 2\n"
    );
}

#[test]
fn a_second_deploy_of_the_same_commits_nothing() {
    let fleet = released();
    fleet.deploy("1", &[], 0);
    let ended = fleet.deploy("1", &[], 0);
    assert_eq!(
        ended.last_line(),
        "committed: nothing had changed",
        "{ended}"
    );
    let ended = fleet.run(&["history", "--json"]);
    let hosts: serde_json::Value = serde_json::from_str(&ended.stdout).unwrap();
    let generations = &hosts[0]["transactions"];
    assert_eq!(generations.as_array().unwrap().len(), 1, "{ended}");
    assert_eq!(generations[0]["generation"], 1);
}

#[test]
fn a_rollback_restores_the_release_before_and_it_can_be_deployed_again() {
    let fleet = released();
    fleet.deploy("1", &[], 0);
    let first = fleet.trees();
    fleet.deploy("2", &[], 0);
    let second = fleet.trees();
    let ended = fleet.run(&["rollback"]);
    assert_eq!(ended.status, Some(0), "{ended}");
    assert_eq!(fleet.trees(), first);
    assert!(ended.stdout.contains("TASK [Check its health]"), "{ended}");
    fleet.deploy("2", &[], 0);
    assert_eq!(fleet.trees(), second);
    // Back over the rollback and what it undid: to the first release, not to the second.
    let ended = fleet.run(&["rollback"]);
    assert_eq!(ended.status, Some(0), "{ended}");
    assert_eq!(fleet.trees(), first);
}

#[test]
fn a_rollback_whose_health_check_fails_stays_where_it_was() {
    let fleet = released();
    fleet.deploy("1", &[], 0);
    fleet.deploy("2", &[], 0);
    let second = fleet.trees();
    let ended = fleet.run(&["rollback", "-e", "sick=web3"]);
    assert_eq!(ended.status, Some(20), "{ended}");
    assert_eq!(fleet.trees(), second);
}

#[test]
fn the_first_release_is_taken_back_without_asking_for_its_health() {
    let fleet = released();
    let before = fleet.trees();
    fleet.deploy("1", &[], 0);
    let ended = fleet.run(&["rollback", "-e", "sick=web3"]);
    assert_eq!(ended.status, Some(0), "{ended}");
    assert_eq!(fleet.trees(), before);
}

#[test]
fn a_failed_rollback_does_again_what_it_had_undone_by_the_users_word() {
    let fleet = released();
    let started = "
    - name: Start
      command: sh -c 'echo \"$0\" >> started' {{ release }}
      args: {chdir: \"~\"}
      vars: {backstay_undo: sed -i '$d' ~/started}
    - meta: flush_handlers
";
    let release = RELEASE.replace("\n    - meta: flush_handlers\n", started);
    fleet.file("release.yml", &release);
    fleet.deploy("1", &[], 0);
    fleet.deploy("2", &[], 0);
    let second = fleet.trees();
    assert!(second[0]["started"].ends_with(" 1\n2\n"), "{second:?}");
    let ended = fleet.run(&["rollback", "-e", "sick=web3"]);
    assert_eq!(ended.status, Some(20), "{ended}");
    assert_eq!(fleet.trees(), second);
}

/// A deploy that stands at its gate, everything before it done on all hosts.
struct Standing {
    child: Child,
    /// Taken away where nobody is to read it.
    stdout: Option<BufReader<ChildStdout>>,
    gate: PathBuf,
}

impl Standing {
    fn new(fleet: &Fleet, release: &str, lease: &str) -> Self {
        Self::with(fleet, release, &["--lease", lease], &[])
    }

    fn with(fleet: &Fleet, release: &str, more: &[&str], environment: &[(&str, &str)]) -> Self {
        let gate = fleet.path("gate");
        let gate_variable = format!("gate={}", gate.display());
        let release_variable = format!("release={release}");
        let mut child = fleet
            .command(&[
                "deploy",
                "release.yml",
                "-e",
                &release_variable,
                "-e",
                &gate_variable,
            ])
            .args(more)
            .envs(environment.iter().copied())
            .spawn()
            .unwrap();
        let stdout = BufReader::new(child.stdout.take().unwrap());
        let mut standing = Self {
            child,
            stdout: Some(stdout),
            gate,
        };
        standing.says("TASK [Wait at the gate]");
        standing
    }

    /// Reads on until a line begins so.
    fn says(&mut self, start: &str) {
        let stdout = self.stdout.as_mut().unwrap();
        let mut line = String::new();
        while !line.starts_with(start) {
            line.clear();
            assert!(stdout.read_line(&mut line).unwrap() > 0, "it ended early");
        }
    }

    fn signal(&self, signal: rustix::process::Signal) {
        let id = i32::try_from(self.child.id()).unwrap();
        let id = rustix::process::Pid::from_raw(id).unwrap();
        rustix::process::kill_process(id, signal).unwrap();
    }

    fn end(mut self) -> (Option<i32>, String) {
        let mut rest = String::new();
        let mut stdout = self.stdout.take().unwrap();
        stdout.read_to_string(&mut rest).unwrap();
        (self.child.wait().unwrap().code(), rest)
    }
}

#[test]
fn a_killed_runner_leaves_hosts_that_put_themselves_back_and_say_so() {
    let fleet = released();
    fleet.deploy("1", &[], 0);
    let before = fleet.trees();
    let standing = Standing::new(&fleet, "2", "4");
    assert_ne!(fleet.trees(), before);
    standing.signal(rustix::process::Signal::KILL);
    standing.end();
    wait("every host is as before", || fleet.trees() == before);
    wait("status is content", || {
        fleet.run(&["status"]).status == Some(0)
    });
    let ended = fleet.run(&["status"]);
    assert_eq!(
        ended.stdout.matches("last: rolled back deploy").count(),
        3,
        "{ended}"
    );
    fleet.deploy("2", &[], 0);
}

#[test]
fn an_interrupted_deploy_ends_with_the_signals_code_and_every_host_as_before() {
    for (signal, code) in [
        (rustix::process::Signal::INT, 130),
        (rustix::process::Signal::TERM, 143),
        (rustix::process::Signal::HUP, 129),
    ] {
        let fleet = released();
        fleet.deploy("1", &[], 0);
        let before = fleet.trees();
        let mut standing = Standing::new(&fleet, "2", "60");
        standing.signal(signal);
        standing.says("rolling back on ");
        // A runner that wants to be rid of it says so again, and more firmly.
        standing.signal(signal);
        standing.signal(rustix::process::Signal::TERM);
        let (status, rest) = standing.end();
        assert_eq!(status, Some(code), "{rest}");
        assert!(
            rest.trim_end()
                .ends_with("as before (the run was interrupted)"),
            "{rest}"
        );
        assert_eq!(fleet.trees(), before);
    }
}

#[test]
fn an_output_that_nobody_reads_any_more_changes_neither_the_deploy_nor_its_exit_code() {
    for (sick, code) in [("none", 0), ("web2", 20)] {
        let fleet = released();
        fleet.deploy("1", &[], 0);
        let before = fleet.trees();
        let log = [("ANSIBLE_LOG_PATH", "/dev/full")];
        let sick = format!("sick={sick}");
        let mut standing = Standing::with(&fleet, "2", &["-e", &sick], &log);
        drop(standing.stdout.take());
        fs::write(&standing.gate, "open").unwrap();
        let status = standing.child.wait().unwrap().code();
        assert_eq!(status, Some(code));
        assert_eq!(fleet.trees() == before, code == 20);
        assert_eq!(fleet.run(&["status"]).status, Some(0));
    }
}

/// Their hosts overlap, and each names them in another order.
#[test]
fn deploys_of_overlapping_hosts_all_get_through_and_none_waits_for_ever() {
    let fleet = released();
    let hosts = ["web1,web2", "web2,web3", "web3,web1", "web3,web2,web1"];
    let running = hosts.map(|hosts| {
        let release = format!("release={hosts}");
        let words = ["deploy", "release.yml", "-l", hosts, "-e", &release];
        fleet.command(&words).spawn().unwrap()
    });
    for child in running {
        let ended = Ended::of(child.wait_with_output().unwrap());
        assert_eq!(ended.status, Some(0), "{ended}");
    }
    let ended = fleet.run(&["status"]);
    assert_eq!(ended.status, Some(0), "{ended}");
}

#[test]
fn a_second_deploy_waits_for_the_first_and_one_that_will_not_wait_says_who_holds_the_lock() {
    let fleet = released();
    let first = Standing::new(&fleet, "1", "60");
    let ended = fleet.run(&["deploy", "release.yml", "-e", "release=2", "--no-wait"]);
    assert_eq!(ended.status, Some(1), "{ended}");
    assert!(
        ended.stderr.contains("the lock of web1 is held by "),
        "{ended}"
    );
    let ended = fleet.run(&["lock", "list"]);
    assert_eq!(
        ended.stdout.matches(": default is locked by ").count(),
        3,
        "{ended}"
    );
    let mut second = fleet
        .command(&["deploy", "release.yml", "-e", "release=2"])
        .spawn()
        .unwrap();
    let mut stdout = BufReader::new(second.stdout.take().unwrap());
    let mut line = String::new();
    while !line.starts_with("waiting for the lock of web1: held by ") {
        line.clear();
        assert!(stdout.read_line(&mut line).unwrap() > 0, "it did not wait");
    }
    fs::write(&first.gate, "open").unwrap();
    let (status, rest) = first.end();
    assert_eq!(status, Some(0), "{rest}");
    let mut rest = String::new();
    stdout.read_to_string(&mut rest).unwrap();
    assert_eq!(second.wait().unwrap().code(), Some(0), "{rest}");
    assert_eq!(
        fs::read_to_string(fleet.host("web1").join("app/config")).unwrap(),
        "release 2\n"
    );
}

#[test]
fn a_transactional_block_is_undone_before_its_rescue_and_the_rest_is_committed() {
    let playbook = "
- hosts: app
  gather_facts: false
  tasks:
    - copy: {dest: ~/outside, content: kept}
    - name: The migration
      vars: {backstay_transaction: true}
      block:
        - copy: {dest: ~/inside, content: undone}
        - command: 'false'
          vars: {backstay_undo: 'true'}
      rescue:
        - stat: {path: ~/inside}
          register: inside
        - copy: {dest: ~/rescued, content: \"{{ inside.stat.exists }}\"}
";
    for command in ["deploy", "play"] {
        let fleet = Fleet::new();
        fleet.file("block.yml", playbook);
        let ended = fleet.run(&[command, "block.yml"]);
        assert_eq!(ended.status, Some(0), "{command}: {ended}");
        for tree in fleet.trees() {
            let names: Vec<&str> = tree.keys().map(String::as_str).collect();
            assert_eq!(names, ["outside", "rescued"], "{command}: {ended}");
            assert!(tree["rescued"].ends_with("False"), "{command}: {ended}");
        }
    }
}

#[test]
fn a_transactional_play_is_undone_whole_when_one_host_fails() {
    let fleet = Fleet::new();
    fleet.file(
        "play.yml",
        "
- hosts: app
  gather_facts: false
  vars: {backstay_transaction: true}
  tasks:
    - copy: {dest: ~/a, content: a}
    - fail:
      when: inventory_hostname == 'web2'
",
    );
    let ended = fleet.run(&["play", "play.yml"]);
    assert_eq!(ended.status, Some(20), "{ended}");
    assert!(fleet.trees().iter().all(BTreeMap::is_empty), "{ended}");
}

#[test]
fn what_nobody_can_undo_is_named_and_is_never_told_as_rolled_back() {
    let fleet = Fleet::new();
    fleet.file(
        "opaque.yml",
        "
- hosts: web1
  gather_facts: false
  tasks:
    - copy: {dest: ~/a, content: a}
    - command: touch opaque
    - command: touch declared
      vars: {backstay_undo: rm ~/declared}
    - command: touch protected
      vars: {backstay_protect: [~/protected]}
    - command: touch created
      args: {creates: crea*d}
    - fail:
",
    );
    let ended = fleet.run(&["deploy", "opaque.yml"]);
    assert_eq!(ended.status, Some(21), "{ended}");
    let line = ended.last_line();
    assert!(
        line.starts_with("STUCK: rolled back except for 1 thing on web1"),
        "{ended}"
    );
    let tree = fleet.tree("web1");
    let names: Vec<&str> = tree.keys().map(String::as_str).collect();
    assert_eq!(names, ["opaque"], "{ended}");
}

#[test]
fn a_protected_file_of_two_names_is_one_old_file_again() {
    let fleet = Fleet::new();
    let (data, twin) = (
        fleet.host("web1").join("data"),
        fleet.host("web1").join("twin"),
    );
    fs::write(&data, "old").unwrap();
    fs::hard_link(&data, &twin).unwrap();
    let before = fleet.tree("web1");
    fleet.file(
        "protected.yml",
        "
- hosts: web1
  gather_facts: false
  tasks:
    - shell: echo new >>~/data
      vars: {backstay_protect: [~/data]}
    - fail:
",
    );
    let ended = fleet.run(&["deploy", "protected.yml"]);
    assert_eq!(ended.status, Some(20), "{ended}");
    assert_eq!(fleet.tree("web1"), before);
    let inode = |path: &Path| path.metadata().unwrap().ino();
    assert_eq!(inode(&data), inode(&twin));
}

#[test]
fn a_command_that_changed_nothing_hides_no_other_of_the_same_words() {
    let fleet = Fleet::new();
    fleet.file(
        "same.yml",
        "
- hosts: web1,web2
  gather_facts: false
  tasks:
    - command: 'true'
      changed_when: inventory_hostname == 'web2'
    - command: 'true'
      changed_when: false
    - fail:
",
    );
    let ended = fleet.run(&["deploy", "same.yml"]);
    assert_eq!(ended.status, Some(21), "{ended}");
    let line = ended.last_line();
    assert!(
        line.starts_with("STUCK: rolled back except for 1 thing on web2"),
        "{ended}"
    );
}

#[test]
fn a_job_beside_the_transaction_is_named_as_not_undone() {
    let fleet = Fleet::new();
    fleet.file(
        "job.yml",
        "
- hosts: web1
  gather_facts: false
  tasks:
    - command: 'true'
      async: 30
      poll: 1
    - command: 'true'
      async: 30
      poll: 0
      vars: {backstay_undo: 'true'}
    - fail: {msg: broken}
",
    );
    let ended = fleet.run(&["deploy", "job.yml", "--strict"]);
    assert_eq!(ended.status, Some(4), "{ended}");
    assert_eq!(ended.stderr.matches("error: nobody").count(), 2, "{ended}");
    let ended = fleet.run(&["deploy", "job.yml"]);
    assert_eq!(ended.status, Some(21), "{ended}");
    assert!(
        ended.stdout.contains("command in the background"),
        "{ended}"
    );
}

#[test]
fn strict_refuses_what_nobody_can_undo_before_any_host_is_touched() {
    let fleet = Fleet::new();
    fleet.file(
        "strict.yml",
        "
- hosts: app
  gather_facts: false
  tasks:
    - copy: {dest: ~/a, content: a}
    - command: touch opaque
    - command: touch b
      args: {creates: b}
    - command: touch c
      vars: {backstay_undo: rm c}
  handlers:
    - name: Restart
      shell: touch d
",
    );
    let ended = fleet.run(&["deploy", "strict.yml", "--strict"]);
    assert_eq!(ended.status, Some(4), "{ended}");
    assert!(
        ended
            .stderr
            .starts_with("error: nobody can undo this `command`, and `--strict` refuses it\n"),
        "{ended}"
    );
    assert!(ended.stderr.contains("strict.yml:6:7\n"), "{ended}");
    assert_eq!(ended.stderr.matches("error: nobody").count(), 2, "{ended}");
    assert!(ended.stderr.contains("strict.yml:13:7"), "{ended}");
    assert!(fleet.trees().iter().all(BTreeMap::is_empty), "{ended}");
}

#[test]
fn a_plan_names_every_change_its_class_and_its_undo_and_changes_nothing() {
    let fleet = released();
    let ended = fleet.deploy("1", &["--check", "--diff", "-l", "web1"], 0);
    let plan = ended.stdout.split("\nPLAN ").nth(1).unwrap_or_default();
    assert!(
        plan.contains("web1\n  Make the directory\n    exact "),
        "{ended}"
    );
    assert!(
        plan.contains("  Render the configuration\n    exact "),
        "{ended}"
    );
    assert!(ended.last_line().starts_with("steps: "), "{ended}");
    assert!(fleet.tree("web1").is_empty(), "{ended}");
}

#[test]
fn a_failed_batch_is_undone_alone_where_each_batch_is_a_transaction() {
    let fleet = Fleet::new();
    fleet.file(
        "batches.yml",
        "
- hosts: app
  gather_facts: false
  serial: 1
  tasks:
    - copy: {dest: ~/a, content: a}
    - fail:
      when: inventory_hostname == 'web2'
",
    );
    let ended = fleet.run(&["deploy", "batches.yml", "--on-failure", "rollback-batch"]);
    assert_eq!(ended.status, Some(20), "{ended}");
    let files: Vec<usize> = fleet.trees().iter().map(BTreeMap::len).collect();
    assert_eq!(files, [1, 0, 0], "{ended}");
    let ended = fleet.run(&["deploy", "batches.yml"]);
    assert_eq!(ended.status, Some(20), "{ended}");
    let files: Vec<usize> = fleet.trees().iter().map(BTreeMap::len).collect();
    assert_eq!(files, [1, 0, 0], "{ended}");
    let ended = fleet.run(&["deploy", "batches.yml", "--on-failure", "stop"]);
    assert_eq!(ended.status, Some(2), "{ended}");
    let files: Vec<usize> = fleet.trees().iter().map(BTreeMap::len).collect();
    assert_eq!(files, [1, 1, 0], "{ended}");
}
