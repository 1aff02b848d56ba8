//! `acl`: access control lists of files.
//!
//! Drives `getfacl` and `setfacl`; what the lists were is set again from getfacl's own output.

use std::path::PathBuf;

use crate::machine::{Effect, Machine, Output};
use crate::transaction::journal::UndoStep;
use crate::value::Value;

use super::tool;
use super::{Failure, ModuleResult, Outcome};

crate::arguments! {
    /// Set and retrieve file ACL information.
    pub(crate) struct AclArgs for "ansible.posix.acl" {
        /// The file or directory.
        path: PathBuf { required, aliases: ["name"] },
        /// The entry in the words of setfacl, instead of the four options.
        entry: Option<String> {},
        /// The user or group.
        entity: String { default: "" },
        etype: Option<String> { choices: ["group", "mask", "other", "user"] },
        permissions: Option<String> {},
        state: String { default: "query", choices: ["absent", "present", "query"] },
        /// Follow links.
        follow: bool { default: "true" },
        /// The entry is for what will be made in the directory.
        default: bool { default: "false" },
        recursive: bool { default: "false", aliases: ["recurse"] },
        /// Whether the mask follows the entries.
        recalculate_mask: String { default: "default", choices: ["default", "mask", "no_mask"] },
        /// Use the lists of NFS 4.
        use_nfsv4_acls: bool { default: "false" },
    }
}

/// Sets or removes the entry, and tells the list.
pub(crate) fn run(machine: &mut Machine, args: AclArgs) -> ModuleResult {
    let path = machine.expand(&args.path);
    if !machine.exists(&path)? {
        return Err(Failure::new("Path not found or not accessible."));
    }
    let entry = Entry::of(&args)?;
    let mut lists = Lists {
        machine,
        args: &args,
        path: path.display().to_string(),
        default: entry.default,
    };
    let (changed, msg) = match args.state.as_str() {
        "query" => (false, "current acl".to_owned()),
        state => {
            let is_set = state == "present";
            let text = entry.text(is_set || args.use_nfsv4_acls, args.use_nfsv4_acls);
            let changed = lists.set(&text, is_set)?;
            (changed, format!("{text} is {state}"))
        }
    };
    let acl = lists.get()?;
    Ok(Outcome::unchanged()
        .with_changed(changed)
        .msg(msg)
        .with("acl", Value::list(acl)))
}

/// What the options mean, however they say it.
struct Entry {
    default: bool,
    etype: String,
    entity: String,
    permissions: Option<String>,
}

impl Entry {
    fn of(args: &AclArgs) -> Result<Self, Failure> {
        let refuse = |msg: &str| Err(Failure::new(msg));
        let state = args.state.as_str();
        if state == "query" {
            if args.recursive {
                return refuse("'recursive' MUST NOT be set when 'state=query'.");
            }
            if args.recalculate_mask != "default" {
                return refuse(
                    "'recalculate_mask' MUST NOT be set to 'mask' or 'no_mask' when 'state=query'.",
                );
            }
        }
        let Some(entry) = args.entry.as_deref().filter(|entry| !entry.is_empty()) else {
            let has_permissions = args.permissions.as_deref().is_some_and(|it| !it.is_empty());
            if state == "absent" && has_permissions && !args.use_nfsv4_acls {
                return refuse("'permissions' MUST NOT be set when 'state=absent'.");
            }
            if state == "absent" && args.entity.is_empty() {
                return refuse("'entity' MUST be set when 'state=absent'.");
            }
            if state != "query" && args.etype.is_none() {
                return Err(Failure::new(format!(
                    "'etype' MUST be set when 'state={state}'."
                )));
            }
            return Ok(Self {
                default: args.default,
                etype: args.etype.clone().unwrap_or_default(),
                entity: args.entity.clone(),
                permissions: args.permissions.clone(),
            });
        };
        if args.etype.is_some() || !args.entity.is_empty() || args.permissions.is_some() {
            return refuse(
                "'entry' MUST NOT be set when 'entity', 'etype' or 'permissions' are set.",
            );
        }
        let n_colons = entry.matches(':').count();
        match state {
            "present" if !matches!(n_colons, 2 | 3) => {
                refuse("'entry' MUST have 3 or 4 sections divided by ':' when 'state=present'.")
            }
            "absent" if !matches!(n_colons, 1 | 2) => {
                refuse("'entry' MUST have 2 or 3 sections divided by ':' when 'state=absent'.")
            }
            "query" => refuse("'entry' MUST NOT be set when 'state=query'."),
            _ => Ok(Self::parse(entry, args.default)),
        }
    }

    /// Reads `[d:]type:name[:permissions]`, types by their first letter.
    fn parse(entry: &str, default: bool) -> Self {
        let mut parts: Vec<_> = entry.split(':').collect();
        let is_default = entry.to_lowercase().starts_with('d');
        if is_default {
            parts.remove(0);
        }
        let kind = parts.first().copied().unwrap_or_default().to_lowercase();
        let etype = match kind.chars().next() {
            Some('u') => "user",
            Some('g') => "group",
            Some('m') => "mask",
            _ => "other",
        };
        Self {
            default: default || is_default,
            etype: etype.to_owned(),
            entity: parts.get(1).copied().unwrap_or_default().to_owned(),
            permissions: parts.get(2).map(|it| (*it).to_owned()),
        }
    }

    fn text(&self, with_permissions: bool, nfs: bool) -> String {
        let permissions = self.permissions.as_deref().unwrap_or_default();
        if nfs {
            let kind = if self.etype == "group" { "g" } else { "" };
            return format!("A:{kind}:{}:{permissions}tcy", self.entity);
        }
        let Self { etype, entity, .. } = self;
        if with_permissions && !permissions.is_empty() {
            format!("{etype}:{entity}:{permissions}")
        } else {
            format!("{etype}:{entity}")
        }
    }
}

struct Lists<'a> {
    machine: &'a mut Machine,
    args: &'a AclArgs,
    path: String,
    default: bool,
}

impl Lists<'_> {
    fn argv(&self, program: &str, verb: Option<(&str, &str)>) -> Result<Vec<String>, Failure> {
        let args = self.args;
        let nfs = args.use_nfsv4_acls;
        let name = if nfs {
            format!("nfs4_{program}")
        } else {
            program.to_owned()
        };
        let mut argv = vec![tool::required(self.machine, &name)?];
        if self.default {
            argv.push("-d".into());
        }
        match verb {
            Some((flag, entry)) => argv.extend([flag.to_owned(), entry.to_owned()]),
            None if nfs => {}
            None => argv.extend(["--absolute-names".into(), "--omit-header".into()]),
        }
        if args.recursive && !nfs {
            argv.push("--recursive".into());
        }
        if verb.is_some() && args.recalculate_mask != "default" {
            let flag = args.recalculate_mask.replace('_', "-");
            argv.push(format!("--{flag}"));
        }
        if !args.follow && !nfs {
            argv.push("--physical".into());
        }
        argv.push(self.path.clone());
        Ok(argv)
    }

    /// Tells whether the entry had to be set or removed.
    fn set(&mut self, entry: &str, is_set: bool) -> Result<bool, Failure> {
        let nfs = self.args.use_nfsv4_acls;
        let flag = match (is_set, nfs) {
            (true, true) => "-a",
            (true, false) => "-m",
            (false, _) => "-x",
        };
        let argv = self.argv("setfacl", Some((flag, entry)))?;
        let mut test = argv.clone();
        test.insert(1, "--test".into());
        let lines = self.lines(&test)?;
        let n_same = lines.iter().filter(|line| *line == entry).count();
        let is_same = if nfs {
            n_same == 2
        } else {
            lines.iter().any(|line| line.ends_with("*,*"))
        };
        if is_same {
            return Ok(false);
        }
        let what = argv.join(" ");
        let effect = if nfs {
            Effect::opaque(what)
        } else {
            let undo = vec![self.restoring()?];
            Effect::Compensated { what, undo }
        };
        let command = tool::command(&argv);
        let output = self.machine.execute(&command, effect)?.output();
        if is_set {
            tool::check(output.as_ref(), Output::stderr_text)?;
        }
        Ok(true)
    }

    /// Returns what sets all the lists as they are.
    fn restoring(&mut self) -> Result<UndoStep, Failure> {
        let getfacl = tool::required(self.machine, "getfacl")?;
        let setfacl = tool::required(self.machine, "setfacl")?;
        let mut argv = vec![getfacl, "--absolute-names".into()];
        if self.args.recursive {
            argv.push("--recursive".into());
        }
        argv.push(self.path.clone());
        let saved = tool::ask(self.machine, &argv)?.stdout_text();
        let script = r#"printf %s "$1" | "$2" --restore=-"#;
        Ok(UndoStep::new([
            "/bin/sh", "-c", script, "sh", &saved, &setfacl,
        ]))
    }

    fn get(&mut self) -> Result<Vec<String>, Failure> {
        let argv = self.argv("getfacl", None)?;
        self.lines(&argv)
    }

    fn lines(&mut self, argv: &[String]) -> Result<Vec<String>, Failure> {
        let output = tool::ask(self.machine, argv)?;
        tool::check(Some(&output), Output::stderr_text)?;
        let text = output.stdout_text();
        let mut lines: Vec<_> = text
            .lines()
            .filter(|line| !line.starts_with('#'))
            .map(|line| line.trim().to_owned())
            .collect();
        if lines.last().is_some_and(String::is_empty) {
            lines.pop();
        }
        Ok(lines)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::modules::fake::Programs;

    const NAME: &str = "ansible.posix.acl";
    const GET: &str =
        "printf 'user::rw-\\n'; cat \"$here/acl\" 2>/dev/null; printf 'other::r--\\n\\n'";
    const SET: &str = r#"
case "$*" in
  --test*-m*) [ -e "$here/acl" ] && echo 'f: *,*' || echo 'f: u::rw-,u:joe:r,*' ;;
  --test*-x*) [ -e "$here/acl" ] && echo 'f: u::rw-,*' || echo 'f: *,*' ;;
  *-m*wrong*) echo 'setfacl: Option -m: Invalid argument' >&2; exit 2 ;;
  *-m*) echo user:joe:r-- >"$here/acl" ;;
  *-x*) rm "$here/acl" ;;
esac
"#;

    #[test]
    fn an_entry_is_set_once_and_removed() {
        let host = Programs::new([("getfacl", GET), ("setfacl", SET)]);
        let options = r#"{"path": "$BIN", "entity": "joe", "etype": "user", "permissions": "r", "state": "present"}"#;
        assert!(host.predict(NAME, options).contains(r#""changed":true"#));
        assert_eq!(
            host.run(NAME, options),
            r#"{"changed":true,"msg":"user:joe:r is present","acl":["user::rw-","user:joe:r--","other::r--"]}"#
        );
        assert!(host.run(NAME, options).contains(r#""changed":false"#));
        let absent = r#"{"path": "$BIN", "entry": "u:joe", "state": "absent"}"#;
        assert!(
            host.run(NAME, absent)
                .contains(r#""changed":true,"msg":"user:joe is absent""#)
        );
        assert!(host.run(NAME, absent).contains(r#""changed":false"#));
        assert!(host.undo_steps()[1].contains("user:joe:r--"));
    }

    #[test]
    fn an_entry_is_read_by_first_letters() {
        let entry = Entry::parse("default:g:www:rwX", false);
        assert!(entry.default);
        assert_eq!(entry.text(true, false), "group:www:rwX");
        assert_eq!(entry.text(false, false), "group:www");
    }

    #[test]
    fn calls_without_sense_are_refused() {
        let host = Programs::new([("getfacl", GET), ("setfacl", SET)]);
        for (options, msg) in [
            (
                r#""state": "absent""#,
                "'entity' MUST be set when 'state=absent'.",
            ),
            (
                r#""state": "present""#,
                "'etype' MUST be set when 'state=present'.",
            ),
            (
                r#""recursive": true"#,
                "'recursive' MUST NOT be set when 'state=query'.",
            ),
            (
                r#""entry": "u:joe", "state": "present""#,
                "'entry' MUST have 3 or 4 sections",
            ),
            (
                r#""entry": "u:wrong:r", "state": "present""#,
                "Invalid argument",
            ),
        ] {
            let result = host.run(NAME, &format!(r#"{{"path": "$BIN", {options}}}"#));
            assert!(result.contains(msg), "{options}: {result}");
        }
        assert!(
            host.run(NAME, r#"{"path": "/backstay/none"}"#)
                .contains("Path not found or not accessible.")
        );
    }
}
