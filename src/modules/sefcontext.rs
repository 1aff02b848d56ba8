//! `sefcontext`: which SELinux context files of a path get, or which path they follow.

use crate::machine::{Machine, Output};
use crate::transaction::journal::UndoStep;
use crate::value::Value;

use super::tool;
use super::{Diff, Failure, ModuleResult, Outcome};

crate::arguments! {
    /// Manages `SELinux` file context mapping definitions.
    pub(crate) struct SefcontextArgs for "community.general.sefcontext" {
        /// Go on where SELinux is disabled.
        ignore_selinux_state: bool { default: "false" },
        /// The path, or an expression of paths.
        target: String { required, aliases: ["path"] },
        /// Files of which type: all, block, character, directory, file, link, pipe, socket.
        ftype: String { default: "a", choices: ["a", "b", "c", "d", "f", "l", "p", "s"] },
        setype: Option<String> {},
        /// The path whose contexts files below the target get.
        substitute: Option<String> { aliases: ["equal"] },
        seuser: Option<String> {},
        selevel: Option<String> { aliases: ["serange"] },
        /// Whether the definition should be there.
        state: String { default: "present", choices: ["absent", "present"] },
        /// Load the policy anew.
        reload: bool { default: "true" },
    }
    mutually_exclusive [
        ["setype", "substitute"], ["substitute", "ftype"], ["substitute", "seuser"],
        ["substitute", "selevel"],
    ]
    required_if [("state", "present", ["setype", "substitute"], true)]
}

/// Adds, changes or deletes the definition.
pub(crate) fn run(machine: &mut Machine, args: SefcontextArgs) -> ModuleResult {
    if !args.ignore_selinux_state && !machine.selinux_enabled() {
        return Err(Failure::new("SELinux is disabled on this host."));
    }
    let semanage = tool::required(machine, "semanage")?;
    let mut policy = Policy {
        machine,
        semanage,
        args: &args,
        diff: String::new(),
    };
    let listed = policy.list(false)?;
    let local = policy.list(true)?;
    let mut outcome = if args.state == "present" {
        policy.set(&listed, &local)?
    } else {
        policy.unset(&listed)?
    };
    if policy.machine.wants_diff() && !policy.diff.is_empty() {
        outcome = outcome.only_diff(Diff::default().with("prepared", policy.diff));
    }
    let text = |text: &Option<String>| text.as_deref().map_or(Value::Null, Value::from);
    let mut named = Outcome::unchanged()
        .with("target", args.target.as_str())
        .with("ftype", args.ftype.as_str())
        .with("setype", text(&args.setype))
        .with("substitute", text(&args.substitute))
        .with("state", args.state.as_str())
        .with_all(outcome.data)
        .with_changed(outcome.changed);
    named.diff = outcome.diff;
    named.bare_diff = true;
    Ok(named)
}

/// The definitions as semanage lists them.
#[derive(Default)]
struct Listed {
    /// A path, a type of file, and the four parts of a context.
    contexts: Vec<(String, String, Vec<String>)>,
    substitutes: Vec<(String, String)>,
}

impl Listed {
    fn parse(text: &str) -> Self {
        let mut listed = Self::default();
        for line in text.lines() {
            if let Some((target, substitute)) = line.split_once(" = ") {
                let pair = (target.trim().to_owned(), substitute.trim().to_owned());
                listed.substitutes.push(pair);
                continue;
            }
            let mut columns = line.split("  ").map(str::trim).filter(|it| !it.is_empty());
            if let (Some(target), Some(kind), Some(context)) =
                (columns.next(), columns.next(), columns.next())
            {
                let parts: Vec<_> = context.splitn(4, ':').map(str::to_owned).collect();
                if parts.len() == 4 {
                    listed.contexts.push((target.into(), kind.into(), parts));
                }
            }
        }
        listed
    }

    fn context(&self, target: &str, ftype: &str) -> Option<&[String]> {
        let kind = match ftype {
            "b" => "block device",
            "c" => "character device",
            "d" => "directory",
            "f" => "regular file",
            "l" => "symbolic link",
            "p" => "named pipe",
            "s" => "socket",
            _ => "all files",
        };
        let found = self
            .contexts
            .iter()
            .rfind(|(path, of, _)| path == target && of == kind);
        found.map(|(_, _, parts)| parts.as_slice())
    }

    fn substitute(&self, target: &str) -> Option<&str> {
        let found = self.substitutes.iter().find(|(path, _)| path == target);
        found.map(|(_, substitute)| substitute.as_str())
    }
}

struct Policy<'a> {
    machine: &'a mut Machine,
    semanage: String,
    args: &'a SefcontextArgs,
    diff: String,
}

impl Policy<'_> {
    fn list(&mut self, local: bool) -> Result<Listed, Failure> {
        let mut argv = vec![self.semanage.as_str(), "fcontext", "-l", "-n"];
        if local {
            argv.push("-C");
        }
        let output = tool::ask(self.machine, &argv)?;
        tool::check(Some(&output), refusal)?;
        Ok(Listed::parse(&output.stdout_text()))
    }

    fn set(&mut self, listed: &Listed, local: &Listed) -> ModuleResult {
        let args = self.args;
        if let Some(substitute) = &args.substitute {
            let old = listed.substitute(&args.target);
            if old == Some(substitute) {
                return Ok(self.told(false, None, None));
            }
            let target = &args.target;
            let (verb, back) = match old {
                Some(old) => {
                    self.diff = format!(
                        "# Change to semanage file context path substitutions\n-{target} = \
                         {old}\n+{target} = {substitute}\n"
                    );
                    ("-m", self.argv(&["-m", "-e", old]))
                }
                None => {
                    self.diff = format!(
                        "# Addition to semanage file context path substitutions\n+{target} = \
                         {substitute}\n"
                    );
                    ("-a", self.argv(&["-d", "-e", substitute]))
                }
            };
            let argv = self.argv(&[verb, "-e", substitute]);
            self.act(&argv, back)?;
            return Ok(self.told(true, None, None));
        }
        let setype = args.setype.clone().unwrap_or_default();
        let old = listed.context(&args.target, &args.ftype);
        let part = |index: usize, given: &Option<String>, default: &str| {
            let old = old.and_then(|parts| parts.get(index).cloned());
            given.clone().or(old).unwrap_or_else(|| default.into())
        };
        let user = part(0, &args.seuser, "system_u");
        let role = part(1, &None, "object_r");
        let level = part(3, &args.selevel, "s0");
        let new = [user.clone(), role, setype.clone(), level.clone()];
        if old.is_some_and(|old| old == new) {
            return Ok(self.told(false, Some(user), Some(level)));
        }
        let line = |context: &[String]| {
            let (target, ftype) = (&args.target, &args.ftype);
            format!("{target}      {ftype}      {}\n", context.join(":"))
        };
        self.diff = match old {
            Some(old) => format!(
                "# Change to semanage file context mappings\n-{}+{}",
                line(old),
                line(&new)
            ),
            None => format!(
                "# Addition to semanage file context mappings\n+{}",
                line(&new)
            ),
        };
        let words = |verb: &str, context: &[String]| {
            let words = [
                verb,
                "-f",
                &args.ftype,
                "-s",
                &context[0],
                "-t",
                &context[2],
            ];
            let mut argv = self.argv_of(&words);
            argv.extend(["-r".into(), context[3].clone(), args.target.clone()]);
            argv
        };
        let back = match local.context(&args.target, &args.ftype) {
            Some(context) => words("-m", context),
            None => self.argv(&["-d", "-f", &args.ftype]),
        };
        let verb = if old.is_some() { "-m" } else { "-a" };
        let argv = words(verb, &new);
        self.act(&argv, back)?;
        Ok(self.told(true, Some(user), Some(level)))
    }

    fn unset(&mut self, listed: &Listed) -> ModuleResult {
        let args = self.args;
        let target = &args.target;
        let mut changed = false;
        if let Some(old) = listed.context(target, &args.ftype)
            && args.substitute.is_none()
        {
            let line = format!("{target}      {}      {}\n", args.ftype, old.join(":"));
            self.diff += &format!("# Deletion to semanage file context mappings\n-{line}");
            let mut back = self.argv_of(&["-a", "-f", &args.ftype, "-s", &old[0], "-t", &old[2]]);
            back.extend(["-r".into(), old[3].clone(), target.clone()]);
            let argv = self.argv(&["-d", "-f", &args.ftype]);
            self.act(&argv, back)?;
            changed = true;
        }
        if let Some(old) = listed.substitute(target)
            && args.setype.is_none()
            && args
                .substitute
                .as_deref()
                .is_none_or(|wanted| wanted == old)
        {
            self.diff += &format!(
                "# Deletion to semanage file context path substitutions\n-{target} = {old}\n"
            );
            let back = self.argv(&["-a", "-e", old]);
            let argv = self.argv(&["-d", "-e", old]);
            self.act(&argv, back)?;
            changed = true;
        }
        Ok(Outcome::unchanged().with_changed(changed))
    }

    fn told(&self, changed: bool, user: Option<String>, level: Option<String>) -> Outcome {
        let args = self.args;
        let value = |text: Option<String>| text.map_or(Value::Null, Value::from);
        Outcome::unchanged()
            .with_changed(changed)
            .with("seuser", value(user.or(args.seuser.clone())))
            .with("serange", value(level.or(args.selevel.clone())))
    }

    fn argv_of(&self, words: &[&str]) -> Vec<String> {
        let mut argv = vec![self.semanage.clone(), "fcontext".into()];
        if !self.args.reload {
            argv.push("-N".into());
        }
        argv.extend(words.iter().map(|word| (*word).to_owned()));
        argv
    }

    fn argv(&self, words: &[&str]) -> Vec<String> {
        let mut argv = self.argv_of(words);
        argv.push(self.args.target.clone());
        argv
    }

    fn act(&mut self, argv: &[String], undo: Vec<String>) -> Result<(), Failure> {
        let output = tool::act_undone_by(self.machine, argv, vec![UndoStep::new(undo)])?;
        tool::check(output.as_ref(), refusal)
    }
}

fn refusal(output: &Output) -> String {
    let said = output.stderr_text();
    let said = said.trim();
    format!(
        "ValueError: {}\n",
        said.strip_prefix("ValueError: ").unwrap_or(said)
    )
}

#[cfg(test)]
mod tests {
    use crate::modules::fake::Programs;

    const SEMANAGE: &str = r#"
case "$*" in
  *-l*-C) cat "$here/local" 2>/dev/null; true ;;
  *-l*) cat "$here/local" 2>/dev/null; echo '/etc/x      regular file       system_u:object_r:etc_t:s0 '
    echo '/run = /var/run' ;;
  *" -a -f "*|*" -m -f "*) shift 3; for p; do :; done
    echo "$p      all files          $3:object_r:$5:$7 " >"$here/local" ;;
  *" -d -f "*) rm "$here/local" ;;
  *" -a -e "*) echo "$5 = $4" >"$here/local" ;;
esac
"#;
    const NAME: &str = "community.general.sefcontext";

    #[test]
    fn a_mapping_is_added_changed_and_deleted() {
        let host = Programs::new([("semanage", SEMANAGE)]);
        let options = r#"{"target": "/srv(/.*)?", "setype": "httpd_sys_content_t", "ignore_selinux_state": true}"#;
        let result = r##"{"changed":true,"target":"/srv(/.*)?","ftype":"a","setype":"httpd_sys_content_t","substitute":null,"state":"present","seuser":"system_u","serange":"s0","diff":{"prepared":"# Addition to semanage file context mappings\n+/srv(/.*)?      a      system_u:object_r:httpd_sys_content_t:s0\n"}}"##;
        assert_eq!(host.predict(NAME, options), result);
        assert_eq!(host.run(NAME, options), result);
        assert!(host.run(NAME, options).contains(r#""changed":false"#));
        let other = options.replace("httpd_sys_content_t", "samba_share_t");
        assert!(
            host.run(NAME, &other)
                .contains("# Change to semanage file context mappings")
        );
        let absent = r#"{"target": "/srv(/.*)?", "state": "absent", "ignore_selinux_state": true}"#;
        assert!(
            host.run(NAME, absent)
                .contains("# Deletion to semanage file context mappings")
        );
        assert!(host.run(NAME, absent).contains(r#""changed":false"#));
        let undo = host.undo_steps();
        assert_eq!(undo[0], "semanage fcontext -d -f a /srv(/.*)?");
        assert_eq!(
            undo[1],
            "semanage fcontext -m -f a -s system_u -t httpd_sys_content_t -r s0 /srv(/.*)?"
        );
    }

    #[test]
    fn a_substitution_is_known_from_the_list() {
        let host = Programs::new([("semanage", SEMANAGE)]);
        let options =
            r#"{"target": "/run", "substitute": "/var/run", "ignore_selinux_state": true}"#;
        assert!(host.run(NAME, options).contains(r#""changed":false"#));
        let options = r#"{"target": "/data", "substitute": "/srv", "ignore_selinux_state": true}"#;
        assert!(host.run(NAME, options).contains(r#""changed":true"#));
        assert!(host.run(NAME, options).contains(r#""changed":false"#));
        assert_eq!(host.undo_steps(), ["semanage fcontext -d -e /srv /data"]);
        assert!(
            host.run(NAME, r#"{"target": "/x", "ignore_selinux_state": true}"#)
                .contains(
                    "state is present but any of the following are missing: setype, substitute"
                )
        );
    }
}
