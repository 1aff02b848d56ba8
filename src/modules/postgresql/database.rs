//! `postgresql_db`: a database that is there, as wanted.

use std::path::PathBuf;

use super::connection::{Server, check_input, comment_on, identifier, literal, text};
use super::postgresql_arguments;
use crate::machine::Machine;
use crate::modules::{Failure, ModuleResult, Outcome};
use crate::value::Value;

postgresql_arguments! {
    /// Add or remove `PostgreSQL` databases.
    struct PostgresqlDbArgs for "community.postgresql.postgresql_db" {
        db: String { required, aliases: ["name"] },
        owner: String { default: "" },
        template: String { default: "" },
        encoding: String { default: "" },
        lc_collate: String { default: "" },
        lc_ctype: String { default: "" },
        icu_locale: String { default: "" },
        locale_provider: String { default: "" },
        state: String { default: "present", choices: ["absent", "present", "rename"] },
        /// The new name of a database that is renamed.
        target: PathBuf { default: "" },
        /// The database to be in meanwhile.
        maintenance_db: String { default: "postgres" },
        /// How many connections there may be.
        conn_limit: String { default: "" },
        tablespace: String { default: "" },
        /// Drop a database that is in use.
        force: bool { default: "false" },
        comment: Option<String> {},
    }
}

/// Brings the database into the wanted state.
pub(crate) fn run_database(machine: &mut Machine, args: PostgresqlDbArgs) -> ModuleResult {
    check_input(
        args.trust_input,
        [
            Some(args.owner.as_str()),
            Some(&args.conn_limit),
            Some(&args.encoding),
            Some(&args.db),
            Some(&args.template),
            Some(&args.tablespace),
            args.session_role.as_deref(),
            args.comment.as_deref(),
        ],
    )?;
    let mut server = args.server(machine, &args.maintenance_db)?;
    let found = find(&mut server, &args.db)?;
    let changed = match args.state.as_str() {
        "absent" => match found {
            Some(_) => {
                drop(&mut server, &args)?;
                true
            }
            None => false,
        },
        "rename" => rename(&mut server, &args, found.is_some())?,
        _ => match found {
            None => {
                create(&mut server, &args)?;
                true
            }
            Some(found) => update(&mut server, &args, &found)?,
        },
    };
    let executed = std::mem::take(&mut server.executed);
    Ok(Outcome::unchanged()
        .with_changed(changed)
        .with("db", args.db.as_str())
        .with("executed_commands", Value::list(executed)))
}

fn find(server: &mut Server<'_>, name: &str) -> Result<Option<Value>, Failure> {
    server
        .row(&format!(
            "SELECT rolname AS owner, pg_encoding_to_char(encoding) AS encoding, datcollate AS \
         lc_collate, datctype AS lc_ctype, datconnlimit AS conn_limit, spcname AS tablespace, \
         shobj_description(d.oid, 'pg_database') AS comment FROM pg_database d JOIN pg_roles r ON \
         r.oid = d.datdba JOIN pg_tablespace t ON t.oid = d.dattablespace WHERE datname = {}",
            literal(name)
        ))
        .map_err(failed)
}

fn failed(failure: Failure) -> Failure {
    if failure.msg.starts_with("unable to connect") {
        return failure;
    }
    Failure::new(format!("Database query failed: {}", failure.msg))
}

fn create(server: &mut Server<'_>, args: &PostgresqlDbArgs) -> Result<(), Failure> {
    let name = identifier(&args.db);
    let mut words = vec![format!("CREATE DATABASE {name}")];
    for (word, value) in [("OWNER", &args.owner), ("TEMPLATE", &args.template)] {
        if !value.is_empty() {
            words.push(format!("{word} {}", identifier(value)));
        }
    }
    for (word, value) in [
        ("ENCODING", &args.encoding),
        ("LC_COLLATE", &args.lc_collate),
        ("LC_CTYPE", &args.lc_ctype),
        ("ICU_LOCALE", &args.icu_locale),
        ("LOCALE_PROVIDER", &args.locale_provider),
    ] {
        if !value.is_empty() {
            words.push(format!("{word} {}", literal(value)));
        }
    }
    if !args.tablespace.is_empty() {
        words.push(format!("TABLESPACE {}", identifier(&args.tablespace)));
    }
    if !args.conn_limit.is_empty() {
        words.push(format!("CONNECTION LIMIT {}", limit(&args.conn_limit)?));
    }
    let statement = words.join(" ");
    let undo = [format!("DROP DATABASE IF EXISTS {name}")];
    server
        .execute(&statement, &statement, Some(&undo))
        .map_err(failed)?;
    if let Some(comment) = args
        .comment
        .as_deref()
        .filter(|comment| !comment.is_empty())
    {
        let statement = comment_on("DATABASE", &args.db, comment);
        server
            .execute(&statement, &statement, Some(&[]))
            .map_err(failed)?;
    }
    Ok(())
}

fn limit(text: &str) -> Result<i64, Failure> {
    text.parse()
        .map_err(|_| Failure::new(format!("conn_limit is no number: {text}")))
}

fn update(
    server: &mut Server<'_>,
    args: &PostgresqlDbArgs,
    found: &Value,
) -> Result<bool, Failure> {
    for (option, wanted) in [
        ("encoding", &args.encoding),
        ("lc_collate", &args.lc_collate),
        ("lc_ctype", &args.lc_ctype),
    ] {
        let current = text(found, option);
        let normal = |text: &str| text.to_lowercase().replace(['-', '_'], "");
        let differs = if option == "encoding" {
            normal(wanted) != normal(&current)
        } else {
            *wanted != current
        };
        if !wanted.is_empty() && differs {
            let name = match option {
                "encoding" => "encoding",
                "lc_collate" => "LC_COLLATE",
                _ => "LC_CTYPE",
            };
            return Err(Failure::new(format!(
                "Changing {name} is not supported. Current {}: {current}",
                if option == "encoding" {
                    "encoding"
                } else {
                    name
                }
            )));
        }
    }
    let name = identifier(&args.db);
    let mut changes = Vec::new();
    let owner = text(found, "owner");
    if !args.owner.is_empty() && args.owner != owner {
        let set = |owner: &str| format!("ALTER DATABASE {name} OWNER TO {}", identifier(owner));
        changes.push((set(&args.owner), set(&owner)));
    }
    let current = text(found, "conn_limit");
    if !args.conn_limit.is_empty() && args.conn_limit != current {
        let set = |limit: &str| format!("ALTER DATABASE {name} CONNECTION LIMIT {limit}");
        changes.push((set(&limit(&args.conn_limit)?.to_string()), set(&current)));
    }
    let tablespace = text(found, "tablespace");
    if !args.tablespace.is_empty() && args.tablespace != tablespace {
        let set = |it: &str| format!("ALTER DATABASE {name} SET TABLESPACE {}", identifier(it));
        changes.push((set(&args.tablespace), set(&tablespace)));
    }
    let comment = text(found, "comment");
    if let Some(wanted) = args.comment.as_ref().filter(|wanted| **wanted != comment) {
        let set = |text: &str| comment_on("DATABASE", &args.db, text);
        changes.push((set(wanted), set(&comment)));
    }
    for (statement, back) in &changes {
        server
            .execute(statement, statement, Some(std::slice::from_ref(back)))
            .map_err(failed)?;
    }
    Ok(!changes.is_empty())
}

fn drop(server: &mut Server<'_>, args: &PostgresqlDbArgs) -> Result<(), Failure> {
    let name = identifier(&args.db);
    let statement = if args.force {
        format!("DROP DATABASE {name} WITH (FORCE)")
    } else {
        format!("DROP DATABASE {name}")
    };
    server.execute(&statement, &statement, None).map_err(failed)
}

fn rename(server: &mut Server<'_>, args: &PostgresqlDbArgs, exists: bool) -> Result<bool, Failure> {
    let target = args.target.display().to_string();
    let refuse = |msg: &str| Err(Failure::new(msg));
    if target.is_empty() {
        return refuse("The \"target\" option must be defined when the \"rename\" option is used.");
    }
    if target == args.db {
        return refuse("The \"name/db\" option and the \"target\" option cannot be the same.");
    }
    if args.maintenance_db == args.db {
        return refuse(
            "The \"maintenance_db\" option and the \"name/db\" option cannot be the same.",
        );
    }
    match (exists, find(server, &target)?.is_some()) {
        (false, false) => refuse("The source and the target databases do not exist"),
        (false, true) => Ok(false),
        (true, true) => refuse("Both the source and the target databases exist"),
        (true, false) => {
            let rename = |from: &str, to: &str| {
                let (from, to) = (identifier(from), identifier(to));
                format!("ALTER DATABASE {from} RENAME TO {to}")
            };
            let statement = rename(&args.db, &target);
            let back = [rename(&target, &args.db)];
            server
                .execute(&statement, &statement, Some(&back))
                .map_err(failed)?;
            Ok(true)
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::modules::postgresql::testing::Cluster;

    const NAME: &str = "community.postgresql.postgresql_db";

    #[test]
    fn a_database_is_made_once_changed_renamed_and_dropped() {
        let Some(cluster) = Cluster::start() else {
            return;
        };
        let options = r#""name": "shop", "encoding": "UTF-8", "comment": "a shop""#;
        assert!(cluster.predict(NAME, options).contains(r#""changed":true"#));
        let result = cluster.run(NAME, options);
        assert!(result.contains(r#""changed":true,"db":"shop""#), "{result}");
        assert!(cluster.run(NAME, options).contains(r#""changed":false"#));
        let limited = r#""name": "shop", "conn_limit": "5""#;
        assert!(cluster.run(NAME, limited).contains("CONNECTION LIMIT 5"));
        assert!(cluster.run(NAME, limited).contains(r#""changed":false"#));
        let renamed = r#""name": "shop", "state": "rename", "target": "store""#;
        assert!(cluster.run(NAME, renamed).contains(r#""changed":true"#));
        assert!(cluster.run(NAME, renamed).contains(r#""changed":false"#));
        let absent = r#""name": "store", "state": "absent""#;
        assert!(cluster.run(NAME, absent).contains(r#""changed":true"#));
        assert!(cluster.run(NAME, absent).contains(r#""changed":false"#));
    }

    #[test]
    fn what_the_server_refuses_is_said_in_its_words() {
        let Some(cluster) = Cluster::start() else {
            return;
        };
        let result = cluster.run(NAME, r#""name": "x", "owner": "nobody_here""#);
        assert!(
            result.contains("Database query failed: role \\\"nobody_here\\\" does not exist"),
            "{result}"
        );
        let result = cluster.run(NAME, r#""name": "postgres", "encoding": "LATIN1""#);
        assert!(
            result.contains("Changing encoding is not supported."),
            "{result}"
        );
        let result = cluster.run(NAME, r#""name": "x", "login_port": 1"#);
        assert!(result.contains("unable to connect to database"), "{result}");
    }

    #[test]
    fn an_undo_takes_away_what_was_made() {
        let Some(cluster) = Cluster::start() else {
            return;
        };
        cluster.run(NAME, r#""name": "shop""#);
        cluster.undo();
        assert!(
            cluster
                .run(NAME, r#""name": "shop""#)
                .contains(r#""changed":true"#)
        );
    }
}
