//! How a result dictionary becomes text: which keys are shown at which verbosity, as JSON or YAML.

use crate::value::{JsonStyle, Map, Value, to_json};
use crate::yaml::{MultiLine, YamlStyle, to_yaml};

/// The settings that shape a shown result.
#[derive(Clone, Copy, Debug, Default)]
pub struct ResultStyle {
    pub verbosity: u8,
    /// `callback_result_format: yaml`.
    pub yaml: bool,
    /// `callback_format_pretty`; unset leaves it to verbosity and format.
    pub pretty: Option<bool>,
}

/// Keys `debug` keeps when it shows a `msg`.
const DEBUG_KEPT: [&str; 4] = ["msg", "exception", "warnings", "deprecations"];
/// Keys `debug` hides when it shows a variable.
const DEBUG_HIDDEN: [&str; 8] = [
    "changed",
    "failed",
    "skipped",
    "invocation",
    "skip_reason",
    "ansible_loop_var",
    "ansible_index_var",
    "ansible_loop",
];

/// Returns the result without what only programs need, for the task's kind of action.
pub(super) fn clean(result: &Map, is_debug: bool) -> Map {
    let mut shown = result.clone();
    if is_debug && result.contains_key("msg") {
        shown.retain(|key, _| {
            key.as_str()
                .is_some_and(|key| key.starts_with('_') || DEBUG_KEPT.contains(&key))
        });
    } else if is_debug {
        shown.retain(|key, _| !key.as_str().is_some_and(|key| DEBUG_HIDDEN.contains(&key)));
    }
    shown
}

/// Returns the text of a result behind ` => `.
pub(super) fn dump(result: &Map, style: ResultStyle) -> String {
    let verbose_always = result
        .get("_ansible_verbose_always")
        .is_some_and(Value::is_truthy);
    let mut shown = without_hints(result);
    // The line's first word and the texts before it tell these.
    for key in ["failed", "skipped", "exception", "warnings", "deprecations"] {
        shown.shift_remove(key);
    }
    if style.verbosity < 3 {
        shown.shift_remove("invocation");
        shown.shift_remove("diff");
    }
    let wide = verbose_always
        || (style.pretty.is_none() && style.yaml)
        || style.pretty == Some(true)
        || style.verbosity > 2;
    let indent = (wide && style.pretty != Some(false)).then_some(4);
    if style.yaml {
        return dump_yaml(shown, style, indent);
    }
    let json = JsonStyle {
        indent,
        sort_keys: true,
        ensure_ascii: false,
    };
    to_json(&shown.into(), json)
}

fn dump_yaml(mut shown: Map, style: ResultStyle, indent: Option<usize>) -> String {
    if style.pretty != Some(false) {
        for (whole, lines) in [("stdout", "stdout_lines"), ("stderr", "stderr_lines")] {
            if shown.contains_key(whole) && shown.contains_key(lines) {
                shown.insert(lines.into(), "<omitted>".into());
            }
        }
    }
    let text = to_yaml(&shown.into(), &yaml_style(style, indent));
    let text = indented(&text, indent.unwrap_or(4));
    format!("\n{}", text.trim_end_matches('\n'))
}

/// Returns the YAML style Ansible's callbacks dump with.
pub(super) fn yaml_style(style: ResultStyle, indent: Option<usize>) -> YamlStyle {
    YamlStyle {
        indent: indent.unwrap_or(2),
        sort_keys: true,
        default_flow_style: Some(false),
        allow_unicode: true,
        // Ansible calls it lossy: text over several lines becomes a readable block.
        multi_line: if style.pretty == Some(false) {
            MultiLine::Quoted
        } else {
            MultiLine::LossyBlock
        },
        ..YamlStyle::default()
    }
}

/// Indents every line that is not blank, as Python's `textwrap.indent` does.
pub(super) fn indented(text: &str, by: usize) -> String {
    let margin = " ".repeat(by);
    text.split_inclusive('\n')
        .map(|line| {
            if line.trim().is_empty() {
                line.to_owned()
            } else {
                format!("{margin}{line}")
            }
        })
        .collect()
}

/// Drops the `_ansible_*` keys at every depth.
fn without_hints(map: &Map) -> Map {
    map.iter()
        .filter(|(key, _)| !key.as_str().is_some_and(|key| key.starts_with("_ansible_")))
        .map(|(key, value)| (key.clone(), strip(value)))
        .collect()
}

fn strip(value: &Value) -> Value {
    match value {
        Value::Map(map) => without_hints(map).into(),
        Value::List(items) => Value::list(items.iter().map(strip)),
        other => other.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(json: &str) -> Map {
        serde_json::from_str::<Value>(json)
            .unwrap()
            .as_map()
            .unwrap()
            .clone()
    }

    #[test]
    fn invocation_and_diff_are_for_three_vs_and_hints_for_nobody() {
        let result = map(
            r#"{"changed":true,"invocation":{"x":1},"diff":[],"_ansible_item_label":1,"a":{"_ansible_x":1}}"#,
        );
        assert_eq!(
            dump(&result, ResultStyle::default()),
            r#"{"a": {}, "changed": true}"#
        );
        let style = ResultStyle {
            verbosity: 3,
            pretty: Some(false),
            yaml: false,
        };
        assert_eq!(
            dump(&result, style),
            r#"{"a": {}, "changed": true, "diff": [], "invocation": {"x": 1}}"#
        );
    }

    #[test]
    fn debug_shows_its_message_alone_and_its_variable_without_flags() {
        let with_message = clean(&map(r#"{"msg":"hi","changed":false,"failed":false}"#), true);
        assert_eq!(
            dump(&with_message, ResultStyle::default()),
            r#"{"msg": "hi"}"#
        );
        let with_variable = clean(&map(r#"{"foo":1,"changed":false,"failed":false}"#), true);
        assert_eq!(
            dump(&with_variable, ResultStyle::default()),
            r#"{"foo": 1}"#
        );
    }

    #[test]
    fn yaml_results_are_indented_and_leave_the_lines_out() {
        let result = map(r#"{"changed":true,"stdout":"a\nb","stdout_lines":["a","b"]}"#);
        let style = ResultStyle {
            yaml: true,
            ..ResultStyle::default()
        };
        assert_eq!(
            dump(&result, style),
            "\n    changed: true\n    stdout: |-\n        a\n        b\n    stdout_lines: <omitted>"
        );
    }
}
