//! What the ladder promises, compared with what real Ansible made of the same files.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::{Constants, HostFiles, PlayState, Rung, Settings, Snapshot, StaticNames, Variables};
use crate::arguments::ArgumentSpec;
use crate::error::Error;
use crate::inventory::{Inventory, InventoryOptions};
use crate::node::{Kind, Node};
use crate::playbook::{
    self, Block, Catalog, Context, FileKind, Files, Item, Play, ReadOptions, RoleRequest, Task,
    TaskIds, Vars, VarsFiles, include_role, include_tasks, variables_in,
};
use crate::source::{Mark, SourceFile};
use crate::template::{Binding, Engine, Isolated, Scope};
use crate::value::{Map, Value};

/// Files of the disk, as they are.
struct Disk;

impl Files for Disk {
    fn read(&self, path: &Path) -> Result<Arc<SourceFile>, Error> {
        let text = std::fs::read_to_string(path)
            .map_err(|error| Error::content(format!("{}: {error}", path.display())))?;
        Ok(SourceFile::new(path.to_string_lossy(), text))
    }

    fn kind(&self, path: &Path) -> Option<FileKind> {
        let metadata = std::fs::metadata(path).ok()?;
        Some(if metadata.is_dir() {
            FileKind::Directory
        } else {
            FileKind::File
        })
    }

    fn list(&self, directory: &Path) -> Vec<String> {
        let entries = std::fs::read_dir(directory).into_iter().flatten().flatten();
        let mut names: Vec<_> = entries
            .filter_map(|entry| entry.file_name().into_string().ok())
            .collect();
        names.sort();
        names
    }
}

const ANY: ArgumentSpec = ArgumentSpec::new("copy", &[], &[], &[]);

/// A catalog with one module whose options are not looked at: all tasks here are `set_fact`.
struct OneModule;

impl Catalog for OneModule {
    fn module(&self, name: &str) -> Option<&'static ArgumentSpec> {
        (name == "set_fact").then_some(&ANY)
    }

    fn modules(&self) -> Vec<&'static str> {
        vec!["set_fact"]
    }

    fn has_lookup(&self, _name: &str) -> bool {
        false
    }

    fn lookups(&self) -> Vec<&'static str> {
        Vec::new()
    }
}

/// A loaded tree with its variables.
struct Tree {
    root: PathBuf,
    templates: StaticNames,
    variables: Variables,
    play: Arc<Play>,
}

impl Tree {
    /// Loads `site.yml` of a directory for the hosts of its inventory.
    fn load(root: &Path, inventory: &str, extra: Vars) -> Self {
        let options = InventoryOptions::new(root);
        let (inventory, _) = Inventory::load(&[inventory.to_owned()], &options)
            .unwrap_or_else(|errors| panic!("{errors:?}"));
        let engine = Engine::new(Arc::new(Isolated));
        let extra = Arc::new(extra);
        let templates = StaticNames::new(engine.clone(), Arc::clone(&extra));
        let files = HostFiles::new(&inventory, options);
        assert_eq!(files.check(&inventory, None, [root]), []);
        let hosts = inventory
            .hosts()
            .map(|host| Arc::clone(&host.name))
            .collect();
        let mut variables = Variables::new(
            Settings {
                constants: Constants {
                    playbook_dir: root.to_string_lossy().into_owned(),
                    forks: 5,
                    ..Constants::default()
                },
                extra,
                engine,
                vars_files: VarsFiles::new(Arc::new(Disk), ReadOptions::default()),
                merge: false,
                inject_facts: true,
            },
            Arc::new(inventory),
            files,
        );
        let playbook = playbook::load(&root.join("site.yml"), &context(root, &templates))
            .unwrap_or_else(|errors| panic!("{errors:#?}"));
        let play = Arc::clone(&playbook.plays[0]);
        variables.set_play(PlayState::new(&play, "the play", hosts));
        Self {
            root: root.to_path_buf(),
            templates,
            variables,
            play,
        }
    }

    fn context(&self) -> Context<'_> {
        context(&self.root, &self.templates)
    }

    fn snapshot(&self) -> Arc<Snapshot> {
        self.variables.snapshot()
    }

    /// Renders an expression as `task` sees it on `host`.
    fn show(&self, host: &str, task: &Task, expression: &str) -> String {
        let scope = self
            .snapshot()
            .scope(Some(host), Some(&task.layer))
            .unwrap_or_else(|errors| panic!("{errors:?}"));
        let engine = Engine::new(Arc::new(Isolated));
        match engine.expression(expression, &scope) {
            Ok(value) => value.to_string(),
            Err(error) => error.message,
        }
    }
}

fn context<'a>(root: &Path, templates: &'a StaticNames) -> Context<'a> {
    Context {
        files: &Disk,
        templates,
        catalog: &OneModule,
        roles_path: Vec::new(),
        collections_path: Vec::new(),
        module_path: Vec::new(),
        working_directory: root.to_path_buf(),
        home: None,
        yaml: ReadOptions::default(),
        private_role_vars: None,
        unknown_keyword_fails: true,
        ids: TaskIds::default(),
    }
}

fn task(item: &Item) -> &Arc<Task> {
    match item {
        Item::Task(task) => task,
        other => panic!("{other:?}"),
    }
}

fn block(item: &Item) -> &Arc<Block> {
    match item {
        Item::Block(block) => block,
        other => panic!("{other:?}"),
    }
}

fn vars(text: &str) -> Vars {
    let file = SourceFile::new("<extra>", text);
    variables_in(&file, ReadOptions::default()).unwrap_or_else(|errors| panic!("{errors:?}"))
}

fn precedence() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cases/vars/precedence")
}

fn data(path: &Path) -> Map {
    let text = std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{error}"));
    let value: Value = serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}"));
    value.as_map().cloned().unwrap_or_default()
}

#[test]
fn of_each_two_sources_of_a_name_the_one_wins_that_wins_under_ansible() {
    let root = precedence();
    let extra = std::fs::read_to_string(root.join("extra.yml")).unwrap();
    let mut tree = Tree::load(&root, "inventory/hosts.ini", vars(&extra));
    tree.variables
        .add_facts("host1", &data(&root.join("facts.json")))
        .unwrap();
    for (name, value) in data(&root.join("set_fact.json")) {
        tree.variables.set("host1", &name.to_string(), value);
    }
    let included = vars(&std::fs::read_to_string(root.join("included.yml")).unwrap());
    let included = included
        .into_iter()
        .map(|(name, node)| (name, Binding::Source(node)));
    tree.variables.include("host1", included);

    let include = task(&block(&tree.play.tasks[1]).block[0]);
    let items = include_tasks(
        &tree.context(),
        &tree.play,
        include,
        "inner.yml",
        Map::new(),
    )
    .unwrap_or_else(|errors| panic!("{errors:#?}"));
    let scope = tree
        .snapshot()
        .scope(Some("host1"), Some(&task(&items[0]).layer))
        .unwrap_or_else(|errors| panic!("{errors:?}"));

    let table = std::fs::read_to_string(root.join("winners.tsv")).unwrap();
    let mut wrong = Vec::new();
    let mut count = 0;
    for line in table.lines().filter(|line| !line.starts_with('#')) {
        let [first, second, winner] = line.split('\t').collect::<Vec<_>>()[..] else {
            panic!("{line}")
        };
        count += 1;
        let ours = match scope.get(&format!("{first}__{second}")) {
            Some(Binding::Source(node)) => node.to_value().to_string(),
            Some(Binding::Final(value)) => value.to_string(),
            other => format!("{other:?}"),
        };
        if ours != winner {
            wrong.push(format!("{first} and {second}: {winner} wins, not {ours}"));
        }
    }
    assert_eq!((count, wrong), (351, Vec::new()));
}

/// Writes a tree of files and loads it.
#[expect(
    clippy::disallowed_methods,
    reason = "the tree is the test's own, not a target"
)]
fn tree(files: &[(&str, &str)], extra: &str) -> (tempfile::TempDir, Tree) {
    let directory = tempfile::tempdir().unwrap();
    for (path, text) in files {
        let path = directory.path().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }
    let tree = Tree::load(directory.path(), "hosts.ini", vars(extra));
    (directory, tree)
}

const TWO_HOSTS: &str = "[web]\na.example.org own=1\nb own=2\n\n[web:vars]\nlazy='{{ own }}'\n";

#[test]
fn magic_variables_tell_of_the_run_the_play_and_the_role() {
    let (directory, tree) = tree(
        &[
            ("hosts.ini", TWO_HOSTS),
            (
                "site.yml",
                "- hosts: all\n  environment: {A: b}\n  roles: [one]\n",
            ),
            ("roles/one/tasks/main.yml", "- set_fact: {x: 1}\n"),
            ("roles/one/meta/main.yml", "dependencies: [two]\n"),
            ("roles/two/vars/main.yml", "of_two: yes\n"),
        ],
        "x: extra",
    );
    let task = task(&tree.play.tasks[1]);
    let root = directory.path().to_string_lossy();
    for (expression, expected) in [
        ("inventory_hostname", "a.example.org"),
        ("inventory_hostname_short", "a"),
        ("group_names", "['web']"),
        (
            "groups",
            "{'all': ['a.example.org', 'b'], 'ungrouped': [], 'web': ['a.example.org', 'b']}",
        ),
        ("ansible_play_hosts_all", "['a.example.org', 'b']"),
        ("ansible_play_batch == play_hosts", "True"),
        ("ansible_play_name", "the play"),
        ("ansible_play_role_names", "['one']"),
        ("ansible_dependent_role_names", "['two']"),
        ("ansible_role_names", "['two', 'one']"),
        ("role_name", "one"),
        ("role_path == playbook_dir ~ '/roles/one'", "True"),
        ("playbook_dir", &root),
        ("ansible_version.full", "2.19.14"),
        ("ansible_check_mode", "False"),
        ("environment", "[{'A': 'b'}]"),
        ("ansible_facts", "{}"),
        ("of_two", "True"),
        ("x", "extra"),
        ("vars.inventory_hostname", "a.example.org"),
        ("vars['x']", "extra"),
        ("ansible_limit is defined", "False"),
    ] {
        assert_eq!(
            tree.show("a.example.org", task, expression),
            expected,
            "{expression}"
        );
    }
}

#[test]
fn hostvars_are_rendered_in_the_context_of_their_host() {
    let (_directory, mut tree) = tree(
        &[
            ("hosts.ini", TWO_HOSTS),
            (
                "site.yml",
                "- hosts: all\n  vars: {of_play: 1}\n  tasks: [{set_fact: {x: 1}}]\n",
            ),
        ],
        "",
    );
    tree.variables
        .set("b", "learned", Value::from("{{ never }}"));
    let facts: Map = [("ansible_os".into(), "debian".into())]
        .into_iter()
        .collect();
    tree.variables.add_facts("b", &facts).unwrap();
    let task = Arc::clone(task(&tree.play.tasks[0]));
    for (expression, expected) in [
        ("lazy", "1"),
        ("hostvars['b'].lazy", "2"),
        ("hostvars.b.learned", "{{ never }}"),
        ("hostvars.b.ansible_facts.os", "debian"),
        ("hostvars.b.ansible_os", "debian"),
        ("hostvars.b.of_play is defined", "False"),
        ("hostvars | list", "['a.example.org', 'b']"),
        ("hostvars.localhost.inventory_hostname", "localhost"),
        ("hostvars.nobody is defined", "False"),
    ] {
        assert_eq!(
            tree.show("a.example.org", &task, expression),
            expected,
            "{expression}"
        );
    }
    tree.variables.clear_facts("b");
    assert_eq!(tree.show("b", &task, "ansible_facts"), "{}");
}

#[test]
fn a_snapshot_keeps_what_was_when_it_was_taken() {
    let (_directory, mut tree) = tree(
        &[
            ("hosts.ini", TWO_HOSTS),
            ("site.yml", "- hosts: all\n  tasks: [{set_fact: {x: 1}}]\n"),
        ],
        "",
    );
    tree.variables.set("b", "x", Value::from(1));
    let before = tree.snapshot();
    tree.variables.set("b", "x", Value::from(2));
    let value = |snapshot: &Arc<Snapshot>| match snapshot.scope(Some("b"), None).unwrap().get("x") {
        Some(Binding::Final(value)) => value,
        other => panic!("{other:?}"),
    };
    assert_eq!(
        (value(&before), value(&tree.snapshot())),
        (1.into(), 2.into())
    );
}

#[test]
fn vars_files_are_chosen_per_host_and_the_first_alternative_counts() {
    let (_directory, mut tree) = tree(
        &[
            ("hosts.ini", TWO_HOSTS),
            (
                "site.yml",
                "- hosts: all\n  vars_files:\n    - [gone.yml, '{{ own }}.yml']\n    - '{{ \
                 ansible_facts.os }}.yml'\n  tasks: [{set_fact: {x: 1}}]\n",
            ),
            ("vars/1.yml", "chosen: one\n"),
            ("2.yml", "chosen: two\n"),
            ("vars/debian.yml", "chosen: debian\n"),
        ],
        "",
    );
    let task = Arc::clone(task(&tree.play.tasks[0]));
    assert_eq!(tree.show("a.example.org", &task, "chosen"), "one");
    assert_eq!(tree.show("b", &task, "chosen"), "two");
    let facts: Map = [("ansible_os".into(), "debian".into())]
        .into_iter()
        .collect();
    tree.variables.add_facts("b", &facts).unwrap();
    assert_eq!(tree.show("b", &task, "chosen"), "debian");
}

#[test]
fn an_included_role_sees_its_includes_variables_and_keeps_its_own() {
    let (_directory, mut tree) = tree(
        &[
            ("hosts.ini", TWO_HOSTS),
            (
                "site.yml",
                "- hosts: all\n  tasks:\n    - include_role: {name: one}\n      vars: {given: \
                 yes}\n    - set_fact: {x: 1}\n",
            ),
            ("roles/one/tasks/main.yml", "- import_role: {name: two}\n"),
            ("roles/one/defaults/main.yml", "one_default: 1\n"),
            ("roles/two/tasks/main.yml", "- set_fact: {x: 1}\n"),
            ("roles/two/vars/main.yml", "two_var: 2\n"),
        ],
        "",
    );
    let bound: Map = [("item".into(), "looped".into())].into_iter().collect();
    let request = RoleRequest {
        name: "one".to_owned(),
        ..RoleRequest::default()
    };
    let include = Arc::clone(task(&tree.play.tasks[0]));
    let found = include_role(&tree.context(), &tree.play, &include, &request, bound)
        .unwrap_or_else(|errors| panic!("{errors:#?}"));
    let inner = Arc::clone(task(&found.items[0]));
    let mut state = PlayState::new(&tree.play, "the play", vec!["b".into()]);
    state.roles.extend(found.roles);
    tree.variables.set_play(state);
    for (expression, expected) in [
        ("given", "True"),
        ("item", "looped"),
        ("two_var", "2"),
        ("one_default", "1"),
        ("role_name", "two"),
        ("ansible_parent_role_names", "['one']"),
    ] {
        assert_eq!(tree.show("b", &inner, expression), expected, "{expression}");
    }
    let outside = Arc::clone(task(&tree.play.tasks[1]));
    assert_eq!(tree.show("b", &outside, "one_default is defined"), "False");
    assert_eq!(tree.show("b", &outside, "two_var"), "2");
}

#[test]
fn merging_lays_dictionaries_of_all_rungs_over_one_another() {
    let weak = vars("d: {a: 1, in: {x: 1}}").swap_remove("d");
    let strong = vars("d: {b: 2, in: {y: 2}}").swap_remove("d");
    let bindings = [strong, weak].into_iter().flatten().map(Binding::Source);
    match super::merge::merged(bindings) {
        Some(Binding::Source(node)) => assert_eq!(
            node.to_value().to_string(),
            "{'a': 1, 'in': {'x': 1, 'y': 2}, 'b': 2}"
        ),
        other => panic!("{other:?}"),
    }
    let text = Node::new(
        Mark::start_of(&SourceFile::new("<text>", "")),
        Kind::Text("t".into()),
    );
    let bindings = [Binding::Source(text), Binding::Final(Value::from(1))];
    assert!(matches!(
        super::merge::merged(bindings.into_iter()),
        Some(Binding::Source(_))
    ));
}

#[test]
fn the_ladder_names_every_rung_once_from_defaults_to_magic() {
    let mut sorted = Rung::LADDER;
    sorted.sort_unstable();
    assert_eq!(sorted, Rung::LADDER);
    assert_eq!(Rung::LADDER[0], Rung::RoleDefaults);
    assert_eq!(Rung::LADDER[21], Rung::Magic);
}
