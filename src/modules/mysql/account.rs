//! One account of the server: what it is, what makes it that again, and how it is changed.

use super::connection::{Server, literal};
use super::privileges::{Privileges, granted};
use super::rows::{Row, text};
use crate::modules::Failure;
use crate::value::{Map, Value};

/// An account, about to be changed.
pub(super) struct Account<'a, 'm> {
    pub(super) server: &'a mut Server<'m>,
    user: String,
    pub(super) host: String,
    /// A role of `MariaDB` has no host.
    is_role: bool,
    /// What makes it what it was; the first change takes it along.
    undo: Option<Vec<String>>,
}

impl<'a, 'm> Account<'a, 'm> {
    /// An account that is there.
    pub(super) fn known(
        server: &'a mut Server<'m>,
        user: &str,
        host: &str,
    ) -> Result<Self, Failure> {
        let mut account = Self::new(server, user, host);
        let mut undo = account.reset();
        let created = account.recorded()?;
        if !created.iter().any(|line| line.contains(" IDENTIFIED ")) {
            undo.push(format!("ALTER USER {} IDENTIFIED BY ''", account.name()));
        }
        let lines = created.iter();
        undo.extend(lines.map(|line| line.replacen("CREATE USER", "ALTER USER", 1)));
        undo.push(format!(
            "REVOKE ALL PRIVILEGES, GRANT OPTION FROM {}",
            account.name()
        ));
        undo.extend(account.grants()?);
        account.undo = Some(undo);
        Ok(account)
    }

    /// An account or a role that nobody changes.
    pub(super) fn looked_at(
        server: &'a mut Server<'m>,
        user: &str,
        host: &str,
        is_role: bool,
    ) -> Self {
        let mut account = Self::new(server, user, host);
        account.is_role = is_role;
        account
    }

    /// An account that is about to be made.
    pub(super) fn fresh(server: &'a mut Server<'m>, user: &str, host: &str) -> Self {
        let mut account = Self::new(server, user, host);
        account.undo = Some(vec![format!("DROP USER IF EXISTS {}", account.name())]);
        account
    }

    fn new(server: &'a mut Server<'m>, user: &str, host: &str) -> Self {
        Self {
            server,
            user: user.to_owned(),
            host: host.to_owned(),
            is_role: false,
            undo: None,
        }
    }

    /// Returns the account as statements name it.
    pub(super) fn name(&self) -> String {
        if self.is_role && self.server.is_mariadb() {
            return literal(&self.user);
        }
        format!("{}@{}", literal(&self.user), literal(&self.host))
    }

    /// Changes the account. `shown` is the statement without its secrets.
    pub(super) fn change(&mut self, statement: &str, shown: &str) -> Result<(), Failure> {
        let undo = self.undo.take().unwrap_or_default();
        self.server.execute(statement, shown, Some(&undo))?;
        Ok(())
    }

    /// Changes the account with a statement that holds no secret.
    pub(super) fn change_openly(&mut self, statement: &str) -> Result<(), Failure> {
        self.change(statement, statement)
    }

    /// Drops the account; it can be made again as it was.
    pub(super) fn drop(mut self) -> Result<(), Failure> {
        let mut undo = self.recorded()?;
        undo.extend(self.grants()?);
        self.undo = Some(undo);
        let statement = format!("DROP USER IF EXISTS {}", self.name());
        self.change_openly(&statement)
    }

    pub(super) fn privileges(&mut self) -> Result<Privileges, Failure> {
        granted(&self.grants()?)
    }

    fn grants(&mut self) -> Result<Vec<String>, Failure> {
        self.lines(&format!("SHOW GRANTS FOR {}", self.name()))
    }

    /// Returns the statements that the server itself would make the account with.
    fn recorded(&mut self) -> Result<Vec<String>, Failure> {
        self.lines(&format!("SHOW CREATE USER {}", self.name()))
    }

    fn lines(&mut self, query: &str) -> Result<Vec<String>, Failure> {
        let rows = self.server.rows(query)?;
        let first = |row: &Row| row.values().next().map(Value::to_string);
        Ok(rows.iter().filter_map(first).collect())
    }

    /// Returns what takes back all that `SHOW CREATE USER` leaves unsaid.
    fn reset(&self) -> Vec<String> {
        let name = self.name();
        let mut all = vec![format!("ALTER USER {name} REQUIRE NONE")];
        all.push(format!(
            "ALTER USER {name} WITH MAX_QUERIES_PER_HOUR 0 MAX_UPDATES_PER_HOUR 0 \
             MAX_CONNECTIONS_PER_HOUR 0 MAX_USER_CONNECTIONS 0"
        ));
        if self.expires() {
            all.push(format!("ALTER USER {name} PASSWORD EXPIRE DEFAULT"));
        }
        if self.locks() {
            all.push(format!("ALTER USER {name} ACCOUNT UNLOCK"));
        }
        all
    }

    /// Tells whether the server knows passwords that expire.
    pub(super) fn expires(&self) -> bool {
        if self.server.is_mariadb() {
            self.server.is_at_least(&[10, 4, 3])
        } else {
            self.server.is_at_least(&[5, 7])
        }
    }

    fn locks(&self) -> bool {
        if self.server.is_mariadb() {
            self.server.is_at_least(&[10, 4, 2])
        } else {
            self.server.is_at_least(&[5, 7, 6])
        }
    }

    pub(super) fn is_locked(&mut self) -> Result<bool, Failure> {
        let created = self.recorded()?;
        Ok(created.iter().any(|line| line.contains("ACCOUNT LOCK")))
    }

    /// Returns what connections must have, or nothing.
    pub(super) fn requires(&mut self) -> Result<Option<Requires>, Failure> {
        let told = if self.server.is_mariadb() {
            let row = self.columns("ssl_type, ssl_cipher, x509_issuer, x509_subject")?;
            let mut map = Map::new();
            match text(&row, "ssl_type").as_str() {
                "ANY" => {
                    map.insert("SSL".into(), Value::Null);
                }
                "X509" => {
                    map.insert("X509".into(), Value::Null);
                }
                _ => {}
            }
            for (name, column) in [
                ("CIPHER", "ssl_cipher"),
                ("ISSUER", "x509_issuer"),
                ("SUBJECT", "x509_subject"),
            ] {
                let value = text(&row, column);
                if !value.is_empty() {
                    map.insert(name.into(), value.into());
                }
            }
            map
        } else {
            let created = self.recorded()?;
            required(created.first().map_or("", String::as_str))
        };
        Ok(Requires::of(Some(&told)))
    }

    /// Asks for columns of the account's row.
    pub(super) fn columns(&mut self, columns: &str) -> Result<Row, Failure> {
        let query = format!(
            "SELECT {columns} FROM mysql.user WHERE User = {} AND Host = {}",
            literal(&self.user),
            literal(&self.host)
        );
        Ok(self.server.row(&query)?.unwrap_or_default())
    }

    pub(super) fn user(&self) -> &str {
        &self.user
    }
}

/// Reads `REQUIRE …` of `SHOW CREATE USER`.
fn required(created: &str) -> Map {
    let mut map = Map::new();
    let Some((_, after)) = created.split_once(" REQUIRE ") else {
        return map;
    };
    let mut words = crate::machine::split_words(after)
        .unwrap_or_default()
        .into_iter();
    while let Some(word) = words.next() {
        match word.as_str() {
            "SSL" | "X509" => {
                map.insert(word.into(), Value::Null);
            }
            "CIPHER" | "ISSUER" | "SUBJECT" => {
                let value = words.next().unwrap_or_default();
                map.insert(word.into(), value.into());
            }
            "AND" => {}
            _ => break,
        }
    }
    map
}

/// What connections of an account must have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Requires {
    Ssl,
    X509,
    Each(Vec<(String, String)>),
}

impl Requires {
    /// Reads a dictionary; what is more specific makes the rest needless.
    pub(super) fn of(map: Option<&Map>) -> Option<Self> {
        let map = map.filter(|map| !map.is_empty())?;
        let mut each: Vec<_> = map
            .iter()
            .map(|(name, value)| (name.to_string().to_uppercase(), value.to_string()))
            .collect();
        let has = |wanted: &str| each.iter().any(|(name, _)| name == wanted);
        if has("CIPHER") || has("ISSUER") || has("SUBJECT") {
            each.retain(|(name, _)| name != "SSL" && name != "X509");
            each.sort();
            return Some(Self::Each(each));
        }
        Some(if has("X509") { Self::X509 } else { Self::Ssl })
    }

    /// Returns the dictionary that users write.
    pub(super) fn told(&self) -> Value {
        match self {
            Self::Ssl => Value::map([("SSL", Value::Null)]),
            Self::X509 => Value::map([("X509", Value::Null)]),
            Self::Each(each) => Value::map(
                each.iter()
                    .map(|(name, value)| (name, value.as_str()))
                    .collect::<Vec<_>>(),
            ),
        }
    }

    /// Writes the clause after `REQUIRE`.
    pub(super) fn clause(wanted: Option<&Self>) -> String {
        match wanted {
            None => "NONE".into(),
            Some(Self::Ssl) => "SSL".into(),
            Some(Self::X509) => "X509".into(),
            Some(Self::Each(each)) => {
                let all: Vec<_> = each
                    .iter()
                    .map(|(name, value)| format!("{name} {}", literal(value)))
                    .collect();
                all.join(" AND ")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requirements_are_read_from_both_servers() {
        let map = required(
            "CREATE USER `u`@`%` IDENTIFIED WITH 'x' REQUIRE SUBJECT '/CN=a b' AND ISSUER '/CN=c' PASSWORD EXPIRE DEFAULT",
        );
        assert_eq!(
            Requires::clause(Requires::of(Some(&map)).as_ref()),
            "ISSUER '/CN=c' AND SUBJECT '/CN=a b'"
        );
        let map = required("CREATE USER `u`@`%` REQUIRE NONE PASSWORD EXPIRE DEFAULT");
        assert_eq!(Requires::of(Some(&map)), None);
        let map = required("CREATE USER `u`@`%` REQUIRE X509 ACCOUNT LOCK");
        assert_eq!(Requires::of(Some(&map)), Some(Requires::X509));
    }
}
