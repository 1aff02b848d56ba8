//! Dumps of databases, written and read by the programs that come with the server.

use std::path::{Path, PathBuf};

use super::database::MysqlDbArgs;
use crate::machine::{Command, Content, Effect, Machine, NewFile};
use crate::modules::command::quote;
use crate::modules::{Failure, tool};

/// What is dumped or imported.
pub(super) struct Dump<'a> {
    pub(super) args: &'a MysqlDbArgs,
    pub(super) names: &'a [String],
    pub(super) is_all: bool,
    /// Root may come in without a password.
    pub(super) is_implicit: bool,
    pub(super) is_mariadb: bool,
    pub(super) version: &'a str,
    /// The file of options, where it is there.
    pub(super) config_file: Option<PathBuf>,
}

/// Writes a dump; the file takes its place when the dump is whole.
pub(super) fn write(
    machine: &mut Machine,
    dump: &Dump<'_>,
) -> Result<(Option<String>, String), Failure> {
    let args = dump.args;
    let target = dump.target(machine);
    if machine.is_check() {
        return Ok((None, String::new()));
    }
    let mut words = vec![program(machine, dump, "mariadb-dump", "mysqldump")?];
    words.extend(dump.login());
    if dump.is_all {
        words.push("--all-databases".into());
    } else if dump.names.len() > 1 {
        words.push("--databases".into());
        words.extend(dump.names.iter().map(|name| quote(name)));
    } else {
        words.extend(dump.names.iter().map(|name| quote(name)));
    }
    for (is_wanted, word) in [
        (args.skip_lock_tables, "--skip-lock-tables"),
        (args.single_transaction, "--single-transaction=true"),
        (args.quick, "--quick"),
        (args.hex_blob, "--hex-blob"),
    ] {
        if is_wanted {
            words.push(word.into());
        }
    }
    words.extend(dump.encoding());
    let ignored = args.ignore_tables.iter();
    words.extend(ignored.map(|table| quote(&format!("--ignore-table={table}"))));
    if args.master_data > 0 {
        let word = if dump.knows_source_data() {
            "source"
        } else {
            "master"
        };
        words.push(format!("--{word}-data={}", args.master_data));
    }
    words.extend(args.dump_extra_args.clone());
    let mut line = words.join(" ");
    if let Some(program) = compression(machine, &target)? {
        line += &format!(" | {program}");
    }
    let scratch = machine.temporary_file(b"")?;
    let shown = format!("{line} > {}", quote(&target.display().to_string()));
    let real = format!("{line} > {}", quote(&scratch.path().display().to_string()));
    let command = dump.command(machine, &real)?;
    let output = machine.query(&command)?;
    if !output.success() {
        return Err(Failure::new(output.stderr_text()));
    }
    let content = Content::File(scratch.path().to_owned());
    machine.write(
        &target,
        content,
        &NewFile {
            mode: Some(0o666 & !machine.umask()),
            ..NewFile::default()
        },
    )?;
    Ok((Some(shown), output.stdout_text()))
}

/// Feeds a dump to the server. What it does to a database that `is_new` goes with it.
pub(super) fn import(
    machine: &mut Machine,
    dump: &Dump<'_>,
    is_new: bool,
) -> Result<(Option<String>, String), Failure> {
    let target = dump.target(machine);
    let shown = target.display().to_string();
    if machine.is_check() {
        return Ok((None, String::new()));
    }
    if !machine.exists(&target)? {
        return Err(Failure::new(format!(
            "target {shown} does not exist on the host"
        )));
    }
    let mut words = vec![program(machine, dump, "mariadb", "mysql")?];
    words.extend(dump.login());
    words.extend(dump.encoding());
    if !dump.is_all {
        words.push("--one-database".into());
        words.extend(dump.names.iter().map(|name| quote(name)));
    }
    let line = words.join(" ");
    let line = match compression(machine, &target)? {
        Some(program) => format!("{program} -dc {} | {line}", quote(&shown)),
        None => format!("{line} < {}", quote(&shown)),
    };
    let what = format!("import {shown}");
    let effect = if is_new {
        Effect::Compensated {
            what,
            undo: Vec::new(),
        }
    } else {
        Effect::opaque(what)
    };
    let command = dump.command(machine, &line)?;
    let output = machine.execute(&command, effect)?.output();
    let said = match &output {
        Some(output) if !output.success() => return Err(Failure::new(output.stderr_text())),
        Some(output) => output.stdout_text(),
        None => String::new(),
    };
    Ok((Some(line), said))
}

/// Finds the server's own program; `MariaDB` has new names for them.
fn program(machine: &Machine, dump: &Dump<'_>, new: &str, old: &str) -> Result<String, Failure> {
    let new = if dump.is_mariadb {
        tool::found(machine, new)
    } else {
        None
    };
    new.map_or_else(|| tool::required(machine, old), Ok)
}

/// Returns the program that packs and unpacks files with the ending of this one.
fn compression(machine: &Machine, target: &Path) -> Result<Option<String>, Failure> {
    let ending = target.extension().and_then(|ending| ending.to_str());
    let name = match ending.unwrap_or_default() {
        "gz" => "gzip",
        "bz2" => "bzip2",
        "xz" => "xz",
        "zst" => "zstd",
        _ => return Ok(None),
    };
    tool::required(machine, name).map(Some)
}

impl Dump<'_> {
    fn target(&self, machine: &mut Machine) -> PathBuf {
        let target = self.args.target.clone().unwrap_or_default();
        let target = machine.expand(&target);
        match &self.args.chdir {
            Some(directory) => machine.expand(directory).join(target),
            None => target,
        }
    }

    /// Returns the words that log in, quoted for a shell; the password is in the environment.
    fn login(&self) -> Vec<String> {
        let args = self.args;
        let mut words = Vec::new();
        if let Some(file) = &self.config_file {
            let kind = if args.restrict_config_file {
                ""
            } else {
                "-extra"
            };
            words.push(quote(&format!("--defaults{kind}-file={}", file.display())));
        }
        if self.is_implicit {
            words.extend(["--user=root".into(), "--password=''".into()]);
        } else {
            let user = args.login_user.as_ref().filter(|user| !user.is_empty());
            words.extend(user.map(|user| quote(&format!("--user={user}"))));
            if args.unsafe_login_password
                && let Some(password) = &args.login_password
            {
                words.push(format!("--password={password}"));
            }
        }
        for (word, path) in [
            ("cert", &args.client_cert),
            ("key", &args.client_key),
            ("ca", &args.ca_cert),
        ] {
            let path = path.as_ref();
            words.extend(path.map(|path| quote(&format!("--ssl-{word}={}", path.display()))));
        }
        if args.force {
            words.push("--force".into());
        }
        match &args.login_unix_socket {
            Some(socket) => words.push(quote(&format!("--socket={socket}"))),
            None => {
                words.push(quote(&format!("--host={}", args.login_host)));
                words.push(format!("--port={}", args.login_port));
            }
        }
        words
    }

    fn encoding(&self) -> Option<String> {
        let encoding = self.args.encoding.as_str();
        (!encoding.is_empty()).then(|| quote(&format!("--default-character-set={encoding}")))
    }

    fn knows_source_data(&self) -> bool {
        let numbers = self.version.split(|letter: char| !letter.is_ascii_digit());
        let version: Vec<u32> = numbers.map_while(|part| part.parse().ok()).collect();
        !self.is_mariadb && version.as_slice() >= [8, 2, 0].as_slice()
    }

    /// Makes a command in which a part of a pipe that fails is an error.
    fn command(&self, machine: &mut Machine, line: &str) -> Result<Command, Failure> {
        let command = if line.contains('|') {
            let bash = tool::required(machine, "bash")?;
            Command::shell_with(bash, format!("set -o pipefail && {line}"))
        } else {
            Command::shell(line)
        };
        let command = match &self.args.chdir {
            Some(directory) => command.directory(machine.expand(directory)),
            None => command,
        };
        let args = self.args;
        Ok(match &args.login_password {
            Some(password) if !args.unsafe_login_password && !self.is_implicit => {
                command.env("MYSQL_PWD", password)
            }
            _ => command,
        })
    }
}
