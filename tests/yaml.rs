//! YAML read and written as Ansible does: tables recorded from it, see `cases/yaml/record.py`.

use backstay::source::SourceFile;
use backstay::value::{Value, repr};
use backstay::yaml::{self, MultiLine, YamlStyle};

#[test]
fn every_recorded_text_reads_as_ansible_reads_it() {
    for line in include_str!("cases/yaml/read.jsonl").lines() {
        let (text, expected): (String, Option<String>) = serde_json::from_str(line).unwrap();
        let document = yaml::parse(&SourceFile::new("case.yml", text.as_str())).ok();
        let read = document.map(|document| repr(&document.root.to_value()));
        assert_eq!(read, expected, "{text:?}");
    }
}

#[test]
fn every_recorded_value_is_written_byte_for_byte() {
    let block = YamlStyle {
        default_flow_style: Some(false),
        multi_line: MultiLine::Block,
        ..YamlStyle::default()
    };
    let lossy = YamlStyle {
        indent: 4,
        multi_line: MultiLine::LossyBlock,
        ..block
    };
    for line in include_str!("cases/yaml/write.jsonl").lines() {
        let (value, expected): (Value, [String; 4]) = {
            let row: (Value, String, String, String, String) = serde_json::from_str(line).unwrap();
            (row.0, [row.1, row.2, row.3, row.4])
        };
        let styles = [YamlStyle::default(), YamlStyle::nice(), block, lossy];
        assert_eq!(
            styles.map(|style| yaml::to_yaml(&value, &style)),
            expected,
            "{line}"
        );
    }
}

#[test]
fn hostile_nesting_and_aliases_end_in_an_error() {
    let error = |text: &str| {
        let errors = yaml::parse(&SourceFile::new("a.yml", text)).unwrap_err();
        errors[0].message.clone()
    };
    assert_eq!(
        error(&"[".repeat(100_000)),
        "collections nest more than 200 deep"
    );
    assert_eq!(
        error(&"- ".repeat(100_000)),
        "collections nest more than 200 deep"
    );
    let levels = (1..10).map(|level| {
        let alias = format!("*a{}", level - 1);
        format!("a{level}: &a{level} [{}]\n", [alias.as_str(); 9].join(", "))
    });
    let bomb = "a0: &a0 [x, x, x, x, x, x, x, x, x]\n".to_string() + &levels.collect::<String>();
    assert_eq!(
        error(&bomb),
        "the aliases of this document expand to more than 2000000 nodes"
    );
}
