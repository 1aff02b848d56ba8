//! `postgresql_schema`: a schema of a database, and whose it is.

use super::connection::{check_input, comment_on, identifier, literal, text};
use super::postgresql_arguments;
use crate::machine::Machine;
use crate::modules::{Failure, ModuleResult, Outcome};
use crate::value::Value;

postgresql_arguments! {
    /// Add or remove `PostgreSQL` schema.
    struct PostgresqlSchemaArgs for "community.postgresql.postgresql_schema" {
        schema: String { required, aliases: ["name"] },
        owner: String { default: "" },
        login_db: String { default: "postgres", aliases: ["db", "database"] },
        /// Drop what is in the schema too.
        cascade_drop: bool { default: "false" },
        state: String { default: "present", choices: ["absent", "present"] },
        comment: Option<String> {},
    }
}

/// Brings the schema into the wanted state.
pub(crate) fn run_schema(machine: &mut Machine, args: PostgresqlSchemaArgs) -> ModuleResult {
    check_input(
        args.trust_input,
        [
            Some(args.schema.as_str()),
            Some(&args.owner),
            args.session_role.as_deref(),
            args.comment.as_deref(),
        ],
    )?;
    let is_check = machine.is_check();
    let mut server = args.server(machine, &args.login_db)?;
    let failed = |failure: Failure| Failure::new(format!("Database query failed: {}", failure.msg));
    let found = server
        .row(&format!(
            "SELECT rolname AS owner, obj_description(n.oid, 'pg_namespace') AS comment FROM \
             pg_namespace n JOIN pg_roles r ON r.oid = n.nspowner WHERE nspname = {}",
            literal(&args.schema)
        ))
        .map_err(failed)?;
    let name = identifier(&args.schema);
    let mut changes: Vec<(String, Option<String>)> = Vec::new();
    let comment = |text: &str| comment_on("SCHEMA", &args.schema, text);
    match (args.state.as_str(), &found) {
        ("absent", Some(_)) => {
            let cascade = if args.cascade_drop { " CASCADE" } else { "" };
            let back = if args.cascade_drop {
                None
            } else {
                let owner = found.as_ref().map(|found| text(found, "owner"));
                let owner = identifier(&owner.unwrap_or_default());
                Some(format!("CREATE SCHEMA {name} AUTHORIZATION {owner}"))
            };
            changes.push((format!("DROP SCHEMA {name}{cascade}"), back));
        }
        ("absent", None) => {}
        (_, None) => {
            let mut statement = format!("CREATE SCHEMA {name}");
            if !args.owner.is_empty() {
                statement += &format!(" AUTHORIZATION {}", identifier(&args.owner));
            }
            changes.push((statement, Some(format!("DROP SCHEMA IF EXISTS {name}"))));
            if let Some(wanted) = args.comment.as_deref().filter(|wanted| !wanted.is_empty()) {
                changes.push((comment(wanted), Some(comment(""))));
            }
        }
        (_, Some(found)) => {
            let owner = text(found, "owner");
            if !args.owner.is_empty() && args.owner != owner {
                let set = |to: &str| format!("ALTER SCHEMA {name} OWNER TO {}", identifier(to));
                changes.push((set(&args.owner), Some(set(&owner))));
            }
            let there = text(found, "comment");
            if let Some(wanted) = args.comment.as_ref().filter(|wanted| **wanted != there) {
                changes.push((comment(wanted), Some(comment(&there))));
            }
        }
    }
    for (statement, back) in &changes {
        let back = back.as_ref().map(std::slice::from_ref);
        server.execute(statement, statement, back).map_err(failed)?;
    }
    let outcome = Outcome::unchanged()
        .with_changed(!changes.is_empty())
        .with("schema", args.schema.as_str());
    if is_check {
        return Ok(outcome);
    }
    let executed = std::mem::take(&mut server.executed);
    Ok(outcome.with("queries", Value::list(executed)))
}

#[cfg(test)]
mod tests {
    use crate::modules::postgresql::testing::Cluster;

    #[test]
    fn a_schema_is_made_once_commented_and_dropped() {
        const NAME: &str = "community.postgresql.postgresql_schema";
        let Some(cluster) = Cluster::start() else {
            return;
        };
        let options = r#""name": "acme", "owner": "postgres", "comment": "ours""#;
        assert_eq!(
            cluster.predict(NAME, options),
            r#"{"changed":true,"schema":"acme"}"#
        );
        assert_eq!(
            cluster.run(NAME, options),
            r#"{"changed":true,"schema":"acme","queries":["CREATE SCHEMA \"acme\" AUTHORIZATION \"postgres\"","COMMENT ON SCHEMA \"acme\" IS 'ours'"]}"#
        );
        assert!(cluster.run(NAME, options).contains(r#""changed":false"#));
        let absent = r#""name": "acme", "state": "absent""#;
        assert!(cluster.run(NAME, absent).contains(r#""changed":true"#));
        assert!(cluster.run(NAME, absent).contains(r#""changed":false"#));
        cluster.undo();
        assert!(cluster.run(NAME, options).contains(r#""changed":true"#));
        assert!(
            cluster
                .run(NAME, r#""name": "x", "owner": "nobody_here""#)
                .contains("does not exist")
        );
    }
}
