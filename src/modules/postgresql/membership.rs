//! `postgresql_membership`: which roles are members of which.

use std::collections::BTreeSet;

use super::connection::{Server, check_input, identifier, literal, text};
use super::postgresql_arguments;
use crate::machine::Machine;
use crate::modules::{Failure, ModuleResult, Outcome};
use crate::value::{Map, Value};

postgresql_arguments! {
    /// Add or remove `PostgreSQL` roles from groups.
    struct PostgresqlMembershipArgs for "community.postgresql.postgresql_membership" {
        /// The roles to be members of.
        groups: Vec<String> { required, aliases: ["group", "source_role", "source_roles"] },
        /// The roles that are to be members.
        target_roles: Vec<String> { required, aliases: ["target_role", "user", "users"] },
        /// A role that is not there is a failure, rather than left out with a warning.
        fail_on_role: bool { default: "true" },
        /// `exact` also ends memberships of other roles.
        state: String { default: "present", choices: ["absent", "exact", "present"] },
        login_db: Option<String> { aliases: ["db"] },
    }
}

/// Makes the roles members, or ends that.
pub(crate) fn run_membership(
    machine: &mut Machine,
    args: PostgresqlMembershipArgs,
) -> ModuleResult {
    let names = |list: &[String]| -> Vec<String> {
        list.iter().map(|name| name.trim().to_owned()).collect()
    };
    let (groups, roles) = (names(&args.groups), names(&args.target_roles));
    check_input(
        args.trust_input,
        groups
            .iter()
            .chain(&roles)
            .map(|name| Some(name.as_str()))
            .chain([args.session_role.as_deref()]),
    )?;
    let database = args.login_db.as_deref().unwrap_or("postgres");
    let mut server = args.server(machine, database)?;
    let mut outcome = Outcome::unchanged();
    let mut there = |server: &mut Server<'_>, names: Vec<String>| -> Result<Vec<String>, Failure> {
        let list: Vec<String> = names.iter().map(|name| literal(name)).collect();
        let query = format!(
            "SELECT rolname FROM pg_roles WHERE rolname IN ({})",
            list.join(", ")
        );
        let found: BTreeSet<String> = if list.is_empty() {
            BTreeSet::new()
        } else {
            let rows = server.rows(&query)?;
            rows.iter().map(|row| text(row, "rolname")).collect()
        };
        let mut kept = Vec::new();
        for name in names {
            if found.contains(&name) {
                kept.push(name);
            } else if args.fail_on_role {
                return Err(Failure::new(format!("Role {name} does not exist")));
            } else {
                let warning = format!("Role {name} does not exist, pass");
                outcome = std::mem::take(&mut outcome).warn(warning);
            }
        }
        Ok(kept)
    };
    let groups = there(&mut server, groups)?;
    let roles = there(&mut server, roles)?;
    let (mut granted, mut revoked) = (Told::default(), Told::default());
    if args.state != "exact" {
        let told = if args.state == "present" {
            &mut granted
        } else {
            &mut revoked
        };
        for group in &groups {
            told.name(group);
        }
    }
    for role in &roles {
        let current = memberships(&mut server, role)?;
        let wanted: BTreeSet<String> = groups.iter().cloned().collect();
        let to_revoke: Vec<&String> = match args.state.as_str() {
            "absent" => current.intersection(&wanted).collect(),
            "exact" => current.difference(&wanted).collect(),
            _ => Vec::new(),
        };
        for group in to_revoke {
            let [grant, revoke] = statements(group, role);
            server.execute(&revoke, &revoke, Some(&[grant]))?;
            revoked.add(group, role);
        }
        if args.state == "absent" {
            continue;
        }
        for group in wanted.difference(&current) {
            let [grant, revoke] = statements(group, role);
            server.execute(&grant, &grant, Some(&[revoke]))?;
            granted.add(group, role);
        }
    }
    let queries = std::mem::take(&mut server.executed);
    outcome = outcome
        .with_changed(!queries.is_empty())
        .with("state", args.state.as_str())
        .with("groups", Value::list(groups))
        .with("target_roles", Value::list(roles))
        .with("queries", Value::list(queries));
    if args.state != "absent" {
        outcome = outcome.with("granted", granted.map());
    }
    if args.state != "present" {
        outcome = outcome.with("revoked", revoked.map());
    }
    Ok(outcome)
}

/// Returns what makes a role a member, and what ends it.
fn statements(group: &str, role: &str) -> [String; 2] {
    let (group, role) = (identifier(group), identifier(role));
    [
        format!("GRANT {group} TO {role}"),
        format!("REVOKE {group} FROM {role}"),
    ]
}

fn memberships(server: &mut Server<'_>, role: &str) -> Result<BTreeSet<String>, Failure> {
    let rows = server.rows(&format!(
        "SELECT g.rolname AS name FROM pg_auth_members m JOIN pg_roles g ON g.oid = m.roleid \
         JOIN pg_roles r ON r.oid = m.member WHERE r.rolname = {}",
        literal(role)
    ))?;
    Ok(rows.iter().map(|row| text(row, "name")).collect())
}

/// Groups, each with the roles that something was done to.
#[derive(Default)]
struct Told(Vec<(String, Vec<String>)>);

impl Told {
    fn name(&mut self, group: &str) {
        if !self.0.iter().any(|(known, _)| known == group) {
            self.0.push((group.to_owned(), Vec::new()));
        }
    }

    fn add(&mut self, group: &str, role: &str) {
        self.name(group);
        for (_, roles) in self.0.iter_mut().filter(|(known, _)| known == group) {
            roles.push(role.to_owned());
        }
    }

    fn map(self) -> Map {
        let groups = self.0.into_iter();
        groups
            .map(|(group, roles)| (group.into(), Value::list(roles)))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use crate::modules::postgresql::testing::Cluster;

    const NAME: &str = "community.postgresql.postgresql_membership";

    #[test]
    fn roles_become_members_once_and_are_members_no_more() {
        let Some(cluster) = Cluster::start() else {
            return;
        };
        for role in ["readers", "writers", "amy", "bob"] {
            let options = format!(r#""name": "{role}""#);
            let made = cluster.run("community.postgresql.postgresql_user", &options);
            assert!(made.contains(r#""changed":true"#), "{made}");
        }
        let options = r#""groups": "readers", "target_roles": "amy,bob""#;
        let done = r#"{"changed":true,"state":"present","groups":["readers"],"target_roles":["amy","bob"],"queries":["GRANT \"readers\" TO \"amy\"","GRANT \"readers\" TO \"bob\""],"granted":{"readers":["amy","bob"]}}"#;
        assert_eq!(cluster.predict(NAME, options), done);
        assert_eq!(cluster.run(NAME, options), done);
        assert_eq!(
            cluster.run(NAME, options),
            r#"{"changed":false,"state":"present","groups":["readers"],"target_roles":["amy","bob"],"queries":[],"granted":{"readers":[]}}"#
        );
        assert_eq!(
            cluster.run(
                NAME,
                r#""groups": "writers", "target_roles": "amy", "state": "exact""#
            ),
            r#"{"changed":true,"state":"exact","groups":["writers"],"target_roles":["amy"],"queries":["REVOKE \"readers\" FROM \"amy\"","GRANT \"writers\" TO \"amy\""],"granted":{"writers":["amy"]},"revoked":{"readers":["amy"]}}"#
        );
        assert_eq!(
            cluster.run(
                NAME,
                r#""groups": "writers,ghosts", "target_roles": "amy,bob", "state": "absent", "fail_on_role": false"#
            ),
            r#"{"changed":true,"state":"absent","groups":["writers"],"target_roles":["amy","bob"],"queries":["REVOKE \"writers\" FROM \"amy\""],"revoked":{"writers":["amy"]},"warnings":["Role ghosts does not exist, pass"]}"#
        );
        assert_eq!(
            cluster.run(NAME, r#""groups": "ghosts", "target_roles": "amy""#),
            r#"{"failed":true,"changed":false,"msg":"Role ghosts does not exist"}"#
        );
        let gone = r#""groups": "readers", "target_roles": "bob", "state": "absent""#;
        assert!(cluster.run(NAME, gone).contains(r#""changed":true"#));
        cluster.undo();
        assert!(
            cluster
                .run(NAME, gone)
                .contains("Role readers does not exist")
        );
    }
}
