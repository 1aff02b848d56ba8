//! What docs/compatibility.md says of every name of ansible-core 2.19, made of the tables in the
//! code. `cargo run --example compatibility` writes it; `documents` keeps it.
//!
//! `cases/core/names.txt` lists ansible-core's names; `cases/core/record.py` recorded it.

use std::collections::BTreeMap;

use backstay::config::{Effect, SETTINGS};
use backstay::executor::Executable;
use backstay::playbook::{Catalog, Keyword, Place};
use backstay::template;

/// Where the part that is made begins; it ends the page.
pub(crate) const HEADING: &str = "## Every name of ansible-core 2.19\n";

const NAMES: &str = include_str!("cases/core/names.txt");

/// The plugins that no table of the code lists, and that are here.
const PLUGINS: [(&str, &[&str]); 9] = [
    ("become", &["su", "sudo"]),
    ("cache", &["jsonfile", "memory"]),
    ("callback", &["default", "minimal", "oneline"]),
    ("connection", &["local", "paramiko_ssh", "ssh"]),
    (
        "inventory",
        &[
            "advanced_host_list",
            "auto",
            "constructed",
            "generator",
            "host_list",
            "ini",
            "script",
            "toml",
            "yaml",
        ],
    ),
    ("shell", &["sh"]),
    ("strategy", &["free", "host_pinned", "linear"]),
    ("vars", &["host_group_vars"]),
    (
        "keyword-loop_control",
        &[
            "break_when",
            "extended",
            "extended_allitems",
            "index_var",
            "label",
            "loop_var",
            "pause",
        ],
    ),
];

/// How what is here differs: kind, name, how and why. A kind may be the beginning of several.
const DIFFERS: &[(&str, &str, &str)] = &[
    (
        "keyword",
        "debugger",
        "checked, without effect: there is no task debugger",
    ),
    (
        "keyword",
        "connection",
        "`ssh`, `local` and `sandbox`; `smart` and `paramiko` mean `ssh`",
    ),
    (
        "connection",
        "paramiko_ssh",
        "means `ssh`: the client is built in",
    ),
    ("filter", "pprint", "prints on one line, as `repr` does"),
    (
        "module",
        "user",
        "`generate_ssh_key` refuses a directory of keys that is a link of the account's own making",
    ),
];

/// Why what is not here is not: kind, name, why.
const ABSENT: &[(&str, &str, &str)] = &[
    ("become", "runas", "there is no Windows here"),
    ("callback", "junit", "`--output json` tells every event"),
    ("callback", "tree", "`--output json` tells every event"),
    ("connection", "psrp", "there is no Windows here"),
    ("connection", "winrm", "there is no Windows here"),
    ("shell", "cmd", "there is no Windows here"),
    ("shell", "powershell", "there is no Windows here"),
    ("strategy", "debug", "there is no task debugger"),
];

/// Returns what the page lists by name: the beginning of the line, and the names.
pub(crate) fn lists() -> [(&'static str, Vec<&'static str>); 4] {
    [
        ("- Modules and actions: ", Executable.modules()),
        ("- Filters: ", template::filter_names()),
        ("- Tests: ", template::test_names()),
        ("- Lookups: ", Executable.lookups()),
    ]
}

/// Says of every name whether it is here: the end of the page.
pub(crate) fn section() -> String {
    let mut text = format!(
        "{HEADING}Made by `cargo run --example compatibility`. What is not under *differs* or *no* \
         does here what it does there.\n"
    );
    let mut kinds: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for (kind, name) in NAMES.lines().filter_map(|line| line.split_once(' ')) {
        kinds.entry(kind).or_default().push(name);
    }
    for (kind, title) in [
        ("keyword-play", "Keywords of plays"),
        ("keyword-block", "Keywords of blocks"),
        ("keyword-task", "Keywords of tasks"),
        ("keyword-handler", "Keywords of handlers"),
        ("keyword-role", "Keywords of roles"),
        ("keyword-loop_control", "Keys of `loop_control`"),
        ("module", "Modules"),
        ("filter", "Filters"),
        ("test", "Tests"),
        ("lookup", "Lookups"),
        ("connection", "Connections"),
        ("become", "Become methods"),
        ("strategy", "Strategies"),
        ("callback", "Callbacks"),
        ("inventory", "Inventory plugins"),
        ("cache", "Fact caches"),
        ("vars", "Vars plugins"),
        ("shell", "Shells"),
    ] {
        let names = kinds.remove(kind).unwrap_or_default();
        let standings = names.into_iter().map(|name| (name, standing(kind, name)));
        text += &part(title, standings);
    }
    assert!(kinds.is_empty(), "kinds without a title: {kinds:?}");
    let settings = SETTINGS.iter().map(|setting| {
        let standing = match setting.effect {
            Effect::Same => Standing::Yes,
            Effect::Differs(how) => Standing::Differs(how),
            Effect::Moot(why) | Effect::Nothing(why) => Standing::No(why),
        };
        (setting.name, standing)
    });
    text + &part("Settings", settings)
}

enum Standing {
    Yes,
    Differs(&'static str),
    No(&'static str),
}

fn standing(kind: &str, name: &str) -> Standing {
    let told = |table: &'static [(&'static str, &'static str, &'static str)]| {
        let found = table
            .iter()
            .find(|(of, about, _)| kind.starts_with(of) && *about == name);
        found.map(|(.., why)| *why)
    };
    if !is_here(kind, name) {
        let why = told(ABSENT);
        return Standing::No(why.unwrap_or_else(|| panic!("why is there no {kind} `{name}`?")));
    }
    told(DIFFERS).map_or(Standing::Yes, Standing::Differs)
}

/// What is more than a keyword: it has its own place in the grammar.
const GRAMMAR: &[&str] = &[
    "handlers",
    "post_tasks",
    "pre_tasks",
    "roles",
    "loop",
    "hosts",
    "role",
    "validate_argspec",
];

/// Directives of the language rather than modules.
const DIRECTIVES: &[&str] = &[
    "import_playbook",
    "import_role",
    "import_tasks",
    "include_role",
    "include_tasks",
    "meta",
];

fn is_here(kind: &str, name: &str) -> bool {
    let place = match kind {
        "keyword-play" => Some(Place::Play),
        "keyword-block" => Some(Place::Block),
        "keyword-task" => Some(Place::Task),
        "keyword-handler" => Some(Place::Handler),
        "keyword-role" => Some(Place::Role),
        _ => None,
    };
    if let Some(place) = place {
        return GRAMMAR.contains(&name) || Keyword::find(name, place).is_some();
    }
    match kind {
        "module" => DIRECTIVES.contains(&name) || Executable.modules().contains(&name),
        "filter" => template::filter_names().contains(&name),
        "test" => template::test_names().contains(&name),
        "lookup" => Executable.has_lookup(name),
        kind => PLUGINS
            .iter()
            .any(|(of, names)| *of == kind && names.contains(&name)),
    }
}

/// Returns one kind: the names that are here as they are there, and a table of the others.
fn part(title: &str, standings: impl Iterator<Item = (&'static str, Standing)>) -> String {
    let (mut yes, mut rows) = (Vec::new(), String::new());
    for (name, standing) in standings {
        match standing {
            Standing::Yes => yes.push(format!("`{name}`")),
            Standing::Differs(how) => rows += &format!("| `{name}` | differs | {how} |\n"),
            Standing::No(why) => rows += &format!("| `{name}` | no | {why} |\n"),
        }
    }
    let yes = if yes.is_empty() {
        "none".into()
    } else {
        yes.join(", ")
    };
    let mut text = format!("\n### {title}\nYes: {yes}.\n");
    if !rows.is_empty() {
        text += &format!("\n| name | here | how or why |\n| --- | --- | --- |\n{rows}");
    }
    text
}
