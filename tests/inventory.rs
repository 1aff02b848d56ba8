//! Inventories as `ansible-inventory` tells them: tables recorded from it, see
//! `cases/inventory/record.py`.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use backstay::inventory::{
    Expressions, Inventory, InventoryOptions, Limit, Listing, ListingFormat, Order, ScriptOutput,
    ScriptRunner, VariableFiles, graph_text, host_variables, list,
};
use backstay::lookups::World;
use backstay::template::Engine;
use backstay::value::Map;
use backstay::vars::{FactCache, PluginExpressions};
use backstay::vault::Secrets;

const CASES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/cases/inventory");

fn options(directory: &Path) -> InventoryOptions {
    let mut secrets = Secrets::default();
    secrets.add("default", &b"secret"[..]);
    let engine = Engine::new(Arc::new(World::new(directory)));
    InventoryOptions {
        secrets: Arc::new(secrets),
        expressions: Some(Arc::new(PluginExpressions::new(engine, Arc::default()))),
        ..InventoryOptions::new(directory)
    }
}

/// Does what `ansible-inventory` does with `arguments` in `directory`.
fn run(directory: &Path, arguments: &[String]) -> Result<String, Vec<backstay::error::Error>> {
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
    let format = match (flag("--yaml"), flag("--toml")) {
        (true, _) => ListingFormat::Yaml,
        (false, true) => ListingFormat::Toml,
        (false, false) => ListingFormat::Json,
    };
    let text = if flag("--graph") {
        let group = arguments.last().filter(|last| !last.starts_with('-'));
        let group = group
            .filter(|_| arguments.len() > 3)
            .map_or("all", String::as_str);
        graph_text(&inventory, group, listing, flag("--vars"))
    } else if let Some(host) = value("--host") {
        host_variables(&inventory, &host, listing, format)
    } else {
        list(&inventory, listing, format)
    };
    let text = text?;
    Ok(text.trim_end_matches('\n').to_owned() + "\n")
}

/// The recorded listings that are in TOML, or those that are not.
fn listings(in_toml: bool) -> impl Iterator<Item = (PathBuf, Vec<String>, String)> {
    include_str!("cases/inventory/listings.jsonl")
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .filter(move |(_, arguments, _): &(PathBuf, Vec<String>, String)| {
            arguments.contains(&"--toml".to_owned()) == in_toml
        })
        .map(|(directory, arguments, expected)| {
            let directory = Path::new(CASES).join(directory);
            (directory.canonicalize().unwrap(), arguments, expected)
        })
}

#[test]
fn every_recorded_listing_is_printed_byte_for_byte() {
    for (directory, arguments, expected) in listings(false) {
        assert_eq!(
            run(&directory, &arguments).unwrap(),
            expected,
            "{arguments:?} in {directory:?}"
        );
    }
}

#[test]
fn a_listing_in_toml_holds_what_ansibles_does_and_null_has_its_place() {
    for (directory, arguments, expected) in listings(true) {
        let found = run(&directory, &arguments);
        if expected.is_empty() {
            // Ansible ends with a traceback.
            let errors = found.unwrap_err();
            let place = errors[0].mark.as_ref().unwrap().to_string();
            let place = place.rsplit('/').next().unwrap();
            assert_eq!(format!("{place} {}", errors[0].message), NO_NULL);
            continue;
        }
        let parsed = |text: &str| text.parse::<toml::Table>().unwrap();
        let found = parsed(&found.unwrap());
        assert_eq!(found, parsed(&expected), "{arguments:?} in {directory:?}");
    }
}

/// What is said of the first null of `ini/hosts`.
const NO_NULL: &str = "hosts:3:65 TOML has no null";

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

/// Prints what a script inventory would; no process is started.
struct Printed;

impl ScriptRunner for Printed {
    fn run(&self, _: &Path, arguments: &[&str]) -> std::io::Result<ScriptOutput> {
        assert_eq!(arguments, ["--list"]);
        let text = r#"{"web": {"hosts": ["w1"], "vars": {"a": 1}, "children": ["sub"]},
            "sub": ["s1"], "_meta": {"hostvars": {"w1": {"b": "{{ a }}"}}}}"#;
        Ok(ScriptOutput {
            stdout: text.into(),
            ..ScriptOutput::default()
        })
    }
}

#[test]
#[expect(clippy::disallowed_methods, reason = "a test writes its own fixture")]
fn an_executable_source_is_asked_for_its_list() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("dynamic");
    std::fs::write(&path, "#!/bin/false\n").unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    let mut options = options(directory.path());
    options.scripts = Some(Arc::new(Printed));
    let (inventory, _) = Inventory::load(&["dynamic".into()], &options).unwrap();
    let web = inventory.hosts_matching("web").unwrap().hosts;
    assert_eq!(web, ["w1".into(), "s1".into()]);
    let variables = inventory.layers("w1", &[]).unwrap();
    assert_eq!(variables[1]["b"].as_str(), Some("{{ a }}"));
}

#[test]
#[expect(clippy::disallowed_methods, reason = "a test writes its own fixture")]
fn a_source_that_makes_no_sense_is_left_out_whole_with_its_reason() {
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(
        directory.path().join("hosts"),
        "[web]\nw1\n[prod:children]\nwbe\n",
    )
    .unwrap();
    let mut options = options(directory.path());
    let (inventory, warnings) = Inventory::load(&["hosts".into()], &options).unwrap();
    assert_eq!(inventory.hosts().len(), 0);
    let told: Vec<String> = warnings
        .iter()
        .map(|warning| warning.text.clone())
        .collect();
    assert_eq!(
        told,
        [
            "Failed to parse inventory with 'ini' plugin: section `[prod:children]` includes undefined group `wbe`",
            &format!(
                "Unable to parse {} as an inventory source",
                directory.path().join("hosts").display()
            ),
            "No inventory was parsed, only implicit localhost is available",
        ]
    );
    assert_eq!(warnings[0].mark.as_ref().unwrap().to_string(), "hosts:4:1");
    assert_eq!(warnings[0].help.as_deref(), Some("did you mean `web`?"));
    options.any_unparsed_is_failed = true;
    let errors = Inventory::load(&["hosts".into()], &options).err().unwrap();
    let place = errors[0].causes[0].mark.as_ref().unwrap();
    assert_eq!(place.to_string(), "hosts:4:1");
}

#[test]
fn hosts_and_groups_added_at_run_time_keep_the_rules() {
    let directory = Path::new(CASES).join("structure");
    let sources = ["hosts.yml".to_string()];
    let (mut inventory, _) = Inventory::load(&sources, &options(&directory)).unwrap();
    inventory.add_group("fresh").unwrap();
    assert!(inventory.add_host("new1", Some("fresh")).unwrap());
    assert!(
        !inventory.add_host("new1", Some("fresh")).unwrap(),
        "it is there already"
    );
    inventory.add_host("loose", Some("all")).unwrap();
    inventory.reconcile();
    assert_eq!(inventory.group_names("new1"), ["fresh".into()]);
    assert_eq!(inventory.group_names("loose"), ["ungrouped".into()]);
    assert!(inventory.hosts_of("all").contains(&"new1".into()));
    let error = inventory.add_child("web", "prod").unwrap_err();
    assert_eq!(
        error.message,
        "adding group `prod` as child to `web` creates a recursive dependency loop"
    );
}

/// Keeps the facts of one host.
struct Kept;

impl FactCache for Kept {
    fn load(&self, host: &str) -> Option<Map> {
        let marker = [("marker".into(), "yes_it_is".into())];
        (host == "h1").then(|| marker.into_iter().collect())
    }

    fn store(&self, _: &str, _: &Map) -> Result<(), String> {
        Ok(())
    }

    fn forget(&self, _: &str) {}
}

/// Recorded with the cache `jsonfile` after `set_fact: {marker: yes_it_is, cacheable: true}`.
#[test]
#[expect(clippy::disallowed_methods, reason = "a test writes its own fixture")]
fn what_an_earlier_run_found_out_is_read_by_constructed_and_listed() {
    let directory = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| std::fs::write(directory.path().join(name), text).unwrap();
    write("a.ini", "[g]\nh1 ansible_connection=local marker=no\nh2\n");
    write(
        "b.constructed.yml",
        "plugin: ansible.builtin.constructed\n\
         compose:\n  flavour: ansible_facts.marker | default('nothing')\n  other: marker | default('nothing')\n\
         keyed_groups:\n  - {key: marker, prefix: m}\n\
         cache: true\ncache_plugin: jsonfile\ncache_timeout: 7200\ncache_connection: kept\ncache_prefix: x\n",
    );
    let engine = Engine::new(Arc::new(World::new(directory.path())));
    let expressions =
        PluginExpressions::new(engine, Arc::default()).with_facts(Some(Arc::new(Kept)));
    let expressions: Arc<dyn Expressions + Send> = Arc::new(expressions);
    let options = InventoryOptions {
        expressions: Some(Arc::clone(&expressions)),
        ..InventoryOptions::new(directory.path())
    };
    let sources = [".".to_owned()];
    let (inventory, warnings) = Inventory::load(&sources, &options).unwrap();
    assert_eq!(warnings, []);
    let listing = Listing {
        facts: Some(&*expressions),
        ..Listing::default()
    };
    assert_eq!(
        graph_text(&inventory, "all", listing, true).unwrap(),
        "\
@all:
  |--@ungrouped:
  |--@g:
  |  |--h1
  |  |  |--{ansible_connection = local}
  |  |  |--{flavour = nothing}
  |  |  |--{marker = yes_it_is}
  |  |  |--{other = yes_it_is}
  |  |--h2
  |  |  |--{flavour = nothing}
  |  |  |--{other = nothing}
  |--@m_yes_it_is:
  |  |--h1
  |  |  |--{ansible_connection = local}
  |  |  |--{flavour = nothing}
  |  |  |--{marker = yes_it_is}
  |  |  |--{other = yes_it_is}"
    );
}
