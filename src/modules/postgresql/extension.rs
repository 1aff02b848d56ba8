//! `postgresql_ext`: an extension of a database, at a version.

use super::connection::{Server, check_input, comment_on, identifier, literal, text};
use super::postgresql_arguments;
use crate::machine::Machine;
use crate::modules::{Failure, ModuleResult, Outcome};
use crate::value::Value;

postgresql_arguments! {
    /// Add or remove `PostgreSQL` extensions from a database.
    struct PostgresqlExtArgs for "community.postgresql.postgresql_ext" {
        login_db: String { required, aliases: ["db"] },
        ext: String { required, aliases: ["name"] },
        /// The schema for what the extension brings.
        schema: Option<String> {},
        state: String { default: "present", choices: ["absent", "present"] },
        /// Bring along what it needs, or drop what needs it.
        cascade: bool { default: "false" },
        /// The version, or `latest`.
        version: Option<String> {},
        comment: Option<String> {},
    }
}

/// Brings the extension into the wanted state.
pub(crate) fn run_extension(machine: &mut Machine, args: PostgresqlExtArgs) -> ModuleResult {
    check_input(
        args.trust_input,
        [
            Some(args.ext.as_str()),
            args.schema.as_deref(),
            args.version.as_deref(),
            args.session_role.as_deref(),
            args.comment.as_deref(),
        ],
    )?;
    let is_check = machine.is_check();
    let mut server = args.server(machine, &args.login_db)?;
    let mut outcome = Outcome::unchanged();
    if args.version.is_some() && args.state == "absent" {
        let warning = "Parameter version is ignored when state=absent";
        outcome.warnings.push(warning.into());
    }
    let known = known(&mut server, &args.ext)?;
    let changed = if args.state == "absent" {
        match &known.current {
            Some(current) => {
                drop(&mut server, &args, current)?;
                true
            }
            None => false,
        }
    } else {
        present(&mut server, &args, &known)?
    };
    let after = if is_check && changed {
        match args.state.as_str() {
            "absent" => None,
            _ => args
                .version
                .clone()
                .filter(|version| version != "latest")
                .or(known.default),
        }
    } else {
        self::known(&mut server, &args.ext)?.current
    };
    let executed = std::mem::take(&mut server.executed);
    Ok(outcome
        .with_changed(changed)
        .with("db", args.login_db.as_str())
        .with("ext", args.ext.as_str())
        .with("prev_version", known.current.unwrap_or_default())
        .with("version", after.unwrap_or_default())
        .with("queries", Value::list(executed)))
}

/// What the server knows of an extension.
struct Known {
    current: Option<String>,
    default: Option<String>,
    available: Vec<String>,
    comment: String,
}

fn known(server: &mut Server<'_>, name: &str) -> Result<Known, Failure> {
    let failed = |failure: Failure| {
        Failure::new(format!(
            "Management of PostgreSQL extension failed: {}",
            failure.msg
        ))
    };
    let name = literal(name);
    let one = server
        .row(&format!(
            "SELECT (SELECT extversion FROM pg_extension WHERE extname = {name}) AS current, \
             (SELECT default_version FROM pg_available_extensions WHERE name = {name}) AS \
             default_version, (SELECT obj_description(oid, 'pg_extension') FROM pg_extension WHERE \
             extname = {name}) AS comment"
        ))
        .map_err(failed)?
        .unwrap_or_default();
    let versions = server
        .rows(&format!(
            "SELECT version FROM pg_available_extension_versions WHERE name = {name}"
        ))
        .map_err(failed)?;
    let some = |field: &str| Some(text(&one, field)).filter(|text| !text.is_empty());
    Ok(Known {
        current: some("current"),
        default: some("default_version"),
        available: versions.iter().map(|row| text(row, "version")).collect(),
        comment: text(&one, "comment"),
    })
}

fn present(
    server: &mut Server<'_>,
    args: &PostgresqlExtArgs,
    known: &Known,
) -> Result<bool, Failure> {
    let ext = &args.ext;
    let version = args.version.as_deref();
    let is_latest = version == Some("latest");
    let real = match version {
        Some(version) if !is_latest => version.to_owned(),
        _ if known.available.is_empty() => {
            return Err(Failure::new(format!("Extension {ext} is not available")));
        }
        _ => known.default.clone().ok_or_else(|| {
            Failure::new(
                "Passed version 'latest' but no default_version available in extension control file",
            )
        })?,
    };
    let mut changed = false;
    match (&known.current, version) {
        (Some(_), None) => {}
        (Some(current), Some(_)) if *current == real => {}
        (Some(current), Some(version)) => {
            update(server, args, current, &real, version)?;
            changed = true;
        }
        (None, version) => {
            if version.is_some() && !known.available.contains(&real) {
                let kind = if is_latest { "Latest" } else { "Passed" };
                return Err(Failure::new(format!(
                    "{kind} version '{real}' is not available"
                )));
            }
            create(server, args, version.filter(|_| !is_latest))?;
            changed = true;
        }
    }
    if let Some(wanted) = args.comment.as_ref().filter(|it| **it != known.comment) {
        let statement = comment_on("EXTENSION", ext, wanted);
        let back = [comment_on("EXTENSION", ext, &known.comment)];
        server.execute(&statement, &statement, Some(&back))?;
        changed = true;
    }
    Ok(changed)
}

fn create(
    server: &mut Server<'_>,
    args: &PostgresqlExtArgs,
    version: Option<&str>,
) -> Result<(), Failure> {
    let name = identifier(&args.ext);
    let mut statement = format!("CREATE EXTENSION {name}");
    if let Some(schema) = &args.schema {
        statement += &format!(" WITH SCHEMA {}", identifier(schema));
    }
    if let Some(version) = version {
        statement += &format!(" VERSION {}", literal(version));
    }
    if args.cascade {
        statement += " CASCADE";
    }
    let back = [format!("DROP EXTENSION IF EXISTS {name}")];
    server.execute(&statement, &statement, Some(&back))
}

fn update(
    server: &mut Server<'_>,
    args: &PostgresqlExtArgs,
    current: &str,
    real: &str,
    version: &str,
) -> Result<(), Failure> {
    let paths = |from: &str, to: &str| {
        format!(
            "SELECT path FROM pg_extension_update_paths({}) WHERE source = {} AND target = {} AND \
             path IS NOT NULL",
            literal(&args.ext),
            literal(from),
            literal(to)
        )
    };
    if server.row(&paths(current, real))?.is_none() {
        return Err(Failure::new(if version == "latest" {
            format!(
                "Latest version '{real}' has no valid update path from the currently installed \
                 version '{current}'"
            )
        } else {
            format!(
                "Passed version '{version}' has no valid update path from the currently installed \
                 version '{current}' or the passed version is not available"
            )
        }));
    }
    let has_way_back = server.row(&paths(real, current))?.is_some();
    let name = identifier(&args.ext);
    let mut statement = format!("ALTER EXTENSION {name} UPDATE");
    if version != "latest" {
        statement += &format!(" TO {}", literal(version));
    }
    let back = [format!(
        "ALTER EXTENSION {name} UPDATE TO {}",
        literal(current)
    )];
    let back = has_way_back.then_some(&back[..]);
    server.execute(&statement, &statement, back)
}

fn drop(server: &mut Server<'_>, args: &PostgresqlExtArgs, current: &str) -> Result<(), Failure> {
    let name = identifier(&args.ext);
    let mut statement = format!("DROP EXTENSION {name}");
    if args.cascade {
        statement += " CASCADE";
    }
    // What went with it comes back without its data.
    let back = [format!(
        "CREATE EXTENSION {name} VERSION {}",
        literal(current)
    )];
    let back = (!args.cascade).then_some(&back[..]);
    server.execute(&statement, &statement, back)
}

#[cfg(test)]
mod tests {
    use crate::modules::postgresql::testing::Cluster;

    #[test]
    fn an_extension_is_made_once_and_dropped() {
        const NAME: &str = "community.postgresql.postgresql_ext";
        let Some(cluster) = Cluster::start() else {
            return;
        };
        // The one extension that every server has, and every database already.
        let options = r#""name": "plpgsql", "db": "postgres""#;
        let result = cluster.run(NAME, options);
        assert!(result.contains(r#""changed":false"#), "{result}");
        let absent = r#""name": "plpgsql", "db": "postgres", "state": "absent""#;
        assert!(cluster.predict(NAME, absent).contains(r#""changed":true"#));
        assert!(cluster.run(NAME, absent).contains(r#""changed":true"#));
        assert!(cluster.run(NAME, absent).contains(r#""changed":false"#));
        let result = cluster.run(NAME, options);
        assert!(
            result.contains(r#""queries":["CREATE EXTENSION \"plpgsql\""]"#),
            "{result}"
        );
        assert!(
            cluster
                .run(NAME, r#""name": "backstay_none", "db": "postgres""#)
                .contains("Extension backstay_none is not available")
        );
    }
}
