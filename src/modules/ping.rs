//! `ping`: says that the agent runs modules on the target.

use crate::machine::Machine;

use super::{Failure, ModuleResult, Outcome};

crate::arguments! {
    /// Check that the host can be reached and runs modules.
    pub(crate) struct PingArgs for "ping" {
        /// What to return as `ping`.
        data: String { default: "pong" },
    }
}

/// Returns `data`; `crash` fails, as in Ansible.
pub(crate) fn run(_machine: &mut Machine, args: PingArgs) -> ModuleResult {
    if args.data == "crash" {
        return Err(Failure::new("Task failed: Module failed: boom"));
    }
    Ok(Outcome::unchanged().with("ping", args.data))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::machine::MachineOptions;
    use crate::value::{Map, Value};

    #[test]
    fn pings_are_answered_with_the_data() {
        let mut machine = Machine::new(MachineOptions::default());
        let outcome = run(&mut machine, PingArgs::parse(&Map::new()).unwrap()).unwrap();
        assert_eq!(outcome.data.get("ping"), Some(&Value::from("pong")));
        let args = Value::map([("data", "crash")]);
        let args = PingArgs::parse(args.as_map().unwrap()).unwrap();
        assert_eq!(
            run(&mut machine, args).unwrap_err().msg,
            "Task failed: Module failed: boom"
        );
    }
}
