//! The connection to the server, through the target's own client program, with the logins that
//! `PyMySQL` knows.

use std::path::{Path, PathBuf};

use super::rows::{self, Row};
use crate::machine::{Command, Effect, Machine, Output};
use crate::modules::{Failure, tool};
use crate::transaction::journal::UndoStep;
use crate::value::{Value, float_repr};

/// Where Debian's server listens.
const SOCKET: &str = "/run/mysqld/mysqld.sock";

/// Where the server is, and who one is there.
#[derive(Clone, Debug)]
pub(super) struct Login {
    pub(super) user: Option<String>,
    pub(super) password: Option<String>,
    pub(super) host: String,
    pub(super) port: i64,
    pub(super) socket: Option<String>,
    pub(super) config_file: PathBuf,
    /// The file's host and port are stronger than the options.
    pub(super) config_overrides: bool,
    pub(super) connect_timeout: i64,
    pub(super) certificate: Option<PathBuf>,
    pub(super) key: Option<PathBuf>,
    pub(super) authority: Option<PathBuf>,
    pub(super) check_hostname: Option<bool>,
    pub(super) database: Option<String>,
}

/// The server, as one task talks to it.
pub(super) struct Server<'m> {
    pub(super) machine: &'m mut Machine,
    /// The words of the client program.
    client: Vec<String>,
    password: Option<String>,
    /// The words that log in without a password of ours; where there are none, nothing is undone.
    keyless: Option<Vec<String>>,
    /// What every session begins with.
    settings: Vec<String>,
    pub(super) version: String,
}

impl<'m> Server<'m> {
    /// Connects; else says why in the words of Python's driver.
    pub(super) fn connect(machine: &'m mut Machine, login: &Login) -> Result<Self, Failure> {
        let file = machine.expand(&login.config_file);
        let config = Config::read(machine, &file)?;
        let login = login.with(&config);
        let client = login.client(machine)?;
        let mut server = Self {
            keyless: login.keyless(&client, &config, &file),
            client,
            password: login.password,
            settings: Vec::new(),
            version: String::new(),
            machine,
        };
        server.version = server.text("SELECT VERSION()")?.unwrap_or_default();
        Ok(server)
    }

    pub(super) fn is_mariadb(&self) -> bool {
        self.version.to_lowercase().contains("mariadb")
    }

    /// Tells whether the server's version is at least this one.
    pub(super) fn is_at_least(&self, version: &[u32]) -> bool {
        let numbers = self.version.split(|letter: char| !letter.is_ascii_digit());
        let own: Vec<u32> = numbers.map_while(|part| part.parse().ok()).collect();
        own.as_slice() >= version
    }

    /// Has every session of this task begin with a statement.
    pub(super) fn set(&mut self, statement: &str) -> Result<(), Failure> {
        self.rows(statement)?;
        self.settings.push(statement.to_owned());
        Ok(())
    }

    /// Asks; each row is a dictionary of texts.
    pub(super) fn rows(&mut self, query: &str) -> Result<Vec<Row>, Failure> {
        let script = Script::new(&self.settings, &[query]);
        let output = self.machine.query(&self.command("--xml", &script.text))?;
        let answers = script.answers(&output);
        match answers.error {
            Some(why) => Err(Failure::new(why)),
            None => Ok(answers.all.into_iter().next().unwrap_or_default().rows),
        }
    }

    /// Asks; each value has the type of its column.
    pub(super) fn typed_rows(&mut self, query: &str) -> Result<Vec<Row>, Failure> {
        let rows = self.rows(query)?;
        self.typed(query, rows)
    }

    /// Gives each value the type of its column, where the server tells it without doing anything.
    pub(super) fn typed(&mut self, query: &str, rows: Vec<Row>) -> Result<Vec<Row>, Failure> {
        let Some(question) = rows::question(query).filter(|_| !rows.is_empty()) else {
            return Ok(rows);
        };
        let script = Script::new(&self.settings, &[&question]);
        let mut words = self.command("--table", &script.text);
        words = words.arg("--column-type-info");
        let output = self.machine.query(&words)?;
        let types = rows::types(&output.stdout_text());
        Ok(rows::typed(rows, &types))
    }

    /// Asks for one row.
    pub(super) fn row(&mut self, query: &str) -> Result<Option<Row>, Failure> {
        Ok(self.rows(query)?.into_iter().next())
    }

    /// Asks for one text: the first field of the first row.
    pub(super) fn text(&mut self, query: &str) -> Result<Option<String>, Failure> {
        let row = self.row(query)?;
        let first = row.and_then(|row| row.into_iter().next());
        Ok(first.and_then(|(_, value)| match value {
            Value::Null => None,
            value => Some(value.to_string()),
        }))
    }

    /// Changes something. `shown` is the statement without its secrets; `undo` statements bring
    /// back what was, or nothing can. Tells whether it was done: in check mode it is not.
    pub(super) fn execute(
        &mut self,
        statement: &str,
        shown: &str,
        undo: Option<&[String]>,
    ) -> Result<bool, Failure> {
        let effect = match (undo, &self.keyless) {
            (Some([]), _) => Effect::Compensated {
                what: shown.to_owned(),
                undo: Vec::new(),
            },
            (Some(undo), Some(client)) => Effect::Compensated {
                what: shown.to_owned(),
                undo: undo.iter().map(|sql| step(client, sql)).collect(),
            },
            _ => Effect::opaque(shown),
        };
        let script = Script::new(&self.settings, &[statement]);
        let command = self.command("--xml", &script.text);
        let Some(output) = self.machine.execute(&command, effect)?.output() else {
            return Ok(false);
        };
        match script.answers(&output).error {
            Some(why) => Err(Failure::new(why)),
            None => Ok(true),
        }
    }

    /// Runs statements of the user's own in one session. Those that only read are no change.
    pub(super) fn run(
        &mut self,
        statements: &[&str],
        only_reads: bool,
        shown: &str,
    ) -> Result<Answers, Failure> {
        let script = Script::new(&self.settings, statements);
        let command = self.command("--xml", &script.text);
        let output = if only_reads {
            Some(self.machine.query(&command)?)
        } else {
            self.machine
                .execute(&command, Effect::opaque(shown))?
                .output()
        };
        Ok(output.map_or_else(Answers::default, |output| script.answers(&output)))
    }

    fn command(&self, format: &str, script: &str) -> Command {
        let mut argv = self.client.clone();
        argv.push(format.to_owned());
        let command = tool::command(&argv).stdin(script);
        match &self.password {
            Some(password) if !password.is_empty() => command.env("MYSQL_PWD", password),
            _ => command,
        }
    }
}

/// What came of one statement.
#[derive(Clone, Debug, Default)]
pub(super) struct Answer {
    pub(super) rows: Vec<Row>,
    pub(super) n_affected: i64,
    pub(super) milliseconds: f64,
}

/// What came of the statements of a session, up to the one that was refused.
#[derive(Debug, Default)]
pub(super) struct Answers {
    pub(super) all: Vec<Answer>,
    /// What the server said of the first statement that has no answer.
    pub(super) error: Option<String>,
}

/// What the client is to read: statements, and after each a question that ends its answer.
struct Script {
    text: String,
    /// The name of that question's first column.
    mark: String,
    n_settings: usize,
}

impl Script {
    fn new(settings: &[String], statements: &[&str]) -> Self {
        let mark = format!("{:032x}", rand::random::<u128>());
        // The client takes no longer one.
        let end = &mark[..12];
        let mut text = format!("delimiter {end}\n");
        let own = settings.iter().map(String::as_str);
        for statement in own.chain(statements.iter().copied()) {
            text += &format!(
                "{statement}\n{end}\nSELECT ROW_COUNT() AS `{mark}`, UNIX_TIMESTAMP(SYSDATE(6)) AS \
                 t\n{end}\n"
            );
        }
        Self {
            text,
            mark,
            n_settings: settings.len(),
        }
    }

    fn answers(&self, output: &Output) -> Answers {
        let mut all = Vec::new();
        let mut answer = Answer::default();
        let mut last = None;
        for set in rows::result_sets(&output.stdout_text()) {
            let mark = set.first().and_then(|row| row.get(self.mark.as_str()));
            let Some(count) = mark else {
                answer.rows = set;
                continue;
            };
            let now: Option<f64> = rows::text(&set[0], "t").parse().ok();
            if let (Some(before), Some(now)) = (last, now) {
                let spent: f64 = now - before;
                answer.milliseconds = (spent * 1e7).round() / 1e4;
            }
            last = now;
            let n_rows = i64::try_from(answer.rows.len()).unwrap_or(i64::MAX);
            let count: i64 = count.to_string().parse().unwrap_or(0);
            answer.n_affected = if count < 0 { n_rows } else { count };
            all.push(std::mem::take(&mut answer));
        }
        let error = (!output.success()).then(|| said(output));
        Answers {
            all: all.split_off(self.n_settings.min(all.len())),
            error,
        }
    }
}

fn step(client: &[String], sql: &str) -> UndoStep {
    let mut argv = client.to_vec();
    argv.extend(["--execute".into(), sql.to_owned()]);
    UndoStep::new(argv)
}

impl Login {
    /// Fills in what the file of options says, as `PyMySQL` does.
    fn with(&self, config: &Config) -> Self {
        let mut login = self.clone();
        if self.config_overrides {
            if let Some(host) = config.get("host") {
                host.clone_into(&mut login.host);
            }
            if let Some(port) = config.get("port").and_then(|port| port.parse().ok()) {
                login.port = port;
            }
        }
        let or = |own: &Option<String>, name: &str| {
            let own = own.clone().filter(|own| !own.is_empty());
            own.or_else(|| config.get(name).map(str::to_owned))
        };
        login.user = or(&self.user, "user");
        login.password = or(&self.password, "password");
        login.socket = or(&self.socket, "socket");
        let path = |own: &Option<PathBuf>, name: &str| {
            own.clone().or_else(|| config.get(name).map(PathBuf::from))
        };
        login.authority = path(&self.authority, "ssl-ca");
        login.certificate = path(&self.certificate, "ssl-cert");
        login.key = path(&self.key, "ssl-key");
        login
    }

    /// Returns the socket; of this machine's server the usual one, where it is there.
    fn socket(&self, machine: &Machine) -> Option<String> {
        let usual = || {
            let is_usual = self.host == "localhost" && self.port == 3306;
            let is_there = machine.exists(Path::new(SOCKET)).unwrap_or(false);
            (is_usual && is_there).then(|| SOCKET.to_owned())
        };
        self.socket.clone().or_else(usual)
    }

    /// Returns the words of the client program; its own files of options are not read.
    fn client(&self, machine: &mut Machine) -> Result<Vec<String>, Failure> {
        if u16::try_from(self.port).is_err() {
            return Err(Failure::new(
                "login_port must be a valid unix port number (0-65535)",
            ));
        }
        let program = match tool::found(machine, "mariadb") {
            Some(program) => program,
            None => tool::required(machine, "mysql")?,
        };
        let mut words = vec![
            program,
            "--no-defaults".into(),
            "--batch".into(),
            "--binary-mode".into(),
            "--comments".into(),
            "--default-character-set=utf8mb4".into(),
            format!("--connect-timeout={}", self.connect_timeout.max(1)),
        ];
        if let Some(user) = &self.user {
            words.push(format!("--user={user}"));
        }
        match self.socket(machine) {
            Some(socket) => words.push(format!("--socket={socket}")),
            None => {
                words.extend([
                    "--protocol=TCP".into(),
                    format!("--host={}", self.host),
                    format!("--port={}", self.port),
                ]);
                words.extend(self.tls(machine));
            }
        }
        words.extend(
            self.database
                .iter()
                .map(|name| format!("--database={name}")),
        );
        Ok(words)
    }

    /// Returns the words for an encrypted connection. With an authority the server's certificate
    /// is checked, and that it is for its name unless `check_hostname` says no.
    fn tls(&self, machine: &mut Machine) -> Vec<String> {
        let files = [
            ("ca", &self.authority),
            ("cert", &self.certificate),
            ("key", &self.key),
        ];
        let is_wanted = files.iter().any(|(_, path)| path.is_some());
        if !is_wanted && self.check_hostname.is_none() {
            return Vec::new();
        }
        let mut words = Vec::new();
        for (word, path) in files {
            if let Some(path) = path {
                words.push(format!("--ssl-{word}={}", machine.expand(path).display()));
            }
        }
        let is_checked = self.authority.is_some() && self.check_hostname != Some(false);
        let is_mariadb = tool::found(machine, "mariadb").is_some();
        words.push(match (is_mariadb, is_checked) {
            (true, true) => "--ssl-verify-server-cert".into(),
            (true, false) => "--ssl".into(),
            (false, true) => "--ssl-mode=VERIFY_IDENTITY".into(),
            (false, false) if self.authority.is_some() => "--ssl-mode=VERIFY_CA".into(),
            (false, false) => "--ssl-mode=REQUIRED".into(),
        });
        words
    }

    /// Returns the words for undoing: a password is not kept, so it must be one that the file of
    /// options has.
    fn keyless(&self, client: &[String], config: &Config, file: &Path) -> Option<Vec<String>> {
        let mut words = client.to_vec();
        match self
            .password
            .as_deref()
            .filter(|password| !password.is_empty())
        {
            None => {}
            kept if kept == config.get("password") => {
                words[1] = format!("--defaults-file={}", file.display());
            }
            Some(_) => return None,
        }
        Some(words)
    }
}

/// The section `client` of a file of options.
pub(super) struct Config(Vec<(String, String)>);

impl Config {
    pub(super) fn read(machine: &mut Machine, file: &Path) -> Result<Self, Failure> {
        if !machine.exists(file)? {
            return Ok(Self(Vec::new()));
        }
        let text = String::from_utf8_lossy(&machine.read(file)?).into_owned();
        Ok(Self::parse(&text))
    }

    fn parse(text: &str) -> Self {
        let mut pairs = Vec::new();
        let mut is_client = false;
        for line in text.lines().map(str::trim) {
            if let Some(section) = line.strip_prefix('[') {
                is_client = section.trim_end_matches(']').trim() == "client";
            } else if is_client && !line.starts_with(['#', ';', '!']) && !line.is_empty() {
                let (name, value) = line.split_once(['=', ':']).unwrap_or((line, ""));
                let value = value.trim();
                let inner = |quote: char| value.strip_prefix(quote)?.strip_suffix(quote);
                let value = inner('"').or_else(|| inner('\'')).unwrap_or(value);
                pairs.push((name.trim().replace('_', "-"), value.to_owned()));
            }
        }
        Self(pairs)
    }

    fn get(&self, name: &str) -> Option<&str> {
        let mut pairs = self.0.iter().rev();
        pairs
            .find(|(key, _)| key == name)
            .map(|(_, value)| value.as_str())
    }
}

/// Says an error as Python's driver does: `(1045, "Access denied …")`.
fn said(output: &Output) -> String {
    let text = output.stderr_text();
    let told = text.lines().find_map(|line| {
        let (_, rest) = line.split_once("ERROR ")?;
        let (code, rest) = rest.split_once(' ')?;
        let (_, message) = rest.split_once(": ")?;
        let code: u32 = code.parse().ok()?;
        Some((code, message))
    });
    match told {
        Some((code, message)) => {
            // A message may have lines; the first is where it begins.
            let start = text.find(message).unwrap_or_default();
            let message = text[start..].trim_end();
            format!("({code}, {})", crate::value::repr(&message.into()))
        }
        None => text.trim().to_owned(),
    }
}

/// Quotes a name.
pub(super) fn identifier(name: &str) -> String {
    format!("`{}`", name.replace('`', "``"))
}

/// Quotes a text.
pub(super) fn literal(text: &str) -> String {
    let mut quoted = String::from("'");
    for letter in text.chars() {
        match letter {
            '\0' => quoted.push_str("\\0"),
            '\n' => quoted.push_str("\\n"),
            '\r' => quoted.push_str("\\r"),
            '\u{1a}' => quoted.push_str("\\Z"),
            '"' | '\'' | '\\' => quoted.extend(['\\', letter]),
            letter => quoted.push(letter),
        }
    }
    quoted.push('\'');
    quoted
}

/// Writes a value as `PyMySQL` does.
pub(super) fn literal_of(value: &Value) -> Result<String, Failure> {
    Ok(match value {
        Value::Null => "NULL".into(),
        Value::Bool(value) => value.to_string(),
        Value::Int(value) => value.to_string(),
        Value::Float(value) => {
            let text = float_repr(*value);
            if text.contains('e') {
                text
            } else {
                format!("{text}e0")
            }
        }
        Value::String(text) => literal(text),
        Value::List(items) => {
            let all: Result<Vec<_>, _> = items.iter().map(literal_of).collect();
            format!("({})", all?.join(","))
        }
        Value::Map(_) => return Err(Failure::new("dict can not be used as parameter")),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_texts_cannot_leave_their_quotes() {
        assert_eq!(identifier("a`b"), "`a``b`");
        assert_eq!(literal("it's\\\n"), r"'it\'s\\\n'");
        assert_eq!(
            literal_of(&Value::list([Value::from(1), Value::from("a")])).unwrap(),
            "(1,'a')"
        );
        assert_eq!(literal_of(&Value::from(1.5)).unwrap(), "1.5e0");
    }

    #[test]
    fn only_the_clients_section_of_a_file_of_options_counts() {
        let config = Config::parse(
            "!includedir /etc\n[mysqld]\nuser = mysql\n[client]\n# no\nuser=me\npassword = \"a=b\"\nssl_ca='/x'\n",
        );
        assert_eq!(config.get("user"), Some("me"));
        assert_eq!(config.get("password"), Some("a=b"));
        assert_eq!(config.get("ssl-ca"), Some("/x"));
        assert_eq!(config.get("port"), None);
    }
}
