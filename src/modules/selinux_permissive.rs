//! `selinux_permissive`: domains that SELinux only watches.

use crate::machine::Machine;

use super::tool;
use super::{Failure, ModuleResult, Outcome};

crate::arguments! {
    /// Change permissive domain in `SELinux` policy.
    pub(crate) struct SelinuxPermissiveArgs for "community.general.selinux_permissive" {
        /// The domain.
        domain: String { required, aliases: ["name"] },
        /// Whether it may do what the policy forbids.
        permissive: bool { required },
        /// Do not load the policy anew.
        no_reload: bool { default: "false" },
        /// The store of policies.
        store: String { default: "" },
    }
}

/// Makes the domain permissive, or takes that back.
pub(crate) fn run(machine: &mut Machine, args: SelinuxPermissiveArgs) -> ModuleResult {
    let semanage = tool::required(machine, "semanage")?;
    let argv = |words: &[&str]| {
        let mut argv = vec![semanage.clone(), "permissive".to_owned()];
        argv.extend(words.iter().map(|word| (*word).to_owned()));
        if args.no_reload {
            argv.push("-N".into());
        }
        if !args.store.is_empty() {
            argv.extend(["-S".into(), args.store.clone()]);
        }
        argv
    };
    let listed = tool::ask(machine, &argv(&["-l"]))?;
    let refused = |failure: Failure| failure.with("domain", args.domain.as_str());
    tool::check(Some(&listed), tool::complaint).map_err(refused)?;
    let is_permissive = customized(&listed.stdout_text()).contains(&args.domain);
    let changed = is_permissive != args.permissive;
    if changed {
        let [add, delete] = ["-a", "-d"].map(|flag| argv(&[flag, &args.domain]));
        let (argv, undo) = if args.permissive {
            (add, delete)
        } else {
            (delete, add)
        };
        let output = tool::act(machine, &argv, &undo)?;
        tool::check(output.as_ref(), tool::complaint).map_err(refused)?;
    }
    Ok(Outcome::unchanged()
        .with_changed(changed)
        .with("store", args.store)
        .with("permissive", args.permissive)
        .with("domain", args.domain))
}

/// Returns the domains that this host made permissive, not those of its policy.
fn customized(text: &str) -> Vec<String> {
    let mut is_ours = true;
    let mut domains = Vec::new();
    for line in text.lines().map(str::trim).filter(|line| !line.is_empty()) {
        if line.ends_with("Permissive Types") {
            is_ours = line.starts_with("Customized");
        } else if is_ours {
            domains.push(line.to_owned());
        }
    }
    domains
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::modules::fake::Programs;

    const NAME: &str = "community.general.selinux_permissive";
    const SEMANAGE: &str = r#"
case "$2 $3" in
  '-l '*) printf '\nBuiltin Permissive Types\n\nfirst_t\n\nCustomized Permissive Types\n\n'; cat "$here/list" ;;
  '-a broken_t') echo 'ValueError: no such domain' >&2; exit 1 ;;
  '-a '*) echo "$3" >>"$here/list" ;;
  '-d '*) : >"$here/list" ;;
esac
"#;

    #[test]
    fn a_domain_is_made_permissive_and_strict_once() {
        let host = Programs::new([("semanage", SEMANAGE)]);
        host.put("list", "");
        let on = r#"{"name": "httpd_t", "permissive": true, "no_reload": true}"#;
        let changed = r#"{"changed":true,"store":"","permissive":true,"domain":"httpd_t"}"#;
        assert_eq!(host.predict(NAME, on), changed);
        assert_eq!(host.run(NAME, on), changed);
        assert!(host.run(NAME, on).starts_with(r#"{"changed":false,"#));
        let off = r#"{"domain": "httpd_t", "permissive": false, "store": "mls"}"#;
        assert!(host.run(NAME, off).starts_with(r#"{"changed":true,"#));
        assert!(host.run(NAME, off).starts_with(r#"{"changed":false,"#));
        assert_eq!(
            host.undo_steps(),
            [
                "semanage permissive -d httpd_t -N",
                "semanage permissive -a httpd_t -S mls"
            ]
        );
        assert_eq!(
            host.run(NAME, r#"{"name": "broken_t", "permissive": true}"#),
            r#"{"failed":true,"changed":false,"msg":"ValueError: no such domain","rc":1,"stdout":"","stderr":"ValueError: no such domain\n","domain":"broken_t","stdout_lines":[],"stderr_lines":["ValueError: no such domain"]}"#
        );
    }

    #[test]
    fn a_domain_of_the_policy_is_not_ours() {
        let text = "\nBuiltin Permissive Types\n\na_t\n\nCustomized Permissive Types\n\nb_t\n";
        assert_eq!(customized(text), ["b_t"]);
    }
}
