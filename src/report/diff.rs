//! How a result's `diff` becomes text: Ansible's unified diff with its headers and notes.

use super::results::{ResultStyle, indented, yaml_style};
use super::unified::unified;
use super::{Painter, Palette};
use crate::value::{JsonStyle, Map, Value, to_json};
use crate::yaml::to_yaml;

/// Returns the text of a `diff` value, a dictionary or a list of them; empty when they are equal.
pub(super) fn render(
    diff: &Value,
    context: usize,
    style: ResultStyle,
    painter: Painter,
    palette: &Palette,
) -> String {
    let parts = match diff {
        Value::List(parts) => parts.iter().filter_map(Value::as_map).collect(),
        Value::Map(part) => vec![&**part],
        _ => Vec::new(),
    };
    parts
        .into_iter()
        .map(|part| render_part(part, context, style, painter, palette))
        .collect()
}

fn render_part(
    part: &Map,
    context: usize,
    style: ResultStyle,
    painter: Painter,
    palette: &Palette,
) -> String {
    let mut text = String::new();
    for (key, note) in [
        ("dst_binary", "destination file appears to be binary"),
        ("src_binary", "source file appears to be binary"),
    ] {
        if part.contains_key(key) {
            text += &format!("diff skipped: {note}\n");
        }
    }
    for (key, what) in [("dst_larger", "destination"), ("src_larger", "source")] {
        if let Some(limit) = part.get(key) {
            text += &format!("diff skipped: {what} file size is greater than {limit}\n");
        }
    }
    if let (Some(before), Some(after)) = (part.get("before"), part.get("after")) {
        let header = |side: &str| match part.get(format!("{side}_header").as_str()) {
            Some(name) => format!("{side}: {name}"),
            None => side.to_owned(),
        };
        let lines = unified(
            &lines(&side_text(before, style)),
            &lines(&side_text(after, style)),
            &header("before"),
            &header("after"),
            context,
        );
        if !lines.is_empty() {
            text.extend(lines.iter().map(|line| paint(line, painter, palette)));
            text.push('\n');
        }
    }
    if let Some(prepared) = part.get("prepared") {
        text += &prepared.to_string();
    }
    text
}

fn side_text(side: &Value, style: ResultStyle) -> String {
    match side {
        Value::Null => String::new(),
        Value::Map(_) if style.yaml => {
            indented(&to_yaml(side, &yaml_style(style, Some(4))), 4) + "\n"
        }
        Value::Map(_) => {
            to_json(
                side,
                JsonStyle {
                    indent: Some(4),
                    sort_keys: true,
                    ensure_ascii: true,
                },
            ) + "\n"
        }
        other => other.to_string(),
    }
}

/// Splits a text into lines. What Ansible says of a missing last newline is a part of that line.
fn lines(text: &str) -> Vec<String> {
    text.split_inclusive('\n')
        .map(|line| {
            if line.ends_with('\n') {
                line.to_owned()
            } else {
                format!("{line}\n\\ No newline at end of file\n")
            }
        })
        .collect()
}

fn paint(line: &str, painter: Painter, palette: &Palette) -> String {
    let colour = match line.as_bytes() {
        [b'+', ..] => &palette.diff_add,
        [b'-', ..] => &palette.diff_remove,
        [b'@', b'@', ..] => &palette.diff_lines,
        _ => return line.to_owned(),
    };
    painter.paint(line, colour)
}

#[cfg(test)]
mod tests {
    use super::super::default::tests::plain_palette;
    use super::*;

    fn check(json: &str, expected: &str) {
        let diff: Value = serde_json::from_str(json).unwrap();
        let style = ResultStyle::default();
        assert_eq!(
            render(&diff, 3, style, Painter::new(false), &plain_palette()),
            expected
        );
    }

    #[test]
    fn a_new_file_is_all_additions_under_its_header() {
        check(
            r#"{"before":"","after":"a\nb\n","after_header":"/x"}"#,
            "--- before\n+++ after: /x\n@@ -0,0 +1,2 @@\n+a\n+b\n\n",
        );
    }

    #[test]
    fn a_missing_last_newline_is_told_as_ansible_tells_it() {
        check(
            r#"[{"before":"a","after":"b\n"}]"#,
            "--- before\n+++ after\n@@ -1 +1 @@\n-a\n\\ No newline at end of file\n+b\n\n",
        );
    }

    #[test]
    fn equal_sides_show_nothing_and_binary_files_show_a_note() {
        check(r#"{"before":"a","after":"a"}"#, "");
        check(
            r#"{"dst_binary":1,"src_larger":104448}"#,
            "diff skipped: destination file appears to be binary\n\
             diff skipped: source file size is greater than 104448\n",
        );
    }

    #[test]
    fn attribute_changes_are_shown_as_json() {
        check(
            r#"{"before":{"path":"/x","mode":"0600"},"after":{"path":"/x","mode":"0644"}}"#,
            "--- before\n+++ after\n@@ -1,4 +1,4 @@\n {\n-    \"mode\": \"0600\",\n+    \"mode\": \
             \"0644\",\n     \"path\": \"/x\"\n }\n\n",
        );
    }
}
