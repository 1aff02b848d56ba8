//! Questions and commands to the server, through `psql`.

use std::path::PathBuf;

use crate::machine::{Command, Effect, Machine, Output};
use crate::modules::{Failure, tool};
use crate::transaction::journal::UndoStep;
use crate::value::{Map, Value};

/// Where the server is, and who one is there.
pub(super) struct Login {
    pub(super) database: String,
    pub(super) user: Option<String>,
    pub(super) password: Option<String>,
    pub(super) host: Option<String>,
    pub(super) port: i64,
    pub(super) ssl_mode: String,
    pub(super) ca_cert: Option<String>,
    pub(super) ssl_cert: Option<PathBuf>,
    pub(super) ssl_key: Option<PathBuf>,
    /// Further parameters of libpq.
    pub(super) more: Option<Map>,
    pub(super) role: Option<String>,
}

/// Returns where the server is: a socket counts more than this very host by name.
pub(super) fn host(host: Option<&str>, socket: Option<&str>) -> Option<String> {
    let host = host.filter(|host| !host.is_empty());
    let socket = socket.filter(|socket| !socket.is_empty());
    match (host, socket) {
        (None | Some("localhost"), Some(socket)) => Some(socket.to_owned()),
        _ => host.map(str::to_owned),
    }
}

/// The server, as one task talks to it.
pub(super) struct Server<'m> {
    pub(super) machine: &'m mut Machine,
    psql: String,
    login: Login,
    /// The statements that changed something, as they are shown.
    pub(super) executed: Vec<String>,
}

impl<'m> Server<'m> {
    pub(super) fn new(machine: &'m mut Machine, login: Login) -> Result<Self, Failure> {
        Ok(Self {
            psql: tool::required(machine, "psql")?,
            machine,
            login,
            executed: Vec::new(),
        })
    }

    /// Asks; each row is a dictionary.
    pub(super) fn rows(&mut self, query: &str) -> Result<Vec<Value>, Failure> {
        let command = self.command(&as_json(query));
        let output = self.machine.query(&command)?;
        refuse(Some(&output))?;
        let text = output.stdout_text();
        let answer: Value = serde_json::from_str(text.trim()).map_err(|error| {
            Failure::new(format!("the server's answer is not understood: {error}"))
        })?;
        Ok(answer.as_list().unwrap_or_default().to_vec())
    }

    /// Asks for one row.
    pub(super) fn row(&mut self, query: &str) -> Result<Option<Value>, Failure> {
        Ok(self.rows(query)?.into_iter().next())
    }

    /// Changes something. `shown` is the statement without its secrets; `undo` statements bring
    /// back what was, or nothing can.
    pub(super) fn execute(
        &mut self,
        statement: &str,
        shown: &str,
        undo: Option<&[String]>,
    ) -> Result<(), Failure> {
        self.executed.push(shown.to_owned());
        let effect = match (undo, &self.login.password) {
            // A password is not kept, and without it nobody would be let in.
            (Some(undo), None) => Effect::Compensated {
                what: shown.to_owned(),
                undo: undo.iter().map(|sql| self.step(sql)).collect(),
            },
            _ => Effect::opaque(shown),
        };
        let command = self.command(statement);
        let output = self.machine.execute(&command, effect)?.output();
        refuse(output.as_ref())
    }

    /// Runs a script that leaves nothing changed, with more words for `psql`.
    pub(super) fn look(&mut self, words: &[String], script: &str) -> Result<Output, Failure> {
        let command = self.worded(words, script);
        Ok(self.machine.query(&command)?)
    }

    /// Runs a script that changes what only its user knows; `None` in check mode.
    pub(super) fn change(
        &mut self,
        words: &[String],
        script: &str,
        shown: &str,
    ) -> Result<Option<Output>, Failure> {
        let command = self.worded(words, script);
        let execution = self.machine.execute(&command, Effect::opaque(shown))?;
        Ok(execution.output())
    }

    /// Tries a statement in a transaction that is rolled back; returns what `watched` says before
    /// and after it.
    pub(super) fn rehearse(
        &mut self,
        statement: &str,
        watched: &str,
    ) -> Result<[Vec<Value>; 2], Failure> {
        let watch = as_json(watched);
        let script = format!("BEGIN;\n{watch}\n{statement};\n{watch}\nROLLBACK;");
        let output = self.look(&[], &script)?;
        refuse(Some(&output))?;
        let text = output.stdout_text();
        let mut answers = serde_json::Deserializer::from_str(&text).into_iter::<Value>();
        let mut next = || {
            let answer = answers.next().and_then(Result::ok).unwrap_or_default();
            answer.as_list().unwrap_or_default().to_vec()
        };
        Ok([next(), next()])
    }

    fn worded(&self, words: &[String], script: &str) -> Command {
        let mut argv = self.argv();
        argv.extend_from_slice(words);
        self.with_password(tool::command(&argv).stdin(self.script(script)))
    }

    fn argv(&self) -> Vec<String> {
        let login = &self.login;
        let mut argv = vec![
            self.psql.clone(),
            "--no-psqlrc".into(),
            "--no-password".into(),
            "--quiet".into(),
            "--no-align".into(),
            "--tuples-only".into(),
            "--set=ON_ERROR_STOP=1".into(),
            "--port".into(),
            login.port.to_string(),
        ];
        if let Some(user) = login.user.as_ref().filter(|user| !user.is_empty()) {
            argv.extend(["--username".into(), user.clone()]);
        }
        if let Some(host) = login.host.as_ref().filter(|host| !host.is_empty()) {
            argv.extend(["--host".into(), host.clone()]);
        }
        argv.extend(["--dbname".into(), self.connection_string()]);
        argv
    }

    /// Returns the database, and what only a connection string can say.
    fn connection_string(&self) -> String {
        let login = &self.login;
        let path = |path: &Option<PathBuf>| path.as_ref().map(|path| path.display().to_string());
        let mut pairs = vec![
            ("dbname".to_owned(), login.database.clone()),
            ("sslmode".into(), login.ssl_mode.clone()),
        ];
        for (name, value) in [
            ("sslrootcert", login.ca_cert.clone()),
            ("sslcert", path(&login.ssl_cert)),
            ("sslkey", path(&login.ssl_key)),
        ] {
            pairs.extend(value.map(|value| (name.to_owned(), value)));
        }
        for (name, value) in login.more.iter().flatten() {
            pairs.push((name.to_string(), value.to_string()));
        }
        let quoted = pairs.iter().map(|(name, value)| {
            let value = value.replace('\\', "\\\\").replace('\'', "\\'");
            format!("{name}='{value}'")
        });
        quoted.collect::<Vec<_>>().join(" ")
    }

    fn script(&self, sql: &str) -> String {
        match &self.login.role {
            Some(role) => format!("SET ROLE {};\n{sql}\n", identifier(role)),
            None => format!("{sql}\n"),
        }
    }

    fn command(&self, sql: &str) -> Command {
        self.worded(&[], sql)
    }

    fn with_password(&self, command: Command) -> Command {
        match &self.login.password {
            Some(password) if !password.is_empty() => command.env("PGPASSWORD", password),
            _ => command,
        }
    }

    fn step(&self, sql: &str) -> UndoStep {
        let mut argv = self.argv();
        argv.extend(["--command".into(), self.script(sql).trim().to_owned()]);
        UndoStep::new(argv)
    }
}

/// Writes a query whose answer is one list of dictionaries.
fn as_json(query: &str) -> String {
    format!("SELECT coalesce(json_agg(row_to_json(t)), '[]') FROM ({query}) t;")
}

fn refuse(output: Option<&Output>) -> Result<(), Failure> {
    match output {
        Some(output) if !output.success() => Err(Failure::new(reason(output))),
        _ => Ok(()),
    }
}

/// Returns the server's own words for a refusal.
pub(super) fn reason(output: &Output) -> String {
    let said = output.stderr_text();
    let why = said
        .lines()
        .find_map(|line| line.split_once("ERROR:  ").map(|(_, why)| why))
        .unwrap_or_else(|| said.trim());
    if output.status == 2 {
        return format!("unable to connect to database: {why}");
    }
    why.to_owned()
}

/// Quotes a name.
pub(super) fn identifier(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// Quotes a text.
pub(super) fn literal(text: &str) -> String {
    let quoted = text.replace('\'', "''");
    if quoted.contains('\\') {
        format!("E'{}'", quoted.replace('\\', "\\\\"))
    } else {
        format!("'{quoted}'")
    }
}

/// Returns a field of a row as text; empty when it is null.
pub(super) fn text(row: &Value, name: &str) -> String {
    match row.get(name) {
        None | Some(Value::Null) => String::new(),
        Some(value) => value.to_string(),
    }
}

/// Refuses texts that look as if they were to end a statement.
pub(super) fn check_input<'a>(
    trusted: bool,
    texts: impl IntoIterator<Item = Option<&'a str>>,
) -> Result<(), Failure> {
    if trusted {
        return Ok(());
    }
    let looks_bad = |text: &&str| {
        let upper = text.to_uppercase();
        upper.contains(';')
            && ["SELECT", "UPDATE", "INSERT", "DELETE", "DROP"]
                .iter()
                .any(|word| upper.contains(word))
    };
    let bad: Vec<_> = texts.into_iter().flatten().filter(looks_bad).collect();
    if bad.is_empty() {
        return Ok(());
    }
    Err(Failure::new(format!(
        "Passed input '{}' is potentially dangerous",
        bad.join(", ")
    )))
}

/// Returns the statement that gives a thing its comment.
pub(super) fn comment_on(what: &str, name: &str, comment: &str) -> String {
    let value = if comment.is_empty() {
        "NULL".to_owned()
    } else {
        literal(comment)
    };
    format!("COMMENT ON {what} {} IS {value}", identifier(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_socket_counts_more_than_localhost_and_less_than_another_host() {
        let socket = Some("/run/pg");
        assert_eq!(host(Some("localhost"), socket).as_deref(), socket);
        assert_eq!(host(None, socket).as_deref(), socket);
        assert_eq!(host(Some("db"), socket).as_deref(), Some("db"));
        assert_eq!(host(Some("localhost"), None).as_deref(), Some("localhost"));
        assert_eq!(host(Some(""), None), None);
    }

    #[test]
    fn names_and_texts_cannot_leave_their_quotes() {
        assert_eq!(identifier("a\"; DROP"), "\"a\"\"; DROP\"");
        assert_eq!(literal("it's"), "'it''s'");
        assert_eq!(literal("a\\'"), "E'a\\\\'''");
        assert!(check_input(false, [Some("x; DROP TABLE y")]).is_err());
        assert!(check_input(false, [Some("x"), None]).is_ok());
    }
}
