//! The options of the directives: what the loader reads itself and no module is called for.

use crate::arguments::{ArgumentSpec, OptionType, Parameter};

/// The directives that stand among tasks, in alphabetical order.
pub const DIRECTIVES: &[ArgumentSpec] = &[
    ArgumentSpec::new(
        "import_role",
        &["Import a role into a play."],
        &ROLE_OPTIONS,
        &[],
    )
    .required_one_of(&[&["name", "role"]]),
    ArgumentSpec::new(
        "import_tasks",
        &["Import a task list."],
        &[Parameter::new(
            "file",
            OptionType::Text,
            &["The file of tasks."],
        )],
        &[],
    )
    .free_form("file"),
    ArgumentSpec::new(
        "include_role",
        &["Load and execute a role."],
        &ROLE_OPTIONS,
        &[APPLY],
    )
    .required_one_of(&[&["name", "role"]]),
    ArgumentSpec::new(
        "include_tasks",
        &["Dynamically include a task list."],
        &[Parameter::new(
            "file",
            OptionType::Text,
            &["The file of tasks."],
        )],
        &[APPLY],
    )
    .free_form("file"),
    ArgumentSpec::new("meta", &["Execute Ansible 'actions'."], &[], &[]).free_form("free_form"),
];

const APPLY: Parameter = Parameter::new(
    "apply",
    OptionType::Dictionary,
    &["Keywords that the included tasks are given."],
);

const ROLE_OPTIONS: [Parameter; 9] = [
    Parameter::new("name", OptionType::Text, &["The role."]),
    Parameter::new("role", OptionType::Text, &["The same."]),
    Parameter::new(
        "tasks_from",
        OptionType::Text,
        &["The file of `tasks/` to start with."],
    )
    .default("main"),
    Parameter::new("vars_from", OptionType::Text, &["The file of `vars/`."]).default("main"),
    Parameter::new(
        "defaults_from",
        OptionType::Text,
        &["The file of `defaults/`."],
    )
    .default("main"),
    Parameter::new(
        "handlers_from",
        OptionType::Text,
        &["The file of `handlers/`."],
    )
    .default("main"),
    Parameter::new(
        "public",
        OptionType::Boolean,
        &["Whether the play sees the role's variables and defaults."],
    ),
    Parameter::new(
        "allow_duplicates",
        OptionType::Boolean,
        &["Run the role again where it has run with the same parameters."],
    )
    .default("true"),
    Parameter::new(
        "rolespec_validate",
        OptionType::Boolean,
        &["Check the parameters against the role's specification."],
    )
    .default("true"),
];

/// Finds a directive by its short name.
pub(super) fn find(name: &str) -> Option<&'static ArgumentSpec> {
    DIRECTIVES.iter().find(|spec| spec.module == name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn directives_are_listed_in_order_and_once() {
        let names: Vec<_> = DIRECTIVES.iter().map(|spec| spec.module).collect();
        assert!(names.is_sorted(), "{names:?}");
    }
}
