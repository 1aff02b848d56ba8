//! Inventories as `ansible-inventory` tells them: tables recorded from it, see
//! `cases/inventory/record.py`.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use backstay::inventory::{
    Inventory, InventoryOptions, Limit, Listing, Order, VariableFiles, graph_text, host_variables,
    list, list_yaml,
};
use backstay::vault::Secrets;

const CASES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/cases/inventory");

fn options(directory: &Path) -> InventoryOptions {
    let mut secrets = Secrets::default();
    secrets.add("default", &b"secret"[..]);
    InventoryOptions {
        secrets: Arc::new(secrets),
        ..InventoryOptions::new(directory)
    }
}

/// Does what `ansible-inventory` does with `arguments` in `directory`.
fn run(directory: &Path, arguments: &[String]) -> String {
    let options = options(directory);
    let flag = |name: &str| arguments.iter().any(|argument| argument == name);
    let value = |name: &str| {
        let at = arguments.iter().position(|argument| argument == name)?;
        arguments.get(at + 1).cloned()
    };
    let named = arguments.windows(2).filter(|pair| pair[0] == "-i");
    let sources: Vec<String> = named.map(|pair| pair[1].clone()).collect();
    let (inventory, _) = Inventory::load(&sources, &options).unwrap();
    let limit = value("--limit").map(|limit| Limit::parse(&limit, directory).unwrap());
    let play = [VariableFiles::beside(directory, &options)];
    let listing = Listing {
        play: &play,
        limit: limit.as_ref(),
        secrets: Some(&options.secrets),
        export: flag("--export"),
        ..Listing::default()
    };
    let text = if flag("--graph") {
        let group = arguments.last().filter(|last| !last.starts_with('-'));
        let group = group
            .filter(|_| arguments.len() > 3)
            .map_or("all", String::as_str);
        graph_text(&inventory, group, listing, flag("--vars"))
    } else if let Some(host) = value("--host") {
        host_variables(&inventory, &host, listing, flag("--yaml"))
    } else if flag("--yaml") {
        list_yaml(&inventory, listing)
    } else {
        list(&inventory, listing)
    };
    let text = text.unwrap();
    if text.ends_with('\n') {
        text
    } else {
        text + "\n"
    }
}

#[test]
fn every_recorded_listing_is_printed_byte_for_byte() {
    for line in include_str!("cases/inventory/listings.jsonl").lines() {
        let (directory, arguments, expected): (PathBuf, Vec<String>, String) =
            serde_json::from_str(line).unwrap();
        let directory = Path::new(CASES).join(directory);
        let directory = directory.canonicalize().unwrap();
        assert_eq!(
            run(&directory, &arguments),
            expected,
            "{arguments:?} in {directory:?}"
        );
    }
}

#[test]
fn every_recorded_pattern_selects_the_same_hosts_and_warns_alike() {
    type Row = (
        String,
        String,
        Option<String>,
        Option<Vec<String>>,
        Vec<String>,
    );
    let directory = Path::new(CASES);
    for line in include_str!("cases/inventory/patterns.jsonl").lines() {
        let (source, pattern, limit, hosts, warnings): Row = serde_json::from_str(line).unwrap();
        let (inventory, _) = Inventory::load(&[source], &options(directory)).unwrap();
        let limit = limit.map(|limit| Limit::parse(&limit, directory).unwrap());
        let selection = inventory.select(&[&pattern], limit.as_ref(), Order::Inventory);
        let selected = selection.as_ref().ok().map(|selection| {
            selection
                .hosts
                .iter()
                .map(ToString::to_string)
                .collect::<Vec<_>>()
        });
        assert_eq!(selected, hosts, "{line}");
        assert_eq!(
            selection
                .map(|selection| selection.warnings)
                .unwrap_or_default(),
            warnings,
            "{line}"
        );
    }
}
