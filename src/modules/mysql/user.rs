//! `mysql_user`: an account, its password or plugin, privileges, limits and locks.

use super::account::{Account, Requires};
use super::connection::{Server, identifier, literal, literal_of};
use super::hash::{native, sha256};
use super::mysql_arguments;
use super::privileges::{Privileges, Reading, unpack};
use super::rows::text;
use crate::machine::{Machine, hex};
use crate::modules::{Failure, ModuleResult, Outcome};
use crate::value::{Map, Value, repr};

mysql_arguments! {
    /// Add or remove a user from a `MySQL` or `MariaDB` database.
    struct MysqlUserArgs for "community.mysql.mysql_user" {
        name: String { required, aliases: ["user"] },
        password: Option<String> { no_log },
        /// The password is a hash.
        encrypted: bool { default: "false" },
        host: String { default: "localhost" },
        /// Change the user on all hosts.
        host_all: bool { default: "false" },
        state: String { default: "present", choices: ["absent", "present"] },
        /// `db.table:PRIV,PRIV/db.*:PRIV`, or a dictionary.
        r#priv: Option<Value> {},
        /// `SSL`, `X509`, or `CIPHER`, `ISSUER`, `SUBJECT` with their values.
        tls_requires: Option<Map> {},
        append_privs: bool { default: "false" },
        subtract_privs: bool { default: "false" },
        attributes: Option<Map> {},
        /// Try root without a password first.
        check_implicit_admin: bool { default: "false" },
        update_password: String {
            default: "always",
            choices: ["always", "on_create", "on_new_username"],
        },
        sql_log_bin: bool { default: "true" },
        plugin: Option<String> {},
        plugin_hash_string: Option<String> {},
        plugin_auth_string: Option<String> {},
        /// The salt of a password that `caching_sha2_password` hashes.
        salt: Option<String> {},
        /// `MAX_QUERIES_PER_HOUR` and the like.
        resource_limits: Option<Map> {},
        /// Work in the database `mysql`, for filters of replication.
        force_context: bool { default: "false" },
        session_vars: Option<Map> {},
        column_case_sensitive: Option<bool> {},
        password_expire: Option<String> { choices: ["now", "never", "default", "interval"] },
        /// Days, for `password_expire: interval`.
        password_expire_interval: Option<i64> {},
        locked: Option<bool> {},
    }
    mutually_exclusive [["append_privs", "subtract_privs"]]
}

/// Brings the account into the wanted state.
pub(crate) fn run_user(machine: &mut Machine, args: MysqlUserArgs) -> ModuleResult {
    let given = match &args.r#priv {
        None => None,
        Some(Value::String(text)) => Some(text.to_string()).filter(|text| !text.is_empty()),
        Some(Value::Map(map)) => {
            let each = map.iter().map(|(object, list)| format!("{object}:{list}"));
            Some(each.collect::<Vec<_>>().join("/")).filter(|text| !text.is_empty())
        }
        Some(other) => {
            return Err(Failure::new(format!(
                "priv parameter must be str or dict but {} was passed",
                other.python_type()
            )));
        }
    };
    check(&args)?;
    let mut outcome = Outcome::unchanged();
    let mut server = connect(machine, &args)?;
    let keeps_case = args.column_case_sensitive.unwrap_or_else(|| {
        outcome.warnings.push(
            "Option column_case_sensitive is not provided. The default is now false, so the \
             column's name will be uppercased. The default will be changed to true in \
             community.mysql 4.0.0."
                .into(),
        );
        false
    });
    if !args.sql_log_bin {
        server.set("SET SQL_LOG_BIN=0")?;
    }
    set_session(&mut server, args.session_vars.as_ref())?;
    let mut wanted = None;
    if let Some(given) = &given {
        let mode = server.text("SELECT @@sql_mode")?.unwrap_or_default();
        let reading = Reading {
            quote: if mode.contains("ANSI") { '"' } else { '`' },
            keeps_case,
            ensures_usage: !args.subtract_privs,
        };
        wanted = Some(unpack(given, reading)?);
    }
    let hosts = hosts(&mut server, &args)?;
    let done = match (args.state.as_str(), hosts.as_slice()) {
        ("absent", []) => Done::unchanged("User doesn't exist"),
        ("absent", hosts) => {
            for host in hosts {
                Account::known(&mut server, &args.name, host)?.drop()?;
            }
            Done {
                changed: true,
                ..Done::unchanged("User deleted")
            }
        }
        (_, []) if args.host_all => {
            return Err(Failure::new(
                "host_all parameter cannot be used when adding a user",
            ));
        }
        (_, []) => add(&mut server, &args, wanted.as_ref(), &mut outcome)?,
        (_, hosts) => modify(&mut server, &args, wanted.as_ref(), hosts)?,
    };
    Ok(outcome
        .with_changed(done.changed)
        .with("user", args.name.as_str())
        .with("msg", done.msg)
        .with("password_changed", done.password_changed)
        .with("attributes", done.attributes))
}

fn check(args: &MysqlUserArgs) -> Result<(), Failure> {
    let refuse = |msg: &str| Err(Failure::new(msg));
    if args.password_expire_interval.is_some_and(|days| days < 1) {
        return refuse("password_expire_interval value should be positive number");
    }
    if args.password_expire.as_deref() == Some("interval")
        && args.password_expire_interval.is_none()
    {
        return refuse("password_expire is interval but password_expire_interval is missing");
    }
    if let Some(salt) = &args.salt {
        if args.plugin_auth_string.is_none() {
            return refuse("salt requires plugin_auth_string");
        }
        if salt.len() != 20 {
            return refuse("salt must be 20 characters long");
        }
        let plugin = args.plugin.as_deref().unwrap_or_default();
        if !["caching_sha2_password", "sha256_password"].contains(&plugin) {
            return refuse("salt requires caching_sha2_password or sha256_password plugin");
        }
    }
    Ok(())
}

fn connect<'m>(machine: &'m mut Machine, args: &MysqlUserArgs) -> Result<Server<'m>, Failure> {
    let login = args.login(args.force_context.then_some("mysql"));
    let mut login = login;
    if args.check_implicit_admin {
        let implicit = super::connection::Login {
            user: Some("root".into()),
            password: Some(String::new()),
            ..login.clone()
        };
        if Server::connect(machine, &implicit).is_ok() {
            login = implicit;
        }
    }
    let file = machine.expand(&args.config_file);
    Server::connect(machine, &login).map_err(|failure| {
        Failure::new(format!(
            "unable to connect to database, check login_user and login_password are correct or {} \
             has the credentials. Exception message: {}",
            file.display(),
            failure.msg
        ))
    })
}

/// Sets variables of the session.
pub(super) fn set_session(server: &mut Server<'_>, vars: Option<&Map>) -> Result<(), Failure> {
    for (name, value) in vars.into_iter().flatten() {
        let start = format!("SET SESSION {} = ", identifier(&name.to_string()));
        let statement = format!("{start}{}", literal_of(value)?);
        server.set(&statement).map_err(|why| {
            Failure::new(format!("Failed to execute {start}{value}: {}", why.msg))
        })?;
    }
    Ok(())
}

/// Returns the hosts that the task is about and that the user has.
fn hosts(server: &mut Server<'_>, args: &MysqlUserArgs) -> Result<Vec<String>, Failure> {
    let mut query = format!(
        "SELECT Host AS host FROM mysql.user WHERE User = {}",
        literal(&args.name)
    );
    if !args.host_all {
        query += &format!(" AND Host = {}", literal(&args.host.to_lowercase()));
    }
    let rows = server.rows(&query)?;
    Ok(rows.iter().map(|row| text(row, "host")).collect())
}

/// What came of it.
struct Done {
    changed: bool,
    msg: String,
    password_changed: Value,
    attributes: Value,
}

impl Done {
    fn unchanged(msg: &str) -> Self {
        Self {
            changed: false,
            msg: msg.into(),
            password_changed: false.into(),
            attributes: Value::Null,
        }
    }
}

/// A way to know an account, and how it is shown.
type Identified = (String, String);

/// Writes how the account is to be identified by its plugin.
fn by_plugin(args: &MysqlUserArgs, plugin: &str) -> Identified {
    let hidden = "'********'";
    let with = format!("IDENTIFIED WITH {plugin}");
    let secret = |how: &str, secret: &str| {
        (
            format!("{with} {how} {secret}"),
            format!("{with} {how} {hidden}"),
        )
    };
    if let Some(hash) = &args.plugin_hash_string {
        return secret("AS", &literal(hash));
    }
    match (&args.plugin_auth_string, &args.salt) {
        (Some(text), _) if plugin == "pam" => secret("USING", &literal(text)),
        (Some(text), _) if plugin == "ed25519" => (
            format!("{with} USING PASSWORD({})", literal(text)),
            format!("{with} USING PASSWORD({hidden})"),
        ),
        (Some(text), Some(salt)) => {
            let hash = sha256(text, salt);
            secret("AS", &format!("0x{}", hex(hash.as_bytes()).to_uppercase()))
        }
        (Some(text), None) => secret("BY", &literal(text)),
        (None, _) => (with.clone(), with),
    }
}

fn by_hash(hash: &str) -> Identified {
    (
        format!("IDENTIFIED WITH mysql_native_password AS {}", literal(hash)),
        "IDENTIFIED WITH mysql_native_password AS '********'".into(),
    )
}

fn add(
    server: &mut Server<'_>,
    args: &MysqlUserArgs,
    wanted: Option<&Privileges>,
    outcome: &mut Outcome,
) -> Result<Done, Failure> {
    let host = args.host.to_lowercase();
    let is_check = server.machine.is_check();
    if args.attributes.is_some() && !knows_attributes(server) {
        return Err(Failure::new(
            "user attributes were specified but the server does not support user attributes",
        ));
    }
    let given = args.attributes.clone().map_or(Value::Null, Value::from);
    if is_check {
        return Ok(Done {
            changed: true,
            msg: "User added".into(),
            password_changed: Value::Null,
            attributes: given,
        });
    }
    let reused = if args.update_password == "on_new_username" {
        reused(server, &args.name, outcome)?
    } else {
        None
    };
    let password = args.password.as_deref().filter(|it| !it.is_empty());
    let identified = match (&reused, password, &args.plugin) {
        (Some(reused), ..) => Some(reused.clone()),
        (None, Some(hash), _) if args.encrypted => Some(by_hash(hash)),
        (None, Some(password), _) => Some(by_hash(&native(password))),
        (None, None, Some(plugin)) => Some(by_plugin(args, plugin)),
        (None, None, None) => None,
    };
    let requires = Requires::of(args.tls_requires.as_ref());
    let mut account = Account::fresh(server, &args.name, &host);
    let name = account.name();
    let mut both = ["CREATE USER", "CREATE USER"].map(|start| format!("{start} {name}"));
    if let Some((secret, shown)) = identified {
        both[0] += &format!(" {secret}");
        both[1] += &format!(" {shown}");
    }
    if requires.is_some() {
        let clause = format!(" REQUIRE {}", Requires::clause(requires.as_ref()));
        both = both.map(|text| text + &clause);
    }
    account.change(&both[0], &both[1])?;
    if let Some(expire) = &args.password_expire {
        set_expiration(&mut account, args, expire)?;
    }
    if !args.subtract_privs {
        for (object, list) in wanted.into_iter().flatten() {
            grant(&mut account, object, list)?;
        }
    }
    let mut attributes = Value::Null;
    if let Some(map) = &args.attributes {
        set_attributes(&mut account, map)?;
        attributes = self::attributes(&mut account)?.map_or(Value::Null, Value::from);
    }
    if args.locked == Some(true) {
        account.change_openly(&format!("ALTER USER {name} ACCOUNT LOCK"))?;
    }
    if let Some(limits) = &args.resource_limits {
        limit(&mut account, limits, true)?;
    }
    Ok(Done {
        changed: true,
        msg: "User added".into(),
        password_changed: reused.is_none().into(),
        attributes,
    })
}

/// Returns how the user is known on its other hosts, where that is one way.
fn reused(
    server: &mut Server<'_>,
    user: &str,
    outcome: &mut Outcome,
) -> Result<Option<Identified>, Failure> {
    let rows = server.rows(&format!(
        "SELECT DISTINCT plugin, authentication_string AS auth FROM mysql.user WHERE User = {}",
        literal(user)
    ))?;
    match rows.as_slice() {
        [] => Ok(None),
        [row] => {
            let with = format!("IDENTIFIED WITH {} AS ", text(row, "plugin"));
            Ok(Some((
                format!("{with}{}", literal(&text(row, "auth"))),
                format!("{with}'********'"),
            )))
        }
        _ => {
            outcome.warnings.push(format!(
                "An account with the username {user} has a different password than the others \
                 existing accounts. Thus on_new_username can't decide which password to reuse so \
                 it will use your provided password instead. If no password is provided, the \
                 account will have an empty password!"
            ));
            Ok(None)
        }
    }
}

fn modify(
    server: &mut Server<'_>,
    args: &MysqlUserArgs,
    wanted: Option<&Privileges>,
    hosts: &[String],
) -> Result<Done, Failure> {
    let mut done = Done {
        attributes: Map::new().into(),
        ..Done::unchanged("User unchanged")
    };
    let may_change_password = args.update_password == "always";
    for host in hosts {
        let mut account = Account::known(server, &args.name, host)?;
        if may_change_password {
            set_password(&mut account, args, &mut done)?;
        }
        if let Some(expire) = &args.password_expire {
            if !account.expires() {
                return Err(Failure::new(
                    "The server version does not match the requirements for password_expire \
                     parameter. See module's documentation.",
                ));
            }
            if expiration_differs(&mut account, args, expire)? {
                set_expiration(&mut account, args, expire)?;
                done.changed = true;
                done.password_changed = true.into();
            }
        }
        if may_change_password && let Some(plugin) = &args.plugin {
            set_plugin(&mut account, args, plugin, &mut done)?;
        }
        if let Some(wanted) = wanted {
            set_privileges(&mut account, args, wanted, &mut done)?;
        }
        change_attributes(&mut account, args, &mut done)?;
        if let Some(locked) = args.locked
            && account.is_locked()? != locked
        {
            let is_check = account.server.machine.is_check();
            let (word, past) = if locked {
                ("LOCK", "locked")
            } else {
                ("UNLOCK", "unlocked")
            };
            account.change_openly(&format!("ALTER USER {} ACCOUNT {word}", account.name()))?;
            let will = if is_check { "will be " } else { "" };
            done.msg = format!("User {will}{past}");
            done.changed = true;
        }
        let requires = Requires::of(args.tls_requires.as_ref());
        if account.requires()? != requires {
            account.change_openly(&format!(
                "ALTER USER {} REQUIRE {}",
                account.name(),
                Requires::clause(requires.as_ref())
            ))?;
            done.msg = "TLS requires updated".into();
            done.changed = true;
        }
        if let Some(limits) = &args.resource_limits {
            done.changed |= limit(&mut account, limits, false)?;
        }
    }
    Ok(done)
}

fn set_password(
    account: &mut Account<'_, '_>,
    args: &MysqlUserArgs,
    done: &mut Done,
) -> Result<(), Failure> {
    let Some(password) = args.password.as_deref().filter(|it| !it.is_empty()) else {
        return Ok(());
    };
    let row = account.columns("authentication_string AS auth")?;
    let mut current = text(&row, "auth");
    if current.is_empty() && account.server.is_mariadb() {
        current = text(&account.columns("Password AS auth")?, "auth");
    }
    let hash = if args.encrypted {
        let digits = password.strip_prefix('*').unwrap_or_default();
        if digits.len() != 40 || !digits.bytes().all(|digit| digit.is_ascii_hexdigit()) {
            return Err(Failure::new(
                "encrypted was specified however it does not appear to be a valid hash expecting: \
                 *SHA1(SHA1(your_password))",
            ));
        }
        password.to_owned()
    } else {
        native(password)
    };
    if current == hash {
        return Ok(());
    }
    let is_check = account.server.machine.is_check();
    let (secret, shown) = by_hash(&hash);
    let name = account.name();
    account.change(
        &format!("ALTER USER {name} {secret}"),
        &format!("ALTER USER {name} {shown}"),
    )?;
    done.msg = if is_check {
        "Password updated".into()
    } else {
        "Password updated (new style)".into()
    };
    done.password_changed = true.into();
    done.changed = true;
    Ok(())
}

fn set_plugin(
    account: &mut Account<'_, '_>,
    args: &MysqlUserArgs,
    plugin: &str,
    done: &mut Done,
) -> Result<(), Failure> {
    let row = account.columns("plugin, authentication_string AS auth")?;
    let auth = text(&row, "auth");
    let differs = text(&row, "plugin") != plugin
        || args
            .plugin_hash_string
            .as_ref()
            .is_some_and(|hash| *hash != auth)
        || match (&args.plugin_auth_string, &args.salt) {
            (Some(text), Some(salt)) => sha256(text, salt) != auth,
            // How a plugin hashes is its own matter: rather once too often.
            (Some(text), None) => *text != auth,
            _ => false,
        };
    if differs {
        let (secret, shown) = by_plugin(args, plugin);
        let name = account.name();
        account.change(
            &format!("ALTER USER {name} {secret}"),
            &format!("ALTER USER {name} {shown}"),
        )?;
        done.changed = true;
        done.password_changed = true.into();
    }
    Ok(())
}

fn expiration_differs(
    account: &mut Account<'_, '_>,
    args: &MysqlUserArgs,
    expire: &str,
) -> Result<bool, Failure> {
    let lifetime = if account.server.is_mariadb() {
        let query = format!(
            "SELECT JSON_EXTRACT(Priv, '$.password_lifetime') AS lifetime FROM mysql.global_priv \
             WHERE User = {} AND Host = {}",
            literal(account.user()),
            literal(&account.host)
        );
        account.server.text(&query)?
    } else {
        let row = account.columns("password_lifetime AS lifetime")?;
        Some(text(&row, "lifetime")).filter(|text| !text.is_empty())
    };
    let lifetime: i64 = lifetime.and_then(|text| text.parse().ok()).unwrap_or(-1);
    Ok(match expire {
        "default" => lifetime != -1,
        "never" => lifetime != 0,
        "interval" => Some(lifetime) != args.password_expire_interval,
        _ => text(&account.columns("password_expired AS expired")?, "expired") != "Y",
    })
}

fn set_expiration(
    account: &mut Account<'_, '_>,
    args: &MysqlUserArgs,
    expire: &str,
) -> Result<(), Failure> {
    let how = match expire {
        "never" => " NEVER".into(),
        "default" => " DEFAULT".into(),
        "interval" => format!(
            " INTERVAL {} DAY",
            args.password_expire_interval.unwrap_or_default()
        ),
        _ => String::new(),
    };
    account.change_openly(&format!(
        "ALTER USER {} PASSWORD EXPIRE{how}",
        account.name()
    ))
}

fn set_privileges(
    account: &mut Account<'_, '_>,
    args: &MysqlUserArgs,
    wanted: &Privileges,
    done: &mut Done,
) -> Result<(), Failure> {
    let current = account.privileges()?;
    let is_check = account.server.machine.is_check();
    let replaces = !args.append_privs && !args.subtract_privs;
    if replaces {
        for (object, list) in &current {
            let is_gone = !wanted.contains_key(object);
            if is_gone && account.user() != "root" && !list.iter().any(|one| one == "PROXY") {
                revoke(account, object, list)?;
                done.msg = "Privileges updated".into();
                done.changed = true;
            }
        }
    }
    for (object, list) in wanted {
        let Some(has) = current.get(object) else {
            if !args.subtract_privs {
                grant(account, object, list)?;
                done.msg = "New privileges granted".into();
                done.changed = true;
            }
            continue;
        };
        let without = |from: &[String], what: &[String]| -> Vec<String> {
            let kept = from.iter().filter(|one| !what.contains(one));
            kept.cloned().collect()
        };
        let (mut granting, mut revoking) = if args.subtract_privs {
            let both = list.iter().filter(|one| has.contains(one));
            (Vec::new(), both.cloned().collect())
        } else if args.append_privs {
            (without(list, has), Vec::new())
        } else {
            (without(list, has), without(has, list))
        };
        if granting.iter().any(|one| one == "ALL") {
            // Nothing is missing then, but what `ALL` does not bring.
            revoking.retain(|one| one == "GRANT" || one == "PROXY");
        }
        if granting == ["GRANT"] {
            granting.push("USAGE".into());
        }
        if granting.is_empty() && revoking.is_empty() {
            continue;
        }
        let shown = |list: &[String]| repr(&Value::list(list.iter().map(String::as_str)));
        done.msg = format!(
            "Privileges updated: granted {}, revoked {}",
            shown(&granting),
            shown(&revoking)
        );
        done.changed |= is_check;
        if !revoking.is_empty() {
            revoke(account, object, &revoking)?;
        }
        if !granting.is_empty() {
            grant(account, object, &granting)?;
        }
    }
    if !is_check {
        done.changed |= account.privileges()? != current;
    }
    Ok(())
}

fn revoke(account: &mut Account<'_, '_>, object: &str, list: &[String]) -> Result<(), Failure> {
    let name = account.name();
    let is_option = |one: &&String| *one == "GRANT";
    if list.iter().any(|one| is_option(&one)) {
        account.change_openly(&format!("REVOKE GRANT OPTION ON {object} FROM {name}"))?;
    }
    let rest: Vec<_> = list.iter().filter(|one| !is_option(one)).cloned().collect();
    if !rest.is_empty() && rest != ["USAGE"] {
        account.change_openly(&format!(
            "REVOKE {} ON {object} FROM {name}",
            rest.join(",")
        ))?;
    }
    Ok(())
}

fn grant(account: &mut Account<'_, '_>, object: &str, list: &[String]) -> Result<(), Failure> {
    let rest: Vec<&str> = list
        .iter()
        .map(String::as_str)
        .filter(|one| *one != "GRANT")
        .collect();
    let privileges = if rest.is_empty() {
        "USAGE".to_owned()
    } else {
        rest.join(",")
    };
    let mut statement = format!("GRANT {privileges} ON {object} TO {}", account.name());
    if rest.len() < list.len() {
        statement += " WITH GRANT OPTION";
    }
    account.change_openly(&statement).map_err(|failure| {
        Failure::new(format!(
            "Error granting privileges, invalid priv string: {privileges} , params: ({}, {}), \
             query: {statement} , exception: {}.",
            repr(&account.user().into()),
            repr(&account.host.as_str().into()),
            failure.msg
        ))
    })
}

/// Sets the limits that differ; tells whether there are any.
fn limit(account: &mut Account<'_, '_>, limits: &Map, is_new: bool) -> Result<bool, Failure> {
    let is_mariadb = account.server.is_mariadb();
    if !is_mariadb && limits.contains_key("MAX_STATEMENT_TIME") {
        return Err(Failure::new(
            "MAX_STATEMENT_TIME resource limit is only supported by MariaDB.",
        ));
    }
    let mut columns = vec![
        ("MAX_QUERIES_PER_HOUR", "max_questions"),
        ("MAX_UPDATES_PER_HOUR", "max_updates"),
        ("MAX_CONNECTIONS_PER_HOUR", "max_connections"),
        ("MAX_USER_CONNECTIONS", "max_user_connections"),
    ];
    if is_mariadb {
        columns.push(("MAX_STATEMENT_TIME", "max_statement_time"));
    }
    let asked: Vec<_> = columns
        .iter()
        .map(|(name, column)| format!("{column} AS {name}"))
        .collect();
    let current = account.columns(&asked.join(", "))?;
    let mut clauses = Vec::new();
    for (name, value) in limits {
        let name = name.to_string();
        if !columns.iter().any(|(known, _)| *known == name) {
            return Err(Failure::new(format!(
                "resource_limits: key '{name}' is unsupported."
            )));
        }
        let value: i64 = value
            .to_string()
            .trim()
            .parse()
            .map_err(|_| Failure::new(format!("Can't convert value '{value}' to integer.")))?;
        let has = text(&current, &name).parse::<f64>().unwrap_or(0.0);
        #[expect(
            clippy::float_cmp,
            clippy::cast_precision_loss,
            reason = "both are small whole numbers"
        )]
        if is_new || has != value as f64 {
            clauses.push(format!("{name} {value}"));
        }
    }
    if clauses.is_empty() {
        return Ok(false);
    }
    account.change_openly(&format!(
        "ALTER USER {} WITH {}",
        account.name(),
        clauses.join(" ")
    ))?;
    Ok(true)
}

fn knows_attributes(server: &mut Server<'_>) -> bool {
    let query = "SELECT attribute FROM INFORMATION_SCHEMA.USER_ATTRIBUTES LIMIT 0";
    server.rows(query).is_ok()
}

fn attributes(account: &mut Account<'_, '_>) -> Result<Option<Map>, Failure> {
    let query = format!(
        "SELECT attribute FROM INFORMATION_SCHEMA.USER_ATTRIBUTES WHERE user = {} AND host = {}",
        literal(account.user()),
        literal(&account.host)
    );
    let told = account.server.text(&query)?.unwrap_or_default();
    let value: Value = serde_json::from_str(&told).unwrap_or_default();
    Ok(value.as_map().filter(|map| !map.is_empty()).cloned())
}

fn set_attributes(account: &mut Account<'_, '_>, map: &Map) -> Result<(), Failure> {
    let json = serde_json::to_string(&Value::from(map.clone())).map_err(|error| {
        Failure::new(format!("the attributes cannot be written as JSON: {error}"))
    })?;
    account.change_openly(&format!(
        "ALTER USER {} ATTRIBUTE {}",
        account.name(),
        literal(&json)
    ))
}

fn change_attributes(
    account: &mut Account<'_, '_>,
    args: &MysqlUserArgs,
    done: &mut Done,
) -> Result<(), Failure> {
    let is_known = knows_attributes(account.server);
    let Some(wanted) = &args.attributes else {
        if is_known {
            done.attributes = attributes(account)?.map_or(Value::Null, Value::from);
        }
        return Ok(());
    };
    if !is_known {
        return Err(Failure::new(
            "user attributes were specified but the server does not support user attributes",
        ));
    }
    let mut current = attributes(account)?.unwrap_or_default();
    let differs = |(name, value): &(&Value, &Value)| current.get(*name) != Some(*value);
    let changes: Map = wanted
        .iter()
        .filter(differs)
        .map(|(name, value)| (name.clone(), value.clone()))
        .collect();
    if !changes.is_empty() {
        let shown: Vec<_> = changes
            .iter()
            .map(|(name, value)| format!("{name}: {value}"))
            .collect();
        done.msg = format!("Attributes updated: {}", shown.join(", "));
        done.changed = true;
        set_attributes(account, &changes)?;
        for (name, value) in changes {
            match value {
                Value::Null => current.shift_remove(&name),
                value => current.insert(name, value),
            };
        }
    }
    done.attributes = if current.is_empty() {
        Value::Null
    } else {
        current.into()
    };
    Ok(())
}
