//! `hostname`: the target's name, now and after a boot.
//!
//! Asks `hostnamectl` where systemd runs; else edits the file of the distribution.

use std::path::Path;

use crate::machine::{Command, Content, Machine, NewFile};
use crate::value::Value;

use super::setup::first_qualified;
use super::tool;
use super::{Diff, Failure, ModuleResult, Outcome};

crate::arguments! {
    /// Manage the hostname.
    pub(crate) struct HostnameArgs for "hostname" {
        /// The name.
        name: String { required },
        /// How it is kept; found out unless it is named.
        r#use: Option<String> {
            choices: ["alpine", "debian", "generic", "openrc", "redhat", "sles", "systemd"],
        },
    }
}

/// Gives the target the name.
pub(crate) fn run(machine: &mut Machine, args: HostnameArgs) -> ModuleResult {
    let keeper = keeper(machine, args.r#use.as_deref())?;
    let name = args.name.as_str();
    let permanent = keeper.permanent(machine)?;
    let current = match keeper {
        Keeper::Systemd => ask(machine, "--transient")?,
        _ => permanent.clone(),
    };
    if permanent != name {
        keeper.set_permanent(machine, name, &permanent)?;
    }
    if current != name {
        keeper.set_current(machine, name, &current)?;
    }
    let changed = permanent != name || current != name;
    let before = if current == name { permanent } else { current };
    let answer = machine.query(&Command::new(["getent", "hosts", name]));
    let answer = answer.map(|output| output.stdout_text()).ok();
    let qualified = first_qualified(answer.as_deref(), name);
    let domain = qualified.split_once('.').map_or("", |(_, domain)| domain);
    let facts = Value::map([
        (
            "ansible_hostname",
            name.split('.').next().unwrap_or_default(),
        ),
        ("ansible_nodename", name),
        ("ansible_fqdn", &qualified),
        ("ansible_domain", domain),
    ]);
    let outcome = Outcome::unchanged()
        .with_changed(changed)
        .with("name", name)
        .with("ansible_facts", facts);
    if !changed {
        return Ok(outcome);
    }
    let shown = |name: &str| format!("hostname = {name}\n");
    Ok(outcome.only_diff(Diff::new(shown(&before), shown(name))))
}

/// What keeps the name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Keeper {
    Systemd,
    /// A file that is the name.
    File {
        path: &'static str,
        /// `hostname -F` must read it.
        is_loaded: bool,
    },
    /// A file of assignments.
    Assignment {
        path: &'static str,
        key: &'static str,
        is_quoted: bool,
    },
}

const DEBIAN: Keeper = Keeper::File {
    path: "/etc/hostname",
    is_loaded: false,
};

const ALPINE: Keeper = Keeper::File {
    path: "/etc/hostname",
    is_loaded: true,
};

const OPENRC: Keeper = Keeper::Assignment {
    path: "/etc/conf.d/hostname",
    key: "hostname",
    is_quoted: true,
};

const REDHAT: Keeper = Keeper::Assignment {
    path: "/etc/sysconfig/network",
    key: "HOSTNAME",
    is_quoted: false,
};

fn keeper(machine: &Machine, wanted: Option<&str>) -> Result<Keeper, Failure> {
    Ok(match wanted {
        Some("systemd" | "debian") => Keeper::Systemd,
        Some("alpine") => ALPINE,
        Some("openrc") => OPENRC,
        Some("redhat") => REDHAT,
        Some("sles") => Keeper::File {
            path: "/etc/HOSTNAME",
            is_loaded: false,
        },
        Some(_) => {
            let msg = "hostname module cannot be used on platform Linux (generic)";
            return Err(Failure::new(msg));
        }
        None => {
            let has = |path: &str| machine.exists(Path::new(path));
            if has("/run/systemd/system")? {
                Keeper::Systemd
            } else if has("/etc/alpine-release")? {
                ALPINE
            } else if has("/etc/conf.d/hostname")? {
                OPENRC
            } else if has("/etc/redhat-release")? {
                REDHAT
            } else {
                DEBIAN
            }
        }
    })
}

impl Keeper {
    fn permanent(self, machine: &mut Machine) -> Result<String, Failure> {
        match self {
            Self::Systemd => ask(machine, "--static"),
            Self::File { path, .. } => Ok(read(machine, path)?.trim().to_owned()),
            Self::Assignment {
                path,
                key,
                is_quoted,
            } => {
                let text = read(machine, path)?;
                match text.lines().find_map(|line| assigned(line, key)) {
                    Some(name) => Ok(name.to_owned()),
                    None if is_quoted => Ok(String::new()),
                    None => Err(Failure::new(format!(
                        "Unable to locate {key} entry in {path}"
                    ))),
                }
            }
        }
    }

    fn set_permanent(self, machine: &mut Machine, name: &str, old: &str) -> Result<(), Failure> {
        match self {
            Self::Systemd => set(machine, &["--pretty", "--static"], name, old),
            Self::File { path, .. } => write(machine, path, format!("{name}\n")),
            Self::Assignment {
                path,
                key,
                is_quoted,
            } => {
                let quote = if is_quoted { "\"" } else { "" };
                let new = format!("{key}={quote}{name}{quote}\n");
                let mut text = String::new();
                let mut is_set = false;
                for line in read(machine, path)?.split_inclusive('\n') {
                    if assigned(line, key).is_some() && !is_set {
                        text += &new;
                        is_set = true;
                    } else {
                        text += line;
                    }
                }
                if !is_set {
                    text += &new;
                }
                write(machine, path, text)
            }
        }
    }

    fn set_current(self, machine: &mut Machine, name: &str, old: &str) -> Result<(), Failure> {
        match self {
            Self::Systemd => set(machine, &["--transient"], name, old),
            Self::File {
                path,
                is_loaded: true,
            } => {
                let program = tool::required(machine, "hostname")?;
                let done = tool::act(machine, &[&program, "-F", path], &[&program, old])?;
                tool::check(done.as_ref(), refused)
            }
            _ => Ok(()),
        }
    }
}

fn assigned<'a>(line: &'a str, key: &str) -> Option<&'a str> {
    let (found, value) = line.trim().split_once('=')?;
    (found.trim() == key).then(|| value.trim().trim_matches('"'))
}

fn read(machine: &mut Machine, path: &str) -> Result<String, Failure> {
    let path = Path::new(path);
    if !machine.exists(path)? {
        return Ok(String::new());
    }
    let bytes = machine.read(path)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

fn write(machine: &mut Machine, path: &str, text: String) -> Result<(), Failure> {
    let path = machine.real_path(Path::new(path))?;
    let content = Content::Bytes(text.into_bytes());
    // In a container the file is often a mount, which cannot be replaced.
    let new = NewFile {
        unsafe_writes: true,
        ..NewFile::default()
    };
    Ok(machine.write(&path, content, &new)?)
}

fn ask(machine: &mut Machine, which: &str) -> Result<String, Failure> {
    let program = tool::required(machine, "hostnamectl")?;
    let output = tool::ask(machine, &[&program, which, "status"])?;
    tool::check(Some(&output), refused)?;
    Ok(output.stdout_text().trim().to_owned())
}

fn set(machine: &mut Machine, which: &[&str], name: &str, old: &str) -> Result<(), Failure> {
    if name.chars().count() > 64 {
        return Err(Failure::new(
            "name cannot be longer than 64 characters on systemd servers, try a shorter name",
        ));
    }
    let program = tool::required(machine, "hostnamectl")?;
    let words = |name| {
        let mut argv = vec![program.as_str()];
        argv.extend(which);
        argv.extend(["set-hostname", name]);
        argv
    };
    let done = tool::act(machine, &words(name), &words(old))?;
    tool::check(done.as_ref(), refused)
}

fn refused(output: &crate::machine::Output) -> String {
    format!(
        "Command failed rc={}, out={}, err={}",
        output.status,
        output.stdout_text(),
        output.stderr_text()
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::modules::fake::Programs;

    const HOSTNAMECTL: &str = r#"
case "$1 $2" in
  "--pretty --static") [ "$4" = bad ] && { echo no >&2; exit 1; }; echo "$4" >"$here/static" ;;
  "--transient set-hostname") echo "$3" >"$here/transient" ;;
  *) cat "$here/${1#--}" 2>/dev/null || echo old ;;
esac
"#;

    fn call(programs: &Programs, json: &str) -> ModuleResult {
        let given: Value = serde_json::from_str(json).unwrap();
        let args = HostnameArgs::parse(given.as_map().unwrap())?;
        run(&mut programs.machine(), args)
    }

    #[test]
    fn both_names_are_set_once_and_undone() {
        let programs = Programs::new([("hostnamectl", HOSTNAMECTL), ("getent", "exit 2")]);
        let options = r#"{"name": "web.example.org", "use": "systemd"}"#;
        let outcome = call(&programs, options).unwrap();
        assert_eq!(
            serde_json::to_string(&Value::from(outcome.into_result())).unwrap(),
            r#"{"changed":true,"name":"web.example.org","ansible_facts":{"ansible_hostname":"web","ansible_nodename":"web.example.org","ansible_fqdn":"web.example.org","ansible_domain":"example.org"},"diff":{"before":"hostname = old\n","after":"hostname = web.example.org\n"}}"#
        );
        assert_eq!(
            programs.undo_steps(),
            [
                "hostnamectl --pretty --static set-hostname old",
                "hostnamectl --transient set-hostname old"
            ]
        );
        assert!(!call(&programs, options).unwrap().changed);
    }

    #[test]
    fn a_refused_name_says_why() {
        let programs = Programs::new([("hostnamectl", HOSTNAMECTL)]);
        assert_eq!(
            call(&programs, r#"{"name": "bad", "use": "systemd"}"#)
                .unwrap_err()
                .msg,
            "Command failed rc=1, out=, err=no\n"
        );
        let long = format!(r#"{{"name": "{}", "use": "systemd"}}"#, "x".repeat(65));
        assert_eq!(
            call(&programs, &long).unwrap_err().msg,
            "name cannot be longer than 64 characters on systemd servers, try a shorter name"
        );
    }

    #[test]
    fn an_assignment_is_read_with_or_without_quotes() {
        assert_eq!(assigned("hostname=\"web\"\n", "hostname"), Some("web"));
        assert_eq!(assigned(" HOSTNAME = web", "HOSTNAME"), Some("web"));
        assert_eq!(assigned("#HOSTNAME=web", "HOSTNAME"), None);
    }
}
