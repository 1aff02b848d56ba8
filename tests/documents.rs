//! What the documents list is what there is: rooms, arrows, dependencies, and every name a
//! playbook can use.

use std::collections::BTreeSet;
use std::path::Path;

use crate::arrows::{ARROWS, VOCABULARY};
use crate::compatibility;

const ARCHITECTURE: &str = include_str!("../ARCHITECTURE.md");
const COMPATIBILITY: &str = include_str!("../docs/compatibility.md");
const PROOF: &str = include_str!("../docs/proof.md");

#[test]
fn the_table_of_rooms_is_the_one_the_arrows_are_kept_by() {
    let told: Vec<_> = rows("## Rooms and arrows")
        .map(|cells| (names(cells[0]), names(cells[2])))
        .collect();
    let kept: Vec<_> = ARROWS
        .iter()
        .filter(|(room, _)| !VOCABULARY.contains(room))
        .map(|(room, allowed)| (set([*room]), set(allowed.iter().copied())))
        .chain([(set(["cli"]), BTreeSet::new())])
        .collect();
    assert_eq!(told, kept);
}

#[test]
fn every_room_of_the_sources_is_in_the_map() {
    let section = section("## Rooms and arrows");
    let told = names(section);
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let missing: Vec<_> = std::fs::read_dir(source)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .map(|name| name.trim_end_matches(".rs").to_owned())
        .filter(|room| !["lib", "main"].contains(&room.as_str()))
        .filter(|room| !told.contains(room))
        .collect();
    assert_eq!(missing, Vec::<String>::new());
}

#[test]
fn every_dependency_has_its_line_and_no_other_has() {
    let told: BTreeSet<_> = rows("## Dependencies")
        .flat_map(|cells| names(cells[0]))
        .collect();
    let manifest = include_str!("../Cargo.toml");
    let mut table = "";
    let mut used = BTreeSet::new();
    for line in manifest.lines() {
        if line.starts_with('[') {
            table = line;
        } else if ["[dependencies]", "[dev-dependencies]"].contains(&table)
            && let Some((name, _)) = line.split_once(" = ")
        {
            used.insert(name.to_owned());
        }
    }
    assert_eq!(told, used);
}

#[test]
fn every_name_a_playbook_can_use_is_listed_and_no_other_is() {
    for (head, names) in compatibility::lists() {
        let told = COMPATIBILITY
            .lines()
            .find_map(|line| line.strip_prefix(head))
            .unwrap_or_default();
        assert_eq!(
            self::names(told),
            set(names),
            "`{head}` of docs/compatibility.md"
        );
    }
}

#[test]
fn the_page_says_of_every_name_of_ansible_core_what_the_tables_say() {
    let (_, told) = COMPATIBILITY.split_once(compatibility::HEADING).unwrap();
    let made = compatibility::section();
    let made = made.strip_prefix(compatibility::HEADING).unwrap();
    assert!(
        told == made,
        "write it with `cargo run --example compatibility`"
    );
}

#[test]
fn alerts_and_dashboards_ask_only_for_metrics_that_there_are() {
    let sources = [
        include_str!("../src/cli/exporter.rs"),
        include_str!("../src/cli/metrics.rs"),
    ];
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("playbooks/files/monitoring");
    let mut asked = BTreeSet::new();
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        let text = std::fs::read_to_string(&path).unwrap();
        if path
            .extension()
            .is_some_and(|extension| extension == "json")
        {
            serde_json::from_str::<serde_json::Value>(&text).unwrap();
        }
        let is_part = |c: char| c.is_ascii_alphanumeric() || c == '_';
        let words = text.split(|c: char| !is_part(c));
        asked.extend(
            words
                .filter(|word| word.starts_with("backstay_"))
                .map(str::to_owned),
        );
    }
    assert!(asked.len() >= 15, "{asked:?}");
    let missing: Vec<_> = asked
        .iter()
        .map(|name| name.strip_prefix("backstay_deploy_").unwrap_or(name))
        .filter(|name| {
            let forms = [format!("\"{name}\""), format!("{name}{{")];
            let mut texts = sources.iter();
            !texts.any(|text| forms.iter().any(|form| text.contains(form)))
        })
        .collect();
    assert_eq!(missing, Vec::<&str>::new());
}

#[test]
fn every_alert_is_tried_whether_it_fires_and_whether_it_is_over() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("playbooks/files/monitoring");
    let read = |name: &str| std::fs::read_to_string(directory.join(name)).unwrap();
    let mut tried = 0;
    for part in ["runners", "deploys"] {
        let (rules, tests) = (
            read(&format!("{part}.rules.yml")),
            read(&format!("{part}.rules.test.yml")),
        );
        let cases: Vec<_> = tests.split("eval_time: ").skip(1).collect();
        for alert in rules
            .lines()
            .filter_map(|line| line.split("- alert: ").nth(1))
        {
            let of = |case: &&str| {
                case.split("alertname: ")
                    .nth(1)
                    .is_some_and(|rest| rest.split([',', '\n']).next().unwrap().trim() == alert)
            };
            // In the order of their times: first it fires, then it does not any more.
            let fired = cases
                .iter()
                .copied()
                .filter(of)
                .map(|case| !case.contains("exp_alerts: []"));
            let fired: Vec<bool> = fired.collect();
            assert!(
                fired.contains(&true) && fired.last() == Some(&false),
                "{alert}: {fired:?}"
            );
            tried += 1;
        }
    }
    assert!(tried >= 13, "{tried}");
}

#[test]
fn every_alert_is_in_the_runbook_that_it_names() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut named = 0;
    for part in ["runners", "deploys"] {
        let rules = root.join(format!("playbooks/files/monitoring/{part}.rules.yml"));
        let rules = std::fs::read_to_string(rules).unwrap();
        for rule in rules.split("- alert: ").skip(1) {
            let alert = rule.lines().next().unwrap();
            let (_, page) = rule.split_once("runbook: ").unwrap();
            let page = std::fs::read_to_string(root.join(page.lines().next().unwrap())).unwrap();
            assert!(names(&page).contains(alert), "{alert}");
            named += 1;
        }
    }
    assert!(named >= 13, "{named}");
}

#[test]
fn every_test_that_the_proof_names_is_in_the_tree() {
    let mut named = 0;
    for line in PROOF.lines().filter(|line| line.starts_with("| ")) {
        for text in self::names(line) {
            let Some((file, name)) = text.split_once(' ') else {
                continue;
            };
            let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(file);
            // Commands that are run are named alike.
            if name.starts_with('-') || !path.is_file() {
                assert!(!file.contains(".rs") && !file.contains(".py"), "`{text}`");
                continue;
            }
            let source = std::fs::read_to_string(&path).unwrap();
            let forms = [
                format!("fn {name}("),
                format!("def {name}("),
                format!("\"{name}\""),
            ];
            let is_there = forms.iter().any(|form| source.contains(form));
            assert!(is_there, "`{text}` is not there");
            named += 1;
        }
    }
    assert!(named > 100, "{named}");
}

#[test]
fn the_proof_has_every_row_of_the_fault_matrix_and_every_planted_bug() {
    let told: Vec<_> = PROOF
        .lines()
        .filter_map(|line| line.strip_prefix("| F")?.split(' ').next())
        .map(|number| number.parse::<usize>().unwrap())
        .collect();
    assert_eq!(told, (1..=54).collect::<Vec<_>>());
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/proof/planted");
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        let text = std::fs::read_to_string(&path).unwrap();
        let name = path.file_stem().unwrap().to_str().unwrap();
        let row = PROOF
            .lines()
            .find(|line| line.starts_with(&format!("| {name} |")));
        let command = text
            .lines()
            .find_map(|line| line.strip_prefix("Caught by: "));
        let row = row.unwrap_or_else(|| panic!("{name} is not in docs/proof.md"));
        assert!(row.contains(&format!("`{}`", command.unwrap())), "{row}");
    }
}

#[test]
fn every_link_of_the_documents_leads_to_a_page_and_its_heading() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut pages = vec![root.join("README.md"), root.join("ARCHITECTURE.md")];
    for directory in ["docs", "docs/runbooks"] {
        let entries = std::fs::read_dir(root.join(directory)).unwrap();
        pages.extend(entries.map(|entry| entry.unwrap().path()));
    }
    pages.retain(|page| page.extension().is_some_and(|extension| extension == "md"));
    let mut followed = 0;
    for page in pages {
        let text = std::fs::read_to_string(&page).unwrap();
        for rest in text.split("](").skip(1) {
            let target = rest.split(')').next().unwrap();
            if target.contains("://") {
                continue;
            }
            let (file, heading) = target.split_once('#').unwrap_or((target, ""));
            let file = if file.is_empty() {
                page.clone()
            } else {
                page.parent().unwrap().join(file)
            };
            let told = format!("{}: {target}", page.display());
            let wanted = std::fs::read_to_string(&file).unwrap_or_else(|_| panic!("{told}"));
            assert!(
                heading.is_empty() || anchors(&wanted).contains(heading),
                "{told}"
            );
            followed += 1;
        }
    }
    assert!(followed > 50, "{followed}");
}

/// Returns the headings of a page as they are linked to.
fn anchors(page: &str) -> BTreeSet<String> {
    let headings = page.lines().filter(|line| line.starts_with('#'));
    headings
        .map(|line| line.trim_start_matches('#').trim().to_lowercase())
        .map(|heading| heading.replace(' ', "-"))
        .map(|heading| {
            heading
                .chars()
                .filter(|c| c.is_alphanumeric() || "-_".contains(*c))
                .collect()
        })
        .collect()
}

/// Returns the text from a heading to the next one.
fn section(heading: &str) -> &'static str {
    let (_, rest) = ARCHITECTURE.split_once(heading).unwrap();
    rest.split("\n## ").next().unwrap()
}

/// Returns the cells of each row of the table below a heading, its own head left out.
fn rows(heading: &str) -> impl Iterator<Item = Vec<&'static str>> {
    let lines = section(heading)
        .lines()
        .filter(|line| line.starts_with('|'));
    lines.skip(2).map(|line| {
        let inner = line.trim_matches('|');
        inner.split('|').map(str::trim).collect()
    })
}

/// Returns the words in backticks.
fn names(text: &str) -> BTreeSet<String> {
    text.split('`')
        .skip(1)
        .step_by(2)
        .map(str::to_owned)
        .collect()
}

fn set<'a>(names: impl IntoIterator<Item = &'a str>) -> BTreeSet<String> {
    names.into_iter().map(str::to_owned).collect()
}
