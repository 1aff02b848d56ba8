//! Playbooks: YAML nodes to a typed model, with every error of every file gathered before a host
//! is touched.
//!
//! Files, templates and the modules that exist come in through traits. Decides nothing about
//! hosts; renders nothing that is not static.

mod context;
mod directives;
mod keyword;
mod layer;
mod loading;
mod names;
mod play;
mod reserved;
mod role;
mod search;
mod split;
mod tags;
mod task;
mod vars_file;

pub use crate::yaml::ReadOptions;
pub use context::{Catalog, Context, FileKind, Files, TaskIds, Templates};
pub use directives::DIRECTIVES;
pub use keyword::{
    Inheritance, Keyword, KeywordType, Place, may_be_template, to_integer, to_number, to_percent,
};
pub use layer::{Layer, LayerKind, Target, Vars};
pub use loading::{
    IncludedRole, RoleRequest, include_role, include_tasks, is_variable_name, load, variables_of,
};
pub use names::{full_name, takes_any_option, written_names};
pub use play::{Block, Item, Play, Playbook, VarsPrompt};
pub use reserved::is_reserved;
pub use role::Role;
pub use search::{TaskPart, absolute, normal, task_file, variable_files};
pub use split::{KeyValues, key_values, words};
pub use tags::TagSelection;
pub use task::{
    Action, ActionKind, Args, ExternalModule, IncludeRole, Loop, LoopControl, Meta, ModuleName,
    Task,
};
pub use vars_file::{VarsFiles, variables_in};

#[cfg(test)]
mod checks;
#[cfg(test)]
mod memory;
