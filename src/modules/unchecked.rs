//! What modules that cannot be predicted say in check mode.

use crate::machine::Machine;

use super::Outcome;

/// Returns the result of a module that does nothing in check mode, when that is the mode.
pub(super) fn skipped_in_check_mode(machine: &Machine, module: &str) -> Option<Outcome> {
    machine.is_check().then(|| {
        Outcome::unchanged().skipped().msg(format!(
            "remote module ({module}) does not support check mode"
        ))
    })
}
