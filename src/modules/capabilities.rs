//! `capabilities`: what a program of the target may do without being root's.

use crate::machine::Machine;

use super::tool;
use super::{Failure, ModuleResult, Outcome};

crate::arguments! {
    /// Manage Linux capabilities.
    pub(crate) struct CapabilitiesArgs for "community.general.capabilities" {
        /// The program.
        path: String { required, aliases: ["key"] },
        /// The capability, an operator and flags: `cap_net_raw+ep`.
        capability: String { required, aliases: ["cap"] },
        state: String { default: "present", choices: ["absent", "present"] },
    }
}

/// A capability, its operator and its flags.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Capability {
    name: String,
    /// `None` where only the name is given.
    rest: Option<(char, String)>,
}

/// Gives the program the capability, or takes it away.
pub(crate) fn run(machine: &mut Machine, args: CapabilitiesArgs) -> ModuleResult {
    let getcap = tool::required(machine, "getcap")?;
    let setcap = tool::required(machine, "setcap")?;
    let path = args.path.trim();
    let is_wanted = args.state == "present";
    let wanted = Capability::parse(&args.capability.trim().to_lowercase());
    if is_wanted && wanted.rest.is_none() {
        return Err(Failure::new(
            "Couldn't find operator (one of: ('=', '-', '+'))",
        ));
    }
    let current = current(machine, &getcap, path)?;
    let has = if is_wanted {
        current.contains(&wanted)
    } else {
        current.iter().any(|one| one.name == wanted.name)
    };
    if has == is_wanted {
        return Ok(Outcome::unchanged().with("state", args.state));
    }
    let mut new: Vec<_> = current
        .iter()
        .filter(|one| one.name != wanted.name)
        .cloned()
        .collect();
    if is_wanted {
        new.push(wanted);
    }
    let back = if current.is_empty() {
        vec![setcap.clone(), "-r".into(), path.to_owned()]
    } else {
        vec![setcap.clone(), text(&current), path.to_owned()]
    };
    let output = tool::act(machine, &[setcap, text(&new), path.to_owned()], &back)?;
    let Some(output) = output else {
        return Ok(Outcome::changed().msg("capabilities changed"));
    };
    if !output.success() {
        return Err(
            Failure::new(format!("Unable to set capabilities of {path}"))
                .with("stdout", output.stdout_text())
                .with("stderr", output.stderr_text()),
        );
    }
    Ok(Outcome::changed()
        .with("state", args.state)
        .msg("capabilities changed")
        .with("stdout", output.stdout_text()))
}

/// Reads `/x cap_a,cap_b=ep` and, of older programs, `/x = cap_a+ep cap_b+i`.
fn current(machine: &mut Machine, getcap: &str, path: &str) -> Result<Vec<Capability>, Failure> {
    let output = tool::ask(machine, &[getcap, "-v", path])?;
    let said = output.stdout_text();
    let said = said.trim();
    if !output.success() || !output.stderr.is_empty() || said.ends_with(')') {
        return Err(
            Failure::new(format!("Unable to get capabilities of {path}"))
                .with("stdout", said)
                .with("stderr", output.stderr_text()),
        );
    }
    let listed = said.strip_prefix(path).unwrap_or_default().trim_start();
    let listed = listed.strip_prefix("= ").unwrap_or(listed).to_lowercase();
    let mut found = Vec::new();
    for group in listed.split_whitespace() {
        let names: Vec<_> = group.split(',').collect();
        let Some((last, others)) = names.split_last() else {
            continue;
        };
        let last = Capability::parse(last);
        found.extend(others.iter().map(|name| Capability {
            name: (*name).to_owned(),
            rest: last.rest.clone(),
        }));
        found.push(last);
    }
    Ok(found)
}

impl Capability {
    fn parse(text: &str) -> Self {
        let at = ['=', '-', '+']
            .iter()
            .find_map(|operator| text.find(*operator));
        match at.and_then(|at| Some((at, text[at..].chars().next()?))) {
            Some((at, operator)) => Self {
                name: text[..at].to_owned(),
                rest: Some((operator, text[at + 1..].to_owned())),
            },
            None => Self {
                name: text.to_owned(),
                rest: None,
            },
        }
    }
}

fn text(capabilities: &[Capability]) -> String {
    let texts = capabilities.iter().map(|one| match &one.rest {
        Some((operator, flags)) => format!("{}{operator}{flags}", one.name),
        None => one.name.clone(),
    });
    texts.collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use crate::modules::fake::Programs;

    const NAME: &str = "community.general.capabilities";
    const GETCAP: &str = r#"printf '%s %s\n' "$2" "$(cat "$here/caps" 2>/dev/null)""#;
    const SETCAP: &str = r#"
case "$1" in *wrong*) echo 'fatal error' >&2; exit 1 ;; -r) rm "$here/caps" ;; *) echo "$1" >"$here/caps" ;; esac
"#;

    #[test]
    fn a_capability_is_given_once_and_taken_away() {
        let host = Programs::new([("getcap", GETCAP), ("setcap", SETCAP)]);
        let options = r#"{"path": "/x", "capability": "CAP_NET_RAW+ep"}"#;
        assert_eq!(
            host.predict(NAME, options),
            r#"{"changed":true,"msg":"capabilities changed"}"#
        );
        assert_eq!(
            host.run(NAME, options),
            r#"{"changed":true,"state":"present","msg":"capabilities changed","stdout":"","stdout_lines":[]}"#
        );
        assert_eq!(
            host.run(NAME, options),
            r#"{"changed":false,"state":"present"}"#
        );
        host.put("caps", "cap_chown,cap_net_raw=ep");
        let absent = r#"{"path": "/x", "capability": "cap_net_raw", "state": "absent"}"#;
        assert!(host.run(NAME, absent).contains(r#""changed":true"#));
        assert!(host.calls().contains(&"setcap cap_chown=ep /x".to_owned()));
        assert_eq!(
            host.undo_steps(),
            ["setcap -r /x", "setcap cap_chown=ep cap_net_raw=ep /x"]
        );
    }

    #[test]
    fn what_is_no_capability_is_refused() {
        let host = Programs::new([("getcap", GETCAP), ("setcap", SETCAP)]);
        assert!(
            host.run(NAME, r#"{"path": "/x", "capability": "cap_chown"}"#)
                .contains("Couldn't find operator (one of: ('=', '-', '+'))")
        );
        assert!(
            host.run(NAME, r#"{"path": "/x", "capability": "wrong+ep"}"#)
                .contains("Unable to set capabilities of /x")
        );
    }
}
