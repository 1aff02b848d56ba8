//! The ladder of precedence: from where a variable can come, weakest first.
//!
//! The order is ansible-core 2.19's, as its variable manager stacks them; the documentation's
//! list of 22 counts the command line's options as the first, which are no variables.

/// One source of variables.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Rung {
    /// `defaults/` of the play's roles, and of the task's own role over them.
    RoleDefaults,
    /// Variables of `all` in an inventory file or script.
    InventoryAll,
    /// Variables of the host's other groups there, by depth, priority and name.
    InventoryGroups,
    /// `group_vars/all` beside the inventory.
    InventoryAllFiles,
    /// `group_vars/all` beside the playbook.
    PlaybookAllFiles,
    /// `group_vars/*` beside the inventory.
    InventoryGroupFiles,
    /// `group_vars/*` beside the playbook.
    PlaybookGroupFiles,
    /// Variables of the host in an inventory file or script, and what the inventory knows of it.
    InventoryHost,
    /// `host_vars/*` beside the inventory.
    InventoryHostFiles,
    /// `host_vars/*` beside the playbook.
    PlaybookHostFiles,
    /// Gathered facts, and `set_fact` with `cacheable`.
    Facts,
    /// `vars` of the play.
    PlayVars,
    /// Answers to `vars_prompt`.
    PlayPrompts,
    /// `vars_files` of the play, later files over earlier.
    PlayFiles,
    /// `vars/` of the play's roles, and of the task's own role and the roles that brought it.
    RoleVars,
    /// `vars` of blocks, includes and the task, the innermost strongest.
    TaskVars,
    /// `include_vars`.
    IncludedVars,
    /// `set_fact` and `register`.
    SetFacts,
    /// Parameters beside `role:`.
    RoleParams,
    /// `vars` of `include_tasks` and `include_role`, and what their loops bound.
    IncludeParams,
    /// `--extra-vars`.
    ExtraVars,
    /// What only the engine can know; it cannot be overridden.
    Magic,
}

impl Rung {
    /// All rungs, weakest first.
    pub const LADDER: [Self; 22] = [
        Self::RoleDefaults,
        Self::InventoryAll,
        Self::InventoryGroups,
        Self::InventoryAllFiles,
        Self::PlaybookAllFiles,
        Self::InventoryGroupFiles,
        Self::PlaybookGroupFiles,
        Self::InventoryHost,
        Self::InventoryHostFiles,
        Self::PlaybookHostFiles,
        Self::Facts,
        Self::PlayVars,
        Self::PlayPrompts,
        Self::PlayFiles,
        Self::RoleVars,
        Self::TaskVars,
        Self::IncludedVars,
        Self::SetFacts,
        Self::RoleParams,
        Self::IncludeParams,
        Self::ExtraVars,
        Self::Magic,
    ];
}
