//! Names that a variable had better not have: keywords, and what templates call.

use super::keyword::{Keyword, Place};

/// What every template can call, and what loops are called inside.
const BESIDE_KEYWORDS: &[&str] = &[
    "async_val",
    "cycler",
    "dict",
    "joiner",
    "lipsum",
    "lookup",
    "loop_with",
    "namespace",
    "now",
    "omit",
    "q",
    "query",
    "range",
    "undef",
    "with_",
];

/// Tells whether a variable of this name draws the warning `Found variable using reserved name`.
pub fn is_reserved(name: &str) -> bool {
    if matches!(name, "vars" | "gather_subset" | "user") {
        return false;
    }
    let keyword = Keyword::ALL.iter().find(|keyword| keyword.name() == name);
    BESIDE_KEYWORDS.contains(&name)
        || keyword.is_some_and(|keyword| {
            [Place::Play, Place::Block, Place::Task]
                .iter()
                .any(|place| keyword.is_allowed(*place))
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What ansible-core 2.19.14 warns about, `vars` left out.
    const RESERVED: &str = "action always any_errors_fatal args async async_val become become_exe \
        become_flags become_method become_user block changed_when check_mode collections connection \
        cycler debugger delay delegate_facts delegate_to dict diff environment fact_path \
        failed_when force_handlers gather_facts gather_timeout handlers hosts ignore_errors \
        ignore_unreachable joiner lipsum local_action lookup loop loop_control loop_with \
        max_fail_percentage module_defaults name namespace no_log notify now omit order poll port \
        post_tasks pre_tasks q query range register remote_user rescue retries roles run_once \
        serial strategy tags tasks throttle timeout undef until vars_files vars_prompt when with_";

    #[test]
    fn the_reserved_names_are_ansibles() {
        let mut ours: Vec<&str> = Keyword::ALL
            .iter()
            .map(|keyword| keyword.name())
            .chain(BESIDE_KEYWORDS.iter().copied())
            .filter(|name| is_reserved(name))
            .collect();
        ours.sort_unstable();
        assert_eq!(ours, RESERVED.split_whitespace().collect::<Vec<_>>());
    }
}
