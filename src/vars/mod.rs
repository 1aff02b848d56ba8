//! Variables: which of all definitions of a name a task on a host sees.
//!
//! The ladder of precedence is one table ([`Rung`]). A scope is a stack of shared layers looked
//! up from the strongest rung; nothing is merged per host and task. Renders nothing itself but
//! the names of `vars_files`.

mod expressions;
mod facts;
mod hosts;
mod hostvars;
mod ladder;
mod layers;
mod magic;
mod merge;
mod names;
mod scope;
mod state;

pub use expressions::PluginExpressions;
pub use facts::refused as refused_facts;
pub use hosts::HostFiles;
pub use ladder::Rung;
pub use layers::Layer;
pub use magic::Constants;
pub use names::StaticNames;
pub use scope::TaskScope;
pub use state::{FactCache, HostVariables, PlayState, Settings, Snapshot, Variables};

#[cfg(test)]
mod checks;
