//! `seport`: which SELinux type a port has.

use crate::machine::{Machine, Output};
use crate::transaction::journal::UndoStep;
use crate::value::Value;

use super::tool;
use super::{Failure, ModuleResult, Outcome};

crate::arguments! {
    /// Manages `SELinux` network port type definitions.
    pub(crate) struct SeportArgs for "community.general.seport" {
        /// Go on where SELinux is disabled.
        ignore_selinux_state: bool { default: "false" },
        /// Ports and ranges of them.
        ports: Vec<String> { required },
        proto: String { required, choices: ["tcp", "udp"] },
        setype: String { required },
        /// Whether the ports should have the type.
        state: String { default: "present", choices: ["absent", "present"] },
        /// Load the policy anew.
        reload: bool { default: "true" },
        /// Look at the definitions of this host only.
        local: bool { default: "false" },
    }
}

/// Gives the ports the type, or takes it away.
pub(crate) fn run(machine: &mut Machine, args: SeportArgs) -> ModuleResult {
    if !args.ignore_selinux_state && !machine.selinux_enabled() {
        return Err(Failure::new("SELinux is disabled on this host."));
    }
    let semanage = tool::required(machine, "semanage")?;
    let mut policy = Policy {
        machine,
        semanage,
        args: &args,
    };
    let local = policy.list(true)?;
    let all = policy.list(false)?;
    let seen = if args.local { &local } else { &all };
    let mut changed = false;
    for port in &args.ports {
        let has_type = seen
            .iter()
            .any(|one| one.is(&args.setype, &args.proto, port));
        if has_type == (args.state == "present") {
            continue;
        }
        changed = true;
        let of_port = |list: &[Entry]| {
            let found = list.iter().find(|one| one.covers(&args.proto, port));
            found.map(|one| one.setype.clone())
        };
        let old = of_port(&local);
        let back = match &old {
            Some(old) if args.state == "present" => policy.argv("-m", Some(old), port),
            Some(old) => policy.argv("-a", Some(old), port),
            None => policy.argv("-d", None, port),
        };
        let argv = match (args.state.as_str(), of_port(&all)) {
            ("absent", _) => policy.argv("-d", None, port),
            (_, Some(_)) => policy.argv("-m", Some(&args.setype), port),
            (_, None) => policy.argv("-a", Some(&args.setype), port),
        };
        let output = tool::act_undone_by(policy.machine, &argv, vec![UndoStep::new(back)])?;
        tool::check(output.as_ref(), refusal)?;
    }
    Ok(Outcome::unchanged()
        .with_changed(changed)
        .with("ports", Value::list(args.ports))
        .with("proto", args.proto)
        .with("setype", args.setype)
        .with("state", args.state))
}

fn refusal(output: &Output) -> String {
    let said = output.stderr_text();
    let said = said.trim();
    format!(
        "{}\n",
        said.strip_prefix("ValueError: ").map_or_else(
            || format!("ValueError: {said}"),
            |rest| format!("ValueError: {rest}"),
        )
    )
}

/// One line of `semanage port -l`: a type, a protocol, and its ports.
struct Entry {
    setype: String,
    proto: String,
    ports: Vec<String>,
}

impl Entry {
    fn is(&self, setype: &str, proto: &str, port: &str) -> bool {
        self.setype == setype && self.covers(proto, port)
    }

    fn covers(&self, proto: &str, port: &str) -> bool {
        self.proto == proto && self.ports.iter().any(|one| one == port)
    }
}

struct Policy<'a> {
    machine: &'a mut Machine,
    semanage: String,
    args: &'a SeportArgs,
}

impl Policy<'_> {
    fn list(&mut self, local: bool) -> Result<Vec<Entry>, Failure> {
        let mut argv = vec![self.semanage.as_str(), "port", "-l", "-n"];
        if local {
            argv.push("-C");
        }
        let output = tool::ask(self.machine, &argv)?;
        tool::check(Some(&output), refusal)?;
        let text = output.stdout_text();
        let entries = text.lines().filter_map(|line| {
            let mut words = line.split_whitespace();
            Some(Entry {
                setype: words.next()?.to_owned(),
                proto: words.next()?.to_owned(),
                ports: words
                    .flat_map(|word| word.split(','))
                    .filter(|port| !port.is_empty())
                    .map(str::to_owned)
                    .collect(),
            })
        });
        Ok(entries.collect())
    }

    fn argv(&self, verb: &str, setype: Option<&str>, port: &str) -> Vec<String> {
        let mut argv = vec![self.semanage.clone(), "port".into(), verb.into()];
        if !self.args.reload {
            argv.push("-N".into());
        }
        if let Some(setype) = setype {
            argv.extend(["-t".into(), setype.to_owned()]);
        }
        argv.extend(["-p".into(), self.args.proto.clone(), port.to_owned()]);
        argv
    }
}

#[cfg(test)]
mod tests {
    use crate::modules::fake::Programs;

    const SEMANAGE: &str = r#"
case "$*" in
  *-l*-C) cat "$here/local" 2>/dev/null; true ;;
  *-l*) cat "$here/local" 2>/dev/null; echo 'http_port_t   tcp   80, 81, 443'; echo 'ssh_port_t tcp 22' ;;
  *99999*) echo 'ValueError: Invalid Port' >&2; exit 1 ;;
  *" -a "*|*" -m "*) echo "$4 $6 $7" >"$here/local" ;;
  *" -d "*) rm "$here/local" ;;
esac
"#;
    const SEPORT: &str = "community.general.seport";

    fn options(port: &str, state: &str) -> String {
        format!(
            r#"{{"ports": "{port}", "proto": "tcp", "setype": "http_port_t", "state": "{state}", "ignore_selinux_state": true}}"#
        )
    }

    #[test]
    fn a_port_gets_its_type_once_and_loses_it() {
        let host = Programs::new([("semanage", SEMANAGE)]);
        let present = options("8888", "present");
        let result = r#"{"changed":true,"ports":["8888"],"proto":"tcp","setype":"http_port_t","state":"present"}"#;
        assert_eq!(host.predict(SEPORT, &present), result);
        assert_eq!(host.run(SEPORT, &present), result);
        assert!(host.run(SEPORT, &present).contains(r#""changed":false"#));
        assert!(
            host.run(SEPORT, &options("443", "present"))
                .contains(r#""changed":false"#)
        );
        let absent = options("8888", "absent");
        assert!(host.run(SEPORT, &absent).contains(r#""changed":true"#));
        assert!(host.run(SEPORT, &absent).contains(r#""changed":false"#));
        assert_eq!(
            host.undo_steps(),
            [
                "semanage port -d -p tcp 8888",
                "semanage port -a -t http_port_t -p tcp 8888",
            ]
        );
    }

    #[test]
    fn a_port_of_another_type_is_changed_and_a_wrong_one_refused() {
        let host = Programs::new([("semanage", SEMANAGE)]);
        assert!(
            host.run(SEPORT, &options("22", "present"))
                .contains(r#""changed":true"#)
        );
        assert!(
            host.calls()
                .contains(&"semanage port -m -t http_port_t -p tcp 22".into())
        );
        assert_eq!(host.undo_steps(), ["semanage port -d -p tcp 22"]);
        let result = host.run(SEPORT, &options("99999", "present"));
        assert!(result.contains("ValueError: Invalid Port"), "{result}");
    }
}
