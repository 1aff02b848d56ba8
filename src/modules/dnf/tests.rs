//! Fakes of dnf and RPM: no host with either is at hand.

use crate::modules::fake::Programs;

/// A database of one file a package; `vim` and `nano` are on offer, `vim` twice.
const RPM: &str = r#"
mkdir -p "$here/db"; cd "$here/db"
for last; do :; done
case "$*" in
  "-qa --qf"*) cat -- * 2>/dev/null; true ;;
  "-qa "*) ls $last 2>/dev/null ;;
  *) ls "$last" >/dev/null 2>&1 || grep -q "^$last" * 2>/dev/null ;;
esac
"#;
const DNF: &str = r#"
mkdir -p "$here/db"; cd "$here/db"
for last; do :; done
case "$*" in
  *repoquery*--available*) echo 'vim|2|8.0|1|noarch|base' ;;
  *repolist*) printf 'repo id   repo name\nbase      Base\n' ;;
  *nothere*) echo 'No match for argument: nothere'; echo 'Error: Unable to find a match: nothere' >&2; exit 1 ;;
  *--assumeno*upgrade*) [ -e ../new ] && { echo 'Operation aborted.'; exit 1; }; echo 'Nothing to do.' ;;
  *--assumeno*) echo 'Operation aborted.'; exit 1 ;;
  *upgrade*) [ -e ../new ] && { rm ../new; echo 'vim|2|9.0|1|noarch|@System' >vim; }; exit 0 ;;
  *install*) echo "$last|2|8.0|1|noarch|@System" >"$last" ;;
  *remove*) rm -f "$last" ;;
esac
"#;

fn host() -> Programs {
    Programs::new([("rpm", RPM), ("dnf", DNF)])
}

#[test]
fn a_package_is_installed_once_upgraded_and_removed() {
    let host = host();
    let present = r#"{"name": "vim", "state": "present"}"#;
    assert_eq!(
        host.predict("dnf", present),
        r#"{"changed":true,"msg":"Check mode: No changes made, but would have if not in check mode","results":[],"rc":0}"#
    );
    assert_eq!(
        host.run("dnf", present),
        r#"{"changed":true,"msg":"","results":["Installed: vim-2:8.0-1.noarch"],"rc":0}"#
    );
    let nothing = r#"{"changed":false,"msg":"Nothing to do","results":[],"rc":0}"#;
    assert_eq!(host.run("dnf", present), nothing);
    assert_eq!(host.predict("dnf", present), nothing);
    let latest = r#"{"name": "vim", "state": "latest"}"#;
    assert_eq!(host.predict("dnf", latest), nothing);
    assert_eq!(host.run("dnf", latest), nothing);
    host.put("new", "");
    assert!(host.predict("dnf", latest).contains(r#""changed":true"#));
    assert_eq!(
        host.run("dnf", latest),
        r#"{"changed":true,"msg":"","results":["Installed: vim-2:9.0-1.noarch","Removed: vim-2:8.0-1.noarch"],"rc":0}"#
    );
    let absent = r#"{"name": "vim", "state": "absent"}"#;
    assert_eq!(
        host.run("dnf", absent),
        r#"{"changed":true,"msg":"","results":["Removed: vim-2:9.0-1.noarch"],"rc":0}"#
    );
    assert_eq!(
        host.run("dnf", absent),
        r#"{"changed":false,"msg":"Nothing to do","results":["no package matched: vim"],"rc":0}"#
    );
}

#[test]
fn an_undo_installs_what_is_gone_and_removes_what_is_new() {
    let host = host();
    host.run("dnf", r#"{"name": "nano"}"#);
    host.run("dnf", r#"{"name": "vim"}"#);
    let undo = host.undo_steps();
    assert_eq!(undo.len(), 2);
    assert!(undo[0].starts_with("/bin/sh -c "));
    assert!(undo[1].ends_with(
        "dnf rpm %{NAME}|%{EPOCHNUM}|%{VERSION}|%{RELEASE}|%{ARCH}|@System\\n nano|2|8.0|1|noarch"
    ));
}

#[test]
fn an_older_version_is_installed_only_if_that_is_allowed() {
    let host = host();
    host.run("dnf", r#"{"name": "vim"}"#);
    host.put("new", "");
    host.run("dnf", r#"{"name": "vim", "state": "latest"}"#);
    let older = r#"{"name": "vim-8.0"}"#;
    assert!(host.run("dnf", older).contains("Nothing to do"));
    let allowed = r#"{"name": "vim-8.0", "allow_downgrade": true}"#;
    assert!(host.run("dnf", allowed).contains(r#""changed":true"#));
}

#[test]
fn what_nobody_offers_is_named() {
    let result = host().run("dnf", r#"{"name": "nothere"}"#);
    assert_eq!(
        result,
        r#"{"failed":true,"changed":false,"msg":"Failed to install some of the specified packages","failures":["No package nothere available."],"results":[],"rc":1}"#
    );
}

#[test]
fn options_become_words_of_the_program() {
    let host = host();
    host.run(
        "dnf",
        r#"{"name": "@web", "enablerepo": "a,b", "exclude": "x", "disable_gpg_check": true,
            "sslverify": false, "install_weak_deps": false, "nobest": true, "skip_broken": true,
            "allowerasing": true, "cacheonly": true, "releasever": "9"}"#,
    );
    let calls = host.calls();
    let call = calls
        .iter()
        .find(|call| call.starts_with("dnf -y"))
        .unwrap();
    assert_eq!(
        call,
        "dnf -y install --enablerepo=a --enablerepo=b --exclude=x --releasever=9 \
         --setopt=sslverify=0 --setopt=install_weak_deps=0 --setopt=best=0 --nogpgcheck \
         --skip-broken -C --allowerasing @web"
    );
}

#[test]
fn lists_are_told_and_wrong_calls_refused() {
    let host = host();
    assert_eq!(
        host.run("dnf", r#"{"list": "repos"}"#),
        r#"{"changed":false,"msg":"","results":[{"repoid":"base","state":"enabled"}]}"#
    );
    assert_eq!(
        host.run("dnf", r#"{"list": "available"}"#),
        r#"{"changed":false,"msg":"","results":[{"name":"vim","arch":"noarch","epoch":"2","release":"1","version":"8.0","repo":"base","envra":"2:vim-8.0-1.noarch","nevra":"2:vim-8.0-1.noarch","yumstate":"available"}]}"#
    );
    for (options, msg) in [
        (
            r#"{"autoremove": true, "state": "present"}"#,
            "Autoremove should be used alone or with state=absent",
        ),
        (
            r#"{"name": "/tmp/a.rpm", "state": "absent"}"#,
            "Cannot remove paths -- please specify package name.",
        ),
        (
            "{}",
            "one of the following is required: name, list, update_cache, autoremove",
        ),
    ] {
        assert!(host.run("dnf", options).contains(msg), "{options}");
    }
    assert_eq!(
        host.run("dnf", r#"{"update_cache": true}"#),
        r#"{"changed":false,"msg":"Cache updated","results":[],"rc":0}"#
    );
}
