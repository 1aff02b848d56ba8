//! `postgresql_privs`: what roles may do with objects, by default with new ones, and as members
//! of groups.
//!
//! The statement is tried in a transaction that is rolled back: the access lists before and after
//! it tell whether it changes anything, and what undoes it.

use std::collections::BTreeMap;

use super::connection::{Server, check_input, identifier, literal, text};
use super::postgresql_arguments;
use crate::machine::Machine;
use crate::modules::{Failure, ModuleResult, Outcome};
use crate::value::Value;

postgresql_arguments! {
    /// Grant or revoke privileges on `PostgreSQL` database objects.
    struct PostgresqlPrivsArgs for "community.postgresql.postgresql_privs" {
        login_db: String { required, aliases: ["db", "database"] },
        state: String { default: "present", choices: ["present", "absent"] },
        /// The privileges, comma-separated.
        privs: Option<String> { aliases: ["priv"] },
        r#type: String {
            default: "table",
            choices: [
                "table", "sequence", "function", "procedure", "database", "schema", "language",
                "tablespace", "group", "default_privs", "foreign_data_wrapper", "foreign_server",
                "type", "parameter",
            ],
        },
        /// The objects, comma-separated, or `ALL_IN_SCHEMA`, or `ALL_DEFAULT`.
        objs: Option<String> { aliases: ["obj"] },
        schema: Option<String> {},
        /// Who gets or loses them, comma-separated; `PUBLIC` is everybody.
        roles: String { required, aliases: ["role"] },
        /// Whose new objects default privileges are for.
        target_roles: Option<String> {},
        /// Let the roles pass on what they get; `false` takes that away.
        grant_option: Option<bool> { aliases: ["admin_option"] },
        /// Fail when a role is not there; else it is passed over.
        fail_on_role: bool { default: "true" },
    }
}

const PRIVILEGES: [&str; 17] = [
    "SELECT",
    "INSERT",
    "UPDATE",
    "DELETE",
    "TRUNCATE",
    "REFERENCES",
    "TRIGGER",
    "CREATE",
    "CONNECT",
    "TEMPORARY",
    "TEMP",
    "EXECUTE",
    "USAGE",
    "ALL",
    "SET",
    "ALTER_SYSTEM",
    "MAINTAIN",
];

/// What privileges there are by default for each kind of new objects.
const DEFAULTS: [(&str, &[&str]); 5] = [
    (
        "TABLES",
        &[
            "ALL",
            "SELECT",
            "INSERT",
            "UPDATE",
            "DELETE",
            "TRUNCATE",
            "REFERENCES",
            "TRIGGER",
            "MAINTAIN",
        ],
    ),
    ("SEQUENCES", &["ALL", "SELECT", "UPDATE", "USAGE"]),
    ("FUNCTIONS", &["ALL", "EXECUTE"]),
    ("TYPES", &["ALL", "USAGE"]),
    ("SCHEMAS", &["CREATE", "USAGE"]),
];

const IMPLICIT: [&str; 4] = ["PUBLIC", "CURRENT_USER", "SESSION_USER", "CURRENT_ROLE"];

/// Grants or revokes.
pub(crate) fn run_privileges(machine: &mut Machine, args: PostgresqlPrivsArgs) -> ModuleResult {
    let wanted = Wanted::of(&args)?;
    check_input(
        args.trust_input,
        [
            Some(args.roles.as_str()),
            args.target_roles.as_deref(),
            args.session_role.as_deref(),
            args.schema.as_deref(),
        ],
    )?;
    let mut outcome = Outcome::unchanged();
    let mut server = args.server(machine, &args.login_db)?;
    let objects = wanted.objects(&mut server)?;
    let roles = roles(&mut server, &args, &mut outcome)?;
    let nothing = Value::list::<Value>([]);
    if roles.is_empty() {
        return Ok(outcome
            .warn("No valid roles provided, nothing to do")
            .with("queries", nothing));
    }
    if args.target_roles.is_some() && args.r#type != "default_privs" {
        outcome.warnings.push(
            "\"target_roles\" will be ignored Argument \"type: default_privs\" is required for \
             usage of \"target_roles\"."
                .into(),
        );
    }
    if objects.is_empty() {
        return Ok(outcome.with("queries", nothing));
    }
    let statement = wanted.statement(&objects, &roles);
    let watched = wanted.watched(&objects)?;
    let failed = |failure: Failure| {
        if failure.msg.starts_with("unable to connect") {
            return failure;
        }
        Failure::new(format!("Cannot execute SQL '{statement}': {}", failure.msg))
    };
    let [before, after] = server.rehearse(&statement, &watched).map_err(failed)?;
    let lists =
        |rows: &[Value]| -> Vec<String> { rows.iter().map(|row| text(row, "acl")).collect() };
    let changed = lists(&before) != lists(&after);
    if changed {
        let undo = wanted.way_back(&before, &after);
        server
            .execute(&statement, &statement, Some(&undo))
            .map_err(failed)?;
    }
    Ok(outcome
        .with_changed(changed)
        .with("queries", Value::list([statement])))
}

/// Returns the roles as statements name them.
fn roles(
    server: &mut Server<'_>,
    args: &PostgresqlPrivsArgs,
    outcome: &mut Outcome,
) -> Result<Vec<String>, Failure> {
    let names: Vec<&str> = args.roles.split(',').collect();
    let known = server.rows(&format!(
        "SELECT rolname FROM pg_catalog.pg_roles WHERE rolname IN ({})",
        literals(&names)
    ))?;
    let known: Vec<_> = known.iter().map(|row| text(row, "rolname")).collect();
    let mut roles = Vec::new();
    for name in names {
        if IMPLICIT.contains(&name.to_uppercase().as_str()) {
            roles.push(name.to_uppercase());
        } else if known.iter().any(|known| known == name) {
            roles.push(identifier(name));
        } else if args.fail_on_role {
            return Err(Failure::new(format!("Role '{name}' does not exist")));
        } else {
            let warning = format!("Role '{name}' does not exist, pass it");
            outcome.warnings.push(warning);
        }
    }
    Ok(roles)
}

fn literals<S: AsRef<str>>(texts: &[S]) -> String {
    let all: Vec<_> = texts.iter().map(|text| literal(text.as_ref())).collect();
    all.join(", ")
}

/// What the task wants, checked as far as it can be without the server.
struct Wanted<'a> {
    args: &'a PostgresqlPrivsArgs,
    kind: &'a str,
    schema: Option<String>,
    privileges: Vec<String>,
    objects: String,
}

impl<'a> Wanted<'a> {
    fn of(args: &'a PostgresqlPrivsArgs) -> Result<Self, Failure> {
        let refuse = |msg: String| Err(Failure::new(msg));
        let kind = args.r#type.as_str();
        let given = args.objs.clone().filter(|objects| !objects.is_empty());
        let in_schema = [
            "table",
            "sequence",
            "function",
            "procedure",
            "type",
            "default_privs",
        ];
        let schema = if in_schema.contains(&kind) {
            let is_none = given.as_deref() == Some("schemas")
                || args.schema.as_deref() == Some("not-specified");
            let named = args.schema.clone().filter(|schema| !schema.is_empty());
            (!is_none).then(|| named.unwrap_or_else(|| "public".into()))
        } else if args
            .schema
            .as_ref()
            .is_some_and(|schema| !schema.is_empty())
        {
            return refuse(format!(
                "Argument \"schema\" is not allowed for type \"{kind}\"."
            ));
        } else {
            None
        };
        let is_all = given.as_deref() == Some("ALL_IN_SCHEMA");
        if is_all && !["table", "sequence", "function", "procedure"].contains(&kind) {
            return refuse(format!(
                "Argument \"objs\": ALL_IN_SCHEMA can be used only for type: table, sequence, \
                 function or procedure, {kind} was passed."
            ));
        }
        let objects = match given {
            Some(objects) => objects,
            None if kind == "database" => args.login_db.clone(),
            None => {
                return refuse(format!(
                    "Argument \"objs\" is required for type \"{kind}\"."
                ));
            }
        };
        let privileges = args.privs.as_deref().unwrap_or_default();
        if kind == "group" && !privileges.is_empty() {
            return refuse("Argument \"privs\" is not allowed for type \"group\".".into());
        }
        if kind != "group" && privileges.is_empty() {
            return refuse(format!(
                "Argument \"privs\" is required for type \"{kind}\"."
            ));
        }
        let mut list: Vec<String> = Vec::new();
        for privilege in privileges.split(',').filter(|_| !privileges.is_empty()) {
            let privilege = privilege.to_uppercase();
            if !PRIVILEGES.contains(&privilege.as_str()) {
                return refuse(format!(
                    "Invalid privileges specified: frozenset({{'{privilege}'}})"
                ));
            }
            if !list.contains(&privilege) {
                list.push(privilege);
            }
        }
        Ok(Self {
            args,
            kind,
            schema,
            privileges: list,
            objects,
        })
    }

    fn is_all(&self) -> bool {
        self.objects == "ALL_IN_SCHEMA"
    }

    /// Returns the names of the objects; functions with their arguments.
    fn objects(&self, server: &mut Server<'_>) -> Result<Vec<String>, Failure> {
        if self.is_all() {
            return self.all_in_schema(server);
        }
        if self.kind == "default_privs" {
            return self.default_objects();
        }
        let is_function = matches!(self.kind, "function" | "procedure");
        let mut names = Vec::new();
        for name in self.objects.split(',') {
            if is_function && !name.contains('(') {
                return Err(Failure::new(format!(
                    "Illegal function / procedure signature: \"{name}\"."
                )));
            }
            names.push(if is_function {
                name.replace(':', ",")
            } else {
                name.to_owned()
            });
        }
        Ok(names)
    }

    fn default_objects(&self) -> Result<Vec<String>, Failure> {
        let objects: Vec<String> = if self.objects == "ALL_DEFAULT" {
            let all = DEFAULTS.iter().map(|(name, _)| (*name).to_owned());
            all.filter(|name| name != "SCHEMAS").collect()
        } else {
            self.objects.split(',').map(str::to_uppercase).collect()
        };
        for object in &objects {
            let Some((_, valid)) = DEFAULTS.iter().find(|(name, _)| name == object) else {
                return Err(Failure::new(format!(
                    "Invalid Object set specified: frozenset({{'{object}'}})"
                )));
            };
            let wrong = self
                .privileges
                .iter()
                .find(|it| !valid.contains(&it.as_str()));
            if let Some(wrong) = wrong {
                return Err(Failure::new(format!(
                    "Invalid priv specified: {wrong}. Valid for {object}: {}",
                    valid.join(", ")
                )));
            }
        }
        Ok(objects)
    }

    fn all_in_schema(&self, server: &mut Server<'_>) -> Result<Vec<String>, Failure> {
        let schema = self.schema.as_deref().unwrap_or("public");
        let exists = format!(
            "SELECT 1 AS one FROM pg_catalog.pg_namespace WHERE nspname = {}",
            literal(schema)
        );
        if server.row(&exists)?.is_none() {
            return Err(Failure::new(format!("Schema \"{schema}\" does not exist.")));
        }
        let query = match self.kind {
            "table" | "sequence" => format!(
                "SELECT relname AS name FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON \
                 n.oid = c.relnamespace WHERE nspname = {} AND relkind IN {} ORDER BY relname",
                literal(schema),
                relation_kinds(self.kind)
            ),
            kind => format!(
                "SELECT proname || '(' || oidvectortypes(proargtypes) || ')' AS name FROM \
                 pg_catalog.pg_proc p JOIN pg_catalog.pg_namespace n ON n.oid = p.pronamespace WHERE \
                 nspname = {} AND prokind = '{}' ORDER BY 1",
                literal(schema),
                if kind == "function" { 'f' } else { 'p' }
            ),
        };
        let rows = server.rows(&query)?;
        Ok(rows.iter().map(|row| text(row, "name")).collect())
    }

    /// Writes the statement, with its semicolons.
    fn statement(&self, objects: &[String], roles: &[String]) -> String {
        let roles = roles.join(",");
        if self.kind == "default_privs" {
            return self.default_statement(objects, &roles);
        }
        let schema = self.schema.as_deref().map(identifier).unwrap_or_default();
        let privileges = self.privileges.join(",").replace('_', " ");
        let what = if self.kind == "group" {
            let names: Vec<_> = objects.iter().map(|name| identifier(name)).collect();
            names.join(",")
        } else if self.is_all() {
            let all = self.kind.to_uppercase();
            format!("{privileges} ON ALL {all}S IN SCHEMA {schema}")
        } else {
            let names: Vec<_> = objects
                .iter()
                .map(|name| self.named(name, &schema))
                .collect();
            let kind = self.kind.replace('_', " ");
            format!("{privileges} ON {kind} {}", names.join(","))
        };
        if self.args.state == "absent" {
            return format!("REVOKE {what} FROM {roles};");
        }
        let option = if self.kind == "group" {
            "ADMIN"
        } else {
            "GRANT"
        };
        match self.args.grant_option {
            Some(true) => format!("GRANT {what} TO {roles} WITH {option} OPTION;"),
            Some(false) => {
                format!("GRANT {what} TO {roles};\nREVOKE {option} OPTION FOR {what} FROM {roles};")
            }
            None => format!("GRANT {what} TO {roles};"),
        }
    }

    fn named(&self, name: &str, schema: &str) -> String {
        match self.kind {
            "function" | "procedure" => {
                let (name, arguments) = name.split_once('(').unwrap_or((name, ")"));
                format!("{schema}.{}({arguments}", identifier(name))
            }
            "table" | "sequence" | "type" => format!("{schema}.{}", identifier(name)),
            _ => identifier(name),
        }
    }

    fn default_statement(&self, objects: &[String], roles: &str) -> String {
        let mut start = "ALTER DEFAULT PRIVILEGES".to_owned();
        if let Some(targets) = &self.args.target_roles {
            let names: Vec<_> = targets.split(',').map(identifier).collect();
            start += &format!(" FOR ROLE {}", names.join(","));
        }
        if let Some(schema) = &self.schema {
            start += &format!(" IN SCHEMA {}", identifier(schema));
        }
        let revoke = |object: &str| format!("{start} REVOKE ALL ON {object} FROM {roles};");
        if self.args.state == "absent" {
            let all = ["TABLES", "FUNCTIONS", "SEQUENCES", "TYPES"].map(revoke);
            return all.join("\n");
        }
        let option = match self.args.grant_option {
            Some(true) => " WITH GRANT OPTION",
            _ => "",
        };
        let privileges = self.privileges.join(",");
        let grant =
            |object: &str| format!("{start} GRANT {privileges} ON {object} TO {roles}{option};");
        let first = objects.iter().map(|object| revoke(object));
        let then = objects.iter().map(|object| grant(object));
        first.chain(then).collect::<Vec<_>>().join("\n")
    }

    /// Writes the query for the access lists: of each object what statements call it, its list as
    /// the server keeps it, and what it comes to.
    fn watched(&self, objects: &[String]) -> Result<String, Failure> {
        let names: Vec<&str> = objects
            .iter()
            .map(|name| name.split('(').next().unwrap_or(name))
            .collect();
        let names = format!("ANY (ARRAY[{}]::name[])", literals(&names));
        let schema = self.schema.as_deref().map(literal).unwrap_or_default();
        let lists = match self.kind {
            "group" => {
                return Ok(format!(
                    "SELECT quote_ident(r.rolname) AS obj, coalesce((SELECT string_agg(m.member || \
                     '/' || m.admin_option, ',' ORDER BY m.member) FROM pg_auth_members m WHERE \
                     m.roleid = r.oid), '') AS acl, (SELECT json_agg(json_build_object('grantee', \
                     quote_ident(pg_get_userbyid(m.member)), 'privilege', '', 'grantable', \
                     m.admin_option)) FROM pg_auth_members m WHERE m.roleid = r.oid) AS items FROM \
                     pg_roles r WHERE r.rolname = {names} ORDER BY 1"
                ));
            }
            "default_privs" => self.watched_defaults(),
            "table" | "sequence" => format!(
                "SELECT '{} ' || quote_ident(nspname) || '.' || quote_ident(relname) AS obj, relacl \
                 AS acl, acldefault('{}', relowner) AS base FROM pg_class c JOIN pg_namespace n ON \
                 n.oid = c.relnamespace WHERE nspname = {schema} AND relkind IN {} AND relname = \
                 {names}",
                self.kind.to_uppercase(),
                if self.kind == "table" { 'r' } else { 's' },
                relation_kinds(self.kind),
            ),
            "function" | "procedure" => format!(
                "SELECT '{} ' || quote_ident(nspname) || '.' || quote_ident(proname) || '(' || \
                 pg_get_function_identity_arguments(p.oid) || ')' AS obj, proacl AS acl, \
                 acldefault('f', proowner) AS base FROM pg_proc p JOIN pg_namespace n ON n.oid = \
                 p.pronamespace WHERE nspname = {schema} AND proname = {names}",
                self.kind.to_uppercase(),
            ),
            "type" => format!(
                "SELECT 'TYPE ' || quote_ident(nspname) || '.' || quote_ident(typname) AS obj, typacl \
                 AS acl, acldefault('T', typowner) AS base FROM pg_type t JOIN pg_namespace n ON \
                 n.oid = t.typnamespace WHERE nspname = {schema} AND typname = {names}"
            ),
            "parameter" => format!(
                "SELECT 'PARAMETER ' || quote_ident(parname) AS obj, paracl AS acl, NULL::aclitem[] \
                 AS base FROM pg_parameter_acl WHERE parname = ANY (ARRAY[{}]::text[])",
                literals(objects)
            ),
            kind => {
                let (table, start, letter, owner) = match kind {
                    "schema" => ("pg_namespace", "nsp", 'n', "nspowner"),
                    "language" => ("pg_language", "lan", 'l', "lanowner"),
                    "tablespace" => ("pg_tablespace", "spc", 't', "spcowner"),
                    "database" => ("pg_database", "dat", 'd', "datdba"),
                    "foreign_data_wrapper" => ("pg_foreign_data_wrapper", "fdw", 'F', "fdwowner"),
                    "foreign_server" => ("pg_foreign_server", "srv", 'S', "srvowner"),
                    other => {
                        return Err(Failure::new(format!(
                            "Unsupported database object type \"{other}\"."
                        )));
                    }
                };
                let kind = kind.to_uppercase().replace('_', " ");
                format!(
                    "SELECT '{kind} ' || quote_ident({start}name) AS obj, {start}acl AS acl, \
                     acldefault('{letter}', {owner}) AS base FROM {table} WHERE {start}name = {names}"
                )
            }
        };
        Ok(format!(
            "SELECT obj, acl::text AS acl, (SELECT json_agg(json_build_object('grantee', CASE WHEN \
             a.grantee = 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(a.grantee)) END, \
             'privilege', a.privilege_type, 'grantable', a.is_grantable)) FROM \
             aclexplode(coalesce(l.acl, l.base)) a) AS items FROM ({lists}) l ORDER BY obj"
        ))
    }

    fn watched_defaults(&self) -> String {
        let roles = match &self.args.target_roles {
            Some(targets) => literals(&targets.split(',').collect::<Vec<_>>()),
            None => "current_user".into(),
        };
        let (place, namespace, base) = match &self.schema {
            Some(schema) => (
                format!("' IN SCHEMA ' || quote_ident({})", literal(schema)),
                format!(
                    "(SELECT oid FROM pg_namespace WHERE nspname = {})",
                    literal(schema)
                ),
                "NULL::aclitem[]",
            ),
            None => ("''".into(), "0".into(), "acldefault(k.base, r.oid)"),
        };
        format!(
            "SELECT 'ALTER DEFAULT PRIVILEGES FOR ROLE ' || quote_ident(rolname) || {place} || \
             '|' || k.name AS obj, d.defaclacl AS acl, {base} AS base FROM pg_roles r CROSS JOIN \
             (VALUES ('r'::\"char\", 'r'::\"char\", 'TABLES'), ('S', 's', 'SEQUENCES'), ('f', 'f', \
             'FUNCTIONS'), ('T', 'T', 'TYPES'), ('n', 'n', 'SCHEMAS')) k(kind, base, name) LEFT \
             JOIN pg_default_acl d ON d.defaclrole = r.oid AND d.defaclobjtype = k.kind AND \
             d.defaclnamespace = {namespace} WHERE r.rolname IN ({roles})"
        )
    }

    /// Writes the statements that make the lists what they were.
    fn way_back(&self, before: &[Value], after: &[Value]) -> Vec<String> {
        let lists = |rows: &[Value]| -> BTreeMap<String, Items> {
            rows.iter()
                .map(|row| (text(row, "obj"), items(row)))
                .collect()
        };
        let (before, after) = (lists(before), lists(after));
        let nothing = Items::new();
        let mut statements = Vec::new();
        for object in before
            .keys()
            .chain(after.keys().filter(|it| !before.contains_key(*it)))
        {
            let was = before.get(object).unwrap_or(&nothing);
            let is = after.get(object).unwrap_or(&nothing);
            for ((step, grantee), privileges) in steps(was, is) {
                statements.push(self.back(step, object, grantee, &privileges.join(", ")));
            }
        }
        statements
    }

    fn back(&self, step: Step, object: &str, grantee: &str, privileges: &str) -> String {
        let is_group = self.kind == "group";
        let (start, what) = match object.split_once('|') {
            Some((start, kind)) if self.kind == "default_privs" => {
                (format!("{start} "), format!("{privileges} ON {kind}"))
            }
            _ if is_group => (String::new(), object.to_owned()),
            _ => (String::new(), format!("{privileges} ON {object}")),
        };
        let option = if is_group { "ADMIN" } else { "GRANT" };
        match step {
            Step::Revoke => format!("{start}REVOKE {what} FROM {grantee}"),
            Step::RevokeOption => {
                format!("{start}REVOKE {option} OPTION FOR {what} FROM {grantee}")
            }
            Step::Grant => format!("{start}GRANT {what} TO {grantee}"),
            Step::GrantWithOption => {
                format!("{start}GRANT {what} TO {grantee} WITH {option} OPTION")
            }
        }
    }
}

/// Who has which privilege, and whether it may be passed on.
type Items = BTreeMap<(String, String), bool>;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Step {
    Revoke,
    RevokeOption,
    Grant,
    GrantWithOption,
}

/// Returns what leads from one list to another: what is done to whom, with which privileges.
fn steps<'a>(was: &'a Items, is: &'a Items) -> BTreeMap<(Step, &'a str), Vec<&'a str>> {
    let mut steps: BTreeMap<(Step, &str), Vec<&str>> = BTreeMap::new();
    for (item @ (grantee, privilege), grantable) in was {
        let step = match (is.get(item), grantable) {
            (None | Some(false), true) => Step::GrantWithOption,
            (None, false) => Step::Grant,
            (Some(true), false) => Step::RevokeOption,
            (Some(_), _) => continue,
        };
        steps.entry((step, grantee)).or_default().push(privilege);
    }
    for item @ (grantee, privilege) in is.keys() {
        if !was.contains_key(item) {
            let key = (Step::Revoke, grantee.as_str());
            steps.entry(key).or_default().push(privilege);
        }
    }
    steps
}

fn items(row: &Value) -> Items {
    let list = row
        .get("items")
        .and_then(Value::as_list)
        .unwrap_or_default();
    let item = |item: &Value| {
        let grantable = item.get("grantable").and_then(Value::as_bool) == Some(true);
        ((text(item, "grantee"), text(item, "privilege")), grantable)
    };
    list.iter().map(item).collect()
}

fn relation_kinds(kind: &str) -> &'static str {
    match kind {
        "sequence" => "('S')",
        _ => "('r', 'v', 'm', 'p', 'f')",
    }
}

#[cfg(test)]
mod tests {
    use crate::modules::postgresql::testing::Cluster;

    const NAME: &str = "community.postgresql.postgresql_privs";

    fn prepared() -> Option<Cluster> {
        let cluster = Cluster::start()?;
        cluster.sql(
            "CREATE ROLE shop; CREATE ROLE team; CREATE TABLE t (a int); CREATE TABLE \"T 2\" (a \
             int); CREATE SEQUENCE s; CREATE FUNCTION f(int, text) RETURNS int LANGUAGE sql AS \
             'SELECT 1';",
        );
        Some(cluster)
    }

    /// Runs a task as a prediction, for real, and again; undoes it, and runs it once more.
    fn granted_once_and_undone(cluster: &Cluster, options: &str, statement: &str) {
        let options = format!(r#""login_db": "postgres", {options}"#);
        let expected = format!(r#"{{"changed":true,"queries":["{statement}"]}}"#);
        let point = cluster.after_now();
        assert_eq!(cluster.predict(NAME, &options), expected, "{options}");
        assert_eq!(cluster.run(NAME, &options), expected, "{options}");
        let again = cluster.run(NAME, &options);
        assert!(again.contains(r#""changed":false"#), "{again}");
        cluster.undo_since(point);
        assert_eq!(
            cluster.predict(NAME, &options),
            expected,
            "undone: {options}"
        );
        assert_eq!(cluster.run(NAME, &options), expected, "undone: {options}");
    }

    #[test]
    fn privileges_on_every_kind_of_object_are_granted_once_and_undone() {
        let Some(cluster) = prepared() else {
            return;
        };
        for (options, statement) in [
            (
                r#""privs": "SELECT,insert", "objs": "t,T 2", "role": "shop""#,
                r#"GRANT SELECT,INSERT ON table \"public\".\"t\",\"public\".\"T 2\" TO \"shop\";"#,
            ),
            (
                r#""privs": "ALL", "objs": "ALL_IN_SCHEMA", "roles": "team,PUBLIC", "grant_option": false"#,
                r#"GRANT ALL ON ALL TABLES IN SCHEMA \"public\" TO \"team\",PUBLIC;\nREVOKE GRANT OPTION FOR ALL ON ALL TABLES IN SCHEMA \"public\" FROM \"team\",PUBLIC;"#,
            ),
            (
                r#""privs": "USAGE", "type": "sequence", "objs": "s", "role": "shop", "grant_option": true"#,
                r#"GRANT USAGE ON sequence \"public\".\"s\" TO \"shop\" WITH GRANT OPTION;"#,
            ),
            (
                r#""privs": "ALL", "type": "function", "objs": "f(int:text)", "role": "shop""#,
                r#"GRANT ALL ON function \"public\".\"f\"(int,text) TO \"shop\";"#,
            ),
            (
                r#""privs": "CONNECT,TEMP", "type": "database", "role": "shop""#,
                r#"GRANT CONNECT,TEMP ON database \"postgres\" TO \"shop\";"#,
            ),
            (
                r#""privs": "CREATE", "type": "schema", "objs": "public", "role": "shop""#,
                r#"GRANT CREATE ON schema \"public\" TO \"shop\";"#,
            ),
            (
                r#""privs": "USAGE", "type": "language", "objs": "plpgsql", "role": "shop""#,
                r#"GRANT USAGE ON language \"plpgsql\" TO \"shop\";"#,
            ),
            (
                r#""type": "group", "objs": "team", "role": "shop", "admin_option": true"#,
                r#"GRANT \"team\" TO \"shop\" WITH ADMIN OPTION;"#,
            ),
            (
                r#""type": "default_privs", "privs": "SELECT", "objs": "TABLES", "role": "shop", "target_roles": "team""#,
                r#"ALTER DEFAULT PRIVILEGES FOR ROLE \"team\" IN SCHEMA \"public\" REVOKE ALL ON TABLES FROM \"shop\";\nALTER DEFAULT PRIVILEGES FOR ROLE \"team\" IN SCHEMA \"public\" GRANT SELECT ON TABLES TO \"shop\";"#,
            ),
            (
                r#""privs": "EXECUTE", "type": "function", "objs": "f(int:text)", "role": "PUBLIC", "state": "absent""#,
                r#"REVOKE EXECUTE ON function \"public\".\"f\"(int,text) FROM PUBLIC;"#,
            ),
        ] {
            granted_once_and_undone(&cluster, options, statement);
        }
    }

    #[test]
    fn what_cannot_be_granted_is_refused() {
        let Some(cluster) = prepared() else {
            return;
        };
        for (options, why) in [
            (
                r#""privs": "FLY", "objs": "t", "role": "shop""#,
                "Invalid privileges specified: frozenset({'FLY'})",
            ),
            (
                r#""privs": "ALL", "objs": "t", "role": "who""#,
                "Role 'who' does not exist",
            ),
            (
                r#""privs": "ALL", "role": "shop""#,
                r#"Argument \"objs\" is required for type \"table\"."#,
            ),
            (
                r#""privs": "ALL", "objs": "none", "role": "shop""#,
                r#"relation \"public.none\" does not exist"#,
            ),
            (
                r#""type": "default_privs", "privs": "DELETE", "objs": "SEQUENCES", "role": "shop""#,
                "Invalid priv specified: DELETE. Valid for SEQUENCES: ALL, SELECT, UPDATE, USAGE",
            ),
        ] {
            let options = format!(r#""login_db": "postgres", {options}"#);
            let result = cluster.run(NAME, &options);
            assert!(
                result.starts_with(r#"{"failed":true"#) && result.contains(why),
                "{result}"
            );
        }
        let options = r#""login_db": "postgres", "privs": "ALL", "objs": "t", "role": "who", "fail_on_role": false"#;
        let result = cluster.run(NAME, options);
        assert!(
            result.contains("Role 'who' does not exist, pass it"),
            "{result}"
        );
    }
}
