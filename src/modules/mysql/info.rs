//! `mysql_info`: what a server is, has and does.

use super::account::Account;
use super::connection::Server;
use super::mysql_arguments;
use super::rows::{Row, text};
use crate::machine::Machine;
use crate::modules::{Failure, ModuleResult, Outcome};
use crate::value::{Map, Value};

mysql_arguments! {
    /// Gather information about `MySQL` or `MariaDB` servers.
    struct MysqlInfoArgs for "community.mysql.mysql_info" {
        login_db: Option<String> {},
        /// Only these parts; those with `!` before them are left out.
        filter: Option<Vec<String>> {},
        /// `db_size` and `db_table_count` may be left out.
        exclude_fields: Option<Vec<String>> {},
        return_empty_dbs: bool { default: "false" },
    }
}

const PARTS: [&str; 10] = [
    "version",
    "databases",
    "settings",
    "global_status",
    "engines",
    "users",
    "users_info",
    "master_status",
    "slave_hosts",
    "slave_status",
];

/// Gathers the parts.
pub(crate) fn run_info(machine: &mut Machine, args: MysqlInfoArgs) -> ModuleResult {
    let login = args.login(args.login_db.as_deref());
    let file = machine.expand(&args.config_file);
    let mut server = Server::connect(machine, &login).map_err(|failure| {
        Failure::new(format!(
            "unable to connect to database using {} {}, check login_user and login_password are \
             correct or {} has the credentials. Exception message: {}",
            env!("CARGO_PKG_NAME"),
            env!("CARGO_PKG_VERSION"),
            file.display(),
            failure.msg
        ))
    })?;
    let mut outcome = Outcome::unchanged();
    let parts = parts(args.filter.as_deref().unwrap_or_default(), &mut outcome);
    outcome = outcome
        .with(
            "server_engine",
            if server.is_mariadb() {
                "MariaDB"
            } else {
                "MySQL"
            },
        )
        .with("connector_name", env!("CARGO_PKG_NAME"))
        .with("connector_version", env!("CARGO_PKG_VERSION"));
    for part in parts {
        let value = gather(&mut server, &args, part, &mut outcome)?;
        outcome = outcome.with(part, value);
    }
    Ok(outcome)
}

fn parts(filter: &[String], outcome: &mut Outcome) -> Vec<&'static str> {
    let mut only = Vec::new();
    let mut without = Vec::new();
    for name in filter.iter().map(|name| name.trim()) {
        let bare = name.trim_start_matches('!');
        if !PARTS.contains(&bare) {
            outcome
                .warnings
                .push(format!("filter element: {name} is not allowable, ignored"));
        } else if name.starts_with('!') {
            without.push(bare);
        } else {
            only.push(bare);
        }
    }
    let is_wanted = |part: &&str| {
        if only.is_empty() {
            !without.contains(part)
        } else {
            only.contains(part)
        }
    };
    PARTS.into_iter().filter(is_wanted).collect()
}

fn gather(
    server: &mut Server<'_>,
    args: &MysqlInfoArgs,
    part: &str,
    outcome: &mut Outcome,
) -> Result<Value, Failure> {
    let ask = |server: &mut Server<'_>, query: &str| {
        server.typed_rows(query).map_err(|failure| {
            Failure::new(format!("Cannot execute SQL '{query}': {}", failure.msg))
        })
    };
    let is_mariadb = server.is_mariadb();
    let new = if is_mariadb {
        server.is_at_least(&[10, 5, 1])
    } else {
        server.is_at_least(&[8, 0, 22])
    };
    Ok(match part {
        "version" => version(&server.version.clone()),
        "databases" => databases(server, args)?,
        "settings" => pairs(ask(server, "SHOW GLOBAL VARIABLES")?),
        "global_status" => pairs(ask(server, "SHOW GLOBAL STATUS")?),
        "engines" => {
            let rows = ask(server, "SHOW ENGINES")?.into_iter();
            rows.map(|row| {
                (
                    text(&row, "Engine").into(),
                    without(row, &["Engine"], false),
                )
            })
            .collect::<Map>()
            .into()
        }
        "users" => {
            let mut users = Map::new();
            for row in ask(server, "SELECT * FROM mysql.user")? {
                let (host, user) = (text(&row, "Host"), text(&row, "User"));
                nest(
                    &mut users,
                    &[&host, &user],
                    without(row, &["Host", "User"], true),
                );
            }
            users.into()
        }
        "users_info" => users_info(server, outcome)?,
        "master_status" => {
            let query = match (is_mariadb, server.is_at_least(&[10, 5, 2])) {
                (true, true) => "SHOW BINLOG STATUS",
                (false, _) if server.is_at_least(&[8, 2, 0]) => "SHOW BINARY LOG STATUS",
                _ => "SHOW MASTER STATUS",
            };
            let rows = ask(server, query)?;
            rows.into_iter()
                .next_back()
                .map_or_else(|| Map::new().into(), |row| without(row, &[], true))
        }
        "slave_hosts" => {
            let query = match (is_mariadb, new) {
                (true, true) => "SHOW REPLICA HOSTS",
                (false, true) => "SHOW REPLICAS",
                _ => "SHOW SLAVE HOSTS",
            };
            let rows = ask(server, query)?.into_iter();
            rows.map(|row| {
                (
                    text(&row, "Server_id").into(),
                    without(row, &["Server_id"], true),
                )
            })
            .collect::<Map>()
            .into()
        }
        _ => {
            let query = if new {
                "SHOW REPLICA STATUS"
            } else {
                "SHOW SLAVE STATUS"
            };
            let mut all = Map::new();
            for row in ask(server, query)? {
                let either = |what: &str| {
                    let old = text(&row, &format!("Master_{what}"));
                    if old.is_empty() {
                        text(&row, &format!("Source_{what}"))
                    } else {
                        old
                    }
                };
                let keys = [either("Host"), either("Port"), either("User")];
                let names = [
                    "Master_Host",
                    "Master_Port",
                    "Master_User",
                    "Source_Host",
                    "Source_Port",
                    "Source_User",
                ];
                let keys = [keys[0].as_str(), &keys[1], &keys[2]];
                nest(&mut all, &keys, without(row, &names, true));
            }
            all.into()
        }
    })
}

/// Puts a value into dictionaries in dictionaries.
fn nest(map: &mut Map, keys: &[&str], value: Value) {
    match keys {
        [] => {}
        [last] => {
            map.insert((*last).into(), value);
        }
        [first, rest @ ..] => {
            let mut inner = map
                .get(*first)
                .and_then(Value::as_map)
                .cloned()
                .unwrap_or_default();
            nest(&mut inner, rest, value);
            map.insert((*first).into(), inner.into());
        }
    }
}

/// Returns the row without these columns; its texts that are whole numbers may be converted.
fn without(row: Row, names: &[&str], converts: bool) -> Value {
    row.into_iter()
        .filter(|(name, _)| !names.iter().any(|it| name.as_str() == Some(it)))
        .map(|(name, value)| (name, if converts { converted(value) } else { value }))
        .collect::<Map>()
        .into()
}

/// Reads a whole number where a text is one.
fn converted(value: Value) -> Value {
    match &value {
        Value::String(text) => text
            .trim()
            .parse::<i64>()
            .map_or(value.clone(), Value::from),
        _ => value,
    }
}

fn pairs(rows: Vec<Row>) -> Value {
    let pair = |row: Row| {
        let name = row.get("Variable_name").cloned().unwrap_or_default();
        (
            name,
            converted(row.get("Value").cloned().unwrap_or_default()),
        )
    };
    rows.into_iter().map(pair).collect::<Map>().into()
}

fn version(full: &str) -> Value {
    let mut numbers = full.splitn(3, '.');
    let mut next = || numbers.next().unwrap_or_default();
    let number = |text: &str| text.parse::<i64>().unwrap_or_default();
    let (major, minor, rest) = (next(), next(), next());
    let (release, suffix) = rest.split_once('-').unwrap_or((rest, ""));
    Value::map([
        ("major", Value::from(number(major))),
        ("minor", number(minor).into()),
        ("release", number(release).into()),
        ("suffix", suffix.into()),
        ("full", full.into()),
    ])
}

fn databases(server: &mut Server<'_>, args: &MysqlInfoArgs) -> Result<Value, Failure> {
    let excluded = args.exclude_fields.as_deref().unwrap_or_default();
    let has = |field: &str| !excluded.iter().any(|name| name.trim() == field);
    let (sizes, counts) = (has("db_size"), has("db_table_count"));
    let rows = server.typed_rows(
        "SELECT table_schema AS name, CAST(COALESCE(SUM(data_length + index_length), 0) AS \
         UNSIGNED) AS size, COUNT(table_name) AS tables FROM information_schema.TABLES GROUP BY \
         table_schema",
    )?;
    let mut all = Map::new();
    let told = |row: Option<&Row>| {
        let mut map = Map::new();
        for (is_wanted, name) in [(sizes, "size"), (counts, "tables")] {
            if is_wanted {
                let value = row.and_then(|row| row.get(name)).cloned();
                map.insert(name.into(), value.unwrap_or_else(|| 0.into()));
            }
        }
        Value::from(map)
    };
    for row in &rows {
        all.insert(text(row, "name").into(), told(Some(row)));
    }
    if args.return_empty_dbs {
        for row in server.rows("SHOW DATABASES")? {
            let name = Value::from(text(&row, "Database"));
            all.entry(name).or_insert_with(|| told(None));
        }
    }
    Ok(all.into())
}

fn users_info(server: &mut Server<'_>, outcome: &mut Outcome) -> Result<Value, Failure> {
    let rows = server.typed_rows("SELECT * FROM mysql.user")?;
    let mut all = Vec::new();
    for row in rows {
        let (user, host) = (text(&row, "User"), text(&row, "Host"));
        let is_role = text(&row, "is_role") == "Y";
        let mut account = Account::looked_at(server, &user, &host, is_role);
        let privileges = account.privileges()?;
        if privileges.is_empty() {
            let warning = format!("No privileges found for {user} on host {host}");
            outcome.warnings.push(warning);
            continue;
        }
        let mut texts: Vec<String> = privileges
            .iter()
            .filter(|(_, list)| !list.iter().any(|one| one == "PROXY"))
            .map(|(object, list)| format!("{}:{}", object.replace(['`', '\''], ""), list.join(",")))
            .collect();
        if texts.len() > 1 {
            texts.retain(|text| text != "*.*:USAGE");
        }
        let mut map = Map::new();
        let mut put = |name: &str, value: Value| {
            map.insert(name.into(), value);
        };
        put("name", user.as_str().into());
        put("host", host.as_str().into());
        put("priv", texts.join("/").into());
        let limits: Map = [
            ("MAX_QUERIES_PER_HOUR", "max_questions"),
            ("MAX_UPDATES_PER_HOUR", "max_updates"),
            ("MAX_CONNECTIONS_PER_HOUR", "max_connections"),
            ("MAX_USER_CONNECTIONS", "max_user_connections"),
            ("MAX_STATEMENT_TIME", "max_statement_time"),
        ]
        .into_iter()
        .filter_map(|(name, column)| {
            let value = row.get(column)?.clone();
            let is_set = value
                .to_string()
                .parse::<f64>()
                .is_ok_and(|number| number > 0.0);
            is_set.then(|| (name.into(), value))
        })
        .collect();
        if !limits.is_empty() {
            put("resource_limits", limits.into());
        }
        if let Some(requires) = account.requires()? {
            put("tls_requires", requires.told());
        }
        put("plugin", text(&row, "plugin").into());
        let auth = text(&row, "authentication_string");
        put("plugin_auth_string", auth.as_str().into());
        put("plugin_hash_string", auth.into());
        if text(&row, "is_role") == "N" {
            put("locked", account.is_locked()?.into());
        }
        all.push(Value::from(map));
    }
    Ok(Value::list(all))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::modules::mysql::testing::Daemon;

    const NAME: &str = "community.mysql.mysql_info";

    #[test]
    fn each_part_is_told_on_its_own() {
        let Some(daemon) = Daemon::start() else {
            return;
        };
        daemon.sql("CREATE DATABASE empty; CREATE USER u@'%' IDENTIFIED BY 'geheim' REQUIRE SSL WITH MAX_USER_CONNECTIONS 3; GRANT SELECT ON empty.* TO u@'%'");
        let result = daemon.run(NAME, r#""filter": ["databases", "fun"], "return_empty_dbs": true, "exclude_fields": ["db_size"]"#);
        assert!(result.contains(r#""empty":{"tables":0}"#), "{result}");
        assert!(
            result.contains("filter element: fun is not allowable, ignored"),
            "{result}"
        );
        assert!(
            result.starts_with(r#"{"changed":false,"server_engine":"MariaDB""#),
            "{result}"
        );
        let result = daemon.run(NAME, r#""filter": "users_info""#);
        assert!(
            result.contains(
                r#"{"name":"u","host":"%","priv":"empty.*:SELECT","resource_limits":{"MAX_USER_CONNECTIONS":3},"tls_requires":{"SSL":null},"plugin":"mysql_native_password","plugin_auth_string":"*462366917EEDD1970A48E87D8EF59EB67D2CA26F","plugin_hash_string":"*462366917EEDD1970A48E87D8EF59EB67D2CA26F","locked":false}"#
            ),
            "{result}"
        );
        let result = daemon.run(NAME, r#""filter": ["!users", "!users_info"]"#);
        for part in [
            r#""max_connections":151"#,
            r#""Threads_connected":"#,
            r#""InnoDB":{"Support":"DEFAULT""#,
            r#""master_status":{"File":"#,
            r#""slave_hosts":{},"slave_status":{}"#,
        ] {
            assert!(result.contains(part), "{part}: {result}");
        }
        assert!(!result.contains(r#""users""#));
    }

    #[test]
    fn a_version_is_taken_apart() {
        let told = serde_json::to_string(&version("10.11.19-MariaDB-0+deb12u1")).unwrap();
        assert_eq!(
            told,
            r#"{"major":10,"minor":11,"release":19,"suffix":"MariaDB-0+deb12u1","full":"10.11.19-MariaDB-0+deb12u1"}"#
        );
    }
}
