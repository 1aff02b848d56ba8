//! A deploy that failed names its cause: on standard error, in the log of GitHub Actions, in its
//! summary, and afterwards in the status.

use std::fs;

use crate::deploy::{Ended, Fleet};

const BROKEN: &str = "
- hosts: app
  gather_facts: false
  tasks:
    - copy: {dest: ~/a, content: a}
    - name: Ask the application
      assert:
        that: false
        fail_msg: 'a.tar.gz is not what a.tar.gz.sha256 says'
      when: inventory_hostname == 'web2'
";

const LINE: &str = "diagnosis: checksum: web2, task `Ask the application`: a.tar.gz is not what \
                    a.tar.gz.sha256 says; build and publish the artifact again, then compare its \
                    sha256; see docs/runbooks/deploy-failed.md#checksum\n";

#[test]
fn a_failed_deploy_names_its_cause_on_standard_error_and_a_play_does_not() {
    let fleet = Fleet::new();
    fleet.file("broken.yml", BROKEN);
    let ended = fleet.run(&["deploy", "broken.yml"]);
    assert_eq!(ended.status, Some(20), "{ended}");
    assert_eq!(ended.stderr, LINE, "{ended}");
    let status = fleet.run(&["status"]);
    assert!(
        status.stdout.contains("      diagnosis: checksum: web2"),
        "{status}"
    );
    let ended = fleet.run(&["play", "broken.yml"]);
    assert_eq!((ended.status, &*ended.stderr), (Some(2), ""), "{ended}");
}

#[test]
fn in_github_actions_a_deploy_annotates_the_task_and_writes_the_summary() {
    let fleet = Fleet::new();
    fleet.file("broken.yml", BROKEN);
    let summary = fleet.path("summary");
    let deploy = |more: &[&str]| {
        let words = [&["deploy", "broken.yml"], more].concat();
        let mut command = fleet.command(&words);
        command
            .env("GITHUB_ACTIONS", "true")
            .env("GITHUB_STEP_SUMMARY", &summary);
        Ended::of(command.output().unwrap())
    };
    let ended = deploy(&[]);
    assert_eq!(ended.status, Some(20), "{ended}");
    let annotation = "::error file=broken.yml,line=6,col=7,title=web2%3A Ask the \
                      application::checksum: a.tar.gz is not what a.tar.gz.sha256 says; ";
    assert!(ended.stdout.contains(annotation), "{ended}");
    assert!(
        ended
            .stdout
            .contains("::group::TASK [Ask the application]\n"),
        "{ended}"
    );
    let told = fs::read_to_string(&summary).unwrap();
    assert!(
        told.starts_with("### deploy of broken.yml\n\n**rolled back: all 3 hosts are as before"),
        "{told}"
    );
    assert_eq!(told.matches("| rolled back | ").count(), 3, "{told}");

    let ended = deploy(&["--output", "text"]);
    assert!(!ended.stdout.contains("::"), "{ended}");
}

#[test]
fn in_github_actions_an_error_of_the_playbook_is_annotated_at_its_place() {
    let fleet = Fleet::new();
    fleet.file(
        "wrong.yml",
        "- hosts: app\n  tasks:\n    - copi: {dest: /a}\n",
    );
    let mut command = fleet.command(&["deploy", "wrong.yml"]);
    let ended = Ended::of(command.env("GITHUB_ACTIONS", "true").output().unwrap());
    assert_eq!(ended.status, Some(4), "{ended}");
    assert!(
        ended
            .stdout
            .starts_with("::error file=wrong.yml,line=3,col=7,title=playbook::playbook: "),
        "{ended}"
    );
}
