//! What modules do in check mode, where it is not a prediction.

use crate::machine::Machine;

use super::{Module, Outcome, Reversal};

/// What a module does in check mode.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Foresight {
    /// It tells what it would change.
    Predicts,
    /// It changes nothing anyway, and runs.
    Reads,
    /// It runs nothing; `creates` and `removes` tell whether it would.
    Conditions,
    /// It does nothing, for nobody can tell what it would do.
    Skips,
}

/// The modules that nobody can predict, in alphabetical order.
const SKIPPED: &[&str] = &[
    "ansible.posix.at",
    "community.docker.docker_image_push",
    "community.docker.docker_prune",
    "community.general.django_manage",
    "community.general.mail",
    "community.general.zypper_repository",
    "community.mysql.mysql_query",
    "community.mysql.mysql_replication",
    "community.mysql.mysql_variables",
    "community.postgresql.postgresql_script",
    "expect",
    "tempfile",
    "uri",
    "wait_for",
];

/// The modules that run what their user says.
const COMMANDS: &[&str] = &["command", "script", "shell"];

impl Module {
    /// Returns what it does in check mode.
    pub fn foresight(&self) -> Foresight {
        match self.name {
            name if SKIPPED.contains(&name) => Foresight::Skips,
            name if COMMANDS.contains(&name) => Foresight::Conditions,
            _ if self.reversal() == Reversal::Nothing => Foresight::Reads,
            _ => Foresight::Predicts,
        }
    }
}

/// Returns the result of a module that does nothing in check mode, when that is the mode.
pub(super) fn skipped_in_check_mode(machine: &Machine, module: &str) -> Option<Outcome> {
    debug_assert!(
        SKIPPED.contains(&module),
        "`{module}` is not in the table of those that do nothing"
    );
    machine.is_check().then(|| {
        Outcome::unchanged().skipped().msg(format!(
            "remote module ({module}) does not support check mode"
        ))
    })
}
