//! What `mysql_user` does to a real server.

use crate::modules::mysql::testing::Daemon;

const NAME: &str = "community.mysql.mysql_user";

fn prepared() -> Option<Daemon> {
    let daemon = Daemon::start()?;
    daemon.sql("CREATE DATABASE shop; CREATE TABLE shop.t (a INT, b INT);");
    Some(daemon)
}

/// Returns what the server says of the account.
fn account(daemon: &Daemon) -> String {
    daemon.sql("SHOW CREATE USER u@'%'; SHOW GRANTS FOR u@'%'")
}

const FIRST: &str = r#""column_case_sensitive": true, "name": "u", "host": "%", "password": "geheim", "priv": "shop.*:SELECT,INSERT/shop.t:UPDATE (b, a)""#;

#[test]
fn a_user_is_made_once_changed_locked_and_dropped() {
    let Some(daemon) = prepared() else {
        return;
    };
    let point = daemon.after_now();
    assert_eq!(
        daemon.predict(NAME, FIRST),
        r#"{"changed":true,"user":"u","msg":"User added","password_changed":null,"attributes":null}"#
    );
    assert_eq!(
        daemon.run(NAME, FIRST),
        r#"{"changed":true,"user":"u","msg":"User added","password_changed":true,"attributes":null}"#
    );
    let same = r#"{"changed":false,"user":"u","msg":"User unchanged","password_changed":false,"attributes":{}}"#;
    assert_eq!(daemon.run(NAME, FIRST), same);
    assert_eq!(daemon.predict(NAME, FIRST), same);
    let other = FIRST.replace("geheim", "anders");
    assert!(
        daemon
            .run(NAME, &other)
            .contains(r#""msg":"Password updated (new style)","password_changed":true"#)
    );
    assert_eq!(daemon.run(NAME, &other), same);
    let on_create = format!(r#"{FIRST}, "update_password": "on_create""#);
    assert_eq!(daemon.run(NAME, &on_create), same);
    let locked = format!(
        r#"{other}, "locked": true, "tls_requires": {{"SSL": null}}, "resource_limits": {{"MAX_USER_CONNECTIONS": 3}}, "password_expire": "interval", "password_expire_interval": 9"#
    );
    assert!(daemon.predict(NAME, &locked).contains(r#""changed":true"#));
    assert!(
        daemon
            .run(NAME, &locked)
            .contains(r#""msg":"TLS requires updated""#)
    );
    assert_eq!(daemon.run(NAME, &locked), same);
    let shown = account(&daemon);
    for part in [
        "REQUIRE SSL",
        "MAX_USER_CONNECTIONS 3",
        "ACCOUNT LOCK",
        "EXPIRE INTERVAL 9 DAY",
    ] {
        assert!(shown.contains(part), "{shown}");
    }
    let gone = r#""column_case_sensitive": true, "name": "u", "host": "%", "state": "absent""#;
    let deleted = r#"{"changed":true,"user":"u","msg":"User deleted","password_changed":false,"attributes":null}"#;
    assert_eq!(daemon.predict(NAME, gone), deleted);
    assert_eq!(daemon.run(NAME, gone), deleted);
    assert!(
        daemon
            .run(NAME, gone)
            .contains(r#""changed":false,"user":"u","msg":"User doesn't exist""#)
    );
    daemon.undo_since(point);
    assert!(daemon.predict(NAME, FIRST).contains("User added"));
}

#[test]
fn privileges_are_replaced_appended_and_subtracted() {
    let Some(daemon) = prepared() else {
        return;
    };
    daemon.run(NAME, FIRST);
    let with = |privileges: &str, how: &str| {
        let options = format!(
            r#""column_case_sensitive": true, "name": "u", "host": "%", "priv": {privileges}{how}"#
        );
        let predicted = daemon.predict(NAME, &options);
        let result = daemon.run(NAME, &options);
        assert_eq!(predicted, result);
        let again = daemon.run(NAME, &options);
        assert!(again.contains(r#""changed":false"#), "{again}");
        result
    };
    let result = with(r#"{"shop.*": "DELETE,GRANT"}"#, r#", "append_privs": true"#);
    assert!(
        result.contains("Privileges updated: granted ['DELETE', 'GRANT'], revoked []"),
        "{result}"
    );
    let result = with(r#""shop.*:INSERT""#, r#", "subtract_privs": true"#);
    assert!(
        result.contains("granted [], revoked ['INSERT']"),
        "{result}"
    );
    let result = with(r#""shop.*:ALL""#, "");
    assert!(
        result.contains("granted ['ALL'], revoked ['GRANT']"),
        "{result}"
    );
    assert!(!account(&daemon).contains("shop`.`t`"));
    let bad = r#""column_case_sensitive": true, "name": "u", "host": "%", "priv": "shop.*:FLY""#;
    let result = daemon.run(NAME, bad);
    assert!(
        result.contains("Error granting privileges, invalid priv string: FLY"),
        "{result}"
    );
}

#[test]
fn an_undo_makes_the_account_what_it_was() {
    let Some(daemon) = prepared() else {
        return;
    };
    daemon.run(NAME, FIRST);
    daemon.run(NAME, &format!(r#"{FIRST}, "locked": true, "tls_requires": {{"SSL": null}}, "resource_limits": {{"MAX_USER_CONNECTIONS": 3}}"#));
    let before = account(&daemon);
    let point = daemon.after_now();
    daemon.run(NAME, r#""column_case_sensitive": true, "name": "u", "host": "%", "password": "anders", "priv": "*.*:ALL,GRANT", "tls_requires": {"SUBJECT": "/CN=x"}, "resource_limits": {"MAX_QUERIES_PER_HOUR": 9}, "locked": false, "password_expire": "never""#);
    assert_ne!(account(&daemon), before);
    daemon.undo_since(point);
    assert_eq!(account(&daemon), before);
    let point = daemon.after_now();
    daemon.run(
        NAME,
        r#""column_case_sensitive": true, "name": "u", "host_all": true, "state": "absent""#,
    );
    daemon.undo_since(point);
    assert_eq!(account(&daemon), before);
}

#[test]
fn plugins_and_hashes_are_taken_as_they_are() {
    let Some(daemon) = prepared() else {
        return;
    };
    let plugin =
        r#""column_case_sensitive": true, "name": "u", "host": "%", "plugin": "unix_socket""#;
    assert!(daemon.run(NAME, plugin).contains("User added"));
    assert!(daemon.run(NAME, plugin).contains("User unchanged"));
    let hash = r#""column_case_sensitive": true, "name": "u", "host": "%", "password": "*1CDEA2211A208728DBBCD82CF134C371C86E454E", "encrypted": true"#;
    assert!(
        daemon
            .run(NAME, hash)
            .contains("Password updated (new style)")
    );
    assert!(daemon.run(NAME, hash).contains("User unchanged"));
    let bad = hash.replace("*1CDE", "1CDE");
    assert!(
        daemon
            .run(NAME, &bad)
            .contains("does not appear to be a valid hash")
    );
    let more = r#""column_case_sensitive": true, "name": "u", "host": "10.%", "update_password": "on_new_username""#;
    assert!(
        daemon
            .run(NAME, more)
            .contains(r#""msg":"User added","password_changed":false"#)
    );
    assert!(
        daemon
            .sql("SHOW CREATE USER u@'10.%'")
            .contains("*1CDEA2211A208728DBBCD82CF134C371C86E454E")
    );
}

#[test]
fn who_may_not_log_in_is_told_so() {
    let Some(daemon) = Daemon::start() else {
        return;
    };
    let result = daemon.run(
        NAME,
        r#""name": "u", "login_user": "who", "login_password": "x", "config_file": "/nowhere""#,
    );
    assert_eq!(
        result,
        r#"{"failed":true,"changed":false,"msg":"unable to connect to database, check login_user and login_password are correct or /nowhere has the credentials. Exception message: (1045, \"Access denied for user 'who'@'localhost' (using password: YES)\")"}"#
    );
}
