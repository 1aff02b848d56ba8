//! `dpkg_selections`: what dpkg is told to do with a package: keep, hold or remove it.

use crate::machine::{Effect, Machine, Output};

use super::tool;
use super::{Failure, ModuleResult, Outcome};

crate::arguments! {
    /// Dpkg package selection selections.
    pub(crate) struct DpkgSelectionsArgs for "dpkg_selections" {
        /// The package.
        name: String { required },
        /// What dpkg should do with it.
        selection: String { required, choices: ["install", "hold", "deinstall", "purge"] },
    }
}

/// Sets the selection where it differs.
pub(crate) fn run(machine: &mut Machine, args: DpkgSelectionsArgs) -> ModuleResult {
    let dpkg = tool::required(machine, "dpkg")?;
    let output = tool::ask(machine, &[&dpkg, "--get-selections", &args.name])?;
    if output.stderr_text().contains("no packages found matching") {
        return Err(Failure::new(format!(
            "Failed to find package '{}' to perform selection '{}'.",
            args.name, args.selection
        )));
    }
    tool::check(Some(&output), Output::stderr_text)?;
    let text = output.stdout_text();
    let current = text.split_whitespace().nth(1).unwrap_or("not present");
    let changed = current != args.selection;
    if changed {
        set(machine, &dpkg, &args, current)?;
    }
    Ok(Outcome::unchanged()
        .with_changed(changed)
        .with("before", current)
        .with("after", args.selection))
}

fn set(
    machine: &mut Machine,
    dpkg: &str,
    args: &DpkgSelectionsArgs,
    current: &str,
) -> Result<(), Failure> {
    let line = |selection: &str| format!("{} {selection}", args.name);
    let argv = [dpkg, "--set-selections"];
    let command = tool::command(&argv).stdin(line(&args.selection));
    let script = r#"printf '%s\n' "$1" | "$2" --set-selections"#;
    let undo = ["sh", "-c", script, "sh", &line(current), dpkg];
    let effect = Effect::compensated(argv.join(" "), undo);
    let output = machine.execute(&command, effect)?.output();
    tool::check(output.as_ref(), Output::stderr_text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::modules::fake::Programs;
    use crate::value::Value;

    const DPKG: &str = r#"
case $1 in
  --get-selections) case $2 in
      jq) printf 'jq\t%s\n' "$(cat "$here/jq" 2>/dev/null || echo install)" ;;
      *) echo "dpkg: no packages found matching $2" >&2 ;;
    esac ;;
  --set-selections) read -r name what; echo "$what" >"$here/$name" ;;
esac
"#;

    fn call(programs: &Programs, json: &str) -> ModuleResult {
        let given: Value = serde_json::from_str(json).unwrap();
        let args = DpkgSelectionsArgs::parse(given.as_map().unwrap())?;
        run(&mut programs.machine(), args)
    }

    #[test]
    fn a_package_is_held_once_and_let_go_by_an_undo() {
        let programs = Programs::new([("dpkg", DPKG)]);
        let options = r#"{"name": "jq", "selection": "hold"}"#;
        let outcome = call(&programs, options).unwrap();
        assert_eq!(
            serde_json::to_string(&Value::from(outcome.into_result())).unwrap(),
            r#"{"changed":true,"before":"install","after":"hold"}"#
        );
        assert!(!call(&programs, options).unwrap().changed);
        assert_eq!(
            programs.undo_steps(),
            ["sh -c printf '%s\\n' \"$1\" | \"$2\" --set-selections sh jq install dpkg"]
        );
    }

    #[test]
    fn an_unknown_package_is_named() {
        let programs = Programs::new([("dpkg", DPKG)]);
        let failure = call(&programs, r#"{"name": "x", "selection": "purge"}"#).unwrap_err();
        assert_eq!(
            failure.msg,
            "Failed to find package 'x' to perform selection 'purge'."
        );
    }
}
