//! `mysql_replication`: what a server copies from where.

use super::connection::{Server, literal};
use super::mysql_arguments;
use crate::machine::Machine;
use crate::modules::foresight::skipped_in_check_mode;
use crate::modules::{Failure, ModuleResult, Outcome};
use crate::value::{Map, Value};

mysql_arguments! {
    /// Manage `MySQL` or `MariaDB` replication.
    struct MysqlReplicationArgs for "community.mysql.mysql_replication" {
        mode: String {
            default: "getreplica",
            choices: [
                "getprimary", "getreplica", "changeprimary", "stopreplica", "startreplica",
                "resetprimary", "resetreplica", "resetreplicaall", "changereplication",
            ],
        },
        primary_auto_position: bool { default: "false", aliases: ["master_auto_position"] },
        primary_host: Option<String> { aliases: ["master_host"] },
        primary_user: Option<String> { aliases: ["master_user"] },
        primary_password: Option<String> { no_log, aliases: ["master_password"] },
        primary_port: Option<i64> { aliases: ["master_port"] },
        primary_connect_retry: Option<i64> { aliases: ["master_connect_retry"] },
        primary_log_file: Option<String> { aliases: ["master_log_file"] },
        primary_log_pos: Option<i64> { aliases: ["master_log_pos"] },
        relay_log_file: Option<String> {},
        relay_log_pos: Option<i64> {},
        primary_ssl: Option<bool> { aliases: ["master_ssl"] },
        primary_ssl_ca: Option<String> { aliases: ["master_ssl_ca"] },
        primary_ssl_capath: Option<String> { aliases: ["master_ssl_capath"] },
        primary_ssl_cert: Option<String> { aliases: ["master_ssl_cert"] },
        primary_ssl_key: Option<String> { aliases: ["master_ssl_key"] },
        primary_ssl_cipher: Option<String> { aliases: ["master_ssl_cipher"] },
        primary_ssl_verify_server_cert: Option<bool> {},
        primary_use_gtid: Option<String> {
            choices: ["current_pos", "replica_pos", "disabled"],
            aliases: ["master_use_gtid"],
        },
        primary_delay: Option<i64> { aliases: ["master_delay"] },
        /// The connection's name, of `MariaDB`.
        connection_name: Option<String> {},
        /// The channel, of `MySQL`.
        channel: Option<String> {},
        /// Fail when starting, stopping or resetting fails.
        fail_on_error: bool { default: "false" },
    }
    mutually_exclusive [["connection_name", "channel"]]
}

/// Tells or changes the replication.
pub(crate) fn run_replication(machine: &mut Machine, args: MysqlReplicationArgs) -> ModuleResult {
    if let Some(skipped) = skipped_in_check_mode(machine, "community.mysql.mysql_replication") {
        return Ok(skipped);
    }
    let login = args.login(None);
    let mut server = super::database::connected(machine, &login)?;
    let words = Words::of(&server);
    let name = args
        .connection_name
        .as_deref()
        .filter(|name| !name.is_empty());
    let name = name
        .map(|name| format!(" {}", literal(name)))
        .unwrap_or_default();
    let channel = args
        .channel
        .as_deref()
        .filter(|channel| !channel.is_empty());
    let channel = channel
        .map(|channel| format!(" FOR CHANNEL {}", literal(channel)))
        .unwrap_or_default();
    let term = words.replica;
    let on_replica = |verb: &str, rest: &str| format!("{verb} {term}{name}{rest}{channel}");
    match args.mode.as_str() {
        "getprimary" => {
            let row = server.typed_rows(words.status)?.into_iter().next();
            let status = row.filter(|row| row.contains_key("File") && row.contains_key("Position"));
            Ok(told(
                status,
                "Is_Primary",
                "Server is not configured as mysql primary. Meaning: Binary logs are disabled",
            ))
        }
        "getreplica" => {
            let query = format!("SHOW {term}{name} STATUS{channel}");
            let row = server.typed_rows(&query)?.into_iter().next();
            let status = row.filter(|row| {
                row.contains_key("Slave_IO_Running") || row.contains_key("Replica_IO_Running")
            });
            Ok(told(
                status,
                "Is_Replica",
                "Server is not configured as mysql replica",
            ))
        }
        "changeprimary" | "changereplication" => {
            let is_new = args.mode == "changereplication" || words.source == "SOURCE";
            let source = if is_new { "SOURCE" } else { "MASTER" };
            let (settings, shown) = settings(&args, &words, source);
            let start = if is_new {
                format!("CHANGE REPLICATION SOURCE{name} TO ")
            } else {
                format!("CHANGE MASTER{name} TO ")
            };
            let write = |settings: &[String]| format!("{start}{}{channel}", settings.join(","));
            let (statement, shown) = (write(&settings), write(&shown));
            server
                .execute(&statement, &shown, None)
                .map_err(|failure| Failure::new(format!("{}. Query == {shown}", failure.msg)))?;
            Ok(Outcome::changed().with("queries", Value::list([shown])))
        }
        mode => {
            let (statement, back, done, not_done) = match mode {
                "startreplica" => (
                    on_replica("START", ""),
                    Some(on_replica("STOP", "")),
                    "Replica started ",
                    "Replica already started (Or cannot be started)",
                ),
                "stopreplica" => (
                    on_replica("STOP", ""),
                    Some(on_replica("START", "")),
                    "Replica stopped",
                    "Replica already stopped",
                ),
                "resetprimary" => (
                    words.reset.to_owned(),
                    None,
                    "Primary reset",
                    "Primary already reset",
                ),
                "resetreplica" => (
                    on_replica("RESET", ""),
                    None,
                    "Replica reset",
                    "Replica already reset",
                ),
                _ => (
                    on_replica("RESET", " ALL"),
                    None,
                    "Replica reset",
                    "Replica already reset",
                ),
            };
            let back = back.as_ref().map(std::slice::from_ref);
            let result = server.execute(&statement, &statement, back);
            if let Err(failure) = &result
                && args.fail_on_error
            {
                let words: Vec<_> = statement.split(' ').take(2).collect();
                return Err(Failure::new(format!(
                    "{} failed: {}",
                    words.join(" "),
                    failure.msg
                )));
            }
            Ok(Outcome::unchanged()
                .with_changed(result.is_ok())
                .msg(if result.is_ok() { done } else { not_done })
                .with("queries", Value::list([statement])))
        }
    }
}

fn told(status: Option<Map>, name: &str, none: &str) -> Outcome {
    let outcome = Outcome::unchanged().with("queries", Value::list::<Value>([]));
    match status {
        Some(status) => outcome.with_all(status).with(name, true),
        None => outcome.with(name, false).msg(none),
    }
}

/// The words of this server; they changed with the years.
struct Words {
    replica: &'static str,
    source: &'static str,
    status: &'static str,
    reset: &'static str,
}

impl Words {
    fn of(server: &Server<'_>) -> Self {
        let pick = |is_new: bool, new: &'static str, old: &'static str| {
            if is_new { new } else { old }
        };
        let at_least = |version: &[u32]| server.is_at_least(version);
        if server.is_mariadb() {
            Self {
                replica: pick(at_least(&[10, 5, 1]), "REPLICA", "SLAVE"),
                source: "MASTER",
                status: pick(
                    at_least(&[10, 5, 2]),
                    "SHOW BINLOG STATUS",
                    "SHOW MASTER STATUS",
                ),
                reset: "RESET MASTER",
            }
        } else {
            Self {
                replica: pick(at_least(&[8, 0, 22]), "REPLICA", "SLAVE"),
                source: pick(at_least(&[8, 0, 23]), "SOURCE", "MASTER"),
                status: pick(
                    at_least(&[8, 2, 0]),
                    "SHOW BINARY LOG STATUS",
                    "SHOW MASTER STATUS",
                ),
                reset: pick(
                    at_least(&[8, 4, 0]),
                    "RESET BINARY LOGS AND GTIDS",
                    "RESET MASTER",
                ),
            }
        }
    }
}

/// Writes the settings, and how they are shown.
fn settings(
    args: &MysqlReplicationArgs,
    words: &Words,
    source: &str,
) -> (Vec<String>, Vec<String>) {
    let mut all: Vec<(String, String)> = Vec::new();
    let mut push = |name: &str, value: Option<String>| {
        if let Some(value) = value {
            all.push((format!("{source}_{name}"), value));
        }
    };
    let text = |value: &Option<String>| value.as_deref().map(literal);
    let number = |value: Option<i64>| value.map(|value| value.to_string());
    let flag = |value: Option<bool>| value.map(|value| u8::from(value).to_string());
    push("HOST", text(&args.primary_host));
    push("USER", text(&args.primary_user));
    push("PASSWORD", text(&args.primary_password));
    push("PORT", number(args.primary_port));
    push("CONNECT_RETRY", number(args.primary_connect_retry));
    push("LOG_FILE", text(&args.primary_log_file));
    push("LOG_POS", number(args.primary_log_pos));
    push("DELAY", number(args.primary_delay));
    push("SSL", flag(args.primary_ssl));
    push("SSL_CA", text(&args.primary_ssl_ca));
    push("SSL_CAPATH", text(&args.primary_ssl_capath));
    push("SSL_CERT", text(&args.primary_ssl_cert));
    push("SSL_KEY", text(&args.primary_ssl_key));
    push("SSL_CIPHER", text(&args.primary_ssl_cipher));
    push(
        "SSL_VERIFY_SERVER_CERT",
        flag(args.primary_ssl_verify_server_cert),
    );
    push(
        "AUTO_POSITION",
        args.primary_auto_position.then(|| "1".into()),
    );
    all.extend(text(&args.relay_log_file).map(|value| ("RELAY_LOG_FILE".into(), value)));
    all.extend(number(args.relay_log_pos).map(|value| ("RELAY_LOG_POS".into(), value)));
    if let Some(gtid) = &args.primary_use_gtid {
        let value = match gtid.as_str() {
            "disabled" => "no",
            "replica_pos" if words.replica == "SLAVE" => "slave_pos",
            other => other,
        };
        // Only MariaDB knows it.
        all.push(("MASTER_USE_GTID".into(), value.into()));
    }
    let write = |is_shown: bool| {
        let line = |(name, value): &(String, String)| {
            if is_shown && name.ends_with("_PASSWORD") {
                format!("{name}='********'")
            } else {
                format!("{name}={value}")
            }
        };
        all.iter().map(line).collect()
    };
    (write(false), write(true))
}

#[cfg(test)]
mod tests {
    use crate::modules::mysql::testing::Daemon;

    const NAME: &str = "community.mysql.mysql_replication";

    #[test]
    fn a_replica_is_told_its_primary_started_stopped_and_reset() {
        let Some(daemon) = Daemon::start() else {
            return;
        };
        let run = |options: &str| daemon.run(NAME, options);
        let none = r#"{"changed":false,"queries":[],"Is_Replica":false,"msg":"Server is not configured as mysql replica"}"#;
        assert_eq!(run(r#""mode": "getreplica""#), none);
        let primary = run(r#""mode": "getprimary""#);
        assert!(primary.contains(r#""Is_Primary":true"#), "{primary}");
        assert_eq!(
            run(
                r#""mode": "changeprimary", "primary_host": "127.0.0.1", "primary_port": 1, "primary_user": "it's", "primary_password": "geheim", "primary_use_gtid": "disabled""#
            ),
            r#"{"changed":true,"queries":["CHANGE MASTER TO MASTER_HOST='127.0.0.1',MASTER_USER='it\\'s',MASTER_PASSWORD='********',MASTER_PORT=1,MASTER_USE_GTID=no"]}"#
        );
        let replica = run(r#""mode": "getreplica""#);
        for part in [
            r#""Is_Replica":true"#,
            r#""Master_Port":1"#,
            r#""Slave_SQL_Running":"No""#,
        ] {
            assert!(replica.contains(part), "{replica}");
        }
        assert_eq!(
            run(r#""mode": "startreplica""#),
            r#"{"changed":true,"msg":"Replica started ","queries":["START REPLICA"]}"#
        );
        assert!(run(r#""mode": "getreplica""#).contains(r#""Slave_SQL_Running":"Yes""#));
        daemon.undo_since(0);
        assert!(run(r#""mode": "getreplica""#).contains(r#""Slave_SQL_Running":"No""#));
        assert!(run(r#""mode": "resetreplicaall""#).contains(r#""msg":"Replica reset""#));
        assert_eq!(run(r#""mode": "getreplica""#), none);
        let refused = run(r#""mode": "startreplica", "fail_on_error": true"#);
        assert!(refused.contains("START REPLICA failed: (12"), "{refused}");
        assert!(
            run(r#""mode": "startreplica""#)
                .contains(r#""changed":false,"msg":"Replica already started"#)
        );
    }
}
