//! `postgresql_user`: a role that may log in, its password, attributes and settings.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use md5::{Digest, Md5};
use sha2::Sha256;

use super::connection::{Server, check_input, comment_on, identifier, literal, text};
use super::postgresql_arguments;
use crate::machine::{Machine, hex};
use crate::modules::{Failure, ModuleResult, Outcome};
use crate::value::{Map, Value};

postgresql_arguments! {
    /// Create, alter, or remove a user (role) from a `PostgreSQL` server instance.
    struct PostgresqlUserArgs for "community.postgresql.postgresql_user" {
        user: String { required, aliases: ["name"] },
        /// The password, or its hash; an empty one is none.
        password: Option<String> { no_log },
        state: String { default: "present", choices: ["absent", "present"] },
        /// The database to be in meanwhile.
        login_db: String { default: "", aliases: ["db"] },
        /// Fail when the user cannot be removed.
        fail_on_user: bool { default: "true", aliases: ["fail_on_role"] },
        /// Attributes, comma-separated: `CREATEDB,NOSUPERUSER`.
        role_attr_flags: String { default: "" },
        /// Have the server hash the password.
        encrypted: bool { default: "true" },
        /// Leave the password of a user alone that is there.
        no_password_changes: bool { default: "false" },
        /// Until when the password is good.
        expires: Option<String> {},
        conn_limit: Option<i64> {},
        comment: Option<String> {},
        /// Settings that the user's sessions begin with.
        configuration: Map { default: "{}" },
        /// Reset settings that are not given.
        reset_unspecified_configuration: bool { default: "false" },
        quote_configuration_values: bool { default: "true" },
    }
}

/// Each attribute and the column that tells of it.
const FLAGS: [(&str, &str); 7] = [
    ("SUPERUSER", "rolsuper"),
    ("CREATEROLE", "rolcreaterole"),
    ("CREATEDB", "rolcreatedb"),
    ("INHERIT", "rolinherit"),
    ("LOGIN", "rolcanlogin"),
    ("REPLICATION", "rolreplication"),
    ("BYPASSRLS", "rolbypassrls"),
];

/// Brings the role into the wanted state.
pub(crate) fn run_role(machine: &mut Machine, args: PostgresqlUserArgs) -> ModuleResult {
    check_input(
        args.trust_input,
        [
            Some(args.user.as_str()),
            args.password.as_deref(),
            args.expires.as_deref(),
            Some(&args.role_attr_flags),
            args.comment.as_deref(),
            args.session_role.as_deref(),
        ],
    )?;
    let flags = flags(&args.role_attr_flags)?;
    let database = match args.login_db.as_str() {
        "" => "postgres",
        name => name,
    };
    let mut server = args.server(machine, database)?;
    let found = find(&mut server, &args.user)?;
    let mut outcome = Outcome::unchanged().with("user", args.user.as_str());
    let changed = match (args.state.as_str(), &found) {
        ("absent", None) => false,
        ("absent", Some(found)) => {
            let removed = remove(&mut server, &args.user, found);
            if let Err(failure) = &removed
                && args.fail_on_user
            {
                return Err(Failure::new(format!(
                    "Unable to remove user: {}",
                    failure.msg
                )));
            }
            outcome = outcome.with("user_removed", removed.is_ok());
            removed.is_ok()
        }
        (_, found) => present(&mut server, &args, &flags, found.as_ref())?,
    };
    let executed = std::mem::take(&mut server.executed);
    Ok(outcome
        .with_changed(changed)
        .with("queries", Value::list(executed)))
}

/// Finds the role; who may not see its password's hash sees the rest.
fn find(server: &mut Server<'_>, user: &str) -> Result<Option<Value>, Failure> {
    let query = |table: &str| {
        format!(
            "SELECT a.*, shobj_description(a.oid, 'pg_authid') AS comment, (SELECT rolconfig FROM \
             pg_roles r WHERE r.oid = a.oid) AS config FROM {table} a WHERE rolname = {}",
            literal(user)
        )
    };
    match server.row(&query("pg_authid")) {
        Err(failure) if failure.msg.contains("permission denied") => server.row(&query("pg_roles")),
        found => found,
    }
}

fn flags(text: &str) -> Result<Vec<String>, Failure> {
    let mut flags: Vec<String> = Vec::new();
    let mut wrong = Vec::new();
    for flag in text.split(',').filter(|flag| !flag.is_empty()) {
        let flag = flag.to_uppercase();
        let is_known = FLAGS
            .iter()
            .any(|(name, _)| flag == *name || flag.strip_prefix("NO") == Some(name));
        if !is_known {
            wrong.push(flag);
        } else if !flags.contains(&flag) {
            flags.push(flag);
        }
    }
    if wrong.is_empty() {
        return Ok(flags);
    }
    Err(Failure::new(format!(
        "Invalid role_attr_flags specified: {}",
        wrong.join(" ")
    )))
}

fn present(
    server: &mut Server<'_>,
    args: &PostgresqlUserArgs,
    flags: &[String],
    found: Option<&Value>,
) -> Result<bool, Failure> {
    let name = identifier(&args.user);
    let mut changed = match found {
        None => {
            let back = [format!("DROP ROLE IF EXISTS {name}")];
            let parts = parts(args, flags, args.password.as_deref(), false);
            let (statement, shown) = statement(&format!("CREATE USER {name}"), &parts);
            server
                .execute(&statement, &shown, Some(&back))
                .map_err(|failure| {
                    Failure::new(format!(
                        "Unable to add user with given requirement due to : {}",
                        failure.msg
                    ))
                })?;
            true
        }
        Some(found) => alter(server, args, flags, found)?,
    };
    let nothing = Value::Null;
    let found = found.unwrap_or(&nothing);
    let there = text(found, "comment");
    if let Some(wanted) = args.comment.as_ref().filter(|it| **it != there) {
        let statement = comment_on("ROLE", &args.user, wanted);
        let back = [comment_on("ROLE", &args.user, &there)];
        let is_new = matches!(found, Value::Null);
        let back = if is_new { &[][..] } else { &back[..] };
        server.execute(&statement, &statement, Some(back))?;
        changed = true;
    }
    Ok(configure(server, args, found)? || changed)
}

/// A clause, and how it is shown.
type Part = (String, String);

fn parts(
    args: &PostgresqlUserArgs,
    flags: &[String],
    password: Option<&str>,
    clears: bool,
) -> Vec<Part> {
    let mut parts: Vec<Part> = Vec::new();
    let mut plain = |text: String| parts.push((text.clone(), text));
    if password == Some("") && clears {
        plain("PASSWORD NULL".into());
    }
    if !flags.is_empty() {
        plain(flags.join(" "));
    }
    if let Some(expires) = &args.expires {
        plain(format!("VALID UNTIL {}", literal(expires)));
    }
    if let Some(limit) = args.conn_limit {
        plain(format!("CONNECTION LIMIT {limit}"));
    }
    if let Some(password) = password.filter(|password| !password.is_empty()) {
        let crypt = if args.encrypted {
            "ENCRYPTED"
        } else {
            "UNENCRYPTED"
        };
        let secret = format!("{crypt} PASSWORD {}", literal(password));
        parts.insert(0, (secret, format!("{crypt} PASSWORD %(password)s")));
    }
    parts
}

fn statement(start: &str, parts: &[Part]) -> Part {
    let put = |pick: fn(&Part) -> &str| {
        let clauses: Vec<_> = parts.iter().map(pick).collect();
        if clauses.is_empty() {
            start.to_owned()
        } else {
            format!("{start} WITH {}", clauses.join(" "))
        }
    };
    (put(|part| &part.0), put(|part| &part.1))
}

fn alter(
    server: &mut Server<'_>,
    args: &PostgresqlUserArgs,
    flags: &[String],
    found: &Value,
) -> Result<bool, Failure> {
    let current = found.get("rolpassword").and_then(Value::as_str);
    let password = args
        .password
        .as_deref()
        .filter(|_| !args.no_password_changes);
    let password = match password {
        Some(wanted) if differs(server, args, wanted, current)? => Some(wanted),
        _ => None,
    };
    let is_on = |column: &str| found.get(column).and_then(Value::as_bool);
    let flags_differ = flags.iter().any(|flag| {
        FLAGS.iter().any(|(name, column)| {
            (flag == name && is_on(column) == Some(false))
                || (flag.strip_prefix("NO") == Some(name) && is_on(column) == Some(true))
        })
    });
    let until = text(found, "rolvaliduntil");
    let expires_differ = match &args.expires {
        Some(expires) if !args.no_password_changes => server
            .row(&format!(
                "SELECT ({}::timestamptz IS DISTINCT FROM {}::timestamptz) AS differs",
                literal(expires),
                if until.is_empty() {
                    "NULL".to_owned()
                } else {
                    literal(&until)
                }
            ))?
            .is_some_and(|row| row.get("differs").and_then(Value::as_bool) == Some(true)),
        _ => false,
    };
    let limit_differs = !args.no_password_changes
        && args
            .conn_limit
            .is_some_and(|limit| text(found, "rolconnlimit") != limit.to_string());
    if password.is_none() && !flags_differ && !expires_differ && !limit_differs {
        return Ok(false);
    }
    let name = identifier(&args.user);
    let parts = parts(args, flags, password, true);
    let (statement, shown) = statement(&format!("ALTER USER {name}"), &parts);
    let back = [format!("ALTER USER {name} WITH {}", attributes(found))];
    server.execute(&statement, &shown, Some(&back))?;
    Ok(true)
}

/// Returns the clauses that make a role what it was.
fn attributes(found: &Value) -> String {
    let mut words = Vec::new();
    for (name, column) in FLAGS {
        let is_on = found.get(column).and_then(Value::as_bool) == Some(true);
        words.push(format!("{}{name}", if is_on { "" } else { "NO" }));
    }
    words.push(format!("CONNECTION LIMIT {}", text(found, "rolconnlimit")));
    let until = text(found, "rolvaliduntil");
    let until = if until.is_empty() { "infinity" } else { &until };
    words.push(format!("VALID UNTIL {}", literal(until)));
    words.push(match found.get("rolpassword").and_then(Value::as_str) {
        Some(hash) => format!("PASSWORD {}", literal(hash)),
        None => "PASSWORD NULL".into(),
    });
    words.join(" ")
}

/// Tells whether the password is another one than that of the hash.
fn differs(
    server: &mut Server<'_>,
    args: &PostgresqlUserArgs,
    wanted: &str,
    current: Option<&str>,
) -> Result<bool, Failure> {
    if wanted.is_empty() {
        return Ok(current.is_some());
    }
    let is_hash = wanted.starts_with("SCRAM-SHA-256$")
        || (wanted.starts_with("md5") && wanted.len() == 35)
        || !args.encrypted;
    if is_hash {
        return Ok(current != Some(wanted));
    }
    if let Some(hash) = current.filter(|hash| hash.starts_with("SCRAM-SHA-256$")) {
        return Ok(!is_scram_of(wanted, hash));
    }
    let kind = server.row("SELECT current_setting('password_encryption') AS kind")?;
    if kind.is_some_and(|row| text(&row, "kind") == "scram-sha-256") {
        return Ok(true);
    }
    let digest = Md5::digest(format!("{wanted}{}", args.user));
    Ok(current != Some(format!("md5{}", hex(&digest)).as_str()))
}

/// Checks `SCRAM-SHA-256$ITERATIONS:SALT$STORED:SERVER` against a password.
fn is_scram_of(password: &str, hash: &str) -> bool {
    let check = || {
        let mut parts = hash.splitn(3, '$').skip(1);
        let (iterations, salt) = parts.next()?.split_once(':')?;
        let (_, server_key) = parts.next()?.split_once(':')?;
        let salt = STANDARD.decode(salt).ok()?;
        let mut salted = [0; 32];
        pbkdf2::pbkdf2_hmac::<Sha256>(
            password.as_bytes(),
            &salt,
            iterations.parse().ok()?,
            &mut salted,
        );
        let mut mac = Hmac::<Sha256>::new_from_slice(&salted).ok()?;
        mac.update(b"Server Key");
        let key = mac.finalize().into_bytes();
        Some(STANDARD.encode(key) == server_key)
    };
    check() == Some(true)
}

fn configure(
    server: &mut Server<'_>,
    args: &PostgresqlUserArgs,
    found: &Value,
) -> Result<bool, Failure> {
    let name = identifier(&args.user);
    let current: Vec<(String, String)> = found
        .get("config")
        .and_then(Value::as_list)
        .unwrap_or_default()
        .iter()
        .filter_map(|line| {
            let line = line.to_string();
            let (key, value) = line.split_once('=')?;
            Some((key.to_owned(), value.to_owned()))
        })
        .collect();
    let set =
        |key: &str, value: &str| format!("ALTER ROLE {name} SET {} TO {value}", identifier(key));
    let reset = |key: &str| format!("ALTER ROLE {name} RESET {}", identifier(key));
    let mut changes = Vec::new();
    if args.reset_unspecified_configuration {
        for (key, value) in &current {
            if args.configuration.get(key.as_str()).is_none() {
                changes.push((reset(key), set(key, &literal(value))));
            }
        }
    }
    for (key, value) in &args.configuration {
        let (key, value) = (key.to_string(), value.to_string());
        if key.contains(['"', '\'']) {
            return Err(Failure::new(
                "The key of a configuration may not contain single or double quotes",
            ));
        }
        let old = current.iter().find(|(name, _)| *name == key);
        if old.is_some_and(|(_, old)| *old == value) {
            continue;
        }
        let written = if args.quote_configuration_values {
            literal(&value)
        } else {
            value
        };
        let back = match old {
            Some((_, old)) => set(&key, &literal(old)),
            None => reset(&key),
        };
        changes.push((set(&key, &written), back));
    }
    for (statement, back) in &changes {
        server
            .execute(statement, statement, Some(std::slice::from_ref(back)))
            .map_err(|failure| {
                Failure::new(format!(
                    "Unable to update configuration for '{}' due to: {}",
                    args.user, failure.msg
                ))
            })?;
    }
    Ok(!changes.is_empty())
}

fn remove(server: &mut Server<'_>, user: &str, found: &Value) -> Result<(), Failure> {
    let name = identifier(user);
    let statement = format!("DROP USER {name}");
    let back = [format!("CREATE ROLE {name} WITH {}", attributes(found))];
    server.execute(&statement, &statement, Some(&back))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::modules::postgresql::testing::Cluster;

    const NAME: &str = "community.postgresql.postgresql_user";

    #[test]
    fn a_user_is_made_once_and_its_password_is_known_again() {
        let Some(cluster) = Cluster::start() else {
            return;
        };
        let options = r#""name": "shop", "password": "geheim", "role_attr_flags": "CREATEDB,NOSUPERUSER", "configuration": {"work_mem": "16MB"}"#;
        assert!(cluster.predict(NAME, options).contains(r#""changed":true"#));
        let result = cluster.run(NAME, options);
        assert!(
            result.contains(
                "CREATE USER \\\"shop\\\" WITH ENCRYPTED PASSWORD %(password)s CREATEDB NOSUPERUSER"
            ),
            "{result}"
        );
        assert!(!result.contains("geheim"));
        let again = cluster.run(NAME, options);
        assert!(again.contains(r#""changed":false"#), "{again}");
        let other = options
            .replace("geheim", "anders")
            .replace("CREATEDB", "NOCREATEDB");
        assert!(cluster.run(NAME, &other).contains(r#""changed":true"#));
        assert!(cluster.run(NAME, &other).contains(r#""changed":false"#));
        let kept = r#""name": "shop", "password": "third", "no_password_changes": true"#;
        assert!(cluster.run(NAME, kept).contains(r#""changed":false"#));
        let limited =
            r#""name": "shop", "conn_limit": 3, "expires": "2037-01-01", "comment": "a shop""#;
        assert!(cluster.run(NAME, limited).contains(r#""changed":true"#));
        let again = cluster.run(NAME, limited);
        assert!(again.contains(r#""changed":false"#), "{again}");
        let absent = r#""name": "shop", "state": "absent""#;
        assert!(cluster.run(NAME, absent).contains(r#""user_removed":true"#));
        assert!(cluster.run(NAME, absent).contains(r#""changed":false"#));
    }

    #[test]
    fn an_undo_brings_the_old_password_and_attributes_back() {
        let Some(cluster) = Cluster::start() else {
            return;
        };
        let before = r#""name": "shop", "password": "geheim", "role_attr_flags": "CREATEDB""#;
        cluster.run(NAME, before);
        let first = cluster.run(NAME, before);
        assert!(first.contains(r#""changed":false"#), "{first}");
        let fresh = cluster.after_now();
        cluster.run(
            NAME,
            r#""name": "shop", "password": "x", "role_attr_flags": "NOCREATEDB""#,
        );
        cluster.undo_since(fresh);
        let result = cluster.run(NAME, before);
        assert!(result.contains(r#""changed":false"#), "{result}");
    }

    #[test]
    fn an_unknown_attribute_is_refused() {
        assert_eq!(
            flags("createdb,FLY").unwrap_err().msg,
            "Invalid role_attr_flags specified: FLY"
        );
        assert_eq!(flags("createdb,NOLOGIN").unwrap(), ["CREATEDB", "NOLOGIN"]);
    }
}
