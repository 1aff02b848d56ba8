//! Privileges as `mysql_user` writes them and as the server tells them, in one form. Pure.

use indexmap::IndexMap;

use crate::modules::Failure;

/// The privileges on each object, the object as statements name it.
pub(super) type Privileges = IndexMap<String, Vec<String>>;

/// How the text of a task is to be read.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reading {
    /// What the server quotes names with.
    pub(super) quote: char,
    /// Leave the columns' names as they are written.
    pub(super) keeps_case: bool,
    /// Everybody has `USAGE`.
    pub(super) ensures_usage: bool,
}

/// Reads `db.table:PRIV,PRIV/db.*:PRIV`.
pub(super) fn unpack(text: &str, reading: Reading) -> Result<Privileges, Failure> {
    let mut all = Privileges::new();
    for item in text.trim().split('/') {
        let Some((object, privileges)) = item.trim().rsplit_once(':') else {
            return Err(Failure::new(format!(
                "invalid privileges `{item}`: write `database.table:PRIVILEGE`"
            )));
        };
        let privileges = if privileges.contains('(') && reading.keeps_case {
            privileges.to_owned()
        } else {
            privileges.to_uppercase()
        };
        all.insert(object_of(object, reading.quote), listed(&privileges));
    }
    if reading.ensures_usage && !all.contains_key("*.*") {
        all.insert("*.*".into(), vec!["USAGE".into()]);
    }
    Ok(all)
}

fn object_of(object: &str, quote: char) -> String {
    let mut kind = "";
    let mut name = object;
    if let Some((first, rest)) = object.split_once(' ')
        && matches!(first, "FUNCTION" | "PROCEDURE")
    {
        (kind, name) = (first, rest);
    }
    let sides: Vec<&str> = match name.rsplit_once('.') {
        Some((database, table)) => vec![database, table],
        None => vec![name],
    };
    let quoted = sides.iter().map(|side| match side.trim_matches('`') {
        "*" => (*side).to_owned(),
        bare => format!("{quote}{bare}{quote}"),
    });
    let name = quoted.collect::<Vec<_>>().join(".");
    if kind.is_empty() {
        name
    } else {
        format!("{kind} {name}")
    }
}

/// Splits a list of privileges; the columns of one are sorted, as the server has its own order.
fn listed(text: &str) -> Vec<String> {
    let mut all = Vec::new();
    let mut depth = 0_usize;
    let mut current = String::new();
    for letter in text.chars() {
        match letter {
            ',' if depth == 0 => {
                all.push(normal(&current));
                current.clear();
                continue;
            }
            '(' => depth += 1,
            ')' => depth = depth.saturating_sub(1),
            _ => {}
        }
        current.push(letter);
    }
    all.push(normal(&current));
    all
}

fn normal(privilege: &str) -> String {
    let privilege = privilege.trim();
    if privilege == "ALL PRIVILEGES" {
        return "ALL".into();
    }
    let Some((name, columns)) = privilege.split_once('(') else {
        return privilege.to_owned();
    };
    let columns = columns.trim_end().trim_end_matches(')').split(',');
    let mut columns: Vec<_> = columns
        .map(|column| column.trim().trim_matches('`'))
        .collect();
    columns.sort_unstable();
    format!("{} ({})", name.trim(), columns.join(", "))
}

/// Reads the answers of `SHOW GRANTS`; what is about roles is left out.
pub(super) fn granted<S: AsRef<str>>(lines: &[S]) -> Result<Privileges, Failure> {
    let mut all = Privileges::new();
    for line in lines {
        let line = line.as_ref();
        let told = line.strip_prefix("GRANT ").and_then(|rest| {
            let at = ["'", "`", "\""]
                .iter()
                .filter_map(|quote| rest.find(&format!(" TO {quote}")))
                .min()?;
            Some((&rest[..at], &rest[at..]))
        });
        let Some((what, whom)) = told else {
            if line.starts_with("SET DEFAULT ROLE") {
                continue;
            }
            return Err(Failure::new(format!(
                "unable to parse the MySQL grant string: {line}"
            )));
        };
        // Without an object it is a role.
        let Some((privileges, object)) = what.rsplit_once(" ON ") else {
            continue;
        };
        let list = all.entry(object.to_owned()).or_default();
        list.extend(listed(privileges));
        if whom.contains("WITH GRANT OPTION") {
            list.push("GRANT".into());
        }
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(all: &Privileges) -> Vec<String> {
        let line =
            |(object, list): (&String, &Vec<String>)| format!("{object}: {}", list.join("|"));
        all.iter().map(line).collect()
    }

    const READING: Reading = Reading {
        quote: '`',
        keeps_case: true,
        ensures_usage: true,
    };

    #[test]
    fn what_is_written_and_what_is_granted_have_one_form() {
        let all = unpack(
            "db.*:select, insert/`a.b`.t:SELECT (b, A),UPDATE/FUNCTION db.f:EXECUTE",
            READING,
        )
        .unwrap();
        assert_eq!(
            shown(&all),
            [
                "`db`.*: SELECT|INSERT",
                "`a.b`.`t`: SELECT (A, b)|UPDATE",
                "FUNCTION `db`.`f`: EXECUTE",
                "*.*: USAGE",
            ]
        );
        let upper = Reading {
            keeps_case: false,
            ensures_usage: false,
            ..READING
        };
        assert_eq!(
            shown(&unpack("d.t:SELECT (a)", upper).unwrap()),
            ["`d`.`t`: SELECT (A)"]
        );
        let all = granted(&[
            "GRANT USAGE ON *.* TO `u`@`%` IDENTIFIED BY PASSWORD '*X' REQUIRE SSL",
            "GRANT ALL PRIVILEGES ON `db`.* TO `u`@`%` WITH GRANT OPTION",
            "GRANT SELECT (`b`, `a`), INSERT ON `db`.`t` TO 'u'@'%'",
            "GRANT `admin`@`%` TO `u`@`%`",
            "SET DEFAULT ROLE `admin` FOR `u`@`%`",
        ])
        .unwrap();
        assert_eq!(
            shown(&all),
            [
                "*.*: USAGE",
                "`db`.*: ALL|GRANT",
                "`db`.`t`: SELECT (a, b)|INSERT",
            ]
        );
        assert!(unpack("nonsense", READING).is_err());
        assert!(granted(&["REVOKE x"]).is_err());
    }
}
