//! `mysql_db`: databases that are there or not, dumped, or filled from a dump.

use std::path::PathBuf;

use super::connection::{Config, Login, Server, identifier, literal};
use super::dump::{self, Dump};
use super::mysql_arguments;
use crate::machine::Machine;
use crate::modules::{Failure, ModuleResult, Outcome};
use crate::value::Value;

mysql_arguments! {
    /// Add or remove `MySQL` or `MariaDB` databases from a remote host.
    struct MysqlDbArgs for "community.mysql.mysql_db" {
        /// The databases, or `all` to dump and import.
        name: Vec<String> { required, aliases: ["db"] },
        encoding: String { default: "" },
        collation: String { default: "" },
        /// The file to dump into or import; `.gz`, `.bz2`, `.xz` and `.zst` are compressed.
        target: Option<PathBuf> {},
        state: String { default: "present", choices: ["absent", "dump", "import", "present"] },
        single_transaction: bool { default: "false" },
        quick: bool { default: "true" },
        /// `database.table` that a dump leaves out.
        ignore_tables: Vec<String> { default: "" },
        hex_blob: bool { default: "false" },
        /// Go on after errors.
        force: bool { default: "false" },
        /// Write the position in the binary log into the dump.
        master_data: i64 { default: "0", choices: ["0", "1", "2"] },
        skip_lock_tables: bool { default: "false" },
        /// More words for the program that dumps.
        dump_extra_args: Option<String> {},
        /// An import always goes through a shell.
        use_shell: bool { default: "false" },
        /// The shell reads the password as it is written.
        unsafe_login_password: bool { default: "false" },
        /// Read no other file of options than `config_file`.
        restrict_config_file: bool { default: "false" },
        /// Try root without a password first.
        check_implicit_admin: bool { default: "false" },
        /// The host and port of `config_file` are stronger than the options.
        config_overrides_defaults: bool { default: "false" },
        chdir: Option<PathBuf> {},
        /// A part of a pipe that fails is an error; it always is.
        pipefail: bool { default: "false" },
        sql_log_bin: bool { default: "true" },
    }
}

/// Brings the databases into the wanted state.
pub(crate) fn run_database(machine: &mut Machine, args: MysqlDbArgs) -> ModuleResult {
    let names: Vec<String> = args
        .name
        .iter()
        .map(|name| name.trim().to_owned())
        .collect();
    let shown = names.join(" ");
    let list = Value::list(names.iter().map(String::as_str));
    let outcome = Outcome::unchanged();
    if names.is_empty() {
        return Ok(outcome.with("db", list.clone()).with("db_list", list));
    }
    let outcome = outcome.with("db", shown).with("db_list", list);
    check(&args, &names)?;
    let mut login = args.login(None);
    login.config_overrides = args.config_overrides_defaults;
    let mut is_implicit = false;
    if args.check_implicit_admin {
        let implicit = Login {
            user: Some("root".into()),
            password: Some(String::new()),
            ..login.clone()
        };
        if Server::connect(machine, &implicit).is_ok() {
            is_implicit = true;
            login = implicit;
        }
    }
    let is_check = machine.is_check();
    let mut server = connected(machine, &login)?;
    let is_all = names == ["all"];
    let mut there = Vec::new();
    let mut missing = Vec::new();
    for name in names.iter().filter(|_| !is_all) {
        let query = format!(
            "SELECT SCHEMA_NAME FROM information_schema.SCHEMATA WHERE SCHEMA_NAME = {}",
            literal(name)
        );
        match server.row(&query)? {
            Some(_) => there.push(name.as_str()),
            None => missing.push(name.as_str()),
        }
    }
    if matches!(args.state.as_str(), "absent" | "present") && !args.sql_log_bin {
        server.set("SET SQL_LOG_BIN=0")?;
    }
    let mut executed: Vec<String> = Vec::new();
    let (changed, msg) = match args.state.as_str() {
        "absent" => {
            for name in &there {
                let statement = format!("DROP DATABASE {}", identifier(name));
                server
                    .execute(&statement, &statement, None)
                    .map_err(|why| said("deleting", &why))?;
                executed.push(statement);
            }
            (!there.is_empty(), None)
        }
        "present" => {
            create(&mut server, &args, &missing, &mut executed)?;
            (!missing.is_empty(), None)
        }
        "dump" if !missing.is_empty() => {
            return Err(Failure::new(format!(
                "Cannot dump database(s) '{}' - not found",
                missing.join(", ")
            )));
        }
        state => {
            let version = server.version.clone();
            let is_mariadb = server.is_mariadb();
            let is_new = !missing.is_empty();
            if state == "import" {
                create(&mut server, &args, &missing, &mut executed)?;
            }
            let file = machine.expand(&args.config_file);
            let dump = Dump {
                args: &args,
                names: &names,
                is_all,
                is_implicit,
                is_mariadb,
                version: &version,
                config_file: machine.exists(&file)?.then_some(file),
            };
            let (command, said) = if state == "dump" {
                dump::write(machine, &dump)?
            } else {
                dump::import(machine, &dump, is_new)?
            };
            executed.extend(command);
            (true, Some(said))
        }
    };
    let mut outcome = outcome.with_changed(changed);
    if is_check {
        return Ok(outcome);
    }
    if let Some(msg) = msg {
        outcome = outcome.msg(msg);
    }
    Ok(outcome.with("executed_commands", Value::list(executed)))
}

fn check(args: &MysqlDbArgs, names: &[String]) -> Result<(), Failure> {
    let refuse = |msg: String| Err(Failure::new(msg));
    if args.ignore_tables.iter().any(String::is_empty) {
        return refuse("Name of ignored table cannot be empty".into());
    }
    let moves = matches!(args.state.as_str(), "dump" | "import");
    if names.len() > 1 && args.state == "import" {
        return refuse("Multiple databases are not supported with state=import".into());
    }
    if moves && args.target.is_none() {
        return refuse(format!("with state={} target is required", args.state));
    }
    if !moves && names == ["all"] {
        return refuse(
            "name is not allowed to equal 'all' unless state equals import, or dump.".into(),
        );
    }
    Ok(())
}

/// Connects, and says which file of options was asked where that fails.
pub(super) fn connected<'m>(
    machine: &'m mut Machine,
    login: &Login,
) -> Result<Server<'m>, Failure> {
    let file = machine.expand(&login.config_file);
    let exists = machine.exists(&file)?;
    // A file that cannot be read is its own error.
    Config::read(machine, &file)?;
    Server::connect(machine, login).map_err(|failure| {
        let (file, why) = (file.display(), failure.msg);
        Failure::new(if exists {
            format!(
                "unable to connect to database, check login_user and login_password are correct or \
                 {file} has the credentials. Exception message: {why}"
            )
        } else {
            format!("unable to find {file}. Exception message: {why}")
        })
    })
}

fn create(
    server: &mut Server<'_>,
    args: &MysqlDbArgs,
    names: &[&str],
    executed: &mut Vec<String>,
) -> Result<(), Failure> {
    for name in names {
        let name = identifier(name);
        let mut statement = format!("CREATE DATABASE {name}");
        for (word, value) in [
            ("CHARACTER SET", &args.encoding),
            ("COLLATE", &args.collation),
        ] {
            if !value.is_empty() {
                statement += &format!(" {word} {}", literal(value));
            }
        }
        let back = [format!("DROP DATABASE IF EXISTS {name}")];
        server
            .execute(&statement, &statement, Some(&back))
            .map_err(|why| said("creating", &why))?;
        executed.push(statement);
    }
    Ok(())
}

fn said(doing: &str, why: &Failure) -> Failure {
    Failure::new(format!("error {doing} database: {}", why.msg))
}

#[cfg(test)]
mod tests {
    use crate::modules::mysql::testing::Daemon;

    const NAME: &str = "community.mysql.mysql_db";

    #[test]
    fn databases_are_made_once_dropped_and_undone() {
        let Some(daemon) = Daemon::start() else {
            return;
        };
        let options = r#""name": ["a1", "a`2"], "encoding": "utf8mb4", "collation": "utf8mb4_bin""#;
        assert_eq!(
            daemon.predict(NAME, options),
            r#"{"changed":true,"db":"a1 a`2","db_list":["a1","a`2"]}"#
        );
        assert_eq!(
            daemon.run(NAME, options),
            r#"{"changed":true,"db":"a1 a`2","db_list":["a1","a`2"],"executed_commands":["CREATE DATABASE `a1` CHARACTER SET 'utf8mb4' COLLATE 'utf8mb4_bin'","CREATE DATABASE `a``2` CHARACTER SET 'utf8mb4' COLLATE 'utf8mb4_bin'"]}"#
        );
        assert_eq!(
            daemon.run(NAME, options),
            r#"{"changed":false,"db":"a1 a`2","db_list":["a1","a`2"],"executed_commands":[]}"#
        );
        daemon.undo_since(0);
        assert!(daemon.predict(NAME, options).contains(r#""changed":true"#));
        daemon.run(NAME, options);
        let absent = r#""name": "a1", "state": "absent""#;
        assert!(daemon.predict(NAME, absent).contains(r#""changed":true"#));
        assert!(daemon.run(NAME, absent).contains("DROP DATABASE `a1`"));
        assert!(daemon.run(NAME, absent).contains(r#""changed":false"#));
    }

    #[test]
    fn a_dump_brings_a_database_back_from_any_file() {
        let Some(daemon) = Daemon::start() else {
            return;
        };
        daemon.sql("CREATE DATABASE shop; CREATE TABLE shop.t (a INT); INSERT INTO shop.t VALUES (7); CREATE TABLE shop.log (b INT)");
        for ending in ["sql", "sql.gz"] {
            let target = daemon.path(&format!("dump.{ending}"));
            let dump = format!(
                r#""name": "shop", "state": "dump", "target": "{target}", "single_transaction": true, "ignore_tables": ["shop.log"]"#
            );
            assert!(daemon.predict(NAME, &dump).contains(r#""changed":true"#));
            let result = daemon.run(NAME, &dump);
            assert!(
                result.contains(r#"{"changed":true,"db":"shop""#),
                "{result}"
            );
            let import = format!(r#""name": "copy", "state": "import", "target": "{target}""#);
            let point = daemon.after_now();
            let result = daemon.run(NAME, &import);
            assert!(
                result.contains(r#"{"changed":true,"db":"copy""#),
                "{result}"
            );
            assert_eq!(daemon.sql("SELECT a FROM copy.t"), "7\n");
            assert_eq!(daemon.sql("SHOW TABLES IN copy"), "t\n");
            daemon.undo_since(point);
            assert_eq!(daemon.sql("SHOW DATABASES LIKE 'copy'"), "");
        }
    }

    #[test]
    fn what_cannot_be_done_is_said() {
        let Some(daemon) = Daemon::start() else {
            return;
        };
        let target = daemon.path("none.sql");
        for (options, why) in [
            (
                r#""name": "all""#.to_owned(),
                "name is not allowed to equal 'all' unless state equals import, or dump.",
            ),
            (
                r#""name": "x", "state": "dump""#.into(),
                "with state=dump target is required",
            ),
            (
                format!(r#""name": "x", "state": "dump", "target": "{target}""#),
                "Cannot dump database(s) 'x' - not found",
            ),
            (
                format!(r#""name": "x", "state": "import", "target": "{target}""#),
                "does not exist on the host",
            ),
            (
                r#""name": "y", "collation": "none""#.into(),
                "error creating database: (1273, ",
            ),
            (
                r#""name": "x", "login_unix_socket": "/none", "config_file": "/none""#.into(),
                "unable to find /none. Exception message: (2002, ",
            ),
        ] {
            let result = daemon.run(NAME, &options);
            assert!(
                result.starts_with(r#"{"failed":true"#) && result.contains(why),
                "{result}"
            );
        }
    }
}
